//! A relay thread: sockets, sessions, timers and commands of one core, in one loop.
//!
//! What belongs here: moving datagrams between sockets and sessions, and waking sessions in time. What does not: anything about SDP,
//! codecs or RTP. Viewers will be sessions beside the publishers; what a publisher brings is handed on in [`crate::peer`].

use crate::demux::Demux;
use crate::error::NodeError;
use crate::id::SessionId;
use crate::peer::{Outgoing, Peer};
use crate::publisher::CloseReason;
use crate::socket::{MediaSocket, Path, ReceiveBatch};
use crate::stats::Counters;
use crate::timers::{Key, Timers};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use skywave_media::ingest::TrackId;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::Instant;
use tokio::sync::oneshot;

/// Reads of one socket before commands and timers get their turn: about 500 datagrams.
const READS_PER_TURN: usize = 32;
/// Larger datagrams are nobody's: media fits into an Ethernet frame.
const MAX_DATAGRAM: usize = 2_048;
/// Addresses of one peer that are answered at the same time.
const MAX_PATHS: usize = 8;
/// Addresses of one peer over its life. str0m remembers each, so they are counted; a NAT that rebinds hourly needs ten days.
const MAX_PATHS_EVER: usize = 256;
const WAKE: Token = Token(usize::MAX);

/// What the rest of the node asks of a thread.
pub(crate) enum Command {
    /// Takes a session in; `ready` is told when its first packet would find it.
    Open { peer: Box<Peer>, ready: oneshot::Sender<()> },
    /// Ends a session.
    Close(SessionId),
    /// Asks a publisher for a keyframe.
    Keyframe(SessionId, TrackId),
    /// Ends all sessions and the thread.
    Shutdown,
}

/// What other threads see of a relay thread.
#[derive(Debug)]
pub(crate) struct ThreadHandle {
    commands: mpsc::Sender<Command>,
    waker: Waker,
    pub(crate) counters: Arc<Counters>,
    pub(crate) addrs: Vec<SocketAddr>,
    pub(crate) candidates: Vec<SocketAddr>,
    /// Keyframe requests on their way: the only commands that are not bounded by the number of sessions.
    pending_keyframes: Arc<AtomicUsize>,
    join: Option<std::thread::JoinHandle<()>>,
}

/// Keyframe requests that may wait for a thread; beyond that it is too late for them anyway.
const MAX_PENDING_KEYFRAMES: usize = 1_024;

impl ThreadHandle {
    /// False when the thread is gone.
    pub(crate) fn send(&self, command: Command) -> bool {
        let keyframe = matches!(command, Command::Keyframe(..));
        if keyframe && self.pending_keyframes.fetch_add(1, Relaxed) >= MAX_PENDING_KEYFRAMES {
            self.pending_keyframes.fetch_sub(1, Relaxed);
            return true;
        }
        self.commands.send(command).is_ok() && self.waker.wake().is_ok()
    }

    pub(crate) fn join(&mut self) {
        if let Some(join) = self.join.take()
            && join.join().is_err()
        {
            tracing::error!(addrs = ?self.addrs, "a relay thread had died");
        }
    }
}

/// Told when a session is gone: the node's table of names.
pub(crate) type OnGone = Box<dyn Fn(&SessionId) + Send>;

