//! Events of a [`super::reader::WebmReader`] in, [`Frame`]s out: [`FrameMaker`].
//!
//! PTS are the file's own, at 90 kHz and 48 kHz, with the codec's delay taken off: sound may begin before zero. Each
//! [`WebmEvent::Begin`] starts a new file whose time is its own; what the times of two files have to do with each other only the caller
//! can know.

use super::order::DecodingOrder;
use super::reader::{WebmBlock, WebmCodec, WebmEvent, WebmTrack};
use crate::codec::{AudioFormat, Codec, Format, TrackKind};
use crate::depacketize::container::AccessUnits;
use crate::depacketize::opus::duration_48k;
use crate::frame::Frame;
use crate::time::{AUDIO_RATE, MediaTime, VIDEO_RATE};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// A track that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The TrackNumber.
    pub track: u64,
    /// Picture, sound, or neither.
    pub kind: Option<TrackKind>,
    /// Why, in words for the one who sent it.
    pub reason: String,
}

/// See the module's doc.
///
/// After each `handle_*` drain [`Self::poll_frame`].
#[derive(Debug, Default)]
pub struct FrameMaker {
    lanes: BTreeMap<u64, Lane>,
    refusals: Vec<Refusal>,
    output: VecDeque<(u64, Frame)>,
    dropped: u64,
}

#[derive(Debug)]
enum Lane {
    Video(Box<VideoLane>),
    Opus(OpusLane),
}

#[derive(Debug)]
struct VideoLane {
    units: AccessUnits,
    order: DecodingOrder,
    /// The newest keyframe's; `None`: frames are dropped until one comes.
    format: Option<Arc<Format>>,
    reorder_depth: u32,
}

#[derive(Debug)]
struct OpusLane {
    format: Arc<Format>,
    codec_delay_ns: i64,
    /// Time of the newest block in the file, and where its sound ends on ours.
    last: Option<(i64, MediaTime)>,
}

impl FrameMaker {
    /// One that waits for the first [`WebmEvent::Begin`].
    pub fn new() -> Self {
        Self::default()
    }

    /// The next event in the order of the file. Blocks of tracks that are unknown or refused are passed over; pictures before the first
    /// keyframe, and what breaks the rules of its codec (with what is predicted from it), are dropped and counted.
    pub fn handle_event(&mut self, event: &WebmEvent) {
        match event {
            WebmEvent::Begin(tracks) => self.begin(tracks),
            WebmEvent::Block(block) => {
                let output = &mut self.output;
                let taken = match self.lanes.get_mut(&block.track) {
                    Some(Lane::Video(lane)) => {
                        lane.handle_block(block, &mut |frame| output.push_back((block.track, frame)))
                    }
                    Some(Lane::Opus(lane)) => {
                        lane.frame(block).map(|frame| output.push_back((block.track, frame)))
                    }
                    None => Some(()),
                };
                self.dropped += u64::from(taken.is_none());
            }
        }
    }

    /// The input has ended: the last pictures that waited for others go.
    pub fn handle_end(&mut self) {
        for (&track, lane) in &mut self.lanes {
            if let Lane::Video(lane) = lane {
                lane.order.release(&mut |frame| self.output.push_back((track, frame)));
            }
        }
    }

    /// The next frame and its track's number, or `None`.
    pub fn poll_frame(&mut self) -> Option<(u64, Frame)> {
        self.output.pop_front()
    }

    /// The tracks that are taken, by number.
    pub fn tracks(&self) -> Vec<(u64, TrackKind)> {
        let kind = |lane: &Lane| match lane {
            Lane::Video(_) => TrackKind::Video,
            Lane::Opus(_) => TrackKind::Audio,
        };
        self.lanes.iter().map(|(&track, lane)| (track, kind(lane))).collect()
    }

    /// The tracks of the newest file that are not taken.
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// Blocks of taken tracks that gave no frame.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn begin(&mut self, tracks: &[WebmTrack]) {
        self.handle_end();
        self.lanes.clear();
        self.refusals.clear();
        for track in tracks {
            let lane = match self.lanes.contains_key(&track.number) {
                true => Err("another track has its number".to_owned()),
                false => Lane::new(track),
            };
            match lane {
                Ok(lane) => {
                    self.lanes.insert(track.number, lane);
                }
                Err(reason) => {
                    self.refusals.push(Refusal { track: track.number, kind: track.kind, reason });
                }
            }
        }
    }
}

