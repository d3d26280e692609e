//! A constant frame rate from decoded pictures that come late, early or not at all.
//!
//! Time is cut into slots of `1/fps`; slot `k` stands at `k/fps` on the stream's timeline, whatever the source does.
//! A picture takes the slot nearest to its PTS as soon as it comes, so pictures on time are never held back. Slots that
//! no picture takes show the last picture again: known when a later picture comes, or decided by the clock at most
//! `max_wait` after the slot's time.
//!
//! What belongs here: which picture goes into which slot, and which slots are keyframes. What does not: pixels. `P` is
//! any handle to a picture (a GStreamer buffer in the worker, a number in tests).

use crate::time::{MediaTime, Mono, VIDEO_RATE};
use std::collections::VecDeque;
use std::time::Duration;

/// A picture this far before its time belongs to a broken timeline and takes no slot: filling all slots up to it would
/// show a still for that long. It is shown in the next undecided slot instead.
const MAX_AHEAD: Duration = Duration::from_secs(2);

/// How many pictures wait for an encoder that is slow before the oldest is given up: memory is bounded by this.
const MAX_WAITING: usize = 6;

/// How long the first picture may take when a timeline is resumed; after that the missing slots are black.
const RESUME_HOLD: Duration = Duration::from_millis(1000);

/// Pictures whose time stamps jitter about the middle between two slots would take one slot twice and leave the next
/// empty; the slot that is next in turn reaches this much further, in thousandths of a slot.
const HYSTERESIS_MILLISLOTS: i64 = 200;

/// What a [`VideoCadence`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoCadenceConfig {
    /// Slots per second; not zero.
    pub fps: u32,
    /// Keyframes stand at the multiples of this on the timeline.
    pub keyframe_interval: Duration,
    /// How long after its time a slot is decided without a picture.
    pub max_wait: Duration,
    /// The zero of the stream's timeline.
    pub epoch: Mono,
    /// The first slot is the first at or after this; otherwise the first picture's slot.
    pub resume_at: Option<MediaTime>,
}

/// One place of the constant frame rate, and what fills it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot<P> {
    /// Its number: slot `k` stands at `k/fps`.
    pub index: i64,
    /// Its time on the stream's timeline, in 90 kHz ticks.
    pub pts: MediaTime,
    /// The time to the next slot, in 90 kHz ticks.
    pub duration: MediaTime,
    /// The encoder must make a keyframe of it.
    pub keyframe: bool,
    /// The picture, or `None` for black.
    pub picture: Option<P>,
    /// The picture was shown before.
    pub repeated: bool,
}

/// Counters of a [`VideoCadence`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VideoCadenceCounters {
    /// Slots filled with a picture that was shown before, or with black.
    pub repeated: u64,
    /// Pictures that took no slot.
    pub dropped: u64,
    /// Of these, pictures that had a slot and waited for an encoder until newer ones had come.
    pub late: u64,
}

/// Decides which picture fills which slot.
#[derive(Debug)]
pub struct VideoCadence<P> {
    config: VideoCadenceConfig,
    created: Mono,
    /// The next slot to hand out. `None` until there is a first picture.
    next: Option<i64>,
    /// All slots before this one are decided; never before `next`.
    decided: i64,
    /// Pictures with their slots, ascending, all in `next..decided`.
    waiting: VecDeque<(i64, P)>,
    shown: Option<P>,
    /// Where the last picture stood, in thousandths of a slot.
    last_position: Option<i64>,
    started: bool,
    counters: VideoCadenceCounters,
}

impl<P: Clone> VideoCadence<P> {
    /// A cadence that begins at `now`.
    ///
    /// # Panics
    /// When `fps` is zero.
    pub fn new(config: VideoCadenceConfig, now: Mono) -> Self {
        assert!(config.fps > 0, "a frame rate is not zero");
        let next = config.resume_at.map(|at| first_slot_at(at, config.fps));
        Self {
            config,
            created: now,
            next,
            decided: next.unwrap_or(0),
            waiting: VecDeque::new(),
            shown: None,
            last_position: None,
            started: false,
            counters: VideoCadenceCounters::default(),
        }
    }

    /// A picture has been decoded.
    pub fn handle_picture(&mut self, pts: MediaTime, picture: P, now: Mono) {
        let ahead = i128::from(pts.as_nanos()) - i128::from(now.nanos_since(self.config.epoch));
        let position = position_millislots(pts, self.config.fps);
        let slot = if ahead > MAX_AHEAD.as_nanos().cast_signed() { None } else { self.slot_for(position) };
        self.last_position = Some(position);
        let Some(slot) = slot else {
            self.counters.dropped += 1;
            // Too late for its own slot, but still the newest there is; unless newer ones wait already.
            if self.waiting.is_empty() && self.next.is_some() {
                self.shown = Some(picture);
            }
            return;
        };
        self.next.get_or_insert(slot);
        self.decided = slot + 1;
        self.waiting.push_back((slot, picture));
        if self.waiting.len() > MAX_WAITING {
            self.waiting.pop_front();
            self.counters.dropped += 1;
            self.counters.late += 1;
        }
    }

