//! One publisher's session: str0m does ICE, DTLS, SRTP and RTCP; this turns its events into packets of tracks.
//!
//! What belongs here: everything about one session that needs no socket. It follows str0m's rule: after each mutation
//! [`Peer::drain`] polls until a timeout comes, before the next mutation.

mod setup;

use crate::clock::ClockPair;
use crate::feed::{Anchor, FeedItem, SourceInfo};
use crate::hub::{Broadcast, Hub};
use crate::id::SessionId;
use crate::layers::{LayerChooser, Verdict};
use crate::link::Arrival;
use crate::offer::{Offer, OfferedTrack};
use crate::origins::Origins;
use crate::publisher::{CloseReason, PublisherEvent};
use crate::socket::{Path, Via};
use crate::stats::Counters;
use bytes::Bytes;
use relay_proto::continuity::SourceId;
use skywave_media::codec::{Codec, TrackKind};
use skywave_media::ingest::TrackId;
use skywave_media::packet::{Packet, SenderReport};
use skywave_media::time::Mono;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use str0m::bwe::Bitrate;
use str0m::config::{CryptoProvider, DtlsCert, Fingerprint};
use str0m::media::{KeyframeRequestKind, MediaKind, Mid, SenderFeedback};
use str0m::net::{DatagramSend, Protocol, Receive};
use str0m::rtp::{Extension, RtpHeader, RtpPacket, Ssrc};
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc};
use tokio::sync::mpsc;

/// How often a sender without transport-wide feedback is told its limit again: libwebrtc forgets a REMB after a while.
const REMB_INTERVAL: Duration = Duration::from_secs(1);
/// Sources that may be learnt by their payload type, per track, for a client that announces none.
const MAX_GUESSED_SOURCES: u8 = 4;

/// What all sessions of a node have in common.
#[derive(Debug)]
pub(crate) struct PeerDefaults {
    pub(crate) crypto: Arc<CryptoProvider>,
    pub(crate) certificate: DtlsCert,
    pub(crate) connect_timeout: Duration,
    pub(crate) silence_timeout: Duration,
    pub(crate) viewer_timeout: Duration,
    pub(crate) max_publish_bitrate: u64,
    pub(crate) clock: ClockPair,
}

/// Where a session's events go: the queue, and the places kept for what must not be lost.
#[derive(Debug)]
pub(crate) struct EventSink {
    queue: mpsc::Sender<PublisherEvent>,
    connected: Option<mpsc::OwnedPermit<PublisherEvent>>,
    closed: Option<mpsc::OwnedPermit<PublisherEvent>>,
}

impl EventSink {
    /// Keeps two places in the queue; `None` when it has none or its receiver is gone.
    pub(crate) fn new(queue: mpsc::Sender<PublisherEvent>) -> Option<Self> {
        let connected = queue.clone().try_reserve_owned().ok();
        let closed = queue.clone().try_reserve_owned().ok();
        (connected.is_some() && closed.is_some()).then_some(Self { queue, connected, closed })
    }
}

/// A datagram to send.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) to: Destination,
    pub(crate) contents: DatagramSend,
}

/// Where a datagram goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Destination {
    /// Along a path that is known.
    Path(Path),
    /// To an address that the peer has proved to own, by a transport.
    Address(SocketAddr, Protocol),
    /// Nowhere: the peer has just proved that it owns this path.
    Proved(Path),
}

/// What a new session gets from its node, beside the offer.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    pub(crate) id: SessionId,
    pub(crate) stream: String,
    pub(crate) credentials: IceCreds,
    /// The addresses that peers send to.
    pub(crate) candidates: &'a [SocketAddr],
    /// Whether the addresses also take TCP.
    pub(crate) tcp: bool,
    pub(crate) sink: EventSink,
    pub(crate) counters: Arc<Counters>,
    pub(crate) defaults: Arc<PeerDefaults>,
    pub(crate) hub: Arc<Hub>,
    /// The thread it will live on.
    pub(crate) thread: usize,
}

/// One publisher.
pub(crate) struct Peer {
    pub(crate) id: SessionId,
    pub(crate) stream: String,
    pub(crate) ufrag: String,
    /// What it feeds, once it is connected, and its number there.
    pub(crate) publication: Option<(Arc<Broadcast>, u64)>,
    hub: Arc<Hub>,
    thread: usize,
    origins: Origins,
    /// What has come for viewers.
    items: Vec<FeedItem>,
    rtc: Rtc,
    tracks: Vec<Track>,
    /// The track and codec of each payload type; retransmissions are undone before anybody looks here.
    by_payload_type: [Option<(u8, Codec)>; 128],
    sink: EventSink,
    counters: Arc<Counters>,
    defaults: Arc<PeerDefaults>,
    opened: Instant,
    connected: bool,
    /// When something authentic last arrived.
    last_heard: Instant,
    remb_at: Option<Instant>,
    /// When str0m wants to be called.
    rtc_due: Instant,
    end: Option<CloseReason>,
}

