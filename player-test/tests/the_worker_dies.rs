//! The worker is killed, hangs, or is fed garbage: the audience sees a short gap, and no other stream sees anything.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use player_test::contract::{TestPublish, fault};
use player_test::hls_client::{self, Following};
use player_test::process::show;
use player_test::publisher::Publisher;
use player_test::server::Server;
use player_test::{ffmpeg, hls_check, proc};
use tempfile::TempDir;
use tokio::time::Instant;

/// The tests' segment duration.
const SEGMENT: Duration = Duration::from_secs(2);
/// Noticed within a second, segments within a second of the restart.
const GAP: Duration = Duration::from_secs(2);

/// Does `harm` to the worker's process in the middle of a stream, and looks at what the audience has of it.
async fn stream_survives(name: &str, harm: fn(u32)) -> Result<()> {
    let server = Server::start().await?;
    let mut publisher = Publisher::start(&server.urls.whip(name), &TestPublish::default())?;
    server.hls_ready(name, 2, Duration::from_secs(20)).await?;
    let worker =
        server.stream(name).await?.and_then(|info| info.worker).context("a stream of VP8 has a worker")?;
    let pid = worker.pid.context("a worker has a pid")?;
    ensure!(proc::descendants(server.pid()).contains(&pid), "{pid} is not the server's child");

    let mut following = Following::start(&server.http, &server.urls.hls(name)).await?;
    harm(pid);
    let harmed = Instant::now();
    server
        .stream_is(name, "served by another worker", Duration::from_secs(5), |info| {
            info.worker
                .as_ref()
                .is_some_and(|now| now.pid.is_some_and(|now| now != pid) && now.restarts > worker.restarts)
        })
        .await?;
    show(&format!("{name}: another worker {:?} later", harmed.elapsed()));
    let enough = following.capture.video()?.seconds() + 10.0;
    while !following.has(enough) {
        following.advance(&server.http).await?;
    }
    publisher.still_runs()?;
    ensure!(!proc::is_alive(pid), "the old worker is still there");

    let capture = &following.capture;
    for captured in &capture.renditions {
        let gaps = captured.segments.windows(2).map(|pair| pair[1].seen - pair[0].seen);
        let longest = gaps.max().unwrap_or_default();
        show(&format!("{name}: {} at most {longest:?} without a new segment", captured.rendition.url.path()));
        assert!(longest <= SEGMENT + GAP, "{longest:?} without a new segment of {}", captured.rendition.url);
    }
    assert_eq!(hls_check::faults(capture), Vec::<String>::new());
    let folder = TempDir::new()?;
    for (captured, file) in [(capture.video()?, "video.mp4"), (capture.audio()?, "audio.mp4")] {
        let path = captured.write(folder.path(), file)?;
        ffmpeg::decode(&path.to_string_lossy(), 60).await?;
    }
    publisher.stop().await
}

#[tokio::test]
async fn killed() -> Result<()> {
    stream_survives("killed", proc::kill).await
}

#[tokio::test]
async fn hanging() -> Result<()> {
    stream_survives("hanging", proc::freeze).await
}

#[tokio::test]
async fn fed_with_garbage() -> Result<()> {
    let server = Server::start().await?;
    let garbage = TestPublish { faults: fault::CORRUPT_5_PERCENT.to_owned(), ..TestPublish::default() };
    let mut bad = Publisher::start(&server.urls.whip("bad"), &garbage)?;
    let mut good = Publisher::start(&server.urls.whip("good"), &TestPublish::default())?;
    server.hls_ready("good", 1, Duration::from_secs(20)).await?;
    let capture = hls_client::capture(&server.http, &server.urls.hls("good"), 20.0).await?;
    assert_eq!(hls_check::faults(&capture), Vec::<String>::new());
    let folder = TempDir::new()?;
    for captured in &capture.renditions {
        let path = captured.write(folder.path(), "good.mp4")?;
        ffmpeg::decode(&path.to_string_lossy(), 60).await?;
    }
    good.still_runs()?;
    bad.still_runs()?;
    // The damaged stream itself: what comes out of it is still valid, as far as it goes.
    let damaged = hls_client::capture(&server.http, &server.urls.hls("bad"), 4.0).await?;
    assert_eq!(hls_check::faults(&damaged), Vec::<String>::new());
    let good_worker = server.stream("good").await?.and_then(|info| info.worker).context("a worker")?;
    assert_eq!(good_worker.restarts, 0, "one stream's garbage is no other stream's matter");
    bad.stop().await?;
    good.stop().await
}
