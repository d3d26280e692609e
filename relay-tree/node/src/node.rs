//! A node: its relay threads, and the doors through which publishers and viewers come in.

use crate::addresses;
use crate::answer::{LocalSide, Source, write_answer, write_fragment};
use crate::clock::ClockPair;
use crate::config::NodeConfig;
use crate::dtls;
use crate::error::{NodeError, OfferError};
use crate::fragment::Fragment;
use crate::hub::{Broadcast, Hub};
use crate::id::{SessionId, random_hex};
use crate::offer::{self, Offer, Role};
use crate::peer::{EventSink, Opening, Peer, PeerDefaults};
use crate::publisher::{PublishAnswer, PublishRequest, TrackDescription};
use crate::rendition::RenditionFeed;
use crate::socket::{self, Buffers, MediaSocket};
use crate::source_feed::SourceFeed;
use crate::stats::NodeStats;
use crate::tcp::TcpSide;
use crate::thread::{self, Command, Equipment, Port, ThreadHandle};
use crate::viewer::{Viewer, ViewerOpening};
use crate::viewing::{
    BroadcastInfo, PatchAnswer, PatchError, PatchRequest, ViewerControl, ViewerStats, WatchAnswer,
    WatchError, WatchRequest,
};
use skywave_media::codec::TrackKind;
use skywave_media::ingest::TrackId;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use str0m::IceCreds;
use tokio::sync::oneshot;

/// WebRTC for one machine: takes offers, gives packets.
#[derive(Debug)]
pub struct Node {
    threads: Vec<ThreadHandle>,
    pub(crate) hub: Arc<Hub>,
    sessions: Sessions,
    defaults: Arc<PeerDefaults>,
    /// `a=fingerprint` of the node's certificate.
    fingerprint: String,
    max_sessions: usize,
    max_offer_bytes: usize,
    max_viewers: usize,
    tcp: bool,
}

/// What the node knows of a session that is alive. Touched when sessions come, go and restart, by no packet.
#[derive(Debug, Clone)]
struct Entry {
    thread: usize,
    /// Strong entity tag of the ICE session, with its quotes.
    etag: String,
    /// User fragment of the client.
    remote_ufrag: String,
    /// The first section of the bundle, for fragments: `audio` or `video`, and its tag.
    first: (TrackKind, String),
    viewer: bool,
}

type Sessions = Arc<Mutex<HashMap<SessionId, Entry>>>;

fn lock(sessions: &Sessions) -> MutexGuard<'_, HashMap<SessionId, Entry>> {
    // The table is whole between any two statements, so a panic elsewhere does not spoil it.
    sessions.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ports tried until UDP and TCP have the same one.
const PORT_ATTEMPTS: usize = 16;

impl Node {
    /// Opens the sockets and starts the threads.
    ///
    /// # Errors
    ///
    /// When a port is taken, or nothing can be advertised; see [`NodeError`].
    pub fn start(config: NodeConfig) -> Result<Self, NodeError> {
        let count = config.threads.max(1);
        let last = u16::try_from(count - 1).ok().and_then(|n| config.media_port.checked_add(n));
        if last.is_none() {
            return Err(NodeError::PortsExhausted { media_port: config.media_port, threads: count });
        }
        let certificate = dtls::make_certificate().map_err(|e| NodeError::Certificate(e.to_string()))?;
        let fingerprint =
            openssl::sha::sha256(&certificate.certificate).map(|b| format!("{b:02X}")).join(":");
        let sessions = Sessions::default();
        let prepared = (0..count).map(|_| thread::prepare()).collect::<Result<Vec<_>, _>>()?;
        let ports: Arc<[Port]> = prepared.iter().map(|p| p.port.clone()).collect();
        let mut threads = Vec::with_capacity(count);
        for (index, prepared) in prepared.into_iter().enumerate() {
            let offset = u16::try_from(index).expect("the last port was checked");
            let port = if config.media_port == 0 { 0 } else { config.media_port + offset };
            threads.push(thread::start(prepared, equip(index, &config, port, &sessions)?)?);
        }
        let defaults = Arc::new(PeerDefaults {
            crypto: Arc::new(dtls::crypto_provider()),
            certificate,
            connect_timeout: config.connect_timeout,
            silence_timeout: config.silence_timeout,
            viewer_timeout: config.viewer_timeout,
            max_publish_bitrate: config.max_publish_bitrate,
            clock: ClockPair::new(),
        });
        Ok(Self {
            threads,
            hub: Arc::new(Hub::new(ports)),
            sessions,
            defaults,
            fingerprint: format!("sha-256 {fingerprint}"),
            max_sessions: config.max_sessions,
            max_offer_bytes: config.max_offer_bytes,
            max_viewers: config.max_viewers,
            tcp: config.tcp,
        })
    }

