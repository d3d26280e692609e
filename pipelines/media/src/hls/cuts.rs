//! Where segments begin: one list for all renditions, so that media sequence numbers, discontinuities and dates agree.

use super::HlsConfig;
use std::collections::VecDeque;
use std::time::Duration;

/// Sound this long before the end of a broken timeline, in nanoseconds, is what was on its way when it broke.
const ON_THE_WAY: i64 = 1_000_000_000;

/// The border before one segment, in every rendition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    /// Media sequence number of the segment behind it.
    pub(super) msn: u64,
    /// Where on the stream's timeline, in nanoseconds.
    pub(super) at: i64,
    /// The segment behind it carries `EXT-X-DISCONTINUITY`.
    pub(super) discontinuity: bool,
    /// Discontinuity sequence number of the segment behind it.
    pub(super) discontinuity_sequence: u64,
    /// The timeline begins anew here: times before it say nothing about times behind it.
    pub(super) origin: bool,
}

/// All cuts that a rendition may still have to make.
#[derive(Debug)]
pub(super) struct Cuts {
    segment: i64,
    tolerance: i64,
    list: VecDeque<Cut>,
    /// The next cut is an origin: nothing is declared yet, or the timeline was broken.
    broken: bool,
    /// Where the timeline ended when it was broken last.
    ended_at: i64,
}

impl Cuts {
    pub(super) fn new(config: &HlsConfig) -> Self {
        let nanos = |d: Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX);
        let (segment, tolerance) = (nanos(config.segment), nanos(config.keyframe_earliness()));
        Self { segment, tolerance, list: VecDeque::new(), broken: true, ended_at: i64::MIN }
    }

    pub(super) fn newest(&self) -> Option<&Cut> {
        self.list.back()
    }

    pub(super) fn get(&self, msn: u64) -> Option<&Cut> {
        let first = self.list.front()?.msn;
        self.list.get(usize::try_from(msn.checked_sub(first)?).ok()?)
    }

    /// How early a keyframe may come and still count as on the grid, in nanoseconds.
    pub(super) const fn tolerance(&self) -> i64 {
        self.tolerance
    }

    /// No segment can go on: the next frame that may open one declares a new origin.
    pub(super) const fn is_broken(&self) -> bool {
        self.broken
    }

    /// The timeline ends here, in nanoseconds; what comes next is a discontinuity.
    pub(super) fn break_timeline(&mut self, end: u64) {
        self.broken = true;
        self.ended_at = self.ended_at.max(i64::try_from(end).unwrap_or(i64::MAX));
    }

    /// Sound at this time belongs before the break: it would begin the new timeline within the old one, with a discontinuity sequence
    /// number that other renditions do not have there. What is much older does begin a timeline of its own.
    pub(super) fn is_left_over(&self, at: i64) -> bool {
        self.broken && at < self.ended_at && at >= self.ended_at.saturating_sub(ON_THE_WAY)
    }

    /// Every rendition's next segment begins at this time. Returns its media sequence number.
    pub(super) fn declare(&mut self, at: i64, discontinuity: bool) -> u64 {
        let origin = self.broken;
        let cut = match self.newest() {
            None => Cut { msn: 0, at, discontinuity: false, discontinuity_sequence: 0, origin },
            Some(last) => {
                let discontinuity = discontinuity || origin;
                Cut {
                    msn: last.msn + 1,
                    at: if origin { at } else { at.max(last.at) },
                    discontinuity,
                    discontinuity_sequence: last.discontinuity_sequence + u64::from(discontinuity),
                    origin,
                }
            }
        };
        self.broken = false;
        self.list.push_back(cut);
        cut.msn
    }

    /// The first grid point that may end the newest segment. A segment that began a little before a grid point belongs to it.
    pub(super) fn next_grid_point(&self) -> i64 {
        let begun = self.newest().map_or(0, |cut| cut.at);
        let cell = begun.saturating_add(self.tolerance).div_euclid(self.segment);
        (cell + 1).saturating_mul(self.segment)
    }

    /// The segment that a frame at this time belongs to, among those from `least` on. A frame from a little before the last
    /// origin belongs to the origin's segment.
    pub(super) fn segment_at(&self, at: i64, least: u64) -> Option<Cut> {
        for cut in self.list.iter().rev().take_while(|cut| cut.msn >= least) {
            if cut.at <= at || (cut.origin && cut.at.saturating_sub(self.segment) <= at) {
                return Some(*cut);
            }
            if cut.origin {
                return None;
            }
        }
        None
    }

    /// Cuts before this media sequence number are no longer needed; the newest stays.
    pub(super) fn forget_before(&mut self, msn: u64) {
        while self.list.len() > 1 && self.list.front().is_some_and(|cut| cut.msn < msn) {
            self.list.pop_front();
        }
    }
}
