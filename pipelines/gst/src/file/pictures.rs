//! Pictures of a finished recording: from keyframe to keyframe, without decoding what lies between.

use super::sheet::{RGB, Sheet};
use super::{FileError, Out};
use crate::transcode::{Engine, Waker};
use bytes::Bytes;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use skywave_media::convert_proto::{FromConverter, Pictures};
use skywave_media::storyboard;
use std::path::Path;
use std::time::Duration;

/// JPEG quality, of 100.
const QUALITY: u32 = 75;

/// How long a picture may take, also on a machine that is busy with streams.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(20);

/// Makes the pictures of a recording so long and sends them.
pub(super) fn run(path: &Path, duration: Duration, out: &Out) -> Result<(), FileError> {
    let film = Film::open(path)?;
    let size = film.size()?;
    let (width, height) = (storyboard::SMALL_WIDTH, storyboard::height(storyboard::SMALL_WIDTH, size));
    film.set_size(width, height);
    let mut sheet = Sheet::new(storyboard::COLUMNS, width, height);
    let mut times = Vec::new();
    for wanted in storyboard::times(duration) {
        let picture = film.at(wanted)?;
        // Keyframes may be further apart than the pictures that are wanted.
        if times.last().is_none_or(|last| *last < picture.at) {
            times.push(picture.at);
            sheet.put(&picture.pixels, picture.stride);
        }
    }
    let (thumb_width, thumb_height) =
        (storyboard::THUMB_WIDTH, storyboard::height(storyboard::THUMB_WIDTH, size));
    film.set_size(thumb_width, thumb_height);
    let thumb = film.at(storyboard::thumb_time(duration))?;
    drop(film);
    let mut plain = Sheet::new(1, thumb_width, thumb_height);
    plain.put(&thumb.pixels, thumb.stride);
    out.send(&FromConverter::Pictures(Pictures {
        thumb: jpeg(plain)?,
        sprite: jpeg(sheet)?,
        columns: storyboard::COLUMNS,
        width,
        height,
        times,
    }));
    Ok(())
}

/// A recording that shows the keyframe at any time.
struct Film {
    pipeline: gst::Pipeline,
    sink: gst_app::AppSink,
}

struct Picture {
    at: Duration,
    pixels: Vec<u8>,
    stride: usize,
}

impl Film {
    fn open(path: &Path) -> Result<Self, FileError> {
        // The sound is left alone: a pad of the demuxer that nobody links.
        let description = "filesrc name=file ! qtdemux name=demux demux.video_0 ! h264parse ! avdec_h264 max-threads=1 \
             ! videoconvertscale add-borders=true ! capsfilter name=size caps=video/x-raw,format=RGB,pixel-aspect-ratio=1/1 \
             ! appsink name=sink sync=false max-buffers=1 qos=false";
        let pipeline = gst::parse::launch(description)?.downcast::<gst::Pipeline>();
        let pipeline = pipeline.map_err(|_| FileError::Gstreamer("no pipeline".to_owned()))?;
        pipeline.use_clock(None::<&gst::Clock>);
        pipeline.by_name("file").expect("the description names it").set_property("location", path);
        let sink = pipeline.by_name("sink").and_then(|sink| sink.downcast::<gst_app::AppSink>().ok());
        let film = Self { sink: sink.expect("the description names it"), pipeline };
        // When this fails the bus says why.
        let _ = film.pipeline.set_state(gst::State::Paused);
        film.settle()?;
        Ok(film)
    }

