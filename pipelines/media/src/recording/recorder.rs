//! The machine that makes a recording of a take: frames in, bytes of files out.

use super::fragment::{self, Run, ticks_in_file};
use super::lane::{Coded, Drop, Lane};
use crate::codec::{Codec, Format, TrackKind};
use crate::fmp4::Fmp4Error;
use crate::frame::Frame;
use crate::h264::{AvcConfig, put_avcc};
use crate::time::{MediaTime, Mono};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Length of a fragment. What a crash takes is the open fragment and what is still on its way through the worker: with fragments of one
/// second that would be more than a second.
const FRAGMENT: Duration = Duration::from_millis(500);

/// How long a fragment waits for the other track to come as far. Tracks arrive apart by what encoding takes.
const LAG_PATIENCE: Duration = Duration::from_millis(300);

/// How long the first fragment waits for a track that was announced. Browsers on a busy machine may take seconds to send a picture.
const START_PATIENCE: Duration = Duration::from_secs(3);

/// Samples that wait beyond this are written at once, whatever the order: memory is bounded before elegance.
const MAX_PENDING_BYTES: usize = 16 << 20;

/// What happens to the time in which nobody published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gap {
    /// It stays: the last picture stands, and there is silence. Times in the recording are times of the day.
    #[default]
    Keep,
    /// It is left out.
    Close,
}

/// The knobs of a recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecorderConfig {
    /// See [`Gap`].
    pub gap: Gap,
    /// A file that is as long goes over into the next one at the next keyframe; `None`: never.
    pub rotate_after: Option<Duration>,
    /// The same by size, in bytes.
    pub rotate_bytes: Option<u64>,
}

/// Why a frame cannot be recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecorderError {
    /// Only H.264 and AAC go into these files.
    #[error("{0:?} must be transcoded before it can be recorded")]
    Codec(Codec),
    /// The frame's format cannot be written.
    #[error(transparent)]
    Format(#[from] Fmp4Error),
    /// [`Recorder::end`] was called.
    #[error("the recording has ended")]
    Ended,
}

/// What the shell is to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecorderOutput {
    /// A file begins; its first sample lies here on the stream's timeline.
    Begin {
        /// On the stream's timeline.
        at: MediaTime,
    },
    /// Append these bytes. After each of them the file is whole.
    Append {
        /// One fragment, sometimes with an initialisation before it.
        bytes: Bytes,
        /// How long the file now is.
        duration: Duration,
    },
    /// The file is complete.
    End,
}

/// What a recorder has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames taken.
    pub frames: u64,
    /// Frames left out: before the first keyframe, out of order or of nonsensical times.
    pub dropped: u64,
    /// Silent frames put into holes of the sound.
    pub silent_frames: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

/// The file that is being written.
#[derive(Debug)]
struct Current {
    /// Where it begins on the recorder's timeline, in nanoseconds.
    origin: i64,
    end: i64,
    bytes: u64,
    sequence: u32,
    /// What its newest initialisation says.
    formats: [Option<Arc<Format>>; 2],
}

/// Records one take.
///
/// Feed it each track's frames in decode order; after every call drain [`Self::poll_output`], then read [`Self::poll_timeout`].
#[derive(Debug)]
pub struct Recorder {
    config: RecorderConfig,
    lanes: [Lane; 2],
    expected: [bool; 2],
    file: Option<Current>,
    /// A file has been begun: tracks that were announced are waited for no more.
    opened: bool,
    /// How much earlier frames lie here than on the stream's timeline, in nanoseconds.
    shift: i64,
    /// The next frame follows a discontinuity.
    broken: bool,
    /// When the first frame came.
    begun: Option<Mono>,
    /// When the oldest sample that is not written came.
    pending_since: Option<Mono>,
    /// Since when a fragment that could be closed waits for the other track.
    waiting_since: Option<Mono>,
    counters: Counters,
    outputs: VecDeque<RecorderOutput>,
    ended: bool,
}

const KINDS: [TrackKind; 2] = [TrackKind::Video, TrackKind::Audio];

const fn index(kind: TrackKind) -> usize {
    match kind {
        TrackKind::Video => 0,
        TrackKind::Audio => 1,
    }
}

impl Recorder {
    /// A recorder without frames.
    pub fn new(config: RecorderConfig) -> Self {
        Self {
            config,
            lanes: KINDS.map(Lane::new),
            expected: [false; 2],
            file: None,
            opened: false,
            shift: 0,
            broken: false,
            begun: None,
            pending_since: None,
            waiting_since: None,
            counters: Counters::default(),
            outputs: VecDeque::new(),
            ended: false,
        }
    }

    /// Says that frames of this track will come: the first fragment waits for them, within reason.
    pub fn expect(&mut self, kind: TrackKind) {
        self.expected[index(kind)] = true;
    }

    /// What was seen so far.
    pub fn counters(&self) -> Counters {
        let silent_frames = self.lanes.iter().map(|lane| lane.silent_frames).sum();
        Counters { silent_frames, ..self.counters }
    }

