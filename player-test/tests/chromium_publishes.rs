//! Chromium publishes with a fake camera and microphone, in every codec that it has, and every player sees and hears it.

use std::time::Duration;

use anyhow::Result;
use player_test::chromium::{Chromium, ForeignPublish};
use player_test::contract::PublishPage;
use player_test::process::show;
use player_test::server::Server;
use player_test::static_server::StaticServer;
use player_test::viewing::{Played, browser_plays_on, browser_settles};
use player_test::{ffmpeg, gstreamer, hls_check, hls_client, vlc};

/// Connected, first keyframe, three segments of 2 s: far above what that takes, for a machine busy with encoding.
const ON_AIR: Duration = Duration::from_secs(30);
/// For a player to come to its first picture and show five seconds.
const FIVE_SECONDS: Duration = Duration::from_secs(40);

/// What must come out.
struct Expected {
    /// Picture size; `None`: no video at all.
    size: Option<(u32, u32)>,
    /// Whether sound must be there. Without it, it must not: an audio rendition is made of a publisher's audio only.
    audio: bool,
    /// How the API says the video goes out.
    output: Option<&'static str>,
}

/// Which page publishes, which one watches.
enum Pages<'a> {
    /// Skywave's own.
    Ours(PublishPage),
    /// A publisher written from the RFC and a bare hls.js.
    Foreign(&'a StaticServer, ForeignPublish),
}

async fn reaches_every_player(stream: &str, pages: Pages<'_>, expected: Expected) -> Result<()> {
    let server = Server::start().await?;
    let publisher = Chromium::start(&format!("publisher-{stream}")).await?;
    match &pages {
        Pages::Ours(what) => publisher.publish(&server.urls, stream, what).await?,
        Pages::Foreign(foreign, what) => {
            publisher.publish_foreign(foreign, &server.urls.whip(stream), what).await?;
        }
    }
    server.hls_ready(stream, 3, ON_AIR).await?;
    let url = server.urls.hls(stream);
    let fps = expected.size.map(|_| 30);

    let output = server.stream(stream).await?.and_then(|info| info.output).and_then(|output| output.video);
    assert_eq!(output.as_deref(), expected.output);
    let probe = ffmpeg::probe(&url).await?;
    match (expected.size, &probe.video) {
        (Some((width, height)), Some(video)) => {
            assert_eq!(
                (video.codec_name.as_str(), video.width, video.height),
                ("h264", Some(width), Some(height))
            );
            assert_eq!(video.has_b_frames, Some(0), "{video:?}");
            // ffprobe gives up on the rate of a camera's own uneven cadence, passed through; the capture below measures it.
            assert!(video.fps() == 0.0 || (27.0..=33.0).contains(&video.fps()), "{video:?}");
        }
        (None, None) => {}
        (wanted, found) => panic!("video {wanted:?} was published, {found:?} came out"),
    }
    assert_eq!(probe.audio.is_some(), expected.audio, "{:?}", probe.audio);
    if let Some(audio) = &probe.audio {
        let (rate, channels) = (audio.sample_rate.as_deref(), audio.channels);
        assert_eq!((audio.codec_name.as_str(), rate, channels), ("aac", Some("48000"), Some(2)));
    }

    let wanted = Played::seconds(5, fps, expected.audio);
    let decodes = async {
        let decoded = ffmpeg::decode(&url, 15).await?;
        assert!(decoded.seconds >= 14.9, "{decoded:?}");
        assert!(expected.size.is_none() || decoded.pictures >= 15 * 27, "{decoded:?}");
        Ok(())
    };
    let plays = async {
        let vlc = vlc::play(&url, wanted, FIVE_SECONDS).await?;
        let playbin = gstreamer::play(&url, wanted, FIVE_SECONDS).await?;
        show(&format!("{stream}: VLC {vlc:?}, playbin {playbin:?}"));
        anyhow::Ok(())
    };
    // A browser that plays close to the edge is the only one for which the others beside it are too much of a load.
    let is_watched = async {
        let watcher = Chromium::start(&format!("watcher-{stream}")).await?;
        match &pages {
            Pages::Ours(_) => watcher.watch(&server.urls, stream).await?,
            Pages::Foreign(foreign, _) => watcher.watch_bare(foreign, &url).await?,
        }
        browser_settles(&watcher).await?;
        browser_plays_on(&watcher, 8, fps.map(|_| 24), expected.audio).await?;
        let watching = watcher.watching().await?;
        assert_eq!(expected.size.unwrap_or((0, 0)), (watching.width, watching.height));
        show(&format!("{stream}: Chromium {watching:?}"));
        watcher.screenshot(&format!("watching-{stream}")).await?;
        watcher.close().await
    };
    let is_valid = async {
        let capture = hls_client::capture(&server.http, &url, 15.0).await?;
        assert_eq!(hls_check::faults(&capture), Vec::<String>::new());
        if expected.size.is_some() {
            let rate = capture.video()?.samples_per_second();
            assert!((27.0..=33.0).contains(&rate), "{rate} pictures a second");
        }
        Ok(())
    };
    tokio::try_join!(decodes, plays, is_valid)?;
    is_watched.await?;

    publisher.close().await?;
    Ok(())
}

/// The publish page with a picture of 640x360, which leaves two cores enough for encoders and players alike.
fn small(video: &'static str, audio: bool) -> Pages<'static> {
    Pages::Ours(PublishPage { source: "camera", video, audio, resolution: "360p", fps: 30 })
}

fn small_foreign<'a>(pages: &'a StaticServer, codec: &'static str) -> Pages<'a> {
    Pages::Foreign(pages, ForeignPublish { codec, ..ForeignPublish::default() })
}

const SMALL: Option<(u32, u32)> = Some((640, 360));
const TRANSCODED: Option<&str> = Some("transcode");
/// H.264 that fits is never encoded again.
const PASSED_THROUGH: Option<&str> = Some("passthrough");

#[tokio::test]
async fn vp8() -> Result<()> {
    let page = PublishPage { source: "camera", video: "vp8", audio: true, resolution: "720p", fps: 30 };
    let expected = Expected { size: Some((1280, 720)), audio: true, output: TRANSCODED };
    reaches_every_player("vp8", Pages::Ours(page), expected).await
}

#[tokio::test]
async fn h264() -> Result<()> {
    let foreign = StaticServer::start(None).await?;
    let expected = Expected { size: SMALL, audio: true, output: PASSED_THROUGH };
    reaches_every_player("h264", small_foreign(&foreign, "h264"), expected).await
}

#[tokio::test]
async fn vp9() -> Result<()> {
    let foreign = StaticServer::start(None).await?;
    let expected = Expected { size: SMALL, audio: true, output: TRANSCODED };
    reaches_every_player("vp9", small_foreign(&foreign, "vp9"), expected).await
}

#[tokio::test]
async fn av1() -> Result<()> {
    let expected = Expected { size: SMALL, audio: true, output: TRANSCODED };
    reaches_every_player("av1", small("av1", true), expected).await
}

#[tokio::test]
async fn audio_only() -> Result<()> {
    let expected = Expected { size: None, audio: true, output: None };
    reaches_every_player("audio-only", small("off", true), expected).await
}

#[tokio::test]
async fn video_only() -> Result<()> {
    let expected = Expected { size: SMALL, audio: false, output: TRANSCODED };
    reaches_every_player("video-only", small("vp8", false), expected).await
}
