//! The RTCP a viewer sends: receiver reports, keyframe requests, bandwidth feedback, good-bye.

use crate::counter::Reception;

/// A compound packet in the making: every one begins with a receiver report and a name (RFC 3550 section 6.1).
#[derive(Debug)]
pub(crate) struct Compound {
    sender: u32,
    bytes: Vec<u8>,
}

const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
/// A report has room for so many blocks (RFC 3550 section 6.4.2).
const MAX_BLOCKS: usize = 31;

impl Compound {
    /// Begins with what was received of each source. `name` is the CNAME.
    pub(crate) fn new(sender: u32, receptions: &[(u32, Reception)], name: &str) -> Self {
        let mut compound = Self { sender, bytes: Vec::with_capacity(128) };
        let receptions = &receptions[..receptions.len().min(MAX_BLOCKS)];
        let mut body = Vec::new();
        for (ssrc, r) in receptions {
            body.extend(ssrc.to_be_bytes());
            body.extend((u32::from(r.fraction_lost) << 24 | r.cumulative_lost & 0xff_ffff).to_be_bytes());
            body.extend(r.highest.to_be_bytes());
            body.extend(r.jitter.to_be_bytes());
            // No sender report was read, so there is none to refer to: both fields are 0.
            body.extend([0; 8]);
        }
        compound.push(receptions.len() as u8, RECEIVER_REPORT, &body);
        let mut description = vec![1, name.len() as u8];
        description.extend(name.bytes().take(255));
        // At least one byte of zero ends the list (RFC 3550 section 6.5).
        description.resize((description.len() + 1).next_multiple_of(4), 0);
        compound.push(1, SOURCE_DESCRIPTION, &description);
        compound
    }

    /// Asks for a keyframe of `source` (RFC 4585 section 6.3.1).
    pub(crate) fn picture_loss(mut self, source: u32) -> Self {
        self.push(1, PAYLOAD_FEEDBACK, &source.to_be_bytes());
        self
    }

    /// Says how much may be sent (draft-alvestrand-rmcat-remb-03 section 2.2).
    pub(crate) fn receiver_estimate(mut self, bits_per_second: u64, sources: &[u32]) -> Self {
        let mut exponent = 0_u32;
        while bits_per_second >> exponent > 0x3_ffff {
            exponent += 1;
        }
        let mantissa = (bits_per_second >> exponent) as u32;
        let mut body = vec![0; 4];
        body.extend(b"REMB");
        body.extend(((sources.len() as u32) << 24 | exponent << 18 | mantissa).to_be_bytes());
        body.extend(sources.iter().flat_map(|source| source.to_be_bytes()));
        self.push(15, PAYLOAD_FEEDBACK, &body);
        self
    }

    /// Transport-wide feedback, as `twcc` wrote it behind the sender's SSRC.
    pub(crate) fn transport_feedback(mut self, source: u32, content: &[u8]) -> Self {
        let mut body = source.to_be_bytes().to_vec();
        body.extend_from_slice(content);
        self.push(15, TRANSPORT_FEEDBACK, &body);
        self
    }

    /// Says good-bye.
    pub(crate) fn goodbye(mut self) -> Self {
        self.push(1, GOODBYE, &[]);
        self
    }

    /// The whole packet.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Adds one packet with our SSRC in front of `body`, whose length is a multiple of four.
    fn push(&mut self, count: u8, packet_type: u8, body: &[u8]) {
        debug_assert!(body.len().is_multiple_of(4), "RTCP comes in words");
        let words = (body.len() / 4 + 1) as u16;
        self.bytes.extend([0x80 | count, packet_type]);
        self.bytes.extend(words.to_be_bytes());
        self.bytes.extend(self.sender.to_be_bytes());
        self.bytes.extend_from_slice(body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Count or format, type and body (behind the sender's SSRC) of each packet of a compound.
    fn read(mut bytes: &[u8]) -> Vec<(u8, u8, Vec<u8>)> {
        let mut packets = Vec::new();
        while !bytes.is_empty() {
            assert_eq!((bytes[0] >> 6, &bytes[4..8]), (2, [0, 0, 0, 7].as_slice()));
            let length = 4 + 4 * usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
            packets.push((bytes[0] & 0x1f, bytes[1], bytes[8..length].to_vec()));
            bytes = &bytes[length..];
        }
        packets
    }

    #[test]
    fn a_compound_is_laid_out_as_the_rfcs_say() {
        let reception = Reception { fraction_lost: 12, cumulative_lost: 34, highest: 0x1_0005, jitter: 9 };
        let bytes = Compound::new(7, &[(1000, reception), (2000, reception)], "viewer-1")
            .picture_loss(1000)
            .receiver_estimate(10_000_000, &[1000])
            .transport_feedback(1000, &[0; 12])
            .goodbye()
            .into_bytes();
        let packets = read(&bytes);
        let kinds: Vec<_> = packets.iter().map(|(count, kind, body)| (*count, *kind, body.len())).collect();
        assert_eq!(
            kinds,
            [(2, 201, 48), (1, 202, 12), (1, 206, 4), (15, 206, 16), (15, 205, 16), (1, 203, 0)]
        );
        assert_eq!(
            packets[0].2[24..],
            [0, 0, 7, 208, 12, 0, 0, 34, 0, 1, 0, 5, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(packets[1].2, *b"\x01\x08viewer-1\0\0");
        assert_eq!(packets[2].2, [0, 0, 3, 232]);
        // 10 Mbit/s is 156250 << 6.
        assert_eq!(packets[3].2[4..12], [b'R', b'E', b'M', b'B', 1, 6 << 2 | 2, 0x62, 0x5a]);
    }
}
