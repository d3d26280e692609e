//! `skywave check`: is what a server gives what the specification asks?

use super::publish::time;
use super::{fail, say};
use crate::app;
use clap::{Args, Subcommand};
use hls_check::live::{self, LiveOptions};
use hls_check::{Grade, Options, RULES};
use std::process::ExitCode;
use std::time::Duration;

/// What can be checked.
#[derive(Subcommand)]
pub(super) enum CheckCommand {
    /// Follow a live HLS stream of any server in all renditions and check playlists, segments and parts by the specification.
    Hls(HlsArgs),
    /// List the rules that are checked.
    Rules,
}

#[derive(Args)]
pub(super) struct HlsArgs {
    /// The multivariant playlist, such as http://127.0.0.1:8080/hls/demo/index.m3u8.
    #[arg(value_name = "URL")]
    url: String,
    /// How long it is followed.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time)]
    duration: Duration,
    /// Added to every limit of time, for the network and a busy machine.
    #[arg(long, value_name = "TIME", default_value = "250ms", value_parser = time)]
    tolerance: Duration,
    /// Rules that may be broken, by their ids.
    #[arg(long, value_name = "ID,ID,..", value_delimiter = ',')]
    allow: Vec<String>,
    /// Print the report as one line of JSON.
    #[arg(long)]
    json: bool,
    /// Sent as a Bearer token; better given as a variable, which other users of the machine cannot see.
    #[arg(long, value_name = "TOKEN", env = "SKYWAVE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Take any TLS certificate.
    #[arg(long)]
    insecure: bool,
}

/// Checks. Exit code 1 when a rule was broken or nothing could be checked, 2 when the command line is at fault.
pub(super) fn run(command: CheckCommand) -> ExitCode {
    let args = match command {
        CheckCommand::Hls(args) => args,
        CheckCommand::Rules => {
            for rule in RULES {
                let grade = match rule.grade {
                    Grade::Must => "MUST",
                    Grade::Should => "SHOULD",
                    Grade::Ours => "ours",
                };
                say(&format!("{:34} {grade:6} {}", rule.id, rule.words));
            }
            return ExitCode::SUCCESS;
        }
    };
    if let Some(unknown) = args.allow.iter().find(|id| RULES.iter().all(|rule| rule.id != **id)) {
        return fail(2, &format!("no rule is called {unknown:?}: see skywave check rules"));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &format!("cannot start the runtime: {error}")),
    };
    let options = LiveOptions {
        duration: args.duration,
        token: args.token,
        insecure: args.insecure,
        options: Options { tolerance: args.tolerance },
        ..LiveOptions::new(args.url)
    };
    let report = match runtime.block_on(live::run(options, app::signals())) {
        Ok(report) => report,
        Err(error) => return fail(1, &error.to_string()),
    };
    let allowed: Vec<&str> = args.allow.iter().map(String::as_str).collect();
    let broken = report.besides(&allowed).next().is_some();
    match report.json() {
        Ok(line) if args.json => say(&line),
        Ok(_) => say(&report.text()),
        Err(error) => return fail(1, &error.to_string()),
    }
    ExitCode::from(u8::from(broken))
}
