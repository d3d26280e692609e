//! RFC 9725, the clauses that a server can keep or break.

use crate::offers::{self, sections, values};
use crate::rows::{hold, rows};
use crate::server::{Answer, Server};
use anyhow::{Context, Result, ensure};

const ENDPOINT: &str = "/whip/rfc9725";

#[tokio::test]
async fn every_clause_holds() {
    let mut server = Server::start("").await;
    hold(
        &server,
        &rows![
            "4.1 MUST: GET of an endpoint is a 2xx without content" => get_of_the_endpoint,
            "4.1 MUST: GET of a session is a 2xx without content" => get_of_a_session,
            "4.1 RFC 9110 9.3.2: HEAD is answered as GET is" => head,
            "4.1 RFC 9457: refusals say why" => refusals_say_why,
            "4.2 MUST: POST of an offer is 201 with an SDP answer and a Location" => post,
            "4.2 MUST: every client's offer is answered section by section" => every_client,
            "4.2 RFC 9110 8.3.1: parameters and case of the media type do not matter" => media_type_parameters,
            "4.2 MUST: another content type is a 4xx" => wrong_content_type,
            "4.2 RFC 9110 15.5.16: 415 names the type that is taken" => accept_post_on_415,
            "4.2 MUST: a malformed offer is a 4xx" => malformed_offer,
            "4.2 MUST NOT: recvonly and inactive are not offered" => wrong_direction,
            "4.2 MUST: the answer is recvonly" => answer_direction,
            "4.2 RFC 9110 15.5.7: an Accept that rules out SDP is 406" => accept,
            "4.2: DELETE removes the session" => delete,
            "4.2 RFC 9110 9.2.2: DELETE is idempotent" => delete_again,
            "4.2: a session that never was cannot be deleted" => delete_of_nothing,
            "4.2 MUST: OPTIONS answers CORS preflights" => preflight,
            "4.2 SHOULD: OPTIONS is 200 and has Accept-Post: application/sdp" => options,
            "4.2 Fetch: every answer can be read by a page, headers included" => cors_everywhere,
            "4.2 RFC 9110 15.5.6: other methods are 405 with Allow" => other_methods,
            "4.2 RFC 9110 15.5.14: an endless offer is 413" => too_large,
            "4.3.1 MUST: another content type of a PATCH is a 4xx with Accept-Patch" => patch_content_type,
            "4.3.1 MUST: a malformed fragment is a 4xx" => malformed_fragment,
            "4.3.1 MUST: the 201 has a strong ETag, unique to its ICE session" => etag,
            "4.3.1 MUST: DELETE ignores entity tags" => delete_ignores_tags,
            "4.3.1: a PATCH without If-Match is 428" => missing_tag,
            "4.3.1: a PATCH with a tag that does not match is 412" => stale_tag,
            "4.3.1 RFC 9110 13.1.1: any tag of a list may match" => tag_in_a_list,
            "4.3.1 RFC 9110 8.8.3.2: a weak tag never matches" => weak_tag,
            "4.3.1 RFC 9110 13.1.1: an If-Match that is none is 400" => unreadable_tag,
            "4.3.2 SHALL: the answer has all candidates of the server" => all_candidates,
            "4.3.2 MUST: a trickled candidate is 204 without body and ETag" => trickle,
            "4.3.2 MUST: candidates that cannot be used are discarded silently" => odd_candidates,
            "4.3.3 SHALL, MUST: new credentials restart ICE: 200, a fragment, a new ETag" => restart,
            "4.3.3 MUST: the fragment has the ice-lite and ice-options of the answer" => restart_keeps_options,
            "4.3.3: the star in quotes of the RFC's own example is a star" => quoted_star,
            "4.3.3 MUST NOT: a failed restart does not end the session" => failed_restart,
            "4.4.1 SHALL: everything is bundled and multiplexed" => bundle,
            "4.4.2 MUST: two tracks of one kind are 422 or 400" => two_tracks,
            "4.4.3 SHOULD NOT: a broken section is no reason for half an answer" => no_partial_answer,
            "4.4.4: actpass and active are answered as DTLS server" => setup,
            "4.4.4 SHOULD: a setup that cannot be had is 422 or 400" => setup_refused,
            "4.5 MUST NOT: no 301 and no 302" => no_redirect,
            "5 SHOULD: session URLs cannot be guessed" => random_urls,
        ],
    )
    .await;
    assert!(server.is_running());
}

