//! Low-latency HLS over HTTP, and hls.js that plays it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use player_test::chromium::Chromium;
use player_test::contract::{Settings, TestPublish};
use player_test::hls_client;
use player_test::publisher::Publisher;
use player_test::server::Server;
use player_test::static_server::StaticServer;
use player_test::viewing::{browser_plays_on, browser_settles};
use reqwest::Url;
use serde_json::{Value, json};

/// Short segments, so that windows and boundaries are reached soon.
fn settings(hls: &'static str) -> Settings {
    Settings { segment_ms: 1000, grace_ms: 300, hls, ..Settings::default() }
}

/// The end of a media playlist: the segment that is being made, and how many parts of it are listed.
fn edge(text: &str) -> Result<(u64, u64)> {
    let mut msn = 0;
    let mut parts = 0;
    for line in text.lines() {
        if let Some(first) = line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:") {
            msn = first.parse()?;
        } else if let Some(skipped) = line.strip_prefix("#EXT-X-SKIP:SKIPPED-SEGMENTS=") {
            msn += skipped.split(',').next().unwrap_or_default().parse::<u64>()?;
        } else if line.starts_with("#EXT-X-PART:") {
            parts += 1;
        } else if !line.starts_with('#') && !line.is_empty() {
            msn += 1;
            parts = 0;
        }
    }
    Ok((msn, parts))
}

/// Another query in place of what the URL has.
fn with(url: &Url, query: &str) -> Url {
    let mut url = url.clone();
    url.set_query(Some(query));
    url
}

async fn text(server: &Server, url: &Url) -> Result<String> {
    hls_client::text(&server.http, url.as_str()).await
}

async fn status(server: &Server, url: &Url) -> Result<u16> {
    Ok(server.http.get(url.clone()).send().await?.status().as_u16())
}

/// A stream on air, and the playlist of its pictures.
async fn on_air(server: &Server, stream: &str, segments: usize) -> Result<(Publisher, Url)> {
    let publisher = Publisher::start(&server.urls.whip(stream), &TestPublish::default())?;
    server.hls_ready(stream, segments, Duration::from_secs(60)).await?;
    let renditions = hls_client::renditions(&server.http, &server.urls.hls(stream)).await?;
    Ok((publisher, renditions[0].url.clone()))
}

