//! From HTTP to HTTPS, where the configuration wants it (`tls.redirect`). Pure.

use super::client::{self, Client};
use super::path::Route;
use super::reply::{self, Problem, Reply};
use super::request::Request;
use crate::config::Http;
use warp::http::Method;

/// The port of HTTPS that a URL need not name.
const DEFAULT_PORT: u16 = 443;

/// The answer to who should have come by HTTPS; `None` for those who may go on.
///
/// Not sent away are preflights, which browsers do not let be redirected (Fetch section 4.8), those who watch over the machine itself,
/// and the clients of a trusted proxy that says they came by HTTPS. 307, not 301 or 308: browsers keep those for ever, also when TLS
/// has been turned off again; and the method stays (RFC 9110 section 15.4.8), as WHIP's clients need it.
pub(super) fn to_https(config: &Http, route: &Route, request: &Request) -> Option<Reply> {
    let port = request.came.redirect_to?;
    if request.method == Method::OPTIONS || matches!(route, Route::Healthz | Route::Readyz | Route::Metrics) {
        return None;
    }
    if Client::of(request.came.from, &request.headers, config).is_by_https() {
        return None;
    }
    let base = match config.public_url.as_str() {
        url if url.starts_with("https://") => url.to_owned(),
        _ => {
            let Some(host) = request.header("host").filter(|host| client::is_host(host)) else {
                let words = "this server wants HTTPS, and the request has no Host that says where to go";
                return Some(Problem::new(400, "HTTPS needed", words).into_reply());
            };
            let port = if port == DEFAULT_PORT { String::new() } else { format!(":{port}") };
            format!("https://{}{port}", without_port(host))
        }
    };
    let mark = if request.query.is_empty() { "" } else { "?" };
    let mut reply = reply::empty(307);
    let headers = reply.headers_mut();
    headers
        .insert("location", reply::header_value(&format!("{base}{}{mark}{}", request.path, request.query)));
    headers.insert("cache-control", reply::header_value("no-store"));
    Some(reply)
}

/// `[::1]:8080` is `[::1]`, `live.example:80` is `live.example`.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::Came;
    use super::*;
    use crate::config::Network;
    use crate::http::path;
    use warp::http::{HeaderMap, HeaderName, HeaderValue};

    fn sent_to(
        port: Option<u16>,
        config: &Http,
        url: &str,
        headers: &[(&str, &str)],
    ) -> Option<(u16, String)> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let came = Came { from: [127, 0, 0, 1].into(), redirect_to: port };
        let request = Request::without_body(came, Method::GET, path.to_owned(), query.to_owned(), map);
        let reply = to_https(config, &path::parse(path).unwrap(), &request)?;
        let location = reply.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
        Some((reply.status().as_u16(), location.unwrap_or_default()))
    }

    #[test]
    fn who_comes_by_http_is_sent_to_the_same_address_on_https() {
        let http = Http::default();
        for (host, port, base) in [
            ("live.example:8080", 8443, "https://live.example:8443"),
            ("live.example", 443, "https://live.example"),
            ("[::1]:8080", 8443, "https://[::1]:8443"),
            ("[::1]", 443, "https://[::1]"),
        ] {
            let sent = sent_to(Some(port), &http, "/hls/demo/index.m3u8?token=k", &[("host", host)]);
            assert_eq!(sent, Some((307, format!("{base}/hls/demo/index.m3u8?token=k"))));
        }
        assert_eq!(sent_to(None, &http, "/", &[("host", "a")]), None);
        assert_eq!(sent_to(Some(1), &http, "/", &[]), Some((400, String::new())));
        assert_eq!(sent_to(Some(1), &http, "/", &[("host", "a/b")]), Some((400, String::new())));
    }

    #[test]
    fn the_public_url_wins_and_proxies_and_watchmen_are_left_alone() {
        let mut http = Http { public_url: "https://live.example/base".to_owned(), ..Http::default() };
        let sent = sent_to(Some(8443), &http, "/watch/demo", &[("host", "10.0.0.1:8080")]);
        assert_eq!(sent, Some((307, "https://live.example/base/watch/demo".to_owned())));
        assert_eq!(sent_to(Some(8443), &http, "/healthz", &[("host", "a")]), None);
        let by_proxy = [("host", "a"), ("x-forwarded-proto", "https")];
        assert!(sent_to(Some(8443), &http, "/", &by_proxy).is_some(), "an unknown proxy is not believed");
        http.trusted_proxies = vec![Network::try_from("127.0.0.1".to_owned()).unwrap()];
        assert_eq!(sent_to(Some(8443), &http, "/", &by_proxy), None);
    }
}
