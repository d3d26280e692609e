//! The head of the capture pipeline, for each kind of source.

use super::capture::{CaptureNote, LaneBuilder};
use super::error::PublishError;
use super::options::{AudioChoice, PublishOptions, Source, TestSound, VideoChoice, VideoEncoding};
use super::test_picture::TestPicture;
use super::test_sound;
use crate::webrtc_client::element::{caps_filter, make};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_video::{VideoFrameExt, VideoFrameRef, VideoInfo};
use skywave_media::codec::TrackKind;
use skywave_media::time::AUDIO_RATE;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

/// Samples per buffer of the test sound: 10 ms.
const TEST_SOUND_SAMPLES: u32 = AUDIO_RATE / 100;

/// Jitter buffer towards an RTSP camera, in milliseconds: enough for Wi-Fi, small beside the glass-to-glass budget.
const RTSP_LATENCY_MS: u32 = 200;

/// Adds the head for `options.source` to the pipeline of `lanes`, which are announced at once or as they are found.
pub(super) fn add(options: &PublishOptions, lanes: &LaneBuilder) -> Result<(), PublishError> {
    match &options.source {
        Source::Test => add_test(options, lanes),
        Source::File(path) => add_file(path, lanes),
        Source::Camera(device) => add_camera(device, options, lanes),
        Source::Rtsp(url) => add_rtsp(url, lanes),
    }
}

fn add_test(options: &PublishOptions, lanes: &LaneBuilder) -> Result<(), PublishError> {
    match &options.video {
        VideoChoice::Off => {}
        VideoChoice::Copy => {
            return Err(PublishError::option("the test source has nothing to copy: choose a codec"));
        }
        VideoChoice::Auto(encoding) | VideoChoice::Encode(encoding) => {
            let pad = lanes.add_elements(&test_video(encoding)?)?;
            lanes.add_raw(TrackKind::Video, &pad)?;
        }
    }
    if options.audio != AudioChoice::Off {
        let pad = lanes.add_elements(&test_audio(options.test_sound)?)?;
        lanes.add_raw(TrackKind::Audio, &pad)?;
    }
    lanes.complete();
    Ok(())
}

/// `videotestsrc` keeps the pace and the time; a probe paints over what it shows.
pub(super) fn test_video(encoding: &VideoEncoding) -> Result<[gst::Element; 2], PublishError> {
    let (width, height) = encoding.size.unwrap_or((1280, 720));
    let fps = encoding.fps.unwrap_or(30);
    let source = make("videotestsrc")?;
    source.set_property("is-live", true);
    source.set_property_from_str("pattern", "black");
    let caps = gst::Caps::builder("video/x-raw")
        .field("format", "I420")
        .field("width", width.cast_signed())
        .field("height", height.cast_signed())
        .field("framerate", gst::Fraction::new(fps.cast_signed(), 1))
        .build();
    let info = VideoInfo::from_caps(&caps)?;
    let painter = TestPicture::new(width as usize, height as usize);
    let first = OnceLock::new();
    let pad = source.static_pad("src").expect("videotestsrc has a source pad");
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, probe| {
        if let Some(buffer) = probe.buffer_mut()
            && let Some(time) = buffer.pts()
        {
            let buffer = buffer.make_mut();
            let time = on_grid(time, *first.get_or_init(|| time), u64::from(fps));
            buffer.set_pts(time);
            if let Ok(mut frame) = VideoFrameRef::from_buffer_ref_writable(buffer, &info) {
                let stride = usize::try_from(frame.plane_stride()[0]).unwrap_or(width as usize);
                if let Ok(luma) = frame.plane_data_mut(0) {
                    painter.paint(luma, stride, Duration::from(time));
                }
            }
        }
        gst::PadProbeReturn::Ok
    });
    Ok([source, caps_filter(caps)?])
}

/// The time of a frame moved back to the grid on which a frame begins at every full second. videotestsrc counts from the
/// moment it was started, a few milliseconds into the pipeline's time, and a flash would be late by as much.
fn on_grid(time: gst::ClockTime, first: gst::ClockTime, fps: u64) -> gst::ClockTime {
    let frame = |t: gst::ClockTime| u128::from(t.nseconds()) * u128::from(fps);
    let frames =
        frame(first) / 1_000_000_000 + (frame(time.saturating_sub(first)) + 500_000_000) / 1_000_000_000;
    gst::ClockTime::from_nseconds((frames * 1_000_000_000 / u128::from(fps)) as u64)
}

