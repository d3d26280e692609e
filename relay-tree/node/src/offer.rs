//! Judges a client's offer: which sections become tracks, with which codecs, and what is wrong otherwise.
//!
//! What belongs here: every rule about what an offer must contain. What does not: how an answer is written ([`crate::answer`]).
//! Candidates are not read at all: an ICE-lite server answers whoever proves to know the password (RFC 8445 section 7.3), so
//! mDNS names, broken candidates and clients without any make no difference.

use crate::codecs::{Payload, one_of_each, read_payloads};
use crate::error::OfferError;
use crate::sdp::{Lines, MediaSection, Sdp};
use skywave_media::codec::{Codec, TrackKind};
use skywave_media::ingest::TrackId;
use std::collections::BTreeMap;
use str0m::rtp::Extension;

/// Sections read; a browser with all its devices stays far below.
const MAX_SECTIONS: usize = 32;
/// Sources announced for one track (simulcast layers, each with its RTX).
const MAX_SOURCES: usize = 8;
/// Simulcast layers of one track.
const MAX_RIDS: usize = 4;

/// What the client wants to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// It sends (WHIP).
    Publisher,
    /// It receives (WHEP).
    Viewer,
}

impl Role {
    /// The directions of sections it has use for, as the client writes them.
    const fn directions(self) -> [&'static str; 2] {
        match self {
            Self::Publisher => ["sendonly", "sendrecv"],
            Self::Viewer => ["recvonly", "sendrecv"],
        }
    }

    /// The direction of an extension that is of no use to it.
    const fn foreign(self) -> &'static str {
        match self {
            Self::Publisher => "recvonly",
            Self::Viewer => "sendonly",
        }
    }
}

/// An offer that can be answered.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) role: Role,
    /// One entry per `m=` section, in order.
    pub(crate) sections: Vec<Section>,
    /// At most one of each kind.
    pub(crate) tracks: Vec<OfferedTrack>,
    /// Identification tags of the BUNDLE group, in its order; empty when there is no group.
    pub(crate) bundle: Vec<String>,
    pub(crate) ice_ufrag: String,
    pub(crate) ice_pwd: String,
    /// SHA-256 of the client's certificate.
    pub(crate) fingerprint: [u8; 32],
    /// `a=extmap-allow-mixed` at session level (RFC 8285 section 6).
    pub(crate) mixed_extensions: bool,
}

/// What becomes of an `m=` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Section {
    /// It is the track with this index in [`Offer::tracks`].
    Track(usize),
    /// It is answered with port 0.
    Rejected {
        media: String,
        protocol: String,
        /// The first of its formats: the grammar wants one even in a rejection.
        format: String,
        mid: Option<String>,
    },
}

/// A section that will be received.
#[derive(Debug, Clone)]
pub(crate) struct OfferedTrack {
    pub(crate) id: TrackId,
    pub(crate) kind: TrackKind,
    /// Identification tag (RFC 5888); empty when the offer has one section and no tag.
    pub(crate) mid: String,
    /// In the client's order of preference; never empty.
    pub(crate) payloads: Vec<Payload>,
    /// RTP header extensions that will be understood.
    pub(crate) extensions: Vec<HeaderExtension>,
    /// Simulcast layers, in the offer's order.
    pub(crate) rids: Vec<String>,
    /// Announced sources, each with its RTX source.
    pub(crate) sources: Vec<(u32, Option<u32>)>,
    /// `a=rtcp-rsize` (RFC 5506).
    pub(crate) reduced_size_rtcp: bool,
}

/// An RTP header extension (RFC 8285), as offered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HeaderExtension {
    /// Its identifier on the wire: 1 to 14.
    pub(crate) id: u8,
    pub(crate) meaning: Extension,
    /// Offered for one direction only, so it is answered for the same, seen from here (RFC 8285 section 7).
    pub(crate) one_way: bool,
}

impl OfferedTrack {
    /// The RTP clock of the lane, in ticks per second: the same for all codecs of one kind.
    pub(crate) fn kind_clock_rate(&self) -> u32 {
        self.payloads.first().map_or(skywave_media::time::VIDEO_RATE, |p| p.codec.rtp_clock_rate())
    }

