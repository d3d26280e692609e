//! See the crate's map in ARCHITECTURE.md.
