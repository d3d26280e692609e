//! The sessions of a relay thread: how they begin, act and end.

use super::RelayThread;
use crate::demux::Demux;
use crate::id::SessionId;
use crate::link::Arrival;
use crate::peer::{Destination, Outgoing, Peer};
use crate::publisher::CloseReason;
use crate::socket::{Path, Via};
use crate::stats::Counters;
use crate::timers::Key;
use crate::viewer::Viewer;
use crate::viewing::ViewerControl;
use relay_proto::continuity::SourceId;
use skywave_media::ingest::TrackId;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;
use str0m::IceCreds;
use str0m::net::Protocol;

/// Addresses of one peer that are answered at the same time.
const MAX_PATHS: usize = 8;
/// Addresses of one peer over its life. str0m remembers each, so they are counted; a NAT that rebinds hourly needs ten days.
const MAX_PATHS_EVER: usize = 256;

/// ICE sessions of one peer that may still be asked for: the one in use, and some that restarts have replaced.
const MAX_UFRAGS: usize = 4;

/// A session and what its thread must remember of it.
pub(super) struct Session {
    pub(super) member: Member,
    /// What it may be asked for by: more than one after an ICE restart.
    ufrags: Vec<String>,
    /// Most recently used last.
    paths: Vec<Path>,
    paths_ever: usize,
    /// The soonest entry in the timers.
    timer: Option<Instant>,
}

/// Who it is.
pub(super) enum Member {
    Publisher(Box<Peer>),
    Viewer(Box<Viewer>),
}

impl Session {
    pub(super) fn publisher(peer: Box<Peer>) -> Self {
        let ufrags = vec![peer.ufrag.clone()];
        Self { member: Member::Publisher(peer), ufrags, paths: Vec::new(), paths_ever: 0, timer: None }
    }

    pub(super) fn viewer(viewer: Box<Viewer>) -> Self {
        let ufrags = vec![viewer.ufrag().to_owned()];
        Self { member: Member::Viewer(viewer), ufrags, paths: Vec::new(), paths_ever: 0, timer: None }
    }

    /// Notes a path that the peer has proved to own.
    fn remember(&mut self, key: Key, path: Path, demux: &mut Demux) {
        let before = self.paths.len();
        self.paths.retain(|p| !p.same(path));
        if self.paths.len() == before {
            self.paths_ever += 1;
            if self.paths.len() >= MAX_PATHS {
                let oldest = self.paths.remove(0);
                demux.forget_route(oldest, key);
            }
        }
        self.paths.push(path);
        demux.learn(path, key);
    }

    /// The path that leads to an address by a transport.
    fn path_to(&self, remote: SocketAddr, protocol: Protocol) -> Option<Path> {
        let tcp = protocol == Protocol::Tcp;
        self.paths.iter().rev().find(|p| p.remote == remote && matches!(p.via, Via::Tcp(_)) == tcp).copied()
    }
}

impl Member {
    pub(super) fn id(&self) -> &SessionId {
        match self {
            Self::Publisher(peer) => &peer.id,
            Self::Viewer(viewer) => &viewer.id,
        }
    }

    fn stream(&self) -> &str {
        match self {
            Self::Publisher(peer) => &peer.stream,
            Self::Viewer(viewer) => &viewer.broadcast.name,
        }
    }

    fn due(&self) -> Instant {
        match self {
            Self::Publisher(peer) => peer.due(),
            Self::Viewer(viewer) => viewer.due(),
        }
    }

    fn end(&self) -> Option<&CloseReason> {
        match self {
            Self::Publisher(peer) => peer.end(),
            Self::Viewer(viewer) => viewer.end(),
        }
    }

    fn finish(&mut self, reason: CloseReason) {
        match self {
            Self::Publisher(peer) => peer.finish(reason),
            Self::Viewer(viewer) => viewer.finish(reason),
        }
    }

    fn say_goodbye(&mut self, now: Instant, out: &mut Vec<Outgoing>) {
        match self {
            Self::Publisher(peer) => peer.say_goodbye(now, out),
            Self::Viewer(viewer) => viewer.say_goodbye(now, out),
        }
    }
}

impl RelayThread {
    pub(super) fn open(&mut self, session: Session) {
        let key = self.next_key;
        self.next_key += 1;
        for ufrag in &session.ufrags {
            self.demux.expect(ufrag.clone(), key);
        }
        self.names.insert(session.member.id().clone(), key);
        Counters::one(&self.counters.sessions);
        if let Member::Viewer(viewer) = &session.member {
            Counters::one(&self.counters.viewers);
            let broadcast = viewer.broadcast.clone();
            self.add_viewer(&broadcast, key);
        }
        self.sessions.insert(key, session);
        self.wake(key, Instant::now());
    }

