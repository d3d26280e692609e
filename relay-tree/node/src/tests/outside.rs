//! Stories of a publisher that is no session: its packets reach viewers as a session's do.

use super::*;
use bytes::Bytes;
use skywave_media::codec::Codec;
use skywave_media::packet::Packet;
use std::time::Instant;

/// A VP8 picture of one packet that ends in a mark.
fn picture(number: u32, keyframe: bool) -> Packet {
    let payload = Bytes::from(vec![0x10, u8::from(!keyframe), 0, 0, number as u8]);
    let (sequence, timestamp) = (number as u16, number * 3_000);
    let arrival = crate::clock::now();
    Packet { ssrc: 7, sequence, timestamp, marker: true, codec: Codec::Vp8, arrival, payload }
}

fn run(viewers: &mut [&mut Watching], mut done: impl FnMut(&[&mut Watching]) -> bool) {
    let start = Instant::now();
    while !done(viewers) {
        assert!(start.elapsed() < PATIENCE, "waited in vain");
        viewers.iter_mut().for_each(|viewer| viewer.client.poll());
    }
}

fn marks(viewer: &Watching) -> Vec<u8> {
    viewer.client.received.iter().map(|packet| *packet.payload.last().unwrap()).collect()
}

fn only_video() -> ClientOptions {
    ClientOptions { audio: false, ..ClientOptions::default() }
}

#[test]
fn its_viewers_begin_at_its_keyframe_on_every_thread_and_nobody_is_asked_for_one() {
    let node = start(NodeConfig { threads: 3, ..loopback_config() });
    let mut feed = node.begin_feed("demo");
    (0..10).for_each(|number| feed.push(&picture(number, number == 0)));
    until(&node, |node| node.broadcast("demo").is_some_and(|b| !b.layers.is_empty()));
    let mut viewers: Vec<Watching> = (0..3).map(|_| watch(&node, only_video())).collect();
    let mut all: Vec<&mut Watching> = viewers.iter_mut().collect();
    run(&mut all, |viewers| viewers.iter().all(|viewer| marks(viewer).len() >= 10));
    (10..20).for_each(|number| feed.push(&picture(number, false)));
    run(&mut all, |viewers| viewers.iter().all(|viewer| marks(viewer).len() >= 20));
    all.iter().for_each(|viewer| assert_eq!(marks(viewer), (0..20).collect::<Vec<u8>>()));
    assert_eq!(node.stats().total().panics, 0);

    // Gone, it is on air no more; the viewers wait for whoever comes.
    drop(feed);
    until(&node, |node| node.broadcast("demo").is_some_and(|b| !b.published));
    let mut again = node.begin_feed("demo");
    (40..45).for_each(|number| again.push(&picture(number, number == 40)));
    run(&mut all, |viewers| viewers.iter().all(|viewer| marks(viewer).ends_with(&[40, 41, 42, 43, 44])));
}

#[test]
fn a_session_takes_over_from_it_and_its_packets_count_no_more() {
    let node = start(loopback_config());
    let mut feed = node.begin_feed("demo");
    feed.push(&picture(0, true));
    until(&node, |node| node.broadcast("demo").is_some_and(|b| !b.layers.is_empty()));
    let mut camera = watching::Camera::start(&node);
    assert!(!feed.is_on_air());
    feed.push(&picture(1, true));
    let mut viewer = watch(&node, ClientOptions::default());
    camera.shoot(true);
    camera.run(&mut [&mut viewer], |viewers, _| viewers[0].marks().len() >= 2);
    assert_eq!(viewer.marks(), [0, 0], "both packets of the camera's first picture");
    drop(feed);
    assert!(node.broadcast("demo").is_some_and(|b| b.published), "the session's broadcast goes on");
}
