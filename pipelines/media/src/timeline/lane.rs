//! One track on the timeline: its unwrapped RTP clock, its offset, jumps, and the order of its PTS and DTS.

use super::floor::Floor;
use super::reports::Reports;
use super::{LIP_SYNC, Placed, SETTLING, SETTLING_STEP, TimelineStats};
use crate::codec::TrackKind;
use crate::packet::SenderReport;
use crate::time::{AUDIO_RATE, MediaTime, VIDEO_RATE};
use std::collections::VecDeque;
use std::ops::Range;

const MS: i64 = 1_000_000;
const SECOND: i64 = 1000 * MS;

/// A packet this much earlier than possible has a timestamp that jumped forward.
const FORWARD_JUMP_NS: i64 = 250 * MS;

/// A packet this much later than the floor was held up by the network, or its timestamp jumped backward.
const BACKWARD_JUMP_NS: i64 = 500 * MS;

/// A stalled network drains its queue within this time; delays that stay high are a jump.
const STALL_NS: i64 = SECOND;

/// While one track's packets stall, another one's that come on time for this long prove that the network does not.
const PROOF_NS: i64 = 200 * MS;

/// Slewing begins at this error and ends at the second, so that PTS mostly run with the sender's clock to the tick.
const SLEW_FROM_NS: i64 = 5 * MS;
const SLEW_TO_NS: i64 = MS / 2;

/// Slewing in nanoseconds per second; the module's doc has the reasons.
const SLEW_RATE: i64 = 5 * MS;
const FAST_SLEW_RATE_VIDEO: i64 = 50 * MS;
const FAST_SLEW_RATE_AUDIO: i64 = 10 * MS;

/// For this long after a beginning errors above [`FAST_FROM_NS`] are slewed fast.
const FAST_TIME_NS: i64 = 10 * SECOND;
const FAST_FROM_NS: i64 = 10 * MS;

/// A report is sent when its clock reads what it says, so it comes with about the delay of the packets. The encoder's
/// delay and jitter are far below this; a report for another moment is not.
const MAX_REPORT_LATENESS_NS: i64 = 2500 * MS;

/// The deepest reordering that H.264 allows (ITU-T H.264 section A.3.1).
const MAX_REORDER_DEPTH: usize = 16;

/// One track. Times are nanoseconds since the timeline's epoch unless named otherwise.
#[derive(Debug)]
pub(super) struct Lane {
    kind: TrackKind,
    rate: u32,
    clock: Option<Clock>,
    floor: Floor,
    /// PTS less RTP clock.
    offset_ns: i64,
    /// How much longer this track is under way than the audio, once reports have told.
    difference_ns: Option<i64>,
    slewing: bool,
    slewed_at_ns: i64,
    settled_at_ns: i64,
    fast_until_ns: i64,
    late_since: Option<Late>,
    punctual: Punctual,
    pub(super) reports: Reports,
    early_report: Option<SenderReport>,
    order: Order,
    stats: TimelineStats,
}

/// The RTP clock of the current source, unwrapped: ticks since the packet that anchored it.
#[derive(Debug, Clone, Copy)]
struct Clock {
    ssrc: u32,
    timestamp: u32,
    ticks: i64,
    arrival_ns: i64,
}

impl Clock {
    /// The ticks that `timestamp` stands for, if it was sent about `elapsed` ticks after the last one.
    const fn unwrap(&self, timestamp: u32, elapsed: i64) -> i64 {
        let expected = self.ticks + elapsed;
        let expected_timestamp = self.timestamp.wrapping_add(elapsed as u32);
        expected + timestamp.wrapping_sub(expected_timestamp).cast_signed() as i64
    }
}

/// When packets came on time, one entry for 50 ms, for the last few seconds.
#[derive(Debug, Default)]
struct Punctual(VecDeque<i64>);

impl Punctual {
    fn add(&mut self, now_ns: i64) {
        if self.0.back().is_none_or(|last| now_ns - last >= 50 * MS) {
            self.0.push_back(now_ns);
            if self.0.len() > 64 {
                self.0.pop_front();
            }
        }
    }

    fn any_in(&self, span: Range<i64>) -> bool {
        self.0.iter().any(|at| span.contains(at))
    }
}

/// Packets that come too late, and whether they go on doing so.
#[derive(Debug, Clone, Copy)]
struct Late {
    since_ns: i64,
    least_delay_ns: i64,
}

