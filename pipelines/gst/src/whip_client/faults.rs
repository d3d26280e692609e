//! Faults committed on purpose: pad probes that drop, damage or withhold.

use super::options::Faults;
use super::stats::Counters;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_rtp::RTPBuffer;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

/// Payload bytes left whole at the front of a damaged packet, so that it still depacketizes and the damage reaches the
/// decoder: the longest payload descriptor our payloaders write (VP9 in non-flexible mode, RFC 9628 section 4.2,
/// without a scalability structure) and the two bytes of an H.264 fragmentation unit.
const SPARED_BYTES: usize = 4;

/// One in this many payload bytes of a damaged frame is flipped.
const FLIP_ONE_IN: usize = 50;

/// Payload type 200 of RTCP: a sender report (RFC 3550 section 6.4.1).
const SENDER_REPORT: u8 = 200;

/// Decides, packet by packet, what reaches the wire.
pub(super) struct WireLoss {
    dice: Mutex<StdRng>,
    share: f64,
}

impl WireLoss {
    pub(super) fn new(faults: &Faults) -> Self {
        Self { dice: Mutex::new(StdRng::seed_from_u64(faults.seed)), share: share(faults.drop_percent) }
    }

    /// Whether the next RTP packet is lost.
    pub(super) fn loses(&self) -> bool {
        self.share > 0.0 && self.dice.lock().expect("no thread panics while it rolls").random_bool(self.share)
    }
}

/// A percentage as a probability.
fn share(percent: f64) -> f64 {
    if percent.is_finite() { (percent / 100.0).clamp(0.0, 1.0) } else { 0.0 }
}

/// Keeps RTCP that begins with a sender report from passing `pad`.
pub(super) fn withhold_sender_reports(pad: &gst::Pad) {
    pad.add_probe(gst::PadProbeType::BUFFER, |_, probe| {
        let report = probe
            .buffer()
            .and_then(|b| b.map_readable().ok())
            .is_some_and(|data| data.get(1).is_some_and(|kind| *kind == SENDER_REPORT));
        if report { gst::PadProbeReturn::Handled } else { gst::PadProbeReturn::Ok }
    });
}

/// Damages some of the frames whose RTP packets pass `pad`.
pub(super) fn damage_frames(pad: &gst::Pad, faults: &Faults, counters: &Arc<Counters>) {
    let share = share(faults.corrupt_percent);
    if share <= 0.0 {
        return;
    }
    // Another row of dice than the wire's: the two faults do not move each other.
    let mut damage = Damage { dice: StdRng::seed_from_u64(!faults.seed), share, frame: None };
    let counters = Arc::clone(counters);
    let damage_one = move |buffer: &mut gst::BufferRef| damage.packet(buffer, &counters);
    let damage_one = Mutex::new(damage_one);
    let mask = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
    pad.add_probe(mask, move |_, probe| {
        let mut damage_one = damage_one.lock().expect("no thread panics while it rolls");
        match &mut probe.data {
            Some(gst::PadProbeData::Buffer(buffer)) => damage_one(buffer.make_mut()),
            Some(gst::PadProbeData::BufferList(list)) => {
                list.make_mut().foreach_mut(|mut buffer, _| {
                    damage_one(buffer.make_mut());
                    std::ops::ControlFlow::Continue(Some(buffer))
                });
            }
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
}

struct Damage {
    dice: StdRng,
    share: f64,
    /// RTP timestamp of the current frame, and whether it is damaged.
    frame: Option<(u32, bool)>,
}

impl Damage {
    fn packet(&mut self, buffer: &mut gst::BufferRef, counters: &Counters) {
        let Ok(mut packet) = RTPBuffer::from_buffer_writable(buffer) else { return };
        let timestamp = packet.timestamp();
        let damaged = match self.frame {
            Some((current, damaged)) if current == timestamp => damaged,
            _ => {
                let damaged = self.dice.random_bool(self.share);
                counters.corrupted_frames.fetch_add(u64::from(damaged), Relaxed);
                self.frame = Some((timestamp, damaged));
                damaged
            }
        };
        if !damaged {
            return;
        }
        let Ok(payload) = packet.payload_mut() else { return };
        let Some(body) = payload.get_mut(SPARED_BYTES..).filter(|b| !b.is_empty()) else { return };
        for _ in 0..body.len().div_ceil(FLIP_ONE_IN) {
            let at = self.dice.random_range(0..body.len());
            body[at] ^= self.dice.random_range(1..=u8::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_lose_the_same_packets_and_about_the_wished_share() {
        let row = |seed| {
            let loss = WireLoss::new(&Faults { drop_percent: 2.0, seed, ..Faults::default() });
            (0..50_000).map(|_| loss.loses()).collect::<Vec<_>>()
        };
        assert_eq!(row(7), row(7));
        assert_ne!(row(7), row(8));
        let lost = row(7).into_iter().filter(|l| *l).count();
        assert!((850..1150).contains(&lost), "{lost} of 50000");
        let none = WireLoss::new(&Faults::default());
        assert!((0..1000).all(|_| !none.loses()));
        let odd = WireLoss::new(&Faults { drop_percent: f64::NAN, ..Faults::default() });
        assert!(!odd.loses());
        let all = WireLoss::new(&Faults { drop_percent: 1000.0, ..Faults::default() });
        assert!(all.loses());
    }
}
