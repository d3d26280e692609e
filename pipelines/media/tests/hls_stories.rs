//! What players see of a broadcast, as stories.

#[path = "hls_support/bench.rs"]
mod hls_support;

use hls_support::*;
use skywave_media::codec::TrackKind;
use skywave_media::hls::{Awaited, CachePolicy, HlsConfig, HlsEvent, Lookup};
use std::time::Duration;

#[test]
fn a_steady_broadcast_is_cut_on_the_grid_in_both_renditions() {
    let mut bench = Bench::usual();
    bench.steady(0, 9);
    bench.end();
    let expected = vec![
        (0, 2000, false, false),
        (1, 2000, false, false),
        (2, 2000, false, false),
        (3, 2000, false, false),
    ];
    assert_eq!(bench.segments("source")[..4], expected);
    let sound: Vec<_> = bench.segments("audio").iter().map(|s| (s.0, s.1)).collect();
    assert_eq!(sound[..4], [(0, 2005), (1, 2005), (2, 1984), (3, 2005)], "nearest border of 21.3 ms frames");
    assert_eq!(sound.len(), 5);
}

#[test]
fn the_media_playlist_says_it_to_the_letter() {
    let mut bench = Bench::usual();
    bench.steady(0, 5);
    let playlist = text(&bench.view(), "source/index.m3u8");
    let head = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-TARGETDURATION:2\n\
        #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.66000,HOLD-BACK=6.00000,\
        CAN-SKIP-UNTIL=12.00000,CAN-SKIP-DATERANGES=YES\n#EXT-X-PART-INF:PART-TARGET=0.22000\n\
        #EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-DISCONTINUITY-SEQUENCE:0\n#EXT-X-MAP:URI=\"init-t1-0.mp4\"\n\
        #EXT-X-PROGRAM-DATE-TIME:2026-11-22T12:00:00.000Z\n";
    let parts = |msn: u64, from: usize, to: usize| -> String {
        let part = |i| {
            let independent = if i == 0 { ",INDEPENDENT=YES" } else { "" };
            format!("#EXT-X-PART:DURATION=0.20000,URI=\"t1-{msn}.{i}.m4s\"{independent}\n")
        };
        (from..to).map(part).collect()
    };
    let whole = |msn: u64| format!("#EXTINF:2.00000,\nt1-{msn}.m4s\n");
    let date = |s: u64| format!("#EXT-X-PROGRAM-DATE-TIME:2026-11-22T12:00:0{s}.000Z\n");
    let mut expected =
        head.to_owned() + &parts(0, 0, 10) + &whole(0) + &date(2) + &parts(1, 0, 10) + &whole(1);
    let live = expected.clone()
        + &date(4)
        + &parts(2, 0, 4)
        + "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"t1-2.4.m4s\"\n\
           #EXT-X-RENDITION-REPORT:URI=\"../audio/index.m3u8\",LAST-MSN=2,LAST-PART=3\n";
    assert_eq!(playlist, live);
    bench.end();
    expected = expected + &date(4) + &parts(2, 0, 5) + "#EXTINF:1.00000,\nt1-2.m4s\n#EXT-X-ENDLIST\n";
    assert_eq!(text(&bench.view(), "source/index.m3u8"), expected);
}

#[test]
fn the_multivariant_playlist_names_what_there_is() {
    let mut bench = Bench::usual();
    bench.steady(0, 3);
    let playlist = text(&bench.view(), "index.m3u8");
    let lines: Vec<&str> = playlist.lines().collect();
    assert_eq!(lines[..3], ["#EXTM3U", "#EXT-X-VERSION:6", "#EXT-X-INDEPENDENT-SEGMENTS"]);
    assert_eq!(
        lines[3],
        "#EXT-X-MEDIA:TYPE=AUDIO,URI=\"audio/index.m3u8\",GROUP-ID=\"audio\",NAME=\"audio\",DEFAULT=YES,\
         AUTOSELECT=YES,CHANNELS=\"2\""
    );
    assert!(lines[4].starts_with("#EXT-X-STREAM-INF:BANDWIDTH="), "{}", lines[4]);
    assert!(
        lines[4].ends_with(
            ",CODECS=\"avc1.42E01F,mp4a.40.2\",RESOLUTION=1280x720,FRAME-RATE=30.000,AUDIO=\"audio\""
        ),
        "{}",
        lines[4]
    );
    assert_eq!(lines[5], "source/index.m3u8");
    // A keyframe of 20 kB in 2 s, and what is written around it.
    assert!(lines[6].starts_with("#EXT-X-I-FRAME-STREAM-INF:"), "{}", lines[6]);
    assert!(
        lines[6].contains("URI=\"source/iframes.m3u8\"") && lines[6].contains("BANDWIDTH=80"),
        "{}",
        lines[6]
    );
    assert_eq!(lines.len(), 7);
    m3u8_rs::parse_master_playlist_res(playlist.as_bytes()).unwrap();
}

