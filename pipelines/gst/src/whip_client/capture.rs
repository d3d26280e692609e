//! The capture pipeline: from a source to coded frames in the outlets.

use super::encode;
use super::error::PublishError;
use super::lane::{Delivery, Outlets};
use super::options::{AudioChoice, PublishOptions, Source, VideoChoice};
use super::source;
use crate::webrtc_client::element::make;
use crate::webrtc_client::guard::{BusNote, PipelineGuard};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSinkCallbacks};
use skywave_media::codec::TrackKind;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a source may take from its start to its first frame on every lane. RTSP cameras that wake up, and files on
/// a slow disk, take seconds.
const FIRST_FRAME_LIMIT: Duration = Duration::from_secs(30);

/// How long a camera's picture may wait for the encoder: then a newer one is worth more.
const CAMERA_PATIENCE: Duration = Duration::from_millis(150);

/// The same for files and the test picture, where being complete is worth more.
const FILE_PATIENCE: Duration = Duration::from_secs(1);

/// What the capture tells its owner.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CaptureNote {
    /// This lane exists; its first frame is to come.
    Announced(TrackKind),
    /// This lane has delivered its first frame.
    Ready(TrackKind),
    /// No more lanes will be announced.
    Complete,
    /// The source has ended.
    Ended,
    /// The source, or a decoder or encoder, failed.
    Failed(String),
}

/// A running capture. Dropping it stops it.
pub(super) struct Capture {
    notes: mpsc::UnboundedReceiver<CaptureNote>,
    bus: mpsc::UnboundedReceiver<BusNote>,
    source_name: String,
    /// Held in PAUSED until all lanes are known, see [`Capture::start`].
    held: bool,
    // Dropped last: callbacks write into the channels above.
    pipeline: PipelineGuard,
}

impl Capture {
    /// Builds the pipeline and sets it going. Call [`Capture::ready`] next.
    ///
    /// A file is only opened: its lanes are found and added while the pipeline is on its way to PLAYING, and elements that get there before
    /// it have no clock and no base time yet, so they would keep no pace: on a busy machine sound rushed through whole before the first picture, and a short file was over at once.
    pub(super) fn start(options: &PublishOptions, outlets: &Arc<Outlets>) -> Result<Self, PublishError> {
        let (pipeline, bus) = PipelineGuard::new("capture");
        let (sender, notes) = mpsc::unbounded_channel();
        let builder = LaneBuilder {
            pipeline: pipeline.downgrade(),
            outlets: Arc::clone(outlets),
            video: options.video.clone(),
            audio: options.audio,
            b_frames: options.faults.b_frames,
            // Live sources keep their own pace.
            paced: matches!(options.source, Source::File(_)),
            patience: match options.source {
                Source::Camera(_) | Source::Rtsp(_) => CAMERA_PATIENCE,
                Source::Test | Source::File(_) => FILE_PATIENCE,
            },
            taken: Arc::default(),
            notes: sender,
        };
        let held = builder.paced;
        let mut capture = Self { notes, bus, source_name: options.source.to_string(), held, pipeline };
        source::add(options, &builder)?;
        drop(builder);
        capture.set_state(if held { gst::State::Paused } else { gst::State::Playing })?;
        Ok(capture)
    }

    fn set_state(&mut self, state: gst::State) -> Result<(), PublishError> {
        if self.pipeline.set_state(state).is_err() {
            return Err(self.failed_to_start());
        }
        Ok(())
    }

    /// The error that a failed state change left on the bus.
    fn failed_to_start(&mut self) -> PublishError {
        let reason = match self.bus.try_recv() {
            Ok(BusNote::Failed(reason)) => reason,
            _ => "the pipeline did not start".into(),
        };
        self.source_error(reason)
    }

    fn source_error(&self, reason: String) -> PublishError {
        PublishError::Source { source_name: self.source_name.clone(), reason }
    }

