//! The load tools against a server that is not ours.
#![allow(clippy::unwrap_used, reason = "test code: a panic is a failed test")]

mod server;

use server::{Manner, Plan, Server};
use skywave_load::report::StepReport;
use skywave_load::whep::{self, Farewell, LoadError, WhepOptions};
use skywave_load::whip::{self, WhipError, WhipOptions};
use skywave_load::{ClipCodec, Feedback, Lanes, TargetError};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Longer than anything here takes: what ends these runs is what the server saw.
const LONG: Duration = Duration::from_secs(60);

fn options(server: &Server, viewers: usize) -> WhepOptions {
    WhepOptions { steps: vec![viewers], rate_per_s: 200.0, hold: LONG, ..WhepOptions::new(server.url()) }
}

/// Watches until the server has done all it planned for each of `viewers`.
async fn watch(server: &Server, options: WhepOptions) -> (StepReport, Farewell) {
    let viewers = *options.steps.last().unwrap();
    let mut reports = Vec::new();
    let told = whep::run(options, server.all_done(viewers), |report| reports.push(report.clone()));
    let farewell = tokio::time::timeout(LONG, told).await.unwrap().unwrap();
    assert_eq!(reports.len(), 1);
    (reports.remove(0), farewell)
}

#[tokio::test]
async fn every_packet_is_counted_and_every_session_deleted() {
    let server = Server::start(Manner::Serve(Plan::default()));
    let mut options = options(&server, 4);
    options.token = Some("key".to_owned());
    options.threads = 2;
    let (report, farewell) = watch(&server, options).await;
    assert_eq!(report.latency_ms, None, "this server's packets do not tell when they were sent");
    assert_eq!((report.viewers, report.playing, &report.failures), (4, 4, &[].into()));
    assert_eq!((report.total_packets, report.total_lost, report.duplicates), (4 * 300, 0, 0));
    for spread in [report.answer_ms, report.connected_ms, report.first_packet_ms, report.first_keyframe_ms] {
        assert_eq!(spread.unwrap().count, 4);
    }
    assert_eq!(report.timestamps_back, 0);
    assert!(report.interrupted);
    assert_eq!(farewell.deleted, 4);
    assert_eq!(server.seen.deletes.load(Ordering::Relaxed), 4);
    assert_eq!(server.seen.authorized.load(Ordering::Relaxed), 8);
    // The reports the viewers sent said that nothing was lost.
    assert!(server.seen.losses.lock().unwrap().values().all(|loss| *loss == 0.0));
}

#[tokio::test]
async fn planted_loss_is_counted_and_reported_to_the_server() {
    let plan = Plan { packets: 600, lose_every: Some(20), ..Plan::default() };
    let server = Server::start(Manner::Serve(plan));
    let mut options = options(&server, 2);
    options.join_datagrams = false;
    let (report, _) = watch(&server, options).await;
    // The last one, the 600th, is never left out.
    assert_eq!((report.total_packets, report.total_lost), (2 * 571, 2 * 29));
    let losses = server.seen.losses.lock().unwrap();
    assert_eq!(losses.len(), 2);
    assert!(losses.values().all(|loss| (0.02..0.2).contains(loss)), "{losses:?}");
}

#[tokio::test]
async fn a_viewer_without_a_picture_asks_for_one_and_all_feedback_is_understood() {
    for feedback in [Feedback::Remb, Feedback::Twcc] {
        let server = Server::start(Manner::Serve(Plan { waits_for_request: true, ..Plan::default() }));
        let mut options = options(&server, 1);
        options.feedback = feedback;
        options.lanes = Lanes::VideoOnly;
        let (report, _) = watch(&server, options).await;
        assert_eq!((report.playing, report.total_lost), (1, 0), "{feedback:?}");
        let (packet, keyframe) = (report.first_packet_ms.unwrap(), report.first_keyframe_ms.unwrap());
        // It has 300 ms of patience after it connected.
        assert!(keyframe.p50 > packet.p50 && keyframe.p50 > 300.0, "{packet:?} {keyframe:?}");
    }
}

#[tokio::test]
async fn what_the_server_adds_is_read_from_stamped_packets() {
    let held = Duration::from_millis(70);
    for join_datagrams in [true, false] {
        let plan = Plan { packets: 600, stamped: Some(held), ..Plan::default() };
        let server = Server::start(Manner::Serve(plan));
        let options = WhepOptions { join_datagrams, ..options(&server, 2) };
        let (report, _) = watch(&server, options).await;
        let latency = report.latency_ms.unwrap();
        assert!((10..=2 * (600 / 31 + 1)).contains(&latency.count), "{latency:?}");
        // It pretends that every packet was 70 ms on its way when it is sent.
        assert!(latency.p50 >= 70.0 && latency.p50 < 100.0, "{latency:?}");
    }
}

#[tokio::test]
async fn a_server_without_session_urls_is_left_by_a_good_bye() {
    let server = Server::start(Manner::Serve(Plan { without_location: true, ..Plan::default() }));
    let (report, farewell) = watch(&server, options(&server, 1)).await;
    assert_eq!(report.playing, 1);
    assert_eq!((farewell.deleted, farewell.without_url), (0, 1));
    let seen = std::sync::Arc::clone(&server.seen);
    let closed = async {
        while seen.closed.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, closed).await.unwrap();
}

