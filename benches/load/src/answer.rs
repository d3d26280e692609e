//! What a viewer must know from a server's answer. Read leniently: servers differ, and only what is needed can be wrong.

use crate::keyframe::Codec;
use std::net::{IpAddr, SocketAddr};

/// The parts of an answer that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) ufrag: String,
    pub(crate) password: String,
    /// SHA-256 of the server's certificate.
    pub(crate) fingerprint: Vec<u8>,
    /// The server waits for our ClientHello.
    pub(crate) passive: bool,
    /// Where the server is, UDP only.
    pub(crate) candidates: Vec<SocketAddr>,
    /// Codec and clock rate in Hz by payload type.
    pub(crate) payloads: Vec<(u8, Codec, u32)>,
    /// The server stamps packets with transport-wide sequence numbers under this extension id.
    pub(crate) transport_sequence: Option<u8>,
}

/// Why an answer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("the answer is not SDP: {0:?}")]
    NotSdp(String),
    #[error("the answer has no {0}")]
    Missing(&'static str),
    #[error("the answer takes none of the media offered")]
    NothingTaken,
    #[error("the answer's fingerprint is {0}, not sha-256")]
    Fingerprint(String),
}

impl Answer {
    /// Reads an answer. Attributes of the session hold for all sections; of several sections the first word counts, since all are one
    /// bundle.
    pub(crate) fn read(text: &str) -> Result<Self, AnswerError> {
        if !text.trim_start().starts_with("v=0") {
            return Err(AnswerError::NotSdp(text.chars().take(40).collect()));
        }
        let mut reading = Reading::default();
        for line in text.lines() {
            reading.take(line.trim())?;
        }
        if reading.payloads.is_empty() {
            return Err(AnswerError::NothingTaken);
        }
        Ok(Self {
            ufrag: reading.ufrag.ok_or(AnswerError::Missing("a=ice-ufrag"))?,
            password: reading.password.ok_or(AnswerError::Missing("a=ice-pwd"))?,
            fingerprint: reading.fingerprint.ok_or(AnswerError::Missing("a=fingerprint"))?,
            passive: reading.setup.as_deref() != Some("active"),
            candidates: reading.candidates,
            payloads: reading.payloads,
            transport_sequence: reading.transport_sequence,
        })
    }
}

#[derive(Default)]
struct Reading {
    ufrag: Option<String>,
    password: Option<String>,
    fingerprint: Option<Vec<u8>>,
    setup: Option<String>,
    candidates: Vec<SocketAddr>,
    payloads: Vec<(u8, Codec, u32)>,
    transport_sequence: Option<u8>,
    /// Payload types of the section being read; none when it is rejected.
    section: Vec<u8>,
}

impl Reading {
    fn take(&mut self, line: &str) -> Result<(), AnswerError> {
        if let Some(media) = line.strip_prefix("m=") {
            let mut words = media.split_whitespace().skip(1);
            let rejected = words.next() == Some("0");
            self.section = words.skip(1).filter_map(|pt| pt.parse().ok()).collect();
            if rejected {
                self.section.clear();
            }
            return Ok(());
        }
        let Some(attribute) = line.strip_prefix("a=") else { return Ok(()) };
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        let value = value.trim();
        match name {
            "ice-ufrag" => put_first(&mut self.ufrag, value),
            "ice-pwd" => put_first(&mut self.password, value),
            "setup" => put_first(&mut self.setup, value),
            "fingerprint" if self.fingerprint.is_none() => self.fingerprint = Some(fingerprint(value)?),
            "candidate" => self.take_candidate(value),
            "rtpmap" => self.take_payload(value),
            "extmap" if value.contains("transport-wide-cc") => {
                let id = value.split(['/', ' ']).next().and_then(|id| id.parse().ok());
                self.transport_sequence = self.transport_sequence.or(id);
            }
            _ => {}
        }
        Ok(())
    }

