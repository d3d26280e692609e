//! One rendition in one player: a request for the next playlist and one for the next part, both held by the server, again and again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::Url;

use super::link::{Link, LinkError};
use super::player::{Target, path_and_query};
use super::playlist::Edge;
use super::tally::{Tally, lane_id};

/// Parts whose URI is remembered, so that none is fetched twice.
const REMEMBERED: usize = 64;
/// A playlist without low latency is asked for again after this.
const POLL: Duration = Duration::from_millis(500);

pub(super) struct Lane<'a> {
    url: Url,
    id: u64,
    player: usize,
    target: &'a Target,
    tally: &'a Tally,
    begun: Instant,
    buffer: Buffer,
    fetched: VecDeque<String>,
}

/// What of a playlist must outlive its text.
struct Next {
    at: (u64, u64),
    hint: Option<String>,
    /// Parts listed that are to be fetched, with their durations.
    parts: Vec<((u64, u64), String, Duration)>,
    low_latency: bool,
    ended: bool,
}

impl<'a> Lane<'a> {
    pub(super) fn new(url: Url, player: usize, target: &'a Target, tally: &'a Tally, begun: Instant) -> Self {
        let id = lane_id(url.path());
        let (buffer, fetched) = (Buffer::default(), VecDeque::new());
        Self { url, id, player, target, tally, begun, buffer, fetched }
    }

    pub(super) async fn play(mut self, mut playlists: Link) -> Result<(), LinkError> {
        let mut parts = match playlists.share() {
            Some(shared) => shared,
            None => Link::open(self.target).await?,
        };
        let text = playlists.get(self.target, &path_and_query(&self.url)).await?;
        self.tally.answered(text.len());
        let mut next = self.read(&text, true);
        loop {
            self.fetch_listed(&mut parts, &next).await?;
            if next.ended {
                return Err(LinkError::Failed("the stream has ended".to_owned()));
            }
            if !next.low_latency {
                tokio::time::sleep(POLL).await;
            }
            let ask = self.ask(&next);
            let hint = next.hint.take().filter(|uri| !self.fetched.contains(uri));
            let (text, part) = tokio::join!(self.reload(&mut playlists, &ask, next.at), async {
                match &hint {
                    Some(uri) => Some(self.part(&mut parts, uri, next.at).await),
                    None => None,
                }
            });
            let text = text?;
            let came = match part {
                Some(Ok(())) => hint,
                // A hint may be given up (section 6.2.6 of the draft); what is listed is fetched.
                Some(Err(LinkError::Status(_))) | None => None,
                Some(Err(error)) => return Err(error),
            };
            next = self.read(&text, false);
            if let Some(uri) = came {
                self.remember(uri.clone());
                let listed = next.parts.iter().find(|(_, other, _)| *other == uri);
                let duration = listed.map_or(Duration::ZERO, |(_, _, duration)| *duration);
                next.parts.retain(|(_, other, _)| *other != uri);
                self.buffered(duration);
            }
        }
    }

    fn ask(&self, next: &Next) -> String {
        let path = path_and_query(&self.url);
        if !next.low_latency {
            return path;
        }
        let and = if path.contains('?') { '&' } else { '?' };
        format!("{path}{and}_HLS_msn={}&_HLS_part={}", next.at.0, next.at.1)
    }

    async fn reload(&self, link: &mut Link, path: &str, at: (u64, u64)) -> Result<Bytes, LinkError> {
        let text = link.get(self.target, path).await?;
        self.tally.playlist(self.id, at, text.len());
        Ok(text)
    }

    async fn part(&self, link: &mut Link, uri: &str, at: (u64, u64)) -> Result<(), LinkError> {
        let url = self.url.join(uri).map_err(|error| LinkError::Failed(error.to_string()))?;
        let bytes = link.get(self.target, &path_and_query(&url)).await?;
        self.tally.part(self.id, at, bytes.len());
        Ok(())
    }

    fn read(&mut self, text: &Bytes, first: bool) -> Next {
        let text = String::from_utf8_lossy(text);
        let edge = Edge::read(&text);
        self.buffer.hold_back = edge.part_hold_back;
        let new = edge.parts.iter().filter(|(_, part)| !self.fetched.iter().any(|other| other == part.uri));
        let mut parts: Vec<_> = new.map(|(at, part)| (*at, part.uri.to_owned(), part.duration)).collect();
        if first {
            // It begins as far behind the end as the server recommends, not with all that is listed.
            let target = edge.part_target.max(Duration::from_millis(1));
            let count = edge.part_hold_back.as_millis().div_ceil(target.as_millis()) as usize;
            for (_, uri, _) in parts.drain(..parts.len().saturating_sub(count.max(1))) {
                self.fetched.push_back(uri);
            }
        }
        let low_latency = !edge.part_target.is_zero();
        Next { at: edge.next, hint: edge.hint.map(str::to_owned), parts, low_latency, ended: edge.ended }
    }

    async fn fetch_listed(&mut self, link: &mut Link, next: &Next) -> Result<(), LinkError> {
        for (at, uri, duration) in &next.parts {
            self.part(link, uri, *at).await?;
            self.remember(uri.clone());
            self.buffered(*duration);
        }
        Ok(())
    }

    fn remember(&mut self, uri: String) {
        self.fetched.push_back(uri);
        while self.fetched.len() > REMEMBERED {
            self.fetched.pop_front();
        }
    }

    fn buffered(&mut self, duration: Duration) {
        let was_playing = self.buffer.is_playing();
        if let Some(stalled) = self.buffer.add(duration, Instant::now()) {
            self.tally.stalled(stalled);
        }
        if !was_playing && self.buffer.is_playing() {
            self.tally.plays(self.player, self.begun.elapsed());
        }
    }
}

/// A player's buffer: media that came, and a playhead that runs.
#[derive(Debug, Default)]
struct Buffer {
    hold_back: Duration,
    media: Duration,
    /// When the playhead would have been at 0, stalls taken out.
    zero: Option<Instant>,
}

impl Buffer {
    fn is_playing(&self) -> bool {
        self.zero.is_some()
    }

    /// Takes `duration` of media that came at `now`; gives how long the playhead had to wait for it.
    fn add(&mut self, duration: Duration, now: Instant) -> Option<Duration> {
        let mut stalled = None;
        if let Some(zero) = &mut self.zero {
            let waited = now.saturating_duration_since(*zero).saturating_sub(self.media);
            if !waited.is_zero() {
                *zero += waited;
                stalled = Some(waited);
            }
        }
        self.media += duration;
        if self.zero.is_none() && self.media >= self.hold_back {
            self.zero = Some(now);
        }
        stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_player_stalls_when_media_come_later_than_the_buffer_lasts() {
        let begin = Instant::now();
        let ms = Duration::from_millis;
        let mut buffer = Buffer { hold_back: ms(600), ..Buffer::default() };
        for n in 0..3 {
            assert!(!buffer.is_playing());
            assert_eq!(buffer.add(ms(200), begin + ms(n)), None);
        }
        assert!(buffer.is_playing());
        assert_eq!(buffer.add(ms(200), begin + ms(602)), None, "at the last moment");
        assert_eq!(buffer.add(ms(200), begin + ms(900)), Some(ms(98)));
        assert_eq!(buffer.add(ms(200), begin + ms(1100)), None, "it waited, and goes on from there");
        assert_eq!(buffer.add(ms(200), begin + ms(1301)), Some(ms(1)));
    }
}
