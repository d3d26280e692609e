//! From configuration and plan to what the worker is asked to make. Pure.

use super::ladder::Made;
use crate::config::{Config, EncoderName};
use crate::outputs::hls::hls_config;
use skywave_media::codec::TrackKind;
use skywave_media::fit::{PlanConfig, VideoPlan};
use skywave_media::frame::Frame;
use skywave_media::hls::TakeId;
use skywave_media::ladder::{bitrate_bps, scaled};
use skywave_media::name::StreamName;
use skywave_media::time::{MediaTime, Mono, UnixTime};
use skywave_media::worker_proto::{
    AudioOut, DEFAULT_MAX_WAIT, Encoder, OutputId, Pace, Slate, ThumbnailOut, VideoOut, WorkerConfig,
    X264Preset,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Where each rendition of the output has come to, so that a new worker goes on without a hole.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Resume {
    video: BTreeMap<OutputId, MediaTime>,
    audio: Option<MediaTime>,
}

impl Resume {
    /// Takes note of a frame that went to the outputs.
    pub(super) fn note(&mut self, id: OutputId, frame: &Frame) {
        self.set(frame.kind(), id, frame.duration.map_or(frame.dts, |d| frame.dts + d));
    }

    /// A rendition has come to `end`.
    pub(super) fn set(&mut self, kind: TrackKind, id: OutputId, end: MediaTime) {
        match kind {
            TrackKind::Video => {
                self.video.insert(id, end);
            }
            TrackKind::Audio => self.audio = Some(end),
        }
    }

    /// Renditions that are not made now will begin anew some day: their hole is not filled.
    pub(super) fn keep_video(&mut self, keep: impl Fn(OutputId) -> bool) {
        self.video.retain(|id, _| keep(*id));
    }

    /// Whether some lane's end lies more than `gap` before `position`.
    pub(super) fn is_behind(&self, position: MediaTime, gap: Duration) -> bool {
        let gap_ns = i64::try_from(gap.as_nanos()).unwrap_or(i64::MAX);
        self.video.values().copied().chain(self.audio).any(|end| (position - end).as_nanos() > gap_ns)
    }
}

/// What a worker configuration is made from.
pub(super) struct Wanted<'a> {
    pub(super) stream: &'a StreamName,
    pub(super) config: &'a Config,
    pub(super) epoch: Mono,
    pub(super) plan: Option<VideoPlan>,
    /// The renditions to encode.
    pub(super) made: &'a [Made],
    /// The size of the picture that thumbnails are made of.
    pub(super) picture: Option<(u32, u32)>,
    pub(super) slate: Option<&'a Slate>,
    pub(super) audio: bool,
    pub(super) resume: &'a Resume,
}

/// What the worker is to make.
pub(super) fn worker_config(wanted: &Wanted<'_>) -> WorkerConfig {
    let settings = &wanted.config.transcode;
    let out = |made: &Made| VideoOut {
        id: made.id,
        width: made.size.0,
        height: made.size.1,
        fps: settings.fps,
        encoder: encoder(wanted.config),
        bitrate_bps: made.bitrate_bps,
        keyframe_interval: Duration::from_millis(wanted.config.hls.segment_ms),
        resume_at: wanted.resume.video.get(&made.id).copied(),
    };
    let audio = wanted
        .audio
        .then_some(AudioOut { bitrate_bps: settings.audio_bitrate_bps, resume_at: wanted.resume.audio });
    WorkerConfig {
        stream: wanted.stream.to_string(),
        epoch: wanted.epoch,
        max_wait: DEFAULT_MAX_WAIT,
        video: wanted.made.iter().map(out).collect(),
        pace: match wanted.plan {
            Some(VideoPlan::Passthrough) => Pace::Source,
            Some(VideoPlan::Transcode { .. }) | None => Pace::Constant,
        },
        thumbnail: thumbnail(wanted),
        slate: wanted.slate.cloned(),
        audio,
    }
}

fn thumbnail(wanted: &Wanted<'_>) -> Option<ThumbnailOut> {
    let hls = &wanted.config.hls;
    let size = wanted.picture.filter(|_| hls.thumbnail_ms > 0 && wanted.plan.is_some())?;
    let height = hls.thumbnail_height.min(size.0).min(size.1);
    let (width, height) = scaled(size, height);
    Some(ThumbnailOut { width, height, interval: Duration::from_millis(hls.thumbnail_ms) })
}

