//! A viewer behind a simulated link: a bottleneck with a queue, random loss, receiver reports, and REMB if wanted.

use super::{Follow, Layer, LayerPolicy};
use crate::continuity::SourceId;
use crate::estimate::{BandwidthEstimate, Reception};
use skywave_media::time::Mono;
use std::collections::VecDeque;
use std::time::Duration;

/// A viewer and its link. Every knob may be turned while it runs.
pub(super) struct Sim {
    /// What the bottleneck passes, in bits per second.
    pub(super) rate_bps: u64,
    /// What its queue holds, in bytes.
    pub(super) queue_bytes: u64,
    /// Share of packets lost besides.
    pub(super) loss: f64,
    /// Way there and back, without the queue.
    pub(super) round_trip: Duration,
    /// Whether the viewer sends REMB.
    pub(super) remb: bool,
    /// Bits per second of each layer; the source of layer `n` is `n`.
    pub(super) layers: Vec<u64>,
    /// The source makes a keyframe every so often on its own.
    pub(super) keyframe_every: Option<Duration>,

    pub(super) now: Mono,
    pub(super) policy: LayerPolicy,
    estimate: BandwidthEstimate,
    /// What is being sent.
    pub(super) sending: Option<SourceId>,
    random: u64,
    debt: f64,
    queue: VecDeque<(Mono, u64)>,
    queued: u64,
    credit: f64,
    window: Arrived,
    /// As receiver reports have it.
    reception: Reception,
    remb_state: RembState,
    reports: VecDeque<(Mono, Report)>,
    next_report: Mono,
    next_keyframe: Option<Mono>,
    /// What came through, in bytes; the test resets it.
    pub(super) delivered: u64,
    /// Packets sent and packets lost.
    pub(super) sent: u64,
    pub(super) lost: u64,
    pub(super) switches: Vec<(Mono, SourceId)>,
    pub(super) demands: u64,
    /// The longest time a packet spent in the queue.
    pub(super) worst_delay: Duration,
}

#[derive(Default, Clone, Copy)]
struct Arrived {
    got: u64,
    lost: u64,
    bytes: u64,
}

struct RembState {
    bps: f64,
    delay: Duration,
}

#[derive(Clone, Copy)]
enum Report {
    Loss(Reception),
    Remb(u64),
}

const STEP: Duration = Duration::from_millis(5);
const PACKET: u64 = 1_200;
/// Audio goes on whatever happens.
const AUDIO_BPS: f64 = 40_000.0;

impl Sim {
    pub(super) fn new(rate_bps: u64, layers: &[u64], seed: u64) -> Self {
        let now = Mono::from_millis(1_000_000);
        Self {
            rate_bps,
            queue_bytes: rate_bps / 8 / 5,
            loss: 0.0,
            round_trip: Duration::from_millis(40),
            remb: false,
            layers: layers.to_vec(),
            keyframe_every: Some(Duration::from_secs(2)),
            now,
            policy: LayerPolicy::default(),
            estimate: BandwidthEstimate::default(),
            sending: None,
            random: seed.wrapping_mul(2).wrapping_add(1),
            debt: 0.0,
            queue: VecDeque::new(),
            queued: 0,
            credit: 0.0,
            window: Arrived::default(),
            reception: Reception { highest: 0, lost: 0 },
            remb_state: RembState { bps: 300_000.0, delay: Duration::ZERO },
            reports: VecDeque::new(),
            next_report: now + Duration::from_secs(1),
            next_keyframe: None,
            delivered: 0,
            sent: 0,
            lost: 0,
            switches: Vec::new(),
            demands: 0,
            worst_delay: Duration::ZERO,
        }
    }

    pub(super) fn run(&mut self, seconds: f64) {
        let end = self.now + Duration::from_secs_f64(seconds);
        while self.now < end {
            self.step();
        }
    }

    /// Seconds since the simulation began.
    pub(super) fn seconds(&self) -> f64 {
        self.now.saturating_since(Mono::from_millis(1_000_000)).as_secs_f64()
    }

    fn random(&mut self) -> f64 {
        // xorshift64 (Marsaglia, 2003).
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }

