//! HTTPS: which certificate is shown, and how it changes while the server runs.
//!
//! What belongs here: from the configuration to an acceptor of TLS connections. How certificates are read and judged stands in
//! [`identity`], how one is made in [`self_signed`], when files are read again in [`reload`]; what is served over the
//! connections is [`crate::http::server`]'s.

mod identity;
mod reload;
mod self_signed;

use crate::config::Config;
pub(crate) use identity::TlsError;
use identity::{Files, Identity};
use reload::{Shown, Watched};
use std::net::IpAddr;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::{ServerConfig, version};

/// What clients may speak, the better first (RFC 7301; RFC 9113 section 3.2).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// TLS as it is configured, ready to accept.
pub(crate) struct Tls {
    shown: Arc<Shown>,
    config: Arc<ServerConfig>,
    /// Looked at for changes; `None` for a certificate that lives in memory alone.
    watched: Option<Watched>,
    /// Of the self-signed certificate, as browsers show it: a person may compare the two.
    fingerprint: Option<String>,
}

/// What the configuration says of TLS, as far as it says anything.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// Somebody else makes these.
    Files(Files),
    /// Made here when they are not there, and kept for the next start, so that who has trusted it once need not do so again.
    SelfSignedFiles(Files),
    /// Made anew at each start.
    SelfSignedInMemory,
}

impl Tls {
    /// Reads or makes the certificate; `None` when TLS is off.
    ///
    /// # Errors
    ///
    /// When there is no usable pair of certificate and key; the words say which file is at fault.
    pub(crate) fn of(config: &Config) -> Result<Option<Self>, TlsError> {
        let Some(source) = source(config) else { return Ok(None) };
        let provider = provider();
        let is_self_signed = !matches!(source, Source::Files(_));
        if let Source::SelfSignedFiles(files) = &source {
            self_signed::keep(files, &names(config))?;
        }
        let (identity, watched) = match source {
            Source::Files(files) | Source::SelfSignedFiles(files) => {
                // Looked at before they are read, so that no change falls in between.
                let watched = Watched::new(files);
                (Identity::load(watched.files(), &provider)?, Some(watched))
            }
            Source::SelfSignedInMemory => {
                let made = self_signed::make(&names(config))?;
                (Identity::of_pem(&made.certificate, &made.key, &provider)?, None)
            }
        };
        let fingerprint = is_self_signed.then(|| identity.fingerprint());
        identity.warn_of_validity();
        let shown = Arc::new(Shown::new(identity));
        let config = server_config(&shown, provider)?;
        Ok(Some(Self { shown, config, watched, fingerprint }))
    }

    /// Whether the files of the configuration can be used, without making any.
    ///
    /// # Errors
    ///
    /// As [`Self::of`].
    pub(crate) fn check(config: &Config) -> Result<(), TlsError> {
        match source(config) {
            Some(Source::Files(files)) => Identity::load(&files, &provider()).map(drop),
            Some(Source::SelfSignedFiles(_) | Source::SelfSignedInMemory) | None => Ok(()),
        }
    }

    /// Takes connections in.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// The SHA-256 fingerprint of a certificate that was made here.
    pub(crate) fn fingerprint(&self) -> Option<&str> {
        self.fingerprint.as_deref()
    }

    /// Shows new certificates as their files change, for ever. Connections that are open go on as they are.
    pub(crate) async fn keep_up(self) {
        match self.watched {
            Some(watched) => watched.keep_up(&self.shown, &provider()).await,
            None => std::future::pending().await,
        }
    }
}

/// The names under which others may reach this machine, for a certificate that is made here.
fn names(config: &Config) -> self_signed::Names {
    let listen: Option<IpAddr> = config.https_listen().map(|address| address.ip());
    self_signed::Names::of_this_machine(listen, &config.http.public_url)
}

/// The addresses by which other devices of the network reach this machine.
pub(crate) fn addresses_of_the_network() -> Vec<IpAddr> {
    self_signed::addresses().into_iter().filter(|address| !address.is_loopback()).collect()
}

fn source(config: &Config) -> Option<Source> {
    let tls = &config.tls;
    let files = Files::named(&tls.cert, &tls.key);
    match (files, tls.self_signed) {
        (Some(files), false) => Some(Source::Files(files)),
        (Some(files), true) => Some(Source::SelfSignedFiles(files)),
        (None, true) => Some(Source::SelfSignedInMemory),
        (None, false) => None,
    }
}

/// The one that SRTP and the HTTP clients use as well.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn server_config(shown: &Arc<Shown>, provider: Arc<CryptoProvider>) -> Result<Arc<ServerConfig>, TlsError> {
    let versions = [&version::TLS13, &version::TLS12];
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(TlsError::Setup)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(shown) as _);
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    // Tickets instead of stored sessions: players that come again cost no memory in between (RFC 8446 section 4.6.1).
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Setup)?;
    Ok(Arc::new(config))
}
