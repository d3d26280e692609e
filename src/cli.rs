//! The command line: what can be asked of the binary, and which part of it answers.

mod bench;
mod check;
mod play;
mod progress;
mod publish;
mod token;
mod vod;

use crate::config::Config;
use crate::config::load::{self, ConfigError, Override};
use crate::{app, telemetry};
use clap::{Args, Parser, Subcommand};
use skywave_gst::elements::NeededFor;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// A live broadcast media server: publish from a browser (WHIP), watch over HLS.
#[derive(Parser)]
#[command(name = "skywave", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve: take publishers in, give viewers what they can play.
    Serve(ServeArgs),
    /// Publish a test pattern, a file, a camera or an RTSP source to a WHIP URL.
    Publish(Box<publish::PublishArgs>),
    /// Put load on a server and measure it: many WebRTC viewers, or a cheap publisher.
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Watch a WHEP URL without a window: decode, count, measure, and say at the end what came.
    Play(Box<play::PlayArgs>),
    /// Check what a server gives by the specification, as a stranger to it.
    #[command(subcommand)]
    Check(check::CheckCommand),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make keys for publishers, viewers and the API.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Recordings on the disk: list, verify, export, repair, and import foreign files.
    #[command(subcommand)]
    Vod(vod::VodCommand),
    /// The codec process of one stream; started by `serve`, not by hand.
    #[command(hide = true)]
    Worker {
        /// Only look for missing GStreamer elements.
        #[arg(long)]
        check: bool,
        /// With --check: OpenH264 is the encoder in use.
        #[arg(long)]
        openh264: bool,
    },
    /// The process that reads a file from standard input; started by `vod import` and by `serve`, not by hand.
    #[command(hide = true, subcommand)]
    File(FileCommand),
}

#[derive(Subcommand)]
enum FileCommand {
    /// Turn it into frames.
    Frames,
    /// Make pictures of a recording.
    Pictures {
        /// How long it is, in milliseconds.
        duration_ms: u64,
    },
}

#[derive(Args)]
struct ServeArgs {
    #[command(flatten)]
    sources: Sources,
    /// Address and port for pages, WHIP and HLS (key http.listen).
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Listen on a non-loopback address without `[[access]]` rules: everybody may publish and watch (key http.open).
    #[arg(long)]
    open: bool,
    /// Address and port for HTTPS (key tls.listen); without it the address of --listen, port 8443.
    #[arg(long, value_name = "ADDR:PORT")]
    tls_listen: Option<SocketAddr>,
    /// Serve HTTPS as well, with this certificate chain, PEM (key tls.cert).
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// And its private key, PEM (key tls.key).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Serve HTTPS with a certificate made here, for phones of one's own network (key tls.self_signed); kept in --tls-cert and --tls-key.
    #[arg(long)]
    tls_self_signed: bool,
    /// Send those who come by HTTP to HTTPS (key tls.redirect).
    #[arg(long)]
    tls_redirect: bool,
    /// First UDP port of WebRTC; 0 takes free ones (key media.port).
    #[arg(long, value_name = "N")]
    media_port: Option<u16>,
    /// The folder of recordings (key storage.data_dir).
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Args)]
struct Sources {
    /// A TOML file; samples/skywave.toml explains every key.
    #[arg(long, value_name = "FILE", env = "SKYWAVE_CONFIG")]
    config: Option<PathBuf>,
    /// Set any key, for example --set hls.segment_ms=4000; may be given more than once.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    settings: Vec<(String, String)>,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Say whether a configuration can be used, and if not, why.
    Check {
        /// The file to check; without one, the variables and flags alone.
        file: Option<PathBuf>,
        #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
        settings: Vec<(String, String)>,
    },
    /// Print the configuration in use: defaults, file, variables and flags merged.
    Show(Sources),
    /// List every key with the variable that sets it.
    Keys,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .ok_or_else(|| format!("{text:?} is not KEY=VALUE, such as hls.segment_ms=4000"))
}

/// Runs what the command line asks for. Exit code 2 means the command line or configuration is at fault.
pub(crate) fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(args) => serve(&args),
        Command::Publish(args) => publish::run(*args),
        Command::Bench(command) => bench::run(command),
        Command::Check(command) => check::run(command),
        Command::Play(args) => play::run(*args),
        Command::Config(command) => config(command),
        Command::Token(command) => token::run(&command),
        Command::Vod(command) => vod::run(command),
        Command::Worker { check: true, openh264 } => worker_check(openh264),
        Command::Worker { check: false, .. } => crate::worker::child_main(),
        Command::File(FileCommand::Frames) => crate::converter::frames_main(),
        Command::File(FileCommand::Pictures { duration_ms }) => {
            crate::converter::pictures_main(Duration::from_millis(duration_ms))
        }
    }
}

