//! The certificate that is shown, and when its files are read again.
//!
//! Files are looked at every two seconds, not watched by inotify: renewal tools swap symbolic links, write over network file systems, or
//! mount new folders, and a look at two names sees all of that alike.

use super::identity::{Files, Identity};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// How often the dates of the certificate are looked at: a warning a day.
const LOOKS_PER_DAY: u32 = 86_400 / 2;

/// The certificate of new connections.
#[derive(Debug)]
pub(super) struct Shown(RwLock<Arc<Identity>>);

impl Shown {
    pub(super) fn new(identity: Identity) -> Self {
        Self(RwLock::new(Arc::new(identity)))
    }

    fn replace(&self, identity: Identity) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(identity);
    }

    fn now(&self) -> Arc<Identity> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Shown {
    /// The same for every name: a client that asks for another says best itself what it misses.
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.now().certified))
    }
}

/// What tells one state of a file from another; `None` when it is not there.
type Stamp = [Option<(u64, u64, i64, i64, u64)>; 2];

/// Decides when the files are read. Pure.
#[derive(Debug)]
struct Settling {
    /// The state that was read last, usable or not.
    read: Stamp,
    /// The state that was seen last.
    seen: Stamp,
}

impl Settling {
    fn new(read: Stamp) -> Self {
        Self { read, seen: read }
    }

    /// Takes a look's result; true when the files have changed since they were read, and not since the last look: certificate and key are
    /// written one after the other, and half a pair is of no use.
    fn handle_look(&mut self, stamp: Stamp) -> bool {
        let is_settled = stamp == self.seen;
        self.seen = stamp;
        if is_settled && stamp != self.read {
            self.read = stamp;
            return true;
        }
        false
    }
}

/// The files, as they were when they were first looked at.
pub(super) struct Watched {
    files: Files,
    settling: Settling,
}

impl Watched {
    /// Has a first look.
    pub(super) fn new(files: Files) -> Self {
        let settling = Settling::new(stamp(&files));
        Self { files, settling }
    }

    /// The files themselves.
    pub(super) const fn files(&self) -> &Files {
        &self.files
    }

    /// Looks at the files for ever, and shows what they hold when it can be used.
    pub(super) async fn keep_up(mut self, shown: &Shown, provider: &CryptoProvider) {
        let mut looks = 0;
        loop {
            tokio::time::sleep(LOOK).await;
            looks = (looks + 1) % LOOKS_PER_DAY;
            if looks == 0 {
                shown.now().warn_of_validity();
            }
            if self.settling.handle_look(stamp(&self.files)) {
                self.read_again(shown, provider);
            }
        }
    }

    fn read_again(&self, shown: &Shown, provider: &CryptoProvider) {
        match Identity::load(&self.files, provider) {
            Ok(identity) => {
                tracing::info!(cert = ?self.files.cert, fingerprint = identity.fingerprint(), "new certificate in use");
                identity.warn_of_validity();
                shown.replace(identity);
            }
            Err(error) => {
                tracing::error!("the new certificate is not taken, the one before stays in use: {error}");
            }
        }
    }
}

fn stamp(files: &Files) -> Stamp {
    let of = |path: &Path| {
        std::fs::metadata(path).ok().map(|m: Metadata| (m.dev(), m.ino(), m.mtime(), m.mtime_nsec(), m.len()))
    };
    [of(&files.cert), of(&files.key)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mtime: i64) -> Option<(u64, u64, i64, i64, u64)> {
        Some((1, 2, mtime, 0, 700))
    }

    #[test]
    fn files_are_read_once_after_they_have_changed_and_settled() {
        let mut settling = Settling::new([at(1), at(1)]);
        assert!(!settling.handle_look([at(1), at(1)]));
        assert!(!settling.handle_look([at(5), at(1)]), "the certificate is new, the key not yet");
        assert!(!settling.handle_look([at(5), at(5)]));
        assert!(settling.handle_look([at(5), at(5)]));
        assert!(!settling.handle_look([at(5), at(5)]), "once");
        assert!(!settling.handle_look([None, at(5)]), "gone for a moment, while it is replaced");
        assert!(!settling.handle_look([at(5), at(5)]));
        assert!(!settling.handle_look([at(5), at(5)]), "as it was");
    }
}
