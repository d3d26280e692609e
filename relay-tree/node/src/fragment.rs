//! Reads the body of a PATCH: `application/trickle-ice-sdpfrag` (RFC 8840 section 9).

use crate::sdp::{Lines, Sdp};
use crate::viewing::PatchError;

/// What a fragment says that matters to an ICE-lite server. Candidates do not: it answers whoever knows the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// The client's user fragment and password, when it tells them.
    pub(crate) credentials: Option<(String, String)>,
    /// Candidates and ends of candidates in it.
    pub(crate) candidates: usize,
}

/// Lines of a fragment; browsers send a handful.
const MAX_BYTES: usize = 16 * 1024;

impl Fragment {
    /// Reads a fragment.
    ///
    /// # Errors
    ///
    /// [`PatchError::BadFragment`] with what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, PatchError> {
        if text.len() > MAX_BYTES {
            return Err(PatchError::BadFragment("it is longer than any honest one"));
        }
        if text.trim().is_empty() {
            return Err(PatchError::BadFragment("it is empty"));
        }
        let sdp =
            Sdp::parse_fragment(text).map_err(|_| PatchError::BadFragment("it breaks SDP's grammar"))?;
        // A browser writes its credentials above the sections or into each of them; they are those of the bundle.
        let places = || std::iter::once(&sdp.session).chain(sdp.media.iter().map(|m| &m.lines));
        let ufrag = places().find_map(|lines| lines.attribute("ice-ufrag"));
        let pwd = places().find_map(|lines| lines.attribute("ice-pwd"));
        let credentials = match (ufrag, pwd) {
            (Some(ufrag), Some(pwd)) if crate::offer::legal_credentials(ufrag, pwd) => {
                Some((ufrag.to_owned(), pwd.to_owned()))
            }
            (None, None) => None,
            (Some(_), Some(_)) => {
                return Err(PatchError::BadFragment("its ice-ufrag or ice-pwd breaks RFC 8839 section 5.4"));
            }
            _ => return Err(PatchError::BadFragment("it has only one of ice-ufrag and ice-pwd")),
        };
        // RFC 8839 section 5.1 has at least foundation, component, transport, priority, address and port.
        let legal = |line: &str| line.split_ascii_whitespace().count() >= 6;
        if !places().all(|lines| lines.attributes("candidate").all(legal)) {
            return Err(PatchError::BadFragment("one of its a=candidate lines is cut short"));
        }
        let count = |lines: &Lines<'_>| {
            lines.attributes("candidate").count() + lines.attributes("end-of-candidates").count()
        };
        let candidates = places().map(count).sum();
        if credentials.is_none() && candidates == 0 {
            return Err(PatchError::BadFragment("it has neither candidates nor credentials"));
        }
        Ok(Self { credentials, candidates })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHROMIUM: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
        a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0\r\na=end-of-candidates\r\n";

    #[test]
    fn the_example_of_rfc_9725_is_read() {
        let fragment = Fragment::parse(CHROMIUM).unwrap();
        assert_eq!(fragment.credentials, Some(("EsAw".to_owned(), "P2uYro0UCOQ4zxjKXaWCBui1".to_owned())));
        assert_eq!(fragment.candidates, 2);
    }

    #[test]
    fn credentials_below_a_media_line_count_as_well() {
        let text =
            "m=audio 9 UDP/TLS/RTP/SAVPF 0\na=mid:0\na=ice-ufrag:abcd\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\n";
        assert!(Fragment::parse(text).unwrap().credentials.is_some());
    }

    #[test]
    fn what_is_no_fragment_is_refused_in_words() {
        for bad in [
            "",
            "\r\n",
            "hello",
            "{}",
            "a=ice-ufrag:abcd",
            "a=mid:0",
            "a=ice-ufrag:a\na=ice-pwd:b",
            "a=candidate:",
        ] {
            assert!(matches!(Fragment::parse(bad), Err(PatchError::BadFragment(_))), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_from_outside_makes_it_panic(text in "([a-z]=[ -~]{0,40}\r?\n){0,20}|.{0,300}") {
            let _ = Fragment::parse(&text);
        }
    }
}