fn load_sources(
    file: Option<&Path>,
    settings: &[(String, String)],
    flags: Vec<Override>,
) -> Result<Config, ConfigError> {
    let set = settings.iter().map(|(key, value)| Override {
        origin: format!("--set {key}={value}"),
        key: key.clone(),
        value: value.clone(),
    });
    load::load(file, std::env::vars(), set.chain(flags).collect())
}

fn serve(args: &ServeArgs) -> ExitCode {
    let flag = |name: &str, key: &str, value: Option<String>| {
        value.map(|value| Override { origin: format!("flag --{name}"), key: key.to_owned(), value })
    };
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let flags = [
        flag("tls-listen", "tls.listen", args.tls_listen.map(|a| a.to_string())),
        flag("tls-cert", "tls.cert", path(&args.tls_cert)),
        flag("tls-key", "tls.key", path(&args.tls_key)),
        flag("tls-self-signed", "tls.self_signed", args.tls_self_signed.then(|| "true".to_owned())),
        flag("tls-redirect", "tls.redirect", args.tls_redirect.then(|| "true".to_owned())),
        flag("listen", "http.listen", args.listen.map(|a| a.to_string())),
        flag("open", "http.open", args.open.then(|| "true".to_owned())),
        flag("media-port", "media.port", args.media_port.map(|p| p.to_string())),
        flag("data-dir", "storage.data_dir", args.data_dir.as_ref().map(|dir| dir.display().to_string())),
    ];
    let flags = flags.into_iter().flatten().collect();
    let config = match load_sources(args.sources.config.as_deref(), &args.sources.settings, flags) {
        Ok(config) => config,
        Err(error) => return fail(2, &error.to_string()),
    };
    if let Err(words) = telemetry::init(&config.log) {
        return fail(2, &words);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &format!("cannot start the runtime: {error}")),
    };
    match runtime.block_on(app::run(config, app::signals(), say_where)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(1, &error.to_string()),
    }
}

/// Says where the server is. The first line is for scripts, the others for people.
fn say_where(bound: &app::Bound) {
    say(&format!("skywave: listening on http://{}", bound.http));
    let Some(https) = &bound.https else { return };
    say(&format!("skywave: listening on https://{}", https.address));
    let Some(fingerprint) = &https.fingerprint else { return };
    say(&format!("skywave: self-signed certificate, SHA-256 fingerprint {fingerprint}"));
    if https.address.ip().is_loopback() {
        return;
    }
    let port = https.address.port();
    for address in crate::tls::addresses_of_the_network() {
        let reaches = https.address.ip().is_unspecified() || https.address.ip() == address;
        if reaches && (https.address.is_ipv6() || address.is_ipv4()) {
            say(&format!("skywave: from other devices: https://{}/", SocketAddr::new(address, port)));
        }
    }
}

fn config(command: ConfigCommand) -> ExitCode {
    match command {
        ConfigCommand::Check { file, settings } => match load_sources(file.as_deref(), &settings, Vec::new())
        {
            Ok(config) => match crate::tls::Tls::check(&config) {
                Ok(()) => {
                    say("the configuration can be used");
                    ExitCode::SUCCESS
                }
                Err(error) => fail(2, &error.to_string()),
            },
            Err(error) => fail(2, &error.to_string()),
        },
        ConfigCommand::Show(sources) => {
            let loaded = load_sources(sources.config.as_deref(), &sources.settings, Vec::new());
            match loaded.map(|config| toml::to_string(&config.without_secrets())) {
                Ok(Ok(text)) => {
                    say(text.trim_end());
                    ExitCode::SUCCESS
                }
                Ok(Err(error)) => fail(1, &error.to_string()),
                Err(error) => fail(2, &error.to_string()),
            }
        }
        ConfigCommand::Keys => {
            for key in load::all_keys() {
                say(&format!("{key:32} {}", load::variable(&key)));
            }
            for key in load::keys_of_lists() {
                say(&format!("{key:32} (in a file only)"));
            }
            ExitCode::SUCCESS
        }
    }
}

/// Names what is missing; fails when `serve` cannot do without it. `skywave publish` and
/// `skywave play` say themselves what they lack.
fn worker_check(openh264: bool) -> ExitCode {
    let mut missing = skywave_gst::elements::check().err().unwrap_or_default();
    missing.retain(|one| match one.needed_for {
        NeededFor::Worker => true,
        NeededFor::OpenH264 => openh264,
        NeededFor::Publish | NeededFor::Play | NeededFor::Files => false,
    });
    for one in &missing {
        complain(&one.to_string());
    }
    if missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(3) }
}

/// Writes a line a person or a script asked for. A closed pipe is the reader's choice, not an error.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _closed = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Writes a line to standard error.
pub(crate) fn complain(line: &str) {
    let _closed = writeln!(std::io::stderr(), "{line}");
}

fn fail(code: u8, words: &str) -> ExitCode {
    complain(&format!("skywave: {words}"));
    ExitCode::from(code)
}
