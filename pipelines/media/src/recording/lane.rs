//! One track while it is recorded: frames to samples with durations, and silence where sound is missing.

use crate::codec::{Codec, Format, TrackKind};
use crate::fmp4::timescale;
use crate::frame::Frame;
use crate::time::MediaTime;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// Samples of an AAC frame (ISO/IEC 14496-3 section 4.5.1.1).
const AAC_SAMPLES: i64 = 1024;

/// Times beyond this many ticks are nonsense (at 90 kHz: 12 years).
const MAX_TICKS: i64 = 1 << 45;

/// A frame that lasts longer than this by its own word is not believed.
const LONGEST_FRAME_SECONDS: i64 = 1;

/// Most silence that is made up, in frames: a gap is at most the grace time, an hour at the most.
const MAX_SILENT_FRAMES: i64 = 200_000;

/// A coded sample with its place on the recorder's timeline, in ticks of its format's timescale.
#[derive(Debug, Clone)]
pub(super) struct Coded {
    pub(super) format: Arc<Format>,
    pub(super) dts: i64,
    pub(super) duration: u32,
    pub(super) composition_offset: i32,
    pub(super) sync: bool,
    pub(super) data: Bytes,
}

impl Coded {
    /// Decode time in nanoseconds.
    pub(super) fn at(&self) -> i64 {
        MediaTime::new(self.dts, timescale(&self.format)).as_nanos()
    }

    /// Place in the order of both tracks: pictures by their beginning, sound by its middle, so that a cut at a picture falls on the
    /// nearest border of audio frames.
    pub(super) fn place(&self) -> i64 {
        match self.format.kind() {
            TrackKind::Video => self.at(),
            TrackKind::Audio => {
                MediaTime::new(self.dts + i64::from(self.duration) / 2, timescale(&self.format)).as_nanos()
            }
        }
    }

    /// Where it ends, in nanoseconds.
    pub(super) fn end(&self) -> i64 {
        MediaTime::new(self.dts + i64::from(self.duration), timescale(&self.format)).as_nanos()
    }
}

/// Why a frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drop {
    /// Before the first keyframe, or behind a hole.
    BeforeKeyframe,
    /// Not after the frame before it.
    Late,
    /// Its times are beyond any sensible timeline.
    OutOfRange,
}

/// One track.
#[derive(Debug)]
pub(super) struct Lane {
    kind: TrackKind,
    /// Samples whose duration is known.
    pub(super) ready: VecDeque<Coded>,
    /// The newest frame: its duration is known when the next one comes.
    pub(super) held: Option<Coded>,
    /// Ticks from frame to frame, as last seen.
    cadence: u32,
    /// Decode time and end of the newest sample that is ready or was, in ticks, with their timescale.
    last: Option<(i64, i64, u32)>,
    awaiting_keyframe: bool,
    pub(super) silent_frames: u64,
}

impl Lane {
    pub(super) fn new(kind: TrackKind) -> Self {
        Self {
            kind,
            ready: VecDeque::new(),
            held: None,
            cadence: 0,
            last: None,
            awaiting_keyframe: kind == TrackKind::Video,
            silent_frames: 0,
        }
    }

    /// Samples that are not written yet, in order.
    pub(super) fn pending(&self) -> impl Iterator<Item = &Coded> {
        self.ready.iter().chain(&self.held)
    }

    /// What follows does not continue what was: pictures begin with a keyframe.
    pub(super) fn break_off(&mut self) {
        self.commit_held();
        self.awaiting_keyframe = self.kind == TrackKind::Video;
    }

    /// Where the track ends as far as it is known, in nanoseconds.
    pub(super) fn end(&self) -> Option<i64> {
        self.held.as_ref().map(Coded::end).or_else(|| {
            let (_, end, scale) = self.last?;
            Some(MediaTime::new(end, scale).as_nanos())
        })
    }

    /// Takes a frame that lies `shift_ns` earlier on the recorder's timeline than on the stream's.
    pub(super) fn push(&mut self, frame: &Frame, shift_ns: i64) -> Result<(), Drop> {
        // Pictures of another size may take over in the middle of a group, where the larger rendition is given up.
        let other_format = self.held.as_ref().is_some_and(|held| held.format != frame.format);
        self.awaiting_keyframe |= self.kind == TrackKind::Video && other_format;
        if self.awaiting_keyframe && !frame.keyframe {
            return Err(Drop::BeforeKeyframe);
        }
        let mut incoming = self.admit(frame, shift_ns)?;
        let scale = timescale(&incoming.format);
        if let Some(mut held) = self.held.take() {
            let same_clock = timescale(&held.format) == scale;
            let until_next = if same_clock { incoming.dts - held.dts } else { i64::from(held.duration) };
            let hole = self.kind == TrackKind::Audio && until_next > 2 * i64::from(held.duration.max(1));
            if !hole {
                held.duration = u32::try_from(until_next).unwrap_or(u32::MAX);
                self.cadence = held.duration;
            }
            self.commit(held);
        }
        if self.kind == TrackKind::Audio {
            self.fill_with_silence(&incoming);
        }
        if incoming.duration == 0 {
            incoming.duration = if self.cadence > 0 { self.cadence } else { scale / 30 };
        }
        self.awaiting_keyframe = false;
        self.held = Some(incoming);
        Ok(())
    }

