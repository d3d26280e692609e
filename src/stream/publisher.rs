//! The publisher that feeds a stream now: its session, its packets, its keyframes.

use super::NewPublisher;
use super::meter::{LossMeter, Meter};
use crate::registry::SessionGuard;
use relay_node::PublisherEvent;
use relay_proto::keyframe::KeyframeDemand;
use skywave_media::codec::{Format, TrackKind};
use skywave_media::fit::OrderWatch;
use skywave_media::frame::Frame;
use skywave_media::ingest::{Ingest, IngestConfig, TrackId, TrackStats};
use skywave_media::packet::Packet;
use skywave_media::time::{Mono, UnixTime};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;

/// One publisher and what has come of it.
pub(super) struct Publisher {
    pub(super) session: SessionGuard,
    pub(super) events: mpsc::Receiver<PublisherEvent>,
    pub(super) ingest: Ingest,
    pub(super) tracks: BTreeMap<TrackId, Track>,
    /// Whether its pictures can be shown in the order in which they come.
    pub(super) order: OrderWatch,
    /// When it began to feed the stream, on the wall clock.
    pub(super) connected_wall: UnixTime,
}

/// One lane of the publisher.
pub(super) struct Track {
    pub(super) kind: TrackKind,
    pub(super) format: Option<Arc<Format>>,
    pub(super) meter: Meter,
    pub(super) loss: LossMeter,
    demand: KeyframeDemand,
    pub(super) keyframe_requests: u64,
}

impl Publisher {
    /// A publisher whose timeline has its zero at `epoch`.
    pub(super) fn new(new: NewPublisher, epoch: Mono, now: Mono, wall: UnixTime) -> Self {
        let mut ingest = Ingest::new(IngestConfig::default(), epoch);
        let mut tracks = BTreeMap::new();
        for described in &new.tracks {
            ingest.add_track(described.track, described.kind, now);
            let track = Track {
                kind: described.kind,
                format: None,
                meter: Meter::default(),
                loss: LossMeter::default(),
                demand: KeyframeDemand::default(),
                keyframe_requests: 0,
            };
            tracks.insert(described.track, track);
        }
        Self {
            session: new.session,
            events: new.events,
            ingest,
            tracks,
            order: OrderWatch::default(),
            connected_wall: wall,
        }
    }

    pub(super) fn handle_packet(&mut self, track: TrackId, packet: Packet) {
        self.ingest.handle_packet(track, packet);
    }

    /// Brings bitrates, frame rates and losses up to date.
    pub(super) fn refresh_meters(&mut self, now: Mono) {
        for (id, track) in &mut self.tracks {
            track.meter.refresh(now);
            if let Some(stats) = self.ingest.stats(*id) {
                track.loss.refresh(stats.packets, stats.reorder.lost, now);
            }
        }
    }

    /// Takes note of a frame that came out of the ingest.
    pub(super) fn note_frame(&mut self, id: TrackId, frame: &Frame, now: Mono) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        track.meter.note(frame.data.len(), now);
        track.format = Some(Arc::clone(&frame.format));
        self.order.handle_frame(frame);
        if frame.keyframe && track.kind == TrackKind::Video {
            track.demand.handle_keyframe(now);
        }
    }

    /// Somebody needs a keyframe of this track.
    pub(super) fn demand_keyframe(&mut self, id: TrackId, now: Mono) {
        if let Some(track) = self.tracks.get_mut(&id) {
            track.demand.handle_demand(now);
        }
    }

    /// Somebody needs a keyframe of the video.
    pub(super) fn demand_video_keyframe(&mut self, now: Mono) {
        for track in self.tracks.values_mut().filter(|t| t.kind == TrackKind::Video) {
            track.demand.handle_demand(now);
        }
    }

    /// The tracks whose publisher is to be asked for a keyframe now.
    pub(super) fn keyframe_requests(&mut self, now: Mono) -> Vec<TrackId> {
        let mut due = Vec::new();
        for (id, track) in &mut self.tracks {
            track.demand.handle_timeout(now);
            while track.demand.poll_request() {
                track.keyframe_requests += 1;
                due.push(*id);
            }
        }
        due
    }

    /// When something is due by itself.
    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        let demands = self.tracks.values().filter_map(|t| t.demand.poll_timeout());
        demands.chain(self.ingest.poll_timeout()).min()
    }

    /// The lane of one kind, with its counters.
    pub(super) fn lane(&self, kind: TrackKind) -> Option<(&Track, Option<TrackStats>)> {
        let (id, track) = self.tracks.iter().find(|(_, track)| track.kind == kind)?;
        Some((track, self.ingest.stats(*id)))
    }
}

/// The publisher's next event; never when there is no publisher.
pub(super) async fn next_event(publisher: Option<&mut Publisher>) -> Option<PublisherEvent> {
    match publisher {
        Some(publisher) => publisher.events.recv().await,
        None => std::future::pending().await,
    }
}
