//! The viewer's events (draft-ietf-wish-whep-events, "Server Sent Events extension"): who publishes, which layers there are, how many watch.
//!
//! `POST {session}/sse` makes an event stream of the types it names and answers with its `Location`; `GET` there listens, `DELETE` ends it.
//! `GET {session}/sse` itself listens to everything, which is all that most pages want. Whoever begins to listen is told at once how things
//! stand, in place of a queue of what was missed.

use super::super::door::Visitor;
use super::super::reply::{self, Problem, Reply};
use super::super::request::Request;
use super::super::session::{self, no_session};
use super::super::sse::{self, Event};
use crate::app::App;
use crate::sessions::{EventStreamReader, Kind, Session};
use futures_util::{Stream, StreamExt, stream};
use relay_node::{BroadcastInfo, LayerInfo};
use serde_json::{Value, json};
use std::collections::VecDeque;
use tokio::sync::watch;

const ACTIVE: &str = "active";
const INACTIVE: &str = "inactive";
const LAYERS: &str = "layers";
const VIEWERCOUNT: &str = "viewercount";

/// The types of event there are.
pub(super) const NAMES: [&str; 4] = [ACTIVE, INACTIVE, LAYERS, VIEWERCOUNT];

/// The largest list of types read.
const LIST_MAX_BYTES: usize = 1024;

/// `POST {session}/sse`: 201 with the `Location` of a new event stream.
pub(in super::super) async fn open(
    app: &App,
    session: &Session,
    visitor: &Visitor,
    request: &mut Request,
) -> Result<Reply, Problem> {
    if request.content_type().is_some() {
        request.wants_type("application/json").map_err(|words| {
            Problem::new(415, "Unsupported media type", words).with_header("accept-post", "application/json")
        })?;
    }
    let body = request.text(LIST_MAX_BYTES).await?;
    let events = wanted(&body).map_err(|words| Problem::new(400, "Events not known", words))?;
    let number = app.registry.open_events(session, events).ok_or_else(|| {
        Problem::new(429, "Too many event streams", "this session has as many as it may have; delete one")
            .with_header("retry-after", "5")
    })?;
    let path = session::path(Kind::Viewer, &session.stream, &session.id);
    let mut reply = reply::empty(201);
    let location = visitor.url(&format!("{path}/sse/{number}"));
    reply.headers_mut().insert("location", reply::header_value(&location));
    reply.headers_mut().insert("cache-control", reply::header_value("no-store"));
    Ok(reply)
}

/// `GET {session}/sse`: every event, until the session ends.
pub(in super::super) fn listen(app: &App, session: &Session) -> Result<Reply, Problem> {
    let end = app.registry.end_of(session).ok_or_else(no_session)?;
    Ok(answer(app, session, EventStreamReader { events: NAMES.to_vec(), ends: [end.clone(), end] }))
}

/// `GET {session}/sse/{number}`: the events that were asked for.
pub(in super::super) fn listen_to(app: &App, session: &Session, number: u32) -> Result<Reply, Problem> {
    let reader = app.registry.read_events(session, number).ok_or_else(no_stream)?;
    Ok(answer(app, session, reader))
}

/// `DELETE {session}/sse/{number}`.
pub(in super::super) fn close(app: &App, session: &Session, number: u32) -> Result<Reply, Problem> {
    if app.registry.close_events(session, number) { Ok(reply::empty(200)) } else { Err(no_stream()) }
}

fn no_stream() -> Problem {
    Problem::new(
        404,
        "No such event stream",
        "it was deleted, or never was; make one by a POST to the session's sse",
    )
}

fn answer(app: &App, session: &Session, reader: EventStreamReader) -> Reply {
    let changes = app.registry.broadcast_changes(&session.stream);
    let [first, second] = reader.ends;
    let news = News::new(reader.events, session.video_line);
    sse::reply(app, events(changes, news).take_until(ended(first)).take_until(ended(second)))
}

async fn ended(mut end: watch::Receiver<()>) {
    while end.changed().await.is_ok() {}
}

/// What there is to say, whenever something has changed.
fn events(
    mut changes: watch::Receiver<Option<BroadcastInfo>>,
    news: News,
) -> impl Stream<Item = Event> + Send + Sync + 'static {
    changes.mark_changed();
    stream::unfold((changes, news, VecDeque::new()), |(mut changes, mut news, mut waiting)| async move {
        loop {
            if let Some(event) = waiting.pop_front() {
                return Some((event, (changes, news, waiting)));
            }
            changes.changed().await.ok()?;
            let info = changes.borrow_and_update().clone();
            waiting.extend(news.handle_broadcast(info.unwrap_or_default()));
        }
    })
}

/// The types that a request names; all of them when it names none.
fn wanted(body: &str) -> Result<Vec<&'static str>, String> {
    if body.trim().is_empty() {
        return Ok(NAMES.to_vec());
    }
    let asked: Vec<String> = serde_json::from_str(body)
        .map_err(|_| format!("the body must be a JSON list of some of {}", NAMES.join(", ")))?;
    let of = |one: &String| {
        NAMES
            .into_iter()
            .find(|name| *name == one)
            .ok_or_else(|| format!("there is no event {one:?} here; there are {}", NAMES.join(", ")))
    };
    asked.iter().map(of).collect()
}

/// Decides what is news to one listener. Pure.
#[derive(Debug)]
struct News {
    wanted: Vec<&'static str>,
    /// Which section of the SDP the layers are of; a viewer without video is told of none.
    video_line: Option<usize>,
    told: Option<BroadcastInfo>,
}

