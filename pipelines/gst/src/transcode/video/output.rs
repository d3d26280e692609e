//! One rendition: from the lane's pictures to its H.264.

use super::Size;
use super::encoder::{Picture, VideoEncoder};
use crate::transcode::TranscodeError;
use crate::transcode::engine::{Progress, Waker};
use skywave_media::frame::Frame;
use skywave_media::worker_proto::{OutputId, VideoOut};

/// Pictures that wait for an encoder inside GStreamer; more wait in the pacer, which knows what to drop.
const MAX_ENCODER_BACKLOG: u64 = 2;

/// One rendition and its encoder, which is made for its first picture.
#[derive(Debug)]
pub(super) struct Output {
    out: VideoOut,
    encoder: Option<VideoEncoder>,
    /// It joins renditions that run already: it begins where they have a keyframe.
    await_keyframe: bool,
    running: bool,
}

impl Output {
    pub(super) const fn new(out: VideoOut, await_keyframe: bool) -> Self {
        Self { out, encoder: None, await_keyframe, running: true }
    }

    pub(super) const fn id(&self) -> OutputId {
        self.out.id
    }

    /// Whether the encoder can make `out` from its next picture on.
    pub(super) fn can_become(&self, out: &VideoOut) -> bool {
        *out == VideoOut { bitrate_bps: out.bitrate_bps, resume_at: out.resume_at, ..self.out.clone() }
    }

    pub(super) const fn is_running(&self) -> bool {
        self.running
    }

    /// Goes on as `out`, of pictures that have the size `pin` from the next one on.
    pub(super) fn handle_config(&mut self, out: VideoOut, pin: Size) {
        if let Some(encoder) = &mut self.encoder {
            encoder.set_bitrate(out.bitrate_bps);
            encoder.set_input_size(pin);
        }
        self.out = out;
    }

    /// Encodes the picture, unless it comes before this rendition's beginning. Pixels are shared with whoever else holds them.
    pub(super) fn handle_picture(
        &mut self,
        picture: &Picture<'_>,
        pin: Size,
        colorimetry: Option<&str>,
        waker: &Waker,
    ) -> Result<(), TranscodeError> {
        let too_early = self.out.resume_at.is_some_and(|at| picture.pts < at);
        if too_early || (self.await_keyframe && !picture.keyframe) {
            return Ok(());
        }
        self.await_keyframe = false;
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(VideoEncoder::start(&self.out, pin, colorimetry, picture.pts, waker)?),
        };
        encoder.handle_picture(picture);
        Ok(())
    }

    pub(super) fn poll_frame(&mut self) -> Option<Frame> {
        self.encoder.as_mut()?.poll_frame()
    }

    /// The access units of all pictures so far; nothing comes after them.
    pub(super) fn finish(&mut self) -> Vec<Frame> {
        self.running = false;
        self.encoder.take().map(VideoEncoder::finish).unwrap_or_default()
    }

    /// Whether the encoder is behind.
    pub(super) fn is_busy(&self) -> bool {
        self.progress().is_some_and(|progress| progress.waiting >= MAX_ENCODER_BACKLOG)
    }

    pub(super) fn check(&self) -> Result<(), TranscodeError> {
        match self.encoder.as_ref().and_then(VideoEncoder::failure) {
            Some(error) => Err(TranscodeError::Encoder("video", error)),
            None => Ok(()),
        }
    }

    pub(super) fn progress(&self) -> Option<Progress> {
        self.encoder.as_ref().map(VideoEncoder::progress)
    }
}
