//! A browser under WebDriver, with a fake camera and microphone: publishes and watches as a person would.
//!
//! What belongs here: what every browser does alike. What does not: starting one ([`crate::chromium`], [`crate::firefox`]).

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fantoccini::{Client, ClientBuilder};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::contract::{PublishPage, Urls, page};
use crate::driver::Driver;
use crate::network::Place;
use crate::process::{Process, show};
use crate::static_server::StaticServer;
use crate::wait;

/// How long the browser may take to start on a machine that is busy.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(30);
/// How long a page may take from its load to the picture.
const PAGE_LIMIT: Duration = Duration::from_secs(25);

/// One browser with one page. It ends, with its driver, when this goes.
#[derive(Debug)]
pub struct Browser {
    name: String,
    client: Client,
    // Dropped in this order: the driver and the browser, then the profile they write to.
    _driver: Process,
    _profile: TempDir,
}

/// What the video element tells.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Watching {
    /// Position in seconds.
    pub current_time: f64,
    /// Frames that came out of the decoder or were dropped after it.
    pub frames: u64,
    /// Frames dropped because the machine was late.
    pub dropped: u64,
    /// Bytes of audio decoded (Chromium alone tells).
    pub audio_bytes: u64,
    /// Picture size.
    pub width: u32,
    /// Picture size.
    pub height: u32,
    /// How often playback ran dry since [`Browser::monitor`].
    pub stalls: u32,
}

/// What a WebRTC sender tells.
#[derive(Debug, Clone, Deserialize)]
pub struct Sending {
    /// `audio` or `video`.
    pub kind: String,
    /// MIME type.
    pub codec: Option<String>,
    /// Simulcast layer.
    pub rid: Option<String>,
    /// Bytes sent.
    pub bytes: u64,
    /// Keyframes that it was asked for (PLI and FIR).
    pub plis: u64,
    /// Frames encoded (video).
    pub frames: u64,
    /// Size of the picture sent (video).
    pub width: u32,
    /// Size of the picture sent (video).
    pub height: u32,
}

/// What the foreign page is to publish.
#[derive(Debug, Clone)]
pub struct ForeignPublish {
    /// `vp8`, `vp9`, `h264`, `av1`.
    pub codec: &'static str,
    /// Picture size.
    pub size: (u32, u32),
    /// The fake camera and microphone, or a drawn picture and a tone. Pages of another place get no camera: they are not `https`.
    pub camera: bool,
    /// Whether the drawn picture is noise, which costs every bit that an encoder may spend.
    pub grain: bool,
    /// How it connects.
    pub way: ForeignWay,
    /// Simulcast: the layers, the best one last. None: one picture.
    pub layers: &'static [Layer],
}

impl Default for ForeignPublish {
    fn default() -> Self {
        let way = ForeignWay::default();
        Self { codec: "vp8", size: (640, 360), camera: true, grain: false, way, layers: &[] }
    }
}

/// A simulcast layer (webrtc section 5.2.9, `RTCRtpEncodingParameters`).
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Layer {
    /// Its name.
    pub rid: &'static str,
    /// The picture's size divided by this.
    pub scale_resolution_down_by: f64,
    /// Bits per second.
    pub max_bitrate: u32,
}

/// How a foreign page connects.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForeignWay {
    /// `none`; `options`: asks for ICE servers first; `answer`: takes those of the answer, before which it gathers nothing.
    pub servers: &'static str,
    /// Whether the server's UDP candidates are kept from the browser.
    pub tcp_only: bool,
}

impl Default for ForeignWay {
    fn default() -> Self {
        Self { servers: "none", tcp_only: false }
    }
}

/// The candidates in use (webrtc-stats section 8.20).
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Way {
    /// `host`, `srflx`, `prflx` or `relay`.
    pub local: Option<String>,
    /// `udp` or `tcp`, as the server sees it.
    pub protocol: Option<String>,
    /// `udp`, `tcp` or `tls` as the TURN server sees it.
    pub relay_protocol: Option<String>,
    /// The server's address.
    pub remote: Option<String>,
}

