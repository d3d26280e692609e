//! Whether the pipelines move: a heartbeat must not come from a worker whose decoder hangs.

use crate::transcode::Progress;

/// Pipelines of one worker: decoder and encoder of each lane.
const PIPELINES: usize = 4;

/// A pipeline that has work and does none for this many heartbeats hangs. Heartbeats rather than time: a machine without
/// a free core stops them both.
const STUCK_BEATS: u32 = 3;

/// Watches the progress of all pipelines.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    pipelines: [Watch; PIPELINES],
}

#[derive(Debug, Default, Clone, Copy)]
struct Watch {
    last: Option<Progress>,
    idle_beats: u32,
}

impl Liveness {
    /// Takes a look at every heartbeat; whether it may be sent.
    pub(super) fn handle_beat(&mut self, progress: [Option<Progress>; PIPELINES]) -> bool {
        for (watch, progress) in self.pipelines.iter_mut().zip(progress) {
            let stands = match (watch.last, progress) {
                (Some(last), Some(now)) => now.waiting > 0 && now.taken == last.taken,
                _ => false,
            };
            watch.idle_beats = if stands { watch.idle_beats + 1 } else { 0 };
            watch.last = progress;
        }
        self.pipelines.iter().all(|watch| watch.idle_beats < STUCK_BEATS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(liveness: &mut Liveness, taken: u64, waiting: u64) -> bool {
        liveness.handle_beat([None, Some(Progress { taken, waiting }), None, None])
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
