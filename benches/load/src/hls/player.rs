//! One player: it begins as players do, with the multivariant playlist, and then plays each of its lanes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Url;

use super::lane::Lane;
use super::link::{Link, LinkError};
use super::playlist;
use super::tally::Tally;

/// A player that met with an error begins anew after this.
const PAUSE: Duration = Duration::from_secs(1);

/// Where all players play.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) url: Url,
    pub(super) address: SocketAddr,
    pub(super) authority: String,
    pub(super) token: Option<String>,
    pub(super) http2: bool,
}

pub(super) struct Player {
    number: usize,
    target: Arc<Target>,
    tally: Arc<Tally>,
}

impl Player {
    pub(super) fn new(number: usize, target: Arc<Target>, tally: Arc<Tally>) -> Self {
        Self { number, target, tally }
    }

    /// Plays until it is aborted.
    pub(super) async fn run(self) {
        loop {
            if let Err(error) = self.play().await {
                self.tally.failed_with(self.number, &error.to_string());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn play(&self) -> Result<(), LinkError> {
        let Self { number, target, tally } = self;
        let begun = Instant::now();
        let mut link = Link::open(target).await?;
        let text = link.get(target, path_and_query(&target.url).as_str()).await?;
        tally.answered(text.len());
        let lanes = playlist::lanes(&String::from_utf8_lossy(&text));
        let urls = lanes.iter().filter_map(|uri| target.url.join(uri).ok());
        let urls: Vec<Url> = urls.collect();
        let [first, rest @ ..] = &urls[..] else {
            return Err(LinkError::Failed("no variant in the multivariant playlist".to_owned()));
        };
        let second_link = match link.share() {
            Some(shared) => Some(shared),
            None if rest.is_empty() => None,
            None => Some(Link::open(target).await?),
        };
        let first = Lane::new(first.clone(), *number, target, tally, begun).play(link);
        match (rest.first(), second_link) {
            (Some(url), Some(link)) => {
                let second = Lane::new(url.clone(), *number, target, tally, begun).play(link);
                tokio::try_join!(first, second).map(drop)
            }
            _ => first.await,
        }
    }
}

/// The part of a URL that stands in a request.
pub(super) fn path_and_query(url: &Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}
