//! Flash and beep: what was seen and heard at one time still is.

use crate::check::{pictures, sound};
use crate::harness::{Worker, audio_out, config, ms, video_out};
use crate::source::{self, Sound};
use skywave_media::codec::Codec;

/// A chirp of 100 ms, from 300 Hz to 5 kHz: what comes closest to it is found to a sample, after any lossy codec.
fn chirp(seconds: f64) -> f64 {
    if !(0.0..0.1).contains(&seconds) {
        return 0.0;
    }
    let phase = 300.0 * seconds + (5000.0 - 300.0) / 0.1 * seconds * seconds / 2.0;
    (phase * std::f64::consts::TAU).sin() * 0.5
}

/// How late a chirp at `chirp_ms` of the source comes out, in milliseconds.
fn lateness(chirp_ms: f64) -> f64 {
    let source = Sound::new(2.0, |t| [chirp(t - chirp_ms / 1000.0); 2]);
    let frames = source::audio_from(&source.description(), ms(500));
    let mut worker = Worker::start(config(None, Some(audio_out())));
    worker.feed_audio(&frames);
    worker.read_until(|w| w.audio.len() >= 2 * 48_000 / 1024 - 3);
    worker.shut_down();
    let heard = sound(&worker.audio);
    let start = worker.audio[0].pts.rescale(48_000).ticks;
    let expected = (chirp_ms * 48.0) as i64 + 24_000 - start;
    let likeness = |late: i64| {
        let at = usize::try_from(expected + late).unwrap();
        (0..4800).map(|i| heard[at + i][0] * chirp(i as f64 / 48_000.0)).sum::<f64>()
    };
    let late = (-2000..2000).max_by(|a, b| likeness(*a).total_cmp(&likeness(*b))).unwrap();
    late as f64 / 48.0
}

#[test]
fn sound_is_heard_where_it_was_made() {
    for chirp_ms in [300.0, 1000.0, 1503.0] {
        let late = lateness(chirp_ms);
        eprintln!("{late:.2} ms late");
        assert!(late.abs() <= 1.0, "{late} ms late");
    }
}

#[test]
fn a_flash_is_seen_in_the_slot_of_its_picture() {
    let dark = "videotestsrc num-buffers=20 pattern=black";
    let mut frames = source::video_from(dark, Codec::Vp8, 160, 90, 30, ms(0));
    let flash = "videotestsrc num-buffers=1 pattern=white";
    frames.extend(source::video_from(
        flash,
        Codec::Vp8,
        160,
        90,
        30,
        skywave_media::time::MediaTime::new(20, 30),
    ));
    frames.extend(source::video_from(
        dark,
        Codec::Vp8,
        160,
        90,
        30,
        skywave_media::time::MediaTime::new(21, 30),
    ));
    let mut worker = Worker::start(config(Some(video_out(160, 90)), None));
    worker.feed_video(&frames, 1);
    let luma: Vec<_> = pictures(&worker.video, 160, 90).iter().map(|p| p.mean_luma(90)).collect();
    let bright: Vec<_> = (0..luma.len()).filter(|i| luma[*i] > 120.0).collect();
    assert_eq!(bright, [20]);
    assert_eq!(worker.video[20].pts.rescale(90_000).ticks, 60_000);
    worker.shut_down();
}