#[test]
fn sound_alone_is_a_variant_where_it_is_wanted_behind_those_with_pictures() {
    let mut bench = Bench::new(HlsConfig { audio_only: true, ..HlsConfig::default() });
    bench.add("source", TrackKind::Video);
    bench.add("audio", TrackKind::Audio);
    bench.steady(0, 5);
    let playlist = text(&bench.view(), "index.m3u8");
    let variants: Vec<&str> =
        playlist.lines().filter(|l| l.starts_with("#EXT-X-STREAM-INF") || !l.starts_with('#')).collect();
    assert_eq!((variants[1], variants[3], variants.len()), ("source/index.m3u8", "audio/index.m3u8", 4));
    assert!(variants[2].ends_with(",CODECS=\"mp4a.40.2\""), "{}", variants[2]);
    let bandwidth = |line: &str| -> u64 {
        line.split("BANDWIDTH=").nth(1).and_then(|rest| rest.split(',').next()).unwrap().parse().unwrap()
    };
    assert!(bandwidth(variants[2]) < bandwidth(variants[0]));
    m3u8_rs::parse_master_playlist_res(playlist.as_bytes()).unwrap();
}

#[test]
fn a_rendition_that_does_not_come_back_behind_a_break_has_gaps_as_long_as_what_the_others_have() {
    let mut bench = Bench::usual();
    bench.steady(0, 5);
    bench.packager.handle_discontinuity(bench.now);
    bench.drain();
    let h264 = h264(640, 360);
    for i in 150..600 {
        bench.frame("source", video(&h264, i * 3000, i % 60 == 30));
    }
    let gaps: Vec<_> = bench.segments("audio").iter().filter(|s| s.3).map(|s| (s.0, s.1)).collect();
    assert!(gaps.len() >= 3, "{gaps:?}");
    let pictures = bench.segments("source");
    for (msn, millis) in gaps {
        let shown = pictures.iter().find(|s| s.0 == msn).map(|s| s.1);
        assert_eq!(Some(millis), shown, "segment {msn}");
    }
}

#[test]
fn sound_alone_is_a_stream() {
    let mut bench = Bench::new(HlsConfig::default());
    bench.add("audio", TrackKind::Audio);
    for i in 0..200 {
        bench.frame("audio", audio(&aac(), i * 1024));
    }
    assert_eq!(bench.segments("audio"), [(0, 2005, false, false), (1, 2005, false, false)]);
    let playlist = text(&bench.view(), "index.m3u8");
    assert!(playlist.contains("CODECS=\"mp4a.40.2\"\naudio/index.m3u8\n"), "{playlist}");
    assert!(!playlist.contains("EXT-X-MEDIA:"));
}

