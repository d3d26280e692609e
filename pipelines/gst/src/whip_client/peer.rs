//! One WebRTC connection: payloaders and `webrtcbin` in a pipeline of their own.

use super::encode::make;
use super::error::PublishError;
use super::faults::{self, WireLoss};
use super::guard::{BusNote, PipelineGuard};
use super::ice::IceServer;
use super::lane::{LaneFormat, Outlets, Target};
use super::options::Faults;
use super::stats::{Counters, FarEnd};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;
use gstreamer_sdp::SDPMessage;
use gstreamer_webrtc as webrtc;
use skywave_media::codec::{Codec, TrackKind};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::watch;

/// Payload types offered; webrtcbin takes 97 for retransmissions of video.
const VIDEO_PAYLOAD_TYPE: u32 = 96;
const AUDIO_PAYLOAD_TYPE: u32 = 111;

/// Largest RTP packet before SRTP: leaves room for SRTP, UDP, IPv6, a TURN header and a tunnel within 1,280 bytes.
const MTU: u32 = 1200;

/// Transport-wide congestion control: the far end then reports every packet's arrival.
const TWCC_EXTENSION: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// Coded frames waiting for a payloader. The wait is microseconds; a full queue means that the connection hangs.
const APPSRC_FRAMES: u64 = 60;

/// Gathering is cut off after this long; the offer then has what there is.
const GATHER_LIMIT: Duration = Duration::from_secs(3);

/// How a connection is to be made.
#[derive(Debug)]
pub(super) struct PeerOptions<'a> {
    pub formats: &'a [LaneFormat],
    pub ice_servers: &'a [IceServer],
    pub local_addresses: &'a [IpAddr],
    pub ice_tcp: bool,
    pub faults: &'a Faults,
}

/// Where the connection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    /// Not yet, or not at the moment.
    Down,
    /// ICE and DTLS are up.
    Up,
    /// For good.
    Failed(String),
}

/// A connection. Dropping it closes it.
pub(super) struct Peer {
    webrtc: gst::Element,
    sources: Vec<(TrackKind, AppSrc)>,
    base_time: gst::ClockTime,
    link: watch::Receiver<Link>,
    gathered: watch::Receiver<bool>,
    bus: tokio::sync::mpsc::UnboundedReceiver<BusNote>,
    // Dropped last, when nothing refers to its elements any more.
    pipeline: PipelineGuard,
}

impl Peer {
    /// Builds the pipeline and starts it; nothing is sent yet.
    pub(super) fn build(
        options: &PeerOptions<'_>,
        outlets: &Outlets,
        counters: &Arc<Counters>,
    ) -> Result<Self, PublishError> {
        let (pipeline, bus) = PipelineGuard::new("connection");
        let webrtc = make("webrtcbin")?;
        webrtc.set_property_from_str("bundle-policy", "max-bundle");
        // We receive nothing that a jitter buffer could smooth.
        webrtc.set_property("latency", 0u32);
        pipeline.add(&webrtc)?;
        configure_ice(&webrtc, options);
        watch_wire(&webrtc, options.faults, counters);
        let link = watch_link(&webrtc);
        let gathered = watch_gathering(&webrtc);
        let mut sources = Vec::new();
        for format in options.formats {
            let kind = format.codec.kind();
            let source = add_lane(&pipeline, &webrtc, format, options.faults, counters)?;
            forward_keyframe_requests(&source, outlets, kind, counters);
            sources.push((kind, source));
        }
        let clock = pipeline.pipeline_clock();
        let base_time = clock.time();
        pipeline.set_start_time(gst::ClockTime::NONE);
        pipeline.set_base_time(base_time);
        pipeline.set_state(gst::State::Playing)?;
        Ok(Self { webrtc, sources, base_time, link, gathered, bus, pipeline })
    }

