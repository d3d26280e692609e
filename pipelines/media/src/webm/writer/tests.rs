//! What is written reads back as the frames that went in.

use super::*;
use crate::webm::frames::FrameMaker;
use crate::webm::reader::{WebmEvent, WebmReader};
use proptest::prelude::*;
use std::sync::Arc;

pub(in crate::webm) const VP8: &[u8] = include_bytes!("../../../tests/fixtures/webm/vp8-opus.webm");
const VP9: &[u8] = include_bytes!("../../../tests/fixtures/webm/vp9-opus-live.webm");
const AV1: &[u8] = include_bytes!("../../../tests/fixtures/webm/av1-opus.webm");
pub(in crate::webm) const H264: &[u8] = include_bytes!("../../../tests/fixtures/webm/h264-opus.mkv");
const B_FRAMES: &[u8] = include_bytes!("../../../tests/fixtures/webm/h264-bframes.mkv");

pub(in crate::webm) fn events(data: &[u8]) -> Vec<WebmEvent> {
    let mut reader = WebmReader::new(data);
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

/// A file's frames in its order, all times moved by so many milliseconds.
pub(in crate::webm) fn frames(data: &[u8], later_ms: i64) -> Vec<Frame> {
    let mut maker = FrameMaker::new();
    for event in events(data) {
        maker.handle_event(&event);
    }
    maker.handle_end();
    let later = MediaTime::new(later_ms, 1_000);
    let moved = |frame: Frame| Frame { pts: frame.pts + later, dts: frame.dts + later, ..frame };
    std::iter::from_fn(|| maker.poll_frame()).map(|(_, frame)| moved(frame)).collect()
}

fn formats(frames: &[Frame]) -> (Option<VideoFormat>, Option<AudioFormat>) {
    let mut found = (None, None);
    for frame in frames {
        match &*frame.format {
            Format::Video(format) => found.0.get_or_insert_with(|| format.clone()).codec,
            Format::Audio(format) => found.1.get_or_insert_with(|| format.clone()).codec,
        };
    }
    found
}

/// The file before its end, and its end.
pub(in crate::webm) fn write(frames: &[Frame]) -> (Vec<u8>, WebmEnding) {
    let (video, audio) = formats(frames);
    let mut writer = WebmWriter::new(video.as_ref(), audio.as_ref()).unwrap();
    let mut file = Vec::new();
    for frame in frames {
        writer.handle_frame(frame).unwrap();
        while let Some(piece) = writer.poll_piece() {
            file.extend_from_slice(&piece);
        }
    }
    (file, writer.finish().unwrap())
}

pub(in crate::webm) fn end(mut file: Vec<u8>, ending: &WebmEnding) -> Vec<u8> {
    file.extend_from_slice(&ending.append);
    for (offset, bytes) in &ending.patches {
        let at = *offset as usize;
        file[at..at + bytes.len()].copy_from_slice(bytes);
    }
    if let Some(folder) = std::env::var_os("SKYWAVE_KEEP") {
        let name =
            format!("{}-{}.webm", std::thread::current().name().unwrap_or("").replace("::", "-"), file.len());
        std::fs::write(std::path::Path::new(&folder).join(name), &file).unwrap();
    }
    file
}

fn of_kind(frames: &[Frame], kind: TrackKind) -> Vec<Frame> {
    frames.iter().filter(|frame| frame.kind() == kind).cloned().collect()
}

/// The same frames, but for their place on the timeline: milliseconds from the first one.
fn assert_same(read: &[Frame], written: &[Frame]) {
    let zero = written.iter().map(|frame| frame.pts).min().unwrap();
    for kind in [TrackKind::Video, TrackKind::Audio] {
        let (read, written) = (of_kind(read, kind), of_kind(written, kind));
        assert_eq!(read.len(), written.len(), "{kind:?}");
        for (read, written) in read.iter().zip(&written) {
            assert_eq!((&read.format, read.keyframe), (&written.format, written.keyframe));
            assert_eq!(read.data, written.data);
            assert_eq!(read.pts.rescale(1_000).ticks, (written.pts - zero).rescale(1_000).ticks);
        }
    }
}

#[test]
fn every_codec_comes_back_as_it_went_in() {
    for (data, doc_type) in
        [(VP8, "webm"), (VP9, "webm"), (AV1, "webm"), (H264, "matroska"), (B_FRAMES, "matroska")]
    {
        let written = frames(data, 3_600_000);
        let (live, ending) = write(&written);
        let file = end(live.clone(), &ending);
        assert!(file.windows(doc_type.len()).any(|bytes| bytes == doc_type.as_bytes()));
        assert_same(&frames(&file, 0), &written);
        // Nobody needs the end to read what came before it.
        assert_eq!(frames(&[&live[..], &ending.append].concat(), 0), frames(&file, 0));
        // The sound ends at 1013.5 ms - 6.5 ms.
        assert!((1_000..1_025).contains(&ending.duration_ms), "{}", ending.duration_ms);
    }
}

#[test]
fn sound_alone_has_a_cluster_and_a_cue_every_five_seconds() {
    let sound: Vec<Frame> =
        (0..12).flat_map(|second| of_kind(&frames(VP8, second * 1_020), TrackKind::Audio)).collect();
    let (file, ending) = write(&sound);
    let clusters = file.windows(4).filter(|bytes| *bytes == [0x1F, 0x43, 0xB6, 0x75]).count();
    assert_eq!(clusters, 3);
    assert_eq!(ending.append.iter().filter(|byte| **byte == 0xBB).count() - 1, 3, "and its own identifier");
    assert_same(&frames(&end(file, &ending), 0), &sound);
}

#[test]
fn blocks_are_in_order_of_time_although_tracks_come_one_after_the_other() {
    let mut written = frames(VP8, 0);
    written.sort_by_key(|frame| (frame.pts.as_nanos() / 400_000_000, frame.kind()));
    let (file, ending) = write(&written);
    let times: Vec<i64> = events(&end(file, &ending))
        .iter()
        .filter_map(|event| match event {
            WebmEvent::Block(block) => Some(block.time_ns),
            WebmEvent::Begin(_) => None,
        })
        .collect();
    assert_eq!(times.len(), written.len());
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn a_track_that_falls_silent_holds_the_other_for_a_second_only() {
    let (video, audio) = formats(&frames(VP8, 0));
    let mut writer = WebmWriter::new(video.as_ref(), audio.as_ref()).unwrap();
    writer.poll_piece();
    let sound: Vec<Frame> =
        (0..3).flat_map(|second| of_kind(&frames(VP8, second * 1_020), TrackKind::Audio)).collect();
    let written: Vec<bool> = sound
        .iter()
        .map(|frame| {
            writer.handle_frame(frame).unwrap();
            writer.poll_piece().is_some()
        })
        .collect();
    let first = written.iter().position(|written| *written).unwrap();
    assert!((48..54).contains(&first), "{first}");
    let held = written[first..].iter().filter(|written| !**written).count();
    assert!(held < 5, "then one comes out for each that goes in: {held}");
}

#[test]
fn a_new_size_goes_on_and_a_new_codec_needs_a_new_file() {
    let mut written = frames(H264, 0);
    // Another SPS: level 4.2 instead of what x264 has chosen.
    let mut changed = frames(H264, 2_000);
    for frame in &mut changed {
        let Format::Video(format) = &*frame.format else { continue };
        let mut format = format.clone();
        let mut config = crate::h264::AvcConfig::parse(&format.config).unwrap();
        let mut sps = config.sps[0].to_vec();
        sps[3] = 42;
        config.sps[0] = sps.into();
        format.config = config.build().unwrap();
        frame.format = Arc::new(Format::Video(format));
    }
    written.extend(changed);
    written.extend(frames(H264, 4_000));
    let (file, ending) = write(&written);
    assert_same(&frames(&end(file, &ending), 0), &written);

    let (video, audio) = formats(&written);
    let mut writer = WebmWriter::new(video.as_ref(), audio.as_ref()).unwrap();
    let other = of_kind(&frames(VP8, 0), TrackKind::Video);
    assert!(matches!(writer.handle_frame(&other[0]), Err(WriteError::NewFile(Codec::Vp8))));
    let mut silent = WebmWriter::new(video.as_ref(), None).unwrap();
    let sound = of_kind(&written, TrackKind::Audio);
    assert!(matches!(silent.handle_frame(&sound[0]), Err(WriteError::NewFile(Codec::Opus))));
    assert!(matches!(WebmWriter::new(None, None), Err(WriteError::NoTracks)));
    let aac = AudioFormat { codec: Codec::Aac, sample_rate: 48_000, channels: 2, config: Bytes::new() };
    assert!(matches!(WebmWriter::new(None, Some(&aac)), Err(WriteError::Unsupported(Codec::Aac))));
}

#[test]
fn pictures_before_the_first_keyframe_are_dropped() {
    let written = of_kind(&frames(VP8, 0), TrackKind::Video);
    let (video, _) = formats(&written);
    let mut writer = WebmWriter::new(video.as_ref(), None).unwrap();
    for frame in &written[3..] {
        writer.handle_frame(frame).unwrap();
    }
    assert_eq!(writer.dropped(), 2);
    assert_eq!(writer.zero(), Some(written[5].pts));
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        pictures in prop::collection::vec((0u8..8, 1i64..400, 1usize..2_000), 0..60),
        sounds in prop::collection::vec((20i64..400, 1usize..300), 1..60),
        begin_ms in -5_000i64..100_000,
    ) {
        let (video, audio) = formats(&frames(VP8, 0));
        let (video, audio) = (Arc::new(Format::Video(video.unwrap())), Arc::new(Format::Audio(audio.unwrap())));
        let mut written = Vec::new();
        let mut at = begin_ms;
        for (n, (kind, gap, size)) in pictures.into_iter().enumerate() {
            let keyframe = n == 0 || kind == 0;
            // The head of a key frame of 160x90, or of another frame.
            let mut data = vec![u8::from(!keyframe), 2, 0, 0x9d, 0x01, 0x2a, 160, 0, 90, 0];
            data.resize(10 + size, n as u8);
            let pts = MediaTime::from_90k(at * 90);
            at += gap;
            written.push(Frame {
                format: Arc::clone(&video), pts, dts: pts, duration: None, keyframe, data: data.into(),
            });
        }
        at = begin_ms;
        for (gap, size) in sounds {
            let mut data = vec![0xfc];
            data.resize(1 + size, 7);
            let pts = MediaTime::from_48k(at * 48);
            let duration = Some(MediaTime::from_48k(960));
            at += gap;
            written.push(Frame {
                format: Arc::clone(&audio), pts, dts: pts, duration, keyframe: true, data: data.into(),
            });
        }
        written.sort_by_key(|frame| (frame.dts, frame.kind()));
        let (file, ending) = write(&written);
        assert_same(&frames(&end(file, &ending), 0), &written);
    }
}