#[test]
fn a_rendition_that_pauses_holds_nobody_back_is_not_told_of_and_is_taken_back_in_by_its_next_frame() {
    let mut bench = Bench::new(HlsConfig::default());
    bench.add("source", TrackKind::Video);
    bench.add("480p", TrackKind::Video);
    let (large, small) = (h264(1280, 720), h264(854, 480));
    let both = |bench: &mut Bench, from: i64, to: i64, with_small: bool| {
        for i in from * 30..to * 30 {
            bench.frame("source", video(&large, i * 3000, i % 60 == 0));
            if with_small {
                bench.frame("480p", video(&small, i * 3000, i % 60 == 0));
            }
        }
    };
    both(&mut bench, 0, 5, true);
    assert!(text(&bench.view(), "index.m3u8").contains("480p/index.m3u8"));
    let now = bench.now;
    bench.packager.handle_pause(&name("480p"), now);
    both(&mut bench, 5, 13, false);
    assert_eq!(bench.segments("source").len(), 6, "nobody is held back");
    assert!(!text(&bench.view(), "index.m3u8").contains("480p/index.m3u8"));
    let gaps = text(&bench.view(), "480p/index.m3u8").matches("#EXT-X-GAP").count();
    assert!(gaps >= 1, "its playlist keeps pace, but for the two segments that any rendition may be behind");
    both(&mut bench, 13, 19, true);
    assert!(text(&bench.view(), "index.m3u8").contains("480p/index.m3u8"));
    let last = |rendition: &str| *bench.segments(rendition).last().unwrap();
    assert_eq!(last("480p").0, last("source").0, "the same numbers at the same time");
    assert_eq!(last("480p").1, 2000);
    bench.packager.handle_pause(&name("nobody"), now);
}

#[test]
fn silent_sound_holds_pictures_back_for_little_more_than_half_a_second_and_joins_later() {
    let mut bench = Bench::usual();
    let (h264, aac) = (h264(640, 360), aac());
    // The first keyframe comes 3 s after the announcement.
    for i in 90..105 {
        bench.frame("source", video(&h264, i * 3000, i % 60 == 30));
    }
    assert_eq!(bench.view().get("index.m3u8", ""), Lookup::Later(Awaited::Multivariant));
    assert_eq!(bench.packager.poll_timeout(), Some(mono(3_600_000_000)));
    bench.wait_until(mono(3_599_999_999));
    assert!(!bench.events.contains(&HlsEvent::Ready), "frames wait for the sound");
    bench.wait_until(mono(3_600_000_000));
    assert!(bench.events.contains(&HlsEvent::Ready), "0.6 s after the first keyframe");
    for i in 105..181 {
        bench.frame("source", video(&h264, i * 3000, i % 60 == 30));
    }
    assert_eq!(bench.segments("source"), [(0, 2000, false, false)]);
    assert!(!text(&bench.view(), "index.m3u8").contains("AUDIO"));
    for i in 181..500 {
        bench.frame("source", video(&h264, i * 3000, i % 60 == 30));
        if i > 300 {
            for s in [0, 1] {
                bench.frame("audio", audio(&aac, (i * 1600 + s * 1024) / 1024 * 1024));
            }
        }
    }
    assert_eq!(bench.segments("audio")[0].0, 3, "it joins with the segment that is being made");
    assert!(text(&bench.view(), "index.m3u8").contains("AUDIO=\"audio\""));
}

#[test]
fn a_new_format_makes_a_discontinuity_in_every_rendition_at_the_same_place() {
    let mut bench = Bench::usual();
    let (small, large, aac) = (h264(640, 360), h264(1280, 720), aac());
    bench.lanes(&small, &aac, 0, 5000);
    bench.lanes(&large, &aac, 5000, 9000);
    bench.end();
    let seen = |r: &str| bench.segments(r).iter().map(|s| (s.0, s.2)).collect::<Vec<_>>();
    let expected = [(0, false), (1, false), (2, false), (3, true), (4, false), (5, false)];
    assert_eq!(seen("source"), expected);
    assert_eq!(seen("audio"), expected);
    let view = bench.view();
    let playlist = text(&view, "source/index.m3u8");
    assert!(
        playlist.contains("t1-2.m4s\n#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init-t1-1.mp4\"\n"),
        "{playlist}"
    );
    let sound = text(&view, "audio/index.m3u8");
    assert!(sound.contains("t1-2.m4s\n#EXT-X-DISCONTINUITY\n#EXT-X-PROGRAM"), "{sound}");
    assert_ne!(found(&view, "source/init-t1-0.mp4").body, found(&view, "source/init-t1-1.mp4").body);
    for msn in 0..6 {
        let at = |r: &str| bench.view().segments(&name(r))[msn].start_nanos();
        assert!(at("source").abs_diff(at("audio")) <= 10_700_000, "segment {msn}");
    }
}

