//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep) over HTTP, which are alike here: the offer goes out, the answer comes back,
//! DELETE ends it (RFC 9725 section 4).

use super::ClientError;
use super::ice::{self, IceServer};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, LINK, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, Response, StatusCode, Url};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Time for the TCP (and TLS) connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Time for a whole request. Servers that start something for a publisher take seconds.
const REQUEST_LIMIT: Duration = Duration::from_secs(15);

/// Time for OPTIONS and DELETE, which nothing depends on.
const COURTESY_LIMIT: Duration = Duration::from_secs(3);

/// Redirects followed one after another.
const MAX_REDIRECTS: usize = 5;

/// An SDP answer, or the text of an error, is not longer than this.
const MAX_BODY_BYTES: usize = 256 * 1024;

/// Characters of the server's own words that are shown.
const MAX_SAID_CHARS: usize = 300;

/// Longest wait a `Retry-After` can impose.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

const SDP: &str = "application/sdp";

/// Which way media flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// To the server.
    Whip,
    /// From the server.
    Whep,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Whip => "WHIP",
            Self::Whep => "WHEP",
        })
    }
}

/// A WHIP or WHEP endpoint.
#[derive(Debug)]
pub(crate) struct Endpoint {
    protocol: Protocol,
    url: Url,
    token: Option<String>,
    tls_ca: Option<PathBuf>,
}

/// What the server made of an offer.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The SDP answer.
    pub answer: String,
    /// The session, where DELETE goes.
    pub session: Session,
    /// ICE servers named in `Link` headers.
    pub ice_servers: Vec<IceServer>,
}

/// A session on the server. It stays until [`Session::delete`], or until the server notices.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// Its URL.
    pub url: Url,
    client: Client,
    token: Option<String>,
}

impl Endpoint {
    /// Reads the URL.
    pub(crate) fn new(
        protocol: Protocol,
        url: &str,
        token: Option<String>,
        tls_ca: Option<PathBuf>,
    ) -> Result<Self, ClientError> {
        let wrong = |why: &str| ClientError::Option(format!("`{url}` is no {protocol} URL: {why}"));
        let parsed = Url::parse(url).map_err(|e| wrong(&e.to_string()))?;
        if !["http", "https"].contains(&parsed.scheme()) {
            return Err(wrong("it begins with http:// or https://"));
        }
        if token.as_deref().is_some_and(|t| t.is_empty() || !t.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(ClientError::Option(
                "the token is empty or has characters a token cannot have".into(),
            ));
        }
        Ok(Self { protocol, url: parsed, token, tls_ca })
    }

    /// The addresses of the server, to find out whether it is this machine. Empty when its name has none.
    async fn addresses(&self) -> Vec<SocketAddr> {
        let Some(host) = self.url.host_str() else { return Vec::new() };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = self.url.port_or_known_default().unwrap_or(443);
        tokio::net::lookup_host((host, port)).await.map(Iterator::collect).unwrap_or_default()
    }

    /// ICE servers the endpoint names before it is given an offer (RFC 9725 section 4.6). Servers that do not know OPTIONS
    /// name none.
    async fn ice_servers(&self) -> Vec<IceServer> {
        let Ok(client) = self.client(&self.url) else { return Vec::new() };
        let request =
            self.authorized(client.request(Method::OPTIONS, self.url.clone())).timeout(COURTESY_LIMIT);
        match request.send().await {
            Ok(response) if response.status().is_success() => ice_servers(response.headers()),
            _ => Vec::new(),
        }
    }

    /// What an offer to it must be gathered with: the ICE servers of `given` and its own, and the local addresses that libnice
    /// has to be told (see [`ice::local_addresses`]).
    pub(crate) async fn ways(&self, given: &[IceServer]) -> (Vec<IceServer>, Vec<IpAddr>) {
        let mut servers = given.to_vec();
        for server in self.ice_servers().await {
            if !servers.contains(&server) {
                servers.push(server);
            }
        }
        (servers, ice::local_addresses(&self.addresses().await))
    }

