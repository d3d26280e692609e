//! Writes one recording after the other of one stream, on a thread of its own: the stream never waits for a disk.

use super::Library;
use super::manifest::{Container, Manifest};
use bytes::Bytes;
use skywave_media::name::StreamName;
use skywave_media::time::UnixTime;
use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Pieces that wait for a slow disk: half a minute of them.
const QUEUE_PIECES: usize = 64;

/// Bytes that wait for a slow disk.
const QUEUE_BYTES: usize = 64 << 20;

/// How often the room on the disk is looked at.
const ROOM_INTERVAL: Duration = Duration::from_secs(2);

/// What a writer is told.
pub(crate) enum Piece {
    /// A file begins.
    Begin { begun: UnixTime },
    /// More of it.
    Append { bytes: Bytes, duration: Duration },
    /// It is complete.
    End,
}

/// The stream's hold on its writer; dropping it lets the writer end its file.
pub(crate) struct Writer {
    pieces: SyncSender<Piece>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    waiting_bytes: AtomicUsize,
    progress: Mutex<Progress>,
}

/// How far a writer is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The recording that grows now.
    pub(crate) id: Option<String>,
    /// Bytes on the disk.
    pub(crate) bytes: u64,
    /// Their length.
    pub(crate) duration: Duration,
    /// Why nothing more is written.
    pub(crate) failed: Option<String>,
}

impl Writer {
    /// A writer for one take of a stream.
    pub(crate) fn start(
        library: &Arc<Library>,
        stream: &StreamName,
        take: &str,
        container: Container,
    ) -> io::Result<Self> {
        let (pieces, queue) = sync_channel(QUEUE_PIECES);
        let shared = Arc::new(Shared::default());
        let thread = Thread {
            library: Arc::clone(library),
            stream: stream.clone(),
            take: take.to_owned(),
            container,
            shared: Arc::clone(&shared),
            open: None,
            looked: None,
        };
        library.writer_begins();
        let spawned =
            std::thread::Builder::new().name("recording".to_owned()).spawn(move || thread.run(&queue));
        match spawned {
            Ok(_detached) => Ok(Self { pieces, shared }),
            Err(error) => {
                library.writer_ends();
                Err(error)
            }
        }
    }

    /// Hands a piece over without waiting.
    ///
    /// # Errors
    /// When the disk is so slow that too much waits, or the writer has given up: then nothing more can be recorded without a hole.
    pub(crate) fn push(&self, piece: Piece) -> Result<(), String> {
        if let Some(reason) = self.progress().failed {
            return Err(reason);
        }
        let bytes = match &piece {
            Piece::Append { bytes, .. } => bytes.len(),
            Piece::Begin { .. } | Piece::End => 0,
        };
        let waiting = self.shared.waiting_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        let slow = || "the disk does not keep up".to_owned();
        let outcome = match waiting > QUEUE_BYTES {
            true => Err(slow()),
            false => self.pieces.try_send(piece).map_err(|error| match error {
                TrySendError::Full(_) => slow(),
                TrySendError::Disconnected(_) => {
                    self.progress().failed.unwrap_or_else(|| "the writer has ended".to_owned())
                }
            }),
        };
        if let Err(reason) = &outcome {
            // The writer puts it into the manifest when it closes its file.
            self.shared.progress(|progress| progress.failed = Some(reason.clone()));
        }
        outcome
    }

    /// How far it is.
    pub(crate) fn progress(&self) -> Progress {
        self.shared.progress(|progress| progress.clone())
    }
}

impl Shared {
    fn progress<T>(&self, how: impl FnOnce(&mut Progress) -> T) -> T {
        how(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Thread {
    library: Arc<Library>,
    stream: StreamName,
    take: String,
    container: Container,
    shared: Arc<Shared>,
    open: Option<Open>,
    looked: Option<Instant>,
}

struct Open {
    manifest: Manifest,
    file: File,
    bytes: u64,
    duration: Duration,
}

impl Thread {
    fn run(mut self, queue: &Receiver<Piece>) {
        while let Ok(piece) = queue.recv() {
            if let Err(error) = self.take_all(piece, queue) {
                let reason = words(&error);
                tracing::error!(stream = %self.stream, reason, "recording stops; the stream goes on");
                self.close(Some(reason.clone()));
                self.progress(|progress| progress.failed = Some(reason));
                self.library.writer_ends();
                return;
            }
        }
        // The stream has let go: at its end, because the server stops in a hurry, or because this was too slow.
        let reason = self.shared.progress(|progress| progress.failed.clone());
        self.close(reason);
        self.library.writer_ends();
    }

    /// Writes this piece and all that wait, then flushes once.
    fn take_all(&mut self, first: Piece, queue: &Receiver<Piece>) -> io::Result<()> {
        let mut next = Some(first);
        while let Some(piece) = next {
            self.take(piece)?;
            next = queue.try_recv().ok();
        }
        if let Some(open) = &mut self.open {
            open.file.sync_data()?;
            let (bytes, duration) = (open.bytes, open.duration);
            let key = (self.stream.clone(), open.manifest.id.clone());
            self.library.note_growth(&key, bytes, duration);
            self.progress(|progress| (progress.bytes, progress.duration) = (bytes, duration));
        }
        Ok(())
    }

    fn take(&mut self, piece: Piece) -> io::Result<()> {
        match piece {
            Piece::Begin { begun } => {
                let manifest = self.library.begin(&self.stream, &self.take, self.container, begun)?;
                let files = self.library.files(&self.stream, &manifest.id);
                let id = manifest.id.clone();
                tracing::info!(stream = %self.stream, id, "recording begins");
                let key = (self.stream.clone(), id.clone());
                let file = match File::create_new(files.part()) {
                    Ok(file) => file,
                    Err(error) => {
                        self.library.hand_over(key, Some(words(&error)));
                        return Err(error);
                    }
                };
                self.open = Some(Open { manifest, file, bytes: 0, duration: Duration::ZERO });
                super::disk::sync_folder(files.folder())?;
                self.progress(|progress| *progress = Progress { id: Some(id), ..Progress::default() });
                self.keep_room()
            }
            Piece::Append { bytes, duration } => {
                self.shared.waiting_bytes.fetch_sub(bytes.len(), Ordering::AcqRel);
                self.keep_room()?;
                let Some(open) = &mut self.open else { return Ok(()) };
                open.file.write_all(&bytes)?;
                open.bytes += bytes.len() as u64;
                open.duration = duration;
                Ok(())
            }
            Piece::End => {
                if let Some(open) = &mut self.open {
                    open.file.sync_all()?;
                }
                self.close(None);
                Ok(())
            }
        }
    }

    /// Fails when the disk is nearly full and nothing can be removed.
    fn keep_room(&mut self) -> io::Result<()> {
        if self.looked.is_some_and(|at| at.elapsed() < ROOM_INTERVAL) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        match self.library.make_room()? {
            true => Ok(()),
            false => Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "less than recording.free_floor_bytes is free on the disk, and no recording can be removed",
            )),
        }
    }

    fn close(&mut self, reason: Option<String>) {
        if let Some(open) = self.open.take() {
            let key = (self.stream.clone(), open.manifest.id);
            self.library.note_growth(&key, open.bytes, open.duration);
            drop(open.file);
            self.library.hand_over(key, reason);
            self.progress(|progress| progress.id = None);
        }
    }

    fn progress(&self, how: impl FnOnce(&mut Progress)) {
        self.shared.progress(how);
    }
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull if error.get_ref().is_none() => "the disk is full".to_owned(),
        _ => error.to_string(),
    }
}
