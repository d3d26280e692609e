//! A certificate chain with its private key: read, matched, judged.

use openssl::asn1::Asn1Time;
use openssl::x509::X509;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

/// A certificate with less left is warned of. Automatic renewal happens long before (Let's Encrypt's clients: at 30 days).
const WARN_BEFORE_DAYS: i32 = 7;

/// Why TLS cannot start, or a new certificate is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot read {key} = {path:?}: {source}")]
    Read { key: &'static str, path: PathBuf, source: std::io::Error },
    #[error("cannot write {key} = {path:?}: {source}")]
    Write { key: &'static str, path: PathBuf, source: std::io::Error },
    #[error(
        "tls.cert {0} has no certificate: it must be PEM text with -----BEGIN CERTIFICATE-----, the server's own first"
    )]
    NoCertificate(Origin),
    #[error("tls.cert {0} is damaged: {1}")]
    BadCertificate(Origin, String),
    #[error("tls.key {0} has no private key: it must be PEM text with -----BEGIN PRIVATE KEY-----")]
    NoKey(Origin),
    #[error("tls.key {0} is locked by a passphrase: unlock it with `openssl pkey -in FILE -out NEW-FILE`")]
    LockedKey(Origin),
    #[error("tls.key {0} cannot be used: {1}")]
    BadKey(Origin, String),
    #[error(
        "tls.key {key} is not the key of the first certificate in tls.cert {cert}: the two files must be of one pair, and \
         the server's own certificate must stand before those of its issuers"
    )]
    Mismatch { cert: Origin, key: Origin },
    #[error("cannot make a self-signed certificate: {0}")]
    Make(#[from] openssl::error::ErrorStack),
    #[error("cannot set TLS up: {0}")]
    Setup(rustls::Error),
}

/// Where a PEM text came from, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin(String);

impl Origin {
    fn file(path: &Path) -> Self {
        Self(format!("= {path:?}"))
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The two files of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

impl Files {
    /// `None` unless both are named.
    pub(super) fn named(cert: &str, key: &str) -> Option<Self> {
        let both = !cert.is_empty() && !key.is_empty();
        both.then(|| Self { cert: PathBuf::from(cert), key: PathBuf::from(key) })
    }
}

/// A chain and a key that belong together.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) certified: Arc<CertifiedKey>,
    own: X509,
    origin: Origin,
}

/// Where a certificate is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Validity {
    NotYet,
    Good,
    EndsInDays(i32),
    Over,
}

impl Identity {
    /// Reads and matches the files.
    pub(super) fn load(files: &Files, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let read = |key: &'static str, path: &Path| {
            std::fs::read(path).map_err(|source| TlsError::Read { key, path: path.to_owned(), source })
        };
        let (cert, key) = (read("tls.cert", &files.cert)?, read("tls.key", &files.key)?);
        Self::of(&cert, &key, Origin::file(&files.cert), Origin::file(&files.key), provider)
    }

    /// Matches what was made here.
    pub(super) fn of_pem(cert: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<Self, TlsError> {
        let origin = || Origin("(self-signed)".to_owned());
        Self::of(cert, key, origin(), origin(), provider)
    }

    fn of(
        cert: &[u8],
        key: &[u8],
        cert_origin: Origin,
        key_origin: Origin,
        provider: &CryptoProvider,
    ) -> Result<Self, TlsError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(cert)
            .collect::<Result<_, _>>()
            .map_err(|error| TlsError::BadCertificate(cert_origin.clone(), error.to_string()))?;
        let Some(first) = chain.first() else { return Err(TlsError::NoCertificate(cert_origin)) };
        let own = X509::from_der(first)
            .map_err(|error| TlsError::BadCertificate(cert_origin.clone(), words(&error)))?;
        let key = match PrivateKeyDer::from_pem_slice(key) {
            Ok(key) => key,
            Err(_) if is_locked(key) => return Err(TlsError::LockedKey(key_origin)),
            Err(pem::Error::NoItemsFound) => return Err(TlsError::NoKey(key_origin)),
            Err(error) => return Err(TlsError::BadKey(key_origin, error.to_string())),
        };
        let certified = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::Mismatch { cert: cert_origin.clone(), key: key_origin }
            }
            rustls::Error::InvalidCertificate(error) => {
                TlsError::BadCertificate(cert_origin.clone(), format!("{error:?}"))
            }
            error => TlsError::BadKey(key_origin, error.to_string()),
        })?;
        Ok(Self { certified: Arc::new(certified), own, origin: cert_origin })
    }

    /// SHA-256 of the server's own certificate as browsers print it: `AB:CD:..`.
    pub(super) fn fingerprint(&self) -> String {
        let der = self.certified.cert.first().map_or(&[][..], |der| der.as_ref());
        let mut text = String::new();
        for byte in openssl::sha::sha256(der) {
            let colon = if text.is_empty() { "" } else { ":" };
            write!(text, "{colon}{byte:02X}").expect("a String takes all");
        }
        text
    }

    /// Where it is in its life at `now`.
    pub(super) fn validity(&self, now: &Asn1Time) -> Validity {
        if self.own.not_before() > now {
            return Validity::NotYet;
        }
        match now.diff(self.own.not_after()) {
            Ok(left) if left.days < 0 || left.secs < 0 => Validity::Over,
            Ok(left) if left.days < WARN_BEFORE_DAYS => Validity::EndsInDays(left.days),
            Ok(_) => Validity::Good,
            Err(_) => Validity::Over,
        }
    }

    /// Says loudly what clients will not take.
    pub(super) fn warn_of_validity(&self) {
        let Ok(now) = Asn1Time::days_from_now(0) else { return };
        let (origin, until) = (&self.origin, self.own.not_after());
        match self.validity(&now) {
            Validity::Good => {}
            Validity::NotYet => tracing::error!(
                "the certificate tls.cert {origin} is not valid yet (from {}): clients will refuse it; is the clock right?",
                self.own.not_before()
            ),
            Validity::EndsInDays(days) => {
                tracing::warn!(
                    "the certificate tls.cert {origin} is valid for {days} days only (until {until}): renew it"
                );
            }
            Validity::Over => tracing::error!(
                "the certificate tls.cert {origin} has EXPIRED ({until}): clients will refuse it; renew it, the new file is taken by itself"
            ),
        }
    }
}