    /// Posts an offer.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, refuses, or speaks another protocol.
    pub(crate) async fn post(&self, offer: &str) -> Result<Accepted, ClientError> {
        let mut url = self.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let client = self.client(&url)?;
            let request =
                client.post(url.clone()).header(CONTENT_TYPE, SDP).header(ACCEPT, SDP).body(offer.to_owned());
            let request = self.authorized(request).timeout(REQUEST_LIMIT);
            let response = request.send().await.map_err(|e| unreachable(&url, &e))?;
            match response.status() {
                StatusCode::CREATED => return self.accepted(url, client, response).await,
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => {
                    url = self.redirected(&url, response.headers())?;
                    tracing::debug!(%url, "redirected");
                }
                _ => return Err(self.refused(&url, response).await),
            }
        }
        Err(self.bad(&self.url, format!("it redirected more than {MAX_REDIRECTS} times")))
    }

    async fn accepted(&self, url: Url, client: Client, response: Response) -> Result<Accepted, ClientError> {
        let headers = response.headers();
        let location = header(headers, LOCATION.as_str())
            .ok_or_else(|| self.bad(&url, "its 201 has no Location header (RFC 9725 section 4.2)".into()))?;
        let session_url = url
            .join(location)
            .map_err(|e| self.bad(&url, format!("its Location `{location}` is no URL: {e}")))?;
        let session = Session { url: session_url, client, token: self.token.clone() };
        let ice_servers = ice_servers(headers);
        let content_type = header(headers, CONTENT_TYPE.as_str()).unwrap_or_default().to_ascii_lowercase();
        if !content_type.starts_with(SDP) {
            // The session exists nevertheless: let go of it.
            session.delete().await;
            return Err(self.bad(&url, format!("its answer is `{content_type}`, not {SDP}")));
        }
        match body(response).await {
            Some(answer) => Ok(Accepted { answer, session, ice_servers }),
            None => {
                session.delete().await;
                Err(self.bad(&url, "its answer is cut short, not UTF-8 or longer than 256 KiB".into()))
            }
        }
    }

    /// Where a redirect leads. The token goes along, so the way must not become less secret.
    fn redirected(&self, from: &Url, headers: &HeaderMap) -> Result<Url, ClientError> {
        let location = header(headers, LOCATION.as_str())
            .ok_or_else(|| self.bad(from, "it redirects to nowhere".into()))?;
        let to =
            from.join(location).map_err(|e| self.bad(from, format!("it redirects to `{location}`: {e}")))?;
        if !["http", "https"].contains(&to.scheme()) {
            return Err(self.bad(from, format!("it redirects to `{to}`")));
        }
        if from.scheme() == "https" && to.scheme() == "http" && self.token.is_some() {
            return Err(
                self.bad(from, format!("it redirects to `{to}`, where the token would travel unencrypted"))
            );
        }
        Ok(to)
    }

    /// The SDP of its answer does not answer the offer.
    pub(crate) fn bad_answer(&self, reason: String) -> ClientError {
        self.bad(&self.url, reason)
    }

    fn bad(&self, url: &Url, reason: String) -> ClientError {
        ClientError::BadAnswer { protocol: self.protocol, url: url.to_string(), reason }
    }

    async fn refused(&self, url: &Url, response: Response) -> ClientError {
        let status = response.status();
        let retry_after = header(response.headers(), RETRY_AFTER.as_str())
            .and_then(|text| text.trim().parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER));
        let content_type =
            header(response.headers(), CONTENT_TYPE.as_str()).unwrap_or_default().to_ascii_lowercase();
        let said = body(response).await.map(|text| words(&content_type, &text)).unwrap_or_default();
        ClientError::Refused {
            url: url.to_string(),
            status: status.as_u16(),
            advice: advice(self.protocol, status, self.token.is_some()).into(),
            said,
            retry_after,
        }
    }

    fn authorized(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        }
    }

    fn client(&self, url: &Url) -> Result<Client, ClientError> {
        let mut builder = Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("skywave/", env!("CARGO_PKG_VERSION")));
        let option = |path: &PathBuf, why: String| ClientError::Option(format!("{}: {why}", path.display()));
        if let Some(path) = &self.tls_ca {
            let pem = std::fs::read(path).map_err(|e| option(path, e.to_string()))?;
            let certificates =
                reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| option(path, because(&e)))?;
            builder = builder.tls_certs_only(certificates);
        } else if url.scheme() == "http" {
            // Machines without any installed certificate can still publish over plain HTTP.
            builder = builder.tls_certs_only([]);
        }
        builder.build().map_err(|e| ClientError::Option(format!("HTTP client: {}", because(&e))))
    }
}