    /// The codecs the track may carry, without repeats, in the client's order.
    pub(crate) fn codecs(&self) -> Vec<Codec> {
        let mut codecs = Vec::new();
        for payload in &self.payloads {
            if !codecs.contains(&payload.codec) {
                codecs.push(payload.codec);
            }
        }
        codecs
    }
}

impl OfferedTrack {
    /// Whether lost packets can be sent again beside the lane (RFC 4588).
    pub(crate) fn has_rtx(&self) -> bool {
        self.payloads.iter().any(|p| p.rtx.is_some() && p.feedback.nack)
    }
}

impl Offer {
    /// A viewer's offer as it fits a stream whose video is to be had in these codecs (none: not known yet): the first of them
    /// that the viewer has comes first.
    ///
    /// # Errors
    ///
    /// [`OfferError::NoCommonCodec`] when it has none of them.
    pub(crate) fn for_stream(mut self, on_air: &[Codec]) -> Result<Self, OfferError> {
        for track in self.tracks.iter_mut().filter(|t| t.kind == TrackKind::Video && !on_air.is_empty()) {
            let place = |codec: Codec| on_air.iter().position(|c| *c == codec).unwrap_or(usize::MAX);
            if track.payloads.iter().all(|p| place(p.codec) == usize::MAX) {
                let names =
                    |codecs: &[Codec]| codecs.iter().map(|c| c.rtp_name()).collect::<Vec<_>>().join(", ");
                return Err(OfferError::NoCommonCodec {
                    kind: TrackKind::Video,
                    on_air: names(on_air),
                    offered: names(&track.codecs()),
                });
            }
            track.payloads.sort_by_key(|p| place(p.codec));
        }
        Ok(self)
    }
}

/// Reads and judges an offer.
///
/// # Errors
///
/// The first fault found, in the order in which a developer would fix them: is it SDP, does it send something, can it be
/// connected, can it be decoded.
pub(crate) fn judge(text: &str, max_bytes: usize, role: Role) -> Result<Offer, OfferError> {
    if text.len() > max_bytes {
        return Err(OfferError::TooLarge { bytes: text.len(), limit: max_bytes });
    }
    let sdp = Sdp::parse(text)?;
    if sdp.media.len() > MAX_SECTIONS {
        return Err(OfferError::TooManyTracks { sections: sdp.media.len(), limit: MAX_SECTIONS });
    }
    let chosen = choose_sections(&sdp, role)?;
    let first = &sdp.media[chosen[0]];
    let (ice_ufrag, ice_pwd) = read_ice(&sdp, first)?;
    let fingerprint = read_fingerprint(&sdp, first)?;
    check_setup(&sdp, first)?;
    let bundle = read_bundle(&sdp, &chosen)?;
    let tracks = read_tracks(&sdp, &chosen, role)?;
    let sections = sdp
        .media
        .iter()
        .enumerate()
        .map(|(index, m)| match chosen.iter().position(|&c| c == index) {
            Some(track) => Section::Track(track),
            None => Section::rejected(m),
        })
        .collect();
    let mixed_extensions = sdp.session.has("extmap-allow-mixed");
    Ok(Offer { role, sections, tracks, bundle, ice_ufrag, ice_pwd, fingerprint, mixed_extensions })
}

impl Section {
    fn rejected(section: &MediaSection<'_>) -> Self {
        Self::Rejected {
            media: section.media.to_owned(),
            protocol: section.protocol.to_owned(),
            format: section.formats.split(' ').next().unwrap_or("0").to_owned(),
            mid: section.lines.attribute("mid").map(str::to_owned),
        }
    }
}

/// The sections to use: the first of each kind that has the role's direction.
fn choose_sections(sdp: &Sdp<'_>, role: Role) -> Result<Vec<usize>, OfferError> {
    let mut chosen: Vec<usize> = Vec::new();
    let mut silent = None;
    for (index, section) in sdp.media.iter().enumerate() {
        let is_media = matches!(section.media, "audio" | "video");
        // Port 0 is a section already given up (RFC 3264 section 8.2), unless it is bundled (RFC 9143 section 6).
        let given_up = section.port == "0" && !section.lines.has("bundle-only");
        if !is_media || given_up {
            continue;
        }
        match direction(sdp, section) {
            said if role.directions().contains(&said) => {
                if !chosen.iter().any(|&c| sdp.media[c].media == section.media) {
                    check_transport(index, section)?;
                    chosen.push(index);
                } else if role == Role::Publisher {
                    // RFC 9725 section 4.4.2: the whole offer, rather than a broadcast without its second camera.
                    return Err(OfferError::SecondOfKind { section: index });
                }
            }
            other => silent = Some(other),
        }
    }
    match (chosen.is_empty(), silent) {
        (false, _) => Ok(chosen),
        (true, Some(offered)) if role == Role::Publisher => Err(OfferError::NotSendable { offered }),
        (true, Some(offered)) => Err(OfferError::NotReceivable { offered }),
        (true, None) => Err(OfferError::NoMedia),
    }
}

