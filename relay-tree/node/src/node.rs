//! A node: its relay threads, and the door through which publishers come in.

use crate::addresses;
use crate::answer::{LocalSide, write_answer};
use crate::clock::ClockPair;
use crate::config::NodeConfig;
use crate::dtls;
use crate::error::{NodeError, OfferError};
use crate::id::{SessionId, random_hex};
use crate::offer::{self, Offer};
use crate::peer::{EventSink, Opening, Peer, PeerDefaults};
use crate::publisher::{PublishAnswer, PublishRequest, TrackDescription};
use crate::socket;
use crate::stats::NodeStats;
use crate::thread::{self, Command, ThreadHandle};
use crate::viewing::{
    BroadcastInfo, PatchAnswer, PatchError, PatchRequest, ViewerControl, ViewerStats, WatchAnswer,
    WatchError, WatchRequest,
};
use skywave_media::ingest::TrackId;
use std::collections::HashMap;
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
    sessions: Sessions,
    defaults: Arc<PeerDefaults>,
    /// `a=fingerprint` of the node's certificate.
    fingerprint: String,
    max_sessions: usize,
    max_offer_bytes: usize,
}

/// The thread of each session that is alive. Touched when sessions come and go, by no packet.
type Sessions = Arc<Mutex<HashMap<SessionId, usize>>>;