    /// The slot a picture at `position` takes, if any is left for it.
    fn slot_for(&self, position: i64) -> Option<i64> {
        let nearest = (position + 500).div_euclid(1000);
        if self.next.is_none() {
            return Some(nearest);
        }
        let turn = self.decided * 1000;
        // A source faster than the slots must lose pictures anyway: then nearest is best.
        let keeps_pace = self.last_position.is_none_or(|last| position - last > 600);
        let slack = if keeps_pace { HYSTERESIS_MILLISLOTS } else { 0 };
        if position <= turn - 500 - slack {
            None
        } else if position < turn + 500 + slack {
            Some(self.decided)
        } else {
            Some(nearest)
        }
    }

    /// When [`Self::handle_timeout`] must be called at the latest.
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.next?;
        let due = self.due(self.decided);
        let nothing_to_show = self.shown.is_none() && self.waiting.is_empty();
        Some(if nothing_to_show { due.max(self.created + RESUME_HOLD) } else { due })
    }

    /// Decides the slots whose time ran out: they show what was shown last.
    pub fn handle_timeout(&mut self, now: Mono) {
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return;
        }
        let passed = now.nanos_since(self.config.epoch + self.config.max_wait);
        // The last slot at or before that time; the timer of the one after it lies in the future.
        let last_due = (i128::from(passed) * i128::from(self.config.fps)).div_euclid(1_000_000_000);
        self.decided = self.decided.max(i64::try_from(last_due).unwrap_or(i64::MAX - 1) + 1);
        while self.due(self.decided) <= now {
            self.decided += 1; // rounding of slot times to ticks
        }
    }

    /// The next slot that is decided.
    pub fn poll_slot(&mut self) -> Option<Slot<P>> {
        let index = self.next?;
        if index >= self.decided {
            return None;
        }
        let own = self.waiting.front().is_some_and(|(slot, _)| *slot == index);
        if own {
            self.shown = self.waiting.pop_front().map(|(_, picture)| picture);
        } else {
            self.counters.repeated += 1;
            // Missing from the very start: the first picture is shown before its time.
            if self.shown.is_none() {
                self.shown = self.waiting.front().map(|(_, picture)| picture.clone());
            }
        }
        let keyframe = !self.started || self.is_on_keyframe_grid(index);
        self.started = true;
        self.next = Some(index + 1);
        let pts = slot_time(index, self.config.fps);
        let duration = slot_time(index + 1, self.config.fps) - pts;
        Some(Slot { index, pts, duration, keyframe, picture: self.shown.clone(), repeated: !own })
    }

    /// The time of the next slot to come out; `None` before the first picture.
    pub fn next_pts(&self) -> Option<MediaTime> {
        self.next.map(|index| slot_time(index, self.config.fps))
    }

    /// What has been repeated and dropped so far.
    pub const fn counters(&self) -> VideoCadenceCounters {
        self.counters
    }

    fn due(&self, slot: i64) -> Mono {
        let nanos = slot_time(slot, self.config.fps).as_nanos();
        let epoch = self.config.epoch;
        let span = Duration::from_nanos(nanos.unsigned_abs());
        (if nanos < 0 { epoch - span } else { epoch + span }) + self.config.max_wait
    }

    /// The first slot at or after each multiple of the interval.
    fn is_on_keyframe_grid(&self, slot: i64) -> bool {
        let interval = i128::try_from(self.config.keyframe_interval.as_nanos().max(1)).unwrap_or(i128::MAX);
        let cell = |slot: i64| {
            let nanos = i128::from(slot) * 1_000_000_000;
            nanos.div_euclid(i128::from(self.config.fps) * interval)
        };
        // `slot` opens a new cell of the grid if the instant just before it lies in another; at a multiple itself the
        // division is exact, so the previous slot's cell differs.
        cell(slot) != cell(slot - 1)
    }
}

/// When slot `index` stands, in 90 kHz ticks: rounded from zero each time, so that errors never add up.
fn slot_time(index: i64, fps: u32) -> MediaTime {
    MediaTime::new(index, fps).rescale(VIDEO_RATE)
}

/// The first slot whose time is at or after `at`, with half a tick of grace for times that were rounded.
fn first_slot_at(at: MediaTime, fps: u32) -> i64 {
    let (ticks, fps, rate) = (i128::from(at.ticks), i128::from(fps), i128::from(at.rate));
    let slot = (2 * ticks - 1) * fps;
    let ceil = -(-slot).div_euclid(2 * rate);
    i64::try_from(ceil).unwrap_or(i64::MAX / 4)
}

/// Where `pts` stands among the slots, in thousandths of a slot.
fn position_millislots(pts: MediaTime, fps: u32) -> i64 {
    let exact = i128::from(pts.ticks) * i128::from(fps) * 1000;
    i64::try_from(exact.div_euclid(i128::from(pts.rate))).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests;