/// The reasons of a run whose viewers all fail.
async fn failures(manner: Manner) -> (Vec<(String, usize)>, usize) {
    let server = Server::start(manner);
    let mut reports = Vec::new();
    let told = whep::run(options(&server, 3), std::future::pending(), |report| reports.push(report.clone()));
    let farewell = tokio::time::timeout(LONG, told).await.unwrap().unwrap();
    assert_eq!((reports.len(), reports[0].playing), (1, 0));
    assert_eq!(server.seen.deletes.load(Ordering::Relaxed), farewell.deleted);
    (reports.remove(0).failures.into_iter().collect(), farewell.deleted)
}

#[tokio::test]
async fn refusals_and_nonsense_are_failures_with_a_reason() {
    let (reasons, _) = failures(Manner::Refuse("404 Not Found", "no such\nstream")).await;
    assert_eq!(reasons, [("404 Not Found: no such stream".to_owned(), 3)]);
    let (reasons, _) = failures(Manner::Refuse("500 Internal Server Error", "")).await;
    assert_eq!(reasons, [("500 Internal Server Error".to_owned(), 3)]);
    let (reasons, deleted) = failures(Manner::Accept("<html></html>")).await;
    assert_eq!(reasons, [("the answer is not SDP: \"<html></html>\"".to_owned(), 3)]);
    assert_eq!(deleted, 3, "a session with a useless answer is deleted all the same");
    let (reasons, _) = failures(Manner::Accept("v=0\r\nm=video 9 X 96\r\na=rtpmap:96 VP8/90000\r\n")).await;
    assert_eq!(reasons, [("the answer has no a=ice-ufrag".to_owned(), 3)]);
    let (reasons, _) = failures(Manner::Redirect("http://192.0.2.1/endpoint".to_owned())).await;
    assert_eq!(reasons, [("redirected to another machine".to_owned(), 3)]);
}

#[tokio::test]
async fn a_redirection_is_followed_with_method_and_body() {
    let server = Server::start(Manner::Serve(Plan::default()));
    let front = Server::start(Manner::Redirect(server.url()));
    let mut options = options(&server, 1);
    options.url = front.url();
    let (report, farewell) = watch(&server, options).await;
    assert_eq!((report.playing, farewell.deleted), (1, 1));
    assert_eq!(server.seen.deletes.load(Ordering::Relaxed), 1);
    assert_eq!(front.seen.deletes.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn other_machines_are_left_alone() {
    let run = |options| whep::run(options, std::future::pending(), |_| panic!("nothing is measured"));
    for url in ["http://192.0.2.1/whep/demo", "https://[2001:db8::1]/whep/demo"] {
        let refused = run(WhepOptions::new(url)).await;
        assert!(matches!(refused, Err(LoadError::Target(TargetError::Remote { .. }))), "{url}: {refused:?}");
    }
    for url in ["ftp://127.0.0.1/", "whep"] {
        let refused = run(WhepOptions::new(url)).await;
        assert!(matches!(refused, Err(LoadError::Target(TargetError::Url { .. }))), "{url}: {refused:?}");
    }
    let steps = WhepOptions { steps: vec![5, 3], ..WhepOptions::new("http://127.0.0.1:1/") };
    assert!(matches!(run(steps).await, Err(LoadError::Options(_))));
}

fn publish(url: String) -> WhipOptions {
    WhipOptions {
        url,
        codec: ClipCodec::Vp8,
        bits_per_second: 1_500_000,
        duration: None,
        token: None,
        allow_remote: false,
    }
}

#[tokio::test]
async fn the_publisher_answers_a_keyframe_request_and_counts_it() {
    let server = Server::start(Manner::Serve(Plan::default()));
    let mut on_air = false;
    let published = whip::run(publish(server.url()), server.all_done(1), || on_air = true);
    let report = tokio::time::timeout(LONG, published).await.unwrap().unwrap();
    assert!(on_air);
    assert_eq!((report.keyframe_requests, report.keyframe_requests_peak_per_s), (1, 1));
    let [at_s] = report.keyframe_requests_at_s[..] else { panic!("{report:?}") };
    assert!(at_s > 0.0 && at_s <= report.on_air_s, "{report:?}");
    let line: serde_json::Value = serde_json::from_str(&report.json_line().unwrap()).unwrap();
    assert_eq!(line["keyframe_requests_peak_per_s"], 1);
    // Most of its packets told when they were sent.
    let stamped = server.seen.stamped.load(Ordering::Relaxed);
    assert!(stamped * 2 > server.seen.published.load(Ordering::Relaxed), "{stamped}");
    assert_eq!(report.keyframes_on_request, 1);
    assert_eq!(report.not_deleted, None);
    assert_eq!(server.seen.deletes.load(Ordering::Relaxed), 1);
    assert_eq!(server.seen.keyframes.load(Ordering::Relaxed), 2);
    assert!(server.seen.published.load(Ordering::Relaxed) as u64 <= report.packets);
}

#[tokio::test]
async fn a_publisher_that_is_refused_says_why() {
    let server = Server::start(Manner::Refuse("409 Conflict", "taken"));
    let refused = whip::run(publish(server.url()), std::future::pending(), || ()).await;
    let Err(WhipError::Refused(reason)) = refused else { panic!("{refused:?}") };
    assert_eq!(reason, "409 Conflict: taken");
    let low = WhipOptions { bits_per_second: 1_000, ..publish(server.url()) };
    assert!(matches!(whip::run(low, std::future::pending(), || ()).await, Err(WhipError::Clip(_))));
}
