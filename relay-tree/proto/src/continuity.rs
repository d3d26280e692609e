//! One continuous RTP stream for a viewer out of sources that come, go and replace one another.
//!
//! A viewer's lane has one SSRC for its whole life, while what feeds it changes: the publisher reconnects, another
//! simulcast layer is chosen, frames are left out until a keyframe. Receivers take a jump of the sequence number for
//! loss, one of the timestamp for a pause, and one of a picture id for missing references; so all three go on here as if nothing
//! had happened. Gaps and reordering *within* a source stay visible: they are real, and the viewer asks for what is missing.
//!
//! The mapping of a source is a few constants, fixed by [`LaneRewriter::switch`]. What went out can therefore be computed
//! again for a retransmission ([`LaneRewriter::original`], [`LaneRewriter::repeat`]) and is stored nowhere.
//!
//! **One index never has two contents**, whatever a publisher sends: a packet that is sent again without RTX is protected under
//! the nonce it had, and AES-GCM does not survive another text under the same nonce (RFC 7714 section 9.1).

use crate::inspect::PictureFields;
use skywave_media::time::Mono;

/// Names a source of RTP packets; unique within its broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u32);

/// What is to be known of a packet that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InPacket {
    /// Where it comes from.
    pub source: SourceId,
    /// Its sequence number, extended so that it never wraps. One per packet of the source; packets may come out of order.
    pub seq: u64,
    /// Its RTP timestamp, in ticks of the lane's clock.
    pub timestamp: u32,
    /// When it reached this machine.
    pub arrival: Mono,
    /// Its picture numbers.
    pub picture: Option<PictureFields>,
}

/// What is to be written over the packet's header and payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutPacket {
    /// The extended sequence number, roll-over counter included: the packet index of SRTP (RFC 3711 section 3.3.1).
    pub index: u64,
    /// The RTP timestamp.
    pub timestamp: u32,
    /// The picture id, where the payload has one, of the same width.
    pub picture_id: Option<u16>,
    /// `TL0PICIDX`, where the payload has one.
    pub tl0: Option<u8>,
}

impl OutPacket {
    /// The sequence number of the RTP header.
    pub const fn seq(&self) -> u16 {
        self.index as u16
    }

    /// Writes the picture numbers into a copy of the payload that `fields` were read from.
    pub fn write_picture(&self, fields: PictureFields, payload: &mut [u8]) {
        if let (Some(field), Some(id)) = (fields.picture_id, self.picture_id) {
            field.write(payload, id);
        }
        if let (Some(field), Some(tl0)) = (fields.tl0, self.tl0) {
            field.write(payload, u16::from(tl0));
        }
    }
}

/// A jump of so many sequence numbers cannot be told from an old packet by who receives it (RFC 3711 section 3.3.1).
const MAX_JUMP: u64 = 1 << 15;

/// Cached frames lie this many times closer together than they were sent: two and a half seconds of past pass in 78 ms, and
/// frames of 120 Hz are still 23 ticks apart.
const SQUEEZE: u32 = 32;

/// The longest pause that timestamps tell, in ticks: over three hours of video. More would look like a step back.
const MAX_PAUSE_TICKS: u32 = 1 << 30;

/// One viewer's lane. See the module's doc.
#[derive(Debug, Clone)]
pub struct LaneRewriter {
    clock_rate: u32,
    first_timestamp: u32,
    /// The index for the next packet in order.
    next_index: u64,
    current: Option<Mapping>,
    /// The one before, for retransmissions only.
    previous: Option<Mapping>,
    newest: Option<NewestFrame>,
    /// Picture numbers of the packet with the highest index that had any.
    picture_id: Option<u16>,
    tl0: Option<u8>,
}

/// The newest frame that went out.
#[derive(Debug, Clone, Copy)]
struct NewestFrame {
    /// As it went out.
    timestamp: u32,
    /// When its first packet came in.
    arrival: Mono,
}

/// What a source's numbers become.
#[derive(Debug, Clone, Copy)]
struct Mapping {
    source: SourceId,
    /// The first sequence number that is let through.
    first_seq: u64,
    first_index: u64,
    /// Added to the source's timestamps, modulo 2^32.
    timestamp_offset: u32,
    squeeze: Option<Squeeze>,
    /// Added to the source's picture ids, modulo their width; fixed by the first packet that has one.
    picture_id_offset: Option<u16>,
    tl0_offset: Option<u8>,
}

/// Frames of the cache are squeezed towards the live one.
#[derive(Debug, Clone, Copy)]
struct Squeeze {
    /// Of the source: frames before this one come from the cache.
    live_timestamp: u32,
    /// From this index on nothing is squeezed, whatever its timestamp.
    until: u64,
}

impl Mapping {
    fn index(&self, seq: u64) -> Option<u64> {
        self.first_index.checked_add(seq.checked_sub(self.first_seq)?)
    }

