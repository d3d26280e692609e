//! A WebRTC client in a few lines: str0m with its own SDP, on a socket of its own, driven by the test's thread.

use super::PATIENCE;
use crate::dtls;
use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::config::DtlsCert;
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpPacket, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

/// What a client is like.
pub(super) struct ClientOptions {
    pub(super) ip: IpAddr,
    pub(super) video: Option<str0m::format::Codec>,
    pub(super) audio: bool,
    /// Its certificate; ECDSA when none is given.
    pub(super) certificate: Option<DtlsCert>,
    /// Whether its candidates are in the offer.
    pub(super) tells_candidates: bool,
    /// It receives (WHEP) instead of sending.
    pub(super) receives: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            video: Some(str0m::format::Codec::Vp8),
            audio: true,
            certificate: None,
            tells_candidates: true,
            receives: false,
        }
    }
}

pub(super) struct Client {
    rtc: Rtc,
    pub(super) socket: UdpSocket,
    pending: Option<SdpPendingOffer>,
    pub(super) video: Option<Mid>,
    pub(super) audio: Option<Mid>,
    pub(super) connected: bool,
    /// The node said good-bye.
    pub(super) closed: bool,
    pub(super) keyframe_requests: Vec<KeyframeRequestKind>,
    /// Sequence numbers of video packets to lose once on their way.
    pub(super) lose: HashSet<u16>,
    pub(super) lost: usize,
    /// What it has received, in order of arrival, retransmissions undone.
    pub(super) received: Vec<RtpPacket>,
    /// Sender reports: SSRC and RTP timestamp.
    pub(super) reports: Vec<(u32, u32)>,
    /// Sequence numbers of incoming video packets to lose once.
    pub(super) lose_incoming: HashSet<u16>,
    /// Sends each RTCP packet twice.
    pub(super) repeats_rtcp: bool,
}

impl Client {
    pub(super) fn new(options: ClientOptions) -> (Self, String) {
        let socket = UdpSocket::bind(SocketAddr::new(options.ip, 0)).unwrap();
        let mut config = RtcConfig::new()
            .set_crypto_provider(Arc::new(dtls::crypto_provider()))
            .set_dtls_cert(options.certificate.unwrap_or_else(|| dtls::make_certificate().unwrap()))
            .set_rtp_mode(true)
            .clear_codecs()
            .enable_opus(true, false);
        config = match options.video {
            Some(str0m::format::Codec::H264) => config.enable_h264(true),
            _ => config.enable_vp8(true),
        };
        let mut rtc = config.build(Instant::now());
        if options.tells_candidates {
            rtc.add_local_candidate(Candidate::host(socket.local_addr().unwrap(), "udp").unwrap());
        }
        let mut changes = rtc.sdp_api();
        let direction = if options.receives { Direction::RecvOnly } else { Direction::SendOnly };
        let audio = options.audio.then(|| changes.add_media(MediaKind::Audio, direction, None, None, None));
        let video = options.video.map(|_| changes.add_media(MediaKind::Video, direction, None, None, None));
        let (offer, pending) = changes.apply().unwrap();
        if !options.tells_candidates {
            rtc.add_local_candidate(Candidate::host(socket.local_addr().unwrap(), "udp").unwrap());
        }
        let client = Self {
            rtc,
            socket,
            pending: Some(pending),
            video,
            audio,
            connected: false,
            closed: false,
            keyframe_requests: Vec::new(),
            lose: HashSet::new(),
            lost: 0,
            received: Vec::new(),
            reports: Vec::new(),
            lose_incoming: HashSet::new(),
            repeats_rtcp: false,
        };
        (client, offer.to_sdp_string())
    }

