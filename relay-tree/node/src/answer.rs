//! Writes the answer to a judged offer: ICE-lite, DTLS server, one direction, nothing that was not offered; and the fragment that
//! answers an ICE restart.

use crate::offer::{Offer, OfferedTrack, Role, Section};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

/// What this side brings into the answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalSide<'a> {
    pub(crate) ufrag: &'a str,
    pub(crate) pwd: &'a str,
    /// `a=fingerprint` value of this node's certificate.
    pub(crate) fingerprint: &'a str,
    /// In order of preference; each is listened to by UDP, and by TCP where `tcp` says so.
    pub(crate) candidates: &'a [SocketAddr],
    /// Whether the candidates also take TCP (RFC 6544).
    pub(crate) tcp: bool,
    /// `sess-id` of the `o=` line; below 2^62.
    pub(crate) session: u64,
    /// The sources a viewer gets, one for each of the offer's tracks; empty for a publisher.
    pub(crate) sources: &'a [Source],
}

/// What a lane is sent as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) ssrc: u32,
    /// Where retransmissions are offered.
    pub(crate) rtx: Option<u32>,
}

/// CNAME of all that this server sends, and the name of the one stream of tracks in it (RFC 8830).
pub(crate) const CNAME: &str = "skywave";

/// The answer, with CRLF line ends.
pub(crate) fn write_answer(offer: &Offer, local: LocalSide<'_>) -> String {
    let mut sdp = Writer(String::with_capacity(4_096));
    sdp.line(format_args!("v=0"));
    sdp.line(format_args!("o=- {} 1 IN IP4 0.0.0.0", local.session));
    sdp.line(format_args!("s=-"));
    sdp.line(format_args!("t=0 0"));
    let accepted: Vec<&str> = offer
        .bundle
        .iter()
        .map(String::as_str)
        .filter(|mid| offer.tracks.iter().any(|t| t.mid == *mid))
        .collect();
    if !accepted.is_empty() {
        sdp.line(format_args!("a=group:BUNDLE {}", accepted.join(" ")));
    }
    if offer.mixed_extensions {
        sdp.line(format_args!("a=extmap-allow-mixed"));
    }
    sdp.line(format_args!("a=ice-lite"));
    for section in &offer.sections {
        match section {
            Section::Track(index) => sdp.track(offer.role, &offer.tracks[*index], *index, local),
            Section::Rejected { media, protocol, format, mid } => {
                sdp.line(format_args!("m={media} 0 {protocol} {format}"));
                sdp.line(format_args!("c=IN IP4 0.0.0.0"));
                sdp.line(format_args!("a=inactive"));
                if let Some(mid) = mid {
                    sdp.line(format_args!("a=mid:{mid}"));
                }
            }
        }
    }
    sdp.0
}

struct Writer(String);

