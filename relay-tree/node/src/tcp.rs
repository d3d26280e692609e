//! ICE-TCP (RFC 6544), passive side: listeners on the same port numbers as UDP, and connections that carry datagrams in frames
//! (RFC 4571), for networks that let no UDP through.

use crate::error::NodeError;
use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Connections of one thread at a time.
const MAX_CONNECTIONS: usize = 4_096;
/// A connection that has not proved to belong to a session by then is closed.
const PROOF_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that wait for a slow reader: about a second of video. More is dropped, as a network would.
const MAX_WAITING: usize = 256 * 1024;
/// Bytes read from one connection before the others get their turn.
const READ_TURN: usize = 64 * 1024;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;
/// A frame's length comes before it, in two bytes (RFC 4571 section 2).
const LENGTH: usize = 2;
/// Larger frames are nobody's.
const MAX_FRAME: usize = 2_048;

/// Listeners and connections of one thread.
#[derive(Debug, Default)]
pub(crate) struct TcpSide {
    listeners: Vec<TcpListener>,
    connections: HashMap<u64, Connection>,
    next: u64,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    remote: SocketAddr,
    local_ip: IpAddr,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// How much of `outgoing` has been sent.
    sent: usize,
    opened: Instant,
    proved: bool,
    readable: bool,
}

/// What reading a connection came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// It may have more to say later.
    Open,
    /// It is over.
    Closed,
}

impl TcpSide {
    /// Listens where UDP does.
    ///
    /// # Errors
    ///
    /// [`NodeError::BindTcp`] with the address that could not be had.
    pub(crate) fn listen(addrs: &[SocketAddr]) -> Result<Self, NodeError> {
        let mut side = Self::default();
        for &addr in addrs {
            let listener = listen(addr).map_err(|source| NodeError::BindTcp { addr, source })?;
            side.listeners.push(listener);
        }
        Ok(side)
    }

    /// The listeners, to poll them.
    pub(crate) fn listeners(&mut self) -> impl Iterator<Item = &mut TcpListener> {
        self.listeners.iter_mut()
    }

    /// The connection's socket, to poll it.
    pub(crate) fn stream(&mut self, connection: u64) -> Option<&mut TcpStream> {
        self.connections.get_mut(&connection).map(|c| &mut c.stream)
    }

