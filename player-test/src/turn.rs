//! coturn, as an operator runs it beside Skywave.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;
use tokio::process::Command;

use crate::process::Process;

/// Where it listens, over UDP and TCP (RFC 8656 section 3.2).
pub const PORT: u16 = 3478;

/// How long it may take to start.
const START_LIMIT: Duration = Duration::from_secs(20);

/// A running TURN server. It is killed when this goes.
#[derive(Debug)]
pub struct Turn {
    process: Process,
    _folder: TempDir,
}

impl Turn {
    /// Listens on [`PORT`] of `address`, and relays from there, for whoever has credentials made with `secret`.
    ///
    /// # Errors
    /// When coturn is not installed or does not start.
    pub async fn start(address: Ipv4Addr, secret: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let mut command = Command::new("turnserver");
        command.current_dir(folder.path()).args([
            // No configuration file of the machine's, no files but in the folder.
            "-n",
            "--pidfile=",
            &format!("--userdb={}", folder.path().join("users").display()),
            "--log-file=stdout",
            "--verbose",
            "--no-cli",
            "--no-tls",
            "--no-dtls",
            "--no-multicast-peers",
            &format!("--listening-ip={address}"),
            &format!("--relay-ip={address}"),
            &format!("--listening-port={PORT}"),
            "--realm=player-test",
            "--use-auth-secret",
            &format!("--static-auth-secret={secret}"),
        ]);
        let mut process = Process::spawn("turnserver", command)?;
        let listens = |line: &str| line.contains("TCP listener opened").then_some(());
        process.line("that it listens", START_LIMIT, listens).await?;
        Ok(Self { process, _folder: folder })
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.process.lines()
    }
}
