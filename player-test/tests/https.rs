//! HTTPS and HTTP/2 as curl, openssl and Chromium speak them, and connections that do not get on.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use player_test::chromium::Chromium;
use player_test::contract::{PublishPage, Settings, TestPublish};
use player_test::publisher::Publisher;
use player_test::server::Server;
use player_test::wait;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

/// Far above what anything here takes, for a machine that is busy with other tests.
const LIMIT: Duration = Duration::from_secs(30);

const SELF_SIGNED: &str = "[tls]\nself_signed = true\nlisten = \"127.0.0.1:0\"\n";

fn settings(more: &str) -> Settings {
    Settings { more: more.to_owned(), ..Settings::default() }
}

/// What curl prints.
async fn curl(arguments: &[&str]) -> Result<String> {
    let output = Command::new("curl").args(["-sS", "--max-time", "10"]).args(arguments).output().await?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "curl {arguments:?}: {words}");
    Ok(String::from_utf8(output.stdout)?)
}

#[tokio::test]
async fn curl_gets_the_protocol_that_it_asks_for() -> Result<()> {
    let mut server = Server::start_with(&settings(SELF_SIGNED)).await?;
    let (http, https) = (server.urls.ready(), server.https().await?.ready());
    let version = ["-k", "-o", "/dev/null", "-w", "%{http_version} %{response_code}"];
    for (flag, url, expected) in [
        ("--http2", &https, "2 200"),
        ("--http1.1", &https, "1.1 200"),
        ("--http2-prior-knowledge", &http, "2 200"),
        ("--http1.1", &http, "1.1 200"),
    ] {
        let seen = curl(&[&version[..], &[flag, url]].concat()).await?;
        assert_eq!(seen, expected, "{flag} {url}");
    }
    // One connection for all requests, on either.
    for flag in ["--http2", "--http1.1"] {
        let each =
            ["-k", flag, "-w", "%{num_connects} ", "-o", "/dev/null", &https, "-o", "/dev/null", &https];
        assert_eq!(curl(&each).await?, "1 0 ", "{flag}");
        let head = curl(&["-k", flag, "-I", &https]).await?.to_lowercase();
        assert!(head.contains("content-length: 6"), "{head}");
    }
    Ok(())
}