async fn publish(server: &Server) -> Result<Answer> {
    server.offer(ENDPOINT, &offers::publisher()).await?.is(&[201])
}

async fn session(server: &Server) -> Result<(String, String)> {
    let answer = publish(server).await?;
    Ok((answer.session()?, answer.header("etag").to_owned()))
}

async fn get_of_the_endpoint(server: &Server) -> Result<()> {
    let answer = server.ask("GET", ENDPOINT).await?.is(&[200, 204])?;
    ensure!(answer.body.is_empty(), "{}", answer.body);
    Ok(())
}

async fn get_of_a_session(server: &Server) -> Result<()> {
    let (url, _) = session(server).await?;
    let answer = server.ask("GET", &url).await?.is(&[200, 204])?;
    ensure!(answer.body.is_empty(), "{}", answer.body);
    server.ask("GET", &format!("{ENDPOINT}/00000000000000000000000000000000")).await?.is(&[404])?;
    Ok(())
}

async fn head(server: &Server) -> Result<()> {
    let (url, _) = session(server).await?;
    for url in [ENDPOINT, &url] {
        let (head, get) = (server.ask("HEAD", url).await?, server.ask("GET", url).await?);
        ensure!(head.status == get.status, "{url}: HEAD is {}, GET is {}", head.status, get.status);
        ensure!(head.header("content-type") == get.header("content-type"), "{url}: other types");
    }
    Ok(())
}

async fn refusals_say_why(server: &Server) -> Result<()> {
    let answer = server.offer(ENDPOINT, "Please let me in.").await?.refused_with_words()?;
    for member in ["\"title\"", "\"status\"", "\"detail\""] {
        ensure!(answer.body.contains(member), "no {member}: {}", answer.body);
    }
    Ok(())
}

async fn post(server: &Server) -> Result<()> {
    let answer = publish(server).await?;
    ensure!(answer.header("content-type") == "application/sdp", "{:?}", answer.headers);
    ensure!(answer.body.starts_with("v=0\r\n"), "{}", answer.body);
    let url = answer.session()?;
    ensure!(url.starts_with(&format!("{ENDPOINT}/")), "{url}");
    ensure!(answer.header("accept-patch") == "application/trickle-ice-sdpfrag", "{:?}", answer.headers);
    server.ask("DELETE", &url).await?.is(&[200])?;
    Ok(())
}

async fn every_client(server: &Server) -> Result<()> {
    for (client, offer) in offers::publishers() {
        let answer = server.offer(ENDPOINT, offer).await?.is(&[201]).context(client)?;
        let (asked, got) = (sections(offer).len(), sections(&answer.body).len());
        ensure!(asked == got, "{client}: {asked} sections offered, {got} answered");
        server.ask("DELETE", &answer.session()?).await?.is(&[200])?;
    }
    Ok(())
}

async fn media_type_parameters(server: &Server) -> Result<()> {
    for kind in ["application/sdp; charset=utf-8", "Application/SDP", "application/sdp;x=\"y\""] {
        let request = server.request("POST", ENDPOINT).header("content-type", kind).body(offers::publisher());
        let answer = Answer::of(request).await?.is(&[201]).context(kind)?;
        server.ask("DELETE", &answer.session()?).await?.is(&[200])?;
    }
    Ok(())
}

async fn wrong_content_type(server: &Server) -> Result<()> {
    for kind in ["text/plain", "application/json", "application/sdp+xml", "nonsense"] {
        let request = server.request("POST", ENDPOINT).header("content-type", kind).body(offers::publisher());
        Answer::of(request).await?.is(&[415]).context(kind)?.refused_with_words()?;
    }
    let untyped = server.request("POST", ENDPOINT).body(offers::publisher());
    Answer::of(untyped).await?.is(&[415])?.refused_with_words()?;
    Ok(())
}