    /// Answers a publisher's offer. When this returns, the session waits for its first packet.
    ///
    /// # Errors
    ///
    /// What is wrong with the offer, or that there is no room ([`OfferError::is_clients_fault`] tells which). Nothing is kept.
    pub async fn publish(&self, request: PublishRequest) -> Result<PublishAnswer, OfferError> {
        let offer = offer::judge(&request.offer, self.max_offer_bytes, Role::Publisher)?;
        let sink = EventSink::new(request.events).ok_or(OfferError::StreamGone)?;
        let id = SessionId::random();
        let entry = self.admit(&id, &offer)?;
        let thread = &self.threads[entry.thread];
        let credentials = new_credentials();
        let answer = write_answer(&offer, self.local_side(&credentials, &thread.candidates, &[]));
        let opening = Opening {
            id: id.clone(),
            stream: request.stream,
            credentials,
            candidates: &thread.candidates,
            tcp: self.tcp,
            sink,
            counters: thread.counters.clone(),
            defaults: self.defaults.clone(),
            hub: self.hub.clone(),
            thread: entry.thread,
        };
        // The offer is judged, so str0m has no reason to panic; should it, the client is told and nothing else suffers.
        let Ok(peer) = catch_unwind(AssertUnwindSafe(|| Peer::new(&offer, opening))) else {
            lock(&self.sessions).remove(&id);
            return Err(OfferError::Internal("the WebRTC engine failed".to_owned()));
        };
        let (ready, is_ready) = oneshot::channel();
        self.hand_over(&id, entry.thread, Command::Publish { peer: Box::new(peer), ready }, is_ready).await?;
        let tracks = describe(&offer);
        Ok(PublishAnswer { session: id, answer, etag: entry.etag, tracks })
    }

    /// Answers a viewer's offer. When this returns, the session waits for its first packet.
    ///
    /// # Errors
    ///
    /// Nothing is on air, the offer is at fault, or there is no room. Nothing is kept.
    pub async fn watch(&self, request: WatchRequest) -> Result<WatchAnswer, WatchError> {
        let offer = offer::judge(&request.offer, self.max_offer_bytes, Role::Viewer)?;
        let broadcast = self.hub.find(&request.stream).ok_or(WatchError::NotOnAir)?;
        self.let_in(&broadcast, offer).await
    }

    /// Makes a session of a viewer's offer. The broadcast may end meanwhile.
    pub(crate) async fn let_in(
        &self,
        broadcast: &Arc<Broadcast>,
        offer: Offer,
    ) -> Result<WatchAnswer, WatchError> {
        let on_air = broadcast.video_codecs();
        let offer = offer.for_stream(&on_air)?;
        let id = SessionId::random();
        let entry = self.admit(&id, &offer)?;
        if !broadcast.take_place(self.max_viewers) {
            lock(&self.sessions).remove(&id);
            return Err(WatchError::Full { limit: self.max_viewers });
        }
        let thread = &self.threads[entry.thread];
        let credentials = new_credentials();
        let sources: Vec<Source> = offer.tracks.iter().map(|t| new_source(t.has_rtx())).collect();
        let answer = write_answer(&offer, self.local_side(&credentials, &thread.candidates, &sources));
        let opening = ViewerOpening {
            id: id.clone(),
            broadcast: Arc::clone(broadcast),
            credentials,
            sources,
            counters: thread.counters.clone(),
            defaults: self.defaults.clone(),
        };
        let viewer = Viewer::new(&offer, opening).map_err(|words| {
            broadcast.leave_place();
            lock(&self.sessions).remove(&id);
            OfferError::Internal(words)
        })?;
        let (ready, is_ready) = oneshot::channel();
        self.hand_over(&id, entry.thread, Command::Watch { viewer: Box::new(viewer), ready }, is_ready)
            .await?;
        if broadcast.has_ended() {
            // Its viewers were told while this one was on its way, and nobody will tell this one.
            self.close(&id);
            return Err(WatchError::NotOnAir);
        }
        let tracks = describe(&offer);
        Ok(WatchAnswer { session: id, answer, etag: entry.etag, tracks })
    }

