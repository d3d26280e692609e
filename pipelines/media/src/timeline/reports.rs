//! What sender reports say about one track: where its RTP clock stands against the sender's wall clock.

use std::collections::VecDeque;

/// The median of so many reports counts: two wrong ones in a row move nothing.
const KEPT: usize = 5;

/// A report further from the median is a step of a clock, or wrong.
const STEP_NS: i64 = 100_000_000;

/// So many reports that agree with each other make a step believable.
const CONFIRM: usize = 3;

/// Two tracks' steps within this of each other are one step of the clock both are measured by.
const SAME_STEP_NS: i64 = 50_000_000;

/// A step that a report suggests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// By how much.
    by_ns: i64,
    /// When it was first suggested, on the timeline.
    pub(super) since_ns: i64,
    /// [`CONFIRM`] reports agree.
    pub(super) confirmed: bool,
}

/// The reports of one track. An *offset* is the sender's wall clock less the track's RTP clock, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Reports {
    offsets: VecDeque<i64>,
    /// Offsets that disagree with the others but not with each other, and when the first came.
    suspects: VecDeque<i64>,
    suspect_since_ns: i64,
    /// When a report last agreed.
    agreed_at_ns: Option<i64>,
}

impl Reports {
    /// A report's offset. Returns the step that it suggests, if any.
    pub(super) fn handle(&mut self, offset_ns: i64, now_ns: i64) -> Option<Step> {
        let Some(median) = self.offset_ns() else {
            self.agree(offset_ns, now_ns);
            return None;
        };
        if offset_ns.abs_diff(median) <= STEP_NS as u64 {
            self.agree(offset_ns, now_ns);
            return None;
        }
        if self.suspects.back().is_some_and(|last| last.abs_diff(offset_ns) > STEP_NS as u64) {
            self.suspects.clear();
        }
        if self.suspects.is_empty() {
            self.suspect_since_ns = now_ns;
        }
        self.suspects.push_back(offset_ns);
        self.suspects.truncate_front_to(CONFIRM);
        self.step()
    }

    fn agree(&mut self, offset_ns: i64, now_ns: i64) {
        self.offsets.push_back(offset_ns);
        self.offsets.truncate_front_to(KEPT);
        self.suspects.clear();
        self.agreed_at_ns = Some(now_ns);
    }

    fn step(&self) -> Option<Step> {
        let by_ns = self.suspects.back()?.saturating_sub(self.offset_ns()?);
        Some(Step { by_ns, since_ns: self.suspect_since_ns, confirmed: self.suspects.len() >= CONFIRM })
    }

    /// The median offset; `None` before the first report.
    pub(super) fn offset_ns(&self) -> Option<i64> {
        let mut sorted: Vec<i64> = self.offsets.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }

    /// Whether anything is known.
    pub(super) fn known(&self) -> bool {
        !self.offsets.is_empty()
    }

    /// Whether this track suggests the same step.
    pub(super) fn has_step_like(&self, step: Step) -> bool {
        self.step().is_some_and(|own| own.by_ns.abs_diff(step.by_ns) <= SAME_STEP_NS as u64)
    }

    /// Whether a report has agreed with those before since then.
    pub(super) fn confirmed_since(&self, since_ns: i64) -> bool {
        self.agreed_at_ns.is_some_and(|at| at > since_ns)
    }

    /// The suggested step is real: what came before it is void.
    pub(super) fn take_step(&mut self) {
        if !self.suspects.is_empty() {
            self.offsets = std::mem::take(&mut self.suspects);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Bounds a queue by dropping from its front.
trait TruncateFront {
    fn truncate_front_to(&mut self, len: usize);
}

impl TruncateFront for VecDeque<i64> {
    fn truncate_front_to(&mut self, len: usize) {
        while self.len() > len {
            self.pop_front();
        }
    }
}
