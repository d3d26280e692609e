//! A WHEP and WHIP server of a few lines, for one test each: str0m with its own SDP, one thread and one socket a session. Nothing of
//! the project's own server is in it.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use str0m::change::SdpOffer;
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc};
use tokio::sync::watch;

/// What the server does with an offer.
#[derive(Debug, Clone)]
pub(crate) enum Manner {
    /// Takes it, and sends (or receives) what is planned.
    Serve(Plan),
    /// Refuses it with a status line and a body.
    Refuse(&'static str, &'static str),
    /// Takes it with this body, and a session.
    Accept(&'static str),
    /// Sends it on.
    Redirect(String),
}

/// What a viewer is sent.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Video packets, each a frame.
    pub(crate) packets: u64,
    /// Every so manieth packet is left out, never the last.
    pub(crate) lose_every: Option<u64>,
    /// No keyframe comes before it was asked for.
    pub(crate) waits_for_request: bool,
    /// The answer's session URL is left out.
    pub(crate) without_location: bool,
    /// Packets say that they were sent this long ago.
    pub(crate) stamped: Option<Duration>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            packets: 300,
            lose_every: None,
            waits_for_request: false,
            without_location: false,
            stamped: None,
        }
    }
}

/// What came to pass.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) posts: AtomicUsize,
    pub(crate) deletes: AtomicUsize,
    pub(crate) authorized: AtomicUsize,
    /// Sessions that said good-bye over DTLS.
    pub(crate) closed: AtomicUsize,
    /// Sessions whose receiver reports were understood, by the loss told.
    pub(crate) losses: Mutex<HashMap<usize, f32>>,
    /// Packets and keyframes a publisher sent.
    pub(crate) published: AtomicUsize,
    pub(crate) keyframes: AtomicUsize,
    /// Packets of a publisher that tell when they were sent.
    pub(crate) stamped: AtomicUsize,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    /// How many sessions have done all that was planned.
    pub(crate) done: watch::Receiver<usize>,
    stop: Arc<AtomicBool>,
}

impl Server {
    pub(crate) fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
        let (tell, done) = watch::channel(0);
        let shared =
            Shared { manner, seen: Arc::clone(&seen), stop: Arc::clone(&stop), tell: Arc::new(tell) };
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                if shared.stop.load(Ordering::Relaxed) {
                    return;
                }
                let shared = shared.clone();
                std::thread::spawn(move || shared.converse(connection.unwrap()));
            }
        });
        Self { address, seen, done, stop }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/endpoint", self.address)
    }

    /// Comes true when `sessions` have done all that was planned.
    pub(crate) async fn all_done(&self, sessions: usize) {
        self.done.clone().wait_for(|done| *done >= sessions).await.unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the listener, so that it sees the flag.
        let _woken = TcpStream::connect(self.address);
    }
}

#[derive(Clone)]
struct Shared {
    manner: Manner,
    seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
    tell: Arc<watch::Sender<usize>>,
}

impl Shared {
    /// Answers the requests of one connection.
    fn converse(&self, mut connection: TcpStream) {
        let mut reader = BufReader::new(connection.try_clone().unwrap());
        loop {
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                if line == "\r\n" {
                    break;
                }
                head.push(line.to_ascii_lowercase());
            }
            let field = |name: &str| head.iter().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let length = field("content-length:").map_or(0, |length| length.parse().unwrap());
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            if field("authorization:") == Some("bearer key") {
                self.seen.authorized.fetch_add(1, Ordering::Relaxed);
            }
            let response = if head[0].starts_with("delete ") {
                self.seen.deletes.fetch_add(1, Ordering::Relaxed);
                reply("200 OK", "", "")
            } else {
                assert_eq!(field("content-type:"), Some("application/sdp"));
                self.open(String::from_utf8(body).unwrap())
            };
            connection.write_all(response.as_bytes()).unwrap();
        }
    }

    fn open(&self, offer: String) -> String {
        let number = self.seen.posts.fetch_add(1, Ordering::Relaxed);
        match &self.manner {
            Manner::Serve(plan) => {
                let (peer, answer) = Peer::new(number, &offer, plan.clone(), self.clone());
                std::thread::spawn(move || peer.run());
                let location = if plan.without_location {
                    String::new()
                } else {
                    format!("location: /sessions/{number}\r\n")
                };
                reply("201 Created", &location, &answer)
            }
            Manner::Refuse(status, body) => reply(status, "", body),
            Manner::Accept(body) => reply("201 Created", "location: sessions/7\r\n", body),
            Manner::Redirect(to) => reply("307 Temporary Redirect", &format!("location: {to}\r\n"), ""),
        }
    }
}

