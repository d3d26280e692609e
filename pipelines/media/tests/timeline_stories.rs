//! What can happen to two clocks and a network between them, one story a test.

#![allow(clippy::single_range_in_vec_init, reason = "a list of spans, with one entry")]

#[path = "support/sim.rs"]
mod sim;

use sim::{MS, Outcome, SECOND, Sim};

const LIP_SYNC: i64 = 45 * MS;

#[test]
fn a_broadcast_begins_at_once_and_no_audio_is_lost_at_the_start() {
    let sim = Sim::new(10 * SECOND).without_reports();
    let outcome = sim.run();
    assert_eq!(outcome.audio.len() as u64, outcome.sent_audio);
    // The first frame comes out when its packet comes in, 35 ms after its capture, and that is its PTS.
    assert_eq!((outcome.audio[0].capture, outcome.audio[0].at), (0, 35 * MS));
    assert_eq!(outcome.audio[0].pts, 35 * MS);
    assert_eq!(outcome.video[0].pts, 35 * MS);
    // On a perfect line PTS run with the sender's clock to the tick.
    assert!(outcome.audio.windows(2).all(|pair| pair[1].pts - pair[0].pts == 20 * MS));
    assert!(outcome.worst_skew(0..sim.length) < MS);
}

#[test]
fn reports_tell_that_video_is_longer_under_way_and_video_is_pulled_to_the_audio() {
    let mut sim = Sim::new(60 * SECOND);
    sim.video.encode = 220 * MS; // 200 ms longer than audio
    let outcome = sim.run();
    // Nobody can know before the first report.
    assert!(outcome.worst_skew(0..SECOND) > 190 * MS);
    // 200 ms at 50 ms a second.
    assert!(outcome.worst_skew(6 * SECOND..sim.length) <= 12 * MS);
    // Video was slewed, not stepped: no interval is off by more than 5 %.
    let intervals = outcome.video.windows(2).map(|pair| pair[1].pts - pair[0].pts);
    assert!(
        intervals.clone().all(|ns| (ns - SECOND / 30).abs() <= SECOND / 30 / 19),
        "{:?}",
        intervals.min()
    );
    // Audio never moved.
    assert!(outcome.audio.windows(2).all(|pair| pair[1].pts - pair[0].pts == 20 * MS));
}

#[test]
fn a_first_report_after_a_minute_is_as_good() {
    let mut sim = Sim::new(120 * SECOND);
    sim.video.encode = 150 * MS;
    sim.reports.from = 60 * SECOND;
    let outcome = sim.run();
    assert!(outcome.worst_skew(50 * SECOND..60 * SECOND) > 120 * MS);
    assert!(outcome.worst_skew(65 * SECOND..sim.length) <= 12 * MS);
}

#[test]
fn noisy_reports_do_not_shake_the_picture() {
    let mut sim = Sim::new(120 * SECOND);
    sim.reports.noise = 20 * MS;
    sim.jitter = 60 * MS;
    let outcome = sim.run();
    assert!(outcome.worst_skew(0..sim.length) <= LIP_SYNC);
}

#[test]
fn a_step_of_the_senders_wall_clock_changes_nothing() {
    for by in [-3600 * SECOND, -SECOND / 2, SECOND / 2, 3600 * SECOND] {
        let mut sim = Sim::new(60 * SECOND);
        sim.reports.interval = 5 * SECOND;
        sim.reports.clock_steps = vec![(30 * SECOND + 100 * MS, by)];
        let outcome = sim.run();
        assert!(outcome.worst_skew(0..sim.length) < 8 * MS, "a step of {by} ns");
    }
}

#[test]
fn reports_of_nonsense_are_ignored() {
    let mut sim = Sim::new(60 * SECOND);
    sim.reports.noise = 100 * SECOND;
    let outcome = sim.run();
    assert!(outcome.worst_skew(0..sim.length) < LIP_SYNC);
}

#[test]
fn jitter_and_loss_do_not_shake_the_pts() {
    for seed in 1..6 {
        let mut sim = Sim::new(120 * SECOND);
        (sim.seed, sim.jitter, sim.loss) = (seed, 80 * MS, 0.05);
        for sim in [sim.clone(), sim.without_reports()] {
            let outcome = sim.run();
            // The first packets may be the late ones; half a second tells.
            let (start, later) =
                (outcome.worst_skew(0..SECOND / 2), outcome.worst_skew(SECOND / 2..sim.length));
            assert!(start <= sim.jitter && later <= LIP_SYNC, "seed {seed}: {start} ns, then {later} ns");
            let (low, high) = Outcome::errors(&outcome.audio, 5 * SECOND..sim.length);
            assert!(low > 20 * MS && high < 80 * MS, "seed {seed}: {low} {high}");
        }
    }
}

#[test]
fn audio_muted_for_five_seconds_comes_back_in_sync() {
    for clock_stops in [false, true] {
        let mut sim = Sim::new(60 * SECOND);
        sim.jitter = 20 * MS;
        sim.audio.mute = vec![20 * SECOND..25 * SECOND];
        sim.audio.clock_stops_in_mute = clock_stops;
        for sim in [sim.clone(), sim.without_reports()] {
            let outcome = sim.run();
            assert_eq!(outcome.audio.len() as u64, outcome.sent_audio);
            assert!(outcome.worst_skew(0..sim.length) <= LIP_SYNC, "clock stops: {clock_stops}");
            assert_eq!(outcome.audio_stats.timeline.anchors, 1 + u64::from(clock_stops));
        }
    }
}