async fn accept_post_on_415(server: &Server) -> Result<()> {
    let request = server.request("POST", ENDPOINT).header("content-type", "text/plain").body("x");
    let answer = Answer::of(request).await?.is(&[415])?;
    ensure!(answer.header("accept-post") == "application/sdp", "{:?}", answer.headers);
    Ok(())
}

async fn malformed_offer(server: &Server) -> Result<()> {
    for (what, offer) in offers::malformed() {
        server.offer(ENDPOINT, &offer).await?.refused_with_words().context(what)?;
    }
    Ok(())
}

async fn wrong_direction(server: &Server) -> Result<()> {
    for direction in ["a=recvonly", "a=inactive"] {
        let offer = offers::publisher().replace("a=sendonly", direction);
        server.offer(ENDPOINT, &offer).await?.is(&[400, 422]).context(direction)?.refused_with_words()?;
    }
    let both = offers::publisher().replace("a=sendonly", "a=sendrecv");
    server.offer(ENDPOINT, &both).await?.is(&[201]).context("sendrecv MAY be used")?;
    Ok(())
}

async fn answer_direction(server: &Server) -> Result<()> {
    let answer = publish(server).await?;
    for section in sections(&answer.body) {
        ensure!(section.contains("a=recvonly\r\n"), "{section}");
        ensure!(!section.contains("a=sendonly") && !section.contains("a=sendrecv"), "{section}");
    }
    Ok(())
}

async fn accept(server: &Server) -> Result<()> {
    let ask = |accept: &'static str| {
        let request = server.request("POST", ENDPOINT).header("content-type", "application/sdp");
        Answer::of(request.header("accept", accept).body(offers::publisher()))
    };
    ask("text/html").await?.is(&[406])?.refused_with_words()?;
    ask("application/sdp;q=0, text/html").await?.is(&[406])?;
    for taken in ["application/sdp", "*/*", "text/html, application/*;q=0.1"] {
        ask(taken).await?.is(&[201]).context(taken)?;
    }
    Ok(())
}

async fn delete(server: &Server) -> Result<()> {
    let (url, etag) = session(server).await?;
    server.ask("DELETE", &url).await?.is(&[200])?;
    // The node ends the session in its own time; what is asked of it meanwhile is told that it is gone.
    server.patch(&url, Some(&etag), &offers::trickle(&[])).await?.is(&[404])?;
    Ok(())
}

async fn delete_again(server: &Server) -> Result<()> {
    let (url, _) = session(server).await?;
    for _ in 0..3 {
        server.ask("DELETE", &url).await?.is(&[200])?;
    }
    Ok(())
}

async fn delete_of_nothing(server: &Server) -> Result<()> {
    let (url, _) = session(server).await?;
    let name = url.rsplit('/').next().context("a session URL")?;
    for url in
        [format!("{ENDPOINT}/{}", "0".repeat(32)), format!("{ENDPOINT}/x"), format!("/whip/other/{name}")]
    {
        server.ask("DELETE", &url).await?.is(&[404]).context(url)?.refused_with_words()?;
    }
    server.ask("GET", &url).await?.is(&[200, 204])?;
    Ok(())
}

async fn preflight(server: &Server) -> Result<()> {
    let (url, _) = session(server).await?;
    for (url, method) in [(ENDPOINT, "POST"), (&url, "PATCH"), (&url, "DELETE")] {
        let request = server.request("OPTIONS", url).header("origin", "https://elsewhere.example");
        let request = request.header("access-control-request-method", method);
        let answer =
            Answer::of(request.header("access-control-request-headers", "authorization,if-match")).await?;
        let answer = answer.is(&[200, 204])?;
        ensure!(answer.header("access-control-allow-origin") == "*", "{:?}", answer.headers);
        ensure!(answer.header("access-control-allow-methods").contains(method), "{:?}", answer.headers);
        // A star would not cover Authorization (Fetch section 3.2.3).
        for header in ["Authorization", "Content-Type", "If-Match"] {
            ensure!(answer.header("access-control-allow-headers").contains(header), "{:?}", answer.headers);
        }
    }
    Ok(())
}

