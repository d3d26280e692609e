//! One viewer's session: its link, its lanes, and what it says about its reception.
//!
//! What belongs here: everything about one session that needs no socket. Packets come from the thread's [`crate::feed`]; the bytes
//! leave by [`crate::egress`].

mod lane;

use crate::answer::{CNAME, Source};
use crate::egress::Egress;
use crate::feed::{FeedPacket, FeedSource, Sources};
use crate::hub::Broadcast;
use crate::id::SessionId;
use crate::link::{Arrival, Link, LinkOpening};
use crate::offer::Offer;
use crate::peer::{Outgoing, PeerDefaults};
use crate::publisher::CloseReason;
use crate::rtcp::{self, Feedback, ReceptionReport};
use crate::socket::Path;
use crate::stats::Counters;
use crate::viewing::{LayerChoice, ViewerControl, ViewerStats};
use crate::wire::Wire;
use lane::{Lane, Sending};
use relay_proto::continuity::SourceId;
use relay_proto::estimate::{BandwidthEstimate, Reception};
use relay_proto::follow::{Follow, Layer, LayerPolicy, Wish};
use skywave_media::codec::TrackKind;
use skywave_media::time::Mono;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use str0m::IceCreds;

/// Between two sender reports of a lane (RFC 3550 section 6.2 has 5 s for large groups; between two ends more often is usual).
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// How often a viewer's bandwidth is weighed against what it gets.
const POLICY_INTERVAL: Duration = Duration::from_millis(250);
/// Retransmissions that one viewer may ask for between two turns of its policy: its losses are nobody else's burden.
const MAX_RESENDS: usize = 128;

/// What a new viewer gets from its node, beside the offer.
pub(crate) struct ViewerOpening {
    pub(crate) id: SessionId,
    pub(crate) broadcast: Arc<Broadcast>,
    pub(crate) credentials: IceCreds,
    /// One for each of the offer's tracks.
    pub(crate) sources: Vec<Source>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) defaults: Arc<PeerDefaults>,
}

/// A viewer.
pub(crate) struct Viewer {
    pub(crate) id: SessionId,
    pub(crate) broadcast: Arc<Broadcast>,
    link: Link,
    lanes: Vec<Lane>,
    estimate: BandwidthEstimate,
    policy: LayerPolicy,
    layer: LayerChoice,
    /// Version of the sources that the lanes were chosen from.
    seen_version: Option<u32>,
    /// It can decode nothing that is published, only the rendition.
    needs_rendition: bool,
    /// Packets asked for again: lane and sequence number.
    missing: Vec<(usize, u16)>,
    resends_left: usize,
    /// Sources that it needs a keyframe of.
    demands: Vec<SourceId>,
    counters: Arc<Counters>,
    defaults: Arc<PeerDefaults>,
    opened: Instant,
    connected: Option<Instant>,
    /// When RTCP last came.
    heard: Instant,
    report_due: Instant,
    policy_due: Instant,
    loss: f64,
    round_trip: Option<Duration>,
    end: Option<CloseReason>,
}

impl Viewer {
    /// A session that answers `offer`. It holds a place in its broadcast and gives it back when it goes.
    ///
    /// # Errors
    ///
    /// When the DTLS engine cannot be made, in words for the log; the place is still the caller's.
    pub(crate) fn new(offer: &Offer, opening: ViewerOpening) -> Result<Self, String> {
        let ViewerOpening { id, broadcast, credentials, sources, counters, defaults } = opening;
        let now = Instant::now();
        let link = Link::new(LinkOpening {
            crypto: &defaults.crypto,
            certificate: &defaults.certificate,
            local: credentials,
            remote_ufrag: offer.ice_ufrag.clone(),
            fingerprint: offer.fingerprint,
            now,
        })?;
        let lanes =
            offer.tracks.iter().zip(sources).map(|(track, source)| Lane::new(track, source)).collect();
        Ok(Self {
            id,
            broadcast,
            link,
            lanes,
            estimate: BandwidthEstimate::default(),
            policy: LayerPolicy::default(),
            layer: LayerChoice::Automatic,
            seen_version: None,
            needs_rendition: false,
            missing: Vec::new(),
            resends_left: MAX_RESENDS,
            demands: Vec::new(),
            counters,
            defaults,
            opened: now,
            connected: None,
            heard: now,
            report_due: now,
            policy_due: now,
            loss: 0.0,
            round_trip: None,
            end: None,
        })
    }

