//! Publishers whose video fits, and those whose video ceases to.

use super::*;
use bytes::Bytes;

const BASELINE_SPS: &str = "6742c01ed900a02ff97016a0c0c0d4a0000003002000000791e2c5c9";
const HIGH_SPS: &str = "6764001facd9405005bb016a02020280000003008000001e478c18cb";
const HIGH_PPS: &str = "68ebecb22c";
/// A P slice and a B slice: NAL header, first_mb 0, the slice type, PPS 0.
const P_SLICE: &[u8] = &[0, 0, 0, 2, 0x41, 0b1110_0000];
const B_SLICE: &[u8] = &[0, 0, 0, 2, 0x41, 0b1010_1000];

fn hex(text: &str) -> Bytes {
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
        .collect::<Vec<_>>()
        .into()
}

fn h264(sps: &str) -> Arc<Format> {
    let config = AvcConfig::new(vec![hex(sps)], vec![hex(HIGH_PPS)]);
    let parsed = config.first_sps().unwrap();
    Arc::new(Format::Video(VideoFormat {
        codec: Codec::H264,
        width: parsed.width,
        height: parsed.height,
        config: config.build().unwrap(),
    }))
}

fn vp8(width: u32, height: u32) -> Arc<Format> {
    Arc::new(Format::Video(VideoFormat { codec: Codec::Vp8, width, height, config: Bytes::new() }))
}

fn frame(format: &Arc<Format>, millis: i64, keyframe: bool, data: &'static [u8]) -> Frame {
    let pts = MediaTime::new(millis, 1000).rescale(90_000);
    Frame { format: format.clone(), pts, dts: pts, duration: None, keyframe, data: Bytes::from_static(data) }
}

const fn at(millis: i64) -> Mono {
    Mono::from_millis(millis as u64)
}

fn planner() -> OutputPlanner {
    OutputPlanner::new(PlanConfig::default())
}

/// Feeds 30 frames a second from `from` to `to` (milliseconds); keyframes when asked, `delay` later.
fn play(
    planner: &mut OutputPlanner,
    format: &Arc<Format>,
    from: i64,
    to: i64,
    delay: i64,
) -> Option<VideoPlan> {
    let mut due: Option<i64> = None;
    for millis in (from..to).step_by(33) {
        let keyframe = millis == from || due.is_some_and(|d| millis >= d);
        if keyframe {
            due = None;
        }
        planner.handle_frame(&frame(format, millis, keyframe, P_SLICE), at(millis));
        if let Some(plan) = planner.poll_plan() {
            return Some(plan);
        }
        if planner.poll_keyframe_wanted(at(millis)) && due.is_none() {
            due = Some(millis + delay);
        }
    }
    None
}

#[test]
fn h264_with_keyframes_on_demand_is_passed_through() {
    for sps in [BASELINE_SPS, HIGH_SPS] {
        let mut planner = planner();
        let format = h264(sps);
        assert_eq!(play(&mut planner, &format, 0, 33, 0), Some(VideoPlan::Passthrough));
        assert_eq!(play(&mut planner, &format, 33, 60_000, 100), None);
        assert_eq!(planner.reason(), Some(PlanReason::Fits));
    }
}

#[test]
fn keyframes_are_asked_for_where_they_may_end_a_segment_and_not_before() {
    let mut planner = planner();
    let format = h264(BASELINE_SPS);
    let mut shown = |millis, keyframe| {
        planner.handle_frame(&frame(&format, millis, keyframe, P_SLICE), at(millis));
        planner.poll_keyframe_wanted(at(millis))
    };
    assert!(!shown(0, true));
    assert!([500, 1000, 1500, 1874].into_iter().all(|millis| !shown(millis, false)));
    assert!(shown(1875, false));
    assert!(!shown(2100, true));
    // One just before the grid serves as well, one that is sent much earlier for another reason does not.
    assert!([2600, 3100].into_iter().all(|millis| !shown(millis, false)));
    assert!(!shown(3600, true));
    assert!(shown(3880, false));
    assert!(!shown(3900, true));
    assert!([4400, 4900, 5400, 5800].into_iter().all(|millis| !shown(millis, false)));
}

#[test]
fn a_publisher_that_begins_just_before_the_grid_has_a_whole_segment_of_time() {
    let mut planner = planner();
    let format = h264(BASELINE_SPS);
    assert_eq!(play(&mut planner, &format, 1_900, 1_933, 0), Some(VideoPlan::Passthrough));
    for millis in (1_933..3_860).step_by(33) {
        planner.handle_frame(&frame(&format, millis, false, P_SLICE), at(millis));
        assert!(!planner.poll_keyframe_wanted(at(millis)), "at {millis} ms");
        assert_eq!(planner.poll_plan(), None);
    }
}

