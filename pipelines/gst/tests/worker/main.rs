//! The worker with real codecs: frames made by GStreamer's encoders go in over a socket, what comes out is decoded by
//! ffmpeg, which shares no code with the way there.

// The whole crate is a test; figures are worth seeing with `--no-capture`.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod alignment;
mod check;
mod child;
mod continuity;
mod corrupt;
mod harness;
mod ladder;
mod pictures;
mod source;
mod stills;
mod tone;
