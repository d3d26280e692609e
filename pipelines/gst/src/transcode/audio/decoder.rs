//! Opus frames to samples.

use crate::convert::{buffer_of_frame, caps_of, media_time};
use crate::transcode::TranscodeError;
use crate::transcode::engine::{Engine, Progress, Waker};
use skywave_media::codec::{Codec, Format};
use skywave_media::frame::Frame;
use skywave_media::time::MediaTime;
use std::sync::Arc;

/// Coded frames that wait for the decoder; it takes microseconds for one, so more means that it stands still.
const MAX_BACKLOG: u64 = 200;

/// Samples by which decoded Opus lags behind what was encoded: the encoder looks ahead 2.5 ms and its filters take 4 ms
/// (RFC 7845 section 4.2 calls it pre-skip; RTP has no place to say it, and all browsers use libopus, whose is this).
const OPUS_DELAY: MediaTime = MediaTime::from_48k(312);

/// Decodes one audio track to interleaved stereo at 48 kHz.
#[derive(Debug)]
pub(super) struct AudioDecoder {
    engine: Engine,
    format: Arc<Format>,
}

impl AudioDecoder {
    pub(super) fn start(format: &Arc<Format>, waker: &Waker) -> Result<Self, TranscodeError> {
        let codec = format.codec();
        if codec != Codec::Opus {
            return Err(TranscodeError::NoDecoder(codec));
        }
        // The decoder fills no holes: the cadence does, and knows how long they are.
        let description = "opusdec plc=false \
             ! capsfilter caps=audio/x-raw,format=S16LE,rate=48000,channels=2,layout=interleaved";
        let engine = Engine::start(description, &caps_of(format), waker)?;
        Ok(Self { engine, format: format.clone() })
    }

    pub(super) fn codec(&self) -> Codec {
        self.format.codec()
    }

    /// Takes a coded frame; `false` when it was dropped.
    pub(super) fn handle_frame(&mut self, frame: &Frame) -> bool {
        // An empty packet is how GStreamer says "lost".
        if frame.data.is_empty() || self.engine.progress().waiting >= MAX_BACKLOG {
            return false;
        }
        let Some(buffer) = buffer_of_frame(frame) else { return false };
        self.engine.push(buffer);
        true
    }

    /// The next sound: its time, and its samples in place of what `samples` held.
    pub(super) fn poll_sound(&mut self, samples: &mut Vec<f32>) -> Option<MediaTime> {
        loop {
            let sample = self.engine.pull()?;
            let Some(buffer) = sample.buffer() else { continue };
            let (Some(pts), Ok(map)) = (buffer.pts(), buffer.map_readable()) else { continue };
            samples.clear();
            let (values, _) = map.as_chunks::<2>();
            samples.extend(values.iter().map(|v| f32::from(i16::from_le_bytes(*v)) / 32_768.0));
            return Some(media_time(pts) - OPUS_DELAY);
        }
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.engine.failure()
    }

    pub(super) fn take_warning(&self) -> Option<String> {
        self.engine.take_warning()
    }

    pub(super) fn progress(&self) -> Progress {
        self.engine.progress()
    }
}
