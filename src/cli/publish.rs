//! `skywave publish`: the command line of the WHIP client.

use super::{fail, say};
use crate::app;
use crate::config::{Log, LogFormat};
use crate::telemetry;
use clap::{Args, ValueEnum};
use skywave_gst::whip_client::{
    AudioChoice, Faults, PublishEvent, PublishOptions, Source, TestSound, VideoChoice, VideoEncoding, publish,
};
use skywave_media::codec::Codec;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// What `skywave publish` can be told.
#[derive(Args)]
pub(super) struct PublishArgs {
    /// `test` (a pattern that flashes and beeps at every full second), a media file, a camera (/dev/video0) or an RTSP URL.
    source: Source,
    /// The WHIP endpoint, such as http://127.0.0.1:8080/whip/demo.
    #[arg(value_name = "WHIP-URL")]
    url: String,
    /// The codec to send; `auto` sends H.264 of an RTSP camera as it is and encodes the rest to VP8, `copy` never encodes.
    #[arg(long, value_enum, default_value_t = VideoName::Auto)]
    video: VideoName,
    /// Bits per second of video.
    #[arg(long, value_name = "BPS", default_value_t = 1_500_000)]
    video_bitrate: u32,
    /// Width and height; the source's own by default (test source: 1280x720).
    #[arg(long, value_name = "WxH", value_parser = size)]
    size: Option<(u32, u32)>,
    /// Frames per second; the source's own by default (test source: 30).
    #[arg(long, value_name = "N")]
    fps: Option<u32>,
    /// The longest time between keyframes that nobody asked for.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = time)]
    keyframe_interval: Duration,
    /// Whether to send sound.
    #[arg(long, value_enum, default_value_t = AudioName::Opus)]
    audio: AudioName,
    /// Bits per second of audio.
    #[arg(long, value_name = "BPS", default_value_t = 96_000)]
    audio_bitrate: u32,
    /// What the test source sounds like: beep, silence, tone, tone:HZ or tone:LEFT,RIGHT.
    #[arg(long, value_name = "SOUND", default_value = "beep")]
    sound: TestSound,
    /// The same as --sound tone.
    #[arg(long, conflicts_with = "sound")]
    tone: bool,
    /// The ALSA device that goes with a camera, such as `default`; without one a camera publishes no audio.
    #[arg(long, value_name = "DEVICE")]
    microphone: Option<String>,
    /// Start a file again when it ends.
    #[arg(long)]
    repeat: bool,
    /// Stop after this long on air, such as 90s or 10m.
    #[arg(long, value_name = "TIME", value_parser = time)]
    duration: Option<Duration>,
    /// End when the connection is lost instead of connecting again.
    #[arg(long)]
    no_reconnect: bool,
    /// Keep trying when the server is not there yet.
    #[arg(long)]
    wait_for_server: bool,
    /// Sent as a Bearer token; better given as a variable, which other users of the machine cannot see.
    #[arg(long, value_name = "TOKEN", env = "SKYWAVE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A PEM file of certificates to trust for https, in place of the system's.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// A STUN or TURN server: stun://host:port or turn://user:password@host:port; may be given more than once.
    #[arg(long = "ice-server", value_name = "URL")]
    ice_servers: Vec<String>,
    /// Gather TCP candidates too, for networks without UDP.
    #[arg(long)]
    ice_tcp: bool,
    #[command(flatten)]
    faults: FaultArgs,
    /// What is logged.
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    log: String,
}

