//! The video lane: any codec in, decoded once; H.264 renditions with the same frames at the same times out, and thumbnails.

mod decoder;
mod encoder;
mod output;
mod pacer;
mod slate;
mod thumbnails;

use super::TranscodeError;
use super::engine::{Progress, Waker};
use super::restart::Restarts;
use decoder::VideoDecoder;
use gstreamer as gst;
use output::Output;
use pacer::{Paced, Pacer, PacerConfig};
use skywave_media::frame::Frame;
use skywave_media::time::{MediaTime, Mono};
use skywave_media::worker_proto::{OutputId, Slate, WorkerConfig, WorkerCounters};
use std::collections::VecDeque;
use thumbnails::Thumbnails;

/// Width and height of a picture in pixels.
type Size = (u32, u32);

/// Decodes one track and encodes it anew, once for each rendition.
#[derive(Debug)]
pub struct VideoLane {
    /// The size that pictures are decoded into: that of the largest rendition.
    pin: Size,
    pacer_config: PacerConfig,
    pacer: Pacer,
    decoder: Option<VideoDecoder>,
    outputs: Vec<Output>,
    thumbnails: Option<Thumbnails>,
    /// What is shown while there is no source.
    slate: Option<Slate>,
    black: Option<gst::Buffer>,
    restarts: Restarts,
    frames: VecDeque<(OutputId, Frame)>,
    faults: VecDeque<String>,
    waker: Waker,
    /// What earlier pacers of this lane have counted.
    counted: WorkerCounters,
}

impl VideoLane {
    /// A lane that makes what `config` says of what comes; `None` when it wants no pictures.
    pub fn new(config: &WorkerConfig, waker: Waker, now: Mono) -> Option<Self> {
        let pin = pin(config)?;
        let resume_at = config.video.iter().filter_map(|out| out.resume_at).min();
        let pacer_config = PacerConfig::new(config, resume_at);
        let mut lane = Self {
            pin,
            pacer: Pacer::new(&pacer_config, now),
            pacer_config,
            decoder: None,
            outputs: config.video.iter().map(|out| Output::new(out.clone(), false)).collect(),
            thumbnails: None,
            slate: None,
            black: None,
            restarts: Restarts::default(),
            frames: VecDeque::new(),
            faults: VecDeque::new(),
            waker,
            counted: WorkerCounters::default(),
        };
        lane.thumbnails = config.thumbnail.map(Thumbnails::new);
        lane.show_slate(config.slate.as_ref(), now);
        Some(lane)
    }

    /// Changes what is made without a hole: renditions go on at the first slot that has not been sent, or at their
    /// `resume_at` if that is later. The decoder keeps running, so no keyframe of the source is needed. `false` when no
    /// pictures are wanted any more: the lane is to be dropped, its last frames first.
    pub fn handle_config(&mut self, config: &WorkerConfig, now: Mono) -> bool {
        let Some(pin) = pin(config) else {
            self.finish(|_| false);
            return false;
        };
        let had_outputs = !self.outputs.is_empty();
        let next = PacerConfig::new(config, None);
        let same_pace = next == PacerConfig { resume_at: None, ..self.pacer_config };
        let anew = !same_pace || pin != self.pin;
        self.finish(|output| config.video.iter().any(|out| output.can_become(out) && same_pace));
        self.change_outputs(config, pin, anew || !had_outputs);
        if anew {
            self.begin_again(config, now);
        }
        if pin != self.pin {
            self.pin = pin;
            self.black = None;
            if let Some(decoder) = &mut self.decoder {
                decoder.fit(pin);
            }
        }
        if let (Some(decoder), false) = (&mut self.decoder, had_outputs) {
            // Until now it has seen keyframes only, if that.
            decoder.begin_at_keyframe();
        }
        match (&mut self.thumbnails, config.thumbnail) {
            (Some(thumbnails), Some(wanted)) => thumbnails.handle_config(wanted, anew),
            (thumbnails, wanted) => *thumbnails = wanted.map(Thumbnails::new),
        }
        self.show_slate(config.slate.as_ref(), now);
        true
    }

