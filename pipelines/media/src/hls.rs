//! The HLS output as pure machines: segmenter, window, playlists.
//!
//! A [`Packager`] takes the coded frames of one take of a stream, cuts them into CMAF segments (and, inside them, parts)
//! and keeps what players may ask for. An [`HlsView`] is what they may ask for at one moment: immutable, shared, answered
//! without locks. Playlists are written when the first player asks for them, and all who ask the same view share them.
//!
//! Low latency follows draft-pantos-hls-rfc8216bis ("rfc8216bis" in comments). A part is one CMAF chunk (the first of a
//! video segment two: its keyframe alone, and the rest), and no byte of it is sent before it is complete (section 6.2.6):
//! a request for the part that is hinted at waits, and then is answered at once.
//!
//! ```text
//! frames -> interleave (one order over all renditions) -> cuts (where segments begin, shared)
//!        -> lane (samples -> parts -> segments, one per rendition) -> window (what is listed, kept, stored outside)
//!        -> view (+ query: what is asked for) -> playlist, multivariant
//! ```
//!
//! What belongs here: everything from a frame to the bytes of a response body. What does not: sockets, HTTP headers
//! beside those of [`Resource`], compression, and making frames that are missing.

mod config;
mod cuts;
mod daterange;
mod interleave;
mod lane;
mod meter;
mod multivariant;
mod name;
mod packager;
mod playlist;
mod query;
mod segment;
mod view;
mod window;

pub use config::HlsConfig;
pub use daterange::{DateRange, DateRangeError, DateRangeUpdate, Extra, MAX_DATE_RANGES};
pub use name::{NameError, RenditionName, TakeId};
pub use packager::{Counters, HlsError, HlsEvent, Packager};
pub use playlist::{date_time, parse_date_time};
pub use query::QueryError;
pub use segment::{Part, Segment};
pub use view::{Awaited, CachePolicy, HlsView, Lookup, Resource, Stored};
