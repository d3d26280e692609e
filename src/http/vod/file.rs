//! A file from the disk: ranges, validators, a name for downloads. It is never in memory as a whole.

use crate::http::hls::wanted_range;
use crate::http::reply::{self, Problem, Reply};
use crate::http::request::Request;
use crate::recordings::manifest::Manifest;
use bytes::Bytes;
use futures_util::stream;
use headers::{ETag, HeaderMapExt, IfNoneMatch};
use std::io::SeekFrom;
use std::path::PathBuf;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// Chunks read ahead of a slow client.
const AHEAD: usize = 2;

/// Answers with the file, or the one range of it that is asked for (RFC 9110 section 14).
pub(super) async fn serve(path: PathBuf, manifest: &Manifest, request: &Request) -> Result<Reply, Problem> {
    let gone = |error: std::io::Error| {
        Problem::new(500, "Recording not readable", format!("{} cannot be read: {error}", manifest.id))
    };
    let mut file = File::open(&path).await.map_err(gone)?;
    let length = file.metadata().await.map_err(gone)?.len();
    let text = etag(manifest, length);
    let etag: Option<ETag> = text.parse().ok();
    let seen = request.headers.typed_get::<IfNoneMatch>();
    let mut reply = if seen.zip(etag.as_ref()).is_some_and(|(seen, etag)| !seen.precondition_passes(etag)) {
        reply::empty(304)
    } else {
        match wanted_range(request, etag.as_ref(), length) {
            None => body(file, 200, length),
            Some(Ok((start, end))) => {
                file.seek(SeekFrom::Start(start)).await.map_err(gone)?;
                let mut reply = body(file, 206, end + 1 - start);
                let range = format!("bytes {start}-{end}/{length}");
                reply.headers_mut().insert("content-range", reply::header_value(&range));
                reply
            }
            Some(Err(())) => {
                let problem =
                    Problem::new(416, "Range not satisfiable", format!("the file has {length} bytes"));
                problem.with_header("content-range", format!("bytes */{length}")).into_reply()
            }
        }
    };
    let headers = reply.headers_mut();
    headers.insert("etag", reply::header_value(&text));
    headers.insert("accept-ranges", reply::header_value("bytes"));
    headers.insert("cache-control", reply::header_value("public, no-cache"));
    // Shown where it can be shown, saved under a name that says what it is (RFC 6266).
    let name = format!("inline; filename=\"{}-{}.mp4\"", manifest.stream, manifest.id);
    headers.insert("content-disposition", reply::header_value(&name));
    Ok(reply)
}

/// A finished file is known by its hash; one that was taken in without, by its size and beginning.
fn etag(manifest: &Manifest, length: u64) -> String {
    match &manifest.sha256 {
        Some(hash) => format!("\"{}\"", hash.get(..32).unwrap_or(hash)),
        None => format!("\"{:x}-{length:x}\"", manifest.begun_us),
    }
}

/// The next `length` bytes of the file.
fn body(mut file: File, status: u16, length: u64) -> Reply {
    let (chunks, mut queue) = mpsc::channel::<Bytes>(AHEAD);
    // Ends when the client does: then nobody takes the chunks. A file that ends early breaks the connection, because its length was told.
    tokio::spawn(async move {
        let mut left = length;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
            let mut chunk = vec![0; want];
            match file.read_exact(&mut chunk).await {
                Ok(_) => left -= want as u64,
                Err(error) => {
                    tracing::warn!(%error, "a recording cannot be read any further");
                    return;
                }
            }
            if chunks.send(Bytes::from(chunk)).await.is_err() {
                return;
            }
        }
    });
    let pieces = stream::poll_fn(move |context| queue.poll_recv(context));
    let mut reply = reply::streamed(status, "video/mp4", pieces);
    reply.headers_mut().insert("content-length", reply::header_value(&length.to_string()));
    reply
}
