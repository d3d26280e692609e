//! Packets that never came, by the gaps in their sequence numbers.
//!
//! Counted here, where packets come in, and not taken from webrtcbin: 1.22 tells the losses that a jitter buffer has seen, and finds the jitter
//! buffer of a source only when source and buffer came up in the right order. One session in four told no losses at all.

/// Sources told apart; a session has a few, with their retransmissions.
const MAX_SOURCES: usize = 32;

/// A jump of more than this is a new beginning, not a loss (RFC 3550 appendix A.1, `MAX_DROPOUT`).
const MAX_JUMP: u16 = 3000;

/// The counters of a session's sources.
#[derive(Debug, Default)]
pub(super) struct Losses {
    sources: Vec<Source>,
    /// Lost of sources, or parts of them, that are over.
    before: u64,
}

#[derive(Debug)]
struct Source {
    ssrc: u32,
    highest: u16,
    /// Numbers passed since the beginning, the first one included.
    expected: u64,
    received: u64,
}

impl Source {
    const fn new(ssrc: u32, sequence: u16) -> Self {
        Self { ssrc, highest: sequence, expected: 1, received: 1 }
    }

    /// RFC 3550 appendix A.3; what comes twice may not hide what never came for ever, but it does at most that.
    const fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.received)
    }
}

impl Losses {
    /// A packet came, of which these are the first bytes (RFC 3550 section 5.1).
    pub(super) fn handle_packet(&mut self, header: &[u8]) {
        let &[_, _, high, low, _, _, _, _, a, b, c, d, ..] = header else { return };
        let (sequence, ssrc) = (u16::from_be_bytes([high, low]), u32::from_be_bytes([a, b, c, d]));
        let Some(source) = self.sources.iter_mut().find(|source| source.ssrc == ssrc) else {
            if self.sources.len() == MAX_SOURCES {
                self.before += self.sources.remove(0).lost();
            }
            self.sources.push(Source::new(ssrc, sequence));
            return;
        };
        let ahead = sequence.wrapping_sub(source.highest);
        if ahead.min(ahead.wrapping_neg()) > MAX_JUMP {
            self.before += source.lost();
            *source = Source::new(ssrc, sequence);
            return;
        }
        source.received += 1;
        if ahead < 1 << 15 {
            source.expected += u64::from(ahead);
            source.highest = sequence;
        }
    }

    /// Packets lost so far, of all sources.
    pub(super) fn lost(&self) -> u64 {
        self.before + self.sources.iter().map(Source::lost).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(ssrc: u32, sequence: u16) -> Vec<u8> {
        let mut header = vec![0x80, 96];
        header.extend(sequence.to_be_bytes());
        header.extend([0; 4]);
        header.extend(ssrc.to_be_bytes());
        header
    }

    fn after(packets: &[(u32, u16)]) -> u64 {
        let mut losses = Losses::default();
        packets.iter().for_each(|(ssrc, sequence)| losses.handle_packet(&packet(*ssrc, *sequence)));
        losses.lost()
    }

    #[test]
    fn gaps_are_counted_over_the_end_of_the_numbers_and_filled_by_what_comes_late() {
        assert_eq!(after(&[(1, 65_533), (1, 65_534), (1, 1), (1, 2)]), 2);
        assert_eq!(after(&[(1, 65_533), (1, 65_534), (1, 1), (1, 65_535), (1, 0), (1, 2)]), 0);
    }

    #[test]
    fn sources_are_counted_apart_and_a_new_beginning_is_no_loss() {
        assert_eq!(after(&[(1, 10), (2, 500), (1, 12), (2, 503)]), 3);
        assert_eq!(after(&[(1, 10), (1, 12), (1, 40_000), (1, 40_001)]), 1);
    }

    #[test]
    fn sources_without_end_take_no_room_without_end() {
        let mut losses = Losses::default();
        for ssrc in 0..1000 {
            losses.handle_packet(&packet(ssrc, 1));
            losses.handle_packet(&packet(ssrc, 3));
        }
        assert_eq!((losses.lost(), losses.sources.len()), (1000, MAX_SOURCES));
    }

    #[test]
    fn what_is_no_packet_is_nothing() {
        let mut losses = Losses::default();
        losses.handle_packet(&[0x80, 96, 0]);
        assert_eq!(losses.lost(), 0);
    }
}
