//! Chromium and Firefox publish and watch each other over WebRTC in every codec that both have, and webrtcbin watches as well.

use std::time::Duration;

use anyhow::{Result, ensure};
use player_test::browser::{Browser, ForeignPublish, ForeignWay};
use player_test::chromium::Chromium;
use player_test::contract::{PublishPage, Settings, TestPlay, TestPublish, page};
use player_test::firefox::Firefox;
use player_test::process::show;
use player_test::publisher::Publisher;
use player_test::server::Server;
use player_test::static_server::StaticServer;
use player_test::viewer::Viewer;
use player_test::whep_page::{ForeignWatch, quantile};

/// For some seconds of pictures on a machine that is busy with two browsers' encoders and decoders.
const PLAYS: Duration = Duration::from_secs(30);

/// Pictures that prove that it goes on: three seconds of them, less what busy encoders skip.
const PICTURES: u64 = 60;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Chromium,
    Firefox,
}

impl Kind {
    async fn start(self, name: &str) -> Result<Browser> {
        match self {
            Self::Chromium => Chromium::start(name).await.map(Browser::from),
            Self::Firefox => Firefox::start(name).await.map(Browser::from),
        }
    }
}

/// `publisher` sends `codec`; each of `viewers`, and `skywave play`, gets that codec, and picture and sound of it.
async fn is_seen_and_heard(publisher: Kind, codec: &'static str, viewers: &[Kind]) -> Result<()> {
    let server = Server::start().await?;
    let pages = StaticServer::start(None).await?;
    let stream = format!("{publisher:?}-{codec}").to_lowercase();
    let source = publisher.start(&format!("publisher-{stream}")).await?;
    let what = ForeignPublish { codec, ..ForeignPublish::default() };
    source.publish_foreign(&pages, &server.urls.whip(&stream), &what).await?;
    let whep = server.urls.whep(&stream);
    for kind in viewers {
        let viewer = kind.start(&format!("{kind:?}-watches-{stream}").to_lowercase()).await?;
        viewer.watch_whep_foreign(&pages, &whep, ForeignWatch::default()).await?;
        let seen = viewer.whep_plays_on(PICTURES, true, PLAYS).await?;
        show(&format!("{stream} in {kind:?}: {seen:?}"));
        let video = seen.video.as_ref().expect("pictures were decoded");
        assert_eq!(video.codec.as_deref(), Some(codec), "the publisher's own codec: {seen:?}");
        // Firefox begins small, until it knows what the way carries.
        assert!(video.width <= 640 && video.width * 9 == video.height * 16, "{seen:?}");
        viewer.stop_whep().await?;
        viewer.close().await?;
    }
    let seen = Viewer::start(&whep, &TestPlay::default())?.finish().await?;
    show(&format!("{stream} in skywave play: {seen:?}"));
    let (video, audio) = (seen.video.expect("pictures"), seen.audio.expect("sound"));
    assert_eq!(video.codec, codec);
    assert!(video.width <= 640 && video.width * 9 == video.height * 16, "{video:?}");
    ensure!(video.frames >= PICTURES, "{video:?}");
    ensure!(audio.peak_db.is_some_and(|peak| peak > -60.0), "{audio:?}");
    source.unpublish_foreign().await?;
    source.close().await
}

const BOTH: [Kind; 2] = [Kind::Chromium, Kind::Firefox];

#[tokio::test]
async fn chromiums_vp8() -> Result<()> {
    is_seen_and_heard(Kind::Chromium, "vp8", &BOTH).await
}

#[tokio::test]
async fn chromiums_vp9() -> Result<()> {
    is_seen_and_heard(Kind::Chromium, "vp9", &BOTH).await
}

#[tokio::test]
async fn chromiums_av1() -> Result<()> {
    is_seen_and_heard(Kind::Chromium, "av1", &BOTH).await
}

/// A fresh Firefox has no H.264 (see `firefox_publishes`).
#[tokio::test]
async fn chromiums_h264() -> Result<()> {
    is_seen_and_heard(Kind::Chromium, "h264", &[Kind::Chromium]).await
}

#[tokio::test]
async fn firefoxs_vp8() -> Result<()> {
    is_seen_and_heard(Kind::Firefox, "vp8", &BOTH).await
}

#[tokio::test]
async fn firefoxs_vp9() -> Result<()> {
    is_seen_and_heard(Kind::Firefox, "vp9", &BOTH).await
}

#[tokio::test]
async fn firefoxs_av1() -> Result<()> {
    is_seen_and_heard(Kind::Firefox, "av1", &BOTH).await
}

#[tokio::test]
async fn a_viewer_with_h264_alone_gets_the_h264_rendition_of_vp8() -> Result<()> {
    let server = Server::start().await?;
    let pages = StaticServer::start(None).await?;
    let mut publisher = Publisher::start(&server.urls.whip("vp8-to-h264"), &TestPublish::default())?;
    server.hls_ready("vp8-to-h264", 1, PLAYS).await?;
    let whep = server.urls.whep("vp8-to-h264");
    let viewer = Chromium::start("watches-h264-alone").await?;
    viewer
        .watch_whep_foreign(&pages, &whep, ForeignWatch { video: "h264", ..ForeignWatch::default() })
        .await?;
    let seen = viewer.whep_plays_on(PICTURES, true, PLAYS).await?;
    assert_eq!(seen.video.as_ref().and_then(|video| video.codec.as_deref()), Some("h264"), "{seen:?}");
    assert_eq!(seen.audio.as_ref().and_then(|audio| audio.codec.as_deref()), Some("opus"), "{seen:?}");
    let other = Viewer::start(&whep, &TestPlay { video: "h264", ..TestPlay::default() })?.finish().await?;
    assert_eq!(other.video.map(|video| video.codec).as_deref(), Some("h264"));
    viewer.close().await?;
    publisher.stop().await
}

