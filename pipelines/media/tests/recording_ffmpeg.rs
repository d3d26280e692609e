//! Real H.264 and AAC through the recorder, judged by ffprobe and ffmpeg.
//!
//! ffmpeg makes MP4 files when the test runs; the `mp4` crate takes their samples out as frames.
#![allow(clippy::unwrap_used)]

#[path = "recording_support/bench.rs"]
mod bench;

use bench::*;
use mp4::Mp4Reader;
use skywave_media::codec::{AudioFormat, Codec, Format, VideoFormat};
use skywave_media::frame::Frame;
use skywave_media::h264::AvcConfig;
use skywave_media::recording::{RecorderConfig, read_index};
use skywave_media::time::MediaTime;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// A folder of this test's own, gone with it; `SKYWAVE_KEEP` keeps it, for a look with other players.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = match std::env::var_os("SKYWAVE_KEEP") {
            Some(kept) => PathBuf::from(kept),
            None => std::env::temp_dir().join(format!("skywave-{name}-{}", std::process::id())),
        };
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::env::var_os("SKYWAVE_KEEP").is_none() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{program} {args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// 6 s of 30 fps H.264 (no B-frames, a keyframe every 2 s) of this size and of a tone in AAC.
fn source(folder: &Path, size: &str, profile: &str) -> Vec<Frame> {
    let file = folder.join(format!("source-{size}.mp4"));
    let picture = format!("testsrc2=s={size}:r=30:d=6");
    let mut args = vec!["-v", "error", "-y", "-f", "lavfi", "-i", &picture];
    args.extend(["-f", "lavfi", "-i", "sine=1000:r=48000:d=6", "-c:v", "libx264", "-preset", "ultrafast"]);
    args.extend(["-profile:v", profile, "-bf", "0", "-g", "60", "-keyint_min", "60", "-pix_fmt", "yuv420p"]);
    args.extend(["-c:a", "aac", "-ac", "2", "-b:a", "96k", file.to_str().unwrap()]);
    run("ffmpeg", &args);
    frames(&std::fs::read(file).unwrap())
}

/// Every sample as a frame, in order of time.
fn frames(file: &[u8]) -> Vec<Frame> {
    let mut reader = Mp4Reader::read_header(Cursor::new(file), file.len() as u64).unwrap();
    let mut out = Vec::new();
    #[allow(clippy::disallowed_methods)] // each is looked at, in any order
    let ids: Vec<u32> = reader.tracks().keys().copied().collect();
    for id in ids {
        let track = &reader.tracks()[&id];
        let stsd = &track.trak.mdia.minf.stbl.stsd;
        let format = Arc::new(match &stsd.avc1 {
            Some(avc1) => {
                let avcc = &avc1.avcc;
                let sps = avcc.sequence_parameter_sets.iter().map(|nal| nal.bytes.clone().into()).collect();
                let pps = avcc.picture_parameter_sets.iter().map(|nal| nal.bytes.clone().into()).collect();
                let record = AvcConfig::new(sps, pps);
                Format::Video(VideoFormat {
                    codec: Codec::H264,
                    width: avc1.width.into(),
                    height: avc1.height.into(),
                    config: record.build().unwrap(),
                })
            }
            None => Format::Audio(AudioFormat {
                codec: Codec::Aac,
                sample_rate: 48_000,
                channels: 2,
                config: bytes::Bytes::from_static(&[0x11, 0x90]),
            }),
        });
        let timescale = track.timescale();
        for number in 1..=track.sample_count() {
            let sample = reader.read_sample(id, number).unwrap().unwrap();
            let pts = MediaTime::new(i64::try_from(sample.start_time).unwrap(), timescale);
            let keyframe = sample.is_sync;
            out.push(Frame {
                format: format.clone(),
                pts,
                dts: pts,
                duration: None,
                keyframe,
                data: sample.bytes,
            });
        }
    }
    out.sort_by_key(|frame| frame.pts);
    out
}

fn later(frames: Vec<Frame>, seconds: i64) -> Vec<Frame> {
    let by = MediaTime::from_90k(seconds * 90_000);
    let moved = |frame: Frame| Frame { pts: frame.pts + by, dts: frame.dts + by, ..frame };
    frames.into_iter().map(moved).collect()
}

fn count(file: &str, stream: &str) -> usize {
    let args =
        ["-v", "error", "-count_frames", "-select_streams", stream, "-show_entries", "stream=nb_read_frames"];
    let text = run("ffprobe", &[&args[..], &["-of", "csv=p=0", file]].concat());
    text.trim().parse().unwrap()
}

fn decodes(file: &str) {
    let args = ["-v", "error", "-xerror", "-i", file, "-map", "0", "-fps_mode:v", "passthrough"];
    run("ffmpeg", &[&args[..], &["-enc_time_base:v", "1:90000", "-f", "null", "-"]].concat());
}

#[test]
fn ffmpeg_finds_no_fault_in_a_recording_live_cut_and_finished() {
    let folder = Folder::new("recording");
    let mut take = Take::new(RecorderConfig::default());
    take.frames(source(&folder.0, "320x180", "high"));
    let recorded = take.end().remove(0).bytes;
    let (file, _) = finished(&recorded);
    let cut = &recorded[..recorded.len() - 100];
    let (repaired, summary) = finished(cut);
    assert!(summary.lost_bytes > 0);
    for (name, bytes) in [("live.mp4", &recorded), ("finished.mp4", &file), ("repaired.mp4", &repaired)] {
        decodes(&folder.write(name, bytes));
    }
    let path = folder.write("finished.mp4", &file);
    assert_eq!(count(&path, "v:0"), 180);
    let probe = run(
        "ffprobe",
        &["-v", "error", "-show_entries", "format=duration,start_time", "-of", "csv=p=0", &path],
    );
    assert!(probe.starts_with("0.000000,6.0"), "{probe}");
}

#[test]
fn every_picture_is_decoded_across_a_change_of_size_and_a_gap() {
    let folder = Folder::new("recording-change");
    let mut take = Take::new(RecorderConfig::default());
    take.frames(source(&folder.0, "320x180", "high"));
    take.frames(later(source(&folder.0, "640x360", "main"), 6));
    take.discontinuity();
    take.frames(later(source(&folder.0, "320x180", "high"), 20));
    let recorded = take.end().remove(0).bytes;
    let (file, _) = finished(&recorded);
    let path = folder.write("changes.mp4", &file);
    decodes(&path);
    assert_eq!(count(&path, "v:0"), 540);
    let args = [
        "-v",
        "error",
        "-select_streams",
        "v:0",
        "-show_entries",
        "frame=width,pts_time",
        "-of",
        "csv=p=0",
        &path,
    ];
    let sizes: Vec<(f64, u32)> = run("ffprobe", &args)
        .lines()
        // Side data of a frame gives an empty line.
        .filter(|line| !line.is_empty())
        .map(|line| {
            let mut fields = line.split(',');
            (fields.next().unwrap().parse().unwrap(), fields.next().unwrap().parse().unwrap())
        })
        .collect();
    for (at, width) in sizes {
        assert_eq!(width, if (6.0..19.9).contains(&at) { 640 } else { 320 }, "at {at} s");
    }
    // As HLS, ffmpeg reads all initialisations as one file.
    let start =
        usize::try_from(read_index(&mut Cursor::new(&file), file.len() as u64).unwrap().inits[0].offset)
            .unwrap();
    decodes(&folder.write("recorded.mp4", &file[start..]));
    // Each initialisation with its segments is a file of its own.
    let index = read_index(&mut Cursor::new(&file), file.len() as u64).unwrap();
    for (number, init) in index.inits.iter().enumerate() {
        let mut alone = file[usize::try_from(init.offset).unwrap()..][..init.bytes as usize].to_vec();
        for segment in index.segments.iter().filter(|segment| usize::from(segment.init) == number) {
            let range = usize::try_from(segment.offset).unwrap()
                ..usize::try_from(segment.offset + segment.bytes).unwrap();
            alone.extend_from_slice(&file[range]);
        }
        decodes(&folder.write(&format!("alone-{number}.mp4"), &alone));
    }
}
