//! TrackEntry elements (RFC 9559 section 5.1.4.1).

use crate::codec::TrackKind;
use bytes::Bytes;
use webm_iterable::matroska_spec::{Master, MatroskaSpec};

/// A track's codec, by its CodecID (draft-ietf-cellar-codec).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebmCodec {
    /// `V_VP8`.
    Vp8,
    /// `V_VP9`.
    Vp9,
    /// `V_AV1`.
    Av1,
    /// `V_MPEG4/ISO/AVC`.
    H264,
    /// `A_OPUS`.
    Opus,
    /// `A_VORBIS`.
    Vorbis,
    /// `A_AAC`, raw.
    Aac,
    /// `A_PCM/INT/LIT`: little-endian integers, signed from 9 bits on.
    PcmInt {
        /// Bits of a sample.
        bits: u64,
    },
    /// `A_PCM/FLOAT/IEEE`: little-endian.
    PcmFloat {
        /// Bits of a sample.
        bits: u64,
    },
    /// Another, by its CodecID; `none` when the track names none. Compressed or encrypted tracks are among these, with words that say
    /// so.
    Other(String),
}

impl Default for WebmCodec {
    fn default() -> Self {
        Self::Other("none".to_owned())
    }
}

/// A track of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WebmTrack {
    /// The TrackNumber, by which blocks name it.
    pub number: u64,
    /// Picture or sound; `None` for subtitles and the like.
    pub kind: Option<TrackKind>,
    /// The codec.
    pub codec: WebmCodec,
    /// The CodecPrivate: `avcC`, `av1C`, `OpusHead`, `AudioSpecificConfig`; empty when there is none.
    pub config: Bytes,
    /// Width of the picture in pixels; zero for sound.
    pub width: u32,
    /// Height of the picture in pixels; zero for sound.
    pub height: u32,
    /// Samples per second, rounded; 8000 where a sound track does not say (section 5.1.4.1.29.1).
    pub sample_rate: u32,
    /// Channels; one where a sound track does not say.
    pub channels: u16,
    /// The codec's own delay, to be taken off each timestamp, in nanoseconds.
    pub codec_delay_ns: u64,
    /// How much a decoder must hear before what it says is right, in nanoseconds.
    pub seek_pre_roll_ns: u64,
    /// How long each frame lasts, in nanoseconds, where the file promises it.
    pub default_duration_ns: Option<u64>,
}

/// A TrackEntry in the making.
#[derive(Debug, Default)]
pub(super) struct TrackBuilder {
    track: WebmTrack,
    codec_id: String,
    bit_depth: u64,
    /// There is a ContentEncodings element.
    encoded: bool,
}

impl TrackBuilder {
    /// An element inside the TrackEntry; others are passed over.
    pub(super) fn handle_tag(&mut self, tag: MatroskaSpec) {
        let track = &mut self.track;
        match tag {
            MatroskaSpec::TrackNumber(number) => track.number = number,
            MatroskaSpec::TrackType(kind) => {
                track.kind = match kind {
                    1 => Some(TrackKind::Video),
                    2 => Some(TrackKind::Audio),
                    _ => None,
                };
            }
            MatroskaSpec::CodecID(id) => self.codec_id = id,
            MatroskaSpec::CodecPrivate(config) => track.config = config.into(),
            MatroskaSpec::CodecDelay(delay) => track.codec_delay_ns = delay,
            MatroskaSpec::SeekPreRoll(roll) => track.seek_pre_roll_ns = roll,
            MatroskaSpec::DefaultDuration(duration) => {
                track.default_duration_ns = Some(duration).filter(|ns| *ns > 0);
            }
            MatroskaSpec::PixelWidth(width) => track.width = u32::try_from(width).unwrap_or(0),
            MatroskaSpec::PixelHeight(height) => track.height = u32::try_from(height).unwrap_or(0),
            MatroskaSpec::Audio(Master::Start) => (track.sample_rate, track.channels) = (8_000, 1),
            // A float that is no number, or out of range, becomes zero or the largest there is.
            MatroskaSpec::SamplingFrequency(rate) => track.sample_rate = rate.round() as u32,
            MatroskaSpec::Channels(channels) => track.channels = u16::try_from(channels).unwrap_or(0),
            MatroskaSpec::BitDepth(bits) => self.bit_depth = bits,
            MatroskaSpec::ContentEncodings(Master::Start) => self.encoded = true,
            _ => {}
        }
    }

    pub(super) fn build(self) -> WebmTrack {
        let bits = self.bit_depth;
        // Writers may fill strings with zeros (RFC 8794 section 7.4).
        let id = self.codec_id.trim_end_matches('\0');
        let codec = match id {
            _ if self.encoded => WebmCodec::Other(format!("{id}, compressed or encrypted")),
            "V_VP8" => WebmCodec::Vp8,
            "V_VP9" => WebmCodec::Vp9,
            "V_AV1" => WebmCodec::Av1,
            "V_MPEG4/ISO/AVC" => WebmCodec::H264,
            "A_OPUS" => WebmCodec::Opus,
            "A_VORBIS" => WebmCodec::Vorbis,
            "A_AAC" => WebmCodec::Aac,
            "A_PCM/INT/LIT" => WebmCodec::PcmInt { bits },
            "A_PCM/FLOAT/IEEE" => WebmCodec::PcmFloat { bits },
            "" => WebmCodec::Other("none".to_owned()),
            other => WebmCodec::Other(other.to_owned()),
        };
        WebmTrack { codec, ..self.track }
    }
}
