//! Errors to statuses, once: every error is `application/problem+json` (RFC 9457) with a reason a person can act on.

use super::path::PathError;
use bytes::Bytes;
use relay_node::OfferError;
use serde_json::json;
use warp::http::{HeaderName, HeaderValue, Response, StatusCode};

/// A whole answer; bodies are shared bytes.
pub(super) type Reply = Response<Bytes>;

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
    #[cfg(test)]
    pub(super) const fn status(&self) -> u16 {
        self.status
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

/// An answer without a body.
pub(super) fn empty(status: u16) -> Reply {
    let mut reply = Response::new(Bytes::new());
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply
}

/// An answer with a body of one content type.
pub(super) fn with_type(status: u16, content_type: &str, body: Bytes) -> Reply {
    let mut reply = empty(status);
    reply.headers_mut().insert("content-type", header_value(content_type));
    *reply.body_mut() = body;
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
    let clean: String = text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
    HeaderValue::from_str(&clean).unwrap_or_else(|_| HeaderValue::from_static(""))
}