#[test]
fn a_publisher_that_comes_back_goes_on_behind_a_discontinuity() {
    let mut bench = Bench::usual();
    let (h264, aac) = (h264(640, 360), aac());
    bench.lanes(&h264, &aac, 0, 4500);
    bench.packager.handle_discontinuity(bench.now);
    bench.drain();
    assert_eq!(bench.segments("source").last(), Some(&(2, 500, false, false)), "the tail is there at once");
    bench.lanes(&h264, &aac, 20_300, 25_000);
    let seen = |r: &str| bench.segments(r).iter().map(|s| (s.0, s.2, s.3)).collect::<Vec<_>>();
    let expected =
        [(0, false, false), (1, false, false), (2, false, false), (3, true, false), (4, false, false)];
    assert_eq!(seen("source"), expected);
    assert_eq!(seen("audio"), expected);
    let playlist = text(&bench.view(), "source/index.m3u8");
    let begin = "#EXT-X-DISCONTINUITY\n#EXT-X-PROGRAM-DATE-TIME:2026-11-22T12:00:20.300Z\n#EXT-X-PART:";
    assert!(playlist.contains(begin) && playlist.contains("#EXTINF:1.70000,\nt1-3.m4s\n"), "{playlist}");
}

/// Sound comes through the worker, passed-through pictures do not: when one publisher takes over from another, sound of the first is
/// still on its way.
#[test]
fn sound_that_was_on_its_way_when_the_timeline_broke_does_not_begin_the_new_one() {
    let mut bench = Bench::usual();
    let (h264, aac) = (h264(640, 360), aac());
    // A segment has just begun, for pictures alone.
    bench.lanes(&h264, &aac, 0, 3_900);
    (117..123).for_each(|i| bench.frame("source", video(&h264, i * 3000, i == 120)));
    bench.packager.handle_discontinuity(bench.now);
    bench.drain();
    let on_its_way = (3_900 * 48_i64).div_euclid(1024) + 1..4_100 * 48 / 1024;
    on_its_way.for_each(|i| bench.frame("audio", audio(&aac, i * 1024)));
    bench.lanes(&h264, &aac, 4_300, 9_000);
    let view = bench.view();
    let ended =
        view.segments(&name("source")).iter().rfind(|s| s.discontinuity_sequence == 0).unwrap().end_nanos();
    for rendition in ["source", "audio"] {
        let segments = view.segments(&name(rendition));
        let behind = segments.iter().find(|s| s.discontinuity).unwrap();
        assert!(
            behind.start_nanos() >= ended,
            "{rendition} begins anew at {}, {ended} was shown",
            behind.start_nanos()
        );
        assert!(segments.iter().all(|s| s.discontinuity_sequence == u64::from(s.msn >= behind.msn)));
    }
    let first = |r: &str| view.segments(&name(r)).iter().find(|s| s.discontinuity).unwrap().msn;
    assert_eq!(first("source"), first("audio"));
}

#[test]
fn keyframes_near_the_grid_cut_and_the_sound_follows() {
    let mut bench = Bench::usual();
    let (h264, aac) = (h264(640, 360), aac());
    let mut sound = 0;
    for i in 0..300 {
        // Asked in time, this publisher answers 100 ms early, then 200 ms late.
        let keyframe = [0, 57, 126, 177, 246].contains(&i);
        while sound * 1024 * 30 < i * 48_000 {
            bench.frame("audio", audio(&aac, sound * 1024));
            sound += 1;
        }
        bench.frame("source", video(&h264, i * 3000, keyframe));
    }
    let millis = |r: &str| bench.segments(r).iter().map(|s| s.1).collect::<Vec<_>>();
    assert_eq!(millis("source"), [1900, 2300, 1700, 2300]);
    assert_eq!(millis("audio"), [1898, 2304, 1706, 2282]);
}

