//! Which layer a viewer gets.

use super::{Layer, Wish};
use crate::continuity::SourceId;
use crate::estimate::{HIGH_LOSS, LOW_LOSS, Outlook};
use skywave_media::time::Mono;
use std::time::Duration;

/// A layer is too much when the way carries less than this part of it ..
const TOO_MUCH: f64 = 0.9;
/// .. and there is room for it when the way carries this much of it, for so long.
const ROOM: f64 = 1.2;
/// See [`ROOM`].
const ROOM_FOR: Duration = Duration::from_secs(2);
/// High loss is too much when it lasts so long.
const LOSS_FOR: Duration = Duration::from_secs(1);
/// A layer that was tried has proven itself after so long.
const TRIAL: Duration = Duration::from_secs(5);
/// An estimate that falls below this part of what it was when a trial began speaks against it.
const TRIAL_FALL: f64 = 0.95;
/// Between trials: at first, and at most.
const FIRST_PATIENCE: Duration = Duration::from_secs(4);
const MAX_PATIENCE: Duration = Duration::from_secs(64);

/// The choice of one viewer's layer.
#[derive(Debug, Clone)]
pub(super) struct Choice {
    wish: Wish,
    target: Option<SourceId>,
    /// Since when loss has been high in every window.
    lossy_since: Option<Mono>,
    /// Loss has been high for [`LOSS_FOR`].
    lossy: bool,
    /// Since when there has been room for a higher layer.
    room_since: Option<Mono>,
    /// Since when nothing has spoken against a trial.
    calm_since: Option<Mono>,
    trial: Option<Trial>,
    /// How long it must be calm before the next trial.
    patience: Duration,
}

/// A layer is tried.
#[derive(Debug, Clone, Copy)]
struct Trial {
    layer: SourceId,
    /// `None` until the layer is really sent.
    running: Option<Running>,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    /// The estimate at its beginning, in bits per second.
    before_bps: u64,
    /// Windows that had passed at its beginning.
    windows: u64,
    until: Mono,
}

impl Default for Choice {
    fn default() -> Self {
        Self {
            wish: Wish::Automatic,
            target: None,
            lossy_since: None,
            lossy: false,
            room_since: None,
            calm_since: None,
            trial: None,
            patience: FIRST_PATIENCE,
        }
    }
}

impl Choice {
    pub(super) const fn target(&self) -> Option<SourceId> {
        self.target
    }

    pub(super) const fn handle_wish(&mut self, wish: Wish) {
        self.wish = wish;
    }

    /// A window of loss has passed.
    pub(super) fn handle_loss(&mut self, loss: f64, now: Mono) {
        if loss <= HIGH_LOSS {
            (self.lossy_since, self.lossy) = (None, false);
            return;
        }
        let since = *self.lossy_since.get_or_insert(now);
        // What is being tried has only the first window to prove itself.
        let tried = self.trial.is_some_and(|trial| trial.running.is_some());
        self.lossy = tried || now.saturating_since(since) >= LOSS_FOR;
    }

    pub(super) fn handle_switched(&mut self, source: SourceId, outlook: &Outlook, now: Mono) {
        if let Some(trial) = self.trial.as_mut().filter(|t| t.layer == source && t.running.is_none()) {
            let before_bps = outlook.bps.unwrap_or(0);
            trial.running = Some(Running { before_bps, windows: outlook.windows, until: now + TRIAL });
        }
    }

    /// What the viewer must be able to follow, in bits per second, if there is no lower layer to go to.
    pub(super) fn last_resort(&self, layers: &[Layer]) -> Option<u64> {
        let target = layers.iter().find(|layer| Some(layer.source) == self.target)?;
        let lowest = layers.first().is_some_and(|layer| layer.source == target.source);
        (lowest || self.wish == Wish::Fixed(target.source)).then_some(target.bitrate_bps)
    }