    const fn timestamp(&self, timestamp: u32, index: u64) -> u32 {
        let natural = timestamp.wrapping_add(self.timestamp_offset);
        match self.squeeze {
            Some(Squeeze { live_timestamp: live, until }) if index < until && is_before(timestamp, live) => {
                natural.wrapping_add(squeezed_away(timestamp, live))
            }
            _ => natural,
        }
    }

    fn output(&self, packet: &InPacket, index: u64) -> OutPacket {
        let fields = packet.picture.unwrap_or_default();
        let picture_id = fields.picture_id.zip(self.picture_id_offset);
        let tl0 = fields.tl0.zip(self.tl0_offset);
        OutPacket {
            index,
            timestamp: self.timestamp(packet.timestamp, index),
            picture_id: picture_id.map(|(field, offset)| field.value.wrapping_add(offset) & field.mask()),
            tl0: tl0.map(|(field, offset)| (field.value as u8).wrapping_add(offset)),
        }
    }
}

/// Whether a timestamp is older than another, modulo 2^32.
const fn is_before(timestamp: u32, other: u32) -> bool {
    timestamp.wrapping_sub(other).cast_signed() < 0
}

/// How much later than by its own timestamp a cached frame is shown, in ticks.
const fn squeezed_away(timestamp: u32, live: u32) -> u32 {
    let behind = live.wrapping_sub(timestamp);
    behind - behind / SQUEEZE
}

impl LaneRewriter {
    /// A lane whose first packet gets the sequence number `first_seq` and whose first live frame the timestamp
    /// `first_timestamp`; both should be random (RFC 3550 section 5.1). `first_seq` should be below 2^15, so that the loss of
    /// the first packets cannot hide the first roll-over from an SRTP receiver. `clock_rate` is in Hz.
    pub const fn new(first_seq: u16, first_timestamp: u32, clock_rate: u32) -> Self {
        Self {
            clock_rate,
            first_timestamp,
            next_index: first_seq as u64,
            current: None,
            previous: None,
            newest: None,
            picture_id: None,
            tl0: None,
        }
    }

    /// What follows comes from another source, or from the same one after packets were left out on purpose.
    ///
    /// `first` goes next in order, whether it is rewritten next or a later one comes in before it. Older packets of its
    /// source are refused from now on, and so is every other source. The timestamp goes on by the time that passed between
    /// the arrivals of the newest frame that was accepted and of `first`, and by one millisecond at least.
    pub const fn switch(&mut self, first: &InPacket) {
        let timestamp = match self.newest {
            Some(newest) => newest.timestamp.wrapping_add(self.pause(newest.arrival, first.arrival)),
            None => self.first_timestamp,
        };
        self.begin(first, timestamp.wrapping_sub(first.timestamp), None);
    }

    /// Like [`Self::switch`], for a viewer that begins with cached packets: `first` is the first packet of the cached
    /// keyframe, `live_timestamp` the timestamp of the source's newest frame. Timestamps of cached frames are squeezed towards
    /// that frame, 32 to 1, so that a player does not play the past in real time; from the newest frame on they have
    /// their natural distances. All of them are given to [`Self::rewrite`] as usual.
    pub const fn start_compressed(&mut self, first: &InPacket, live_timestamp: u32) {
        if !is_before(first.timestamp, live_timestamp) {
            self.switch(first);
            return;
        }
        let behind = live_timestamp.wrapping_sub(first.timestamp);
        let live = match self.newest {
            Some(newest) => {
                // By the source's own clock, the live frame came so much later than the cached one.
                let arrival = first.arrival.as_nanos() as u128 + self.nanos(behind);
                let arrival =
                    Mono::from_nanos(if arrival > u64::MAX as u128 { u64::MAX } else { arrival as u64 });
                let pause = self.pause(newest.arrival, arrival);
                let least = behind / SQUEEZE + self.least_step();
                newest.timestamp.wrapping_add(if pause < least { least } else { pause })
            }
            None => self.first_timestamp,
        };
        self.begin(
            first,
            live.wrapping_sub(live_timestamp),
            Some(Squeeze { live_timestamp, until: u64::MAX }),
        );
    }