#[test]
fn without_a_keyframe_the_segment_ends_in_time_and_the_next_waits_for_one() {
    let mut bench = Bench::new(HlsConfig::default());
    bench.add("source", TrackKind::Video);
    let h264 = h264(640, 360);
    for i in 0..150 {
        bench.frame("source", video(&h264, i * 3000, [0, 84, 120].contains(&i)));
    }
    let wanted = HlsEvent::KeyframeWanted { rendition: name("source") };
    assert_eq!(bench.events.iter().filter(|e| **e == wanted).count(), 1);
    assert_eq!(bench.segments("source"), [(0, 2466, false, false), (1, 1533, false, false)]);
    let view = bench.view();
    let next = segment(&found(&view, "source/t1-1.m4s").body);
    assert_eq!(next, (74 * 3000, 46 * 3000, true), "no hole: the keyframe is shown early");
    let counters = bench.packager.counters(&name("source")).unwrap();
    assert_eq!((counters.cut_without_keyframe, counters.dropped_without_keyframe), (1, 10));
}

#[test]
fn a_rendition_that_stops_is_listed_with_gaps_and_comes_back() {
    let mut bench = Bench::usual();
    let (h264, aac) = (h264(640, 360), aac());
    bench.lanes(&h264, &aac, 0, 3000);
    for i in 90..420 {
        bench.frame("source", video(&h264, i * 3000, i % 60 == 0));
    }
    bench.lanes(&h264, &aac, 14_000, 19_000);
    let gaps: Vec<_> = bench.segments("audio").iter().map(|s| (s.0, s.3)).collect();
    assert_eq!(gaps[..3], [(0, false), (1, false), (2, true)]);
    assert!(gaps.windows(2).all(|w| w[1].0 == w[0].0 + 1));
    assert_eq!(gaps.last(), Some(&(8, false)));
    let playlist = text(&bench.view(), "audio/index.m3u8");
    assert!(playlist.contains("#EXT-X-GAP\n#EXTINF:"), "{playlist}");
    assert_eq!(bench.view().get("audio/t1-2.m4s", ""), Lookup::NotFound);
}

#[test]
fn segments_leave_the_playlist_and_stay_a_while() {
    let window = Duration::from_secs(20);
    let mut bench = Bench::new(HlsConfig { window, ..Default::default() });
    bench.add("source", TrackKind::Video);
    bench.add("audio", TrackKind::Audio);
    bench.steady(0, 101);
    let view = bench.view();
    let listed = media_playlist(&view, "source");
    assert_eq!((listed.media_sequence, listed.segments.len()), (40, 10));
    assert_eq!(media_playlist(&view, "audio").media_sequence, 40);
    assert!(matches!(view.get("source/t1-29.m4s", ""), Lookup::Found(_)), "11 segments behind the playlist");
    assert_eq!(view.get("source/t1-28.m4s", ""), Lookup::Gone);
    assert_eq!(view.get("source/t1-50.m4s", ""), Lookup::NotFound, "not made yet");
}

#[test]
fn memory_bounds_the_window_but_never_below_three_target_durations() {
    let mut bench = Bench::new(HlsConfig { max_bytes: 1, ..Default::default() });
    bench.add("source", TrackKind::Video);
    bench.steady_video(0, 61);
    assert_eq!(media_playlist(&bench.view(), "source").segments.len(), 3);
    let kept: usize = bench.view().segments(&name("source")).iter().map(|s| s.body.len()).sum();
    assert_eq!(bench.packager.bytes(), kept);
}

#[test]
fn responses_say_what_caches_may_do() {
    let mut bench = Bench::usual();
    bench.steady(0, 5);
    let view = bench.view();
    let segment = found(&view, "source/t1-0.m4s");
    assert_eq!((segment.content_type, segment.cache), ("video/mp4", CachePolicy::Immutable));
    assert_eq!(segment.etag, "\"t1-0\"");
    assert_eq!(found(&view, "audio/t1-0.m4s").content_type, "audio/mp4");
    let before = found(&view, "source/index.m3u8");
    assert_eq!(before.content_type, "application/vnd.apple.mpegurl");
    assert_eq!(before.cache.header_value(), "public, max-age=1");
    bench.steady(5, 7);
    let after = found(&bench.view(), "source/index.m3u8");
    assert_ne!(before.etag, after.etag);
    assert_eq!(found(&view, "source/index.m3u8"), before, "a view never changes");
}