    /// Waits until there is a picture.
    fn settle(&self) -> Result<(), FileError> {
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        let wanted = [gst::MessageType::AsyncDone, gst::MessageType::Error, gst::MessageType::Eos];
        let message = bus.timed_pop_filtered(PATIENCE, &wanted);
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Error(error)) => Err(FileError::File(error.error().to_string())),
            Some(_) => Ok(()),
            None => Err(FileError::File("it does not show its pictures in time".to_owned())),
        }
    }

    /// The size of the first picture, in square pixels.
    fn size(&self) -> Result<(u32, u32), FileError> {
        let sample = self.sink.try_pull_preroll(PATIENCE);
        let info = sample.as_ref().and_then(|sample| sample.caps()).map(gst_video::VideoInfo::from_caps);
        match info {
            Some(Ok(info)) => Ok((info.width(), info.height())),
            _ => Err(FileError::File("there is no picture in it".to_owned())),
        }
    }

    /// Pictures have this size from the next one on.
    fn set_size(&self, width: u32, height: u32) {
        let caps = gst::Caps::builder("video/x-raw")
            .field("format", "RGB")
            .field("width", width.cast_signed())
            .field("height", height.cast_signed())
            .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
            .build();
        self.pipeline.by_name("size").expect("the description names it").set_property("caps", caps);
    }

    /// The keyframe at this time: the nearest before it.
    fn at(&self, time: Duration) -> Result<Picture, FileError> {
        let at = gst::ClockTime::try_from(time).unwrap_or(gst::ClockTime::ZERO);
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::KEY_UNIT | gst::SeekFlags::SNAP_BEFORE;
        self.pipeline.seek_simple(flags, at)?;
        self.settle()?;
        let missing = || FileError::File(format!("there is no picture at {:.1} s", time.as_secs_f64()));
        let sample = self.sink.try_pull_preroll(PATIENCE).ok_or_else(missing)?;
        let (Some(buffer), Some(caps)) = (sample.buffer(), sample.caps()) else { return Err(missing()) };
        let info = gst_video::VideoInfo::from_caps(caps)?;
        let segment = sample.segment().and_then(|segment| segment.downcast_ref::<gst::ClockTime>());
        let shown = segment.zip(buffer.pts()).and_then(|(segment, pts)| segment.to_stream_time(pts));
        let map = buffer.map_readable()?;
        let stride = usize::try_from(info.stride()[0]).unwrap_or(info.width() as usize * RGB);
        Ok(Picture { at: shown.map_or(time, Duration::from), pixels: map.to_vec(), stride })
    }
}

impl Drop for Film {
    fn drop(&mut self) {
        // Going to NULL cannot fail, says GStreamer.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// A sheet as JPEG, whose colours have the full range (JFIF).
fn jpeg(sheet: Sheet) -> Result<Bytes, FileError> {
    let (width, height) = sheet.size();
    let caps = gst::Caps::builder("video/x-raw")
        .field("format", "RGB")
        .field("width", width.cast_signed())
        .field("height", height.cast_signed())
        .field("framerate", gst::Fraction::new(1, 1))
        .build();
    let failed = |error: String| FileError::Gstreamer(error);
    let description = format!(
        "videoconvertscale ! capsfilter caps=video/x-raw,format=I420,colorimetry=1:4:0:0 ! jpegenc quality={QUALITY}"
    );
    let mut engine =
        Engine::start(&description, &caps, &Waker::new(|| {})).map_err(|error| failed(error.to_string()))?;
    let mut buffer = gst::Buffer::from_slice(aligned(sheet.into_pixels(), width));
    buffer.make_mut().set_pts(gst::ClockTime::ZERO);
    engine.push(buffer);
    let samples = engine.finish(PATIENCE);
    let map =
        samples.first().and_then(|sample| sample.buffer()).and_then(|buffer| buffer.map_readable().ok());
    match map {
        Some(map) => Ok(Bytes::copy_from_slice(&map)),
        None => Err(failed(engine.failure().unwrap_or_else(|| "there is no JPEG".to_owned()))),
    }
}

/// Rows of RGB pixels as GStreamer wants them: each begins at a multiple of four bytes.
fn aligned(pixels: Vec<u8>, width: u32) -> Vec<u8> {
    let length = width as usize * RGB;
    if length.is_multiple_of(4) {
        return pixels;
    }
    let padding = vec![0; length.next_multiple_of(4) - length];
    pixels.chunks(length.max(1)).flat_map(|row| [row, &padding[..]].concat()).collect()
}
