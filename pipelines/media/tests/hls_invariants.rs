//! Whatever frames come: what the specification asks of playlists and segments holds at every moment.
#![allow(clippy::unwrap_used)]

#[path = "hls_support/bench.rs"]
mod hls_support;

use hls_support::*;
use m3u8_rs::MediaPlaylist;
use proptest::prelude::*;
use skywave_media::codec::{Format, TrackKind};
use skywave_media::hls::{Awaited, HlsConfig, HlsView, Lookup};
use skywave_media::time::MediaTime;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Durations are listed to five decimals, and sums of such are no exact numbers: so much is no difference.
const ROUNDING_S: f64 = 1e-3;

/// What happens to a broadcast, one step after the other.
#[derive(Debug, Clone)]
enum Step {
    /// Both lanes run for this many milliseconds.
    Run(i64),
    /// One lane is silent for this long; the other runs.
    VideoStops(i64),
    AudioStops(i64),
    /// Nothing comes for this long.
    Nothing(i64),
    /// The publisher sends another picture size from here on.
    Size(u8),
    /// Keyframes come this long after they are due from here on.
    KeyframeDelay(i64),
    /// Frames jitter by up to this many ticks of 90 kHz.
    Jitter(i64),
    /// Frames a second from here on.
    Rate(i64),
    /// The publisher leaves, and comes back after this long.
    Reconnect(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (200..9_000i64).prop_map(Step::Run),
        1 => (50..9_000i64).prop_map(Step::VideoStops),
        1 => (50..9_000i64).prop_map(Step::AudioStops),
        1 => (50..15_000i64).prop_map(Step::Nothing),
        1 => (0..3u8).prop_map(Step::Size),
        1 => (-200..3_000i64).prop_map(Step::KeyframeDelay),
        1 => (0..5_000i64).prop_map(Step::Jitter),
        1 => (1..60i64).prop_map(Step::Rate),
        1 => (0..30_000i64).prop_map(Step::Reconnect),
    ]
}

/// What the checks remember from one view to the next.
#[derive(Default)]
struct Watcher {
    last: BTreeMap<String, MediaPlaylist>,
    discontinuity_of: BTreeMap<u64, u64>,
    views: u64,
}

impl Watcher {
    fn look(&mut self, view: &HlsView) {
        for rendition in ["source", "audio"] {
            if matches!(view.get(&format!("{rendition}/index.m3u8"), ""), Lookup::Found(_)) {
                let playlist = media_playlist(view, rendition);
                self.playlist(rendition, &playlist, view);
                low_latency(view, rendition);
                self.last.insert(rendition.to_owned(), playlist);
            }
        }
        self.views += 1;
    }

    fn playlist(&mut self, rendition: &str, playlist: &MediaPlaylist, view: &HlsView) {
        assert_eq!(playlist.target_duration, 2);
        assert!(playlist.independent_segments);
        let text = text(view, &format!("{rendition}/index.m3u8"));
        for line in text.lines().filter_map(|l| l.strip_prefix("#EXTINF:")) {
            let seconds: f64 = line.trim_end_matches(',').parse().unwrap();
            assert!(seconds.round() <= 2.0, "{line}");
        }
        let mut discontinuity = playlist.discontinuity_sequence;
        for (i, entry) in playlist.segments.iter().enumerate() {
            let msn = playlist.media_sequence + i as u64;
            discontinuity += u64::from(entry.discontinuity);
            let known = *self.discontinuity_of.entry(msn).or_insert(discontinuity);
            assert_eq!(
                known, discontinuity,
                "{rendition} {msn}: one discontinuity sequence in every rendition"
            );
            assert_eq!(entry.uri, format!("t1-{msn}.m4s"));
            assert!(entry.program_date_time.is_some());
        }
        let Some(before) = self.last.get(rendition) else { return };
        assert!(playlist.media_sequence >= before.media_sequence);
        assert!(playlist.discontinuity_sequence >= before.discontinuity_sequence);
        // What was listed stays as it was.
        let gone = (playlist.media_sequence - before.media_sequence) as usize;
        for (old, new) in before.segments.iter().skip(gone).zip(&playlist.segments) {
            assert_eq!(
                (&old.uri, old.duration, old.discontinuity),
                (&new.uri, new.duration, new.discontinuity)
            );
            assert_eq!(old.program_date_time, new.program_date_time);
        }
        assert!(playlist.segments.len() + gone >= before.segments.len(), "nothing listed disappears");
        if gone > 0 {
            let rest: f64 = playlist.segments.iter().map(|s| f64::from(s.duration)).sum();
            assert!(rest >= 6.0 - ROUNDING_S, "{rendition}: only {rest} s left");
        }
    }
}

