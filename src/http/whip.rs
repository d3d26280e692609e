//! WHIP (RFC 9725): a publisher's offer in, our answer and a session URL out.

use super::reply::{self, Problem, Reply};
use super::request::Request;
use crate::app::App;
use bytes::Bytes;
use skywave_media::name::StreamName;

/// The largest offer read. Chromium's with every codec has about 10 kB.
const OFFER_MAX_BYTES: usize = 64 * 1024;

/// `POST /whip/{stream}`: 201 with the answer, `Location` and a strong `ETag` (RFC 9725 section 4.2).
pub(super) async fn publish(app: &App, stream: StreamName, request: &mut Request) -> Result<Reply, Problem> {
    if app.is_stopping() {
        return Err(Problem::new(503, "Server is stopping", "this server is shutting down")
            .with_header("retry-after", "5"));
    }
    match request.content_type().as_deref() {
        Some("application/sdp") => {}
        Some(other) => return Err(wrong_type(&format!("the body is said to be {other:?}"))),
        None => return Err(wrong_type("the request has no Content-Type")),
    }
    if let Some(accept) = request.header("accept")
        && !accepts_sdp(accept)
    {
        let words = format!("the answer is application/sdp, which Accept: {accept} rules out");
        return Err(Problem::new(406, "Not acceptable", words));
    }
    let offer = request.text(OFFER_MAX_BYTES).await?;
    let published = app.registry.publish(stream.clone(), offer).await?;
    let mut reply = reply::with_type(201, "application/sdp", Bytes::from(published.answer));
    let headers = reply.headers_mut();
    headers.insert("location", reply::header_value(&format!("/whip/{stream}/{}", published.session)));
    headers.insert("etag", reply::header_value(&published.etag));
    headers.insert("cache-control", reply::header_value("no-store"));
    Ok(reply)
}

/// `DELETE /whip/{stream}/{session}`: ends the session (RFC 9725 section 4.3). A session that has ended by itself a
/// moment ago is gone as asked, but an address that never was one is the client's mistake: 404.
pub(super) fn end(app: &App, stream: &StreamName, session: &str) -> Result<Reply, Problem> {
    if app.registry.unpublish(stream, session) {
        Ok(reply::empty(200))
    } else {
        Err(Problem::new(404, "No such session", format!("stream {stream} has no session {session}")))
    }
}

fn wrong_type(what: &str) -> Problem {
    Problem::new(415, "Unsupported media type", format!("{what}; send the offer as application/sdp"))
        .with_header("accept-post", "application/sdp")
}

fn accepts_sdp(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
        let refused = parts.any(|p| p.replace(' ', "").trim_end_matches(['0', '.']) == "q=");
        !refused && matches!(essence.as_str(), "application/sdp" | "application/*" | "*/*" | "")
    })
}

#[cfg(test)]
mod tests {
    use super::accepts_sdp;

    #[test]
    fn accept_ranges_that_cover_sdp_are_taken() {
        for yes in ["application/sdp", "*/*", "text/html, application/*;q=0.5", "APPLICATION/SDP"] {
            assert!(accepts_sdp(yes), "{yes}");
        }
        for no in ["text/html", "application/json, image/*", "application/sdp;q=0", "application/sdp; q=0.0"]
        {
            assert!(!accepts_sdp(no), "{no}");
        }
    }
}
