//! A publisher with clocks of its own, and a link with public knobs, in simulated time.
//!
//! Every frame carries the instant of its capture, in local time, so that what comes out of an [`Ingest`] can be held
//! against the truth: `error = pts - (capture - epoch)`. The skew is the audio's error less the video's.

#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

use bytes::{BufMut, Bytes, BytesMut};
use skywave_media::codec::{Codec, TrackKind};
use skywave_media::frame::Frame;
use skywave_media::ingest::{Ingest, IngestConfig, IngestOutput, TrackId, TrackStats};
use skywave_media::packet::{Packet, SenderReport};
use skywave_media::time::Mono;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

pub(crate) const AUDIO: TrackId = TrackId(0);
pub(crate) const VIDEO: TrackId = TrackId(1);
pub(crate) const MS: i64 = 1_000_000;
pub(crate) const SECOND: i64 = 1000 * MS;

/// Local time of the stream's epoch: not zero, so that a forgotten subtraction shows.
pub(crate) const EPOCH: Mono = Mono::from_millis(77_777_777);

/// A small generator (xorshift64*): the same numbers in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// When something happens, in nanoseconds after the epoch.
pub(crate) type Span = Range<i64>;

/// One track of the publisher, and its way to us.
#[derive(Clone)]
pub(crate) struct TrackKnobs {
    /// Whether there is such a track.
    pub(crate) present: bool,
    /// Time from one frame to the next, by the sender's clock.
    pub(crate) interval: i64,
    /// How fast its RTP clock runs, in parts per million.
    pub(crate) ppm: f64,
    /// From capture to sending: encoder and the frame's own length.
    pub(crate) encode: i64,
    /// While muted nothing is captured or sent.
    pub(crate) mute: Vec<Span>,
    /// The clock stands still while muted, instead of running on.
    pub(crate) clock_stops_in_mute: bool,
    /// At these instants the RTP timestamp jumps by so many ticks.
    pub(crate) timestamp_jumps: Vec<(i64, i64)>,
    /// At these instants the track goes on from another source with another clock base.
    pub(crate) ssrc_changes: Vec<i64>,
    /// The frames captured before this were kept back, and are sent all at once.
    pub(crate) backlog_until: i64,
    /// The first capture.
    pub(crate) starts: i64,
}

/// What the publisher's sender reports are like.
#[derive(Clone)]
pub(crate) struct ReportKnobs {
    /// None before this; `i64::MAX` for none at all.
    pub(crate) from: i64,
    pub(crate) interval: i64,
    /// The reports' clock is this wrong, up to so much either way.
    pub(crate) noise: i64,
    /// At these instants the sender's wall clock steps by so much.
    pub(crate) clock_steps: Vec<(i64, i64)>,
}

/// The publisher and the link.
#[derive(Clone)]
pub(crate) struct Sim {
    pub(crate) seed: u64,
    pub(crate) length: i64,
    pub(crate) audio: TrackKnobs,
    pub(crate) video: TrackKnobs,
    pub(crate) reports: ReportKnobs,
    pub(crate) link_delay: i64,
    /// Up to so much more, mostly little.
    pub(crate) jitter: i64,
    /// Share of packets that are lost.
    pub(crate) loss: f64,
    /// The link stalls: packets wait for its end.
    pub(crate) stalls: Vec<Span>,
}

impl Sim {
    /// Chromium on a good line: 30 fps, 20 ms of Opus, reports every second.
    pub(crate) fn new(length: i64) -> Self {
        let track = TrackKnobs {
            present: true,
            interval: 20 * MS,
            ppm: 0.0,
            encode: 20 * MS,
            mute: vec![],
            clock_stops_in_mute: false,
            timestamp_jumps: vec![],
            ssrc_changes: vec![],
            backlog_until: 0,
            starts: 0,
        };
        Self {
            seed: 0x5eed,
            length,
            audio: track.clone(),
            video: TrackKnobs { interval: SECOND / 30, ..track },
            reports: ReportKnobs { from: SECOND, interval: SECOND, noise: 0, clock_steps: vec![] },
            link_delay: 15 * MS,
            jitter: 0,
            loss: 0.0,
            stalls: vec![],
        }
    }

    pub(crate) fn without_reports(mut self) -> Self {
        self.reports.from = i64::MAX;
        self
    }

    /// Runs it all, and checks what must hold always: PTS and DTS rise strictly, timers are consumed.
    pub(crate) fn run(&self) -> Outcome {
        Run::new(self).run()
    }
}

/// A frame that came out.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    /// When it was captured, after the epoch.
    pub(crate) capture: i64,
    /// When it came out.
    pub(crate) at: i64,
    pub(crate) pts: i64,
}

impl Seen {
    pub(crate) fn error(&self) -> i64 {
        self.pts - self.capture
    }
}

/// What came out.
pub(crate) struct Outcome {
    pub(crate) audio: Vec<Seen>,
    pub(crate) video: Vec<Seen>,
    pub(crate) sent_audio: u64,
    pub(crate) audio_stats: TrackStats,
    pub(crate) video_stats: TrackStats,
}

