//! What a viewer's way is believed to carry, from what the viewer reports.
//!
//! Two witnesses: loss in receiver reports (RFC 3550 section 6.4.1), judged as by the loss-based controller of
//! draft-ietf-rmcat-gcc-02 section 6, and the receiver's own estimate (REMB, draft-alvestrand-rmcat-remb-03), which
//! sees queues grow before anything is lost. Neither can vouch for more than was really sent: the estimate stays near that,
//! and says so ([`Outlook::limited_by_sending`]). Nor is either believed against what has just come through.
//!
//! What to make of it is [`crate::follow`]'s business.

use skywave_media::time::Mono;
use std::time::Duration;

/// Loss is judged over at least so long: compound packets may carry reports every few milliseconds, and one lost packet of three is
/// no news.
pub const WINDOW: Duration = Duration::from_millis(500);
/// A REMB is repeated every second at least by who sends them at all; an older one means nothing.
pub const REMB_LIFETIME: Duration = Duration::from_secs(5);
/// After a REMB has fallen, it is believed against what came through for so long: queues hide an overload at first.
const REMB_TRUST: Duration = Duration::from_secs(2);
/// Below this loss the rate may grow (draft-ietf-rmcat-gcc-02 section 6).
pub const LOW_LOSS: f64 = 0.02;
/// Above this loss it shrinks (likewise).
pub const HIGH_LOSS: f64 = 0.10;
/// Growth per second at low loss.
const GROWTH: f64 = 1.08;
/// The rate grows no further than this times what came through ..
const GROWTH_LIMIT: f64 = 1.5;
/// .. and what came through with low loss vouches for so much at once: a variable bitrate stays below.
const PROVEN: f64 = 1.25;
/// A rate that is so many times what is sent says nothing about what more the way carries.
const ROOM: f64 = 1.2;

/// What is to be known about a viewer's way.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Outlook {
    /// What the way carries, in bits per second; `None` before the viewer has told anything.
    pub bps: Option<u64>,
    /// Share of the packets lost in the last window, 0 to 1.
    pub loss: f64,
    /// Windows of loss that have passed.
    pub windows: u64,
    /// All that is sent comes through with room to spare: the way may carry far more than `bps`, but nothing was sent to
    /// show it.
    pub limited_by_sending: bool,
}

/// The estimate of one viewer's way. See the module's doc.
#[derive(Debug, Clone, Default)]
pub struct BandwidthEstimate {
    /// The current window of loss.
    window: Option<Window>,
    /// What was sent in the last window, in bits per second.
    sent_bps: f64,
    loss: f64,
    windows: u64,
    /// By loss, in bits per second.
    loss_based: Option<f64>,
    remb: Option<Remb>,
    news: bool,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    began: Mono,
    bytes: u64,
    /// The last report.
    reported: Mono,
    /// Sum of loss times seconds.
    lost: f64,
}

#[derive(Debug, Clone, Copy)]
struct Remb {
    bps: u64,
    at: Mono,
    /// When it last fell.
    fell: Option<Mono>,
}

impl BandwidthEstimate {
    /// So many bytes were sent to the viewer, retransmissions included.
    pub const fn handle_sent(&mut self, bytes: usize, now: Mono) {
        match &mut self.window {
            Some(window) => window.bytes += bytes as u64,
            None => self.window = Some(Window { began: now, bytes: bytes as u64, reported: now, lost: 0.0 }),
        }
    }

    /// A receiver report came: `fraction_lost` of the packets since the one before, in 1/256 (RFC 3550 section 6.4.1). Where
    /// several sources are sent, it is the one with the most packets that counts.
    pub fn handle_report(&mut self, fraction_lost: u8, now: Mono) {
        let Some(window) = &mut self.window else { return };
        let loss = f64::from(fraction_lost) / 256.0;
        window.lost += loss * now.saturating_since(window.reported).as_secs_f64();
        window.reported = window.reported.max(now);
        let span = now.saturating_since(window.began);
        if span < WINDOW {
            return;
        }
        let span = span.as_secs_f64();
        self.loss = window.lost / span;
        let before = std::mem::replace(&mut self.sent_bps, window.bytes as f64 * 8.0 / span);
        *window = Window { began: now, bytes: 0, reported: now, lost: 0.0 };
        self.windows += 1;
        self.judge(span, before);
        self.news = true;
    }

