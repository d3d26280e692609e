//! Coded frames in, RTP payloads out: one [`Packetizer`] for one codec of one track. The way back is `depacketize`.
//!
//! What belongs here: payload formats. What does not: sequence numbers, SSRC and protection, which each receiver has its own of.
//! What a publisher sends goes to viewers in the publisher's own packets. This is for frames that have none: the worker's, and
//! those that come or leave another way than over WebRTC.

mod aac;
mod av1;
mod h264;
mod opus;
mod parts;
mod picture_id;
mod vp8;
mod vp9;

use crate::codec::{Codec, Format};
use crate::frame::Frame;
use crate::h264::H264Error;
use bytes::Bytes;

/// Bytes of payload that fit a path MTU of 1280 (IPv6's least), with headers of IP, UDP, RTP, SRTP and TURN.
pub const DEFAULT_MAX_PAYLOAD: usize = 1_200;

/// The least a payload may be allowed, in bytes: fragments must advance.
pub const MIN_MAX_PAYLOAD: usize = 64;

/// Why a frame has no payloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketizeError {
    /// The format names this video codec but is one of sound, or the other way round.
    #[error("a format of the wrong kind for {}", .0.rtp_name())]
    WrongKind(Codec),
    /// The frame is of another codec than the packetizer.
    #[error("a frame of {} for a packetizer of {}", .found.rtp_name(), .expected.rtp_name())]
    WrongCodec {
        /// The packetizer's codec.
        expected: Codec,
        /// The frame's codec.
        found: Codec,
    },
    /// Payloads of this size are too small, or larger than UDP can carry.
    #[error("payloads of {0} bytes at most are out of range")]
    MaxPayload(usize),
    /// The frame's data or its format is not what it should be (H.264).
    #[error(transparent)]
    H264(#[from] H264Error),
    /// The frame's data or its format is not what it should be (AV1).
    #[error("{0}")]
    Malformed(&'static str),
    /// The frame is larger than its payload format can carry: Opus is not split, and AAC has 13 bits for its size.
    #[error("frame of {found} bytes, {limit} can be carried")]
    TooLarge {
        /// Its size, in bytes.
        found: usize,
        /// The limit, in bytes.
        limit: usize,
    },
}

/// See the module's doc.
#[derive(Debug)]
pub struct Packetizer {
    codec: Codec,
    max_payload: usize,
    lane: Lane,
}

#[derive(Debug)]
enum Lane {
    Vp8(vp8::Vp8Lane),
    Vp9(vp9::Vp9Lane),
    H264(h264::H264Lane),
    Av1,
    Opus,
    Aac,
}

impl Packetizer {
    /// A packetizer for `codec` whose payloads have at most `max_payload` bytes.
    ///
    /// # Errors
    /// [`PacketizeError::MaxPayload`] for a size below [`MIN_MAX_PAYLOAD`] or above 65000 bytes.
    pub fn new(codec: Codec, max_payload: usize) -> Result<Self, PacketizeError> {
        if !(MIN_MAX_PAYLOAD..=65_000).contains(&max_payload) {
            return Err(PacketizeError::MaxPayload(max_payload));
        }
        let lane = match codec {
            Codec::Vp8 => Lane::Vp8(vp8::Vp8Lane::default()),
            Codec::Vp9 => Lane::Vp9(vp9::Vp9Lane::default()),
            Codec::H264 => Lane::H264(h264::H264Lane::default()),
            Codec::Av1 => Lane::Av1,
            Codec::Opus => Lane::Opus,
            Codec::Aac => Lane::Aac,
        };
        Ok(Self { codec, max_payload, lane })
    }

    /// The codec it was made for.
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// The payloads of one frame, in order. In video and AAC the last one goes out with the marker bit, and no other does. A
    /// frame of nothing that decoders need (no bytes, delimiters, SEI) has none. VP8 and VP9 count their pictures from one
    /// call to the next.
    ///
    /// # Errors
    /// [`PacketizeError`] when the frame is of another codec, malformed, or (sound) too large. The next frame is a new chance.
    pub fn packetize(&mut self, frame: &Frame) -> Result<Vec<Bytes>, PacketizeError> {
        let found = frame.format.codec();
        if found != self.codec {
            return Err(PacketizeError::WrongCodec { expected: self.codec, found });
        }
        match &mut self.lane {
            Lane::Vp8(lane) => Ok(lane.packetize(frame, self.max_payload)),
            Lane::Vp9(lane) => lane.packetize(frame, self.max_payload),
            Lane::H264(lane) => lane.packetize(frame, self.max_payload),
            Lane::Av1 => av1::packetize(frame, self.max_payload),
            Lane::Opus => opus::packetize(frame, self.max_payload),
            Lane::Aac => aac::packetize(frame, self.max_payload),
        }
    }
}

/// The frame's PTS on its RTP clock, modulo 2^32; each sender adds a random offset of its own (RFC 3550 section 5.1). The clock
/// is the codec's ([`Codec::rtp_clock_rate`]), but of AAC it is the format's sample rate (RFC 3640).
pub fn rtp_timestamp(frame: &Frame) -> u32 {
    let rate = match &*frame.format {
        Format::Audio(format) if format.codec == Codec::Aac && format.sample_rate > 0 => format.sample_rate,
        format => format.codec().rtp_clock_rate(),
    };
    frame.pts.rescale(rate).ticks as u32
}

#[cfg(test)]
mod tests;
