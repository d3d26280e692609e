//! `/api/v1/events`: what happens on this node, as server-sent events.

use super::reply::{Problem, Reply};
use super::request::Request;
use super::sse;
use crate::app::App;
use crate::events::{EventHub, Listening, Numbered, json};
use crate::stream::status::Status;
use futures_util::stream;
use serde::Serialize;
use skywave_media::name::StreamName;
use std::sync::Arc;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use utoipa::ToSchema;

/// `data` of `snapshot`, the first event of every connection.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SnapshotEvent {
    /// The streams on air, by name; one at the most when `?stream=` asks for one.
    streams: Vec<Arc<Status>>,
}

/// `GET /api/v1/events`: a `snapshot`, then every event after it. A client that comes back with `Last-Event-ID` gets a new
/// snapshot, which has all that it has missed; so does one that reads too slowly.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    tag = "Control",
    summary = "What happens, as server-sent events",
    description = "The first event is `snapshot` (data: SnapshotEvent). Then, as they happen: `stream-started` and `stream-updated` \
        (data: Stream; updates at most once a second and stream), `publisher-connected` and `publisher-gone` (data: PublisherEvent), \
        `viewers` (data: ViewersEvent; at most once a second and stream), `stream-ended` (data: EndedEvent). Ids rise from event to \
        event. `Last-Event-ID` is answered by a new snapshot, and so is a client that reads too slowly. A comment comes every 15 s.",
    params(("stream" = Option<String>, Query, description = "Only the events of this stream")),
    responses(
        (status = 200, description = "Events without end", content_type = "text/event-stream", body = String),
    )
)]
pub(super) fn listen(app: &App, request: &Request) -> Result<Reply, Problem> {
    let only = wanted_stream(&request.query)?;
    let listener = Listener { hub: Arc::clone(&app.events), only, events: None };
    Ok(sse::reply(
        app,
        stream::unfold(listener, |mut listener| async move { Some((listener.next().await?, listener)) }),
    ))
}

/// The stream that `?stream=` names; every stream without it.
fn wanted_stream(query: &str) -> Result<Option<StreamName>, Problem> {
    let Some(value) = query.split('&').find_map(|pair| pair.strip_prefix("stream=")) else { return Ok(None) };
    let name = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
    match name.parse() {
        Ok(name) => Ok(Some(name)),
        Err(error) => Err(Problem::new(400, "Bad stream name", format!("?stream={value}: {error}"))),
    }
}

/// One connection.
struct Listener {
    hub: Arc<EventHub>,
    only: Option<StreamName>,
    /// `None` when the next event has to be a snapshot.
    events: Option<broadcast::Receiver<Arc<Numbered>>>,
}

impl Listener {
    /// The next event for this client; `None` when none will come.
    async fn next(&mut self) -> Option<sse::Numbered> {
        loop {
            let Some(events) = &mut self.events else { return Some(self.snapshot()) };
            match events.recv().await {
                Ok(event) if self.wants(&event.stream) => {
                    let data = event.data.clone();
                    return Some(sse::Numbered {
                        id: event.id,
                        event: sse::Event { name: event.name, data },
                    });
                }
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => {
                    tracing::debug!(missed, "a listener reads too slowly and starts over");
                    self.events = None;
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn snapshot(&mut self) -> sse::Numbered {
        let Listening { id, snapshot, events } = self.hub.listen();
        self.events = Some(events);
        let streams = snapshot.into_iter().filter(|status| self.wants(&status.name)).collect();
        let data = json(&SnapshotEvent { streams });
        sse::Numbered { id, event: sse::Event { name: "snapshot", data } }
    }

    fn wants(&self, stream: &StreamName) -> bool {
        self.only.as_ref().is_none_or(|only| only == stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stream_can_be_asked_for() {
        assert_eq!(wanted_stream("").unwrap(), None);
        assert_eq!(wanted_stream("token=x").unwrap(), None);
        assert_eq!(wanted_stream("token=x&stream=de%6Do").unwrap(), Some("demo".parse().unwrap()));
        for bad in ["stream=", "stream=a%20b", "stream=.."] {
            assert_eq!(wanted_stream(bad).unwrap_err().status(), 400, "{bad}");
        }
    }
}