#[test]
fn video_muted_for_five_seconds_comes_back_in_sync() {
    for clock_stops in [false, true] {
        let mut sim = Sim::new(60 * SECOND);
        sim.jitter = 20 * MS;
        sim.video.mute = vec![20 * SECOND..25 * SECOND];
        sim.video.clock_stops_in_mute = clock_stops;
        for sim in [sim.clone(), sim.without_reports()] {
            let outcome = sim.run();
            assert!(outcome.worst_skew(0..sim.length) <= LIP_SYNC, "clock stops: {clock_stops}");
        }
    }
}

#[test]
fn discontinuous_transmission_keeps_its_time() {
    // Opus DTX: a packet every 400 ms through long silences.
    let mut sim = Sim::new(120 * SECOND);
    sim.jitter = 30 * MS;
    let silence = |from: i64| (0..50).map(move |n| from + n * 400 * MS + 20 * MS..from + (n + 1) * 400 * MS);
    sim.audio.mute = silence(10 * SECOND).chain(silence(60 * SECOND)).collect();
    for sim in [sim.clone(), sim.without_reports()] {
        let outcome = sim.run();
        assert_eq!(outcome.audio_stats.timeline.anchors, 1);
        assert!(outcome.worst_skew(0..sim.length) <= LIP_SYNC);
    }
}

#[test]
fn timestamps_that_jump_are_anchored_on_arrival() {
    for (audio_ticks, video_ticks) in
        [(480_000, 0), (-480_000, 0), (0, 900_000), (0, -900_000), (1 << 31, 1 << 30), (-96_000, 180_000)]
    {
        let mut sim = Sim::new(60 * SECOND);
        sim.jitter = 20 * MS;
        sim.audio.timestamp_jumps = vec![(20 * SECOND, audio_ticks)];
        sim.video.timestamp_jumps = vec![(20 * SECOND, video_ticks)];
        let outcome = sim.run();
        assert_eq!(outcome.audio.len() as u64, outcome.sent_audio);
        let jumps = (outcome.audio_stats.timeline.anchors - 1, outcome.video_stats.timeline.anchors - 1);
        assert_eq!(jumps, (u64::from(audio_ticks != 0), u64::from(video_ticks != 0)));
        assert!(outcome.worst_skew(0..sim.length) <= LIP_SYNC, "{audio_ticks} {video_ticks}");
    }
}

#[test]
fn another_ssrc_goes_on_where_time_is() {
    let mut sim = Sim::new(60 * SECOND);
    sim.jitter = 20 * MS;
    sim.video.encode = 80 * MS;
    sim.audio.ssrc_changes = vec![20 * SECOND];
    sim.video.ssrc_changes = vec![20 * SECOND, 40 * SECOND];
    let outcome = sim.run();
    assert_eq!(outcome.audio.len() as u64, outcome.sent_audio);
    assert_eq!(outcome.video_stats.reorder.restarts, 2);
    // How much longer video is under way is remembered: no time of skew until the next reports.
    assert!(outcome.worst_skew(8 * SECOND..sim.length) <= LIP_SYNC);
}

#[test]
fn a_stalled_network_is_not_a_jump() {
    for stall in [600 * MS, 950 * MS, 2 * SECOND] {
        let mut sim = Sim::new(60 * SECOND);
        sim.jitter = 10 * MS;
        sim.stalls = vec![20 * SECOND..20 * SECOND + stall];
        let outcome = sim.run();
        assert_eq!(outcome.audio_stats.timeline.anchors, 1, "stall of {stall}");
        assert_eq!(outcome.video_stats.timeline.anchors, 1, "stall of {stall}");
        assert!(outcome.worst_skew(0..sim.length) <= LIP_SYNC);
    }
}

#[test]
fn a_backlog_at_the_start_does_not_put_the_tracks_apart() {
    // A sender that kept a second of audio back until the connection stood, and no video.
    let mut sim = Sim::new(60 * SECOND).without_reports();
    sim.audio.backlog_until = SECOND;
    sim.video.starts = SECOND;
    let outcome = sim.run();
    assert_eq!(outcome.audio.len() as u64, outcome.sent_audio, "nothing is thrown away");
    assert!(outcome.worst_skew(SECOND + 100 * MS..sim.length) <= LIP_SYNC);
}

#[test]
fn one_track_alone_is_enough() {
    let mut sim = Sim::new(30 * SECOND);
    sim.jitter = 20 * MS;
    sim.audio.present = false;
    let video_only = sim.run();
    assert!(video_only.audio.is_empty());
    let (low, high) = Outcome::errors(&video_only.video, 0..sim.length);
    assert!(low >= 30 * MS && high <= 60 * MS, "{low} {high}");
    sim.audio.present = true;
    sim.video.present = false;
    assert!(sim.run().video.is_empty());
}
