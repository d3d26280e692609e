//! A recorder that is on air: events of a [`super::reader::WebmReader`] in, RTP packets at the pace of their times out: [`LiveFeed`].
//!
//! Recorders hand out their files in chunks, a second long or five, and a file may come as fast as the network carries it. What follows
//! (the stream's timeline, WebRTC viewers) wants frames as a camera makes them, so each frame leaves when its time has come. From then on
//! nothing differs from what a WebRTC publisher sends.
//!
//! What belongs here: when a frame leaves, and that no more is read than is needed ([`LiveFeed::is_full`]). What does not: where the bytes
//! come from, and what the packets become.

mod pace;

use super::frames::{FrameMaker, Refusal};
use super::reader::WebmEvent;
use crate::codec::{Codec, TrackKind};
use crate::frame::Frame;
use crate::ingest::TrackId;
use crate::packet::{Packet, SenderReport};
use crate::packetize::{DEFAULT_MAX_PAYLOAD, Packetizer, rtp_timestamp};
use crate::time::Mono;
use pace::Pace;
use std::collections::VecDeque;
use std::time::Duration;

/// How bounded a feed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveConfig {
    /// With as much time waiting the feed is full.
    pub max_ahead: Duration,
    /// Likewise with as many bytes.
    pub max_bytes: usize,
}

impl Default for LiveConfig {
    fn default() -> Self {
        Self { max_ahead: Duration::from_secs(2), max_bytes: 16 << 20 }
    }
}

/// Between two reports of a lane: pictures and sound are brought together by them.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Reports need a wall clock that both lanes share; when it began is nobody's business. Far enough from zero for times below it.
const NTP_ZERO_S: i64 = 1 << 31;

/// What comes out, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiveOutput {
    /// A file begins: a publisher with these tracks. One that begins on the same input takes over from the one before.
    Begin {
        /// The tracks that are taken: at most one of each kind, numbered.
        tracks: Vec<(TrackId, TrackKind)>,
        /// Those that are not.
        refused: Vec<Refusal>,
    },
    /// The next packet, whose time has come.
    Packet {
        /// Its track.
        track: TrackId,
        /// The packet; its `arrival` is when it left here.
        packet: Packet,
    },
    /// Where a lane's clock is.
    Report {
        /// Its track.
        track: TrackId,
        /// The report.
        report: SenderReport,
    },
}

/// See the module's doc.
///
/// After each `handle_*` drain [`Self::poll_output`] and read [`Self::poll_timeout`] and [`Self::is_full`].
#[derive(Debug)]
pub struct LiveFeed {
    config: LiveConfig,
    maker: FrameMaker,
    pace: Pace,
    lanes: Vec<Lane>,
    /// Of the next lane.
    next_ssrc: u32,
    bytes: usize,
    /// Frames that came while it was full must wait for room, so their delay says nothing of the recorder.
    was_full: bool,
    frames: u64,
    dropped: u64,
    output: VecDeque<LiveOutput>,
}

#[derive(Debug)]
struct Lane {
    number: u64,
    track: TrackId,
    ssrc: u32,
    sequence: u16,
    packetizer: Option<Packetizer>,
    /// With the time of the file at which each is due, in nanoseconds.
    waiting: VecDeque<(i64, Frame)>,
    reported: Option<Mono>,
}

impl LiveFeed {
    /// A feed that waits for the first [`WebmEvent::Begin`].
    pub fn new(config: LiveConfig) -> Self {
        Self {
            config,
            maker: FrameMaker::new(),
            pace: Pace::default(),
            lanes: Vec::new(),
            next_ssrc: 1,
            bytes: 0,
            was_full: false,
            frames: 0,
            dropped: 0,
            output: VecDeque::new(),
        }
    }

    /// The next event in the order of the file.
    pub fn handle_event(&mut self, event: &WebmEvent, now: Mono) {
        if matches!(event, WebmEvent::Begin(_)) {
            // What the recorder before had to say is said.
            self.maker.handle_event(event);
            self.take_frames(now);
            self.let_go(None, now);
            self.begin();
        } else {
            self.maker.handle_event(event);
            self.take_frames(now);
            self.let_go(Some(now), now);
        }
    }

    /// The input has ended. What waits still leaves in its time.
    pub fn handle_end(&mut self, now: Mono) {
        self.maker.handle_end();
        self.take_frames(now);
        self.let_go(Some(now), now);
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Mono) {
        self.let_go(Some(now), now);
    }

