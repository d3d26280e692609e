//! What is remembered of a rendition: bounded, however long a check lasts.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use reqwest::Url;

use crate::event::Answer;
use crate::mp4::{Fragments, Track};
use crate::multivariant::RenditionKind;
use crate::playlist::{DateRange, MediaPlaylist, Position, Segment};

/// Segments remembered behind the playlist's beginning.
const KEPT_SEGMENTS: u64 = 400;
/// Parts whose first appearance is remembered.
const KEPT_PARTS: usize = 4000;
/// Answers whose end of the playlist is remembered.
const KEPT_ANSWERS: usize = 400;
/// Full playlists that a delta update may be compared with.
pub(super) const KEPT_PLAYLISTS: usize = 12;
/// Segments at the end whose bytes are kept until they can be compared with those of their parts.
const KEPT_MEDIA: u64 = 12;
/// Answers to hints whose part has not been listed.
const KEPT_HINTS: usize = 16;

/// The end of a playlist: media sequence number and part index.
pub(super) type Last = (u64, Option<u64>);

/// One rendition.
#[derive(Debug)]
pub(super) struct Rendition {
    /// As the multivariant playlist writes it.
    pub(super) uri: String,
    pub(super) url: Url,
    pub(super) kind: RenditionKind,
    pub(super) last: Option<MediaPlaylist>,
    /// When the request for `last` was sent, and when it was answered.
    pub(super) last_times: (Duration, Duration),
    pub(super) seen: VecDeque<Seen>,
    /// When a part was first known to be there.
    pub(super) first: BTreeMap<Position, Duration>,
    pub(super) last_segment_at: Option<Duration>,
    pub(super) last_part_at: Option<Duration>,
    pub(super) waits: VecDeque<Wait>,
    pub(super) full: VecDeque<MediaPlaylist>,
    pub(super) merged: VecDeque<(u64, MediaPlaylist)>,
    pub(super) segments: BTreeMap<u64, Known>,
    pub(super) maps: BTreeMap<String, (Bytes, Option<Track>)>,
    pub(super) hints: VecDeque<(String, Answer)>,
    pub(super) dateranges: BTreeMap<String, DateRange>,
    /// The first date mapping of each discontinuity sequence number: milliseconds of the wall clock at media time 0.
    pub(super) date_at_zero: BTreeMap<u64, f64>,
}

/// Where a playlist ended in one answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) done: Duration,
    pub(super) last: Last,
}

/// A blocking request that was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    pub(super) msn: u64,
    pub(super) part: Option<u64>,
    pub(super) asked: Duration,
    pub(super) done: Duration,
}

/// What a rendition report told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub(super) by: usize,
    pub(super) about: usize,
    pub(super) last: Last,
    pub(super) began: Duration,
    pub(super) done: Duration,
}

/// A segment as it was listed, with what its media are.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) segment: Segment,
    pub(super) whole: Option<Whole>,
    pub(super) parts: BTreeMap<u64, PartMedia>,
    /// Parts and whole were compared.
    pub(super) compared: bool,
}

impl Known {
    /// Lets go of the bytes: they were compared, or cannot be any more.
    pub(super) fn let_go(&mut self) {
        if let Some(whole) = &mut self.whole {
            whole.media = None;
        }
        for part in self.parts.values_mut() {
            part.media = None;
        }
    }
}

/// Media of a segment.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) span: Span,
    pub(super) bytes: u64,
    pub(super) samples: usize,
    /// Kept until it was compared with its parts.
    pub(super) media: Option<(Bytes, Fragments)>,
}

/// Media of a part.
#[derive(Debug)]
pub(super) struct PartMedia {
    pub(super) begin: u64,
    pub(super) end: u64,
    pub(super) media: Option<(Bytes, Fragments)>,
}

/// A piece of a timeline.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// Ticks.
    pub(super) begin: u64,
    /// Ticks.
    pub(super) end: u64,
    /// Ticks per second.
    pub(super) timescale: u32,
}

