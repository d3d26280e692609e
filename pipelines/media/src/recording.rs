//! Recordings: the frames that HLS gets, in one file per take that no crash can take away.
//!
//! ```text
//! frames -> recorder (lanes, one order of time) -> fragmented MP4, appended piece by piece   (while live)
//!        -> scan (whatever is whole of it) -> tables (sample tables, HLS segments) -> front   (when it has ended)
//! ```
//!
//! While live, a file is a sequence of *initialisations* (`ftyp` + `moov` without samples) and *fragments* (`moof` +
//! `mdat` with half a second of both tracks). Whatever is cut off at the end, the fragments before it are whole. A change of
//! codec or size writes another initialisation into the same file and goes on.
//!
//! A finished recording is that same sequence, byte for byte, behind a *front*: `ftyp`, a `moov` with complete sample tables,
//! an index of HLS segments, and the header of one large `mdat` in which the sequence lies. Players that open the file see an
//! ordinary fast-start MP4; HLS players fetch initialisations and fragments from it by byte ranges. So finishing costs one copy and
//! no second packaging, and a file can always be taken back to what was recorded.
//!
//! What belongs here: every byte of these files, and reading them back. What does not: where they lie, when they are
//! flushed, what they are called.

mod check;
mod clip;
mod finish;
mod fragment;
mod index;
mod lane;
mod recorder;
mod scan;
mod tables;

pub use check::{CheckError, Contents, TrackContents, check, probe};
pub use clip::{Clip, ClipError, clip};
pub use finish::{FinishError, Finished, finish};
pub use index::{Index, IndexError, InitRange, SegmentRange, read_index};
pub use recorder::{Counters, Gap, Recorder, RecorderConfig, RecorderError, RecorderOutput};
pub use scan::{Scan, ScanError, scan};
pub use tables::TrackSummary;

/// The video track of every recording.
pub const VIDEO_TRACK: u32 = 1;
/// The audio track of every recording.
pub const AUDIO_TRACK: u32 = 2;
