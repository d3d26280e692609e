//! The HLS output as pure machines: segmenter, window, playlists.
//!
//! A [`Packager`] takes the coded frames of one take of a stream, cuts them into CMAF segments (and, inside them, parts)
//! and keeps what players may ask for. An [`HlsView`] is what they may ask for at one moment: immutable, shared, answered
//! without locks.
//!
//! ```text
//! frames -> interleave (one order over all renditions) -> cuts (where segments begin, shared)
//!        -> lane (samples -> parts -> segments, one per rendition) -> window -> playlist, multivariant -> view
//! ```
//!
//! What belongs here: everything from a frame to the bytes of a response body. What does not: sockets, HTTP headers
//! beside those of [`Resource`], compression, and making frames that are missing.

mod config;
mod cuts;
mod interleave;
mod lane;
mod meter;
mod multivariant;
mod name;
mod packager;
mod playlist;
mod segment;
mod view;
mod window;

pub use config::HlsConfig;
pub use name::{NameError, RenditionName, TakeId};
pub use packager::{Counters, HlsError, HlsEvent, Packager};
pub use playlist::date_time;
pub use segment::{Part, Segment};
pub use view::{CachePolicy, HlsView, Lookup, Resource};
