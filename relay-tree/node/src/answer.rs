//! Writes the answer to a judged offer: ICE-lite, DTLS server, receive only, nothing that was not offered.

use crate::offer::{Offer, OfferedTrack, Section};
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

/// What this side brings into the answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalSide<'a> {
    pub(crate) ufrag: &'a str,
    pub(crate) pwd: &'a str,
    /// `a=fingerprint` value of this node's certificate.
    pub(crate) fingerprint: &'a str,
    /// In order of preference.
    pub(crate) candidates: &'a [SocketAddr],
    /// `sess-id` of the `o=` line; below 2^62.
    pub(crate) session: u64,
}

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
            Section::Track(index) => sdp.track(&offer.tracks[*index], local, *index == 0),
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

    fn track(&mut self, track: &OfferedTrack, local: LocalSide<'_>, first: bool) {
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
        self.line(format_args!("a=ice-ufrag:{}", local.ufrag));
        self.line(format_args!("a=ice-pwd:{}", local.pwd));
        self.line(format_args!("a=fingerprint:{}", local.fingerprint));
        self.line(format_args!("a=setup:passive"));
        if !track.mid.is_empty() {
            self.line(format_args!("a=mid:{}", track.mid));
        }
        self.line(format_args!("a=recvonly"));
        self.line(format_args!("a=rtcp-mux"));
        if track.reduced_size_rtcp {
            self.line(format_args!("a=rtcp-rsize"));
        }
        for extension in &track.extensions {
            let direction = if extension.one_way { "/recvonly" } else { "" };
            self.line(format_args!("a=extmap:{}{direction} {}", extension.id, extension.meaning.as_uri()));
        }
        self.payloads(track);
        for rid in &track.rids {
            self.line(format_args!("a=rid:{rid} recv"));
        }
        if !track.rids.is_empty() {
            self.line(format_args!("a=simulcast:recv {}", track.rids.join(";")));
        }
        if first {
            // Bundled sections share the candidates of the first (RFC 9143 section 7.3.1).
            self.candidates(local.candidates);
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

    fn candidates(&mut self, candidates: &[SocketAddr]) {
        for (index, addr) in candidates.iter().enumerate() {
            // RFC 8445 section 5.1.2.1: type preference 126 for host, then local preference, then component 1.
            let preference = 65_535_u32.saturating_sub(u32::try_from(index).unwrap_or(u32::MAX));
            let priority = (126 << 24) + (preference << 8) + 255;
            let ip = match addr.ip() {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => ip.to_string(),
            };
            self.line(format_args!(
                "a=candidate:{} 1 udp {priority} {ip} {} typ host",
                index + 1,
                addr.port()
            ));
        }
        self.line(format_args!("a=end-of-candidates"));
    }
}