impl Lane {
    pub(super) fn new(kind: TrackKind) -> Self {
        Self {
            kind,
            rate: match kind {
                TrackKind::Video => VIDEO_RATE,
                TrackKind::Audio => AUDIO_RATE,
            },
            clock: None,
            floor: Floor::default(),
            offset_ns: 0,
            difference_ns: None,
            slewing: false,
            slewed_at_ns: 0,
            settled_at_ns: 0,
            fast_until_ns: 0,
            late_since: None,
            punctual: Punctual::default(),
            reports: Reports::default(),
            early_report: None,
            order: Order::default(),
            stats: TimelineStats::default(),
        }
    }

    pub(super) const fn kind(&self) -> TrackKind {
        self.kind
    }

    pub(super) const fn offset_ns(&self) -> i64 {
        self.offset_ns
    }

    pub(super) const fn difference_ns(&self) -> Option<i64> {
        self.difference_ns
    }

    /// The floor of the delay; the offset itself before the first sample.
    pub(super) fn floor_ns(&self) -> i64 {
        self.floor.get().unwrap_or(self.offset_ns)
    }

    pub(super) fn last_packet_ns(&self) -> Option<i64> {
        self.clock.map(|clock| clock.arrival_ns)
    }

    /// Whether a packet came without having been held up at some time in this span.
    pub(super) fn was_punctual(&self, span: Range<i64>) -> bool {
        self.punctual.any_in(span)
    }

    pub(super) const fn stats(&self) -> TimelineStats {
        self.stats
    }

    /// Forgets the source; what was learnt about the track's delay and the PTS given so far stay.
    pub(super) fn restart(&mut self) {
        self.clock = None;
        self.floor.clear();
        self.reports.clear();
        self.late_since = None;
    }

    fn ns(&self, ticks: i64) -> i64 {
        MediaTime::new(ticks, self.rate).as_nanos()
    }

    fn ticks(&self, nanos: i64) -> i64 {
        MediaTime::from_nanos(nanos).rescale(self.rate).ticks
    }

    /// A packet, in sequence order. `elsewhere`: whether a packet of another track came on time in a span.
    pub(super) fn observe(
        &mut self,
        ssrc: u32,
        timestamp: u32,
        now_ns: i64,
        elsewhere: impl Fn(Range<i64>) -> bool,
    ) {
        let Some(clock) = self.clock.filter(|clock| clock.ssrc == ssrc) else {
            if self.clock.is_some() {
                self.restart();
            }
            self.anchor(ssrc, timestamp, now_ns, 0);
            return;
        };
        let gap_ns = (now_ns - clock.arrival_ns).max(0);
        let ticks = clock.unwrap(timestamp, self.ticks(gap_ns));
        let delay_ns = now_ns - self.ns(ticks);
        let floor_ns = self.floor_ns();
        // Where packets were expected by what is applied, too: an offset that never followed a queue needs no anchor.
        let expected_ns = self.offset_ns + self.difference_ns.unwrap_or(0);
        if delay_ns < floor_ns.min(expected_ns) - FORWARD_JUMP_NS {
            self.anchor(ssrc, timestamp, now_ns, 0);
            return;
        }
        if delay_ns > floor_ns.max(expected_ns) + BACKWARD_JUMP_NS {
            if self.is_backward_jump(delay_ns, floor_ns, gap_ns, now_ns, elsewhere) {
                let held_up_ns = self.late_since.map_or(0, |late| (delay_ns - late.least_delay_ns).max(0));
                self.anchor(ssrc, timestamp, now_ns, held_up_ns);
                return;
            }
        } else {
            self.late_since = None;
            if delay_ns <= floor_ns.max(expected_ns) + BACKWARD_JUMP_NS / 2 {
                self.punctual.add(now_ns);
            }
            self.floor.add(now_ns, delay_ns);
        }
        let arrival_ns = now_ns.max(clock.arrival_ns);
        self.clock = Some(Clock { ssrc, timestamp, ticks, arrival_ns });
    }

