//! Stories over simulated links, and properties.

use super::sim::Sim;
use super::*;
use proptest::prelude::*;
use std::time::Duration;

const LAYERS: [u64; 3] = [150_000, 500_000, 1_500_000];

const fn at(millis: u64) -> Mono {
    Mono::from_millis(70_000 + millis)
}

/// Kilobits a second that came through in the next `seconds`.
fn delivered_kbps(sim: &mut Sim, seconds: f64) -> f64 {
    sim.delivered = 0;
    sim.run(seconds);
    sim.delivered as f64 * 8.0 / seconds / 1_000.0
}

fn sims(rate_bps: u64, layers: &[u64]) -> impl Iterator<Item = Sim> {
    (0..20).map(move |n| {
        let mut sim = Sim::new(rate_bps, layers, 77 + n);
        sim.remb = n % 2 == 1;
        sim
    })
}

#[test]
fn a_viewer_with_a_good_way_gets_the_best_layer_and_keeps_it() {
    for mut sim in sims(10_000_000, &LAYERS) {
        sim.run(60.0);
        assert_eq!(sim.switches.iter().map(|(_, s)| s.0).collect::<Vec<_>>(), [2]);
        assert_eq!((sim.lost, sim.demands), (0, 0));
    }
}

#[test]
fn a_narrow_way_gets_the_layer_that_fits_soon_and_trials_become_rare() {
    for mut sim in sims(1_000_000, &LAYERS) {
        sim.run(5.0);
        assert!(sim.sending.is_some_and(|s| s.0 < 2), "remb {}: {:?}", sim.remb, sim.switches);
        sim.run(15.0);
        let kbps = delivered_kbps(&mut sim, 100.0);
        assert!(kbps > 480.0, "remb {}: {kbps} {:?}", sim.remb, sim.switches);
        assert!(sim.lost as f64 / (sim.sent as f64) < 0.05, "{} of {}", sim.lost, sim.sent);
        let trials = sim.switches[1..].iter().filter(|(_, s)| s.0 == 2).count();
        assert!((1..=6).contains(&trials), "remb {}: {:?}", sim.remb, sim.switches);
        assert!(sim.worst_delay < Duration::from_millis(500));
    }
}

#[test]
fn radio_that_loses_up_to_a_tenth_stops_no_picture() {
    for loss in [0.02, 0.05, 0.10] {
        for mut sim in sims(20_000_000, &LAYERS[2..]) {
            sim.loss = loss;
            sim.run(10.0);
            let sent = LAYERS[2] as f64 / 1_000.0;
            let kbps = delivered_kbps(&mut sim, 60.0);
            assert!(kbps > 0.97 * (1.0 - loss) * sent, "{loss}, remb {}: {kbps}", sim.remb);
            assert_eq!((sim.switches.len(), sim.demands), (1, 0), "{loss}, remb {}", sim.remb);
        }
    }
}

#[test]
fn when_the_way_widens_the_best_layer_comes_back() {
    for mut sim in sims(1_000_000, &LAYERS) {
        sim.run(20.0);
        sim.rate_bps = 5_000_000;
        sim.run(40.0);
        assert_eq!(sim.sending, Some(SourceId(2)), "remb {}: {:?}", sim.remb, sim.switches);
        let before = sim.switches.len();
        sim.run(60.0);
        assert_eq!(sim.switches.len(), before, "and stays");
    }
}

#[test]
fn when_the_way_narrows_the_layer_follows_within_four_seconds() {
    for mut sim in sims(5_000_000, &LAYERS) {
        sim.run(20.0);
        sim.rate_bps = 300_000;
        sim.queue_bytes = 10_000;
        sim.run(4.0);
        assert_eq!(sim.policy.target(), Some(SourceId(0)), "remb {}: {:?}", sim.remb, sim.switches);
        sim.run(5.0);
        let kbps = delivered_kbps(&mut sim, 20.0);
        assert!(kbps > 150.0, "{kbps}");
    }
}

#[test]
fn radio_loss_of_five_percent_costs_nobody_a_layer() {
    for mut sim in sims(10_000_000, &LAYERS) {
        sim.loss = 0.05;
        sim.run(120.0);
        // A receiver's own estimate would be believed here; this one sees no queue and only grows.
        assert!(sim.switches.len() <= 3, "remb {}: {:?}", sim.remb, sim.switches);
        assert_eq!(sim.sending, Some(SourceId(2)), "remb {}: {:?}", sim.remb, sim.switches);
    }
}

