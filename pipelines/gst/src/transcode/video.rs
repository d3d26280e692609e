//! The video lane: any codec in, H.264 at a constant rate and a pinned size out.

mod decoder;
mod encoder;

use super::TranscodeError;
use super::engine::{Progress, Waker};
use super::restart::Restarts;
use decoder::VideoDecoder;
use encoder::VideoEncoder;
use gstreamer as gst;
use skywave_media::cadence_video::{VideoCadence, VideoCadenceConfig};
use skywave_media::frame::Frame;
use skywave_media::time::{MediaTime, Mono};
use skywave_media::worker_proto::{VideoOut, WorkerConfig, WorkerCounters};
use std::collections::VecDeque;

/// Pictures that wait for the encoder inside GStreamer; more wait in the cadence, which knows what to drop.
const MAX_ENCODER_BACKLOG: u64 = 2;

/// Decodes one track and encodes it anew.
#[derive(Debug)]
pub struct VideoLane {
    out: VideoOut,
    cadence_config: VideoCadenceConfig,
    cadence: VideoCadence<gst::Buffer>,
    decoder: Option<VideoDecoder>,
    encoder: Option<VideoEncoder>,
    restarts: Restarts,
    frames: VecDeque<Frame>,
    faults: VecDeque<String>,
    waker: Waker,
    /// What earlier cadences of this lane have counted.
    counted: WorkerCounters,
}

impl VideoLane {
    /// A lane that makes `out` from what comes.
    pub fn new(config: &WorkerConfig, out: VideoOut, waker: Waker, now: Mono) -> Self {
        let cadence_config = cadence_config(config, &out);
        Self {
            cadence: VideoCadence::new(cadence_config, now),
            cadence_config,
            out,
            decoder: None,
            encoder: None,
            restarts: Restarts::default(),
            frames: VecDeque::new(),
            faults: VecDeque::new(),
            waker,
            counted: WorkerCounters::default(),
        }
    }

    /// Changes the output without a hole: it goes on at the first slot that has not been sent, or at `resume_at` if
    /// that is later. The decoder keeps running, so no keyframe of the source is needed.
    pub fn handle_config(&mut self, config: &WorkerConfig, out: VideoOut, now: Mono) {
        let mut cadence_config = cadence_config(config, &out);
        let same_cadence = VideoCadenceConfig { resume_at: self.cadence_config.resume_at, ..cadence_config }
            == self.cadence_config;
        let same =
            VideoOut { bitrate_bps: self.out.bitrate_bps, resume_at: self.out.resume_at, ..out.clone() };
        if same_cadence && same == self.out {
            if let Some(encoder) = &self.encoder {
                encoder.set_bitrate(out.bitrate_bps);
            }
            self.out = out;
            return;
        }
        if let Some(encoder) = self.encoder.take() {
            self.frames.extend(encoder.finish());
        }
        cadence_config.resume_at = self.cadence.next_pts().into_iter().chain(out.resume_at).max();
        if let Some(decoder) = &mut self.decoder {
            decoder.fit(out.width, out.height);
        }
        self.count();
        self.cadence = VideoCadence::new(cadence_config, now);
        self.cadence_config = cadence_config;
        self.out = out;
    }

    /// Takes a coded frame of the source.
    pub fn handle_frame(&mut self, frame: &Frame, now: Mono) {
        if self.decoder.as_ref().is_some_and(|decoder| decoder.codec() != frame.format.codec()) {
            self.decoder = None;
        }
        if self.decoder.is_none() && frame.keyframe && self.restarts.may_start(now) {
            match VideoDecoder::start(&frame.format, self.out.width, self.out.height, &self.waker) {
                Ok(decoder) => self.decoder = Some(decoder),
                Err(error) => self.decoder_failed(error.to_string(), now),
            }
        }
        if self.decoder.as_mut().is_some_and(|decoder| decoder.handle_frame(frame)) {
            return;
        }
        self.counted.frames_dropped += 1;
        // Said again and again: the keyframe that the last fault called for may have come before its time.
        if !frame.keyframe && self.restarts.may_start(now) && self.faults.is_empty() {
            self.faults.push_back("decoding waits for a keyframe".to_owned());
        }
    }