/// What low latency asks of one playlist: parts within their bounds, adding up to their segments, near the edge and in
/// order; a delta update that leaves out what it may and nothing else; reports that are true.
fn low_latency(view: &HlsView, rendition: &str) {
    let path = format!("{rendition}/index.m3u8");
    let full = text(view, &path);
    let read = Read::of(&full);
    let (target, part_target) = (2.0, 0.22);
    for (index, entry) in read.entries.iter().enumerate() {
        let last = entry.parts.len().saturating_sub(1);
        for (i, part) in entry.parts.iter().enumerate() {
            let (least, most) = (0.85 * part_target - 1e-5, part_target + 1e-5);
            // A publisher that sent nothing for longer than a part makes a long picture of the last one.
            let long = || samples(&found(view, &format!("{rendition}/{}", part.uri)).body) == 1;
            assert!(part.duration <= most || long(), "{rendition} {}: {part:?}", entry.msn);
            let excused = part.independent || (i == last && (entry.uri.is_some() || view.has_ended()));
            assert!(part.duration >= least || excused, "{rendition} {}: {part:?}", entry.msn);
            assert_eq!(part.uri, format!("t1-{}.{i}.m4s", entry.msn));
        }
        if entry.uri.is_some() && !entry.parts.is_empty() {
            let sum: f64 = entry.parts.iter().map(|part| part.duration).sum();
            assert!(
                (sum - entry.duration).abs() < 2e-4,
                "{rendition} {}: {sum} {}",
                entry.msn,
                entry.duration
            );
            let behind: f64 = read.entries[index + 1..].iter().map(Entry::length).sum();
            assert!(
                behind <= 3.0 * target + ROUNDING_S,
                "{rendition} {}: parts {behind} s from the end",
                entry.msn
            );
        }
    }
    for skip in ["YES", "v2"] {
        let delta = Read::of(&body(view, &path, &format!("_HLS_skip={skip}")));
        let skipped = delta.skipped;
        assert_eq!(skipped + delta.entries.len(), read.entries.len());
        assert_eq!(delta.entries, read.entries[skipped..], "{rendition}: what is not skipped is the same");
        assert_eq!((delta.msn, delta.discontinuity_sequence), (read.msn, read.discontinuity_sequence));
        let complete = read.entries.iter().skip(skipped).filter(|e| e.uri.is_some());
        let kept: f64 = complete.map(|e| e.duration).sum();
        assert!(
            skipped == 0 || kept >= 6.0 * target - ROUNDING_S,
            "{rendition}: only {kept} s are kept of a delta update"
        );
    }
    for (other, msn, part) in &read.reports {
        let other = Read::of(&text(view, &format!("{other}/index.m3u8")));
        let last = other.entries.last().unwrap();
        assert_eq!((*msn, *part), (last.msn, last.all_parts.checked_sub(1)), "{rendition} reports");
    }
    let others = ["source", "audio"]
        .iter()
        .filter(|r| **r != rendition && matches!(view.get(&format!("{r}/index.m3u8"), ""), Lookup::Found(_)));
    assert_eq!(read.reports.len(), if view.has_ended() { 0 } else { others.count() });
    hint(view, rendition, &read);
}

