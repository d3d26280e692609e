//! `skywave bench`: the command line of the load tools.

mod hls;

use super::publish::{size_of_bits, time};
use super::{complain, fail, say};
use crate::app;
use crate::config::{Log, LogFormat};
use crate::telemetry;
use clap::{Args, Subcommand, ValueEnum};
use skywave_load::process::ServerProcess;
use skywave_load::whep::{self, WhepOptions};
use skywave_load::whip::{self, WhipOptions};
use skywave_load::{ClipCodec, Feedback, Lanes};
use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// What can be measured.
#[derive(Subcommand)]
pub(super) enum BenchCommand {
    /// Open many WebRTC viewers on any server's WHEP URL, count what they get, and say what it cost the server.
    Whep(Box<WhepArgs>),
    /// Publish a recorded stream in a loop to any server's WHIP URL, without an encoder, and count the keyframe requests.
    Whip(WhipArgs),
    /// Open many Low-Latency HLS players on any server's playlist, and say how evenly and how late it answers, and what it cost.
    Hls(Box<hls::HlsArgs>),
}

#[derive(Args)]
pub(super) struct WhepArgs {
    /// The WHEP endpoint, such as http://127.0.0.1:8080/whep/demo.
    #[arg(value_name = "WHEP-URL")]
    url: String,
    /// How many viewers.
    #[arg(long, value_name = "N", default_value_t = 10)]
    viewers: usize,
    /// Several numbers of viewers, one after the other, such as 100,300,1000; those of a step stay for the next.
    #[arg(long, value_name = "N,N,..", value_delimiter = ',', conflicts_with = "viewers")]
    steps: Vec<usize>,
    /// Viewers that join each second.
    #[arg(long, value_name = "N/s", default_value = "30/s", value_parser = rate)]
    rate: f64,
    /// How long each step is measured.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    duration: Duration,
    /// Process id of the server, to measure its processor time, memory, threads and open files.
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// The same by its name.
    #[arg(long, value_name = "NAME", conflicts_with = "pid")]
    server_name: Option<String>,
    /// Sent as a Bearer token; better given as a variable, which other users of the machine cannot see.
    #[arg(long, value_name = "TOKEN", env = "SKYWAVE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Add one line of JSON for each step to this file; `-` writes to standard output, in place of the table.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Allow servers on other machines. Only for your own: this is a load test.
    #[arg(long)]
    allow_remote: bool,
    /// Threads that receive.
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Ask for audio alone.
    #[arg(long)]
    audio_only: bool,
    /// Ask for video alone.
    #[arg(long, conflicts_with = "audio_only")]
    video_only: bool,
    /// Bandwidth feedback to offer and give.
    #[arg(long, value_enum, default_value_t = FeedbackName::None)]
    feedback: FeedbackName,
    /// Take datagrams one by one: on one machine, the server then pays for taking its batches apart, as a network card would.
    #[arg(long)]
    no_gro: bool,
    /// Address of the viewers, for servers that answer with another of this machine's addresses only.
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<IpAddr>,
    /// What is logged.
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    log: String,
}

#[derive(Args)]
pub(super) struct WhipArgs {
    /// The WHIP endpoint, such as http://127.0.0.1:8080/whip/demo.
    #[arg(value_name = "WHIP-URL")]
    url: String,
    /// The codec of the picture.
    #[arg(long, value_enum, default_value_t = CodecName::Vp8)]
    codec: CodecName,
    /// Bits per second of video, such as 800k or 1.5M; what the recording lacks is filled up.
    #[arg(long, value_name = "BPS", default_value = "1.5M", value_parser = size_of_bits)]
    bitrate: u64,
    /// Stop after this long on air.
    #[arg(long, value_name = "TIME", value_parser = time)]
    duration: Option<Duration>,
    /// Sent as a Bearer token; better given as a variable, which other users of the machine cannot see.
    #[arg(long, value_name = "TOKEN", env = "SKYWAVE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Add one line of JSON to this file at the end; `-`, or no file, writes to standard output, in place of the words.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
    /// Allow servers on other machines.
    #[arg(long)]
    allow_remote: bool,
    /// What is logged.
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    log: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FeedbackName {
    None,
    Remb,
    Twcc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CodecName {
    Vp8,
    H264,
}

impl WhepArgs {
    fn options(&self) -> WhepOptions {
        WhepOptions {
            steps: if self.steps.is_empty() { vec![self.viewers] } else { self.steps.clone() },
            rate_per_s: self.rate,
            hold: self.duration,
            token: self.token.clone(),
            server: self
                .pid
                .map(ServerProcess::Pid)
                .or_else(|| self.server_name.clone().map(ServerProcess::Name)),
            allow_remote: self.allow_remote,
            threads: self.threads,
            lanes: match (self.audio_only, self.video_only) {
                (true, _) => Lanes::AudioOnly,
                (_, true) => Lanes::VideoOnly,
                _ => Lanes::Both,
            },
            feedback: match self.feedback {
                FeedbackName::None => Feedback::None,
                FeedbackName::Remb => Feedback::Remb,
                FeedbackName::Twcc => Feedback::Twcc,
            },
            join_datagrams: !self.no_gro,
            bind: self.bind,
            ..WhepOptions::new(&self.url)
        }
    }
}

/// Measures. Exit code 1 when a viewer failed or nothing could be measured, 2 when the command line is at fault.
pub(super) fn run(command: BenchCommand) -> ExitCode {
    let level = match &command {
        BenchCommand::Whep(args) => args.log.clone(),
        BenchCommand::Whip(args) => args.log.clone(),
        BenchCommand::Hls(args) => args.log.clone(),
    };
    if let Err(words) = telemetry::init(&Log { level, format: LogFormat::Human }) {
        return fail(2, &words);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &format!("cannot start the runtime: {error}")),
    };
    match command {
        BenchCommand::Whep(args) => runtime.block_on(watch(*args)),
        BenchCommand::Whip(args) => runtime.block_on(publish(args)),
        BenchCommand::Hls(args) => runtime.block_on(hls::play(*args)),
    }
}

/// Where the lines of JSON go.
enum Lines {
    Nowhere,
    StandardOutput,
    File(File),
}

impl Lines {
    fn open(path: Option<&PathBuf>) -> std::io::Result<Self> {
        match path {
            None => Ok(Self::Nowhere),
            Some(path) if path.as_os_str() == "-" => Ok(Self::StandardOutput),
            Some(path) => File::options().create(true).append(true).open(path).map(Self::File),
        }
    }

