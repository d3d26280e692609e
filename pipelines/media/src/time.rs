//! Time as types with their unit: no raw integer crosses a module border without one.
//!
//! What belongs here: the three clocks Skywave knows and the arithmetic between them. What does not:
//! reading any clock. Shells read clocks and pass them in.

use serde::{Deserialize, Serialize};
use std::ops::{Add, Sub};
use std::time::Duration;

/// A reading of this machine's monotonic clock (`CLOCK_MONOTONIC`), in nanoseconds.
///
/// All processes of one machine share this clock, so a reading may cross from the server to its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Mono {
    nanos: u64,
}

impl Mono {
    /// The reading with this many nanoseconds on the clock.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self { nanos }
    }

    /// The reading with this many milliseconds on the clock.
    pub const fn from_millis(millis: u64) -> Self {
        Self { nanos: millis * 1_000_000 }
    }

    /// Nanoseconds on the clock.
    pub const fn as_nanos(self) -> u64 {
        self.nanos
    }

    /// Time since `earlier`; zero when `earlier` is later.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }

    /// Signed nanoseconds from `other` to `self`.
    pub const fn nanos_since(self, other: Self) -> i64 {
        self.nanos.wrapping_sub(other.nanos).cast_signed()
    }
}

impl Add<Duration> for Mono {
    type Output = Self;
    fn add(self, d: Duration) -> Self {
        Self { nanos: self.nanos.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)) }
    }
}

impl Sub<Duration> for Mono {
    type Output = Self;
    fn sub(self, d: Duration) -> Self {
        Self { nanos: self.nanos.saturating_sub(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)) }
    }
}

/// A reading of the wall clock: microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct UnixTime {
    micros: i64,
}

impl UnixTime {
    /// The reading with this many microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self { micros }
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.micros
    }
}

/// A point (or span) of media time: `ticks` of a clock that ticks `rate` times a second.
///
/// Zero is the start of the stream's timeline. Negative values are legal (a frame that belongs before the start).
/// Two values compare by the time they mean, whatever their rates.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct MediaTime {
    /// Ticks since the start of the stream's timeline.
    pub ticks: i64,
    /// Ticks per second; never zero.
    pub rate: u32,
}

/// The clock of every video RTP payload Skywave speaks, and of video in CMAF.
pub const VIDEO_RATE: u32 = 90_000;

/// The clock of Opus RTP (RFC 7587 section 4.1) and of the AAC made from it.
pub const AUDIO_RATE: u32 = 48_000;

impl MediaTime {
    /// `ticks` at `rate` ticks a second.
    pub const fn new(ticks: i64, rate: u32) -> Self {
        assert!(rate != 0, "a clock ticks");
        Self { ticks, rate }
    }

    /// `ticks` of the 90 kHz video clock.
    pub const fn from_90k(ticks: i64) -> Self {
        Self::new(ticks, VIDEO_RATE)
    }

    /// `ticks` of the 48 kHz audio clock.
    pub const fn from_48k(ticks: i64) -> Self {
        Self::new(ticks, AUDIO_RATE)
    }

    /// A count of nanoseconds, as time at a rate of 10⁹.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self::new(nanos, 1_000_000_000)
    }

    /// The same time in another rate, rounded to the nearest tick (half away from zero).
    pub const fn rescale(self, rate: u32) -> Self {
        if self.rate == rate {
            return self;
        }
        let n = self.ticks as i128 * rate as i128;
        let d = self.rate as i128;
        let half = if n < 0 { -(d / 2) } else { d / 2 };
        Self::new(((n + half) / d) as i64, rate)
    }

    /// Nanoseconds, rounded to the nearest.
    pub const fn as_nanos(self) -> i64 {
        self.rescale(1_000_000_000).ticks
    }

    /// Seconds, for people and playlists.
    pub fn as_secs_f64(self) -> f64 {
        self.ticks as f64 / f64::from(self.rate)
    }

    /// The span as a `Duration`; zero when negative.
    pub fn as_duration(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.as_nanos()).unwrap_or(0))
    }
}

impl Add for MediaTime {
    type Output = Self;
    /// The sum, in the rate of the left side.
    fn add(self, other: Self) -> Self {
        Self::new(self.ticks + other.rescale(self.rate).ticks, self.rate)
    }
}

impl Sub for MediaTime {
    type Output = Self;
    /// The difference, in the rate of the left side.
    fn sub(self, other: Self) -> Self {
        Self::new(self.ticks - other.rescale(self.rate).ticks, self.rate)
    }
}

impl PartialEq for MediaTime {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for MediaTime {}

impl PartialOrd for MediaTime {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for MediaTime {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let left = i128::from(self.ticks) * i128::from(other.rate);
        let right = i128::from(other.ticks) * i128::from(self.rate);
        left.cmp(&right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rescaling_rounds_to_the_nearest_tick_on_both_sides_of_zero() {
        assert_eq!(MediaTime::from_90k(3003).rescale(48_000).ticks, 1602);
        assert_eq!(MediaTime::new(1, 3).rescale(2).ticks, 1);
        assert_eq!(MediaTime::new(-1, 3).rescale(2).ticks, -1);
        assert_eq!(MediaTime::from_90k(-90_000).as_nanos(), -1_000_000_000);
    }

    #[test]
    fn times_of_different_rates_compare_by_what_they_mean() {
        assert_eq!(MediaTime::from_90k(90_000), MediaTime::from_48k(48_000));
        assert!(MediaTime::from_90k(90_001) > MediaTime::from_48k(48_000));
    }
}