/// The direction of a section; `sendrecv` when nothing is said (RFC 8866 section 6.7).
fn direction(sdp: &Sdp<'_>, section: &MediaSection<'_>) -> &'static str {
    const DIRECTIONS: [&str; 4] = ["sendonly", "sendrecv", "recvonly", "inactive"];
    let said = |lines: &Lines<'_>| DIRECTIONS.into_iter().find(|d| lines.has(d));
    said(&section.lines).or_else(|| said(&sdp.session)).unwrap_or("sendrecv")
}

fn check_transport(index: usize, section: &MediaSection<'_>) -> Result<(), OfferError> {
    if section.protocol != "UDP/TLS/RTP/SAVPF" {
        return Err(OfferError::NotSecure { section: index, protocol: section.protocol.to_owned() });
    }
    if !section.lines.has("rtcp-mux") {
        return Err(OfferError::NoRtcpMux { section: index });
    }
    Ok(())
}

/// An attribute that may stand in a section or above all of them.
fn inherited<'a>(sdp: &Sdp<'a>, section: &MediaSection<'a>, name: &'a str) -> Option<&'a str> {
    section.lines.attribute(name).or_else(|| sdp.session.attribute(name))
}

fn read_ice(sdp: &Sdp<'_>, first: &MediaSection<'_>) -> Result<(String, String), OfferError> {
    if sdp.session.has("ice-lite") {
        return Err(OfferError::IceLite);
    }
    let (Some(ufrag), Some(pwd)) = (inherited(sdp, first, "ice-ufrag"), inherited(sdp, first, "ice-pwd"))
    else {
        return Err(OfferError::NoIce);
    };
    if !legal_credentials(ufrag, pwd) {
        return Err(OfferError::BadIce);
    }
    Ok((ufrag.to_owned(), pwd.to_owned()))
}

/// Whether ICE credentials keep to their grammar (RFC 8839 section 5.4).
pub(crate) fn legal_credentials(ufrag: &str, pwd: &str) -> bool {
    // libwebrtc has been seen to use `-` and `_` too; they do no harm.
    let legal = |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/-_".contains(&b));
    (4..=256).contains(&ufrag.len()) && (22..=256).contains(&pwd.len()) && legal(ufrag) && legal(pwd)
}

/// The SHA-256 among the fingerprints (RFC 8122 section 5 allows several).
fn read_fingerprint(sdp: &Sdp<'_>, first: &MediaSection<'_>) -> Result<[u8; 32], OfferError> {
    let mut any = false;
    for value in first.lines.attributes("fingerprint").chain(sdp.session.attributes("fingerprint")) {
        any = true;
        if let Some(digest) = parse_fingerprint(value) {
            return Ok(digest);
        }
    }
    Err(if any { OfferError::BadFingerprint } else { OfferError::NoFingerprint })
}

fn parse_fingerprint(value: &str) -> Option<[u8; 32]> {
    let (hash, hex) = value.split_once(' ')?;
    if !hash.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let mut digest = [0; 32];
    let mut bytes = hex.trim().split(':');
    for slot in &mut digest {
        let byte = bytes.next().filter(|b| b.len() == 2 && b.bytes().all(|c| c.is_ascii_hexdigit()))?;
        *slot = u8::from_str_radix(byte, 16).ok()?;
    }
    bytes.next().is_none().then_some(digest)
}

fn check_setup(sdp: &Sdp<'_>, first: &MediaSection<'_>) -> Result<(), OfferError> {
    // Without the attribute the offerer is active (RFC 4145 section 4.1), which suits.
    match inherited(sdp, first, "setup") {
        None | Some("actpass" | "active") => Ok(()),
        Some(other) => Err(OfferError::BadSetup { offered: other.to_owned() }),
    }
}

