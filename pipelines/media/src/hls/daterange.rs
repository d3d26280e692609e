//! Events with a date: `EXT-X-DATERANGE` (rfc8216bis section 4.4.5.1). What they may hold, and which of them are listed.

use super::playlist::date_time;
use crate::time::{Mono, UnixTime};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Most date ranges of one stream at a time.
pub const MAX_DATE_RANGES: usize = 256;
/// Longest text of one attribute, in bytes. A SCTE 35 section has at most 4093 bytes, in hexadecimal twice that.
const MAX_TEXT_BYTES: usize = 8192;
/// Most attributes of the client's own.
const MAX_EXTRAS: usize = 32;
/// Longest duration, in seconds: a year.
const MAX_SECONDS: f64 = 366.0 * 86_400.0;

/// Why a date range was refused. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DateRangeError {
    /// An attribute cannot be written, or is not what it must be.
    #[error("{attribute} {problem}")]
    Attribute {
        /// Which one, by its name in the playlist.
        attribute: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The name is taken.
    #[error("there is a date range {0:?} already; change it, or choose another id")]
    Duplicate(String),
    /// No such name.
    #[error("there is no date range {0:?}")]
    Unknown(String),
    /// rfc8216bis section 4.4.5.1: tags of one id must agree with each other.
    #[error(
        "{attribute} of {id:?} has a value already, and players may have seen it: it can be added, but not changed"
    )]
    Changed {
        /// Whose it is.
        id: String,
        /// Which attribute.
        attribute: &'static str,
    },
    /// More than one stream may have.
    #[error("a stream has at most {MAX_DATE_RANGES} date ranges at a time")]
    TooMany,
    /// The broadcast is over.
    #[error("the broadcast has ended")]
    Ended,
}

/// A value of an attribute of the client's own (`X-..`).
#[derive(Debug, Clone, PartialEq)]
pub enum Extra {
    /// A quoted string.
    Text(String),
    /// A decimal floating-point number.
    Number(f64),
}

/// One date range, as it stands in a playlist.
#[derive(Debug, Clone, PartialEq)]
pub struct DateRange {
    /// `ID`: unique in the stream.
    pub id: String,
    /// `CLASS`
    pub class: Option<String>,
    /// `START-DATE`
    pub start: UnixTime,
    /// `END-DATE`
    pub end: Option<UnixTime>,
    /// `DURATION`, in seconds.
    pub duration: Option<f64>,
    /// `PLANNED-DURATION`, in seconds.
    pub planned_duration: Option<f64>,
    /// `END-ON-NEXT=YES`
    pub end_on_next: bool,
    /// `SCTE35-CMD`: a splice_info_section in hexadecimal.
    pub scte35_cmd: Option<String>,
    /// `SCTE35-OUT`
    pub scte35_out: Option<String>,
    /// `SCTE35-IN`
    pub scte35_in: Option<String>,
    /// `X-` attributes, by what follows the `X-`.
    pub extras: BTreeMap<String, Extra>,
}

/// What can be added to a date range that is listed already: its end, above all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DateRangeUpdate {
    /// `END-DATE`
    pub end: Option<UnixTime>,
    /// `DURATION`, in seconds.
    pub duration: Option<f64>,
    /// `PLANNED-DURATION`, in seconds.
    pub planned_duration: Option<f64>,
    /// `SCTE35-CMD`
    pub scte35_cmd: Option<String>,
    /// `SCTE35-OUT`
    pub scte35_out: Option<String>,
    /// `SCTE35-IN`
    pub scte35_in: Option<String>,
    /// `X-` attributes.
    pub extras: BTreeMap<String, Extra>,
}

