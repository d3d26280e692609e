//! Stories of takes: what comes out of the files is what went in.

use super::*;
use crate::codec::Codec;
use crate::webm::frames::FrameMaker;
use crate::webm::reader::WebmReader;
use crate::webm::repair::repair;
use std::io::Cursor;

const VP8: &[u8] = include_bytes!("../../../tests/fixtures/webm/vp8-opus.webm");
const AV1: &[u8] = include_bytes!("../../../tests/fixtures/webm/av1-opus.webm");
const H264: &[u8] = include_bytes!("../../../tests/fixtures/webm/h264-opus.mkv");

fn frames(data: &[u8]) -> Vec<Frame> {
    let mut reader = WebmReader::new(data);
    let mut maker = FrameMaker::new();
    let mut all = Vec::new();
    while let Ok(Some(event)) = reader.next() {
        maker.handle_event(&event);
        all.extend(std::iter::from_fn(|| maker.poll_frame()).map(|(_, frame)| frame));
    }
    maker.handle_end();
    all.extend(std::iter::from_fn(|| maker.poll_frame()).map(|(_, frame)| frame));
    all
}

fn later(frames: &[Frame], ms: i64) -> Vec<Frame> {
    let shift = |time: MediaTime| time + MediaTime::from_nanos(ms * 1_000_000).rescale(time.rate);
    frames
        .iter()
        .map(|frame| Frame { pts: shift(frame.pts), dts: shift(frame.dts), ..frame.clone() })
        .collect()
}

/// Archives frames at their times; the files, and how long each said it was.
fn archive(config: ArchiveConfig, expected: &[TrackKind], frames: &[Frame]) -> (Vec<Vec<u8>>, Vec<Duration>) {
    let mut archiver = Archiver::new(config);
    expected.iter().for_each(|kind| archiver.expect(*kind));
    let (mut files, mut lengths): (Vec<Vec<u8>>, Vec<Duration>) = (Vec::new(), Vec::new());
    let mut open = false;
    let mut drain = |archiver: &mut Archiver| {
        while let Some(output) = archiver.poll_output() {
            match output {
                RecorderOutput::Begin { .. } => {
                    assert!(!std::mem::replace(&mut open, true));
                    files.push(Vec::new());
                    lengths.push(Duration::ZERO);
                }
                RecorderOutput::Append { bytes, duration } => {
                    assert!(open && duration >= *lengths.last().unwrap());
                    files.last_mut().unwrap().extend_from_slice(&bytes);
                    *lengths.last_mut().unwrap() = duration;
                }
                RecorderOutput::End => assert!(std::mem::replace(&mut open, false)),
            }
        }
    };
    let mut now = Mono::from_millis(0);
    for frame in frames {
        now = now.max(Mono::from_nanos(u64::try_from(frame.dts.as_nanos().max(0)).unwrap()));
        while archiver.poll_timeout().is_some_and(|at| at <= now) {
            archiver.handle_timeout(now);
            drain(&mut archiver);
        }
        archiver.handle_frame(frame, now);
        drain(&mut archiver);
    }
    archiver.end(now);
    drain(&mut archiver);
    assert!(!open);
    (files, lengths)
}

fn bytes_of(frames: &[Frame], kind: TrackKind) -> Vec<Bytes> {
    frames.iter().filter(|frame| frame.kind() == kind).map(|frame| frame.data.clone()).collect()
}

/// What a file holds once it is finished.
fn finished(file: &[u8]) -> Vec<Frame> {
    let found = repair(Cursor::new(file), file.len() as u64).unwrap();
    let mut whole = file[..usize::try_from(found.keep_bytes).unwrap()].to_vec();
    whole.extend_from_slice(&found.ending.append);
    for (at, bytes) in &found.ending.patches {
        let at = usize::try_from(*at).unwrap();
        whole[at..at + bytes.len()].copy_from_slice(bytes);
    }
    frames(&whole)
}