    /// The offer with the candidates gathered within 3 s.
    pub(super) async fn offer(&mut self) -> Result<String, PublishError> {
        let (promise, reply) = gst::Promise::new_future();
        self.webrtc.emit_by_name::<()>("create-offer", &[&None::<gst::Structure>, &promise]);
        let reply = reply.await.map_err(|_| engine("webrtcbin gave no offer"))?;
        let offer = reply
            .and_then(|r| r.get::<webrtc::WebRTCSessionDescription>("offer").ok())
            .ok_or_else(|| engine("webrtcbin made no offer"))?;
        self.describe("set-local-description", &offer).await?;
        // Cut off: the offer has whatever is there.
        let complete = tokio::time::timeout(GATHER_LIMIT, self.gathered.wait_for(|done| *done)).await;
        if complete.is_err() {
            tracing::warn!(limit = ?GATHER_LIMIT, "gathering of ICE candidates cut off");
        }
        let local = self.webrtc.property::<Option<webrtc::WebRTCSessionDescription>>("local-description");
        let text =
            local.and_then(|l| l.sdp().as_text().ok()).ok_or_else(|| engine("webrtcbin lost its offer"))?;
        if !text.contains("a=candidate:") {
            return Err(engine("no ICE candidate on this machine: is there a network?"));
        }
        Ok(text)
    }

    /// Takes the server's answer.
    ///
    /// # Errors
    ///
    /// A reason, in words, when it is no SDP or does not answer the offer.
    pub(super) async fn accept(&self, answer: &str) -> Result<(), String> {
        let sdp =
            SDPMessage::parse_buffer(answer.as_bytes()).map_err(|_| "its answer is no SDP".to_owned())?;
        if sdp.medias_len() as usize != self.sources.len() {
            let (got, want) = (sdp.medias_len(), self.sources.len());
            return Err(format!(
                "its answer has {got} media sections for the offer's {want} (RFC 3264 section 6)"
            ));
        }
        let rejected = |media: &gstreamer_sdp::SDPMediaRef| {
            // With BUNDLE only the first section's port counts, and a rejected section has none (RFC 9143 section 7.3).
            media.port() == 0 && media.attribute_val("bundle-only").is_none()
                || media.attribute_val("inactive").is_some()
        };
        if sdp.medias().all(rejected) {
            return Err("it accepts neither the video nor the audio offered".into());
        }
        for media in sdp.medias().filter(|m| rejected(m)) {
            tracing::warn!(lane = media.media().unwrap_or_default(), "the server declines this lane");
        }
        let answer = webrtc::WebRTCSessionDescription::new(webrtc::WebRTCSDPType::Answer, sdp);
        self.describe("set-remote-description", &answer)
            .await
            .map_err(|e| format!("its answer does not fit: {e}"))
    }

    async fn describe(
        &self,
        action: &str,
        description: &webrtc::WebRTCSessionDescription,
    ) -> Result<(), PublishError> {
        let (promise, reply) = gst::Promise::new_future();
        self.webrtc.emit_by_name::<()>(action, &[description, &promise]);
        let reply = reply.await.map_err(|_| engine(&format!("webrtcbin did not finish {action}")))?;
        match reply.and_then(|r| r.get::<gst::glib::Error>("error").ok()) {
            Some(error) => Err(engine(error.message())),
            None => Ok(()),
        }
    }

    /// Waits until ICE and DTLS are up.
    ///
    /// # Errors
    ///
    /// A reason, when they have failed for good.
    pub(super) async fn up(&mut self) -> Result<(), String> {
        tokio::select! {
            link = self.link.wait_for(|l| *l != Link::Down) => match link.as_deref() {
                Ok(Link::Failed(reason)) => Err(reason.clone()),
                Ok(_) => Ok(()),
                Err(_) => Err("the connection is gone".into()),
            },
            reason = failed(&mut self.bus) => Err(reason),
        }
    }

    /// Waits until the connection is no longer up, and says why. A link that comes back within `patience` was never lost.
    pub(super) async fn lost(&mut self, patience: Duration) -> String {
        let mut link = self.link.clone();
        let down = async {
            loop {
                match link.wait_for(|l| *l != Link::Up).await.as_deref() {
                    Ok(Link::Failed(reason)) => return reason.clone(),
                    Ok(_) => {}
                    Err(_) => return "the connection is gone".into(),
                }
                if tokio::time::timeout(patience, link.wait_for(|l| *l != Link::Down)).await.is_err() {
                    return format!("no way to the server for {} s", patience.as_secs());
                }
            }
        };
        tokio::select! {
            reason = down => reason,
            reason = failed(&mut self.bus) => reason,
        }
    }

