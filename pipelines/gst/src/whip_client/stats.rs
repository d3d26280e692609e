//! Counters of the wire, and what webrtcbin's statistics say of the far end.

use super::options::PublishStats;
use gstreamer as gst;
use gstreamer_webrtc::WebRTCStatsType;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Counted by pad probes, read by the task. They go on over connections.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub packets: AtomicU64,
    pub bytes: AtomicU64,
    pub dropped_packets: AtomicU64,
    pub corrupted_frames: AtomicU64,
    pub keyframe_requests: AtomicU64,
    /// Datagrams (DTLS, RTCP) heard from the far end.
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
