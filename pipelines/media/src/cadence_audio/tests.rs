use super::*;
use proptest::prelude::*;

const EPOCH: Mono = Mono::from_millis(1000);

fn cadence(resume_at: Option<i64>) -> AudioCadence {
    let resume_at = resume_at.map(MediaTime::from_48k);
    AudioCadence::new(AudioCadenceConfig { max_wait: Duration::from_millis(300), epoch: EPOCH, resume_at })
}

fn at(sample: i64) -> Mono {
    EPOCH + MediaTime::from_48k(sample).as_duration()
}

/// 1 kHz at half of full scale, the same on both channels, as it stands on the timeline.
fn tone(from: i64, count: usize) -> Vec<f32> {
    (from..from + count as i64)
        .flat_map(|i| {
            let phase = (i.rem_euclid(48)) as f64 / 48.0 * std::f64::consts::TAU;
            [(phase.sin() * 0.5) as f32; 2]
        })
        .collect()
}

fn drain(cadence: &mut AudioCadence) -> Vec<Block> {
    std::iter::from_fn(|| cadence.poll_block()).collect()
}

fn largest_step(blocks: &[Block]) -> f32 {
    let left: Vec<_> = blocks.iter().flat_map(|b| b.samples.iter().step_by(2)).collect();
    left.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max)
}

/// A 1 kHz tone of amplitude 0.5 moves at most this much from sample to sample.
const TONE_STEP: f32 = 0.0655;

/// What a joint may add to that: full scale spread over 5 ms.
const JOINT_STEP: f32 = 1.0 / 240.0;

#[test]
fn sound_on_time_passes_unchanged_in_blocks_of_1024() {
    let mut cadence = cadence(None);
    assert_eq!((cadence.poll_block(), cadence.poll_timeout()), (None, None));
    let mut blocks = Vec::new();
    for i in 0..16i64 {
        let pts = 480 + i * 960;
        cadence.handle_sound(MediaTime::from_48k(pts), &tone(pts, 960), at(pts + 960));
        blocks.extend(drain(&mut cadence));
    }
    assert_eq!(blocks.len(), 15);
    let pts: Vec<_> = blocks.iter().map(|b| b.pts.ticks).collect();
    assert_eq!(pts, (0..15).map(|b| 480 + b * 1024).collect::<Vec<_>>());
    let out: Vec<_> = blocks.iter().flat_map(|b| b.samples.iter().copied()).collect();
    // Two samples later (42 us), because interpolation looks ahead; the very first fade in.
    assert_eq!(out[2 * 242..], tone(480 - 2, out.len() / 2)[2 * 242..]);
    assert_eq!(cadence.counters(), AudioCadenceCounters::default());
}

#[test]
fn five_seconds_of_mute_become_silence_without_a_click() {
    let mut cadence = cadence(None);
    let mut blocks = Vec::new();
    let feed = |cadence: &mut AudioCadence, from: i64, blocks: &mut Vec<Block>| {
        for i in 0..50 {
            let pts = from + i * 960;
            cadence.handle_sound(MediaTime::from_48k(pts), &tone(pts, 960), at(pts + 960));
            blocks.extend(drain(cadence));
        }
    };
    feed(&mut cadence, 0, &mut blocks);
    let resumed = 48_000 * 6;
    while cadence.poll_timeout().unwrap() < at(resumed) {
        let now = cadence.poll_timeout().unwrap();
        cadence.handle_timeout(now);
        blocks.extend(drain(&mut cadence));
    }
    feed(&mut cadence, resumed, &mut blocks);
    for (i, block) in blocks.iter().enumerate() {
        assert_eq!(block.pts.ticks, i as i64 * 1024);
    }
    assert!(blocks.len() as i64 * 1024 > 48_000 * 7 - 1024);
    let silent = blocks.iter().filter(|b| b.samples.iter().all(|s| *s == 0.0)).count();
    assert!((230..=234).contains(&silent), "{silent} of 234.4 blocks");
    assert!(largest_step(&blocks) <= TONE_STEP + JOINT_STEP, "{}", largest_step(&blocks));
    let counters = cadence.counters();
    assert_eq!((counters.silent, counters.cut, counters.stretched), (48_000 * 5, 0, 0));
}

#[test]
fn a_block_is_completed_with_silence_at_its_deadline_and_not_before() {
    let mut cadence = cadence(None);
    cadence.handle_sound(MediaTime::from_48k(0), &tone(0, 960), at(960));
    let deadline = EPOCH + Duration::from_millis(300);
    assert_eq!(cadence.poll_timeout(), Some(deadline));
    cadence.handle_timeout(deadline - Duration::from_nanos(1));
    assert_eq!(cadence.poll_block(), None);
    cadence.handle_timeout(deadline);
    assert_eq!(drain(&mut cadence).len(), 1);
    assert_eq!(cadence.counters().silent, 64);
    assert!(cadence.poll_timeout().unwrap() > deadline);
}

