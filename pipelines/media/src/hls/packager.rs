//! The machine that a stream's HLS output is: frames in, views out.

use super::cuts::{Cut, Cuts};
use super::daterange::{DateRange, DateRangeError, DateRangeUpdate, DateRanges};
use super::interleave::{Interleave, place_in_order};
use super::lane::{Header, Lane};
use super::meter::expected_bitrate;
use super::playlist::date_of;
use super::segment::Segment;
use super::view::{Entry, HlsView, RenditionView, multivariant_resource};
use super::window::Window;
use super::{HlsConfig, RenditionName, TakeId, multivariant};
use crate::codec::{Codec, TrackKind};
use crate::fmp4::{Bitrate, Fmp4Error, codecs_attribute, init_segment, timescale};
use crate::frame::Frame;
use crate::time::{MediaTime, Mono, UnixTime};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Most renditions of one stream.
const MAX_RENDITIONS: usize = 16;
/// A rendition more than this many segments behind the first is taken along by gaps.
const MAX_LAG_SEGMENTS: u64 = 2;

/// Why a call was refused. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HlsError {
    /// No such rendition was announced.
    #[error("rendition {0} was not announced")]
    UnknownRendition(RenditionName),
    /// The name is taken.
    #[error("rendition {0} is announced already")]
    DuplicateRendition(RenditionName),
    /// More renditions than one stream may have.
    #[error("a stream has at most {MAX_RENDITIONS} renditions")]
    TooManyRenditions,
    /// A frame of the other lane.
    #[error("rendition {rendition} does not carry {codec:?}")]
    WrongKind {
        /// The rendition.
        rendition: RenditionName,
        /// The frame's codec.
        codec: Codec,
    },
    /// Only H.264 and AAC go into HLS.
    #[error("rendition {rendition}: {codec:?} must be transcoded before HLS")]
    Codec {
        /// The rendition.
        rendition: RenditionName,
        /// The frame's codec.
        codec: Codec,
    },
    /// The frame's format cannot be written.
    #[error("rendition {rendition}: {source}")]
    Format {
        /// The rendition.
        rendition: RenditionName,
        /// What is wrong with the format.
        source: Fmp4Error,
    },
    /// [`Packager::end`] was called.
    #[error("the take has ended")]
    Ended,
}

/// What happened, for logs, metrics and those who wait for a playlist to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HlsEvent {
    /// A rendition begins, or goes on with another format.
    InitChanged {
        /// The rendition.
        rendition: RenditionName,
        /// Number of its initialisation segment.
        init: u32,
        /// Its codec as in `CODECS`.
        codecs: String,
    },
    /// A part is complete.
    PartFinished {
        /// The rendition.
        rendition: RenditionName,
        /// Media sequence number of its segment.
        msn: u64,
        /// Its number in the segment.
        part: usize,
        /// Its duration.
        duration: Duration,
        /// A player can start here.
        independent: bool,
    },
    /// A segment is complete, and listed in the view.
    SegmentFinished {
        /// The rendition.
        rendition: RenditionName,
        /// Its media sequence number.
        msn: u64,
        /// Where it begins on the stream's timeline.
        start: MediaTime,
        /// Its duration.
        duration: Duration,
        /// Its size.
        bytes: usize,
        /// It follows a discontinuity.
        discontinuity: bool,
        /// It is missing, and listed as such.
        gap: bool,
    },
    /// A video rendition had no keyframe in time; its frames are dropped until the next one.
    KeyframeWanted {
        /// The rendition.
        rendition: RenditionName,
    },
    /// A segment is to be stored outside; [`Packager::handle_stored`] wants to know whether it was.
    Store {
        /// The rendition.
        rendition: RenditionName,
        /// The segment with its chunks.
        segment: Arc<Segment>,
    },
    /// A segment that was stored is no longer needed.
    Forget {
        /// The rendition.
        rendition: RenditionName,
        /// Its media sequence number.
        msn: u64,
    },
    /// The multivariant playlist is there: players may come.
    Ready,
    /// All playlists are closed.
    Ended,
}

