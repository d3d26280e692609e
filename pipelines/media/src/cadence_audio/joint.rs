//! Samples at their joints: no click where sound begins, ends, is cut or stretched.

use super::CHANNELS;
use std::collections::VecDeque;

/// A step between two neighbouring samples is spread over this many (5 ms).
const FADE_SAMPLES: usize = 240;

/// Samples that interpolation needs before the first one of a block.
const HISTORY: usize = 3;

/// How far the output lies behind the input, in samples (42 us): interpolation looks this far ahead.
const DELAY: i64 = 2;

type Sample = [f32; CHANNELS];

/// Remembers the sound's end, to join the next block to it.
#[derive(Debug, Default)]
pub(super) struct Shaper {
    /// The last samples that came in, for interpolation across blocks.
    history: [Sample; HISTORY],
    /// The last sample that went out.
    last: Sample,
    /// The next sample does not continue `last`.
    broken: bool,
    /// The sample before the step, that gives way to the new sound, and over how many samples it still does.
    held: Sample,
    held_left: usize,
}

impl Shaper {
    /// The next sound does not continue the last.
    pub(super) fn break_joint(&mut self) {
        self.broken = true;
    }

    /// Appends `length` samples made of all of `samples` (interleaved) to `out`.
    pub(super) fn shape(&mut self, samples: &[f32], length: usize, out: &mut VecDeque<f32>) {
        let (samples, _) = samples.as_chunks::<CHANNELS>();
        if self.broken {
            // What came before belongs to another place: the first sample stands for its own past.
            self.history = [samples.first().copied().unwrap_or_default(); HISTORY];
        }
        out.reserve(length * CHANNELS);
        for i in 0..length {
            let value = self.read(samples, i, length);
            let value = self.smooth(value);
            out.extend(value);
            self.last = value;
        }
        self.remember(samples);
    }

    /// Appends the sound's fade to zero, at most `count` samples; nothing when it is silent already.
    pub(super) fn fade_out(&mut self, count: u64, out: &mut VecDeque<f32>) {
        self.broken = true;
        if self.last == Sample::default() {
            return;
        }
        let fade = usize::try_from(count).map_or(FADE_SAMPLES, |count| count.min(FADE_SAMPLES));
        for _ in 0..fade {
            let value = self.smooth(Sample::default());
            out.extend(value);
            self.last = value;
        }
        self.broken = true;
        self.held_left = 0;
    }

    /// Output sample `i` of `length`, read from the input by cubic interpolation (Catmull and Rom).
    fn read(&self, samples: &[Sample], i: usize, length: usize) -> Sample {
        let at = |index: i64| -> Sample {
            match usize::try_from(index) {
                Ok(index) => samples[index],
                Err(_) => self.history[usize::try_from(index + HISTORY as i64).unwrap_or(0)],
            }
        };
        if length == samples.len() {
            return at(i as i64 - DELAY);
        }
        let position = i as f64 * samples.len() as f64 / length as f64;
        let whole = position as i64;
        let t = (position - whole as f64) as f32;
        let base = whole - DELAY;
        let (a, b, c, d) = (at(base - 1), at(base), at(base + 1), at(base + 2));
        std::array::from_fn(|ch| {
            let (a, b, c, d) = (a[ch], b[ch], c[ch], d[ch]);
            let slope = c - a;
            let bend = 2.0 * a - 5.0 * b + 4.0 * c - d;
            let twist = 3.0 * (b - c) + d - a;
            b + 0.5 * t * (slope + t * (bend + t * twist))
        })
    }

    /// Turns a step between the last sample and this one into a slope. The result lies between the two, so joints that
    /// follow each other closely cannot add up to something loud.
    fn smooth(&mut self, value: Sample) -> Sample {
        if self.broken {
            self.broken = false;
            self.held = self.last;
            self.held_left = FADE_SAMPLES;
        }
        if self.held_left == 0 {
            return value;
        }
        self.held_left -= 1;
        let weight = self.held_left as f32 / FADE_SAMPLES as f32;
        std::array::from_fn(|ch| value[ch] + (self.held[ch] - value[ch]) * weight)
    }

    fn remember(&mut self, samples: &[Sample]) {
        let fresh = samples.len().min(HISTORY);
        self.history.copy_within(fresh.., 0);
        self.history[HISTORY - fresh..].copy_from_slice(&samples[samples.len() - fresh..]);
    }
}