#[test]
fn nonsense_is_not_found() {
    let mut bench = Bench::usual();
    bench.steady(0, 5);
    let view = bench.view();
    for path in ["nope/index.m3u8", "../index.m3u8", "source/../index.m3u8", "audio/iframes.m3u8"] {
        assert_eq!(view.get(path, ""), Lookup::NotFound, "{path}");
    }
    for path in [
        "",
        "/",
        "source",
        "source/",
        "source/t1-00.m4s",
        "source/t1-+1.m4s",
        "source/t2-1.m4s",
        "source/t1-.m4s",
        "source/init-t1-7.mp4",
        "source/t1-99999999999999999999999.m4s",
        "source/t1-18446744073709551615.m4s",
        "source//t1-1.m4s",
        "source/t1-1.00.m4s",
        "source/t1-1.99.m4s",
        "source/t1-3.0.m4s",
        "source/t1-1..m4s",
    ] {
        assert_eq!(view.get(path, "_HLS_msn=x"), Lookup::NotFound, "{path}");
    }
}

#[test]
fn pictures_that_are_long_in_coming_hold_the_sound_back_for_five_seconds() {
    let mut bench = Bench::usual();
    let sound = aac();
    for i in 0..200 {
        bench.frame("audio", audio(&sound, i * 1024));
    }
    assert_eq!(bench.view().get("audio/index.m3u8", ""), Lookup::Later(Awaited::Beginning(name("audio"))));
    bench.wait_until(mono(4_999_999_999));
    assert!(!bench.events.contains(&HlsEvent::Ready));
    bench.wait_until(mono(5_000_000_000));
    assert!(bench.events.contains(&HlsEvent::Ready));
    assert!(!text(&bench.view(), "index.m3u8").contains("source"));
}

#[test]
fn the_first_playlist_is_there_with_the_first_part() {
    let mut bench = Bench::usual();
    let (h264, sound) = (h264(640, 360), aac());
    bench.lanes(&h264, &sound, 3_100, 3_400);
    assert!(bench.events.contains(&HlsEvent::Ready), "0.3 s after the first keyframe");
    let view = bench.view();
    let multivariant = text(&view, "index.m3u8");
    assert!(multivariant.contains("FRAME-RATE=30.000,AUDIO=\"audio\""), "{multivariant}");
    let playlist = text(&view, "source/index.m3u8");
    assert!(playlist.contains("#EXT-X-MEDIA-SEQUENCE:0\n") && !playlist.contains("#EXTINF"), "{playlist}");
    assert!(
        playlist.contains("#EXT-X-PART:DURATION=0.20000,URI=\"t1-0.0.m4s\",INDEPENDENT=YES\n"),
        "{playlist}"
    );
}

#[test]
fn parts_and_their_segment_share_one_piece_of_memory() {
    let mut bench = Bench::usual();
    bench.steady(0, 5);
    let view = bench.view();
    let segment = &view.segments(&name("source"))[1];
    assert_eq!(segment.parts.len(), 10);
    let mut at = segment.body.as_ptr();
    for part in &segment.parts {
        assert_eq!(part.body.as_ptr(), at);
        assert_eq!(part.duration_ticks, 18_000);
        at = at.wrapping_add(part.body.len());
    }
    let independent: Vec<bool> = segment.parts.iter().map(|p| p.independent).collect();
    assert_eq!(independent[..2], [true, false]);
}

#[test]
fn a_keyframe_far_before_the_grid_ends_nothing_so_another_one_is_needed() {
    let mut bench = Bench::new(HlsConfig::default());
    bench.add("source", TrackKind::Video);
    let h264 = h264(640, 360);
    let keyframes = [0, 48, 80, 122];
    for i in 0..130 {
        // 1.6 s is 0.4 s early: more than `keyframe_earliness`.
        bench.frame("source", video(&h264, i * 3000, keyframes.contains(&i)));
    }
    assert_eq!(bench.segments("source"), [(0, 2466, false, false), (1, 1600, false, false)]);
    let wanted = HlsEvent::KeyframeWanted { rendition: name("source") };
    assert!(bench.events.contains(&wanted));
}
