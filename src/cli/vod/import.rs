//! `skywave vod import`: a recording made of foreign files.
//!
//! A child process turns each session of the source into frames; they go through the same recorder as a live stream's, one session after the
//! other on one timeline.

use super::sources::{self, Session};
use crate::cli::progress::Bar;
use crate::cli::{complain, say};
use crate::config::Config;
use crate::converter::Converter;
use crate::recordings::import::{self, Held, Import, ImportError};
use skywave_media::codec::TrackKind;
use skywave_media::convert::Order;
use skywave_media::convert_proto::{FromConverter, SourceInfo, SourceTrack};
use skywave_media::frame::Frame;
use skywave_media::name::StreamName;
use skywave_media::recording::{Recorder, RecorderConfig, RecorderError, RecorderOutput};
use skywave_media::time::{MediaTime, Mono, UnixTime};
use skywave_media::worker_proto::FrameReceiver;
use std::path::Path;

/// Imports what lies at `source`; the error is for the one who asked.
pub(super) fn run(
    config: &Config,
    stream: &StreamName,
    source: &Path,
    begun: Option<UnixTime>,
) -> Result<(), String> {
    let words = |error: ImportError| error.to_string();
    let sessions = sources::sessions(source)?;
    let held = Held::take(config).map_err(words)?;
    let mut making = Making::new(&held, stream, begun);
    let mut broken = Vec::new();
    for (number, session) in sessions.iter().enumerate() {
        let label = match sessions.len() {
            1 => session.name(),
            total => format!("{} ({} of {total})", session.name(), number + 1),
        };
        let outcome = making.take(session, &label).map_err(|reason| format!("{label}: {reason}"))?;
        if let Some(reason) = outcome {
            complain(&format!(
                "skywave: {label} is damaged; what comes before the place is imported: {reason}"
            ));
            broken.push(format!("{label}: {reason}"));
        }
    }
    let reason = (!broken.is_empty()).then(|| format!("its source was damaged: {}", broken.join("; ")));
    let bar = Bar::waiting("finishing");
    let import = making.end()?;
    let (files, mut manifest) = import.finish(reason).map_err(words)?;
    drop(bar);
    if config.recording.pictures {
        let _bar = Bar::waiting("making pictures");
        if let Err(reason) = import::add_pictures(&files, &mut manifest) {
            complain(&format!("skywave: the recording is good, but it gets no pictures: {reason}"));
        }
    }
    let seconds = manifest.duration_ms as f64 / 1000.0;
    say(&format!(
        "{stream} {}: {seconds:.3} s, begun {}, {} bytes",
        manifest.id, manifest.begun, manifest.bytes
    ));
    Ok(())
}

/// A recording on its way from frames to a file.
struct Making<'a> {
    held: &'a Held,
    stream: &'a StreamName,
    begun: Option<UnixTime>,
    recorder: Recorder,
    import: Option<Import<'a>>,
    /// The recorder's clock: the time of the newest frame.
    now: Mono,
    /// Where the sessions so far end, on the recording's timeline.
    end: MediaTime,
}

impl<'a> Making<'a> {
    fn new(held: &'a Held, stream: &'a StreamName, begun: Option<UnixTime>) -> Self {
        // One recording, whatever its length, and as long as its source.
        let recorder = Recorder::new(RecorderConfig::default());
        Self {
            held,
            stream,
            begun,
            recorder,
            import: None,
            now: Mono::default(),
            end: MediaTime::from_nanos(0),
        }
    }

    /// Takes all frames of a session. `Some`: it broke off, and why.
    fn take(&mut self, session: &Session, label: &str) -> Result<Option<String>, String> {
        let file = session.open(self.held)?;
        let date = session.date(&file);
        let mut converter =
            Converter::frames(&file).map_err(|error| format!("cannot start a process: {error}"))?;
        let bar = Bar::waiting(&format!("looking at {label}"));
        let info = loop {
            match converter.next()? {
                FromConverter::Looked { at, .. } => {
                    bar.say(&format!("looking at {label}: {} s", at.as_secs()));
                }
                FromConverter::Source(info) => break info,
                other => return Err(unexpected(other)),
            }
        };
        drop(bar);
        if self.import.is_none() {
            let begun =
                self.begun.or(date).or(info.created).unwrap_or_else(|| session.written(info.duration));
            self.import = Some(self.held.begin(self.stream, begun).map_err(|error| error.to_string())?);
        }
        let bar = Bar::time(&format!("{label} {}", what(&info)), info.duration);
        self.take_frames(&mut converter, &info, &bar)
    }

