//! Foreign files become recordings like any other: WebM, MP4, a folder of a recorder's chunks; with pictures; and what is no film is refused.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use player_test::contract::{self, RecordingInfo, Settings};
use player_test::ffmpeg;
use player_test::process::{Process, show};
use player_test::server::Server;
use player_test::wait;
use tempfile::TempDir;
use tokio::process::Command;

const VP8: &[&str] =
    &["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-g", "30", "-c:a", "libopus"];
const H264: &[&str] = &[
    "-c:v",
    "libx264",
    "-preset",
    "ultrafast",
    "-bf",
    "0",
    "-pix_fmt",
    "yuv420p",
    "-g",
    "50",
    "-c:a",
    "aac",
];

/// A film of eight seconds, 240 pictures.
async fn film(folder: &Path, name: &str, coded: &[&str]) -> Result<Vec<u8>> {
    let path = folder.join(name);
    let out = path.display().to_string();
    let mut arguments = vec![
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=320x180:rate=30",
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=440:sample_rate=48000",
        "-t",
        "8",
    ];
    arguments.extend(coded);
    arguments.push(&out);
    ffmpeg::make(&arguments).await?;
    Ok(std::fs::read(path)?)
}

/// Runs `skywave vod import`; whether it succeeded, and what it said.
async fn import(data: &Path, stream: &str, source: &Path) -> Result<(bool, Vec<String>)> {
    let mut command = Command::new(contract::binary()?);
    command.args(["vod", "import", "--data-dir"]).arg(data).arg(stream).arg(source);
    let mut process = Process::spawn(&format!("vod import {stream}"), command)?;
    let status = process.exit(Duration::from_secs(60)).await?;
    Ok((status.success(), process.lines()))
}

/// What came of it, played from a server.
async fn plays(server: &Server, stream: &str) -> Result<RecordingInfo> {
    let one = wait::until(&format!("{stream} to be there"), Duration::from_secs(20), async || {
        let all = server.recordings().await?;
        Ok(all.into_iter().find(|one| one.stream == stream))
    })
    .await?;
    ensure!(one.state == "ready", "{one:?}");
    let url = server.urls.recorded_file(stream, &one.id);
    let probe = ffmpeg::probe(&url).await?;
    ensure!(
        probe.video.as_ref().is_some_and(|video| video.codec_name == "h264" && video.width == Some(320)),
        "{probe:?}"
    );
    ensure!(probe.audio.as_ref().is_some_and(|audio| audio.codec_name == "aac"), "{probe:?}");
    let decoded = ffmpeg::decode(&url, 30).await?;
    show(&format!("{stream}: {} ms, {decoded:?}", one.duration_ms));
    ensure!(
        (238..=242).contains(&decoded.pictures) && one.duration_ms.abs_diff(8_000) <= 120,
        "{one:?} {decoded:?}"
    );
    Ok(one)
}

#[tokio::test]
async fn films_and_chunks_become_recordings_with_pictures() -> Result<()> {
    let (folder, data) = (TempDir::new()?, TempDir::new()?);
    let webm = film(folder.path(), "film.webm", VP8).await?;
    film(folder.path(), "film.mp4", H264).await?;
    // As a page stores what MediaRecorder gives: borders anywhere, a header in the first file only; ten of them, so that names need sense.
    let chunks = folder.path().join("chunks");
    std::fs::create_dir(&chunks)?;
    for (number, chunk) in webm.chunks(webm.len() / 10 - 7).enumerate() {
        std::fs::write(chunks.join(format!("chunk-{number}.webm")), chunk)?;
    }
    for (stream, source) in [("from-webm", "film.webm"), ("from-mp4", "film.mp4"), ("from-chunks", "chunks")]
    {
        let (done, words) = import(data.path(), stream, &folder.path().join(source)).await?;
        ensure!(done, "{stream}: {words:?}");
    }
    std::fs::write(folder.path().join("letter.txt"), "Dear film,\n".repeat(1000))?;
    for source in ["letter.txt", "nowhere.webm"] {
        let (done, words) = import(data.path(), "refused", &folder.path().join(source)).await?;
        show(&format!("{source}: {:?}", words.last()));
        ensure!(!done && words.iter().any(|line| line.contains(source)), "{words:?}");
    }
    let settings = Settings { recordings: Some(data.path().to_owned()), ..Settings::default() };
    let server = Server::start_with(&settings).await?;
    for stream in ["from-webm", "from-mp4", "from-chunks"] {
        let one = plays(&server, stream).await?;
        let get = async |name: &str| -> Result<Vec<u8>> {
            let url = format!("{}/vod/{stream}/{}/{name}", server.urls.base, one.id);
            let answer = server.http.get(&url).send().await?;
            ensure!(answer.status() == 200, "{url}: {}", answer.text().await?);
            Ok(answer.bytes().await?.to_vec())
        };
        let (thumb, sprite) = (get("thumb.jpg").await?, get("sprite.jpg").await?);
        ensure!(thumb.starts_with(&[0xff, 0xd8]) && sprite.starts_with(&[0xff, 0xd8]), "no JPEG");
        let cues = String::from_utf8(get("thumbs.vtt").await?).context("WebVTT is UTF-8")?;
        ensure!(cues.starts_with("WEBVTT") && cues.contains("sprite.jpg#xywh=0,0,160,90"), "{cues}");
    }
    ensure!(server.recordings().await?.iter().all(|one| one.stream != "refused"));
    // A server holds the folder.
    let (done, words) = import(data.path(), "from-webm", &folder.path().join("film.webm")).await?;
    if done {
        bail!("it was imported beside a running server: {words:?}");
    }
    Ok(())
}
