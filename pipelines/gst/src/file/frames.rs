//! The second reading of a file: H.264 and AAC that fit are copied, everything else is decoded and encoded.

use super::look::{self, AudioLook, Look, VideoLook, aac_lc, has_idr};
use super::reading::{Ending, Moved, Reading, add_running};
use super::{FileError, Out, time_in_file};
use crate::convert::{codec_data, without_parameter_sets};
use crate::transcode::{ENCODER_DELAY, PRIMING_FRAMES};
use bytes::Bytes;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use skywave_media::codec::{AudioFormat, Codec, Format, TrackKind, VideoFormat};
use skywave_media::convert_proto::{FromConverter, bounded};
use skywave_media::frame::Frame;
use skywave_media::h264::AvcConfig;
use skywave_media::time::{AUDIO_RATE, MediaTime, VIDEO_RATE};
use skywave_media::worker_proto::FrameSender;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// Makes every H.264 stream one of length-prefixed access units.
pub(super) const AVC: &str = "h264parse ! capsfilter caps=video/x-h264,stream-format=avc,alignment=au";

/// Distance of keyframes that are made here: the live encoder's.
const KEYFRAME_INTERVAL: gst::ClockTime = gst::ClockTime::from_seconds(2);

/// x264's constant quality: hardly to be told from the source, and half the bits of what can be told by nobody.
const QUALITY: u32 = 21;

/// Most bits a second for each pixel of a picture, over [`VBV_MILLIS`]: 8 Mbit/s at 1080p.
const MAX_BITS_PER_PIXEL: u32 = 4;

/// Least of the upper bounds of the bitrate, in kbit/s.
const MIN_KILOBITS: u32 = 1000;

/// How long the bitrate may be exceeded, in milliseconds.
const VBV_MILLIS: u32 = 2000;

/// Bitrate of sound that is encoded, in bits a second.
const AUDIO_BITRATE: u32 = 128_000;

/// Samples in an AAC frame (ISO/IEC 14496-3 section 4.5.1.1).
const AAC_SAMPLES: i64 = 1024;

/// Turns a file into frames.
pub(super) fn run(path: &Path, out: &Out) -> Result<(), FileError> {
    let look = look::look(path, |at, of| out.send(&FromConverter::Looked { at, of }))?;
    out.send(&FromConverter::Source(look.info()));
    let outlet = Outlet { out: out.clone(), sender: Arc::default() };
    let reading = Reading::new(path, move |pipeline, pad, moved| link(pipeline, pad, moved, &look, &outlet))?;
    let broken = match reading.run(|| {})? {
        Ending::Whole => None,
        Ending::Broken(words) => Some(bounded(&words)),
    };
    drop(reading);
    out.send(&FromConverter::Done { broken });
    Ok(())
}

/// Where both lanes put their frames.
#[derive(Debug, Clone)]
struct Outlet {
    out: Out,
    sender: Arc<Mutex<FrameSender>>,
}

impl Outlet {
    fn send(&self, frame: &Frame) {
        // One lock for both: what a message leaves out the one before it has said.
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        self.out.send(&FromConverter::Frame(sender.message(frame)));
    }
}

/// Links an elementary stream to what becomes of it.
fn link(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    moved: &Moved,
    look: &Look,
    outlet: &Outlet,
) -> Result<(), FileError> {
    let id = pad.stream_id().map(|id| id.to_string()).unwrap_or_default();
    let (bin, decoded) = if let Some(video) = look.video.as_ref().filter(|video| video.stream_id == id) {
        (video_bin(video, moved, outlet)?, !video.copied)
    } else if let Some(audio) = look.audio.as_ref().filter(|audio| audio.stream_id == id) {
        (audio_bin(audio, moved, outlet)?, !audio.copied)
    } else {
        (gst::parse::bin_from_description("fakesink sync=false async=false", true)?, false)
    };
    let failed = |error: gst::PadLinkError| FileError::Gstreamer(error.to_string());
    add_running(pipeline, &bin)?;
    let entry = bin.static_pad("sink").expect("the description has one end");
    if decoded {
        let decoder = gst::ElementFactory::make("decodebin").build()?;
        pipeline.add(&decoder)?;
        decoder.connect_pad_added(move |decoder, decoded| {
            if !entry.is_linked()
                && let Err(error) = decoded.link(&entry)
            {
                gst::element_error!(decoder, gst::CoreError::Failed, ("{}", error));
            }
        });
        let sink = decoder.static_pad("sink").expect("decodebin has one");
        decoder.sync_state_with_parent()?;
        pad.link(&sink).map_err(failed)?;
    } else {
        pad.link(&entry).map_err(failed)?;
    }
    Ok(())
}

const SINK: &str = "appsink name=sink sync=false async=false enable-last-sample=false max-buffers=16";
const QUEUE: &str = "queue max-size-buffers=8 max-size-bytes=0 max-size-time=0";

