//! `GET /hls/{stream}/thumb.jpg`: what a stream shows, as a small picture a few seconds old.

use super::api::not_on_air;
use super::door::Visitor;
use super::hls;
use super::reply::{Problem, Reply};
use super::request::Request;
use crate::app::App;
use skywave_media::name::StreamName;

/// The newest thumbnail of a stream, behind the same door as its playlists. Looking at it is not watching: it wakes no stream
/// that is encoded on demand.
pub(super) fn get(
    app: &App,
    stream: &StreamName,
    visitor: &Visitor,
    request: &Request,
) -> Result<Reply, Problem> {
    if app.registry.hls(stream).is_none() {
        return Err(not_on_air(stream));
    }
    let Some(thumbnail) = app.registry.thumbnail(stream) else {
        let problem =
            Problem::new(404, "No thumbnail", format!("{stream} has no picture yet, or makes no thumbnails"));
        return Err(problem.with_header("retry-after", "5"));
    };
    Ok(hls::for_visitor((*thumbnail).clone(), "thumb.jpg", "", visitor, request))
}
