//! Every URL the server knows, as one enum. Pure.

use super::reply::Problem;
use skywave_media::name::{StreamName, StreamNameError};
use warp::http::Method;

/// What a path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// `/whip/{stream}`
    WhipEndpoint(StreamName),
    /// `/whip/{stream}/{session}`
    WhipSession(StreamName, String),
    /// `/hls/{stream}/{rest}`
    Hls(StreamName, String),
    /// `/api/v1/streams`
    Streams,
    /// `/api/v1/streams/{stream}`
    Stream(StreamName),
    /// A built-in page.
    Page(Page),
    /// `/assets/{name}`
    Asset(String),
    /// `/healthz`
    Healthz,
    /// `/readyz`
    Readyz,
}

/// The built-in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    /// `/`
    Index,
    /// `/publish/{stream}`
    Publish,
    /// `/watch/{stream}`
    Watch,
}

/// Why a path asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PathError {
    #[error("there is nothing at this address; the README lists every URL")]
    Unknown,
    #[error("the address has an invalid percent-escape")]
    Escape,
    #[error("{0}")]
    StreamName(#[from] StreamNameError),
}

/// Reads a path as it stands in the request line.
pub(super) fn parse(path: &str) -> Result<Route, PathError> {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8().map_err(|_| PathError::Escape)?;
    let segments: Vec<&str> = decoded.strip_prefix('/').ok_or(PathError::Unknown)?.split('/').collect();
    Ok(match segments.as_slice() {
        [""] => Route::Page(Page::Index),
        ["publish", stream] => {
            stream.parse::<StreamName>()?;
            Route::Page(Page::Publish)
        }
        ["watch", stream] => {
            stream.parse::<StreamName>()?;
            Route::Page(Page::Watch)
        }
        ["assets", name] => Route::Asset((*name).to_owned()),
        ["whip", stream] => Route::WhipEndpoint(stream.parse()?),
        ["whip", stream, session] => Route::WhipSession(stream.parse()?, (*session).to_owned()),
        ["hls", stream, rest @ ..] if !rest.is_empty() => Route::Hls(stream.parse()?, rest.join("/")),
        ["api", "v1", "streams"] => Route::Streams,
        ["api", "v1", "streams", stream] => Route::Stream(stream.parse()?),
        ["healthz"] => Route::Healthz,
        ["readyz"] => Route::Readyz,
        _ => return Err(PathError::Unknown),
    })
}

impl Route {
    /// The methods it takes, as in an `Allow` header.
    pub(super) const fn methods_text(&self) -> &'static str {
        match self {
            Self::WhipEndpoint(_) => "POST, OPTIONS",
            Self::WhipSession(..) => "DELETE, OPTIONS",
            _ => "GET, HEAD, OPTIONS",
        }
    }

    /// Refuses every other method with 405 (RFC 9725 sections 4.2 and 4.3 ask for it too).
    pub(super) fn allow(&self, method: &Method) -> Result<(), Problem> {
        let taken = self.methods_text();
        if taken.split(", ").any(|one| one == method.as_str()) {
            return Ok(());
        }
        Err(Problem::new(405, "Method not allowed", format!("this address takes {taken}, not {method}"))
            .with_header("allow", taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(name: &str) -> StreamName {
        name.parse().unwrap()
    }

    #[test]
    fn every_documented_url_has_its_route() {
        let table = [
            ("/", Route::Page(Page::Index)),
            ("/publish/demo", Route::Page(Page::Publish)),
            ("/watch/demo", Route::Page(Page::Watch)),
            ("/assets/app-1234.js", Route::Asset("app-1234.js".to_owned())),
            ("/whip/demo", Route::WhipEndpoint(stream("demo"))),
            ("/whip/demo/abc", Route::WhipSession(stream("demo"), "abc".to_owned())),
            ("/hls/demo/index.m3u8", Route::Hls(stream("demo"), "index.m3u8".to_owned())),
            ("/hls/demo/audio/t-3.m4s", Route::Hls(stream("demo"), "audio/t-3.m4s".to_owned())),
            ("/hls/de%6Do/index.m3u8", Route::Hls(stream("demo"), "index.m3u8".to_owned())),
            ("/api/v1/streams", Route::Streams),
            ("/api/v1/streams/demo", Route::Stream(stream("demo"))),
            ("/healthz", Route::Healthz),
            ("/readyz", Route::Readyz),
        ];
        for (path, route) in table {
            assert_eq!(parse(path), Ok(route), "{path}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for path in ["", "x", "//", "/whip", "/whip/", "/hls/demo", "/nowhere", "/assets/a/b"] {
            assert!(parse(path).is_err(), "{path:?}");
        }
        assert_eq!(parse("/whip/%ff"), Err(PathError::Escape));
        assert_eq!(parse("/whip/a%20b"), Err(PathError::StreamName(StreamNameError::Character(' '))));
        assert_eq!(parse("/watch/.."), Err(PathError::StreamName(StreamNameError::Dots)));
    }

    #[test]
    fn other_methods_are_refused_with_allow() {
        let problem = Route::WhipEndpoint(stream("a")).allow(&Method::GET).unwrap_err();
        assert_eq!(problem.status(), 405);
    }
}
