//! Transport-wide congestion control, the receiver's half: which packets came, and when
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1).

use std::time::Duration;

/// Unit of the reference time.
const REFERENCE: Duration = Duration::from_millis(64);
/// Unit of the deltas, in microseconds.
const DELTA_US: i64 = 250;
/// Statuses in a vector chunk of two bits each.
const PER_CHUNK: usize = 7;
/// A report speaks of at most so many numbers: a jump is a new beginning, not a long list of losses.
const MAX_SPAN: u16 = 2000;

/// Notes arrivals and writes them down when asked.
#[derive(Debug, Default)]
pub(crate) struct ArrivalLog {
    /// Sequence number and arrival after a fixed moment, in order of arrival.
    arrivals: Vec<(u16, Duration)>,
    /// The number after the newest reported: what is missing in between is told as lost.
    next: Option<u16>,
    reports: u8,
}

impl ArrivalLog {
    /// Notes a packet.
    pub(crate) fn handle_arrival(&mut self, sequence: u16, at: Duration) {
        self.arrivals.push((sequence, at));
    }

    /// The report's content behind the media SSRC; `None` when nothing came.
    pub(crate) fn report(&mut self) -> Option<Vec<u8>> {
        let first = self.arrivals.first()?.0;
        // The last to come may be a late one: half the circle is "before".
        let later = |newest: u16, sequence: u16| {
            if sequence.wrapping_sub(newest) < 0x8000 { sequence } else { newest }
        };
        let newest = self.arrivals.iter().fold(first, |newest, (sequence, _)| later(newest, *sequence));
        let behind = |sequence: u16| newest.wrapping_sub(sequence);
        let mut packets: Vec<_> =
            self.arrivals.drain(..).filter(|(sequence, _)| behind(*sequence) <= MAX_SPAN).collect();
        packets.sort_by_key(|(sequence, _)| std::cmp::Reverse(behind(*sequence)));
        packets.dedup_by_key(|(sequence, _)| *sequence);
        let oldest = packets.first()?.0;
        let base = self.next.filter(|next| behind(*next) <= MAX_SPAN && behind(*next) > behind(oldest));
        let base = base.unwrap_or(oldest);
        self.next = Some(newest.wrapping_add(1));

        let reference = (packets.first()?.1.as_millis() / REFERENCE.as_millis()) as u32;
        let mut clock_us = i64::from(reference) * REFERENCE.as_micros() as i64;
        let mut statuses = vec![0_u8; usize::from(newest.wrapping_sub(base)) + 1];
        let mut deltas = Vec::new();
        for (sequence, at) in packets {
            let delta = (at.as_micros() as i64 - clock_us) / DELTA_US;
            let Ok(large) = i16::try_from(delta) else { continue };
            clock_us += delta * DELTA_US;
            let status = &mut statuses[usize::from(sequence.wrapping_sub(base))];
            if let Ok(small) = u8::try_from(delta) {
                *status = 1;
                deltas.push(small);
            } else {
                *status = 2;
                deltas.extend(large.to_be_bytes());
            }
        }
        let mut content = base.to_be_bytes().to_vec();
        content.extend((statuses.len() as u16).to_be_bytes());
        content.extend((reference << 8 | u32::from(self.reports)).to_be_bytes());
        self.reports = self.reports.wrapping_add(1);
        for chunk in statuses.chunks(PER_CHUNK) {
            // A status vector chunk with symbols of two bits (section 3.1.4).
            let symbols = chunk.iter().enumerate();
            let bits =
                symbols.fold(0xc000_u16, |bits, (n, status)| bits | u16::from(*status) << (12 - 2 * n));
            content.extend(bits.to_be_bytes());
        }
        content.extend(deltas);
        content.resize(content.len().next_multiple_of(4), 0);
        Some(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_and_gaps_are_told_in_order() {
        let mut log = ArrivalLog::default();
        assert_eq!(log.report(), None);
        let ms = Duration::from_millis;
        log.handle_arrival(65_535, ms(130));
        log.handle_arrival(1, ms(131));
        log.handle_arrival(0, ms(132));
        log.handle_arrival(2, ms(300));
        let report = log.report().unwrap();
        // Base 65535, 4 statuses, reference 2 (128 ms), report 0; 0 came after 1, so its successor has a negative delta.
        assert_eq!(report[..8], [0xff, 0xff, 0, 4, 0, 0, 2, 0]);
        assert_eq!(report[8..10], (0xc000_u16 | 1 << 12 | 1 << 10 | 2 << 8 | 2 << 6).to_be_bytes());
        assert_eq!(report[10..], [8, 8, 0xff, 0xfc, 2, 164]);
        // 3 is lost: the next report begins with it.
        log.handle_arrival(4, ms(320));
        let report = log.report().unwrap();
        assert_eq!(report[..8], [0, 3, 0, 2, 0, 0, 5, 1]);
        assert_eq!(report[8..10], (0xc000_u16 | 1 << 10).to_be_bytes());
    }

    #[test]
    fn a_jump_begins_anew() {
        let mut log = ArrivalLog::default();
        log.handle_arrival(10, Duration::ZERO);
        log.report().unwrap();
        log.handle_arrival(40_000, Duration::ZERO);
        assert_eq!(log.report().unwrap()[..4], [0x9c, 0x40, 0, 1]);
    }
}
