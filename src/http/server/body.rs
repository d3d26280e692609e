//! What an answer carries on the wire.

use super::pulse::Beat;
use crate::http::reply;
use bytes::Bytes;
use futures_util::Stream;
use hyper::body::{Body, Frame, SizeHint};
use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The bytes of an answer; while it is there, the request counts as being answered.
pub(super) struct Sent {
    content: Content,
    _beat: Beat,
}

enum Content {
    /// `None` once they are sent.
    Whole(Option<Bytes>),
    Pieces(Pin<Box<dyn Stream<Item = Bytes> + Send + Sync>>),
    /// Of an answer that went through warp's filters.
    Warp(warp::reply::Response),
}

impl Sent {
    /// An answer as hyper takes it.
    pub(super) fn of_reply(reply: reply::Reply, beat: Beat) -> hyper::Response<Self> {
        reply.map(|body| {
            let content = match body {
                reply::Body::Whole(bytes) => Content::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())),
                reply::Body::Stream(pieces) => Content::Pieces(pieces),
            };
            Self { content, _beat: beat }
        })
    }

    /// The same for what warp has made.
    pub(super) fn of_warp(response: warp::reply::Response, beat: Beat) -> hyper::Response<Self> {
        let (parts, body) = response.into_parts();
        let content = Content::Warp(warp::reply::Response::new(body));
        hyper::Response::from_parts(parts, Self { content, _beat: beat })
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(match &mut self.content {
            Content::Whole(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Content::Pieces(pieces) => {
                ready!(pieces.as_mut().poll_next(cx)).map(|piece| Ok(Frame::data(piece)))
            }
            Content::Warp(response) => {
                ready!(Pin::new(response.body_mut()).poll_frame(cx)).map(|frame| frame.map_err(Into::into))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_none(),
            Content::Pieces(_) => false,
            Content::Warp(response) => response.body().is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Pieces(_) => SizeHint::default(),
            Content::Warp(response) => response.body().size_hint(),
        }
    }
}
