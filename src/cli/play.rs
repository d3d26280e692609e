//! `skywave play`: the command line of the WHEP client.

use super::publish::time;
use super::{fail, say};
use crate::app;
use crate::config::{Log, LogFormat};
use crate::telemetry;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use skywave_gst::whep_client::{
    AudioSeen, PlayEvent, PlayOptions, PlayStats, PlaySummary, VideoSeen, VideoWanted, play,
};
use skywave_media::codec::Codec;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// What `skywave play` can be told.
#[derive(Args)]
#[command(
    after_help = "There is no window: to look at a stream, open /watch/STREAM of the server in a browser, or give \
    http://SERVER/hls/STREAM/index.m3u8 to VLC or ffplay.\n\nThe exit code is 0 when something was decoded and the connection \
    stood to the end."
)]
pub(super) struct PlayArgs {
    /// The WHEP endpoint, such as http://127.0.0.1:8080/whep/demo.
    #[arg(value_name = "WHEP-URL")]
    url: String,
    /// Stop after this long, such as 10s or 2m; 0 (and nothing) is until stopped.
    #[arg(long, value_name = "TIME", value_parser = time)]
    duration: Option<Duration>,
    /// The video codec to ask for; `any` offers all that this machine decodes.
    #[arg(long, value_enum, default_value_t = VideoName::Any)]
    video: VideoName,
    /// Whether to ask for sound.
    #[arg(long, value_enum, default_value_t = AudioName::Opus)]
    audio: AudioName,
    /// How long packets wait for lost ones before them; the first picture waits as long, too.
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = time)]
    jitter_buffer: Duration,
    /// Say at the end what came as one line of JSON.
    #[arg(long)]
    json: bool,
    /// Save the last picture as a PNG file.
    #[arg(long, value_name = "FILE.png")]
    snapshot: Option<PathBuf>,
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
    /// What is logged.
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    log: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum VideoName {
    Any,
    Vp8,
    Vp9,
    H264,
    Av1,
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AudioName {
    Opus,
    Off,
}

impl PlayArgs {
    fn into_options(self) -> PlayOptions {
        PlayOptions {
            url: self.url,
            token: self.token,
            tls_ca: self.tls_ca,
            video: match self.video {
                VideoName::Any => VideoWanted::Any,
                VideoName::Vp8 => VideoWanted::Only(Codec::Vp8),
                VideoName::Vp9 => VideoWanted::Only(Codec::Vp9),
                VideoName::H264 => VideoWanted::Only(Codec::H264),
                VideoName::Av1 => VideoWanted::Only(Codec::Av1),
                VideoName::Off => VideoWanted::Off,
            },
            audio: self.audio == AudioName::Opus,
            duration: self.duration.filter(|duration| !duration.is_zero()),
            jitter_buffer: self.jitter_buffer,
            snapshot: self.snapshot,
            ice_servers: self.ice_servers,
            ice_tcp: self.ice_tcp,
        }
    }
}

/// Watches until the time is up, the connection is lost or a signal comes.
pub(super) fn run(args: PlayArgs) -> ExitCode {
    let log = Log { level: args.log.clone(), format: LogFormat::Human };
    if let Err(words) = telemetry::init(&log) {
        return fail(2, &words);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &format!("cannot start the runtime: {error}")),
    };
    let as_json = args.json;
    let options = args.into_options();
    let status = StatusLine { shown: options.duration.is_none() && std::io::stderr().is_terminal() };
    let result = runtime.block_on(play(options, |event| status.tell(&event), app::signals()));
    status.end();
    match result {
        Ok(seen) => {
            say(&if as_json { as_value(&seen).to_string() } else { in_words(&seen) });
            verdict(&seen)
        }
        Err(error) => fail(1, &error.to_string()),
    }
}

/// Whether it went well.
fn verdict(seen: &PlaySummary) -> ExitCode {
    match &seen.lost {
        Some(reason) => fail(1, &format!("connection lost: {reason}")),
        None if seen.video.is_none() && seen.audio.is_none() => fail(1, "nothing was decoded"),
        None => ExitCode::SUCCESS,
    }
}

/// One line on the terminal that is written anew each second.
struct StatusLine {
    shown: bool,
}

impl StatusLine {
    fn tell(&self, event: &PlayEvent) {
        if self.shown {
            let line = match event {
                PlayEvent::Connected { session } => format!("connected: {session}"),
                PlayEvent::Stats(stats) => status(stats),
            };
            // Back to the beginning of the line, and what was there erased.
            self.write(&format!("\r\x1b[K{line}"));
        }
    }

    fn end(&self) {
        if self.shown {
            self.write("\r\x1b[K");
        }
    }

