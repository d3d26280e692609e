//! What a rendition costs and how fast it runs, measured segment by segment.

use super::HlsConfig;
use crate::codec::Format;

/// Segments after which the measured peak is believed. A publisher's bit rate climbs for its first seconds.
const TRUSTED_SEGMENTS: u64 = 10;

/// Bit rates and frame rate of one rendition since the take began.
#[derive(Debug)]
pub(super) struct Meter {
    /// Shorter segments say nothing about the peak (rfc8216bis section 4.4.6.2: half a target duration).
    least_nanos: u64,
    segments: u64,
    bits: u128,
    nanos: u128,
    peak: u64,
    /// Frames in thousandths per second, in the last segment long enough to tell.
    frame_rate_millis: u64,
    /// Most bits per second of any segment's keyframe, spread over its segment.
    keyframe_peak: u64,
}

impl Meter {
    pub(super) fn new(config: &HlsConfig) -> Self {
        let least_nanos = config.target_duration().saturating_mul(500_000_000);
        Self { least_nanos, segments: 0, bits: 0, nanos: 0, peak: 0, frame_rate_millis: 0, keyframe_peak: 0 }
    }

    pub(super) fn segment_finished(&mut self, nanos: u64, bytes: usize, frames: u32) {
        let bits = bytes as u128 * 8;
        self.segments += 1;
        self.bits += bits;
        self.nanos += u128::from(nanos);
        let per_second = |count: u128| u64::try_from(count * 1_000_000_000 / u128::from(nanos.max(1)));
        if nanos >= self.least_nanos || self.segments == 1 {
            self.peak = self.peak.max(per_second(bits).unwrap_or(u64::MAX));
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
        let rate = bytes as u128 * 8_000_000_000 / u128::from(segment_nanos.max(1));
        self.keyframe_peak = self.keyframe_peak.max(u64::try_from(rate).unwrap_or(u64::MAX));
    }

    /// Most bits per second of a playlist of keyframes; `None` before there is one.
    pub(super) fn keyframe_peak(&self) -> Option<u64> {
        (self.keyframe_peak > 0).then_some(self.keyframe_peak)
    }

    /// Most bits per second of any segment; before enough are seen at least what such a format is expected to take.
    pub(super) fn peak(&self, format: &Format) -> u64 {
        match self.segments < TRUSTED_SEGMENTS {
            true => self.peak.max(u64::from(expected_bitrate(format))),
            false => self.peak,
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
        assert_eq!(meter.peak(&format), 800_000, "a tiny segment is no peak");
        assert_eq!(meter.frame_rate().as_deref(), Some("30.000"));
    }
}
