//! Merges everybody's wish for a keyframe of one source into as few requests as possible.
//!
//! Viewers join, packets are lost, segments begin: all want a keyframe, and each one costs the publisher quality. So
//! the source is asked at once when it was not asked for a second, and otherwise when that second is over; a request
//! that brought nothing is repeated at the same pace until a keyframe comes.

use skywave_media::time::Mono;
use std::time::Duration;

/// Between two requests to one source (pain 12: at most one a second).
pub const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// The demand for keyframes of one source.
#[derive(Debug, Clone, Default)]
pub struct KeyframeDemand {
    wanted: bool,
    request: bool,
    last_request: Option<Mono>,
}

impl KeyframeDemand {
    /// Somebody cannot go on without a keyframe.
    pub fn handle_demand(&mut self, now: Mono) {
        self.wanted = true;
        self.handle_timeout(now);
    }

    /// A keyframe came: whoever waited has what they need.
    pub const fn handle_keyframe(&mut self, _now: Mono) {
        self.wanted = false;
        self.request = false;
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Mono) {
        if self.poll_timeout().is_some_and(|due| now >= due) {
            self.request = true;
            self.last_request = Some(now);
        }
    }

    /// Whether the source is to be asked now; says so once for each request.
    pub const fn poll_request(&mut self) -> bool {
        std::mem::replace(&mut self.request, false)
    }

    /// When the source is to be asked if no keyframe comes before.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let due = self.last_request.map_or(Mono::default(), |last| last + MIN_INTERVAL);
        self.wanted.then_some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn at(millis: u64) -> Mono {
        Mono::from_millis(100_000 + millis)
    }

    #[test]
    fn the_first_wish_is_passed_on_at_once_and_further_ones_are_merged() {
        let mut demand = KeyframeDemand::default();
        assert_eq!(demand.poll_timeout(), None);
        demand.handle_demand(at(0));
        assert!(demand.poll_request());
        for millis in 1..999 {
            demand.handle_demand(at(millis));
            assert!(!demand.poll_request(), "{millis} ms");
        }
        assert_eq!(demand.poll_timeout(), Some(at(1000)));
    }

    #[test]
    fn a_request_that_brought_nothing_is_repeated_one_nanosecond_not_too_early() {
        let mut demand = KeyframeDemand::default();
        demand.handle_demand(at(0));
        assert!(demand.poll_request());
        demand.handle_timeout(at(1000) - Duration::from_nanos(1));
        assert!(!demand.poll_request());
        demand.handle_timeout(at(1000));
        assert!(demand.poll_request());
        assert_eq!(demand.poll_timeout(), Some(at(2000)));
    }

    #[test]
    fn a_keyframe_satisfies_everybody_and_the_next_wish_keeps_the_distance() {
        let mut demand = KeyframeDemand::default();
        demand.handle_demand(at(0));
        assert!(demand.poll_request());
        demand.handle_keyframe(at(50));
        assert_eq!(demand.poll_timeout(), None);
        demand.handle_demand(at(300));
        assert!(!demand.poll_request());
        assert_eq!(demand.poll_timeout(), Some(at(1000)));
        demand.handle_timeout(at(1000));
        assert!(demand.poll_request());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Demand,
        Keyframe,
        Wait(u64),
    }

    proptest! {
        #[test]
        fn requests_keep_their_distance_and_no_wish_is_forgotten(
            steps in prop::collection::vec(
                prop_oneof![
                    3 => Just(Step::Demand),
                    1 => Just(Step::Keyframe),
                    3 => (1u64..1500).prop_map(Step::Wait),
                ],
                1..200,
            )
        ) {
            let mut demand = KeyframeDemand::default();
            let mut now = at(0);
            let mut last: Option<Mono> = None;
            let mut open = false;
            for step in steps {
                match step {
                    Step::Demand => { open = true; demand.handle_demand(now); }
                    Step::Keyframe => { open = false; demand.handle_keyframe(now); }
                    Step::Wait(millis) => {
                        // The caller wakes when told to, and at the end of the wait.
                        let end = now + Duration::from_millis(millis);
                        while let Some(due) = demand.poll_timeout().filter(|due| *due <= end) {
                            now = now.max(due);
                            demand.handle_timeout(now);
                            prop_assert!(demand.poll_timeout().is_none_or(|next| next > now), "a due timer is consumed");
                            if demand.poll_request() {
                                prop_assert!(last.is_none_or(|l| now.saturating_since(l) >= MIN_INTERVAL));
                                last = Some(now);
                            }
                        }
                        now = end;
                        demand.handle_timeout(now);
                    }
                }
                if demand.poll_request() {
                    prop_assert!(last.is_none_or(|l| now.saturating_since(l) >= MIN_INTERVAL));
                    last = Some(now);
                }
                prop_assert_eq!(open, demand.poll_timeout().is_some());
            }
        }
    }
}
