//! WHEP (draft-ietf-wish-whep-04): a viewer's offer in, our answer and a session URL out, with the extensions beside it.
//!
//! The client always offers. The draft lets a server refuse an offer and counter with its own (406 and an SDP body, section 4.3.2), and lets
//! it choose; this server never does, because it writes its answer from whatever codecs the client names. So an empty POST, by which early
//! drafts asked for a server's offer, is an offer without content: 400.

pub(super) mod control;
pub(super) mod events;

use super::door::Visitor;
use super::path::Extra;
use super::reply::{self, Problem, Reply};
use super::request::Request;
use super::session::{self, Created};
use super::{api, whep};
use crate::app::App;
use crate::registry::Refused;
use crate::sessions::Kind;
use relay_node::{SessionId, WatchError};
use skywave_media::name::StreamName;
use warp::http::Method;

/// `POST /whep/{stream}`: 201 with the answer. A stream that is not on air is waited for a little.
///
/// Then it is 404: a stream exists while somebody publishes it, so there is no such resource. (The draft's 409 is for endpoints that
/// are there and demand a running publication, section 4.3.7; ours take viewers while a publisher is away and expected back.)
pub(super) async fn watch(
    app: &App,
    stream: StreamName,
    visitor: &Visitor,
    request: &mut Request,
) -> Result<Reply, Problem> {
    let offer = session::offer(app, request).await?;
    if offer.trim().is_empty() {
        let words = "the POST has no offer; this server answers offers and makes none itself";
        return Err(Problem::new(400, "Offer missing", words));
    }
    let watched = match app.registry.watch(stream.clone(), offer, visitor.owner()).await {
        Ok(watched) => watched,
        Err(Refused::Watch(WatchError::NotOnAir)) => return Err(api::not_on_air(&stream)),
        Err(refused) => return Err(refused.into()),
    };
    let mut reply = session::created(
        app,
        visitor,
        Created {
            kind: Kind::Viewer,
            stream: &stream,
            session: &watched.session,
            answer: watched.answer,
            etag: &watched.etag,
        },
    )?;
    add_extensions(&mut reply, visitor, &stream, &watched.session);
    Ok(reply)
}

/// GET and HEAD of an endpoint: 200 without content, of the type it takes, by which players know a WHEP URL (section 4.2).
pub(super) fn discover() -> Reply {
    let mut reply = reply::empty(200);
    reply.headers_mut().insert("content-type", reply::header_value(session::SDP));
    reply
}

/// One of the addresses beside a session.
pub(super) async fn extra(
    app: &App,
    stream: &StreamName,
    name: &str,
    extra: Extra,
    visitor: &Visitor,
    request: &mut Request,
) -> Result<Reply, Problem> {
    let session = session::find(app, Kind::Viewer, stream, name, visitor)?;
    match (extra, request.method == Method::POST, request.method == Method::DELETE) {
        (Extra::Events, true, _) => whep::events::open(app, &session, visitor, request).await,
        (Extra::Events, ..) => whep::events::listen(app, &session),
        (Extra::EventStream(number), _, true) => whep::events::close(app, &session, number),
        (Extra::EventStream(number), ..) => whep::events::listen_to(app, &session, number),
        (Extra::Layer, true, _) => whep::control::layer(app, &session, request).await,
        (Extra::Layer, ..) => whep::control::automatic(app, &session),
        (Extra::Mute, ..) => whep::control::mute(app, &session, request).await,
    }
}

/// One `Link` for each extension (section 4.9).
fn add_extensions(reply: &mut Reply, visitor: &Visitor, stream: &StreamName, session: &SessionId) {
    let path = session::path(Kind::Viewer, stream, session);
    let events = events::NAMES.join(",");
    let (sse, layer) = (visitor.url(&format!("{path}/sse")), visitor.url(&format!("{path}/layer")));
    let links = [
        format!("<{sse}>; rel=\"urn:ietf:params:whep:ext:core:server-sent-events\"; events=\"{events}\""),
        format!("<{layer}>; rel=\"urn:ietf:params:whep:ext:core:layer\""),
    ];
    for link in links {
        reply.headers_mut().append("link", reply::header_value(&link));
    }
}
