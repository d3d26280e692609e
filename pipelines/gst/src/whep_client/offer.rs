//! What is offered: one transceiver per lane that only receives, with every codec this machine decodes.

use super::options::{PlayOptions, VideoWanted};
use crate::webrtc_client::ClientError;
use crate::webrtc_client::connection::{AUDIO_PAYLOAD_TYPE, Connection, TWCC_EXTENSION};
use crate::webrtc_client::element::make;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_webrtc as webrtc;
use skywave_media::codec::{Codec, TrackKind};

/// One payload type of video.
struct VideoPayload {
    payload_type: u8,
    codec: Codec,
    /// Names and values for `a=fmtp`.
    parameters: &'static [(&'static str, &'static str)],
}

/// In the order of preference. webrtcbin 1.22 writes a payload type for retransmissions (RFC 4588) into the offer by itself, and for the
/// first codec alone: where another codec comes, a loss is mended by a keyframe, or by servers that repeat a packet as it was. Who wants
/// retransmissions of a codec asks for it alone (`--video`), which makes it the first. H.264 stands there twice: senders match `profile-level-id` to theirs (RFC 6184 section 8.2.2).
const VIDEO_PAYLOADS: [VideoPayload; 5] = [
    VideoPayload { payload_type: 96, codec: Codec::Vp8, parameters: &[] },
    VideoPayload { payload_type: 98, codec: Codec::Vp9, parameters: &[("profile-id", "0")] },
    VideoPayload {
        payload_type: 102,
        codec: Codec::H264,
        parameters: &[
            ("packetization-mode", "1"),
            ("level-asymmetry-allowed", "1"),
            ("profile-level-id", "42e01f"),
        ],
    },
    VideoPayload {
        payload_type: 104,
        codec: Codec::H264,
        parameters: &[
            ("packetization-mode", "1"),
            ("level-asymmetry-allowed", "1"),
            ("profile-level-id", "640c1f"),
        ],
    },
    VideoPayload { payload_type: 106, codec: Codec::Av1, parameters: &[("profile", "0")] },
];

/// The elements that turn RTP of a codec into pictures or sound. GStreamer 1.22 has no depayloader for AV1; ours takes its
/// place.
pub(super) fn elements_for(codec: Codec) -> &'static [&'static str] {
    match codec {
        Codec::Vp8 => &["rtpvp8depay", "vp8dec"],
        Codec::Vp9 => &["rtpvp9depay", "vp9dec"],
        Codec::H264 => &["rtph264depay", "avdec_h264"],
        Codec::Av1 => &["av1dec"],
        Codec::Opus => &["rtpopusdepay", "opusdec"],
        Codec::Aac => &[],
    }
}

/// Says what this machine lacks to decode `codec`.
fn check_codec(codec: Codec) -> Result<(), ClientError> {
    for element in elements_for(codec) {
        make(element)?;
    }
    Ok(())
}

/// The video codecs to offer.
///
/// # Errors
///
/// When the one that is wanted, or any at all, cannot be decoded here.
fn video_codecs(wanted: VideoWanted) -> Result<Vec<Codec>, ClientError> {
    match wanted {
        VideoWanted::Off => Ok(Vec::new()),
        VideoWanted::Only(codec) if codec.kind() != TrackKind::Video => {
            Err(ClientError::Option(format!("{codec:?} is no video codec")))
        }
        VideoWanted::Only(codec) => check_codec(codec).map(|()| vec![codec]),
        VideoWanted::Any => {
            let (mut usable, mut lacking) = (Vec::new(), None);
            for codec in [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1] {
                match check_codec(codec) {
                    Ok(()) => usable.push(codec),
                    Err(error) => {
                        tracing::warn!(?codec, %error, "not offered");
                        lacking = Some(error);
                    }
                }
            }
            lacking.filter(|_| usable.is_empty()).map_or(Ok(usable), Err)
        }
    }
}

/// What is to be offered, checked before anything is opened.
#[derive(Debug)]
pub(super) struct Offered {
    video: Vec<Codec>,
    audio: bool,
}

impl Offered {
    pub(super) fn new(options: &PlayOptions) -> Result<Self, ClientError> {
        let video = video_codecs(options.video)?;
        if options.audio {
            check_codec(Codec::Opus)?;
        } else if video.is_empty() {
            return Err(ClientError::Option("with video and audio off there is nothing to watch".into()));
        }
        Ok(Self { video, audio: options.audio })
    }

    /// Adds the lanes, video first.
    pub(super) fn add_to(&self, connection: &Connection) -> Result<(), ClientError> {
        if !self.video.is_empty() {
            add_transceiver(connection, &video_caps(&self.video))?;
        }
        if self.audio {
            add_transceiver(connection, &audio_caps())?;
        }
        Ok(())
    }
}

fn add_transceiver(connection: &Connection, caps: &gst::Caps) -> Result<(), ClientError> {
    let direction = webrtc::WebRTCRTPTransceiverDirection::Recvonly;
    let transceiver = connection
        .webrtc()
        .emit_by_name::<Option<webrtc::WebRTCRTPTransceiver>>("add-transceiver", &[&direction, caps])
        .ok_or_else(|| ClientError::Engine(format!("webrtcbin does not take {caps}")))?;
    // Lost packets are asked for again (RFC 4585 section 6.2.1).
    transceiver.set_property("do-nack", true);
    Ok(())
}

fn rtp(codec: Codec, payload_type: u8) -> gst::caps::Builder<gst::caps::NoFeature> {
    gst::Caps::builder("application/x-rtp")
        .field("media", codec.kind().as_str())
        .field("encoding-name", codec.rtp_name().to_ascii_uppercase())
        .field("clock-rate", codec.rtp_clock_rate().cast_signed())
        .field("payload", i32::from(payload_type))
        .field("rtcp-fb-transport-cc", true)
        .field("extmap-3", TWCC_EXTENSION)
}

fn video_caps(codecs: &[Codec]) -> gst::Caps {
    let mut all = gst::Caps::new_empty();
    let caps = all.make_mut();
    for payload in VIDEO_PAYLOADS.iter().filter(|p| codecs.contains(&p.codec)) {
        let mut one = rtp(payload.codec, payload.payload_type)
            .field("rtcp-fb-nack", true)
            .field("rtcp-fb-nack-pli", true)
            .field("rtcp-fb-ccm-fir", true);
        for (name, value) in payload.parameters {
            one = one.field(*name, *value);
        }
        caps.append(one.build());
    }
    all
}

fn audio_caps() -> gst::Caps {
    rtp(Codec::Opus, AUDIO_PAYLOAD_TYPE)
        .field("encoding-params", "2")
        // We take stereo (RFC 7587 section 6.1).
        .field("stereo", "1")
        .field("useinbandfec", "1")
        .field("minptime", "10")
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_ran_the_install_script_decodes_everything() {
        gst::init().unwrap();
        assert_eq!(
            video_codecs(VideoWanted::Any).unwrap(),
            [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1]
        );
        assert_eq!(video_codecs(VideoWanted::Only(Codec::H264)).unwrap(), [Codec::H264]);
        assert!(video_codecs(VideoWanted::Only(Codec::Opus)).is_err());
    }

    #[test]
    fn nothing_at_all_cannot_be_watched() {
        gst::init().unwrap();
        let options = PlayOptions { video: VideoWanted::Off, audio: false, ..PlayOptions::new("http://x/") };
        assert!(Offered::new(&options).unwrap_err().to_string().contains("nothing to watch"));
    }
}
