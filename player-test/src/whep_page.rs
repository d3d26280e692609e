//! A browser as a foreign WHEP viewer: `pages/whep.html`, and what its statistics tell.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::browser::{Browser, ForeignWay, Way};
use crate::static_server::StaticServer;
use crate::wait;

/// What the foreign page is to ask for.
#[derive(Debug, Clone, Copy)]
pub struct ForeignWatch {
    /// `any`, `vp8`, `vp9`, `h264`, `av1` or `off`.
    pub video: &'static str,
    /// Whether sound is asked for.
    pub audio: bool,
    /// How it connects.
    pub way: ForeignWay,
}

impl Default for ForeignWatch {
    fn default() -> Self {
        Self { video: "any", audio: true, way: ForeignWay::default() }
    }
}

/// What the page's receivers and its video element tell (webrtc-stats section 8.1). What a browser does not tell is `None`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WhepStats {
    /// Pictures shown, by `getVideoPlaybackQuality`; Firefox (153) does not count those of a `MediaStream`.
    pub shown: Option<u64>,
    /// Position of the video element in seconds.
    pub current_time: f64,
    /// Round trip of the connection in milliseconds.
    pub rtt_ms: Option<f64>,
    /// The video lane, once a packet of it has come.
    pub video: Option<WhepVideo>,
    /// The audio lane, once a packet of it has come.
    pub audio: Option<WhepAudio>,
}

impl WhepStats {
    /// Pictures decoded.
    #[must_use]
    pub fn decoded(&self) -> u64 {
        self.video.as_ref().map_or(0, |video| video.frames_decoded)
    }

    /// Energy of the sound (webrtc-stats section 8.1, `totalAudioEnergy`): 0 is silence.
    #[must_use]
    pub fn energy(&self) -> f64 {
        self.audio.as_ref().map_or(0.0, |audio| audio.energy)
    }
}

/// A received video lane.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WhepVideo {
    /// `vp8`, `vp9`, `h264`, `av1`.
    pub codec: Option<String>,
    /// RTP packets received.
    pub packets: u64,
    /// RTP packets lost; duplicates make it negative.
    pub packets_lost: i64,
    /// Mean time of a picture in the jitter buffer.
    pub jitter_buffer_ms: Option<f64>,
    /// Pictures decoded.
    pub frames_decoded: u64,
    /// Keyframes among them.
    pub key_frames_decoded: Option<u64>,
    /// Picture size.
    pub width: u32,
    /// Picture size.
    pub height: u32,
    /// How often the picture froze.
    pub freeze_count: Option<u64>,
    /// Seconds it was frozen, all together.
    pub freezes_s: Option<f64>,
    /// Keyframes asked for.
    pub plis: u64,
}

/// A received audio lane.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WhepAudio {
    /// `opus`.
    pub codec: Option<String>,
    /// RTP packets received.
    pub packets: u64,
    /// RTP packets lost; duplicates make it negative.
    pub packets_lost: i64,
    /// Mean time of a sample in the jitter buffer.
    pub jitter_buffer_ms: Option<f64>,
    /// Loudness of the latest sound, 0 to 1.
    pub audio_level: Option<f64>,
    /// `totalAudioEnergy`.
    pub energy: f64,
    /// Samples received.
    pub samples: u64,
}

impl Browser {
    /// Watches with the test's foreign page and waits until it is connected; gives the session's URL.
    ///
    /// # Errors
    /// When the page throws: the text says which step.
    pub async fn watch_whep_foreign(
        &self,
        pages: &StaticServer,
        whep: &str,
        what: ForeignWatch,
    ) -> Result<String> {
        self.open(&pages.whep_page()).await?;
        let options = json!({ "video": what.video, "audio": what.audio, "servers": what.way.servers,
            "tcpOnly": what.way.tcp_only });
        self.eval_async("return foreignWhep.watch(arguments[0], arguments[1]);", vec![whep.into(), options])
            .await
    }

    /// What the foreign page's receivers tell.
    ///
    /// # Errors
    /// When it does not watch.
    pub async fn whep_stats(&self) -> Result<WhepStats> {
        self.eval_async("return foreignWhep.stats();", vec![]).await
    }

    /// How what [`Self::watch_whep_foreign`] began is connected.
    ///
    /// # Errors
    /// When it does not watch.
    pub async fn watching_way(&self) -> Result<Way> {
        self.eval_async("return foreignWhep.way();", vec![]).await
    }

    /// What the foreign page's receivers tell, once a second, `seconds` times.
    ///
    /// # Errors
    /// When it does not watch.
    pub async fn whep_samples(&self, seconds: u32) -> Result<Vec<WhepStats>> {
        self.eval_async("return foreignWhep.sample(arguments[0]);", vec![seconds.into()]).await
    }

    /// Milliseconds from the drawing to the showing of `count` pictures of a publish page's test picture.
    ///
    /// # Errors
    /// When not so many clocks can be read within `limit`.
    pub async fn picture_delays(&self, count: u32, limit: Duration) -> Result<Vec<f64>> {
        let limit_ms = u64::try_from(limit.as_millis())?;
        let body = "return foreignWhep.pictureDelays(arguments[0], arguments[1]);";
        self.eval_async(body, vec![count.into(), limit_ms.into()]).await
    }

    /// Ends what [`Self::watch_whep_foreign`] began.
    ///
    /// # Errors
    /// When DELETE is not answered by 200 or 204.
    pub async fn stop_whep(&self) -> Result<()> {
        self.eval_async::<Value>("await foreignWhep.stop();", vec![]).await.map(drop)
    }

    /// Waits until `pictures` more were decoded than there are now, the video element went on (by its count of pictures, or by its clock where
    /// it has none), and sound was heard (if `audio`).
    ///
    /// # Errors
    /// When that does not come within `limit`; the text has the last statistics.
    pub async fn whep_plays_on(&self, pictures: u64, audio: bool, limit: Duration) -> Result<WhepStats> {
        let before = self.whep_stats().await?;
        wait::until(&format!("{pictures} more pictures"), limit, async || {
            let now = self.whep_stats().await?;
            let decoded = now.decoded().saturating_sub(before.decoded()) >= pictures;
            let goes_on = match now.shown {
                Some(shown) => shown > before.shown.unwrap_or(0),
                None => now.current_time > before.current_time,
            };
            let heard = now.energy() > before.energy() || !audio;
            if decoded && goes_on && heard {
                return Ok(Some(now));
            }
            bail!("{before:?} then {now:?}")
        })
        .await
    }
}

/// The `share` quantile (0.5: the median) of some delays.
///
/// # Errors
/// When there are none.
pub fn quantile(delays: &[f64], share: f64) -> Result<f64> {
    ensure!(!delays.is_empty(), "no delays");
    let mut sorted = delays.to_vec();
    sorted.sort_by(f64::total_cmp);
    Ok(sorted[((sorted.len() - 1) as f64 * share).round() as usize])
}
