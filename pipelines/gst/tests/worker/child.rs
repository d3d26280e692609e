//! The worker as a process of its own: this test binary, started anew, with the socket as its standard input.

use crate::harness::{Worker, assert_continuous, audio_out, config, ms, video_out};
use crate::source::{self, Sound};
use skywave_media::codec::Codec;
use skywave_media::worker_proto::ToWorker;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Not a test: what the child runs.
#[test]
#[ignore = "the child's main function, started by the tests of this file"]
fn child_main() {
    let socket = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let code = skywave_gst::worker::run(socket);
    std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
}

fn start_child() -> (UnixStream, Child) {
    let (socket, theirs) = UnixStream::pair().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child::child_main", "--ignored", "--nocapture"])
        // Whatever GLib finds worth a warning or a criticism ends the child.
        .env("G_DEBUG", "fatal_warnings")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    (socket, child)
}

/// The child's end, its log, and how long it took. A child that does not end is killed, which the status shows.
fn end_of(mut child: Child) -> (ExitStatus, String, Duration) {
    let start = Instant::now();
    let (mut stderr, pid) = (child.stderr.take().unwrap(), child.id());
    let log = std::thread::spawn(move || {
        let mut log = Vec::new();
        stderr.read_to_end(&mut log).unwrap();
        String::from_utf8_lossy(&log).into_owned()
    });
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > Duration::from_secs(10) {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let took = start.elapsed();
    (status, log.join().unwrap_or_else(|_| panic!("the log of {pid}")), took)
}

fn configured() -> (Worker, Child) {
    let (socket, child) = start_child();
    let mut worker = Worker::over(socket);
    worker.send(&ToWorker::Configure(config(Some(video_out(160, 90)), Some(audio_out()))));
    worker.read_until(|w| w.ready == 1);
    (worker, child)
}

#[test]
fn both_lanes_change_codec_and_size_without_a_warning_and_the_child_ends_when_told() {
    let (mut worker, child) = configured();
    worker.feed_video(&source::video(Codec::Vp8, 160, 90, 30, 10, ms(0)), 1);
    worker.feed_video(&source::video(Codec::H264, 90, 160, 30, 10, slot(10)), 1);
    let tone = Sound::new(0.5, |_| [0.1; 2]);
    worker.feed_audio(&source::audio_from(&tone.description(), ms(0)));
    worker.read_until(|w| w.audio.len() >= 20 && w.beats >= 2);
    assert_continuous(&worker.video);
    assert_continuous(&worker.audio);
    worker.shut_down();
    let (status, log, _) = end_of(child);
    assert!(status.success(), "{status}: {log}");
    assert!(!log.contains("CRITICAL"), "{log}");
}

#[test]
fn a_server_that_is_gone_ends_its_worker_at_once() {
    let (mut worker, child) = configured();
    worker.feed_video(&source::video(Codec::Vp8, 160, 90, 30, 10, ms(0)), 1);
    drop(worker);
    let (_, log, took) = end_of(child);
    assert!(took < Duration::from_secs(2), "{took:?}: {log}");
}

#[test]
fn a_picture_of_gigabytes_costs_a_worker_and_not_the_machine() {
    let (mut worker, child) = configured();
    let mut frame = source::video(Codec::Vp8, 160, 90, 30, 1, ms(0)).remove(0);
    // RFC 6386 section 9.1: width and height stand behind the start code.
    let mut data = frame.data.to_vec();
    data[6..10].copy_from_slice(&[0xff, 0x3f, 0xff, 0x3f]);
    frame.data = data.into();
    worker.send_frame(&frame);
    // Either the decoder says no, or the child ends by running into its limit; the server restarts that one.
    let beats = worker.beats;
    while worker.beats < beats + 10 && worker.read(Duration::from_secs(5)) {}
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = status
        .lines()
        .find(|l| l.starts_with("VmPeak:"))
        .map_or(0, |l| l.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap());
    assert!(peak <= 4 << 20, "{peak} kB");
    drop(worker);
    end_of(child);
}

#[test]
fn a_server_that_talks_nonsense_ends_its_worker_with_a_reason() {
    let (mut socket, child) = start_child();
    socket.write_all(&u32::MAX.to_le_bytes()).unwrap();
    let (status, log, _) = end_of(child);
    assert!(!status.success());
    assert!(log.lines().any(|l| l.starts_with("ERROR the link to the server broke: message of")), "{log}");
}

/// The time of a slot at 30 frames a second.
fn slot(index: i64) -> skywave_media::time::MediaTime {
    skywave_media::time::MediaTime::new(index, 30)
}
