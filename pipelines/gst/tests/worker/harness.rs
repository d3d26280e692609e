//! A worker at the other end of a socket, as the server has it.

use bytes::Bytes;
use skywave_gst::worker::{WorkerError, serve};
use skywave_media::codec::TrackKind;
use skywave_media::frame::Frame;
use skywave_media::time::{MediaTime, Mono};
use skywave_media::worker_proto::{
    AudioOut, Encoder, FrameReceiver, FrameSender, FromWorker, MessageReader, OutputId, Pace, ToWorker,
    VideoOut, WorkerConfig, WorkerCounters, encode,
};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Nothing in these tests takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Worker {
    socket: UnixStream,
    reader: MessageReader<FromWorker>,
    sender: FrameSender,
    receiver: FrameReceiver,
    thread: Option<JoinHandle<Result<(), WorkerError>>>,
    /// The frames of output 0.
    pub(crate) video: Vec<Frame>,
    /// The frames of the other outputs.
    pub(crate) others: BTreeMap<u8, Vec<Frame>>,
    pub(crate) thumbnails: Vec<(MediaTime, Bytes)>,
    pub(crate) audio: Vec<Frame>,
    pub(crate) faults: Vec<(TrackKind, String)>,
    pub(crate) ready: usize,
    pub(crate) counters: WorkerCounters,
    pub(crate) beats: usize,
}

/// A timeline whose present lies `ahead` after its zero, for sources that are fed faster than they would come.
pub(crate) fn epoch(ahead: Duration) -> Mono {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Mono::from_nanos(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()) - ahead
}

/// Frames that are fed at will: the timeline's present is 40 s after its zero, and nothing is filled for a minute.
pub(crate) fn config(video: Option<VideoOut>, audio: Option<AudioOut>) -> WorkerConfig {
    WorkerConfig {
        stream: "test".into(),
        epoch: epoch(Duration::from_secs(40)),
        max_wait: Duration::from_secs(60),
        video: video.into_iter().collect(),
        pace: Pace::Constant,
        thumbnail: None,
        slate: None,
        audio,
    }
}

pub(crate) fn video_out(width: u32, height: u32) -> VideoOut {
    VideoOut {
        id: OutputId(0),
        width,
        height,
        fps: 30,
        encoder: Encoder::default(),
        bitrate_bps: 1_500_000,
        keyframe_interval: Duration::from_secs(2),
        resume_at: None,
    }
}

pub(crate) fn audio_out() -> AudioOut {
    AudioOut { bitrate_bps: 128_000, resume_at: None }
}

impl Worker {
    pub(crate) fn start(config: WorkerConfig) -> Self {
        let (socket, theirs) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || serve(theirs));
        let mut worker = Self::over(socket);
        worker.thread = Some(thread);
        worker.send(&ToWorker::Configure(config));
        worker.read_until(|w| w.ready == 1);
        worker
    }

    /// A worker that somebody else has started.
    pub(crate) fn over(socket: UnixStream) -> Self {
        Self {
            socket,
            reader: MessageReader::new(),
            sender: FrameSender::default(),
            receiver: FrameReceiver::default(),
            thread: None,
            video: Vec::new(),
            others: BTreeMap::new(),
            thumbnails: Vec::new(),
            audio: Vec::new(),
            faults: Vec::new(),
            ready: 0,
            counters: WorkerCounters::default(),
            beats: 0,
        }
    }

    pub(crate) fn send(&mut self, message: &ToWorker) {
        let mut bytes = Vec::new();
        encode(message, &mut bytes).unwrap();
        self.socket.write_all(&bytes).unwrap();
    }

    pub(crate) fn send_frame(&mut self, frame: &Frame) {
        let message = ToWorker::Frame(self.sender.message(frame));
        self.send(&message);
    }

    /// Sends video as fast as the worker takes it: no more than a few frames are on their way, so that none is dropped.
    pub(crate) fn feed_video(&mut self, frames: &[Frame], per_frame_out: usize) {
        for frame in frames {
            let before = self.video.len();
            self.send_frame(frame);
            if per_frame_out > 0 {
                self.read_until(|w| w.video.len() >= before + per_frame_out);
            }
        }
    }

    /// Sends sound as fast as the worker takes it: no more than a second is on its way, so that none is dropped.
    pub(crate) fn feed_audio(&mut self, frames: &[Frame]) {
        for frame in frames {
            self.send_frame(frame);
            if frame.pts > frames[0].pts + ms(1000) {
                let heard = frame.pts - ms(1000);
                self.read_until(|w| w.audio.last().is_some_and(|f| f.pts >= heard));
            }
        }
    }

    /// Reads until `done`; fails the test when that takes too long.
    pub(crate) fn read_until(&mut self, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "still waiting: {} pictures, {} sounds, {:?}, faults {:?}",
                self.video.len(),
                self.audio.len(),
                self.counters,
                self.faults
            );
            assert!(self.read(left.min(Duration::from_secs(1))), "the worker hung up");
        }
    }

    /// Reads what is there, or comes within `timeout`; `false` when the worker has hung up.
    pub(crate) fn read(&mut self, timeout: Duration) -> bool {
        self.socket.set_read_timeout(Some(timeout)).unwrap();
        let mut chunk = [0; 65_536];
        match self.socket.read(&mut chunk) {
            Ok(0) => return false,
            Ok(count) => self.reader.handle_bytes(&chunk[..count]),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(e) => panic!("{e}"),
        }
        while let Some(message) = self.reader.poll().unwrap() {
            match message {
                FromWorker::Ready => self.ready += 1,
                FromWorker::Heartbeat { counters, .. } => {
                    self.counters = counters;
                    self.beats += 1;
                }
                FromWorker::Fault { kind, reason } => self.faults.push((kind, reason)),
                FromWorker::Thumbnail { pts, jpeg } => self.thumbnails.push((pts, jpeg)),
                FromWorker::Frame(message) => {
                    let output = message.output.0;
                    let frame = self.receiver.frame(message).unwrap();
                    match frame.kind() {
                        TrackKind::Video if output == 0 => self.video.push(frame),
                        TrackKind::Video => self.others.entry(output).or_default().push(frame),
                        TrackKind::Audio => self.audio.push(frame),
                    }
                }
            }
        }
        true
    }

    /// Ends the worker, which must do so in order and promptly.
    pub(crate) fn shut_down(&mut self) {
        self.send(&ToWorker::Shutdown);
        while self.read(PATIENCE) {}
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

/// Every frame begins where the one before it ended.
pub(crate) fn assert_continuous(frames: &[Frame]) {
    for pair in frames.windows(2) {
        let end = pair[0].pts + pair[0].duration.unwrap();
        assert_eq!(end, pair[1].pts, "after {:?}", pair[0].pts);
        assert_eq!(pair[1].dts, pair[1].pts);
    }
}

/// The PTS of all keyframes, in seconds.
pub(crate) fn keyframe_seconds(frames: &[Frame]) -> Vec<f64> {
    frames.iter().filter(|f| f.keyframe).map(|f| f.pts.as_secs_f64()).collect()
}

pub(crate) fn ms(ms: i64) -> MediaTime {
    MediaTime::new(ms, 1000)
}