    #[allow(clippy::unused_self, reason = "only a line that is shown is written")]
    fn write(&self, text: &str) {
        let mut out = std::io::stderr().lock();
        // A closed terminal is no reason to stop.
        let _closed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

fn status(stats: &PlayStats) -> String {
    let video = stats.video.map_or_else(
        || "no picture yet".to_owned(),
        |v| format!("{} {}x{} {:.0} fps", name(v.codec), v.width, v.height, stats.fps),
    );
    let audio =
        stats.audio.map_or_else(|| "no sound yet".to_owned(), |a| format!("{} {}", name(a.codec), peak(&a)));
    format!("{video}, {audio}, {} kbit/s, {} packets lost", stats.bitrate_bps / 1000, stats.lost_packets)
}

fn name(codec: Codec) -> String {
    codec.rtp_name().to_ascii_lowercase()
}

fn peak(audio: &AudioSeen) -> String {
    if audio.peak_db.is_finite() { format!("peak {:.1} dB", audio.peak_db) } else { "silent".to_owned() }
}

/// Milliseconds with one digit behind the point.
fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

fn in_words(seen: &PlaySummary) -> String {
    let video = |v: VideoSeen| {
        format!(
            "{} {}x{}: {} pictures ({} keyframes), the first after {} ms, longest pause {} ms",
            name(v.codec),
            v.width,
            v.height,
            v.frames,
            v.keyframes,
            ms(v.first_frame_after),
            ms(v.longest_pause)
        )
    };
    let audio = |a: AudioSeen| format!("{}: {} buffers, {}", name(a.codec), a.buffers, peak(&a));
    format!(
        "watched for {:.1} s: {}; {}; {} packets, {} lost",
        seen.watched.as_secs_f64(),
        seen.video.map_or_else(|| "no picture".to_owned(), video),
        seen.audio.map_or_else(|| "no sound".to_owned(), audio),
        seen.packets,
        seen.lost_packets
    )
}

fn as_value(seen: &PlaySummary) -> Value {
    json!({
        "session": seen.session,
        "watched_ms": ms(seen.watched),
        "connected_after_ms": ms(seen.connected_after),
        "first_packet_after_ms": seen.first_packet_after.map(ms),
        "packets": seen.packets,
        "bytes": seen.bytes,
        "lost_packets": seen.lost_packets,
        "lost": seen.lost,
        "video": seen.video.map(|v| json!({
            "codec": name(v.codec),
            "width": v.width,
            "height": v.height,
            "frames": v.frames,
            "keyframes": v.keyframes,
            "keyframe_requests": v.keyframe_requests,
            "first_frame_after_ms": ms(v.first_frame_after),
            "longest_pause_ms": ms(v.longest_pause),
        })),
        "audio": seen.audio.map(|a| json!({
            "codec": name(a.codec),
            "buffers": a.buffers,
            "length_ms": ms(a.length),
            // JSON has no infinity: null is digital silence.
            "peak_db": a.peak_db.is_finite().then_some(a.peak_db),
            "first_buffer_after_ms": ms(a.first_buffer_after),
        })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> PlaySummary {
        PlaySummary {
            session: "http://x/whep/a/1".into(),
            watched: Duration::from_secs(3),
            connected_after: Duration::from_millis(20),
            first_packet_after: Some(Duration::from_micros(25_040)),
            packets: 500,
            bytes: 500_000,
            lost_packets: 2,
            video: Some(VideoSeen {
                codec: Codec::Vp8,
                width: 320,
                height: 180,
                frames: 90,
                keyframes: 2,
                keyframe_requests: 1,
                first_frame_after: Duration::from_millis(130),
                longest_pause: Duration::from_millis(40),
            }),
            audio: Some(AudioSeen {
                codec: Codec::Opus,
                buffers: 150,
                length: Duration::from_secs(3),
                peak_db: f64::NEG_INFINITY,
                first_buffer_after: Duration::from_millis(125),
            }),
            lost: None,
        }
    }

    #[test]
    fn the_summary_is_one_line_in_words_and_in_json() {
        let words = in_words(&seen());
        assert_eq!(
            words,
            "watched for 3.0 s: vp8 320x180: 90 pictures (2 keyframes), the first after 130 ms, longest pause 40 ms; \
             opus: 150 buffers, silent; 500 packets, 2 lost"
        );
        let value = as_value(&seen());
        assert_eq!(value["video"]["codec"], "vp8");
        assert_eq!(value["first_packet_after_ms"], 25.0);
        assert_eq!(value["audio"]["peak_db"], Value::Null);
        assert!(!value.to_string().contains('\n'));
    }

    #[test]
    fn nothing_decoded_and_a_lost_connection_are_failures() {
        assert_eq!(verdict(&seen()), ExitCode::SUCCESS);
        assert_eq!(verdict(&PlaySummary { video: None, audio: None, ..seen() }), ExitCode::FAILURE);
        assert_eq!(verdict(&PlaySummary { lost: Some("gone".into()), ..seen() }), ExitCode::FAILURE);
    }
}
