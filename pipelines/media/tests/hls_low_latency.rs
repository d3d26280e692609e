//! What players of low latency are told and given, as stories.
#![allow(clippy::unwrap_used)]

#[path = "hls_support/bench.rs"]
mod hls_support;

use hls_support::*;
use skywave_media::codec::TrackKind;
use skywave_media::hls::{
    Awaited, CachePolicy, DateRange, DateRangeUpdate, HlsConfig, HlsEvent, Lookup, QueryError,
};
use skywave_media::time::UnixTime;
use std::collections::BTreeMap;
use std::time::Duration;

const PLAYLIST: &str = "source/index.m3u8";

fn awaited(msn: u64, part: Option<u64>) -> Lookup {
    Lookup::Later(Awaited::Playlist { rendition: name("source"), msn, part })
}

#[test]
fn a_reload_waits_for_its_part_and_not_a_frame_longer() {
    let mut bench = Bench::usual();
    bench.steady(0, 5);
    // Segment 2 has parts 0 to 3.
    let view = bench.view();
    let query = "_HLS_msn=2&_HLS_part=4";
    assert!(matches!(view.get(PLAYLIST, "_HLS_msn=2&_HLS_part=3"), Lookup::Found(_)));
    assert_eq!(view.get(PLAYLIST, query), awaited(2, Some(4)));
    assert_eq!(view.get(PLAYLIST, "_HLS_msn=2"), awaited(2, None), "a segment is waited for as a whole");
    assert!(matches!(view.get(PLAYLIST, "_HLS_msn=1"), Lookup::Found(_)));
    assert!(matches!(view.get(PLAYLIST, "_HLS_msn=0&_HLS_part=99"), Lookup::Found(_)), "long past");
    let waits = Awaited::Playlist { rendition: name("source"), msn: 2, part: Some(4) };
    let parts = |bench: &Bench| {
        let of = |e: &&HlsEvent| matches!(e, HlsEvent::PartFinished { rendition, msn: 2, .. } if *rendition == name("source"));
        bench.events.iter().filter(of).count()
    };
    let (picture, sound) = (h264(1280, 720), aac());
    for ms in (5_000..5_400).step_by(20) {
        bench.lanes_at(&picture, &sound, ms, ms + 20);
        assert_eq!(bench.view().has(&waits), parts(&bench) >= 5, "at {ms} ms");
    }
    let Lookup::Found(answer) = bench.view().get(PLAYLIST, query) else { panic!() };
    assert_eq!(answer.cache, CachePolicy::Short(Duration::from_secs(12)), "six target durations");
    let plain = found(&bench.view(), PLAYLIST);
    assert_eq!(plain.cache, CachePolicy::Short(Duration::from_secs(1)), "half a target duration");
    assert_eq!(plain.body.as_ptr(), answer.body.as_ptr(), "all who wait share one piece of memory");
}

#[test]
fn pictures_without_a_keyframe_do_not_keep_players_out_for_ever() {
    let mut bench = Bench::usual();
    let (picture, sound) = (h264(640, 360), aac());
    let mut samples = 0;
    for i in 0..240 {
        while samples * 1024 * 30 < i * 48_000 {
            bench.frame("audio", audio(&sound, samples * 1024));
            samples += 1;
        }
        bench.frame("source", video(&picture, i * 3000, false));
        assert_eq!(bench.events.contains(&HlsEvent::Ready), i >= 150, "at {i}: five seconds are enough");
    }
}

#[test]
fn a_part_behind_the_last_of_a_segment_is_the_first_of_the_next() {
    let mut bench = Bench::usual();
    bench.steady(0, 4);
    let view = bench.view();
    assert_eq!(
        text(&view, PLAYLIST).matches("#EXTINF").count(),
        1,
        "the frame that ends segment 1 is not there yet"
    );
    let (picture, sound) = (h264(1280, 720), aac());
    bench.lanes_at(&picture, &sound, 4_000, 4_050);
    let view = bench.view();
    assert_eq!(view.get(PLAYLIST, "_HLS_msn=1&_HLS_part=10"), awaited(1, Some(10)));
    let waits = Awaited::Playlist { rendition: name("source"), msn: 1, part: Some(10) };
    assert!(!view.has(&waits));
    bench.lanes_at(&picture, &sound, 4_050, 4_300);
    assert!(bench.view().has(&waits));
}

