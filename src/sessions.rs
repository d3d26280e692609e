//! The table of WHIP and WHEP sessions: what stands behind a session URL, whose it is, and how many one client may have. Pure.

use crate::auth::KeyHash;
use relay_node::SessionId;
use skywave_media::name::StreamName;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use tokio::sync::watch;

/// Ended sessions whose names are remembered, so that a second DELETE is told the same as the first.
const ENDED_REMEMBERED: usize = 1024;

/// Event streams that one viewer may have open; a page has one, a reloading one two.
const EVENT_STREAMS_MAX: usize = 4;

/// The two kinds of session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A publisher's, made over WHIP.
    Publisher,
    /// A viewer's, made over WHEP.
    Viewer,
}

/// Who opens a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Where the client is.
    pub(crate) address: IpAddr,
    /// The key it showed, where keys are asked for. Only who shows it again may touch the session.
    pub(crate) key: Option<KeyHash>,
}

/// Why no further session is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPlace {
    #[error("your address has {limit} sessions, which is as many as it may have; end one")]
    Address { limit: usize },
    #[error("this stream has {limit} viewers, which is as many as it may have")]
    Stream { limit: usize },
}

/// How many sessions there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Of one client address.
    pub(crate) per_address: usize,
    /// Viewers of one stream.
    pub(crate) viewers_per_stream: usize,
}

/// What a session URL stands for, as far as HTTP cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) kind: Kind,
    pub(crate) stream: StreamName,
    pub(crate) owner: Owner,
    /// Entity tag of its ICE session as it was told last, with quotes.
    pub(crate) etag: String,
    /// Position of the first `m=video` section in the answer, counted from zero.
    pub(crate) video_line: Option<usize>,
}

/// What a session name turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// A session that runs, or ends just now.
    Open(Session),
    /// One that ended a while ago; its key, as it was.
    Ended(Option<KeyHash>),
    /// None that is remembered.
    Nothing,
}

struct Entry {
    session: Session,
    /// Goes with the entry; who listens learns of the end.
    end: watch::Sender<()>,
    event_streams: BTreeMap<u32, EventStream>,
    next_event_stream: u32,
}

struct EventStream {
    /// What was asked for; what the words mean is the reader's business.
    events: Vec<&'static str>,
    end: watch::Sender<()>,
}

/// One event stream, for its reader.
#[derive(Debug)]
pub(crate) struct EventStreamReader {
    /// What was asked for.
    pub(crate) events: Vec<&'static str>,
    /// Fails when the stream was deleted or its session has ended.
    pub(crate) ends: [watch::Receiver<()>; 2],
}

/// All sessions of the node, places that are taken, and the names of those that ended a while ago.
#[derive(Default)]
pub(crate) struct Sessions {
    open: HashMap<String, Entry>,
    ended: VecDeque<(String, Kind, StreamName, Option<KeyHash>)>,
    addresses: HashMap<IpAddr, usize>,
    viewers: BTreeMap<StreamName, usize>,
}

impl Sessions {
    /// Takes a place for a session that is about to be opened. [`Self::give_back`] returns it when nothing comes of it;
    /// otherwise it goes with the session.
    pub(crate) fn take_place(
        &mut self,
        kind: Kind,
        stream: &StreamName,
        address: IpAddr,
        bounds: Bounds,
    ) -> Result<(), NoPlace> {
        let client = counted_as(address);
        let of_client = client.map_or(0, |client| self.addresses.get(&client).copied().unwrap_or(0));
        if of_client >= bounds.per_address {
            return Err(NoPlace::Address { limit: bounds.per_address });
        }
        if kind == Kind::Viewer {
            let of_stream = self.viewers.get(stream).copied().unwrap_or(0);
            if of_stream >= bounds.viewers_per_stream {
                return Err(NoPlace::Stream { limit: bounds.viewers_per_stream });
            }
            self.viewers.insert(stream.clone(), of_stream + 1);
        }
        if let Some(client) = client {
            self.addresses.insert(client, of_client + 1);
        }
        Ok(())
    }

    /// Gives a place back.
    pub(crate) fn give_back(&mut self, kind: Kind, stream: &StreamName, address: IpAddr) {
        if let Some(client) = counted_as(address)
            && let Some(count) = self.addresses.get_mut(&client)
        {
            *count -= 1;
            if *count == 0 {
                self.addresses.remove(&client);
            }
        }
        if kind == Kind::Viewer
            && let Some(count) = self.viewers.get_mut(stream)
        {
            *count -= 1;
            if *count == 0 {
                self.viewers.remove(stream);
            }
        }
    }

