//! CPU-seconds per media-second of the worker, beside a bare ffmpeg with the same encoder on the same input.
//!
//! `cargo run --release -p skywave-benches --bin transcode_cost -- [SECONDS [RUNS]]`

// A tool that prints figures.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod input;
mod process;

use input::Input;
use process::{Cost, median};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;
use skywave_media::codec::TrackKind;
use skywave_media::frame::Frame;
use skywave_media::time::MediaTime;
use skywave_media::worker_proto::{
    AudioOut, Encoder, FrameMessage, FrameSender, FromWorker, MessageReader, OutputId, Pace, ToWorker,
    VideoOut, WorkerConfig, X264Preset, encode,
};
use std::error::Error;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const VIDEO_BITRATE_BPS: u32 = 2_500_000;

/// The ladder: width, height and bits per second.
const LADDER: [(u32, u32, u32); 3] =
    [(1280, 720, VIDEO_BITRATE_BPS), (854, 480, 1_300_000), (426, 240, 450_000)];

const AUDIO_BITRATE_BPS: u32 = 128_000;

type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|a| a == "worker") {
        return match std::io::stdin().as_fd().try_clone_to_owned() {
            Ok(socket) => skywave_gst::worker::run(socket),
            Err(_) => ExitCode::FAILURE,
        };
    }
    let number = |at: usize, or: u32| arguments.get(at).and_then(|a| a.parse().ok()).unwrap_or(or);
    match measure(number(0, 20), number(1, 3)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// One row of the table.
struct Row {
    name: &'static str,
    costs: Vec<Cost>,
}

fn measure(seconds: u32, runs: u32) -> Result<(), Failure> {
    println!(
        "1280x720 at 30 fps, {seconds} s, VP8 + Opus -> H.264 superfast {VIDEO_BITRATE_BPS} bit/s + AAC; {runs} runs"
    );
    let input = Input::make(seconds)?;
    let mut rows: Vec<Row> = Vec::new();
    // Interleaved, so that what else the machine does hits all rows alike.
    for _ in 0..runs {
        let measured = [
            ("ffmpeg: video + audio", ffmpeg(&input, 1, true)?),
            ("worker: video + audio", worker(&input, 1, true, false)?),
            ("worker: video + audio, paced live", worker(&input, 1, true, true)?),
            ("ffmpeg: video", ffmpeg(&input, 1, false)?),
            ("worker: video", worker(&input, 1, false, false)?),
            ("ffmpeg: ladder 720 + 480 + 240", ffmpeg(&input, 3, false)?),
            ("worker: ladder 720 + 480 + 240", worker(&input, 3, false, false)?),
            ("worker: ladder, paced live", worker(&input, 3, false, true)?),
            ("ffmpeg: audio", ffmpeg(&input, 0, true)?),
            ("worker: audio (H.264 passthrough)", worker(&input, 0, true, false)?),
            ("worker: audio, paced live", worker(&input, 0, true, true)?),
        ];
        for (name, cost) in measured {
            match rows.iter_mut().find(|row| row.name == name) {
                Some(row) => row.costs.push(cost),
                None => rows.push(Row { name, costs: vec![cost] }),
            }
        }
    }
    println!("\n| what | CPU s per media s (median) | least | most | peak RSS, MB | ready after, ms |");
    println!("| --- | --: | --: | --: | --: | --: |");
    for Row { name, costs } in &rows {
        let per_second: Vec<f64> = costs.iter().map(|c| c.cpu.as_secs_f64() / f64::from(seconds)).collect();
        let least = per_second.iter().copied().fold(f64::INFINITY, f64::min);
        let most = per_second.iter().copied().fold(0.0, f64::max);
        let rss = median(costs.iter().map(|c| c.peak_rss_kb as f64 / 1000.0));
        let ready = costs.iter().filter_map(|c| c.ready).map(|d| d.as_secs_f64() * 1000.0);
        let cpu = median(per_second.iter().copied());
        println!("| {name} | {cpu:.4} | {least:.4} | {most:.4} | {rss:.0} | {:.0} |", median(ready));
    }
    let cpu = |name: &str| {
        let costs = rows.iter().find(|row| row.name == name).map(|row| &row.costs);
        median(costs.into_iter().flatten().map(|c| c.cpu.as_secs_f64() / f64::from(seconds)))
    };
    let ratio = cpu("worker: video + audio") / cpu("ffmpeg: video + audio");
    let delays: Vec<f64> =
        rows.iter().flat_map(|row| &row.costs).flat_map(|c| c.delays_ms.iter().copied()).collect();
    println!("\ndelay of a picture through the worker, live: {}", process::spread(&delays));
    println!("worker / ffmpeg: {ratio:.3} (goal <= 1.1)");
    let ladder = cpu("worker: ladder 720 + 480 + 240") / cpu("ffmpeg: ladder 720 + 480 + 240");
    println!("worker / ffmpeg, ladder: {ladder:.3} (goal <= 1.1)");
    println!("passthrough: {:.4} core (goal <= 0.05)", cpu("worker: audio, paced live"));
    Ok(())
}

/// So many renditions from the top of the ladder.
fn ffmpeg(input: &Input, renditions: usize, audio: bool) -> Result<Cost, Failure> {
    let video = renditions > 0;
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-hide_banner", "-loglevel", "error"]);
    if video {
        command.args(["-threads", "1", "-i"]).arg(input.video_path());
    }
    if audio {
        command.args(["-threads", "1", "-i"]).arg(input.audio_path());
    }
    if renditions > 1 {
        command.args(["-filter_complex_threads", "1", "-filter_complex", &scaled_by_ffmpeg(renditions)]);
    }
    for (index, (_, _, bitrate)) in LADDER.iter().enumerate().take(renditions) {
        if renditions > 1 {
            command.args(["-map", &format!("[out{index}]")]);
        }
        command
            .args("-c:v libx264 -preset superfast -tune zerolatency -threads 1 -filter_threads 1".split(' '));
        command.args("-g 60 -sc_threshold 0 -bf 0".split(' '));
        for (option, bits) in [("-b:v", *bitrate), ("-maxrate", *bitrate), ("-bufsize", bitrate * 3 / 2)] {
            command.args([option, &bits.to_string()]);
        }
        if index + 1 < renditions {
            command.args(["-f", "null", "-"]);
        }
    }
    if audio {
        command.args(["-c:a", "aac", "-b:a", "128k"]);
    }
    let child = command.args(["-f", "null", "-"]).stdin(Stdio::null()).spawn()?;
    process::cost_of(child, None)
}

/// A filter graph that decodes once and scales with ffmpeg's cheapest scaler.
fn scaled_by_ffmpeg(renditions: usize) -> String {
    let names = |prefix: &str| (0..renditions).map(|i| format!("[{prefix}{i}]")).collect::<String>();
    let scales = LADDER.iter().enumerate().take(renditions).map(|(i, (width, height, _))| match i {
        0 => "; [in0]null[out0]".to_owned(),
        _ => format!("; [in{i}]scale={width}:{height}:flags=fast_bilinear[out{i}]"),
    });
    format!("[0:v]split={renditions}{}{}", names("in"), scales.collect::<String>())
}

/// Feeds the worker as fast as it takes frames, or as they would come.
fn worker(input: &Input, renditions: usize, audio: bool, paced: bool) -> Result<Cost, Failure> {
    let video = renditions > 0;
    let (mut socket, theirs) = UnixStream::pair()?;
    let begun = Instant::now();
    let child = Command::new(std::env::current_exe()?)
        .arg("worker")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .spawn()?;
    let mut frames: Vec<&Frame> = Vec::new();
    frames.extend(input.video.iter().filter(|_| video));
    frames.extend(input.audio.iter().filter(|_| audio));
    frames.sort_by_key(|frame| frame.pts);
    let end = frames.last().map_or(MediaTime::from_90k(0), |frame| frame.pts);

    let ahead = if paced { Duration::ZERO } else { end.as_duration() + Duration::from_secs(2) };
    let config = WorkerConfig {
        stream: "bench".into(),
        epoch: process::now() - ahead,
        max_wait: if paced { Duration::from_millis(300) } else { Duration::from_secs(60) },
        video: (0..).zip(LADDER).map(|(id, size)| out(OutputId(id), size)).take(renditions).collect(),
        pace: Pace::Constant,
        thumbnail: None,
        slate: None,
        audio: audio.then_some(AudioOut { bitrate_bps: AUDIO_BITRATE_BPS, resume_at: None }),
    };
    send(&mut socket, &ToWorker::Configure(config))?;
    let mut link = Reader {
        socket: socket.try_clone()?,
        reader: MessageReader::new(),
        until: [None; 2],
        ready: false,
        live_since: None,
        delays_ms: Vec::new(),
    };
    while !link.ready {
        link.read()?;
    }
    let ready = begun.elapsed();
    let start = Instant::now();
    let mut sender = FrameSender::default();
    for frame in frames {
        if paced {
            link.live_since = Some(start);
            loop {
                let left = frame.pts.as_duration().saturating_sub(start.elapsed());
                if !link.read_within(left)? && left.is_zero() {
                    break;
                }
            }
        } else {
            // A few frames on their way are enough to keep both pipelines busy, and too few for any to be dropped.
            let behind = frame.pts - MediaTime::new(150, 1000);
            while behind.ticks > 0 && !link.has_come_to(behind, video, audio) {
                link.read()?;
            }
        }
        send(&mut socket, &ToWorker::Frame(sender.message(frame)))?;
    }
    let last = end - MediaTime::new(100, 1000);
    while !link.has_come_to(last, video, audio) {
        link.read()?;
    }
    send(&mut socket, &ToWorker::Shutdown)?;
    let mut cost = process::cost_of(child, Some(ready))?;
    cost.delays_ms = link.delays_ms;
    Ok(cost)
}

const fn out(id: OutputId, (width, height, bitrate_bps): (u32, u32, u32)) -> VideoOut {
    VideoOut {
        id,
        width,
        height,
        fps: 30,
        encoder: Encoder::X264 { preset: X264Preset::Superfast },
        bitrate_bps,
        keyframe_interval: Duration::from_secs(2),
        resume_at: None,
    }
}

fn send(socket: &mut UnixStream, message: &ToWorker) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    encode(message, &mut bytes)?;
    Ok(socket.write_all(&bytes)?)
}

