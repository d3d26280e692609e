//! `skywave play`: a WHEP viewer (draft-ietf-wish-whep) on `webrtcbin` that counts and measures what it decodes, for tests and for
//! a quick look whether a stream is alive. It has no window.
//!
//! ```text
//! webrtcbin -> depayloader -> decoder -> appsink      one chain per lane, made anew when the codec changes
//!                                         | counted, measured, the last picture kept
//! ```
//!
//! What belongs here: everything between the WHEP server and the numbers. What does not: what `skywave publish` needs as well
//! (`webrtc_client`), reading the command line (the root package).

mod chain;
mod error;
mod losses;
mod offer;
mod options;
mod run;
mod snapshot;
mod tally;

pub use error::PlayError;
pub use options::{AudioSeen, PlayEvent, PlayOptions, PlayStats, PlaySummary, VideoSeen, VideoWanted};
pub use run::play;
