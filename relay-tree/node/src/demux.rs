//! Whose datagram is it? By source address once a peer has proved itself, by ICE user fragment until then.

use crate::stun;
use crate::timers::Key;
use std::collections::HashMap;
use std::net::SocketAddr;

/// The sessions of one thread, by what their datagrams look like.
#[derive(Debug, Default)]
pub(crate) struct Demux {
    routes: HashMap<SocketAddr, Key>,
    ufrags: HashMap<String, Key>,
}

impl Demux {
    /// Expects STUN requests that are addressed to `ufrag`.
    pub(crate) fn expect(&mut self, ufrag: String, key: Key) {
        self.ufrags.insert(ufrag, key);
    }

    /// The session a datagram belongs to; `None` for strangers.
    ///
    /// A STUN request goes by its name even from a known address: a client may leave and come back from the same port.
    pub(crate) fn find(&self, source: SocketAddr, datagram: &[u8]) -> Option<Key> {
        if stun::looks_like_stun(datagram)
            && let Some(ufrag) = stun::addressed_ufrag(datagram)
        {
            return self.ufrags.get(ufrag).copied();
        }
        self.routes.get(&source).copied()
    }

    /// Sends what comes from `source` to `key` from now on: it has proved to know the password.
    pub(crate) fn learn(&mut self, source: SocketAddr, key: Key) {
        self.routes.insert(source, key);
    }

    /// Forgets an address, unless it has become another session's.
    pub(crate) fn forget_route(&mut self, source: SocketAddr, key: Key) {
        if self.routes.get(&source) == Some(&key) {
            self.routes.remove(&source);
        }
    }

    /// Forgets a name.
    pub(crate) fn forget_ufrag(&mut self, ufrag: &str) {
        self.ufrags.remove(ufrag);
    }

    /// Whether nothing is known: what a thread without sessions must come back to.
    pub(crate) fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.ufrags.is_empty()
    }
}
