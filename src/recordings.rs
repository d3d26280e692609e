//! The catalogue of recordings: what there is, what becomes of it, and how long it stays.
//!
//! Each recording is a `.part` while it grows, an `.mp4` when it is finished, and a manifest (`.json`) beside them, later also pictures
//! (`.jpg`, `.sprite.jpg`, `.vtt`); the folder of a stream is `{data_dir}/recordings/{stream}/`. The manifests are the catalogue: this module only remembers what they say.
//!
//! What belongs here: manifests, finishing, recovery at the start, retention. What does not: what is in the files
//! (`skywave_media::recording`) and how they are served (`crate::http::vod`).

pub(crate) mod disk;
mod finisher;
pub(crate) mod import;
pub(crate) mod manifest;
pub(crate) mod pictures;
mod retention;
pub(crate) mod writer;

use crate::config::Config;
use manifest::{Container, Files, Manifest, Pictures, State, VERSION};
use skywave_media::hls::date_time;
use skywave_media::name::StreamName;
use skywave_media::recording::{FinishError, ScanError};
use skywave_media::time::UnixTime;
use skywave_media::webm::repair::RepairError;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

/// How often age and size are looked at when nothing is finished.
const RETENTION_INTERVAL: Duration = Duration::from_secs(60);

/// What a finished file may have more than what was recorded, generously.
const SPARE_BYTES: u64 = 64 << 20;

/// A manifest is a few hundred bytes.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;

type Key = (StreamName, String);

/// All recordings of this server.
pub(crate) struct Library {
    root: PathBuf,
    config: crate::config::Recording,
    known: Mutex<BTreeMap<Key, Manifest>>,
    /// Held while this server may change the folder: another one must not finish what this one records.
    lock: Mutex<Option<fs::File>>,
    jobs: mpsc::Sender<Job>,
    /// Finished recordings that want pictures.
    pictures: mpsc::Sender<Key>,
    /// Writers that run and jobs that wait.
    busy: AtomicUsize,
}

/// What the finisher's thread does.
enum Job {
    Finish(Key),
}

