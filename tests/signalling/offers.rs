//! Offers and fragments of real clients, and what is made of them.

/// What Chromium offers as a publisher.
pub(crate) fn publisher() -> String {
    include_str!("../../samples/offers/chromium.sdp").to_owned()
}

/// Every captured offer of a publisher, by client.
pub(crate) fn publishers() -> [(&'static str, &'static str); 5] {
    [
        ("Chromium", include_str!("../../samples/offers/chromium.sdp")),
        ("Chromium, simulcast", include_str!("../../samples/offers/chromium-simulcast.sdp")),
        ("Firefox", include_str!("../../samples/offers/firefox.sdp")),
        ("GStreamer", include_str!("../../samples/offers/gstreamer.sdp")),
        ("OBS", include_str!("../../samples/offers/obs.sdp")),
    ]
}

/// The same browser as a viewer: it receives, and names no sources of its own.
pub(crate) fn viewer() -> String {
    without(&publisher().replace("a=sendonly", "a=recvonly"), &["a=ssrc", "a=msid:"])
}

/// Without the lines that begin with one of `starts`.
pub(crate) fn without(sdp: &str, starts: &[&str]) -> String {
    sdp.split_inclusive('\n').filter(|line| !starts.iter().any(|start| line.starts_with(start))).collect()
}

/// A fragment that trickles these lines into the first section (RFC 8840 section 4.4), with the credentials of the offer.
pub(crate) fn trickle(lines: &[&str]) -> String {
    let mut fragment =
        "a=ice-options:trickle ice2\r\na=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
        a=ice-ufrag:8JV2\r\na=ice-pwd:dievbe0Bv5hRdV9a0DQhreoL\r\n"
            .to_owned();
    for line in lines {
        fragment.push_str(line);
        fragment.push_str("\r\n");
    }
    fragment
}

/// A fragment that restarts ICE.
pub(crate) fn restart() -> String {
    trickle(&["a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host"])
        .replace("8JV2", "ysXw")
        .replace("dievbe0Bv5hRdV9a0DQhreoL", "vw5LmwG4y/e6dPP/zAP9Gp5k")
}

/// What is no offer, or none that can be taken.
pub(crate) fn malformed() -> Vec<(&'static str, String)> {
    let offer = publisher();
    vec![
        ("nothing", String::new()),
        ("prose", "Please let me in.".to_owned()),
        ("the first line", "v=0\r\n".to_owned()),
        ("no media", offer[..offer.find("m=").unwrap()].to_owned()),
        ("no ICE", without(&offer, &["a=ice-ufrag", "a=ice-pwd"])),
        ("no fingerprint", without(&offer, &["a=fingerprint"])),
        ("JSON", "{\"type\":\"offer\"}".to_owned()),
    ]
}

/// The values of an attribute, in order.
pub(crate) fn values<'a>(sdp: &'a str, attribute: &str) -> Vec<&'a str> {
    let start = format!("a={attribute}:");
    sdp.lines().filter_map(|line| line.strip_prefix(&start)).map(str::trim_end).collect()
}

/// The media sections of an SDP.
pub(crate) fn sections(sdp: &str) -> Vec<&str> {
    let starts: Vec<usize> = sdp.match_indices("\nm=").map(|(at, _)| at + 1).collect();
    let ends = starts.iter().skip(1).copied().chain([sdp.len()]);
    starts.iter().zip(ends).map(|(start, end)| &sdp[*start..end]).collect()
}