/// Faults committed on purpose.
#[derive(Args)]
#[command(next_help_heading = "Faults on purpose, for tests and drills")]
struct FaultArgs {
    /// Percentage of RTP packets that never reach the wire.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    drop_percent: f64,
    /// Do not answer NACKs, so that lost packets stay lost.
    #[arg(long)]
    no_retransmission: bool,
    /// Send no RTCP sender reports.
    #[arg(long)]
    no_sender_reports: bool,
    /// Send no audio between two times on air, such as 20s..25s.
    #[arg(long, value_name = "FROM..TO", value_parser = span)]
    mute_audio: Option<(Duration, Duration)>,
    /// Send no video between two times on air.
    #[arg(long, value_name = "FROM..TO", value_parser = span)]
    mute_video: Option<(Duration, Duration)>,
    /// Percentage of video frames that are damaged before they are sent.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    corrupt_percent: f64,
    /// Encode H.264 with this many B-frames between others, as cameras and encoders do that were not set up for WebRTC.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=16))]
    b_frames: u32,
    /// Stop without a word after this long on air.
    #[arg(long, value_name = "TIME", value_parser = time)]
    vanish_after: Option<Duration>,
    /// Seed of the dice behind the percentages.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum VideoName {
    Auto,
    Vp8,
    Vp9,
    H264,
    Av1,
    Copy,
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AudioName {
    Opus,
    Off,
}

impl PublishArgs {
    fn into_options(self) -> PublishOptions {
        let encoding = |codec| VideoEncoding {
            codec,
            bitrate_bps: self.video_bitrate,
            size: self.size,
            fps: self.fps,
            keyframe_interval: self.keyframe_interval,
        };
        let video = match self.video {
            VideoName::Auto => VideoChoice::Auto(encoding(Codec::Vp8)),
            VideoName::Vp8 => VideoChoice::Encode(encoding(Codec::Vp8)),
            VideoName::Vp9 => VideoChoice::Encode(encoding(Codec::Vp9)),
            VideoName::H264 => VideoChoice::Encode(encoding(Codec::H264)),
            VideoName::Av1 => VideoChoice::Encode(encoding(Codec::Av1)),
            VideoName::Copy => VideoChoice::Copy,
            VideoName::Off => VideoChoice::Off,
        };
        PublishOptions {
            token: self.token,
            tls_ca: self.tls_ca,
            video,
            audio: match self.audio {
                AudioName::Opus => AudioChoice::Opus { bitrate_bps: self.audio_bitrate },
                AudioName::Off => AudioChoice::Off,
            },
            test_sound: if self.tone {
                TestSound::Tone { left_hz: 1000, right_hz: 1000 }
            } else {
                self.sound
            },
            microphone: self.microphone,
            repeat: self.repeat,
            duration: self.duration,
            reconnect: !self.no_reconnect,
            wait_for_server: self.wait_for_server,
            ice_servers: self.ice_servers,
            ice_tcp: self.ice_tcp,
            faults: Faults {
                drop_percent: self.faults.drop_percent,
                no_retransmission: self.faults.no_retransmission,
                no_sender_reports: self.faults.no_sender_reports,
                mute_audio: self.faults.mute_audio,
                mute_video: self.faults.mute_video,
                corrupt_percent: self.faults.corrupt_percent,
                b_frames: self.faults.b_frames,
                vanish_after: self.faults.vanish_after,
                seed: self.faults.seed,
            },
            ..PublishOptions::new(self.source, self.url)
        }
    }
}

/// Publishes until the source ends, the time is up or a signal comes.
pub(super) fn run(args: PublishArgs) -> ExitCode {
    let log = Log { level: args.log.clone(), format: LogFormat::Human };
    if let Err(words) = telemetry::init(&log) {
        return fail(2, &words);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &format!("cannot start the runtime: {error}")),
    };
    match runtime.block_on(publish(args.into_options(), tell, app::signals())) {
        Ok(done) => {
            let seconds = done.on_air.as_secs_f64();
            say(&format!("published for {seconds:.1} s: {} packets, {} bytes", done.packets, done.bytes));
            ExitCode::SUCCESS
        }
        Err(error) => fail(1, &error.to_string()),
    }
}

fn tell(event: PublishEvent) {
    match event {
        PublishEvent::Connected { session } => say(&format!("on air: {session}")),
        PublishEvent::Stats(stats) => {
            let rtt =
                stats.rtt.map_or_else(|| "-".to_owned(), |rtt| format!("{:.0} ms", rtt.as_secs_f64() * 1e3));
            say(&format!(
                "{} kbit/s, round trip {rtt}, {} of {} packets lost",
                stats.bitrate_bps / 1000,
                stats.lost_packets,
                stats.packets
            ));
        }
        PublishEvent::Reconnecting { attempt, wait, reason } => {
            say(&format!("{reason}; attempt {attempt} in {:.1} s", wait.as_secs_f64()));
        }
        PublishEvent::SourceRestarted => say("the source starts again"),
        PublishEvent::Stopped => {}
    }
}

fn size(text: &str) -> Result<(u32, u32), String> {
    text.split_once('x')
        .and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)))
        .ok_or_else(|| format!("`{text}` is not a size such as 1280x720"))
}

/// `800k`, `1.5M`, or a bare number of bits per second.
pub(super) fn size_of_bits(text: &str) -> Result<u64, String> {
    let (number, scale) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 1e3),
        Some((at, 'm' | 'M')) => (&text[..at], 1e6),
        _ => (text, 1.0),
    };
    let bits = number.parse::<f64>().map(|n| n * scale);
    bits.ok()
        .filter(|bits| (1.0..1e9).contains(bits))
        .map(|bits| bits as u64)
        .ok_or_else(|| format!("`{text}` is not a bitrate such as 800k or 1.5M"))
}

/// `90s`, `1500ms`, `2m`, or a bare number of seconds.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale = match unit {
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => f64::NAN,
    };
    let seconds = number.parse::<f64>().map(|n| n * scale);
    seconds
        .ok()
        .and_then(|s| Duration::try_from_secs_f64(s).ok())
        .ok_or_else(|| format!("`{text}` is not a time such as 90s, 1500ms or 10m"))
}

fn span(text: &str) -> Result<(Duration, Duration), String> {
    let wrong = || format!("`{text}` is not a span such as 20s..25s");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let (from, to) = (time(from)?, time(to)?);
    if from < to { Ok((from, to)) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_sizes_and_spans_are_read_or_refused() {
        assert_eq!(time("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(time("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(time("7"), Ok(Duration::from_secs(7)));
        for wrong in ["", "s", "-1s", "5y", "1e400"] {
            assert!(time(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(
            (size_of_bits("1.5M"), size_of_bits("800k"), size_of_bits("64")),
            (Ok(1_500_000), Ok(800_000), Ok(64))
        );
        for wrong in ["", "M", "0", "-1k", "2G"] {
            assert!(size_of_bits(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(size("640x360"), Ok((640, 360)));
        assert!(size("640").is_err());
        assert_eq!(span("20s..25s"), Ok((Duration::from_secs(20), Duration::from_secs(25))));
        assert!(span("25s..20s").is_err());
    }
}
