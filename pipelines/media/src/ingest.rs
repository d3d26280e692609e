//! One publisher's packets in, frames of the source rendition out.
//!
//! The way of a packet: `reorder` (sequence) -> `depacketize` (payload) -> `timeline` (time) -> [`Frame`]. What belongs
//! here: the order of these steps, the demand for keyframes, and the counters. The contract is the crate's: after each
//! `handle_*` drain [`Ingest::poll_output`], then read [`Ingest::poll_timeout`].

use crate::codec::{Codec, Format, TrackKind};
use crate::depacketize::{Depacketized, Depacketizer};
use crate::frame::Frame;
use crate::packet::{Packet, SenderReport};
use crate::reorder::{Reorder, ReorderConfig, ReorderStats, Reordered};
use crate::time::Mono;
use crate::timeline::{Timeline, TimelineStats};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use crate::depacketize::KeyframeReason;

/// A track of one publisher: one per m-line of its offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TrackId(pub u8);

impl fmt::Display for TrackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "track {}", self.0)
    }
}

/// Bounds of an [`Ingest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IngestConfig {
    /// How long, and how many, packets wait for those before them.
    pub reorder: ReorderConfig,
    /// The largest frame, in bytes of RTP payload; larger ones are dropped.
    pub max_frame_bytes: usize,
    /// While a keyframe is needed, it is asked for this often.
    pub keyframe_repeat: Duration,
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            reorder: ReorderConfig::default(),
            // A 4K intra picture at a visually lossless quality is 2-3 MB.
            max_frame_bytes: 4 << 20,
            // A round trip and an encoder's next frame fit in; the demand machine merges to one a second anyway.
            keyframe_repeat: Duration::from_millis(500),
        }
    }
}

/// A track that has sent nothing for this long is not asked for keyframes until it sends again.
const SILENT_AFTER: Duration = Duration::from_secs(5);

/// What an [`Ingest`] wants taken.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IngestOutput {
    /// A frame of the source rendition, in decoding order.
    Frame {
        /// The track it belongs to.
        track: TrackId,
        /// The frame.
        frame: Frame,
    },
    /// Frames of the track are dropped until its source sends a keyframe: ask for one. Repeated while needed.
    KeyframeNeeded {
        /// The track.
        track: TrackId,
        /// Why.
        reason: KeyframeReason,
    },
}

/// What a track has seen since [`Ingest::add_track`]. All counts start at zero and only grow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackStats {
    /// The lane.
    pub kind: TrackKind,
    /// The codec of the newest packet.
    pub codec: Option<Codec>,
    /// The format of the newest frame.
    pub format: Option<Arc<Format>>,
    /// When the track was added.
    pub added: Mono,
    /// When its newest packet came.
    pub last_packet: Option<Mono>,
    /// Packets handed in, duplicates included.
    pub packets: u64,
    /// Their payload, in bytes.
    pub bytes: u64,
    /// Losses, duplicates, reordering, late packets, new beginnings.
    pub reorder: ReorderStats,
    /// Payloads that broke the rules of their format, or were of the wrong kind.
    pub bad_payloads: u64,
    /// Frames handed out.
    pub frames: u64,
    /// How many of them are keyframes (of audio, all are).
    pub keyframes: u64,
    /// Video frames dropped: with a hole, or before a keyframe.
    pub frames_dropped: u64,
    /// How often a keyframe was asked for.
    pub keyframe_requests: u64,
    /// Clock, slewing and sender reports.
    pub timeline: TimelineStats,
}

/// The deadlines of one track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timer {
    /// A hole in the sequence is given up.
    Reorder,
    /// A keyframe is still needed: ask again.
    KeyframeRepeat,
}

#[derive(Debug)]
struct Track {
    kind: TrackKind,
    reorder: Reorder,
    depacketizer: Option<Depacketizer>,
    demand: Option<Demand>,
    stats: TrackStats,
}

/// A keyframe is needed.
#[derive(Debug, Clone, Copy)]
struct Demand {
    reason: KeyframeReason,
    /// When it is asked for again; `None` while the track is silent.
    repeat_at: Option<Mono>,
}

