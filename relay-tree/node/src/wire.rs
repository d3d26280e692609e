//! Everything a relay thread sends leaves here: by UDP, one datagram or a run of them, or by a TCP connection.

use crate::socket::{MediaSocket, Path, Via};
use crate::stats::Counters;
use crate::tcp::TcpSide;
use std::sync::Arc;

/// Datagrams from which on one call for all is cheaper than one for each. Measured (`benches/README.md`): two cost 0.56 to 0.73 of what
/// they cost one by one, and one alone 1.06 to 1.08, so that it leaves without segmentation.
const MIN_RUN: u64 = 2;

/// The sockets of one thread, as far as sending is concerned.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) sockets: Vec<MediaSocket>,
    pub(crate) tcp: TcpSide,
    /// Whether runs may leave by one call (`media.gso`).
    pub(crate) gso: bool,
    pub(crate) counters: Arc<Counters>,
}

impl Wire {
    /// Sends one datagram.
    pub(crate) fn send(&mut self, path: Path, datagram: &[u8]) {
        self.send_run(path, datagram, datagram.len());
    }

    /// Sends datagrams of `segment` bytes each, the last of which may be shorter.
    pub(crate) fn send_run(&mut self, path: Path, run: &[u8], segment: usize) {
        if run.is_empty() || segment == 0 {
            return;
        }
        let datagrams = run.len().div_ceil(segment) as u64;
        let sent = match path.via {
            Via::Udp(socket) => self.send_udp(socket, path, run, segment),
            Via::Tcp(connection) => {
                run.chunks(segment).filter(|datagram| self.tcp.send(connection, datagram)).count() as u64
            }
        };
        Counters::add(&self.counters.datagrams_out, sent);
        if sent == datagrams {
            Counters::add(&self.counters.bytes_out, run.len() as u64);
        } else {
            Counters::add(&self.counters.bytes_out, sent * segment as u64);
            Counters::add(&self.counters.send_errors, datagrams - sent);
        }
    }

    fn send_udp(&self, socket: usize, path: Path, run: &[u8], segment: usize) -> u64 {
        let Some(socket) = self.sockets.get(socket) else { return 0 };
        let datagrams = run.len().div_ceil(segment) as u64;
        Counters::one(&self.counters.sends);
        if datagrams < MIN_RUN {
            return u64::from(socket.send(path, run, None).is_ok());
        }
        if socket.send(path, run, Some(segment)).is_ok() {
            return datagrams;
        }
        // Some drivers refuse runs: the socket has noted it, and what was refused leaves one by one.
        Counters::add(&self.counters.sends, datagrams - 1);
        run.chunks(segment).filter(|datagram| socket.send(path, datagram, None).is_ok()).count() as u64
    }

    /// Datagrams that may leave `path` by one call.
    pub(crate) fn max_run(&self, path: Path) -> usize {
        match path.via {
            Via::Udp(socket) if self.gso => self.sockets.get(socket).map_or(1, MediaSocket::max_segments),
            _ => 1,
        }
    }
}
