//! Who is let in: the key a request shows, against the keys that its address asks for. Pure.
//!
//! A key comes as Bearer (RFC 6750 section 2.1), or as `?token=` where the client can set no header: players of HLS, `EventSource`.

use super::client::Client;
use super::reply::Problem;
use super::request::Request;
use crate::auth::{Action, Allowed, KeyHash, Refusal, allowed};
use crate::config::Config;
use crate::sessions::Owner;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use skywave_media::name::StreamName;
use std::net::IpAddr;

/// What of a key stands in a URL as it is (RFC 3986 section 2.3).
const IN_URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The parameter that carries a key.
const TOKEN: &str = "token";

/// What an address is guarded by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door<'a> {
    /// Nothing: pages, their assets, health.
    Open,
    /// The rules of a stream.
    Stream(Action, &'a StreamName),
    /// The keys of the API.
    Api,
}

/// Somebody who was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Visitor {
    client: Client,
    /// The key it was let in for; none where none is asked for.
    key: Option<KeyHash>,
    /// The key as it stood in the URL: what this visitor fetches next will carry it as well.
    carried: Option<String>,
}

impl Visitor {
    /// Where this visitor is, as far back as trusted proxies tell.
    pub(super) const fn address(&self) -> IpAddr {
        self.client.address
    }

    /// Whose a session is that this visitor opens.
    pub(super) fn owner(&self) -> Owner {
        Owner { address: self.client.address, key: self.key.clone() }
    }

    /// Whether a session of this key is this visitor's.
    pub(super) fn owns(&self, key: Option<&KeyHash>) -> bool {
        match (key, &self.key) {
            (None, _) => true,
            (Some(owner), Some(shown)) => owner.matches(shown),
            (Some(_), None) => false,
        }
    }

    /// The URL of a path of this server, for this visitor: with its key when it shows it so.
    pub(super) fn url(&self, path: &str) -> String {
        let url = self.client.url(path);
        match self.carried_query() {
            Some(query) => format!("{url}?{query}"),
            None => url,
        }
    }

    /// `token=..`, when the visitor shows its key in the URL.
    pub(super) fn carried_query(&self) -> Option<String> {
        self.carried.as_ref().map(|key| format!("{TOKEN}={}", utf8_percent_encode(key, IN_URL)))
    }

    /// Whether a key was asked for: the answer is for nobody else.
    pub(super) const fn is_private(&self) -> bool {
        self.key.is_some()
    }
}

/// Lets a request in, or says what is missing.
pub(super) fn admit(config: &Config, door: Door<'_>, request: &Request) -> Result<Visitor, Problem> {
    let client = Client::of(request.came.from, &request.headers, &config.http);
    let keys = match door {
        Door::Open => Allowed::Everybody,
        Door::Stream(action, stream) => allowed(&config.access, action, stream),
        Door::Api if !config.api.keys.is_empty() => Allowed::Keys(&config.api.keys),
        Door::Api if client.is_local || config.http.open => Allowed::Everybody,
        Door::Api => return Err(api_closed()),
    };
    if keys == Allowed::Everybody {
        return Ok(Visitor { client, key: None, carried: None });
    }
    let shown = shown(request.header("authorization"), &request.query)?;
    let (key, carried) = match shown {
        Shown::Nothing => (None, None),
        Shown::Bearer(key) => (Some(key), None),
        Shown::Query(key) => (Some(key.clone()), Some(key)),
    };
    let key = key.map(|key| KeyHash::of(&key));
    keys.judge(key.as_ref()).map_err(refused)?;
    Ok(Visitor { client, key, carried })
}

/// The query without the key, for what reads the rest of it.
pub(super) fn without_token(query: &str) -> String {
    let rest: Vec<&str> = query.split('&').filter(|pair| name_of(pair) != TOKEN).collect();
    rest.join("&")
}

/// A key as it came.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    Nothing,
    Bearer(String),
    Query(String),
}

fn shown(authorization: Option<&str>, query: &str) -> Result<Shown, Problem> {
    // A scheme we do not know is no key: the challenge says which one to use.
    let bearer = match authorization.map(|value| value.split_once(' ').unwrap_or((value, ""))) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => Some(key.trim()),
        _ => None,
    };
    let mut tokens = query.split('&').filter(|pair| name_of(pair) == TOKEN);
    let token = tokens.next().map(|pair| pair.split_once('=').map_or("", |(_, value)| value));
    let token = token.map(|value| percent_decode_str(value).decode_utf8());
    match (bearer, token) {
        (Some(""), _) => Err(malformed("the Authorization header has no token after Bearer")),
        (Some(key), _) if key.contains(' ') => {
            Err(malformed("the Authorization header has more than one word after Bearer"))
        }
        (_, Some(_)) if tokens.next().is_some() => Err(malformed("the URL has more than one token=")),
        (_, Some(Err(_))) => Err(malformed("the token in the URL is not UTF-8")),
        // RFC 6750 section 2: one way at a time. The same key in both is no contradiction (a page that adds its header to every URL).
        (Some(key), Some(Ok(token))) if key != token => {
            Err(malformed("the Authorization header and the URL show different keys"))
        }
        (Some(key), _) => Ok(Shown::Bearer(key.to_owned())),
        (None, Some(Ok(token))) if !token.is_empty() => Ok(Shown::Query(token.into_owned())),
        (None, _) => Ok(Shown::Nothing),
    }
}

fn name_of(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(name, _)| name)
}

