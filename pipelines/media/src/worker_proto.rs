//! The messages between the server and its worker process, length-delimited.
//!
//! One message on the wire is a little-endian `u32` byte count and that many bytes of postcard. Either side may cut the
//! stream into chunks anywhere. The worker feeds decoders with whatever strangers publish, so the server trusts nothing
//! it says: sizes are bounded, rates are never zero, and times stay in a range in which arithmetic cannot overflow.
//!
//! What belongs here: the messages, their codec, and what each side remembers of formats. What does not: sockets,
//! processes, and what to do when the other side breaks the rules (the caller ends it).

use crate::codec::{Format, TrackKind};
use crate::frame::Frame;
use crate::time::{MediaTime, Mono};
use bytes::{Buf, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// The largest message either side accepts, in bytes without its length: room for an intra frame of 4K video.
pub const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;

/// Bytes of the length before each message.
const LENGTH_BYTES: usize = 4;

/// Times further from the start of the timeline than this are refused: 100 years, so that sums cannot overflow.
const MAX_TIMELINE_SECONDS: i128 = 100 * 366 * 24 * 3600;

/// Widest and highest picture the worker makes, in pixels.
const MAX_DIMENSION: u32 = 8192;

/// Video outputs of one worker; [`OutputId`]s lie below it.
pub const MAX_OUTPUTS: usize = 16;

/// The largest thumbnail a worker may hand out, in bytes.
const MAX_THUMBNAIL_BYTES: usize = 512 * 1024;

/// What the server tells its worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// What to make from now on. The first message; later ones change a running worker without a hole in its timelines.
    Configure(WorkerConfig),
    /// One coded frame of the source rendition.
    Frame(FrameMessage),
    /// Finish at once: nothing more is wanted.
    Shutdown,
}

/// What the worker tells the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromWorker {
    /// A `Configure` has taken effect; frames may come.
    Ready,
    /// One coded frame of an output rendition.
    Frame(FrameMessage),
    /// A small picture of what is shown.
    Thumbnail {
        /// When it is shown, on the stream's timeline.
        pts: MediaTime,
        /// JPEG.
        jpeg: Bytes,
    },
    /// The worker is alive and its pipelines move. None for the better part of a second means that it hangs.
    Heartbeat {
        /// When it was sent.
        at: Mono,
        /// What the worker has done so far.
        counters: WorkerCounters,
    },
    /// Something in this lane went wrong and was dealt with (a decoder was rebuilt, say): for logs and counters, at most
    /// one a second and lane. After one of video the source should be asked for a keyframe: decoding may wait for it.
    Fault {
        /// The lane.
        kind: TrackKind,
        /// What happened, in words.
        reason: String,
    },
}

/// One coded frame on its way between the two processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameMessage {
    /// The lane.
    pub kind: TrackKind,
    /// Which of the lane's outputs; zero for audio and for frames of the source.
    pub output: OutputId,
    /// The format of this frame and those after it; `None` while it stays what it was.
    pub format: Option<Format>,
    /// When it is shown or heard, on the stream's timeline.
    pub pts: MediaTime,
    /// When it is decoded.
    pub dts: MediaTime,
    /// How long it lasts, when known.
    pub duration: Option<MediaTime>,
    /// Decoding can start here.
    pub keyframe: bool,
    /// The coded bytes, as in [`Frame::data`].
    pub data: Bytes,
}

/// Which of a worker's video outputs. The server gives the numbers; frames that are on their way while outputs change
/// keep theirs, so a number means the same rendition for as long as the worker runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OutputId(pub u8);

/// What one stream's worker makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerConfig {
    /// The stream's name, for log lines.
    pub stream: String,
    /// The zero of the stream's timeline on `CLOCK_MONOTONIC`, which both processes share.
    pub epoch: Mono,
    /// How far behind its place on the timeline a source frame may come before its place is filled without it.
    /// Frames that come on time are never held back.
    pub max_wait: Duration,
    /// The renditions to make of the source's video, decoded once. All have the same frame rate and keyframe grid.
    pub video: Vec<VideoOut>,
    /// Which frames the renditions have, and where their keyframes stand.
    pub pace: Pace,
    /// The small pictures to make of the source's video.
    pub thumbnail: Option<ThumbnailOut>,
    /// What is shown instead of a source that has gone.
    pub slate: Option<Slate>,
    /// The audio to make from the source's.
    pub audio: Option<AudioOut>,
}

