//! RTCP of a viewer's session: what it says about its reception, and the reports it gets.
//!
//! RFC 3550 section 6 (reports), RFC 4585 section 6 (NACK, PLI), RFC 5104 section 4.3.1 (FIR), REMB
//! (draft-alvestrand-rmcat-remb-03). Reading never fails as a whole: what is malformed or unknown ends or is skipped.

use std::ops::ControlFlow;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
/// Feedback message types (`FMT`).
const NACK: u8 = 1;
const PLI: u8 = 1;
const FIR: u8 = 4;
const APPLICATION: u8 = 15;

/// Something a viewer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feedback {
    /// A report block about one of our sources.
    Report(ReceptionReport),
    /// These packets of a source are missing: the first, and a bit for each of the sixteen after it.
    Nack {
        /// The source.
        ssrc: u32,
        /// Sequence number of the first missing packet.
        first: u16,
        /// Bit `i` (from the lowest) stands for `first + 1 + i`.
        more: u16,
    },
    /// A source cannot be decoded without a keyframe (PLI or FIR).
    Keyframe {
        /// The source.
        ssrc: u32,
    },
    /// What the viewer believes its way carries, in bits per second.
    Remb {
        /// Bits per second.
        bps: u64,
    },
    /// It leaves.
    Goodbye,
}

/// A report block (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReceptionReport {
    /// The source that is reported on.
    pub(crate) ssrc: u32,
    /// Share of packets lost since the last report, in 1/256.
    pub(crate) fraction_lost: u8,
    /// Packets lost since the beginning; what comes twice, or late, is taken off again.
    pub(crate) lost: i32,
    /// The highest sequence number received, extended by the number of its wraps.
    pub(crate) highest: u32,
    /// The middle 32 bits of the NTP time of the last sender report it got; 0 for none.
    pub(crate) last_report: u32,
    /// Since it got that, in 1/65536 s.
    pub(crate) delay: u32,
}

/// Hands each statement in a compound packet to `each`.
pub(crate) fn read(mut compound: &[u8], mut each: impl FnMut(Feedback)) {
    while let ControlFlow::Continue(rest) = read_one(compound, &mut each) {
        compound = rest;
    }
}

fn read_one<'a>(bytes: &'a [u8], each: &mut impl FnMut(Feedback)) -> ControlFlow<(), &'a [u8]> {
    let &[first, kind, high, low, ..] = bytes else { return ControlFlow::Break(()) };
    let length = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
    let Some((packet, rest)) = bytes.split_at_checked(length).filter(|_| first >> 6 == 2) else {
        return ControlFlow::Break(());
    };
    let body = &packet[4..];
    let count = first & 0x1f;
    match (kind, count) {
        (SENDER_REPORT, _) => report_blocks(body.get(24..), count, each),
        (RECEIVER_REPORT, _) => report_blocks(body.get(4..), count, each),
        (GOODBYE, _) => each(Feedback::Goodbye),
        (TRANSPORT_FEEDBACK, NACK) => nacks(body, each),
        (PAYLOAD_FEEDBACK, PLI) => {
            if let Some(ssrc) = word(body, 4) {
                each(Feedback::Keyframe { ssrc });
            }
        }
        (PAYLOAD_FEEDBACK, FIR) => {
            for entry in body.get(8..).unwrap_or_default().chunks_exact(8) {
                each(Feedback::Keyframe { ssrc: word(entry, 0).unwrap_or_default() });
            }
        }
        (PAYLOAD_FEEDBACK, APPLICATION) => remb(body, each),
        _ => {}
    }
    ControlFlow::Continue(rest)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn report_blocks(blocks: Option<&[u8]>, count: u8, each: &mut impl FnMut(Feedback)) {
    for block in blocks.unwrap_or_default().chunks_exact(24).take(usize::from(count)) {
        let read = |at| word(block, at).unwrap_or_default();
        each(Feedback::Report(ReceptionReport {
            ssrc: read(0),
            fraction_lost: block[4],
            // 24 bits with a sign.
            lost: ((read(4) << 8) as i32) >> 8,
            highest: read(8),
            last_report: read(16),
            delay: read(20),
        }));
    }
}

fn nacks(body: &[u8], each: &mut impl FnMut(Feedback)) {
    let Some(ssrc) = word(body, 4) else { return };
    for entry in body.get(8..).unwrap_or_default().chunks_exact(4) {
        let first = u16::from_be_bytes([entry[0], entry[1]]);
        each(Feedback::Nack { ssrc, first, more: u16::from_be_bytes([entry[2], entry[3]]) });
    }
}

fn remb(body: &[u8], each: &mut impl FnMut(Feedback)) {
    if body.get(8..12) == Some(b"REMB")
        && let Some(value) = word(body, 12)
    {
        let (exponent, mantissa) = (value >> 18 & 0x3f, u64::from(value & 0x3_ffff));
        // 18 bits of mantissa and more than 46 of exponent are no bitrate.
        if let Some(bps) = mantissa.checked_shl(exponent).filter(|_| exponent < 46) {
            each(Feedback::Remb { bps });
        }
    }
}

/// What a sender report says about one source (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SenderInfo {
    pub(crate) ssrc: u32,
    /// Wall clock, NTP 32.32 fixed point.
    pub(crate) ntp: u64,
    /// The same moment on the source's RTP clock.
    pub(crate) rtp_timestamp: u32,
    pub(crate) packets: u32,
    pub(crate) bytes: u32,
}

