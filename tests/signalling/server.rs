//! A `skywave serve` process of the test's own, and the words in which its answers are checked.

use anyhow::{Context, Result, bail, ensure};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How long a busy machine may take to start the server.
const READY: Duration = Duration::from_secs(60);

/// A running server; it is killed when this goes.
pub(crate) struct Server {
    /// `http://127.0.0.1:PORT`
    pub(crate) base: String,
    http: Client,
    child: Child,
    _folder: TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Server {
    /// Starts a server on free loopback ports with these further lines of configuration.
    pub(crate) async fn start(config: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("skywave.toml");
        let config = config.to_owned();
        std::fs::write(&file, &config).unwrap();
        let listen = ["--listen", "127.0.0.1:0", "--media-port", "0"];
        let mut child = Command::new(env!("CARGO_BIN_EXE_skywave"))
            .args(["serve", "--config"])
            .arg(&file)
            .args(listen)
            .env_clear()
            .envs(std::env::vars().filter(|(name, _)| matches!(name.as_str(), "PATH" | "HOME")))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let line = tokio::task::spawn_blocking(|| lines.lines().next());
        let line = tokio::time::timeout(READY, line).await.expect("the server starts in time").unwrap();
        let line = line.expect("the server says where it listens").unwrap();
        let base = line.strip_prefix("skywave: listening on ").expect(&line).to_owned();
        // Redirects are answers to be looked at.
        let http = Client::builder()
            .timeout(Duration::from_secs(20))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Self { base, http, child, _folder: folder }
    }

    /// A request to a path, or to a `Location`.
    pub(crate) fn request(&self, method: &str, url: &str) -> RequestBuilder {
        let url = if url.starts_with('/') { format!("{}{url}", self.base) } else { url.to_owned() };
        self.http.request(Method::from_bytes(method.as_bytes()).unwrap(), url)
    }

    /// A request without anything special about it.
    pub(crate) async fn ask(&self, method: &str, url: &str) -> Result<Answer> {
        Answer::of(self.request(method, url)).await
    }

    /// A POST of an offer.
    pub(crate) async fn offer(&self, url: &str, offer: &str) -> Result<Answer> {
        let request =
            self.request("POST", url).header("content-type", "application/sdp").body(offer.to_owned());
        Answer::of(request).await
    }

    /// A PATCH of a session.
    pub(crate) async fn patch(&self, url: &str, if_match: Option<&str>, fragment: &str) -> Result<Answer> {
        let request = self.request("PATCH", url).header("content-type", "application/trickle-ice-sdpfrag");
        let request = if_match.into_iter().fold(request, |request, tag| request.header("if-match", tag));
        Answer::of(request.body(fragment.to_owned())).await
    }

    /// A process id, for what the test has to see of it.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

impl Answer {
    pub(crate) async fn of(request: RequestBuilder) -> Result<Self> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Self { status, headers, body: response.text().await? })
    }

    /// A header's text; empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Every line of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
    }

    /// Fails unless the status is one of these.
    pub(crate) fn is(self, statuses: &[u16]) -> Result<Self> {
        if statuses.contains(&self.status) {
            return Ok(self);
        }
        let words: String = self.body.chars().take(200).collect();
        bail!("answered {} instead of {statuses:?}: {words}", self.status)
    }

    /// Fails unless it is a refusal in the client's own hands, with words (RFC 9457).
    pub(crate) fn refused_with_words(self) -> Result<Self> {
        ensure!((400..500).contains(&self.status), "answered {}: {}", self.status, self.body);
        ensure!(self.header("content-type") == "application/problem+json", "no problem: {:?}", self.headers);
        Ok(self)
    }

    /// The session's URL, of an answer that must be a 201.
    pub(crate) fn session(&self) -> Result<String> {
        ensure!(self.status == 201, "answered {}: {}", self.status, self.body);
        let location = self.headers.get("location").context("no Location")?;
        Ok(location.to_str()?.to_owned())
    }
}
