//! WebM and Matroska: what browsers record, read into frames; and frames written as they are, for archives.
//!
//! ```text
//! any `Read` -> gate (whole elements, bounded) -> reader (tracks, blocks) -> frames (frames as of `crate::frame`)
//! frames -> interleave -> writer (pieces to append) -> index (cues, duration: places that are overwritten at the end)
//! a cut file -> reader -> repair (the same index)
//! ```
//!
//! What belongs here: every byte of these files. What does not: where they come from and where they lie, and whether a file that begins
//! at zero continues another.
//!
//! RFC 8794 (EBML), RFC 9559 (Matroska).

pub mod archive;
pub mod frames;
pub mod live;
pub mod reader;
pub mod repair;
pub mod writer;

mod date;
mod gate;
mod index;
mod lacing;
mod order;

pub use date::date_utc;
