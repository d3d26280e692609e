//! From what was recorded to a file that plays everywhere: written beside, read back, flushed, then renamed.

mod webm;

use super::disk;
use super::manifest::{Container, Files, Manifest, Track};
use openssl::sha::Sha256;
use skywave_media::recording::{CheckError, FinishError, check, finish, probe};
use skywave_media::time::UnixTime;
use skywave_media::webm::reader::WebmError;
use skywave_media::webm::repair::RepairError;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::time::Duration;

/// Why a recording could not be finished. Its `.part` is kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Finish(#[from] FinishError),
    #[error("the finished file was not what it should be: {0}")]
    Check(#[from] CheckError),
    #[error(transparent)]
    Webm(#[from] RepairError),
    #[error("the finished file was not what it should be: {0}")]
    ReadBack(#[from] WebmError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) bytes: u64,
    pub(crate) duration: Duration,
    pub(crate) tracks: Vec<Track>,
    pub(crate) sha256: String,
    /// Bytes of the recording that were not whole.
    pub(crate) lost_bytes: u64,
}

/// Makes the finished file of a `.part`, and removes the part.
pub(crate) fn finish_part(files: &Files, container: Container, begun: UnixTime) -> Result<Done, Failure> {
    if container == Container::Webm {
        return webm::finish(files);
    }
    let outcome = write_and_check(files, begun);
    if outcome.is_err() {
        // The part is what counts; the rest would only take its room.
        let _gone_already = disk::remove(&files.tmp());
    }
    outcome
}

fn write_and_check(files: &Files, begun: UnixTime) -> Result<Done, Failure> {
    let part = File::open(files.part())?;
    let len = part.metadata()?.len();
    // Small, because reading the tables hops from fragment to fragment; the copy goes past it.
    let mut reader = BufReader::new(part);
    let mut out =
        Hashing { inner: BufWriter::with_capacity(1 << 20, File::create(files.tmp())?), hash: Sha256::new() };
    let finished = finish(&mut reader, len, begun, &mut out)?;
    let file = out.inner.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    drop(file);
    let mut written = BufReader::with_capacity(1 << 16, File::open(files.tmp())?);
    let found = written.get_ref().metadata()?.len();
    if found != finished.bytes {
        return Err(io::Error::other(format!("it has {found} bytes, not {}", finished.bytes)).into());
    }
    check(&mut written, found, &finished.tracks)?;
    let contents = probe(&mut written, found)?;
    std::fs::rename(files.tmp(), files.mp4())?;
    disk::sync_folder(files.folder())?;
    Ok(Done {
        bytes: finished.bytes,
        duration: finished.duration,
        tracks: contents.tracks.into_iter().map(track).collect(),
        sha256: hex(&out.hash.finish()),
        lost_bytes: finished.lost_bytes,
    })
}

/// Whether a finished file is what its manifest says: every byte by the hash, the tracks by reading them.
pub(crate) fn verify(files: &Files, manifest: &Manifest) -> Result<(), Failure> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(files.finished(manifest.container))?);
    let len = file.get_ref().metadata()?.len();
    if len != manifest.bytes {
        return Err(io::Error::other(format!("it has {len} bytes, not {}", manifest.bytes)).into());
    }
    if let Some(expected) = &manifest.sha256 {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => hash.update(&buffer[..read]),
            }
        }
        if hex(&hash.finish()) != *expected {
            return Err(io::Error::other("its SHA-256 is not the one it was finished with").into());
        }
    }
    let found: Vec<Track> = match manifest.container {
        Container::Mp4 => probe(&mut file, len)?.tracks.into_iter().map(track).collect(),
        Container::Webm => {
            file.rewind()?;
            webm::tracks(file)?
        }
    };
    if found != manifest.tracks {
        return Err(io::Error::other("its tracks are not those it was finished with").into());
    }
    Ok(())
}

/// A track as the manifest tells it.
pub(crate) fn track(track: skywave_media::recording::TrackContents) -> Track {
    Track {
        kind: track.kind.to_owned(),
        codec: track.codec,
        samples: track.samples,
        duration_ms: u64::try_from(track.duration.as_millis()).unwrap_or(u64::MAX),
        width: if track.kind == "video" { track.width } else { 0 },
        height: if track.kind == "video" { track.height } else { 0 },
    }
}

/// Digits of a hash.
pub(crate) fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Hashes what passes.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.hash.update(&bytes[..read]);
        Ok(read)
    }
}