    /// Takes one H.264 or AAC frame. Frames that no decoder could use are counted and left out.
    ///
    /// # Errors
    /// [`RecorderError`]; nothing has changed then.
    pub fn handle_frame(&mut self, frame: &Frame, now: Mono) -> Result<(), RecorderError> {
        if self.ended {
            return Err(RecorderError::Ended);
        }
        let kind = frame.kind();
        if !matches!(frame.format.codec(), Codec::H264 | Codec::Aac) {
            return Err(RecorderError::Codec(frame.format.codec()));
        }
        if self.lanes[index(kind)].pending().last().is_none_or(|last| last.format != frame.format) {
            // Refused before anything is kept of it.
            let _writable = fragment::initialisation(std::slice::from_ref(&frame.format))?;
        }
        let shift = self.shift_for(frame);
        match self.lanes[index(kind)].push(frame, shift) {
            Ok(()) => self.counters.frames += 1,
            Err(Drop::BeforeKeyframe | Drop::Late | Drop::OutOfRange) => {
                self.counters.dropped += 1;
                return Ok(());
            }
        }
        (self.shift, self.broken) = (shift, false);
        self.begun.get_or_insert(now);
        self.pending_since.get_or_insert(now);
        self.cut(now);
        if self.pending_bytes() > MAX_PENDING_BYTES {
            self.flush(now);
        }
        Ok(())
    }

    /// What follows does not continue what was: another publisher, or a hole. What came before is written.
    pub fn handle_discontinuity(&mut self, now: Mono) {
        if self.begun.is_none() || self.ended {
            return;
        }
        for lane in &mut self.lanes {
            lane.break_off();
        }
        self.flush(now);
        self.broken = true;
    }

