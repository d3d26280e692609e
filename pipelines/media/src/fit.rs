//! Decides whether a publisher's video is passed through or encoded anew, and at which pinned size.
//!
//! H.264 fits when HLS players can take it as it is and when it lets segments end on time: progressive 4:2:0 of 8 bit
//! without B-frames, with a keyframe whenever one is asked for. When it ceases to fit it is encoded for as long as
//! this planner lives: going back and forth would cost players a new initialisation segment each time.
//!
//! What belongs here: that decision, the size of encoded pictures, and when a keyframe is needed for a segment to end.
//! What does not: encoding, cutting, asking.

use crate::codec::{Codec, Format, VideoFormat};
use crate::frame::Frame;
use crate::h264::{AvcConfig, SliceType, avcc_nals, nal_type, nal_unit_type, slice_type};
use crate::hls::HlsConfig;
use crate::time::{MediaTime, Mono};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Pictures that are further apart break the cadence of parts and segments; an encoder can repeat them. When one is overdue by that
/// much a keyframe is asked for, so that encoding can begin with the next one.
const SLOW: Duration = Duration::from_millis(600);
/// A passed-through lane that is silent for longer is as bad, however evenly its late pictures were taken.
const STALL: Duration = Duration::from_secs(1);
/// Encoding begins with the keyframe that is asked for, so that no picture is missing between the two; one that does not come within
/// this time is waited for no longer.
const LEAVE_PATIENCE: Duration = Duration::from_secs(2);

/// More changes of size than this within [`SIZE_CHANGE_WINDOW`] are better scaled than shown as discontinuities.
const MAX_SIZE_CHANGES: usize = 3;

/// See [`MAX_SIZE_CHANGES`].
const SIZE_CHANGE_WINDOW: Duration = Duration::from_secs(10);

/// A larger picture has to last this long before the pinned size follows it. Browsers begin small and grow.
const GROWTH_STEADY: Duration = Duration::from_secs(2);

/// How often the pinned size may follow a growing picture: each time costs players a new initialisation segment.
const MAX_GROWTHS: u32 = 4;

/// Pictures whose aspect ratios differ by less than this are the same picture at another size.
const SAME_ASPECT: f64 = 0.02;

/// What a planner may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanConfig {
    /// Whether H.264 may be passed through at all.
    pub passthrough: bool,
    /// Largest width of encoded pictures, in pixels.
    pub max_width: u32,
    /// Largest height of encoded pictures, in pixels.
    pub max_height: u32,
    /// Length of a segment.
    pub segment: Duration,
    /// How much before the end of a segment a keyframe may come and still end it: [`HlsConfig::keyframe_earliness`].
    pub keyframe_earliness: Duration,
    /// How much behind the end of a segment its keyframe may come: [`HlsConfig::keyframe_lateness`].
    pub keyframe_lateness: Duration,
}

impl Default for PlanConfig {
    fn default() -> Self {
        let hls = HlsConfig::default();
        Self {
            passthrough: true,
            max_width: 1920,
            max_height: 1080,
            segment: hls.segment,
            keyframe_earliness: hls.keyframe_earliness(),
            keyframe_lateness: hls.keyframe_lateness(),
        }
    }
}

/// What is made of a publisher's video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VideoPlan {
    /// Frames go to the outputs as they are.
    Passthrough,
    /// Frames are decoded, scaled and padded into this size, and encoded.
    Transcode {
        /// Width in pixels, even.
        width: u32,
        /// Height in pixels, even.
        height: u32,
    },
}

/// Why a plan is as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanReason {
    /// It is H.264 that fits.
    Fits,
    /// It is not H.264.
    OtherCodec,
    /// The configuration asks for encoding.
    Configured,
    /// Its profile, bit depth, chroma format or interlacing is beyond what HLS players take.
    Profile,
    /// It has B-frames, or frames out of order.
    BFrames,
    /// A keyframe did not come in time.
    KeyframesLate,
    /// It stalled.
    Stalled,
    /// Its size changes all the time.
    SizeChanges,
    /// A larger picture has come to stay.
    Grown,
}

#[derive(Debug)]
enum State {
    Undecided,
    Passthrough(Passthrough),
    Transcode(Pinned),
}

/// What is remembered while frames are passed through.
#[derive(Debug)]
struct Passthrough {
    format: Arc<Format>,
    last_frame: Mono,
    last_pts: MediaTime,
    /// The end of the segment that is being filled, on the grid.
    grid_ns: i64,
    size_changes: VecDeque<Mono>,
    /// The next picture is overdue.
    overdue: bool,
    /// It no longer fits: why, and since when. The next keyframe is the first to be encoded.
    leaving: Option<(PlanReason, Mono)>,
}

/// The size that pictures are scaled into.
#[derive(Debug)]
struct Pinned {
    size: (u32, u32),
    growths: u32,
    /// A larger picture, and since when it has been seen.
    candidate: Option<((u32, u32), Mono)>,
}

/// The planner of one publisher's video. See the module.
#[derive(Debug)]
pub struct OutputPlanner {
    config: PlanConfig,
    state: State,
    reason: Option<PlanReason>,
    news: Option<VideoPlan>,
}

