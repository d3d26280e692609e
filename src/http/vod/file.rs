//! A file from the disk: ranges, validators, a name for downloads. It is never in memory as a whole.

use crate::http::hls::wanted_range;
use crate::http::reply::{self, Problem, Reply};
use crate::http::request::Request;
use crate::recordings::manifest::{Container, Manifest};
use bytes::Bytes;
use futures_util::stream;
use headers::{ETag, HeaderMapExt, IfNoneMatch};
use skywave_media::recording::Clip;
use std::io::{self, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// Chunks read ahead of a slow client.
const AHEAD: usize = 2;

const MP4: &str = "video/mp4";

/// What is to be answered, before the file is touched.
#[derive(Debug)]
pub(super) struct Plan {
    what: What,
    etag: String,
    name: String,
    media_type: &'static str,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    /// The client has it already.
    NotModified,
    /// All of so many bytes.
    Whole(u64),
    /// From the first to the last of these bytes, of so many.
    Range(u64, u64, u64),
    /// No byte of the range exists in so many.
    Beyond(u64),
}

/// A file's ending and media type.
fn kind(manifest: &Manifest) -> (&'static str, &'static str) {
    let is = |wanted: &str| manifest.tracks.iter().any(|track| track.codec == wanted);
    let has_pictures = manifest.tracks.iter().any(|track| track.kind == "video");
    match manifest.container {
        Container::Mp4 => ("mp4", MP4),
        // WebM has no H.264.
        Container::Webm if is("h264") => ("mkv", "video/x-matroska"),
        Container::Webm if has_pictures => ("webm", "video/webm"),
        Container::Webm => ("webm", "audio/webm"),
    }
}

/// Opens a recording's file.
pub(super) async fn open(path: PathBuf, id: &str) -> Result<(File, u64), Problem> {
    let refused = |error: io::Error| unreadable(id, &error);
    let file = File::open(&path).await.map_err(refused)?;
    let length = file.metadata().await.map_err(refused)?.len();
    Ok((file, length))
}

/// What a request for the file gets (RFC 9110 sections 13 and 14).
pub(super) fn plan(manifest: &Manifest, length: u64, request: &Request) -> Plan {
    let text = etag(manifest, length);
    let etag: Option<ETag> = text.parse().ok();
    let seen = request.headers.typed_get::<IfNoneMatch>();
    let what = if seen.zip(etag.as_ref()).is_some_and(|(seen, etag)| !seen.precondition_passes(etag)) {
        What::NotModified
    } else {
        match wanted_range(request, etag.as_ref(), length) {
            None => What::Whole(length),
            Some(Ok((first, last))) => What::Range(first, last, length),
            Some(Err(())) => What::Beyond(length),
        }
    };
    let (ending, media_type) = kind(manifest);
    Plan { what, etag: text, name: format!("{}-{}.{ending}", manifest.stream, manifest.id), media_type }
}

/// Answers with the file, or the one range of it that is asked for.
pub(super) fn send(file: File, plan: &Plan) -> Reply {
    let mut reply = match plan.what {
        What::NotModified => reply::empty(304),
        What::Whole(length) => body(file, 200, plan.media_type, vec![Piece::Range(0, length)]),
        What::Range(first, last, length) => {
            let mut reply = body(file, 206, plan.media_type, vec![Piece::Range(first, last + 1 - first)]);
            let range = format!("bytes {first}-{last}/{length}");
            reply.headers_mut().insert("content-range", reply::header_value(&range));
            reply
        }
        What::Beyond(length) => {
            let problem = Problem::new(416, "Range not satisfiable", format!("the file has {length} bytes"));
            problem.with_header("content-range", format!("bytes */{length}")).into_reply()
        }
    };
    let headers = reply.headers_mut();
    headers.insert("etag", reply::header_value(&plan.etag));
    headers.insert("accept-ranges", reply::header_value("bytes"));
    headers.insert("cache-control", reply::header_value("public, no-cache"));
    // Shown where it can be shown, saved under a name that says what it is (RFC 6266).
    let name = format!("inline; filename=\"{}\"", plan.name);
    headers.insert("content-disposition", reply::header_value(&name));
    reply
}

/// Answers with a clip of the file, to be saved.
pub(super) fn send_clip(file: File, clip: Clip, manifest: &Manifest) -> Reply {
    let [init, segments] = clip.ranges.map(|(first, length)| Piece::Range(first, length));
    let mut reply = body(file, 200, MP4, vec![Piece::Memory(Bytes::from(clip.front)), init, segments]);
    let name = format!("attachment; filename=\"{}-{}-clip.mp4\"", manifest.stream, manifest.id);
    let headers = reply.headers_mut();
    headers.insert("content-disposition", reply::header_value(&name));
    headers.insert("cache-control", reply::header_value("no-store"));
    reply
}

/// Where a clip begins and ends, by the query `from=12.5&to=20` in seconds; `None` when no clip is asked for.
pub(super) fn clip_span(query: &str) -> Result<Option<(Duration, Duration)>, Problem> {
    let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let seconds = |name: &str| match value(name) {
        None => Ok(None),
        Some(text) => {
            let span = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            span.map(Some).ok_or_else(|| {
                Problem::new(
                    400,
                    "Bad time",
                    format!("{name}={text} is no number of seconds, such as {name}=12.5"),
                )
            })
        }
    };
    Ok(match (seconds("from")?, seconds("to")?) {
        (None, None) => None,
        (from, to) => Some((from.unwrap_or_default(), to.unwrap_or(Duration::MAX))),
    })
}

fn unreadable(id: &str, error: &io::Error) -> Problem {
    Problem::new(500, "Recording not readable", format!("{id} cannot be read: {error}"))
}

/// A finished file is known by its hash; one that was taken in without, by its size and beginning.
fn etag(manifest: &Manifest, length: u64) -> String {
    match &manifest.sha256 {
        Some(hash) => format!("\"{}\"", hash.get(..32).unwrap_or(hash)),
        None => format!("\"{:x}-{length:x}\"", manifest.begun_us),
    }
}

/// What a body is made of.
#[derive(Debug)]
enum Piece {
    Memory(Bytes),
    /// First byte and length of a range of the file.
    Range(u64, u64),
}

/// The pieces one after the other.
fn body(file: File, status: u16, media_type: &str, pieces: Vec<Piece>) -> Reply {
    let length: u64 = pieces
        .iter()
        .map(|piece| match piece {
            Piece::Memory(bytes) => bytes.len() as u64,
            Piece::Range(_, length) => *length,
        })
        .sum();
    let (chunks, mut queue) = mpsc::channel::<Bytes>(AHEAD);
    // Ends when the client does: then nobody takes the chunks. A file that ends early breaks the connection, because its length was told.
    tokio::spawn(async move {
        if let Err(error) = read(file, pieces, &chunks).await {
            tracing::warn!(%error, "a recording cannot be read any further");
        }
    });
    let pieces = stream::poll_fn(move |context| queue.poll_recv(context));
    let mut reply = reply::streamed(status, media_type, pieces);
    reply.headers_mut().insert("content-length", reply::header_value(&length.to_string()));
    reply
}

/// Sends the pieces until they or the client end.
async fn read(mut file: File, pieces: Vec<Piece>, chunks: &mpsc::Sender<Bytes>) -> io::Result<()> {
    for piece in pieces {
        let (first, mut left) = match piece {
            Piece::Range(first, length) => (first, length),
            Piece::Memory(bytes) => {
                if chunks.send(bytes).await.is_err() {
                    return Ok(());
                }
                continue;
            }
        };
        file.seek(SeekFrom::Start(first)).await?;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
            let mut chunk = vec![0; want];
            file.read_exact(&mut chunk).await?;
            left -= want as u64;
            if chunks.send(Bytes::from(chunk)).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clips_times_are_seconds() {
        let span = |query| clip_span(query).map_err(|problem| problem.status());
        assert_eq!(span("token=x"), Ok(None));
        assert_eq!(span("from=1.5&to=2"), Ok(Some((Duration::from_millis(1500), Duration::from_secs(2)))));
        assert_eq!(span("from=3"), Ok(Some((Duration::from_secs(3), Duration::MAX))));
        for bad in ["from=x", "to=-1", "from=NaN", "to=1e300"] {
            assert_eq!(span(bad), Err(400), "{bad}");
        }
    }
}
