//! The codec table: every codec Skywave knows stands here once, with its names in each protocol.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// One of the two lanes a stream has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TrackKind {
    /// Moving pictures.
    Video,
    /// Sound.
    Audio,
}

impl TrackKind {
    /// `video` or `audio`, as in SDP and HLS.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Audio => "audio",
        }
    }
}

/// A codec, in or out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Codec {
    /// RFC 6386; RTP payload RFC 7741.
    Vp8,
    /// RTP payload RFC 9628.
    Vp9,
    /// ITU-T H.264; RTP payload RFC 6184.
    H264,
    /// AV1; RTP payload by the Alliance for Open Media.
    Av1,
    /// RFC 6716; RTP payload RFC 7587.
    Opus,
    /// MPEG-4 AAC-LC.
    Aac,
}

impl Codec {
    /// The lane this codec belongs to.
    pub const fn kind(self) -> TrackKind {
        match self {
            Self::Vp8 | Self::Vp9 | Self::H264 | Self::Av1 => TrackKind::Video,
            Self::Opus | Self::Aac => TrackKind::Audio,
        }
    }

    /// Its name in an SDP `a=rtpmap` line (compared without regard to case).
    pub const fn rtp_name(self) -> &'static str {
        match self {
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::H264 => "H264",
            Self::Av1 => "AV1",
            Self::Opus => "opus",
            Self::Aac => "MPEG4-GENERIC",
        }
    }

    /// The codec with this `a=rtpmap` name, if Skywave knows it.
    pub fn from_rtp_name(name: &str) -> Option<Self> {
        [Self::Vp8, Self::Vp9, Self::H264, Self::Av1, Self::Opus, Self::Aac]
            .into_iter()
            .find(|c| c.rtp_name().eq_ignore_ascii_case(name))
    }

    /// Its RTP clock, in ticks per second.
    pub const fn rtp_clock_rate(self) -> u32 {
        match self.kind() {
            TrackKind::Video => crate::time::VIDEO_RATE,
            TrackKind::Audio => crate::time::AUDIO_RATE,
        }
    }
}

/// What a decoder must know before the first frame: equal formats need no new initialisation segment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Format {
    /// A video track's format.
    Video(VideoFormat),
    /// An audio track's format.
    Audio(AudioFormat),
}

impl Format {
    /// The codec.
    pub const fn codec(&self) -> Codec {
        match self {
            Self::Video(f) => f.codec,
            Self::Audio(f) => f.codec,
        }
    }

    /// The lane.
    pub const fn kind(&self) -> TrackKind {
        match self {
            Self::Video(_) => TrackKind::Video,
            Self::Audio(_) => TrackKind::Audio,
        }
    }
}

/// A video track's format.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VideoFormat {
    /// The codec.
    pub codec: Codec,
    /// Width of the picture, in pixels.
    pub width: u32,
    /// Height of the picture, in pixels.
    pub height: u32,
    /// The decoder configuration record: `avcC` for H.264 (ISO/IEC 14496-15 section 5.3.3.1), `av1C` for AV1,
    /// empty for VP8 and VP9.
    pub config: Bytes,
}

/// An audio track's format.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AudioFormat {
    /// The codec.
    pub codec: Codec,
    /// Samples per second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u16,
    /// `AudioSpecificConfig` for AAC (ISO/IEC 14496-3 section 1.6.2.1), empty for Opus.
    pub config: Bytes,
}