    /// A packet is much too late: has its timestamp jumped back, or has the network stalled? A stall ends with a burst that
    /// brings the delay down again; a jump does not.
    fn is_backward_jump(
        &mut self,
        delay_ns: i64,
        floor_ns: i64,
        gap_ns: i64,
        now_ns: i64,
        elsewhere: impl Fn(Range<i64>) -> bool,
    ) -> bool {
        let first = self.late_since.is_none();
        let late = self.late_since.get_or_insert(Late { since_ns: now_ns, least_delay_ns: delay_ns });
        late.least_delay_ns = late.least_delay_ns.min(delay_ns);
        let late = *late;
        // No network makes packets later than the time since the last one.
        let impossible = first && delay_ns - floor_ns > gap_ns + FORWARD_JUMP_NS;
        // If the network had held this packet, it would have held those of other tracks that were due since.
        let due_ns = now_ns - (delay_ns - floor_ns);
        let disproved = elsewhere(due_ns + PROOF_NS..now_ns - PROOF_NS / 4);
        impossible || disproved || now_ns - late.since_ns >= STALL_NS
    }

    /// Starts the track's clock at this packet, whose arrival (less what it was `held_up` for) becomes its PTS.
    fn anchor(&mut self, ssrc: u32, timestamp: u32, now_ns: i64, held_up_ns: i64) {
        self.restart();
        self.clock = Some(Clock { ssrc, timestamp, ticks: 0, arrival_ns: now_ns });
        let delay_ns = now_ns - held_up_ns;
        self.floor.add(now_ns, delay_ns);
        self.offset_ns = delay_ns - self.difference_ns.unwrap_or(0);
        self.slewing = false;
        self.slewed_at_ns = now_ns;
        self.settled_at_ns = now_ns + SETTLING.as_nanos() as i64;
        self.fast_until_ns = now_ns + FAST_TIME_NS;
        self.punctual.add(now_ns);
        self.stats.anchors += 1;
        self.order.step();
    }

    /// A report that came before the first packet of its source.
    pub(super) fn take_early_report(&mut self) -> Option<SenderReport> {
        let ssrc = self.clock?.ssrc;
        self.early_report.take_if(|report| report.ssrc == ssrc)
    }

    /// What a report says of the sender's wall clock less the RTP clock; `None` when it says nothing.
    pub(super) fn read_report(&mut self, report: SenderReport, now_ns: i64) -> Option<i64> {
        let Some(clock) = self.clock.filter(|clock| clock.ssrc == report.ssrc) else {
            // Perhaps the source's packets are still to come.
            if self.early_report.replace(report).is_some() || self.clock.is_some() {
                self.stats.reports_ignored += 1;
            }
            return None;
        };
        let ticks = clock.unwrap(report.rtp_timestamp, self.ticks(now_ns - clock.arrival_ns));
        let rtp_ns = self.ns(ticks);
        let lateness_ns = (now_ns - rtp_ns).saturating_sub(self.floor_ns());
        // RFC 3550 section 6.4.1: zero says that the sender has no wall clock.
        if report.ntp == 0 || lateness_ns.abs() > MAX_REPORT_LATENESS_NS {
            self.stats.reports_ignored += 1;
            return None;
        }
        self.stats.reports += 1;
        let wall_ns = (u128::from(report.ntp) * u128::from(SECOND.unsigned_abs())) >> 32;
        Some((wall_ns as i64).saturating_sub(rtp_ns))
    }

    /// Moves the offset towards its target.
    pub(super) fn slew(
        &mut self,
        now_ns: i64,
        difference: Option<i64>,
        shared_error: i64,
        newly_known: bool,
    ) {
        self.difference_ns = difference;
        if newly_known {
            self.fast_until_ns = now_ns + FAST_TIME_NS;
        }
        let elapsed_ns = (now_ns - self.slewed_at_ns).max(0);
        self.slewed_at_ns = self.slewed_at_ns.max(now_ns);
        let target = self.floor_ns() - difference.unwrap_or(0) + shared_error;
        let error = target - self.offset_ns;
        if now_ns < self.settled_at_ns && error < -(SETTLING_STEP.as_nanos() as i64) {
            // A backlog was let go of: what follows is newer than the first packet made believe.
            self.offset_ns = target;
            self.order.step();
        } else {
            self.slewing = error.abs() > if self.slewing { SLEW_TO_NS } else { SLEW_FROM_NS };
            if self.slewing {
                let step =
                    i128::from(self.slew_rate(now_ns, error)) * i128::from(elapsed_ns) / i128::from(SECOND);
                let step = i64::try_from(step).unwrap_or(i64::MAX);
                let moved = error.clamp(-step, step);
                self.offset_ns += moved;
                self.stats.slewed_ns += moved;
            }
        }
        self.stats.delay_difference_ns = difference.unwrap_or(0);
        self.stats.error_ns = target - self.offset_ns;
    }