impl Lane {
    fn new(track: &WebmTrack) -> Result<Self, String> {
        let codec = match &track.codec {
            WebmCodec::Vp8 => Codec::Vp8,
            WebmCodec::Vp9 => Codec::Vp9,
            WebmCodec::Av1 => Codec::Av1,
            WebmCodec::H264 => Codec::H264,
            WebmCodec::Opus => return OpusLane::new(track).map(Self::Opus),
            WebmCodec::Vorbis => return Err("Vorbis is not taken, only Opus".to_owned()),
            WebmCodec::Aac => return Err("AAC is not taken, only Opus".to_owned()),
            WebmCodec::PcmInt { .. } | WebmCodec::PcmFloat { .. } => {
                return Err("PCM is not taken, only Opus".to_owned());
            }
            WebmCodec::Other(name) => return Err(format!("its codec is not known: {name}")),
        };
        let units = AccessUnits::new(codec, &track.config).map_err(|error| error.to_string())?;
        let order = DecodingOrder::default();
        Ok(Self::Video(Box::new(VideoLane { units, order, format: None, reorder_depth: 0 })))
    }
}

impl VideoLane {
    /// `None`: the block gives no frame.
    fn handle_block(&mut self, block: &WebmBlock, out: &mut impl FnMut(Frame)) -> Option<()> {
        let picture = match self.units.picture(&block.data) {
            Ok(Some(picture)) => picture,
            Ok(None) => return None,
            Err(_) => {
                // What follows is predicted from it.
                self.format = None;
                return None;
            }
        };
        if let Some(format) = picture.format {
            let format = Format::Video(format);
            if self.format.as_deref() != Some(&format) {
                self.format = Some(Arc::new(format));
            }
            self.reorder_depth = picture.reorder_depth;
        }
        let format = Arc::clone(self.format.as_ref()?);
        let pts = MediaTime::from_nanos(block.time_ns).rescale(VIDEO_RATE);
        let duration = block.duration_ns.map(|ns| MediaTime::from_nanos(ns).rescale(VIDEO_RATE));
        let keyframe = picture.keyframe;
        let frame = Frame { format, pts, dts: pts, duration, keyframe, data: picture.data };
        self.order.push(frame, self.reorder_depth, out);
        Some(())
    }
}

impl OpusLane {
    fn new(track: &WebmTrack) -> Result<Self, String> {
        // A mapping family other than 0 (RFC 7845 section 5.1.1) is several streams in one packet.
        let family = track.config.get(18).copied().unwrap_or(0);
        let channels = track.channels;
        if family != 0 || !(1..=2).contains(&channels) {
            return Err(format!("Opus of {channels} channels is not taken, only mono and stereo"));
        }
        let config = Bytes::new();
        let format = AudioFormat { codec: Codec::Opus, sample_rate: AUDIO_RATE, channels, config };
        let codec_delay_ns = i64::try_from(track.codec_delay_ns).unwrap_or(0);
        Ok(Self { format: Arc::new(Format::Audio(format)), codec_delay_ns, last: None })
    }

    fn frame(&mut self, block: &WebmBlock) -> Option<Frame> {
        let duration = MediaTime::from_48k(duration_48k(&block.data).ok()?);
        let pts = match self.last {
            // Packets laced into one block follow each other.
            Some((time_ns, end)) if time_ns == block.time_ns => end,
            _ => {
                let shown_ns = block.time_ns.saturating_sub(self.codec_delay_ns);
                MediaTime::from_nanos(shown_ns).rescale(AUDIO_RATE)
            }
        };
        self.last = Some((block.time_ns, pts + duration));
        let (format, data) = (Arc::clone(&self.format), block.data.clone());
        Some(Frame { format, pts, dts: pts, duration: Some(duration), keyframe: true, data })
    }
}

#[cfg(test)]
mod tests;
