//! What is packetized comes out of depacketizers as it was: of ours, and of the `rtp` crate's.

mod aac;
mod av1;
mod parts;
mod vp8;
mod vp9;

use super::*;
use crate::codec::{AudioFormat, VideoFormat};
use crate::depacketize::{Depacketized, Depacketizer};
use crate::h264::{AvcConfig, avcc_nals};
use crate::packet::Packet;
use crate::time::{MediaTime, Mono};
use bytes::{BufMut, BytesMut};
use proptest::prelude::*;
use rtp::packetizer::Depacketizer as _;
use std::sync::Arc;

const CODECS: [Codec; 6] = [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1, Codec::Opus, Codec::Aac];

/// Of x264: 1280x720, High.
const SPS: &[u8] = &[
    0x67, 0x64, 0x00, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb, 0x01, 0x6a, 0x02, 0x02, 0x02, 0x80, 0x00,
    0x00, 0x03, 0x00, 0x80, 0x00, 0x00, 0x1e, 0x47, 0x8c, 0x18, 0xcb,
];
const PPS: &[u8] = &[0x68, 0xeb, 0xec, 0xb2, 0x2c];
/// The start of an IDR slice and of a P slice: first macroblock 0, PPS 0.
const IDR: [u8; 3] = [0x65, 0x88, 0x80];
const P: [u8; 3] = [0x41, 0xe0, 0x00];

fn format() -> Arc<Format> {
    let sets = AvcConfig::new(vec![Bytes::from_static(SPS)], vec![Bytes::from_static(PPS)]);
    let (width, height) = (1280, 720);
    Arc::new(Format::Video(VideoFormat { codec: Codec::H264, width, height, config: sets.build().unwrap() }))
}

fn frame(format: &Arc<Format>, nals: &[Vec<u8>], n: i64) -> Frame {
    let mut data = BytesMut::new();
    for nal in nals {
        data.put_u32(nal.len() as u32);
        data.put_slice(nal);
    }
    let pts = MediaTime::from_90k(n * 3_000);
    let keyframe = nals.iter().any(|nal| nal[0] & 0x1f == 5);
    Frame { format: Arc::clone(format), pts, dts: pts, duration: None, keyframe, data: data.freeze() }
}

fn slice(start: [u8; 3], length: usize) -> Vec<u8> {
    start.into_iter().chain((3..length).map(|n| (n % 251) as u8 + 1)).collect()
}

/// What our depacketizer makes of payloads.
fn read_back(payloads: &[Bytes], depacketizer: &mut Depacketizer, timestamp: u32) -> Vec<Depacketized> {
    for (index, payload) in payloads.iter().enumerate() {
        depacketizer.handle_packet(&Packet {
            ssrc: 1,
            sequence: 0,
            timestamp,
            marker: index + 1 == payloads.len(),
            codec: depacketizer.codec(),
            arrival: Mono::default(),
            payload: payload.clone(),
        });
    }
    std::iter::from_fn(|| depacketizer.poll_output()).collect()
}

/// Frame `n` of a track of 1280x720 in this codec.
fn video(codec: Codec, config: &[u8], keyframe: bool, data: Vec<u8>, n: i64) -> Frame {
    let (width, height) = (1280, 720);
    let format = VideoFormat { codec, width, height, config: Bytes::copy_from_slice(config) };
    let (format, pts) = (Arc::new(Format::Video(format)), MediaTime::from_90k(n * 3_000));
    Frame { format, pts, dts: pts, duration: None, keyframe, data: data.into() }
}

/// `length` bytes that tell when they are out of order.
fn body(length: usize) -> impl Iterator<Item = u8> {
    (0..length).map(|n| (n % 251) as u8)
}

fn sizes(payloads: &[Bytes]) -> Vec<usize> {
    payloads.iter().map(Bytes::len).collect()
}

/// A format of sound that says it is this codec's.
fn audio(codec: Codec) -> Arc<Format> {
    Arc::new(Format::Audio(AudioFormat { codec, sample_rate: 48_000, channels: 2, config: Bytes::new() }))
}

