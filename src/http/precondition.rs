//! `If-Match` of a PATCH (RFC 9110 section 13.1.1, RFC 9725 section 4.3.1). Pure.

use warp::http::HeaderMap;

/// What a request demands of the entity tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum IfMatch {
    /// Nothing: there is no such header.
    Missing,
    /// Whatever it is, as long as there is one: `*`.
    Any,
    /// To be one of these strong tags, each with its quotes. Weak ones never match, because the comparison is the strong one.
    Tags(Vec<String>),
}

/// The header breaks the grammar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("If-Match must be * or a list of entity tags in quotes, such as \"xyzzy\" (RFC 9110 section 13.1.1)")]
pub(super) struct BadIfMatch;

/// Reads the header, which may stand on several lines.
pub(super) fn if_match(headers: &HeaderMap) -> Result<IfMatch, BadIfMatch> {
    let lines: Result<Vec<&str>, _> = headers.get_all("if-match").iter().map(|line| line.to_str()).collect();
    let lines = lines.map_err(|_| BadIfMatch)?;
    if lines.is_empty() {
        return Ok(IfMatch::Missing);
    }
    let text = lines.join(",");
    // RFC 9725 itself prints `If-Match: "*"` in its example of an ICE restart (section 4.3.3), and clients have copied it.
    if matches!(text.trim(), "*" | "\"*\"") {
        return Ok(IfMatch::Any);
    }
    let mut rest = text.trim();
    let mut strong = Vec::new();
    while !rest.is_empty() {
        let (is_weak, opaque) = rest.strip_prefix("W/").map_or((false, rest), |opaque| (true, opaque));
        let inside = opaque.strip_prefix('"').ok_or(BadIfMatch)?;
        let (tag, after) = inside.split_once('"').ok_or(BadIfMatch)?;
        if tag.contains(|c: char| c <= ' ' || c == '\u{7f}') {
            return Err(BadIfMatch);
        }
        if !is_weak {
            strong.push(format!("\"{tag}\""));
        }
        let after = after.trim_start();
        // Empty list elements are allowed (RFC 9110 section 5.6.1.2).
        let next = after.trim_start_matches([',', ' ', '\t']);
        if !after.is_empty() && !after.starts_with(',') {
            return Err(BadIfMatch);
        }
        rest = next;
    }
    Ok(IfMatch::Tags(strong))
}

impl IfMatch {
    /// The one tag of the list that counts for a session whose tag was `current` when it was last told; the node, which knows the tag of this very
    /// moment, has the last word. `None` when no tag could match any.
    pub(super) fn for_session(self, current: &str) -> Option<Option<String>> {
        match self {
            Self::Missing => Some(None),
            Self::Any => Some(Some("*".to_owned())),
            Self::Tags(tags) => {
                let fits = tags.iter().find(|tag| *tag == current).cloned();
                fits.or_else(|| tags.into_iter().next()).map(Some)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp::http::HeaderValue;

    fn read(lines: &[&str]) -> Result<IfMatch, BadIfMatch> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("if-match", HeaderValue::from_str(line).unwrap());
        }
        if_match(&headers)
    }

    fn tags(tags: &[&str]) -> Result<IfMatch, BadIfMatch> {
        Ok(IfMatch::Tags(tags.iter().map(|tag| format!("\"{tag}\"")).collect()))
    }

    #[test]
    fn lists_stars_and_weak_tags() {
        assert_eq!(read(&[]), Ok(IfMatch::Missing));
        assert_eq!(read(&["*"]), Ok(IfMatch::Any));
        assert_eq!(read(&["\"*\""]), Ok(IfMatch::Any));
        assert_eq!(read(&["\"a\""]), tags(&["a"]));
        assert_eq!(read(&["\"a\", \"b\"", "\"c\""]), tags(&["a", "b", "c"]));
        assert_eq!(read(&["W/\"a\""]), tags(&[]));
        assert_eq!(read(&["W/\"a\" ,, \"b,c\" "]), tags(&["b,c"]));
    }

    #[test]
    fn what_is_no_tag_is_refused() {
        for bad in ["abc", "\"a", "\"a\" \"b\"", "\"a b\"", "w/\"a\"", "*, \"a\"", "\"a\"x"] {
            assert_eq!(read(&[bad]), Err(BadIfMatch), "{bad}");
        }
    }

    #[test]
    fn the_tag_that_fits_is_the_one_that_counts() {
        let list = read(&["\"a\", \"b\""]).unwrap();
        assert_eq!(list.clone().for_session("\"b\""), Some(Some("\"b\"".to_owned())));
        assert_eq!(list.for_session("\"z\""), Some(Some("\"a\"".to_owned())));
        assert_eq!(read(&["W/\"a\""]).unwrap().for_session("\"a\""), None);
        assert_eq!(IfMatch::Missing.for_session("\"a\""), Some(None));
        assert_eq!(IfMatch::Any.for_session("\"a\""), Some(Some("*".to_owned())));
    }
}