    pub(super) fn accept(&mut self, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).unwrap();
        self.rtc.sdp_api().accept_answer(self.pending.take().unwrap(), answer).unwrap();
    }

    /// Sends one RTP packet.
    pub(super) fn write(&mut self, mid: Mid, sequence: u64, timestamp: u32, marker: bool, payload: &[u8]) {
        let pt = self.payload_type(mid);
        let now = Instant::now();
        let mut direct = self.rtc.direct_api();
        let stream = direct.stream_tx_by_mid(mid, None).unwrap();
        stream.write_rtp(
            RtpWrite::new(pt, sequence.into(), timestamp, now, payload).marker(marker).nackable(true),
        );
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
        self.drain();
    }

    pub(super) fn payload_type(&self, mid: Mid) -> Pt {
        self.rtc.media(mid).unwrap().remote_pts()[0]
    }

    pub(super) fn ssrc(&mut self, mid: Mid) -> u32 {
        *self.rtc.direct_api().stream_tx_by_mid(mid, None).unwrap().ssrc()
    }

    /// Says good-bye.
    pub(super) fn close(&mut self) {
        self.rtc.close().unwrap();
        self.drain();
    }

    /// Runs until `found` gives a value.
    pub(super) fn run_until<T>(&mut self, mut found: impl FnMut(&mut Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(value) = found(self) {
                return value;
            }
            assert!(start.elapsed() < PATIENCE, "the client waited in vain");
            self.step();
        }
    }

    /// Takes one datagram, or lets at most 5 ms pass.
    fn step(&mut self) {
        let due = self.drain();
        let now = Instant::now();
        let patience =
            due.saturating_duration_since(now).clamp(Duration::from_millis(1), Duration::from_millis(5));
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 2_048];
        match self.socket.recv_from(&mut buffer) {
            Ok((n, _)) if self.misses(&buffer[..n]) => {}
            Ok((n, source)) => {
                let local = self.socket.local_addr().unwrap();
                let receive = Receive::new(Protocol::Udp, source, local, &buffer[..n]).unwrap();
                self.rtc.handle_input(Input::Receive(Instant::now(), receive)).unwrap();
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                self.rtc.handle_input(Input::Timeout(Instant::now())).unwrap();
            }
            Err(e) => panic!("{e}"),
        }
        self.drain();
    }

    fn drain(&mut self) -> Instant {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(at) => return at,
                Output::Transmit(t) if self.loses(&t.contents) => self.lost += 1,
                Output::Transmit(t) => {
                    self.socket.send_to(&t.contents, t.destination).unwrap();
                    // RFC 5761 section 4.
                    if self.repeats_rtcp && matches!(t.contents[..], [0x80..=0xbf, 192..=223, ..]) {
                        self.socket.send_to(&t.contents, t.destination).unwrap();
                    }
                }
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::Closed) => self.closed = true,
                Output::Event(Event::KeyframeRequest(request)) => self.keyframe_requests.push(request.kind),
                Output::Event(Event::RtpPacket(packet)) => self.received.push(packet),
                Output::Event(Event::SenderFeedback(report)) => {
                    let info = report.sender_info;
                    self.reports.push((*info.ssrc, info.rtp_time.numer() as u32));
                }
                Output::Event(_) => {}
            }
        }
    }

    /// Whether an incoming datagram is one to lose.
    fn misses(&mut self, datagram: &[u8]) -> bool {
        let Some(video) = self.video.filter(|_| !self.lose_incoming.is_empty()) else { return false };
        let &[0x80..=0xbf, pt, high, low, ..] = datagram else { return false };
        let of_video = self.rtc.media(video).is_some_and(|m| m.remote_pts().iter().any(|p| **p == pt & 0x7f));
        of_video && self.lose_incoming.remove(&u16::from_be_bytes([high, low]))
    }

    /// Asks for a keyframe.
    pub(super) fn request_keyframe(&mut self, mid: Mid) {
        let mut direct = self.rtc.direct_api();
        direct.stream_rx_by_mid(mid, None).unwrap().request_keyframe(KeyframeRequestKind::Pli);
        self.rtc.handle_input(Input::Timeout(Instant::now())).unwrap();
        self.drain();
    }

    /// Moves to another local port, as behind a NAT that forgets.
    pub(super) fn rebind(&mut self) {
        self.socket = UdpSocket::bind(SocketAddr::new(self.socket.local_addr().unwrap().ip(), 0)).unwrap();
    }

    /// Does what is due without waiting for anything.
    pub(super) fn poll(&mut self) {
        self.step();
    }

    fn loses(&mut self, datagram: &[u8]) -> bool {
        let Some(video) = self.video else { return false };
        let &[first @ 0x80..=0xbf, pt, high, low, ..] = datagram else { return false };
        let _ = first;
        if self.lose.is_empty() || pt & 0x7f != *self.payload_type(video) {
            return false;
        }
        self.lose.remove(&u16::from_be_bytes([high, low]))
    }
}

/// A certificate as webrtcbin makes it: RSA with 2048 bits.
pub(super) fn rsa_certificate() -> DtlsCert {
    use openssl::asn1::Asn1Time;
    use openssl::hash::MessageDigest;
    use openssl::pkey::PKey;
    use openssl::rsa::Rsa;
    let key = PKey::from_rsa(Rsa::generate(2_048).unwrap()).unwrap();
    let mut builder = openssl::x509::X509::builder().unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(1).unwrap()).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    DtlsCert {
        certificate: builder.build().to_der().unwrap(),
        private_key: key.private_key_to_der().unwrap(),
    }
}