    /// Enters a session, which keeps the place taken for it.
    pub(crate) fn insert(&mut self, session: Session) {
        let name = session.id.as_str().to_owned();
        let entry = Entry {
            session,
            end: watch::Sender::new(()),
            event_streams: BTreeMap::new(),
            next_event_stream: 1,
        };
        self.open.insert(name, entry);
    }

    /// Takes a session out, with its place and its event streams.
    pub(crate) fn remove(&mut self, id: &SessionId) {
        let Some(entry) = self.open.remove(id.as_str()) else { return };
        let Session { kind, stream, owner, .. } = entry.session;
        self.give_back(kind, &stream, owner.address);
        if self.ended.len() == ENDED_REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back((id.as_str().to_owned(), kind, stream, owner.key));
    }

    /// What stands behind the last part of a session URL. A name under another stream's URL is no name.
    pub(crate) fn find(&self, kind: Kind, stream: &StreamName, name: &str) -> Found {
        let fits = |session: &Session| session.kind == kind && session.stream == *stream;
        if let Some(entry) = self.open.get(name).filter(|entry| fits(&entry.session)) {
            return Found::Open(entry.session.clone());
        }
        let ended = self.ended.iter().find(|(n, k, s, _)| n == name && *k == kind && s == stream);
        ended.map_or(Found::Nothing, |(.., key)| Found::Ended(key.clone()))
    }

    /// Every viewer's session, to see which of them the node has ended.
    pub(crate) fn viewers(&self) -> Vec<SessionId> {
        let sessions = self.open.values().map(|entry| &entry.session);
        sessions.filter(|s| s.kind == Kind::Viewer).map(|s| s.id.clone()).collect()
    }

    /// Takes note of a new ICE session.
    pub(crate) fn set_etag(&mut self, id: &SessionId, etag: &str) {
        if let Some(entry) = self.open.get_mut(id.as_str()) {
            etag.clone_into(&mut entry.session.etag);
        }
    }

    /// Opens an event stream; its number, or `None` when the session has ended or has too many.
    pub(crate) fn open_events(&mut self, id: &SessionId, events: Vec<&'static str>) -> Option<u32> {
        let entry = self.open.get_mut(id.as_str())?;
        if entry.event_streams.len() >= EVENT_STREAMS_MAX {
            return None;
        }
        let number = entry.next_event_stream;
        entry.next_event_stream = number.checked_add(1)?;
        entry.event_streams.insert(number, EventStream { events, end: watch::Sender::new(()) });
        Some(number)
    }

    /// Reads an event stream.
    pub(crate) fn read_events(&self, id: &SessionId, number: u32) -> Option<EventStreamReader> {
        let entry = self.open.get(id.as_str())?;
        let stream = entry.event_streams.get(&number)?;
        let ends = [entry.end.subscribe(), stream.end.subscribe()];
        Some(EventStreamReader { events: stream.events.clone(), ends })
    }

    /// Deletes an event stream; false when there is none of that number.
    pub(crate) fn close_events(&mut self, id: &SessionId, number: u32) -> bool {
        self.open.get_mut(id.as_str()).is_some_and(|entry| entry.event_streams.remove(&number).is_some())
    }

    /// Fails when the session ends.
    pub(crate) fn end_of(&self, id: &SessionId) -> Option<watch::Receiver<()>> {
        self.open.get(id.as_str()).map(|entry| entry.end.subscribe())
    }
}

