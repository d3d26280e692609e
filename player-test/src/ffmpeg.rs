//! ffprobe's view of a URL, and ffmpeg as the strictest decoder: one line at `-v error` is a failure.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use tokio::process::Command;

/// How much longer than the media itself ffmpeg may take.
const SLACK: Duration = Duration::from_secs(30);
/// The null muxer's clock. Its default ticks once a frame, so that two pictures nearer than usual (a publisher's own, passed
/// through) would count as one out of order.
const CLOCK: &str = "1:90000";

/// One stream as ffprobe sees it. Fields that a kind of stream does not have are `None`.
#[derive(Debug, Clone, Deserialize)]
pub struct Stream {
    /// `video` or `audio`.
    pub codec_type: String,
    /// `h264`, `aac` ..
    pub codec_name: String,
    /// Picture size in pixels.
    pub width: Option<u32>,
    /// Picture size in pixels.
    pub height: Option<u32>,
    /// Average frame rate as a fraction, `30/1`.
    pub avg_frame_rate: Option<String>,
    /// Samples per second, as text.
    pub sample_rate: Option<String>,
    /// Audio channels.
    pub channels: Option<u32>,
    /// `High`, `LC` ..
    pub profile: Option<String>,
    /// Frames that may be out of order: above 0 with B-frames.
    pub has_b_frames: Option<u32>,
}

impl Stream {
    /// Average frame rate in frames a second; 0 when unknown.
    #[must_use]
    pub fn fps(&self) -> f64 {
        let fraction = self.avg_frame_rate.as_deref().unwrap_or_default();
        let (frames, seconds) = fraction.split_once('/').unwrap_or(("0", "1"));
        match (frames.parse::<f64>(), seconds.parse::<f64>()) {
            (Ok(frames), Ok(seconds)) if seconds > 0.0 => frames / seconds,
            _ => 0.0,
        }
    }
}

/// All streams behind a URL, each kind once (a multivariant playlist shows them again per program).
#[derive(Debug, Clone, Default)]
pub struct Probe {
    /// The video, if any.
    pub video: Option<Stream>,
    /// The audio, if any.
    pub audio: Option<Stream>,
}

/// Asks ffprobe.
///
/// # Errors
/// When ffprobe fails or complains.
pub async fn probe(url: &str) -> Result<Probe> {
    #[derive(Deserialize)]
    struct Answer {
        streams: Vec<Stream>,
    }
    let arguments = ["-v", "error", "-show_streams", "-of", "json", url];
    let output = run("ffprobe", &arguments, SLACK).await?;
    let answer: Answer = serde_json::from_slice(&output.stdout)?;
    let mut probe = Probe::default();
    for stream in answer.streams {
        match stream.codec_type.as_str() {
            "video" => probe.video = Some(stream),
            "audio" => probe.audio = Some(stream),
            other => bail!("a stream of kind {other} in {url}"),
        }
    }
    Ok(probe)
}

/// What ffmpeg decoded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decoded {
    /// Pictures.
    pub pictures: u64,
    /// Seconds of media, up to the end of the longer of audio and video.
    pub seconds: f64,
}

/// Decodes `seconds` of everything behind `url`.
///
/// # Errors
/// When ffmpeg says one word at level `error`, fails, or hangs.
pub async fn decode(url: &str, seconds: u32) -> Result<Decoded> {
    let seconds_text = seconds.to_string();
    let arguments = [
        "-v",
        "error",
        "-nostats",
        "-progress",
        "pipe:1",
        "-i",
        url,
        "-t",
        &seconds_text,
        "-map",
        "0",
        // Frames of a variable rate keep their times; rounded to a nominal rate two of them may fall together.
        "-fps_mode:v",
        "passthrough",
        "-enc_time_base:v",
        "1:90000",
        "-f",
        "null",
        "-",
    ];
    let output = run("ffmpeg", &arguments, Duration::from_secs(u64::from(seconds)) * 2 + SLACK).await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last = |key: &str| text.lines().rev().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let microseconds: f64 =
        last("out_time_us").and_then(|value| value.parse().ok()).context("no progress")?;
    let pictures = last("frame").map_or(Ok(0), |value| value.trim().parse())?;
    Ok(Decoded { pictures, seconds: microseconds / 1e6 })
}

/// One picture's mean luma.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Luma {
    /// Presentation time in seconds, as in the file.
    pub at_s: f64,
    /// Mean of the luma plane, 0 to 255.
    pub mean: f64,
}