#[test]
fn radio_loss_of_a_tenth_does_not_make_a_single_layer_a_slide_show() {
    for mut sim in sims(10_000_000, &[1_500_000]) {
        (sim.loss, sim.remb) = (0.10, false);
        for _ in 0..600 {
            sim.run(0.1);
            assert_eq!(sim.policy.follow(), Follow::Send, "at {} s", sim.seconds());
        }
        assert_eq!(sim.demands, 0);
    }
}

#[test]
fn who_cannot_follow_the_only_layer_gets_a_slide_show_and_the_picture_when_the_way_widens() {
    for mut sim in sims(400_000, &[1_500_000]) {
        sim.run(10.0);
        (sim.sent, sim.lost) = (0, 0);
        let (mut skipping, mut resumed, mut was) = (0, 0, sim.policy.follow());
        for _ in 0..600 {
            sim.run(0.1);
            let follow = sim.policy.follow();
            skipping += u32::from(follow == Follow::SkipToKeyframe);
            resumed += u32::from((was, follow) == (Follow::SkipToKeyframe, Follow::Send));
            was = follow;
        }
        assert!(skipping > 300, "remb {}: skipped {skipping} of 600", sim.remb);
        assert!((4..=25).contains(&resumed), "remb {}: resumed {resumed} times", sim.remb);
        assert_eq!(sim.demands, 0, "keyframes come by themselves");
        sim.rate_bps = 5_000_000;
        sim.queue_bytes = 100_000;
        sim.run(14.0);
        assert!(delivered_kbps(&mut sim, 60.0) > 1_450.0, "remb {}", sim.remb);
    }
}

#[test]
fn who_waits_long_for_a_keyframe_asks_for_one() {
    for mut sim in sims(400_000, &[1_500_000]) {
        sim.keyframe_every = None;
        sim.run(30.0);
        assert!((2..=6).contains(&sim.demands), "remb {}: {}", sim.remb, sim.demands);
    }
}

fn three_layers() -> [Layer; 3] {
    [0, 1, 2].map(|n| Layer { source: SourceId(n), bitrate_bps: LAYERS[n as usize] })
}

const fn outlook(bps: u64, loss: f64, windows: u64) -> Outlook {
    Outlook { bps: Some(bps), loss, windows, limited_by_sending: false }
}

#[test]
fn a_layer_that_was_asked_for_is_kept_while_it_is_there() {
    let mut policy = LayerPolicy::default();
    assert_eq!(policy.target(), None);
    policy.handle_wish(Wish::Fixed(SourceId(0)), at(0));
    policy.handle_layers(&three_layers(), at(0));
    assert_eq!(policy.target(), Some(SourceId(0)));
    policy.handle_outlook(outlook(10_000_000, 0.0, 1), at(1_000));
    policy.handle_timeout(at(60_000));
    assert_eq!((policy.target(), policy.poll_timeout()), (Some(SourceId(0)), None));
    policy.handle_layers(&three_layers()[1..], at(61_000));
    assert_eq!(policy.target(), Some(SourceId(2)), "it is gone");
    policy.handle_layers(&three_layers(), at(62_000));
    assert_eq!(policy.target(), Some(SourceId(0)), "it is back");
    policy.handle_layers(&[], at(63_000));
    assert_eq!(policy.target(), Some(SourceId(0)), "nothing else is there");
    policy.handle_wish(Wish::Automatic, at(63_000));
    policy.handle_layers(&three_layers(), at(64_000));
    assert_eq!((policy.target(), policy.poll_timeout()), (Some(SourceId(0)), Some(at(66_000))));
    policy.handle_timeout(at(66_000) - Duration::from_nanos(1));
    assert_eq!(policy.target(), Some(SourceId(0)));
    policy.handle_timeout(at(66_000));
    assert_eq!((policy.target(), policy.poll_timeout()), (Some(SourceId(2)), None), "room for two seconds");
}

#[test]
fn down_at_once_by_estimate_and_after_a_second_by_loss() {
    let mut policy = LayerPolicy::default();
    policy.handle_layers(&three_layers(), at(0));
    assert_eq!(policy.target(), Some(SourceId(2)));
    policy.handle_outlook(outlook(1_350_000, 0.0, 1), at(1_000));
    assert_eq!(policy.target(), Some(SourceId(2)), "0.9 of it");
    policy.handle_outlook(outlook(1_349_000, 0.0, 1), at(1_100));
    assert_eq!(policy.target(), Some(SourceId(1)));
    policy.handle_outlook(outlook(1_349_000, 0.16, 2), at(2_000));
    policy.handle_outlook(outlook(1_349_000, 0.16, 3), at(2_999));
    assert_eq!(policy.target(), Some(SourceId(1)));
    policy.handle_outlook(outlook(1_349_000, 0.16, 4), at(3_000));
    assert_eq!(policy.target(), Some(SourceId(0)));
    assert_eq!(policy.follow(), Follow::Send);
}