    /// Lets frames flow from the outlets.
    pub(super) fn attach(&self, outlets: &Outlets, on_air_since: gst::ClockTime) {
        for (kind, appsrc) in &self.sources {
            outlets.of(*kind).attach(Target {
                appsrc: appsrc.clone(),
                base_time: self.base_time,
                on_air_since,
                awaiting_keyframe: *kind == TrackKind::Video,
            });
        }
    }

    /// What the far end reports.
    pub(super) async fn far_end(&self) -> FarEnd {
        let (promise, reply) = gst::Promise::new_future();
        self.webrtc.emit_by_name::<()>("get-stats", &[&None::<gst::Pad>, &promise]);
        match reply.await {
            Ok(Some(reply)) => FarEnd::from_reply(&reply),
            _ => FarEnd::default(),
        }
    }

    /// The time of the clock all pipelines share.
    pub(super) fn clock_time(&self) -> gst::ClockTime {
        self.pipeline.pipeline_clock().time()
    }
}

fn engine(reason: &str) -> PublishError {
    PublishError::Engine(reason.to_owned())
}

/// Waits for an error on the bus.
async fn failed(bus: &mut tokio::sync::mpsc::UnboundedReceiver<BusNote>) -> String {
    loop {
        match bus.recv().await {
            Some(BusNote::Failed(reason)) => return reason,
            Some(BusNote::EndOfStream) => {}
            None => return "the pipeline is gone".into(),
        }
    }
}

fn configure_ice(webrtc: &gst::Element, options: &PeerOptions<'_>) {
    let ice = webrtc.property::<gst::Object>("ice-agent");
    if ice.find_property("agent").is_some() {
        let agent = ice.property::<gst::glib::Object>("agent");
        // UPnP costs 200 ms and opens sockets on every interface; a WHIP client needs no hole in its router.
        agent.set_property("upnp", false);
        agent.set_property("ice-tcp", options.ice_tcp);
        // Without answers to its checks libnice notices a dead server; with mere indications it never would.
        agent.set_property("keepalive-conncheck", true);
    }
    for address in options.local_addresses {
        if !ice.emit_by_name::<bool>("add-local-ip-address", &[&address.to_string()]) {
            tracing::warn!(%address, "libnice does not gather from this address");
        }
    }
    for server in options.ice_servers {
        match server {
            IceServer::Stun(url) => webrtc.set_property("stun-server", url),
            IceServer::Turn(url) => {
                if !webrtc.emit_by_name::<bool>("add-turn-server", &[url]) {
                    tracing::warn!("a TURN server is not understood by webrtcbin");
                }
            }
        }
    }
}

/// RTP caps of a lane, as they are offered.
fn rtp_caps(format: &LaneFormat, ssrc: u32) -> gst::Caps {
    let codec = format.codec;
    let mut caps = gst::Caps::builder("application/x-rtp")
        .field("media", codec.kind().as_str())
        .field("encoding-name", codec.rtp_name().to_ascii_uppercase())
        .field("clock-rate", codec.rtp_clock_rate().cast_signed())
        // Told in the offer (RFC 5576): servers then know a packet's lane by its SSRC.
        .field("ssrc", ssrc)
        .field("rtcp-fb-transport-cc", true)
        .field("extmap-3", TWCC_EXTENSION);
    caps = match codec.kind() {
        TrackKind::Video => caps
            .field("payload", VIDEO_PAYLOAD_TYPE.cast_signed())
            .field("rtcp-fb-nack-pli", true)
            .field("rtcp-fb-ccm-fir", true),
        // Stereo both ways: some servers mirror `stereo` and would mix down without it (RFC 7587 section 6.1).
        TrackKind::Audio => caps
            .field("payload", AUDIO_PAYLOAD_TYPE.cast_signed())
            .field("encoding-params", "2")
            .field("stereo", "1")
            .field("sprop-stereo", "1")
            .field("minptime", "10"),
    };
    if let Some(profile) = &format.profile_level_id {
        caps = caps
            .field("packetization-mode", "1")
            .field("level-asymmetry-allowed", "1")
            .field("profile-level-id", profile);
    }
    caps.build()
}