    /// Takes a PATCH of a publisher's or viewer's session: candidates, or an ICE restart (RFC 9725 section 4.3).
    ///
    /// # Errors
    ///
    /// See [`PatchError`]; the session stays as it was.
    pub async fn patch(&self, session: &SessionId, patch: PatchRequest) -> Result<PatchAnswer, PatchError> {
        let entry = lock(&self.sessions).get(session).cloned().ok_or(PatchError::Gone)?;
        let wanted = patch.if_match.as_deref().map(str::trim).ok_or(PatchError::PreconditionRequired)?;
        let any = wanted == "*";
        // Strong comparison (RFC 9110 section 8.8.3.2): a weak tag matches nothing.
        if !any && !wanted.split(',').any(|tag| tag.trim() == entry.etag) {
            return Err(PatchError::PreconditionFailed);
        }
        let fragment = Fragment::parse(&patch.fragment)?;
        let news = fragment.credentials.filter(|(ufrag, _)| *ufrag != entry.remote_ufrag);
        match news {
            None if any => {
                Err(PatchError::Unsupported("a restart (If-Match: *) brings a new ice-ufrag and ice-pwd"))
            }
            // Whoever knows the password is answered wherever it asks from: the candidates themselves are not needed.
            None => Ok(PatchAnswer::Trickled),
            Some(_) if !any => Err(PatchError::Unsupported(
                "new ICE credentials mean a restart, which is asked for by If-Match: *",
            )),
            Some((ufrag, pass)) => self.restart(session, entry, IceCreds { ufrag, pass }).await,
        }
    }

    async fn restart(
        &self,
        session: &SessionId,
        entry: Entry,
        remote: IceCreds,
    ) -> Result<PatchAnswer, PatchError> {
        let thread = &self.threads[entry.thread];
        let (local, etag) = (new_credentials(), new_etag());
        let (kind, mid) = &entry.first;
        let side = self.local_side(&local, &thread.candidates, &[]);
        let fragment = write_fragment(side, kind.as_str(), mid);
        {
            let mut sessions = lock(&self.sessions);
            let known = sessions.get_mut(session).ok_or(PatchError::Gone)?;
            known.etag.clone_from(&etag);
            known.remote_ufrag.clone_from(&remote.ufrag);
        }
        let (ready, is_ready) = oneshot::channel();
        let command = Command::RestartIce { session: session.clone(), local, remote, ready };
        if !thread.port.send(command) || is_ready.await.is_err() {
            return Err(PatchError::Gone);
        }
        Ok(PatchAnswer::Restarted { fragment, etag })
    }

    /// Changes what a viewer gets. False when there is no such viewer.
    pub fn control(&self, session: &SessionId, control: ViewerControl) -> bool {
        let entry = lock(&self.sessions).get(session).cloned();
        entry.is_some_and(|entry| {
            entry.viewer && self.threads[entry.thread].port.send(Command::Control(session.clone(), control))
        })
    }

    /// What is on air under this name; `None` when nothing is, not even a publisher that may return.
    pub fn broadcast(&self, stream: &str) -> Option<BroadcastInfo> {
        self.hub.find(stream).map(|broadcast| broadcast.info())
    }

    /// Waits until something is on air under this name; false when that took longer than `patience`. Nothing is kept of the name.
    pub async fn await_broadcast(&self, stream: &str, patience: Duration) -> bool {
        self.hub.await_broadcast(stream, patience).await
    }