    pub(super) fn finish(&mut self, id: &SessionId, reason: CloseReason) {
        if let Some(&key) = self.names.get(id) {
            self.act(key, |member, _, _| member.finish(reason));
        }
    }

    pub(super) fn end_session(&mut self, key: Key, reason: CloseReason) {
        self.act(key, |member, _, _| member.finish(reason));
    }

    /// Somebody needs a keyframe of a publisher's source.
    pub(super) fn demand_of(&mut self, key: Key, source: SourceId) {
        self.act(key, |member, now, out| {
            if let Member::Publisher(peer) = member {
                peer.demand(source, now, out);
            }
        });
    }

    pub(super) fn request_keyframe(&mut self, id: &SessionId, track: TrackId) {
        if let Some(&key) = self.names.get(id) {
            self.act(key, |member, now, out| {
                if let Member::Publisher(peer) = member {
                    peer.request_keyframe(track, now, out);
                }
            });
        }
    }

    pub(super) fn restart_ice(&mut self, id: &SessionId, local: IceCreds, remote: IceCreds) {
        let Some(&key) = self.names.get(id) else { return };
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if session.ufrags.len() >= MAX_UFRAGS {
            // The oldest has long been replaced.
            self.demux.forget_ufrag(&session.ufrags.remove(0), key);
        }
        session.ufrags.push(local.ufrag.clone());
        self.demux.expect(local.ufrag.clone(), key);
        self.act(key, |member, now, out| match member {
            Member::Publisher(peer) => peer.restart_ice(local, remote, now, out),
            Member::Viewer(viewer) => viewer.restart_ice(local, remote.ufrag),
        });
    }

    pub(super) fn control(&mut self, id: &SessionId, control: ViewerControl) {
        if let Some(&key) = self.names.get(id) {
            self.act(key, |member, _, _| {
                if let Member::Viewer(viewer) = member {
                    viewer.control(control);
                }
            });
        }
    }

    /// A datagram of a session.
    pub(super) fn handle_of_session(&mut self, key: Key, path: Path, datagram: &[u8], now: Instant) {
        let Some(local) = self.candidate_for(path) else {
            return Counters::one(&self.counters.rejected_unknown);
        };
        let Some(session) = self.sessions.get_mut(&key) else {
            return Counters::one(&self.counters.rejected_unknown);
        };
        let known = session.paths.iter().any(|p| p.same(path));
        if !known && session.paths_ever >= MAX_PATHS_EVER {
            return Counters::one(&self.counters.rejected_stun);
        }
        let mut arrival = Arrival::Nothing;
        self.act(key, |member, _, out| {
            arrival = match member {
                Member::Publisher(peer) => peer.handle_datagram(path, local, datagram, now, out),
                Member::Viewer(viewer) => viewer.handle_datagram(datagram, path, now, out),
            };
            if arrival == Arrival::Checked {
                // Known before the answer leaves: what the peer sends next is its own.
                out.insert(0, Outgoing { to: Destination::Proved(path), contents: Vec::new().into() });
            }
        });
        match arrival {
            Arrival::Malformed => Counters::one(&self.counters.rejected_malformed),
            Arrival::RefusedCheck => Counters::one(&self.counters.rejected_stun),
            Arrival::Forged => Counters::one(&self.counters.rejected_srtcp),
            Arrival::Checked | Arrival::Rtcp(_) | Arrival::Nothing => {}
        }
    }

    pub(super) fn wake_sessions(&mut self, now: Instant) {
        while let Some((key, at)) = self.timers.pop_due(now) {
            let Some(session) = self.sessions.get_mut(&key) else { continue };
            if session.timer == Some(at) {
                session.timer = None;
            }
            let due = session.member.due();
            if due <= now {
                self.wake(key, now);
            } else {
                session.timer = Some(self.timers.set(key, due, session.timer));
            }
        }
    }

