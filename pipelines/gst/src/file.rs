//! Whole files, as fast as the machine can: a child process that turns a foreign file into frames, and one that makes pictures of a
//! recording.
//!
//! Whatever a stranger's file does to a demuxer or a decoder happens here and to nobody else. What is found goes to standard output
//! in the messages of [`skywave_media::convert_proto`]; the process that started this one decides what becomes of it.
//!
//! ```text
//! frames:   look.rs (reads the file once: tracks, times, what can be copied) -> frames.rs (reads it again: copies, or decodes and encodes)
//! pictures: pictures.rs (from keyframe to keyframe of a finished recording) -> sheet.rs (many small pictures in one)
//! ```

mod frames;
mod look;
mod pictures;
mod reading;
mod sheet;

use crate::convert::media_time_of_file;
use crate::worker::log;
use gstreamer as gst;
use rustix::process::{Resource, Rlimit, nice, setrlimit};
use skywave_media::convert_proto::{FromConverter, bounded};
use skywave_media::time::MediaTime;
use skywave_media::worker_proto::encode;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Address space of the child, in bytes: see the worker's.
const MAX_ADDRESS_SPACE_BYTES: u64 = 4 << 30;

/// How far a child steps back: live streams come first. Pictures can wait longer than people who import.
const NICE_FRAMES: i32 = 5;
/// See [`NICE_FRAMES`].
const NICE_PICTURES: i32 = 19;

/// Why nothing can be made of a file.
#[derive(Debug, thiserror::Error)]
enum FileError {
    /// GStreamer does not start, or lacks something.
    #[error("GStreamer does not do it: {0}")]
    Gstreamer(String),
    /// The file is at fault: in words that go on after its name.
    #[error("{0}")]
    File(String),
}

impl From<gst::glib::Error> for FileError {
    fn from(error: gst::glib::Error) -> Self {
        Self::Gstreamer(error.to_string())
    }
}

impl From<gst::glib::BoolError> for FileError {
    fn from(error: gst::glib::BoolError) -> Self {
        Self::Gstreamer(error.to_string())
    }
}

/// The main function of the child that turns a file into frames.
pub fn frames(path: &Path) -> ExitCode {
    run(NICE_FRAMES, |out| frames::run(path, out))
}

/// The main function of the child that makes the pictures of a finished recording so long.
pub fn pictures(path: &Path, duration: Duration) -> ExitCode {
    run(NICE_PICTURES, |out| pictures::run(path, duration, out))
}

fn run(niceness: i32, work: impl FnOnce(&Out) -> Result<(), FileError>) -> ExitCode {
    log::install();
    let limit = Rlimit { current: Some(MAX_ADDRESS_SPACE_BYTES), maximum: Some(MAX_ADDRESS_SPACE_BYTES) };
    if let Err(error) = setrlimit(Resource::As, limit) {
        log::line("WARN", &format!("memory is not limited: {error}"));
    }
    if let Err(error) = nice(niceness) {
        log::line("WARN", &format!("this process is as important as others: {error}"));
    }
    let out = Out::default();
    match gst::init().map_err(FileError::from).and_then(|()| work(&out)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out.send(&FromConverter::Failed(bounded(&error.to_string())));
            ExitCode::FAILURE
        }
    }
}

/// Standard output, shared by GStreamer's threads.
#[derive(Debug, Clone, Default)]
struct Out(Arc<Mutex<Vec<u8>>>);

impl Out {
    /// Sends a message; waits while nobody reads. Ends this process when nobody will.
    fn send(&self, message: &FromConverter) {
        let mut buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buffer.clear();
        if let Err(error) = encode(message, &mut buffer) {
            // One frame of more than 8 MB, or a nonsensical time: the file goes on without it.
            log::line("WARN", &format!("a message is left out: {error}"));
            return;
        }
        let mut stdout = std::io::stdout().lock();
        if stdout.write_all(&buffer).and_then(|()| stdout.flush()).is_err() {
            // Exit handlers could wait for threads that wait for this lock.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}

/// A buffer's time on the timeline of its file, by the segment that it is in; before the file's zero it is negative.
fn time_in_file(segment: &gst::FormattedSegment<gst::ClockTime>, time: gst::ClockTime) -> Option<MediaTime> {
    segment.to_running_time_full(time).map(media_time_of_file)
}
