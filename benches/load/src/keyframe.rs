//! Whether an RTP payload begins a keyframe. Written from the payload formats, apart from the server's own depacketizers: what one
//! of them gets wrong, the other shall notice.

/// What a payload type carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Vp8,
    Vp9,
    H264,
    Av1,
    Opus,
    /// Retransmissions (RFC 4588) and padding: no media of its own.
    Repair,
    /// Another audio codec; counted, not looked into.
    OtherAudio,
}

impl Codec {
    /// By its name in `a=rtpmap`, in any case.
    pub(crate) fn from_rtpmap(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "vp8" => Self::Vp8,
            "vp9" => Self::Vp9,
            "h264" => Self::H264,
            "av1" => Self::Av1,
            "opus" => Self::Opus,
            "rtx" | "red" | "ulpfec" | "flexfec-03" => Self::Repair,
            "pcmu" | "pcma" | "g722" => Self::OtherAudio,
            _ => return None,
        })
    }

    /// Whether it is a picture.
    pub(crate) const fn is_video(self) -> bool {
        matches!(self, Self::Vp8 | Self::Vp9 | Self::H264 | Self::Av1)
    }
}

/// Whether `payload` begins a keyframe. `None` reads as no.
pub(crate) fn begins_keyframe(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Vp8 => vp8(payload),
        Codec::Vp9 => vp9(payload),
        Codec::H264 => h264(payload),
        Codec::Av1 => av1(payload),
        Codec::Opus | Codec::Repair | Codec::OtherAudio => None,
    }
    .unwrap_or(false)
}

/// RFC 7741 section 4.3: first packet of partition 0, and the inverse key frame flag is 0.
fn vp8(payload: &[u8]) -> Option<bool> {
    let rest = payload.get(vp8_descriptor_length(payload)?..)?;
    Some(payload.first()? & 0x17 == 0x10 && rest.first()? & 1 == 0)
}

/// Length of the VP8 payload descriptor (RFC 7741 section 4.2).
pub(crate) fn vp8_descriptor_length(payload: &[u8]) -> Option<usize> {
    if payload.first()? & 0x80 == 0 {
        return Some(1);
    }
    let extension = *payload.get(1)?;
    let mut length = 2;
    if extension & 0x80 != 0 {
        length = payload.len() - skip_picture_id(payload.get(length..)?)?.len();
    }
    // TL0PICIDX, then TID and KEYIDX in one byte.
    length += usize::from(extension & 0x40 != 0) + usize::from(extension & 0x30 != 0);
    (payload.len() > length).then_some(length)
}

/// RFC 9628 section 4.2: begins a frame of the lowest spatial layer that is not inter-predicted.
fn vp9(payload: &[u8]) -> Option<bool> {
    let (&first, mut rest) = payload.split_first()?;
    if first & 0x40 != 0 || first & 0x08 == 0 {
        return Some(false);
    }
    if first & 0x80 != 0 {
        rest = skip_picture_id(rest)?;
    }
    let spatial = if first & 0x20 != 0 { rest.first()? >> 1 & 0x07 } else { 0 };
    Some(spatial == 0)
}

/// The picture id has 7 or 15 bits: its own first bit says which.
fn skip_picture_id(rest: &[u8]) -> Option<&[u8]> {
    rest.get(1 + usize::from(rest.first()? & 0x80 != 0)..)
}

/// RFC 6184: an IDR slice by itself, in a STAP-A (section 5.7.1), or the start of one in an FU-A (section 5.8).
fn h264(payload: &[u8]) -> Option<bool> {
    const IDR: u8 = 5;
    let (&header, mut rest) = payload.split_first()?;
    Some(match header & 0x1f {
        IDR => true,
        24 => {
            while let Some((size, after)) = rest.split_first_chunk::<2>() {
                let unit = after.get(..usize::from(u16::from_be_bytes(*size)))?;
                if unit.first()? & 0x1f == IDR {
                    return Some(true);
                }
                rest = &after[unit.len()..];
            }
            false
        }
        28 => {
            let fragment = rest.first()?;
            fragment & 0x80 != 0 && fragment & 0x1f == IDR
        }
        _ => false,
    })
}

/// The AV1 payload format, section 4.4: the N bit, first packet of a coded video sequence.
fn av1(payload: &[u8]) -> Option<bool> {
    Some(payload.first()? & 0x08 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use skywave_media::capture::{Record, Records};
    use std::collections::BTreeMap;

    /// Timestamps of the keyframes among those of all frames.
    fn keyframes(file: &str) -> (usize, usize, bool) {
        let path = format!("{}/../../samples/captures/{file}", env!("CARGO_MANIFEST_DIR"));
        let capture = std::fs::read(path).unwrap();
        let mut frames = BTreeMap::new();
        let mut first = None;
        for record in Records::new(&capture).unwrap() {
            let Record::Packet { packet, .. } = record.unwrap() else { continue };
            let codec = match packet.codec {
                skywave_media::codec::Codec::Vp8 => Codec::Vp8,
                skywave_media::codec::Codec::Vp9 => Codec::Vp9,
                skywave_media::codec::Codec::H264 => Codec::H264,
                skywave_media::codec::Codec::Av1 => Codec::Av1,
                skywave_media::codec::Codec::Opus | skywave_media::codec::Codec::Aac => continue,
            };
            let key = begins_keyframe(codec, &packet.payload);
            first.get_or_insert(packet.timestamp);
            *frames.entry(packet.timestamp).or_insert(false) |= key;
        }
        let begins_so = frames[&first.unwrap()];
        (frames.values().filter(|key| **key).count(), frames.len(), begins_so)
    }

    #[test]
    fn real_streams_begin_with_a_keyframe_and_have_few() {
        for file in ["chromium-vp8", "chromium-vp9", "chromium-h264", "chromium-av1", "firefox-vp8"] {
            let (keys, frames, begins_so) = keyframes(&format!("{file}.skycap"));
            assert!(begins_so, "{file} begins with a keyframe");
            assert!((1..frames / 20).contains(&keys), "{file}: {keys} of {frames}");
        }
    }

    #[test]
    fn the_test_pictures_have_one_keyframe_in_thirty() {
        for file in ["gst-vp8", "gst-vp9", "gst-h264"] {
            assert_eq!(keyframes(&format!("{file}.skycap")), (2, 60, true), "{file}");
        }
    }

    #[test]
    fn truncated_payloads_begin_nothing() {
        for codec in [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1, Codec::Opus] {
            assert!(!begins_keyframe(codec, &[]), "{codec:?}");
        }
        assert!(!begins_keyframe(Codec::Vp8, &[0x90, 0x80]));
        assert!(!begins_keyframe(Codec::H264, &[24, 0, 9, 5]));
    }
}
