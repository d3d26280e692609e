//! A request taken apart, with a body that cannot grow past its bound.

use super::media_type;
use super::reply::Problem;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;
use warp::http::{HeaderMap, Method};
use warp::ws::Ws;

/// Most of an unwanted body that is read, so that a refusal does not cost the client its connection.
const DRAIN_MAX_BYTES: usize = 4 << 20;

/// How long an unwanted body is read.
const DRAIN_MAX_TIME: Duration = Duration::from_secs(2);

/// How long a body of bounded size may take.
const BODY_MAX_TIME: Duration = Duration::from_secs(15);

type Body = Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send>>;

/// What a request's connection says of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Came {
    /// The other end.
    pub(super) from: IpAddr,
    /// It came by plain HTTP and should have come by HTTPS, on this port.
    pub(super) redirect_to: Option<u16>,
}

/// One request: how it came, method, path as sent, query without `?`, headers, body still to be read.
pub(super) struct Request {
    pub(super) came: Came,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    /// The handshake of a WebSocket, whole and in order.
    pub(super) upgrade: Option<Ws>,
    /// `None` for a request that brings none.
    body: Option<Body>,
}

impl Request {
    /// A request that brings no body.
    pub(super) const fn without_body(
        came: Came,
        method: Method,
        path: String,
        query: String,
        headers: HeaderMap,
    ) -> Self {
        Self { came, method, path, query, headers, upgrade: None, body: None }
    }

    /// Puts a request together from what warp's filters give.
    pub(super) fn new<B: Buf>(
        came: Came,
        method: Method,
        path: String,
        query: String,
        headers: HeaderMap,
        body: impl Stream<Item = Result<B, warp::Error>> + Send + 'static,
    ) -> Self {
        let body = body.map(|chunk| chunk.map(|mut b| b.copy_to_bytes(b.remaining())));
        Self { came, method, path, query, headers, upgrade: None, body: Some(Box::pin(body)) }
    }

    /// The same request, which may become a WebSocket.
    pub(super) fn with_upgrade(mut self, upgrade: Ws) -> Self {
        self.upgrade = Some(upgrade);
        self
    }

    /// A header's text, if it is there and is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The media type of the body, in lower case and without parameters.
    pub(super) fn content_type(&self) -> Option<String> {
        self.header("content-type").map(media_type::essence)
    }

    /// Refuses a body of any other type than `wanted`, in words for who sent it.
    pub(super) fn wants_type(&self, wanted: &str) -> Result<(), String> {
        match self.content_type() {
            Some(given) if given == wanted => Ok(()),
            Some(given) => Err(format!("the body is said to be {given:?}; send it as {wanted}")),
            None => Err(format!("the request has no Content-Type; send the body as {wanted}")),
        }
    }

    /// All lines of a header that is a list, as one.
    pub(super) fn list(&self, name: &str) -> Option<String> {
        let lines: Vec<&str> =
            self.headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
        if lines.is_empty() { None } else { Some(lines.join(", ")) }
    }

    /// Reads what is left of the body, within bounds, so that the connection can serve the next request. False when there
    /// was more: then the connection has to be closed, and the answer must say so (RFC 9112 section 9.6).
    pub(super) async fn drain(&mut self) -> bool {
        let Some(body) = &mut self.body else { return true };
        let rest = async {
            let mut left = DRAIN_MAX_BYTES;
            while let Some(chunk) = body.next().await {
                match chunk.map(|c| left.checked_sub(c.len())) {
                    Ok(Some(still)) => left = still,
                    Ok(None) | Err(_) => return false,
                }
            }
            true
        };
        tokio::time::timeout(DRAIN_MAX_TIME, rest).await.unwrap_or(false)
    }

    /// The next piece of the body, or `None` at its end.
    pub(super) async fn next_chunk(&mut self) -> Option<Result<Bytes, Problem>> {
        let chunk = self.body.as_mut()?.next().await?;
        Some(chunk.map_err(|error| broke_off(&error)))
    }

    /// The whole body as text, refused when longer than `max_bytes`, too slow or not UTF-8.
    pub(super) async fn text(&mut self, max_bytes: usize) -> Result<String, Problem> {
        let too_slow = |_| {
            let words = format!("the body did not come within {} s", BODY_MAX_TIME.as_secs());
            Problem::new(408, "Body too slow", words)
        };
        tokio::time::timeout(BODY_MAX_TIME, self.read_text(max_bytes)).await.map_err(too_slow)?
    }

    async fn read_text(&mut self, max_bytes: usize) -> Result<String, Problem> {
        let too_large =
            || Problem::new(413, "Body too large", format!("at most {max_bytes} bytes are taken here"));
        let announced = self.header("content-length").and_then(|v| v.parse::<usize>().ok());
        if announced.is_some_and(|length| length > max_bytes) {
            return Err(too_large());
        }
        let mut whole = BytesMut::new();
        let Some(body) = &mut self.body else { return Ok(String::new()) };
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| broke_off(&error))?;
            if whole.len() + chunk.len() > max_bytes {
                return Err(too_large());
            }
            whole.extend_from_slice(&chunk);
        }
        String::from_utf8(whole.into())
            .map_err(|_| Problem::new(400, "Body is not text", "the body must be UTF-8 text"))
    }
}

fn broke_off(error: &warp::Error) -> Problem {
    Problem::new(400, "Body not received", format!("the body broke off: {error}"))
}
