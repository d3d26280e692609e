//! The codecs of one `m=` section: which of the offered payload types are received.

use crate::error::OfferError;
use crate::sdp::MediaSection;
use skywave_media::codec::{Codec, TrackKind};

/// Formats read in one section; Chromium offers about fifty.
const MAX_FORMATS: usize = 128;

/// One payload type that will be received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) payload_type: u8,
    pub(crate) codec: Codec,
    /// `a=rtpmap` value, as offered.
    pub(crate) rtpmap: String,
    /// `a=fmtp` value for the answer; empty for none.
    pub(crate) fmtp: String,
    /// The payload type of retransmissions (RFC 4588).
    pub(crate) rtx: Option<u8>,
    pub(crate) feedback: Feedback,
}

/// RTCP feedback that is offered and that this node sends (RFC 4585 section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Feedback {
    /// `transport-cc`
    pub(crate) transport_cc: bool,
    /// `goog-remb`
    pub(crate) remb: bool,
    /// `nack`
    pub(crate) nack: bool,
    /// `nack pli`
    pub(crate) pli: bool,
    /// `ccm fir` (RFC 5104 section 4.3.1)
    pub(crate) fir: bool,
}

impl Feedback {
    /// The values of its `a=rtcp-fb` lines.
    pub(crate) fn lines(self) -> impl Iterator<Item = &'static str> {
        [
            (self.transport_cc, "transport-cc"),
            (self.remb, "goog-remb"),
            (self.fir, "ccm fir"),
            (self.nack, "nack"),
            (self.pli, "nack pli"),
        ]
        .into_iter()
        .filter_map(|(on, line)| on.then_some(line))
    }
}

/// The usable payload types of a section, in its order.
///
/// # Errors
///
/// [`OfferError::NoUsableCodec`] with everything that was offered; [`OfferError::BadSection`] for formats that are no numbers.
pub(crate) fn read_payloads(
    index: usize,
    kind: TrackKind,
    section: &MediaSection<'_>,
) -> Result<Vec<Payload>, OfferError> {
    let bad = |reason| OfferError::BadSection { section: index, reason };
    let mut payloads: Vec<Payload> = Vec::new();
    let mut offered: Vec<&str> = Vec::new();
    for (n, word) in section.formats.split_ascii_whitespace().enumerate() {
        let pt = word
            .parse::<u8>()
            .ok()
            .filter(|pt| *pt < 128)
            .ok_or(bad("a payload type is a number below 128"))?;
        if n >= MAX_FORMATS {
            return Err(bad("it lists more payload types than there are"));
        }
        let Some(rtpmap) = mapped(section, "rtpmap", pt) else { continue };
        let name = rtpmap.split('/').next().unwrap_or_default();
        if !offered.contains(&name) {
            offered.push(name);
        }
        let offered_fmtp = mapped(section, "fmtp", pt).unwrap_or_default();
        let Some(codec) = usable(kind, rtpmap, offered_fmtp) else { continue };
        // 64..=95 collide with RTCP packet types on a shared port (RFC 5761 section 4).
        if (64..96).contains(&pt) {
            continue;
        }
        payloads.push(Payload {
            payload_type: pt,
            codec,
            rtpmap: rtpmap.to_owned(),
            fmtp: answered_fmtp(codec, offered_fmtp),
            rtx: retransmissions(section, pt),
            feedback: read_feedback(section, pt),
        });
    }
    if payloads.is_empty() {
        let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
        return Err(OfferError::NoUsableCodec { kind, offered });
    }
    Ok(payloads)
}

/// What a viewer is sent: one payload type for each codec, the one that promises to decode most.
///
/// # Errors
///
/// [`OfferError::NoUsableCodec`] when all that is left is H.264 without fragments (packetization-mode 0), which no live picture fits.
pub(crate) fn one_of_each(
    index: usize,
    kind: TrackKind,
    offered: Vec<Payload>,
) -> Result<Vec<Payload>, OfferError> {
    let names = offered.iter().map(|p| p.rtpmap.as_str()).collect::<Vec<_>>().join(", ");
    let mut best: Vec<Payload> = Vec::new();
    for payload in offered {
        if payload.codec == Codec::H264 && parameter(&payload.fmtp, "packetization-mode") != Some("1") {
            continue;
        }
        match best.iter_mut().find(|p| p.codec == payload.codec) {
            Some(known) if payload.promise() > known.promise() => *known = payload,
            Some(_) => {}
            None => best.push(payload),
        }
    }
    if best.is_empty() {
        tracing::debug!(section = index, offered = names, "nothing to send");
        return Err(OfferError::NoUsableCodec { kind, offered: names });
    }
    Ok(best)
}

