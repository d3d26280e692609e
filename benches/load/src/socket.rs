//! A viewer's own UDP socket, read in batches: one system call brings a whole frame when the server sends it as one (GRO).

use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// One read may bring up to 64 KiB when the kernel joins datagrams of one flow (GRO).
const BUFFER: usize = 64 * 1024;
/// Buffers per read; shared by all viewers of a thread.
const BATCH: usize = 8;
/// What is asked of the system; it gives at most `net.core.rmem_max`. Holds a keyframe of a few Mbit/s twice over.
const RECEIVE_BUFFER: usize = 1 << 20;

/// A non-blocking socket on a port of its own.
#[derive(Debug)]
pub(crate) struct ViewerSocket {
    socket: UdpSocket,
    /// Absent when datagrams are to be taken one by one.
    batched: Option<UdpSocketState>,
    addr: SocketAddr,
}

/// Room for one read.
pub(crate) struct Batch {
    storage: Vec<u8>,
    meta: [RecvMeta; BATCH],
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self { storage: vec![0; BUFFER * BATCH], meta: [RecvMeta::default(); BATCH] }
    }
}

impl ViewerSocket {
    /// Binds a free port of `ip`. With `batched` the kernel may join datagrams, as it does for browsers.
    pub(crate) fn open(ip: IpAddr, batched: bool) -> io::Result<Self> {
        let addr = SocketAddr::new(ip, 0);
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        if let Err(error) = socket.set_recv_buffer_size(RECEIVE_BUFFER) {
            tracing::debug!(%error, "the receive buffer stays as the system made it");
        }
        socket.bind(&addr.into())?;
        let socket = UdpSocket::from(socket);
        let batched = batched.then(|| UdpSocketState::new(UdpSockRef::from(&socket))).transpose()?;
        let addr = socket.local_addr()?;
        Ok(Self { socket, batched, addr })
    }

    pub(crate) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) const fn inner(&self) -> &UdpSocket {
        &self.socket
    }

    /// Sends a datagram. A full buffer loses it, as a network might: everything sent here is repeated or periodic.
    pub(crate) fn send(&self, to: SocketAddr, datagram: &[u8]) {
        if let Err(error) = self.socket.send_to(datagram, to) {
            tracing::debug!(%error, %to, "a datagram was not sent");
        }
    }

    /// Hands every waiting datagram with its source to `take`, and the time of its arrival (since 1970) where the kernel tells.
    pub(crate) fn read(
        &self,
        batch: &mut Batch,
        mut take: impl FnMut(SocketAddr, Option<Duration>, &[u8]),
    ) -> io::Result<()> {
        let Some(state) = &self.batched else {
            loop {
                match self.socket.recv_from(&mut batch.storage[..BUFFER]) {
                    Ok((length, source)) => take(source, None, &batch.storage[..length]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                    Err(error) if is_passing(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        };
        loop {
            let mut slices = batch.storage.chunks_exact_mut(BUFFER).map(IoSliceMut::new);
            let mut slices: [IoSliceMut<'_>; BATCH] =
                std::array::from_fn(|_| slices.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
            let filled = match state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut batch.meta) {
                Ok(filled) => filled,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if is_passing(&error) => continue,
                Err(error) => return Err(error),
            };
            for (meta, buffer) in batch.meta.iter().zip(batch.storage.chunks_exact(BUFFER)).take(filled) {
                for datagram in buffer[..meta.len.min(BUFFER)].chunks(meta.stride.max(1)) {
                    take(meta.addr, meta.timestamp, datagram);
                }
            }
            // A read that was not filled emptied the socket: what comes later is announced again (edge triggered).
            if filled < BATCH {
                return Ok(());
            }
        }
    }
}

/// An error of an earlier datagram (ICMP), or a signal: reading goes on.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Interrupted
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
    )
}

/// The address from which `target` is reached.
pub(crate) fn local_address(target: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr =
        if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // Connecting a UDP socket sends nothing; it only asks the routing table.
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip())
}