    /// The ICE user fragment it is asked for by.
    pub(crate) fn ufrag(&self) -> &str {
        self.link.ice.ufrag()
    }

    /// Why the session is over, once it is.
    pub(crate) const fn end(&self) -> Option<&CloseReason> {
        self.end.as_ref()
    }

    /// Decides that the session is over; the first reason stays.
    pub(crate) fn finish(&mut self, reason: CloseReason) {
        self.end.get_or_insert(reason);
    }

    /// When [`Viewer::handle_timeout`] is due.
    pub(crate) fn due(&self) -> Instant {
        let deadline = match self.connected {
            Some(_) => self.last_heard() + self.defaults.viewer_timeout,
            None => self.opened + self.defaults.connect_timeout,
        };
        let mut due = self.link.due().map_or(deadline, |link| link.min(deadline));
        if self.connected.is_some() {
            due = due.min(self.report_due).min(self.policy_due);
        }
        due
    }

    fn last_heard(&self) -> Instant {
        self.heard.max(self.link.ice.heard())
    }

    /// Takes a datagram; what it was decides how it is counted.
    pub(crate) fn handle_datagram(
        &mut self,
        datagram: &[u8],
        path: Path,
        now: Instant,
        out: &mut Vec<Outgoing>,
    ) -> Arrival {
        let arrival = self.link.handle_datagram(datagram, path, now, out);
        if let Arrival::Rtcp(compound) = &arrival {
            self.heard = now;
            let mono = self.defaults.clock.mono(now);
            rtcp::read(compound, |feedback| self.handle_feedback(feedback, mono));
        }
        self.after_link(now);
        arrival
    }

    /// Lets time pass. `sources` are those of its broadcast on this thread.
    pub(crate) fn handle_timeout(&mut self, sources: &Sources, now: Instant, out: &mut Vec<Outgoing>) {
        self.link.handle_timeout(now, out);
        self.after_link(now);
        if self.connected.is_none() {
            if now >= self.opened + self.defaults.connect_timeout {
                self.finish(CloseReason::ConnectTimeout);
            }
            return;
        }
        if now >= self.last_heard() + self.defaults.viewer_timeout {
            self.finish(CloseReason::Silent);
        }
        let mono = self.defaults.clock.mono(now);
        if now >= self.policy_due {
            self.policy_due = now + POLICY_INTERVAL;
            self.resends_left = MAX_RESENDS;
            self.estimate.handle_timeout(mono);
            self.policy.handle_timeout(mono);
            self.weigh(mono);
            self.choose(sources, mono);
        }
        if now >= self.report_due {
            self.report_due = now + REPORT_INTERVAL;
            self.report(sources, mono, out);
        }
    }

    fn after_link(&mut self, now: Instant) {
        if let Some(fault) = self.link.fault() {
            let detail = fault.to_owned();
            self.finish(CloseReason::Failed { detail });
        }
        if self.link.is_closed() {
            self.finish(CloseReason::PeerClosed);
        }
        if self.connected.is_none() && self.link.is_up() {
            self.connected = Some(now);
            self.heard = now;
            (self.report_due, self.policy_due) = (now, now);
            self.broadcast.count_viewer(true);
            Counters::one(&self.counters.sessions_connected);
        }
    }

    /// Says good-bye: RTCP BYE and DTLS close_notify.
    pub(crate) fn say_goodbye(&mut self, now: Instant, out: &mut Vec<Outgoing>) {
        let ssrcs: Vec<u32> = self.lanes.iter().map(|l| l.ssrc).collect();
        self.link.send_rtcp(rtcp::goodbye(&ssrcs, CNAME), out);
        self.link.close(now, out);
    }