impl Track {
    fn deadline(&self, timer: Timer) -> Option<Mono> {
        match timer {
            Timer::Reorder => self.reorder.poll_timeout(),
            Timer::KeyframeRepeat => self.demand?.repeat_at,
        }
    }
}

/// The pure way from RTP packets to frames, for one publisher. See the module's doc.
#[derive(Debug)]
pub struct Ingest {
    config: IngestConfig,
    timeline: Timeline,
    tracks: BTreeMap<TrackId, Track>,
    output: VecDeque<IngestOutput>,
}

impl Ingest {
    /// An ingest without tracks. `epoch` is the zero of the stream's timeline: a stream's next publisher gets a new
    /// `Ingest` with the same epoch, and its frames go on where local time is then.
    pub fn new(config: IngestConfig, epoch: Mono) -> Self {
        Self { config, timeline: Timeline::new(epoch), tracks: BTreeMap::new(), output: VecDeque::new() }
    }

    /// A track is negotiated. A second track of the same id replaces the first.
    pub fn add_track(&mut self, id: TrackId, kind: TrackKind, now: Mono) {
        self.timeline.add_track(id, kind);
        let stats = TrackStats {
            kind,
            codec: None,
            format: None,
            added: now,
            last_packet: None,
            packets: 0,
            bytes: 0,
            reorder: ReorderStats::default(),
            bad_payloads: 0,
            frames: 0,
            keyframes: 0,
            frames_dropped: 0,
            keyframe_requests: 0,
            timeline: TimelineStats::default(),
        };
        let reorder = Reorder::new(self.config.reorder);
        self.tracks.insert(id, Track { kind, reorder, depacketizer: None, demand: None, stats });
    }

    /// A packet has come at `packet.arrival`. Packets of tracks that were not added are ignored.
    pub fn handle_packet(&mut self, id: TrackId, packet: Packet) {
        self.assert_drained();
        let now = packet.arrival;
        self.run_timers(now);
        let Some(track) = self.tracks.get_mut(&id) else { return };
        track.stats.packets += 1;
        track.stats.bytes += packet.payload.len() as u64;
        if packet.codec.kind() != track.kind {
            track.stats.bad_payloads += 1;
            return;
        }
        track.stats.last_packet = Some(now);
        track.reorder.handle_packet(packet);
        self.take_reordered(id, now);
        self.update_demand(id, now);
    }

    /// A sender report has come at `report.arrival`. Reports on tracks that were not added are ignored.
    pub fn handle_sender_report(&mut self, id: TrackId, report: SenderReport) {
        self.assert_drained();
        self.run_timers(report.arrival);
        self.timeline.handle_sender_report(id, report);
    }

    /// Time has passed: does everything that is due.
    pub fn handle_timeout(&mut self, now: Mono) {
        self.assert_drained();
        self.run_timers(now);
    }

    /// The next thing to take, or `None`.
    pub fn poll_output(&mut self) -> Option<IngestOutput> {
        self.output.pop_front()
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let timers = [Timer::Reorder, Timer::KeyframeRepeat];
        self.tracks.values().flat_map(|track| timers.map(|timer| track.deadline(timer))).flatten().min()
    }

    /// The track's counters; `None` when it was not added.
    pub fn stats(&self, id: TrackId) -> Option<TrackStats> {
        let track = self.tracks.get(&id)?;
        let mut stats = track.stats.clone();
        stats.reorder = track.reorder.stats();
        stats.timeline = self.timeline.stats(id).unwrap_or_default();
        Some(stats)
    }

