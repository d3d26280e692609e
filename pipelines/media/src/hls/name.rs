//! Names that go into paths, checked once.

use std::fmt;

/// Why a name was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be 1 to {max} characters of {allowed}, and not begin with a dot")]
pub struct NameError {
    what: &'static str,
    max: usize,
    allowed: &'static str,
}

/// The name of a rendition as it stands in URLs: `source`, `720p`, `audio`. 1 to 32 of `[A-Za-z0-9._-]`, not beginning
/// with a dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RenditionName(String);

impl RenditionName {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// A character or length that may not stand in a path.
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        let error = NameError { what: "a rendition name", max: 32, allowed: "A-Z a-z 0-9 . _ -" };
        match is_plain(&name, 32, b"._-") {
            true => Ok(Self(name)),
            false => Err(error),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RenditionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names one take of a stream in segment URLs, so that no cache ever mixes two takes. 1 to 16 of `[A-Za-z0-9]`; the caller
/// makes sure it is new with every take (a random or time-based word).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TakeId(String);

impl TakeId {
    /// Checks and takes an id.
    ///
    /// # Errors
    /// A character or length that may not stand in a path.
    pub fn new(id: impl Into<String>) -> Result<Self, NameError> {
        let id = id.into();
        let error = NameError { what: "a take id", max: 16, allowed: "A-Z a-z 0-9" };
        match is_plain(&id, 16, b"") {
            true => Ok(Self(id)),
            false => Err(error),
        }
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TakeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_plain(name: &str, max: usize, punctuation: &[u8]) -> bool {
    (1..=max).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || punctuation.contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_never_leaves_its_folder() {
        for good in ["source", "720p", "audio-en", "a.b", "x_y", &"n".repeat(32)] {
            assert_eq!(RenditionName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", ".hidden", "a/b", "a b", "ä", "a\"b", "a\n", &"n".repeat(33)] {
            assert!(RenditionName::new(bad).is_err(), "{bad:?}");
        }
        assert!(TakeId::new("7fK3").is_ok());
        assert!(TakeId::new("7f-K3").is_err());
    }
}
