//! The configuration: one struct, one TOML file, `SKYWAVE_*` variables and flags, in rising order of weight.
//!
//! What belongs here: the keys, their defaults and what makes a value impossible. How the sources are read and
//! merged, and how a misspelt key is reported, stands in [`load`].

mod access;
pub(crate) mod ladder;
pub(crate) mod load;
mod recording;
mod tls;

use crate::auth::{AccessRule, StreamPattern};
pub(crate) use access::{Api, Limits, Network, Stun, Turn, Whep};
pub(crate) use ladder::{RungText, Slate};
pub(crate) use recording::{Recording, Storage};
use serde::{Deserialize, Serialize};
use skywave_media::worker_proto::X264Preset;
use std::net::{IpAddr, SocketAddr};
pub(crate) use tls::Tls;

/// Everything an operator can set. Each section and key is explained in `samples/skywave.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) http: Http,
    pub(crate) tls: Tls,
    pub(crate) media: Media,
    pub(crate) ingest: Ingest,
    pub(crate) whep: Whep,
    pub(crate) transcode: Transcode,
    pub(crate) hls: Hls,
    pub(crate) slate: Slate,
    pub(crate) storage: Storage,
    pub(crate) recording: Recording,
    pub(crate) log: Log,
    pub(crate) limits: Limits,
    pub(crate) stun: Stun,
    pub(crate) turn: Turn,
    pub(crate) api: Api,
    /// `[[access]]`, in the order of the file.
    pub(crate) access: Vec<AccessRule>,
}

/// `[http]`: where pages, signalling and HLS are served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Http {
    /// Address and port to listen on.
    pub(crate) listen: SocketAddr,
    /// Says that everybody who reaches a non-loopback address may do what no rule keeps from them.
    pub(crate) open: bool,
    /// What clients see before the paths, such as `https://live.example.org/base`: makes `Location` and `Link` absolute. Empty: they are
    /// relative, or made of what a trusted proxy says.
    pub(crate) public_url: String,
    /// Proxies whose `Forwarded` and `X-Forwarded-*` headers are believed.
    pub(crate) trusted_proxies: Vec<Network>,
    /// Connections served at a time; further ones wait in the kernel's queue.
    pub(crate) max_connections: usize,
}

/// `[media]`: the UDP side of WebRTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Media {
    /// First UDP port; each relay thread takes the next one. 0 takes any free ports.
    pub(crate) port: u16,
    /// Addresses to bind to. Empty: every address of the machine.
    pub(crate) bind: Vec<IpAddr>,
    /// Addresses to tell peers, for hosts behind a one-to-one NAT. Empty: the machine's own.
    pub(crate) advertise: Vec<IpAddr>,
    /// Relay threads; 0 means one per core.
    pub(crate) threads: usize,
    /// WebRTC sessions at a time.
    pub(crate) max_sessions: usize,
    /// Also take media over TCP, on the same port numbers.
    pub(crate) tcp: bool,
    /// Send the packets of one frame to one viewer by one system call, where the system can.
    pub(crate) gso: bool,
}

/// `[ingest]`: how long we wait for publishers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Ingest {
    /// From the answer to ICE and DTLS being up, in milliseconds.
    pub(crate) connect_timeout_ms: u64,
    /// From the last packet of any kind to giving the peer up, in milliseconds.
    pub(crate) silence_timeout_ms: u64,
    /// From losing the publisher to ending the stream, in milliseconds.
    pub(crate) grace_ms: u64,
    /// From the end of the stream to forgetting its last segments, in milliseconds.
    pub(crate) linger_ms: u64,
}