    fn take_frames(
        &mut self,
        converter: &mut Converter,
        info: &SourceInfo,
        bar: &Bar,
    ) -> Result<Option<String>, String> {
        let kinds = [(TrackKind::Video, &info.video), (TrackKind::Audio, &info.audio)];
        let kinds: Vec<TrackKind> =
            kinds.into_iter().filter(|(_, track)| track.is_some()).map(|(kind, _)| kind).collect();
        kinds.iter().for_each(|kind| self.recorder.expect(*kind));
        let mut order = Order::new(kinds.iter().copied());
        let mut receiver = FrameReceiver::default();
        let mut shift = Shift { from: self.end, by: None };
        let broken = loop {
            match converter.next()? {
                FromConverter::Frame(message) => {
                    let frame = receiver
                        .frame(message)
                        .ok_or("the process that reads it sends a frame of no format")?;
                    order.handle_frame(frame);
                }
                FromConverter::End(kind) => order.handle_end(kind),
                FromConverter::Done { broken } => break broken,
                other => return Err(unexpected(other)),
            }
            while let Some(frame) = order.poll_frame() {
                self.record(shift.apply(frame), bar, shift.from)?;
            }
        };
        kinds.iter().for_each(|kind| order.handle_end(*kind));
        while let Some(frame) = order.poll_frame() {
            self.record(shift.apply(frame), bar, shift.from)?;
        }
        if shift.by.is_none() {
            return Err(match broken {
                Some(reason) => reason,
                None => "not one frame of it can be decoded".to_owned(),
            });
        }
        self.recorder.handle_discontinuity(self.now);
        self.write()?;
        Ok(broken)
    }

    fn record(&mut self, frame: Frame, bar: &Bar, from: MediaTime) -> Result<(), String> {
        self.now = self.now.max(Mono::from_nanos(u64::try_from(frame.dts.as_nanos()).unwrap_or(0)));
        let length = frame.duration.unwrap_or(MediaTime::from_90k(3000));
        self.end = self.end.max(frame.pts.max(frame.dts) + length);
        bar.reach((frame.dts - from).as_duration());
        match self.recorder.handle_frame(&frame, self.now) {
            Ok(()) => self.write(),
            Err(error @ (RecorderError::Codec(_) | RecorderError::Format(_) | RecorderError::Ended)) => {
                Err(format!("its frames cannot be recorded: {error}"))
            }
        }
    }

    fn write(&mut self) -> Result<(), String> {
        while let Some(output) = self.recorder.poll_output() {
            if let (RecorderOutput::Append { bytes, duration }, Some(import)) = (output, &mut self.import) {
                import.append(&bytes, duration).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    fn end(mut self) -> Result<Import<'a>, String> {
        self.recorder.end(self.now);
        self.write()?;
        self.import.ok_or_else(|| "there is nothing in it".to_owned())
    }
}

/// Puts a session behind those before it.
struct Shift {
    /// Where its first frame is to stand.
    from: MediaTime,
    by: Option<MediaTime>,
}

impl Shift {
    fn apply(&mut self, mut frame: Frame) -> Frame {
        let by = *self.by.get_or_insert(self.from - frame.dts.rescale(self.from.rate));
        (frame.pts, frame.dts) = (frame.pts + by, frame.dts + by);
        frame
    }
}

fn unexpected(message: FromConverter) -> String {
    match message {
        FromConverter::Failed(words) => words,
        _ => "the process that reads it talks of something else".to_owned(),
    }
}

/// What is done with a source, in brackets.
fn what(info: &SourceInfo) -> String {
    let one = |track: &SourceTrack| {
        format!("{} {}", if track.copied { "copying" } else { "encoding" }, track.codec)
    };
    let all: Vec<String> = info.video.iter().chain(&info.audio).map(one).collect();
    format!("({})", all.join(", "))
}