#[test]
fn nonsense_and_what_is_too_far_ahead_is_refused() {
    let mut bench = Bench::usual();
    bench.steady(0, 5);
    let view = bench.view();
    // The last complete segment is 1, the last part 2.3, and 14 parts of 0.22 s are 3 s.
    assert!(matches!(view.get(PLAYLIST, "_HLS_msn=3"), Lookup::Later(_)));
    assert!(matches!(
        view.get(PLAYLIST, "_HLS_msn=4"),
        Lookup::Refused(QueryError::TooFarAhead { last_msn: 1, .. })
    ));
    assert!(matches!(view.get(PLAYLIST, "_HLS_msn=2&_HLS_part=17"), Lookup::Later(_)));
    assert!(matches!(view.get(PLAYLIST, "_HLS_msn=2&_HLS_part=18"), Lookup::Refused(_)));
    assert!(matches!(view.get(PLAYLIST, "_HLS_msn=3&_HLS_part=14"), Lookup::Refused(_)));
    assert!(matches!(view.get(PLAYLIST, "_HLS_part=1"), Lookup::Refused(QueryError::PartAlone)));
    assert!(matches!(view.get(PLAYLIST, "_HLS_msn=-1"), Lookup::Refused(QueryError::Number { .. })));
    bench.end();
    let view = bench.view();
    for query in ["_HLS_msn=999", "_HLS_msn=2&_HLS_part=99", "_HLS_skip=YES"] {
        assert!(
            body(&view, PLAYLIST, query).ends_with("#EXT-X-ENDLIST\n"),
            "a closed playlist ignores {query}"
        );
    }
}

#[test]
fn the_end_answers_all_who_wait() {
    let mut bench = Bench::usual();
    bench.steady(0, 5);
    let waits = [
        Awaited::Playlist { rendition: name("source"), msn: 3, part: Some(0) },
        Awaited::Part { rendition: name("source"), msn: 2, part: 4 },
    ];
    assert!(waits.iter().all(|one| !bench.view().has(one)));
    bench.end();
    assert!(waits.iter().all(|one| bench.view().has(one)));
    let view = bench.view();
    let ended = text(&view, PLAYLIST);
    assert!(ended.ends_with("#EXT-X-ENDLIST\n") && !ended.contains("PRELOAD-HINT"), "{ended}");
    assert!(matches!(view.get("source/t1-2.4.m4s", ""), Lookup::Found(_)), "the last part came with the end");
    assert_eq!(view.get("source/t1-2.5.m4s", ""), Lookup::NotFound);
}

#[test]
fn the_hinted_part_is_the_one_that_comes() {
    let mut bench = Bench::usual();
    let (picture, sound) = (h264(1280, 720), aac());
    let mut hinted = Vec::new();
    for ms in (0..6_000).step_by(20) {
        bench.lanes_at(&picture, &sound, ms, ms + 20);
        let view = bench.view();
        if let Lookup::Found(_) = view.get(PLAYLIST, "") {
            let hint = Read::of(&text(&view, PLAYLIST)).hint.unwrap();
            if hinted.last() != Some(&hint) {
                hinted.push(hint);
            }
        }
    }
    let expected: Vec<String> = (1..29).map(|i| format!("t1-{}.{}.m4s", i / 10, i % 10)).collect();
    assert_eq!(hinted[..28], expected);
    for file in &expected {
        assert!(matches!(bench.view().get(&format!("source/{file}"), ""), Lookup::Found(_)), "{file}");
    }
}

#[test]
fn parts_leave_the_playlist_and_can_still_be_fetched() {
    let mut bench = Bench::usual();
    bench.steady(0, 30);
    let view = bench.view();
    let read = Read::of(&text(&view, PLAYLIST));
    let first = read.entries.iter().find(|entry| !entry.parts.is_empty()).unwrap();
    assert_eq!(
        first.msn, 11,
        "it begins 7.8 s and ends 5.8 s before the end; three target durations are 6 s"
    );
    for msn in 0..14 {
        let part = found(&view, &format!("source/t1-{msn}.5.m4s"));
        assert_eq!((part.content_type, part.cache), ("video/mp4", CachePolicy::Immutable));
        assert!(!part.body.is_empty());
    }
}