    /// Ends a stream for its viewers: their sessions are closed. The stream's owner calls it when its grace time is over. Nothing
    /// happens while a publisher feeds it.
    pub fn end_broadcast(&self, stream: &str) {
        self.hub.end(stream);
    }

    /// Takes H.264 frames of a stream for viewers that cannot decode what is published.
    pub fn rendition(&self, stream: &str) -> RenditionFeed {
        RenditionFeed::new(self.hub.clone(), stream)
    }

    /// A publisher that comes another way than by WebRTC feeds a stream from now on, for as long as the feed lives. It takes over from the
    /// one before, as a session does when it has connected.
    pub fn begin_feed(&self, stream: &str) -> SourceFeed {
        let thread = self.least_loaded(lock(&self.sessions).len());
        SourceFeed::begin(&self.hub, stream, thread)
    }

    /// The viewers of a stream. Asks every thread, so it takes a turn of their loops.
    pub async fn viewers(&self, stream: &str) -> Vec<ViewerStats> {
        let Some(broadcast) = self.hub.find(stream) else { return Vec::new() };
        let asked: Vec<_> = self.threads.iter().map(|thread| ask_viewers(thread, &broadcast)).collect();
        let mut viewers = Vec::new();
        for answer in asked {
            viewers.extend(answer.await.unwrap_or_default());
        }
        viewers
    }

    /// Ends a session: the peer is told (RTCP BYE, DTLS close_notify), and `Closed` follows. False when there is no such session
    /// any more; calling again does no harm.
    pub fn close(&self, session: &SessionId) -> bool {
        let entry = lock(&self.sessions).remove(session);
        entry.is_some_and(|entry| self.threads[entry.thread].port.send(Command::Close(session.clone())))
    }

    /// Whether a session is alive.
    pub fn is_open(&self, session: &SessionId) -> bool {
        lock(&self.sessions).contains_key(session)
    }

    /// Asks the publisher for a keyframe; wishes are merged to one request a second and source.
    pub fn request_keyframe(&self, session: &SessionId, track: TrackId) {
        let thread = lock(&self.sessions).get(session).map(|entry| entry.thread);
        if let Some(thread) = thread {
            self.threads[thread].port.send(Command::Keyframe(session.clone(), track));
        }
    }

    /// Counters of all threads.
    pub fn stats(&self) -> NodeStats {
        NodeStats { threads: self.threads.iter().map(|t| t.counters.read(&t.addrs)).collect() }
    }

    /// The addresses that the threads listen on.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.threads.iter().flat_map(|t| t.addrs.iter().copied()).collect()
    }

    /// The addresses that peers are told.
    pub fn advertised_addrs(&self) -> Vec<SocketAddr> {
        self.threads.iter().flat_map(|t| t.candidates.iter().copied()).collect()
    }

    /// Ends all sessions and waits for the threads. Dropping the node does the same.
    pub fn shutdown(self) {
        drop(self);
    }

    /// Enters a session into the table, on the thread with the fewest.
    fn admit(&self, id: &SessionId, offer: &Offer) -> Result<Entry, OfferError> {
        let mut sessions = lock(&self.sessions);
        if sessions.len() >= self.max_sessions {
            return Err(OfferError::Overloaded { limit: self.max_sessions });
        }
        let thread = self.least_loaded(sessions.len());
        let first = offer.tracks.first();
        let entry = Entry {
            thread,
            etag: new_etag(),
            remote_ufrag: offer.ice_ufrag.clone(),
            first: first.map_or((TrackKind::Audio, String::new()), |t| (t.kind, t.mid.clone())),
            viewer: offer.role == Role::Viewer,
        };
        sessions.insert(id.clone(), entry.clone());
        Ok(entry)
    }

    /// The thread with the fewest sessions.
    fn least_loaded(&self, sessions: usize) -> usize {
        let load =
            self.threads.iter().map(|t| t.counters.sessions.load(std::sync::atomic::Ordering::Relaxed));
        // Sessions on their way to their thread are not counted there yet; taking turns spreads them all the same.
        let turn = sessions % self.threads.len();
        let threads = self.threads.len();
        load.enumerate()
            .min_by_key(|(index, load)| (*load, (index + threads - turn) % threads))
            .map_or(0, |(index, _)| index)
    }

    /// Gives a new session to its thread and waits until it is there.
    async fn hand_over(
        &self,
        id: &SessionId,
        thread: usize,
        command: Command,
        is_ready: oneshot::Receiver<()>,
    ) -> Result<(), OfferError> {
        if !self.threads[thread].port.send(command) || is_ready.await.is_err() {
            lock(&self.sessions).remove(id);
            return Err(OfferError::Internal("the relay thread is gone".to_owned()));
        }
        Ok(())
    }

    fn local_side<'a>(
        &'a self,
        credentials: &'a IceCreds,
        candidates: &'a [SocketAddr],
        sources: &'a [Source],
    ) -> LocalSide<'a> {
        LocalSide {
            ufrag: &credentials.ufrag,
            pwd: &credentials.pass,
            fingerprint: &self.fingerprint,
            candidates,
            tcp: self.tcp,
            // RFC 8829 section 5.2.1: below 2^62.
            session: rand::random::<u64>() >> 2,
            sources,
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for thread in &self.threads {
            thread.port.send(Command::Shutdown);
        }
        self.threads.iter_mut().for_each(ThreadHandle::join);
    }
}

