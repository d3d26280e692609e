//! What a player has shown, in the same words for each player.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::browser::Browser;
use crate::process::show;
use crate::wait;

/// Pictures and buffers of sound that reached the viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Played {
    /// Pictures shown.
    pub pictures: u64,
    /// Buffers of sound played (each player cuts its own).
    pub sounds: u64,
}

impl Played {
    /// Whether nothing of `wanted` is missing.
    #[must_use]
    pub fn reaches(&self, wanted: &Self) -> bool {
        self.pictures >= wanted.pictures && self.sounds >= wanted.sounds
    }

    /// What `seconds` of a stream at `fps` show at least: pictures at the rate, less a tenth for the start, and at least 20
    /// buffers of sound a second (the longest that players cut are AAC frames of 21 ms, less that tenth and a half again).
    #[must_use]
    pub fn seconds(seconds: u64, fps: Option<u64>, audio: bool) -> Self {
        Self {
            pictures: fps.map_or(0, |fps| seconds * fps * 9 / 10),
            sounds: if audio { seconds * 20 } else { 0 },
        }
    }
}

/// How much a player plays before it has found its distance from the live edge.
const SETTLES_S: f64 = 2.0;

/// Lets the video element of an opened page play its first two seconds. A player that begins a fraction of a second behind the live edge,
/// with a picture in its buffer and the next on its way, may wait for it on a machine that starts a browser, an encoder and two decoders
/// at that moment; what counts is what it does from then on. How often it waited is shown.
///
/// # Errors
/// When it does not play.
pub async fn browser_settles(browser: &Browser) -> Result<()> {
    browser.monitor().await?;
    let begin = browser.watching().await?;
    let now = wait::until("the video to play its first seconds", Duration::from_secs(15), async || {
        let now = browser.watching().await?;
        ensure!(now.current_time - begin.current_time >= SETTLES_S, "{begin:?} then {now:?}");
        Ok(Some(now))
    })
    .await?;
    show(&format!("in its first {SETTLES_S} s the player waited {} times", now.stalls));
    Ok(())
}

/// Lets the video element of an opened page play on for `seconds` of media, and checks that it did so in time, without a
/// stall, with pictures (at `fps`, if there is video) and sound.
///
/// # Errors
/// Says what was missing.
pub async fn browser_plays_on(browser: &Browser, seconds: u32, fps: Option<u32>, audio: bool) -> Result<()> {
    browser.monitor().await?;
    let begin = browser.watching().await?;
    let limit = Duration::from_secs(u64::from(seconds)) * 3 / 2 + Duration::from_secs(3);
    let end = wait::until(&format!("the video to play {seconds} s"), limit, async || {
        let now = browser.watching().await?;
        ensure!(now.current_time - begin.current_time >= f64::from(seconds), "{begin:?} then {now:?}");
        Ok(Some(now))
    })
    .await?;
    ensure!(end.stalls == 0, "playback stalled: {begin:?} then {end:?}");
    if let Some(fps) = fps {
        let wanted = f64::from(seconds * fps) * 0.9;
        ensure!(end.frames - begin.frames >= wanted as u64, "too few pictures: {begin:?} then {end:?}");
    }
    ensure!(!audio || end.audio_bytes > begin.audio_bytes, "no sound: {begin:?} then {end:?}");
    Ok(())
}
