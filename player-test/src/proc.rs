//! What `/proc` says of a process: threads, file descriptors, memory, children.

use std::fs;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// What one process holds at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Threads, the main one included.
    pub threads: usize,
    /// Open file descriptors.
    pub fds: usize,
    /// Child processes of any depth.
    pub children: usize,
    /// Resident memory in bytes.
    pub rss_bytes: u64,
}

/// Reads what the process `pid` holds now (its own memory only, not its children's).
///
/// # Errors
/// When the process is gone.
pub fn read(pid: u32) -> Result<Reading> {
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid}"))?;
    let number = |key: &str| -> Result<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let digits =
            line.and_then(|rest| rest.split_whitespace().next()).with_context(|| format!("no {key}"))?;
        Ok(digits.parse()?)
    };
    Ok(Reading {
        threads: usize::try_from(number("Threads:")?)?,
        fds: fs::read_dir(format!("/proc/{pid}/fd"))?.count(),
        children: descendants(pid).len(),
        rss_bytes: number("VmRSS:")? * 1024,
    })
}

/// Whether `pid` runs (a zombie does not).
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    parent_and_state(pid).is_some_and(|(_, state)| state != 'Z')
}

/// The children of `pid`, their children and so on, without zombies.
#[must_use]
pub fn descendants(pid: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let all: Vec<(u32, u32)> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|child| {
            parent_and_state(child).filter(|(_, state)| *state != 'Z').map(|(parent, _)| (child, parent))
        })
        .collect();
    let mut found = vec![pid];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(all.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
        next += 1;
    }
    found.split_off(1)
}

/// CPU time of the process itself in seconds, user and system (ended children not included).
///
/// # Errors
/// When the process is gone.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    // proc(5): fields 14 and 15, in clock ticks, of which Linux has 100 a second on every architecture Debian has.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| -> Result<f64> { Ok(fields.get(index).context("short stat")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

/// Sends SIGKILL; a process that is gone already is fine.
pub fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// Sends SIGSTOP: the process hangs until it is killed.
pub fn freeze(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::STOP);
    }
}

/// Sends SIGTERM; a process that is gone already is fine.
pub fn terminate(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
}

fn parent_and_state(pid: u32) -> Option<(u32, char)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may hold anything: what counts follows the last bracket.
    let mut fields = stat.rsplit(')').next()?.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((fields.next()?.parse().ok()?, state))
}