#[test]
fn one_lost_packet_is_silence_of_its_length_and_what_overlaps_is_cut() {
    let mut cadence = cadence(None);
    for pts in [0, 1920, 2400] {
        cadence.handle_sound(MediaTime::from_48k(pts), &tone(pts, 960), at(pts + 960));
    }
    assert_eq!(cadence.counters(), AudioCadenceCounters { silent: 960, cut: 480, stretched: 0 });
    assert_eq!(cadence.end, 3360);
    cadence.handle_sound(MediaTime::from_48k(3360), &tone(3360, 960), at(4320));
    assert!(largest_step(&drain(&mut cadence)) <= TONE_STEP + JOINT_STEP);
}

#[test]
fn a_drifting_clock_is_followed_without_a_click() {
    let mut cadence = cadence(None);
    let mut blocks = Vec::new();
    for i in 0..3000i64 {
        let pts = i * 960 + i * 960 / 10_000; // 100 ppm
        cadence.handle_sound(MediaTime::from_48k(pts), &tone(i * 960, 960), at(pts + 960));
        assert!((pts + 960 - cadence.end).abs() <= 48, "sound is where it belongs within 1 ms");
        blocks.extend(drain(&mut cadence));
    }
    let counters = cadence.counters();
    assert_eq!((counters.silent, counters.cut), (0, 0));
    assert!((250..=290).contains(&counters.stretched), "{}", counters.stretched);
    assert!(largest_step(&blocks) <= TONE_STEP * 1.01);
}

#[test]
fn a_resumed_timeline_begins_exactly_where_told() {
    let mut cadence = cadence(Some(1000));
    assert_eq!(cadence.poll_timeout(), Some(at(1000) + Duration::from_millis(300)));
    cadence.handle_sound(MediaTime::from_48k(49_000), &tone(0, 960), at(49_960));
    let blocks = drain(&mut cadence);
    assert_eq!(blocks[0].pts.ticks, 1000);
    assert!(blocks[..46].iter().all(|b| b.samples.iter().all(|s| *s == 0.0)));
    assert_eq!(cadence.counters().silent, 48_000);
}

#[test]
fn sound_from_the_far_future_is_dropped() {
    let mut cadence = cadence(Some(0));
    cadence.handle_sound(MediaTime::from_48k(48_000 * 3600), &tone(0, 960), at(0));
    assert_eq!((cadence.poll_block(), cadence.counters().cut), (None, 960));
}

#[test]
fn an_encoder_that_does_not_follow_costs_sound_and_no_time() {
    let mut cadence = cadence(None);
    for i in 0..500i64 {
        cadence.handle_sound(MediaTime::from_48k(i * 960), &tone(0, 960), at(i * 960));
    }
    assert!(cadence.waiting_samples <= MAX_WAITING_SAMPLES + 240);
    assert_eq!(drain(&mut cadence).len(), 500 * 960 / 1024);
    assert_eq!(
        cadence.waiting_samples,
        cadence
            .queue
            .iter()
            .map(|c| match c {
                Chunk::Sound(s) => s.len() / 2,
                Chunk::Silence(_) => 0,
            })
            .sum::<usize>()
    );
}

proptest! {
    #[test]
    fn blocks_have_no_gap_no_overlap_and_are_never_late(
        events in proptest::collection::vec(
            (prop_oneof![8 => 0i64..2000, 1 => 0i64..200_000], prop_oneof![4 => -1500i64..600, 1 => -200_000i64..200_000],
             prop_oneof![Just(0usize), Just(1), Just(120), Just(960), Just(2880)], any::<bool>()),
            1..150),
        resume in proptest::option::of(-50_000i64..50_000),
    ) {
        let mut cadence = cadence(resume);
        let (mut time, mut expected) = (0i64, resume);
        for (advance, offset, count, sound) in events {
            time += advance;
            let now = at(time);
            if sound {
                cadence.handle_sound(MediaTime::from_48k(time + offset), &tone(0, count), now);
            }
            cadence.handle_timeout(now);
            if let Some(deadline) = cadence.poll_timeout() {
                prop_assert!(deadline > now, "a due timer is always consumed");
            }
            while let Some(block) = cadence.poll_block() {
                let pts = *expected.get_or_insert(block.pts.ticks);
                prop_assert_eq!(block.pts, MediaTime::from_48k(pts));
                prop_assert_eq!(block.samples.len(), 2048);
                prop_assert!(block.samples.iter().all(|s| s.abs() <= 0.501), "joints add nothing loud");
                expected = Some(pts + 1024);
            }
            if let Some(next) = expected.filter(|_| cadence.next.is_some()) {
                prop_assert!(next + 14_400 + 1 > time, "a block waits at most 300 ms");
            }
        }
    }
}