impl News {
    const fn new(wanted: Vec<&'static str>, video_line: Option<usize>) -> Self {
        Self { wanted, video_line, told: None }
    }

    fn handle_broadcast(&mut self, now: BroadcastInfo) -> Vec<Event> {
        let is_first = self.told.is_none();
        let before = self.told.get_or_insert_default();
        let mut events = Vec::new();
        if now.published != before.published {
            // No `inactive` at the beginning ("inactive event"): nothing has ended there.
            let name = if now.published { ACTIVE } else { INACTIVE };
            events.push(Event { name, data: "{}".to_owned() });
        }
        let layers_changed = layers_differ(&before.layers, &now.layers);
        if let (true, Some(line)) = (layers_changed, self.video_line) {
            let layers: Vec<Value> = now.layers.iter().map(layer).collect();
            events.push(Event { name: LAYERS, data: json!({ line.to_string(): layers }).to_string() });
        }
        if is_first || now.viewers != before.viewers {
            let data = json!({ "viewercount": now.viewers }).to_string();
            events.push(Event { name: VIEWERCOUNT, data });
        }
        // Bit rates creep: what they are compared with is what was told.
        let layers = if layers_changed { now.layers } else { std::mem::take(&mut before.layers) };
        self.told = Some(BroadcastInfo { layers, ..now });
        events.retain(|event| self.wanted.contains(&event.name));
        events
    }
}

/// One layer as the draft has it; `encodingId` is what its older versions called the `rid`.
fn layer(layer: &LayerInfo) -> Value {
    json!({
        "rid": layer.rid,
        "encodingId": layer.rid,
        "bitrate": if layer.active { layer.bitrate_bps } else { 0 },
        "codec": layer.codec.rtp_name(),
    })
}

/// Whether there are others, or one of them has come to life, died, or changed its bit rate by more than a quarter.
fn layers_differ(before: &[LayerInfo], now: &[LayerInfo]) -> bool {
    before.len() != now.len()
        || before.iter().zip(now).any(|(before, now)| {
            let moved = before.bitrate_bps.abs_diff(now.bitrate_bps);
            (&before.rid, before.codec, before.active) != (&now.rid, now.codec, now.active)
                || moved > before.bitrate_bps / 4
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use skywave_media::codec::Codec;

    fn info(published: bool, viewers: usize, layers: &[(&str, u64)]) -> BroadcastInfo {
        let layer = |(rid, bitrate_bps): &(&str, u64)| LayerInfo {
            rid: (*rid).to_owned(),
            codec: Codec::Vp8,
            bitrate_bps: *bitrate_bps,
            active: *bitrate_bps > 0,
        };
        BroadcastInfo {
            published,
            viewers,
            rendition_viewers: 0,
            layers: layers.iter().map(layer).collect(),
            audio: None,
        }
    }

    fn names(events: &[Event]) -> Vec<&'static str> {
        events.iter().map(|event| event.name).collect()
    }

    #[test]
    fn how_things_stand_is_told_first_and_then_what_changes() {
        let mut news = News::new(NAMES.to_vec(), Some(1));
        let first = news.handle_broadcast(info(true, 1, &[("l", 100), ("h", 1000)]));
        assert_eq!(names(&first), [ACTIVE, LAYERS, VIEWERCOUNT]);
        let layers: Value = serde_json::from_str(&first[1].data).unwrap();
        assert_eq!((&layers["1"][1]["rid"], &layers["1"][1]["bitrate"]), (&json!("h"), &json!(1000)));
        assert_eq!(first[2].data, r#"{"viewercount":1}"#);
        assert_eq!(news.handle_broadcast(info(true, 1, &[("l", 100), ("h", 1000)])), []);
        assert_eq!(names(&news.handle_broadcast(info(true, 2, &[("l", 100), ("h", 1000)]))), [VIEWERCOUNT]);
        assert_eq!(names(&news.handle_broadcast(info(false, 2, &[("l", 0), ("h", 0)]))), [INACTIVE, LAYERS]);
        assert_eq!(names(&news.handle_broadcast(info(true, 2, &[("l", 0), ("h", 900)]))), [ACTIVE, LAYERS]);
    }

    #[test]
    fn inactive_is_no_beginning() {
        let mut news = News::new(NAMES.to_vec(), None);
        assert_eq!(names(&news.handle_broadcast(info(false, 3, &[]))), [VIEWERCOUNT]);
    }

    #[test]
    fn bit_rates_are_told_when_they_have_really_moved() {
        let mut news = News::new(vec![LAYERS], Some(0));
        let mut tell = |bitrate| news.handle_broadcast(info(true, 1, &[("h", bitrate)])).len();
        // In small steps, each compared with what was told and not with the step before.
        assert_eq!([1000, 1100, 1200, 1249, 1251, 1300].map(&mut tell), [1, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn only_what_was_asked_for_is_told() {
        let mut news = News::new(wanted(r#"["viewercount"]"#).unwrap(), Some(0));
        assert_eq!(names(&news.handle_broadcast(info(true, 1, &[("h", 1)]))), [VIEWERCOUNT]);
        let mut without_video = News::new(NAMES.to_vec(), None);
        assert_eq!(names(&without_video.handle_broadcast(info(true, 1, &[("h", 1)]))), [ACTIVE, VIEWERCOUNT]);
    }

    #[test]
    fn the_types_asked_for_must_be_there() {
        assert_eq!(wanted(""), Ok(NAMES.to_vec()));
        assert_eq!(wanted("[]"), Ok(vec![]));
        assert!(wanted(r#"["scte35"]"#).unwrap_err().contains("scte35"));
        assert!(wanted("{}").is_err());
    }
}
