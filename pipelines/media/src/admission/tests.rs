//! Ladders on machines that have room, lose it and get it back.

use super::*;

/// The usual ladder at superfast: 720p, 480p, 240p.
const LADDER: [f64; 3] = [0.25, 0.11, 0.03];

/// A machine whose every second is told: the load, then each stream's late pictures.
struct Story {
    admission: Admission,
    second: u64,
}

impl Story {
    fn new(cores: f64) -> Self {
        Self { admission: Admission::new(cores), second: 100 }
    }

    fn now(&self) -> Mono {
        Mono::from_millis(self.second * 1000)
    }

    /// So many seconds of this load, with no picture late in stream 1.
    fn seconds(&mut self, count: u64, busy: f64) -> usize {
        self.late_seconds(count, busy, 0)
    }

    fn late_seconds(&mut self, count: u64, busy: f64, late: u64) -> usize {
        for _ in 0..count {
            self.second += 1;
            let now = self.now();
            self.admission.handle_load(busy, now);
            self.admission.handle_stream(1, &LADDER, late, now);
        }
        self.admission.allowed(1)
    }

    fn joins(&mut self, key: StreamKey, busy: f64) -> usize {
        let now = self.now();
        self.admission.handle_load(busy, now);
        self.admission.handle_stream(key, &LADDER, 0, now);
        self.admission.allowed(key)
    }
}

#[test]
fn an_idle_machine_takes_the_whole_ladder() {
    let mut story = Story::new(2.0);
    assert_eq!(story.joins(1, 0.1), 3);
    assert_eq!(story.admission.reason(1), Some(Reason::Fits));
    assert_eq!(story.seconds(600, 0.8), 3);
}

#[test]
fn a_busy_machine_takes_what_fits_from_the_bottom_and_at_least_one_rendition() {
    assert_eq!(Story::new(2.0).joins(1, 1.3), 2);
    assert_eq!(Story::new(2.0).joins(1, 1.4), 1);
    let mut full = Story::new(2.0);
    assert_eq!(full.joins(1, 2.0), 1);
    assert_eq!(full.admission.reason(1), Some(Reason::NoRoom));
    assert_eq!(full.seconds(600, 2.0), 1, "the last rendition is never cut");
}

#[test]
fn streams_that_begin_in_the_same_second_see_each_other() {
    let mut story = Story::new(1.0);
    let admitted: Vec<usize> = (1..=4).map(|key| story.joins(key, 0.0)).collect();
    assert_eq!(admitted, [3, 2, 2, 1], "0.39, then 0.14, 0.14 and 0.03 of 0.75 cores");
}

#[test]
fn a_full_machine_is_cut_from_the_top_of_the_dearest_ladder_one_at_a_time() {
    let mut story = Story::new(2.0);
    story.joins(1, 0.0);
    let now = story.now();
    story.admission.handle_stream(2, &[0.56, 0.25], 0, now);
    assert_eq!(story.admission.allowed(2), 2);
    assert_eq!(story.seconds(4, 2.0), 3, "a burst is no reason");
    assert_eq!((story.seconds(1, 2.0), story.admission.allowed(2)), (3, 1));
    assert_eq!(story.admission.reason(2), Some(Reason::MachineFull));
    assert_eq!(story.seconds(3, 2.0), 3, "the cut has time to show");
    assert_eq!(story.seconds(1, 2.0), 2);
    assert_eq!(story.seconds(4, 2.0), 1);
    assert_eq!(story.seconds(60, 2.0), 1);
}

#[test]
fn a_stream_whose_encoders_fall_behind_is_cut_though_the_machine_has_room() {
    let mut story = Story::new(8.0);
    story.joins(1, 0.5);
    assert_eq!(story.late_seconds(1, 1.0, 5), 3);
    assert_eq!(story.seconds(1, 1.0), 3, "one late second may be an accident");
    assert_eq!(story.late_seconds(2, 1.0, 5), 2);
    assert_eq!(story.admission.reason(1), Some(Reason::EncodersLate));
}

#[test]
fn a_cut_rendition_comes_back_when_there_is_room_and_later_each_time_it_has_to_go_again() {
    let mut story = Story::new(2.0);
    story.joins(1, 0.0);
    let mut absences = Vec::new();
    for _ in 0..7 {
        while story.seconds(1, 2.0) == 3 {}
        let gone = story.second;
        while story.seconds(1, 0.8) < 3 {
            assert!(story.second < gone + 1000, "it comes back");
        }
        absences.push(story.second - gone);
    }
    assert_eq!(absences, [15, 30, 60, 120, 240, 300, 300]);
    assert_eq!(story.admission.reason(1), Some(Reason::Fits));
}

#[test]
fn a_cut_rendition_stays_away_while_it_would_not_fit() {
    let mut story = Story::new(2.0);
    story.joins(1, 0.0);
    while story.seconds(1, 2.0) == 3 {}
    assert_eq!(story.seconds(600, 1.3), 2, "0.25 more would be beyond 1.5 cores");
    assert_eq!(story.seconds(1, 1.2), 3);
}

#[test]
fn a_ladder_that_changes_is_admitted_anew_and_one_that_ends_is_forgotten() {
    let mut story = Story::new(1.0);
    assert_eq!(story.joins(1, 0.0), 3);
    let now = story.now();
    story.admission.handle_stream(1, &[0.56, 0.11], 0, now);
    assert_eq!(story.admission.allowed(1), 2, "its own renditions of before make room");
    story.admission.forget(1);
    assert_eq!((story.admission.allowed(1), story.admission.reason(1)), (0, None));
}

#[test]
fn the_cost_follows_the_pixels() {
    let cost = encode_cost((1280, 720), 30, Encoder::default());
    assert!((cost - 0.25).abs() < 1e-9);
    assert!((encode_cost((640, 360), 60, Encoder::default()) - cost / 2.0).abs() < 1e-9);
}