fn video_bin(video: &VideoLook, moved: &Moved, outlet: &Outlet) -> Result<gst::Bin, FileError> {
    let description = if video.copied {
        format!("{AVC} ! {SINK}")
    } else {
        let deinterlace = if video.interlaced { "deinterlace fields=top ! " } else { "" };
        let turn = if video.turned { "videoflip video-direction=auto ! " } else { "" };
        format!(
            "{QUEUE} ! {deinterlace}{turn}videoconvertscale name=scale add-borders=false \
             ! capsfilter name=size caps=video/x-raw,format=I420 \
             ! x264enc name=encoder speed-preset=veryfast pass=qual quantizer={QUALITY} bframes=0 aud=false \
             byte-stream=false key-int-max=1073741824 option-string=scenecut=0 vbv-buf-capacity={VBV_MILLIS} qos=false \
             ! capsfilter caps=video/x-h264,stream-format=avc,alignment=au,profile=high ! {SINK}"
        )
    };
    let bin = gst::parse::bin_from_description(&description, true)?;
    if !video.copied {
        let element = |name: &str| bin.by_name(name).expect("the description names it");
        let (scale, size, encoder) = (element("scale"), element("size"), element("encoder"));
        let watched = encoder.clone();
        let entry = scale.static_pad("sink").expect("every filter has one");
        entry.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
            if let Some(gst::PadProbeData::Event(event)) = &info.data
                && let gst::EventView::Caps(caps) = event.view()
                && let Some((width, height)) = even_size(caps.caps())
            {
                size.set_property("caps", raw_caps(width, height));
                let most = width.saturating_mul(height).saturating_mul(MAX_BITS_PER_PIXEL) / 1000;
                watched.set_property("bitrate", most.max(MIN_KILOBITS));
            }
            gst::PadProbeReturn::Ok
        });
        ask_for_keyframes(&encoder);
    }
    let mut maker =
        VideoMaker { copied: video.copied, in_order: video.in_order || !video.copied, format: None };
    collect(&bin, TrackKind::Video, moved, outlet, move |sample| maker.frame(sample));
    Ok(bin)
}

/// The size of the picture in square pixels, in even numbers: 4:2:0 has no others.
fn even_size(caps: &gst::CapsRef) -> Option<(u32, u32)> {
    let info = gst_video::VideoInfo::from_caps(caps).ok()?;
    let shape = info.par();
    let (numer, denom) =
        (u64::from(shape.numer().unsigned_abs()), u64::from(shape.denom().unsigned_abs().max(1)));
    let width = u32::try_from(u64::from(info.width()) * numer.max(1) / denom).ok()?;
    let even = |length: u32| (length & !1).clamp(16, 8192);
    Some((even(width), even(info.height())))
}

fn raw_caps(width: u32, height: u32) -> gst::Caps {
    gst::Caps::builder("video/x-raw")
        .field("format", "I420")
        .field("width", width.cast_signed())
        .field("height", height.cast_signed())
        .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
        .build()
}

/// Wants a keyframe from the encoder in every interval, by the times of the pictures: frame rates vary.
fn ask_for_keyframes(encoder: &gst::Element) {
    let entry = encoder.static_pad("sink").expect("every encoder has one");
    let mut next = None;
    let next = Mutex::new(move |at: gst::ClockTime| {
        let due = next.is_some_and(|next| at >= next);
        if due || next.is_none() {
            next = Some(at + KEYFRAME_INTERVAL);
        }
        due
    });
    entry.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let at = info.buffer().and_then(|buffer| buffer.pts());
        let due = at.is_some_and(|at| (next.lock().unwrap_or_else(PoisonError::into_inner))(at));
        if due {
            // In line with the pictures and without a time: it means the very next one.
            pad.send_event(gst_video::DownstreamForceKeyUnitEvent::builder().all_headers(true).build());
        }
        gst::PadProbeReturn::Ok
    });
}

fn audio_bin(audio: &AudioLook, moved: &Moved, outlet: &Outlet) -> Result<gst::Bin, FileError> {
    let raw = "capsfilter caps=audio/mpeg,mpegversion=4,stream-format=raw";
    let description = match audio.copied {
        true => format!("{raw} ! {SINK}"),
        // audiorate fills holes with silence, so that the time of a frame follows from its number.
        false => format!(
            "{QUEUE} ! audioconvert ! audioresample ! \
             capsfilter caps=audio/x-raw,format=S16LE,layout=interleaved,rate={AUDIO_RATE},channels=2 \
             ! audiorate skip-to-first=true tolerance=40000000 ! voaacenc bitrate={AUDIO_BITRATE} ! {raw} ! {SINK}"
        ),
    };
    let bin = gst::parse::bin_from_description(&description, true)?;
    let mut maker = AudioMaker { copied: audio.copied, frames: 0, next: None, format: None };
    collect(&bin, TrackKind::Audio, moved, outlet, move |sample| maker.frame(sample));
    Ok(bin)
}

