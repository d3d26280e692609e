//! Old segments on disk: written when they leave the memory, read when a player goes back to them, gone with their take.
//!
//! ```text
//! {hls.dvr_dir}/skywave-dvr/{stream}/{take}/{rendition}/{msn}.m4s
//! ```
//!
//! One thread for all streams writes and removes; the queue to it is bounded, and what does not fit counts as not written, so
//! that a slow disk shortens the window and never holds a stream up. Nothing in there outlives the server: what a server that
//! was killed has left is removed at the next start.

use skywave_media::hls::{RenditionName, Segment, TakeId};
use skywave_media::name::StreamName;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;

/// The folder of ours in the one that the operator names: nothing else in that is ever touched.
const FOLDER: &str = "skywave-dvr";

/// Files that wait to be written or removed, of all streams.
const QUEUE: usize = 1024;

/// The disk side of all streams' windows.
#[derive(Debug, Clone)]
pub(crate) struct DvrDisk {
    folder: Arc<Path>,
    jobs: std::sync::mpsc::SyncSender<Job>,
}

/// The files of one take.
#[derive(Debug)]
pub(crate) struct DvrTake {
    disk: DvrDisk,
    folder: PathBuf,
    answers: (mpsc::UnboundedSender<Written>, mpsc::UnboundedReceiver<Written>),
}

/// What became of a segment.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) rendition: RenditionName,
    pub(crate) msn: u64,
    pub(crate) outcome: Result<(), String>,
}

enum Job {
    Write {
        path: PathBuf,
        rendition: RenditionName,
        segment: Arc<Segment>,
        answer: mpsc::UnboundedSender<Written>,
    },
    Remove(PathBuf),
    RemoveFolder(PathBuf),
}

impl DvrDisk {
    /// Empties our folder in `parent`, which is made if it is not there, and starts the thread.
    ///
    /// # Errors
    /// When the folder cannot be made, emptied or written to.
    pub(crate) fn open(parent: &Path) -> io::Result<Self> {
        let folder = parent.join(FOLDER);
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::fs::create_dir_all(&folder)?;
        let probe = folder.join("probe");
        std::fs::write(&probe, b"x")?;
        std::fs::remove_file(&probe)?;
        let (jobs, queue) = std::sync::mpsc::sync_channel(QUEUE);
        std::thread::Builder::new().name("dvr".to_owned()).spawn(move || work(&queue))?;
        Ok(Self { folder: folder.into(), jobs })
    }

    /// A place for the segments of a take.
    pub(crate) fn take(&self, stream: &StreamName, take: &TakeId) -> DvrTake {
        let folder = self.folder.join(stream.as_str()).join(take.as_str());
        DvrTake { disk: self.clone(), folder, answers: mpsc::unbounded_channel() }
    }

    /// Where a segment lies.
    pub(crate) fn path(
        &self,
        stream: &StreamName,
        take: &TakeId,
        rendition: &RenditionName,
        msn: u64,
    ) -> PathBuf {
        file(&self.folder.join(stream.as_str()).join(take.as_str()), rendition, msn)
    }

    /// False when the queue is full or the thread is gone.
    fn ask(&self, job: Job) -> bool {
        self.jobs.try_send(job).is_ok()
    }
}

impl DvrTake {
    /// Has a segment written; [`Self::poll`] says how that went.
    pub(crate) fn write(&self, rendition: &RenditionName, segment: Arc<Segment>) {
        let msn = segment.msn;
        let job = Job::Write {
            path: file(&self.folder, rendition, msn),
            rendition: rendition.clone(),
            segment,
            answer: self.answers.0.clone(),
        };
        if !self.disk.ask(job) {
            let outcome = Err("the disk does not keep up".to_owned());
            let answer = Written { rendition: rendition.clone(), msn, outcome };
            self.answers.0.send(answer).expect("the receiver lives as long as this");
        }
    }

    /// Has a segment removed. What does not fit into the queue is removed with the take.
    pub(crate) fn remove(&self, rendition: &RenditionName, msn: u64) {
        let _later = self.disk.ask(Job::Remove(file(&self.folder, rendition, msn)));
    }

    /// What has become of segments that were to be written.
    pub(crate) fn poll(&mut self) -> Option<Written> {
        self.answers.1.try_recv().ok()
    }
}

impl Drop for DvrTake {
    fn drop(&mut self) {
        if !self.disk.ask(Job::RemoveFolder(self.folder.clone())) {
            tracing::warn!(folder = %self.folder.display(), "old segments stay until the next start");
        }
    }
}

fn file(folder: &Path, rendition: &RenditionName, msn: u64) -> PathBuf {
    folder.join(rendition.as_str()).join(format!("{msn}.m4s"))
}

fn work(jobs: &std::sync::mpsc::Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Write { path, rendition, segment, answer } => {
                let outcome = write(&path, &segment.body).map_err(|error| error.to_string());
                // Nobody listens when the stream is gone; its folder is removed next.
                let _gone = answer.send(Written { rendition, msn: segment.msn, outcome });
            }
            Job::Remove(path) => report(&path, std::fs::remove_file(&path)),
            Job::RemoveFolder(path) => {
                report(&path, std::fs::remove_dir_all(&path));
                // The stream's folder goes with its last take.
                let _not_empty = path.parent().map(std::fs::remove_dir);
            }
        }
    }
}

fn write(path: &Path, body: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, body).inspect_err(|_| {
        // A full disk may leave half a file.
        let _none = std::fs::remove_file(path);
    })
}

fn report(path: &Path, outcome: io::Result<()>) {
    if let Err(error) = outcome
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "an old segment cannot be removed");
    }
}