    fn admit(&self, frame: &Frame, shift_ns: i64) -> Result<Coded, Drop> {
        let scale = timescale(&frame.format);
        let shift = MediaTime::from_nanos(shift_ns).rescale(scale).ticks;
        let dts = frame.dts.rescale(scale).ticks.saturating_sub(shift);
        let offset = frame.pts.rescale(scale).ticks.checked_sub(frame.dts.rescale(scale).ticks);
        let offset = offset.and_then(|ticks| i32::try_from(ticks).ok());
        let (Some(composition_offset), true) = (offset, dts.abs() < MAX_TICKS) else {
            return Err(Drop::OutOfRange);
        };
        let before = match (&self.held, self.last) {
            (Some(held), _) if timescale(&held.format) == scale => Some(held.dts),
            (None, Some((last, _, old))) if old == scale => Some(last),
            // Another clock: the end of what was, in the new one.
            _ => self.end().map(|end| MediaTime::from_nanos(end).rescale(scale).ticks - 1),
        };
        if before.is_some_and(|before| dts <= before) {
            return Err(Drop::Late);
        }
        let longest = LONGEST_FRAME_SECONDS * i64::from(scale);
        let told = frame.duration.map(|d| d.rescale(scale).ticks).filter(|&d| d > 0 && d <= longest);
        let natural = told.unwrap_or(if self.kind == TrackKind::Audio { AAC_SAMPLES } else { 0 });
        Ok(Coded {
            format: Arc::clone(&frame.format),
            dts,
            duration: u32::try_from(natural).unwrap_or(0),
            composition_offset,
            sync: frame.keyframe || self.kind == TrackKind::Audio,
            data: frame.data.clone(),
        })
    }

    /// The newest frame is taken as lasting what frames last here, because nobody knows when the next one comes.
    pub(super) fn commit_held(&mut self) {
        if let Some(held) = self.held.take() {
            self.commit(held);
        }
    }

    fn commit(&mut self, sample: Coded) {
        let end = sample.dts + i64::from(sample.duration);
        self.last = Some((sample.dts, end, timescale(&sample.format)));
        self.ready.push_back(sample);
    }

    /// Players do not all keep a hole between audio samples open (some play on, and sound runs ahead of the picture from then on): the
    /// hole gets silent frames.
    fn fill_with_silence(&mut self, next: &Coded) {
        let scale = timescale(&next.format);
        let Some((_, end, old)) = self.last else { return };
        let Some(silence) = silent_frame(&next.format).filter(|_| old == scale) else { return };
        let missing = ((next.dts - end) / AAC_SAMPLES).min(MAX_SILENT_FRAMES);
        for number in 0..missing {
            let dts = end + number * AAC_SAMPLES;
            let until = if number + 1 == missing { next.dts } else { dts + AAC_SAMPLES };
            self.commit(Coded {
                format: Arc::clone(&next.format),
                dts,
                duration: u32::try_from(until - dts).unwrap_or(u32::MAX),
                composition_offset: 0,
                sync: true,
                data: silence.clone(),
            });
            self.silent_frames += 1;
        }
    }
}

/// A frame of AAC-LC without sound (ISO/IEC 14496-3 section 4.4.2.1, `raw_data_block`): one long window with no scale factor band, so no
/// section, no scale factor and no spectral data follow. `None` for what is not mono or stereo AAC-LC.
fn silent_frame(format: &Format) -> Option<Bytes> {
    // Per channel 22 zero bits: global_gain 8, ics_reserved 1, window_sequence 2, window_shape 1, max_sfb 6, predictor_data_present 1,
    // pulse_data_present 1, tns_data_present 1, gain_control_data_present 1. ID_END is 111.
    const MONO: [u8; 4] = [0b0000_0000, 0, 0, 0b0000_0111];
    // ID_CPE is 001, tag 0000, common_window 0, two channels, ID_END.
    const STEREO: [u8; 7] = [0b0010_0000, 0, 0, 0, 0, 0, 0b0000_1110];
    let Format::Audio(audio) = format else { return None };
    let is_lc = audio.codec == Codec::Aac && audio.config.first().is_some_and(|first| first >> 3 == 2);
    match audio.channels {
        1 if is_lc => Some(Bytes::from_static(&MONO)),
        2 if is_lc => Some(Bytes::from_static(&STEREO)),
        _ => None,
    }
}