/// The address that a client's sessions are counted under: none for the machine itself, the /64 of an IPv6 client, who has all of it.
fn counted_as(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V6(v6) => Some(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => Some(v4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { per_address: 2, viewers_per_stream: 3 };

    fn stream(name: &str) -> StreamName {
        name.parse().unwrap()
    }

    fn id(n: u32) -> SessionId {
        format!("{n:032x}").parse().unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn viewer(n: u32, from: &str) -> Session {
        Session {
            id: id(n),
            kind: Kind::Viewer,
            stream: stream("demo"),
            owner: Owner { address: address(from), key: Some(KeyHash::of("k")) },
            etag: "\"1\"".to_owned(),
            video_line: Some(1),
        }
    }

    fn enter(sessions: &mut Sessions, n: u32, from: &str) -> Result<(), NoPlace> {
        sessions.take_place(Kind::Viewer, &stream("demo"), address(from), BOUNDS)?;
        sessions.insert(viewer(n, from));
        Ok(())
    }

    #[test]
    fn one_address_has_its_places_and_gets_them_back() {
        let mut sessions = Sessions::default();
        enter(&mut sessions, 1, "192.0.2.1").unwrap();
        enter(&mut sessions, 2, "::ffff:192.0.2.1").unwrap();
        assert_eq!(enter(&mut sessions, 3, "192.0.2.1"), Err(NoPlace::Address { limit: 2 }));
        sessions.remove(&id(1));
        sessions.remove(&id(1));
        enter(&mut sessions, 3, "192.0.2.1").unwrap();
        enter(&mut sessions, 4, "192.0.2.2").unwrap();
        assert_eq!(enter(&mut sessions, 5, "192.0.2.3"), Err(NoPlace::Stream { limit: 3 }));
        // A refusal takes no place of the other kind.
        assert_eq!(sessions.addresses.len(), 2);
        for n in 2..=4 {
            sessions.remove(&id(n));
        }
        assert!(sessions.addresses.is_empty() && sessions.viewers.is_empty());
    }

    #[test]
    fn an_ipv6_client_counts_by_its_network_and_the_machine_itself_not_at_all() {
        assert_eq!(counted_as(address("2001:db8:1:2:3::4")), Some(address("2001:db8:1:2::")));
        for own in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(counted_as(address(own)), None);
        }
    }

    #[test]
    fn a_session_is_found_under_its_own_url_only() {
        let mut sessions = Sessions::default();
        enter(&mut sessions, 1, "192.0.2.1").unwrap();
        let name = id(1).as_str().to_owned();
        assert_eq!(sessions.find(Kind::Viewer, &stream("demo"), &name), Found::Open(viewer(1, "192.0.2.1")));
        assert_eq!(sessions.find(Kind::Publisher, &stream("demo"), &name), Found::Nothing);
        assert_eq!(sessions.find(Kind::Viewer, &stream("other"), &name), Found::Nothing);
        sessions.remove(&id(1));
        assert_eq!(sessions.find(Kind::Viewer, &stream("demo"), &name), Found::Ended(Some(KeyHash::of("k"))));
        assert_eq!(sessions.find(Kind::Viewer, &stream("other"), &name), Found::Nothing);
    }

    #[test]
    fn what_has_ended_is_remembered_within_bounds() {
        let mut sessions = Sessions::default();
        for n in 0..2 * ENDED_REMEMBERED as u32 {
            enter(&mut sessions, n, "127.0.0.1").unwrap();
            sessions.remove(&id(n));
        }
        assert_eq!(sessions.ended.len(), ENDED_REMEMBERED);
        assert_eq!(sessions.find(Kind::Viewer, &stream("demo"), id(0).as_str()), Found::Nothing);
    }

    #[test]
    fn event_streams_end_with_themselves_and_with_their_session() {
        let mut sessions = Sessions::default();
        enter(&mut sessions, 1, "127.0.0.1").unwrap();
        let first = sessions.open_events(&id(1), vec!["active"]).unwrap();
        let second = sessions.open_events(&id(1), vec!["layers"]).unwrap();
        let (first_reader, second_reader) =
            (sessions.read_events(&id(1), first).unwrap(), sessions.read_events(&id(1), second).unwrap());
        let over = |reader: &EventStreamReader| reader.ends.iter().any(|end| end.has_changed().is_err());
        assert_eq!(second_reader.events, ["layers"]);
        assert!(sessions.close_events(&id(1), first) && !sessions.close_events(&id(1), first));
        assert!(over(&first_reader) && !over(&second_reader));
        assert!(sessions.read_events(&id(1), first).is_none());
        sessions.remove(&id(1));
        assert!(over(&second_reader) && sessions.open_events(&id(1), vec![]).is_none());
    }

    #[test]
    fn a_viewer_has_few_event_streams() {
        let mut sessions = Sessions::default();
        enter(&mut sessions, 1, "127.0.0.1").unwrap();
        let numbers: Vec<_> = (0..=EVENT_STREAMS_MAX).map(|_| sessions.open_events(&id(1), vec![])).collect();
        assert_eq!(numbers.iter().flatten().count(), EVENT_STREAMS_MAX);
        assert_eq!(numbers[EVENT_STREAMS_MAX], None);
    }
}
