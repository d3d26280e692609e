//! Decoding times for pictures of which a file says only when they are shown: [`DecodingOrder`].

use crate::frame::Frame;
use crate::time::MediaTime;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// The deepest reordering there is (ITU-T H.264 section A.3.1: MaxDpbFrames is 16 at most).
const MAX_DEPTH: usize = 16;

/// Gives pictures, in decoding order with their PTS, a DTS that grows and is never behind the PTS.
///
/// With a depth of `d`, picture `n` is decoded when picture `n - d` in order of time is shown. The first `d` pictures wait for the one
/// after them, by which their times are spaced. Without reordering nothing waits and DTS is PTS.
#[derive(Debug, Default)]
pub(super) struct DecodingOrder {
    depth: usize,
    /// The first pictures, while their spacing is not known.
    waiting: VecDeque<Frame>,
    /// PTS of pictures that are not shown yet: `depth` of them.
    pending: BinaryHeap<Reverse<i64>>,
    last_dts: Option<i64>,
    last_pts: Option<i64>,
}

impl DecodingOrder {
    /// The next picture; frames that have their DTS go to `out`. Time is in ticks of the PTS's rate.
    pub(super) fn push(&mut self, frame: Frame, depth: u32, out: &mut impl FnMut(Frame)) {
        let depth = (depth as usize).min(MAX_DEPTH);
        if depth > self.depth {
            // A new depth begins at a keyframe: what waits is all shown before it.
            self.release(out);
            (self.depth, self.pending) = (depth, BinaryHeap::new());
        }
        self.waiting.push_back(frame);
        if self.waiting.len() + self.pending.len() > self.depth {
            self.release(out);
        }
    }

    /// What waits goes; at the end too.
    pub(super) fn release(&mut self, out: &mut impl FnMut(Frame)) {
        if self.pending.len() < self.depth && !self.waiting.is_empty() {
            // The beginning: times before the first PTS, as far apart as the pictures are on average.
            let all = self.waiting.iter().map(|frame| frame.pts.ticks);
            let (first, last) = (all.clone().min().unwrap_or(0), all.max().unwrap_or(0));
            let spacing = last.saturating_sub(first) / (self.waiting.len() as i64 - 1).max(1);
            for back in 1..=(self.depth - self.pending.len()) as i64 {
                self.pending.push(Reverse(first.saturating_sub(spacing.max(1).saturating_mul(back))));
            }
        }
        while let Some(mut frame) = self.waiting.pop_front() {
            let pts = frame.pts.ticks;
            if self.depth == 0 && self.last_pts.is_some_and(|last| pts < last) {
                // The stream reorders although its parameter sets do not say so: from now on decoding is one picture ahead.
                self.depth = 1;
                self.pending.push(Reverse(pts));
            }
            self.pending.push(Reverse(pts));
            let shown = self.pending.pop().map_or(pts, |Reverse(ticks)| ticks);
            let floor = self.last_dts.map_or(i64::MIN, |last| last.saturating_add(1));
            let dts = shown.min(pts).max(floor);
            (self.last_dts, self.last_pts) = (Some(dts), Some(pts));
            frame.dts = MediaTime::new(dts, frame.pts.rate);
            // Two pictures of one millisecond, or a stream that reorders deeper than it says: late is better than never.
            frame.pts.ticks = pts.max(dts);
            out(frame);
        }
    }
}
