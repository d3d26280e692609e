//! What a relay must know of an RTP payload without decoding it: where frames and keyframes begin, and where the
//! numbers of pictures stand that must stay continuous.
//!
//! What belongs here: the first bytes of each payload format. What does not: whether a frame is whole
//! (`skywave_media::depacketize`), and what becomes of the numbers ([`crate::continuity`]).

use skywave_media::codec::Codec;

/// What a relay must know of one RTP payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Inspection {
    /// A frame begins here. The first packet of every frame has it; in H.264 and AV1 a later packet of the same frame may have
    /// it too (parameter sets and the first slice in packets of their own), and the RTP timestamp tells.
    pub frame_start: bool,
    /// Decoding can begin with this packet. In H.264 several packets of one keyframe may have it: the parameter sets and
    /// the IDR picture.
    pub keyframe_start: bool,
    /// The picture numbers of VP8 and VP9, where the payload has any.
    pub picture: Option<PictureFields>,
}

/// Where picture id and `TL0PICIDX` stand in the payload, and their values: VP8 (RFC 7741 section 4.2) and VP9 (RFC 9628
/// section 4.2). At least one of them is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PictureFields {
    /// The picture id, 7 or 15 bits wide.
    pub picture_id: Option<Field>,
    /// The running index of the lowest temporal layer, 8 bits wide.
    pub tl0: Option<Field>,
}

/// A number in a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Where it begins, in bytes from the payload's start.
    pub at: u8,
    /// Its width in bits: 7 or 15 (a picture id with its M bit in front) or 8.
    pub bits: u8,
    /// Its value.
    pub value: u16,
}

impl Field {
    /// The largest value it can have.
    pub const fn mask(self) -> u16 {
        (1 << self.bits) - 1
    }

    /// Writes `value`, modulo its width, into a copy of the payload it was read from; its width stays. A payload that is
    /// too short is left as it is.
    pub fn write(self, payload: &mut [u8], value: u16) {
        let Some(target) = payload.get_mut(usize::from(self.at)..) else { return };
        let [high, low] = (value & self.mask()).to_be_bytes();
        match (self.bits, target) {
            (15, [first, second, ..]) => (*first, *second) = (0x80 | high, low),
            (7 | 8, [only, ..]) => *only = low,
            _ => {}
        }
    }
}

/// Looks at one RTP payload (padding removed). Whatever the bytes are, it does not panic; a payload that is cut short
/// begins nothing.
pub fn inspect(codec: Codec, payload: &[u8]) -> Inspection {
    match codec {
        Codec::Vp8 => vp8(payload).unwrap_or_default(),
        Codec::Vp9 => vp9(payload).unwrap_or_default(),
        Codec::H264 => h264(payload).unwrap_or_default(),
        Codec::Av1 => av1(payload).unwrap_or_default(),
        Codec::Opus | Codec::Aac => Inspection { frame_start: !payload.is_empty(), ..Inspection::default() },
    }
}

/// RFC 7741 section 4.2.
fn vp8(payload: &[u8]) -> Option<Inspection> {
    let first = *payload.first()?;
    let mut at = 1;
    let mut picture = PictureFields::default();
    if first & 0x80 != 0 {
        let extension = *payload.get(1)?;
        at = 2;
        if extension & 0x80 != 0 {
            picture.picture_id = Some(picture_id(payload, &mut at)?);
        }
        if extension & 0x40 != 0 {
            picture.tl0 = Some(Field { at, bits: 8, value: u16::from(*payload.get(usize::from(at))?) });
            at += 1;
        }
        if extension & 0x30 != 0 {
            at += 1; // TID, Y and KEYIDX
        }
    }
    let frame = *payload.get(usize::from(at))?;
    // S = 1 in partition 0.
    let frame_start = first & 0x17 == 0x10;
    // RFC 6386 section 9.1: the lowest bit of the frame tag is zero in a key frame.
    Some(Inspection { frame_start, keyframe_start: frame_start && frame & 1 == 0, picture: picture.any() })
}

