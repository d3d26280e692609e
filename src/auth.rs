//! Who may publish and watch: keys, their hashes, and the rules that name them. Pure but for making keys.
//!
//! A key is a long random word that a client sends (as Bearer, or as `?token=` where it can set no header); the configuration holds
//! only hashes. How a request shows its key, and what it is answered without one, stands in [`crate::http`].

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRngCore;
use serde::{Deserialize, Serialize};
use skywave_media::name::StreamName;
use std::fmt;
use std::str::FromStr;

/// Random bytes of a new key.
const KEY_BYTES: usize = 32;

/// Shorter keys are refused: see [`KeyHash`].
const KEY_MIN_CHARS: usize = 20;

/// What stands before the digits of a hash.
const SCHEME: &str = "sha256:";

/// The SHA-256 of a key, as the configuration holds it: `sha256:` and 64 hex digits.
///
/// One round of SHA-256 is right here because keys are not passwords: `skywave token new` makes them of 256 random bits, and
/// nobody can try out 2^256 of them. Slow hashes (argon2, bcrypt) make up for the guessable secrets of people, and would cost
/// tens of milliseconds for every playlist request.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct KeyHash([u8; 32]);

/// Why a text is no key or no hash of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    #[error(
        "{0:?} is no hash of a key: it begins with \"sha256:\" and has 64 hex digits; `skywave token new` makes one"
    )]
    Hash(String),
    #[error(
        "a key has at least {KEY_MIN_CHARS} characters, this one has {0}; `skywave token new` makes a good one"
    )]
    TooShort(usize),
    #[error("a key is made of A-Z a-z 0-9 - . _ ~ + / with = at its end (RFC 6750 section 2.1), not {0:?}")]
    Character(char),
}

/// Makes a key: 256 random bits in 43 characters, which need no escape in a header or a URL.
pub(crate) fn new_key() -> String {
    let mut raw = [0; KEY_BYTES];
    rand::rngs::OsRng.try_fill_bytes(&mut raw).expect("the kernel hands out random bytes");
    URL_SAFE_NO_PAD.encode(raw)
}

/// Refuses what cannot be sent as a Bearer token, and what could be guessed.
pub(crate) fn check_key(key: &str) -> Result<(), KeyError> {
    let of_token = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
    match key.trim_end_matches('=').chars().find(|&c| !of_token(c)) {
        Some(bad) => Err(KeyError::Character(bad)),
        None if key.len() < KEY_MIN_CHARS => Err(KeyError::TooShort(key.len())),
        None => Ok(()),
    }
}

impl KeyHash {
    /// The hash of a key.
    pub(crate) fn of(key: &str) -> Self {
        Self(openssl::sha::sha256(key.as_bytes()))
    }

    /// Whether both are of one key, in a time that tells nothing about where they differ.
    pub(crate) fn matches(&self, other: &Self) -> bool {
        openssl::memcmp::eq(&self.0, &other.0)
    }
}

impl FromStr for KeyHash {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let wrong = || KeyError::Hash(text.to_owned());
        let digits = text.strip_prefix(SCHEME).ok_or_else(wrong)?;
        let mut hash = [0; 32];
        if digits.len() != 2 * hash.len() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(hash))
    }
}

impl TryFrom<String> for KeyHash {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> Self {
        hash.to_string()
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What somebody wants of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Feed it.
    Publish,
    /// Watch it, in whatever way.
    View,
}

/// `[[access]]`: who may publish and watch the streams of one name or pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccessRule {
    /// The streams it is about.
    pub(crate) stream: StreamPattern,
    /// Keys that may publish; `None` lets everybody, an empty list nobody.
    pub(crate) publish: Option<Vec<KeyHash>>,
    /// Keys that may watch, likewise.
    pub(crate) view: Option<Vec<KeyHash>>,
}

/// A stream name, or the beginning of names with a `*` after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct StreamPattern(String);

impl StreamPattern {
    /// Whether the stream is one of them.
    pub(crate) fn covers(&self, stream: &StreamName) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => stream.as_str().starts_with(beginning),
            None => stream.as_str() == self.0,
        }
    }
}

impl TryFrom<String> for StreamPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // A beginning may be one that no whole name is, such as "." or nothing at all.
        let name = text.strip_suffix('*').map_or_else(|| text.clone(), |beginning| format!("{beginning}x"));
        match name.parse::<StreamName>() {
            Ok(_) => Ok(Self(text)),
            Err(error) => Err(format!("{text:?}: {error}; a `*` may stand at the end")),
        }
    }
}

impl From<StreamPattern> for String {
    fn from(pattern: StreamPattern) -> Self {
        pattern.0
    }
}

/// Who may do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowed<'a> {
    /// Whoever asks.
    Everybody,
    /// Who shows one of these keys; nobody when there are none.
    Keys(&'a [KeyHash]),
}

/// Why somebody may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No key was shown.
    KeyMissing,
    /// The key shown is not one that may.
    KeyUnknown,
}

