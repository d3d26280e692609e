//! All that these tests know of the server: its URLs, page queries, JSON and config keys. Nothing else in this crate may
//! name one, so that a change of the contract is a change of this file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

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

/// The same for HTTPS, where that is on.
#[must_use]
pub fn https_line(line: &str) -> Option<String> {
    listening_line(line).filter(|url| url.starts_with("https://"))
}

/// The lines that say how other devices of the network reach the server: gives the base URL.
#[must_use]
pub fn other_devices_line(line: &str) -> Option<String> {
    line.strip_prefix("skywave: from other devices: ").map(|url| url.trim().trim_end_matches('/').to_owned())
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

    /// Where to watch over WebRTC.
    #[must_use]
    pub fn whep(&self, stream: &str) -> String {
        format!("{}/whep/{stream}", self.base)
    }

    /// Where to send WebM.
    #[must_use]
    pub fn webm(&self, stream: &str) -> String {
        format!("{}/ingest/webm/{stream}", self.base)
    }

    /// The same as a WebSocket.
    #[must_use]
    pub fn webm_socket(&self, stream: &str) -> String {
        self.webm(stream).replacen("http", "ws", 1)
    }

    /// The multivariant playlist.
    #[must_use]
    pub fn hls(&self, stream: &str) -> String {
        format!("{}/hls/{stream}/index.m3u8", self.base)
    }

    /// The watch page, playing HLS by itself.
    #[must_use]
    pub fn watch_page(&self, stream: &str) -> String {
        format!("{}/watch/{stream}?autoplay=1&muted=1&player=hls.js", self.base)
    }

    /// The watch page, choosing its way itself: WebRTC first.
    #[must_use]
    pub fn watch_page_by_itself(&self, stream: &str) -> String {
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

    /// The events with a date of one stream.
    #[must_use]
    pub fn dateranges(&self, stream: &str) -> String {
        format!("{}/api/v1/streams/{stream}/dateranges", self.base)
    }

    /// The newest small picture.
    #[must_use]
    pub fn thumbnail(&self, stream: &str) -> String {
        format!("{}/hls/{stream}/thumb.jpg", self.base)
    }

    /// The media playlist of one rendition.
    #[must_use]
    pub fn rendition(&self, stream: &str, rendition: &str) -> String {
        format!("{}/hls/{stream}/{rendition}/index.m3u8", self.base)
    }

    /// The dashboard.
    #[must_use]
    pub fn dashboard(&self) -> String {
        format!("{}/", self.base)
    }

    /// The list of recordings.
    #[must_use]
    pub fn recordings(&self) -> String {
        format!("{}/api/v1/recordings", self.base)
    }

    /// A recording's file.
    #[must_use]
    pub fn recorded_file(&self, stream: &str, id: &str) -> String {
        format!("{}/vod/{stream}/{id}.mp4", self.base)
    }

    /// What was archived as it was published.
    #[must_use]
    pub fn archived_file(&self, stream: &str, id: &str) -> String {
        format!("{}/vod/{stream}/{id}.webm", self.base)
    }

    /// A recording as HLS.
    #[must_use]
    pub fn recorded_hls(&self, stream: &str, id: &str) -> String {
        format!("{}/vod/{stream}/{id}/index.m3u8", self.base)
    }

    /// The page with a stream's recordings.
    #[must_use]
    pub fn recorded_page(&self, stream: &str) -> String {
        format!("{}/vod/{stream}/", self.base)
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
    /// Script that gives the way on which the watch page plays.
    pub const PATH: &str = "window.skywave.stats().path";
    /// The watch page plays over WebRTC.
    pub const WHEP: &str = "whep";
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

/// The answer to [`Urls::recordings`].
#[derive(Debug, Clone, Deserialize)]
pub struct RecordingList {
    /// By stream and id.
    pub recordings: Vec<RecordingInfo>,
}

/// One recording as the API tells it.
#[derive(Debug, Clone, Deserialize)]
pub struct RecordingInfo {
    /// Its id.
    pub id: String,
    /// Its stream.
    pub stream: String,
    /// `recording`, `finalising`, `ready`, `repaired` or `failed`.
    pub state: String,
    /// When it begins, microseconds since 1970.
    pub begun_us: i64,
    /// How long it is, in milliseconds.
    pub duration_ms: u64,
    /// Its size.
    pub bytes: u64,
}

/// The worker of a stream.
#[derive(Debug, Clone, Deserialize)]
pub struct WorkerInfo {
    /// Its process id; absent while it is down.
    pub pid: Option<u32>,
    /// How often it was restarted.
    pub restarts: u64,
    /// Frames that it was too late for.
    pub frames_dropped: u64,
    /// Pictures shown again because none came in time.
    pub pictures_repeated: u64,
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

/// Keys of the configuration that some tests set, as `KEY=VALUE`.
pub mod key {
    /// These rungs, with room for them on any machine: other tests' processes come and go.
    #[must_use]
    pub fn ladder(rungs: &str) -> Vec<String> {
        vec![format!("transcode.ladder={rungs}"), "transcode.admission=false".to_owned()]
    }

    /// Every stream is encoded on demand, and for so long after the last request.
    #[must_use]
    pub fn on_demand(linger_ms: u32) -> Vec<String> {
        vec!["transcode.on_demand=*".to_owned(), format!("transcode.linger_ms={linger_ms}")]
    }

    /// A slate after the grace time, for so long; 0: for ever.
    #[must_use]
    pub fn slate(max_ms: u32) -> Vec<String> {
        vec!["slate.enabled=true".to_owned(), format!("slate.max_ms={max_ms}")]
    }
}

/// What the tests set in the config; all the rest is the server's default.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Target duration of a segment, milliseconds.
    pub segment_ms: u32,
    /// How long a stream outlives its publisher, milliseconds.
    pub grace_ms: u32,
    /// How long the segments of an ended stream can still be fetched, milliseconds.
    pub linger_ms: u32,
    /// How long a peer may take to connect, milliseconds.
    pub connect_timeout_ms: u32,
    /// How long a publisher may be silent before it counts as gone, milliseconds.
    pub silence_timeout_ms: u32,
    /// x264 preset: tests share two cores with browsers that encode, so they take the cheapest.
    pub preset: &'static str,
    /// Further sections, as they stand in the file.
    pub more: String,
    /// Where the server is to be found.
    pub listens: Listens,
    /// Relay threads, each with a media port of its own; 0: one per core.
    pub media_threads: u32,
    /// The TURN server that clients are told, and the secret that it shares with Skywave.
    pub turn: Option<(String, String)>,
    /// More lines of `[hls]`.
    pub hls: &'static str,
    /// Record every stream into this folder, which outlives the server.
    pub recordings: Option<PathBuf>,
}

/// Where a server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listens {
    /// On free ports: HTTP on loopback, media everywhere.
    Locally,
    /// On [`HTTP_PORT`] and from [`MEDIA_PORT`] on, for whoever reaches this address: in a network of the test's own no port is taken.
    At(Ipv4Addr),
}

/// The HTTP port of a server that [`Listens::At`] an address.
pub const HTTP_PORT: u16 = 8080;
/// Its first media port, UDP and TCP.
pub const MEDIA_PORT: u16 = 8190;

impl Default for Settings {
    fn default() -> Self {
        Self {
            segment_ms: 2000,
            grace_ms: 3000,
            linger_ms: 1000,
            connect_timeout_ms: 10_000,
            silence_timeout_ms: 5000,
            preset: "ultrafast",
            more: String::new(),
            listens: Listens::Locally,
            media_threads: 0,
            turn: None,
            hls: "",
            recordings: None,
        }
    }
}

impl Settings {
    /// As the server's TOML file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let Self {
            segment_ms,
            grace_ms,
            linger_ms,
            connect_timeout_ms,
            silence_timeout_ms,
            preset,
            more,
            hls,
            ..
        } = self;
        let hls = format!("[hls]\nsegment_ms = {segment_ms}\n{hls}\n");
        let times =
            format!("connect_timeout_ms = {connect_timeout_ms}\nsilence_timeout_ms = {silence_timeout_ms}\n");
        let ingest = format!("[ingest]\ngrace_ms = {grace_ms}\nlinger_ms = {linger_ms}\n{times}");
        let mut toml = format!("{hls}\n{ingest}\n[transcode]\npreset = \"{preset}\"\n{more}\n");
        toml += &format!("\n[media]\nthreads = {}\n", self.media_threads);
        if let Listens::At(_) = self.listens {
            toml += "\n[http]\nopen = true\n";
        }
        if let Some((url, secret)) = &self.turn {
            toml += &format!("\n[turn]\nurls = [\"{url}\"]\nsecret = \"{secret}\"\n");
        }
        if let Some(folder) = &self.recordings {
            toml += &format!("\n[storage]\ndata_dir = {:?}\n", folder.display().to_string());
            toml += "\n[recording]\nenabled = true\nfree_floor_bytes = 0\n";
        }
        toml
    }

    /// From a publisher's last packet to nothing being left of its stream.
    #[must_use]
    pub fn until_forgotten(&self) -> Duration {
        Duration::from_millis(u64::from(self.silence_timeout_ms + self.grace_ms + self.linger_ms))
    }
}