fn lock(sessions: &Sessions) -> MutexGuard<'_, HashMap<SessionId, usize>> {
    // The table is whole between any two statements, so a panic elsewhere does not spoil it.
    sessions.lock().unwrap_or_else(PoisonError::into_inner)
}

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
        let mut threads = Vec::with_capacity(count);
        for index in 0..count {
            let offset = u16::try_from(index).expect("the last port was checked");
            let port = if config.media_port == 0 { 0 } else { config.media_port + offset };
            threads.push(start_thread(index, &config, port, &sessions)?);
        }
        let defaults = Arc::new(PeerDefaults {
            crypto: Arc::new(dtls::crypto_provider()),
            certificate,
            connect_timeout: config.connect_timeout,
            silence_timeout: config.silence_timeout,
            max_publish_bitrate: config.max_publish_bitrate,
            clock: ClockPair::new(),
        });
        Ok(Self {
            threads,
            sessions,
            defaults,
            fingerprint: format!("sha-256 {fingerprint}"),
            max_sessions: config.max_sessions,
            max_offer_bytes: config.max_offer_bytes,
        })
    }

    /// Answers a publisher's offer. When this returns, the session waits for its first packet.
    ///
    /// # Errors
    ///
    /// What is wrong with the offer, or that there is no room ([`OfferError::is_clients_fault`] tells which). Nothing is kept.
    pub async fn publish(&self, request: PublishRequest) -> Result<PublishAnswer, OfferError> {
        let offer = offer::judge(&request.offer, self.max_offer_bytes)?;
        let sink = EventSink::new(request.events).ok_or(OfferError::StreamGone)?;
        let id = SessionId::random();
        let index = self.admit(&id)?;
        let thread = &self.threads[index];
        // RFC 8839 section 5.4: at least 24 bits of randomness in the fragment, 128 in the password.
        let credentials = IceCreds { ufrag: random_hex(8), pass: random_hex(16) };
        let answer = self.write_answer(&offer, &credentials, &thread.candidates);
        let etag = format!("\"{}\"", random_hex(8));
        let opening = Opening {
            id: id.clone(),
            stream: request.stream,
            credentials,
            candidates: &thread.candidates,
            sink,
            counters: thread.counters.clone(),
            defaults: self.defaults.clone(),
        };
        // The offer is judged, so str0m has no reason to panic; should it, the client is told and nothing else suffers.
        let Ok(peer) = catch_unwind(AssertUnwindSafe(|| Peer::new(&offer, opening))) else {
            lock(&self.sessions).remove(&id);
            return Err(OfferError::Internal("the WebRTC engine failed".to_owned()));
        };
        let (ready, is_ready) = oneshot::channel();
        let sent = thread.send(Command::Open { peer: Box::new(peer), ready });
        if !sent || is_ready.await.is_err() {
            lock(&self.sessions).remove(&id);
            return Err(OfferError::Internal("the relay thread is gone".to_owned()));
        }
        let tracks = offer
            .tracks
            .iter()
            .map(|t| TrackDescription { track: t.id, kind: t.kind, codecs: t.codecs() })
            .collect();
        Ok(PublishAnswer { session: id, answer, etag, tracks })
    }

    /// Answers a viewer's offer. When this returns, the session waits for its first packet.
    ///
    /// # Errors
    ///
    /// Nothing is on air, the offer is at fault, or there is no room. Nothing is kept.
    pub async fn watch(&self, _request: WatchRequest) -> Result<WatchAnswer, WatchError> {
        std::future::ready(Err(WatchError::NotOnAir)).await
    }

    /// Takes a PATCH of a publisher's or viewer's session: candidates, or an ICE restart.
    ///
    /// # Errors
    ///
    /// See [`PatchError`]; the session stays as it was.
    pub async fn patch(&self, _session: &SessionId, _patch: PatchRequest) -> Result<PatchAnswer, PatchError> {
        std::future::ready(Err(PatchError::Gone)).await
    }

    /// Changes what a viewer gets. False when there is no such viewer.
    pub fn control(&self, _session: &SessionId, _control: ViewerControl) -> bool {
        false
    }

    /// What is on air under this name; `None` when nothing is, not even a publisher that may return.
    pub fn broadcast(&self, _stream: &str) -> Option<BroadcastInfo> {
        None
    }

    /// Waits until something is on air under this name; false when that took longer than `patience`. Nothing is kept of the name.
    pub async fn await_broadcast(&self, _stream: &str, _patience: Duration) -> bool {
        std::future::ready(false).await
    }

    /// Ends a stream for its viewers: their sessions are closed. The stream's owner calls it when its grace time is over.
    pub fn end_broadcast(&self, _stream: &str) {}

    /// The viewers of a stream. Asks every thread that has some, so it takes a turn of their loops.
    pub async fn viewers(&self, _stream: &str) -> Vec<ViewerStats> {
        std::future::ready(Vec::new()).await
    }

    /// Ends a session: the peer is told (RTCP BYE, DTLS close_notify), and `Closed` follows. False when there is no such session
    /// any more; calling again does no harm.
    pub fn close(&self, session: &SessionId) -> bool {
        let thread = lock(&self.sessions).remove(session);
        thread.is_some_and(|thread| self.threads[thread].send(Command::Close(session.clone())))
    }

    /// Asks the publisher for a keyframe. Requests are not merged here; ask at most once a second.
    pub fn request_keyframe(&self, session: &SessionId, track: TrackId) {
        let thread = lock(&self.sessions).get(session).copied();
        if let Some(thread) = thread {
            self.threads[thread].send(Command::Keyframe(session.clone(), track));
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
    fn admit(&self, id: &SessionId) -> Result<usize, OfferError> {
        let mut sessions = lock(&self.sessions);
        if sessions.len() >= self.max_sessions {
            return Err(OfferError::Overloaded { limit: self.max_sessions });
        }
        let mut load = vec![0_usize; self.threads.len()];
        for &thread in sessions.values() {
            load[thread] += 1;
        }
        let thread = load.iter().enumerate().min_by_key(|(_, n)| **n).map_or(0, |(i, _)| i);
        sessions.insert(id.clone(), thread);
        Ok(thread)
    }

    fn write_answer(&self, offer: &Offer, credentials: &IceCreds, candidates: &[SocketAddr]) -> String {
        let local = LocalSide {
            ufrag: &credentials.ufrag,
            pwd: &credentials.pass,
            fingerprint: &self.fingerprint,
            candidates,
            // RFC 8829 section 5.2.1: below 2^62.
            session: rand::random::<u64>() >> 2,
        };
        write_answer(offer, local)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for thread in &self.threads {
            thread.send(Command::Shutdown);
        }
        self.threads.iter_mut().for_each(ThreadHandle::join);
    }
}

fn start_thread(
    index: usize,
    config: &NodeConfig,
    port: u16,
    sessions: &Sessions,
) -> Result<ThreadHandle, NodeError> {
    let sockets = socket::open_all(&config.bind, port, config.receive_buffer_bytes)?;
    let bound: Vec<SocketAddr> = sockets.iter().map(socket::MediaSocket::addr).collect();
    let candidates = addresses::candidates(&bound, &config.advertise, addresses::machine_addresses);
    if candidates.is_empty() {
        return Err(NodeError::NothingToAdvertise);
    }
    tracing::info!(thread = index, ?bound, ?candidates, "relay thread listens");
    let table = sessions.clone();
    let on_gone = Box::new(move |id: &SessionId| {
        lock(&table).remove(id);
    });
    thread::start(format!("relay-{index}"), sockets, candidates, on_gone)
}
