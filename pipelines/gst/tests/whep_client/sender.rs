//! A WebRTC peer that answers an offer with another `webrtcbin` and sends a test picture and a tone.

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_sdp::{SDPMediaRef, SDPMessage};
use gstreamer_webrtc as webrtc;

/// What a sender sends.
#[derive(Debug, Clone)]
pub struct Sends {
    /// `VP8`, `VP9` or `H264`; none: no video.
    pub video: Option<&'static str>,
    /// Amplitude of the tone, of 1; none: no audio.
    pub audio: Option<f64>,
    /// Share of RTP packets of video that are lost on the way.
    pub loss: f32,
}

impl Default for Sends {
    fn default() -> Self {
        Self { video: Some("VP8"), audio: Some(0.5), loss: 0.0 }
    }
}

/// The answering peer. Dropping it closes the connection.
pub struct Sender {
    pipeline: gst::Pipeline,
    webrtc: gst::Element,
    sends: Sends,
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.pipeline.set_state(gst::State::Null).unwrap();
    }
}

impl Sender {
    pub fn new(sends: &Sends) -> Self {
        let pipeline = gst::Pipeline::new();
        let webrtc = gst::ElementFactory::make("webrtcbin")
            .property_from_str("bundle-policy", "max-bundle")
            .build()
            .unwrap();
        pipeline.add(&webrtc).unwrap();
        let ice = webrtc.property::<gst::Object>("ice-agent");
        let agent = ice.property::<gst::glib::Object>("agent");
        agent.set_property("upnp", false);
        agent.set_property("ice-tcp", false);
        assert!(ice.emit_by_name::<bool>("add-local-ip-address", &[&"127.0.0.1"]));
        Self { pipeline, webrtc, sends: sends.clone() }
    }

    /// The answer to an offer, with all candidates.
    pub async fn answer(&self, offer: &str) -> String {
        let sdp = SDPMessage::parse_buffer(offer.as_bytes()).unwrap();
        for media in sdp.medias() {
            match (media.media().unwrap(), self.sends.video, self.sends.audio) {
                ("video", Some(codec), _) => self.send_video(media, codec),
                ("audio", _, Some(amplitude)) => self.send_audio(media, amplitude),
                _ => {}
            }
        }
        self.pipeline.set_state(gst::State::Playing).unwrap();
        // webrtcbin describes what its pads have caps for: the answer must not be made before.
        for pad in self.webrtc.sink_pads() {
            let (sender, mut known) = tokio::sync::watch::channel(false);
            let later = sender.clone();
            pad.connect_notify(Some("caps"), move |pad, _| {
                later.send_replace(pad.property::<Option<gst::Caps>>("caps").is_some());
            });
            // Looked at after, so that no change in between is missed.
            sender.send_if_modified(|known| pad.current_caps().is_some() && !std::mem::replace(known, true));
            known.wait_for(|known| *known).await.unwrap();
        }
        let offer = webrtc::WebRTCSessionDescription::new(webrtc::WebRTCSDPType::Offer, sdp);
        let (promise, done) = gst::Promise::new_future();
        self.webrtc.emit_by_name::<()>("set-remote-description", &[&offer, &promise]);
        done.await.unwrap();
        let (promise, done) = gst::Promise::new_future();
        self.webrtc.emit_by_name::<()>("create-answer", &[&None::<gst::Structure>, &promise]);
        let answer = done.await.unwrap().unwrap().get::<webrtc::WebRTCSessionDescription>("answer").unwrap();
        let (promise, done) = gst::Promise::new_future();
        let (sender, mut gathered) = tokio::sync::watch::channel(false);
        self.webrtc.connect_notify(Some("ice-gathering-state"), move |webrtc, _| {
            let state = webrtc.property::<webrtc::WebRTCICEGatheringState>("ice-gathering-state");
            sender.send_replace(state == webrtc::WebRTCICEGatheringState::Complete);
        });
        self.webrtc.emit_by_name::<()>("set-local-description", &[&answer, &promise]);
        done.await.unwrap();
        gathered.wait_for(|done| *done).await.unwrap();
        let local = self.webrtc.property::<webrtc::WebRTCSessionDescription>("local-description");
        local.sdp().as_text().unwrap()
    }

    fn send_video(&self, media: &SDPMediaRef, codec: &str) {
        let encoder = match codec {
            "VP8" => "vp8enc deadline=1 cpu-used=8 keyframe-max-dist=1000 ! rtpvp8pay picture-id-mode=15-bit",
            "VP9" => "vp9enc deadline=1 cpu-used=8 lag-in-frames=0 ! rtpvp9pay picture-id-mode=15-bit",
            "H264" => "x264enc tune=zerolatency speed-preset=ultrafast ! rtph264pay config-interval=-1",
            other => panic!("{other}"),
        };
        let source = "videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=320,height=180,framerate=30/1";
        let loss = self.sends.loss;
        let lossy = format!("identity name=wire drop-probability={loss}");
        self.send(&format!("{source} ! {encoder}"), media, codec, &lossy);
    }

    fn send_audio(&self, media: &SDPMediaRef, amplitude: f64) {
        let source = format!("audiotestsrc is-live=true freq=1000 volume={amplitude} samplesperbuffer=960");
        let caps = "audio/x-raw,rate=48000,channels=2";
        self.send(&format!("{source} ! {caps} ! opusenc ! rtpopuspay"), media, "OPUS", "identity");
    }

    /// Sends what `chain` makes as the payload type that `media` has for `codec`.
    fn send(&self, chain: &str, media: &SDPMediaRef, codec: &str, last: &str) {
        let offered = media.formats().filter_map(|pt| media.caps_from_media(pt.parse().ok()?));
        let mut caps = offered
            .into_iter()
            .find(|caps| {
                caps.structure(0).unwrap().get::<&str>("encoding-name").unwrap().eq_ignore_ascii_case(codec)
            })
            .unwrap_or_else(|| panic!("{codec} is not offered"));
        // The SDP library cannot know that the media is RTP.
        caps.make_mut().structure_mut(0).unwrap().set_name("application/x-rtp");
        let payload_type = caps.structure(0).unwrap().get::<i32>("payload").unwrap();
        let chain = format!(
            "{chain} pt={payload_type} ! application/x-rtp,media={},encoding-name={codec},payload={payload_type} ! {last}",
            media.media().unwrap()
        );
        let bin = gst::parse::bin_from_description(&chain, true).unwrap();
        self.pipeline.add(&bin).unwrap();
        let sink = self.webrtc.request_pad_simple("sink_%u").unwrap();
        let transceiver = sink.property::<webrtc::WebRTCRTPTransceiver>("transceiver");
        transceiver.set_direction(webrtc::WebRTCRTPTransceiverDirection::Sendonly);
        transceiver.set_property("do-nack", true);
        // With the feedback of the offer, which the answer then repeats: without it no PLI would come.
        transceiver.set_codec_preferences(Some(&caps));
        let source = bin.static_pad("src").unwrap();
        source.link(&sink).unwrap();
    }
}
