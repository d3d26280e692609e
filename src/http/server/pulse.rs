//! When a connection has been quiet for too long. [`Watch`] decides and is pure; [`Pulse`] keeps its figures, which requests and writes
//! of any thread update, without a lock and without a timer for each request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// A connection whose first request has not come whole by then is closed: nobody opens one for nothing.
pub(super) const FIRST_REQUEST: Duration = Duration::from_secs(15);

/// From the end of an answer to the end of the next request's head. Longer than players wait between two requests (a target duration, 10 s
/// at the most), so that they keep their connections; a browser's own limit is 60 s or more.
pub(super) const IDLE: Duration = Duration::from_secs(60);

/// What a connection has done up to now, in time since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Watch {
    /// Requests that are being answered.
    active: u32,
    /// A request has come whole.
    has_asked: bool,
    /// The last answer's end.
    answered: Duration,
    /// The last bytes that the system took; stays zero on HTTP/2, where pings are written on idle connections as well.
    written: Duration,
}

/// What to do with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Look again after this time.
    Wait(Duration),
    /// End it.
    Idle,
}

impl Watch {
    fn verdict(&self, now: Duration) -> Verdict {
        if self.active > 0 {
            return Verdict::Wait(IDLE);
        }
        let limit = if self.has_asked { IDLE } else { FIRST_REQUEST };
        let until = self.answered.max(self.written) + limit;
        match until.checked_sub(now) {
            Some(left) if !left.is_zero() => Verdict::Wait(left),
            _ => Verdict::Idle,
        }
    }
}

/// The figures of one connection.
#[derive(Debug)]
pub(super) struct Pulse {
    opened: Instant,
    active: AtomicU32,
    has_asked: AtomicBool,
    is_http2: AtomicBool,
    answered_ms: AtomicU64,
    written_ms: AtomicU64,
}

/// A request that is being answered, for as long as its answer's body is there.
#[derive(Debug)]
pub(super) struct Beat(Arc<Pulse>);

impl Pulse {
    pub(super) fn new() -> Self {
        Self {
            opened: Instant::now(),
            active: AtomicU32::new(0),
            has_asked: AtomicBool::new(false),
            is_http2: AtomicBool::new(false),
            answered_ms: AtomicU64::new(0),
            written_ms: AtomicU64::new(0),
        }
    }

    /// A request has come.
    pub(super) fn begin(self: &Arc<Self>, is_http2: bool) -> Beat {
        self.active.fetch_add(1, Ordering::Relaxed);
        self.has_asked.store(true, Ordering::Relaxed);
        self.is_http2.store(is_http2, Ordering::Relaxed);
        Beat(Arc::clone(self))
    }

    /// The system has taken bytes of an answer.
    pub(super) fn note_write(&self) {
        self.written_ms.store(self.age_ms(), Ordering::Relaxed);
    }

    /// Whether the connection should go on.
    pub(super) fn verdict(&self) -> Verdict {
        let written =
            if self.is_http2.load(Ordering::Relaxed) { &AtomicU64::new(0) } else { &self.written_ms };
        let watch = Watch {
            active: self.active.load(Ordering::Relaxed),
            has_asked: self.has_asked.load(Ordering::Relaxed),
            answered: Duration::from_millis(self.answered_ms.load(Ordering::Relaxed)),
            written: Duration::from_millis(written.load(Ordering::Relaxed)),
        };
        watch.verdict(self.opened.elapsed())
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.0.answered_ms.store(self.0.age_ms(), Ordering::Relaxed);
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Watch =
        Watch { active: 0, has_asked: false, answered: Duration::ZERO, written: Duration::ZERO };

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn who_asks_for_nothing_is_sent_away_soon() {
        assert_eq!(NEW.verdict(s(5)), Verdict::Wait(s(10)));
        assert_eq!(
            NEW.verdict(FIRST_REQUEST - Duration::from_nanos(1)),
            Verdict::Wait(Duration::from_nanos(1))
        );
        assert_eq!(NEW.verdict(FIRST_REQUEST), Verdict::Idle);
    }

    #[test]
    fn an_answer_may_take_as_long_as_it_takes() {
        let busy = Watch { active: 1, has_asked: true, ..NEW };
        assert_eq!(busy.verdict(s(100_000)), Verdict::Wait(IDLE));
    }

    #[test]
    fn a_connection_is_kept_between_requests_and_while_its_answer_is_still_on_its_way() {
        let asked = Watch { has_asked: true, answered: s(100), ..NEW };
        assert_eq!(asked.verdict(s(101)), Verdict::Wait(s(59)));
        assert_eq!(asked.verdict(s(160)), Verdict::Idle);
        let slow = Watch { written: s(150), ..asked };
        assert_eq!(slow.verdict(s(160)), Verdict::Wait(s(50)));
    }

    #[test]
    fn a_beat_counts_until_it_is_dropped() {
        let pulse = Arc::new(Pulse::new());
        let beats = (pulse.begin(true), pulse.begin(true));
        assert_eq!(pulse.active.load(Ordering::Relaxed), 2);
        drop(beats);
        assert_eq!(pulse.active.load(Ordering::Relaxed), 0);
    }
}
