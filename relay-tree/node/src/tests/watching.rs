//! Stories of viewers. The client on the other side is str0m, so what our ICE, SRTP and RTCP write is read by another stack.

use super::*;
use crate::{LayerChoice, OfferError, PatchAnswer, PatchError, PatchRequest, ViewerControl, WatchError};
use skywave_media::codec::TrackKind;
use std::time::Instant;
use str0m::media::Mid;

/// A VP8 payload of one packet with a 15-bit picture id.
fn vp8(picture: u16, keyframe: bool, start: bool, mark: u8) -> Vec<u8> {
    let [high, low] = (picture | 0x8000).to_be_bytes();
    vec![0x80 | if start { 0x10 } else { 0 }, 0x80, high, low, u8::from(!keyframe), mark, 0, 0]
}

/// The picture id and the mark of such a payload.
fn read_vp8(payload: &[u8]) -> (u16, u8) {
    (u16::from_be_bytes([payload[2], payload[3]]) & 0x7fff, payload[5])
}

/// A camera: frames of two packets of VP8 and one of Opus, numbered.
pub(super) struct Camera {
    published: Published,
    video: Mid,
    audio: Mid,
    frame: u64,
}

impl Camera {
    pub(super) fn start(node: &Node) -> Self {
        let mut published = publish(node, ClientOptions::default());
        published.until_connected();
        let (video, audio) = (published.client.video.unwrap(), published.client.audio.unwrap());
        Self { published, video, audio, frame: 0 }
    }

    /// Sends the next frame; its packets carry the frame's number.
    pub(super) fn shoot(&mut self, keyframe: bool) {
        let n = self.frame;
        let client = &mut self.published.client;
        let timestamp = 1_000_000 + n as u32 * 3_000;
        for half in 0..2 {
            let payload = vp8(500 + n as u16, keyframe, half == 0, n as u8);
            client.write(self.video, 40_000 + n * 2 + half, timestamp, half == 1, &payload);
        }
        client.write(self.audio, 7 + n, n as u32 * 960, false, &[0xfc, n as u8]);
        self.frame += 1;
    }

    /// Lets publisher and viewers run until `done`.
    pub(super) fn run(
        &mut self,
        viewers: &mut [&mut Watching],
        mut done: impl FnMut(&mut [&mut Watching], &mut Self) -> bool,
    ) {
        let start = Instant::now();
        while !done(viewers, self) {
            assert!(start.elapsed() < PATIENCE, "waited in vain");
            viewers.iter_mut().for_each(|v| v.client.poll());
            self.published.client.poll();
            while self.published.inbox.try_recv().is_ok() {}
        }
    }
}

impl Watching {
    fn of(&self, mid: Mid) -> impl Iterator<Item = &str0m::rtp::RtpPacket> {
        // Video has dynamic type 96 and up in str0m's offers, audio 111.
        let audio = Some(mid) == self.client.audio;
        self.client.received.iter().filter(move |p| (p.payload.len() == 2) == audio)
    }

    fn video(&self) -> Vec<&str0m::rtp::RtpPacket> {
        self.of(self.client.video.unwrap()).collect()
    }

    pub(super) fn marks(&self) -> Vec<u8> {
        self.video().iter().map(|p| read_vp8(&p.payload).1).collect()
    }
}

fn contiguous(packets: &[&str0m::rtp::RtpPacket]) {
    let mut sequences: Vec<u64> = packets.iter().map(|p| *p.seq_no).collect();
    sequences.sort_unstable();
    sequences.windows(2).for_each(|pair| assert_eq!(pair[1], pair[0] + 1, "{sequences:?}"));
}

