//! The recording output of one stream: frames go into the recorder, pieces of files come out for the writer's thread.

use crate::recordings::Library;
use crate::recordings::writer::{Piece, Writer};
use skywave_media::codec::TrackKind;
use skywave_media::frame::Frame;
use skywave_media::hls::TakeId;
use skywave_media::name::StreamName;
use skywave_media::recording::{Recorder, RecorderOutput};
use skywave_media::time::{Mono, UnixTime};
use std::sync::Arc;

/// What a stream says of its recording.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    /// Frames are being recorded.
    pub(crate) active: bool,
    /// The recording that grows.
    pub(crate) id: Option<String>,
    /// Bytes on the disk.
    pub(crate) bytes: u64,
    /// Their length, in milliseconds.
    pub(crate) duration_ms: u64,
    /// Why it stopped by itself.
    pub(crate) failed: Option<String>,
}

/// Records a stream while it is wanted.
pub(crate) struct RecordingOutput {
    library: Arc<Library>,
    stream: StreamName,
    take: TakeId,
    epoch_wall: UnixTime,
    wanted: bool,
    expected: Vec<TrackKind>,
    active: Option<(Recorder, Writer)>,
    failed: Option<String>,
}

impl RecordingOutput {
    /// Of a stream whose timeline begins at `epoch_wall`. Begins by itself when the configuration says so.
    pub(crate) fn new(
        library: &Arc<Library>,
        stream: &StreamName,
        take: TakeId,
        epoch_wall: UnixTime,
    ) -> Self {
        Self {
            library: Arc::clone(library),
            stream: stream.clone(),
            take,
            epoch_wall,
            wanted: library.config().enabled,
            expected: Vec::new(),
            active: None,
            failed: None,
        }
    }

    /// A new take.
    pub(crate) fn restart(&mut self, take: TakeId, epoch_wall: UnixTime) {
        (self.take, self.epoch_wall) = (take, epoch_wall);
        (self.active, self.failed) = (None, None);
        self.expected.clear();
    }

    /// Says that frames of this lane will come.
    pub(crate) fn expect(&mut self, kind: TrackKind) {
        if !self.expected.contains(&kind) {
            self.expected.push(kind);
        }
        if let Some((recorder, _)) = &mut self.active {
            recorder.expect(kind);
        }
    }

    /// Switches recording on or off, until it is switched again or the stream is forgotten.
    pub(crate) fn want(&mut self, wanted: bool, now: Mono) {
        self.wanted = wanted;
        self.failed = None;
        if !wanted {
            self.end(now);
        }
    }

    /// Somebody wants it recorded, and it can be: then it is encoded even while nobody watches.
    pub(crate) const fn is_wanted(&self) -> bool {
        self.wanted && self.failed.is_none()
    }

    /// Takes one H.264 or AAC frame.
    pub(crate) fn handle_frame(&mut self, frame: &Frame, now: Mono) {
        if self.active.is_none() && self.wanted && self.failed.is_none() {
            self.begin();
        }
        let Some((recorder, _)) = &mut self.active else { return };
        if let Err(error) = recorder.handle_frame(frame, now) {
            tracing::debug!(stream = %self.stream, %error, "a frame cannot be recorded");
        }
        self.drain();
    }

    /// What follows does not continue what was.
    pub(crate) fn handle_discontinuity(&mut self, now: Mono) {
        if let Some((recorder, _)) = &mut self.active {
            recorder.handle_discontinuity(now);
        }
        self.drain();
    }

    /// Nothing more comes of this take.
    pub(crate) fn end(&mut self, now: Mono) {
        if let Some((recorder, _)) = &mut self.active {
            recorder.end(now);
        }
        self.drain();
        self.active = None;
    }

    pub(crate) fn handle_timeout(&mut self, now: Mono) {
        if let Some((recorder, _)) = &mut self.active {
            recorder.handle_timeout(now);
        }
        self.drain();
    }

    pub(crate) fn poll_timeout(&self) -> Option<Mono> {
        self.active.as_ref().and_then(|(recorder, _)| recorder.poll_timeout())
    }

    /// How far it is.
    pub(crate) fn progress(&self) -> Progress {
        let Some((_, writer)) = &self.active else {
            return Progress { failed: self.failed.clone(), ..Progress::default() };
        };
        let progress = writer.progress();
        Progress {
            active: progress.failed.is_none(),
            id: progress.id,
            bytes: progress.bytes,
            duration_ms: u64::try_from(progress.duration.as_millis()).unwrap_or(u64::MAX),
            failed: progress.failed,
        }
    }

    fn begin(&mut self) {
        match Writer::start(&self.library, &self.stream, self.take.as_str()) {
            Ok(writer) => {
                let mut recorder = Recorder::new(self.library.config().recorder());
                for kind in &self.expected {
                    recorder.expect(*kind);
                }
                self.active = Some((recorder, writer));
            }
            Err(error) => self.fail(format!("there is no thread to write it: {error}")),
        }
    }

    fn drain(&mut self) {
        let Some((recorder, writer)) = &mut self.active else { return };
        while let Some(output) = recorder.poll_output() {
            let piece = match output {
                RecorderOutput::Begin { at } => Piece::Begin {
                    begun: UnixTime::from_micros(
                        self.epoch_wall.as_micros().saturating_add(at.as_nanos() / 1000),
                    ),
                },
                RecorderOutput::Append { bytes, duration } => Piece::Append { bytes, duration },
                RecorderOutput::End => Piece::End,
            };
            if let Err(reason) = writer.push(piece) {
                return self.fail(reason);
            }
        }
    }

    /// The stream goes on without its recording, and says so.
    fn fail(&mut self, reason: String) {
        tracing::error!(stream = %self.stream, reason, "recording has stopped; the stream goes on");
        self.active = None;
        self.failed = Some(reason);
    }
}
