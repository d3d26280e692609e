//! `/api/v1/streams/{stream}/dateranges`: events with a date, which players see as `EXT-X-DATERANGE` (rfc8216bis section 4.4.5.1).

use super::api::not_on_air;
use super::reply::{self, Problem, Reply};
use super::request::Request;
use crate::app::App;
use crate::outputs::hls::DateRangeChange;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use skywave_media::hls::{DateRange, DateRangeError, DateRangeUpdate, Extra, date_time, parse_date_time};
use skywave_media::name::StreamName;
use skywave_media::time::UnixTime;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Longest body: two SCTE 35 sections and as much again for the rest.
const MAX_BODY_BYTES: usize = 64 << 10;

/// The events of a stream that its playlists list.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DateRangeList {
    /// In the order in which they came.
    dateranges: Vec<DateRangeDocument>,
}

/// An event with a date.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DateRangeDocument {
    /// Its name in the stream (`ID`). Left out, it gets one.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// What kind of event it is (`CLASS`), by convention a reversed domain name.
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    /// When it begins (RFC 3339). Left out, now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "2026-11-22T12:00:00.000Z")]
    start: Option<String>,
    /// When it ends (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
    /// How long it lasts, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<f64>,
    /// How long it is expected to last, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    planned_duration: Option<f64>,
    /// It ends when the next of its class begins.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    end_on_next: bool,
    /// A SCTE 35 splice_info_section, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    scte35_cmd: Option<String>,
    /// The one that begins it.
    #[serde(skip_serializing_if = "Option::is_none")]
    scte35_out: Option<String>,
    /// The one that ends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    scte35_in: Option<String>,
    /// Attributes of your own, by their names without `X-`: texts or numbers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = std::collections::BTreeMap<String, serde_json::Value>)]
    x: BTreeMap<String, ExtraDocument>,
}

/// A value of an attribute of one's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum ExtraDocument {
    Number(f64),
    Text(String),
}

/// `GET /api/v1/streams/{stream}/dateranges`.
#[utoipa::path(
    get,
    path = "/api/v1/streams/{stream}/dateranges",
    tag = "Control",
    summary = "The events with a date in a stream's playlists",
    params(("stream" = String, Path, description = "Stream name")),
    responses((status = 200, description = "In the order in which they came", body = DateRangeList))
)]
pub(super) fn list(app: &App, stream: &StreamName) -> Result<Reply, Problem> {
    let desk = app.registry.hls(stream).ok_or_else(|| not_on_air(stream))?;
    let dateranges = desk.view().date_ranges().map(DateRangeDocument::from).collect();
    reply::json(&DateRangeList { dateranges })
}

/// `GET /api/v1/streams/{stream}/dateranges/{id}`.
#[utoipa::path(
    get,
    path = "/api/v1/streams/{stream}/dateranges/{id}",
    tag = "Control",
    summary = "One of them",
    params(("stream" = String, Path, description = "Stream name"), ("id" = String, Path, description = "Its name")),
    responses((status = 200, description = "As it is listed", body = DateRangeDocument))
)]
pub(super) fn one(app: &App, stream: &StreamName, id: &str) -> Result<Reply, Problem> {
    let desk = app.registry.hls(stream).ok_or_else(|| not_on_air(stream))?;
    let view = desk.view();
    let found = view.date_ranges().find(|range| range.id == id);
    let found = found.ok_or_else(|| Problem::from(DateRangeError::Unknown(id.to_owned())))?;
    reply::json(&DateRangeDocument::from(found))
}

/// `POST /api/v1/streams/{stream}/dateranges`.
#[utoipa::path(
    post,
    path = "/api/v1/streams/{stream}/dateranges",
    tag = "Control",
    summary = "List an event with a date in a stream's playlists",
    params(("stream" = String, Path, description = "Stream name")),
    request_body = DateRangeDocument,
    responses(
        (status = 201, description = "It is listed, until it is over and the window has left it behind", body = DateRangeDocument),
    )
)]
pub(super) async fn add(app: &App, stream: &StreamName, request: &mut Request) -> Result<Reply, Problem> {
    let document = read(request).await?;
    let now = crate::stream::wall_clock();
    let range = document.into_range(now)?;
    let outcome = app.registry.change_date_range(stream, DateRangeChange::Add(range)).await;
    let Some(range) = outcome.ok_or_else(|| not_on_air(stream))?? else { return Ok(reply::empty(204)) };
    let mut reply = reply::json(&DateRangeDocument::from(&range))?;
    *reply.status_mut() = warp::http::StatusCode::CREATED;
    let id = utf8_percent_encode(&range.id, NON_ALPHANUMERIC);
    let location = format!("/api/v1/streams/{stream}/dateranges/{id}");
    reply.headers_mut().insert("location", reply::header_value(&location));
    Ok(reply)
}

