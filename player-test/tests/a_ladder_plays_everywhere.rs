//! Several renditions of one stream: cut at the same places, playable each by itself, and changed between without a stall.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use player_test::chromium::Chromium;
use player_test::contract::{Settings, TestPublish, key};
use player_test::hls_client::{Capture, Captured};
use player_test::process::show;
use player_test::publisher::Publisher;
use player_test::server::Server;
use player_test::static_server::StaticServer;
use player_test::viewing::{Played, browser_plays_on, browser_settles};
use player_test::{ffmpeg, gstreamer, hls_check, hls_client, vlc, wait};
use tempfile::TempDir;

const ON_AIR: Duration = Duration::from_secs(30);
const FIVE_SECONDS: Duration = Duration::from_secs(40);

fn camera(video: &'static str) -> TestPublish {
    TestPublish { video, size: (640, 360), ..TestPublish::default() }
}

fn videos(capture: &Capture) -> Vec<&Captured> {
    capture.renditions.iter().filter(|one| one.track.video).collect()
}

/// Where each segment begins, in milliseconds, with its sequence number.
fn begins(captured: &Captured) -> Vec<(u64, u64)> {
    let timescale = u64::from(captured.track.timescale);
    captured.segments.iter().map(|one| (one.sequence, one.span.begin * 1000 / timescale)).collect()
}

/// Every video rendition has its segments where the first one has them, with as many pictures in each.
fn assert_aligned(capture: &Capture) -> Result<()> {
    let videos = videos(capture);
    let first = begins(videos[0]);
    for other in &videos[1..] {
        let name = other.rendition.url.path();
        let common =
            begins(other).into_iter().filter(|(sequence, _)| first.iter().any(|(s, _)| s == sequence));
        for (sequence, begin) in common {
            let wanted = first.iter().find(|(s, _)| *s == sequence).context("just seen")?.1;
            ensure!(
                begin.abs_diff(wanted) <= 1,
                "{name}: segment {sequence} begins at {begin}, not {wanted} ms"
            );
        }
        for (one, another) in videos[0].segments.iter().zip(&other.segments).skip(1) {
            ensure!(
                one.span.samples == another.span.samples,
                "{name}: segment {} has other frames",
                one.sequence
            );
        }
    }
    Ok(())
}

async fn assert_decodes(capture: &Capture, folder: &Path) -> Result<()> {
    for (index, captured) in capture.renditions.iter().enumerate() {
        let file = captured.write(folder, &format!("{index}.mp4"))?;
        let seconds = captured.seconds();
        let decoded = ffmpeg::decode(&file.to_string_lossy(), 60).await?;
        ensure!((decoded.seconds - seconds).abs() < 0.2, "{decoded:?} of {seconds} s");
    }
    Ok(())
}

#[tokio::test]
async fn encoded_renditions_are_cut_alike_and_each_plays_in_every_player() -> Result<()> {
    let server = Server::start_set(&Settings::default(), &key::ladder("240p,120p")).await?;
    let mut publisher = Publisher::start(&server.urls.whip("ladder"), &camera("vp8"))?;
    server.hls_ready("ladder", 2, ON_AIR).await?;
    let capture = hls_client::capture(&server.http, &server.urls.hls("ladder"), 10.0).await?;
    let sizes: Vec<_> = capture
        .multivariant
        .variants
        .iter()
        .filter(|one| !one.is_i_frame)
        .filter_map(|one| one.resolution)
        .map(|r| (r.width, r.height))
        .collect();
    assert_eq!(sizes, [(640, 360), (426, 240), (214, 120)]);
    assert_eq!(hls_check::faults(&capture), Vec::<String>::new());
    assert_aligned(&capture)?;
    assert_decodes(&capture, TempDir::new()?.path()).await?;
    let wanted = Played::seconds(5, Some(30), false);
    for rendition in ["source", "240p", "120p"] {
        let url = server.urls.rendition("ladder", rendition);
        let (vlc, playbin) = tokio::try_join!(
            vlc::play(&url, wanted, FIVE_SECONDS),
            gstreamer::play(&url, wanted, FIVE_SECONDS)
        )?;
        show(&format!("{rendition}: VLC {vlc:?}, playbin {playbin:?}"));
    }
    publisher.stop().await
}

