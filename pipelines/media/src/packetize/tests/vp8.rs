//! VP8.

use super::*;
use rtp::codecs::vp8::Vp8Packet;

/// A frame of `length` bytes: a tag, in keyframes the start code and 1280x720 (RFC 6386 section 9.1), and more.
fn data(keyframe: bool, length: usize) -> Vec<u8> {
    let head: &[u8] = if keyframe { &[0x10, 2, 0, 0x9d, 0x01, 0x2a, 0, 5, 0xd0, 2] } else { &[0x31, 2, 0] };
    head.iter().copied().chain(body(length)).take(length.max(head.len())).collect()
}

fn frame(keyframe: bool, length: usize, n: i64) -> Frame {
    video(Codec::Vp8, &[], keyframe, data(keyframe, length), n)
}

#[test]
fn every_payload_has_the_picture_id_and_only_the_first_begins_the_frame() {
    let mut packetizer = Packetizer::new(Codec::Vp8, 1_000).unwrap();
    let payloads = packetizer.packetize(&frame(true, 2_000, 0)).unwrap();
    assert_eq!(sizes(&payloads), [4 + 667, 4 + 667, 4 + 666]);
    let heads: Vec<&[u8]> = payloads.iter().map(|payload| &payload[..4]).collect();
    assert_eq!(heads, [[0x90, 0x80, 0x80, 0], [0x80, 0x80, 0x80, 0], [0x80, 0x80, 0x80, 0]]);
    assert_eq!(packetizer.packetize(&frame(false, 0, 1)).unwrap()[0][..4], [0x90, 0x80, 0x80, 1]);
    let empty = video(Codec::Vp8, &[], false, vec![], 2);
    assert_eq!(packetizer.packetize(&empty), Ok(vec![]));
    let next = packetizer.packetize(&frame(false, 996, 3)).unwrap();
    assert_eq!((next[0][3], sizes(&next)), (2, vec![1_000]), "what is not sent has no number");
}

#[test]
fn picture_ids_wrap_at_fifteen_bits() {
    let mut packetizer = Packetizer::new(Codec::Vp8, 1_000).unwrap();
    let frame = frame(false, 3, 0);
    let ids: Vec<u16> = (0..32_770)
        .map(|_| packetizer.packetize(&frame).unwrap()[0].clone())
        .map(|payload| u16::from_be_bytes([payload[2], payload[3]]))
        .collect();
    assert_eq!(ids[32_766..], [0xfffe, 0xffff, 0x8000, 0x8001]);
}

proptest! {
    #[test]
    fn what_is_packetized_comes_out_as_it_was(
        max_payload in MIN_MAX_PAYLOAD..1_500,
        frames in prop::collection::vec((any::<bool>(), 0usize..5_000), 1..6),
    ) {
        let mut packetizer = Packetizer::new(Codec::Vp8, max_payload).unwrap();
        let mut depacketizer = Depacketizer::new(Codec::Vp8, 1 << 22).unwrap();
        for (n, (key, length)) in frames.into_iter().enumerate() {
            let frame = frame(key || n == 0, length, n as i64);
            let payloads = packetizer.packetize(&frame).unwrap();
            prop_assert!(payloads.iter().all(|payload| payload.len() <= max_payload));
            prop_assert_eq!(payloads.len(), frame.data.len().div_ceil(max_payload - 4));

            let read = read_back(&payloads, &mut depacketizer, n as u32);
            let [Depacketized::Frame(coded)] = &read[..] else { panic!("{read:?}") };
            prop_assert_eq!((&coded.data, coded.keyframe), (&frame.data, frame.keyframe));
            prop_assert_eq!(&coded.format, &frame.format);

            let mut seen = BytesMut::new();
            for (index, payload) in payloads.iter().enumerate() {
                let mut foreign = Vp8Packet::default();
                seen.put_slice(&foreign.depacketize(payload).unwrap());
                let fields = (foreign.s, foreign.pid, foreign.n, foreign.picture_id);
                prop_assert_eq!(fields, (u8::from(index == 0), 0, 0, n as u16));
                prop_assert_eq!((foreign.l, foreign.t, foreign.k), (0, 0, 0));
            }
            prop_assert_eq!(seen, frame.data);
        }
    }
}
