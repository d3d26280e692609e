//! Stories and properties of [`LaneRewriter`].

use super::*;
use crate::inspect::Field;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

const VIDEO: u32 = 90_000;

const fn at(millis: u64) -> Mono {
    Mono::from_millis(10_000 + millis)
}

const fn packet(source: u32, seq: u64, timestamp: u32, millis: u64) -> InPacket {
    InPacket { source: SourceId(source), seq, timestamp, arrival: at(millis), picture: None }
}

const fn with_picture(packet: InPacket, id: u16, bits: u8, tl0: Option<u8>) -> InPacket {
    let tl0 = match tl0 {
        Some(value) => Some(Field { at: 4, bits: 8, value: value as u16 }),
        None => None,
    };
    let picture_id = Some(Field { at: 2, bits, value: id });
    InPacket { picture: Some(PictureFields { picture_id, tl0 }), ..packet }
}

const fn out(index: u64, timestamp: u32) -> OutPacket {
    OutPacket { index, timestamp, picture_id: None, tl0: None }
}

#[test]
fn nothing_goes_out_before_a_source_is_chosen() {
    let mut lane = LaneRewriter::new(7, 1_000, VIDEO);
    assert_eq!(lane.rewrite(&packet(1, 5, 0, 0)), None);
    assert_eq!(
        (lane.original(7), lane.original(6), lane.last_seq(), lane.source()),
        (None, None, None, None)
    );
    assert_eq!(lane.timestamp_of(0), None);
}

#[test]
fn a_publisher_returns_and_everything_goes_on_without_a_gap() {
    let mut lane = LaneRewriter::new(7, 1_000, VIDEO);
    let first = packet(1, 500, u32::MAX - 2_999, 0);
    lane.switch(&first);
    assert_eq!(lane.rewrite(&first), Some(out(7, 1_000)));
    assert_eq!(lane.rewrite(&packet(1, 501, u32::MAX - 2_999, 4)), Some(out(8, 1_000)));
    assert_eq!(lane.rewrite(&packet(1, 502, 0, 33)), Some(out(9, 4_000)));
    // Two seconds later it is back, with other numbers.
    let again = packet(2, 9, 77, 2_033);
    assert_eq!(lane.rewrite(&again), None, "not before the switch");
    lane.switch(&again);
    assert_eq!(lane.rewrite(&again), Some(out(10, 184_000)));
    assert_eq!(lane.rewrite(&packet(2, 8, 0, 2_034)), None, "older than the switch");
    assert_eq!(lane.rewrite(&packet(1, 503, 3_000, 2_035)), None, "the former source");
    assert_eq!(lane.rewrite(&packet(2, 11, 3_077, 2_066)), Some(out(12, 187_000)), "a gap stays a gap");
    assert_eq!(lane.rewrite(&packet(2, 10, 77, 2_067)), Some(out(11, 184_000)), "and late packets fill it");
    assert_eq!((lane.last_seq(), lane.last_timestamp()), (Some(12), Some(187_000)));
    assert_eq!(lane.timestamp_of(3_077), Some(187_000));
    // What the viewer may ask for again.
    assert_eq!(lane.original(9), Some((SourceId(1), 502)));
    assert_eq!(lane.original(10), Some((SourceId(2), 9)));
    assert_eq!(lane.original(13), None, "the future");
    assert_eq!(lane.original(6), None, "before the beginning");
    assert_eq!(lane.repeat(9, &packet(1, 502, 0, 33)), Some(out(9, 4_000)));
    assert_eq!(lane.repeat(9, &packet(1, 503, 0, 33)), None);
    // A third source: the first one is forgotten.
    let third = packet(3, 0, 0, 2_100);
    lane.switch(&third);
    assert!(lane.rewrite(&third).is_some());
    assert_eq!((lane.original(9), lane.original(10)), (None, Some((SourceId(2), 9))));
}