fn watch_story(threads: usize) {
    let node = start(NodeConfig { threads, ..loopback_config() });
    let mut camera = Camera::start(&node);
    camera.shoot(true);
    (0..5).for_each(|_| camera.shoot(false));
    camera.run(&mut [], |_, camera| {
        camera.published.client.socket.local_addr().is_ok()
            && node.broadcast("demo").is_some_and(|b| !b.layers.is_empty())
    });
    // Viewers come in the middle: they get the picture from its beginning, then what follows.
    let mut viewers: Vec<Watching> = (0..3).map(|_| watch(&node, ClientOptions::default())).collect();
    let mut all: Vec<&mut Watching> = viewers.iter_mut().collect();
    camera.run(&mut all, |viewers, _| viewers.iter().all(|v| v.marks().len() >= 12));
    assert_eq!(node.broadcast("demo").unwrap().viewers, 3);
    for _ in 0..10 {
        camera.shoot(false);
        camera.run(&mut all, |viewers, camera| {
            viewers.iter().all(|v| {
                v.marks().last().copied() == Some(camera.frame as u8 - 1)
                    && v.marks().len() == 2 * camera.frame as usize
            })
        });
    }
    let audio = all[0].client.audio.unwrap();
    camera.run(&mut all, |viewers, _| viewers.iter().all(|v| v.of(audio).count() >= 10));
    for viewer in &all {
        let video = viewer.video();
        contiguous(&video);
        assert_eq!(viewer.marks(), (0..16).flat_map(|n| [n, n]).collect::<Vec<u8>>());
        let ids: Vec<u16> = video.iter().map(|p| read_vp8(&p.payload).0).collect();
        ids.windows(2).for_each(|pair| assert!(pair[1].wrapping_sub(pair[0]) & 0x7fff <= 1, "{ids:?}"));
        let stamps: Vec<u32> = video.iter().map(|p| p.header.timestamp).collect();
        // The past is squeezed, the present has its natural distances.
        let past = stamps[11].wrapping_sub(stamps[0]);
        assert!(past > 0 && past < 3_000, "five frames within {past} ticks");
        stamps[11..].chunks(2).zip(stamps[13..].chunks(2)).for_each(|(a, b)| {
            assert_eq!(b[0].wrapping_sub(a[0]), 3_000);
        });
    }
    let stats = node.stats().total();
    assert_eq!((stats.viewers, stats.panics, stats.rejected_srtcp), (3, 0, 0));
    assert_eq!(stats.keyframe_requests, 0, "everybody began from the cache");
}

#[test]
fn viewers_who_come_late_get_the_picture_at_once_and_then_live() {
    watch_story(1);
}

#[test]
fn viewers_on_other_threads_get_the_same() {
    watch_story(3);
}

/// A camera with one viewer that shows it.
fn shown(node: &Node) -> (Camera, Watching) {
    let mut camera = Camera::start(node);
    camera.shoot(true);
    camera.run(&mut [], |_, _| node.broadcast("demo").is_some_and(|b| !b.layers.is_empty()));
    let mut viewer = watch(node, ClientOptions::default());
    camera.run(&mut [&mut viewer], |viewers, _| viewers[0].marks().len() == 2);
    (camera, viewer)
}

/// So many viewers that packets wait a moment for the rest of their frame.
fn crowd(node: &Node) -> (Camera, Vec<Watching>) {
    let mut camera = Camera::start(node);
    camera.shoot(true);
    camera.run(&mut [], |_, _| node.broadcast("demo").is_some_and(|b| !b.layers.is_empty()));
    let mut viewers: Vec<Watching> = (0..20).map(|_| watch(node, ClientOptions::default())).collect();
    let mut all: Vec<&mut Watching> = viewers.iter_mut().collect();
    camera.run(&mut all, |viewers, _| viewers.iter().all(|v| v.marks().len() == 2));
    (camera, viewers)
}

#[test]
fn a_frame_that_comes_in_pieces_leaves_as_one_run_and_what_pads_it_is_not_seen() {
    for gso in [true, false] {
        let node = start(NodeConfig { gso, ..loopback_config() });
        let (mut camera, mut viewers) = crowd(&node);
        let saved = || {
            let stats = node.stats().total();
            stats.datagrams_out - stats.sends
        };
        let (before, start) = (saved(), Instant::now());
        let sizes = [1_000, 1_001, 990, 1_001, 300];
        let mut frames = 0;
        // A machine that is very busy may let the pieces come one by one.
        while frames == 0 || gso && saved() == before {
            assert!(start.elapsed() < PATIENCE, "no call was saved");
            frames += 1;
            for (n, size) in (0..).zip(sizes) {
                let mut payload = vp8(500 + frames as u16, false, n == 0, 1);
                payload.resize(size, 7);
                let (sequence, timestamp) = (39_997 + frames * 5 + n, 1_000_000 + frames as u32 * 3_000);
                camera.published.client.write(camera.video, sequence, timestamp, n == 4, &payload);
            }
            let mut all: Vec<&mut Watching> = viewers.iter_mut().collect();
            let come = 2 + 5 * frames as usize;
            camera.run(&mut all, |viewers, _| viewers.iter().all(|v| v.marks().len() == come));
        }
        for viewer in &viewers {
            contiguous(&viewer.video());
            let got: Vec<usize> = viewer.video()[2..].iter().map(|p| p.payload.len()).collect();
            assert_eq!(got, sizes.repeat(frames as usize));
        }
        assert!(gso || saved() == before, "runs leave only where they are allowed");
    }
}