#[test]
fn every_frame_rate_and_sound_keeps_parts_within_their_bounds() {
    for rate in [
        5.0, 7.0, 10.0, 12.0, 12.5, 15.0, 18.0, 20.0, 23.976, 24.0, 25.0, 27.0, 29.97, 30.0, 50.0, 59.94,
        60.0,
    ] {
        let mut bench = Bench::new(HlsConfig::default());
        bench.add("source", TrackKind::Video);
        let format = h264(640, 360);
        let mut last_cell = -1;
        for i in 0..(rate * 20.0) as i64 {
            let ticks = (i as f64 * 90_000.0 / rate).round() as i64;
            let cell = ticks / 180_000;
            bench.frame("source", video(&format, ticks, cell != last_cell));
            last_cell = cell;
        }
        bench.end();
        let mut checked = 0;
        let view = bench.view();
        for segment in view.segments(&name("source")) {
            let (last, parts) = segment.parts.split_last().unwrap();
            assert!(last.duration_ticks <= 19_800, "{rate}: {}", last.duration_ticks);
            for part in parts {
                let exempt = part.independent;
                let bounds = if exempt { 1..=19_800 } else { 16_830..=19_800 };
                assert!(
                    bounds.contains(&part.duration_ticks),
                    "{rate}: {} of {}",
                    part.duration_ticks,
                    segment.msn
                );
                checked += 1;
            }
        }
        assert!(checked >= 80, "{rate}: {checked}");
    }
    let mut bench = Bench::new(HlsConfig::default());
    bench.add("audio", TrackKind::Audio);
    for i in 0..600 {
        bench.frame("audio", audio(&aac(), i * 1024));
    }
    let view = bench.view();
    for segment in view.segments(&name("audio")) {
        let (last, parts) = segment.parts.split_last().unwrap();
        assert!(parts.iter().all(|p| p.duration_ticks == 9 * 1024 && p.independent));
        assert!(last.duration_ticks <= 9 * 1024);
    }
}

#[test]
fn an_uneven_publisher_moves_pictures_at_part_borders_a_little_and_never_the_sound() {
    let mut bench = Bench::usual();
    let (picture, sound) = (h264(640, 360), aac());
    let (mut at, mut i, mut next_key, mut samples) = (0_i64, 0_u64, 0, 0);
    while at < 20 * 90_000 {
        while samples * 1024 * 90_000 < at * 48_000 {
            bench.frame("audio", audio(&sound, samples * 1024));
            samples += 1;
        }
        let key = at >= next_key;
        if key {
            next_key = (at / 180_000 + 1) * 180_000;
        }
        bench.frame("source", video(&picture, at, key));
        i += 1;
        // 11 to 122 ms from picture to picture.
        at += 1_000 + i64::try_from(i * 7919 % 10_000).unwrap();
    }
    bench.end();
    let view = bench.view();
    for segment in view.segments(&name("source")) {
        let parts = &segment.parts;
        for (n, part) in parts.iter().enumerate() {
            let free = n + 1 == parts.len() || part.independent;
            let bounds = if free { 1..=19_800 } else { 16_830..=19_800 };
            assert!(bounds.contains(&part.duration_ticks), "{} of {}.{n}", part.duration_ticks, segment.msn);
        }
    }
    let counters = bench.packager.counters(&name("audio")).unwrap();
    assert_eq!((counters.nudged, counters.dropped_late), (0, 0));
}

#[test]
fn keyframes_can_be_fetched_alone() {
    let mut bench = Bench::usual();
    bench.steady(0, 7);
    let view = bench.view();
    let playlist = text(&view, "source/iframes.m3u8");
    let expected = "#EXT-X-I-FRAMES-ONLY\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-DISCONTINUITY-SEQUENCE:0\n#EXT-X-MAP:URI=\"init-t1-0.mp4\"\n";
    assert!(playlist.contains(expected), "{playlist}");
    assert_eq!(playlist.matches("#EXTINF:2.00000,").count(), 3);
    for line in playlist.lines().filter_map(|line| line.strip_prefix("#EXT-X-BYTERANGE:")) {
        let length: usize = line.strip_suffix("@0").unwrap().parse().unwrap();
        let body = found(&view, "source/t1-1.m4s").body.slice(..length);
        assert_eq!(samples(&body), 1, "whole boxes with one sample");
        assert!(segment(&body).2, "a sync sample");
        assert_eq!(segment(&body).1, 3000);
    }
    assert!(matches!(
        view.get("source/iframes.m3u8", "_HLS_msn=3"),
        Lookup::Later(Awaited::Playlist { msn: 3, part: None, .. })
    ));
}

