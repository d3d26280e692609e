//! The joint between the capture pipeline and whatever connection is up: one outlet per lane.

use super::error::PublishError;
use super::options::Faults;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;
use gstreamer_video::UpstreamForceKeyUnitEvent;
use skywave_media::codec::{Codec, TrackKind};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// What a lane carries, as far as an offer must know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LaneFormat {
    /// The codec.
    pub codec: Codec,
    /// Caps of the coded frames, as the payloader wants them.
    pub caps: gst::Caps,
    /// H.264 only: the first three bytes of the sequence parameter set, in hexadecimal (RFC 6184 section 8.1).
    pub profile_level_id: Option<String>,
}

/// What an outlet thinks of a frame it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The first frame whose format is known: the lane can be offered now.
    FirstFrame,
    /// Nothing to report.
    Taken,
    /// The frame goes back in time: the source has B-frames, which WebRTC cannot carry.
    Reordered,
}

/// Both lanes' outlets. Lives as long as publishing does.
#[derive(Debug)]
pub(super) struct Outlets {
    /// The video lane.
    pub video: Arc<Outlet>,
    /// The audio lane.
    pub audio: Arc<Outlet>,
}

impl Outlets {
    pub(super) fn new(faults: &Faults) -> Self {
        let range = |mute: Option<(Duration, Duration)>| mute.map(|(from, to)| from..=to);
        Self {
            video: Arc::new(Outlet::new(TrackKind::Video, range(faults.mute_video), faults.b_frames > 0)),
            audio: Arc::new(Outlet::new(TrackKind::Audio, range(faults.mute_audio), false)),
        }
    }

    pub(super) fn of(&self, kind: TrackKind) -> &Arc<Outlet> {
        match kind {
            TrackKind::Video => &self.video,
            TrackKind::Audio => &self.audio,
        }
    }

    /// The formats of the lanes that have delivered, video first.
    pub(super) fn formats(&self) -> Vec<LaneFormat> {
        [&self.video, &self.audio].into_iter().filter_map(|o| o.state().format.clone()).collect()
    }

    /// Forgets formats and the way back to the encoders: the capture is being replaced.
    pub(super) fn forget_capture(&self) {
        for outlet in [&self.video, &self.audio] {
            let mut state = outlet.state();
            state.format = None;
            state.encoder = gst::glib::WeakRef::new();
            state.last_time = None;
        }
    }

    /// Sends no frame to any connection from now on.
    pub(super) fn detach(&self) {
        self.video.state().target = None;
        self.audio.state().target = None;
    }
}

/// Where frames of one lane go.
#[derive(Debug)]
pub(super) struct Outlet {
    kind: TrackKind,
    mute: Option<RangeInclusive<Duration>>,
    /// Frames may go back in time: a fault made on purpose.
    reorders: bool,
    state: Mutex<OutletState>,
}

#[derive(Debug, Default)]
struct OutletState {
    format: Option<LaneFormat>,
    target: Option<Target>,
    /// The sink pad at the end of the capture; events pushed on it travel up to the encoder.
    encoder: gst::glib::WeakRef<gst::Pad>,
    /// Absolute time of the latest frame.
    last_time: Option<gst::ClockTime>,
}

/// A connection's side of a lane.
#[derive(Debug)]
pub(super) struct Target {
    /// Takes the frames.
    pub appsrc: AppSrc,
    /// Clock time at which the connection's pipeline began.
    pub base_time: gst::ClockTime,
    /// Clock time of the first connection: the zero of "time on air".
    pub on_air_since: gst::ClockTime,
    /// Video starts with a keyframe.
    pub awaiting_keyframe: bool,
}