/// The BUNDLE group that holds all chosen sections.
fn read_bundle(sdp: &Sdp<'_>, chosen: &[usize]) -> Result<Vec<String>, OfferError> {
    let groups = sdp.session.attributes("group").filter_map(|g| g.strip_prefix("BUNDLE"));
    let groups: Vec<Vec<&str>> = groups.map(|g| g.split_ascii_whitespace().collect()).collect();
    let mids: Vec<Option<&str>> = chosen.iter().map(|&c| sdp.media[c].lines.attribute("mid")).collect();
    let all_in = |group: &&Vec<&str>| mids.iter().all(|mid| mid.is_some_and(|mid| group.contains(&mid)));
    match groups.iter().find(all_in) {
        Some(group) => Ok(group.iter().map(|&mid| mid.to_owned()).collect()),
        // A single section needs no partner.
        None if chosen.len() == 1 && groups.is_empty() => Ok(Vec::new()),
        None => Err(OfferError::NotBundled),
    }
}

fn read_tracks(sdp: &Sdp<'_>, chosen: &[usize], role: Role) -> Result<Vec<OfferedTrack>, OfferError> {
    let mut taken = BTreeMap::new();
    let mut extension_ids = BTreeMap::new();
    let mut tracks: Vec<OfferedTrack> = Vec::new();
    for (track, &index) in chosen.iter().enumerate() {
        let section = &sdp.media[index];
        let kind = if section.media == "video" { TrackKind::Video } else { TrackKind::Audio };
        let mid = section.lines.attribute("mid").unwrap_or_default();
        check_mid(index, mid)?;
        if tracks.iter().any(|t| t.mid == mid) {
            return Err(OfferError::BadSection { section: index, reason: "its a=mid is used twice" });
        }
        let mut payloads = match role {
            Role::Publisher => read_payloads(index, kind, section)?,
            Role::Viewer => one_of_each(index, kind, read_payloads(index, kind, section)?)?,
        };
        let extensions = read_extensions(kind, section, role, &mut extension_ids);
        if !extensions.iter().any(|e| e.meaning == Extension::TransportSequenceNumber) {
            // Without the sequence number in each packet there is nothing to feed back.
            payloads.iter_mut().for_each(|p| p.feedback.transport_cc = false);
        }
        for pt in payloads.iter().flat_map(|p| [Some(p.payload_type), p.rtx]).flatten() {
            if taken.insert(pt, index).is_some() {
                return Err(OfferError::AmbiguousPayloadType { payload_type: pt });
            }
        }
        tracks.push(OfferedTrack {
            id: TrackId(u8::try_from(track).expect("two kinds, so at most two tracks")),
            kind,
            mid: mid.to_owned(),
            payloads,
            extensions,
            rids: read_rids(section),
            sources: read_sources(section),
            reduced_size_rtcp: section.lines.has("rtcp-rsize"),
        });
    }
    Ok(tracks)
}

/// Tags go back into the answer and out in RTP: only what the grammar of a token allows (RFC 8866 section 9) and what fits into a
/// one-byte header extension (16 bytes, RFC 8285 section 4.2).
fn check_mid(section: usize, mid: &str) -> Result<(), OfferError> {
    let legal = mid.bytes().all(|b| b.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]".contains(&b));
    if mid.len() <= 16 && legal {
        Ok(())
    } else {
        Err(OfferError::BadSection { section, reason: "its a=mid is no token of at most 16 characters" })
    }
}

/// The header extensions this node has a use for.
///
/// Left out on purpose: `urn:3gpp:video-orientation`. A sender that may not signal rotation rotates its pictures before it
/// encodes them (3GPP TS 26.114 section 7.4.5), so every output shows them upright.
fn wanted_extension(kind: TrackKind, role: Role, uri: &str) -> Option<Extension> {
    // A viewer's browser estimates its bandwidth itself when it gets send times and no transport-wide numbers, and tells by REMB:
    // the estimate then costs this side nothing, however many watch.
    if role == Role::Viewer {
        return match uri {
            "urn:ietf:params:rtp-hdrext:sdes:mid" => Some(Extension::RtpMid),
            "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time" => Some(Extension::AbsoluteSendTime),
            _ => None,
        };
    }
    Some(match uri {
        "urn:ietf:params:rtp-hdrext:sdes:mid" => Extension::RtpMid,
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01" => {
            Extension::TransportSequenceNumber
        }
        "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time" => Extension::AbsoluteSendTime,
        "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time" => Extension::AbsoluteCaptureTime,
        "urn:ietf:params:rtp-hdrext:ssrc-audio-level" if kind == TrackKind::Audio => Extension::AudioLevel,
        "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id" if kind == TrackKind::Video => Extension::RtpStreamId,
        "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id" if kind == TrackKind::Video => {
            Extension::RepairedRtpStreamId
        }
        _ => return None,
    })
}

