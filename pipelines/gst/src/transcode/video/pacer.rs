//! Which pictures are encoded at which time: at a constant rate, or as the source has them.

use gstreamer as gst;
use skywave_media::cadence_follow::{FollowConfig, Followed, VideoFollow};
use skywave_media::cadence_video::{VideoCadence, VideoCadenceConfig};
use skywave_media::frame::Frame;
use skywave_media::time::{MediaTime, Mono};
use skywave_media::worker_proto::{Pace, WorkerConfig, WorkerCounters};
use std::time::Duration;

/// The frame rate when there are only thumbnails, where it means nothing.
const NO_OUTPUT_FPS: u32 = 30;

/// What a pacer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PacerConfig {
    pub(super) pace: Pace,
    pub(super) fps: u32,
    pub(super) keyframe_interval: Duration,
    pub(super) max_wait: Duration,
    pub(super) epoch: Mono,
    pub(super) resume_at: Option<MediaTime>,
}

impl PacerConfig {
    pub(super) fn new(config: &WorkerConfig, resume_at: Option<MediaTime>) -> Self {
        let first = config.video.first();
        Self {
            pace: config.pace,
            fps: first.map_or(NO_OUTPUT_FPS, |out| out.fps),
            keyframe_interval: first.map_or(Duration::from_secs(1), |out| out.keyframe_interval),
            max_wait: config.max_wait,
            epoch: config.epoch,
            resume_at,
        }
    }
}

/// A picture whose time is decided.
#[derive(Debug)]
pub(super) struct Paced {
    pub(super) pts: MediaTime,
    pub(super) duration: Option<MediaTime>,
    pub(super) keyframe: bool,
    /// `None` for black.
    pub(super) picture: Option<gst::Buffer>,
}

/// One of the two ways in which pictures are given their times.
#[derive(Debug)]
pub(super) enum Pacer {
    Constant(VideoCadence<gst::Buffer>),
    Source(VideoFollow<gst::Buffer>),
}

impl Pacer {
    pub(super) fn new(config: &PacerConfig, now: Mono) -> Self {
        let &PacerConfig { fps, keyframe_interval, max_wait, epoch, resume_at, .. } = config;
        match config.pace {
            Pace::Constant => {
                let config = VideoCadenceConfig { fps, keyframe_interval, max_wait, epoch, resume_at };
                Self::Constant(VideoCadence::new(config, now))
            }
            Pace::Source => Self::Source(VideoFollow::new(FollowConfig { max_fps: fps, resume_at })),
        }
    }

    /// A frame of the source goes into the decoder.
    pub(super) fn handle_frame(&mut self, frame: &Frame) {
        if let Self::Source(follow) = self {
            follow.handle_frame(frame.pts, frame.duration, frame.keyframe);
        }
    }

    pub(super) fn handle_picture(&mut self, pts: MediaTime, picture: gst::Buffer, now: Mono) {
        match self {
            Self::Constant(cadence) => cadence.handle_picture(pts, picture, now),
            Self::Source(follow) => follow.handle_picture(pts, picture),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Mono) {
        if let Self::Constant(cadence) = self {
            cadence.handle_timeout(now);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        match self {
            Self::Constant(cadence) => cadence.poll_timeout(),
            Self::Source(_) => None,
        }
    }

    pub(super) fn poll_picture(&mut self) -> Option<Paced> {
        match self {
            Self::Constant(cadence) => cadence.poll_slot().map(|slot| Paced {
                pts: slot.pts,
                duration: Some(slot.duration),
                keyframe: slot.keyframe,
                picture: slot.picture,
            }),
            Self::Source(follow) => {
                let Followed { pts, duration, keyframe, picture } = follow.poll_picture()?;
                Some(Paced { pts, duration, keyframe, picture: Some(picture) })
            }
        }
    }

    /// The time of the next frame, or one before it and behind the last.
    pub(super) fn next_pts(&self) -> Option<MediaTime> {
        match self {
            Self::Constant(cadence) => cadence.next_pts(),
            Self::Source(follow) => follow.next_pts(),
        }
    }

    pub(super) fn add_counters(&self, counters: &mut WorkerCounters) {
        match self {
            Self::Constant(cadence) => {
                let live = cadence.counters();
                counters.pictures_repeated += live.repeated;
                counters.pictures_dropped += live.dropped;
                counters.pictures_late += live.late;
            }
            Self::Source(follow) => {
                let live = follow.counters();
                counters.pictures_dropped += live.dropped;
                counters.pictures_late += live.late;
            }
        }
    }
}