    /// Tells a report, in `words` and as a line of JSON.
    fn tell(&mut self, words: &str, line: serde_json::Result<String>) -> Result<(), String> {
        let line = line.map_err(|e| e.to_string())?;
        match self {
            Self::Nowhere => say(words),
            Self::StandardOutput => say(&line),
            Self::File(file) => {
                say(words);
                writeln!(file, "{line}").map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }
}

async fn watch(args: WhepArgs) -> ExitCode {
    let mut lines = match Lines::open(args.json.as_ref()) {
        Ok(lines) => lines,
        Err(error) => return unwritable(&error),
    };
    let mut failed = false;
    let told = whep::run(args.options(), app::signals(), |report| {
        failed |= !report.failures.is_empty();
        if let Err(error) = lines.tell(&report.table(), report.json_line()) {
            complain(&format!("skywave: the report was not written: {error}"));
            failed = true;
        }
    });
    match told.await {
        Ok(farewell) => {
            for (reason, count) in &farewell.not_deleted {
                complain(&format!("skywave: {count} sessions were not deleted: {reason}"));
            }
            if farewell.without_url > 0 {
                complain(&format!("skywave: the server gave no URL for {} sessions", farewell.without_url));
            }
            ExitCode::from(u8::from(failed || !farewell.not_deleted.is_empty()))
        }
        Err(error) => fail(1, &error.to_string()),
    }
}

fn unwritable(error: &std::io::Error) -> ExitCode {
    fail(2, &format!("the file for --json cannot be written: {error}"))
}

async fn publish(args: WhipArgs) -> ExitCode {
    let mut lines = match Lines::open(args.json.as_ref()) {
        Ok(lines) => lines,
        Err(error) => return unwritable(&error),
    };
    let on_standard_output = matches!(lines, Lines::StandardOutput);
    let options = WhipOptions {
        url: args.url,
        codec: match args.codec {
            CodecName::Vp8 => ClipCodec::Vp8,
            CodecName::H264 => ClipCodec::H264,
        },
        bits_per_second: args.bitrate,
        duration: args.duration,
        token: args.token,
        allow_remote: args.allow_remote,
    };
    let on_air = || if on_standard_output { complain("on air") } else { say("on air") };
    match whip::run(options, app::signals(), on_air).await {
        Ok(report) => {
            if let Some(reason) = &report.not_deleted {
                complain(&format!("skywave: the session was not deleted: {reason}"));
            }
            match lines.tell(&report.summary(), report.json_line()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(1, &format!("the report was not written: {error}")),
            }
        }
        Err(error) => fail(1, &error.to_string()),
    }
}

/// `30/s`, or the bare number.
fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).trim().parse::<f64>();
    number
        .ok()
        .filter(|rate| *rate > 0.0 && rate.is_finite())
        .ok_or_else(|| format!("`{text}` is not a rate such as 30/s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_or_refused() {
        assert_eq!(rate("30/s"), Ok(30.0));
        assert_eq!(rate("0.5"), Ok(0.5));
        for wrong in ["", "0/s", "-1", "inf", "30/m"] {
            assert!(rate(wrong).is_err(), "{wrong:?}");
        }
    }
}
