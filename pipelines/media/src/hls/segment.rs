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
    /// All chunks in one piece.
    pub body: Bytes,
}

impl Segment {
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

/// File name of an initialisation segment, beside its playlist.
pub(super) fn init_file(take: &TakeId, init: u32) -> String {
    format!("init-{take}-{init}.mp4")
}

/// Path of a rendition's playlist, below the stream.
pub(super) fn playlist_path(rendition: &RenditionName) -> String {
    format!("{rendition}/index.m3u8")
}
