//! What can go wrong while publishing, in words for the person at the keyboard.

use crate::webrtc_client::ClientError;
use skywave_media::codec::Codec;
use std::time::Duration;

/// Why publishing failed.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The options, the server, the connection or this machine.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A codec that this machine's GStreamer cannot put into RTP.
    #[error(
        "{codec:?} cannot be published: GStreamer {} has no RTP payloader for it (`{element}`, in GStreamer's \
         Rust plugins). Use VP8, VP9 or H.264", gstreamer::version_string().trim_start_matches("GStreamer ")
    )]
    NoPayloader {
        /// The codec asked for.
        codec: Codec,
        /// The element it would take.
        element: &'static str,
    },
    /// The source failed or does not exist.
    #[error("source {source_name}: {reason}")]
    Source {
        /// The source as it was named.
        source_name: String,
        /// What GStreamer says.
        reason: String,
    },
    /// The source has no lane that was asked for.
    #[error("source {0} delivers neither video nor audio that could be published")]
    NothingToPublish(String),
    /// The source delivered nothing in time.
    #[error("source {source_name} delivered nothing within {} s", waited.as_secs())]
    SourceSilent {
        /// The source as it was named.
        source_name: String,
        /// How long we waited.
        waited: Duration,
    },
}

impl PublishError {
    /// An option that cannot be.
    pub(super) fn option(words: impl Into<String>) -> Self {
        ClientError::Option(words.into()).into()
    }

    /// GStreamer failed.
    pub(super) fn engine(words: impl Into<String>) -> Self {
        ClientError::Engine(words.into()).into()
    }

    /// The connection is gone.
    pub(super) fn connection_lost(words: impl Into<String>) -> Self {
        ClientError::ConnectionLost(words.into()).into()
    }

    /// Whether another attempt may succeed without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Client(error) if error.is_transient())
    }

    /// How long the server asks us to wait before the next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Client(error) => error.retry_after(),
            _ => None,
        }
    }
}

impl From<gstreamer::glib::BoolError> for PublishError {
    fn from(error: gstreamer::glib::BoolError) -> Self {
        ClientError::from(error).into()
    }
}

impl From<gstreamer::StateChangeError> for PublishError {
    fn from(error: gstreamer::StateChangeError) -> Self {
        ClientError::from(error).into()
    }
}