impl DateRange {
    /// Checks that it can be written, and brings hexadecimal into the playlist's form (`0x` and capitals).
    ///
    /// # Errors
    /// The first attribute that is not what rfc8216bis section 4.4.5.1 asks for.
    pub fn checked(mut self) -> Result<Self, DateRangeError> {
        let wrong =
            |attribute: &str, problem| DateRangeError::Attribute { attribute: attribute.to_owned(), problem };
        quotable("ID", Some(&self.id))?;
        if self.id.is_empty() || self.id.contains('\t') {
            return Err(wrong("ID", "must not be empty, and have no tabs in it"));
        }
        quotable("CLASS", self.class.as_ref())?;
        for (attribute, seconds) in [("DURATION", self.duration), ("PLANNED-DURATION", self.planned_duration)]
        {
            if seconds.is_some_and(|s| !(0.0..=MAX_SECONDS).contains(&s)) {
                return Err(wrong(attribute, "must be a number of seconds, from 0 to a year"));
            }
        }
        if self.end.is_some_and(|end| end < self.start) {
            return Err(wrong("END-DATE", "must not be before START-DATE"));
        }
        if let (Some(end), Some(duration)) = (self.end, self.duration) {
            let lasts = (end.as_micros() - self.start.as_micros()) as f64 / 1e6;
            if (lasts - duration).abs() > 0.001 {
                return Err(wrong("END-DATE", "must be START-DATE and DURATION together"));
            }
        }
        if self.end_on_next && self.class.is_none() {
            return Err(wrong("END-ON-NEXT", "needs a CLASS"));
        }
        if self.end_on_next && (self.duration.is_some() || self.end.is_some()) {
            return Err(wrong("END-ON-NEXT", "must not stand beside DURATION or END-DATE"));
        }
        for (attribute, command) in [
            ("SCTE35-CMD", &mut self.scte35_cmd),
            ("SCTE35-OUT", &mut self.scte35_out),
            ("SCTE35-IN", &mut self.scte35_in),
        ] {
            if let Some(text) = command {
                *text = hexadecimal(text).ok_or_else(|| {
                    wrong(attribute, "must be whole bytes in hexadecimal, with or without 0x, at most 4093")
                })?;
            }
        }
        if self.extras.len() > MAX_EXTRAS {
            return Err(wrong("X-", "attributes may be 32 at the most"));
        }
        for (name, value) in &self.extras {
            let fits = (1..=64).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-');
            if !fits {
                return Err(wrong(&format!("X-{name}"), "must be named by 1 to 64 of A-Z, 0-9 and -"));
            }
            match value {
                Extra::Text(text) => quotable(&format!("X-{name}"), Some(text))?,
                Extra::Number(number) if !number.is_finite() || number.abs() > 1e15 => {
                    return Err(wrong(&format!("X-{name}"), "must be a number below 1e15"));
                }
                Extra::Number(_) => {}
            }
        }
        Ok(self)
    }

    /// When it is over; `None` while that is open.
    pub fn ends_at(&self) -> Option<UnixTime> {
        let by_duration = self.duration.map(|seconds| {
            UnixTime::from_micros(self.start.as_micros().saturating_add((seconds * 1e6) as i64))
        });
        self.end.or(by_duration)
    }

    /// The same with what is added.
    fn updated(&self, update: DateRangeUpdate) -> Result<Self, DateRangeError> {
        let mut new = self.clone();
        let changed = |attribute| DateRangeError::Changed { id: self.id.clone(), attribute };
        add(&mut new.end, update.end).ok_or_else(|| changed("END-DATE"))?;
        add(&mut new.duration, update.duration).ok_or_else(|| changed("DURATION"))?;
        add(&mut new.planned_duration, update.planned_duration).ok_or_else(|| changed("PLANNED-DURATION"))?;
        let hex = |text: Option<String>| text.map(|text| hexadecimal(&text).unwrap_or(text));
        add(&mut new.scte35_cmd, hex(update.scte35_cmd)).ok_or_else(|| changed("SCTE35-CMD"))?;
        add(&mut new.scte35_out, hex(update.scte35_out)).ok_or_else(|| changed("SCTE35-OUT"))?;
        add(&mut new.scte35_in, hex(update.scte35_in)).ok_or_else(|| changed("SCTE35-IN"))?;
        for (name, value) in update.extras {
            if new.extras.get(&name).is_some_and(|old| *old != value) {
                return Err(changed("X-"));
            }
            new.extras.insert(name, value);
        }
        new.checked()
    }

    /// The tag with its line end.
    pub(super) fn tag(&self) -> String {
        let mut tag = format!("#EXT-X-DATERANGE:ID=\"{}\"", self.id);
        let mut push =
            |text: std::fmt::Arguments<'_>| tag.write_fmt(text).expect("a String takes everything");
        if let Some(class) = &self.class {
            push(format_args!(",CLASS=\"{class}\""));
        }
        push(format_args!(",START-DATE=\"{}\"", date_time(self.start)));
        if let Some(end) = self.end {
            push(format_args!(",END-DATE=\"{}\"", date_time(end)));
        }
        if let Some(duration) = self.duration {
            push(format_args!(",DURATION={duration:.3}"));
        }
        if let Some(duration) = self.planned_duration {
            push(format_args!(",PLANNED-DURATION={duration:.3}"));
        }
        for (name, value) in &self.extras {
            match value {
                Extra::Text(text) => push(format_args!(",X-{name}=\"{text}\"")),
                Extra::Number(number) => push(format_args!(",X-{name}={number}")),
            }
        }
        let commands = [("CMD", &self.scte35_cmd), ("OUT", &self.scte35_out), ("IN", &self.scte35_in)];
        for (name, hex) in commands.into_iter().filter_map(|(name, hex)| Some((name, hex.as_ref()?))) {
            push(format_args!(",SCTE35-{name}={hex}"));
        }
        if self.end_on_next {
            push(format_args!(",END-ON-NEXT=YES"));
        }
        tag.push('\n');
        tag
    }
}