#[test]
fn frames_left_out_on_purpose_leave_no_gap() {
    let mut lane = LaneRewriter::new(0, 0, VIDEO);
    lane.switch(&packet(1, 100, 0, 0));
    assert_eq!(
        lane.rewrite(&with_picture(packet(1, 100, 0, 0), 40, 15, Some(254))).unwrap().picture_id,
        Some(40)
    );
    let keyframe = with_picture(packet(1, 150, 90_000, 1_000), 70, 15, Some(9));
    lane.switch(&keyframe);
    let sent = OutPacket { index: 1, timestamp: 90_000, picture_id: Some(41), tl0: Some(255) };
    assert_eq!(lane.rewrite(&keyframe), Some(sent));
    let next = with_picture(packet(1, 151, 93_000, 1_033), 71, 15, Some(10));
    assert_eq!(
        lane.rewrite(&next),
        Some(OutPacket { index: 2, timestamp: 93_000, picture_id: Some(42), tl0: Some(0) })
    );
    assert_eq!((lane.original(0), lane.original(1)), (Some((SourceId(1), 100)), Some((SourceId(1), 150))));
}

#[test]
fn picture_ids_go_on_in_the_width_they_have() {
    let mut lane = LaneRewriter::new(0, 0, VIDEO);
    let first = with_picture(packet(1, 0, 0, 0), 0x7fff, 15, None);
    lane.switch(&first);
    assert_eq!(lane.rewrite(&first).unwrap().picture_id, Some(0x7fff));
    let narrow = with_picture(packet(2, 0, 0, 10), 100, 7, Some(3));
    lane.switch(&narrow);
    assert_eq!(lane.rewrite(&narrow).unwrap().picture_id, Some(0));
    let late = with_picture(packet(2, 127, 0, 20), 99, 7, Some(3));
    assert_eq!(lane.rewrite(&late).unwrap().picture_id, Some(0x7f));
    let wide = with_picture(packet(3, 0, 0, 30), 9, 15, Some(200));
    lane.switch(&wide);
    let sent = lane.rewrite(&wide).unwrap();
    assert_eq!((sent.picture_id, sent.tl0), (Some(0x80), Some(4)));
    // A source without numbers between two that have some.
    lane.switch(&packet(4, 0, 0, 40));
    assert_eq!(lane.rewrite(&packet(4, 0, 0, 40)).unwrap().picture_id, None);
    lane.switch(&wide);
    assert_eq!(lane.rewrite(&wide).unwrap().picture_id, Some(0x81));
}

#[test]
fn a_viewer_that_begins_with_cached_frames_is_at_the_live_edge_at_once() {
    let mut lane = LaneRewriter::new(0, 50_000, VIDEO);
    // 60 frames of 30 Hz, two packets each.
    let frames: Vec<InPacket> = (0..120u32)
        .map(|n| packet(1, u64::from(n), (n / 2 * 3_000).wrapping_sub(90_000), u64::from(n / 2) * 33))
        .collect();
    let live = frames[119].timestamp;
    lane.start_compressed(&frames[0], live);
    let sent: Vec<OutPacket> = frames.iter().map(|p| lane.rewrite(p).unwrap()).collect();
    assert_eq!(sent[119].timestamp, 50_000);
    assert_eq!(sent[0].timestamp, 50_000 - 59 * 3_000 / 32);
    for pair in sent.windows(2) {
        assert_eq!(pair[1].index, pair[0].index + 1);
    }
    for pair in sent.chunks(2).collect::<Vec<_>>().windows(2) {
        assert_eq!(pair[0][0].timestamp, pair[0][1].timestamp, "one frame, one timestamp");
        assert!((90..=96).contains(&(pair[1][0].timestamp - pair[0][0].timestamp)));
    }
    let next = packet(1, 120, live.wrapping_add(3_000), 1_980);
    assert_eq!(lane.rewrite(&next), Some(out(120, 53_000)));
    assert_eq!(lane.timestamp_of(live), Some(50_000));
    // A lost one goes out again just as it was.
    assert_eq!(lane.original(3), Some((SourceId(1), 3)));
    assert_eq!(lane.repeat(3, &frames[3]), Some(sent[3]));
    lane.switch(&packet(2, 0, 0, 2_000));
    assert_eq!(lane.repeat(3, &frames[3]), Some(sent[3]));
}

