//! What `/proc` says of the server, of this machine, and of the tool's own sockets. Linux only, like the figures.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The kernel counts processor time for user space in hundredths of a second, whatever its own tick is (`USER_HZ`, proc(5)).
const USER_HZ: u64 = 100;

/// Which process is the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerProcess {
    /// By its id.
    Pid(u32),
    /// By its name, as in `/proc/PID/comm`; there must be one.
    Name(String),
}

/// Why the server's figures cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// There is no such process.
    #[error("no process is called {0:?}")]
    NotFound(String),
    /// The name is not enough.
    #[error("several processes are called {name:?}: {pids:?}; give one with --pid")]
    Ambiguous {
        /// The name.
        name: String,
        /// Their ids.
        pids: Vec<u32>,
    },
    /// Its files cannot be read: it is gone, or somebody else's.
    #[error("process {pid} cannot be read: {source}")]
    Unreadable {
        /// Its id.
        pid: u32,
        /// What the system said.
        source: std::io::Error,
    },
    /// They are not what they should be.
    #[error("/proc/{pid}/{file} is not understood")]
    Malformed {
        /// The id.
        pid: u32,
        /// Which file.
        file: &'static str,
    },
}

/// A process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// User and system time of all its threads so far.
    pub(crate) cpu: Duration,
    pub(crate) rss_bytes: u64,
    pub(crate) threads: u64,
    pub(crate) fds: u64,
}

impl ServerProcess {
    /// Its id.
    pub(crate) fn pid(&self) -> Result<u32, ProcessError> {
        let name = match self {
            Self::Pid(pid) => return Ok(*pid),
            Self::Name(name) => name,
        };
        let entries = fs::read_dir("/proc").map_err(|source| ProcessError::Unreadable { pid: 0, source })?;
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let own = std::process::id();
        let named = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name)
        };
        let mut pids: Vec<_> = pids.filter(|pid| *pid != own).filter(named).collect();
        pids.sort_unstable();
        match pids[..] {
            [] => Err(ProcessError::NotFound(name.clone())),
            [pid] => Ok(pid),
            _ => Err(ProcessError::Ambiguous { name: name.clone(), pids }),
        }
    }
}

/// Reads a process.
pub(crate) fn sample(pid: u32) -> Result<Sample, ProcessError> {
    let unreadable = |source| ProcessError::Unreadable { pid, source };
    let directory = Path::new("/proc").join(pid.to_string());
    let stat = fs::read_to_string(directory.join("stat")).map_err(unreadable)?;
    let status = fs::read_to_string(directory.join("status")).map_err(unreadable)?;
    let fds = fs::read_dir(directory.join("fd")).map_err(unreadable)?.count() as u64;
    let (cpu, threads) = read_stat(&stat).ok_or(ProcessError::Malformed { pid, file: "stat" })?;
    let rss_bytes = read_rss(&status).ok_or(ProcessError::Malformed { pid, file: "status" })?;
    Ok(Sample { cpu, rss_bytes, threads, fds })
}

/// Processor time and number of threads of `/proc/PID/stat`.
fn read_stat(stat: &str) -> Option<(Duration, u64)> {
    // The name in brackets may hold anything, brackets too: fields are counted from the last one (proc(5)).
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    // Fields 14 and 15 of the manual, then 20; the state, behind the bracket, is the third.
    let ticks = number(11)? + number(12)?;
    Some((Duration::from_millis(ticks * 1000 / USER_HZ), number(17)?))
}

/// `VmRSS` of `/proc/PID/status`, in bytes.
fn read_rss(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Processor time of the whole machine so far: busy and all of it. `None` where there is no `/proc/stat`.
pub(crate) fn machine() -> Option<(u64, u64)> {
    read_machine(&fs::read_to_string("/proc/stat").ok()?)
}

fn read_machine(stat: &str) -> Option<(u64, u64)> {
    let ticks: Vec<u64> = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace()
        .filter_map(|t| t.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq steal; guest time is part of user time already.
    let all: u64 = ticks.iter().take(8).sum();
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some((all - idle, all))
}

/// Datagrams that found the receive buffer of a socket on one of `ports` full, since those sockets were opened.
pub(crate) fn receive_drops(ports: &HashSet<u16>) -> u64 {
    ["/proc/net/udp", "/proc/net/udp6"]
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .map(|table| read_drops(&table, ports))
        .sum()
}

fn read_drops(table: &str, ports: &HashSet<u16>) -> u64 {
    let drops = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let port = u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()?;
        ports.contains(&port).then(|| fields.last()?.parse::<u64>().ok())?
    });
    drops.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_blanks_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 900 0 2 0 250 31 0 0 20 0 6 0 100 1000 200 18446744073709551615";
        assert_eq!(read_stat(stat), Some((Duration::from_millis(2810), 6)));
        assert_eq!(read_stat("7 (a) S 1"), None);
        assert_eq!(read_rss("Name:\tx\nVmRSS:\t   17236 kB\n"), Some(17_236 * 1024));
    }

    #[test]
    fn drops_are_those_of_our_ports() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
            1: 0100007F:1F90 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0 5\n\
            2: 0100007F:1F91 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0 70\n";
        assert_eq!(read_drops(table, &HashSet::from([0x1f90])), 5);
        assert_eq!(read_drops(table, &HashSet::from([0x1f90, 0x1f91])), 75);
    }

    #[test]
    fn the_machine_is_busy_when_it_is_not_idle() {
        assert_eq!(read_machine("cpu  10 1 5 80 4 0 0 0 3 0\ncpu0 1"), Some((16, 100)));
    }

    #[test]
    fn this_process_can_be_read_and_a_missing_one_is_an_error() {
        let sample = sample(std::process::id()).unwrap();
        assert!(sample.threads >= 1 && sample.fds >= 3 && sample.rss_bytes > 1 << 20);
        assert!(matches!(super::sample(u32::MAX), Err(ProcessError::Unreadable { .. })));
        let name = ServerProcess::Name("no such process".to_owned());
        assert!(matches!(name.pid(), Err(ProcessError::NotFound(_))));
    }
}
