//! A publisher connects and sends; what arrives is what was sent.

use super::*;
use skywave_media::codec::{Codec, TrackKind};
use skywave_media::ingest::TrackId;
use skywave_media::packet::Packet;
use std::net::Ipv6Addr;
use str0m::format::Codec as Str0mCodec;
use str0m::media::KeyframeRequestKind;

const AUDIO: TrackId = TrackId(0);
const VIDEO: TrackId = TrackId(1);

/// Sends `count` video packets (three a frame) and an Opus packet per frame, and takes what arrives.
fn exchange(published: &mut Published, count: u64) -> (Vec<Packet>, Vec<Packet>) {
    let (video, audio) = (published.client.video.unwrap(), published.client.audio.unwrap());
    let mut arrived = (Vec::new(), Vec::new());
    for n in 0..count {
        let payload = [0x10, 0, n as u8, (n >> 8) as u8, 9, 9];
        let timestamp = (n / 3) as u32 * 3_000;
        published.client.write(video, 65_530 + n, timestamp, n % 3 == 2, &payload);
        if n % 3 == 2 {
            published.client.write(audio, 100 + n / 3, (n / 3) as u32 * 960, false, &[0xfc, n as u8]);
        }
    }
    let expected = (count as usize, (count / 3) as usize);
    published.until(|event| {
        if let PublisherEvent::Packet { track, packet } = event {
            if *track == VIDEO { arrived.1.push(packet.clone()) } else { arrived.0.push(packet.clone()) }
        }
        (arrived.1.len() == expected.0 && arrived.0.len() == expected.1).then_some(())
    });
    arrived
}

#[test]
fn a_vp8_and_opus_publisher_is_heard_packet_by_packet() {
    let node = start(loopback_config());
    let mut published = publish(&node, ClientOptions::default());
    published.until_connected();
    let ssrc = published.client.ssrc(published.client.video.unwrap());
    let before = crate::clock::now();
    let (audio, video) = exchange(&mut published, 30);
    let after = crate::clock::now();
    // Sequence numbers pass their wrap as they were on the wire.
    let sequences: Vec<u16> = video.iter().map(|p| p.sequence).collect();
    assert_eq!(sequences, (0..30).map(|n| 65_530_u16.wrapping_add(n)).collect::<Vec<_>>());
    for (n, packet) in video.iter().enumerate() {
        assert_eq!((packet.ssrc, packet.codec), (ssrc, Codec::Vp8));
        assert_eq!((packet.timestamp, packet.marker), ((n / 3) as u32 * 3_000, n % 3 == 2));
        assert_eq!(packet.payload[..], [0x10, 0, n as u8, 0, 9, 9]);
        assert!(packet.arrival >= before && packet.arrival <= after);
    }
    assert!(audio.iter().all(|p| p.codec == Codec::Opus && !p.marker));
    assert_eq!(
        audio.iter().map(|p| p.timestamp).collect::<Vec<_>>(),
        (0..10).map(|n| n * 960).collect::<Vec<_>>()
    );
    let stats = node.stats().total();
    assert_eq!((stats.sessions, stats.packets, stats.rejected_unknown, stats.events_dropped), (1, 40, 0, 0));
}

#[test]
fn lost_packets_are_asked_for_again_and_come_once() {
    let node = start(loopback_config());
    let mut published = publish(&node, ClientOptions::default());
    published.until_connected();
    published.client.lose = [65_533, 65_534, 2].into_iter().collect();
    let (_, video) = exchange(&mut published, 30);
    assert_eq!(published.client.lost, 3);
    let mut sequences: Vec<u16> = video.iter().map(|p| p.sequence.wrapping_sub(65_530)).collect();
    assert_ne!(sequences, (0..30).collect::<Vec<_>>(), "repaired packets come late");
    sequences.sort_unstable();
    assert_eq!(sequences, (0..30).collect::<Vec<_>>());
    let ssrc = published.client.ssrc(published.client.video.unwrap());
    assert!(video.iter().all(|p| p.ssrc == ssrc && p.codec == Codec::Vp8), "retransmissions are undone");
}

#[test]
fn a_publisher_with_an_rsa_certificate_is_as_good_as_any() {
    let node = start(loopback_config());
    let certificate = Some(client::rsa_certificate());
    let mut published = publish(&node, ClientOptions { certificate, ..ClientOptions::default() });
    published.until_connected();
    assert_eq!(exchange(&mut published, 3).1.len(), 3);
}

#[test]
fn a_publisher_that_tells_no_candidates_is_found_by_its_first_packet() {
    let node = start(loopback_config());
    let mut published = publish(&node, ClientOptions { tells_candidates: false, ..ClientOptions::default() });
    published.until_connected();
    assert_eq!(exchange(&mut published, 3).0.len(), 1);
}