    /// The receiver's own estimate came, in bits per second.
    pub fn handle_remb(&mut self, bps: u64, now: Mono) {
        let fell = match self.remb {
            Some(old) if bps < old.bps => Some(now),
            Some(old) => old.fell,
            None => None,
        };
        self.remb = Some(Remb { bps, at: now, fell });
        self.news = true;
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Mono) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        self.remb = self.remb.filter(|remb| now < remb.at + REMB_LIFETIME);
        if let Some(remb) = &mut self.remb {
            remb.fell = remb.fell.filter(|fell| now < *fell + REMB_TRUST);
        }
        self.news = true;
    }

    /// When time alone changes the estimate.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let remb = self.remb?;
        let expiry = remb.at + REMB_LIFETIME;
        Some(remb.fell.map_or(expiry, |fell| expiry.min(fell + REMB_TRUST)))
    }

    /// The outlook, once after each change.
    pub fn poll_outlook(&mut self) -> Option<Outlook> {
        std::mem::replace(&mut self.news, false).then(|| self.outlook())
    }

    /// The outlook as it is.
    pub fn outlook(&self) -> Outlook {
        let bps = self.bps();
        let limited_by_sending = bps.is_none_or(|bps| self.loss < LOW_LOSS && bps >= ROOM * self.sent_bps);
        Outlook { bps: bps.map(|bps| bps as u64), loss: self.loss, windows: self.windows, limited_by_sending }
    }

    /// What the way carries, in bits per second; `None` before the viewer has told anything: then it is to be assumed that
    /// it can follow.
    pub fn estimate_bps(&self) -> Option<u64> {
        self.bps().map(|bps| bps as u64)
    }

    fn bps(&self) -> Option<f64> {
        let remb = self.remb.map(|remb| {
            // A receiver's estimate lags behind when more is sent all of a sudden; unless it has just seen a queue grow, what
            // comes through speaks louder.
            let proven = if self.loss < LOW_LOSS { PROVEN } else { 1.0 - self.loss };
            if remb.fell.is_some() { remb.bps as f64 } else { (remb.bps as f64).max(proven * self.sent_bps) }
        });
        match (self.loss_based, remb) {
            (Some(loss_based), Some(remb)) => Some(loss_based.min(remb)),
            (one, other) => one.or(other),
        }
    }

    /// A window of loss is over; in the one before, `before` bits per second were sent.
    fn judge(&mut self, span: f64, before: f64) {
        let delivered = self.sent_bps * (1.0 - self.loss);
        let rate = self.loss_based;
        self.loss_based = Some(if self.loss < LOW_LOSS {
            let proven = PROVEN * delivered;
            let limit = (GROWTH_LIMIT * delivered).max(self.remb.map_or(0.0, |remb| remb.bps as f64));
            // It grows up to the limit; one that is above it already stays.
            rate.map_or(proven, |rate| (rate * GROWTH.powf(span)).min(limit.max(rate)).max(proven))
        } else if self.loss <= HIGH_LOSS {
            rate.unwrap_or(delivered).max(delivered)
        } else if self.sent_bps < before / 4.0 {
            // Sending has just been cut down: what was lost was sent before, and judged by the last report.
            rate.unwrap_or(before * (1.0 - self.loss))
        } else {
            // Where the way loses so much of what is sent, it carries no more than that, whatever was believed; but no
            // less than what came through, so that mere radio loss does not drive the rate to nothing.
            let believed = rate.unwrap_or(self.sent_bps).min(self.sent_bps);
            (believed * (1.0 - 0.5 * self.loss)).max(delivered)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn at(millis: u64) -> Mono {
        Mono::from_millis(50_000 + millis)
    }

    /// Sends at `bps` from `from` to `to` and reports `loss` at the end.
    fn second(estimate: &mut BandwidthEstimate, bps: usize, loss: f64, from: u64) {
        (0..100).for_each(|n| estimate.handle_sent(bps / 800, at(from + n * 10)));
        estimate.handle_report((loss * 256.0) as u8, at(from + 1_000));
    }

    #[test]
    fn a_viewer_that_has_told_nothing_is_assumed_to_follow() {
        let mut estimate = BandwidthEstimate::default();
        assert_eq!(estimate.outlook(), Outlook { limited_by_sending: true, ..Outlook::default() });
        estimate.handle_report(255, at(0));
        assert_eq!(
            (estimate.estimate_bps(), estimate.poll_outlook()),
            (None, None),
            "nothing was sent to be lost"
        );
    }

    #[test]
    fn what_comes_through_vouches_for_a_little_more_and_the_rest_grows_slowly() {
        let mut estimate = BandwidthEstimate::default();
        second(&mut estimate, 1_000_000, 0.0, 0);
        let outlook = estimate.poll_outlook().unwrap();
        assert_eq!((outlook.bps, outlook.windows, outlook.limited_by_sending), (Some(1_250_000), 1, true));
        assert_eq!(estimate.poll_outlook(), None);
        second(&mut estimate, 1_000_000, 0.0, 1_000);
        assert_eq!(estimate.estimate_bps(), Some(1_350_000));
        (2..100).for_each(|n| second(&mut estimate, 1_000_000, 0.0, n * 1_000));
        assert_eq!(estimate.estimate_bps(), Some(1_500_000), "1.5 times what was sent");
        // A quiet picture takes nothing back, and a busy one is believed at once.
        second(&mut estimate, 100_000, 0.0, 100_000);
        assert_eq!(estimate.estimate_bps(), Some(1_500_000));
        second(&mut estimate, 4_000_000, 0.0, 101_000);
        assert_eq!(estimate.estimate_bps(), Some(5_000_000));
    }

    #[test]
    fn overload_shows_what_the_way_carries_at_once() {
        let mut estimate = BandwidthEstimate::default();
        second(&mut estimate, 1_000_000, 0.0, 0);
        second(&mut estimate, 1_000_000, 0.5, 1_000);
        let outlook = estimate.outlook();
        assert_eq!((outlook.bps, outlook.loss, outlook.limited_by_sending), (Some(750_000), 0.5, false));
        second(&mut estimate, 1_000_000, 0.5, 2_000);
        assert_eq!(estimate.estimate_bps(), Some(562_500));
        (3..20).for_each(|n| second(&mut estimate, 1_000_000, 0.5, n * 1_000));
        assert_eq!(estimate.estimate_bps(), Some(500_000), "what comes through");
    }

    #[test]
    fn radio_loss_of_a_tenth_holds_the_rate_and_more_never_takes_it_below_what_comes_through() {
        let mut estimate = BandwidthEstimate::default();
        (0..100).for_each(|n| second(&mut estimate, 1_000_000, 0.08, n * 1_000));
        let held = estimate.estimate_bps().unwrap();
        assert!((900_000..1_000_000).contains(&held), "{held}");
        (100..200).for_each(|n| second(&mut estimate, 1_000_000, 0.12, n * 1_000));
        let held = estimate.estimate_bps().unwrap();
        assert!((870_000..=900_000).contains(&held), "{held}");
    }

    #[test]
    fn many_small_reports_are_judged_together() {
        let mut estimate = BandwidthEstimate::default();
        for n in 0..50 {
            estimate.handle_sent(1_250, at(n * 10));
            // One report in ten sees one packet of two lost.
            estimate.handle_report(if n % 10 == 9 { 128 } else { 0 }, at(n * 10 + 10));
            assert_eq!(estimate.poll_outlook().is_some(), n == 49, "{n}");
        }
        let outlook = estimate.outlook();
        assert!((outlook.loss - 0.05).abs() < 1e-9);
        assert_eq!(outlook.windows, 1);
    }

    #[test]
    fn the_receivers_own_estimate_bounds_until_it_is_silent() {
        let mut estimate = BandwidthEstimate::default();
        estimate.handle_remb(300_000, at(0));
        assert_eq!(estimate.estimate_bps(), Some(300_000));
        assert_eq!(estimate.poll_timeout(), Some(at(5_000)));
        second(&mut estimate, 1_000_000, 0.0, 0);
        assert_eq!(estimate.estimate_bps(), Some(1_250_000), "what comes through speaks louder");
        // It falls: a queue has grown, and for two seconds it is believed.
        estimate.handle_remb(200_000, at(1_500));
        let outlook = estimate.poll_outlook().unwrap();
        assert_eq!((outlook.bps, outlook.limited_by_sending), (Some(200_000), false));
        estimate.handle_timeout(at(3_500) - Duration::from_nanos(1));
        assert_eq!((estimate.estimate_bps(), estimate.poll_outlook()), (Some(200_000), None));
        estimate.handle_timeout(at(3_500));
        assert_eq!(estimate.poll_outlook().unwrap().bps, Some(1_250_000));
        // With some loss no more than what comes through is believed.
        estimate.handle_report(0, at(3_500));
        second(&mut estimate, 1_000_000, 0.0625, 3_500);
        assert_eq!(estimate.estimate_bps(), Some(937_500));
        assert_eq!(estimate.poll_timeout(), Some(at(6_500)));
        estimate.handle_timeout(at(6_500));
        assert_eq!((estimate.estimate_bps(), estimate.poll_timeout()), (Some(1_250_000), None));
    }

    #[test]
    fn loss_of_what_was_sent_before_says_nothing_about_the_little_that_is_sent_now() {
        let mut estimate = BandwidthEstimate::default();
        second(&mut estimate, 2_000_000, 0.5, 0);
        assert_eq!(estimate.estimate_bps(), Some(1_500_000));
        second(&mut estimate, 100_000, 0.3, 1_000);
        assert_eq!(estimate.estimate_bps(), Some(1_500_000));
        second(&mut estimate, 100_000, 0.5, 2_000);
        assert_eq!(estimate.estimate_bps(), Some(75_000));
    }

    #[test]
    fn the_receivers_own_estimate_lets_the_rate_grow_beyond_what_was_sent() {
        let mut estimate = BandwidthEstimate::default();
        for n in 0..40 {
            estimate.handle_remb(5_000_000, at(n * 1_000));
            second(&mut estimate, 1_000_000, 0.0, n * 1_000);
        }
        assert_eq!(estimate.estimate_bps(), Some(5_000_000));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Sent(usize),
        Report(u8),
        Remb(u64),
        Wait(u64),
    }

    proptest! {
        #[test]
        fn whatever_is_reported_the_estimate_is_bounded_and_timers_are_consumed(
            steps in prop::collection::vec(
                prop_oneof![
                    3 => (0usize..100_000).prop_map(Step::Sent),
                    3 => any::<u8>().prop_map(Step::Report),
                    1 => any::<u64>().prop_map(Step::Remb),
                    3 => (0u64..3_000).prop_map(Step::Wait),
                ],
                1..200,
            )
        ) {
            let mut estimate = BandwidthEstimate::default();
            let mut now = at(0);
            let (mut remb, mut fastest) = (0u64, 0.0f64);
            let mut windows = 0;
            for step in steps {
                match step {
                    Step::Sent(bytes) => estimate.handle_sent(bytes, now),
                    Step::Report(lost) => estimate.handle_report(lost, now),
                    Step::Remb(bps) => { remb = remb.max(bps); estimate.handle_remb(bps, now); }
                    Step::Wait(millis) => {
                        now = now + Duration::from_millis(millis);
                        while let Some(due) = estimate.poll_timeout().filter(|due| *due <= now) {
                            estimate.handle_timeout(now);
                            prop_assert!(estimate.poll_timeout().is_none_or(|next| next > due));
                        }
                    }
                }
                fastest = fastest.max(estimate.sent_bps);
                if let Some(outlook) = estimate.poll_outlook() {
                    prop_assert_eq!(Some(outlook), Some(estimate.outlook()));
                    prop_assert!((0.0..=1.0).contains(&outlook.loss));
                    prop_assert!(outlook.windows == windows || outlook.windows == windows + 1);
                    windows = outlook.windows;
                }
                if let Some(bps) = estimate.estimate_bps() {
                    prop_assert!(bps as f64 <= (fastest * 1.5).max(remb as f64) + 1.0);
                }
            }
        }
    }
}
