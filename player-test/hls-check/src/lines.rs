//! A playlist as lines (section 4.1): encoding, blanks, known tags, how often and in which kind of playlist.

use crate::attributes::Attributes;
use crate::rules::Faults;
use crate::tags::{Form, Place, TAGS, Tag};

/// One line that means something.
#[derive(Debug)]
pub(crate) enum Line<'a> {
    Tag(Tagged<'a>),
    Uri(&'a str),
}

/// A tag with what it carries.
#[derive(Debug)]
pub(crate) struct Tagged<'a> {
    pub(crate) tag: &'static Tag,
    pub(crate) value: &'a str,
    pub(crate) attributes: Attributes<'a>,
    /// The whole line.
    pub(crate) text: &'a str,
}

impl Tagged<'_> {
    pub(crate) fn int(&self) -> u64 {
        self.value.parse().unwrap_or(0)
    }
}

/// Which kind a playlist is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Media,
    Multivariant,
}

/// Reads a playlist's lines; what is wrong with them becomes faults, and what cannot be used is left out.
pub(crate) fn read<'a>(text: &'a str, of: Of, faults: &mut Faults) -> Vec<Line<'a>> {
    if text.starts_with('\u{feff}') {
        faults.add("4.1-text", "the playlist begins with a byte order mark");
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let forbidden = |letter: char| letter.is_control() && letter != '\n' && letter != '\r' && letter != '\t';
    if let Some(letter) = text.chars().find(|letter| forbidden(*letter)) {
        faults.add("4.1-text", format!("the control character {letter:?}"));
    }
    if text.lines().next() != Some("#EXTM3U") {
        let first = text.lines().next().unwrap_or_default();
        faults.add("4.4.1.1-first-line", format!("the first line is {first:?}"));
    }
    let mut lines = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for line in text.lines() {
        if line.is_empty() {
            continue;
        }
        if line.trim() != line {
            faults.add("4.1-blanks", format!("blanks around {:?}", line.trim()));
        }
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let Some(rest) = line.strip_prefix("#EXT") else {
            if !line.starts_with('#') {
                lines.push(Line::Uri(line));
            }
            continue;
        };
        let (name, value) = match rest.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (rest, None),
        };
        let Some(tag) = TAGS.iter().find(|tag| tag.name.strip_prefix("EXT") == Some(name)) else {
            faults.add("4.1-unknown", format!("the tag EXT{name} is not known"));
            continue;
        };
        if tag.once && seen.contains(&tag.name) {
            faults.add("4.4-once", format!("{} stands twice", tag.name));
        }
        seen.push(tag.name);
        let right = match of {
            Of::Media => tag.place != Place::Multivariant,
            Of::Multivariant => matches!(tag.place, Place::Any | Place::Multivariant),
        };
        if !right {
            faults.add("4.4-kind", format!("{} in a playlist of the other kind", tag.name));
            continue;
        }
        lines.push(Line::Tag(tagged(tag, value, line, faults)));
    }
    lines
}

fn tagged<'a>(tag: &'static Tag, value: Option<&'a str>, text: &'a str, faults: &mut Faults) -> Tagged<'a> {
    let given = value.unwrap_or_default();
    let mut attributes = Attributes::default();
    match tag.form {
        Form::Bare if value.is_some() => {
            faults.add("4.1-tag-form", format!("{} carries {given:?}", tag.name));
        }
        Form::Int if given.is_empty() || !given.bytes().all(|byte| byte.is_ascii_digit()) => {
            faults.add("4.1-tag-form", format!("{}:{given} is no decimal integer", tag.name));
        }
        Form::List(known) => attributes = Attributes::read(tag, known, given, faults),
        Form::Bare | Form::Int | Form::Own => {}
    }
    Tagged { tag, value: given, attributes, text }
}