/// The part that is hinted at is the next one, and is waited for.
fn hint(view: &HlsView, rendition: &str, read: &Read) {
    assert!(!view.has_ended() || read.hint.is_none());
    let last = read.entries.last().unwrap();
    let next = (last.msn + 1, 0);
    if let Some(hint) = &read.hint {
        let here = (last.msn, last.parts.len());
        let (msn, part) = if last.uri.is_some() { next } else { here };
        assert_eq!(*hint, format!("t1-{msn}.{part}.m4s"));
        let awaited = Awaited::Part { rendition: name(rendition), msn, part: part as u64 };
        assert_eq!(view.get(&format!("{rendition}/{hint}"), ""), Lookup::Later(awaited.clone()));
        assert!(!view.has(&awaited));
        let query = format!("_HLS_msn={msn}&_HLS_part={part}");
        assert!(matches!(view.get(&format!("{rendition}/index.m3u8"), &query), Lookup::Later(_)), "{query}");
    }
    let there = if last.uri.is_some() {
        format!("_HLS_msn={}", last.msn)
    } else {
        format!("_HLS_msn={}&_HLS_part={}", last.msn, last.parts.len() - 1)
    };
    assert!(matches!(view.get(&format!("{rendition}/index.m3u8"), &there), Lookup::Found(_)), "{there}");
}

/// The segments themselves, at the end: continuous, beginning with a keyframe, as long as they say.
fn check_segments(view: &HlsView, rendition: &str) {
    let mut end: Option<u64> = None;
    let mut msn = None;
    for listed in view.segments(&name(rendition)) {
        assert!(msn.is_none_or(|m| m + 1 == listed.msn), "no hole in the numbers");
        msn = Some(listed.msn);
        if !listed.discontinuity
            && let Some(end) = end
        {
            assert_eq!(listed.start_ticks, end, "{rendition} {}: no gap, no overlap", listed.msn);
        }
        end = Some(listed.start_ticks + listed.duration_ticks);
        assert!(listed.duration_nanos() <= 2_499_000_000 + 20_000);
        if listed.gap {
            continue;
        }
        let path = format!("{rendition}/t1-{}.m4s", listed.msn);
        let read = segment(&found(view, &path).body);
        assert_eq!(read, (listed.start_ticks, listed.duration_ticks, true), "{path}");
        let init = found(view, &format!("{rendition}/init-t1-{}.mp4", listed.init));
        assert_eq!(boxes(&init.body).len(), 2);
    }
}

/// Segments of the same number cover the same time in both renditions, unless a lane was out of order there.
fn check_alignment(view: &HlsView, tolerance: Duration) {
    let by_msn = |r: &str| -> BTreeMap<u64, u64> {
        let all = view.segments(&name(r)).iter();
        all.filter(|s| !s.gap).map(|s| (s.msn, s.start_nanos())).collect()
    };
    let sound = by_msn("audio");
    for (msn, at) in by_msn("source") {
        if let Some(other) = sound.get(&msn) {
            assert!(at.abs_diff(*other) <= tolerance.as_nanos() as u64, "segment {msn}: {at} and {other}");
        }
    }
}

struct Broadcast {
    bench: Bench,
    watcher: Watcher,
    picture: Arc<Format>,
    sound: Arc<Format>,
    at_ms: i64,
    keyframe_delay_ms: i64,
    jitter: i64,
    rate: i64,
    next_video_ms: i64,
    next_key_ms: i64,
    next_audio: i64,
    seen: usize,
    random: u64,
}

impl Broadcast {
    fn new() -> Self {
        let config = HlsConfig { window: Duration::from_secs(20), ..Default::default() };
        let mut bench = Bench::new(config);
        bench.add("source", TrackKind::Video);
        bench.add("audio", TrackKind::Audio);
        Self {
            bench,
            watcher: Watcher::default(),
            picture: h264(640, 360),
            sound: aac(),
            at_ms: 0,
            keyframe_delay_ms: 0,
            jitter: 0,
            rate: 30,
            next_video_ms: 0,
            next_key_ms: 0,
            next_audio: 0,
            seen: 0,
            random: 1,
        }
    }

