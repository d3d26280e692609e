//! Server-sent events (the HTML standard, section 9.2): how they are written, and the answer that carries them.
//!
//! Who has news makes a stream of [`Event`]s; [`reply()`] keeps idle connections open and ends with the server.

use super::reply::{self, Reply};
use crate::app::App;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use std::future::Future;
use std::time::Duration;

/// A comment is sent this often, because proxies close connections on which nothing comes (nginx: after 60 s).
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// Its type: a word.
    pub(super) name: &'static str,
    /// What it says: text, most often JSON.
    pub(super) data: String,
}

impl Event {
    /// The event as it stands in the body. A line end in the data begins another `data:` line, so data cannot forge events.
    pub(super) fn to_bytes(&self) -> Bytes {
        let mut text = format!("event: {}\n", self.name);
        for line in self.data.split(['\n', '\r']) {
            text.push_str("data: ");
            text.push_str(line);
            text.push('\n');
        }
        text.push('\n');
        Bytes::from(text)
    }
}

/// An event with a number that rises, which a client sends back as `Last-Event-ID` when it connects again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Numbered {
    pub(super) id: u64,
    pub(super) event: Event,
}

impl From<Event> for Bytes {
    fn from(event: Event) -> Self {
        event.to_bytes()
    }
}

impl From<Numbered> for Bytes {
    fn from(Numbered { id, event }: Numbered) -> Self {
        let mut text = format!("id: {id}\n").into_bytes();
        text.extend_from_slice(&event.to_bytes());
        Self::from(text)
    }
}

/// A 200 that sends `events` as they come, until they end, the client leaves, or the server stops.
pub(super) fn reply<E: Into<Bytes> + 'static>(
    app: &App,
    events: impl Stream<Item = E> + Send + Sync + 'static,
) -> Reply {
    let mut reply = reply::streamed(200, "text/event-stream", pieces(events, app.stopped()));
    let headers = reply.headers_mut();
    headers.insert("cache-control", reply::header_value("no-store"));
    // nginx holds answers back to send them in large pieces unless told otherwise.
    headers.insert("x-accel-buffering", reply::header_value("no"));
    reply
}

/// The body: events and, between them, keep-alive comments, of which the first comes at once and so opens the stream.
fn pieces<E: Into<Bytes> + 'static>(
    events: impl Stream<Item = E> + Send + Sync + 'static,
    stopped: impl Future<Output = ()> + Send + Sync + 'static,
) -> impl Stream<Item = Bytes> + Send + Sync + 'static {
    let beats = stream::unfold(tokio::time::interval(KEEP_ALIVE), |mut interval| async move {
        interval.tick().await;
        Some((Bytes::from_static(b":\n\n"), interval))
    });
    // The events' end ends the body; the beats alone would go on for ever.
    let both = stream::select_with_strategy(
        events.map(|event| Some(event.into())).chain(stream::once(async { None })),
        beats.map(Some),
        |_: &mut ()| stream::PollNext::Left,
    );
    both.take_while(|piece| std::future::ready(piece.is_some()))
        .filter_map(std::future::ready)
        .take_until(stopped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_its_name_and_its_data() {
        let event = Event { name: "active", data: "{}".to_owned() };
        assert_eq!(event.to_bytes().as_ref(), b"event: active\ndata: {}\n\n");
    }

    #[test]
    fn a_number_stands_before_the_event() {
        let event = Event { name: "viewers", data: "{}".to_owned() };
        assert_eq!(Bytes::from(Numbered { id: 7, event }).as_ref(), b"id: 7\nevent: viewers\ndata: {}\n\n");
    }

    #[test]
    fn data_cannot_forge_events() {
        let event = Event { name: "x", data: "a\n\nevent: y\rdata: z".to_owned() };
        let text = String::from_utf8(event.to_bytes().to_vec()).unwrap();
        assert_eq!(text.lines().filter(|l| l.starts_with("event:")).count(), 1, "{text}");
        assert_eq!(text.find("\n\n"), Some(text.len() - 2), "{text}");
    }

    fn count(n: usize) -> impl Stream<Item = Event> + Send + Sync + 'static {
        stream::iter((0..n).map(|n| Event { name: "count", data: n.to_string() }))
    }

    #[tokio::test]
    async fn a_body_ends_with_its_events() {
        let body: Vec<Bytes> = pieces(count(3), std::future::pending()).collect().await;
        let text = String::from_utf8(body.concat()).unwrap();
        let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        assert_eq!(data, ["0", "1", "2"]);
    }

    #[tokio::test]
    async fn a_body_without_news_is_kept_alive_until_the_server_stops() {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let stopped = async move { drop(stopped.await) };
        let mut body = Box::pin(pieces(stream::pending::<Event>(), stopped));
        assert_eq!(body.next().await.as_deref(), Some(&b":\n\n"[..]));
        stop.send(()).unwrap();
        assert_eq!(body.next().await, None);
    }
}
