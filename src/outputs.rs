//! What consumes frames. Every output has the same shape: made by the stream task, fed with frames, read elsewhere.

pub(crate) mod audience;
pub(crate) mod dvr;
pub(crate) mod hls;
pub(crate) mod recording;
pub(crate) mod thumbnail;
pub(crate) mod waiting;
