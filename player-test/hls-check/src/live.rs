//! Follows a stream as players do, in all of its renditions at once, and has everything checked.

mod fetch;
mod follow;

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::checker::{Checker, Options};
use crate::event::Event;
use crate::report::Report;
use fetch::Fetcher;
use follow::Follower;

/// A stream that has just begun may take so long to have a playlist.
const BEGINS_WITHIN: Duration = Duration::from_secs(10);
/// How often that is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often the multivariant playlist is read again.
const MULTIVARIANT_EVERY: Duration = Duration::from_secs(10);
/// Answers that wait to be checked: some seconds of many renditions.
const QUEUE: usize = 1024;

/// What to follow.
#[derive(Debug, Clone)]
pub struct LiveOptions {
    /// The multivariant playlist.
    pub url: String,
    /// For how long.
    pub duration: Duration,
    /// Sent as a Bearer token.
    pub token: Option<String>,
    /// Take any TLS certificate.
    pub insecure: bool,
    /// What the checker allows for.
    pub options: Options,
}

impl LiveOptions {
    /// Of `url`, for a minute.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        let duration = Duration::from_secs(60);
        Self { url: url.into(), duration, token: None, insecure: false, options: Options::default() }
    }
}

/// Why nothing could be checked. What is wrong with a stream is in the report.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The URL cannot be used.
    #[error("{url:?} is no http or https URL: {reason}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The HTTP client cannot be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(#[from] reqwest::Error),
    /// There is no playlist.
    #[error("no playlist at {url} within {BEGINS_WITHIN:?}: {last}")]
    NothingThere {
        /// Where it was looked for.
        url: Url,
        /// What was answered instead.
        last: String,
    },
}

/// Follows a stream for its time, or until `stop`, and tells which rules it broke.
///
/// # Errors
/// [`LiveError`] when there is nothing to check.
pub async fn run(options: LiveOptions, stop: impl Future<Output = ()>) -> Result<Report, LiveError> {
    let unusable = |reason: String| LiveError::Url { url: options.url.clone(), reason };
    let url = Url::parse(&options.url).map_err(|error| unusable(error.to_string()))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(unusable(format!("the scheme is {}", url.scheme())));
    }
    let fetcher = Arc::new(Fetcher::new(options.token.as_deref(), options.insecure)?);
    let mut checker = Checker::new(url.clone(), options.options);
    begin(&fetcher, &url, &mut checker).await?;

    let (tell, mut told) = mpsc::channel(QUEUE);
    let mut tasks = JoinSet::new();
    for (at, (url, kind)) in checker.renditions().enumerate() {
        let follower = Follower::new(at, url.clone(), kind, fetcher.clone(), tell.clone());
        tasks.spawn(follower.run());
    }
    tasks.spawn(read_again(fetcher.clone(), url, tell));
    let end = Instant::now() + options.duration;
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            event = told.recv() => match event {
                Some(event) => checker.handle(event),
                None => break,
            },
            () = tokio::time::sleep_until(end) => break,
            () = &mut stop => break,
        }
    }
    tasks.shutdown().await;
    while let Ok(event) = told.try_recv() {
        checker.handle(event);
    }
    Ok(checker.finish())
}

async fn begin(fetcher: &Fetcher, url: &Url, checker: &mut Checker) -> Result<(), LiveError> {
    let until = Instant::now() + BEGINS_WITHIN;
    loop {
        let answer = fetcher.get(url.clone(), &[], BEGINS_WITHIN).await;
        let is_playlist = answer.status == 200 && answer.body.starts_with(b"#EXTM3U");
        if is_playlist {
            checker.handle(Event::Multivariant(answer));
            return Ok(());
        }
        if Instant::now() > until {
            let last = match answer.status {
                0 => "no answer".to_owned(),
                200 => "something that is no playlist".to_owned(),
                status => format!("status {status}"),
            };
            return Err(LiveError::NothingThere { url: url.clone(), last });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn read_again(fetcher: Arc<Fetcher>, url: Url, tell: mpsc::Sender<Event>) {
    loop {
        tokio::time::sleep(MULTIVARIANT_EVERY).await;
        let answer = fetcher.get(url.clone(), &[], BEGINS_WITHIN).await;
        if tell.send(Event::Multivariant(answer)).await.is_err() {
            return;
        }
    }
}
