//! AV1.

use super::*;

/// A sequence header OBU with its size: profile 0, 1280x720, 4:2:0 in 8 bits.
const SEQUENCE: &[u8] = &[0x0a, 0x0b, 0x00, 0x00, 0x00, 0x42, 0xa6, 0x7f, 0xd9, 0xe0, 0x0c, 0x00, 0x80];
/// Headers of OBUs with a size: a temporal delimiter, metadata, a frame, a tile list and padding; and with a layer, a frame.
const DELIMITER: u8 = 0x12;
const METADATA: u8 = 0x2a;
const FRAME: u8 = 0x32;
const TILE_LIST: u8 = 0x42;
const PADDING: u8 = 0x7a;
const LAYERED_FRAME: u8 = 0x36;

/// The `av1C` record that our depacketizer makes of it.
fn config() -> Vec<u8> {
    [&[0x81, 0x08, 0x0c, 0x00], SEQUENCE].concat()
}

/// An OBU with its size: `length` bytes behind the header, the first of which says shown key frame, or not.
fn obu(header: &[u8], key: bool, length: usize) -> Vec<u8> {
    let mut out = BytesMut::from(header);
    crate::obu::put_leb128(&mut out, length);
    out.extend([if key { 0x10 } else { 0x30 }].into_iter().chain(body(length)).take(length));
    out.to_vec()
}

fn frame(key: bool, obus: &[Vec<u8>], n: i64) -> Frame {
    video(Codec::Av1, &config(), key, obus.concat(), n)
}

/// The same OBU as it goes over the wire.
fn bare(obu: &[u8]) -> Vec<u8> {
    let size = if obu.len() < 130 { 1 } else { 2 };
    [&[obu[0] & !2], &obu[1 + size..]].concat()
}

#[test]
fn a_small_keyframe_is_one_packet_of_a_new_sequence() {
    let mut packetizer = Packetizer::new(Codec::Av1, 1_200).unwrap();
    let key = obu(&[FRAME], true, 100);
    let delimiter = obu(&[DELIMITER], false, 0);
    let (tiles, padding) = (obu(&[TILE_LIST], false, 5), obu(&[PADDING], false, 9));
    let unit = [delimiter.clone(), SEQUENCE.to_vec(), tiles, key.clone(), padding];
    let payloads = packetizer.packetize(&frame(true, &unit, 0)).unwrap();
    let sequence = bare(SEQUENCE);
    // W = 2 and N: the first element with its size, the last without.
    let expected = [&[0x28, sequence.len() as u8][..], &sequence, &bare(&key)].concat();
    assert_eq!(payloads, [Bytes::from(expected)]);
    let inter = obu(&[FRAME], false, 100);
    let payloads = packetizer.packetize(&frame(false, std::slice::from_ref(&inter), 1)).unwrap();
    assert_eq!(payloads, [Bytes::from([&[0x10][..], &bare(&inter)].concat())]);
    assert_eq!(packetizer.packetize(&frame(true, &[delimiter], 2)), Ok(vec![]));
    // The last OBU of a unit may be without a size.
    let payloads = packetizer.packetize(&frame(false, &[vec![0x30, 0x30, 7]], 3));
    assert_eq!(payloads, Ok(vec![Bytes::from_static(&[0x10, 0x30, 0x30, 7])]));
}

#[test]
fn a_keyframe_without_a_sequence_header_gets_that_of_the_format() {
    let mut packetizer = Packetizer::new(Codec::Av1, 1_200).unwrap();
    let key = obu(&[FRAME], true, 100);
    let with = packetizer.packetize(&frame(true, &[SEQUENCE.to_vec(), key.clone()], 0)).unwrap();
    let mut without = frame(true, std::slice::from_ref(&key), 0);
    assert_eq!(packetizer.packetize(&without).unwrap(), with);
    let read = read_back(&with, &mut Depacketizer::new(Codec::Av1, 1 << 22).unwrap(), 0);
    let [Depacketized::Frame(coded)] = &read[..] else { panic!("{read:?}") };
    assert_eq!((&coded.data[..], coded.keyframe), (&[SEQUENCE, &key].concat()[..], true));
    assert_eq!(coded.format, without.format, "the test's av1C is what the depacketizer makes");
    // A format that has none begins no sequence.
    without.format = video(Codec::Av1, &[], true, vec![], 0).format;
    assert_eq!(packetizer.packetize(&without).unwrap()[0][0], 0x10);
}

#[test]
fn a_large_frame_is_cut_into_packets_of_about_equal_size() {
    let mut packetizer = Packetizer::new(Codec::Av1, 1_000).unwrap();
    let unit = [SEQUENCE.to_vec(), obu(&[FRAME], true, 2_500)];
    let payloads = packetizer.packetize(&frame(true, &unit, 0)).unwrap();
    let heads: Vec<u8> = payloads.iter().map(|payload| payload[0]).collect();
    assert_eq!(heads, [0x68, 0xd0, 0x90], "Y; Z and Y; Z; N in the first only");
    let sizes = sizes(&payloads);
    assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 3, "{sizes:?}");
    let read = read_back(&payloads, &mut Depacketizer::new(Codec::Av1, 1 << 22).unwrap(), 0);
    let [Depacketized::Frame(coded)] = &read[..] else { panic!("{read:?}") };
    assert_eq!(coded.data, unit.concat());
}

