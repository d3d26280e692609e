//! Opus (RFC 7587; bitstream RFC 6716): one packet, one frame.

use super::{CodedFrame, Depacketized, PayloadError};
use crate::codec::{AudioFormat, Codec, Format};
use crate::packet::Packet;
use crate::time::{AUDIO_RATE, MediaTime};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;

/// One Opus track.
#[derive(Debug)]
pub(super) struct OpusLane {
    format: Arc<Format>,
}

impl OpusLane {
    pub(super) fn new() -> Self {
        // RFC 7587 section 7: the payload is always signalled as 48000/2. Whether a packet is coded in mono may
        // change from one to the next; a decoder makes two channels of either.
        let format =
            AudioFormat { codec: Codec::Opus, sample_rate: AUDIO_RATE, channels: 2, config: Bytes::new() };
        Self { format: Arc::new(Format::Audio(format)) }
    }

    pub(super) fn handle_packet(&self, packet: &Packet, output: &mut VecDeque<Depacketized>) {
        match duration_48k(&packet.payload) {
            Ok(ticks) => output.push_back(Depacketized::Frame(CodedFrame {
                timestamp: packet.timestamp,
                arrival: packet.arrival,
                keyframe: true,
                format: Arc::clone(&self.format),
                data: packet.payload.clone(),
                duration: Some(MediaTime::from_48k(ticks)),
                reorder_depth: 0,
            })),
            Err(error) => output.push_back(Depacketized::BadPayload(error)),
        }
    }
}

/// How long an Opus packet lasts, in 48 kHz ticks, from its TOC byte (RFC 6716 section 3.1) and frame count.
pub(crate) fn duration_48k(payload: &[u8]) -> Result<i64, PayloadError> {
    let (&toc, rest) = payload.split_first().ok_or(PayloadError::Truncated("Opus packet"))?;
    let config = toc >> 3;
    // Table 2: 10, 20, 40, 60 ms for SILK; 10, 20 ms for hybrid; 2.5, 5, 10, 20 ms for CELT.
    let frame = match config {
        0..=11 => [480, 960, 1920, 2880][usize::from(config & 3)],
        12..=15 => [480, 960][usize::from(config & 1)],
        _ => [120, 240, 480, 960][usize::from(config & 3)],
    };
    // Section 3.2: one frame, two, or a number in the next byte. A packet of the TOC byte alone is DTX.
    let count = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => i64::from(rest.first().ok_or(PayloadError::Truncated("Opus frame count"))? & 0x3f),
    };
    let ticks = frame * count;
    // Requirement R5: at most 120 ms.
    if ticks == 0 || ticks > 5760 {
        return Err(PayloadError::Invalid("Opus packet lasts over 120 ms or not at all"));
    }
    Ok(ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_toc_byte_says_how_long_a_packet_lasts() {
        // What browsers send: fullband CELT or hybrid, 20 ms, one frame.
        assert_eq!(duration_48k(&[0xfc, 0xff, 0xfe]), Ok(960));
        assert_eq!(duration_48k(&[0x78, 1]), Ok(960));
        // DTX: the TOC byte alone.
        assert_eq!(duration_48k(&[0xf8]), Ok(960));
        // SILK 60 ms twice, CELT 2.5 ms, three of 20 ms.
        assert_eq!(duration_48k(&[0x19, 1]), Ok(5760));
        assert_eq!(duration_48k(&[0x80, 1]), Ok(120));
        assert_eq!(duration_48k(&[0xfb, 0x03]), Ok(2880));
    }

    #[test]
    fn impossible_packets_are_refused() {
        assert!(duration_48k(&[]).is_err());
        assert!(duration_48k(&[0xfb]).is_err());
        assert!(duration_48k(&[0xfb, 0x00]).is_err());
        assert!(duration_48k(&[0xfb, 0x3f]).is_err());
    }
}
