//! Pictures of one size and rate to H.264 access units.

use crate::convert::{codec_data, without_parameter_sets};
use crate::transcode::TranscodeError;
use crate::transcode::engine::{Engine, Progress, Waker};
use bytes::Bytes;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;
use skywave_media::cadence_video::Slot;
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
    duration: MediaTime,
}

/// An H.264 encoder that makes keyframes where it is told to and nowhere else.
#[derive(Debug)]
pub(super) struct VideoEncoder {
    engine: Engine,
    width: u32,
    height: u32,
    /// The PTS that GStreamer sees as zero.
    origin: MediaTime,
    pending: VecDeque<Pending>,
    /// What the encoder adds to all time stamps, once it has handed out its first frame.
    shift: Option<gst::ClockTime>,
    /// The caps the format was made of.
    format: Option<(gst::Caps, Arc<Format>)>,
    black: Option<gst::Buffer>,
}

impl VideoEncoder {
    /// An encoder whose first picture stands at `origin`.
    pub(super) fn start(
        out: &VideoOut,
        colorimetry: Option<&str>,
        origin: MediaTime,
        waker: &Waker,
    ) -> Result<Self, TranscodeError> {
        let engine = Engine::start(&description(out), &raw_caps(out, colorimetry), waker)?;
        let (width, height, pending) = (out.width, out.height, VecDeque::new());
        Ok(Self { engine, width, height, origin, pending, shift: None, format: None, black: None })
    }

    /// Encodes the slot's picture; pixels are shared with whoever else holds it.
    pub(super) fn handle_slot(&mut self, slot: Slot<gst::Buffer>) {
        let since_origin = (slot.pts - self.origin).as_duration();
        let at = gst::ClockTime::try_from(since_origin).unwrap_or(gst::ClockTime::ZERO);
        let picture = slot.picture.unwrap_or_else(|| self.black_picture());
        let mut buffer = picture.copy();
        {
            let meta = buffer.make_mut();
            meta.set_pts(at);
            meta.set_dts(None);
            meta.set_duration(gst::ClockTime::try_from(slot.duration.as_duration()).ok());
            meta.unset_flags(gst::BufferFlags::all());
        }
        if slot.keyframe {
            // In line with the buffers and without a time: it means the very next one. (Events from the other end, with
            // a running time, are missed by x264enc 1.22, which shifts its segment.)
            self.engine
                .send_in_line(gst_video::DownstreamForceKeyUnitEvent::builder().all_headers(true).build());
        }
        self.pending.push_back(Pending { at, pts: slot.pts, duration: slot.duration });
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
        Some(Frame { format, pts: slot.pts, dts: slot.pts, duration: Some(slot.duration), keyframe, data })
    }

    fn format_of(&mut self, caps: &gst::CapsRef) -> Option<Arc<Format>> {
        if let Some((known, format)) = &self.format
            && known.as_ref() == caps
        {
            return Some(format.clone());
        }
        let config: Bytes = codec_data(caps)?;
        let video = VideoFormat { codec: Codec::H264, width: self.width, height: self.height, config };
        let format = Arc::new(Format::Video(video));
        self.format = Some((caps.to_owned(), format.clone()));
        Some(format)
    }

    fn black_picture(&mut self) -> gst::Buffer {
        let (width, height) = (self.width, self.height);
        self.black.get_or_insert_with(|| black(width, height)).clone()
    }
}

/// A black picture as video range has it: luma 16, chroma 128 (ITU-R BT.601 section 2.5.3).
fn black(width: u32, height: u32) -> gst::Buffer {
    // The layout GStreamer assumes for I420 without a meta: rows padded to four bytes.
    let up = |n: usize, to: usize| n.next_multiple_of(to);
    let (width, height) = (width as usize, height as usize);
    let luma = up(width, 4) * up(height, 2);
    let chroma = up(up(width, 2) / 2, 4) * (up(height, 2) / 2);
    let mut pixels = vec![16u8; luma];
    pixels.resize(luma + 2 * chroma, 128);
    gst::Buffer::from_slice(pixels)
}

const fn kilobits(bits: u32) -> u32 {
    let kilobits = bits / 1000;
    if kilobits == 0 { 1 } else { kilobits }
}

fn description(out: &VideoOut) -> String {
    let avc = "capsfilter caps=video/x-h264,stream-format=avc,alignment=au";
    match out.encoder {
        Encoder::X264 { preset } => format!(
            "x264enc name=encoder tune=zerolatency speed-preset={} bitrate={} vbv-buf-capacity={VBV_MILLIS} \
             key-int-max={INFINITE_GOP} bframes=0 threads=1 aud=false byte-stream=false option-string=scenecut=0 \
             qos=false ! {avc},profile=high",
            preset.as_str(),
            kilobits(out.bitrate_bps),
        ),
        Encoder::OpenH264 => format!(
            "openh264enc name=encoder usage-type=camera complexity=low rate-control=bitrate bitrate={} \
             gop-size={INFINITE_GOP} multi-thread=1 scene-change-detection=false enable-frame-skip=false qos=false \
             ! h264parse ! {avc}",
            out.bitrate_bps,
        ),
    }
}

fn raw_caps(out: &VideoOut, colorimetry: Option<&str>) -> gst::Caps {
    let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    let caps = gst::Caps::builder("video/x-raw")
        .field("format", "I420")
        .field("width", number(out.width))
        .field("height", number(out.height))
        .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
        .field("interlace-mode", "progressive")
        .field("framerate", gst::Fraction::new(number(out.fps), 1));
    match colorimetry {
        Some(colorimetry) => caps.field("colorimetry", colorimetry).build(),
        None => caps.build(),
    }
}