#[tokio::test]
async fn reloads_and_hinted_parts_are_answered_when_they_are_there() -> Result<()> {
    let server = Server::start_with(&settings("")).await?;
    let (mut publisher, url) = on_air(&server, "ll", 2).await?;
    let (mut msn, mut part) = edge(&text(&server, &url).await?)?;
    let begin = Instant::now();
    let mut waits = Vec::new();
    for _ in 0..40 {
        let asked = Instant::now();
        let reload = with(&url, &format!("_HLS_msn={msn}&_HLS_part={part}"));
        let answer = server.http.get(reload.clone()).send().await?;
        ensure!(answer.status() == 200, "{reload} answered {}", answer.status());
        let age = answer.headers()["cache-control"].to_str()?.to_owned();
        ensure!(age == "public, max-age=6", "six target durations: {age}");
        let playlist = answer.text().await?;
        waits.push(asked.elapsed());
        let (now_msn, now_part) = edge(&playlist)?;
        ensure!((now_msn, now_part) > (msn, part), "asked for {msn}.{part}, answered early:\n{playlist}");
        let hint = playlist
            .lines()
            .find_map(|line| line.strip_prefix("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"")?.strip_suffix('"'));
        let hint = url.join(hint.context("no hint")?)?;
        let hinted = hls_client::bytes(&server.http, hint.as_str()).await?;
        ensure!(hinted.windows(4).any(|kind| kind == b"moof"), "the hinted part is a chunk");
        (msn, part) = (now_msn, now_part);
    }
    let seconds = begin.elapsed().as_secs_f64();
    // Each round waits for two parts at the most: the one that is asked for, and the hinted one.
    ensure!((3.0..=20.0).contains(&seconds), "40 rounds took {seconds} s: {waits:?}");
    let longest = waits.iter().max().copied().unwrap_or_default();
    println!("40 rounds in {seconds:.2} s, longest wait {longest:?}");
    publisher.stop().await
}

#[tokio::test]
async fn nonsense_is_refused_and_the_past_is_answered_at_once() -> Result<()> {
    let server = Server::start_with(&settings("")).await?;
    let (mut publisher, url) = on_air(&server, "nonsense", 2).await?;
    for query in
        ["_HLS_part=1", "_HLS_msn=x", "_HLS_msn=-1", "_HLS_msn=99999", "_HLS_msn=1&_HLS_part=", "dvr=x"]
    {
        let asked = with(&url, query);
        ensure!(status(&server, &asked).await? == 400, "{asked}");
    }
    for query in
        ["_HLS_msn=0", "_HLS_msn=0&_HLS_part=0", "_HLS_skip=nonsense", "dvr=off", "type=event", "x=y"]
    {
        let asked = with(&url, query);
        ensure!(status(&server, &asked).await? == 200, "{asked}");
    }
    publisher.stop().await
}

#[tokio::test]
async fn a_delta_update_is_the_full_playlist_without_its_beginning() -> Result<()> {
    let server = Server::start_with(&settings("")).await?;
    let (mut publisher, url) = on_air(&server, "delta", 10).await?;
    // Both of the same moment: the one that ends alike.
    for _ in 0..20 {
        let full = text(&server, &url).await?;
        let delta = text(&server, &with(&url, "_HLS_skip=YES")).await?;
        if full.lines().last() != delta.lines().last() {
            continue;
        }
        let skip = delta.lines().find_map(|line| line.strip_prefix("#EXT-X-SKIP:SKIPPED-SEGMENTS="));
        let skipped: usize = skip.context("no EXT-X-SKIP")?.parse()?;
        ensure!(skipped > 0 && delta.contains("#EXT-X-VERSION:9\n"), "{delta}");
        let kept = delta.lines().skip_while(|line| !line.starts_with("#EXT-X-SKIP")).skip(1);
        let uris = full.lines().enumerate().filter(|(_, line)| !line.starts_with('#'));
        let last_skipped =
            uris.map(|(at, _)| at).nth(skipped - 1).context("more are skipped than there are")?;
        let rest = full.lines().skip(last_skipped + 1);
        let (kept, rest): (Vec<&str>, Vec<&str>) = (kept.collect(), rest.collect());
        ensure!(kept == rest, "{delta}\nis no update of\n{full}");
        return publisher.stop().await;
    }
    bail!("never two playlists of one moment")
}

#[tokio::test]
async fn the_end_answers_who_waits_at_once_with_the_closed_playlist() -> Result<()> {
    let server = Server::start_with(&settings("")).await?;
    let (mut publisher, url) = on_air(&server, "end", 2).await?;
    let (msn, _) = edge(&text(&server, &url).await?)?;
    let waiting = {
        let (http, ask) = (server.http.clone(), with(&url, &format!("_HLS_msn={}", msn + 1)));
        tokio::spawn(async move { http.get(ask).send().await?.text().await })
    };
    publisher.stop().await?;
    let mut answer = waiting.await??;
    if !answer.contains("#EXT-X-ENDLIST") {
        // The segment came before the end did.
        let (msn, _) = edge(&answer)?;
        answer = text(&server, &with(&url, &format!("_HLS_msn={}", msn + 1))).await?;
    }
    ensure!(answer.ends_with("#EXT-X-ENDLIST\n") && !answer.contains("PRELOAD-HINT"), "{answer}");
    ensure!(
        status(&server, &with(&url, "_HLS_msn=9999")).await? == 200,
        "a closed playlist ignores directives"
    );
    Ok(())
}

#[tokio::test]
async fn a_window_goes_on_on_disk_and_an_event_goes_back_to_the_beginning() -> Result<()> {
    let server =
        Server::start_with(&settings("dvr_dir = \"dvr\"\ndvr_memory_ms = 6000\ndvr_ms = 600000")).await?;
    let (mut publisher, url) = on_air(&server, "dvr", 14).await?;
    let event = text(&server, &with(&url, "type=event")).await?;
    ensure!(event.contains("#EXT-X-PLAYLIST-TYPE:EVENT\n#EXT-X-MEDIA-SEQUENCE:0\n"), "{event}");
    let first = event.lines().find(|line| !line.starts_with('#')).context("a segment")?;
    let segment = url.join(first)?;
    let part = url.join(&first.replace(".m4s", ".0.m4s"))?;
    ensure!(status(&server, &part).await? == 410, "parts are in memory, and this segment is no longer");
    let whole = hls_client::bytes(&server.http, segment.as_str()).await?;
    let ranged = server.http.get(segment.clone()).header("range", "bytes=8-99").send().await?;
    ensure!(ranged.status() == 206, "{}", ranged.status());
    ensure!(ranged.bytes().await? == whole.slice(8..100));
    let edge = text(&server, &with(&url, "dvr=off")).await?;
    ensure!(edge.matches("#EXTINF").count() < event.matches("#EXTINF").count(), "{edge}");
    let multivariant = text(&server, &with(&Url::parse(&server.urls.hls("dvr"))?, "dvr=off&x=1")).await?;
    ensure!(multivariant.contains("source/index.m3u8?dvr=off\n"), "{multivariant}");
    publisher.stop().await
}

#[tokio::test]
async fn events_with_a_date_come_and_go_by_the_api() -> Result<()> {
    let server = Server::start_with(&settings("")).await?;
    let (mut publisher, url) = on_air(&server, "dates", 1).await?;
    let all = server.urls.dateranges("dates");
    let body = json!({"id": "ad 1", "class": "ad", "planned_duration": 30, "scte35_out": "fc30", "x": {"COM-N": 1, "COM-T": "t"}});
    let added = server.http.post(&all).json(&body).send().await?;
    ensure!(added.status() == 201, "{}", added.status());
    let location = added.headers()["location"].to_str()?.to_owned();
    ensure!(location.ends_with("/dateranges/ad%201"), "{location}");
    let one = format!("{}{location}", server.urls.base);
    let playlist = text(&server, &url).await?;
    let tag =
        playlist.lines().find(|line| line.starts_with("#EXT-X-DATERANGE:")).context("no EXT-X-DATERANGE")?;
    for wanted in ["ID=\"ad 1\"", "CLASS=\"ad\"", "SCTE35-OUT=0xFC30", "X-COM-N=1", "X-COM-T=\"t\""] {
        ensure!(tag.contains(wanted), "{tag}");
    }
    ensure!(server.http.post(&all).json(&body).send().await?.status() == 409, "the name is taken");
    let closed: Value = server
        .http
        .patch(&one)
        .json(&json!({"duration": 12.5, "scte35_in": "0xFC31"}))
        .send()
        .await?
        .json()
        .await?;
    ensure!(closed["duration"] == 12.5 && closed["scte35_in"] == "0xFC31", "{closed}");
    ensure!(text(&server, &url).await?.contains("DURATION=12.500"));
    ensure!(server.http.patch(&one).json(&json!({"duration": 1})).send().await?.status() == 409);
    for bad in
        [json!({"start": "yesterday"}), json!({"scte35_cmd": "xyz"}), json!({"nonsense": 1}), json!("x")]
    {
        let refused = server.http.post(&all).json(&bad).send().await?;
        ensure!(refused.status() == 400, "{bad}: {}", refused.status());
    }
    ensure!(server.http.delete(&one).send().await?.status() == 204);
    ensure!(server.http.delete(&one).send().await?.status() == 404);
    ensure!(!text(&server, &url).await?.contains("DATERANGE:"));
    let listed: Value = server.http.get(&all).send().await?.json().await?;
    ensure!(listed["dateranges"].as_array().is_some_and(Vec::is_empty), "{listed}");
    ensure!(server.http.post(server.urls.dateranges("nobody")).json(&body).send().await?.status() == 404);
    publisher.stop().await
}

#[tokio::test]
async fn hls_js_plays_about_a_second_behind() -> Result<()> {
    let server = Server::start_with(&Settings::default()).await?;
    let (mut publisher, _) = on_air(&server, "edge", 2).await?;
    let pages = StaticServer::start(None).await?;
    let browser = Chromium::start("low-latency").await?;
    browser.watch_bare(&pages, &server.urls.hls("edge")).await?;
    // hls.js begins at the part hold back and catches up with what loading took.
    browser_settles(&browser).await?;
    browser_plays_on(&browser, 10, Some(30), true).await?;
    let mut latencies = Vec::new();
    for _ in 0..40 {
        let latency: f64 = browser.eval("return window.hls.latency", Vec::new()).await?;
        latencies.push(latency);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let parts: f64 = browser.eval("return window.hls.latestLevelDetails.partTarget", Vec::new()).await?;
    ensure!((parts - 0.22).abs() < 1e-9, "hls.js sees parts: {parts}");
    latencies.sort_by(f64::total_cmp);
    let (p50, p95) = (latencies[20], latencies[37]);
    println!("latency by hls.js: p50 {p50:.2} s, p95 {p95:.2} s");
    ensure!(p50 < 2.0, "p50 {p50}, p95 {p95}");
    browser.close().await?;
    publisher.stop().await
}

/// Players that wait at a time, and for how long each of them goes on.
const CROWD: usize = 500;
const CROWD_SECONDS: u64 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_waits_is_let_go_in_turn() -> Result<()> {
    let server = Server::start_with(&Settings::default()).await?;
    let (mut publisher, url) = on_air(&server, "crowd", 2).await?;
    let http = reqwest::Client::builder().pool_max_idle_per_host(CROWD).build()?;
    let begin = Instant::now();
    let end = begin + Duration::from_secs(CROWD_SECONDS);
    let players = (0..CROWD).map(|_| {
        let (http, url) = (http.clone(), url.clone());
        tokio::spawn(async move {
            let mut answered = Vec::new();
            let (mut msn, mut part) = edge(&http.get(url.clone()).send().await?.text().await?)?;
            while Instant::now() < end {
                let asked = with(&url, &format!("_HLS_msn={msn}&_HLS_part={part}&_HLS_skip=YES"));
                let answer = http.get(asked).send().await?;
                answered.push(begin.elapsed());
                ensure!(answer.status() == 200, "{}", answer.status());
                (msn, part) = edge(&answer.text().await?)?;
            }
            Ok::<_, anyhow::Error>(answered)
        })
    });
    let mut all = Vec::new();
    for player in players.collect::<Vec<_>>() {
        all.extend(player.await??);
    }
    // After two seconds everybody is in the round. A bin is a quarter of a part.
    let (from, to, bin) =
        (Duration::from_secs(2), Duration::from_secs(CROWD_SECONDS), Duration::from_millis(50));
    let mut bins = vec![0_u32; ((to - from).as_millis() / bin.as_millis()) as usize];
    for at in all.iter().filter(|at| (from..to).contains(*at)) {
        bins[((*at - from).as_millis() / bin.as_millis()) as usize] += 1;
    }
    let mean = f64::from(bins.iter().sum::<u32>()) / bins.len() as f64;
    let peak = f64::from(bins.iter().copied().max().unwrap_or_default());
    println!(
        "{CROWD} players: {mean:.0} answers in 50 ms on average, {peak} at the peak: {:.2}",
        peak / mean
    );
    // A crowd that is let go at once makes four times the mean: a quarter of the bins has everything.
    ensure!(peak < 3.0 * mean, "peak {peak}, mean {mean}");
    let expected = CROWD as f64 / 4.0;
    ensure!(mean > 0.8 * expected, "everybody keeps pace: {mean} of {expected} in a bin");
    publisher.stop().await
}