#[test]
fn a_publisher_that_does_not_answer_with_keyframes_is_encoded() {
    let mut planner = planner();
    let format = h264(BASELINE_SPS);
    assert_eq!(play(&mut planner, &format, 0, 33, 0), Some(VideoPlan::Passthrough));
    let plan = play(&mut planner, &format, 33, 10_000, 5_000);
    assert_eq!(plan, Some(VideoPlan::Transcode { width: 640, height: 360 }));
    assert_eq!(planner.reason(), Some(PlanReason::KeyframesLate));
}

#[test]
fn b_frames_are_encoded_anew() {
    let mut planner = planner();
    let format = h264(HIGH_SPS);
    planner.handle_frame(&frame(&format, 0, true, P_SLICE), at(0));
    assert_eq!(planner.poll_plan(), Some(VideoPlan::Passthrough));
    planner.handle_frame(&frame(&format, 33, false, B_SLICE), at(33));
    assert_eq!(planner.poll_plan(), Some(VideoPlan::Transcode { width: 1280, height: 720 }));
    assert_eq!(planner.reason(), Some(PlanReason::BFrames));
}

#[test]
fn frames_out_of_order_are_noticed_whatever_is_planned_and_told_once() {
    let format = h264(HIGH_SPS);
    let mut b_frames = OrderWatch::default();
    b_frames.handle_frame(&frame(&format, 0, true, P_SLICE));
    assert!(!b_frames.poll_reordered());
    b_frames.handle_frame(&frame(&format, 33, false, B_SLICE));
    assert!(b_frames.poll_reordered() && !b_frames.poll_reordered());
    b_frames.handle_frame(&frame(&format, 66, false, B_SLICE));
    assert!(!b_frames.poll_reordered());
    // Shown later than decoded, with P-slices alone.
    let mut delayed = OrderWatch::default();
    let mut late = frame(&format, 100, true, P_SLICE);
    late.dts = MediaTime::from_90k(0);
    delayed.handle_frame(&late);
    assert!(delayed.poll_reordered());
    // In other codecs these bytes mean nothing.
    let mut other = OrderWatch::default();
    other.handle_frame(&frame(&vp8(640, 480), 0, true, B_SLICE));
    assert!(!other.poll_reordered());
}

#[test]
fn after_a_stall_of_a_second_encoding_begins_with_the_next_keyframe() {
    let mut planner = planner();
    let format = h264(HIGH_SPS);
    planner.handle_frame(&frame(&format, 0, true, P_SLICE), at(500));
    assert_eq!(planner.poll_plan(), Some(VideoPlan::Passthrough));
    assert_eq!(planner.poll_timeout(), Some(at(1100)));
    planner.handle_timeout(at(1100) - Duration::from_nanos(1));
    assert!(!planner.poll_keyframe_wanted(at(1099)));
    planner.handle_timeout(at(1100));
    assert!(planner.poll_keyframe_wanted(at(1100)));
    assert_eq!(planner.poll_timeout(), Some(at(1500)));
    planner.handle_timeout(at(1500));
    // The network has held them up: they were taken evenly.
    planner.handle_frame(&frame(&format, 33, false, P_SLICE), at(1600));
    assert_eq!(planner.poll_plan(), None, "an encoder could not begin here");
    assert!(planner.poll_keyframe_wanted(at(1600)));
    planner.handle_frame(&frame(&format, 67, true, P_SLICE), at(1700));
    assert_eq!(planner.poll_plan(), Some(VideoPlan::Transcode { width: 1280, height: 720 }));
    assert_eq!((planner.poll_timeout(), planner.reason()), (None, Some(PlanReason::Stalled)));
}

#[test]
fn pictures_that_the_network_has_held_up_for_less_than_a_second_change_nothing() {
    let mut planner = planner();
    let format = h264(HIGH_SPS);
    planner.handle_frame(&frame(&format, 0, true, P_SLICE), at(0));
    assert_eq!(planner.poll_plan(), Some(VideoPlan::Passthrough));
    planner.handle_timeout(at(600));
    planner.handle_frame(&frame(&format, 33, true, P_SLICE), at(900));
    assert!(!planner.poll_keyframe_wanted(at(900)));
    assert_eq!((planner.poll_plan(), planner.poll_timeout()), (None, Some(at(1500))));
}

#[test]
fn a_publisher_that_sends_no_more_keyframes_at_all_is_given_up_in_the_end() {
    let mut planner = planner();
    let format = h264(HIGH_SPS);
    planner.handle_frame(&frame(&format, 0, true, P_SLICE), at(0));
    assert_eq!(planner.poll_plan(), Some(VideoPlan::Passthrough));
    planner.handle_timeout(at(1000));
    assert!(planner.poll_keyframe_wanted(at(1000)));
    assert_eq!(planner.poll_timeout(), Some(at(3000)));
    planner.handle_timeout(at(3000) - Duration::from_nanos(1));
    assert_eq!(planner.poll_plan(), None);
    planner.handle_timeout(at(3000));
    assert_eq!(planner.poll_plan(), Some(VideoPlan::Transcode { width: 1280, height: 720 }));
}

