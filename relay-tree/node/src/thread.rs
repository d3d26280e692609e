//! A relay thread: sockets, sessions, timers and commands of one core, in one loop.
//!
//! What belongs here: moving datagrams between sockets and sessions, and waking sessions in time. What does not: anything about SDP,
//! codecs or RTP. Sessions are kept in [`sessions`], what publishers bring goes to viewers in [`feeds`].

mod feeds;
mod sessions;

use crate::demux::Demux;
use crate::egress::Egress;
use crate::error::NodeError;
use crate::feed::FeedItem;
use crate::hub::Broadcast;
use crate::id::SessionId;
use crate::peer::Peer;
use crate::publisher::CloseReason;
use crate::socket::{MediaSocket, Path, ReceiveBatch, Via};
use crate::stats::Counters;
use crate::tcp::{Reading, TcpSide};
use crate::timers::{Key, Timers};
use crate::viewer::Viewer;
use crate::viewing::{ViewerControl, ViewerStats};
use crate::wire::Wire;
use feeds::Feed;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use relay_proto::continuity::SourceId;
use sessions::Session;
use skywave_media::ingest::TrackId;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Instant;
use str0m::IceCreds;
use tokio::sync::oneshot;

/// Reads of one socket before commands and timers get their turn: about 500 datagrams.
const READS_PER_TURN: usize = 32;
/// Larger datagrams are nobody's: media fits into an Ethernet frame.
const MAX_DATAGRAM: usize = 2_048;
const WAKE: Token = Token(usize::MAX);
/// Tokens of TCP listeners begin here, below them are UDP sockets.
const LISTENERS: usize = 1 << 20;
/// Tokens of TCP connections begin here.
const CONNECTIONS: usize = 1 << 21;

/// What the rest of the node asks of a thread.
pub(crate) enum Command {
    /// Takes a publisher in; `ready` is told when its first packet would find it.
    Publish { peer: Box<Peer>, ready: oneshot::Sender<()> },
    /// Takes a viewer in, likewise.
    Watch { viewer: Box<Viewer>, ready: oneshot::Sender<()> },
    /// Ends a session.
    Close(SessionId),
    /// Asks a publisher for a keyframe.
    Keyframe(SessionId, TrackId),
    /// New ICE credentials: ours, the client's user fragment, the client's password.
    RestartIce { session: SessionId, local: IceCreds, remote: IceCreds, ready: oneshot::Sender<()> },
    /// Changes what a viewer gets.
    Control(SessionId, ViewerControl),
    /// What another thread's publisher sends.
    Feed(Arc<Broadcast>, Vec<FeedItem>),
    /// The same from outside the threads: this one, being its home, passes it on.
    Inject(Arc<Broadcast>, Vec<FeedItem>),
    /// A publisher that is no session feeds a broadcast from now on, or no more.
    Outside(Arc<Broadcast>, u64, bool),
    /// Another thread has its first viewer and needs the history.
    History(Arc<Broadcast>, usize),
    /// A viewer on another thread needs a keyframe.
    Demand(Arc<Broadcast>, SourceId),
    /// A broadcast is over.
    EndBroadcast(Arc<Broadcast>),
    /// What the API wants to know of a broadcast's viewers.
    Viewers(Arc<Broadcast>, oneshot::Sender<Vec<ViewerStats>>),
    /// Ends all sessions and the thread.
    Shutdown,
}

/// The way to a thread.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    commands: mpsc::Sender<Command>,
    waker: Arc<Waker>,
    /// The thread has been woken and has not looked yet: one system call is enough.
    woken: Arc<AtomicBool>,
    /// Keyframe requests on their way: commands that are not bounded by the number of sessions.
    pending_keyframes: Arc<AtomicUsize>,
}

/// Keyframe requests that may wait for a thread; beyond that it is too late for them anyway.
const MAX_PENDING_KEYFRAMES: usize = 1_024;

impl Port {
    /// False when the thread is gone.
    pub(crate) fn send(&self, command: Command) -> bool {
        let keyframe = matches!(command, Command::Keyframe(..) | Command::Demand(..));
        if keyframe && self.pending_keyframes.fetch_add(1, Ordering::Relaxed) >= MAX_PENDING_KEYFRAMES {
            self.pending_keyframes.fetch_sub(1, Ordering::Relaxed);
            return true;
        }
        if self.commands.send(command).is_err() {
            return false;
        }
        self.woken.swap(true, Ordering::AcqRel) || self.waker.wake().is_ok()
    }
}

/// What other threads see of a relay thread.
#[derive(Debug)]
pub(crate) struct ThreadHandle {
    pub(crate) port: Port,
    pub(crate) counters: Arc<Counters>,
    pub(crate) addrs: Vec<SocketAddr>,
    pub(crate) candidates: Vec<SocketAddr>,
    join: Option<std::thread::JoinHandle<()>>,
}

