//! Stream name -> stream task, session -> stream. Nothing is kept of names nobody publishes.

use crate::broadcasts::Broadcasts;
use crate::config::Config;
use crate::machine::Machine;
use crate::outputs::audience::PlayerKey;
use crate::outputs::dvr::DvrDisk;
use crate::outputs::hls::{DateRangeChange, HlsDesk};
use crate::recordings::Library;
use crate::sessions::{Bounds, EventStreamReader, Found, Kind, NoPlace, Owner, Session, Sessions};
use crate::stream::status::Status;
use crate::stream::{self, Command, NewPublisher, StreamHandle};
use relay_node::{
    BroadcastInfo, CloseReason, Node, OfferError, PatchAnswer, PatchError, PatchRequest, PublishAnswer,
    PublishRequest, PublisherEvent, SessionId, SourceFeed, TrackDescription, ViewerControl, WatchAnswer,
    WatchError, WatchRequest,
};
use skywave_media::hls::{DateRange, DateRangeError, Resource};
use skywave_media::name::StreamName;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

/// RTP packets that wait for a stream task: about a second of 10 Mbit/s. Beyond it packets are dropped and counted.
const PACKET_QUEUE: usize = 1024;

/// How long streams may take to end when the server stops.
const SHUT_DOWN: Duration = Duration::from_secs(3);

/// How often the table of sessions is compared with the node, which ends viewers' sessions by itself.
const SWEEP: Duration = Duration::from_secs(5);

/// Viewers that may wait at a time for streams that are not on air; further ones are told so at once.
const WAITING_MAX: usize = 1000;

