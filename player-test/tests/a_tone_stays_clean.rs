//! A stereo tone goes in as Opus and comes out of AAC as the same stereo tone: no crackle, no mono, no silence.

use std::time::Duration;

use anyhow::Result;
use player_test::contract::TestPublish;
use player_test::process::show;
use player_test::publisher::Publisher;
use player_test::server::Server;
use player_test::spectrum::{self, Tone};
use player_test::{ffmpeg, hls_client};
use tempfile::TempDir;

/// Two lossy codecs in a row leave a pure tone at least this clean, dB; a single click in 100 ms leaves less than 20.
const MEDIAN_SNR_DB: f64 = 30.0;
const WORST_SNR_DB: f64 = 22.0;
/// The test source sends half of full scale, -6.02 dB.
const SENT_DB: f64 = -6.02;
/// The first second holds the connection's start: codecs fade in, clocks are anchored.
const SETTLED_AT: usize = 48_000;

async fn received(left_hz: u32, right_hz: u32, video: &'static str) -> Result<[Vec<f32>; 2]> {
    let server = Server::start().await?;
    let what = TestPublish { video, tone_hz: Some((left_hz, right_hz)), ..TestPublish::default() };
    let mut publisher = Publisher::start(&server.urls.whip("tone"), &what)?;
    server.hls_ready("tone", 1, Duration::from_secs(20)).await?;
    let capture = hls_client::capture(&server.http, &server.urls.hls("tone"), 12.0).await?;
    publisher.stop().await?;
    let folder = TempDir::new()?;
    let samples = ffmpeg::stereo_samples(&capture.audio()?.write(folder.path(), "audio.mp4")?).await?;
    let settled = &samples[SETTLED_AT..];
    Ok([0, 1].map(|channel| settled.iter().map(|pair| pair[channel]).collect()))
}

fn is_clean(name: &str, tone: &Tone, hertz: f64) {
    show(&format!("{name}: {tone:?}"));
    assert!((tone.hertz - hertz).abs() <= 1.0, "{name}: {tone:?}");
    assert!((tone.level_db - SENT_DB).abs() <= 1.0, "{name}: {tone:?}");
    assert!(tone.median_snr_db >= MEDIAN_SNR_DB && tone.worst_snr_db >= WORST_SNR_DB, "{name}: {tone:?}");
}

#[tokio::test]
async fn one_kilohertz_on_both_sides() -> Result<()> {
    let [left, right] = received(1000, 1000, "vp8").await?;
    is_clean("left", &spectrum::tone(&left, 1000.0)?, 1000.0);
    is_clean("right", &spectrum::tone(&right, 1000.0)?, 1000.0);
    Ok(())
}

#[tokio::test]
async fn left_stays_left_and_right_stays_right() -> Result<()> {
    let [left, right] = received(1000, 440, "off").await?;
    is_clean("left", &spectrum::tone(&left, 1000.0)?, 1000.0);
    is_clean("right", &spectrum::tone(&right, 440.0)?, 440.0);
    for (side, samples, foreign_hz) in [("left", &left, 440.0), ("right", &right, 1000.0)] {
        let crosstalk = spectrum::tone(samples, foreign_hz)?;
        assert!(crosstalk.level_db <= SENT_DB - 30.0, "{side} has {foreign_hz} Hz: {crosstalk:?}");
    }
    Ok(())
}
