//! WebM comes in from ffmpeg, Chromium and Firefox, and goes out as everything else does; what is no WebM is told so.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use player_test::browser::Browser;
use player_test::chromium::Chromium;
use player_test::contract::{Settings, TestPlay};
use player_test::firefox::Firefox;
use player_test::process::{Process, show};
use player_test::server::Server;
use player_test::static_server::StaticServer;
use player_test::viewer::Viewer;
use player_test::{ffmpeg, wait};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio_tungstenite::tungstenite::Message;

const ON_AIR: Duration = Duration::from_secs(30);

/// Flash and beep, so that the ear of `skew` could hear it too; VP8 and Opus.
const SOURCE: &[&str] = &[
    "-f",
    "lavfi",
    "-i",
    "testsrc2=size=320x180:rate=30",
    "-f",
    "lavfi",
    "-i",
    "sine=frequency=440:sample_rate=48000",
];
const CODED: &[&str] = &[
    "-c:v",
    "libvpx",
    "-deadline",
    "realtime",
    "-cpu-used",
    "8",
    "-b:v",
    "600k",
    "-g",
    "30",
    "-c:a",
    "libopus",
    "-b:a",
    "64k",
];

/// A file of so many seconds.
async fn file(folder: &Path, name: &str, seconds: u32, coded: &[&str]) -> Result<Vec<u8>> {
    let path = folder.join(name);
    let (seconds, out) = (seconds.to_string(), path.display().to_string());
    let mut arguments = SOURCE.to_vec();
    arguments.extend(["-t", &seconds]);
    arguments.extend(coded);
    arguments.push(&out);
    ffmpeg::make(&arguments).await?;
    Ok(std::fs::read(path)?)
}

/// A viewer's `codec` pictures and sound over WebRTC, for five seconds.
async fn seen_over_webrtc(server: &Server, stream: &str, video: &'static str) -> Result<()> {
    let what = TestPlay { video, audio: true, duration_s: 5, ..TestPlay::default() };
    let seen = Viewer::start(&server.urls.whep(stream), &what)?.finish().await?;
    let pictures = seen.video.as_ref().context("no pictures over WebRTC")?;
    show(&format!("{stream} over WebRTC: {} pictures of {}", pictures.frames, pictures.codec));
    ensure!(pictures.codec == video && pictures.frames >= 90, "{seen:?}");
    ensure!(seen.audio.is_some_and(|audio| audio.buffers >= 70), "little sound over WebRTC"); // Chromium records 60 ms of Opus at a time.
    Ok(())
}

/// Pictures and sound over HLS, at their pace.
async fn seen_over_hls(server: &Server, stream: &str) -> Result<()> {
    server.hls_ready(stream, 3, ON_AIR).await?;
    let url = server.urls.hls(stream);
    let probe = ffmpeg::probe(&url).await?;
    ensure!(probe.video.as_ref().is_some_and(|video| video.codec_name == "h264"), "{probe:?}");
    ensure!(probe.audio.as_ref().is_some_and(|audio| audio.codec_name == "aac"), "{probe:?}");
    let decoded = ffmpeg::decode(&url, 8).await?;
    ensure!(decoded.pictures >= 8 * 25, "{decoded:?}");
    Ok(())
}

/// The finished recording of a stream, decoded without a word of complaint.
async fn recorded(server: &Server, stream: &str, at_least_ms: u64) -> Result<()> {
    let one = wait::until(&format!("the recording of {stream} to be ready"), ON_AIR, async || {
        let all = server.recordings().await?;
        let one = all.into_iter().find(|one| one.stream == stream).context("nothing is recorded")?;
        if one.state == "ready" { Ok(Some(one)) } else { bail!("it is {}", one.state) }
    })
    .await?;
    ensure!(one.duration_ms >= at_least_ms, "{one:?}");
    let decoded = ffmpeg::decode(&server.urls.recorded_file(stream, &one.id), 120).await?;
    let seconds = one.duration_ms as f64 / 1000.0;
    show(&format!("{stream}: {} pictures in {seconds} s are recorded", decoded.pictures));
    ensure!((decoded.pictures as f64) >= seconds * 25.0, "{decoded:?} of {seconds} s");
    Ok(())
}

fn recording(folder: &TempDir) -> Settings {
    Settings { recordings: Some(folder.path().to_owned()), grace_ms: 1_000, ..Settings::default() }
}

#[tokio::test]
async fn ffmpeg_posts_webm_as_it_is_made() -> Result<()> {
    let folder = TempDir::new()?;
    let server = Server::start_with(&recording(&folder)).await?;
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostats", "-re"]).args(SOURCE).args(["-t", "30"]).args(CODED);
    command.args([
        "-f",
        "webm",
        "-cluster_time_limit",
        "500",
        "-flush_packets",
        "1",
        &server.urls.webm("posted"),
    ]);
    let mut publisher = Process::spawn("ffmpeg that posts", command)?;
    seen_over_hls(&server, "posted").await?;
    seen_over_webrtc(&server, "posted", "vp8").await?;
    let status = publisher.exit(Duration::from_secs(40)).await?;
    ensure!(status.success(), "{status}: {:?}", publisher.lines());
    recorded(&server, "posted", 28_000).await
}