const BOTH: &[TrackKind] = &[TrackKind::Video, TrackKind::Audio];

#[test]
fn every_byte_of_every_codec_is_kept() {
    for data in [VP8, AV1, H264] {
        let published = frames(data);
        let (files, lengths) = archive(ArchiveConfig::default(), BOTH, &published);
        assert_eq!(files.len(), 1);
        let kept = finished(&files[0]);
        for kind in BOTH {
            assert_eq!(bytes_of(&kept, *kind), bytes_of(&published, *kind));
        }
        assert!(lengths[0] > Duration::from_millis(900) && lengths[0] < Duration::from_millis(1_100));
    }
}

#[test]
fn a_publisher_with_another_codec_begins_another_file_and_one_with_the_same_goes_on() {
    let mut take = frames(VP8);
    take.extend(later(&frames(VP8), 5_000));
    take.extend(later(&frames(AV1), 10_000));
    let (files, lengths) = archive(ArchiveConfig::default(), BOTH, &take);
    assert_eq!(files.len(), 2);
    let (first, second) = (finished(&files[0]), finished(&files[1]));
    assert_eq!(bytes_of(&first, TrackKind::Video).len(), 20);
    assert_eq!(bytes_of(&second, TrackKind::Video), bytes_of(&frames(AV1), TrackKind::Video));
    assert!(second.iter().all(|frame| frame.format.codec() != Codec::Vp8));
    // The hole between the two is real time.
    assert!(lengths[0] >= Duration::from_millis(5_900), "{lengths:?}");
}

#[test]
fn rotation_loses_nothing() {
    let published: Vec<Frame> = (0..5).flat_map(|n| later(&frames(VP8), n * 1_000)).collect();
    let config = ArchiveConfig { rotate_after: Some(Duration::from_secs(2)), rotate_bytes: None };
    let (files, _) = archive(config, BOTH, &published);
    assert!(files.len() >= 2, "{}", files.len());
    let kept: Vec<Frame> = files.iter().flat_map(|file| finished(file)).collect();
    for kind in BOTH {
        assert_eq!(bytes_of(&kept, *kind), bytes_of(&published, *kind));
    }
}

#[test]
fn a_track_that_never_comes_is_waited_for_but_not_for_ever() {
    let sound: Vec<Frame> = (0..6)
        .flat_map(|n| later(&frames(VP8), n * 1_000))
        .filter(|frame| frame.kind() == TrackKind::Audio)
        .collect();
    let (files, lengths) = archive(ArchiveConfig::default(), BOTH, &sound);
    assert_eq!((files.len(), finished(&files[0]).len()), (1, sound.len()));
    assert!(lengths[0] > Duration::from_millis(5_900));
}

#[test]
fn a_file_cut_anywhere_is_whole_up_to_half_a_second_before() {
    let published: Vec<Frame> = (0..4).flat_map(|n| later(&frames(VP8), n * 1_000)).collect();
    let mut archiver = Archiver::new(ArchiveConfig::default());
    BOTH.iter().for_each(|kind| archiver.expect(*kind));
    let mut file = Vec::new();
    for frame in &published {
        let now = Mono::from_nanos(u64::try_from(frame.dts.as_nanos().max(0)).unwrap());
        archiver.handle_timeout(now);
        archiver.handle_frame(frame, now);
        while let Some(output) = archiver.poll_output() {
            if let RecorderOutput::Append { bytes, .. } = output {
                file.extend_from_slice(&bytes);
            }
        }
        if frame.kind() == TrackKind::Video && now > Mono::from_millis(1_000) {
            let kept = finished(&file);
            let last = kept.iter().map(|frame| frame.pts.as_nanos()).max().unwrap();
            // A track waits for the other for as long as that is behind, here by a picture's length.
            assert!(
                frame.pts.as_nanos() - last <= 720_000_000,
                "{} ms",
                (frame.pts.as_nanos() - last) / 1_000_000
            );
        }
    }
}
