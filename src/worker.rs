//! Starts, feeds, watches and restarts the worker: the child process that decodes and encodes one stream.
//!
//! What belongs here: the process, its socket and its deadlines. What the worker should make is the stream's
//! decision; what it does with GStreamer is `skywave-gst`'s.

mod run;

use crate::config::EncoderName;
use bytes::Bytes;
use run::Run;
use skywave_media::codec::TrackKind;
use skywave_media::frame::Frame;
use skywave_media::name::StreamName;
use skywave_media::time::MediaTime;
use skywave_media::worker_proto::{OutputId, ToWorker, WorkerConfig, WorkerCounters};
use std::process::ExitCode;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The first restart comes at once: a decoder that fell over hostile input should cost under a second.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);

/// A worker that dies again and again is not worth more than one start in this time.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// A worker that lived this long has earned a fresh start.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// Worker messages that wait for the stream task. A stream task that cannot keep up slows its own worker down.
const EVENT_QUEUE: usize = 256;

/// What happened to the worker.
#[derive(Debug)]
pub(crate) enum WorkerEvent {
    /// A coded frame of an output rendition; the number says which, for video.
    Frame(OutputId, Frame),
    /// A small picture as JPEG, and when it is shown.
    Thumbnail(MediaTime, Bytes),
    /// A lane's decoder gave up on what it was fed and needs a frame to start from.
    Fault(TrackKind),
    /// The child has ended; a restart is planned if one is still wanted.
    Exited { reason: String },
    /// The back-off is over: the stream should call [`Worker::configure`] again.
    RestartDue,
}

/// One stream's worker, running or not.
pub(crate) struct Worker {
    stream: StreamName,
    run: Option<Run>,
    runs: u64,
    restarts: u32,
    counters: WorkerCounters,
    backoff: Duration,
    started: Instant,
    restart_at: Option<Instant>,
    /// After a frame was dropped on the way in, the rest of its group of pictures is useless.
    await_keyframe: bool,
    dropped: u64,
    events: mpsc::Receiver<(u64, run::RunEvent)>,
    events_in: mpsc::Sender<(u64, run::RunEvent)>,
}

impl Worker {
    /// No child yet.
    pub(crate) fn new(stream: StreamName) -> Self {
        let (events_in, events) = mpsc::channel(EVENT_QUEUE);
        Self {
            stream,
            run: None,
            runs: 0,
            restarts: 0,
            counters: WorkerCounters::default(),
            backoff: FIRST_BACKOFF,
            started: Instant::now(),
            restart_at: None,
            await_keyframe: false,
            dropped: 0,
            events,
            events_in,
        }
    }

    /// Tells the child what to make; starts one when none runs.
    pub(crate) fn configure(&mut self, config: WorkerConfig) {
        self.restart_at = None;
        if let Some(run) = &self.run
            && run.try_send(ToWorker::Configure(config.clone()))
        {
            return;
        }
        self.runs += 1;
        self.started = Instant::now();
        self.await_keyframe = true;
        match Run::start(self.runs, self.stream.clone(), self.events_in.clone()) {
            Ok(run) => {
                tracing::info!(stream = %self.stream, pid = run.pid(), "worker started");
                // The queue of a new run is empty, so this cannot be refused.
                run.try_send(ToWorker::Configure(config));
                self.run = Some(run);
            }
            Err(error) => {
                tracing::error!(stream = %self.stream, %error, "cannot start the worker");
                self.run = None;
                self.plan_restart();
            }
        }
    }

    /// Ends the child; nothing more is wanted of it.
    pub(crate) fn stop(&mut self) {
        self.restart_at = None;
        if self.run.take().is_some() {
            tracing::info!(stream = %self.stream, "worker stopped");
        }
    }

    /// Hands a source frame to the child. When the child cannot follow, frames are dropped up to a keyframe.
    pub(crate) fn send(&mut self, frame: &Frame) {
        let Some(run) = &mut self.run else { return };
        let video = frame.kind() == TrackKind::Video;
        if video && self.await_keyframe && !frame.keyframe {
            self.dropped += 1;
            return;
        }
        let sent = run.try_send_frame(frame);
        if video {
            self.await_keyframe = !sent;
        }
        self.dropped += u64::from(!sent);
    }

    /// Whether video cannot be decoded until a keyframe comes.
    pub(crate) const fn wants_keyframe(&self) -> bool {
        self.run.is_some() && self.await_keyframe
    }

    /// The child's process id, while one runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.run.as_ref().map(Run::pid)
    }

    /// Whether the child is gone and is about to be started again.
    pub(crate) const fn is_restarting(&self) -> bool {
        self.restart_at.is_some()
    }

    /// How often the child died and was started again.
    pub(crate) const fn restarts(&self) -> u32 {
        self.restarts
    }

    /// What the present child has done so far.
    pub(crate) const fn counters(&self) -> &WorkerCounters {
        &self.counters
    }

    /// Source frames dropped because the child could not follow.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The next thing that happens. Safe to cancel.
    pub(crate) async fn event(&mut self) -> WorkerEvent {
        loop {
            let restart_at = self.restart_at;
            let restart = async move {
                match restart_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = self.events.recv() => {
                    let (run, event) = event.expect("this struct holds a sender, so the channel stays open");
                    if let Some(event) = self.take(run, event) {
                        return event;
                    }
                }
                () = restart => {
                    self.restart_at = None;
                    self.restarts += 1;
                    return WorkerEvent::RestartDue;
                }
            }
        }
    }

    /// Sorts out one event; those of a child that was replaced mean nothing any more.
    fn take(&mut self, run: u64, event: run::RunEvent) -> Option<WorkerEvent> {
        if run != self.runs || self.run.is_none() {
            return None;
        }
        match event {
            run::RunEvent::Frame(id, frame) => Some(WorkerEvent::Frame(id, frame)),
            run::RunEvent::Thumbnail(pts, jpeg) => Some(WorkerEvent::Thumbnail(pts, jpeg)),
            run::RunEvent::Fault(kind) => Some(WorkerEvent::Fault(kind)),
            run::RunEvent::Counters(counters) => {
                self.counters = counters;
                None
            }
            run::RunEvent::Exited(reason) => {
                self.run = None;
                self.plan_restart();
                Some(WorkerEvent::Exited { reason })
            }
        }
    }

    fn plan_restart(&mut self) {
        if self.started.elapsed() > HEALTHY_AFTER {
            self.backoff = FIRST_BACKOFF;
        }
        self.restart_at = Some(Instant::now() + self.backoff);
        self.backoff = (self.backoff * 3).min(MAX_BACKOFF);
    }
}

/// The worker's own `main`: its end of the socket pair is standard input.
pub(crate) fn child_main() -> ExitCode {
    use std::os::fd::AsFd;
    match std::io::stdin().as_fd().try_clone_to_owned() {
        Ok(socket) => skywave_gst::worker::run(socket),
        Err(error) => {
            crate::cli::complain(&format!("the worker has no socket to its server: {error}"));
            ExitCode::from(2)
        }
    }
}

/// Asks a child to look for missing GStreamer elements, so that this process never loads GStreamer itself.
/// The error has one line for each missing element with the Debian package that has it.
pub(crate) async fn check_elements(encoder: EncoderName) -> Result<(), String> {
    let exe = std::env::current_exe().map_err(|e| format!("cannot find this program's own file: {e}"))?;
    let output = tokio::process::Command::new(exe)
        .args(["worker", "--check"])
        .args((encoder == EncoderName::Openh264).then_some("--openh264"))
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .map_err(|e| format!("cannot start a worker: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}
