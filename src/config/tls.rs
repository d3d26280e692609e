//! `[tls]`: HTTPS beside HTTP. Which files hold what, and how they are read, stands in [`crate::tls`].

use super::Config;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// The port of HTTPS where none is configured.
const PORT: u16 = 8443;

/// `[tls]`: on with a certificate and its key, or with `self_signed`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Tls {
    /// Address and port of HTTPS. Empty: the address of `http.listen`, port 8443.
    pub(crate) listen: String,
    /// The certificate chain, PEM, the server's own first.
    pub(crate) cert: String,
    /// Its private key, PEM.
    pub(crate) key: String,
    /// Make a certificate that nobody vouches for; kept in `cert` and `key` where they are named.
    pub(crate) self_signed: bool,
    /// Send those who come by HTTP to HTTPS.
    pub(crate) redirect: bool,
}

impl Config {
    /// Where HTTPS is served; `None` when TLS is off.
    pub(crate) fn https_listen(&self) -> Option<SocketAddr> {
        let tls = &self.tls;
        let is_on = tls.self_signed || !tls.cert.is_empty() || !tls.key.is_empty();
        let configured = || tls.listen.parse().unwrap_or(SocketAddr::new(self.http.listen.ip(), PORT));
        is_on.then(configured)
    }

    /// What of this section cannot work.
    pub(super) fn tls_problems(&self) -> Vec<String> {
        let tls = &self.tls;
        let is_on = self.https_listen().is_some();
        let checks = [
            (
                tls.listen.is_empty() || tls.listen.parse::<SocketAddr>().is_ok(),
                format!(
                    "tls.listen = {:?} must be an address and a port such as 0.0.0.0:8443, or empty",
                    tls.listen
                ),
            ),
            (
                tls.cert.is_empty() == tls.key.is_empty(),
                "tls.cert and tls.key belong together: name both files, or neither".to_owned(),
            ),
            (
                is_on || !tls.redirect,
                "tls.redirect needs TLS: name tls.cert and tls.key, or set tls.self_signed = true".to_owned(),
            ),
            (
                is_on || tls.listen.is_empty(),
                "tls.listen needs a certificate: name tls.cert and tls.key, or set tls.self_signed = true"
                    .to_owned(),
            ),
            (
                self.https_listen() != Some(self.http.listen) || self.http.listen.port() == 0,
                format!("http.listen and tls.listen are both {}: they need a port each", self.http.listen),
            ),
        ];
        checks.into_iter().filter(|(holds, _)| !holds).map(|(_, words)| words).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        config.problems().join("\n")
    }

    #[test]
    fn https_listens_beside_http_where_nothing_else_is_said() {
        let mut config = Config::default();
        assert_eq!(config.https_listen(), None);
        config.tls.self_signed = true;
        assert_eq!(config.https_listen(), Some("127.0.0.1:8443".parse().unwrap()));
        config.http.listen = "0.0.0.0:80".parse().unwrap();
        assert_eq!(config.https_listen(), Some("0.0.0.0:8443".parse().unwrap()));
        config.tls.listen = "[::1]:443".to_owned();
        assert_eq!(config.https_listen(), Some("[::1]:443".parse().unwrap()));
    }

    #[test]
    fn half_a_configuration_is_refused() {
        assert_eq!(problem(|c| c.tls.self_signed = true), "");
        assert!(problem(|c| c.tls.cert = "a.pem".to_owned()).contains("belong together"));
        assert!(problem(|c| c.tls.key = "a.pem".to_owned()).contains("belong together"));
        assert!(problem(|c| c.tls.redirect = true).contains("tls.redirect needs TLS"));
        assert!(problem(|c| c.tls.listen = "127.0.0.1:1".to_owned()).contains("tls.listen needs"));
        let words = problem(|c| (c.tls.self_signed = true, c.tls.listen = "8443".to_owned()).1);
        assert!(words.contains("tls.listen = \"8443\""), "{words}");
        let words = problem(|c| (c.tls.self_signed = true, c.tls.listen = "127.0.0.1:8080".to_owned()).1);
        assert!(words.contains("a port each"), "{words}");
    }

    #[test]
    fn https_for_others_has_to_be_meant_as_well() {
        let open = |c: &mut Config| (c.tls.self_signed = true, c.tls.listen = "0.0.0.0:8443".to_owned()).1;
        let words = problem(open);
        assert!(words.contains("tls.listen = 0.0.0.0:8443") && words.contains("--open"), "{words}");
        assert_eq!(problem(|c| (open(c), c.http.open = true).1), "");
    }
}