    /// RFC 8839 section 5.1: foundation, component, transport, priority, address, port, ..
    fn take_candidate(&mut self, value: &str) {
        let words: Vec<_> = value.split_whitespace().collect();
        let [_, "1", transport, _, address, port, ..] = words[..] else { return };
        if transport.eq_ignore_ascii_case("udp")
            && let (Ok(ip), Ok(port)) = (address.parse::<IpAddr>(), port.parse())
            && !self.candidates.contains(&SocketAddr::new(ip, port))
        {
            self.candidates.push(SocketAddr::new(ip, port));
        }
    }

    fn take_payload(&mut self, value: &str) {
        let Some((pt, encoding)) = value.split_once(' ') else { return };
        let mut parts = encoding.trim().split('/');
        let codec = parts.next().and_then(Codec::from_rtpmap);
        let rate = parts.next().and_then(|rate| rate.parse().ok());
        if let (Ok(pt), Some(codec), Some(rate)) = (pt.parse(), codec, rate)
            && self.section.contains(&pt)
        {
            self.payloads.push((pt, codec, rate));
        }
    }
}

fn put_first(slot: &mut Option<String>, value: &str) {
    slot.get_or_insert_with(|| value.to_owned());
}

fn fingerprint(value: &str) -> Result<Vec<u8>, AnswerError> {
    let wrong = || AnswerError::Fingerprint(value.chars().take(16).collect());
    let (hash, hex) = value.split_once(' ').ok_or_else(wrong)?;
    if !hash.eq_ignore_ascii_case("sha-256") {
        return Err(wrong());
    }
    let bytes: Result<Vec<u8>, _> = hex.trim().split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
    bytes.ok().filter(|bytes| bytes.len() == 32).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print() -> String {
        vec!["0a"; 32].join(":")
    }

    #[test]
    fn session_attributes_hold_for_all_sections_and_rejected_ones_are_left_out() {
        let text = format!(
            "v=0\no=- 1 1 IN IP4 0.0.0.0\na=ice-lite\na=ice-ufrag:u\na=ice-pwd:p\na=fingerprint:SHA-256 {}\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 111\na=setup:passive\na=rtpmap:111 OPUS/48000/2\n\
             a=candidate:1 1 UDP 1 127.0.0.1 8000 typ host\na=candidate:2 1 TCP 1 127.0.0.1 8000 typ host tcptype passive\n\
             a=candidate:3 1 udp 1 name.local 8000 typ host\na=candidate:1 1 udp 1 127.0.0.1 8000 typ host\n\
             m=video 0 UDP/TLS/RTP/SAVPF 96\na=rtpmap:96 VP8/90000\n\
             m=video 9 UDP/TLS/RTP/SAVPF 102 103\na=rtpmap:102 H264/90000\na=rtpmap:103 rtx/90000\n\
             a=extmap:3/recvonly http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\n",
            print()
        );
        let answer = Answer::read(&text).unwrap();
        assert_eq!((answer.ufrag.as_str(), answer.password.as_str(), answer.passive), ("u", "p", true));
        assert_eq!(answer.fingerprint, [10; 32]);
        assert_eq!(answer.candidates, ["127.0.0.1:8000".parse().unwrap()]);
        let expected = [(111, Codec::Opus, 48_000), (102, Codec::H264, 90_000), (103, Codec::Repair, 90_000)];
        assert_eq!(answer.payloads, expected);
        assert_eq!(answer.transport_sequence, Some(3));
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        assert!(matches!(Answer::read("<html>no</html>"), Err(AnswerError::NotSdp(_))));
        assert_eq!(Answer::read("v=0\nm=video 0 X 96\n"), Err(AnswerError::NothingTaken));
        let media = "v=0\nm=video 9 X 96\na=rtpmap:96 VP8/90000\n";
        assert_eq!(Answer::read(media), Err(AnswerError::Missing("a=ice-ufrag")));
        let sha1 = format!("{media}a=fingerprint:sha-1 00:11\n");
        assert!(matches!(Answer::read(&sha1), Err(AnswerError::Fingerprint(_))));
    }
}