/// RFC 9628 section 4.2.
fn vp9(payload: &[u8]) -> Option<Inspection> {
    let first = *payload.first()?;
    let [has_id, predicted, has_layers, flexible, begins] =
        [0x80, 0x40, 0x20, 0x10, 0x08].map(|bit| first & bit != 0);
    let mut at = 1;
    let mut picture = PictureFields::default();
    if has_id {
        picture.picture_id = Some(picture_id(payload, &mut at)?);
    }
    let mut base_layer = true;
    if has_layers {
        base_layer = *payload.get(usize::from(at))? & 0x0e == 0;
        at += 1;
        if !flexible {
            picture.tl0 = Some(Field { at, bits: 8, value: u16::from(*payload.get(usize::from(at))?) });
            at += 1;
        }
    }
    payload.get(usize::from(at))?;
    let frame_start = begins && base_layer;
    Some(Inspection { frame_start, keyframe_start: frame_start && !predicted, picture: picture.any() })
}

/// A picture id of VP8 or VP9: 15 bits when its highest bit is set, else 7.
fn picture_id(payload: &[u8], at: &mut u8) -> Option<Field> {
    let position = *at;
    let high = *payload.get(usize::from(position))?;
    if high & 0x80 == 0 {
        *at += 1;
        return Some(Field { at: position, bits: 7, value: u16::from(high) });
    }
    let low = *payload.get(usize::from(position) + 1)?;
    *at += 2;
    Some(Field { at: position, bits: 15, value: u16::from_be_bytes([high & 0x7f, low]) })
}

impl PictureFields {
    fn any(self) -> Option<Self> {
        (self.picture_id.is_some() || self.tl0.is_some()).then_some(self)
    }
}

/// What the NAL units that begin in one H.264 packet are.
#[derive(Debug, Clone, Copy, Default)]
struct NalKinds {
    frame_start: bool,
    sps: bool,
    idr: bool,
    other_slice: bool,
}

impl NalKinds {
    /// A NAL unit of this type begins; `first` is the byte after its header.
    fn note(&mut self, kind: u8, first: Option<u8>) {
        // first_mb_in_slice is ue(v): zero is the single bit 1 (ITU-T H.264 section 7.3.3).
        let begins_picture = first.is_some_and(|byte| byte & 0x80 != 0);
        match kind {
            1 => (self.frame_start, self.other_slice) = (self.frame_start | begins_picture, true),
            5 if begins_picture => (self.frame_start, self.idr) = (true, true),
            // SEI, SPS, PPS and AUD begin an access unit, and so does what extensions put there (section 7.4.1.2.3).
            6..=9 | 14..=18 => (self.frame_start, self.sps) = (true, self.sps | (kind == 7)),
            _ => {}
        }
    }
}

/// RFC 6184 sections 5.6 to 5.8.
fn h264(payload: &[u8]) -> Option<Inspection> {
    let mut kinds = NalKinds::default();
    match payload.first()? & 0x1f {
        24 => {
            let mut rest = &payload[1..];
            while let Some((length, tail)) = rest.split_first_chunk::<2>() {
                let Some((nal, tail)) = tail.split_at_checked(usize::from(u16::from_be_bytes(*length)))
                else {
                    break;
                };
                if let Some((header, body)) = nal.split_first() {
                    kinds.note(header & 0x1f, body.first().copied());
                }
                rest = tail;
            }
        }
        28 => {
            let header = *payload.get(1)?;
            if header & 0x80 != 0 {
                kinds.note(header & 0x1f, payload.get(2).copied());
            }
        }
        kind => kinds.note(kind, payload.get(1).copied()),
    }
    // Parameter sets together with a slice that is no IDR picture refresh nothing.
    let keyframe_start = kinds.idr || kinds.sps && !kinds.other_slice;
    Some(Inspection { frame_start: kinds.frame_start, keyframe_start, picture: None })
}

