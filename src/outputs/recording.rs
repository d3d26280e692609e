//! The recording output of one stream: frames go into the recorder, pieces of files come out for the writer's thread.

use crate::recordings::Library;
use crate::recordings::manifest::Container;
use crate::recordings::writer::{Piece, Writer};
use skywave_media::codec::TrackKind;
use skywave_media::frame::Frame;
use skywave_media::hls::TakeId;
use skywave_media::name::StreamName;
use skywave_media::recording::{Recorder, RecorderOutput};
use skywave_media::time::{Mono, UnixTime};
use skywave_media::webm::archive::Archiver;
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
    /// What was published, as it was.
    archive: Option<(Archiver, Writer)>,
    published: Vec<TrackKind>,
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
            archive: None,
            published: Vec::new(),
            failed: None,
        }
    }

    /// A new take.
    pub(crate) fn restart(&mut self, take: TakeId, epoch_wall: UnixTime) {
        (self.take, self.epoch_wall) = (take, epoch_wall);
        (self.active, self.archive, self.failed) = (None, None, None);
        self.expected.clear();
        self.published.clear();
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

    /// Says that a publisher sends these lanes.
    pub(crate) fn expect_published(&mut self, kinds: impl Iterator<Item = TrackKind>) {
        self.published = kinds.collect();
        if let Some((archiver, _)) = &mut self.archive {
            self.published.iter().for_each(|kind| archiver.expect(*kind));
        }
    }

    /// Takes one frame as it was published.
    pub(crate) fn handle_published_frame(&mut self, frame: &Frame, now: Mono) {
        if !self.library.config().archive || !self.is_wanted() {
            return;
        }
        if self.archive.is_none() {
            self.begin_archive();
        }
        if let Some((archiver, _)) = &mut self.archive {
            archiver.handle_frame(frame, now);
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
        if let Some((archiver, _)) = &mut self.archive {
            archiver.end(now);
        }
        self.drain();
        (self.active, self.archive) = (None, None);
    }

    pub(crate) fn handle_timeout(&mut self, now: Mono) {
        if let Some((recorder, _)) = &mut self.active {
            recorder.handle_timeout(now);
        }
        if let Some((archiver, _)) = &mut self.archive {
            archiver.handle_timeout(now);
        }
        self.drain();
    }

    pub(crate) fn poll_timeout(&self) -> Option<Mono> {
        let recorder = self.active.as_ref().and_then(|(recorder, _)| recorder.poll_timeout());
        let archiver = self.archive.as_ref().and_then(|(archiver, _)| archiver.poll_timeout());
        [recorder, archiver].into_iter().flatten().min()
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
        match Writer::start(&self.library, &self.stream, self.take.as_str(), Container::Mp4) {
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

    fn begin_archive(&mut self) {
        match Writer::start(&self.library, &self.stream, self.take.as_str(), Container::Webm) {
            Ok(writer) => {
                let mut archiver = Archiver::new(self.library.config().archiver());
                self.published.iter().for_each(|kind| archiver.expect(*kind));
                self.archive = Some((archiver, writer));
            }
            Err(error) => self.fail(format!("there is no thread to write it: {error}")),
        }
    }

    fn drain(&mut self) {
        let epoch_wall = self.epoch_wall;
        let mut outcome = Ok(());
        if let Some((recorder, writer)) = &mut self.active {
            outcome = hand_over(|| recorder.poll_output(), writer, epoch_wall);
        }
        if let Some((archiver, writer)) = &mut self.archive {
            outcome = outcome.and(hand_over(|| archiver.poll_output(), writer, epoch_wall));
        }
        if let Err(reason) = outcome {
            self.fail(reason);
        }
    }

    /// The stream goes on without its recording, and says so.
    fn fail(&mut self, reason: String) {
        tracing::error!(stream = %self.stream, reason, "recording has stopped; the stream goes on");
        (self.active, self.archive) = (None, None);
        self.failed = Some(reason);
    }
}

/// Hands what a machine has made to its writer, until one of them has no more.
fn hand_over(
    mut poll: impl FnMut() -> Option<RecorderOutput>,
    writer: &Writer,
    epoch_wall: UnixTime,
) -> Result<(), String> {
    while let Some(output) = poll() {
        writer.push(match output {
            RecorderOutput::Begin { at } => Piece::Begin {
                begun: UnixTime::from_micros(epoch_wall.as_micros().saturating_add(at.as_nanos() / 1000)),
            },
            RecorderOutput::Append { bytes, duration } => Piece::Append { bytes, duration },
            RecorderOutput::End => Piece::End,
        })?;
    }
    Ok(())
}