impl Session {
    /// Ends the session. A server that is gone needs no DELETE, so failures are only logged.
    pub(crate) async fn delete(&self) {
        let mut request = self.client.delete(self.url.clone()).timeout(COURTESY_LIMIT);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        match request.send().await {
            Ok(response) if response.status().is_success() => {}
            Ok(response) => {
                tracing::warn!(session = %self.url, status = %response.status(), "DELETE refused");
            }
            Err(error) => tracing::warn!(session = %self.url, error = %because(&error), "DELETE failed"),
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|v| v.to_str().ok())
}

fn unreachable(url: &Url, error: &reqwest::Error) -> ClientError {
    let reason = if error.is_timeout() { "no answer in time".into() } else { because(error) };
    ClientError::Unreachable { url: url.to_string(), reason }
}

/// The innermost cause: "Connection refused", not "error sending request".
fn because(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// The whole body as text, if it is short enough.
async fn body(mut response: Response) -> Option<String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        if bytes.len() + chunk.len() > MAX_BODY_BYTES {
            return None;
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).ok()
}

/// What a status means, and what to do.
fn advice(protocol: Protocol, status: StatusCode, with_token: bool) -> &'static str {
    let publishing = protocol == Protocol::Whip;
    match status.as_u16() {
        400 | 422 => "the server does not accept this offer",
        401 if with_token => "the token is wrong or has expired",
        401 if publishing => "a token is needed to publish here",
        401 => "a token is needed to watch here",
        403 if publishing => "this token does not allow publishing this stream",
        403 => "this token does not allow watching this stream",
        404 | 410 if publishing => "there is no WHIP endpoint at this address; Skywave's are /whip/STREAM",
        404 | 410 => "nothing is on air there, or it is no WHEP endpoint; Skywave's are /whep/STREAM",
        405 if publishing => "this address does not take publishers; is it a page or a WHEP address?",
        405 => "this address does not take viewers; is it a page or a WHIP address?",
        406 if publishing => "the server speaks none of the codecs offered; try another video codec",
        406 => "the stream has none of the codecs offered; try --video any",
        409 if publishing => "somebody else is publishing this stream",
        409 => "the stream is not in a state to be watched",
        413 => "the offer is too long for the server",
        415 if publishing => "the server does not take SDP; this is no WHIP endpoint",
        415 => "the server does not take SDP; this is no WHEP endpoint",
        429 => "too many requests; wait before the next attempt",
        503 => "the server is busy or shutting down",
        500..=599 => "the server has failed",
        200..=299 if publishing => "a WHIP server answers 201; this is no WHIP endpoint",
        200..=299 => "a WHEP server answers 201; this is no WHEP endpoint",
        300..=399 => "only redirects by 307 and 308 keep the offer; use the final address",
        _ => "the server refuses",
    }
}

/// The server's own words: title and detail of a problem document (RFC 9457), or the start of a text.
fn words(content_type: &str, body: &str) -> String {
    let text = if content_type.contains("json") {
        let problem = serde_json::from_str::<serde_json::Value>(body).unwrap_or_default();
        let part =
            |name: &str| problem.get(name).and_then(|v| v.as_str()).unwrap_or_default().trim().to_owned();
        match (part("title"), part("detail")) {
            (title, detail) if title.is_empty() || detail.is_empty() => title + &detail,
            (title, detail) => format!("{title}: {detail}"),
        }
    } else if content_type.contains("html") {
        String::new()
    } else {
        body.to_owned()
    };
    // Control characters could rewrite the terminal.
    let clean = text.split_whitespace().collect::<Vec<_>>().join(" ").replace(|c: char| c.is_control(), "");
    clean.chars().take(MAX_SAID_CHARS).collect()
}