    /// When the next frame is due; `None`: nothing waits.
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.lanes.iter().filter_map(Lane::next).min().and_then(|at_ns| self.pace.due(at_ns))
    }

    /// The next thing to take, or `None`.
    pub fn poll_output(&mut self) -> Option<LiveOutput> {
        self.output.pop_front()
    }

    /// As much waits as may: no event should be handed in before this has changed. One more does no harm.
    pub fn is_full(&self, now: Mono) -> bool {
        self.bytes >= self.config.max_bytes || self.ahead(now) >= self.config.max_ahead
    }

    /// How much time waits to leave.
    pub fn ahead(&self, now: Mono) -> Duration {
        let newest = self.lanes.iter().filter_map(|lane| lane.waiting.back()).map(|(at_ns, _)| *at_ns).max();
        newest.and_then(|at_ns| self.pace.due(at_ns)).map_or(Duration::ZERO, |due| due.saturating_since(now))
    }

    /// Frames that have left.
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// Frames that could not be taken.
    pub const fn dropped(&self) -> u64 {
        self.dropped + self.maker.dropped()
    }

    fn begin(&mut self) {
        let of_kind = |kind| self.maker.tracks().into_iter().find(|(_, found)| *found == kind);
        let chosen: Vec<(u64, TrackKind)> =
            [TrackKind::Video, TrackKind::Audio].into_iter().filter_map(of_kind).collect();
        self.pace = Pace::default();
        self.lanes.clear();
        let mut tracks = Vec::new();
        for ((number, kind), track) in chosen.into_iter().zip((0..).map(TrackId)) {
            tracks.push((track, kind));
            let ssrc = self.next_ssrc;
            self.next_ssrc = self.next_ssrc.wrapping_add(1);
            let waiting = VecDeque::new();
            self.lanes.push(Lane {
                number,
                track,
                ssrc,
                sequence: 0,
                packetizer: None,
                waiting,
                reported: None,
            });
        }
        self.output.push_back(LiveOutput::Begin { tracks, refused: self.maker.refusals().to_vec() });
    }

    fn take_frames(&mut self, now: Mono) {
        while let Some((number, frame)) = self.maker.poll_frame() {
            let Some(lane) = self.lanes.iter_mut().find(|lane| lane.number == number) else { continue };
            // Pictures leave in the order in which they are decoded, whatever their times say.
            let at_ns = frame.dts.as_nanos().max(lane.waiting.back().map_or(i64::MIN, |(at_ns, _)| *at_ns));
            let limit = self.config.max_ahead;
            self.pace.handle_frame(at_ns, now, self.was_full, limit);
            self.bytes += frame.data.len();
            lane.waiting.push_back((at_ns, frame));
        }
        self.was_full = self.is_full(now);
    }

    /// Sends what is due at `until`; everything when that is `None`.
    fn let_go(&mut self, until: Option<Mono>, now: Mono) {
        loop {
            let next =
                self.lanes.iter_mut().filter(|lane| lane.next().is_some()).min_by_key(|lane| lane.next());
            let Some(lane) = next else { return };
            let due = lane.next().and_then(|at_ns| self.pace.due(at_ns));
            if let (Some(until), Some(due)) = (until, due)
                && due > until
            {
                return;
            }
            let Some((_, frame)) = lane.waiting.pop_front() else { return };
            self.bytes -= frame.data.len();
            match lane.send(&frame, now, &mut self.output) {
                Some(()) => self.frames += 1,
                None => self.dropped += 1,
            }
        }
    }
}

impl Lane {
    /// The time of the file at which the next frame is due.
    fn next(&self) -> Option<i64> {
        self.waiting.front().map(|(at_ns, _)| *at_ns)
    }

    /// `None`: the frame has no packets.
    fn send(&mut self, frame: &Frame, now: Mono, output: &mut VecDeque<LiveOutput>) -> Option<()> {
        let codec = frame.format.codec();
        if self.packetizer.as_ref().is_none_or(|packetizer| packetizer.codec() != codec) {
            self.packetizer = Packetizer::new(codec, DEFAULT_MAX_PAYLOAD).ok();
        }
        let payloads = self.packetizer.as_mut()?.packetize(frame).ok()?;
        let timestamp = rtp_timestamp(frame);
        let last = payloads.len().checked_sub(1)?;
        for (index, payload) in payloads.into_iter().enumerate() {
            self.sequence = self.sequence.wrapping_add(1);
            let marker = codec != Codec::Opus && index == last;
            let (ssrc, sequence) = (self.ssrc, self.sequence);
            let packet = Packet { ssrc, sequence, timestamp, marker, codec, arrival: now, payload };
            output.push_back(LiveOutput::Packet { track: self.track, packet });
        }
        if self.reported.is_none_or(|at| now.saturating_since(at) >= REPORT_INTERVAL) {
            self.reported = Some(now);
            let ntp = ntp_of(frame.pts.as_nanos());
            let report = SenderReport { ssrc: self.ssrc, ntp, rtp_timestamp: timestamp, arrival: now };
            output.push_back(LiveOutput::Report { track: self.track, report });
        }
        Some(())
    }
}

/// A time of the file as 32.32 fixed point seconds.
fn ntp_of(ns: i64) -> u64 {
    let fixed = (i128::from(ns) << 32) / 1_000_000_000 + (i128::from(NTP_ZERO_S) << 32);
    fixed.rem_euclid(1 << 64) as u64
}

#[cfg(test)]
mod tests;
