//! Where a request really comes from, and which address its client knows this server by. Pure.
//!
//! A reverse proxy says both in `Forwarded` (RFC 7239) or `X-Forwarded-*`; it is believed only when the configuration trusts it,
//! because anybody can send these headers.

use crate::config::{Http, Network};
use std::net::IpAddr;
use warp::http::HeaderMap;

/// Headers by which proxies speak of the client.
const FORWARDING: [&str; 4] = ["forwarded", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Client {
    /// Its address, as far back as trusted proxies tell.
    pub(super) address: IpAddr,
    /// It runs on this machine. Not so when an unknown proxy on this machine speaks for it.
    pub(super) is_local: bool,
    /// A trusted proxy says that it came by HTTPS.
    is_by_https: bool,
    /// What it sees before the paths, without `/` at the end; empty when that is not known and URLs are relative.
    base: String,
}

/// What one proxy says of whom it got the request from.
#[derive(Debug, Default, PartialEq, Eq)]
struct Hop {
    address: Option<IpAddr>,
    scheme: Option<String>,
    host: Option<String>,
}

impl Client {
    /// Reads the headers of a request that came from `peer`.
    pub(super) fn of(peer: IpAddr, headers: &HeaderMap, config: &Http) -> Self {
        let is_trusted = |address: IpAddr| is_in(&config.trusted_proxies, address);
        let peer = peer.to_canonical();
        let forwarded = FORWARDING.iter().any(|name| headers.contains_key(*name));
        let mut client = Self {
            address: peer,
            is_local: peer.is_loopback() && !forwarded,
            is_by_https: false,
            base: config.public_url.clone(),
        };
        if !is_trusted(peer) {
            return client;
        }
        // Each proxy adds itself at the end: read from there, as far as the ones that speak are trusted.
        let (mut scheme, mut host) = (None, None);
        for hop in hops(headers).into_iter().rev() {
            scheme = hop.scheme.or(scheme);
            host = hop.host.or(host);
            let Some(address) = hop.address else { break };
            client.address = address;
            if !is_trusted(address) {
                break;
            }
        }
        client.is_local = client.address.is_loopback();
        client.is_by_https = scheme.as_deref() == Some("https");
        let host = host.or_else(|| text(headers, "host").filter(|host| is_host(host)));
        if let (true, Some(scheme), Some(host)) = (client.base.is_empty(), scheme, host) {
            client.base = format!("{scheme}://{host}");
        }
        client
    }

    /// Whether a trusted proxy says that it came by HTTPS.
    pub(super) const fn is_by_https(&self) -> bool {
        self.is_by_https
    }

    /// The URL of a path of this server, for this client.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

fn is_in(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// What the proxies say, the nearest one last. `Forwarded` is the standard and wins.
fn hops(headers: &HeaderMap) -> Vec<Hop> {
    let forwarded = list(headers, "forwarded");
    if !forwarded.is_empty() {
        return forwarded.iter().map(|element| forwarded_element(element)).collect();
    }
    let addresses = list(headers, "x-forwarded-for");
    let (schemes, hosts) = (list(headers, "x-forwarded-proto"), list(headers, "x-forwarded-host"));
    let count = addresses.len().max(1);
    // The lists are as long as the chain, or hold one value that stands for all of it.
    let of = |list: &[String], index: usize| -> Option<String> {
        match list {
            [only] => Some(only.clone()),
            _ => index.checked_sub(count.saturating_sub(list.len())).and_then(|i| list.get(i)).cloned(),
        }
    };
    (0..count)
        .map(|index| Hop {
            address: addresses.get(index).and_then(|text| node_address(text)),
            scheme: of(&schemes, index).filter(|scheme| is_scheme(scheme)),
            host: of(&hosts, index).filter(|host| is_host(host)),
        })
        .collect()
}

/// One element of `Forwarded` (RFC 7239 section 4): `for=192.0.2.60;proto=https;host=live.example`.
fn forwarded_element(element: &str) -> Hop {
    let mut hop = Hop::default();
    for pair in element.split(';') {
        let Some((name, value)) = pair.split_once('=') else { continue };
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "for" => hop.address = node_address(value),
            "proto" => hop.scheme = Some(value.to_ascii_lowercase()).filter(|scheme| is_scheme(scheme)),
            "host" => hop.host = Some(value.to_owned()).filter(|host| is_host(host)),
            _ => {}
        }
    }
    hop
}

/// An address with or without port (RFC 7239 section 6); `None` for `unknown` and `_hidden`.
fn node_address(text: &str) -> Option<IpAddr> {
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None if text.matches(':').count() == 1 => text.split_once(':')?.0,
        None => text,
    };
    bare.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

fn is_scheme(text: &str) -> bool {
    matches!(text, "http" | "https")
}

/// What may stand in `Host`: a name or an address, with a port or without.
pub(super) fn is_host(text: &str) -> bool {
    let of_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    !text.is_empty() && text.len() <= 255 && text.chars().all(of_host)
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// All values of a header that is a list, in order.
fn list(headers: &HeaderMap, name: &str) -> Vec<String> {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(|value| value.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp::http::{HeaderName, HeaderValue};

    fn client(peer: &str, headers: &[(&str, &str)], trusted: &[&str], public_url: &str) -> Client {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let trusted_proxies = trusted.iter().map(|n| Network::try_from((*n).to_owned()).unwrap()).collect();
        let config = Http { trusted_proxies, public_url: public_url.to_owned(), ..Http::default() };
        Client::of(peer.parse().unwrap(), &map, &config)
    }

    fn told(client: &Client) -> (String, bool, String) {
        (client.address.to_string(), client.is_local, client.url("/x"))
    }

    #[test]
    fn a_stranger_is_not_believed() {
        let headers =
            [("forwarded", "for=127.0.0.1;proto=https;host=evil"), ("x-forwarded-for", "127.0.0.1")];
        let client = client("192.0.2.1", &headers, &["10.0.0.0/8"], "");
        assert_eq!(told(&client), ("192.0.2.1".to_owned(), false, "/x".to_owned()));
    }

    #[test]
    fn a_trusted_proxy_says_who_and_under_which_name() {
        let xff = [
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "live.example"),
        ];
        let rfc = [("forwarded", "for=\"203.0.113.9:4711\";proto=https;host=live.example")];
        for headers in [&xff[..], &rfc[..]] {
            let client = client("127.0.0.1", headers, &["127.0.0.1"], "");
            assert_eq!(told(&client), ("203.0.113.9".to_owned(), false, "https://live.example/x".to_owned()));
        }
        let v6 = client("10.0.0.1", &[("forwarded", "For=\"[2001:db8::1]:80\"")], &["10.0.0.0/8"], "");
        assert_eq!(told(&v6), ("2001:db8::1".to_owned(), false, "/x".to_owned()));
    }

    #[test]
    fn what_the_client_made_up_stands_before_what_proxies_say() {
        let headers =
            [("x-forwarded-for", "127.0.0.1, 203.0.113.9, 10.0.0.2"), ("x-forwarded-proto", "https")];
        let client = client("10.0.0.1", &headers, &["10.0.0.0/8"], "");
        assert_eq!((client.address.to_string(), client.is_local), ("203.0.113.9".to_owned(), false));
        let hidden = [("forwarded", "for=127.0.0.1, for=_hidden;proto=https;host=a, for=10.0.0.2")];
        let client = self::client("10.0.0.1", &hidden, &["10.0.0.0/8"], "");
        assert_eq!(told(&client), ("10.0.0.2".to_owned(), false, "https://a/x".to_owned()));
    }

    #[test]
    fn an_unknown_proxy_on_this_machine_does_not_make_its_clients_local() {
        let direct = client("127.0.0.1", &[("host", "localhost:8080")], &[], "");
        assert_eq!(told(&direct), ("127.0.0.1".to_owned(), true, "/x".to_owned()));
        assert!(!client("127.0.0.1", &[("x-forwarded-for", "203.0.113.9")], &[], "").is_local);
        assert!(client("::ffff:127.0.0.1", &[], &[], "").is_local);
    }

    #[test]
    fn the_configured_url_comes_first_and_nonsense_last() {
        let headers = [("x-forwarded-proto", "https"), ("x-forwarded-host", "a")];
        let configured = client("127.0.0.1", &headers, &["127.0.0.1"], "https://live.example/base");
        assert_eq!(configured.url("/x"), "https://live.example/base/x");
        let odd = [("x-forwarded-proto", "gopher"), ("x-forwarded-host", "a/b"), ("host", "live.example")];
        assert_eq!(client("127.0.0.1", &odd, &["127.0.0.1"], "").url("/x"), "/x");
        let no_host = [("x-forwarded-proto", "https"), ("host", "live.example")];
        assert_eq!(client("127.0.0.1", &no_host, &["127.0.0.1"], "").url("/x"), "https://live.example/x");
    }
}
