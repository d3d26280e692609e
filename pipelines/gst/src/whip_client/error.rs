//! What can go wrong while publishing, in words for the person at the keyboard.

use skywave_media::codec::Codec;
use std::time::Duration;

/// Why publishing failed.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// An option that cannot be: the text names it.
    #[error("{0}")]
    Option(String),
    /// A GStreamer element this machine lacks.
    #[error("GStreamer element `{element}` is missing; install the Debian package `{package}`")]
    MissingElement {
        /// Name of the element.
        element: String,
        /// Debian package that has it.
        package: &'static str,
    },
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
    /// The WHIP server could not be reached.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// The URL asked.
        url: String,
        /// Why.
        reason: String,
    },
    /// The WHIP server said no.
    #[error("{url} answered {status}: {advice}{}", quoted(.said))]
    Refused {
        /// The URL asked.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What that means and what to do, in plain words.
        advice: String,
        /// The server's own words, from its `application/problem+json` or text body; may be empty.
        said: String,
        /// When the server asks to be tried again (`Retry-After`).
        retry_after: Option<Duration>,
    },
    /// The answer breaks RFC 9725 or is no SDP.
    #[error("{url} is no WHIP server: {reason}")]
    BadAnswer {
        /// The URL asked.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// ICE or DTLS never came up.
    #[error("no media connection with {url} within {} s: {reason}", waited.as_secs())]
    NotConnected {
        /// The WHIP session.
        url: String,
        /// How long we waited.
        waited: Duration,
        /// What is known.
        reason: String,
    },
    /// An established connection was lost.
    #[error("connection lost: {0}")]
    ConnectionLost(String),
    /// GStreamer failed in a way that is nobody's fault at the keyboard.
    #[error("GStreamer: {0}")]
    Engine(String),
}

/// `said` as a clause that can follow the advice, or nothing.
fn quoted(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(" (the server says: {said})") }
}

impl PublishError {
    /// Whether another attempt may succeed without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NotConnected { .. } | Self::ConnectionLost(_) => true,
            Self::Refused { status, .. } => matches!(status, 408 | 409 | 425 | 429 | 500..=599),
            _ => false,
        }
    }

    /// How long the server asks us to wait before the next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl From<gstreamer::glib::BoolError> for PublishError {
    fn from(error: gstreamer::glib::BoolError) -> Self {
        Self::Engine(error.to_string())
    }
}

impl From<gstreamer::StateChangeError> for PublishError {
    fn from(_: gstreamer::StateChangeError) -> Self {
        Self::Engine("a pipeline refused to change its state".into())
    }
}
