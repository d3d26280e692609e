//! Whether anybody wants what has to be encoded. A stream that is encoded on demand sleeps while nobody does.

use super::{Phase, Stream, plan, wall_clock};
use crate::outputs::hls::HlsOutput;
use relay_node::clock;
use skywave_media::codec::TrackKind;
use skywave_media::time::Mono;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// The requests for one stream, as its task sees them.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    /// When the last one came, in nanoseconds; 0: never.
    last_ns: AtomicU64,
    /// The stream sleeps: a request wakes it.
    asleep: AtomicBool,
    wake: Notify,
}

impl Demand {
    /// Somebody has asked for something.
    pub(super) fn note(&self) {
        self.last_ns.fetch_max(clock::now().as_nanos(), Ordering::AcqRel);
        if self.asleep.load(Ordering::Acquire) {
            self.wake.notify_one();
        }
    }

    /// Waits for a request while the stream sleeps.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    fn within(&self, span: Duration, now: Mono) -> bool {
        let last = self.last_ns.load(Ordering::Acquire);
        last != 0 && now.saturating_since(Mono::from_nanos(last)) < span
    }
}

impl Stream {
    /// Goes to sleep when nobody wants anything any more, and wakes when somebody does.
    pub(super) fn review_demand(&mut self, now: Mono) {
        let wanted = self.is_wanted(now);
        if self.phase != Phase::Live || wanted != self.idle {
            return;
        }
        if wanted { self.wake(now) } else { self.sleep(now) }
    }

    /// Whether somebody wants what has to be encoded, or it is encoded always.
    pub(super) fn is_wanted(&self, now: Mono) -> bool {
        let config = self.registry.config();
        !config.is_on_demand(&self.name)
            || self.recording.is_wanted()
            || self.demand.within(Duration::from_millis(config.transcode.linger_ms), now)
            || self.registry.node().broadcast(self.name.as_str()).is_some_and(|b| b.rendition_viewers > 0)
    }

    /// Nobody watches: nothing is encoded. What was listed is forgotten, so that whoever comes later does not begin with the past.
    fn sleep(&mut self, now: Mono) {
        tracing::info!(stream = %self.name, "nobody watches: encoding stops");
        self.set_idle(true);
        self.worker.stop();
        self.thumbnail.clear();
        self.begin_window();
        self.plan_ladder(now);
    }

    fn wake(&mut self, now: Mono) {
        tracing::info!(stream = %self.name, "somebody watches: encoding begins");
        self.set_idle(false);
        self.expect_lanes(now);
        self.plan_ladder(now);
        self.expect_ladder(now);
        self.configure_worker(now);
        if let Some(publisher) = &mut self.publisher {
            publisher.demand_video_keyframe(now);
        }
    }

    pub(super) fn set_idle(&mut self, idle: bool) {
        self.idle = idle;
        self.demand.asleep.store(idle, Ordering::Release);
        // A request that came between the look and the store has seen a stream that was awake.
        if idle && self.is_wanted(clock::now()) {
            self.demand.wake.notify_one();
        }
    }

    /// An empty window on the same timeline, under the same URLs.
    fn begin_window(&mut self) {
        self.resume = plan::Resume::default();
        self.hls.restart(&self.registry.config().hls, plan::take_id(wall_clock()), self.epoch_wall);
    }

    /// Says to the outputs which lanes will come of this publisher.
    pub(super) fn expect_lanes(&mut self, now: Mono) {
        let Some(publisher) = self.publisher.as_ref().filter(|_| !self.idle) else { return };
        let has = |kind| publisher.tracks.values().any(|track| track.kind == kind);
        let source = self.ladder.name(super::ladder::SOURCE).filter(|_| has(TrackKind::Video));
        if let Some(source) = source {
            self.hls.expect(TrackKind::Video, source, now);
            self.recording.expect(TrackKind::Video);
        }
        if has(TrackKind::Audio) {
            self.hls.expect(TrackKind::Audio, &HlsOutput::audio(), now);
            self.recording.expect(TrackKind::Audio);
        }
    }

    /// Says to the outputs which encoded renditions will come, as long as players have not been let in: those who come later are
    /// announced by their first frame, because an announced one holds the others back.
    pub(super) fn expect_ladder(&mut self, now: Mono) {
        if self.hls.is_ready() {
            return;
        }
        let names = self.ladder.made().iter().filter_map(|made| self.ladder.name(made.id));
        for name in names.cloned().collect::<Vec<_>>() {
            self.hls.expect(TrackKind::Video, &name, now);
        }
    }
}
