//! Datagrams where webrtcbin meets the network: SRTP and SRTCP, whose headers can be read.

use gstreamer as gst;
use gstreamer::prelude::*;

/// Length of the fixed RTP header (RFC 3550 section 5.1), in bytes.
pub(crate) const RTP_HEADER_BYTES: usize = 12;

/// Whether a datagram of RTP and RTCP on one port is RTCP (RFC 5761 section 4).
pub(crate) fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [0x80..=0xbf, 192..=223, ..])
}

/// Whether a datagram is RTP (RFC 7983 section 7).
pub(crate) fn is_rtp(datagram: &[u8]) -> bool {
    matches!(datagram, [0x80..=0xbf, ..]) && !is_rtcp(datagram)
}

/// Calls `heard` with the first bytes (an RTP header's length at the most) and the length of every datagram that comes in.
pub(crate) fn watch_heard(
    webrtc: &gst::Element,
    heard: impl Fn(&[u8], usize) + Clone + Send + Sync + 'static,
) {
    let bin = webrtc.downcast_ref::<gst::Bin>().expect("webrtcbin is a bin");
    bin.connect_deep_element_added(move |_, _, element| {
        if element.factory().is_none_or(|factory| factory.name() != "nicesrc") {
            return;
        }
        let heard = heard.clone();
        let pad = element.static_pad("src").expect("nicesrc has a source pad");
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, probe| {
            let Some(buffer) = probe.buffer() else { return gst::PadProbeReturn::Ok };
            let mut head = [0u8; RTP_HEADER_BYTES];
            let length = buffer.size().min(RTP_HEADER_BYTES);
            if buffer.copy_to_slice(0, &mut head[..length]).is_ok() {
                heard(&head[..length], buffer.size());
            }
            gst::PadProbeReturn::Ok
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rtp_and_rtcp_are_told_apart() {
        assert!(is_rtp(&[0x80, 96, 0, 1]) && !is_rtcp(&[0x80, 96]));
        assert!(is_rtp(&[0x90, 0x80 | 96]), "marker bit set");
        assert!(is_rtcp(&[0x80, 200]) && !is_rtp(&[0x81, 205]));
        assert!(!is_rtp(&[22, 254, 253]), "DTLS");
        assert!(!is_rtp(&[0, 1]), "STUN");
        assert!(!is_rtp(&[]) && !is_rtcp(&[0x80]));
    }
}