#[tokio::test]
async fn beside_a_passed_through_source_renditions_are_cut_where_the_source_is() -> Result<()> {
    let server = Server::start_set(&Settings::default(), &key::ladder("240p")).await?;
    let mut publisher = Publisher::start(&server.urls.whip("beside"), &camera("h264"))?;
    server.hls_ready("beside", 2, ON_AIR).await?;
    let capture = hls_client::capture(&server.http, &server.urls.hls("beside"), 16.0).await?;
    let info = server.stream("beside").await?.and_then(|info| info.output).and_then(|output| output.video);
    assert_eq!(info.as_deref(), Some("passthrough"));
    assert_eq!(videos(&capture).len(), 2);
    assert_eq!(hls_check::faults(&capture), Vec::<String>::new());
    assert_aligned(&capture)?;
    assert_decodes(&capture, TempDir::new()?.path()).await?;
    publisher.stop().await
}

#[tokio::test]
async fn hls_js_changes_the_level_without_a_stall() -> Result<()> {
    for video in ["vp8", "h264"] {
        let server = Server::start_set(&Settings::default(), &key::ladder("240p")).await?;
        let pages = StaticServer::start(None).await?;
        let mut publisher = Publisher::start(&server.urls.whip("levels"), &camera(video))?;
        server.hls_ready("levels", 3, ON_AIR).await?;
        let browser = Chromium::start(&format!("levels-{video}")).await?;
        browser.watch_bare(&pages, &server.urls.hls("levels")).await?;
        browser_settles(&browser).await?;
        browser_plays_on(&browser, 3, Some(20), true).await?;
        // hls.js sorts levels by their bitrate: 240p is the first.
        for (level, width) in [(0, 426), (1, 640), (0, 426), (1, 640)] {
            browser.monitor().await?;
            browser
                .eval::<u32>("hls.nextLevel = arguments[0]; return hls.levels.length;", vec![level.into()])
                .await?;
            wait::until(&format!("level {level} to be shown"), Duration::from_secs(20), async || {
                let watching = browser.watching().await?;
                Ok((watching.width == width).then_some(()))
            })
            .await?;
            let watching = browser.watching().await?;
            ensure!(watching.stalls == 0, "{video}, to level {level}: {watching:?}");
            browser_plays_on(&browser, 2, Some(20), true).await?;
        }
        browser.close().await?;
        publisher.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_thumbnail_shows_the_stream_and_is_known_by_its_tag() -> Result<()> {
    let server = Server::start().await?;
    for video in ["vp8", "h264"] {
        let mut publisher = Publisher::start(&server.urls.whip(video), &camera(video))?;
        let url = server.urls.thumbnail(video);
        let (tag, jpeg) = wait::until("a thumbnail", ON_AIR, async || {
            let answer = server.http.get(&url).send().await?;
            if answer.status() != 200 {
                return Ok(None);
            }
            ensure!(answer.headers()["content-type"] == "image/jpeg", "{:?}", answer.headers());
            let tag = answer.headers().get("etag").context("no ETag")?.clone();
            Ok(Some((tag, answer.bytes().await?)))
        })
        .await?;
        let folder = TempDir::new()?;
        let file = folder.path().join("thumb.jpg");
        std::fs::write(&file, &jpeg)?;
        let probe = ffmpeg::probe(&file.to_string_lossy()).await?.video.context("no picture")?;
        assert_eq!((probe.codec_name.as_str(), probe.width, probe.height), ("mjpeg", Some(320), Some(180)));
        let again = server.http.get(&url).header("if-none-match", tag).send().await?;
        ensure!([200, 304].contains(&again.status().as_u16()), "a newer one, or 304: {}", again.status());
        publisher.stop().await?;
    }
    let nobody = server.http.get(server.urls.thumbnail("nobody")).send().await?;
    assert_eq!(nobody.status(), 404);
    Ok(())
}
