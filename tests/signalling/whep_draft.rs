//! draft-ietf-wish-whep-04 and draft-ietf-wish-whep-events, the clauses that a server can keep or break. What a session answers to PATCH,
//! DELETE and entity tags is one implementation with WHIP's and has its rows there; here stand those that differ, and those that need
//! something on air, which `skywave publish` brings.

use crate::offers::{self, sections, values};
use crate::rows::{hold, rows};
use crate::server::{Answer, Server};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const NOTHING: &str = "/whep/nothing";
const LIVE: &str = "/whep/live";

/// How long a busy machine may take to bring a test picture on air.
const ON_AIR: Duration = Duration::from_secs(60);

/// How long an event may take that is due at once.
const EVENT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn every_clause_about_endpoints_holds() {
    let server = Server::start("[whep]\nwait_ms = 100\n").await;
    hold(
        &server,
        &rows![
            "4.1 MUST: GET of an endpoint is a 2xx without content" => get,
            "4.2 SHOULD: HEAD of an endpoint is 200 and of type application/sdp" => discovery,
            "4.3 MUST: another content type is a 4xx" => wrong_content_type,
            "4.3 MUST: a malformed offer is a 4xx" => malformed_offer,
            "4.3: an empty POST, the server-offer flow of early drafts, is a malformed offer" => empty_post,
            "4.3.7: what nobody publishes is refused with Retry-After" => nothing_on_air,
            "4.4 MUST, SHOULD: OPTIONS is 200 and has Accept-Post: application/sdp" => options,
            "4.5.1: sessions that never were are 404" => no_session,
            "RFC 9110 15.5.6: other methods are 405 with Allow" => other_methods,
        ],
    )
    .await;
}

#[tokio::test]
async fn every_clause_about_sessions_holds() {
    let server = Server::start("").await;
    let _publisher = Publisher::on_air(&server).await.unwrap();
    hold(
        &server,
        &rows![
            "4.3.1 MUST: POST of an offer is 201 with an SDP answer and a Location" => post,
            "4.3.5 MUST: the answer is sendonly" => answer_direction,
            "4.3.5 MUST NOT: sendonly and inactive are not offered" => wrong_direction,
            "4.5.1 MUST: the 201 has a strong ETag" => etag,
            "4.5.1: a PATCH without If-Match is 428, with a stale tag 412" => preconditions,
            "4.5.1 MUST: another content type of a PATCH is a 4xx" => patch_content_type,
            "4.5.2 MUST: a trickled candidate is 204 without body and ETag" => trickle,
            "4.5.3 SHALL: new credentials restart ICE: 200, a fragment, a new ETag" => restart,
            "4.4: DELETE removes the session, however often" => delete,
            "4.6.1 SHALL: everything is bundled and multiplexed" => bundle,
            "4.6.2 MUST: every section has the msid of one MediaStream" => one_media_stream,
            "4.10 MUST: the 201 has a Link for each extension" => extension_links,
            "events: POST makes an event stream, GET listens, DELETE ends it" => event_stream,
            "events MUST: an event that is not advertised is 400" => unknown_event,
            "events MUST: all event streams end with their session" => events_end_with_the_session,
            "layers: a layer is selected by POST, and given back to the server" => layers,
            "ours: a lane is muted and resumed" => mute,
        ],
    )
    .await;
}

/// `skywave publish`, with the smallest of test pictures.
struct Publisher(Child);

