//! WHIP offers as text: one that is right, and what can be wrong with it.

/// The only browser-like thing about it is that it is complete: BUNDLE, rtcp-mux, ICE, DTLS, one Opus and one VP8 lane.
#[must_use]
pub fn valid() -> String {
    let transport = "c=IN IP4 0.0.0.0\n\
        a=ice-ufrag:Zx9k\n\
        a=ice-pwd:pU2kq0f7cGqLw9b8Yh3rT1mN\n\
        a=ice-options:trickle\n\
        a=fingerprint:sha-256 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:E5:7C:AB:3A:4B:65:2E:7D:46:3F:54:42:CD:54:F1\n\
        a=setup:actpass\n\
        a=sendonly\n\
        a=rtcp-mux\n";
    let audio = format!(
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\n{transport}a=mid:0\na=msid:live sound\n\
        a=rtpmap:111 opus/48000/2\na=fmtp:111 minptime=10;useinbandfec=1\na=ssrc:1001 cname:live\n"
    );
    let video = format!(
        "m=video 9 UDP/TLS/RTP/SAVPF 96\n{transport}a=mid:1\na=msid:live picture\n\
        a=rtpmap:96 VP8/90000\na=rtcp-fb:96 nack\na=rtcp-fb:96 nack pli\na=ssrc:1002 cname:live\n"
    );
    let session = "v=0\no=- 4611731400430051336 2 IN IP4 127.0.0.1\ns=-\nt=0 0\na=group:BUNDLE 0 1\na=msid-semantic: WMS live\n";
    lines(&format!("{session}{audio}{video}"))
}

/// RFC 8866 section 5: lines end with CR and LF.
fn lines(text: &str) -> String {
    text.lines().flat_map(|line| [line, "\r\n"]).collect()
}

/// Without the lines that begin with `start`.
fn without(start: &str) -> Vec<u8> {
    valid().split_inclusive('\n').filter(|line| !line.starts_with(start)).collect::<String>().into()
}

/// With every `from` made `to`.
fn with(from: &str, to: &str) -> Vec<u8> {
    let text = valid();
    debug_assert!(text.contains(from), "{from} is in the valid offer");
    text.replace(from, to).into()
}

/// Offers that no server may take, with what is wrong with each.
#[must_use]
pub fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let valid = valid();
    let media_at = valid.find("m=audio").unwrap_or(valid.len());
    let session_only = valid.as_bytes()[..media_at].to_vec();
    let media_only = valid.as_bytes()[media_at..].to_vec();
    let data_channel = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sctp-port:5000\r\n";
    let many: String =
        (0..1500).map(|n| format!("m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:{n}\r\n")).collect();
    vec![
        ("empty", Vec::new()),
        ("blanks and line ends only", b" \r\n \r\n\r\n".to_vec()),
        ("prose", b"Please let me publish.".to_vec()),
        ("JSON as browsers print it", format!("{{\"type\":\"offer\",\"sdp\":{valid:?}}}").into_bytes()),
        ("an HTML page", b"<!doctype html><title>v=0</title>".to_vec()),
        ("random bytes", (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()),
        ("not UTF-8 in a valid offer", [valid.as_bytes(), b"a=x:\xff\xfe\r\n"].concat()),
        ("a NUL in the first line", with("v=0", "v=0\0")),
        ("the first line only", b"v=0\r\n".to_vec()),
        ("no media section", session_only.clone()),
        ("media sections only", media_only),
        ("a data channel only", [session_only.as_slice(), data_channel.as_bytes()].concat()),
        ("fifteen hundred media sections", [session_only.as_slice(), many.as_bytes()].concat()),
        ("cut in the middle of a line", valid.as_bytes()[..media_at + 8].to_vec()),
        ("no ICE at all", with("a=ice-", "a=ace-")),
        ("no ICE user name", without("a=ice-ufrag")),
        ("no ICE password", without("a=ice-pwd")),
        ("no fingerprint", without("a=fingerprint")),
        ("a fingerprint that is no hex", with("4A:AD:B9", "4A:XX:B9")),
        ("a fingerprint of an unknown hash", with("fingerprint:sha-256", "fingerprint:rot-13")),
        ("a fingerprint cut short", with(":46:3F:54:42:CD:54:F1", "")),
        (
            "no BUNDLE and no mid",
            String::from_utf8_lossy(&without("a=mid")).replace("a=group:BUNDLE 0 1\r\n", "").into_bytes(),
        ),
        (
            "only codecs that nobody knows",
            String::from_utf8_lossy(&with("opus/48000/2", "speex/16000"))
                .replace("VP8/90000", "H277/90000")
                .into_bytes(),
        ),
        ("payload types without rtpmap", without("a=rtpmap")),
        ("a clock rate that is no number", with("VP8/90000", "VP8/fast")),
        ("a payload type that is no number", with("SAVPF 96", "SAVPF ninety-six")),
        ("a viewer's offer: receive only", with("a=sendonly", "a=recvonly")),
        ("nothing to send: inactive", with("a=sendonly", "a=inactive")),
        ("plain RTP without DTLS", with("UDP/TLS/RTP/SAVPF", "RTP/AVP")),
    ]
}