/// Sets what is not set. `None` when it is set otherwise.
fn add<T: PartialEq>(old: &mut Option<T>, new: Option<T>) -> Option<()> {
    match (old.as_ref(), new) {
        (_, None) => Some(()),
        (Some(old), Some(new)) => (*old == new).then_some(()),
        (None, Some(new)) => {
            *old = Some(new);
            Some(())
        }
    }
}

/// Whether it can stand between quotes (rfc8216bis section 4.2: no line feed, carriage return or double quote).
fn quotable(attribute: &str, text: Option<&String>) -> Result<(), DateRangeError> {
    let fits = text.is_none_or(|text| {
        text.len() <= MAX_TEXT_BYTES && !text.chars().any(|c| c == '"' || (c.is_control() && c != '\t'))
    });
    let problem =
        "must have at most 8192 bytes, without double quotes, line ends and other control characters";
    match fits {
        true => Ok(()),
        false => Err(DateRangeError::Attribute { attribute: attribute.to_owned(), problem }),
    }
}

/// `0x` and capitals (rfc8216bis section 4.2, hexadecimal-sequence).
fn hexadecimal(text: &str) -> Option<String> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let fits = (2..=2 * 4093).contains(&digits.len())
        && digits.len().is_multiple_of(2)
        && digits.bytes().all(|b| b.is_ascii_hexdigit());
    fits.then(|| format!("0x{}", digits.to_ascii_uppercase()))
}

/// A date range with when players could first see it as it is.
#[derive(Debug, Clone)]
struct Listed {
    range: DateRange,
    since: Mono,
}

/// The date ranges of one take.
#[derive(Debug, Clone, Default)]
pub(super) struct DateRanges {
    listed: Vec<Listed>,
    /// Ids that are gone, and since when.
    removed: Vec<(String, Mono)>,
}

