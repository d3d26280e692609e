#![allow(unreachable_pub)] // a test binary exports nothing
//! `publish` against a WHIP server whose peer is another `webrtcbin`.

mod camera;
mod receiver;
mod server;
mod support;

mod connection;
mod faults;
mod refusals;
mod sources;
