//! What WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep-04) have in common: an offer in, an answer and a session URL out, and what
//! can be done with that URL.
//!
//! A session ends by DELETE. Asked again, DELETE says 200 again for a while, because what it asks for is so; any other use of an ended
//! session is 404, like that of one that never was.

use super::door::Visitor;
use super::media_type;
use super::precondition::if_match;
use super::reply::{self, Problem, Reply};
use super::request::Request;
use crate::app::App;
use crate::sessions::{Found, Kind, Session};
use crate::turn;
use bytes::Bytes;
use relay_node::{PatchAnswer, PatchError, PatchRequest, SessionId};
use skywave_media::name::StreamName;
use skywave_media::time::UnixTime;

/// The media type of offers and answers.
pub(super) const SDP: &str = "application/sdp";

/// The media type of a PATCH (RFC 8840 section 9).
pub(super) const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// The largest offer read. Chromium's with every codec has about 10 kB.
const OFFER_MAX_BYTES: usize = 64 * 1024;

/// The largest fragment read. A host with twenty addresses has about 4 kB of candidates.
const FRAGMENT_MAX_BYTES: usize = 16 * 1024;

/// A session's answer to its offer.
pub(super) struct Created<'a> {
    pub(super) kind: Kind,
    pub(super) stream: &'a StreamName,
    pub(super) session: &'a SessionId,
    pub(super) answer: String,
    pub(super) etag: &'a str,
}

/// The offer in the body of a POST (RFC 9725 section 4.2, WHEP section 4.3).
pub(super) async fn offer(app: &App, request: &mut Request) -> Result<String, Problem> {
    if app.is_stopping() {
        return Err(Problem::new(503, "Server is stopping", "this server is shutting down")
            .with_header("retry-after", "5"));
    }
    request.wants_type(SDP).map_err(|words| {
        Problem::new(415, "Unsupported media type", words).with_header("accept-post", SDP)
    })?;
    if let Some(accept) = request.list("accept")
        && !media_type::accepts(&accept, SDP)
    {
        let words = format!("the answer is application/sdp, which Accept: {accept} rules out");
        return Err(Problem::new(406, "Not acceptable", words));
    }
    request.text(OFFER_MAX_BYTES).await
}

/// The path of a session.
pub(super) fn path(kind: Kind, stream: &StreamName, session: &SessionId) -> String {
    match kind {
        Kind::Publisher => format!("/whip/{stream}/{}", session.as_str()),
        Kind::Viewer => format!("/whep/{stream}/{}", session.as_str()),
    }
}

/// 201 with the answer, `Location`, a strong `ETag`, and the ICE servers (RFC 9725 sections 4.2, 4.3.1 and 4.6).
pub(super) fn created(app: &App, visitor: &Visitor, created: Created<'_>) -> Result<Reply, Problem> {
    let Created { kind, stream, session, answer, etag } = created;
    let mut reply = reply::with_type(201, SDP, Bytes::from(answer));
    let headers = reply.headers_mut();
    headers.insert("location", reply::header_value(&visitor.url(&path(kind, stream, session))));
    headers.insert("etag", reply::header_value(etag));
    headers.insert("accept-patch", reply::header_value(FRAGMENT));
    headers.insert("cache-control", reply::header_value("no-store"));
    // The session's whole name would open it to whoever reads the TURN server's log.
    add_ice_servers(app, &mut reply, session.short())?;
    Ok(reply)
}

/// `Link: <..>; rel="ice-server"` for every configured server.
pub(super) fn add_ice_servers(app: &App, reply: &mut Reply, label: &str) -> Result<(), Problem> {
    let config = app.registry.config();
    let links = turn::links(&config.stun, &config.turn, label, wall_clock()).map_err(|error| {
        Problem::new(500, "Internal error", format!("cannot make TURN credentials: {error}"))
    })?;
    for link in links {
        reply.headers_mut().append("link", reply::header_value(&link));
    }
    Ok(())
}

