//! One rendition: coded frames to samples, samples to parts, parts to segments.

use super::cuts::Cut;
use super::meter::Meter;
use super::packager::{Counters, HlsEvent};
use super::segment::{Part, Segment, nanos_to_ticks, ticks_to_nanos};
use super::{HlsConfig, RenditionName};
use crate::codec::{Format, TrackKind};
use crate::fmp4::{Fragment, Sample};
use crate::frame::Frame;
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Times beyond this many ticks are nonsense (at 90 kHz: 12 years). Within them even the slowest clock of AAC (7350 Hz)
/// counts nanoseconds that fit 64 bits.
const MAX_TICKS: i64 = 1 << 45;
/// A frame that comes this much too early for its predecessor is moved; one that comes earlier still is dropped.
const MAX_NUDGE_MILLIS: u64 = 50;
/// The same for the first frames of the timeline, which may lie before its zero.
const MAX_START_NUDGE_MILLIS: u64 = 1000;
/// A picture is shown this much too early, at the most, so that the part before it ends within the part target.
const MAX_PULL_MILLIS: u64 = 100;

/// A format made ready for packaging: frames of one format share one header.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) format: Arc<Format>,
    pub(super) init: Bytes,
    pub(super) codecs: String,
    pub(super) timescale: u32,
}

/// A frame in the ticks of its rendition.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) dts: u64,
    composition_offset: i32,
    keyframe: bool,
    duration: Option<u64>,
    data: Bytes,
}

/// The newest frame: its duration is known when the next one comes.
type Held = Incoming;

#[derive(Debug)]
struct Open {
    cut: Cut,
    start: u64,
    init: u32,
    parts: Vec<Part>,
    /// Samples of the part that is being made.
    samples: Vec<Sample>,
    part_start: u64,
    /// Where the last sample of the part that is being made ends.
    part_end: u64,
    bytes: usize,
    frames: u32,
    keyframe_bytes: Option<usize>,
}

/// What players see of the segment that is being made.
#[derive(Debug, Clone)]
pub(super) struct Edge {
    pub(super) msn: u64,
    pub(super) discontinuity: bool,
    pub(super) discontinuity_sequence: u64,
    pub(super) init: u32,
    pub(super) timescale: u32,
    pub(super) start_ticks: u64,
    /// Those that are complete.
    pub(super) parts: Vec<Part>,
}

/// One rendition.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) name: RenditionName,
    pub(super) kind: TrackKind,
    pub(super) header: Option<Arc<Header>>,
    pub(super) inits: BTreeMap<u32, Bytes>,
    pub(super) segments: VecDeque<Arc<Segment>>,
    pub(super) meter: Meter,
    pub(super) counters: Counters,
    /// Place in the order of time of the last frame, in nanoseconds.
    pub(super) last_at: i64,
    /// The media sequence number of the open or else the last segment.
    pub(super) last_msn: Option<u64>,
    pub(super) awaiting_keyframe: bool,
    /// What players see has changed since the last view.
    pub(super) dirty: bool,
    /// No frames come for a while: new players are not told of it.
    pub(super) paused: bool,
    /// The newest of its segments that the window knows.
    pub(super) counted: Option<u64>,
    part_target_nanos: u64,
    longest_nanos: u64,
    max_segment_bytes: usize,
    init: u32,
    held: Option<Held>,
    open: Option<Open>,
    /// Decode time behind the last closed segment; frames may not begin before it.
    end: Option<u64>,
    /// Ticks from frame to frame, as last seen.
    cadence: u64,
    fragment_number: u32,
}