/// "RTP Payload Format For AV1" section 4.4.
fn av1(payload: &[u8]) -> Option<Inspection> {
    const SEQUENCE_HEADER: u8 = 1;
    const TEMPORAL_DELIMITER: u8 = 2;
    let (&aggregation, mut rest) = payload.split_first()?;
    if aggregation & 0x80 != 0 {
        return None; // Z: the middle of an OBU
    }
    let (count, new_sequence) = (aggregation >> 4 & 3, aggregation & 0x08 != 0);
    let mut index = 0;
    loop {
        index += 1;
        let (element, tail) = if count == index { (rest, &[][..]) } else { sized(rest)? };
        let kind = element.first()? >> 3 & 0x0f;
        if kind == TEMPORAL_DELIMITER && !tail.is_empty() {
            // Section 5 wants it left out; some senders leave it in.
            rest = tail;
            continue;
        }
        let keyframe_start = new_sequence || kind == SEQUENCE_HEADER;
        // Sequence header, delimiter, frame header, metadata, frame: not the tile groups, that never come first.
        let frame_start = keyframe_start || matches!(kind, 2 | 3 | 5 | 6);
        return Some(Inspection { frame_start, keyframe_start, picture: None });
    }
}

/// An OBU element behind its `leb128()` size, and what follows; the element may be cut short.
fn sized(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut size = 0u64;
    for (index, byte) in data.iter().take(8).enumerate() {
        size |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let rest = &data[index + 1..];
            let size = usize::try_from(size).map_or(rest.len(), |size| size.min(rest.len()));
            return Some(rest.split_at(size));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use skywave_media::capture::{Record, Records};
    use skywave_media::codec::TrackKind;
    use skywave_media::depacketize::{Depacketized, Depacketizer};
    use skywave_media::packet::Packet;
    use std::collections::BTreeSet;

    const CODECS: [Codec; 6] = [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1, Codec::Opus, Codec::Aac];

    const fn field(at: u8, bits: u8, value: u16) -> Option<Field> {
        Some(Field { at, bits, value })
    }

    #[test]
    fn vp8_picture_numbers_are_found_in_every_descriptor() {
        assert_eq!(
            inspect(Codec::Vp8, &[0x10, 0x00]),
            Inspection { frame_start: true, keyframe_start: true, picture: None }
        );
        // X, I with 15 bits, L, T: what Chromium sends.
        let long = inspect(Codec::Vp8, &[0x90, 0xe0, 0x81, 0x02, 0x07, 0x20, 0x01]);
        let fields = PictureFields { picture_id: field(2, 15, 0x102), tl0: field(4, 8, 7) };
        assert_eq!(long, Inspection { frame_start: true, keyframe_start: false, picture: Some(fields) });
        let short = inspect(Codec::Vp8, &[0x81, 0x80, 0x7f, 0x00]);
        let fields = PictureFields { picture_id: field(2, 7, 0x7f), tl0: None };
        assert_eq!(short, Inspection { frame_start: false, keyframe_start: false, picture: Some(fields) });
        // The start of a later partition begins no frame.
        assert!(!inspect(Codec::Vp8, &[0x11, 0x00]).frame_start);
    }

    #[test]
    fn vp9_frames_begin_with_their_base_layer() {
        // I, L, B, E: a key picture's base layer, then its second spatial layer.
        let base = inspect(Codec::Vp9, &[0xac, 0x81, 0x00, 0x00, 0x09, 0x82]);
        let fields = PictureFields { picture_id: field(1, 15, 0x100), tl0: field(4, 8, 9) };
        assert_eq!(base, Inspection { frame_start: true, keyframe_start: true, picture: Some(fields) });
        let upper = inspect(Codec::Vp9, &[0xac, 0x81, 0x00, 0x03, 0x09, 0x82]);
        assert_eq!(upper, Inspection { frame_start: false, keyframe_start: false, picture: Some(fields) });
        // In flexible mode there is no TL0PICIDX.
        let flexible = inspect(Codec::Vp9, &[0xfc, 0x05, 0x00, 0x02, 0x82]);
        let fields = PictureFields { picture_id: field(1, 7, 5), tl0: None };
        assert_eq!(flexible, Inspection { frame_start: true, keyframe_start: false, picture: Some(fields) });
    }

    #[test]
    fn h264_keyframes_begin_with_their_sps_or_their_idr_picture() {
        let starts = |payload: &[u8]| {
            let found = inspect(Codec::H264, payload);
            (found.frame_start, found.keyframe_start)
        };
        assert_eq!(starts(&[0x67, 0x42]), (true, true), "SPS");
        assert_eq!(starts(&[0x68, 0xce]), (true, false), "PPS");
        assert_eq!(starts(&[0x65, 0x88]), (true, true), "IDR slice");
        assert_eq!(starts(&[0x65, 0x08]), (false, false), "a later slice of an IDR picture");
        assert_eq!(starts(&[0x41, 0x9a]), (true, false), "P slice");
        assert_eq!(starts(&[0x7c, 0x85, 0x88]), (true, true), "first fragment of an IDR slice");
        assert_eq!(starts(&[0x7c, 0x05, 0x88]), (false, false), "a later fragment");
        assert_eq!(starts(&[0x78, 0, 2, 0x67, 0x42, 0, 2, 0x68, 0xce]), (true, true), "STAP-A of sets");
        assert_eq!(
            starts(&[0x78, 0, 2, 0x09, 0xf0, 0, 2, 0x65, 0x88]),
            (true, true),
            "STAP-A with an IDR slice"
        );
        assert_eq!(
            starts(&[0x78, 0, 2, 0x67, 0x42, 0, 2, 0x41, 0x9a]),
            (true, false),
            "sets before a P slice"
        );
        assert_eq!(starts(&[0x78, 0, 9, 0x67]), (false, false), "STAP-A that is cut short");
    }

    #[test]
    fn av1_keyframes_begin_with_a_new_sequence() {
        let starts = |payload: &[u8]| {
            let found = inspect(Codec::Av1, payload);
            (found.frame_start, found.keyframe_start)
        };
        assert_eq!(starts(&[0x18, 0x30]), (true, true), "N");
        assert_eq!(starts(&[0x20, 1, 0x08, 0x30, 0x10]), (true, true), "a sequence header comes first");
        assert_eq!(starts(&[0x30, 1, 0x10, 1, 0x08, 0x30]), (true, true), "behind a temporal delimiter");
        assert_eq!(starts(&[0x10, 0x30]), (true, false), "a frame");
        assert_eq!(starts(&[0x98, 0x30]), (false, false), "the rest of an OBU, whatever N says");
        assert_eq!(starts(&[0x10, 0x20]), (false, false), "a tile group");
    }

    #[test]
    fn a_number_is_written_with_its_own_width() {
        let mut payload = [0x90, 0xe0, 0x81, 0x02, 0x07, 0x20, 0x01];
        let fields = inspect(Codec::Vp8, &payload).picture.unwrap();
        fields.picture_id.unwrap().write(&mut payload, 0xffff);
        fields.tl0.unwrap().write(&mut payload, 0x105);
        assert_eq!(payload, [0x90, 0xe0, 0xff, 0xff, 0x05, 0x20, 0x01]);
        let mut short = [0x90, 0x80, 0x11, 0x00];
        inspect(Codec::Vp8, &short).picture.unwrap().picture_id.unwrap().write(&mut short, 0x80);
        assert_eq!(short, [0x90, 0x80, 0x00, 0x00]);
        Field { at: 200, bits: 15, value: 0 }.write(&mut short, 1);
        Field { at: 3, bits: 15, value: 0 }.write(&mut short, 1);
        assert_eq!(short, [0x90, 0x80, 0x00, 0x00], "what does not fit is not written");
    }

    /// The packets of each track of a capture, by track.
    fn tracks(file: &[u8]) -> Vec<Vec<Packet>> {
        let mut tracks: Vec<(_, Vec<Packet>)> = Vec::new();
        for record in Records::new(file).unwrap() {
            if let Record::Packet { track, packet } = record.unwrap() {
                match tracks.iter_mut().find(|(id, _)| *id == track) {
                    Some((_, packets)) => packets.push(packet),
                    None => tracks.push((track, vec![packet])),
                }
            }
        }
        tracks.into_iter().map(|(_, packets)| packets).collect()
    }

    #[test]
    fn keyframes_of_real_senders_are_those_the_depacketizer_finds() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../samples/captures");
        let mut seen = BTreeSet::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "skycap") {
                continue;
            }
            for mut packets in tracks(&std::fs::read(&path).unwrap()) {
                let codec = packets[0].codec;
                if codec.kind() != TrackKind::Video {
                    assert!(
                        packets
                            .iter()
                            .all(|p| p.payload.is_empty() || inspect(codec, &p.payload).frame_start)
                    );
                    continue;
                }
                // These captures have no loss; bring a few swapped packets into order.
                let first = packets[0].sequence;
                packets.sort_by_key(|p| p.sequence.wrapping_sub(first.wrapping_sub(100)));
                let mut depacketizer = Depacketizer::new(codec, 1 << 22).unwrap();
                let mut expected = BTreeSet::new();
                let mut all = BTreeSet::new();
                for packet in &packets {
                    depacketizer.handle_packet(packet);
                    while let Some(output) = depacketizer.poll_output() {
                        let Depacketized::Frame(frame) = output else {
                            panic!("{}: {output:?}", path.display())
                        };
                        all.insert(frame.timestamp);
                        if frame.keyframe {
                            expected.insert(frame.timestamp);
                        }
                    }
                }
                let found = |what: fn(&Inspection) -> bool| -> BTreeSet<u32> {
                    let matching = packets.iter().filter(|p| what(&inspect(codec, &p.payload)));
                    matching.map(|p| p.timestamp).filter(|timestamp| all.contains(timestamp)).collect()
                };
                assert!(!expected.is_empty(), "{}", path.display());
                assert_eq!(found(|i| i.keyframe_start), expected, "{}", path.display());
                assert_eq!(found(|i| i.frame_start), all, "{}", path.display());
                let firsts = packets.windows(2).filter(|pair| pair[0].timestamp != pair[1].timestamp);
                for pair in firsts.filter(|pair| !pair[1].payload.is_empty()) {
                    assert!(inspect(codec, &pair[1].payload).frame_start, "{}", path.display());
                }
                seen.insert(codec);
            }
        }
        assert_eq!(seen, BTreeSet::from([Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1]));
    }

    proptest! {
        #[test]
        fn no_payload_makes_it_panic_and_fields_lie_inside(
            codec in prop::sample::select(&CODECS[..]),
            payload in prop::collection::vec(any::<u8>(), 0..40),
            value: u16,
        ) {
            let found = inspect(codec, &payload);
            prop_assert!(found.frame_start || !found.keyframe_start);
            if let Some(picture) = found.picture {
                let mut written = payload.clone();
                for field in [picture.picture_id, picture.tl0].into_iter().flatten() {
                    prop_assert!(usize::from(field.at) < payload.len() && field.value <= field.mask());
                    field.write(&mut written, field.value);
                }
                prop_assert_eq!(&written, &payload, "writing what was there changes nothing");
                for field in [picture.picture_id, picture.tl0].into_iter().flatten() {
                    field.write(&mut written, value);
                }
                let again = inspect(codec, &written);
                prop_assert_eq!(again.frame_start, found.frame_start);
                let reread = again.picture.unwrap();
                let expected = |f: Option<Field>| f.map(|f| Field { value: value & f.mask(), ..f });
                prop_assert_eq!(reread.picture_id, expected(picture.picture_id));
                prop_assert_eq!(reread.tl0, expected(picture.tl0));
            }
        }
    }
}
