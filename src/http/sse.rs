//! Server-sent events (the HTML standard, section 9.2): how they are written, and the answer that carries them.
//!
//! Who has news makes a stream of [`Event`]s; [`reply`] keeps idle connections open and ends with the server.

use super::reply::{self, Reply};
use crate::app::App;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
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

/// A 200 that sends `events` as they come, until they end, the client leaves, or the server stops.
pub(super) fn reply(app: &App, events: impl Stream<Item = Event> + Send + Sync + 'static) -> Reply {
    let beats = stream::unfold(tokio::time::interval(KEEP_ALIVE), |mut interval| async move {
        interval.tick().await;
        Some((Bytes::from_static(b":\n\n"), interval))
    });
    // The events' end ends the answer; the beats alone would go on for ever.
    let pieces = stream::select_with_strategy(
        events.map(|event| event.to_bytes()).map(Some).chain(stream::once(async { None })),
        beats.map(Some),
        |_: &mut ()| stream::PollNext::Left,
    );
    let pieces =
        pieces.take_while(|piece| std::future::ready(piece.is_some())).filter_map(std::future::ready);
    let mut reply = reply::streamed(200, "text/event-stream", pieces.take_until(app.stopped()));
    let headers = reply.headers_mut();
    headers.insert("cache-control", reply::header_value("no-store"));
    // nginx holds answers back to send them in large pieces unless told otherwise.
    headers.insert("x-accel-buffering", reply::header_value("no"));
    reply
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
    fn data_cannot_forge_events() {
        let event = Event { name: "x", data: "a\n\nevent: y\rdata: z".to_owned() };
        let text = String::from_utf8(event.to_bytes().to_vec()).unwrap();
        assert_eq!(text.lines().filter(|l| l.starts_with("event:")).count(), 1, "{text}");
        assert_eq!(text.find("\n\n"), Some(text.len() - 2), "{text}");
    }
}