    /// Takes a coded frame of the source.
    pub fn handle_frame(&mut self, frame: &Frame, now: Mono) {
        if self.outputs.is_empty() && !frame.keyframe {
            return; // Thumbnails are made of keyframes alone.
        }
        if self.decoder.as_ref().is_some_and(|decoder| decoder.codec() != frame.format.codec()) {
            self.decoder = None;
        }
        if self.decoder.is_none() && frame.keyframe && self.restarts.may_start(now) {
            match VideoDecoder::start(&frame.format, self.pin, &self.waker) {
                Ok(decoder) => self.decoder = Some(decoder),
                Err(error) => self.decoder_failed(error.to_string(), now),
            }
        }
        if self.decoder.as_mut().is_some_and(|decoder| decoder.handle_frame(frame)) {
            self.pacer.handle_frame(frame);
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
        if self.outputs.is_empty() {
            return Ok(());
        }
        self.pacer.handle_timeout(now);
        self.encode()?;
        for output in &mut self.outputs {
            let id = output.id();
            self.frames.extend(std::iter::from_fn(|| output.poll_frame()).map(|frame| (id, frame)));
        }
        Ok(())
    }

    /// When [`Self::handle_progress`] must be called at the latest.
    pub fn poll_timeout(&self) -> Option<Mono> {
        if self.outputs.is_empty() { None } else { self.pacer.poll_timeout() }
    }

    /// The next coded frame, and the output it belongs to.
    pub fn poll_frame(&mut self) -> Option<(OutputId, Frame)> {
        self.frames.pop_front()
    }

    /// The next thumbnail: its time, and JPEG.
    pub fn poll_thumbnail(&mut self) -> Option<(MediaTime, bytes::Bytes)> {
        let thumbnails = self.thumbnails.as_mut()?;
        match thumbnails.poll() {
            Ok(thumbnail) => thumbnail,
            Err(reason) => {
                self.faults.push_back(reason);
                None
            }
        }
    }

    /// The next thing that went wrong and was dealt with.
    pub fn poll_fault(&mut self) -> Option<String> {
        self.faults.pop_front()
    }

    /// How far the decoder has come.
    pub fn decoder_progress(&self) -> Option<Progress> {
        self.decoder.as_ref().map(VideoDecoder::progress)
    }

    /// How far each encoder has come.
    pub fn encoder_progress(&self) -> impl Iterator<Item = (OutputId, Progress)> {
        self.outputs.iter().filter_map(|output| Some((output.id(), output.progress()?)))
    }

    /// Adds what this lane has done to `counters`.
    pub fn add_counters(&self, counters: &mut WorkerCounters) {
        let mut own = self.counted;
        self.pacer.add_counters(&mut own);
        counters.pictures_decoded += own.pictures_decoded;
        counters.pictures_repeated += own.pictures_repeated;
        counters.pictures_dropped += own.pictures_dropped;
        counters.pictures_late += own.pictures_late;
        counters.frames_dropped += own.frames_dropped;
        counters.decoder_restarts += own.decoder_restarts;
    }

    fn take_pictures(&mut self, now: Mono) {
        let Some(decoder) = &mut self.decoder else { return };
        while let Some((pts, picture)) = decoder.poll_picture() {
            self.counted.pictures_decoded += 1;
            if !self.outputs.is_empty() {
                self.pacer.handle_picture(pts, picture, now);
            } else if let Some(thumbnails) = &mut self.thumbnails {
                let fault =
                    thumbnails.handle_picture(pts, &picture, self.pin, decoder.colorimetry(), &self.waker);
                self.faults.extend(fault.err());
            }
        }
        if let Some(warning) = decoder.take_warning() {
            self.faults.push_back(warning);
        }
        if let Some(error) = decoder.failure() {
            self.decoder_failed(error, now);
        }
    }

    /// Hands every picture whose time is decided to all encoders. The slowest sets the pace, so that all renditions have the
    /// same frames.
    fn encode(&mut self) -> Result<(), TranscodeError> {
        loop {
            for output in &self.outputs {
                output.check()?;
            }
            if self.outputs.iter().any(Output::is_busy) {
                return Ok(());
            }
            let Some(Paced { pts, duration, keyframe, picture }) = self.pacer.poll_picture() else {
                return Ok(());
            };
            let pin = self.pin;
            let picture = picture
                .unwrap_or_else(|| self.black.get_or_insert_with(|| slate::plain(pin, slate::BLACK)).clone());
            let colorimetry = self.decoder.as_ref().and_then(VideoDecoder::colorimetry);
            if let Some(thumbnails) = &mut self.thumbnails {
                let fault = thumbnails.handle_picture(pts, &picture, pin, colorimetry, &self.waker);
                self.faults.extend(fault.err());
            }
            for output in &mut self.outputs {
                let to_encode = encoder::Picture { pts, duration, keyframe, pixels: &picture };
                output.handle_picture(&to_encode, pin, colorimetry, &self.waker)?;
            }
        }
    }

    /// Ends the outputs that `stay` does not hold for; their last frames come out.
    fn finish(&mut self, stay: impl Fn(&Output) -> bool) {
        for output in self.outputs.iter_mut().filter(|output| !stay(output)) {
            let id = output.id();
            self.frames.extend(output.finish().into_iter().map(|frame| (id, frame)));
        }
    }

    /// Makes the outputs those of `config`. One that joins others waits for their next keyframe, unless all begin anew.
    fn change_outputs(&mut self, config: &WorkerConfig, pin: Size, anew: bool) {
        let mut before = std::mem::take(&mut self.outputs);
        for out in &config.video {
            let known = before.iter().position(|output| output.id() == out.id);
            let output = match known.map(|index| before.swap_remove(index)) {
                Some(mut output) if output.is_running() && output.can_become(out) => {
                    output.handle_config(out.clone(), pin);
                    output
                }
                Some(_) => Output::new(out.clone(), false),
                None => Output::new(out.clone(), !anew),
            };
            self.outputs.push(output);
        }
    }

    /// A new pacer that goes on where the old one stopped.
    fn begin_again(&mut self, config: &WorkerConfig, now: Mono) {
        let resume_at = config.video.iter().filter_map(|out| out.resume_at).min();
        let resume_at = self.pacer.next_pts().into_iter().chain(resume_at).max();
        self.pacer.add_counters(&mut self.counted);
        self.pacer_config = PacerConfig::new(config, resume_at);
        self.pacer = Pacer::new(&self.pacer_config, now);
    }

    /// Shows the slate from the next slot on, until the source's first picture.
    fn show_slate(&mut self, slate: Option<&Slate>, now: Mono) {
        if self.slate.as_ref() == slate {
            return;
        }
        self.slate = slate.cloned();
        let (Some(slate), Some(at)) = (slate, self.pacer.next_pts()) else { return };
        // The source is gone: what is left of it in the decoder is of no use.
        self.decoder = None;
        let picture = slate::picture(slate, self.pin, &self.waker).unwrap_or_else(|reason| {
            self.faults.push_back(format!("the slate cannot be shown: {reason}"));
            slate::plain(self.pin, slate::GREY)
        });
        self.pacer.handle_picture(at, picture, now);
    }

    fn decoder_failed(&mut self, reason: String, now: Mono) {
        self.decoder = None;
        self.restarts.handle_failure(now);
        self.counted.decoder_restarts += 1;
        self.faults.push_back(reason);
    }
}

/// The size that pictures are decoded into: the largest rendition's, or the thumbnail's when there is none.
fn pin(config: &WorkerConfig) -> Option<Size> {
    let largest = config.video.iter().map(|out| (out.width, out.height));
    let largest = largest.max_by_key(|(width, height)| u64::from(*width) * u64::from(*height));
    largest.or_else(|| config.thumbnail.map(|thumbnail| (thumbnail.width, thumbnail.height)))
}
