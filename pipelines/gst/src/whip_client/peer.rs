//! One WebRTC connection: payloaders and `webrtcbin` in a pipeline of their own.

use super::error::PublishError;
use super::faults::{self, WireLoss};
use super::lane::{LaneFormat, Outlets, Target};
use super::options::Faults;
use super::stats::{Counters, FarEnd};
use crate::webrtc_client::connection::{AUDIO_PAYLOAD_TYPE, Connection, IceOptions, TWCC_EXTENSION};
use crate::webrtc_client::element::{caps_filter, make};
use crate::webrtc_client::wire;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;
use gstreamer_webrtc as webrtc;
use skywave_media::codec::{Codec, TrackKind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Payload type of video in the offer; webrtcbin takes 97 for its retransmissions.
const VIDEO_PAYLOAD_TYPE: u8 = 96;

/// Largest RTP packet before SRTP: leaves room for SRTP, UDP, IPv6, a TURN header and a tunnel within 1,280 bytes.
const MTU: u32 = 1200;

/// Coded frames waiting for a payloader. The wait is microseconds; a full queue means that the connection hangs.
const APPSRC_FRAMES: u64 = 60;

/// How a connection is to be made.
#[derive(Debug)]
pub(super) struct PeerOptions<'a> {
    pub formats: &'a [LaneFormat],
    pub ice: IceOptions<'a>,
    pub faults: &'a Faults,
}

/// A connection that sends. Dropping it closes it.
pub(super) struct Peer {
    pub connection: Connection,
    sources: Vec<(TrackKind, AppSrc)>,
    base_time: gst::ClockTime,
}

impl Peer {
    /// Builds the pipeline and starts it; nothing is sent yet.
    pub(super) fn build(
        options: &PeerOptions<'_>,
        outlets: &Outlets,
        counters: &Arc<Counters>,
    ) -> Result<Self, PublishError> {
        // We receive nothing that a jitter buffer could smooth.
        let connection = Connection::new(&options.ice, Duration::ZERO)?;
        watch_wire(connection.webrtc(), options.faults, counters);
        let mut sources = Vec::new();
        for format in options.formats {
            let kind = format.codec.kind();
            let source = add_lane(&connection, format, options.faults, counters)?;
            forward_keyframe_requests(&source, outlets, kind, counters);
            sources.push((kind, source));
        }
        let base_time = connection.start()?;
        Ok(Self { connection, sources, base_time })
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
        self.connection.stats().await.map_or_else(FarEnd::default, |reply| FarEnd::from_reply(&reply))
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
            .field("payload", i32::from(VIDEO_PAYLOAD_TYPE))
            .field("rtcp-fb-nack-pli", true)
            .field("rtcp-fb-ccm-fir", true),
        // Stereo both ways: some servers mirror `stereo` and would mix down without it (RFC 7587 section 6.1).
        TrackKind::Audio => caps
            .field("payload", i32::from(AUDIO_PAYLOAD_TYPE))
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
        TrackKind::Video => pay.set_property("pt", u32::from(VIDEO_PAYLOAD_TYPE)),
        TrackKind::Audio => pay.set_property("pt", u32::from(AUDIO_PAYLOAD_TYPE)),
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
    connection: &Connection,
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
    let filter = caps_filter(extension)?;
    connection.pipeline().add_chain(&[source.upcast_ref(), &pay, &filter])?;
    let webrtc = connection.webrtc();
    let template =
        webrtc.pad_template("sink_%u").ok_or_else(|| PublishError::engine("this is no webrtcbin"))?;
    let sink = webrtc
        .request_pad(&template, None, Some(&caps))
        .ok_or_else(|| PublishError::engine(format!("webrtcbin does not take {caps}")))?;
    let transceiver = sink.property::<webrtc::WebRTCRTPTransceiver>("transceiver");
    transceiver.set_direction(webrtc::WebRTCRTPTransceiverDirection::Sendonly);
    transceiver.set_codec_preferences(Some(&caps));
    transceiver.set_property("do-nack", !faults.no_retransmission);
    let out = filter.static_pad("src").expect("a capsfilter has a source pad");
    if format.codec.kind() == TrackKind::Video {
        faults::damage_frames(&out, faults, counters);
    }
    out.link(&sink).map_err(|e| PublishError::engine(format!("webrtcbin refuses {caps}: {e}")))?;
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

/// Counts, and drops on purpose, where packets meet the wire; takes sender reports out before they are encrypted.
fn watch_wire(webrtc: &gst::Element, faults: &Faults, counters: &Arc<Counters>) {
    let bin = webrtc.downcast_ref::<gst::Bin>().expect("webrtcbin is a bin");
    let loss = Arc::new(WireLoss::new(faults));
    let sent = Arc::clone(counters);
    bin.connect_deep_element_added(move |_, _, element| {
        if element.factory().is_some_and(|factory| factory.name() == "nicesink") {
            watch_sent(element, &loss, &sent);
        }
    });
    let heard = Arc::clone(counters);
    wire::watch_heard(webrtc, move |head, _| {
        heard.heard.fetch_add(u64::from(wire::is_rtcp(head)), Relaxed);
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
        if buffer.copy_to_slice(0, &mut head).is_err() || !wire::is_rtp(&head) {
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