/// The mean luma of every picture of a file, with its own time stamp.
///
/// # Errors
/// As [`decode`].
pub async fn luma(file: &Path) -> Result<Vec<Luma>> {
    let filter =
        "scale=32:32:flags=area,format=gray,signalstats,metadata=print:key=lavfi.signalstats.YAVG:file=-";
    let path = file.to_string_lossy();
    let arguments = [
        "-v",
        "error",
        "-nostats",
        "-copyts",
        "-i",
        &*path,
        "-vf",
        filter,
        "-fps_mode",
        "passthrough",
        "-enc_time_base",
        CLOCK,
        "-f",
        "null",
        "-",
    ];
    let output = run("ffmpeg", &arguments, SLACK * 4).await?;
    metadata(&output.stdout).map(|pairs| pairs.into_iter().map(|(at_s, mean)| Luma { at_s, mean }).collect())
}

/// Sound as it is presented: runs of samples without a gap, each with the time of its first.
#[derive(Debug, Clone, PartialEq)]
pub struct Level {
    /// Presentation time of the window's begin in seconds, as in the file.
    pub at_s: f64,
    /// Root mean square in dB below full scale; `f64::NEG_INFINITY` for silence.
    pub rms_db: f64,
}

/// The level of every millisecond of a file's sound, with its time stamp, both channels together.
///
/// # Errors
/// As [`decode`].
pub async fn levels(file: &Path) -> Result<Vec<Level>> {
    let filter = "aresample=48000,asetnsamples=n=48:p=0,astats=metadata=1:reset=1:measure_perchannel=none:measure_overall=RMS_level,\
        ametadata=print:key=lavfi.astats.Overall.RMS_level:file=-";
    let path = file.to_string_lossy();
    let arguments =
        ["-v", "error", "-nostats", "-copyts", "-i", &*path, "-vn", "-af", filter, "-f", "null", "-"];
    let output = run("ffmpeg", &arguments, SLACK * 4).await?;
    metadata(&output.stdout)
        .map(|pairs| pairs.into_iter().map(|(at_s, rms_db)| Level { at_s, rms_db }).collect())
}

/// All sound of a file as interleaved stereo samples at 48 kHz, time stamps ignored.
///
/// # Errors
/// As [`decode`].
pub async fn stereo_samples(file: &Path) -> Result<Vec<[f32; 2]>> {
    let path = file.to_string_lossy();
    let arguments =
        ["-v", "error", "-nostats", "-i", &*path, "-vn", "-ac", "2", "-ar", "48000", "-f", "f32le", "-"];
    let output = run("ffmpeg", &arguments, SLACK * 4).await?;
    let number = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    Ok(output.stdout.chunks_exact(8).map(|pair| [number(&pair[..4]), number(&pair[4..])]).collect())
}

/// Runs ffmpeg to make something, e.g. a test file.
///
/// # Errors
/// As [`decode`].
pub async fn make(arguments: &[&str]) -> Result<()> {
    let all: Vec<&str> =
        ["-v", "error", "-nostats", "-y"].into_iter().chain(arguments.iter().copied()).collect();
    run("ffmpeg", &all, SLACK * 2).await.map(drop)
}

/// The text of `metadata=print` and `ametadata=print`: a line with `pts_time:` and then a line `key=value`.
fn metadata(text: &[u8]) -> Result<Vec<(f64, f64)>> {
    let mut pairs = Vec::new();
    let mut at_s = None;
    for line in String::from_utf8_lossy(text).lines() {
        if let Some((_, time)) = line.split_once("pts_time:") {
            at_s = Some(time.trim().parse::<f64>().with_context(|| format!("time in {line}"))?);
        } else if let Some((_, value)) = line.split_once('=') {
            // ffmpeg writes silence as "-inf", which Rust reads.
            pairs.push((at_s.take().context("a value without a time")?, value.trim().parse()?));
        }
    }
    ensure!(!pairs.is_empty(), "ffmpeg decoded nothing");
    Ok(pairs)
}

async fn run(program: &str, arguments: &[&str], limit: Duration) -> Result<Output> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let what = || format!("{program} {}", arguments.join(" "));
    let output = tokio::time::timeout(limit, command.output())
        .await
        .with_context(|| format!("{} took more than {limit:?}", what()))?
        .with_context(what)?;
    let complaints = String::from_utf8_lossy(&output.stderr);
    ensure!(complaints.trim().is_empty(), "{} complains:\n{complaints}", what());
    ensure!(output.status.success(), "{}: {}", what(), output.status);
    Ok(output)
}
