//! Frames of a foreign file on their way into a recording: [`Order`] puts both lanes into one order of time.
//!
//! A demuxer, a decoder and an encoder hand their frames out in bursts, each lane in its own; a recorder wants them as they would have
//! come live. What belongs here: that order. What does not: reading files.

use crate::codec::TrackKind;
use crate::frame::Frame;
use std::collections::VecDeque;

/// Frames that wait for the other lane beyond this many bytes go without it: it has a hole, or the file is badly interleaved.
const MAX_WAITING_BYTES: usize = 32 << 20;

/// See the module's doc.
///
/// After each `handle_*` drain [`Self::poll_frame`].
#[derive(Debug)]
pub struct Order {
    lanes: [Lane; 2],
    bytes: usize,
}

#[derive(Debug, Default)]
struct Lane {
    /// More frames come.
    live: bool,
    waiting: VecDeque<Frame>,
}

const fn index(kind: TrackKind) -> usize {
    match kind {
        TrackKind::Video => 0,
        TrackKind::Audio => 1,
    }
}

impl Order {
    /// One that waits for the first frame of each of these lanes.
    pub fn new(kinds: impl IntoIterator<Item = TrackKind>) -> Self {
        let mut order = Self { lanes: [Lane::default(), Lane::default()], bytes: 0 };
        for kind in kinds {
            order.lanes[index(kind)].live = true;
        }
        order
    }

    /// The next frame of its lane, in decode order.
    pub fn handle_frame(&mut self, frame: Frame) {
        self.bytes += frame.data.len();
        self.lanes[index(frame.kind())].waiting.push_back(frame);
    }

    /// Nothing more comes of this lane: it holds the other one back no longer.
    pub fn handle_end(&mut self, kind: TrackKind) {
        self.lanes[index(kind)].live = false;
    }

    /// The next frame by the time at which it is decoded, or `None` while it is not known which it is.
    pub fn poll_frame(&mut self) -> Option<Frame> {
        let unknown = self.lanes.iter().any(|lane| lane.live && lane.waiting.is_empty());
        if unknown && self.bytes <= MAX_WAITING_BYTES {
            return None;
        }
        let first = |lane: &Lane| lane.waiting.front().map(|frame| frame.dts);
        let lane =
            self.lanes.iter_mut().filter(|lane| !lane.waiting.is_empty()).min_by_key(|lane| first(lane))?;
        let frame = lane.waiting.pop_front()?;
        self.bytes -= frame.data.len();
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{AudioFormat, Codec, Format, VideoFormat};
    use crate::time::MediaTime;
    use bytes::Bytes;
    use std::sync::Arc;

    fn frame(kind: TrackKind, ms: i64, bytes: usize) -> Frame {
        let config = Bytes::new();
        let format = match kind {
            TrackKind::Video => {
                Format::Video(VideoFormat { codec: Codec::H264, width: 16, height: 16, config })
            }
            TrackKind::Audio => {
                Format::Audio(AudioFormat { codec: Codec::Aac, sample_rate: 48_000, channels: 2, config })
            }
        };
        let at = MediaTime::new(ms, 1000);
        let data = Bytes::from(vec![0; bytes]);
        Frame { format: Arc::new(format), pts: at, dts: at, duration: None, keyframe: true, data }
    }

    fn drain(order: &mut Order) -> Vec<i64> {
        std::iter::from_fn(|| order.poll_frame()).map(|frame| frame.dts.ticks).collect()
    }

    #[test]
    fn lanes_that_come_in_bursts_leave_in_one_order() {
        let mut order = Order::new([TrackKind::Video, TrackKind::Audio]);
        for ms in [0, 40, 80] {
            order.handle_frame(frame(TrackKind::Video, ms, 1));
        }
        assert_eq!(drain(&mut order), [0i64; 0]);
        for ms in [5, 26, 47] {
            order.handle_frame(frame(TrackKind::Audio, ms, 1));
        }
        assert_eq!(drain(&mut order), [0, 5, 26, 40, 47]);
        order.handle_end(TrackKind::Audio);
        assert_eq!(drain(&mut order), [80]);
        assert_eq!(order.bytes, 0);
    }

    #[test]
    fn a_lane_with_a_long_hole_does_not_fill_the_memory() {
        let mut order = Order::new([TrackKind::Video, TrackKind::Audio]);
        for ms in 0..100 {
            order.handle_frame(frame(TrackKind::Video, ms, 1 << 20));
        }
        assert_eq!(drain(&mut order).len(), 68);
        assert!(order.bytes <= MAX_WAITING_BYTES);
    }
}
