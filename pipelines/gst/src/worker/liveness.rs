//! Whether the pipelines move: a heartbeat must not come from a worker whose decoder hangs.

use crate::transcode::Progress;
use skywave_media::worker_proto::OutputId;
use std::collections::BTreeMap;

/// One of the worker's pipelines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pipeline {
    VideoDecoder,
    VideoEncoder(OutputId),
    AudioDecoder,
    AudioEncoder,
}

/// A pipeline that has work and does none for this many heartbeats hangs. Heartbeats rather than time: a machine without
/// a free core stops them both.
const STUCK_BEATS: u32 = 3;

/// Watches the progress of all pipelines.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    pipelines: BTreeMap<Pipeline, Watch>,
}

#[derive(Debug, Clone, Copy)]
struct Watch {
    last: Progress,
    idle_beats: u32,
}

impl Liveness {
    /// Takes a look at every heartbeat, at all pipelines there are; whether it may be sent.
    pub(super) fn handle_beat(&mut self, pipelines: impl Iterator<Item = (Pipeline, Progress)>) -> bool {
        let mut seen = BTreeMap::new();
        for (pipeline, progress) in pipelines {
            let before = self.pipelines.get(&pipeline);
            let stands = |watch: &&Watch| progress.waiting > 0 && progress.taken == watch.last.taken;
            let idle_beats = before.filter(stands).map_or(0, |watch| watch.idle_beats + 1);
            seen.insert(pipeline, Watch { last: progress, idle_beats });
        }
        self.pipelines = seen;
        self.pipelines.values().all(|watch| watch.idle_beats < STUCK_BEATS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(liveness: &mut Liveness, taken: u64, waiting: u64) -> bool {
        liveness.handle_beat([(Pipeline::VideoDecoder, Progress { taken, waiting })].into_iter())
    }

    #[test]
    fn a_pipeline_with_work_that_does_none_stops_the_heart() {
        let mut liveness = Liveness::default();
        let beats: Vec<_> = (0..5).map(|n| beat(&mut liveness, 7, 2 + n)).collect();
        assert_eq!(beats, [true, true, true, false, false]);
        assert!(beat(&mut liveness, 8, 7), "it moves again");
    }

    #[test]
    fn a_pipeline_without_work_is_well() {
        let mut liveness = Liveness::default();
        assert!((0..10).all(|_| beat(&mut liveness, 7, 0)));
    }
}
