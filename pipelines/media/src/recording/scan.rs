//! Reads what a recorder has written, as far as it is whole.

use super::VIDEO_TRACK;
use crate::h264::avcc_nals;
use mp4_atom as mp4;
use mp4_atom::{Decode, Encode};
use std::io::{self, Read, Seek, SeekFrom};

/// An initialisation is a few hundred bytes.
const MAX_MOOV_BYTES: u64 = 1 << 20;
/// A fragment of 16 MB of the smallest samples has less.
const MAX_MOOF_BYTES: u64 = 32 << 20;
/// Fragments that may not have reached the disk when the power went, although the file is as long as if they had.
const DOUBTFUL: usize = 8;

/// Why a file cannot be read at all. A file that ends early is no error.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The file cannot be read.
    #[error("cannot read: {0}")]
    Io(#[from] io::Error),
    /// There is not one whole fragment in it.
    #[error("there is no whole fragment in it")]
    Empty,
}

/// What a file has of whole initialisations and fragments.
#[derive(Debug)]
pub struct Scan {
    pub(super) parts: Vec<Part>,
    /// Where the file, cut behind its last whole fragment, ends.
    pub whole_bytes: u64,
    /// Bytes behind that.
    pub lost_bytes: u64,
}

/// A piece of the file.
#[derive(Debug)]
pub(super) enum Part {
    Init(Box<Init>),
    Fragment(Fragment),
}

#[derive(Debug)]
pub(super) struct Init {
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) moov: mp4::Moov,
}

/// A fragment without its samples, which are read again when they are wanted: a long take has hundreds of thousands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fragment {
    pub(super) offset: u64,
    pub(super) moof_bytes: u64,
    pub(super) bytes: u64,
}

/// The samples of one track in one fragment.
#[derive(Debug)]
pub(super) struct Samples {
    pub(super) track_id: u32,
    pub(super) base: u64,
    /// Where the first one lies, from the beginning of the `moof`.
    pub(super) data_offset: u64,
    pub(super) samples: Vec<Sample>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) duration: u32,
    pub(super) size: u32,
    pub(super) composition_offset: i64,
    pub(super) sync: bool,
}

impl Scan {
    /// Whole fragments.
    pub fn fragments(&self) -> usize {
        self.parts.iter().filter(|part| matches!(part, Part::Fragment(_))).count()
    }
}

/// Reads `len` bytes from `start` on as a recorder's file. Takes what is whole; the last fragments are looked at closely, because after a
/// power cut a file may be longer than what has reached the disk.
///
/// # Errors
/// [`ScanError`].
pub fn scan(reader: &mut (impl Read + Seek), start: u64, len: u64) -> Result<Scan, ScanError> {
    let end = start.saturating_add(len);
    let mut parts = Vec::new();
    let mut at = start;
    let mut initialised = false;
    loop {
        let next = match header(reader, at, end)? {
            Some((kind, size)) if &kind == b"ftyp" => read_init(reader, at, size, end)?.map(|init| {
                initialised = true;
                (init.bytes, Part::Init(Box::new(init)))
            }),
            Some((kind, size)) if &kind == b"moof" && initialised => read_fragment(reader, at, size, end)?
                .map(|fragment| (fragment.bytes, Part::Fragment(fragment))),
            _ => None,
        };
        let Some((bytes, part)) = next else { break };
        parts.push(part);
        at += bytes;
    }
    drop_doubtful(reader, &mut parts)?;
    // An initialisation without a fragment behind it is of no use.
    while matches!(parts.last(), Some(Part::Init(_))) {
        parts.pop();
    }
    let whole = match parts.last() {
        Some(Part::Fragment(last)) => last.offset + last.bytes,
        _ => return Err(ScanError::Empty),
    };
    Ok(Scan { parts, whole_bytes: whole - start, lost_bytes: end - whole })
}

/// Type and size of the box at `at`, if all of it lies before `end`.
fn header(reader: &mut (impl Read + Seek), at: u64, end: u64) -> io::Result<Option<([u8; 4], u64)>> {
    if end.saturating_sub(at) < 8 {
        return Ok(None);
    }
    let mut head = [0; 8];
    reader.seek(SeekFrom::Start(at))?;
    if !read_whole(reader, &mut head)? {
        return Ok(None);
    }
    let [a, b, c, d, kind @ ..] = head;
    let size = u64::from(u32::from_be_bytes([a, b, c, d]));
    // A recorder writes no large and no endless boxes.
    Ok((size >= 8 && size <= end - at).then_some((kind, size)))
}