impl OutputPlanner {
    /// A planner that has seen nothing.
    pub const fn new(config: PlanConfig) -> Self {
        Self { config, state: State::Undecided, reason: None, news: None }
    }

    /// Looks at a frame of the source; decides at its first keyframe.
    pub fn handle_frame(&mut self, frame: &Frame, now: Mono) {
        let Format::Video(format) = &*frame.format else { return };
        match &mut self.state {
            State::Undecided if frame.keyframe => match self.misfit(frame, format) {
                Some(reason) => self.transcode(target_size(&self.config, format), 0, reason),
                None => self.pass_through(frame, now),
            },
            State::Undecided => {}
            State::Passthrough(_) => self.check(frame, format, now),
            State::Transcode(pinned) => {
                let size = target_size(&self.config, format);
                if pinned.wants_to_grow(size, now) {
                    let growths = pinned.growths + 1;
                    self.transcode(size, growths, PlanReason::Grown);
                }
            }
        }
    }

    /// Time has passed: a passed-through lane may have stalled, or the keyframe with which encoding was to begin has not come.
    pub fn handle_timeout(&mut self, now: Mono) {
        let State::Passthrough(p) = &mut self.state else { return };
        p.overdue = now >= p.last_frame + SLOW;
        if now >= p.last_frame + STALL {
            p.leaving.get_or_insert((PlanReason::Stalled, now));
        }
        if let Some((reason, since)) = p.leaving
            && now >= since + LEAVE_PATIENCE
        {
            let format = Arc::clone(&p.format);
            self.give_up(&format, reason);
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let State::Passthrough(p) = &self.state else { return None };
        Some(match p.leaving {
            Some((_, since)) => since + LEAVE_PATIENCE,
            None if p.overdue => p.last_frame + STALL,
            None => p.last_frame + SLOW,
        })
    }

    /// The plan, when it is new.
    pub const fn poll_plan(&mut self) -> Option<VideoPlan> {
        self.news.take()
    }

    /// Why the present plan is as it is.
    pub const fn reason(&self) -> Option<PlanReason> {
        self.reason
    }

    /// Whether the source should send a keyframe now, so that a passed-through segment can end, or encoding begin.
    pub fn poll_keyframe_wanted(&self, _now: Mono) -> bool {
        let early = nanos(self.config.keyframe_earliness);
        matches!(&self.state, State::Passthrough(p)
            if p.leaving.is_some() || p.overdue || p.last_pts.as_nanos() >= p.grid_ns - early)
    }

    /// The first keyframe fits: begin to pass through.
    fn pass_through(&mut self, frame: &Frame, now: Mono) {
        // A little before the grid counts as on it, here as later.
        let begins = frame.pts + MediaTime::from_nanos(nanos(self.config.keyframe_earliness));
        self.state = State::Passthrough(Passthrough {
            format: Arc::clone(&frame.format),
            last_frame: now,
            last_pts: frame.pts,
            grid_ns: next_grid(begins, self.config.segment),
            size_changes: VecDeque::new(),
            overdue: false,
            leaving: None,
        });
        self.reason = Some(PlanReason::Fits);
        self.news = Some(VideoPlan::Passthrough);
    }

    /// Looks whether frames that are passed through still fit.
    fn check(&mut self, frame: &Frame, format: &VideoFormat, now: Mono) {
        let misfit = self.misfit(frame, format);
        let State::Passthrough(p) = &mut self.state else { return };
        let apart = frame.pts.as_nanos().saturating_sub(p.last_pts.as_nanos());
        let stalled = now >= p.last_frame + STALL || apart >= nanos(SLOW);
        let reason = p.advance(frame, &self.config, now).or(stalled.then_some(PlanReason::Stalled));
        if let Some(reason) = reason {
            p.leaving.get_or_insert((reason, now));
        }
        let due = p.leaving.filter(|(_, since)| frame.keyframe || now >= *since + LEAVE_PATIENCE);
        if let Some(reason) = misfit.or(due.map(|(reason, _)| reason)) {
            let format = Arc::clone(&frame.format);
            self.give_up(&format, reason);
        }
    }

    /// Why this frame cannot be passed through.
    fn misfit(&self, frame: &Frame, format: &VideoFormat) -> Option<PlanReason> {
        if format.codec != Codec::H264 {
            return Some(PlanReason::OtherCodec);
        }
        if !self.config.passthrough {
            return Some(PlanReason::Configured);
        }
        if frame.keyframe && !playable(format) {
            return Some(PlanReason::Profile);
        }
        is_reordered(frame).then_some(PlanReason::BFrames)
    }

    fn give_up(&mut self, format: &Format, reason: PlanReason) {
        if let Format::Video(format) = format {
            self.transcode(target_size(&self.config, format), 0, reason);
        }
    }

    fn transcode(&mut self, size: (u32, u32), growths: u32, reason: PlanReason) {
        self.state = State::Transcode(Pinned { size, growths, candidate: None });
        self.reason = Some(reason);
        self.news = Some(VideoPlan::Transcode { width: size.0, height: size.1 });
    }
}

impl Passthrough {
    /// Takes the next frame in; says why it must be the last one that is passed through.
    fn advance(&mut self, frame: &Frame, config: &PlanConfig, now: Mono) -> Option<PlanReason> {
        (self.last_frame, self.overdue) = (now, false);
        self.last_pts = frame.pts;
        if frame.format != self.format {
            self.format = Arc::clone(&frame.format);
            self.size_changes.push_back(now);
            self.size_changes.retain(|at| now.saturating_since(*at) < SIZE_CHANGE_WINDOW);
            if self.size_changes.len() > MAX_SIZE_CHANGES {
                return Some(PlanReason::SizeChanges);
            }
        }
        let early = nanos(config.keyframe_earliness);
        let late = self.grid_ns.saturating_add(nanos(config.keyframe_lateness));
        if frame.pts.as_nanos() > late {
            return Some(PlanReason::KeyframesLate);
        }
        if frame.keyframe && frame.pts.as_nanos() >= self.grid_ns - early {
            self.grid_ns = next_grid(frame.pts + MediaTime::from_nanos(early), config.segment);
        }
        None
    }
}

impl Pinned {
    /// Whether a picture of `size` has been larger than the pinned one, at the same aspect, for long enough.
    fn wants_to_grow(&mut self, size: (u32, u32), now: Mono) -> bool {
        let larger = size.0 > self.size.0 && size.1 > self.size.1;
        let aspect = |(width, height): (u32, u32)| f64::from(width) / f64::from(height);
        let same_aspect = (aspect(size) / aspect(self.size) - 1.0).abs() < SAME_ASPECT;
        if !larger || !same_aspect || self.growths >= MAX_GROWTHS {
            self.candidate = None;
            return false;
        }
        match self.candidate {
            Some((seen, since)) if seen == size => now.saturating_since(since) >= GROWTH_STEADY,
            _ => {
                self.candidate = Some((size, now));
                false
            }
        }
    }
}

/// Watches whether a publisher's pictures come in another order than they are shown. WebRTC receivers show pictures in the order in
/// which they come: such video stutters there or is refused, so those viewers need it encoded anew.
///
/// One for each publisher, whatever is planned for the outputs: B-frames also come with video that is encoded for other reasons.
#[derive(Debug, Default)]
pub struct OrderWatch {
    reordered: bool,
    news: bool,
}

impl OrderWatch {
    /// Looks at a frame of the source.
    pub fn handle_frame(&mut self, frame: &Frame) {
        let h264 = matches!(&*frame.format, Format::Video(format) if format.codec == Codec::H264);
        if h264 && !self.reordered && is_reordered(frame) {
            (self.reordered, self.news) = (true, true);
        }
    }

