//! What CDNs, browsers and old players ask of HTTP: HEAD, ranges, gzip, validators, CORS, content types.

use std::time::Duration;

use anyhow::{Context, Result};
use player_test::contract::TestPublish;
use player_test::hls_client;
use player_test::publisher::Publisher;
use player_test::server::Server;
use reqwest::{Method, Response, Url};

/// What is asked with which extra headers.
async fn ask(server: &Server, method: Method, url: &Url, headers: &[(&str, &str)]) -> Result<Response> {
    let mut request = server.http.request(method, url.clone());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Ok(request.send().await?)
}

fn header(answer: &Response, name: &str) -> String {
    answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// Every answer lets any page read it, with what players need beside the body.
fn is_open(url: &Url, answer: &Response) {
    assert_eq!(header(answer, "access-control-allow-origin"), "*", "{url}");
    let exposed = header(answer, "access-control-expose-headers").to_lowercase();
    assert!(exposed.contains("etag"), "{url} exposes {exposed:?}");
}

#[tokio::test]
async fn a_live_stream() -> Result<()> {
    let server = Server::start().await?;
    let mut publisher = Publisher::start(&server.urls.whip("http"), &TestPublish::default())?;
    server.hls_ready("http", 3, Duration::from_secs(30)).await?;
    let multivariant = Url::parse(&server.urls.hls("http"))?;
    let rendition = hls_client::renditions(&server.http, multivariant.as_str()).await?.remove(0).url;
    let playlist = hls_client::media_playlist(&server.http, &rendition).await?.parsed;
    let first = playlist.segments.first().context("a segment")?;
    let segment = rendition.join(&first.uri)?;
    let init = rendition.join(&first.map.as_ref().context("EXT-X-MAP")?.uri)?;

    for url in [&multivariant, &rendition] {
        playlist_is_served_well(&server, url).await?;
    }
    for url in [&init, &segment] {
        media_is_served_well(&server, url).await?;
    }
    for gone in ["index.m3u8x", "nothing/index.m3u8", "../../../etc/passwd", "video/999999.m4s"] {
        let url = multivariant.join(gone)?;
        let answer = ask(&server, Method::GET, &url, &[]).await?;
        assert_eq!(answer.status(), 404, "{url}");
        is_open(&url, &answer);
    }
    publisher.stop().await
}

async fn playlist_is_served_well(server: &Server, url: &Url) -> Result<()> {
    let plain = ask(server, Method::GET, url, &[("accept-encoding", "identity")]).await?;
    assert_eq!((plain.status().as_u16(), header(&plain, "content-encoding").as_str()), (200, ""), "{url}");
    assert_eq!(header(&plain, "content-type"), "application/vnd.apple.mpegurl", "{url}");
    assert!(
        header(&plain, "cache-control").contains("max-age")
            || header(&plain, "cache-control").contains("no-")
    );
    is_open(url, &plain);
    let text = plain.text().await?;
    assert!(text.starts_with("#EXTM3U"), "{text}");

    let head = ask(server, Method::HEAD, url, &[("accept-encoding", "identity")]).await?;
    assert_eq!(
        (head.status().as_u16(), header(&head, "content-type").as_str()),
        (200, "application/vnd.apple.mpegurl")
    );
    assert!(header(&head, "content-length").parse::<usize>()? > 0, "{url}");
    is_open(url, &head);

    let zipped = ask(server, Method::GET, url, &[("accept-encoding", "gzip")]).await?;
    if text.len() >= 1000 {
        assert_eq!(header(&zipped, "content-encoding"), "gzip", "{url}");
    }
    assert!(header(&zipped, "vary").to_lowercase().contains("accept-encoding"), "{url}");
    if header(&zipped, "content-encoding") == "gzip" {
        let bytes = zipped.bytes().await?;
        assert_eq!(bytes[..2], [0x1f, 0x8b], "RFC 1952 section 2.3.1");
        assert!(bytes.len() < text.len(), "{} zipped, {} plain", bytes.len(), text.len());
    }
    forms_are_told_apart(server, url, text.len()).await
}

/// RFC 9110 section 8.8.3.3: each form has an entity tag of its own, and is known by that alone.
async fn forms_are_told_apart(server: &Server, url: &Url, plain_bytes: usize) -> Result<()> {
    let mut tags = Vec::new();
    for (accepted, coding) in [("identity", ""), ("gzip", "gzip"), ("gzip, br", "br")] {
        let coding = if plain_bytes >= 1000 { coding } else { continue };
        let head = ask(server, Method::HEAD, url, &[("accept-encoding", accepted)]).await?;
        assert_eq!(header(&head, "content-encoding"), coding, "{url}");
        let tag = header(&head, "etag");
        assert!(tag.starts_with('"') && !tags.contains(&tag), "{url}: {tag} after {tags:?}");
        let again =
            ask(server, Method::GET, url, &[("accept-encoding", accepted), ("if-none-match", &tag)]).await?;
        // A live playlist may have changed in between: then its tag has as well.
        assert!(again.status() == 304 || header(&again, "etag") != tag, "{url}: {}", again.status());
        assert_eq!(header(&again, "vary"), "accept-encoding", "{url}");
        tags.push(tag);
    }
    let nothing = ask(server, Method::GET, url, &[("accept-encoding", "identity;q=0")]).await?;
    assert_eq!(nothing.status(), 406, "{url}");
    is_open(url, &nothing);
    Ok(())
}

async fn media_is_served_well(server: &Server, url: &Url) -> Result<()> {
    let whole = ask(server, Method::GET, url, &[]).await?;
    assert_eq!(whole.status(), 200, "{url}");
    let kind = header(&whole, "content-type");
    assert!(["video/mp4", "audio/mp4", "video/iso.segment"].contains(&kind.as_str()), "{url} is {kind}");
    assert_eq!(header(&whole, "accept-ranges"), "bytes", "{url}");
    assert!(header(&whole, "cache-control").contains("max-age"), "{url}");
    is_open(url, &whole);
    let etag = header(&whole, "etag");
    assert!(etag.starts_with('"') && etag.len() > 2, "{url}: a strong ETag, not {etag:?}");
    let bytes = whole.bytes().await?;
    let length = bytes.len();

    let head = ask(server, Method::HEAD, url, &[]).await?;
    assert_eq!((head.status().as_u16(), header(&head, "content-length")), (200, length.to_string()), "{url}");
    assert_eq!(header(&head, "etag"), etag);

    let same = ask(server, Method::GET, url, &[("if-none-match", &etag)]).await?;
    assert_eq!(same.status(), 304, "{url}");
    assert_eq!(header(&same, "etag"), etag, "RFC 9110 section 15.4.5");
    is_open(url, &same);
    let other = ask(server, Method::GET, url, &[("if-none-match", "\"other\"")]).await?;
    assert_eq!(other.status(), 200, "{url}");

    for (range, from, to) in
        [("bytes=0-99", 0, 99), ("bytes=100-", 100, length - 1), ("bytes=-50", length - 50, length - 1)]
    {
        let part = ask(server, Method::GET, url, &[("range", range)]).await?;
        assert_eq!(part.status(), 206, "{url} {range}");
        assert_eq!(header(&part, "content-range"), format!("bytes {from}-{to}/{length}"), "{url} {range}");
        is_open(url, &part);
        assert_eq!(part.bytes().await?, bytes.slice(from..=to), "{url} {range}");
    }
    let beyond = ask(server, Method::GET, url, &[("range", &format!("bytes={length}-"))]).await?;
    assert_eq!(
        (beyond.status().as_u16(), header(&beyond, "content-range")),
        (416, format!("bytes */{length}")),
        "{url}"
    );
    is_open(url, &beyond);
    Ok(())
}
