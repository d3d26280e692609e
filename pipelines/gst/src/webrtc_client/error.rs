//! What can go wrong between a client and its server, in words for the person at the keyboard.

use super::signalling::Protocol;
use std::time::Duration;

/// Why there is no connection, or no longer one.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
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
    /// The server could not be reached.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// The URL asked.
        url: String,
        /// Why.
        reason: String,
    },
    /// The server said no.
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
    /// The answer breaks the protocol or is no SDP.
    #[error("{url} is no {protocol} server: {reason}")]
    BadAnswer {
        /// What it was taken for.
        protocol: Protocol,
        /// The URL asked.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// ICE or DTLS never came up.
    #[error("no media connection with {url} within {} s: {reason}", waited.as_secs())]
    NotConnected {
        /// The session.
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

impl ClientError {
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

impl From<gstreamer::glib::BoolError> for ClientError {
    fn from(error: gstreamer::glib::BoolError) -> Self {
        Self::Engine(error.to_string())
    }
}

impl From<gstreamer::StateChangeError> for ClientError {
    fn from(_: gstreamer::StateChangeError) -> Self {
        Self::Engine("a pipeline refused to change its state".into())
    }
}