#[tokio::test]
async fn viewers_stay_connected_while_the_publisher_is_away() -> Result<()> {
    let settings = Settings { grace_ms: 20_000, silence_timeout_ms: 2000, ..Settings::default() };
    let server = Server::start_with(&settings).await?;
    let pages = StaticServer::start(None).await?;
    let whip = server.urls.whip("returning");
    let whep = server.urls.whep("returning");
    let mut publisher = Publisher::start(&whip, &TestPublish::default())?;
    server.hls_ready("returning", 1, PLAYS).await?;
    let (chromium, firefox) =
        tokio::try_join!(Chromium::start("stays-chromium"), Firefox::start("stays-firefox"))?;
    let play = Viewer::start(&whep, &TestPlay { duration_s: 0, ..TestPlay::default() })?;
    for browser in [&*chromium, &*firefox] {
        browser.watch_whep_foreign(&pages, &whep, ForeignWatch::default()).await?;
        browser.whep_plays_on(PICTURES / 2, true, PLAYS).await?;
    }
    for round in ["vanishes", "unpublishes"] {
        if round == "vanishes" {
            publisher.vanish().await?;
        } else {
            publisher.stop().await?;
        }
        publisher = Publisher::start(&whip, &TestPublish::default())?;
        for browser in [&*chromium, &*firefox] {
            let seen = browser.whep_plays_on(PICTURES, true, PLAYS).await?;
            show(&format!("{round}: {seen:?}"));
        }
    }
    let seen = play.stop().await?;
    show(&format!("{seen:?}"));
    assert_eq!(seen.lost, None);
    assert!(seen.video.is_some_and(|video| video.frames > 2 * PICTURES));
    for browser in [&*chromium, &*firefox] {
        browser.stop_whep().await?;
    }
    chromium.close().await?;
    firefox.close().await?;
    publisher.stop().await
}

/// The canvas publisher draws its clock into the picture; the viewer's page reads it back.
#[tokio::test]
async fn from_canvas_to_eye_takes_a_fraction_of_a_second() -> Result<()> {
    let server = Server::start().await?;
    let pages = StaticServer::start(None).await?;
    let publisher = Chromium::start("clock-publisher").await?;
    let page = PublishPage { source: "canvas", video: "vp8", audio: true, resolution: "360p", fps: 30 };
    publisher.publish(&server.urls, "clock", &page).await?;
    let viewer = Chromium::start("clock-viewer").await?;
    viewer.watch_whep_foreign(&pages, &server.urls.whep("clock"), ForeignWatch::default()).await?;
    viewer.whep_plays_on(PICTURES, true, PLAYS).await?;
    let delays = viewer.picture_delays(200, PLAYS).await?;
    let (median, slowest) = (quantile(&delays, 0.5)?, quantile(&delays, 0.95)?);
    show(&format!("from canvas to eye: median {median} ms, 95 % within {slowest} ms"));
    // MediaMTX takes 50 ms on a quiet machine; two browsers that share two cores with other tests take longer.
    assert!(median <= 250.0, "median {median} ms of {delays:?}");
    viewer.close().await?;
    publisher.close().await
}

/// ICE-TCP (RFC 6544): the browser is told no UDP candidate.
#[tokio::test]
async fn a_browser_that_gets_no_udp_through_watches_over_tcp() -> Result<()> {
    let server = Server::start().await?;
    let pages = StaticServer::start(None).await?;
    let mut publisher = Publisher::start(&server.urls.whip("tcp"), &TestPublish::default())?;
    server.hls_ready("tcp", 1, PLAYS).await?;
    let viewer = Chromium::start("watches-over-tcp").await?;
    let way = ForeignWay { tcp_only: true, ..ForeignWay::default() };
    let what = ForeignWatch { way, ..ForeignWatch::default() };
    viewer.watch_whep_foreign(&pages, &server.urls.whep("tcp"), what).await?;
    let seen = viewer.whep_plays_on(PICTURES, true, PLAYS).await?;
    show(&format!("over TCP: {seen:?}"));
    viewer.close().await?;
    publisher.stop().await
}

#[tokio::test]
async fn the_watch_page_plays_over_webrtc_by_itself() -> Result<()> {
    let server = Server::start().await?;
    let mut publisher = Publisher::start(&server.urls.whip("by-itself"), &TestPublish::default())?;
    server.hls_ready("by-itself", 1, PLAYS).await?;
    let viewer = Chromium::start("watch-page-by-itself").await?;
    assert_eq!(viewer.watch_by_itself(&server.urls, "by-itself").await?, page::WHEP);
    let before = viewer.watching().await?;
    player_test::wait::until("the picture to go on", PLAYS, async || {
        let now = viewer.watching().await?;
        Ok((now.frames >= before.frames + PICTURES).then_some(()))
    })
    .await?;
    viewer.screenshot("watch-page-by-itself").await?;
    viewer.close().await?;
    publisher.stop().await
}