impl Browser {
    /// Connects to a driver on a loopback port (of `place`, or here), which starts its browser.
    ///
    /// # Errors
    /// When the browser does not start.
    pub(crate) async fn connect(
        name: &str,
        driver: Process,
        port: u16,
        mut capabilities: serde_json::Map<String, Value>,
        profile: TempDir,
        place: Option<&Place>,
    ) -> Result<Self> {
        capabilities.insert("timeouts".to_owned(), json!({ "script": 220_000, "pageLoad": 20_000 }));
        let connect = async {
            ClientBuilder::new(Driver::new(place, port))
                .capabilities(capabilities)
                .connect(&format!("http://127.0.0.1:{port}"))
                .await
        };
        let connected = tokio::time::timeout(START_LIMIT, connect).await;
        let client = connected.with_context(|| format!("{name} did not start in time"))??;
        Ok(Self { name: name.to_owned(), client, _driver: driver, _profile: profile })
    }

    /// Loads a page.
    ///
    /// # Errors
    /// When it does not load.
    pub async fn open(&self, url: &str) -> Result<()> {
        self.client.goto(url).await.with_context(|| format!("{} cannot open {url}", self.name))
    }

    /// Runs a function body in the page (`arguments`, `return`).
    ///
    /// # Errors
    /// When it throws, or returns something of another form.
    pub async fn eval<T: DeserializeOwned>(&self, body: &str, arguments: Vec<Value>) -> Result<T> {
        let value =
            self.client.execute(body, arguments).await.with_context(|| format!("{}: {body}", self.name))?;
        serde_json::from_value(value.clone())
            .with_context(|| format!("{}: {body} returned {value}", self.name))
    }

    /// Runs the body of an `async` function in the page and waits for its promise.
    ///
    /// # Errors
    /// When it rejects (with its reason), or resolves with something of another form.
    pub async fn eval_async<T: DeserializeOwned>(&self, body: &str, arguments: Vec<Value>) -> Result<T> {
        let script = format!(
            "const done = arguments[arguments.length - 1]; (async function () {{ {body} }})(...arguments)
               .then((value) => done({{ value: value ?? null }}), (error) => done({{ error: String(error) }}));"
        );
        let mut answer =
            self.client.execute_async(&script, arguments).await.with_context(|| self.name.clone())?;
        if let Some(error) = answer.get("error") {
            bail!("{}: {error}", self.name);
        }
        Ok(serde_json::from_value(answer["value"].take())?)
    }

