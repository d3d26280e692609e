//! Puts one source's packets back in sequence order, and says where some are missing.
//!
//! What belongs here: sequence numbers (RFC 3550 section 5.1 and appendix A.1). What does not: timestamps, payloads.
//!
//! A packet in order passes at once. A packet behind a hole waits until the hole is filled, until
//! [`ReorderConfig::max_wait`] has passed, or until the buffer is full; then the hole is declared a loss. A new SSRC,
//! or a jump of the sequence numbers that the next packets confirm, is a new beginning.

use crate::packet::Packet;
use crate::time::Mono;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Bounds of a [`Reorder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReorderConfig {
    /// How long a packet waits for those before it. Long enough for one round of NACK and RTX on a bad path.
    pub max_wait: Duration,
    /// How many packets may wait.
    pub max_packets: usize,
    /// How many bytes of payload may wait.
    pub max_bytes: usize,
}

impl Default for ReorderConfig {
    fn default() -> Self {
        // 200 ms holds one NACK round trip over 100 ms of RTT with the sender's 33-50 ms of NACK pacing. 1024 packets
        // and 2 MB are 200 ms at 40-80 Mbit/s: a limit for the hostile, not for the fast.
        Self { max_wait: Duration::from_millis(200), max_packets: 1024, max_bytes: 2 << 20 }
    }
}

/// A forward step of the sequence number beyond this is a jump (`MAX_DROPOUT`, RFC 3550 appendix A.1).
const MAX_DROPOUT: i64 = 3000;

/// So many packets in sequence, with no acceptable one between them, confirm a jump (`MIN_SEQUENTIAL`, RFC 3550
/// appendix A.1).
const CONFIRM_FAR: usize = 2;

/// The same when the sequence numbers go back so little that late retransmissions look alike: a source that starts
/// again is recognised after this many, while retransmissions come among new packets.
const CONFIRM_NEAR: usize = 16;

/// After a change of SSRC, packets of the one before are late and not another change, for this long.
const OLD_SSRC_LINGERS: Duration = Duration::from_secs(1);

/// How many of the newest sequence numbers are remembered, to tell a duplicate from a packet that came too late.
const HISTORY: u64 = 4096;

/// What comes out of a [`Reorder`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reordered {
    /// The next packet in sequence order.
    Packet(Packet),
    /// So many packets before the next one are lost.
    Lost(u64),
    /// The next packet is a new beginning: another SSRC, or sequence numbers that have jumped.
    Restart,
}

/// What a [`Reorder`] has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReorderStats {
    /// Packets declared lost.
    pub lost: u64,
    /// Packets that had already come.
    pub duplicates: u64,
    /// Packets that came after a later one, yet in time.
    pub reordered: u64,
    /// Packets outside the window: after they had been declared lost, from an SSRC that is gone, or far from the
    /// rest. Dropped, unless they turn out to be the first of a new beginning.
    pub late: u64,
    /// New beginnings.
    pub restarts: u64,
}

/// The state of one source. See the module's doc.
#[derive(Debug)]
pub struct Reorder {
    config: ReorderConfig,
    ssrc: Option<u32>,
    old_ssrc: Option<(u32, Mono)>,
    /// The extended sequence number of the next packet to pass on.
    next: u64,
    /// Packets that wait behind a hole, by extended sequence number; all after `next`.
    held: BTreeMap<u64, Packet>,
    held_bytes: usize,
    /// When the hole before the first held packet is given up.
    give_up_at: Option<Mono>,
    /// Packets whose numbers do not fit, in sequence: perhaps a new beginning.
    candidates: Vec<Packet>,
    /// One bit for each of the last [`HISTORY`] numbers before `next`: it came.
    history: Box<[u64; HISTORY as usize / 64]>,
    stats: ReorderStats,
    output: VecDeque<Reordered>,
}

impl Reorder {
    /// A buffer that has seen nothing.
    pub fn new(config: ReorderConfig) -> Self {
        Self {
            config,
            ssrc: None,
            old_ssrc: None,
            next: 0,
            held: BTreeMap::new(),
            held_bytes: 0,
            give_up_at: None,
            candidates: Vec::new(),
            history: Box::new([0; HISTORY as usize / 64]),
            stats: ReorderStats::default(),
            output: VecDeque::new(),
        }
    }

    /// A packet has come; the time is its arrival.
    pub fn handle_packet(&mut self, packet: Packet) {
        let now = packet.arrival;
        self.handle_timeout(now);
        match self.ssrc {
            Some(ssrc) if ssrc == packet.ssrc => {}
            Some(ssrc) => {
                if matches!(self.old_ssrc, Some((old, until)) if old == packet.ssrc && now < until) {
                    self.stats.late += 1;
                    return;
                }
                self.old_ssrc = Some((ssrc, now + OLD_SSRC_LINGERS));
                self.restart(packet);
                return;
            }
            None => {
                self.begin(&packet);
                self.pass(packet);
                return;
            }
        }
        let step = i64::from(packet.sequence.wrapping_sub(self.next as u16).cast_signed());
        if step > MAX_DROPOUT {
            self.stats.late += 1;
            self.suspect(packet, CONFIRM_FAR);
        } else if step >= 0 {
            self.accept(packet, step.unsigned_abs());
        } else {
            self.handle_old(packet, step.unsigned_abs());
        }
    }

    /// Time has passed: a hole that was waited for long enough is given up.
    pub fn handle_timeout(&mut self, now: Mono) {
        while self.give_up_at.is_some_and(|at| at <= now) {
            self.give_up_hole();
        }
    }

    /// The next in order, or `None`.
    pub fn poll_output(&mut self) -> Option<Reordered> {
        self.output.pop_front()
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub const fn poll_timeout(&self) -> Option<Mono> {
        self.give_up_at
    }

    /// What has been seen.
    pub const fn stats(&self) -> ReorderStats {
        self.stats
    }

    /// How many packets wait behind a hole.
    pub fn waiting(&self) -> usize {
        self.held.len()
    }

    /// Starts counting at this packet.
    fn begin(&mut self, packet: &Packet) {
        self.ssrc = Some(packet.ssrc);
        // Far from zero, so that "before the first" is a number too.
        self.next = (1 << 32) | u64::from(packet.sequence);
        self.history.fill(0);
    }

    /// A packet `step` after the expected one.
    fn accept(&mut self, packet: Packet, step: u64) {
        self.candidates.clear();
        if step == 0 {
            if !self.held.is_empty() {
                self.stats.reordered += 1;
            }
            self.pass(packet);
            self.release();
            return;
        }
        let number = self.next + step;
        if self.held.contains_key(&number) {
            self.stats.duplicates += 1;
            return;
        }
        if self.held.last_key_value().is_some_and(|(last, _)| *last > number) {
            self.stats.reordered += 1;
        }
        self.give_up_at.get_or_insert(packet.arrival + self.config.max_wait);
        self.held_bytes += packet.payload.len();
        self.held.insert(number, packet);
        while self.held.len() > self.config.max_packets || self.held_bytes > self.config.max_bytes {
            self.give_up_hole();
        }
    }

    /// A packet `back` before the expected one.
    fn handle_old(&mut self, packet: Packet, back: u64) {
        let number = self.next - back;
        if back <= HISTORY && self.history[history_word(number)] & history_bit(number) != 0 {
            self.stats.duplicates += 1;
        } else {
            self.stats.late += 1;
        }
        let confirm = if back > MAX_DROPOUT.unsigned_abs() { CONFIRM_FAR } else { CONFIRM_NEAR };
        self.suspect(packet, confirm);
    }

    /// A packet whose number does not fit: when `confirm` of them come in sequence, they are a new beginning.
    fn suspect(&mut self, packet: Packet, confirm: usize) {
        let continues =
            self.candidates.last().is_some_and(|last| last.sequence.wrapping_add(1) == packet.sequence);
        if !continues {
            self.candidates.clear();
        }
        self.candidates.push(packet);
        if self.candidates.len() >= confirm {
            let mut row = std::mem::take(&mut self.candidates).into_iter();
            if let Some(first) = row.next() {
                self.restart(first);
            }
            for packet in row {
                self.pass(packet);
            }
        }
    }

    /// Lets go of everything held, then begins anew at `packet`.
    fn restart(&mut self, packet: Packet) {
        self.candidates.clear();
        while !self.held.is_empty() {
            self.give_up_hole();
        }
        self.stats.restarts += 1;
        self.output.push_back(Reordered::Restart);
        self.begin(&packet);
        self.pass(packet);
    }

    /// Passes on the expected packet.
    fn pass(&mut self, packet: Packet) {
        self.history[history_word(self.next)] |= history_bit(self.next);
        self.next += 1;
        self.output.push_back(Reordered::Packet(packet));
    }

    /// Passes on what waits and is now in order.
    fn release(&mut self) {
        while let Some(entry) = self.held.first_entry() {
            if *entry.key() != self.next {
                break;
            }
            let packet = entry.remove();
            self.held_bytes -= packet.payload.len();
            self.pass(packet);
        }
        // The next hole was noticed when the first packet behind it came.
        self.give_up_at =
            self.held.values().map(|packet| packet.arrival).min().map(|at| at + self.config.max_wait);
    }

    /// Declares what is missing before the first held packet lost.
    fn give_up_hole(&mut self) {
        let Some((&first, _)) = self.held.first_key_value() else {
            self.give_up_at = None;
            return;
        };
        let missing = first - self.next;
        for number in (self.next..first).take(HISTORY as usize) {
            self.history[history_word(number)] &= !history_bit(number);
        }
        self.stats.lost += missing;
        self.output.push_back(Reordered::Lost(missing));
        self.next = first;
        self.release();
    }
}

const fn history_word(number: u64) -> usize {
    ((number % HISTORY) / 64) as usize
}

const fn history_bit(number: u64) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests;
