//! What a viewer's way is believed to carry, from what the viewer reports.
//!
//! Two witnesses: loss by receiver reports (RFC 3550 section 6.4.1), judged much as by the loss-based controller of
//! draft-ietf-rmcat-gcc-02 section 6, and the receiver's own estimate (REMB, draft-alvestrand-rmcat-remb-03), which
//! sees queues grow before anything is lost. Neither can vouch for more than was really sent: the estimate stays near that,
//! and says so ([`Outlook::limited_by_sending`]). Nor is either believed against what has just come through.
//!
//! Neither says why. Radio loses a tenth whatever is sent, and a way that stutters looks to a receiver like a queue that grows: its
//! estimate falls to 0.85 of what comes in. Only what a narrow way alone can do counts against it: loss beyond what radio has, or a
//! receiver's estimate so low that less than what was sent must have come in.
//!
//! What to make of it is [`crate::follow`]'s business.

use skywave_media::time::Mono;
use std::time::Duration;

/// Loss is judged over at least so long: compound packets may carry reports every few milliseconds, and one lost packet of three is
/// no news.
pub const WINDOW: Duration = Duration::from_millis(500);
/// A REMB is repeated every second at least by who sends them at all; an older one means nothing.
pub const REMB_LIFETIME: Duration = Duration::from_secs(5);
/// After a REMB has fallen, it is believed against what came through for so long, and until it rises: queues hide an overload at first.
const REMB_TRUST: Duration = Duration::from_secs(2);
/// A REMB falls to 0.85 of what comes in (draft-ietf-rmcat-gcc-02 section 5.5), also where a way only stutters. Below this part of what
/// is sent, less must have come in than was sent.
const REMB_SHORT: f64 = 0.7;
/// .. but a window shorter than so many packets tells nothing, unless it is so long: of 20 packets of which each tenth is lost, four are
/// lost now and then.
const WINDOW_PACKETS: u32 = 40;
/// See [`WINDOW_PACKETS`].
const LONGEST_WINDOW: Duration = Duration::from_secs(2);
/// Below this loss the rate may grow (draft-ietf-rmcat-gcc-02 section 6).
pub const LOW_LOSS: f64 = 0.02;
/// Above this loss it shrinks. In the draft it is a tenth; but a window in which radio loses a tenth on average often has an eighth, and
/// up to here sending again repairs what is lost.
pub const HIGH_LOSS: f64 = 0.15;
/// Above this loss the way is too narrow beyond doubt; below, a second window has to say the same.
pub const HEAVY_LOSS: f64 = 0.3;
/// Growth per second at low loss.
const GROWTH: f64 = 1.08;
/// The rate grows no further than this times what came through ..
const GROWTH_LIMIT: f64 = 1.5;
/// .. and what came through with low loss vouches for so much at once: a variable bitrate stays below.
const PROVEN: f64 = 1.25;

/// What is to be known about a viewer's way.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Outlook {
    /// What the way carries, in bits per second; `None` before the viewer has told anything.
    pub bps: Option<u64>,
    /// Share of the packets lost in the last window, 0 to 1.
    pub loss: f64,
    /// Windows of loss that have passed.
    pub windows: u64,
    /// All that is sent comes through, but for what radio loses: the way may carry far more than `bps`, but nothing was sent to
    /// show it.
    pub limited_by_sending: bool,
}

/// What a receiver report says about one source since its beginning (RFC 3550 section 6.4.1). Not the fraction lost since the report
/// before: where packets overtake each other, or reports come with each request for a lost one, that counts what was merely late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reception {
    /// The highest sequence number received, extended by the number of its wraps.
    pub highest: u32,
    /// Packets lost.
    pub lost: i32,
}

/// The estimate of one viewer's way. See the module's doc.
#[derive(Debug, Clone, Default)]
pub struct BandwidthEstimate {
    /// The current window of loss.
    window: Option<Window>,
    /// What was sent in the last window, in bits per second.
    sent_bps: f64,
    /// What was sent in the one before.
    sent_before_bps: f64,
    /// What was last reported; a window is counted from one report to another.
    reception: Option<Reception>,
    /// Windows of high loss, one after the other.
    high_windows: u32,
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
}

#[derive(Debug, Clone, Copy)]
struct Remb {
    bps: u64,
    at: Mono,
    /// When it last fell.
    fell: Option<Mono>,
}

