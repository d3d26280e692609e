//! Coded frames in, RTP payloads out: one [`Packetizer`] for one codec of one track. The way back is `depacketize`.
//!
//! What belongs here: payload formats. What does not: sequence numbers, SSRC and protection, which each receiver has its own of.
//! Only what Skywave makes itself (H.264 of the worker) or passes on unchanged (Opus) needs it; what a publisher sends in
//! other codecs goes to viewers in the publisher's own packets.

mod h264;
mod opus;

use crate::codec::Codec;
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
    /// This codec is not packetized.
    #[error("{} is not packetized", .0.rtp_name())]
    Unsupported(Codec),
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
    /// The frame's data or its format is not what it should be.
    #[error(transparent)]
    H264(#[from] H264Error),
    /// A frame that cannot be split is larger than a payload may be.
    #[error("frame of {found} bytes, {limit} fit a packet")]
    TooLarge {
        /// Its size.
        found: usize,
        /// The limit.
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
    H264(h264::H264Lane),
    Opus,
}

impl Packetizer {
    /// A packetizer for `codec` whose payloads have at most `max_payload` bytes.
    ///
    /// # Errors
    /// [`PacketizeError::Unsupported`] for a codec other than H.264 and Opus, [`PacketizeError::MaxPayload`] for a size below
    /// [`MIN_MAX_PAYLOAD`] or above 65000 bytes.
    pub fn new(codec: Codec, max_payload: usize) -> Result<Self, PacketizeError> {
        if !(MIN_MAX_PAYLOAD..=65_000).contains(&max_payload) {
            return Err(PacketizeError::MaxPayload(max_payload));
        }
        let lane = match codec {
            Codec::H264 => Lane::H264(h264::H264Lane::default()),
            Codec::Opus => Lane::Opus,
            Codec::Vp8 | Codec::Vp9 | Codec::Av1 | Codec::Aac => {
                return Err(PacketizeError::Unsupported(codec));
            }
        };
        Ok(Self { codec, max_payload, lane })
    }

    /// The codec it was made for.
    pub const fn codec(&self) -> Codec {
        self.codec
    }

    /// The payloads of one frame, in order. In video the last one goes out with the marker bit. A frame of nothing that
    /// decoders need (delimiters, SEI) has none.
    ///
    /// # Errors
    /// [`PacketizeError`] when the frame is of another codec, malformed, or (audio) too large. The next frame is a new chance.
    pub fn packetize(&mut self, frame: &Frame) -> Result<Vec<Bytes>, PacketizeError> {
        let found = frame.format.codec();
        if found != self.codec {
            return Err(PacketizeError::WrongCodec { expected: self.codec, found });
        }
        match &mut self.lane {
            Lane::H264(lane) => lane.packetize(frame, self.max_payload),
            Lane::Opus => opus::packetize(frame, self.max_payload),
        }
    }
}

/// The frame's PTS on its codec's RTP clock, modulo 2^32; each sender adds a random offset of its own (RFC 3550 section 5.1).
pub fn rtp_timestamp(frame: &Frame) -> u32 {
    frame.pts.rescale(frame.format.codec().rtp_clock_rate()).ticks as u32
}

#[cfg(test)]
mod tests;
