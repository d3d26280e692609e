//! `skywave bench`: a publisher without an encoder that times the keyframe requests, and crowds of viewers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use tokio::process::Command;

use crate::contract::{self, CrowdSeen, FeedSeen};
use crate::process::Process;

/// For the connection, and for the goodbye of many sessions.
const MARGIN: Duration = Duration::from_secs(40);

/// A recorded stream that is published in a loop; it is killed when this goes.
#[derive(Debug)]
pub struct Feed {
    process: Process,
}

impl Feed {
    /// Publishes so many bits per second of VP8, and Opus, to `whip_url`, and waits until it is on air.
    ///
    /// # Errors
    /// When it does not get that far.
    pub async fn start(whip_url: &str, bits_per_second: u32) -> Result<Self> {
        let mut command = Command::new(contract::binary()?);
        command.args(contract::feed_arguments(whip_url, bits_per_second));
        let mut process = Process::spawn("skywave bench whip", command)?;
        process
            .line("that it is on air", MARGIN, |line| (line == contract::FEED_ON_AIR).then_some(()))
            .await?;
        Ok(Self { process })
    }

    /// Ends it; gives what it was asked for.
    ///
    /// # Errors
    /// When it does not end, or failed before.
    pub async fn stop(mut self) -> Result<FeedSeen> {
        let status = self.process.terminate(Duration::from_secs(10)).await?;
        ensure!(status.success(), "the publisher failed: {:?}", self.process.lines().last());
        last_json(&self.process)
    }
}

/// Lets `viewers` join `whep_url`, so many a second, and watch for `hold`; gives what they saw.
///
/// # Errors
/// When it does not end in time, or no viewer could be measured. Viewers that failed are in what it gives.
pub async fn crowd(whep_url: &str, viewers: u32, per_second: u32, hold: Duration) -> Result<CrowdSeen> {
    let mut command = Command::new(contract::binary()?);
    command.args(contract::crowd_arguments(whep_url, viewers, per_second, hold));
    let mut process = Process::spawn("skywave bench whep", command)?;
    let joining = Duration::from_secs(u64::from(viewers.div_ceil(per_second)));
    process.exit(joining + hold + MARGIN).await?;
    last_json(&process)
}

/// The last line that a process wrote as JSON.
fn last_json<T: DeserializeOwned>(process: &Process) -> Result<T> {
    let lines = process.lines();
    let json = lines.iter().rev().find(|line| line.starts_with('{')).context("it told nothing")?;
    serde_json::from_str(json).with_context(|| json.clone())
}
