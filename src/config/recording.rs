//! `[storage]` and `[recording]`.

use serde::{Deserialize, Serialize};
use skywave_media::recording::{Gap, RecorderConfig};
use skywave_media::webm::archive::ArchiveConfig;
use std::path::PathBuf;
use std::time::Duration;

/// `[storage]`: where the server keeps what outlives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Storage {
    /// The folder of recordings; made when it is first needed.
    pub(crate) data_dir: PathBuf,
}

/// `[recording]`: what is recorded, and how long it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Recording {
    /// Record every stream from its beginning.
    pub(crate) enabled: bool,
    /// Keep what is recorded as it was published, too: WebM beside the MP4.
    pub(crate) archive: bool,
    /// The time in which nobody published: kept, or left out.
    pub(crate) gap: GapName,
    /// A file that is as long goes over into the next one, in seconds; 0: never.
    pub(crate) rotate_s: u64,
    /// The same by size, in bytes; 0: never.
    pub(crate) rotate_bytes: u64,
    /// Recordings older than this are removed, in seconds; 0: never.
    pub(crate) keep_s: u64,
    /// Most that all recordings together may take, in bytes; 0: no bound.
    pub(crate) keep_bytes: u64,
    /// Least that stays free on the disk, in bytes.
    pub(crate) free_floor_bytes: u64,
    /// Make pictures of each finished recording.
    pub(crate) pictures: bool,
}

/// See [`Gap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GapName {
    /// Real time stays real time.
    Keep,
    /// It is left out.
    Close,
}

impl Default for Storage {
    fn default() -> Self {
        Self { data_dir: PathBuf::from("skywave-data") }
    }
}

impl Default for Recording {
    fn default() -> Self {
        Self {
            enabled: false,
            archive: false,
            gap: GapName::Keep,
            rotate_s: 43_200,
            rotate_bytes: 0,
            keep_s: 0,
            keep_bytes: 0,
            free_floor_bytes: 1 << 30,
            pictures: true,
        }
    }
}

impl Recording {
    /// The recorder's part of the configuration.
    pub(crate) fn recorder(&self) -> RecorderConfig {
        RecorderConfig {
            gap: match self.gap {
                GapName::Keep => Gap::Keep,
                GapName::Close => Gap::Close,
            },
            rotate_after: (self.rotate_s > 0).then(|| Duration::from_secs(self.rotate_s)),
            rotate_bytes: (self.rotate_bytes > 0).then_some(self.rotate_bytes),
        }
    }

    /// The archiver's part of it.
    pub(crate) fn archiver(&self) -> ArchiveConfig {
        let RecorderConfig { rotate_after, rotate_bytes, .. } = self.recorder();
        ArchiveConfig { rotate_after, rotate_bytes }
    }

    /// Every value that cannot work.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.rotate_s != 0 && !(10..=86_400).contains(&self.rotate_s) {
            problems.push(format!(
                "recording.rotate_s = {} must be 0 (never) or between 10 and 86400",
                self.rotate_s
            ));
        }
        if self.rotate_bytes != 0 && self.rotate_bytes < 1 << 20 {
            problems.push(format!(
                "recording.rotate_bytes = {} must be 0 (never) or at least 1048576",
                self.rotate_bytes
            ));
        }
        problems
    }
}