impl BandwidthEstimate {
    /// So many bytes were sent to the viewer, without what was sent again.
    pub const fn handle_sent(&mut self, bytes: usize, now: Mono) {
        match &mut self.window {
            Some(window) => window.bytes += bytes as u64,
            None => self.window = Some(Window { began: now, bytes: bytes as u64 }),
        }
    }

    /// A receiver report came. Where several sources are sent, it is the one with the most packets that counts.
    pub fn handle_report(&mut self, reception: Reception, now: Mono) {
        let Some(window) = &mut self.window else { return };
        let fresh = Window { began: now, bytes: 0 };
        let begin = *self.reception.get_or_insert(reception);
        let expected = reception.highest.wrapping_sub(begin.highest);
        // Where there was no report before, nothing was sent, or the receiver counts anew, a window begins.
        if expected == 0 || expected > u32::MAX / 2 {
            if now.saturating_since(window.began) >= WINDOW || expected != 0 {
                (*window, self.reception) = (fresh, Some(reception));
            }
            return;
        }
        let span = now.saturating_since(window.began);
        if span < WINDOW || expected < WINDOW_PACKETS && span < LONGEST_WINDOW {
            return;
        }
        let span = span.as_secs_f64();
        let lost = reception.lost.saturating_sub(begin.lost).max(0);
        self.loss = (f64::from(lost) / f64::from(expected)).min(1.0);
        self.sent_before_bps = std::mem::replace(&mut self.sent_bps, window.bytes as f64 * 8.0 / span);
        (*window, self.reception) = (fresh, Some(reception));
        self.windows += 1;
        self.judge(span);
        self.news = true;
    }

