//! What people are told when it does not work.

use crate::server::Server;
use crate::support::{Publishing, options};
use skywave_gst::whip_client::{
    AudioChoice, PublishError, PublishEvent, PublishOptions, Source, VideoChoice, VideoEncoding,
};
use skywave_media::codec::Codec;
use std::time::Duration;

async fn error_of(status: u16, headers: &[(&'static str, &str)], body: &'static str) -> String {
    let server = Server::start().await;
    server.script(status, headers, body);
    let error = Publishing::start(options(&server.url())).ends().await.unwrap_err();
    error.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_told_in_plain_words_with_the_servers_own() {
    let problem = [("Content-Type", "application/problem+json")];
    let error =
        error_of(401, &problem, r#"{"title":"Unauthorized","detail":"this stream is private"}"#).await;
    assert!(error.contains("401: a token is needed"), "{error}");
    assert!(error.ends_with("(the server says: Unauthorized: this stream is private)"), "{error}");
    let error = error_of(404, &[("Content-Type", "text/html")], "<h1>Not here</h1>").await;
    assert!(error.contains("404: there is no WHIP endpoint") && !error.contains("<h1>"), "{error}");
    let error = error_of(406, &problem, r#"{"detail":"no common codec"}"#).await;
    assert!(
        error.contains("406: the server speaks none of the codecs") && error.contains("no common codec"),
        "{error}"
    );
    let error = error_of(415, &[], "what is this").await;
    assert!(error.contains("415: the server does not take SDP") && error.contains("what is this"), "{error}");
    let error = error_of(409, &[], "").await;
    assert!(error.contains("somebody else is publishing"), "{error}");
    let error = error_of(302, &[("Location", "/x")], "").await;
    assert!(error.contains("307"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_token_is_told_from_a_missing_one() {
    let server = Server::start().await;
    server.script(401, &[], "");
    let wrong = PublishOptions { token: Some("x".into()), ..options(&server.url()) };
    let error = Publishing::start(wrong).ends().await.unwrap_err().to_string();
    assert!(error.contains("wrong or has expired"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_no_whip_are_told() {
    let sdp = ("Content-Type", "application/sdp");
    let location = ("Location", "/session/9");
    let error = error_of(201, &[sdp], "v=0").await;
    assert!(error.contains("no Location"), "{error}");
    let error = error_of(200, &[sdp, location], "v=0").await;
    assert!(error.contains("a WHIP server answers 201"), "{error}");
    let error = error_of(201, &[("Content-Type", "text/html"), location], "hi").await;
    assert!(error.contains("`text/html`, not application/sdp"), "{error}");
    let error = error_of(201, &[sdp, location], "rubbish").await;
    assert!(error.contains("no SDP") || error.contains("media sections"), "{error}");
    let error = error_of(307, &[], "").await;
    assert!(error.contains("redirects to nowhere"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_with_an_unusable_answer_is_deleted() {
    let server = Server::start().await;
    server.script(201, &[("Content-Type", "application/sdp"), ("Location", "/session/9")], "v=0\r\n");
    Publishing::start(options(&server.url())).ends().await.unwrap_err();
    assert_eq!(server.asked(), ["POST /whip/demo", "DELETE /session/9"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_redirects_end() {
    let server = Server::start().await;
    for _ in 0..10 {
        server.script(307, &[("Location", "/whip/demo")], "");
    }
    let error = Publishing::start(options(&server.url())).ends().await.unwrap_err().to_string();
    assert!(error.contains("redirected more than 5 times"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_server_is_asked_again_when_it_says() {
    let server = Server::start().await;
    server.script(503, &[("Retry-After", "1")], "");
    let mut publishing = Publishing::start(options(&server.url()));
    let event = publishing.wait_for(|e| matches!(e, PublishEvent::Reconnecting { .. })).await;
    let PublishEvent::Reconnecting { wait, reason, .. } = event else { unreachable!("just waited for") };
    assert_eq!(wait, Duration::from_secs(1));
    assert!(reason.contains("503: the server is busy"), "{reason}");
    publishing.connected().await;
    publishing.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_server_that_names_no_time_is_an_error_unless_we_wait_for_it() {
    let error = error_of(503, &[], "").await;
    assert!(error.contains("503: the server is busy"), "{error}");
    let server = Server::start().await;
    server.script(503, &[], "");
    let mut patient = Publishing::start(PublishOptions { wait_for_server: true, ..options(&server.url()) });
    patient.connected().await;
    patient.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_server_at_all_is_told() {
    // Bound and dropped: nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error =
        Publishing::start(options(&format!("http://{free}/whip/x"))).ends().await.unwrap_err().to_string();
    assert!(error.starts_with("cannot reach http://127.0.0.1") && error.contains("refused"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_told_before_anything_starts() {
    let refuse = async |options: PublishOptions| Publishing::start(options).ends().await.unwrap_err();
    let url = "http://127.0.0.1:1/whip/x";
    let encode = |e: VideoEncoding| PublishOptions { video: VideoChoice::Encode(e), ..options(url) };
    let av1 = refuse(encode(VideoEncoding { codec: Codec::Av1, ..VideoEncoding::default() })).await;
    assert!(matches!(av1, PublishError::NoPayloader { .. }), "{av1}");
    assert!(av1.to_string().contains("rtpav1pay") && av1.to_string().contains("Use VP8"), "{av1}");
    let odd = refuse(encode(VideoEncoding { size: Some((321, 180)), ..VideoEncoding::default() })).await;
    assert!(odd.to_string().contains("even numbers"), "{odd}");
    let nothing = PublishOptions { video: VideoChoice::Off, audio: AudioChoice::Off, ..options(url) };
    assert!(refuse(nothing).await.to_string().contains("nothing to publish"));
    let copy = PublishOptions { video: VideoChoice::Copy, ..options(url) };
    assert!(refuse(copy).await.to_string().contains("nothing to copy"));
    // The whole pipeline of a camera stands before its device is opened, encoding or copying.
    for video in [options(url).video, VideoChoice::Copy] {
        let camera = PublishOptions { source: Source::Camera("/dev/video99".into()), video, ..options(url) };
        let error = refuse(camera).await.to_string();
        assert!(
            error.starts_with("source v4l2:/dev/video99: ") && error.contains("device '/dev/video99'"),
            "{error}"
        );
    }
    let server = PublishOptions { ice_servers: vec!["http://x".into()], ..options(url) };
    assert!(refuse(server).await.to_string().contains("no ICE server"));
}
