//! HLS over HTTP: playlists, initialisation segments, media segments and parts, with validators, ranges and compression. What is not
//! there yet but comes is waited for ([`crate::outputs::waiting`]).

pub(super) mod carry;
mod encoded;

use super::api::not_on_air;
use super::door::{self, Visitor};
use super::reply::{self, Problem, Reply};
use super::request::Request;
use crate::app::App;
use crate::outputs::audience::PlayerKey;
use crate::outputs::hls::{Answer, HlsDesk};
use encoded::Sharing;
use headers::{ETag, HeaderMapExt, IfNoneMatch, IfRange};
use skywave_media::hls::{Awaited, Lookup, Resource, Stored};
use skywave_media::name::StreamName;
use warp::http::HeaderValue;

/// How long caches may remember that something is not there (rfc8216bis appendix B.1 leaves it to the server; players ask again
/// within a part).
const NOT_THERE: &str = "public, max-age=1";

/// `GET /hls/{stream}/{rest}`.
///
/// A visitor that shows its key in the URL gets playlists whose URIs carry it on, because players set no headers.
pub(super) async fn get(
    app: &App,
    stream: &StreamName,
    rest: &str,
    visitor: &Visitor,
    request: &mut Request,
) -> Result<Reply, Problem> {
    let desk = app.registry.hls(stream).ok_or_else(|| not_on_air(stream))?;
    let player = PlayerKey::new(visitor.address(), request.header("user-agent"));
    app.registry.note_hls_player(stream, player);
    let query = door::without_token(&request.query);
    let answer = tokio::select! {
        answer = desk.get(rest, &query) => answer,
        () = app.stopped() => return Err(come_again("Server stops", "the server is on its way out")),
    };
    let found = match answer {
        Answer::Now(Lookup::Found(resource)) => resource,
        Answer::Now(Lookup::Stored(stored)) => read(&desk, stored, stream, rest).await?,
        Answer::Now(other) => return Err(missing(other, stream, rest)),
        Answer::Late(Awaited::Multivariant | Awaited::Beginning(_)) => {
            let words = format!("{stream} has just gone on air; try again");
            return Err(Problem::new(404, "Not ready yet", words).with_header("retry-after", "1"));
        }
        // rfc8216bis section 6.2.5.2: after three target durations.
        Answer::Late(Awaited::Playlist { .. } | Awaited::Part { .. }) => {
            let words = format!("nothing new has come of {stream}; its publisher may have left for a while");
            return Err(come_again("Nothing new", words));
        }
        Answer::Full(full) => return Err(come_again("Too many wait", full.to_string())),
    };
    app.registry.note_hls_player(stream, player);
    Ok(for_visitor(found, rest, &query, visitor, request))
}

fn come_again(title: &'static str, words: impl Into<String>) -> Problem {
    Problem::new(503, title, words).with_header("retry-after", "1")
}

/// The answer for what cannot be had.
fn missing(lookup: Lookup, stream: &StreamName, rest: &str) -> Problem {
    match lookup {
        Lookup::Refused(error) => Problem::new(400, "Bad query", error.to_string()),
        Lookup::Gone => Problem::new(410, "Gone", format!("{rest} has left the window of {stream}"))
            .with_header("cache-control", NOT_THERE),
        Lookup::BeginningGone => {
            let words = format!(
                "the beginning of {stream} has left its window (hls.dvr_ms): without type=event the window itself is listed"
            );
            Problem::new(410, "Beginning gone", words)
        }
        Lookup::Found(_) | Lookup::Stored(_) | Lookup::Later(_) | Lookup::NotFound => {
            Problem::new(404, "Not found", format!("{stream} has no {rest}"))
                .with_header("cache-control", NOT_THERE)
        }
    }
}

/// A segment from disk. It may have left the window since it was looked up.
async fn read(desk: &HlsDesk, stored: Stored, stream: &StreamName, rest: &str) -> Result<Resource, Problem> {
    match desk.read(desk.view().take(), &stored).await {
        Ok(body) => Ok(Resource { body, ..stored.resource }),
        Err(error) => {
            tracing::debug!(%stream, rest, %error, "a stored segment cannot be read");
            Err(missing(Lookup::Gone, stream, rest))
        }
    }
}

/// The resource as this visitor gets it: with its key carried on, and out of shared caches.
pub(super) fn for_visitor(
    mut resource: Resource,
    rest: &str,
    query: &str,
    visitor: &Visitor,
    request: &Request,
) -> Reply {
    let mut reply = if is_playlist(&resource) {
        let of_ours = if rest == "index.m3u8" { carry::to_media_playlists(query) } else { String::new() };
        let carried: Vec<String> = [Some(of_ours), visitor.carried_query()]
            .into_iter()
            .flatten()
            .filter(|q| !q.is_empty())
            .collect();
        let sharing = if carried.is_empty() { Sharing::Shared } else { Sharing::Private };
        if !carried.is_empty() {
            let carried = carried.join("&");
            resource.body = carry::add_query(&resource.body, &carried);
            // Other bytes, another tag: what is cached by it must not reach those with another key.
            resource.etag = carry::tag_with(&resource.etag, &carried);
        }
        encoded::reply(&resource, sharing, request)
    } else {
        found(&resource, request)
    };
    if visitor.is_private() {
        // Shared caches would hand it to people without a key (RFC 9111 sections 3.5 and 5.2.2.7).
        let policy = resource.cache.header_value().replace("public", "private");
        reply.headers_mut().insert("cache-control", reply::header_value(&policy));
    }
    reply
}

/// The answer for what is no playlist: 304 when the client has it, 206 for a range of it.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::Came;
    use bytes::Bytes;
    use skywave_media::hls::CachePolicy;
    use warp::http::{HeaderMap, Method};

    fn request(headers: &[(&'static str, &'static str)]) -> Request {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_static(value));
        }
        let came = Came { from: [127, 0, 0, 1].into(), redirect_to: None };
        Request::without_body(came, Method::GET, "/".to_owned(), String::new(), map)
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
}
