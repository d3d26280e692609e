//! CMAF boxes: initialisation segments and fragments, one track per file.
//!
//! What belongs here: turning a [`Format`](crate::codec::Format) into a CMAF header and coded samples into
//! `moof` + `mdat` (ISO/IEC 14496-12, ISO/IEC 23000-19). What does not: deciding where a fragment ends, or
//! how long a sample lasts; that is [`crate::hls`].

mod codecs;
mod fragment;
mod init;

pub use codecs::codecs_attribute;
pub(crate) use fragment::flags;
pub use fragment::{Fragment, Sample};
pub(crate) use init::track;
pub use init::{Bitrate, init_segment, timescale};

/// The only track of every file made here.
const TRACK_ID: u32 = 1;

/// Why a format cannot be written as CMAF.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fmp4Error {
    /// The codec has no sample entry here yet.
    #[error("{0:?} cannot be packaged as CMAF")]
    Codec(crate::codec::Codec),
    /// The decoder configuration record does not parse, or lacks what the sample entry needs.
    #[error("decoder configuration of {codec:?}: {reason}")]
    Config {
        /// Whose configuration it is.
        codec: crate::codec::Codec,
        /// What is wrong with it.
        reason: String,
    },
    /// A picture size that the sample entry cannot hold (1 to 65535 in each direction).
    #[error("picture size {width}x{height} cannot be written")]
    PictureSize {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// A sample rate or channel count that the sample entry cannot hold.
    #[error("{sample_rate} Hz with {channels} channels cannot be written")]
    Sound {
        /// Samples per second.
        sample_rate: u32,
        /// Channels.
        channels: u16,
    },
    /// A box that does not fit into its 32-bit size.
    #[error("box cannot be written: {0}")]
    Boxes(String),
}

impl From<mp4_atom::Error> for Fmp4Error {
    fn from(e: mp4_atom::Error) -> Self {
        Self::Boxes(e.to_string())
    }
}
