//! What strangers can do: nothing, and it is counted.

use super::*;
use std::net::UdpSocket;

fn throw(node: &Node, datagrams: &[&[u8]]) -> UdpSocket {
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for datagram in datagrams {
        stranger.send_to(datagram, node.local_addrs()[0]).unwrap();
    }
    stranger
}

/// A STUN request with the right name and no valid integrity.
pub(super) fn forged(ufrag: &str) -> Vec<u8> {
    let username = format!("{ufrag}:abcd");
    let mut attributes = vec![0, 6];
    attributes.extend(u16::try_from(username.len()).unwrap().to_be_bytes());
    attributes.extend(username.bytes());
    attributes.resize(attributes.len().next_multiple_of(4), 0);
    attributes.extend([0, 0x24, 0, 4, 1, 2, 3, 4]);
    attributes.extend([0, 8, 0, 20]);
    attributes.extend([0x5a; 20]);
    let mut packet = vec![0, 1];
    packet.extend(u16::try_from(attributes.len()).unwrap().to_be_bytes());
    packet.extend([0x21, 0x12, 0xa4, 0x42]);
    packet.extend([7; 12]);
    packet.extend(attributes);
    packet
}

#[test]
fn garbage_is_counted_and_a_publisher_beside_it_notices_nothing() {
    let node = start(loopback_config());
    let mut published = publish(&node, ClientOptions::default());
    published.until_connected();
    let before = node.stats().total();
    let large = [0x80; 4_000];
    let garbage: [&[u8]; 9] = [
        b"",
        b"\0",
        b"hello",
        &[0x80; 12],
        &[0x90, 0xe0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1],
        &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1],
        &forged("nobody"),
        &[0xff; 1_200],
        &large,
    ];
    let stranger = throw(&node, &garbage);
    until(&node, |n| n.stats().total().datagrams_in >= before.datagrams_in + 9);
    let after = node.stats().total();
    assert_eq!(after.rejected_unknown - before.rejected_unknown, 7);
    assert_eq!(after.rejected_malformed - before.rejected_malformed, 2, "the empty and the huge one");
    assert_eq!((after.sessions, after.sessions_connected, after.panics), (1, 1, 0));
    stranger.set_nonblocking(true).unwrap();
    assert!(stranger.recv(&mut [0; 100]).is_err(), "a stranger gets no answer");
    let video = published.client.video.unwrap();
    published.client.write(video, 1, 0, true, &[1]);
    published.until(|e| matches!(e, PublisherEvent::Packet { .. }).then_some(()));
}

#[test]
fn a_forged_check_for_a_known_name_opens_nothing() {
    let node = start(loopback_config());
    let (events, _inbox) = mpsc::channel(8);
    let (_, offer) = Client::new(ClientOptions::default());
    let answer = wait(node.publish(PublishRequest { stream: "demo".to_owned(), offer, events })).unwrap();
    let ufrag = answer.answer.lines().find_map(|l| l.strip_prefix("a=ice-ufrag:")).unwrap();
    let forged = forged(ufrag);
    let dtls = [22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1];
    let stranger = throw(&node, &[&forged, &dtls]);
    until(&node, |n| n.stats().total().datagrams_in == 2);
    let stats = node.stats().total();
    assert_eq!((stats.rejected_stun, stats.rejected_unknown), (1, 1), "the address was not learnt");
    stranger.set_nonblocking(true).unwrap();
    assert!(stranger.recv(&mut [0; 100]).is_err());
}

#[test]
fn bytes_from_a_peers_own_address_that_are_not_its_own_change_nothing() {
    let node = start(loopback_config());
    let mut published = publish(&node, ClientOptions::default());
    published.until_connected();
    let peer = published.client.socket.try_clone().unwrap();
    let to = node.local_addrs()[0];
    let packets = node.stats().total().packets;
    let sent = 400_u32;
    for n in 0..sent {
        let kind = n % 4;
        let mut datagram: Vec<u8> = (0..120_u32).map(|i| (i.wrapping_mul(n) >> 3) as u8).collect();
        datagram[0] = [0x80, 0x17, 0x00, 0x16][kind as usize];
        peer.send_to(&datagram, to).unwrap();
    }
    let video = published.client.video.unwrap();
    published.client.write(video, 1, 0, true, &[1]);
    published.until(|e| matches!(e, PublisherEvent::Packet { .. }).then_some(()));
    let stats = node.stats().total();
    assert_eq!((stats.sessions, stats.packets - packets, stats.panics), (1, 1, 0));
    assert!(stats.rejected_malformed >= 100, "STUN that is none: {stats:?}");
}
