//! What a rendition costs and how fast it runs, measured segment by segment.

use super::HlsConfig;
use crate::codec::Format;
use std::collections::VecDeque;

/// Segments after which the measured peak is believed. A publisher's bit rate climbs for its first seconds.
const TRUSTED_SEGMENTS: u64 = 10;

/// Bit rates and frame rate of one rendition since the take began.
#[derive(Debug)]
pub(super) struct Meter {
    /// Segments shorter than this say nothing about the frame rate.
    least_nanos: u64,
    segments: u64,
    bits: u128,
    nanos: u128,
    peak: Peak,
    /// Frames in thousandths per second, in the last segment long enough to tell.
    frame_rate_millis: u64,
    /// Of the segments' keyframes, spread over their segments.
    keyframe_peak: Peak,
}

/// The peak segment bit rate (rfc8216bis section 2): the most of any contiguous segments that last half to one and a half target
/// durations together.
#[derive(Debug)]
struct Peak {
    half_target: u64,
    /// Nanoseconds and bits of the newest segments that may still be part of such a set, oldest first.
    recent: VecDeque<(u64, u64)>,
    most: u64,
}

impl Peak {
    const fn new(half_target: u64) -> Self {
        Self { half_target, recent: VecDeque::new(), most: 0 }
    }

    fn segment(&mut self, nanos: u64, bytes: usize) {
        let longest = self.half_target.saturating_mul(3);
        self.recent.push_back((nanos.max(1), (bytes as u64).saturating_mul(8)));
        let (mut sum_nanos, mut sum_bits, mut needed) = (0_u64, 0_u64, 0);
        for (nanos, bits) in self.recent.iter().rev() {
            sum_nanos = sum_nanos.saturating_add(*nanos);
            sum_bits = sum_bits.saturating_add(*bits);
            if sum_nanos > longest {
                break;
            }
            needed += 1;
            if sum_nanos >= self.half_target {
                let rate = u128::from(sum_bits) * 1_000_000_000 / u128::from(sum_nanos);
                self.most = self.most.max(u64::try_from(rate).unwrap_or(u64::MAX));
            }
        }
        self.recent.drain(..self.recent.len() - needed);
    }

    /// Bits per second. Before any set is long enough, of what there is.
    fn bits_per_second(&self) -> u64 {
        if self.most > 0 {
            return self.most;
        }
        let (nanos, bits) =
            self.recent.iter().fold((0, 0), |(n, b), s| (n + u128::from(s.0), b + u128::from(s.1)));
        u64::try_from(bits * 1_000_000_000 / nanos.max(1)).unwrap_or(u64::MAX)
    }
}

impl Meter {
    pub(super) fn new(config: &HlsConfig) -> Self {
        let least_nanos = config.target_duration().saturating_mul(500_000_000);
        Self {
            least_nanos,
            segments: 0,
            bits: 0,
            nanos: 0,
            peak: Peak::new(least_nanos),
            frame_rate_millis: 0,
            keyframe_peak: Peak::new(least_nanos),
        }
    }

    pub(super) fn segment_finished(&mut self, nanos: u64, bytes: usize, frames: u32) {
        self.segments += 1;
        self.bits += bytes as u128 * 8;
        self.nanos += u128::from(nanos);
        self.peak.segment(nanos, bytes);
        if nanos >= self.least_nanos || self.segments == 1 {
            let thousandths = u128::from(frames) * 1_000_000_000_000 + u128::from(nanos) / 2;
            self.frame_rate_millis = u64::try_from(thousandths / u128::from(nanos.max(1))).unwrap_or(0);
        }
    }

    /// The first part says how fast it runs, until a segment knows better.
    pub(super) fn part_finished(&mut self, nanos: u64, frames: usize) {
        let thousandths = frames as u128 * 1_000_000_000_000 + u128::from(nanos) / 2;
        self.frame_rate_millis = u64::try_from(thousandths / u128::from(nanos.max(1))).unwrap_or(0);
    }

    /// The size of a segment's keyframe.
    pub(super) fn keyframe_finished(&mut self, segment_nanos: u64, bytes: usize) {
        self.keyframe_peak.segment(segment_nanos, bytes);
    }

    /// The peak of a playlist of keyframes; `None` before there is one.
    pub(super) fn keyframe_peak(&self) -> Option<u64> {
        Some(self.keyframe_peak.bits_per_second()).filter(|peak| *peak > 0)
    }

    /// The peak segment bit rate; before enough are seen at least what such a format is expected to take.
    pub(super) fn peak(&self, format: &Format) -> u64 {
        let measured = self.peak.bits_per_second();
        match self.segments < TRUSTED_SEGMENTS {
            true => measured.max(u64::from(expected_bitrate(format))),
            false => measured,
        }
    }

    /// Bits per second since the take began.
    pub(super) fn average(&self) -> u64 {
        u64::try_from(self.bits * 1_000_000_000 / self.nanos.max(1)).unwrap_or(u64::MAX)
    }

    /// Frames per second to three decimals, as `FRAME-RATE` wants them; `None` before a segment is seen.
    pub(super) fn frame_rate(&self) -> Option<String> {
        let millis = self.frame_rate_millis;
        (millis > 0).then(|| format!("{}.{:03}", millis / 1000, millis % 1000))
    }
}

/// Bits per second to expect of a format of which nothing is measured yet: a tenth of a bit for each pixel at 30 frames a
/// second, 64 kbit/s for each channel of sound.
pub(super) fn expected_bitrate(format: &Format) -> u32 {
    match format {
        Format::Video(video) => {
            u32::try_from(u64::from(video.width) * u64::from(video.height) * 3).unwrap_or(u32::MAX)
        }
        Format::Audio(audio) => 64_000 * u32::from(audio.channels.clamp(1, 8)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Codec, VideoFormat};

    #[test]
    fn a_first_guess_gives_way_to_what_is_measured() {
        let hd = VideoFormat { codec: Codec::H264, width: 1280, height: 720, config: bytes::Bytes::new() };
        let format = Format::Video(hd);
        let mut meter = Meter::new(&HlsConfig::default());
        assert_eq!(meter.frame_rate(), None);
        meter.segment_finished(2_000_000_000, 100_000, 60);
        assert_eq!((meter.peak(&format), meter.average()), (2_764_800, 400_000));
        for _ in 0..9 {
            meter.segment_finished(2_000_000_000, 200_000, 60);
        }
        meter.segment_finished(100_000_000, 200_000, 1);
        assert_eq!(meter.peak(&format), 1_523_809, "a tiny segment counts together with its neighbour alone");
        assert_eq!(meter.frame_rate().as_deref(), Some("30.000"));
    }

    #[test]
    fn the_peak_is_that_of_contiguous_segments_of_about_a_target_duration() {
        // A target duration of 3 s: sets of 1.5 to 4.5 s count.
        let mut peak = Peak::new(1_500_000_000);
        peak.segment(1_000_000_000, 125_000);
        assert_eq!(peak.bits_per_second(), 1_000_000, "the first, short as it is");
        peak.segment(2_000_000_000, 250_000);
        assert_eq!(peak.bits_per_second(), 1_000_000);
        peak.segment(100_000_000, 125_000);
        assert_eq!(peak.bits_per_second(), 3_000_000 * 10 / 21, "together with its neighbour");
        for _ in 0..100 {
            peak.segment(2_000_000_000, 125_000);
        }
        assert_eq!(peak.bits_per_second(), 3_000_000 * 10 / 21, "it is remembered");
        assert!(peak.recent.len() <= 3, "what can no longer count is forgotten: {:?}", peak.recent);
    }
}