/// RFC 6750 section 3: every challenge names the scheme; an error stands in it only when a key was shown.
fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::KeyMissing => {
            let words = "a key is needed here: send it as Authorization: Bearer KEY, or as ?token=KEY";
            Problem::new(401, "Key needed", words).with_header("www-authenticate", "Bearer realm=\"skywave\"")
        }
        Refusal::KeyUnknown => {
            let challenge = "Bearer realm=\"skywave\", error=\"invalid_token\", error_description=\"this key does not open this stream\"";
            Problem::new(401, "Key refused", "this key does not open what was asked for")
                .with_header("www-authenticate", challenge)
        }
    }
}

fn malformed(words: &'static str) -> Problem {
    Problem::new(400, "Key not readable", words)
        .with_header("www-authenticate", "Bearer realm=\"skywave\", error=\"invalid_request\"")
}

/// No key would help: none is configured.
fn api_closed() -> Problem {
    let words = "without api.keys in the configuration only the machine itself may use this; \
                 make a key with `skywave token new` and put its hash there";
    Problem::new(403, "Not from here", words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::AccessRule;
    use crate::http::request::Came;
    use warp::http::{HeaderMap, HeaderName, HeaderValue, Method};

    fn request(peer: &str, query: &str, headers: &[(&str, &str)]) -> Request {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let came = Came { from: peer.parse().unwrap(), redirect_to: None };
        Request::without_body(came, Method::GET, "/".to_owned(), query.to_owned(), map)
    }

    fn config() -> Config {
        let rule = AccessRule {
            stream: "demo".to_owned().try_into().unwrap(),
            publish: Some(vec![KeyHash::of("pub-key")]),
            view: Some(vec![KeyHash::of("view+key")]),
        };
        Config { access: vec![rule], ..Config::default() }
    }

    fn view(query: &str, headers: &[(&str, &str)]) -> Result<Visitor, Problem> {
        let stream = "demo".parse().unwrap();
        admit(&config(), Door::Stream(Action::View, &stream), &request("192.0.2.1", query, headers))
    }

    fn challenge(problem: Problem) -> (u16, String) {
        let reply = problem.into_reply();
        let challenge = reply.headers().get("www-authenticate").map(|v| v.to_str().unwrap().to_owned());
        (reply.status().as_u16(), challenge.unwrap_or_default())
    }

    #[test]
    fn the_right_key_opens_however_it_is_shown() {
        let by_header = view("", &[("authorization", "bearer view+key")]).unwrap();
        assert_eq!(by_header.url("/x"), "/x");
        let by_url = view("a=b&token=view%2Bkey", &[]).unwrap();
        assert_eq!(by_url.url("/x"), "/x?token=view%2Bkey");
        assert_eq!(by_url.owner().key, Some(KeyHash::of("view+key")));
        assert!(view("token=view%2Bkey", &[("authorization", "Bearer view+key")]).is_ok());
    }

    #[test]
    fn each_refusal_has_its_challenge() {
        let plain = "Bearer realm=\"skywave\"".to_owned();
        assert_eq!(challenge(view("", &[]).unwrap_err()), (401, plain.clone()));
        assert_eq!(challenge(view("token=", &[("authorization", "Basic abc")]).unwrap_err()), (401, plain));
        for wrong in ["Bearer pub-key", "Bearer view+keys"] {
            let (status, words) = challenge(view("", &[("authorization", wrong)]).unwrap_err());
            assert!(status == 401 && words.contains("invalid_token"), "{wrong}: {words}");
        }
        for (query, header) in [
            ("", "Bearer "),
            ("", "Bearer"),
            ("", "Bearer a b"),
            ("token=a&token=b", "x"),
            ("token=x", "Bearer view+key"),
        ] {
            let (status, words) = challenge(view(query, &[("authorization", header)]).unwrap_err());
            assert!(status == 400 && words.contains("invalid_request"), "{query} {header}: {words}");
        }
    }

    #[test]
    fn a_session_is_its_owners() {
        let visitor = view("", &[("authorization", "Bearer view+key")]).unwrap();
        assert!(visitor.owns(Some(&KeyHash::of("view+key"))) && visitor.owns(None));
        assert!(!visitor.owns(Some(&KeyHash::of("other"))));
    }

    #[test]
    fn the_api_is_open_to_the_machine_itself_until_it_has_keys() {
        let ask = |config: &Config, peer: &str, key: Option<&str>| {
            let header = key.map(|key| ("authorization", format!("Bearer {key}")));
            let headers: Vec<(&str, &str)> = header.iter().map(|(n, v)| (*n, v.as_str())).collect();
            admit(config, Door::Api, &request(peer, "", &headers)).map_err(|p| p.status())
        };
        let mut config = Config::default();
        assert!(ask(&config, "127.0.0.1", None).is_ok());
        assert_eq!(ask(&config, "192.0.2.1", None).unwrap_err(), 403);
        config.http.open = true;
        assert!(ask(&config, "192.0.2.1", None).is_ok());
        config.api.keys = vec![KeyHash::of("api-key")];
        assert_eq!(ask(&config, "127.0.0.1", None).unwrap_err(), 401);
        assert!(ask(&config, "192.0.2.1", Some("api-key")).is_ok());
    }

    #[test]
    fn the_rest_of_the_query_is_kept() {
        assert_eq!(without_token("_HLS_msn=3&token=x&_HLS_part=1"), "_HLS_msn=3&_HLS_part=1");
        assert_eq!(without_token("token=x"), "");
        assert_eq!(without_token("tokens=x"), "tokens=x");
    }
}
