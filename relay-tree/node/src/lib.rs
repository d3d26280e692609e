//! WebRTC peers (str0m), UDP sockets and fan-out threads of one node. Builds without GStreamer.
//!
//! # The way of a packet
//!
//! ```text
//! UDP socket --datagrams--> relay thread (thread.rs): whose is it? (demux.rs)
//!     --> peer.rs: ICE, DTLS, SRTP, RTCP by str0m --RTP--> layers.rs: one layer of a simulcast track
//!     --> the stream's queue (PublisherEvent), and, later, the viewers of the thread
//! ```
//!
//! Each relay thread is an OS thread with its own sockets, sessions and timers; nothing is shared between threads but counters and
//! the table of session names, which no packet touches. SDP is read and written here ([`offer`](OfferError), answer), str0m sees none.

mod addresses;
mod answer;
pub mod clock;
mod codecs;
mod config;
mod demux;
mod dtls;
mod error;
mod id;
mod layers;
mod node;
mod offer;
mod peer;
mod publisher;
mod sdp;
mod socket;
mod stats;
mod stun;
#[cfg(test)]
mod tests;
mod thread;
mod timers;
mod viewing;

pub use config::NodeConfig;
pub use error::{NodeError, OfferError};
pub use id::{BadSessionId, SessionId};
pub use node::Node;
pub use publisher::{CloseReason, PublishAnswer, PublishRequest, PublisherEvent, TrackDescription};
pub use stats::{NodeStats, ThreadStats};
pub use viewing::{
    BroadcastInfo, LayerChoice, LayerInfo, PatchAnswer, PatchError, PatchRequest, ViewerControl, ViewerStats,
    WatchAnswer, WatchError, WatchRequest,
};
