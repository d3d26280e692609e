//! From raw pictures and sound to coded frames: the elements between a source and its outlet.

use super::error::PublishError;
use super::options::VideoEncoding;
use crate::webrtc_client::element::{caps_filter, make};
use gstreamer as gst;
use gstreamer::prelude::*;
use skywave_media::codec::Codec;
use std::time::Duration;

/// Frames per second assumed for the keyframe interval when nobody said.
const USUAL_FPS: u32 = 30;

/// Fixed speed of libvpx in real time mode: about what browsers use on a desktop.
const VPX_SPEED: i32 = -6;

/// Fails early, before anything is opened, when this machine cannot encode or send `codec`.
pub(super) fn check_codec(codec: Codec) -> Result<(), PublishError> {
    let elements: &[&str] = match codec {
        Codec::Vp8 => &["vp8enc", "rtpvp8pay"],
        Codec::Vp9 => &["vp9enc", "rtpvp9pay"],
        Codec::H264 => &[h264_encoder(), "h264parse", "rtph264pay"],
        Codec::Opus => &["opusenc", "rtpopuspay"],
        Codec::Av1 => return Err(PublishError::NoPayloader { codec, element: "rtpav1pay" }),
        Codec::Aac => return Err(PublishError::option("WebRTC carries Opus, not AAC")),
    };
    for element in elements {
        make(element)?;
    }
    Ok(())
}

/// x264 where it is installed; else openh264, which is free of the GPL.
fn h264_encoder() -> &'static str {
    let has = |name| gst::ElementFactory::find(name).is_some();
    if !has("x264enc") && has("openh264enc") { "openh264enc" } else { "x264enc" }
}

/// Raw pictures at `source_rate` in, coded frames out. Pictures that wait for the encoder longer than `patience` are
/// forgotten. `b_frames` are a fault made on purpose.
pub(super) fn video_chain(
    encoding: &VideoEncoding,
    b_frames: u32,
    patience: Duration,
    source_rate: Option<gst::Fraction>,
) -> Result<Vec<gst::Element>, PublishError> {
    let scale = make("videoscale")?;
    scale.set_property("add-borders", true);
    let mut chain = vec![short_queue(patience)?];
    let wished_rate = encoding.fps.map(|fps| gst::Fraction::new(fps.cast_signed(), 1));
    if wished_rate.is_some() && wished_rate != source_rate {
        // Only then: videorate holds each picture back until the next one has come, and without a rate to aim at
        // videorate 1.22 aborts the process on sources of unknown rate (MJPEG).
        let rate = make("videorate")?;
        rate.set_property("skip-to-first", true);
        chain.push(rate);
    }
    chain.extend([make("videoconvert")?, scale]);
    chain.push(caps_filter(raw_video_caps(encoding))?);
    chain.extend(match encoding.codec {
        Codec::H264 => h264_chain(encoding, b_frames)?,
        codec => vec![vpx_encoder(codec, encoding)?],
    });
    Ok(chain)
}

/// Raw sound in, Opus packets of 20 ms out.
pub(super) fn audio_chain(bitrate_bps: u32) -> Result<Vec<gst::Element>, PublishError> {
    let caps = gst::Caps::builder("audio/x-raw")
        .field("format", "S16LE")
        .field("layout", "interleaved")
        .field("rate", 48_000)
        .field("channels", 2)
        .build();
    let encoder = make("opusenc")?;
    encoder.set_property("bitrate", i32::try_from(bitrate_bps).unwrap_or(i32::MAX).clamp(6_000, 510_000));
    let queue = short_queue(Duration::from_millis(500))?;
    Ok(vec![queue, make("audioconvert")?, make("audioresample")?, caps_filter(caps)?, encoder])
}

/// H.264 in, whole access units in Annex B with parameter sets before each keyframe out.
pub(super) fn h264_framing() -> Result<Vec<gst::Element>, PublishError> {
    let parse = make("h264parse")?;
    parse.set_property("config-interval", -1);
    let caps = gst::Caps::builder("video/x-h264")
        .field("stream-format", "byte-stream")
        .field("alignment", "au")
        .build();
    Ok(vec![parse, caps_filter(caps)?])
}