#[test]
fn pictures_far_apart_are_encoded_from_the_first_keyframe_among_them() {
    let mut planner = planner();
    let format = h264(HIGH_SPS);
    planner.handle_frame(&frame(&format, 0, true, P_SLICE), at(0));
    assert_eq!(planner.poll_plan(), Some(VideoPlan::Passthrough));
    planner.handle_frame(&frame(&format, 600, true, P_SLICE), at(600));
    assert_eq!(planner.poll_plan(), Some(VideoPlan::Transcode { width: 1280, height: 720 }));
}

#[test]
fn one_change_of_size_passes_but_restlessness_is_encoded() {
    let mut planner = planner();
    let (small, large) = (h264(BASELINE_SPS), h264(HIGH_SPS));
    planner.handle_frame(&frame(&small, 0, true, P_SLICE), at(0));
    assert_eq!(planner.poll_plan(), Some(VideoPlan::Passthrough));
    for (n, format) in [&large, &small, &large].into_iter().enumerate() {
        let millis = 100 * (n as i64 + 1);
        planner.handle_frame(&frame(format, millis, true, P_SLICE), at(millis));
        assert_eq!(planner.poll_plan(), None);
    }
    planner.handle_frame(&frame(&small, 500, true, P_SLICE), at(500));
    assert_eq!(planner.poll_plan(), Some(VideoPlan::Transcode { width: 640, height: 360 }));
    assert_eq!(planner.reason(), Some(PlanReason::SizeChanges));
}

#[test]
fn other_codecs_wait_for_their_first_keyframe_and_are_scaled_down_but_never_up() {
    for (source, target) in [
        ((640, 480), (640, 480)),
        ((641, 481), (642, 482)),
        ((3840, 2160), (1920, 1080)),
        ((1080, 1920), (1080, 1920)),
        ((2160, 3840), (1080, 1920)),
        ((160, 90), (160, 90)),
    ] {
        let mut planner = planner();
        let format = vp8(source.0, source.1);
        planner.handle_frame(&frame(&format, 0, false, b""), at(0));
        assert_eq!(planner.poll_plan(), None);
        planner.handle_frame(&frame(&format, 33, true, b""), at(33));
        assert_eq!(
            planner.poll_plan(),
            Some(VideoPlan::Transcode { width: target.0, height: target.1 }),
            "{source:?}"
        );
        assert_eq!(planner.reason(), Some(PlanReason::OtherCodec));
    }
}

#[test]
fn the_pinned_size_follows_a_picture_that_has_grown_for_good() {
    let mut planner = planner();
    planner.handle_frame(&frame(&vp8(320, 180), 0, true, b""), at(0));
    assert_eq!(planner.poll_plan(), Some(VideoPlan::Transcode { width: 320, height: 180 }));
    let hd = vp8(1280, 720);
    for millis in (1000..=2990).step_by(10) {
        planner.handle_frame(&frame(&hd, millis, false, b""), at(millis));
        assert_eq!(planner.poll_plan(), None, "{millis}");
    }
    planner.handle_frame(&frame(&hd, 3000, false, b""), at(3000));
    assert_eq!(planner.poll_plan(), Some(VideoPlan::Transcode { width: 1280, height: 720 }));
    assert_eq!(planner.reason(), Some(PlanReason::Grown));
}

#[test]
fn rotation_and_shrinking_leave_the_pinned_size_alone() {
    let mut planner = planner();
    planner.handle_frame(&frame(&vp8(640, 480), 0, true, b""), at(0));
    assert!(planner.poll_plan().is_some());
    for (format, from) in [(vp8(480, 640), 0), (vp8(320, 240), 10_000), (vp8(1280, 720), 20_000)] {
        for millis in (from..from + 9_000).step_by(100) {
            planner.handle_frame(&frame(&format, millis, false, b""), at(millis));
            assert_eq!(planner.poll_plan(), None);
        }
    }
}

#[test]
fn the_configuration_may_ask_for_encoding() {
    let mut planner = OutputPlanner::new(PlanConfig { passthrough: false, ..PlanConfig::default() });
    planner.handle_frame(&frame(&h264(HIGH_SPS), 0, true, P_SLICE), at(0));
    assert_eq!(planner.poll_plan(), Some(VideoPlan::Transcode { width: 1280, height: 720 }));
    assert_eq!(planner.reason(), Some(PlanReason::Configured));
}
