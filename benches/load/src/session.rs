//! What happens on a viewer's socket: ICE and DTLS by str0m, the first keyframe found by opening packets, and from then on mere
//! counting of clear headers.
//!
//! Media packets never go through str0m: its receive path costs more than the servers measured here spend on sending.

use crate::answer::Answer;
use crate::counter::{SourceCounter, Totals};
use crate::keyframe::{Codec, begins_keyframe};
use crate::keying;
use crate::offer::Feedback;
use crate::rtcp::Compound;
use crate::rtp::{Header, Kind, kind};
use crate::socket::ViewerSocket;
use crate::srtp::Srtp;
use crate::stamp;
use crate::twcc::ArrivalLog;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use str0m::config::Fingerprint;
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, IceConnectionState, IceCreds, Input, Output, Rtc};

/// A viewer that is not connected by then has failed.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Receiver reports are sent so often; a server may take silence for absence.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Transport-wide feedback is sent so often (libwebrtc: every 50 to 250 ms).
const FEEDBACK_INTERVAL: Duration = Duration::from_millis(100);
/// A viewer without a picture asks for one this long after it connected, and then with every report.
const PICTURE_PATIENCE: Duration = Duration::from_millis(300);
/// With REMB: more than any stream needs.
const GENEROUS_BITS_PER_SECOND: u64 = 50_000_000;
/// The engine is asked again no sooner, so that no answer of its can make a thread spin.
const ENGINE_GRAIN: Duration = Duration::from_millis(1);
/// Of so many video packets one is opened and asked when it was sent. A prime: all places within frames get their turn.
const STAMP_SAMPLING: u32 = 31;
/// Latencies kept at the most: ten minutes of a usual stream.
const MAX_LATENCIES: usize = 4_096;
/// First byte of DTLS (RFC 7983 section 7).
const DTLS: std::ops::RangeInclusive<u8> = 20..=63;

/// When a viewer reached what, after its request was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) answered: Option<Duration>,
    /// ICE and DTLS done.
    pub(crate) connected: Option<Duration>,
    pub(crate) first_packet: Option<Duration>,
    /// The first keyframe was there to its last packet.
    pub(crate) first_keyframe: Option<Duration>,
}

/// Why a connection that was answered came to nothing, or ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    #[error("no ICE and DTLS connection within {} s", CONNECT_TIMEOUT.as_secs())]
    NotConnected,
    #[error("ICE lost the server")]
    IceLost,
    #[error("the server closed the connection")]
    Closed,
    #[error("the connection failed: {0}")]
    Engine(String),
    #[error("the viewer's socket failed: {0}")]
    Socket(String),
}

/// A viewer's figures at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    pub(crate) id: usize,
    pub(crate) port: u16,
    pub(crate) marks: Marks,
    pub(crate) broken: Option<Broken>,
    /// The answer takes video.
    pub(crate) video_agreed: bool,
    /// Media packets, all sources together.
    pub(crate) packets: Totals,
    /// Pictures that came after one that is shown later.
    pub(crate) steps_back: u64,
    /// UDP payload of the media packets.
    pub(crate) bytes: u64,
    /// Retransmissions and padding.
    pub(crate) repair_packets: u64,
    /// The longest time without a packet of video (audio when there is no video) since the window began.
    pub(crate) longest_gap: Duration,
}

struct Source {
    ssrc: u32,
    codec: Codec,
    counter: SourceCounter,
    /// Extended sequence number and timestamp of the newest packet.
    newest: (u64, u32),
    /// Packets in order whose timestamp was earlier than that of the packet before.
    steps_back: u64,
}

impl Source {
    fn note_order(&mut self, extended: u64, timestamp: u32) {
        let (newest, before) = self.newest;
        if extended > newest {
            self.steps_back += u64::from(timestamp.wrapping_sub(before).cast_signed() < 0);
            self.newest = (extended, timestamp);
        }
    }
}