fn reply(status: &str, fields: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/sdp\r\n{fields}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// One session.
struct Peer {
    number: usize,
    rtc: Rtc,
    socket: UdpSocket,
    plan: Plan,
    shared: Shared,
    video: Option<(Mid, Direction)>,
    connected: bool,
    asked: bool,
    sent: u64,
    next: Instant,
    done: bool,
}

impl Peer {
    fn new(number: usize, offer: &str, plan: Plan, shared: Shared) -> (Self, String) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut rtc = Rtc::builder()
            .set_ice_lite(true)
            .set_rtp_mode(true)
            .set_stats_interval(Some(Duration::from_millis(100)))
            .clear_codecs()
            .enable_vp8(true)
            .enable_opus(true, false)
            .build(Instant::now());
        rtc.add_local_candidate(Candidate::host(socket.local_addr().unwrap(), "udp").unwrap());
        let offer = SdpOffer::from_sdp_string(offer).unwrap();
        let answer = rtc.sdp_api().accept_offer(offer).unwrap().to_sdp_string();
        let peer = Self {
            number,
            rtc,
            socket,
            plan,
            shared,
            video: None,
            connected: false,
            asked: false,
            sent: 0,
            next: Instant::now(),
            done: false,
        };
        (peer, answer)
    }

    fn run(mut self) {
        let mut buffer = [0; 2_048];
        while self.rtc.is_alive() && !self.shared.stop.load(Ordering::Relaxed) {
            let due = self.drain();
            self.send();
            let patience = due.min(Instant::now() + Duration::from_millis(2));
            let patience = patience.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.socket.set_read_timeout(Some(patience)).unwrap();
            match self.socket.recv_from(&mut buffer) {
                Ok((length, source)) => {
                    let local = self.socket.local_addr().unwrap();
                    let receive = Receive::new(Protocol::Udp, source, local, &buffer[..length]).unwrap();
                    self.rtc.handle_input(Input::Receive(Instant::now(), receive)).unwrap();
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    self.rtc.handle_input(Input::Timeout(Instant::now())).unwrap();
                }
                Err(e) => panic!("{e}"),
            }
        }
    }

    fn drain(&mut self) -> Instant {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(due) => return due,
                Output::Transmit(t) => {
                    self.socket.send_to(&t.contents, t.destination).unwrap();
                }
                Output::Event(event) => self.handle_event(event),
            }
        }
    }

    fn handle_event(&mut self, event: Event) {
        let seen = &self.shared.seen;
        match event {
            Event::MediaAdded(media) if media.kind == MediaKind::Video => {
                self.video = Some((media.mid, media.direction));
            }
            Event::Connected => self.connected = true,
            Event::KeyframeRequest(_) => self.asked = true,
            Event::Closed => {
                seen.closed.fetch_add(1, Ordering::Relaxed);
            }
            Event::MediaEgressStats(stats) => {
                if let Some(loss) = stats.loss.filter(|_| Some(stats.mid) == self.video.map(|(mid, _)| mid)) {
                    let mut losses = seen.losses.lock().unwrap();
                    let most = losses.entry(self.number).or_insert(0.0);
                    *most = most.max(loss);
                }
            }
            Event::RtpPacket(packet) => {
                let count = seen.published.fetch_add(1, Ordering::Relaxed) + 1;
                let Some((mid, _)) = self.video else { return };
                // RFC 7741: extended descriptor with a picture id of 15 bits, then the frame's first byte.
                let payload = &packet.payload;
                if payload.windows(8).any(|bytes| bytes == b"sent-at ") {
                    seen.stamped.fetch_add(1, Ordering::Relaxed);
                }
                if payload.len() > 4 && payload[0] & 0x97 == 0x90 && payload[4] & 1 == 0 {
                    let keyframes = seen.keyframes.fetch_add(1, Ordering::Relaxed) + 1;
                    if keyframes == 2 {
                        self.finish();
                    }
                }
                if count >= 60 && !self.asked {
                    self.asked = true;
                    let mut direct = self.rtc.direct_api();
                    let stream = direct.stream_rx_by_mid(mid, None).unwrap();
                    stream.request_keyframe(KeyframeRequestKind::Pli);
                }
            }
            _ => {}
        }
    }

    fn finish(&mut self) {
        if !std::mem::replace(&mut self.done, true) {
            self.shared.tell.send_modify(|done| *done += 1);
        }
    }

    /// Sends the next packet of the plan, when it is due.
    fn send(&mut self) {
        let Some((mid, Direction::SendOnly)) = self.video else { return };
        let now = Instant::now();
        if !self.connected || now < self.next {
            return;
        }
        if self.sent == self.plan.packets {
            // A report of the viewer has to have been understood, too.
            if self.shared.seen.losses.lock().unwrap().contains_key(&self.number) {
                self.finish();
            }
            return;
        }
        let key = if self.plan.waits_for_request { std::mem::take(&mut self.asked) } else { self.sent == 0 };
        let sequence = self.sent + 65_400;
        self.sent += 1;
        self.next = now + Duration::from_millis(2);
        let lost = self.plan.lose_every.is_some_and(|n| self.sent.is_multiple_of(n));
        if lost && self.sent != self.plan.packets {
            return;
        }
        // VP8: start of partition 0, then the frame's first byte, whose lowest bit is clear in a keyframe.
        let mut payload = vec![0x10, u8::from(!key), 0, 0, 0x9d, 1, 0x2a];
        if let Some(ago) = self.plan.stamped {
            let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() - ago;
            payload.extend(format!("sent-at {:016x}", at.as_nanos()).into_bytes());
        }
        let pt = self.rtc.media(mid).unwrap().remote_pts()[0];
        let mut direct = self.rtc.direct_api();
        let stream = direct.stream_tx_by_mid(mid, None).unwrap();
        let timestamp = (self.sent * 180) as u32;
        stream.write_rtp(RtpWrite::new(pt, sequence.into(), timestamp, now, payload).marker(true));
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
        self.drain();
    }
}
