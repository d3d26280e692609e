//! Blocks of samples to AAC-LC frames.

use crate::convert::codec_data;
use crate::transcode::TranscodeError;
use crate::transcode::engine::{Engine, Progress, Waker};
use bytes::Bytes;
use gstreamer as gst;
use skywave_media::cadence_audio::{BLOCK_SAMPLES, Block};
use skywave_media::codec::{AudioFormat, Codec, Format};
use skywave_media::frame::Frame;
use skywave_media::time::{AUDIO_RATE, MediaTime};
use skywave_media::worker_proto::AudioOut;
use std::sync::Arc;

/// Samples by which the decoded output lags behind the input: the encoder's look-ahead and the overlap of its transform
/// (measured; `tests/worker/alignment.rs` fails when it changes).
pub(crate) const ENCODER_DELAY: i64 = 1600;

/// Frames at the start that hold only what was before the first sample.
pub(crate) const PRIMING_FRAMES: u64 = (ENCODER_DELAY as u64).div_ceil(BLOCK_SAMPLES as u64);

/// Samples that must come before the place where the first frame shall stand.
pub(super) const LEAD_SAMPLES: i64 = PRIMING_FRAMES as i64 * BLOCK_SAMPLES as i64 - ENCODER_DELAY;

/// An AAC-LC encoder whose frames stand where their sound does.
#[derive(Debug)]
pub(super) struct AudioEncoder {
    engine: Engine,
    /// Where the first sample stands.
    origin: MediaTime,
    frames_out: u64,
    /// The caps the format was made of.
    format: Option<(gst::Caps, Arc<Format>)>,
}

impl AudioEncoder {
    /// An encoder whose first sample stands at `origin`.
    pub(super) fn start(out: &AudioOut, origin: MediaTime, waker: &Waker) -> Result<Self, TranscodeError> {
        // Not avenc_aac: GStreamer's default for its `aac-ms` forces mid/side coding, which makes a tone on one channel come
        // out of both; with that off it is still 20 dB less clean here, at twice the cost.
        let description = format!(
            "voaacenc bitrate={} ! capsfilter caps=audio/mpeg,mpegversion=4,stream-format=raw",
            out.bitrate_bps
        );
        let caps = gst::Caps::builder("audio/x-raw")
            .field("format", "S16LE")
            .field("layout", "interleaved")
            .field("rate", AUDIO_RATE.cast_signed())
            .field("channels", 2i32)
            .field("channel-mask", gst::Bitmask::new(3))
            .build();
        let engine = Engine::start(&description, &caps, waker)?;
        Ok(Self { engine, origin, frames_out: 0, format: None })
    }

    pub(super) fn handle_block(&mut self, block: Block) {
        // The cast saturates.
        let sixteen_bits = |sample: &f32| (sample * 32_768.0).round() as i16;
        let bytes: Vec<u8> = block.samples.iter().flat_map(|s| sixteen_bits(s).to_le_bytes()).collect();
        let mut buffer = gst::Buffer::from_slice(bytes);
        let at = |time: MediaTime| gst::ClockTime::try_from((time - self.origin).as_duration()).ok();
        let end = block.pts + MediaTime::from_48k(BLOCK_SAMPLES as i64);
        let meta = buffer.make_mut();
        let (start, end) = (at(block.pts), at(end));
        meta.set_pts(start);
        meta.set_duration(end.zip(start).map(|(end, start)| end - start));
        self.engine.push(buffer);
    }

    /// The next frame.
    pub(super) fn poll_frame(&mut self) -> Option<Frame> {
        loop {
            let sample = self.engine.pull()?;
            let number = self.frames_out;
            self.frames_out += 1;
            if number < PRIMING_FRAMES {
                continue;
            }
            if let Some(frame) = self.frame_of(&sample, number) {
                return Some(frame);
            }
        }
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.engine.failure()
    }

    pub(super) fn progress(&self) -> Progress {
        self.engine.progress()
    }

    /// Frames hold 1024 samples each, so the time of one follows from its number: the encoder's own time stamps are
    /// rounded to nanoseconds and know nothing of its delay.
    fn frame_of(&mut self, sample: &gst::Sample, number: u64) -> Option<Frame> {
        let format = self.format_of(sample.caps()?)?;
        let map = sample.buffer()?.map_readable().ok()?;
        let samples = number.cast_signed() * BLOCK_SAMPLES as i64 - ENCODER_DELAY;
        let pts = MediaTime::from_48k(self.origin.rescale(AUDIO_RATE).ticks + samples);
        let duration = Some(MediaTime::from_48k(BLOCK_SAMPLES as i64));
        Some(Frame { format, pts, dts: pts, duration, keyframe: true, data: Bytes::copy_from_slice(&map) })
    }

    fn format_of(&mut self, caps: &gst::CapsRef) -> Option<Arc<Format>> {
        if let Some((known, format)) = &self.format
            && known.as_ref() == caps
        {
            return Some(format.clone());
        }
        let config = codec_data(caps)?;
        let audio = AudioFormat { codec: Codec::Aac, sample_rate: AUDIO_RATE, channels: 2, config };
        let format = Arc::new(Format::Audio(audio));
        self.format = Some((caps.to_owned(), format.clone()));
        Some(format)
    }
}
