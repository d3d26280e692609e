//! The threads that carry viewers: epoll, batched reads, timers. Few threads, many viewers, no lock on the way of a packet.

use crate::session::Figures;
use crate::socket::Batch;
use crate::viewer::Viewer;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::time::{ClockId, clock_gettime};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A round of reading is followed by a pause up to this long after its begin, so that one wake-up serves many packets: the tool
/// must not fight the server for the processor. No figure is finer than this.
const ROUND: Duration = Duration::from_millis(1);
/// Events per wake-up.
const EVENTS: usize = 1024;
/// The token of the waker; viewers have the others.
const WAKE: Token = Token(usize::MAX);

enum Command {
    Add(Box<Viewer>),
    BeginWindow,
    Snapshot(oneshot::Sender<Snapshot>),
    Close,
}

/// What one thread knows at one moment.
pub(crate) struct Snapshot {
    pub(crate) viewers: Vec<Figures>,
    /// What the server has added to packets, since the snapshot before.
    pub(crate) latencies: Vec<Duration>,
    /// Processor time of the thread since it started.
    pub(crate) cpu: Duration,
    pub(crate) at: Instant,
}

/// One thread, from outside.
pub(crate) struct Driver {
    commands: Option<mpsc::Sender<Command>>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

/// The thread is gone, which only a panic in it can cause.
#[derive(Debug, thiserror::Error)]
#[error("a thread of the load tool has died")]
pub(crate) struct Gone;

impl Driver {
    /// Starts a thread.
    pub(crate) fn start(name: String) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let (commands, inbox) = mpsc::channel();
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let mut carrier = Carrier { poll, inbox, viewers: Vec::new(), timers: BinaryHeap::new() };
            carrier.run();
        })?;
        Ok(Self { commands: Some(commands), waker, thread: Some(thread) })
    }

    fn send(&self, command: Command) -> Result<(), Gone> {
        self.commands.as_ref().ok_or(Gone)?.send(command).map_err(|_| Gone)?;
        self.waker.wake().map_err(|_| Gone)
    }

    /// Hands a viewer over.
    pub(crate) fn add(&self, viewer: Viewer) -> Result<(), Gone> {
        self.send(Command::Add(Box::new(viewer)))
    }

    /// Begins a window on all viewers.
    pub(crate) fn begin_window(&self) -> Result<(), Gone> {
        self.send(Command::BeginWindow)
    }

    /// Closes the connections of all viewers on the wire.
    pub(crate) fn close(&self) -> Result<(), Gone> {
        self.send(Command::Close)
    }

    /// The figures of all viewers.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot, Gone> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Snapshot(reply))?;
        answer.await.map_err(|_| Gone)
    }
}

impl Drop for Driver {
    /// Ends the thread, with all sockets.
    fn drop(&mut self) {
        self.commands = None;
        let woken = self.waker.wake().is_ok();
        if let Some(thread) = self.thread.take()
            && woken
            && thread.join().is_err()
        {
            tracing::error!("a thread of the load tool panicked");
        }
    }
}

struct Carrier {
    poll: Poll,
    inbox: mpsc::Receiver<Command>,
    viewers: Vec<Viewer>,
    /// When a viewer may be due. An entry may be stale; a viewer is asked again when its entry comes up.
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
}

impl Carrier {
    fn run(&mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut batch = Batch::new();
        loop {
            let due = self.timers.peek().map(|Reverse((at, _))| at.saturating_duration_since(Instant::now()));
            if let Err(error) = self.poll.poll(&mut events, due)
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "epoll failed");
                return;
            }
            let begin = Instant::now();
            if !self.obey(&mut batch) {
                return;
            }
            let mut read = false;
            for Token(at) in events.iter().map(mio::event::Event::token) {
                if let Some(viewer) = self.viewers.get_mut(at) {
                    viewer.handle_readable(Instant::now(), &mut batch);
                    self.arm(at);
                    read = true;
                }
            }
            self.fire(Instant::now());
            if read {
                std::thread::sleep(ROUND.saturating_sub(begin.elapsed()));
            }
        }
    }

    /// Carries out what was asked; false when nobody will ask any more.
    fn obey(&mut self, batch: &mut Batch) -> bool {
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Add(viewer)) => self.add(*viewer),
                Ok(Command::BeginWindow) => {
                    let now = Instant::now();
                    self.viewers.iter_mut().for_each(|viewer| viewer.begin_window(now));
                }
                Ok(Command::Snapshot(reply)) => {
                    let at = Instant::now();
                    // What has come is counted, whether it was announced yet or not: a window has sharp ends.
                    self.viewers.iter_mut().for_each(|viewer| viewer.handle_readable(at, batch));
                    let viewers = self.viewers.iter().map(|viewer| viewer.figures(at)).collect();
                    let latencies = self.viewers.iter_mut().flat_map(Viewer::take_latencies).collect();
                    let spent = clock_gettime(ClockId::ThreadCPUTime);
                    let cpu = Duration::try_from(spent).unwrap_or_default();
                    // Whoever asked may have given up.
                    let _gone = reply.send(Snapshot { viewers, latencies, cpu, at }).is_err();
                }
                Ok(Command::Close) => self.viewers.iter_mut().for_each(Viewer::close),
                Err(mpsc::TryRecvError::Empty) => return true,
                Err(mpsc::TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn add(&mut self, mut viewer: Viewer) {
        let at = self.viewers.len();
        let fd = viewer.socket().inner().as_raw_fd();
        let registered = self.poll.registry().register(&mut SourceFd(&fd), Token(at), Interest::READABLE);
        if let Err(error) = registered {
            viewer.handle_socket_error(&error);
        }
        viewer.handle_timeout(Instant::now());
        self.viewers.push(viewer);
        self.arm(at);
    }

    /// Notes when a viewer is due, unless an entry that comes up no later stands already.
    fn arm(&mut self, at: usize) {
        let viewer = &mut self.viewers[at];
        if let Some(due) = viewer.due()
            && viewer.armed.is_none_or(|armed| due < armed)
        {
            viewer.armed = Some(due);
            self.timers.push(Reverse((due, at)));
        }
    }

    fn fire(&mut self, now: Instant) {
        while let Some(&Reverse((armed, at))) = self.timers.peek()
            && armed <= now
        {
            self.timers.pop();
            let viewer = &mut self.viewers[at];
            if viewer.armed == Some(armed) {
                viewer.armed = None;
            }
            if viewer.due().is_some_and(|due| due <= now) {
                viewer.handle_timeout(now);
            }
            self.arm(at);
        }
    }
}
