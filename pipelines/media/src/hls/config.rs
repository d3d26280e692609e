//! The knobs of the HLS output.

use std::time::Duration;

/// The knobs of the HLS output. Every span is checked by [`HlsConfig::sane`], so any value is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HlsConfig {
    /// Length of a segment; segments begin at multiples of it on the stream's timeline.
    pub segment: Duration,
    /// Length of a part, as nearly as frames allow: from 0.935 to 1.1 of it. See [`HlsConfig::part_target`].
    pub part: Duration,
    /// How far back a player may go (DVR).
    pub window: Duration,
    /// Segments older than this are given out to be stored outside ([`HlsEvent::Store`](super::HlsEvent)); `None` keeps
    /// the whole window in memory.
    pub store_after: Option<Duration>,
    /// Most bytes of segments stored outside; beyond, the oldest leave the playlist.
    pub max_stored_bytes: u64,
    /// Most bytes of segments kept, listed or not. Under this pressure segments that left the playlist go first, then
    /// the window shrinks to three target durations.
    pub max_bytes: usize,
    /// Most bytes of one segment: frames beyond are dropped until the next keyframe.
    pub max_segment_bytes: usize,
    /// How long an announced rendition without frames holds the others back: pictures may be long in coming, because
    /// nothing is to be seen before them.
    pub announce_patience: Duration,
    /// How long announced sound without frames holds pictures back that are there.
    pub sound_patience: Duration,
    /// How long a rendition whose frames stopped holds the others back.
    pub stall_patience: Duration,
    /// The multivariant playlist names sound alone as a variant also where there are pictures.
    pub audio_only: bool,
}

impl Default for HlsConfig {
    fn default() -> Self {
        Self {
            segment: Duration::from_secs(2),
            part: Duration::from_millis(200),
            window: Duration::from_secs(120),
            store_after: None,
            max_stored_bytes: 10 << 30,
            max_bytes: 256 << 20,
            max_segment_bytes: 32 << 20,
            announce_patience: Duration::from_secs(5),
            sound_patience: Duration::from_millis(600),
            stall_patience: Duration::from_secs(1),
            audio_only: false,
        }
    }
}

impl HlsConfig {
    /// The same with every span inside its bounds: segments of 0.5 to 30 s, parts of 0.1 s to one segment, a window of at
    /// least three target durations.
    #[must_use]
    pub fn sane(self) -> Self {
        let segment = self.segment.clamp(Duration::from_millis(500), Duration::from_secs(30));
        let bounded = Self {
            segment,
            part: self.part.clamp(Duration::from_millis(100), segment.min(Duration::from_secs(1))),
            announce_patience: self.announce_patience.min(Duration::from_secs(60)),
            sound_patience: self.sound_patience.min(Duration::from_secs(60)),
            stall_patience: self.stall_patience.min(Duration::from_secs(10)),
            ..self
        };
        let day = Duration::from_secs(86_400);
        let window = self.window.clamp(bounded.least_playlist(), day);
        // Parts are listed for three target durations and can be fetched for three more (rfc8216bis section 6.2.2).
        let store_after = self.store_after.map(|after| after.max(2 * bounded.least_playlist()));
        Self { window, store_after, ..bounded }
    }

    /// `PART-TARGET` (rfc8216bis section 4.4.3.7): a tenth above the length that is aimed at. Parts must be within 85 % and
    /// 100 % of it (section 4.4.4.9), so around the length itself there is room for frames that do not divide it: 9 AAC
    /// frames (192 ms) or 5 pictures at 24 a second (208 ms) make a part of 200 ms.
    pub fn part_target(&self) -> Duration {
        self.part * 11 / 10
    }

    /// `PART-HOLD-BACK`: at least three part targets (rfc8216bis section 4.4.3.8).
    pub(super) fn part_hold_back(&self) -> Duration {
        self.part_target() * 3
    }

    /// `CAN-SKIP-UNTIL`: six target durations (rfc8216bis section 4.4.3.8).
    pub(super) fn skip_boundary(&self) -> Duration {
        2 * self.least_playlist()
    }

    /// How long a request for what is to come may wait: three target durations (rfc8216bis section 6.2.5.2).
    pub fn longest_wait(&self) -> Duration {
        self.least_playlist()
    }

    /// `EXT-X-TARGETDURATION` in seconds, the same for the life of every playlist (rfc8216bis section 4.4.3.1).
    pub fn target_duration(&self) -> u64 {
        self.segment.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
    }

    /// The longest segment whose `EXTINF`, rounded to the nearest second, is no more than the target duration.
    pub(super) fn longest_segment(&self) -> Duration {
        Duration::from_secs(self.target_duration()) + Duration::from_millis(499)
    }

    /// A playlist may not become shorter than this by removing segments (rfc8216bis section 6.2.2).
    pub(super) fn least_playlist(&self) -> Duration {
        Duration::from_secs(3 * self.target_duration())
    }

    /// A keyframe this much before a grid point, or less, ends the segment: a publisher that is asked in time may answer
    /// early. An earlier one does not, so whoever asks for keyframes must ask again (and may ask this much before the grid
    /// point).
    pub fn keyframe_earliness(&self) -> Duration {
        (self.segment / 16).min(Duration::from_millis(250))
    }

    /// A keyframe up to this much behind a grid point comes in time, however early the segment began; with a later one
    /// frames may have to be dropped, because the segment would outgrow the target duration.
    pub fn keyframe_lateness(&self) -> Duration {
        self.longest_segment().saturating_sub(self.segment + self.keyframe_earliness())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_that_began_early_and_ends_late_is_within_the_target() {
        let config = HlsConfig::default();
        assert_eq!(config.target_duration(), 2);
        let (early, late) = (config.keyframe_earliness(), config.keyframe_lateness());
        assert_eq!((early, late), (Duration::from_millis(125), Duration::from_millis(374)));
        assert_eq!(config.segment + early + late, Duration::from_millis(2499));
    }

    #[test]
    fn any_knobs_are_brought_into_range() {
        let ms = Duration::from_millis;
        let sane = |segment, part, window| {
            let c = HlsConfig { segment, part, window, ..Default::default() }.sane();
            (c.segment, c.part, c.window)
        };
        assert_eq!(sane(ms(0), ms(0), ms(0)), (ms(500), ms(100), ms(3000)));
        assert_eq!(sane(ms(99_000), ms(99_000), Duration::MAX), (ms(30_000), ms(1_000), ms(86_400_000)));
        assert_eq!(sane(ms(2000), ms(200), ms(120_000)), (ms(2000), ms(200), ms(120_000)));
    }
}
