//! One source out of a track that arrives as several: simulcast layers, or a source that was replaced.
//!
//! Until viewers can choose layers, a track is its richest one: the source that brought most bytes in the last second. Browsers do
//! not say which layer is the largest, and the order of an offer means nothing to them.

use skywave_media::time::Mono;
use std::time::Duration;

/// How long bytes are counted before two sources are compared.
const WINDOW: Duration = Duration::from_secs(1);
/// A chosen source that is silent for so long while another one sends has been replaced or switched off.
const ABANDONED: Duration = Duration::from_millis(400);
/// Sources of one track that are told apart; more are dropped.
const MAX_SOURCES: usize = 8;

/// Chooses among the sources of one track.
#[derive(Debug, Default)]
pub(crate) struct LayerChooser {
    sources: Vec<Source>,
    /// Index into `sources`.
    chosen: usize,
    window_ends: Mono,
}

#[derive(Debug)]
struct Source {
    ssrc: u32,
    bytes: u64,
    last: Mono,
}

/// What to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It belongs to the track.
    Pass,
    /// It belongs to the track, and its source is new there: a keyframe is needed.
    PassSwitched,
    /// It belongs to another layer.
    Skip,
}

impl LayerChooser {
    /// The chosen source, once a packet has arrived.
    pub(crate) fn chosen(&self) -> Option<u32> {
        self.sources.get(self.chosen).map(|s| s.ssrc)
    }

    /// Counts a packet of `bytes` and says whether it belongs to the track.
    pub(crate) fn handle_packet(&mut self, ssrc: u32, bytes: usize, now: Mono) -> Verdict {
        let Some(index) = self.index_of(ssrc, now) else { return Verdict::Skip };
        self.sources[index].bytes += bytes as u64;
        self.sources[index].last = now;
        let mut best = self.chosen;
        if index != best && now.saturating_since(self.sources[best].last) >= ABANDONED {
            best = index;
        } else if now >= self.window_ends {
            best = self.richest();
        }
        if now >= self.window_ends || best != self.chosen {
            self.window_ends = now + WINDOW;
            self.sources.iter_mut().for_each(|s| s.bytes = 0);
        }
        let switched = best != self.chosen;
        self.chosen = best;
        match (index == best, switched) {
            (true, true) => Verdict::PassSwitched,
            (true, false) => Verdict::Pass,
            (false, _) => Verdict::Skip,
        }
    }

    fn index_of(&mut self, ssrc: u32, now: Mono) -> Option<usize> {
        if let Some(index) = self.sources.iter().position(|s| s.ssrc == ssrc) {
            return Some(index);
        }
        let fresh = Source { ssrc, bytes: 0, last: now };
        if self.sources.is_empty() {
            self.window_ends = now + WINDOW;
        }
        if self.sources.len() < MAX_SOURCES {
            self.sources.push(fresh);
            return Some(self.sources.len() - 1);
        }
        // A publisher that replaces its source again and again: forget the one silent for longest.
        let (index, oldest) = self.sources.iter().enumerate().min_by_key(|(_, s)| s.last)?;
        if index == self.chosen || now.saturating_since(oldest.last) < ABANDONED {
            return None;
        }
        self.sources[index] = fresh;
        Some(index)
    }

    /// The source with most bytes in this window; the chosen one unless another has clearly (a third) more.
    fn richest(&self) -> usize {
        let current = self.sources[self.chosen].bytes;
        let best =
            self.sources.iter().enumerate().max_by_key(|(_, s)| s.bytes).map_or(self.chosen, |(i, _)| i);
        if self.sources[best].bytes * 3 > current * 4 { best } else { self.chosen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Mono {
        Mono::from_millis(5_000 + ms)
    }

    #[test]
    fn a_single_source_passes_whole() {
        let mut layers = LayerChooser::default();
        for i in 0..200 {
            assert_eq!(layers.handle_packet(7, 100, at(i * 20)), Verdict::Pass);
        }
    }

    #[test]
    fn the_layer_with_most_bytes_is_taken_after_a_second_and_asks_for_a_keyframe_once() {
        let mut layers = LayerChooser::default();
        assert_eq!(layers.handle_packet(1, 100, at(0)), Verdict::Pass);
        for i in 1..50 {
            assert_eq!(layers.handle_packet(2, 1_000, at(i * 20)), Verdict::Skip);
            assert_eq!(layers.handle_packet(1, 100, at(i * 20)), Verdict::Pass);
        }
        assert_eq!(layers.handle_packet(2, 1_000, at(1_000)), Verdict::PassSwitched);
        assert_eq!(layers.handle_packet(1, 100, at(1_000)), Verdict::Skip);
        assert_eq!(layers.handle_packet(2, 1_000, at(1_020)), Verdict::Pass);
    }

    #[test]
    fn a_layer_that_stops_is_left_for_the_one_that_goes_on() {
        let mut layers = LayerChooser::default();
        layers.handle_packet(1, 1_000, at(0));
        assert_eq!(layers.handle_packet(2, 10, at(399)), Verdict::Skip);
        assert_eq!(layers.handle_packet(2, 10, at(400)), Verdict::PassSwitched);
        assert_eq!(layers.chosen(), Some(2));
    }

    #[test]
    fn a_source_replaced_for_hours_never_runs_out_of_room() {
        let mut layers = LayerChooser::default();
        for ssrc in 1..100 {
            let t = at(u64::from(ssrc) * 1_000);
            assert_ne!(layers.handle_packet(ssrc, 100, t), Verdict::Skip, "source {ssrc}");
        }
    }

    proptest! {
        #[test]
        fn after_each_packet_exactly_one_source_is_chosen_and_only_it_passes(
            packets in proptest::collection::vec((0u32..12, 1usize..1500, 0u64..500), 1..300)
        ) {
            let mut layers = LayerChooser::default();
            let mut ms = 0;
            for (ssrc, bytes, gap) in packets {
                ms += gap;
                let before = layers.chosen();
                let verdict = layers.handle_packet(ssrc, bytes, at(ms));
                prop_assert_eq!(verdict != Verdict::Skip, layers.chosen() == Some(ssrc));
                if verdict == Verdict::PassSwitched {
                    prop_assert_ne!(before, Some(ssrc));
                }
                prop_assert!(layers.sources.len() <= MAX_SOURCES);
            }
        }
    }
}
