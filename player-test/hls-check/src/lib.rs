//! A strict reader of HLS and Low-Latency HLS (draft-pantos-hls-rfc8216bis, revision 22), a stranger to every server.
//!
//! ```text
//! live.rs: asks as players do, in all renditions  --events-->  checker.rs: one rule for each MUST  -->  report.rs
//!                                                    lines.rs tags.rs attributes.rs playlist.rs multivariant.rs: what is written
//!                                                    mp4.rs h264.rs: what the media are
//! ```
//!
//! [`Checker`] is pure: it is given [`Event`]s (what was asked, what was answered, when) in the order of their ends, and [`Checker::finish`]
//! tells which [`rules`] were broken, where, how often. No clock, no socket; so a recorded or a made-up stream can be checked as well, and each
//! rule has a test that breaks it (`tests/mutations.rs`).
//!
//! [`live::run`] follows any URL for a while: every playlist by blocking reload where that is offered (else by polling), plain, as delta
//! update, gzipped; every part, every segment; hinted parts before they are there; removed ones while they must still be there; and nonsense.

mod attributes;
mod checker;
mod date;
mod event;
mod h264;
mod lines;
pub mod live;
pub mod mp4;
mod multivariant;
mod playlist;
mod report;
pub mod rules;
mod tags;

pub use checker::{Checker, Options};
pub use date::parse_ms;
pub use event::{Answer, Ask, Event, Nonsense, Piece, SkipAsk};
pub use multivariant::{Media, Multivariant, RenditionKind, Variant};
pub use playlist::{
    ByteRange, DateRange, Hint, Map, MediaPlaylist, Part, Position, RenditionReport, Segment, ServerControl,
    Skip,
};
pub use report::{Counts, Report};
pub use rules::{Grade, RULES, Rule, Violation};
