//! One broadcast on one relay thread: the recent packets of each of its sources, in a ring that all viewers read.
//!
//! What belongs here: history, the current group of pictures, and what a source is. What does not: what a viewer makes of it
//! ([`crate::viewer`]), and who sends it ([`crate::peer`]).

use bytes::Bytes;
use relay_proto::continuity::{InPacket, SourceId};
use relay_proto::inspect::PictureFields;
use skywave_media::codec::{Codec, TrackKind};
use skywave_media::time::Mono;
use std::sync::Arc;
use std::time::Duration;

/// Packets of video that are kept for retransmission: five seconds at 1.5 Mbit/s, one at 10.
const VIDEO_RING: usize = 1_024;
/// Where nobody can be asked for a keyframe: ten seconds (Firefox's recorder makes one that often) at 2 Mbit/s.
const UNASKED_RING: usize = 4_096;
/// Packets of audio: five seconds.
const AUDIO_RING: usize = 256;
/// A group of pictures that is older is not worth sending: what a new viewer gets at once must not take long to catch up with.
/// The worker's groups, two seconds long, must fit.
const GOP_MAX_AGE: Duration = Duration::from_millis(2_500);
/// Likewise one that has grown larger.
const GOP_MAX_BYTES: u64 = 3 << 20;
/// Bits per second are counted over this time.
const METER_WINDOW: Duration = Duration::from_secs(1);

/// What a source is, told before its first packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SourceInfo {
    pub(crate) id: SourceId,
    pub(crate) kind: TrackKind,
    pub(crate) codec: Codec,
    /// `rid` of a simulcast layer, otherwise the publisher's SSRC in digits.
    pub(crate) name: String,
    /// Made by the worker, for viewers that cannot decode what is published.
    pub(crate) rendition: bool,
    /// Keyframes come when they are asked for, or often.
    pub(crate) askable: bool,
}

/// One RTP packet of a source. Cloning copies no payload.
#[derive(Debug, Clone)]
pub(crate) struct FeedPacket {
    pub(crate) source: SourceId,
    pub(crate) kind: TrackKind,
    pub(crate) codec: Codec,
    /// Extended sequence number.
    pub(crate) seq: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    /// A keyframe begins here.
    pub(crate) keyframe: bool,
    pub(crate) picture: Option<PictureFields>,
    pub(crate) arrival: Mono,
    /// Bytes of RTP padding that make it as long as its neighbours ([`crate::runs`]); none in the history, and none on the way between
    /// threads.
    pub(crate) padding: u8,
    pub(crate) payload: Bytes,
}

impl FeedPacket {
    /// What continuity wants to know of it.
    pub(crate) const fn input(&self) -> InPacket {
        InPacket {
            source: self.source,
            seq: self.seq,
            timestamp: self.timestamp,
            arrival: self.arrival,
            picture: self.picture,
        }
    }
}

/// A moment on a source's RTP clock and on ours; what sender reports to viewers are made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) at: Mono,
    pub(crate) timestamp: u32,
}

/// What travels between threads.
#[derive(Debug, Clone)]
pub(crate) enum FeedItem {
    /// A source begins.
    Source(Arc<SourceInfo>),
    /// A packet of a source that was told before.
    Packet(FeedPacket),
    /// A source's clock against ours.
    Anchor(SourceId, Anchor),
    /// A publisher's sources are over: all but these.
    Only(Vec<SourceId>),
    /// Whether the rendition stands in for the published pictures: viewers must not be sent those as they are.
    StandIn(bool),
}

/// The history of one source.
#[derive(Debug)]
pub(crate) struct FeedSource {
    pub(crate) info: Arc<SourceInfo>,
    ring: Vec<Option<FeedPacket>>,
    newest: Option<u64>,
    gop: Option<Gop>,
    bytes: u64,
    pub(crate) anchor: Option<Anchor>,
    meter: Meter,
}

/// Where the newest keyframe begins.
#[derive(Debug, Clone, Copy)]
struct Gop {
    first: u64,
    began: Mono,
    bytes_before: u64,
}

