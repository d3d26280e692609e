//! A publisher that sends WebM: bytes from wherever they come, a stream's publisher and WebRTC viewers' packets out.
//!
//! ```text
//! chunks (bounded) -> reader (a thread: skywave_media::webm::reader) -> feed (webm::live) -> the stream's task, and relay_node::SourceFeed
//! ```
//!
//! When as much waits as may, nothing more is read: the chunks' sender waits, then the client's connection, then the client. What the
//! bytes travel in is [`crate::http`]'s business.

use crate::registry::{Outside, Refused, Registry};
use crate::sessions::Owner;
use bytes::{Buf, Bytes};
use relay_node::clock::{self, ClockPair};
use relay_node::{CloseReason, PublisherEvent, TrackDescription};
use serde::Serialize;
use skywave_media::codec::TrackKind;
use skywave_media::ingest::TrackId;
use skywave_media::name::StreamName;
use skywave_media::time::Mono;
use skywave_media::webm::live::{LiveConfig, LiveFeed, LiveOutput};
use skywave_media::webm::reader::{WebmError, WebmEvent, WebmReader};
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use utoipa::ToSchema;

/// Events that wait between the reader and the feed.
const EVENTS: usize = 16;

/// Notes that wait for the client; further ones are dropped.
const NOTES: usize = 8;

/// What is told to a client while it sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Note {
    /// A file has begun: the stream is fed by it from now on.
    Begin { tracks: Vec<&'static str>, refused: Vec<RefusedTrack> },
    /// Reading has paused because enough waits (the client sends faster than it records), or goes on.
    Flow { paused: bool, ahead_ms: u64 },
}

/// A track that is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct RefusedTrack {
    /// Its number in the file.
    pub(crate) track: u64,
    /// Why.
    pub(crate) reason: String,
}

/// What has come of it in the end.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
#[schema(as = IngestedWebm)]
pub(crate) struct Summary {
    /// Frames that went into the stream.
    pub(crate) frames: u64,
    /// Frames that could not be used: before the first keyframe, or damaged.
    pub(crate) dropped: u64,
    /// Tracks of the last file that were not taken.
    pub(crate) refused: Vec<RefusedTrack>,
}

/// Why it ended before the client did.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebmFailure {
    #[error("the input cannot be used: {0}")]
    Input(#[from] WebmError),
    #[error("no track of it can be taken: {}", words(.0))]
    NoTracks(Vec<RefusedTrack>),
    #[error("it ended before its first usable frame")]
    NoFrames,
    #[error("no usable frame came within {} s", .0.as_secs())]
    TooLate(Duration),
    #[error("another publisher has taken the stream over")]
    Replaced,
    #[error("the server stops")]
    Stopping,
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("there is no thread to read it: {0}")]
    Thread(#[source] io::Error),
}