struct Track {
    id: TrackId,
    mid: Mid,
    layers: LayerChooser,
    keyframe_request: Option<KeyframeRequestKind>,
    nack: bool,
    guessed_sources: u8,
}

impl Peer {
    /// A session that answers `offer`.
    pub(crate) fn new(offer: &Offer, opening: Opening<'_>) -> Self {
        let Opening { id, stream, credentials, candidates, tcp, sink, counters, defaults, hub, thread } =
            opening;
        let now = Instant::now();
        let ufrag = credentials.ufrag.clone();
        let mut rtc = setup::rtc_config(offer, credentials, &defaults).build(now);
        let transports: &[&str] = if tcp { &["udp", "tcp"] } else { &["udp"] };
        for (&addr, transport) in candidates.iter().flat_map(|a| transports.iter().map(move |t| (a, *t))) {
            match Candidate::host(addr, transport) {
                Ok(candidate) => drop(rtc.add_local_candidate(candidate)),
                Err(error) => tracing::warn!(%addr, transport, %error, "this address is not offered"),
            }
        }
        let mut direct = rtc.direct_api();
        direct.set_ice_controlling(false);
        direct.set_remote_ice_credentials(IceCreds {
            ufrag: offer.ice_ufrag.clone(),
            pass: offer.ice_pwd.clone(),
        });
        direct.set_remote_fingerprint(Fingerprint {
            hash_func: "sha-256".to_owned(),
            bytes: offer.fingerprint.to_vec(),
        });
        if offer.tracks.iter().flat_map(|t| &t.payloads).any(|p| p.feedback.transport_cc) {
            direct.enable_twcc_feedback();
        }
        let tracks = offer.tracks.iter().map(|t| Track::declare(t, &mut direct)).collect();
        let mut end = None;
        if let Err(error) = direct.start_dtls(false) {
            end = Some(CloseReason::Failed { detail: error.to_string() });
        }
        let remb = setup::wants_remb(offer);
        Self {
            id,
            stream,
            ufrag,
            publication: None,
            hub,
            thread,
            origins: Origins::default(),
            items: Vec::new(),
            rtc,
            tracks,
            by_payload_type: setup::payload_table(offer),
            sink,
            counters,
            defaults,
            opened: now,
            connected: false,
            last_heard: now,
            remb_at: remb.then_some(now + REMB_INTERVAL),
            rtc_due: now,
            end,
        }
    }

    /// When the session wants [`Peer::handle_timeout`].
    pub(crate) fn due(&self) -> Instant {
        let deadline = if self.connected {
            self.last_heard + self.defaults.silence_timeout
        } else {
            self.opened + self.defaults.connect_timeout
        };
        let demanded = self.origins.poll_timeout().map(|at| self.defaults.clock.instant(at));
        [Some(deadline), self.remb_at, demanded].into_iter().flatten().fold(self.rtc_due, Instant::min)
    }

    /// Why the session is over, once it is.
    pub(crate) fn end(&self) -> Option<&CloseReason> {
        self.end.as_ref()
    }

    /// Takes a datagram. `local` is the advertised address it counts as sent to.
    pub(crate) fn handle_datagram(
        &mut self,
        path: Path,
        local: SocketAddr,
        datagram: &[u8],
        now: Instant,
        out: &mut Vec<Outgoing>,
    ) -> Arrival {
        let protocol = match path.via {
            Via::Udp(_) => Protocol::Udp,
            Via::Tcp(_) => Protocol::Tcp,
        };
        let Ok(receive) = Receive::new(protocol, path.remote, local, datagram) else {
            return Arrival::Malformed;
        };
        self.guess_source(datagram);
        self.mutate(now, out, |rtc| rtc.handle_input(Input::Receive(now, receive)));
        if crate::stun::addressed_ufrag(datagram).is_none() {
            return Arrival::Nothing;
        }
        // str0m answers a check with success only when it has proved its integrity.
        let to_it =
            |o: &Outgoing| matches!(o.to, Destination::Address(to, p) if to == path.remote && p == protocol);
        let proved = out.iter().any(|o| to_it(o) && crate::stun::is_binding_success(&o.contents));
        if proved { Arrival::Checked } else { Arrival::RefusedCheck }
    }