#[test]
fn a_small_keyframe_goes_with_its_parameter_sets_in_one_packet() {
    let mut packetizer = Packetizer::new(Codec::H264, DEFAULT_MAX_PAYLOAD).unwrap();
    let idr = slice(IDR, 100);
    let payloads =
        packetizer.packetize(&frame(&format(), &[vec![0x09, 0xf0], vec![0x06, 5, 1, 0], idr.clone()], 0));
    let expected = [&[0x78, 0, 28][..], SPS, &[0, 5], PPS, &[0, 100], &idr].concat();
    assert_eq!(payloads.unwrap(), [Bytes::from(expected)]);
    let payloads = packetizer.packetize(&frame(&format(), &[slice(P, 100)], 1)).unwrap();
    assert_eq!(payloads, [Bytes::from(slice(P, 100))], "no sets, no aggregation of one");
    assert_eq!(packetizer.packetize(&frame(&format(), &[vec![0x09, 0xf0]], 2)), Ok(vec![]));
}

#[test]
fn a_large_picture_is_cut_into_fragments_of_about_equal_size() {
    let mut packetizer = Packetizer::new(Codec::H264, 1_000).unwrap();
    let payloads = packetizer.packetize(&frame(&format(), &[slice(IDR, 2_500)], 0)).unwrap();
    assert_eq!(sizes(&payloads), [1 + 2 + SPS.len() + 2 + PPS.len(), 2 + 833, 2 + 833, 2 + 833]);
    let headers: Vec<[u8; 2]> = payloads.iter().map(|p| [p[0], p[1]]).collect();
    assert_eq!(headers[1..], [[0x7c, 0x85], [0x7c, 0x05], [0x7c, 0x45]]);
    // One byte too many for a single packet.
    let payloads = packetizer.packetize(&frame(&format(), &[slice(P, 1_001)], 1)).unwrap();
    assert_eq!(sizes(&payloads), [502, 502]);
}

#[test]
fn frames_that_are_not_what_they_should_be_are_refused() {
    for codec in CODECS {
        assert_eq!(Packetizer::new(codec, 63).err(), Some(PacketizeError::MaxPayload(63)));
        assert_eq!(Packetizer::new(codec, 65_001).err(), Some(PacketizeError::MaxPayload(65_001)));
        let mut packetizer = Packetizer::new(codec, 64).unwrap();
        assert_eq!(packetizer.codec(), codec);
        let foreign = if codec == Codec::Aac { Codec::Opus } else { Codec::Aac };
        let mut wrong = opus(vec![0xfc, 1]);
        wrong.format = audio(foreign);
        let error = PacketizeError::WrongCodec { expected: codec, found: foreign };
        assert_eq!(packetizer.packetize(&wrong), Err(error));
    }
    // H.264, VP9 and AV1 read the format.
    for codec in [Codec::H264, Codec::Vp9, Codec::Av1] {
        let mut wrong = opus(vec![0xfc, 1]);
        wrong.format = audio(codec);
        let packetized = Packetizer::new(codec, 1_200).unwrap().packetize(&wrong);
        assert_eq!(packetized, Err(PacketizeError::WrongKind(codec)));
    }
    let mut packetizer = Packetizer::new(Codec::H264, 1_200).unwrap();
    let mut cut = frame(&format(), &[slice(IDR, 100)], 0);
    cut.data.truncate(50);
    assert_eq!(packetizer.packetize(&cut), Err(H264Error::Truncated("NAL unit").into()));
    let alien = frame(&format(), &[vec![0x7c, 0x85, 1]], 0);
    assert_eq!(packetizer.packetize(&alien), Err(H264Error::OutOfRange("nal_unit_type").into()));
    assert!(
        packetizer.packetize(&frame(&format(), &[slice(IDR, 100)], 0)).is_ok(),
        "and the next frame goes on"
    );
}

fn opus(data: Vec<u8>) -> Frame {
    let (format, pts) = (audio(Codec::Opus), MediaTime::from_48k(960));
    Frame { format, pts, dts: pts, duration: None, keyframe: true, data: data.into() }
}

#[test]
fn opus_is_one_payload_a_frame() {
    let mut packetizer = Packetizer::new(Codec::Opus, 1_200).unwrap();
    let frame = opus(vec![0xfc, 1, 2]);
    assert_eq!(packetizer.packetize(&frame), Ok(vec![frame.data.clone()]));
    assert_eq!(packetizer.packetize(&opus(vec![])), Ok(vec![]));
    let error = PacketizeError::TooLarge { found: 1_201, limit: 1_200 };
    assert_eq!(packetizer.packetize(&opus(vec![0; 1_201])), Err(error));
    assert_eq!(rtp_timestamp(&frame), 960);
}