/// Fills the buffer; false when the file ends before.
fn read_whole(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn read_bytes(reader: &mut (impl Read + Seek), at: u64, bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
    reader.seek(SeekFrom::Start(at))?;
    Ok(read_whole(reader, &mut buffer)?.then_some(buffer))
}

fn read_init(
    reader: &mut (impl Read + Seek),
    offset: u64,
    ftyp_bytes: u64,
    end: u64,
) -> io::Result<Option<Init>> {
    let Some((kind, moov_bytes)) = header(reader, offset + ftyp_bytes, end)? else { return Ok(None) };
    if &kind != b"moov" || moov_bytes > MAX_MOOV_BYTES {
        return Ok(None);
    }
    let Some(body) = read_bytes(reader, offset + ftyp_bytes, moov_bytes)? else { return Ok(None) };
    let moov = mp4::Moov::decode(&mut body.as_slice()).ok();
    let usable = |moov: &mp4::Moov| {
        let tracks = &moov.trak;
        !tracks.is_empty()
            && tracks.iter().all(|t| t.mdia.mdhd.timescale > 0 && t.mdia.minf.stbl.stsd.codecs.len() == 1)
    };
    Ok(moov.filter(usable).map(|moov| Init { offset, bytes: ftyp_bytes + moov_bytes, moov }))
}

fn read_fragment(
    reader: &mut (impl Read + Seek),
    offset: u64,
    moof_bytes: u64,
    end: u64,
) -> io::Result<Option<Fragment>> {
    if moof_bytes > MAX_MOOF_BYTES {
        return Ok(None);
    }
    let Some((kind, mdat_bytes)) = header(reader, offset + moof_bytes, end)? else { return Ok(None) };
    if &kind != b"mdat" {
        return Ok(None);
    }
    let fragment = Fragment { offset, moof_bytes, bytes: moof_bytes + mdat_bytes };
    Ok(samples(reader, &fragment)?.map(|_| fragment))
}

/// The samples of a fragment, as its `moof` lists them; `None` when it makes no sense.
pub(super) fn samples(
    reader: &mut (impl Read + Seek),
    fragment: &Fragment,
) -> io::Result<Option<Vec<Samples>>> {
    let Some(body) = read_bytes(reader, fragment.offset, fragment.moof_bytes)? else { return Ok(None) };
    let Ok(moof) = mp4::Moof::decode(&mut body.as_slice()) else { return Ok(None) };
    Ok(moof.traf.iter().map(|traf| run_of(traf, fragment)).collect())
}

fn run_of(traf: &mp4::Traf, fragment: &Fragment) -> Option<Samples> {
    let [trun] = traf.trun.as_slice() else { return None };
    let data_offset = u64::try_from(trun.data_offset?).ok()?;
    let mp4::TrunSamples::Explicit(entries) = &trun.samples else { return None };
    let mut left = fragment.bytes.checked_sub(data_offset)?;
    let defaults = &traf.tfhd;
    let mut samples = Vec::with_capacity(entries.len());
    for entry in entries {
        let size = entry.size.or(defaults.default_sample_size)?;
        left = left.checked_sub(u64::from(size))?;
        let flags = entry.flags.or(defaults.default_sample_flags)?;
        samples.push(Sample {
            duration: entry.duration.or(defaults.default_sample_duration)?,
            size,
            composition_offset: entry.cts.unwrap_or(0),
            // sample_is_non_sync_sample, ISO/IEC 14496-12 section 8.8.3.1.
            sync: flags & 0x0001_0000 == 0,
        });
    }
    let base = traf.tfdt.as_ref()?.base_media_decode_time;
    let known = base < 1 << 48 && data_offset >= fragment.moof_bytes && !samples.is_empty();
    known.then_some(Samples { track_id: defaults.track_id, base, data_offset, samples })
}

/// Removes the last fragments until they hold what they say.
fn drop_doubtful(reader: &mut (impl Read + Seek), parts: &mut Vec<Part>) -> io::Result<()> {
    let mut good = parts.len();
    let last =
        parts.iter().enumerate().rev().filter(|(_, part)| matches!(part, Part::Fragment(_))).take(DOUBTFUL);
    for (number, part) in last {
        if let Part::Fragment(fragment) = part
            && !is_sound(reader, fragment)?
        {
            good = number;
        }
    }
    parts.truncate(good);
    Ok(())
}

/// Whether the pictures are made of NAL units from end to end, and the sound is not all zeros: blocks that never reached the disk read as
/// zeros.
fn is_sound(reader: &mut (impl Read + Seek), fragment: &Fragment) -> io::Result<bool> {
    let Some(runs) = samples(reader, fragment)? else { return Ok(false) };
    for run in runs {
        let mut at = fragment.offset + run.data_offset;
        for sample in &run.samples {
            let Some(data) = read_bytes(reader, at, u64::from(sample.size))? else { return Ok(false) };
            at += u64::from(sample.size);
            let sound = match run.track_id {
                VIDEO_TRACK => {
                    avcc_nals(&data, 4).all(|nal| nal.is_ok_and(|nal| nal.iter().any(|&byte| byte != 0)))
                        && !data.starts_with(&[0; 4])
                }
                _ => data.iter().any(|&byte| byte != 0),
            };
            if !sound && !data.is_empty() {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// A sample entry's bytes, by which entries are compared.
pub(super) fn entry_bytes(entry: &mp4::Codec) -> Vec<u8> {
    let mut bytes = Vec::new();
    match entry.encode(&mut bytes) {
        Ok(()) => bytes,
        // What was decoded can be encoded; if not, it is like no other.
        Err(_) => Vec::new(),
    }
}
