//! The offer of a viewer: what Chromium would offer to receive, written by hand so that nothing but the options decides what is in it.

use std::fmt::Write;
use std::net::SocketAddr;

/// Which media a viewer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lanes {
    /// Audio and video.
    #[default]
    Both,
    /// Audio alone.
    AudioOnly,
    /// Video alone.
    VideoOnly,
}

/// Which bandwidth feedback a viewer offers, and gives when it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Feedback {
    /// None: a server that estimates bandwidth has nothing to go by.
    #[default]
    None,
    /// A generous receiver estimate (REMB) once a second.
    Remb,
    /// Transport-wide feedback ten times a second, of every packet.
    Twcc,
}

/// Extension id of the transport-wide sequence number in our offer; the answer must use the same (RFC 8285 section 6).
pub(crate) const TWCC_ID: u8 = 3;
const TWCC_URI: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// What of a viewer stands in its offer.
pub(crate) struct Identity<'a> {
    pub(crate) ufrag: &'a str,
    pub(crate) password: &'a str,
    /// SHA-256 of the certificate.
    pub(crate) fingerprint: &'a [u8],
    pub(crate) address: SocketAddr,
}

/// Payload types of video, each with its retransmissions on the next number, in Chromium's order of preference.
const VIDEO: &[(u8, &str, &str)] = &[
    (96, "VP8", ""),
    (102, "H264", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f"),
    (104, "H264", "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f"),
    (108, "H264", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
    (114, "H264", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f"),
    (116, "H264", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f"),
    (45, "AV1", "level-idx=5;profile=0;tier=0"),
    (98, "VP9", "profile-id=0"),
    (100, "VP9", "profile-id=2"),
];

/// Writes the offer.
pub(crate) fn write(identity: &Identity<'_>, lanes: Lanes, feedback: Feedback) -> String {
    let sections: &[bool] = match lanes {
        Lanes::Both => &[false, true],
        Lanes::AudioOnly => &[false],
        Lanes::VideoOnly => &[true],
    };
    let mut sdp = String::from("v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE");
    for mid in 0..sections.len() {
        put(&mut sdp, &format!(" {mid}"));
    }
    put(&mut sdp, "\r\na=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n");
    for (mid, &video) in sections.iter().enumerate() {
        write_section(&mut sdp, identity, mid, video, feedback);
    }
    sdp
}

fn write_section(sdp: &mut String, identity: &Identity<'_>, mid: usize, video: bool, feedback: Feedback) {
    if video {
        put(sdp, "m=video 9 UDP/TLS/RTP/SAVPF");
        for (pt, ..) in VIDEO {
            put(sdp, &format!(" {pt} {}", pt + 1));
        }
        put(sdp, "\r\n");
    } else {
        put(sdp, "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n");
    }
    let fingerprint: Vec<_> = identity.fingerprint.iter().map(|byte| format!("{byte:02X}")).collect();
    let address = identity.address;
    put(
        sdp,
        &format!(
            "c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
             a=candidate:1 1 udp 2130706431 {} {} typ host generation 0\r\na=end-of-candidates\r\n\
             a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=fingerprint:sha-256 {}\r\na=setup:actpass\r\na=mid:{mid}\r\n\
             a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\n",
            address.ip(),
            address.port(),
            identity.ufrag,
            identity.password,
            fingerprint.join(":"),
        ),
    );
    if feedback == Feedback::Twcc {
        put(sdp, &format!("a=extmap:{TWCC_ID} {TWCC_URI}\r\n"));
    }
    put(sdp, "a=recvonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\n");
    if !video {
        put(sdp, "a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n");
        if feedback == Feedback::Twcc {
            put(sdp, "a=rtcp-fb:111 transport-cc\r\n");
        }
        return;
    }
    for (pt, name, parameters) in VIDEO {
        put(sdp, &format!("a=rtpmap:{pt} {name}/90000\r\n"));
        match feedback {
            Feedback::None => {}
            Feedback::Remb => put(sdp, &format!("a=rtcp-fb:{pt} goog-remb\r\n")),
            Feedback::Twcc => put(sdp, &format!("a=rtcp-fb:{pt} transport-cc\r\n")),
        }
        for kind in ["ccm fir", "nack", "nack pli"] {
            put(sdp, &format!("a=rtcp-fb:{pt} {kind}\r\n"));
        }
        if !parameters.is_empty() {
            put(sdp, &format!("a=fmtp:{pt} {parameters}\r\n"));
        }
        put(sdp, &format!("a=rtpmap:{0} rtx/90000\r\na=fmtp:{0} apt={pt}\r\n", pt + 1));
    }
}

fn put(sdp: &mut String, text: &str) {
    // Writing to a string cannot fail.
    let _infallible = sdp.write_str(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(lanes: Lanes, feedback: Feedback) -> String {
        let identity = Identity {
            ufrag: "abcd",
            password: "0123456789012345678901",
            fingerprint: &[0xab; 32],
            address: "127.0.0.1:4000".parse().unwrap(),
        };
        write(&identity, lanes, feedback)
    }

    #[test]
    fn another_stack_reads_every_offer() {
        for lanes in [Lanes::Both, Lanes::AudioOnly, Lanes::VideoOnly] {
            for feedback in [Feedback::None, Feedback::Remb, Feedback::Twcc] {
                let text = offer(lanes, feedback);
                let read = str0m::change::SdpOffer::from_sdp_string(&text).unwrap();
                let mut rtc = str0m::Rtc::builder().build(std::time::Instant::now());
                let answer = rtc.sdp_api().accept_offer(read).unwrap().to_sdp_string();
                let sections = answer.matches("\r\nm=").count();
                assert_eq!(sections, if lanes == Lanes::Both { 2 } else { 1 });
            }
        }
    }

    #[test]
    fn only_the_feedback_asked_for_is_offered() {
        let none = offer(Lanes::Both, Feedback::None);
        assert!(!none.contains("goog-remb") && !none.contains("transport-"));
        assert!(offer(Lanes::Both, Feedback::Remb).contains("a=rtcp-fb:96 goog-remb\r\n"));
        let twcc = offer(Lanes::Both, Feedback::Twcc);
        assert!(twcc.contains("a=rtcp-fb:111 transport-cc\r\n") && twcc.contains("a=extmap:3 http"));
    }
}