    /// True once: when the first frame out of order has come.
    pub const fn poll_reordered(&mut self) -> bool {
        std::mem::replace(&mut self.news, false)
    }
}

/// Whether an H.264 frame has B-slices, or is shown at another time than it is decoded.
fn is_reordered(frame: &Frame) -> bool {
    frame.pts != frame.dts || has_b_slice(&frame.data)
}

/// The first multiple of `segment` after `pts`, in nanoseconds.
fn next_grid(pts: MediaTime, segment: Duration) -> i64 {
    let length = nanos(segment).max(1);
    (pts.as_nanos().div_euclid(length) + 1).saturating_mul(length)
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

/// Whether HLS players take this stream: Baseline, Main or High, 4:2:0, 8 bit, progressive
/// (HLS authoring specification, section 1).
pub fn playable(format: &VideoFormat) -> bool {
    let Ok(sps) = AvcConfig::parse(&format.config).and_then(|config| config.first_sps()) else {
        return false;
    };
    matches!(sps.profile_idc, 66 | 77 | 100)
        && sps.chroma_format_idc == 1
        && sps.bit_depth_luma == 8
        && sps.bit_depth_chroma == 8
        && sps.progressive
}

fn has_b_slice(data: &[u8]) -> bool {
    avcc_nals(data, 4)
        .map_while(Result::ok)
        .filter(|nal| nal_unit_type(nal) == Some(nal_type::SLICE))
        .any(|nal| slice_type(nal) == Some(SliceType::B))
}

/// The size of `format` scaled down into the bounds, aspect kept, never scaled up, in even numbers.
fn target_size(config: &PlanConfig, format: &VideoFormat) -> (u32, u32) {
    let (width, height) = (f64::from(format.width.max(1)), f64::from(format.height.max(1)));
    // A portrait picture may be as tall as a landscape one is wide.
    let (long, short) = (config.max_width.max(config.max_height), config.max_width.min(config.max_height));
    let (max_width, max_height) = if width >= height { (long, short) } else { (short, long) };
    let scale = (f64::from(max_width) / width).min(f64::from(max_height) / height).min(1.0);
    let even = |length: f64| (((length * scale) / 2.0).round() as u32 * 2).max(16);
    (even(width), even(height))
}

#[cfg(test)]
mod tests;
