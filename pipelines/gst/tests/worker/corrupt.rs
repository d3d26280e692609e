//! Hostile input: the worker says so and lives.

use crate::check::pictures;
use crate::harness::{Worker, assert_continuous, audio_out, config, ms, video_out};
use crate::source::{self, Sound};
use bytes::Bytes;
use skywave_media::codec::Codec;
use skywave_media::frame::Frame;
use std::time::Duration;

/// A small generator of our own, so that a failure can be repeated.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// The frame with every third in rubble: bytes changed, cut short, or garbage altogether.
    fn corrupt(&mut self, frame: &Frame) -> Frame {
        let mut data = frame.data.to_vec();
        match self.next() % 6 {
            0 => {
                for _ in 0..20 {
                    let at = self.next() as usize % data.len().max(1);
                    data[at] = self.next() as u8;
                }
            }
            1 => data.truncate(self.next() as usize % data.len().max(1)),
            2 => data = (0..self.next() % 2000).map(|_| self.next() as u8).collect(),
            _ => {}
        }
        Frame { data: Bytes::from(data), ..frame.clone() }
    }
}

fn survives(codec: Codec, seed: u64) {
    let mut noise = Noise(seed);
    let mut worker = Worker::start(config(Some(video_out(160, 90)), None));
    let clean = source::video(codec, 160, 90, 30, 60, ms(0));
    worker.feed_video(&clean, 1);
    for second in 2..6 {
        let frames = source::video(codec, 160, 90, 30, 30, ms(second * 1000));
        for frame in &frames {
            worker.send_frame(&noise.corrupt(frame));
        }
    }
    // The publisher recovers: sound frames from a keyframe on, once decoders may be rebuilt.
    let beats = worker.beats;
    worker.read_until(|w| w.beats > beats + 15);
    let good = source::video(codec, 160, 90, 30, 30, ms(8000));
    let decoded = worker.counters.pictures_decoded;
    worker.feed_video(&good, 0);
    worker.read_until(|w| w.counters.pictures_decoded >= decoded + 29);
    worker.read_until(|w| w.video.last().is_some_and(|f| f.pts >= ms(8966)));
    assert_continuous(&worker.video);
    let shown = pictures(&worker.video, 160, 90);
    assert_eq!(shown.len(), worker.video.len(), "whatever came in, what goes out is valid");
    let luma = shown.last().unwrap().luma(10, 10);
    assert!((225..=236).contains(&luma), "the pattern is back, not luma {luma}");
    worker.shut_down();
}

#[test]
fn corrupt_vp8_costs_pictures_and_nothing_else() {
    survives(Codec::Vp8, 1);
}

#[test]
fn corrupt_vp9_costs_pictures_and_nothing_else() {
    survives(Codec::Vp9, 2);
}

#[test]
fn corrupt_av1_costs_pictures_and_nothing_else() {
    survives(Codec::Av1, 3);
}

#[test]
fn corrupt_h264_costs_pictures_and_nothing_else() {
    survives(Codec::H264, 4);
}

#[test]
fn corrupt_opus_costs_sound_and_nothing_else() {
    let mut noise = Noise(5);
    let tone = Sound::new(3.0, |t| [(t * 6000.0).sin() * 0.3; 2]);
    let frames = source::audio_from(&tone.description(), ms(0));
    let mut config = config(None, Some(audio_out()));
    // Holes are filled a second after their time, while a decoder is being rebuilt.
    config.max_wait = Duration::from_secs(41);
    let mut worker = Worker::start(config);
    let frames: Vec<_> = frames
        .iter()
        .map(|frame| if frame.pts < ms(2000) { noise.corrupt(frame) } else { frame.clone() })
        .collect();
    worker.feed_audio(&frames);
    worker.read_until(|w| w.audio.len() >= 3 * 48_000 / 1024 - 4);
    assert_continuous(&worker.audio);
    let heard = crate::check::sound(&worker.audio);
    let last: Vec<_> = heard[heard.len() - 20_000..heard.len() - 4_000].iter().flatten().collect();
    assert!(last.iter().any(|s| s.abs() > 0.25), "the tone is back");
    worker.shut_down();
}

#[test]
fn sizes_that_no_machine_has_memory_for_are_refused() {
    // A VP8 keyframe header (RFC 6386 section 9.1) that claims 16383x16383, and nothing behind it.
    let mut frame = source::video(Codec::Vp8, 160, 90, 30, 1, ms(0)).remove(0);
    frame.data = Bytes::from_static(&[0x10, 2, 0, 0x9d, 1, 0x2a, 0xff, 0x3f, 0xff, 0x3f, 1, 2, 3, 4, 5, 6]);
    let mut worker = Worker::start(config(Some(video_out(160, 90)), None));
    for _ in 0..10 {
        worker.send_frame(&frame);
    }
    let beats = worker.beats;
    worker.read_until(|w| w.beats > beats + 5);
    worker.feed_video(&source::video(Codec::Vp8, 160, 90, 30, 10, ms(100)), 0);
    worker.read_until(|w| w.video.len() >= 10);
    worker.shut_down();
}
