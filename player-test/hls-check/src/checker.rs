//! The machine: events in, broken rules out. See the crate's documentation for its contract.

mod across;
mod alone;
mod answers;
mod media;
mod state;
mod succession;

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Url;

use crate::event::{Answer, Event, Nonsense};
use crate::multivariant::{Multivariant, RenditionKind};
use crate::playlist::MediaPlaylist;
use crate::report::{Counts, Report};
use crate::rules::{Faults, Violation, rule};
use state::{Rendition, Told};

/// So long after its end an answer is compared with what came besides it: by then all of that has come.
const SETTLED: Duration = Duration::from_secs(3);
/// Places with a broken rule that are kept, each with its count; more would tell nothing new.
const MAX_PLACES: usize = 2000;

/// What is allowed for the way between server and checker.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Added to every limit of time, for the network and a busy machine.
    pub tolerance: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { tolerance: Duration::from_millis(250) }
    }
}

/// Checks one stream. Events come in the order of their ends ([`Answer::done`]), the multivariant playlist first.
#[derive(Debug)]
pub struct Checker {
    options: Options,
    url: Url,
    multivariant: Option<Multivariant>,
    renditions: Vec<Rendition>,
    told: Vec<Told>,
    violations: BTreeMap<(&'static str, String), Violation>,
    counts: Counts,
    now: Duration,
}

impl Checker {
    /// A checker of the stream whose multivariant playlist is at `url`.
    #[must_use]
    pub fn new(url: Url, options: Options) -> Self {
        Self {
            options,
            url,
            multivariant: None,
            renditions: Vec::new(),
            told: Vec::new(),
            violations: BTreeMap::new(),
            counts: Counts::default(),
            now: Duration::ZERO,
        }
    }

    /// The renditions that the multivariant playlist names; their places are those that events name.
    pub fn renditions(&self) -> impl Iterator<Item = (&Url, RenditionKind)> {
        self.renditions.iter().map(|rendition| (&rendition.url, rendition.kind))
    }

    /// The last version of a rendition's playlist, whole.
    #[must_use]
    pub fn playlist(&self, rendition: usize) -> Option<&MediaPlaylist> {
        self.renditions.get(rendition)?.last.as_ref()
    }

    /// Takes what was answered.
    pub fn handle(&mut self, event: Event) {
        let done = match &event {
            Event::Multivariant(answer)
            | Event::Playlist(_, _, answer)
            | Event::Map(_, _, answer)
            | Event::Media(_, _, answer)
            | Event::Hint(_, _, answer)
            | Event::Removed(_, _, answer)
            | Event::Nonsense(_, _, _, answer)
            | Event::Encoded(_, _, _, answer) => answer.done,
        };
        self.now = self.now.max(done);
        let about = match &event {
            Event::Multivariant(_) => None,
            Event::Playlist(at, ..)
            | Event::Map(at, ..)
            | Event::Media(at, ..)
            | Event::Hint(at, ..)
            | Event::Removed(at, ..)
            | Event::Nonsense(at, ..)
            | Event::Encoded(at, ..) => Some(*at),
        };
        if about.is_some_and(|at| at >= self.renditions.len()) {
            return;
        }
        match event {
            Event::Multivariant(answer) => self.multivariant(&answer),
            Event::Playlist(at, ask, answer) => self.media_playlist(at, ask, &answer),
            Event::Map(at, uri, answer) => self.map(at, uri, answer),
            Event::Media(at, piece, answer) => self.media(at, piece, answer),
            Event::Hint(at, uri, answer) => self.hint(at, uri, answer),
            Event::Removed(at, piece, answer) => self.removed(at, piece, &answer),
            Event::Nonsense(at, why, query, answer) => self.nonsense(at, why, &query, &answer),
            Event::Encoded(at, name, plain, encoded) => self.encoded(at, &name, &plain, &encoded),
        }
        self.settle(self.now.saturating_sub(SETTLED));
    }

