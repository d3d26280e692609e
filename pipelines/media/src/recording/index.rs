//! The index of HLS segments inside a finished recording: which bytes of the file are an initialisation, which a segment.

use serde::{Deserialize, Serialize};
use std::io::{self, Read, Seek, SeekFrom};

/// Names our box among `uuid` boxes (ISO/IEC 14496-12 section 11.1).
const INDEX_UUID: [u8; 16] =
    [0x5b, 0x0e, 0x1f, 0x7c, 0x8a, 0x43, 0x4d, 0x1e, 0x9c, 0x52, 0x73, 0x6b, 0x79, 0x77, 0x76, 0x31];

/// The version of the index's form.
const VERSION: u8 = 1;

/// A day of segments has less.
const MAX_INDEX_BYTES: u64 = 16 << 20;

/// Boxes that may stand before the media.
const MAX_FRONT_BOXES: usize = 16;

/// An initialisation in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitRange {
    /// First byte; in a read index from the beginning of the file.
    pub offset: u64,
    /// Its size.
    pub bytes: u32,
    /// `CODECS` of what follows (RFC 6381).
    pub codecs: String,
    /// Width of the picture in pixels, 0 without video.
    pub width: u16,
    /// Height of the picture in pixels, 0 without video.
    pub height: u16,
}

/// A segment in the file: whole fragments, beginning with a keyframe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRange {
    /// First byte; in a read index from the beginning of the file.
    pub offset: u64,
    /// Its size.
    pub bytes: u64,
    /// How long it lasts, in microseconds.
    pub duration_us: u64,
    /// Number of the initialisation it needs.
    pub init: u16,
    /// Bytes from its beginning to the end of its keyframe; 0 without video.
    pub keyframe_bytes: u32,
}

/// Everything an HLS playlist needs to know of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Index {
    /// Initialisations, in order.
    pub inits: Vec<InitRange>,
    /// Segments, in order.
    pub segments: Vec<SegmentRange>,
}

/// Why a file has no index that can be read.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The file cannot be read.
    #[error("cannot read: {0}")]
    Io(#[from] io::Error),
    /// It is not a finished recording of Skywave, or a damaged one.
    #[error("not a finished recording: {0}")]
    Format(&'static str),
}

impl Index {
    /// The index as a `uuid` box, its offsets from the beginning of the recorded bytes.
    pub(super) fn to_box(&self) -> Vec<u8> {
        let body = postcard::to_stdvec(self).expect("plain values in memory can be written to memory");
        let size =
            u32::try_from(8 + 16 + 1 + body.len()).expect("an index is bounded by the length of a file");
        let mut out = Vec::with_capacity(body.len() + 25);
        out.extend_from_slice(&size.to_be_bytes());
        out.extend_from_slice(b"uuid");
        out.extend_from_slice(&INDEX_UUID);
        out.push(VERSION);
        out.extend_from_slice(&body);
        out
    }
}

/// Reads the index of a finished recording of `len` bytes, its offsets counted from the beginning of the file. Touches the front of the file
/// only.
///
/// # Errors
/// [`IndexError`].
pub fn read_index(reader: &mut (impl Read + Seek), len: u64) -> Result<Index, IndexError> {
    let mut index = None;
    let mut at = 0;
    for _ in 0..MAX_FRONT_BOXES {
        let (kind, header, size) = front_box(reader, at, len)?;
        match &kind {
            b"uuid" if index.is_none() => index = read_box(reader, size - header)?,
            b"mdat" => {
                let index = index.ok_or(IndexError::Format("there is no index before the media"))?;
                return absolute(index, at + header, at + size);
            }
            _ => {}
        }
        at += size;
    }
    Err(IndexError::Format("the media does not come after the tables"))
}

/// Where the recorded bytes of a finished file lie: first byte and length.
pub(super) fn recorded_range(reader: &mut (impl Read + Seek), len: u64) -> Result<(u64, u64), IndexError> {
    let mut at = 0;
    for _ in 0..MAX_FRONT_BOXES {
        let (kind, header, size) = front_box(reader, at, len)?;
        if &kind == b"mdat" {
            return Ok((at + header, size - header));
        }
        at += size;
    }
    Err(IndexError::Format("the media does not come after the tables"))
}

/// Type, size of the header and whole size of the box at `at`, which the reader then stands behind the header of.
fn front_box(reader: &mut (impl Read + Seek), at: u64, len: u64) -> Result<([u8; 4], u64, u64), IndexError> {
    let short = IndexError::Format("it ends before its media");
    if len.saturating_sub(at) < 8 {
        return Err(short);
    }
    reader.seek(SeekFrom::Start(at))?;
    let mut head = [0; 8];
    reader.read_exact(&mut head)?;
    let [a, b, c, d, kind @ ..] = head;
    let (header, size) = match u32::from_be_bytes([a, b, c, d]) {
        1 => {
            reader.read_exact(&mut head)?;
            (16, u64::from_be_bytes(head))
        }
        size => (8, u64::from(size)),
    };
    if size < header || size > len - at {
        return Err(short);
    }
    Ok((kind, header, size))
}

fn read_box(reader: &mut impl Read, bytes: u64) -> Result<Option<Index>, IndexError> {
    let bytes = usize::try_from(bytes).ok().filter(|&n| (17..=MAX_INDEX_BYTES).contains(&(n as u64)));
    let Some(bytes) = bytes else { return Ok(None) };
    let mut body = vec![0; bytes];
    reader.read_exact(&mut body)?;
    let (uuid, rest) = body.split_at(16);
    match rest {
        [VERSION, index @ ..] if uuid == INDEX_UUID => {
            postcard::from_bytes(index).map(Some).map_err(|_| IndexError::Format("its index is damaged"))
        }
        _ => Ok(None),
    }
}

/// The index with offsets from the beginning of the file, if all of it lies inside the media.
fn absolute(mut index: Index, base: u64, end: u64) -> Result<Index, IndexError> {
    let damaged = || IndexError::Format("its index points outside");
    let place = |offset: &mut u64, bytes: u64| {
        let at = offset.checked_add(base).filter(|at| at.checked_add(bytes).is_some_and(|to| to <= end))?;
        *offset = at;
        Some(())
    };
    for init in &mut index.inits {
        place(&mut init.offset, u64::from(init.bytes)).ok_or_else(damaged)?;
    }
    for segment in &mut index.segments {
        place(&mut segment.offset, segment.bytes).ok_or_else(damaged)?;
        if usize::from(segment.init) >= index.inits.len() || u64::from(segment.keyframe_bytes) > segment.bytes
        {
            return Err(damaged());
        }
    }
    Ok(index)
}