impl Outlet {
    fn new(kind: TrackKind, mute: Option<RangeInclusive<Duration>>, reorders: bool) -> Self {
        Self { kind, mute, reorders, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, OutletState> {
        self.state.lock().expect("no thread panics while it holds an outlet")
    }

    /// The lane.
    pub(super) fn kind(&self) -> TrackKind {
        self.kind
    }

    /// Where keyframe requests go.
    pub(super) fn set_encoder(&self, pad: &gst::Pad) {
        self.state().encoder = pad.downgrade();
    }

    /// Frames go to `target` from now on; video from its next keyframe, which is asked for.
    pub(super) fn attach(&self, target: Target) {
        self.state().target = Some(target);
        if self.kind == TrackKind::Video {
            self.request_keyframe();
        }
    }

    /// Asks the encoder for a keyframe. A source that is passed through may ignore it.
    pub(super) fn request_keyframe(&self) {
        // Cloned: the event may run into the encoder's thread, which may be waiting for this very lock.
        let encoder = self.state().encoder.upgrade();
        if let Some(pad) = encoder {
            pad.push_event(UpstreamForceKeyUnitEvent::builder().all_headers(true).build());
        }
    }

    /// Takes a coded frame whose running time is counted from `base_time`.
    pub(super) fn deliver(
        &self,
        sample: &gst::Sample,
        base_time: gst::ClockTime,
    ) -> Result<Delivery, PublishError> {
        let Some((time, buffer)) = frame_of(sample, base_time) else { return Ok(Delivery::Taken) };
        let mut state = self.state();
        let mut delivery = Delivery::Taken;
        if state.format.is_none() {
            let Some(format) = format_of(sample)? else { return Ok(Delivery::Taken) };
            state.format = Some(format);
            delivery = Delivery::FirstFrame;
        }
        if !self.reorders && state.last_time.is_some_and(|last| time < last) {
            return Ok(Delivery::Reordered);
        }
        state.last_time = Some(time);
        let Some(target) = &mut state.target else { return Ok(delivery) };
        let delta = buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        if target.awaiting_keyframe && delta {
            return Ok(delivery);
        }
        let on_air = Duration::from(time.saturating_sub(target.on_air_since));
        if self.mute.as_ref().is_some_and(|range| range.contains(&on_air)) {
            return Ok(delivery);
        }
        let Some(running_time) = time.checked_sub(target.base_time) else { return Ok(delivery) };
        target.awaiting_keyframe = false;
        let mut buffer = buffer;
        let writable = buffer.make_mut();
        writable.set_pts(running_time);
        writable.set_dts(gst::ClockTime::NONE);
        let appsrc = target.appsrc.clone();
        drop(state);
        // It fails only while the connection goes down, which its owner is told of otherwise.
        if let Err(error) = appsrc.push_buffer(buffer) {
            tracing::trace!(lane = self.kind.as_str(), ?error, "frame not taken");
        }
        Ok(delivery)
    }
}

/// The frame and its absolute clock time, or `None` for one without time or outside of its segment.
fn frame_of(sample: &gst::Sample, base_time: gst::ClockTime) -> Option<(gst::ClockTime, gst::Buffer)> {
    let buffer = sample.buffer_owned()?;
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let running_time = segment.to_running_time(buffer.pts()?)?;
    Some((base_time + running_time, buffer))
}

/// What the sample is, or `None` while it cannot be told yet (H.264 before its first parameter sets).
fn format_of(sample: &gst::Sample) -> Result<Option<LaneFormat>, PublishError> {
    let Some(caps) = sample.caps() else { return Ok(None) };
    let name = caps.structure(0).map(|s| s.name().to_string()).unwrap_or_default();
    let codec = match name.as_str() {
        "video/x-vp8" => Codec::Vp8,
        "video/x-vp9" => Codec::Vp9,
        "video/x-h264" => Codec::H264,
        "audio/x-opus" => Codec::Opus,
        _ => return Err(PublishError::engine(format!("{name} is nothing we can publish"))),
    };
    let mut profile_level_id = None;
    if codec == Codec::H264 {
        let map = sample.buffer().and_then(|b| b.map_readable().ok());
        profile_level_id = map.and_then(|data| profile_level_id_of(&data));
        if profile_level_id.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(LaneFormat { codec, caps: caps.to_owned(), profile_level_id }))
}

/// `profile_idc`, the constraint flags and `level_idc` of the first sequence parameter set in an Annex B access unit.
fn profile_level_id_of(data: &[u8]) -> Option<String> {
    const SEQUENCE_PARAMETER_SET: u8 = 7; // ITU-T H.264 table 7-1
    let start = data.windows(4).position(|w| w[..3] == [0, 0, 1] && w[3] & 0x1f == SEQUENCE_PARAMETER_SET)?;
    let id = data.get(start + 4..start + 7)?;
    Some(format!("{:02x}{:02x}{:02x}", id[0], id[1], id[2]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_read_from_the_first_parameter_set() {
        let unit = [0, 0, 0, 1, 9, 0x10, 0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x1f, 0xda];
        assert_eq!(profile_level_id_of(&unit).as_deref(), Some("42c01f"));
        assert_eq!(profile_level_id_of(&unit[..12]), None, "cut short");
        assert_eq!(profile_level_id_of(&[0, 0, 1, 0x65, 1, 2, 3]), None, "no parameter set");
        assert_eq!(profile_level_id_of(&[]), None);
    }
}
