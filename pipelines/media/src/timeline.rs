//! From the sender's RTP timestamps to one timeline in local time: anchor, then slew.
//!
//! What belongs here: every estimate about clocks and delays. What does not: packets' contents.
//!
//! # The model
//! A track's RTP clock reads `m` when a frame is captured, and the frame's packets come at local time `a`. The delay
//! `a - m` is a constant (the clocks' offset and the shortest way) plus what queues add. Its *floor*, the least delay of
//! the last seconds, follows the constant and the clocks' drift, and does not see jitter (`floor`).
//!
//! A track begins at once: its first packet's arrival is its PTS, and `offset = a - m`. Nothing waits for a sender
//! report. From then on `pts = m + offset`, and the offset moves towards its target by slewing only:
//! - audio (a viewer's ear notices its clock first): `target = floor`;
//! - video: `target = floor - difference + (audio's offset - audio's floor)`, so that whatever error audio still
//!   has, video shares it. `difference` is how much longer video is under way than audio. Sender reports of both
//!   tracks tell it (`reports`); before and without them it is zero.
//!
//! # How fast
//! 5 ms per second (0.5 %): neither a pitch nor a frame interval changed by that is noticed, and it is fifty times the
//! drift of a bad clock. An error above [`LIP_SYNC`] is worse than a bent clock, so then, and above 10 ms in the ten seconds after a
//! beginning or after the first reports, video moves by 50 ms (a 33.3 ms frame interval becomes 35 ms) and audio by
//! 10 ms (a sixth of a semitone) per second.
//!
//! # Steps
//! There are two, both where the input itself is discontinuous: RTP timestamps that jump are anchored anew on arrival, and
//! a backlog that a sender lets go of all at once at its start is recognised within [`SETTLING`].

mod floor;
mod lane;
mod reports;

use crate::codec::TrackKind;
use crate::ingest::TrackId;
use crate::packet::SenderReport;
use crate::time::{MediaTime, Mono};
use lane::Lane;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// The skew between picture and sound that viewers notice (ITU-R BT.1359-1: 45 ms of sound ahead).
pub const LIP_SYNC: Duration = Duration::from_millis(45);

/// After an anchor, for this long, delays that fall by more than [`SETTLING_STEP`] move the offset at once.
pub const SETTLING: Duration = Duration::from_millis(500);

/// See [`SETTLING`].
pub const SETTLING_STEP: Duration = Duration::from_millis(40);

/// Longest difference of delay between audio and video that reports are believed to tell; beyond it they are in
/// different clocks (some senders fill them in with nonsense).
const MAX_DIFFERENCE_NS: i64 = 2_000_000_000;

/// A track is fresh, and others may be measured against it, if it had a packet within this time.
const FRESH: Duration = Duration::from_secs(3);

/// When a frame is shown and decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Presentation time.
    pub pts: MediaTime,
    /// Decoding time; equal to `pts` without B-frames, strictly monotonic always.
    pub dts: MediaTime,
}

/// What the timeline has done to a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimelineStats {
    /// All slewing so far, added up with its sign: nanoseconds by which PTS moved against the sender's clock.
    pub slewed_ns: i64,
    /// How often the track was anchored: once at its start, and once for each jump of its timestamps.
    pub anchors: u64,
    /// Sender reports that told something.
    pub reports: u64,
    /// Sender reports that were ignored: of another SSRC, without a clock, or impossible.
    pub reports_ignored: u64,
    /// How much longer this track is under way than the audio, as the reports tell it, in nanoseconds.
    pub delay_difference_ns: i64,
    /// How far the PTS are from where they should be right now, in nanoseconds.
    pub error_ns: i64,
}

/// The timeline of one publisher's tracks. See the module's doc.
#[derive(Debug)]
pub struct Timeline {
    epoch: Mono,
    lanes: BTreeMap<TrackId, Lane>,
}

impl Timeline {
    /// A timeline whose zero is `epoch`.
    pub const fn new(epoch: Mono) -> Self {
        Self { epoch, lanes: BTreeMap::new() }
    }