    /// Looks at everything again. `may_rise`: the viewer follows what it gets.
    pub(super) fn decide(&mut self, layers: &[Layer], outlook: &Outlook, may_rise: bool, now: Mono) {
        if layers.is_empty() {
            self.forget();
            return;
        }
        if let Wish::Fixed(source) = self.wish
            && layers.iter().any(|layer| layer.source == source)
        {
            if self.target != Some(source) {
                self.go(source);
            }
            self.forget();
            return;
        }
        let position = layers.iter().position(|layer| Some(layer.source) == self.target);
        let Some(position) = position else {
            // At first, or when the layer has gone: the best that is known to fit; without an estimate, the best.
            self.forget();
            self.go(layers[best_below(layers, layers.len(), outlook.bps)].source);
            return;
        };
        if self.is_too_much(&layers[position], outlook) {
            self.go_down(layers, position, outlook);
        } else {
            self.end_trial(now);
            self.look_up(&layers[if may_rise { position } else { layers.len() - 1 }..], outlook, now);
        }
    }

    fn is_too_much(&self, layer: &Layer, outlook: &Outlook) -> bool {
        if self.lossy {
            return true;
        }
        let Some(bps) = outlook.bps.map(|bps| bps as f64) else { return false };
        // An estimate that nothing was sent to test is no evidence.
        let short = bps < TOO_MUCH * layer.bitrate_bps as f64 && !outlook.limited_by_sending;
        match self.trial {
            None => short,
            Some(Trial { running: None, .. }) => false,
            // Until two windows have passed, the estimate is of the time before: only its fall tells anything.
            Some(Trial { running: Some(running), .. }) => {
                let seen = outlook.windows >= running.windows + 2;
                seen && short || bps < TRIAL_FALL * running.before_bps as f64
            }
        }
    }

    fn go_down(&mut self, layers: &[Layer], position: usize, outlook: &Outlook) {
        (self.room_since, self.calm_since) = (None, None);
        if let Some(trial) = self.trial.take()
            && trial.running.is_some()
        {
            self.patience = (self.patience * 2).min(MAX_PATIENCE);
        }
        if position > 0 {
            self.go(layers[best_below(layers, position, outlook.bps)].source);
        }
    }

    /// A trial that lasted has succeeded.
    fn end_trial(&mut self, now: Mono) {
        let Some(trial) = self.trial else { return };
        if self.target != Some(trial.layer) {
            self.trial = None;
        } else if trial.running.is_some_and(|running| now >= running.until) {
            self.trial = None;
            self.patience = FIRST_PATIENCE;
        }
    }

    /// `layers` begins with the one the viewer gets.
    fn look_up(&mut self, layers: &[Layer], outlook: &Outlook, now: Mono) {
        let Some((next, higher)) = layers.get(1).zip(layers.get(1..)) else {
            (self.room_since, self.calm_since) = (None, None);
            return;
        };
        // Without an estimate nothing speaks against the best one.
        let fits =
            |layer: &&Layer| outlook.bps.is_none_or(|bps| bps as f64 >= ROOM * layer.bitrate_bps as f64);
        let better = higher.iter().rev().find(fits);
        self.room_since = better.and(self.room_since.or(Some(now)));
        let calm = outlook.loss < LOW_LOSS && outlook.limited_by_sending && self.trial.is_none();
        self.calm_since = if calm { self.calm_since.or(Some(now)) } else { None };
        if let Some(better) = better.filter(|_| self.room_since.is_some_and(|since| now >= since + ROOM_FOR))
        {
            self.trial = None;
            self.go(better.source);
        } else if self.calm_since.is_some_and(|since| now >= since + self.patience) {
            self.go(next.source);
            self.trial = Some(Trial { layer: next.source, running: None });
        }
    }

    /// The next of the times at which a decision falls without anything else happening.
    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        let room = self.room_since.map(|since| since + ROOM_FOR);
        let calm = self.calm_since.map(|since| since + self.patience);
        let trial = self.trial.and_then(|trial| trial.running).map(|running| running.until);
        [room, calm, trial].into_iter().flatten().min()
    }

    fn go(&mut self, source: SourceId) {
        self.target = Some(source);
        // What is lost now was sent before the switch.
        (self.room_since, self.calm_since, self.lossy_since, self.lossy) = (None, None, None, false);
    }

    const fn forget(&mut self) {
        (self.room_since, self.calm_since, self.trial) = (None, None, None);
    }
}

/// The highest of the layers below `end` that the way is known to carry, or the lowest one.
fn best_below(layers: &[Layer], end: usize, bps: Option<u64>) -> usize {
    let fits = |layer: &Layer| bps.is_none_or(|bps| layer.bitrate_bps <= bps);
    layers[..end].iter().rposition(fits).unwrap_or(0)
}
