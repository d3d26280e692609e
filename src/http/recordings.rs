//! `/api/v1/recordings`: what is recorded, and its beginning, end, protection and removal.

use super::api::not_on_air;
use super::reply::{self, Problem, Reply};
use crate::app::App;
use crate::recordings::manifest::Manifest;
use crate::recordings::{ChangeError, Library};
use serde::Serialize;
use skywave_media::name::StreamName;
use std::sync::Arc;
use utoipa::ToSchema;

/// Every recording of this server.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RecordingList {
    /// By stream and id.
    recordings: Vec<Manifest>,
}

/// `POST /api/v1/streams/{stream}/recording` begins, `DELETE` ends.
#[utoipa::path(
    post,
    path = "/api/v1/streams/{stream}/recording",
    tag = "Control",
    summary = "Record a stream from its next keyframe on",
    params(("stream" = String, Path, description = "Stream name")),
    responses((status = 202, description = "It will be; `recording` of the stream says how far it is"))
)]
pub(super) async fn switch(app: &App, stream: &StreamName, wanted: bool) -> Result<Reply, Problem> {
    match app.registry.record(stream, wanted).await {
        true => Ok(reply::empty(202)),
        false => Err(not_on_air(stream)),
    }
}

/// Only described here: [`switch`] answers it.
#[utoipa::path(
    delete,
    path = "/api/v1/streams/{stream}/recording",
    tag = "Control",
    summary = "Record a stream no more; what was recorded is finished",
    params(("stream" = String, Path, description = "Stream name")),
    responses((status = 202, description = "It will end"))
)]
#[expect(dead_code, reason = "carries the description of a method that another function answers")]
pub(super) const fn stop() {}

/// `GET /api/v1/recordings`.
#[utoipa::path(
    get,
    path = "/api/v1/recordings",
    tag = "Control",
    summary = "Every recording",
    responses((status = 200, description = "By stream and id", body = RecordingList))
)]
pub(super) fn list(app: &App) -> Result<Reply, Problem> {
    reply::json(&RecordingList { recordings: app.registry.library().list() })
}

/// `GET /api/v1/recordings/{stream}/{id}`.
#[utoipa::path(
    get,
    path = "/api/v1/recordings/{stream}/{id}",
    tag = "Control",
    summary = "One recording",
    params(("stream" = String, Path, description = "Stream name"), ("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "What it is", body = Manifest))
)]
pub(super) fn one(app: &App, stream: &StreamName, id: &str) -> Result<Reply, Problem> {
    reply::json(&app.registry.library().get(stream, id).ok_or_else(|| unknown(stream, id))?)
}

/// `DELETE /api/v1/recordings/{stream}/{id}`.
#[utoipa::path(
    delete,
    path = "/api/v1/recordings/{stream}/{id}",
    tag = "Control",
    summary = "Remove a recording for good",
    params(("stream" = String, Path, description = "Stream name"), ("id" = String, Path, description = "Its id")),
    responses((status = 204, description = "It is gone"))
)]
pub(super) async fn remove(app: &App, stream: StreamName, id: String) -> Result<Reply, Problem> {
    on_disk(app, move |library| library.remove(&stream, &id)).await?;
    Ok(reply::empty(204))
}

/// `PUT` and `DELETE /api/v1/recordings/{stream}/{id}/protection`.
#[utoipa::path(
    put,
    path = "/api/v1/recordings/{stream}/{id}/protection",
    tag = "Control",
    summary = "Keep a recording whatever its age and the room on the disk",
    params(("stream" = String, Path, description = "Stream name"), ("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "It is protected", body = Manifest))
)]
pub(super) async fn protect(
    app: &App,
    stream: StreamName,
    id: String,
    protected: bool,
) -> Result<Reply, Problem> {
    reply::json(&on_disk(app, move |library| library.protect(&stream, &id, protected)).await?)
}

/// Only described here: [`protect`] answers it.
#[utoipa::path(
    delete,
    path = "/api/v1/recordings/{stream}/{id}/protection",
    tag = "Control",
    summary = "Let a recording go when its time has come",
    params(("stream" = String, Path, description = "Stream name"), ("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "It is no longer protected", body = Manifest))
)]
#[expect(dead_code, reason = "carries the description of a method that another function answers")]
pub(super) const fn unprotect() {}

/// Changes the catalogue on a thread that may wait for the disk.
async fn on_disk<T: Send + 'static>(
    app: &App,
    change: impl FnOnce(&Library) -> Result<T, ChangeError> + Send + 'static,
) -> Result<T, Problem> {
    let library = Arc::clone(app.registry.library());
    let outcome = tokio::task::spawn_blocking(move || change(&library)).await;
    let outcome =
        outcome.map_err(|e| Problem::new(500, "Internal error", format!("the change broke off: {e}")))?;
    outcome.map_err(|error| match error {
        ChangeError::Unknown(..) => Problem::new(404, "No such recording", error.to_string()),
        ChangeError::Busy(..) => Problem::new(409, "Recording in use", error.to_string()),
        ChangeError::Io(_) => Problem::new(500, "Disk refused", error.to_string()),
    })
}

/// The answer for a recording that is not there.
pub(super) fn unknown(stream: &StreamName, id: &str) -> Problem {
    let words = format!("there is no recording {id} of {stream}; /vod/{stream}/ lists what there is");
    Problem::new(404, "No such recording", words)
}
