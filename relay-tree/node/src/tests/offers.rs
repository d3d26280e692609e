//! Offers of real clients are answered; malformed ones are refused, each in its own words.

use super::*;
use crate::OfferError;
use skywave_media::codec::{Codec, TrackKind};
use std::path::Path;

fn sample(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples/offers").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn ask(node: &Node, offer: impl Into<String>) -> Result<crate::PublishAnswer, OfferError> {
    let (events, _inbox) = mpsc::channel(8);
    wait(node.publish(PublishRequest { stream: "demo".to_owned(), offer: offer.into(), events }))
}

#[test]
fn every_real_client_is_answered_with_what_it_offers() {
    use Codec::{Av1, H264, Opus, Vp8, Vp9};
    type Lane<'a> = (TrackKind, &'a [Codec]);
    let clients: [(&str, &[Lane<'_>]); 9] = [
        ("chromium.sdp", &[(TrackKind::Audio, &[Opus]), (TrackKind::Video, &[Vp8, H264, Av1, Vp9])]),
        ("chromium-audio.sdp", &[(TrackKind::Audio, &[Opus])]),
        (
            "chromium-simulcast.sdp",
            &[(TrackKind::Audio, &[Opus]), (TrackKind::Video, &[Vp8, H264, Av1, Vp9])],
        ),
        (
            "chromium-datachannel.sdp",
            &[(TrackKind::Audio, &[Opus]), (TrackKind::Video, &[Vp8, H264, Av1, Vp9])],
        ),
        ("firefox.sdp", &[(TrackKind::Audio, &[Opus]), (TrackKind::Video, &[Vp8, Vp9, Av1])]),
        ("firefox-simulcast.sdp", &[(TrackKind::Audio, &[Opus]), (TrackKind::Video, &[Vp8, Vp9, Av1])]),
        ("gstreamer.sdp", &[(TrackKind::Video, &[Vp8]), (TrackKind::Audio, &[Opus])]),
        ("gstreamer-h264.sdp", &[(TrackKind::Video, &[H264])]),
        ("obs.sdp", &[(TrackKind::Audio, &[Opus]), (TrackKind::Video, &[H264])]),
    ];
    let node = start(loopback_config());
    for (name, tracks) in clients {
        let offer = sample(name);
        let answer = ask(&node, offer.clone()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let told: Vec<Lane<'_>> = answer.tracks.iter().map(|t| (t.kind, &t.codecs[..])).collect();
        assert_eq!(told, tracks, "{name}");
        check_answer(name, &offer, &answer.answer);
    }
}

/// What RFC 3264, 8829 and 9143 want of every answer.
fn check_answer(name: &str, offer: &str, answer: &str) {
    let sections = |sdp: &str| -> Vec<String> {
        let media = sdp.split("\r\nm=").skip(1);
        media.map(str::to_owned).collect()
    };
    let (offered, answered) = (sections(offer), sections(answer));
    assert_eq!(offered.len(), answered.len(), "{name}: one section for each");
    assert!(answer.starts_with("v=0\r\no=- ") && answer.ends_with("\r\n"), "{name}");
    assert!(answer.contains("\r\na=ice-lite\r\n"), "{name}");
    let mut accepted = 0;
    for (offered, answered) in offered.iter().zip(&answered) {
        let lines = |s: &str| s.split("\r\n").map(str::to_owned).collect::<Vec<_>>();
        let (offered, answered) = (lines(offered), lines(answered));
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (m_offered, m_answered) = (words(&offered[0]), words(&answered[0]));
        assert_eq!((&m_offered[0], &m_offered[2]), (&m_answered[0], &m_answered[2]), "{name}");
        let mid = |lines: &[String]| lines.iter().find(|l| l.starts_with("a=mid:")).cloned();
        assert_eq!(mid(&offered), mid(&answered), "{name}");
        if m_answered[1] == "0" {
            continue;
        }
        accepted += 1;
        assert!(
            m_answered[3..].iter().all(|pt| m_offered[3..].contains(pt)),
            "{name}: no payload type of our own"
        );
        for wanted in ["a=recvonly", "a=rtcp-mux", "a=setup:passive"] {
            assert!(answered.iter().any(|l| l == wanted), "{name}: {wanted}");
        }
        for line in answered
            .iter()
            .filter(|l| ["a=extmap:", "a=rtcp-fb:", "a=rtpmap:"].iter().any(|p| l.starts_with(p)))
        {
            // What is offered to be sent is answered to be received.
            let mirrored = line.replace("/recvonly ", "/sendonly ");
            assert!(offered.contains(&mirrored), "{name}: {line} was not offered");
        }
        assert_eq!(
            answered.iter().filter(|l| l.starts_with("a=candidate:")).count(),
            // By UDP and by TCP, in the first section of the bundle alone.
            if accepted == 1 { 2 } else { 0 }
        );
    }
    assert!(accepted > 0, "{name}");
}

#[test]
fn the_answer_to_chromium_is_written_so() {
    let node = start(loopback_config());
    let answer = ask(&node, sample("chromium-audio.sdp")).unwrap().answer;
    let port = node.local_addrs()[0].port();
    let masked = |line: &str| {
        for prefix in ["a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:sha-256 ", "o=- "] {
            if line.starts_with(prefix) {
                return format!("{prefix}..");
            }
        }
        line.to_owned()
    };
    let lines: Vec<String> = answer.lines().map(masked).collect();
    let candidate = format!("a=candidate:1 1 udp 2130706431 127.0.0.1 {port} typ host");
    let tcp = format!("a=candidate:2 1 tcp 1526726399 127.0.0.1 {port} typ host tcptype passive");
    let expected = [
        "v=0",
        "o=- ..",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "a=extmap-allow-mixed",
        "a=ice-lite",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "c=IN IP4 0.0.0.0",
        "a=rtcp:9 IN IP4 0.0.0.0",
        "a=ice-ufrag:..",
        "a=ice-pwd:..",
        "a=ice-options:trickle ice2",
        "a=fingerprint:sha-256 ..",
        "a=setup:passive",
        "a=mid:0",
        "a=recvonly",
        "a=rtcp-mux",
        "a=rtcp-rsize",
        "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
        "a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
        "a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
        "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid",
        "a=rtpmap:111 opus/48000/2",
        "a=rtcp-fb:111 transport-cc",
        "a=fmtp:111 minptime=10;useinbandfec=1;stereo=1",
        &candidate,
        &tcp,
        "a=end-of-candidates",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn sections_that_are_no_media_are_rejected_in_their_place_and_a_second_camera_as_a_whole() {
    let node = start(loopback_config());
    let offer = sample("chromium-datachannel.sdp");
    let answer = ask(&node, offer.clone()).unwrap().answer;
    let m: Vec<&str> = answer.lines().filter(|l| l.starts_with("m=")).collect();
    assert!(m[0].starts_with("m=audio 9 ") && m[1].starts_with("m=video 9 "));
    assert_eq!(m[2..], ["m=application 0 UDP/DTLS/SCTP webrtc-datachannel"]);
    assert!(answer.contains("a=group:BUNDLE 0 1\r\n"));
    let second = offer[offer.find("m=video").unwrap()..offer.find("m=application").unwrap()]
        .replace("a=mid:1", "a=mid:7");
    let offer = offer.replace("BUNDLE 0 1 2", "BUNDLE 0 1 2 7");
    assert_eq!(ask(&node, format!("{offer}{second}")), Err(OfferError::SecondOfKind { section: 3 }));
}

#[test]
fn simulcast_is_accepted_layer_by_layer() {
    let node = start(loopback_config());
    for name in ["chromium-simulcast.sdp", "firefox-simulcast.sdp"] {
        let answer = ask(&node, sample(name)).unwrap().answer;
        for line in ["a=rid:q recv", "a=rid:h recv", "a=rid:f recv", "a=simulcast:recv q;h;f"] {
            assert!(answer.contains(&format!("{line}\r\n")), "{name}: {line}");
        }
    }
}

/// Chromium's offer with every occurrence of a text replaced.
fn chromium(from: &str, to: &str) -> String {
    let offer = sample("chromium.sdp");
    assert!(offer.contains(from), "{from}");
    offer.replace(from, to)
}

/// Chromium's offer without the lines that begin so.
fn without(prefix: &str) -> String {
    let offer = sample("chromium.sdp");
    let kept: Vec<&str> = offer.split_inclusive("\r\n").filter(|l| !l.starts_with(prefix)).collect();
    assert!(kept.len() < offer.lines().count(), "{prefix}");
    kept.concat()
}

/// Chromium's offer with all lines that begin so replaced by one.
fn with(prefix: &str, line: &str) -> String {
    sample("chromium.sdp")
        .split_inclusive("\r\n")
        .map(|l| if l.starts_with(prefix) { format!("{line}\r\n") } else { l.to_owned() })
        .collect()
}

#[test]
fn every_malformed_offer_is_refused_in_its_own_words_and_nothing_is_kept() {
    use OfferError as E;
    let audio = sample("chromium-audio.sdp");
    let not_sdp = |line, reason| E::NotSdp { line, reason };
    let head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
    let small_letter = "a line begins with a small letter";
    let table: Vec<(&str, String, OfferError)> = vec![
        ("nothing", String::new(), not_sdp(1, "a line is a letter, `=` and a value")),
        ("JSON", r#"{"type":"offer","sdp":"v=0"}"#.to_owned(), not_sdp(1, "a line begins with one letter")),
        ("HTML", "<html><body></body></html>".to_owned(), not_sdp(1, "a line is a letter, `=` and a value")),
        ("binary", "\u{0}\u{1}\u{2}=\u{ffff}".to_owned(), not_sdp(1, "a line begins with one letter")),
        ("another version", chromium("v=0", "v=1"), not_sdp(1, "the first line is v=0")),
        (
            "a control character",
            chromium("s=-", "s=\u{1b}[31m"),
            not_sdp(3, "a line has no control characters"),
        ),
        ("a capital letter", chromium("s=-", "S=-"), not_sdp(3, small_letter)),
        (
            "an empty line",
            chromium("s=-\r\n", "s=-\r\n\r\n"),
            not_sdp(4, "a line is a letter, `=` and a value"),
        ),
        (
            "an m= line cut short",
            format!("{head}m=audio 9\r\n"),
            not_sdp(5, "m= needs media, port, protocol and formats"),
        ),
        (
            "a port beyond ports",
            chromium("m=audio 33981", "m=audio 99999"),
            not_sdp(8, "m= needs media, port, protocol and formats"),
        ),
        (
            "a mebibyte",
            format!("{audio}a=x:{}", "x".repeat(1 << 20)),
            E::TooLarge { bytes: audio.len() + 4 + (1 << 20), limit: 65_536 },
        ),
        ("no media", head.to_owned(), E::NoMedia),
        (
            "a data channel only",
            format!("{head}m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"),
            E::NoMedia,
        ),
        (
            "100 sections",
            format!("{head}{}", "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n".repeat(100)),
            E::TooManyTracks { sections: 100, limit: 32 },
        ),
        ("a viewer's offer", chromium("a=sendonly", "a=recvonly"), E::NotSendable { offered: "recvonly" }),
        ("an idle offer", chromium("a=sendonly", "a=inactive"), E::NotSendable { offered: "inactive" }),
        (
            "plain RTP",
            chromium("UDP/TLS/RTP/SAVPF", "RTP/AVP"),
            E::NotSecure { section: 0, protocol: "RTP/AVP".to_owned() },
        ),
        (
            "RTP over TCP",
            chromium("UDP/TLS/RTP/SAVPF", "TCP/TLS/RTP/SAVPF"),
            E::NotSecure { section: 0, protocol: "TCP/TLS/RTP/SAVPF".to_owned() },
        ),
        ("no rtcp-mux", without("a=rtcp-mux"), E::NoRtcpMux { section: 0 }),
        ("an ice-lite client", chromium("t=0 0\r\n", "t=0 0\r\na=ice-lite\r\n"), E::IceLite),
        ("no ufrag", without("a=ice-ufrag"), E::NoIce),
        ("no password", without("a=ice-pwd"), E::NoIce),
        ("a short password", with("a=ice-pwd", "a=ice-pwd:tooshort"), E::BadIce),
        ("a ufrag with a space", with("a=ice-ufrag", "a=ice-ufrag:ab cd"), E::BadIce),
        ("no fingerprint", without("a=fingerprint"), E::NoFingerprint),
        ("a fingerprint by SHA-1", with("a=fingerprint", "a=fingerprint:sha-1 AB:CD"), E::BadFingerprint),
        ("half a fingerprint", with("a=fingerprint", "a=fingerprint:sha-256 AB:CD:EF"), E::BadFingerprint),
        (
            "a passive client",
            chromium("a=setup:actpass", "a=setup:passive"),
            E::BadSetup { offered: "passive".to_owned() },
        ),
        (
            "a client on hold",
            chromium("a=setup:actpass", "a=setup:holdconn"),
            E::BadSetup { offered: "holdconn".to_owned() },
        ),
        ("no bundle", without("a=group"), E::NotBundled),
        ("half a bundle", chromium("BUNDLE 0 1", "BUNDLE 0"), E::NotBundled),
        ("no mids", without("a=mid"), E::NotBundled),
        (
            "one mid for two",
            chromium("a=mid:1", "a=mid:0"),
            E::BadSection { section: 1, reason: "its a=mid is used twice" },
        ),
        (
            "a mid that is no token",
            chromium("a=mid:0", "a=mid:<0>").replace("BUNDLE 0", "BUNDLE <0>"),
            E::BadSection { section: 0, reason: "its a=mid is no token of at most 16 characters" },
        ),
        (
            "unknown codecs",
            audio.replace("opus/48000", "speex/16000").replace("110 126", "110"),
            E::NoUsableCodec {
                kind: TrackKind::Audio,
                offered: "speex, red, G722, PCMU, PCMA, CN, telephone-event".to_owned(),
            },
        ),
        (
            "Opus at a wrong rate",
            audio.replace("opus/48000/2", "opus/16000/2").replace("111 63 9 0 8 13 110 126", "111"),
            E::NoUsableCodec { kind: TrackKind::Audio, offered: "opus".to_owned() },
        ),
        (
            "no formats that are mapped",
            audio.replace("111 63 9 0 8 13 110 126", "96"),
            E::NoUsableCodec { kind: TrackKind::Audio, offered: "none".to_owned() },
        ),
        (
            "a payload type in words",
            audio.replace("SAVPF 111", "SAVPF opus"),
            E::BadSection { section: 0, reason: "a payload type is a number below 128" },
        ),
        (
            "a payload type beyond seven bits",
            audio.replace("SAVPF 111", "SAVPF 200"),
            E::BadSection { section: 0, reason: "a payload type is a number below 128" },
        ),
        (
            "a payload type for two codecs",
            chromium("SAVPF 96 97", "SAVPF 96 111 97")
                .replace("a=rtpmap:97", "a=rtpmap:111 VP9/90000\r\na=rtpmap:97"),
            E::AmbiguousPayloadType { payload_type: 111 },
        ),
    ];
    assert!(table.len() >= 25);
    let node = start(loopback_config());
    for (name, offer, expected) in table {
        let error = ask(&node, offer).expect_err(name);
        assert_eq!(error, expected, "{name}");
        assert!(error.is_clients_fault() && !error.to_string().is_empty(), "{name}");
    }
    assert_eq!(node.stats().total(), crate::ThreadStats { addrs: node.local_addrs(), ..Default::default() });
}
