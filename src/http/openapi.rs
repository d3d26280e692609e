//! `/api/v1/openapi.json`: the description of every URL, made from the documents and routes of this program.
//!
//! What belongs here: what no handler's own attribute can say. The routes of `/api/v1` are described where they are answered,
//! their documents where they are defined; those of the protocols have specifications of their own and are named here.

use super::reply::{self, Reply};
use super::{api, dateranges, events, ingest, metrics, recordings, vod};
use crate::events as happenings;
use bytes::Bytes;
use std::sync::LazyLock;
use utoipa::openapi::path::{
    HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, Required, Response, ResponseBuilder};

/// The routes of this API, and the documents that only events carry.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Skywave",
        description = "A live broadcast media server: WHIP in; HLS and WebRTC (WHEP) out. Errors are problem documents (RFC 9457)."
    ),
    paths(
        api::list,
        api::one,
        api::viewers,
        dateranges::list,
        dateranges::add,
        dateranges::one,
        dateranges::update,
        dateranges::remove,
        recordings::switch,
        recordings::stop,
        recordings::list,
        recordings::one,
        recordings::remove,
        recordings::protect,
        recordings::unprotect,
        events::listen,
        ingest::get,
        ingest::post,
        metrics::metrics
    ),
    components(schemas(
        events::SnapshotEvent,
        happenings::PublisherEvent,
        happenings::ViewersEvent,
        happenings::EndedEvent,
        vod::VodList
    )),
    tags(
        (name = "Control", description = "What is on air"),
        (name = "Media", description = "Publishing and watching"),
        (name = "Operations", description = "Health and metrics")
    )
)]
struct Described;

/// `GET /api/v1/openapi.json`.
pub(super) fn document() -> Reply {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(crate::events::json(&describe())));
    let mut reply = reply::with_type(200, "application/json", TEXT.clone());
    reply.headers_mut().insert("cache-control", reply::header_value("no-cache"));
    reply
}

/// The whole description.
fn describe() -> OpenApi {
    let mut document = <Described as utoipa::OpenApi>::openapi();
    for (path, method, operation) in protocols() {
        document.paths.add_path_operation(path, vec![method], operation);
    }
    for (path, item) in &mut document.paths.paths {
        for operation in [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete]
            .into_iter()
            .flatten()
        {
            let refusals = refusals_of(path).into_iter();
            operation
                .responses
                .responses
                .extend(refusals.map(|(status, words)| (status.to_owned(), refusal(words).into())));
        }
    }
    let nobody_has_to = SecurityRequirement::default();
    let but_whoever_does = SecurityRequirement::new::<&str, [&str; 0], &str>("bearer", []);
    document.security = Some(vec![nobody_has_to, but_whoever_does]);
    let components = document.components.get_or_insert_default();
    components.schemas.insert("Problem".to_owned(), problem().into());
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    components.security_schemes.insert("bearer".to_owned(), bearer.into());
    document
}

/// How the API's own addresses refuse, besides 405.
fn refusals_of(path: &str) -> Vec<(&'static str, &'static str)> {
    let mut refusals = Vec::new();
    if path.starts_with("/api/") || path == "/metrics" {
        refusals.push(("401", "The key is missing or wrong; `WWW-Authenticate` says which"));
        refusals.push(("403", "No key is configured, and this is for the machine itself alone"));
    }
    let of_recording = path.starts_with("/api/v1/recordings/");
    if path.starts_with("/api/v1/streams/") || path == "/api/v1/events" || of_recording {
        refusals.push(("400", "No stream can have this name"));
    }
    if path.starts_with("/api/v1/streams/") {
        refusals.push(("404", "Nothing is on air under this name"));
    }
    if of_recording {
        refusals.push(("404", "The stream has no recording of this id"));
        refusals.push(("409", "It is being recorded or finished"));
    }
    if path.starts_with("/ingest/") {
        refusals.extend([
            (
                "400",
                "No stream can have this name; or what came is no WebM, is broken, or ended without a frame",
            ),
            ("401", "The key is missing or wrong; `WWW-Authenticate` says which"),
            ("408", "Nothing came for too long"),
            ("409", "Another publisher has taken the stream over"),
            ("413", "An element of it is larger than is taken"),
            ("415", "None of its tracks can be taken"),
            ("426", "The GET was no handshake of a WebSocket"),
            ("429", "Too many sessions of one address"),
            ("503", "The server stops, or is full"),
        ]);
    }
    if path.contains("/dateranges") {
        refusals.push((
            "409",
            "There is one of this name, too many, or a value that players may have seen would change",
        ));
        refusals.push(("415", "The body is no JSON"));
    }
    refusals
}

