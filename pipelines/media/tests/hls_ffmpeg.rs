//! A real H.264/AAC source through the packager, judged by ffprobe and ffmpeg.
//!
//! ffmpeg makes an MP4 when the test runs; the `mp4-atom` reader takes its samples out as frames.
#![allow(clippy::unwrap_used)]

#[path = "hls_support/bench.rs"]
mod hls_support;

use bytes::Bytes;
use hls_support::*;
use mp4_atom::{Any, Atom, Codec as Entry, Trak};
use skywave_media::codec::{AudioFormat, Codec, Format, TrackKind, VideoFormat};
use skywave_media::frame::Frame;
use skywave_media::hls::{HlsConfig, HlsView, Lookup};
use skywave_media::time::MediaTime;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// A folder of this test's own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("skywave-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{program} {args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// 7 s of 30 fps H.264 (no B-frames, a keyframe every 2 s) and of a tone in AAC.
fn source(folder: &Path) -> Vec<u8> {
    let file = folder.join("source.mp4");
    let lavfi =
        ["-f", "lavfi", "-i", "testsrc2=s=320x180:r=30:d=7", "-f", "lavfi", "-i", "sine=1000:r=48000:d=7"];
    let video = ["-c:v", "libx264", "-preset", "ultrafast", "-bf", "0", "-g", "60", "-keyint_min", "60"];
    let rest = ["-pix_fmt", "yuv420p", "-c:a", "aac", "-ac", "2", "-b:a", "96k"];
    let mut args = vec!["-v", "error", "-y"];
    args.extend(lavfi.iter().chain(&video).chain(&rest));
    args.push(file.to_str().unwrap());
    run("ffmpeg", &args);
    std::fs::read(file).unwrap()
}

/// Every sample of a progressive MP4 track as a frame.
fn frames(file: &Bytes, trak: &Trak) -> Vec<Frame> {
    let stbl = &trak.mdia.minf.stbl;
    let format = Arc::new(match &stbl.stsd.codecs[0] {
        Entry::Avc1(avc1) => {
            let mut config = Vec::new();
            avc1.avcc.encode_body(&mut config).unwrap();
            Format::Video(VideoFormat {
                codec: Codec::H264,
                width: avc1.visual.width.into(),
                height: avc1.visual.height.into(),
                config: config.into(),
            })
        }
        Entry::Mp4a(mp4a) => Format::Audio(AudioFormat {
            codec: Codec::Aac,
            sample_rate: mp4a.audio.sample_rate.integer().into(),
            channels: mp4a.audio.channel_count,
            config: mp4a.esds.es_desc.dec_config.dec_specific.clone().unwrap().raw.into(),
        }),
        other => panic!("{other:?}"),
    });
    let mp4_atom::StszSamples::Different { sizes } = &stbl.stsz.samples else { panic!() };
    let timescale = trak.mdia.mdhd.timescale;
    let mut durations =
        stbl.stts.entries.iter().flat_map(|e| std::iter::repeat_n(e.sample_delta, e.sample_count as usize));
    let chunks = &stbl.stco.as_ref().unwrap().entries;
    let (mut out, mut at) = (Vec::new(), 0);
    for (chunk, &offset) in chunks.iter().enumerate() {
        let number = u32::try_from(chunk).unwrap() + 1;
        let run = stbl.stsc.entries.iter().rev().find(|e| e.first_chunk <= number).unwrap();
        let mut offset = offset as usize;
        for _ in 0..run.samples_per_chunk {
            let index = out.len();
            let end = offset + sizes[index] as usize;
            let sync = stbl.stss.as_ref().is_none_or(|s| s.entries.contains(&(index as u32 + 1)));
            let pts = MediaTime::new(at, timescale);
            let data = file.slice(offset..end);
            out.push(Frame { format: format.clone(), pts, dts: pts, duration: None, keyframe: sync, data });
            at += i64::from(durations.next().unwrap());
            offset = end;
        }
    }
    out
}

fn packaged(folder: &Path, part: Duration) -> (Arc<HlsView>, usize) {
    let file = Bytes::from(source(folder));
    let Some(Any::Moov(moov)) = boxes(&file).into_iter().find(|b| matches!(b, Any::Moov(_))) else {
        panic!()
    };
    let mut bench = Bench::new(HlsConfig { part, ..Default::default() });
    bench.add("source", TrackKind::Video);
    bench.add("audio", TrackKind::Audio);
    let mut all: Vec<(&str, Frame)> = Vec::new();
    for trak in &moov.trak {
        let rendition = if trak.mdia.hdlr.handler == b"vide".into() { "source" } else { "audio" };
        all.extend(frames(&file, trak).into_iter().map(|f| (rendition, f)));
    }
    all.sort_by_key(|(_, f)| f.pts);
    let payload = all.iter().map(|(_, f)| f.data.len()).sum();
    for (rendition, frame) in all {
        bench.frame(rendition, frame);
    }
    bench.end();
    (bench.view(), payload)
}