/// The frames of all video outputs of one worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pace {
    /// A constant frame rate, whatever the source does; keyframes on the grid of [`VideoOut::keyframe_interval`].
    #[default]
    Constant,
    /// The source's own frames and keyframes, at its own times: for renditions beside a source that is passed through.
    /// [`VideoOut::fps`] is the most there may be; of a faster source frames are left out.
    Source,
}

/// Small pictures of what is shown, as JPEG.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThumbnailOut {
    /// Width in pixels, even.
    pub width: u32,
    /// Height in pixels, even.
    pub height: u32,
    /// Time between two of them.
    pub interval: Duration,
}

/// What is shown while nobody publishes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Slate {
    /// A plain grey picture.
    Plain,
    /// A picture file: PNG or JPEG.
    Picture(Bytes),
}

/// [`WorkerConfig::max_wait`] when there is no reason for another.
pub const DEFAULT_MAX_WAIT: Duration = Duration::from_millis(300);

/// One video output: H.264 at a constant frame rate and a pinned size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoOut {
    /// Its number; no two have the same.
    pub id: OutputId,
    /// Width in pixels, even.
    pub width: u32,
    /// Height in pixels, even.
    pub height: u32,
    /// Frames per second, 1 to 240.
    pub fps: u32,
    /// Which encoder.
    pub encoder: Encoder,
    /// Mean bitrate, in bits per second.
    pub bitrate_bps: u32,
    /// Distance of keyframes: they stand at the multiples of this on the stream's timeline.
    pub keyframe_interval: Duration,
    /// The PTS of the first frame when this output goes on from an earlier one; otherwise the first picture's.
    pub resume_at: Option<MediaTime>,
}

/// Which H.264 encoder, and how hard it tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoder {
    /// x264 (GPL) with one of its speed presets.
    X264 {
        /// The preset.
        preset: X264Preset,
    },
    /// Cisco's OpenH264 (BSD).
    OpenH264,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::X264 { preset: X264Preset::Superfast }
    }
}

/// x264's speed presets that are sensible for live work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum X264Preset {
    /// The cheapest and the worst.
    Ultrafast,
    /// The default: most of the quality for little time.
    #[default]
    Superfast,
    /// Half as much work again for a little quality.
    Veryfast,
    /// More work still.
    Faster,
}

impl X264Preset {
    /// Its name in x264 and ffmpeg.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ultrafast => "ultrafast",
            Self::Superfast => "superfast",
            Self::Veryfast => "veryfast",
            Self::Faster => "faster",
        }
    }
}

/// One audio output: AAC-LC, stereo, 48 kHz, frames of 1024 samples without a gap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioOut {
    /// Bitrate, in bits per second.
    pub bitrate_bps: u32,
    /// The PTS of the first frame when this output goes on from an earlier one; otherwise the first sound's.
    pub resume_at: Option<MediaTime>,
}

/// What a worker has done since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WorkerCounters {
    /// Source video frames received.
    pub video_frames_in: u64,
    /// Source audio frames received.
    pub audio_frames_in: u64,
    /// Pictures decoded.
    pub pictures_decoded: u64,
    /// Slots that were filled by showing the last picture again.
    pub pictures_repeated: u64,
    /// Decoded pictures that no slot wanted, or that the encoder had no time for.
    pub pictures_dropped: u64,
    /// Of these, the pictures that the encoders had no time for.
    pub pictures_late: u64,
    /// Source frames thrown away because a decoder could not follow.
    pub frames_dropped: u64,
    /// Video frames sent, of all renditions.
    pub video_frames_out: u64,
    /// Audio frames sent.
    pub audio_frames_out: u64,
    /// Samples of silence (per channel) put where there was no sound.
    pub silent_samples: u64,
    /// Samples (per channel) cut because their time had been filled already.
    pub cut_samples: u64,
    /// Decoders rebuilt after an error.
    pub decoder_restarts: u64,
}

/// Why a byte stream cannot be read on, or a message not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtoError {
    /// A message beyond [`MAX_MESSAGE_BYTES`].
    #[error("message of {size} bytes exceeds {MAX_MESSAGE_BYTES}")]
    TooLarge {
        /// Its size, in bytes.
        size: usize,
    },
    /// Bytes that are no message.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// A message with a value out of its range.
    #[error("message out of range: {0}")]
    OutOfRange(&'static str),
}

/// A message of one of the two directions.
pub trait Message: Serialize + DeserializeOwned {
    /// Whether every value is in its range.
    ///
    /// # Errors
    /// [`ProtoError::OutOfRange`] names the first that is not.
    fn validate(&self) -> Result<(), ProtoError>;
}