    /// The tracks, in the order of their ids.
    pub fn tracks(&self) -> impl Iterator<Item = (TrackId, TrackKind)> + '_ {
        self.tracks.iter().map(|(id, track)| (*id, track.kind))
    }

    fn assert_drained(&self) {
        debug_assert!(self.output.is_empty(), "poll_output is drained before the next handle_*");
    }

    fn run_timers(&mut self, now: Mono) {
        let ids: Vec<TrackId> = self
            .tracks
            .iter()
            .filter(|(_, track)| {
                [Timer::Reorder, Timer::KeyframeRepeat]
                    .iter()
                    .any(|timer| track.deadline(*timer).is_some_and(|at| at <= now))
            })
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            if let Some(track) = self.tracks.get_mut(&id) {
                track.reorder.handle_timeout(now);
            }
            self.take_reordered(id, now);
            self.update_demand(id, now);
        }
    }

    /// Takes what the track's reorder buffer lets go of.
    fn take_reordered(&mut self, id: TrackId, now: Mono) {
        while let Some(track) = self.tracks.get_mut(&id) {
            match track.reorder.poll_output() {
                Some(Reordered::Packet(packet)) => self.depacketize(id, &packet),
                Some(Reordered::Lost(_)) => {
                    if let Some(depacketizer) = &mut track.depacketizer {
                        depacketizer.handle_loss();
                    }
                }
                Some(Reordered::Restart) => {
                    track.depacketizer = None;
                    track.demand = None;
                }
                None => break,
            }
        }
        self.update_demand(id, now);
    }

    /// A packet in sequence order.
    fn depacketize(&mut self, id: TrackId, packet: &Packet) {
        let max_frame_bytes = self.config.max_frame_bytes;
        let Some(track) = self.tracks.get_mut(&id) else { return };
        track.stats.codec = Some(packet.codec);
        // The publisher has switched payload types: the new codec begins with a keyframe, or is asked for one.
        track.depacketizer.take_if(|depacketizer| depacketizer.codec() != packet.codec);
        if track.depacketizer.is_none() {
            track.depacketizer = Depacketizer::new(packet.codec, max_frame_bytes);
        }
        let Some(depacketizer) = &mut track.depacketizer else {
            track.stats.bad_payloads += 1;
            return;
        };
        if packet.payload.is_empty() {
            return; // padding only
        }
        // The frame before this packet is placed by the clock that its own packets were read with.
        depacketizer.close_before(packet.timestamp);
        self.take_frames(id);
        self.timeline.handle_packet(id, packet.ssrc, packet.timestamp, packet.arrival);
        if let Some(depacketizer) = self.tracks.get_mut(&id).and_then(|track| track.depacketizer.as_mut()) {
            depacketizer.handle_packet(packet);
        }
        self.take_frames(id);
    }

    /// Takes the track's whole frames and gives them their time.
    fn take_frames(&mut self, id: TrackId) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        let Some(depacketizer) = &mut track.depacketizer else { return };
        let may_reorder = depacketizer.codec() == Codec::H264;
        while let Some(output) = depacketizer.poll_output() {
            let coded = match output {
                Depacketized::Frame(coded) => coded,
                Depacketized::Dropped => {
                    track.stats.frames_dropped += 1;
                    continue;
                }
                Depacketized::BadPayload(_) => {
                    track.stats.bad_payloads += 1;
                    continue;
                }
            };
            let Some(placed) = self.timeline.place(id, coded.timestamp, coded.reorder_depth, may_reorder)
            else {
                continue;
            };
            track.stats.frames += 1;
            track.stats.keyframes += u64::from(coded.keyframe);
            track.stats.format = Some(Arc::clone(&coded.format));
            let frame = Frame {
                format: coded.format,
                pts: placed.pts,
                dts: placed.dts,
                duration: coded.duration,
                keyframe: coded.keyframe,
                data: coded.data,
            };
            self.output.push_back(IngestOutput::Frame { track: id, frame });
        }
    }

    /// Asks for a keyframe when one is needed and the last request is long enough ago.
    fn update_demand(&mut self, id: TrackId, now: Mono) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        let Some(reason) = track.depacketizer.as_ref().and_then(Depacketizer::keyframe_needed) else {
            track.demand = None;
            return;
        };
        let demand = track.demand.get_or_insert(Demand { reason, repeat_at: Some(now) });
        demand.reason = reason;
        let silent = track.stats.last_packet.is_none_or(|at| now.saturating_since(at) > SILENT_AFTER);
        match demand.repeat_at {
            Some(at) if at > now => {}
            Some(_) if silent => demand.repeat_at = None,
            None if silent => {}
            _ => {
                demand.repeat_at = Some(now + self.config.keyframe_repeat);
                track.stats.keyframe_requests += 1;
                self.output.push_back(IngestOutput::KeyframeNeeded { track: id, reason });
            }
        }
    }
}
