//! Every URL the server knows, as one enum. Pure.

use super::door::Door;
use super::reply::Problem;
use super::session;
use crate::auth::Action;
use crate::recordings::manifest::is_id;
use skywave_media::name::{StreamName, StreamNameError};
use warp::http::Method;

/// What a path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// `/whip/{stream}`
    WhipEndpoint(StreamName),
    /// `/whip/{stream}/{session}`
    WhipSession(StreamName, String),
    /// `/whep/{stream}`
    WhepEndpoint(StreamName),
    /// `/whep/{stream}/{session}`
    WhepSession(StreamName, String),
    /// `/whep/{stream}/{session}/..`
    WhepExtra(StreamName, String, Extra),
    /// `/ingest/webm/{stream}`
    IngestWebm(StreamName),
    /// `/hls/{stream}/{rest}`
    Hls(StreamName, String),
    /// `/api/v1/streams`
    Streams,
    /// `/api/v1/streams/{stream}`
    Stream(StreamName),
    /// `/api/v1/streams/{stream}/viewers`
    Viewers(StreamName),
    /// `/api/v1/streams/{stream}/dateranges`
    DateRanges(StreamName),
    /// `/api/v1/streams/{stream}/dateranges/{id}`
    DateRange(StreamName, String),
    /// `/api/v1/streams/{stream}/recording`
    StreamRecording(StreamName),
    /// `/api/v1/recordings`
    Recordings,
    /// `/api/v1/recordings/{stream}/{id}`
    Recording(StreamName, String),
    /// `/api/v1/recordings/{stream}/{id}/protection`
    Protection(StreamName, String),
    /// `/vod/{stream}/` and what lies below it
    Vod(StreamName, Vod),
    /// `/api/v1/events`
    Events,
    /// `/api/v1/openapi.json`
    OpenApi,
    /// `/metrics`
    Metrics,
    /// A built-in page.
    Page(Page),
    /// `/assets/{name}`
    Asset(String),
    /// `/healthz`
    Healthz,
    /// `/readyz`
    Readyz,
}

/// What lies beside a viewer's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extra {
    /// `sse`
    Events,
    /// `sse/{number}`
    EventStream(u32),
    /// `layer`
    Layer,
    /// `mute`
    Mute,
}

/// What can be had of a stream's recordings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Vod {
    /// The list.
    List,
    /// `{id}.mp4`
    File(String),
    /// `{id}.webm`
    Archive(String),
    /// `{id}/index.m3u8`
    Multivariant(String),
    /// `{id}/media.m3u8`
    Media(String),
    /// `{id}/iframes.m3u8`
    Keyframes(String),
    /// One of its pictures.
    Picture(String, VodPicture),
}

/// The pictures of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VodPicture {
    /// `{id}/thumb.jpg`
    Thumb,
    /// `{id}/sprite.jpg`
    Sprite,
    /// `{id}/thumbs.vtt`
    Cues,
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
        ["whep", stream] => Route::WhepEndpoint(stream.parse()?),
        ["whep", stream, session] => Route::WhepSession(stream.parse()?, (*session).to_owned()),
        ["whep", stream, session, rest @ ..] => {
            let extra = match rest {
                ["sse"] => Extra::Events,
                ["sse", number] => Extra::EventStream(number.parse().map_err(|_| PathError::Unknown)?),
                ["layer"] => Extra::Layer,
                ["mute"] => Extra::Mute,
                _ => return Err(PathError::Unknown),
            };
            Route::WhepExtra(stream.parse()?, (*session).to_owned(), extra)
        }
        ["ingest", "webm", stream] => Route::IngestWebm(stream.parse()?),
        ["hls", stream, rest @ ..] if !rest.is_empty() => Route::Hls(stream.parse()?, rest.join("/")),
        ["api", "v1", "streams"] => Route::Streams,
        ["api", "v1", "streams", stream] => Route::Stream(stream.parse()?),
        ["api", "v1", "streams", stream, "viewers"] => Route::Viewers(stream.parse()?),
        ["api", "v1", "streams", stream, "dateranges"] => Route::DateRanges(stream.parse()?),
        ["api", "v1", "streams", stream, "dateranges", id] => {
            Route::DateRange(stream.parse()?, (*id).to_owned())
        }
        ["api", "v1", "streams", stream, "recording"] => Route::StreamRecording(stream.parse()?),
        ["api", "v1", "recordings"] => Route::Recordings,
        ["api", "v1", "recordings", stream, id] => Route::Recording(stream.parse()?, id_of(id)?),
        ["api", "v1", "recordings", stream, id, "protection"] => {
            Route::Protection(stream.parse()?, id_of(id)?)
        }
        ["vod", stream, ""] => Route::Vod(stream.parse()?, Vod::List),
        ["vod", stream, file] => {
            let what = match file.rsplit_once('.') {
                Some((id, "mp4")) => Vod::File(id_of(id)?),
                Some((id, "webm")) => Vod::Archive(id_of(id)?),
                _ => return Err(PathError::Unknown),
            };
            Route::Vod(stream.parse()?, what)
        }
        ["vod", stream, id, file] => {
            let id = id_of(id)?;
            let what = match *file {
                "index.m3u8" => Vod::Multivariant(id),
                "media.m3u8" => Vod::Media(id),
                "iframes.m3u8" => Vod::Keyframes(id),
                "thumb.jpg" => Vod::Picture(id, VodPicture::Thumb),
                "sprite.jpg" => Vod::Picture(id, VodPicture::Sprite),
                "thumbs.vtt" => Vod::Picture(id, VodPicture::Cues),
                _ => return Err(PathError::Unknown),
            };
            Route::Vod(stream.parse()?, what)
        }
        ["api", "v1", "events"] => Route::Events,
        ["api", "v1", "openapi.json"] => Route::OpenApi,
        ["metrics"] => Route::Metrics,
        ["healthz"] => Route::Healthz,
        ["readyz"] => Route::Readyz,
        _ => return Err(PathError::Unknown),
    })
}

