//! What a viewer's session asks for, answers and tells; and what both kinds of session answer to a PATCH.

use crate::error::OfferError;
use crate::id::SessionId;
use crate::publisher::TrackDescription;
use skywave_media::codec::{Codec, TrackKind};
use std::time::Duration;

/// A viewer at the door.
#[derive(Debug)]
pub struct WatchRequest {
    /// The stream's name.
    pub stream: String,
    /// The SDP offer, as it came in the body of the POST.
    pub offer: String,
}

/// A viewer that was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchAnswer {
    /// The name of the session: the last part of its URL.
    pub session: SessionId,
    /// The SDP answer.
    pub answer: String,
    /// Strong entity tag of the ICE session with its quotes.
    pub etag: String,
    /// The lanes that will be sent, in the order of the offer, with every codec that may come.
    pub tracks: Vec<TrackDescription>,
}

/// Why a viewer was not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// Nobody publishes a stream of this name.
    #[error("nothing is on air under this name")]
    NotOnAir,
    /// The stream has all the viewers it may have.
    #[error("this stream has its {limit} viewers")]
    Full {
        /// The limit.
        limit: usize,
    },
    /// The offer cannot be answered, or the node is full.
    #[error(transparent)]
    Offer(#[from] OfferError),
}

/// A PATCH on a session (RFC 9725 section 4.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchRequest {
    /// The body: `application/trickle-ice-sdpfrag` (RFC 8840).
    pub fragment: String,
    /// The `If-Match` header as it came; `None` without one.
    pub if_match: Option<String>,
}

/// What became of a PATCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatchAnswer {
    /// Candidates were taken note of: 204, no body, the ICE session (and its entity tag) stays.
    Trickled,
    /// ICE was restarted: 200, with the server's new credentials and candidates as a fragment and a new entity tag.
    Restarted {
        /// `application/trickle-ice-sdpfrag`.
        fragment: String,
        /// The new strong entity tag, with its quotes.
        etag: String,
    },
}

/// Why a PATCH changed nothing. The session goes on as it was in every case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// There is no such session (any more): 404.
    #[error("there is no such session")]
    Gone,
    /// 428 (RFC 9725 section 4.3.1).
    #[error("a PATCH needs an If-Match header: the session's ETag, or \"*\" to restart ICE")]
    PreconditionRequired,
    /// 412 (RFC 9725 section 4.3.1).
    #[error("If-Match names an ICE session that is over; this session's ETag has changed")]
    PreconditionFailed,
    /// 400: no fragment, or one that is malformed.
    #[error("this is no trickle-ice-sdpfrag: {0}")]
    BadFragment(&'static str),
    /// 422: the fragment is well-formed but asks for something this server does not do.
    #[error("this fragment cannot be applied: {0}")]
    Unsupported(&'static str),
}

/// Which layer of a simulcast lane a viewer gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerChoice {
    /// The best one that fits the viewer's estimated bandwidth.
    Automatic,
    /// The one with this `rid` (see [`LayerInfo::rid`]).
    Rid(String),
}

/// What a viewer may change of its session while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ViewerControl {
    /// Choose a layer of the video.
    Layer(LayerChoice),
    /// Stop or resume a lane. A video lane that resumes begins with a keyframe.
    Mute {
        /// The lane.
        kind: TrackKind,
        /// Whether it is to be silent.
        muted: bool,
    },
}

/// One layer of a published video lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerInfo {
    /// The publisher's name for it (`a=rid`), or the number of its source when it has none.
    pub rid: String,
    /// Its codec.
    pub codec: Codec,
    /// Bits per second, over the last second or so.
    pub bitrate_bps: u64,
    /// Whether packets of it have come within the last second.
    pub active: bool,
}

/// What is on air under one name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BroadcastInfo {
    /// A publisher feeds it now; without one, viewers wait for it to return.
    pub published: bool,
    /// WebRTC viewers that are connected.
    pub viewers: usize,
    /// Of these, viewers that can decode nothing that is published, only the H.264 rendition.
    pub rendition_viewers: usize,
    /// Layers of the source video, best last; one entry without simulcast.
    pub layers: Vec<LayerInfo>,
    /// Codec of the audio.
    pub audio: Option<Codec>,
}

/// One viewer, for the API and for metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewerStats {
    /// First eight digits of the session's name.
    pub session: String,
    /// Since it connected.
    pub connected_for: Duration,
    /// `udp` or `tcp`.
    pub transport: &'static str,
    /// RTP packets sent, without retransmissions.
    pub packets: u64,
    /// Bytes of all datagrams sent.
    pub bytes: u64,
    /// Retransmissions sent.
    pub retransmitted: u64,
    /// Packets the viewer reports as lost in its last receiver report, 0 to 1.
    pub loss: f64,
    /// Round trip by its last receiver report.
    pub round_trip: Option<Duration>,
    /// What its way is believed to carry, in bits per second; `None` before it has told anything.
    pub estimate_bps: Option<u64>,
    /// The layer it gets.
    pub layer: Option<String>,
    /// Codec of the video it gets.
    pub video: Option<Codec>,
}
