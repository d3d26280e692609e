//! Firefox publishes with a fake camera and microphone, from Skywave's page and from a foreign one, and players see and hear it.

use std::time::Duration;

use anyhow::Result;
use player_test::browser::ForeignPublish;
use player_test::chromium::Chromium;
use player_test::contract::PublishPage;
use player_test::ffmpeg;
use player_test::firefox::Firefox;
use player_test::process::show;
use player_test::server::Server;
use player_test::static_server::StaticServer;
use player_test::wait;

/// Connected, first keyframe, three segments of 2 s: far above what that takes, for a machine busy with encoding.
const ON_AIR: Duration = Duration::from_secs(40);

/// What publishes is on air: ffmpeg finds H.264 and AAC, Chromium plays.
async fn plays(server: &Server, stream: &str) -> Result<()> {
    server.hls_ready(stream, 3, ON_AIR).await?;
    let url = server.urls.hls(stream);
    let probe = ffmpeg::probe(&url).await?;
    let video = probe.video.expect("video comes out");
    assert_eq!(video.codec_name, "h264");
    // Firefox begins small and grows with its estimate.
    let (width, height) = (video.width.unwrap_or(0), video.height.unwrap_or(0));
    assert!(width * 9 == height * 16 && (160..=640).contains(&width), "{width}x{height}");
    assert_eq!(probe.audio.expect("audio comes out").codec_name, "aac");
    // Pictures are counted in Chromium: when the output follows, a discontinuity brings another initialisation segment, and
    // ffmpeg 5.1 skips every `moov` but the first. A player may hold its breath there, so only progress is asked for.
    let watcher = Chromium::start(&format!("watcher-{stream}")).await?;
    watcher.watch(&server.urls, stream).await?;
    let begin = watcher.watching().await?;
    wait::until("five seconds to be played", ON_AIR, async || {
        let now = watcher.watching().await?;
        let plays = now.current_time - begin.current_time >= 5.0 && now.frames - begin.frames >= 5 * 20;
        Ok((plays && now.audio_bytes > begin.audio_bytes).then_some(()))
    })
    .await?;
    show(&format!("{stream}: Chromium {:?}", watcher.watching().await?));
    watcher.close().await
}

#[tokio::test]
async fn vp8_from_our_page() -> Result<()> {
    let server = Server::start().await?;
    let publisher = Firefox::start("publisher-firefox-vp8").await?;
    let page = PublishPage { source: "camera", video: "vp8", audio: true, resolution: "360p", fps: 30 };
    publisher.publish(&server.urls, "firefox-vp8", &page).await?;
    plays(&server, "firefox-vp8").await?;
    publisher.close().await
}

async fn from_a_foreign_page(codec: &'static str) -> Result<()> {
    let server = Server::start().await?;
    let pages = StaticServer::start(None).await?;
    let stream = format!("firefox-foreign-{codec}");
    let publisher = Firefox::start(&format!("publisher-{stream}")).await?;
    let what = ForeignPublish { codec, ..ForeignPublish::default() };
    publisher.publish_foreign(&pages, &server.urls.whip(&stream), &what).await?;
    plays(&server, &stream).await?;
    let sending = publisher.sending().await?;
    let video = sending.iter().find(|lane| lane.kind == "video").expect("a video lane");
    assert_eq!(video.codec.as_deref().map(str::to_lowercase), Some(format!("video/{codec}")));
    publisher.unpublish_foreign().await?;
    publisher.close().await
}

#[tokio::test]
async fn vp8_from_a_foreign_page() -> Result<()> {
    from_a_foreign_page("vp8").await
}

#[tokio::test]
async fn vp9_from_a_foreign_page() -> Result<()> {
    from_a_foreign_page("vp9").await
}

#[tokio::test]
async fn av1_from_a_foreign_page() -> Result<()> {
    from_a_foreign_page("av1").await
}

/// Firefox speaks H.264 in WebRTC by Cisco's OpenH264 plugin alone, which it downloads after its first start and no Debian package has. So a
/// fresh firefox-esr 153 offers VP8, VP9 and AV1 and no H.264 at all (neither to send nor to receive; the preferences
/// `media.navigator.mediadatadecoder_h264_enabled` and `media.webrtc.platformencoder` change nothing), and our tests, which forbid the
/// download, see it as a viewer that must be given something else. When this fails, Firefox has learnt it: the matrix in `whep_in_browsers`
/// can then grow.
#[tokio::test]
async fn what_a_fresh_firefox_can_send() -> Result<()> {
    let pages = StaticServer::start(None).await?;
    let firefox = Firefox::start("firefox-codecs").await?;
    firefox.open(&pages.whip_page()).await?;
    let body = "const names = RTCRtpSender.getCapabilities('video').codecs.map((one) => one.mimeType.slice(6).toLowerCase());
        return ['vp8', 'vp9', 'av1', 'h264'].map((name) => names.includes(name));";
    assert_eq!(firefox.eval::<Vec<bool>>(body, vec![]).await?, [true, true, true, false]);
    firefox.close().await
}
