//! Stories of a published picture that WebRTC viewers cannot show as it is: they get the worker's in its place.

use super::*;
use bytes::Bytes;
use skywave_media::codec::{Codec, Format, VideoFormat};
use skywave_media::frame::Frame;
use skywave_media::h264::AvcConfig;
use skywave_media::time::MediaTime;
use std::sync::Arc;
use std::time::Instant;
use str0m::format::Codec::H264;

/// Marks of published packets are below this, those of the rendition are not.
const RENDITION: u8 = 200;

/// A publisher of H.264 whose packets, each a NAL unit, end in a mark.
struct Camera {
    published: Published,
    sent: u64,
}

impl Camera {
    fn start(node: &Node) -> Self {
        let options = ClientOptions { video: Some(H264), audio: false, ..ClientOptions::default() };
        let mut published = publish(node, options);
        published.until_connected();
        Self { published, sent: 0 }
    }

    fn shoot(&mut self, keyframe: bool, mark: u8) {
        let header = if keyframe { 0x65 } else { 0x41 };
        let client = &mut self.published.client;
        client.write(
            client.video.unwrap(),
            500 + self.sent,
            self.sent as u32 * 3_000,
            true,
            &[header, 0x88, mark],
        );
        self.sent += 1;
    }

    fn run(&mut self, viewers: &mut [&mut Watching], mut done: impl FnMut(&[&mut Watching]) -> bool) {
        let start = Instant::now();
        while !done(viewers) {
            assert!(start.elapsed() < PATIENCE, "waited in vain");
            viewers.iter_mut().for_each(|v| v.client.poll());
            self.published.client.poll();
            while self.published.inbox.try_recv().is_ok() {}
        }
    }
}

fn watch_h264(node: &Node) -> Watching {
    watch(node, ClientOptions { video: Some(H264), audio: false, ..ClientOptions::default() })
}

fn marks(viewer: &Watching) -> Vec<u8> {
    viewer.client.received.iter().map(|p| *p.payload.last().unwrap()).collect()
}

/// A frame as the worker gives it.
fn encoded(keyframe: bool, mark: u8, at_ms: i64) -> Frame {
    let hex = |text: &str| -> Bytes {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    };
    let sps = hex("6764001facd9405005bb016a02020280000003008000001e478c18cb");
    let config = AvcConfig::new(vec![sps], vec![hex("68ebecb22c")]).build().unwrap();
    let format = Format::Video(VideoFormat { codec: Codec::H264, width: 1280, height: 720, config });
    let pts = MediaTime::new(at_ms, 1_000).rescale(90_000);
    let header = if keyframe { 0x65 } else { 0x41 };
    let data = Bytes::copy_from_slice(&[0, 0, 0, 3, header, 0x88, mark]);
    Frame { format: Arc::new(format), pts, dts: pts, duration: None, keyframe, data }
}

fn b_frames(threads: usize) {
    let node = start(NodeConfig { threads, ..loopback_config() });
    let epoch = crate::clock::now();
    let mut camera = Camera::start(&node);
    camera.shoot(true, 1);
    camera.shoot(false, 2);
    camera.run(&mut [], |_| node.broadcast("demo").is_some_and(|b| !b.layers.is_empty()));
    let (mut first, mut second) = (watch_h264(&node), watch_h264(&node));
    camera.run(&mut [&mut first, &mut second], |viewers| viewers.iter().all(|v| marks(v) == [1, 2]));

    // The stream's owner has seen a B-frame: from here on, nobody gets what is published.
    let mut rendition = node.rendition("demo");
    rendition.stand_in(true);
    until(&node, |node| wait(node.viewers("demo")).iter().all(|viewer| viewer.video.is_none()));
    // They need it now, so that a stream that is encoded on demand wakes for them.
    until(&node, |node| node.broadcast("demo").is_some_and(|b| b.rendition_viewers == 2));
    camera.shoot(false, 3);
    camera.shoot(true, 4);
    for (n, keyframe) in [true, false, false].into_iter().enumerate() {
        rendition
            .push(&encoded(keyframe, RENDITION + n as u8, n as i64 * 33), epoch, crate::clock::now())
            .unwrap();
    }
    let shown = [1, 2, RENDITION, RENDITION + 1, RENDITION + 2];
    camera.run(&mut [&mut first, &mut second], |viewers| viewers.iter().all(|v| marks(v) == shown));
    for viewer in [&first, &second] {
        let packets = &viewer.client.received;
        packets.windows(2).for_each(|pair| {
            assert_eq!(*pair[1].seq_no, *pair[0].seq_no + 1);
            assert!(pair[1].header.timestamp.wrapping_sub(pair[0].header.timestamp) as i32 > 0);
            assert_eq!(pair[0].header.ssrc, pair[1].header.ssrc);
        });
    }
    // Who comes late begins with the rendition, wherever it is.
    let mut late = watch_h264(&node);
    camera.run(&mut [&mut late], |viewers| marks(viewers[0]) == shown[2..]);

    // The next publisher has no B-frames.
    node.close(&camera.published.session);
    until(&node, |node| node.broadcast("demo").is_some_and(|b| !b.published));
    let mut next = Camera::start(&node);
    rendition.stand_in(false);
    next.shoot(true, 101);
    next.shoot(false, 102);
    let mut all = [&mut first, &mut second, &mut late];
    next.run(&mut all, |viewers| viewers.iter().all(|v| marks(v).ends_with(&[101, 102])));
    until(&node, |node| node.broadcast("demo").is_some_and(|b| b.rendition_viewers == 0));
}

#[test]
fn viewers_of_b_frames_get_the_rendition_and_those_of_the_next_publisher_its_own_pictures() {
    b_frames(1);
}

#[test]
fn so_do_viewers_on_other_threads() {
    b_frames(3);
}

#[test]
fn a_viewer_that_cannot_decode_what_is_published_gets_the_rendition_and_others_do_not() {
    let node = start(loopback_config());
    let epoch = crate::clock::now();
    let mut camera = watching::Camera::start(&node);
    camera.shoot(true);
    camera.run(&mut [], |_, _| node.broadcast("demo").is_some_and(|b| !b.layers.is_empty()));
    let (mut h264, mut vp8) = (watch_h264(&node), watch(&node, ClientOptions::default()));
    let mut rendition = node.rendition("demo");
    rendition.push(&encoded(true, RENDITION, 0), epoch, crate::clock::now()).unwrap();
    camera.shoot(false);
    camera.run(&mut [&mut h264, &mut vp8], |viewers, _| {
        marks(viewers[0]) == [RENDITION] && viewers[1].marks().len() == 4
    });
}
