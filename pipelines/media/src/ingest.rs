//! One publisher's packets in, frames of the source rendition out.
