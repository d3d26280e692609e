//! Several renditions of one source: decoded once, the same frames at the same times, keyframes in the same places.

use crate::check::pictures;
use crate::harness::{Worker, assert_continuous, config, keyframe_seconds, ms, video_out};
use crate::source;
use skywave_media::codec::Codec;
use skywave_media::frame::Frame;
use skywave_media::time::MediaTime;
use skywave_media::worker_proto::{OutputId, Pace, ToWorker, VideoOut, WorkerConfig};

const SIZES: [(u32, u32); 3] = [(640, 360), (426, 240), (214, 120)];

fn out(id: u8) -> VideoOut {
    let (width, height) = SIZES[usize::from(id)];
    VideoOut { id: OutputId(id), bitrate_bps: 400_000, ..video_out(width, height) }
}

fn ladder(ids: &[u8]) -> WorkerConfig {
    WorkerConfig { video: ids.iter().map(|id| out(*id)).collect(), ..config(None, None) }
}

/// The frames of every rendition so far, the largest first.
fn renditions(worker: &Worker) -> Vec<&[Frame]> {
    let others = worker.others.values().map(Vec::as_slice);
    std::iter::once(worker.video.as_slice()).chain(others).collect()
}

fn times(frames: &[Frame]) -> Vec<(i64, bool)> {
    frames.iter().map(|frame| (frame.pts.rescale(90_000).ticks, frame.keyframe)).collect()
}

fn assert_decodes(frames: &[Frame], id: u8) {
    let (width, height) = SIZES[usize::from(id)];
    let decoded = pictures(frames, width as usize, height as usize);
    assert_eq!(decoded.len(), frames.len());
    // White on the left of the test pattern, blue on the right.
    let last = decoded.last().unwrap();
    let (middle, right) = (height as usize / 8, width as usize - 6);
    assert!((220..=240).contains(&last.luma(6, middle)), "{}", last.luma(6, middle));
    assert!((25..70).contains(&last.luma(right, middle)), "{}", last.luma(right, middle));
}

#[test]
fn all_renditions_have_the_same_frames_and_keyframes_and_are_decoded_once() {
    let frames = source::video(Codec::Vp8, 640, 360, 30, 135, ms(1000));
    let mut worker = Worker::start(ladder(&[0, 1, 2]));
    worker.feed_video(&frames, 1);
    worker.read_until(|w| renditions(w).iter().all(|frames| frames.len() == 135));
    for (frames, id) in renditions(&worker).into_iter().zip(0..) {
        assert_continuous(frames);
        assert_eq!(times(frames), times(&worker.video));
        assert_eq!(keyframe_seconds(frames), [1.0, 2.0, 4.0]);
        assert_decodes(frames, id);
    }
    worker.read_until(|w| w.counters.video_frames_out == 3 * 135);
    assert_eq!(worker.counters.pictures_decoded, 135);
    assert_eq!(worker.faults, []);
    worker.shut_down();
}

#[test]
fn a_rendition_that_joins_begins_at_the_next_keyframe_of_the_others_and_one_that_leaves_disturbs_nobody() {
    let frames = source::video(Codec::Vp8, 640, 360, 30, 150, ms(0));
    let both = ladder(&[1, 2]);
    let one = WorkerConfig { video: vec![out(1)], ..both.clone() };
    let mut worker = Worker::start(both.clone());
    let frames_of = |w: &Worker, id: u8| w.others.get(&id).map_or(0, Vec::len);
    for frame in &frames {
        match frame.pts.rescale(30).ticks {
            20 | 45 => worker.send(&ToWorker::Configure(both.clone())),
            30 => worker.send(&ToWorker::Configure(one.clone())),
            _ => {}
        }
        let before = frames_of(&worker, 1);
        worker.send_frame(frame);
        worker.read_until(|w| frames_of(w, 1) > before);
    }
    worker.read_until(|w| w.others[&2].last().unwrap().pts == w.others[&1].last().unwrap().pts);
    let (stays, comes) = (&worker.others[&1], &worker.others[&2]);
    assert_continuous(stays);
    assert_eq!(keyframe_seconds(stays), [0.0, 2.0, 4.0], "nothing but the grid");
    assert_eq!(keyframe_seconds(comes), [0.0, 2.0, 4.0]);
    assert_eq!(comes.iter().take_while(|f| f.pts < ms(1000)).count(), 30, "all of its frames came out");
    assert!(!comes.iter().any(|f| f.pts >= ms(1000) && f.pts < ms(2000)));
    assert_decodes(stays, 1);
    assert_decodes(&comes[30..], 2);
    worker.shut_down();
}