#[test]
fn cached_frames_in_the_middle_of_a_lane_come_after_what_went_before() {
    let mut lane = LaneRewriter::new(0, 0, VIDEO);
    lane.switch(&packet(1, 0, 0, 2_000));
    lane.rewrite(&packet(1, 0, 0, 2_000)).unwrap();
    // Another layer whose keyframe came a second ago.
    let cached = packet(2, 0, 500, 1_010);
    lane.start_compressed(&cached, 90_500);
    assert_eq!(lane.rewrite(&cached).unwrap().timestamp, 90);
    assert_eq!(lane.rewrite(&packet(2, 1, 90_500, 2_010)).unwrap().timestamp, 90 + 90_000 / 32);
    // After a pause there is room, and the live frame stands where it came.
    let cached = packet(3, 0, 500, 5_000);
    lane.start_compressed(&cached, 90_500);
    let first = lane.rewrite(&cached).unwrap().timestamp;
    let live = lane.rewrite(&packet(3, 1, 90_500, 6_000)).unwrap().timestamp;
    assert_eq!((first, live), (live - 90_000 / 32, 2_902 + 90 * 3_990));
    // Without older frames there is nothing to squeeze.
    lane.start_compressed(&packet(4, 0, 7, 6_100), 7);
    assert_eq!(lane.rewrite(&packet(4, 0, 7, 6_100)).unwrap().timestamp, live + 9_000);
}

#[test]
fn a_source_that_outlives_half_the_clock_is_not_squeezed() {
    let mut lane = LaneRewriter::new(0, 0, VIDEO);
    lane.start_compressed(&packet(1, 0, 0, 0), 9_000);
    let mut timestamp = 0u32;
    for n in 0..9 {
        assert!(lane.rewrite(&packet(1, n + 1, timestamp, 0)).is_some());
        timestamp = timestamp.wrapping_add(1 << 29);
        assert_eq!(
            lane.rewrite(&packet(1, n + 1, timestamp, 0)).unwrap().timestamp,
            timestamp.wrapping_sub(9_000)
        );
    }
}

#[test]
fn a_jump_no_receiver_could_follow_is_taken_as_a_switch() {
    let mut lane = LaneRewriter::new(3, 0, VIDEO);
    lane.switch(&packet(1, 10, 0, 0));
    assert_eq!(lane.rewrite(&packet(1, 10, 0, 0)), Some(out(3, 0)));
    assert_eq!(lane.rewrite(&packet(1, 10 + 32_767, 0, 0)), Some(out(3 + 32_767, 0)), "the farthest one");
    assert_eq!(lane.rewrite(&packet(1, 10, 0, 0)), Some(out(3, 0)), "just not too old");
    assert_eq!(lane.rewrite(&packet(1, 10 + 32_768, 0, 0)), Some(out(3 + 32_768, 0)));
    assert_eq!(lane.rewrite(&packet(1, 10, 0, 0)), None, "too old");
    let far = packet(1, 1 << 40, 5, 100);
    assert_eq!(lane.rewrite(&far), Some(out(3 + 32_769, 9_000)));
    assert_eq!(lane.rewrite(&packet(1, u64::MAX, 5, 200)).unwrap().index, 3 + 32_770);
    assert_eq!(lane.rewrite(&packet(1, 0, 5, 200)), None);
}

#[test]
fn a_switch_nobody_used_is_as_if_it_had_not_been() {
    let mut lane = LaneRewriter::new(0, 0, VIDEO);
    lane.switch(&packet(1, 0, 0, 0));
    lane.rewrite(&packet(1, 0, 0, 0)).unwrap();
    lane.switch(&packet(2, 0, 0, 10));
    lane.switch(&packet(3, 0, 0, 20));
    assert_eq!(lane.rewrite(&packet(3, 0, 0, 20)), Some(out(1, 1_800)));
    assert_eq!(lane.original(0), Some((SourceId(1), 0)));
}

#[test]
fn sources_that_follow_each_other_in_no_time_are_a_millisecond_apart() {
    let mut lane = LaneRewriter::new(0, 500, VIDEO);
    for source in 0..4 {
        let first = packet(source, 9, 7 * source, 100 - u64::from(source));
        lane.switch(&first);
        assert_eq!(lane.rewrite(&first).unwrap().timestamp, 500 + 90 * source);
    }
}

#[derive(Debug, Clone)]
struct Segment {
    start_seq: u64,
    start_timestamp: u32,
    /// Distance of frames, in ticks.
    step: u32,
    start_id: u16,
    wide: bool,
    /// Frames of one to three packets; whether each packet is lost, and how late it comes.
    frames: Vec<Vec<(bool, u8)>>,
    compressed: bool,
    pause_ms: u64,
}

