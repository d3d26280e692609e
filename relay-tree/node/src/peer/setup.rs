//! What an offer means for the engine of a publisher's session.

use super::PeerDefaults;
use crate::offer::Offer;
use skywave_media::codec::Codec;
use str0m::format::FormatParams;
use str0m::media::Frequency;
use str0m::rtp::ExtensionMap;
use str0m::{IceCreds, RtcConfig};

/// The engine of a session that answers `offer`.
pub(super) fn rtc_config(offer: &Offer, credentials: IceCreds, defaults: &PeerDefaults) -> RtcConfig {
    let mut extensions = ExtensionMap::empty();
    for extension in offer.tracks.iter().flat_map(|t| &t.extensions) {
        extensions.set(extension.id, extension.meaning.clone());
    }
    let mut config = RtcConfig::new()
        .set_crypto_provider(defaults.crypto.clone())
        .set_dtls_cert(defaults.certificate.clone())
        .set_local_ice_credentials(credentials)
        .set_ice_lite(true)
        .set_rtp_mode(true)
        .clear_codecs()
        .set_extension_map(extensions);
    for payload in offer.tracks.iter().flat_map(|t| &t.payloads) {
        let (codec, rate, channels) = match payload.codec {
            Codec::Vp8 => (str0m::format::Codec::Vp8, Frequency::NINETY_KHZ, None),
            Codec::Vp9 => (str0m::format::Codec::Vp9, Frequency::NINETY_KHZ, None),
            Codec::H264 => (str0m::format::Codec::H264, Frequency::NINETY_KHZ, None),
            Codec::Av1 => (str0m::format::Codec::Av1, Frequency::NINETY_KHZ, None),
            Codec::Opus | Codec::Aac => (str0m::format::Codec::Opus, Frequency::FORTY_EIGHT_KHZ, Some(2)),
        };
        // In RTP mode the parameters of a codec mean nothing to str0m.
        let rtx = payload.rtx.map(Into::into);
        config.codec_config().add_config(
            payload.payload_type.into(),
            rtx,
            codec,
            rate,
            channels,
            FormatParams::default(),
        );
    }
    config
}

/// The track and codec of each payload type.
pub(super) fn payload_table(offer: &Offer) -> [Option<(u8, Codec)>; 128] {
    let mut table = [None; 128];
    for track in &offer.tracks {
        for payload in &track.payloads {
            table[usize::from(payload.payload_type)] = Some((track.id.0, payload.codec));
        }
    }
    table
}

/// Whether the client adapts its bitrate to REMB alone.
pub(super) fn wants_remb(offer: &Offer) -> bool {
    let feedback = || offer.tracks.iter().flat_map(|t| &t.payloads).map(|p| p.feedback);
    feedback().any(|f| f.remb) && !feedback().any(|f| f.transport_cc)
}