#[test]
fn half_a_frame_whose_rest_never_comes_is_sent_all_the_same() {
    let node = start(loopback_config());
    let (mut camera, mut viewers) = crowd(&node);
    let half = vp8(501, false, true, 1);
    camera.published.client.write(camera.video, 40_002, 1_003_000, false, &half);
    let mut all: Vec<&mut Watching> = viewers.iter_mut().collect();
    camera.run(&mut all, |viewers, _| viewers.iter().all(|v| v.marks().len() == 3));
}

#[test]
fn a_packet_lost_on_the_viewers_side_is_sent_again() {
    let node = start(loopback_config());
    let (mut camera, mut viewer) = shown(&node);
    let next = *viewer.video().last().unwrap().seq_no as u16;
    viewer.client.lose_incoming = [next.wrapping_add(2), next.wrapping_add(3), next.wrapping_add(6)].into();
    (0..6).for_each(|_| camera.shoot(false));
    camera.run(&mut [&mut viewer], |viewers, _| viewers[0].marks().len() == 14);
    assert!(viewer.client.lose_incoming.is_empty(), "they were lost");
    contiguous(&viewer.video());
    let mut marks = viewer.marks();
    assert_ne!(marks, (0..7).flat_map(|n| [n, n]).collect::<Vec<u8>>(), "what was lost comes late");
    marks.sort_unstable();
    assert_eq!(marks, (0..7).flat_map(|n| [n, n]).collect::<Vec<u8>>());
    assert!(node.stats().total().retransmitted >= 3);
}

#[test]
fn a_viewer_stays_while_its_publisher_is_replaced_and_nothing_jumps() {
    let node = start(NodeConfig { threads: 2, ..loopback_config() });
    let (mut camera, mut viewer) = shown(&node);
    camera.shoot(false);
    camera.run(&mut [&mut viewer], |viewers, _| viewers[0].marks().len() == 4);
    let ssrc = viewer.video()[0].header.ssrc;
    node.close(&camera.published.session);
    until(&node, |node| node.broadcast("demo").is_some_and(|b| !b.published));
    let mut second = Camera::start(&node);
    second.frame = 100;
    second.shoot(true);
    (0..3).for_each(|_| second.shoot(false));
    second.run(&mut [&mut viewer], |viewers, _| viewers[0].marks().len() == 12);
    let video = viewer.video();
    contiguous(&video);
    assert!(video.iter().all(|p| p.header.ssrc == ssrc));
    assert_eq!(viewer.marks()[4..], [100, 100, 101, 101, 102, 102, 103, 103]);
    let stamps: Vec<u32> = video.iter().map(|p| p.header.timestamp).collect();
    stamps.windows(2).for_each(|pair| assert!((pair[1].wrapping_sub(pair[0]) as i32) >= 0, "{stamps:?}"));
    let ids: Vec<u16> = video.iter().map(|p| read_vp8(&p.payload).0).collect();
    ids.windows(2).for_each(|pair| assert!(pair[1].wrapping_sub(pair[0]) & 0x7fff <= 1, "{ids:?}"));
}

#[test]
fn many_who_want_a_keyframe_cost_the_publisher_one_request() {
    let node = start(NodeConfig { threads: 2, ..loopback_config() });
    let mut camera = Camera::start(&node);
    // No keyframe yet: everybody has to wait for one.
    camera.shoot(false);
    camera.run(&mut [], |_, _| node.broadcast("demo").is_some_and(|b| !b.layers.is_empty()));
    let mut viewers: Vec<Watching> = (0..6).map(|_| watch(&node, ClientOptions::default())).collect();
    let mut all: Vec<&mut Watching> = viewers.iter_mut().collect();
    camera.run(&mut all, |viewers, _| viewers.iter().all(|v| v.client.connected));
    camera.run(&mut all, |_, camera| !camera.published.client.keyframe_requests.is_empty());
    camera.shoot(true);
    camera.run(&mut all, |viewers, _| viewers.iter().all(|v| v.marks().len() == 2));
    for viewer in all.iter_mut() {
        let video = viewer.client.video.unwrap();
        viewer.client.request_keyframe(video);
    }
    camera.run(&mut all, |_, _| node.stats().total().keyframes_wanted >= 6);
    assert!(camera.published.client.keyframe_requests.len() <= 2);
    assert!(node.stats().total().keyframe_requests <= 2);
}