    /// New ICE credentials on both sides.
    pub(crate) fn restart_ice(&mut self, local: IceCreds, remote_ufrag: String) {
        self.link.ice.restart(local, remote_ufrag);
    }

    /// Changes what it gets.
    pub(crate) fn control(&mut self, control: ViewerControl) {
        match control {
            ViewerControl::Layer(choice) => self.layer = choice,
            ViewerControl::Mute { kind, muted } => {
                for lane in self.lanes.iter_mut().filter(|l| l.kind == kind) {
                    lane.muted = muted;
                    lane.stop();
                }
            }
        }
        self.seen_version = None;
        self.policy_due = self.opened;
    }

    fn handle_feedback(&mut self, feedback: Feedback, now: Mono) {
        match feedback {
            Feedback::Report(report) => self.handle_report(&report, now),
            Feedback::Nack { ssrc, first, more } => {
                let Some(lane) = self.lanes.iter().position(|l| l.ssrc == ssrc) else { return };
                self.miss(lane, first);
                (0..16)
                    .filter(|bit| more >> bit & 1 == 1)
                    .for_each(|bit| self.miss(lane, first.wrapping_add(bit + 1)));
            }
            Feedback::Keyframe { ssrc } => {
                Counters::one(&self.counters.keyframes_wanted);
                let lane = self.lanes.iter().find(|l| l.ssrc == ssrc || l.kind == TrackKind::Video);
                let shown = lane.and_then(Lane::shows);
                self.demand(shown);
            }
            Feedback::Remb { bps } => {
                self.estimate.handle_remb(bps, now);
                self.weigh(now);
            }
            // Browsers never say so by RTCP; what does, has left.
            Feedback::Goodbye => self.finish(CloseReason::PeerClosed),
        }
    }

    /// Notes that it needs a keyframe of a source. Each is noted once: a flood of requests is worth no more than one.
    fn demand(&mut self, source: Option<SourceId>) {
        if let Some(source) = source
            && !self.demands.contains(&source)
        {
            self.demands.push(source);
        }
    }

    fn miss(&mut self, lane: usize, seq: u16) {
        if self.missing.len() < self.resends_left {
            self.missing.push((lane, seq));
        }
    }

    fn handle_report(&mut self, report: &ReceptionReport, now: Mono) {
        let Some(lane) = self.lanes.iter_mut().find(|l| l.ssrc == report.ssrc) else { return };
        lane.handle_report();
        if lane.kind == TrackKind::Video || self.lanes.len() == 1 {
            self.loss = f64::from(report.fraction_lost) / 256.0;
            self.estimate.handle_report(Reception { highest: report.highest, lost: report.lost }, now);
            self.weigh(now);
        }
        if report.last_report != 0 {
            // RFC 3550 section 6.4.1: all three are the middle bits of NTP times, 1/65536 s.
            let arrival = (ntp_now() >> 16) as u32;
            let trip = arrival.wrapping_sub(report.last_report).wrapping_sub(report.delay);
            if trip < 60 << 16 {
                self.round_trip = Some(Duration::from_micros((u64::from(trip) * 1_000_000) >> 16));
            }
        }
    }

    /// Tells the policy what is known of the viewer's way.
    fn weigh(&mut self, now: Mono) {
        while let Some(outlook) = self.estimate.poll_outlook() {
            self.policy.handle_outlook(outlook, now);
        }
        if self.policy.poll_keyframe_demand() {
            let video = self.lanes.iter().find(|l| l.kind == TrackKind::Video);
            let shown = video.and_then(Lane::shows);
            self.demand(shown);
        }
    }

