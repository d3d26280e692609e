//! One HTTP connection: requests one after another over HTTP/1.1, or many at once over HTTP/2.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::player::Target;

/// A server may hold a request for three target durations; nothing is held for longer than this.
const ANSWER_LIMIT: Duration = Duration::from_secs(40);
/// More is no playlist and no part.
const MAX_BYTES: usize = 32 << 20;

/// Why a request has no answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LinkError {
    #[error("{0}")]
    Status(StatusCode),
    #[error("no connection: {0}")]
    Connect(String),
    #[error("the request failed: {0}")]
    Failed(String),
    #[error("no answer in time")]
    TimedOut,
    #[error("the answer is longer than {MAX_BYTES} bytes")]
    TooLong,
}

/// A connection.
#[derive(Debug)]
pub(super) enum Link {
    One(http1::SendRequest<Empty<Bytes>>),
    Many(http2::SendRequest<Empty<Bytes>>),
}

impl Link {
    pub(super) async fn open(target: &Target) -> Result<Self, LinkError> {
        let connect = |error: &dyn std::fmt::Display| LinkError::Connect(error.to_string());
        let stream = TcpStream::connect(target.address).await.map_err(|error| connect(&error))?;
        stream.set_nodelay(true).map_err(|error| connect(&error))?;
        let io = TokioIo::new(stream);
        // The connection's own task ends with the connection; what went wrong is told to the request.
        if target.http2 {
            let (sender, connection) =
                http2::handshake(TokioExecutor::new(), io).await.map_err(|error| connect(&error))?;
            tokio::spawn(async move { connection.await.ok() });
            Ok(Self::Many(sender))
        } else {
            let (sender, connection) = http1::handshake(io).await.map_err(|error| connect(&error))?;
            tokio::spawn(async move { connection.await.ok() });
            Ok(Self::One(sender))
        }
    }

    /// Another handle of the same connection, where it carries many requests at once.
    pub(super) fn share(&self) -> Option<Self> {
        match self {
            Self::One(_) => None,
            Self::Many(sender) => Some(Self::Many(sender.clone())),
        }
    }

    /// Fetches `path`, whole.
    pub(super) async fn get(&mut self, target: &Target, path: &str) -> Result<Bytes, LinkError> {
        let exchange = self.exchange(target, path);
        tokio::time::timeout(ANSWER_LIMIT, exchange).await.unwrap_or(Err(LinkError::TimedOut))
    }

    async fn exchange(&mut self, target: &Target, path: &str) -> Result<Bytes, LinkError> {
        let failed = |error: &dyn std::fmt::Display| LinkError::Failed(error.to_string());
        let uri = if target.http2 { format!("http://{}{path}", target.authority) } else { path.to_owned() };
        let mut request = Request::get(uri);
        if !target.http2 {
            request = request.header("host", &target.authority);
        }
        if let Some(token) = &target.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Empty::new()).map_err(|error| failed(&error))?;
        let response = match self {
            Self::One(sender) => {
                sender.ready().await.map_err(|error| failed(&error))?;
                sender.send_request(request).await
            }
            Self::Many(sender) => {
                sender.ready().await.map_err(|error| failed(&error))?;
                sender.send_request(request).await
            }
        };
        let response = response.map_err(|error| failed(&error))?;
        let status = response.status();
        let mut body = response.into_body();
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| failed(&error))?;
            if let Some(data) = frame.data_ref() {
                if bytes.len() + data.len() > MAX_BYTES {
                    return Err(LinkError::TooLong);
                }
                bytes.extend_from_slice(data);
            }
        }
        if status.is_success() { Ok(bytes.freeze()) } else { Err(LinkError::Status(status)) }
    }
}
