//! Puts the frames of all renditions into one order of time, so that every rendition stands at the same point of the
//! timeline when a segment or a discontinuity begins.
//!
//! A rendition whose next frame is not there yet holds the others back, but not for long: an announced one for
//! [`HlsConfig::announce_patience`](super::HlsConfig), or, when it is sound and pictures wait for it, for
//! `sound_patience` from the first picture; one that has begun and stopped for `stall_patience`. What comes later than that
//! is handed on at once, out of order.

use super::HlsConfig;
use crate::codec::TrackKind;
use crate::frame::Frame;
use crate::time::Mono;
use std::collections::VecDeque;
use std::time::Duration;

/// Most frames of one rendition that wait; beyond, the order is given up rather than memory.
const MAX_WAITING: usize = 1024;

/// From a rendition's first frame to its first part, at the most: the longest part.
const FIRST_PART: Duration = Duration::from_millis(1200);

/// The queues of all renditions, by the index of the rendition.
#[derive(Debug)]
pub(super) struct Interleave<T> {
    announce_patience: Duration,
    sound_patience: Duration,
    stall_patience: Duration,
    queues: Vec<Queue<T>>,
}

#[derive(Debug)]
struct Queue<T> {
    kind: TrackKind,
    /// It has had a frame.
    begun: bool,
    /// Until when its beginning is worth waiting for.
    beginning_ends: Mono,
    /// Frames with what belongs to them, and their place in the order in nanoseconds.
    waiting: VecDeque<(i64, Frame, T)>,
    /// Until when an empty queue holds the others back.
    patience_ends: Mono,
}

impl<T> Interleave<T> {
    pub(super) const fn new(config: &HlsConfig) -> Self {
        let HlsConfig { announce_patience, sound_patience, stall_patience, .. } = *config;
        Self { announce_patience, sound_patience, stall_patience, queues: Vec::new() }
    }

    /// A rendition is announced; its index is the number of those before it.
    pub(super) fn add(&mut self, kind: TrackKind, now: Mono) {
        let pictures = self.queues.iter().any(|q| q.kind == TrackKind::Video && q.begun);
        let patience = match kind {
            TrackKind::Audio if pictures => self.sound_patience.min(self.announce_patience),
            _ => self.announce_patience,
        };
        let patience_ends = now + patience;
        let waiting = VecDeque::new();
        self.queues.push(Queue { kind, begun: false, beginning_ends: patience_ends, waiting, patience_ends });
    }

    /// Until when players are better not let in without this rendition, if it has nothing for them yet.
    pub(super) fn beginning_ends(&self, index: usize) -> Option<Mono> {
        self.queues.get(index).map(|queue| queue.beginning_ends)
    }

    /// Nothing more comes of this rendition for now: it holds nobody back.
    pub(super) fn give_up(&mut self, index: usize, now: Mono) {
        let queue = &mut self.queues[index];
        (queue.patience_ends, queue.beginning_ends) = (now, now);
    }

    pub(super) fn push(&mut self, index: usize, frame: Frame, with: T, now: Mono) {
        let first_picture = !self.queues[index].begun && self.queues[index].kind == TrackKind::Video;
        if first_picture {
            let sound = self.queues.iter_mut().filter(|q| q.kind == TrackKind::Audio && !q.begun);
            for queue in sound {
                queue.patience_ends = queue.patience_ends.min(now + self.sound_patience);
                queue.beginning_ends = queue.patience_ends;
            }
        }
        let queue = &mut self.queues[index];
        if !queue.begun {
            queue.begun = true;
            queue.beginning_ends = queue.beginning_ends.max(now + FIRST_PART);
        }
        queue.patience_ends = now + self.stall_patience;
        queue.waiting.push_back((place_in_order(&frame), frame, with));
    }

    /// The next frame in the order of time, with the index of its rendition.
    pub(super) fn pop(&mut self, now: Mono) -> Option<(usize, Frame, T)> {
        let held = self.queues.iter().any(|q| q.waiting.is_empty() && q.patience_ends > now);
        let full = self.queues.iter().any(|q| q.waiting.len() > MAX_WAITING);
        if held && !full {
            return None;
        }
        self.pop_any()
    }

    /// The next frame in the order of time, waiting for nobody.
    pub(super) fn pop_any(&mut self) -> Option<(usize, Frame, T)> {
        let heads = self.queues.iter().enumerate();
        let first = heads.filter_map(|(i, q)| Some((q.waiting.front()?.0, i))).min()?;
        let (_, frame, with) = self.queues[first.1].waiting.pop_front()?;
        Some((first.1, frame, with))
    }

    /// When a queue's patience ends and frames that wait may go on.
    pub(super) fn deadline(&self, now: Mono) -> Option<Mono> {
        if self.queues.iter().all(|q| q.waiting.is_empty()) {
            return None;
        }
        let holding = self.queues.iter().filter(|q| q.waiting.is_empty() && q.patience_ends > now);
        holding.map(|q| q.patience_ends).max()
    }
}

/// Video by its PTS. Audio by the middle of the frame, so that a cut at a video frame falls on the nearest border of audio
/// frames.
pub(super) fn place_in_order(frame: &Frame) -> i64 {
    let pts = frame.pts.as_nanos();
    match (frame.kind(), frame.duration) {
        (TrackKind::Audio, Some(duration)) => pts.saturating_add(duration.as_nanos() / 2),
        // An AAC frame is 1024 samples (ISO/IEC 14496-3 section 4.5.1.1).
        (TrackKind::Audio, None) => pts.saturating_add(512 * 1_000_000_000 / i64::from(frame.pts.rate)),
        (TrackKind::Video, _) => pts,
    }
}
