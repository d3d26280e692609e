//! Counters of the wire, and what webrtcbin's statistics say of the far end.

use super::options::PublishStats;
use gstreamer as gst;
use gstreamer_webrtc::WebRTCStatsType;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Counted by pad probes, read by the task. They go on over connections.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub packets: AtomicU64,
    pub bytes: AtomicU64,
    pub dropped_packets: AtomicU64,
    pub corrupted_frames: AtomicU64,
    pub keyframe_requests: AtomicU64,
    /// RTCP datagrams heard from the far end.
    pub heard: AtomicU64,
}

impl Counters {
    /// RTP packets and bytes put on the wire.
    pub(super) fn sent(&self) -> (u64, u64) {
        (self.packets.load(Relaxed), self.bytes.load(Relaxed))
    }
}

/// What the far end reports (RTCP receiver reports), all lanes together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct FarEnd {
    pub rtt: Option<Duration>,
    pub lost_packets: u64,
}

impl FarEnd {
    /// Reads the reply to webrtcbin's `get-stats`: one structure per object, told apart by its `type`.
    pub(super) fn from_reply(reply: &gst::StructureRef) -> Self {
        let mut far = Self::default();
        for (_, value) in reply.iter() {
            let Ok(stats) = value.get::<gst::Structure>() else { continue };
            if stats.get::<WebRTCStatsType>("type") != Ok(WebRTCStatsType::RemoteInboundRtp) {
                continue;
            }
            if let Ok(seconds) = stats.get::<f64>("round-trip-time")
                && let Ok(rtt) = Duration::try_from_secs_f64(seconds)
                && !rtt.is_zero()
            {
                far.rtt = Some(far.rtt.map_or(rtt, |other| other.max(rtt)));
            }
            // Duplicates make the count negative (RFC 3550 section 6.4.1).
            let lost =
                stats.get::<i32>("packets-lost").map(i64::from).or_else(|_| stats.get::<i64>("packets-lost"));
            far.lost_packets += lost.ok().and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
        }
        far
    }
}

/// Makes [`PublishStats`] from successive readings of the counters.
#[derive(Debug)]
pub(super) struct Meter {
    packets_at_start: u64,
    last_bytes: u64,
}

impl Meter {
    pub(super) fn new(counters: &Counters) -> Self {
        let (packets, bytes) = counters.sent();
        Self { packets_at_start: packets, last_bytes: bytes }
    }

    /// The statistics of the `elapsed` time since the last reading.
    pub(super) fn read(&mut self, counters: &Counters, far: FarEnd, elapsed: Duration) -> PublishStats {
        let (packets, bytes) = counters.sent();
        let bits = (bytes - self.last_bytes) as f64 * 8.0;
        self.last_bytes = bytes;
        PublishStats {
            bitrate_bps: (bits / elapsed.as_secs_f64().max(0.001)) as u64,
            rtt: far.rtt,
            lost_packets: far.lost_packets,
            packets: packets - self.packets_at_start,
        }
    }
}

/// Tells, from the count of RTCP datagrams heard, when the far end has been silent for too long.
///
/// How often a peer speaks depends on the peer: with transport-wide congestion control many times a second, with plain
/// RTCP every few seconds (RFC 3550 section 6.2), and some not at all. So its own longest pause is the measure.
#[derive(Debug)]
pub(super) struct Silence {
    heard: u64,
    /// When it last spoke, once it has.
    at: Option<Instant>,
    /// Its longest pause, once it has spoken twice.
    longest_pause: Option<Duration>,
}

/// Silence is never too long before this, and always after that.
const SILENCE_LIMITS: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(15));

/// Silence is too long when it is longer than this many of the longest pause so far.
const PAUSES: u32 = 3;

impl Silence {
    pub(super) fn new(heard: u64) -> Self {
        Self { heard, at: None, longest_pause: None }
    }

    /// Notes the count at `now`; the length of a silence that is too long. To be called about once a second.
    pub(super) fn handle(&mut self, heard: u64, now: Instant) -> Option<Duration> {
        let silent = self.at.map(|at| now - at);
        if heard != self.heard {
            (self.heard, self.at) = (heard, Some(now));
            self.longest_pause = self.longest_pause.max(silent);
            return None;
        }
        let limit = self
            .longest_pause
            .map_or(SILENCE_LIMITS.1, |p| (p * PAUSES).clamp(SILENCE_LIMITS.0, SILENCE_LIMITS.1));
        silent.filter(|silent| *silent > limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_end_statistics_are_summed_over_the_lanes() {
        gst::init().unwrap();
        let inbound = |rtt: f64, lost: i32| {
            gst::Structure::builder("remote-inbound-rtp")
                .field("type", WebRTCStatsType::RemoteInboundRtp)
                .field("round-trip-time", rtt)
                .field("packets-lost", lost)
                .build()
        };
        let other = gst::Structure::builder("codec").field("type", WebRTCStatsType::Codec).build();
        let reply = gst::Structure::builder("stats")
            .field("a", inbound(0.010, 3))
            .field("b", inbound(0.025, -1))
            .field("c", other)
            .field("d", 5)
            .build();
        assert_eq!(
            FarEnd::from_reply(&reply),
            FarEnd { rtt: Some(Duration::from_millis(25)), lost_packets: 3 }
        );
    }

    #[test]
    fn silence_is_measured_by_the_peers_own_pauses() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut often = Silence::new(3);
        assert!((0..10).all(|n| often.handle(4 + n, at(n)).is_none()), "speaks every second");
        assert!((10..=15).all(|n| often.handle(13, at(n)).is_none()));
        assert_eq!(often.handle(13, at(16)), Some(Duration::from_secs(7)));

        let mut seldom = Silence::new(3);
        let said = |n: u64| 4 + n / 5;
        assert!((0..=20).all(|n| seldom.handle(said(n), at(n)).is_none()), "speaks every five seconds");
        assert!((21..=35).all(|n| seldom.handle(said(20), at(n)).is_none()));
        assert!(seldom.handle(said(20), at(36)).is_some());

        let mut once = Silence::new(3);
        assert!((0..=15).all(|n| once.handle(4, at(n)).is_none()));
        assert!(once.handle(4, at(16)).is_some());

        let mut mute = Silence::new(3);
        assert!((0..1000).all(|n| mute.handle(3, at(n)).is_none()), "never spoke: ICE has to notice");
    }

    #[test]
    fn the_meter_reads_rates_between_readings() {
        let counters = Counters::default();
        counters.packets.store(100, Relaxed);
        counters.bytes.store(1000, Relaxed);
        let mut meter = Meter::new(&counters);
        counters.packets.store(110, Relaxed);
        counters.bytes.store(11_000, Relaxed);
        let stats = meter.read(&counters, FarEnd::default(), Duration::from_millis(500));
        assert_eq!((stats.bitrate_bps, stats.packets), (160_000, 10));
        assert_eq!(meter.read(&counters, FarEnd::default(), Duration::from_secs(1)).bitrate_bps, 0);
    }
}
