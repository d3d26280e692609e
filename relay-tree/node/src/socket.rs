//! UDP sockets of a relay thread: batched reads (recvmmsg, GRO), the local address of each datagram, sends from that address.

use crate::error::NodeError;
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// One read may bring up to 64 KiB when the kernel joins datagrams of one flow (GRO).
const BUFFER: usize = 64 * 1024;
/// Buffers per read. More than a publisher's burst; each costs 64 KiB of address space a thread.
const BATCH: usize = if BATCH_SIZE < 16 { BATCH_SIZE } else { 16 };
/// How often a port is sought that is free in all families at once.
const PORT_ATTEMPTS: usize = 32;

/// A socket of one family.
#[derive(Debug)]
pub(crate) struct MediaSocket {
    socket: UdpSocket,
    state: UdpSocketState,
    addr: SocketAddr,
}

/// Where a peer's datagrams come from and arrive, so that answers leave the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) remote: SocketAddr,
    pub(crate) via: Via,
    /// The address of this machine that the peer used, where the system tells.
    pub(crate) local_ip: Option<IpAddr>,
}

/// What carries a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Via {
    /// The thread's UDP socket with this index.
    Udp(usize),
    /// The TCP connection with this number (RFC 6544).
    Tcp(u64),
}

impl Path {
    /// Whether both lead to the same place by the same way.
    pub(crate) fn same(self, other: Self) -> bool {
        self.remote == other.remote && self.via == other.via
    }

    /// `udp` or `tcp`.
    pub(crate) const fn transport(self) -> &'static str {
        match self.via {
            Via::Udp(_) => "udp",
            Via::Tcp(_) => "tcp",
        }
    }
}

/// Sizes of a socket's kernel buffers, in bytes; the kernel may grant less.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Buffers {
    pub(crate) receive: usize,
    pub(crate) send: usize,
}

impl MediaSocket {
    fn open(addr: SocketAddr, buffers: Buffers) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        if let Err(error) = socket.set_recv_buffer_size(buffers.receive) {
            tracing::warn!(%addr, %error, "the receive buffer stays as the system made it");
        }
        if let Err(error) = socket.set_send_buffer_size(buffers.send) {
            tracing::warn!(%addr, %error, "the send buffer stays as the system made it");
        }
        socket.bind(&addr.into())?;
        let socket = UdpSocket::from(socket);
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let addr = socket.local_addr()?;
        Ok(Self { socket, state, addr })
    }

    /// The address it is bound to.
    pub(crate) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The socket, to poll it.
    pub(crate) const fn inner(&self) -> &UdpSocket {
        &self.socket
    }

    /// Sends datagrams along `path`: one, or several of `segment` bytes each (the last may be shorter) by one system call.
    pub(crate) fn send(&self, path: Path, contents: &[u8], segment: Option<usize>) -> io::Result<()> {
        // A source address is only ours to choose on a wildcard socket.
        let src_ip = if self.addr.ip().is_unspecified() { path.local_ip } else { None };
        let transmit =
            Transmit { destination: path.remote, ecn: None, contents, segment_size: segment, src_ip };
        self.state.try_send(UdpSockRef::from(&self.socket), &transmit)
    }

    /// Datagrams that one call can send; 1 where the system does not cut them (it is asked again after a failure).
    pub(crate) fn max_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Reads a batch; `WouldBlock` when there is nothing.
    pub(crate) fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        batch.filled = 0;
        let mut slices = batch.storage.chunks_exact_mut(BUFFER).map(IoSliceMut::new);
        let mut slices: [IoSliceMut<'_>; BATCH] =
            std::array::from_fn(|_| slices.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
        batch.filled = self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut batch.meta)?;
        Ok(())
    }
}

/// Room for one read.
#[derive(Debug)]
pub(crate) struct ReceiveBatch {
    storage: Vec<u8>,
    meta: [RecvMeta; BATCH],
    filled: usize,
}

impl ReceiveBatch {
    pub(crate) fn new() -> Self {
        Self { storage: vec![0; BUFFER * BATCH], meta: [RecvMeta::default(); BATCH], filled: 0 }
    }

