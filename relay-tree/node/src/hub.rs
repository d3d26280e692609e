//! What is on air on this node, shared by its threads: who publishes, which threads have viewers, what can be watched.
//!
//! No packet takes a lock here: a packet's way needs the atomics of its [`Broadcast`] alone.

use crate::feed::{FeedItem, SourceInfo};
use crate::thread::{Command, Port};
use crate::viewing::{BroadcastInfo, LayerInfo};
use relay_proto::continuity::SourceId;
use skywave_media::codec::{Codec, TrackKind};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A layer that has sent nothing for so long is not active.
const LAYER_SILENCE: Duration = Duration::from_secs(1);

/// All broadcasts of a node, by name.
#[derive(Debug)]
pub(crate) struct Hub {
    broadcasts: Mutex<HashMap<String, Arc<Broadcast>>>,
    ports: Arc<[Port]>,
    next_id: AtomicU64,
    next_publisher: AtomicU64,
    /// Counts broadcasts that began, to wake who waits for one.
    begun: watch::Sender<u64>,
}

/// One stream, as the relay threads know it. It outlives its publisher until the stream's owner ends it.
#[derive(Debug)]
pub(crate) struct Broadcast {
    pub(crate) id: u64,
    pub(crate) name: String,
    ports: Arc<[Port]>,
    /// Which threads have viewers of it.
    interested: Box<[AtomicBool]>,
    /// The publisher that feeds it: only what comes from this one counts. 0: none.
    publisher: AtomicU64,
    /// The thread of the publisher, which keeps the history that other threads start from.
    home: AtomicUsize,
    /// It is over for good: its name may stand for another one by now.
    ended: AtomicBool,
    /// Viewers that are connected.
    viewers: AtomicUsize,
    /// Viewers that can decode nothing that is published, only the rendition.
    needing: AtomicUsize,
    /// Viewers' sessions, connected or on their way.
    places: AtomicUsize,
    next_source: AtomicU32,
    described: Mutex<Described>,
}

/// What is told about a broadcast.
#[derive(Debug, Default)]
struct Described {
    layers: Vec<Layer>,
    audio: Option<Codec>,
    /// An H.264 rendition of the video is made.
    rendition: bool,
}

#[derive(Debug)]
struct Layer {
    info: Arc<SourceInfo>,
    bitrate_bps: u64,
    last: Instant,
}

