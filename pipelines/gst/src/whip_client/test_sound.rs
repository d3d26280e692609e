//! The sound of the test source, sample by sample. Pure.

use super::options::TestSound;
use skywave_media::time::AUDIO_RATE;
use std::f64::consts::TAU;

/// Half of full scale: loud enough to detect, far from clipping.
const AMPLITUDE: f64 = 16_384.0;

/// How long a beep lasts, in samples: 100 ms.
const BEEP_SAMPLES: u64 = (AUDIO_RATE / 10) as u64;

/// The beep's frequency, in hertz.
const BEEP_HZ: u32 = 1000;

/// Fills `samples` (interleaved stereo) with the sound from sample `first` of the source's clock on.
pub(super) fn fill(sound: TestSound, first: u64, samples: &mut [[i16; 2]]) {
    for (index, sample) in (first..).zip(samples) {
        *sample = match sound {
            TestSound::Silence => [0; 2],
            TestSound::Beep => {
                let in_second = index % u64::from(AUDIO_RATE);
                if in_second < BEEP_SAMPLES { [sine(BEEP_HZ, in_second); 2] } else { [0; 2] }
            }
            TestSound::Tone { left_hz, right_hz } => [sine(left_hz, index), sine(right_hz, index)],
        };
    }
}

/// Sample `index` of a sine of `hertz`. The phase is reduced to one second first: whole frequencies repeat then,
/// and precision does not fade with the hours.
fn sine(hertz: u32, index: u64) -> i16 {
    let in_second = (index % u64::from(AUDIO_RATE)) as f64;
    (AMPLITUDE * (TAU * f64::from(hertz) * in_second / f64::from(AUDIO_RATE)).sin()).round() as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beep_starts_at_the_very_sample_of_the_full_second() {
        let mut samples = vec![[7i16; 2]; 48_000];
        fill(TestSound::Beep, 47_000, &mut samples);
        assert!(samples[..1001].iter().all(|s| *s == [0, 0]), "silence up to and including the sine's zero");
        assert_eq!(samples[1001], [sine(1000, 1); 2]);
        assert!(samples[1001][0] > 2000);
        assert_ne!(samples[1000 + 4799], [0, 0]);
        assert!(samples[1000 + 4800..].iter().all(|s| *s == [0, 0]));
    }

    #[test]
    fn tones_go_on_across_calls_and_differ_by_channel() {
        let tone = TestSound::Tone { left_hz: 1000, right_hz: 440 };
        let mut whole = vec![[0i16; 2]; 960];
        fill(tone, 48_000 * 3600, &mut whole);
        let (mut a, mut b) = (vec![[0i16; 2]; 480], vec![[0i16; 2]; 480]);
        fill(tone, 48_000 * 3600, &mut a);
        fill(tone, 48_000 * 3600 + 480, &mut b);
        assert_eq!(whole, [a, b].concat());
        assert_eq!(whole[12][0], 16_384, "a quarter period of 1 kHz is 12 samples");
        assert_ne!(whole[12][1], 16_384);
    }
}
