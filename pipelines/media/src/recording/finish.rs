//! From what was recorded to a finished file: the front, then the recorded bytes as they are.

use super::fragment::ftyp;
use super::index::{IndexError, recorded_range};
use super::scan::{ScanError, scan};
use super::tables::{Shown, Tables, TrackSummary};
use crate::time::UnixTime;
use mp4_atom::Encode;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::Duration;

/// The recorded bytes begin at a multiple of this, so that a file system that shares blocks between files can do so.
const ALIGN: usize = 4096;

/// Bytes copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// From 1904-01-01, where ISO/IEC 14496-12 counts from (section 8.2.2), to 1970-01-01, in seconds.
const EPOCH_1904_S: i64 = 2_082_844_800;

/// Why a recording cannot be finished.
#[derive(Debug, thiserror::Error)]
pub enum FinishError {
    /// What was recorded cannot be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A finished file was given that is none.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The finished file cannot be written.
    #[error("cannot write: {0}")]
    Write(io::Error),
    /// A table is too large for its box.
    #[error("the tables cannot be written: {0}")]
    Tables(String),
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Size of the file.
    pub bytes: u64,
    /// Length of the longest track.
    pub duration: Duration,
    /// What the file has, for [`super::check()`].
    pub tracks: Vec<TrackSummary>,
    /// Bytes of the recording behind its last whole fragment; they are not in the file.
    pub lost_bytes: u64,
}

/// Writes the finished file of the recorder's file in `reader`, which has `len` bytes. `reader` may also be a finished file: then
/// its front is made anew.
///
/// Memory: a few bytes for each sample (about 2 MB for an hour), whatever the size of the file.
///
/// # Errors
/// [`FinishError`]. What was written until then is of no use.
pub fn finish(
    reader: &mut (impl Read + Seek),
    len: u64,
    begun: UnixTime,
    out: &mut impl Write,
) -> Result<Finished, FinishError> {
    let (start, recorded) = match is_finished(reader, len)? {
        true => recorded_range(reader, len)?,
        false => (0, len),
    };
    let found = scan(reader, start, recorded)?;
    let tables = Tables::gather(reader, start, &found)?;
    let created = since_1904_s(begun);
    let front = front(&tables, found.whole_bytes, created, Shown::default())?;
    out.write_all(&front).map_err(FinishError::Write)?;
    copy(reader, start, found.whole_bytes, out)?;
    Ok(Finished {
        bytes: front.len() as u64 + found.whole_bytes,
        duration: tables.duration(),
        tracks: tables.summaries(),
        lost_bytes: found.lost_bytes,
    })
}

/// As ISO/IEC 14496-12 counts.
pub(super) fn since_1904_s(at: UnixTime) -> u64 {
    u64::try_from(at.as_micros() / 1_000_000 + EPOCH_1904_S).unwrap_or(0)
}

/// A recorder's file begins with an initialisation for fragments: in it stands an `mvex`, which no finished file has before its media.
fn is_finished(reader: &mut (impl Read + Seek), len: u64) -> Result<bool, FinishError> {
    match recorded_range(reader, len) {
        // A recorder's file has its `moof` before its first `mdat`, directly behind the first `moov`.
        Ok((start, _)) => Ok(super::index::read_index(reader, len).is_ok() && start > 0),
        Err(IndexError::Io(error)) if error.kind() != io::ErrorKind::UnexpectedEof => {
            Err(IndexError::Io(error).into())
        }
        Err(_) => Ok(false),
    }
}

/// Everything before the recorded bytes: `ftyp`, `moov`, the index, padding, and the header of the `mdat`.
pub(super) fn front(
    tables: &Tables,
    recorded: u64,
    created_1904_s: u64,
    shown: Shown,
) -> Result<Vec<u8>, FinishError> {
    let words = |e: mp4_atom::Error| FinishError::Tables(e.to_string());
    let header: usize = if recorded + 8 > u64::from(u32::MAX) { 16 } else { 8 };
    let index = tables.index().to_box();
    let mut out = Vec::new();
    ftyp().encode(&mut out).map_err(words)?;
    let before = out.len();
    // Offsets are wide when the media is large or the front pushes them over the edge: the size of the tables has to be known first.
    let mut base = u64::from(u32::MAX) * u64::from(header == 16);
    for _ in 0..3 {
        out.truncate(before);
        tables.moov(base, created_1904_s, shown).encode(&mut out).map_err(words)?;
        let bare = out.len() + index.len() + header;
        let wanted = (bare + 8).next_multiple_of(ALIGN) as u64;
        if wanted == base {
            break;
        }
        base = wanted;
    }
    let free = usize::try_from(base).unwrap_or(usize::MAX).checked_sub(out.len() + index.len() + header);
    let free = free.filter(|&free| (8..=2 * ALIGN).contains(&free));
    let free = free.ok_or_else(|| FinishError::Tables("their size does not settle".to_owned()))?;
    out.extend_from_slice(&index);
    out.extend_from_slice(&u32::try_from(free).unwrap_or(8).to_be_bytes());
    out.extend_from_slice(b"free");
    out.resize(out.len() + free - 8, 0);
    match header {
        16 => {
            out.extend_from_slice(&1u32.to_be_bytes());
            out.extend_from_slice(b"mdat");
            out.extend_from_slice(&(recorded + 16).to_be_bytes());
        }
        _ => {
            out.extend_from_slice(&u32::try_from(recorded + 8).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(b"mdat");
        }
    }
    Ok(out)
}

fn copy(
    reader: &mut (impl Read + Seek),
    start: u64,
    mut left: u64,
    out: &mut impl Write,
) -> Result<(), FinishError> {
    reader.seek(SeekFrom::Start(start)).map_err(ScanError::Io)?;
    let mut buffer = vec![0; COPY_BYTES];
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(COPY_BYTES);
        reader.read_exact(&mut buffer[..want]).map_err(ScanError::Io)?;
        out.write_all(&buffer[..want]).map_err(FinishError::Write)?;
        left -= want as u64;
    }
    Ok(())
}
