//! From configuration and plan to what the worker is asked to make. Pure.

use crate::config::{Config, EncoderName};
use crate::outputs::hls::hls_config;
use skywave_media::codec::TrackKind;
use skywave_media::fit::{PlanConfig, VideoPlan};
use skywave_media::frame::Frame;
use skywave_media::hls::TakeId;
use skywave_media::name::StreamName;
use skywave_media::time::{MediaTime, Mono, UnixTime};
use skywave_media::worker_proto::{AudioOut, DEFAULT_MAX_WAIT, Encoder, VideoOut, WorkerConfig, X264Preset};
use std::time::Duration;

/// Bits per pixel of H.264 at the presets a live server can afford: 2.5 Mbit/s for 720p30.
const BITS_PER_PIXEL: f64 = 0.09;

/// Where each lane of the output has come to, so that a new worker goes on without a hole.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Resume {
    video: Option<MediaTime>,
    audio: Option<MediaTime>,
}

impl Resume {
    /// Takes note of a frame that went to the outputs.
    pub(super) fn note(&mut self, frame: &Frame) {
        let end = frame.duration.map_or(frame.dts, |d| frame.dts + d);
        match frame.kind() {
            TrackKind::Video => self.video = Some(end),
            TrackKind::Audio => self.audio = Some(end),
        }
    }

    /// Whether some lane's end lies more than `gap` before `position`.
    pub(super) fn is_behind(&self, position: MediaTime, gap: Duration) -> bool {
        let gap_ns = i64::try_from(gap.as_nanos()).unwrap_or(i64::MAX);
        [self.video, self.audio].into_iter().flatten().any(|end| (position - end).as_nanos() > gap_ns)
    }
}

/// What a worker configuration is made from.
pub(super) struct Wanted<'a> {
    pub(super) stream: &'a StreamName,
    pub(super) config: &'a Config,
    pub(super) epoch: Mono,
    pub(super) plan: Option<VideoPlan>,
    pub(super) audio: bool,
    pub(super) resume: &'a Resume,
}

/// What the worker is to make.
pub(super) fn worker_config(wanted: &Wanted<'_>) -> WorkerConfig {
    let settings = &wanted.config.transcode;
    let video = match wanted.plan {
        Some(VideoPlan::Transcode { width, height }) => Some(VideoOut {
            width,
            height,
            fps: settings.fps,
            encoder: encoder(wanted.config),
            bitrate_bps: video_bitrate_bps(wanted.config, width, height),
            keyframe_interval: Duration::from_millis(wanted.config.hls.segment_ms),
            resume_at: wanted.resume.video,
        }),
        Some(VideoPlan::Passthrough) | None => None,
    };
    let audio = wanted
        .audio
        .then_some(AudioOut { bitrate_bps: settings.audio_bitrate_bps, resume_at: wanted.resume.audio });
    WorkerConfig {
        stream: wanted.stream.to_string(),
        epoch: wanted.epoch,
        max_wait: DEFAULT_MAX_WAIT,
        video,
        audio,
    }
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
pub(super) fn take_id(wall: UnixTime) -> TakeId {
    let mut millis = wall.as_micros().unsigned_abs() / 1000;
    let mut digits = Vec::new();
    while millis > 0 || digits.is_empty() {
        digits.push(char::from_digit((millis % 36) as u32, 36).unwrap_or('0'));
        millis /= 36;
    }
    TakeId::new(digits.iter().rev().collect::<String>()).expect("digits and letters, thirteen at the most")
}

fn encoder(config: &Config) -> Encoder {
    match config.transcode.encoder {
        EncoderName::X264 => Encoder::X264 { preset: preset(&config.transcode.preset).unwrap_or_default() },
        EncoderName::Openh264 => Encoder::OpenH264,
    }
}

/// The preset of this name, if the worker has it.
pub(crate) fn preset(name: &str) -> Option<X264Preset> {
    crate::config::PRESETS.into_iter().find(|p| p.as_str() == name)
}

fn video_bitrate_bps(config: &Config, width: u32, height: u32) -> u32 {
    if config.transcode.video_bitrate_bps > 0 {
        return config.transcode.video_bitrate_bps;
    }
    let pixels_per_second = f64::from(width) * f64::from(height) * f64::from(config.transcode.fps);
    (pixels_per_second * BITS_PER_PIXEL).clamp(200_000.0, 12_000_000.0) as u32
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
        resume.video = Some(MediaTime::from_90k(90_000 * 45));
        assert!(resume.is_behind(MediaTime::from_90k(90_000 * 60), Duration::from_secs(10)));
        assert!(!resume.is_behind(MediaTime::from_90k(90_000 * 54), Duration::from_secs(10)));
    }
}
