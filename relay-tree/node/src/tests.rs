//! A node on loopback against a str0m client on another socket: stories of publishers.

mod client;
mod hostile;
mod lifecycle;
mod offers;
mod outside;
mod publishing;
mod stand_in;
mod tcp;
mod watching;

use crate::{Node, NodeConfig, PublishRequest, PublisherEvent, SessionId, WatchRequest};
use client::{Client, ClientOptions};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use tokio::sync::mpsc;

/// Far longer than anything here takes, so that only a real fault runs into it.
const PATIENCE: Duration = Duration::from_secs(20);

fn loopback_config() -> NodeConfig {
    NodeConfig {
        bind: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        media_port: 0,
        threads: 1,
        ..NodeConfig::default()
    }
}

fn start(config: NodeConfig) -> Node {
    Node::start(config).unwrap()
}

/// Runs a future that needs no reactor.
fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// A client that has been answered, the name of its session, and what the node tells of it.
struct Published {
    client: Client,
    session: SessionId,
    inbox: mpsc::Receiver<PublisherEvent>,
}

fn publish(node: &Node, options: ClientOptions) -> Published {
    let (events, inbox) = mpsc::channel(1_024);
    let (mut client, offer) = Client::new(options);
    let answer = wait(node.publish(PublishRequest { stream: "demo".to_owned(), offer, events })).unwrap();
    client.accept(&answer.answer);
    Published { client, session: answer.session, inbox }
}

impl Published {
    /// Runs the client until the node has told something that `found` turns into a value.
    fn until<T>(&mut self, mut found: impl FnMut(&PublisherEvent) -> Option<T>) -> T {
        let inbox = &mut self.inbox;
        self.client.run_until(|_| inbox.try_recv().ok().and_then(|event| found(&event)))
    }

    fn until_connected(&mut self) {
        self.until(|event| (*event == PublisherEvent::Connected).then_some(()));
        self.client.run_until(|client| client.connected.then_some(()));
    }
}

/// A viewer that has been answered.
struct Watching {
    client: Client,
    session: SessionId,
}

fn watch(node: &Node, options: ClientOptions) -> Watching {
    let (mut client, offer) = Client::new(ClientOptions { receives: true, ..options });
    let answer = wait(node.watch(WatchRequest { stream: "demo".to_owned(), offer })).unwrap();
    client.accept(&answer.answer);
    Watching { client, session: answer.session }
}

/// Waits, without sleeping in the dark, until `node` satisfies `done`.
fn until(node: &Node, mut done: impl FnMut(&Node) -> bool) {
    let start = std::time::Instant::now();
    while !done(node) {
        assert!(start.elapsed() < PATIENCE, "{:?}", node.stats());
        std::thread::yield_now();
    }
}
