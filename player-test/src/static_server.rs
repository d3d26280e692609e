//! A small HTTP server inside the test: pages of a foreign origin, and media files to prove the players on.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bytes::Bytes;
use tokio::task::JoinHandle;
use warp::Filter;
use warp::http::header;

const WHIP_PAGE: &str = include_str!("../pages/whip.html");
const WHEP_PAGE: &str = include_str!("../pages/whep.html");
const RECORDER_PAGE: &str = include_str!("../pages/recorder.html");
const PEER_SCRIPT: &str = include_str!("../pages/peer.js");
const HLS_PAGE: &str = include_str!("../pages/hls.html");
const NATIVE_PAGE: &str = include_str!("../pages/native.html");
const CLOCK_JS: &str = include_str!("../pages/clock.js");
const EMPTY: &str = "/nothing-to-serve";

/// The server; it stops when this goes.
#[derive(Debug)]
pub struct StaticServer {
    /// Scheme and authority, without a slash at the end.
    pub base: String,
    task: JoinHandle<()>,
}

impl StaticServer {
    /// Serves the foreign pages, and `folder`, if any, under `/files/`, on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When no port is free or hls.js is not installed.
    pub async fn start(folder: Option<&Path>) -> Result<Self> {
        Self::start_on(Ipv4Addr::LOCALHOST, folder).await
    }

    /// The same on a free port of another address.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_on(address: Ipv4Addr, folder: Option<&Path>) -> Result<Self> {
        let hls_js = Bytes::from(std::fs::read(hls_js()?)?);
        let html = |page: &'static str| warp::any().map(move || warp::reply::html(page));
        let script = |text: Bytes| {
            warp::any()
                .map(move || warp::reply::with_header(text.to_vec(), header::CONTENT_TYPE, "text/javascript"))
        };
        let files = warp::path("files").and(warp::fs::dir(folder.unwrap_or(Path::new(EMPTY)).to_owned()));
        let routes = warp::get()
            .and(
                warp::path!("whip")
                    .and(html(WHIP_PAGE))
                    .or(warp::path!("whep").and(html(WHEP_PAGE)))
                    .or(warp::path!("recorder").and(html(RECORDER_PAGE)))
                    .or(warp::path!("hls").and(html(HLS_PAGE)))
                    .or(warp::path!("peer.js").and(script(Bytes::from_static(PEER_SCRIPT.as_bytes()))))
                    .or(warp::path!("native").and(html(NATIVE_PAGE)))
                    .or(warp::path!("clock.js").and(script(Bytes::from_static(CLOCK_JS.as_bytes()))))
                    .or(warp::path!("hls.js").and(script(hls_js))),
            )
            .or(files);
        let listener = tokio::net::TcpListener::bind((address, 0)).await?;
        let base = format!("http://{}", listener.local_addr()?);
        let task = tokio::spawn(warp::serve(routes).incoming(listener).run());
        Ok(Self { base, task })
    }

    /// URL of a file of the folder.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        format!("{}/files/{name}", self.base)
    }

    /// The foreign WHIP publisher's page.
    #[must_use]
    pub fn whip_page(&self) -> String {
        format!("{}/whip", self.base)
    }

    /// The page that publishes by MediaRecorder.
    #[must_use]
    pub fn recorder_page(&self) -> String {
        format!("{}/recorder", self.base)
    }

    /// The foreign WHEP viewer's page.
    #[must_use]
    pub fn whep_page(&self) -> String {
        format!("{}/whep", self.base)
    }

    /// The page with the browser's own HLS player.
    #[must_use]
    pub fn native_page(&self) -> String {
        format!("{}/native", self.base)
    }

    /// The bare hls.js page.
    #[must_use]
    pub fn hls_page(&self) -> String {
        format!("{}/hls", self.base)
    }
}

impl Drop for StaticServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The hls.js that npm's lock file installed beside this crate (or the one of the server's pages).
fn hls_js() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places =
        ["pages", "../src/web"].map(|place| here.join(place).join("node_modules/hls.js/dist/hls.min.js"));
    places
        .iter()
        .find(|path| path.is_file())
        .cloned()
        .context("no hls.js: run `npm ci` in player-test/pages first")
}
