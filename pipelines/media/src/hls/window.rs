//! How long segments stay: in the playlist, behind it, in memory and outside of it.

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
    place: Place,
}

/// Where a row's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Memory,
    /// Given out to be stored; so many renditions have not been answered for yet.
    Leaving(usize),
    Stored,
}

/// The bounds of what is listed and of what is kept, the same for every rendition.
///
/// A segment that left the playlist stays retrievable for its own duration and that of the longest playlist that held it
/// (rfc8216bis section 6.2.2), unless memory or storage ends first.
#[derive(Debug)]
pub(super) struct Window {
    listed_nanos: u64,
    least_nanos: u64,
    max_bytes: usize,
    /// Rows with more than this behind them are to be stored; `None` keeps all in memory.
    store_nanos: Option<u64>,
    max_stored_bytes: u64,
    rows: VecDeque<Row>,
    listed_from: u64,
    memory_bytes: usize,
    stored_bytes: u64,
}

impl Window {
    pub(super) fn new(config: &HlsConfig) -> Self {
        let nanos = |d: std::time::Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        Self {
            listed_nanos: nanos(config.window),
            least_nanos: nanos(config.least_playlist()),
            max_bytes: config.max_bytes,
            store_nanos: config.store_after.map(nanos),
            max_stored_bytes: config.max_stored_bytes,
            rows: VecDeque::new(),
            listed_from: 0,
            memory_bytes: 0,
            stored_bytes: 0,
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

    /// Bytes of all segments in memory.
    pub(super) const fn bytes(&self) -> usize {
        self.memory_bytes
    }

    /// Bytes of all segments stored outside.
    pub(super) const fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// A rendition finished a segment.
    pub(super) fn add(&mut self, segment: &Segment) {
        self.memory_bytes += segment.bytes;
        let nanos = segment.duration_nanos();
        // Renditions may finish out of step, so a row may be missing in the middle.
        let place = self.rows.partition_point(|row| row.msn < segment.msn);
        match self.rows.get_mut(place).filter(|row| row.msn == segment.msn) {
            Some(row) => {
                row.nanos = row.nanos.max(nanos);
                row.bytes += segment.bytes;
            }
            None => {
                let row = Row { msn: segment.msn, nanos, bytes: segment.bytes, place: Place::Memory };
                self.rows.insert(place, row);
            }
        }
        self.trim();
    }

    /// The next media sequence number whose segments are to be stored, by so many renditions as `count` says: `None` while
    /// one of them may still have to make its own. Those that none has are stored as they are.
    pub(super) fn next_to_store(&mut self, count: impl Fn(u64) -> Option<usize>) -> Option<u64> {
        let after = self.store_nanos?;
        let mut behind: u64 = self.rows.iter().map(|row| row.nanos).sum();
        let mut memory = self.memory_bytes;
        for row in &mut self.rows {
            behind -= row.nanos;
            match row.place {
                Place::Stored => continue,
                Place::Leaving(_) => {}
                Place::Memory
                    if behind < after && (memory <= self.max_bytes || behind < self.least_nanos) =>
                {
                    return None;
                }
                Place::Memory => match count(row.msn)? {
                    0 => row.place = Place::Stored,
                    renditions => {
                        row.place = Place::Leaving(renditions);
                        return Some(row.msn);
                    }
                },
            }
            memory = memory.saturating_sub(row.bytes);
        }
        None
    }

    /// One rendition's segment of this number is stored. True when that was the last one.
    pub(super) fn stored(&mut self, msn: u64) -> bool {
        let Some(row) = self.rows.iter_mut().find(|row| row.msn == msn) else { return false };
        let Place::Leaving(left) = row.place else { return false };
        if left > 1 {
            row.place = Place::Leaving(left - 1);
            return false;
        }
        row.place = Place::Stored;
        self.memory_bytes -= row.bytes;
        self.stored_bytes += row.bytes as u64;
        self.trim();
        true
    }

    /// A segment of this number could not be stored: it and all before it are given up.
    pub(super) fn lost(&mut self, msn: u64) {
        while self.rows.front().is_some_and(|row| row.msn <= msn) {
            self.pop_front();
        }
        self.listed_from = self.listed_from.max(msn + 1);
    }

    fn pop_front(&mut self) {
        let Some(row) = self.rows.pop_front() else { return };
        match row.place {
            Place::Stored => self.stored_bytes = self.stored_bytes.saturating_sub(row.bytes as u64),
            Place::Memory | Place::Leaving(_) => self.memory_bytes -= row.bytes,
        }
        self.listed_from = self.listed_from.max(row.msn + 1);
    }

    fn trim(&mut self) {
        let listed_from = self.listed_from;
        let sum = |listed: bool| -> u64 {
            self.rows.iter().filter(|row| (row.msn >= listed_from) == listed).map(|row| row.nanos).sum()
        };
        let (mut rest, mut behind) = (sum(true), sum(false));
        // Leave the playlist.
        let unlisted = self.rows.partition_point(|row| row.msn < self.listed_from);
        for row in self.rows.iter().skip(unlisted) {
            if rest - row.nanos < self.listed_nanos {
                break;
            }
            rest -= row.nanos;
            behind += row.nanos;
            self.listed_from = row.msn + 1;
        }
        // Leave altogether: time is up, or there is no room.
        while let Some(first) = self.rows.front() {
            let unlisted = first.msn < self.listed_from;
            let expired = unlisted && behind.saturating_sub(first.nanos) >= self.listed_nanos + first.nanos;
            let full = match first.place {
                Place::Stored => self.stored_bytes > self.max_stored_bytes,
                // What can be stored makes room in memory that way.
                Place::Memory | Place::Leaving(_) => {
                    self.memory_bytes
                        > self.max_bytes.saturating_mul(1 + usize::from(self.store_nanos.is_some()))
                }
            };
            let crowded = full && (unlisted || rest.saturating_sub(first.nanos) >= self.least_nanos);
            if !expired && !crowded {
                break;
            }
            if unlisted {
                behind -= first.nanos;
            } else {
                rest -= first.nanos;
            }
            self.pop_front();
        }
    }
}