    /// Decides which source each lane shows.
    fn choose(&mut self, sources: &Sources, now: Mono) {
        self.seen_version = Some(sources.version());
        if sources.stand_in() {
            for lane in &mut self.lanes {
                sources.iter().filter(|s| !may_be_shown(s, sources)).for_each(|s| lane.refuse(s.info.id));
            }
        }
        for index in 0..self.lanes.len() {
            let chosen = match self.lanes[index].kind {
                TrackKind::Audio => self.newest_sound(index, sources),
                TrackKind::Video => self.best_picture(index, sources, now),
            };
            let Some(source) = chosen else { continue };
            let lane = &mut self.lanes[index];
            let asked_before = lane.wanted() == Some(source.info.id);
            if asked_before && (lane.shows().is_some() || lane.muted) {
                continue;
            }
            if lane.want(source, sources, now) && !asked_before {
                self.demands.push(source.info.id);
            }
        }
        self.note_need(sources);
    }

    /// Tells whether this viewer needs the rendition, so that somebody makes it.
    fn note_need(&mut self, sources: &Sources) {
        let video = |s: &&FeedSource| s.info.kind == TrackKind::Video && !s.info.rendition;
        let mut published = sources.iter().filter(video).peekable();
        let lane = self.lanes.iter().find(|lane| lane.kind == TrackKind::Video);
        let needs = lane.is_some_and(|lane| {
            published.peek().is_some()
                && !published.any(|source| lane.takes(source.info.codec) && may_be_shown(source, sources))
        });
        if needs != self.needs_rendition {
            self.needs_rendition = needs;
            self.broadcast.count_need(needs);
        }
    }