impl Lane {
    pub(super) fn new(name: RenditionName, kind: TrackKind, config: &HlsConfig) -> Self {
        let nanos = |d: std::time::Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        Self {
            name,
            kind,
            header: None,
            inits: BTreeMap::new(),
            segments: VecDeque::new(),
            meter: Meter::new(config),
            counters: Counters::default(),
            last_at: i64::MIN,
            last_msn: None,
            awaiting_keyframe: kind == TrackKind::Video,
            dirty: false,
            paused: false,
            counted: None,
            part_target_nanos: nanos(config.part_target()),
            longest_nanos: nanos(config.longest_segment()),
            max_segment_bytes: config.max_segment_bytes,
            init: 0,
            held: None,
            open: None,
            end: None,
            cadence: 0,
            fragment_number: 0,
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// A player can begin: it has a part, or more.
    pub(super) fn is_playable(&self) -> bool {
        let begun = self.open.as_ref().is_some_and(|open| !open.parts.is_empty());
        begun || self.segments.iter().any(|segment| !segment.gap)
    }

    /// The segment that is being made, as far as players may see it.
    pub(super) fn edge(&self) -> Option<Edge> {
        self.open.as_ref().map(|open| Edge {
            msn: open.cut.msn,
            discontinuity: open.cut.discontinuity,
            discontinuity_sequence: open.cut.discontinuity_sequence,
            init: open.init,
            timescale: self.timescale(),
            start_ticks: open.start,
            parts: open.parts.clone(),
        })
    }

    /// The first media sequence number it may still open.
    pub(super) fn next_msn(&self) -> u64 {
        self.last_msn.map_or(0, |msn| msn + 1)
    }

    pub(super) fn timescale(&self) -> u32 {
        self.header.as_ref().map_or(1, |h| h.timescale)
    }

    /// Where the newest segment ends as far as it is known, in nanoseconds on the stream's timeline.
    pub(super) fn end_nanos(&self) -> Option<u64> {
        let end = match &self.held {
            Some(held) => held.dts + self.cadence,
            None => self.end?,
        };
        Some(ticks_to_nanos(end, self.timescale()))
    }

    /// The frame in this rendition's ticks, moved a little when it comes too early; `None` when it cannot be placed.
    pub(super) fn admit(&mut self, frame: &Frame, header: &Header) -> Option<Incoming> {
        let dts = frame.dts.rescale(header.timescale).ticks;
        let pts = frame.pts.rescale(header.timescale).ticks;
        let offset = i32::try_from(pts.checked_sub(dts)?).ok();
        let (Some(composition_offset), true) = (offset, dts.unsigned_abs() < MAX_TICKS.unsigned_abs()) else {
            self.counters.dropped_out_of_range += 1;
            return None;
        };
        let least = match (&self.held, self.end) {
            (Some(held), _) => held.dts + 1,
            (None, Some(end)) => self.in_ticks_of(header, end),
            (None, None) => 0,
        };
        let allowed = if self.last_msn.is_some() { MAX_NUDGE_MILLIS } else { MAX_START_NUDGE_MILLIS };
        let too_early = i64::try_from(least).unwrap_or(MAX_TICKS) - dts;
        if too_early > 0 {
            if u64::try_from(too_early).unwrap_or(0) > allowed * u64::from(header.timescale) / 1000 {
                self.counters.dropped_late += 1;
                return None;
            }
            self.counters.nudged += 1;
        }
        Some(Incoming {
            dts: u64::try_from(dts).unwrap_or(0).max(least),
            composition_offset,
            keyframe: frame.keyframe || self.kind == TrackKind::Audio,
            // A frame that says it lasts longer than a second is not believed.
            duration: frame
                .duration
                .and_then(|d| u64::try_from(d.rescale(header.timescale).ticks).ok())
                .filter(|&ticks| ticks <= u64::from(header.timescale)),
            data: frame.data.clone(),
        })
    }

    /// A time of this rendition in the ticks of a new header, whose clock may differ.
    fn in_ticks_of(&self, header: &Header, ticks: u64) -> u64 {
        match self.timescale() {
            same if same == header.timescale || self.header.is_none() => ticks,
            old => nanos_to_ticks(ticks_to_nanos(ticks, old), header.timescale),
        }
    }

    /// The open segment stays within its longest duration with this frame in it.
    pub(super) fn fits(&self, incoming: &Incoming) -> bool {
        let length = incoming.duration.unwrap_or(self.cadence).max(1);
        self.open.as_ref().is_none_or(|open| {
            incoming.dts.saturating_add(length).saturating_sub(open.start) <= self.longest_ticks()
        })
    }

    fn longest_ticks(&self) -> u64 {
        nanos_to_ticks(self.longest_nanos, self.timescale())
    }

    /// Another frame of the open segment. Without one, or beyond the segment's bytes, it is dropped.
    pub(super) fn push(&mut self, mut incoming: Incoming, events: &mut VecDeque<HlsEvent>) {
        let Some(open) = &mut self.open else { return };
        if open.bytes.saturating_add(incoming.data.len()) > self.max_segment_bytes {
            self.counters.dropped_oversize += 1;
            self.awaiting_keyframe = self.kind == TrackKind::Video;
            // The frame before stays held, and lasts until what comes next.
            return;
        }
        open.bytes += incoming.data.len();
        if let Some(held) = self.held.take() {
            self.cadence = incoming.dts - held.dts;
            incoming.dts = self.commit(held, incoming.dts, events);
        }
        if let (Some(duration), 0) = (incoming.duration, self.cadence) {
            self.cadence = duration;
        }
        self.counters.frames += 1;
        self.awaiting_keyframe = false;
        self.held = Some(incoming);
    }

    /// The held frame becomes a sample that lasts until `end`, and so may complete a part. Returns where it really ends.
    ///
    /// A part must last from 85 % to 100 % of the part target, the last of a segment may be shorter (rfc8216bis
    /// section 4.4.4.9). Pictures of an even pace always find a border in there; where those of an uneven pace do not, the
    /// picture at the border is shown a little later or earlier. One that lasts much longer than a part, because the
    /// publisher has sent nothing, makes a part by itself that is too long: no rule of cutting helps there.
    fn commit(&mut self, mut held: Held, mut end: u64, events: &mut VecDeque<HlsEvent>) -> u64 {
        let longest = ticks_within(self.part_target_nanos, self.timescale());
        let least = longest.saturating_mul(85).div_ceil(100);
        let pull = u64::from(self.timescale()) * MAX_PULL_MILLIS / 1000;
        let Some(open) = &mut self.open else { return end };
        if open.samples.is_empty() {
            open.part_start = held.dts;
        }
        let over = (end - open.part_start).saturating_sub(longest);
        if over > 0 && !open.samples.is_empty() {
            let wait = least.saturating_sub(held.dts - open.part_start);
            let lasts = end - held.dts;
            if self.kind == TrackKind::Video && (wait > over && lasts <= longest) {
                end -= over;
            } else {
                if self.kind == TrackKind::Video
                    && let Some(last) = open.samples.last_mut()
                {
                    last.duration = last.duration.saturating_add(u32::try_from(wait).unwrap_or(0));
                    open.part_end += wait;
                    held.dts += wait;
                }
                self.close_part(events);
            }
        }
        let Some(open) = &mut self.open else { return end };
        if open.samples.is_empty() {
            open.part_start = held.dts;
            let over = (end - held.dts).saturating_sub(longest);
            if self.kind == TrackKind::Video && over <= pull {
                end -= over;
            }
        }
        open.frames += 1;
        open.part_end = end;
        open.samples.push(Sample {
            duration: u32::try_from(end - held.dts).unwrap_or(u32::MAX),
            composition_offset: held.composition_offset,
            sync: held.keyframe,
            data: held.data,
        });
        if end - open.part_start >= least {
            self.close_part(events);
        }
        end
    }

    fn close_part(&mut self, events: &mut VecDeque<HlsEvent>) {
        let timescale = self.timescale();
        let Some(open) = &mut self.open else { return };
        if open.samples.is_empty() {
            return;
        }
        let first = open.parts.is_empty();
        let mut chunks = Chunks { number: &mut self.fragment_number, at: open.part_start };
        let body = match open.samples.as_slice() {
            // A segment's keyframe is a chunk of its own, so that it can be fetched alone.
            [keyframe, rest @ ..] if first && self.kind == TrackKind::Video && keyframe.sync => {
                let alone = chunks.write(std::slice::from_ref(keyframe), true);
                open.keyframe_bytes = Some(alone.len());
                if rest.is_empty() { alone } else { [alone, chunks.write(rest, false)].concat().into() }
            }
            samples => chunks.write(samples, first),
        };
        let part = Part {
            duration_ticks: open.part_end - open.part_start,
            independent: open.samples.iter().any(|s| s.sync),
            body,
        };
        if self.meter.frame_rate().is_none() {
            self.meter.part_finished(ticks_to_nanos(part.duration_ticks, timescale), open.samples.len());
        }
        open.samples.clear();
        self.dirty = true;
        events.push_back(HlsEvent::PartFinished {
            rendition: self.name.clone(),
            msn: open.cut.msn,
            part: open.parts.len(),
            duration: std::time::Duration::from_nanos(ticks_to_nanos(part.duration_ticks, timescale)),
            independent: part.independent,
        });
        open.parts.push(part);
    }

    /// Opens the segment behind `cut` with this frame, after closing the one before and listing those it has missed as gaps.
    ///
    /// Where the timeline goes on, the segment begins where the one before ended: what a publisher left out is shown as a
    /// longer last picture, and if that would make the segment too long, as an earlier first one.
    pub(super) fn enter(
        &mut self,
        cut: Cut,
        missed: &[Cut],
        mut incoming: Incoming,
        header: &Arc<Header>,
        events: &mut VecDeque<HlsEvent>,
    ) {
        let next = self.in_old_ticks(header, incoming.dts);
        self.close(Some(next).filter(|&n| !cut.origin && !self.leaves_a_hole(&cut, n)), events);
        for (index, gap) in missed.iter().enumerate() {
            let until = missed.get(index + 1).unwrap_or(&cut).at;
            let until = nanos_to_ticks(u64::try_from(until).unwrap_or(0), self.timescale());
            self.push_gap(gap, until.min(next), events);
        }
        if !self.header.as_ref().is_some_and(|old| Arc::ptr_eq(old, header)) {
            self.adopt(header, events);
        }
        if let (Some(end), false) = (self.end, cut.discontinuity) {
            incoming.dts = end;
        }
        self.open = Some(Open {
            cut,
            start: incoming.dts,
            init: self.init,
            parts: Vec::new(),
            samples: Vec::new(),
            part_start: incoming.dts,
            part_end: incoming.dts,
            bytes: 0,
            frames: 0,
            keyframe_bytes: None,
        });
        self.last_msn = Some(cut.msn);
        self.push(incoming, events);
    }

    fn in_old_ticks(&self, header: &Header, ticks: u64) -> u64 {
        match self.timescale() {
            same if same == header.timescale || self.header.is_none() => ticks,
            old => nanos_to_ticks(ticks_to_nanos(ticks, header.timescale), old),
        }
    }

    /// At a discontinuity the last sample is not stretched over a real hole.
    fn leaves_a_hole(&self, cut: &Cut, next: u64) -> bool {
        let half_a_second = u64::from(self.timescale()) / 2;
        let end = self.held.as_ref().map(|held| held.dts + self.cadence).or(self.end);
        cut.discontinuity && end.is_some_and(|end| next > end + half_a_second)
    }

    fn adopt(&mut self, header: &Arc<Header>, events: &mut VecDeque<HlsEvent>) {
        if let Some(end) = self.end {
            self.end = Some(self.in_ticks_of(header, end));
        }
        self.cadence = 0;
        if self.header.is_some() {
            self.init += 1;
        }
        self.header = Some(Arc::clone(header));
        self.inits.insert(self.init, header.init.clone());
        events.push_back(HlsEvent::InitChanged {
            rendition: self.name.clone(),
            init: self.init,
            codecs: header.codecs.clone(),
        });
    }

    /// Closes the open segment, if there is one. Its last sample lasts until `next`, or as long as the one before it, but
    /// never beyond the longest segment.
    pub(super) fn close(&mut self, next: Option<u64>, events: &mut VecDeque<HlsEvent>) {
        let longest = self.longest_ticks();
        let Some(start) = self.open.as_ref().map(|open| open.start) else { return };
        if let Some(held) = self.held.take() {
            let natural = held.dts + held.duration.unwrap_or(self.cadence).max(1);
            let end = next.unwrap_or(natural).min(start.saturating_add(longest)).max(held.dts + 1);
            self.commit(held, end, events);
        }
        self.close_part(events);
        let timescale = self.timescale();
        let Some(open) = self.open.take() else { return };
        let end = open.part_end;
        self.end = Some(end);
        let (parts, body) = in_one_piece(open.parts);
        let segment = Segment {
            msn: open.cut.msn,
            discontinuity_sequence: open.cut.discontinuity_sequence,
            discontinuity: open.cut.discontinuity,
            gap: false,
            init: open.init,
            timescale,
            start_ticks: open.start,
            duration_ticks: end - open.start,
            parts,
            bytes: body.len(),
            body,
            stored: false,
            keyframe_bytes: open.keyframe_bytes,
        };
        self.meter.segment_finished(segment.duration_nanos(), segment.bytes, open.frames);
        if let Some(bytes) = segment.keyframe_bytes {
            self.meter.keyframe_finished(segment.duration_nanos(), bytes);
        }
        self.publish(segment, events);
    }

    /// Lists a segment that is missing here, from the end of the last one until `until`.
    pub(super) fn push_gap(&mut self, cut: &Cut, until: u64, events: &mut VecDeque<HlsEvent>) {
        // Behind a break nothing says where the lane ended: it begins where all do.
        let begins = || nanos_to_ticks(u64::try_from(cut.at).unwrap_or(0), self.timescale());
        let start = self.end.unwrap_or_else(begins);
        let end = until.clamp(start, start.saturating_add(self.longest_ticks()));
        self.end = Some(end);
        self.counters.gaps += 1;
        self.publish(
            Segment {
                msn: cut.msn,
                discontinuity_sequence: cut.discontinuity_sequence,
                discontinuity: cut.discontinuity,
                gap: true,
                init: self.init,
                timescale: self.timescale(),
                start_ticks: start,
                duration_ticks: end - start,
                parts: Vec::new(),
                body: Bytes::new(),
                bytes: 0,
                stored: false,
                keyframe_bytes: None,
            },
            events,
        );
    }

    fn publish(&mut self, segment: Segment, events: &mut VecDeque<HlsEvent>) {
        self.last_msn = Some(segment.msn);
        self.dirty = true;
        events.push_back(HlsEvent::SegmentFinished {
            rendition: self.name.clone(),
            msn: segment.msn,
            start: crate::time::MediaTime::new(
                i64::try_from(segment.start_ticks).unwrap_or(i64::MAX),
                segment.timescale,
            ),
            duration: std::time::Duration::from_nanos(segment.duration_nanos()),
            bytes: segment.bytes,
            discontinuity: segment.discontinuity,
            gap: segment.gap,
        });
        self.segments.push_back(Arc::new(segment));
    }

    /// The timeline begins anew: times before say nothing about what comes.
    pub(super) fn forget_timeline(&mut self) {
        self.end = None;
        self.last_at = i64::MIN;
        self.awaiting_keyframe = self.kind == TrackKind::Video;
    }

    /// The kept segment of this media sequence number.
    pub(super) fn segment(&self, msn: u64) -> Option<&Arc<Segment>> {
        let first = self.segments.front()?.msn;
        self.segments.get(usize::try_from(msn.checked_sub(first)?).ok()?)
    }

    /// A segment's bytes are stored outside: let go of them here.
    pub(super) fn strip(&mut self, msn: u64) {
        let Some(first) = self.segments.front().map(|s| s.msn) else { return };
        let index = msn.checked_sub(first).and_then(|index| usize::try_from(index).ok());
        if let Some(segment) = index.and_then(|index| self.segments.get_mut(index)) {
            *segment = Arc::new(segment.without_body());
            self.dirty = true;
        }
    }

    /// Segments before this media sequence number are no longer kept, nor headers that only they need.
    pub(super) fn drop_before(&mut self, msn: u64, events: &mut VecDeque<HlsEvent>) {
        while self.segments.front().is_some_and(|s| s.msn < msn) {
            if let Some(segment) = self.segments.pop_front().filter(|segment| segment.stored) {
                events.push_back(HlsEvent::Forget { rendition: self.name.clone(), msn: segment.msn });
            }
            self.dirty = true;
        }
        let needed = self.segments.front().map_or(self.init, |s| s.init);
        self.inits.retain(|&init, _| init >= needed);
    }
}

/// Whole ticks within so many nanoseconds, so that no part is longer than was said.
fn ticks_within(nanos: u64, timescale: u32) -> u64 {
    u64::try_from(u128::from(nanos) * u128::from(timescale) / 1_000_000_000).unwrap_or(u64::MAX)
}

/// Writes chunks that follow each other.
struct Chunks<'a> {
    number: &'a mut u32,
    /// Decode time of the next one, in ticks.
    at: u64,
}

impl Chunks<'_> {
    fn write(&mut self, samples: &[Sample], segment_start: bool) -> Bytes {
        *self.number = self.number.wrapping_add(1).max(1);
        let fragment =
            Fragment { sequence_number: *self.number, base_media_decode_time: self.at, segment_start };
        self.at += samples.iter().map(|s| u64::from(s.duration)).sum::<u64>();
        fragment.write(samples).expect("a segment's bytes are bounded far below 2 GiB")
    }
}

/// The parts' chunks as slices of one buffer, so that a segment and its parts share their memory.
fn in_one_piece(mut parts: Vec<Part>) -> (Vec<Part>, Bytes) {
    if let [only] = parts.as_slice() {
        let body = only.body.clone();
        return (parts, body);
    }
    let mut body = BytesMut::with_capacity(parts.iter().map(|p| p.body.len()).sum());
    for part in &parts {
        body.extend_from_slice(&part.body);
    }
    let body = body.freeze();
    let mut offset = 0;
    for part in &mut parts {
        let end = offset + part.body.len();
        part.body = body.slice(offset..end);
        offset = end;
    }
    (parts, body)
}
