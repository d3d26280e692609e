//! `/vod/{stream}/`: recordings as files with ranges, as HLS by byte ranges into the same files, and as a list.

mod file;
mod page;
mod pictures;
mod playlists;

use super::door::Visitor;
use super::hls::carry;
use super::path::Vod;
use super::recordings::unknown;
use super::reply::{self, Problem, Reply};
use super::request::Request;
use crate::app::App;
use crate::recordings::manifest::{Container, Manifest, Pictures};
use bytes::Bytes;
use headers::HeaderMapExt;
use serde::Serialize;
use skywave_media::name::StreamName;
use skywave_media::recording::{Clip, ClipError, Index, IndexError, clip, read_index};
use skywave_media::time::UnixTime;
use std::path::PathBuf;
use std::time::Duration;
use utoipa::ToSchema;

const PLAYLIST: &str = "application/vnd.apple.mpegurl";

/// What there is of a stream.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RecordedStream)]
pub(super) struct VodList {
    /// Stream name.
    #[schema(value_type = String)]
    stream: StreamName,
    /// By id.
    recordings: Vec<Entry>,
}

/// A recording in the list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RecordingToPlay)]
struct Entry {
    #[serde(flatten)]
    manifest: Manifest,
    /// Path of the file; null for what was archived as it was published.
    #[schema(required = true)]
    mp4: Option<String>,
    /// Path of the HLS playlist; null likewise.
    #[schema(required = true)]
    hls: Option<String>,
    /// Path of the archive: WebM, or with H.264 Matroska; null for all else.
    #[schema(required = true)]
    webm: Option<String>,
    /// Path of a picture of it; null while there is none.
    #[schema(required = true)]
    thumb: Option<String>,
    /// Path of the WebVTT file with small pictures of it; null while there are none.
    #[schema(required = true)]
    thumbs: Option<String>,
}

/// Answers what is asked of a stream's recordings.
pub(super) async fn get(
    app: &App,
    stream: &StreamName,
    what: &Vod,
    visitor: &Visitor,
    request: &mut Request,
) -> Result<Reply, Problem> {
    let mut reply = match what {
        Vod::List => list(app, stream, visitor, request)?,
        Vod::File(id) => {
            let manifest = playable(app, stream, id, Container::Mp4)?;
            let (opened, length) = file::open(path(app, &manifest), &manifest.id).await?;
            let span = file::clip_span(&request.query)?;
            match span {
                None => file::send(opened, &file::plan(&manifest, length, request)),
                Some(span) => file::send_clip(opened, cut(app, &manifest, length, span).await?, &manifest),
            }
        }
        Vod::Archive(id) => {
            let manifest = playable(app, stream, id, Container::Webm)?;
            let (opened, length) = file::open(path(app, &manifest), &manifest.id).await?;
            file::send(opened, &file::plan(&manifest, length, request))
        }
        Vod::Multivariant(id) => playlist(app, stream, id, visitor, playlists::multivariant).await?,
        Vod::Media(id) => playlist(app, stream, id, visitor, playlists::media).await?,
        Vod::Keyframes(id) => playlist(app, stream, id, visitor, playlists::keyframes).await?,
        Vod::Picture(id, which) => {
            let seen = request.headers.typed_get();
            pictures::get(app, &playable(app, stream, id, Container::Mp4)?, *which, visitor, seen).await?
        }
    };
    if visitor.is_private() {
        // Shared caches would hand it to people without a key (RFC 9111 section 3.5).
        reply.headers_mut().insert("cache-control", reply::header_value("private, no-cache"));
    }
    Ok(reply)
}

fn path(app: &App, manifest: &Manifest) -> PathBuf {
    app.registry.library().files(&manifest.stream, &manifest.id).finished(manifest.container)
}

