//! Which renditions a stream has: from the rungs that are configured and the size that is published.
//!
//! A rung is named after the shorter side of its picture, so that `480p` means the same for a phone held upright. A rung
//! that is hardly smaller than the source is left out: two renditions of nearly the same size help nobody.
//!
//! What belongs here: names, sizes and bitrates. What does not: whether there is room for them ([`crate::admission`]),
//! and how they are made.

use crate::hls::RenditionName;
use std::fmt;
use std::str::FromStr;

/// Bits per pixel of H.264 at the presets a live server can afford: 2.5 Mbit/s for 720p at 30 frames a second.
const BITS_PER_PIXEL: f64 = 0.09;

/// Small pictures need more bits for each pixel. What is chosen is never less than this, in bits per second.
const LEAST_BITRATE_BPS: f64 = 200_000.0;

/// Nor more than this: 1080p at 60.
const MOST_BITRATE_BPS: f64 = 12_000_000.0;

/// Exponent with which bits follow pixels down the ladder. Four times the pixels of the same content compress to about three
/// times the bits.
const SCALE_EXPONENT: f64 = 0.8;

/// A rung with more than this share of the source's pixels is left out, in percent.
const MAX_SHARE_PERCENT: u64 = 80;

/// Rungs have a shorter side in this range, in pixels.
const HEIGHTS: std::ops::RangeInclusive<u32> = 90..=2160;

/// Bitrates that make sense for a rung, in bits per second.
const BITRATES: std::ops::RangeInclusive<u32> = 50_000..=50_000_000;

/// One rung as it is configured: `720p`, or `720p:2500000` with its bitrate in bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rung {
    /// The shorter side of its picture, in pixels.
    pub height: u32,
    /// Mean bitrate in bits per second; chosen by the size when none is given.
    pub bitrate_bps: Option<u32>,
}

/// Why a word is no rung.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RungError {
    /// It does not look like one.
    #[error("{0:?} is no rung: write \"480p\", or \"480p:1200000\" with the bits per second")]
    Shape(String),
    /// Its picture is too small or too large.
    #[error("{0:?}: a rung is {low}p to {high}p", low = HEIGHTS.start(), high = HEIGHTS.end())]
    Height(String),
    /// Its bitrate makes no sense.
    #[error("{0:?}: the bitrate of a rung is {low} to {high} bits per second", low = BITRATES.start(), high = BITRATES.end())]
    Bitrate(String),
}

impl FromStr for Rung {
    type Err = RungError;

    fn from_str(word: &str) -> Result<Self, RungError> {
        let shape = || RungError::Shape(word.to_owned());
        let (name, bitrate) = match word.split_once(':') {
            Some((name, bitrate)) => (name, Some(bitrate)),
            None => (word, None),
        };
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u32>().ok());
        let height = name.strip_suffix('p').and_then(digits).flatten().ok_or_else(shape)?;
        if !HEIGHTS.contains(&height) {
            return Err(RungError::Height(word.to_owned()));
        }
        let bitrate_bps = match bitrate {
            Some(text) => Some(digits(text).flatten().ok_or_else(shape)?),
            None => None,
        };
        if bitrate_bps.is_some_and(|bps| !BITRATES.contains(&bps)) {
            return Err(RungError::Bitrate(word.to_owned()));
        }
        Ok(Self { height, bitrate_bps })
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}p", self.height)?;
        self.bitrate_bps.map_or(Ok(()), |bps| write!(f, ":{bps}"))
    }
}

/// One encoded rendition below the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendition {
    /// Its name, after its rung.
    pub name: RenditionName,
    /// Width in pixels, even.
    pub width: u32,
    /// Height in pixels, even.
    pub height: u32,
    /// Mean bitrate in bits per second.
    pub bitrate_bps: u32,
}

/// The renditions below a source of `size` at `fps` frames a second, the largest first: never scaled up, never two of one
/// size, the source's shape kept, in even numbers.
pub fn renditions(rungs: &[Rung], size: (u32, u32), fps: u32) -> Vec<Rendition> {
    let mut rungs: Vec<&Rung> = rungs.iter().filter(|rung| is_below(rung.height, size)).collect();
    rungs.sort_by_key(|rung| std::cmp::Reverse(rung.height));
    rungs.dedup_by_key(|rung| rung.height);
    let rendition = |rung: &Rung| {
        let (width, height) = scaled(size, rung.height);
        let name = RenditionName::new(format!("{}p", rung.height)).expect("digits and a letter");
        let chosen = scaled_bitrate_bps(size, (width, height), fps);
        Rendition { name, width, height, bitrate_bps: rung.bitrate_bps.unwrap_or(chosen) }
    };
    rungs.into_iter().map(rendition).collect()
}

/// The bitrate for pictures of this size when none is configured, in bits per second.
pub fn bitrate_bps(size: (u32, u32), fps: u32) -> u32 {
    (pixels(size) as f64 * f64::from(fps) * BITS_PER_PIXEL).clamp(LEAST_BITRATE_BPS, MOST_BITRATE_BPS) as u32
}

