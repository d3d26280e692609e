//! How fast and how well a track comes in: bits, frames and losses over the last seconds. Pure.

use skywave_media::time::Mono;
use std::collections::VecDeque;
use std::time::Duration;

/// A little under the second in which streams bring their status up to date, so that each of these closes a window.
const WINDOW: Duration = Duration::from_millis(950);

/// Bits and frames a second, over the last whole second or so.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Meter {
    since: Option<Mono>,
    bytes: u64,
    frames: u64,
    pub(super) bitrate_bps: u64,
    pub(super) frames_per_second: f64,
}

impl Meter {
    /// Counts a frame.
    pub(super) fn note(&mut self, bytes: usize, now: Mono) {
        self.since.get_or_insert(now);
        self.bytes += bytes as u64;
        self.frames += 1;
    }

    /// Closes the window once it is long enough; a lane that has fallen silent reads zero.
    pub(super) fn refresh(&mut self, now: Mono) {
        let Some(since) = self.since else { return };
        let span = now.saturating_since(since);
        if span >= WINDOW {
            self.bitrate_bps = (self.bytes as f64 * 8.0 / span.as_secs_f64()) as u64;
            self.frames_per_second = self.frames as f64 / span.as_secs_f64();
            (self.since, self.bytes, self.frames) = (Some(now), 0, 0);
        }
    }
}

/// The share of packets that were lost over the last [`LossMeter::WINDOWS`] windows.
#[derive(Debug, Default, Clone)]
pub(super) struct LossMeter {
    /// Packets received and lost by the end of each window, oldest first; the first entry is where counting begins.
    ends: VecDeque<(u64, u64)>,
    closed: Option<Mono>,
}

impl LossMeter {
    /// Long enough to tell 1 % apart from none at 50 packets a second, short enough to show that it is over.
    const WINDOWS: usize = 5;

    /// Takes the track's counters (both only grow) and closes a window once it is long enough.
    pub(super) fn refresh(&mut self, received: u64, lost: u64, now: Mono) {
        if self.closed.is_some_and(|closed| now.saturating_since(closed) < WINDOW) {
            return;
        }
        self.closed = Some(now);
        if self.ends.is_empty() {
            self.ends.push_back((0, 0));
        }
        self.ends.push_back((received, lost));
        while self.ends.len() > Self::WINDOWS + 1 {
            self.ends.pop_front();
        }
    }

    /// 0 to 1; 0 while nothing was sent.
    pub(super) fn fraction(&self) -> f64 {
        let (Some(first), Some(last)) = (self.ends.front(), self.ends.back()) else { return 0.0 };
        let (received, lost) = (last.0.saturating_sub(first.0), last.1.saturating_sub(first.1));
        if lost == 0 { 0.0 } else { lost as f64 / (received + lost) as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::from_millis(10_000 + ms)
    }

    #[test]
    fn a_lane_that_falls_silent_reads_zero_a_second_later() {
        let mut meter = Meter::default();
        for i in 0..30 {
            meter.note(1_000, at(i * 33));
        }
        meter.refresh(at(1_000));
        assert_eq!((meter.bitrate_bps, meter.frames_per_second), (240_000, 30.0));
        meter.refresh(at(1_500));
        assert_eq!(meter.bitrate_bps, 240_000, "a window half full says nothing");
        meter.refresh(at(2_000));
        assert_eq!((meter.bitrate_bps, meter.frames_per_second), (0, 0.0));
    }

    #[test]
    fn loss_is_seen_at_once_and_forgotten_after_five_windows() {
        let mut loss = LossMeter::default();
        assert!(loss.fraction() == 0.0);
        loss.refresh(90, 10, at(0));
        assert!((loss.fraction() - 0.1).abs() < 1e-9);
        for second in 1..=4 {
            loss.refresh(90 + second * 100, 10, at(second * 1_000));
            assert!(loss.fraction() > 0.0, "second {second}");
        }
        loss.refresh(590, 10, at(5_000));
        assert!(loss.fraction() == 0.0);
    }

    #[test]
    fn a_window_is_not_closed_twice_by_two_looks_at_it() {
        let mut loss = LossMeter::default();
        loss.refresh(0, 0, at(0));
        for _ in 0..20 {
            loss.refresh(50, 50, at(1_000));
        }
        assert!((loss.fraction() - 0.5).abs() < 1e-9);
    }
}
