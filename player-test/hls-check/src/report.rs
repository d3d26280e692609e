//! What a check has found, as JSON and as text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use crate::rules::{Grade, RULES, Violation};

/// How much was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Playlists.
    pub playlists: u64,
    /// Playlists of blocking requests.
    pub blocking: u64,
    /// Delta updates.
    pub deltas: u64,
    /// Delta updates that could be compared with a full playlist of the same moment.
    pub deltas_compared: u64,
    /// Rendition reports that were compared with the rendition.
    pub reports: u64,
    /// Media segments.
    pub segments: u64,
    /// Segments that were compared with all of their parts.
    pub segments_compared: u64,
    /// Parts.
    pub parts: u64,
    /// Hinted parts that were asked for before they were there.
    pub hints: u64,
    /// Pieces asked for after they had left the playlist.
    pub removed: u64,
    /// Requests of nonsense.
    pub nonsense: u64,
    /// Encoded playlists.
    pub encoded: u64,
    /// All files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Peak bit rate of each variant, audio included, bits per second.
    pub peak_bits: BTreeMap<String, u64>,
    /// From a part's being there, as far as it could be seen, to the answer of the request that waited for it.
    #[serde(skip)]
    pub answer_after_ms: Vec<Duration>,
}

/// What a check has found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Length of the check.
    pub seconds: f64,
    /// How much was looked at.
    pub counts: Counts,
    /// Broken rules, MUSTs first.
    pub violations: Vec<Violation>,
}

impl Report {
    /// Whether no rule was broken.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// Violations of rules other than these.
    pub fn besides<'a>(&'a self, allowed: &'a [&str]) -> impl Iterator<Item = &'a Violation> {
        self.violations.iter().filter(move |one| !allowed.contains(&one.rule))
    }

    /// As JSON.
    ///
    /// # Errors
    /// None in practice: all fields have a JSON form.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// For people, without an end of line at the end.
    #[must_use]
    pub fn text(&self) -> String {
        let c = &self.counts;
        let mut text = String::new();
        let mut sorted = c.answer_after_ms.clone();
        sorted.sort_unstable();
        let rank = |percent: usize| {
            sorted.get((sorted.len() * percent).div_ceil(100).max(1) - 1).map_or(0, Duration::as_millis)
        };
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{:.0} s: {} playlists ({} blocking, {} delta updates, {} of them compared), {} segments ({} compared with their parts), {} parts, \
             {} hints, {} reports, {:.1} MB",
            self.seconds,
            c.playlists,
            c.blocking,
            c.deltas,
            c.deltas_compared,
            c.segments,
            c.segments_compared,
            c.parts,
            c.hints,
            c.reports,
            c.bytes as f64 / 1e6
        );
        let _ = writeln!(
            text,
            "{} answers to blocking requests, so long after what they waited for was seen: p50 {} ms, p95 {} ms, most {} ms",
            sorted.len(),
            rank(50),
            rank(95),
            rank(100)
        );
        for (uri, bits) in &c.peak_bits {
            let _ = writeln!(text, "{uri}: peak {:.3} Mbit/s", *bits as f64 / 1e6);
        }
        let (must, rest): (Vec<_>, Vec<_>) = self.violations.iter().partition(|one| one.grade == Grade::Must);
        for one in must.iter().chain(&rest) {
            let grade = match one.grade {
                Grade::Must => "MUST",
                Grade::Should => "SHOULD",
                Grade::Ours => "ours",
            };
            let Violation { rule, at, what, first_s, times, .. } = one;
            let _ = writeln!(text, "{grade:6} {rule}  {at}  {times} x, first at {first_s:.1} s: {what}");
        }
        let _ = write!(
            text,
            "{} rules: {} broken places of MUST, {} others",
            RULES.len(),
            must.len(),
            rest.len()
        );
        text
    }
}
