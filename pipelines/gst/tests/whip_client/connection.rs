//! Connecting, sending, stopping, coming back.

use crate::server::Server;
use crate::support::{Publishing, init, options, small};
use skywave_gst::whip_client::{AudioChoice, PublishEvent, PublishOptions, VideoChoice};
use skywave_media::codec::Codec;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_picture_with_sound_arrives_and_the_session_is_deleted_at_the_end() {
    let server = Server::start().await;
    let mut publishing =
        Publishing::start(PublishOptions { token: Some("secret".into()), ..options(&server.url()) });
    publishing.connected().await;
    let receiver = {
        init();
        server.receiver(0)
    };
    publishing.seconds(4).await;
    let summary = publishing.stop().await;
    assert_eq!(server.asked(), ["POST /whip/demo", "DELETE /session/1"]);
    assert!(server.state.asked.lock().unwrap().iter().all(|a| a.token.as_deref() == Some("Bearer secret")));
    let seen = receiver.seen.lock().unwrap();
    eprintln!(
        "{summary:?} {:?} sr {:?} skews {:?}",
        seen.packets.iter().map(|(k, s)| (*k, s.len())).collect::<Vec<_>>(),
        seen.sender_reports,
        seen.skews()
    );
    eprintln!("MISSING {} {}", seen.missing(96), seen.missing(111));
    eprintln!("flashes {:?} beeps {:?}", seen.flashes(), seen.beeps());
    for p in seen.pictures.iter().take(130) {
        eprint!("{:.3}:{:?} ", p.0.as_secs_f64(), p.2);
    }
    assert_eq!(seen.size, Some((320, 180)));
    assert!(seen.packets_of(96) > 100 && seen.packets_of(111) > 150);
    assert!(!seen.sender_reports.is_empty());
    assert_eq!(summary.connections, 1);
    assert_eq!(seen.twcc_packets as usize, seen.packets.values().map(|s| s.len()).sum::<usize>());
    assert!(seen.skews().len() >= 2, "{:?} {:?}", seen.flashes(), seen.beeps());
}
