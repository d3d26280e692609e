//! How far picture and sound are apart: flashes in the video against beeps in the audio, both at each full second.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::ffmpeg::{self, Level, Luma};
use crate::hls_client::Capture;

/// Two events of one lane are at least this far apart; what comes earlier is the same one.
const APART_S: f64 = 0.5;
/// A flash and a beep that belong together are nearer than this.
const TOGETHER_S: f64 = 0.45;

/// One second's flash and beep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// Presentation time of the first white picture, seconds.
    pub flash_s: f64,
    /// Presentation time of the beep's begin, seconds.
    pub beep_s: f64,
}

impl Pair {
    /// Sound after picture, milliseconds (negative: sound first).
    #[must_use]
    pub fn skew_ms(&self) -> f64 {
        (self.beep_s - self.flash_s) * 1000.0
    }
}

/// What was measured over a whole capture.
#[derive(Debug, Clone, PartialEq)]
pub struct Skew {
    /// Flashes with their beeps, in order.
    pub pairs: Vec<Pair>,
    /// Flashes without a beep (the sound was muted or lost), seconds.
    pub lone_flashes: Vec<f64>,
    /// Beeps without a flash, seconds.
    pub lone_beeps: Vec<f64>,
}

impl Skew {
    /// The largest distance, milliseconds, whichever comes first.
    #[must_use]
    pub fn worst_ms(&self) -> f64 {
        self.pairs.iter().map(|pair| pair.skew_ms().abs()).fold(0.0, f64::max)
    }

    /// One line: how many, first, last, least, most.
    #[must_use]
    pub fn summary(&self) -> String {
        let skews: Vec<f64> = self.pairs.iter().map(Pair::skew_ms).collect();
        let least = skews.iter().copied().reduce(f64::min).unwrap_or(f64::NAN);
        let most = skews.iter().copied().reduce(f64::max).unwrap_or(f64::NAN);
        format!(
            "{} pairs, skew ms: first {:.1}, last {:.1}, least {least:.1}, most {most:.1}; flashes alone {:.1?}, beeps alone {:.1?}",
            skews.len(),
            skews.first().copied().unwrap_or(f64::NAN),
            skews.last().copied().unwrap_or(f64::NAN),
            self.lone_flashes,
            self.lone_beeps,
        )
    }
}

/// Measures a capture; its segments are written to `folder` on the way.
///
/// # Errors
/// When a lane is missing or does not decode without an error.
pub async fn of_capture(capture: &Capture, folder: &Path) -> Result<Skew> {
    let video = capture.video()?.write(folder, "video.mp4")?;
    let audio = capture.audio()?.write(folder, "audio.mp4")?;
    of_files(&video, &audio).await
}

/// Measures two files on one timeline (they may be the same file).
///
/// # Errors
/// When one does not decode without an error or has no event at all.
pub async fn of_files(video: &Path, audio: &Path) -> Result<Skew> {
    let flashes = flashes(&ffmpeg::luma(video).await?);
    let beeps = beeps(&ffmpeg::levels(audio).await?);
    ensure!(!flashes.is_empty() && !beeps.is_empty(), "{} flashes, {} beeps", flashes.len(), beeps.len());
    Ok(pair(&flashes, &beeps))
}

/// The begin of each flash: a picture brighter than the middle between the usual and the brightest.
#[must_use]
pub fn flashes(pictures: &[Luma]) -> Vec<f64> {
    let mut means: Vec<f64> = pictures.iter().map(|picture| picture.mean).collect();
    means.sort_by(f64::total_cmp);
    let (Some(median), Some(brightest)) = (means.get(means.len() / 2), means.last()) else {
        return Vec::new();
    };
    let threshold = f64::midpoint(*median, *brightest);
    begins(pictures.iter().map(|picture| (picture.at_s, picture.mean > threshold)))
}

/// The begin of each beep: louder than half (-6 dB) of the loudest.
#[must_use]
pub fn beeps(levels: &[Level]) -> Vec<f64> {
    let loudest = levels.iter().map(|level| level.rms_db).fold(f64::NEG_INFINITY, f64::max);
    begins(levels.iter().map(|level| (level.at_s, level.rms_db > loudest - 6.0)))
}

/// Where a condition becomes true after it was false, at most once in [`APART_S`]. What is true from the very start has no
/// known begin and is left out.
fn begins(states: impl Iterator<Item = (f64, bool)>) -> Vec<f64> {
    let mut found: Vec<f64> = Vec::new();
    let mut before = true;
    for (at_s, is) in states {
        if is && !before && found.last().is_none_or(|last| at_s - last >= APART_S) {
            found.push(at_s);
        }
        before = is;
    }
    found
}

fn pair(flashes: &[f64], beeps: &[f64]) -> Skew {
    let mut skew = Skew { pairs: Vec::new(), lone_flashes: Vec::new(), lone_beeps: beeps.to_vec() };
    for flash_s in flashes {
        let near = skew.lone_beeps.iter().position(|beep_s| (beep_s - flash_s).abs() < TOGETHER_S);
        match near {
            Some(index) => skew.pairs.push(Pair { flash_s: *flash_s, beep_s: skew.lone_beeps.remove(index) }),
            None => skew.lone_flashes.push(*flash_s),
        }
    }
    skew
}
