//! What a publisher's session asks for, answers and tells.

use crate::id::SessionId;
use skywave_media::codec::{Codec, TrackKind};
use skywave_media::ingest::TrackId;
use skywave_media::packet::{Packet, SenderReport};
use tokio::sync::mpsc;

/// A publisher at the door.
#[derive(Debug)]
pub struct PublishRequest {
    /// The stream's name, for logs.
    pub stream: String,
    /// The SDP offer, as it came in the body of the POST.
    pub offer: String,
    /// Where the session's events go. Two places are kept for `Connected` and `Closed`, so it needs room for at least three.
    /// When it is full, packets are dropped and counted ([`crate::ThreadStats::events_dropped`]); when its receiver is gone, the
    /// session ends.
    pub events: mpsc::Sender<PublisherEvent>,
}

/// A publisher that was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishAnswer {
    /// The name of the session: the last part of its URL.
    pub session: SessionId,
    /// The SDP answer.
    pub answer: String,
    /// Strong entity tag of the ICE session with its quotes (RFC 9725 section 4.3.1), as it stands in an `ETag` header.
    pub etag: String,
    /// The tracks that will come, at most one of each kind, in the order of the offer.
    pub tracks: Vec<TrackDescription>,
}

/// A track that a publisher will send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackDescription {
    /// Its number within the session.
    pub track: TrackId,
    /// Its lane.
    pub kind: TrackKind,
    /// Codecs it may carry, in the client's order of preference. Each packet says which one it is.
    pub codecs: Vec<Codec>,
}

/// What happens in a publisher's session, in order. After [`PublisherEvent::Closed`] nothing more comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublisherEvent {
    /// ICE and DTLS are done.
    Connected,
    /// An RTP packet, decrypted, retransmissions undone, in order of arrival, each sequence number once.
    Packet {
        /// The track.
        track: TrackId,
        /// The packet.
        packet: Packet,
    },
    /// A sender report about the source that the track's packets come from.
    SenderReport {
        /// The track.
        track: TrackId,
        /// The report.
        report: SenderReport,
    },
    /// The session is over and nothing of it is kept. Always told, whatever the state of the queue.
    Closed {
        /// Why.
        reason: CloseReason,
    },
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// [`crate::Node::close`] was called (a DELETE).
    Requested,
    /// The peer closed the DTLS association.
    PeerClosed,
    /// ICE and DTLS were not done in time.
    ConnectTimeout,
    /// A connected peer fell silent.
    Silent,
    /// The receiver of the events is gone.
    Abandoned,
    /// The stream that a viewer watched is over.
    StreamEnded,
    /// The node shuts down.
    Shutdown,
    /// The session broke: handshake failure, wrong certificate, a fault of ours.
    Failed {
        /// What happened, for the log.
        detail: String,
    },
}

impl std::fmt::Display for CloseReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Requested => "closed by request",
            Self::PeerClosed => "closed by the peer",
            Self::ConnectTimeout => "did not connect in time",
            Self::Silent => "fell silent",
            Self::Abandoned => "nobody takes its media",
            Self::StreamEnded => "the stream has ended",
            Self::Shutdown => "the node shuts down",
            Self::Failed { detail } => return write!(f, "failed: {detail}"),
        })
    }
}