#[test]
fn a_larger_rendition_that_joins_or_leaves_keeps_the_smaller_ones_decodable_and_aligned() {
    let frames = source::video(Codec::Vp8, 640, 360, 30, 90, ms(0));
    let both = ladder(&[0, 1]);
    let mut worker = Worker::start(both.clone());
    worker.feed_video(&frames[..30], 1);
    worker.send(&ToWorker::Configure(WorkerConfig { video: vec![out(1)], ..both.clone() }));
    worker.read_until(|w| w.ready == 2);
    for frame in &frames[30..60] {
        let before = worker.others[&1].len();
        worker.send_frame(frame);
        worker.read_until(|w| w.others[&1].len() > before);
    }
    worker.send(&ToWorker::Configure(both));
    worker.read_until(|w| w.ready == 3);
    worker.feed_video(&frames[60..], 1);
    worker.read_until(|w| w.others[&1].len() == 90);
    assert_continuous(&worker.others[&1]);
    assert_decodes(&worker.others[&1], 1);
    assert_decodes(&worker.video[30..], 0);
    let cuts = keyframe_seconds(&worker.others[&1]);
    assert!(keyframe_seconds(&worker.video).iter().all(|at| cuts.contains(at)), "{cuts:?}");
    worker.shut_down();
}

#[test]
fn beside_a_passed_through_source_every_frame_and_keyframe_stands_where_the_source_has_it() {
    let mut config = ladder(&[1, 2]);
    config.pace = Pace::Source;
    let mut frames = source::video(Codec::H264, 640, 360, 30, 130, ms(500));
    // A camera that is late now and then, and never on a grid.
    for (frame, number) in frames.iter_mut().zip(0i64..) {
        frame.pts = frame.pts + MediaTime::from_90k(number * number * 7919 % 1700);
        frame.dts = frame.pts;
    }
    let mut worker = Worker::start(config);
    for frame in &frames {
        let before = worker.others.get(&1).map_or(0, Vec::len);
        worker.send_frame(frame);
        worker.read_until(|w| w.others.get(&1).map_or(0, Vec::len) > before);
    }
    worker.read_until(|w| w.others[&2].len() == 130);
    assert_eq!(frames.iter().filter(|f| f.keyframe).count(), 3);
    for id in [1, 2] {
        assert_eq!(times(&worker.others[&id]), times(&frames), "to the tick");
        assert_decodes(&worker.others[&id], id);
    }
    worker.shut_down();
}

#[test]
fn beside_a_faster_source_frames_are_left_out_and_no_keyframe() {
    let mut config = ladder(&[1]);
    config.pace = Pace::Source;
    let frames = source::video(Codec::H264, 640, 360, 60, 121, ms(0));
    let mut worker = Worker::start(config);
    for pair in frames.chunks(2) {
        let before = worker.others.get(&1).map_or(0, Vec::len);
        pair.iter().for_each(|frame| worker.send_frame(frame));
        worker.read_until(|w| w.others.get(&1).map_or(0, Vec::len) > before);
    }
    assert_eq!(worker.others[&1].len(), 61);
    assert_eq!(keyframe_seconds(&worker.others[&1]), keyframe_seconds(&frames));
    assert_decodes(&worker.others[&1], 1);
    worker.shut_down();
}

#[test]
fn a_restarted_worker_goes_on_with_each_rendition_at_its_own_tick() {
    let mut config = ladder(&[0, 1, 2]);
    for (out, at) in config.video.iter_mut().zip([10_000, 9_800, 9_900]) {
        out.resume_at = Some(ms(at));
    }
    let mut worker = Worker::start(config);
    worker.feed_video(&source::video(Codec::Vp8, 640, 360, 30, 10, ms(10_200)), 0);
    worker.read_until(|w| {
        renditions(w).iter().all(|frames| frames.last().is_some_and(|f| f.pts >= ms(10_500)))
    });
    let firsts: Vec<_> = renditions(&worker).iter().map(|frames| frames[0].pts).collect();
    assert_eq!(firsts, [ms(10_000), ms(9_800), ms(9_900)]);
    for (frames, id) in renditions(&worker).into_iter().zip(0..) {
        assert_continuous(frames);
        assert!(frames[0].keyframe);
        assert_decodes(frames, id);
    }
    worker.shut_down();
}

#[test]
fn a_ladder_of_a_phone_that_is_turned_keeps_all_sizes() {
    let mut worker = Worker::start(ladder(&[0, 1]));
    worker.feed_video(&source::video(Codec::Vp8, 640, 360, 30, 20, ms(0)), 1);
    worker.feed_video(&source::video(Codec::Vp8, 360, 640, 30, 20, MediaTime::from_90k(60_000)), 1);
    worker.read_until(|w| w.others[&1].len() == 40);
    for (frames, id) in renditions(&worker).into_iter().zip(0usize..) {
        let (width, height) = SIZES[id];
        assert!(frames.iter().all(|f| f.format == frames[0].format));
        let decoded = pictures(frames, width as usize, height as usize);
        let turned = decoded.last().unwrap();
        assert!(turned.luma(6, height as usize / 2) <= 20, "black beside the upright picture");
        assert!(turned.luma(width as usize * 2 / 5, 10) > 120, "the picture in the middle");
    }
    worker.shut_down();
}
