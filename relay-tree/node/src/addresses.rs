//! Which addresses a peer is told.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Addresses in one answer; a machine with many interfaces tells the first ones.
const MAX_CANDIDATES: usize = 16;

/// The addresses to advertise for sockets bound to `bound`: `advertise` when given, else what the sockets can be reached by.
pub(crate) fn candidates(
    bound: &[SocketAddr],
    advertise: &[IpAddr],
    machine: impl FnOnce() -> Vec<IpAddr>,
) -> Vec<SocketAddr> {
    let port_of = |ip: &IpAddr| bound.iter().find(|b| b.is_ipv4() == ip.is_ipv4()).map(SocketAddr::port);
    let mut ips: Vec<IpAddr> = Vec::new();
    let mut add = |ip: IpAddr| {
        if !ips.contains(&ip) && usable(ip) {
            ips.push(ip);
        }
    };
    if advertise.is_empty() {
        let wildcard = |v4| bound.iter().any(|b| b.is_ipv4() == v4 && b.ip().is_unspecified());
        bound.iter().map(SocketAddr::ip).for_each(&mut add);
        if wildcard(true) || wildcard(false) {
            let own = machine();
            // Loopback last: right for a browser on this machine, useless for any other.
            let reachable = own.iter().filter(|ip| wildcard(ip.is_ipv4()));
            reachable.clone().filter(|ip| !ip.is_loopback()).copied().for_each(&mut add);
            reachable.filter(|ip| ip.is_loopback()).copied().for_each(&mut add);
        }
    } else {
        advertise.iter().copied().for_each(&mut add);
    }
    ips.truncate(MAX_CANDIDATES);
    ips.iter().filter_map(|ip| Some(SocketAddr::new(*ip, port_of(ip)?))).collect()
}

/// Whether an address makes sense to somebody else: link-local ones need a zone that only this machine knows.
fn usable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            !(ip.is_unspecified() || ip.is_link_local() || ip.is_multicast() || ip.is_broadcast())
        }
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_unicast_link_local() || ip.is_multicast()),
    }
}

/// The addresses of this machine's interfaces that are up.
pub(crate) fn machine_addresses() -> Vec<IpAddr> {
    match if_addrs::get_if_addrs() {
        Ok(interfaces) => interfaces.into_iter().map(|i| i.ip()).collect(),
        Err(error) => {
            tracing::warn!(%error, "cannot list this machine's addresses; only loopback is told to peers");
            vec![IpAddr::from([127, 0, 0, 1]), IpAddr::V6(Ipv6Addr::LOCALHOST)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn told(bound: &[&str], advertise: &[&str], machine: &[&str]) -> Vec<String> {
        let bound: Vec<SocketAddr> = bound.iter().map(|b| b.parse().unwrap()).collect();
        let advertise: Vec<IpAddr> = advertise.iter().map(|a| ip(a)).collect();
        let machine = machine.iter().map(|m| ip(m)).collect();
        candidates(&bound, &advertise, || machine).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_wildcard_tells_the_machines_own_addresses_with_loopback_last_and_link_local_not_at_all() {
        let machine = ["127.0.0.1", "10.0.0.5", "::1", "fe80::1", "2001:db8::5", "169.254.1.1"];
        assert_eq!(
            told(&["0.0.0.0:8190", "[::]:8190"], &[], &machine),
            ["10.0.0.5:8190", "[2001:db8::5]:8190", "127.0.0.1:8190", "[::1]:8190"]
        );
        assert_eq!(told(&["0.0.0.0:8190"], &[], &machine), ["10.0.0.5:8190", "127.0.0.1:8190"]);
    }

    #[test]
    fn a_bound_address_tells_itself_and_nothing_of_the_machine() {
        assert_eq!(told(&["127.0.0.1:9"], &[], &["10.0.0.5"]), ["127.0.0.1:9"]);
    }

    #[test]
    fn configured_addresses_replace_all_others_and_take_the_port_of_their_family() {
        assert_eq!(
            told(
                &["0.0.0.0:8190", "[::]:8191"],
                &["203.0.113.7", "2001:db8::7", "203.0.113.7"],
                &["10.0.0.5"]
            ),
            ["203.0.113.7:8190", "[2001:db8::7]:8191"]
        );
        assert_eq!(told(&["0.0.0.0:8190"], &["2001:db8::7"], &[]), Vec::<String>::new());
    }
}
