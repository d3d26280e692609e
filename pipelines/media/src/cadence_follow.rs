//! The frames of a source that is passed through, once more: for renditions that stand beside it in one ladder.
//!
//! A player switches cleanly between two renditions when both have the same frames at the same times and keyframes in the
//! same places. A passed-through source has the frames it has, so the renditions beside it follow: every decoded picture
//! keeps the time of the frame it was coded in, and every keyframe of the source is a keyframe of all renditions.
//!
//! What belongs here: which picture is encoded, at which time, as which kind of frame. What does not: pixels (`P` is any
//! handle to a picture), and filling what a source leaves out: [`crate::fit`] stops passing a stalled source through.

use crate::time::MediaTime;
use std::collections::VecDeque;

/// Frames of the source whose pictures have not come: beyond, a decoder swallows them.
const MAX_COMING: usize = 256;

/// How many pictures wait for an encoder that is slow before the oldest is given up: memory is bounded by this.
const MAX_WAITING: usize = 6;

/// Times of a picture and of its frame may differ by so much: decoders count nanoseconds, sources ticks.
const SAME_TIME_NANOS: i64 = 50_000;

/// A source whose frames are this much nearer to each other than the frame rate allows, on average, is still followed frame by
/// frame; of a faster one, frames are left out.
const RATE_SLACK_PERCENT: i64 = 20;

/// The average distance of frames is taken over about so many: cameras jitter.
const AVERAGE_OVER: i64 = 16;

/// What a [`VideoFollow`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowConfig {
    /// Of a source with more frames per second, pictures are left out; not zero.
    pub max_fps: u32,
    /// Pictures before this are left out.
    pub resume_at: Option<MediaTime>,
}

/// A picture to encode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed<P> {
    /// The time of the source's frame, in the source's ticks.
    pub pts: MediaTime,
    /// The duration of the source's frame, when that is known and no frame after it is left out.
    pub duration: Option<MediaTime>,
    /// The encoder must make a keyframe of it.
    pub keyframe: bool,
    /// The picture.
    pub picture: P,
}

/// Counters of a [`VideoFollow`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FollowCounters {
    /// Pictures that were left out.
    pub dropped: u64,
    /// Of these, pictures that waited for an encoder until newer ones had come.
    pub late: u64,
}

/// A frame of the source on its way through the decoder.
#[derive(Debug, Clone, Copy)]
struct Coming {
    pts: MediaTime,
    duration: Option<MediaTime>,
    keyframe: bool,
}

/// Decides which pictures of a passed-through source are encoded, and which of them as keyframes. See the module.
#[derive(Debug)]
pub struct VideoFollow<P> {
    config: FollowConfig,
    coming: VecDeque<Coming>,
    waiting: VecDeque<Followed<P>>,
    /// A keyframe of the source was lost on the way: the next picture stands in for it. Also before the first.
    keyframe_due: bool,
    last: Option<MediaTime>,
    /// The newest frame that was decoded, let through or not.
    seen: Option<MediaTime>,
    /// Mean distance of the source's frames, in nanoseconds.
    distance_ns: Option<i64>,
    counters: FollowCounters,
}

impl<P> VideoFollow<P> {
    /// Before the first frame.
    ///
    /// # Panics
    /// When `max_fps` is zero.
    pub fn new(config: FollowConfig) -> Self {
        assert!(config.max_fps > 0, "a frame rate is not zero");
        Self {
            config,
            coming: VecDeque::new(),
            waiting: VecDeque::new(),
            keyframe_due: true,
            last: None,
            seen: None,
            distance_ns: None,
            counters: FollowCounters::default(),
        }
    }

    /// A frame of the source goes into the decoder.
    pub fn handle_frame(&mut self, pts: MediaTime, duration: Option<MediaTime>, keyframe: bool) {
        self.coming.push_back(Coming { pts, duration, keyframe });
        if self.coming.len() > MAX_COMING {
            self.lose_first();
        }
    }

    /// A picture has come out of the decoder. `pts` is its frame's, give or take rounding.
    pub fn handle_picture(&mut self, pts: MediaTime, picture: P) {
        let nanos = pts.as_nanos();
        // A decoder without B-frames keeps the order: frames before this one have no picture.
        while self.coming.front().is_some_and(|first| first.pts.as_nanos() < nanos - SAME_TIME_NANOS) {
            self.lose_first();
        }
        let frame = match self.coming.front() {
            Some(first) if (first.pts.as_nanos() - nanos).abs() <= SAME_TIME_NANOS => self.coming.pop_front(),
            _ => None,
        };
        let Some(frame) = frame else {
            self.counters.dropped += 1;
            return;
        };
        self.measure(frame.pts);
        let keyframe = frame.keyframe || self.keyframe_due;
        if !keyframe && self.is_too_soon(frame.pts) {
            self.counters.dropped += 1;
            return;
        }
        if self.config.resume_at.is_some_and(|at| frame.pts < at) || self.last.is_some_and(|l| frame.pts <= l)
        {
            self.keyframe_due |= frame.keyframe;
            self.counters.dropped += 1;
            return;
        }
        self.keyframe_due = false;
        self.last = Some(frame.pts);
        let duration = frame.duration.filter(|_| !self.is_source_faster());
        self.waiting.push_back(Followed { pts: frame.pts, duration, keyframe, picture });
        if self.waiting.len() > MAX_WAITING {
            self.give_up_oldest();
        }
    }

    /// The next picture to encode.
    pub fn poll_picture(&mut self) -> Option<Followed<P>> {
        self.waiting.pop_front()
    }

    /// A time that no frame so far lies behind: just after the last picture.
    pub fn next_pts(&self) -> Option<MediaTime> {
        self.last.map(|last| last + MediaTime::new(1, last.rate))
    }