#[test]
fn a_picture_that_becomes_busy_is_no_evidence_against_the_way() {
    let mut policy = LayerPolicy::default();
    let quiet = [
        Layer { source: SourceId(0), bitrate_bps: 100_000 },
        Layer { source: SourceId(1), bitrate_bps: 400_000 },
    ];
    policy.handle_layers(&quiet, at(0));
    // All that was sent came through, and no more was sent.
    let tested = Outlook { limited_by_sending: true, ..outlook(500_000, 0.0, 1) };
    policy.handle_outlook(tested, at(1_000));
    policy.handle_layers(&three_layers()[1..], at(2_000));
    assert_eq!(policy.target(), Some(SourceId(1)));
    let mut busy = quiet;
    busy[1].bitrate_bps = 4_000_000;
    policy.handle_layers(&busy, at(3_000));
    assert_eq!(policy.target(), Some(SourceId(1)));
    policy.handle_outlook(outlook(500_000, 0.0, 2), at(4_000));
    assert_eq!(policy.target(), Some(SourceId(0)), "now it was sent, and did not come through");
}

#[test]
fn a_trial_has_two_windows_to_prove_itself_and_after_a_failure_the_next_is_later() {
    let mut policy = LayerPolicy::default();
    policy.handle_layers(&three_layers(), at(0));
    policy.handle_outlook(outlook(700_000, 0.0, 1), at(1_000));
    assert_eq!(policy.target(), Some(SourceId(1)));
    let calm = |windows| Outlook { limited_by_sending: true, ..outlook(700_000, 0.0, windows) };
    policy.handle_outlook(calm(2), at(2_000));
    assert_eq!(policy.poll_timeout(), Some(at(6_000)));
    policy.handle_timeout(at(6_000));
    assert_eq!(
        (policy.target(), policy.poll_timeout()),
        (Some(SourceId(2)), None),
        "it waits for the switch"
    );
    policy.handle_switched(SourceId(2), at(6_500));
    policy.handle_outlook(outlook(700_000, 0.05, 3), at(7_000));
    assert_eq!(policy.target(), Some(SourceId(2)), "this window began before");
    policy.handle_outlook(outlook(700_000, 0.05, 4), at(8_000));
    assert_eq!(policy.target(), Some(SourceId(1)));
    policy.handle_outlook(calm(5), at(9_000));
    assert_eq!(policy.poll_timeout(), Some(at(17_000)), "eight seconds now");
    policy.handle_timeout(at(17_000));
    policy.handle_switched(SourceId(2), at(17_100));
    // An estimate that falls ends a trial at once, and so does one window of high loss.
    policy.handle_outlook(outlook(660_000, 0.0, 5), at(17_200));
    assert_eq!(policy.target(), Some(SourceId(1)));
    policy.handle_outlook(calm(6), at(18_000));
    policy.handle_timeout(at(34_000));
    policy.handle_switched(SourceId(2), at(34_100));
    policy.handle_outlook(outlook(700_000, 0.2, 7), at(34_500));
    assert_eq!(policy.target(), Some(SourceId(1)));
    // One that lasts is no trial any more.
    policy.handle_outlook(calm(8), at(35_000));
    policy.handle_timeout(at(67_000));
    policy.handle_switched(SourceId(2), at(67_000));
    policy.handle_outlook(Outlook { limited_by_sending: true, ..outlook(1_900_000, 0.0, 10) }, at(70_000));
    assert_eq!((policy.target(), policy.poll_timeout()), (Some(SourceId(2)), Some(at(72_000))));
    policy.handle_timeout(at(72_000));
    assert_eq!((policy.target(), policy.poll_timeout()), (Some(SourceId(2)), None));
}

