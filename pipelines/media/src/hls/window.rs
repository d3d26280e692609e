//! How long segments stay: in the playlist, and behind it.

use super::HlsConfig;
use super::segment::Segment;
use std::collections::VecDeque;

/// One media sequence number over all renditions.
#[derive(Debug)]
struct Row {
    msn: u64,
    /// The longest of its segments.
    nanos: u64,
    bytes: usize,
}

/// The bounds of what is listed and of what is kept, the same for every rendition.
///
/// A segment that left the playlist stays retrievable for its own duration and that of the longest playlist that held it
/// (rfc8216bis section 6.2.2), unless memory ends first.
#[derive(Debug)]
pub(super) struct Window {
    listed_nanos: u64,
    least_nanos: u64,
    max_bytes: usize,
    rows: VecDeque<Row>,
    listed_from: u64,
    bytes: usize,
}

impl Window {
    pub(super) fn new(config: &HlsConfig) -> Self {
        let nanos = |d: std::time::Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        Self {
            listed_nanos: nanos(config.window),
            least_nanos: nanos(config.least_playlist()),
            max_bytes: config.max_bytes,
            rows: VecDeque::new(),
            listed_from: 0,
            bytes: 0,
        }
    }

    /// The first media sequence number in the playlists.
    pub(super) const fn listed_from(&self) -> u64 {
        self.listed_from
    }

    /// The first media sequence number that is kept.
    pub(super) fn kept_from(&self) -> u64 {
        self.rows.front().map_or(self.listed_from, |row| row.msn)
    }

    /// Bytes of all segments kept.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// A rendition finished a segment.
    pub(super) fn add(&mut self, segment: &Segment) {
        self.bytes += segment.body.len();
        let nanos = segment.duration_nanos();
        // Renditions may finish out of step, so a row may be missing in the middle.
        let place = self.rows.partition_point(|row| row.msn < segment.msn);
        match self.rows.get_mut(place).filter(|row| row.msn == segment.msn) {
            Some(row) => {
                row.nanos = row.nanos.max(nanos);
                row.bytes += segment.body.len();
            }
            None => self.rows.insert(place, Row { msn: segment.msn, nanos, bytes: segment.body.len() }),
        }
        self.trim();
    }

    fn trim(&mut self) {
        let listed_from = self.listed_from;
        let sum = |listed: bool| -> u64 {
            self.rows.iter().filter(|row| (row.msn >= listed_from) == listed).map(|row| row.nanos).sum()
        };
        let (mut rest, mut behind) = (sum(true), sum(false));
        // Leave the playlist.
        while let Some(first) = self.rows.iter().find(|row| row.msn >= self.listed_from) {
            if rest - first.nanos < self.listed_nanos {
                break;
            }
            rest -= first.nanos;
            behind += first.nanos;
            self.listed_from = first.msn + 1;
        }
        // Leave the memory: time is up, or there is no room.
        while let Some(first) = self.rows.front() {
            let unlisted = first.msn < self.listed_from;
            let expired = unlisted && behind.saturating_sub(first.nanos) >= self.listed_nanos + first.nanos;
            let crowded = self.bytes > self.max_bytes
                && (unlisted || rest.saturating_sub(first.nanos) >= self.least_nanos);
            if !expired && !crowded {
                break;
            }
            if unlisted {
                behind -= first.nanos;
            } else {
                rest -= first.nanos;
                self.listed_from = first.msn + 1;
            }
            self.bytes -= first.bytes;
            self.rows.pop_front();
        }
    }
}