#[tokio::test]
async fn a_whole_file_is_played_at_its_own_pace() -> Result<()> {
    let folder = TempDir::new()?;
    let server = Server::start_with(&recording(&folder)).await?;
    let body = file(folder.path(), "whole.webm", 10, CODED).await?;
    let begun = Instant::now();
    let answer =
        server.http.post(server.urls.webm("whole")).body(body.clone()).timeout(ON_AIR).send().await?;
    ensure!(answer.status() == 200, "{}", answer.text().await?);
    let summary: Value = answer.json().await?;
    let took = begun.elapsed().as_secs_f64();
    show(&format!("a file of 10 s took {took:.2} s: {summary}"));
    ensure!((9.5..13.0).contains(&took), "{took} s");
    ensure!(summary["frames"] == 300 + 501 && summary["dropped"] == 0, "{summary}");
    recorded(&server, "whole", 9_500).await?;

    // A WebSocket's client is told that it is too fast, and at its end what came of it.
    let (mut socket, _) = tokio_tungstenite::connect_async(server.urls.webm_socket("whole")).await?;
    for piece in body.chunks(30_000) {
        socket.send(Message::binary(piece.to_vec())).await?;
    }
    socket.close(None).await?;
    let mut notes = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Text(text) = message {
            notes.push(serde_json::from_str::<Value>(&text)?);
        }
    }
    ensure!(
        notes.first() == Some(&json!({ "type": "begin", "tracks": ["video", "audio"], "refused": [] })),
        "{notes:?}"
    );
    ensure!(notes.iter().any(|note| note["type"] == "flow" && note["paused"] == true), "{notes:?}");
    Ok(())
}

/// Records in a browser with `mime` and looks at what comes out everywhere.
async fn records(browser: &Browser, mime: &str, codec: &'static str, camera: bool) -> Result<()> {
    let folder = TempDir::new()?;
    let server = Server::start_with(&recording(&folder)).await?;
    let pages = StaticServer::start(None).await?;
    let stream = format!("recorder-{codec}");
    browser.open(&pages.recorder_page()).await?;
    let options = json!({ "url": server.urls.webm_socket(&stream), "mime": mime, "camera": camera });
    let begin: Value = browser.eval_async("return recorder.start(arguments[0]);", vec![options]).await?;
    ensure!(begin["tracks"] == json!(["video", "audio"]), "{begin}");
    seen_over_hls(&server, &stream).await?;
    seen_over_webrtc(&server, &stream, codec).await?;
    let end: Value = browser.eval_async("return recorder.stop();", vec![]).await?;
    ensure!(end["code"] == 1000 && end["wasClean"] == true, "{end}");
    recorded(&server, &stream, 12_000).await
}

#[tokio::test]
async fn chromium_records_vp8() -> Result<()> {
    let browser = Chromium::start("recorder-vp8").await?;
    records(&browser, "video/webm;codecs=vp8,opus", "vp8", false).await?;
    browser.close().await
}

#[tokio::test]
async fn chromium_records_vp9() -> Result<()> {
    let browser = Chromium::start("recorder-vp9").await?;
    records(&browser, "video/webm;codecs=vp9,opus", "vp9", false).await?;
    browser.close().await
}

#[tokio::test]
async fn chromium_records_h264_in_matroska() -> Result<()> {
    let browser = Chromium::start("recorder-h264").await?;
    records(&browser, "video/x-matroska;codecs=avc1,opus", "h264", false).await?;
    browser.close().await
}

#[tokio::test]
async fn chromium_records_av1() -> Result<()> {
    let browser = Chromium::start("recorder-av1").await?;
    records(&browser, "video/webm;codecs=av1,opus", "av1", false).await?;
    browser.close().await
}

#[tokio::test]
async fn firefox_records_vp8() -> Result<()> {
    let browser = Firefox::start("recorder-firefox").await?;
    records(&browser, "video/webm;codecs=vp8,opus", "vp8", true).await?;
    browser.close().await
}

#[tokio::test]
async fn a_second_recorder_on_the_same_socket_goes_on() -> Result<()> {
    let server = Server::start().await?;
    let pages = StaticServer::start(None).await?;
    let browser = Chromium::start("recorder-again").await?;
    browser.open(&pages.recorder_page()).await?;
    // Five seconds in one piece: the longest chunks that anybody makes.
    let options = json!({ "url": server.urls.webm_socket("again"), "mime": "video/webm;codecs=vp8,opus", "slice": 5000 });
    let _: Value = browser.eval_async("return recorder.start(arguments[0]);", vec![options]).await?;
    server.hls_ready("again", 2, ON_AIR).await?;
    let viewer = Chromium::start("recorder-again-viewer").await?;
    viewer.watch(&server.urls, "again").await?;
    let again = "return recorder.again(arguments[0]);";
    let _: Value = browser.eval_async(again, vec!["video/webm;codecs=vp9,opus".into()]).await?;
    let before = viewer.watching().await?;
    wait::until("ten seconds to be played over the change", ON_AIR, async || {
        let now = viewer.watching().await?;
        if now.frames - before.frames >= 250 { Ok(Some(())) } else { bail!("{now:?}") }
    })
    .await?;
    ensure!(server.stream("again").await?.is_some_and(|stream| stream.state == "live"));
    viewer.close().await?;
    browser.close().await
}

