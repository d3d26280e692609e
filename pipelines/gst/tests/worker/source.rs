//! Coded frames as a publisher would send them, made by GStreamer's encoders.

use bytes::Bytes;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use skywave_media::codec::{AudioFormat, Codec, Format, VideoFormat};
use skywave_media::frame::Frame;
use skywave_media::time::MediaTime;
use std::sync::Arc;

/// Encoder settings as a browser uses them: real time, one thread, no look-ahead.
pub(crate) fn encoder(codec: Codec) -> &'static str {
    match codec {
        Codec::Vp8 => {
            "vp8enc deadline=1 cpu-used=8 keyframe-max-dist=60 target-bitrate=1000000 error-resilient=default"
        }
        Codec::Vp9 => {
            "vp9enc deadline=1 cpu-used=8 keyframe-max-dist=60 target-bitrate=1000000 lag-in-frames=0"
        }
        Codec::Av1 => {
            "av1enc usage-profile=realtime cpu-used=10 keyframe-max-dist=60 lag-in-frames=0 target-bitrate=1000 \
             ! av1parse ! video/x-av1,stream-format=obu-stream,alignment=tu"
        }
        Codec::H264 => {
            "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=60 byte-stream=false \
             ! video/x-h264,stream-format=avc,alignment=au,profile=constrained-baseline"
        }
        Codec::Opus => "opusenc frame-size=20 bitrate=256000",
        Codec::Aac => unreachable!("no publisher sends AAC"),
    }
}

/// `count` coded pictures of a test pattern, the first at `start` on the timeline.
pub(crate) fn video(
    codec: Codec,
    width: u32,
    height: u32,
    fps: u32,
    count: u32,
    start: MediaTime,
) -> Vec<Frame> {
    let source = format!("videotestsrc num-buffers={count} pattern=smpte");
    video_from(&source, codec, width, height, fps, start)
}

/// Coded pictures of what `source` (a GStreamer description) makes.
pub(crate) fn video_from(
    source: &str,
    codec: Codec,
    width: u32,
    height: u32,
    fps: u32,
    start: MediaTime,
) -> Vec<Frame> {
    let raw = format!("video/x-raw,format=I420,width={width},height={height},framerate={fps}/1");
    let samples = run(&format!("{source} ! {raw} ! {}", encoder(codec)));
    frames(&samples, start.rescale(90_000), |caps| {
        let config = if codec == Codec::H264 { codec_data(caps) } else { Bytes::new() };
        Format::Video(VideoFormat { codec, width, height, config })
    })
}

/// Coded sound of what `source` (a GStreamer description of raw audio) makes.
pub(crate) fn audio_from(source: &str, start: MediaTime) -> Vec<Frame> {
    let raw = "audio/x-raw,format=S16LE,rate=48000,channels=2,layout=interleaved";
    let samples = run(&format!("{source} ! audioconvert ! {raw} ! {}", encoder(Codec::Opus)));
    let format = AudioFormat { codec: Codec::Opus, sample_rate: 48_000, channels: 2, config: Bytes::new() };
    let mut frames = frames(&samples, start.rescale(48_000), |_| Format::Audio(format.clone()));
    // opusenc takes its own delay out of the time stamps; a browser's simply count samples (RFC 7587 section 4.2).
    for (frame, number) in frames.iter_mut().zip(0..) {
        frame.pts = start.rescale(48_000) + MediaTime::from_48k(number * 960);
        frame.dts = frame.pts;
    }
    frames
}

/// Raw samples that a GStreamer description makes of nothing.
fn run(description: &str) -> Vec<gst::Sample> {
    gst::init().unwrap();
    let pipeline =
        gst::parse::launch(&format!("{description} ! appsink name=out sync=false max-buffers=16")).unwrap();
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let out = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let samples: Vec<_> = std::iter::from_fn(|| out.pull_sample().ok()).collect();
    pipeline.set_state(gst::State::Null).unwrap();
    assert!(!samples.is_empty(), "{description}");
    samples
}

fn frames(samples: &[gst::Sample], start: MediaTime, format: impl Fn(&gst::CapsRef) -> Format) -> Vec<Frame> {
    let format = Arc::new(format(samples[0].caps().unwrap()));
    let frame = |sample: &gst::Sample| {
        let buffer = sample.buffer().unwrap();
        // Encoders count from an origin of their own.
        let zero = samples[0].buffer().unwrap().pts().unwrap();
        let since = i64::try_from((buffer.pts().unwrap() - zero).nseconds()).unwrap();
        let pts = start + MediaTime::from_nanos(since);
        let keyframe = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let data = Bytes::copy_from_slice(&buffer.map_readable().unwrap());
        Frame { format: format.clone(), pts, dts: pts, duration: None, keyframe, data }
    };
    samples.iter().map(frame).collect()
}

fn codec_data(caps: &gst::CapsRef) -> Bytes {
    let buffer = caps.structure(0).unwrap().get::<gst::Buffer>("codec_data").unwrap();
    Bytes::copy_from_slice(&buffer.map_readable().unwrap())
}

/// Sound as a GStreamer source: interleaved stereo at 48 kHz, written to a file that lives as long as the guard.
pub(crate) struct Sound {
    file: tempfile::NamedTempFile,
}

impl Sound {
    pub(crate) fn new(seconds: f64, mut sample: impl FnMut(f64) -> [f64; 2]) -> Self {
        use std::io::Write;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let count = (seconds * 48_000.0) as u32;
        let pcm: Vec<u8> = (0..count)
            .flat_map(|i| sample(f64::from(i) / 48_000.0))
            .flat_map(|value| ((value * 32_767.0).round() as i16).to_le_bytes())
            .collect();
        file.write_all(&pcm).unwrap();
        Self { file }
    }

    pub(crate) fn description(&self) -> String {
        let path = self.file.path().display();
        format!(
            "filesrc location={path} ! rawaudioparse format=pcm pcm-format=s16le sample-rate=48000 num-channels=2"
        )
    }
}