/// Why an offer was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error(transparent)]
    NoPlace(#[from] NoPlace),
    #[error(transparent)]
    Publish(#[from] OfferError),
    #[error(transparent)]
    Watch(#[from] WatchError),
}

/// All streams and sessions of this node.
pub(crate) struct Registry {
    node: Arc<Node>,
    config: Arc<Config>,
    dvr_disk: Option<DvrDisk>,
    library: Arc<Library>,
    streams: Mutex<BTreeMap<StreamName, StreamHandle>>,
    sessions: Mutex<Sessions>,
    broadcasts: Arc<Broadcasts>,
    waiting: Semaphore,
    changed: Notify,
    machine: Machine,
}

/// Holds a session's place in the registry; dropping it forgets the session and closes it on the node.
pub(crate) struct SessionGuard {
    registry: Arc<Registry>,
    id: SessionId,
}

impl SessionGuard {
    /// The session.
    pub(crate) const fn id(&self) -> &SessionId {
        &self.id
    }
}

impl Drop for SessionGuard {
    fn drop(&mut self) {
        self.registry.node.close(&self.id);
        lock(&self.registry.sessions).remove(&self.id);
    }
}

impl Registry {
    /// An empty registry on a running node; `dvr_disk` takes what streams no longer hold in memory.
    pub(crate) fn new(node: Node, config: Config, dvr_disk: Option<DvrDisk>) -> Self {
        Self {
            dvr_disk,
            node: Arc::new(node),
            library: Library::open(&config),
            config: Arc::new(config),
            streams: Mutex::default(),
            sessions: Mutex::default(),
            broadcasts: Arc::default(),
            waiting: Semaphore::new(WAITING_MAX),
            changed: Notify::new(),
            machine: Machine::new(),
        }
    }

    /// The node, for keyframe requests.
    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    /// The configuration.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The recordings.
    pub(crate) const fn library(&self) -> &Arc<Library> {
        &self.library
    }

    /// Switches a stream's recording on or off; false when nothing is on air under this name.
    pub(crate) async fn record(&self, stream: &StreamName, wanted: bool) -> bool {
        let handle = lock(&self.streams).get(stream).cloned();
        match handle {
            Some(handle) => handle.commands.send(Command::Record(wanted)).await.is_ok(),
            None => false,
        }
    }

    /// Answers a publisher's offer. The stream exists once the publisher has really connected.
    pub(crate) async fn publish(
        self: &Arc<Self>,
        stream: StreamName,
        offer: String,
        owner: Owner,
    ) -> Result<PublishAnswer, Refused> {
        let place = self.take_place(Kind::Publisher, &stream, &owner)?;
        let (events, receiver) = mpsc::channel(PACKET_QUEUE);
        let request = PublishRequest { stream: stream.to_string(), offer, events };
        let answer = self.node.publish(request).await?;
        let id = answer.session.clone();
        place.fill(Session {
            id: id.clone(),
            kind: Kind::Publisher,
            stream: stream.clone(),
            owner,
            etag: answer.etag.clone(),
            video_line: None,
        });
        tracing::info!(%stream, session = id.short(), "publisher answered");
        let session = SessionGuard { registry: Arc::clone(self), id };
        let publisher = NewPublisher { session, tracks: answer.tracks.clone(), events: receiver };
        tokio::spawn(Arc::clone(self).await_connection(stream, publisher));
        Ok(answer)
    }

    /// A publisher that comes another way than by WHIP feeds the stream from now on.
    pub(crate) async fn publish_outside(
        self: &Arc<Self>,
        stream: &StreamName,
        tracks: Vec<TrackDescription>,
        owner: Owner,
    ) -> Result<Outside, Refused> {
        let place = self.take_place(Kind::Publisher, stream, &owner)?;
        let (events, receiver) = mpsc::channel(PACKET_QUEUE);
        let id = SessionId::random();
        let (kind, etag, video_line) = (Kind::Publisher, String::new(), None);
        place.fill(Session { id: id.clone(), kind, stream: stream.clone(), owner, etag, video_line });
        let session = SessionGuard { registry: Arc::clone(self), id };
        let feed = self.node.begin_feed(stream.as_str());
        self.hand_to_stream(stream, NewPublisher { session, tracks, events: receiver }).await;
        Ok(Outside { events, feed })
    }

    /// Answers a viewer's offer; waits a little for a stream that is not on air yet.
    pub(crate) async fn watch(
        self: &Arc<Self>,
        stream: StreamName,
        offer: String,
        owner: Owner,
    ) -> Result<WatchAnswer, Refused> {
        let place = self.take_place(Kind::Viewer, &stream, &owner)?;
        if self.node.broadcast(stream.as_str()).is_none() {
            let patience = Duration::from_millis(self.config.whep.wait_ms);
            let Ok(_waiting) = self.waiting.try_acquire() else { return Err(WatchError::NotOnAir.into()) };
            if !self.node.await_broadcast(stream.as_str(), patience).await {
                return Err(WatchError::NotOnAir.into());
            }
        }
        let answer = self.node.watch(WatchRequest { stream: stream.to_string(), offer }).await?;
        tracing::info!(%stream, session = answer.session.short(), "viewer answered");
        place.fill(Session {
            id: answer.session.clone(),
            kind: Kind::Viewer,
            stream,
            owner,
            etag: answer.etag.clone(),
            video_line: video_line(&answer.answer),
        });
        Ok(answer)
    }

    /// What stands behind a session URL.
    pub(crate) fn session(&self, kind: Kind, stream: &StreamName, name: &str) -> Found {
        lock(&self.sessions).find(kind, stream, name)
    }

    /// Trickles candidates to a session, or restarts its ICE.
    pub(crate) async fn patch(
        &self,
        session: &Session,
        patch: PatchRequest,
    ) -> Result<PatchAnswer, PatchError> {
        let outcome = self.node.patch(&session.id, patch).await;
        match &outcome {
            Ok(PatchAnswer::Restarted { etag, .. }) => lock(&self.sessions).set_etag(&session.id, etag),
            Err(PatchError::Gone) => self.note_gone(session.kind, &session.id),
            Ok(PatchAnswer::Trickled) | Err(_) => {}
        }
        outcome
    }

    /// Changes what a viewer gets. False when the viewer is gone.
    pub(crate) fn control(&self, session: &Session, control: ViewerControl) -> bool {
        let done = self.node.control(&session.id, control);
        if !done {
            self.note_gone(session.kind, &session.id);
        }
        done
    }

    /// Ends a session.
    pub(crate) fn end(&self, session: &Session) {
        // False says that it was ending already.
        let _was_open = self.node.close(&session.id);
        self.note_gone(session.kind, &session.id);
    }

    /// What is on air under this name, for WebRTC viewers.
    pub(crate) fn broadcast(&self, stream: &StreamName) -> Option<BroadcastInfo> {
        self.node.broadcast(stream.as_str())
    }

    /// The same, now and whenever it changes.
    pub(crate) fn broadcast_changes(&self, stream: &StreamName) -> watch::Receiver<Option<BroadcastInfo>> {
        self.broadcasts.subscribe(&self.node, stream)
    }

    /// Opens an event stream of a viewer: its number, or `None` when there are too many.
    pub(crate) fn open_events(&self, session: &Session, events: Vec<&'static str>) -> Option<u32> {
        lock(&self.sessions).open_events(&session.id, events)
    }

    /// Reads one of them.
    pub(crate) fn read_events(&self, session: &Session, number: u32) -> Option<EventStreamReader> {
        lock(&self.sessions).read_events(&session.id, number)
    }

    /// Closes one of them; false when there is none of that number.
    pub(crate) fn close_events(&self, session: &Session, number: u32) -> bool {
        lock(&self.sessions).close_events(&session.id, number)
    }

    /// Fails when the session ends.
    pub(crate) fn end_of(&self, session: &Session) -> Option<watch::Receiver<()>> {
        lock(&self.sessions).end_of(&session.id)
    }

    /// Where HLS is asked for of a stream that is on air or ended a moment ago.
    pub(crate) fn hls(&self, stream: &StreamName) -> Option<HlsDesk> {
        lock(&self.streams).get(stream).map(StreamHandle::hls)
    }

    /// Where old segments go, if they do.
    pub(crate) const fn dvr_disk(&self) -> Option<&DvrDisk> {
        self.dvr_disk.as_ref()
    }

    /// Changes an event with a date of a stream. `None` when nothing is on air under this name.
    pub(crate) async fn change_date_range(
        &self,
        stream: &StreamName,
        change: DateRangeChange,
    ) -> Option<Result<Option<DateRange>, DateRangeError>> {
        let commands = lock(&self.streams).get(stream)?.commands.clone();
        let (answer, outcome) = oneshot::channel();
        commands.send(Command::DateRange(Box::new(change), answer)).await.ok()?;
        outcome.await.ok()
    }

    /// Waits for the first playlist of a stream that is encoded on demand, and for no other.
    pub(crate) async fn await_hls(&self, stream: &StreamName) {
        if !self.config.is_on_demand(stream) {
            return;
        }
        let handle = lock(&self.streams).get(stream).cloned();
        if let Some(handle) = handle {
            handle.await_hls().await;
        }
    }

    /// The newest thumbnail of a stream that is on air.
    pub(crate) fn thumbnail(&self, stream: &StreamName) -> Option<Arc<Resource>> {
        lock(&self.streams).get(stream)?.thumbnail()
    }

    /// The processors that all streams share.
    pub(crate) const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Counts an HLS player among the audience of a stream that is on air.
    pub(crate) fn note_hls_player(&self, stream: &StreamName, player: PlayerKey) {
        if let Some(handle) = lock(&self.streams).get(stream) {
            handle.note_player(player);
        }
    }

    /// Says that some stream's status has changed, or that there is one stream less.
    pub(crate) fn note_change(&self) {
        self.changed.notify_one();
    }

    /// Waits for the next change; changes between two calls are not missed. For one task only: it takes what it waits for.
    pub(crate) async fn next_change(&self) {
        self.changed.notified().await;
    }

    /// What a stream does.
    pub(crate) fn status(&self, stream: &StreamName) -> Option<Arc<Status>> {
        lock(&self.streams).get(stream).map(StreamHandle::status)
    }

    /// What every stream does, by name.
    pub(crate) fn statuses(&self) -> Vec<Arc<Status>> {
        lock(&self.streams).values().map(StreamHandle::status).collect()
    }

    /// Forgets a stream that has ended, unless a publisher has come to it meanwhile. The stream task calls this last.
    pub(crate) fn forget(&self, stream: &StreamName, commands: &mut mpsc::Receiver<Command>) -> bool {
        let mut streams = lock(&self.streams);
        if !commands.is_empty() {
            return false;
        }
        commands.close();
        streams.remove(stream);
        self.note_change();
        true
    }

    /// Ends all streams. The node's threads end, and tell their peers, when the registry goes.
    pub(crate) async fn shut_down(&self) {
        let handles: Vec<StreamHandle> = lock(&self.streams).values().cloned().collect();
        let ends = handles.iter().map(|handle| handle.commands.send(Command::ShutDown));
        let all = async {
            for sent in futures_util::future::join_all(ends).await {
                if sent.is_err() {
                    tracing::debug!("a stream had ended already");
                }
            }
            for handle in &handles {
                handle.commands.closed().await;
            }
        };
        if tokio::time::timeout(SHUT_DOWN, all).await.is_err() {
            tracing::warn!("some streams did not end in time");
        }
    }

    fn take_place(
        self: &Arc<Self>,
        kind: Kind,
        stream: &StreamName,
        owner: &Owner,
    ) -> Result<Place, NoPlace> {
        let limits = &self.config.limits;
        let bounds = Bounds {
            per_address: limits.sessions_per_address,
            viewers_per_stream: limits.viewers_per_stream,
        };
        lock(&self.sessions).take_place(kind, stream, owner.address, bounds)?;
        Ok(Place {
            registry: Arc::clone(self),
            kind,
            stream: stream.clone(),
            owner: owner.clone(),
            filled: false,
        })
    }

    /// A viewer that is gone leaves the table; a publisher does so with its [`SessionGuard`], when its stream has seen the end.
    fn note_gone(&self, kind: Kind, id: &SessionId) {
        if kind == Kind::Viewer {
            lock(&self.sessions).remove(id);
        }
    }

    /// Waits until ICE and DTLS are up, so that a publisher who cannot connect disturbs nobody, then hands the
    /// session to its stream.
    async fn await_connection(self: Arc<Self>, stream: StreamName, mut publisher: NewPublisher) {
        match publisher.events.recv().await {
            Some(PublisherEvent::Connected) => {}
            Some(PublisherEvent::Closed { reason }) => {
                tracing::info!(%stream, session = publisher.session.id().short(), %reason, "publisher never connected");
                return;
            }
            Some(PublisherEvent::Packet { .. } | PublisherEvent::SenderReport { .. }) | None => {
                tracing::error!(%stream, session = publisher.session.id().short(), "the node spoke out of turn");
                return;
            }
        }
        self.hand_to_stream(&stream, publisher).await;
    }

    /// Lets a publisher that has connected feed its stream, which begins with it if there is none.
    async fn hand_to_stream(self: &Arc<Self>, stream: &StreamName, publisher: NewPublisher) {
        let mut command = Command::Publish(publisher);
        // A stream may be ending just now; then the next round makes a new one.
        loop {
            let handle = lock(&self.streams)
                .entry(stream.clone())
                .or_insert_with(|| stream::start(Arc::clone(self), stream.clone()))
                .clone();
            match handle.commands.send(command).await {
                Ok(()) => return,
                Err(refused) => command = refused.0,
            }
            let mut streams = lock(&self.streams);
            if streams.get(stream).is_some_and(|h| h.commands.is_closed()) {
                streams.remove(stream);
            }
        }
    }
}

/// A publisher that comes another way than by WHIP. It feeds its stream for as long as it lives.
pub(crate) struct Outside {
    /// What happens, for the stream's task; closed when that has let go of this publisher.
    pub(crate) events: mpsc::Sender<PublisherEvent>,
    /// The same packets, for WebRTC viewers.
    pub(crate) feed: SourceFeed,
}

impl Outside {
    /// Ends it, and says why.
    pub(crate) async fn close(self, reason: CloseReason) {
        // A stream that has let go of it already need not be told.
        let _let_go = self.events.send(PublisherEvent::Closed { reason }).await;
    }
}

/// A place that was taken for a session; dropping it unfilled (the offer was refused, the client hung up) gives it back.
struct Place {
    registry: Arc<Registry>,
    kind: Kind,
    stream: StreamName,
    owner: Owner,
    filled: bool,
}

impl Place {
    fn fill(mut self, session: Session) {
        self.filled = true;
        lock(&self.registry.sessions).insert(session);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.filled {
            lock(&self.registry.sessions).give_back(self.kind, &self.stream, self.owner.address);
        }
    }
}

/// Forgets viewers whose sessions the node has ended, until the registry is gone.
pub(crate) async fn sweep(registry: Weak<Registry>) {
    let mut interval = tokio::time::interval(SWEEP);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let Some(registry) = registry.upgrade() else { return };
        let viewers = lock(&registry.sessions).viewers();
        for id in viewers {
            if !registry.node.is_open(&id) {
                registry.note_gone(Kind::Viewer, &id);
            }
        }
    }
}

/// Position of the first video section of an SDP answer, counted from zero.
fn video_line(answer: &str) -> Option<usize> {
    answer.lines().filter(|line| line.starts_with("m=")).position(|line| line.starts_with("m=video "))
}

/// The maps are plain values, whole after every statement: a panic elsewhere leaves nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
