//! A `skywave serve` process of the test's own, on free loopback ports, with its own data folder.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::process::Command;

use crate::contract::{self, RecordingInfo, RecordingList, Settings, StreamInfo, Urls};
use crate::proc::{self, Reading};
use crate::process::Process;
use crate::wait;

/// How long the server may take to be ready: far above what it needs, for a machine that is busy with browsers.
const READY_LIMIT: Duration = Duration::from_secs(20);

/// A running server. It is killed, and its log shown, when this goes.
#[derive(Debug)]
pub struct Server {
    /// Where it is.
    pub urls: Urls,
    /// For requests to it.
    pub http: reqwest::Client,
    process: Process,
    _folder: TempDir,
}

impl Server {
    /// Starts a server with the tests' usual settings and waits until it is ready.
    ///
    /// # Errors
    /// When there is no binary, or it is not ready in time.
    pub async fn start() -> Result<Self> {
        Self::start_with(&Settings::default()).await
    }

    /// The same with settings of one's own.
    ///
    /// # Errors
    /// When there is no binary, or it is not ready in time.
    pub async fn start_with(settings: &Settings) -> Result<Self> {
        Self::start_set(settings, &[]).await
    }

    /// The same with further keys, each as `KEY=VALUE`.
    ///
    /// # Errors
    /// When there is no binary, or it is not ready in time.
    pub async fn start_set(settings: &Settings, keys: &[String]) -> Result<Self> {
        let folder = TempDir::new()?;
        let config = folder.path().join("skywave.toml");
        std::fs::write(&config, settings.to_toml())?;
        let mut command = Command::new(contract::binary()?);
        // In a folder of its own, and with no variable of the caller's that is a setting.
        command.args(contract::serve_arguments(&config, settings.listens)).current_dir(folder.path());
        command.args(keys.iter().flat_map(|key| ["--set", key.as_str()]));
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"SKYWAVE_"))
        {
            command.env_remove(name);
        }
        let mut process = Process::spawn("skywave serve", command)?;
        let base = process.line("where it listens", READY_LIMIT, contract::listening_line).await?;
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
        let server = Self { urls: Urls { base }, http, process, _folder: folder };
        wait::until("the server to be ready", READY_LIMIT, async || {
            let answer = server.http.get(server.urls.ready()).send().await?;
            Ok(answer.status().is_success().then_some(()))
        })
        .await?;
        Ok(server)
    }

    /// Waits until it says where it listens by HTTPS; gives the base URL.
    ///
    /// # Errors
    /// When it does not say so in time.
    pub async fn https(&mut self) -> Result<Urls> {
        let base = self.process.line("where it listens by https", READY_LIMIT, contract::https_line).await?;
        Ok(Urls { base })
    }

    /// The first base URL that it names for other devices of the network; `None` on a machine without a network.
    #[must_use]
    pub fn for_other_devices(&self) -> Option<Urls> {
        let line = self.log().iter().find_map(|line| contract::other_devices_line(line));
        line.map(|base| Urls { base })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// SIGKILL, for it and its workers: what power cuts and the kernel's killer do.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn vanish(&mut self) -> Result<()> {
        let children = proc::descendants(self.pid());
        self.process.kill().await?;
        children.into_iter().for_each(proc::kill);
        Ok(())
    }

    /// SIGTERM, as a service manager sends it.
    ///
    /// # Errors
    /// When it still runs after 20 s.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.terminate(Duration::from_secs(20)).await.map(drop)
    }

    /// Every recording.
    ///
    /// # Errors
    /// When the server does not answer as it should.
    pub async fn recordings(&self) -> Result<Vec<RecordingInfo>> {
        let answer = self.http.get(self.urls.recordings()).send().await?.error_for_status()?;
        Ok(answer.json::<RecordingList>().await?.recordings)
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.process.lines()
    }

    /// What it holds now.
    ///
    /// # Errors
    /// When it has died.
    pub fn reading(&self) -> Result<Reading> {
        proc::read(self.pid()).context("the server has died")
    }

    /// One stream as the API tells it; `None` when there is none.
    ///
    /// # Errors
    /// When the server does not answer, or with anything else than 200 or 404.
    pub async fn stream(&self, stream: &str) -> Result<Option<StreamInfo>> {
        let answer = self.http.get(self.urls.stream(stream)).send().await?;
        match answer.status().as_u16() {
            200 => Ok(Some(answer.json().await?)),
            404 => Ok(None),
            other => bail!("{} answered {other}", self.urls.stream(stream)),
        }
    }

    /// The names of all streams.
    ///
    /// # Errors
    /// When the server does not answer as it should.
    pub async fn streams(&self) -> Result<Vec<String>> {
        let answer = self.http.get(self.urls.streams()).send().await?.error_for_status()?;
        contract::stream_names(&answer.json().await?)
    }

    /// Waits until the stream's state is what `wanted` takes, and gives it.
    ///
    /// # Errors
    /// When `limit` passes before; the text has the last state.
    pub async fn stream_is(
        &self,
        stream: &str,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&StreamInfo) -> bool,
    ) -> Result<StreamInfo> {
        wait::until(&format!("stream {stream} to be {what}"), limit, async || {
            let info = self.stream(stream).await?.context("no such stream")?;
            if wanted(&info) { Ok(Some(info)) } else { bail!("it is {info:?}") }
        })
        .await
    }

    /// Waits until the process holds no more than `before` did: threads, descriptors, children. Memory is not looked at.
    ///
    /// # Errors
    /// When `limit` passes before; the text has both readings.
    pub async fn holds_no_more_than(&self, before: &Reading, limit: Duration) -> Result<Reading> {
        wait::until("the server to let go of what it held", limit, async || {
            let now = self.reading()?;
            let no_more =
                now.threads <= before.threads && now.fds <= before.fds && now.children <= before.children;
            if no_more { Ok(Some(now)) } else { bail!("before {before:?}, now {now:?}") }
        })
        .await
    }

    /// Waits until no stream is left.
    ///
    /// # Errors
    /// When some are still there after `limit`.
    pub async fn no_streams(&self, limit: Duration) -> Result<()> {
        wait::until("the list of streams to be empty", limit, async || {
            let names = self.streams().await?;
            if names.is_empty() { Ok(Some(())) } else { bail!("still there: {}", names.join(", ")) }
        })
        .await
    }

    /// Waits until the multivariant playlist and the media playlists of `stream` are there and have `segments` segments.
    ///
    /// # Errors
    /// When `limit` passes before.
    pub async fn hls_ready(&self, stream: &str, segments: usize, limit: Duration) -> Result<()> {
        let url = self.urls.hls(stream);
        wait::until(&format!("{segments} segments at {url}"), limit, async || {
            let playlists = crate::hls_client::renditions(&self.http, &url).await?;
            for rendition in &playlists {
                let playlist = crate::hls_client::media_playlist(&self.http, &rendition.url).await?;
                if playlist.parsed.segments.len() < segments {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
        .await
    }
}
