//! How far behind the camera low-latency HLS is, and that players of all kinds play on when the publisher returns.
//!
//! `SKYWAVE_GLASS_TO_GLASS_S` makes the measurement that many seconds long.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use player_test::chromium::Chromium;
use player_test::contract::{PublishPage, Settings, TestPublish};
use player_test::process::show;
use player_test::publisher::Publisher;
use player_test::server::Server;
use player_test::static_server::StaticServer;
use player_test::viewing::Played;
use player_test::whep_page::quantile;
use player_test::{ffmpeg, gstreamer, vlc, wait};

const READY: Duration = Duration::from_secs(30);
/// Until the player is where it wants to be: it catches up a second in about fifteen.
const SETTLES: Duration = Duration::from_secs(30);

fn length(usual_s: u64) -> Result<Duration> {
    let seconds = match std::env::var("SKYWAVE_GLASS_TO_GLASS_S") {
        Ok(text) => text.parse().context("SKYWAVE_GLASS_TO_GLASS_S is a number of seconds")?,
        Err(_) => usual_s,
    };
    Ok(Duration::from_secs(seconds))
}

/// Two threads for each core that do nothing but work, for a second: the whole machine is busy.
fn starve() -> thread::JoinHandle<()> {
    thread::spawn(|| {
        let until = Instant::now() + Duration::from_secs(1);
        let cores = thread::available_parallelism().map_or(2, usize::from);
        let busy = |_| {
            thread::spawn(move || {
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
            })
        };
        let all: Vec<_> = (0..cores * 2).map(busy).collect();
        for one in all {
            // A thread that only spins does not panic.
            let _ended = one.join();
        }
    })
}

#[tokio::test]
async fn from_canvas_to_eye_on_the_watch_page_takes_less_than_a_second() -> Result<()> {
    let server = Server::start().await?;
    let publisher = Chromium::start("ll-clock-publisher").await?;
    let page = PublishPage { source: "canvas", video: "vp8", audio: true, resolution: "360p", fps: 30 };
    publisher.publish(&server.urls, "ll-clock", &page).await?;
    server.hls_ready("ll-clock", 1, READY).await?;
    let viewer = Chromium::start("ll-clock-viewer").await?;
    viewer.watch(&server.urls, "ll-clock").await?;
    let latency = wait::until("the player to be where it wants to be", SETTLES, async || {
        let latency = viewer.latency().await?;
        let late_s = latency.latency_s - latency.target_s.unwrap_or_default();
        if late_s <= 0.15 { Ok(Some(latency)) } else { bail!("{latency:?}") }
    })
    .await?;
    show(&format!("{latency:?}"));
    ensure!(latency.low_latency && latency.part_target_s > 0.0, "hls.js found no low latency: {latency:?}");
    viewer.monitor().await?;

    let length = length(30)?;
    let shown = viewer.shown_for(length).await?;
    let (median, most) = (quantile(&shown.delays, 0.5)?, quantile(&shown.delays, 0.95)?);
    let stalls = viewer.watching().await?.stalls;
    show(&format!(
        "from canvas to eye in {length:?}: median {median} ms, 95 % within {most} ms, of {} clocks read; {} pictures, longest pause {:.0} ms, {stalls} stalls",
        shown.delays.len(),
        shown.pictures,
        shown.longest_pause_ms
    ));
    viewer.screenshot("ll-clock").await?;

    // One second in which nobody gets the processor.
    let starving = tokio::spawn(async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        starve()
    });
    let starved = viewer.shown_for(Duration::from_secs(8)).await?;
    starving.await?.join().ok().context("the busy threads ended")?;
    let again = viewer.shown_for(Duration::from_secs(4)).await?;
    show(&format!(
        "with a second of starvation: longest pause {:.0} ms; after it {} pictures in 4 s",
        starved.longest_pause_ms, again.pictures
    ));

    assert_eq!(stalls, 0, "playback stalled: {shown:?}");
    assert!(shown.delays.len() as u64 > length.as_secs() * 10, "too few clocks: {}", shown.delays.len());
    // hls.js aims for three parts, and for a part more after each stall at the start, which a busy machine may have: the goal of 1.0 s is for
    // a quiet one.
    let aimed_ms = latency.target_s.context("hls.js aims for nothing")? * 1000.0;
    assert!(most <= aimed_ms + 340.0, "95 % within {most} ms, where hls.js aims for {aimed_ms} ms");
    assert!(starved.longest_pause_ms <= 2000.0, "{} ms without a picture", starved.longest_pause_ms);
    assert!(again.pictures >= 60, "it does not go on: {} pictures in 4 s", again.pictures);
    viewer.close().await?;
    publisher.close().await
}

/// Chromium's player (156) gives up with "Segment queue never had any data" as long as fewer than three whole segments are listed: the
/// first six seconds of a broadcast are not for it.
#[tokio::test]
async fn chromiums_own_player_plays_once_three_segments_are_there() -> Result<()> {
    let server = Server::start().await?;
    let pages = StaticServer::start(None).await?;
    let mut publisher = Publisher::start(&server.urls.whip("native"), &TestPublish::default())?;
    server.hls_ready("native", 4, READY).await?;
    let viewer = Chromium::start("native").await?;
    ensure!(
        viewer.watch_natively(&pages, &server.urls.hls("native")).await?,
        "this Chromium has no HLS player of its own"
    );
    player_test::viewing::browser_settles(&viewer).await?;
    player_test::viewing::browser_plays_on(&viewer, 8, Some(30), false).await?;
    viewer.screenshot("native").await?;
    viewer.close().await?;
    publisher.stop().await
}

/// Old players see an ordinary live playlist at the same URL; each plays through the break.
#[tokio::test]
async fn vlc_ffmpeg_and_gstreamer_play_on_when_the_publisher_returns() -> Result<()> {
    let settings = Settings { grace_ms: 20_000, ..Settings::default() };
    let server = Server::start_with(&settings).await?;
    let whip = server.urls.whip("returning");
    let mut publisher = Publisher::start(&whip, &TestPublish::default())?;
    server.hls_ready("returning", 3, READY).await?;
    let url = server.urls.hls("returning");
    // 25 s of media: some of before the break, which comes after 8 s, and most of after it.
    let wanted = Played { pictures: 25 * 25, sounds: 25 * 15 };
    let limit = Duration::from_secs(75);
    let breaks = async {
        tokio::time::sleep(Duration::from_secs(8)).await;
        publisher.vanish().await?;
        Publisher::start(&whip, &TestPublish::default())
    };
    let (vlc, playbin, decoded, again) = tokio::join!(
        vlc::play(&url, wanted, limit),
        gstreamer::play(&url, wanted, limit),
        ffmpeg::decode(&url, 25),
        breaks
    );
    let mut again = again?;
    show(&format!("VLC {vlc:?}; playbin {playbin:?}; ffmpeg {decoded:?}"));
    vlc.context("VLC")?;
    playbin.context("playbin")?;
    // ffmpeg's own clock jumps with the stream's; what counts is that it decoded pictures of both sides without a word of complaint.
    ensure!(decoded.context("ffmpeg")?.pictures >= 25 * 20, "ffmpeg saw too little");
    again.stop().await
}
