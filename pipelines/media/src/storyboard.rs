//! Which small pictures are made of a recording, where they lie in the grid, and the WebVTT file that says so to players.

use crate::convert_proto::Pictures;
use std::fmt::Write;
use std::time::Duration;

/// Width of a small picture, in pixels.
pub const SMALL_WIDTH: u32 = 160;

/// Width of the picture that stands for the recording, in pixels.
pub const THUMB_WIDTH: u32 = 320;

/// Small pictures in a row.
pub const COLUMNS: u32 = 10;

/// Most small pictures of a recording.
const MAX_PICTURES: u32 = 100;

/// Pictures closer together than this tell nothing new.
const MIN_INTERVAL: Duration = Duration::from_secs(10);

/// A picture is at most this many times as high as wide.
const MAX_STEEPNESS: u32 = 3;

/// The times at which small pictures are wanted, ascending: at most 100, at least ten seconds apart.
pub fn times(duration: Duration) -> Vec<Duration> {
    let interval = (duration / MAX_PICTURES).max(MIN_INTERVAL);
    (0..MAX_PICTURES)
        .map(|number| interval * number)
        .take_while(|at| at.is_zero() || *at < duration)
        .collect()
}

/// When the picture that stands for the recording is taken: behind the beginning, which is often black.
pub fn thumb_time(duration: Duration) -> Duration {
    duration / 10
}

/// The height of a picture so wide, in pixels: even, in the proportion of `size`, within reason.
pub fn height(width: u32, (source_width, source_height): (u32, u32)) -> u32 {
    let exact = f64::from(width) * f64::from(source_height.max(1)) / f64::from(source_width.max(1));
    // The cast saturates.
    ((exact / 2.0).round() as u32).saturating_mul(2).clamp(16, width * MAX_STEEPNESS)
}

/// The WebVTT file (W3C WebVTT section 4.1, media fragments by W3C Media Fragments section 4.2.2): each cue names a part of `sprite`.
pub fn vtt(pictures: &Pictures, duration: Duration, sprite: &str) -> String {
    let mut text = "WEBVTT\n".to_owned();
    for (number, at) in (0u32..).zip(&pictures.times) {
        let next = pictures.times.get(number as usize + 1).copied().unwrap_or(duration);
        // The first picture stands for all that comes before it, and each cue lasts.
        let begin = if number == 0 { Duration::ZERO } else { *at };
        let end = next.max(begin + Duration::from_millis(1));
        let (x, y) =
            (number % pictures.columns * pictures.width, number / pictures.columns * pictures.height);
        let (width, height) = (pictures.width, pictures.height);
        let _memory = write!(
            text,
            "\n{} --> {}\n{sprite}#xywh={x},{y},{width},{height}\n",
            timestamp(begin),
            timestamp(end)
        );
    }
    text
}

/// `hh:mm:ss.ttt`.
fn timestamp(at: Duration) -> String {
    let seconds = at.as_secs();
    format!("{:02}:{:02}:{:02}.{:03}", seconds / 3600, seconds / 60 % 60, seconds % 60, at.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn short_recordings_have_a_picture_every_ten_seconds_and_long_ones_a_hundred() {
        assert_eq!(times(Duration::ZERO), [Duration::ZERO]);
        assert_eq!(times(seconds(4)), [Duration::ZERO]);
        assert_eq!(times(seconds(25)), [seconds(0), seconds(10), seconds(20)]);
        let long = times(seconds(36_000));
        assert_eq!((long.len(), long[1]), (100, seconds(360)));
    }

    #[test]
    fn heights_keep_the_proportion_and_are_even() {
        assert_eq!(height(160, (1920, 1080)), 90);
        assert_eq!(height(160, (320, 240)), 120);
        assert_eq!(height(160, (720, 1280)), 284);
        assert_eq!(height(160, (16, 16000)), 480);
        assert_eq!(height(160, (8192, 16)), 16);
        assert_eq!(height(160, (0, 0)), 160);
    }

    #[test]
    fn every_cue_names_its_place_in_the_grid() {
        let pictures = Pictures {
            thumb: Bytes::new(),
            sprite: Bytes::new(),
            columns: 2,
            width: 160,
            height: 90,
            times: vec![Duration::from_millis(40), seconds(10), seconds(3671)],
        };
        let expected = "WEBVTT\n\
            \n00:00:00.000 --> 00:00:10.000\nsprite.jpg#xywh=0,0,160,90\n\
            \n00:00:10.000 --> 01:01:11.000\nsprite.jpg#xywh=160,0,160,90\n\
            \n01:01:11.000 --> 01:01:11.500\nsprite.jpg#xywh=0,90,160,90\n";
        assert_eq!(vtt(&pictures, Duration::from_millis(3_671_500), "sprite.jpg"), expected);
    }
}
