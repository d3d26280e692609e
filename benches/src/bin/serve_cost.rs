//! What a server costs and how fast it is: start-up, memory, time to the first segment, the CPU of a passed-through stream.
//!
//! `SKYWAVE_BIN=target/release/skywave cargo run --release -p skywave-benches --bin serve_cost`

#![allow(clippy::print_stdout, reason = "a bench prints what it measured")]

use anyhow::{Context, Result};
use player_test::contract::TestPublish;
use player_test::proc;
use player_test::publisher::Publisher;
use player_test::server::Server;
use player_test::wait;
use std::time::{Duration, Instant};

/// How long CPU time is counted.
const WINDOW: Duration = Duration::from_secs(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut starts = Vec::new();
    for _ in 0..5 {
        let started = Instant::now();
        let server = Server::start().await?;
        starts.push(started.elapsed().as_millis());
        drop(server);
    }
    starts.sort_unstable();
    println!("start to /readyz answered: median {} ms, most {} ms", starts[2], starts[4]);

    let server = Server::start().await?;
    println!("idle server: {}", memory(server.pid())?);
    for (video, what) in [("h264", "H.264 passed through"), ("vp8", "VP8 transcoded")] {
        let publish = TestPublish { video, size: (1280, 720), ..TestPublish::default() };
        let url = server.urls.whip(video);
        let mut publisher = Publisher::start(&url, &publish)?;
        let on_air = server.stream_is(video, "live", Duration::from_secs(20), |s| s.state == "live");
        on_air.await?;
        let connected = Instant::now();
        server.hls_ready(video, 1, Duration::from_secs(20)).await?;
        println!(
            "{what}: first segment {} ms after the publisher connected",
            connected.elapsed().as_millis()
        );
        wait::until("the window to fill a little", Duration::from_secs(30), async || {
            let ready = server.hls_ready(video, 4, Duration::from_millis(500)).await;
            Ok(ready.is_ok().then_some(()))
        })
        .await?;
        let worker = server.stream(video).await?.and_then(|s| s.worker?.pid).context("no worker")?;
        let before = (proc::cpu_seconds(server.pid())?, proc::cpu_seconds(worker)?);
        let since = Instant::now();
        tokio::time::sleep(WINDOW).await;
        let seconds = since.elapsed().as_secs_f64();
        let after = (proc::cpu_seconds(server.pid())?, proc::cpu_seconds(worker)?);
        let (serve, work) = ((after.0 - before.0) / seconds, (after.1 - before.1) / seconds);
        println!(
            "{what}, 720p30: server {serve:.4} + worker {work:.4} = {:.4} core; server {}, worker {}",
            serve + work,
            memory(server.pid())?,
            memory(worker)?
        );
        publisher.stop().await?;
        server.no_streams(Duration::from_secs(30)).await?;
    }
    println!("server after both streams: {}", memory(server.pid())?);
    Ok(())
}

fn memory(pid: u32) -> Result<String> {
    let reading = proc::read(pid)?;
    Ok(format!("{:.1} MB RSS, {} threads", reading.rss_bytes as f64 / 1e6, reading.threads))
}