impl ThreadHandle {
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

/// A thread that is about to start: it can be sent to already.
pub(crate) struct Prepared {
    poll: Poll,
    inbox: mpsc::Receiver<Command>,
    pub(crate) port: Port,
}

/// Makes the way to a thread.
///
/// # Errors
///
/// When the system has no more descriptors.
pub(crate) fn prepare() -> Result<Prepared, NodeError> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
    let (commands, inbox) = mpsc::channel();
    let port = Port { commands, waker, woken: Arc::default(), pending_keyframes: Arc::default() };
    Ok(Prepared { poll, inbox, port })
}

/// What a thread works with.
pub(crate) struct Equipment {
    pub(crate) index: usize,
    pub(crate) sockets: Vec<MediaSocket>,
    pub(crate) tcp: TcpSide,
    pub(crate) candidates: Vec<SocketAddr>,
    pub(crate) gso: bool,
    pub(crate) on_gone: OnGone,
}

/// Starts a thread.
///
/// # Errors
///
/// When it or its poller cannot be had.
pub(crate) fn start(prepared: Prepared, equipment: Equipment) -> Result<ThreadHandle, NodeError> {
    let Prepared { poll, inbox, port } = prepared;
    let Equipment { index, sockets, mut tcp, candidates, gso, on_gone } = equipment;
    for (index, socket) in sockets.iter().enumerate() {
        let fd = socket.inner().as_raw_fd();
        poll.registry().register(&mut SourceFd(&fd), Token(index), Interest::READABLE)?;
    }
    for (index, listener) in tcp.listeners().enumerate() {
        poll.registry().register(listener, Token(LISTENERS + index), Interest::READABLE)?;
    }
    let counters = Arc::new(Counters::default());
    let addrs = sockets.iter().map(MediaSocket::addr).collect();
    let thread = RelayThread {
        index,
        poll,
        readable: vec![true; sockets.len()],
        wire: Wire { sockets, tcp, gso, counters: Arc::clone(&counters) },
        egress: Egress::new(),
        candidates: candidates.clone(),
        inbox,
        port: port.clone(),
        sessions: HashMap::new(),
        names: HashMap::new(),
        demux: Demux::default(),
        timers: Timers::default(),
        feeds: HashMap::new(),
        dirty: Vec::new(),
        held: None,
        turns: Vec::new(),
        next_key: 0,
        counters: Arc::clone(&counters),
        on_gone,
    };
    let join = std::thread::Builder::new().name(format!("relay-{index}")).spawn(move || thread.run())?;
    Ok(ThreadHandle { port, counters, addrs, candidates, join: Some(join) })
}

struct RelayThread {
    index: usize,
    poll: Poll,
    /// Which sockets may hold datagrams: epoll tells only of changes.
    readable: Vec<bool>,
    wire: Wire,
    egress: Egress,
    candidates: Vec<SocketAddr>,
    inbox: mpsc::Receiver<Command>,
    port: Port,
    sessions: HashMap<Key, Session>,
    names: HashMap<SessionId, Key>,
    demux: Demux,
    timers: Timers,
    /// By the broadcast's number.
    feeds: HashMap<u64, Feed>,
    /// Feeds that have something for their viewers.
    dirty: Vec<u64>,
    /// When the first of them has waited long enough for the rest of a frame.
    held: Option<Instant>,
    /// Viewers that wait for a turn which no packet brings.
    turns: Vec<Key>,
    next_key: Key,
    counters: Arc<Counters>,
    on_gone: OnGone,
}

