//! Whatever a publisher does, its playlist goes on: another codec and size, one picture a second, or nobody at all.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use player_test::contract::{Settings, TestPublish, key};
use player_test::hls_client::{self, Captured};
use player_test::publisher::Publisher;
use player_test::server::Server;
use player_test::{ffmpeg, hls_check, wait};
use reqwest::Url;

const ON_AIR: Duration = Duration::from_secs(30);

fn durations(captured: &Captured) -> Vec<f64> {
    captured.segments.iter().map(|segment| segment.duration_s).collect()
}

/// Every segment but the first of a timeline, the one before that, and the last lasts two seconds, give or take a tenth.
fn assert_cadence(captured: &Captured) -> Result<()> {
    let durations = durations(captured);
    let begins = |at: usize| at == 0 || captured.segments.get(at).is_none_or(|segment| segment.discontinuity);
    let inner: Vec<f64> =
        (0..durations.len()).filter(|&at| !begins(at) && !begins(at + 1)).map(|at| durations[at]).collect();
    let name = captured.rendition.url.path();
    ensure!(inner.len() >= 5 && inner.iter().all(|d| (1.8..=2.2).contains(d)), "{name}: {durations:?}");
    Ok(())
}

async fn one_picture_a_second(video: &'static str) -> Result<()> {
    let server = Server::start().await?;
    let what = TestPublish { video, fps: 1, ..TestPublish::default() };
    let mut publisher = Publisher::start(&server.urls.whip("background"), &what)?;
    server.hls_ready("background", 2, ON_AIR).await?;
    let capture = hls_client::capture(&server.http, &server.urls.hls("background"), 14.0).await?;
    assert_eq!(hls_check::faults(&capture), Vec::<String>::new());
    for captured in &capture.renditions {
        assert_cadence(captured)?;
        let last = captured.playlists.last().context("no playlist")?;
        ensure!(!last.text.contains("EXT-X-GAP"), "something is missing:\n{}", last.text);
    }
    publisher.stop().await
}

#[tokio::test]
async fn a_tab_in_the_background_keeps_the_cadence() -> Result<()> {
    one_picture_a_second("vp8").await
}

/// It is passed through until it turns out how slow it is: encoding begins with a keyframe, and nothing is missing between the two.
#[tokio::test]
async fn so_does_one_that_sends_h264() -> Result<()> {
    one_picture_a_second("h264").await
}

#[tokio::test]
async fn a_publisher_that_returns_with_another_codec_and_size_is_played_on_by_ffmpeg() -> Result<()> {
    let settings = Settings { grace_ms: 20_000, silence_timeout_ms: 2000, ..Settings::default() };
    let server = Server::start_with(&settings).await?;
    let url = server.urls.hls("changing");
    let small = TestPublish { video: "h264", duration_s: Some(8), ..TestPublish::default() };
    let mut first = Publisher::start(&server.urls.whip("changing"), &small)?;
    server.hls_ready("changing", 1, ON_AIR).await?;
    let watched = async {
        // Across three publishers, whatever the first initialisation segment said.
        let decoded = ffmpeg::decode(&url, 18).await?;
        ensure!(decoded.pictures > 18 * 20, "{decoded:?}");
        Ok(())
    };
    let published = async {
        first.finish(ON_AIR).await?;
        for (video, size) in [("h264", (640, 360)), ("vp8", (480, 270))] {
            let what = TestPublish { video, size, duration_s: Some(8), ..TestPublish::default() };
            Publisher::start(&server.urls.whip("changing"), &what)?.finish(ON_AIR).await?;
        }
        Ok(())
    };
    tokio::try_join!(watched, published)?;
    let playlist = Url::parse(&server.urls.rendition("changing", "source"))?;
    let playlist = hls_client::media_playlist(&server.http, &playlist).await?.parsed;
    let breaks = playlist.segments.iter().filter(|segment| segment.discontinuity).count();
    ensure!(playlist.media_sequence == 0 && breaks >= 2 && !playlist.end_list, "{breaks} breaks");
    Ok(())
}

#[tokio::test]
async fn the_slate_keeps_the_playlist_alive_until_the_publisher_returns_or_its_time_is_over() -> Result<()> {
    let settings =
        Settings { grace_ms: 1000, silence_timeout_ms: 2000, linger_ms: 5000, ..Settings::default() };
    let mut keys = key::slate(6000);
    keys.extend(key::ladder("120p"));
    let server = Server::start_set(&settings, &keys).await?;
    let media = Url::parse(&server.urls.rendition("slate", "120p"))?;
    let what = TestPublish { duration_s: Some(6), ..TestPublish::default() };
    Publisher::start(&server.urls.whip("slate"), &what)?.finish(ON_AIR).await?;
    server.stream_is("slate", "on slate", ON_AIR, |info| info.state == "slate").await?;
    let before = hls_client::media_playlist(&server.http, &media).await?.parsed;
    let shown = wait::until("the slate's segments", Duration::from_secs(10), async || {
        let now = hls_client::media_playlist(&server.http, &media).await?.parsed;
        Ok((now.segments.len() >= before.segments.len() + 2).then_some(now))
    })
    .await?;
    ensure!(!shown.end_list && shown.segments.iter().any(|segment| segment.discontinuity));
    let mut again = Publisher::start(&server.urls.whip("slate"), &TestPublish::default())?;
    server.stream_is("slate", "live again", ON_AIR, |info| info.state == "live").await?;
    let segments = shown.segments.len();
    let after = wait::until("the publisher's segments", ON_AIR, async || {
        let now = hls_client::media_playlist(&server.http, &media).await?.parsed;
        Ok((now.segments.len() >= segments + 4).then_some(now))
    })
    .await?;
    ensure!(after.media_sequence == 0 && !after.end_list, "the same playlist");
    let decoded = ffmpeg::decode(&server.urls.hls("slate"), 8).await?;
    ensure!(decoded.seconds > 7.5, "{decoded:?}");
    again.stop().await?;
    server.stream_is("slate", "on slate", ON_AIR, |info| info.state == "slate").await?;
    server.stream_is("slate", "over", Duration::from_secs(15), |info| info.state == "ended").await?;
    let ended = hls_client::media_playlist(&server.http, &media).await.context("it lingers")?.parsed;
    ensure!(ended.end_list);
    Ok(())
}
