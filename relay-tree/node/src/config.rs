//! What a node is told at its start.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// How a node's relay threads listen and how long they wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeConfig {
    /// Local addresses to listen on. `::` means both families (IPv6 is left out where the machine has none);
    /// `0.0.0.0` means IPv4 only.
    pub bind: Vec<IpAddr>,
    /// UDP port of the first relay thread; thread `i` uses `media_port + i`. 0: any free ports.
    pub media_port: u16,
    /// Relay threads; each has its own sockets and sessions.
    pub threads: usize,
    /// Addresses written into answers instead of the machine's own (NAT 1:1, a public address in a cloud). Each is offered with
    /// each thread's port. Empty: the machine's own addresses.
    pub advertise: Vec<IpAddr>,
    /// From the answer until ICE and DTLS must be done.
    pub connect_timeout: Duration,
    /// A connected peer from which nothing authentic arrives for so long is gone.
    ///
    /// Clients check consent every 4 to 6 s (RFC 7675 section 5.1), so less than 6 s would end sessions that merely have nothing
    /// to say.
    pub silence_timeout: Duration,
    /// A viewer that has neither checked its path nor reported for so long is gone. A lite server cannot ask; clients check every
    /// 2 to 6 s (RFC 7675 section 5.1 lets consent live for 30 s).
    pub viewer_timeout: Duration,
    /// Sessions on this node at once; more are refused as overload.
    pub max_sessions: usize,
    /// Bytes of an SDP offer; larger ones are refused unread.
    pub max_offer_bytes: usize,
    /// What a publisher without transport-wide congestion control is told it may send (REMB), in bits per second.
    pub max_publish_bitrate: u64,
    /// Viewers of one stream at once; more are refused.
    pub max_viewers: usize,
    /// Also accept media over TCP (ICE-TCP) on the same port numbers.
    pub tcp: bool,
    /// Send packets of one frame to one viewer by one system call where the system can (UDP GSO).
    pub gso: bool,
    /// Kernel send buffer of each socket, in bytes (the kernel may grant less: `net.core.wmem_max`).
    pub send_buffer_bytes: usize,
    /// Kernel receive buffer of each socket, in bytes (the kernel may grant less: `net.core.rmem_max`).
    pub receive_buffer_bytes: usize,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            bind: vec![IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
            media_port: 8190,
            threads: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            advertise: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            silence_timeout: Duration::from_millis(6_500),
            viewer_timeout: Duration::from_secs(15),
            max_sessions: 4_096,
            max_offer_bytes: 64 * 1024,
            max_publish_bitrate: 20_000_000,
            max_viewers: usize::MAX,
            tcp: true,
            gso: true,
            send_buffer_bytes: 4 * 1024 * 1024,
            receive_buffer_bytes: 4 * 1024 * 1024,
        }
    }
}
