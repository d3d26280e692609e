//! The query of a playlist's URL: delivery directives (rfc8216bis section 6.2.5), and which part of the broadcast is wanted.

/// Which segments a playlist lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    /// The whole window (`?dvr=on`, or nothing).
    #[default]
    Window,
    /// The live edge alone (`?dvr=off`).
    Edge,
    /// Everything since the broadcast began, as an `EVENT` (`?type=event`).
    Event,
}

impl Scope {
    /// The query that asks for it, without `?`.
    pub(super) const fn query(self) -> &'static str {
        match self {
            Self::Window => "",
            Self::Edge => "dvr=off",
            Self::Event => "type=event",
        }
    }
}

/// Whether a delta update is wanted (`_HLS_skip`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Skip {
    /// The whole playlist.
    #[default]
    Nothing,
    /// `YES`: without old segments.
    Segments,
    /// `v2`: without old segments and old date ranges.
    DateRanges,
}

/// A query taken apart. What it does not know is no matter: caches are told apart by such words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) scope: Scope,
    pub(super) skip: Skip,
    /// `_HLS_msn`
    pub(super) msn: Option<u64>,
    /// `_HLS_part`
    pub(super) part: Option<u64>,
}

/// Why a query is nonsense, in words for who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Not a decimal integer.
    #[error("{name} must be a whole number of at most 18 digits, not {value:?}")]
    Number {
        /// The parameter.
        name: &'static str,
        /// What it was given.
        value: String,
    },
    /// rfc8216bis section 6.2.5.2: a part of no segment.
    #[error("_HLS_part needs _HLS_msn beside it")]
    PartAlone,
    /// Another word than those it takes.
    #[error("{name} must be {takes}, not {value:?}")]
    Word {
        /// The parameter.
        name: &'static str,
        /// What it takes.
        takes: &'static str,
        /// What it was given.
        value: String,
    },
    /// rfc8216bis section 6.2.5.2: more than two segments, or more than the advance part limit, ahead.
    #[error("the playlist ends with segment {last_msn}; {asked} is too far ahead to wait for")]
    TooFarAhead {
        /// The last complete segment; -1 when there is none yet.
        last_msn: i64,
        /// What was asked for.
        asked: String,
    },
}

impl Query {
    /// Reads what follows `?`. The last of several equal names counts.
    pub(super) fn parse(query: &str) -> Result<Self, QueryError> {
        let mut read = Self::default();
        let (mut dvr, mut event) = (true, false);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "_HLS_msn" => read.msn = Some(number("_HLS_msn", value)?),
                "_HLS_part" => read.part = Some(number("_HLS_part", value)?),
                // rfc8216bis section 6.2.5.1 knows two values; others ask for nothing.
                "_HLS_skip" => {
                    read.skip = match value {
                        "YES" => Skip::Segments,
                        "v2" => Skip::DateRanges,
                        _ => Skip::Nothing,
                    }
                }
                "dvr" => {
                    dvr = match value {
                        "on" | "1" | "true" | "yes" => true,
                        "off" | "0" | "false" | "no" => false,
                        _ => return Err(word("dvr", "on or off", value)),
                    }
                }
                "type" => {
                    event = match value {
                        "event" | "EVENT" => true,
                        "live" => false,
                        _ => return Err(word("type", "event or live", value)),
                    }
                }
                _ => {}
            }
        }
        if read.part.is_some() && read.msn.is_none() {
            return Err(QueryError::PartAlone);
        }
        read.scope = match (event, dvr) {
            (true, _) => Scope::Event,
            (false, true) => Scope::Window,
            (false, false) => Scope::Edge,
        };
        Ok(read)
    }
}

fn number(name: &'static str, value: &str) -> Result<u64, QueryError> {
    let plain = (1..=18).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit());
    let read = if plain { value.parse().ok() } else { None };
    read.ok_or_else(|| QueryError::Number { name, value: shortened(value) })
}

fn word(name: &'static str, takes: &'static str, value: &str) -> QueryError {
    QueryError::Word { name, takes, value: shortened(value) }
}

fn shortened(value: &str) -> String {
    value.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_and_scopes_are_read() {
        let read = Query::parse("_HLS_msn=12&_HLS_part=3&_HLS_skip=v2&dvr=off&cachebuster").unwrap();
        let expected = Query { scope: Scope::Edge, skip: Skip::DateRanges, msn: Some(12), part: Some(3) };
        assert_eq!(read, expected);
        assert_eq!(Query::parse("").unwrap(), Query::default());
        assert_eq!(Query::parse("type=event&dvr=off").unwrap().scope, Scope::Event);
        assert_eq!(Query::parse("_HLS_skip=maybe").unwrap().skip, Skip::Nothing);
        assert_eq!(Query::parse("_HLS_msn=1&_HLS_msn=2").unwrap().msn, Some(2));
    }

    #[test]
    fn nonsense_is_told() {
        for bad in [
            "_HLS_part=1",
            "_HLS_msn=",
            "_HLS_msn",
            "_HLS_msn=-1",
            "_HLS_msn=+1",
            "_HLS_msn=1.5",
            "_HLS_msn=x",
            "_HLS_msn=1&_HLS_part=x",
            "_HLS_msn=9999999999999999999",
            "dvr=maybe",
            "type=vod",
        ] {
            assert!(Query::parse(bad).is_err(), "{bad}");
        }
    }
}