impl DateRanges {
    /// None, and none that was.
    pub(super) const fn is_idle(&self) -> bool {
        self.listed.is_empty() && self.removed.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &DateRange> {
        self.listed.iter().map(|one| &one.range)
    }

    pub(super) fn add(&mut self, range: DateRange, now: Mono) -> Result<(), DateRangeError> {
        let range = range.checked()?;
        if self.iter().any(|one| one.id == range.id) {
            return Err(DateRangeError::Duplicate(range.id));
        }
        if self.listed.len() >= MAX_DATE_RANGES {
            return Err(DateRangeError::TooMany);
        }
        self.removed.retain(|(id, _)| *id != range.id);
        self.listed.push(Listed { range, since: now });
        Ok(())
    }

    pub(super) fn update(
        &mut self,
        id: &str,
        update: DateRangeUpdate,
        now: Mono,
    ) -> Result<DateRange, DateRangeError> {
        let one = self.listed.iter_mut().find(|one| one.range.id == id);
        let one = one.ok_or_else(|| DateRangeError::Unknown(id.to_owned()))?;
        let range = one.range.updated(update)?;
        *one = Listed { range: range.clone(), since: now };
        Ok(range)
    }

    pub(super) fn remove(&mut self, id: &str, now: Mono) -> Result<(), DateRangeError> {
        let place = self.listed.iter().position(|one| one.range.id == id);
        let place = place.ok_or_else(|| DateRangeError::Unknown(id.to_owned()))?;
        let removed = self.listed.remove(place);
        self.removed.push((removed.range.id, now));
        Ok(())
    }

    /// Whether any was over before the window began: those leave the playlist. Ids that are gone for longer than the skip
    /// boundary are forgotten.
    pub(super) fn trim(&mut self, window_start: UnixTime, boundary: Duration, now: Mono) -> bool {
        let before = self.listed.len();
        let over = |range: &DateRange| match range.ends_at() {
            Some(end) => end < window_start,
            // Without an end it may still be going on; a moment without length is over at once.
            None => false,
        };
        for gone in self.listed.iter().filter(|one| over(&one.range)) {
            self.removed.push((gone.range.id.clone(), now));
        }
        self.listed.retain(|one| !over(&one.range));
        self.removed.retain(|(_, since)| now.saturating_since(*since) <= boundary);
        self.listed.len() != before
    }

    /// The tags of a playlist; of a delta update those that are younger than the boundary.
    pub(super) fn tags(&self, out: &mut String, younger_than: Option<Duration>, now: Mono) {
        for one in &self.listed {
            if younger_than.is_none_or(|boundary| now.saturating_since(one.since) <= boundary) {
                out.push_str(&one.range.tag());
            }
        }
    }

    /// `RECENTLY-REMOVED-DATERANGES`: ids between tabs.
    pub(super) fn recently_removed(&self) -> String {
        let ids: Vec<&str> = self.removed.iter().map(|(id, _)| id.as_str()).collect();
        ids.join("\t")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(id: &str) -> DateRange {
        DateRange {
            id: id.to_owned(),
            class: None,
            start: UnixTime::from_micros(1_795_348_800_000_000),
            end: None,
            duration: None,
            planned_duration: None,
            end_on_next: false,
            scte35_cmd: None,
            scte35_out: None,
            scte35_in: None,
            extras: BTreeMap::new(),
        }
    }

    #[test]
    fn a_break_is_announced_and_closed() {
        let mut ranges = DateRanges::default();
        let out = DateRange {
            class: Some("com.example.ad".to_owned()),
            planned_duration: Some(30.0),
            scte35_out: Some("fc30".to_owned()),
            extras: BTreeMap::from([
                ("COM-NAME".to_owned(), Extra::Text("a, b".to_owned())),
                ("COM-N".to_owned(), Extra::Number(1.5)),
            ]),
            ..range("break-1")
        };
        ranges.add(out, Mono::default()).unwrap();
        let mut text = String::new();
        ranges.tags(&mut text, None, Mono::default());
        let open = "#EXT-X-DATERANGE:ID=\"break-1\",CLASS=\"com.example.ad\",START-DATE=\"2026-11-22T12:00:00.000Z\",\
            PLANNED-DURATION=30.000,X-COM-N=1.5,X-COM-NAME=\"a, b\",SCTE35-OUT=0xFC30\n";
        assert_eq!(text, open);
        let close = DateRangeUpdate {
            duration: Some(28.5),
            scte35_in: Some("0xfc31".to_owned()),
            ..Default::default()
        };
        let closed = ranges.update("break-1", close, Mono::default()).unwrap();
        assert!(closed.tag().contains(",DURATION=28.500,PLANNED-DURATION"), "{}", closed.tag());
        assert!(closed.tag().ends_with(",SCTE35-OUT=0xFC30,SCTE35-IN=0xFC31\n"));
        let again = DateRangeUpdate { duration: Some(3.0), ..Default::default() };
        let refused = ranges.update("break-1", again, Mono::default()).unwrap_err();
        assert!(matches!(refused, DateRangeError::Changed { attribute: "DURATION", .. }), "{refused}");
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let bad = [
            DateRange { id: String::new(), ..range("") },
            DateRange { id: "a\"b".to_owned(), ..range("") },
            DateRange { id: "a\nb".to_owned(), ..range("") },
            DateRange { duration: Some(-1.0), ..range("a") },
            DateRange { duration: Some(f64::NAN), ..range("a") },
            DateRange { end: Some(UnixTime::from_micros(0)), ..range("a") },
            DateRange { end_on_next: true, ..range("a") },
            DateRange { end_on_next: true, class: Some("c".to_owned()), duration: Some(1.0), ..range("a") },
            DateRange { scte35_cmd: Some("0xF".to_owned()), ..range("a") },
            DateRange { scte35_cmd: Some("xyz".to_owned()), ..range("a") },
            DateRange { extras: BTreeMap::from([("x".to_owned(), Extra::Number(1.0))]), ..range("a") },
        ];
        for one in bad {
            assert!(one.clone().checked().is_err(), "{one:?}");
        }
    }

    #[test]
    fn those_that_are_over_leave_and_are_told_for_a_while() {
        let mut ranges = DateRanges::default();
        let start = range("x").start;
        ranges.add(DateRange { duration: Some(5.0), ..range("short") }, Mono::default()).unwrap();
        ranges.add(range("open"), Mono::default()).unwrap();
        let at = |seconds: i64| UnixTime::from_micros(start.as_micros() + seconds * 1_000_000);
        let boundary = Duration::from_secs(12);
        assert!(!ranges.trim(at(4), boundary, Mono::from_millis(4_000)));
        assert!(ranges.trim(at(6), boundary, Mono::from_millis(6_000)));
        assert_eq!(ranges.recently_removed(), "short");
        ranges.trim(at(7), boundary, Mono::from_millis(18_000));
        assert_eq!(ranges.recently_removed(), "short");
        ranges.trim(at(7), boundary, Mono::from_millis(18_001));
        assert_eq!(ranges.recently_removed(), "");
        assert_eq!(ranges.iter().count(), 1);
    }

    #[test]
    fn their_number_is_bounded() {
        let mut ranges = DateRanges::default();
        for i in 0..MAX_DATE_RANGES {
            ranges.add(range(&i.to_string()), Mono::default()).unwrap();
        }
        assert_eq!(ranges.add(range("more"), Mono::default()), Err(DateRangeError::TooMany));
        assert_eq!(ranges.add(range("1"), Mono::default()), Err(DateRangeError::Duplicate("1".to_owned())));
    }
}