/// What a rendition has seen since the take began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames packaged.
    pub frames: u64,
    /// Frames moved to a later time because they did not come after their predecessor.
    pub nudged: u64,
    /// Frames dropped because they came too late for their place in the timeline.
    pub dropped_late: u64,
    /// Frames dropped because no decoder could start with them.
    pub dropped_without_keyframe: u64,
    /// Frames dropped because their segment grew too large.
    pub dropped_oversize: u64,
    /// Frames dropped because their times are beyond any sensible timeline.
    pub dropped_out_of_range: u64,
    /// Segments that ended for want of a keyframe.
    pub cut_without_keyframe: u64,
    /// Segments listed as missing.
    pub gaps: u64,
}

/// Why [`Packager::poll_timeout`] names a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timer {
    /// A frame has waited long enough for the other renditions.
    Interleave,
    /// An announced rendition has stayed silent for so long that players are let in without it.
    Announcement,
}

const TIMERS: [Timer; 2] = [Timer::Interleave, Timer::Announcement];

/// Where a frame goes.
enum Placing {
    Stay,
    Enter(Cut),
    Drop,
}

/// Cuts the frames of one take into segments, and keeps what players may ask for.
///
/// Renditions are announced with [`Self::add_rendition`], then fed with [`Self::handle_frame`] in decode order each. After
/// every call drain [`Self::poll_event`], then read [`Self::poll_timeout`]; [`Self::view`] is up to date at any time.
#[derive(Debug)]
pub struct Packager {
    config: HlsConfig,
    take: TakeId,
    epoch_wall: UnixTime,
    lanes: Vec<Lane>,
    date_ranges: Arc<DateRanges>,
    /// Players see something else of the whole than they did: date ranges, the end.
    dirty: bool,
    /// The newest header of each lane; frames of equal format share it.
    headers: Vec<Option<Arc<Header>>>,
    waiting: Interleave<Arc<Header>>,
    cuts: Cuts,
    window: Window,
    events: VecDeque<HlsEvent>,
    ended: bool,
    ready: bool,
    /// Grows with every view.
    revision: u64,
    now: Mono,
    multivariant_text: String,
    view: Arc<HlsView>,
}

impl Packager {
    /// A packager without renditions. `epoch_wall` is the wall clock at the timeline's zero. Bounds that make no sense are
    /// brought into range ([`HlsConfig::sane`]).
    pub fn new(config: HlsConfig, take: TakeId, epoch_wall: UnixTime) -> Self {
        let config = config.sane();
        let view = HlsView {
            config,
            take: take.clone(),
            epoch_wall,
            ended: false,
            now: Mono::default(),
            revision: 0,
            listed_from: 0,
            kept_from: 0,
            date_ranges: Arc::default(),
            multivariant: None,
            multivariant_event: None,
            renditions: BTreeMap::new(),
        };
        Self {
            waiting: Interleave::new(&config),
            cuts: Cuts::new(&config),
            window: Window::new(&config),
            config,
            take,
            epoch_wall,
            lanes: Vec::new(),
            date_ranges: Arc::default(),
            dirty: false,
            headers: Vec::new(),
            events: VecDeque::new(),
            ended: false,
            ready: false,
            revision: 0,
            now: Mono::default(),
            multivariant_text: String::new(),
            view: Arc::new(view),
        }
    }

    /// Announces a rendition. It may join at any time; its playlist then begins with the segment that is being made.
    ///
    /// # Errors
    /// A name that is taken, more than 16 renditions, or a take that has ended.
    pub fn add_rendition(&mut self, name: RenditionName, kind: TrackKind, now: Mono) -> Result<(), HlsError> {
        self.now = now;
        if self.ended {
            return Err(HlsError::Ended);
        }
        if self.lanes.iter().any(|lane| lane.name == name) {
            return Err(HlsError::DuplicateRendition(name));
        }
        if self.lanes.len() >= MAX_RENDITIONS {
            return Err(HlsError::TooManyRenditions);
        }
        let mut lane = Lane::new(name, kind, &self.config);
        lane.dirty = true;
        self.lanes.push(lane);
        self.headers.push(None);
        self.waiting.add(kind, now);
        self.refresh();
        Ok(())
    }

