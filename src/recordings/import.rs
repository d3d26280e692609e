//! A recording that is made of foreign files while no server uses the folder.
//!
//! Until it is whole it is one file, `{id}.import`, which no recovery takes for a recording: whatever ends an import early, nothing is left that
//! anybody could mistake for one, and the next start or import removes the file.

use super::manifest::{Container, Files, Manifest, Pictures, State, VERSION, is_id};
use super::{complete, disk, finisher, millis, pictures, remove_files};
use crate::config::Config;
use skywave_media::hls::date_time;
use skywave_media::name::StreamName;
use skywave_media::time::UnixTime;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The room on the disk is looked at after so many bytes.
const ROOM_BYTES: u64 = 64 << 20;

/// Why nothing can be imported.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error("a server uses {0}; stop it first, or import into another folder (--data-dir) and copy")]
    Locked(PathBuf),
    #[error(
        "the disk is too full: {free} bytes are free, {wanted} are needed, and {floor} stay free (recording.free_floor_bytes)"
    )]
    Full { free: u64, wanted: u64, floor: u64 },
    #[error("cannot write to {0}: {1}")]
    Io(PathBuf, io::Error),
    #[error("what was made of it cannot be finished: {0}")]
    Finish(#[from] finisher::Failure),
}

/// A folder of recordings that is held by this process.
pub(crate) struct Held {
    root: PathBuf,
    floor: u64,
    _lock: File,
}

/// A recording that grows. Dropped before [`Import::finish`], it leaves nothing behind.
pub(crate) struct Import<'a> {
    held: &'a Held,
    files: Files,
    manifest: Manifest,
    out: Option<File>,
    bytes: u64,
    looked: u64,
}

impl Held {
    /// Takes the folder; makes it if there is none.
    pub(crate) fn take(config: &Config) -> Result<Self, ImportError> {
        let root = super::root(config);
        let lock =
            disk::lock(&root.with_extension("lock")).map_err(|error| ImportError::Io(root.clone(), error))?;
        let lock = lock.ok_or_else(|| ImportError::Locked(root.clone()))?;
        let held = Self { root, floor: config.recording.free_floor_bytes, _lock: lock };
        fs::create_dir_all(&held.root).map_err(|error| held.io(error))?;
        Ok(held)
    }

    /// A file without a name, on the disk of the recordings: it is gone with whoever holds it.
    pub(crate) fn scratch(&self) -> Result<File, ImportError> {
        let path = self.root.join(format!("scratch-{}.import", std::process::id()));
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(|error| self.io(error))?;
        fs::remove_file(&path).map_err(|error| self.io(error))?;
        Ok(file)
    }

    /// Fails when so many bytes more would fill the disk.
    pub(crate) fn room_for(&self, wanted: u64) -> Result<(), ImportError> {
        let free = disk::free_bytes(&self.root).map_err(|error| self.io(error))?;
        match free.checked_sub(self.floor) {
            Some(room) if room >= wanted => Ok(()),
            _ => Err(ImportError::Full { free, wanted, floor: self.floor }),
        }
    }

    /// A new recording of the stream, named by the time when it begins.
    pub(crate) fn begin(&self, stream: &StreamName, begun: UnixTime) -> Result<Import<'_>, ImportError> {
        let folder = self.root.join(stream.as_str());
        fs::create_dir_all(&folder).map_err(|error| self.io(error))?;
        let taken = ids(&folder).map_err(|error| self.io(error))?;
        let take = crate::stream::take_id(begun);
        let id = std::iter::once(take.as_str().to_owned())
            .chain((2..).map(|number: u32| format!("{}-{number}", take.as_str())))
            .find(|id| !taken.contains(id))
            .expect("the numbers do not end");
        let files = Files::new(&folder, &id);
        let out = File::create_new(files.import()).map_err(|error| self.io(error))?;
        let manifest = Manifest {
            version: VERSION,
            id,
            stream: stream.clone(),
            state: State::Finalising,
            container: Container::Mp4,
            reason: None,
            begun: date_time(begun),
            begun_us: begun.as_micros(),
            duration_ms: 0,
            bytes: 0,
            tracks: Vec::new(),
            sha256: None,
            protected: false,
            pictures: Pictures::None,
        };
        Ok(Import { held: self, files, manifest, out: Some(out), bytes: 0, looked: 0 })
    }

    fn io(&self, error: io::Error) -> ImportError {
        ImportError::Io(self.root.clone(), error)
    }
}

