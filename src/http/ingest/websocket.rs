//! The WebSocket of one WebM publisher (RFC 6455).

use super::{SILENCE, too_silent};
use crate::http::reply::{Body, Problem, Reply};
use crate::ingest::webm::{Summary, WebmInput, WebmPublisher};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use skywave_media::name::StreamName;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};
use warp::ws::{Message, WebSocket, Ws};

/// The largest message: five seconds of 25 Mbit/s.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// How often a silent client is asked for a sign: a recorder may pause.
const PING: Duration = Duration::from_secs(5);

/// How long the close handshake may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// Close codes of ours are this and the status of HTTP (RFC 6455 section 7.4.2 leaves 4000 to 4999 to applications).
const CODE_BASE: u16 = 4000;

/// The most a close frame can carry as its reason (section 5.5: 125 bytes with the code).
const MAX_REASON_BYTES: usize = 123;

/// Answers the handshake; what comes then is served by a task of its own.
pub(super) fn accept(
    upgrade: Ws,
    stream: StreamName,
    publisher: WebmPublisher,
    input: WebmInput,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> Reply {
    let upgrade = upgrade.max_message_size(MAX_MESSAGE_BYTES).max_frame_size(MAX_MESSAGE_BYTES);
    let answer = upgrade.on_upgrade(move |socket| serve(socket, stream, publisher, input, stopped));
    let (parts, _) = warp::Reply::into_response(answer).into_parts();
    warp::http::Response::from_parts(parts, Body::Whole(Bytes::new()))
}

async fn serve(
    mut socket: WebSocket,
    stream: StreamName,
    publisher: WebmPublisher,
    input: WebmInput,
    stopped: impl Future<Output = ()> + Send,
) {
    let outcome = pump(&mut socket, publisher, input, stopped).await;
    let farewell = async {
        match &outcome {
            Ok(summary) => {
                tracing::info!(%stream, frames = summary.frames, dropped = summary.dropped, "WebM publisher has ended");
                let words = json!({ "type": "end", "frames": summary.frames, "dropped": summary.dropped });
                // Who has closed already does not hear it.
                let _gone = socket.send(Message::text(words.to_string())).await;
                let _gone = socket.close().await;
            }
            Err(problem) => {
                tracing::info!(%stream, status = problem.status(), reason = problem.detail(), "WebM publisher is sent away");
                let words = json!({
                    "type": "error", "status": problem.status(), "title": problem.title(), "detail": problem.detail(),
                });
                let _gone = socket.send(Message::text(words.to_string())).await;
                let code = CODE_BASE + problem.status();
                let _gone =
                    socket.send(Message::close_with(code, shortened(problem.detail()).to_owned())).await;
                // The peer's close frame; what it had sent before goes unread (section 7.1.1).
                while let Some(Ok(_)) = socket.next().await {}
            }
        }
    };
    if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
        tracing::debug!(%stream, "a WebSocket did not close in time");
    }
}

/// Moves messages until one side ends.
async fn pump(
    socket: &mut WebSocket,
    publisher: WebmPublisher,
    input: WebmInput,
    stopped: impl Future<Output = ()>,
) -> Result<Summary, Problem> {
    let WebmInput { chunks, mut notes } = input;
    let mut chunks = Some(chunks);
    let mut running = pin!(publisher.run(stopped));
    // A message that waits for room. While there is one nothing is read, so the client's own queue grows.
    let mut waiting: Option<Bytes> = None;
    let mut heard = Instant::now();
    let mut ping = tokio::time::interval(PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let sender = chunks.clone().filter(|_| waiting.is_some());
        let room = async move {
            match sender {
                Some(sender) => sender.reserve_owned().await.ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            outcome = &mut running => return outcome.map_err(Problem::from),
            Some(note) = notes.recv() => {
                let text = serde_json::to_string(&note).unwrap_or_default();
                // A client that is gone is noticed by what it does not send.
                let _gone = socket.send(Message::text(text)).await;
            }
            room = room => match (room, waiting.take()) {
                (Some(room), Some(chunk)) => {
                    drop(room.send(chunk));
                    heard = Instant::now();
                }
                // The reader has ended, and `running` says why.
                _ => chunks = None,
            },
            message = socket.next(), if waiting.is_none() && chunks.is_some() => {
                heard = Instant::now();
                match message {
                    Some(Ok(message)) if message.is_binary() => waiting = Some(message.into_bytes()),
                    Some(Ok(message)) if message.is_text() => return Err(no_text()),
                    Some(Ok(message)) if !message.is_close() => {}
                    // The end, said or not: what has come is played to its end.
                    Some(Ok(_)) | None => chunks = None,
                    Some(Err(error)) => return Err(not_received(&error)),
                }
            }
            _ = ping.tick(), if waiting.is_none() && chunks.is_some() => {
                if heard.elapsed() > SILENCE {
                    return Err(too_silent());
                }
                let _gone = socket.send(Message::ping(Bytes::new())).await;
            }
        }
    }
}

fn no_text() -> Problem {
    Problem::new(415, "Text message", "WebM comes as binary messages; text means nothing here")
}

fn not_received(error: &warp::Error) -> Problem {
    let words = error.to_string();
    // tungstenite names it so; it has no other way through warp.
    match words.contains("too long") {
        true => Problem::new(
            413,
            "Message too large",
            format!("at most {MAX_MESSAGE_BYTES} bytes are taken in one message; record in shorter chunks"),
        ),
        false => Problem::new(400, "Message not received", format!("the connection broke off: {words}")),
    }
}

/// As much of a text as fits into a close frame.
fn shortened(text: &str) -> &str {
    let mut end = text.len().min(MAX_REASON_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_fits_into_a_close_frame_and_stays_text() {
        assert_eq!(shortened("short"), "short");
        let long = "ä".repeat(100);
        assert_eq!(shortened(&long).len(), 122);
    }
}