/// `[transcode]`: what the worker makes of codecs that HLS players do not have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Transcode {
    /// Pass H.264 through when it fits.
    pub(crate) passthrough: bool,
    /// Which H.264 encoder.
    pub(crate) encoder: EncoderName,
    /// The speed preset of x264: `ultrafast`, `superfast`, `veryfast` or `faster`.
    pub(crate) preset: String,
    /// Frames per second of encoded video.
    pub(crate) fps: u32,
    /// Bits per second of encoded video; 0 chooses by picture size.
    pub(crate) video_bitrate_bps: u32,
    /// Bits per second of AAC.
    pub(crate) audio_bitrate_bps: u32,
    /// Largest width of encoded video, in pixels.
    pub(crate) max_width: u32,
    /// Largest height of encoded video, in pixels.
    pub(crate) max_height: u32,
    /// Renditions beside the publisher's own size: `720p`, or `720p:2500000` with the bits per second.
    pub(crate) ladder: Vec<RungText>,
    /// Cut ladders from the top while the machine has no room for them.
    pub(crate) admission: bool,
    /// Streams that are encoded only while somebody watches what has to be encoded: names, or the beginnings of names as `cam-*`.
    pub(crate) on_demand: Vec<StreamPattern>,
    /// For how long they are encoded after the last request, in milliseconds.
    pub(crate) linger_ms: u64,
}

/// The H.264 encoders Skywave can drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EncoderName {
    /// `x264enc`: best picture per bit, GPL.
    X264,
    /// `openh264enc`: BSD licence.
    Openh264,
}

/// `[hls]`: segments and their window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Hls {
    /// Length of a segment, in milliseconds.
    pub(crate) segment_ms: u64,
    /// Length of a part, in milliseconds.
    pub(crate) part_ms: u64,
    /// How far back players can go, in milliseconds.
    pub(crate) dvr_ms: u64,
    /// Where segments go that are older than `dvr_memory_ms`. Empty: the whole window stays in memory.
    pub(crate) dvr_dir: String,
    /// How much of the window stays in memory when the rest is on disk, in milliseconds.
    pub(crate) dvr_memory_ms: u64,
    /// Most disk one stream's window may take, in bytes.
    pub(crate) dvr_max_bytes: u64,
    /// Most memory one stream's window may take, in bytes.
    pub(crate) window_max_bytes: usize,
    /// Time between two thumbnails, in milliseconds; 0: none.
    pub(crate) thumbnail_ms: u64,
    /// The shorter side of a thumbnail, in pixels.
    pub(crate) thumbnail_height: u32,
    /// Name sound alone as a variant of streams with pictures, for the narrowest ways.
    pub(crate) audio_only: bool,
}

/// `[log]`: what is logged, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// A `tracing` filter such as `info` or `skywave=debug,info`.
    pub(crate) level: String,
    /// For people or for machines.
    pub(crate) format: LogFormat,
}

/// The two forms of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// One readable line an event.
    Human,
    /// One JSON object an event.
    Json,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            open: false,
            public_url: String::new(),
            trusted_proxies: Vec::new(),
            max_connections: 20_000,
        }
    }
}

impl Default for Media {
    fn default() -> Self {
        Self {
            port: 8190,
            bind: Vec::new(),
            advertise: Vec::new(),
            threads: 0,
            max_sessions: 4_000,
            tcp: true,
            gso: true,
        }
    }
}

impl Default for Ingest {
    fn default() -> Self {
        Self { connect_timeout_ms: 10_000, silence_timeout_ms: 5_000, grace_ms: 30_000, linger_ms: 60_000 }
    }
}

impl Default for Transcode {
    fn default() -> Self {
        Self {
            passthrough: true,
            encoder: EncoderName::X264,
            preset: "superfast".to_owned(),
            fps: 30,
            video_bitrate_bps: 0,
            audio_bitrate_bps: 128_000,
            max_width: 1920,
            max_height: 1080,
            ladder: Vec::new(),
            admission: true,
            on_demand: Vec::new(),
            linger_ms: 30_000,
        }
    }
}

impl Default for Hls {
    fn default() -> Self {
        Self {
            segment_ms: 2_000,
            part_ms: 200,
            dvr_ms: 120_000,
            dvr_dir: String::new(),
            dvr_memory_ms: 120_000,
            dvr_max_bytes: 10 << 30,
            window_max_bytes: 256 << 20,
            thumbnail_ms: 5_000,
            thumbnail_height: 180,
            audio_only: false,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Human }
    }
}

