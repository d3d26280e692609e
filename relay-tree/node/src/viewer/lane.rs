//! One lane of a viewer: which source it shows, where it is in that source's history, and what its packets are numbered.

use crate::answer::Source;
use crate::egress::{Egress, Extensions, Outbound};
use crate::feed::{FeedPacket, FeedSource, Sources};
use crate::offer::OfferedTrack;
use crate::rtcp::SenderInfo;
use crate::socket::Path;
use crate::srtp::RtpSealer;
use crate::wire::Wire;
use relay_proto::continuity::{LaneRewriter, SourceId};
use skywave_media::codec::{Codec, TrackKind};
use skywave_media::time::Mono;
use str0m::rtp::Extension;

/// Cached packets sent in one turn to a viewer that catches up: twice the rate of a 10 Mbit/s stream, and no burst that a queue on
/// the way would drop.
const CATCH_UP: usize = 96;

/// A lane and everything about it.
pub(crate) struct Lane {
    pub(crate) kind: TrackKind,
    pub(crate) ssrc: u32,
    rtx: Option<u32>,
    mid: String,
    mid_extension: Option<u8>,
    time_extension: Option<u8>,
    /// Codec, payload type, and that of its retransmissions.
    payloads: Vec<(Codec, u8, Option<u8>)>,
    /// The viewer asks for lost packets, but has no RTX: they are sent again as they were, so every octet must be the same.
    repeats: bool,
    rewriter: LaneRewriter,
    /// What it shows.
    current: Option<Showing>,
    /// What it is to show from that source's next keyframe on.
    wanted: Option<SourceId>,
    pub(crate) muted: bool,
    /// Pictures are being left out, because the viewer cannot follow; what comes next is a keyframe.
    skipping: bool,
    /// The viewer has reported on this lane, so it knows it by its SSRC.
    known: bool,
    rtx_index: u64,
    pub(crate) packets: u64,
    pub(crate) retransmitted: u64,
    bytes: u64,
}

/// A lane's place in a source.
#[derive(Debug, Clone, Copy)]
struct Showing {
    source: SourceId,
    codec: Codec,
    /// Sequence number of the next packet from the history; `None` once the lane lives off what arrives.
    cursor: Option<u64>,
}

/// What sending needs, lent for one turn.
pub(crate) struct Sending<'a> {
    pub(crate) egress: &'a mut Egress,
    pub(crate) wire: &'a mut Wire,
    pub(crate) sealer: &'a RtpSealer,
    pub(crate) path: Path,
    /// 24 bits of seconds, 6.18 fixed point.
    pub(crate) send_time: u32,
    /// Packets may be padded: they leave in runs, whose packets have one length.
    pub(crate) in_runs: bool,
}

impl Lane {
    pub(crate) fn new(offered: &OfferedTrack, source: Source) -> Self {
        let extension = |meaning| offered.extensions.iter().find(|e| e.meaning == meaning).map(|e| e.id);
        let nack = offered.payloads.iter().any(|p| p.feedback.nack);
        let repeats = nack && source.rtx.is_none();
        Self {
            kind: offered.kind,
            ssrc: source.ssrc,
            rtx: source.rtx,
            mid: offered.mid.clone(),
            mid_extension: extension(Extension::RtpMid).filter(|_| !repeats && !offered.mid.is_empty()),
            time_extension: extension(Extension::AbsoluteSendTime).filter(|_| !repeats),
            payloads: offered.payloads.iter().map(|p| (p.codec, p.payload_type, p.rtx)).collect(),
            repeats,
            // RFC 3550 section 5.1: both begin anywhere; RFC 3711 section 3.3.1 wants room before the first wrap.
            rewriter: LaneRewriter::new(
                rand::random::<u16>() >> 1,
                rand::random(),
                offered.kind_clock_rate(),
            ),
            current: None,
            wanted: None,
            muted: false,
            skipping: false,
            known: false,
            rtx_index: u64::from(rand::random::<u16>() >> 1),
            packets: 0,
            retransmitted: 0,
            bytes: 0,
        }
    }

