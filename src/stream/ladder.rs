//! Which renditions of a stream are encoded now: by configuration, by what is published, and by what the machine has room for.

use super::Stream;
use crate::config::Config;
use crate::machine::Verdict;
use skywave_media::admission::{Reason, StreamKey, encode_cost};
use skywave_media::fit::VideoPlan;
use skywave_media::hls::RenditionName;
use skywave_media::ladder::{Rung, renditions};
use skywave_media::time::Mono;
use skywave_media::worker_proto::OutputId;

/// The worker's number of the rendition that has the publisher's own size.
pub(super) const SOURCE: OutputId = OutputId(0);

/// A rendition that is to be encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) id: OutputId,
    pub(super) size: (u32, u32),
    pub(super) bitrate_bps: u32,
}

/// The renditions of one stream: all that there may be, and those that are encoded.
pub(super) struct Ladder {
    /// Names by the worker's numbers: the source, then the configured rungs.
    names: Vec<RenditionName>,
    rungs: Vec<Rung>,
    key: StreamKey,
    /// Everything that would be encoded if there were room, the largest first.
    wanted: Vec<Made>,
    verdict: Verdict,
    /// Late pictures that the machine has been told of.
    late_told: u64,
}

impl Ladder {
    pub(super) fn new(config: &Config, key: StreamKey) -> Self {
        let rungs = config.rungs();
        let name = |text: String| RenditionName::new(text).expect("lower-case letters and digits");
        let mut names = vec![name("source".to_owned())];
        names.extend(rungs.iter().map(|rung| name(format!("{}p", rung.height))));
        let verdict = Verdict { allowed: 0, reason: None };
        Self { names, rungs, key, wanted: Vec::new(), verdict, late_told: 0 }
    }

    /// The stream, as the machine knows it.
    pub(super) const fn key(&self) -> StreamKey {
        self.key
    }

    /// The name of a rendition; `None` for a number nobody gave.
    pub(super) fn name(&self, id: OutputId) -> Option<&RenditionName> {
        self.names.get(usize::from(id.0))
    }

    /// The renditions that are encoded, the largest first.
    pub(super) fn made(&self) -> &[Made] {
        &self.wanted[self.wanted.len() - self.verdict.allowed.min(self.wanted.len())..]
    }

    /// The renditions that there is no room for, the largest first.
    pub(super) fn cut(&self) -> &[Made] {
        &self.wanted[..self.wanted.len() - self.made().len()]
    }

    /// The renditions that nothing comes of now.
    fn unmade(&self, plan: Option<VideoPlan>) -> Vec<RenditionName> {
        let comes = |id| self.makes(id) || id == SOURCE && plan == Some(VideoPlan::Passthrough);
        let ids = (0..).map(OutputId).zip(&self.names);
        ids.filter(|(id, _)| !comes(*id)).map(|(_, name)| name.clone()).collect()
    }

    /// Whether this rendition is encoded.
    pub(super) fn makes(&self, id: OutputId) -> bool {
        self.made().iter().any(|made| made.id == id)
    }

    /// Why not everything is encoded.
    pub(super) const fn reason(&self) -> Option<Reason> {
        self.verdict.reason
    }

    fn all_of(&self, plan: VideoPlan, source: Option<(u32, u32)>, config: &Config) -> Vec<Made> {
        let fps = config.transcode.fps;
        let (size, mut all) = match plan {
            VideoPlan::Transcode { width, height } => {
                let bitrate_bps = super::plan::video_bitrate_bps(config, width, height);
                (Some((width, height)), vec![Made { id: SOURCE, size: (width, height), bitrate_bps }])
            }
            VideoPlan::Passthrough => (source, Vec::new()),
        };
        let below = size.map(|size| renditions(&self.rungs, size, fps)).unwrap_or_default();
        for rendition in below {
            let place = self.names.iter().position(|name| *name == rendition.name);
            let Some(id) = place.and_then(|place| u8::try_from(place).ok()) else { continue };
            all.push(Made {
                id: OutputId(id),
                size: (rendition.width, rendition.height),
                bitrate_bps: rendition.bitrate_bps,
            });
        }
        all
    }
}

impl Stream {
    /// Decides anew what is encoded, after the plan or the source's size has changed.
    pub(super) fn plan_ladder(&mut self, now: Mono) {
        self.ladder.wanted = match self.plan {
            Some(plan) if !self.idle => self.ladder.all_of(plan, self.source_size, self.registry.config()),
            _ => Vec::new(),
        };
        self.review_ladder(0, now);
    }

    /// Once a second: asks how much of the ladder there is room for, and makes that.
    pub(super) fn check_ladder(&mut self, now: Mono) {
        let late = self.worker.counters().pictures_late;
        // A new worker counts from zero.
        let since = late.checked_sub(self.ladder.late_told).unwrap_or(late);
        self.ladder.late_told = late;
        if self.review_ladder(since, now) {
            self.configure_worker(now);
        }
    }

