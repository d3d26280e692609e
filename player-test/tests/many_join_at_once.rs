//! A crowd joins within seconds: everybody has the picture at once, and the publisher is asked for a keyframe once a second at the most.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use player_test::contract::CrowdSpread;
use player_test::load::{Feed, crowd};
use player_test::process::show;
use player_test::server::Server;

/// As many as the figures in `benches/README.md` speak of, within ten seconds.
const VIEWERS: u32 = 300;
const PER_SECOND: u32 = 30;

/// From the offer to the whole first keyframe, for 95 of 100.
const FIRST_PICTURE_MS: f64 = 300.0;

#[tokio::test]
async fn a_crowd_has_the_picture_at_once_and_the_publisher_hardly_notices() -> Result<()> {
    let server = Server::start().await?;
    let feed = Feed::start(&server.urls.whip("crowd"), 800_000).await?;
    let seen = crowd(&server.urls.whep("crowd"), VIEWERS, PER_SECOND, Duration::from_secs(5)).await?;
    let feed = feed.stop().await?;
    show(&format!("{seen:?}; the publisher: {feed:?}"));
    ensure!(seen.playing == VIEWERS && seen.failures.is_empty(), "{seen:?}");
    ensure!(feed.is_no_storm(), "keyframe requests less than a second apart: {feed:?}");
    ensure!(feed.keyframe_requests as f64 <= feed.on_air_s + 1.0, "{feed:?}");
    let CrowdSpread { p95, count, .. } = seen.first_keyframe_ms.context("no first keyframes")?;
    ensure!(count == VIEWERS && p95 <= FIRST_PICTURE_MS, "first picture: 95 % within {p95} ms");
    Ok(())
}
