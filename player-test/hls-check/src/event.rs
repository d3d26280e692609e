//! What was asked and what was answered: all that the checker knows of a server.

use std::time::Duration;

use bytes::Bytes;

/// An HTTP answer with its times, counted from the beginning of the run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// When the request was sent.
    pub asked: Duration,
    /// When the header came.
    pub began: Duration,
    /// When the body was whole.
    pub done: Duration,
    /// Status code; 0 when there was no answer.
    pub status: u16,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, decoded if it was encoded.
    pub body: Bytes,
}

impl Answer {
    /// A header field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// `max-age` of `Cache-Control`, seconds; 0 for `no-store` and `no-cache`; `None` when nothing is said.
    #[must_use]
    pub fn max_age_s(&self) -> Option<u64> {
        let said = self.header("cache-control")?;
        let words = || said.split(',').map(str::trim);
        if words().any(|word| word == "no-store" || word == "no-cache") {
            return Some(0);
        }
        words().find_map(|word| word.strip_prefix("max-age=")?.parse().ok())
    }
}

/// The delivery directives of a request for a media playlist (section 6.2.5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ask {
    /// `_HLS_msn`.
    pub msn: Option<u64>,
    /// `_HLS_part`.
    pub part: Option<u64>,
    /// `_HLS_skip=YES`, or `v2`.
    pub skip: Option<SkipAsk>,
}

/// Value of `_HLS_skip`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipAsk {
    /// `YES`: segments.
    Segments,
    /// `v2`: segments and date ranges.
    SegmentsAndDateRanges,
}

impl Ask {
    /// The query, directives in the order of their names (section 6.3.2), without a question mark; empty when there is none.
    #[must_use]
    pub fn query(&self) -> String {
        let skip = self.skip.map(|skip| match skip {
            SkipAsk::Segments => "_HLS_skip=YES".to_owned(),
            SkipAsk::SegmentsAndDateRanges => "_HLS_skip=v2".to_owned(),
        });
        let msn = self.msn.map(|msn| format!("_HLS_msn={msn}"));
        let part = self.part.map(|part| format!("_HLS_part={part}"));
        [msn, part, skip].into_iter().flatten().collect::<Vec<_>>().join("&")
    }
}

/// What a piece of media is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Piece {
    /// A media segment, by media sequence number.
    Segment(u64),
    /// A part, by media sequence number and part index.
    Part(u64, u64),
}

/// A request of nonsense, and why it is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nonsense {
    /// `_HLS_part` without `_HLS_msn`.
    PartAlone,
    /// Further in the future than a server waits for.
    TooFar,
    /// Directives that are no numbers.
    NoNumber,
}

/// Something that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The multivariant playlist.
    Multivariant(Answer),
    /// A media playlist, of a rendition in the order of [`crate::Checker::renditions`].
    Playlist(usize, Ask, Answer),
    /// A media initialisation section, by its URI as written.
    Map(usize, String, Answer),
    /// A segment or a part that a playlist listed. Its map came before.
    Media(usize, Piece, Answer),
    /// What a preload hint named, asked for before it was listed; by its URI as written.
    Hint(usize, String, Answer),
    /// A piece that had left the playlist, asked for while it must still be there.
    Removed(usize, Piece, Answer),
    /// A request that must be refused.
    Nonsense(usize, Nonsense, String, Answer),
    /// One playlist plain and encoded: name of the encoding, and the decoded body.
    Encoded(usize, String, Answer, Answer),
}