    /// Ends the check.
    #[must_use]
    pub fn finish(mut self) -> Report {
        self.settle(Duration::MAX);
        self.compare_renditions();
        self.compare_variants();
        let seconds = self.now.as_secs_f64();
        let mut violations: Vec<_> = self.violations.into_values().collect();
        violations.sort_by(|a, b| (a.grade, a.rule, &a.at).cmp(&(b.grade, b.rule, &b.at)));
        Report { seconds, counts: self.counts, violations }
    }

    /// A rule was broken at `at`.
    fn broken(&mut self, id: &'static str, at: &str, what: impl FnOnce() -> String) {
        let full = self.violations.len() >= MAX_PLACES;
        if let Some(known) = self.violations.get_mut(&(id, at.to_owned())) {
            known.times += 1;
        } else if !full {
            let grade = rule(id).grade;
            let first_s = self.now.as_secs_f64();
            let violation = Violation { rule: id, grade, at: at.to_owned(), what: what(), first_s, times: 1 };
            self.violations.insert((id, at.to_owned()), violation);
        }
    }

    fn broken_in(&mut self, rendition: usize, id: &'static str, what: impl FnOnce() -> String) {
        let at = self.renditions[rendition].url.path().to_owned();
        self.broken(id, &at, what);
    }

    fn faults(&mut self, at: &str, faults: Faults) {
        for fault in faults.0 {
            self.broken(fault.rule, at, || fault.what);
        }
    }

    fn multivariant(&mut self, answer: &Answer) {
        let at = self.url.path().to_owned();
        self.counts.playlists += 1;
        if answer.status != 200 {
            self.broken("6.2.1-available", &at, || {
                format!("the playlist was answered with {}", answer.status)
            });
            return;
        }
        self.content_type(&at, answer);
        let Some(text) = self.text(&at, answer) else { return };
        let (playlist, faults) = Multivariant::read(&text);
        self.faults(&at, faults);
        if self.multivariant.is_none() {
            for (uri, kind) in playlist.renditions() {
                if let Ok(url) = self.url.join(&uri) {
                    self.renditions.push(Rendition::new(uri, url, kind));
                } else {
                    self.broken("4.4.6.2-uri", &at, || format!("{uri} is no URI"));
                }
            }
        }
        self.multivariant = Some(playlist);
    }

    fn content_type(&mut self, at: &str, answer: &Answer) {
        let kind = answer.header("content-type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if kind != "application/vnd.apple.mpegurl" && kind != "audio/mpegurl" {
            self.broken("4-content-type", at, || format!("the content type is {kind:?}"));
        }
    }

    fn text(&mut self, at: &str, answer: &Answer) -> Option<String> {
        match String::from_utf8(answer.body.to_vec()) {
            Ok(text) => Some(text),
            Err(error) => {
                self.broken("4.1-text", at, || format!("not UTF-8: {error}"));
                None
            }
        }
    }

    fn nonsense(&mut self, at: usize, why: Nonsense, query: &str, answer: &Answer) {
        self.counts.nonsense += 1;
        if self.renditions[at].last.as_ref().is_some_and(|last| last.ended) {
            // Behind the end directives are ignored (section 6.2.5.2).
            return;
        }
        let rule = match why {
            Nonsense::PartAlone => "6.2.5.2-part-alone",
            Nonsense::TooFar => "6.2.5.2-too-far",
            Nonsense::NoNumber => "our-bad-directive",
        };
        let held = answer.done.saturating_sub(answer.asked);
        if answer.status != 400 || held > self.options.tolerance * 4 {
            self.broken_in(at, rule, || {
                format!("?{query} was answered with {} after {held:?}", answer.status)
            });
        }
    }

    fn encoded(&mut self, at: usize, name: &str, plain: &Answer, encoded: &Answer) {
        self.counts.encoded += 1;
        if plain.body != encoded.body {
            let lengths = (plain.body.len(), encoded.body.len());
            self.broken_in(at, "6.2.1-encodings", || {
                format!("{name} differs from the plain one: {lengths:?} bytes")
            });
        }
    }
}