fn segments(lossy: bool) -> impl Strategy<Value = Vec<Segment>> {
    let late = if lossy { 0..4u8 } else { 0..1u8 };
    let lost = if lossy { prop::bool::weighted(0.1).boxed() } else { Just(false).boxed() };
    let frame = prop::collection::vec((lost, late), 1..4);
    let segment = (
        any::<u32>(),
        any::<u32>(),
        1_500u32..20_000,
        0u16..0x8000,
        any::<bool>(),
        prop::collection::vec(frame, 1..60),
        any::<bool>(),
        prop_oneof![Just(0u64), 0u64..5_000],
    );
    let segment =
        segment.prop_map(|(seq, start_timestamp, step, id, wide, frames, compressed, pause_ms)| Segment {
            start_seq: u64::from(seq) << 8,
            start_timestamp,
            step,
            start_id: if wide { id } else { id & 0x7f },
            wide,
            frames,
            compressed,
            pause_ms,
        });
    prop::collection::vec(segment, 1..8)
}

/// The packets of a segment in the order of their arrival, each with the number of its frame; the first one is never lost.
fn packets(segment: &Segment, source: u32, mut now: Mono) -> Vec<(usize, InPacket)> {
    now = now + Duration::from_millis(segment.pause_ms);
    let step = Duration::from_nanos(u64::from(segment.step) * 1_000_000_000 / u64::from(VIDEO));
    let mut all = Vec::new();
    let mut seq = segment.start_seq;
    let bits = if segment.wide { 15 } else { 7 };
    for (n, frame) in segment.frames.iter().enumerate() {
        for (lost, late) in frame {
            let id = segment.start_id.wrapping_add(n as u16) & ((1 << bits) - 1);
            let timestamp = segment.start_timestamp.wrapping_add(segment.step * n as u32);
            let arrival = now + step * n as u32;
            let packet = InPacket { source: SourceId(source), seq, timestamp, arrival, picture: None };
            let packet = with_picture(packet, id, bits, Some(n as u8));
            if seq == segment.start_seq || !lost {
                all.push((n, packet, all.len() + usize::from(*late)));
            }
            seq += 1;
        }
    }
    all.sort_by_key(|(_, _, place)| *place);
    all.into_iter().map(|(n, packet, _)| (n, packet)).collect()
}

fn play(lane: &mut LaneRewriter, segments: &[Segment]) -> Vec<(usize, InPacket, OutPacket)> {
    let mut sent = Vec::new();
    let mut now = at(0);
    for (source, segment) in segments.iter().enumerate() {
        let packets = packets(segment, source as u32, now);
        let first = packets.iter().map(|(_, p)| *p).find(|p| p.seq == segment.start_seq).unwrap();
        if segment.compressed {
            let live = packets[packets.len() / 2].1.timestamp;
            lane.start_compressed(&first, live);
        } else {
            lane.switch(&first);
        }
        for (frame, packet) in packets {
            now = now.max(packet.arrival);
            sent.push((frame, packet, lane.rewrite(&packet).expect("nothing here is too old")));
        }
    }
    sent
}

