//! `filesrc ! parsebin`, run from the beginning of a file to its end.

use super::FileError;
use gst::prelude::*;
use gstreamer as gst;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often the caller is told that time passes.
const TICK: gst::ClockTime = gst::ClockTime::from_mseconds(200);

/// A pipeline from which nothing comes for this long stands still. Even a whole picture of 8K is encoded faster.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a reading ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// At the end of the file.
    Whole,
    /// Before: why, in words.
    Broken(String),
}

/// Counts what passes, so that standing still is noticed.
pub(super) type Moved = Arc<AtomicU64>;

/// A pipeline that reads a file; stopped when dropped.
#[derive(Debug)]
pub(super) struct Reading {
    pipeline: gst::Pipeline,
    moved: Moved,
}

impl Reading {
    /// One that calls `link` for each elementary stream that is found in the file; it must be linked to something.
    pub(super) fn new(
        path: &Path,
        link: impl Fn(&gst::Pipeline, &gst::Pad, &Moved) -> Result<(), FileError> + Send + Sync + 'static,
    ) -> Result<Self, FileError> {
        let pipeline = gst::Pipeline::new();
        pipeline.use_clock(None::<&gst::Clock>);
        let source = gst::ElementFactory::make("filesrc").property("location", path).build()?;
        let parser = gst::ElementFactory::make("parsebin").build()?;
        pipeline.add_many([&source, &parser])?;
        source.link(&parser)?;
        let moved = Moved::default();
        let (weak, counter) = (pipeline.downgrade(), Arc::clone(&moved));
        parser.connect_pad_added(move |parser, pad| {
            let Some(pipeline) = weak.upgrade() else { return };
            if let Err(error) = link(&pipeline, pad, &counter) {
                gst::element_error!(parser, gst::CoreError::Failed, ("{}", error));
            }
        });
        Ok(Self { pipeline, moved })
    }

    /// Reads to the end.
    ///
    /// # Errors
    /// When it does not even begin, stands still, or GStreamer lacks something.
    pub(super) fn run(&self, mut tick: impl FnMut()) -> Result<Ending, FileError> {
        let bus = self.pipeline.bus().expect("a pipeline has a bus");
        // When this fails the bus says why.
        let _ = self.pipeline.set_state(gst::State::Playing);
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            let message = bus.timed_pop_filtered(TICK, &[gst::MessageType::Eos, gst::MessageType::Error]);
            match message.as_ref().map(|message| message.view()) {
                Some(gst::MessageView::Eos(_)) => return Ok(Ending::Whole),
                Some(gst::MessageView::Error(error)) => {
                    let words = words(&error.error(), error.debug().as_deref());
                    return match self.moved.load(Ordering::Relaxed) {
                        0 => Err(FileError::File(words)),
                        _ => Ok(Ending::Broken(words)),
                    };
                }
                _ => tick(),
            }
            let moved = self.moved.load(Ordering::Relaxed);
            if moved != seen {
                (seen, since) = (moved, Instant::now());
            } else if since.elapsed() > PATIENCE {
                return Err(FileError::File(format!("reading it stands still for {} s", PATIENCE.as_secs())));
            }
        }
    }
}

/// Adds what an elementary stream goes into, and sets it going at once. In PAUSED, where the pipeline stays until every decoder has shown what
/// it makes, a sink would hold back the demuxer, and so the very frames that the decoder of the other stream waits for.
pub(super) fn add_running(pipeline: &gst::Pipeline, bin: &gst::Bin) -> Result<(), FileError> {
    bin.set_locked_state(true);
    pipeline.add(bin)?;
    let started = bin.set_state(gst::State::Playing);
    started.map(drop).map_err(|error| FileError::Gstreamer(error.to_string()))
}

impl Drop for Reading {
    fn drop(&mut self) {
        for element in self.pipeline.children() {
            element.set_locked_state(false);
        }
        // Going to NULL cannot fail, says GStreamer.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// An error of GStreamer for people who do not know GStreamer.
fn words(error: &gst::glib::Error, debug: Option<&str>) -> String {
    let said = error.to_string();
    let said = said.trim_end_matches('.');
    if error.matches(gst::CoreError::MissingPlugin) || error.matches(gst::StreamError::CodecNotFound) {
        let which = debug.and_then(|text| text.lines().last()).unwrap_or_default();
        return format!("there is no decoder for what is in it: {said} {which}").trim_end().to_owned();
    }
    if error.matches(gst::StreamError::TypeNotFound) || error.matches(gst::StreamError::WrongType) {
        return "it is no WebM, MP4 or other media file that is known".to_owned();
    }
    said.to_owned()
}