    /// The next frame of a rendition, in decode order: H.264 or AAC.
    ///
    /// # Errors
    /// An unknown rendition, a codec that HLS does not carry here, or a format that cannot be written.
    pub fn handle_frame(
        &mut self,
        rendition: &RenditionName,
        frame: Frame,
        now: Mono,
    ) -> Result<(), HlsError> {
        self.now = now;
        if self.ended {
            return Err(HlsError::Ended);
        }
        let found = self.lanes.iter().position(|lane| lane.name == *rendition);
        let index = found.ok_or_else(|| HlsError::UnknownRendition(rendition.clone()))?;
        let header = self.header_of(index, &frame)?;
        self.lanes[index].dirty |= self.lanes[index].paused;
        self.lanes[index].paused = false;
        self.waiting.push(index, frame, header, now);
        self.advance(now);
        Ok(())
    }

    /// No more frames of this rendition will come for a while: the others do not wait for it, and players who come are not told of
    /// it. Its next frame takes it back in. Meanwhile its playlist goes on with gaps. An unknown name changes nothing.
    pub fn handle_pause(&mut self, rendition: &RenditionName, now: Mono) {
        self.now = now;
        let Some(index) = self.lanes.iter().position(|lane| lane.name == *rendition) else { return };
        if !self.ended && !self.lanes[index].paused {
            self.lanes[index].paused = true;
            self.lanes[index].dirty = true;
            self.waiting.give_up(index, now);
            self.advance(now);
        }
    }

    /// The publisher or its codec changed: every rendition's next segment is marked as a discontinuity. What was begun is
    /// finished and listed.
    pub fn handle_discontinuity(&mut self, now: Mono) {
        self.now = now;
        if !self.ended {
            self.flush();
            self.refresh();
        }
    }

