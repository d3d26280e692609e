//! Errors to statuses, once: every error is `application/problem+json` (RFC 9457) with a reason a person can act on.

use super::path::PathError;
use crate::registry::Refused;
use crate::sessions::NoPlace;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use relay_node::{OfferError, WatchError};
use serde_json::json;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use warp::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

/// Headers that an answer has: four of CORS, and those of a playlist or a segment.
const HEADERS: usize = 12;

/// An answer.
pub(super) type Reply = Response<Body>;

/// What an answer carries.
pub(super) enum Body {
    /// Known as a whole, shared with whoever else gets it; sent with its length.
    Whole(Bytes),
    /// Sent piece by piece as the stream yields it, for as long as the client listens. The stream has to end when the server
    /// stops ([`crate::app::App::stopped`]), or the connection is cut.
    Stream(Pin<Box<dyn Stream<Item = Bytes> + Send + Sync>>),
}

impl Body {
    /// The bytes of a whole body; none of a streamed one.
    #[cfg(test)]
    pub(super) fn whole(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Stream(_) => &[],
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(bytes) => write!(f, "Whole({} bytes)", bytes.len()),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// The answer as warp sends it.
pub(super) fn into_warp(reply: Reply) -> warp::reply::Response {
    let (parts, body) = reply.into_parts();
    let mut sent = match body {
        Body::Whole(bytes) => warp::Reply::into_response(Response::new(bytes)),
        Body::Stream(pieces) => {
            warp::Reply::into_response(warp::reply::stream(pieces.map(Ok::<_, Infallible>)))
        }
    };
    *sent.status_mut() = parts.status;
    *sent.headers_mut() = parts.headers;
    sent
}

/// What went wrong with a request, in words for who made it.
#[derive(Debug)]
pub(super) struct Problem {
    status: u16,
    title: &'static str,
    detail: String,
    headers: Vec<(&'static str, String)>,
}

impl Problem {
    /// An answer with `status`; `title` names the kind, `detail` says what to do about this one.
    pub(super) fn new(status: u16, title: &'static str, detail: impl Into<String>) -> Self {
        Self { status, title, detail: detail.into(), headers: Vec::new() }
    }

    /// The same with one more header.
    pub(super) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The status code.
    pub(super) const fn status(&self) -> u16 {
        self.status
    }

    /// The kind.
    pub(super) const fn title(&self) -> &'static str {
        self.title
    }

    /// What to do about it.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// The answer to send.
    pub(super) fn into_reply(self) -> Reply {
        let body = json!({
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        });
        let mut reply = with_type(self.status, "application/problem+json", Bytes::from(body.to_string()));
        let headers = reply.headers_mut();
        headers.insert("cache-control", HeaderValue::from_static("no-store"));
        for (name, value) in self.headers {
            headers.insert(HeaderName::from_static(name), header_value(&value));
        }
        reply
    }
}

impl From<PathError> for Problem {
    fn from(error: PathError) -> Self {
        match error {
            PathError::Unknown => Self::new(404, "Not found", error.to_string()),
            PathError::Escape => Self::new(400, "Bad address", error.to_string()),
            PathError::StreamName(_) => Self::new(400, "Bad stream name", error.to_string()),
        }
    }
}

impl From<OfferError> for Problem {
    fn from(error: OfferError) -> Self {
        if error.is_clients_fault() {
            return Self::new(400, "Offer refused", error.to_string());
        }
        Self::new(503, "Server is full", error.to_string()).with_header("retry-after", "5")
    }
}

impl From<Refused> for Problem {
    fn from(error: Refused) -> Self {
        let words = error.to_string();
        match error {
            Refused::NoPlace(NoPlace::Address { .. }) => {
                Self::new(429, "Too many sessions", words).with_header("retry-after", "10")
            }
            Refused::NoPlace(NoPlace::Stream { .. }) => {
                Self::new(503, "Stream is full", words).with_header("retry-after", "10")
            }
            Refused::Publish(error) | Refused::Watch(WatchError::Offer(error)) => error.into(),
            Refused::Watch(WatchError::NotOnAir) => {
                Self::new(404, "Nothing on air", words).with_header("retry-after", "2")
            }
            Refused::Watch(_) => Self::new(503, "Stream is full", words).with_header("retry-after", "10"),
        }
    }
}

/// Makes an answer to GET one to HEAD: the same headers, no body (RFC 9110 section 9.3.2). hyper leaves the body out on HTTP/1.1
/// alone; on HTTP/2 clients take it for a protocol error.
pub(super) fn leave_body_out(reply: &mut Reply) {
    let body = std::mem::replace(reply.body_mut(), Body::Whole(Bytes::new()));
    if let Body::Whole(bytes) = body
        && !bytes.is_empty()
    {
        reply.headers_mut().insert("content-length", HeaderValue::from(bytes.len()));
    }
}

/// An answer without a body.
pub(super) fn empty(status: u16) -> Reply {
    let mut reply = Response::new(Body::Whole(Bytes::new()));
    // Room for what every answer gets, so that the map does not grow step by step.
    *reply.headers_mut() = HeaderMap::with_capacity(HEADERS);
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply
}

/// An answer with a body of one content type.
pub(super) fn with_type(status: u16, content_type: &str, body: Bytes) -> Reply {
    let mut reply = empty(status);
    reply.headers_mut().insert("content-type", header_value(content_type));
    *reply.body_mut() = Body::Whole(body);
    reply
}

/// An answer whose body is sent as it comes.
pub(super) fn streamed(
    status: u16,
    content_type: &str,
    pieces: impl Stream<Item = Bytes> + Send + Sync + 'static,
) -> Reply {
    let mut reply = empty(status);
    reply.headers_mut().insert("content-type", header_value(content_type));
    *reply.body_mut() = Body::Stream(Box::pin(pieces));
    reply
}

/// A 200 with JSON that must not be cached.
pub(super) fn json(value: &impl serde::Serialize) -> Result<Reply, Problem> {
    let body = serde_json::to_vec(value).map_err(|e| {
        Problem::new(500, "Internal error", format!("the answer cannot be written as JSON: {e}"))
    })?;
    let mut reply = with_type(200, "application/json", Bytes::from(body));
    reply.headers_mut().insert("cache-control", HeaderValue::from_static("no-store"));
    Ok(reply)
}

/// `text` as a header value; what cannot stand in a header is left out.
pub(super) fn header_value(text: &str) -> HeaderValue {
    let fits = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
    if let (true, Ok(value)) = (text.bytes().all(fits), HeaderValue::from_str(text)) {
        return value;
    }
    let clean: String = text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
    HeaderValue::from_str(&clean).unwrap_or_else(|_| HeaderValue::from_static(""))
}