/// The planner's part of the configuration.
pub(super) fn plan_config(config: &Config) -> PlanConfig {
    let hls = hls_config(&config.hls);
    PlanConfig {
        passthrough: config.transcode.passthrough,
        max_width: config.transcode.max_width,
        max_height: config.transcode.max_height,
        segment: hls.segment,
        keyframe_earliness: hls.keyframe_earliness(),
        keyframe_lateness: hls.keyframe_lateness(),
    }
}

/// A take's id: the millisecond it began, in base 36, so that segment names never repeat.
pub(crate) fn take_id(wall: UnixTime) -> TakeId {
    let mut millis = wall.as_micros().unsigned_abs() / 1000;
    let mut digits = Vec::new();
    while millis > 0 || digits.is_empty() {
        digits.push(char::from_digit((millis % 36) as u32, 36).unwrap_or('0'));
        millis /= 36;
    }
    TakeId::new(digits.iter().rev().collect::<String>()).expect("digits and letters, thirteen at the most")
}

/// Which encoder the worker is to use.
pub(super) fn encoder(config: &Config) -> Encoder {
    match config.transcode.encoder {
        EncoderName::X264 => Encoder::X264 { preset: preset(&config.transcode.preset).unwrap_or_default() },
        EncoderName::Openh264 => Encoder::OpenH264,
    }
}

/// The preset of this name, if the worker has it.
pub(crate) fn preset(name: &str) -> Option<X264Preset> {
    crate::config::PRESETS.into_iter().find(|p| p.as_str() == name)
}

/// Bits per second of the rendition that has the publisher's own size.
pub(super) fn video_bitrate_bps(config: &Config, width: u32, height: u32) -> u32 {
    if config.transcode.video_bitrate_bps > 0 {
        return config.transcode.video_bitrate_bps;
    }
    bitrate_bps((width, height), config.transcode.fps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(width: u32, height: u32) -> u32 {
        video_bitrate_bps(&Config::default(), width, height)
    }

    #[test]
    fn the_bitrate_follows_the_size_of_the_picture() {
        assert!((2_400_000..2_600_000).contains(&config(1280, 720)));
        assert_eq!(config(160, 90), 200_000);
        let mut fixed = Config::default();
        fixed.transcode.video_bitrate_bps = 1_000_000;
        assert_eq!(video_bitrate_bps(&fixed, 1280, 720), 1_000_000);
    }

    #[test]
    fn a_lane_far_behind_is_not_filled_up() {
        let mut resume = Resume::default();
        assert!(!resume.is_behind(MediaTime::from_90k(90_000 * 60), Duration::from_secs(10)));
        resume.set(TrackKind::Video, OutputId(1), MediaTime::from_90k(90_000 * 45));
        assert!(resume.is_behind(MediaTime::from_90k(90_000 * 60), Duration::from_secs(10)));
        assert!(!resume.is_behind(MediaTime::from_90k(90_000 * 54), Duration::from_secs(10)));
        resume.keep_video(|id| id != OutputId(1));
        assert!(
            !resume.is_behind(MediaTime::from_90k(90_000 * 60), Duration::from_secs(10)),
            "cut, not late"
        );
    }

    #[test]
    fn a_restarted_worker_resumes_each_rendition_at_its_own_tick_and_begins_new_ones_anew() {
        let config = Config::default();
        let made = [0, 1, 2].map(|id| Made { id: OutputId(id), size: (640, 360), bitrate_bps: 500_000 });
        let mut resume = Resume::default();
        resume.set(TrackKind::Video, OutputId(0), MediaTime::from_90k(9000));
        resume.set(TrackKind::Video, OutputId(1), MediaTime::from_90k(6000));
        let worker = worker_config(&Wanted {
            stream: &"demo".parse().unwrap(),
            config: &config,
            epoch: Mono::default(),
            plan: Some(VideoPlan::Transcode { width: 640, height: 360 }),
            made: &made,
            picture: Some((640, 360)),
            slate: None,
            audio: false,
            resume: &resume,
        });
        let at: Vec<_> = worker.video.iter().map(|out| out.resume_at.map(|at| at.ticks)).collect();
        assert_eq!(at, [Some(9000), Some(6000), None]);
        assert_eq!(worker.thumbnail.map(|t| (t.width, t.height)), Some((320, 180)));
    }
}