/// Writes everything a player could fetch below `folder`.
fn write_all(view: &HlsView, folder: &Path) {
    let save = |path: &str| {
        let Lookup::Found(resource) = view.get(path, "") else { panic!("{path}") };
        std::fs::create_dir_all(folder.join(path).parent().unwrap()).unwrap();
        std::fs::write(folder.join(path), &resource.body).unwrap();
    };
    save("index.m3u8");
    for rendition in ["source", "audio"] {
        save(&format!("{rendition}/index.m3u8"));
        save(&format!("{rendition}/init-t1-0.mp4"));
        for segment in view.segments(&name(rendition)) {
            save(&format!("{rendition}/t1-{}.m4s", segment.msn));
        }
    }
}

#[test]
fn ffprobe_sees_what_was_put_in_and_ffmpeg_decodes_every_frame() {
    let folder = Folder::new("hls-ffmpeg");
    let (view, _) = packaged(&folder.0, HlsConfig::default().part);
    write_all(&view, &folder.0);
    let playlist = folder.0.join("index.m3u8");
    let playlist = playlist.to_str().unwrap();
    let entries = "stream=codec_name,width,height,r_frame_rate,sample_rate,channels,nb_read_frames";
    let probe = ["-v", "error", "-count_frames", "-allowed_extensions", "ALL", "-show_entries", entries];
    let mut args = probe.to_vec();
    args.extend(["-of", "compact=p=0", playlist]);
    let seen = run("ffprobe", &args);
    assert!(seen.contains("codec_name=h264|width=320|height=180|r_frame_rate=30/1|"), "{seen}");
    assert!(seen.contains("nb_read_frames=210"), "{seen}");
    assert!(seen.contains("codec_name=aac|sample_rate=48000|channels=2|"), "{seen}");
    // Decoded with every error fatal.
    run("ffmpeg", &["-v", "error", "-xerror", "-err_detect", "explode", "-i", playlist, "-f", "null", "-"]);
}

#[test]
fn concatenated_segments_have_one_unbroken_timeline() {
    let folder = Folder::new("hls-concat");
    let (view, _) = packaged(&folder.0, HlsConfig::default().part);
    for (rendition, ticks, frames) in [("source", 3000, 210), ("audio", 1024, 330)] {
        let mut file = found(&view, &format!("{rendition}/init-t1-0.mp4")).body.to_vec();
        for segment in view.segments(&name(rendition)) {
            file.extend_from_slice(&segment.body);
        }
        let path = folder.0.join(format!("{rendition}.mp4"));
        std::fs::write(&path, file).unwrap();
        let show = ["-v", "error", "-show_entries", "packet=dts", "-of", "csv=p=0"];
        let mut args = show.to_vec();
        args.push(path.to_str().unwrap());
        // Durations are not asked for: ffprobe 5.1 has none for the first AAC packet, even of ffmpeg's own files.
        let packets = run("ffprobe", &args);
        let times: Vec<i64> = packets.lines().map(|l| l.trim_end_matches(',').parse().unwrap()).collect();
        assert!(times.len().abs_diff(frames) <= 1, "{rendition}: {}", times.len());
        let expected: Vec<i64> = (0..times.len() as i64).map(|i| i * ticks).collect();
        assert_eq!(times, expected, "{rendition}");
    }
}

#[test]
fn parts_cost_plain_players_little() {
    let folder = Folder::new("hls-overhead");
    let size = |part| {
        let (view, payload) = packaged(&folder.0, part);
        let body = |r: &str| view.segments(&name(r)).iter().map(|s| s.body.len()).sum::<usize>();
        (body("source"), body("audio"), payload)
    };
    let parts = size(Duration::from_millis(200));
    let whole = size(Duration::from_secs(1));
    // 35 chunks instead of 7 or 8 for each rendition, 112 bytes each (and each segment's keyframe is a chunk of its own either way).
    let (video, audio) = (parts.0 - whole.0, parts.1 - whole.1);
    println!("bytes: parts {parts:?}, whole {whole:?}; parts cost {video} video, {audio} audio in 7 s");
    assert!(video <= 32 * 120 && audio <= 36 * 120, "{video} {audio}");
    assert!(whole.0 + whole.1 - whole.2 < 9_000, "4 bytes a sample and a head for each second or keyframe");
}