/// Bits per second of the last whole window.
#[derive(Debug, Default)]
struct Meter {
    since: Option<Mono>,
    last: Mono,
    bytes: u64,
    bps: u64,
}

/// What a viewer can begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    /// Sequence number of the keyframe's first packet.
    pub(crate) first: u64,
    /// Timestamp of the newest frame: the live edge.
    pub(crate) live_timestamp: u32,
}

impl FeedSource {
    pub(crate) fn new(info: Arc<SourceInfo>) -> Self {
        let size = match (info.kind, info.askable) {
            (TrackKind::Audio, _) => AUDIO_RING,
            (TrackKind::Video, true) => VIDEO_RING,
            (TrackKind::Video, false) => UNASKED_RING,
        };
        Self {
            info,
            ring: vec![None; size],
            newest: None,
            gop: None,
            bytes: 0,
            anchor: None,
            meter: Meter::default(),
        }
    }

    /// Keeps a packet; false when it was there already.
    pub(crate) fn keep(&mut self, packet: &FeedPacket) -> bool {
        let slot = self.slot(packet.seq);
        if self.ring[slot].as_ref().is_some_and(|known| known.seq >= packet.seq) {
            return false;
        }
        self.bytes += packet.payload.len() as u64;
        self.meter.note(packet.payload.len(), packet.arrival);
        if packet.keyframe && self.gop.is_none_or(|gop| packet.seq > gop.first) {
            // SPS and IDR of one picture are both a start; the first one is.
            let first = self.gop.and_then(|gop| self.get(gop.first));
            let same = first.is_some_and(|p| p.timestamp == packet.timestamp);
            if !same {
                self.gop = Some(Gop { first: packet.seq, began: packet.arrival, bytes_before: self.bytes });
            }
        }
        if self.newest.is_none_or(|newest| packet.seq > newest) {
            self.newest = Some(packet.seq);
        }
        self.ring[slot] = Some(packet.clone());
        true
    }

    const fn slot(&self, seq: u64) -> usize {
        (seq % self.ring.len() as u64) as usize
    }

    /// The packet with this extended sequence number, while it is kept.
    pub(crate) fn get(&self, seq: u64) -> Option<&FeedPacket> {
        self.ring[self.slot(seq)].as_ref().filter(|p| p.seq == seq)
    }

    /// The newest sequence number.
    pub(crate) const fn newest(&self) -> Option<u64> {
        self.newest
    }

    /// Where a viewer can begin at once: the newest keyframe, if not too much came after it.
    pub(crate) fn start(&self, now: Mono) -> Option<Start> {
        let (gop, newest) = (self.gop?, self.newest?);
        // The next keyframe may be far off where it cannot be asked for: then a long past is better than no picture.
        let young = !self.info.askable || now.saturating_since(gop.began) <= GOP_MAX_AGE;
        let small = self.bytes - gop.bytes_before <= GOP_MAX_BYTES;
        let kept = newest - gop.first < self.ring.len() as u64 && self.get(gop.first).is_some();
        let live = self.get(newest)?;
        (young && small && kept).then_some(Start { first: gop.first, live_timestamp: live.timestamp })
    }

    /// What another thread needs of it to go on from here.
    fn history(&self, now: Mono) -> Vec<FeedItem> {
        let mut items = vec![FeedItem::Source(Arc::clone(&self.info))];
        items.extend(self.anchor.map(|anchor| FeedItem::Anchor(self.info.id, anchor)));
        if let (Some(start), Some(newest)) = (self.start(now), self.newest) {
            let packets = (start.first..=newest).filter_map(|seq| self.get(seq));
            items.extend(packets.cloned().map(FeedItem::Packet));
        }
        items
    }

    /// Bits per second over the last second or so; 0 for a source that has fallen silent.
    pub(crate) fn bitrate_bps(&self, now: Mono) -> u64 {
        if now.saturating_since(self.meter.last) > 2 * METER_WINDOW { 0 } else { self.meter.bps }
    }

