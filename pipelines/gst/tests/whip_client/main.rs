#![allow(unreachable_pub, clippy::unwrap_used, clippy::print_stderr)] // a test binary: nothing is exported, all may panic and talk
//! `publish` against a WHIP server whose peer is another `webrtcbin`.

mod camera;
mod receiver;
mod server;
mod support;

mod connection;
mod faults;
mod refusals;
mod sources;