    /// Whether something else is to be encoded than before.
    fn review_ladder(&mut self, late: u64, now: Mono) -> bool {
        let config = self.registry.config();
        let wanted = &self.ladder.wanted;
        let before = self.ladder.verdict;
        let machine = self.registry.machine();
        let verdict = if wanted.is_empty() {
            machine.forget(self.ladder.key);
            Verdict { allowed: 0, reason: None }
        } else if config.transcode.admission {
            let encoder = super::plan::encoder(config);
            let cost = |made: &Made| encode_cost(made.size, config.transcode.fps, encoder);
            let costs: Vec<f64> = wanted.iter().map(cost).collect();
            machine.review(self.ladder.key, &costs, late, now)
        } else {
            Verdict { allowed: wanted.len(), reason: Some(Reason::Fits) }
        };
        self.ladder.verdict = verdict;
        if verdict != before {
            self.tell_ladder(now);
        }
        self.pause_unmade(now);
        verdict != before
    }

    /// Logs what is encoded now, and what is not.
    fn tell_ladder(&self, now: Mono) {
        let names = |made: &[Made]| {
            let names = made.iter().filter_map(|made| self.ladder.name(made.id));
            names.map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        let (made, cut) = (names(self.ladder.made()), names(self.ladder.cut()));
        if cut.is_empty() {
            tracing::info!(stream = %self.name, made, "every rendition is encoded");
        } else {
            let (busy, cores) = self.registry.machine().cores(now);
            tracing::warn!(
                stream = %self.name, made, cut, reason = ?self.ladder.reason(), busy_cores = busy, cores,
                "the ladder is cut: the machine has no room for more"
            );
        }
    }

    /// Rungs that are not encoded, for want of room or because the picture is too small for them, hold nobody up.
    fn pause_unmade(&mut self, now: Mono) {
        if self.idle || self.plan.is_none() {
            return;
        }
        for name in self.ladder.unmade(self.plan) {
            self.hls.pause(&name, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RungText;

    fn ladder(config: &mut Config) -> Ladder {
        config.transcode.ladder =
            ["480p", "240p", "720p"].map(|rung| RungText::try_from(rung.to_owned()).unwrap()).to_vec();
        Ladder::new(config, 1)
    }

    fn names(ladder: &Ladder, made: &[Made]) -> Vec<String> {
        made.iter().map(|made| ladder.name(made.id).unwrap().to_string()).collect()
    }

    #[test]
    fn what_has_to_be_encoded_has_the_source_on_top_and_what_is_passed_through_does_not() {
        let mut config = Config::default();
        let ladder = ladder(&mut config);
        let plan = VideoPlan::Transcode { width: 1280, height: 720 };
        let all = ladder.all_of(plan, None, &config);
        assert_eq!(names(&ladder, &all), ["source", "480p", "240p"]);
        let all = ladder.all_of(VideoPlan::Passthrough, Some((1920, 1080)), &config);
        assert_eq!(names(&ladder, &all), ["720p", "480p", "240p"]);
        assert_eq!(ladder.all_of(VideoPlan::Passthrough, None, &config), []);
    }

    #[test]
    fn the_top_is_cut_first() {
        let mut config = Config::default();
        let mut ladder = ladder(&mut config);
        ladder.wanted = ladder.all_of(VideoPlan::Transcode { width: 1280, height: 720 }, None, &config);
        ladder.verdict = Verdict { allowed: 2, reason: Some(Reason::MachineFull) };
        assert_eq!(names(&ladder, ladder.made()), ["480p", "240p"]);
        assert_eq!(names(&ladder, ladder.cut()), ["source"]);
        assert!(!ladder.makes(SOURCE));
    }

    #[test]
    fn what_is_cut_and_what_the_picture_is_too_small_for_is_not_waited_for() {
        let mut config = Config::default();
        let mut ladder = ladder(&mut config);
        let unmade = |ladder: &Ladder, plan| {
            ladder.unmade(Some(plan)).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let small = VideoPlan::Transcode { width: 640, height: 360 };
        ladder.wanted = ladder.all_of(small, None, &config);
        ladder.verdict = Verdict { allowed: 2, reason: Some(Reason::Fits) };
        assert_eq!(unmade(&ladder, small), ["720p", "480p"]);
        ladder.verdict = Verdict { allowed: 1, reason: Some(Reason::MachineFull) };
        assert_eq!(unmade(&ladder, small), ["source", "720p", "480p"]);
        ladder.wanted = ladder.all_of(VideoPlan::Passthrough, Some((640, 360)), &config);
        ladder.verdict = Verdict { allowed: 1, reason: Some(Reason::Fits) };
        assert_eq!(unmade(&ladder, VideoPlan::Passthrough), ["720p", "480p"]);
    }
}
