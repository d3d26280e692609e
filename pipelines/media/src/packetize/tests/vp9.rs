//! VP9.

use super::*;
use rtp::codecs::vp9::Vp9Packet;

/// The start of the uncompressed header (bitstream specification section 6.2): a shown key frame of 1280x720, or one that is
/// predicted.
const KEY: &[u8] = &[0x82, 0x49, 0x83, 0x42, 0x20, 0x4f, 0xf0, 0x2c, 0xf0];
const INTER: &[u8] = &[0x86, 0x00];

fn frame(keyframe: bool, length: usize, n: i64) -> Frame {
    let head = if keyframe { KEY } else { INTER };
    let data = head.iter().copied().chain(body(length)).take(length.max(head.len())).collect();
    video(Codec::Vp9, &[], keyframe, data, n)
}

#[test]
fn keyframes_begin_with_a_structure_that_has_their_size() {
    let mut packetizer = Packetizer::new(Codec::Vp9, 1_000).unwrap();
    let payloads = packetizer.packetize(&frame(true, 2_500, 0)).unwrap();
    // With the structure's five bytes, all are of about the same size.
    assert_eq!(sizes(&payloads), [3 + 835, 3 + 835, 3 + 835]);
    assert_eq!(payloads[0][..9], [0x8a, 0x80, 0, 0x10, 0x05, 0x00, 0x02, 0xd0, 0x82]);
    assert_eq!(payloads[1][..3], [0x80, 0x80, 0]);
    assert_eq!(payloads[2][..3], [0x84, 0x80, 0]);
    // Predicted, begins and ends.
    assert_eq!(
        packetizer.packetize(&frame(false, 0, 1)),
        Ok(vec![Bytes::from_static(&[0xcc, 0x80, 1, 0x86, 0])])
    );
    assert_eq!(packetizer.packetize(&video(Codec::Vp9, &[], false, vec![], 2)), Ok(vec![]));
    assert_eq!(packetizer.packetize(&frame(false, 0, 1)).unwrap()[0][2], 2);
}

#[test]
fn a_size_that_the_structure_cannot_hold_is_left_out() {
    for (width, height) in [(65_536, 720), (1_280, 65_536), (0, 720)] {
        let mut large = frame(true, 100, 0);
        let format = VideoFormat { codec: Codec::Vp9, width, height, config: Bytes::new() };
        large.format = Arc::new(Format::Video(format));
        let payloads = Packetizer::new(Codec::Vp9, 1_000).unwrap().packetize(&large).unwrap();
        assert_eq!(payloads[0][..5], [0x8e, 0x80, 0, 0, 0x82]);
    }
}

#[test]
fn a_superframe_stays_one_picture() {
    // A hidden frame of 2 bytes, a shown one of 3 and the index (annex B).
    let data = vec![0x84, 0, 0x86, 0, 0, 0xc1, 2, 3, 0xc1];
    let mut packetizer = Packetizer::new(Codec::Vp9, 1_000).unwrap();
    let mut depacketizer = Depacketizer::new(Codec::Vp9, 1 << 22).unwrap();
    let payloads = packetizer.packetize(&frame(true, 100, 0)).unwrap();
    assert_eq!(read_back(&payloads, &mut depacketizer, 0).len(), 1);
    let payloads = packetizer.packetize(&video(Codec::Vp9, &[], false, data.clone(), 1)).unwrap();
    assert_eq!(payloads, [Bytes::from([&[0xcc, 0x80, 1][..], &data].concat())]);
    let read = read_back(&payloads, &mut depacketizer, 1);
    let [Depacketized::Frame(coded)] = &read[..] else { panic!("{read:?}") };
    assert_eq!((&coded.data[..], coded.keyframe), (&data[..], false));
}

proptest! {
    #[test]
    fn what_is_packetized_comes_out_as_it_was(
        max_payload in MIN_MAX_PAYLOAD..1_500,
        frames in prop::collection::vec((any::<bool>(), 0usize..5_000), 1..6),
    ) {
        let mut packetizer = Packetizer::new(Codec::Vp9, max_payload).unwrap();
        let mut depacketizer = Depacketizer::new(Codec::Vp9, 1 << 22).unwrap();
        for (n, (key, length)) in frames.into_iter().enumerate() {
            let key = key || n == 0;
            let frame = frame(key, length, n as i64);
            let payloads = packetizer.packetize(&frame).unwrap();
            prop_assert!(payloads.iter().all(|payload| payload.len() <= max_payload));
            let structure = if key { 5 } else { 0 };
            prop_assert_eq!(payloads.len(), (structure + frame.data.len()).div_ceil(max_payload - 3));

            let read = read_back(&payloads, &mut depacketizer, n as u32);
            let [Depacketized::Frame(coded)] = &read[..] else { panic!("{read:?}") };
            prop_assert_eq!((&coded.data, coded.keyframe), (&frame.data, key));
            prop_assert_eq!(&coded.format, &frame.format);

            let mut seen = BytesMut::new();
            for (index, payload) in payloads.iter().enumerate() {
                let (first, last) = (index == 0, index + 1 == payloads.len());
                let mut foreign = Vp9Packet::default();
                seen.put_slice(&foreign.depacketize(payload).unwrap());
                prop_assert_eq!((foreign.i, foreign.p, foreign.l, foreign.f), (true, !key, false, false));
                prop_assert_eq!((foreign.b, foreign.e, foreign.v), (first, last, first && key));
                prop_assert_eq!((foreign.picture_id, foreign.ns, foreign.g), (n as u16, 0, false));
                if foreign.v {
                    prop_assert_eq!((&foreign.width[..], &foreign.height[..]), (&[1280][..], &[720][..]));
                }
            }
            prop_assert_eq!(seen, frame.data);
        }
    }
}
