//! How much of each stream's ladder the machine has room for.
//!
//! Renditions are admitted from the bottom of a ladder for as long as their estimated cost fits beside what is measured, and
//! cut from the top when the machine stays full or a stream's encoders fall behind: a smaller picture for some is better than a
//! stuttering one for all. What was cut comes back one by one when there is room, each time later if it has to be cut again.
//! The last rendition of a stream is never cut.
//!
//! Drain rule: after [`Admission::handle_load`] or [`Admission::handle_stream`] read [`Admission::allowed`] of each stream;
//! there is no timer, because a load is told once a second.
//!
//! What belongs here: that decision for all streams of a node. What does not: reading `/proc`, and starting encoders.

use crate::time::Mono;
use crate::worker_proto::{Encoder, X264Preset};
use std::collections::BTreeMap;
use std::time::Duration;

/// Renditions are admitted up to this share of the machine: what is estimated may be wrong, and packets must go out as well.
const ADMIT_SHARE: f64 = 0.75;

/// Above this share of the machine there is no room left.
const FULL_SHARE: f64 = 0.92;

/// A machine that has been full for this long is cut; a burst of keyframes or a viewer's arrival is shorter.
const FULL_PATIENCE: Duration = Duration::from_secs(4);

/// A second in which encoders had no time for so many pictures is a late one: a viewer sees three missing pictures of thirty.
const LATE_PICTURES: u64 = 3;

/// So many late seconds in a row, and the stream is cut.
const LATE_SECONDS: u32 = 2;

/// Between two changes: the load has to show what the last one did.
const SETTLE: Duration = Duration::from_secs(4);

/// What has been admitted is visible in the measured load after this time.
const VISIBLE_AFTER: Duration = Duration::from_secs(3);

/// The first cut rendition comes back after this time at the earliest; each cut doubles it.
const FIRST_HOLD: Duration = Duration::from_secs(15);

/// No rendition is held back for longer than this, if there is room.
const LONGEST_HOLD: Duration = Duration::from_secs(300);

/// Why a stream's ladder is as high as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Everything fits.
    Fits,
    /// There was no room for more when the stream began.
    NoRoom,
    /// The machine was full.
    MachineFull,
    /// The stream's encoders fell behind.
    EncodersLate,
}

/// The names of streams for the machine: any number that the caller uses for one stream only.
pub type StreamKey = u64;

/// One stream's ladder.
#[derive(Debug, Default)]
struct Ladder {
    /// The costs of all wanted renditions in cores, the dearest (the top) first.
    costs: Vec<f64>,
    /// How many of them are allowed, counted from the bottom.
    allowed: usize,
    reason: Option<Reason>,
    late_seconds: u32,
    hold: Duration,
    cut_at: Option<Mono>,
}

/// Decides for all streams of a node. See the module.
#[derive(Debug)]
pub struct Admission {
    /// Cores of the machine.
    cores: f64,
    /// Cores in use, as measured last.
    busy: f64,
    streams: BTreeMap<StreamKey, Ladder>,
    /// Admitted, but not in `busy` yet: cores, and since when.
    unseen: Vec<(Mono, f64)>,
    full_since: Option<Mono>,
    changed_at: Option<Mono>,
}

impl Admission {
    /// A machine of so many cores with nothing on it.
    pub const fn new(cores: f64) -> Self {
        Self {
            cores,
            busy: 0.0,
            streams: BTreeMap::new(),
            unseen: Vec::new(),
            full_since: None,
            changed_at: None,
        }
    }

    /// Cores in use over the last second or so, by whatever runs on the machine.
    pub fn handle_load(&mut self, busy_cores: f64, now: Mono) {
        self.busy = busy_cores.clamp(0.0, self.cores);
        self.unseen.retain(|(since, _)| now.saturating_since(*since) < VISIBLE_AFTER);
        if self.busy < FULL_SHARE * self.cores {
            self.full_since = None;
            self.restore(now);
            return;
        }
        let since = *self.full_since.get_or_insert(now);
        if now.saturating_since(since) >= FULL_PATIENCE && self.is_settled(now) {
            let dearest = self.streams.iter().filter(|(_, ladder)| ladder.can_be_cut());
            let dearest = dearest.max_by(|a, b| a.1.top_cost().total_cmp(&b.1.top_cost()));
            if let Some(key) = dearest.map(|(key, _)| *key) {
                self.cut(key, Reason::MachineFull, now);
            }
        }
    }

    /// A stream wants renditions of these costs (in cores, the top first), and its encoders had no time for `late` pictures
    /// since the last call, a second ago or so. The first call admits what fits.
    pub fn handle_stream(&mut self, key: StreamKey, costs: &[f64], late: u64, now: Mono) {
        let changed = self.streams.get(&key).is_none_or(|ladder| ladder.costs != costs);
        if changed {
            let admitted = self.fitting(key, costs, now);
            let ladder = self.streams.entry(key).or_default();
            ladder.costs = costs.to_vec();
            ladder.allowed = admitted;
            ladder.reason = Some(if admitted == costs.len() { Reason::Fits } else { Reason::NoRoom });
            ladder.late_seconds = 0;
            ladder.hold = FIRST_HOLD;
            ladder.cut_at = (admitted < costs.len()).then_some(now);
            return;
        }
        let settled = self.is_settled(now);
        let Some(ladder) = self.streams.get_mut(&key) else { return };
        ladder.late_seconds = if late >= LATE_PICTURES { ladder.late_seconds + 1 } else { 0 };
        if ladder.late_seconds >= LATE_SECONDS && settled && ladder.can_be_cut() {
            self.cut(key, Reason::EncodersLate, now);
        }
    }