fn payloader(codec: Codec) -> Result<gst::Element, PublishError> {
    let pay = make(match codec {
        Codec::Vp8 => "rtpvp8pay",
        Codec::Vp9 => "rtpvp9pay",
        Codec::H264 => "rtph264pay",
        _ => "rtpopuspay",
    })?;
    pay.set_property("mtu", MTU);
    match codec.kind() {
        TrackKind::Video => pay.set_property("pt", VIDEO_PAYLOAD_TYPE),
        TrackKind::Audio => pay.set_property("pt", AUDIO_PAYLOAD_TYPE),
    }
    match codec {
        Codec::Vp8 | Codec::Vp9 => pay.set_property_from_str("picture-id-mode", "15-bit"),
        Codec::H264 => {
            pay.set_property_from_str("aggregate-mode", "zero-latency");
            pay.set_property("config-interval", -1);
        }
        _ => {}
    }
    Ok(pay)
}

/// appsrc -> payloader -> capsfilter -> webrtcbin.
fn add_lane(
    pipeline: &PipelineGuard,
    webrtc: &gst::Element,
    format: &LaneFormat,
    faults: &Faults,
    counters: &Arc<Counters>,
) -> Result<AppSrc, PublishError> {
    let source = AppSrc::builder()
        .caps(&format.caps)
        .format(gst::Format::Time)
        .is_live(true)
        .max_buffers(APPSRC_FRAMES)
        .max_bytes(0)
        .leaky_type(gstreamer_app::AppLeakyType::Downstream)
        .build();
    let pay = payloader(format.codec)?;
    let ssrc = rand::random::<u32>();
    pay.set_property("ssrc", ssrc);
    let caps = rtp_caps(format, ssrc);
    // Only the header extension is forced on the payloader: the rest it knows itself.
    let extension = gst::Caps::builder("application/x-rtp").field("extmap-3", TWCC_EXTENSION).build();
    let filter = super::encode::caps_filter(extension)?;
    pipeline.add_chain(&[source.upcast_ref(), &pay, &filter])?;
    let template = webrtc.pad_template("sink_%u").ok_or_else(|| engine("this is no webrtcbin"))?;
    let sink = webrtc
        .request_pad(&template, None, Some(&caps))
        .ok_or_else(|| engine(&format!("webrtcbin does not take {caps}")))?;
    let transceiver = sink.property::<webrtc::WebRTCRTPTransceiver>("transceiver");
    transceiver.set_direction(webrtc::WebRTCRTPTransceiverDirection::Sendonly);
    transceiver.set_codec_preferences(Some(&caps));
    transceiver.set_property("do-nack", !faults.no_retransmission);
    let out = filter.static_pad("src").expect("a capsfilter has a source pad");
    if format.codec.kind() == TrackKind::Video {
        faults::damage_frames(&out, faults, counters);
    }
    out.link(&sink).map_err(|e| engine(&format!("webrtcbin refuses {caps}: {e}")))?;
    Ok(source)
}

/// A PLI or FIR comes out of webrtcbin as an event that travels up; here it jumps over to the capture pipeline.
fn forward_keyframe_requests(source: &AppSrc, outlets: &Outlets, kind: TrackKind, counters: &Arc<Counters>) {
    let (outlet, counters) = (Arc::clone(outlets.of(kind)), Arc::clone(counters));
    let pad = source.static_pad("src").expect("an appsrc has a source pad");
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, probe| {
        let Some(event) = probe.event() else { return gst::PadProbeReturn::Ok };
        if gstreamer_video::UpstreamForceKeyUnitEvent::parse(event).is_err() {
            return gst::PadProbeReturn::Ok;
        }
        counters.keyframe_requests.fetch_add(1, Relaxed);
        outlet.request_keyframe();
        gst::PadProbeReturn::Handled
    });
}