    /// The datagrams of the last read: source, local address, contents.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, Option<IpAddr>, &[u8])> {
        let filled = self.meta.iter().zip(self.storage.chunks_exact(BUFFER)).take(self.filled);
        filled.flat_map(|(meta, buffer)| {
            let joined = &buffer[..meta.len.min(BUFFER)];
            // An empty datagram is one, too: `chunks` would not give it.
            let empty = joined.is_empty().then_some(joined);
            let datagrams = joined.chunks(meta.stride.max(1)).chain(empty);
            datagrams.map(move |datagram| (plain(meta.addr), meta.dst_ip, datagram))
        })
    }
}

/// A source address that compares equal for equal peers: without the flow label that some systems leave in.
fn plain(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V6(mut addr) => {
            addr.set_flowinfo(0);
            SocketAddr::V6(addr)
        }
        v4 @ SocketAddr::V4(_) => v4,
    }
}

/// The sockets of one thread: one per address, all on one port.
///
/// # Errors
///
/// [`NodeError::Bind`] with the address that could not be had.
pub(crate) fn open_all(bind: &[IpAddr], port: u16, buffers: Buffers) -> Result<Vec<MediaSocket>, NodeError> {
    for attempt in 1.. {
        match open_on_one_port(bind, port, buffers) {
            Err(NodeError::Bind { source, .. })
                if port == 0 && source.kind() == io::ErrorKind::AddrInUse && attempt < PORT_ATTEMPTS => {}
            result => return result,
        }
    }
    unreachable!("the last attempt returns")
}

fn open_on_one_port(bind: &[IpAddr], port: u16, buffers: Buffers) -> Result<Vec<MediaSocket>, NodeError> {
    let mut sockets: Vec<MediaSocket> = Vec::new();
    for (ip, optional) in families(bind) {
        let port = sockets.first().map_or(port, |s| s.addr.port());
        let addr = SocketAddr::new(ip, port);
        match MediaSocket::open(addr, buffers) {
            Ok(socket) => sockets.push(socket),
            Err(error) if optional && no_such_family(&error) => {
                tracing::info!(%addr, %error, "this machine has no IPv6; media goes over IPv4 only");
            }
            Err(source) => return Err(NodeError::Bind { addr, source }),
        }
    }
    if sockets.is_empty() { Err(NodeError::NothingToBind) } else { Ok(sockets) }
}

/// Addresses to bind, each with whether it may be missing: `::` stands for both families, by a socket each.
fn families(bind: &[IpAddr]) -> Vec<(IpAddr, bool)> {
    const V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let mut all: Vec<(IpAddr, bool)> = Vec::new();
    for &ip in bind {
        let expanded: &[(IpAddr, bool)] = if ip == V6 { &[(V4, false), (V6, true)] } else { &[(ip, false)] };
        for &entry in expanded {
            if !all.iter().any(|(known, _)| *known == entry.0) {
                all.push(entry);
            }
        }
    }
    all
}

fn no_such_family(error: &io::Error) -> bool {
    // Without the module there is no such family; with `disable_ipv6` there is no such address.
    const EAFNOSUPPORT: i32 = 97;
    error.raw_os_error() == Some(EAFNOSUPPORT) || error.kind() == io::ErrorKind::AddrNotAvailable
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Buffers = Buffers { receive: 65_536, send: 65_536 };

    #[test]
    fn the_ipv6_wildcard_means_both_families_on_one_port() {
        let sockets = open_all(&[IpAddr::V6(Ipv6Addr::UNSPECIFIED)], 0, SMALL).unwrap();
        assert_eq!(sockets[0].addr().ip(), IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        assert!(sockets.iter().all(|s| s.addr().port() == sockets[0].addr().port()));
    }

    #[test]
    fn a_taken_port_is_an_error_that_names_it() {
        let lo = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let first = open_all(&[lo], 0, SMALL).unwrap();
        let port = first[0].addr().port();
        let error = open_all(&[lo], port, SMALL).unwrap_err();
        assert!(matches!(error, NodeError::Bind { addr, .. } if addr.port() == port), "{error}");
    }
}