    /// Accepts what waits at a listener; gives the numbers of new connections.
    pub(crate) fn accept(&mut self, listener: usize, now: Instant) -> Vec<u64> {
        let mut accepted = Vec::new();
        while let Some(listener) = self.listeners.get(listener) {
            match listener.accept() {
                Ok((stream, remote)) => {
                    // Beyond the bound the newcomer goes: those who are here have a session, or soon none.
                    if self.connections.len() < MAX_CONNECTIONS
                        && let Ok(local) = stream.local_addr()
                    {
                        if let Err(error) = stream.set_nodelay(true) {
                            tracing::debug!(%error, "no TCP_NODELAY");
                        }
                        let number = self.next;
                        self.next += 1;
                        self.connections.insert(number, Connection::new(stream, remote, local.ip(), now));
                        accepted.push(number);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a media connection");
                    break;
                }
            }
        }
        accepted
    }

    /// The system says that a connection can be read or written.
    pub(crate) fn mark(&mut self, connection: u64, readable: bool) {
        if let Some(c) = self.connections.get_mut(&connection) {
            c.readable |= readable;
        }
    }

    /// Connections that may have something to read.
    pub(crate) fn readable(&self) -> Vec<u64> {
        self.connections.iter().filter(|(_, c)| c.readable).map(|(number, _)| *number).collect()
    }

    /// The other end of a connection and the address it came to.
    pub(crate) fn ends(&self, connection: u64) -> Option<(SocketAddr, IpAddr)> {
        self.connections.get(&connection).map(|c| (c.remote, c.local_ip))
    }

    /// Reads a connection; whole frames are appended to `frames`.
    pub(crate) fn read(&mut self, connection: u64, frames: &mut Vec<Vec<u8>>) -> Reading {
        let Some(c) = self.connections.get_mut(&connection) else { return Reading::Closed };
        c.read(frames)
    }

    /// Notes that a connection belongs to a session.
    pub(crate) fn prove(&mut self, connection: u64) {
        if let Some(c) = self.connections.get_mut(&connection) {
            c.proved = true;
        }
    }

    /// Sends a datagram as a frame. False when it was dropped: the reader is slow or gone.
    pub(crate) fn send(&mut self, connection: u64, datagram: &[u8]) -> bool {
        self.connections.get_mut(&connection).is_some_and(|c| c.send(datagram))
    }

    /// Sends what waits; false when the connection is broken.
    pub(crate) fn flush(&mut self, connection: u64) -> bool {
        self.connections.get_mut(&connection).is_none_or(|c| c.flush().is_ok())
    }

    /// Closes a connection.
    pub(crate) fn close(&mut self, connection: u64) {
        self.connections.remove(&connection);
    }

    /// Connections that have not proved themselves in time.
    pub(crate) fn overdue(&self, now: Instant) -> Vec<u64> {
        let late = |c: &Connection| !c.proved && now.saturating_duration_since(c.opened) >= PROOF_TIMEOUT;
        self.connections.iter().filter(|(_, c)| late(c)).map(|(number, _)| *number).collect()
    }

    /// When the first of them will be overdue.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.connections.values().filter(|c| !c.proved).map(|c| c.opened + PROOF_TIMEOUT).min()
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of a server before this one may still be dying.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

impl Connection {
    fn new(stream: TcpStream, remote: SocketAddr, local_ip: IpAddr, now: Instant) -> Self {
        Self {
            stream,
            remote,
            local_ip,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            sent: 0,
            opened: now,
            proved: false,
            readable: true,
        }
    }

    fn read(&mut self, frames: &mut Vec<Vec<u8>>) -> Reading {
        let mut chunk = [0; 16 * 1024];
        let mut taken = 0;
        while taken < READ_TURN {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Reading::Closed,
                Ok(n) => {
                    taken += n;
                    self.incoming.extend_from_slice(&chunk[..n]);
                    if !cut_frames(&mut self.incoming, frames) {
                        return Reading::Closed;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    break;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Reading::Closed,
            }
        }
        Reading::Open
    }

    fn send(&mut self, datagram: &[u8]) -> bool {
        let Ok(length) = u16::try_from(datagram.len()) else { return false };
        if self.outgoing.len() - self.sent + LENGTH + datagram.len() > MAX_WAITING {
            return false;
        }
        self.outgoing.extend_from_slice(&length.to_be_bytes());
        self.outgoing.extend_from_slice(datagram);
        self.flush().is_ok()
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.sent < self.outgoing.len() {
            match self.stream.write(&self.outgoing[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        if self.sent == self.outgoing.len() {
            self.outgoing.clear();
            self.sent = 0;
        } else if self.sent > MAX_WAITING {
            self.outgoing.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }
}

/// Moves whole frames from the head of `bytes` to `frames`; false when what comes is no framing of ours.
fn cut_frames(bytes: &mut Vec<u8>, frames: &mut Vec<Vec<u8>>) -> bool {
    let mut at = 0;
    while let Some(head) = bytes.get(at..at + LENGTH) {
        let length = usize::from(u16::from_be_bytes([head[0], head[1]]));
        if length > MAX_FRAME {
            return false;
        }
        let Some(frame) = bytes.get(at + LENGTH..at + LENGTH + length) else { break };
        // An empty frame says nothing; some clients send one to see whether the connection lives.
        if !frame.is_empty() {
            frames.push(frame.to_vec());
        }
        at += LENGTH + length;
    }
    bytes.drain(..at);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_too_large_to_be_a_datagram_ends_the_connection() {
        let mut bytes = vec![0xff, 0xff, 1, 2, 3];
        assert!(!cut_frames(&mut bytes, &mut Vec::new()));
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_wherever_the_stream_is_cut(
            sent in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..8),
            cut in 1usize..50,
        ) {
            let mut stream = Vec::new();
            for frame in &sent {
                stream.extend_from_slice(&(frame.len() as u16).to_be_bytes());
                stream.extend_from_slice(frame);
            }
            let (mut waiting, mut frames) = (Vec::new(), Vec::new());
            for piece in stream.chunks(cut) {
                waiting.extend_from_slice(piece);
                prop_assert!(cut_frames(&mut waiting, &mut frames));
            }
            prop_assert_eq!(frames, sent);
            prop_assert!(waiting.is_empty());
        }
    }
}