/// Follows `connection-state`, which covers ICE and DTLS.
fn watch_link(webrtc: &gst::Element) -> watch::Receiver<Link> {
    use webrtc::WebRTCPeerConnectionState as State;
    let (sender, link) = watch::channel(Link::Down);
    webrtc.connect_notify(Some("connection-state"), move |webrtc, _| {
        let state = webrtc.property::<State>("connection-state");
        tracing::debug!(?state, "connection");
        let next = match state {
            State::Connected => Link::Up,
            State::Failed => {
                Link::Failed("ICE or DTLS failed: no UDP way to the server, or it went away".into())
            }
            State::Closed => Link::Failed("the server closed the connection".into()),
            _ => Link::Down,
        };
        // A failure is final: what follows it is the way down.
        sender.send_if_modified(|link| {
            let changes = !matches!(link, Link::Failed(_)) && *link != next;
            if changes {
                *link = next;
            }
            changes
        });
    });
    link
}

fn watch_gathering(webrtc: &gst::Element) -> watch::Receiver<bool> {
    let (sender, gathered) = watch::channel(false);
    webrtc.connect_notify(Some("ice-gathering-state"), move |webrtc, _| {
        let state = webrtc.property::<webrtc::WebRTCICEGatheringState>("ice-gathering-state");
        sender.send_replace(state == webrtc::WebRTCICEGatheringState::Complete);
    });
    gathered
}

/// Counts, and drops on purpose, where packets meet the wire; takes sender reports out before they are encrypted.
fn watch_wire(webrtc: &gst::Element, faults: &Faults, counters: &Arc<Counters>) {
    let bin = webrtc.downcast_ref::<gst::Bin>().expect("webrtcbin is a bin");
    let loss = Arc::new(WireLoss::new(faults));
    let counters = Arc::clone(counters);
    bin.connect_deep_element_added(move |_, _, element| {
        let factory = element.factory().map(|f| f.name().to_string()).unwrap_or_default();
        match factory.as_str() {
            "nicesink" => watch_sent(element, &loss, &counters),
            "nicesrc" => watch_heard(element, &counters),
            _ => {}
        }
    });
    let Some(rtpbin) = bin.by_name("rtpbin") else { return };
    // Sender reports tell when a frame was captured, not when it was sent: encoders of picture and sound take
    // different times, and that difference would show as skew.
    rtpbin.set_property("rtcp-sync-send-time", false);
    if faults.no_sender_reports {
        rtpbin.connect_pad_added(|_, pad| {
            if pad.name().starts_with("send_rtcp_src") {
                faults::withhold_sender_reports(pad);
            }
        });
    }
}

fn watch_sent(nicesink: &gst::Element, loss: &Arc<WireLoss>, counters: &Arc<Counters>) {
    let (loss, counters) = (Arc::clone(loss), Arc::clone(counters));
    // Whether one datagram goes out.
    let passes = move |buffer: &gst::BufferRef| {
        let mut head = [0u8; 2];
        if buffer.copy_to_slice(0, &mut head).is_err() || !faults::is_rtp(&head) {
            return true;
        }
        if loss.loses() {
            counters.dropped_packets.fetch_add(1, Relaxed);
            return false;
        }
        counters.packets.fetch_add(1, Relaxed);
        counters.bytes.fetch_add(buffer.size() as u64, Relaxed);
        true
    };
    let pad = nicesink.static_pad("sink").expect("nicesink has a sink pad");
    pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, probe| {
        match &mut probe.data {
            Some(gst::PadProbeData::Buffer(buffer)) if !passes(buffer) => {
                return gst::PadProbeReturn::Handled;
            }
            Some(gst::PadProbeData::BufferList(list)) => {
                list.make_mut().foreach_mut(|buffer, _| {
                    std::ops::ControlFlow::Continue(passes(&buffer).then_some(buffer))
                });
            }
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
}

fn watch_heard(nicesrc: &gst::Element, counters: &Arc<Counters>) {
    let counters = Arc::clone(counters);
    let pad = nicesrc.static_pad("src").expect("nicesrc has a source pad");
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, probe| {
        let mut head = [0u8; 2];
        let copied = probe.buffer().is_some_and(|b| b.copy_to_slice(0, &mut head).is_ok());
        counters.heard.fetch_add(u64::from(copied && faults::is_rtcp(&head)), Relaxed);
        gst::PadProbeReturn::Ok
    });
}