/// A clip of a recording.
async fn cut(
    app: &App,
    manifest: &Manifest,
    length: u64,
    span: (Duration, Duration),
) -> Result<Clip, Problem> {
    let path = path(app, manifest);
    let begun = UnixTime::from_micros(manifest.begun_us);
    let cut = tokio::task::spawn_blocking(move || {
        let mut file = std::io::BufReader::new(std::fs::File::open(path).map_err(IndexError::Io)?);
        clip(&mut file, length, span, begun)
    });
    match cut.await {
        Ok(Ok(clip)) => Ok(clip),
        Ok(Err(error @ ClipError::Empty(_))) => Err(Problem::new(404, "Nothing there", error.to_string())),
        Ok(Err(error)) => Err(Problem::new(500, "Recording damaged", error.to_string())),
        Err(error) => Err(Problem::new(500, "Internal error", format!("cutting broke off: {error}"))),
    }
}

/// A recording of this kind that can be played, or why it cannot.
fn playable(app: &App, stream: &StreamName, id: &str, wanted: Container) -> Result<Manifest, Problem> {
    let manifest = app.registry.library().get(stream, id).ok_or_else(|| unknown(stream, id))?;
    if manifest.container != wanted {
        let file = match manifest.container {
            Container::Mp4 => "an MP4, and HLS",
            Container::Webm => "WebM, as it was published, and nothing else",
        };
        return Err(Problem::new(
            404,
            "Another kind",
            format!("{id} is {file}; /vod/{stream}/ lists its address"),
        ));
    }
    if manifest.is_playable() {
        return Ok(manifest);
    }
    let words = match &manifest.reason {
        Some(reason) => format!("{id} cannot be played: {reason}"),
        None => format!("{id} is still being recorded or finished; ask again when its state is ready"),
    };
    Err(Problem::new(409, "Not finished", words).with_header("retry-after", "5"))
}

/// The list: a page for browsers, JSON for everybody else.
fn list(app: &App, stream: &StreamName, visitor: &Visitor, request: &Request) -> Result<Reply, Problem> {
    let query = visitor.carried_query().map(|query| format!("?{query}")).unwrap_or_default();
    let picture = |manifest: &Manifest, file: &str| {
        let has = manifest.is_playable() && manifest.pictures == Pictures::Ready;
        has.then(|| format!("/vod/{stream}/{}/{file}{query}", manifest.id))
    };
    let entries: Vec<Entry> = app
        .registry
        .library()
        .of(stream)
        .into_iter()
        .map(|manifest| Entry {
            mp4: manifest.is_mp4().then(|| format!("/vod/{stream}/{}.mp4{query}", manifest.id)),
            hls: manifest.is_mp4().then(|| format!("/vod/{stream}/{}/index.m3u8{query}", manifest.id)),
            webm: (!manifest.is_mp4()).then(|| format!("/vod/{stream}/{}.webm{query}", manifest.id)),
            thumb: picture(&manifest, "thumb.jpg"),
            thumbs: picture(&manifest, "thumbs.vtt"),
            manifest,
        })
        .collect();
    let wants_page = request.header("accept").is_some_and(|accept| accept.contains("text/html"));
    let mut reply = match wants_page {
        true => page::page(stream, &entries),
        false => reply::json(&VodList { stream: stream.clone(), recordings: entries })?,
    };
    reply.headers_mut().insert("vary", reply::header_value("accept"));
    Ok(reply)
}

async fn playlist(
    app: &App,
    stream: &StreamName,
    id: &str,
    visitor: &Visitor,
    render: fn(&str, &Index) -> String,
) -> Result<Reply, Problem> {
    let manifest = playable(app, stream, id, Container::Mp4)?;
    let path = path(app, &manifest);
    // The index stands in the first bytes of the file.
    let read = tokio::task::spawn_blocking(move || {
        let mut file = std::io::BufReader::new(std::fs::File::open(path)?);
        let len = file.get_ref().metadata()?.len();
        read_index(&mut file, len)
    });
    let index = match read.await {
        Ok(Ok(index)) => index,
        Ok(Err(error)) => {
            return Err(Problem::new(500, "Recording damaged", format!("{id} has no index: {error}")));
        }
        Err(error) => return Err(Problem::new(500, "Internal error", format!("reading broke off: {error}"))),
    };
    let mut text = Bytes::from(render(id, &index));
    if let Some(query) = visitor.carried_query() {
        text = carry::add_query(&text, &query);
    }
    let mut reply = reply::with_type(200, PLAYLIST, text);
    reply.headers_mut().insert("cache-control", reply::header_value("no-cache"));
    Ok(reply)
}