    /// Whether it can carry this codec.
    pub(crate) fn takes(&self, codec: Codec) -> bool {
        self.payloads.iter().any(|(c, _, _)| *c == codec)
    }

    /// The source it shows.
    pub(crate) fn shows(&self) -> Option<SourceId> {
        self.current.map(|c| c.source)
    }

    /// The source it is to show.
    pub(crate) const fn wanted(&self) -> Option<SourceId> {
        self.wanted
    }

    /// The codec it shows.
    pub(crate) fn codec(&self) -> Option<Codec> {
        self.current.map(|c| c.codec)
    }

    /// Bytes of payloads sent.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Shows `source` as soon as it can: at once from the history, or from the next keyframe on. True when a keyframe has to be
    /// asked for.
    pub(crate) fn want(&mut self, source: &FeedSource, sources: &Sources, now: Mono) -> bool {
        let id = source.info.id;
        self.wanted = Some(id);
        if self.muted || self.shows() == Some(id) {
            return false;
        }
        // A layer that is being shown goes on until the other one's keyframe comes: no gap, nothing shown twice.
        let goes_on = self.shows().is_some_and(|shown| sources.get(shown).is_some());
        match self.kind {
            TrackKind::Audio => false,
            TrackKind::Video => goes_on || !self.begin(source, now),
        }
    }

    /// Begins with the newest keyframe of the history; false when there is none.
    fn begin(&mut self, source: &FeedSource, now: Mono) -> bool {
        let Some(start) = source.start(now) else { return false };
        let Some(first) = source.get(start.first) else { return false };
        self.rewriter.start_compressed(&first.input(), start.live_timestamp);
        self.current = Some(Showing { source: first.source, codec: first.codec, cursor: Some(start.first) });
        self.skipping = false;
        true
    }

    /// Stops showing anything; the next thing it shows begins anew.
    pub(crate) const fn stop(&mut self) {
        self.current = None;
    }

    /// Neither shows nor waits for `source` any more: viewers must not be sent it.
    pub(crate) fn refuse(&mut self, source: SourceId) {
        if self.shows() == Some(source) {
            self.stop();
        }
        if self.wanted == Some(source) {
            self.wanted = None;
        }
    }

    /// A packet has arrived at this thread; the lane sends it if it is its turn. `follows`: the viewer can follow.
    pub(crate) fn handle_packet(&mut self, packet: &FeedPacket, follows: bool, sending: &mut Sending<'_>) {
        if self.muted {
            return;
        }
        if !follows {
            self.skipping = true;
            if let Some(showing) = &mut self.current {
                showing.cursor = None;
            }
            return;
        }
        if self.shows() != Some(packet.source) {
            if self.wanted != Some(packet.source)
                || !(packet.keyframe || self.kind == TrackKind::Audio)
                || !self.takes(packet.codec)
            {
                return;
            }
            self.switch_to(packet);
        }
        if self.skipping {
            if !packet.keyframe {
                return;
            }
            self.skipping = false;
            self.switch_to(packet);
        }
        // What the cursor has yet to reach goes out in its turn.
        let Some(showing) = self.current else { return };
        if showing.cursor.is_some_and(|cursor| packet.seq >= cursor) {
            return;
        }
        self.send(packet, sending);
    }

    fn switch_to(&mut self, packet: &FeedPacket) {
        self.rewriter.switch(&packet.input());
        self.current = Some(Showing { source: packet.source, codec: packet.codec, cursor: None });
    }

    /// Sends the next packets of the history, if the lane is still behind.
    pub(crate) fn catch_up(&mut self, sources: &Sources, sending: &mut Sending<'_>) {
        let Some(showing) = self.current else { return };
        let Some(mut cursor) = showing.cursor else { return };
        let Some(source) = sources.get(showing.source) else { return };
        let newest = source.newest().unwrap_or(cursor);
        let mut left = CATCH_UP;
        while cursor <= newest && left > 0 {
            if let Some(packet) = source.get(cursor) {
                self.send(packet, sending);
                left -= 1;
            }
            cursor += 1;
        }
        if let Some(showing) = &mut self.current {
            showing.cursor = (cursor <= newest).then_some(cursor);
        }
    }