    /// Time has come to [`Self::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Mono) {
        self.now = now;
        if !self.ended {
            self.advance(now);
        }
    }

    /// When [`Self::handle_timeout`] must be called; `None` while only frames can bring news.
    pub fn poll_timeout(&self) -> Option<Mono> {
        TIMERS.into_iter().filter_map(|timer| self.deadline(timer)).min()
    }

    /// The take is over: the last segments are listed, and all playlists end.
    pub fn end(&mut self, now: Mono) {
        self.now = now;
        if self.ended {
            return;
        }
        self.flush();
        self.ended = true;
        self.dirty = true;
        self.refresh();
        self.events.push_back(HlsEvent::Ended);
    }

    /// A segment that [`HlsEvent::Store`] gave out was stored, or could not be. In that case it leaves the playlists with all
    /// that is older: a window without holes is worth more than a long one.
    pub fn handle_stored(&mut self, rendition: &RenditionName, msn: u64, stored: bool, now: Mono) {
        self.now = now;
        let Some(index) = self.lanes.iter().position(|lane| lane.name == *rendition) else { return };
        if self.lanes[index].segment(msn).is_none_or(|segment| segment.stored) {
            // It was given up meanwhile.
            self.events.push_back(HlsEvent::Forget { rendition: rendition.clone(), msn });
            return;
        }
        if stored {
            self.lanes[index].strip(msn);
            self.window.stored(msn);
        } else {
            self.window.lost(msn);
            self.dirty = true;
        }
        self.refresh();
    }

    /// Lists an event with a date until it is over and the window has left it behind.
    ///
    /// # Errors
    /// What cannot be listed, see [`DateRange::checked`]; a name that is taken; too many.
    pub fn add_date_range(&mut self, range: DateRange, now: Mono) -> Result<(), DateRangeError> {
        self.change_date_ranges(now, |ranges| ranges.add(range, now))
    }

    /// Adds to a date range, most often its end. Returns what it is now.
    ///
    /// # Errors
    /// No such name; a value that is there already and would change.
    pub fn update_date_range(
        &mut self,
        id: &str,
        update: DateRangeUpdate,
        now: Mono,
    ) -> Result<DateRange, DateRangeError> {
        self.change_date_ranges(now, |ranges| ranges.update(id, update, now))
    }

    /// Takes a date range out of the playlists.
    ///
    /// # Errors
    /// No such name.
    pub fn remove_date_range(&mut self, id: &str, now: Mono) -> Result<(), DateRangeError> {
        self.change_date_ranges(now, |ranges| ranges.remove(id, now))
    }

    /// The date ranges in the playlists, in the order in which they came.
    pub fn date_ranges(&self) -> impl Iterator<Item = &DateRange> {
        self.date_ranges.iter()
    }

    fn change_date_ranges<T>(
        &mut self,
        now: Mono,
        change: impl FnOnce(&mut DateRanges) -> Result<T, DateRangeError>,
    ) -> Result<T, DateRangeError> {
        self.now = now;
        if self.ended {
            return Err(DateRangeError::Ended);
        }
        let changed = change(Arc::make_mut(&mut self.date_ranges))?;
        self.dirty = true;
        self.refresh();
        Ok(changed)
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<HlsEvent> {
        self.events.pop_front()
    }

    /// What players may ask for now. Cheap: it is made when something changes, not here.
    pub fn view(&self) -> Arc<HlsView> {
        Arc::clone(&self.view)
    }

    /// What a rendition has seen; `None` for an unknown one.
    pub fn counters(&self, rendition: &RenditionName) -> Option<Counters> {
        self.lanes.iter().find(|lane| lane.name == *rendition).map(|lane| lane.counters)
    }

    /// Bytes of all segments in memory.
    pub fn bytes(&self) -> usize {
        self.window.bytes()
    }

    /// Bytes of all segments stored outside.
    pub fn stored_bytes(&self) -> u64 {
        self.window.stored_bytes()
    }

    fn deadline(&self, timer: Timer) -> Option<Mono> {
        match timer {
            Timer::Interleave => self.waiting.deadline(self.now),
            Timer::Announcement => {
                let waited_for = self.lanes.iter().enumerate().filter(|(_, lane)| !lane.is_playable());
                let ends = waited_for.filter_map(|(index, _)| self.waiting.beginning_ends(index));
                ends.filter(|until| *until > self.now).min().filter(|_| !self.ended)
            }
        }
    }

    fn header_of(&mut self, index: usize, frame: &Frame) -> Result<Arc<Header>, HlsError> {
        let rendition = &self.lanes[index].name;
        let codec = frame.format.codec();
        if frame.kind() != self.lanes[index].kind {
            return Err(HlsError::WrongKind { rendition: rendition.clone(), codec });
        }
        if let Some(header) = &self.headers[index]
            && (Arc::ptr_eq(&header.format, &frame.format) || header.format == frame.format)
        {
            return Ok(Arc::clone(header));
        }
        if !matches!(codec, Codec::H264 | Codec::Aac) {
            return Err(HlsError::Codec { rendition: rendition.clone(), codec });
        }
        let refused = |source| HlsError::Format { rendition: rendition.clone(), source };
        let expected = expected_bitrate(&frame.format);
        let bitrate = Bitrate { max: expected, average: 0 };
        let header = Arc::new(Header {
            init: init_segment(&frame.format, bitrate).map_err(refused)?,
            codecs: codecs_attribute(&frame.format).map_err(refused)?,
            timescale: timescale(&frame.format),
            format: Arc::clone(&frame.format),
        });
        self.headers[index] = Some(Arc::clone(&header));
        Ok(header)
    }

    fn advance(&mut self, now: Mono) {
        while let Some((index, frame, header)) = self.waiting.pop(now) {
            self.process(index, &frame, &header);
        }
        self.refresh();
    }

    /// Packages what waits, closes what is open, and breaks the timeline.
    fn flush(&mut self) {
        while let Some((index, frame, header)) = self.waiting.pop_any() {
            self.process(index, &frame, &header);
        }
        let Some(newest) = self.cuts.newest().map(|cut| cut.msn) else { return };
        for lane in &mut self.lanes {
            lane.close(None, &mut self.events);
        }
        let end = self.lanes.iter().filter_map(Lane::end_nanos).max().unwrap_or(0);
        for lane in &mut self.lanes {
            fill_gaps(lane, &self.cuts, newest + 1, end, &mut self.events);
            lane.forget_timeline();
        }
        self.cuts.break_timeline(end);
    }

    fn process(&mut self, index: usize, frame: &Frame, header: &Arc<Header>) {
        let at = place_in_order(frame);
        let lane = &mut self.lanes[index];
        let other_header = lane.header.as_ref().is_some_and(|old| !Arc::ptr_eq(old, header));
        let opens = frame.keyframe || lane.kind == TrackKind::Audio;
        if !opens && (lane.awaiting_keyframe || other_header || !lane.is_open()) {
            lane.counters.dropped_without_keyframe += 1;
            return;
        }
        if lane.kind == TrackKind::Audio && self.cuts.is_left_over(at) {
            lane.counters.dropped_late += 1;
            return;
        }
        let Some(incoming) = lane.admit(frame, header) else { return };
        lane.last_at = lane.last_at.max(at);
        let fits = lane.fits(&incoming);
        match self.place(index, at, opens, other_header, fits) {
            Placing::Drop => self.lanes[index].counters.dropped_late += 1,
            Placing::Stay if fits => self.lanes[index].push(incoming, &mut self.events),
            Placing::Stay => {
                // No keyframe came in time: what there is makes a segment, and the next one waits for a keyframe.
                let lane = &mut self.lanes[index];
                lane.close(Some(incoming.dts), &mut self.events);
                lane.counters.cut_without_keyframe += 1;
                lane.counters.dropped_without_keyframe += 1;
                lane.awaiting_keyframe = true;
                let rendition = lane.name.clone();
                self.events.push_back(HlsEvent::KeyframeWanted { rendition });
            }
            Placing::Enter(cut) => {
                let lane = &mut self.lanes[index];
                let missed = lane.last_msn.map_or(cut.msn, |last| last + 1)..cut.msn;
                let missed: Vec<Cut> = missed.filter_map(|msn| self.cuts.get(msn).copied()).collect();
                lane.enter(cut, &missed, incoming, header, &mut self.events);
                self.take_along(cut.msn);
            }
        }
    }

    /// Decides which segment a frame belongs to, and declares a new one when it is this rendition's turn.
    fn place(&mut self, index: usize, at: i64, opens: bool, other_header: bool, fits: bool) -> Placing {
        let lane = &self.lanes[index];
        if !opens {
            return Placing::Stay;
        }
        if self.cuts.is_broken() {
            return self.declare(at, false);
        }
        let Some(newest) = self.cuts.newest().copied() else { return self.declare(at, false) };
        let early = if lane.kind == TrackKind::Video { self.cuts.tolerance() } else { 0 };
        let reach = at.saturating_add(early);
        let least = lane.next_msn();
        if other_header {
            return match newest.discontinuity && newest.msn >= least && newest.at <= reach {
                true => Placing::Enter(newest),
                false => self.declare(at, true),
            };
        }
        if let Some(cut) = self.cuts.segment_at(reach, least) {
            return Placing::Enter(cut);
        }
        let stands_at_newest = lane.last_msn == Some(newest.msn);
        let stay = if lane.is_open() { Placing::Stay } else { Placing::Drop };
        if !stands_at_newest {
            return stay;
        }
        let due = reach >= self.cuts.next_grid_point();
        let follows = lane.kind == TrackKind::Audio && self.video_leads(at);
        if (due && !follows) || !fits {
            let hole = self.hole_before(index, at);
            return self.declare(at, hole > self.config.segment);
        }
        stay
    }

    fn declare(&mut self, at: i64, discontinuity: bool) -> Placing {
        self.cuts.declare(at, discontinuity);
        self.cuts.newest().map_or(Placing::Drop, |cut| Placing::Enter(*cut))
    }

    /// A video rendition is on air at this time: its keyframes say where segments begin.
    fn video_leads(&self, at: i64) -> bool {
        let patience = i64::try_from(self.config.stall_patience.as_nanos()).unwrap_or(i64::MAX);
        self.lanes.iter().any(|lane| {
            lane.kind == TrackKind::Video
                && lane.last_msn.is_some()
                && lane.last_at.saturating_add(patience) >= at
        })
    }

    /// How much is missing between the rendition's last frame and this time.
    fn hole_before(&self, index: usize, at: i64) -> Duration {
        let end = self.lanes[index].end_nanos().unwrap_or(0);
        Duration::from_nanos(u64::try_from(at).unwrap_or(0).saturating_sub(end))
    }

    /// Renditions that fell far behind are taken along, so that their playlists keep pace.
    fn take_along(&mut self, newest: u64) {
        let Some(until) = newest.checked_sub(MAX_LAG_SEGMENTS) else { return };
        for lane in self.lanes.iter_mut().filter(|lane| lane.last_msn.is_some_and(|msn| msn < until)) {
            lane.close(None, &mut self.events);
            let end = self.cuts.get(until).map_or(0, |cut| u64::try_from(cut.at).unwrap_or(0));
            fill_gaps(lane, &self.cuts, until, end, &mut self.events);
            lane.awaiting_keyframe = lane.kind == TrackKind::Video;
        }
    }

    /// Takes new segments into the window, and makes the view anew if it changed.
    fn refresh(&mut self) {
        let news = self.dirty || self.lanes.iter().any(|lane| lane.dirty);
        if !news && (self.ready || !self.is_ready()) {
            return;
        }
        for lane in &mut self.lanes {
            let counted = lane.counted;
            for segment in lane.segments.iter().rev().take_while(|s| counted.is_none_or(|c| s.msn > c)) {
                self.window.add(segment);
            }
            lane.counted = lane.segments.back().map(|s| s.msn).or(counted);
        }
        for lane in &mut self.lanes {
            lane.drop_before(self.window.kept_from(), &mut self.events);
        }
        self.store();
        let oldest = self.lanes.iter().filter_map(|lane| lane.last_msn).min().unwrap_or(0);
        self.cuts.forget_before(oldest);
        self.trim_date_ranges();
        self.render();
    }

    /// Gives out what is to be stored outside.
    fn store(&mut self) {
        // Renditions may finish out of step: what one of them may still have to make is not given out.
        let begun = self.lanes.iter().filter_map(|lane| lane.segments.back().map(|s| s.msn)).min();
        let has_bytes = |lane: &Lane, msn| lane.segment(msn).is_some_and(|segment| segment.bytes > 0);
        let lanes = &self.lanes;
        let count = |msn| {
            let complete = begun.is_some_and(|begun| msn <= begun);
            complete.then(|| lanes.iter().filter(|lane| has_bytes(lane, msn)).count())
        };
        while let Some(msn) = self.window.next_to_store(count) {
            for lane in self.lanes.iter().filter(|lane| has_bytes(lane, msn)) {
                let Some(segment) = lane.segment(msn) else { continue };
                let (rendition, segment) = (lane.name.clone(), Arc::clone(segment));
                self.events.push_back(HlsEvent::Store { rendition, segment });
            }
        }
    }

    fn trim_date_ranges(&mut self) {
        if self.date_ranges.is_idle() {
            return;
        }
        let listed_from = self.window.listed_from();
        let first = self.lanes.iter().find_map(|lane| lane.segment(listed_from).map(|s| s.start_nanos()));
        let start = first.map_or(self.epoch_wall, |nanos| date_of(self.epoch_wall, nanos));
        Arc::make_mut(&mut self.date_ranges).trim(start, self.config.skip_boundary(), self.now);
    }

    fn is_ready(&self) -> bool {
        let waits = |(index, lane): (usize, &Lane)| {
            let worth_waiting = self.waiting.beginning_ends(index).is_some_and(|until| until > self.now);
            !lane.is_playable() && !self.ended && worth_waiting
        };
        self.lanes.iter().any(Lane::is_playable) && !self.lanes.iter().enumerate().any(waits)
    }

    fn render(&mut self) {
        self.dirty = false;
        self.revision += 1;
        let mut renditions = BTreeMap::new();
        for lane in &mut self.lanes {
            let before = self.view.renditions.get(&lane.name).map(|entry| &entry.rendition);
            let rendition = match before.filter(|_| !lane.dirty) {
                Some(same) => Arc::clone(same),
                None => Arc::new(rendition_view(lane, before.map(Arc::as_ref))),
            };
            lane.dirty = false;
            renditions.insert(lane.name.clone(), Entry::new(rendition));
        }
        let mut view = HlsView {
            config: self.config,
            take: self.take.clone(),
            epoch_wall: self.epoch_wall,
            ended: self.ended,
            now: self.now,
            revision: self.revision,
            listed_from: self.window.listed_from(),
            kept_from: self.window.kept_from(),
            date_ranges: Arc::clone(&self.date_ranges),
            multivariant: self.view.multivariant.clone(),
            multivariant_event: self.view.multivariant_event.clone(),
            renditions,
        };
        if self.ready || self.is_ready() {
            self.render_multivariant(&mut view);
        }
        self.view = Arc::new(view);
    }

    fn render_multivariant(&mut self, view: &mut HlsView) {
        let playable: Vec<&Lane> =
            self.lanes.iter().filter(|lane| lane.is_playable() && !lane.paused).collect();
        if let Some(text) = multivariant::render(&playable, false, self.config.audio_only)
            .filter(|text| *text != self.multivariant_text)
        {
            let event = multivariant::render(&playable, true, self.config.audio_only).unwrap_or_default();
            self.multivariant_text.clone_from(&text);
            let made =
                |kind, text| multivariant_resource(&self.take, self.revision, kind, &self.config, text);
            view.multivariant = Some(made('m', text));
            view.multivariant_event = Some(made('e', event));
        }
        if !self.ready {
            self.ready = true;
            self.events.push_back(HlsEvent::Ready);
        }
    }
}

