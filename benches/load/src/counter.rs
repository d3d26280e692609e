//! What became of the packets of one RTP source, told from sequence numbers alone (RFC 3550 appendix A).
//!
//! Pure: arrival times are inputs. A packet is looked at once, so that counting costs next to nothing.

use std::time::Duration;

/// How far a packet may be late and still count as delivered, in packets. At 1.5 Mbit/s about 6 s.
const WINDOW: u64 = 1024;
/// A greater step ahead is a new beginning, not loss (RFC 3550 appendix A.1, MAX_DROPOUT).
const MAX_DROPOUT: u64 = 3000;
/// The first sequence number is extended by one cycle, so that packets from before it have a number, too.
const FIRST_CYCLE: u64 = 1 << 16;

/// Totals since the source was first heard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Different packets that came.
    pub(crate) delivered: u64,
    /// Sequence numbers passed, delivered or not.
    pub(crate) expected: u64,
    /// Packets that came again.
    pub(crate) duplicates: u64,
    /// Packets that came in later than a newer one, and were still counted as delivered.
    pub(crate) reordered: u64,
}

impl Totals {
    /// Packets that never came.
    pub(crate) const fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.delivered)
    }
}

/// Counts one source.
#[derive(Debug, Clone)]
pub(crate) struct SourceCounter {
    clock_rate_hz: u32,
    base: u64,
    newest: u64,
    /// Which of the last [`WINDOW`] sequence numbers came; a ring of bits.
    seen: [u64; (WINDOW / 64) as usize],
    /// The number after one that was out of reach: if it comes next, the source began anew.
    bad_next: Option<u16>,
    /// Totals of earlier beginnings, and of this one without `expected`.
    past: Totals,
    /// RFC 3550 section 6.4.1: 16 times the jitter, in ticks; and the last transit time.
    jitter_q4: u32,
    transit: Option<u32>,
    /// `expected` and `lost` at the last report.
    reported: (u64, u64),
}

/// The figures of a report block (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reception {
    /// Lost since the last report, in 256ths.
    pub(crate) fraction_lost: u8,
    /// Lost since the first packet.
    pub(crate) cumulative_lost: u32,
    /// Highest sequence number with its cycles.
    pub(crate) highest: u32,
    /// Interarrival jitter in ticks.
    pub(crate) jitter: u32,
}

impl SourceCounter {
    /// A source whose first packet has `sequence`; that packet is counted.
    pub(crate) fn new(sequence: u16, clock_rate_hz: u32) -> Self {
        let mut counter = Self {
            clock_rate_hz,
            base: 0,
            newest: 0,
            seen: [0; (WINDOW / 64) as usize],
            bad_next: None,
            past: Totals::default(),
            jitter_q4: 0,
            transit: None,
            reported: (0, 0),
        };
        counter.begin(sequence);
        counter
    }

    fn begin(&mut self, sequence: u16) {
        self.base = FIRST_CYCLE + u64::from(sequence);
        self.newest = self.base;
        self.seen = [0; (WINDOW / 64) as usize];
        self.mark(self.newest);
        self.past.delivered += 1;
    }

    fn mark(&mut self, extended: u64) -> bool {
        let bit = extended % WINDOW;
        let word = &mut self.seen[(bit / 64) as usize];
        let before = *word;
        *word |= 1 << (bit % 64);
        before == *word
    }

    /// Counts a packet. Gives its extended sequence number, whose upper part is the rollover counter of SRTP plus one;
    /// `None` for one that is not counted because it is out of reach.
    pub(crate) fn handle_packet(&mut self, sequence: u16) -> Option<u64> {
        let ahead = sequence.wrapping_sub(self.newest as u16);
        if ahead != 0 && ahead < 0x8000 {
            let ahead = u64::from(ahead);
            if ahead > MAX_DROPOUT {
                return self.handle_jump(sequence);
            }
            for skipped in self.newest + 1..=self.newest + ahead {
                let bit = skipped % WINDOW;
                self.seen[(bit / 64) as usize] &= !(1 << (bit % 64));
            }
            self.newest += ahead;
            self.mark(self.newest);
            self.past.delivered += 1;
            self.bad_next = None;
            return Some(self.newest);
        }
        let behind = u64::from((self.newest as u16).wrapping_sub(sequence));
        if behind >= WINDOW {
            return self.handle_jump(sequence);
        }
        let extended = self.newest - behind;
        if self.mark(extended) {
            self.past.duplicates += 1;
        } else {
            self.past.delivered += 1;
            self.past.reordered += 1;
            self.base = self.base.min(extended);
        }
        Some(extended)
    }

