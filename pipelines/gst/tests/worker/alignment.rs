//! Flash and beep: what was seen and heard at one time still is.

use crate::check::{pictures, sound};
use crate::harness::{Worker, audio_out, config, ms, video_out};
use crate::source::{self, Sound};
use skywave_media::codec::Codec;

/// Where a click in the source comes out, in milliseconds on the timeline.
fn click_comes_out_at(click_ms: f64) -> f64 {
    // A burst of 1 ms, sharp enough for its middle to be found after two lossy codecs.
    let source = Sound::new(2.0, |t| {
        let since = (t * 1000.0 - click_ms).abs();
        [if since < 0.5 { 0.9 } else { 0.0 }; 2]
    });
    let frames = source::audio_from(&source.description(), ms(500));
    let mut worker = Worker::start(config(None, Some(audio_out())));
    for frame in &frames {
        worker.send_frame(frame);
    }
    worker.read_until(|w| w.audio.len() >= 2 * 48_000 / 1024 - 3);
    worker.shut_down();
    let heard = sound(&worker.audio);
    let loudness = |i: usize| heard[i..i + 48].iter().map(|s| s[0] * s[0]).sum::<f64>();
    let loudest = (0..heard.len() - 48).max_by(|a, b| loudness(*a).total_cmp(&loudness(*b))).unwrap();
    let middle = loudest as f64 + 24.0;
    (worker.audio[0].pts.rescale(48_000).ticks as f64 + middle) / 48.0
}

#[test]
fn a_click_is_heard_where_it_was_made() {
    for click_ms in [300.0, 1000.0, 1503.3] {
        let error = click_comes_out_at(click_ms) - 500.0 - click_ms;
        eprintln!("error {error:.2} ms");
        assert!(error.abs() <= 2.0, "{error} ms late");
    }
}

#[test]
fn a_flash_is_seen_in_the_slot_of_its_picture() {
    let dark = "videotestsrc num-buffers=20 pattern=black";
    let mut frames = source::video_from(dark, Codec::Vp8, 160, 90, 30, ms(0));
    let flash = "videotestsrc num-buffers=1 pattern=white";
    frames.extend(source::video_from(
        flash,
        Codec::Vp8,
        160,
        90,
        30,
        skywave_media::time::MediaTime::new(20, 30),
    ));
    frames.extend(source::video_from(
        dark,
        Codec::Vp8,
        160,
        90,
        30,
        skywave_media::time::MediaTime::new(21, 30),
    ));
    let mut worker = Worker::start(config(Some(video_out(160, 90)), None));
    worker.feed_video(&frames, 1);
    let luma: Vec<_> = pictures(&worker.video, 160, 90).iter().map(|p| p.mean_luma(90)).collect();
    let bright: Vec<_> = (0..luma.len()).filter(|i| luma[*i] > 120.0).collect();
    assert_eq!(bright, [20]);
    assert_eq!(worker.video[20].pts.rescale(90_000).ticks, 60_000);
    worker.shut_down();
}
