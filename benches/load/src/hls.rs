//! Many Low-Latency HLS players on one URL: they begin at a rate, play for a while, are measured, and leave.
//!
//! ```text
//! hls.rs: ramp, hold, measure
//!   player.rs: one player (playlist by blocking reload, hinted parts)  ->  lane.rs (one rendition)  ->  link.rs (one connection)
//!   playlist.rs: the few lines that a player needs      tally.rs: what all players saw      report.rs: JSON, table
//! ```

mod lane;
mod link;
mod player;
mod playlist;
mod report;
mod tally;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Url;
use tokio::task::JoinSet;

use crate::endpoint::TargetError;
use crate::process::{self, ProcessError, Sample, ServerProcess};
use player::{Player, Target};
use tally::Tally;

pub use report::{HlsServerReport, HlsStepReport, HlsToolReport};

/// Files the process needs besides those of its players.
const SPARE_FILES: u64 = 256;
/// Connections of a player over HTTP/1.1: a held request for the playlist and one for the next part, of audio and of video.
const CONNECTIONS: u64 = 4;
/// How long a step waits for its last players to have media.
const SETTLE: Duration = Duration::from_secs(10);

/// What to do.
#[derive(Debug, Clone)]
pub struct HlsOptions {
    /// The multivariant playlist.
    pub url: String,
    /// Numbers of players, one step each; those of the step before stay.
    pub steps: Vec<usize>,
    /// Players that begin each second.
    pub rate_per_s: f64,
    /// How long each step is measured.
    pub hold: Duration,
    /// Sent as a Bearer token.
    pub token: Option<String>,
    /// The process whose cost is measured.
    pub server: Option<ServerProcess>,
    /// Whether the server may be another machine.
    pub allow_remote: bool,
    /// HTTP/2 without TLS, with prior knowledge (RFC 9113 section 3.3): one connection a player.
    pub http2: bool,
}

impl HlsOptions {
    /// The defaults for `url`: 10 players, 30 a second, 10 s, over HTTP/1.1.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            steps: vec![10],
            rate_per_s: 30.0,
            hold: Duration::from_secs(10),
            token: None,
            server: None,
            allow_remote: false,
            http2: false,
        }
    }
}

/// Why nothing, or nothing more, could be measured. What single players met with is in the reports.
#[derive(Debug, thiserror::Error)]
pub enum HlsLoadError {
    /// The options contradict themselves.
    #[error("{0}")]
    Options(&'static str),
    /// The URL is not used.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The server's process cannot be measured.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The system does not let it open enough files.
    #[error("{players} players need {needed} open files, the limit is {limit}: see ulimit -n")]
    Files {
        /// Players of the last step.
        players: usize,
        /// What they need.
        needed: u64,
        /// What there may be.
        limit: u64,
    },
}

/// Runs all steps and tells each report as soon as it is there.
///
/// # Errors
/// [`HlsLoadError`] when the URL must not be used or the process cannot be read. Players that fail are no error.
pub async fn run(
    options: HlsOptions,
    stop: impl Future<Output = ()>,
    mut tell: impl FnMut(&HlsStepReport),
) -> Result<(), HlsLoadError> {
    let steps = &options.steps;
    if steps.is_empty() || steps.contains(&0) || !steps.is_sorted() {
        return Err(HlsLoadError::Options(
            "steps are numbers of players from 1 up, each no less than the one before",
        ));
    }
    if !(options.rate_per_s > 0.0 && options.rate_per_s.is_finite()) {
        return Err(HlsLoadError::Options("the rate must be more than 0"));
    }
    let target = Arc::new(target(&options).await?);
    let pid = options.server.as_ref().map(ServerProcess::pid).transpose()?;
    let before = pid.map(process::sample).transpose()?;
    allow_files(&options)?;
    let tally = Arc::new(Tally::new());
    let mut run = Run { options, target, tally, pid, before, players: JoinSet::new(), begun: 0 };
    let signal = std::pin::pin!(stop);
    let mut stop = Stop { signal, stopped: false };
    for step in run.options.steps.clone() {
        let report = run.step(step, &mut stop).await?;
        tell(&report);
        if stop.stopped {
            break;
        }
    }
    run.players.shutdown().await;
    Ok(())
}

async fn target(options: &HlsOptions) -> Result<Target, TargetError> {
    let refused = |reason: String| TargetError::Url { url: options.url.clone(), reason };
    let url = Url::parse(&options.url).map_err(|error| refused(error.to_string()))?;
    if url.scheme() != "http" {
        // With TLS most of what the tool costs, and much of what the server costs, would be cryptography.
        return Err(refused("only plain http is measured".to_owned()));
    }
    let host = url.host_str().unwrap_or_default().to_owned();
    let unresolved = |reason: String| TargetError::Unresolved { host: host.clone(), reason };
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let port = url.port_or_known_default().unwrap_or(80);
    let found = tokio::net::lookup_host((name, port)).await.map_err(|error| unresolved(error.to_string()))?;
    let found: Vec<SocketAddr> = found.collect();
    let away = |address: &&SocketAddr| !options.allow_remote && !address.ip().is_loopback();
    if let Some(address) = found.iter().find(away).map(SocketAddr::ip) {
        return Err(TargetError::Remote { host, address });
    }
    let address = *found.first().ok_or_else(|| unresolved("none found".to_owned()))?;
    let authority = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    };
    Ok(Target { url, address, authority, token: options.token.clone(), http2: options.http2 })
}

