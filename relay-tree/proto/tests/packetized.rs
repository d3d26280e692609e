//! What a relay reads of payloads that our own packetizer made: frames of real senders in, inspected payloads out.

use relay_proto::inspect::{Field, inspect};
use skywave_media::capture::{Record, Records};
use skywave_media::codec::Codec;
use skywave_media::depacketize::{CodedFrame, Depacketized, Depacketizer};
use skywave_media::frame::Frame;
use skywave_media::packet::Packet;
use skywave_media::packetize::{MIN_MAX_PAYLOAD, Packetizer};
use skywave_media::time::MediaTime;

/// The frames of the first track with this codec.
fn frames(capture: &str, codec: Codec) -> Vec<CodedFrame> {
    let path = format!("{}/../../samples/captures/{capture}.skycap", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::read(path).expect("the capture");
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
    let mut frames = Vec::new();
    for packet in &packets {
        depacketizer.handle_packet(packet);
        while let Some(output) = depacketizer.poll_output() {
            let Depacketized::Frame(frame) = output else { panic!("{capture}: {output:?}") };
            frames.push(frame);
        }
    }
    frames
}

#[test]
fn frames_keyframes_and_picture_ids_are_seen_where_the_packetizer_put_them() {
    let captures = [
        ("gst-vp8", Codec::Vp8),
        ("chromium-vp8", Codec::Vp8),
        ("gst-vp9", Codec::Vp9),
        ("chromium-vp9", Codec::Vp9),
        ("chromium-h264", Codec::H264),
        ("chromium-av1", Codec::Av1),
        ("chromium-h264", Codec::Opus),
    ];
    for (capture, codec) in captures {
        // The smallest there are, so that many frames need several packets; Opus is not split.
        let max_payload = if codec == Codec::Opus { 1_200 } else { MIN_MAX_PAYLOAD };
        let mut packetizer = Packetizer::new(codec, max_payload).expect("a packetizer");
        let mut keyframes = 0;
        let mut fragmented = 0;
        for (number, coded) in (0u16..).zip(frames(capture, codec)) {
            let pts = MediaTime::new(i64::from(coded.timestamp), codec.rtp_clock_rate());
            let (format, data, keyframe) = (coded.format, coded.data, coded.keyframe);
            let frame = Frame { format, pts, dts: pts, duration: None, keyframe, data };
            let payloads = packetizer.packetize(&frame).expect("payloads");
            keyframes += usize::from(keyframe);
            fragmented += usize::from(payloads.len() > 1);
            for (index, payload) in payloads.iter().enumerate() {
                let seen = inspect(codec, payload);
                let at = format!("{capture}, frame {number}, payload {index}");
                if index == 0 {
                    assert!(seen.frame_start, "{at}");
                    let expected = keyframe && codec != Codec::Opus;
                    assert_eq!(seen.keyframe_start, expected, "{at}");
                } else if codec != Codec::H264 {
                    // In H.264 the IDR slice begins behind the parameter sets.
                    assert!(!seen.frame_start && !seen.keyframe_start, "{at}");
                }
                let id = |position| Some(Field { at: position, bits: 15, value: number });
                let expected = match codec {
                    Codec::Vp8 => id(2),
                    Codec::Vp9 => id(1),
                    _ => None,
                };
                assert_eq!(seen.picture.and_then(|picture| picture.picture_id), expected, "{at}");
                assert_eq!(seen.picture.and_then(|picture| picture.tl0), None, "{at}");
            }
        }
        assert!(keyframes > 0, "{capture}");
        assert!(fragmented > 0 || codec == Codec::Opus, "{capture}");
    }
}
