//! `/metrics` for Prometheus, and which answers are counted under which name.

use super::path::{PathError, Route};
use super::reply::{self, Problem, Reply};
use super::request::Request;
use crate::app::App;
use crate::metrics::prometheus_text;
use bytes::Bytes;

const OPENMETRICS: &str = "application/openmetrics-text";

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Text format 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// OpenMetrics for those who name it in `Accept`, the older format for all others.
    pub(super) fn wanted(request: &Request) -> Self {
        match request.header("accept") {
            Some(accept) if wants_openmetrics(accept) => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }
}

/// `GET /metrics`: the text format 0.0.4, or OpenMetrics for those who ask for it.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "Operations",
    summary = "Metrics for Prometheus",
    responses(
        (status = 200, description = "Every series; OpenMetrics 1.0 when `Accept` asks for it", content(
            (String = "text/plain"),
            (String = "application/openmetrics-text"),
        )),
    )
)]
pub(super) async fn metrics(app: &App, format: Format) -> Result<Reply, Problem> {
    let text = app.metrics.gather(&app.registry).await.map_err(|error| {
        Problem::new(500, "Internal error", format!("the metrics cannot be written: {error}"))
    })?;
    let mut reply = match format {
        Format::OpenMetrics => {
            let content_type = format!("{OPENMETRICS}; version=1.0.0; charset=utf-8");
            reply::with_type(200, &content_type, Bytes::from(text))
        }
        Format::Prometheus => {
            let text = prometheus_text(&text);
            reply::with_type(200, "text/plain; version=0.0.4; charset=utf-8", Bytes::from(text))
        }
    };
    let headers = reply.headers_mut();
    headers.insert("cache-control", reply::header_value("no-store"));
    headers.insert("vary", reply::header_value("accept"));
    Ok(reply)
}

/// Whether OpenMetrics is named and not refused.
fn wants_openmetrics(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case(OPENMETRICS))
            && !parts.any(|part| part.trim_end_matches(['0', '.']) == "q=")
    })
}

/// The name under which the answers of a route are counted: one of few, whatever clients ask for.
pub(super) const fn route_class(route: Result<&Route, &PathError>) -> &'static str {
    match route {
        Ok(Route::WhipEndpoint(_) | Route::WhipSession(..)) => "whip",
        Ok(Route::WhepEndpoint(_) | Route::WhepSession(..) | Route::WhepExtra(..)) => "whep",
        Ok(Route::IngestWebm(_)) => "ingest",
        Ok(Route::Hls(..)) => "hls",
        Ok(
            Route::Streams
            | Route::Stream(_)
            | Route::Viewers(_)
            | Route::DateRanges(_)
            | Route::DateRange(..)
            | Route::StreamRecording(_)
            | Route::Recordings
            | Route::Recording(..)
            | Route::Protection(..)
            | Route::OpenApi,
        ) => "api",
        Ok(Route::Vod(..)) => "vod",
        Ok(Route::Events) => "events",
        Ok(Route::Metrics) => "metrics",
        Ok(Route::Page(_) | Route::Asset(_)) => "pages",
        Ok(Route::Healthz | Route::Readyz) => "health",
        Err(_) => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::wants_openmetrics;

    #[test]
    fn openmetrics_is_for_those_who_ask_for_it() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert!(wants_openmetrics(prometheus));
        for no in
            ["*/*", "text/plain", "application/openmetrics-text;q=0", "application/openmetrics-text; q=0.0"]
        {
            assert!(!wants_openmetrics(no), "{no}");
        }
    }
}
