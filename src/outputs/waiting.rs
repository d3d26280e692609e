//! Players that wait for what comes next: blocking reloads and hinted parts (rfc8216bis sections 6.2.5.2 and 6.2.6).
//!
//! All who wait for the same thing are known by one entry; when it is there they are let go in the order in which they came,
//! not all in the same millisecond. A player asks again when it has its answer, so everybody keeps their turn and sees an even
//! pace. What each of them then reads is one shared buffer.

use skywave_media::hls::{Awaited, HlsView};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// Players that may wait at a time for one stream; further ones are told to come again.
const MAX_WAITING: usize = 50_000;

/// Each player lets the next one wait so long: about what an answer costs.
const TURN: Duration = Duration::from_micros(200);

/// How often those whose turn it is are let go.
const TICK: Duration = Duration::from_millis(1);

/// Why somebody cannot wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_WAITING} players wait for this stream already")]
pub(crate) struct Full;

/// Who waits for one stream.
#[derive(Debug, Default)]
pub(crate) struct WaitingRoom {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    by_what: BTreeMap<Awaited, Vec<oneshot::Sender<()>>>,
    count: usize,
}

impl WaitingRoom {
    /// A place in the order of those who wait for this. It is resolved when it is their turn.
    pub(crate) fn enter(&self, awaited: Awaited) -> Result<oneshot::Receiver<()>, Full> {
        let mut waiting = self.lock();
        if waiting.count >= MAX_WAITING {
            waiting.forget_the_gone();
        }
        if waiting.count >= MAX_WAITING {
            return Err(Full);
        }
        let (turn, place) = oneshot::channel();
        waiting.by_what.entry(awaited).or_default().push(turn);
        waiting.count += 1;
        Ok(place)
    }

    /// Lets players go as views come, until the stream is gone; then all at once.
    pub(crate) async fn run(self: Arc<Self>, mut views: watch::Receiver<Arc<HlsView>>) {
        let mut leaving = Leaving::default();
        loop {
            let (gone, view) = tokio::select! {
                changed = views.changed() => (changed.is_err(), Some(Arc::clone(&views.borrow_and_update()))),
                () = tokio::time::sleep(TICK), if !leaving.is_empty() => (false, None),
            };
            let now = Instant::now();
            if let Some(view) = view {
                leaving.add(self.take(|awaited| gone || view.has(awaited)), view.config().part, now);
                if gone || view.has_ended() {
                    leaving.hurry();
                }
            }
            for turn in leaving.due(now) {
                // Who has hung up needs no turn.
                let _gone = turn.send(());
            }
            if gone {
                return;
            }
        }
    }

    fn take(&self, is_there: impl Fn(&Awaited) -> bool) -> Vec<oneshot::Sender<()>> {
        let mut waiting = self.lock();
        let there: Vec<Awaited> = waiting.by_what.keys().filter(|what| is_there(what)).cloned().collect();
        let mut all = Vec::new();
        for what in there {
            all.extend(waiting.by_what.remove(&what).unwrap_or_default());
        }
        waiting.count -= all.len();
        all.retain(|turn| !turn.is_closed());
        all
    }

    /// The table is whole after every statement: a panic elsewhere leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn forget_the_gone(&mut self) {
        for turns in self.by_what.values_mut() {
            turns.retain(|turn| !turn.is_closed());
        }
        self.by_what.retain(|_, turns| !turns.is_empty());
        self.count = self.by_what.values().map(Vec::len).sum();
    }
}

/// Those who may go, and how fast. Pure: time is an input.
#[derive(Debug)]
struct Leaving<T = oneshot::Sender<()>> {
    queue: VecDeque<T>,
    /// When the first of the queue may go, counted from which the others follow.
    next: Option<Instant>,
    apart: Duration,
}

impl<T> Default for Leaving<T> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), next: None, apart: Duration::ZERO }
    }
}

impl<T> Leaving<T> {
    fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// More of them. All are gone within three fifths of a part, so that the peak stays below twice the mean however many they are
    /// and however the clock ticks, and the next part finds nobody.
    fn add(&mut self, more: Vec<T>, part: Duration, now: Instant) {
        if more.is_empty() {
            return;
        }
        self.queue.extend(more);
        let count = u32::try_from(self.queue.len()).unwrap_or(u32::MAX);
        self.apart = TURN.min(part * 3 / 5 / count);
        self.next = Some(self.next.map_or(now, |next| next.min(now)));
    }

