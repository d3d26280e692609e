//! What can happen to a publisher's packets, one story a test: the exact frames and demands that come out.

#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

use bytes::Bytes;
use proptest::prelude::*;
use rtp::packetizer::Payloader;
use skywave_media::codec::{Codec, Format, TrackKind};
use skywave_media::frame::Frame;
use skywave_media::ingest::{Ingest, IngestConfig, IngestOutput, TrackId};
use skywave_media::packet::{Packet, SenderReport};
use skywave_media::time::Mono;
use std::sync::Arc;

const TRACK: TrackId = TrackId(0);

/// A sender of one track, and the ingest at the other end.
struct Story {
    ingest: Ingest,
    codec: Codec,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    now_ms: u64,
    out: Vec<IngestOutput>,
}

impl Story {
    fn new(codec: Codec) -> Self {
        let mut ingest = Ingest::new(IngestConfig::default(), Mono::from_millis(1000));
        ingest.add_track(TRACK, codec.kind(), Mono::from_millis(1000));
        // Close to both wraps.
        let (sequence, timestamp) = (65_530, u32::MAX - 9000);
        Self { ingest, codec, ssrc: 1, sequence, timestamp, now_ms: 1000, out: vec![] }
    }

    /// The packets of one frame, 33 ms after the one before.
    fn frame(&mut self, payloads: &[Bytes]) -> Vec<Packet> {
        let packets = payloads
            .iter()
            .enumerate()
            .map(|(n, payload)| Packet {
                ssrc: self.ssrc,
                sequence: self.sequence.wrapping_add(n as u16),
                timestamp: self.timestamp,
                marker: n + 1 == payloads.len(),
                codec: self.codec,
                arrival: Mono::from_millis(self.now_ms),
                payload: payload.clone(),
            })
            .collect();
        self.sequence = self.sequence.wrapping_add(payloads.len() as u16);
        self.timestamp = self.timestamp.wrapping_add(self.codec.rtp_clock_rate() / 1000 * 33);
        self.now_ms += 33;
        packets
    }

    fn deliver(&mut self, packets: impl IntoIterator<Item = Packet>) {
        for packet in packets {
            self.wait_until(packet.arrival);
            self.ingest.handle_packet(TRACK, packet);
            self.drain();
        }
    }

    /// Sends and delivers one frame.
    fn send(&mut self, payloads: &[Bytes]) {
        let packets = self.frame(payloads);
        self.deliver(packets);
    }