/// `audiotestsrc` keeps the pace and counts the samples; a probe fills them.
pub(super) fn test_audio(sound: TestSound) -> Result<[gst::Element; 2], PublishError> {
    let source = make("audiotestsrc")?;
    source.set_property("is-live", true);
    source.set_property_from_str("wave", "silence");
    source.set_property("samplesperbuffer", TEST_SOUND_SAMPLES.cast_signed());
    let caps = gst::Caps::builder("audio/x-raw")
        .field("format", "S16LE")
        .field("layout", "interleaved")
        .field("rate", AUDIO_RATE.cast_signed())
        .field("channels", 2)
        .build();
    let pad = source.static_pad("src").expect("audiotestsrc has a source pad");
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, probe| {
        if let Some(buffer) = probe.buffer_mut()
            && let Some(time) = buffer.pts()
        {
            fill_sound(sound, time, buffer.make_mut());
        }
        gst::PadProbeReturn::Ok
    });
    Ok([source, caps_filter(caps)?])
}

fn fill_sound(sound: TestSound, time: gst::ClockTime, buffer: &mut gst::BufferRef) {
    // audiotestsrc marks silence as a gap, which encoders would then not look at.
    buffer.unset_flags(gst::BufferFlags::GAP);
    let first =
        time.nseconds().saturating_mul(u64::from(AUDIO_RATE)).saturating_add(500_000_000) / 1_000_000_000;
    let Ok(mut map) = buffer.map_writable() else { return };
    let mut samples = vec![[0i16; 2]; map.len() / 4];
    test_sound::fill(sound, first, &mut samples);
    for (bytes, sample) in map.chunks_exact_mut(4).zip(samples) {
        bytes[..2].copy_from_slice(&sample[0].to_le_bytes());
        bytes[2..].copy_from_slice(&sample[1].to_le_bytes());
    }
}

fn add_file(path: &Path, lanes: &LaneBuilder) -> Result<(), PublishError> {
    let source = make("filesrc")?;
    source.set_property("location", path);
    let decode = make("decodebin")?;
    if lanes.copies_always() {
        // Stop at H.264 where the file has it; all other video is an error, found when its pad comes.
        let caps = "video/x-h264, parsed=(boolean)true; video/x-raw(ANY); audio/x-raw(ANY); text/x-raw(ANY)";
        decode.set_property("caps", caps.parse::<gst::Caps>()?);
    }
    lanes.add_and_link(&[&source, &decode])?;
    follow_decoder(&decode, lanes, true);
    Ok(())
}

/// Each pad a decoder finds becomes a lane. `last`: no other element will announce lanes after this one.
fn follow_decoder(decode: &gst::Element, lanes: &LaneBuilder, last: bool) {
    let builder = lanes.clone();
    decode.connect_pad_added(move |_, pad| builder.take_decoded(pad));
    if last {
        let builder = lanes.clone();
        decode.connect_no_more_pads(move |_| builder.complete());
    }
}

fn add_camera(device: &Path, options: &PublishOptions, lanes: &LaneBuilder) -> Result<(), PublishError> {
    if options.video != VideoChoice::Off {
        let source = make("v4l2src")?;
        source.set_property("device", device.to_string_lossy().as_ref());
        let filter = caps_filter(camera_caps(&options.video))?;
        if lanes.copies_always() {
            let pad = lanes.add_elements(&[source, filter])?;
            lanes.add_h264(&pad)?;
        } else {
            // Decodes MJPEG, lets raw pictures through.
            let decode = make("decodebin")?;
            lanes.add_and_link(&[&source, &filter, &decode])?;
            lanes.announce(TrackKind::Video);
            follow_decoder(&decode, lanes, false);
        }
    }
    if let (Some(microphone), AudioChoice::Opus { .. }) = (&options.microphone, options.audio) {
        let source = make("alsasrc")?;
        source.set_property("device", microphone);
        let pad = lanes.add_elements(&[source])?;
        lanes.add_raw(TrackKind::Audio, &pad)?;
    }
    lanes.complete();
    Ok(())
}

/// What to ask of a camera: H.264 to copy it; else raw pictures or, for sizes and rates USB is too narrow for, MJPEG.
fn camera_caps(choice: &VideoChoice) -> gst::Caps {
    let encoding = match choice {
        VideoChoice::Copy | VideoChoice::Off => return gst::Caps::builder("video/x-h264").build(),
        VideoChoice::Auto(encoding) | VideoChoice::Encode(encoding) => encoding,
    };
    let shaped = |name: &str| {
        let mut s = gst::Structure::builder(name);
        if let Some((width, height)) = encoding.size {
            s = s.field("width", width.cast_signed()).field("height", height.cast_signed());
        }
        if let Some(fps) = encoding.fps {
            s = s.field("framerate", gst::Fraction::new(fps.cast_signed(), 1));
        }
        s.build()
    };
    // In order of preference; without shape last: the chain behind scales what no camera mode fits.
    [
        shaped("video/x-raw"),
        shaped("image/jpeg"),
        gst::Structure::new_empty("video/x-raw"),
        gst::Structure::new_empty("image/jpeg"),
    ]
    .into_iter()
    .collect()
}

