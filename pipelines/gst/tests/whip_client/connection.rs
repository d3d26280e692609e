//! Connecting, sending, stopping, coming back.

use crate::server::Server;
use crate::support::{Publishing, options, small, wait_until};
use skywave_gst::whip_client::{AudioChoice, PublishEvent, PublishOptions, VideoChoice};
use skywave_media::codec::Codec;
use std::time::Duration;

/// Payload type of audio in the offer.
const AUDIO: u8 = 111;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flash_and_beep_arrive_together_and_the_session_is_deleted_at_the_end() {
    let server = Server::start().await;
    let mut publishing =
        Publishing::start(PublishOptions { token: Some("secret".into()), ..options(&server.url()) });
    publishing.connected().await;
    let receiver = server.peer(0);
    wait_until("three flashes and beeps", || receiver.seen.lock().unwrap().skews().len() >= 3).await;
    let summary = publishing.stop().await;

    assert_eq!(server.asked(), ["POST /whip/demo", "DELETE /session/1"]);
    assert!(server.state.asked.lock().unwrap().iter().all(|a| a.token.as_deref() == Some("Bearer secret")));
    let seen = receiver.seen.lock().unwrap();
    assert_eq!(seen.size, Some((320, 180)));
    assert!(seen.skews().iter().all(|s| s.abs() < 0.005), "{:?}", seen.skews());
    let received = seen.packets.values().map(std::collections::BTreeSet::len).sum::<usize>();
    assert_eq!(seen.twcc_packets as usize, received, "every packet has its transport-wide number");
    assert!(seen.pictures.iter().filter_map(|p| p.2).is_sorted(), "the timecode only grows");
    assert_eq!((summary.connections, summary.dropped_packets, summary.corrupted_frames), (1, 0, 0));
    assert!(summary.packets as usize >= received && summary.bytes > 50_000, "{summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h264_and_vp9_arrive_and_are_decoded() {
    for codec in [Codec::H264, Codec::Vp9] {
        let server = Server::start().await;
        let mut publishing =
            Publishing::start(PublishOptions { video: small(codec), ..options(&server.url()) });
        publishing.connected().await;
        let receiver = server.peer(0);
        wait_until("pictures", || {
            receiver.seen.lock().unwrap().pictures.iter().filter(|p| p.2.is_some()).count() > 10
        })
        .await;
        publishing.stop().await;
        let offer = server.offer();
        assert_eq!(offer.contains("H264/90000"), codec == Codec::H264);
        if codec == Codec::H264 {
            assert!(offer.contains("profile-level-id=42c0"), "constrained baseline: {offer}");
            assert!(offer.contains("packetization-mode=1"), "{offer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_lane_alone_is_offered_alone() {
    let server = Server::start().await;
    let no_video = PublishOptions { video: VideoChoice::Off, ..options(&server.url()) };
    let mut publishing = Publishing::start(no_video);
    publishing.connected().await;
    let receiver = server.peer(0);
    wait_until("sound", || receiver.seen.lock().unwrap().packets_of(AUDIO) > 25).await;
    publishing.stop().await;
    assert!(!server.offer().contains("m=video"));

    let server = Server::start().await;
    let no_audio = PublishOptions { audio: AudioChoice::Off, ..options(&server.url()) };
    let mut publishing = Publishing::start(no_audio);
    publishing.connected().await;
    let receiver = server.peer(0);
    wait_until("pictures", || receiver.seen.lock().unwrap().pictures.len() > 10).await;
    publishing.stop().await;
    assert!(!server.offer().contains("m=audio"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_offer_is_what_a_lite_server_needs() {
    let server = Server::start().await;
    let mut publishing = Publishing::start(options(&server.url()));
    publishing.connected().await;
    publishing.stop().await;
    let offer = server.offer();
    assert!(offer.contains("a=group:BUNDLE"), "{offer}");
    assert!(offer.contains("127.0.0.1") && offer.contains("typ host"), "loopback candidates: {offer}");
    assert_eq!(offer.matches("a=sendonly").count(), 2, "{offer}");
    assert!(offer.contains("a=rtcp-fb:96 nack\r\n") && offer.contains("a=rtcp-fb:96 nack pli"), "{offer}");
    assert!(offer.contains("transport-cc") && offer.contains("transport-wide-cc-extensions-01"), "{offer}");
    assert!(offer.contains("rtx/90000") && offer.contains("apt=96"), "{offer}");
    assert!(offer.contains("OPUS/48000/2") && offer.contains("stereo=1"), "{offer}");
    assert!(!offer.contains(" TCP "), "no TCP candidates unless asked for: {offer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_by_307_and_absolute_locations_are_followed() {
    let server = Server::start().await;
    *server.state.absolute_location.lock().unwrap() = true;
    server.script(307, &[("Location", "/whip/elsewhere")], "");
    server.script(308, &[("Location", &format!("http://{}/whip/home", server.address))], "");
    let mut publishing =
        Publishing::start(PublishOptions { token: Some("t".into()), ..options(&server.url()) });
    let connected = publishing.wait_for(|e| matches!(e, PublishEvent::Connected { .. })).await;
    publishing.stop().await;
    let session = format!("http://{}/session/1", server.address);
    assert_eq!(connected, PublishEvent::Connected { session });
    assert_eq!(
        server.asked(),
        ["POST /whip/demo", "POST /whip/elsewhere", "POST /whip/home", "DELETE /session/1"]
    );
    assert!(server.state.asked.lock().unwrap().iter().all(|a| a.token.as_deref() == Some("Bearer t")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_duration_ends_it() {
    let server = Server::start().await;
    let publishing = Publishing::start(PublishOptions {
        duration: Some(Duration::from_millis(1500)),
        ..options(&server.url())
    });
    let summary = publishing.ends().await.unwrap();
    assert!(summary.on_air >= Duration::from_millis(1500), "{summary:?}");
    assert_eq!(server.asked(), ["POST /whip/demo", "DELETE /session/1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_is_noticed_and_found_again_while_the_capture_goes_on() {
    let server = Server::start().await;
    let mut publishing = Publishing::start(options(&server.url()));
    publishing.connected().await;
    let first = server.peer(0);
    wait_until("pictures", || first.seen.lock().unwrap().pictures.iter().any(|p| p.2.is_some())).await;
    let before = first.seen.lock().unwrap().pictures.iter().find_map(|p| p.2).unwrap();
    drop(first);
    server.kill(0);
    let PublishEvent::Reconnecting { attempt, wait, .. } =
        publishing.wait_for(|e| matches!(e, PublishEvent::Reconnecting { .. })).await
    else {
        unreachable!("just waited for")
    };
    assert_eq!((attempt, wait), (1, Duration::from_millis(500)));
    publishing.connected().await;
    let second = server.peer(1);
    wait_until("pictures", || second.seen.lock().unwrap().pictures.iter().any(|p| p.2.is_some())).await;
    let after = second.seen.lock().unwrap().pictures.iter().find_map(|p| p.2).unwrap();
    let summary = publishing.stop().await;
    assert!(after > before + 500, "the clock of the picture went on: {before} ms, then {after} ms");
    assert_eq!(summary.connections, 2);
    assert_eq!(
        server.asked(),
        ["POST /whip/demo", "DELETE /session/1", "POST /whip/demo", "DELETE /session/2"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_reconnect_a_lost_connection_is_an_error() {
    let server = Server::start().await;
    let mut publishing = Publishing::start(PublishOptions { reconnect: false, ..options(&server.url()) });
    // Once the server has reported, its silence means something.
    publishing
        .wait_for(|e| matches!(e, PublishEvent::Stats(s) if s.rtt.is_some() && s.bitrate_bps > 50_000))
        .await;
    server.kill(0);
    let error = publishing.ends().await.unwrap_err().to_string();
    assert!(error.contains("connection lost"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_after_many_publications() {
    let count = |what: &str| std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
    let server = Server::start().await;
    let mut readings = Vec::new();
    for _ in 0..6 {
        let mut publishing = Publishing::start(options(&server.url()));
        publishing.connected().await;
        publishing.stop().await;
        let sessions = server.state.peers.lock().unwrap().len();
        server.kill(sessions - 1);
        readings.push((count("task"), count("fd")));
    }
    // The first rounds fill the pools of GLib, GStreamer and tokio, which are kept.
    let (warm, last) = (readings[1], readings[5]);
    assert!(last.0 <= warm.0 + 2 && last.1 <= warm.1 + 2, "threads and files: {readings:?}");
}
