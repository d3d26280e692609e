//! Media types in `Accept` and `Content-Type` (RFC 9110 sections 8.3.1 and 12.5.1). Pure.

/// The type without its parameters, in lower case.
pub(super) fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether an `Accept` header takes `wanted`, a type in lower case.
pub(super) fn accepts(accept: &str, wanted: &str) -> bool {
    let group = wanted.split('/').next().unwrap_or_default();
    // The most precise range that covers the type decides (RFC 9110 section 12.5.1).
    let judged = accept.split(',').filter_map(|range| {
        let name = essence(range);
        let precision = match name.as_str() {
            "*/*" | "" => 0,
            name if name.strip_suffix("/*") == Some(group) => 1,
            name if name == wanted => 2,
            _ => return None,
        };
        let mut parameters = range.split(';').skip(1).map(|p| p.replace([' ', '\t'], ""));
        let refused = parameters.any(|p| p.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)));
        Some((precision, !refused))
    });
    judged.max().is_some_and(|(_, taken)| taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_ranges_that_cover_the_type_are_taken() {
        for yes in [
            "application/sdp",
            "*/*",
            "text/html, application/*;q=0.5",
            "APPLICATION/SDP",
            "*/*;q=0, application/sdp",
        ] {
            assert!(accepts(yes, "application/sdp"), "{yes}");
        }
        for no in [
            "text/html",
            "application/json, image/*",
            "application/sdp;q=0",
            "application/sdp; q=0.0",
            "*/*, application/sdp;q=0",
        ] {
            assert!(!accepts(no, "application/sdp"), "{no}");
        }
    }

    #[test]
    fn parameters_and_case_make_no_other_type() {
        assert_eq!(essence("Application/SDP ; charset=utf-8"), "application/sdp");
    }
}