    /// What has been left out so far.
    pub const fn counters(&self) -> FollowCounters {
        self.counters
    }

    /// The oldest picture makes room. Its successor stands in for a keyframe.
    fn give_up_oldest(&mut self) {
        let Some(oldest) = self.waiting.pop_front() else { return };
        self.counters.dropped += 1;
        self.counters.late += 1;
        if let Some(next) = self.waiting.front_mut() {
            next.keyframe |= oldest.keyframe;
        }
    }

    fn lose_first(&mut self) {
        if let Some(lost) = self.coming.pop_front() {
            self.keyframe_due |= lost.keyframe;
        }
    }

    /// Follows the source's frame rate.
    fn measure(&mut self, pts: MediaTime) {
        if let Some(seen) = self.seen.replace(pts) {
            let distance = (pts - seen).as_nanos().clamp(0, 1_000_000_000);
            let mean = self.distance_ns.unwrap_or(distance);
            self.distance_ns = Some(mean + (distance - mean) / AVERAGE_OVER);
        }
    }

    fn is_too_soon(&self, pts: MediaTime) -> bool {
        self.is_source_faster() && self.last.is_some_and(|last| (pts - last).as_nanos() < self.least_ns())
    }

    /// Whether the source has more frames than are wanted.
    fn is_source_faster(&self) -> bool {
        self.distance_ns.is_some_and(|distance| distance < self.least_ns())
    }

    /// Frames nearer to each other than this are too many, in nanoseconds.
    fn least_ns(&self) -> i64 {
        1_000_000_000 / i64::from(self.config.max_fps) * (100 - RATE_SLACK_PERCENT) / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(max_fps: u32) -> VideoFollow<i64> {
        VideoFollow::new(FollowConfig { max_fps, resume_at: None })
    }

    const fn at(millis: i64) -> MediaTime {
        MediaTime::from_90k(millis * 90)
    }

    /// What is encoded of frames at these milliseconds, in milliseconds, with a mark at keyframes.
    fn encoded(follow: &mut VideoFollow<i64>, frames: &[(i64, bool)]) -> Vec<(i64, bool)> {
        let mut out = Vec::new();
        for (millis, keyframe) in frames {
            follow.handle_frame(at(*millis), None, *keyframe);
            // As it comes back from a decoder that counts nanoseconds.
            follow.handle_picture(MediaTime::from_nanos(at(*millis).as_nanos() + 11), *millis);
            out.extend(std::iter::from_fn(|| follow.poll_picture()).map(|p| {
                assert_eq!(p.pts, at(p.picture), "the source's own time, to the tick");
                (p.picture, p.keyframe)
            }));
        }
        out
    }

    #[test]
    fn every_frame_and_every_keyframe_of_the_source_is_one_of_the_renditions() {
        let frames = [(0, true), (33, false), (70, false), (100, true), (140, false)];
        assert_eq!(encoded(&mut follow(30), &frames), frames);
    }

    #[test]
    fn a_camera_that_jitters_loses_no_frame() {
        let frames: Vec<_> = (0..300).map(|i| (i * 33 + i * i * 7 % 25, i % 60 == 0)).collect();
        assert_eq!(encoded(&mut follow(30), &frames).len(), 300);
    }

    #[test]
    fn a_source_of_sixty_pictures_a_second_is_halved_and_keeps_its_keyframes() {
        let frames: Vec<_> = (0..12).map(|i| (i * 1000 / 60, i == 0 || i == 7)).collect();
        let out = encoded(&mut follow(30), &frames);
        let times: Vec<_> = out.iter().map(|(millis, _)| *millis).collect();
        assert_eq!(times, [0, 33, 66, 100, 116, 150, 183]);
        assert!(out.contains(&(116, true)));
    }

    #[test]
    fn the_picture_after_a_lost_keyframe_stands_in_for_it() {
        let mut follow = follow(30);
        assert_eq!(encoded(&mut follow, &[(0, true), (33, false)]).len(), 2);
        follow.handle_frame(at(66), None, true); // never decoded
        assert_eq!(encoded(&mut follow, &[(100, false), (133, false)]), [(100, true), (133, false)]);
    }

    #[test]
    fn a_slow_encoder_loses_the_oldest_pictures_but_no_keyframe() {
        let mut follow = follow(30);
        for i in 0..9 {
            follow.handle_frame(at(i * 40), None, i == 0 || i == 2);
            follow.handle_picture(at(i * 40), i);
        }
        let left: Vec<_> =
            std::iter::from_fn(|| follow.poll_picture()).map(|p| (p.picture, p.keyframe)).collect();
        assert_eq!(left, [(3, true), (4, false), (5, false), (6, false), (7, false), (8, false)]);
        assert_eq!(follow.counters(), FollowCounters { dropped: 3, late: 3 });
    }

    #[test]
    fn nothing_from_before_the_place_to_go_on_comes_out_and_what_comes_first_is_a_keyframe() {
        let mut follow = VideoFollow::new(FollowConfig { max_fps: 30, resume_at: Some(at(50)) });
        assert_eq!(encoded(&mut follow, &[(0, true), (33, false), (66, false)]), [(66, true)]);
        assert_eq!(follow.next_pts(), Some(at(66) + MediaTime::from_90k(1)));
    }

    #[test]
    fn a_decoder_that_swallows_everything_costs_no_memory() {
        let mut follow = follow(30);
        for i in 0..10_000 {
            follow.handle_frame(at(i * 33), None, i % 60 == 0);
        }
        assert_eq!(follow.coming.len(), MAX_COMING);
        assert_eq!(encoded(&mut follow, &[(400_000, false)]), [(400_000, true)]);
    }
}