async fn options(server: &Server) -> Result<()> {
    let answer = server.ask("OPTIONS", ENDPOINT).await?.is(&[200])?;
    ensure!(answer.header("accept-post") == "application/sdp", "{:?}", answer.headers);
    let (url, _) = session(server).await?;
    let answer = server.ask("OPTIONS", &url).await?.is(&[200])?;
    ensure!(answer.header("accept-patch") == "application/trickle-ice-sdpfrag", "{:?}", answer.headers);
    ensure!(
        answer.header("allow").contains("PATCH") && answer.header("allow").contains("DELETE"),
        "{:?}",
        answer.headers
    );
    Ok(())
}

async fn cors_everywhere(server: &Server) -> Result<()> {
    let created = publish(server).await?;
    let url = created.session()?;
    let answers = [
        created,
        server.offer(ENDPOINT, "no offer").await?,
        server.patch(&url, None, "").await?,
        server.ask("PUT", ENDPOINT).await?,
        server.ask("OPTIONS", ENDPOINT).await?,
        server.ask("GET", "/nowhere").await?,
        server.ask("DELETE", &url).await?,
    ];
    let exposed = [
        "ETag",
        "Location",
        "Link",
        "Accept-Patch",
        "Accept-Post",
        "Retry-After",
        "Allow",
        "WWW-Authenticate",
    ];
    for answer in answers {
        let status = answer.status;
        ensure!(answer.header("access-control-allow-origin") == "*", "{status}: {:?}", answer.headers);
        for name in exposed {
            let shown = answer.header("access-control-expose-headers").split(", ").any(|one| one == name);
            ensure!(shown, "{status} does not expose {name}");
        }
    }
    Ok(())
}

async fn other_methods(server: &Server) -> Result<()> {
    let (url, _) = session(server).await?;
    for (method, url) in [
        ("PUT", ENDPOINT),
        ("PATCH", ENDPOINT),
        ("DELETE", ENDPOINT),
        ("POST", &url),
        ("PUT", &url),
        ("LINK", &url),
    ] {
        let answer = server.ask(method, url).await?.is(&[405]).context(method)?.refused_with_words()?;
        ensure!(
            !answer.header("allow").is_empty() && !answer.header("allow").contains(method),
            "{:?}",
            answer.headers
        );
    }
    Ok(())
}

async fn too_large(server: &Server) -> Result<()> {
    server.offer(ENDPOINT, &"v".repeat(1 << 20)).await?.is(&[413])?.refused_with_words()?;
    let (url, etag) = session(server).await?;
    server.patch(&url, Some(&etag), &"a".repeat(1 << 20)).await?.is(&[413])?.refused_with_words()?;
    Ok(())
}

async fn patch_content_type(server: &Server) -> Result<()> {
    let (url, etag) = session(server).await?;
    for kind in ["application/sdp", "text/plain", "application/trickle-ice-sdpfragment"] {
        let request = server.request("PATCH", &url).header("content-type", kind).header("if-match", &etag);
        let answer = Answer::of(request.body(offers::trickle(&[]))).await?.is(&[415]).context(kind)?;
        ensure!(answer.header("accept-patch") == "application/trickle-ice-sdpfrag", "{:?}", answer.headers);
    }
    Ok(())
}

async fn malformed_fragment(server: &Server) -> Result<()> {
    let (url, etag) = session(server).await?;
    for fragment in ["", "Please.", "a=candidate:\r\n", "v=0\r\nnonsense\r\n", "\0\0\0"] {
        let answer = server.patch(&url, Some(&etag), fragment).await?;
        answer.is(&[400, 422]).with_context(|| format!("{fragment:?}"))?.refused_with_words()?;
    }
    server.ask("GET", &url).await?.is(&[200, 204])?;
    Ok(())
}