#[test]
fn layers_and_later_sequence_headers_have_packets_of_their_own() {
    let mut packetizer = Packetizer::new(Codec::Av1, 1_000).unwrap();
    let heads = |unit: &[Vec<u8>], packetizer: &mut Packetizer| -> Vec<u8> {
        packetizer.packetize(&frame(false, unit, 0)).unwrap().iter().map(|payload| payload[0]).collect()
    };
    let layer = |id: u8| obu(&[LAYERED_FRAME, id], false, 20);
    // The ids are in the upper five bits.
    assert_eq!(heads(&[layer(0), layer(0x01), layer(0x08)], &mut packetizer), [0x20, 0x10]);
    let metadata = obu(&[METADATA], false, 5);
    let unit = [metadata.clone(), layer(0), metadata.clone(), SEQUENCE.to_vec(), layer(0)];
    assert_eq!(heads(&unit, &mut packetizer), [0x30, 0x20]);
    // More than three: every one has its size.
    assert_eq!(heads(&vec![metadata.clone(); 4], &mut packetizer), [0x00]);
}

#[test]
fn damaged_units_are_refused() {
    let mut packetizer = Packetizer::new(Codec::Av1, 1_000).unwrap();
    let early = Err(PacketizeError::Malformed("AV1 OBU ends early"));
    let mut cut = frame(false, &[obu(&[FRAME], false, 100)], 0);
    cut.data.truncate(50);
    assert_eq!(packetizer.packetize(&cut), early);
    assert_eq!(packetizer.packetize(&frame(false, &[vec![0x36]], 0)), early);
    let forbidden = Err(PacketizeError::Malformed("AV1 OBU with the forbidden bit"));
    assert_eq!(packetizer.packetize(&frame(false, &[vec![0xb2, 0]], 0)), forbidden);
    let mut config = frame(true, &[obu(&[FRAME], true, 10)], 0);
    config.format = video(Codec::Av1, &[0x81, 8, 12, 0, 0x0a, 11], true, vec![], 0).format;
    assert_eq!(packetizer.packetize(&config), early);
}

/// The OBUs of a unit behind its first: header, and length.
fn more_obus() -> impl Strategy<Value = Vec<(Vec<u8>, usize)>> {
    let header = prop_oneof![
        Just(vec![METADATA]),
        Just(vec![FRAME]),
        (0u8..3).prop_map(|layer| vec![LAYERED_FRAME, layer << 3])
    ];
    let length = prop_oneof![0usize..20, 0usize..200, 0usize..3_000];
    prop::collection::vec((header, length), 0..10)
}

proptest! {
    #[test]
    fn what_is_packetized_comes_out_as_it_was(
        max_payload in MIN_MAX_PAYLOAD..1_500,
        frames in prop::collection::vec((any::<bool>(), 1usize..5_000, more_obus()), 1..5),
    ) {
        let mut packetizer = Packetizer::new(Codec::Av1, max_payload).unwrap();
        let mut depacketizer = Depacketizer::new(Codec::Av1, 1 << 22).unwrap();
        for (n, (key, length, more)) in frames.into_iter().enumerate() {
            let key = key || n == 0;
            let mut unit = if key { vec![SEQUENCE.to_vec()] } else { vec![] };
            unit.push(obu(&[FRAME], key, length));
            unit.extend(more.iter().map(|(header, length)| obu(header, false, *length)));
            let frame = frame(key, &unit, n as i64);
            let payloads = packetizer.packetize(&frame).unwrap();
            prop_assert!(payloads.iter().all(|payload| payload.len() <= max_payload));
            // Each packet that no layer's end closes is filled but for what a length and the least fragment need.
            let splits = more.windows(2).filter(|pair| pair[0].0 != pair[1].0).count();
            prop_assert!(payloads.len() <= frame.data.len().div_ceil(max_payload - 20) + splits);
            let new: Vec<bool> = payloads.iter().map(|payload| payload[0] & 0x08 != 0).collect();
            prop_assert!(new[0] == key && !new[1..].contains(&true));

            let read = read_back(&payloads, &mut depacketizer, n as u32);
            let [Depacketized::Frame(coded)] = &read[..] else { panic!("{read:?}") };
            prop_assert_eq!((&coded.data, coded.keyframe), (&frame.data, key));
            prop_assert_eq!(&coded.format, &frame.format);
        }
    }

    #[test]
    fn no_stream_of_small_obus_makes_it_panic(
        headers in prop::collection::vec((any::<u8>(), any::<u8>(), 0usize..90), 0..80),
        key: bool,
        max_payload in MIN_MAX_PAYLOAD..200,
    ) {
        let unit = headers.iter().map(|&(header, layer, length)| match header & 0x04 {
            0 => obu(&[header & 0x7f | 2], key, length),
            _ => obu(&[header & 0x7f | 2, layer], key, length),
        });
        let unit: Vec<Vec<u8>> = unit.collect();
        let payloads = Packetizer::new(Codec::Av1, max_payload).unwrap().packetize(&frame(key, &unit, 0)).unwrap();
        prop_assert!(payloads.iter().all(|payload| payload.len() > 1 && payload.len() <= max_payload));
        let mut depacketizer = Depacketizer::new(Codec::Av1, 1 << 22).unwrap();
        let unit = [SEQUENCE.to_vec(), obu(&[FRAME], true, 9)];
        let mut all = Packetizer::new(Codec::Av1, 64).unwrap().packetize(&frame(true, &unit, 0)).unwrap();
        // In one unit with a good keyframe in front: nothing is refused but what the OBUs themselves say.
        all.extend(payloads);
        for output in read_back(&all, &mut depacketizer, 0) {
            use crate::depacketize::PayloadError::Invalid;
            let fine = matches!(&output, Depacketized::Frame(_) | Depacketized::Dropped)
                || output == Depacketized::BadPayload(Invalid("AV1 sequence header"));
            prop_assert!(fine, "{:?}", output);
        }
    }
}