/// The size of a picture of `size` scaled down, shape kept, until its shorter side has `height` pixels; even numbers.
pub fn scaled(size: (u32, u32), height: u32) -> (u32, u32) {
    let (width, short) = (size.0.max(1), size.0.min(size.1).max(1));
    let even = |length: u32| {
        let exact = f64::from(length) * f64::from(height) / f64::from(short);
        ((exact / 2.0).round() as u32 * 2).max(2)
    };
    (even(width), even(size.1.max(1)))
}

/// What the source's bitrate becomes at a smaller size.
fn scaled_bitrate_bps(source: (u32, u32), size: (u32, u32), fps: u32) -> u32 {
    let share = pixels(size) as f64 / pixels(source).max(1) as f64;
    let scaled = f64::from(bitrate_bps(source, fps)) * share.powf(SCALE_EXPONENT);
    scaled.clamp(LEAST_BITRATE_BPS, MOST_BITRATE_BPS) as u32
}

fn is_below(height: u32, source: (u32, u32)) -> bool {
    let smaller = height < source.0.min(source.1);
    smaller && pixels(scaled(source, height)) * 100 <= pixels(source) * MAX_SHARE_PERCENT
}

fn pixels((width, height): (u32, u32)) -> u64 {
    u64::from(width) * u64::from(height)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rungs(words: &[&str]) -> Vec<Rung> {
        words.iter().map(|word| word.parse().unwrap()).collect()
    }

    fn sizes(words: &[&str], source: (u32, u32)) -> Vec<(String, u32, u32)> {
        let made = renditions(&rungs(words), source, 30);
        made.into_iter().map(|r| (r.name.to_string(), r.width, r.height)).collect()
    }

    fn named(name: &str, width: u32, height: u32) -> (String, u32, u32) {
        (name.to_owned(), width, height)
    }

    const USUAL: [&str; 3] = ["720p", "480p", "240p"];

    #[test]
    fn a_full_hd_camera_gets_all_rungs_and_a_small_one_only_those_below_it() {
        let full = [named("720p", 1280, 720), named("480p", 854, 480), named("240p", 426, 240)];
        assert_eq!(sizes(&USUAL, (1920, 1080)), full);
        assert_eq!(sizes(&USUAL, (1280, 720)), full[1..]);
        assert_eq!(sizes(&USUAL, (640, 480)), [named("240p", 320, 240)]);
        assert_eq!(sizes(&USUAL, (320, 180)), []);
    }

    #[test]
    fn a_phone_held_upright_gets_the_same_names() {
        assert_eq!(
            sizes(&USUAL, (1080, 1920)),
            [named("720p", 720, 1280), named("480p", 480, 854), named("240p", 240, 426)]
        );
    }

    #[test]
    fn a_rung_hardly_smaller_than_the_source_is_left_out() {
        assert_eq!(sizes(&["720p", "480p"], (1366, 768)), [named("480p", 854, 480)]);
        assert_eq!(sizes(&["240p", "480p", "240p"], (1280, 720)).len(), 2, "sorted, and each once");
    }

    #[test]
    fn a_bitrate_is_taken_as_configured_or_falls_a_little_slower_than_the_pixels() {
        let made = renditions(&rungs(&["480p", "240p:300000"]), (1280, 720), 30);
        assert!((1_200_000..1_400_000).contains(&made[0].bitrate_bps), "{made:?}");
        assert_eq!(made[1].bitrate_bps, 300_000);
    }

    #[test]
    fn what_is_no_rung_says_what_one_looks_like() {
        for word in ["", "p", "480", "480p:", "480p:1M", "+480p", "480p:-1", "abcp"] {
            let error = word.parse::<Rung>().unwrap_err();
            assert!(error.to_string().contains("480p:1200000"), "{error}");
        }
        assert!(matches!("10p".parse::<Rung>(), Err(RungError::Height(_))));
        assert!(matches!("480p:1000".parse::<Rung>(), Err(RungError::Bitrate(_))));
        for word in ["480p", "1080p:4000000"] {
            assert_eq!(word.parse::<Rung>().unwrap().to_string(), word);
        }
    }

    proptest! {
        #[test]
        fn every_rendition_is_smaller_than_the_source_and_the_one_before_and_has_its_shape(
            width in 16u32..8000,
            height in 16u32..8000,
            heights in proptest::collection::vec(90u32..=2160, 0..6),
        ) {
            let rungs: Vec<_> = heights.iter().map(|&height| Rung { height, bitrate_bps: None }).collect();
            let made = renditions(&rungs, (width, height), 30);
            let mut before = (width, height);
            for rendition in made {
                let size = (rendition.width, rendition.height);
                prop_assert!(size.0 <= before.0 && size.1 <= before.1 && pixels(size) < pixels(before));
                prop_assert!(size.0 % 2 == 0 && size.1 % 2 == 0);
                let exact = f64::from(width) * f64::from(size.1) / f64::from(height);
                let error = (exact - f64::from(size.0)).abs();
                // Both sides are rounded to even numbers: the longer one by its share of the shorter one's error.
                prop_assert!(error <= 1.01 + 1.01 * f64::from(width) / f64::from(height), "{size:?} of {width}x{height}");
                before = size;
            }
        }
    }
}