#[test]
fn sender_reports_come_for_both_lanes() {
    let node = start(loopback_config());
    let (mut camera, mut viewer) = shown(&node);
    camera.shoot(false);
    // str0m's publisher reports within a second or so; from then on our own reports can say what time it is.
    camera.run(&mut [&mut viewer], |viewers, _| {
        let mut ssrcs: Vec<u32> = viewers[0].client.reports.iter().map(|(ssrc, _)| *ssrc).collect();
        ssrcs.sort_unstable();
        ssrcs.dedup();
        ssrcs.len() == 2
    });
    let ssrc = *viewer.video()[0].header.ssrc;
    let newest = viewer.video().last().unwrap().header.timestamp;
    let (_, told) = viewer.client.reports.iter().find(|(s, _)| *s == ssrc).unwrap();
    let ahead = told.wrapping_sub(newest) as i32;
    assert!((-90_000..90_000 * 20).contains(&ahead), "the report is about now: {ahead} ticks");
}

#[test]
fn a_viewer_whose_nat_rebinds_is_followed() {
    let node = start(loopback_config());
    let (mut camera, mut viewer) = shown(&node);
    viewer.client.rebind();
    let before = viewer.marks().len();
    let begun = Instant::now();
    camera.run(&mut [&mut viewer], |viewers, camera| {
        if begun.elapsed().as_millis() as u64 / 100 > camera.frame {
            camera.shoot(false);
        }
        viewers[0].marks().len() > before
    });
    assert_eq!(node.stats().total().sessions_connected, 2, "it is the same session");
}

#[test]
fn a_muted_lane_is_silent_and_comes_back_with_a_keyframe() {
    let node = start(loopback_config());
    let (mut camera, mut viewer) = shown(&node);
    assert!(node.control(&viewer.session, ViewerControl::Mute { kind: TrackKind::Video, muted: true }));
    camera.shoot(true);
    camera.shoot(false);
    let audio = viewer.client.audio.unwrap();
    camera.run(&mut [&mut viewer], |viewers, _| viewers[0].of(audio).count() >= 2);
    assert_eq!(viewer.marks().len(), 2, "nothing came of the video");
    assert!(node.control(&viewer.session, ViewerControl::Mute { kind: TrackKind::Video, muted: false }));
    camera.run(&mut [&mut viewer], |viewers, _| viewers[0].marks().len() >= 6);
    assert_eq!(viewer.marks()[2..6], [1, 1, 2, 2], "from the keyframe on");
    contiguous(&viewer.video());
    assert!(!node.control(&camera.published.session, ViewerControl::Layer(LayerChoice::Automatic)));
}

#[test]
fn a_viewer_that_leaves_or_vanishes_leaves_nothing() {
    let viewer_timeout = Duration::from_millis(300);
    let node = start(NodeConfig { viewer_timeout, ..loopback_config() });
    let (camera, viewer) = shown(&node);
    assert!(node.close(&viewer.session));
    until(&node, |node| node.stats().total().viewers == 0);
    assert!(!node.close(&viewer.session));
    assert_eq!(node.broadcast("demo").unwrap().viewers, 0);
    let mut camera = camera;
    camera.shoot(true);
    let mut second = watch(&node, ClientOptions::default());
    camera.run(&mut [&mut second], |viewers, _| !viewers[0].marks().is_empty());
    // Now neither side runs: as if the cable were cut.
    until(&node, |node| node.stats().total().viewers == 0);
    assert_eq!(node.broadcast("demo").unwrap().viewers, 0);
}

#[test]
fn a_stream_that_ends_takes_its_viewers_with_it() {
    let node = start(NodeConfig { threads: 2, ..loopback_config() });
    let (camera, mut viewer) = shown(&node);
    node.end_broadcast("demo");
    assert!(node.broadcast("demo").is_some(), "it has a publisher");
    node.close(&camera.published.session);
    until(&node, |node| node.broadcast("demo").is_some_and(|b| !b.published));
    node.end_broadcast("demo");
    viewer.client.run_until(|client| client.closed.then_some(()));
    until(&node, |node| node.stats().total().sessions == 0);
    assert!(node.broadcast("demo").is_none());
}

