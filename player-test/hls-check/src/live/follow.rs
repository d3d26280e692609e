//! One rendition: its playlist again and again, everything that it lists, and what a player would not ask but a rule is about.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::fetch::{Fetcher, decoded};
use crate::event::{Answer, Ask, Event, Nonsense, Piece, SkipAsk};
use crate::multivariant::RenditionKind;
use crate::playlist::{ByteRange, MediaPlaylist, Segment};

/// Files of one rendition on their way at once.
const FILES_AT_ONCE: usize = 8;
/// A file that is there comes within this time.
const FILE_LIMIT: Duration = Duration::from_secs(15);
/// Added to the time for which a server may hold a request (three target durations).
const BLOCK_SLACK: Duration = Duration::from_secs(5);
/// Every so many reloads a delta update is asked for beside the full playlist.
const DELTA_EVERY: u64 = 4;
/// One of so many hinted parts is fetched again once it is listed: its bytes must be the same.
const AGAIN_EVERY: u64 = 8;
/// One of so many removed pieces is asked for.
const REMOVED_EVERY: u64 = 4;
/// Nonsense, old places and encodings are asked for so often.
const ASIDE_EVERY: Duration = Duration::from_secs(7);
/// A segment with so few parts is not closed at once.
const MIDDLE_PARTS: u64 = 4;
/// A server without an answer is asked again after this.
const PAUSE: Duration = Duration::from_millis(300);
/// URIs of files that were asked for, at most so many.
const KEPT: usize = 2000;

pub(super) struct Follower {
    at: usize,
    url: Url,
    i_frames: bool,
    fetcher: Arc<Fetcher>,
    tell: mpsc::Sender<Event>,
    files: JoinSet<()>,
    slots: Arc<Semaphore>,
    last: Option<MediaPlaylist>,
    asked: BTreeSet<Piece>,
    maps: VecDeque<String>,
    hints: VecDeque<String>,
    /// Where listed pieces are, until they are removed.
    listed: BTreeMap<Piece, (Url, Option<ByteRange>)>,
    round: u64,
    aside: u64,
    next_aside: Instant,
}

impl Follower {
    pub(super) fn new(
        at: usize,
        url: Url,
        kind: RenditionKind,
        fetcher: Arc<Fetcher>,
        tell: mpsc::Sender<Event>,
    ) -> Self {
        Self {
            at,
            url,
            i_frames: kind == RenditionKind::IFrames,
            fetcher,
            tell,
            files: JoinSet::new(),
            slots: Arc::new(Semaphore::new(FILES_AT_ONCE)),
            last: None,
            asked: BTreeSet::new(),
            maps: VecDeque::new(),
            hints: VecDeque::new(),
            listed: BTreeMap::new(),
            round: 0,
            aside: 0,
            next_aside: Instant::now() + ASIDE_EVERY,
        }
    }

