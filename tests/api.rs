//! What is seen of a running server: the control API, its events, its description, and its metrics.

#![allow(clippy::unwrap_used, reason = "a test may end where something is not as it should be")]

use anyhow::{Context, Result, bail, ensure};
use player_test::contract::{Settings, TestPublish};
use player_test::exposition;
use player_test::publisher::Publisher;
use player_test::server::Server;
use player_test::wait;
use serde_json::Value;
use std::time::Duration;

/// Far above what anything here takes, for a machine that is busy with other tests.
const LIMIT: Duration = Duration::from_secs(30);

/// Streams that end soon after their publisher.
fn settings() -> Settings {
    Settings { grace_ms: 500, linger_ms: 500, ..Settings::default() }
}

/// One server-sent event.
#[derive(Debug, Clone, PartialEq)]
struct Event {
    id: u64,
    name: String,
    data: Value,
}

impl Event {
    /// `name` and, when it is about one stream, the stream's name.
    fn words(&self) -> String {
        let stream = self.data.get("stream").or_else(|| self.data.get("name")).and_then(Value::as_str);
        stream.map_or_else(|| self.name.clone(), |stream| format!("{} {stream}", self.name))
    }
}

/// A client of `/api/v1/events`.
struct Listener {
    answer: reqwest::Response,
    text: String,
    last_id: u64,
}

impl Listener {
    async fn connect(server: &Server, query: &str, last_id: Option<u64>) -> Result<Self> {
        // Without the usual limit on the whole answer, which has no end.
        let client = reqwest::Client::builder().build()?;
        let mut request = client.get(format!("{}/api/v1/events{query}", server.urls.base));
        if let Some(id) = last_id {
            request = request.header("last-event-id", id.to_string());
        }
        let answer = request.send().await?.error_for_status()?;
        ensure!(answer.headers()["content-type"] == "text/event-stream", "{:?}", answer.headers());
        Ok(Self { answer, text: String::new(), last_id: 0 })
    }

    /// The next event; `None` when the server has ended the answer. Fails when ids do not rise.
    async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                if block == ":" {
                    continue;
                }
                let event = read_event(&block).with_context(|| block.clone())?;
                ensure!(event.name == "snapshot" || event.id > self.last_id, "{} does not rise", event.id);
                self.last_id = event.id;
                return Ok(Some(event));
            }
            let chunk = tokio::time::timeout(LIMIT, self.answer.chunk()).await.context("no event")??;
            let Some(chunk) = chunk else { return Ok(None) };
            self.text.push_str(std::str::from_utf8(&chunk)?);
        }
    }

    /// Reads on until an event of this name and stream, and gives all up to it.
    async fn until(&mut self, words: &str) -> Result<Vec<Event>> {
        let mut seen = Vec::new();
        while let Some(event) = self.next().await? {
            let found = event.words() == words;
            seen.push(event);
            if found {
                return Ok(seen);
            }
        }
        bail!("the answer ended before {words}: {seen:?}")
    }
}

fn read_event(block: &str) -> Result<Event> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).context(name.to_owned());
    Ok(Event {
        id: field("id: ")?.parse()?,
        name: field("event: ")?.to_owned(),
        data: serde_json::from_str(field("data: ")?)?,
    })
}

async fn get(server: &Server, path: &str) -> Result<reqwest::Response> {
    Ok(server.http.get(format!("{}{path}", server.urls.base)).send().await?)
}

async fn get_json(server: &Server, path: &str) -> Result<Value> {
    Ok(get(server, path).await?.error_for_status()?.json().await?)
}

/// The stream once both its tracks have been measured.
async fn measured(server: &Server, stream: &str) -> Result<Value> {
    wait::until(&format!("{stream} to be measured"), LIMIT, async || {
        let info = get_json(server, &format!("/api/v1/streams/{stream}")).await?;
        let flows = |lane: &str| info[lane]["bitrate_bps"].as_u64().is_some_and(|bps| bps > 0);
        Ok((flows("video") && flows("audio") && info["output"]["video"] == "transcode").then_some(info))
    })
    .await
}

fn publish(server: &Server, stream: &str) -> Result<Publisher> {
    Publisher::start(&server.urls.whip(stream), &TestPublish::default())
}

