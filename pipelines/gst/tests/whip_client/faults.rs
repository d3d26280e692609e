//! Each fault does what it says, and nothing else.

use crate::server::Server;
use crate::support::{Publishing, options, wait_until};
use skywave_gst::whip_client::{Faults, PublishOptions, TestSound};
use std::time::Duration;

const VIDEO: u8 = 96;
const AUDIO: u8 = 111;

fn faulty(server: &Server, faults: Faults) -> PublishOptions {
    PublishOptions { faults, ..options(&server.url()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_packets_never_arrive() {
    let server = Server::start().await;
    let faults = Faults { drop_percent: 20.0, no_retransmission: true, ..Faults::default() };
    let mut publishing = Publishing::start(faulty(&server, faults));
    publishing.connected().await;
    let receiver = server.peer(0);
    wait_until("packets", || receiver.seen.lock().unwrap().packets_of(AUDIO) > 120).await;
    let summary = publishing.stop().await;
    let seen = receiver.seen.lock().unwrap();
    let (missing, all) =
        (seen.missing(VIDEO) + seen.missing(AUDIO), summary.packets + summary.dropped_packets);
    assert!(
        summary.dropped_packets * 10 > all && summary.dropped_packets * 3 < all,
        "about a fifth: {summary:?}"
    );
    assert!(missing * 10 > all as usize, "{missing} of {all} missing");
    assert_eq!(
        seen.packets.keys().filter(|(pt, _)| ![VIDEO, AUDIO].contains(pt)).count(),
        0,
        "no retransmissions"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_packets_are_sent_again_on_request() {
    let server = Server::start().await;
    let mut publishing =
        Publishing::start(faulty(&server, Faults { drop_percent: 5.0, ..Faults::default() }));
    publishing.connected().await;
    let receiver = server.peer(0);
    let retransmitted = || {
        let seen = receiver.seen.lock().unwrap();
        seen.packets
            .iter()
            .filter(|((pt, _), _)| ![VIDEO, AUDIO].contains(pt))
            .map(|(_, s)| s.len())
            .sum::<usize>()
    };
    wait_until("retransmissions", || retransmitted() > 3).await;
    let summary = publishing.stop().await;
    assert!(summary.dropped_packets > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sender_reports_can_be_withheld() {
    let server = Server::start().await;
    let faults = Faults { no_sender_reports: true, ..Faults::default() };
    let mut publishing = Publishing::start(faulty(&server, faults));
    publishing.connected().await;
    let receiver = server.peer(0);
    // With reports, the first comes within a second.
    wait_until("four seconds of sound", || receiver.seen.lock().unwrap().packets_of(AUDIO) > 200).await;
    publishing.stop().await;
    assert_eq!(receiver.seen.lock().unwrap().sender_reports, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn muted_audio_is_not_sent_and_comes_back() {
    let server = Server::start().await;
    let mute = (Duration::from_secs(1), Duration::from_secs(3));
    let mut publishing =
        Publishing::start(faulty(&server, Faults { mute_audio: Some(mute), ..Faults::default() }));
    publishing.connected().await;
    let receiver = server.peer(0);
    wait_until("sound after the mute", || {
        receiver.seen.lock().unwrap().largest_gap(AUDIO).0 > Duration::from_secs(1)
    })
    .await;
    publishing.stop().await;
    let seen = receiver.seen.lock().unwrap();
    let (gap, before) = seen.largest_gap(AUDIO);
    assert!(gap.abs_diff(Duration::from_secs(2)) < Duration::from_millis(50), "{gap:?}");
    assert!(before.abs_diff(Duration::from_secs(1)) < Duration::from_millis(200), "{before:?}");
    assert_eq!(seen.missing(AUDIO), 0, "sequence numbers go on without a gap");
    assert!(seen.largest_gap(VIDEO).0 < Duration::from_millis(600), "video is not muted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn corrupt_frames_arrive_corrupt() {
    let server = Server::start().await;
    let mut publishing =
        Publishing::start(faulty(&server, Faults { corrupt_percent: 50.0, ..Faults::default() }));
    publishing.connected().await;
    let receiver = server.peer(0);
    wait_until("packets", || receiver.seen.lock().unwrap().packets_of(AUDIO) > 150).await;
    let summary = publishing.stop().await;
    let seen = receiver.seen.lock().unwrap();
    assert_eq!((seen.missing(VIDEO), seen.missing(AUDIO)), (0, 0));
    // Half of 90, and few of few on a machine that is too busy to encode all.
    assert!(summary.corrupted_frames >= 5, "{summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vanishing_sends_no_delete() {
    let server = Server::start().await;
    let faults = Faults { vanish_after: Some(Duration::from_secs(1)), ..Faults::default() };
    let summary = Publishing::start(faulty(&server, faults)).ends().await.unwrap();
    assert!(summary.on_air >= Duration::from_secs(1));
    assert_eq!(server.asked(), ["POST /whip/demo"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tone_arrives_as_the_same_tone_on_each_channel() {
    let server = Server::start().await;
    let tone = TestSound::Tone { left_hz: 1000, right_hz: 440 };
    let mut publishing = Publishing::start(PublishOptions { test_sound: tone, ..options(&server.url()) });
    publishing.connected().await;
    let receiver = server.peer(0);
    wait_until("two seconds of sound", || receiver.seen.lock().unwrap().samples.len() > 96_000).await;
    publishing.stop().await;
    let seen = receiver.seen.lock().unwrap();
    let second = &seen.samples[24_000..72_000];
    // In one second, a sine of f Hz rises through zero f times.
    let rises =
        |channel: usize| second.windows(2).filter(|w| w[0][channel] < 0 && w[1][channel] >= 0).count();
    assert!(rises(0).abs_diff(1000) <= 2, "left {}", rises(0));
    assert!(rises(1).abs_diff(440) <= 2, "right {}", rises(1));
}
