//! What has happened, found by comparing what streams say of themselves now with what they said before. Pure.
//!
//! After [`Differ::handle_list`] drain [`Differ::poll_change`], then read [`Differ::poll_timeout`]: at that time the list is to
//! be handed in again.

use crate::stream::status::{PublisherStatus, State, Status, Viewers};
use skywave_media::name::StreamName;
use skywave_media::time::Mono;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Readers are told of new figures of one stream at most this often. What a publisher does is told at once.
const UPDATE_INTERVAL: Duration = Duration::from_secs(1);

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// A stream is on air; or again, after it had ended.
    Started(Arc<Status>),
    /// Figures of a stream have changed.
    Updated(Arc<Status>),
    /// A publisher feeds a stream.
    PublisherConnected { stream: StreamName, publisher: PublisherStatus },
    /// It does so no more.
    PublisherGone { stream: StreamName, publisher: PublisherStatus },
    /// The number of viewers has changed.
    Viewers { stream: StreamName, viewers: Viewers },
    /// A stream is no longer on air.
    Ended { stream: StreamName },
}

/// One stream as readers know it.
#[derive(Debug)]
struct Known {
    /// As it was last seen.
    seen: Arc<Status>,
    /// As readers were last told, and when.
    told: Arc<Status>,
    told_at: Mono,
    viewers_told: Viewers,
    viewers_told_at: Option<Mono>,
}

/// Compares.
#[derive(Debug, Default)]
pub(crate) struct Differ {
    known: BTreeMap<StreamName, Known>,
    changes: VecDeque<Change>,
}

impl Differ {
    /// Takes what all streams say of themselves at `now`.
    pub(crate) fn handle_list(&mut self, list: Vec<Arc<Status>>, now: Mono) {
        // A stream that has not said anything yet is not there yet: its first publisher comes with the next word.
        let mut list: BTreeMap<StreamName, Arc<Status>> = list
            .into_iter()
            .filter(|status| status.state != State::Starting)
            .map(|status| (status.name.clone(), status))
            .collect();
        let (kept, lost) = std::mem::take(&mut self.known)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(name, _)| list.contains_key(name));
        self.known = kept;
        for known in lost.into_values() {
            self.end(&known.seen);
        }
        for (name, mut known) in std::mem::take(&mut self.known) {
            let Some(status) = list.remove(&name) else { continue };
            self.compare(&mut known, status, now);
            self.known.insert(name, known);
        }
        for (name, status) in list {
            self.begin(&status);
            self.known.insert(name, Known::new(status, now));
        }
    }

    /// The next thing that happened, in order.
    pub(crate) fn poll_change(&mut self) -> Option<Change> {
        self.changes.pop_front()
    }

    /// When figures that were held back may be told.
    pub(crate) fn poll_timeout(&self) -> Option<Mono> {
        self.known.values().filter_map(Known::deadline).min()
    }

    /// The streams on air as they were last seen, by name.
    pub(crate) fn streams(&self) -> impl Iterator<Item = &Arc<Status>> {
        self.known.values().map(|known| &known.seen).filter(|status| is_on_air(status))
    }

    fn compare(&mut self, known: &mut Known, status: Arc<Status>, now: Mono) {
        let before = std::mem::replace(&mut known.seen, Arc::clone(&status));
        let same_take = before.since == status.since;
        if !is_on_air(&status) {
            // Nothing more is said of it, so that whoever drops a stream at its end need not fear that it comes back.
            self.end(&before);
            *known = Known::new(status, now);
            return;
        }
        if !is_on_air(&before) || !same_take {
            self.end(&before);
            self.begin(&status);
            *known = Known::new(status, now);
            return;
        }
        if session(&before) != session(&status) {
            self.publisher_gone(&before);
            self.publisher_connected(&status);
        }
        if known.deadline().is_some_and(|at| at <= now) {
            self.tell(known, now);
        }
    }

    /// Tells what is new of a stream's figures and viewers.
    fn tell(&mut self, known: &mut Known, now: Mono) {
        if known.update_at().is_some_and(|at| at <= now) {
            known.told = Arc::clone(&known.seen);
            known.told_at = now;
            self.changes.push_back(Change::Updated(Arc::clone(&known.seen)));
        }
        if known.viewers_at().is_some_and(|at| at <= now) {
            known.viewers_told = known.seen.viewers;
            known.viewers_told_at = Some(now);
            let stream = known.seen.name.clone();
            self.changes.push_back(Change::Viewers { stream, viewers: known.viewers_told });
        }
    }

    fn begin(&mut self, status: &Arc<Status>) {
        if is_on_air(status) {
            self.changes.push_back(Change::Started(Arc::clone(status)));
            self.publisher_connected(status);
        }
    }

    /// `before`: the stream as it was last seen.
    fn end(&mut self, before: &Arc<Status>) {
        if is_on_air(before) {
            self.publisher_gone(before);
            self.changes.push_back(Change::Ended { stream: before.name.clone() });
        }
    }

    fn publisher_connected(&mut self, status: &Status) {
        if let Some(publisher) = status.publisher.clone() {
            self.changes.push_back(Change::PublisherConnected { stream: status.name.clone(), publisher });
        }
    }

    fn publisher_gone(&mut self, before: &Status) {
        if let Some(publisher) = before.publisher.clone() {
            self.changes.push_back(Change::PublisherGone { stream: before.name.clone(), publisher });
        }
    }
}

impl Known {
    fn new(status: Arc<Status>, now: Mono) -> Self {
        Self {
            told: Arc::clone(&status),
            told_at: now,
            viewers_told: status.viewers,
            viewers_told_at: None,
            seen: status,
        }
    }

    /// When new figures may be told; `None` while there are none.
    fn update_at(&self) -> Option<Mono> {
        let new = !Arc::ptr_eq(&self.seen, &self.told) && !self.seen.is_same_but_for_viewers(&self.told);
        new.then(|| self.told_at + UPDATE_INTERVAL)
    }

    /// When the new number of viewers may be told; `None` while it is what was told.
    fn viewers_at(&self) -> Option<Mono> {
        let new = self.seen.viewers != self.viewers_told;
        new.then(|| self.viewers_told_at.map_or_else(Mono::default, |at| at + UPDATE_INTERVAL))
    }

    fn deadline(&self) -> Option<Mono> {
        [self.update_at(), self.viewers_at()].into_iter().flatten().min()
    }
}

fn is_on_air(status: &Status) -> bool {
    status.state != State::Ended
}

fn session(status: &Status) -> Option<&str> {
    status.publisher.as_ref().map(|publisher| publisher.session.as_str())
}

#[cfg(test)]
mod tests;