fn allow_files(options: &HlsOptions) -> Result<(), HlsLoadError> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let players = options.steps.last().copied().unwrap_or_default();
    let each = if options.http2 { 1 } else { CONNECTIONS };
    let needed = players as u64 * each + SPARE_FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let most = limit.maximum.unwrap_or(u64::MAX);
    let wanted = Rlimit { current: Some(needed.min(most)), maximum: limit.maximum };
    if most < needed || setrlimit(Resource::Nofile, wanted).is_err() {
        return Err(HlsLoadError::Files { players, needed, limit: most });
    }
    Ok(())
}

/// The wish to end, remembered once it came.
struct Stop<'a, F> {
    signal: Pin<&'a mut F>,
    stopped: bool,
}

impl<F: Future<Output = ()>> Stop<'_, F> {
    async fn sleep_until(&mut self, deadline: Instant) -> bool {
        if !self.stopped {
            tokio::select! {
                () = tokio::time::sleep_until(deadline.into()) => {}
                () = self.signal.as_mut() => self.stopped = true,
            }
        }
        self.stopped
    }
}

/// Processor times of one moment.
struct Moment {
    at: Instant,
    server: Option<Sample>,
    tool: Option<Sample>,
    machine: Option<(u64, u64)>,
}

struct Run {
    options: HlsOptions,
    target: Arc<Target>,
    tally: Arc<Tally>,
    pid: Option<u32>,
    /// The server before the first player.
    before: Option<Sample>,
    players: JoinSet<()>,
    begun: usize,
}

impl Run {
    async fn step<F: Future<Output = ()>>(
        &mut self,
        players: usize,
        stop: &mut Stop<'_, F>,
    ) -> Result<HlsStepReport, HlsLoadError> {
        let begin = Instant::now();
        let first = self.begun;
        while self.begun < players {
            let due = begin + Duration::from_secs_f64((self.begun - first) as f64 / self.options.rate_per_s);
            if stop.sleep_until(due).await {
                break;
            }
            let player = Player::new(self.begun, self.target.clone(), self.tally.clone());
            self.players.spawn(player.run());
            self.begun += 1;
        }
        let settled = Instant::now() + SETTLE;
        while Instant::now() < settled && self.tally.playing() + self.tally.failed() < self.begun {
            if stop.sleep_until(Instant::now() + Duration::from_millis(50)).await {
                break;
            }
        }
        self.tally.begin_window();
        let begin = self.moment()?;
        stop.sleep_until(begin.at + self.options.hold).await;
        let end = self.moment()?;
        let mut report = self.report(players, &begin, &end);
        report.interrupted = stop.stopped;
        Ok(report)
    }

    fn moment(&self) -> Result<Moment, HlsLoadError> {
        Ok(Moment {
            at: Instant::now(),
            server: self.pid.map(process::sample).transpose()?,
            tool: process::sample(std::process::id()).ok(),
            machine: process::machine(),
        })
    }

    fn report(&self, players: usize, begin: &Moment, end: &Moment) -> HlsStepReport {
        let seconds = (end.at - begin.at).as_secs_f64();
        let seen = self.tally.end_window();
        let share = |begin: Option<Sample>, end: Option<Sample>| {
            let used = end?.cpu.saturating_sub(begin?.cpu).as_secs_f64();
            Some((used, used / seconds * 100.0))
        };
        let server = self.pid.zip(begin.server).zip(end.server).map(|((pid, from), to)| {
            let (cpu_s, cpu_percent) = share(Some(from), Some(to)).unwrap_or_default();
            let before = self.before.unwrap_or(from);
            HlsServerReport {
                pid,
                cpu_s,
                cpu_percent,
                cpu_us_per_request: (seen.requests > 0).then(|| cpu_s * 1e6 / seen.requests as f64),
                rss_bytes: to.rss_bytes,
                rss_bytes_per_player: (seen.playing > 0)
                    .then(|| (to.rss_bytes.saturating_sub(before.rss_bytes)) as f64 / seen.playing as f64),
                threads: [before.threads, to.threads],
                fds: [before.fds, to.fds],
            }
        });
        let machine = begin.machine.zip(end.machine).and_then(|((busy, all), (busy_end, all_end))| {
            let all = all_end.checked_sub(all).filter(|all| *all > 0)?;
            Some(busy_end.saturating_sub(busy) as f64 / all as f64 * 100.0)
        });
        let tool = HlsToolReport {
            cpu_percent: share(begin.tool, end.tool).map(|(_, percent)| percent),
            machine_percent: machine,
        };
        let mut failures: BTreeMap<String, usize> = seen.failures.clone();
        if seen.playing < self.begun && failures.is_empty() {
            failures.insert("no media in time".to_owned(), self.begun - seen.playing);
        }
        seen.into_report(players, seconds, failures, server, tool)
    }
}