/// The search for the first keyframe.
#[derive(Clone, Copy)]
enum Picture {
    Sought,
    /// Begun, by its timestamp.
    Begun(u32),
    Seen,
}

/// One viewer's connection and counters.
pub(crate) struct Session {
    id: usize,
    rtc: Rtc,
    local: SocketAddr,
    feedback: Feedback,
    posted: Instant,
    payloads: Vec<(u8, Codec, u32)>,
    /// Extension id of transport-wide numbers, when feedback about them was agreed on.
    transport_sequence: Option<u8>,
    srtp: Option<Srtp>,
    /// Where the server is, once DTLS went there.
    peer: Option<SocketAddr>,
    /// SSRC of the reports we send.
    ssrc: u32,
    marks: Marks,
    broken: Option<Broken>,
    sources: Vec<Source>,
    picture: Picture,
    arrivals: ArrivalLog,
    bytes: u64,
    repair_packets: u64,
    window_begin: Instant,
    last_video: Option<Instant>,
    last_audio: Option<Instant>,
    longest_gap: Duration,
    /// Video packets until the next one is asked when it was sent.
    until_stamp: u32,
    /// What the server added to those that told, since it was last asked.
    latencies: Vec<Duration>,
    engine_due: Instant,
    report_due: Option<Instant>,
    feedback_due: Option<Instant>,
}

impl Session {
    pub(crate) fn new(id: usize, rtc: Rtc, local: SocketAddr, feedback: Feedback, now: Instant) -> Self {
        Self {
            id,
            rtc,
            local,
            feedback,
            posted: now,
            payloads: Vec::new(),
            transport_sequence: None,
            srtp: None,
            peer: None,
            ssrc: rand::random::<u32>() | 1,
            marks: Marks::default(),
            broken: None,
            sources: Vec::new(),
            picture: Picture::Sought,
            arrivals: ArrivalLog::default(),
            bytes: 0,
            repair_packets: 0,
            window_begin: now,
            last_video: None,
            last_audio: None,
            longest_gap: Duration::ZERO,
            until_stamp: id as u32 % STAMP_SAMPLING,
            latencies: Vec::new(),
            engine_due: now,
            report_due: None,
            feedback_due: None,
        }
    }

    /// Takes the server's answer; the next thing due is [`Self::handle_timeout`].
    pub(crate) fn accept(&mut self, answer: Answer, candidates: &[SocketAddr], answered: Duration) {
        self.marks.answered = Some(answered);
        let mut direct = self.rtc.direct_api();
        direct.set_remote_ice_credentials(IceCreds { ufrag: answer.ufrag, pass: answer.password });
        direct.set_remote_fingerprint(Fingerprint {
            hash_func: "sha-256".to_owned(),
            bytes: answer.fingerprint,
        });
        if let Err(error) = direct.start_dtls(answer.passive) {
            self.broken = Some(Broken::Engine(error.to_string()));
        }
        for &candidate in candidates {
            match Candidate::host(candidate, "udp") {
                Ok(candidate) => self.rtc.add_remote_candidate(candidate),
                Err(error) => tracing::debug!(%candidate, %error, "a candidate is left out"),
            }
        }
        self.payloads = answer.payloads;
        if self.feedback == Feedback::Twcc {
            self.transport_sequence = answer.transport_sequence;
        }
    }

    /// When [`Self::handle_timeout`] is due; `None` for one that has ended.
    pub(crate) fn due(&self) -> Option<Instant> {
        if self.broken.is_some() {
            return None;
        }
        let connect = self.marks.connected.is_none().then(|| self.posted + CONNECT_TIMEOUT);
        let others = [connect, self.report_due, self.feedback_due];
        Some(others.into_iter().flatten().fold(self.engine_due, Instant::min))
    }

