//! Names that people choose and that stand in URLs.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The longest stream name, in bytes.
pub const STREAM_NAME_MAX_BYTES: usize = 64;

/// The name of one broadcast: 1 to 64 of the characters that RFC 3986 section 2.3 calls unreserved,
/// so it stands in a URL as it is. `.` and `..` are refused: clients resolve them away.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamName(String);

impl StreamName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is no stream name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamNameError {
    /// Nothing, or more than 64 bytes.
    #[error("a stream name has 1 to {STREAM_NAME_MAX_BYTES} characters, this one has {0}")]
    Length(usize),
    /// A character that is not unreserved.
    #[error("a stream name is made of A-Z a-z 0-9 . _ ~ -, not {0:?}")]
    Character(char),
    /// `.` or `..`, which clients take for folders.
    #[error("a stream name is not \".\" or \"..\"")]
    Dots,
}

impl FromStr for StreamName {
    type Err = StreamNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unreserved = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '~' | '-');
        if let Some(bad) = text.chars().find(|&c| !unreserved(c)) {
            return Err(StreamNameError::Character(bad));
        }
        if text.is_empty() || text.len() > STREAM_NAME_MAX_BYTES {
            return Err(StreamNameError::Length(text.len()));
        }
        if text == "." || text == ".." {
            return Err(StreamNameError::Dots);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for StreamName {
    type Error = StreamNameError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<StreamName> for String {
    fn from(name: StreamName) -> Self {
        name.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_to_sixty_four_unreserved_characters() {
        for good in ["demo", "a", "A-b_c.d~9", &"x".repeat(64)] {
            assert_eq!(good.parse::<StreamName>().unwrap().as_str(), good);
        }
        assert_eq!("".parse::<StreamName>(), Err(StreamNameError::Length(0)));
        assert_eq!("x".repeat(65).parse::<StreamName>(), Err(StreamNameError::Length(65)));
        assert_eq!("a/b".parse::<StreamName>(), Err(StreamNameError::Character('/')));
        assert_eq!("ümlaut".parse::<StreamName>(), Err(StreamNameError::Character('ü')));
        assert_eq!("..".parse::<StreamName>(), Err(StreamNameError::Dots));
    }
}
