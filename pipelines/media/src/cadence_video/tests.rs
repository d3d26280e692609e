use super::*;
use proptest::prelude::*;

const EPOCH: Mono = Mono::from_millis(1000);

fn config(fps: u32) -> VideoCadenceConfig {
    VideoCadenceConfig {
        fps,
        keyframe_interval: Duration::from_secs(2),
        max_wait: Duration::from_millis(300),
        epoch: EPOCH,
        resume_at: None,
    }
}

fn at_ms(ms: u64) -> Mono {
    EPOCH + Duration::from_millis(ms)
}

fn pts_ms(ms: i64) -> MediaTime {
    MediaTime::new(ms, 1000)
}

fn drain<P: Clone>(cadence: &mut VideoCadence<P>) -> Vec<(i64, Option<P>)> {
    std::iter::from_fn(|| cadence.poll_slot()).map(|s| (s.index, s.picture)).collect()
}

#[test]
fn a_picture_on_time_comes_out_at_once() {
    let mut cadence = VideoCadence::new(config(30), EPOCH);
    assert_eq!((cadence.poll_slot(), cadence.poll_timeout()), (None, None));
    for k in 0..90i64 {
        let now = EPOCH + Duration::from_nanos(33_333_333) * u32::try_from(k).unwrap();
        cadence.handle_picture(MediaTime::from_90k(3000 * k), k, now);
        let slot = cadence.poll_slot().unwrap();
        assert_eq!((slot.index, slot.pts.ticks, slot.duration.ticks), (k, 3000 * k, 3000));
        assert_eq!((slot.picture, slot.repeated, slot.keyframe), (Some(k), false, k % 60 == 0));
        assert_eq!(cadence.poll_slot(), None);
    }
}

#[test]
fn a_stall_is_filled_one_slot_at_a_time_from_its_deadline_on() {
    let mut cadence = VideoCadence::new(config(10), EPOCH);
    cadence.handle_picture(pts_ms(0), 'a', at_ms(0));
    assert_eq!(drain(&mut cadence), [(0, Some('a'))]);
    assert_eq!(cadence.poll_timeout(), Some(at_ms(400)));
    cadence.handle_timeout(at_ms(400) - Duration::from_nanos(1));
    assert_eq!(drain(&mut cadence), []);
    cadence.handle_timeout(at_ms(400));
    assert_eq!(drain(&mut cadence), [(1, Some('a'))]);
    assert_eq!(cadence.poll_timeout(), Some(at_ms(500)));
    // Slot 1 is gone, so this late picture is shown from the next slot on.
    cadence.handle_picture(pts_ms(100), 'b', at_ms(450));
    cadence.handle_timeout(at_ms(500));
    assert_eq!(drain(&mut cadence), [(2, Some('b'))]);
    // The source is back on time: what is missing is known at once.
    cadence.handle_picture(pts_ms(500), 'c', at_ms(501));
    assert_eq!(drain(&mut cadence), [(3, Some('b')), (4, Some('b')), (5, Some('c'))]);
}

#[test]
fn a_source_of_twice_the_rate_gives_every_other_picture() {
    let mut cadence = VideoCadence::new(config(30), EPOCH);
    let mut slots = Vec::new();
    for k in 0..12i64 {
        cadence.handle_picture(MediaTime::new(k, 60), k, at_ms(0) + Duration::from_millis(17) * 1);
        slots.extend(drain(&mut cadence));
    }
    let expected: Vec<_> = (0..6).map(|k| (k, Some(2 * k))).collect();
    assert_eq!(slots, expected);
}