fn add_rtsp(url: &str, lanes: &LaneBuilder) -> Result<(), PublishError> {
    let source = make("rtspsrc")?;
    source.set_property("location", url);
    source.set_property("latency", RTSP_LATENCY_MS);
    lanes.add_and_link(&[&source])?;
    let builder = lanes.clone();
    source.connect_pad_added(move |_, pad| {
        if let Err(error) = take_rtsp_pad(pad, &builder) {
            builder.note(CaptureNote::Failed(error.to_string()));
        }
    });
    let builder = lanes.clone();
    source.connect_no_more_pads(move |_| builder.complete());
    Ok(())
}

fn take_rtsp_pad(pad: &gst::Pad, lanes: &LaneBuilder) -> Result<(), PublishError> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let field = |name: &str| caps.structure(0).and_then(|s| s.get::<String>(name).ok()).unwrap_or_default();
    let (media, encoding) = (field("media"), field("encoding-name"));
    let kind = match media.as_str() {
        "video" => TrackKind::Video,
        "audio" => TrackKind::Audio,
        // ONVIF metadata and the like.
        _ => return Ok(()),
    };
    if !lanes.wants(kind) {
        return Ok(());
    }
    if kind == TrackKind::Video && encoding.eq_ignore_ascii_case("H264") && lanes.copies_live_h264() {
        return lanes.add_h264(&lanes.add_behind(pad, &[make("rtph264depay")?])?);
    }
    if kind == TrackKind::Video && lanes.copies_always() {
        return Err(PublishError::option(format!(
            "the camera sends {encoding}; only H.264 can be sent without encoding"
        )));
    }
    lanes.announce(kind);
    let decode = make("decodebin")?;
    follow_decoder(&decode, lanes, false);
    lanes.add_sink_behind(pad, &decode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_moved_back_to_the_grid_and_keep_their_pace() {
        let at = |nanos| gst::ClockTime::from_nseconds(nanos);
        let first = at(38_000_123);
        let third = 33_333_333;
        let placed: Vec<_> = (0..4).map(|n| on_grid(first + at(n * third), first, 30).nseconds()).collect();
        assert_eq!(placed, [33_333_333, 66_666_666, 100_000_000, 133_333_333]);
        let later = first + at(29 * third + 3600 * 1_000_000_000);
        assert_eq!(on_grid(later, first, 30), gst::ClockTime::from_seconds(3601));
        assert_eq!(on_grid(at(0), at(0), 25), at(0));
    }

    /// The times at which flashes and beeps begin as the source makes them, in nanoseconds.
    fn events_of_the_source(seconds: u64) -> (Vec<u64>, Vec<u64>) {
        gst::init().unwrap();
        let (pipeline, _notes) = crate::webrtc_client::guard::PipelineGuard::new("source");
        let end = gst::ClockTime::from_seconds(seconds);
        let sink = || gstreamer_app::AppSink::builder().sync(false).build();
        let (pictures, sounds) = (sink(), sink());
        let encoding = VideoEncoding { size: Some((320, 180)), ..VideoEncoding::default() };
        let [source, caps] = test_video(&encoding).unwrap();
        pipeline.add_chain(&[&source, &caps, pictures.upcast_ref()]).unwrap();
        let [source, caps] = test_audio(TestSound::Beep).unwrap();
        pipeline.add_chain(&[&source, &caps, sounds.upcast_ref()]).unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let (mut flashes, mut beeps, mut was_white) = (Vec::new(), Vec::new(), true);
        while let Ok(sample) = pictures.pull_sample() {
            let buffer = sample.buffer().unwrap();
            let white = buffer.map_readable().unwrap()[320 * 90] == 235;
            if white && !was_white {
                flashes.push(buffer.pts().unwrap().nseconds());
            }
            was_white = white;
            if buffer.pts().unwrap() > end {
                break;
            }
        }
        let mut quiet = 0;
        while let Ok(sample) = sounds.pull_sample() {
            let buffer = sample.buffer().unwrap();
            for (n, bytes) in (0u64..).zip(buffer.map_readable().unwrap().chunks_exact(4)) {
                let loud = bytes != [0; 4];
                if loud && quiet > 4800 {
                    beeps.push(buffer.pts().unwrap().nseconds() + n * 1_000_000_000 / u64::from(AUDIO_RATE));
                }
                quiet = if loud { 0 } else { quiet + 1 };
            }
            if buffer.pts().unwrap() > end {
                break;
            }
        }
        (flashes, beeps)
    }

    #[test]
    fn flashes_and_beeps_begin_at_the_same_full_seconds() {
        let (flashes, beeps) = events_of_the_source(2);
        assert_eq!(flashes, [1_000_000_000, 2_000_000_000]);
        assert_eq!(beeps.len(), 2);
        for (flash, beep) in flashes.iter().zip(beeps) {
            // The sine is zero in its first sample, and samples do not fall on full seconds exactly.
            assert!(beep.abs_diff(*flash) < 50_000, "{flash} {beep}");
        }
    }
}