impl Message for ToWorker {
    fn validate(&self) -> Result<(), ProtoError> {
        match self {
            Self::Configure(config) => config.validate(),
            Self::Frame(frame) => frame.validate(),
            Self::Shutdown => Ok(()),
        }
    }
}

impl Message for FromWorker {
    fn validate(&self) -> Result<(), ProtoError> {
        match self {
            Self::Frame(frame) => frame.validate(),
            Self::Thumbnail { pts, jpeg } => {
                check_time([*pts])?;
                check(jpeg.len() <= MAX_THUMBNAIL_BYTES, "thumbnail size")
            }
            Self::Ready | Self::Heartbeat { .. } | Self::Fault { .. } => Ok(()),
        }
    }
}

impl WorkerConfig {
    fn validate(&self) -> Result<(), ProtoError> {
        if self.max_wait > Duration::from_secs(60) {
            return Err(ProtoError::OutOfRange("max_wait beyond a minute"));
        }
        check(self.video.len() <= MAX_OUTPUTS, "number of video outputs")?;
        for (index, video) in self.video.iter().enumerate() {
            video.validate()?;
            let others = &self.video[..index];
            check(others.iter().all(|other| other.id != video.id), "video outputs of one number")?;
            let same = |other: &VideoOut| {
                (other.fps, other.keyframe_interval) == (video.fps, video.keyframe_interval)
            };
            check(others.iter().all(same), "video outputs of different frame rates or keyframe grids")?;
        }
        if let Some(thumbnail) = &self.thumbnail {
            check(is_size(thumbnail.width, thumbnail.height), "thumbnail size")?;
            check(thumbnail.interval >= Duration::from_millis(100), "thumbnail interval")?;
        }
        if let Some(audio) = &self.audio {
            check(audio.bitrate_bps > 0, "audio bitrate of zero")?;
            check_time(audio.resume_at)?;
        }
        Ok(())
    }
}

impl VideoOut {
    fn validate(&self) -> Result<(), ProtoError> {
        check(usize::from(self.id.0) < MAX_OUTPUTS, "number of a video output")?;
        check(is_size(self.width, self.height), "picture size")?;
        check((1..=240).contains(&self.fps), "frame rate")?;
        check(self.bitrate_bps > 0, "video bitrate of zero")?;
        let interval = self.keyframe_interval;
        check(
            interval >= Duration::from_millis(1) && interval <= Duration::from_secs(3600),
            "keyframe interval",
        )?;
        check_time(self.resume_at)
    }
}

impl FrameMessage {
    pub(crate) fn validate(&self) -> Result<(), ProtoError> {
        check_time([self.pts, self.dts].into_iter().chain(self.duration))?;
        check(usize::from(self.output.0) < MAX_OUTPUTS, "number of an output")?;
        check(self.format.as_ref().is_none_or(|f| f.kind() == self.kind), "format of the other lane")
    }
}

fn is_size(width: u32, height: u32) -> bool {
    let even = |n: u32| (2..=MAX_DIMENSION).contains(&n) && n.is_multiple_of(2);
    even(width) && even(height)
}

fn check(holds: bool, what: &'static str) -> Result<(), ProtoError> {
    if holds { Ok(()) } else { Err(ProtoError::OutOfRange(what)) }
}

fn check_time(times: impl IntoIterator<Item = MediaTime>) -> Result<(), ProtoError> {
    let sane = |t: MediaTime| {
        // Nanoseconds are the finest clock Skywave knows.
        (1..=1_000_000_000).contains(&t.rate)
            && i128::from(t.ticks).abs() <= MAX_TIMELINE_SECONDS * i128::from(t.rate)
    };
    check(times.into_iter().all(sane), "time")
}

