//! `/ingest/webm/{stream}`: WebM from MediaRecorder and the like, as messages of a WebSocket or as the body of a POST.

mod websocket;

use super::door::Visitor;
use super::reply::{self, Problem, Reply};
use super::request::Request;
use crate::app::App;
use crate::ingest::webm::{Summary, WebmFailure, WebmInput, WebmPublisher};
use skywave_media::name::StreamName;
use skywave_media::webm::reader::WebmError;
use std::pin::pin;
use std::time::Duration;

/// A client from which nothing has come for so long, while we would take it, is gone.
const SILENCE: Duration = Duration::from_secs(30);

/// `POST /ingest/webm/{stream}`: publishes for as long as the body goes on, and says what came of it.
#[utoipa::path(
    post,
    path = "/ingest/webm/{stream}",
    tag = "Media",
    summary = "Publish WebM",
    description = "The body is one WebM or Matroska file (VP8, VP9, AV1 or H.264, and Opus) of any length, chunked or not, as fast as it is recorded; \
                   one that comes faster is taken at the pace of its times.",
    params(("stream" = String, Path, description = "Stream name")),
    request_body(content = Vec<u8>, content_type = "video/webm"),
    responses(
        (status = 200, description = "The file has ended and all of it was published", body = Summary),
    )
)]
pub(super) async fn post(
    app: &App,
    stream: StreamName,
    visitor: &Visitor,
    request: &mut Request,
) -> Result<Reply, Problem> {
    let (publisher, input) = start(app, &stream, visitor)?;
    // Notes are for those who can be told while they send.
    let WebmInput { chunks, notes: _ } = input;
    let mut running = pin!(publisher.run(app.stopped()));
    let mut chunks = Some(chunks);
    let outcome = loop {
        let Some(sender) = &chunks else { break running.as_mut().await };
        let next = async {
            // First the room, then the bytes: what nobody takes yet stays with the client.
            let Ok(room) = sender.reserve().await else { return std::future::pending().await };
            match tokio::time::timeout(SILENCE, request.next_chunk()).await {
                Ok(Some(chunk)) => chunk.map(|chunk| {
                    room.send(chunk);
                    true
                }),
                Ok(None) => Ok(false),
                Err(_) => Err(too_silent()),
            }
        };
        tokio::select! {
            biased;
            outcome = &mut running => break outcome,
            more = next => match more {
                Ok(true) => {}
                Ok(false) => chunks = None,
                Err(problem) => return Err(problem),
            },
        }
    };
    let summary = outcome.map_err(Problem::from)?;
    tracing::info!(%stream, frames = summary.frames, dropped = summary.dropped, "WebM publisher has ended");
    reply::json(&summary)
}

/// `GET /ingest/webm/{stream}`: becomes a WebSocket.
#[utoipa::path(
    get,
    path = "/ingest/webm/{stream}",
    tag = "Media",
    summary = "Publish WebM by a WebSocket",
    description = "Binary messages are pieces of one WebM or Matroska file, at most 16 MiB each; a new EBML header is the same publisher coming back. \
                   Text messages of the server are JSON: `begin`, `flow`, `end`, `error`.",
    params(("stream" = String, Path, description = "Stream name")),
    responses(
        (status = 101, description = "A WebSocket (RFC 6455)"),
    )
)]
pub(super) fn get(
    app: &App,
    stream: StreamName,
    visitor: &Visitor,
    request: &mut Request,
) -> Result<Reply, Problem> {
    let Some(upgrade) = request.upgrade.take() else {
        let words = "this address takes a WebSocket (RFC 6455, version 13), or WebM as the body of a POST";
        return Err(Problem::new(426, "Upgrade required", words).with_header("upgrade", "websocket"));
    };
    let (publisher, input) = start(app, &stream, visitor)?;
    Ok(websocket::accept(upgrade, stream, publisher, input, app.stopped()))
}

fn start(app: &App, stream: &StreamName, visitor: &Visitor) -> Result<(WebmPublisher, WebmInput), Problem> {
    if app.is_stopping() {
        return Err(WebmFailure::Stopping.into());
    }
    Ok(WebmPublisher::start(&app.registry, stream.clone(), visitor.owner())?)
}

fn too_silent() -> Problem {
    Problem::new(408, "Nothing came", format!("nothing came for {} s", SILENCE.as_secs()))
}

impl From<WebmFailure> for Problem {
    fn from(failure: WebmFailure) -> Self {
        let words = failure.to_string();
        match failure {
            WebmFailure::Input(WebmError::TooLarge { .. }) => Self::new(413, "Element too large", words),
            WebmFailure::Input(WebmError::NotWebm) => Self::new(400, "Not WebM", words),
            WebmFailure::Input(_) => Self::new(400, "WebM broken", words),
            WebmFailure::NoFrames => Self::new(400, "No WebM", words),
            WebmFailure::NoTracks(_) => Self::new(415, "No usable track", words),
            WebmFailure::TooLate(_) => Self::new(408, "Nothing came", words),
            WebmFailure::Replaced => Self::new(409, "Taken over", words),
            WebmFailure::Stopping => Self::new(503, "Server stops", words).with_header("retry-after", "5"),
            WebmFailure::Refused(refused) => refused.into(),
            WebmFailure::Thread(_) => Self::new(503, "Server is full", words).with_header("retry-after", "5"),
        }
    }
}
