//! A disk of a test's own that is small enough to be filled.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::alone;

/// A file system in memory, which nobody but this test and its children sees.
#[derive(Debug)]
pub struct SmallDisk(TempDir);

/// Runs the test's scenario with a disk of its own: starts this test once more, alone, in a new mount namespace.
///
/// # Errors
/// Those of the scenario, and when the system makes no namespace: the text says what it takes.
pub fn on_a_small_disk<F>(bytes: u64, scenario: F) -> Result<()>
where
    F: AsyncFnOnce(SmallDisk) -> Result<()>,
{
    alone::run("--mount", async || scenario(SmallDisk::new(bytes)?).await)
}

impl SmallDisk {
    fn new(bytes: u64) -> Result<Self> {
        let folder = TempDir::new()?;
        let size = format!("size={bytes}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path());
        ensure!(mount.status().context("mount")?.success(), "no tmpfs could be mounted");
        Ok(Self(folder))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Fills it but for `left` bytes; the file to remove when there is to be room again.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn fill(&self, left: u64) -> Result<PathBuf> {
        let stat = rustix::fs::statvfs(self.path())?;
        let path = self.path().join("filler");
        let mut file = File::create(&path)?;
        let mut bytes = (stat.f_bavail * stat.f_frsize).saturating_sub(left);
        let block = vec![1; 1 << 20];
        while bytes > 0 {
            let now = usize::try_from(bytes)?.min(block.len());
            file.write_all(&block[..now])?;
            bytes -= now as u64;
        }
        Ok(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The namespace goes with the process, and the mount with it; this lets the folder be removed before.
        let _gone_with_the_process = Command::new("umount").arg(self.path()).status();
    }
}
