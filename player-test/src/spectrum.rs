//! How clean a tone is: its level, and everything that is not the tone.

use std::f64::consts::TAU;

use anyhow::{Result, ensure};

/// Length of one window: short enough that a clock slewed by some 100 ppm stays in phase, long enough for a fine estimate.
const WINDOW: usize = 4800;
/// Samples per second of what is measured.
const RATE: f64 = 48_000.0;

/// What was measured of one channel over all its windows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tone {
    /// Frequency, median, in hertz.
    pub hertz: f64,
    /// Peak level of the tone, median, in dB below full scale.
    pub level_db: f64,
    /// Tone over everything else, in dB: median of all windows.
    pub median_snr_db: f64,
    /// The same, of the worst window: a click or a drop-out shows here.
    pub worst_snr_db: f64,
}

/// Measures the tone near `hertz` in a channel sampled at 48 kHz.
///
/// # Errors
/// When there is less than one window (100 ms).
pub fn tone(samples: &[f32], hertz: f64) -> Result<Tone> {
    ensure!(samples.len() >= WINDOW, "{} samples are too few", samples.len());
    let fits: Vec<Fit> = samples.chunks_exact(WINDOW).map(|window| best_fit(window, hertz)).collect();
    let median = |of: fn(&Fit) -> f64| {
        let mut values: Vec<f64> = fits.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Ok(Tone {
        hertz: median(|fit| fit.hertz),
        level_db: median(|fit| 20.0 * fit.amplitude.log10()),
        median_snr_db: median(|fit| fit.snr_db),
        worst_snr_db: fits.iter().map(|fit| fit.snr_db).fold(f64::INFINITY, f64::min),
    })
}

#[derive(Debug, Clone, Copy)]
struct Fit {
    hertz: f64,
    amplitude: f64,
    snr_db: f64,
}

/// The sine near `hertz` that leaves the least of `window`: a coarse search of 4 Hz, then a fine one.
fn best_fit(window: &[f32], hertz: f64) -> Fit {
    let search = |centre: f64, step: f64| {
        let tries = (-8..=8).map(|n| fit(window, centre + f64::from(n) * step));
        tries.max_by(|a, b| a.snr_db.total_cmp(&b.snr_db)).unwrap_or_else(|| fit(window, centre))
    };
    let coarse = search(hertz, 0.5);
    search(coarse.hertz, 0.0625)
}

/// Least squares of a sine, a cosine and a constant; with whole windows of many periods the three are next to orthogonal, but
/// not quite, so the normal equations of sine and cosine are solved.
fn fit(window: &[f32], hertz: f64) -> Fit {
    let count = window.len() as f64;
    let mean = window.iter().map(|sample| f64::from(*sample)).sum::<f64>() / count;
    let step = TAU * hertz / RATE;
    let (mut ss, mut cc, mut sc, mut xs, mut xc, mut xx) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    for (index, sample) in window.iter().enumerate() {
        let (sin, cos) = (step * index as f64).sin_cos();
        let x = f64::from(*sample) - mean;
        ss += sin * sin;
        cc += cos * cos;
        sc += sin * cos;
        xs += x * sin;
        xc += x * cos;
        xx += x * x;
    }
    let determinant = ss * cc - sc * sc;
    let a = (xs * cc - xc * sc) / determinant;
    let b = (xc * ss - xs * sc) / determinant;
    let tone = a * xs + b * xc;
    // Nothing measured through 32-bit samples is cleaner than 150 dB; the floor also keeps a digital silence finite.
    let rest = (xx - tone).max(tone * 1e-15).max(f64::MIN_POSITIVE);
    Fit {
        hertz,
        amplitude: a.hypot(b).max(f64::MIN_POSITIVE),
        snr_db: 10.0 * (tone.max(f64::MIN_POSITIVE) / rest).log10(),
    }
}