/// RFC 8839 section 5.4: at least 24 bits of randomness in the fragment, 128 in the password.
fn new_credentials() -> IceCreds {
    IceCreds { ufrag: random_hex(8), pass: random_hex(16) }
}

fn new_etag() -> String {
    format!("\"{}\"", random_hex(8))
}

fn new_source(rtx: bool) -> Source {
    // Zero is what browsers use for probes.
    let ssrc = || rand::random::<u32>().max(1);
    Source { ssrc: ssrc(), rtx: rtx.then(ssrc) }
}

fn describe(offer: &Offer) -> Vec<TrackDescription> {
    let one = |t: &offer::OfferedTrack| TrackDescription { track: t.id, kind: t.kind, codecs: t.codecs() };
    offer.tracks.iter().map(one).collect()
}

fn ask_viewers(thread: &ThreadHandle, broadcast: &Arc<Broadcast>) -> oneshot::Receiver<Vec<ViewerStats>> {
    let (answer, answered) = oneshot::channel();
    thread.port.send(Command::Viewers(Arc::clone(broadcast), answer));
    answered
}

/// Opens the sockets of one thread.
fn equip(index: usize, config: &NodeConfig, port: u16, sessions: &Sessions) -> Result<Equipment, NodeError> {
    let (sockets, tcp) = open_ports(config, port)?;
    let bound: Vec<SocketAddr> = sockets.iter().map(MediaSocket::addr).collect();
    let candidates = addresses::candidates(&bound, &config.advertise, addresses::machine_addresses);
    if candidates.is_empty() {
        return Err(NodeError::NothingToAdvertise);
    }
    tracing::info!(thread = index, ?bound, tcp = config.tcp, ?candidates, "relay thread listens");
    let table = sessions.clone();
    let on_gone = Box::new(move |id: &SessionId| {
        lock(&table).remove(id);
    });
    Ok(Equipment { index, sockets, tcp, candidates, gso: config.gso, on_gone })
}

/// UDP sockets, and TCP listeners on the same port. With any free port asked for, one is sought that both have free.
fn open_ports(config: &NodeConfig, port: u16) -> Result<(Vec<MediaSocket>, TcpSide), NodeError> {
    let buffers = Buffers { receive: config.receive_buffer_bytes, send: config.send_buffer_bytes };
    for attempt in 1.. {
        let sockets = socket::open_all(&config.bind, port, buffers)?;
        if !config.tcp {
            return Ok((sockets, TcpSide::default()));
        }
        let addrs: Vec<SocketAddr> = sockets.iter().map(MediaSocket::addr).collect();
        match TcpSide::listen(&addrs) {
            Ok(tcp) => return Ok((sockets, tcp)),
            Err(NodeError::BindTcp { source, .. })
                if port == 0 && source.kind() == io::ErrorKind::AddrInUse && attempt < PORT_ATTEMPTS => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("the last attempt returns")
}