    /// Waits until every lane of the source has delivered its first frame.
    ///
    /// # Errors
    ///
    /// The source failed, ended, has no wanted lane, or was silent for 30 s.
    pub(super) async fn ready(&mut self) -> Result<(), PublishError> {
        let (mut announced, mut ready, mut complete) = (BTreeSet::new(), BTreeSet::new(), false);
        let deadline = tokio::time::Instant::now() + FIRST_FRAME_LIMIT;
        while !(complete && announced == ready) {
            let note = tokio::time::timeout_at(deadline, self.next_note()).await.map_err(|_| {
                PublishError::SourceSilent {
                    source_name: self.source_name.clone(),
                    waited: FIRST_FRAME_LIMIT,
                }
            })?;
            match note {
                CaptureNote::Announced(kind) => drop(announced.insert(kind)),
                CaptureNote::Ready(kind) => drop(ready.insert(kind)),
                CaptureNote::Complete => {
                    complete = true;
                    if std::mem::take(&mut self.held) {
                        self.set_state(gst::State::Playing)?;
                    }
                }
                CaptureNote::Ended => return Err(self.source_error("it ended before its first frame".into())),
                CaptureNote::Failed(reason) => return Err(self.source_error(reason)),
            }
        }
        if announced.is_empty() {
            Err(PublishError::NothingToPublish(self.source_name.clone()))
        } else {
            Ok(())
        }
    }

    /// Waits for the end of the source: `Ok` when it has ended, an error when it failed.
    pub(super) async fn ended(&mut self) -> Result<(), PublishError> {
        loop {
            match self.next_note().await {
                CaptureNote::Ended => return Ok(()),
                CaptureNote::Failed(reason) => return Err(self.source_error(reason)),
                _ => {}
            }
        }
    }

    /// The next note of the lanes or the bus. Cancel safe.
    async fn next_note(&mut self) -> CaptureNote {
        tokio::select! {
            biased;
            Some(note) = self.notes.recv() => note,
            note = self.bus.recv() => match note {
                Some(BusNote::EndOfStream) => CaptureNote::Ended,
                Some(BusNote::Failed(reason)) => CaptureNote::Failed(reason),
                // The bus outlives the pipeline, which we hold.
                None => CaptureNote::Failed("the pipeline is gone".into()),
            },
        }
    }
}

/// Adds lanes to the capture pipeline; lives in the callbacks of elements that find their pads late.
#[derive(Clone)]
pub(super) struct LaneBuilder {
    pipeline: gst::glib::WeakRef<gst::Pipeline>,
    outlets: Arc<Outlets>,
    video: VideoChoice,
    audio: AudioChoice,
    b_frames: u32,
    paced: bool,
    /// How long pictures may wait for the encoder.
    patience: Duration,
    /// Lanes that have a pad: further pads of the same kind (a second language) are ignored.
    taken: Arc<Mutex<BTreeSet<TrackKind>>>,
    notes: mpsc::UnboundedSender<CaptureNote>,
}

impl LaneBuilder {
    /// Tells the owner of the capture. Nobody listens only while the capture is being dropped.
    pub(super) fn note(&self, note: CaptureNote) {
        drop(self.notes.send(note));
    }

    /// A lane of this kind will come.
    pub(super) fn announce(&self, kind: TrackKind) {
        self.note(CaptureNote::Announced(kind));
    }

    /// No lane but the announced will come.
    pub(super) fn complete(&self) {
        self.note(CaptureNote::Complete);
    }

    /// Whether the caller wants this lane.
    pub(super) fn wants(&self, kind: TrackKind) -> bool {
        match kind {
            TrackKind::Video => self.video != VideoChoice::Off,
            TrackKind::Audio => self.audio != AudioChoice::Off,
        }
    }

    /// Whether H.264 from a live source is sent as it is.
    pub(super) fn copies_live_h264(&self) -> bool {
        matches!(self.video, VideoChoice::Copy | VideoChoice::Auto(_))
    }

    /// Whether video must not be encoded.
    pub(super) fn copies_always(&self) -> bool {
        self.video == VideoChoice::Copy
    }

