//! `skywave publish`: a WHIP client (RFC 9725) on `webrtcbin`, for cameras and robots, and the foreign WebRTC peer
//! of our own tests.
//!
//! Two pipelines share one clock:
//!
//! ```text
//! capture:     source -> (decode) -> encode -> appsink      lives as long as the source delivers
//!                                               | frames, stamped with absolute clock time
//! connection:  appsrc -> payloader -> webrtcbin             one per WHIP session; dropped and made anew
//! ```
//!
//! so a lost connection costs no capture, and a source that ends or restarts costs no connection.
//!
//! What belongs here: everything between a source and the WHIP server. What does not: what `skywave play` needs as
//! well (`webrtc_client`), the server's side of WHIP (`relay-node`, the root package), reading the command line (the root
//! package).

mod capture;
mod encode;
mod error;
mod faults;
mod lane;
mod options;
mod peer;
mod run;
mod source;
mod stats;
mod test_picture;
mod test_sound;

pub use error::PublishError;
pub use options::{
    AudioChoice, Faults, PublishEvent, PublishOptions, PublishStats, PublishSummary, Source, SourceError,
    TestSound, VideoChoice, VideoEncoding,
};
pub use run::publish;
pub use test_picture::{FLASH_LENGTH, FLASH_LUMA_THRESHOLD, read_timecode};