#[tokio::test]
async fn a_stream_is_told_with_all_its_figures() -> Result<()> {
    let server = Server::start_with(&settings()).await?;
    assert_eq!(get_json(&server, "/api/v1/streams").await?, serde_json::json!({ "streams": [] }));
    let nobody = get(&server, "/api/v1/streams/demo/viewers").await?;
    assert_eq!(nobody.status(), 404);
    assert_eq!(nobody.headers()["content-type"], "application/problem+json");

    let _publisher = publish(&server, "demo")?;
    let info = measured(&server, "demo").await?;
    assert_eq!((&info["name"], &info["state"]), (&"demo".into(), &"live".into()));
    assert_eq!((&info["hls"], &info["whep"]), (&"/hls/demo/index.m3u8".into(), &"/whep/demo".into()));
    let video = &info["video"];
    assert_eq!(
        (&video["codec"], &video["width"], &video["height"]),
        (&"VP8".into(), &320.into(), &180.into())
    );
    assert!(video["fps"].as_f64().is_some_and(|fps| fps > 5.0 && fps < 60.0), "{video}");
    assert!(video["packets"].as_u64().is_some_and(|packets| packets > 0), "{video}");
    assert!(video["keyframes"].as_u64().is_some_and(|keyframes| keyframes > 0), "{video}");
    let audio = &info["audio"];
    assert_eq!((&audio["codec"], &audio["sample_rate"]), (&"opus".into(), &48_000.into()));
    assert_eq!(info["worker"]["state"], "running");
    assert_eq!(info["ingest"]["publishers"], 1);
    // The name of a session is the right to end it.
    let session = info["publisher"]["session"].as_str().context("no session")?;
    assert_eq!(session.len(), 8, "{session}");
    let names: Vec<&str> =
        info["renditions"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["source", "audio"]);
    Ok(())
}

#[tokio::test]
async fn hls_players_are_counted_by_address_and_user_agent() -> Result<()> {
    let server = Server::start_with(&Settings { segment_ms: 1000, ..settings() }).await?;
    let _publisher = publish(&server, "demo")?;
    server.hls_ready("demo", 1, LIMIT).await?;
    let other = reqwest::Client::builder().user_agent("another player").build()?;
    for _ in 0..5 {
        other.get(server.urls.hls("demo")).send().await?.error_for_status()?;
    }
    wait::until("two players to be seen", LIMIT, async || {
        let seen = get_json(&server, "/api/v1/streams/demo").await?["viewers"]["hls"].as_u64();
        Ok((seen == Some(2)).then_some(()))
    })
    .await?;
    wait::until("them to have left", LIMIT, async || {
        let seen = get_json(&server, "/api/v1/streams/demo").await?["viewers"]["hls"].as_u64();
        Ok((seen == Some(0)).then_some(()))
    })
    .await
}

#[tokio::test]
async fn events_tell_the_life_of_a_stream_in_order() -> Result<()> {
    let server = Server::start_with(&settings()).await?;
    let mut all = Listener::connect(&server, "", None).await?;
    let mut other = Listener::connect(&server, "?stream=other", None).await?;
    let first = all.next().await?.context("a snapshot")?;
    assert_eq!((first.name.as_str(), &first.data), ("snapshot", &serde_json::json!({ "streams": [] })));

    let mut publisher = publish(&server, "demo")?;
    let seen = all.until("publisher-connected demo").await?;
    let words: Vec<String> = seen.iter().map(Event::words).collect();
    assert_eq!(words, ["stream-started demo", "publisher-connected demo"]);
    let session = seen[1].data["publisher"]["session"].clone();
    let updates = all.until("stream-updated demo").await?;

    // A listener who comes later, or comes back, gets what is there in one piece.
    let mut late = Listener::connect(&server, "?stream=demo", Some(updates[0].id)).await?;
    let snapshot = late.next().await?.context("a snapshot")?;
    assert_eq!(snapshot.words(), "snapshot");
    assert_eq!(snapshot.data["streams"][0]["name"], "demo");
    assert!(snapshot.id >= updates[0].id, "{} < {}", snapshot.id, updates[0].id);

    publisher.stop().await?;
    let seen = all.until("stream-ended demo").await?;
    let steps: Vec<String> =
        seen.iter().map(Event::words).filter(|words| words != "stream-updated demo").collect();
    assert_eq!(steps, ["publisher-gone demo", "stream-ended demo"]);
    let gone = seen.iter().find(|event| event.name == "publisher-gone").context("it was seen")?;
    assert_eq!(gone.data["publisher"]["session"], session);
    late.until("stream-ended demo").await?;

    // Who listens to another stream has heard nothing of this one.
    assert_eq!(other.next().await?.context("a snapshot")?.words(), "snapshot");
    let _other = publish(&server, "other")?;
    assert_eq!(other.next().await?.context("an event")?.words(), "stream-started other");
    Ok(())
}

