//! The strict checker (crate `hls-check`, written from the specification alone) follows the real server's streams.
//!
//! `SKYWAVE_HLS_CHECK_S` makes each check that many seconds long, for the ten minutes of a thorough one.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hls_check::live::{self, LiveOptions};
use hls_check::{Options, Report};
use player_test::contract::{Settings, TestPublish};
use player_test::process::show;
use player_test::publisher::Publisher;
use player_test::server::Server;

/// Two cores are shared by server, worker, publisher and checker.
const TOLERANCE: Duration = Duration::from_millis(500);
/// Until the stream has a playlist.
const READY: Duration = Duration::from_secs(30);
/// While nobody publishes nothing new can come.
const WHILE_AWAY: [&str; 2] = ["6.2.1-segment-cadence", "6.2.1-part-cadence"];

fn length(usual_s: u64) -> Result<Duration> {
    let seconds = match std::env::var("SKYWAVE_HLS_CHECK_S") {
        Ok(text) => text.parse().context("SKYWAVE_HLS_CHECK_S is a number of seconds")?,
        Err(_) => usual_s,
    };
    Ok(Duration::from_secs(seconds))
}

fn follow(server: &Server, stream: &str, duration: Duration) -> LiveOptions {
    LiveOptions {
        duration,
        options: Options { tolerance: TOLERANCE },
        ..LiveOptions::new(server.urls.hls(stream))
    }
}

/// Enough was seen for the report to mean something, and no rule was broken but the allowed ones.
fn is_right(report: &Report, allowed: &[&str], at_least: Duration) -> Result<()> {
    show(&report.text());
    let counts = &report.counts;
    let seconds = at_least.as_secs();
    ensure!(counts.segments * 2 >= seconds, "too few segments for {seconds} s: {counts:?}");
    ensure!(counts.parts >= seconds * 4, "too few parts: {counts:?}");
    ensure!(
        counts.segments_compared * 4 >= seconds,
        "too few segments compared with their parts: {counts:?}"
    );
    ensure!(counts.blocking >= seconds * 4, "too few blocking requests: {counts:?}");
    ensure!(counts.reports > 0 && counts.hints > 0 && counts.nonsense > 0, "{counts:?}");
    let broken: Vec<_> = report.besides(allowed).collect();
    ensure!(broken.is_empty(), "{} broken rules: {broken:#?}", broken.len());
    Ok(())
}

#[tokio::test]
async fn a_transcoded_stream() -> Result<()> {
    let server = Server::start().await?;
    let mut publisher = Publisher::start(&server.urls.whip("vp8"), &TestPublish::default())?;
    server.hls_ready("vp8", 1, READY).await?;
    let duration = length(40)?;
    let report = live::run(follow(&server, "vp8", duration), std::future::pending()).await?;
    is_right(&report, &[], duration)?;
    publisher.stop().await
}

#[tokio::test]
async fn a_passed_through_stream_whose_publisher_vanishes_and_returns() -> Result<()> {
    let settings = Settings { grace_ms: 20_000, silence_timeout_ms: 2000, ..Settings::default() };
    let server = Server::start_with(&settings).await?;
    let what = TestPublish { video: "h264", ..TestPublish::default() };
    let whip = server.urls.whip("h264");
    let mut publisher = Publisher::start(&whip, &what)?;
    server.hls_ready("h264", 1, READY).await?;
    let duration = length(60)?;
    let check = tokio::spawn(live::run(follow(&server, "h264", duration), std::future::pending()));
    // A third of the time each: before, away, again.
    tokio::time::sleep(duration / 3).await;
    publisher.vanish().await?;
    let mut publisher = Publisher::start(&whip, &what)?;
    let report = check.await??;
    is_right(&report, &WHILE_AWAY, duration / 2)?;
    publisher.stop().await
}
