//! The machine that archives a take as it was published: frames of any codec in, bytes of WebM (H.264: Matroska) files out.
//!
//! It asks of its shell what [`crate::recording::Recorder`] does, so one writer serves both. What the end of a file says about the whole
//! of it is written by whoever finishes it ([`super::repair`]), after a crash as after a good end.

use super::writer::{WebmWriter, WriteError};
use crate::codec::{AudioFormat, Format, TrackKind, VideoFormat};
use crate::frame::Frame;
use crate::recording::RecorderOutput;
use crate::time::{MediaTime, Mono};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::time::Duration;

/// Bytes leave this often at the least: what a crash takes is what has not left.
const FLUSH: Duration = Duration::from_millis(500);

/// Likewise when there are as many.
const FLUSH_BYTES: usize = 1 << 20;

/// How long the first file waits for a track that was announced.
const START_PATIENCE: Duration = Duration::from_secs(3);

/// What waits for the other track beyond this begins the file without it.
const MAX_WAITING_BYTES: usize = 16 << 20;

/// The knobs of an archiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ArchiveConfig {
    /// A file that is as long goes over into the next one at the next keyframe; `None`: never.
    pub rotate_after: Option<Duration>,
    /// The same by size, in bytes.
    pub rotate_bytes: Option<u64>,
}

/// Archives one take. Real time stays real time: what lies between two publishers is a hole in the file.
///
/// Feed it each track's frames in decoding order; after every call drain [`Self::poll_output`], then read [`Self::poll_timeout`].
pub struct Archiver {
    config: ArchiveConfig,
    expected: Vec<TrackKind>,
    /// Frames that wait for a file, because a track's format is not known yet.
    waiting: Vec<Frame>,
    waiting_bytes: usize,
    waiting_until: Option<Mono>,
    file: Option<Open>,
    dropped: u64,
    output: VecDeque<RecorderOutput>,
}

struct Open {
    writer: WebmWriter,
    has_video: bool,
    begun: MediaTime,
    end: MediaTime,
    bytes: u64,
    pending: BytesMut,
    flush_at: Option<Mono>,
}

impl Archiver {
    /// One that has seen nothing.
    pub const fn new(config: ArchiveConfig) -> Self {
        Self {
            config,
            expected: Vec::new(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            waiting_until: None,
            file: None,
            dropped: 0,
            output: VecDeque::new(),
        }
    }

    /// Says that frames of this lane will come: the first file waits for them, but not for ever.
    pub fn expect(&mut self, kind: TrackKind) {
        if !self.expected.contains(&kind) {
            self.expected.push(kind);
        }
    }

    /// The next frame of its track, as it was published.
    pub fn handle_frame(&mut self, frame: &Frame, now: Mono) {
        if self.is_time_to_rotate(frame) {
            self.close();
        }
        self.take(frame, now);
        self.flush(now, false);
    }

    /// Nothing more comes.
    pub fn end(&mut self, now: Mono) {
        self.begin(now);
        self.close();
        self.flush(now, true);
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Mono) {
        if self.waiting_until.is_some_and(|until| until <= now) {
            self.begin(now);
        }
        self.flush(now, false);
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let flush = self.file.as_ref().and_then(|file| file.flush_at);
        [self.waiting_until, flush].into_iter().flatten().min()
    }

    /// What is to be done next, or `None`.
    pub fn poll_output(&mut self) -> Option<RecorderOutput> {
        self.output.pop_front()
    }

    /// Frames that are in no file: pictures before the first keyframe, and codecs that no file can hold.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn take(&mut self, frame: &Frame, now: Mono) {
        let Some(file) = &mut self.file else { return self.wait(frame, now) };
        match file.write(frame, now) {
            Ok(()) => {}
            // Another codec, or a track that the file does not have: the next file begins with it.
            Err(WriteError::NewFile(_)) => {
                self.close();
                self.wait(frame, now);
            }
            Err(_) => self.dropped += 1,
        }
    }