/// What the worker says.
struct Reader {
    socket: UnixStream,
    reader: MessageReader<FromWorker>,
    /// The PTS of the newest frame, of video and of audio.
    until: [Option<MediaTime>; 2],
    ready: bool,
    /// When time zero was live.
    live_since: Option<Instant>,
    /// From a picture's time to its coming back, when live.
    delays_ms: Vec<f64>,
}

impl Reader {
    /// Whether all lanes that are wanted have come to that time.
    fn has_come_to(&self, time: MediaTime, video: bool, audio: bool) -> bool {
        let [pictures, sounds] = self.until.map(|until| until.is_some_and(|until| until >= time));
        (pictures || !video) && (sounds || !audio)
    }

    fn read(&mut self) -> Result<(), Failure> {
        let mut chunk = [0; 65_536];
        let count = self.socket.read(&mut chunk)?;
        if count == 0 {
            return Err("the worker hung up".into());
        }
        self.reader.handle_bytes(&chunk[..count]);
        while let Some(message) = self.reader.poll()? {
            match message {
                FromWorker::Ready => self.ready = true,
                FromWorker::Frame(frame) => self.take_frame(&frame),
                FromWorker::Fault { kind, reason } => eprintln!("{}: {reason}", kind.as_str()),
                FromWorker::Heartbeat { .. } | FromWorker::Thumbnail { .. } => {}
            }
        }
        Ok(())
    }

    /// Reads when something comes in time; whether it did.
    fn read_within(&mut self, timeout: Duration) -> Result<bool, Failure> {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        let timeout = Timespec::try_from(timeout)?;
        let ready = poll(&mut fds, Some(&timeout))? > 0;
        if ready {
            self.read()?;
        }
        Ok(ready)
    }

    fn take_frame(&mut self, frame: &FrameMessage) {
        self.until[usize::from(frame.kind == TrackKind::Audio)] = Some(frame.pts);
        if let (Some(start), TrackKind::Video) = (self.live_since, frame.kind) {
            let delay = start.elapsed().saturating_sub(frame.pts.as_duration());
            self.delays_ms.push(delay.as_secs_f64() * 1000.0);
        }
    }
}