/// Who may do `action` with `stream`. The first rule that covers the stream counts. Without any rule everybody may (such a server
/// listens on loopback, or has been told that this is meant); once there are rules, what none of them covers is closed.
pub(crate) fn allowed<'a>(rules: &'a [AccessRule], action: Action, stream: &StreamName) -> Allowed<'a> {
    if rules.is_empty() {
        return Allowed::Everybody;
    }
    let Some(rule) = rules.iter().find(|rule| rule.stream.covers(stream)) else { return Allowed::Keys(&[]) };
    let keys = match action {
        Action::Publish => &rule.publish,
        Action::View => &rule.view,
    };
    keys.as_deref().map_or(Allowed::Everybody, Allowed::Keys)
}

impl Allowed<'_> {
    /// Judges the key that somebody shows.
    pub(crate) fn judge(self, shown: Option<&KeyHash>) -> Result<(), Refusal> {
        let Self::Keys(keys) = self else { return Ok(()) };
        let shown = shown.ok_or(Refusal::KeyMissing)?;
        // All of them are compared, whichever fits: the time tells nothing.
        let fits = keys.iter().fold(false, |fits, key| fits | key.matches(shown));
        if fits { Ok(()) } else { Err(Refusal::KeyUnknown) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> StreamName {
        text.parse().unwrap()
    }

    fn rules(text: &str) -> Vec<AccessRule> {
        #[derive(Deserialize)]
        struct File {
            access: Vec<AccessRule>,
        }
        toml::from_str::<File>(text).unwrap().access
    }

    #[test]
    fn the_hash_is_sha_256_in_hex() {
        // FIPS 180-2 appendix B.1.
        let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(KeyHash::of("abc").to_string(), abc);
        assert_eq!(abc.parse(), Ok(KeyHash::of("abc")));
        assert_eq!(abc.to_uppercase().replace("SHA256", "sha256").parse(), Ok(KeyHash::of("abc")));
        for bad in
            ["", "sha256:", &abc[7..], &abc[..abc.len() - 1], &format!("{abc}0"), &abc.replace('b', "g")]
        {
            assert_eq!(bad.parse::<KeyHash>(), Err(KeyError::Hash(bad.to_owned())));
        }
        assert!(KeyHash::of("abc").matches(&KeyHash::of("abc")));
        assert!(!KeyHash::of("abc").matches(&KeyHash::of("abd")));
    }

    #[test]
    fn new_keys_are_long_differ_and_can_be_sent() {
        let (one, other) = (new_key(), new_key());
        assert_ne!(one, other);
        assert_eq!((one.len(), check_key(&one)), (43, Ok(())));
        assert_eq!(check_key("short"), Err(KeyError::TooShort(5)));
        assert_eq!(check_key("a key with blanks is no token"), Err(KeyError::Character(' ')));
        assert_eq!(check_key("c29tZSBiYXNlNjQgd29yZHM="), Ok(()));
    }

    #[test]
    fn the_first_rule_that_covers_a_stream_counts() {
        let key = KeyHash::of("k");
        let rules = rules(&format!(
            "[[access]]\nstream = \"demo\"\npublish = [\"{key}\"]\n\
             [[access]]\nstream = \"de*\"\nview = []\n[[access]]\nstream = \"*\"\npublish = []\n"
        ));
        let of = |action, stream| allowed(&rules, action, &name(stream));
        assert_eq!(of(Action::Publish, "demo"), Allowed::Keys(std::slice::from_ref(&key)));
        assert_eq!(of(Action::View, "demo"), Allowed::Everybody);
        assert_eq!(
            (of(Action::Publish, "demo2"), of(Action::View, "demo2")),
            (Allowed::Everybody, Allowed::Keys(&[]))
        );
        assert_eq!(
            (of(Action::Publish, "x"), of(Action::View, "x")),
            (Allowed::Keys(&[]), Allowed::Everybody)
        );
    }

    #[test]
    fn without_rules_all_is_open_and_with_rules_the_rest_is_closed() {
        assert_eq!(allowed(&[], Action::View, &name("x")), Allowed::Everybody);
        let rules = rules("[[access]]\nstream = \"demo\"\n");
        assert_eq!(allowed(&rules, Action::View, &name("demo")), Allowed::Everybody);
        assert_eq!(allowed(&rules, Action::View, &name("other")), Allowed::Keys(&[]));
    }

    #[test]
    fn keys_open_what_they_are_for_and_nothing_else() {
        let keys = [KeyHash::of("one"), KeyHash::of("two")];
        assert_eq!(Allowed::Keys(&keys).judge(Some(&KeyHash::of("two"))), Ok(()));
        assert_eq!(Allowed::Keys(&keys).judge(Some(&KeyHash::of("three"))), Err(Refusal::KeyUnknown));
        assert_eq!(Allowed::Keys(&keys).judge(None), Err(Refusal::KeyMissing));
        assert_eq!(Allowed::Keys(&[]).judge(Some(&keys[0])), Err(Refusal::KeyUnknown));
        assert_eq!(Allowed::Everybody.judge(None), Ok(()));
    }

    #[test]
    fn patterns_are_names_with_a_star_at_the_end() {
        for good in ["demo", "demo*", "*", ".*"] {
            assert!(StreamPattern::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["", "a*b", "**", "a b", "."] {
            assert!(StreamPattern::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
