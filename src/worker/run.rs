//! One life of a worker process, from its start to its exit: the socket, the log lines, the watchdog.

use bytes::Bytes;
use skywave_media::codec::TrackKind;
use skywave_media::frame::Frame;
use skywave_media::name::StreamName;
use skywave_media::time::MediaTime;
use skywave_media::worker_proto::{
    FrameReceiver, FrameSender, FromWorker, MessageReader, OutputId, ToWorker, WorkerCounters, encode,
};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Messages on their way to the child: about five seconds of audio and video.
const SEND_QUEUE: usize = 512;

/// A child whose pipelines move speaks every 100 ms, and for 300 ms after they stopped; one that is silent for this
/// long hangs, which is so noticed within a second.
const HANG_AFTER: Duration = Duration::from_millis(700);

/// Loading GStreamer's plugins takes a moment, more on a cold disk.
const START_UP: Duration = Duration::from_secs(8);

/// Decoders and encoders are loaded when the first frame needs them. From a cold disk that can take longer than [`HANG_AFTER`], and a child
/// that is killed meanwhile begins where it began before.
const WARM_UP: Duration = Duration::from_secs(3);

/// Log lines longer than this are cut: the child prints what strangers made its decoders say.
const LOG_LINE_MAX: usize = 500;

/// Log lines a second that are passed on; a decoder on corrupt input can print thousands.
const LOG_LINES_PER_SECOND: u32 = 10;

/// What a run tells its [`super::Worker`].
#[derive(Debug)]
pub(super) enum RunEvent {
    Frame(OutputId, Frame),
    Thumbnail(MediaTime, Bytes),
    Counters(WorkerCounters),
    Fault(TrackKind),
    Exited(String),
}

type Events = mpsc::Sender<(u64, RunEvent)>;

/// A child that runs. Dropping it kills the child.
pub(super) struct Run {
    pid: u32,
    messages: mpsc::Sender<ToWorker>,
    sender: FrameSender,
    supervisor: JoinHandle<()>,
}

impl Run {
    /// Starts the child and the task that looks after it.
    pub(super) fn start(id: u64, stream: StreamName, events: Events) -> std::io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("worker")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().unwrap_or_default();
        let (reader, writer) = UnixStream::from_std(ours)?.into_split();
        let stderr = child.stderr.take();
        let (messages, queue) = mpsc::channel(SEND_QUEUE);
        let supervisor = tokio::spawn(async move {
            let reason = supervise(id, &stream, child, reader, writer, queue, stderr, &events).await;
            let _stream_gone = events.send((id, RunEvent::Exited(reason))).await;
        });
        Ok(Self { pid, messages, sender: FrameSender::default(), supervisor })
    }

    pub(super) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Queues a message; false when the child is too far behind or gone.
    pub(super) fn try_send(&self, message: ToWorker) -> bool {
        self.messages.try_send(message).is_ok()
    }

    /// Queues a frame; false when the child is too far behind or gone.
    pub(super) fn try_send_frame(&mut self, frame: &Frame) -> bool {
        // The format is remembered as sent only once there is room for the message that carries it.
        let Ok(permit) = self.messages.try_reserve() else { return false };
        permit.send(ToWorker::Frame(self.sender.message(frame)));
        true
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

/// Looks after one child until it ends, by itself or by our hand, and says why.
#[expect(clippy::too_many_arguments, reason = "the parts of one child, taken apart by its start")]
async fn supervise(
    id: u64,
    stream: &StreamName,
    mut child: Child,
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    queue: mpsc::Receiver<ToWorker>,
    stderr: Option<ChildStderr>,
    events: &Events,
) -> String {
    let logs = async {
        if let Some(stderr) = stderr {
            forward_log(stream, stderr).await;
        }
        std::future::pending::<()>().await;
    };
    let why = tokio::select! {
        why = read(id, stream, reader, events) => why,
        why = write(writer, queue) => why,
        () = logs => String::new(),
    };
    if let Err(error) = child.start_kill() {
        tracing::debug!(%stream, %error, "the worker was gone already");
    }
    match child.wait().await {
        Ok(status) => format!("{why} ({status})"),
        Err(error) => format!("{why} (not reaped: {error})"),
    }
}

/// Reads what the child says; returns when it hangs, ends or talks nonsense.
async fn read(id: u64, stream: &StreamName, mut socket: OwnedReadHalf, events: &Events) -> String {
    let mut reader = MessageReader::<FromWorker>::new();
    let mut frames = FrameReceiver::default();
    let mut chunk = vec![0; 64 * 1024];
    let begun = Instant::now();
    let due = || (Instant::now() + HANG_AFTER).max(begun + WARM_UP);
    let mut deadline = begun + START_UP;
    loop {
        let size = match tokio::time::timeout_at(deadline, socket.read(&mut chunk)).await {
            Err(_) => return "it hangs".to_owned(),
            Ok(Err(error)) => return format!("its socket failed: {error}"),
            Ok(Ok(0)) => return "it ended".to_owned(),
            Ok(Ok(size)) => size,
        };
        reader.handle_bytes(&chunk[..size]);
        loop {
            let event = match reader.poll() {
                Err(error) => return format!("it talks nonsense: {error}"),
                Ok(None) => break,
                Ok(Some(FromWorker::Ready)) => {
                    deadline = due();
                    continue;
                }
                Ok(Some(FromWorker::Heartbeat { counters, .. })) => {
                    deadline = due();
                    RunEvent::Counters(counters)
                }
                Ok(Some(FromWorker::Fault { kind, reason })) => {
                    tracing::warn!(%stream, lane = kind.as_str(), reason, "worker fault");
                    RunEvent::Fault(kind)
                }
                Ok(Some(FromWorker::Thumbnail { pts, jpeg })) => RunEvent::Thumbnail(pts, jpeg),
                Ok(Some(FromWorker::Frame(message))) => {
                    let id = message.output;
                    match frames.frame(message) {
                        Some(frame) => RunEvent::Frame(id, frame),
                        None => return "it sent a frame before its format".to_owned(),
                    }
                }
            };
            if events.send((id, event)).await.is_err() {
                return "its stream has ended".to_owned();
            }
        }
    }
}

/// Writes the queue to the child; returns when it does not read any more or nothing more will come.
async fn write(mut socket: OwnedWriteHalf, mut queue: mpsc::Receiver<ToWorker>) -> String {
    let mut bytes = Vec::new();
    while let Some(message) = queue.recv().await {
        bytes.clear();
        if let Err(error) = encode(&message, &mut bytes) {
            // Frames are bounded well below the message limit, so only a wrong configuration ends here.
            return format!("it cannot be told: {error}");
        }
        if let Err(error) = socket.write_all(&bytes).await {
            return format!("it does not listen: {error}");
        }
    }
    "nothing more is wanted".to_owned()
}

/// Puts the child's log lines into ours, with the stream's name.
async fn forward_log(stream: &StreamName, stderr: ChildStderr) {
    let mut lines = BufReader::new(stderr).split(b'\n');
    let mut window = Instant::now();
    let mut in_window = 0;
    while let Ok(Some(line)) = lines.next_segment().await {
        if window.elapsed() > Duration::from_secs(1) {
            (window, in_window) = (Instant::now(), 0);
        }
        in_window += 1;
        if in_window <= LOG_LINES_PER_SECOND {
            let text = String::from_utf8_lossy(&line[..line.len().min(LOG_LINE_MAX)]);
            tracing::warn!(%stream, "worker: {}", text.trim_end());
        }
    }
}
