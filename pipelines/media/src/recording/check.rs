//! Reads finished recordings back with the `mp4` crate, which had no part in writing them.

use super::tables::TrackSummary;
use mp4::{Mp4Reader, TrackType};
use std::io::{self, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Tables of a recording as long as one may be have less.
const MAX_TABLES_BYTES: u64 = 64 << 20;

/// Why a file is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// It cannot be read as MP4.
    #[error("it cannot be read as MP4: {0}")]
    Unreadable(String),
    /// It has something else than was written.
    #[error("{what} is {found}, not {expected}")]
    Differs {
        /// What.
        what: String,
        /// As read.
        found: String,
        /// As written.
        expected: String,
    },
}

/// What an MP4 file has, by its own word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Length of the longest track.
    pub duration: Duration,
    /// By number.
    pub tracks: Vec<TrackContents>,
}

/// One track of an MP4 file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackContents {
    /// Its number.
    pub track_id: u32,
    /// `video`, `audio` or another word.
    pub kind: &'static str,
    /// As MP4 names it: `avc1`, `mp4a`.
    pub codec: String,
    /// Samples.
    pub samples: u32,
    /// Length of its media.
    pub duration: Duration,
    /// Width of the picture in pixels; 0 for sound.
    pub width: u16,
    /// Height of the picture in pixels; 0 for sound.
    pub height: u16,
}

/// What the file of `len` bytes has.
///
/// # Errors
/// [`CheckError::Unreadable`].
pub fn probe(reader: &mut (impl Read + Seek), len: u64) -> Result<Contents, CheckError> {
    guarded(|| {
        let file = open(reader, len, 0)?;
        #[allow(clippy::disallowed_methods)] // the crate's own map; put into order at once
        let mut tracks: Vec<TrackContents> = file.tracks().values().map(contents).collect();
        tracks.sort_by_key(|track| track.track_id);
        Ok(Contents { duration: file.duration(), tracks })
    })
}

/// Whether the file of `len` bytes has these tracks, as long and with as many samples, and some samples (at its beginning, in
/// the middle and at its end) where they should be.
///
/// # Errors
/// [`CheckError`] says what differs.
pub fn check(reader: &mut (impl Read + Seek), len: u64, tracks: &[TrackSummary]) -> Result<(), CheckError> {
    guarded(|| {
        let landmarks =
            tracks.iter().flat_map(|track| &track.landmarks).map(|(_, _, size, _)| u64::from(*size));
        let mut file = open(reader, len, landmarks.sum())?;
        same("the number of tracks", file.tracks().len(), tracks.len())?;
        for expected in tracks {
            check_track(&mut file, expected)?;
        }
        Ok(())
    })
}

fn check_track(file: &mut Mp4Reader<impl Read + Seek>, expected: &TrackSummary) -> Result<(), CheckError> {
    let id = expected.track_id;
    let named = |what: &str| format!("{what} of track {id}");
    let track =
        file.tracks().get(&id).ok_or_else(|| CheckError::Unreadable(format!("track {id} is missing")))?;
    same(&named("the number of samples"), track.sample_count(), expected.samples)?;
    same(&named("the timescale"), track.timescale(), expected.timescale)?;
    same(&named("the duration"), track.trak.mdia.mdhd.duration, expected.duration_ticks)?;
    let sizes = track.trak.mdia.minf.stbl.stsz.sample_sizes.clone();
    for &(number, start, size, sync) in &expected.landmarks {
        // Looked at first: the crate makes room for whatever stands there.
        if let Some(found) = sizes.get(number.saturating_sub(1) as usize) {
            same(&format!("the size of sample {number} of track {id}"), *found, size)?;
        }
        let sample = file.read_sample(id, number).map_err(|e| unreadable(&e))?;
        let sample =
            sample.ok_or_else(|| CheckError::Unreadable(format!("track {id} has no sample {number}")))?;
        let of = |what: &str| format!("{what} of sample {number} of track {id}");
        same(&of("the time"), sample.start_time, start)?;
        same(&of("the size"), sample.bytes.len(), size as usize)?;
        same(&of("the keyframe flag"), sample.is_sync, sync)?;
    }
    Ok(())
}

fn same<T: PartialEq + ToString>(what: &str, found: T, expected: T) -> Result<(), CheckError> {
    if found == expected {
        return Ok(());
    }
    let (found, expected) = (found.to_string(), expected.to_string());
    Err(CheckError::Differs { what: what.to_owned(), found, expected })
}

fn open<R: Read + Seek>(
    reader: &mut R,
    len: u64,
    samples: u64,
) -> Result<Mp4Reader<Bounded<&mut R>>, CheckError> {
    reader.rewind().map_err(|e| CheckError::Unreadable(e.to_string()))?;
    // Everything before the media is read once, and some samples.
    let left = 2 * len.min(MAX_TABLES_BYTES) + samples + (1 << 20);
    let file = Mp4Reader::read_header(Bounded { inner: reader, left }, len).map_err(|e| unreadable(&e))?;
    // The crate divides by them.
    #[allow(clippy::disallowed_methods)] // whichever comes first
    let stopped = file.timescale() == 0 || file.tracks().values().any(|track| track.timescale() == 0);
    if stopped { Err(CheckError::Unreadable("its clock does not tick".to_owned())) } else { Ok(file) }
}

fn contents(track: &mp4::Mp4Track) -> TrackContents {
    let kind = match track.track_type() {
        Ok(TrackType::Video) => "video",
        Ok(TrackType::Audio) => "audio",
        Ok(TrackType::Subtitle) => "text",
        Err(_) => "other",
    };
    TrackContents {
        track_id: track.track_id(),
        kind,
        codec: track.box_type().map_or_else(|_| "?".to_owned(), |name| name.to_string()),
        samples: track.sample_count(),
        duration: track.duration(),
        width: track.width(),
        height: track.height(),
    }
}

fn unreadable(error: &mp4::Error) -> CheckError {
    CheckError::Unreadable(error.to_string())
}

/// A reader that ends after so many bytes: in some damaged files the `mp4` crate goes round and round for ever.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let left = self.left.checked_sub(read as u64);
        self.left = left.ok_or_else(|| io::Error::other("its boxes lead round in circles"))?;
        Ok(read)
    }
}

impl<R: Seek> Seek for Bounded<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

/// The `mp4` crate unwraps in places that a damaged file reaches.
fn guarded<T>(read: impl FnOnce() -> Result<T, CheckError>) -> Result<T, CheckError> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(CheckError::Unreadable("its tables contradict each other".to_owned())))
}
