//! Puts a key into every URI of a playlist (RFC 8216 section 4.1: lines that are URIs, and `URI` attributes of tags). Pure.

use bytes::Bytes;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The playlist with `query` (without `?`) at the end of the query of every URI.
pub(in crate::http) fn add_query(playlist: &Bytes, query: &str) -> Bytes {
    let Ok(text) = std::str::from_utf8(playlist) else { return playlist.clone() };
    let mut out = String::with_capacity(text.len() + 32 * query.len());
    for line in text.split_inclusive('\n') {
        let (content, end) = line.split_at(line.trim_end_matches(['\r', '\n']).len());
        if content.starts_with("#EXT") {
            add_to_tag(&mut out, content, query);
        } else if content.is_empty() || content.starts_with('#') {
            out.push_str(content);
        } else {
            add_to_uri(&mut out, content, query);
        }
        out.push_str(end);
    }
    Bytes::from(out)
}

/// What of the multivariant playlist's query holds for the media playlists as well: delivery directives (rfc8216bis
/// section 6.2.5) and this server's own words, as far as they are plain words.
pub(super) fn to_media_playlists(query: &str) -> String {
    let plain =
        |value: &str| (1..=20).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_alphanumeric());
    let carried = query.split('&').filter(|pair| {
        pair.split_once('=').is_some_and(|(name, value)| {
            matches!(name, "dvr" | "type" | "_HLS_msn" | "_HLS_part" | "_HLS_skip") && plain(value)
        })
    });
    carried.collect::<Vec<_>>().join("&")
}

/// An entity tag for the bytes that carry this query.
pub(super) fn tag_with(etag: &str, query: &str) -> String {
    let mut hasher = DefaultHasher::new();
    query.hash(&mut hasher);
    format!("{}-{:016x}\"", etag.trim_end_matches('"'), hasher.finish())
}

/// `#EXT-X-MAP:URI="init.mp4",BYTERANGE=..`: attributes whose name is `URI`, or ends with it as `X-ASSET-URI` does.
fn add_to_tag(out: &mut String, tag: &str, query: &str) {
    const ATTRIBUTE: &str = "URI=\"";
    let mut rest = tag;
    while let Some(at) = rest.find(ATTRIBUTE) {
        let (before, value) = rest.split_at(at + ATTRIBUTE.len());
        out.push_str(before);
        let (uri, after) = value.split_at(value.find('"').unwrap_or(value.len()));
        add_to_uri(out, uri, query);
        rest = after;
    }
    out.push_str(rest);
}

fn add_to_uri(out: &mut String, uri: &str, query: &str) {
    out.push_str(uri);
    out.push(if uri.contains('?') { '&' } else { '?' });
    out.push_str(query);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_uri_carries_the_key_and_nothing_else_changes() {
        let playlist = "#EXTM3U\n#EXT-X-VERSION:9\n\
            #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"Sound\",URI=\"audio/index.m3u8\",DEFAULT=YES\n\
            #EXT-X-STREAM-INF:BANDWIDTH=1000,AUDIO=\"a\"\nsource/index.m3u8?x=1\n\
            #EXT-X-MAP:URI=\"init-1.mp4\"\n# a comment with URI=\"x\"\n\
            #EXT-X-PART:DURATION=0.2,URI=\"1.0.m4s\",INDEPENDENT=YES\n#EXTINF:2,\r\n1.m4s\r\n\
            #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"2.0.m4s\"\n#EXT-X-RENDITION-REPORT:URI=\"../audio/index.m3u8\",LAST-MSN=1\n";
        let expected = playlist
            .replace("audio/index.m3u8\"", "audio/index.m3u8?token=k\"")
            .replace("?x=1", "?x=1&token=k")
            .replace("init-1.mp4", "init-1.mp4?token=k")
            .replace(".m4s", ".m4s?token=k");
        let carried = add_query(&Bytes::from_static(playlist.as_bytes()), "token=k");
        assert_eq!(std::str::from_utf8(&carried).unwrap(), expected);
    }

    #[test]
    fn own_words_and_directives_are_carried_and_nothing_else() {
        assert_eq!(to_media_playlists("dvr=off&x=1&_HLS_skip=YES&type=\"><"), "dvr=off&_HLS_skip=YES");
        assert_eq!(to_media_playlists(""), "");
    }

    #[test]
    fn each_carried_query_has_its_tag() {
        let tag = tag_with("\"t-r1\"", "token=a");
        assert!(tag.starts_with("\"t-r1-") && tag.ends_with('"') && tag.matches('"').count() == 2, "{tag}");
        assert_ne!(tag, tag_with("\"t-r1\"", "token=b"));
    }

    #[test]
    fn a_playlist_without_a_last_line_end_stays_so() {
        assert_eq!(add_query(&Bytes::from_static(b"#EXTM3U\na.m4s"), "token=k"), "#EXTM3U\na.m4s?token=k");
    }
}