/// RFC 5958 (PKCS #8) and the older form that OpenSSL wrote.
fn is_locked(key: &[u8]) -> bool {
    let text = String::from_utf8_lossy(key);
    text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED")
}

fn words(error: &openssl::error::ErrorStack) -> String {
    error.errors().first().and_then(openssl::error::Error::reason).unwrap_or("it cannot be read").to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::{provider, self_signed};
    use super::*;

    fn made() -> self_signed::Made {
        self_signed::make(&self_signed::Names::of_this_machine(None, "")).unwrap()
    }

    fn refusal(cert: &[u8], key: &[u8]) -> String {
        Identity::of_pem(cert, key, &provider()).unwrap_err().to_string()
    }

    #[test]
    fn each_fault_is_laid_at_the_right_file() {
        let (one, other) = (made(), made());
        assert!(Identity::of_pem(&one.certificate, &one.key, &provider()).is_ok());
        let words = refusal(&one.certificate, &other.key);
        assert!(words.contains("is not the key of the first certificate"), "{words}");
        let words = refusal(b"", &one.key);
        assert!(words.contains("tls.cert") && words.contains("BEGIN CERTIFICATE"), "{words}");
        let words = refusal(&one.certificate, &one.certificate);
        assert!(words.contains("tls.key") && words.contains("no private key"), "{words}");
        let cut: Vec<u8> = one.certificate.iter().copied().take(200).collect();
        assert!(refusal(&cut, &one.key).contains("tls.cert"));
        let damaged = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let words = refusal(damaged, &one.key);
        assert!(words.contains("tls.cert") && words.contains("damaged"), "{words}");
        let locked = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert!(refusal(&one.certificate, locked).contains("passphrase"));
    }

    #[test]
    fn a_file_that_is_not_there_is_named_with_its_key() {
        let files =
            Files { cert: PathBuf::from("/no/such/cert.pem"), key: PathBuf::from("/no/such/key.pem") };
        let words = Identity::load(&files, &provider()).unwrap_err().to_string();
        assert!(words.contains("tls.cert = \"/no/such/cert.pem\""), "{words}");
    }

    #[test]
    fn a_certificate_is_judged_by_its_dates() {
        let identity = Identity::of_pem(&made().certificate, &made().key, &provider());
        assert!(identity.is_err(), "two calls of made() are two pairs");
        let one = made();
        let identity = Identity::of_pem(&one.certificate, &one.key, &provider()).unwrap();
        let in_days = |days: u32| identity.validity(&Asn1Time::days_from_now(days).unwrap());
        assert_eq!(in_days(0), Validity::Good);
        let days = u32::try_from(self_signed::DAYS).unwrap();
        assert_eq!(in_days(days - 3), Validity::EndsInDays(2));
        assert_eq!(in_days(days + 1), Validity::Over);
        assert_eq!(identity.validity(&Asn1Time::from_unix(0).unwrap()), Validity::NotYet);
    }
}