/// `a=extmap:<id>[/direction] <uri> [attributes]` (RFC 8285 section 5). Within a bundle an identifier means one thing (RFC 9143
/// section 9.2): a second meaning is left out.
fn read_extensions(
    kind: TrackKind,
    section: &MediaSection<'_>,
    role: Role,
    taken: &mut BTreeMap<u8, Extension>,
) -> Vec<HeaderExtension> {
    let mut extensions: Vec<HeaderExtension> = Vec::new();
    for value in section.lines.attributes("extmap") {
        let mut words = value.split(' ');
        let (id, direction) = words.next().map_or(("", None), |w| match w.split_once('/') {
            Some((id, direction)) => (id, Some(direction)),
            None => (w, None),
        });
        if direction == Some("inactive") || direction == Some(role.foreign()) {
            continue;
        }
        let id = id.parse::<u8>().ok();
        let wanted = words.next().and_then(|uri| wanted_extension(kind, role, uri));
        let (Some(id @ 1..=14), Some(meaning)) = (id, wanted) else { continue };
        let in_bundle = taken.entry(id).or_insert_with(|| meaning.clone());
        if *in_bundle == meaning && !extensions.iter().any(|e| e.id == id || e.meaning == meaning) {
            extensions.push(HeaderExtension {
                id,
                meaning,
                one_way: matches!(direction, Some("sendonly" | "recvonly")),
            });
        }
    }
    extensions
}

/// The layers that a simulcast offer sends (RFC 8853 section 5.1), without alternatives and paused ones.
fn read_rids(section: &MediaSection<'_>) -> Vec<String> {
    let Some(simulcast) = section.lines.attribute("simulcast") else { return Vec::new() };
    let mut words = simulcast.split_ascii_whitespace();
    let sent =
        std::iter::from_fn(|| words.next().zip(words.next())).find(|(direction, _)| *direction == "send");
    let announced = |rid: &&str| {
        section
            .lines
            .attributes("rid")
            .any(|line| line.strip_prefix(*rid).is_some_and(|l| l.starts_with(" send")))
    };
    let legal = |rid: &&str| (1..=16).contains(&rid.len()) && rid.bytes().all(|b| b.is_ascii_alphanumeric());
    let mut rids = Vec::new();
    for layer in sent.map_or("", |(_, list)| list).split(';') {
        let rid = layer.split(',').next().unwrap_or_default().trim_start_matches('~');
        if legal(&rid) && announced(&rid) && !rids.iter().any(|r| r == rid) && rids.len() < MAX_RIDS {
            rids.push(rid.to_owned());
        }
    }
    rids
}

/// Sources from `a=ssrc` (RFC 5576), paired by `a=ssrc-group:FID`.
fn read_sources(section: &MediaSection<'_>) -> Vec<(u32, Option<u32>)> {
    let pairs: Vec<(u32, u32)> = section
        .lines
        .attributes("ssrc-group")
        .filter_map(|group| group.strip_prefix("FID "))
        .filter_map(|pair| pair.split_once(' '))
        .filter_map(|(main, rtx)| main.parse().ok().zip(rtx.trim().parse().ok()))
        .take(MAX_SOURCES)
        .collect();
    let mut sources: Vec<(u32, Option<u32>)> = Vec::new();
    for line in section.lines.attributes("ssrc") {
        let Some(ssrc) = line.split(' ').next().and_then(|s| s.parse::<u32>().ok()) else { continue };
        // Zero is what browsers use for bandwidth probes.
        let known = ssrc == 0 || sources.iter().any(|(s, _)| *s == ssrc);
        if !known && !pairs.iter().any(|(_, rtx)| *rtx == ssrc) && sources.len() < MAX_SOURCES {
            sources.push((ssrc, pairs.iter().find(|(main, _)| *main == ssrc).map(|(_, rtx)| *rtx)));
        }
    }
    sources
}
