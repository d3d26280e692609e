//! A reader of session descriptions: lines and sections, nothing that knows what they mean (that is [`crate::offer`]).
//!
//! Grammar: RFC 8866 section 5, as browsers write it (RFC 8829 section 5.2).

use crate::error::OfferError;

/// A session description, cut into its sections; every text is borrowed from the input.
#[derive(Debug)]
pub(crate) struct Sdp<'a> {
    pub(crate) session: Lines<'a>,
    pub(crate) media: Vec<MediaSection<'a>>,
}

/// One `m=` line and what follows it.
#[derive(Debug)]
pub(crate) struct MediaSection<'a> {
    /// `audio`, `video`, `application` ..
    pub(crate) media: &'a str,
    pub(crate) port: &'a str,
    pub(crate) protocol: &'a str,
    pub(crate) formats: &'a str,
    pub(crate) lines: Lines<'a>,
}

/// The lines of one section: type letter and value.
#[derive(Debug, Default)]
pub(crate) struct Lines<'a>(Vec<(u8, &'a str)>);

impl<'a> Lines<'a> {
    /// Values of all `a=name:value` lines with this name; `""` for a bare `a=name`.
    pub(crate) fn attributes(&self, name: &'a str) -> impl Iterator<Item = &'a str> + '_ {
        self.0.iter().filter(|(kind, _)| *kind == b'a').filter_map(move |(_, line)| {
            let rest = line.strip_prefix(name)?;
            if rest.is_empty() { Some("") } else { rest.strip_prefix(':') }
        })
    }

    /// The first of [`Lines::attributes`].
    pub(crate) fn attribute(&self, name: &'a str) -> Option<&'a str> {
        self.attributes(name).next()
    }

    /// Whether there is such an attribute, with or without a value.
    pub(crate) fn has(&self, name: &'a str) -> bool {
        self.attribute(name).is_some()
    }
}

impl<'a> Sdp<'a> {
    /// Cuts `text` into lines and sections.
    ///
    /// # Errors
    ///
    /// [`OfferError::NotSdp`] with the first line that breaks the grammar.
    pub(crate) fn parse(text: &'a str) -> Result<Self, OfferError> {
        Self::read(text, true)
    }

    /// Cuts a fragment of a description (RFC 8840 section 9.2): the same lines without `v=` at the head.
    ///
    /// # Errors
    ///
    /// [`OfferError::NotSdp`] with the first line that breaks the grammar.
    pub(crate) fn parse_fragment(text: &'a str) -> Result<Self, OfferError> {
        Self::read(text, false)
    }

    fn read(text: &'a str, whole: bool) -> Result<Self, OfferError> {
        let mut sdp = Sdp { session: Lines::default(), media: Vec::new() };
        for (index, raw) in text.trim_end_matches(['\r', '\n']).split('\n').enumerate() {
            let fault = |reason| OfferError::NotSdp { line: index + 1, reason };
            let line = raw.strip_suffix('\r').unwrap_or(raw);
            let (kind, value) = line.split_once('=').ok_or(fault("a line is a letter, `=` and a value"))?;
            let &[kind] = kind.as_bytes() else { return Err(fault("a line begins with one letter")) };
            if !kind.is_ascii_lowercase() {
                return Err(fault("a line begins with a small letter"));
            }
            if value.chars().any(char::is_control) {
                return Err(fault("a line has no control characters"));
            }
            match (index, kind) {
                (0, b'v') if value == "0" => {}
                (0, _) if whole => return Err(fault("the first line is v=0")),
                (_, b'm') => sdp.media.push(
                    MediaSection::parse(value).ok_or(fault("m= needs media, port, protocol and formats"))?,
                ),
                _ => sdp.media.last_mut().map_or(&mut sdp.session, |m| &mut m.lines).0.push((kind, value)),
            }
        }
        Ok(sdp)
    }
}

impl<'a> MediaSection<'a> {
    fn parse(value: &'a str) -> Option<Self> {
        let mut words = value.splitn(4, ' ');
        let section = Self {
            media: words.next()?,
            port: words.next()?,
            protocol: words.next()?,
            formats: words.next()?,
            lines: Lines::default(),
        };
        // `port/count` is for layered encodings, which nobody speaks here.
        section.port.parse::<u16>().ok()?;
        Some(section)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_belong_to_the_section_above_them() {
        let sdp = Sdp::parse("v=0\r\na=x:1\nm=audio 9 P 0 1\r\na=x\r\na=x:2\r\na=xy:3\r\n").unwrap();
        assert_eq!(sdp.session.attributes("x").collect::<Vec<_>>(), ["1"]);
        assert_eq!(sdp.media[0].lines.attributes("x").collect::<Vec<_>>(), ["", "2"]);
        assert_eq!((sdp.media[0].media, sdp.media[0].formats), ("audio", "0 1"));
    }

    #[test]
    fn the_first_line_that_is_wrong_is_named() {
        for (text, line) in [
            ("", 1),
            ("v=1", 1),
            ("o=x\nv=0", 1),
            ("v=0\n\ns=-", 2),
            ("v=0\ns=-\nhello", 3),
            ("v=0\nm=audio 9 X", 2),
        ] {
            assert!(
                matches!(Sdp::parse(text), Err(OfferError::NotSdp { line: l, .. }) if l == line),
                "{text:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_from_outside_makes_it_panic(text in "(v=0\r?\n)?([a-z]=[ -~\r\n]{0,40}\r?\n){0,20}|.{0,300}") {
            let _ = Sdp::parse(&text);
        }
    }
}
