//! `skywave publish`: a WebRTC peer (webrtcbin) that is not the server's own stack, with faults on demand.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::process::Command;

use crate::contract::{self, TestPublish};
use crate::network::Place;
use crate::process::Process;

/// A running `skywave publish`; it is killed when this goes.
#[derive(Debug)]
pub struct Publisher {
    process: Process,
}

impl Publisher {
    /// Publishes the test source (a white flash and a 1 kHz beep of 100 ms at each full second) to `whip_url`.
    ///
    /// # Errors
    /// When there is no binary.
    pub fn start(whip_url: &str, what: &TestPublish) -> Result<Self> {
        Self::launch(whip_url, what, None)
    }

    /// The same from another place.
    ///
    /// # Errors
    /// When there is no binary.
    pub fn start_in(place: &Place, whip_url: &str, what: &TestPublish) -> Result<Self> {
        Self::launch(whip_url, what, Some(place))
    }

    fn launch(whip_url: &str, what: &TestPublish, place: Option<&Place>) -> Result<Self> {
        let mut command = Command::new(contract::binary()?);
        command.args(what.arguments(whip_url));
        let stream = whip_url.rsplit('/').next().unwrap_or(whip_url);
        Ok(Self { process: Process::spawn_in(place, &format!("skywave publish to {stream}"), command)? })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Fails when it has ended before its time.
    ///
    /// # Errors
    /// With its last words.
    pub fn still_runs(&mut self) -> Result<()> {
        if !self.process.is_running() {
            bail!("the publisher has ended: {}", self.process.lines().last().cloned().unwrap_or_default());
        }
        Ok(())
    }

    /// Waits for its end by itself, and that it was a good one.
    ///
    /// # Errors
    /// When it still runs after `limit`, or failed.
    pub async fn finish(&mut self, limit: Duration) -> Result<()> {
        let status = self.process.exit(limit).await?;
        if !status.success() {
            bail!(
                "the publisher failed: {status}; {}",
                self.process.lines().last().cloned().unwrap_or_default()
            );
        }
        Ok(())
    }

    /// Asks it to unpublish and end.
    ///
    /// # Errors
    /// When it still runs after 10 s.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.terminate(Duration::from_secs(10)).await.map(drop)
    }

    /// SIGKILL: no DELETE, no DTLS close, just silence.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn vanish(&mut self) -> Result<()> {
        self.process.kill().await
    }
}
