//! What people are told when it does not work.

use crate::server::Server;
use crate::support::Playing;
use skywave_gst::whep_client::{PlayOptions, VideoWanted};

async fn error_of(status: u16, headers: &[(&'static str, &str)], body: &'static str) -> String {
    let server = Server::start().await;
    server.script(status, headers, body);
    Playing::start(PlayOptions::new(server.url())).ends().await.unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_told_in_plain_words_with_the_servers_own() {
    let problem = [("Content-Type", "application/problem+json")];
    let error = error_of(404, &problem, r#"{"title":"Not on air","detail":"nobody publishes demo"}"#).await;
    assert!(error.contains("404: nothing is on air there"), "{error}");
    assert!(error.ends_with("(the server says: Not on air: nobody publishes demo)"), "{error}");
    let error = error_of(401, &[], "").await;
    assert!(error.contains("a token is needed to watch here"), "{error}");
    let error = error_of(405, &[], "").await;
    assert!(error.contains("does not take viewers"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_no_whep_are_told() {
    let (sdp, location) = (("Content-Type", "application/sdp"), ("Location", "/session/9"));
    let error = error_of(201, &[sdp], "v=0").await;
    assert!(error.contains("is no WHEP server") && error.contains("no Location"), "{error}");
    let error = error_of(200, &[sdp, location], "v=0").await;
    assert!(error.contains("a WHEP server answers 201"), "{error}");
    let error = error_of(201, &[sdp, location], "rubbish").await;
    assert!(error.contains("no SDP") || error.contains("media sections"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_told_before_anything_is_asked() {
    let server = Server::start().await;
    let nothing = PlayOptions { video: VideoWanted::Off, audio: false, ..PlayOptions::new(server.url()) };
    let error = Playing::start(nothing).ends().await.unwrap_err().to_string();
    assert!(error.contains("nothing to watch"), "{error}");
    let error = Playing::start(PlayOptions::new("rtsp://x/y")).ends().await.unwrap_err().to_string();
    assert!(error.contains("no WHEP URL"), "{error}");
    assert_eq!(server.asked(), Vec::<String>::new());
}