/// Has the bin's sink send the frames that `make` makes of its samples.
fn collect(
    bin: &gst::Bin,
    kind: TrackKind,
    moved: &Moved,
    outlet: &Outlet,
    mut make: impl FnMut(&gst::Sample) -> Option<Frame> + Send + 'static,
) {
    let sink = bin.by_name("sink").and_then(|sink| sink.downcast::<gst_app::AppSink>().ok());
    let sink = sink.expect("the description names it");
    let (moved, on_sample, on_end) = (Arc::clone(moved), outlet.clone(), outlet.clone());
    let callbacks = gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            moved.fetch_add(1, Ordering::Relaxed);
            if let Some(frame) = make(&sample) {
                on_sample.send(&frame);
            }
            Ok(gst::FlowSuccess::Ok)
        })
        .eos(move |_| on_end.out.send(&FromConverter::End(kind)));
    sink.set_callbacks(callbacks.build());
}

/// The format of a lane, made anew when the caps change.
type Known = Option<(gst::Caps, Arc<Format>)>;

fn format_of(
    known: &mut Known,
    caps: &gst::CapsRef,
    make: fn(Bytes) -> Option<Format>,
) -> Option<Arc<Format>> {
    if let Some((of, format)) = known
        && of.as_ref() == caps
    {
        return Some(Arc::clone(format));
    }
    let format = Arc::new(make(codec_data(caps)?)?);
    *known = Some((caps.to_owned(), Arc::clone(&format)));
    Some(format)
}

fn h264_format(config: Bytes) -> Option<Format> {
    let sps = AvcConfig::parse(&config).and_then(|config| config.first_sps()).ok()?;
    Some(Format::Video(VideoFormat { codec: Codec::H264, width: sps.width, height: sps.height, config }))
}

fn aac_format(config: Bytes) -> Option<Format> {
    let (sample_rate, channels) = aac_lc(&config)?;
    Some(Format::Audio(AudioFormat { codec: Codec::Aac, sample_rate, channels, config }))
}

/// Samples of H.264 to frames.
struct VideoMaker {
    copied: bool,
    in_order: bool,
    format: Known,
}

impl VideoMaker {
    fn frame(&mut self, sample: &gst::Sample) -> Option<Frame> {
        let buffer = sample.buffer()?;
        let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
        let in_file = |time| Some(time_in_file(segment, time)?.rescale(VIDEO_RATE));
        let pts = in_file(buffer.pts()?)?;
        let dts = if self.in_order { pts } else { in_file(buffer.dts()?)? };
        let format = format_of(&mut self.format, sample.caps()?, h264_format)?;
        let map = buffer.map_readable().ok()?;
        let keyframe = match self.copied {
            true => has_idr(&map),
            false => !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
        };
        let length = buffer.duration().filter(|length| !length.is_zero());
        let duration =
            length.map(|length| MediaTime::from_nanos(length.nseconds().cast_signed()).rescale(VIDEO_RATE));
        Some(Frame { format, pts, dts, duration, keyframe, data: without_parameter_sets(&map) })
    }
}

/// Samples of AAC to frames.
struct AudioMaker {
    copied: bool,
    /// How many have come.
    frames: u64,
    /// Where the next one stands if it follows without a hole.
    next: Option<MediaTime>,
    format: Known,
}

impl AudioMaker {
    fn frame(&mut self, sample: &gst::Sample) -> Option<Frame> {
        let buffer = sample.buffer()?;
        let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
        let format = format_of(&mut self.format, sample.caps()?, aac_format)?;
        let Format::Audio(audio) = &*format else { return None };
        let rate = audio.sample_rate;
        let told = buffer.pts().and_then(|pts| time_in_file(segment, pts)).map(|time| time.rescale(rate));
        let length = MediaTime::new(AAC_SAMPLES, rate);
        let pts = match self.next {
            // The encoder's times know nothing of its delay, and the container's may be rounded to milliseconds.
            Some(next) if !self.copied || told.is_none_or(|told| is_near(told, next)) => next,
            None if !self.copied => told? - MediaTime::new(ENCODER_DELAY, rate),
            _ => told?,
        };
        self.next = Some(pts + length);
        self.frames += 1;
        // Before the file's zero lies what decoders need to get going, and nobody is to hear.
        let silent = if self.copied { (pts + length).ticks <= 0 } else { self.frames <= PRIMING_FRAMES };
        if silent {
            return None;
        }
        let map = buffer.map_readable().ok()?;
        let data = Bytes::copy_from_slice(&map);
        Some(Frame { format, pts, dts: pts, duration: Some(length), keyframe: true, data })
    }
}

/// Two times that differ by rounding alone: less than half an AAC frame.
fn is_near(one: MediaTime, other: MediaTime) -> bool {
    (one - other).ticks.abs() < AAC_SAMPLES / 2
}