    fn wait_until(&mut self, now: Mono) {
        while let Some(due) = self.ingest.poll_timeout().filter(|due| *due <= now) {
            self.ingest.handle_timeout(due);
            assert!(self.ingest.poll_timeout().is_none_or(|next| next > due), "a due timer is consumed");
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.ingest.poll_output() {
            self.out.push(output);
        }
    }

    /// What has come out since the last call, in short: `K` keyframe, `f` another frame, `?` and the reason.
    fn told(&mut self) -> String {
        let word = |output: IngestOutput| match output {
            IngestOutput::Frame { frame, .. } if frame.keyframe => "K".to_owned(),
            IngestOutput::Frame { .. } => "f".to_owned(),
            IngestOutput::KeyframeNeeded { reason, .. } => format!("?{reason:?}"),
            other => panic!("unexpected {other:?}"),
        };
        self.out.drain(..).map(word).collect::<Vec<_>>().join(" ")
    }

    fn frames(&mut self) -> Vec<Frame> {
        self.out
            .drain(..)
            .filter_map(|output| match output {
                IngestOutput::Frame { frame, .. } => Some(frame),
                _ => None,
            })
            .collect()
    }
}

/// A VP8 key frame in so many packets.
fn vp8_key(width: u16, height: u16, packets: usize) -> Vec<Bytes> {
    let mut frame = vec![0x10, 0, 0, 0x9d, 0x01, 0x2a];
    frame.extend_from_slice(&width.to_le_bytes());
    frame.extend_from_slice(&height.to_le_bytes());
    frame.resize(100 * packets - 50, 7);
    vp8(&frame)
}

fn vp8_delta(packets: usize) -> Vec<Bytes> {
    vp8(&vec![0x11; 100 * packets - 50])
}

fn vp8(frame: &[u8]) -> Vec<Bytes> {
    let parts = frame.chunks(100).enumerate();
    parts.map(|(n, part)| [&[if n == 0 { 0x10 } else { 0 }][..], part].concat().into()).collect()
}

fn size(frame: &Frame) -> (u32, u32) {
    match &*frame.format {
        Format::Video(video) => (video.width, video.height),
        Format::Audio(_) => panic!("{:?} is no picture", frame.format),
    }
}

#[test]
fn frames_come_out_with_their_last_packet_across_both_wraps() {
    let mut story = Story::new(Codec::Vp8);
    story.send(&vp8_key(640, 360, 4));
    for _ in 0..20 {
        let mut packets = story.frame(&vp8_delta(3));
        let last = packets.pop();
        story.deliver(packets);
        story.told();
        story.deliver(last);
        assert_eq!(story.told(), "f");
    }
    story.send(&vp8_delta(1));
    let frames = story.frames();
    assert_eq!((frames[0].pts.ticks, frames[0].pts.rate), (21 * 33 * 90, 90_000));
    let stats = story.ingest.stats(TRACK).unwrap();
    assert_eq!((stats.packets, stats.frames, stats.keyframes, stats.frames_dropped), (65, 22, 1, 0));
    assert_eq!(stats.timeline.anchors, 1);
}

#[test]
fn a_frame_without_its_marker_ends_where_the_next_begins() {
    let mut story = Story::new(Codec::Vp8);
    let mut packets = story.frame(&vp8_key(640, 360, 2));
    packets.iter_mut().for_each(|packet| packet.marker = false);
    story.deliver(packets);
    assert_eq!(story.told(), "");
    story.send(&vp8_delta(1));
    assert_eq!(story.told(), "K f");
}

#[test]
fn frames_before_the_first_keyframe_are_dropped_and_one_is_asked_for_twice_a_second() {
    let mut story = Story::new(Codec::Vp8);
    for _ in 0..31 {
        story.send(&vp8_delta(2)); // 1.02 s
    }
    assert_eq!(story.told(), "?NotYet ?NotYet");
    story.send(&vp8_key(640, 360, 2));
    story.send(&vp8_delta(1));
    assert_eq!(story.told(), "?NotYet K f");
    assert_eq!(story.ingest.poll_timeout(), None);
    let stats = story.ingest.stats(TRACK).unwrap();
    assert_eq!((stats.frames, stats.frames_dropped, stats.keyframe_requests), (2, 31, 3));
}

#[test]
fn a_hole_is_waited_for_then_costs_the_frames_up_to_the_next_keyframe() {
    let mut story = Story::new(Codec::Vp8);
    story.send(&vp8_key(640, 360, 3));
    let mut holed = story.frame(&vp8_delta(3));
    holed.remove(1);
    let noticed = holed[1].arrival;
    story.deliver(holed);
    story.send(&vp8_delta(2));
    assert_eq!(story.told(), "K");
    // 200 ms after the hole was noticed, and not a nanosecond before.
    let deadline = noticed + std::time::Duration::from_millis(200);
    story.wait_until(Mono::from_nanos(deadline.as_nanos() - 1));
    assert_eq!(story.told(), "");
    story.wait_until(deadline);
    assert_eq!(story.told(), "?Loss");
    story.send(&vp8_delta(2));
    story.send(&vp8_key(640, 360, 3));
    story.send(&vp8_delta(2));
    assert_eq!(story.told(), "K f");
    let stats = story.ingest.stats(TRACK).unwrap();
    assert_eq!((stats.reorder.lost, stats.frames_dropped, stats.frames), (1, 3, 3));
}

#[test]
fn a_retransmission_in_time_fills_the_hole() {
    let mut story = Story::new(Codec::Vp8);
    story.send(&vp8_key(640, 360, 3));
    let mut holed = story.frame(&vp8_delta(3));
    let mut missing = holed.remove(1);
    story.deliver(holed);
    story.send(&vp8_delta(2));
    missing.arrival = Mono::from_millis(story.now_ms + 100);
    story.deliver([missing]);
    assert_eq!(story.told(), "K f f");
    assert_eq!(story.ingest.poll_timeout(), None);
}

#[test]
fn a_lost_keyframe_head_does_not_make_a_keyframe() {
    for lost in 0..3 {
        let mut story = Story::new(Codec::Vp8);
        story.send(&vp8_key(640, 360, 1));
        let mut holed = story.frame(&vp8_key(1280, 720, 3));
        holed.remove(lost);
        story.deliver(holed);
        story.send(&vp8_delta(1));
        story.now_ms += 250;
        story.send(&vp8_delta(1));
        assert_eq!(story.told(), "K ?Loss", "packet {lost} lost");
    }
}

#[test]
fn padding_between_frames_is_nothing() {
    let mut story = Story::new(Codec::Vp8);
    story.send(&vp8_key(640, 360, 2));
    for _ in 0..3 {
        let padding = story.frame(&[Bytes::new()]);
        story.deliver(padding);
        story.send(&vp8_delta(1));
    }
    assert_eq!(story.told(), "K f f f");
    let stats = story.ingest.stats(TRACK).unwrap();
    assert_eq!((stats.bad_payloads, stats.frames_dropped), (0, 0));
}

#[test]
fn a_new_resolution_is_a_new_format_and_equal_formats_are_one() {
    let mut story = Story::new(Codec::Vp8);
    for (width, height) in [(640, 360), (640, 360), (360, 640)] {
        story.send(&vp8_key(width, height, 2));
        story.send(&vp8_delta(2));
    }
    let frames = story.frames();
    assert_eq!(
        frames.iter().map(size).collect::<Vec<_>>(),
        [(640, 360), (640, 360), (640, 360), (640, 360), (360, 640), (360, 640)]
    );
    assert!(Arc::ptr_eq(&frames[0].format, &frames[3].format));
}

#[test]
fn a_switch_of_the_codec_in_mid_track_goes_on_with_the_new_codec() {
    let mut story = Story::new(Codec::Vp8);
    story.send(&vp8_key(640, 360, 2));
    story.send(&vp8_delta(2));
    story.codec = Codec::H264;
    story.send(&[h264_sets(SPS_640), Bytes::from_static(&[0x65, 0x88, 0x80, 1])]);
    story.codec = Codec::Vp8;
    story.send(&vp8_delta(2));
    story.send(&vp8_key(640, 360, 2));
    let frames = story.out.iter().filter_map(|output| match output {
        IngestOutput::Frame { frame, .. } => Some(frame.format.codec()),
        _ => None,
    });
    assert_eq!(frames.collect::<Vec<_>>(), [Codec::Vp8, Codec::Vp8, Codec::H264, Codec::Vp8]);
    assert_eq!(story.told(), "K f K ?NotYet K");
}

#[test]
fn another_ssrc_begins_anew_and_pts_go_on() {
    let mut story = Story::new(Codec::Vp8);
    story.send(&vp8_key(640, 360, 2));
    (story.ssrc, story.sequence, story.timestamp) = (99, 7, 7);
    story.send(&vp8_delta(2));
    story.send(&vp8_key(640, 360, 2));
    let pts = |output: &IngestOutput| match output {
        IngestOutput::Frame { frame, .. } => Some(frame.pts.ticks),
        _ => None,
    };
    assert_eq!(story.out.iter().filter_map(pts).collect::<Vec<_>>(), [0, 66 * 90]);
    assert_eq!(story.told(), "K ?NotYet K");
}

#[test]
fn a_silent_track_is_not_asked_for_keyframes_until_it_speaks_again() {
    let mut story = Story::new(Codec::Vp8);
    story.send(&vp8_delta(1));
    story.wait_until(Mono::from_millis(60_000));
    let told = story.told();
    assert_eq!(told.matches("?NotYet").count(), 11, "{told}"); // at 0, 0.5 .. 5 s
    assert_eq!(story.ingest.poll_timeout(), None);
    story.now_ms = 60_000;
    story.send(&vp8_delta(1));
    assert_eq!(story.told(), "?NotYet");
}

#[test]
fn a_frame_beyond_the_bound_is_dropped() {
    let mut story = Story::new(Codec::Vp8);
    story.send(&vp8_key(640, 360, 1));
    let config = IngestConfig { max_frame_bytes: 10_000, ..IngestConfig::default() };
    story.ingest = Ingest::new(config, Mono::from_millis(1000));
    story.ingest.add_track(TRACK, TrackKind::Video, Mono::from_millis(1000));
    story.told();
    story.send(&vp8_key(640, 360, 1));
    story.send(&vp8_delta(120));
    story.send(&vp8_key(640, 360, 1));
    assert_eq!(story.told(), "K ?BadPayload K");
    assert_eq!(story.ingest.stats(TRACK).unwrap().bad_payloads, 1);
}

#[test]
fn opus_packets_are_frames_with_their_length_and_dtx_is_one_too() {
    let mut story = Story::new(Codec::Opus);
    story.send(&[Bytes::from_static(&[0xfc, 1, 2, 3])]);
    story.send(&[Bytes::from_static(&[0xf8])]); // DTX: the TOC byte alone
    story.send(&[Bytes::from_static(&[0xfb])]); // no frame count
    story.send(&[Bytes::from_static(&[0x80, 1])]);
    let frames = story.frames();
    let told: Vec<_> = frames.iter().map(|f| (f.pts.ticks, f.duration.unwrap().ticks, f.keyframe)).collect();
    assert_eq!(told, [(0, 960, true), (33 * 48, 960, true), (99 * 48, 120, true)]);
    assert_eq!(frames[0].data, Bytes::from_static(&[0xfc, 1, 2, 3]));
    assert_eq!(story.ingest.stats(TRACK).unwrap().bad_payloads, 1);
}

#[test]
fn a_video_codec_on_an_audio_track_is_refused() {
    let mut story = Story::new(Codec::Opus);
    story.codec = Codec::Vp8;
    story.send(&vp8_key(640, 360, 1));
    assert_eq!(story.told(), "");
    assert_eq!(story.ingest.stats(TRACK).unwrap().bad_payloads, 1);
    let stranger = story.frame(&vp8_delta(1)).remove(0);
    story.ingest.handle_packet(TrackId(9), stranger);
    assert_eq!(story.ingest.stats(TrackId(9)), None);
}

#[test]
fn reports_of_strangers_are_ignored_and_one_that_comes_early_is_kept() {
    let mut story = Story::new(Codec::Vp8);
    let report = |story: &mut Story, ssrc: u32, ntp: u64| {
        let arrival = Mono::from_millis(story.now_ms);
        let rtp_timestamp = story.timestamp;
        story.ingest.handle_sender_report(TRACK, SenderReport { ssrc, ntp, rtp_timestamp, arrival });
        let stats = story.ingest.stats(TRACK).unwrap().timeline;
        (stats.reports, stats.reports_ignored)
    };
    let ntp = 3_900_000_000 << 32;
    assert_eq!(report(&mut story, 1, ntp), (0, 0)); // no packet yet: kept
    story.send(&vp8_key(640, 360, 2));
    assert_eq!(report(&mut story, 1, ntp), (2, 0));
    assert_eq!(report(&mut story, 77, ntp), (2, 1));
    assert_eq!(report(&mut story, 1, 0), (2, 2)); // no wall clock
    story.timestamp = story.timestamp.wrapping_add(90_000 * 60);
    assert_eq!(report(&mut story, 1, ntp), (2, 3)); // of a minute from now
}

// H.264: sets of x264, slices of our own.

const SPS_640: &str = "6742c01ed900a02ff97016a0c0c0d4a0000003002000000791e2c5c9";
const SPS_1280: &str = "6764001facd9405005bb016a02020280000003008000001e478c18cb";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// A STAP-A of an SPS and a PPS.
fn h264_sets(sps: &str) -> Bytes {
    let mut payload = vec![0x78];
    for nal in [hex(sps), hex("68cb8cb2")] {
        payload.extend_from_slice(&(nal.len() as u16).to_be_bytes());
        payload.extend_from_slice(&nal);
    }
    payload.into()
}

/// A NAL unit of `len` bytes in fragments of 100.
fn h264_fragments(header: u8, len: usize) -> Vec<Bytes> {
    let mut body = vec![0x88, 0x80];
    body.resize(len - 1, 0xaa);
    let count = body.chunks(100).count();
    let fu = |n: usize| header & 0x1f | if n == 0 { 0x80 } else { 0 } | if n + 1 == count { 0x40 } else { 0 };
    body.chunks(100)
        .enumerate()
        .map(|(n, part)| [&[header & 0xe0 | 28, fu(n)], part].concat().into())
        .collect()
}

#[test]
fn h264_sets_go_into_the_format_and_delimiters_go_away() {
    let mut story = Story::new(Codec::H264);
    let mut payloads = vec![Bytes::from_static(&[0x09, 0xf0]), h264_sets(SPS_640)];
    payloads.extend(h264_fragments(0x65, 450));
    story.send(&payloads);
    story.send(&[Bytes::from_static(&[0x41, 0x9a, 1, 2])]);
    let frames = story.frames();
    assert_eq!((frames.len(), size(&frames[0])), (2, (640, 360)));
    assert_eq!((frames[0].data.len(), &frames[0].data[..6]), (454, &[0, 0, 1, 0xc2, 0x65, 0x88][..]));
    assert_eq!(frames[1].data, Bytes::from_static(&[0, 0, 0, 4, 0x41, 0x9a, 1, 2]));
    let Format::Video(format) = &*frames[0].format else { unreachable!() };
    assert_eq!(skywave_media::h264::codec_string(&format.config).unwrap(), "avc1.42c01e");
    assert!(Arc::ptr_eq(&frames[0].format, &frames[1].format));
}

#[test]
fn h264_without_sets_cannot_be_decoded_and_with_new_sets_it_is_a_new_format() {
    let mut story = Story::new(Codec::H264);
    story.send(&h264_fragments(0x65, 300));
    assert_eq!(story.told(), "?BadPayload");
    for sps in [SPS_640, SPS_1280] {
        let mut payloads = vec![h264_sets(sps)];
        payloads.extend(h264_fragments(0x65, 300));
        story.send(&payloads);
        // The sets may be left out while they do not change.
        story.send(&h264_fragments(0x65, 300));
    }
    let sizes: Vec<_> = story.frames().iter().map(size).collect();
    assert_eq!(sizes, [(640, 360), (640, 360), (1280, 720), (1280, 720)]);
}

#[test]
fn h264_whose_sets_are_lost_waits_for_them() {
    let mut story = Story::new(Codec::H264);
    let mut payloads = vec![h264_sets(SPS_640)];
    payloads.extend(h264_fragments(0x65, 300));
    story.send(&payloads);
    payloads[0] = h264_sets(SPS_1280);
    let mut holed = story.frame(&payloads);
    holed.remove(0);
    story.deliver(holed);
    story.now_ms += 300;
    story.send(&[Bytes::from_static(&[0x41, 0x9a, 1, 2])]);
    assert_eq!(story.told(), "K ?Loss", "the picture must not be taken for one of 640 by 360");
    story.send(&payloads);
    assert_eq!(story.frames().iter().map(size).collect::<Vec<_>>(), [(1280, 720)]);
}

#[test]
fn h264_fragments_without_start_or_end_are_refused() {
    for broken in [0, 2] {
        let mut story = Story::new(Codec::H264);
        let mut payloads = vec![h264_sets(SPS_640)];
        payloads.extend(h264_fragments(0x65, 300));
        story.send(&payloads);
        let mut fragments = h264_fragments(0x41, 300);
        fragments.remove(broken);
        story.send(&fragments);
        assert_eq!(story.told(), "K ?BadPayload", "fragment {broken} missing");
    }
}

// VP9

/// A VP9 key frame header of this size, and some body.
fn vp9_key(width: u32, height: u32) -> Vec<u8> {
    // frame_marker 2, profile 0, shown key frame, sync code, BT.601 and studio range, size.
    let bits = format!("10000010{:024b}0010{:016b}{:016b}0000", 0x49_8342, width - 1, height - 1);
    let mut frame: Vec<u8> = bits
        .as_bytes()
        .chunks(8)
        .map(|b| u8::from_str_radix(std::str::from_utf8(b).unwrap(), 2).unwrap())
        .collect();
    frame.resize(60, 5);
    frame
}

#[test]
fn vp9_flexible_mode_of_a_foreign_payloader_comes_out_whole() {
    let mut story = Story::new(Codec::Vp9);
    let mut payloader = rtp::codecs::vp9::Vp9Payloader::default();
    let key = Bytes::from(vp9_key(320, 180));
    story.send(&payloader.payload(25, &key).unwrap());
    let frames = story.frames();
    assert_eq!((frames.len(), size(&frames[0])), (1, (320, 180)));
    assert_eq!(frames[0].data, key);
}

#[test]
fn vp9_layers_of_one_picture_are_one_superframe_of_the_top_layers_size() {
    let mut story = Story::new(Codec::Vp9);
    let base = vp9_key(320, 180);
    let top = [&[0x86u8][..], &[9; 299]].concat(); // an inter-predicted frame
    // I, L, B, E, V; picture id 1; TID 0, SID 0; TL0PICIDX; two layers with sizes, no group.
    let mut first = vec![0xae, 1, 0x00, 0, 0x30, 1, 64, 0, 180, 2, 128, 1, 104];
    first.extend_from_slice(&base);
    // I, P, L, B then E; picture id 1; SID 1, D.
    let mut second = vec![0xe8, 1, 0x03, 0];
    second.extend_from_slice(&top[..200]);
    let mut third = vec![0xe4, 1, 0x03, 0];
    third.extend_from_slice(&top[200..]);
    story.send(&[first.into(), second.into(), third.into()]);
    let frames = story.frames();
    assert_eq!((frames.len(), size(&frames[0]), frames[0].keyframe), (1, (640, 360), true));
    // Two frames, two size bytes: marker, 60, 300, marker.
    let index = [0xc9, 60, 0, 0x2c, 0x01, 0xc9];
    assert_eq!(frames[0].data, Bytes::from([base, top, index.to_vec()].concat()));
}

// Everything at once.

fn any_codec() -> impl Strategy<Value = Codec> {
    prop_oneof![
        Just(Codec::Vp8),
        Just(Codec::Vp9),
        Just(Codec::H264),
        Just(Codec::Av1),
        Just(Codec::Opus),
        Just(Codec::Aac)
    ]
}

proptest! {
    #[test]
    fn no_packets_and_reports_make_it_panic_or_leave_a_due_timer(
        events in proptest::collection::vec(
            (
                any_codec(),
                proptest::collection::vec(any::<u8>(), 0..60),
                (any::<u16>(), any::<u32>(), any::<u64>(), 0u64..300),
                (0u8..8, any::<bool>(), any::<bool>()),
            ),
            1..120,
        ),
    ) {
        let mut ingest = Ingest::new(IngestConfig::default(), Mono::from_millis(500));
        ingest.add_track(TrackId(0), TrackKind::Video, Mono::from_millis(0));
        ingest.add_track(TrackId(1), TrackKind::Audio, Mono::from_millis(0));
        let (mut now_ms, mut sequence, mut last_dts) = (0, 0u16, [None; 2]);
        for (codec, payload, (random, timestamp, ntp, wait_ms), (chance, marker, jump)) in events {
            now_ms += wait_ms;
            let now = Mono::from_millis(now_ms);
            let track = TrackId(u8::from(codec.kind() == TrackKind::Audio));
            sequence = if jump { random } else { sequence.wrapping_add(u16::from(chance != 0)) };
            let timestamp = if jump { timestamp } else { now_ms as u32 * 90 };
            if chance == 7 {
                let report = SenderReport { ssrc: u32::from(random % 2), ntp, rtp_timestamp: timestamp, arrival: now };
                ingest.handle_sender_report(track, report);
            } else {
                let ssrc = u32::from(chance == 6);
                ingest.handle_packet(track, Packet {
                    ssrc, sequence, timestamp, marker, codec, arrival: now, payload: payload.into(),
                });
            }
            while let Some(output) = ingest.poll_output() {
                if let IngestOutput::Frame { track, frame } = output {
                    let last = &mut last_dts[usize::from(track.0)];
                    prop_assert!(last.is_none_or(|last| frame.dts.ticks > last));
                    prop_assert!(frame.pts >= frame.dts);
                    *last = Some(frame.dts.ticks);
                }
            }
            prop_assert!(ingest.poll_timeout().is_none_or(|due| due > now));
        }
    }

    #[test]
    fn damaged_payloads_of_real_senders_never_panic(
        codec in prop_oneof![Just(Codec::Vp8), Just(Codec::Vp9), Just(Codec::H264), Just(Codec::Av1)],
        damage in proptest::collection::vec((any::<prop::sample::Index>(), 1u8.., 0u8..20), 1..60),
    ) {
        let h264 = [vec![h264_sets(SPS_640)], h264_fragments(0x65, 300), h264_fragments(0x41, 150)].concat();
        let payloads: Vec<Bytes> = match codec {
            Codec::Vp8 => [vp8_key(640, 360, 3), vp8_delta(2)].concat(),
            Codec::Vp9 => {
                let key = Bytes::from(vp9_key(320, 180));
                rtp::codecs::vp9::Vp9Payloader::default().payload(25, &key).unwrap()
            }
            Codec::Av1 => {
                let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../samples/captures/gst-av1.coded");
                let coded = Bytes::from(std::fs::read(path).unwrap());
                // The first temporal unit, up to the delimiter and frame of the next.
                let end = coded.windows(3).position(|bytes| bytes == [0x12, 0x00, 0x32]).unwrap();
                rtp::codecs::av1::Av1Payloader::default().payload(200, &coded.slice(2..end)).unwrap()
            }
            _ => h264,
        };
        let mut story = Story::new(codec);
        for (at, flip, what) in damage {
            let mut damaged = payloads.clone();
            let victim = at.index(damaged.len());
            let mut bytes = damaged[victim].to_vec();
            let position = at.index(bytes.len());
            match what {
                0 => drop(damaged.remove(victim)),
                1 => damaged.insert(victim, damaged[0].clone()),
                2 => damaged[victim] = Bytes::copy_from_slice(&bytes[..position]),
                // The headers are in the first bytes: most damage goes there.
                3..10 => {
                    bytes[position % 8 % damaged[victim].len()] ^= flip;
                    damaged[victim] = bytes.into();
                }
                _ => {
                    bytes[position] ^= flip;
                    damaged[victim] = bytes.into();
                }
            }
            story.send(&damaged);
        }
        let stats = story.ingest.stats(TRACK).unwrap();
        prop_assert!(stats.frames + stats.frames_dropped <= 60 * payloads.len() as u64);
    }

    #[test]
    fn any_order_within_the_window_gives_the_same_frames(
        sizes in proptest::collection::vec(1usize..6, 1..20),
        keys in proptest::collection::vec(0usize..10, 120),
        duplicate in 0usize..100,
    ) {
        let mut in_order = Story::new(Codec::Vp8);
        let mut packets = in_order.frame(&vp8_key(640, 360, 3));
        for size in sizes {
            packets.extend(in_order.frame(&vp8_delta(size)));
        }
        in_order.deliver(packets.clone());
        let straight = in_order.frames();
        prop_assert_eq!(straight.len(), packets.iter().filter(|p| p.marker).count());

        let mut order: Vec<usize> = (0..packets.len()).collect();
        order[1..].sort_by_key(|&n| n + keys[n % keys.len()]);
        order.insert(order.len() / 2, order[duplicate % order.len()]);
        let mut shuffled = Story::new(Codec::Vp8);
        // One packet a millisecond: none is later than a hole is waited for.
        shuffled.deliver(order.iter().zip(1000..).map(|(&n, at_ms)| {
            Packet { arrival: Mono::from_millis(at_ms), ..packets[n].clone() }
        }));
        let data = |frames: Vec<Frame>| frames.into_iter().map(|f| (f.data, f.keyframe)).collect::<Vec<_>>();
        prop_assert!(data(shuffled.frames()) == data(straight), "frames differ");
        prop_assert_eq!(shuffled.ingest.poll_timeout(), None);
    }
}
