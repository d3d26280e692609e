//! RFC 9725 section 4.6: STUN and TURN servers in `Link` headers; and what a proxy in front changes about URLs.

use crate::offers;
use crate::rows::{hold, rows};
use crate::server::{Answer, Server};
use anyhow::{Result, ensure};

const ENDPOINT: &str = "/whip/servers";

const CONFIG: &str = "[stun]\nurls = [\"stun:stun.example:3478\"]\n\
    [turn]\nurls = [\"turn:turn.example:3478?transport=udp\", \"turns:turn.example:443?transport=tcp\"]\n\
    secret = \"north\"\nttl_s = 600\n[http]\ntrusted_proxies = [\"127.0.0.1\"]\n";

#[tokio::test]
async fn every_clause_holds() {
    let server = Server::start(CONFIG).await;
    hold(
        &server,
        &rows![
            "4.6: the 201 has a Link for each server" => links_on_201,
            "4.6 MAY: OPTIONS has them for clients that ask first" => links_on_options,
            "4.6 SHOULD NOT: a CORS preflight has none" => no_links_on_preflight,
            "4.6: credentials are of their session and expire" => short_lived,
            "4.2: behind a trusted proxy Location is what the client sees" => forwarded_location,
        ],
    )
    .await;
}

#[tokio::test]
async fn a_public_url_makes_locations_absolute() {
    let server = Server::start("[http]\npublic_url = \"https://live.example.org/base\"\n").await;
    let answer = server.offer(ENDPOINT, &offers::publisher()).await.unwrap();
    let url = answer.session().unwrap();
    assert!(url.starts_with("https://live.example.org/base/whip/servers/"), "{url}");
}

fn is_complete(answer: &Answer) -> Result<()> {
    let links = answer.all("link");
    let has =
        |start: &str| links.iter().any(|link| link.starts_with(start) && link.contains("rel=\"ice-server\""));
    ensure!(has("<stun:stun.example:3478>"), "{links:?}");
    ensure!(has("<turn:turn.example:3478?transport=udp>"), "{links:?}");
    ensure!(has("<turns:turn.example:443?transport=tcp>"), "{links:?}");
    for turn in links.iter().filter(|link| link.starts_with("<turn")) {
        for attribute in ["username=\"", "credential=\"", "credential-type=\"password\""] {
            ensure!(turn.contains(attribute), "no {attribute} in {turn}");
        }
    }
    Ok(())
}

async fn links_on_201(server: &Server) -> Result<()> {
    is_complete(&server.offer(ENDPOINT, &offers::publisher()).await?.is(&[201])?)
}

async fn links_on_options(server: &Server) -> Result<()> {
    is_complete(&server.ask("OPTIONS", ENDPOINT).await?.is(&[200])?)?;
    is_complete(&server.ask("OPTIONS", "/whep/servers").await?.is(&[200])?)
}

async fn no_links_on_preflight(server: &Server) -> Result<()> {
    let request = server.request("OPTIONS", ENDPOINT).header("access-control-request-method", "POST");
    let answer = Answer::of(request).await?.is(&[200])?;
    ensure!(answer.all("link").is_empty(), "{:?}", answer.headers);
    Ok(())
}

async fn short_lived(server: &Server) -> Result<()> {
    let username = |answer: &Answer| -> Option<String> {
        let turn = answer.all("link").into_iter().find(|link| link.starts_with("<turn:"))?.to_owned();
        Some(turn.split_once("username=\"")?.1.split_once('"')?.0.to_owned())
    };
    let one = server.offer(ENDPOINT, &offers::publisher()).await?;
    let other = server.offer(ENDPOINT, &offers::publisher()).await?;
    let (user, session) = (username(&one).unwrap_or_default(), one.session()?);
    ensure!(Some(&user) != username(&other).as_ref(), "two sessions share {user}");
    let (expiry, label) = user.split_once(':').unwrap_or_default();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let left = expiry.parse::<u64>()?.saturating_sub(now);
    ensure!((500..=600).contains(&left), "{left} s of 600");
    // What travels to the TURN server in the clear must not open the session.
    ensure!(label.len() <= 8 && !session.ends_with(label), "{label} of {session}");
    Ok(())
}

async fn forwarded_location(server: &Server) -> Result<()> {
    let request = server.request("POST", ENDPOINT).header("content-type", "application/sdp");
    let request = request.header("forwarded", "for=203.0.113.9;proto=https;host=live.example");
    let url = Answer::of(request.body(offers::publisher())).await?.session()?;
    ensure!(url.starts_with("https://live.example/whip/servers/"), "{url}");
    Ok(())
}
