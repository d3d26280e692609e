//! AAC.

use super::*;

fn frame(length: usize) -> Frame {
    let config = Bytes::from_static(&[0x12, 0x10]);
    let format = AudioFormat { codec: Codec::Aac, sample_rate: 44_100, channels: 2, config };
    let (format, pts) = (Arc::new(Format::Audio(format)), MediaTime::new(1_024, 44_100));
    Frame { format, pts, dts: pts, duration: None, keyframe: true, data: body(length).collect() }
}

/// The access unit in these payloads, read as RFC 3640 section 3.2 has it.
fn read_unit(payloads: &[Bytes]) -> Vec<u8> {
    let mut unit = Vec::new();
    let mut expected = None;
    for payload in payloads {
        let [bits, header] = [0, 2].map(|at| u16::from_be_bytes([payload[at], payload[at + 1]]));
        assert_eq!((bits, header & 0x07), (16, 0), "one AU header, AU-Index 0");
        assert_eq!(*expected.get_or_insert(header >> 3), header >> 3, "every part has the size of the whole");
        unit.extend_from_slice(&payload[4..]);
    }
    assert_eq!(expected.map(usize::from), Some(unit.len()));
    unit
}

#[test]
fn a_frame_is_one_payload_with_its_size_in_front() {
    let mut packetizer = Packetizer::new(Codec::Aac, 1_200).unwrap();
    let payloads = packetizer.packetize(&frame(300)).unwrap();
    assert_eq!((payloads.len(), &payloads[0][..5]), (1, &[0x00, 0x10, 0x09, 0x60, 0][..]));
    assert_eq!(packetizer.packetize(&frame(0)), Ok(vec![]));
    assert_eq!(sizes(&packetizer.packetize(&frame(1_196)).unwrap()), [1_200]);
    assert_eq!(sizes(&packetizer.packetize(&frame(1_197)).unwrap()), [4 + 599, 4 + 598]);
}

#[test]
fn a_unit_whose_size_13_bits_do_not_hold_is_refused() {
    let mut packetizer = Packetizer::new(Codec::Aac, 65_000).unwrap();
    assert_eq!(read_unit(&packetizer.packetize(&frame(8_191)).unwrap()).len(), 8_191);
    for found in [8_192, 65_535, 65_536, 100_000] {
        let error = PacketizeError::TooLarge { found, limit: 8_191 };
        assert_eq!(packetizer.packetize(&frame(found)), Err(error));
    }
}

#[test]
fn its_clock_is_the_sample_rate() {
    let mut frame = frame(10);
    assert_eq!(rtp_timestamp(&frame), 1_024);
    frame.format = audio(Codec::Aac);
    assert_eq!(rtp_timestamp(&frame), 1_115, "1024 samples of 44100 Hz in ticks of 48 kHz");
    let odd = AudioFormat { codec: Codec::Aac, sample_rate: 0, channels: 2, config: Bytes::new() };
    frame.format = Arc::new(Format::Audio(odd));
    assert_eq!(rtp_timestamp(&frame), 1_115, "no rate: the codec's");
}

proptest! {
    #[test]
    fn what_is_packetized_comes_out_as_it_was(max_payload in MIN_MAX_PAYLOAD..1_500, length in 1usize..8_192) {
        let frame = frame(length);
        let payloads = Packetizer::new(Codec::Aac, max_payload).unwrap().packetize(&frame).unwrap();
        prop_assert!(payloads.iter().all(|payload| payload.len() <= max_payload));
        prop_assert_eq!(payloads.len(), length.div_ceil(max_payload - 4));
        prop_assert_eq!(read_unit(&payloads), frame.data);
    }
}