    /// Lets time pass.
    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Outgoing>) {
        if !self.connected && now >= self.opened + self.defaults.connect_timeout {
            self.finish(CloseReason::ConnectTimeout);
        } else if self.connected && now >= self.last_heard + self.defaults.silence_timeout {
            self.finish(CloseReason::Silent);
        }
        if self.remb_at.is_some_and(|at| now >= at) {
            self.remb_at = Some(now + REMB_INTERVAL);
            self.tell_bitrate();
        }
        self.origins.handle_timeout(self.defaults.clock.mono(now));
        self.ask_for_keyframes();
        self.mutate(now, out, |rtc| rtc.handle_input(Input::Timeout(now)));
    }

    /// Somebody needs a keyframe of what the stream takes of a track. All wishes for one source are merged.
    pub(crate) fn request_keyframe(&mut self, track: TrackId, now: Instant, out: &mut Vec<Outgoing>) {
        let Some(index) = self.tracks.iter().position(|t| t.id == track) else { return };
        let Some(ssrc) = self.tracks[index].layers.chosen() else { return };
        self.demand_ssrc(ssrc, now);
        self.mutate(now, out, |rtc| rtc.handle_input(Input::Timeout(now)));
    }

    /// A viewer needs a keyframe of a source.
    pub(crate) fn demand(&mut self, source: SourceId, now: Instant, out: &mut Vec<Outgoing>) {
        let Some(ssrc) = self.origins.ssrc_of(source) else { return };
        self.demand_ssrc(ssrc, now);
        self.mutate(now, out, |rtc| rtc.handle_input(Input::Timeout(now)));
    }

    fn demand_ssrc(&mut self, ssrc: u32, now: Instant) {
        self.origins.handle_demand(ssrc, self.defaults.clock.mono(now));
        self.ask_for_keyframes();
    }

    /// Sends the requests that are due.
    fn ask_for_keyframes(&mut self) {
        while let Some((track, ssrc)) = self.origins.poll_request() {
            self.ask_for_keyframe(track, ssrc);
        }
    }

    /// New ICE credentials on both sides (RFC 8445 section 9); media goes on along the old path meanwhile.
    pub(crate) fn restart_ice(
        &mut self,
        local: IceCreds,
        remote: IceCreds,
        now: Instant,
        out: &mut Vec<Outgoing>,
    ) {
        self.ufrag.clone_from(&local.ufrag);
        let mut direct = self.rtc.direct_api();
        direct.set_local_ice_credentials(local);
        direct.set_remote_ice_credentials(remote);
        self.mutate(now, out, |rtc| rtc.handle_input(Input::Timeout(now)));
    }

    /// Takes what has come for viewers.
    pub(crate) fn take_items(&mut self) -> Vec<FeedItem> {
        std::mem::take(&mut self.items)
    }

    /// Says good-bye: RTCP BYE and DTLS close_notify, as far as the peer can be reached.
    pub(crate) fn say_goodbye(&mut self, now: Instant, out: &mut Vec<Outgoing>) {
        if self.rtc.is_alive() {
            self.mutate(now, out, Rtc::close);
        }
    }

    /// Decides that the session is over; the first reason stays.
    pub(crate) fn finish(&mut self, reason: CloseReason) {
        self.end.get_or_insert(reason);
    }

    /// Tells the receiver of the events why it is over. The last thing a session does.
    pub(crate) fn tell_closed(mut self) {
        let reason = self.end.take().unwrap_or(CloseReason::Failed { detail: "dropped".to_owned() });
        if let Some(place) = self.sink.closed.take() {
            place.send(PublisherEvent::Closed { reason });
        }
    }

    fn mutate(
        &mut self,
        now: Instant,
        out: &mut Vec<Outgoing>,
        mutation: impl FnOnce(&mut Rtc) -> Result<(), str0m::RtcError>,
    ) {
        if let Err(error) = mutation(&mut self.rtc) {
            self.finish(CloseReason::Failed { detail: error.to_string() });
        }
        self.drain(now, out);
    }

    fn drain(&mut self, now: Instant, out: &mut Vec<Outgoing>) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.rtc_due = at;
                    break;
                }
                Ok(Output::Transmit(t)) => {
                    if crate::stun::is_binding_success(&t.contents) {
                        self.last_heard = now;
                    }
                    out.push(Outgoing {
                        to: Destination::Address(t.destination, t.proto),
                        contents: t.contents,
                    });
                }
                Ok(Output::Event(event)) => self.handle_event(event, now),
                Err(error) => {
                    self.finish(CloseReason::Failed { detail: error.to_string() });
                    break;
                }
            }
        }
        if !self.rtc.is_alive() {
            self.finish(CloseReason::PeerClosed);
        }
    }

    fn handle_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Connected => {
                self.connected = true;
                self.last_heard = now;
                Counters::one(&self.counters.sessions_connected);
                self.publication = Some(self.hub.begin(&self.stream, self.thread));
                // What the publisher before brought is over.
                self.items.push(FeedItem::Only(Vec::new()));
                if let Some(place) = self.sink.connected.take() {
                    drop(place.send(PublisherEvent::Connected));
                }
            }
            Event::RtpPacket(packet) => self.handle_packet(packet, now),
            Event::SenderFeedback(report) => self.handle_report(report, now),
            Event::Closed => self.finish(CloseReason::PeerClosed),
            _ => {}
        }
    }

    fn handle_packet(&mut self, packet: RtpPacket, now: Instant) {
        self.last_heard = now;
        let Some((index, codec)) = self.by_payload_type[usize::from(*packet.header.payload_type & 0x7f)]
        else {
            return;
        };
        let index = usize::from(index);
        let ssrc = *packet.header.ssrc;
        let arrival = self.defaults.clock.mono(packet.timestamp);
        let verdict = self.tracks[index].layers.handle_packet(ssrc, packet.payload.len(), arrival);
        let origin = self.origin(index, codec, packet.header.ssrc);
        let payload = Bytes::from_owner(packet.payload);
        if let Some(origin) = origin {
            self.feed(origin, &packet.header, *packet.seq_no, arrival, &payload);
        }
        match verdict {
            Verdict::Pass => {}
            Verdict::PassSwitched => {
                self.demand_ssrc(ssrc, now);
            }
            Verdict::Skip => return Counters::one(&self.counters.packets_other_layers),
        }
        Counters::one(&self.counters.packets);
        Counters::add(&self.counters.payload_bytes, payload.len() as u64);
        let track = self.tracks[index].id;
        let packet = Packet {
            ssrc,
            sequence: packet.header.sequence_number,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            codec,
            arrival,
            payload,
        };
        self.tell(PublisherEvent::Packet { track, packet });
    }

    /// The source that a packet belongs to; a new one is announced.
    fn origin(&mut self, track: usize, codec: Codec, ssrc: Ssrc) -> Option<usize> {
        let known = self.origins.find(*ssrc, codec);
        if known.is_some() || !self.origins.has_room() {
            return known;
        }
        let (broadcast, _) = self.publication.as_ref()?;
        let nack = self.tracks[track].nack;
        let mut name = ssrc.to_string();
        if let Some(stream) = self.rtc.direct_api().stream_rx(&ssrc) {
            // str0m asks for retransmissions only where there is RTX. A client that offers plain NACK (OBS) repeats the packet itself.
            stream.suppress_nack(!nack);
            if let Some(rid) = stream.rid() {
                name = rid.to_string();
            }
        }
        let info = Arc::new(SourceInfo {
            id: broadcast.new_source(),
            kind: codec.kind(),
            codec,
            name,
            rendition: false,
            askable: true,
        });
        self.items.push(FeedItem::Source(Arc::clone(&info)));
        Some(self.origins.begin(*ssrc, track, info))
    }

    /// Makes a packet ready for viewers.
    fn feed(&mut self, origin: usize, header: &RtpHeader, seq: u64, arrival: Mono, payload: &Bytes) {
        let packet = self.origins.take(origin, header, seq, arrival, payload);
        if self.publication.as_ref().is_some_and(|(b, number)| b.is_fed_by(*number)) {
            self.items.push(FeedItem::Packet(packet));
        }
    }

    fn handle_report(&mut self, feedback: SenderFeedback, now: Instant) {
        self.last_heard = now;
        let info = feedback.sender_info;
        // str0m extends it to 64 bits; the wire has the lower 32.
        let timestamp = info.rtp_time.numer() as u32;
        let at = self.defaults.clock.mono(feedback.received_at);
        if let Some(source) = self.origins.newest_of(*info.ssrc) {
            self.items.push(FeedItem::Anchor(source, Anchor { at, timestamp }));
        }
        let Some(ntp) = ntp_of(info.ntp_time) else { return };
        let Some(track) = self.tracks.iter().find(|t| t.layers.chosen() == Some(*info.ssrc)) else { return };
        let report = SenderReport { ssrc: *info.ssrc, ntp, rtp_timestamp: timestamp, arrival: at };
        let track = track.id;
        self.tell(PublisherEvent::SenderReport { track, report });
    }

    fn tell(&mut self, event: PublisherEvent) {
        match self.sink.queue.try_send(event) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => Counters::one(&self.counters.events_dropped),
            Err(mpsc::error::TrySendError::Closed(_)) => self.finish(CloseReason::Abandoned),
        }
    }

    /// Queues a PLI, or a FIR where only that was offered; a client that offered neither cannot be asked.
    fn ask_for_keyframe(&mut self, track: usize, ssrc: u32) {
        let Some(kind) = self.tracks[track].keyframe_request else { return };
        let mut direct = self.rtc.direct_api();
        let Some(stream) = direct.stream_rx(&Ssrc::from(ssrc)) else { return };
        stream.request_keyframe(kind);
        Counters::one(&self.counters.keyframe_requests);
    }

    fn tell_bitrate(&mut self) {
        let limit = Bitrate::from(self.defaults.max_publish_bitrate);
        let mut direct = self.rtc.direct_api();
        for ssrc in self.tracks.iter().filter_map(|t| t.layers.chosen()) {
            if let Some(stream) = direct.stream_rx(&Ssrc::from(ssrc)) {
                stream.request_remb(limit);
            }
        }
    }

    /// Lets a source in that neither the offer nor a header extension names, by its payload type (RFC 9143 section 9.2).
    fn guess_source(&mut self, datagram: &[u8]) {
        // RTP version 2 and no RTCP type (RFC 5761 section 4); the session must be up for anything to be decrypted.
        let &[0x80..=0xbf, second, _, _, _, _, _, _, a, b, c, d, ..] = datagram else { return };
        let pt = second & 0x7f;
        let Some((index, _)) = self.by_payload_type[usize::from(pt)] else { return };
        let track = &mut self.tracks[usize::from(index)];
        let ssrc = Ssrc::from(u32::from_be_bytes([a, b, c, d]));
        if !self.connected || track.guessed_sources == 0 || *ssrc == 0 {
            return;
        }
        let mut direct = self.rtc.direct_api();
        if direct.stream_rx(&ssrc).is_none() {
            track.guessed_sources -= 1;
            direct.expect_stream_rx(ssrc, None, track.mid, None).suppress_nack(!track.nack);
        }
    }
}