#[test]
fn a_viewer_that_asks_in_the_moment_its_stream_ends_is_told_so() {
    let node = start(loopback_config());
    let camera = Camera::start(&node);
    let (_, offer) = Client::new(ClientOptions { receives: true, ..ClientOptions::default() });
    let offer = crate::offer::judge(&offer, offer.len(), crate::offer::Role::Viewer).unwrap();
    // It has found the broadcast, and now the broadcast ends.
    let found = node.hub.find("demo").unwrap();
    node.close(&camera.published.session);
    until(&node, |node| node.broadcast("demo").is_some_and(|b| !b.published));
    node.end_broadcast("demo");
    assert_eq!(wait(node.let_in(&found, offer)), Err(WatchError::NotOnAir));
    until(&node, |node| node.stats().total().sessions == 0);
    // The next one of that name has nothing to do with it.
    let _next = Camera::start(&node);
    assert!(found.has_ended() && !node.hub.find("demo").unwrap().has_ended());
}

fn ask(node: &Node, stream: &str, options: ClientOptions) -> Result<crate::WatchAnswer, WatchError> {
    let (_, offer) = Client::new(ClientOptions { receives: true, ..options });
    wait(node.watch(WatchRequest { stream: stream.to_owned(), offer }))
}

#[test]
fn who_cannot_be_served_is_told_why_and_nothing_is_kept() {
    let node = start(NodeConfig { max_viewers: 1, ..loopback_config() });
    assert_eq!(ask(&node, "demo", ClientOptions::default()), Err(WatchError::NotOnAir));
    let (_camera, viewer) = shown(&node);
    assert_eq!(ask(&node, "other", ClientOptions::default()), Err(WatchError::NotOnAir));
    assert_eq!(ask(&node, "demo", ClientOptions::default()), Err(WatchError::Full { limit: 1 }));
    node.close(&viewer.session);
    until(&node, |node| node.stats().total().viewers == 0);
    // H.264 is made of everything; a publisher's own offer receives nothing.
    let h264 = ClientOptions { video: Some(str0m::format::Codec::H264), ..ClientOptions::default() };
    assert!(ask(&node, "demo", h264).is_ok());
    let (_, offer) = Client::new(ClientOptions::default());
    let refused = wait(node.watch(WatchRequest { stream: "demo".to_owned(), offer }));
    assert!(matches!(refused, Err(WatchError::Offer(OfferError::NotReceivable { .. }))), "{refused:?}");
    assert_eq!(node.stats().total().sessions, 2);
}

fn patch(
    node: &Node,
    session: &SessionId,
    if_match: Option<&str>,
    fragment: &str,
) -> Result<PatchAnswer, PatchError> {
    let patch = PatchRequest { fragment: fragment.to_owned(), if_match: if_match.map(str::to_owned) };
    wait(node.patch(session, patch))
}

const RESTART: &str =
    "a=ice-ufrag:newu\r\na=ice-pwd:0123456789012345678901\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n";
const CANDIDATE: &str =
    "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n";

#[test]
fn a_patch_is_judged_by_its_precondition_and_changes_nothing_when_refused() {
    let node = start(loopback_config());
    let (camera, viewer) = shown(&node);
    for session in [camera.published.session.clone(), viewer.session.clone()] {
        let refused =
            |if_match: Option<&str>, fragment: &str| patch(&node, &session, if_match, fragment).unwrap_err();
        assert_eq!(refused(None, CANDIDATE), PatchError::PreconditionRequired);
        assert_eq!(refused(Some("\"stale\""), CANDIDATE), PatchError::PreconditionFailed);
        assert!(matches!(refused(Some("*"), "nonsense"), PatchError::BadFragment(_)));
        assert!(matches!(refused(Some("*"), CANDIDATE), PatchError::Unsupported(_)));
        let Ok(PatchAnswer::Restarted { fragment, etag }) = patch(&node, &session, Some("*"), RESTART) else {
            panic!("a restart is answered");
        };
        assert!(
            fragment.contains("a=ice-lite\r\n") && fragment.contains("a=candidate:1 1 udp"),
            "{fragment}"
        );
        assert_eq!(patch(&node, &session, Some(&etag), CANDIDATE), Ok(PatchAnswer::Trickled));
        assert_eq!(
            patch(&node, &session, Some(&format!("W/{etag}")), CANDIDATE),
            Err(PatchError::PreconditionFailed)
        );
        assert_eq!(
            patch(&node, &session, Some(&format!("\"x\", {etag}")), CANDIDATE),
            Ok(PatchAnswer::Trickled)
        );
        assert!(matches!(
            patch(&node, &session, Some(&etag), &RESTART.replace("newu", "newv")),
            Err(PatchError::Unsupported(_))
        ));
    }
    assert_eq!(patch(&node, &"0".repeat(32).parse().unwrap(), Some("*"), RESTART), Err(PatchError::Gone));
}

