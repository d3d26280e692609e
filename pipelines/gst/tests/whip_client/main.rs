#![allow(unreachable_pub, clippy::unwrap_used, clippy::print_stderr)] // a test binary: nothing is exported, all may panic and talk
//! `publish` against a WHIP server whose peer is another `webrtcbin`.

mod camera;
mod receiver;
#[path = "../shared/server.rs"]
mod server;
mod support;

mod connection;
mod faults;
mod refusals;
mod sources;

/// What answers an offer.
pub type Peer = receiver::Receiver;
/// All receivers are alike.
#[derive(Debug, Default, Clone)]
pub struct PeerSetup;
/// First part of the endpoint's path.
pub const PROTOCOL: &str = "whip";
