//! WebRTC peers (str0m), UDP sockets and fan-out threads of one node. Builds without GStreamer.
//!
//! # The way of a packet
//!
//! ```text
//! UDP socket --datagrams--> relay thread (thread.rs): whose is it? (demux.rs)
//!     --> peer.rs: ICE, DTLS, SRTP, RTCP by str0m --RTP--> layers.rs: one layer of a simulcast track
//!     --> the stream's queue (PublisherEvent)
//!     `-> feed.rs: a ring of recent packets --> viewer.rs, lane.rs: what each viewer gets --> egress.rs: written, protected, sent
//! ```
//!
//! Each relay thread is an OS thread with its own sockets, sessions and timers. Packets go to other threads as messages, and only to
//! those that have viewers ([`hub`](BroadcastInfo)); what is shared beside are counters and the tables of names, which no packet touches.
//! SDP is read and written here ([`offer`](OfferError), answer), str0m sees none; viewers' sessions do without str0m.

mod addresses;
mod answer;
pub mod clock;
mod codecs;
mod config;
mod demux;
mod dtls;
mod egress;
mod error;
mod feed;
mod fragment;
mod hub;
mod ice;
mod id;
mod layers;
mod link;
mod node;
mod offer;
mod origins;
mod peer;
mod publisher;
mod rendition;
mod rtcp;
mod runs;
mod sdp;
mod socket;
mod source_feed;
mod srtp;
mod stats;
mod stun;
mod tcp;
#[cfg(test)]
mod tests;
mod thread;
mod timers;
mod viewer;
mod viewing;
mod wire;

pub use config::NodeConfig;
pub use error::{NodeError, OfferError};
pub use id::{BadSessionId, SessionId};
pub use node::Node;
pub use publisher::{CloseReason, PublishAnswer, PublishRequest, PublisherEvent, TrackDescription};
pub use rendition::RenditionFeed;
pub use source_feed::SourceFeed;
pub use stats::{NodeStats, ThreadStats};
pub use viewing::{
    BroadcastInfo, LayerChoice, LayerInfo, PatchAnswer, PatchError, PatchRequest, ViewerControl, ViewerStats,
    WatchAnswer, WatchError, WatchRequest,
};