    /// A track begins. Its first packet will anchor it.
    pub fn add_track(&mut self, id: TrackId, kind: TrackKind) {
        self.lanes.insert(id, Lane::new(kind));
    }

    /// The track's next packets have another source: nothing is known of their timestamps.
    pub fn restart_track(&mut self, id: TrackId) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.restart();
        }
    }

    /// A packet of the track, in sequence order, before its frame is placed.
    pub fn handle_packet(&mut self, id: TrackId, ssrc: u32, timestamp: u32, arrival: Mono) {
        let now_ns = arrival.nanos_since(self.epoch);
        let Some(mut lane) = self.lanes.remove(&id) else { return };
        let elsewhere = |span: Range<i64>| self.lanes.values().any(|lane| lane.was_punctual(span.clone()));
        lane.observe(ssrc, timestamp, now_ns, elsewhere);
        let early_report = lane.take_early_report();
        self.lanes.insert(id, lane);
        if let Some(report) = early_report {
            self.handle_sender_report(id, report);
        }
        self.slew(id, now_ns);
    }

    /// A sender report about the track.
    pub fn handle_sender_report(&mut self, id: TrackId, report: SenderReport) {
        let now_ns = report.arrival.nanos_since(self.epoch);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let Some(sample) = lane.read_report(report, now_ns) else { return };
        // A step of the sender's clock shows in all its tracks, if not at once: while one has reported it and the
        // other has not, neither is believed, and then both are.
        let Some(step) = lane.reports.handle(sample, now_ns) else { return };
        let others = || self.lanes.iter().filter(|(other, lane)| **other != id && lane.reports.known());
        let alone = others().next().is_none();
        let agreeing: Vec<TrackId> =
            others().filter(|(_, lane)| lane.reports.has_step_like(step)).map(|(other, _)| *other).collect();
        let others_unmoved = others().any(|(_, lane)| lane.reports.confirmed_since(step.since_ns));
        if alone || !agreeing.is_empty() || (step.confirmed && others_unmoved) {
            for other in agreeing.iter().chain([&id]) {
                if let Some(lane) = self.lanes.get_mut(other) {
                    lane.reports.take_step();
                }
            }
        }
    }

    /// Where the frame with this RTP timestamp belongs; `None` before the track's first packet. `reorder_depth` is how
    /// many frames may come before one that is shown earlier; `may_reorder` is false for codecs that never do.
    pub fn place(
        &mut self,
        id: TrackId,
        timestamp: u32,
        reorder_depth: u32,
        may_reorder: bool,
    ) -> Option<Placed> {
        self.lanes.get_mut(&id)?.place(timestamp, reorder_depth, may_reorder)
    }

    /// What has been done to the track.
    pub fn stats(&self, id: TrackId) -> Option<TimelineStats> {
        self.lanes.get(&id).map(Lane::stats)
    }

    /// The audio that video follows: the first audio track that is anchored and fresh.
    fn reference(&self, id: TrackId, now_ns: i64) -> Option<&Lane> {
        self.lanes
            .iter()
            .filter(|(other, lane)| **other != id && lane.kind() == TrackKind::Audio)
            .map(|(_, lane)| lane)
            .find(|lane| lane.last_packet_ns().is_some_and(|at| now_ns - at < FRESH.as_nanos() as i64))
    }

    /// Moves the track's offset towards its target.
    fn slew(&mut self, id: TrackId, now_ns: i64) {
        let Some(lane) = self.lanes.get(&id) else { return };
        let mut difference = lane.difference_ns();
        let mut shared_error_ns = 0;
        let mut newly_known = false;
        if lane.kind() == TrackKind::Video
            && let Some(audio) = self.reference(id, now_ns)
        {
            shared_error_ns = audio.offset_ns() - audio.floor_ns();
            if let (Some(ours), Some(theirs)) = (lane.reports.offset_ns(), audio.reports.offset_ns()) {
                let measured = (lane.floor_ns() - ours) - (audio.floor_ns() - theirs);
                if measured.abs() <= MAX_DIFFERENCE_NS {
                    newly_known = difference.is_none();
                    difference = Some(measured);
                }
            }
        }
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.slew(now_ns, difference, shared_error_ns, newly_known);
        }
    }
}
