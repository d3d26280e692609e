//! Whether a viewer can follow the layer it gets, when there is no lower one.

use super::Follow;
use crate::estimate::Outlook;
use skywave_media::time::Mono;
use std::time::Duration;

/// A viewer cannot follow when its way carries less than this part of the lowest layer ..
const FAR_TOO_MUCH: f64 = 0.6;
/// .. for so long: a browser's estimate falls as far for a moment where packets begin to come unevenly (a tenth of a second of jitter),
/// and is believed for two seconds (`REMB_TRUST`). Leaving out pictures then makes the only freeze there is.
const SHORT_FOR: Duration = Duration::from_millis(2_500);
/// .. or when more than this was lost in two windows one after the other.
const HEAVY_LOSS: f64 = 0.25;
/// Left out is so much at first, and so much at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(8);
/// After it has begun again, the estimate is of the time before for so long: two windows must have passed.
const SETTLE: Duration = Duration::from_millis(2_500);
/// Who followed so long has recovered.
const RECOVERED: Duration = Duration::from_secs(10);
/// So long a viewer waits for a keyframe that somebody else wants, before it asks for one itself: viewers in trouble must not
/// cost the others quality.
const KEYFRAME_PATIENCE: Duration = Duration::from_secs(3);

/// The state of one viewer.
#[derive(Debug, Clone)]
pub(super) struct Skip {
    state: State,
    /// The last window had heavy loss.
    heavy: bool,
    /// Since when the estimate has been far too low, while nothing else was wrong.
    short_since: Option<Mono>,
    /// What the next pause will be.
    pause: Duration,
    demand: bool,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Packets are sent, since a pause ended; `None`: there was no pause.
    Sending { since: Option<Mono> },
    /// Packets are left out until the first keyframe after `until`.
    Skipping { until: Mono, ask_at: Mono },
}

impl Default for Skip {
    fn default() -> Self {
        let state = State::Sending { since: None };
        Self { state, heavy: false, short_since: None, pause: FIRST_PAUSE, demand: false }
    }
}

impl Skip {
    pub(super) const fn follow(&self) -> Follow {
        match self.state {
            State::Sending { .. } => Follow::Send,
            State::Skipping { .. } => Follow::SkipToKeyframe,
        }
    }

    /// The viewer follows, and has for some time.
    pub(super) const fn has_recovered(&self) -> bool {
        matches!(self.state, State::Sending { since: None })
    }

    /// The estimate has changed; the viewer should follow `rate_bps`.
    pub(super) fn handle_outlook(&mut self, outlook: &Outlook, new_window: bool, rate_bps: u64, now: Mono) {
        let State::Sending { since } = self.state else { return };
        let heavy_before = self.heavy;
        if new_window {
            self.heavy = outlook.loss > HEAVY_LOSS;
        }
        let settled = since.is_none_or(|since| now >= since + SETTLE);
        // Who was in trouble just now needs no second window.
        let lost = new_window && self.heavy && (heavy_before || since.is_some());
        let bps = outlook.bps.map_or(f64::INFINITY, |bps| bps as f64);
        let short = settled && !outlook.limited_by_sending && bps < FAR_TOO_MUCH * rate_bps as f64;
        if !short {
            self.short_since = None;
        }
        // Who was in trouble just now needs no second proof of this either.
        let short = short && (since.is_some() || now >= *self.short_since.get_or_insert(now) + SHORT_FOR);
        if lost || short {
            self.state =
                State::Skipping { until: now + self.pause, ask_at: now + self.pause + KEYFRAME_PATIENCE };
            self.pause = (self.pause * 2).min(MAX_PAUSE);
            (self.heavy, self.short_since) = (false, None);
        }
    }

    /// A keyframe begins.
    pub(super) const fn handle_keyframe(&mut self, now: Mono) {
        if let State::Skipping { until, .. } = self.state
            && now.as_nanos() >= until.as_nanos()
        {
            self.state = State::Sending { since: Some(now) };
            self.demand = false;
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Mono) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        match &mut self.state {
            State::Sending { since } => (*since, self.pause) = (None, FIRST_PAUSE),
            State::Skipping { ask_at, .. } => {
                // And again, should the wish be lost.
                *ask_at = now + KEYFRAME_PATIENCE;
                self.demand = true;
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        match self.state {
            State::Sending { since } => since.map(|since| since + RECOVERED),
            State::Skipping { ask_at, .. } => Some(ask_at),
        }
    }

    pub(super) const fn poll_keyframe_demand(&mut self) -> bool {
        std::mem::replace(&mut self.demand, false)
    }
}
