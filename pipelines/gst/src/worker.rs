//! The worker: the child process that decodes and encodes one stream.
//!
//! Whatever a stranger's bytes do to a decoder happens here and to nobody else. The server speaks to it over a socket
//! pair ([`skywave_media::worker_proto`]), kills it when its heartbeat stops, and starts another.
//!
//! What belongs here: the only clock and the only socket of this process, and one loop over them. What does not: how
//! frames are made of frames (`transcode`).

mod link;
mod liveness;
pub(crate) mod log;

use crate::transcode::{AudioLane, TranscodeError, VideoLane, Waker};
use link::Link;
use liveness::{Liveness, Pipeline};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::Timespec;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use skywave_media::codec::TrackKind;
use skywave_media::frame::Frame;
use skywave_media::time::Mono;
use skywave_media::worker_proto::{
    FrameReceiver, FrameSender, FromWorker, ProtoError, ToWorker, WorkerConfig, WorkerCounters,
};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Distance of heartbeats while the pipelines move. The last one comes at most three of these after a pipeline stopped,
/// so a server that waits 700 ms more knows within a second.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(100);

/// A lane tells of at most one fault in this time, and how many there were: bad input must not flood the server's log.
const FAULT_INTERVAL: Duration = Duration::from_secs(1);

/// Address space of the child, in bytes. A picture that claims to be 16383 pixels wide and high makes decoders ask for
/// gigabytes; they get none, and the child fails instead of the machine.
const MAX_ADDRESS_SPACE_BYTES: u64 = 4 << 30;

