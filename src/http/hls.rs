//! HLS over HTTP: playlists, initialisation segments and media segments, with validators, ranges and gzip.

pub(super) mod carry;

use super::api::not_on_air;
use super::door::{self, Visitor};
use super::reply::{self, Problem, Reply};
use super::request::Request;
use crate::app::App;
use crate::outputs::audience::PlayerKey;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use headers::{ETag, HeaderMapExt, IfNoneMatch, IfRange};
use skywave_media::hls::{Lookup, Resource};
use skywave_media::name::StreamName;
use std::io::Write;
use warp::http::HeaderValue;

/// Playlists smaller than this gain nothing from gzip.
const GZIP_MIN_BYTES: usize = 256;

/// `GET /hls/{stream}/{rest}`.
///
/// A visitor that shows its key in the URL gets playlists whose URIs carry it on, because players set no headers.
pub(super) fn get(
    app: &App,
    stream: &StreamName,
    rest: &str,
    visitor: &Visitor,
    request: &Request,
) -> Result<Reply, Problem> {
    let view = app.registry.hls(stream).ok_or_else(|| not_on_air(stream))?;
    let player = PlayerKey::new(visitor.address(), request.header("user-agent"));
    app.registry.note_hls_player(stream, player);
    match view.get(rest, &door::without_token(&request.query)) {
        Lookup::Found(resource) => Ok(for_visitor(resource, visitor, request)),
        Lookup::NotYet => {
            Err(Problem::new(404, "Not ready yet", format!("{stream} has just gone on air; try again"))
                .with_header("retry-after", "1"))
        }
        Lookup::NotFound => Err(Problem::new(404, "Not found", format!("{stream} has no {rest}"))),
        Lookup::Gone => Err(Problem::new(410, "Gone", format!("{rest} has left the window of {stream}"))),
    }
}

fn for_visitor(mut resource: Resource, visitor: &Visitor, request: &Request) -> Reply {
    if let (Some(query), true) = (visitor.carried_query(), is_playlist(&resource)) {
        resource.body = carry::add_query(&resource.body, &query);
    }
    let mut reply = found(&resource, request);
    if visitor.is_private() {
        // Shared caches would hand it to people without a key (RFC 9111 sections 3.5 and 5.2.2.7).
        let policy = resource.cache.header_value().replace("public", "private");
        reply.headers_mut().insert("cache-control", reply::header_value(&policy));
    }
    reply
}

/// The answer for a resource: 304 when the client has it, 206 for a range of it, gzip for a playlist.
fn found(resource: &Resource, request: &Request) -> Reply {
    let etag: Option<ETag> = resource.etag.parse().ok();
    let seen = request.headers.typed_get::<IfNoneMatch>();
    let mut reply = if seen.zip(etag.as_ref()).is_some_and(|(seen, etag)| !seen.precondition_passes(etag)) {
        reply::empty(304)
    } else {
        body(resource, etag.as_ref(), request)
    };
    let headers = reply.headers_mut();
    headers.insert("etag", reply::header_value(&resource.etag));
    headers.insert("cache-control", reply::header_value(&resource.cache.header_value()));
    reply
}

fn body(resource: &Resource, etag: Option<&ETag>, request: &Request) -> Reply {
    let whole = resource.body.clone();
    if is_playlist(resource) {
        let mut reply = if whole.len() >= GZIP_MIN_BYTES && accepts_gzip(request) {
            let mut reply = reply::with_type(200, resource.content_type, gzip(&whole));
            reply.headers_mut().insert("content-encoding", HeaderValue::from_static("gzip"));
            reply
        } else {
            reply::with_type(200, resource.content_type, whole)
        };
        reply.headers_mut().insert("vary", HeaderValue::from_static("accept-encoding"));
        return reply;
    }
    let length = whole.len() as u64;
    let mut reply = match wanted_range(request, etag, length) {
        Some(Ok((start, end))) => {
            let slice = whole.slice(start as usize..=end as usize);
            let mut reply = reply::with_type(206, resource.content_type, slice);
            let content_range = format!("bytes {start}-{end}/{length}");
            reply.headers_mut().insert("content-range", reply::header_value(&content_range));
            reply
        }
        Some(Err(())) => {
            let problem = Problem::new(416, "Range not satisfiable", format!("the file has {length} bytes"));
            problem.with_header("content-range", format!("bytes */{length}")).into_reply()
        }
        None => reply::with_type(200, resource.content_type, whole),
    };
    reply.headers_mut().insert("accept-ranges", HeaderValue::from_static("bytes"));
    reply
}

