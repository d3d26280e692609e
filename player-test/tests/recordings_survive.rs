//! What is recorded is still there when the server is not: killed at any moment, stopped, asked by real players.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use player_test::chromium::Chromium;
use player_test::contract::{RecordingInfo, Settings, TestPublish};
use player_test::ffmpeg;
use player_test::process::show;
use player_test::publisher::Publisher;
use player_test::server::Server;
use player_test::small_disk::on_a_small_disk;
use player_test::viewing::Played;
use player_test::{gstreamer, vlc, wait};
use serde_json::Value;
use tempfile::TempDir;

/// How often the server is killed: few times in `make test`, `SKYWAVE_KILL_ROUNDS=50` by hand.
const ROUNDS: u32 = 3;

/// What a frame takes from the publisher's clock into the recorder: encoding, the network, the worker, on a busy machine.
const ON_THE_WAY_MS: i64 = 500;

fn settings(folder: &Path) -> Settings {
    Settings { recordings: Some(folder.to_owned()), ..Settings::default() }
}

fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

async fn newest(server: &Server, stream: &str) -> Result<RecordingInfo> {
    let all = server.recordings().await?;
    all.into_iter()
        .filter(|one| one.stream == stream)
        .max_by_key(|one| one.begun_us)
        .context("nothing is recorded")
}

/// Waits until the newest recording of `stream` is in one of these states.
async fn recording_is(server: &Server, stream: &str, states: &[&str]) -> Result<RecordingInfo> {
    wait::until(&format!("a recording of {stream} to be {states:?}"), Duration::from_secs(30), async || {
        let one = newest(server, stream).await?;
        if states.contains(&one.state.as_str()) { Ok(Some(one)) } else { bail!("it is {one:?}") }
    })
    .await
}

/// Waits until so much of the newest recording is safe.
async fn recorded(server: &Server, stream: &str, ms: u64) -> Result<()> {
    wait::until(&format!("{ms} ms of {stream} to be recorded"), Duration::from_secs(40), async || {
        let one = newest(server, stream).await?;
        if one.duration_ms >= ms { Ok(Some(())) } else { bail!("it has {} ms", one.duration_ms) }
    })
    .await
}

