//! What a child process has cost.

use crate::Failure;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use rustix::time::{ClockId, clock_gettime};
use skywave_media::time::Mono;
use std::process::Child;
use std::time::Duration;

/// Ticks a second of the CPU times in `/proc` (`USER_HZ`, 100 on every Linux that Debian ships).
const USER_HZ: u32 = 100;

/// One run of one program.
pub(crate) struct Cost {
    /// User and system time of all its threads.
    pub(crate) cpu: Duration,
    /// The most memory it had, in kB.
    pub(crate) peak_rss_kb: u64,
    /// From its start until it took frames.
    pub(crate) ready: Option<Duration>,
    /// From each picture's time to its coming back, in milliseconds, of a live run.
    pub(crate) delays_ms: Vec<f64>,
}

/// Waits for the child's end and reads what it has cost.
pub(crate) fn cost_of(mut child: Child, ready: Option<Duration>) -> Result<Cost, Failure> {
    let pid = Pid::from_child(&child);
    let mut peak_rss_kb = 0;
    loop {
        // Memory is gone when the process is; CPU times stay until it is reaped.
        if let Some(kb) = peak_rss(child.id()) {
            peak_rss_kb = kb;
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        if waitid(WaitId::Pid(pid), options)?.is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
    // The second field, a name in parentheses, may hold anything; proc(5) counts utime and stime as 14 and 15.
    let (_, fields) = stat.rsplit_once(')').ok_or("proc stat")?;
    let ticks: u32 = fields.split_whitespace().skip(11).take(2).map(|f| f.parse().unwrap_or(0)).sum();
    let status = child.wait()?;
    if !status.success() {
        return Err(format!("{status}").into());
    }
    Ok(Cost { cpu: Duration::from_secs(1) * ticks / USER_HZ, peak_rss_kb, ready, delays_ms: Vec::new() })
}

fn peak_rss(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The clock that the worker shares.
pub(crate) fn now() -> Mono {
    let time = clock_gettime(ClockId::Monotonic);
    Mono::from_nanos(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
}

/// The middle value; zero of none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Median, 95th and 99th percentile, in words.
pub(crate) fn spread(values_ms: &[f64]) -> String {
    let mut values = values_ms.to_vec();
    values.sort_by(f64::total_cmp);
    let at = |percent: usize| values.get(values.len() * percent / 100).copied().unwrap_or_default();
    format!("p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms of {} pictures", at(50), at(95), at(99), values.len())
}
