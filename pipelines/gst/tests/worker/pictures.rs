//! Every codec, size and shape in; H.264 of one size, rate and keyframe grid out.

use crate::check::{parameter_sets, pictures};
use crate::harness::{Worker, assert_continuous, config, keyframe_seconds, ms, video_out};
use crate::source;
use skywave_media::codec::Codec;
use skywave_media::worker_proto::{Encoder, ToWorker};

fn transcodes(codec: Codec) {
    let frames = source::video(codec, 320, 180, 30, 75, ms(1000));
    let mut worker = Worker::start(config(Some(video_out(320, 180)), None));
    worker.feed_video(&frames, 1);
    assert_eq!(worker.faults, []);
    assert_eq!(worker.video.len(), 75);
    assert_eq!(worker.video[0].pts, ms(1000));
    assert_continuous(&worker.video);
    assert_eq!(keyframe_seconds(&worker.video), [1.0, 2.0]);
    let decoded = pictures(&worker.video, 320, 180);
    assert_eq!(decoded.len(), 75);
    // The leftmost bar of the pattern is white and the rightmost blue.
    let picture = &decoded[74];
    assert!((225..=236).contains(&picture.luma(10, 20)), "{}", picture.luma(10, 20));
    assert!((25..60).contains(&picture.luma(310, 20)), "{}", picture.luma(310, 20));
    worker.shut_down();
}

#[test]
fn vp8_becomes_h264() {
    transcodes(Codec::Vp8);
}

#[test]
fn vp9_becomes_h264() {
    transcodes(Codec::Vp9);
}

#[test]
fn av1_becomes_h264() {
    transcodes(Codec::Av1);
}

#[test]
fn h264_becomes_h264_of_our_cadence() {
    transcodes(Codec::H264);
}

#[test]
fn openh264_is_an_encoder_too() {
    let frames = source::video(Codec::Vp8, 320, 180, 30, 75, ms(1000));
    let mut out = video_out(320, 180);
    out.encoder = Encoder::OpenH264;
    let mut worker = Worker::start(config(Some(out), None));
    worker.feed_video(&frames, 1);
    assert_continuous(&worker.video);
    assert_eq!(keyframe_seconds(&worker.video), [1.0, 2.0]);
    assert_eq!(pictures(&worker.video, 320, 180).len(), 75);
    worker.shut_down();
}

#[test]
fn the_stream_is_main_or_high_profile() {
    let frames = source::video(Codec::Vp8, 320, 180, 30, 3, ms(0));
    let mut worker = Worker::start(config(Some(video_out(320, 180)), None));
    worker.feed_video(&frames, 1);
    let sps = &parameter_sets(&worker.video[0])[0];
    assert!([77, 100].contains(&sps[1]), "profile_idc {}", sps[1]);
    worker.shut_down();
}

#[test]
fn a_turned_phone_and_a_shrinking_picture_keep_the_pinned_size_with_black_beside() {
    let mut worker = Worker::start(config(Some(video_out(320, 180)), None));
    worker.feed_video(&source::video(Codec::Vp8, 320, 180, 30, 30, ms(0)), 1);
    worker.feed_video(&source::video(Codec::Vp8, 180, 320, 30, 30, ms(1000)), 1);
    worker.feed_video(&source::video(Codec::Vp8, 160, 90, 30, 30, ms(2000)), 1);
    assert_continuous(&worker.video);
    let decoded = pictures(&worker.video, 320, 180);
    assert_eq!(decoded.len(), 90);
    let format = &worker.video[0].format;
    assert!(worker.video.iter().all(|f| f.format == *format), "one initialisation segment for all");
    // 180x320 fits as 101x180: black left and right of it.
    let turned = &decoded[45];
    assert!(turned.luma(10, 90) <= 20 && turned.luma(310, 90) <= 20);
    assert!(turned.luma(120, 20) > 150, "the pattern is in the middle");
    let small = &decoded[80];
    assert!((225..=236).contains(&small.luma(10, 20)), "scaled up to the full size: {}", small.luma(10, 20));
    worker.shut_down();
}

#[test]
fn a_change_of_codec_in_mid_track_leaves_no_mark_on_the_output() {
    let mut worker = Worker::start(config(Some(video_out(320, 180)), None));
    worker.feed_video(&source::video(Codec::Vp8, 320, 180, 30, 30, ms(0)), 1);
    worker.feed_video(&source::video(Codec::H264, 320, 180, 30, 30, ms(1000)), 1);
    worker.feed_video(&source::video(Codec::Vp9, 320, 180, 30, 30, ms(2000)), 1);
    assert_continuous(&worker.video);
    assert_eq!(keyframe_seconds(&worker.video), [0.0, 2.0]);
    assert_eq!(pictures(&worker.video, 320, 180).len(), 90);
    worker.shut_down();
}

#[test]
fn a_new_geometry_goes_on_at_the_next_slot_with_a_keyframe() {
    let frames = source::video(Codec::Vp8, 320, 180, 30, 60, ms(0));
    let mut config = config(Some(video_out(320, 180)), None);
    let mut worker = Worker::start(config.clone());
    worker.feed_video(&frames[..30], 1);
    config.video = vec![video_out(160, 90)];
    worker.send(&ToWorker::Configure(config));
    worker.read_until(|w| w.ready == 2);
    worker.feed_video(&frames[30..], 1);
    assert_continuous(&worker.video);
    assert_eq!(keyframe_seconds(&worker.video), [0.0, 1.0]);
    assert_eq!(pictures(&worker.video[..30], 320, 180).len(), 30);
    assert_eq!(pictures(&worker.video[30..], 160, 90).len(), 30);
    worker.shut_down();
}

#[test]
fn a_new_bitrate_alone_changes_nothing_else() {
    let frames = source::video(Codec::Vp8, 320, 180, 30, 60, ms(0));
    let mut config = config(Some(video_out(320, 180)), None);
    let mut worker = Worker::start(config.clone());
    worker.feed_video(&frames[..30], 1);
    config.video[0].bitrate_bps = 300_000;
    worker.send(&ToWorker::Configure(config));
    worker.read_until(|w| w.ready == 2);
    worker.feed_video(&frames[30..], 1);
    assert_eq!(keyframe_seconds(&worker.video), [0.0]);
    assert!(worker.video.iter().all(|f| f.format == worker.video[0].format));
    assert_eq!(pictures(&worker.video, 320, 180).len(), 60);
    worker.shut_down();
}
