//! The list of a stream's recordings for people. Pure.

use super::Entry;
use crate::http::reply::{self, Reply};
use crate::recordings::manifest::State;
use bytes::Bytes;
use skywave_media::name::StreamName;
use std::fmt::Write;

/// Styles of this page alone, allowed by its own policy; there is no script.
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
    color:#1c2733;background:#f6f8fa}article{background:#fff;border:1px solid #d5dde5;border-radius:8px;\
    padding:1rem;margin:1rem 0}video{width:100%;max-height:60vh;background:#000}h2{font-size:1rem;margin:0 0 .5rem}\
    @media(prefers-color-scheme:dark){body{color:#dde5ee;background:#10161d}article{background:#18212b;border-color:#2b3947}a{color:#8cc4ff}}";

const POLICY: &str = "default-src 'none'; media-src 'self'; img-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'self'; base-uri 'none'";

/// The page. Stream names and ids need no escaping: neither can hold a character that HTML knows.
pub(super) fn page(stream: &StreamName, entries: &[Entry]) -> Reply {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Recordings of {stream}</title><style>{STYLE}</style></head><body><h1>Recordings of {stream}</h1>"
    );
    if entries.is_empty() {
        html.push_str("<p>There is none.</p>");
    }
    for entry in entries.iter().rev() {
        article(&mut html, entry);
    }
    html.push_str("</body></html>");
    let mut reply = reply::with_type(200, "text/html; charset=utf-8", Bytes::from(html));
    let headers = reply.headers_mut();
    headers.insert("content-security-policy", reply::header_value(POLICY));
    headers.insert("x-content-type-options", reply::header_value("nosniff"));
    headers.insert("cache-control", reply::header_value("no-cache"));
    reply
}

fn article(html: &mut String, Entry { manifest, mp4, hls, webm, thumb, .. }: &Entry) {
    let seconds = manifest.duration_ms / 1000;
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let megabytes = manifest.bytes as f64 / 1e6;
    let _memory = write!(
        html,
        "<article><h2><time>{}</time> · {hours}:{minutes:02}:{rest:02} · {megabytes:.1} MB</h2>",
        manifest.begun
    );
    let words = match manifest.state {
        State::Ready | State::Repaired => {
            let poster = thumb.as_ref().map(|thumb| format!(" poster=\"{thumb}\"")).unwrap_or_default();
            let file = mp4.as_ref().or(webm.as_ref()).map(String::as_str).unwrap_or_default();
            let hls = match hls {
                Some(hls) => format!("<a href=\"{hls}\">HLS</a>"),
                None => "as it was published".to_owned(),
            };
            let _memory = write!(
                html,
                "<video controls preload=\"metadata\"{poster} src=\"{file}\"></video>\
                 <p><a href=\"{file}\" download>Download</a> · {hls}</p></article>"
            );
            return;
        }
        State::Recording => "Is being recorded.",
        State::Finalising => "Is being finished; come back in a moment.",
        State::Failed => "Could not be finished; the operator's log says why.",
    };
    let _memory = write!(html, "<p>{words}</p></article>");
}
