//! What a viewer's video lane is to carry: which layer, and whether the viewer can follow at all.
//!
//! Going down is quick and needs evidence against the way; going up is slow and needs evidence for it. Where an estimate can
//! give none, because it never exceeds what is sent by much, the next layer is *tried*, and after each failure the next
//! trial is further away. A viewer that cannot even follow the lowest layer gets keyframes with what follows them, as often as the
//! way bears it: better a slide show than a picture that is ever more late or broken. Audio is never left out.
//!
//! Here is the decision only. Switching happens at a keyframe, by [`crate::continuity`].

mod choice;
mod skip;

use crate::continuity::SourceId;
use crate::estimate::Outlook;
use choice::Choice;
use skip::Skip;
use skywave_media::time::Mono;

/// A layer that can be had: one source of the video lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// Its source.
    pub source: SourceId,
    /// What it measures, in bits per second.
    pub bitrate_bps: u64,
}

/// What a viewer asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wish {
    /// The best layer its way carries.
    #[default]
    Automatic,
    /// This one, as long as it is there; otherwise as automatic.
    Fixed(SourceId),
}

/// What to do with video packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// Send them.
    Send,
    /// Leave them out, until [`LayerPolicy::handle_keyframe`] says otherwise.
    SkipToKeyframe,
}

/// Decides for one viewer. After each `handle_*` read [`Self::target`] and [`Self::follow`], drain
/// [`Self::poll_keyframe_demand`], and call [`Self::handle_timeout`] no later than [`Self::poll_timeout`].
#[derive(Debug, Clone, Default)]
pub struct LayerPolicy {
    /// By bitrate, the lowest first.
    layers: Vec<Layer>,
    outlook: Outlook,
    choice: Choice,
    skip: Skip,
}

impl LayerPolicy {
    /// These layers can be had now, in any order, with what they measure; called about once a second, and when one comes or
    /// goes. Without layers the target stays what it was.
    pub fn handle_layers(&mut self, layers: &[Layer], now: Mono) {
        self.layers.clear();
        self.layers.extend_from_slice(layers);
        self.layers.sort_unstable_by_key(|layer| (layer.bitrate_bps, layer.source));
        self.decide(now);
    }

    /// The viewer asks for something else.
    pub fn handle_wish(&mut self, wish: Wish, now: Mono) {
        self.choice.handle_wish(wish);
        self.decide(now);
    }

    /// The estimate of the viewer's way has changed.
    pub fn handle_outlook(&mut self, outlook: Outlook, now: Mono) {
        let new_window = outlook.windows != self.outlook.windows;
        self.outlook = outlook;
        if new_window {
            self.choice.handle_loss(outlook.loss, now);
        }
        self.decide(now);
        if let Some(rate_bps) = self.choice.last_resort(&self.layers) {
            self.skip.handle_outlook(&outlook, new_window, rate_bps, now);
        }
    }

    /// From now on this source is sent: a switch to the target has been made, at a keyframe.
    pub fn handle_switched(&mut self, source: SourceId, now: Mono) {
        self.choice.handle_switched(source, &self.outlook, now);
    }

    /// A keyframe of the source that is (or was) sent begins. When video was being left out, it may begin again with this
    /// packet: see [`Self::follow`].
    pub const fn handle_keyframe(&mut self, now: Mono) {
        self.skip.handle_keyframe(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Mono) {
        self.skip.handle_timeout(now);
        self.decide(now);
    }

    /// When to call [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Mono> {
        [self.choice.poll_timeout(), self.skip.poll_timeout()].into_iter().flatten().min()
    }

    /// Whether the source is to be asked for a keyframe, because the viewer has waited for one for long; says so once.
    pub const fn poll_keyframe_demand(&mut self) -> bool {
        self.skip.poll_keyframe_demand()
    }

    fn decide(&mut self, now: Mono) {
        self.choice.decide(&self.layers, &self.outlook, self.skip.has_recovered(), now);
    }

    /// The source that is to be sent; `None` before there are layers.
    pub const fn target(&self) -> Option<SourceId> {
        self.choice.target()
    }

    /// Whether to send video at all.
    pub const fn follow(&self) -> Follow {
        self.skip.follow()
    }
}

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
