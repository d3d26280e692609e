//! How sessions end, and that nothing is left of them.

use super::*;
use crate::{CloseReason, OfferError};

fn closed(event: &PublisherEvent) -> Option<CloseReason> {
    match event {
        PublisherEvent::Closed { reason } => Some(reason.clone()),
        _ => None,
    }
}

fn reason_of(inbox: &mut mpsc::Receiver<PublisherEvent>) -> CloseReason {
    wait(async {
        loop {
            let event = inbox.recv().await.expect("the end is always told");
            if let Some(reason) = closed(&event) {
                assert_eq!(inbox.recv().await, None, "nothing comes after the end");
                return reason;
            }
        }
    })
}

#[test]
fn a_peer_that_never_connects_is_dropped_at_its_deadline() {
    let connect_timeout = Duration::from_millis(150);
    let node = start(NodeConfig { connect_timeout, ..loopback_config() });
    let begun = std::time::Instant::now();
    let mut published = publish(&node, ClientOptions::default());
    assert_eq!(reason_of(&mut published.inbox), CloseReason::ConnectTimeout);
    assert!(begun.elapsed() >= connect_timeout);
    assert_eq!(node.stats().total().sessions, 0);
    assert!(!node.close(&published.session));
}

#[test]
fn a_publisher_that_vanishes_is_noticed() {
    let silence_timeout = Duration::from_millis(200);
    let node = start(NodeConfig { silence_timeout, ..loopback_config() });
    let mut published = publish(&node, ClientOptions::default());
    published.until_connected();
    // From here on the client does not run: as if its cable were cut.
    assert_eq!(reason_of(&mut published.inbox), CloseReason::Silent);
    assert_eq!(node.stats().total().sessions, 0);
}

#[test]
fn a_publisher_that_says_good_bye_is_gone_at_once() {
    let node = start(loopback_config());
    let mut published = publish(&node, ClientOptions::default());
    published.until_connected();
    published.client.close();
    assert_eq!(reason_of(&mut published.inbox), CloseReason::PeerClosed);
}

#[test]
fn closing_tells_the_peer_and_closing_again_does_nothing() {
    let node = start(loopback_config());
    let mut published = publish(&node, ClientOptions::default());
    published.until_connected();
    assert!(node.close(&published.session));
    assert!(!node.close(&published.session));
    assert_eq!(reason_of(&mut published.inbox), CloseReason::Requested);
    published.client.run_until(|c| c.closed.then_some(()));
    let stats = node.stats().total();
    assert_eq!((stats.sessions, stats.sessions_connected, stats.sessions_closed), (0, 1, 1));
}

#[test]
fn a_stream_that_is_gone_ends_its_publisher() {
    let node = start(loopback_config());
    let mut published = publish(&node, ClientOptions::default());
    published.until_connected();
    let video = published.client.video.unwrap();
    drop(published.inbox);
    published.client.write(video, 1, 0, false, &[1]);
    published.client.run_until(|c| c.closed.then_some(()));
    until(&node, |n| n.stats().total().sessions == 0);
}

#[test]
fn shutdown_tells_everyone_and_joins_the_threads() {
    let node = start(NodeConfig { threads: 2, ..loopback_config() });
    let mut first = publish(&node, ClientOptions::default());
    let mut second = publish(&node, ClientOptions::default());
    first.until_connected();
    second.until_connected();
    let per_thread: Vec<u64> = node.stats().threads.iter().map(|t| t.sessions).collect();
    assert_eq!(per_thread, [1, 1], "sessions go to the thread with the fewest");
    node.shutdown();
    assert_eq!(reason_of(&mut first.inbox), CloseReason::Shutdown);
    assert_eq!(reason_of(&mut second.inbox), CloseReason::Shutdown);
}

#[test]
fn a_full_node_says_so_and_has_room_again_when_somebody_leaves() {
    let node = start(NodeConfig { max_sessions: 1, ..loopback_config() });
    let mut published = publish(&node, ClientOptions::default());
    let (events, _inbox) = mpsc::channel(8);
    let (_, offer) = Client::new(ClientOptions::default());
    let request =
        || PublishRequest { stream: "demo".to_owned(), offer: offer.clone(), events: events.clone() };
    let refused = wait(node.publish(request())).unwrap_err();
    assert_eq!(refused, OfferError::Overloaded { limit: 1 });
    assert!(!refused.is_clients_fault());
    assert!(node.close(&published.session));
    assert_eq!(reason_of(&mut published.inbox), CloseReason::Requested);
    wait(node.publish(request())).unwrap();
}

#[test]
fn a_queue_without_room_or_receiver_is_refused_before_anything_is_made() {
    let node = start(loopback_config());
    let (_, offer) = Client::new(ClientOptions::default());
    for (capacity, drop_receiver) in [(1, false), (8, true)] {
        let (events, inbox) = mpsc::channel(capacity);
        let _kept = (!drop_receiver).then_some(inbox);
        let request = PublishRequest { stream: "demo".to_owned(), offer: offer.clone(), events };
        assert_eq!(wait(node.publish(request)), Err(OfferError::StreamGone));
    }
    assert_eq!(node.stats().total(), crate::ThreadStats { addrs: node.local_addrs(), ..Default::default() });
}

fn entries(dir: &str) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

/// Its own process would be better; the other tests of this crate open sockets meanwhile when all run in one. `cargo nextest` gives
/// each test a process.
#[test]
fn five_hundred_publishers_come_and_go_and_leave_nothing() {
    let alone = std::env::var_os("NEXTEST").is_some();
    let (tasks, files) = (entries("/proc/self/task"), entries("/proc/self/fd"));
    let node = start(loopback_config());
    let running = (entries("/proc/self/task"), entries("/proc/self/fd"));
    let (_, offer) = Client::new(ClientOptions::default());
    for _ in 0..500 {
        let (events, mut inbox) = mpsc::channel(8);
        let request = PublishRequest { stream: "demo".to_owned(), offer: offer.clone(), events };
        let session = wait(node.publish(request)).unwrap().session;
        assert!(node.close(&session));
        assert_eq!(reason_of(&mut inbox), CloseReason::Requested);
    }
    let stats = node.stats().total();
    assert_eq!((stats.sessions, stats.sessions_closed, stats.panics), (0, 500, 0));
    if alone {
        assert_eq!((entries("/proc/self/task"), entries("/proc/self/fd")), running);
    }
    node.shutdown();
    if alone {
        assert_eq!((entries("/proc/self/task"), entries("/proc/self/fd")), (tasks, files));
    }
}