impl Track {
    fn declare(offered: &OfferedTrack, direct: &mut str0m::change::DirectApi<'_>) -> Self {
        let mid = Mid::from(offered.mid.as_str());
        let kind = match offered.kind {
            TrackKind::Video => MediaKind::Video,
            TrackKind::Audio => MediaKind::Audio,
        };
        let media = direct.declare_media(mid, kind);
        for rid in &offered.rids {
            media.expect_rid_rx(rid.as_str().into());
        }
        let nack = offered.payloads.iter().any(|p| p.feedback.nack);
        if offered.rids.is_empty() {
            for &(ssrc, rtx) in &offered.sources {
                direct.expect_stream_rx(ssrc.into(), rtx.map(Ssrc::from), mid, None).suppress_nack(!nack);
            }
        }
        let named =
            !offered.sources.is_empty() || offered.extensions.iter().any(|e| e.meaning == Extension::RtpMid);
        let any = |feedback: fn(&crate::codecs::Feedback) -> bool| {
            offered.payloads.iter().any(|p| feedback(&p.feedback))
        };
        Self {
            id: offered.id,
            mid,
            layers: LayerChooser::default(),
            keyframe_request: if any(|f| f.pli) {
                Some(KeyframeRequestKind::Pli)
            } else {
                any(|f| f.fir).then_some(KeyframeRequestKind::Fir)
            },
            nack,
            guessed_sources: if named { 0 } else { MAX_GUESSED_SOURCES },
        }
    }
}

/// The NTP timestamp of a report (32.32 fixed point). `None` for a sender whose clock is not a wall clock but counts from its start:
/// str0m reads every time before 1970 as 1970, so nothing can be learnt from it.
fn ntp_of(time: SystemTime) -> Option<u64> {
    if time == UNIX_EPOCH { None } else { crate::clock::ntp(time) }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("id", &self.id).field("stream", &self.stream).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_becomes_an_ntp_timestamp_and_a_clock_from_zero_none() {
        let noon = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        assert_eq!(ntp_of(noon), Some(3_908_988_800 << 32));
        assert_eq!(ntp_of(UNIX_EPOCH), None);
    }
}
