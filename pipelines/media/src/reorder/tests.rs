use super::*;
use crate::codec::Codec;
use bytes::Bytes;
use proptest::prelude::*;

fn packet(sequence: u16, at_ms: u64) -> Packet {
    Packet {
        ssrc: 1,
        sequence,
        timestamp: 0,
        marker: false,
        codec: Codec::Vp8,
        arrival: Mono::from_millis(at_ms),
        payload: Bytes::from_static(b"x"),
    }
}

/// What came out: a sequence number, or `L3` for three lost, or `R` for a new beginning.
fn drain(reorder: &mut Reorder) -> Vec<String> {
    std::iter::from_fn(|| reorder.poll_output())
        .map(|out| match out {
            Reordered::Packet(p) => p.sequence.to_string(),
            Reordered::Lost(n) => format!("L{n}"),
            Reordered::Restart => "R".to_owned(),
        })
        .collect()
}

fn feed(reorder: &mut Reorder, packets: &[(u16, u64)]) -> String {
    for &(sequence, at_ms) in packets {
        reorder.handle_packet(packet(sequence, at_ms));
    }
    drain(reorder).join(" ")
}

#[test]
fn packets_in_order_pass_at_once_and_across_the_wrap() {
    let mut reorder = Reorder::new(ReorderConfig::default());
    assert_eq!(feed(&mut reorder, &[(65_534, 0), (65_535, 1), (0, 2), (1, 3)]), "65534 65535 0 1");
    assert_eq!(reorder.poll_timeout(), None);
    assert_eq!(reorder.stats(), ReorderStats::default());
}

#[test]
fn a_swapped_pair_comes_out_straight() {
    let mut reorder = Reorder::new(ReorderConfig::default());
    assert_eq!(feed(&mut reorder, &[(65_535, 0), (1, 1)]), "65535");
    assert_eq!(feed(&mut reorder, &[(0, 2), (2, 3)]), "0 1 2");
    assert_eq!(reorder.stats(), ReorderStats { reordered: 1, ..Default::default() });
}

#[test]
fn a_hole_is_given_up_at_the_deadline_and_not_a_nanosecond_before() {
    let mut reorder = Reorder::new(ReorderConfig::default());
    assert_eq!(feed(&mut reorder, &[(10, 0), (12, 5), (15, 50)]), "10");
    let deadline = Mono::from_millis(205);
    assert_eq!(reorder.poll_timeout(), Some(deadline));
    reorder.handle_timeout(Mono::from_nanos(deadline.as_nanos() - 1));
    assert_eq!(drain(&mut reorder), [""; 0]);
    reorder.handle_timeout(deadline);
    assert_eq!(drain(&mut reorder), ["L1", "12"]);
    // The second hole was noticed 45 ms later, and is given up 45 ms later.
    assert_eq!(reorder.poll_timeout(), Some(Mono::from_millis(250)));
    reorder.handle_timeout(Mono::from_millis(250));
    assert_eq!(drain(&mut reorder), ["L2", "15"]);
    assert_eq!(reorder.poll_timeout(), None);
    // What was given up and comes after all is late.
    assert_eq!(feed(&mut reorder, &[(11, 260), (16, 261)]), "16");
    assert_eq!(reorder.stats(), ReorderStats { lost: 3, late: 1, ..Default::default() });
}

#[test]
fn duplicates_are_dropped_wherever_they_come() {
    let mut reorder = Reorder::new(ReorderConfig::default());
    assert_eq!(
        feed(&mut reorder, &[(1, 0), (1, 0), (3, 1), (3, 1), (2, 2), (2, 2), (3, 3), (4, 4)]),
        "1 2 3 4"
    );
    assert_eq!(reorder.stats(), ReorderStats { duplicates: 4, reordered: 1, ..Default::default() });
}

#[test]
fn a_full_buffer_gives_the_hole_up_before_its_time() {
    let config = ReorderConfig { max_packets: 3, ..Default::default() };
    let mut reorder = Reorder::new(config);
    assert_eq!(feed(&mut reorder, &[(1, 0), (3, 0), (4, 0), (5, 0)]), "1");
    assert_eq!(feed(&mut reorder, &[(6, 0)]), "L1 3 4 5 6");
    let config = ReorderConfig { max_bytes: 2, ..Default::default() };
    let mut reorder = Reorder::new(config);
    assert_eq!(feed(&mut reorder, &[(1, 0), (3, 0), (4, 0), (5, 0)]), "1 L1 3 4 5");
}

