//! The codec engine: the only crate that names GStreamer. Frames in, frames out; decisions are made in `skywave-media`.

pub mod convert;
pub mod elements;
pub mod file;
pub mod transcode;
pub mod webrtc_client;
pub mod whep_client;
pub mod whip_client;
pub mod worker;