#[test]
fn several_pictures_of_one_stream_are_cut_together() {
    let mut bench = Bench::new(HlsConfig::default());
    for rendition in ["source", "720p", "480p"] {
        bench.add(rendition, TrackKind::Video);
    }
    bench.add("audio", TrackKind::Audio);
    let (sizes, sound) = ([h264(1920, 1080), h264(1280, 720), h264(854, 480)], aac());
    let mut samples = 0;
    for i in 0..300 {
        while samples * 1024 * 30 < i * 48_000 {
            bench.frame("audio", audio(&sound, samples * 1024));
            samples += 1;
        }
        for (rendition, size) in ["source", "720p", "480p"].iter().zip(&sizes) {
            bench.frame(rendition, video(size, i * 3000, i % 60 == 0));
        }
    }
    let view = bench.view();
    for rendition in ["source", "720p", "480p"] {
        let read = Read::of(&text(&view, &format!("{rendition}/index.m3u8")));
        assert_eq!(read.reports.len(), 3, "{rendition}");
        assert_eq!(bench.segments(rendition), bench.segments("source"));
        let parts = |r: &str| {
            view.segments(&name(r)).iter().map(|s| (s.start_ticks, s.parts.len())).collect::<Vec<_>>()
        };
        assert_eq!(parts(rendition), parts("source"));
        assert!(text(&view, &format!("{rendition}/iframes.m3u8")).contains("BYTERANGE"));
    }
    let multivariant = text(&view, "index.m3u8");
    assert_eq!(multivariant.matches("#EXT-X-STREAM-INF").count(), 3);
    assert_eq!(multivariant.matches("#EXT-X-I-FRAME-STREAM-INF").count(), 3);
    bench.packager.handle_discontinuity(bench.now);
    bench.drain();
    for i in 450..600 {
        for (rendition, size) in ["720p", "source", "480p"].iter().zip(&sizes) {
            bench.frame(rendition, video(size, i * 3000, i % 60 == 0 || i == 450));
        }
    }
    let sequence = |r: &str| view_of(&bench, r);
    assert_eq!(sequence("source"), sequence("480p"));
    assert_eq!(sequence("source"), sequence("720p"));
}

fn view_of(bench: &Bench, rendition: &str) -> Vec<(u64, u64, bool)> {
    let view = bench.view();
    view.segments(&name(rendition))
        .iter()
        .map(|s| (s.msn, s.discontinuity_sequence, s.discontinuity))
        .collect()
}

#[test]
fn the_live_edge_alone_or_everything_since_the_beginning() {
    let mut bench = Bench::usual();
    bench.steady(0, 61);
    let view = bench.view();
    let listed = |query: &str| {
        let read = Read::of(&body(&view, PLAYLIST, query));
        (read.msn, read.entries.iter().filter(|e| e.uri.is_some()).count())
    };
    assert_eq!(listed(""), (0, 30));
    assert_eq!(listed("dvr=on"), (0, 30));
    assert_eq!(listed("dvr=off"), (24, 6));
    assert_eq!(listed("type=event"), (0, 30));
    let edge = body(&view, PLAYLIST, "dvr=off");
    assert!(edge.contains("#EXT-X-RENDITION-REPORT:URI=\"../audio/index.m3u8?dvr=off\","), "{edge}");
    let event = body(&view, PLAYLIST, "type=event");
    assert!(event.contains("#EXT-X-PLAYLIST-TYPE:EVENT\n"), "{event}");
    assert!(!body(&view, PLAYLIST, "").contains("PLAYLIST-TYPE"));
    assert!(body(&view, "index.m3u8", "type=event").contains("#EXT-X-START:TIME-OFFSET=0\n"));
    assert!(matches!(view.get(PLAYLIST, "dvr=maybe"), Lookup::Refused(QueryError::Word { .. })));
    bench.steady(61, 300);
    assert_eq!(bench.view().get(PLAYLIST, "type=event"), Lookup::BeginningGone);
    assert_eq!(bench.view().get("index.m3u8", "type=event"), Lookup::BeginningGone);
}