/// Why a recording cannot be changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("there is no recording {0} of {1}")]
    Unknown(String, StreamName),
    #[error("recording {0} is {1}; wait until it is finished")]
    Busy(String, &'static str),
    #[error("the disk says: {0}")]
    Io(#[from] io::Error),
}

impl Library {
    /// Reads the catalogue and starts the thread that finishes what a crash has cut off.
    pub(crate) fn open(config: &Config) -> Arc<Self> {
        let (jobs, queue) = mpsc::channel();
        let (pictures, without_pictures) = mpsc::channel();
        let library = Arc::new(Self {
            root: root(config),
            config: config.recording.clone(),
            known: Mutex::default(),
            lock: Mutex::default(),
            jobs,
            pictures,
            busy: AtomicUsize::new(0),
        });
        if library.root.is_dir()
            && let Err(error) = library.take_lock().and_then(|()| library.recover())
        {
            tracing::error!(folder = %library.root.display(), %error, "the recordings cannot be used");
        }
        pictures::start(&library, without_pictures);
        let weak = Arc::downgrade(&library);
        let spawned = std::thread::Builder::new().name("finisher".to_owned()).spawn(move || {
            loop {
                let job = queue.recv_timeout(RETENTION_INTERVAL);
                let Some(library) = weak.upgrade() else { return };
                match job {
                    Ok(Job::Finish(key)) => library.finish(&key),
                    Err(mpsc::RecvTimeoutError::Timeout) => library.try_again(),
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                }
                library.retain();
            }
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "recordings cannot be finished: no thread");
        }
        library
    }

    /// What is recorded unless somebody says otherwise, and how.
    pub(crate) const fn config(&self) -> &crate::config::Recording {
        &self.config
    }

    /// Every recording, by stream and id.
    pub(crate) fn list(&self) -> Vec<Manifest> {
        self.lock().values().cloned().collect()
    }

    /// Those of one stream.
    pub(crate) fn of(&self, stream: &StreamName) -> Vec<Manifest> {
        self.lock().values().filter(|manifest| manifest.stream == *stream).cloned().collect()
    }

    /// One recording.
    pub(crate) fn get(&self, stream: &StreamName, id: &str) -> Option<Manifest> {
        self.lock().get(&(stream.clone(), id.to_owned())).cloned()
    }

    /// The files of a recording.
    pub(crate) fn files(&self, stream: &StreamName, id: &str) -> Files {
        Files::new(&self.root.join(stream.as_str()), id)
    }

    /// Removes a finished recording.
    pub(crate) fn remove(&self, stream: &StreamName, id: &str) -> Result<(), ChangeError> {
        let manifest = self.settled(stream, id)?;
        self.erase(&manifest)?;
        tracing::info!(%stream, id, "recording removed");
        Ok(())
    }

    /// Says whether a recording may be removed to make room.
    pub(crate) fn protect(
        &self,
        stream: &StreamName,
        id: &str,
        protected: bool,
    ) -> Result<Manifest, ChangeError> {
        let manifest = Manifest { protected, ..self.settled(stream, id)? };
        self.save(&manifest)?;
        Ok(manifest)
    }

    /// Waits until every writer has closed its file and every file is finished, or the time is over.
    pub(crate) async fn settle(&self, patience: Duration) {
        let done = async {
            while self.busy.load(Ordering::Acquire) > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(patience, done).await.is_err() {
            tracing::info!("some recordings are not finished; the next start does it");
        }
    }

    /// A new recording in the catalogue, growing from now on. Its id is the take's, with a number where the take has several; archives of what
    /// was published have a word of their own in it.
    pub(super) fn begin(
        &self,
        stream: &StreamName,
        take: &str,
        container: Container,
        begun: UnixTime,
    ) -> io::Result<Manifest> {
        self.take_lock()?;
        let folder = self.root.join(stream.as_str());
        fs::create_dir_all(&folder)?;
        let mut known = self.lock();
        let free = |id: &String| !known.contains_key(&(stream.clone(), id.clone()));
        let take = match container {
            Container::Mp4 => take.to_owned(),
            Container::Webm => format!("{take}-source"),
        };
        let id = std::iter::once(take.clone())
            .chain((2..).map(|number: u32| format!("{take}-{number}")))
            .find(free)
            .expect("the numbers do not end");
        let manifest = Manifest {
            version: VERSION,
            id: id.clone(),
            stream: stream.clone(),
            state: State::Recording,
            container,
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
        known.insert((stream.clone(), id), manifest.clone());
        drop(known);
        self.save(&manifest)?;
        Ok(manifest)
    }

    /// How far a growing recording has come; on the disk it says so only when it ends.
    pub(super) fn note_growth(&self, key: &Key, bytes: u64, duration: Duration) {
        if let Some(manifest) = self.lock().get_mut(key) {
            manifest.bytes = bytes;
            manifest.duration_ms = millis(duration);
        }
    }

    /// A growing recording has ended: it is finished in its turn. `reason` says why it ended early.
    pub(super) fn hand_over(&self, key: Key, reason: Option<String>) {
        self.change(&key, |manifest| {
            manifest.state = State::Finalising;
            manifest.reason = reason;
        });
        self.busy.fetch_add(1, Ordering::AcqRel);
        if self.jobs.send(Job::Finish(key)).is_err() {
            self.busy.fetch_sub(1, Ordering::AcqRel);
        }
    }

    pub(super) fn writer_begins(&self) {
        self.busy.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn writer_ends(&self) {
        self.busy.fetch_sub(1, Ordering::AcqRel);
    }

    /// A recording that nothing changes at the moment.
    fn settled(&self, stream: &StreamName, id: &str) -> Result<Manifest, ChangeError> {
        let manifest =
            self.get(stream, id).ok_or_else(|| ChangeError::Unknown(id.to_owned(), stream.clone()))?;
        match manifest.state {
            State::Recording => Err(ChangeError::Busy(id.to_owned(), "being recorded")),
            State::Finalising => Err(ChangeError::Busy(id.to_owned(), "being finished")),
            State::Ready | State::Repaired | State::Failed => Ok(manifest),
        }
    }

    fn erase(&self, manifest: &Manifest) -> io::Result<()> {
        remove_files(&self.files(&manifest.stream, &manifest.id))?;
        self.lock().remove(&(manifest.stream.clone(), manifest.id.clone()));
        Ok(())
    }

    fn save(&self, manifest: &Manifest) -> io::Result<()> {
        let files = self.files(&manifest.stream, &manifest.id);
        let text = serde_json::to_vec_pretty(manifest)?;
        disk::replace(&files.json(), &text)?;
        self.lock().insert((manifest.stream.clone(), manifest.id.clone()), manifest.clone());
        Ok(())
    }

    /// Changes a manifest in memory and on the disk. When the disk refuses, memory has it, and the next start finds out anew.
    fn change(&self, key: &Key, how: impl FnOnce(&mut Manifest)) {
        let Some(mut manifest) = self.lock().get(key).cloned() else { return };
        how(&mut manifest);
        if let Err(error) = self.save(&manifest) {
            tracing::warn!(stream = %key.0, id = key.1, %error, "a manifest cannot be written");
            self.lock().insert(key.clone(), manifest);
        }
    }

    fn finish(&self, key: &Key) {
        let Some(manifest) = self.lock().get(key).cloned() else { return };
        let files = self.files(&key.0, &key.1);
        let was_cut = manifest.state == State::Recording;
        let began = std::time::Instant::now();
        match finisher::finish_part(&files, manifest.container, UnixTime::from_micros(manifest.begun_us)) {
            Ok(done) => {
                let took_ms = began.elapsed().as_millis();
                tracing::info!(stream = %key.0, id = key.1, bytes = done.bytes, took_ms, repaired = was_cut, "recording finished");
                self.change(key, |manifest| {
                    manifest.state = if was_cut { State::Repaired } else { State::Ready };
                    if was_cut {
                        manifest.reason = Some(format!(
                            "the server ended unexpectedly; {} bytes were not whole",
                            done.lost_bytes
                        ));
                    }
                    complete(manifest, done);
                });
                if let Err(error) = disk::remove(&files.part()) {
                    tracing::warn!(stream = %key.0, id = key.1, %error, "what was recorded cannot be removed");
                }
                self.want_pictures(key);
            }
            Err(
                finisher::Failure::Finish(FinishError::Scan(ScanError::Empty))
                | finisher::Failure::Webm(RepairError::Empty),
            ) => {
                tracing::warn!(stream = %key.0, id = key.1, "a recording has not one whole fragment and is removed");
                if let Err(error) = self.erase(&manifest) {
                    tracing::warn!(stream = %key.0, id = key.1, %error, "it cannot be removed");
                }
            }
            Err(failure) => {
                tracing::error!(stream = %key.0, id = key.1, %failure, "a recording cannot be finished; the next start tries again");
                self.change(key, |manifest| {
                    manifest.state = State::Failed;
                    manifest.reason = Some(failure.to_string());
                });
            }
        }
        self.busy.fetch_sub(1, Ordering::AcqRel);
    }

    /// Takes the folder for this server, once.
    fn take_lock(&self) -> io::Result<()> {
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            *held = disk::lock(&self.root.with_extension("lock"))?;
        }
        match *held {
            Some(_) => Ok(()),
            None => Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another server uses this folder; give each its own storage.data_dir",
            )),
        }
    }

    /// Finishes what could not be finished for want of room, now that there is some.
    fn try_again(&self) {
        for manifest in self.list().into_iter().filter(|manifest| manifest.state == State::Failed) {
            let files = self.files(&manifest.stream, &manifest.id);
            let wanted = fs::metadata(files.part()).map(|meta| meta.len() + SPARE_BYTES);
            let free = disk::free_bytes(&self.root);
            if let (Ok(wanted), Ok(free)) = (wanted, free)
                && free > wanted
            {
                self.busy.fetch_add(1, Ordering::AcqRel);
                self.finish(&(manifest.stream, manifest.id));
            }
        }
    }

    /// Reads what is on the disk: manifests become the catalogue, what was being recorded is handed to the finisher, and what nobody knows is
    /// taken in.
    fn recover(&self) -> io::Result<()> {
        let streams = match fs::read_dir(&self.root) {
            Ok(streams) => streams,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for folder in streams {
            let folder = folder?.path();
            let name = folder.file_name().and_then(|name| name.to_str()).map(str::parse::<StreamName>);
            match name {
                Some(Ok(stream)) if folder.is_dir() => self.recover_stream(&stream, &folder)?,
                _ => tracing::warn!(path = %folder.display(), "no recording of ours"),
            }
        }
        Ok(())
    }

    fn recover_stream(&self, stream: &StreamName, folder: &Path) -> io::Result<()> {
        let mut ids = std::collections::BTreeSet::new();
        let mut pictures_of = Vec::new();
        for file in fs::read_dir(folder)? {
            let path = file?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match name.split_once('.') {
                Some((id, "part" | "mp4" | "webm" | "json")) if manifest::is_id(id) => {
                    ids.insert(id.to_owned());
                }
                Some((id, "jpg" | "sprite.jpg" | "vtt")) if manifest::is_id(id) => {
                    pictures_of.push(id.to_owned());
                }
                // Was being written when the server, or an import, ended; what it was made of is still there.
                Some((id, "mp4.tmp" | "json.tmp" | "import")) if manifest::is_id(id) => disk::remove(&path)?,
                _ => tracing::warn!(path = %path.display(), "no recording of ours"),
            }
        }
        for id in pictures_of.iter().filter(|id| !ids.contains(*id)) {
            // Their recording was removed while they were made.
            pictures::remove(&self.files(stream, id))?;
        }
        for id in ids {
            self.recover_one(stream, &id);
        }
        Ok(())
    }

    fn recover_one(&self, stream: &StreamName, id: &str) {
        let files = self.files(stream, id);
        let (has_part, is_finished) = (files.part().exists(), files.mp4().exists() || files.webm().exists());
        let read =
            read_manifest(&files.json()).filter(|manifest| manifest.id == id && manifest.stream == *stream);
        let known = read.is_some();
        let manifest = read.unwrap_or_else(|| orphan(stream, id, &files));
        let key = (stream.clone(), id.to_owned());
        self.lock().insert(key.clone(), manifest.clone());
        if !known {
            tracing::warn!(%stream, id, "a recording without manifest is taken in");
        }
        if has_part {
            // Also one whose finishing failed, or that was finished but for the removal of its part.
            let cut = matches!(manifest.state, State::Recording) || !known;
            self.change(&key, |manifest| {
                manifest.state = if cut { State::Recording } else { State::Finalising };
            });
            self.busy.fetch_add(1, Ordering::AcqRel);
            let _finisher_runs = self.jobs.send(Job::Finish(key));
        } else if is_finished {
            if !manifest.is_playable() || !known {
                self.change(&key, |manifest| manifest.state = State::Repaired);
            }
            if manifest.pictures == Pictures::None {
                self.want_pictures(&key);
            }
        } else {
            tracing::warn!(%stream, id, "a recording has lost its file");
            self.change(&key, |manifest| {
                manifest.state = State::Failed;
                manifest.reason = Some("its file is gone".to_owned());
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Manifest>> {
        // Manifests are plain values, whole after every statement.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The folder of recordings.
pub(crate) fn root(config: &Config) -> PathBuf {
    config.storage.data_dir.join("recordings")
}

/// Every manifest in a folder of recordings, by stream and id, as it stands on the disk.
pub(crate) fn catalogue(root: &Path) -> io::Result<Vec<Manifest>> {
    let mut all = Vec::new();
    let folders = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(all),
        folders => folders?,
    };
    for folder in folders {
        let folder = folder?.path();
        if !folder.is_dir() {
            continue;
        }
        for file in fs::read_dir(folder)? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                all.extend(read_manifest(&path));
            }
        }
    }
    all.sort_by(|a, b| (&a.stream, &a.id).cmp(&(&b.stream, &b.id)));
    Ok(all)
}

/// Removes a recording while no server uses the folder.
pub(crate) fn remove_offline(root: &Path, files: &Files) -> io::Result<()> {
    match disk::lock(&root.with_extension("lock"))? {
        Some(_held) => remove_files(files),
        None => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "a server uses this folder; ask it by DELETE /api/v1/recordings/{stream}/{id}",
        )),
    }
}

fn remove_files(files: &Files) -> io::Result<()> {
    // The manifest goes last: what a crash leaves is still known.
    pictures::remove(files)?;
    for path in [files.tmp(), files.part(), files.mp4(), files.webm(), files.json()] {
        disk::remove(&path)?;
    }
    Ok(())
}

/// Reads a finished recording back: the words of an error say what is wrong with it.
pub(crate) fn verify(files: &Files, manifest: &Manifest) -> Result<(), String> {
    if !manifest.is_playable() {
        return Err(format!("it is not finished: its state is {:?}", manifest.state).to_lowercase());
    }
    finisher::verify(files, manifest).map_err(|failure| failure.to_string())
}

fn read_manifest(path: &Path) -> Option<Manifest> {
    let size = fs::metadata(path).ok()?.len();
    if size > MAX_MANIFEST_BYTES {
        return None;
    }
    match serde_json::from_slice::<Manifest>(&fs::read(path).ok()?) {
        Ok(manifest) if manifest.version == VERSION => Some(manifest),
        Ok(manifest) => {
            tracing::warn!(path = %path.display(), version = manifest.version, "a manifest of another version");
            None
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a manifest cannot be read");
            None
        }
    }
}

/// What can be said of a recording without manifest.
fn orphan(stream: &StreamName, id: &str, files: &Files) -> Manifest {
    let finished = [files.mp4(), files.webm()].into_iter().find(|file| file.exists());
    let file = finished.unwrap_or_else(|| files.part());
    let container = match starts_as_webm(&file) {
        true => Container::Webm,
        false => Container::Mp4,
    };
    let meta = fs::metadata(&file).ok();
    let begun = meta.as_ref().and_then(|meta| meta.created().or_else(|_| meta.modified()).ok());
    let since = begun.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
    let begun = UnixTime::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
    let contents = fs::File::open(files.mp4()).ok().and_then(|mut mp4| {
        let len = mp4.metadata().ok()?.len();
        skywave_media::recording::probe(&mut mp4, len).ok()
    });
    Manifest {
        version: VERSION,
        id: id.to_owned(),
        stream: stream.clone(),
        state: State::Recording,
        container,
        reason: Some("its manifest was missing; the time it began is that of its file".to_owned()),
        begun: date_time(begun),
        begun_us: begun.as_micros(),
        duration_ms: contents.as_ref().map_or(0, |c| millis(c.duration)),
        bytes: meta.map_or(0, |meta| meta.len()),
        tracks: contents.map(|c| c.tracks.into_iter().map(finisher::track).collect()).unwrap_or_default(),
        sha256: None,
        protected: false,
        pictures: Pictures::None,
    }
}

/// Whether a file is an archive, by its first bytes.
fn starts_as_webm(path: &Path) -> bool {
    let mut first = [0; 4];
    let read = fs::File::open(path).and_then(|mut file| io::Read::read_exact(&mut file, &mut first));
    read.is_ok() && skywave_media::webm::reader::has_header(&first)
}

/// What is known of a recording once it is finished.
fn complete(manifest: &mut Manifest, done: finisher::Done) {
    manifest.bytes = done.bytes;
    manifest.duration_ms = millis(done.duration);
    manifest.tracks = done.tracks;
    manifest.sha256 = Some(done.sha256);
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