/// The maps are plain values, whole after every statement: a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    pub(crate) fn new(ports: Arc<[Port]>) -> Self {
        Self {
            broadcasts: Mutex::default(),
            ports,
            next_id: AtomicU64::new(1),
            next_publisher: AtomicU64::new(1),
            begun: watch::Sender::new(0),
        }
    }

    /// A publisher on `thread` has connected: it feeds the broadcast from now on. Gives the broadcast and the publisher's number.
    pub(crate) fn begin(&self, name: &str, thread: usize) -> (Arc<Broadcast>, u64) {
        let publisher = self.next_publisher.fetch_add(1, Ordering::Relaxed);
        let broadcast = {
            let mut broadcasts = lock(&self.broadcasts);
            let entry = broadcasts.entry(name.to_owned()).or_insert_with(|| {
                Arc::new(Broadcast::new(
                    self.next_id.fetch_add(1, Ordering::Relaxed),
                    name,
                    Arc::clone(&self.ports),
                ))
            });
            // Under the lock: a broadcast that is being ended must not be taken over, and one that was must not be ended.
            entry.take_over(publisher, thread);
            Arc::clone(entry)
        };
        self.begun.send_modify(|n| *n += 1);
        (broadcast, publisher)
    }

    /// The broadcast of this name.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Broadcast>> {
        lock(&self.broadcasts).get(name).cloned()
    }

    /// Forgets a broadcast without a publisher and tells the threads to close its viewers.
    pub(crate) fn end(&self, name: &str) {
        let ended = {
            let mut broadcasts = lock(&self.broadcasts);
            match broadcasts.get(name) {
                Some(b) if b.publisher.load(Ordering::Acquire) == 0 => broadcasts.remove(name),
                _ => None,
            }
        };
        if let Some(broadcast) = ended {
            // Before the threads are told: who then finds it unset has let its viewer in early enough for them to end it.
            broadcast.ended.store(true, Ordering::SeqCst);
            for port in &*self.ports {
                port.send(Command::EndBroadcast(Arc::clone(&broadcast)));
            }
        }
    }

    /// Waits until a broadcast of this name begins.
    pub(crate) async fn await_broadcast(&self, name: &str, patience: Duration) -> bool {
        let mut begun = self.begun.subscribe();
        let found = async {
            while self.find(name).is_none() {
                if begun.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(patience, found).await.unwrap_or(false)
    }
}

impl Broadcast {
    fn new(id: u64, name: &str, ports: Arc<[Port]>) -> Self {
        Self {
            id,
            name: name.to_owned(),
            interested: ports.iter().map(|_| AtomicBool::new(false)).collect(),
            ports,
            publisher: AtomicU64::new(0),
            home: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
            viewers: AtomicUsize::new(0),
            needing: AtomicUsize::new(0),
            places: AtomicUsize::new(0),
            next_source: AtomicU32::new(1),
            described: Mutex::default(),
        }
    }

    fn take_over(&self, publisher: u64, thread: usize) {
        self.home.store(thread, Ordering::Release);
        self.publisher.store(publisher, Ordering::Release);
        let mut described = lock(&self.described);
        described.layers.clear();
        described.audio = None;
    }

    /// Whether this publisher's packets count.
    pub(crate) fn is_fed_by(&self, publisher: u64) -> bool {
        self.publisher.load(Ordering::Acquire) == publisher
    }

    /// Whether it is over for good.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// The number of the publisher that feeds it; 0 for none.
    pub(crate) fn publisher(&self) -> u64 {
        self.publisher.load(Ordering::Acquire)
    }

    /// The publisher is gone, unless another one has taken over.
    pub(crate) fn publisher_gone(&self, publisher: u64) {
        let swap = self.publisher.compare_exchange(publisher, 0, Ordering::AcqRel, Ordering::Acquire);
        if swap.is_ok() {
            lock(&self.described).layers.clear();
        }
    }

    /// A number for a new source.
    pub(crate) fn new_source(&self) -> SourceId {
        SourceId(self.next_source.fetch_add(1, Ordering::Relaxed))
    }

    /// The thread that has the history.
    pub(crate) fn home(&self) -> usize {
        self.home.load(Ordering::Acquire)
    }

    /// Whether `thread` has viewers.
    pub(crate) fn set_interest(&self, thread: usize, interested: bool) {
        self.interested[thread].store(interested, Ordering::Release);
    }

    /// Hands items to every other thread that has viewers.
    pub(crate) fn relay(self: &Arc<Self>, from: usize, items: &[FeedItem]) {
        for (thread, interested) in self.interested.iter().enumerate() {
            if thread != from && interested.load(Ordering::Acquire) {
                self.ports[thread].send(Command::Feed(Arc::clone(self), items.to_vec()));
            }
        }
    }

    /// Hands items to one thread.
    pub(crate) fn send_to(self: &Arc<Self>, thread: usize, items: Vec<FeedItem>) {
        if let Some(port) = self.ports.get(thread) {
            port.send(Command::Feed(Arc::clone(self), items));
        }
    }

    /// Tells its home thread something.
    pub(crate) fn tell_home(&self, command: Command) {
        self.ports[self.home()].send(command);
    }

    /// Tells every thread something: its home may have been another one.
    pub(crate) fn tell_all(self: &Arc<Self>, command: impl Fn(Arc<Self>) -> Command) {
        for port in &*self.ports {
            port.send(command(Arc::clone(self)));
        }
    }

    /// Takes a viewer's place; false when all `limit` are taken.
    pub(crate) fn take_place(&self, limit: usize) -> bool {
        let taken =
            self.places.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < limit).then_some(n + 1));
        taken.is_ok()
    }

    /// Gives a place back.
    pub(crate) fn leave_place(&self) {
        self.places.fetch_sub(1, Ordering::AcqRel);
    }

    /// A viewer has connected, or one that had is gone.
    pub(crate) fn count_viewer(&self, connected: bool) {
        if connected {
            self.viewers.fetch_add(1, Ordering::AcqRel);
        } else {
            self.viewers.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// A viewer needs the rendition, or one that did needs it no more.
    pub(crate) fn count_need(&self, needs: bool) {
        if needs {
            self.needing.fetch_add(1, Ordering::AcqRel);
        } else {
            self.needing.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Notes how much a source sends; the home thread says so now and then, and when a source is new.
    pub(crate) fn describe(&self, info: &Arc<SourceInfo>, bitrate_bps: u64, last: Instant) {
        let mut described = lock(&self.described);
        if info.kind == TrackKind::Audio {
            described.audio = Some(info.codec);
        } else if info.rendition {
            described.rendition = true;
        } else if let Some(layer) = described.layers.iter_mut().find(|l| l.info.id == info.id) {
            (layer.bitrate_bps, layer.last) = (bitrate_bps, last);
        } else {
            described.layers.retain(|l| l.info.name != info.name);
            described.layers.push(Layer { info: Arc::clone(info), bitrate_bps, last });
        }
    }

    /// Codecs its video can be had in: empty while nothing is known.
    pub(crate) fn video_codecs(&self) -> Vec<Codec> {
        let described = lock(&self.described);
        let mut codecs: Vec<Codec> = described.layers.iter().map(|l| l.info.codec).collect();
        if !codecs.is_empty() && !codecs.contains(&Codec::H264) {
            codecs.push(Codec::H264);
        }
        codecs.dedup();
        codecs
    }

    /// What the API tells.
    pub(crate) fn info(&self) -> BroadcastInfo {
        let described = lock(&self.described);
        let now = Instant::now();
        let mut layers: Vec<LayerInfo> = described
            .layers
            .iter()
            .map(|layer| LayerInfo {
                rid: layer.info.name.clone(),
                codec: layer.info.codec,
                bitrate_bps: layer.bitrate_bps,
                active: now.saturating_duration_since(layer.last) < LAYER_SILENCE,
            })
            .collect();
        layers.sort_by(|a, b| a.bitrate_bps.cmp(&b.bitrate_bps).then_with(|| a.rid.cmp(&b.rid)));
        BroadcastInfo {
            published: self.publisher.load(Ordering::Acquire) != 0,
            viewers: self.viewers.load(Ordering::Acquire),
            rendition_viewers: self.needing.load(Ordering::Acquire),
            layers,
            audio: described.audio,
        }
    }
}
