//! What the kernel knows of this process, read from `/proc`.

use std::fs;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// One reading. What cannot be read is `None`.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Process {
    /// User and system time, in seconds.
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) virtual_bytes: Option<u64>,
    pub(super) threads: Option<u64>,
    pub(super) open_fds: Option<u64>,
    pub(super) max_fds: Option<u64>,
    /// Seconds since 1970-01-01.
    pub(super) start_seconds: f64,
}

impl Process {
    /// Reads `/proc/self`.
    pub(super) fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        // The folder that is being read is itself one descriptor.
        let open_fds = fs::read_dir("/proc/self/fd").ok().map(|found| found.count() as u64 - 1);
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        Self {
            cpu_seconds: cpu_ticks(&stat).map(|ticks| ticks as f64 / ticks_per_second as f64),
            resident_bytes: field(&status, "VmRSS:").map(|kib| kib * 1024),
            virtual_bytes: field(&status, "VmSize:").map(|kib| kib * 1024),
            threads: field(&status, "Threads:"),
            open_fds,
            max_fds: rustix::process::getrlimit(rustix::process::Resource::Nofile).current,
            start_seconds: start_seconds(&stat, ticks_per_second),
        }
    }
}

/// When the process started: the boot time of the kernel and the ticks from there.
fn start_seconds(stat: &str, ticks_per_second: u64) -> f64 {
    /// The first reading's time stands in where `/proc` has none.
    static FIRST: LazyLock<f64> = LazyLock::new(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
    });
    let kernel = fs::read_to_string("/proc/stat").unwrap_or_default();
    // proc_pid_stat(5): field 22 is `starttime`.
    match (field(&kernel, "btime "), stat_field(stat, 22)) {
        (Some(boot), Some(ticks)) => boot as f64 + ticks as f64 / ticks_per_second as f64,
        _ => *FIRST,
    }
}

/// Fields 14 and 15 of proc_pid_stat(5): user and system time, in clock ticks.
fn cpu_ticks(stat: &str) -> Option<u64> {
    Some(stat_field(stat, 14)? + stat_field(stat, 15)?)
}

/// A field by its number in proc_pid_stat(5). The second is the command in parentheses and may have any character in it, so
/// counting begins after the last parenthesis.
fn stat_field(stat: &str, number: usize) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

/// The first number after `name` at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "4242 (sky) (wave) S 1 4242 1 0 -1 4194560 100 0 0 0 1234 766 0 0 20 0 9 0 5000 1 2 3";

    #[test]
    fn a_command_with_parentheses_shifts_no_field() {
        assert_eq!(cpu_ticks(STAT), Some(2_000));
        assert_eq!(stat_field(STAT, 22), Some(5_000));
        assert_eq!(cpu_ticks("nonsense"), None);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let status = "Name:\tVmRSS: 7\nVmPeak:\t  10 kB\nVmRSS:\t    2048 kB\nThreads:\t9\n";
        assert_eq!((field(status, "VmRSS:"), field(status, "Threads:")), (Some(2048), Some(9)));
        assert_eq!(field(status, "VmSize:"), None);
    }

    #[test]
    fn this_very_process_can_be_read() {
        let process = Process::read();
        assert!(process.cpu_seconds.is_some_and(|seconds| seconds >= 0.0));
        assert!(process.resident_bytes.zip(process.virtual_bytes).is_some_and(|(r, v)| 100_000 < r && r < v));
        assert!(process.threads.is_some_and(|threads| threads >= 1));
        assert!(process.open_fds.zip(process.max_fds).is_some_and(|(open, max)| 3 <= open && open < max));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - 86_400.0..=now + 5.0).contains(&process.start_seconds), "{}", process.start_seconds);
    }
}
