//! The one clock this crate reads: `CLOCK_MONOTONIC`, as [`Mono`] for what flows and as `Instant` for str0m.

use rustix::time::{ClockId, clock_gettime};
use skywave_media::time::Mono;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// This moment on `CLOCK_MONOTONIC`.
pub fn now() -> Mono {
    let t = clock_gettime(ClockId::Monotonic);
    let secs = u64::try_from(t.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(t.tv_nsec).unwrap_or(0);
    Mono::from_nanos(secs.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// Seconds from the epoch of NTP (1900) to that of Unix (1970); RFC 3550 section 4.
const NTP_TO_UNIX: u64 = 2_208_988_800;

/// A moment of the wall clock as NTP writes it (RFC 5905 section 6): 32.32 fixed point since 1900. The counter of its era, 32 bits of
/// seconds, wraps in 2036. `None` before 1970.
pub(crate) fn ntp(time: SystemTime) -> Option<u64> {
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    let seconds = since.as_secs().checked_add(NTP_TO_UNIX)?;
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    Some((seconds & 0xffff_ffff) << 32 | fraction)
}

/// Ties `Instant` (opaque, but the same clock on Linux) to [`Mono`].
#[derive(Debug, Clone, Copy)]
pub struct ClockPair {
    instant: Instant,
    mono: Mono,
}

impl ClockPair {
    /// Reads both clocks at once. Their difference stays what it is: both are `CLOCK_MONOTONIC`.
    pub fn new() -> Self {
        Self { instant: Instant::now(), mono: now() }
    }

    /// The reading of the monotonic clock at `at`.
    pub fn mono(&self, at: Instant) -> Mono {
        match at.checked_duration_since(self.instant) {
            Some(later) => self.mono + later,
            None => self.mono - self.instant.saturating_duration_since(at),
        }
    }

    /// The `Instant` at `at`.
    pub fn instant(&self, at: Mono) -> Instant {
        let nanos = at.nanos_since(self.mono);
        let span = Duration::from_nanos(nanos.unsigned_abs());
        let moved = if nanos >= 0 { self.instant.checked_add(span) } else { self.instant.checked_sub(span) };
        moved.unwrap_or(self.instant)
    }
}

impl Default for ClockPair {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_survives_the_way_to_the_other_clock_and_back() {
        let pair = ClockPair::new();
        for offset in [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(86_400)] {
            let later = pair.mono + offset;
            assert_eq!(pair.mono(pair.instant(later)), later);
            let earlier = pair.mono - offset.min(Duration::from_millis(5));
            assert_eq!(pair.mono(pair.instant(earlier)), earlier);
        }
    }

    #[test]
    fn a_wall_clock_becomes_an_ntp_timestamp() {
        let noon = UNIX_EPOCH + Duration::new(1_700_000_000, 500_000_000);
        assert_eq!(ntp(noon), Some((3_908_988_800 << 32) | 0x8000_0000));
        assert_eq!(ntp(UNIX_EPOCH - Duration::from_secs(1)), None);
    }

    #[test]
    fn both_clocks_tick_together() {
        let pair = ClockPair::new();
        let before = now();
        let between = pair.mono(Instant::now());
        let after = now();
        // The pair is read in two steps; a preempted thread may put a gap between them.
        let slack = Duration::from_millis(50);
        assert!(between + slack >= before && between <= after + slack, "{before:?} {between:?} {after:?}");
    }
}
