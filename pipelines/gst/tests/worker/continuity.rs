//! What the audience gets when a lane stalls, starts late or is resumed.

use crate::check::{pictures, sound};
use crate::harness::{Worker, assert_continuous, audio_out, config, epoch, keyframe_seconds, ms, video_out};
use crate::source::{self, Sound};
use skywave_media::codec::Codec;
use skywave_media::worker_proto::{DEFAULT_MAX_WAIT, ToWorker};
use std::time::Duration;

#[test]
fn five_seconds_of_mute_are_silence_of_five_seconds() {
    let tone = Sound::new(2.0, |t| [(t * 1000.0 * std::f64::consts::TAU).sin() * 0.5; 2]);
    let mut frames = source::audio_from(&tone.description(), ms(0));
    frames.truncate(100);
    frames.extend(source::audio_from(&tone.description(), ms(7000)));
    let mut worker = Worker::start(config(None, Some(audio_out())));
    worker.feed_audio(&frames);
    worker.read_until(|w| w.audio.len() >= 9 * 48_000 / 1024 - 2);
    assert_continuous(&worker.audio);
    let heard = sound(&worker.audio);
    let start = worker.audio[0].pts.rescale(48_000).ticks;
    let loudest = |from: i64, to: i64| {
        let at = |ms: i64| usize::try_from(ms * 48 - start).unwrap();
        heard[at(from)..at(to)].iter().flatten().fold(0.0f64, |max, s| max.max(s.abs()))
    };
    assert!(loudest(2100, 6900) < 0.001, "{}", loudest(2100, 6900));
    assert!(loudest(100, 1900) > 0.4 && loudest(7100, 8800) > 0.4);
    worker.shut_down();
}

#[test]
fn a_stalled_camera_is_a_still_picture_in_real_time() {
    let frames = source::video(Codec::Vp8, 160, 90, 30, 5, ms(0));
    let mut config = config(Some(video_out(160, 90)), None);
    config.epoch = epoch(Duration::ZERO);
    config.max_wait = DEFAULT_MAX_WAIT;
    let mut worker = Worker::start(config.clone());
    worker.feed_video(&frames, 1);
    // Nothing more comes, and pictures go on.
    worker.read_until(|w| w.video.len() >= 40);
    let late = epoch(Duration::ZERO).nanos_since(config.epoch) - worker.video.last().unwrap().pts.as_nanos();
    assert!((300_000_000..1_000_000_000).contains(&late), "{late} ns after their time");
    assert_continuous(&worker.video);
    assert_eq!(pictures(&worker.video, 160, 90).len(), worker.video.len());
    worker.read_until(|w| w.counters.pictures_repeated > 20);
    worker.shut_down();
}

#[test]
fn a_resumed_worker_goes_on_exactly_where_it_is_told() {
    let mut video = video_out(160, 90);
    video.resume_at = Some(ms(10_000));
    let mut audio = audio_out();
    audio.resume_at = Some(skywave_media::time::MediaTime::from_48k(480_123));
    let mut worker = Worker::start(config(Some(video), Some(audio)));
    // The first picture and sound come half a second later.
    worker.feed_video(&source::video(Codec::Vp8, 160, 90, 30, 10, ms(10_500)), 0);
    let tone = Sound::new(0.5, |_| [0.1; 2]);
    for frame in source::audio_from(&tone.description(), ms(10_500)) {
        worker.send_frame(&frame);
    }
    worker.read_until(|w| w.video.len() >= 25 && w.audio.len() >= 44);
    assert_eq!((worker.video[0].pts, worker.audio[0].pts.rescale(48_000).ticks), (ms(10_000), 480_123));
    assert_continuous(&worker.video);
    assert_continuous(&worker.audio);
    assert_eq!(keyframe_seconds(&worker.video), [10.0]);
    assert_eq!(pictures(&worker.video, 160, 90).len(), worker.video.len());
    worker.shut_down();
}

#[test]
fn a_resumed_worker_without_a_picture_shows_black() {
    let mut video = video_out(160, 90);
    video.resume_at = Some(ms(0));
    let mut config = config(Some(video), None);
    config.epoch = epoch(Duration::ZERO);
    config.max_wait = DEFAULT_MAX_WAIT;
    let mut worker = Worker::start(config);
    worker.read_until(|w| w.video.len() >= 5);
    let decoded = pictures(&worker.video, 160, 90);
    assert!(decoded.iter().all(|p| p.mean_luma(90) < 17.5), "{}", decoded[0].mean_luma(90));
    worker.shut_down();
}

#[test]
fn video_is_added_to_a_running_worker_when_passthrough_ends() {
    let mut config = config(None, Some(audio_out()));
    let mut worker = Worker::start(config.clone());
    let tone = Sound::new(2.0, |_| [0.1; 2]);
    let frames = source::audio_from(&tone.description(), ms(0));
    worker.feed_audio(&frames[..50]);
    let mut video = video_out(160, 90);
    video.resume_at = Some(ms(1000));
    config.video = vec![video];
    worker.send(&ToWorker::Configure(config.clone()));
    worker.read_until(|w| w.ready == 2);
    worker.feed_video(&source::video(Codec::Vp8, 160, 90, 30, 20, ms(1000)), 1);
    config.video.clear();
    worker.send(&ToWorker::Configure(config));
    worker.feed_audio(&frames[50..]);
    worker.read_until(|w| w.ready == 3 && w.audio.len() >= 90);
    assert_eq!((worker.video.len(), worker.video[0].pts), (20, ms(1000)));
    assert_continuous(&worker.audio);
    worker.shut_down();
}

#[test]
fn a_worker_that_ends_leaves_no_thread_and_no_descriptor() {
    let cycle = || {
        let mut worker = Worker::start(config(Some(video_out(160, 90)), Some(audio_out())));
        worker.feed_video(&source::video(Codec::Vp8, 160, 90, 30, 3, ms(0)), 1);
        worker.shut_down();
    };
    // GLib keeps a few idle threads for the next pipeline.
    cycle();
    cycle();
    let before = (entries("/proc/self/task"), entries("/proc/self/fd"));
    for _ in 0..5 {
        cycle();
    }
    // Tests of one process run side by side only under `cargo test`; nextest gives each its own.
    if std::env::var_os("NEXTEST").is_some() {
        let after = (entries("/proc/self/task"), entries("/proc/self/fd"));
        assert!(after.0 <= before.0 + 1 && after.1 <= before.1, "{before:?} became {after:?}");
    }
}

fn entries(folder: &str) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}