impl Publisher {
    async fn on_air(server: &Server) -> Result<Self> {
        let url = format!("{}/whip/live", server.base);
        let arguments = ["publish", "test", &url, "--size", "160x120", "--fps", "10", "--sound", "silence"];
        let mut command = Command::new(env!("CARGO_BIN_EXE_skywave"));
        let publisher = Self(command.args(arguments).stdout(Stdio::null()).spawn()?);
        let watching = async {
            loop {
                // It waits for the publisher itself, so this turns seldom.
                let answer = server.offer(LIVE, &offers::viewer()).await?;
                if answer.status != 404 {
                    return answer.is(&[201]);
                }
            }
        };
        let first: Result<Answer> = tokio::time::timeout(ON_AIR, watching).await.context("nothing on air")?;
        server.ask("DELETE", &first?.session()?).await?.is(&[200])?;
        Ok(publisher)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

async fn get(server: &Server) -> Result<()> {
    let answer = server.ask("GET", NOTHING).await?.is(&[200, 204])?;
    ensure!(answer.body.is_empty(), "{}", answer.body);
    Ok(())
}

async fn discovery(server: &Server) -> Result<()> {
    let answer = server.ask("HEAD", NOTHING).await?.is(&[200])?;
    ensure!(answer.header("content-type") == "application/sdp", "{:?}", answer.headers);
    Ok(())
}

async fn wrong_content_type(server: &Server) -> Result<()> {
    let request = server.request("POST", NOTHING).header("content-type", "application/json").body("{}");
    let answer = Answer::of(request).await?.is(&[415])?.refused_with_words()?;
    ensure!(answer.header("accept-post") == "application/sdp", "{:?}", answer.headers);
    Ok(())
}

/// Whether a stream is on air is looked at first, so these say only that nothing of the sort gets in.
async fn malformed_offer(server: &Server) -> Result<()> {
    for (what, offer) in offers::malformed() {
        server.offer(NOTHING, &offer).await?.refused_with_words().context(what)?;
    }
    Ok(())
}

async fn empty_post(server: &Server) -> Result<()> {
    server.ask("POST", NOTHING).await?.is(&[400, 415])?.refused_with_words()?;
    server.offer(NOTHING, "").await?.is(&[400])?.refused_with_words()?;
    Ok(())
}

async fn nothing_on_air(server: &Server) -> Result<()> {
    let answer = server.offer(NOTHING, &offers::viewer()).await?.is(&[404, 409])?.refused_with_words()?;
    ensure!(answer.header("retry-after").parse::<u32>().is_ok(), "{:?}", answer.headers);
    Ok(())
}

async fn options(server: &Server) -> Result<()> {
    let answer = server.ask("OPTIONS", NOTHING).await?.is(&[200])?;
    ensure!(answer.header("accept-post") == "application/sdp", "{:?}", answer.headers);
    Ok(())
}

async fn no_session(server: &Server) -> Result<()> {
    let url = format!("{NOTHING}/{}", "0".repeat(32));
    server.ask("DELETE", &url).await?.is(&[404])?;
    server.patch(&url, Some("*"), &offers::restart()).await?.is(&[404])?;
    for extra in ["sse", "sse/1"] {
        server.ask("GET", &format!("{url}/{extra}")).await?.is(&[404])?;
    }
    for extra in ["sse", "layer", "mute"] {
        server.ask("POST", &format!("{url}/{extra}")).await?.is(&[404])?;
    }
    Ok(())
}

async fn other_methods(server: &Server) -> Result<()> {
    for (method, url) in
        [("PUT", NOTHING), ("DELETE", NOTHING), ("POST", "/whep/nothing/x"), ("GET", "/whep/nothing/x/mute")]
    {
        let answer = server.ask(method, url).await?.is(&[405]).context(url)?;
        ensure!(!answer.header("allow").is_empty(), "{url}: {:?}", answer.headers);
    }
    Ok(())
}

async fn watch(server: &Server) -> Result<Answer> {
    server.offer(LIVE, &offers::viewer()).await?.is(&[201])
}

async fn post(server: &Server) -> Result<()> {
    let answer = watch(server).await?;
    ensure!(answer.header("content-type") == "application/sdp", "{:?}", answer.headers);
    ensure!(answer.body.starts_with("v=0\r\n"), "{}", answer.body);
    ensure!(answer.session()?.starts_with("/whep/live/"), "{}", answer.session()?);
    ensure!(sections(&answer.body).len() == sections(&offers::viewer()).len(), "{}", answer.body);
    Ok(())
}

async fn answer_direction(server: &Server) -> Result<()> {
    let answer = watch(server).await?;
    for section in sections(&answer.body) {
        ensure!(section.contains("a=sendonly\r\n"), "{section}");
    }
    let both = offers::viewer().replace("a=recvonly", "a=sendrecv");
    let answer = server.offer(LIVE, &both).await?.is(&[201]).context("sendrecv MAY be used")?;
    ensure!(!answer.body.contains("a=sendrecv"), "{}", answer.body);
    Ok(())
}

async fn wrong_direction(server: &Server) -> Result<()> {
    for direction in ["a=sendonly", "a=inactive"] {
        let offer = offers::viewer().replace("a=recvonly", direction);
        server.offer(LIVE, &offer).await?.is(&[400, 422]).context(direction)?.refused_with_words()?;
    }
    for (what, offer) in offers::malformed() {
        server.offer(LIVE, &offer).await?.is(&[400, 422]).context(what)?.refused_with_words()?;
    }
    Ok(())
}

async fn etag(server: &Server) -> Result<()> {
    let (one, other) = (watch(server).await?, watch(server).await?);
    let (one, other) = (one.header("etag"), other.header("etag"));
    ensure!(one.len() > 2 && one.starts_with('"') && one.ends_with('"') && one != other, "{one} and {other}");
    Ok(())
}

const CANDIDATE: &str = "a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host";

async fn preconditions(server: &Server) -> Result<()> {
    let url = watch(server).await?.session()?;
    server.patch(&url, None, &offers::trickle(&[CANDIDATE])).await?.is(&[428])?;
    server.patch(&url, Some("\"another\""), &offers::trickle(&[CANDIDATE])).await?.is(&[412])?;
    Ok(())
}

async fn patch_content_type(server: &Server) -> Result<()> {
    let answer = watch(server).await?;
    let request = server.request("PATCH", &answer.session()?).header("content-type", "application/sdp");
    let refused = Answer::of(request.header("if-match", "*").body("v=0")).await?.is(&[415])?;
    ensure!(refused.header("accept-patch") == "application/trickle-ice-sdpfrag", "{:?}", refused.headers);
    Ok(())
}

async fn trickle(server: &Server) -> Result<()> {
    let answer = watch(server).await?;
    let fragment = offers::trickle(&[CANDIDATE, "a=end-of-candidates"]);
    let patched =
        server.patch(&answer.session()?, Some(answer.header("etag")), &fragment).await?.is(&[204])?;
    ensure!(patched.body.is_empty() && patched.header("etag").is_empty(), "{:?}", patched.headers);
    Ok(())
}

async fn restart(server: &Server) -> Result<()> {
    let created = watch(server).await?;
    let answer = server.patch(&created.session()?, Some("*"), &offers::restart()).await?.is(&[200])?;
    ensure!(answer.header("content-type") == "application/trickle-ice-sdpfrag", "{:?}", answer.headers);
    ensure!(
        !answer.header("etag").is_empty() && answer.header("etag") != created.header("etag"),
        "{:?}",
        answer.headers
    );
    let (old, new) = (values(&created.body, "ice-ufrag"), values(&answer.body, "ice-ufrag"));
    ensure!(!new.is_empty() && new[0] != old[0], "the ufrag was {old:?} and is {new:?}");
    Ok(())
}

async fn delete(server: &Server) -> Result<()> {
    let url = watch(server).await?.session()?;
    for _ in 0..3 {
        server.ask("DELETE", &url).await?.is(&[200])?;
    }
    server.ask("GET", &url).await?.is(&[404])?;
    Ok(())
}

async fn bundle(server: &Server) -> Result<()> {
    let answer = watch(server).await?;
    ensure!(values(&answer.body, "group") == ["BUNDLE 0 1"], "{}", answer.body);
    for section in sections(&answer.body) {
        ensure!(section.contains("a=rtcp-mux\r\n") && !section.contains("rtcp-mux-only"), "{section}");
    }
    Ok(())
}

async fn one_media_stream(server: &Server) -> Result<()> {
    let answer = watch(server).await?;
    let streams: Vec<&str> =
        values(&answer.body, "msid").iter().filter_map(|msid| msid.split(' ').next()).collect();
    ensure!(streams.len() == sections(&answer.body).len(), "{}", answer.body);
    ensure!(streams.iter().all(|stream| *stream == streams[0]), "{streams:?}");
    Ok(())
}

fn extension(answer: &Answer, name: &str) -> Result<String> {
    let rel = format!("rel=\"urn:ietf:params:whep:ext:core:{name}\"");
    let link = answer.all("link").into_iter().find(|link| link.contains(&rel));
    let link = link.with_context(|| format!("no Link for {name}: {:?}", answer.headers))?;
    let url = link.strip_prefix('<').and_then(|rest| rest.split_once('>')).context("a target in <>")?.0;
    Ok(url.to_owned())
}

async fn extension_links(server: &Server) -> Result<()> {
    let answer = watch(server).await?;
    extension(&answer, "layer")?;
    let sse = extension(&answer, "server-sent-events")?;
    let link = answer.all("link").into_iter().find(|link| link.contains(&sse)).unwrap_or_default();
    ensure!(link.contains("events=\"active,inactive,layers,viewercount\""), "{link}");
    Ok(())
}

/// Reads events until one has this name; its data.
async fn event(response: &mut reqwest::Response, read: &mut String, name: &str) -> Result<Value> {
    let wanted = format!("event: {name}\ndata: ");
    let reading = async {
        loop {
            if let Some((_, rest)) = read.split_once(&wanted)
                && let Some((data, after)) = rest.split_once("\n\n")
            {
                let data = serde_json::from_str(data).with_context(|| data.to_owned())?;
                *read = after.to_owned();
                return Ok(data);
            }
            let chunk = response.chunk().await?.with_context(|| format!("ended without {name}: {read}"))?;
            read.push_str(std::str::from_utf8(&chunk)?);
        }
    };
    tokio::time::timeout(EVENT, reading).await.with_context(|| format!("no {name} in time"))?
}

async fn event_stream(server: &Server) -> Result<()> {
    let answer = watch(server).await?;
    let sse = extension(&answer, "server-sent-events")?;
    let request = server.request("POST", &sse).header("content-type", "application/json");
    let made = Answer::of(request.body(r#"["active","layers"]"#)).await?.is(&[201])?;
    let url = made.header("location").to_owned();
    let mut listening = server.request("GET", &url).send().await?;
    ensure!(listening.headers()["content-type"] == "text/event-stream", "{:?}", listening.headers());
    let mut read = String::new();
    ensure!(event(&mut listening, &mut read, "active").await? == json!({}), "{read}");
    let layers = event(&mut listening, &mut read, "layers").await?;
    ensure!(layers["1"][0]["rid"].is_string(), "{layers}");
    ensure!(!read.contains("viewercount"), "not asked for: {read}");
    server.ask("DELETE", &url).await?.is(&[200])?;
    while tokio::time::timeout(EVENT, listening.chunk()).await.context("it goes on after DELETE")??.is_some()
    {
    }
    server.ask("GET", &url).await?.is(&[404])?;
    Ok(())
}

async fn unknown_event(server: &Server) -> Result<()> {
    let sse = extension(&watch(server).await?, "server-sent-events")?;
    for body in [r#"["active","scte35"]"#, "{}", "nonsense"] {
        let request = server.request("POST", &sse).header("content-type", "application/json").body(body);
        let answer = Answer::of(request).await?.is(&[400]).context(body)?.refused_with_words()?;
        ensure!(answer.header("location").is_empty(), "{:?}", answer.headers);
    }
    Ok(())
}

async fn events_end_with_the_session(server: &Server) -> Result<()> {
    let answer = watch(server).await?;
    let mut listening = server.request("GET", &extension(&answer, "server-sent-events")?).send().await?;
    let count = event(&mut listening, &mut String::new(), "viewercount").await?;
    ensure!(count["viewercount"].is_u64(), "{count}");
    server.ask("DELETE", &answer.session()?).await?.is(&[200])?;
    while tokio::time::timeout(EVENT, listening.chunk()).await.context("it outlives its session")??.is_some()
    {
    }
    Ok(())
}

async fn post_json(server: &Server, url: &str, body: &Value) -> Result<Answer> {
    let request = server.request("POST", url).header("content-type", "application/json");
    Answer::of(request.body(body.to_string())).await
}

async fn layers(server: &Server) -> Result<()> {
    let answer = watch(server).await?;
    let url = extension(&answer, "layer")?;
    let mut listening = server.request("GET", &extension(&answer, "server-sent-events")?).send().await?;
    let told = event(&mut listening, &mut String::new(), "layers").await?;
    let rid = &told["1"][0]["rid"];
    post_json(server, &url, &json!({ "mediaId": "1", "rid": rid })).await?.is(&[200])?;
    post_json(server, &url, &json!({ "mediaId": "1", "encodingId": rid })).await?.is(&[200])?;
    post_json(server, &url, &json!({ "mediaId": "1" })).await?.is(&[200])?;
    server.ask("DELETE", &url).await?.is(&[200])?;
    post_json(server, &url, &json!({ "rid": "no such layer" })).await?.is(&[422])?.refused_with_words()?;
    post_json(server, &url, &json!({ "mediaId": "0", "rid": rid })).await?.is(&[422])?;
    let untyped = server.request("POST", &url).body("{}");
    Answer::of(untyped).await?.is(&[415])?;
    Ok(())
}

async fn mute(server: &Server) -> Result<()> {
    let url = format!("{}/mute", watch(server).await?.session()?);
    for muted in [true, false] {
        post_json(server, &url, &json!({ "kind": "audio", "muted": muted })).await?.is(&[200])?;
        post_json(server, &url, &json!({ "kind": "video", "muted": muted })).await?.is(&[200])?;
    }
    post_json(server, &url, &json!({ "kind": "smell", "muted": true })).await?.is(&[400])?;
    post_json(server, &url, &json!({})).await?.is(&[400])?;
    Ok(())
}