/// What players see of a lane. The list of segments is made anew only when it has changed.
fn rendition_view(lane: &Lane, before: Option<&RenditionView>) -> RenditionView {
    let same = before.filter(|before| {
        before.segments.len() == lane.segments.len()
            && before.segments.iter().zip(&lane.segments).all(|(a, b)| Arc::ptr_eq(a, b))
    });
    RenditionView {
        content_type: match lane.kind {
            TrackKind::Video => "video/mp4",
            TrackKind::Audio => "audio/mp4",
        },
        has_keyframes: lane.kind == TrackKind::Video,
        inits: lane.inits.iter().map(|(&n, body)| (n, body.clone())).collect(),
        segments: match same {
            Some(before) => Arc::clone(&before.segments),
            None => lane.segments.iter().cloned().collect(),
        },
        edge: lane.edge(),
    }
}

/// Lists what a lane has missed before `until`, the last of it ending at `end` nanoseconds.
fn fill_gaps(lane: &mut Lane, cuts: &Cuts, until: u64, end: u64, events: &mut VecDeque<HlsEvent>) {
    let Some(last) = lane.last_msn else { return };
    for msn in last + 1..until {
        let Some(cut) = cuts.get(msn) else { continue };
        let next = cuts.get(msn + 1).map_or(end, |next| u64::try_from(next.at).unwrap_or(0));
        let next = super::segment::nanos_to_ticks(next, lane.timescale());
        lane.push_gap(cut, next, events);
    }
}
