//! Connecting, ending, being left.

use crate::server::Server;
use crate::support::{Playing, frames};
use skywave_gst::whep_client::PlayOptions;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_session_is_deleted_at_the_end_and_the_token_goes_along() {
    let server = Server::start().await;
    let options = PlayOptions { token: Some("secret".into()), ..PlayOptions::new(server.url()) };
    let mut playing = Playing::start(options);
    playing.reads("pictures", |s| frames(s) > 0).await;
    let seen = playing.stop().await;
    assert_eq!(seen.session, format!("http://{}/session/1", server.address));
    assert_eq!(server.asked(), ["POST /whep/demo", "DELETE /session/1"]);
    assert!(server.state.asked.lock().unwrap().iter().all(|a| a.token.as_deref() == Some("Bearer secret")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_duration_ends_it() {
    let server = Server::start().await;
    let duration = Some(Duration::from_millis(1500));
    let playing = Playing::start(PlayOptions { duration, ..PlayOptions::new(server.url()) });
    let seen = playing.ends().await.unwrap();
    assert!(seen.watched >= Duration::from_millis(1500), "{seen:?}");
    assert!(seen.video.is_some() && seen.lost.is_none(), "{seen:?}");
    assert_eq!(server.asked(), ["POST /whep/demo", "DELETE /session/1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_offer_is_what_a_lite_server_needs() {
    let server = Server::start().await;
    let mut playing = Playing::start(PlayOptions::new(server.url()));
    playing.reads("pictures", |s| frames(s) > 0).await;
    playing.stop().await;
    let offer = server.offer();
    assert!(offer.contains("a=group:BUNDLE"), "{offer}");
    assert!(offer.contains("127.0.0.1") && offer.contains("typ host"), "loopback candidates: {offer}");
    assert_eq!(offer.matches("a=recvonly").count(), 2, "{offer}");
    for codec in ["VP8", "VP9", "H264", "AV1"] {
        assert!(offer.contains(&format!("{codec}/90000")), "{codec}: {offer}");
    }
    for feedback in ["nack", "nack pli", "ccm fir", "transport-cc"] {
        assert!(offer.contains(&format!("a=rtcp-fb:96 {feedback}\r\n")), "{feedback}: {offer}");
    }
    assert!(offer.contains("transport-wide-cc-extensions-01"), "{offer}");
    assert!(offer.contains("OPUS/48000/2") && offer.contains("stereo=1"), "{offer}");
    assert!(offer.contains("rtx/90000") && offer.contains("apt=96"), "{offer}");
    assert!(!offer.contains(" TCP "), "no TCP candidates unless asked for: {offer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_away_ends_it_with_what_was_seen() {
    let server = Server::start().await;
    let mut playing = Playing::start(PlayOptions::new(server.url()));
    playing.reads("pictures", |s| frames(s) > 5).await;
    server.kill(0);
    let seen = playing.ends().await.unwrap();
    assert!(seen.lost.is_some(), "{seen:?}");
    assert!(seen.video.unwrap().frames > 5);
    assert_eq!(server.asked(), ["POST /whep/demo", "DELETE /session/1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_after_many_viewers() {
    let count = |what: &str| std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
    let server = Server::start().await;
    let mut readings = Vec::new();
    for index in 0..6 {
        let mut playing = Playing::start(PlayOptions::new(server.url()));
        playing.reads("pictures", |s| frames(s) > 0).await;
        playing.stop().await;
        server.kill(index);
        readings.push((count("task"), count("fd")));
    }
    // The first rounds fill the pools of GLib, GStreamer and tokio, which are kept.
    let (warm, last) = (readings[1], readings[5]);
    assert!(last.0 <= warm.0 + 2 && last.1 <= warm.1 + 2, "threads and files: {readings:?}");
}