#[tokio::test]
async fn old_tls_is_refused() -> Result<()> {
    let mut server = Server::start_with(&settings(SELF_SIGNED)).await?;
    let https = server.https().await?.ready();
    for version in ["--tlsv1.2", "--tlsv1.3"] {
        curl(&["-k", version, "--tls-max", &version[6..], &https]).await?;
    }
    let old = curl(&["-k", "--tlsv1.0", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", &https]).await;
    assert!(old.is_err(), "{old:?}");
    Ok(())
}

#[tokio::test]
async fn events_come_over_http_2_as_they_happen() -> Result<()> {
    let mut server = Server::start_with(&settings(SELF_SIGNED)).await?;
    let url = format!("{}/api/v1/events", server.https().await?.base);
    let mut command = Command::new("curl");
    command.args(["-sSNk", "--http2", "--max-time", "60", &url]).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("piped")?).lines();
    let mut until = async |event: &str| -> Result<()> {
        let wanted = format!("event: {event}");
        let found = async {
            while let Some(line) = lines.next_line().await? {
                if line == wanted {
                    return Ok(());
                }
            }
            anyhow::bail!("the events ended before {event}")
        };
        tokio::time::timeout(LIMIT, found).await.with_context(|| wanted.clone())?
    };
    until("snapshot").await?;
    let mut publisher = Publisher::start(&server.urls.whip("demo"), &TestPublish::default())?;
    until("publisher-connected").await?;
    publisher.stop().await
}

#[tokio::test]
async fn requests_sent_at_once_are_answered_in_order() -> Result<()> {
    let server = Server::start().await?;
    let address = server.urls.base.strip_prefix("http://").context("http")?;
    let mut socket = TcpStream::connect(address).await?;
    let paths = ["/healthz", "/nowhere", "/readyz", "/hls/nobody/index.m3u8", "/healthz"];
    let last = paths.len() - 1;
    let requests: String = paths
        .iter()
        .enumerate()
        .map(|(n, path)| {
            let end = if n == last { "connection: close\r\n" } else { "" };
            format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{end}\r\n")
        })
        .collect();
    socket.write_all(requests.as_bytes()).await?;
    let mut text = String::new();
    tokio::time::timeout(LIMIT, socket.read_to_string(&mut text)).await??;
    let statuses: Vec<&str> = text.split("HTTP/1.1 ").skip(1).filter_map(|answer| answer.get(..3)).collect();
    assert_eq!(statuses, ["200", "404", "200", "404", "200"], "{text}");
    Ok(())
}

#[tokio::test]
async fn who_comes_by_http_is_sent_to_https_where_that_is_wanted() -> Result<()> {
    let mut server = Server::start_with(&settings(&format!("{SELF_SIGNED}redirect = true\n"))).await?;
    let https = server.https().await?.base;
    let http = server.urls.base.clone();
    let location = async |method: &str, path: &str| {
        let format = "%{response_code} %{redirect_url}";
        curl(&["-o", "/dev/null", "-X", method, "-w", format, &format!("{http}{path}")]).await
    };
    for (method, path) in
        [("GET", "/watch/demo?player=hls.js"), ("POST", "/whip/demo"), ("GET", "/hls/demo/index.m3u8")]
    {
        assert_eq!(location(method, path).await?, format!("307 {https}{path}"));
    }
    assert_eq!(location("GET", "/healthz").await?, "200 ");
    assert_eq!(location("OPTIONS", "/whip/demo").await?, "200 ");
    let root = format!("{http}/");
    let followed =
        curl(&["-kL", "-o", "/dev/null", "-w", "%{response_code} %{url_effective}", &root]).await?;
    assert_eq!(followed, format!("200 {https}/"));
    Ok(())
}

/// A self-signed pair for 127.0.0.1, as `cert.pem` and `key.pem` of the folder.
async fn make_pair(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"];
    let names = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"];
    let mut command = Command::new("openssl");
    command.args(["req", "-x509"]).args(curve).args(names).current_dir(folder);
    let output = command.args(["-keyout", "key.pem", "-out", "cert.pem"]).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_is_not() -> Result<()> {
    let folder = TempDir::new()?;
    let at = |name: &str| folder.path().join(name);
    for name in ["live", "next"] {
        make_pair(&at(name)).await?;
    }
    std::fs::copy(at("live/cert.pem"), at("first.pem"))?;
    let (cert, key) = (at("live/cert.pem"), at("live/key.pem"));
    let tls = format!("[tls]\ncert = {cert:?}\nkey = {key:?}\nlisten = \"127.0.0.1:0\"\n");
    let mut server = Server::start_with(&settings(&tls)).await?;
    let urls = server.https().await?;
    let shows =
        async |pem: &str| curl(&["--cacert", &at(pem).display().to_string(), &urls.ready()]).await.is_ok();
    assert!(shows("first.pem").await && !shows("next/cert.pem").await);

    // A connection that is open stays so, whatever becomes of the files.
    let trusting = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build()?;
    let mut events = trusting.get(format!("{}/api/v1/events", urls.base)).send().await?.error_for_status()?;

    std::fs::write(&cert, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")?;
    wait::until("the broken certificate to be refused", LIMIT, async || {
        Ok(server.log().iter().any(|line| line.contains("is not taken")).then_some(()))
    })
    .await?;
    assert!(shows("first.pem").await, "the one before stays in use");

    std::fs::copy(at("next/cert.pem"), &cert)?;
    std::fs::copy(at("next/key.pem"), &key)?;
    wait::until("the new certificate to be shown", LIMIT, async || {
        Ok(shows("next/cert.pem").await.then_some(()))
    })
    .await?;
    assert!(!shows("first.pem").await);

    let mut publisher = Publisher::start(&server.urls.whip("demo"), &TestPublish::default())?;
    let mut text = String::new();
    let told = async {
        while !text.contains("publisher-connected") {
            let piece = events.chunk().await?.context("the events have ended")?;
            text.push_str(&String::from_utf8_lossy(&piece));
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(LIMIT, told).await??;
    publisher.stop().await
}

#[tokio::test]
async fn a_script_publishes_to_a_self_signed_certificate_that_is_kept() -> Result<()> {
    let folder = TempDir::new()?;
    let (cert, key) = (folder.path().join("kept/cert.pem"), folder.path().join("kept/key.pem"));
    let more = format!("{SELF_SIGNED}cert = {cert:?}\nkey = {key:?}\n");
    let mut server = Server::start_with(&settings(&more)).await?;
    let urls = server.https().await?;
    let what = TestPublish { faults: format!("--tls-ca {}", cert.display()), ..TestPublish::default() };
    let mut publisher = Publisher::start(&urls.whip("demo"), &what)?;
    server.stream_is("demo", "live", LIMIT, |info| info.state == "live").await?;
    publisher.stop().await?;
    let first = std::fs::read(&cert)?;
    drop(server);
    let mut again = Server::start_with(&settings(&more)).await?;
    curl(&["--cacert", &cert.display().to_string(), &again.https().await?.ready()]).await?;
    assert_eq!(std::fs::read(&cert)?, first);
    Ok(())
}

#[tokio::test]
async fn a_server_without_a_usable_certificate_does_not_start() -> Result<()> {
    let folder = TempDir::new()?;
    for name in ["one", "other"] {
        make_pair(&folder.path().join(name)).await?;
    }
    let at = |name: &str| folder.path().join(name).display().to_string();
    for (cert, key, words) in [
        (at("none.pem"), at("one/key.pem"), "cannot read tls.cert"),
        (at("one/cert.pem"), at("other/key.pem"), "is not the key of the first certificate"),
        (at("one/key.pem"), at("one/key.pem"), "has no certificate"),
    ] {
        let mut command = Command::new(player_test::contract::binary()?);
        command.args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--media-port",
            "0",
            "--tls-listen",
            "127.0.0.1:0",
        ]);
        command.args(["--tls-cert", &cert, "--tls-key", &key]).kill_on_drop(true);
        let output = tokio::time::timeout(LIMIT, command.output()).await??;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(words), "{said}");
    }
    Ok(())
}

/// How long the server keeps a connection on which this is sent and nothing else.
async fn kept(address: &str, sent: &[u8]) -> Result<Duration> {
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(sent).await?;
    let began = Instant::now();
    let mut rest = Vec::new();
    // An end and a reset both say that the server has let go.
    let _ended = tokio::time::timeout(LIMIT, socket.read_to_end(&mut rest)).await.context("still open")?;
    Ok(began.elapsed())
}

#[tokio::test]
async fn connections_on_which_nothing_gets_on_are_closed() -> Result<()> {
    let mut server = Server::start_with(&settings(SELF_SIGNED)).await?;
    let plain = server.urls.base.replace("http://", "");
    let tls = server.https().await?.base.replace("https://", "");
    let (nothing, half_a_head, half_a_preface, no_handshake) = tokio::try_join!(
        kept(&plain, b""),
        kept(&plain, b"GET /healthz HTTP/1.1\r\nhost: a\r\nx-slow: "),
        kept(&plain, b"PRI * HTTP/2.0\r\n"),
        kept(&tls, b"\x16\x03\x01"),
    )?;
    for (what, time) in [("nothing", nothing), ("head", half_a_head), ("preface", half_a_preface)] {
        assert!((14..25).contains(&time.as_secs()), "{what}: {time:?}");
    }
    assert!((9..20).contains(&no_handshake.as_secs()), "{no_handshake:?}");
    Ok(())
}

#[tokio::test]
async fn a_phone_of_the_network_publishes_by_https() -> Result<()> {
    // As `make lan` does it: open to the network, by a certificate of our own making.
    let open = "[tls]\nself_signed = true\nlisten = \"0.0.0.0:0\"\n[http]\nopen = true\n";
    let mut server = Server::start_with(&settings(open)).await?;
    let https = server.https().await?;
    let port = https.base.rsplit(':').next().context("a port")?.to_owned();
    let loopback = player_test::contract::Urls { base: format!("https://127.0.0.1:{port}") };
    let urls = server.for_other_devices().unwrap_or(loopback);

    let publisher = Chromium::start_unsuspicious("phone").await?;
    let page = PublishPage { source: "camera", video: "vp8", audio: true, resolution: "360p", fps: 30 };
    publisher.publish(&urls, "phone", &page).await?;
    assert!(publisher.eval::<bool>("return window.isSecureContext;", vec![]).await?);
    let spoken =
        "return performance.getEntriesByType('navigation').concat(performance.getEntriesByType('resource'))
        .filter((one) => one.name.startsWith(location.origin)).map((one) => one.nextHopProtocol);";
    let spoken: Vec<String> = publisher.eval(spoken, vec![]).await?;
    assert!(!spoken.is_empty() && spoken.iter().all(|one| one == "h2"), "{spoken:?}");

    server.hls_ready("phone", 2, LIMIT).await?;
    let viewer = Chromium::start_unsuspicious("other-phone").await?;
    viewer.watch(&urls, "phone").await?;
    let seen = "return performance.getEntriesByType('resource').filter((one) => one.name.includes('/hls/'))
        .map((one) => [one.nextHopProtocol, one.encodedBodySize, one.decodedBodySize]);";
    wait::until("playlists to come compressed over HTTP/2", LIMIT, async || {
        let seen: Vec<(String, u64, u64)> = viewer.eval(seen, vec![]).await?;
        assert!(seen.iter().all(|(protocol, ..)| protocol == "h2"), "{seen:?}");
        Ok(seen.iter().any(|(_, encoded, decoded)| 0 < *encoded && encoded < decoded).then_some(()))
    })
    .await?;
    viewer.screenshot("watching-by-https").await?;

    // What the session's URL says can be used as it is, on whatever scheme and host it came by.
    let whip = format!("{}/whip/phone", urls.base);
    let options =
        curl(&["-k", "--http2", "-X", "OPTIONS", "-o", "/dev/null", "-w", "%{response_code}", &whip]).await?;
    assert_eq!(options, "200");
    let streams: Value = serde_json::from_str(&curl(&["-k", &urls.streams()]).await?)?;
    assert_eq!(streams["streams"][0]["name"], "phone");
    viewer.close().await?;
    publisher.close().await
}
