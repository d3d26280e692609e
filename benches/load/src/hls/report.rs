//! The figures of one step, as one JSON line and as rows of a table.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::report::Spread;

/// What was measured at one number of players.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HlsStepReport {
    /// Players that should play.
    pub players: usize,
    /// Players that do, at the end of the step.
    pub playing: usize,
    /// What went wrong since the step began, and how often.
    pub failures: BTreeMap<String, usize>,
    /// Length of the measured time, seconds.
    pub hold_s: f64,
    /// It ended before its time.
    pub interrupted: bool,
    /// From a player's first request to as much media as the server recommends (`PART-HOLD-BACK`), of those that began in this step; all
    /// spreads in milliseconds.
    pub started_ms: Option<Spread>,
    /// Answers to blocking requests, each after the first player's answer for the same place: how wide the release is spread.
    pub playlist_after_ms: Option<Spread>,
    /// Parts, each after the first player had it or the playlist that lists it.
    pub part_after_ms: Option<Spread>,
    /// Requests answered with success.
    pub requests: u64,
    /// Answers to blocking requests among them.
    pub playlists: u64,
    /// Parts among them.
    pub parts: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// How often a player's buffer was empty.
    pub stalls: u64,
    /// How long, all together.
    pub stalled_s: f64,
    /// Answers to blocking requests in the fullest 20 ms, against the mean of all.
    pub release_peak_over_mean: Option<f64>,
    /// The same for the slice of 20 ms that 99 % of all do not exceed.
    pub release_p99_over_mean: Option<f64>,
    /// Of all players together.
    pub requests_per_s: f64,
    /// Of all players together.
    pub mbit_per_s: f64,
    /// The server's process, when it was named.
    pub server: Option<HlsServerReport>,
    /// The tool itself.
    pub tool: HlsToolReport,
    /// Reasons not to trust the figures.
    pub limits: Vec<String>,
}

/// What the server's process cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HlsServerReport {
    /// Its id.
    pub pid: u32,
    /// User and system time while it was measured, seconds.
    pub cpu_s: f64,
    /// The same as a share of one core.
    pub cpu_percent: f64,
    /// Microseconds of processor time for each request; what the publisher costs is in it.
    pub cpu_us_per_request: Option<f64>,
    /// Resident memory at the end of the step.
    pub rss_bytes: u64,
    /// What was added to it since before the first player, for each player that plays.
    pub rss_bytes_per_player: Option<f64>,
    /// Threads before the first player, and at the end of the step.
    pub threads: [u64; 2],
    /// Open files before the first player, and at the end of the step.
    pub fds: [u64; 2],
}

/// What the tool cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HlsToolReport {
    /// Share of a core; it works on one.
    pub cpu_percent: Option<f64>,
    /// Share of the whole machine that was busy, in per cent.
    pub machine_percent: Option<f64>,
}

impl HlsToolReport {
    /// A busier tool is taken for the limit.
    const TOOL_LIMIT_PERCENT: f64 = 85.0;
    /// The same for the machine: server and tool then fight for the processor.
    const MACHINE_LIMIT_PERCENT: f64 = 97.0;

    pub(super) fn limits(&self) -> Vec<String> {
        let mut limits = Vec::new();
        if let Some(percent) = self.cpu_percent.filter(|percent| *percent > Self::TOOL_LIMIT_PERCENT) {
            limits.push(format!("the tool was {percent:.0} % of a core busy: times are partly its own"));
        }
        if let Some(percent) = self.machine_percent.filter(|percent| *percent > Self::MACHINE_LIMIT_PERCENT) {
            limits.push(format!("the machine was {percent:.0} % busy: times are those of a full machine"));
        }
        limits
    }
}

impl HlsStepReport {
    /// The report as one line of JSON.
    ///
    /// # Errors
    /// None in practice: all fields have a JSON form.
    pub fn json_line(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// The report for people, some lines without an end of line at the end.
    #[must_use]
    pub fn table(&self) -> String {
        let interrupted = if self.interrupted { ", interrupted" } else { "" };
        let mut lines = vec![format!(
            "{} players: {} playing, {:.1} s measured{interrupted}",
            self.players, self.playing, self.hold_s
        )];
        lines.push(format!(
            "  {:.0} requests/s ({} playlists, {} parts), {:.1} Mbit/s; {} stalls, {:.2} s together",
            self.requests_per_s, self.playlists, self.parts, self.mbit_per_s, self.stalls, self.stalled_s
        ));
        lines.push(format!("  {:<16} {:>9} {:>9} {:>9} {:>9} {:>7}", "ms", "p50", "p95", "p99", "max", "of"));
        for (name, spread) in [
            ("started", &self.started_ms),
            ("playlist after", &self.playlist_after_ms),
            ("part after", &self.part_after_ms),
        ] {
            lines.push(match spread {
                Some(s) => format!(
                    "  {name:<16} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>7}",
                    s.p50, s.p95, s.p99, s.max, s.count
                ),
                None => format!("  {name:<16} {:>9} {:>9} {:>9} {:>9} {:>7}", "-", "-", "-", "-", 0),
            });
        }
        let ratio = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.1}"));
        lines.push(format!(
            "  release, in 20 ms: peak {} x the mean, 99 % within {} x",
            ratio(self.release_peak_over_mean),
            ratio(self.release_p99_over_mean)
        ));
        lines.extend(self.server.as_ref().map(HlsServerReport::line));
        let percent = |percent: Option<f64>| {
            percent.map_or_else(|| "-".to_owned(), |percent| format!("{percent:.0} %"))
        };
        let (tool, machine) = (percent(self.tool.cpu_percent), percent(self.tool.machine_percent));
        lines.push(format!("  tool: {tool} of a core; machine {machine} busy"));
        lines.extend(self.failures.iter().map(|(reason, count)| format!("  failed: {count} x {reason}")));
        lines.extend(self.limits.iter().map(|limit| format!("  LIMIT: {limit}")));
        lines.join("\n")
    }
}

impl HlsServerReport {
    fn line(&self) -> String {
        let cost = self.cpu_us_per_request.map_or_else(|| "-".to_owned(), |us| format!("{us:.1}"));
        let memory = self
            .rss_bytes_per_player
            .map_or_else(|| "-".to_owned(), |bytes| format!("{:.1}", bytes / 1024.0));
        format!(
            "  server {}: {:.1} % of a core, {cost} us per request; {:.1} MB RSS, {memory} KiB a player; threads {} -> {}, fds {} -> {}",
            self.pid,
            self.cpu_percent,
            self.rss_bytes as f64 / 1e6,
            self.threads[0],
            self.threads[1],
            self.fds[0],
            self.fds[1]
        )
    }
}