/// The one byte range asked for (RFC 9110 section 14.2), inclusive; `Err` when no byte of it exists.
/// Several ranges at once, units we do not know, or a range of another version of the file, are answered with the whole
/// file, as section 14.2 allows. (The `headers` crate refuses suffixes longer than the file, which players send.)
pub(super) fn wanted_range(
    request: &Request,
    etag: Option<&ETag>,
    length: u64,
) -> Option<Result<(u64, u64), ()>> {
    let (start, end) = request.header("range")?.strip_prefix("bytes=")?.trim().split_once('-')?;
    if let Some(condition) = request.headers.typed_get::<IfRange>()
        && condition.is_modified(etag, None)
    {
        return None;
    }
    let last = length.checked_sub(1)?;
    let number = |digits: &str| digits.parse::<u64>().ok();
    let (start, end) = match (start, end) {
        ("", suffix) => (length - number(suffix).filter(|n| *n > 0)?.min(length), last),
        (start, "") => (number(start)?, last),
        (start, end) => (number(start)?, number(end)?.min(last)),
    };
    Some(if start > end { Err(()) } else { Ok((start, end)) })
}

fn is_playlist(resource: &Resource) -> bool {
    resource.content_type == "application/vnd.apple.mpegurl"
}

fn accepts_gzip(request: &Request) -> bool {
    request.header("accept-encoding").is_some_and(|accepted| {
        accepted.split(',').any(|one| {
            let mut parts = one.split(';').map(str::trim);
            parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"))
                && !parts.any(|p| p == "q=0" || p == "q=0.0")
        })
    })
}

fn gzip(plain: &Bytes) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::fast());
    encoder.write_all(plain).and_then(|()| encoder.finish()).map_or_else(|_| plain.clone(), Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use skywave_media::hls::CachePolicy;
    use warp::http::{HeaderMap, Method};

    fn request(headers: &[(&'static str, &'static str)]) -> Request {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_static(value));
        }
        let body = stream::empty::<Result<Bytes, warp::Error>>();
        Request::new([127, 0, 0, 1].into(), Method::GET, "/".to_owned(), String::new(), map, body)
    }

    fn segment() -> Resource {
        Resource {
            content_type: "video/mp4",
            cache: CachePolicy::Immutable,
            etag: "\"abc\"".to_owned(),
            body: Bytes::from_static(b"0123456789"),
        }
    }

    #[test]
    fn one_range_is_answered_with_its_bytes() {
        for (asked, content_range, body) in [
            ("bytes=0-3", "bytes 0-3/10", "0123"),
            ("bytes=8-", "bytes 8-9/10", "89"),
            ("bytes=-2", "bytes 8-9/10", "89"),
            ("bytes=5-99", "bytes 5-9/10", "56789"),
            ("bytes=-99", "bytes 0-9/10", "0123456789"),
        ] {
            let reply = found(&segment(), &request(&[("range", asked)]));
            assert_eq!((reply.status().as_u16(), reply.body().whole()), (206, body.as_bytes()), "{asked}");
            assert_eq!(reply.headers()["content-range"], content_range);
        }
    }

    #[test]
    fn ranges_that_cannot_be_met_or_are_not_understood() {
        let reply = found(&segment(), &request(&[("range", "bytes=10-")]));
        assert_eq!(
            (reply.status().as_u16(), &reply.headers()["content-range"]),
            (416, &"bytes */10".parse().unwrap())
        );
        for whole in ["bytes=0-1,4-5", "lines=1-2", "bytes=x"] {
            assert_eq!(found(&segment(), &request(&[("range", whole)])).status(), 200, "{whole}");
        }
        let stale = request(&[("range", "bytes=0-3"), ("if-range", "\"old\"")]);
        assert_eq!(found(&segment(), &stale).status(), 200);
        let fresh = request(&[("range", "bytes=0-3"), ("if-range", "\"abc\"")]);
        assert_eq!(found(&segment(), &fresh).status(), 206);
    }

    #[test]
    fn what_the_client_has_is_not_sent_again() {
        let reply = found(&segment(), &request(&[("if-none-match", "\"x\", \"abc\"")]));
        assert_eq!((reply.status().as_u16(), reply.body().whole().len()), (304, 0));
        assert_eq!(reply.headers()["etag"], "\"abc\"");
        assert_eq!(reply.headers()["cache-control"], "public, max-age=31536000, immutable");
    }

    #[test]
    fn playlists_are_zipped_for_those_who_read_gzip() {
        let text = "#EXTM3U\n".repeat(100);
        let playlist = Resource {
            content_type: "application/vnd.apple.mpegurl",
            body: Bytes::from(text.clone()),
            ..segment()
        };
        let zipped = found(&playlist, &request(&[("accept-encoding", "br, gzip;q=0.8")]));
        assert_eq!(zipped.headers()["content-encoding"], "gzip");
        assert_eq!(zipped.headers()["vary"], "accept-encoding");
        let mut plain = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(zipped.body().whole()), &mut plain)
            .unwrap();
        assert_eq!(plain, text);
        let refused = found(&playlist, &request(&[("accept-encoding", "gzip;q=0")]));
        assert!(refused.headers().get("content-encoding").is_none());
        assert_eq!(refused.body().whole(), text.as_bytes());
    }
}
