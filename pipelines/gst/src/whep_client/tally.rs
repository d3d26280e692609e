//! What was seen and heard so far: written by streaming threads, read by the task.

use super::losses::Losses;
use super::options::{AudioSeen, PlayStats, VideoSeen};
use gstreamer as gst;
use skywave_media::codec::Codec;
use skywave_media::time::AUDIO_RATE;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The counters of one session.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<Counts>);

/// Behind the lock.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// When the offer left.
    pub offered: Option<Instant>,
    pub first_packet: Option<Instant>,
    pub packets: u64,
    pub bytes: u64,
    pub keyframes: u64,
    pub keyframe_requests: u64,
    losses: Losses,
    video: Option<Video>,
    audio: Option<Audio>,
}

/// Decoded pictures.
#[derive(Debug)]
struct Video {
    codec: Codec,
    size: (u32, u32),
    frames: u64,
    first: Instant,
    last: Instant,
    longest_pause: Duration,
    picture: gst::Sample,
}

/// Decoded sound.
#[derive(Debug)]
struct Audio {
    codec: Codec,
    buffers: u64,
    samples: u64,
    peak: f32,
    first: Instant,
}

impl Tally {
    pub(super) fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().expect("no thread panics while it counts")
    }
}

impl Counts {
    /// An RTP packet of `bytes` came, which begins so.
    pub(super) fn packet(&mut self, header: &[u8], bytes: usize, now: Instant) {
        self.losses.handle_packet(header);
        self.first_packet.get_or_insert(now);
        self.packets += 1;
        self.bytes += bytes as u64;
    }

    /// A picture left the decoder.
    pub(super) fn picture(&mut self, codec: Codec, size: (u32, u32), picture: gst::Sample, now: Instant) {
        let Some(video) = &mut self.video else {
            let longest_pause = Duration::ZERO;
            self.video =
                Some(Video { codec, size, frames: 1, first: now, last: now, longest_pause, picture });
            return;
        };
        video.longest_pause = video.longest_pause.max(now.saturating_duration_since(video.last));
        (video.codec, video.size, video.picture, video.last) = (codec, size, picture, now);
        video.frames += 1;
    }

    /// A buffer of sound left the decoder: `samples` per channel, the loudest being `peak` of a full scale of 1.
    pub(super) fn sound(&mut self, codec: Codec, samples: u64, peak: f32, now: Instant) {
        let first = Audio { codec, buffers: 0, samples: 0, peak: 0.0, first: now };
        let audio = self.audio.get_or_insert(first);
        audio.codec = codec;
        audio.buffers += 1;
        audio.samples += samples;
        audio.peak = audio.peak.max(peak);
    }

    /// Packets that never came, whether they were sent again or not.
    pub(super) fn lost_packets(&self) -> u64 {
        self.losses.lost()
    }

    /// From the offer's departure to `then`.
    pub(super) fn after_offer(&self, then: Instant) -> Duration {
        self.offered.map_or(Duration::ZERO, |offered| then.saturating_duration_since(offered))
    }

    pub(super) fn video_seen(&self) -> Option<VideoSeen> {
        let video = self.video.as_ref()?;
        Some(VideoSeen {
            codec: video.codec,
            width: video.size.0,
            height: video.size.1,
            frames: video.frames,
            keyframes: self.keyframes,
            keyframe_requests: self.keyframe_requests,
            first_frame_after: self.after_offer(video.first),
            longest_pause: video.longest_pause,
        })
    }

    pub(super) fn audio_seen(&self) -> Option<AudioSeen> {
        let audio = self.audio.as_ref()?;
        Some(AudioSeen {
            codec: audio.codec,
            buffers: audio.buffers,
            length: Duration::from_secs_f64(audio.samples as f64 / f64::from(AUDIO_RATE)),
            peak_db: 20.0 * f64::from(audio.peak).log10(),
            first_buffer_after: self.after_offer(audio.first),
        })
    }

    /// The latest picture.
    pub(super) fn latest_picture(&self) -> Option<gst::Sample> {
        self.video.as_ref().map(|video| video.picture.clone())
    }
}

/// Makes [`PlayStats`] from successive readings.
#[derive(Debug, Default)]
pub(super) struct Meter {
    bytes: u64,
    frames: u64,
}

impl Meter {
    /// The statistics of the `elapsed` time since the last reading.
    pub(super) fn read(&mut self, counts: &Counts, elapsed: Duration) -> PlayStats {
        let (video, audio) = (counts.video_seen(), counts.audio_seen());
        let seconds = elapsed.as_secs_f64().max(0.001);
        let frames = video.map_or(0, |v| v.frames);
        let bits = (counts.bytes - self.bytes) as f64 * 8.0;
        let fps = (frames - self.frames) as f64 / seconds;
        (self.bytes, self.frames) = (counts.bytes, frames);
        let lost_packets = counts.lost_packets();
        PlayStats { bitrate_bps: (bits / seconds) as u64, fps, lost_packets, video, audio }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> gst::Sample {
        gst::init().unwrap();
        gst::Sample::builder().build()
    }

    #[test]
    fn pauses_and_first_times_are_counted_from_the_offer() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut counts = Counts { offered: Some(start), ..Counts::default() };
        counts.packet(&[], 100, at(20));
        counts.packet(&[], 50, at(21));
        for ms in [60, 93, 400, 433] {
            counts.picture(Codec::Vp8, (320, 180), sample(), at(ms));
        }
        let seen = counts.video_seen().unwrap();
        assert_eq!((seen.frames, seen.width, seen.height), (4, 320, 180));
        assert_eq!(seen.first_frame_after, Duration::from_millis(60));
        assert_eq!(seen.longest_pause, Duration::from_millis(307));
        assert_eq!(counts.first_packet.map(|then| counts.after_offer(then)), Some(Duration::from_millis(20)));
        assert_eq!((counts.packets, counts.bytes), (2, 150));
        assert_eq!(counts.audio_seen(), None);
    }

    #[test]
    fn the_peak_is_told_in_decibels() {
        let mut counts = Counts::default();
        for peak in [0.1, 0.5, 0.0] {
            counts.sound(Codec::Opus, 960, peak, Instant::now());
        }
        let seen = counts.audio_seen().unwrap();
        assert_eq!((seen.buffers, seen.length), (3, Duration::from_millis(60)));
        assert!((seen.peak_db + 6.02).abs() < 0.01, "{seen:?}");
        let mut silent = Counts::default();
        silent.sound(Codec::Opus, 960, 0.0, Instant::now());
        assert_eq!(silent.audio_seen().unwrap().peak_db, f64::NEG_INFINITY);
    }

    #[test]
    fn rates_are_read_between_readings() {
        let mut counts = Counts::default();
        let mut meter = Meter::default();
        counts.packet(&[], 10_000, Instant::now());
        counts.picture(Codec::Vp8, (2, 2), sample(), Instant::now());
        let stats = meter.read(&counts, Duration::from_millis(500));
        assert_eq!((stats.bitrate_bps, stats.fps, stats.lost_packets), (160_000, 2.0, 0));
        assert_eq!(meter.read(&counts, Duration::from_secs(1)).bitrate_bps, 0);
    }
}
