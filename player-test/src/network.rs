//! A network of a test's own: the test and the server at home, and places beyond a link where browsers run. What a link lets
//! through is the test's to say.
//!
//! ```text
//! home (server, TURN server, the test)        place 1 (a browser, a player)
//!   10.77.0.1, fd77::1          10.77.1.1 --- 10.77.1.2, fd77:1::2
//!                               10.77.2.1 --- 10.77.2.2 ..          place 2
//! ```
//!
//! Everything lives in Linux network namespaces without names, so nothing is left of them when the test ends, however it ends, and the
//! machine's own network is never touched. No right is needed on a machine that lets users make namespaces of their own.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use crate::alone;

/// The server's address, in every place.
pub const HOME: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The same of IPv6.
pub const HOME_V6: Ipv6Addr = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 1);

/// The firewall at home, where packets of places arrive.
const FIREWALL: &str = "table inet links {
    chain arriving { type filter hook prerouting priority filter; }
    chain redirected { type nat hook prerouting priority dstnat; }
}";

/// Runs the test's scenario in a network of its own: starts this test once more, alone, in a new network namespace.
///
/// # Errors
/// Those of the scenario, and when the system makes no namespace: the text says what it takes.
pub fn in_a_network<F>(scenario: F) -> Result<()>
where
    F: AsyncFnOnce(Network) -> Result<()>,
{
    alone::run("--net", async || scenario(Network::new()?).await)
}

/// A network with a home and no places yet.
#[derive(Debug)]
pub struct Network {
    places: u8,
}

impl Network {
    fn new() -> Result<Self> {
        ip("link set lo up")?;
        ip(&format!("address add {HOME}/32 dev lo"))?;
        ip(&format!("-6 address add {HOME_V6}/128 dev lo nodad"))?;
        firewall(FIREWALL)?;
        Ok(Self { places: 0 })
    }

    /// A new place, whose link lets everything through.
    ///
    /// # Errors
    /// When the system cannot make it.
    pub fn place(&mut self) -> Result<Place> {
        self.places += 1;
        let place = Place { number: self.places, namespace: Arc::new(namespace()?) };
        let (link, number) = (place.link(), place.number);
        let there = format!("/proc/{}/fd/{}", std::process::id(), place.namespace.as_raw_fd());
        ip(&format!("link add {link} type veth peer name eth0 netns {there}"))?;
        // Packets travel one by one, as over any cable: a batch would be lost or kept as a whole.
        ip(&format!("link set {link} gso_max_segs 1 up"))?;
        ip(&format!("address add 10.77.{number}.1/24 dev {link}"))?;
        ip(&format!("-6 address add fd77:{number}::1/64 dev {link} nodad"))?;
        place.within(|| {
            ip("link set lo up")?;
            ip("link set eth0 gso_max_segs 1 up")?;
            ip(&format!("address add {}/24 dev eth0", place.address()))?;
            ip(&format!("route add default via 10.77.{number}.1"))?;
            ip(&format!("-6 address add fd77:{number}::2/64 dev eth0 nodad"))?;
            ip(&format!("-6 route add default via fd77:{number}::1"))
        })?;
        Ok(place)
    }
}

/// Somewhere else: processes started [`Place::within`] see home only through the link.
#[derive(Debug, Clone)]
pub struct Place {
    number: u8,
    namespace: Arc<File>,
}

impl Place {
    /// Its address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number, 2)
    }

    /// Home's end of its link.
    fn link(&self) -> String {
        format!("place{}", self.number)
    }

    /// Runs `act` on a thread that is there. Sockets it opens and processes it starts stay there.
    ///
    /// # Errors
    /// Those of `act`.
    ///
    /// # Panics
    /// When `act` does.
    pub fn within<T: Send>(&self, act: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let runtime = tokio::runtime::Handle::current();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let _entered = runtime.enter();
                move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                act()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Loses all UDP from there but to `allowed`, from now on; what is tried is counted.
    ///
    /// # Errors
    /// When the firewall refuses.
    pub fn block_udp(&self, allowed: Option<u16>) -> Result<Blocked> {
        let but = allowed.map(|port| format!("udp dport != {port}")).unwrap_or_default();
        self.block("udp", &format!("meta l4proto udp {but}"))
    }

    /// Loses all UDP of IPv4 from there, from now on; what is tried is counted.
    ///
    /// # Errors
    /// When the firewall refuses.
    pub fn block_udp_v4(&self) -> Result<Blocked> {
        self.block("udp4", "meta nfproto ipv4 meta l4proto udp")
    }

    /// Loses all TCP from there to `port`, from now on; what is tried is counted.
    ///
    /// # Errors
    /// When the firewall refuses.
    pub fn block_tcp(&self, port: u16) -> Result<Blocked> {
        self.block(&format!("tcp{port}"), &format!("tcp dport {port}"))
    }

    fn block(&self, what: &str, packets: &str) -> Result<Blocked> {
        let (link, counter) = (self.link(), format!("{}-{what}", self.link()));
        firewall(&format!(
            "add counter inet links {counter}\n\
             add rule inet links arriving iifname \"{link}\" {packets} counter name \"{counter}\" drop"
        ))?;
        Ok(Blocked { counter })
    }

    /// Sends all UDP for `port` at home to `instead`. Answers come back as if from `port`.
    ///
    /// # Errors
    /// When the firewall refuses.
    pub fn redirect_udp(&self, port: u16, instead: u16) -> Result<()> {
        let link = self.link();
        firewall(&format!(
            "add rule inet links redirected iifname \"{link}\" udp dport {port} redirect to :{instead}"
        ))
    }
}

/// What a link does not let through.
#[derive(Debug)]
pub struct Blocked {
    counter: String,
}

impl Blocked {
    /// Packets it has stopped so far.
    ///
    /// # Errors
    /// When the firewall does not tell.
    pub fn packets(&self) -> Result<u64> {
        let output =
            Command::new("nft").args(["-j", "list", "counter", "inet", "links", &self.counter]).output()?;
        let told: Value = serde_json::from_slice(&output.stdout).context("nft -j")?;
        let counters = told["nftables"].as_array().into_iter().flatten();
        let packets = counters.filter_map(|object| object["counter"]["packets"].as_u64()).next();
        packets.with_context(|| format!("no counter {} in {told}", self.counter))
    }
}

/// A new network namespace with nothing in it.
fn namespace() -> Result<File> {
    let mut holder = Command::new("unshare")
        .args(["--net", "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("unshare (package util-linux)")?;
    let (mut to, from) = (holder.stdin.take().context("piped")?, holder.stdout.take().context("piped")?);
    // It answers once it runs, and it runs in the namespace.
    writeln!(to, "there")?;
    let mut answer = String::new();
    BufReader::new(from).read_line(&mut answer)?;
    ensure!(!answer.is_empty(), "unshare made no network namespace");
    let namespace = File::open(PathBuf::from("/proc").join(holder.id().to_string()).join("ns/net"))?;
    drop(to);
    holder.wait()?;
    Ok(namespace)
}

/// `ip` with these arguments, in the namespace of this thread.
fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip").args(arguments.split(' ')).output().context("ip (package iproute2)")?;
    ensure!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Adds rules to the firewall at home.
fn firewall(rules: &str) -> Result<()> {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("nft (package nftables)")?;
    nft.stdin.take().context("piped")?.write_all(rules.as_bytes())?;
    let output = nft.wait_with_output()?;
    ensure!(output.status.success(), "nft: {}in:\n{rules}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
