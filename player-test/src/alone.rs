//! A test that runs once more, alone, in a namespace of its own.

use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

/// Set for the process inside: where to leave a word when the scenario has come to its end.
const INSIDE: &str = "PLAYER_TEST_ALONE";
/// That word.
const DONE: &str = "done";

/// Starts the calling test once more in a new namespace (`flag` is one of `unshare`'s), where `scenario` runs; `F` names the test.
///
/// # Errors
/// Those of the scenario, and when the system makes no namespace: the text says what it takes.
pub(crate) fn run<F>(flag: &str, scenario: F) -> Result<()>
where
    F: AsyncFnOnce() -> Result<()>,
{
    if let Some(word) = std::env::var_os(INSIDE) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(scenario())?;
        return Ok(std::fs::write(word, DONE)?);
    }
    let thread = std::thread::current();
    let test = thread.name().context("a test's thread has its name")?;
    let word = NamedTempFile::new()?;
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args([flag, "--"]).arg(std::env::current_exe()?).args(["--exact", test, "--nocapture"]);
    let status = command.env(INSIDE, word.path()).status().context("unshare (package util-linux)")?;
    if std::fs::read_to_string(word.path())? == DONE && status.success() {
        return Ok(());
    }
    bail!(
        "{test} failed in a namespace of its own ({status}); if unshare was refused: this system lets nobody but root make namespaces"
    )
}
