//! Whose datagram is it? By the way it came once a peer has proved itself, by ICE user fragment until then.

use crate::socket::{Path, Via};
use crate::stun;
use crate::timers::Key;
use std::collections::HashMap;
use std::net::SocketAddr;

/// The sessions of one thread, by what their datagrams look like.
#[derive(Debug, Default)]
pub(crate) struct Demux {
    routes: HashMap<(Via, SocketAddr), Key>,
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
    pub(crate) fn find(&self, path: Path, datagram: &[u8]) -> Option<Key> {
        if stun::looks_like_stun(datagram)
            && let Some(ufrag) = stun::addressed_ufrag(datagram)
        {
            return self.ufrags.get(ufrag).copied();
        }
        self.routes.get(&(path.via, path.remote)).copied()
    }

    /// Sends what comes by `path` to `key` from now on: it has proved to know the password.
    pub(crate) fn learn(&mut self, path: Path, key: Key) {
        self.routes.insert((path.via, path.remote), key);
    }

    /// Forgets a path, unless it has become another session's.
    pub(crate) fn forget_route(&mut self, path: Path, key: Key) {
        let route = (path.via, path.remote);
        if self.routes.get(&route) == Some(&key) {
            self.routes.remove(&route);
        }
    }

    /// The session that a path belongs to.
    pub(crate) fn owner(&self, via: Via, remote: SocketAddr) -> Option<Key> {
        self.routes.get(&(via, remote)).copied()
    }

    /// Forgets a name, unless it has become another session's.
    pub(crate) fn forget_ufrag(&mut self, ufrag: &str, key: Key) {
        if self.ufrags.get(ufrag) == Some(&key) {
            self.ufrags.remove(ufrag);
        }
    }

    /// Whether nothing is known: what a thread without sessions must come back to.
    pub(crate) fn is_empty(&self) -> bool {
        self.routes.is_empty() && self.ufrags.is_empty()
    }
}