    /// All of them, at once.
    fn hurry(&mut self) {
        self.apart = Duration::ZERO;
    }

    /// Those whose turn it is.
    fn due(&mut self, now: Instant) -> Vec<T> {
        let mut due = Vec::new();
        while let Some(next) = self.next.filter(|next| *next <= now) {
            let Some(one) = self.queue.pop_front() else { break };
            due.push(one);
            self.next = Some(next + self.apart);
        }
        if self.queue.is_empty() {
            self.next = None;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skywave_media::codec::TrackKind;
    use skywave_media::hls::{HlsConfig, Packager, RenditionName, TakeId};
    use skywave_media::time::{Mono, UnixTime};

    const PART: Duration = Duration::from_millis(200);

    fn released(count: usize, at: &[u64]) -> Vec<usize> {
        let begin = Instant::now();
        let mut leaving = Leaving::<usize>::default();
        leaving.add((0..count).collect(), PART, begin);
        let mut next = 0;
        at.iter()
            .map(|ms| {
                let due = leaving.due(begin + Duration::from_millis(*ms));
                for one in &due {
                    assert_eq!(*one, next, "in the order in which they came");
                    next += 1;
                }
                due.len()
            })
            .collect()
    }

    #[test]
    fn a_few_go_at_once_and_many_within_three_fifths_of_a_part() {
        assert_eq!(released(1, &[0]), [1]);
        assert_eq!(released(10, &[0, 1, 2]), [1, 5, 4]);
        let many = released(500, &(0..=100).collect::<Vec<_>>());
        assert_eq!(many.iter().sum::<usize>(), 500);
        assert!(many.iter().all(|n| (1..=6).contains(n)), "five a millisecond: {many:?}");
        let crowd = released(20_000, &(0..=120).collect::<Vec<_>>());
        assert_eq!(crowd.iter().sum::<usize>(), 20_000);
        let mean = 20_000 / 200;
        assert!(
            crowd.iter().all(|n| *n <= 5 * mean / 3 + 1),
            "the peak is far under twice the mean: {crowd:?}"
        );
    }

    #[test]
    fn the_end_lets_everybody_go() {
        let begin = Instant::now();
        let mut leaving = Leaving::<usize>::default();
        leaving.add((0..5_000).collect(), PART, begin);
        leaving.hurry();
        assert_eq!(leaving.due(begin).len(), 5_000);
        assert!(leaving.is_empty());
    }

    #[test]
    fn those_who_have_hung_up_leave_room() {
        let room = WaitingRoom::default();
        let awaited = Awaited::Multivariant;
        let places: Vec<_> = (0..MAX_WAITING).map(|_| room.enter(awaited.clone()).unwrap()).collect();
        assert_eq!(room.enter(awaited.clone()).unwrap_err(), Full);
        drop(places);
        assert!(room.enter(awaited).is_ok());
        assert_eq!(room.lock().count, 1);
    }

    #[tokio::test]
    async fn everybody_goes_when_it_is_there_and_nobody_before() {
        let name = RenditionName::new("audio").unwrap();
        let take = TakeId::new("t").unwrap();
        let mut packager = Packager::new(HlsConfig::default(), take, UnixTime::default());
        packager.add_rendition(name.clone(), TrackKind::Audio, Mono::default()).unwrap();
        let (views, reader) = watch::channel(packager.view());
        let room = Arc::new(WaitingRoom::default());
        let task = tokio::spawn(Arc::clone(&room).run(reader));
        let mut places: Vec<_> =
            (0..20).map(|_| room.enter(Awaited::Beginning(name.clone())).unwrap()).collect();
        views.send_replace(packager.view());
        tokio::task::yield_now().await;
        assert!(places.iter_mut().all(|place| place.try_recv().is_err()), "nothing has come");
        packager.end(Mono::default());
        views.send_replace(packager.view());
        for place in places {
            place.await.unwrap();
        }
        drop(views);
        task.await.unwrap();
    }
}
