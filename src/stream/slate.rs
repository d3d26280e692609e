//! What is shown when a publisher stays away: a picture and silence, on the same timeline, in the renditions there were.

use super::plan::Resume;
use super::{Phase, Stream};
use skywave_media::codec::TrackKind;
use skywave_media::fit::VideoPlan;
use skywave_media::time::Mono;
use skywave_media::worker_proto::{OutputId, Slate};
use std::path::Path;
use std::time::Duration;

impl Stream {
    /// The grace time is over: shows the slate if there is to be one; whether there is.
    pub(super) fn begin_slate(&mut self, now: Mono) -> bool {
        let config = &self.registry.config().slate;
        if !config.enabled || self.idle {
            return false;
        }
        let max = Duration::from_millis(config.max_ms);
        let until = (config.max_ms > 0).then(|| now + max);
        let slate = match config.picture.as_str() {
            "" => Slate::Plain,
            path => match crate::config::ladder::read_slate(Path::new(path)) {
                Ok(bytes) => Slate::Picture(bytes.into()),
                Err(reason) => {
                    tracing::error!(stream = %self.name, path, reason, "the slate's picture is gone: a plain one is shown");
                    Slate::Plain
                }
            },
        };
        tracing::info!(stream = %self.name, "the publisher stays away: the slate is shown");
        self.phase = Phase::Slate { until };
        self.slate = Some(slate);
        // Whatever was passed through is encoded now, at the size it had.
        let size = match self.plan {
            Some(VideoPlan::Transcode { width, height }) => Some((width, height)),
            Some(VideoPlan::Passthrough) => self.source_size,
            None => None,
        };
        self.plan =
            size.map(|(width, height)| VideoPlan::Transcode { width: width & !1, height: height & !1 });
        self.plan_ladder(now);
        let position = self.position(now);
        self.resume = Resume::default();
        let ids: Vec<OutputId> = self.ladder.made().iter().map(|made| made.id).collect();
        for id in ids {
            self.resume.set(TrackKind::Video, id, position);
        }
        self.resume.set(TrackKind::Audio, OutputId::default(), position);
        self.configure_worker(now);
        self.next_status = now;
        true
    }

    /// The slate goes, because a publisher comes or the stream ends.
    pub(super) fn end_slate(&mut self, now: Mono) {
        if self.slate.take().is_some() {
            self.worker.stop();
            self.hls.handle_discontinuity(now);
        }
    }
}
