//! The least delay of the last seconds: what a way costs when no queue is in it.

use std::collections::VecDeque;

/// Samples of one second share one entry.
const BUCKET_NS: i64 = 1_000_000_000;

/// How many seconds count. A clock that drifts by 100 ppm moves the floor by 1.5 ms in this time, which is the price
/// for seeing through queues of this length.
const WINDOW: i64 = 15;

/// A sliding minimum over [`WINDOW`] seconds, in memory for as many entries.
#[derive(Debug, Default)]
pub(super) struct Floor {
    /// Second and least delay in it; seconds rise, and so do delays: an entry that can never be the least again is gone.
    buckets: VecDeque<(i64, i64)>,
}

impl Floor {
    /// A delay seen now.
    pub(super) fn add(&mut self, now_ns: i64, delay_ns: i64) {
        let second = now_ns.div_euclid(BUCKET_NS);
        while self.buckets.back().is_some_and(|(_, least)| *least >= delay_ns) {
            self.buckets.pop_back();
        }
        // A greater delay in a second that already has an entry changes nothing.
        if self.buckets.back().is_none_or(|(last, _)| *last < second) {
            self.buckets.push_back((second, delay_ns));
        }
        while self.buckets.front().is_some_and(|(first, _)| *first <= second - WINDOW) {
            self.buckets.pop_front();
        }
    }

    /// The floor; `None` before the first sample. Without new samples it stays what it was.
    pub(super) fn get(&self) -> Option<i64> {
        self.buckets.front().map(|(_, least)| *least)
    }

    pub(super) fn clear(&mut self) {
        self.buckets.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_falls_at_once_and_rises_when_the_low_sample_is_old() {
        let mut floor = Floor::default();
        let second = |s: i64| s * BUCKET_NS;
        floor.add(second(0), 50);
        floor.add(second(1), 30);
        assert_eq!(floor.get(), Some(30));
        for s in 2..16 {
            floor.add(second(s), 100 + s);
            assert_eq!(floor.get(), Some(30), "at second {s}");
        }
        floor.add(second(16), 200);
        assert_eq!(floor.get(), Some(102));
        assert!(floor.buckets.len() <= WINDOW as usize);
    }
}