#[test]
fn time_stamps_that_jitter_between_two_slots_lose_no_picture() {
    let mut cadence = VideoCadence::new(config(30), EPOCH);
    let mut slots = Vec::new();
    for k in 0..100i64 {
        // Half a slot off, give or take 5 ms.
        let jitter = if k % 2 == 0 { 450 } else { -450 };
        let now = EPOCH + MediaTime::from_90k(3000 * k + 3000).as_duration();
        cadence.handle_picture(MediaTime::from_90k(3000 * k + 1500 + jitter), k, now);
        slots.extend(drain(&mut cadence));
    }
    let pictures: Vec<_> = slots.iter().filter_map(|(_, p)| *p).collect();
    assert_eq!(pictures, (0..100).collect::<Vec<_>>());
}

#[test]
fn a_resumed_timeline_begins_where_told_with_the_first_picture() {
    let mut resumed = config(10);
    resumed.resume_at = Some(pts_ms(5000));
    let mut cadence = VideoCadence::new(resumed, at_ms(5100));
    cadence.handle_picture(pts_ms(5300), 'a', at_ms(5310));
    let slots: Vec<_> = std::iter::from_fn(|| cadence.poll_slot()).collect();
    let seen: Vec<_> = slots.iter().map(|s| (s.index, s.picture, s.repeated, s.keyframe)).collect();
    assert_eq!(
        seen,
        [
            (50, Some('a'), true, true),
            (51, Some('a'), true, false),
            (52, Some('a'), true, false),
            (53, Some('a'), false, false)
        ]
    );
}

#[test]
fn a_resumed_timeline_turns_black_when_no_picture_comes() {
    let mut resumed = config(10);
    resumed.resume_at = Some(pts_ms(5000));
    let mut cadence = VideoCadence::<char>::new(resumed, at_ms(5100));
    assert_eq!(cadence.poll_timeout(), Some(at_ms(6100)));
    cadence.handle_timeout(at_ms(6100));
    let black: Vec<_> = (50..59).map(|k| (k, None)).collect();
    assert_eq!(drain(&mut cadence), black);
    assert_eq!(cadence.poll_timeout(), Some(at_ms(6200)));
}

#[test]
fn resuming_at_a_rounded_slot_time_does_not_skip_the_slot() {
    for fps in [7, 24, 30, 50, 144] {
        for slot in [-3, 0, 1, 5, 1001] {
            assert_eq!(first_slot_at(slot_time(slot, fps), fps), slot);
            assert_eq!(first_slot_at(slot_time(slot, fps) + MediaTime::from_90k(2), fps), slot + 1);
        }
    }
}

#[test]
fn a_picture_from_the_far_future_is_shown_now_and_takes_no_slot() {
    let mut cadence = VideoCadence::new(config(10), EPOCH);
    cadence.handle_picture(pts_ms(0), 'a', at_ms(0));
    cadence.handle_picture(pts_ms(3_600_000), 'z', at_ms(100));
    assert_eq!(drain(&mut cadence), [(0, Some('a'))]);
    cadence.handle_timeout(at_ms(400));
    assert_eq!(drain(&mut cadence), [(1, Some('a'))], "a waited when z came");
    cadence.handle_picture(pts_ms(3_600_100), 'y', at_ms(420));
    cadence.handle_timeout(at_ms(500));
    assert_eq!(drain(&mut cadence), [(2, Some('y'))]);
    assert_eq!(cadence.counters(), VideoCadenceCounters { repeated: 2, dropped: 2, late: 0 });
}

#[test]
fn an_encoder_that_does_not_follow_costs_pictures_and_no_slots() {
    let mut cadence = VideoCadence::new(config(10), EPOCH);
    for k in 0..50i64 {
        cadence.handle_picture(pts_ms(100 * k), k, at_ms(100 * u64::try_from(k).unwrap()));
    }
    let slots = drain(&mut cadence);
    assert_eq!(slots.iter().map(|(k, _)| *k).collect::<Vec<_>>(), (0..50).collect::<Vec<_>>());
    assert_eq!(
        slots[40..50].iter().map(|(_, p)| p.unwrap()).collect::<Vec<_>>(),
        [44, 44, 44, 44, 44, 45, 46, 47, 48, 49]
    );
    assert_eq!(cadence.counters().dropped, 44);
}

