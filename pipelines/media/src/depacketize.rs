//! RTP payloads in sequence order in, coded frames out: one [`Depacketizer`] for one codec of one track.
//!
//! What belongs here: payload formats, and whether a frame is whole and can be decoded. What does not: sequence
//! numbers (`reorder`), time (`timeline`).
//!
//! # Why not the `rtp` crate's depacketizers
//! They see one packet at a time and keep no frame, so holes are the caller's trouble; and in 0.17 they do not bear
//! hostile input: a STAP-A with one trailing byte and a VP9 layer byte without its `TL0PICIDX` read past the end and
//! panic, `Vp9Packet` grows with each packet, and there is none for AV1. Its *payloaders* are our tests' foreign peer.

mod av1;
pub(crate) mod container;
mod h264;
pub(crate) mod opus;
mod video;
mod vp8;
mod vp9;

use crate::codec::{Codec, Format};
use crate::packet::Packet;
use crate::time::{MediaTime, Mono};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::Arc;

/// One coded access unit, whole, in the sender's own time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodedFrame {
    /// The RTP timestamp, as on the wire.
    pub timestamp: u32,
    /// When its first packet came.
    pub arrival: Mono,
    /// Decoding can start here.
    pub keyframe: bool,
    /// What the decoder must know.
    pub format: Arc<Format>,
    /// As described at [`crate::frame::Frame`].
    pub data: Bytes,
    /// How long it lasts, where the payload says so (Opus).
    pub duration: Option<MediaTime>,
    /// How many frames may come before one that is shown earlier (B-frames); zero nearly always.
    pub reorder_depth: u32,
}

/// Why nothing can be decoded until the next keyframe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyframeReason {
    /// The track has begun (or begun anew) with something else than a keyframe.
    NotYet,
    /// Packets were lost.
    Loss,
    /// A frame's payload broke the rules of its format or was larger than allowed.
    BadPayload,
}

/// A payload that breaks the rules of its format. The frame it belongs to is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The payload ends inside the named structure.
    #[error("{0} ends early")]
    Truncated(&'static str),
    /// The payload uses something that no WebRTC sender negotiates with Skywave.
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    /// The payload contradicts itself or what came before.
    #[error("{0}")]
    Invalid(&'static str),
    /// The frame has grown beyond the bound.
    #[error("frame is larger than {0} bytes")]
    TooLarge(usize),
}

/// What a [`Depacketizer`] has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Depacketized {
    /// A whole frame that can be decoded.
    Frame(CodedFrame),
    /// A frame was dropped: it had a hole, or what it refers to is missing.
    Dropped,
    /// A payload was refused.
    BadPayload(PayloadError),
}

/// See the module's doc.
#[derive(Debug)]
pub struct Depacketizer {
    codec: Codec,
    lane: Lane,
    output: VecDeque<Depacketized>,
}

#[derive(Debug)]
enum Lane {
    Video(Box<video::VideoLane>),
    Opus(opus::OpusLane),
}

impl Depacketizer {
    /// A depacketizer for `codec`, or `None` when the codec has no RTP payload that Skywave takes (AAC).
    pub fn new(codec: Codec, max_frame_bytes: usize) -> Option<Self> {
        let lane = match codec {
            Codec::Opus => Lane::Opus(opus::OpusLane::new()),
            Codec::Aac => return None,
            Codec::Vp8 | Codec::Vp9 | Codec::H264 | Codec::Av1 => {
                Lane::Video(Box::new(video::VideoLane::new(codec, max_frame_bytes)?))
            }
        };
        Some(Self { codec, lane, output: VecDeque::new() })
    }

    /// The codec it was made for.
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// The next packet has this timestamp: a frame of another one has ended. [`Self::handle_packet`] does the same; this
    /// is for callers that want the frame before they look at the packet.
    pub fn close_before(&mut self, timestamp: u32) {
        match &mut self.lane {
            Lane::Video(lane) => lane.close_before(timestamp, &mut self.output),
            Lane::Opus(_) => {}
        }
    }

    /// The next packet in sequence order. Packets of another codec must go to another depacketizer.
    pub fn handle_packet(&mut self, packet: &Packet) {
        debug_assert_eq!(packet.codec, self.codec, "one depacketizer, one codec");
        if packet.payload.is_empty() {
            // Padding only: senders probe for bandwidth with it (RFC 3550 section 5.1, padding bit).
            return;
        }
        match &mut self.lane {
            Lane::Video(lane) => lane.handle_packet(packet, &mut self.output),
            Lane::Opus(lane) => lane.handle_packet(packet, &mut self.output),
        }
    }

    /// Packets before the next one are lost.
    pub fn handle_loss(&mut self) {
        match &mut self.lane {
            Lane::Video(lane) => lane.handle_loss(),
            // Every Opus packet is a frame of its own.
            Lane::Opus(_) => {}
        }
    }

    /// The next thing to take, or `None`.
    pub fn poll_output(&mut self) -> Option<Depacketized> {
        self.output.pop_front()
    }

    /// Why frames are being dropped until a keyframe comes; `None` when all is well or nothing has come yet.
    pub const fn keyframe_needed(&self) -> Option<KeyframeReason> {
        match &self.lane {
            Lane::Video(lane) => lane.keyframe_needed(),
            Lane::Opus(_) => None,
        }
    }
}

/// One picture put together by a codec's assembler.
#[derive(Debug)]
struct Picture {
    keyframe: bool,
    /// Present in keyframes.
    format: Option<crate::codec::VideoFormat>,
    data: Bytes,
    reorder_depth: u32,
}

/// What a codec's assembler says when a frame has ended.
#[derive(Debug)]
enum Finished {
    /// A whole picture.
    Picture(Picture),
    /// Parameter sets or delimiters only: nothing to show, nothing lost.
    Nothing,
    /// The frame is not whole.
    Incomplete,
}

/// Puts the payloads of one frame together: what differs between the video codecs.
trait Assemble: std::fmt::Debug + Send {
    /// The next payload of the frame; never empty.
    fn push(&mut self, payload: &Bytes) -> Result<(), PayloadError>;

    /// The frame has ended. `after_loss`: packets right before its first one are lost, so its head may be among them.
    fn finish(&mut self, after_loss: bool) -> Result<Finished, PayloadError>;

    /// The frame is given up; what was learnt for later frames (parameter sets) stays.
    fn clear(&mut self);
}

/// Joins slices; one slice is shared and not copied.
fn join(parts: &mut Vec<Bytes>) -> Bytes {
    if parts.len() == 1 {
        return parts.pop().unwrap_or_default();
    }
    let mut data = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    for part in parts.drain(..) {
        data.extend_from_slice(&part);
    }
    data.freeze()
}
