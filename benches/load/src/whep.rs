//! Many viewers on one WHEP URL: they join at a rate, watch for a while, are measured, and leave.

use crate::answer::{Answer, AnswerError};
use crate::driver::{Driver, Gone, Snapshot};
use crate::endpoint::{Endpoint, RequestError, TargetError};
use crate::keying;
use crate::offer::{Feedback, Lanes};
use crate::process::{self, ProcessError, Sample, ServerProcess};
use crate::report::{ServerReport, Spread, StepReport, ToolReport};
use crate::session::{CONNECT_TIMEOUT, Figures};
use crate::socket::local_address;
use crate::viewer::{Kit, Viewer};
use reqwest::Url;
use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Offers on their way at once. A server that is slower than the rate is not buried; the rate then falls.
const MAX_IN_FLIGHT: usize = 256;
/// Sessions deleted at once.
const DELETING: usize = 64;
/// How long a step waits for pictures after its last viewer was answered.
const SETTLE: Duration = CONNECT_TIMEOUT;
/// How often it looks.
const LOOK: Duration = Duration::from_millis(100);
/// Files the process needs besides one socket a viewer.
const SPARE_FILES: u64 = 512;

/// What to do.
#[derive(Debug, Clone)]
pub struct WhepOptions {
    /// The WHEP URL.
    pub url: String,
    /// Numbers of viewers, one step each; those of the step before stay.
    pub steps: Vec<usize>,
    /// Viewers that join each second.
    pub rate_per_s: f64,
    /// How long each step is measured.
    pub hold: Duration,
    /// Sent as a Bearer token.
    pub token: Option<String>,
    /// The process whose cost is measured.
    pub server: Option<ServerProcess>,
    /// Whether the server may be another machine.
    pub allow_remote: bool,
    /// Threads that receive.
    pub threads: usize,
    /// Which media are asked for.
    pub lanes: Lanes,
    /// Which bandwidth feedback is offered.
    pub feedback: Feedback,
    /// Whether the kernel may join datagrams (GRO). Without, a server on the same machine pays for taking its batches apart.
    pub join_datagrams: bool,
    /// The viewers' address; by default the loopback address, or the one that leads to a remote server.
    pub bind: Option<IpAddr>,
}

impl WhepOptions {
    /// The defaults for `url`: 10 viewers, 30 a second, 10 s.
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
            threads: 1,
            lanes: Lanes::Both,
            feedback: Feedback::None,
            join_datagrams: true,
            bind: None,
        }
    }
}

/// Why nothing, or nothing more, could be measured. What single viewers met with is in the reports.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The options contradict themselves.
    #[error("{0}")]
    Options(&'static str),
    /// The URL is not used.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The server's process cannot be measured.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The tool's own threads, sockets or certificate.
    #[error("the load tool cannot work: {0}")]
    Setup(String),
}