    /// When a packet last came.
    pub(crate) const fn last(&self) -> Mono {
        self.meter.last
    }
}

impl Meter {
    fn note(&mut self, bytes: usize, now: Mono) {
        let since = *self.since.get_or_insert(now);
        let span = now.saturating_since(since);
        if span >= METER_WINDOW {
            self.bps = (self.bytes as f64 * 8.0 / span.as_secs_f64()) as u64;
            (self.since, self.bytes) = (Some(now), 0);
        }
        self.bytes += bytes as u64;
        self.last = now;
    }
}

/// A broadcast's sources on one thread.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    all: Vec<FeedSource>,
    /// The rendition stands in for the published pictures.
    stand_in: bool,
    /// Grows whenever there is something else to choose from.
    version: u32,
}

/// Sources kept at a time: layers and lanes of one publisher and of the one before.
const MAX_SOURCES: usize = 24;

impl Sources {
    /// Takes an item in. Gives the packet back when viewers are to get it.
    pub(crate) fn take(&mut self, item: FeedItem) -> Option<FeedPacket> {
        match item {
            FeedItem::Source(info) => {
                if self.get(info.id).is_none() {
                    if self.all.len() >= MAX_SOURCES {
                        self.all.remove(0);
                    }
                    self.all.push(FeedSource::new(info));
                    self.version += 1;
                }
                None
            }
            FeedItem::Packet(packet) => {
                let source = self.all.iter_mut().find(|s| s.info.id == packet.source)?;
                source.keep(&packet).then_some(packet)
            }
            FeedItem::Anchor(id, anchor) => {
                if let Some(source) = self.all.iter_mut().find(|s| s.info.id == id) {
                    source.anchor = Some(anchor);
                }
                None
            }
            FeedItem::Only(kept) => {
                self.all.retain(|s| kept.contains(&s.info.id));
                self.stand_in = false;
                self.version += 1;
                None
            }
            FeedItem::StandIn(stand_in) => {
                self.version += u32::from(self.stand_in != stand_in);
                self.stand_in = stand_in;
                None
            }
        }
    }

