//! When each session of a thread wants to be looked at again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// A session within its thread; never used twice.
pub(crate) type Key = u64;

/// Wake-up times, soonest first. Deadlines move with nearly every packet, nearly always later, so a moved one is not searched for:
/// it stays, and [`Timers::pop_due`] hands out a key that is not due yet. The owner looks at the session and sets its time anew.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Key)>>,
}

impl Timers {
    /// Wakes `key` at `at`. `known` is the time of the soonest entry this key is sure to have; returns what it is now.
    pub(crate) fn set(&mut self, key: Key, at: Instant, known: Option<Instant>) -> Instant {
        match known {
            Some(known) if known <= at => known,
            _ => {
                self.heap.push(Reverse((at, key)));
                at
            }
        }
    }

    /// The soonest wake-up.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes one entry that is due, with the time it was set for.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(Key, Instant)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((at, key))| (key, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_deadline_that_moves_later_costs_no_entry_and_one_that_moves_sooner_is_met() {
        let t0 = Instant::now();
        let ms = |n| t0 + Duration::from_millis(n);
        let mut timers = Timers::default();
        let known = timers.set(1, ms(10), None);
        let known = timers.set(1, ms(30), Some(known));
        assert_eq!((known, timers.heap.len()), (ms(10), 1));
        let known = timers.set(1, ms(5), Some(known));
        assert_eq!((known, timers.next()), (ms(5), Some(ms(5))));
        assert_eq!(timers.pop_due(ms(4)), None);
        assert_eq!(timers.pop_due(ms(5)), Some((1, ms(5))));
        assert_eq!(timers.pop_due(ms(9)), None);
        assert_eq!(timers.pop_due(ms(10)), Some((1, ms(10))));
        assert_eq!(timers.pop_due(ms(99)), None);
    }
}
