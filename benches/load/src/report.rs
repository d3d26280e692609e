//! The figures of one step, as one JSON line and as rows of a table.

use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// How values are spread. Percentiles are by nearest rank: each is a value that was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Half are no greater.
    pub p50: f64,
    /// 95 % are no greater.
    pub p95: f64,
    /// 99 % are no greater.
    pub p99: f64,
    /// The greatest.
    pub max: f64,
    /// How many there were.
    pub count: usize,
}

impl Spread {
    /// Of durations, in milliseconds; `None` when there are none.
    pub(crate) fn of(durations: impl IntoIterator<Item = Duration>) -> Option<Self> {
        let mut sorted: Vec<_> = durations.into_iter().collect();
        sorted.sort_unstable();
        let rank = |percent: usize| {
            let at = (sorted.len() * percent).div_ceil(100).max(1) - 1;
            sorted.get(at).map(|value| value.as_secs_f64() * 1e3)
        };
        Some(Self { p50: rank(50)?, p95: rank(95)?, p99: rank(99)?, max: rank(100)?, count: sorted.len() })
    }
}

/// What was measured at one number of viewers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepReport {
    /// Viewers that should watch.
    pub viewers: usize,
    /// Viewers that do: connected and with packets, at the end of the step.
    pub playing: usize,
    /// What went wrong since the step began, and how often.
    pub failures: BTreeMap<String, usize>,
    /// Length of the measured time, in seconds.
    pub hold_s: f64,
    /// It ended before its time.
    pub interrupted: bool,
    /// Request to answer, of the viewers that joined in this step; all spreads of time in milliseconds.
    pub answer_ms: Option<Spread>,
    /// Request to ICE and DTLS done.
    pub connected_ms: Option<Spread>,
    /// Request to the first media packet.
    pub first_packet_ms: Option<Spread>,
    /// Request to the last packet of the first keyframe.
    pub first_keyframe_ms: Option<Spread>,
    /// From just before the publisher sent a video packet to its arrival at a viewer's socket, while it was measured: what the server adds.
    /// Only when `skywave bench whip` on the same machine publishes; one packet in 31 is asked.
    pub latency_ms: Option<Spread>,
    /// The longest time without video (or without audio, when there is no video), of all viewers, while it was measured.
    pub longest_gap_ms: Option<Spread>,
    /// Media packets delivered while it was measured.
    pub packets: u64,
    /// Their UDP payload.
    pub bytes: u64,
    /// Packets that never came, by gaps in the sequence numbers.
    pub lost: u64,
    /// Those, of all that should have come.
    pub loss_percent: f64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets that came late.
    pub reordered: u64,
    /// Retransmissions and padding.
    pub repair_packets: u64,
    /// Video packets, in order of sequence numbers, whose timestamp is earlier than that of the packet before, since the first viewer
    /// joined: B-frames, which WebRTC players do not expect, or a clock that was set back.
    pub timestamps_back: u64,
    /// Media packets delivered since the first viewer joined, in this step and before.
    pub total_packets: u64,
    /// Packets that never came since then.
    pub total_lost: u64,
    /// UDP payload of media, to all viewers together.
    pub mbit_per_s: f64,
    /// Media packets, to all viewers together.
    pub packets_per_s: f64,
    /// The server's process, when it was named.
    pub server: Option<ServerReport>,
    /// The tool itself.
    pub tool: ToolReport,
    /// Reasons not to trust the figures; empty when neither the tool nor the machine was the limit.
    pub limits: Vec<String>,
}

/// What the server's process cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServerReport {
    /// Its id.
    pub pid: u32,
    /// User and system time while it was measured, in seconds.
    pub cpu_s: f64,
    /// The same as a share of one core.
    pub cpu_percent: f64,
    /// Microseconds of processor time for each packet delivered.
    pub cpu_us_per_packet: Option<f64>,
    /// Resident memory at the end of the step.
    pub rss_bytes: u64,
    /// What was added to it since before the first viewer, for each viewer that plays.
    pub rss_bytes_per_viewer: Option<f64>,
    /// Threads before the first viewer, and at the end of the step.
    pub threads: [u64; 2],
    /// Open files before the first viewer, and at the end of the step.
    pub fds: [u64; 2],
}