    /// Whether cached packets still wait.
    pub(crate) fn is_behind(&self) -> bool {
        self.current.is_some_and(|c| c.cursor.is_some())
    }

    fn send(&mut self, packet: &FeedPacket, sending: &mut Sending<'_>) {
        let Some((payload_type, _)) = self.payload_type(packet.codec) else { return };
        let Some(out) = self.rewriter.rewrite(&packet.input()) else { return };
        let outbound = Outbound {
            payload_type,
            marker: packet.marker,
            index: out.index,
            timestamp: out.timestamp,
            ssrc: self.ssrc,
            extensions: self.extensions(sending.send_time),
            prefix: &[],
            payload: &packet.payload,
            // What is sent again without RTX has to be the very same octets, and is not padded then.
            padding: if sending.in_runs && !self.repeats { packet.padding } else { 0 },
            picture: packet.picture.map(|fields| (fields, out)),
        };
        sending.egress.write(&outbound, sending.sealer, sending.path, sending.wire);
        self.packets += 1;
        self.bytes += packet.payload.len() as u64;
    }

    fn payload_type(&self, codec: Codec) -> Option<(u8, Option<u8>)> {
        self.payloads.iter().find(|(c, _, _)| *c == codec).map(|(_, pt, rtx)| (*pt, *rtx))
    }

    fn extensions(&self, send_time: u32) -> Extensions<'_> {
        Extensions {
            mid: self.mid_extension.filter(|_| !self.known).map(|id| (id, self.mid.as_str())),
            send_time: self.time_extension.map(|id| (id, send_time)),
        }
    }

    /// The viewer has reported on this lane.
    pub(crate) const fn handle_report(&mut self) {
        self.known = true;
    }

    /// Sends a packet again. False when it is not to be had any more.
    pub(crate) fn resend(&mut self, seq: u16, sources: &Sources, sending: &mut Sending<'_>) -> bool {
        let Some((id, original)) = self.rewriter.original(seq) else { return false };
        let Some(packet) = sources.get(id).and_then(|s| s.get(original)) else { return false };
        let Some(out) = self.rewriter.repeat(seq, &packet.input()) else { return false };
        let Some((payload_type, rtx_type)) = self.payload_type(packet.codec) else { return false };
        let number = (out.index as u16).to_be_bytes();
        let (payload_type, ssrc, index, prefix) = match (self.rtx, rtx_type) {
            (Some(ssrc), Some(rtx_type)) => {
                self.rtx_index += 1;
                (rtx_type, ssrc, self.rtx_index, &number[..])
            }
            // The very same octets under the same index: nothing new is said under an old nonce.
            _ if self.repeats => (payload_type, self.ssrc, out.index, &[][..]),
            _ => return false,
        };
        let outbound = Outbound {
            payload_type,
            marker: packet.marker,
            index,
            timestamp: out.timestamp,
            ssrc,
            extensions: self.extensions(sending.send_time),
            prefix,
            payload: &packet.payload,
            // RFC 4588 section 4: padding of the original is not repeated.
            padding: 0,
            picture: packet.picture.map(|fields| (fields, out)),
        };
        sending.egress.write(&outbound, sending.sealer, sending.path, sending.wire);
        self.retransmitted += 1;
        true
    }

    /// What a sender report says now; `None` before anything was sent, or while the source's clock is unknown.
    pub(crate) fn sender_info(&self, sources: &Sources, now: Mono, ntp: u64) -> Option<SenderInfo> {
        let showing = self.current.filter(|_| self.packets > 0)?;
        let anchor = sources.get(showing.source)?.anchor?;
        let rate = i64::from(showing.codec.rtp_clock_rate());
        let ticks = now.nanos_since(anchor.at) / 1_000 * rate / 1_000_000;
        let source_now = anchor.timestamp.wrapping_add(ticks as u32);
        Some(SenderInfo {
            ssrc: self.ssrc,
            ntp,
            rtp_timestamp: self.rewriter.timestamp_of(source_now)?,
            packets: self.packets as u32,
            bytes: self.bytes as u32,
        })
    }
}
