#![allow(unreachable_pub, clippy::unwrap_used, clippy::print_stderr)] // a test binary: nothing is exported, all may panic and talk
//! `play` against a WHEP server whose peer is another `webrtcbin`.

mod sender;
#[path = "../shared/server.rs"]
mod server;
mod support;

mod pictures;
mod refusals;
mod sessions;

/// What answers an offer.
pub type Peer = sender::Sender;
/// What it sends.
pub type PeerSetup = sender::Sends;
/// First part of the endpoint's path.
pub const PROTOCOL: &str = "whep";
