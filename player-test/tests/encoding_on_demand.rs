//! Streams that are encoded only while somebody watches what has to be encoded.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use player_test::contract::{Settings, StreamInfo, TestPlay, TestPublish, key};
use player_test::publisher::Publisher;
use player_test::server::Server;
use player_test::viewer::Viewer;
use player_test::{ffmpeg, hls_client, wait};
use tempfile::TempDir;
use tokio::time::Instant;

const ON_AIR: Duration = Duration::from_secs(20);

fn is_encoding(info: &StreamInfo) -> bool {
    info.worker.as_ref().is_some_and(|worker| worker.pid.is_some())
}

async fn asleep(server: &Server, stream: &str) -> Result<()> {
    let limit = Duration::from_secs(15);
    server
        .stream_is(stream, "asleep", limit, |info| info.state == "live" && !is_encoding(info))
        .await
        .map(drop)
}

#[tokio::test]
async fn the_first_request_for_the_playlist_wakes_the_stream_and_is_answered_with_it() -> Result<()> {
    let server = Server::start_set(&Settings::default(), &key::on_demand(3000)).await?;
    for video in ["vp8", "h264"] {
        let mut publisher =
            Publisher::start(&server.urls.whip(video), &TestPublish { video, ..TestPublish::default() })?;
        server.stream_is(video, "on air", ON_AIR, |info| info.state == "live").await?;
        asleep(&server, video).await?;
        for round in 0..2 {
            let asked = Instant::now();
            let playlist = hls_client::multivariant(&server.http, &server.urls.hls(video)).await?;
            ensure!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
            ensure!(playlist.variants.len() == 1 && playlist.alternatives.len() == 1, "{playlist:?}");
            // The API tells within a second.
            server.stream_is(video, "awake", Duration::from_secs(5), is_encoding).await?;
            // ffmpeg takes a playlist without a whole segment for one without streams.
            server.hls_ready(video, 1, ON_AIR).await?;
            let decoded = ffmpeg::decode(&server.urls.hls(video), 4).await?;
            // The second time four seconds of media reach over the pause.
            ensure!(decoded.pictures > 75, "round {round}: {decoded:?}");
            // Nobody asks any more.
            asleep(&server, video).await?;
        }
        publisher.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_recording_wakes_it_and_its_end_lets_it_sleep() -> Result<()> {
    let folder = TempDir::new()?;
    let settings = Settings { recordings: Some(folder.path().to_owned()), ..Settings::default() };
    let mut keys = key::on_demand(1000);
    keys.push("recording.enabled=false".to_owned());
    let server = Server::start_set(&settings, &keys).await?;
    let mut publisher = Publisher::start(&server.urls.whip("tape"), &TestPublish::default())?;
    server.stream_is("tape", "on air", ON_AIR, |info| info.state == "live").await?;
    asleep(&server, "tape").await?;
    let switch = format!("{}/recording", server.urls.stream("tape"));
    ensure!(server.http.post(&switch).send().await?.status() == 202);
    let kept = wait::until("two seconds to be recorded", ON_AIR, async || {
        let all = server.recordings().await?;
        Ok(all.into_iter().find(|one| one.duration_ms >= 2000))
    })
    .await?;
    ensure!(kept.state == "recording", "{kept:?}");
    ensure!(server.http.delete(&switch).send().await?.status() == 202);
    asleep(&server, "tape").await?;
    let ready = wait::until("it to be finished", ON_AIR, async || {
        let all = server.recordings().await?;
        Ok(all.into_iter().find(|one| one.state == "ready"))
    })
    .await?;
    let decoded = ffmpeg::decode(&server.urls.recorded_file("tape", &ready.id), 20).await?;
    ensure!(decoded.pictures > 45, "{decoded:?}");
    publisher.stop().await
}

#[tokio::test]
async fn a_webrtc_viewer_wakes_it_only_when_it_cannot_decode_what_is_published() -> Result<()> {
    let server = Server::start_set(&Settings::default(), &key::on_demand(1000)).await?;
    let mut publisher = Publisher::start(&server.urls.whip("demand"), &TestPublish::default())?;
    server.stream_is("demand", "on air", ON_AIR, |info| info.state == "live").await?;
    asleep(&server, "demand").await?;
    let what = TestPlay { video: "vp8", duration_s: 4, ..TestPlay::default() };
    let direct = Viewer::start(&server.urls.whep("demand"), &what)?;
    let never_woken = async {
        let mut looks = tokio::time::interval(Duration::from_millis(250));
        for _ in 0..16 {
            looks.tick().await;
            let info = server.stream("demand").await?.context("it is on air")?;
            ensure!(!is_encoding(&info), "somebody who can decode VP8 has woken it");
        }
        Ok(())
    };
    let (seen, ()) = tokio::try_join!(direct.finish(), never_woken)?;
    let video = seen.video.context("no picture")?;
    ensure!(video.codec == "vp8" && video.frames > 60, "{video:?}");

    let what = TestPlay { video: "h264", duration_s: 8, ..TestPlay::default() };
    let other = Viewer::start(&server.urls.whep("demand"), &what)?;
    let woken = server.stream_is("demand", "awake", ON_AIR, is_encoding);
    let (seen, _) = tokio::try_join!(other.finish(), woken)?;
    let video = seen.video.context("no picture")?;
    ensure!(video.codec == "h264" && video.frames > 90, "{video:?}");
    asleep(&server, "demand").await?;
    publisher.stop().await
}