/// The speed presets of x264 that a live encoder can hold.
pub(crate) const PRESETS: [X264Preset; 4] =
    [X264Preset::Ultrafast, X264Preset::Superfast, X264Preset::Veryfast, X264Preset::Faster];

impl Config {
    /// Every value that cannot work, each with its key, what is wrong and what to do.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, words: String| {
            if !holds {
                problems.push(words);
            }
        };
        let in_range = |key: &str, value: u64, low: u64, high: u64| {
            ((low..=high).contains(&value), format!("{key} = {value} must be between {low} and {high}"))
        };
        let ranges = [
            in_range("hls.segment_ms", self.hls.segment_ms, 1_000, 10_000),
            in_range("hls.part_ms", self.hls.part_ms, 100, 1_000),
            in_range("hls.dvr_ms", self.hls.dvr_ms, 3 * self.hls.segment_ms, 86_400_000),
            in_range("hls.dvr_memory_ms", self.hls.dvr_memory_ms, 6 * self.hls.segment_ms, 86_400_000),
            in_range("hls.dvr_max_bytes", self.hls.dvr_max_bytes, 1 << 20, 1 << 50),
            in_range("hls.window_max_bytes", self.hls.window_max_bytes as u64, 1 << 20, 1 << 40),
            in_range("transcode.fps", u64::from(self.transcode.fps), 5, 120),
            in_range("transcode.max_width", u64::from(self.transcode.max_width), 64, 7_680),
            in_range("transcode.max_height", u64::from(self.transcode.max_height), 64, 7_680),
            in_range(
                "transcode.audio_bitrate_bps",
                u64::from(self.transcode.audio_bitrate_bps),
                32_000,
                512_000,
            ),
            in_range("ingest.connect_timeout_ms", self.ingest.connect_timeout_ms, 500, 120_000),
            in_range("ingest.silence_timeout_ms", self.ingest.silence_timeout_ms, 500, 120_000),
            in_range("ingest.grace_ms", self.ingest.grace_ms, 0, 3_600_000),
            in_range("ingest.linger_ms", self.ingest.linger_ms, 0, 3_600_000),
            in_range("media.max_sessions", self.media.max_sessions as u64, 1, 1_000_000),
            in_range("media.threads", self.media.threads as u64, 0, 256),
            in_range("http.max_connections", self.http.max_connections as u64, 1, 1_000_000),
            in_range("whep.wait_ms", self.whep.wait_ms, 0, 30_000),
            in_range("whep.silence_timeout_ms", self.whep.silence_timeout_ms, 6_000, 120_000),
            in_range("limits.sessions_per_address", self.limits.sessions_per_address as u64, 1, 1_000_000),
            in_range("limits.viewers_per_stream", self.limits.viewers_per_stream as u64, 1, 1_000_000),
            in_range("turn.ttl_s", u64::from(self.turn.ttl_s), 60, 7 * 86_400),
        ];
        for (holds, words) in ranges {
            require(holds, words);
        }
        let bitrate = self.transcode.video_bitrate_bps;
        require(
            bitrate == 0 || (50_000..=100_000_000).contains(&bitrate),
            format!(
                "transcode.video_bitrate_bps = {bitrate} must be 0 (choose by size) or 50000 to 100000000"
            ),
        );
        require(
            PRESETS.iter().any(|p| p.as_str() == self.transcode.preset),
            format!(
                "transcode.preset = {:?} must be one of {}",
                self.transcode.preset,
                PRESETS.map(X264Preset::as_str).join(", ")
            ),
        );
        problems.extend(self.access_problems());
        problems.extend(self.tls_problems());
        problems.extend(self.ladder_problems());
        problems.extend(self.recording.problems());
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_possible() {
        assert_eq!(Config::default().problems(), Vec::<String>::new());
    }

    #[test]
    fn each_impossible_value_is_named_with_its_key() {
        let mut config = Config::default();
        config.hls.segment_ms = 10;
        config.transcode.preset = "warp9".to_owned();
        let problems = config.problems();
        assert!(problems.iter().any(|p| p.starts_with("hls.segment_ms = 10")), "{problems:?}");
        assert!(problems.iter().any(|p| p.contains("warp9")), "{problems:?}");
    }
}
