//! ICE servers as WHIP and WHEP name them and as webrtcbin wants them, and the addresses to gather from.

use super::ClientError;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// A STUN or TURN server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IceServer {
    /// `stun://host:port`
    Stun(String),
    /// `turn(s)://user:password@host:port[?transport=..]`
    Turn(String),
}

impl IceServer {
    /// From an option: a URL in webrtcbin's form.
    pub(crate) fn from_option(url: &str) -> Result<Self, ClientError> {
        match url.split_once("://").map(|(scheme, _)| scheme) {
            Some("stun") => Ok(Self::Stun(url.to_owned())),
            Some("turn" | "turns") => Ok(Self::Turn(url.to_owned())),
            _ => Err(ClientError::Option(format!(
                "`{url}` is no ICE server: it is `stun://host:port` or `turn://user:password@host:port`"
            ))),
        }
    }

    /// From the URI of a `Link` header, `stun:host:port` (RFC 7064) or `turn:host:port?transport=udp` (RFC 7065), and its
    /// credentials. `None` for anything else, and for TURN without credentials.
    pub(crate) fn from_link(uri: &str, username: Option<&str>, credential: Option<&str>) -> Option<Self> {
        let (scheme, rest) = uri.split_once(':')?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        match scheme.to_ascii_lowercase().as_str() {
            "stun" => Some(Self::Stun(format!("stun://{}", with_port(rest, 3478)))),
            scheme @ ("turn" | "turns") => {
                let (user, password) = (escape(username?), escape(credential?));
                let port = if scheme == "turns" { 5349 } else { 3478 };
                Some(Self::Turn(format!("{scheme}://{user}:{password}@{}", with_port(rest, port))))
            }
            _ => None,
        }
    }
}

/// `host[:port][?query]` with the port filled in.
fn with_port(authority: &str, port: u16) -> String {
    let (host, query) = authority.split_once('?').map_or((authority, None), |(h, q)| (h, Some(q)));
    let has_port =
        host.rsplit_once(':').is_some_and(|(_, p)| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
            && (!host.starts_with('[') || host.contains("]:"));
    let port = if has_port { String::new() } else { format!(":{port}") };
    let query = query.map(|q| format!("?{q}")).unwrap_or_default();
    format!("{host}{port}{query}")
}

/// Percent-encodes all but the unreserved characters (RFC 3986 section 2.3).
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Addresses libnice must be told to gather from, given those of the server: it leaves out loopback by itself, so a server
/// on this machine would see no candidate. Empty: let libnice look at all interfaces.
///
/// Telling it any address turns its own search off, so the address that leads out of the machine is told too.
pub(crate) fn local_addresses(server: &[SocketAddr]) -> Vec<IpAddr> {
    if !server.iter().any(|a| a.ip().to_canonical().is_loopback()) {
        return Vec::new();
    }
    let mut addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        addresses.push(IpAddr::V6(Ipv6Addr::LOCALHOST));
    }
    addresses.extend(outward_address());
    addresses
}

/// The address of the interface with the default route. Connecting a UDP socket sends nothing; 192.0.2.1 is an address
/// nobody has (RFC 5737).
fn outward_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_uris_become_what_webrtcbin_wants() {
        let stun = |uri| IceServer::from_link(uri, None, None);
        assert_eq!(
            stun("stun:stun.example.net"),
            Some(IceServer::Stun("stun://stun.example.net:3478".into()))
        );
        assert_eq!(
            stun("stun:stun.example.net:19302"),
            Some(IceServer::Stun("stun://stun.example.net:19302".into()))
        );
        assert_eq!(stun("stun:[2001:db8::1]"), Some(IceServer::Stun("stun://[2001:db8::1]:3478".into())));
        assert_eq!(stun("stun:[2001:db8::1]:99"), Some(IceServer::Stun("stun://[2001:db8::1]:99".into())));
        assert_eq!(stun("https://example.net"), None);
        let turn = |uri| IceServer::from_link(uri, Some("1700000000:bob"), Some("p/w="));
        assert_eq!(
            turn("turn:turn.example.net?transport=udp"),
            Some(IceServer::Turn(
                "turn://1700000000%3Abob:p%2Fw%3D@turn.example.net:3478?transport=udp".into()
            ))
        );
        assert_eq!(
            turn("turns:t:443"),
            Some(IceServer::Turn("turns://1700000000%3Abob:p%2Fw%3D@t:443".into()))
        );
        assert_eq!(IceServer::from_link("turn:t", None, None), None, "TURN wants credentials");
    }

    #[test]
    fn only_a_server_on_this_machine_needs_loopback_candidates() {
        let far: SocketAddr = "198.51.100.7:443".parse().unwrap();
        let near: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        assert!(local_addresses(&[far]).is_empty());
        assert!(local_addresses(&[]).is_empty());
        assert!(local_addresses(&[far, near]).contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
}