#[tokio::test]
async fn updates_of_a_stream_come_once_a_second_at_the_most() -> Result<()> {
    let server = Server::start_with(&settings()).await?;
    let mut all = Listener::connect(&server, "", None).await?;
    let _publisher = publish(&server, "demo")?;
    all.until("stream-started demo").await?;
    let began = tokio::time::Instant::now();
    let mut updates = 0;
    while updates < 4 {
        updates +=
            all.until("stream-updated demo").await?.iter().filter(|e| e.name == "stream-updated").count();
    }
    // The first may come a second after the start at the earliest, the fourth three seconds after that; what the network and
    // this process take may shorten the time between two that arrive, by far less than this.
    ensure!(began.elapsed() > Duration::from_millis(3_500), "four updates within {:?}", began.elapsed());
    Ok(())
}

#[tokio::test]
async fn an_open_event_stream_does_not_hold_the_server_back() -> Result<()> {
    let server = Server::start_with(&settings()).await?;
    let mut all = Listener::connect(&server, "", None).await?;
    assert_eq!(all.next().await?.context("a snapshot")?.name, "snapshot");
    let asked = tokio::time::Instant::now();
    player_test::proc::terminate(server.pid());
    assert_eq!(all.next().await?, None, "the answer ends as an answer should, not by a broken connection");
    wait::until("the server to end", LIMIT, async || {
        Ok((!player_test::proc::is_alive(server.pid())).then_some(()))
    })
    .await?;
    // Below the time after which connections that do not end are cut off.
    ensure!(asked.elapsed() < Duration::from_millis(2_500), "it took {:?}", asked.elapsed());
    Ok(())
}

#[tokio::test]
async fn every_path_of_the_description_answers_by_its_schema() -> Result<()> {
    let server = Server::start_with(&settings()).await?;
    let _publisher = publish(&server, "demo")?;
    measured(&server, "demo").await?;
    server.hls_ready("demo", 1, LIMIT).await?;
    let description = get_json(&server, "/api/v1/openapi.json").await?;
    let mut checked = Vec::new();
    for (path, operations) in description["paths"].as_object().context("no paths")? {
        let Some(operation) = operations.get("get") else { continue };
        for stream in ["demo", "nobody", "a%20b"] {
            let there = path.replace("{stream}", stream).replace("{file}", "index.m3u8");
            let mut answer = get(&server, &there).await?;
            let status = answer.status().as_u16().to_string();
            let content_type = answer.headers()["content-type"].to_str()?.to_owned();
            let essence = content_type.split(';').next().unwrap_or_default();
            let described = &operation["responses"][&status];
            ensure!(!described.is_null(), "{there} answered {status}, which is not described");
            let content = &described["content"][essence];
            ensure!(!content.is_null(), "{there} answered {status} as {essence}, which is not described");
            if essence == "text/event-stream" {
                continue;
            }
            if essence.ends_with("json") && path != "/api/v1/openapi.json" {
                let body: Value = answer.json().await?;
                validate(&description, &content["schema"], &body).with_context(|| there.clone())?;
                checked.push(format!("{status} {path}"));
            } else {
                ensure!(answer.chunk().await?.is_some(), "{there} is empty");
            }
        }
    }
    for needed in ["200 /api/v1/streams", "200 /api/v1/streams/{stream}", "404 /api/v1/streams/{stream}"] {
        ensure!(checked.iter().any(|one| one == needed), "{needed} was not checked: {checked:?}");
    }
    ensure!(checked.iter().any(|one| one == "200 /api/v1/streams/{stream}/viewers"), "{checked:?}");
    Ok(())
}