    fn handle_jump(&mut self, sequence: u16) -> Option<u64> {
        if self.bad_next != Some(sequence) {
            self.bad_next = Some(sequence.wrapping_add(1));
            return None;
        }
        self.past.expected += self.newest - self.base + 1;
        self.begin(sequence.wrapping_sub(1));
        self.bad_next = None;
        self.handle_packet(sequence)
    }

    /// Notes when a packet of `timestamp` came, `arrival` after any fixed moment.
    pub(crate) fn handle_arrival(&mut self, timestamp: u32, arrival: Duration) {
        let ticks = arrival.as_micros() * u128::from(self.clock_rate_hz) / 1_000_000;
        let transit = (ticks as u32).wrapping_sub(timestamp);
        if let Some(last) = self.transit.replace(transit) {
            // RFC 3550 appendix A.8.
            let difference = (transit.wrapping_sub(last) as i32).unsigned_abs();
            self.jitter_q4 = self
                .jitter_q4
                .saturating_add(difference)
                .saturating_sub(self.jitter_q4.saturating_add(8) >> 4);
        }
    }

    /// What was counted so far.
    pub(crate) const fn totals(&self) -> Totals {
        Totals { expected: self.past.expected + self.newest - self.base + 1, ..self.past }
    }

    /// The figures for a report; the next one speaks of what comes after this.
    pub(crate) fn report(&mut self) -> Reception {
        let totals = self.totals();
        let (expected, lost) = (totals.expected, totals.lost());
        let expected_interval = expected - self.reported.0.min(expected);
        let lost_interval = lost.saturating_sub(self.reported.1);
        self.reported = (expected, lost);
        let fraction = (lost_interval * 256).checked_div(expected_interval).unwrap_or(0);
        Reception {
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            // A signed field of 24 bits.
            cumulative_lost: u32::try_from(lost).unwrap_or(u32::MAX).min(0x7f_ffff),
            highest: (self.newest - FIRST_CYCLE) as u32,
            jitter: self.jitter_q4 >> 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(sequences: impl IntoIterator<Item = u16>) -> Totals {
        let mut sequences = sequences.into_iter();
        let mut counter = SourceCounter::new(sequences.next().unwrap(), 90_000);
        for sequence in sequences {
            counter.handle_packet(sequence);
        }
        counter.totals()
    }

    #[test]
    fn gaps_are_lost_over_the_wrap_too() {
        let all = (0..5000_u32).map(|n| (65_000 + n) as u16);
        assert_eq!(count(all.clone()), Totals { delivered: 5000, expected: 5000, ..Totals::default() });
        let some = all.enumerate().filter(|(n, _)| n % 50 != 7).map(|(_, s)| s);
        let totals = count(some);
        assert_eq!((totals.delivered, totals.expected, totals.lost()), (4900, 5000, 100));
    }

    #[test]
    fn late_packets_heal_a_gap_and_repeated_ones_are_told_apart() {
        let totals = count([10, 12, 13, 11, 13, 9, 14]);
        assert_eq!(totals, Totals { delivered: 6, expected: 6, duplicates: 1, reordered: 2 });
    }

    #[test]
    fn a_jump_is_a_new_beginning_only_when_it_goes_on() {
        let totals = count([100, 101, 40_000, 102, 103]);
        assert_eq!((totals.delivered, totals.lost()), (4, 0));
        let totals = count([100, 101, 40_000, 40_001, 40_002]);
        assert_eq!((totals.delivered, totals.lost()), (5, 0));
        let totals = count([30_000, 30_001, 100, 101, 103]);
        assert_eq!((totals.delivered, totals.lost()), (5, 1));
    }

    #[test]
    fn a_report_speaks_of_its_interval_and_of_all() {
        let mut counter = SourceCounter::new(65_535, 90_000);
        for sequence in [0, 1, 3] {
            counter.handle_packet(sequence);
        }
        let first = counter.report();
        assert_eq!((first.fraction_lost, first.cumulative_lost), (51, 1));
        assert_eq!(first.highest, (1 << 16) + 3);
        counter.handle_packet(4);
        let second = counter.report();
        assert_eq!((second.fraction_lost, second.cumulative_lost), (0, 1));
    }

    #[test]
    fn jitter_is_that_of_the_rfc() {
        let mut counter = SourceCounter::new(0, 90_000);
        for n in 0..1000_u32 {
            counter.handle_packet(n as u16);
            // Every other packet is 10 ms late: 900 ticks.
            let arrival = Duration::from_millis(u64::from(n) * 20 + u64::from(n % 2) * 10);
            counter.handle_arrival(n * 1800, arrival);
        }
        let jitter = counter.report().jitter;
        assert!((880..=900).contains(&jitter), "{jitter}");
    }
}