    /// Saves what the page shows as `player-test/out/{name}.png`, for the person who looks into a failure.
    ///
    /// # Errors
    /// When the browser has died or the file cannot be written.
    pub async fn screenshot(&self, name: &str) -> Result<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("out");
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{name}.png"));
        std::fs::write(&path, self.client.screenshot().await?)?;
        Ok(path)
    }

    /// Ends the browser in an orderly way: its connections close as when a person closes the window.
    ///
    /// # Errors
    /// When the driver has died.
    pub async fn close(self) -> Result<()> {
        Ok(self.client.clone().close().await?)
    }

    /// Waits until the built-in page's state is `wanted`.
    ///
    /// # Errors
    /// At once when the page's state is `failed`; when it is not there in time. A screenshot is left behind.
    pub async fn state(&self, wanted: &str, limit: Duration) -> Result<()> {
        let found = wait::until(&format!("the page's state to be {wanted}"), limit, async || {
            let (state, error) = self.page_state().await?;
            match state {
                Some(state) if state == wanted => Ok(Some(Ok(()))),
                Some(state) if state == page::FAILED => Ok(Some(Err(error.unwrap_or_default()))),
                other => bail!("it is {other:?} {}", error.unwrap_or_default()),
            }
        })
        .await;
        let failure = match found {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => anyhow::anyhow!("the page failed: {error}"),
            Err(error) => error,
        };
        if let Ok(path) = self.screenshot(&self.name).await {
            show(&format!("screenshot: {}", path.display()));
        }
        Err(failure.context(self.name.clone()))
    }

    async fn page_state(&self) -> Result<(Option<String>, Option<String>)> {
        let body = "const data = document.body.dataset; return [data[arguments[0]] ?? null, data[arguments[1]] ?? null];";
        self.eval(body, vec![page::STATE.into(), page::ERROR.into()]).await
    }

    /// Publishes with Skywave's own page and waits until it says `live`.
    ///
    /// # Errors
    /// When it does not come that far.
    pub async fn publish(&self, urls: &Urls, stream: &str, what: &PublishPage) -> Result<()> {
        self.open(&urls.publish_page(stream, what)).await?;
        self.state(page::LIVE, PAGE_LIMIT).await
    }

    /// Publishes with the test's foreign page and waits until it is connected; gives the session's URL.
    ///
    /// # Errors
    /// When the page throws: the text says which step.
    pub async fn publish_foreign(
        &self,
        pages: &StaticServer,
        whip: &str,
        what: &ForeignPublish,
    ) -> Result<String> {
        self.open(&pages.whip_page()).await?;
        let (width, height) = what.size;
        let layers = Some(what.layers).filter(|layers| !layers.is_empty());
        let options = json!({ "url": whip, "codec": what.codec, "width": width, "height": height, "fps": 30,
            "camera": what.camera, "grain": what.grain, "video": true, "audio": true, "layers": layers,
            "servers": what.way.servers, "tcpOnly": what.way.tcp_only });
        self.eval_async("return foreign.publish(arguments[0]);", vec![options]).await
    }

    /// How what [`Self::publish_foreign`] began is connected.
    ///
    /// # Errors
    /// When it does not publish.
    pub async fn publishing_way(&self) -> Result<Way> {
        self.eval_async("return foreign.way();", vec![]).await
    }

    /// Ends what [`Self::publish_foreign`] began.
    ///
    /// # Errors
    /// When DELETE is not answered by 200 or 204.
    pub async fn unpublish_foreign(&self) -> Result<()> {
        self.eval_async::<Value>("await foreign.unpublish();", vec![]).await.map(drop)
    }

    /// What the foreign page's senders tell.
    ///
    /// # Errors
    /// When it does not publish.
    pub async fn sending(&self) -> Result<Vec<Sending>> {
        self.eval_async("return foreign.stats();", vec![]).await
    }

    /// Connects and unpublishes `count` times in a row from the foreign page; gives the milliseconds of each.
    ///
    /// # Errors
    /// When one of them fails.
    pub async fn publish_cycles(&self, pages: &StaticServer, whip: &str, count: u32) -> Result<Vec<u32>> {
        self.open(&pages.whip_page()).await?;
        self.eval_async("return foreign.cycles(arguments[0], arguments[1]);", vec![whip.into(), count.into()])
            .await
    }

    /// Opens Skywave's watch page and waits until it plays.
    ///
    /// # Errors
    /// When it does not come that far.
    pub async fn watch(&self, urls: &Urls, stream: &str) -> Result<()> {
        self.open(&urls.watch_page(stream)).await?;
        self.state(page::PLAYING, PAGE_LIMIT).await
    }

    /// Opens Skywave's watch page, which chooses its way itself, and waits until it plays; gives the way it found.
    ///
    /// # Errors
    /// When it does not come that far.
    pub async fn watch_by_itself(&self, urls: &Urls, stream: &str) -> Result<String> {
        self.open(&urls.watch_page_by_itself(stream)).await?;
        self.state(page::PLAYING, PAGE_LIMIT).await?;
        self.eval(&format!("return {};", page::PATH), vec![]).await
    }

    /// Opens the bare hls.js page on a playlist and waits until it plays.
    ///
    /// # Errors
    /// When it does not come that far.
    pub async fn watch_bare(&self, pages: &StaticServer, playlist: &str) -> Result<()> {
        self.open(&format!("{}?src={playlist}", pages.hls_page())).await?;
        self.state(page::PLAYING, PAGE_LIMIT).await
    }

    /// Begins to count stalls of the page's video element.
    ///
    /// # Errors
    /// When the page has none.
    pub async fn monitor(&self) -> Result<()> {
        let body = "const video = document.querySelector(arguments[0]); window.stallsSeen = 0;
            if (!video.dataset.monitored) video.addEventListener('waiting', () => { window.stallsSeen += 1; });
            video.dataset.monitored = 'yes'; return true;";
        self.eval::<bool>(body, vec![page::VIDEO.into()]).await.map(drop)
    }

    /// What the page's video element tells now.
    ///
    /// # Errors
    /// When the page has none.
    pub async fn watching(&self) -> Result<Watching> {
        let body = "const video = document.querySelector(arguments[0]); const quality = video.getVideoPlaybackQuality();
            return { currentTime: video.currentTime, frames: quality.totalVideoFrames, dropped: quality.droppedVideoFrames,
              audioBytes: video.webkitAudioDecodedByteCount ?? 0, width: video.videoWidth, height: video.videoHeight,
              stalls: window.stallsSeen ?? 0 };";
        self.eval(body, vec![page::VIDEO.into()]).await
    }
}