async fn etag(server: &Server) -> Result<()> {
    let ((_, one), (_, other)) = (session(server).await?, session(server).await?);
    for tag in [&one, &other] {
        ensure!(tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"'), "{tag} is not strong");
    }
    ensure!(one != other, "two ICE sessions have the tag {one}");
    Ok(())
}

async fn delete_ignores_tags(server: &Server) -> Result<()> {
    let (url, _) = session(server).await?;
    Answer::of(server.request("DELETE", &url).header("if-match", "\"another\"")).await?.is(&[200])?;
    Ok(())
}

async fn missing_tag(server: &Server) -> Result<()> {
    let (url, _) = session(server).await?;
    server.patch(&url, None, &offers::trickle(&[])).await?.is(&[428])?.refused_with_words()?;
    Ok(())
}

async fn stale_tag(server: &Server) -> Result<()> {
    let (url, _) = session(server).await?;
    server.patch(&url, Some("\"another\""), &offers::trickle(&[])).await?.is(&[412])?.refused_with_words()?;
    Ok(())
}

const CANDIDATE: &str = "a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host";

async fn tag_in_a_list(server: &Server) -> Result<()> {
    let (url, etag) = session(server).await?;
    let list = format!("\"another\", {etag}");
    server.patch(&url, Some(&list), &offers::trickle(&[CANDIDATE])).await?.is(&[204])?;
    Ok(())
}

async fn weak_tag(server: &Server) -> Result<()> {
    let (url, etag) = session(server).await?;
    server.patch(&url, Some(&format!("W/{etag}")), &offers::trickle(&[CANDIDATE])).await?.is(&[412])?;
    Ok(())
}

async fn unreadable_tag(server: &Server) -> Result<()> {
    let (url, etag) = session(server).await?;
    let bare = etag.trim_matches('"');
    server.patch(&url, Some(bare), &offers::trickle(&[CANDIDATE])).await?.is(&[400])?.refused_with_words()?;
    Ok(())
}

async fn all_candidates(server: &Server) -> Result<()> {
    let answer = publish(server).await?;
    ensure!(!values(&answer.body, "candidate").is_empty(), "{}", answer.body);
    ensure!(answer.body.contains("a=end-of-candidates"), "{}", answer.body);
    Ok(())
}

async fn trickle(server: &Server) -> Result<()> {
    let (url, etag) = session(server).await?;
    for fragment in [offers::trickle(&[CANDIDATE]), offers::trickle(&["a=end-of-candidates"])] {
        let answer = server.patch(&url, Some(&etag), &fragment).await?.is(&[204])?;
        ensure!(answer.body.is_empty() && answer.header("etag").is_empty(), "{:?}", answer.headers);
    }
    Ok(())
}

async fn odd_candidates(server: &Server) -> Result<()> {
    let (url, etag) = session(server).await?;
    let odd = offers::trickle(&[
        "a=candidate:1 1 sctp 2122260223 192.0.2.1 61764 typ host",
        "a=candidate:2 1 udp 2122260223 8c8cc1a3-4a55-4d6b-9d2a-3e3b3c3f9d6f.local 61764 typ host",
        "a=candidate:3 1 udp 2122260223 no.such.name.invalid 61764 typ host",
        CANDIDATE,
    ]);
    server.patch(&url, Some(&etag), &odd).await?.is(&[204])?;
    Ok(())
}

async fn restart(server: &Server) -> Result<()> {
    let created = publish(server).await?;
    let (url, before) = (created.session()?, created.header("etag").to_owned());
    let answer = server.patch(&url, Some("*"), &offers::restart()).await?.is(&[200])?;
    ensure!(answer.header("content-type") == "application/trickle-ice-sdpfrag", "{:?}", answer.headers);
    let after = answer.header("etag").to_owned();
    ensure!(after.starts_with('"') && after != before, "the tag was {before} and is {after}");
    for attribute in ["ice-ufrag", "ice-pwd"] {
        let (old, new) = (values(&created.body, attribute), values(&answer.body, attribute));
        ensure!(!new.is_empty() && new[0] != old[0], "{attribute} was {old:?} and is {new:?}");
    }
    ensure!(!values(&answer.body, "candidate").is_empty(), "{}", answer.body);
    server.patch(&url, Some(&before), &offers::trickle(&[CANDIDATE])).await?.is(&[412])?;
    let trickled = offers::restart();
    server.patch(&url, Some(&after), &trickled).await?.is(&[200, 204]).context("the new tag")?;
    Ok(())
}

async fn restart_keeps_options(server: &Server) -> Result<()> {
    let created = publish(server).await?;
    let answer = server.patch(&created.session()?, Some("*"), &offers::restart()).await?.is(&[200])?;
    ensure!(created.body.contains("a=ice-lite") == answer.body.contains("a=ice-lite"), "{}", answer.body);
    let options = |sdp: &str| values(sdp, "ice-options").first().map(|value| (*value).to_owned());
    ensure!(options(&created.body) == options(&answer.body), "{}", answer.body);
    Ok(())
}

async fn quoted_star(server: &Server) -> Result<()> {
    let (url, _) = session(server).await?;
    server.patch(&url, Some("\"*\""), &offers::restart()).await?.is(&[200])?;
    Ok(())
}

async fn failed_restart(server: &Server) -> Result<()> {
    let (url, etag) = session(server).await?;
    let broken = offers::restart().replace("vw5LmwG4y/e6dPP/zAP9Gp5k", "short");
    server.patch(&url, Some("*"), &broken).await?.is(&[400, 422])?;
    server.patch(&url, Some(&etag), &offers::trickle(&[CANDIDATE])).await?.is(&[204])?;
    Ok(())
}

async fn bundle(server: &Server) -> Result<()> {
    let answer = publish(server).await?;
    ensure!(values(&answer.body, "group") == ["BUNDLE 0 1"], "{}", answer.body);
    for section in sections(&answer.body) {
        ensure!(section.contains("a=rtcp-mux\r\n"), "{section}");
        // RFC 9725 asks both sides for rtcp-mux-only, but RFC 8858 section 4.3, which it cites, forbids it in an answer.
        ensure!(!section.contains("rtcp-mux-only"), "{section}");
    }
    let apart = offers::without(&offers::publisher(), &["a=group"]);
    server.offer(ENDPOINT, &apart).await?.is(&[400, 422])?;
    Ok(())
}

async fn two_tracks(server: &Server) -> Result<()> {
    let offer = offers::publisher();
    let second = sections(&offer)[1].replace("a=mid:1", "a=mid:2");
    let three = format!("{}{second}", offer.replace("BUNDLE 0 1", "BUNDLE 0 1 2"));
    server.offer(ENDPOINT, &three).await?.is(&[400, 422])?.refused_with_words()?;
    Ok(())
}

async fn no_partial_answer(server: &Server) -> Result<()> {
    let offer = offers::publisher();
    let audio = sections(&offer)[0];
    let unknown_codecs = offers::without(audio, &["a=rtpmap", "a=fmtp", "a=rtcp-fb"]);
    let half = offer.replace(audio, &unknown_codecs.replace("111 63 9 0 8 13 110 126", "77"));
    server.offer(ENDPOINT, &half).await?.is(&[400, 422])?.refused_with_words()?;
    Ok(())
}

async fn setup(server: &Server) -> Result<()> {
    for role in ["actpass", "active"] {
        let offer = offers::publisher().replace("a=setup:actpass", &format!("a=setup:{role}"));
        let answer = server.offer(ENDPOINT, &offer).await?.is(&[201]).context(role)?;
        ensure!(values(&answer.body, "setup").iter().all(|role| *role == "passive"), "{}", answer.body);
    }
    Ok(())
}

async fn setup_refused(server: &Server) -> Result<()> {
    let offer = offers::publisher().replace("a=setup:actpass", "a=setup:passive");
    server.offer(ENDPOINT, &offer).await?.is(&[400, 422])?.refused_with_words()?;
    Ok(())
}

async fn no_redirect(server: &Server) -> Result<()> {
    for url in [ENDPOINT, "/whip/a/", "//whip/a"] {
        let answer = server.offer(url, &offers::publisher()).await?;
        ensure!(!matches!(answer.status, 301 | 302), "{url} answered {}", answer.status);
    }
    Ok(())
}

async fn random_urls(server: &Server) -> Result<()> {
    let ((one, _), (other, _)) = (session(server).await?, session(server).await?);
    let name = |url: &str| url.rsplit('/').next().unwrap_or_default().to_owned();
    ensure!(name(&one).len() >= 32 && name(&one) != name(&other), "{one} and {other}");
    // No two digits at the same place more often than chance would have it for 128 random bits.
    let same = name(&one).bytes().zip(name(&other).bytes()).filter(|(a, b)| a == b).count();
    ensure!(same < 16, "{one} and {other} have {same} digits in common");
    Ok(())
}