    /// Follows until it is aborted or the playlist ends.
    pub(super) async fn run(mut self) {
        loop {
            self.round += 1;
            let ask = self.next_ask();
            let delta = self.delta_ask(ask);
            let beside = async {
                match delta {
                    Some(delta) => Some((delta, self.playlist(delta).await)),
                    None => None,
                }
            };
            let (answer, delta) = tokio::join!(self.playlist(ask), beside);
            let status = answer.status;
            let playlist = read(&answer);
            if !self.say(Event::Playlist(self.at, ask, answer)).await {
                return;
            }
            if let Some((ask, answer)) = delta
                && !self.say(Event::Playlist(self.at, ask, answer)).await
            {
                return;
            }
            while self.files.try_join_next().is_some() {}
            match playlist {
                Some(playlist) => {
                    self.take(&playlist).await;
                    let pause = self.pause(&playlist);
                    let ended = playlist.ended;
                    self.last = Some(playlist);
                    if ended {
                        while self.files.join_next().await.is_some() {}
                        return;
                    }
                    self.ask_aside().await;
                    tokio::time::sleep(pause).await;
                }
                // Gone for good: whatever was removed is asked for no more.
                None if status == 410 => return,
                None => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn say(&self, event: Event) -> bool {
        self.tell.send(event).await.is_ok()
    }

    fn next_ask(&self) -> Ask {
        let Some(last) = self.last.as_ref().filter(|last| can_block(last)) else { return Ask::default() };
        let (msn, part) = last.next();
        Ask { msn: Some(msn), part, skip: None }
    }

    fn delta_ask(&self, ask: Ask) -> Option<Ask> {
        let control = self.last.as_ref()?.server_control.as_ref()?;
        control.can_skip_until_s?;
        if !self.round.is_multiple_of(DELTA_EVERY) {
            return None;
        }
        let both = control.can_skip_dateranges && self.round.is_multiple_of(2 * DELTA_EVERY);
        let skip = if both { SkipAsk::SegmentsAndDateRanges } else { SkipAsk::Segments };
        Some(Ask { skip: Some(skip), ..ask })
    }

    /// Without blocking reload: section 6.3.4, more often, to see changes soon.
    fn pause(&self, playlist: &MediaPlaylist) -> Duration {
        if can_block(playlist) {
            return Duration::ZERO;
        }
        Duration::from_secs(playlist.target_s.unwrap_or(2).clamp(1, 60)) / 4
    }

    fn block_limit(&self) -> Duration {
        let target = self.last.as_ref().and_then(|last| last.target_s).unwrap_or(6).clamp(1, 60);
        Duration::from_secs(3 * target) + BLOCK_SLACK
    }

    fn playlist(&self, ask: Ask) -> impl Future<Output = Answer> + use<> {
        let url = with_query(&self.url, &ask.query());
        let (fetcher, limit) = (self.fetcher.clone(), self.block_limit());
        async move { fetcher.get(url, &[], limit).await }
    }

    /// Asks for everything in a playlist that was not asked for yet.
    async fn take(&mut self, playlist: &MediaPlaylist) {
        for segment in &playlist.segments {
            self.map(segment).await;
            for (index, part) in (0..).zip(&segment.parts) {
                let piece = Piece::Part(segment.msn, index);
                let hinted = self.hints.contains(&part.uri);
                let again = index.is_multiple_of(AGAIN_EVERY);
                let Ok(url) = self.url.join(&part.uri) else { continue };
                self.listed.insert(piece, (url.clone(), part.range));
                if !part.gap && self.asked.insert(piece) && (!hinted || again) {
                    self.file(url, part.range, move |at, answer| Event::Media(at, piece, answer));
                }
            }
            let piece = Piece::Segment(segment.msn);
            let Some(Ok(url)) = segment.uri.as_ref().map(|uri| self.url.join(uri)) else { continue };
            self.listed.insert(piece, (url.clone(), segment.range));
            if !segment.gap && self.asked.insert(piece) {
                self.file(url, segment.range, move |at, answer| Event::Media(at, piece, answer));
            }
        }
        for hint in playlist.hints.iter().filter(|hint| hint.part && hint.start.is_none()) {
            if !self.hints.contains(&hint.uri) {
                self.hints.push_back(hint.uri.clone());
                self.hint(&hint.uri);
            }
        }
        self.removed(playlist);
        while self.hints.len() > KEPT {
            self.hints.pop_front();
        }
        while self.asked.len() > KEPT {
            self.asked.pop_first();
        }
    }

    /// Fetches a segment's map before anything that needs it.
    async fn map(&mut self, segment: &Segment) {
        let Some(map) = &segment.map else { return };
        if self.maps.contains(&map.uri) {
            return;
        }
        self.maps.push_back(map.uri.clone());
        let Ok(url) = self.url.join(&map.uri) else { return };
        let answer = self.fetcher.get(url, &range_header(map.range), FILE_LIMIT).await;
        self.say(Event::Map(self.at, map.uri.clone(), answer)).await;
    }

    fn file(
        &mut self,
        url: Url,
        range: Option<ByteRange>,
        event: impl FnOnce(usize, Answer) -> Event + Send + 'static,
    ) {
        self.file_after(Duration::ZERO, url, range, event);
    }

    fn file_after(
        &mut self,
        after: Duration,
        url: Url,
        range: Option<ByteRange>,
        event: impl FnOnce(usize, Answer) -> Event + Send + 'static,
    ) {
        let (fetcher, tell, slots, at) =
            (self.fetcher.clone(), self.tell.clone(), self.slots.clone(), self.at);
        self.files.spawn(async move {
            tokio::time::sleep(after).await;
            let Ok(_slot) = slots.acquire().await else { return };
            let answer = fetcher.get(url, &range_header(range), FILE_LIMIT).await;
            // The check may have ended meanwhile.
            let _ended = tell.send(event(at, answer)).await;
        });
    }

    /// Asks for what is not there yet; that request is held, so it takes no slot of files that are there.
    fn hint(&mut self, uri: &str) {
        let Ok(url) = self.url.join(uri) else { return };
        let (fetcher, tell, at, limit) =
            (self.fetcher.clone(), self.tell.clone(), self.at, self.block_limit());
        let uri = uri.to_owned();
        self.files.spawn(async move {
            let answer = fetcher.get(url, &[], limit).await;
            let _ended = tell.send(Event::Hint(at, uri, answer)).await;
        });
    }

    fn removed(&mut self, playlist: &MediaPlaylist) {
        let with_parts =
            playlist.segments.iter().find(|segment| !segment.parts.is_empty()).map(|segment| segment.msn);
        let target = Duration::from_secs(playlist.target_s.unwrap_or(2).clamp(1, 60));
        let gone: Vec<Piece> = self
            .listed
            .keys()
            .filter(|piece| match piece {
                Piece::Segment(msn) => *msn < playlist.media_sequence,
                Piece::Part(msn, _) => with_parts.is_some_and(|first| *msn < first),
            })
            .copied()
            .collect();
        for piece in gone {
            let Some((url, range)) = self.listed.remove(&piece) else { continue };
            let (sampled, after) = match piece {
                // Its availability lasts for its own duration from now on (section 6.2.2).
                Piece::Segment(msn) => (msn.is_multiple_of(REMOVED_EVERY), Duration::ZERO),
                Piece::Part(msn, index) => ((msn + index).is_multiple_of(REMOVED_EVERY), target * 5 / 2),
            };
            if sampled {
                self.file_after(after, url, range, move |at, answer| Event::Removed(at, piece, answer));
            }
        }
    }

    /// Now and then: what must be refused, an old place, and encodings.
    async fn ask_aside(&mut self) {
        let Some(last) = self.last.as_ref().filter(|last| can_block(last) && !self.i_frames) else { return };
        if Instant::now() < self.next_aside {
            return;
        }
        self.next_aside = Instant::now() + ASIDE_EVERY;
        self.aside += 1;
        let end = last.segments.last().map_or(0, |segment| segment.msn);
        let count = last.segments.last().map_or(0, |segment| segment.parts.len() as u64);
        // The Advance Part Limit (section 6.2.5.2), and one more.
        let beyond = last
            .part_target_s
            .map_or(3, |target| if target < 1.0 { (3.0 / target).ceil() as u64 } else { 3 })
            + count
            + 1;
        let (why, query) = match self.aside % 6 {
            1 => (Nonsense::PartAlone, "_HLS_part=0".to_owned()),
            2 => (Nonsense::TooFar, format!("_HLS_msn={}", end + 100)),
            3 => (Nonsense::TooFar, format!("_HLS_msn={end}&_HLS_part={beyond}")),
            4 => (Nonsense::NoNumber, "_HLS_msn=-1".to_owned()),
            5 => (Nonsense::NoNumber, "_HLS_msn=1x".to_owned()),
            _ => return self.ask_old().await,
        };
        // Beyond the last part of a closed segment is the next one's first (section 6.2.5.2): no nonsense, so not where the segment is
        // closed or soon will be.
        if self.aside % 6 == 3 && !(1..=MIDDLE_PARTS).contains(&count) {
            return;
        }
        let answer = self.fetcher.get(with_query(&self.url, &query), &[], FILE_LIMIT).await;
        self.say(Event::Nonsense(self.at, why, query, answer)).await;
        self.encodings().await;
    }

    /// A place that was passed long ago is answered with the playlist of now, at once.
    async fn ask_old(&self) {
        let ask = Ask { msn: Some(0), part: Some(0), skip: None };
        let answer = self.playlist(ask).await;
        self.say(Event::Playlist(self.at, ask, answer)).await;
    }

    async fn encodings(&self) {
        for name in ["gzip", "br"] {
            let encoding = [("accept-encoding", name.to_owned())];
            let plain = self.fetcher.get(self.url.clone(), &[], FILE_LIMIT);
            let encoded = self.fetcher.get(self.url.clone(), &encoding, FILE_LIMIT);
            let (plain, encoded) = tokio::join!(plain, encoded);
            let Some(body) = decoded(&encoded) else { continue };
            let encoded = Answer { body, ..encoded };
            let (Some(one), Some(other)) = (read(&plain), read(&encoded)) else { continue };
            // Two requests may be answered on both sides of a change; only what was the same version is compared.
            if one.segments == other.segments && one.reports == other.reports {
                self.say(Event::Encoded(self.at, name.to_owned(), plain, encoded)).await;
            }
        }
    }
}

fn can_block(playlist: &MediaPlaylist) -> bool {
    playlist.server_control.as_ref().is_some_and(|control| control.can_block_reload) && !playlist.ended
}

fn read(answer: &Answer) -> Option<MediaPlaylist> {
    let text = std::str::from_utf8(&answer.body).ok()?;
    (answer.status == 200).then(|| MediaPlaylist::read(text).0)
}

fn with_query(url: &Url, query: &str) -> Url {
    let mut url = url.clone();
    if !query.is_empty() {
        let all = url.query().map_or_else(|| query.to_owned(), |own| format!("{own}&{query}"));
        url.set_query(Some(&all));
    }
    url
}

fn range_header(range: Option<ByteRange>) -> Vec<(&'static str, String)> {
    let Some((length, begin)) = range else { return Vec::new() };
    let begin = begin.unwrap_or(0);
    vec![("range", format!("bytes={begin}-{}", begin + length.max(1) - 1))]
}
