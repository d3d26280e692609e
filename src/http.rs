//! The HTTP side: one route enum, one file per kind of answer, one place that turns errors into statuses.
//!
//! The way of a request: [`server`] accepts, warp filters take it apart into a [`Request`], [`path`] says what it
//! asks for, one of the modules answers, [`reply`] makes errors and CORS the same everywhere.

mod api;
mod cors;
mod health;
mod hls;
mod pages;
mod path;
mod reply;
mod request;
pub(crate) mod server;
mod sse;
mod whip;

use crate::app::App;
use path::Route;
use reply::{Problem, Reply};
use request::Request;
use std::sync::Arc;
use warp::http::Method;

/// Answers one request.
async fn answer(app: Arc<App>, mut request: Request) -> Reply {
    let method = request.method.clone();
    let outcome = match path::parse(&request.path) {
        Err(error) => Err(Problem::from(error)),
        Ok(route) if method == Method::OPTIONS => Ok(options(&route)),
        Ok(route) => dispatch(&app, route, &mut request).await,
    };
    let mut reply = outcome.unwrap_or_else(Problem::into_reply);
    if !request.drain().await {
        reply.headers_mut().insert("connection", reply::header_value("close"));
    }
    cors::expose(reply.headers_mut());
    reply
}

async fn dispatch(app: &App, route: Route, request: &mut Request) -> Result<Reply, Problem> {
    route.allow(&request.method)?;
    match route {
        Route::WhipEndpoint(stream) => whip::publish(app, stream, request).await,
        Route::WhipSession(stream, session) => whip::end(app, &stream, &session),
        Route::Hls(stream, rest) => hls::get(app, &stream, &rest, request),
        Route::Streams => api::list(app),
        Route::Stream(stream) => api::one(app, &stream),
        Route::Page(page) => pages::page(page, request),
        Route::Asset(name) => pages::asset(&name, request),
        Route::Healthz => Ok(health::alive()),
        Route::Readyz => Ok(health::ready(app)),
    }
}

/// `OPTIONS`: what the resource takes, for CORS preflights (Fetch section 4.8) and for WHIP clients
/// (RFC 9725 section 4.2: `Accept-Post`).
fn options(route: &Route) -> Reply {
    let mut reply = reply::empty(204);
    let allow = reply::header_value(route.methods_text());
    let headers = reply.headers_mut();
    headers.insert("allow", allow.clone());
    headers.insert("access-control-allow-methods", allow);
    if matches!(route, Route::WhipEndpoint(_)) {
        headers.insert("accept-post", reply::header_value("application/sdp"));
    }
    reply
}
