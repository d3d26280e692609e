//! What is known of one recording: the JSON beside it, and the API's document.

use serde::{Deserialize, Serialize};
use skywave_media::name::StreamName;
use std::path::{Path, PathBuf};
use utoipa::ToSchema;

/// Version of this document's form.
pub(crate) const VERSION: u32 = 1;

/// One recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Recording)]
pub(crate) struct Manifest {
    /// Version of this document's form: 1.
    pub(crate) version: u32,
    /// Its name beside others of the stream.
    #[schema(example = "mfr0x2ab")]
    pub(crate) id: String,
    /// Stream name.
    #[schema(value_type = String)]
    pub(crate) stream: StreamName,
    pub(crate) state: State,
    /// What its file is.
    #[serde(default)]
    pub(crate) container: Container,
    /// What went wrong, or why it ended early; null when nothing did.
    #[schema(required = true)]
    pub(crate) reason: Option<String>,
    /// When it begins (RFC 3339, UTC).
    #[schema(format = DateTime)]
    pub(crate) begun: String,
    /// The same, in microseconds since 1970.
    pub(crate) begun_us: i64,
    /// How long it is, in milliseconds; grows while it is recorded.
    pub(crate) duration_ms: u64,
    /// Size of its file, in bytes.
    pub(crate) bytes: u64,
    /// Its tracks; none while it is recorded.
    pub(crate) tracks: Vec<Track>,
    /// SHA-256 of its file, in hexadecimal digits; null until it is finished.
    #[schema(required = true)]
    pub(crate) sha256: Option<String>,
    /// Is never removed to make room, nor for its age.
    pub(crate) protected: bool,
    /// Its pictures for lists and seek bars.
    #[serde(default)]
    pub(crate) pictures: Pictures,
}

/// Whether a recording has pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = RecordingPictures)]
pub(crate) enum Pictures {
    /// Not yet, or it is sound alone.
    #[default]
    None,
    /// It has.
    Ready,
    /// They could not be made; the log says why.
    Failed,
}

/// What the file of a recording is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = RecordingContainer)]
pub(crate) enum Container {
    /// H.264 and AAC, as HLS has them.
    #[default]
    Mp4,
    /// What was published, as it was: WebM, or with H.264 Matroska.
    Webm,
}

/// Where a recording is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = RecordingState)]
pub(crate) enum State {
    /// It grows.
    Recording,
    /// It has ended, and is made a file that plays everywhere.
    Finalising,
    /// It can be played.
    Ready,
    /// It can be played; a crash had cut it off.
    Repaired,
    /// It could not be finished; what was recorded is kept.
    Failed,
}

/// One track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = RecordingTrack)]
pub(crate) struct Track {
    /// `video` or `audio`.
    pub(crate) kind: String,
    /// As MP4 names it: `avc1`, `mp4a`.
    pub(crate) codec: String,
    /// Coded frames.
    pub(crate) samples: u32,
    /// How long it is, in milliseconds.
    pub(crate) duration_ms: u64,
    /// Width of the picture, in pixels; 0 for sound.
    pub(crate) width: u16,
    /// Height of the picture, in pixels; 0 for sound.
    pub(crate) height: u16,
}

impl Manifest {
    /// Whether it is the kind that HLS and clips are made of.
    pub(crate) fn is_mp4(&self) -> bool {
        self.container == Container::Mp4
    }

    /// Whether it can be played.
    pub(crate) const fn is_playable(&self) -> bool {
        matches!(self.state, State::Ready | State::Repaired)
    }
}

/// The files of one recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files {
    folder: PathBuf,
    id: String,
}

impl Files {
    /// Those of the recording `id` in a stream's folder.
    pub(crate) fn new(folder: &Path, id: &str) -> Self {
        Self { folder: folder.to_owned(), id: id.to_owned() }
    }

    /// The folder they lie in.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is recorded, while it is.
    pub(crate) fn part(&self) -> PathBuf {
        self.folder.join(format!("{}.part", self.id))
    }

    /// The finished file.
    pub(crate) fn mp4(&self) -> PathBuf {
        self.folder.join(format!("{}.mp4", self.id))
    }

    /// The finished file of an archive.
    pub(crate) fn webm(&self) -> PathBuf {
        self.folder.join(format!("{}.webm", self.id))
    }

    /// The finished file.
    pub(crate) fn finished(&self, container: Container) -> PathBuf {
        match container {
            Container::Mp4 => self.mp4(),
            Container::Webm => self.webm(),
        }
    }

    /// The finished file while it is written.
    pub(crate) fn tmp(&self) -> PathBuf {
        self.folder.join(format!("{}.mp4.tmp", self.id))
    }

    /// What is imported, while it is.
    pub(crate) fn import(&self) -> PathBuf {
        self.folder.join(format!("{}.import", self.id))
    }

    /// The picture that stands for it.
    pub(crate) fn thumb(&self) -> PathBuf {
        self.folder.join(format!("{}.jpg", self.id))
    }

    /// The sheet of small pictures.
    pub(crate) fn sprite(&self) -> PathBuf {
        self.folder.join(format!("{}.sprite.jpg", self.id))
    }

    /// Where in the sheet which time is.
    pub(crate) fn vtt(&self) -> PathBuf {
        self.folder.join(format!("{}.vtt", self.id))
    }

    /// The manifest.
    pub(crate) fn json(&self) -> PathBuf {
        self.folder.join(format!("{}.json", self.id))
    }
}

/// Whether a word can be a recording's id: letters, digits and hyphens, no more than 40.
pub(crate) fn is_id(word: &str) -> bool {
    (1..=40).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::is_id;

    #[test]
    fn an_id_never_leaves_its_folder() {
        assert!(is_id("mfr0x2ab") && is_id("mfr0x2ab-2"));
        for bad in ["", ".", "..", "a/b", "a.mp4", &"x".repeat(41)] {
            assert!(!is_id(bad), "{bad}");
        }
    }
}
