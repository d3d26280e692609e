//! A browser as an HLS player: how far behind its pictures are, and the browser's own player.

use std::time::Duration;

use anyhow::{Result, bail};
use serde::Deserialize;

use crate::browser::Browser;
use crate::contract::page;
use crate::static_server::StaticServer;
use crate::wait;

/// Reads the clock in the test picture, in any page.
const CLOCK_JS: &str = include_str!("../pages/clock.js");

/// How long the browser's own player may take to begin.
const NATIVE_LIMIT: Duration = Duration::from_secs(25);

/// What was shown for a while.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// Milliseconds from drawing to showing of each picture whose clock could be read.
    pub delays: Vec<f64>,
    /// Pictures shown.
    pub pictures: u64,
    /// The longest time without a new picture, milliseconds.
    pub longest_pause_ms: f64,
}

/// What hls.js thinks of its latency.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// Behind the live edge, seconds, by the playlist.
    pub latency_s: f64,
    /// What it aims at.
    pub target_s: Option<f64>,
    /// It is in low-latency mode.
    pub low_latency: bool,
    /// Part target of the playlist; 0 without parts.
    pub part_target_s: f64,
}

impl Browser {
    /// Watches the pictures of the page's video element for `length`, and reads the clock in them.
    ///
    /// # Errors
    /// When there is no video element.
    pub async fn shown_for(&self, length: Duration) -> Result<Shown> {
        let length_ms = u64::try_from(length.as_millis())?;
        let body =
            format!("{CLOCK_JS}; return watchPictures(document.querySelector(arguments[0]), arguments[1]);");
        self.eval_async(&body, vec![page::VIDEO.into(), length_ms.into()]).await
    }

    /// What hls.js on the watch page tells of its latency.
    ///
    /// # Errors
    /// When the page is another one, or does not play by hls.js.
    pub async fn latency(&self) -> Result<Latency> {
        let body = "const hls = skywave.hls; return { latencyS: hls.latency, targetS: hls.targetLatency,
            lowLatency: hls.lowLatencyMode, partTargetS: hls.latestLevelDetails?.partTarget ?? 0 };";
        self.eval(body, vec![]).await
    }

    /// Waits until the watch page is `live`, or in the `past`.
    ///
    /// # Errors
    /// When it does not come there.
    pub async fn when_is(&self, wanted: &str) -> Result<()> {
        wait::until(&format!("the page to be {wanted}"), NATIVE_LIMIT, async || {
            let when: String = self.eval("return document.body.dataset.when ?? '';", vec![]).await?;
            if when == wanted { Ok(Some(())) } else { bail!("it is {when:?}") }
        })
        .await
    }

    /// Gives a playlist to the browser's own player and waits until it plays; false when this browser has none.
    ///
    /// # Errors
    /// When it has one that fails, or does not play in time.
    pub async fn watch_natively(&self, pages: &StaticServer, playlist: &str) -> Result<bool> {
        self.open(&format!("{}?src={playlist}", pages.native_page())).await?;
        wait::until("the browser's own player to play", NATIVE_LIMIT, async || {
            let body = "return [document.body.dataset.state, document.body.dataset.error ?? ''];";
            let (state, error): (String, String) = self.eval(body, vec![]).await?;
            match state.as_str() {
                "unable" => Ok(Some(Ok(false))),
                "playing" => Ok(Some(Ok(true))),
                "failed" => Ok(Some(Err(anyhow::anyhow!("the player failed: {error}")))),
                other => bail!("it is {other}"),
            }
        })
        .await?
    }
}