#[test]
fn ipv6_works_like_ipv4() {
    let ip = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let node = start(NodeConfig { bind: vec![ip], ..loopback_config() });
    let mut published = publish(&node, ClientOptions { ip, ..ClientOptions::default() });
    published.until_connected();
    assert_eq!(exchange(&mut published, 3).1.len(), 3);
}

#[test]
fn a_node_on_the_wildcard_answers_from_the_address_it_was_asked_at() {
    // 127.0.0.2 is on no interface list, yet local: the kernel would answer from 127.0.0.1.
    let advertise = vec![IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))];
    let bind = vec![IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let node = start(NodeConfig { bind, advertise, ..loopback_config() });
    assert_eq!(node.advertised_addrs()[0].ip().to_string(), "127.0.0.2");
    let mut published = publish(&node, ClientOptions::default());
    published.until_connected();
    assert_eq!(exchange(&mut published, 3).1.len(), 3);
}

#[test]
fn h264_comes_as_h264_and_audio_only_has_one_track() {
    let node = start(loopback_config());
    let video = Some(Str0mCodec::H264);
    let (_, offer) = Client::new(ClientOptions { video, audio: false, ..ClientOptions::default() });
    let request = |offer| {
        let (events, inbox) = mpsc::channel(8);
        (PublishRequest { stream: "demo".to_owned(), offer, events }, inbox)
    };
    let (asked, _inbox) = request(offer);
    let answer = wait(node.publish(asked)).unwrap();
    assert_eq!(answer.tracks.len(), 1);
    assert_eq!((answer.tracks[0].kind, &answer.tracks[0].codecs[..]), (TrackKind::Video, &[Codec::H264][..]));
    let (_, offer) = Client::new(ClientOptions { video: None, ..ClientOptions::default() });
    let (asked, _inbox) = request(offer);
    let answer = wait(node.publish(asked)).unwrap();
    assert_eq!((answer.tracks[0].kind, answer.tracks.len()), (TrackKind::Audio, 1));
    assert!(answer.etag.starts_with('"') && answer.etag.ends_with('"'), "{}", answer.etag);

    let mut published = publish(&node, ClientOptions { video, ..ClientOptions::default() });
    published.until_connected();
    let (_, packets) = exchange(&mut published, 3);
    assert!(packets.iter().all(|p| p.codec == Codec::H264));
}

#[test]
fn a_keyframe_is_asked_for_by_pli_once_media_has_come() {
    let node = start(loopback_config());
    let mut published = publish(&node, ClientOptions::default());
    published.until_connected();
    // Nothing has come yet, so there is no source to ask.
    node.request_keyframe(&published.session, VIDEO);
    exchange(&mut published, 3);
    node.request_keyframe(&published.session, VIDEO);
    // Audio has no keyframes: asking does nothing.
    node.request_keyframe(&published.session, AUDIO);
    published.client.run_until(|c| (!c.keyframe_requests.is_empty()).then_some(()));
    assert_eq!(published.client.keyframe_requests, [KeyframeRequestKind::Pli]);
    assert_eq!(node.stats().total().keyframe_requests, 1);
}

#[test]
fn sender_reports_come_with_both_clocks() {
    let node = start(loopback_config());
    let mut published = publish(&node, ClientOptions::default());
    published.until_connected();
    let ssrc = published.client.ssrc(published.client.video.unwrap());
    exchange(&mut published, 3);
    // str0m sends its first report of a video source within a second.
    let report = published.until(|event| match event {
        PublisherEvent::SenderReport { track: VIDEO, report } => Some(*report),
        _ => None,
    });
    assert_eq!(report.ssrc, ssrc);
    let unix = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let told = (report.ntp >> 32) - 2_208_988_800;
    assert!(unix.abs_diff(told) <= 2, "the client's wall clock is ours: {told} against {unix}");
    assert!(report.arrival <= crate::clock::now());
}

#[test]
fn a_slow_receiver_loses_packets_and_nothing_else() {
    let node = start(loopback_config());
    let (events, mut inbox) = mpsc::channel(6);
    let (mut client, offer) = Client::new(ClientOptions::default());
    let answer = wait(node.publish(PublishRequest { stream: "slow".to_owned(), offer, events })).unwrap();
    client.accept(&answer.answer);
    client.run_until(|c| c.connected.then_some(()));
    let video = client.video.unwrap();
    (0..50).for_each(|n| client.write(video, n, 0, false, &[1, 2, 3]));
    client.run_until(|_| (node.stats().total().packets == 50).then_some(()));
    // Six places: one for the end, one that Connected has taken, four for packets.
    assert_eq!(node.stats().total().events_dropped, 46);
    assert!(node.close(&answer.session));
    until(&node, |n| n.stats().total().sessions == 0);
    let told: Vec<PublisherEvent> = std::iter::from_fn(|| inbox.try_recv().ok()).collect();
    assert_eq!(told.len(), 6);
    assert_eq!(told[0], PublisherEvent::Connected);
    assert_eq!(told[5], PublisherEvent::Closed { reason: crate::CloseReason::Requested });
}
