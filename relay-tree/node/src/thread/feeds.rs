//! What publishers bring, on its way to the viewers of this thread and to other threads.

use super::sessions::Member;
use super::{Command, RelayThread};
use crate::feed::{FeedItem, FeedPacket, Sources};
use crate::hub::Broadcast;
use crate::publisher::CloseReason;
use crate::runs;
use crate::timers::Key;
use crate::viewing::ViewerStats;
use relay_proto::continuity::SourceId;
use skywave_media::codec::TrackKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often what the API tells of sources is brought up to date.
const DESCRIBE_INTERVAL: Duration = Duration::from_secs(1);
/// Between two wishes for a keyframe of one source that leave this thread; the publisher's thread merges them further.
const ASK_INTERVAL: Duration = Duration::from_millis(100);

/// How long packets may wait for the rest of their frame: the grain of epoll.
const HOLD: Duration = Duration::from_millis(1);
/// With fewer viewers one more wake-up costs more than it saves.
const HOLD_VIEWERS: usize = 16;

/// Where a broadcast's packets come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// A session of this thread.
    Session(Key),
    /// Outside WebRTC, from the publisher of this number ([`crate::SourceFeed`]). It cannot be asked for keyframes.
    Outside(u64),
}

/// One broadcast on this thread.
pub(super) struct Feed {
    pub(super) broadcast: Arc<Broadcast>,
    pub(super) sources: Sources,
    viewers: Vec<Key>,
    /// The publisher, if this thread is its home.
    publisher: Option<Source>,
    /// Packets that the viewers have yet to get.
    fresh: Vec<FeedPacket>,
    /// Items that the other threads have yet to get.
    outgoing: Vec<FeedItem>,
    dirty: bool,
    /// Until when the first of the fresh packets may wait for the rest of its frame.
    hold: Option<Instant>,
    asked: Vec<(SourceId, Instant)>,
    described: Option<(Instant, u32)>,
}

impl Feed {
    fn new(broadcast: Arc<Broadcast>) -> Self {
        Self {
            broadcast,
            sources: Sources::default(),
            viewers: Vec::new(),
            publisher: None,
            fresh: Vec::new(),
            outgoing: Vec::new(),
            dirty: false,
            hold: None,
            asked: Vec::new(),
            described: None,
        }
    }

    /// Whether the viewers' packets are better sent a little later: some frame is there in part, the rest follows within microseconds
    /// from most publishers, and then leaves by the same system call. Nothing is shown later for it, because the last packet of a
    /// frame ends the waiting.
    fn holds(&mut self, now: Instant) -> bool {
        let newest = self.fresh.iter().rev().find(|p| p.kind == TrackKind::Video);
        if newest.is_none_or(|packet| packet.marker) || self.viewers.len() < HOLD_VIEWERS {
            self.hold = None;
            return false;
        }
        let until = *self.hold.get_or_insert(now + HOLD);
        if now >= until {
            self.hold = None;
        }
        self.hold.is_some()
    }

    const fn is_idle(&self) -> bool {
        self.viewers.is_empty() && self.publisher.is_none()
    }
}

impl RelayThread {
    /// After a session has acted: what a publisher brought is taken over, a viewer that waits for something gets a turn.
    pub(super) fn after_act(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        match &mut session.member {
            Member::Publisher(peer) => {
                let items = peer.take_items();
                if items.is_empty() {
                    return;
                }
                let Some((broadcast, _)) = &peer.publication else { return };
                let broadcast = Arc::clone(broadcast);
                let feed =
                    self.feeds.entry(broadcast.id).or_insert_with(|| Feed::new(Arc::clone(&broadcast)));
                feed.publisher = Some(Source::Session(key));
                self.take_items(&broadcast, items, true);
            }
            Member::Viewer(viewer) => {
                if viewer.wants_turn() {
                    self.turns.push(key);
                }
            }
        }
    }