    /// The stream encodes nothing any more.
    pub fn forget(&mut self, key: StreamKey) {
        self.streams.remove(&key);
    }

    /// How many of the stream's renditions may be encoded, counted from the bottom.
    pub fn allowed(&self, key: StreamKey) -> usize {
        self.streams.get(&key).map_or(0, |ladder| ladder.allowed)
    }

    /// Why; `None` for a stream that wants nothing.
    pub fn reason(&self, key: StreamKey) -> Option<Reason> {
        self.streams.get(&key)?.reason
    }

    /// Cores in use, as measured last.
    pub const fn busy_cores(&self) -> f64 {
        self.busy
    }

    /// Cores of the machine.
    pub const fn cores(&self) -> f64 {
        self.cores
    }

    /// How many of these fit, from the bottom: at least one.
    fn fitting(&mut self, key: StreamKey, costs: &[f64], now: Mono) -> usize {
        // What the stream has encoded until now makes room for what it encodes from now on.
        let before: f64 = self.streams.get(&key).map_or(0.0, Ladder::cost);
        let mut room = ADMIT_SHARE * self.cores - self.expected() + before;
        let mut taken = 0.0;
        let mut fitting = 0;
        for cost in costs.iter().rev() {
            if fitting > 0 && *cost > room {
                break;
            }
            room -= cost;
            taken += cost;
            fitting += 1;
        }
        self.unseen.push((now, taken - before));
        fitting
    }

    fn cut(&mut self, key: StreamKey, reason: Reason, now: Mono) {
        let Some(ladder) = self.streams.get_mut(&key) else { return };
        let again = ladder.cut_at.is_some();
        ladder.allowed -= 1;
        ladder.reason = Some(reason);
        ladder.hold = if again { (ladder.hold * 2).min(LONGEST_HOLD) } else { FIRST_HOLD };
        ladder.cut_at = Some(now);
        ladder.late_seconds = 0;
        self.changed_at = Some(now);
    }

    /// Gives one rendition back, the cheapest that was cut, if it fits and its time has come.
    fn restore(&mut self, now: Mono) {
        if !self.is_settled(now) {
            return;
        }
        let room = ADMIT_SHARE * self.cores - self.expected();
        let ready = self.streams.iter().filter_map(|(key, ladder)| {
            let cost = ladder.next_cost()?;
            let rested = ladder.cut_at.is_none_or(|at| now.saturating_since(at) >= ladder.hold);
            (rested && cost <= room).then_some((*key, cost))
        });
        let Some((key, cost)) = ready.min_by(|a, b| a.1.total_cmp(&b.1)) else { return };
        if let Some(ladder) = self.streams.get_mut(&key) {
            ladder.allowed += 1;
            if ladder.allowed == ladder.costs.len() {
                ladder.reason = Some(Reason::Fits);
            }
        }
        self.unseen.push((now, cost));
        self.changed_at = Some(now);
    }

    fn is_settled(&self, now: Mono) -> bool {
        self.changed_at.is_none_or(|at| now.saturating_since(at) >= SETTLE)
    }

    /// Cores in use as soon as everything that was admitted is at work.
    fn expected(&self) -> f64 {
        self.busy + self.unseen.iter().map(|(_, cores)| cores).sum::<f64>()
    }
}

impl Ladder {
    fn can_be_cut(&self) -> bool {
        self.allowed > 1
    }

    /// The cost of the highest rendition that is allowed.
    fn top_cost(&self) -> f64 {
        self.costs.iter().rev().nth(self.allowed.wrapping_sub(1)).copied().unwrap_or(0.0)
    }

    /// The cost of the lowest rendition that is not allowed.
    fn next_cost(&self) -> Option<f64> {
        self.costs.iter().rev().nth(self.allowed).copied()
    }

    /// The cost of all that is allowed.
    fn cost(&self) -> f64 {
        self.costs.iter().rev().take(self.allowed).sum()
    }
}

/// Cores that encoding pictures of this size takes, as measured for hard content on one Zen 4 core at 1280x720 and 30 frames a
/// second (superfast: 0.25). Other machines differ by a factor of two; what is measured later corrects it.
pub fn encode_cost(size: (u32, u32), fps: u32, encoder: Encoder) -> f64 {
    let at_720p30 = match encoder {
        Encoder::X264 { preset: X264Preset::Ultrafast } => 0.13,
        Encoder::X264 { preset: X264Preset::Superfast } => 0.25,
        Encoder::X264 { preset: X264Preset::Veryfast } => 0.38,
        Encoder::X264 { preset: X264Preset::Faster } => 0.55,
        Encoder::OpenH264 => 0.19,
    };
    let pixels_per_second = f64::from(size.0) * f64::from(size.1) * f64::from(fps);
    at_720p30 * pixels_per_second / (1280.0 * 720.0 * 30.0)
}

#[cfg(test)]
mod tests;
