//! The first reading of a file: what is in it, how long it is, and whether its frames can be taken as they are.
//!
//! A file is demuxed for this and not decoded, so it takes as long as reading the file does. It is worth it: files that browsers record do
//! not say how long they are, and whether H.264 can be copied shows only when every frame has been seen.

use super::reading::{Ending, Moved, Reading, add_running};
use super::{FileError, time_in_file};
use crate::convert::codec_data;
use gst::prelude::*;
use gstreamer as gst;
use skywave_media::codec::{Codec, VideoFormat};
use skywave_media::convert_proto::{MAX_DURATION, SourceInfo, SourceTrack};
use skywave_media::fit::playable;
use skywave_media::h264::{avcc_nals, nal_type, nal_unit_type};
use skywave_media::time::{MediaTime, UnixTime};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Keyframes may be so far apart, in nanoseconds: HLS segments begin at them, and seeking does.
const MAX_KEYFRAME_DISTANCE_NS: i64 = 10_000_000_000;

/// What was found.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub(super) video: Option<VideoLook>,
    pub(super) audio: Option<AudioLook>,
    duration: Duration,
    created: Option<UnixTime>,
}

/// The pictures that are taken.
#[derive(Debug, Clone)]
pub(super) struct VideoLook {
    pub(super) stream_id: String,
    codec: String,
    pub(super) copied: bool,
    /// Frames are decoded in the order in which they are shown.
    pub(super) in_order: bool,
    /// The file says that pictures are to be turned.
    pub(super) turned: bool,
    /// Pictures may be made of two fields.
    pub(super) interlaced: bool,
}

/// The sound that is taken.
#[derive(Debug, Clone)]
pub(super) struct AudioLook {
    pub(super) stream_id: String,
    codec: String,
    pub(super) copied: bool,
}

impl Look {
    /// What the other process is told.
    pub(super) fn info(&self) -> SourceInfo {
        let track = |codec: &String, copied| SourceTrack { codec: codec.clone(), copied };
        SourceInfo {
            video: self.video.as_ref().map(|video| track(&video.codec, video.copied)),
            audio: self.audio.as_ref().map(|audio| track(&audio.codec, audio.copied)),
            duration: self.duration,
            created: self.created,
        }
    }
}

/// What was seen of one elementary stream.
#[derive(Debug, Default)]
struct Seen {
    stream_id: String,
    /// The newest ones.
    caps: Option<gst::Caps>,
    segment: Option<gst::FormattedSegment<gst::ClockTime>>,
    frames: u64,
    /// Frames whose times cannot be used as they are.
    bad_times: u64,
    /// Frames without a decoding time.
    without_dts: u64,
    out_of_order: bool,
    /// Not one format of it may be copied.
    misfit: bool,
    turned: bool,
    begin_ns: Option<i64>,
    end_ns: i64,
    last_ns: i64,
    keyframe_ns: Option<i64>,
    keyframe_distance_ns: i64,
    created: Option<UnixTime>,
}

type Shared = Arc<Mutex<Vec<Seen>>>;

/// Reads the file and tells `progress` how far it is, and of how much if the file says so.
pub(super) fn look(path: &Path, progress: impl Fn(Duration, Option<Duration>)) -> Result<Look, FileError> {
    let shared = Shared::default();
    let streams = Arc::clone(&shared);
    let reading = Reading::new(path, move |pipeline, pad, moved| watch(pipeline, pad, moved, &streams))?;
    let far = || {
        let streams = shared.lock().unwrap_or_else(PoisonError::into_inner);
        let end = streams.iter().map(|seen| seen.end_ns).max().unwrap_or_default();
        progress(Duration::from_nanos(u64::try_from(end).unwrap_or(0)), None);
    };
    let ending = reading.run(far)?;
    drop(reading);
    let streams = std::mem::take(&mut *shared.lock().unwrap_or_else(PoisonError::into_inner));
    let look = conclude(&streams)?;
    match ending {
        // What comes before the place is taken; the second reading breaks off there again.
        Ending::Broken(_) | Ending::Whole => Ok(look),
    }
}

