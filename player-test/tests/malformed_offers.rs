//! Nonsense is answered with a reason, and nothing is kept of it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use player_test::contract::Settings;
use player_test::offers;
use player_test::server::Server;
use reqwest::{Method, Response};
use serde_json::Value;

/// RFC 9457: the status again, and words.
async fn is_problem(what: &str, answer: Response, statuses: &[u16]) -> Result<()> {
    let status = answer.status().as_u16();
    let header = |name: &str| {
        answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let (kind, origin) = (header("content-type"), header("access-control-allow-origin"));
    let body = answer.text().await?;
    assert!(statuses.contains(&status), "{what}: {status} {body}");
    assert_eq!(kind, "application/problem+json", "{what}: {body}");
    assert_eq!(origin, "*", "{what}: a page must be able to read the reason");
    let problem: Value = serde_json::from_str(&body).with_context(|| format!("{what}: {body}"))?;
    assert_eq!(problem["status"], Value::from(status), "{what}: {body}");
    for field in ["title", "detail"] {
        assert!(problem[field].as_str().is_some_and(|words| words.len() > 3), "{what}: no {field} in {body}");
    }
    Ok(())
}

async fn offer(server: &Server, stream: &str, kind: &str, body: Vec<u8>) -> Result<Response> {
    let request = server.http.post(server.urls.whip(stream)).header("content-type", kind).body(body);
    Ok(request.send().await?)
}

#[tokio::test]
async fn each_is_refused_with_a_reason_and_nothing_is_kept() -> Result<()> {
    let settings = Settings { connect_timeout_ms: 1000, grace_ms: 0, ..Settings::default() };
    let server = Server::start_with(&settings).await?;

    // The offer that the others are made of is a good one: they fail for what was done to them.
    let taken = offer(&server, "valid", "application/sdp", offers::valid().into_bytes()).await?;
    let location =
        taken.headers().get("location").map(|value| value.to_str().map(str::to_owned)).transpose()?;
    assert_eq!(taken.status(), 201, "{}", taken.text().await?);
    let session = reqwest::Url::parse(&server.urls.base)?.join(&location.context("no Location")?)?;
    assert!(server.http.delete(session).send().await?.status().is_success());
    server.no_streams(settings.until_forgotten() + Duration::from_secs(5)).await?;

    let malformed = offers::malformed();
    assert!(malformed.len() >= 20);
    let before = server.reading()?;
    for (what, body) in &malformed {
        let answer = offer(&server, "malformed", "application/sdp", body.clone()).await.context(*what)?;
        is_problem(what, answer, &[400, 406, 415, 422]).await?;
        assert_eq!(server.streams().await?, Vec::<String>::new(), "{what}");
    }
    let huge = vec![b'v'; 1 << 20];
    let answer = offer(&server, "malformed", "application/sdp", huge).await.context("1 MiB of text")?;
    is_problem("1 MiB of text", answer, &[413]).await?;
    for kind in ["text/plain", "application/json", "application/sdp+json", "nonsense"] {
        let answer = offer(&server, "malformed", kind, offers::valid().into_bytes()).await.context(kind)?;
        is_problem(kind, answer, &[415]).await?;
    }
    let untyped = server.http.post(server.urls.whip("malformed")).body(offers::valid()).send().await?;
    is_problem("no Content-Type", untyped, &[415]).await?;

    // Again and again: it does not add up.
    for (_, body) in malformed.iter().cycle().take(1000) {
        offer(&server, "malformed", "application/sdp", body.clone()).await?;
    }
    let after = server.holds_no_more_than(&before, Duration::from_secs(10)).await?;
    let growth = after.rss_bytes.saturating_sub(before.rss_bytes);
    assert!(growth < 4 << 20, "{growth} bytes more after a thousand offers: {before:?} then {after:?}");
    assert_eq!(server.streams().await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn an_offer_that_never_connects_is_forgotten() -> Result<()> {
    let settings =
        Settings { connect_timeout_ms: 1000, grace_ms: 500, linger_ms: 500, ..Settings::default() };
    let server = Server::start_with(&settings).await?;
    let before = server.reading()?;
    for n in 0..20 {
        let answer =
            offer(&server, &format!("never-{n}"), "application/sdp", offers::valid().into_bytes()).await?;
        assert_eq!(answer.status(), 201);
    }
    server.no_streams(Duration::from_secs(10)).await?;
    server.holds_no_more_than(&before, Duration::from_secs(10)).await?;
    Ok(())
}

#[tokio::test]
async fn names_that_are_none() -> Result<()> {
    let server = Server::start().await?;
    let long = "x".repeat(65);
    for name in ["a%20b", "a%2Fb", "%2e%2e", "a%00b", "%ff", "%zz", "straße", "", &long] {
        for url in [server.urls.whip(name), server.urls.hls(name), server.urls.stream(name)] {
            // `reqwest` would tidy some of these up; what it sends is still none of a stream's names.
            let method = if url.contains("/whip/") { Method::POST } else { Method::GET };
            let request = server
                .http
                .request(method, &url)
                .header("content-type", "application/sdp")
                .body(offers::valid());
            is_problem(&url, request.send().await?, &[400, 404, 405]).await?;
        }
    }
    assert_eq!(server.streams().await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn unknown_streams_are_answered_fast_and_leave_nothing() -> Result<()> {
    let server = Server::start().await?;
    is_problem("unknown", server.http.get(server.urls.hls("unknown")).send().await?, &[404]).await?;
    let before = server.reading()?;
    let begin = Instant::now();
    for n in 0..2000 {
        let answer = server.http.get(server.urls.hls(&format!("unknown-{n}"))).send().await?;
        assert_eq!(answer.status(), 404);
    }
    let each = begin.elapsed() / 2000;
    assert!(each < Duration::from_millis(5), "{each:?} for each");
    let after = server.holds_no_more_than(&before, Duration::from_secs(5)).await?;
    let growth = after.rss_bytes.saturating_sub(before.rss_bytes);
    assert!(growth < 2 << 20, "{growth} bytes more after two thousand unknown names");
    assert_eq!(server.streams().await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn wrong_methods_and_preflights() -> Result<()> {
    let server = Server::start().await?;
    for url in [
        server.urls.whip("a"),
        server.urls.hls("a"),
        server.urls.streams(),
        format!("{}/nowhere", server.urls.base),
    ] {
        let wrong = server.http.request(Method::PUT, &url).send().await?;
        if wrong.status() == 405 {
            assert!(wrong.headers().contains_key("allow"), "{url}: 405 without Allow");
        }
        is_problem(&url, wrong, &[404, 405]).await?;
    }
    let ask = server.http.request(Method::OPTIONS, server.urls.whip("a"));
    let ask =
        ask.header("origin", "http://elsewhere.example").header("access-control-request-method", "POST");
    let answer = ask.header("access-control-request-headers", "content-type,authorization").send().await?;
    assert!(answer.status().is_success(), "{}", answer.status());
    let header = |name: &str| {
        answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_lowercase()
    };
    assert_eq!(header("access-control-allow-origin"), "*");
    assert!(header("access-control-allow-methods").contains("post"), "{:?}", answer.headers());
    for name in ["content-type", "authorization"] {
        assert!(header("access-control-allow-headers").contains(name), "{:?}", answer.headers());
    }
    Ok(())
}