impl From<Gone> for LoadError {
    fn from(gone: Gone) -> Self {
        Self::Setup(gone.to_string())
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Farewell {
    /// Sessions deleted.
    pub deleted: usize,
    /// Sessions that could not be, by reason.
    pub not_deleted: BTreeMap<String, usize>,
    /// Sessions for which the server gave no URL; they were closed by DTLS and RTCP instead.
    pub without_url: usize,
}

/// Why a viewer did not join.
#[derive(Debug, thiserror::Error)]
enum JoinError {
    #[error("no socket: {0}")]
    Socket(std::io::Error),
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error(transparent)]
    Answer(#[from] AnswerError),
    #[error("the answer has no UDP candidate that {bind} may use (has: {found}); see --bind")]
    NoCandidate { bind: IpAddr, found: String },
    #[error(transparent)]
    Gone(#[from] Gone),
}

/// Runs all steps, tells each report as soon as it is there, and deletes every session at the end, also after an error and when `stop`
/// comes true.
///
/// # Errors
/// [`LoadError`] when the URL must not be used, the process cannot be read or the tool cannot work. Viewers that fail are no error.
pub async fn run(
    options: WhepOptions,
    stop: impl Future<Output = ()>,
    mut tell: impl FnMut(&StepReport),
) -> Result<Farewell, LoadError> {
    let stop = std::pin::pin!(stop);
    let mut stop = Stop { signal: stop, stopped: false };
    let mut run = Run::new(options).await?;
    let mut result = Ok(());
    for step in run.options.steps.clone() {
        match run.step(step, &mut stop).await {
            Ok(report) => tell(&report),
            Err(error) => {
                result = Err(error);
                break;
            }
        }
        if stop.stopped {
            break;
        }
    }
    let farewell = run.leave().await;
    result.map(|()| farewell)
}

/// The wish to end, remembered once it came.
struct Stop<'a, F> {
    signal: Pin<&'a mut F>,
    stopped: bool,
}

impl<F: Future<Output = ()>> Stop<'_, F> {
    /// Waits until `deadline` or the wish to end; true when that came.
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

/// All that stands for one moment of a run.
struct Moment {
    at: Instant,
    threads: Vec<Snapshot>,
    server: Option<Sample>,
    machine: Option<(u64, u64)>,
    receive_drops: u64,
}

impl Moment {
    fn viewers(&self) -> impl Iterator<Item = &Figures> {
        self.threads.iter().flat_map(|thread| &thread.viewers)
    }
}

struct Run {
    options: WhepOptions,
    endpoint: Endpoint,
    kit: Arc<Kit>,
    /// Addresses of this machine: candidates that are none of them are left out unless remote servers are allowed.
    own: Arc<HashSet<IpAddr>>,
    drivers: Vec<Arc<Driver>>,
    pid: Option<u32>,
    /// The server before the first viewer.
    before: Option<Sample>,
    joined: usize,
    sessions: Vec<Url>,
    without_url: usize,
    /// Viewers whose failure was reported.
    told: HashSet<usize>,
}

impl Run {
    async fn new(options: WhepOptions) -> Result<Self, LoadError> {
        if options.steps.is_empty() || options.steps.contains(&0) || !options.steps.is_sorted() {
            return Err(LoadError::Options(
                "steps are numbers of viewers from 1 up, each no less than the one before",
            ));
        }
        if !(options.rate_per_s > 0.0 && options.rate_per_s.is_finite()) || options.threads == 0 {
            return Err(LoadError::Options("the rate and the number of threads must be more than 0"));
        }
        let endpoint = Endpoint::new(&options.url, options.token.as_deref(), options.allow_remote).await?;
        let pid = options.server.as_ref().map(ServerProcess::pid).transpose()?;
        let before = pid.map(process::sample).transpose()?;
        allow_files(options.steps.last().copied().unwrap_or_default() as u64 + SPARE_FILES)?;
        let setup = |error: std::io::Error| LoadError::Setup(error.to_string());
        let bind = match options.bind {
            Some(bind) => bind,
            None => local_address(endpoint.address).map_err(setup)?,
        };
        let crypto = keying::crypto_provider();
        // One certificate for all: making one costs more than a handshake.
        let certificate = crypto
            .dtls_provider
            .generate_certificate()
            .ok_or_else(|| LoadError::Setup("no DTLS certificate could be made".to_owned()))?;
        let kit = Kit {
            crypto,
            certificate,
            bind,
            lanes: options.lanes,
            feedback: options.feedback,
            batched: options.join_datagrams,
        };
        let drivers = (0..options.threads).map(|n| Driver::start(format!("viewers-{n}")).map(Arc::new));
        let drivers = drivers.collect::<Result<_, _>>().map_err(setup)?;
        let own = if_addrs::get_if_addrs().map_err(setup)?.iter().map(if_addrs::Interface::ip).collect();
        Ok(Self {
            options,
            endpoint,
            kit: Arc::new(kit),
            own: Arc::new(own),
            drivers,
            pid,
            before,
            joined: 0,
            sessions: Vec::new(),
            without_url: 0,
            told: HashSet::new(),
        })
    }

    async fn step<F: Future<Output = ()>>(
        &mut self,
        viewers: usize,
        stop: &mut Stop<'_, F>,
    ) -> Result<StepReport, LoadError> {
        let first = self.joined;
        let mut failures = BTreeMap::new();
        self.ramp(viewers, stop, &mut failures).await;
        self.settle(stop).await?;
        for driver in &self.drivers {
            driver.begin_window()?;
        }
        let begin = self.moment().await?;
        if begin.viewers().any(is_playing) {
            stop.sleep_until(begin.at + self.options.hold).await;
        }
        let end = self.moment().await?;
        self.note_failures(&end, first, &mut failures);
        let mut report = self.report(viewers, first, &begin, &end, failures);
        report.interrupted = stop.stopped;
        Ok(report)
    }

    /// Lets viewers join until there were `viewers` of them, failed ones included.
    async fn ramp<F: Future<Output = ()>>(
        &mut self,
        viewers: usize,
        stop: &mut Stop<'_, F>,
        failures: &mut BTreeMap<String, usize>,
    ) {
        let begin = Instant::now();
        let first = self.joined;
        let mut joining = JoinSet::new();
        while self.joined < viewers {
            let due = begin + Duration::from_secs_f64((self.joined - first) as f64 / self.options.rate_per_s);
            if stop.sleep_until(due).await {
                break;
            }
            while let Some(done) = joining.try_join_next() {
                self.take(done, failures);
            }
            if joining.len() >= MAX_IN_FLIGHT
                && let Some(done) = joining.join_next().await
            {
                self.take(done, failures);
            }
            let driver = Arc::clone(&self.drivers[self.joined % self.drivers.len()]);
            let (kit, own) = (Arc::clone(&self.kit), Arc::clone(&self.own));
            joining.spawn(join(
                self.joined,
                kit,
                self.endpoint.clone(),
                driver,
                own,
                self.options.allow_remote,
            ));
            self.joined += 1;
        }
        // Also when it is to end: each of these may have a session to delete. Every one is bounded in time.
        while let Some(done) = joining.join_next().await {
            self.take(done, failures);
        }
    }

    fn take(
        &mut self,
        done: Result<(Option<Url>, Result<(), JoinError>), tokio::task::JoinError>,
        failures: &mut BTreeMap<String, usize>,
    ) {
        let reason = match done {
            Ok((session, result)) => {
                self.without_url += usize::from(session.is_none() && result.is_ok());
                self.sessions.extend(session);
                result.err().map(|error| error.to_string())
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(reason) = reason {
            *failures.entry(reason).or_default() += 1;
        }
    }

    /// Waits until every viewer has a picture or has failed.
    async fn settle<F: Future<Output = ()>>(&self, stop: &mut Stop<'_, F>) -> Result<(), LoadError> {
        let deadline = Instant::now() + SETTLE;
        while Instant::now() < deadline {
            let now = self.snapshots().await?;
            let settled = |viewer: &Figures| viewer.broken.is_some() || has_all(viewer);
            if now.iter().flat_map(|thread| &thread.viewers).all(settled) {
                break;
            }
            if stop.sleep_until(Instant::now() + LOOK).await {
                break;
            }
        }
        Ok(())
    }

    async fn snapshots(&self) -> Result<Vec<Snapshot>, LoadError> {
        let mut threads = Vec::with_capacity(self.drivers.len());
        for driver in &self.drivers {
            threads.push(driver.snapshot().await?);
        }
        Ok(threads)
    }

    async fn moment(&self) -> Result<Moment, LoadError> {
        let server = self.pid.map(process::sample).transpose()?;
        let machine = process::machine();
        let threads = self.snapshots().await?;
        let ports = threads.iter().flat_map(|thread| &thread.viewers).map(|viewer| viewer.port).collect();
        Ok(Moment {
            at: Instant::now(),
            threads,
            server,
            machine,
            receive_drops: process::receive_drops(&ports),
        })
    }

    /// Adds what befell viewers since this was last asked, and what those from `first` on never got.
    fn note_failures(&mut self, end: &Moment, first: usize, failures: &mut BTreeMap<String, usize>) {
        for viewer in end.viewers() {
            let reason = match &viewer.broken {
                Some(broken) => broken.to_string(),
                None if viewer.id < first || has_all(viewer) => continue,
                None if viewer.marks.first_packet.is_none() => "connected, but no media came".to_owned(),
                None => "packets came, but no keyframe".to_owned(),
            };
            if self.told.insert(viewer.id) {
                *failures.entry(reason).or_default() += 1;
            }
        }
    }

    fn report(
        &self,
        viewers: usize,
        first: usize,
        begin: &Moment,
        end: &Moment,
        failures: BTreeMap<String, usize>,
    ) -> StepReport {
        let hold_s = (end.at - begin.at).as_secs_f64();
        let playing = end.viewers().filter(|viewer| is_playing(viewer)).count();
        let new: Vec<_> = end.viewers().filter(|viewer| viewer.id >= first).collect();
        let spread = |mark: fn(&Figures) -> Option<Duration>| Spread::of(new.iter().filter_map(|v| mark(v)));
        let total = |figure: fn(&Figures) -> u64| {
            let sum = |moment: &Moment| moment.viewers().map(figure).sum::<u64>();
            sum(end).saturating_sub(sum(begin))
        };
        let packets = total(|v| v.packets.delivered);
        let lost = total(|v| v.packets.expected).saturating_sub(packets);
        let bytes = total(|v| v.bytes);
        let tool = tool_report(begin, end);
        StepReport {
            viewers,
            playing,
            failures,
            hold_s,
            interrupted: false,
            answer_ms: spread(|v| v.marks.answered),
            connected_ms: spread(|v| v.marks.connected),
            first_packet_ms: spread(|v| v.marks.first_packet),
            first_keyframe_ms: spread(|v| v.marks.first_keyframe),
            latency_ms: Spread::of(end.threads.iter().flat_map(|thread| &thread.latencies).copied()),
            longest_gap_ms: Spread::of(end.viewers().filter(|v| is_playing(v)).map(|v| v.longest_gap)),
            packets,
            bytes,
            lost,
            loss_percent: percent(lost as f64, (packets + lost) as f64),
            duplicates: total(|v| v.packets.duplicates),
            reordered: total(|v| v.packets.reordered),
            repair_packets: total(|v| v.repair_packets),
            timestamps_back: end.viewers().map(|v| v.steps_back).sum(),
            total_packets: end.viewers().map(|v| v.packets.delivered).sum(),
            total_lost: end.viewers().map(|v| v.packets.lost()).sum(),
            mbit_per_s: bytes as f64 * 8.0 / 1e6 / hold_s,
            packets_per_s: packets as f64 / hold_s,
            server: self.server_report(begin, end, packets, playing),
            limits: tool.limits(),
            tool,
        }
    }

    fn server_report(
        &self,
        begin: &Moment,
        end: &Moment,
        packets: u64,
        playing: usize,
    ) -> Option<ServerReport> {
        let (before, begin_sample, sample) = (self.before?, begin.server?, end.server?);
        let cpu = sample.cpu.saturating_sub(begin_sample.cpu).as_secs_f64();
        Some(ServerReport {
            pid: self.pid?,
            cpu_s: cpu,
            cpu_percent: percent(cpu, (end.at - begin.at).as_secs_f64()),
            cpu_us_per_packet: (packets > 0).then(|| cpu * 1e6 / packets as f64),
            rss_bytes: sample.rss_bytes,
            rss_bytes_per_viewer: (playing > 0)
                .then(|| sample.rss_bytes.saturating_sub(before.rss_bytes) as f64 / playing as f64),
            threads: [before.threads, sample.threads],
            fds: [before.fds, sample.fds],
        })
    }

    /// Deletes all sessions.
    async fn leave(self) -> Farewell {
        let mut farewell =
            Farewell { deleted: 0, not_deleted: BTreeMap::new(), without_url: self.without_url };
        let mut note = |done: Result<Result<(), RequestError>, tokio::task::JoinError>| {
            let reason = match done {
                Ok(Ok(())) => {
                    farewell.deleted += 1;
                    return;
                }
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            *farewell.not_deleted.entry(reason).or_default() += 1;
        };
        let mut deleting = JoinSet::new();
        for session in self.sessions {
            if deleting.len() >= DELETING
                && let Some(done) = deleting.join_next().await
            {
                note(done);
            }
            let endpoint = self.endpoint.clone();
            deleting.spawn(async move { endpoint.delete(session).await });
        }
        while let Some(done) = deleting.join_next().await {
            note(done);
        }
        if farewell.without_url > 0 {
            for driver in &self.drivers {
                if let Err(gone) = driver.close() {
                    tracing::warn!(%gone, "viewers leave without a word");
                }
            }
        }
        farewell
    }
}

/// Opens one viewer. The session is told also when its answer was of no use: it must be deleted all the same.
async fn join(
    id: usize,
    kit: Arc<Kit>,
    endpoint: Endpoint,
    driver: Arc<Driver>,
    own: Arc<HashSet<IpAddr>>,
    allow_remote: bool,
) -> (Option<Url>, Result<(), JoinError>) {
    let (mut viewer, offer) = match Viewer::open(id, &kit) {
        Ok(opened) => opened,
        Err(error) => return (None, Err(JoinError::Socket(error))),
    };
    let opened = match endpoint.open(offer).await {
        Ok(opened) => opened,
        Err(error) => return (None, Err(error.into())),
    };
    let accept = || {
        let answer = Answer::read(&opened.answer)?;
        let candidates = usable(&answer.candidates, kit.bind, &own, allow_remote);
        if candidates.is_empty() {
            let found: Vec<_> = answer.candidates.iter().map(SocketAddr::to_string).collect();
            let found = if found.is_empty() { "none".to_owned() } else { found.join(" ") };
            return Err(JoinError::NoCandidate { bind: kit.bind, found });
        }
        viewer.accept(answer, &candidates, opened.took);
        Ok(driver.add(viewer)?)
    };
    let result = accept();
    (opened.session, result)
}

/// The candidates that may be tried from `bind`: its own family, and this machine unless others are allowed. From a loopback address
/// only loopback addresses can answer, so others are left out where there are such.
fn usable(
    candidates: &[SocketAddr],
    bind: IpAddr,
    own: &HashSet<IpAddr>,
    allow_remote: bool,
) -> Vec<SocketAddr> {
    let here = |ip: IpAddr| ip.is_loopback() || own.contains(&ip);
    let allowed = |c: &&SocketAddr| {
        c.is_ipv4() == bind.is_ipv4() && !c.ip().is_unspecified() && (allow_remote || here(c.ip()))
    };
    let allowed: Vec<_> = candidates.iter().filter(allowed).copied().collect();
    let near: Vec<_> = allowed.iter().filter(|c| c.ip().is_loopback()).copied().collect();
    if bind.is_loopback() && !near.is_empty() { near } else { allowed }
}

/// It has all that it can have.
const fn has_all(viewer: &Figures) -> bool {
    let marks = &viewer.marks;
    marks.first_packet.is_some() && (marks.first_keyframe.is_some() || !viewer.video_agreed)
}

const fn is_playing(viewer: &Figures) -> bool {
    viewer.broken.is_none() && viewer.marks.connected.is_some() && viewer.marks.first_packet.is_some()
}

fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole * 100.0 } else { 0.0 }
}

fn tool_report(begin: &Moment, end: &Moment) -> ToolReport {
    let threads = begin.threads.iter().zip(&end.threads).map(|(from, to)| {
        percent(to.cpu.saturating_sub(from.cpu).as_secs_f64(), (to.at - from.at).as_secs_f64())
    });
    let machine = begin.machine.zip(end.machine);
    ToolReport {
        threads_percent: threads.collect(),
        receive_drops: end.receive_drops.saturating_sub(begin.receive_drops),
        machine_percent: machine.map(|((busy0, all0), (busy1, all1))| {
            percent(busy1.saturating_sub(busy0) as f64, all1.saturating_sub(all0) as f64)
        }),
    }
}

/// Raises the number of files this process may open, as far as it is allowed to.
fn allow_files(wanted: u64) -> Result<(), LoadError> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|maximum| maximum < wanted) {
        return Err(LoadError::Setup(format!(
            "{wanted} open files are needed; raise the limit (ulimit -Hn)"
        )));
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum })
        .map_err(|error| LoadError::Setup(format!("{wanted} open files are needed: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn only_candidates_of_this_machine_are_tried_unless_allowed() {
        let read = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let all = read(&["10.0.0.5:1", "203.0.113.9:1", "127.0.0.1:1", "[::1]:1", "0.0.0.0:1"]);
        let own = HashSet::from(["10.0.0.5".parse().unwrap()]);
        let loopback: IpAddr = Ipv4Addr::LOCALHOST.into();
        let lan: IpAddr = "10.0.0.5".parse().unwrap();
        assert_eq!(usable(&all, loopback, &own, false), read(&["127.0.0.1:1"]));
        assert_eq!(usable(&all[..2], loopback, &own, false), read(&["10.0.0.5:1"]));
        assert_eq!(usable(&all, lan, &own, false), read(&["10.0.0.5:1", "127.0.0.1:1"]));
        assert_eq!(usable(&all, lan, &own, true), read(&["10.0.0.5:1", "203.0.113.9:1", "127.0.0.1:1"]));
        assert_eq!(usable(&all, Ipv6Addr::LOCALHOST.into(), &own, false), read(&["[::1]:1"]));
    }
}
