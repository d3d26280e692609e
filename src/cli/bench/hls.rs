//! `skywave bench hls`: many Low-Latency HLS players.

use super::super::publish::time;
use super::super::{complain, fail};
use super::{Lines, rate};
use crate::app;
use clap::Args;
use skywave_load::hls::{self, HlsOptions};
use skywave_load::process::ServerProcess;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Args)]
pub(in crate::cli) struct HlsArgs {
    /// The multivariant playlist, such as http://127.0.0.1:8080/hls/demo/index.m3u8.
    #[arg(value_name = "URL")]
    url: String,
    /// How many players.
    #[arg(long, value_name = "N", default_value_t = 10)]
    players: usize,
    /// Several numbers of players, one after the other, such as 100,300,500; those of a step stay for the next.
    #[arg(long, value_name = "N,N,..", value_delimiter = ',', conflicts_with = "players")]
    steps: Vec<usize>,
    /// Players that begin each second.
    #[arg(long, value_name = "N/s", default_value = "30/s", value_parser = rate)]
    rate: f64,
    /// How long each step is measured.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    duration: Duration,
    /// HTTP/2 without TLS, one connection a player; without it HTTP/1.1, four connections a player.
    #[arg(long)]
    http2: bool,
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
    /// What is logged.
    #[arg(long, value_name = "FILTER", default_value = "warn")]
    pub(in crate::cli) log: String,
}

/// Plays. Exit code 1 when a player failed or nothing could be measured, 2 when the command line is at fault.
pub(in crate::cli) async fn play(args: HlsArgs) -> ExitCode {
    let mut lines = match Lines::open(args.json.as_ref()) {
        Ok(lines) => lines,
        Err(error) => return fail(2, &format!("the file for --json cannot be written: {error}")),
    };
    let server = args.pid.map(ServerProcess::Pid);
    let options = HlsOptions {
        steps: if args.steps.is_empty() { vec![args.players] } else { args.steps },
        rate_per_s: args.rate,
        hold: args.duration,
        token: args.token,
        server: server.or_else(|| args.server_name.map(ServerProcess::Name)),
        allow_remote: args.allow_remote,
        http2: args.http2,
        ..HlsOptions::new(args.url)
    };
    let mut failed = false;
    let told = hls::run(options, app::signals(), |report| {
        failed |= !report.failures.is_empty();
        if let Err(error) = lines.tell(&report.table(), report.json_line()) {
            complain(&format!("skywave: the report was not written: {error}"));
            failed = true;
        }
    });
    match told.await {
        Ok(()) => ExitCode::from(u8::from(failed)),
        Err(error) => fail(1, &error.to_string()),
    }
}
