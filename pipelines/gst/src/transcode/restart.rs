//! When a decoder that broke on bad input may be built again.

use skywave_media::time::Mono;
use std::time::Duration;

/// The first restart comes this long after the error, and each further one twice as late.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// Restarts are never further apart than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Output for this long after a restart shows that the input is good again.
const PROBATION: Duration = Duration::from_secs(5);

/// Bounds how often a decoder is rebuilt: a stream of garbage must not cost a core.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    failures: u32,
    last: Option<Mono>,
}

impl Restarts {
    /// The decoder broke at `now`.
    pub(super) fn handle_failure(&mut self, now: Mono) {
        if self.last.is_some_and(|last| now.saturating_since(last) > PROBATION) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.last = Some(now);
    }

    /// Whether a decoder may be built at `now`.
    pub(super) fn may_start(&self, now: Mono) -> bool {
        self.last.is_none_or(|last| now >= last + self.pause())
    }

    fn pause(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(10);
        (FIRST_PAUSE * (1 << doublings)).min(LONGEST_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_come_at_once_then_ever_slower_and_are_forgiven_after_good_times() {
        let mut restarts = Restarts::default();
        let mut now = Mono::from_millis(1000);
        assert!(restarts.may_start(now));
        let mut pauses = Vec::new();
        for _ in 0..8 {
            restarts.handle_failure(now);
            let pause = (0..).find(|ms| restarts.may_start(now + Duration::from_millis(*ms))).unwrap();
            pauses.push(pause);
            now = now + Duration::from_millis(pause);
        }
        assert_eq!(pauses, [20, 40, 80, 160, 320, 640, 1000, 1000]);
        now = now + Duration::from_secs(6);
        restarts.handle_failure(now);
        assert!(restarts.may_start(now + Duration::from_millis(20)));
    }
}
