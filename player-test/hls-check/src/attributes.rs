//! Attribute lists (section 4.2): syntax, types and what a tag must have.

use crate::date;
use crate::rules::{Fault, Faults};
use crate::tags::{Attribute, Kind, Tag};

/// The attributes of one tag, as they were written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attributes<'a> {
    list: Vec<(&'a str, &'a str)>,
}

impl<'a> Attributes<'a> {
    /// Reads what stands behind the tag's colon; everything that is wrong with it becomes a fault.
    pub(crate) fn read(tag: &Tag, known: &[Attribute], text: &'a str, faults: &mut Faults) -> Self {
        let mut list: Vec<(&str, &str)> = Vec::new();
        for pair in split(text) {
            let Some((name, value)) = pair.split_once('=') else {
                faults.add("4.2-syntax", format!("{}: {pair:?} is not NAME=VALUE", tag.name));
                continue;
            };
            let in_alphabet = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-';
            if name.is_empty() || !name.bytes().all(in_alphabet) {
                faults.add("4.2-syntax", format!("{}: the attribute name {name:?}", tag.name));
                continue;
            }
            if list.iter().any(|(other, _)| *other == name) {
                faults.add("4.2-repeated-attribute", format!("{} has {name} twice", tag.name));
                continue;
            }
            match known.iter().find(|one| one.name == name) {
                Some(one) => {
                    if let Err(why) = one.kind.check(value) {
                        faults.add("4.2-value", format!("{}: {name}={value} {why}", tag.name));
                    }
                }
                // Section 4.4.5.1: attributes of applications begin with X-, in the form of a string, a sequence or a number.
                None if tag.name == "EXT-X-DATERANGE" && name.starts_with("X-") => {
                    let forms = [Kind::Quoted, Kind::Hex, Kind::Float];
                    if forms.iter().all(|kind| kind.check(value).is_err()) {
                        faults.add("4.2-value", format!("{}: {name}={value} has no form", tag.name));
                    }
                }
                None => faults.add("4.1-unknown", format!("{} knows no attribute {name}", tag.name)),
            }
            list.push((name, value));
        }
        for one in known.iter().filter(|one| one.required) {
            if list.iter().all(|(name, _)| *name != one.name) {
                faults.add("4.2-required", format!("{} without {}", tag.name, one.name));
            }
        }
        Self { list }
    }

    pub(crate) fn raw(&self, name: &str) -> Option<&'a str> {
        self.list.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
    }

    /// A quoted string without its quotes.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        Some(self.raw(name)?.trim_matches('"').to_owned())
    }

    pub(crate) fn int(&self, name: &str) -> Option<u64> {
        self.raw(name)?.parse().ok()
    }

    pub(crate) fn float(&self, name: &str) -> Option<f64> {
        self.raw(name)?.parse().ok()
    }

    pub(crate) fn yes(&self, name: &str) -> bool {
        self.raw(name) == Some("YES")
    }

    /// All of them in an order of their own, for comparing tags whose attributes may stand in any order.
    pub(crate) fn sorted(&self) -> Vec<(String, String)> {
        let mut all: Vec<_> =
            self.list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        all.sort();
        all
    }
}

/// Splits at the commas that are not within quotes.
fn split(text: &str) -> Vec<&str> {
    let mut quoted = false;
    text.split(|letter| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    })
    .collect()
}

impl Kind {
    fn check(self, value: &str) -> Result<(), &'static str> {
        let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let quoted = inner.is_some_and(|inner| !inner.contains('"'));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let float = |text: &str| match text.split_once('.') {
            Some((whole, part)) => digits(whole) && digits(part),
            None => digits(text),
        };
        let good = match self {
            Self::Int => digits(value) && value.len() <= 20 && value.parse::<u64>().is_ok(),
            Self::Float => float(value),
            Self::SignedFloat => float(value.strip_prefix('-').unwrap_or(value)),
            Self::Quoted => quoted,
            Self::Date => quoted && inner.and_then(date::parse_ms).is_some(),
            Self::Hex => value
                .strip_prefix("0x")
                .or_else(|| value.strip_prefix("0X"))
                .is_some_and(|hex| !hex.is_empty() && hex.bytes().all(|byte| byte.is_ascii_hexdigit())),
            Self::Resolution => value.split_once('x').is_some_and(|(w, h)| digits(w) && digits(h)),
            Self::Enum(words) => words.contains(&value),
            Self::Range => quoted && inner.is_some_and(|inner| crate::playlist::byte_range(inner).is_some()),
        };
        if good { Ok(()) } else { Err(self.words()) }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Int => "is no decimal-integer",
            Self::Float => "is no decimal-floating-point",
            Self::SignedFloat => "is no signed-decimal-floating-point",
            Self::Quoted => "is no quoted-string",
            Self::Date => "is no quoted date with a time zone",
            Self::Hex => "is no hexadecimal-sequence",
            Self::Resolution => "is no decimal-resolution",
            Self::Enum(_) => "is none of the words it may be",
            Self::Range => "is no quoted byte range",
        }
    }
}

impl Faults {
    pub(crate) fn add(&mut self, rule: &'static str, what: impl Into<String>) {
        self.0.push(Fault { rule, what: what.into() });
    }
}