/// Appends one message with its length to `out`.
///
/// # Errors
/// [`ProtoError::TooLarge`] or [`ProtoError::OutOfRange`] when the other side would refuse it; `out` is as it was.
pub fn encode<M: Message>(message: &M, out: &mut Vec<u8>) -> Result<(), ProtoError> {
    message.validate()?;
    let start = out.len();
    let mut buffer = std::mem::take(out);
    buffer.extend_from_slice(&[0; LENGTH_BYTES]);
    // Messages are plain data: postcard has no reason to refuse one, and a `Vec` grows.
    *out = postcard::to_extend(message, buffer).map_err(|e| ProtoError::Malformed(e.to_string()))?;
    let size = out.len() - start - LENGTH_BYTES;
    match u32::try_from(size) {
        Ok(length) if size <= MAX_MESSAGE_BYTES => {
            out[start..start + LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
            Ok(())
        }
        _ => {
            out.truncate(start);
            Err(ProtoError::TooLarge { size })
        }
    }
}

/// Reads messages out of a byte stream that is cut anywhere.
///
/// Holds at most one incomplete message besides what the last chunk brought, if the caller drains [`Self::poll`].
#[derive(Debug)]
pub struct MessageReader<M> {
    buffer: BytesMut,
    failed: Option<ProtoError>,
    message: PhantomData<fn() -> M>,
}

impl<M> Default for MessageReader<M> {
    fn default() -> Self {
        Self { buffer: BytesMut::new(), failed: None, message: PhantomData }
    }
}

impl<M: Message> MessageReader<M> {
    /// A reader at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in the next chunk. Nothing is kept after an error.
    pub fn handle_bytes(&mut self, chunk: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(chunk);
        }
    }

    /// The next whole message.
    ///
    /// # Errors
    /// When the stream is broken; it stays so, and every later call says the same.
    pub fn poll(&mut self) -> Result<Option<M>, ProtoError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.next().inspect_err(|error| {
            self.failed = Some(error.clone());
            self.buffer = BytesMut::new();
        })
    }

    /// Whether the stream ends between two messages.
    pub fn is_at_border(&self) -> bool {
        self.buffer.is_empty()
    }

    fn next(&mut self) -> Result<Option<M>, ProtoError> {
        let Some(length) = self.buffer.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let size = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if size > MAX_MESSAGE_BYTES {
            return Err(ProtoError::TooLarge { size });
        }
        if self.buffer.len() - LENGTH_BYTES < size {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        let body = self.buffer.split_to(size);
        let (message, rest) =
            postcard::take_from_bytes::<M>(&body).map_err(|e| ProtoError::Malformed(e.to_string()))?;
        if !rest.is_empty() {
            return Err(ProtoError::Malformed(format!("{} bytes too many", rest.len())));
        }
        message.validate()?;
        Ok(Some(message))
    }
}

/// The formats of all lanes and outputs that were named last; at most [`MAX_OUTPUTS`] a lane.
#[derive(Debug, Default)]
struct Formats(Vec<(TrackKind, OutputId, Arc<Format>)>);

impl Formats {
    fn get(&self, kind: TrackKind, output: OutputId) -> Option<&Arc<Format>> {
        self.0.iter().find(|known| (known.0, known.1) == (kind, output)).map(|known| &known.2)
    }

    fn set(&mut self, kind: TrackKind, output: OutputId, format: Arc<Format>) {
        match self.0.iter_mut().find(|known| (known.0, known.1) == (kind, output)) {
            Some(known) => known.2 = format,
            None => self.0.push((kind, output, format)),
        }
    }
}

/// The sending side's memory of formats: turns frames into messages that carry the format only when it changes.
#[derive(Debug, Default)]
pub struct FrameSender(Formats);

impl FrameSender {
    /// The message for the next frame of this connection: one of the source, or audio. Data is shared, not copied.
    pub fn message(&mut self, frame: &Frame) -> FrameMessage {
        self.message_of(OutputId::default(), frame)
    }

    /// The message for the next frame of one video output.
    pub fn message_of(&mut self, output: OutputId, frame: &Frame) -> FrameMessage {
        let kind = frame.kind();
        // Frames of one format share an allocation, so the usual case is a comparison of pointers.
        let known = self.0.get(kind, output);
        let same = known.is_some_and(|k| Arc::ptr_eq(k, &frame.format) || **k == *frame.format);
        if !same {
            self.0.set(kind, output, frame.format.clone());
        }
        FrameMessage {
            kind,
            output,
            format: (!same).then(|| (*frame.format).clone()),
            pts: frame.pts,
            dts: frame.dts,
            duration: frame.duration,
            keyframe: frame.keyframe,
            data: frame.data.clone(),
        }
    }
}

/// The receiving side's memory of formats: turns messages back into frames.
#[derive(Debug, Default)]
pub struct FrameReceiver(Formats);

impl FrameReceiver {
    /// The frame of a message; `None` when the sender never said this output's format (a breach of the protocol).
    pub fn frame(&mut self, message: FrameMessage) -> Option<Frame> {
        if let Some(format) = message.format {
            self.0.set(message.kind, message.output, Arc::new(format));
        }
        Some(Frame {
            format: self.0.get(message.kind, message.output)?.clone(),
            pts: message.pts,
            dts: message.dts,
            duration: message.duration,
            keyframe: message.keyframe,
            data: message.data,
        })
    }
}

#[cfg(test)]
mod tests;
