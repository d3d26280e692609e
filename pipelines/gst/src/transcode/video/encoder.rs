//! Pictures of one size and rate to H.264 access units.

use super::Size;
use crate::convert::{codec_data, without_parameter_sets};
use crate::transcode::TranscodeError;
use crate::transcode::engine::{Engine, Progress, Waker};
use bytes::Bytes;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;
use skywave_media::codec::{Codec, Format, VideoFormat};
use skywave_media::frame::Frame;
use skywave_media::time::MediaTime;
use skywave_media::worker_proto::{Encoder, VideoOut};
use std::collections::VecDeque;
use std::sync::Arc;

/// No keyframe but those that are asked for: x264's `X264_KEYINT_MAX_INFINITE`.
const INFINITE_GOP: u32 = 1 << 30;

/// How long the bitrate may be exceeded, in milliseconds: one keyframe is worth several times the mean.
const VBV_MILLIS: u32 = 1500;

/// How long an encoder may take to hand out its last frames before they are given up.
const FINISH_PATIENCE: gst::ClockTime = gst::ClockTime::from_mseconds(300);

/// What is known of a picture that the encoder has not handed out yet.
#[derive(Debug, Clone, Copy)]
struct Pending {
    at: gst::ClockTime,
    pts: MediaTime,
    duration: Option<MediaTime>,
}

/// A picture to encode.
#[derive(Debug, Clone, Copy)]
pub(super) struct Picture<'a> {
    pub(super) pts: MediaTime,
    pub(super) duration: Option<MediaTime>,
    /// Decoding must be able to start with it.
    pub(super) keyframe: bool,
    pub(super) pixels: &'a gst::Buffer,
}

/// An H.264 encoder that makes keyframes where it is told to and nowhere else.
#[derive(Debug)]
pub(super) struct VideoEncoder {
    engine: Engine,
    /// Size of what comes out.
    size: Size,
    /// Size of what comes in.
    input: Size,
    fps: u32,
    colorimetry: Option<String>,
    /// The PTS that GStreamer sees as zero.
    origin: MediaTime,
    pending: VecDeque<Pending>,
    /// What the encoder adds to all time stamps, once it has handed out its first frame.
    shift: Option<gst::ClockTime>,
    /// The caps the format was made of.
    format: Option<(gst::Caps, Arc<Format>)>,
}

impl VideoEncoder {
    /// An encoder whose first picture stands at `origin`; pictures of the size `input` come in.
    pub(super) fn start(
        out: &VideoOut,
        input: Size,
        colorimetry: Option<&str>,
        origin: MediaTime,
        waker: &Waker,
    ) -> Result<Self, TranscodeError> {
        let caps = raw_caps(input, out.fps, colorimetry);
        Ok(Self {
            engine: Engine::start(&description(out, colorimetry), &caps, waker)?,
            size: (out.width, out.height),
            input,
            fps: out.fps,
            colorimetry: colorimetry.map(str::to_owned),
            origin,
            pending: VecDeque::new(),
            shift: None,
            format: None,
        })
    }

    /// Pictures have this size from the next one on.
    pub(super) fn set_input_size(&mut self, input: Size) {
        if input != self.input {
            self.input = input;
            self.engine.set_caps(&raw_caps(input, self.fps, self.colorimetry.as_deref()));
        }
    }

    /// Encodes the picture; pixels are shared with whoever else holds it.
    pub(super) fn handle_picture(&mut self, picture: &Picture<'_>) {
        let since_origin = (picture.pts - self.origin).as_duration();
        let at = gst::ClockTime::try_from(since_origin).unwrap_or(gst::ClockTime::ZERO);
        let mut buffer = picture.pixels.copy();
        {
            let meta = buffer.make_mut();
            meta.set_pts(at);
            meta.set_dts(None);
            let duration = picture.duration.and_then(|d| gst::ClockTime::try_from(d.as_duration()).ok());
            meta.set_duration(duration);
            meta.unset_flags(gst::BufferFlags::all());
        }
        if picture.keyframe {
            // In line with the buffers and without a time: it means the very next one. (Events from the other end, with
            // a running time, are missed by x264enc 1.22, which shifts its segment.)
            self.engine
                .send_in_line(gst_video::DownstreamForceKeyUnitEvent::builder().all_headers(true).build());
        }
        self.pending.push_back(Pending { at, pts: picture.pts, duration: picture.duration });
        self.engine.push(buffer);
    }

