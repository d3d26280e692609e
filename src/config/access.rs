//! The part of the configuration that says who may, how many, and by which servers they find each other.

use super::Config;
use crate::auth::KeyHash;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// `[whep]`: WebRTC viewers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Whep {
    /// How long a viewer's offer waits for a stream that is not on air, in milliseconds.
    pub(crate) wait_ms: u64,
    /// From the last sign of a viewer (a check of its path, a report) to giving it up, in milliseconds.
    pub(crate) silence_timeout_ms: u64,
}

/// `[limits]`: how much one client or one stream may take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// WebRTC sessions of one client address at a time; of the machine itself none are counted.
    pub(crate) sessions_per_address: usize,
    /// WebRTC viewers of one stream at a time.
    pub(crate) viewers_per_stream: usize,
}

/// `[stun]`: STUN servers that clients are told.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Stun {
    /// Their URLs (RFC 7064).
    pub(crate) urls: Vec<String>,
}

/// `[turn]`: TURN servers that clients are told, and what they show there.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Turn {
    /// Their URLs (RFC 7065).
    pub(crate) urls: Vec<String>,
    /// The secret shared with the TURN servers, from which short-lived credentials are made.
    pub(crate) secret: String,
    /// How long such credentials are good, in seconds.
    pub(crate) ttl_s: u32,
    /// Without a secret: a fixed user name.
    pub(crate) username: String,
    /// And its password.
    pub(crate) credential: String,
}

/// `[api]`: who may read and use `/api/v1` and `/metrics`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Api {
    /// Hashes of the keys that may. Without any, the machine itself may, and everybody with `http.open`.
    pub(crate) keys: Vec<KeyHash>,
}

/// One address, or a network as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Network(IpNet);

impl Network {
    /// Whether the address is in it.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let network = text.parse::<IpNet>().ok();
        let network = network.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        network.map(Self).ok_or_else(|| format!("{text:?} is no address and no network such as 10.0.0.0/8"))
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.0.to_string()
    }
}

impl Default for Whep {
    fn default() -> Self {
        Self { wait_ms: 1_500, silence_timeout_ms: 15_000 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { sessions_per_address: 100, viewers_per_stream: 10_000 }
    }
}

impl Default for Turn {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            secret: String::new(),
            ttl_s: 3_600,
            username: String::new(),
            credential: String::new(),
        }
    }
}

impl std::fmt::Debug for Turn {
    /// Without what must not stand in a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("urls", &self.urls).field("ttl_s", &self.ttl_s).finish_non_exhaustive()
    }
}

impl Config {
    /// The same with secrets made unreadable, for showing.
    pub(crate) fn without_secrets(mut self) -> Self {
        for secret in [&mut self.turn.secret, &mut self.turn.credential] {
            if !secret.is_empty() {
                "(set, not shown)".clone_into(secret);
            }
        }
        self
    }

    /// What of the sections here, and of who may reach the server, cannot work.
    pub(super) fn access_problems(&self) -> Vec<String> {
        let (turn, url) = (&self.turn, self.http.public_url.as_str());
        let listens = [("http.listen", Some(self.http.listen)), ("tls.listen", self.https_listen())];
        let mut open = listens.into_iter().filter_map(|(key, address)| Some((key, address?)));
        let open = open.find(|(_, address)| !address.ip().is_loopback());
        let (open_key, open_address) = open.unwrap_or(("http.listen", self.http.listen));
        let fixed = !turn.username.is_empty() || !turn.credential.is_empty();
        let checks = [
            (
                open.is_none() || self.http.open || !self.access.is_empty(),
                format!(
                    "{open_key} = {open_address} can be reached by others, and everybody who reaches it may publish and watch: \
                     say who may with [[access]] rules and keys (`skywave token new` makes one), or set http.open = true \
                     (flag --open) if it is meant for everybody, or listen on 127.0.0.1"
                ),
            ),
            (
                url.is_empty() || is_base_url(url),
                format!("http.public_url = {url:?} must be http:// or https://, a host, and no / ? # at the end"),
            ),
            (
                turn.urls.iter().all(|u| is_server_url(u, &["turn:", "turns:"])),
                format!("turn.urls = {:?} must each be as turn:host:3478?transport=udp or turns:host (RFC 7065)", turn.urls),
            ),
            (
                self.stun.urls.iter().all(|u| is_server_url(u, &["stun:", "stuns:"])),
                format!("stun.urls = {:?} must each be as stun:host:3478 (RFC 7064)", self.stun.urls),
            ),
            (
                turn.secret.is_empty() || !fixed,
                "turn.secret makes credentials, so turn.username and turn.credential must be empty".to_owned(),
            ),
            (
                turn.urls.is_empty()
                    || !turn.secret.is_empty()
                    || (!turn.username.is_empty() && !turn.credential.is_empty()),
                "turn.urls needs turn.secret (coturn's static-auth-secret), or turn.username and turn.credential"
                    .to_owned(),
            ),
        ];
        checks.into_iter().filter(|(holds, _)| !holds).map(|(_, words)| words).collect()
    }
}

