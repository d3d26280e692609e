//! The H.264 rendition of a stream, for viewers that cannot decode what is published: coded frames in, packets for the feeds out.

use crate::feed::{Anchor, FeedItem, FeedPacket, SourceInfo};
use crate::hub::Hub;
use crate::thread::Command;
use relay_proto::continuity::SourceId;
use relay_proto::inspect::inspect;
use skywave_media::codec::{Codec, TrackKind};
use skywave_media::frame::Frame;
use skywave_media::packetize::{DEFAULT_MAX_PAYLOAD, PacketizeError, Packetizer, rtp_timestamp};
use skywave_media::time::Mono;
use std::sync::Arc;
use std::time::Duration;

/// Between two statements of what time it is on the rendition's clock.
const ANCHOR_INTERVAL: Duration = Duration::from_secs(1);

/// Where a stream's owner puts the frames that its worker has encoded.
#[derive(Debug)]
pub struct RenditionFeed {
    hub: Arc<Hub>,
    stream: String,
    packetizer: Option<Packetizer>,
    /// The publisher whose pictures these are, and the number of the source.
    source: Option<(u64, SourceId)>,
    seq: u64,
    anchored: Option<Mono>,
    stands_in: bool,
}

impl RenditionFeed {
    pub(crate) fn new(hub: Arc<Hub>, stream: &str) -> Self {
        let packetizer = Packetizer::new(Codec::H264, DEFAULT_MAX_PAYLOAD).ok();
        let stream = stream.to_owned();
        Self { hub, stream, packetizer, source: None, seq: 0, anchored: None, stands_in: false }
    }

    /// Says whether all viewers get these frames in place of the published pictures, because no WebRTC receiver can show those as they
    /// are: B-frames come in another order than they are shown. Viewers then wait for the next keyframe here. The stream's owner
    /// says so once for each publisher, and takes it back when the next one comes.
    pub fn stand_in(&mut self, stands_in: bool) {
        if std::mem::replace(&mut self.stands_in, stands_in) != stands_in
            && let Some(broadcast) = self.hub.find(&self.stream)
        {
            let items = vec![FeedItem::StandIn(stands_in)];
            broadcast.tell_home(Command::Inject(Arc::clone(&broadcast), items));
        }
    }

    /// Hands a frame to the viewers that need it. `epoch` is the zero of the stream's timeline.
    ///
    /// # Errors
    ///
    /// [`PacketizeError`] for a frame that is no H.264 or is damaged; the next one may be fine.
    pub fn push(&mut self, frame: &Frame, epoch: Mono, now: Mono) -> Result<(), PacketizeError> {
        let Some(broadcast) = self.hub.find(&self.stream) else { return Ok(()) };
        let Some(packetizer) = &mut self.packetizer else { return Ok(()) };
        let publisher = broadcast.publisher();
        let mut items = Vec::new();
        let id = match self.source {
            Some((of, id)) if of == publisher => id,
            _ => {
                let id = broadcast.new_source();
                let (kind, codec) = (TrackKind::Video, Codec::H264);
                let name = "h264".to_owned();
                let info = Arc::new(SourceInfo { id, kind, codec, name, rendition: true, askable: true });
                items.push(FeedItem::Source(info));
                self.source = Some((publisher, id));
                self.anchored = None;
                id
            }
        };
        let timestamp = rtp_timestamp(frame);
        if self.anchored.is_none_or(|at| now.saturating_since(at) >= ANCHOR_INTERVAL) {
            self.anchored = Some(now);
            let at = Mono::from_nanos(epoch.as_nanos().saturating_add_signed(frame.pts.as_nanos()));
            items.push(FeedItem::Anchor(id, Anchor { at, timestamp }));
        }
        let payloads = packetizer.packetize(frame)?;
        let last = payloads.len().saturating_sub(1);
        for (index, payload) in payloads.into_iter().enumerate() {
            self.seq += 1;
            items.push(FeedItem::Packet(FeedPacket {
                source: id,
                kind: TrackKind::Video,
                codec: Codec::H264,
                seq: self.seq,
                timestamp,
                marker: index == last,
                keyframe: inspect(Codec::H264, &payload).keyframe_start,
                picture: None,
                arrival: now,
                padding: 0,
                payload,
            }));
        }
        broadcast.tell_home(Command::Inject(Arc::clone(&broadcast), items));
        Ok(())
    }
}
