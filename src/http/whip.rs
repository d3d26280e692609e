//! WHIP (RFC 9725): a publisher's offer in, our answer and a session URL out.

use super::door::Visitor;
use super::reply::{Problem, Reply};
use super::request::Request;
use super::session::{self, Created};
use crate::app::App;
use crate::sessions::Kind;
use skywave_media::name::StreamName;

/// `POST /whip/{stream}`: 201 with the answer, `Location` and a strong `ETag` (RFC 9725 section 4.2).
pub(super) async fn publish(
    app: &App,
    stream: StreamName,
    visitor: &Visitor,
    request: &mut Request,
) -> Result<Reply, Problem> {
    let offer = session::offer(app, request).await?;
    let published = app.registry.publish(stream.clone(), offer, visitor.owner()).await?;
    session::created(
        app,
        visitor,
        Created {
            kind: Kind::Publisher,
            stream: &stream,
            session: &published.session,
            answer: published.answer,
            etag: &published.etag,
        },
    )
}
