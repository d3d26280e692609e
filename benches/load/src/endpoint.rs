//! The HTTP side of WHEP and WHIP (RFC 9725 section 4, draft-ietf-wish-whep): an offer is posted, an answer comes, the session is
//! deleted at the end.

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, InvalidHeaderValue, LOCATION};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// A server that has not answered by then has failed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for the end of a session: a run must come to its end.
const DELETE_TIMEOUT: Duration = Duration::from_secs(5);
/// Redirections followed (RFC 9725 section 4.5 knows 307).
const MAX_HOPS: usize = 5;
/// An answer is some kilobytes; more is not read.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// So much of an error's body is shown.
const SHOWN: usize = 120;

/// Why a URL is not used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It is no URL for this.
    #[error("{url:?} is not an http or https URL: {reason}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// Its host has no address.
    #[error("{host} has no address: {reason}")]
    Unresolved {
        /// The host.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// It leads to another machine.
    #[error("{host} is not this machine ({address}); load on others' servers needs --allow-remote")]
    Remote {
        /// The host.
        host: String,
        /// Its address.
        address: IpAddr,
    },
    /// The key cannot be a header.
    #[error("the token cannot be sent in a header: {0}")]
    Token(#[from] InvalidHeaderValue),
    /// The HTTP client could not be made.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(#[source] reqwest::Error),
}

/// Why a session was not opened, or not deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("{status}{detail}")]
    Refused { status: StatusCode, detail: String },
    #[error("the request failed: {0}")]
    Failed(String),
    #[error("no answer in time")]
    TimedOut,
    #[error("redirected {MAX_HOPS} times")]
    TooManyHops,
    #[error("a redirection without a usable Location")]
    NoWhere,
    #[error("redirected to another machine")]
    RedirectedAway,
    #[error("the answer is longer than {MAX_ANSWER_BYTES} bytes")]
    TooLong,
}

/// What a server gave for an offer.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) answer: String,
    /// The session's URL; some servers give none.
    pub(crate) session: Option<Url>,
    /// From the request to the whole answer.
    pub(crate) took: Duration,
}

/// A WHEP or WHIP URL that may be used.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    url: Url,
    client: Client,
    authorization: Option<HeaderValue>,
    allow_remote: bool,
    /// One address of the host.
    pub(crate) address: SocketAddr,
}

impl Endpoint {
    /// Checks `url`. Nothing is sent to it.
    pub(crate) async fn new(url: &str, token: Option<&str>, allow_remote: bool) -> Result<Self, TargetError> {
        let parsed = Url::parse(url).map_err(|e| e.to_string()).and_then(|url| match url.scheme() {
            "http" | "https" => Ok(url),
            other => Err(format!("the scheme is {other}")),
        });
        let url = parsed.map_err(|reason| TargetError::Url { url: url.to_owned(), reason })?;
        let addresses = resolve(&url).await?;
        if !allow_remote && let Some(away) = addresses.iter().find(|a| !a.ip().is_loopback()) {
            let host = url.host_str().unwrap_or_default().to_owned();
            return Err(TargetError::Remote { host, address: away.ip() });
        }
        let authorization = match token {
            Some(token) => {
                let mut value = HeaderValue::try_from(format!("Bearer {token}"))?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        // Proxies of the environment are for the web, not for a server under test; redirections are followed by hand, because the
        // method and the body must stay.
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(TargetError::Client)?;
        let address = addresses[0];
        Ok(Self { url, client, authorization, allow_remote, address })
    }

    /// Posts an offer.
    pub(crate) async fn open(&self, offer: String) -> Result<Opened, RequestError> {
        let begin = Instant::now();
        let exchange = async {
            let (url, response) = self.send(Method::POST, self.url.clone(), Some(offer)).await?;
            let session = response.headers().get(LOCATION).and_then(|l| l.to_str().ok());
            let session = session.and_then(|location| url.join(location).ok());
            let answer = read(response).await?;
            Ok(Opened { answer, session, took: begin.elapsed() })
        };
        tokio::time::timeout(ANSWER_TIMEOUT, exchange).await.unwrap_or(Err(RequestError::TimedOut))
    }

    /// Ends a session.
    pub(crate) async fn delete(&self, session: Url) -> Result<(), RequestError> {
        if !self.allowed(&session).await {
            return Err(RequestError::RedirectedAway);
        }
        let exchange = self.send(Method::DELETE, session, None);
        match tokio::time::timeout(DELETE_TIMEOUT, exchange).await {
            Ok(result) => result.map(|_| ()),
            Err(_) => Err(RequestError::TimedOut),
        }
    }

    /// Sends, follows redirections, and gives the last URL with a response that says it went well.
    async fn send(
        &self,
        method: Method,
        mut url: Url,
        body: Option<String>,
    ) -> Result<(Url, Response), RequestError> {
        for _ in 0..=MAX_HOPS {
            let mut request = self.client.request(method.clone(), url.clone());
            if let Some(offer) = &body {
                request = request.header(CONTENT_TYPE, "application/sdp").header(ACCEPT, "application/sdp");
                request = request.body(offer.clone());
            }
            // A key is for the server it was given for.
            if let Some(value) = self.authorization.as_ref().filter(|_| url.origin() == self.url.origin()) {
                request = request.header(AUTHORIZATION, value.clone());
            }
            let response = request.send().await.map_err(|e| RequestError::Failed(root_cause(&e)))?;
            match response.status() {
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => {
                    let location = response.headers().get(LOCATION).and_then(|l| l.to_str().ok());
                    url = location.and_then(|l| url.join(l).ok()).ok_or(RequestError::NoWhere)?;
                    if !self.allowed(&url).await {
                        return Err(RequestError::RedirectedAway);
                    }
                }
                status if status.is_success() => return Ok((url, response)),
                status => return Err(refused(status, response).await),
            }
        }
        Err(RequestError::TooManyHops)
    }

    async fn allowed(&self, url: &Url) -> bool {
        if self.allow_remote || url.origin() == self.url.origin() {
            return true;
        }
        resolve(url).await.is_ok_and(|addresses| addresses.iter().all(|a| a.ip().is_loopback()))
    }
}

async fn resolve(url: &Url) -> Result<Vec<SocketAddr>, TargetError> {
    let host = url.host_str().unwrap_or_default();
    let unresolved = |reason: String| TargetError::Unresolved { host: host.to_owned(), reason };
    let port = url.port_or_known_default().unwrap_or(80);
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = tokio::net::lookup_host((name, port)).await.map_err(|e| unresolved(e.to_string()))?;
    let addresses: Vec<_> = addresses.collect();
    if addresses.is_empty() { Err(unresolved("none found".to_owned())) } else { Ok(addresses) }
}

async fn read(mut response: Response) -> Result<String, RequestError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| RequestError::Failed(root_cause(&e)))? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(RequestError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// The status, and what the server had to say about it.
async fn refused(status: StatusCode, response: Response) -> RequestError {
    // The status is the reason; without a readable body it stands alone.
    let body = read(response).await.unwrap_or_default();
    let words: String = body.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SHOWN).collect();
    let detail = if words.is_empty() { String::new() } else { format!(": {words}") };
    RequestError::Refused { status, detail }
}

/// The innermost error: "connection refused" rather than "error sending request".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