impl Payload {
    /// Orders payload types of one codec by what they can decode: H.264's High profile before Main before Baseline, because each
    /// decodes the ones after it; VP9's profile 0, which is what cameras send.
    fn promise(&self) -> u8 {
        match self.codec {
            Codec::H264 => {
                let id = parameter(&self.fmtp, "profile-level-id").unwrap_or("42000a");
                match u8::from_str_radix(id.get(..2).unwrap_or_default(), 16) {
                    Ok(100) => 2,
                    Ok(77) => 1,
                    _ => 0,
                }
            }
            Codec::Vp9 => u8::from(parameter(&self.fmtp, "profile-id").unwrap_or("0") == "0"),
            _ => 0,
        }
    }
}

/// The value of the `a=name:<pt> value` line of a payload type.
fn mapped<'a>(section: &MediaSection<'a>, name: &'a str, pt: u8) -> Option<&'a str> {
    section.lines.attributes(name).find_map(|line| {
        let (number, value) = line.split_once(' ')?;
        (number.parse() == Ok(pt)).then_some(value.trim())
    })
}

/// A parameter of an `a=fmtp` value, by its name without regard to case.
fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';')
        .filter_map(|p| p.split_once('='))
        .find_map(|(key, value)| key.trim().eq_ignore_ascii_case(name).then_some(value.trim()))
}

/// The codec of a payload type, when it is of this kind and its parameters are among those that can be decoded.
fn usable(kind: TrackKind, rtpmap: &str, fmtp: &str) -> Option<Codec> {
    let mut parts = rtpmap.split('/');
    let codec = Codec::from_rtp_name(parts.next()?).filter(|c| c.kind() == kind)?;
    if parts.next()?.parse::<u32>().ok()? != codec.rtp_clock_rate() {
        return None;
    }
    let channels = parts.next();
    let number = |name, default: u32| parameter(fmtp, name).map_or(Some(default), |v| v.parse().ok());
    let fits = match codec {
        // RFC 7587 section 7: always 2, whatever is sent.
        Codec::Opus => channels == Some("2"),
        Codec::Vp8 => true,
        // Profiles 1 and 3 are 4:4:4.
        Codec::Vp9 => matches!(number("profile-id", 0), Some(0 | 2)),
        Codec::Av1 => number("profile", 0) == Some(0),
        Codec::H264 => number("packetization-mode", 0)? <= 1 && h264_profile_fits(fmtp),
        Codec::Aac => false,
    };
    fits.then_some(codec)
}

/// Whether `profile-level-id` (RFC 6184 section 8.1) names Baseline, Main, Extended or High: the 8-bit 4:2:0 profiles.
fn h264_profile_fits(fmtp: &str) -> bool {
    // Absent means Baseline level 1, which everything decodes.
    let id = parameter(fmtp, "profile-level-id").unwrap_or("42000a");
    let profile = if id.len() == 6 { u32::from_str_radix(id, 16).ok().map(|id| id >> 16) } else { None };
    matches!(profile, Some(66 | 77 | 88 | 100))
}

/// What the answer says about a payload type.
fn answered_fmtp(codec: Codec, offered: &str) -> String {
    match codec {
        // These say what the receiver likes (RFC 7587 section 7.1): stereo, and redundancy for losses. Nothing asks for DTX, so
        // silence is sent like any other sound.
        Codec::Opus => "minptime=10;useinbandfec=1;stereo=1".to_owned(),
        // Video parameters are a property of the payload type: the answer repeats them (RFC 6184 section 8.2.2), but for those that
        // describe what one side sends.
        _ => {
            let kept =
                offered.split(';').map(str::trim).filter(|p| !p.is_empty() && !p.starts_with("sprop-"));
            kept.collect::<Vec<_>>().join(";")
        }
    }
}

/// The payload type whose `apt` is `pt` (RFC 4588 section 8.1).
fn retransmissions(section: &MediaSection<'_>, pt: u8) -> Option<u8> {
    section.formats.split_ascii_whitespace().filter_map(|word| word.parse::<u8>().ok()).find(|&rtx| {
        let is_rtx = mapped(section, "rtpmap", rtx)
            .is_some_and(|m| m.get(..4).is_some_and(|n| n.eq_ignore_ascii_case("rtx/")));
        let apt = mapped(section, "fmtp", rtx).and_then(|f| parameter(f, "apt"));
        is_rtx && !(64..96).contains(&rtx) && apt.and_then(|apt| apt.parse().ok()) == Some(pt)
    })
}

fn read_feedback(section: &MediaSection<'_>, pt: u8) -> Feedback {
    let mut feedback = Feedback::default();
    for line in section.lines.attributes("rtcp-fb") {
        let Some((number, value)) = line.split_once(' ') else { continue };
        if number != "*" && number.parse() != Ok(pt) {
            continue;
        }
        match value.trim() {
            "transport-cc" => feedback.transport_cc = true,
            "goog-remb" => feedback.remb = true,
            "nack" => feedback.nack = true,
            "nack pli" => feedback.pli = true,
            "ccm fir" => feedback.fir = true,
            _ => {}
        }
    }
    feedback
}