/// A problem document, as [`super::reply`] writes it.
fn problem() -> Schema {
    let text = |words: &str| ObjectBuilder::new().schema_type(Type::String).description(Some(words)).build();
    let status = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
        .description(Some("The HTTP status"));
    let mut object = ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some("What went wrong, in words for who asked (RFC 9457)"))
        .property("type", text("`about:blank`: the title says what kind it is"))
        .property("title", text("The kind of problem"))
        .property("status", status)
        .property("detail", text("What to do about this one"));
    for name in ["type", "title", "status", "detail"] {
        object = object.required(name);
    }
    Schema::Object(object.build())
}

/// The URLs whose answers are no JSON.
fn protocols() -> Vec<(&'static str, HttpMethod, Operation)> {
    let mut all = Vec::new();
    all.extend(sessions("/whip/{stream}", "/whip/{stream}/{session}", "Publish", "WHIP, RFC 9725"));
    all.extend(sessions("/whep/{stream}", "/whep/{stream}/{session}", "Watch", "WHEP, draft-ietf-wish-whep"));
    let playlist = answer("200", "The playlist, a segment or a part of it", "application/vnd.apple.mpegurl");
    let hls = about(
        "Media",
        "HLS (RFC 8216 and low latency): index.m3u8 is the multivariant playlist; all else lies beside it",
    )
    .parameter(in_path("stream", "Stream name"))
    .parameter(in_path("file", "`index.m3u8`, `{rendition}/index.m3u8`, or what a playlist names"));
    all.push((
        "/hls/{stream}/{file}",
        HttpMethod::Get,
        with_errors(with(hls, playlist), &["400", "404", "410", "503"]),
    ));
    let thumbnail = about("Media", "What the stream shows, as a small picture a few seconds old (JPEG)")
        .parameter(in_path("stream", "Stream name"));
    all.push((
        "/hls/{stream}/thumb.jpg",
        HttpMethod::Get,
        with_errors(with(thumbnail, answer("200", "The picture", "image/jpeg")), &["400", "404"]),
    ));
    all.extend(recordings_of());
    let alive =
        with(about("Operations", "Whether the process answers"), answer("200", "It does", "text/plain"));
    all.push(("/healthz", HttpMethod::Get, alive.build()));
    let ready = with(
        with(
            about("Operations", "Whether new publishers and viewers are welcome"),
            answer("200", "They are", "text/plain"),
        ),
        answer("503", "The server is on its way out", "text/plain"),
    );
    all.push(("/readyz", HttpMethod::Get, ready.build()));
    let description = answer("200", "An OpenAPI 3.1 document", "application/json");
    all.push((
        "/api/v1/openapi.json",
        HttpMethod::Get,
        with(about("Control", "This description"), description).build(),
    ));
    all
}

/// What viewers get of recordings.
fn recordings_of() -> [(&'static str, HttpMethod, Operation); 6] {
    let stream = || in_path("stream", "Stream name");
    let id = || in_path("id", "The recording's id");
    let list =
        about("Media", "The recordings of a stream: a page for those who accept HTML, JSON for all others")
            .parameter(stream());
    let file = about("Media", "A recording as MP4, with ranges; `?from=12.5&to=20` (seconds) cuts a clip")
        .parameter(stream())
        .parameter(id());
    let hls = about("Media", "A recording as HLS, by byte ranges into the same file")
        .parameter(stream())
        .parameter(id());
    let picture = |path: &'static str, words: &str, kind: &str| {
        let picture = about("Media", words).parameter(stream()).parameter(id());
        let picture = with(picture, answer("200", "It is there once the recording is finished", kind));
        (path, HttpMethod::Get, with_errors(picture, &["400", "401", "404", "409"]))
    };
    let document = Content::new(Some(Ref::from_schema_name("RecordedStream")));
    let listed = answer("200", "By id", "text/html");
    let listed = (listed.0, listed.1.content("application/json", document));
    let whole = answer("200", "The file", "video/mp4");
    let playlist = answer("200", "The multivariant playlist", "application/vnd.apple.mpegurl");
    let part = ("206", ResponseBuilder::new().description("The range that was asked for"));
    let file = with(with(file, whole), part);
    [
        ("/vod/{stream}/", HttpMethod::Get, with_errors(with(list, listed), &["400", "401"])),
        ("/vod/{stream}/{id}.mp4", HttpMethod::Get, with_errors(file, &["400", "401", "404", "409", "416"])),
        (
            "/vod/{stream}/{id}/index.m3u8",
            HttpMethod::Get,
            with_errors(with(hls, playlist), &["400", "401", "404", "409"]),
        ),
        picture("/vod/{stream}/{id}/thumb.jpg", "A picture that stands for a recording", "image/jpeg"),
        picture(
            "/vod/{stream}/{id}/sprite.jpg",
            "Small pictures of a recording in one, row after row",
            "image/jpeg",
        ),
        picture(
            "/vod/{stream}/{id}/thumbs.vtt",
            "Which of the small pictures shows which time, as WebVTT cues `sprite.jpg#xywh=..`",
            "text/vtt",
        ),
    ]
}

