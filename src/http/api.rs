//! `/api/v1`: what is on air, as JSON.

use super::reply::{self, Problem, Reply};
use crate::app::App;
use serde_json::json;
use skywave_media::name::StreamName;

/// `GET /api/v1/streams`: every stream, by name.
pub(super) fn list(app: &App) -> Result<Reply, Problem> {
    reply::json(&json!({ "streams": app.registry.statuses() }))
}

/// `GET /api/v1/streams/{stream}`.
pub(super) fn one(app: &App, stream: &StreamName) -> Result<Reply, Problem> {
    match app.registry.status(stream) {
        Some(status) => reply::json(&*status),
        None => Err(not_on_air(stream)),
    }
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