/// What the tool cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolReport {
    /// Share of a core of each receiving thread, in per cent.
    pub threads_percent: Vec<f64>,
    /// Datagrams that found a receive buffer of the tool full while it was measured.
    pub receive_drops: u64,
    /// Share of the whole machine that was busy, in per cent.
    pub machine_percent: Option<f64>,
}

impl ToolReport {
    /// A thread that is busier is taken for the limit.
    const THREAD_LIMIT_PERCENT: f64 = 90.0;
    /// The same for the machine: server and tool then fight for the processor.
    const MACHINE_LIMIT_PERCENT: f64 = 97.0;

    /// Where the tool or the machine was the limit, in words.
    pub(crate) fn limits(&self) -> Vec<String> {
        let mut limits = Vec::new();
        let busiest = self.threads_percent.iter().copied().fold(0.0, f64::max);
        if busiest > Self::THREAD_LIMIT_PERCENT {
            limits
                .push(format!("a receiving thread of the tool was {busiest:.0} % busy: use more --threads"));
        }
        if self.receive_drops > 0 {
            let drops = self.receive_drops;
            limits.push(format!(
                "{drops} datagrams found the tool's receive buffers full: part of the loss is its own"
            ));
        }
        if let Some(machine) = self.machine_percent.filter(|m| *m > Self::MACHINE_LIMIT_PERCENT) {
            limits.push(format!("the machine was {machine:.0} % busy: times are those of a full machine"));
        }
        limits
    }
}

impl StepReport {
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
        let mut lines = vec![format!(
            "{} viewers: {} playing, {:.1} s measured{}",
            self.viewers,
            self.playing,
            self.hold_s,
            if self.interrupted { ", interrupted" } else { "" }
        )];
        lines.push(format!(
            "  {:.1} Mbit/s, {:.0} packets/s; lost {} ({:.3} %), repeated {}, late {}",
            self.mbit_per_s,
            self.packets_per_s,
            self.lost,
            self.loss_percent,
            self.duplicates,
            self.reordered
        ));
        lines.push(format!("  {:<16} {:>9} {:>9} {:>9} {:>9} {:>7}", "ms", "p50", "p95", "p99", "max", "of"));
        for (name, spread) in [
            ("answer", &self.answer_ms),
            ("connected", &self.connected_ms),
            ("first packet", &self.first_packet_ms),
            ("first keyframe", &self.first_keyframe_ms),
            ("latency", &self.latency_ms),
            ("longest gap", &self.longest_gap_ms),
        ] {
            lines.push(match spread {
                Some(s) => format!(
                    "  {name:<16} {:>9.1} {:>9.1} {:>9.1} {:>9.1} {:>7}",
                    s.p50, s.p95, s.p99, s.max, s.count
                ),
                None => format!("  {name:<16} {:>9} {:>9} {:>9} {:>9} {:>7}", "-", "-", "-", "-", 0),
            });
        }
        if let Some(server) = &self.server {
            lines.push(server.line());
        }
        if self.timestamps_back > 0 {
            lines.push(format!("  timestamps step back {} times: B-frames?", self.timestamps_back));
        }
        let threads: Vec<_> = self.tool.threads_percent.iter().map(|p| format!("{p:.0} %")).collect();
        let machine = self.tool.machine_percent.map_or_else(|| "-".to_owned(), |p| format!("{p:.0} %"));
        lines.push(format!(
            "  tool: threads {}; machine {machine} busy; {} receive drops",
            threads.join(", "),
            self.tool.receive_drops
        ));
        lines.extend(self.failures.iter().map(|(reason, count)| format!("  failed: {count} x {reason}")));
        lines.extend(self.limits.iter().map(|limit| format!("  LIMIT: {limit}")));
        lines.join("\n")
    }
}

