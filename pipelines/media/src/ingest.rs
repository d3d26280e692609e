//! One publisher's packets in, frames of the source rendition out.

use std::fmt;

/// Which of a publisher's tracks something belongs to: counted from zero in the order of the offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackId(pub u8);

impl fmt::Display for TrackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