proptest! {
    #[test]
    fn in_order_input_is_contiguous_and_monotone_over_all_switches(
        segments in segments(false), first in 0u16..0x8000, timestamp: u32,
    ) {
        let mut lane = LaneRewriter::new(first, timestamp, VIDEO);
        let sent = play(&mut lane, &segments);
        prop_assert_eq!(sent[0].2.index, u64::from(first));
        for pair in sent.windows(2) {
            let ((frame, before, old), (next_frame, after, new)) = (pair[0], pair[1]);
            prop_assert_eq!(new.index, old.index + 1);
            let step = new.timestamp.wrapping_sub(old.timestamp);
            if (before.source, frame) == (after.source, next_frame) {
                prop_assert_eq!((step, new.picture_id, new.tl0), (0, old.picture_id, old.tl0));
                continue;
            }
            prop_assert!(step > 0 && step < 1 << 30, "{} -> {}", old.timestamp, new.timestamp);
            let mask = after.picture.unwrap().picture_id.unwrap().mask();
            prop_assert_eq!(new.picture_id.unwrap(), old.picture_id.unwrap().wrapping_add(1) & mask);
            prop_assert_eq!(new.tl0.unwrap(), old.tl0.unwrap().wrapping_add(1));
        }
    }

    #[test]
    fn with_loss_and_reordering_indices_stay_unique_and_can_be_undone(
        segments in segments(true), first in 0u16..0x8000, timestamp: u32,
    ) {
        let mut lane = LaneRewriter::new(first, timestamp, VIDEO);
        let sent = play(&mut lane, &segments);
        let mut indices: Vec<u64> = sent.iter().map(|(_, _, new)| new.index).collect();
        indices.sort_unstable();
        prop_assert!(indices.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert_eq!(indices[0], u64::from(first));
        let last = segments.len() as u32 - 1;
        for (_, packet, new) in &sent {
            let remembered = packet.source.0 + 1 >= last;
            let expected = remembered.then_some((packet.source, packet.seq));
            prop_assert_eq!(lane.original(new.seq()), expected);
            prop_assert_eq!(lane.repeat(new.seq(), packet), remembered.then_some(*new));
        }
        // Distances within a source are those of its sequence numbers.
        for pair in sent.windows(2).filter(|pair| pair[0].1.source == pair[1].1.source) {
            let distance = |a: u64, b: u64| a.wrapping_sub(b);
            prop_assert_eq!(distance(pair[1].2.index, pair[0].2.index), distance(pair[1].1.seq, pair[0].1.seq));
        }
    }

    #[test]
    fn no_input_makes_it_panic(
        steps in prop::collection::vec((0u32..3, any::<u64>(), any::<u32>(), any::<u64>(), 0..4u8), 0..100),
        clock_rate: u32,
    ) {
        let mut lane = LaneRewriter::new(0, 0, clock_rate);
        let mut highest = None;
        for (source, seq, timestamp, nanos, kind) in steps {
            let packet = InPacket { arrival: Mono::from_nanos(nanos), ..packet(source, seq, timestamp, 0) };
            match kind {
                0 => lane.switch(&packet),
                1 => lane.start_compressed(&packet, timestamp.wrapping_mul(31)),
                _ => {
                    if let Some(new) = lane.rewrite(&packet) {
                        prop_assert!(highest.is_none_or(|h: u64| new.index < h + MAX_JUMP));
                        highest = Some(highest.map_or(new.index, |h| h.max(new.index)));
                        prop_assert_eq!(lane.original(new.seq()), Some((packet.source, packet.seq)));
                    }
                }
            }
        }
    }

    #[test]
    fn one_index_never_has_two_contents(
        steps in prop::collection::vec((0u32..3, 0u64..60, 0..9u8), 1..200),
        leaps in prop::collection::vec(any::<u32>(), 3),
        pictures in prop::collection::vec(any::<bool>(), 60),
    ) {
        // A packet is what it is, but from one to the next timestamps leap, picture numbers come and go, and once the
        // sequence numbers jump.
        let content = |source: u32, n: u64| {
            let seq = if n < 50 { n } else { n + 40_000 };
            let packet = packet(source, seq, leaps[source as usize].wrapping_mul(n as u32 / 3), n);
            if pictures[n as usize] { with_picture(packet, n as u16, 15, Some(n as u8)) } else { packet }
        };
        let mut lane = LaneRewriter::new(0, 0, VIDEO);
        let mut contents: BTreeMap<u64, (SourceId, u64, OutPacket)> = BTreeMap::new();
        for (source, n, kind) in steps {
            let packet = content(source, n);
            let mut sent = Vec::new();
            match kind {
                0 => lane.switch(&packet),
                1 => lane.start_compressed(&packet, leaps[2]),
                2..=6 => sent.extend(lane.rewrite(&packet).map(|out| (packet, out))),
                _ => for behind in 0..64 {
                    // Everything that can be asked for again.
                    let seq = lane.last_seq().unwrap_or(0).wrapping_sub(behind);
                    let Some((id, original)) = lane.original(seq) else { continue };
                    let n = if original < 50 { original } else { original.saturating_sub(40_000) };
                    if n < 60 {
                        let packet = content(id.0, n);
                        sent.extend(lane.repeat(seq, &packet).map(|out| (packet, out)));
                    }
                },
            }
            for (packet, out) in sent {
                let now = (packet.source, packet.seq, out);
                prop_assert_eq!(*contents.entry(out.index).or_insert(now), now);
            }
        }
    }
}
