//! What flows through Skywave, and how it is packaged. Pure: no clock, no socket, no task, no file.
//!
//! # The contract of every machine in this crate
//!
//! A machine has three families of verbs: `handle_*(.., now)` tells it what happened, `poll_*` takes what it
//! wants done, getters look. **After each `handle_*` the caller drains every `poll_*` until `None`, then reads
//! `poll_timeout` and calls `handle_timeout` no later than that.** Time, randomness and the wall clock are inputs.

pub mod admission;
mod bits;
pub mod cadence_audio;
pub mod cadence_follow;
pub mod cadence_video;
pub mod capture;
pub mod codec;
pub mod convert;
pub mod convert_proto;
pub mod depacketize;
pub mod fit;
pub mod fmp4;
pub mod frame;
pub mod h264;
pub mod hls;
pub mod ingest;
pub mod ladder;
pub mod name;
mod obu;
pub mod packet;
pub mod packetize;
pub mod recording;
pub mod reorder;
pub mod storyboard;
pub mod time;
pub mod timeline;
pub mod webm;
pub mod worker_proto;
