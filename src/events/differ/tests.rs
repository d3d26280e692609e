//! Stories of streams, told by their changes.

use super::*;
use proptest::prelude::*;

fn at(ms: u64) -> Mono {
    Mono::from_millis(60_000 + ms)
}

fn name(text: &str) -> StreamName {
    text.parse().unwrap()
}

fn publisher(session: &str) -> PublisherStatus {
    PublisherStatus { session: session.to_owned(), connected_since: "2026-01-01T00:00:00.000Z".to_owned() }
}

fn live(stream: &str, session: &str) -> Status {
    Status {
        state: State::Live,
        since: Some("2026-01-01T00:00:00.000Z".to_owned()),
        publisher: Some(publisher(session)),
        ..Status::starting(&name(stream))
    }
}

fn waiting(stream: &str) -> Status {
    Status { state: State::Waiting, publisher: None, ..live(stream, "") }
}

fn ended(stream: &str) -> Status {
    Status { state: State::Ended, publisher: None, ..live(stream, "") }
}

fn changes(differ: &mut Differ, list: &[&Status], now: Mono) -> Vec<Change> {
    differ.handle_list(list.iter().map(|status| Arc::new((*status).clone())).collect(), now);
    std::iter::from_fn(|| differ.poll_change()).collect()
}

fn connected(stream: &str, session: &str) -> Change {
    Change::PublisherConnected { stream: name(stream), publisher: publisher(session) }
}

fn gone(stream: &str, session: &str) -> Change {
    Change::PublisherGone { stream: name(stream), publisher: publisher(session) }
}

fn started(status: &Status) -> Change {
    Change::Started(Arc::new(status.clone()))
}

fn updated(status: &Status) -> Change {
    Change::Updated(Arc::new(status.clone()))
}

#[test]
fn a_stream_comes_loses_its_publisher_gets_another_and_ends() {
    let mut differ = Differ::default();
    assert_eq!(changes(&mut differ, &[&Status::starting(&name("a"))], at(0)), [], "not there yet");
    let first = live("a", "1");
    assert_eq!(changes(&mut differ, &[&first], at(10)), [started(&first), connected("a", "1")]);
    assert_eq!(changes(&mut differ, &[&waiting("a")], at(3_000)), [gone("a", "1"), updated(&waiting("a"))]);
    let second = live("a", "2");
    assert_eq!(changes(&mut differ, &[&second], at(4_000)), [connected("a", "2"), updated(&second)]);
    let third = live("a", "3");
    let taken_over = [gone("a", "2"), connected("a", "3"), updated(&third)];
    assert_eq!(changes(&mut differ, &[&third], at(6_000)), taken_over);
    assert_eq!(
        changes(&mut differ, &[&ended("a")], at(8_000)),
        [gone("a", "3"), Change::Ended { stream: name("a") }]
    );
    let left = Status { viewers: Viewers { webrtc: 0, hls: 3 }, ..ended("a") };
    assert_eq!(changes(&mut differ, &[&left], at(8_500)), [], "nothing is said of a stream after its end");
    assert_eq!((differ.streams().count(), differ.poll_timeout()), (0, None));
    assert_eq!(changes(&mut differ, &[], at(9_000)), [], "what has ended ends but once");
    assert_eq!(differ.streams().count(), 0);
}

#[test]
fn a_stream_that_is_forgotten_between_two_looks_has_ended() {
    let mut differ = Differ::default();
    changes(&mut differ, &[&live("a", "1"), &ended("b")], at(0));
    assert_eq!(
        changes(&mut differ, &[], at(1)),
        [gone("a", "1"), Change::Ended { stream: name("a") }],
        "b had ended before"
    );
}

#[test]
fn a_take_that_follows_another_between_two_looks_is_a_new_start() {
    let mut differ = Differ::default();
    changes(&mut differ, &[&live("a", "1")], at(0));
    let next = Status { since: Some("2026-01-01T00:01:00.000Z".to_owned()), ..live("a", "2") };
    let ended_and_started =
        [gone("a", "1"), Change::Ended { stream: name("a") }, started(&next), connected("a", "2")];
    assert_eq!(changes(&mut differ, &[&next], at(500)), ended_and_started);
}