#[test]
fn twenty_four_hours_at_100_ppm_keep_every_slot_and_lose_a_picture_only_where_clocks_demand_it() {
    let mut cadence = VideoCadence::new(config(30), EPOCH);
    let (pictures, mut next, mut keyframes) = (30 * 86_400i64, 0i64, 0u64);
    for k in 0..pictures {
        // The camera's clock runs 100 ppm fast: each picture comes 3.33 us earlier than the last.
        let nanos = k * 33_333_333 - k * 3_333;
        let now = EPOCH + Duration::from_nanos(nanos.unsigned_abs());
        cadence.handle_picture(MediaTime::from_nanos(nanos), (), now);
        cadence.handle_timeout(now);
        while let Some(slot) = cadence.poll_slot() {
            assert_eq!(slot.index, next);
            keyframes += u64::from(slot.keyframe);
            next += 1;
        }
    }
    // 8.64 s of drift are 259 pictures.
    let dropped = cadence.counters().dropped;
    assert!((255..=265).contains(&dropped), "{dropped}");
    assert_eq!(cadence.counters().repeated, 0);
    assert_eq!(keyframes, u64::try_from(next).unwrap().div_ceil(60));
}

#[derive(Debug, Clone)]
struct Event {
    advance_ms: u64,
    pts_offset_ms: i64,
    picture: bool,
    drain: bool,
}

fn any_event() -> impl Strategy<Value = Event> {
    (
        prop_oneof![8 => 0u64..60, 1 => 60u64..3000],
        prop_oneof![8 => -60i64..20, 1 => -5000i64..5000],
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(advance_ms, pts_offset_ms, picture, drain)| Event {
            advance_ms,
            pts_offset_ms,
            picture,
            drain,
        })
}

proptest! {
    #[test]
    fn slots_have_no_gap_no_overlap_and_are_never_late(
        events in proptest::collection::vec(any_event(), 1..200),
        fps in prop_oneof![Just(30u32), Just(25), Just(7), 1u32..120],
        resume in proptest::option::of(-1000i64..1000),
    ) {
        let mut config = config(fps);
        config.resume_at = resume.map(pts_ms);
        let mut cadence = VideoCadence::new(config, EPOCH);
        let (mut now, mut expected) = (EPOCH, config.resume_at.map(|at| first_slot_at(at, fps)));
        let mut pictures = 0u32;
        for event in &events {
            now = now + Duration::from_millis(event.advance_ms);
            if event.picture {
                let pts = MediaTime::from_nanos(now.nanos_since(EPOCH)) + pts_ms(event.pts_offset_ms);
                pictures += 1;
                cadence.handle_picture(pts, pictures, now);
            }
            cadence.handle_timeout(now);
            if let Some(deadline) = cadence.poll_timeout() {
                prop_assert!(deadline > now, "a due timer is always consumed");
            }
            prop_assert!(cadence.waiting.len() <= MAX_WAITING);
            if event.drain {
                while let Some(slot) = cadence.poll_slot() {
                    let first = expected.is_none();
                    let index = *expected.get_or_insert(slot.index);
                    prop_assert_eq!(slot.index, index);
                    prop_assert_eq!(slot.pts, slot_time(index, fps));
                    prop_assert_eq!(slot.pts + slot.duration, slot_time(index + 1, fps));
                    prop_assert!(slot.keyframe || !first);
                    prop_assert!(slot.picture.is_some() || pictures == 0 || resume.is_some());
                    expected = Some(index + 1);
                }
                // Whatever is not out yet may still wait, unless nothing was ever there to show.
                if let (Some(next), Some(_)) = (expected, &cadence.shown) {
                    prop_assert!(slot_time(next, fps).as_nanos() + 300_000_000 > now.nanos_since(EPOCH));
                }
            }
        }
    }
}