    fn slew_rate(&self, now_ns: i64, error: i64) -> i64 {
        let out_of_sync = error.abs() > LIP_SYNC.as_nanos() as i64;
        let beginning = now_ns < self.fast_until_ns && error.abs() > FAST_FROM_NS;
        match self.kind {
            _ if !out_of_sync && !beginning => SLEW_RATE,
            TrackKind::Video => FAST_SLEW_RATE_VIDEO,
            TrackKind::Audio => FAST_SLEW_RATE_AUDIO,
        }
    }

    pub(super) fn place(&mut self, timestamp: u32, reorder_depth: u32, may_reorder: bool) -> Option<Placed> {
        let ticks = self.clock?.unwrap(timestamp, 0) + self.ticks(self.offset_ns);
        let (pts, dts) = self.order.place(ticks, reorder_depth as usize, may_reorder, self.rate);
        Some(Placed { pts: MediaTime::new(pts, self.rate), dts: MediaTime::new(dts, self.rate) })
    }
}

/// Keeps DTS rising, and PTS too where the codec has no B-frames.
#[derive(Debug, Default)]
struct Order {
    last_dts: Option<i64>,
    /// PTS that no DTS has been made of, rising; as many as frames may be out of order.
    pending: Vec<i64>,
    /// The newest PTS before any clamping, to see reordering that the format did not announce.
    recent: VecDeque<i64>,
    observed_depth: usize,
}

impl Order {
    /// The clock has stepped: what comes is not out of order with what was.
    fn step(&mut self) {
        self.recent.clear();
    }

    /// PTS and DTS of a frame at `ticks`.
    fn place(&mut self, ticks: i64, announced_depth: usize, may_reorder: bool, rate: u32) -> (i64, i64) {
        let earliest = self.last_dts.map_or(i64::MIN, |last| last + 1);
        if may_reorder {
            let shown_later = self.recent.iter().filter(|pts| **pts > ticks).count();
            self.observed_depth = self.observed_depth.max(shown_later);
            self.recent.push_back(ticks);
            if self.recent.len() > MAX_REORDER_DEPTH {
                self.recent.pop_front();
            }
        }
        let depth =
            if may_reorder { announced_depth.max(self.observed_depth).min(MAX_REORDER_DEPTH) } else { 0 };
        if depth == 0 {
            self.pending.clear();
            let time = ticks.max(earliest);
            self.last_dts = Some(time);
            return (time, time);
        }
        let at = self.pending.partition_point(|pts| *pts <= ticks);
        self.pending.insert(at, ticks);
        let missing = (depth + 1).saturating_sub(self.pending.len()) as i64;
        // Until `depth` frames have come, room is left for those to be shown before them: 33 ms for each.
        let mut dts = self.pending.first().copied().unwrap_or(ticks) - missing * i64::from(rate) / 30;
        while self.pending.len() > depth {
            dts = self.pending.remove(0);
        }
        let dts = dts.max(earliest);
        self.last_dts = Some(dts);
        (ticks.max(dts), dts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b_frames_get_rising_dts_that_are_never_after_their_pts() {
        let mut order = Order::default();
        let placed: Vec<_> =
            [0, 9000, 3000, 6000, 18_000, 12_000, 15_000].map(|t| order.place(t, 1, true, 90_000)).into();
        assert_eq!(
            placed,
            [
                (0, -3000),
                (9000, 0),
                (3000, 3000),
                (6000, 6000),
                (18_000, 9000),
                (12_000, 12_000),
                (15_000, 15_000)
            ]
        );
    }

    #[test]
    fn unannounced_b_frames_are_learnt_and_other_codecs_stay_monotonic() {
        let mut order = Order::default();
        for t in [0, 9000, 3000, 6000, 18_000, 12_000, 15_000, 27_000, 21_000, 24_000] {
            let last = order.last_dts;
            let (pts, dts) = order.place(t, 0, true, 90_000);
            assert!(dts <= pts && last.is_none_or(|last| dts > last), "{t}: pts {pts} dts {dts}");
        }
        assert_eq!(order.place(36_000, 0, true, 90_000), (36_000, 27_000));
        assert_eq!(order.place(30_000, 0, true, 90_000), (30_000, 30_000));
        let mut order = Order::default();
        assert_eq!([10, 5, 7, 12].map(|t| order.place(t, 0, false, 90_000).0), [10, 11, 12, 13]);
    }
}