fn is_base_url(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|r| !r.is_empty() && !r.starts_with('/') && !r.ends_with('/') && r.chars().all(of_url))
        && !url.contains(['?', '#'])
}

fn is_server_url(url: &str, schemes: &[&str]) -> bool {
    let rest = schemes.iter().find_map(|scheme| url.strip_prefix(scheme));
    rest.is_some_and(|r| !r.is_empty() && !r.starts_with('/') && r.chars().all(of_url))
}

/// What may stand between the `<` and `>` of a `Link` header.
fn of_url(c: char) -> bool {
    c.is_ascii_graphic() && !matches!(c, '<' | '>' | '"' | '\\')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn problem(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        config.problems().join("\n")
    }

    #[test]
    fn a_bind_to_the_network_needs_rules_or_has_to_be_meant() {
        let bind = |config: &mut Config| config.http.listen = SocketAddr::from(([0, 0, 0, 0], 8080));
        let words = problem(bind);
        assert!(words.contains("--open") && words.contains("[[access]]"), "{words}");
        let meant = |config: &mut Config| (bind(config), config.http.open = true).1;
        assert_eq!(problem(meant), "");
        let ruled = |config: &mut Config| {
            bind(config);
            config.access =
                toml::from_str::<Config>("[[access]]\nstream = \"*\"\npublish = []\n").unwrap().access;
        };
        assert_eq!(problem(ruled), "");
    }

    #[test]
    fn turn_servers_need_credentials_of_one_kind() {
        let urls = |config: &mut Config| config.turn.urls = vec!["turn:t.example:3478".to_owned()];
        assert!(problem(urls).contains("turn.secret"));
        assert_eq!(problem(|c| (urls(c), c.turn.secret = "s".to_owned()).1), "");
        let fixed = |c: &mut Config| (c.turn.username, c.turn.credential) = ("u".to_owned(), "c".to_owned());
        assert_eq!(problem(|c| (urls(c), fixed(c)).1), "");
        assert!(problem(|c| (urls(c), fixed(c), c.turn.secret = "s".to_owned()).2).contains("must be empty"));
        assert!(problem(|c| c.turn.urls = vec!["https://t".to_owned()]).contains("turn.urls"));
        assert!(problem(|c| c.stun.urls = vec!["stun:".to_owned()]).contains("stun.urls"));
    }

    #[test]
    fn the_public_url_is_one_that_paths_can_follow() {
        for good in ["https://live.example.org", "https://live.example.org/base", "http://[::1]:80"] {
            assert_eq!(problem(|c| c.http.public_url = good.to_owned()), "", "{good}");
        }
        for bad in ["live.example.org", "https://", "https://x/", "https://x?y", "ftp://x", "https://x y"] {
            assert!(problem(|c| c.http.public_url = bad.to_owned()).contains("public_url"), "{bad}");
        }
    }

    #[test]
    fn a_proxy_is_an_address_or_a_network() {
        let holds = |network: &str, address: &str| {
            Network::try_from(network.to_owned()).unwrap().contains(address.parse().unwrap())
        };
        assert!(holds("10.0.0.0/8", "10.1.2.3") && !holds("10.0.0.0/8", "11.1.2.3"));
        assert!(holds("::1", "::1") && !holds("127.0.0.1", "127.0.0.2"));
        assert!(Network::try_from("proxy.example".to_owned()).is_err());
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut config = Config::default();
        config.turn.secret = "north".to_owned();
        assert!(!format!("{config:?}").contains("north"));
        assert_eq!(config.clone().without_secrets().turn.secret, "(set, not shown)");
        assert_eq!(Config::default().without_secrets(), Config::default());
    }
}
