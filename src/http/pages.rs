//! The built-in pages and their assets, embedded in the binary by the build.

use super::path::Page;
use super::reply::{self, Problem, Reply};
use super::request::Request;
use bytes::Bytes;
use std::borrow::Cow;

/// What `scripts/build-web.sh` made of `src/web`.
#[derive(rust_embed::RustEmbed)]
#[folder = "src/web/dist"]
struct Dist;

/// Pages load nothing from elsewhere and run no inline script.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; media-src 'self' blob:; worker-src 'self' blob:; \
     connect-src 'self'; img-src 'self' data:; style-src 'self'; frame-ancestors 'self'; base-uri 'none'";

/// A page; always asked for anew, so that an upgrade of the server is an upgrade of its pages.
pub(super) fn page(page: Page, request: &Request) -> Result<Reply, Problem> {
    let name = match page {
        Page::Index => "index.html",
        Page::Publish => "publish.html",
        Page::Watch => "watch.html",
    };
    let mut reply = file(name, request)?;
    let headers = reply.headers_mut();
    headers.insert("cache-control", reply::header_value("no-cache"));
    headers.insert("content-security-policy", reply::header_value(CONTENT_SECURITY_POLICY));
    headers.insert("x-content-type-options", reply::header_value("nosniff"));
    headers.insert("referrer-policy", reply::header_value("same-origin"));
    Ok(reply)
}

/// A script, style or picture; its name has a hash of its content, so it never changes.
pub(super) fn asset(name: &str, request: &Request) -> Result<Reply, Problem> {
    let mut reply = file(&format!("assets/{name}"), request)?;
    let headers = reply.headers_mut();
    headers.insert("cache-control", reply::header_value("public, max-age=31536000, immutable"));
    headers.insert("x-content-type-options", reply::header_value("nosniff"));
    Ok(reply)
}

fn file(name: &str, request: &Request) -> Result<Reply, Problem> {
    let found = Dist::get(name)
        .ok_or_else(|| Problem::new(404, "Not found", format!("the server has no file {name}")))?;
    let hash = found.metadata.sha256_hash();
    let etag = format!("\"{}\"", hash[..12].iter().map(|b| format!("{b:02x}")).collect::<String>());
    let unchanged = request
        .header("if-none-match")
        .is_some_and(|given| given.split(',').any(|one| one.trim().trim_start_matches("W/") == etag));
    let mut reply = if unchanged {
        reply::empty(304)
    } else {
        let content_type = mime_guess::from_path(name).first_or_octet_stream();
        let body = match found.data {
            Cow::Borrowed(data) => Bytes::from_static(data),
            Cow::Owned(data) => Bytes::from(data),
        };
        let charset = if content_type.type_() == "text" { "; charset=utf-8" } else { "" };
        reply::with_type(200, &format!("{}{charset}", content_type.essence_str()), body)
    };
    reply.headers_mut().insert("etag", reply::header_value(&etag));
    Ok(reply)
}
