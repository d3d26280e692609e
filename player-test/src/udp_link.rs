//! A bad way: a UDP proxy that loses, holds back, throttles and renumbers what it carries, by a schedule that its seed decides.
//!
//! `Impairment` decides about each packet and knows no socket; [`UdpLink`] carries. Which packets come when is the network's and the
//! clock's doing, so a seed repeats the decisions, not the whole run.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// A throttled way queues no longer than this: what would wait longer is lost, as in a router's buffer.
const LONGEST_QUEUE: Duration = Duration::from_millis(200);
/// The largest datagram.
const MAX_DATAGRAM_BYTES: usize = 65_535;

/// What a way does to packets, each direction by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// Share of the packets that is lost, 0 to 1.
    pub loss: f64,
    /// Each packet is held for a time between nothing and this.
    pub jitter: Duration,
    /// Whether a packet that is held holds those behind it too; else it is overtaken.
    pub in_order: bool,
    /// What it carries at most, in bits per second.
    pub bits_per_second: Option<u64>,
}

impl Conditions {
    /// Nothing is lost, late or too much.
    pub const CLEAN: Self = Self { loss: 0.0, jitter: Duration::ZERO, in_order: true, bits_per_second: None };
    /// Nothing comes through.
    pub const DEAD: Self = Self { loss: 1.0, ..Self::CLEAN };
}

/// The decisions about one direction.
#[derive(Debug)]
struct Impairment {
    random: u64,
    /// When the packet before this one goes out.
    latest: Option<Instant>,
    /// When a throttled way has sent what it has taken.
    busy_until: Option<Instant>,
}

impl Impairment {
    const fn new(seed: u64) -> Self {
        Self { random: seed, latest: None, busy_until: None }
    }

    /// When a packet of so many bytes, here at `now`, goes on; `None` when it is lost.
    fn handle_packet(&mut self, conditions: &Conditions, bytes: usize, now: Instant) -> Option<Instant> {
        // Both numbers are drawn for every packet, so that each decision depends on the packet's number alone.
        let (lot, hold) = (self.draw(), self.draw());
        if lot < conditions.loss {
            return None;
        }
        let mut at = now;
        if let Some(bits_per_second) = conditions.bits_per_second {
            let begin = self.busy_until.map_or(now, |busy| busy.max(now));
            if begin - now > LONGEST_QUEUE {
                return None;
            }
            at = begin + Duration::from_secs_f64(bytes as f64 * 8.0 / bits_per_second as f64);
            self.busy_until = Some(at);
        }
        at += conditions.jitter.mul_f64(hold);
        if conditions.in_order {
            at = self.latest.map_or(at, |latest| latest.max(at));
            self.latest = Some(at);
        }
        Some(at)
    }

    /// A number from 0 to (not with) 1: SplitMix64 (Steele, Lea, Flood 2014, figure 16).
    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// What a way has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried {
    /// To the server.
    pub up: Direction,
    /// From the server.
    pub down: Direction,
}

/// Packets in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Direction {
    /// Went on.
    pub passed: u64,
    /// Did not.
    pub lost: u64,
}

/// A running proxy between clients and one port of a server. It ends when this goes.
#[derive(Debug)]
pub struct UdpLink {
    /// Where clients' packets must come.
    pub port: u16,
    conditions: watch::Sender<Conditions>,
    rebinds: watch::Sender<u32>,
    carried: Arc<Mutex<Carried>>,
    task: JoinHandle<()>,
}

impl Drop for UdpLink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl UdpLink {
    /// Carries between whoever sends to its port and `server`.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start(server: SocketAddr, conditions: Conditions, seed: u64) -> Result<Self> {
        let front = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        let port = front.local_addr()?.port();
        let (conditions, known) = watch::channel(conditions);
        let (rebinds, rebound) = watch::channel(0);
        let carried = Arc::<Mutex<Carried>>::default();
        let carrier = Carrier {
            server,
            front: Arc::new(front),
            conditions: known,
            rebound,
            carried: Arc::clone(&carried),
            up: Impairment::new(seed),
            down: Impairment::new(!seed),
            held: BinaryHeap::new(),
            number: 0,
            clients: HashMap::new(),
            readers: JoinSet::new(),
        };
        Ok(Self { port, conditions, rebinds, carried, task: tokio::spawn(carrier.run()) })
    }

    /// Changes what the way does, from the next packet on.
    pub fn set(&self, conditions: Conditions) {
        self.conditions.send_replace(conditions);
    }

    /// Sends on from other ports, as a NAT that has forgotten its mappings: what comes back to the old ones is lost.
    pub fn rebind(&self) {
        self.rebinds.send_modify(|count| *count += 1);
    }

    /// What it has carried.
    ///
    /// # Panics
    /// Never: no holder of the lock panics.
    #[must_use]
    pub fn carried(&self) -> Carried {
        *self.carried.lock().expect("no holder of this lock panics")
    }
}

/// Whither a packet goes.
#[derive(Debug, Clone)]
enum Toward {
    Server(Arc<UdpSocket>),
    Client(SocketAddr),
}