#[test]
fn another_ssrc_is_a_new_beginning_and_the_old_one_does_not_come_back() {
    let mut reorder = Reorder::new(ReorderConfig::default());
    assert_eq!(feed(&mut reorder, &[(10, 0), (12, 1)]), "10");
    reorder.handle_packet(Packet { ssrc: 2, ..packet(500, 2) });
    reorder.handle_packet(packet(13, 3));
    reorder.handle_packet(Packet { ssrc: 2, ..packet(501, 4) });
    assert_eq!(drain(&mut reorder).join(" "), "L1 12 R 500 501");
    assert_eq!(reorder.stats(), ReorderStats { lost: 1, late: 1, restarts: 1, ..Default::default() });
    // A second later it may.
    assert_eq!(feed(&mut reorder, &[(14, 1003)]), "R 14");
}

#[test]
fn a_jump_of_the_sequence_is_believed_when_the_next_packet_confirms_it() {
    let mut reorder = Reorder::new(ReorderConfig::default());
    assert_eq!(feed(&mut reorder, &[(10, 0), (20_000, 1)]), "10");
    assert_eq!(feed(&mut reorder, &[(20_001, 2), (20_002, 3)]), "R 20000 20001 20002");
    // One stray packet is not a jump.
    assert_eq!(feed(&mut reorder, &[(40_000, 4), (20_003, 5), (40_001, 6), (20_004, 7)]), "20003 20004");
}

#[test]
fn a_source_that_starts_again_a_little_before_is_recognised() {
    let mut reorder = Reorder::new(ReorderConfig::default());
    let first: Vec<(u16, u64)> = (1000..1100).map(|n| (n, u64::from(n))).collect();
    feed(&mut reorder, &first);
    let again: Vec<(u16, u64)> = (900..915).map(|n| (n, 2000 + u64::from(n))).collect();
    assert_eq!(feed(&mut reorder, &again), "");
    assert_eq!(
        feed(&mut reorder, &[(915, 3000)]),
        "R 900 901 902 903 904 905 906 907 908 909 910 911 912 913 914 915"
    );
}

proptest! {
    #[test]
    fn any_shuffle_within_the_window_comes_out_straight(
        start: u16,
        keys in proptest::collection::vec(0usize..12, 1..200),
    ) {
        // Each packet is late by up to 12 places; the first stays first: it says where the count begins.
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order[1..].sort_by_key(|&n| n + keys[n]);
        let mut reorder = Reorder::new(ReorderConfig::default());
        for (tick, &n) in order.iter().enumerate() {
            reorder.handle_packet(packet(start.wrapping_add(n as u16), tick as u64));
        }
        let expected: Vec<String> = (0..keys.len()).map(|n| start.wrapping_add(n as u16).to_string()).collect();
        prop_assert_eq!(drain(&mut reorder), expected);
        prop_assert_eq!(reorder.waiting(), 0);
        prop_assert_eq!(reorder.poll_timeout(), None);
    }

    #[test]
    fn due_timers_are_consumed_and_the_buffer_is_bounded(
        packets in proptest::collection::vec((any::<u16>(), 0u32..3, 0u64..400, any::<bool>()), 0..400),
    ) {
        let config = ReorderConfig { max_packets: 20, ..Default::default() };
        let mut reorder = Reorder::new(config);
        let (mut now, mut near, mut last) = (0, 0u16, None);
        let (mut given, mut passed) = (0, 0);
        for (random, ssrc, wait, jump) in packets {
            now += wait;
            near = if jump { random } else { near.wrapping_add(random % 8) };
            reorder.handle_packet(Packet { ssrc, ..packet(near, now) });
            given += 1;
            prop_assert!(reorder.waiting() <= 20);
            prop_assert!(reorder.poll_timeout().is_none_or(|at| at > Mono::from_millis(now)));
            prop_assert_eq!(reorder.poll_timeout().is_some(), reorder.waiting() > 0);
            while let Some(output) = reorder.poll_output() {
                match output {
                    Reordered::Packet(p) => {
                        passed += 1;
                        if let Some((ssrc, sequence)) = last {
                            prop_assert!(ssrc == p.ssrc && p.sequence == u16::wrapping_add(sequence, 1));
                        }
                        last = Some((p.ssrc, p.sequence));
                    }
                    Reordered::Lost(_) | Reordered::Restart => last = None,
                }
            }
        }
        let stats = reorder.stats();
        prop_assert!(passed <= given);
        prop_assert!(passed + reorder.waiting() as u64 + stats.duplicates + stats.late >= given);
    }
}