#[test]
fn heavy_loss_twice_or_far_too_low_an_estimate_leaves_video_out_until_a_later_keyframe() {
    let mut policy = LayerPolicy::default();
    policy.handle_layers(&three_layers()[..1], at(0));
    policy.handle_outlook(outlook(200_000, 0.3, 1), at(1_000));
    assert_eq!(policy.follow(), Follow::Send);
    policy.handle_outlook(outlook(200_000, 0.3, 1), at(1_500));
    assert_eq!(policy.follow(), Follow::Send, "still the same window");
    policy.handle_outlook(outlook(200_000, 0.3, 2), at(2_000));
    assert_eq!(policy.follow(), Follow::SkipToKeyframe);
    policy.handle_keyframe(at(2_999));
    assert_eq!((policy.follow(), policy.poll_timeout()), (Follow::SkipToKeyframe, Some(at(6_000))));
    policy.handle_timeout(at(6_000));
    assert!(policy.poll_keyframe_demand() && !policy.poll_keyframe_demand());
    policy.handle_keyframe(at(6_100));
    assert_eq!(policy.follow(), Follow::Send);
    // The estimate is given time; then it counts, and the next pause is longer.
    policy.handle_outlook(outlook(80_000, 0.0, 3), at(8_599));
    assert_eq!(policy.follow(), Follow::Send);
    policy.handle_outlook(outlook(80_000, 0.0, 4), at(8_600));
    assert_eq!(policy.follow(), Follow::SkipToKeyframe);
    policy.handle_keyframe(at(10_599));
    assert_eq!(policy.follow(), Follow::SkipToKeyframe);
    policy.handle_keyframe(at(10_600));
    assert_eq!((policy.follow(), policy.poll_timeout()), (Follow::Send, Some(at(20_600))));
    // Nothing bad for ten seconds: as if nothing had been.
    policy.handle_timeout(at(20_600));
    assert_eq!(policy.poll_timeout(), None);
    policy.handle_outlook(outlook(80_000, 0.0, 5), at(21_000));
    assert_eq!(policy.follow(), Follow::Send, "a fall alone is no proof");
    policy.handle_outlook(outlook(1_000_000, 0.0, 6), at(22_000));
    policy.handle_outlook(outlook(80_000, 0.0, 7), at(23_000));
    policy.handle_outlook(outlook(80_000, 0.0, 8), at(25_499));
    assert_eq!(policy.follow(), Follow::Send);
    policy.handle_outlook(outlook(80_000, 0.0, 9), at(25_500));
    assert_eq!(policy.follow(), Follow::SkipToKeyframe);
    policy.handle_keyframe(at(26_500));
    assert_eq!(policy.follow(), Follow::Send);
}

#[derive(Debug, Clone)]
enum Step {
    Layers(Vec<u64>),
    Wish(Option<u32>),
    Outlook(Option<u64>, f64, bool, bool),
    Switched(u32),
    Keyframe,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => prop::collection::vec(0u64..3_000_000, 0..4).prop_map(Step::Layers),
        1 => prop::option::of(0u32..4).prop_map(Step::Wish),
        6 => (prop::option::of(0u64..4_000_000), 0.0..1.0, any::<bool>(), any::<bool>())
            .prop_map(|(bps, loss, window, limited)| Step::Outlook(bps, loss * loss, window, limited)),
        2 => (0u32..4).prop_map(Step::Switched),
        2 => Just(Step::Keyframe),
        6 => (0u64..5_000).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn the_target_is_a_layer_and_every_due_timer_is_consumed(steps in prop::collection::vec(step(), 1..150)) {
        let mut policy = LayerPolicy::default();
        let mut now = at(0);
        let mut layers: Vec<Layer> = Vec::new();
        let mut windows = 0;
        let mut wish = None;
        for step in steps {
            let before = policy.follow();
            let keyframe = matches!(step, Step::Keyframe);
            match step {
                Step::Layers(rates) => {
                    layers = (0u32..)
                        .zip(&rates)
                        .map(|(n, bps)| Layer { source: SourceId(n), bitrate_bps: *bps })
                        .collect();
                    policy.handle_layers(&layers, now);
                }
                Step::Wish(source) => {
                    wish = source.map(SourceId);
                    policy.handle_wish(wish.map_or(Wish::Automatic, Wish::Fixed), now);
                }
                Step::Outlook(bps, loss, window, limited_by_sending) => {
                    windows += u64::from(window);
                    policy.handle_outlook(Outlook { bps, loss, windows, limited_by_sending }, now);
                }
                Step::Switched(source) => policy.handle_switched(SourceId(source), now),
                Step::Keyframe => policy.handle_keyframe(now),
                Step::Wait(millis) => {
                    now = now + Duration::from_millis(millis);
                    for turn in 0.. {
                        let Some(due) = policy.poll_timeout().filter(|due| *due <= now) else { break };
                        policy.handle_timeout(now);
                        prop_assert!(policy.poll_timeout().is_none_or(|next| next > due));
                        prop_assert!(turn < 8, "it does not run in circles");
                    }
                }
            }
            while policy.poll_keyframe_demand() {
                prop_assert_eq!(policy.follow(), Follow::SkipToKeyframe);
            }
            if (before, policy.follow()) == (Follow::SkipToKeyframe, Follow::Send) {
                prop_assert!(keyframe, "only a keyframe begins again");
            }
            if layers.is_empty() {
                continue;
            }
            let target = policy.target().unwrap();
            prop_assert!(layers.iter().any(|layer| layer.source == target));
            if let Some(source) = wish.filter(|source| layers.iter().any(|layer| layer.source == *source)) {
                prop_assert_eq!(target, source);
            }
        }
    }
}