/// The session behind a URL, for its owner.
pub(super) fn find(
    app: &App,
    kind: Kind,
    stream: &StreamName,
    name: &str,
    visitor: &Visitor,
) -> Result<Session, Problem> {
    match app.registry.session(kind, stream, name) {
        Found::Open(session) if visitor.owns(session.owner.key.as_ref()) => Ok(session),
        Found::Open(_) => Err(not_yours()),
        Found::Ended(_) | Found::Nothing => Err(no_session()),
    }
}

/// GET and HEAD: a session is there, and has nothing to show (RFC 9725 section 4.1, WHEP section 4.1).
pub(super) fn look(
    app: &App,
    kind: Kind,
    stream: &StreamName,
    name: &str,
    visitor: &Visitor,
) -> Result<Reply, Problem> {
    find(app, kind, stream, name, visitor).map(|_| reply::empty(204))
}

/// PATCH: candidates, or an ICE restart (RFC 9725 section 4.3).
pub(super) async fn patch(
    app: &App,
    kind: Kind,
    stream: &StreamName,
    name: &str,
    visitor: &Visitor,
    request: &mut Request,
) -> Result<Reply, Problem> {
    let session = find(app, kind, stream, name, visitor)?;
    request.wants_type(FRAGMENT).map_err(|words| {
        Problem::new(415, "Unsupported media type", words).with_header("accept-patch", FRAGMENT)
    })?;
    let fragment = request.text(FRAGMENT_MAX_BYTES).await?;
    let demanded = if_match(&request.headers)
        .map_err(|error| Problem::new(400, "Precondition not readable", error.to_string()))?;
    let if_match =
        demanded.for_session(&session.etag).ok_or_else(|| Problem::from(PatchError::PreconditionFailed))?;
    match app.registry.patch(&session, PatchRequest { fragment, if_match }).await? {
        // RFC 9725 section 4.3.2: no body, and no ETag.
        PatchAnswer::Trickled => Ok(reply::empty(204)),
        PatchAnswer::Restarted { fragment, etag } => {
            let mut reply = reply::with_type(200, FRAGMENT, Bytes::from(fragment));
            reply.headers_mut().insert("etag", reply::header_value(&etag));
            reply.headers_mut().insert("cache-control", reply::header_value("no-store"));
            Ok(reply)
        }
    }
}

/// DELETE: ends the session, whatever entity tag the client sends along (RFC 9725 sections 4.2 and 4.3.1).
pub(super) fn end(
    app: &App,
    kind: Kind,
    stream: &StreamName,
    name: &str,
    visitor: &Visitor,
) -> Result<Reply, Problem> {
    match app.registry.session(kind, stream, name) {
        Found::Open(session) if visitor.owns(session.owner.key.as_ref()) => {
            app.registry.end(&session);
            Ok(reply::empty(200))
        }
        Found::Ended(key) if visitor.owns(key.as_ref()) => Ok(reply::empty(200)),
        Found::Open(_) | Found::Ended(_) => Err(not_yours()),
        Found::Nothing => Err(no_session()),
    }
}

/// The answer for a session that is over, or never was.
pub(super) fn no_session() -> Problem {
    Problem::new(404, "No such session", "this session has ended, or never was; begin a new one with a POST")
}

fn not_yours() -> Problem {
    Problem::new(403, "Not your session", "this session was opened with another key")
}

impl From<PatchError> for Problem {
    fn from(error: PatchError) -> Self {
        let words = error.to_string();
        match error {
            PatchError::Gone => no_session(),
            PatchError::PreconditionRequired => Self::new(428, "Precondition required", words),
            PatchError::PreconditionFailed => Self::new(412, "Precondition failed", words),
            PatchError::BadFragment(_) => Self::new(400, "Fragment refused", words),
            PatchError::Unsupported(_) => Self::new(422, "Fragment cannot be applied", words),
            _ => Self::new(500, "Internal error", words),
        }
    }
}

fn wall_clock() -> UnixTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