impl ServerReport {
    fn line(&self) -> String {
        let cost = self.cpu_us_per_packet.map_or_else(|| "-".to_owned(), |us| format!("{us:.2}"));
        let memory =
            self.rss_bytes_per_viewer.map_or_else(|| "-".to_owned(), |b| format!("{:.1}", b / 1024.0));
        format!(
            "  server {}: {:.1} % of a core, {cost} us per packet; {:.1} MB RSS, {memory} KiB a viewer; \
             threads {} -> {}, fds {} -> {}",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let spread = Spread::of((1..=200).rev().map(Duration::from_millis)).unwrap();
        assert_eq!((spread.p50, spread.p95, spread.p99, spread.max), (100.0, 190.0, 198.0, 200.0));
        let one = Spread::of([Duration::from_micros(1500)]).unwrap();
        assert_eq!((one.p50, one.p99, one.count), (1.5, 1.5, 1));
        assert_eq!(Spread::of([]), None);
    }

    fn report() -> StepReport {
        let tool = ToolReport { threads_percent: vec![95.0], receive_drops: 3, machine_percent: Some(99.0) };
        StepReport {
            viewers: 2,
            playing: 1,
            failures: BTreeMap::from([("404 Not Found".to_owned(), 1)]),
            hold_s: 10.0,
            interrupted: false,
            answer_ms: Spread::of([Duration::from_millis(5)]),
            connected_ms: None,
            first_packet_ms: None,
            first_keyframe_ms: None,
            latency_ms: Spread::of([Duration::from_micros(700)]),
            longest_gap_ms: None,
            packets: 1700,
            bytes: 2_000_000,
            lost: 17,
            loss_percent: 1.0,
            duplicates: 0,
            reordered: 0,
            repair_packets: 0,
            timestamps_back: 4,
            total_packets: 1800,
            total_lost: 17,
            mbit_per_s: 1.6,
            packets_per_s: 170.0,
            server: Some(ServerReport {
                pid: 7,
                cpu_s: 0.5,
                cpu_percent: 5.0,
                cpu_us_per_packet: Some(294.117),
                rss_bytes: 20_000_000,
                rss_bytes_per_viewer: Some(102_400.0),
                threads: [5, 6],
                fds: [10, 11],
            }),
            limits: tool.limits(),
            tool,
        }
    }

    #[test]
    fn a_step_is_one_line_of_json() {
        let line = report().json_line().unwrap();
        assert!(!line.contains('\n'));
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["failures"]["404 Not Found"], 1);
        assert_eq!(read["server"]["cpu_us_per_packet"], 294.117);
        assert_eq!(read["answer_ms"]["p95"], 5.0);
        assert_eq!(read["latency_ms"]["p99"], 0.7);
        assert!(read["connected_ms"].is_null());
        assert_eq!(read["limits"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn the_table_says_what_was_measured_what_failed_and_what_was_the_limit() {
        let table = report().table();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines[0], "2 viewers: 1 playing, 10.0 s measured");
        assert!(
            table.contains("  answer                 5.0       5.0       5.0       5.0       1\n"),
            "{table}"
        );
        assert!(
            table.contains("  latency                0.7       0.7       0.7       0.7       1\n"),
            "{table}"
        );
        assert!(
            table.contains("  connected                -         -         -         -       0\n"),
            "{table}"
        );
        assert!(table.contains("294.12 us per packet; 20.0 MB RSS, 100.0 KiB a viewer"), "{table}");
        assert!(table.contains("  failed: 1 x 404 Not Found\n"), "{table}");
        assert!(table.contains("  timestamps step back 4 times: B-frames?\n"), "{table}");
        assert_eq!(table.matches("LIMIT: ").count(), 3, "{table}");
    }

    #[test]
    fn a_tool_at_ease_is_no_limit() {
        let tool = ToolReport { threads_percent: vec![89.0, 3.0], receive_drops: 0, machine_percent: None };
        assert!(tool.limits().is_empty());
    }
}