impl Writer {
    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        write!(self.0, "{text}\r\n").expect("writing to a String does not fail");
    }

    fn track(&mut self, role: Role, track: &OfferedTrack, index: usize, local: LocalSide<'_>) {
        let direction = match role {
            Role::Publisher => "recvonly",
            Role::Viewer => "sendonly",
        };
        let types: Vec<String> = track
            .payloads
            .iter()
            .flat_map(|p| [Some(p.payload_type), p.rtx])
            .flatten()
            .map(|pt| pt.to_string())
            .collect();
        self.line(format_args!("m={} 9 UDP/TLS/RTP/SAVPF {}", track.kind.as_str(), types.join(" ")));
        self.line(format_args!("c=IN IP4 0.0.0.0"));
        self.line(format_args!("a=rtcp:9 IN IP4 0.0.0.0"));
        self.credentials(local);
        self.line(format_args!("a=fingerprint:{}", local.fingerprint));
        self.line(format_args!("a=setup:passive"));
        if !track.mid.is_empty() {
            self.line(format_args!("a=mid:{}", track.mid));
        }
        self.line(format_args!("a={direction}"));
        self.line(format_args!("a=rtcp-mux"));
        if track.reduced_size_rtcp {
            self.line(format_args!("a=rtcp-rsize"));
        }
        for extension in &track.extensions {
            let way = if extension.one_way { format!("/{direction}") } else { String::new() };
            self.line(format_args!("a=extmap:{}{way} {}", extension.id, extension.meaning.as_uri()));
        }
        self.payloads(track);
        for rid in &track.rids {
            self.line(format_args!("a=rid:{rid} recv"));
        }
        if !track.rids.is_empty() {
            self.line(format_args!("a=simulcast:recv {}", track.rids.join(";")));
        }
        if let Some(source) = local.sources.get(index) {
            self.source(track, *source);
        }
        if index == 0 {
            // Bundled sections share the candidates of the first (RFC 9143 section 7.3.1).
            self.candidates(local);
        }
    }

    fn credentials(&mut self, local: LocalSide<'_>) {
        self.line(format_args!("a=ice-ufrag:{}", local.ufrag));
        self.line(format_args!("a=ice-pwd:{}", local.pwd));
        // RFC 8840 section 4.1.1: later candidates are understood (and, this side being lite, not needed).
        self.line(format_args!("a=ice-options:trickle ice2"));
    }

    /// The sources of a lane (RFC 5576), and which stream of tracks they belong to (RFC 8830).
    fn source(&mut self, track: &OfferedTrack, source: Source) {
        self.line(format_args!("a=msid:{CNAME} {}", track.kind.as_str()));
        if let Some(rtx) = source.rtx {
            self.line(format_args!("a=ssrc-group:FID {} {rtx}", source.ssrc));
        }
        for ssrc in [Some(source.ssrc), source.rtx].into_iter().flatten() {
            self.line(format_args!("a=ssrc:{ssrc} cname:{CNAME}"));
        }
    }

    fn payloads(&mut self, track: &OfferedTrack) {
        for p in &track.payloads {
            self.line(format_args!("a=rtpmap:{} {}", p.payload_type, p.rtpmap));
            for feedback in p.feedback.lines() {
                self.line(format_args!("a=rtcp-fb:{} {feedback}", p.payload_type));
            }
            if !p.fmtp.is_empty() {
                self.line(format_args!("a=fmtp:{} {}", p.payload_type, p.fmtp));
            }
            if let Some(rtx) = p.rtx {
                self.line(format_args!("a=rtpmap:{rtx} rtx/{}", p.codec.rtp_clock_rate()));
                self.line(format_args!("a=fmtp:{rtx} apt={}", p.payload_type));
            }
        }
    }

    /// Host candidates (RFC 8839 section 5.1), by TCP after UDP (RFC 6544 section 4.5: passive, this side accepts).
    fn candidates(&mut self, local: LocalSide<'_>) {
        let udp = local.candidates.iter().map(|addr| (*addr, "udp", "", 126_u32));
        let tcp = local.candidates.iter().map(|addr| (*addr, "tcp", " tcptype passive", 90));
        let all = udp.chain(tcp.take(if local.tcp { local.candidates.len() } else { 0 }));
        for (index, (addr, transport, suffix, kind)) in all.enumerate() {
            // RFC 8445 section 5.1.2.1: type preference, then local preference, then component 1.
            let preference = 65_535_u32.saturating_sub(u32::try_from(index).unwrap_or(u32::MAX));
            let priority = (kind << 24) + (preference << 8) + 255;
            let ip = match addr.ip() {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => ip.to_string(),
            };
            self.line(format_args!(
                "a=candidate:{} 1 {transport} {priority} {ip} {} typ host{suffix}",
                index + 1,
                addr.port()
            ));
        }
        self.line(format_args!("a=end-of-candidates"));
    }
}

/// The answer to an ICE restart: `application/trickle-ice-sdpfrag` with new credentials and all candidates (RFC 8840 section 9,
/// RFC 9725 section 4.3.3). `media` and `mid` are those of the bundle's first section.
pub(crate) fn write_fragment(local: LocalSide<'_>, media: &str, mid: &str) -> String {
    let mut sdp = Writer(String::with_capacity(1_024));
    sdp.line(format_args!("a=ice-lite"));
    sdp.credentials(local);
    sdp.line(format_args!("m={media} 9 UDP/TLS/RTP/SAVPF 0"));
    if !mid.is_empty() {
        sdp.line(format_args!("a=mid:{mid}"));
    }
    sdp.candidates(local);
    sdp.0
}