    /// Carries on what GStreamer has finished and what time has decided.
    ///
    /// # Errors
    /// When there is no encoder, or it broke: the worker is of no use any more.
    pub fn handle_progress(&mut self, now: Mono) -> Result<(), TranscodeError> {
        self.take_pictures(now);
        self.cadence.handle_timeout(now);
        self.fill_slots()?;
        if let Some(encoder) = &mut self.encoder {
            self.frames.extend(std::iter::from_fn(|| encoder.poll_frame()));
        }
        Ok(())
    }

    /// When [`Self::handle_progress`] must be called at the latest.
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.cadence.poll_timeout()
    }

    /// The next coded frame of the output.
    pub fn poll_frame(&mut self) -> Option<Frame> {
        self.frames.pop_front()
    }

    /// The next thing that went wrong and was dealt with.
    pub fn poll_fault(&mut self) -> Option<String> {
        self.faults.pop_front()
    }

    /// How far decoder and encoder have come.
    pub fn progress(&self) -> [Option<Progress>; 2] {
        [self.decoder.as_ref().map(VideoDecoder::progress), self.encoder.as_ref().map(VideoEncoder::progress)]
    }

    /// The time of the next frame this lane will make.
    pub fn next_pts(&self) -> Option<MediaTime> {
        self.cadence.next_pts()
    }

    /// Adds what this lane has done to `counters`.
    pub fn add_counters(&self, counters: &mut WorkerCounters) {
        let live = self.cadence.counters();
        counters.pictures_decoded += self.counted.pictures_decoded;
        counters.pictures_repeated += self.counted.pictures_repeated + live.repeated;
        counters.pictures_dropped += self.counted.pictures_dropped + live.dropped;
        counters.frames_dropped += self.counted.frames_dropped;
        counters.decoder_restarts += self.counted.decoder_restarts;
    }

    fn take_pictures(&mut self, now: Mono) {
        let Some(decoder) = &mut self.decoder else { return };
        while let Some((pts, picture)) = decoder.poll_picture() {
            self.counted.pictures_decoded += 1;
            self.cadence.handle_picture(pts, picture, now);
        }
        if let Some(warning) = decoder.take_warning() {
            self.faults.push_back(warning);
        }
        if let Some(error) = decoder.failure() {
            self.decoder_failed(error, now);
        }
    }

    fn fill_slots(&mut self) -> Result<(), TranscodeError> {
        loop {
            if let Some(encoder) = &self.encoder {
                if let Some(error) = encoder.failure() {
                    return Err(TranscodeError::Encoder("video", error));
                }
                if encoder.progress().waiting >= MAX_ENCODER_BACKLOG {
                    return Ok(());
                }
            }
            let Some(slot) = self.cadence.poll_slot() else { return Ok(()) };
            let encoder = match &mut self.encoder {
                Some(encoder) => encoder,
                none => {
                    let colorimetry = self.decoder.as_ref().and_then(VideoDecoder::colorimetry);
                    none.insert(VideoEncoder::start(&self.out, colorimetry, slot.pts, &self.waker)?)
                }
            };
            encoder.handle_slot(slot);
        }
    }

    fn decoder_failed(&mut self, reason: String, now: Mono) {
        self.decoder = None;
        self.restarts.handle_failure(now);
        self.counted.decoder_restarts += 1;
        self.faults.push_back(reason);
    }

    fn count(&mut self) {
        let live = self.cadence.counters();
        self.counted.pictures_repeated += live.repeated;
        self.counted.pictures_dropped += live.dropped;
    }
}

fn cadence_config(config: &WorkerConfig, out: &VideoOut) -> VideoCadenceConfig {
    VideoCadenceConfig {
        fps: out.fps,
        keyframe_interval: out.keyframe_interval,
        max_wait: config.max_wait,
        epoch: config.epoch,
        resume_at: out.resume_at,
    }
}