    /// Takes one datagram. `arrival`: by the wall clock, where the kernel tells.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        source: SocketAddr,
        arrival: Option<Duration>,
        datagram: &[u8],
        out: &ViewerSocket,
    ) {
        match kind(datagram) {
            Kind::Rtp => self.handle_rtp(now, arrival, datagram),
            Kind::Connection if self.broken.is_none() => {
                match Receive::new(Protocol::Udp, source, self.local, datagram) {
                    Ok(receive) => self.drive(Input::Receive(now, receive), now, out),
                    Err(error) => tracing::debug!(%source, %error, "neither STUN nor DTLS"),
                }
            }
            // Sender reports and good-byes change nothing that is counted.
            Kind::Connection | Kind::Rtcp | Kind::Unknown => {}
        }
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &ViewerSocket) {
        if self.broken.is_some() {
            return;
        }
        if self.marks.connected.is_none() && now >= self.posted + CONNECT_TIMEOUT {
            self.broken = Some(Broken::NotConnected);
            return;
        }
        if now >= self.engine_due {
            self.drive(Input::Timeout(now), now, out);
        }
        if self.report_due.is_some_and(|due| now >= due) {
            self.report_due = Some(now + REPORT_INTERVAL);
            self.report(out);
        }
        if self.feedback_due.is_some_and(|due| now >= due) {
            self.feedback_due = Some(now + FEEDBACK_INTERVAL);
            self.report_arrivals(out);
        }
    }

    pub(crate) fn handle_socket_error(&mut self, error: &io::Error) {
        self.broken.get_or_insert(Broken::Socket(error.to_string()));
    }

    /// Gives str0m one input and takes all that comes of it.
    fn drive(&mut self, input: Input<'_>, now: Instant, out: &ViewerSocket) {
        if let Err(error) = self.rtc.handle_input(input) {
            self.broken.get_or_insert(Broken::Engine(error.to_string()));
            return;
        }
        self.drain(now, out);
    }

    fn drain(&mut self, now: Instant, out: &ViewerSocket) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(due)) => {
                    self.engine_due = due.max(now + ENGINE_GRAIN);
                    break;
                }
                Ok(Output::Transmit(transmit)) => {
                    if transmit.contents.first().is_some_and(|first| DTLS.contains(first)) {
                        self.peer = Some(transmit.destination);
                    }
                    out.send(transmit.destination, &transmit.contents);
                }
                Ok(Output::Event(Event::Connected)) => {
                    self.marks.connected.get_or_insert(now - self.posted);
                    self.report_due = Some(now + PICTURE_PATIENCE);
                    self.feedback_due = self.transport_sequence.map(|_| now + FEEDBACK_INTERVAL);
                }
                Ok(Output::Event(Event::IceConnectionStateChange(IceConnectionState::Disconnected)))
                    if self.marks.connected.is_some() =>
                {
                    self.broken.get_or_insert(Broken::IceLost);
                }
                Ok(Output::Event(Event::Closed)) => {
                    self.broken.get_or_insert(Broken::Closed);
                }
                Ok(Output::Event(_)) => {}
                Err(error) => {
                    self.broken.get_or_insert(Broken::Engine(error.to_string()));
                    break;
                }
            }
        }
        if let Some(keying) = keying::take() {
            match Srtp::new(&keying, str0m::crypto::from_feature_flags()) {
                Ok(srtp) => self.srtp = Some(srtp),
                Err(error) => self.broken = Some(Broken::Engine(error.to_string())),
            }
        }
    }

    /// The path of every media packet.
    fn handle_rtp(&mut self, now: Instant, arrival: Option<Duration>, packet: &[u8]) {
        let Some(header) = Header::read(packet) else { return };
        let since = now.saturating_duration_since(self.posted);
        if let Some(id) = self.transport_sequence
            && let Some(sequence) = header.transport_sequence(packet, id)
        {
            self.arrivals.handle_arrival(sequence, since);
        }
        let known = self.payloads.iter().find(|(pt, ..)| *pt == header.payload_type);
        let Some(&(_, codec, clock_rate_hz)) = known else { return };
        if codec == Codec::Repair {
            self.repair_packets += 1;
            return;
        }
        self.bytes += packet.len() as u64;
        self.marks.first_packet.get_or_insert(since);
        let extended = if let Some(source) = self.sources.iter_mut().find(|s| s.ssrc == header.ssrc) {
            source.codec = codec;
            source.counter.handle_arrival(header.timestamp, since);
            let extended = source.counter.handle_packet(header.sequence);
            if let Some(extended) = extended {
                source.note_order(extended, header.timestamp);
            }
            extended
        } else {
            let mut counter = SourceCounter::new(header.sequence, clock_rate_hz);
            counter.handle_arrival(header.timestamp, since);
            let extended = (1 << 16) + u64::from(header.sequence);
            let newest = (extended, header.timestamp);
            self.sources.push(Source { ssrc: header.ssrc, codec, counter, newest, steps_back: 0 });
            Some(extended)
        };
        if !codec.is_video() {
            note_gap(
                &mut self.last_audio,
                now,
                self.window_begin,
                &mut self.longest_gap,
                self.last_video.is_none(),
            );
            return;
        }
        note_gap(&mut self.last_video, now, self.window_begin, &mut self.longest_gap, true);
        let Some(extended) = extended else { return };
        if !matches!(self.picture, Picture::Seen) {
            self.seek_picture(codec, &header, packet, extended, since);
        }
        if self.until_stamp > 0 {
            self.until_stamp -= 1;
        } else if self.latencies.len() < MAX_LATENCIES {
            self.until_stamp = STAMP_SAMPLING - 1;
            let payload = self.open(&header, packet, extended);
            // A socket that is read datagram by datagram does not tell; then this wake-up's own delay is in the figure.
            let arrival = arrival.unwrap_or_else(stamp::now);
            self.latencies.extend(payload.and_then(|payload| stamp::age(&payload, arrival)));
        }
    }

    /// The payload of a media packet.
    fn open(&mut self, header: &Header, packet: &[u8], extended: u64) -> Option<Vec<u8>> {
        // The counter's first cycle is number 1, SRTP's is 0 (RFC 3711 section 3.3.1).
        let rollover = u32::try_from(extended >> 16).ok()?.checked_sub(1)?;
        self.srtp.as_mut()?.open_rtp(header, packet, rollover)
    }

    /// Hands over what the server has added to packets since the last call.
    pub(crate) fn take_latencies(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.latencies)
    }

    /// Looks for the first keyframe, and for its end.
    fn seek_picture(&mut self, codec: Codec, header: &Header, packet: &[u8], extended: u64, since: Duration) {
        if let Picture::Sought = self.picture {
            let payload = self.open(header, packet, extended);
            if payload.is_some_and(|payload| begins_keyframe(codec, &payload)) {
                self.picture = Picture::Begun(header.timestamp);
            }
        }
        if let Picture::Begun(timestamp) = self.picture {
            let later = header.timestamp.wrapping_sub(timestamp);
            // The packet with the marker ends it; when that one is lost, the first of the next frame does.
            if (later == 0 && header.marker) || (1..0x8000_0000).contains(&later) {
                self.picture = Picture::Seen;
                self.marks.first_keyframe = Some(since);
            }
        }
    }

    fn report(&mut self, out: &ViewerSocket) {
        let receptions: Vec<_> = self.sources.iter_mut().map(|s| (s.ssrc, s.counter.report())).collect();
        let mut compound = Compound::new(self.ssrc, &receptions, &format!("load-{}", self.id));
        let video = self.sources.iter().find(|s| s.codec.is_video()).map(|s| s.ssrc);
        if let (Picture::Sought, Some(video)) = (self.picture, video) {
            compound = compound.picture_loss(video);
        }
        if let (Feedback::Remb, Some(video)) = (self.feedback, video) {
            compound = compound.receiver_estimate(GENEROUS_BITS_PER_SECOND, &[video]);
        }
        self.send_rtcp(compound, out);
    }

    fn report_arrivals(&mut self, out: &ViewerSocket) {
        let Some(source) = self.sources.first().map(|source| source.ssrc) else { return };
        if let Some(content) = self.arrivals.report() {
            let compound = Compound::new(self.ssrc, &[], &format!("load-{}", self.id));
            self.send_rtcp(compound.transport_feedback(source, &content), out);
        }
    }

    fn send_rtcp(&mut self, compound: Compound, out: &ViewerSocket) {
        let Some((srtp, peer)) = self.srtp.as_mut().zip(self.peer) else { return };
        match srtp.seal_rtcp(&compound.into_bytes()) {
            Some(sealed) => out.send(peer, &sealed),
            None => tracing::debug!(viewer = self.id, "a report could not be protected"),
        }
    }

    /// Says good-bye on the wire.
    pub(crate) fn close(&mut self, out: &ViewerSocket) {
        self.send_rtcp(Compound::new(self.ssrc, &[], &format!("load-{}", self.id)).goodbye(), out);
        if self.rtc.close().is_ok() {
            self.drain(Instant::now(), out);
        }
        self.broken.get_or_insert(Broken::Closed);
    }

    pub(crate) const fn begin_window(&mut self, now: Instant) {
        self.window_begin = now;
        self.longest_gap = Duration::ZERO;
    }

    pub(crate) fn figures(&self, now: Instant) -> Figures {
        let mut packets = Totals::default();
        for totals in self.sources.iter().map(|s| s.counter.totals()) {
            packets.delivered += totals.delivered;
            packets.expected += totals.expected;
            packets.duplicates += totals.duplicates;
            packets.reordered += totals.reordered;
        }
        let last = self.last_video.or(self.last_audio);
        let open_gap =
            now.saturating_duration_since(last.unwrap_or(self.window_begin).max(self.window_begin));
        Figures {
            id: self.id,
            port: self.local.port(),
            marks: self.marks,
            broken: self.broken.clone(),
            video_agreed: self.payloads.iter().any(|(_, codec, _)| codec.is_video()),
            packets,
            steps_back: self.sources.iter().filter(|s| s.codec.is_video()).map(|s| s.steps_back).sum(),
            bytes: self.bytes,
            repair_packets: self.repair_packets,
            longest_gap: self.longest_gap.max(open_gap),
        }
    }
}

