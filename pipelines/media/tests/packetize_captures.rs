//! Frames of real senders go through our packetizer and come out as they were.

use skywave_media::capture::{Record, Records};
use skywave_media::codec::Codec;
use skywave_media::depacketize::{CodedFrame, Depacketized, Depacketizer};
use skywave_media::frame::Frame;
use skywave_media::packet::Packet;
use skywave_media::packetize::{DEFAULT_MAX_PAYLOAD, Packetizer};
use skywave_media::time::MediaTime;
use std::path::PathBuf;

/// The frames of the first track with this codec, as its sender made them.
fn frames(capture: &str, codec: Codec) -> Vec<CodedFrame> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../samples/captures").join(capture);
    let file = std::fs::read(path.with_extension("skycap")).expect("the capture");
    let mut packets: Vec<Packet> = Records::new(&file)
        .expect("a capture")
        .filter_map(|record| match record.expect("a whole record") {
            Record::Packet { packet, .. } if packet.codec == codec => Some(packet),
            _ => None,
        })
        .collect();
    let first = packets.first().expect("packets").sequence.wrapping_sub(100);
    packets.sort_by_key(|packet| packet.sequence.wrapping_sub(first));
    packets.dedup_by_key(|packet| packet.sequence);
    let mut depacketizer = Depacketizer::new(codec, 1 << 22).expect("a depacketizer");
    packets.iter().flat_map(|packet| feed(&mut depacketizer, packet)).collect()
}

fn feed(depacketizer: &mut Depacketizer, packet: &Packet) -> Vec<CodedFrame> {
    depacketizer.handle_packet(packet);
    std::iter::from_fn(|| depacketizer.poll_output())
        .map(|output| match output {
            Depacketized::Frame(frame) => frame,
            other => panic!("{other:?}"),
        })
        .collect()
}

fn frame(coded: &CodedFrame) -> Frame {
    let pts = MediaTime::new(i64::from(coded.timestamp), coded.format.codec().rtp_clock_rate());
    let (format, data) = (coded.format.clone(), coded.data.clone());
    Frame { format, pts, dts: pts, duration: coded.duration, keyframe: coded.keyframe, data }
}

/// The NAL units of a frame without SEI, which is left out on the way.
fn without_sei(coded: &CodedFrame) -> Vec<Vec<u8>> {
    use skywave_media::h264::{avcc_nals, nal_type, nal_unit_type};
    avcc_nals(&coded.data, 4)
        .map(|nal| nal.expect("a NAL unit").to_vec())
        .filter(|nal| nal_unit_type(nal) != Some(nal_type::SEI))
        .collect()
}

#[test]
fn frames_of_real_senders_survive_packetizing() {
    let captures = [
        ("gst-h264", Codec::H264),
        ("gst-h264-bframes", Codec::H264),
        ("chromium-h264", Codec::H264),
        ("gst-vp8", Codec::Vp8),
        ("chromium-vp8", Codec::Vp8),
        ("firefox-vp8", Codec::Vp8),
        ("gst-vp9", Codec::Vp9),
        ("chromium-vp9", Codec::Vp9),
        ("chromium-av1", Codec::Av1),
        ("gst-opus", Codec::Opus),
        ("chromium-h264", Codec::Opus),
    ];
    for (capture, codec) in captures {
        let sent = frames(capture, codec);
        assert!(sent.len() >= 50, "{capture}: {} frames", sent.len());
        let mut packetizer = Packetizer::new(codec, DEFAULT_MAX_PAYLOAD).expect("a packetizer");
        let mut depacketizer = Depacketizer::new(codec, 1 << 22).expect("a depacketizer");
        let mut got = Vec::new();
        for coded in &sent {
            let payloads = packetizer.packetize(&frame(coded)).expect("payloads");
            let last = payloads.len() - 1;
            for (index, payload) in payloads.into_iter().enumerate() {
                let packet = Packet {
                    ssrc: 1,
                    sequence: 0,
                    timestamp: coded.timestamp,
                    marker: index == last,
                    codec,
                    arrival: coded.arrival,
                    payload,
                };
                got.extend(feed(&mut depacketizer, &packet));
            }
        }
        assert_eq!(got.len(), sent.len(), "{capture}");
        for (got, sent) in got.iter().zip(&sent) {
            assert_eq!((got.timestamp, got.keyframe), (sent.timestamp, sent.keyframe), "{capture}");
            assert_eq!(got.format, sent.format, "{capture}");
            if codec == Codec::H264 {
                assert_eq!(without_sei(got), without_sei(sent), "{capture} at {}", sent.timestamp);
            } else {
                assert_eq!(got.data, sent.data, "{capture} at {}", sent.timestamp);
            }
        }
    }
}