    /// Takes items into the feed of a broadcast. At its home they are handed on to the other threads as well.
    pub(super) fn take_items(&mut self, broadcast: &Arc<Broadcast>, items: Vec<FeedItem>, home: bool) {
        // Without viewers nobody on this thread wants them: the last has left while they were on their way.
        let Some(feed) = self.feeds.get_mut(&broadcast.id) else { return };
        for item in items {
            if home {
                feed.outgoing.push(item.clone());
            }
            feed.fresh.extend(feed.sources.take(item));
        }
        if !feed.dirty {
            feed.dirty = true;
            self.dirty.push(broadcast.id);
        }
    }

    /// Sends what has come: to the other threads, and to the viewers of this one.
    pub(super) fn flush_feeds(&mut self) {
        self.held = None;
        let mut held = Vec::new();
        while let Some(number) = self.dirty.pop() {
            let Some(mut feed) = self.feeds.remove(&number) else { continue };
            if !feed.outgoing.is_empty() {
                feed.broadcast.relay(self.index, &feed.outgoing);
                feed.outgoing.clear();
            }
            if feed.holds(Instant::now()) {
                self.held = self.held.min(feed.hold).or(feed.hold);
                held.push(number);
                self.give_back(number, feed);
                continue;
            }
            feed.dirty = false;
            runs::arrange(&mut feed.fresh);
            let mut demands = Vec::new();
            for key in &feed.viewers {
                self.deliver(*key, &feed.sources, &feed.fresh, &mut demands);
            }
            feed.fresh.clear();
            self.describe(&mut feed);
            self.pass_demands(&mut feed, demands);
            self.give_back(number, feed);
        }
        self.dirty = held;
        while let Some(key) = self.turns.pop() {
            let Some(number) = self.feed_of(key) else { continue };
            let Some(mut feed) = self.feeds.remove(&number) else { continue };
            if feed.dirty {
                // Its turn comes with the packets that wait. Now it would find them in the history, and get them twice.
                self.give_back(number, feed);
                continue;
            }
            let mut demands = Vec::new();
            self.deliver(key, &feed.sources, &[], &mut demands);
            self.pass_demands(&mut feed, demands);
            self.give_back(number, feed);
        }
    }

    fn feed_of(&self, key: Key) -> Option<u64> {
        match &self.sessions.get(&key)?.member {
            Member::Viewer(viewer) => Some(viewer.broadcast.id),
            Member::Publisher(_) => None,
        }
    }