/// Starts a thread on `sockets`.
pub(crate) fn start(
    name: String,
    sockets: Vec<MediaSocket>,
    candidates: Vec<SocketAddr>,
    on_gone: OnGone,
) -> Result<ThreadHandle, NodeError> {
    let poll = Poll::new()?;
    for (index, socket) in sockets.iter().enumerate() {
        let fd = socket.inner().as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), Token(index), Interest::READABLE)?;
    }
    let waker = Waker::new(poll.registry(), WAKE)?;
    let (commands, inbox) = mpsc::channel();
    let counters = Arc::new(Counters::default());
    let pending_keyframes = Arc::new(AtomicUsize::new(0));
    let addrs = sockets.iter().map(MediaSocket::addr).collect();
    let thread = RelayThread {
        poll,
        readable: vec![true; sockets.len()],
        sockets,
        candidates: candidates.clone(),
        inbox,
        pending_keyframes: pending_keyframes.clone(),
        sessions: HashMap::new(),
        names: HashMap::new(),
        demux: Demux::default(),
        timers: Timers::default(),
        next_key: 0,
        counters: counters.clone(),
        on_gone,
    };
    let join = std::thread::Builder::new().name(name).spawn(move || thread.run())?;
    Ok(ThreadHandle { commands, waker, counters, addrs, candidates, pending_keyframes, join: Some(join) })
}

struct RelayThread {
    poll: Poll,
    sockets: Vec<MediaSocket>,
    /// Which sockets may hold datagrams: epoll tells only of changes.
    readable: Vec<bool>,
    candidates: Vec<SocketAddr>,
    inbox: mpsc::Receiver<Command>,
    pending_keyframes: Arc<AtomicUsize>,
    sessions: HashMap<Key, Session>,
    names: HashMap<SessionId, Key>,
    demux: Demux,
    timers: Timers,
    next_key: Key,
    counters: Arc<Counters>,
    on_gone: OnGone,
}

/// A peer and what its thread must remember of it.
struct Session {
    peer: Peer,
    /// Most recently used last.
    paths: Vec<Path>,
    paths_ever: usize,
    /// The soonest entry in the timers.
    timer: Option<Instant>,
}

impl RelayThread {
    fn run(mut self) {
        let mut events = Events::with_capacity(64);
        let mut batch = ReceiveBatch::new();
        loop {
            // A fault in the loop itself costs this thread's sessions, never the thread.
            let turn = catch_unwind(AssertUnwindSafe(|| self.turn(&mut events, &mut batch)));
            match turn {
                Ok(Ok(ControlFlow::Continue(()))) => {}
                Ok(Ok(ControlFlow::Break(()))) => break,
                Ok(Err(error)) => {
                    tracing::error!(%error, "a relay thread cannot wait for its sockets; it ends");
                    break;
                }
                Err(_) => {
                    Counters::one(&self.counters.panics);
                    tracing::error!("fault in a relay thread: its sessions are closed");
                    self.close_all(&CloseReason::Failed { detail: "fault in the relay thread".to_owned() });
                }
            }
        }
        self.close_all(&CloseReason::Shutdown);
    }