fn words(refused: &[RefusedTrack]) -> String {
    if refused.is_empty() {
        return "there is none".to_owned();
    }
    let one = |track: &RefusedTrack| format!("track {}: {}", track.track, track.reason);
    refused.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// The ends that whoever has the connection holds.
pub(crate) struct WebmInput {
    /// The bytes of the file, in pieces of any size. Dropping it ends the file.
    pub(crate) chunks: mpsc::Sender<Bytes>,
    /// What to tell the client.
    pub(crate) notes: mpsc::Receiver<Note>,
}

/// A client that sends WebM.
pub(crate) struct WebmPublisher {
    registry: Arc<Registry>,
    stream: StreamName,
    owner: Owner,
    events: mpsc::Receiver<Result<WebmEvent, WebmError>>,
    notes: mpsc::Sender<Note>,
    feed: LiveFeed,
    /// The tracks of a file that has no packet yet.
    announced: Option<Vec<(TrackId, TrackKind)>>,
    outside: Option<Outside>,
    refused: Vec<RefusedTrack>,
    paused: bool,
}

impl WebmPublisher {
    /// Starts the thread that reads what comes in. Nothing of the stream is touched before the first frame is there.
    pub(crate) fn start(
        registry: &Arc<Registry>,
        stream: StreamName,
        owner: Owner,
    ) -> Result<(Self, WebmInput), WebmFailure> {
        // One piece in the reader's hands and one that waits: what else there is waits in the client's connection.
        let (chunks, queue) = mpsc::channel(1);
        let (to_feed, events) = mpsc::channel(EVENTS);
        let (notes, to_client) = mpsc::channel(NOTES);
        std::thread::Builder::new()
            .name("webm".to_owned())
            .spawn(move || read(Chunks { queue, current: Bytes::new() }, &to_feed))
            .map_err(WebmFailure::Thread)?;
        let publisher = Self {
            registry: Arc::clone(registry),
            stream,
            owner,
            events,
            notes,
            feed: LiveFeed::new(LiveConfig::default()),
            announced: None,
            outside: None,
            refused: Vec::new(),
            paused: false,
        };
        Ok((publisher, WebmInput { chunks, notes: to_client }))
    }

    /// Feeds the stream until the file has ended and its last frame has left, something is wrong with it, another publisher takes over, or
    /// `stopped`. The stream then waits for the publisher's return, as it does for others.
    pub(crate) async fn run(mut self, stopped: impl Future<Output = ()>) -> Result<Summary, WebmFailure> {
        let outcome = self.feed_stream(stopped).await;
        if let Some(outside) = self.outside.take() {
            let reason = match &outcome {
                Ok(()) => CloseReason::PeerClosed,
                Err(failure) => CloseReason::Failed { detail: failure.to_string() },
            };
            outside.close(reason).await;
        }
        outcome.map(|()| Summary {
            frames: self.feed.frames(),
            dropped: self.feed.dropped(),
            refused: self.refused,
        })
    }

    async fn feed_stream(&mut self, stopped: impl Future<Output = ()>) -> Result<(), WebmFailure> {
        let clocks = ClockPair::new();
        let patience = Duration::from_millis(self.registry.config().ingest.connect_timeout_ms);
        let begins_until = clock::now() + patience;
        let mut has_ended = false;
        let mut stopped = std::pin::pin!(stopped);
        loop {
            self.deliver().await?;
            let now = clock::now();
            let is_full = self.feed.is_full(now);
            self.note_flow(is_full && !self.events.is_empty(), now);
            let due = self.feed.poll_timeout();
            if has_ended && due.is_none() {
                return if self.outside.is_some() { Ok(()) } else { Err(WebmFailure::NoFrames) };
            }
            let wake = match (due, &self.outside) {
                (Some(due), _) => due,
                (None, None) => begins_until,
                (None, Some(_)) => now + Duration::from_secs(3600),
            };
            tokio::select! {
                event = self.events.recv(), if !is_full && !has_ended => match event {
                    Some(event) => self.feed.handle_event(&event?, clock::now()),
                    None => {
                        has_ended = true;
                        self.feed.handle_end(clock::now());
                    }
                },
                () = tokio::time::sleep_until(tokio::time::Instant::from_std(clocks.instant(wake))) => {
                    if self.outside.is_none() && clock::now() >= begins_until {
                        return Err(WebmFailure::TooLate(patience));
                    }
                    self.feed.handle_timeout(clock::now());
                }
                () = replaced(self.outside.as_ref()) => return Err(WebmFailure::Replaced),
                () = &mut stopped => return Err(WebmFailure::Stopping),
            }
        }
    }

    /// Hands on what the feed has let go.
    async fn deliver(&mut self) -> Result<(), WebmFailure> {
        while let Some(output) = self.feed.poll_output() {
            match output {
                LiveOutput::Begin { tracks, refused } => {
                    self.refused = refused
                        .into_iter()
                        .map(|refusal| RefusedTrack { track: refusal.track, reason: refusal.reason })
                        .collect();
                    if tracks.is_empty() {
                        return Err(WebmFailure::NoTracks(std::mem::take(&mut self.refused)));
                    }
                    self.announced = Some(tracks);
                }
                LiveOutput::Packet { track, packet } => {
                    self.begin().await?;
                    let Some(outside) = &mut self.outside else { continue };
                    outside.feed.push(&packet);
                    outside
                        .events
                        .send(PublisherEvent::Packet { track, packet })
                        .await
                        .map_err(|_| WebmFailure::Replaced)?;
                }
                LiveOutput::Report { track, report } => {
                    let Some(outside) = &mut self.outside else { continue };
                    outside.feed.push_report(&report);
                    outside
                        .events
                        .send(PublisherEvent::SenderReport { track, report })
                        .await
                        .map_err(|_| WebmFailure::Replaced)?;
                }
            }
        }
        Ok(())
    }

    /// A file begins, with its first packet: a list of tracks alone takes no stream from anybody. A recorder that was started again takes
    /// over from itself.
    async fn begin(&mut self) -> Result<(), WebmFailure> {
        let Some(tracks) = self.announced.take() else { return Ok(()) };
        let kinds = tracks.iter().map(|(_, kind)| kind.as_str()).collect();
        let tracks = tracks.into_iter().map(|(track, kind)| describe(track, kind)).collect();
        let outside = self.registry.publish_outside(&self.stream, tracks, self.owner.clone()).await?;
        self.outside = Some(outside);
        self.note(Note::Begin { tracks: kinds, refused: self.refused.clone() });
        Ok(())
    }

    fn note_flow(&mut self, paused: bool, now: Mono) {
        if std::mem::replace(&mut self.paused, paused) != paused {
            let ahead_ms = u64::try_from(self.feed.ahead(now).as_millis()).unwrap_or(u64::MAX);
            self.note(Note::Flow { paused, ahead_ms });
        }
    }

    /// A client that takes no notes misses some.
    fn note(&self, note: Note) {
        if let Err(error) = self.notes.try_send(note) {
            tracing::debug!(stream = %self.stream, %error, "a note for a publisher is lost");
        }
    }
}

/// The codecs stand in the packets.
fn describe(track: TrackId, kind: TrackKind) -> TrackDescription {
    TrackDescription { track, kind, codecs: Vec::new() }
}

/// Waits until the stream has let go of its publisher.
async fn replaced(outside: Option<&Outside>) {
    match outside {
        Some(outside) => outside.events.closed().await,
        None => std::future::pending().await,
    }
}

/// Reads until the chunks or the receiver end.
fn read(chunks: Chunks, events: &mpsc::Sender<Result<WebmEvent, WebmError>>) {
    let mut reader = WebmReader::new(chunks);
    loop {
        let next = match reader.next() {
            Ok(Some(event)) => Ok(event),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        if events.blocking_send(next).is_err() {
            return;
        }
    }
}

/// Chunks as one input, for a thread that may wait.
struct Chunks {
    queue: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.queue.blocking_recv() {
                Some(chunk) => self.current = chunk,
                None => return Ok(0),
            }
        }
        let count = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_one_input_whatever_their_borders() {
        let (sender, queue) = mpsc::channel(8);
        for chunk in [&b"a"[..], b"", b"bcd", b"", b"ef"] {
            sender.try_send(Bytes::from_static(chunk)).unwrap();
        }
        drop(sender);
        let mut all = Vec::new();
        Chunks { queue, current: Bytes::new() }.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"abcdef");
    }

    #[test]
    fn notes_are_json_that_says_what_they_are() {
        let note = |note: &Note| serde_json::to_string(note).unwrap();
        let refused = vec![RefusedTrack { track: 3, reason: "no".to_owned() }];
        assert_eq!(
            note(&Note::Begin { tracks: vec!["video"], refused }),
            r#"{"type":"begin","tracks":["video"],"refused":[{"track":3,"reason":"no"}]}"#
        );
        let flow = Note::Flow { paused: true, ahead_ms: 2_010 };
        assert_eq!(note(&flow), r#"{"type":"flow","paused":true,"ahead_ms":2010}"#);
    }
}
