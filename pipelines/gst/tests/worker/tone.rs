//! A tone in, the same tone out: its spectrum after Opus, the cadence and AAC.

use crate::check::sound;
use crate::harness::{Worker, assert_continuous, audio_out, config, ms};
use crate::source::{self, Sound};
use std::f64::consts::TAU;

/// Power of the best sine of `hz` in `signal`, and of all the rest.
fn split(signal: &[f64], hz: f64) -> (f64, f64) {
    let step = hz / 48_000.0 * TAU;
    // Whole periods of 1 kHz and 1.5 kHz, so that sine and cosine are orthogonal.
    let signal = &signal[..signal.len() / 96 * 96];
    let n = signal.len() as f64;
    let sum = |f: fn(f64) -> f64| signal.iter().enumerate().map(|(i, s)| s * f(i as f64 * step)).sum::<f64>();
    let (sine, cosine) = (2.0 * sum(f64::sin) / n, 2.0 * sum(f64::cos) / n);
    let rest = signal.iter().enumerate().map(|(i, s)| {
        let at = i as f64 * step;
        (s - sine * at.sin() - cosine * at.cos()).powi(2)
    });
    ((sine * sine + cosine * cosine) / 2.0, rest.sum::<f64>() / n)
}

fn decibels(ratio: f64) -> f64 {
    10.0 * ratio.log10()
}

/// Both channels after the worker, without the first and last quarter of a second.
fn through_the_worker(sample: impl FnMut(f64) -> [f64; 2]) -> [Vec<f64>; 2] {
    let source = Sound::new(4.0, sample);
    let frames = source::audio_from(&source.description(), ms(0));
    let mut worker = Worker::start(config(None, Some(audio_out())));
    worker.feed_audio(&frames);
    worker.read_until(|w| w.audio.len() >= 4 * 48_000 / 1024 - 3);
    assert_continuous(&worker.audio);
    assert_eq!(worker.faults, []);
    worker.shut_down();
    let heard = sound(&worker.audio);
    let middle = &heard[12_000..heard.len() - 12_000];
    [0, 1].map(|channel| middle.iter().map(|s| s[channel]).collect())
}

#[test]
fn a_stereo_tone_stays_clean() {
    let [left, right] =
        through_the_worker(|t| [(t * 1000.0 * TAU).sin() * 0.5, (t * 1500.0 * TAU).sin() * 0.5]);
    for (signal, own, other) in [(left, 1000.0, 1500.0), (right, 1500.0, 1000.0)] {
        let (tone, rest) = split(&signal, own);
        let (crosstalk, _) = split(&signal, other);
        assert!((decibels(tone) - decibels(0.125)).abs() < 0.5, "level {} dB", decibels(tone / 0.125));
        assert!(decibels(tone / rest) > 40.0, "THD+N {} dB at {own} Hz", decibels(tone / rest));
        assert!(
            decibels(tone / crosstalk) > 45.0,
            "separation {} dB at {own} Hz",
            decibels(tone / crosstalk)
        );
        eprintln!(
            "{own} Hz: THD+N {:.1} dB, separation {:.1} dB",
            decibels(tone / rest),
            decibels(tone / crosstalk)
        );
    }
}

#[test]
fn a_tone_on_the_left_leaves_the_right_silent() {
    let [left, right] = through_the_worker(|t| [(t * 1000.0 * TAU).sin() * 0.5, 0.0]);
    let (tone, rest) = split(&left, 1000.0);
    let power = right.iter().map(|s| s * s).sum::<f64>() / right.len() as f64;
    eprintln!("THD+N {:.1} dB, separation {:.1} dB", decibels(tone / rest), decibels(tone / power));
    assert!(decibels(tone / rest) > 40.0, "THD+N {} dB", decibels(tone / rest));
    assert!(decibels(tone / power) > 40.0, "separation {} dB", decibels(tone / power));
}