    fn turn(&mut self, events: &mut Events, batch: &mut ReceiveBatch) -> io::Result<ControlFlow<()>> {
        let timeout = if self.readable.contains(&true) {
            Some(std::time::Duration::ZERO)
        } else {
            self.timers.next().map(|at| at.saturating_duration_since(Instant::now()))
        };
        match self.poll.poll(events, timeout) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
            _ => {}
        }
        for event in events.iter() {
            if let Some(readable) = self.readable.get_mut(event.token().0) {
                *readable = true;
            }
        }
        if self.take_commands().is_break() {
            return Ok(ControlFlow::Break(()));
        }
        for socket in 0..self.sockets.len() {
            self.read(socket, batch);
        }
        self.wake_sessions(Instant::now());
        Ok(ControlFlow::Continue(()))
    }

    fn take_commands(&mut self) -> ControlFlow<()> {
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Open { peer, ready }) => {
                    self.open(*peer);
                    // The client may have gone away meanwhile; then the session dies of its connect timeout.
                    let _ = ready.send(());
                }
                Ok(Command::Close(id)) => {
                    if let Some(&key) = self.names.get(&id) {
                        self.with(key, |peer, _, _| peer.finish(CloseReason::Requested));
                    }
                }
                Ok(Command::Keyframe(id, track)) => {
                    self.pending_keyframes.fetch_sub(1, Relaxed);
                    if let Some(&key) = self.names.get(&id) {
                        self.with(key, |peer, now, out| peer.request_keyframe(track, now, out));
                    }
                }
                Ok(Command::Shutdown) | Err(mpsc::TryRecvError::Disconnected) => {
                    return ControlFlow::Break(());
                }
                Err(mpsc::TryRecvError::Empty) => return ControlFlow::Continue(()),
            }
        }
    }

    fn open(&mut self, peer: Peer) {
        let key = self.next_key;
        self.next_key += 1;
        self.demux.expect(peer.ufrag.clone(), key);
        self.names.insert(peer.id.clone(), key);
        self.sessions.insert(key, Session { peer, paths: Vec::new(), paths_ever: 0, timer: None });
        Counters::one(&self.counters.sessions);
        self.with(key, |peer, now, out| peer.handle_timeout(now, out));
    }

    fn read(&mut self, socket: usize, batch: &mut ReceiveBatch) {
        for _ in 0..READS_PER_TURN {
            if !self.readable[socket] {
                return;
            }
            match self.sockets[socket].receive(batch) {
                Ok(()) => {
                    let now = Instant::now();
                    for (remote, local_ip, datagram) in batch.datagrams() {
                        self.handle_datagram(Path { remote, socket, local_ip }, datagram, now);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.readable[socket] = false,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::debug!(%error, addr = %self.sockets[socket].addr(), "receiving failed");
                    self.readable[socket] = false;
                }
            }
        }
    }

    fn handle_datagram(&mut self, path: Path, datagram: &[u8], now: Instant) {
        Counters::one(&self.counters.datagrams_in);
        Counters::add(&self.counters.bytes_in, datagram.len() as u64);
        if datagram.is_empty() || datagram.len() > MAX_DATAGRAM {
            return Counters::one(&self.counters.rejected_malformed);
        }
        let Some(key) = self.demux.find(path.remote, datagram) else {
            return Counters::one(&self.counters.rejected_unknown);
        };
        let Some(local) = self.candidate_for(path) else {
            return Counters::one(&self.counters.rejected_unknown);
        };
        let Some(session) = self.sessions.get_mut(&key) else {
            return Counters::one(&self.counters.rejected_unknown);
        };
        let known = session.paths.iter().any(|p| p.remote == path.remote);
        if !known && session.paths_ever >= MAX_PATHS_EVER {
            return Counters::one(&self.counters.rejected_stun);
        }
        let mut well_formed = true;
        let sent = self.with_path(key, Some(path), |peer, out| {
            well_formed = peer.handle_datagram(path.remote, local, datagram, now, out);
        });
        if !well_formed {
            Counters::one(&self.counters.rejected_malformed);
        } else if crate::stun::addressed_ufrag(datagram).is_some() && !sent.answered_stun {
            Counters::one(&self.counters.rejected_stun);
        }
    }

    /// The advertised address that stands for where a datagram arrived: the very one, else (behind NAT 1:1) the first of its family.
    fn candidate_for(&self, path: Path) -> Option<SocketAddr> {
        let mut family = self.candidates.iter().filter(|c| c.is_ipv4() == path.remote.is_ipv4());
        let exact = family.clone().find(|c| Some(c.ip()) == path.local_ip);
        exact.or_else(|| family.next()).copied()
    }

    fn wake_sessions(&mut self, now: Instant) {
        while let Some((key, at)) = self.timers.pop_due(now) {
            let Some(session) = self.sessions.get_mut(&key) else { continue };
            if session.timer == Some(at) {
                session.timer = None;
            }
            if session.peer.due() <= now {
                self.with(key, |peer, now, out| peer.handle_timeout(now, out));
            } else {
                let due = session.peer.due();
                session.timer = Some(self.timers.set(key, due, session.timer));
            }
        }
    }

    fn with(&mut self, key: Key, act: impl FnOnce(&mut Peer, Instant, &mut Vec<Outgoing>)) {
        let now = Instant::now();
        self.with_path(key, None, |peer, out| act(peer, now, out));
    }

    /// Lets `act` work on a session, sends what comes out, and buries the session when it is over. `path` is where the datagram
    /// came from that caused it.
    fn with_path(
        &mut self,
        key: Key,
        path: Option<Path>,
        act: impl FnOnce(&mut Peer, &mut Vec<Outgoing>),
    ) -> Sent {
        let mut sent = Sent::default();
        let Some(session) = self.sessions.get_mut(&key) else { return sent };
        let mut out = Vec::new();
        let peer = &mut session.peer;
        let whole = || {
            act(peer, &mut out);
            if peer.end().is_some() {
                peer.say_goodbye(Instant::now(), &mut out);
            }
        };
        let fault = catch_unwind(AssertUnwindSafe(whole)).is_err();
        for outgoing in &out {
            let answer = path.filter(|p| p.remote == outgoing.destination);
            let proved = answer.filter(|_| crate::stun::is_binding_success(&outgoing.contents));
            if let Some(path) = proved {
                sent.answered_stun = true;
                session.remember(key, path, &mut self.demux);
            }
            let known = session.paths.iter().find(|p| p.remote == outgoing.destination).copied();
            let Some(path) = answer.or(known) else { continue };
            match self.sockets[path.socket].send(path, &outgoing.contents) {
                Ok(()) => {
                    Counters::one(&self.counters.datagrams_out);
                    Counters::add(&self.counters.bytes_out, outgoing.contents.len() as u64);
                }
                Err(_) => Counters::one(&self.counters.send_errors),
            }
        }
        if fault {
            Counters::one(&self.counters.panics);
            tracing::error!(stream = %session.peer.stream, session = session.peer.id.short(), "fault in a session: it is closed");
            session.peer.finish(CloseReason::Failed { detail: "fault in the session".to_owned() });
        }
        if session.peer.end().is_some() {
            self.bury(key);
        } else {
            let due = session.peer.due();
            session.timer = Some(self.timers.set(key, due, session.timer));
        }
        sent
    }

    /// Forgets everything about a session, then tells who waits for it.
    fn bury(&mut self, key: Key) {
        let Some(session) = self.sessions.remove(&key) else { return };
        for path in &session.paths {
            self.demux.forget_route(path.remote, key);
        }
        self.demux.forget_ufrag(&session.peer.ufrag);
        self.names.remove(&session.peer.id);
        self.counters.sessions.fetch_sub(1, Relaxed);
        Counters::one(&self.counters.sessions_closed);
        if let Some(reason) = session.peer.end() {
            tracing::info!(stream = %session.peer.stream, session = session.peer.id.short(), %reason, "publisher closed");
        }
        (self.on_gone)(&session.peer.id);
        session.peer.tell_closed();
    }

    fn close_all(&mut self, reason: &CloseReason) {
        let keys: Vec<Key> = self.sessions.keys().copied().collect();
        for key in keys {
            self.with(key, |peer, _, _| peer.finish(reason.clone()));
        }
        // Nothing may be left behind for a session that broke in the middle of its own end.
        let left: Vec<Key> = self.sessions.keys().copied().collect();
        left.into_iter().for_each(|key| self.bury(key));
        debug_assert!(self.demux.is_empty() && self.names.is_empty());
    }
}

/// What came of letting a session act.
#[derive(Debug, Default)]
struct Sent {
    /// A STUN request was authentic and has been answered.
    answered_stun: bool,
}

impl Session {
    /// Notes a path that the peer has proved to own.
    fn remember(&mut self, key: Key, path: Path, demux: &mut Demux) {
        let before = self.paths.len();
        self.paths.retain(|p| p.remote != path.remote);
        if self.paths.len() == before {
            self.paths_ever += 1;
            if self.paths.len() >= MAX_PATHS {
                let oldest = self.paths.remove(0);
                demux.forget_route(oldest.remote, key);
            }
        }
        self.paths.push(path);
        demux.learn(path.remote, key);
    }
}