/// The servers of all `Link: <uri>; rel="ice-server"; ..` headers (RFC 9725 section 4.6, RFC 8288).
fn ice_servers(headers: &HeaderMap) -> Vec<IceServer> {
    headers
        .get_all(LINK)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|text| outside_quotes(text, ','))
        .filter_map(|link| {
            let (uri, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
            let parameters: Vec<_> = outside_quotes(parameters, ';')
                .into_iter()
                .filter_map(|p| p.split_once('='))
                .map(|(name, value)| (name.trim().to_ascii_lowercase(), unquote(value.trim())))
                .collect();
            let get = |name: &str| parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
            if !get("rel")?.split_whitespace().any(|r| r.eq_ignore_ascii_case("ice-server")) {
                return None;
            }
            IceServer::from_link(uri.trim(), get("username"), get("credential"))
        })
        .collect()
}

/// Splits at `separator`, but not inside quotation marks nor inside angle brackets.
fn outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped, mut bracketed) = (Vec::new(), 0, false, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if !bracketed => quoted = !quoted,
            '<' if !quoted => bracketed = true,
            '>' if !quoted => bracketed = false,
            c if c == separator && !quoted && !bracketed => {
                parts.push(&text[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// A token or quoted string (RFC 9110 section 5.6.4) without its quotation marks.
fn unquote(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')) else {
        return value.to_owned();
    };
    let (mut out, mut escaped) = (String::new(), false);
    for character in inner.chars() {
        if character == '\\' && !escaped {
            escaped = true;
        } else {
            out.push(character);
            escaped = false;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ice_servers_are_read_from_link_headers() {
        let mut headers = HeaderMap::new();
        let links = [
            r#"<stun:stun.example.net>; rel="ice-server", </style.css>; rel=preload"#,
            r#"<turn:turn.example.net?transport=udp>; rel="ice-server"; username="a;b,\"c"; credential="p"; credential-type="password""#,
            r#"<turn:no-credentials>; rel="ice-server""#,
            r"broken",
        ];
        for link in links {
            headers.append(LINK, link.parse().unwrap());
        }
        assert_eq!(
            ice_servers(&headers),
            [
                IceServer::Stun("stun://stun.example.net:3478".into()),
                IceServer::Turn("turn://a%3Bb%2C%22c:p@turn.example.net:3478?transport=udp".into()),
            ]
        );
    }

    #[test]
    fn the_servers_words_are_short_and_harmless() {
        assert_eq!(words("application/problem+json", r#"{"title":"No","detail":"because"}"#), "No: because");
        assert_eq!(words("application/problem+json", r#"{"detail":"because"}"#), "because");
        assert_eq!(words("application/json", "[]"), "");
        assert_eq!(words("text/plain", "a\n\n b\u{1b}[2J"), "a b[2J");
        assert_eq!(words("text/html", "<html>"), "");
        assert_eq!(words("", &"x".repeat(5000)).len(), MAX_SAID_CHARS);
    }

    #[test]
    fn urls_and_tokens_are_checked_before_anything_is_started() {
        let why = |url: &str| Endpoint::new(Protocol::Whip, url, None, None).unwrap_err().to_string();
        assert!(why("rtmp://x/y").contains("http://"));
        assert!(why("demo").contains("no WHIP URL"));
        assert!(Endpoint::new(Protocol::Whip, "http://x/", Some("a b".into()), None).is_err());
        assert!(Endpoint::new(Protocol::Whip, "http://x/", Some("a.b-c_d".into()), None).is_ok());
    }

    #[test]
    fn a_token_never_leaves_https() {
        let endpoint = Endpoint::new(Protocol::Whip, "https://a/whip/x", Some("t".into()), None).unwrap();
        let to = |location: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, location.parse().unwrap());
            endpoint.redirected(&endpoint.url, &headers).map(String::from)
        };
        assert!(to("http://b/whip/x").unwrap_err().to_string().contains("unencrypted"));
        assert_eq!(to("https://b/whip/x").unwrap(), "https://b/whip/x");
        assert_eq!(to("/whip/y").unwrap(), "https://a/whip/y");
    }
}
