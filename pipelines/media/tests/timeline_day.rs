//! A whole day of a clock that is off by 100 ppm: picture, sound and local time stay together.

#[path = "support/sim.rs"]
mod sim;

use sim::{MS, Outcome, SECOND, Sim, Span};

const HOUR: i64 = 3600 * SECOND;

/// 24 hours at 5 fps and 100 ms of Opus, with jitter, loss, an hourly stall, and mutes of both lanes.
fn day(audio_ppm: f64, video_ppm: f64) -> Sim {
    let mut sim = Sim::new(24 * HOUR);
    sim.audio.interval = 100 * MS;
    sim.video.interval = 200 * MS;
    (sim.audio.ppm, sim.video.ppm) = (audio_ppm, video_ppm);
    (sim.jitter, sim.loss) = (40 * MS, 0.02);
    sim.reports.interval = 5 * SECOND;
    sim.reports.noise = 5 * MS;
    let hourly = |minute: i64, length: i64| -> Vec<Span> {
        (0..24).map(|hour| hour * HOUR + minute * 60 * SECOND).map(|at| at..at + length).collect()
    };
    sim.audio.mute = hourly(10, 300 * SECOND);
    sim.video.mute = hourly(30, 30 * SECOND);
    sim.stalls = hourly(50, 900 * MS);
    sim
}

fn assert_in_sync(sim: &Sim) {
    let outcome = sim.run();
    let worst = outcome.worst_skew(0..sim.length);
    assert!(worst <= 45 * MS, "skew of {} us", worst / 1000);
    // 2 % are lost on the way, and nothing else is; what comes out does so when it comes in, or after a hole's wait.
    assert!(outcome.audio.len() as f64 >= outcome.sent_audio as f64 * 0.979);
    let longest = outcome.audio.iter().map(|frame| frame.at - frame.capture).max();
    assert!(longest < Some(1300 * MS), "{longest:?}");
    for frames in [&outcome.audio, &outcome.video] {
        let (low, high) = Outcome::errors(frames, 0..sim.length);
        // 35 ms is the way; the rest is what slewing has yet to catch.
        assert!(low > -15 * MS && high < 85 * MS, "against local time: {} to {} us", low / 1000, high / 1000);
    }
    assert_eq!(outcome.audio_stats.timeline.anchors, 1, "slewed, never stepped");
    assert_eq!(outcome.video_stats.timeline.anchors, 1, "slewed, never stepped");
}

#[test]
fn a_day_at_plus_100_ppm_with_reports() {
    assert_in_sync(&day(100.0, 100.0));
}

#[test]
fn a_day_at_minus_100_ppm_without_reports() {
    assert_in_sync(&day(-100.0, -100.0).without_reports());
}

#[test]
fn a_day_of_a_microphone_and_a_camera_that_drift_apart() {
    assert_in_sync(&day(100.0, -100.0));
    assert_in_sync(&day(-100.0, 100.0).without_reports());
}
