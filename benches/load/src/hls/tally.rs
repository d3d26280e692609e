//! What all players saw while it was measured.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::report::{HlsServerReport, HlsStepReport, HlsToolReport};
use crate::report::Spread;

/// Answers are counted in slices of this length, to see how evenly the server sends them.
const SLICE: Duration = Duration::from_millis(20);
/// Delays that are kept for the spreads; what is above is thinned out by taking every second one.
const KEPT: usize = 400_000;
/// Places of streams whose first sight is remembered.
const PLACES: usize = 4096;

/// A short name of a rendition.
pub(super) fn lane_id(path: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

#[derive(Debug)]
pub(super) struct Tally {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    window: Window,
    began: Option<Instant>,
    /// When the first player had a playlist that reaches so far, and the first player a part.
    first: HashMap<(u64, (u64, u64)), Instant>,
    order: std::collections::VecDeque<(u64, (u64, u64))>,
    playing: BTreeSet<usize>,
    failed: BTreeSet<usize>,
}

/// Counters of the measured time.
#[derive(Debug, Default, Clone)]
pub(super) struct Window {
    pub(super) requests: u64,
    bytes: u64,
    playlists: u64,
    parts: u64,
    stalls: u64,
    stalled: Duration,
    playlist_after: Vec<Duration>,
    part_after: Vec<Duration>,
    started: Vec<Duration>,
    slices: Vec<u32>,
    pub(super) failures: BTreeMap<String, usize>,
    pub(super) playing: usize,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self { inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder of this lock panics")
    }

    /// A request was answered that is neither of the two below.
    pub(super) fn answered(&self, bytes: usize) {
        self.lock().window.count(bytes);
    }

    /// A blocking request for a playlist up to `at` was answered.
    pub(super) fn playlist(&self, lane: u64, at: (u64, u64), bytes: usize) {
        let now = Instant::now();
        let mut inner = self.lock();
        let after = inner.since_first(lane, at, now);
        let slice = inner.began.map(|began| (now - began).as_micros() / SLICE.as_micros());
        let window = &mut inner.window;
        window.count(bytes);
        window.playlists += 1;
        keep(&mut window.playlist_after, after);
        if let Some(slice) = slice.and_then(|slice| usize::try_from(slice).ok()) {
            if window.slices.len() <= slice {
                window.slices.resize(slice + 1, 0);
            }
            window.slices[slice] += 1;
        }
    }

    /// A part was fetched.
    pub(super) fn part(&self, lane: u64, at: (u64, u64), bytes: usize) {
        let now = Instant::now();
        let mut inner = self.lock();
        let after = inner.since_first(lane, at, now);
        let window = &mut inner.window;
        window.count(bytes);
        window.parts += 1;
        keep(&mut window.part_after, after);
    }

    pub(super) fn stalled(&self, waited: Duration) {
        let window = &mut self.lock().window;
        window.stalls += 1;
        window.stalled += waited;
    }

    /// A lane of a player has as much media as it begins with.
    pub(super) fn plays(&self, player: usize, after: Duration) {
        let mut inner = self.lock();
        if inner.playing.insert(player) {
            inner.window.started.push(after);
        }
        inner.failed.remove(&player);
    }

    pub(super) fn failed_with(&self, player: usize, reason: &str) {
        let mut inner = self.lock();
        inner.playing.remove(&player);
        inner.failed.insert(player);
        *inner.window.failures.entry(reason.to_owned()).or_default() += 1;
    }

    pub(super) fn playing(&self) -> usize {
        self.lock().playing.len()
    }

    pub(super) fn failed(&self) -> usize {
        self.lock().failed.len()
    }

    /// Begins to measure. What befell players that began before stays in: their start is part of the step.
    pub(super) fn begin_window(&self) {
        let mut inner = self.lock();
        let started = std::mem::take(&mut inner.window.started);
        let failures = std::mem::take(&mut inner.window.failures);
        inner.window = Window { started, failures, ..Window::default() };
        inner.began = Some(Instant::now());
    }

    pub(super) fn end_window(&self) -> Window {
        let mut inner = self.lock();
        inner.began = None;
        let playing = inner.playing.len();
        Window { playing, ..std::mem::take(&mut inner.window) }
    }
}

impl Inner {
    fn since_first(&mut self, lane: u64, at: (u64, u64), now: Instant) -> Duration {
        let place = (lane, at);
        if let Some(first) = self.first.get(&place) {
            return now - *first;
        }
        self.first.insert(place, now);
        self.order.push_back(place);
        if self.order.len() > PLACES
            && let Some(oldest) = self.order.pop_front()
        {
            self.first.remove(&oldest);
        }
        Duration::ZERO
    }
}

impl Window {
    fn count(&mut self, bytes: usize) {
        self.requests += 1;
        self.bytes += bytes as u64;
    }

    /// The fullest slices against their mean: the greatest, and the one that 99 % do not exceed.
    fn peaks(&self) -> Option<[f64; 2]> {
        // The last one is not whole.
        let whole =
            self.slices.get(..self.slices.len().saturating_sub(1)).filter(|whole| !whole.is_empty())?;
        let mean = whole.iter().map(|count| f64::from(*count)).sum::<f64>() / whole.len() as f64;
        let mut sorted = whole.to_vec();
        sorted.sort_unstable();
        let rank = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1];
        (mean > 0.0).then(|| [f64::from(rank(100)) / mean, f64::from(rank(99)) / mean])
    }

    pub(super) fn into_report(
        self,
        players: usize,
        hold_s: f64,
        failures: BTreeMap<String, usize>,
        server: Option<HlsServerReport>,
        tool: HlsToolReport,
    ) -> HlsStepReport {
        let peaks = self.peaks();
        HlsStepReport {
            players,
            playing: self.playing,
            failures,
            hold_s,
            interrupted: false,
            started_ms: Spread::of(self.started),
            playlist_after_ms: Spread::of(self.playlist_after),
            part_after_ms: Spread::of(self.part_after),
            requests: self.requests,
            playlists: self.playlists,
            parts: self.parts,
            bytes: self.bytes,
            stalls: self.stalls,
            stalled_s: self.stalled.as_secs_f64(),
            release_peak_over_mean: peaks.map(|peaks| peaks[0]),
            release_p99_over_mean: peaks.map(|peaks| peaks[1]),
            requests_per_s: self.requests as f64 / hold_s,
            mbit_per_s: self.bytes as f64 * 8.0 / 1e6 / hold_s,
            server,
            limits: tool.limits(),
            tool,
        }
    }
}

