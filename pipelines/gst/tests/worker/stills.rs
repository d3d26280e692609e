//! Thumbnails, and the slate that stands in for a source that has gone.

use crate::check::{pictures, still};
use crate::harness::{Worker, assert_continuous, config, epoch, ms, video_out};
use crate::source;
use bytes::Bytes;
use skywave_media::codec::Codec;
use skywave_media::worker_proto::{
    DEFAULT_MAX_WAIT, OutputId, Slate, ThumbnailOut, ToWorker, VideoOut, WorkerConfig,
};
use std::process::Command;
use std::time::Duration;

const THUMBNAIL: ThumbnailOut = ThumbnailOut { width: 160, height: 90, interval: Duration::from_millis(500) };

/// White on the left, blue on the right: the test pattern.
fn assert_is_pattern(jpeg: &[u8]) {
    assert!(jpeg.starts_with(b"\xff\xd8\xff"), "a JPEG file");
    let picture = still(jpeg, 160, 90);
    assert!(picture.luma(5, 20) > 200, "{}", picture.luma(5, 20));
    assert!(picture.luma(155, 20) < 60, "{}", picture.luma(155, 20));
}

#[test]
fn a_thumbnail_is_made_at_once_and_then_in_each_interval() {
    let mut config = config(Some(video_out(320, 180)), None);
    config.thumbnail = Some(THUMBNAIL);
    let mut worker = Worker::start(config);
    worker.feed_video(&source::video(Codec::Vp8, 320, 180, 30, 75, ms(1000)), 1);
    worker.read_until(|w| w.thumbnails.len() == 5);
    let at: Vec<_> = worker.thumbnails.iter().map(|(pts, _)| pts.rescale(1000).ticks).collect();
    assert_eq!(at, [1000, 1500, 2000, 2500, 3000]);
    for (_, jpeg) in &worker.thumbnails {
        assert_is_pattern(jpeg);
    }
    assert_eq!(worker.faults, []);
    worker.shut_down();
}

#[test]
fn thumbnails_of_a_passed_through_source_cost_its_keyframes_and_no_more() {
    let mut config = config(None, None);
    config.thumbnail = Some(THUMBNAIL);
    let mut worker = Worker::start(config);
    let frames = source::video(Codec::H264, 320, 180, 30, 130, ms(0));
    worker.feed_video(&frames, 0);
    worker.read_until(|w| w.thumbnails.len() == 3 && w.counters.video_frames_in == 130);
    assert_eq!(worker.counters.pictures_decoded, 3, "keyframes at 0, 2 and 4 s");
    worker.thumbnails.iter().for_each(|(_, jpeg)| assert_is_pattern(jpeg));
    assert_eq!((worker.counters.frames_dropped, worker.faults.len()), (0, 0));
    worker.shut_down();
}

#[test]
fn renditions_that_join_thumbnails_begin_with_the_next_keyframe_of_the_source() {
    let mut config = config(None, None);
    config.thumbnail = Some(THUMBNAIL);
    let mut worker = Worker::start(config.clone());
    let frames = source::video(Codec::H264, 320, 180, 30, 90, ms(0));
    worker.feed_video(&frames[..40], 0);
    worker.read_until(|w| w.counters.video_frames_in == 40);
    config.video = vec![video_out(320, 180)];
    worker.send(&ToWorker::Configure(config));
    worker.feed_video(&frames[40..], 0);
    worker.read_until(|w| w.video.len() >= 30);
    assert_eq!(worker.video[0].pts, ms(2000));
    assert_eq!(pictures(&worker.video, 320, 180).len(), worker.video.len());
    assert!(worker.faults.iter().any(|(_, reason)| reason.contains("waits for a keyframe")));
    worker.shut_down();
}

/// A picture file of one colour.
fn picture_file(colour: &str, name: &str) -> Bytes {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let source = format!("color={colour}:size=400x300,format=rgb24");
    let made = Command::new("ffmpeg")
        .args(["-loglevel", "error", "-f", "lavfi", "-i", &source, "-frames:v", "1"])
        .arg(&path)
        .status();
    assert!(made.unwrap().success());
    Bytes::from(std::fs::read(path).unwrap())
}

/// A live timeline whose source has gone.
fn slate(slate: Slate) -> WorkerConfig {
    let mut config = config(None, None);
    config.epoch = epoch(Duration::ZERO);
    config.max_wait = DEFAULT_MAX_WAIT;
    let mut larger = video_out(320, 180);
    larger.resume_at = Some(ms(0));
    config.video = vec![larger.clone(), VideoOut { id: OutputId(1), width: 160, height: 90, ..larger }];
    config.slate = Some(slate);
    config
}

fn shown(picture: Slate) -> Worker {
    let mut worker = Worker::start(slate(picture));
    worker.read_until(|w| w.video.len() >= 20 && w.others.get(&1).is_some_and(|f| f.len() >= 20));
    worker
}

#[test]
fn a_slate_is_shown_in_all_renditions_with_black_beside_it() {
    for file in [picture_file("white", "slate.png"), picture_file("white", "slate.jpg")] {
        let mut worker = shown(Slate::Picture(file));
        assert_eq!(worker.faults, []);
        assert_continuous(&worker.video);
        let decoded = pictures(&worker.video, 320, 180);
        let last = decoded.last().unwrap();
        assert!(last.luma(160, 90) > 225, "{}", last.luma(160, 90));
        assert!(last.luma(5, 90) < 20, "4:3 in 16:9: {}", last.luma(5, 90));
        let decoded = pictures(&worker.others[&1], 160, 90);
        assert!(decoded.last().unwrap().luma(80, 45) > 225);
        worker.shut_down();
    }
}

#[test]
fn without_a_file_the_slate_is_grey_and_a_file_that_is_no_picture_is_told_of() {
    let grey = |worker: &Worker| pictures(&worker.video, 320, 180).last().unwrap().mean_luma(180);
    let mut plain = shown(Slate::Plain);
    assert!((46.0..50.0).contains(&grey(&plain)), "{}", grey(&plain));
    assert_eq!(plain.faults, []);
    plain.shut_down();
    let mut broken = shown(Slate::Picture(Bytes::from_static(b"\xff\xd8\xff not a picture")));
    assert!((46.0..50.0).contains(&grey(&broken)));
    assert!(broken.faults[0].1.contains("the slate cannot be shown"), "{:?}", broken.faults);
    broken.shut_down();
}