/// A packet on its way; ordered by when it goes on, then by when it came.
#[derive(Debug)]
struct Held {
    at: Instant,
    number: u64,
    toward: Toward,
    bytes: Vec<u8>,
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Held {}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// The task that carries.
struct Carrier {
    server: SocketAddr,
    front: Arc<UdpSocket>,
    conditions: watch::Receiver<Conditions>,
    rebound: watch::Receiver<u32>,
    carried: Arc<Mutex<Carried>>,
    up: Impairment,
    down: Impairment,
    held: BinaryHeap<Reverse<Held>>,
    number: u64,
    /// The port from which each client's packets are sent on.
    clients: HashMap<SocketAddr, Arc<UdpSocket>>,
    /// Reads what comes back to those ports.
    readers: JoinSet<()>,
}

impl Carrier {
    async fn run(mut self) {
        let (answers, mut answered) = mpsc::channel(256);
        let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
        loop {
            let next = self.held.peek().map(|Reverse(held)| held.at);
            let due = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => self.send_due().await,
                Ok((length, client)) = self.front.recv_from(&mut buffer) => {
                    if let Some(socket) = self.socket_of(client, &answers).await {
                        self.take(Toward::Server(socket), buffer[..length].to_vec());
                    }
                }
                Some((client, bytes)) = answered.recv() => self.take(Toward::Client(client), bytes),
                Ok(()) = self.rebound.changed() => {
                    self.clients.clear();
                    self.readers.abort_all();
                }
            }
        }
    }

    /// The port of `client`, which gets one, and a reader of it, with its first packet.
    async fn socket_of(
        &mut self,
        client: SocketAddr,
        answers: &mpsc::Sender<(SocketAddr, Vec<u8>)>,
    ) -> Option<Arc<UdpSocket>> {
        if let Some(socket) = self.clients.get(&client) {
            return Some(Arc::clone(socket));
        }
        let socket = Arc::new(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.ok()?);
        socket.connect(self.server).await.ok()?;
        let (reads, answers) = (Arc::clone(&socket), answers.clone());
        self.readers.spawn(async move {
            let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
            // An error is a refusal by the server's machine: the client asks again, or gives up.
            loop {
                if let Ok(length) = reads.recv(&mut buffer).await
                    && answers.send((client, buffer[..length].to_vec())).await.is_err()
                {
                    return;
                }
            }
        });
        self.clients.insert(client, Arc::clone(&socket));
        Some(socket)
    }

    fn take(&mut self, toward: Toward, bytes: Vec<u8>) {
        let conditions = *self.conditions.borrow();
        let mut carried = self.carried.lock().expect("no holder of this lock panics");
        let (way, counts) = match toward {
            Toward::Server(_) => (&mut self.up, &mut carried.up),
            Toward::Client(_) => (&mut self.down, &mut carried.down),
        };
        let Some(at) = way.handle_packet(&conditions, bytes.len(), Instant::now()) else {
            counts.lost += 1;
            return;
        };
        counts.passed += 1;
        drop(carried);
        self.number += 1;
        self.held.push(Reverse(Held { at, number: self.number, toward, bytes }));
    }

    async fn send_due(&mut self) {
        let now = Instant::now();
        while self.held.peek().is_some_and(|Reverse(held)| held.at <= now) {
            let Some(Reverse(held)) = self.held.pop() else { return };
            // What the network refuses is lost.
            let _ = match held.toward {
                Toward::Server(socket) => socket.send(&held.bytes).await,
                Toward::Client(client) => self.front.send_to(&held.bytes, client).await,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// When each of `count` packets of 1,000 bytes, one per millisecond, goes on, in milliseconds after it came.
    fn held_ms(conditions: &Conditions, seed: u64, count: u32) -> Vec<Option<f64>> {
        let (mut impairment, begin) = (Impairment::new(seed), Instant::now());
        let packets = (0..count).map(|n| {
            let now = begin + MS * n;
            let at = impairment.handle_packet(conditions, 1000, now)?;
            Some((at - now).as_secs_f64() * 1000.0)
        });
        packets.collect()
    }

    #[test]
    fn a_clean_way_does_nothing_and_a_dead_one_carries_nothing() {
        assert_eq!(held_ms(&Conditions::CLEAN, 1, 100), vec![Some(0.0); 100]);
        assert_eq!(held_ms(&Conditions::DEAD, 1, 100), vec![None; 100]);
    }

    #[test]
    fn so_many_are_lost_and_the_same_ones_by_the_same_seed() {
        let lossy = Conditions { loss: 0.05, ..Conditions::CLEAN };
        let held = held_ms(&lossy, 7, 10_000);
        let lost = held.iter().filter(|at| at.is_none()).count();
        assert!((400..600).contains(&lost), "{lost} of 10,000");
        assert_eq!(held, held_ms(&lossy, 7, 10_000));
        assert_ne!(held, held_ms(&lossy, 8, 10_000));
    }

    #[test]
    fn jitter_is_spread_evenly_and_overtakes_only_where_it_may() {
        let jitter = Conditions { jitter: 100 * MS, in_order: false, ..Conditions::CLEAN };
        let held: Vec<f64> = held_ms(&jitter, 3, 10_000).into_iter().flatten().collect();
        let mean = held.iter().sum::<f64>() / held.len() as f64;
        assert!((45.0..55.0).contains(&mean) && held.iter().all(|ms| (0.0..100.0).contains(ms)), "{mean}");
        let leaves = |held: &[f64]| held.iter().enumerate().map(|(n, ms)| n as f64 + ms).collect::<Vec<_>>();
        assert!(!leaves(&held).is_sorted());
        let in_order: Vec<f64> =
            held_ms(&Conditions { in_order: true, ..jitter }, 3, 10_000).into_iter().flatten().collect();
        assert!(leaves(&in_order).windows(2).all(|pair| pair[1] >= pair[0] - 1e-6));
    }

    #[test]
    fn a_narrow_way_carries_its_rate_and_queues_for_so_long_only() {
        // 8 Mbit/s come, one passes.
        let narrow = Conditions { bits_per_second: Some(1_000_000), ..Conditions::CLEAN };
        let held = held_ms(&narrow, 1, 2000);
        let passed = held.iter().flatten().count();
        assert!((250..=280).contains(&passed), "{passed} of 2000");
        assert!(held.iter().flatten().all(|ms| *ms <= 209.0));
    }
}