/// Why a worker ends, other than being told to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// GStreamer does not start.
    #[error("GStreamer does not start: {0}")]
    Gstreamer(#[from] gstreamer::glib::Error),
    /// The socket or the clockwork around it failed.
    #[error("the link to the server failed: {0}")]
    Link(#[from] std::io::Error),
    /// The server said something that is no message, or is asked to take one that is none.
    #[error("the link to the server broke: {0}")]
    Proto(#[from] ProtoError),
    /// Output cannot be made.
    #[error(transparent)]
    Transcode(#[from] TranscodeError),
    /// The server sent a frame of a lane whose format it never said.
    #[error("a frame of no format")]
    NoFormat,
    /// The server does not read what it is sent.
    #[error("the server left {0} bytes unread")]
    Unread(usize),
}

/// The main function of the child process: serves the server at the other end of `socket` until it hangs up or says so.
///
/// Logs to standard error, one line each: a level (`ERROR`, `WARN`), a space, and text. When the server is gone the
/// process ends at once, whatever GStreamer is doing.
pub fn run(socket: OwnedFd) -> ExitCode {
    let socket = UnixStream::from(socket);
    log::install();
    let limit = Rlimit { current: Some(MAX_ADDRESS_SPACE_BYTES), maximum: Some(MAX_ADDRESS_SPACE_BYTES) };
    if let Err(error) = setrlimit(Resource::As, limit) {
        log::line("WARN", &format!("memory is not limited: {error}"));
    }
    let served = socket.try_clone().map_err(WorkerError::from).and_then(|watched| {
        end_with_server(watched)?;
        serve(socket)
    });
    if let Err(error) = served {
        log::line("ERROR", &error.to_string());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Ends this process when the other end of the socket is closed, even while the main thread is stuck in a codec.
fn end_with_server(socket: UnixStream) -> Result<(), std::io::Error> {
    // Not PR_SET_PDEATHSIG: that follows the *thread* that started this process, which in a server with a thread pool may
    // end long before the server does.
    let watch = move || loop {
        // Without events of interest only hang-up and error are told.
        let mut fds = [PollFd::new(&socket, PollFlags::RDHUP)];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::BADF) => break,
            Err(_) => {}
        }
    };
    let end = move || {
        watch();
        // The main loop sees the same and ends in order; what is stuck by then never will.
        std::thread::sleep(Duration::from_millis(100));
        // Exit handlers could wait for the very thread that hangs.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    };
    std::thread::Builder::new().name("server-watch".into()).spawn(end).map(drop)
}

/// Serves one server over `socket` until it hangs up or sends `Shutdown`; all pipelines are stopped on return.
///
/// # Errors
/// When GStreamer does not start, or the link breaks other than between two messages.
pub fn serve(socket: UnixStream) -> Result<(), WorkerError> {
    gstreamer::init()?;
    Worker::new(Link::new(socket)?)?.serve()
}

struct Worker {
    link: Link,
    wake: Arc<OwnedFd>,
    receiver: FrameReceiver,
    sender: FrameSender,
    video: Option<VideoLane>,
    audio: Option<AudioLane>,
    liveness: Liveness,
    next_heartbeat: Mono,
    faults: [Faults; 2],
    counters: WorkerCounters,
    /// What lanes that exist no more have done.
    past: WorkerCounters,
}

/// The faults of one lane that were not told yet.
#[derive(Default)]
struct Faults {
    next: Mono,
    untold: u32,
    last: Option<String>,
}

impl Worker {
    fn new(link: Link) -> Result<Self, WorkerError> {
        let wake =
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(std::io::Error::from)?;
        Ok(Self {
            link,
            wake: Arc::new(wake),
            receiver: FrameReceiver::default(),
            sender: FrameSender::default(),
            video: None,
            audio: None,
            liveness: Liveness::default(),
            next_heartbeat: now(),
            faults: Default::default(),
            counters: WorkerCounters::default(),
            past: WorkerCounters::default(),
        })
    }

    fn serve(&mut self) -> Result<(), WorkerError> {
        loop {
            while let Some(message) = self.link.poll_message()? {
                match message {
                    ToWorker::Configure(config) => self.handle_config(&config)?,
                    ToWorker::Frame(message) => {
                        let frame = self.receiver.frame(message).ok_or(WorkerError::NoFormat)?;
                        self.handle_frame(&frame);
                    }
                    ToWorker::Shutdown => return Ok(()),
                }
            }
            let now = now();
            self.handle_progress(now)?;
            self.handle_heartbeat(now)?;
            self.link.flush()?;
            if self.link.is_closed() {
                return Ok(());
            }
            self.wait(now)?;
        }
    }

    fn handle_config(&mut self, config: &WorkerConfig) -> Result<(), WorkerError> {
        let now = now();
        match &mut self.video {
            Some(lane) => {
                if !lane.handle_config(config, now) {
                    self.send_frames()?;
                    let lane = self.video.take();
                    lane.inspect(|lane| lane.add_counters(&mut self.past));
                }
            }
            none => *none = VideoLane::new(config, waker(&self.wake), now),
        }
        match (&config.audio, &mut self.audio) {
            (Some(out), Some(lane)) => lane.handle_config(config, out.clone()),
            (Some(out), none) => *none = Some(AudioLane::new(config, out.clone(), waker(&self.wake))),
            (None, lane) => {
                if let Some(lane) = lane.take() {
                    lane.add_counters(&mut self.past);
                }
            }
        }
        self.link.send(&FromWorker::Ready)?;
        Ok(())
    }

    fn handle_frame(&mut self, frame: &Frame) {
        let now = now();
        match frame.kind() {
            TrackKind::Video => {
                self.counters.video_frames_in += 1;
                if let Some(lane) = &mut self.video {
                    lane.handle_frame(frame, now);
                }
            }
            TrackKind::Audio => {
                self.counters.audio_frames_in += 1;
                if let Some(lane) = &mut self.audio {
                    lane.handle_frame(frame, now);
                }
            }
        }
    }

    fn handle_progress(&mut self, now: Mono) -> Result<(), WorkerError> {
        if let Some(lane) = &mut self.video {
            lane.handle_progress(now)?;
        }
        self.send_frames()?;
        if let Some(lane) = &mut self.video {
            while let Some((pts, jpeg)) = lane.poll_thumbnail() {
                self.link.send(&FromWorker::Thumbnail { pts, jpeg })?;
            }
            self.faults[0].note(std::iter::from_fn(|| lane.poll_fault()));
        }
        if let Some(lane) = &mut self.audio {
            lane.handle_progress(now)?;
            while let Some(frame) = lane.poll_frame() {
                self.counters.audio_frames_out += 1;
                self.link.send(&FromWorker::Frame(self.sender.message(&frame)))?;
            }
            self.faults[1].note(std::iter::from_fn(|| lane.poll_fault()));
        }
        for (faults, kind) in self.faults.iter_mut().zip([TrackKind::Video, TrackKind::Audio]) {
            if let Some(reason) = faults.poll(now) {
                self.link.send(&FromWorker::Fault { kind, reason })?;
            }
        }
        Ok(())
    }

    fn send_frames(&mut self) -> Result<(), WorkerError> {
        while let Some((output, frame)) = self.video.as_mut().and_then(VideoLane::poll_frame) {
            self.counters.video_frames_out += 1;
            self.link.send(&FromWorker::Frame(self.sender.message_of(output, &frame)))?;
        }
        Ok(())
    }

    fn handle_heartbeat(&mut self, now: Mono) -> Result<(), WorkerError> {
        if now < self.next_heartbeat {
            return Ok(());
        }
        self.next_heartbeat = now + HEARTBEAT_INTERVAL;
        let video = self.video.as_ref();
        let encoders = video.into_iter().flat_map(VideoLane::encoder_progress);
        let encoders = encoders.map(|(id, progress)| (Pipeline::VideoEncoder(id), progress));
        let [decoder, encoder] = self.audio.as_ref().map_or([None; 2], AudioLane::progress);
        let others = [
            (Pipeline::VideoDecoder, video.and_then(VideoLane::decoder_progress)),
            (Pipeline::AudioDecoder, decoder),
            (Pipeline::AudioEncoder, encoder),
        ];
        let others = others.into_iter().filter_map(|(pipeline, progress)| Some((pipeline, progress?)));
        if self.liveness.handle_beat(encoders.chain(others)) {
            let counters = self.counters();
            self.link.send(&FromWorker::Heartbeat { at: now, counters })?;
        }
        Ok(())
    }

    fn counters(&self) -> WorkerCounters {
        let mut counters = self.past;
        if let Some(lane) = &self.video {
            lane.add_counters(&mut counters);
        }
        if let Some(lane) = &self.audio {
            lane.add_counters(&mut counters);
        }
        counters.video_frames_in = self.counters.video_frames_in;
        counters.audio_frames_in = self.counters.audio_frames_in;
        counters.video_frames_out = self.counters.video_frames_out;
        counters.audio_frames_out = self.counters.audio_frames_out;
        counters
    }

    /// Waits until the socket, GStreamer or the clock wants something.
    fn wait(&mut self, now: Mono) -> Result<(), WorkerError> {
        let lanes = [
            self.video.as_ref().and_then(VideoLane::poll_timeout),
            self.audio.as_ref().and_then(AudioLane::poll_timeout),
        ];
        let faults = self.faults.iter().filter_map(Faults::poll_timeout);
        let deadline = lanes.into_iter().flatten().chain(faults).fold(self.next_heartbeat, Mono::min);
        let timeout = deadline.saturating_since(now);
        // At least a little: a lane whose encoder is behind has deadlines in the past, and is woken when that moves.
        let timeout = Timespec::try_from(timeout.max(Duration::from_millis(1))).unwrap_or_default();
        let mut fds = [PollFd::new(&self.link, self.link.interest()), PollFd::new(&self.wake, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(std::io::Error::from(error).into()),
        }
        let [socket, wake] = fds.map(|fd| fd.revents());
        if !wake.is_empty() {
            // Empty by now (`WOULDBLOCK`) is as good: the wish was to be awake.
            let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        }
        if !socket.is_empty() {
            self.link.read()?;
        }
        Ok(())
    }
}

impl Faults {
    fn note(&mut self, faults: impl Iterator<Item = String>) {
        for fault in faults {
            self.untold += 1;
            self.last = Some(fault);
        }
    }

    fn poll_timeout(&self) -> Option<Mono> {
        self.last.as_ref().map(|_| self.next)
    }

    fn poll(&mut self, now: Mono) -> Option<String> {
        if now < self.next {
            return None;
        }
        let last = self.last.take()?;
        self.next = now + FAULT_INTERVAL;
        match std::mem::take(&mut self.untold) {
            0 | 1 => Some(last),
            times => Some(format!("{last} ({times} faults)")),
        }
    }
}

fn waker(wake: &Arc<OwnedFd>) -> Waker {
    let wake = wake.clone();
    // Full (`WOULDBLOCK`) means that 2^64 - 2 wishes to wake wait: one more changes nothing.
    Waker::new(move || {
        let _ = rustix::io::write(&wake, &1u64.to_ne_bytes());
    })
}

/// The clock that this process shares with the server.
fn now() -> Mono {
    let time = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
    Mono::from_nanos(seconds * 1_000_000_000 + nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_faults_is_told_once_a_second_with_its_count() {
        let mut faults = Faults::default();
        let now = Mono::from_millis(5000);
        faults.note(["bad".to_owned()].into_iter());
        assert_eq!(faults.poll(now).as_deref(), Some("bad"));
        faults.note((0..100).map(|n| format!("bad {n}")));
        assert_eq!(faults.poll(now), None);
        assert_eq!(faults.poll_timeout(), Some(now + FAULT_INTERVAL));
        assert_eq!(faults.poll(now + FAULT_INTERVAL).as_deref(), Some("bad 99 (100 faults)"));
        assert_eq!((faults.poll(now + FAULT_INTERVAL * 2), faults.poll_timeout()), (None, None));
    }
}
