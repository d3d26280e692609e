//! `skywave play`: a WebRTC viewer (webrtcbin) that is neither a browser nor the server's own stack.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::contract::{self, PlaySeen, TestPlay};
use crate::network::Place;
use crate::process::Process;

/// Connecting, and saying goodbye, beside the time that is watched.
const MARGIN: Duration = Duration::from_secs(30);

/// A running `skywave play`; it is killed when this goes.
#[derive(Debug)]
pub struct Viewer {
    process: Process,
    watches: Duration,
}

impl Viewer {
    /// Watches `whep_url`.
    ///
    /// # Errors
    /// When there is no binary.
    pub fn start(whep_url: &str, what: &TestPlay) -> Result<Self> {
        Self::launch(whep_url, what, None)
    }

    /// The same in another place.
    ///
    /// # Errors
    /// When there is no binary.
    pub fn start_in(place: &Place, whep_url: &str, what: &TestPlay) -> Result<Self> {
        Self::launch(whep_url, what, Some(place))
    }

    fn launch(whep_url: &str, what: &TestPlay, place: Option<&Place>) -> Result<Self> {
        let mut command = Command::new(contract::binary()?);
        command.args(what.arguments(whep_url));
        let stream = whep_url.rsplit('/').next().unwrap_or(whep_url);
        let process = Process::spawn_in(place, &format!("skywave play of {stream}"), command)?;
        Ok(Self { process, watches: Duration::from_secs(u64::from(what.duration_s)) })
    }

    /// Waits for its end by itself; gives what it saw.
    ///
    /// # Errors
    /// When it still runs long after its time, decoded nothing, or lost the connection: with its last words.
    pub async fn finish(mut self) -> Result<PlaySeen> {
        let status = self.process.exit(self.watches + MARGIN).await?;
        if !status.success() {
            bail!("the viewer failed: {status}; {}", self.last_words());
        }
        self.seen()
    }

    /// Asks it to end (SIGTERM); gives what it saw.
    ///
    /// # Errors
    /// When it still runs after 10 s, decoded nothing, or lost the connection: with its last words.
    pub async fn stop(mut self) -> Result<PlaySeen> {
        let status = self.process.terminate(Duration::from_secs(10)).await?;
        if !status.success() {
            bail!("the viewer failed: {status}; {}", self.last_words());
        }
        self.seen()
    }

    fn last_words(&self) -> String {
        self.process.lines().last().cloned().unwrap_or_default()
    }

    fn seen(&self) -> Result<PlaySeen> {
        let lines = self.process.lines();
        let json = lines.iter().rev().find(|line| line.starts_with('{')).context("it told nothing")?;
        serde_json::from_str(json).with_context(|| json.clone())
    }
}
