//! `/api/v1`: what is on air, as JSON. The documents are [`crate::stream::status`]'s.

use super::reply::{self, Problem, Reply};
use crate::app::App;
use crate::stream::status::{Status, Viewers};
use relay_node::ViewerStats;
use serde::Serialize;
use skywave_media::name::StreamName;
use std::sync::Arc;
use utoipa::ToSchema;

/// Every stream of this node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StreamList {
    /// By name.
    streams: Vec<Arc<Status>>,
}

/// The viewers of one stream.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ViewerList {
    /// Stream name.
    #[schema(value_type = String)]
    stream: StreamName,
    viewers: Viewers,
    /// Each WebRTC viewer. HLS players have no sessions and are only counted.
    webrtc: Vec<Viewer>,
}

/// One WebRTC viewer. Counts begin when it connects.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(super) struct Viewer {
    /// First eight digits of the session's name, as they stand in the log. The whole name is a key and never shown.
    session: String,
    /// Since it connected, in milliseconds.
    connected_ms: u64,
    /// `udp` or `tcp`.
    transport: &'static str,
    /// Codec of the video it gets, by its name in SDP.
    #[schema(required = true)]
    video: Option<&'static str>,
    /// The simulcast layer it gets (`a=rid`).
    #[schema(required = true)]
    layer: Option<String>,
    /// RTP packets sent, without retransmissions.
    packets: u64,
    /// Bytes of all datagrams sent.
    sent_bytes: u64,
    /// RTP packets sent again.
    retransmitted: u64,
    /// Share of packets lost by its last receiver report, 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    loss_fraction: f64,
    /// Round trip by its last receiver report, in milliseconds.
    #[schema(required = true)]
    round_trip_ms: Option<f64>,
    /// What its way is believed to carry, in bits per second.
    #[schema(required = true)]
    estimate_bps: Option<u64>,
}

/// `GET /api/v1/streams`: every stream, by name.
#[utoipa::path(
    get,
    path = "/api/v1/streams",
    tag = "Control",
    summary = "Every stream of this node",
    responses((status = 200, description = "By name; none when nothing is on air", body = StreamList))
)]
pub(super) fn list(app: &App) -> Result<Reply, Problem> {
    reply::json(&StreamList { streams: app.registry.statuses() })
}

/// `GET /api/v1/streams/{stream}`.
#[utoipa::path(
    get,
    path = "/api/v1/streams/{stream}",
    tag = "Control",
    summary = "One stream",
    params(("stream" = String, Path, description = "Stream name")),
    responses(
        (status = 200, description = "What it does", body = Status),
    )
)]
pub(super) fn one(app: &App, stream: &StreamName) -> Result<Reply, Problem> {
    match app.registry.status(stream) {
        Some(status) => reply::json(&*status),
        None => Err(not_on_air(stream)),
    }
}

/// `GET /api/v1/streams/{stream}/viewers`.
#[utoipa::path(
    get,
    path = "/api/v1/streams/{stream}/viewers",
    tag = "Control",
    summary = "The viewers of one stream",
    params(("stream" = String, Path, description = "Stream name")),
    responses(
        (status = 200, description = "Each WebRTC viewer, and how many play HLS", body = ViewerList),
    )
)]
pub(super) async fn viewers(app: &App, stream: &StreamName) -> Result<Reply, Problem> {
    let status = app.registry.status(stream).ok_or_else(|| not_on_air(stream))?;
    let webrtc: Vec<Viewer> =
        app.registry.node().viewers(stream.as_str()).await.into_iter().map(Viewer::from).collect();
    // The list is newer than the status, and the answer should agree with itself.
    let viewers = Viewers { webrtc: webrtc.len(), ..status.viewers };
    reply::json(&ViewerList { stream: stream.clone(), viewers, webrtc })
}

/// The answer for a stream nobody publishes; nothing is kept of the question.
pub(super) fn not_on_air(stream: &StreamName) -> Problem {
    Problem::new(
        404,
        "Nothing on air",
        format!("nobody publishes {stream} now; try again, or publish at /publish/{stream}"),
    )
    .with_header("retry-after", "2")
}

impl From<ViewerStats> for Viewer {
    fn from(stats: ViewerStats) -> Self {
        Self {
            session: stats.session,
            connected_ms: u64::try_from(stats.connected_for.as_millis()).unwrap_or(u64::MAX),
            transport: stats.transport,
            video: stats.video.map(skywave_media::codec::Codec::rtp_name),
            layer: stats.layer,
            packets: stats.packets,
            sent_bytes: stats.bytes,
            retransmitted: stats.retransmitted,
            loss_fraction: stats.loss,
            round_trip_ms: stats.round_trip.map(|time| (time.as_secs_f64() * 1e5).round() / 100.0),
            estimate_bps: stats.estimate_bps,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skywave_media::codec::Codec;
    use std::time::Duration;

    #[test]
    fn a_viewers_figures_get_the_units_of_their_names() {
        let stats = ViewerStats {
            session: "0123abcd".to_owned(),
            connected_for: Duration::from_secs(61),
            transport: "udp",
            packets: 1_000,
            bytes: 1_200_000,
            retransmitted: 3,
            loss: 0.25,
            round_trip: Some(Duration::from_micros(12_345)),
            estimate_bps: None,
            layer: Some("h".to_owned()),
            video: Some(Codec::Vp8),
        };
        let told = serde_json::to_value(Viewer::from(stats)).unwrap();
        let expected = serde_json::json!({
            "session": "0123abcd", "connected_ms": 61_000, "transport": "udp", "video": "VP8", "layer": "h",
            "packets": 1_000, "sent_bytes": 1_200_000, "retransmitted": 3, "loss_fraction": 0.25,
            "round_trip_ms": 12.35, "estimate_bps": null,
        });
        assert_eq!(told, expected);
    }
}