    fn random(&mut self, below: i64) -> i64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.random >> 33) as i64) % below.max(1)
    }

    fn run(&mut self, ms: i64, with_video: bool, with_audio: bool) {
        let end = self.at_ms + ms;
        while self.next_video_ms < end || self.next_audio * 1024 / 48 < end {
            if self.next_video_ms <= self.next_audio * 1024 / 48 {
                let at = self.next_video_ms;
                self.next_video_ms += (1000 / self.rate).max(1);
                if with_video {
                    let keyframe = at >= self.next_key_ms;
                    if keyframe {
                        self.next_key_ms = (at / 2000 + 1) * 2000 + self.keyframe_delay_ms;
                    }
                    let ticks = at * 90 + self.random(self.jitter + 1);
                    let mut frame = video(&self.picture, ticks, keyframe);
                    frame.data = frame.data.slice(..50);
                    self.bench.frame("source", frame);
                }
            } else {
                let at = self.next_audio;
                self.next_audio += 1;
                if with_audio {
                    let mut frame = audio(&self.sound, at * 1024);
                    frame.data = frame.data.slice(..10);
                    self.bench.frame("audio", frame);
                }
            }
            if self.bench.events.len() > self.seen {
                self.seen = self.bench.events.len();
                self.watcher.look(&self.bench.view());
            }
        }
        self.at_ms = end;
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Run(ms) => self.run(ms, true, true),
            Step::VideoStops(ms) => {
                self.run(ms, false, true);
                self.next_key_ms = 0;
            }
            Step::AudioStops(ms) => self.run(ms, true, false),
            Step::Nothing(ms) => {
                self.run(ms, false, false);
                self.next_key_ms = 0;
            }
            Step::Size(n) => {
                self.picture = h264(640 + 16 * u32::from(n), 360);
                self.next_key_ms = 0;
            }
            Step::KeyframeDelay(ms) => self.keyframe_delay_ms = ms,
            Step::Jitter(ticks) => self.jitter = ticks,
            Step::Rate(fps) => self.rate = fps,
            Step::Reconnect(ms) => {
                self.bench.packager.handle_discontinuity(self.bench.now);
                self.bench.drain();
                self.run(ms, false, false);
                self.next_key_ms = 0;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_invariant_holds_for_any_broadcast(steps in prop::collection::vec(step(), 1..40)) {
        let mut broadcast = Broadcast::new();
        for step in &steps {
            broadcast.step(step);
            // Kept behind the playlist only for a while: look at segments while they are there.
            for rendition in ["source", "audio"] {
                check_segments(&broadcast.bench.view(), rendition);
            }
        }
        broadcast.bench.end();
        let view = broadcast.bench.view();
        broadcast.watcher.look(&view);
        for rendition in ["source", "audio"] {
            check_segments(&view, rendition);
        }
        prop_assert!(broadcast.bench.packager.poll_timeout().is_none(), "nothing is due after the end");
    }

    #[test]
    fn frames_of_any_time_in_any_order_break_nothing(
        frames in prop::collection::vec(
            (
                any::<bool>(),
                prop_oneof![
                    20 => -200_000..9_000_000i64,
                    1 => any::<i64>(),
                    1 => prop::sample::select(vec![i64::MIN, i64::MAX, 1 << 44, -1, 0]),
                ],
                prop::option::of(prop_oneof![5 => 0..100_000i64, 1 => any::<i64>()]),
                any::<bool>(),
                0..2u8,
                0..400u64,
            ),
            1..400,
        )
    ) {
        let mut bench = Bench::new(HlsConfig { window: Duration::from_secs(20), ..Default::default() });
        bench.add("source", TrackKind::Video);
        bench.add("audio", TrackKind::Audio);
        let sound = aac();
        for (is_video, ticks, duration, keyframe, size, pause_ms) in frames {
            bench.wait_until(bench.now + Duration::from_millis(pause_ms));
            let (rendition, mut frame) = match is_video {
                true => ("source", video(&h264(320 + 16 * u32::from(size), 180), ticks, keyframe)),
                false => ("audio", audio(&sound, ticks)),
            };
            frame.duration = duration.map(|d| MediaTime::new(d, frame.pts.rate));
            frame.data = frame.data.slice(..10);
            bench.packager.handle_frame(&name(rendition), frame, bench.now).unwrap();
            bench.drain();
            for rendition in ["source", "audio"] {
                check_segments(&bench.view(), rendition);
            }
        }
        bench.end();
        for rendition in ["source", "audio"] {
            check_segments(&bench.view(), rendition);
        }
    }

    #[test]
    fn segments_of_one_number_begin_together_while_both_lanes_run(
        steps in prop::collection::vec(
            prop_oneof![
                4 => (200..9_000i64).prop_map(Step::Run),
                1 => (0..3u8).prop_map(Step::Size),
                1 => (-100..300i64).prop_map(Step::KeyframeDelay),
                1 => (0..20_000i64).prop_map(Step::Reconnect),
            ],
            1..30,
        )
    ) {
        let mut broadcast = Broadcast::new();
        broadcast.run(3000, true, true);
        for step in &steps {
            broadcast.step(step);
            // Where both begin anew the first frames are up to a frame of video apart.
            check_alignment(&broadcast.bench.view(), Duration::from_millis(34));
        }
        let audio: Vec<u64> = broadcast.bench.segments("audio").iter().map(|s| s.0).collect();
        let video: Vec<u64> = broadcast.bench.segments("source").iter().map(|s| s.0).collect();
        prop_assert!(audio.len().abs_diff(video.len()) <= 1);
        // A publisher that left just behind a cut has left less than a frame of sound behind it.
        for pair in broadcast.bench.segments("audio").windows(2).filter(|pair| pair[0].3) {
            prop_assert!(pair[0].1 <= 40 && pair[1].2, "{:?}", pair);
        }
    }
}

#[test]
fn a_day_without_a_gap_or_an_overlap() {
    // 24 h of video at five frames a second and of sound in long frames, a window of 20 s, one look every minute.
    let config =
        HlsConfig { window: Duration::from_secs(20), part: Duration::from_secs(1), ..Default::default() };
    let mut bench = Bench::new(config);
    bench.add("source", TrackKind::Video);
    bench.add("audio", TrackKind::Audio);
    let (picture, sound) = (h264(640, 360), aac());
    let mut next_sound = 0;
    let mut expected = BTreeMap::from([("source", 0u64), ("audio", 0u64)]);
    let mut checked = 0u64;
    for i in 0..24 * 3600 * 5i64 {
        while next_sound * 4096 * 5 < i * 48_000 {
            let mut frame = audio(&sound, next_sound * 4096);
            frame.duration = Some(MediaTime::from_48k(4096));
            bench.frame("audio", frame);
            next_sound += 1;
        }
        let mut frame = video(&picture, i * 18_000, i % 10 == 0);
        frame.data = frame.data.slice(..100);
        bench.frame("source", frame);
        if i % 50 == 49 {
            bench.events.clear();
            let view = bench.view();
            for (rendition, end) in &mut expected {
                let from = *end;
                for s in view.segments(&name(rendition)).iter().filter(|s| s.start_ticks >= from) {
                    assert_eq!(s.start_ticks, *end, "{rendition}");
                    assert!(!s.discontinuity && !s.gap);
                    let (start, ticks, sync) = segment(&s.body);
                    assert_eq!((start, ticks, sync), (s.start_ticks, s.duration_ticks, true));
                    *end += ticks;
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 2 * 43_190, "{checked}");
    for (rendition, end) in expected {
        let counters = bench.packager.counters(&name(rendition)).unwrap();
        assert_eq!((counters.nudged, counters.dropped_late, counters.gaps), (0, 0, 0));
        let rate = if rendition == "audio" { 48_000 } else { 90_000 };
        assert!(end > 86_380 * rate, "{rendition} ended at {end}");
    }
}
