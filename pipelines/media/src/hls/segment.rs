//! What players fetch: segments and the parts they are made of.

use super::{RenditionName, TakeId};
use bytes::Bytes;

/// A part of a segment (rfc8216bis section 4.4.4.9): one CMAF chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its duration, in ticks of the segment's timescale.
    pub duration_ticks: u64,
    /// A player can start here.
    pub independent: bool,
    /// The chunk; once the segment is finished, a slice of its body.
    pub body: Bytes,
}

/// A media segment of one rendition, finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Media sequence number, the same for the same time in every rendition.
    pub msn: u64,
    /// Discontinuity sequence number (rfc8216bis section 4.4.3.3).
    pub discontinuity_sequence: u64,
    /// The timeline, the format or the publisher changed before it.
    pub discontinuity: bool,
    /// Nothing was there to put in: listed with `EXT-X-GAP`.
    pub gap: bool,
    /// Which of the rendition's initialisation segments it needs.
    pub init: u32,
    /// Ticks per second of its times.
    pub timescale: u32,
    /// Decode time of its first sample, in ticks since the start of the stream's timeline (its first `tfdt`).
    pub start_ticks: u64,
    /// Its duration in ticks.
    pub duration_ticks: u64,
    /// Its chunks in order; empty for a gap.
    pub parts: Vec<Part>,
    /// All chunks in one piece; empty when it is [`Self::stored`].
    pub body: Bytes,
    /// Size of all its chunks.
    pub bytes: usize,
    /// Its chunks are no longer in memory: whoever took [`HlsEvent::Store`](super::HlsEvent) has them.
    pub stored: bool,
    /// How many bytes from its beginning hold its first picture, which decodes by itself; none for sound and gaps.
    pub keyframe_bytes: Option<usize>,
}

impl Segment {
    /// The same without its chunks, for when they are stored outside.
    pub(super) fn without_body(&self) -> Self {
        Self { parts: Vec::new(), body: Bytes::new(), stored: true, ..self.clone() }
    }

    /// Its duration in nanoseconds.
    pub fn duration_nanos(&self) -> u64 {
        ticks_to_nanos(self.duration_ticks, self.timescale)
    }

    /// Where it begins on the stream's timeline, in nanoseconds.
    pub fn start_nanos(&self) -> u64 {
        ticks_to_nanos(self.start_ticks, self.timescale)
    }

    /// Where it ends on the stream's timeline, in nanoseconds.
    pub fn end_nanos(&self) -> u64 {
        ticks_to_nanos(self.start_ticks.saturating_add(self.duration_ticks), self.timescale)
    }
}

/// Ticks of a clock as nanoseconds, rounded to the nearest; saturates after 584 years.
pub(super) fn ticks_to_nanos(ticks: u64, timescale: u32) -> u64 {
    let timescale = u128::from(timescale.max(1));
    let nanos = (u128::from(ticks) * 1_000_000_000 + timescale / 2) / timescale;
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

/// Nanoseconds as ticks of a clock, rounded to the nearest.
pub(super) fn nanos_to_ticks(nanos: u64, timescale: u32) -> u64 {
    let ticks = (u128::from(nanos) * u128::from(timescale) + 500_000_000) / 1_000_000_000;
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// File name of a segment, beside its playlist.
pub(super) fn segment_file(take: &TakeId, msn: u64) -> String {
    format!("{take}-{msn}.m4s")
}

/// File name of a part, beside its playlist.
pub(super) fn part_file(take: &TakeId, msn: u64, part: usize) -> String {
    format!("{take}-{msn}.{part}.m4s")
}

/// File name of an initialisation segment, beside its playlist.
pub(super) fn init_file(take: &TakeId, init: u32) -> String {
    format!("init-{take}-{init}.mp4")
}

/// File name of every media playlist.
pub(super) const PLAYLIST_FILE: &str = "index.m3u8";

/// File name of the playlist of a rendition's keyframes.
pub(super) const KEYFRAMES_FILE: &str = "iframes.m3u8";

/// Path of a rendition's playlist, below the stream.
pub(super) fn playlist_path(rendition: &RenditionName) -> String {
    format!("{rendition}/{PLAYLIST_FILE}")
}

/// Path of the playlist of a rendition's keyframes, below the stream.
pub(super) fn keyframes_path(rendition: &RenditionName) -> String {
    format!("{rendition}/{KEYFRAMES_FILE}")
}