    fn pipeline(&self) -> Result<gst::Pipeline, PublishError> {
        self.pipeline.upgrade().ok_or_else(|| PublishError::engine("the capture is being stopped"))
    }

    /// Adds `elements`, links them in order and starts them.
    pub(super) fn add_and_link(&self, elements: &[&gst::Element]) -> Result<(), PublishError> {
        self.pipeline()?.add_many(elements)?;
        gst::Element::link_many(elements)?;
        // Downstream first, so that no buffer meets an element that is not ready.
        elements.iter().rev().try_for_each(|e| e.sync_state_with_parent()).map_err(PublishError::from)
    }

    /// Like [`Self::add_and_link`]; the source pad of the last element.
    pub(super) fn add_elements(&self, elements: &[gst::Element]) -> Result<gst::Pad, PublishError> {
        self.add_and_link(&elements.iter().collect::<Vec<_>>())?;
        let last = elements.last().and_then(|e| e.static_pad("src"));
        last.ok_or_else(|| PublishError::engine("a chain ends in an element without source pad"))
    }

    /// Adds `elements` and links `pad` to the first; the source pad of the last.
    pub(super) fn add_behind(
        &self,
        pad: &gst::Pad,
        elements: &[gst::Element],
    ) -> Result<gst::Pad, PublishError> {
        let out = self.add_elements(elements)?;
        link_to(pad, &elements[0])?;
        Ok(out)
    }

    /// Adds `element` and links `pad` to it.
    pub(super) fn add_sink_behind(&self, pad: &gst::Pad, element: &gst::Element) -> Result<(), PublishError> {
        self.add_and_link(&[element])?;
        link_to(pad, element)
    }

    /// A pad that a decoder has found.
    pub(super) fn take_decoded(&self, pad: &gst::Pad) {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let name = caps.structure(0).map(|s| s.name().to_string()).unwrap_or_default();
        let result = if name.starts_with("video/x-h264") && self.copies_always() {
            self.add_h264(pad)
        } else if name.starts_with("video/") && self.wants(TrackKind::Video) {
            self.add_raw(TrackKind::Video, pad)
        } else if name.starts_with("audio/") && self.wants(TrackKind::Audio) {
            self.add_raw(TrackKind::Audio, pad)
        } else {
            Ok(())
        };
        if let Err(error) = result {
            self.note(CaptureNote::Failed(error.to_string()));
        }
    }

    /// Marks the lane as taken; false when it was.
    fn take(&self, kind: TrackKind) -> bool {
        self.taken.lock().expect("no thread panics while it holds the set").insert(kind)
    }

    /// Encodes what `pad` delivers.
    pub(super) fn add_raw(&self, kind: TrackKind, pad: &gst::Pad) -> Result<(), PublishError> {
        if !self.take(kind) {
            return Ok(());
        }
        let chain = match (kind, &self.video, self.audio) {
            (TrackKind::Video, VideoChoice::Auto(encoding) | VideoChoice::Encode(encoding), _) => {
                encode::video_chain(encoding, self.b_frames, self.patience, rate_of(pad))?
            }
            (TrackKind::Audio, _, AudioChoice::Opus { bitrate_bps }) => encode::audio_chain(bitrate_bps)?,
            (TrackKind::Video, VideoChoice::Copy, _) => {
                let reason = "its video is not H.264, so it cannot be sent without encoding";
                return Err(PublishError::option(reason));
            }
            _ => return Ok(()),
        };
        self.finish(kind, pad, chain)
    }

    /// Sends the H.264 that `pad` delivers as it is.
    pub(super) fn add_h264(&self, pad: &gst::Pad) -> Result<(), PublishError> {
        if !self.take(TrackKind::Video) {
            return Ok(());
        }
        self.finish(TrackKind::Video, pad, encode::h264_framing()?)
    }