#[test]
fn who_waits_for_a_stream_is_told_when_it_begins() {
    let node = start(loopback_config());
    assert!(!wait_with_time(node.await_broadcast("demo", Duration::from_millis(10))));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| wait_with_time(node.await_broadcast("demo", PATIENCE)));
        let _camera = Camera::start(&node);
        assert!(waiting.join().unwrap());
    });
}

fn wait_with_time<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

#[test]
fn a_flood_of_garbage_on_the_media_port_changes_nothing_and_is_counted() {
    let node = start(loopback_config());
    let (mut camera, mut viewer) = shown(&node);
    let port = node.local_addrs()[0];
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut forged = vec![0, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
    forged.extend([0, 6, 0, 7]);
    forged.extend(b"abc:def\0");
    // RTP and RTCP that were never sealed, DTLS of nobody, bytes of nothing, STUN for a name that is not known.
    let junk: [&[u8]; 5] = [
        &[0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3],
        &[0x80, 201, 0, 1, 0, 0, 0, 1],
        &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[200; 700],
        &forged,
    ];
    let before = node.stats().total();
    let expected = viewer.marks().len();
    for round in 0..200 {
        for datagram in junk {
            stranger.send_to(datagram, port).unwrap();
        }
        // The same from the viewer's own address: what its session opens is what is authentic.
        viewer.client.socket.send_to(junk[1], port).unwrap();
        viewer.client.socket.send_to(junk[3], port).unwrap();
        if round % 20 == 0 {
            camera.shoot(false);
        }
    }
    camera.run(&mut [&mut viewer], |viewers, _| viewers[0].marks().len() >= expected + 20);
    contiguous(&viewer.video());
    until(&node, |node| node.stats().total().datagrams_in >= before.datagrams_in + 1_400);
    let after = node.stats().total();
    assert!(after.rejected_unknown >= before.rejected_unknown + 1_000, "{after:?}");
    assert!(after.rejected_srtcp >= before.rejected_srtcp + 200, "{after:?}");
    assert_eq!((after.panics, after.sessions), (0, 2));
}

#[test]
fn sessions_that_come_and_go_by_the_thousand_leave_nothing() {
    let node = start(NodeConfig { threads: 2, ..loopback_config() });
    let (camera, viewer) = shown(&node);
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let (_, offer) = Client::new(ClientOptions { receives: true, ..ClientOptions::default() });
    for _ in 0..10_000 {
        let answer =
            wait(node.watch(WatchRequest { stream: "demo".to_owned(), offer: offer.clone() })).unwrap();
        assert!(node.close(&answer.session));
    }
    until(&node, |node| node.stats().total().sessions == 2);
    // And some that really connect.
    for _ in 0..50 {
        let mut one = watch(&node, ClientOptions::default());
        one.client.run_until(|client| client.connected.then_some(()));
        assert!(node.close(&one.session));
    }
    until(&node, |node| node.stats().total().sessions == 2);
    assert_eq!(node.broadcast("demo").unwrap().viewers, 1);
    // Other tests of this process may hold some at the moment.
    assert!(descriptors() <= before + 8, "{} descriptors before, {} after", before, descriptors());
    drop((camera, viewer));
}

#[test]
fn checks_with_wrong_integrity_and_packets_sent_twice_change_nothing_and_are_counted() {
    let node = start(loopback_config());
    let (mut camera, mut viewer) = shown(&node);
    let (_, offer) = Client::new(ClientOptions { receives: true, ..ClientOptions::default() });
    let waiting = wait(node.watch(WatchRequest { stream: "demo".to_owned(), offer })).unwrap();
    let ufrag = waiting.answer.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).unwrap();
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let before = node.stats().total();
    for _ in 0..50 {
        stranger.send_to(&hostile::forged(ufrag), node.local_addrs()[0]).unwrap();
    }
    until(&node, |node| node.stats().total().rejected_stun >= before.rejected_stun + 50);
    // The viewer's own reports, each a second time.
    viewer.client.repeats_rtcp = true;
    camera.run(&mut [&mut viewer], |_, _| node.stats().total().rejected_srtcp > before.rejected_srtcp);
    camera.shoot(false);
    camera.run(&mut [&mut viewer], |viewers, _| viewers[0].marks().len() == 4);
    contiguous(&viewer.video());
    let after = node.stats().total();
    assert_eq!((after.sessions, after.sessions_connected, after.panics), (3, 2, 0));
}