#[tokio::test]
async fn takes_survive_a_killed_server() -> Result<()> {
    let folder = TempDir::new()?;
    let rounds = std::env::var("SKYWAVE_KILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(ROUNDS);
    let mut worst = 0;
    for round in 0..rounds {
        let name = format!("killed-{round}");
        let mut server = Server::start_with(&settings(folder.path())).await?;
        let publisher = Publisher::start(&server.urls.whip(&name), &TestPublish::default())?;
        recorded(&server, &name, 1_000).await?;
        // Any moment: the middle of a write, of a fragment, of a flush.
        let moment =
            u64::from(std::process::id().wrapping_mul(2_654_435_761).wrapping_add(round * 977) % 2_500);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        let begun_ms = newest(&server, &name).await?.begun_us / 1000;
        server.vanish().await?;
        let live_ms = wall_ms() - begun_ms;
        drop(publisher);
        let server = Server::start_with(&settings(folder.path())).await?;
        let one = recording_is(&server, &name, &["ready", "repaired"]).await?;
        let lost_ms = live_ms - i64::try_from(one.duration_ms)?;
        show(&format!("{name}: {live_ms} ms were live, {} ms are kept", one.duration_ms));
        worst = worst.max(lost_ms);
        ensure!(lost_ms <= 1_000 + ON_THE_WAY_MS, "{lost_ms} ms of {live_ms} ms are lost");
        let seconds = u32::try_from(one.duration_ms / 1000)?;
        let decoded = ffmpeg::decode(&server.urls.recorded_file(&name, &one.id), seconds + 5).await?;
        ensure!(u64::from(u32::try_from(decoded.pictures)?) >= one.duration_ms / 50, "{decoded:?}");
    }
    show(&format!("the worst of {rounds} rounds lost {worst} ms"));
    Ok(())
}

#[tokio::test]
async fn a_recording_plays_everywhere_and_seeks() -> Result<()> {
    let name = "recorded";
    let folder = TempDir::new()?;
    let server = Server::start_with(&settings(folder.path())).await?;
    let mut publisher = Publisher::start(&server.urls.whip(name), &TestPublish::default())?;
    recorded(&server, name, 15_000).await?;
    publisher.stop().await?;
    let one = recording_is(&server, name, &["ready"]).await?;
    let file = server.urls.recorded_file(name, &one.id);
    let hls = server.urls.recorded_hls(name, &one.id);
    for url in [&file, &hls] {
        let probe = ffmpeg::probe(url).await?;
        ensure!(
            probe.video.is_some_and(|v| v.codec_name == "h264")
                && probe.audio.is_some_and(|a| a.codec_name == "aac")
        );
        let seconds = f64::from(u32::try_from(one.duration_ms)?) / 1000.0;
        let decoded = ffmpeg::decode(url, 60).await?;
        let expected = seconds * 30.0;
        ensure!(
            (decoded.pictures as f64 - expected).abs() <= 0.02 * expected + 3.0,
            "{url}: {decoded:?} of {seconds} s"
        );
        let wanted = Played::seconds(5, Some(30), true);
        let limit = Duration::from_secs(25);
        let (vlc, playbin) =
            tokio::try_join!(vlc::play(url, wanted, limit), gstreamer::play(url, wanted, limit))?;
        ensure!(vlc.reaches(&wanted) && playbin.reaches(&wanted), "{url}: {vlc:?} {playbin:?}");
    }
    let browser = Chromium::start("recorded").await?;
    browser.open(&server.urls.recorded_page(name)).await?;
    let times: Vec<f64> = browser.eval_async(SEEK, Vec::new()).await?;
    show(&format!("Chromium seeks within {times:?} ms"));
    browser.screenshot("recorded").await?;
    let mut sorted = times.clone();
    sorted.sort_by(f64::total_cmp);
    ensure!(sorted[sorted.len() / 2] <= 300.0, "the median of {times:?} ms");
    browser.close().await?;

    // Ranges, validators and what is not there.
    let whole = server.http.get(&file).send().await?.error_for_status()?;
    let etag = whole.headers()["etag"].clone();
    let bytes = whole.bytes().await?;
    ensure!(bytes.len() as u64 == one.bytes, "{} bytes, not {}", bytes.len(), one.bytes);
    let part =
        server.http.get(&file).header("range", "bytes=1000-1999").header("if-range", &etag).send().await?;
    ensure!(part.status() == 206 && part.bytes().await?[..] == bytes[1000..2000]);
    let stale =
        server.http.get(&file).header("range", "bytes=0-9").header("if-range", "\"old\"").send().await?;
    ensure!(stale.status() == 200);
    let known = server.http.get(&file).header("if-none-match", &etag).send().await?;
    ensure!(known.status() == 304);
    let beyond = server.http.get(&file).header("range", format!("bytes={}-", bytes.len())).send().await?;
    ensure!(beyond.status() == 416);
    ensure!(server.http.get(server.urls.recorded_file(name, "none")).send().await?.status() == 404);
    Ok(())
}

/// Seeks here and there and tells how long each seek took, in milliseconds.
const SEEK: &str = "
    const video = document.querySelector('video');
    const once = (name) => new Promise((ok) => video.addEventListener(name, ok, { once: true }));
    video.muted = true;
    if (video.readyState < 2) { const loaded = once('loadeddata'); video.preload = 'auto'; await loaded; }
    const times = [];
    for (const part of [0.8, 0.1, 0.5, 0.95, 0.3, 0.66, 0.02]) {
        const began = performance.now();
        const seeked = once('seeked');
        video.currentTime = video.duration * part;
        await seeked;
        times.push(performance.now() - began);
    }
    return times;
";

#[tokio::test]
async fn a_stopped_server_leaves_finished_files_and_a_returning_publisher_one_take() -> Result<()> {
    let name = "one-take";
    let folder = TempDir::new()?;
    let mut server = Server::start_with(&settings(folder.path())).await?;
    let mut first = Publisher::start(&server.urls.whip(name), &TestPublish::default())?;
    recorded(&server, name, 4_000).await?;
    first.stop().await?;
    let _second = Publisher::start(&server.urls.whip(name), &TestPublish::default())?;
    let before = newest(&server, name).await?.duration_ms;
    recorded(&server, name, before + 4_000).await?;
    server.stop().await?;
    let server = Server::start_with(&settings(folder.path())).await?;
    let all = server.recordings().await?;
    ensure!(all.len() == 1 && all[0].state == "ready", "{all:?}");
    let decoded = ffmpeg::decode(&server.urls.recorded_file(name, &all[0].id), 60).await?;
    ensure!(decoded.pictures > 200, "{decoded:?}");
    Ok(())
}

/// The publisher never waits, and nothing is lost that was on the disk: recording stops loudly, live goes on, and once there is room the
/// file is finished.
#[test]
fn a_full_disk_stops_the_recording_and_nothing_else() -> Result<()> {
    on_a_small_disk(256 << 20, async |disk| {
        let keys = ["recording.free_floor_bytes=0".to_owned()];
        let server = Server::start_set(&settings(disk.path()), &keys).await?;
        let publisher = Publisher::start(&server.urls.whip("full"), &TestPublish::default())?;
        recorded(&server, "full", 2_000).await?;
        let filler = disk.fill(300_000)?;
        let words =
            wait::until("the recording to stop for want of room", Duration::from_secs(40), async || {
                let stream: Value = server.http.get(server.urls.stream("full")).send().await?.json().await?;
                Ok(stream["recording"]["reason"].as_str().map(str::to_owned))
            })
            .await?;
        ensure!(words.contains("the disk is full"), "{words}");
        let stopped = newest(&server, "full").await?;
        show(&format!("stopped after {} ms: {words}", stopped.duration_ms));
        // Live goes on: eight more seconds, decoded without an error.
        let decoded = ffmpeg::decode(&server.urls.hls("full"), 8).await?;
        ensure!(decoded.pictures >= 8 * 25, "{decoded:?}");
        std::fs::remove_file(filler)?;
        // It is looked for room once a minute.
        let one = wait::until("the recording to be finished", Duration::from_secs(90), async || {
            let one = newest(&server, "full").await?;
            if one.state == "ready" { Ok(Some(one)) } else { bail!("it is {one:?}") }
        })
        .await?;
        ensure!(one.duration_ms + 600 >= stopped.duration_ms, "{one:?}, which had {stopped:?}");
        ffmpeg::decode(&server.urls.recorded_file("full", &one.id), 60).await?;
        drop(publisher);
        Ok(())
    })
}

/// With `recording.archive` the publisher's own pictures and sound are kept beside the MP4, also over a kill.
#[tokio::test]
async fn what_was_published_is_archived_as_it_was() -> Result<()> {
    let folder = TempDir::new()?;
    let keys = ["recording.archive=true".to_owned()];
    let mut server = Server::start_set(&settings(folder.path()), &keys).await?;
    for (name, kill) in [("archived", false), ("archived-cut", true)] {
        let mut publisher = Publisher::start(&server.urls.whip(name), &TestPublish::default())?;
        recorded(&server, name, 6_000).await?;
        if kill {
            server.vanish().await?;
            drop(publisher);
            server = Server::start_set(&settings(folder.path()), &keys).await?;
        } else {
            publisher.stop().await?;
        }
        let both = wait::until("both recordings to be finished", Duration::from_secs(60), async || {
            let all = server.recordings().await?;
            let all: Vec<_> = all.into_iter().filter(|one| one.stream == name).collect();
            let done = all.iter().all(|one| ["ready", "repaired"].contains(&one.state.as_str()));
            if all.len() == 2 && done { Ok(Some(all)) } else { bail!("there are {all:?}") }
        })
        .await?;
        let archive = both.iter().find(|one| one.id.ends_with("-source")).context("no archive")?;
        let other = both.iter().find(|one| !one.id.ends_with("-source")).context("no MP4")?;
        ensure!(archive.duration_ms.abs_diff(other.duration_ms) <= 1_200, "{both:?}");
        let url = server.urls.archived_file(name, &archive.id);
        let probe = ffmpeg::probe(&url).await?;
        ensure!(probe.video.is_some_and(|video| video.codec_name == "vp8"));
        ensure!(probe.audio.is_some_and(|audio| audio.codec_name == "opus"));
        let decoded = ffmpeg::decode(&url, 60).await?;
        show(&format!("{name}: {} ms, {decoded:?}, {} bytes", archive.duration_ms, archive.bytes));
        let seconds = archive.duration_ms as f64 / 1000.0;
        ensure!(decoded.pictures as f64 >= seconds * 28.0 && decoded.seconds >= seconds - 0.1, "{decoded:?}");
        ensure!(server.http.get(server.urls.recorded_file(name, &archive.id)).send().await?.status() == 404);
    }
    Ok(())
}