#[test]
fn an_event_with_a_date_is_listed_and_left_out_of_later_deltas() {
    let mut bench = Bench::usual();
    bench.steady(0, 31);
    let range = DateRange {
        id: "ad".to_owned(),
        class: Some("ad".to_owned()),
        start: UnixTime::from_micros(EPOCH.as_micros() + 31_000_000),
        end: None,
        duration: None,
        planned_duration: Some(30.0),
        end_on_next: false,
        scte35_cmd: None,
        scte35_out: Some("FC30".to_owned()),
        scte35_in: None,
        extras: BTreeMap::new(),
    };
    bench.packager.add_date_range(range.clone(), bench.now).unwrap();
    let tag = "#EXT-X-DATERANGE:ID=\"ad\",CLASS=\"ad\",START-DATE=\"2026-11-22T12:00:31.000Z\",PLANNED-DURATION=30.000,SCTE35-OUT=0xFC30\n";
    assert!(body(&bench.view(), PLAYLIST, "").contains(tag));
    assert!(body(&bench.view(), "audio/index.m3u8", "").contains(tag), "in every rendition");
    let delta = body(&bench.view(), PLAYLIST, "_HLS_skip=v2");
    assert!(delta.contains(tag) && delta.contains("#EXT-X-VERSION:10\n"), "{delta}");
    assert!(delta.contains("#EXT-X-SKIP:SKIPPED-SEGMENTS=9,RECENTLY-REMOVED-DATERANGES=\"\"\n"), "{delta}");
    bench.steady(31, 45);
    assert!(
        !body(&bench.view(), PLAYLIST, "_HLS_skip=v2").contains(tag),
        "it is older than the skip boundary"
    );
    assert!(body(&bench.view(), PLAYLIST, "_HLS_skip=YES").contains(tag), "this one skips segments only");
    let close = DateRangeUpdate { duration: Some(14.0), ..Default::default() };
    bench.packager.update_date_range("ad", close, bench.now).unwrap();
    assert!(
        body(&bench.view(), PLAYLIST, "_HLS_skip=v2").contains("DURATION=14.000"),
        "news are never skipped"
    );
    bench.steady(45, 170);
    let view = bench.view();
    assert!(!text(&view, PLAYLIST).contains("DATERANGE:"), "the window has left it behind");
    assert!(bench.packager.add_date_range(range, bench.now).is_ok(), "its id is free again");
    bench.packager.remove_date_range("ad", bench.now).unwrap();
    assert!(body(&bench.view(), PLAYLIST, "_HLS_skip=v2").contains("RECENTLY-REMOVED-DATERANGES=\"ad\""));
}

#[test]
fn old_segments_are_stored_outside_and_stay_listed() {
    let config = HlsConfig {
        window: Duration::from_secs(60),
        store_after: Some(Duration::from_secs(12)),
        ..Default::default()
    };
    let mut bench = Bench::new(config);
    bench.add("source", TrackKind::Video);
    bench.add("audio", TrackKind::Audio);
    bench.steady(0, 41);
    let stored: Vec<(String, u64)> = bench.take_stored(true);
    assert!(
        stored.contains(&("source".to_owned(), 0)) && stored.contains(&("audio".to_owned(), 12)),
        "{stored:?}"
    );
    assert_eq!(stored.len(), 2 * 14, "all but 12 s");
    let view = bench.view();
    assert_eq!(Read::of(&text(&view, PLAYLIST)).msn, 0);
    let Lookup::Stored(found) = view.get("source/t1-3.m4s", "") else { panic!() };
    assert_eq!((found.msn, found.resource.etag.as_str()), (3, "\"t1-3\""));
    assert!(matches!(view.get("source/t1-15.m4s", ""), Lookup::Found(_)));
    assert_eq!(view.get("source/t1-3.0.m4s", ""), Lookup::Gone, "parts are for the live edge");
    let held: usize = view.segments(&name("source")).iter().map(|s| s.body.len()).sum();
    let all: usize = view.segments(&name("source")).iter().map(|s| s.bytes).sum();
    assert!(held * 3 < all, "{held} of {all} bytes in memory");
    bench.steady(41, 200);
    bench.take_stored(true);
    let forgotten = bench.events.iter().filter(|e| matches!(e, HlsEvent::Forget { .. })).count();
    assert!(forgotten > 2 * 30, "{forgotten} left the window");
}

#[test]
fn a_segment_that_cannot_be_stored_leaves_no_hole() {
    let config = HlsConfig {
        window: Duration::from_secs(600),
        store_after: Some(Duration::from_secs(12)),
        ..Default::default()
    };
    let mut bench = Bench::new(config);
    bench.add("source", TrackKind::Video);
    bench.add("audio", TrackKind::Audio);
    bench.steady(0, 41);
    bench.take_stored(false);
    let view = bench.view();
    assert_eq!(Read::of(&text(&view, PLAYLIST)).msn, 14, "what is in memory is listed");
    assert_eq!(Read::of(&text(&view, "audio/index.m3u8")).msn, 14);
    assert_eq!(view.get("source/t1-3.m4s", ""), Lookup::Gone);
    assert_eq!(bench.packager.stored_bytes(), 0);
}