    fn newest_sound<'a>(&self, lane: usize, sources: &'a Sources) -> Option<&'a FeedSource> {
        let lane = &self.lanes[lane];
        sources.iter().filter(|s| s.info.kind == lane.kind && lane.takes(s.info.codec)).last()
    }

    /// What is published, where the viewer can decode it and it may be sent as it is, in the layer that its way carries; otherwise the
    /// rendition.
    fn best_picture<'a>(&mut self, lane: usize, sources: &'a Sources, now: Mono) -> Option<&'a FeedSource> {
        let lane = &self.lanes[lane];
        let fits = |s: &&FeedSource| {
            s.info.kind == lane.kind && lane.takes(s.info.codec) && may_be_shown(s, sources)
        };
        let mut layers: Vec<&FeedSource> =
            sources.iter().filter(fits).filter(|s| !s.info.rendition).collect();
        if layers.is_empty() {
            layers = sources.iter().filter(fits).collect();
        }
        // A layer that the publisher has switched off is no choice, unless all are.
        if layers.iter().any(|s| s.bitrate_bps(now) > 0) {
            layers.retain(|s| s.bitrate_bps(now) > 0);
        }
        let wish = match &self.layer {
            LayerChoice::Automatic => None,
            LayerChoice::Rid(rid) => layers.iter().find(|s| s.info.name == *rid),
        };
        self.policy.handle_wish(wish.map_or(Wish::Automatic, |s| Wish::Fixed(s.info.id)), now);
        let known: Vec<Layer> =
            layers.iter().map(|s| Layer { source: s.info.id, bitrate_bps: s.bitrate_bps(now) }).collect();
        self.policy.handle_layers(&known, now);
        let target = self.policy.target();
        layers.iter().find(|s| Some(s.info.id) == target).or(layers.last()).copied()
    }

    fn report(&mut self, sources: &Sources, now: Mono, out: &mut Vec<Outgoing>) {
        let ntp = ntp_now();
        for index in 0..self.lanes.len() {
            if let Some(info) = self.lanes[index].sender_info(sources, now, ntp) {
                self.link.send_rtcp(rtcp::sender_report(&info, CNAME), out);
            }
        }
    }

    /// Sends what it is to get of `fresh`, packets that have just arrived, and of what it has yet to catch up with.
    pub(crate) fn deliver(
        &mut self,
        sources: &Sources,
        fresh: &[FeedPacket],
        egress: &mut Egress,
        wire: &mut Wire,
        now: Mono,
    ) {
        if self.seen_version != Some(sources.version()) && self.connected.is_some() {
            self.choose(sources, now);
        }
        let Some((path, srtp)) = self.link.media() else { return };
        let before = sent(&self.lanes);
        let in_runs = wire.max_run(path) > 1;
        let mut sending =
            Sending { egress, wire, sealer: &srtp.rtp, path, send_time: send_time(now), in_runs };
        for (lane, seq) in self.missing.drain(..) {
            self.resends_left = self.resends_left.saturating_sub(1);
            let sent = self.lanes[lane].resend(seq, sources, &mut sending);
            let counter =
                if sent { &self.counters.retransmitted } else { &self.counters.retransmissions_missed };
            Counters::one(counter);
        }
        for packet in fresh {
            for lane in self.lanes.iter_mut().filter(|l| l.kind == packet.kind) {
                let shown = lane.shows();
                if packet.keyframe && shown == Some(packet.source) {
                    self.policy.handle_keyframe(now);
                }
                let follows = lane.kind == TrackKind::Audio || self.policy.follow() == Follow::Send;
                lane.handle_packet(packet, follows, &mut sending);
                if lane.kind == TrackKind::Video && lane.shows() != shown {
                    self.policy.handle_switched(packet.source, now);
                }
            }
        }
        for lane in &mut self.lanes {
            if lane.is_behind() {
                lane.catch_up(sources, &mut sending);
            }
        }
        sending.egress.flush(path, sending.wire);
        let after = sent(&self.lanes);
        Counters::add(&self.counters.packets_out, after.0 - before.0);
        self.estimate.handle_sent((after.1 - before.1) as usize, now);
    }

    /// Whether it waits for a turn that no packet brings: something to send again, or to catch up with.
    pub(crate) fn wants_turn(&self) -> bool {
        !self.missing.is_empty() || self.seen_version.is_none() && self.connected.is_some()
    }

    /// Takes the sources it needs a keyframe of.
    pub(crate) fn take_demands(&mut self) -> Vec<SourceId> {
        std::mem::take(&mut self.demands)
    }

    /// What the API tells of it.
    pub(crate) fn stats(&self, sources: &Sources, now: Instant) -> Option<ViewerStats> {
        let connected = self.connected?;
        let video = self.lanes.iter().find(|l| l.kind == TrackKind::Video);
        let shown = video.and_then(Lane::shows).and_then(|id| sources.get(id));
        Some(ViewerStats {
            session: self.id.short().to_owned(),
            connected_for: now.saturating_duration_since(connected),
            transport: self.link.ice.selected().map_or("udp", Path::transport),
            packets: self.lanes.iter().map(|l| l.packets).sum(),
            bytes: self.lanes.iter().map(Lane::bytes).sum(),
            retransmitted: self.lanes.iter().map(|l| l.retransmitted).sum(),
            loss: self.loss,
            round_trip: self.round_trip,
            estimate_bps: self.estimate.estimate_bps(),
            layer: shown.filter(|s| !s.info.rendition).map(|s| s.info.name.clone()),
            video: video.and_then(Lane::codec),
        })
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        if self.connected.is_some() {
            self.broadcast.count_viewer(false);
        }
        if self.needs_rendition {
            self.broadcast.count_need(false);
        }
        self.broadcast.leave_place();
    }
}

/// Whether viewers may be sent this source: not what is published while the rendition stands in for it.
fn may_be_shown(source: &FeedSource, sources: &Sources) -> bool {
    source.info.kind == TrackKind::Audio || source.info.rendition || !sources.stand_in()
}

/// Packets and bytes of payload sent so far.
fn sent(lanes: &[Lane]) -> (u64, u64) {
    lanes.iter().fold((0, 0), |(packets, bytes), lane| (packets + lane.packets, bytes + lane.bytes()))
}

/// The wall clock as NTP writes it.
fn ntp_now() -> u64 {
    crate::clock::ntp(SystemTime::now()).unwrap_or_default()
}

/// 24 bits of seconds, 6.18 fixed point, as abs-send-time has it.
fn send_time(now: Mono) -> u32 {
    let seconds = u128::from(now.as_nanos()) << 18;
    (seconds / 1_000_000_000) as u32 & 0x00ff_ffff
}

impl std::fmt::Debug for Viewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Viewer").field("id", &self.id).finish_non_exhaustive()
    }
}
