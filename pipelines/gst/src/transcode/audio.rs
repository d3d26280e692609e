//! The audio lane: Opus in, AAC-LC without a gap out.

mod decoder;
mod encoder;

use super::TranscodeError;
use super::engine::{Progress, Waker};
use super::restart::Restarts;
use decoder::AudioDecoder;
use encoder::{AudioEncoder, LEAD_SAMPLES};
pub(crate) use encoder::{ENCODER_DELAY, PRIMING_FRAMES};
use skywave_media::cadence_audio::{AudioCadence, AudioCadenceConfig};
use skywave_media::frame::Frame;
use skywave_media::time::{MediaTime, Mono};
use skywave_media::worker_proto::{AudioOut, WorkerConfig, WorkerCounters};
use std::collections::VecDeque;

/// Blocks that wait for the encoder inside GStreamer; more wait in the cadence.
const MAX_ENCODER_BACKLOG: u64 = 16;

/// Decodes one track and encodes it anew.
#[derive(Debug)]
pub struct AudioLane {
    out: AudioOut,
    cadence_config: AudioCadenceConfig,
    cadence: AudioCadence,
    decoder: Option<AudioDecoder>,
    encoder: Option<AudioEncoder>,
    restarts: Restarts,
    frames: VecDeque<Frame>,
    faults: VecDeque<String>,
    samples: Vec<f32>,
    waker: Waker,
    /// The end of the last frame that came out.
    sent_until: Option<MediaTime>,
    /// What earlier cadences of this lane have counted.
    counted: WorkerCounters,
}

impl AudioLane {
    /// A lane that makes `out` from what comes.
    pub fn new(config: &WorkerConfig, out: AudioOut, waker: Waker) -> Self {
        let cadence_config = cadence_config(config, out.resume_at);
        Self {
            cadence: AudioCadence::new(cadence_config),
            cadence_config,
            out,
            decoder: None,
            encoder: None,
            restarts: Restarts::default(),
            frames: VecDeque::new(),
            faults: VecDeque::new(),
            samples: Vec::new(),
            waker,
            sent_until: None,
            counted: WorkerCounters::default(),
        }
    }

    /// Changes the output without a hole: it goes on where frames ended, or at `resume_at` if that is later.
    pub fn handle_config(&mut self, config: &WorkerConfig, out: AudioOut) {
        let next = cadence_config(config, out.resume_at);
        let same = AudioCadenceConfig { resume_at: self.cadence_config.resume_at, ..next }
            == self.cadence_config
            && out.bitrate_bps == self.out.bitrate_bps;
        self.out = out;
        if !same {
            let resume_at = self.sent_until.into_iter().chain(self.out.resume_at).max();
            self.begin_again(cadence_config(config, resume_at));
        }
    }

    /// Takes a coded frame of the source.
    pub fn handle_frame(&mut self, frame: &Frame, now: Mono) {
        if self.decoder.as_ref().is_some_and(|decoder| decoder.codec() != frame.format.codec()) {
            self.decoder = None;
        }
        if self.decoder.is_none() && self.restarts.may_start(now) {
            match AudioDecoder::start(&frame.format, &self.waker) {
                Ok(decoder) => self.decoder = Some(decoder),
                Err(error) => self.decoder_failed(error.to_string(), now),
            }
        }
        if !self.decoder.as_mut().is_some_and(|decoder| decoder.handle_frame(frame)) {
            self.counted.frames_dropped += 1;
        }
    }

    /// Carries on what GStreamer has finished and what time has decided.
    ///
    /// # Errors
    /// When there is no encoder, or it broke: the worker is of no use any more.
    pub fn handle_progress(&mut self, now: Mono) -> Result<(), TranscodeError> {
        self.take_sound(now);
        self.cadence.handle_timeout(now);
        self.fill_blocks()?;
        if let Some(encoder) = &mut self.encoder {
            while let Some(frame) = encoder.poll_frame() {
                self.sent_until = frame.duration.map(|duration| frame.pts + duration);
                self.frames.push_back(frame);
            }
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
        [self.decoder.as_ref().map(AudioDecoder::progress), self.encoder.as_ref().map(AudioEncoder::progress)]
    }

    /// Adds what this lane has done to `counters`.
    pub fn add_counters(&self, counters: &mut WorkerCounters) {
        let live = self.cadence.counters();
        counters.silent_samples += self.counted.silent_samples + live.silent;
        counters.cut_samples += self.counted.cut_samples + live.cut;
        counters.frames_dropped += self.counted.frames_dropped;
        counters.decoder_restarts += self.counted.decoder_restarts;
    }

    fn take_sound(&mut self, now: Mono) {
        let Some(decoder) = &mut self.decoder else { return };
        while let Some(pts) = decoder.poll_sound(&mut self.samples) {
            self.cadence.handle_sound(pts, &self.samples, now);
        }
        if let Some(warning) = decoder.take_warning() {
            self.faults.push_back(warning);
        }
        if let Some(error) = decoder.failure() {
            self.decoder_failed(error, now);
        }
    }

    fn fill_blocks(&mut self) -> Result<(), TranscodeError> {
        loop {
            if let Some(encoder) = &self.encoder {
                if let Some(error) = encoder.failure() {
                    return Err(TranscodeError::Encoder("audio", error));
                }
                if encoder.progress().waiting >= MAX_ENCODER_BACKLOG {
                    return Ok(());
                }
            }
            let Some(block) = self.cadence.poll_block() else { return Ok(()) };
            let encoder = match &mut self.encoder {
                Some(encoder) => encoder,
                none => none.insert(AudioEncoder::start(&self.out, block.pts, &self.waker)?),
            };
            encoder.handle_block(block);
        }
    }

    fn decoder_failed(&mut self, reason: String, now: Mono) {
        self.decoder = None;
        self.restarts.handle_failure(now);
        self.counted.decoder_restarts += 1;
        self.faults.push_back(reason);
    }

    /// A new encoder and cadence: the old one's sound that has not come out is lost to silence, a few blocks.
    fn begin_again(&mut self, config: AudioCadenceConfig) {
        let live = self.cadence.counters();
        self.counted.silent_samples += live.silent;
        self.counted.cut_samples += live.cut;
        self.encoder = None;
        self.cadence_config = config;
        self.cadence = AudioCadence::new(config);
    }
}

fn cadence_config(config: &WorkerConfig, resume_at: Option<MediaTime>) -> AudioCadenceConfig {
    AudioCadenceConfig { max_wait: config.max_wait, epoch: config.epoch, resume_at: resume_at.map(with_lead) }
}

/// Where samples must begin so that the first frame of the encoder stands exactly at `resume_at`.
fn with_lead(resume_at: MediaTime) -> MediaTime {
    resume_at - MediaTime::from_48k(LEAD_SAMPLES)
}