    /// The next access unit.
    pub(super) fn poll_frame(&mut self) -> Option<Frame> {
        loop {
            let sample = self.engine.pull()?;
            if let Some(frame) = self.frame_of(&sample) {
                return Some(frame);
            }
        }
    }

    /// The access units of all slots so far.
    pub(super) fn finish(mut self) -> Vec<Frame> {
        let samples = self.engine.finish(FINISH_PATIENCE);
        samples.iter().filter_map(|sample| self.frame_of(sample)).collect()
    }

    pub(super) fn set_bitrate(&self, bitrate_bps: u32) {
        let Some(encoder) = self.engine.element("encoder") else { return };
        match encoder.factory().map(|factory| factory.name()).as_deref() {
            Some("x264enc") => encoder.set_property("bitrate", kilobits(bitrate_bps)),
            _ => encoder.set_property("bitrate", bitrate_bps),
        }
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.engine.failure()
    }

    pub(super) fn progress(&self) -> Progress {
        self.engine.progress()
    }

    fn frame_of(&mut self, sample: &gst::Sample) -> Option<Frame> {
        let buffer = sample.buffer()?;
        let at = buffer.pts()?;
        // x264enc shifts all times by a constant (1000 h, to have room for negative DTS).
        let first = self.pending.front()?.at;
        let shift = *self.shift.get_or_insert(at.saturating_sub(first));
        let at = at.saturating_sub(shift);
        // Without B-frames the order stays; what the encoder skipped (rate control) is skipped here.
        let slot = std::iter::from_fn(|| self.pending.pop_front()).find(|pending| pending.at >= at)?;
        let format = self.format_of(sample.caps()?)?;
        let map = buffer.map_readable().ok()?;
        let keyframe = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let data = without_parameter_sets(&map);
        Some(Frame { format, pts: slot.pts, dts: slot.pts, duration: slot.duration, keyframe, data })
    }

    fn format_of(&mut self, caps: &gst::CapsRef) -> Option<Arc<Format>> {
        if let Some((known, format)) = &self.format
            && known.as_ref() == caps
        {
            return Some(format.clone());
        }
        let config: Bytes = codec_data(caps)?;
        let video = VideoFormat { codec: Codec::H264, width: self.size.0, height: self.size.1, config };
        let format = Arc::new(Format::Video(video));
        self.format = Some((caps.to_owned(), format.clone()));
        Some(format)
    }
}

const fn kilobits(bits: u32) -> u32 {
    let kilobits = bits / 1000;
    if kilobits == 0 { 1 } else { kilobits }
}

fn description(out: &VideoOut, colorimetry: Option<&str>) -> String {
    // Untouched when the size is right already. The sides keep their proportion but for rounding, which needs no border.
    let size = raw_caps((out.width, out.height), out.fps, colorimetry);
    let scale =
        format!("videoconvertscale dither=none n-threads=1 add-borders=false ! capsfilter caps=\"{size}\"");
    let avc = "capsfilter caps=video/x-h264,stream-format=avc,alignment=au";
    match out.encoder {
        Encoder::X264 { preset } => format!(
            "{scale} ! x264enc name=encoder tune=zerolatency speed-preset={} bitrate={} vbv-buf-capacity={VBV_MILLIS} \
             key-int-max={INFINITE_GOP} bframes=0 threads=1 aud=false byte-stream=false option-string=scenecut=0 \
             qos=false ! {avc},profile=high",
            preset.as_str(),
            kilobits(out.bitrate_bps),
        ),
        Encoder::OpenH264 => format!(
            "{scale} ! openh264enc name=encoder usage-type=camera complexity=low rate-control=bitrate bitrate={} \
             gop-size={INFINITE_GOP} multi-thread=1 scene-change-detection=false enable-frame-skip=false qos=false \
             ! h264parse ! {avc}",
            out.bitrate_bps,
        ),
    }
}

pub(super) fn raw_caps((width, height): Size, fps: u32, colorimetry: Option<&str>) -> gst::Caps {
    let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    let caps = gst::Caps::builder("video/x-raw")
        .field("format", "I420")
        .field("width", number(width))
        .field("height", number(height))
        .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
        .field("interlace-mode", "progressive")
        .field("framerate", gst::Fraction::new(number(fps), 1));
    match colorimetry {
        Some(colorimetry) => caps.field("colorimetry", colorimetry).build(),
        None => caps.build(),
    }
}