    fn deliver(&mut self, key: Key, sources: &Sources, fresh: &[FeedPacket], demands: &mut Vec<SourceId>) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if let Member::Viewer(viewer) = &mut session.member {
            viewer.deliver(sources, fresh, &mut self.egress, &mut self.wire, crate::clock::now());
            demands.append(&mut viewer.take_demands());
        }
    }

    /// Puts a feed that was lent out back, or drops one that nobody needs any more.
    pub(super) fn give_back(&mut self, number: u64, feed: Feed) {
        if !feed.is_idle() {
            self.feeds.insert(number, feed);
        }
    }

    pub(super) fn add_viewer(&mut self, broadcast: &Arc<Broadcast>, key: Key) {
        let feed = self.feeds.entry(broadcast.id).or_insert_with(|| Feed::new(Arc::clone(broadcast)));
        feed.viewers.push(key);
        if feed.viewers.len() == 1 {
            // First the interest, then the question: what is sent in between comes twice rather than not at all.
            broadcast.set_interest(self.index, true);
            if broadcast.home() != self.index {
                broadcast.tell_home(Command::History(Arc::clone(broadcast), self.index));
            }
        }
    }

    pub(super) fn remove_viewer(&mut self, broadcast: &Arc<Broadcast>, key: Key) {
        if let Some(mut feed) = self.feeds.remove(&broadcast.id) {
            self.take_out(&mut feed, key);
            self.give_back(broadcast.id, feed);
        }
    }

    /// Removes a viewer from a feed at hand.
    pub(super) fn take_out(&self, feed: &mut Feed, key: Key) {
        feed.viewers.retain(|k| *k != key);
        if feed.viewers.is_empty() {
            feed.broadcast.set_interest(self.index, false);
        }
    }

    pub(super) fn publisher_left(&mut self, broadcast: &Arc<Broadcast>, key: Key) {
        if let Some(mut feed) = self.feeds.remove(&broadcast.id) {
            if feed.publisher == Some(Source::Session(key)) {
                feed.publisher = None;
            }
            self.give_back(broadcast.id, feed);
        }
    }

    /// A publisher that is no session feeds a broadcast from now on.
    pub(super) fn open_outside(&mut self, broadcast: &Arc<Broadcast>, number: u64) {
        let feed = self.feeds.entry(broadcast.id).or_insert_with(|| Feed::new(Arc::clone(broadcast)));
        feed.publisher = Some(Source::Outside(number));
    }

    /// It has ended.
    pub(super) fn close_outside(&mut self, broadcast: &Arc<Broadcast>, number: u64) {
        if let Some(mut feed) = self.feeds.remove(&broadcast.id) {
            feed.publisher.take_if(|source| *source == Source::Outside(number));
            self.give_back(broadcast.id, feed);
        }
    }

    pub(super) fn send_history(&self, broadcast: &Arc<Broadcast>, thread: usize) {
        let Some(feed) = self.feeds.get(&broadcast.id) else { return };
        broadcast.send_to(thread, feed.sources.history(crate::clock::now()));
    }

    /// Somebody needs a keyframe of a source whose publisher is a session of this thread.
    pub(super) fn demand(&mut self, broadcast: &Arc<Broadcast>, source: SourceId) {
        let publisher = self.feeds.get(&broadcast.id).and_then(|feed| feed.publisher);
        if let Some(Source::Session(key)) = publisher {
            self.demand_of(key, source);
        }
    }

    fn pass_demands(&mut self, feed: &mut Feed, mut demands: Vec<SourceId>) {
        demands.sort_unstable();
        demands.dedup();
        for source in demands {
            match feed.publisher {
                Some(Source::Session(key)) => {
                    self.demand_of(key, source);
                    continue;
                }
                Some(Source::Outside(_)) => continue,
                None => {}
            }
            let now = Instant::now();
            feed.asked.retain(|(_, at)| now.saturating_duration_since(*at) < ASK_INTERVAL);
            if !feed.asked.iter().any(|(asked, _)| *asked == source) {
                feed.asked.push((source, now));
                feed.broadcast.tell_home(Command::Demand(Arc::clone(&feed.broadcast), source));
            }
        }
    }

    fn describe(&self, feed: &mut Feed) {
        let now = Instant::now();
        let version = feed.sources.version();
        let fresh = feed
            .described
            .is_some_and(|(at, seen)| now.duration_since(at) < DESCRIBE_INTERVAL && seen == version);
        if fresh || feed.publisher.is_none() {
            return;
        }
        feed.described = Some((now, version));
        let mono = crate::clock::now();
        for source in feed.sources.iter() {
            let silent = mono.saturating_since(source.last());
            let last = now.checked_sub(silent).unwrap_or(now);
            feed.broadcast.describe(&source.info, source.bitrate_bps(mono), last);
        }
    }

    pub(super) fn end_broadcast(&mut self, broadcast: &Arc<Broadcast>) {
        let Some(feed) = self.feeds.remove(&broadcast.id) else { return };
        let viewers = feed.viewers.clone();
        self.give_back(broadcast.id, feed);
        for key in viewers {
            self.end_session(key, CloseReason::StreamEnded);
        }
    }

    pub(super) fn viewer_stats(&self, broadcast: &Arc<Broadcast>) -> Vec<ViewerStats> {
        let Some(feed) = self.feeds.get(&broadcast.id) else { return Vec::new() };
        let now = Instant::now();
        let of = |key: &Key| match &self.sessions.get(key)?.member {
            Member::Viewer(viewer) => viewer.stats(&feed.sources, now),
            Member::Publisher(_) => None,
        };
        feed.viewers.iter().filter_map(of).collect()
    }
}