impl Span {
    pub(super) fn begin_s(&self) -> f64 {
        self.begin as f64 / f64::from(self.timescale)
    }

    pub(super) fn end_s(&self) -> f64 {
        self.end as f64 / f64::from(self.timescale)
    }

    pub(super) fn seconds(&self) -> f64 {
        self.end_s() - self.begin_s()
    }
}

impl Rendition {
    pub(super) fn new(uri: String, url: Url, kind: RenditionKind) -> Self {
        Self {
            uri,
            url,
            kind,
            last: None,
            last_times: (Duration::ZERO, Duration::ZERO),
            seen: VecDeque::new(),
            first: BTreeMap::new(),
            last_segment_at: None,
            last_part_at: None,
            waits: VecDeque::new(),
            full: VecDeque::new(),
            merged: VecDeque::new(),
            segments: BTreeMap::new(),
            maps: BTreeMap::new(),
            hints: VecDeque::new(),
            dateranges: BTreeMap::new(),
            date_at_zero: BTreeMap::new(),
        }
    }

    /// Takes in the segments and parts of a playlist that was answered at `done`.
    pub(super) fn remember(&mut self, playlist: &MediaPlaylist, done: Duration) {
        for segment in &playlist.segments {
            let known = self.segments.entry(segment.msn).or_insert_with(|| Known {
                segment: segment.clone(),
                whole: None,
                parts: BTreeMap::new(),
                compared: false,
            });
            // Parts leave the playlist before their segment does; what they were stays known.
            let parts = std::mem::take(&mut known.segment.parts);
            known.segment = segment.clone();
            if known.segment.parts.len() < parts.len() {
                known.segment.parts = parts;
            }
            for part in 0..segment.parts.len() as u64 {
                let first = self.first.entry((segment.msn, part)).or_insert(done);
                *first = (*first).min(done);
            }
            if segment.uri.is_some() {
                let end = (segment.msn, u64::MAX);
                let first = self.first.entry(end).or_insert(done);
                *first = (*first).min(done);
            }
        }
        if let Some(last) = playlist.last() {
            self.seen.push_back(Seen { done, last });
        }
        self.forget(playlist.media_sequence.saturating_sub(KEPT_SEGMENTS));
    }

    fn forget(&mut self, oldest: u64) {
        while self.seen.len() > KEPT_ANSWERS {
            self.seen.pop_front();
        }
        while self.first.len() > KEPT_PARTS {
            self.first.pop_first();
        }
        while self.segments.first_key_value().is_some_and(|(msn, _)| *msn < oldest) {
            self.segments.pop_first();
        }
        let newest = self.segments.last_key_value().map_or(0, |(msn, _)| *msn);
        for (_, known) in self.segments.range_mut(..newest.saturating_sub(KEPT_MEDIA)).rev().take(2) {
            known.let_go();
        }
        while self.hints.len() > KEPT_HINTS {
            self.hints.pop_front();
        }
    }

    /// When what a request for `msn` and `part` waits for was first known to be there.
    pub(super) fn since(&self, msn: u64, part: Option<u64>) -> Option<Duration> {
        // Whatever comes later says that it was there as well. Without a part the whole segment is waited for.
        let from = (msn, part.unwrap_or(u64::MAX));
        self.first.range(from..).map(|(_, first)| *first).min()
    }

    pub(super) fn part_target(&self) -> Option<Duration> {
        Some(Duration::from_secs_f64(self.last.as_ref()?.part_target_s?.clamp(0.0, 60.0)))
    }

    pub(super) fn target(&self) -> Duration {
        Duration::from_secs(self.last.as_ref().and_then(|last| last.target_s).unwrap_or(1).clamp(1, 3600))
    }

    /// The track of a segment.
    pub(super) fn track(&self, segment: &Segment) -> Option<&Track> {
        self.maps.get(&segment.map.as_ref()?.uri)?.1.as_ref()
    }
}
