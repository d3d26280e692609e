//! ICE-TCP: a viewer that has nothing but TCP.

use super::*;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;
use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind};
use str0m::net::{Protocol, Receive, TcpType};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

/// A str0m client on one TCP connection with frames of RFC 4571.
struct TcpViewer {
    rtc: Rtc,
    stream: TcpStream,
    waiting: Vec<u8>,
    packets: usize,
    connected: bool,
}

impl TcpViewer {
    fn watch(node: &Node) -> Self {
        let mut rtc = RtcConfig::new()
            .set_crypto_provider(Arc::new(crate::dtls::crypto_provider()))
            .set_dtls_cert(crate::dtls::make_certificate().unwrap())
            .set_rtp_mode(true)
            .clear_codecs()
            .enable_opus(true, false)
            .enable_vp8(true)
            .build(Instant::now());
        let stream = TcpStream::connect(node.local_addrs()[0]).unwrap();
        stream.set_nodelay(true).unwrap();
        let local = stream.local_addr().unwrap();
        let own = Candidate::builder().tcp().host(local).tcptype(TcpType::Active).build().unwrap();
        rtc.add_local_candidate(own);
        let mut changes = rtc.sdp_api();
        changes.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
        changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = changes.apply().unwrap();
        let offer = offer.to_sdp_string();
        let answer = wait(node.watch(WatchRequest { stream: "demo".to_owned(), offer })).unwrap().answer;
        // UDP is not to be had.
        let tcp_only: Vec<&str> =
            answer.lines().filter(|l| !l.starts_with("a=candidate") || l.contains(" tcp ")).collect();
        let answer = SdpAnswer::from_sdp_string(&(tcp_only.join("\r\n") + "\r\n")).unwrap();
        rtc.sdp_api().accept_answer(pending, answer).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        Self { rtc, stream, waiting: Vec::new(), packets: 0, connected: false }
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(_) => break,
                Output::Transmit(t) => {
                    assert_eq!(t.proto, Protocol::Tcp);
                    self.stream.write_all(&(t.contents.len() as u16).to_be_bytes()).unwrap();
                    self.stream.write_all(&t.contents).unwrap();
                }
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::RtpPacket(_)) => self.packets += 1,
                Output::Event(_) => {}
            }
        }
    }

    fn step(&mut self) {
        self.drain();
        let mut chunk = [0; 4_096];
        match self.stream.read(&mut chunk) {
            Ok(n) => self.waiting.extend_from_slice(&chunk[..n]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(e) => panic!("{e}"),
        }
        let now = Instant::now();
        let (source, to): (SocketAddr, SocketAddr) =
            (self.stream.peer_addr().unwrap(), self.stream.local_addr().unwrap());
        while let Some(length) = self.waiting.get(..2).map(|b| usize::from(u16::from_be_bytes([b[0], b[1]])))
        {
            if self.waiting.len() < 2 + length {
                break;
            }
            let frame: Vec<u8> = self.waiting.drain(..2 + length).skip(2).collect();
            if let Ok(receive) = Receive::new(Protocol::Tcp, source, to, &frame) {
                self.rtc.handle_input(Input::Receive(now, receive)).unwrap();
                self.drain();
            }
        }
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
    }
}

#[test]
fn a_viewer_with_tcp_alone_gets_picture_and_sound() {
    let node = start(loopback_config());
    let mut camera = watching::Camera::start(&node);
    camera.shoot(true);
    camera.run(&mut [], |_, _| node.broadcast("demo").is_some_and(|b| !b.layers.is_empty()));
    let mut viewer = TcpViewer::watch(&node);
    let start = Instant::now();
    let mut seen = 0;
    while viewer.packets < 40 {
        assert!(start.elapsed() < PATIENCE, "{} packets, connected: {}", viewer.packets, viewer.connected);
        viewer.step();
        if viewer.connected && viewer.packets >= seen {
            seen = viewer.packets + 1;
            camera.shoot(false);
        }
        camera.run(&mut [], |_, _| true);
    }
    let stats = wait(node.viewers("demo"));
    assert_eq!((stats.len(), stats[0].transport), (1, "tcp"));
    drop(viewer.stream);
    assert_eq!(node.stats().total().panics, 0);
}

#[test]
fn a_connection_of_a_stranger_is_closed() {
    let node = start(loopback_config());
    let mut stream = TcpStream::connect(node.local_addrs()[0]).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A frame of 65535 bytes is no datagram.
    stream.write_all(&[0xff, 0xff, 1, 2, 3]).unwrap();
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0, "closed");
}
