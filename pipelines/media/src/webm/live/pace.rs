//! When a time of the file has come: [`Pace`].

use crate::time::Mono;
use std::time::Duration;

/// A frame this much beyond what may wait belongs to another time: the file has jumped.
const JUMP: Duration = Duration::from_secs(10);

/// For how long frames must have come earlier than needed before they leave earlier.
const WINDOW: Duration = Duration::from_secs(10);

/// What is left of it then, for the next chunk that is late.
const SPARE: Duration = Duration::from_millis(20);

/// At most so much earlier at a time, so that nobody sees it.
const STEP: Duration = Duration::from_millis(100);

/// The file's clock against ours: so late that every frame of the last seconds was there in time, and no later.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Our time minus the file's, in nanoseconds.
    offset_ns: Option<i64>,
    /// Since when the least earliness is looked for, and what it is.
    window: Option<(Mono, Duration)>,
}

impl Pace {
    /// A frame of this time has come. `held`: it was kept waiting on our side, so it may have been there much sooner.
    pub(super) fn handle_frame(&mut self, at_ns: i64, now: Mono, held: bool, max_ahead: Duration) {
        let early = self.due(at_ns).map(|due| due.nanos_since(now));
        match early {
            Some(early_ns) if early_ns >= 0 => {
                let early = Duration::from_nanos(early_ns.unsigned_abs());
                if early > max_ahead + JUMP {
                    self.restart(at_ns, now);
                } else {
                    self.note_early(early, now, held);
                }
            }
            // The first one, or one that is late: all that follow leave as much later.
            _ => self.restart(at_ns, now),
        }
    }

    /// When a frame of this time leaves; `None` before the first.
    pub(super) fn due(&self, at_ns: i64) -> Option<Mono> {
        let due_ns = at_ns.saturating_add(self.offset_ns?);
        Some(Mono::from_nanos(u64::try_from(due_ns).unwrap_or(0)))
    }

    fn restart(&mut self, at_ns: i64, now: Mono) {
        let now_ns = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        self.offset_ns = Some(now_ns.saturating_sub(at_ns));
        self.window = None;
    }

    fn note_early(&mut self, early: Duration, now: Mono, held: bool) {
        if held {
            self.window = None;
            return;
        }
        let (since, least) = self.window.get_or_insert((now, early));
        *least = (*least).min(early);
        if now.saturating_since(*since) < WINDOW {
            return;
        }
        let step = least.saturating_sub(SPARE).min(STEP);
        let step_ns = i64::try_from(step.as_nanos()).unwrap_or(0);
        self.offset_ns = self.offset_ns.map(|offset| offset.saturating_sub(step_ns));
        self.window = None;
    }
}
