//! A child process whose output is kept, and that ends, with all its children, together with its handle.

use std::collections::VecDeque;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::network::Place;
use crate::{proc, wait};

/// Lines kept of a process: enough for a whole test's log, bounded all the same.
const KEPT_LINES: usize = 4000;
/// Lines shown when the handle goes; the test runner shows them only for a test that failed.
const SHOWN_LINES: usize = 120;
/// How long the last lines of a process that has ended may take to be read; a child of its own may hold the pipe open.
const READ_OUT: Duration = Duration::from_secs(1);

type Lines = Arc<Mutex<VecDeque<String>>>;

/// A running child process.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: u32,
    child: Child,
    lines: Lines,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts `command`; its standard output and error are collected line by line.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(name: &str, mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}: {command:?}"))?;
        let pid = child.id().context("a process just started has an id")?;
        let lines = Lines::default();
        let readers =
            [collect(child.stdout.take(), lines.clone()), collect(child.stderr.take(), lines.clone())];
        Ok(Self {
            name: name.to_owned(),
            pid,
            child,
            lines,
            readers: readers.into_iter().flatten().collect(),
        })
    }

    /// The same in another place, if one is given.
    ///
    /// # Errors
    /// When it cannot be started there.
    pub fn spawn_in(place: Option<&Place>, name: &str, command: Command) -> Result<Self> {
        match place {
            Some(place) => place.within(|| Self::spawn(name, command)),
            None => Self::spawn(name, command),
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it has written so far, both outputs, oldest first (the last 4000 lines).
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no holder of this lock panics").iter().cloned().collect()
    }

    /// Waits until it has written a line of which `find` makes something.
    ///
    /// # Errors
    /// When `limit` passes or the process ends before.
    pub async fn line<T>(
        &mut self,
        what: &str,
        limit: Duration,
        find: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let lines = self.lines.clone();
        let pid = self.pid;
        let look = || {
            let found =
                lines.lock().expect("no holder of this lock panics").iter().find_map(|line| find(line));
            async move {
                match found {
                    Some(found) => Ok(Some(Ok(found))),
                    None if !proc::is_alive(pid) => Ok(Some(Err("it has ended"))),
                    None => Ok(None),
                }
            }
        };
        let found = wait::until(&format!("{} to print {what}", self.name), limit, look).await?;
        match found {
            Ok(found) => Ok(found),
            Err(why) => {
                bail!("{} did not print {what}: {why}; its output:\n{}", self.name, self.lines().join("\n"))
            }
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end; its last words are there then.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub async fn exit(&mut self, limit: Duration) -> Result<ExitStatus> {
        let ended = tokio::time::timeout(limit, self.child.wait()).await;
        let status =
            ended.with_context(|| format!("{} still runs after {limit:?}", self.name))?.context("wait")?;
        for reader in self.readers.drain(..) {
            let _ = tokio::time::timeout(READ_OUT, reader).await;
        }
        Ok(status)
    }

    /// Asks it to end (SIGTERM) and waits.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub async fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        proc::terminate(self.pid);
        self.exit(limit).await
    }

    /// Kills it with SIGKILL: it cannot say goodbye to anyone.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("kill {}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The children first: once their parent is dead nobody could say whose they were.
        if matches!(self.child.try_wait(), Ok(None)) {
            for pid in proc::descendants(self.pid) {
                proc::kill(pid);
            }
            proc::kill(self.pid);
        }
        let lines = self.lines();
        let from = lines.len().saturating_sub(SHOWN_LINES);
        show(&format!(
            "--- output of {} ({} lines, the last {}):",
            self.name,
            lines.len(),
            lines.len() - from
        ));
        for line in &lines[from..] {
            show(line);
        }
    }
}

/// Writes a line for whoever reads a test's output.
#[allow(clippy::print_stderr, reason = "the output of a test is for the person who runs it")]
pub fn show(line: &str) {
    eprintln!("{line}");
}

fn collect(output: Option<impl AsyncRead + Unpin + Send + 'static>, lines: Lines) -> Option<JoinHandle<()>> {
    let output = output?;
    Some(tokio::spawn(async move {
        let mut reader = BufReader::new(output);
        let mut buffer = Vec::new();
        while matches!(reader.read_until(b'\n', &mut buffer).await, Ok(read) if read > 0) {
            let line = String::from_utf8_lossy(&buffer).trim_end().to_owned();
            buffer.clear();
            let mut lines = lines.lock().expect("no holder of this lock panics");
            if lines.len() == KEPT_LINES {
                lines.pop_front();
            }
            lines.push_back(line);
        }
    }))
}
