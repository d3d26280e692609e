//! A piece of a finished recording as a file of its own, without coding anything anew.

use super::finish::{FinishError, front, since_1904_s};
use super::index::{Index, IndexError, read_index};
use super::scan::scan;
use super::tables::{Shown, Tables};
use crate::time::UnixTime;
use std::io::{self, Read, Seek, SeekFrom};
use std::time::Duration;

/// A clip: what to send, in this order. Its bytes of the recording are not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clip {
    /// The file up to the recorded bytes.
    pub front: Vec<u8>,
    /// Ranges of the recording that follow: first byte and length.
    pub ranges: [(u64, u64); 2],
    /// How long it is.
    pub duration: Duration,
}

impl Clip {
    /// Size of the whole file.
    pub fn bytes(&self) -> u64 {
        self.front.len() as u64 + self.ranges.iter().map(|(_, bytes)| bytes).sum::<u64>()
    }
}

/// Why there is no such clip.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    /// The recording has nothing there.
    #[error("the recording is {0:.3} s long and has nothing there")]
    Empty(f64),
    /// The recording cannot be read.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Its tables cannot be made.
    #[error(transparent)]
    Finish(#[from] FinishError),
}

/// The clip from `from` to `to` on the recording's timeline. Its samples begin with the keyframe before `from`; an edit list hides what comes
/// before `from`, so that it begins and ends at the frame that is asked for.
///
/// # Errors
/// [`ClipError`].
pub fn clip(
    reader: &mut (impl Read + Seek),
    len: u64,
    (from, to): (Duration, Duration),
    begun: UnixTime,
) -> Result<Clip, ClipError> {
    let index = read_index(reader, len)?;
    let (begins, ranges) = ranges(&index, from, to)?;
    let mut spliced = Spliced { inner: reader, ranges, at: 0 };
    let recorded = ranges.iter().map(|(_, bytes)| bytes).sum();
    let found = scan(&mut spliced, 0, recorded).map_err(FinishError::from)?;
    let tables = Tables::gather(&mut spliced, 0, &found).map_err(FinishError::from)?;
    let nanos = |span: Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
    let skipped = nanos(from.saturating_sub(begins));
    let left = nanos(tables.duration()) - skipped;
    let length = nanos(to.saturating_sub(from)).min(left).max(0);
    let shown = Shown { from_ns: skipped, length_ns: Some(length) };
    let created = since_1904_s(begun);
    let front = front(&tables, recorded, created, shown)?;
    Ok(Clip { front, ranges, duration: Duration::from_nanos(length.unsigned_abs()) })
}

/// Where the first segment begins, and the bytes of its initialisation and of all segments up to `to`.
fn ranges(index: &Index, from: Duration, to: Duration) -> Result<(Duration, [(u64, u64); 2]), ClipError> {
    let mut ends = Duration::ZERO;
    let mut chosen: Option<(Duration, usize, u64, u64)> = None;
    for segment in &index.segments {
        let begins = ends;
        ends += Duration::from_micros(segment.duration_us);
        if ends > from && begins < to {
            let (begins, init, first, _) =
                chosen.unwrap_or((begins, usize::from(segment.init), segment.offset, segment.offset));
            chosen = Some((begins, init, first, segment.offset + segment.bytes));
        }
    }
    let nothing = || ClipError::Empty(ends.as_secs_f64());
    let (begins, init, first, end) = chosen.filter(|_| from < to).ok_or_else(nothing)?;
    let init = index.inits.get(init).ok_or_else(nothing)?;
    Ok((begins, [(init.offset, u64::from(init.bytes)), (first, end - first)]))
}

/// Two ranges of a file, one behind the other.
struct Spliced<'a, R> {
    inner: &'a mut R,
    ranges: [(u64, u64); 2],
    at: u64,
}

impl<R: Read + Seek> Read for Spliced<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut before = 0;
        for (first, bytes) in self.ranges {
            if self.at < before + bytes {
                let inside = self.at - before;
                self.inner.seek(SeekFrom::Start(first + inside))?;
                let most = usize::try_from(bytes - inside).unwrap_or(usize::MAX).min(buffer.len());
                let read = self.inner.read(&mut buffer[..most])?;
                self.at += read as u64;
                return Ok(read);
            }
            before += bytes;
        }
        Ok(0)
    }
}

impl<R: Read + Seek> Seek for Spliced<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let whole: u64 = self.ranges.iter().map(|(_, bytes)| bytes).sum();
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => whole.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}