#[test]
fn a_stream_that_comes_back_after_its_end_is_started_again() {
    let mut differ = Differ::default();
    changes(&mut differ, &[&ended("a")], at(0));
    let back = Status { since: Some("2026-01-01T00:01:00.000Z".to_owned()), ..live("a", "9") };
    assert_eq!(changes(&mut differ, &[&back], at(100)), [started(&back), connected("a", "9")]);
}

#[test]
fn figures_are_told_once_a_second_and_the_last_ones_are_not_lost() {
    let mut differ = Differ::default();
    let with_pid = |pid| {
        let mut status = live("a", "1");
        status.worker.pid = Some(pid);
        status
    };
    changes(&mut differ, &[&with_pid(1)], at(0));
    assert_eq!(differ.poll_timeout(), None, "nothing is held back");
    for ms in 1..1_000 {
        assert_eq!(changes(&mut differ, &[&with_pid(2 + ms as u32 % 2)], at(ms)), [], "{ms} ms");
    }
    assert_eq!(differ.poll_timeout(), Some(at(1_000)));
    assert_eq!(changes(&mut differ, &[&with_pid(3)], at(1_000)), [updated(&with_pid(3))]);
    assert_eq!(differ.poll_timeout(), None);
    assert_eq!(changes(&mut differ, &[&with_pid(3)], at(5_000)), [], "no news");
}

#[test]
fn viewers_are_told_at_once_and_then_once_a_second() {
    let mut differ = Differ::default();
    let watched_by = |webrtc, hls| Status { viewers: Viewers { webrtc, hls }, ..live("a", "1") };
    let told = |webrtc, hls| Change::Viewers { stream: name("a"), viewers: Viewers { webrtc, hls } };
    changes(&mut differ, &[&watched_by(0, 0)], at(0));
    assert_eq!(changes(&mut differ, &[&watched_by(1, 0)], at(200)), [told(1, 0)]);
    assert_eq!(changes(&mut differ, &[&watched_by(2, 0)], at(300)), []);
    assert_eq!(differ.poll_timeout(), Some(at(1_200)));
    assert_eq!(changes(&mut differ, &[&watched_by(3, 1)], at(1_199)), []);
    assert_eq!(changes(&mut differ, &[&watched_by(3, 1)], at(1_200)), [told(3, 1)]);
    assert_eq!(changes(&mut differ, &[&watched_by(3, 1)], at(9_000)), []);
}

proptest! {
    /// Whatever happens and whenever it is looked at: a reader who applies the changes knows what is on air and who feeds it.
    #[test]
    fn whoever_follows_the_changes_knows_what_is_on_air(
        looks in proptest::collection::vec((proptest::collection::vec(0_u8..6, 3), 0_u64..2_000), 1..60)
    ) {
        let mut differ = Differ::default();
        let mut followed: BTreeMap<StreamName, Option<String>> = BTreeMap::new();
        let mut ms = 0;
        for (states, gap) in looks {
            ms += gap;
            let list: Vec<Status> = ["a", "b", "c"].iter().zip(&states).filter_map(|(stream, state)| match state {
                0 => None,
                1 => Some(ended(stream)),
                2 => Some(waiting(stream)),
                session => Some(live(stream, &session.to_string())),
            }).collect();
            for change in changes(&mut differ, &list.iter().collect::<Vec<_>>(), at(ms)) {
                match change {
                    Change::Started(status) => prop_assert_eq!(followed.insert(status.name.clone(), None), None),
                    Change::Ended { stream } => prop_assert_eq!(followed.remove(&stream), Some(None)),
                    Change::PublisherConnected { stream, publisher } => {
                        prop_assert_eq!(followed.insert(stream, Some(publisher.session)), Some(None));
                    }
                    Change::PublisherGone { stream, publisher } => {
                        prop_assert_eq!(followed.insert(stream, None), Some(Some(publisher.session)));
                    }
                    Change::Updated(_) | Change::Viewers { .. } => {}
                }
            }
            let truth: BTreeMap<StreamName, Option<String>> = list.iter().filter(|s| s.state != State::Ended)
                .map(|s| (s.name.clone(), s.publisher.as_ref().map(|p| p.session.clone()))).collect();
            prop_assert_eq!(&followed, &truth);
            prop_assert!(differ.poll_timeout().is_none_or(|due| due > at(ms)), "a due timer is consumed");
        }
    }
}