/// `PATCH /api/v1/streams/{stream}/dateranges/{id}`.
#[utoipa::path(
    patch,
    path = "/api/v1/streams/{stream}/dateranges/{id}",
    tag = "Control",
    summary = "Add to an event with a date, most often its end",
    params(("stream" = String, Path, description = "Stream name"), ("id" = String, Path, description = "Its name")),
    request_body = DateRangeDocument,
    responses(
        (status = 200, description = "As it is listed now", body = DateRangeDocument),
    )
)]
pub(super) async fn update(
    app: &App,
    stream: &StreamName,
    id: &str,
    request: &mut Request,
) -> Result<Reply, Problem> {
    let update = read(request).await?.into_update()?;
    let change = DateRangeChange::Update(id.to_owned(), update);
    let outcome = app.registry.change_date_range(stream, change).await;
    match outcome.ok_or_else(|| not_on_air(stream))?? {
        Some(range) => reply::json(&DateRangeDocument::from(&range)),
        None => Ok(reply::empty(204)),
    }
}

/// `DELETE /api/v1/streams/{stream}/dateranges/{id}`.
#[utoipa::path(
    delete,
    path = "/api/v1/streams/{stream}/dateranges/{id}",
    tag = "Control",
    summary = "Take an event with a date out of the playlists",
    params(("stream" = String, Path, description = "Stream name"), ("id" = String, Path, description = "Its name")),
    responses((status = 204, description = "It is no longer listed"))
)]
pub(super) async fn remove(app: &App, stream: &StreamName, id: &str) -> Result<Reply, Problem> {
    let outcome = app.registry.change_date_range(stream, DateRangeChange::Remove(id.to_owned())).await;
    outcome.ok_or_else(|| not_on_air(stream))??;
    Ok(reply::empty(204))
}

async fn read(request: &mut Request) -> Result<DateRangeDocument, Problem> {
    let wrong_type = |words| Problem::new(415, "Not JSON", words);
    request.wants_type("application/json").map_err(wrong_type)?;
    let body = request.text(MAX_BODY_BYTES).await?;
    serde_json::from_str(&body).map_err(|error| Problem::new(400, "Body not understood", error.to_string()))
}

fn date(name: &str, text: Option<String>) -> Result<Option<UnixTime>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let read = parse_date_time(&text).ok_or_else(|| {
        let words = format!("{name} must be a date and time such as 2026-11-22T12:00:00Z (RFC 3339)");
        Problem::new(400, "Bad date range", words)
    });
    read.map(Some)
}

impl DateRangeDocument {
    fn into_range(self, now: UnixTime) -> Result<DateRange, Problem> {
        if self.id.as_ref().is_some_and(|id| id.contains('/')) {
            return Err(Problem::new(
                400,
                "Bad date range",
                "id must have no slash: it stands in an address",
            ));
        }
        Ok(DateRange {
            id: self.id.unwrap_or_else(|| format!("{:x}", now.as_micros())),
            class: self.class,
            start: date("start", self.start)?.unwrap_or(now),
            end: date("end", self.end)?,
            duration: self.duration,
            planned_duration: self.planned_duration,
            end_on_next: self.end_on_next,
            scte35_cmd: self.scte35_cmd,
            scte35_out: self.scte35_out,
            scte35_in: self.scte35_in,
            extras: extras(self.x),
        })
    }

    fn into_update(self) -> Result<DateRangeUpdate, Problem> {
        if self.id.is_some() || self.class.is_some() || self.start.is_some() || self.end_on_next {
            let words = "id, class, start and end_on_next stay as they are: players may have seen them";
            return Err(Problem::new(400, "Bad date range", words));
        }
        Ok(DateRangeUpdate {
            end: date("end", self.end)?,
            duration: self.duration,
            planned_duration: self.planned_duration,
            scte35_cmd: self.scte35_cmd,
            scte35_out: self.scte35_out,
            scte35_in: self.scte35_in,
            extras: extras(self.x),
        })
    }
}

fn extras(x: BTreeMap<String, ExtraDocument>) -> BTreeMap<String, Extra> {
    let value = |value| match value {
        ExtraDocument::Number(number) => Extra::Number(number),
        ExtraDocument::Text(text) => Extra::Text(text),
    };
    x.into_iter().map(|(name, one)| (name, value(one))).collect()
}

impl From<&DateRange> for DateRangeDocument {
    fn from(range: &DateRange) -> Self {
        let value = |value: &Extra| match value {
            Extra::Number(number) => ExtraDocument::Number(*number),
            Extra::Text(text) => ExtraDocument::Text(text.clone()),
        };
        Self {
            id: Some(range.id.clone()),
            class: range.class.clone(),
            start: Some(date_time(range.start)),
            end: range.end.map(date_time),
            duration: range.duration,
            planned_duration: range.planned_duration,
            end_on_next: range.end_on_next,
            scte35_cmd: range.scte35_cmd.clone(),
            scte35_out: range.scte35_out.clone(),
            scte35_in: range.scte35_in.clone(),
            x: range.extras.iter().map(|(name, one)| (name.clone(), value(one))).collect(),
        }
    }
}

impl From<DateRangeError> for Problem {
    fn from(error: DateRangeError) -> Self {
        let status = match &error {
            DateRangeError::Attribute { .. } => 400,
            DateRangeError::Unknown(_) => 404,
            DateRangeError::Duplicate(_)
            | DateRangeError::Changed { .. }
            | DateRangeError::TooMany
            | DateRangeError::Ended => 409,
        };
        Self::new(status, "Bad date range", error.to_string())
    }
}