    /// Writes what has waited long enough.
    pub fn handle_timeout(&mut self, now: Mono) {
        self.cut(now);
        if self.may_begin(now) && self.flush_at().is_some_and(|at| at <= now) {
            self.flush(now);
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let begun = self.begun?;
        if !self.opened && self.is_incomplete() && self.pending_since.is_some() {
            return Some(begun + START_PATIENCE);
        }
        let waiting = self.waiting_since.map(|since| since + LAG_PATIENCE);
        [waiting, self.flush_at()].into_iter().flatten().min()
    }

    /// Writes what is left; nothing more comes.
    pub fn end(&mut self, now: Mono) {
        if self.ended {
            return;
        }
        self.flush(now);
        self.close_file();
        self.ended = true;
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<RecorderOutput> {
        self.outputs.pop_front()
    }

    fn flush_at(&self) -> Option<Mono> {
        self.pending_since.map(|since| since + FRAGMENT + LAG_PATIENCE)
    }

    fn pending_bytes(&self) -> usize {
        self.lanes.iter().flat_map(Lane::pending).map(|sample| sample.data.len()).sum()
    }

    /// How much earlier than on the stream's timeline this frame is to lie.
    fn shift_for(&self, frame: &Frame) -> i64 {
        if !self.broken || self.config.gap == Gap::Keep {
            return self.shift;
        }
        let end = self.lanes.iter().filter_map(Lane::end).max();
        end.map_or(self.shift, |end| (frame.dts.as_nanos() - end).max(self.shift))
    }

    /// A track that was announced has sent nothing yet.
    fn is_incomplete(&self) -> bool {
        self.lanes
            .iter()
            .zip(self.expected)
            .any(|(lane, expected)| expected && lane.pending().next().is_none())
    }

    fn may_begin(&self, now: Mono) -> bool {
        let patient = self.begun.is_some_and(|begun| now < begun + START_PATIENCE);
        self.opened || !self.is_incomplete() || !patient
    }

    /// Where the next fragment may end, and whether decoding can start there.
    fn border(&self) -> Option<(i64, bool)> {
        let lane = self.lanes.iter().find(|lane| lane.pending().next().is_some())?;
        let length = i64::try_from(FRAGMENT.as_nanos()).unwrap_or(i64::MAX);
        let first = lane.pending().next()?;
        let is_video = first.format.kind() == TrackKind::Video;
        lane.pending().skip(1).find_map(|sample| {
            let at = sample.at();
            let opens =
                (is_video && sample.sync) || at - first.at() >= length || sample.format != first.format;
            opens.then_some((at, sample.sync))
        })
    }

    /// Closes every fragment that is complete, or has waited long enough for the other track.
    fn cut(&mut self, now: Mono) {
        if !self.may_begin(now) {
            return;
        }
        while let Some((at, sync)) = self.border() {
            let complete = self.lanes.iter().zip(self.expected).all(|(lane, expected)| {
                let reached = lane.pending().last().is_some_and(|newest| newest.place() >= at);
                reached || !expected && lane.pending().next().is_none()
            });
            let since = *self.waiting_since.get_or_insert(now);
            if !complete && now < since + LAG_PATIENCE {
                return;
            }
            self.waiting_since = None;
            self.write_until(at, now);
            if sync && self.is_full() {
                self.close_file();
            }
        }
        self.waiting_since = None;
    }

    /// Writes everything, the newest frames included.
    fn flush(&mut self, now: Mono) {
        for lane in &mut self.lanes {
            lane.commit_held();
        }
        self.write_until(i64::MAX, now);
        self.waiting_since = None;
    }

    /// Writes the samples before `at`, in as many fragments as they have formats.
    fn write_until(&mut self, at: i64, now: Mono) {
        loop {
            let runs: Vec<(TrackKind, Vec<Coded>)> = KINDS
                .into_iter()
                .map(|kind| (kind, take_run(&mut self.lanes[index(kind)].ready, at)))
                .filter(|(_, samples)| !samples.is_empty())
                .collect();
            if runs.is_empty() {
                break;
            }
            self.write(runs);
        }
        let pending = self.lanes.iter().any(|lane| lane.pending().next().is_some());
        self.pending_since = pending.then_some(now);
    }

    fn write(&mut self, runs: Vec<(TrackKind, Vec<Coded>)>) {
        let first = runs.iter().filter_map(|(_, samples)| samples.first()).map(Coded::at).min();
        let Some(first) = first else { return };
        let mut file = self.file.take().unwrap_or_else(|| {
            // The other track may begin a little earlier, in a later fragment.
            let waiting = self.lanes.iter().filter_map(|lane| lane.pending().next()).map(Coded::at).min();
            let origin = waiting.map_or(first, |waiting| waiting.min(first));
            let at = MediaTime::from_nanos(origin.saturating_add(self.shift));
            self.outputs.push_back(RecorderOutput::Begin { at });
            self.opened = true;
            Current { origin, end: origin, bytes: 0, sequence: 0, formats: [None, None] }
        });
        let mut bytes = BytesMut::new();
        if let Some(head) = new_initialisation(&mut file, &runs) {
            bytes.extend_from_slice(&head);
        }
        file.sequence = file.sequence.wrapping_add(1).max(1);
        file.end =
            runs.iter().flat_map(|(_, samples)| samples.last()).map(Coded::end).fold(file.end, i64::max);
        let runs: Vec<Run> = runs
            .into_iter()
            .map(|(kind, samples)| (kind, with_sets(samples)))
            .map(|(kind, samples)| Run {
                kind,
                base: ticks_in_file(&samples[0].format, samples[0].dts, file.origin),
                samples,
            })
            .collect();
        let body = fragment::fragment(file.sequence, &runs)
            .expect("pending bytes are bounded far below 2 GiB, and the formats were written before");
        bytes.extend_from_slice(&body);
        file.bytes += bytes.len() as u64;
        self.counters.bytes += bytes.len() as u64;
        let duration = Duration::from_nanos(u64::try_from(file.end - file.origin).unwrap_or(0));
        self.outputs.push_back(RecorderOutput::Append { bytes: bytes.freeze(), duration });
        self.file = Some(file);
    }

    fn is_full(&self) -> bool {
        let Some(file) = &self.file else { return false };
        let length = Duration::from_nanos(u64::try_from(file.end - file.origin).unwrap_or(0));
        self.config.rotate_after.is_some_and(|most| length >= most)
            || self.config.rotate_bytes.is_some_and(|most| file.bytes >= most)
    }

    fn close_file(&mut self) {
        if self.file.take().is_some() {
            self.outputs.push_back(RecorderOutput::End);
        }
    }
}

/// The samples before `at` that share a format.
fn take_run(ready: &mut VecDeque<Coded>, at: i64) -> Vec<Coded> {
    let Some(format) = ready.front().map(|first| Arc::clone(&first.format)) else { return Vec::new() };
    let belongs = |sample: &&Coded| sample.place() < at && sample.format == format;
    let count = ready.iter().take_while(belongs).count();
    ready.drain(..count).collect()
}

/// The initialisation that has to stand before these runs, if the newest one does not fit them.
fn new_initialisation(file: &mut Current, runs: &[(TrackKind, Vec<Coded>)]) -> Option<Bytes> {
    let mut changed = false;
    for (kind, samples) in runs {
        let known = &mut file.formats[index(*kind)];
        if known.as_ref() != Some(&samples[0].format) {
            *known = Some(Arc::clone(&samples[0].format));
            changed = true;
        }
    }
    let formats: Vec<_> = file.formats.iter().flatten().cloned().collect();
    changed.then(|| {
        fragment::initialisation(&formats).expect("each format was written once when its first frame came")
    })
}

/// Keyframes carry their parameter sets along, besides the sample entry's. Where a file has several entries, Chromium gives its decoder those of the
/// first one only, also after a seek, and so does ffmpeg with HLS; what formats will come is not known when the first keyframe is written.
fn with_sets(mut samples: Vec<Coded>) -> Vec<Coded> {
    let Some(format) = samples.first().map(|sample| Arc::clone(&sample.format)) else { return samples };
    let Format::Video(video) = &*format else { return samples };
    let Ok(record) = AvcConfig::parse(&video.config) else { return samples };
    let mut nals = BytesMut::new();
    for nal in record.sps.iter().chain(&record.pps) {
        put_avcc(&mut nals, nal);
    }
    for sample in samples.iter_mut().filter(|sample| sample.sync) {
        sample.data = [&nals[..], &sample.data].concat().into();
    }
    samples
}
