//! Stories of recorders whose chunks come in one piece, late, all at once, or twice.

use super::*;
use crate::depacketize::{Depacketized, Depacketizer};
use crate::webm::reader::WebmReader;
use proptest::prelude::*;

const VP8: &[u8] = include_bytes!("../../../tests/fixtures/webm/vp8-opus.webm");
const AV1: &[u8] = include_bytes!("../../../tests/fixtures/webm/av1-opus.webm");
const H264: &[u8] = include_bytes!("../../../tests/fixtures/webm/h264-opus.mkv");
const B_FRAMES: &[u8] = include_bytes!("../../../tests/fixtures/webm/h264-bframes.mkv");
const PCM: &[u8] = include_bytes!("../../../tests/fixtures/webm/pcm.mkv");

fn events(data: &[u8]) -> Vec<WebmEvent> {
    let mut reader = WebmReader::new(data);
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

fn ms(at: u64) -> Mono {
    Mono::from_millis(at)
}

fn time_ms(event: &WebmEvent) -> u64 {
    match event {
        WebmEvent::Begin(_) => 0,
        WebmEvent::Block(block) => u64::try_from(block.time_ns / 1_000_000).unwrap(),
    }
}

/// Hands in events at their times and lets time pass; every output with the time at which it came.
fn run(feed: &mut LiveFeed, schedule: &[(u64, WebmEvent)], end: u64) -> Vec<(Mono, LiveOutput)> {
    let mut out = Vec::new();
    let mut drain =
        |feed: &mut LiveFeed, now| out.extend(std::iter::from_fn(|| feed.poll_output()).map(|o| (now, o)));
    let mut pending = schedule.iter().peekable();
    loop {
        let next_event = pending.peek().map(|(at, _)| ms(*at));
        let due = feed.poll_timeout();
        let now = match (next_event, due) {
            (Some(event), Some(due)) if due <= event => due,
            (Some(event), _) => event,
            (None, Some(due)) => due.max(ms(end)),
            (None, None) => return out,
        };
        if due.is_some_and(|due| due <= now) {
            feed.handle_timeout(now);
        } else if let Some((_, event)) = pending.next() {
            feed.handle_event(event, now);
        }
        drain(feed, now);
    }
}

fn packets(out: &[(Mono, LiveOutput)], track: u8) -> Vec<(Mono, Packet)> {
    let of = |(at, o): &(Mono, LiveOutput)| match o {
        LiveOutput::Packet { track: found, packet } if *found == TrackId(track) => {
            Some((*at, packet.clone()))
        }
        _ => None,
    };
    out.iter().filter_map(of).collect()
}

#[test]
fn a_chunk_leaves_at_the_pace_at_which_it_was_recorded() {
    for (data, codec) in [(VP8, Codec::Vp8), (AV1, Codec::Av1), (H264, Codec::H264), (B_FRAMES, Codec::H264)]
    {
        let mut feed = LiveFeed::new(LiveConfig::default());
        // All of it at once: a second of sound, ten pictures.
        let schedule: Vec<_> = events(data).into_iter().map(|event| (5_000, event)).collect();
        let out = run(&mut feed, &schedule, 0);
        let Some((_, LiveOutput::Begin { tracks, refused })) = out.first() else {
            panic!("{:?}", out.first())
        };
        assert_eq!(
            (tracks.as_slice(), refused.len()),
            (&[(TrackId(0), TrackKind::Video), (TrackId(1), TrackKind::Audio)][..], 0)
        );
        for track in 0..2 {
            let sent = packets(&out, track);
            let (first_at, first) = &sent[0];
            for (at, packet) in &sent {
                let clock = packet.codec.rtp_clock_rate();
                let shown_ms = i64::from(packet.timestamp.wrapping_sub(first.timestamp) as i32) * 1000
                    / i64::from(clock);
                let left_ms = at.nanos_since(*first_at) / 1_000_000;
                // B-frames are shown later than they are decoded, and the sound waits for the first of them.
                let reorder_ms = if data == B_FRAMES { 300 } else { 8 };
                assert!((left_ms - shown_ms).abs() <= reorder_ms, "{codec:?}: {left_ms} for {shown_ms}");
                assert_eq!(packet.arrival, *at);
            }
        }
        assert_eq!(packets(&out, 0).iter().filter(|(_, packet)| packet.marker).count(), 10, "{codec:?}");
        assert_eq!((feed.frames(), feed.dropped()), (61, 0));
        // The same pictures as before.
        let mut depacketizer = Depacketizer::new(codec, 1 << 20).unwrap();
        let mut pictures = 0;
        for (_, packet) in packets(&out, 0) {
            depacketizer.close_before(packet.timestamp);
            depacketizer.handle_packet(&packet);
            pictures += std::iter::from_fn(|| depacketizer.poll_output())
                .filter(|output| matches!(output, Depacketized::Frame(_)))
                .count();
        }
        assert_eq!(pictures, 10, "{codec:?}");
    }
}

#[test]
fn both_lanes_reports_tell_the_same_clock() {
    let mut feed = LiveFeed::new(LiveConfig::default());
    let schedule: Vec<_> = events(VP8).into_iter().map(|event| (0, event)).collect();
    let mut zero_ns = Vec::new();
    for (_, output) in run(&mut feed, &schedule, 0) {
        if let LiveOutput::Report { track, report } = output {
            let clock = if track == TrackId(0) { 90_000 } else { 48_000 };
            let wall_ns = (i128::from(report.ntp) * 1_000_000_000) >> 32;
            zero_ns.push(wall_ns - i128::from(report.rtp_timestamp as i32) * 1_000_000_000 / clock);
        }
    }
    assert!(zero_ns.len() >= 2);
    assert!(zero_ns.iter().all(|zero| (zero - zero_ns[0]).abs() < 100_000), "{zero_ns:?}");
}

#[test]
fn a_late_chunk_moves_all_that_follow_and_long_earliness_is_given_back() {
    let frame = 20_000_000;
    let mut pace = Pace::default();
    let max = Duration::from_secs(2);
    // Chunks of 200 ms, each there when its last frame is recorded; the third is 150 ms late.
    let arrive = |pace: &mut Pace, chunk: i64, late_ms: u64| {
        let now = ms(10_000 + 200 * (chunk as u64 + 1) + late_ms);
        for n in 0..10 {
            pace.handle_frame((chunk * 10 + n) * frame, now, false, max);
        }
        pace.due(chunk * 10 * frame).unwrap().nanos_since(now) / 1_000_000
    };
    assert_eq!([arrive(&mut pace, 0, 0), arrive(&mut pace, 1, 0), arrive(&mut pace, 2, 150)], [0, 0, 0]);
    assert_eq!(arrive(&mut pace, 3, 0), 150, "the delay stays for a while");
    let later: Vec<i64> = (4..250).map(|chunk| arrive(&mut pace, chunk, 0)).collect();
    assert!(later.windows(2).all(|two| two[0] - two[1] <= 100), "{later:?}");
    assert_eq!(later.last(), Some(&20));
}

#[test]
fn a_feed_is_full_when_enough_waits_and_reading_goes_on_in_time() {
    let mut feed =
        LiveFeed::new(LiveConfig { max_ahead: Duration::from_millis(300), ..LiveConfig::default() });
    let mut now = ms(1_000);
    let mut full = 0;
    for event in events(VP8) {
        while feed.is_full(now) {
            full += 1;
            now = feed.poll_timeout().unwrap().max(now);
            feed.handle_timeout(now);
            while feed.poll_output().is_some() {}
        }
        feed.handle_event(&event, now);
        while feed.poll_output().is_some() {}
        assert!(feed.ahead(now) <= Duration::from_millis(420), "{:?}", feed.ahead(now));
    }
    assert!(full > 10, "it was never full");
    assert!(now.saturating_since(ms(1_000)) >= Duration::from_millis(600), "a second was swallowed at once");
    let bytes = LiveConfig { max_bytes: 500, ..LiveConfig::default() };
    let mut feed = LiveFeed::new(bytes);
    for event in events(VP8).iter().take(20) {
        feed.handle_event(event, now);
        while feed.poll_output().is_some() {}
    }
    assert!(feed.is_full(now));
}

#[test]
fn a_recorder_that_is_started_again_is_another_publisher() {
    let mut feed = LiveFeed::new(LiveConfig::default());
    let mut schedule: Vec<_> = events(VP8).into_iter().map(|event| (100 + time_ms(&event), event)).collect();
    schedule.extend(events(AV1).into_iter().map(|event| (1_500 + time_ms(&event), event)));
    let out = run(&mut feed, &schedule, 0);
    let begins: Vec<usize> = out
        .iter()
        .enumerate()
        .filter(|(_, (_, o))| matches!(o, LiveOutput::Begin { .. }))
        .map(|(n, _)| n)
        .collect();
    assert_eq!(begins.len(), 2);
    let codecs =
        |range: &[(Mono, LiveOutput)]| packets(range, 0).iter().map(|(_, p)| p.codec).collect::<Vec<_>>();
    assert!(codecs(&out[..begins[1]]).iter().all(|codec| *codec == Codec::Vp8));
    assert!(codecs(&out[begins[1]..]).iter().all(|codec| *codec == Codec::Av1));
    let (first, second) = (packets(&out[..begins[1]], 0), packets(&out[begins[1]..], 0));
    assert_ne!(first[0].1.ssrc, second[0].1.ssrc);
    assert!(second[0].0 >= ms(1_500));
}

#[test]
fn what_cannot_be_taken_is_named() {
    let mut feed = LiveFeed::new(LiveConfig::default());
    let schedule: Vec<_> = events(PCM).into_iter().map(|event| (0, event)).collect();
    let out = run(&mut feed, &schedule, 0);
    let Some((_, LiveOutput::Begin { tracks, refused })) = out.first() else { panic!() };
    assert!(!refused.is_empty() && tracks.iter().all(|(_, kind)| *kind == TrackKind::Video), "{out:?}");
}

proptest! {
    /// Whatever the times, frames leave in order, the feed never waits for long, and nothing stays behind.
    #[test]
    fn any_times_are_survived(times in prop::collection::vec((any::<i32>(), 0u64..3_000), 1..60)) {
        let mut pace = Pace::default();
        let mut now = ms(5);
        for (at_ms, wait) in times {
            now = now + Duration::from_millis(wait);
            pace.handle_frame(i64::from(at_ms) * 1_000_000, now, false, Duration::from_secs(2));
            let due = pace.due(i64::from(at_ms) * 1_000_000).unwrap();
            prop_assert!(due >= now && due.saturating_since(now) <= Duration::from_secs(12));
        }
    }
}