impl Outcome {
    /// The greatest skew in a span of capture time, in nanoseconds: of each video frame against the last audio frame
    /// captured before it, if that was within half a second.
    pub(crate) fn worst_skew(&self, span: Span) -> i64 {
        let (mut worst, mut next) = (0, 0);
        for frame in self.video.iter().filter(|frame| span.contains(&frame.capture)) {
            while self.audio.get(next).is_some_and(|audio| audio.capture <= frame.capture) {
                next += 1;
            }
            let Some(audio) = next.checked_sub(1).map(|at| self.audio[at]) else { continue };
            if frame.capture - audio.capture < SECOND / 2 {
                worst = worst.max((audio.error() - frame.error()).abs());
            }
        }
        worst
    }

    /// The least and greatest error against local time in a span of capture time.
    pub(crate) fn errors(frames: &[Seen], span: Span) -> (i64, i64) {
        let errors = || frames.iter().filter(|frame| span.contains(&frame.capture)).map(Seen::error);
        (errors().min().unwrap(), errors().max().unwrap())
    }
}

enum Event {
    Packet(TrackId, Packet),
    Report(TrackId, SenderReport),
}

struct Source {
    id: TrackId,
    knobs: TrackKnobs,
    codec: Codec,
    rate: f64,
    ssrc: u32,
    base: u32,
    sequence: u16,
    next: i64,
    /// No packet overtakes another of its track.
    last_arrival: i64,
    key_wanted: bool,
    next_report: i64,
}

impl Source {
    /// The RTP timestamp of an instant.
    fn timestamp(&self, at: i64) -> u32 {
        let mut at_clock = at;
        if self.knobs.clock_stops_in_mute {
            for mute in &self.knobs.mute {
                at_clock -= (at.min(mute.end) - mute.start).max(0);
            }
        }
        let jumped: i64 =
            self.knobs.timestamp_jumps.iter().filter(|(when, _)| *when <= at).map(|(_, ticks)| ticks).sum();
        let ticks = at_clock as f64 / 1e9 * self.rate * (1.0 + self.knobs.ppm / 1e6);
        self.base.wrapping_add((ticks.round() as i64 + jumped) as u32)
    }

    fn payload(&mut self, capture: i64) -> Bytes {
        let mut payload = BytesMut::new();
        if self.codec == Codec::Opus {
            payload.put_u8(0xfc);
        } else if std::mem::take(&mut self.key_wanted) {
            payload.put_slice(&[0x10, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01]);
        } else {
            payload.put_slice(&[0x10, 0x11]);
        }
        payload.put_i64(capture);
        payload.freeze()
    }
}

struct Run<'a> {
    sim: &'a Sim,
    random: Random,
    ingest: Ingest,
    sources: Vec<Source>,
    /// What is under way: arrival, order of sending, and what.
    under_way: BinaryHeap<Reverse<(i64, u64)>>,
    events: std::collections::BTreeMap<u64, Event>,
    sent: u64,
    sent_audio: u64,
    seen: [Vec<Seen>; 2],
    last: [Option<(i64, i64)>; 2],
}

impl<'a> Run<'a> {
    fn new(sim: &'a Sim) -> Self {
        let mut ingest = Ingest::new(IngestConfig::default(), EPOCH);
        let mut sources = Vec::new();
        for (id, knobs, codec, rate, base) in [
            (AUDIO, &sim.audio, Codec::Opus, 48_000.0, 0xffff_0000u32),
            (VIDEO, &sim.video, Codec::Vp8, 90_000.0, 0x7fff_ff00),
        ] {
            ingest.add_track(id, codec.kind(), EPOCH);
            if knobs.present {
                let (ssrc, next) = (u32::from(id.0) + 1, knobs.starts);
                sources.push(Source {
                    id,
                    knobs: knobs.clone(),
                    codec,
                    rate,
                    ssrc,
                    base,
                    sequence: 65_000,
                    next,
                    last_arrival: i64::MIN,
                    key_wanted: true,
                    // The tracks report at different instants.
                    next_report: sim.reports.from.saturating_add(i64::from(id.0) * 300 * MS),
                });
            }
        }
        Self {
            sim,
            random: Random(sim.seed),
            ingest,
            sources,
            under_way: BinaryHeap::new(),
            events: Default::default(),
            sent: 0,
            sent_audio: 0,
            seen: [vec![], vec![]],
            last: [None; 2],
        }
    }

    fn run(mut self) -> Outcome {
        loop {
            // What is sent next, by whom.
            let next = self.sources.iter().enumerate().map(|(n, source)| (source.next, n)).min().unwrap();
            if next.0 >= self.sim.length {
                break;
            }
            // Whatever arrives before then, arrives first.
            self.deliver(next.0);
            self.capture(next.1);
        }
        self.deliver(i64::MAX);
        let [audio, video] = self.seen;
        Outcome {
            audio,
            video,
            sent_audio: self.sent_audio,
            audio_stats: self.ingest.stats(AUDIO).unwrap(),
            video_stats: self.ingest.stats(VIDEO).unwrap(),
        }
    }

