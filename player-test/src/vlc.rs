//! VLC without a window, asked over its remote control what it has shown.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::getuid;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

use crate::proc;
use crate::process::Process;
use crate::viewing::Played;
use crate::wait;

/// How long VLC may take to answer one question.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// In the last line of its statistics.
const END_OF_STATISTICS: &str = "end of statistical info";
/// VLC refuses to run as root; this user always exists.
const UNPRIVILEGED: &str = "nobody";

/// Plays `url` until VLC has shown `wanted` pictures and sounds, and tells what it has shown.
///
/// # Errors
/// When VLC does not start, ends by itself, or has shown less after `limit` (the text says how much).
pub async fn play(url: &str, wanted: Played, limit: Duration) -> Result<Played> {
    let home = TempDir::new()?;
    if getuid().is_root() {
        std::os::unix::fs::chown(home.path(), Some(nobody()?), None)?;
    }
    let control = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let process = Process::spawn("vlc", command(home.path(), url, control))?;
    let shown = wait::until(&format!("VLC to show {wanted:?}"), limit, async || {
        if !proc::is_alive(process.pid()) {
            return Ok(Some(None));
        }
        let played = statistics(control).await?;
        if played.reaches(&wanted) { Ok(Some(Some(played))) } else { bail!("so far {played:?}") }
    })
    .await?;
    shown.with_context(|| format!("VLC has ended by itself: {}", process.lines().join("\n")))
}

fn command(home: &Path, url: &str, control: SocketAddr) -> Command {
    let mut command = if getuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", UNPRIVILEGED, "--regid", "nogroup", "--clear-groups", "cvlc"]);
        command
    } else {
        Command::new("cvlc")
    };
    command.args(["--intf", "oldrc", "--rc-fake-tty", "--rc-host", &control.to_string(), "--no-rc-show-pos"]);
    command.args([
        "--vout",
        "dummy",
        "--aout",
        "dummy",
        "--no-video-title-show",
        "--avcodec-hw",
        "none",
        url,
    ]);
    command.env("HOME", home).env("XDG_RUNTIME_DIR", home).env("XDG_CONFIG_HOME", home).env_remove("DISPLAY");
    command.current_dir("/");
    command
}

/// The user id of [`UNPRIVILEGED`], from passwd(5).
fn nobody() -> Result<u32> {
    let users = std::fs::read_to_string("/etc/passwd")?;
    let line =
        users.lines().find(|line| line.split(':').next() == Some(UNPRIVILEGED)).context("no user nobody")?;
    Ok(line.split(':').nth(2).context("passwd(5)")?.parse()?)
}

async fn statistics(control: SocketAddr) -> Result<Played> {
    let ask = async {
        let mut connection = TcpStream::connect(control).await?;
        connection.write_all(b"stats\n").await?;
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let read = connection.read(&mut piece).await?;
            answer.extend_from_slice(&piece[..read]);
            let text = String::from_utf8_lossy(&answer);
            if read == 0 || text.contains(END_OF_STATISTICS) {
                return Ok::<String, std::io::Error>(text.into_owned());
            }
        }
    };
    let text = tokio::time::timeout(ANSWER_LIMIT, ask).await.context("VLC's remote control is silent")??;
    let number = |key: &str| -> u64 {
        let line = text.lines().find(|line| line.contains(key));
        line.and_then(|line| line.rsplit(':').next()?.trim().parse().ok()).unwrap_or(0)
    };
    Ok(Played { pictures: number("frames displayed"), sounds: number("buffers played") })
}