/// Arguments of the server: where it listens, and a config file.
#[must_use]
pub fn serve_arguments(config: &Path, listens: Listens) -> Vec<OsString> {
    let (http, media_port) = match listens {
        Listens::Locally => ("127.0.0.1:0".to_owned(), 0),
        Listens::At(address) => (format!("{address}:{HTTP_PORT}"), MEDIA_PORT),
    };
    let media_port = media_port.to_string();
    let fixed = ["serve", "--listen", &http, "--media-port", &media_port, "--config"];
    fixed.iter().map(OsString::from).chain([config.as_os_str().to_owned()]).collect()
}

/// What `skywave publish` is asked to send from its test source.
#[derive(Debug, Clone)]
pub struct TestPublish {
    /// `vp8`, `vp9`, `h264` or `off`.
    pub video: &'static str,
    /// Whether there is sound.
    pub audio: bool,
    /// Picture size.
    pub size: (u32, u32),
    /// Frames per second.
    pub fps: u32,
    /// On air for this long; `None`: until stopped.
    pub duration_s: Option<u32>,
    /// Frequencies of a tone, left and right; `None`: beeps.
    pub tone_hz: Option<(u32, u32)>,
    /// Faults, as flags separated by blanks.
    pub faults: String,
}

impl Default for TestPublish {
    /// Small pictures: many publishers share two cores with all else.
    fn default() -> Self {
        let faults = String::new();
        Self { video: "vp8", audio: true, size: (320, 180), fps: 30, duration_s: None, tone_hz: None, faults }
    }
}