    /// The receiver's own estimate came, in bits per second.
    pub fn handle_remb(&mut self, bps: u64, now: Mono) {
        let fell = match self.remb {
            Some(old) if bps < old.bps => Some(now),
            // One that stays where it fell to still sees a queue.
            Some(old) if bps > old.bps => old.fell.filter(|fell| now < *fell + REMB_TRUST),
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
        self.news = true;
    }

    /// When time alone changes the estimate.
    pub fn poll_timeout(&self) -> Option<Mono> {
        Some(self.remb?.at + REMB_LIFETIME)
    }

    /// The outlook, once after each change.
    pub fn poll_outlook(&mut self) -> Option<Outlook> {
        std::mem::replace(&mut self.news, false).then(|| self.outlook())
    }

    /// The outlook as it is.
    pub fn outlook(&self) -> Outlook {
        let bps = self.bps();
        let limited_by_sending = bps.is_none_or(|bps| self.loss <= HIGH_LOSS && bps >= self.sent_bps);
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
            // comes through speaks louder. What it measured may be of the window before.
            let proven = self.sent_bps * self.proven();
            let short = (remb.bps as f64) < REMB_SHORT * self.sent_bps.min(self.sent_before_bps);
            if remb.fell.is_some() && (short || self.windows == 0) {
                remb.bps as f64
            } else {
                (remb.bps as f64).max(proven)
            }
        });
        match (self.loss_based, remb) {
            (Some(loss_based), Some(remb)) => Some(loss_based.min(remb)),
            (one, other) => one.or(other),
        }
    }

    /// So much of what is sent, or so much more, the way is known to carry by the loss of the last window.
    fn proven(&self) -> f64 {
        if self.loss < LOW_LOSS {
            PROVEN
        } else if self.loss <= HIGH_LOSS {
            1.0
        } else {
            1.0 - self.loss
        }
    }

    /// A window of loss is over.
    fn judge(&mut self, span: f64) {
        self.high_windows = if self.loss > HIGH_LOSS { self.high_windows + 1 } else { 0 };
        let proven = self.sent_bps * self.proven();
        let rate = self.loss_based;
        self.loss_based = Some(if self.loss < LOW_LOSS {
            let delivered = self.sent_bps * (1.0 - self.loss);
            let limit = (GROWTH_LIMIT * delivered).max(self.remb.map_or(0.0, |remb| remb.bps as f64));
            // It grows up to the limit; one that is above it already stays.
            rate.map_or(proven, |rate| (rate * GROWTH.powf(span)).min(limit.max(rate)).max(proven))
        } else if self.loss <= HEAVY_LOSS && self.high_windows < 2 {
            rate.unwrap_or(proven).max(proven)
        } else if self.sent_bps < self.sent_before_bps / 4.0 {
            // Sending has just been cut down: what was lost was sent before, and judged by the last report.
            rate.unwrap_or(self.sent_before_bps * (1.0 - self.loss))
        } else {
            // Where the way loses so much of what is sent, it carries no more than that, whatever was believed; but no
            // less than what came through, so that mere radio loss does not drive the rate to nothing.
            let believed = rate.unwrap_or(self.sent_bps).min(self.sent_bps);
            (believed * (1.0 - 0.5 * self.loss)).max(proven)
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

    /// A viewer that gets 100 packets a second, with its reports.
    struct Viewer {
        estimate: BandwidthEstimate,
        reception: Reception,
        now_ms: u64,
    }

    impl Viewer {
        /// Its first report has come: windows are counted from here.
        fn new() -> Self {
            let mut viewer = Self {
                estimate: BandwidthEstimate::default(),
                reception: Reception { highest: 7, lost: 0 },
                now_ms: 0,
            };
            viewer.estimate.handle_sent(0, at(0));
            viewer.estimate.handle_report(viewer.reception, at(0));
            viewer
        }

        /// A second in which `bps` are sent, then a report of so many percent of loss.
        fn second(&mut self, bps: usize, loss_percent: i32) {
            (0..100).for_each(|n| self.estimate.handle_sent(bps / 800, at(self.now_ms + n * 10)));
            self.now_ms += 1_000;
            self.reception.highest += 100;
            self.reception.lost += loss_percent;
            self.estimate.handle_report(self.reception, at(self.now_ms));
        }

        fn seconds(&mut self, count: u64, bps: usize, loss_percent: i32) {
            (0..count).for_each(|_| self.second(bps, loss_percent));
        }

        fn bps(&self) -> Option<u64> {
            self.estimate.estimate_bps()
        }
    }

    #[test]
    fn a_viewer_that_has_told_nothing_is_assumed_to_follow() {
        let mut estimate = BandwidthEstimate::default();
        assert_eq!(estimate.outlook(), Outlook { limited_by_sending: true, ..Outlook::default() });
        estimate.handle_report(Reception { highest: 9, lost: 9 }, at(0));
        assert_eq!(
            (estimate.estimate_bps(), estimate.poll_outlook()),
            (None, None),
            "nothing was sent to be lost"
        );
    }

    #[test]
    fn what_comes_through_vouches_for_a_little_more_and_the_rest_grows_slowly() {
        let mut viewer = Viewer::new();
        viewer.second(1_000_000, 0);
        let outlook = viewer.estimate.poll_outlook().unwrap();
        assert_eq!((outlook.bps, outlook.windows, outlook.limited_by_sending), (Some(1_250_000), 1, true));
        assert_eq!(viewer.estimate.poll_outlook(), None);
        viewer.second(1_000_000, 0);
        assert_eq!(viewer.bps(), Some(1_350_000));
        viewer.seconds(98, 1_000_000, 0);
        assert_eq!(viewer.bps(), Some(1_500_000), "1.5 times what was sent");
        // A quiet picture takes nothing back, and a busy one is believed at once.
        viewer.second(100_000, 0);
        assert_eq!(viewer.bps(), Some(1_500_000));
        viewer.second(4_000_000, 0);
        assert_eq!(viewer.bps(), Some(5_000_000));
    }

    #[test]
    fn overload_shows_what_the_way_carries_at_once() {
        let mut viewer = Viewer::new();
        viewer.second(1_000_000, 0);
        viewer.second(1_000_000, 50);
        let outlook = viewer.estimate.outlook();
        assert_eq!((outlook.bps, outlook.loss, outlook.limited_by_sending), (Some(750_000), 0.5, false));
        viewer.second(1_000_000, 50);
        assert_eq!(viewer.bps(), Some(562_500));
        viewer.seconds(17, 1_000_000, 50);
        assert_eq!(viewer.bps(), Some(500_000), "what comes through");
    }

    #[test]
    fn radio_loss_of_a_tenth_takes_nothing_away_and_more_never_goes_below_what_comes_through() {
        let mut viewer = Viewer::new();
        viewer.seconds(100, 1_000_000, 10);
        assert_eq!(viewer.bps(), Some(1_000_000));
        assert!(viewer.estimate.outlook().limited_by_sending, "a wider way is not ruled out");
        viewer.second(1_000_000, 20);
        assert_eq!(viewer.bps(), Some(1_000_000), "one bad window is chance");
        viewer.seconds(100, 1_000_000, 20);
        assert_eq!(viewer.bps(), Some(800_000));
    }

    #[test]
    fn many_small_reports_are_judged_together_and_what_was_merely_late_is_taken_off_again() {
        let mut viewer = Viewer::new();
        for n in 1..=50 {
            viewer.estimate.handle_sent(1_250, at(n * 10));
            viewer.reception.highest += 1;
            // Packets overtake each other: up to three are missing for a moment.
            viewer.reception.lost = [0, 1, 2, 3][n as usize % 4];
            viewer.estimate.handle_report(viewer.reception, at(n * 10));
            assert_eq!(viewer.estimate.poll_outlook().is_some(), n == 50, "{n}");
        }
        let outlook = viewer.estimate.outlook();
        assert!((outlook.loss - 0.04).abs() < 1e-9, "{outlook:?}");
        assert_eq!(outlook.windows, 1);
    }

    #[test]
    fn a_receiver_that_counts_anew_begins_a_window() {
        let mut viewer = Viewer::new();
        viewer.second(1_000_000, 0);
        viewer.reception = Reception { highest: 3, lost: 3 };
        viewer.estimate.handle_report(viewer.reception, at(1_500));
        assert_eq!(viewer.estimate.outlook().windows, 1);
        viewer.now_ms = 1_500;
        viewer.second(1_000_000, 0);
        assert_eq!((viewer.estimate.outlook().windows, viewer.estimate.outlook().loss), (2, 0.0));
    }

    #[test]
    fn the_receivers_own_estimate_bounds_where_less_must_have_come_in_than_was_sent() {
        let mut viewer = Viewer::new();
        viewer.estimate.handle_remb(300_000, at(0));
        assert_eq!(viewer.bps(), Some(300_000));
        assert_eq!(viewer.estimate.poll_timeout(), Some(at(5_000)));
        viewer.seconds(2, 1_000_000, 0);
        assert_eq!(viewer.bps(), Some(1_250_000), "what comes through speaks louder");
        // It falls to 0.85 of what comes in: a way that stutters does that too.
        viewer.estimate.handle_remb(1_300_000, at(2_100));
        viewer.estimate.handle_remb(850_000, at(2_200));
        assert_eq!(viewer.bps(), Some(1_250_000));
        // To half: half has come in.
        viewer.estimate.handle_remb(500_000, at(2_300));
        let outlook = viewer.estimate.outlook();
        assert_eq!((outlook.bps, outlook.limited_by_sending), (Some(500_000), false));
        // It stays there, and is believed until it rises, two seconds later at the soonest.
        viewer.estimate.handle_remb(500_000, at(4_000));
        assert_eq!(viewer.bps(), Some(500_000));
        viewer.estimate.handle_remb(500_001, at(4_300));
        assert_eq!(viewer.bps(), Some(1_250_000));
        viewer.estimate.handle_timeout(at(9_300));
        assert_eq!((viewer.bps(), viewer.estimate.poll_timeout()), (Some(1_350_000), None));
    }

    #[test]
    fn loss_of_what_was_sent_before_says_nothing_about_the_little_that_is_sent_now() {
        let mut viewer = Viewer::new();
        viewer.second(2_000_000, 50);
        assert_eq!(viewer.bps(), Some(1_500_000));
        viewer.second(100_000, 31);
        assert_eq!(viewer.bps(), Some(1_500_000));
        viewer.second(100_000, 50);
        assert_eq!(viewer.bps(), Some(75_000));
    }

    #[test]
    fn the_receivers_own_estimate_lets_the_rate_grow_beyond_what_was_sent() {
        let mut viewer = Viewer::new();
        for _ in 0..40 {
            viewer.estimate.handle_remb(5_000_000, at(viewer.now_ms));
            viewer.second(1_000_000, 0);
        }
        assert_eq!(viewer.bps(), Some(5_000_000));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Sent(usize),
        Report(u32, i32),
        Remb(u64),
        Wait(u64),
    }

    proptest! {
        #[test]
        fn whatever_is_reported_the_estimate_is_bounded_and_timers_are_consumed(
            steps in prop::collection::vec(
                prop_oneof![
                    3 => (0usize..100_000).prop_map(Step::Sent),
                    3 => (any::<u32>(), any::<i32>()).prop_map(|(highest, lost)| Step::Report(highest, lost)),
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
                    Step::Report(highest, lost) => estimate.handle_report(Reception { highest, lost }, now),
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
