//! Load on WHEP, WHIP and HLS servers, this project's or others': many cheap viewers ([`whep`]) and players ([`hls`]), and a
//! publisher without an encoder ([`whip`]). A stranger to the server: it knows a URL, and at most the process behind it.
//!
//! # How a viewer is made cheap
//!
//! str0m does ICE and DTLS; packets are opened until the first keyframe was seen, and are then only counted by their clear headers.
//! Each viewer has a socket of its own, as on separate machines; few threads read them in batches (recvmmsg, GRO). What the tool
//! itself cost is measured and said, and so is whether it, or the machine, was the limit.
//!
//! ```text
//! whep.rs: ramp, hold, measure, delete  ->  endpoint.rs (HTTP)
//!   driver.rs (threads, epoll)  ->  viewer.rs (socket)  ->  session.rs (one connection)
//!                                     answer.rs, keying.rs, srtp.rs, keyframe.rs, counter.rs, rtcp.rs, twcc.rs
//! whip.rs: one publisher  <-  clip.rs (a recorded stream in a loop), stamp.rs (when a packet was sent)
//! process.rs (/proc)  ->  report.rs (JSON, table)
//! ```

mod answer;
mod clip;
mod counter;
mod driver;
mod endpoint;
pub mod hls;
mod keyframe;
mod keying;
mod offer;
pub mod process;
pub mod report;
mod rtcp;
mod rtp;
mod session;
mod socket;
mod srtp;
mod stamp;
mod twcc;
mod viewer;
pub mod whep;
pub mod whip;

pub use clip::{ClipCodec, ClipError};
pub use endpoint::TargetError;
pub use offer::{Feedback, Lanes};