/// A sender report with the source's name: a compound packet (RFC 3550 section 6.1).
pub(crate) fn sender_report(info: &SenderInfo, cname: &str) -> Vec<u8> {
    let mut packet = Vec::with_capacity(64);
    header(&mut packet, 0, SENDER_REPORT, 24);
    packet.extend(info.ssrc.to_be_bytes());
    packet.extend(info.ntp.to_be_bytes());
    for value in [info.rtp_timestamp, info.packets, info.bytes] {
        packet.extend(value.to_be_bytes());
    }
    describe(&mut packet, info.ssrc, cname);
    packet
}

/// The sources' farewell: an empty receiver report, because a compound packet begins with a report, a name, and BYE
/// (RFC 3550 section 6.6).
pub(crate) fn goodbye(ssrcs: &[u32], cname: &str) -> Vec<u8> {
    let mut packet = Vec::with_capacity(64);
    let ssrc = ssrcs.first().copied().unwrap_or_default();
    header(&mut packet, 0, RECEIVER_REPORT, 4);
    packet.extend(ssrc.to_be_bytes());
    describe(&mut packet, ssrc, cname);
    let count = ssrcs.len().min(31);
    header(&mut packet, u8::try_from(count).unwrap_or(31), GOODBYE, count * 4);
    ssrcs.iter().take(count).for_each(|ssrc| packet.extend(ssrc.to_be_bytes()));
    packet
}

fn header(packet: &mut Vec<u8>, count: u8, kind: u8, body: usize) {
    let words = u16::try_from(body / 4).unwrap_or(u16::MAX);
    packet.extend([0x80 | count, kind]);
    packet.extend(words.to_be_bytes());
}

/// Source description with a CNAME (RFC 3550 section 6.5).
fn describe(packet: &mut Vec<u8>, ssrc: u32, cname: &str) {
    let name = &cname.as_bytes()[..cname.len().min(255)];
    // Type, length, the name, and at least one zero, up to a word's border.
    let items = (2 + name.len() + 1).next_multiple_of(4);
    header(packet, 1, DESCRIPTION, 4 + items);
    packet.extend(ssrc.to_be_bytes());
    packet.extend([1, u8::try_from(name.len()).unwrap_or(255)]);
    packet.extend(name);
    packet.extend(std::iter::repeat_n(0, items - 2 - name.len()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(bytes: &[u8]) -> Vec<Feedback> {
        let mut said = Vec::new();
        read(bytes, |feedback| said.push(feedback));
        said
    }

    #[test]
    fn reports_nacks_plis_firs_and_remb_in_one_compound_are_all_heard() {
        let mut packet =
            vec![0x81, 201, 0, 7, 0, 0, 0, 1, 0, 0, 0, 9, 64, 255, 255, 254, 0, 0, 0, 5, 0, 0, 0, 6];
        packet.extend([0, 0, 0, 7, 0, 0, 0, 8]);
        packet.extend([0x81, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 9, 0xff, 0xff, 0x80, 1]);
        packet.extend([0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 9]);
        packet.extend([0x84, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 10, 1, 0, 0, 0]);
        // 0x3ffff << 2.
        packet.extend([0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B']);
        packet.extend([1, 0b0000_1011, 0xff, 0xff, 0, 0, 0, 9]);
        packet.extend([0x81, 203, 0, 1, 0, 0, 0, 1]);
        let report =
            ReceptionReport { ssrc: 9, fraction_lost: 64, lost: -2, highest: 5, last_report: 7, delay: 8 };
        assert_eq!(
            said(&packet),
            [
                Feedback::Report(report),
                Feedback::Nack { ssrc: 9, first: 0xffff, more: 0x8001 },
                Feedback::Keyframe { ssrc: 9 },
                Feedback::Keyframe { ssrc: 10 },
                Feedback::Remb { bps: 0x3_ffff << 2 },
                Feedback::Goodbye,
            ]
        );
    }

    #[test]
    fn a_sender_report_and_a_farewell_are_as_the_rfc_draws_them() {
        let info =
            SenderInfo { ssrc: 7, ntp: 0x0102_0304_0506_0708, rtp_timestamp: 90, packets: 5, bytes: 60 };
        let name = [0x81, 202, 0, 3, 0, 0, 0, 7, 1, 2, b's', b'w', 0, 0, 0, 0];
        let mut expected = vec![0x80, 200, 0, 6, 0, 0, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 90, 0, 0, 0, 5];
        expected.extend([0, 0, 0, 60]);
        expected.extend(name);
        assert_eq!(sender_report(&info, "sw"), expected);
        let mut expected = vec![0x80, 201, 0, 1, 0, 0, 0, 7];
        expected.extend(name);
        expected.extend([0x82, 203, 0, 2, 0, 0, 0, 7, 0, 0, 0, 8]);
        assert_eq!(goodbye(&[7, 8], "sw"), expected);
        assert_eq!(said(&goodbye(&[7, 8], "sw")), [Feedback::Goodbye]);
    }

    proptest! {
        #[test]
        fn no_bytes_from_outside_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            said(&bytes);
        }

        #[test]
        fn no_well_framed_nonsense_makes_it_panic(
            packets in proptest::collection::vec(
                (0u8..32, 199u8..208, proptest::collection::vec(any::<u8>(), 0..40)), 1..5)
        ) {
            let mut bytes = Vec::new();
            for (count, kind, mut body) in packets {
                body.truncate(body.len() / 4 * 4);
                header(&mut bytes, count, kind, body.len());
                bytes.extend(body);
            }
            said(&bytes);
        }
    }
}
