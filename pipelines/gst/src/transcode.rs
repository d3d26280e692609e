//! One stream's transcode: coded frames in, decoded once, made continuous, coded anew.
//!
//! ```text
//! source frames -> Engine(decoder, fit) -> cadence (pure: skywave_media) -> Engine(encoder) -> output frames
//! ```
//!
//! What belongs here: which GStreamer elements do the work, and carrying buffers (by reference, never pixels) between
//! them and the cadence. What does not: which picture fills which slot (`skywave_media::cadence_video`), clocks and
//! sockets (`worker`).

mod audio;
mod engine;
mod restart;
mod video;

pub use audio::AudioLane;
pub(crate) use audio::{ENCODER_DELAY, PRIMING_FRAMES};
pub(crate) use engine::Engine;
pub use engine::{Progress, Waker};
pub use video::VideoLane;

/// Why a lane cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TranscodeError {
    /// GStreamer would not build or start a pipeline: an element is missing, or does not take these settings.
    #[error("cannot start {what}: {reason}")]
    Start {
        /// The pipeline, as `gst-launch-1.0` would take it.
        what: String,
        /// What GStreamer said.
        reason: String,
    },
    /// An encoder broke. Encoders see only what we give them, so this is no fault of the input; the worker ends, and the
    /// next one goes on where frames ended.
    #[error("the {0} encoder broke: {1}")]
    Encoder(&'static str, String),
    /// The codec belongs to the other lane, or has no decoder here.
    #[error("no decoder for {0:?} in this lane")]
    NoDecoder(skywave_media::codec::Codec),
}