    /// What goes out for a packet; `None` when it is to be dropped: it is older than the switch to its source, belongs to
    /// another source, or is too old for the receiver to tell it from a new one.
    ///
    /// A packet that is 2^15 or more ahead of all that went out, which no receiver could follow, is taken as a
    /// [`Self::switch`] to it.
    pub fn rewrite(&mut self, packet: &InPacket) -> Option<OutPacket> {
        let mut index = self.current.filter(|m| m.source == packet.source)?.index(packet.seq)?;
        if index.saturating_add(1) >= self.next_index.saturating_add(MAX_JUMP) {
            self.switch(packet);
            index = self.next_index;
        }
        if index.saturating_add(MAX_JUMP) < self.next_index {
            return None;
        }
        let mapping = self.current.as_mut()?;
        if let Some(fields) = packet.picture {
            if let (Some(field), None) = (fields.picture_id, mapping.picture_id_offset) {
                let next = self.picture_id.map_or(field.value, |id| id.wrapping_add(1));
                mapping.picture_id_offset = Some(next.wrapping_sub(field.value));
            }
            if let (Some(field), None) = (fields.tl0, mapping.tl0_offset) {
                let value = field.value as u8;
                let next = self.tl0.map_or(value, |tl0| tl0.wrapping_add(1));
                mapping.tl0_offset = Some(next.wrapping_sub(value));
            }
        }
        // Half the circle later, frames of today would look like cached ones. What has gone out stays as it was.
        if let Some(squeeze) = &mut mapping.squeeze
            && packet.timestamp.wrapping_sub(squeeze.live_timestamp) >> 30 == 1
        {
            squeeze.until = squeeze.until.min(index.max(self.next_index));
        }
        let output = mapping.output(packet, index);
        if index >= self.next_index {
            self.next_index = index + 1;
            self.picture_id = output.picture_id.or(self.picture_id);
            self.tl0 = output.tl0.or(self.tl0);
        }
        if self.newest.is_none_or(|newest| is_before(newest.timestamp, output.timestamp)) {
            self.newest = Some(NewestFrame { timestamp: output.timestamp, arrival: packet.arrival });
        }
        Some(output)
    }

    /// The source and its sequence number that went out as `seq`, or would have, had it not been lost on its way here; `None`
    /// when it is in the future or belongs to no source still remembered (the current one and the one before).
    pub fn original(&self, seq: u16) -> Option<(SourceId, u64)> {
        let newest = self.next_index.checked_sub(1)?;
        let behind = (newest as u16).wrapping_sub(seq);
        if u64::from(behind) >= MAX_JUMP {
            return None;
        }
        let index = newest.checked_sub(u64::from(behind))?;
        let mapping = [self.current, self.previous].into_iter().flatten().find(|m| index >= m.first_index)?;
        Some((mapping.source, mapping.first_seq.checked_add(index - mapping.first_index)?))
    }

    /// What went out for a packet, to send it again; `seq` is the number under which the viewer misses it, and `packet` the
    /// one that [`Self::original`] named for it. `None` when they do not belong together.
    pub fn repeat(&self, seq: u16, packet: &InPacket) -> Option<OutPacket> {
        if self.original(seq)? != (packet.source, packet.seq) {
            return None;
        }
        let newest = self.next_index.checked_sub(1)?;
        let index = newest - u64::from((newest as u16).wrapping_sub(seq));
        let mapping = [self.current, self.previous].into_iter().flatten().find(|m| index >= m.first_index)?;
        let fields = packet.picture.unwrap_or_default();
        // A late packet may be the first to have picture numbers; what they become is not known before it is rewritten.
        let known = (fields.picture_id.is_none() || mapping.picture_id_offset.is_some())
            && (fields.tl0.is_none() || mapping.tl0_offset.is_some());
        known.then(|| mapping.output(packet, index))
    }

    /// What a live timestamp of the current source is in the lane, for sender reports; `None` before the first source.
    pub fn timestamp_of(&self, timestamp: u32) -> Option<u32> {
        self.current.map(|mapping| timestamp.wrapping_add(mapping.timestamp_offset))
    }

    /// The source that feeds the lane.
    pub fn source(&self) -> Option<SourceId> {
        self.current.map(|mapping| mapping.source)
    }

    /// The timestamp of the newest frame that went out.
    pub fn last_timestamp(&self) -> Option<u32> {
        self.newest.map(|newest| newest.timestamp)
    }

    /// The sequence number of the newest packet that went out.
    pub fn last_seq(&self) -> Option<u16> {
        self.newest.map(|_| self.next_index.wrapping_sub(1) as u16)
    }

    const fn begin(&mut self, first: &InPacket, timestamp_offset: u32, squeeze: Option<Squeeze>) {
        if let Some(current) = self.current
            && current.first_index < self.next_index
        {
            self.previous = Some(current);
        }
        self.current = Some(Mapping {
            source: first.source,
            first_seq: first.seq,
            first_index: self.next_index,
            timestamp_offset,
            squeeze,
            picture_id_offset: None,
            tl0_offset: None,
        });
    }

    /// Ticks of the pause from `before` to `after`.
    const fn pause(&self, before: Mono, after: Mono) -> u32 {
        let nanos = after.as_nanos().saturating_sub(before.as_nanos()) as u128;
        let ticks = nanos * self.clock_rate as u128 / 1_000_000_000;
        let ticks = if ticks > MAX_PAUSE_TICKS as u128 { MAX_PAUSE_TICKS } else { ticks as u32 };
        let least = self.least_step();
        if ticks < least { least } else { ticks }
    }

    /// Frames of different sources are a millisecond apart at least.
    const fn least_step(&self) -> u32 {
        let ticks = self.clock_rate / 1_000;
        if ticks == 0 { 1 } else { ticks }
    }

    const fn nanos(&self, ticks: u32) -> u128 {
        let rate = if self.clock_rate == 0 { 1 } else { self.clock_rate };
        ticks as u128 * 1_000_000_000 / rate as u128
    }
}

#[cfg(test)]
mod tests;
