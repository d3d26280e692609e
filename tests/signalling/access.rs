//! RFC 9725 section 4.7 and RFC 6750: keys, on every address that asks for one; and how much one client may have.

use crate::offers;
use crate::rows::{hold, rows};
use crate::server::{Answer, Server};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Keys and their hashes (`skywave token hash`).
const PUBLISH: (&str, &str) =
    ("publish-key-of-the-test", "sha256:c13fd10436a207838fb77b384fcdcb33bd97d8ed0c6385e265717ffe6f6f0465");
const VIEW: (&str, &str) =
    ("view-key-of-the-test-too", "sha256:f8a73f10a394a5bc506ccc020298823bc5caadcf67fce16204da8ff967a61fd7");
const OTHER_PUBLISH: (&str, &str) = (
    "another-publish-key-of-the-test",
    "sha256:2d9aa4329b9ae1e6fc3e077fb32176fa464b930969d991c6a2770edad02d50bd",
);
const API: (&str, &str) =
    ("api-key-of-the-test-here", "sha256:5cfe0509a86dcf8d1bbd92c282ccca4fab575cab281addd1729c291434dbd8d9");

fn config() -> String {
    format!(
        "[http]\ntrusted_proxies = [\"127.0.0.1\"]\n[whep]\nwait_ms = 0\n[limits]\nsessions_per_address = 3\n\
         [turn]\nurls = [\"turn:turn.example:3478\"]\nsecret = \"north\"\n[api]\nkeys = [\"{}\"]\n\
         [[access]]\nstream = \"guarded\"\npublish = [\"{}\", \"{}\"]\nview = [\"{}\"]\n\
         [[access]]\nstream = \"open-*\"\n",
        API.1, PUBLISH.1, OTHER_PUBLISH.1, VIEW.1
    )
}

#[tokio::test]
async fn every_clause_holds() {
    let server = Server::start(&config()).await;
    hold(
        &server,
        &rows![
            "RFC 6750 3 MUST: without a key, 401 and a challenge that has no error" => missing_key,
            "RFC 6750 3.1: a wrong key is invalid_token" => wrong_key,
            "RFC 6750 3.1: a request that shows two keys is invalid_request" => two_keys,
            "RFC 9725 4.7.1: a Bearer token opens the endpoint" => right_key,
            "RFC 9725 4.7.1: a token in the URL does so too, and is carried on" => key_in_url,
            "RFC 9725 4.7.1: every request on a session needs it" => session_needs_the_key,
            "RFC 9725 4.7.1: preflights need none" => preflight_is_open,
            "RFC 9725 4.6: only who may come in is told TURN credentials" => ice_servers_are_guarded,
            "a session is its owner's, not everybody's who has some key" => another_key,
            "keys to watch do not publish, and WHEP, HLS and recordings ask for theirs" => viewing,
            "a stream with an open rule asks nobody" => open_stream,
            "a stream without a rule is closed" => unruled_stream,
            "the API asks for its own keys" => api_keys,
            "RFC 9725 5 SHOULD: one address cannot take all sessions" => sessions_per_address,
        ],
    )
    .await;
}

#[tokio::test]
async fn a_full_server_says_when_to_come_again() {
    let server = Server::start("[media]\nmax_sessions = 2\n").await;
    server.offer("/whip/one", &offers::publisher()).await.unwrap().session().unwrap();
    let leaves = server.offer("/whip/two", &offers::publisher()).await.unwrap().session().unwrap();
    let refused = server.offer("/whip/three", &offers::publisher()).await.unwrap();
    let refused = refused.is(&[503]).unwrap();
    assert_eq!(refused.header("content-type"), "application/problem+json");
    assert!(refused.body.contains("2 sessions"), "{}", refused.body);
    let after: u32 = refused.header("retry-after").parse().expect("seconds");
    assert!((1..=60).contains(&after), "{after}");
    let exposed = refused.header("access-control-expose-headers").to_ascii_lowercase();
    assert!(exposed.contains("retry-after"), "{exposed}");
    // A place that is given up is there for the next, as soon as the node has ended the session.
    server.ask("DELETE", &leaves).await.unwrap().is(&[200]).unwrap();
    let place = async {
        while server.offer("/whip/three", &offers::publisher()).await.unwrap().is(&[201, 503]).unwrap().status
            != 201
        {}
    };
    tokio::time::timeout(Duration::from_secs(20), place).await.expect("a place in time");
}

/// How long a busy machine may take from a publisher's start to the first playlist.
const HLS_READY: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_player_that_sets_no_header_gets_every_file_by_its_url() {
    let server = Server::start(&config()).await;
    let url = format!("{}/whip/guarded", server.base);
    let arguments = ["publish", "test", &url, "--size", "160x120", "--fps", "10"];
    let mut publisher = Command::new(env!("CARGO_BIN_EXE_skywave"));
    let publisher = publisher.args(arguments).env("SKYWAVE_TOKEN", PUBLISH.0).stdout(Stdio::null()).spawn();
    let mut publisher = publisher.unwrap();
    let played = tokio::time::timeout(HLS_READY, play(&server)).await;
    publisher.kill().and_then(|()| publisher.wait()).unwrap();
    let files = played.expect("a playlist in time").unwrap();
    assert!(files >= 3, "{files} files");
}