/// The close code and the last note of a client that sends these messages.
async fn sent_away(server: &Server, messages: Vec<Message>) -> Result<(u16, Value)> {
    let (mut socket, _) = tokio_tungstenite::connect_async(server.urls.webm_socket("junk")).await?;
    for message in messages {
        // It may be sent away before it is through.
        let _sent_away = socket.send(message).await;
    }
    let (mut code, mut last) = (0, Value::Null);
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) => last = serde_json::from_str(&text)?,
            Message::Close(Some(frame)) => code = frame.code.into(),
            _ => {}
        }
    }
    Ok((code, last))
}

#[tokio::test]
async fn what_is_no_webm_is_told_so_and_costs_nothing() -> Result<()> {
    let folder = TempDir::new()?;
    let server = Server::start().await?;
    let before = server.reading()?;
    // 100 MB, one byte after the other as a linear congruential generator makes them.
    let mut state = 1u32;
    let junk: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(100_000_000)
    .collect();
    let post = async |body: Vec<u8>| server.http.post(server.urls.webm("junk")).body(body).send().await;
    match post(junk.clone()).await {
        Ok(answer) => ensure!(answer.status() == 400, "{}", answer.status()),
        // The answer may be lost when the connection is closed over unread bytes; the server must have ended it.
        Err(error) => ensure!(error.is_request() || error.is_body(), "{error}"),
    }
    let header = file(folder.path(), "head.webm", 1, CODED).await?;
    // A cluster of unknown size, its time, and a block of 1 GiB.
    let cluster = header.windows(4).position(|id| id == [0x1f, 0x43, 0xb6, 0x75]).context("no cluster")?;
    let claim = [0x1f, 0x43, 0xb6, 0x75, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xe7, 0x81, 0, 0xa3];
    let huge = [&header[..cluster], &claim, &[0x01, 0, 0, 0, 0x40, 0, 0, 0], &junk[..50]].concat();
    for (name, body, status) in [
        ("random", junk[..1000].to_vec(), 400),
        ("empty", Vec::new(), 400),
        ("cut in its header", header[..60].to_vec(), 400),
        ("broken behind its header", [&header[..600], &junk[..5_000]].concat(), 400),
        ("a block that claims a gigabyte", huge, 413),
    ] {
        let answer = post(body).await?;
        let found = answer.status();
        let words: Value = answer.json().await.context(name)?;
        show(&format!("{name}: {found} {}", words["detail"]));
        ensure!(found == status, "{name}: {found}, not {status}: {words}");
    }
    let pcm = file(folder.path(), "pcm.mkv", 1, &["-vn", "-c:a", "pcm_s16le"]).await?;
    let refused = post(pcm).await?;
    ensure!(refused.status() == 415, "{}", refused.text().await?);
    let get = server.http.get(server.urls.webm("junk")).send().await?;
    ensure!(get.status() == 426 && get.headers()["upgrade"] == "websocket", "{get:?}");

    let (code, note) = sent_away(&server, vec![Message::binary(junk[..1000].to_vec())]).await?;
    ensure!(code == 4400 && note["type"] == "error" && note["status"] == 400, "{code} {note}");
    let (code, note) = sent_away(&server, vec![Message::text("hello")]).await?;
    ensure!(code == 4415, "{code} {note}");
    let (code, note) = sent_away(&server, vec![Message::binary(vec![0; 17 << 20])]).await?;
    ensure!(code == 4413 || code == 0 && note.is_null(), "{code} {note}");
    ensure!(server.streams().await?.is_empty(), "junk made a stream");
    let after = server.reading()?;
    show(&format!("memory: {} MB, then {} MB", before.rss_bytes >> 20, after.rss_bytes >> 20));
    ensure!(after.rss_bytes < before.rss_bytes + (64 << 20), "{before:?}, then {after:?}");
    Ok(())
}

#[tokio::test]
async fn another_publisher_takes_over_and_the_first_is_told() -> Result<()> {
    let folder = TempDir::new()?;
    let server = Server::start().await?;
    let body = file(folder.path(), "long.webm", 20, CODED).await?;
    let first = server.http.post(server.urls.webm("taken")).body(body.clone()).timeout(ON_AIR).send();
    let first = tokio::spawn(first);
    server.stream_is("taken", "live", ON_AIR, |stream| stream.state == "live").await?;
    let (mut second, _) = tokio_tungstenite::connect_async(server.urls.webm_socket("taken")).await?;
    second.send(Message::binary(body)).await?;
    let answer = first.await??;
    ensure!(answer.status() == 409, "{}", answer.text().await?);
    ensure!(server.stream("taken").await?.is_some_and(|stream| stream.state == "live"));
    second.close(None).await?;
    Ok(())
}