impl TestPublish {
    /// The arguments of `skywave` that publish this to `whip_url`.
    #[must_use]
    pub fn arguments(&self, whip_url: &str) -> Vec<String> {
        let (width, height) = self.size;
        let size = format!("{width}x{height}");
        let fps = self.fps.to_string();
        let audio = if self.audio { "opus" } else { "off" };
        let fixed = [
            "publish", "test", whip_url, "--video", self.video, "--audio", audio, "--size", &size, "--fps",
            &fps,
        ];
        let mut arguments: Vec<String> = fixed.iter().map(|one| (*one).to_owned()).collect();
        if let Some(seconds) = self.duration_s {
            arguments.extend(["--duration".to_owned(), format!("{seconds}s")]);
        }
        if let Some((left, right)) = self.tone_hz {
            arguments.extend(["--sound".to_owned(), format!("tone:{left},{right}")]);
        }
        arguments.extend(["--log", "info"].map(str::to_owned));
        arguments.extend(self.faults.split_whitespace().map(str::to_owned));
        arguments
    }
}

/// What `skywave play` is asked to watch.
#[derive(Debug, Clone)]
pub struct TestPlay {
    /// `any`, `vp8`, `vp9`, `h264`, `av1` or `off`.
    pub video: &'static str,
    /// Whether sound is asked for.
    pub audio: bool,
    /// Watches for this long; 0: until stopped.
    pub duration_s: u32,
    /// Further flags, separated by blanks.
    pub flags: String,
}

impl Default for TestPlay {
    fn default() -> Self {
        Self { video: "any", audio: true, duration_s: 5, flags: String::new() }
    }
}

impl TestPlay {
    /// The arguments of `skywave` that watch `whep_url` so, and tell at the end as JSON.
    #[must_use]
    pub fn arguments(&self, whep_url: &str) -> Vec<String> {
        let audio = if self.audio { "opus" } else { "off" };
        let duration = format!("{}s", self.duration_s);
        let fixed =
            ["play", whep_url, "--json", "--video", self.video, "--audio", audio, "--duration", &duration];
        let mut arguments: Vec<String> = fixed.iter().map(|one| (*one).to_owned()).collect();
        arguments.extend(self.flags.split_whitespace().map(str::to_owned));
        arguments
    }
}

/// What `skywave play --json` tells at its end.
#[derive(Debug, Clone, Deserialize)]
pub struct PlaySeen {
    /// From the offer's departure to the first RTP packet, milliseconds.
    pub first_packet_after_ms: Option<f64>,
    /// RTP packets.
    pub packets: u64,
    /// Packets lost before retransmission.
    pub lost_packets: u64,
    /// Why the connection ended before its time.
    pub lost: Option<String>,
    /// Decoded video.
    pub video: Option<PlayVideo>,
    /// Decoded audio.
    pub audio: Option<PlayAudio>,
}