    fn wake(&mut self, key: Key, now: Instant) {
        let Some(session) = self.sessions.get(&key) else { return };
        if let Member::Viewer(viewer) = &session.member {
            // Lent out for the time of the call: a viewer reads its broadcast's sources.
            let number = viewer.broadcast.id;
            let Some(mut feed) = self.feeds.remove(&number) else { return };
            self.act(key, |member, _, out| {
                if let Member::Viewer(viewer) = member {
                    viewer.handle_timeout(&feed.sources, now, out);
                }
            });
            if !self.sessions.contains_key(&key) {
                self.take_out(&mut feed, key);
            }
            self.give_back(number, feed);
        } else {
            self.act(key, |member, _, out| {
                if let Member::Publisher(peer) = member {
                    peer.handle_timeout(now, out);
                }
            });
        }
    }

    /// Lets `act` work on a session, sends what comes out, and buries the session when it is over.
    fn act(&mut self, key: Key, act: impl FnOnce(&mut Member, Instant, &mut Vec<Outgoing>)) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let mut out = Vec::new();
        let member = &mut session.member;
        let whole = || {
            act(member, Instant::now(), &mut out);
            if member.end().is_some() {
                member.say_goodbye(Instant::now(), &mut out);
            }
        };
        let fault = catch_unwind(AssertUnwindSafe(whole)).is_err();
        for outgoing in &out {
            let path = match outgoing.to {
                Destination::Path(path) => Some(path),
                Destination::Address(remote, protocol) => session.path_to(remote, protocol),
                Destination::Proved(path) => {
                    session.remember(key, path, &mut self.demux);
                    if let Via::Tcp(connection) = path.via {
                        self.wire.tcp.prove(connection);
                    }
                    None
                }
            };
            if let Some(path) = path {
                self.wire.send(path, &outgoing.contents);
            }
        }
        if fault {
            Counters::one(&self.counters.panics);
            let member = &mut session.member;
            tracing::error!(stream = %member.stream(), session = member.id().short(), "fault in a session: it is closed");
            member.finish(CloseReason::Failed { detail: "fault in the session".to_owned() });
        }
        if session.member.end().is_some() {
            return self.bury(key);
        }
        let due = session.member.due();
        session.timer = Some(self.timers.set(key, due, session.timer));
        self.after_act(key);
    }

    /// Forgets everything about a session, then tells who waits for it.
    pub(super) fn bury(&mut self, key: Key) {
        let Some(session) = self.sessions.remove(&key) else { return };
        for path in &session.paths {
            self.demux.forget_route(*path, key);
            if let Via::Tcp(connection) = path.via {
                self.wire.tcp.close(connection);
            }
        }
        for ufrag in &session.ufrags {
            self.demux.forget_ufrag(ufrag, key);
        }
        self.names.remove(session.member.id());
        self.counters.sessions.fetch_sub(1, Relaxed);
        Counters::one(&self.counters.sessions_closed);
        let (stream, id) = (session.member.stream(), session.member.id());
        let reason = session.member.end().map_or_else(String::new, ToString::to_string);
        match &session.member {
            Member::Publisher(_) => tracing::info!(stream, session = id.short(), reason, "publisher closed"),
            Member::Viewer(_) => tracing::debug!(stream, session = id.short(), reason, "viewer closed"),
        }
        (self.on_gone)(id);
        match session.member {
            Member::Publisher(mut peer) => {
                if let Some((broadcast, publisher)) = peer.publication.take() {
                    broadcast.publisher_gone(publisher);
                    self.publisher_left(&broadcast, key);
                }
                peer.tell_closed();
            }
            Member::Viewer(viewer) => {
                self.counters.viewers.fetch_sub(1, Relaxed);
                self.remove_viewer(&viewer.broadcast, key);
            }
        }
    }

    /// A connection is over; its session may have other ways.
    pub(super) fn close_connection(&mut self, connection: u64) {
        if let Some((remote, _)) = self.wire.tcp.ends(connection) {
            let via = Via::Tcp(connection);
            if let Some(key) = self.demux.owner(via, remote)
                && let Some(session) = self.sessions.get_mut(&key)
            {
                session.paths.retain(|p| p.via != via);
                self.demux.forget_route(Path { remote, via, local_ip: None }, key);
            }
        }
        self.wire.tcp.close(connection);
    }

    pub(super) fn close_all(&mut self, reason: &CloseReason) {
        let keys: Vec<Key> = self.sessions.keys().copied().collect();
        for key in keys {
            self.act(key, |member, _, _| member.finish(reason.clone()));
        }
        // Nothing may be left behind for a session that broke in the middle of its own end.
        let left: Vec<Key> = self.sessions.keys().copied().collect();
        left.into_iter().for_each(|key| self.bury(key));
        self.feeds.clear();
        debug_assert!(self.demux.is_empty() && self.names.is_empty());
    }
}