impl Import<'_> {
    /// Appends a piece of the recorder's file, which is so long now.
    pub(crate) fn append(&mut self, bytes: &[u8], duration: Duration) -> Result<(), ImportError> {
        if self.bytes >= self.looked {
            self.held.room_for(ROOM_BYTES)?;
            self.looked = self.bytes + ROOM_BYTES;
        }
        if let Some(out) = &mut self.out {
            out.write_all(bytes).map_err(|error| self.held.io(error))?;
        }
        self.bytes += bytes.len() as u64;
        (self.manifest.bytes, self.manifest.duration_ms) = (self.bytes, millis(duration));
        Ok(())
    }

    /// Makes the finished file. `reason`: what was wrong with the source, if anything.
    pub(crate) fn finish(mut self, reason: Option<String>) -> Result<(Files, Manifest), ImportError> {
        self.held.room_for(self.bytes)?;
        let Some(out) = self.out.take() else { return Ok((self.files.clone(), self.manifest.clone())) };
        let outcome = self.make(&out, reason);
        if outcome.is_err() {
            // It could not even be finished: better the source than this.
            let _nothing_to_keep = remove_files(&self.files);
        }
        outcome.map(|()| (self.files.clone(), self.manifest.clone()))
    }

    fn make(&mut self, out: &File, reason: Option<String>) -> Result<(), ImportError> {
        let io = |error| self.held.io(error);
        out.sync_all().map_err(io)?;
        fs::rename(self.files.import(), self.files.part()).map_err(io)?;
        // From here on the next start of a server would finish it.
        self.save()?;
        let done = finisher::finish_part(
            &self.files,
            Container::Mp4,
            UnixTime::from_micros(self.manifest.begun_us),
        )?;
        complete(&mut self.manifest, done);
        (self.manifest.state, self.manifest.reason) = (State::Ready, reason);
        self.save()?;
        disk::remove(&self.files.part()).map_err(|error| self.held.io(error))
    }

    fn save(&self) -> Result<(), ImportError> {
        let text = serde_json::to_vec_pretty(&self.manifest).map_err(|error| self.held.io(error.into()))?;
        disk::replace(&self.files.json(), &text).map_err(|error| self.held.io(error))
    }
}

impl Drop for Import<'_> {
    fn drop(&mut self) {
        // Not renamed unless it was finished. An empty folder that was made for it goes as well; one that is not empty stays.
        let _gone_already = disk::remove(&self.files.import());
        let _not_empty = fs::remove_dir(self.files.folder());
    }
}

/// Makes the pictures of a recording that has been imported, and says so in its manifest.
pub(crate) fn add_pictures(files: &Files, manifest: &mut Manifest) -> Result<(), String> {
    manifest.pictures = pictures::make(files, manifest)?;
    let text = serde_json::to_vec_pretty(manifest).map_err(|error| error.to_string())?;
    disk::replace(&files.json(), &text).map_err(|error| error.to_string())
}

/// The ids in a stream's folder; what an import has left there that was ended by force is removed.
fn ids(folder: &Path) -> io::Result<Vec<String>> {
    let mut ids = Vec::new();
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match name.split_once('.') {
            Some((id, "import")) if is_id(id) => disk::remove(&path)?,
            Some((id, _)) => ids.push(id.to_owned()),
            None => {}
        }
    }
    Ok(ids)
}