    /// `pad` -> (pace) -> `chain` -> outlet.
    fn finish(
        &self,
        kind: TrackKind,
        pad: &gst::Pad,
        mut chain: Vec<gst::Element>,
    ) -> Result<(), PublishError> {
        self.announce(kind);
        if self.paced {
            chain.insert(0, make("clocksync")?);
        }
        chain.push(self.outlet_sink(kind).upcast());
        self.add_and_link(&chain.iter().collect::<Vec<_>>())?;
        link_to(pad, &chain[0])
    }

    /// The appsink at the end of a lane.
    fn outlet_sink(&self, kind: TrackKind) -> AppSink {
        let sink = AppSink::builder().sync(false).async_(false).enable_last_sample(false).build();
        let outlet = Arc::clone(self.outlets.of(kind));
        outlet.set_encoder(&sink.static_pad("sink").expect("an appsink has a sink pad"));
        let (notes, pipeline) = (self.notes.clone(), self.pipeline.clone());
        sink.set_callbacks(
            AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    let base_time = pipeline.upgrade().and_then(|p| p.base_time()).ok_or(gst::FlowError::Flushing)?;
                    let note = match outlet.deliver(&sample, base_time) {
                        Ok(Delivery::Taken) => return Ok(gst::FlowSuccess::Ok),
                        Ok(Delivery::FirstFrame) => CaptureNote::Ready(outlet.kind()),
                        Ok(Delivery::Reordered) => CaptureNote::Failed(
                            "its H.264 has B-frames, which WebRTC cannot carry: have it encoded instead of copied".into(),
                        ),
                        Err(error) => CaptureNote::Failed(error.to_string()),
                    };
                    let failed = matches!(note, CaptureNote::Failed(_));
                    drop(notes.send(note));
                    if failed { Err(gst::FlowError::Error) } else { Ok(gst::FlowSuccess::Ok) }
                })
                .build(),
        );
        sink
    }
}

/// Links `pad` to the sink pad of `element`.
fn link_to(pad: &gst::Pad, element: &gst::Element) -> Result<(), PublishError> {
    let sink = element.static_pad("sink").expect("elements behind a source have a sink pad");
    pad.link(&sink)
        .map_err(|e| PublishError::engine(format!("{} does not fit {}: {e}", pad.name(), element.name())))?;
    Ok(())
}
/// The frame rate that `pad` is bound to deliver, if it is bound to one.
fn rate_of(pad: &gst::Pad) -> Option<gst::Fraction> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    caps.structure(0)?.get::<gst::Fraction>("framerate").ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::whip_client::options::Faults;

    /// With PLAYING as its target from the beginning, the pipeline would be racing against the file's own elements.
    #[tokio::test]
    async fn a_file_keeps_still_until_all_its_lanes_are_known() {
        gst::init().unwrap();
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("tone.ogg");
        let tone = ["-v", "error", "-f", "lavfi", "-i", "sine=duration=1", "-c:a", "libopus"];
        let made = std::process::Command::new("ffmpeg").args(tone).arg(&path).status().unwrap();
        assert!(made.success());
        let options = PublishOptions::new(Source::File(path), "http://127.0.0.1/whip/x");
        let outlets = Arc::new(Outlets::new(&Faults::default()));
        let mut capture = Capture::start(&options, &outlets).unwrap();
        assert_eq!(capture.next_note().await, CaptureNote::Announced(TrackKind::Audio));
        assert_eq!(capture.next_note().await, CaptureNote::Complete);
        let limit = gst::ClockTime::from_seconds(10);
        assert_eq!(capture.pipeline.state(limit).1, gst::State::Paused);
        assert!(outlets.formats().is_empty(), "nothing has been encoded");
        capture.set_state(gst::State::Playing).unwrap();
        let begun = std::time::Instant::now();
        assert_eq!(capture.next_note().await, CaptureNote::Ready(TrackKind::Audio));
        assert_eq!(capture.next_note().await, CaptureNote::Ended);
        assert!(begun.elapsed() > Duration::from_millis(900), "{:?}", begun.elapsed());
    }
}
