//! Publishers that vanish, and many that come and go: nothing of them stays behind.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use player_test::chromium::Chromium;
use player_test::contract::{Settings, TestPublish};
use player_test::offers;
use player_test::process::show;
use player_test::publisher::Publisher;
use player_test::server::Server;
use player_test::static_server::StaticServer;
use reqwest::Url;

/// What a busy machine may add to any of the server's own times.
const SLACK: Duration = Duration::from_secs(5);

fn short() -> Settings {
    Settings {
        silence_timeout_ms: 2000,
        grace_ms: 1000,
        linger_ms: 500,
        connect_timeout_ms: 5000,
        ..Settings::default()
    }
}

#[tokio::test]
async fn one_that_vanishes_without_a_word_is_noticed() -> Result<()> {
    let settings = short();
    let server = Server::start_with(&settings).await?;
    // Whatever the first publication sets up for good is there before the reading.
    for round in ["first", "second"] {
        let before = server.reading()?;
        let mut publisher = Publisher::start(&server.urls.whip("vanishing"), &TestPublish::default())?;
        server.hls_ready("vanishing", 1, Duration::from_secs(20)).await?;
        let on_air = server.reading()?;
        ensure!(on_air.children > before.children, "no worker: {on_air:?}");
        publisher.vanish().await?;
        let gone = Instant::now();
        server.no_streams(settings.until_forgotten() + SLACK).await?;
        show(&format!("{round}: forgotten {:?} after the last packet", gone.elapsed()));
        if round == "second" {
            server.holds_no_more_than(&before, SLACK).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn one_that_returns_goes_on_in_the_same_playlist() -> Result<()> {
    let settings = Settings { grace_ms: 15_000, silence_timeout_ms: 2000, ..Settings::default() };
    let server = Server::start_with(&settings).await?;
    let mut publisher = Publisher::start(&server.urls.whip("returning"), &TestPublish::default())?;
    server.hls_ready("returning", 2, Duration::from_secs(20)).await?;
    publisher.vanish().await?;
    let mut again = Publisher::start(&server.urls.whip("returning"), &TestPublish::default())?;
    // The old session is not dead yet for the server: the new one takes over all the same.
    server.hls_ready("returning", 5, Duration::from_secs(25)).await?;
    let renditions = player_test::hls_client::renditions(&server.http, &server.urls.hls("returning")).await?;
    for rendition in renditions {
        let playlist = player_test::hls_client::media_playlist(&server.http, &rendition.url).await?.parsed;
        assert_eq!(playlist.media_sequence, 0, "{}: the segments of before are still there", rendition.url);
    }
    again.stop().await
}

/// Offers `count` times and deletes at once, without ever connecting.
async fn half_cycles(server: &Server, count: u32) -> Result<()> {
    let base = Url::parse(&server.urls.base)?;
    for _ in 0..count {
        let offer = server.http.post(server.urls.whip("cycles")).header("content-type", "application/sdp");
        let answer = offer.body(offers::valid()).send().await?;
        ensure!(answer.status() == 201, "{}: {}", answer.status(), answer.text().await?);
        let location = answer.headers().get("location").context("no Location")?.to_str()?.to_owned();
        let ended = server.http.delete(base.join(&location)?).send().await?;
        ensure!(ended.status().is_success(), "DELETE answered {}", ended.status());
    }
    Ok(())
}

/// Connects and deletes `count` times from a browser that is closed afterwards, its connections with it.
async fn whole_cycles(server: &Server, pages: &StaticServer, count: u32) -> Result<()> {
    let browser = Chromium::start("cycles").await?;
    let mut times = browser.publish_cycles(pages, &server.urls.whip("cycles"), count).await?;
    times.sort_unstable();
    show(&format!(
        "{count} cycles: median {} ms, slowest {} ms",
        times[times.len() / 2],
        times[times.len() - 1]
    ));
    browser.close().await
}

#[tokio::test]
async fn two_hundred_cycles_leave_nothing_behind() -> Result<()> {
    let settings = short();
    let server = Server::start_with(&settings).await?;
    let pages = StaticServer::start(None).await?;
    // Once around first: pools and caches fill, allocators take what they keep.
    whole_cycles(&server, &pages, 20).await?;
    half_cycles(&server, 20).await?;
    server.no_streams(settings.until_forgotten() + SLACK).await?;
    let before = server.reading()?;

    whole_cycles(&server, &pages, 100).await?;
    half_cycles(&server, 100).await?;
    server.no_streams(settings.until_forgotten() + SLACK).await?;
    let after = server.holds_no_more_than(&before, SLACK).await?;
    show(&format!("before {before:?}, after {after:?}"));
    let growth = after.rss_bytes.saturating_sub(before.rss_bytes);
    assert!(growth < 200 * 40 * 1024, "{} kB more per cycle: {before:?}, {after:?}", growth / 1024 / 200);
    Ok(())
}