fn keep(values: &mut Vec<Duration>, value: Duration) {
    if values.len() >= KEPT {
        let mut keep = false;
        values.retain(|_| {
            keep = !keep;
            keep
        });
    }
    values.push(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_player_that_has_a_place_dates_it() {
        let tally = Tally::new();
        tally.begin_window();
        tally.playlist(1, (0, 0), 100);
        tally.part(1, (0, 0), 1000);
        tally.part(1, (0, 1), 1000);
        tally.plays(0, Duration::from_millis(80));
        tally.failed_with(1, "503 Service Unavailable");
        let window = tally.end_window();
        assert_eq!((window.requests, window.bytes, window.playlists, window.parts), (3, 2100, 1, 2));
        assert_eq!(window.playlist_after, [Duration::ZERO]);
        assert!(window.part_after[0] > Duration::ZERO && window.part_after[1] == Duration::ZERO);
        assert_eq!((window.playing, window.failures.len()), (1, 1));
    }

    #[test]
    fn an_even_release_has_a_peak_of_one() {
        let even = Window { slices: vec![10, 10, 10, 10, 3], ..Window::default() };
        assert_eq!(even.peaks(), Some([1.0, 1.0]));
        let burst = Window { slices: vec![0, 0, 0, 40, 3], ..Window::default() };
        assert_eq!(burst.peaks(), Some([4.0, 4.0]));
        assert_eq!(Window::default().peaks(), None);
    }
}