/// A queue that forgets the oldest when an encoder falls behind: live is worth more than complete.
fn short_queue(length: Duration) -> Result<gst::Element, PublishError> {
    let queue = make("queue")?;
    queue.set_property_from_str("leaky", "downstream");
    queue.set_property("max-size-time", u64::try_from(length.as_nanos()).unwrap_or(u64::MAX));
    queue.set_property("max-size-buffers", 0u32);
    queue.set_property("max-size-bytes", 0u32);
    Ok(queue)
}

/// 4:2:0 pictures of the wished size and rate. Sizes nobody fixed are still made even, as 4:2:0 wants them.
fn raw_video_caps(encoding: &VideoEncoding) -> gst::Caps {
    let mut caps = gst::Caps::builder("video/x-raw")
        .field("format", "I420")
        .field("pixel-aspect-ratio", gst::Fraction::new(1, 1));
    caps = match encoding.size {
        Some((width, height)) => {
            caps.field("width", width.cast_signed()).field("height", height.cast_signed())
        }
        None => caps
            .field("width", gst::IntRange::with_step(16, 8192, 2))
            .field("height", gst::IntRange::with_step(16, 8192, 2)),
    };
    if let Some(fps) = encoding.fps {
        caps = caps.field("framerate", gst::Fraction::new(fps.cast_signed(), 1));
    }
    caps.build()
}

/// The keyframe interval in frames.
fn keyframe_frames(encoding: &VideoEncoding) -> u32 {
    let frames = encoding.keyframe_interval.as_secs_f64() * f64::from(encoding.fps.unwrap_or(USUAL_FPS));
    (frames.round() as u32).clamp(1, 100_000)
}

fn threads() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| n.get().min(4)) as u32
}

fn vpx_encoder(codec: Codec, encoding: &VideoEncoding) -> Result<gst::Element, PublishError> {
    let encoder = make(if codec == Codec::Vp9 { "vp9enc" } else { "vp8enc" })?;
    encoder.set_property("deadline", 1i64);
    encoder.set_property("cpu-used", VPX_SPEED);
    encoder.set_property("lag-in-frames", 0);
    // libvpx's threads wait by spinning: a second one costs thirty times the CPU of the work it takes over at small sizes.
    encoder.set_property("threads", 1i32);
    encoder.set_property("target-bitrate", encoding.bitrate_bps.min(i32::MAX as u32).cast_signed());
    encoder.set_property("keyframe-max-dist", keyframe_frames(encoding).cast_signed());
    encoder.set_property_from_str("end-usage", "cbr");
    // A keyframe is what a newcomer waits for: let it be bigger than a frame, yet bounded.
    encoder.set_property("max-intra-bitrate", 300);
    if codec == Codec::Vp9 {
        // libvpx takes speeds 5 to 9 for VP9 in real time, as positive numbers.
        encoder.set_property("cpu-used", 7);
        encoder.set_property("row-mt", true);
    }
    Ok(encoder)
}

fn h264_chain(encoding: &VideoEncoding, b_frames: u32) -> Result<Vec<gst::Element>, PublishError> {
    let name = h264_encoder();
    let encoder = make(name)?;
    if name == "x264enc" {
        if b_frames == 0 {
            // It leaves B-frames out whatever else is asked for.
            encoder.set_property_from_str("tune", "zerolatency");
        }
        encoder.set_property_from_str("speed-preset", "superfast");
        encoder.set_property("bitrate", (encoding.bitrate_bps / 1000).max(1));
        encoder.set_property("key-int-max", keyframe_frames(encoding));
        encoder.set_property("bframes", b_frames);
        encoder.set_property("b-adapt", false);
        encoder.set_property("byte-stream", true);
        encoder.set_property("threads", threads());
        encoder.set_property("option-string", "scenecut=0");
    } else {
        encoder.set_property("bitrate", encoding.bitrate_bps);
        encoder.set_property("gop-size", keyframe_frames(encoding));
        encoder.set_property_from_str("rate-control", "bitrate");
        encoder.set_property_from_str("complexity", "low");
    }
    let profile = if b_frames == 0 { "constrained-baseline" } else { "main" };
    let profile = gst::Caps::builder("video/x-h264").field("profile", profile).build();
    let mut chain = vec![encoder, caps_filter(profile)?];
    chain.extend(h264_framing()?);
    Ok(chain)
}
