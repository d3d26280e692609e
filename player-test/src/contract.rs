//! All that these tests know of the server: its URLs, page queries, JSON and config keys. Nothing else in this crate may
//! name one, so that a change of the contract is a change of this file.

use std::path::PathBuf;

use anyhow::{Result, bail};
use serde::Deserialize;

/// Where the built binary is: `SKYWAVE_BIN`, or `skywave` in the folder above this test's own (`target/debug`).
///
/// # Errors
/// When there is none; the text says how to build it.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SKYWAVE_BIN") {
        return Ok(PathBuf::from(path));
    }
    let exe = std::env::current_exe()?;
    let folder = exe.parent().and_then(|deps| deps.parent());
    let Some(path) = folder.map(|folder| folder.join("skywave")).filter(|path| path.is_file()) else {
        bail!(
            "no `skywave` binary above {}: build it first (cargo build -p skywave) or set SKYWAVE_BIN",
            exe.display()
        );
    };
    Ok(path)
}

/// The line that `skywave serve` prints once it is bound: gives the base URL.
#[must_use]
pub fn listening_line(line: &str) -> Option<String> {
    line.strip_prefix("skywave: listening on ").map(|url| url.trim().trim_end_matches('/').to_owned())
}

/// The URLs of one server.
#[derive(Debug, Clone)]
pub struct Urls {
    /// Scheme and authority, without a slash at the end.
    pub base: String,
}

impl Urls {
    /// Where to publish.
    #[must_use]
    pub fn whip(&self, stream: &str) -> String {
        format!("{}/whip/{stream}", self.base)
    }

    /// The multivariant playlist.
    #[must_use]
    pub fn hls(&self, stream: &str) -> String {
        format!("{}/hls/{stream}/index.m3u8", self.base)
    }

    /// The watch page, playing by itself.
    #[must_use]
    pub fn watch_page(&self, stream: &str) -> String {
        format!("{}/watch/{stream}?autoplay=1&muted=1", self.base)
    }

    /// The publish page, starting by itself.
    #[must_use]
    pub fn publish_page(&self, stream: &str, page: &PublishPage) -> String {
        let audio = if page.audio { "on" } else { "off" };
        let PublishPage { source, video, resolution, fps, .. } = page;
        let query = format!(
            "source={source}&video={video}&audio={audio}&resolution={resolution}&fps={fps}&autostart=1"
        );
        format!("{}/publish/{stream}?{query}", self.base)
    }

    /// The list of streams.
    #[must_use]
    pub fn streams(&self) -> String {
        format!("{}/api/v1/streams", self.base)
    }

    /// One stream.
    #[must_use]
    pub fn stream(&self, stream: &str) -> String {
        format!("{}/api/v1/streams/{stream}", self.base)
    }

    /// Readiness.
    #[must_use]
    pub fn ready(&self) -> String {
        format!("{}/readyz", self.base)
    }
}

/// What the publish page is asked to send.
#[derive(Debug, Clone)]
pub struct PublishPage {
    /// `camera`, `screen` or `canvas`.
    pub source: &'static str,
    /// `auto`, `vp8`, `vp9`, `h264`, `av1` or `off`.
    pub video: &'static str,
    /// Whether the microphone is on.
    pub audio: bool,
    /// A height: `720p`, `360p` ..
    pub resolution: &'static str,
    /// Frames per second.
    pub fps: u32,
}

/// `document.body.dataset` keys and states of the built-in pages.
pub mod page {
    /// Key of the state.
    pub const STATE: &str = "state";
    /// Key of the error text.
    pub const ERROR: &str = "error";
    /// The publish page sends.
    pub const LIVE: &str = "live";
    /// The publish page gave up; the watch page likewise.
    pub const FAILED: &str = "failed";
    /// The watch page plays.
    pub const PLAYING: &str = "playing";
    /// Selector of the watch page's video element.
    pub const VIDEO: &str = "#video";
}

/// One stream as the API tells it.
#[derive(Debug, Clone, Deserialize)]
pub struct StreamInfo {
    /// Stream name.
    pub name: String,
    /// State in one word.
    pub state: String,
    /// What makes the renditions, if anything has to.
    pub worker: Option<WorkerInfo>,
    /// How the video goes out.
    pub output: Option<OutputInfo>,
}

/// The worker of a stream.
#[derive(Debug, Clone, Deserialize)]
pub struct WorkerInfo {
    /// Its process id; absent while it is down.
    pub pid: Option<u32>,
    /// How often it was restarted.
    pub restarts: u64,
}

/// The output of a stream.
#[derive(Debug, Clone, Deserialize)]
pub struct OutputInfo {
    /// `passthrough` or `transcode`; absent without video.
    pub video: Option<String>,
}

/// The names in the answer to [`Urls::streams`]: a list, or an object with the list under `streams`, of names or of objects.
///
/// # Errors
/// When it has neither form.
pub fn stream_names(answer: &serde_json::Value) -> Result<Vec<String>> {
    let list = answer.as_array().or_else(|| answer.get("streams")?.as_array());
    let Some(list) = list else { bail!("no list of streams in {answer}") };
    let name =
        |item: &serde_json::Value| item.as_str().or_else(|| item.get("name")?.as_str()).map(str::to_owned);
    list.iter().map(|item| name(item).ok_or_else(|| anyhow::anyhow!("no name in {item}"))).collect()
}

/// What the tests set in the config; all the rest is the server's default.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Target duration of a segment, milliseconds.
    pub segment_ms: u32,
    /// How long a stream outlives its publisher, milliseconds.
    pub grace_ms: u32,
    /// How long a peer may take to connect, milliseconds.
    pub connect_timeout_ms: u32,
    /// How long a publisher may be silent before it counts as gone, milliseconds.
    pub silence_timeout_ms: u32,
    /// x264 preset: tests share two cores with browsers that encode, so they take the cheapest.
    pub preset: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            segment_ms: 2000,
            grace_ms: 3000,
            connect_timeout_ms: 10_000,
            silence_timeout_ms: 5000,
            preset: "ultrafast",
        }
    }
}

impl Settings {
    /// As the server's TOML file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut file = toml::Table::new();
        let mut set = |section: &str, key: &str, value: toml::Value| {
            let section = file.entry(section).or_insert_with(|| toml::Table::new().into());
            section.as_table_mut().expect("sections are tables").insert(key.to_owned(), value);
        };
        set("hls", "segment_ms", i64::from(self.segment_ms).into());
        set("ingest", "grace_ms", i64::from(self.grace_ms).into());
        set("ingest", "connect_timeout_ms", i64::from(self.connect_timeout_ms).into());
        set("ingest", "silence_timeout_ms", i64::from(self.silence_timeout_ms).into());
        set("transcode", "preset", self.preset.into());
        file.to_string()
    }
}