/// POST, PATCH and DELETE of a protocol whose sessions are resources.
fn sessions(
    endpoint: &'static str,
    session: &'static str,
    verb: &str,
    spec: &str,
) -> [(&'static str, HttpMethod, Operation); 3] {
    let stream = || in_path("stream", "Stream name");
    let id =
        || in_path("session", "The session's name, from the `Location` header of its answer; it is a key");
    let post = about("Media", &format!("{verb} ({spec})")).parameter(stream()).request_body(Some(
        RequestBodyBuilder::new().content("application/sdp", text()).required(Some(Required::True)).build(),
    ));
    let post = with(
        post,
        answer(
            "201",
            "The SDP answer; `Location` has the session's URL, `ETag` its ICE session",
            "application/sdp",
        ),
    );
    let patch = about("Media", &format!("Trickle candidates or restart ICE ({spec})"))
        .parameter(stream())
        .parameter(id())
        .request_body(Some(
            RequestBodyBuilder::new()
                .content("application/trickle-ice-sdpfrag", text())
                .required(Some(Required::True))
                .build(),
        ))
        .response("204", ResponseBuilder::new().description("Candidates taken note of"));
    let patch = with(
        patch,
        answer("200", "ICE restarted; `ETag` has its new name", "application/trickle-ice-sdpfrag"),
    );
    let delete = about("Media", &format!("End the session ({spec})"))
        .parameter(stream())
        .parameter(id())
        .response("200", ResponseBuilder::new().description("It has ended"));
    [
        (endpoint, HttpMethod::Post, with_errors(post, &["400", "401", "404", "406", "413", "415", "503"])),
        (session, HttpMethod::Patch, with_errors(patch, &["400", "401", "404", "412", "415", "422", "428"])),
        (session, HttpMethod::Delete, with_errors(delete, &["401", "404"])),
    ]
}

fn about(tag: &str, summary: &str) -> OperationBuilder {
    OperationBuilder::new().tag(tag).summary(Some(summary))
}

fn in_path(name: &str, description: &str) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(description))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
}

fn text() -> Content {
    Content::new(Some(ObjectBuilder::new().schema_type(Type::String)))
}

fn answer<'a>(status: &'a str, description: &str, content_type: &str) -> (&'a str, ResponseBuilder) {
    (status, ResponseBuilder::new().description(description).content(content_type, text()))
}

fn with(operation: OperationBuilder, (status, response): (&str, ResponseBuilder)) -> OperationBuilder {
    operation.response(status, response)
}

fn with_errors(operation: OperationBuilder, statuses: &[&str]) -> Operation {
    let with_all = statuses.iter().fold(operation, |operation, status| {
        operation.response(*status, refusal("Refused, with the reason"))
    });
    with_all.build()
}

fn refusal(description: &str) -> Response {
    let document = Content::new(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new().description(description).content("application/problem+json", document).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::path;
    use serde_json::Value;
    use std::collections::BTreeSet;

    fn document() -> Value {
        serde_json::to_value(describe()).unwrap()
    }

    #[test]
    fn it_says_which_version_it_is() {
        assert_eq!(document()["openapi"], "3.1.0");
        assert_eq!(document()["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn walk(value: &Value, found: &mut BTreeSet<String>) {
            match value {
                Value::Object(fields) => {
                    found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    fields.values().for_each(|value| walk(value, found));
                }
                Value::Array(items) => items.iter().for_each(|value| walk(value, found)),
                _ => {}
            }
        }
        let document = document();
        let mut references = BTreeSet::new();
        walk(&document, &mut references);
        assert!(references.contains("#/components/schemas/Stream"), "{references:?}");
        for reference in references {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn every_path_has_a_route_that_takes_its_methods() {
        let document = document();
        for (path, operations) in document["paths"].as_object().unwrap() {
            let example = path
                .replace("{stream}", "demo")
                .replace("{session}", "0123456789abcdef0123456789abcdef")
                .replace("{file}", "index.m3u8")
                .replace("{id}", "t1");
            let route = path::parse(&example).unwrap_or_else(|error| panic!("{path}: {error}"));
            let described: BTreeSet<String> =
                operations.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
            let taken: BTreeSet<String> = route
                .methods_text()
                .split(", ")
                .filter(|method| !matches!(*method, "OPTIONS" | "HEAD"))
                .map(str::to_owned)
                .collect();
            assert!(described.is_subset(&taken), "{path}: described {described:?}, taken {taken:?}");
            // The protocols' specifications tell more of their resources than belongs into this document.
            assert!(path.starts_with("/wh") || described == taken, "{path}: {described:?}, taken {taken:?}");
        }
    }
}