#[test]
fn timestamps_wrap_and_may_be_negative() {
    let at = |ticks| {
        let mut frame = frame(&format(), &[slice(P, 10)], 0);
        frame.pts = MediaTime::from_90k(ticks);
        rtp_timestamp(&frame)
    };
    assert_eq!([at(-1), at(0), at((1 << 32) + 5)], [u32::MAX, 0, 5]);
}

proptest! {
    #[test]
    fn what_is_packetized_is_read_back_by_us_and_by_the_rtp_crate(
        max_payload in MIN_MAX_PAYLOAD..1_500,
        frames in prop::collection::vec(
            (any::<bool>(), prop::collection::vec((3usize..4_000, prop::bool::weighted(0.5)), 1..8)), 1..6),
    ) {
        let format = format();
        let mut packetizer = Packetizer::new(Codec::H264, max_payload).unwrap();
        let mut depacketizer = Depacketizer::new(Codec::H264, 1 << 22).unwrap();
        let mut foreign = rtp::codecs::h264::H264Packet::default();
        foreign.is_avc = true;
        for (n, (key, slices)) in frames.into_iter().enumerate() {
            let key = key || n == 0;
            let start = if key { IDR } else { P };
            let nals: Vec<Vec<u8>> = slices
                .into_iter()
                .map(|(length, small)| slice(start, if small { length % 120 + 3 } else { length }))
                .collect();
            let frame = frame(&format, &nals, n as i64);
            let payloads = packetizer.packetize(&frame).unwrap();
            prop_assert!(payloads.iter().all(|payload| payload.len() <= max_payload));
            // No two neighbours would have fitted one packet: at most one packet more than the bytes need for each NAL unit.
            let wasted = payloads.windows(2).filter(|pair| {
                let alone = |p: &Bytes| !matches!(p[0] & 0x1f, 24 | 28);
                alone(&pair[0]) && alone(&pair[1]) && pair[0].len() + pair[1].len() + 5 <= max_payload
            });
            prop_assert_eq!(wasted.count(), 0);

            let read = read_back(&payloads, &mut depacketizer, n as u32);
            let [Depacketized::Frame(coded)] = &read[..] else { panic!("{read:?}") };
            prop_assert_eq!((&coded.data, coded.keyframe), (&frame.data, key));
            prop_assert_eq!(&*coded.format, &*format);

            let mut expected = BytesMut::new();
            for set in [SPS, PPS].into_iter().filter(|_| key) {
                expected.put_u32(set.len() as u32);
                expected.put_slice(set);
            }
            expected.put_slice(&frame.data);
            let mut seen = BytesMut::new();
            for payload in &payloads {
                seen.put_slice(&foreign.depacketize(payload).unwrap());
            }
            prop_assert_eq!(seen, expected);
        }
    }

    #[test]
    fn no_data_makes_it_panic(data in prop::collection::vec(any::<u8>(), 0..300), small: bool) {
        let mut frame = frame(&format(), &[], 0);
        // Lengths that are mostly in range.
        let data = if small { data.into_iter().map(|byte| byte & 0x07).collect() } else { data };
        frame.data = data.into();
        let mut packetizer = Packetizer::new(Codec::H264, MIN_MAX_PAYLOAD).unwrap();
        if let Ok(payloads) = packetizer.packetize(&frame) {
            prop_assert!(payloads.iter().all(|p| !p.is_empty() && p.len() <= MIN_MAX_PAYLOAD));
            prop_assert!(avcc_nals(&frame.data, 4).all(|nal| nal.is_ok()));
        }
    }

    #[test]
    fn no_data_in_any_codec_makes_it_panic_or_overfills_a_packet(
        codec in prop::sample::select(&CODECS[..]),
        keyframe: bool,
        max_payload in MIN_MAX_PAYLOAD..300,
        config in prop::collection::vec(any::<u8>(), 0..40),
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1_000), 1..4),
    ) {
        let mut packetizer = Packetizer::new(codec, max_payload).unwrap();
        for data in frames {
            let mut frame = video(codec, &config, keyframe, data, 0);
            if codec.kind() == crate::codec::TrackKind::Audio {
                frame.format = audio(codec);
            }
            if let Ok(payloads) = packetizer.packetize(&frame) {
                prop_assert!(payloads.iter().all(|p| !p.is_empty() && p.len() <= max_payload));
            }
        }
    }
}
