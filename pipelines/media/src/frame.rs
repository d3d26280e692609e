//! The currency of everything behind the depacketizer: one coded access unit.

use crate::codec::{Format, TrackKind};
use crate::time::MediaTime;
use bytes::Bytes;
use std::sync::Arc;

/// One coded access unit with its format, PTS, DTS, duration and keyframe flag.
///
/// H.264 data is length-prefixed (four bytes, as in `avcC` with `lengthSizeMinusOne = 3`) without parameter sets:
/// these live in the format. AV1 data is a low-overhead OBU stream without temporal delimiters. AAC is raw (no ADTS).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What the decoder must know; frames of one format share one allocation.
    pub format: Arc<Format>,
    /// When it is shown or heard, on the stream's timeline. Video in 90 kHz ticks, audio in its sample rate.
    pub pts: MediaTime,
    /// When it is decoded; equal to the PTS where there are no B-frames.
    pub dts: MediaTime,
    /// How long it lasts, when known; otherwise until the next frame of the track.
    pub duration: Option<MediaTime>,
    /// Decoding can start here. Every audio frame is one.
    pub keyframe: bool,
    /// The coded bytes, shared.
    pub data: Bytes,
}

impl Frame {
    /// The lane it belongs to.
    pub fn kind(&self) -> TrackKind {
        self.format.kind()
    }
}
