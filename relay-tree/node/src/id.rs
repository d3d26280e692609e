//! The name of a session: what a client must know to end it.

use rand::TryRngCore;
use std::fmt;
use std::str::FromStr;

/// Random bytes in a session's name: as much as in a key, because knowing the name is the right to end the session.
const BYTES: usize = 16;

/// One WHIP or WHEP session. 128 random bits as 32 hex digits: unguessable and safe in a URL.
///
/// The name is a key, so it cannot be displayed: [`SessionId::as_str`] is for URLs, [`SessionId::short`] for logs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(String);

/// A string that is no session's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a session is named by 32 lower-case hex digits")]
pub struct BadSessionId;

impl SessionId {
    /// A new name: for a session of this node, and for a publisher that comes another way than by WebRTC.
    #[must_use]
    pub fn random() -> Self {
        Self(random_hex(BYTES))
    }

    /// The name, as it stands in the session's URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `bytes` random bytes of the system's generator, as lower-case hex digits.
pub(crate) fn random_hex(bytes: usize) -> String {
    let mut raw = vec![0; bytes];
    rand::rngs::OsRng.try_fill_bytes(&mut raw).expect("the kernel hands out random bytes");
    raw.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl fmt::Debug for SessionId {
    /// The first eight digits only: enough to find a session in a log, too little to end it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({}..)", self.short())
    }
}

impl SessionId {
    /// The first eight digits: what belongs into logs, for the whole name is a key.
    pub fn short(&self) -> &str {
        &self.0[..8]
    }
}

impl FromStr for SessionId {
    type Err = BadSessionId;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if s.len() == 2 * BYTES && s.bytes().all(hex) { Ok(Self(s.to_owned())) } else { Err(BadSessionId) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_their_own_text_and_nothing_else_is_a_name() {
        let id = SessionId::random();
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        assert_ne!(id, SessionId::random());
        let upper = id.as_str().to_uppercase().replace(|c: char| c.is_ascii_digit(), "A");
        for bad in [
            "",
            "x",
            &id.as_str()[1..],
            &format!("{}0", id.as_str()),
            &upper,
            "../../../../../../../../etc/pwd0",
        ] {
            assert_eq!(bad.parse::<SessionId>(), Err(BadSessionId), "{bad}");
        }
    }

    #[test]
    fn a_log_line_does_not_give_the_name_away() {
        let id = SessionId::random();
        assert!(!format!("{id:?}").contains(&id.as_str()[8..]));
    }
}
