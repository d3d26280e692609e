//! A publisher that comes another way than by WebRTC: RTP packets in, on to the viewers as those of a session.
//!
//! What belongs here: what [`crate::peer`] and [`crate::origins`] do for a session's packets. Keyframes come as they come: nobody can be
//! asked for one.

use crate::feed::{Anchor, FeedItem, FeedPacket, SourceInfo};
use crate::hub::{Broadcast, Hub};
use crate::thread::Command;
use relay_proto::continuity::SourceId;
use relay_proto::inspect::inspect;
use skywave_media::codec::Codec;
use skywave_media::packet::{Packet, SenderReport};
use std::sync::Arc;

/// Feeds one stream for as long as it lives.
#[derive(Debug)]
pub struct SourceFeed {
    broadcast: Arc<Broadcast>,
    /// The publisher's number.
    number: u64,
    lanes: Vec<Lane>,
}

/// One source: an SSRC in one codec.
#[derive(Debug)]
struct Lane {
    ssrc: u32,
    codec: Codec,
    id: SourceId,
    seq: u64,
}

impl SourceFeed {
    pub(crate) fn begin(hub: &Hub, stream: &str, thread: usize) -> Self {
        let (broadcast, number) = hub.begin(stream, thread);
        broadcast.tell_home(Command::Outside(Arc::clone(&broadcast), number, true));
        let feed = Self { broadcast, number, lanes: Vec::new() };
        // What the publisher before brought is over.
        feed.send(vec![FeedItem::Only(Vec::new())]);
        feed
    }

    /// Whether its packets count: no other publisher has taken over.
    pub fn is_on_air(&self) -> bool {
        self.broadcast.is_fed_by(self.number)
    }

    /// Hands a packet to the viewers. Packets come in order, each once.
    pub fn push(&mut self, packet: &Packet) {
        if !self.is_on_air() {
            return;
        }
        let mut items = Vec::new();
        let known = |lane: &Lane| lane.ssrc == packet.ssrc && lane.codec == packet.codec;
        let place = self.lanes.iter().position(known).unwrap_or_else(|| {
            let (codec, ssrc) = (packet.codec, packet.ssrc);
            let id = self.broadcast.new_source();
            let (kind, name) = (codec.kind(), ssrc.to_string());
            let info = SourceInfo { id, kind, codec, name, rendition: false, askable: false };
            items.push(FeedItem::Source(Arc::new(info)));
            self.lanes.push(Lane { ssrc, codec, id, seq: 0 });
            self.lanes.len() - 1
        });
        let lane = &mut self.lanes[place];
        lane.seq += 1;
        let seen = inspect(packet.codec, &packet.payload);
        items.push(FeedItem::Packet(FeedPacket {
            source: lane.id,
            kind: packet.codec.kind(),
            codec: packet.codec,
            seq: lane.seq,
            timestamp: packet.timestamp,
            marker: packet.marker,
            keyframe: seen.keyframe_start,
            picture: seen.picture,
            arrival: packet.arrival,
            padding: 0,
            payload: packet.payload.clone(),
        }));
        self.send(items);
    }

    /// Says what time it is on a source's clock; for its viewers' lip sync.
    pub fn push_report(&self, report: &SenderReport) {
        if let Some(lane) = self.lanes.iter().rev().find(|lane| lane.ssrc == report.ssrc) {
            let anchor = Anchor { at: report.arrival, timestamp: report.rtp_timestamp };
            self.send(vec![FeedItem::Anchor(lane.id, anchor)]);
        }
    }

    fn send(&self, items: Vec<FeedItem>) {
        if self.is_on_air() {
            self.broadcast.tell_home(Command::Inject(Arc::clone(&self.broadcast), items));
        }
    }
}

impl Drop for SourceFeed {
    fn drop(&mut self) {
        self.broadcast.tell_all(|broadcast| Command::Outside(broadcast, self.number, false));
        self.broadcast.publisher_gone(self.number);
    }
}