#[tokio::test]
async fn every_event_is_as_described() -> Result<()> {
    let server = Server::start_with(&settings()).await?;
    let description = get_json(&server, "/api/v1/openapi.json").await?;
    let mut all = Listener::connect(&server, "", None).await?;
    let mut publisher = publish(&server, "demo")?;
    let mut seen = all.until("publisher-connected demo").await?;
    server.hls_ready("demo", 1, LIMIT).await?;
    seen.extend(all.until("viewers demo").await?);
    seen.extend(all.until("stream-updated demo").await?);
    publisher.stop().await?;
    seen.extend(all.until("stream-ended demo").await?);
    let mut names: Vec<&str> = seen.iter().map(|event| event.name.as_str()).collect();
    for event in &seen {
        let schema = match event.name.as_str() {
            "snapshot" => "SnapshotEvent",
            "stream-started" | "stream-updated" => "Stream",
            "publisher-connected" | "publisher-gone" => "PublisherEvent",
            "viewers" => "ViewersEvent",
            "stream-ended" => "EndedEvent",
            other => bail!("an event {other} that is not described"),
        };
        let reference = serde_json::json!({ "$ref": format!("#/components/schemas/{schema}") });
        validate(&description, &reference, &event.data).with_context(|| event.words())?;
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 7, "{names:?}");
    Ok(())
}

/// `body` against a schema of the description (OpenAPI 3.1: JSON Schema 2020-12).
fn validate(description: &Value, schema: &Value, body: &Value) -> Result<()> {
    ensure!(schema.is_object(), "no schema");
    let mut whole = schema.clone();
    whole["components"] = description["components"].clone();
    let validator = jsonschema::draft202012::new(&whole).map_err(|error| anyhow::anyhow!("{error}"))?;
    let errors: Vec<String> =
        validator.iter_errors(body).map(|error| format!("{}: {error}", error.instance_path())).collect();
    ensure!(errors.is_empty(), "{}\nin {body}", errors.join("\n"));
    Ok(())
}

#[tokio::test]
async fn metrics_can_be_read_and_forget_what_has_ended() -> Result<()> {
    let server = Server::start_with(&settings()).await?;
    let mut publisher = publish(&server, "demo")?;
    measured(&server, "demo").await?;
    let scrape = async || {
        let answer = get(&server, "/metrics").await?.error_for_status()?;
        ensure!(answer.headers()["content-type"] == "text/plain; version=0.0.4; charset=utf-8");
        exposition::parse(&answer.text().await?)
    };
    let page = scrape().await?;
    for (name, labels) in [
        ("process_cpu_seconds_total", &[][..]),
        ("process_resident_memory_bytes", &[]),
        ("process_open_fds", &[]),
        ("process_threads", &[]),
        ("skywave_media_received_datagrams_total", &[]),
        ("skywave_stream_ingest_bytes_total", &[("stream", "demo")]),
        ("skywave_stream_ingest_bitrate_bps", &[("stream", "demo"), ("lane", "audio")]),
        ("skywave_http_requests_total", &[("route", "whip"), ("status", "201")]),
    ] {
        let value = exposition::value(&page, name, labels);
        ensure!(value.is_some_and(|value| value > 0.0), "{name} {labels:?} is {value:?}");
    }
    assert_eq!(exposition::value(&page, "skywave_worker_restarts_total", &[("stream", "demo")]), Some(0.0));
    let mut openmetrics = server.http.get(format!("{}/metrics", server.urls.base));
    openmetrics = openmetrics.header("accept", "application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    let openmetrics = openmetrics.send().await?;
    assert_eq!(
        openmetrics.headers()["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    assert!(openmetrics.text().await?.ends_with("# EOF\n"));
    publisher.stop().await?;
    server.no_streams(LIMIT).await?;
    let page = scrape().await?;
    let named: Vec<&str> = page
        .iter()
        .filter(|family| family.samples.iter().any(|sample| sample.labels.contains_key("stream")))
        .map(|family| family.name.as_str())
        .collect();
    ensure!(named.is_empty(), "series of a stream that has ended: {named:?}");
    Ok(())
}