/// Notes a packet of one lane; the time since the one before, as far as it lies in the window, may be the longest gap.
fn note_gap(last: &mut Option<Instant>, now: Instant, begin: Instant, longest: &mut Duration, counts: bool) {
    let before = last.replace(now).unwrap_or(begin).max(begin);
    if counts {
        *longest = (*longest).max(now.saturating_duration_since(before));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps_back(packets: &[(u64, u32)]) -> u64 {
        let counter = SourceCounter::new(1, 90_000);
        let mut source = Source { ssrc: 1, codec: Codec::H264, counter, newest: packets[0], steps_back: 0 };
        packets.iter().for_each(|(extended, timestamp)| source.note_order(*extended, *timestamp));
        source.steps_back
    }

    #[test]
    fn b_frames_step_back_and_late_packets_and_wraps_do_not() {
        // In the order of decoding: I P B B P, each of two packets.
        let frames = [0, 9, 3, 6, 18];
        let packets: Vec<_> = (0..10).map(|n| (n, frames[n as usize / 2] * 1_000)).collect();
        assert_eq!(steps_back(&packets), 1);
        assert_eq!(steps_back(&[(1, 0), (3, 2_000), (2, 1_000), (4, 3_000)]), 0, "one was late");
        assert_eq!(steps_back(&[(1, u32::MAX - 5), (2, 10), (3, 20)]), 0, "the clock wrapped");
    }
}
