//! What a file's end says about the whole of it: cues, duration, and the places that are overwritten. The writer and the repair share it,
//! so that a repaired file has what a finished one would have had.

use super::gate::id;
use super::writer::WriteError;
use crate::codec::TrackKind;
use crate::depacketize::opus::duration_48k;
use bytes::Bytes;
use webm_iterable::WebmWriter as TagWriter;
use webm_iterable::WriteOptions;
use webm_iterable::matroska_spec::{Master, MatroskaSpec};

/// The video track's number in every file.
pub(super) const VIDEO: u64 = 1;
/// The audio track's number in every file.
pub(super) const AUDIO: u64 = 2;

/// Bytes kept free for a SeekHead, at the front of the Segment: 68 are needed.
pub(super) const SEEK_HEAD_BYTES: usize = 96;
/// Bytes kept free for a Duration, at the end of Info: two of identifier, one of size, eight of content.
pub(super) const DURATION_BYTES: usize = 11;
/// Bytes of a Segment's and a Cluster's size, before its content.
const SIZE_BYTES: u64 = 8;
/// Bytes of a Cluster before its content: four of identifier and those of its size.
pub(super) const CLUSTER_HEADER_BYTES: u64 = 4 + SIZE_BYTES;

/// Bytes to append to a file, and to overwrite in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebmEnding {
    /// Cues, to append.
    pub append: Bytes,
    /// What to overwrite: the offset in the file in bytes, and the bytes. Append first: until all is on the disk the file is as it was.
    pub patches: Vec<(u64, Bytes)>,
    /// How long the file lasts, in milliseconds.
    pub duration_ms: u64,
}

/// Where the parts of a file lie, in bytes from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Layout {
    /// Where the content of the Segment begins.
    pub(super) segment: u64,
    pub(super) info: u64,
    pub(super) info_end: u64,
    pub(super) tracks: u64,
}

/// Blocks as they are written or read.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Clusters that can be sought to: time in milliseconds, track, and offset in the file.
    cues: Vec<(u64, u64, u64)>,
    /// Where each cluster begins in the file.
    clusters: Vec<u64>,
    /// The cluster the newest cue names.
    cued: Option<u64>,
    has_video: bool,
    /// The latest picture, and how far it is from the one before, in milliseconds.
    picture: Option<(u64, u64)>,
    /// Where the sound ends, in milliseconds.
    sound_end: f64,
}

impl Index {
    pub(super) fn new(has_video: bool) -> Self {
        Self { has_video, ..Self::default() }
    }

    /// A block. `cluster`: where its cluster begins in the file.
    pub(super) fn handle_block(
        &mut self,
        kind: TrackKind,
        time_ms: u64,
        keyframe: bool,
        data: &[u8],
        cluster: u64,
    ) {
        match kind {
            TrackKind::Video => match self.picture {
                Some((last, _)) if time_ms > last => self.picture = Some((time_ms, time_ms - last)),
                Some(_) => {}
                None => self.picture = Some((time_ms, 0)),
            },
            TrackKind::Audio => {
                let ticks = duration_48k(data).unwrap_or(0);
                self.sound_end = self.sound_end.max(time_ms as f64 + ticks as f64 / 48.0);
            }
        }
        if self.clusters.last() != Some(&cluster) {
            self.clusters.push(cluster);
        }
        let (wanted, track) = match self.has_video {
            true => (kind == TrackKind::Video && keyframe, VIDEO),
            false => (true, AUDIO),
        };
        if wanted && self.cued != Some(cluster) {
            self.cued = Some(cluster);
            self.cues.push((time_ms, track, cluster));
        }
    }

    /// The end of a file of `len` bytes.
    pub(super) fn finish(&self, layout: &Layout, len: u64) -> Result<WebmEnding, WriteError> {
        let picture_end = self.picture.map_or(0, |(last, spacing)| last + spacing) as f64;
        let duration = picture_end.max(self.sound_end);
        let append = self.cues(layout)?;
        let mut seek_head = vec![
            seek(id::INFO, layout.info - layout.segment),
            seek(id::TRACKS, layout.tracks - layout.segment),
        ];
        if !append.is_empty() {
            seek_head.push(seek(0x1C53_BB6B, len.saturating_sub(layout.segment)));
        }
        let mut places = within(&[], &MatroskaSpec::SeekHead(Master::Full(seek_head)))?;
        let rest = SEEK_HEAD_BYTES.checked_sub(places.len() + 2).ok_or(WriteError::Element)?;
        places.extend(within(&[], &MatroskaSpec::Void(vec![0; rest]))?);
        let info = MatroskaSpec::Info(Master::Start);
        let duration_element = within(&[info], &MatroskaSpec::Duration(duration))?;
        let total = len + append.len() as u64 - layout.segment;
        let mut patches = vec![
            (layout.segment, places.into()),
            (layout.info_end - DURATION_BYTES as u64, duration_element.into()),
        ];
        // In a Segment of known size all is of known size (RFC 8794 section 6.2), so it comes last.
        let ends = self.clusters.iter().skip(1).chain([&len]);
        for (start, end) in self.clusters.iter().zip(ends) {
            let content = start + CLUSTER_HEADER_BYTES;
            patches.push((content - SIZE_BYTES, known_size(end.saturating_sub(content))));
        }
        patches.push((layout.segment - SIZE_BYTES, known_size(total)));
        Ok(WebmEnding { append, patches, duration_ms: duration.round() as u64 })
    }

    fn cues(&self, layout: &Layout) -> Result<Bytes, WriteError> {
        if self.cues.is_empty() {
            return Ok(Bytes::new());
        }
        let point = |&(time, track, cluster): &(u64, u64, u64)| {
            let positions = vec![
                MatroskaSpec::CueTrack(track),
                MatroskaSpec::CueClusterPosition(cluster.saturating_sub(layout.segment)),
            ];
            MatroskaSpec::CuePoint(Master::Full(vec![
                MatroskaSpec::CueTime(time),
                MatroskaSpec::CueTrackPositions(Master::Full(positions)),
            ]))
        };
        let points = self.cues.iter().map(point).collect();
        Ok(within(&[], &MatroskaSpec::Cues(Master::Full(points)))?.into())
    }
}

/// A Seek element: what, and where in the Segment.
fn seek(id: u64, position: u64) -> MatroskaSpec {
    let id = (id as u32).to_be_bytes().to_vec();
    MatroskaSpec::Seek(Master::Full(vec![MatroskaSpec::SeekID(id), MatroskaSpec::SeekPosition(position)]))
}

/// Eight bytes of a known size (RFC 8794 section 4.3).
fn known_size(size: u64) -> Bytes {
    Bytes::copy_from_slice(&(size | 1 << 56).to_be_bytes())
}

/// The bytes of one element that stands in a Segment and further inside `parents`: the crate's writer takes none outside its path.
pub(super) fn within(parents: &[MatroskaSpec], element: &MatroskaSpec) -> Result<Vec<u8>, WriteError> {
    let mut writer = TagWriter::new(Vec::new());
    writer.write_advanced(&MatroskaSpec::Segment(Master::Start), WriteOptions::is_unknown_sized_element())?;
    for parent in parents {
        writer.write_advanced(parent, WriteOptions::is_unknown_sized_element())?;
    }
    writer.write(&MatroskaSpec::Void(Vec::new()))?;
    writer.get_mut().clear();
    writer.write(element)?;
    Ok(std::mem::take(writer.get_mut()))
}
