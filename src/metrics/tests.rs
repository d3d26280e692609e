//! What a scrape has in it.

use super::*;
use crate::stream::status::{Audio, Video, Viewers};
use player_test::exposition::{self, Family};

fn status(name: &str, state: State) -> Arc<Status> {
    Arc::new(Status { state, ..Status::starting(&name.parse().unwrap()) })
}

fn page(streams: Vec<Arc<Status>>) -> Vec<Family> {
    let node = ThreadStats { rejected_stun: 4, bytes_out: 9, ..ThreadStats::default() };
    let process = Process { cpu_seconds: Some(1.25), ..Process::default() };
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = Metrics::default();
    metrics.note_answer("api", 200);
    metrics.note_answer("api", 200);
    metrics.note_answer("whip", 404);
    registry.register("skywave_http_requests", "Requests answered", metrics.requests);
    registry.register_collector(Box::new(Now { process, node, streams, recordings: Vec::new() }));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    exposition::parse(&prometheus_text(&text)).unwrap()
}

#[test]
fn a_live_stream_shows_who_watches_and_how_it_comes_in() {
    let mut live = Status { state: State::Live, ..Status::starting(&"demo".parse().unwrap()) };
    live.viewers = Viewers { webrtc: 7, hls: 3 };
    live.ingest.payload_bytes = 1_000;
    live.worker.restarts = 2;
    live.video = Some(Video {
        codec: "VP8",
        width: 320,
        height: 180,
        fps: 29.9,
        bitrate_bps: 500_000,
        loss_fraction: 0.02,
        packets: 1,
        payload_bytes: 1,
        packets_lost: 0,
        frames: 1,
        frames_dropped: 0,
        keyframes: 1,
        keyframe_requests: 0,
        layers: Vec::new(),
    });
    live.audio = Some(Audio {
        codec: "opus",
        channels: 2,
        sample_rate: 48_000,
        bitrate_bps: 64_000,
        loss_fraction: 0.0,
        packets: 1,
        payload_bytes: 1,
        packets_lost: 0,
        frames: 1,
        frames_dropped: 0,
    });
    let page = page(vec![Arc::new(live), status("old", State::Ended)]);
    for (name, labels, value) in [
        ("skywave_stream_viewers", &[("stream", "demo"), ("kind", "webrtc")][..], 7.0),
        ("skywave_stream_viewers", &[("stream", "demo"), ("kind", "hls")], 3.0),
        ("skywave_stream_ingest_bytes_total", &[("stream", "demo")], 1_000.0),
        ("skywave_worker_restarts_total", &[("stream", "demo")], 2.0),
        ("skywave_stream_ingest_bitrate_bps", &[("stream", "demo"), ("lane", "audio")], 64_000.0),
        ("skywave_stream_ingest_loss_ratio", &[("stream", "demo"), ("lane", "video")], 0.02),
        ("skywave_stream_frames_per_second", &[("stream", "demo")], 29.9),
        ("skywave_stream_live", &[("stream", "demo")], 1.0),
        ("skywave_stream_live", &[("stream", "old")], 0.0),
        ("skywave_streams", &[("state", "live")], 1.0),
        ("skywave_streams", &[("state", "waiting")], 0.0),
        ("skywave_media_rejected_datagrams_total", &[("reason", "stun")], 4.0),
        ("skywave_media_sent_bytes_total", &[], 9.0),
        ("skywave_http_requests_total", &[("route", "api"), ("status", "200")], 2.0),
        ("process_cpu_seconds_total", &[], 1.25),
        ("skywave_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0),
    ] {
        assert_eq!(exposition::value(&page, name, labels), Some(value), "{name} {labels:?}");
    }
}

#[test]
fn without_streams_no_series_names_one() {
    let with_labels = |family: &Family| family.samples.iter().any(|s| s.labels.contains_key("stream"));
    assert!(!page(Vec::new()).iter().any(with_labels));
}

#[test]
fn the_number_of_series_has_a_bound() {
    let streams = (0..MAX_STREAMS + 9).map(|i| status(&format!("s{i:05}"), State::Live)).collect();
    let page = page(streams);
    let live = page.iter().find(|family| family.name == "skywave_stream_live").unwrap();
    assert_eq!(live.samples.len(), MAX_STREAMS);
    assert_eq!(exposition::value(&page, "skywave_streams", &[("state", "live")]), Some(1_009.0));
}