    fn step(&mut self) {
        if self.now.as_nanos().is_multiple_of(1_000_000_000) {
            let layers: Vec<Layer> = (0u32..)
                .zip(&self.layers)
                .map(|(n, bps)| Layer { source: SourceId(n), bitrate_bps: *bps })
                .collect();
            self.policy.handle_layers(&layers, self.now);
        }
        self.keyframes();
        self.send();
        self.carry();
        self.report();
        self.now = self.now + STEP;
        while let Some(due) = self.policy.poll_timeout().filter(|due| *due <= self.now) {
            self.policy.handle_timeout(self.now);
            assert!(self.policy.poll_timeout().is_none_or(|next| next > due), "a due timer is consumed");
        }
        while self.estimate.poll_timeout().is_some_and(|due| due <= self.now) {
            self.estimate.handle_timeout(self.now);
        }
        if let Some(outlook) = self.estimate.poll_outlook() {
            self.policy.handle_outlook(outlook, self.now);
        }
    }

    /// The publisher answers a switch with a keyframe after 100 ms, and makes one now and then.
    fn keyframes(&mut self) {
        let wanted = self.policy.target() != self.sending && self.policy.follow() == Follow::Send;
        let demanded = self.policy.poll_keyframe_demand();
        self.demands += u64::from(demanded);
        let soon = self.now + Duration::from_millis(100);
        if wanted || demanded {
            self.next_keyframe = Some(self.next_keyframe.map_or(soon, |next| next.min(soon)));
        }
        if self.next_keyframe.is_none() {
            self.next_keyframe = self.keyframe_every.map(|every| self.now + every);
        }
        if self.next_keyframe.is_some_and(|next| self.now >= next) {
            self.next_keyframe = None;
            self.policy.handle_keyframe(self.now);
            if self.policy.follow() == Follow::Send
                && let Some(target) = self.policy.target().filter(|target| Some(*target) != self.sending)
            {
                self.sending = Some(target);
                self.switches.push((self.now, target));
                self.policy.handle_switched(target, self.now);
            }
        }
    }

    fn send(&mut self) {
        let video = match (self.policy.follow(), self.sending) {
            (Follow::Send, Some(SourceId(n))) => self.layers.get(n as usize).copied().unwrap_or(0),
            _ => 0,
        };
        self.debt += (video as f64 + AUDIO_BPS) / 8.0 * STEP.as_secs_f64();
        while self.debt >= PACKET as f64 {
            self.debt -= PACKET as f64;
            self.estimate.handle_sent(PACKET as usize, self.now);
            self.sent += 1;
            if self.random() < self.loss || self.queued + PACKET > self.queue_bytes.max(PACKET) {
                self.lost += 1;
                self.window.lost += 1;
            } else {
                self.queue.push_back((self.now, PACKET));
                self.queued += PACKET;
            }
        }
    }

    fn carry(&mut self) {
        self.credit += self.rate_bps as f64 / 8.0 * STEP.as_secs_f64();
        while let Some((at, bytes)) = self.queue.front().copied() {
            if self.credit < bytes as f64 {
                break;
            }
            self.credit -= bytes as f64;
            self.queue.pop_front();
            self.queued -= bytes;
            self.remb_state.delay = self.now.saturating_since(at);
            self.worst_delay = self.worst_delay.max(self.remb_state.delay);
            self.window.got += 1;
            self.window.bytes += bytes;
            self.delivered += bytes;
        }
        if self.queue.is_empty() {
            self.credit = self.credit.min(PACKET as f64);
        }
    }

    /// About once a second, as browsers do; a REMB with each report, and at once when a queue has grown.
    fn report(&mut self) {
        if self.now >= self.next_report {
            let Arrived { got, lost, bytes } = std::mem::take(&mut self.window);
            self.reception.highest = self.reception.highest.wrapping_add((got + lost) as u32);
            self.reception.lost += lost as i32;
            let arrival = self.now + self.round_trip / 2;
            self.reports.push_back((arrival, Report::Loss(self.reception)));
            if self.remb {
                let incoming = bytes as f64 * 8.0;
                let state = &mut self.remb_state;
                if state.delay > Duration::from_millis(80) {
                    state.bps = state.bps.min(0.85 * incoming);
                } else {
                    state.bps = state.bps.max((state.bps * 1.08).min(1.5 * incoming + 10_000.0));
                }
                self.reports.push_back((arrival, Report::Remb(state.bps as u64)));
            }
            let jitter = 900.0 + 200.0 * self.random();
            self.next_report = self.now + Duration::from_millis(jitter as u64);
        }
        while let Some((_, report)) = self.reports.front().copied().filter(|(at, _)| *at <= self.now) {
            self.reports.pop_front();
            match report {
                Report::Loss(reception) => self.estimate.handle_report(reception, self.now),
                Report::Remb(bps) => self.estimate.handle_remb(bps, self.now),
            }
        }
    }
}