    /// Keeps a frame until a file can begin.
    fn wait(&mut self, frame: &Frame, now: Mono) {
        let has = |waiting: &[Frame], kind| waiting.iter().any(|frame| frame.kind() == kind);
        if frame.kind() == TrackKind::Video && !frame.keyframe && !has(&self.waiting, TrackKind::Video) {
            self.dropped += 1;
            return;
        }
        self.waiting_bytes += frame.data.len();
        self.waiting.push(frame.clone());
        self.waiting_until.get_or_insert(now + START_PATIENCE);
        let complete = self.expected.iter().all(|kind| has(&self.waiting, *kind));
        if complete || self.waiting_bytes > MAX_WAITING_BYTES {
            self.begin(now);
        }
    }

    /// Begins a file with what waits.
    fn begin(&mut self, now: Mono) {
        self.waiting_until = None;
        self.waiting_bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        let Some(at) = waiting.iter().map(|frame| frame.pts).min_by_key(|pts| pts.as_nanos()) else { return };
        let (video, audio) = formats(&waiting);
        let Ok(writer) = WebmWriter::new(video, audio) else {
            self.dropped += waiting.len() as u64;
            return;
        };
        self.output.push_back(RecorderOutput::Begin { at });
        let has_video = video.is_some();
        let pending = BytesMut::new();
        self.file = Some(Open { writer, has_video, begun: at, end: at, bytes: 0, pending, flush_at: None });
        for frame in &waiting {
            self.take(frame, now);
        }
    }

    fn is_time_to_rotate(&self, frame: &Frame) -> bool {
        let Some(file) = &self.file else { return false };
        let starts = frame.keyframe && (frame.kind() == TrackKind::Video || !file.has_video);
        let long = self.config.rotate_after.is_some_and(|limit| file.duration() >= limit);
        let large = self.config.rotate_bytes.is_some_and(|limit| file.bytes >= limit);
        starts && (long || large)
    }

    fn close(&mut self) {
        let Some(mut file) = self.file.take() else { return };
        let duration = file.duration();
        file.collect();
        let mut bytes = file.pending;
        if let Ok(ending) = file.writer.finish() {
            bytes.extend_from_slice(&ending.append);
        }
        if !bytes.is_empty() {
            self.output.push_back(RecorderOutput::Append { bytes: bytes.freeze(), duration });
        }
        self.output.push_back(RecorderOutput::End);
    }

    fn flush(&mut self, now: Mono, all: bool) {
        let Some(file) = &mut self.file else { return };
        let due = file.flush_at.is_some_and(|at| at <= now);
        if (all || due || file.pending.len() >= FLUSH_BYTES) && !file.pending.is_empty() {
            let bytes: Bytes = file.pending.split().freeze();
            file.flush_at = None;
            self.output.push_back(RecorderOutput::Append { bytes, duration: file.duration() });
        }
    }
}

impl Open {
    fn write(&mut self, frame: &Frame, now: Mono) -> Result<(), WriteError> {
        self.writer.handle_frame(frame)?;
        let end = frame.pts + frame.duration.unwrap_or(MediaTime::from_nanos(0));
        if end.as_nanos() > self.end.as_nanos() {
            self.end = end;
        }
        self.collect();
        if !self.pending.is_empty() {
            self.flush_at.get_or_insert(now + FLUSH);
        }
        Ok(())
    }

    fn collect(&mut self) {
        while let Some(piece) = self.writer.poll_piece() {
            self.bytes += piece.len() as u64;
            self.pending.extend_from_slice(&piece);
        }
    }

    fn duration(&self) -> Duration {
        let ns = self.end.as_nanos().saturating_sub(self.begun.as_nanos());
        Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
    }
}

/// The first format of each lane.
fn formats(frames: &[Frame]) -> (Option<&VideoFormat>, Option<&AudioFormat>) {
    let video = frames.iter().find_map(|frame| match &*frame.format {
        Format::Video(format) => Some(format),
        Format::Audio(_) => None,
    });
    let audio = frames.iter().find_map(|frame| match &*frame.format {
        Format::Audio(format) => Some(format),
        Format::Video(_) => None,
    });
    (video, audio)
}

#[cfg(test)]
mod tests;
