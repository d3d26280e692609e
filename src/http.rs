//! The HTTP side: one route enum, one file per kind of answer, one place that turns errors into statuses.
//!
//! The way of a request: [`server`] accepts and makes it a [`Request`], [`path`] says what it
//! asks for, [`redirect`] whether by HTTPS only, [`door`] whether it may, one of the modules answers, [`reply`] makes errors and CORS the same everywhere.

mod api;
mod client;
mod cors;
mod dateranges;
mod door;
mod events;
mod health;
mod hls;
mod ingest;
mod media_type;
mod metrics;
mod openapi;
mod pages;
mod path;
mod precondition;
mod recordings;
mod redirect;
mod reply;
mod request;
pub(crate) mod server;
mod session;
mod sse;
mod thumb;
mod vod;
mod whep;
mod whip;

use crate::app::App;
use crate::sessions::Kind;
use door::Visitor;
use path::Route;
use reply::{Problem, Reply};
use request::Request;
use skywave_media::name::StreamName;
use std::sync::Arc;
use warp::http::Method;

/// Answers one request.
async fn answer(app: Arc<App>, mut request: Request) -> Reply {
    let method = request.method.clone();
    let route = path::parse(&request.path);
    let class = metrics::route_class(route.as_ref());
    let outcome = match route {
        Err(error) => Err(Problem::from(error)),
        Ok(route) if method == Method::OPTIONS => options(&app, &route, &request),
        Ok(route) => match redirect::to_https(&app.registry.config().http, &route, &request) {
            Some(elsewhere) => Ok(elsewhere),
            None => dispatch(&app, route, &mut request).await,
        },
    };
    let mut reply = outcome.unwrap_or_else(Problem::into_reply);
    if !request.drain().await {
        reply.headers_mut().insert("connection", reply::header_value("close"));
    }
    if method == Method::HEAD {
        reply::leave_body_out(&mut reply);
    }
    cors::expose(reply.headers_mut());
    app.metrics.note_answer(class, reply.status().as_u16());
    reply
}

async fn dispatch(app: &App, route: Route, request: &mut Request) -> Result<Reply, Problem> {
    route.allow(&request.method)?;
    let visitor = door::admit(app.registry.config(), route.door(), request)?;
    let method = request.method.clone();
    match route {
        Route::WhipEndpoint(stream) if method == Method::POST => {
            whip::publish(app, stream, &visitor, request).await
        }
        Route::WhipEndpoint(_) => Ok(reply::empty(204)),
        Route::WhipSession(stream, name) => {
            of_session(app, Kind::Publisher, (&stream, &name), &visitor, request).await
        }
        Route::WhepEndpoint(stream) if method == Method::POST => {
            whep::watch(app, stream, &visitor, request).await
        }
        Route::WhepEndpoint(_) => Ok(whep::discover()),
        Route::WhepSession(stream, name) => {
            of_session(app, Kind::Viewer, (&stream, &name), &visitor, request).await
        }
        Route::WhepExtra(stream, name, extra) => {
            whep::extra(app, &stream, &name, extra, &visitor, request).await
        }
        Route::IngestWebm(stream) if method == Method::POST => {
            ingest::post(app, stream, &visitor, request).await
        }
        Route::IngestWebm(stream) => ingest::get(app, stream, &visitor, request),
        Route::Hls(stream, rest) if rest == "thumb.jpg" => thumb::get(app, &stream, &visitor, request),
        Route::Hls(stream, rest) => {
            if rest == "index.m3u8" {
                app.registry.await_hls(&stream).await;
            }
            hls::get(app, &stream, &rest, &visitor, request).await
        }
        Route::Streams => api::list(app),
        Route::Stream(stream) => api::one(app, &stream),
        Route::Viewers(stream) => api::viewers(app, &stream).await,
        Route::DateRanges(stream) if method == Method::POST => dateranges::add(app, &stream, request).await,
        Route::DateRanges(stream) => dateranges::list(app, &stream),
        Route::DateRange(stream, id) if method == Method::PATCH => {
            dateranges::update(app, &stream, &id, request).await
        }
        Route::DateRange(stream, id) if method == Method::DELETE => {
            dateranges::remove(app, &stream, &id).await
        }
        Route::DateRange(stream, id) => dateranges::one(app, &stream, &id),
        Route::StreamRecording(stream) => recordings::switch(app, &stream, method == Method::POST).await,
        Route::Recordings => recordings::list(app),
        Route::Recording(stream, id) if method == Method::DELETE => recordings::remove(app, stream, id).await,
        Route::Recording(stream, id) => recordings::one(app, &stream, &id),
        Route::Protection(stream, id) => recordings::protect(app, stream, id, method == Method::PUT).await,
        Route::Vod(stream, what) => vod::get(app, &stream, &what, &visitor, request).await,
        Route::Events => events::listen(app, request),
        Route::OpenApi => Ok(openapi::document()),
        Route::Metrics => metrics::metrics(app, metrics::Format::wanted(request)).await,
        Route::Page(page) => pages::page(page, request),
        Route::Asset(name) => pages::asset(&name, request),
        Route::Healthz => Ok(health::alive()),
        Route::Readyz => Ok(health::ready(app)),
    }
}

async fn of_session(
    app: &App,
    kind: Kind,
    (stream, name): (&StreamName, &str),
    visitor: &Visitor,
    request: &mut Request,
) -> Result<Reply, Problem> {
    match request.method {
        Method::PATCH => session::patch(app, kind, stream, name, visitor, request).await,
        Method::DELETE => session::end(app, kind, stream, name, visitor),
        _ => session::look(app, kind, stream, name, visitor),
    }
}

/// `OPTIONS`: what the resource takes, for CORS preflights (Fetch section 4.8) and for WHIP and WHEP clients
/// (RFC 9725 section 4.2: `Accept-Post` in a 200).
fn options(app: &App, route: &Route, request: &Request) -> Result<Reply, Problem> {
    let mut reply = reply::empty(200);
    let allow = reply::header_value(route.methods_text());
    let headers = reply.headers_mut();
    headers.insert("allow", allow.clone());
    headers.insert("access-control-allow-methods", allow);
    let types = [("accept-post", route.accept_post()), ("accept-patch", route.accept_patch())];
    for (name, media_type) in types {
        if let Some(media_type) = media_type {
            headers.insert(name, reply::header_value(media_type));
        }
    }
    // RFC 9725 section 4.6: clients that cannot take ICE servers after their offer is made ask for them first; preflights do not,
    // and whoever may not come in gets no credentials.
    let is_preflight = request.headers.contains_key("access-control-request-method");
    if let (false, Route::WhipEndpoint(stream) | Route::WhepEndpoint(stream)) = (is_preflight, route)
        && door::admit(app.registry.config(), route.door(), request).is_ok()
    {
        session::add_ice_servers(app, &mut reply, stream.as_str())?;
        reply.headers_mut().insert("cache-control", reply::header_value("no-store"));
    }
    Ok(reply)
}