    pub(crate) fn get(&self, id: SourceId) -> Option<&FeedSource> {
        self.all.iter().find(|s| s.info.id == id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &FeedSource> {
        self.all.iter()
    }

    /// Everything that another thread needs to go on from here.
    pub(crate) fn history(&self, now: Mono) -> Vec<FeedItem> {
        let mut items: Vec<FeedItem> = self.iter().flat_map(|source| source.history(now)).collect();
        items.push(FeedItem::StandIn(self.stand_in));
        items
    }

    /// Whether viewers get the rendition in place of the published pictures.
    pub(crate) const fn stand_in(&self) -> bool {
        self.stand_in
    }

    /// Grows whenever there is something else to choose from.
    pub(crate) const fn version(&self) -> u32 {
        self.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(kind: TrackKind) -> FeedSource {
        let codec = if kind == TrackKind::Video { Codec::Vp8 } else { Codec::Opus };
        let name = "1".to_owned();
        FeedSource::new(Arc::new(SourceInfo {
            id: SourceId(1),
            kind,
            codec,
            name,
            rendition: false,
            askable: true,
        }))
    }

    fn packet(seq: u64, frame: u32, keyframe: bool, at_ms: u64) -> FeedPacket {
        FeedPacket {
            source: SourceId(1),
            kind: TrackKind::Video,
            codec: Codec::Vp8,
            seq,
            timestamp: frame * 3_000,
            marker: false,
            keyframe,
            picture: None,
            arrival: Mono::from_millis(at_ms),
            padding: 0,
            payload: Bytes::from_static(&[0; 1_000]),
        }
    }

    #[test]
    fn a_viewer_begins_at_the_newest_keyframe_and_each_packet_is_kept_once() {
        let mut source = source(TrackKind::Video);
        assert_eq!(source.start(Mono::from_millis(0)), None);
        assert!(source.keep(&packet(10, 1, false, 0)));
        assert_eq!(source.start(Mono::from_millis(0)), None, "no keyframe yet");
        for (seq, frame, keyframe) in [(11, 2, true), (12, 2, true), (13, 3, false), (15, 4, false)] {
            assert!(source.keep(&packet(seq, frame, keyframe, 33)));
        }
        assert!(!source.keep(&packet(13, 3, false, 34)));
        let start = source.start(Mono::from_millis(40)).unwrap();
        assert_eq!(start, Start { first: 11, live_timestamp: 12_000 });
        // One that was late fills its gap and changes nothing else.
        assert!(source.keep(&packet(14, 3, false, 50)));
        assert_eq!(source.start(Mono::from_millis(50)), Some(start));
        assert_eq!(source.history(Mono::from_millis(50)).len(), 1 + 5);
    }

    #[test]
    fn a_group_of_pictures_that_is_old_or_large_is_no_start() {
        let mut old = source(TrackKind::Video);
        old.keep(&packet(1, 1, true, 0));
        assert!(old.start(Mono::from_millis(2_500)).is_some());
        assert!(old.start(Mono::from_millis(2_501)).is_none());
        let mut long = source(TrackKind::Video);
        long.keep(&packet(1, 1, true, 0));
        (2..=VIDEO_RING as u64).for_each(|seq| assert!(long.keep(&packet(seq, 2, false, 1))));
        assert!(long.start(Mono::from_millis(2)).is_some());
        long.keep(&packet(VIDEO_RING as u64 + 1, 2, false, 1));
        assert!(long.start(Mono::from_millis(2)).is_none(), "the keyframe has left the ring");
        assert!(long.get(1).is_none() && long.get(2).is_some());
    }

    #[test]
    fn where_no_keyframe_can_be_asked_for_a_long_past_is_a_start() {
        let (kind, codec, name) = (TrackKind::Video, Codec::Vp8, "1".to_owned());
        let info = SourceInfo { id: SourceId(1), kind, codec, name, rendition: false, askable: false };
        let mut source = FeedSource::new(Arc::new(info));
        source.keep(&packet(1, 1, true, 0));
        (2..=2_000).for_each(|seq| assert!(source.keep(&packet(seq, 2, false, 1))));
        assert_eq!(source.start(Mono::from_millis(9_000)).map(|start| start.first), Some(1));
    }

    #[test]
    fn bits_per_second_are_counted_and_forgotten() {
        let mut source = source(TrackKind::Video);
        (0..=100).for_each(|n| assert!(source.keep(&packet(n, n as u32, false, n * 10))));
        assert_eq!(source.bitrate_bps(Mono::from_millis(1_010)), 800_000);
        assert_eq!(source.bitrate_bps(Mono::from_millis(4_000)), 0);
    }

    #[test]
    fn sources_come_and_go_by_name() {
        let mut sources = Sources::default();
        let info = |id| {
            let (kind, codec) = (TrackKind::Video, Codec::Vp8);
            Arc::new(SourceInfo {
                id: SourceId(id),
                kind,
                codec,
                name: id.to_string(),
                rendition: false,
                askable: true,
            })
        };
        assert!(sources.take(FeedItem::Packet(packet(1, 1, true, 0))).is_none(), "nobody knows this source");
        sources.take(FeedItem::Source(info(1)));
        assert!(sources.take(FeedItem::Packet(packet(1, 1, true, 0))).is_some());
        assert!(sources.take(FeedItem::Packet(packet(1, 1, true, 0))).is_none(), "twice");
        let version = sources.version();
        sources.take(FeedItem::Source(info(2)));
        sources.take(FeedItem::Only(vec![SourceId(2)]));
        assert!(sources.get(SourceId(1)).is_none() && sources.get(SourceId(2)).is_some());
        assert!(sources.version() > version);
        (3..200).for_each(|id| assert!(sources.take(FeedItem::Source(info(id))).is_none()));
        assert_eq!(sources.iter().count(), MAX_SOURCES);
    }
}