/// A recording's id; what cannot be one is no address.
fn id_of(word: &str) -> Result<String, PathError> {
    if is_id(word) { Ok(word.to_owned()) } else { Err(PathError::Unknown) }
}

impl Route {
    /// The methods it takes, as in an `Allow` header.
    pub(super) const fn methods_text(&self) -> &'static str {
        match self {
            // GET and HEAD are answered without content (RFC 9725 section 4.1, WHEP sections 4.1 and 4.2).
            Self::WhipEndpoint(_) | Self::WhepEndpoint(_) => "GET, HEAD, POST, OPTIONS",
            Self::WhipSession(..) | Self::WhepSession(..) => "GET, HEAD, PATCH, DELETE, OPTIONS",
            Self::WhepExtra(.., Extra::Events) => "GET, HEAD, POST, OPTIONS",
            Self::WhepExtra(.., Extra::EventStream(_)) => "GET, HEAD, DELETE, OPTIONS",
            Self::WhepExtra(.., Extra::Layer) => "POST, DELETE, OPTIONS",
            Self::WhepExtra(.., Extra::Mute) => "POST, OPTIONS",
            Self::IngestWebm(_) => "GET, HEAD, POST, OPTIONS",
            Self::DateRanges(_) => "GET, HEAD, POST, OPTIONS",
            Self::DateRange(..) => "GET, HEAD, PATCH, DELETE, OPTIONS",
            Self::StreamRecording(_) => "POST, DELETE, OPTIONS",
            Self::Recording(..) => "GET, HEAD, DELETE, OPTIONS",
            Self::Protection(..) => "PUT, DELETE, OPTIONS",
            _ => "GET, HEAD, OPTIONS",
        }
    }

    /// What it is guarded by.
    pub(super) const fn door(&self) -> Door<'_> {
        match self {
            Self::WhipEndpoint(stream) | Self::WhipSession(stream, _) | Self::IngestWebm(stream) => {
                Door::Stream(Action::Publish, stream)
            }
            Self::WhepEndpoint(stream)
            | Self::WhepSession(stream, _)
            | Self::WhepExtra(stream, ..)
            | Self::Vod(stream, _)
            | Self::Hls(stream, _) => Door::Stream(Action::View, stream),
            Self::Streams
            | Self::Stream(_)
            | Self::Viewers(_)
            | Self::DateRanges(_)
            | Self::DateRange(..)
            | Self::StreamRecording(_)
            | Self::Recordings
            | Self::Recording(..)
            | Self::Protection(..)
            | Self::Events
            | Self::OpenApi
            | Self::Metrics => Door::Api,
            Self::Page(_) | Self::Asset(_) | Self::Healthz | Self::Readyz => Door::Open,
        }
    }

    /// The media type of what a POST brings.
    pub(super) const fn accept_post(&self) -> Option<&'static str> {
        match self {
            Self::WhipEndpoint(_) | Self::WhepEndpoint(_) => Some(session::SDP),
            Self::WhepExtra(.., Extra::Events | Extra::Layer | Extra::Mute) | Self::DateRanges(_) => {
                Some("application/json")
            }
            Self::IngestWebm(_) => Some("video/webm"),
            _ => None,
        }
    }

    /// The media type of what a PATCH brings.
    pub(super) const fn accept_patch(&self) -> Option<&'static str> {
        match self {
            Self::WhipSession(..) | Self::WhepSession(..) => Some(session::FRAGMENT),
            Self::DateRange(..) => Some("application/json"),
            _ => None,
        }
    }

    /// Refuses every other method with 405 (RFC 9110 section 15.5.6).
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
            ("/whep/demo", Route::WhepEndpoint(stream("demo"))),
            ("/whep/demo/abc", Route::WhepSession(stream("demo"), "abc".to_owned())),
            ("/whep/demo/abc/sse", Route::WhepExtra(stream("demo"), "abc".to_owned(), Extra::Events)),
            (
                "/whep/demo/abc/sse/7",
                Route::WhepExtra(stream("demo"), "abc".to_owned(), Extra::EventStream(7)),
            ),
            ("/whep/demo/abc/layer", Route::WhepExtra(stream("demo"), "abc".to_owned(), Extra::Layer)),
            ("/whep/demo/abc/mute", Route::WhepExtra(stream("demo"), "abc".to_owned(), Extra::Mute)),
            ("/ingest/webm/demo", Route::IngestWebm(stream("demo"))),
            ("/hls/demo/index.m3u8", Route::Hls(stream("demo"), "index.m3u8".to_owned())),
            ("/hls/demo/audio/t-3.m4s", Route::Hls(stream("demo"), "audio/t-3.m4s".to_owned())),
            ("/hls/de%6Do/index.m3u8", Route::Hls(stream("demo"), "index.m3u8".to_owned())),
            ("/api/v1/streams", Route::Streams),
            ("/api/v1/streams/demo", Route::Stream(stream("demo"))),
            ("/api/v1/streams/demo/viewers", Route::Viewers(stream("demo"))),
            ("/api/v1/streams/demo/dateranges", Route::DateRanges(stream("demo"))),
            ("/api/v1/streams/demo/dateranges/ad-1", Route::DateRange(stream("demo"), "ad-1".to_owned())),
            ("/api/v1/events", Route::Events),
            ("/api/v1/streams/demo/recording", Route::StreamRecording(stream("demo"))),
            ("/api/v1/recordings", Route::Recordings),
            ("/api/v1/recordings/demo/t1-2", Route::Recording(stream("demo"), "t1-2".to_owned())),
            ("/api/v1/recordings/demo/t1/protection", Route::Protection(stream("demo"), "t1".to_owned())),
            ("/vod/demo/", Route::Vod(stream("demo"), Vod::List)),
            ("/vod/demo/t1.mp4", Route::Vod(stream("demo"), Vod::File("t1".to_owned()))),
            ("/vod/demo/t1-source.webm", Route::Vod(stream("demo"), Vod::Archive("t1-source".to_owned()))),
            ("/vod/demo/t1/index.m3u8", Route::Vod(stream("demo"), Vod::Multivariant("t1".to_owned()))),
            ("/vod/demo/t1/media.m3u8", Route::Vod(stream("demo"), Vod::Media("t1".to_owned()))),
            ("/vod/demo/t1/iframes.m3u8", Route::Vod(stream("demo"), Vod::Keyframes("t1".to_owned()))),
            (
                "/vod/demo/t1/thumb.jpg",
                Route::Vod(stream("demo"), Vod::Picture("t1".to_owned(), VodPicture::Thumb)),
            ),
            (
                "/vod/demo/t1/sprite.jpg",
                Route::Vod(stream("demo"), Vod::Picture("t1".to_owned(), VodPicture::Sprite)),
            ),
            (
                "/vod/demo/t1/thumbs.vtt",
                Route::Vod(stream("demo"), Vod::Picture("t1".to_owned(), VodPicture::Cues)),
            ),
            ("/api/v1/openapi.json", Route::OpenApi),
            ("/metrics", Route::Metrics),
            ("/healthz", Route::Healthz),
            ("/readyz", Route::Readyz),
        ];
        for (path, route) in table {
            assert_eq!(parse(path), Ok(route), "{path}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        for path in [
            "",
            "x",
            "//",
            "/whip",
            "/whip/",
            "/hls/demo",
            "/nowhere",
            "/assets/a/b",
            "/whep/a/b/c",
            "/whep/a/b/sse/x",
            "/vod/demo",
            "/vod/demo/..mp4",
            "/vod/demo/a%2fb.mp4",
            "/api/v1/recordings/demo/..",
        ] {
            assert!(parse(path).is_err(), "{path:?}");
        }
        assert_eq!(parse("/whip/%ff"), Err(PathError::Escape));
        assert_eq!(parse("/whip/a%20b"), Err(PathError::StreamName(StreamNameError::Character(' '))));
        assert_eq!(parse("/watch/.."), Err(PathError::StreamName(StreamNameError::Dots)));
    }

    #[test]
    fn other_methods_are_refused_with_allow() {
        let problem = Route::WhipEndpoint(stream("a")).allow(&Method::PUT).unwrap_err();
        assert_eq!(problem.status(), 405);
        assert_eq!(problem.into_reply().headers()["allow"], "GET, HEAD, POST, OPTIONS");
    }
}