/// Links an elementary stream to a sink that only looks.
fn watch(pipeline: &gst::Pipeline, pad: &gst::Pad, moved: &Moved, streams: &Shared) -> Result<(), FileError> {
    let caps = pad.current_caps().unwrap_or_else(gst::Caps::new_any);
    let h264 = caps.structure(0).is_some_and(|s| s.name() == "video/x-h264");
    let description = if h264 { format!("{} ! {SINK}", super::frames::AVC) } else { SINK.to_owned() };
    let bin = gst::parse::bin_from_description(&description, true)?;
    let sink = bin.by_name("sink").and_then(|sink| sink.static_pad("sink"));
    let sink = sink.expect("the description names it");
    let index = {
        let mut streams = streams.lock().unwrap_or_else(PoisonError::into_inner);
        let stream_id = pad.stream_id().map(|id| id.to_string()).unwrap_or_default();
        streams.push(Seen { stream_id, ..Seen::default() });
        streams.len() - 1
    };
    let (streams, moved) = (Arc::clone(streams), Arc::clone(moved));
    let mask = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    sink.add_probe(mask, move |_, info| {
        let mut streams = streams.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(seen) = streams.get_mut(index) else { return gst::PadProbeReturn::Ok };
        match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => {
                moved.fetch_add(1, Ordering::Relaxed);
                seen.handle_buffer(buffer);
            }
            Some(gst::PadProbeData::Event(event)) => seen.handle_event(event),
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
    add_running(pipeline, &bin)?;
    let entry = bin.static_pad("sink").expect("the description has one end");
    pad.link(&entry).map_err(|error| FileError::Gstreamer(error.to_string()))?;
    Ok(())
}

const SINK: &str = "fakesink name=sink sync=false async=false enable-last-sample=false";

impl Seen {
    fn handle_event(&mut self, event: &gst::Event) {
        match event.view() {
            gst::EventView::Caps(caps) => {
                self.misfit |= !may_be_copied(caps.caps());
                self.caps = Some(caps.caps_owned());
            }
            gst::EventView::Segment(segment) => {
                self.segment = segment.segment().clone().downcast::<gst::ClockTime>().ok();
            }
            gst::EventView::Tag(tags) => {
                let orientation = tags.tag().get::<gst::tags::ImageOrientation>();
                self.turned |= orientation.is_some_and(|to| to.get() != "rotate-0");
                let made = tags.tag().get::<gst::tags::DateTime>();
                self.created = self.created.or_else(|| made.and_then(|made| unix_time(&made.get())));
            }
            _ => {}
        }
    }

    fn handle_buffer(&mut self, buffer: &gst::Buffer) {
        self.frames += 1;
        let segment = self.segment.as_ref();
        let in_file = |time: Option<gst::ClockTime>| Some(time_in_file(segment?, time?)?.as_nanos());
        let (Some(pts), dts) = (in_file(buffer.pts()), in_file(buffer.dts())) else {
            self.bad_times += 1;
            return;
        };
        self.without_dts += u64::from(dts.is_none());
        self.bad_times += u64::from(dts.is_some_and(|dts| dts > pts));
        if self.begin_ns.is_some() && pts <= self.last_ns {
            self.out_of_order = true;
        }
        self.last_ns = pts;
        self.begin_ns = Some(self.begin_ns.map_or(pts, |begin| begin.min(pts)));
        let length = buffer.duration().map_or(0, |length| i64::try_from(length.nseconds()).unwrap_or(0));
        self.end_ns = self.end_ns.max(pts.saturating_add(length));
        if is_keyframe(buffer, self.caps.as_ref()) {
            if let Some(before) = self.keyframe_ns {
                self.keyframe_distance_ns = self.keyframe_distance_ns.max(pts - before);
            }
            self.keyframe_ns = Some(pts);
        }
    }

    fn name(&self) -> String {
        let caps = self.caps.as_ref().and_then(|caps| caps.structure(0));
        let Some(caps) = caps else { return String::new() };
        match caps.get::<i32>("mpegversion") {
            Ok(version) => format!("{} version {version}", caps.name()),
            Err(_) => caps.name().to_string(),
        }
    }

    fn is(&self, kind: &str) -> bool {
        self.frames > 0 && self.begin_ns.is_some() && self.name().starts_with(kind)
    }

    fn video(&self) -> VideoLook {
        let caps = self.caps.as_ref().and_then(|caps| caps.structure(0));
        let mode = caps.and_then(|caps| caps.get::<String>("interlace-mode").ok());
        let last_distance = self.end_ns - self.keyframe_ns.unwrap_or(i64::MIN / 2);
        let ordered = !self.out_of_order || self.without_dts == 0;
        VideoLook {
            stream_id: self.stream_id.clone(),
            codec: self.name(),
            copied: !self.misfit
                && !self.turned
                && ordered
                && self.bad_times == 0
                && self.keyframe_distance_ns.max(last_distance) <= MAX_KEYFRAME_DISTANCE_NS,
            in_order: !self.out_of_order,
            turned: self.turned,
            interlaced: mode.is_some_and(|mode| mode != "progressive"),
        }
    }

    fn audio(&self) -> AudioLook {
        let copied = !self.misfit && self.bad_times == 0 && !self.out_of_order;
        AudioLook { stream_id: self.stream_id.clone(), codec: self.name(), copied }
    }
}

/// Whether decoding can start with this frame.
fn is_keyframe(buffer: &gst::Buffer, caps: Option<&gst::Caps>) -> bool {
    let h264 = caps.and_then(|caps| caps.structure(0)).is_some_and(|caps| caps.name() == "video/x-h264");
    match h264 {
        // h264parse takes every intra picture for one, also those behind which others refer to what came before.
        true => buffer.map_readable().is_ok_and(|map| has_idr(&map)),
        false => !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
    }
}

/// Whether an access unit is an instantaneous decoding refresh (ITU-T H.264 section 7.4.1.2.4).
pub(super) fn has_idr(access_unit: &[u8]) -> bool {
    avcc_nals(access_unit, 4).map_while(Result::ok).any(|nal| nal_unit_type(nal) == Some(nal_type::IDR))
}

/// Whether frames of these caps go into a recording as they are.
fn may_be_copied(caps: &gst::CapsRef) -> bool {
    let Some(config) = codec_data(caps) else { return false };
    let name = caps.structure(0).map(|caps| caps.name().to_string());
    match name.as_deref() {
        // The fifth byte of the record has the length of lengths (ISO/IEC 14496-15 section 5.3.3.1.2): four bytes, as in every frame here.
        Some("video/x-h264") => {
            let four = config.get(4).is_some_and(|byte| byte & 3 == 3);
            four && playable(&VideoFormat { codec: Codec::H264, width: 0, height: 0, config })
        }
        Some("audio/mpeg") => aac_lc(&config).is_some(),
        _ => false,
    }
}

/// Samples a second and channels of plain AAC-LC in frames of 1024 samples (ISO/IEC 14496-3 section 1.6.2.1 and 4.4.1); `None` for all else, also
/// for 24 kHz and below, where there may be more in it than it says (section 1.6.6.1).
pub(super) fn aac_lc(config: &[u8]) -> Option<(u32, u16)> {
    let &[first, second, ..] = config else { return None };
    let rate = match (first & 7) << 1 | second >> 7 {
        3 => 48_000,
        4 => 44_100,
        _ => return None,
    };
    let channels = u16::from(second >> 3 & 15);
    // Short frames, other core, extension.
    let plain = second & 0b100 == 0;
    (first >> 3 == 2 && plain && (1..=2).contains(&channels)).then_some((rate, channels))
}

fn unix_time(date: &gst::DateTime) -> Option<UnixTime> {
    let seconds = date.to_utc().ok()?.to_g_date_time().ok()?.to_unix();
    // 1904 and 1970 are what cameras say that do not know.
    (seconds > 0).then(|| UnixTime::from_micros(seconds.saturating_mul(1_000_000)))
}

fn conclude(streams: &[Seen]) -> Result<Look, FileError> {
    let video = streams.iter().find(|seen| seen.is("video/"));
    let audio = streams.iter().find(|seen| seen.is("audio/"));
    let taken = || video.into_iter().chain(audio);
    let (Some(begin), Some(end)) =
        (taken().filter_map(|seen| seen.begin_ns).min(), taken().map(|seen| seen.end_ns).max())
    else {
        return Err(FileError::File("there is neither a picture nor a sound in it".to_owned()));
    };
    let duration = MediaTime::from_nanos(end.saturating_sub(begin)).as_duration();
    if duration > MAX_DURATION {
        return Err(FileError::File(format!(
            "its times are broken: it would be {} hours long",
            duration.as_secs() / 3600
        )));
    }
    let created = streams.iter().find_map(|seen| seen.created);
    Ok(Look { video: video.map(Seen::video), audio: audio.map(Seen::audio), duration, created })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_aac_is_copied() {
        assert_eq!(aac_lc(&[0x11, 0x90]), Some((48_000, 2)));
        assert_eq!(aac_lc(&[0x12, 0x08, 0x56, 0xe5, 0x00]), Some((44_100, 1)));
        for other in [&[0x2b, 0x92][..], &[0x13, 0x10], &[0x11, 0xb0], &[0x11, 0x94], &[0x11], &[]] {
            assert_eq!(aac_lc(other), None, "{other:02x?}");
        }
    }

    #[test]
    fn an_idr_is_found_behind_other_units() {
        assert!(has_idr(&[0, 0, 0, 2, 9, 240, 0, 0, 0, 2, 0x65, 1]));
        assert!(!has_idr(&[0, 0, 0, 2, 0x61, 1]));
        assert!(!has_idr(&[0, 0, 0, 9, 0x65]));
    }
}