/// Video as `skywave play` tells it.
#[derive(Debug, Clone, Deserialize)]
pub struct PlayVideo {
    /// `vp8`, `vp9`, `h264`, `av1`.
    pub codec: String,
    /// Picture size.
    pub width: u32,
    /// Picture size.
    pub height: u32,
    /// Pictures decoded.
    pub frames: u64,
    /// Keyframes among them.
    pub keyframes: u64,
    /// From the offer's departure to the first picture, milliseconds.
    pub first_frame_after_ms: f64,
    /// The longest time between two pictures, milliseconds.
    pub longest_pause_ms: f64,
}

/// Audio as `skywave play` tells it.
#[derive(Debug, Clone, Deserialize)]
pub struct PlayAudio {
    /// `opus`.
    pub codec: String,
    /// Buffers decoded.
    pub buffers: u64,
    /// The loudest sample, dB relative to full scale; absent: digital silence.
    pub peak_db: Option<f64>,
}

/// What `skywave bench whip` prints once its connection stands.
pub const FEED_ON_AIR: &str = "on air";

/// The arguments of `skywave` that publish a recorded stream of so many bits per second, and tell at the end as JSON.
#[must_use]
pub fn feed_arguments(whip_url: &str, bits_per_second: u32) -> Vec<String> {
    let fixed =
        ["bench", "whip", whip_url, "--json", "--allow-remote", "--bitrate", &bits_per_second.to_string()];
    fixed.map(str::to_owned).to_vec()
}

/// What `skywave bench whip --json` tells at its end.
#[derive(Debug, Clone, Deserialize)]
pub struct FeedSeen {
    /// Time on air, in seconds.
    pub on_air_s: f64,
    /// PLI and FIR that came.
    pub keyframe_requests: u64,
    /// Most of them within any one second.
    pub keyframe_requests_peak_per_s: u64,
    /// The shortest time between two of them.
    pub least_between_requests_ms: Option<f64>,
}

impl FeedSeen {
    /// Whether the server waited a second before it asked again. Packets come late by some milliseconds, so what is seen here may be a
    /// little less.
    #[must_use]
    pub fn is_no_storm(&self) -> bool {
        self.least_between_requests_ms.is_none_or(|least| least >= 950.0)
    }
}

/// The arguments of `skywave` that let a crowd watch, and tell at the end as JSON.
#[must_use]
pub fn crowd_arguments(whep_url: &str, viewers: u32, per_second: u32, hold: Duration) -> Vec<String> {
    let (viewers, rate, hold) =
        (viewers.to_string(), format!("{per_second}/s"), format!("{}ms", hold.as_millis()));
    let fixed = [
        "bench",
        "whep",
        whep_url,
        "--viewers",
        &viewers,
        "--rate",
        &rate,
        "--duration",
        &hold,
        "--json",
        "-",
    ];
    fixed.map(str::to_owned).to_vec()
}

/// What `skywave bench whep --json -` tells of a step.
#[derive(Debug, Clone, Deserialize)]
pub struct CrowdSeen {
    /// Viewers that watched to the end.
    pub playing: u32,
    /// What went wrong, and how often.
    pub failures: BTreeMap<String, u32>,
    /// From the offer's departure to the whole first keyframe, milliseconds.
    pub first_keyframe_ms: Option<CrowdSpread>,
    /// Packets that never came, while it was measured.
    pub lost: u64,
    /// Pictures that came after one which is shown later.
    pub timestamps_back: u64,
    /// Reasons to distrust the figures.
    pub limits: Vec<String>,
}

/// How a figure is spread over a crowd.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct CrowdSpread {
    /// Half are no greater.
    pub p50: f64,
    /// 95 % are no greater.
    pub p95: f64,
    /// The greatest.
    pub max: f64,
    /// How many there were.
    pub count: u32,
}

/// The URL at which a viewer's session chooses its layer (draft-ietf-wish-whep-events, "Video Layer Selection extension").
#[must_use]
pub fn layer_of(session: &str) -> String {
    format!("{session}/layer")
}

/// Faults of `skywave publish`, as its flags.
pub mod fault {
    /// This share of RTP packets is not sent.
    pub const LOSS_2_PERCENT: &str = "--drop-percent 2";
    /// No RTCP sender report ever.
    pub const NO_SENDER_REPORTS: &str = "--no-sender-reports";
    /// Audio packets stop for five seconds.
    pub const MUTE_20_TO_25_S: &str = "--mute-audio 20s..25s";
    /// This share of video frames is damaged before it is sent.
    pub const CORRUPT_5_PERCENT: &str = "--corrupt-percent 5";
}