impl RelayThread {
    fn run(mut self) {
        let mut events = Events::with_capacity(256);
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
        let unread = self.readable.contains(&true) || !self.wire.tcp.readable().is_empty();
        let timeout = if unread {
            Some(std::time::Duration::ZERO)
        } else {
            let due = [self.timers.next(), self.wire.tcp.due(), self.held].into_iter().flatten().min();
            due.map(|at| at.saturating_duration_since(Instant::now()))
        };
        match self.poll.poll(events, timeout) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
            _ => {}
        }
        for event in events.iter() {
            match event.token().0 {
                number if number >= CONNECTIONS && event.token() != WAKE => {
                    self.mark_connection((number - CONNECTIONS) as u64, event);
                }
                number if number >= LISTENERS && event.token() != WAKE => self.accept(number - LISTENERS),
                number => {
                    if let Some(readable) = self.readable.get_mut(number) {
                        *readable = true;
                    }
                }
            }
        }
        self.port.woken.store(false, Ordering::Release);
        if self.take_commands().is_break() {
            return Ok(ControlFlow::Break(()));
        }
        self.flush_feeds();
        for socket in 0..self.wire.sockets.len() {
            self.read(socket, batch);
        }
        self.read_connections();
        self.wake_sessions(Instant::now());
        self.flush_feeds();
        Ok(ControlFlow::Continue(()))
    }

    fn take_commands(&mut self) -> ControlFlow<()> {
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Shutdown) | Err(mpsc::TryRecvError::Disconnected) => {
                    return ControlFlow::Break(());
                }
                Ok(command) => self.take_command(command),
                Err(mpsc::TryRecvError::Empty) => return ControlFlow::Continue(()),
            }
        }
    }

    fn take_command(&mut self, command: Command) {
        match command {
            // The client may have gone away meanwhile; then the session dies of its connect timeout.
            Command::Publish { peer, ready } => {
                self.open(Session::publisher(peer));
                let _ = ready.send(());
            }
            Command::Watch { viewer, ready } => {
                self.open(Session::viewer(viewer));
                let _ = ready.send(());
            }
            Command::Close(id) => self.finish(&id, CloseReason::Requested),
            Command::Keyframe(id, track) => {
                self.port.pending_keyframes.fetch_sub(1, Ordering::Relaxed);
                self.request_keyframe(&id, track);
            }
            Command::RestartIce { session, local, remote, ready } => {
                self.restart_ice(&session, local, remote);
                let _ = ready.send(());
            }
            Command::Control(id, control) => self.control(&id, control),
            Command::Feed(broadcast, items) => self.take_items(&broadcast, items, false),
            Command::Inject(broadcast, items) => {
                if broadcast.home() == self.index {
                    self.take_items(&broadcast, items, true);
                }
            }
            Command::Outside(broadcast, number, true) => self.open_outside(&broadcast, number),
            Command::Outside(broadcast, number, false) => self.close_outside(&broadcast, number),
            Command::History(broadcast, thread) => self.send_history(&broadcast, thread),
            Command::Demand(broadcast, source) => {
                self.port.pending_keyframes.fetch_sub(1, Ordering::Relaxed);
                self.demand(&broadcast, source);
            }
            Command::EndBroadcast(broadcast) => self.end_broadcast(&broadcast),
            Command::Viewers(broadcast, answer) => {
                let _ = answer.send(self.viewer_stats(&broadcast));
            }
            Command::Shutdown => {}
        }
    }

    fn read(&mut self, socket: usize, batch: &mut ReceiveBatch) {
        for _ in 0..READS_PER_TURN {
            if !self.readable[socket] {
                return;
            }
            match self.wire.sockets[socket].receive(batch) {
                Ok(()) => {
                    let now = Instant::now();
                    for (remote, local_ip, datagram) in batch.datagrams() {
                        let path = Path { remote, via: Via::Udp(socket), local_ip };
                        self.handle_datagram(path, datagram, now);
                    }
                    // What came together leaves together.
                    self.flush_feeds();
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.readable[socket] = false,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::debug!(%error, addr = %self.wire.sockets[socket].addr(), "receiving failed");
                    self.readable[socket] = false;
                }
            }
        }
    }

    fn accept(&mut self, listener: usize) {
        for connection in self.wire.tcp.accept(listener, Instant::now()) {
            let Some(stream) = self.wire.tcp.stream(connection) else { continue };
            let token = Token(CONNECTIONS + connection as usize);
            let interest = Interest::READABLE | Interest::WRITABLE;
            if let Err(error) = self.poll.registry().register(stream, token, interest) {
                tracing::debug!(%error, "a media connection cannot be watched");
                self.wire.tcp.close(connection);
            }
        }
    }

    fn mark_connection(&mut self, connection: u64, event: &mio::event::Event) {
        self.wire.tcp.mark(connection, event.is_readable() || event.is_read_closed() || event.is_error());
        if event.is_writable() && !self.wire.tcp.flush(connection) {
            self.close_connection(connection);
        }
    }

    fn read_connections(&mut self) {
        let mut frames = Vec::new();
        for connection in self.wire.tcp.readable() {
            let Some((remote, local_ip)) = self.wire.tcp.ends(connection) else { continue };
            let reading = self.wire.tcp.read(connection, &mut frames);
            let now = Instant::now();
            let path = Path { remote, via: Via::Tcp(connection), local_ip: Some(local_ip) };
            for frame in frames.drain(..) {
                self.handle_datagram(path, &frame, now);
            }
            self.flush_feeds();
            if reading == Reading::Closed {
                self.close_connection(connection);
            }
        }
        for connection in self.wire.tcp.overdue(Instant::now()) {
            Counters::one(&self.counters.rejected_unknown);
            self.close_connection(connection);
        }
    }

    fn handle_datagram(&mut self, path: Path, datagram: &[u8], now: Instant) {
        Counters::one(&self.counters.datagrams_in);
        Counters::add(&self.counters.bytes_in, datagram.len() as u64);
        if datagram.is_empty() || datagram.len() > MAX_DATAGRAM {
            return Counters::one(&self.counters.rejected_malformed);
        }
        match self.demux.find(path, datagram) {
            Some(key) => self.handle_of_session(key, path, datagram, now),
            None => Counters::one(&self.counters.rejected_unknown),
        }
    }

    /// The advertised address that stands for where a datagram arrived: the very one, else (behind NAT 1:1) the first of its family.
    fn candidate_for(&self, path: Path) -> Option<SocketAddr> {
        let mut family = self.candidates.iter().filter(|c| c.is_ipv4() == path.remote.is_ipv4());
        let exact = family.clone().find(|c| Some(c.ip()) == path.local_ip);
        exact.or_else(|| family.next()).copied()
    }
}
