//! One connection of `webrtcbin` as the side that offers: ICE, the exchange of descriptions, and whether it is up.

use super::ClientError;
use super::deadline::CONNECT_LIMIT;
use super::element::make;
use super::guard::{BusNote, PipelineGuard};
use super::ice::IceServer;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_sdp::SDPMessage;
use gstreamer_webrtc as webrtc;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Payload type of Opus in our offers.
pub(crate) const AUDIO_PAYLOAD_TYPE: u8 = 111;

/// Transport-wide congestion control: the far end then reports every packet's arrival.
pub(crate) const TWCC_EXTENSION: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// Gathering is cut off after this long; the offer then has what there is.
const GATHER_LIMIT: Duration = Duration::from_secs(3);

/// How a way to the server is found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IceOptions<'a> {
    /// STUN and TURN servers.
    pub servers: &'a [IceServer],
    /// Addresses to gather from; empty: all interfaces.
    pub local_addresses: &'a [IpAddr],
    /// Gather TCP candidates too.
    pub tcp: bool,
}

/// Says what this machine lacks for any connection.
pub(crate) fn check() -> Result<(), ClientError> {
    make("webrtcbin")?;
    make("nicesink")?;
    Ok(())
}

/// Where the connection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Link {
    /// Not yet, or not at the moment.
    Down,
    /// ICE and DTLS are up.
    Up,
    /// For good.
    Failed(String),
}

/// A connection. Dropping it closes it.
pub(crate) struct Connection {
    webrtc: gst::Element,
    /// Media sections of the offer.
    sections: u32,
    link: watch::Receiver<Link>,
    gathered: watch::Receiver<bool>,
    bus: mpsc::UnboundedReceiver<BusNote>,
    // Dropped last, when nothing refers to its elements any more.
    pipeline: PipelineGuard,
}

impl Connection {
    /// A pipeline with `webrtcbin` and no lanes yet. `jitter_buffer` is how long received packets wait for missing ones.
    pub(crate) fn new(ice: &IceOptions<'_>, jitter_buffer: Duration) -> Result<Self, ClientError> {
        let (pipeline, bus) = PipelineGuard::new("connection");
        let webrtc = make("webrtcbin")?;
        webrtc.set_property_from_str("bundle-policy", "max-bundle");
        webrtc.set_property("latency", u32::try_from(jitter_buffer.as_millis()).unwrap_or(u32::MAX));
        pipeline.add(&webrtc)?;
        configure_ice(&webrtc, ice);
        let link = watch_link(&webrtc);
        let gathered = watch_gathering(&webrtc);
        Ok(Self { webrtc, sections: 0, link, gathered, bus, pipeline })
    }

    /// The element, to add lanes to.
    pub(crate) fn webrtc(&self) -> &gst::Element {
        &self.webrtc
    }

    /// The pipeline it is in.
    pub(crate) fn pipeline(&self) -> &PipelineGuard {
        &self.pipeline
    }

    /// Starts the pipeline, when all lanes are there; its running time is zero at the clock time given back.
    pub(crate) fn start(&self) -> Result<gst::ClockTime, ClientError> {
        let base_time = self.clock_time();
        self.pipeline.set_start_time(gst::ClockTime::NONE);
        self.pipeline.set_base_time(base_time);
        self.pipeline.set_state(gst::State::Playing)?;
        Ok(base_time)
    }

    /// The offer with the candidates gathered within 3 s.
    pub(crate) async fn offer(&mut self) -> Result<String, ClientError> {
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
        let local = local.ok_or_else(|| engine("webrtcbin lost its offer"))?;
        self.sections = local.sdp().medias_len();
        let text = local.sdp().as_text().map_err(|_| engine("webrtcbin's offer is no text"))?;
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
    pub(crate) async fn accept(&self, answer: &str) -> Result<(), String> {
        let sdp =
            SDPMessage::parse_buffer(answer.as_bytes()).map_err(|_| "its answer is no SDP".to_owned())?;
        if sdp.medias_len() != self.sections {
            let (got, want) = (sdp.medias_len(), self.sections);
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
    ) -> Result<(), ClientError> {
        let (promise, reply) = gst::Promise::new_future();
        self.webrtc.emit_by_name::<()>(action, &[description, &promise]);
        let reply = reply.await.map_err(|_| engine(&format!("webrtcbin did not finish {action}")))?;
        match reply.and_then(|r| r.get::<gst::glib::Error>("error").ok()) {
            Some(error) => Err(engine(error.message())),
            None => Ok(()),
        }
    }

    /// Waits until ICE and DTLS are up. `session` is the session's URL, for the words of the error.
    ///
    /// # Errors
    ///
    /// When they have failed for good, or 20 s have passed.
    pub(crate) async fn up(&mut self, session: &str) -> Result<(), ClientError> {
        let up = async {
            tokio::select! {
                link = self.link.wait_for(|l| *l != Link::Down) => match link.as_deref() {
                    Ok(Link::Failed(reason)) => Err(reason.clone()),
                    Ok(_) => Ok(()),
                    Err(_) => Err("the connection is gone".into()),
                },
                reason = failed(&mut self.bus) => Err(reason),
            }
        };
        let reason = match tokio::time::timeout(CONNECT_LIMIT, up).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(reason)) => reason,
            Err(_) => "no packet of the server came through".into(),
        };
        Err(ClientError::NotConnected { url: session.to_owned(), waited: CONNECT_LIMIT, reason })
    }

    /// Waits until the connection is no longer up, and says why. A link that comes back within `patience` was never lost.
    pub(crate) async fn lost(&mut self, patience: Duration) -> String {
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

    /// The reply to webrtcbin's `get-stats`: one structure per object, told apart by its `type`.
    pub(crate) async fn stats(&self) -> Option<gst::Structure> {
        let (promise, reply) = gst::Promise::new_future();
        self.webrtc.emit_by_name::<()>("get-stats", &[&None::<gst::Pad>, &promise]);
        reply.await.ok().flatten().map(|reply| reply.to_owned())
    }

    /// The time of the clock all pipelines share.
    pub(crate) fn clock_time(&self) -> gst::ClockTime {
        self.pipeline.pipeline_clock().time()
    }
}

fn engine(reason: &str) -> ClientError {
    ClientError::Engine(reason.to_owned())
}

/// Waits for an error on the bus.
async fn failed(bus: &mut mpsc::UnboundedReceiver<BusNote>) -> String {
    loop {
        match bus.recv().await {
            Some(BusNote::Failed(reason)) => return reason,
            Some(BusNote::EndOfStream) => {}
            None => return "the pipeline is gone".into(),
        }
    }
}

fn configure_ice(webrtc: &gst::Element, options: &IceOptions<'_>) {
    let ice = webrtc.property::<gst::Object>("ice-agent");
    if ice.find_property("agent").is_some() {
        let agent = ice.property::<gst::glib::Object>("agent");
        // UPnP costs 200 ms and opens sockets on every interface; a client needs no hole in its router.
        agent.set_property("upnp", false);
        agent.set_property("ice-tcp", options.tcp);
        // Without answers to its checks libnice notices a dead server; with mere indications it never would.
        agent.set_property("keepalive-conncheck", true);
    }
    for address in options.local_addresses {
        if !ice.emit_by_name::<bool>("add-local-ip-address", &[&address.to_string()]) {
            tracing::warn!(%address, "libnice does not gather from this address");
        }
    }
    for server in options.servers {
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
