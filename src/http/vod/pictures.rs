//! `/vod/{stream}/{id}/thumb.jpg`, `sprite.jpg` and `thumbs.vtt`: what is in a recording, at a glance.

use crate::app::App;
use crate::http::door::Visitor;
use crate::http::path::VodPicture;
use crate::http::reply::{self, Problem, Reply};
use crate::recordings::manifest::{Manifest, Pictures};
use crate::recordings::pictures::SPRITE;
use bytes::Bytes;
use headers::{ETag, IfNoneMatch};

const VTT: &str = "text/vtt; charset=utf-8";

/// Answers with one of the pictures of a recording; `seen` is the version that the client has.
pub(super) async fn get(
    app: &App,
    manifest: &Manifest,
    which: VodPicture,
    visitor: &Visitor,
    seen: Option<IfNoneMatch>,
) -> Result<Reply, Problem> {
    if manifest.pictures != Pictures::Ready {
        let words = match manifest.pictures {
            Pictures::Failed => format!("no pictures could be made of {}", manifest.id),
            Pictures::None | Pictures::Ready => {
                format!(
                    "{} has no pictures: they are made after it is finished, and of sound alone there are none",
                    manifest.id
                )
            }
        };
        return Err(Problem::new(404, "No pictures", words));
    }
    // They change when the recording does, and then never again.
    let text = format!(
        "\"{which:?}-{}\"",
        manifest.sha256.as_deref().and_then(|hash| hash.get(..16)).unwrap_or("0")
    );
    let etag: Option<ETag> = text.parse().ok();
    let mut reply = if seen.zip(etag).is_some_and(|(seen, etag)| !seen.precondition_passes(&etag)) {
        reply::empty(304)
    } else {
        let files = app.registry.library().files(&manifest.stream, &manifest.id);
        let (path, kind) = match which {
            VodPicture::Thumb => (files.thumb(), "image/jpeg"),
            VodPicture::Sprite => (files.sprite(), "image/jpeg"),
            VodPicture::Cues => (files.vtt(), VTT),
        };
        // A megabyte at the most.
        let content = tokio::fs::read(path).await.map_err(|error| {
            Problem::new(
                500,
                "Picture not readable",
                format!("a picture of {} cannot be read: {error}", manifest.id),
            )
        })?;
        let content = match (which, visitor.carried_query()) {
            (VodPicture::Cues, Some(query)) => with_query(&content, &query),
            _ => content,
        };
        reply::with_type(200, kind, Bytes::from(content))
    };
    let headers = reply.headers_mut();
    headers.insert("etag", reply::header_value(&text));
    headers.insert("cache-control", reply::header_value("public, no-cache"));
    Ok(reply)
}

/// The cues with the key in every address, for players that cannot send headers.
fn with_query(cues: &[u8], query: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(cues);
    text.replace(&format!("\n{SPRITE}#"), &format!("\n{SPRITE}?{query}#")).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_carried_into_every_cue() {
        let cues = b"WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nsprite.jpg#xywh=0,0,1,1\n";
        let carried = with_query(cues, "token=k");
        assert!(carried.ends_with(b"\nsprite.jpg?token=k#xywh=0,0,1,1\n"));
    }
}
