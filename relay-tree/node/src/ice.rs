//! The ICE-lite side of a viewer's session (RFC 8445 section 2.5): it answers checks and follows what the client nominates.
//!
//! Sans-IO. Candidates are never asked of the client: whoever proves to know the password is answered where it asks from, so a NAT
//! that rebinds is followed, and mDNS names make no difference.

use crate::socket::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use str0m::IceCreds;
use str0m::config::CryptoProvider;
use str0m::ice::StunMessage;

/// When nothing was heard for so long on the path in use, an authentic check from elsewhere is enough to move there: some clients
/// nominate only once (RFC 8445 section 8.1.1), and a NAT that rebinds asks nobody.
const PATH_PATIENCE: Duration = Duration::from_millis(2_500);
/// The longest STUN answer this side writes.
const MAX_ANSWER: usize = 256;

/// What becomes of a STUN datagram.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// It was authentic: send this back the way it came.
    Answer(Vec<u8>),
    /// It was forged, stale or malformed.
    Refused,
    /// It is well-formed, but nothing to answer (an indication, a response).
    Ignored,
}

/// One ICE session.
pub(crate) struct IceLite {
    crypto: Arc<CryptoProvider>,
    local: IceCreds,
    /// User fragment of the client.
    remote_ufrag: String,
    /// Before a restart, until the client has used the new ones (RFC 8445 section 9).
    former: Option<(IceCreds, String)>,
    selected: Option<Path>,
    selected_heard: Instant,
    /// When an authentic check last came, by whatever path.
    heard: Instant,
}

impl IceLite {
    pub(crate) fn new(
        crypto: Arc<CryptoProvider>,
        local: IceCreds,
        remote_ufrag: String,
        now: Instant,
    ) -> Self {
        Self { crypto, local, remote_ufrag, former: None, selected: None, selected_heard: now, heard: now }
    }

    /// New credentials on both sides. The old ones count until the new ones are used.
    pub(crate) fn restart(&mut self, local: IceCreds, remote_ufrag: String) {
        let local = std::mem::replace(&mut self.local, local);
        self.former = Some((local, std::mem::replace(&mut self.remote_ufrag, remote_ufrag)));
    }

    /// Where media goes.
    pub(crate) const fn selected(&self) -> Option<Path> {
        self.selected
    }

    /// When the client last showed that it wants this session (RFC 7675).
    pub(crate) const fn heard(&self) -> Instant {
        self.heard
    }

    /// The user fragment that requests are addressed to.
    pub(crate) fn ufrag(&self) -> &str {
        &self.local.ufrag
    }

    /// Takes a STUN datagram that came by `path`.
    pub(crate) fn handle_check(&mut self, datagram: &[u8], path: Path, now: Instant) -> Check {
        let Ok(message) = StunMessage::parse(datagram) else { return Check::Refused };
        if !message.is_binding_request() {
            return Check::Ignored;
        }
        let Some((to, from)) = message.split_username() else { return Check::Refused };
        let current = to == self.local.ufrag && from == self.remote_ufrag;
        let former = self.former.as_ref().filter(|(local, remote)| to == local.ufrag && from == remote);
        let password = match (current, former) {
            (true, _) => &self.local.pass,
            (false, Some((local, _))) => &local.pass,
            (false, None) => return Check::Refused,
        };
        let hmac = |key: &[u8], parts: &[&[u8]]| self.crypto.sha1_hmac_provider.sha1_hmac(key, parts);
        if !message.verify(password.as_bytes(), hmac) {
            return Check::Refused;
        }
        // This side is lite and so always controlled; a client that believes the same of itself is told (RFC 8445 section 7.3.1.1).
        let reply = if message.ice_controlled().is_some() {
            StunMessage::binding_role_conflict_reply(message.trans_id())
        } else {
            StunMessage::binding_reply(message.trans_id(), path.remote)
        };
        let mut answer = vec![0; MAX_ANSWER];
        let Ok(length) = reply.to_bytes(Some(password.as_bytes()), &mut answer, hmac) else {
            return Check::Refused;
        };
        answer.truncate(length);
        if message.ice_controlled().is_none() {
            self.note(path, message.use_candidate(), current, now);
        }
        Check::Answer(answer)
    }

    /// Something authentic that is no STUN came by `path`.
    pub(crate) fn handle_media(&mut self, path: Path, now: Instant) {
        if self.selected.is_some_and(|selected| selected.same(path)) {
            self.selected_heard = now;
        }
    }

    fn note(&mut self, path: Path, nominated: bool, current: bool, now: Instant) {
        self.heard = now;
        if current && nominated {
            self.former = None;
        }
        let silent = now.saturating_duration_since(self.selected_heard) >= PATH_PATIENCE;
        match self.selected {
            Some(selected) if selected.same(path) => self.selected_heard = now,
            Some(_) if !nominated && !silent => {}
            _ => {
                self.selected = Some(path);
                self.selected_heard = now;
            }
        }
    }
}