    /// The instant at which something sent now arrives.
    fn arrival(&mut self, sent: i64) -> i64 {
        let sim = self.sim;
        let sent = sim.stalls.iter().find(|stall| stall.contains(&sent)).map_or(sent, |stall| stall.end);
        // The third power of a uniform number: mostly little, now and then much.
        sent + sim.link_delay + (self.random.unit().powi(3) * sim.jitter as f64) as i64
    }

    fn capture(&mut self, n: usize) {
        let at = self.sources[n].next;
        let jitter = self.random.unit();
        let arrival = {
            let knobs = &self.sources[n].knobs;
            let sent = (at + knobs.encode).max(knobs.backlog_until);
            self.arrival(sent)
        };
        let lost = jitter < self.sim.loss;
        let source = &mut self.sources[n];
        source.next += source.knobs.interval;
        if source.knobs.ssrc_changes.first().is_some_and(|when| *when <= at) {
            source.knobs.ssrc_changes.remove(0);
            source.ssrc += 100;
            source.base = source.base.wrapping_mul(3).wrapping_add(12_345);
            source.sequence = source.sequence.wrapping_add(30_000);
            source.key_wanted = true;
        }
        let muted = source.knobs.mute.iter().any(|mute| mute.contains(&at));
        if !muted {
            let packet = Packet {
                ssrc: source.ssrc,
                sequence: source.sequence,
                timestamp: source.timestamp(at),
                marker: source.codec != Codec::Opus,
                codec: source.codec,
                arrival: mono(arrival.max(source.last_arrival)),
                payload: source.payload(at),
            };
            source.sequence = source.sequence.wrapping_add(1);
            source.last_arrival = arrival.max(source.last_arrival);
            let (id, arrival) = (source.id, source.last_arrival);
            self.sent_audio += u64::from(id == AUDIO);
            if !lost {
                self.send(arrival, Event::Packet(id, packet));
            }
        }
        if self.sources[n].next_report <= at {
            self.report(n, at);
        }
    }

    fn report(&mut self, n: usize, at: i64) {
        let sim = self.sim;
        let noise = ((self.random.unit() * 2.0 - 1.0) * sim.reports.noise as f64) as i64;
        let arrival = self.arrival(at);
        let source = &mut self.sources[n];
        source.next_report += sim.reports.interval;
        let stepped: i64 =
            sim.reports.clock_steps.iter().filter(|(when, _)| *when <= at).map(|(_, by)| by).sum();
        let wall = 3_900_000_000 * SECOND + at + stepped + noise;
        let report = SenderReport {
            ssrc: source.ssrc,
            ntp: ((i128::from(wall) << 32) / i128::from(SECOND)) as u64,
            rtp_timestamp: source.timestamp(at),
            arrival: mono(arrival),
        };
        let id = source.id;
        self.send(arrival, Event::Report(id, report));
    }

    fn send(&mut self, arrival: i64, event: Event) {
        self.under_way.push(Reverse((arrival, self.sent)));
        self.events.insert(self.sent, event);
        self.sent += 1;
    }

    fn deliver(&mut self, until: i64) {
        while self.under_way.peek().is_some_and(|Reverse((at, _))| *at <= until) {
            let Reverse((at, key)) = self.under_way.pop().unwrap();
            while let Some(due) = self.ingest.poll_timeout().filter(|due| *due <= mono(at)) {
                self.ingest.handle_timeout(due);
                assert!(self.ingest.poll_timeout().is_none_or(|next| next > due), "a due timer is consumed");
                self.drain(due.nanos_since(EPOCH));
            }
            match self.events.remove(&key).unwrap() {
                Event::Packet(id, packet) => self.ingest.handle_packet(id, packet),
                Event::Report(id, report) => self.ingest.handle_sender_report(id, report),
            }
            self.drain(at);
        }
    }

    fn drain(&mut self, at: i64) {
        while let Some(output) = self.ingest.poll_output() {
            match output {
                IngestOutput::Frame { track, frame } => self.see(track, &frame, at),
                IngestOutput::KeyframeNeeded { track, .. } => {
                    self.sources
                        .iter_mut()
                        .filter(|source| source.id == track)
                        .for_each(|s| s.key_wanted = true);
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    fn see(&mut self, track: TrackId, frame: &Frame, at: i64) {
        let n = usize::from(track.0);
        assert_eq!(frame.kind(), [TrackKind::Audio, TrackKind::Video][n]);
        let (pts, dts) = (frame.pts.ticks, frame.dts.ticks);
        assert_eq!(pts, dts, "no B-frames here");
        if let Some((last_pts, last_at)) = self.last[n] {
            assert!(pts > last_pts, "{track}: PTS {pts} after {last_pts} at {at} (before: {last_at})");
        }
        self.last[n] = Some((pts, at));
        let capture = i64::from_be_bytes(frame.data[frame.data.len() - 8..].try_into().unwrap());
        self.seen[n].push(Seen { capture, at, pts: frame.pts.as_nanos() });
    }
}

pub(crate) fn mono(at: i64) -> Mono {
    Mono::from_nanos(EPOCH.as_nanos().wrapping_add_signed(at))
}