/// Follows every URI from the multivariant playlist on; how many segments and initialisation segments there were.
async fn play(server: &Server) -> Result<usize> {
    let start = format!("{}/hls/guarded/index.m3u8", server.base);
    loop {
        let mut files = 0;
        let mut open = vec![format!("{start}?token={}", VIEW.0)];
        // Playlists name each other, in their rendition reports.
        let mut seen = BTreeSet::new();
        while let Some(url) = open.pop() {
            if !seen.insert(url.clone()) {
                continue;
            }
            let answer = server.ask("GET", &url).await?;
            if answer.status != 200 {
                break;
            }
            ensure!(!answer.header("cache-control").contains("public"), "{url}: {:?}", answer.headers);
            let bare = url.split('?').next().unwrap_or_default();
            server.ask("GET", bare).await?.is(&[401]).context("without the key")?;
            with(server, "GET", bare, VIEW.0).await?.is(&[200]).context("with the key as Bearer")?;
            if !bare.ends_with(".m3u8") {
                files += 1;
                continue;
            }
            let base = reqwest::Url::parse(&url)?;
            for uri in uris(&answer.body) {
                open.push(base.join(&uri)?.to_string());
            }
        }
        if files >= 3 {
            return Ok(files);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// URIs of a playlist: lines, and attributes of tags.
fn uris(playlist: &str) -> Vec<String> {
    let of_line = |line: &str| match line.split_once("URI=\"") {
        Some((_, rest)) => rest.split('"').next().map(str::to_owned),
        None if line.is_empty() || line.starts_with('#') => None,
        None => Some(line.to_owned()),
    };
    playlist.lines().filter_map(of_line).collect()
}

async fn post(server: &Server, url: &str, key: Option<&str>) -> Result<Answer> {
    let request = server.request("POST", url).header("content-type", "application/sdp");
    let request = key.into_iter().fold(request, |request, key| request.bearer_auth(key));
    Answer::of(request.body(offers::publisher())).await
}

async fn with(server: &Server, method: &str, url: &str, key: &str) -> Result<Answer> {
    Answer::of(server.request(method, url).bearer_auth(key)).await
}

async fn missing_key(server: &Server) -> Result<()> {
    for url in ["/whip/guarded", "/whep/guarded"] {
        let answer = post(server, url, None).await?.is(&[401])?.refused_with_words()?;
        let challenge = answer.header("www-authenticate");
        ensure!(challenge.starts_with("Bearer") && !challenge.contains("error"), "{challenge}");
    }
    Ok(())
}

async fn wrong_key(server: &Server) -> Result<()> {
    let answer = post(server, "/whip/guarded", Some("a-key-that-nobody-made")).await?.is(&[401])?;
    ensure!(answer.header("www-authenticate").contains("error=\"invalid_token\""), "{:?}", answer.headers);
    Ok(())
}

async fn two_keys(server: &Server) -> Result<()> {
    let answer = post(server, "/whip/guarded?token=another", Some(PUBLISH.0)).await?.is(&[400])?;
    ensure!(answer.header("www-authenticate").contains("error=\"invalid_request\""), "{:?}", answer.headers);
    Ok(())
}

async fn right_key(server: &Server) -> Result<()> {
    let url = post(server, "/whip/guarded", Some(PUBLISH.0)).await?.session()?;
    ensure!(!url.contains("token"), "{url}");
    with(server, "DELETE", &url, PUBLISH.0).await?.is(&[200])?;
    Ok(())
}

async fn key_in_url(server: &Server) -> Result<()> {
    let url = post(server, &format!("/whip/guarded?token={}", PUBLISH.0), None).await?.session()?;
    ensure!(url.ends_with(&format!("?token={}", PUBLISH.0)), "{url}");
    server.ask("DELETE", &url).await?.is(&[200])?;
    Ok(())
}

async fn session_needs_the_key(server: &Server) -> Result<()> {
    let url = post(server, "/whip/guarded", Some(PUBLISH.0)).await?.session()?;
    for method in ["GET", "PATCH", "DELETE"] {
        server.ask(method, &url).await?.is(&[401]).context(method)?;
        with(server, method, &url, VIEW.0).await?.is(&[401]).context(method)?;
    }
    with(server, "GET", &url, PUBLISH.0).await?.is(&[204])?;
    with(server, "DELETE", &url, PUBLISH.0).await?.is(&[200])?;
    Ok(())
}

async fn preflight_is_open(server: &Server) -> Result<()> {
    for url in [
        "/whip/guarded",
        "/whip/guarded/x",
        "/whep/guarded",
        "/hls/guarded/index.m3u8",
        "/vod/guarded/t1.mp4",
    ] {
        let request = server.request("OPTIONS", url).header("access-control-request-method", "GET");
        Answer::of(request).await?.is(&[200, 204])?;
    }
    Ok(())
}

async fn ice_servers_are_guarded(server: &Server) -> Result<()> {
    let stranger = server.ask("OPTIONS", "/whip/guarded").await?.is(&[200])?;
    ensure!(stranger.all("link").is_empty(), "{:?}", stranger.headers);
    let friend = with(server, "OPTIONS", "/whip/guarded", PUBLISH.0).await?.is(&[200])?;
    ensure!(friend.all("link").len() == 1, "{:?}", friend.headers);
    Ok(())
}

async fn another_key(server: &Server) -> Result<()> {
    let url = post(server, "/whip/guarded", Some(PUBLISH.0)).await?.session()?;
    // This one may publish here as well, but did not open the session.
    for method in ["GET", "DELETE"] {
        with(server, method, &url, OTHER_PUBLISH.0).await?.is(&[403]).context(method)?;
    }
    with(server, "DELETE", &url, PUBLISH.0).await?.is(&[200])?;
    with(server, "DELETE", &url, OTHER_PUBLISH.0).await?.is(&[403])?;
    Ok(())
}

async fn viewing(server: &Server) -> Result<()> {
    post(server, "/whip/guarded", Some(VIEW.0)).await?.is(&[401])?;
    post(server, "/whep/guarded", Some(PUBLISH.0)).await?.is(&[401])?;
    // Let in, and told that there is nothing.
    post(server, "/whep/guarded", Some(VIEW.0)).await?.is(&[404])?;
    let hls = "/hls/guarded/index.m3u8";
    server.ask("GET", hls).await?.is(&[401])?;
    with(server, "GET", hls, VIEW.0).await?.is(&[404])?;
    server.ask("GET", &format!("{hls}?token={}", VIEW.0)).await?.is(&[404])?;
    // Recordings are watched by the same key.
    for vod in
        ["/vod/guarded/", "/vod/guarded/t1.mp4", "/vod/guarded/t1/index.m3u8", "/vod/guarded/t1/media.m3u8"]
    {
        let there = if vod.ends_with('/') { 200 } else { 404 };
        server.ask("GET", vod).await?.is(&[401]).context(vod)?;
        with(server, "GET", vod, PUBLISH.0).await?.is(&[401]).context(vod)?;
        let seen = with(server, "GET", vod, VIEW.0).await?.is(&[there]).context(vod)?;
        ensure!(
            there == 404 || seen.header("cache-control").contains("private"),
            "{vod}: {:?}",
            seen.headers
        );
        server.ask("GET", &format!("{vod}?token={}", VIEW.0)).await?.is(&[there]).context(vod)?;
    }
    Ok(())
}

async fn open_stream(server: &Server) -> Result<()> {
    let url = post(server, "/whip/open-a", None).await?.session()?;
    server.ask("DELETE", &url).await?.is(&[200])?;
    // Clients that always send something are not asked what.
    let url = post(server, "/whip/open-a", Some("whatever")).await?.session()?;
    server.ask("DELETE", &url).await?.is(&[200])?;
    Ok(())
}

async fn unruled_stream(server: &Server) -> Result<()> {
    post(server, "/whip/unruled", None).await?.is(&[401])?;
    post(server, "/whip/unruled", Some(PUBLISH.0)).await?.is(&[401])?;
    Ok(())
}

async fn api_keys(server: &Server) -> Result<()> {
    server.ask("GET", "/api/v1/streams").await?.is(&[401])?;
    with(server, "GET", "/api/v1/streams", PUBLISH.0).await?.is(&[401])?;
    with(server, "GET", "/api/v1/streams", API.0).await?.is(&[200])?;
    server.ask("GET", "/healthz").await?.is(&[200])?;
    Ok(())
}

async fn sessions_per_address(server: &Server) -> Result<()> {
    let from = |address: &'static str| {
        let request = server.request("POST", "/whip/open-b").header("content-type", "application/sdp");
        Answer::of(request.header("x-forwarded-for", address).body(offers::publisher()))
    };
    let mut urls = Vec::new();
    for _ in 0..3 {
        urls.push(from("203.0.113.9").await?.session()?);
    }
    let refused = from("203.0.113.9").await?.is(&[429])?.refused_with_words()?;
    ensure!(!refused.header("retry-after").is_empty(), "{:?}", refused.headers);
    from("203.0.113.10").await?.is(&[201])?;
    // An offer that is refused takes no place: the limit is still three after it.
    server.offer("/whip/open-b", "no offer").await?.is(&[400])?;
    Ok(())
}
