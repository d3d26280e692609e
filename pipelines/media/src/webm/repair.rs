//! Files of a [`super::writer::WebmWriter`] that were not finished: cut behind the last whole block, then ended as the writer would have.

use super::gate::Header;
use super::index::{CLUSTER_HEADER_BYTES, DURATION_BYTES, Index, Layout, SEEK_HEAD_BYTES, WebmEnding};
use super::reader::{Places, WebmError, WebmEvent, WebmReader, WebmTrack};
use super::writer::WriteError;
use crate::codec::TrackKind;
use std::io::{self, Read, Seek, SeekFrom};

/// A block this long or longer that is all zeros never reached the disk: no codec writes one. Shorter ones may be silence.
const MIN_ZEROS: usize = 4;

/// Why a file cannot be repaired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// The file cannot be read.
    #[error("cannot read: {0}")]
    Io(#[from] io::Error),
    /// There is not one whole block in it.
    #[error("there is no whole block in it")]
    Empty,
    /// It has not the places to overwrite that the writer leaves.
    #[error("it was not written by Skywave")]
    Foreign,
    /// The ending cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// How to repair a file: cut, append, overwrite, in this order. A finished file stays as it is, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// How long the file is up to the end of its last whole block, in bytes.
    pub keep_bytes: u64,
    /// Whole blocks.
    pub blocks: u64,
    /// What comes behind, and what is overwritten.
    pub ending: WebmEnding,
}

/// Reads the first `len` bytes of `reader` as a file of the writer, however it was cut.
///
/// # Errors
/// [`RepairError`].
pub fn repair(mut reader: impl Read + Seek, len: u64) -> Result<Repair, RepairError> {
    reader.seek(SeekFrom::Start(0))?;
    let mut found = Found::default();
    let mut events = WebmReader::new((&mut reader).take(len));
    loop {
        match events.next() {
            Ok(Some(event)) => {
                if !found.handle_event(&event, *events.places()) {
                    break;
                }
            }
            Ok(None) => break,
            Err(WebmError::Io(error)) => return Err(error.into()),
            // What is broken was cut, or never reached the disk.
            Err(WebmError::NotWebm | WebmError::Broken { .. } | WebmError::TooLarge { .. }) => break,
        }
    }
    let places = found.places.ok_or(RepairError::Empty)?;
    if found.foreign {
        return Err(RepairError::Foreign);
    }
    let layout = layout(&mut reader, &places)?;
    let ending = found.index.finish(&layout, places.block_end)?;
    Ok(Repair { keep_bytes: places.block_end, blocks: found.blocks, ending })
}

/// What is whole.
#[derive(Debug, Default)]
struct Found {
    tracks: Vec<WebmTrack>,
    index: Index,
    blocks: u64,
    /// A cluster has no room for its size.
    foreign: bool,
    /// As of the last block.
    places: Option<Places>,
}

impl Found {
    /// False: from here on nothing is of use.
    fn handle_event(&mut self, event: &WebmEvent, places: Places) -> bool {
        let block = match event {
            WebmEvent::Begin(_) if !self.tracks.is_empty() => return false,
            WebmEvent::Begin(tracks) => {
                let video = tracks.iter().any(|track| track.kind == Some(TrackKind::Video));
                self.index = Index::new(video);
                self.tracks.clone_from(tracks);
                return true;
            }
            WebmEvent::Block(block) => block,
        };
        let track = self.tracks.iter().find(|track| track.number == block.track);
        self.foreign |= places.cluster_content - places.cluster != CLUSTER_HEADER_BYTES;
        let Some(kind) = track.and_then(|track| track.kind) else { return false };
        if block.data.len() >= MIN_ZEROS && block.data.iter().all(|byte| *byte == 0) {
            return false;
        }
        let time_ms = u64::try_from(block.time_ns / 1_000_000).unwrap_or(0);
        self.index.handle_block(kind, time_ms, block.keyframe, &block.data, places.cluster);
        self.blocks += 1;
        self.places = Some(places);
        true
    }
}

/// The places that the writer leaves; they may have been overwritten before.
fn layout(reader: &mut (impl Read + Seek), places: &Places) -> Result<Layout, RepairError> {
    let (info, info_end) = places.info;
    let layout = Layout { segment: places.segment, info, info_end, tracks: places.tracks };
    let duration = info_end.checked_sub(DURATION_BYTES as u64).ok_or(RepairError::Foreign)?;
    let ordered =
        info == layout.segment + SEEK_HEAD_BYTES as u64 && duration > info && layout.tracks >= info_end;
    let size_at = layout.segment.checked_sub(8).ok_or(RepairError::Foreign)?;
    let mut byte = [0];
    reader.seek(SeekFrom::Start(size_at))?;
    reader.read_exact(&mut byte)?;
    let mut head = [0; DURATION_BYTES];
    reader.seek(SeekFrom::Start(duration))?;
    reader.read_exact(&mut head)?;
    let place = Header::parse(&head).ok().flatten();
    let free = place.is_some_and(|header| {
        matches!(header.id, 0xEC | 0x4489)
            && header.size.is_some_and(|size| size + header.length as u64 == DURATION_BYTES as u64)
    });
    // A size of eight bytes begins with a one.
    if ordered && byte == [1] && free { Ok(layout) } else { Err(RepairError::Foreign) }
}

#[cfg(test)]
mod tests;
