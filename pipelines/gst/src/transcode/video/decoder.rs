//! Coded frames to pictures of the output's size.

use super::Size;
use crate::convert::{buffer_of_frame, caps_of, media_time};
use crate::transcode::TranscodeError;
use crate::transcode::engine::{Engine, Progress, Waker};
use gst::prelude::*;
use gstreamer as gst;
use skywave_media::codec::{Codec, Format, TrackKind};
use skywave_media::frame::Frame;
use skywave_media::time::MediaTime;
use std::sync::Arc;

/// Coded frames that wait for a decoder that is slow; beyond, all up to the next keyframe are dropped.
const MAX_BACKLOG: u64 = 60;

/// The decoder of each codec: one thread (frame threads add latency and save no CPU), no time stamps of its own making.
fn element_for(codec: Codec) -> Option<&'static str> {
    match codec {
        Codec::Vp8 => Some("vp8dec threads=1 qos=false"),
        Codec::Vp9 => Some("vp9dec threads=1 qos=false"),
        Codec::Av1 => Some("av1dec qos=false"),
        Codec::H264 => Some("avdec_h264 max-threads=1 qos=false"),
        Codec::Opus | Codec::Aac => None,
    }
}

/// One codec's decoder, and the converter behind it that scales and pads to the output's size.
#[derive(Debug)]
pub(super) struct VideoDecoder {
    engine: Engine,
    format: Arc<Format>,
    size: (u32, u32),
    await_keyframe: bool,
    colorimetry: Option<String>,
}

impl VideoDecoder {
    pub(super) fn start(format: &Arc<Format>, size: Size, waker: &Waker) -> Result<Self, TranscodeError> {
        let codec = format.codec();
        let decoder = element_for(codec).ok_or(TranscodeError::NoDecoder(codec))?;
        debug_assert_eq!(codec.kind(), TrackKind::Video);
        let pin = pinned_caps(size);
        // Dithering and thread pools cost and bring nothing at eight bits; the filter passes buffers on untouched when
        // size and format are right already.
        let description = format!(
            "{decoder} ! videoconvertscale dither=none n-threads=1 ! capsfilter name=pin caps=\"{pin}\""
        );
        let engine = Engine::start(&description, &caps_of(format), waker)?;
        Ok(Self { engine, format: format.clone(), size, await_keyframe: true, colorimetry: None })
    }

    pub(super) fn codec(&self) -> Codec {
        self.format.codec()
    }

    /// Pictures have this size from some later one on.
    pub(super) fn fit(&mut self, size: Size) {
        self.size = size;
        if let Some(pin) = self.engine.element("pin") {
            pin.set_property("caps", pinned_caps(size));
        }
    }

    /// Takes nothing more before the next keyframe.
    pub(super) const fn begin_at_keyframe(&mut self) {
        self.await_keyframe = true;
    }

    /// Takes a coded frame; `false` when it was dropped.
    pub(super) fn handle_frame(&mut self, frame: &Frame) -> bool {
        if self.engine.progress().waiting >= MAX_BACKLOG {
            self.await_keyframe = true;
        }
        let overflows = self.engine.progress().waiting >= 2 * MAX_BACKLOG;
        if overflows || (self.await_keyframe && !frame.keyframe) {
            return false;
        }
        let Some(buffer) = buffer_of_frame(frame) else { return false };
        if !Arc::ptr_eq(&frame.format, &self.format) {
            if frame.format != self.format {
                self.engine.set_caps(&caps_of(&frame.format));
            }
            self.format = frame.format.clone();
        }
        self.await_keyframe = false;
        self.engine.push(buffer);
        true
    }

    /// The next picture and its time.
    pub(super) fn poll_picture(&mut self) -> Option<(MediaTime, gst::Buffer)> {
        loop {
            let sample = self.engine.pull()?;
            let caps = sample.caps().and_then(|caps| caps.structure(0));
            let dimension =
                |name| caps.and_then(|c| c.get::<i32>(name).ok()).and_then(|n| u32::try_from(n).ok());
            let size = (dimension("width"), dimension("height"));
            let pts = sample.buffer().and_then(gst::BufferRef::pts);
            if let (Some(caps), None) = (caps, &self.colorimetry) {
                self.colorimetry = caps.get::<String>("colorimetry").ok();
            }
            // Pictures that were on their way when the output's size changed fit no encoder any more.
            let fits = size == (Some(self.size.0), Some(self.size.1));
            if let (true, Some(pts), Some(buffer)) = (fits, pts, sample.buffer_owned()) {
                return Some((media_time(pts), buffer));
            }
        }
    }

    /// How the pictures' numbers mean colours, as GStreamer writes it.
    pub(super) fn colorimetry(&self) -> Option<&str> {
        // A VP8 stream cannot say: its numbers are BT.601 (RFC 6386 section 9.2), where GStreamer guesses by size.
        if self.codec() == Codec::Vp8 { Some("bt601") } else { self.colorimetry.as_deref() }
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

pub(super) fn pinned_caps((width, height): Size) -> gst::Caps {
    let dimension = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    gst::Caps::builder("video/x-raw")
        .field("format", "I420")
        .field("width", dimension(width))
        .field("height", dimension(height))
        .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
        .build()
}
