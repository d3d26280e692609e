//! The per-packet path to viewers: packets are written and protected in one buffer, and those of one viewer leave as runs of equal
//! size, each by one system call (UDP generic segmentation offload).
//!
//! What belongs here: bytes and borders of runs. What does not: which packets a viewer gets, and what their numbers are.

use crate::socket::Path;
use crate::srtp::{MAX_OVERHEAD, RtpSealer};
use crate::wire::Wire;
use relay_proto::continuity::OutPacket;
use relay_proto::inspect::PictureFields;

/// Bytes in one run: what one IP packet could hold, less headers.
const MAX_RUN_BYTES: usize = 62_000;
/// Length of a fixed RTP header (RFC 3550 section 5.1).
const RTP_HEADER: usize = 12;
/// RTP version 2 in the first octet.
const VERSION_2: u8 = 0x80;
/// The padding bit.
const PADDING: u8 = 0x20;
/// The extension bit.
const EXTENSION: u8 = 0x10;
/// The profile of one-byte header extensions (RFC 8285 section 4.2).
const ONE_BYTE: [u8; 2] = [0xbe, 0xde];
/// The most that this side puts into header extensions: an identification tag of 16 bytes and a send time.
const MAX_EXTENSIONS: usize = 4 + 24;

/// One RTP packet to write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outbound<'a> {
    pub(crate) payload_type: u8,
    pub(crate) marker: bool,
    /// Extended sequence number.
    pub(crate) index: u64,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    pub(crate) extensions: Extensions<'a>,
    /// Comes before the payload: the original sequence number of a retransmission (RFC 4588 section 4).
    pub(crate) prefix: &'a [u8],
    pub(crate) payload: &'a [u8],
    /// Bytes of padding behind the payload (RFC 3550 section 5.1).
    pub(crate) padding: u8,
    /// What differs between this viewer's payload and everybody's: picture numbers.
    pub(crate) picture: Option<(PictureFields, OutPacket)>,
}

/// The header extensions of a packet, each with its identifier.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extensions<'a> {
    /// The identification tag of the lane (RFC 9143 section 15).
    pub(crate) mid: Option<(u8, &'a str)>,
    /// 24 bits of seconds, 6.18 fixed point (abs-send-time).
    pub(crate) send_time: Option<(u8, u32)>,
}

/// The buffer of one thread, and the run in it.
#[derive(Debug)]
pub(crate) struct Egress {
    buffer: Vec<u8>,
    /// Length of the packets of the run; the last may be shorter.
    segment: usize,
    packets: usize,
    /// The last packet was shorter: the run is complete.
    complete: bool,
}

impl Egress {
    pub(crate) fn new() -> Self {
        Self { buffer: Vec::with_capacity(MAX_RUN_BYTES + 2_048), segment: 0, packets: 0, complete: false }
    }

    /// Writes and protects a packet for `path`, and sends the run before it when it does not fit there. Gives the packet's length.
    pub(crate) fn write(
        &mut self,
        packet: &Outbound<'_>,
        sealer: &RtpSealer,
        path: Path,
        wire: &mut Wire,
    ) -> usize {
        let payload = packet.prefix.len() + packet.payload.len() + usize::from(packet.padding);
        let most = RTP_HEADER + MAX_EXTENSIONS + payload + MAX_OVERHEAD;
        if self.complete || self.packets >= wire.max_run(path) || self.buffer.len() + most > MAX_RUN_BYTES {
            self.flush(path, wire);
        }
        let start = self.buffer.len();
        let header = write_packet(&mut self.buffer, packet);
        if sealer.seal(&mut self.buffer, start, header, packet.ssrc, packet.index).is_err() {
            // No cipher here refuses a packet below 2^36 bytes; should one, nothing unprotected may leave.
            self.buffer.truncate(start);
            return 0;
        }
        let length = self.buffer.len() - start;
        if self.packets > 0 && length > self.segment {
            let run = start;
            wire.send_run(path, &self.buffer[..run], self.segment);
            self.buffer.copy_within(run.., 0);
            self.buffer.truncate(length);
            self.packets = 0;
        }
        if self.packets == 0 {
            self.segment = length;
        }
        self.packets += 1;
        self.complete = length < self.segment;
        length
    }

    /// Sends what is left.
    pub(crate) fn flush(&mut self, path: Path, wire: &mut Wire) {
        if self.packets > 0 {
            wire.send_run(path, &self.buffer, self.segment);
        }
        self.buffer.clear();
        (self.packets, self.complete) = (0, false);
    }
}

/// Appends an RTP packet in the clear; gives the length of its header.
fn write_packet(buffer: &mut Vec<u8>, packet: &Outbound<'_>) -> usize {
    let start = buffer.len();
    let extended = packet.extensions.mid.is_some() || packet.extensions.send_time.is_some();
    let padded = if packet.padding > 0 { PADDING } else { 0 };
    buffer.push(VERSION_2 | padded | if extended { EXTENSION } else { 0 });
    buffer.push(packet.payload_type | if packet.marker { 0x80 } else { 0 });
    buffer.extend_from_slice(&(packet.index as u16).to_be_bytes());
    buffer.extend_from_slice(&packet.timestamp.to_be_bytes());
    buffer.extend_from_slice(&packet.ssrc.to_be_bytes());
    if extended {
        write_extensions(buffer, packet.extensions);
    }
    let header = buffer.len() - start;
    buffer.extend_from_slice(packet.prefix);
    let payload = buffer.len();
    buffer.extend_from_slice(packet.payload);
    if let Some((fields, out)) = packet.picture {
        out.write_picture(fields, &mut buffer[payload..]);
    }
    if packet.padding > 0 {
        // The last octet tells how many there are, itself included.
        buffer.resize(buffer.len() + usize::from(packet.padding) - 1, 0);
        buffer.push(packet.padding);
    }
    header
}

fn write_extensions(buffer: &mut Vec<u8>, extensions: Extensions<'_>) {
    buffer.extend_from_slice(&ONE_BYTE);
    let length = buffer.len();
    buffer.extend_from_slice(&[0, 0]);
    if let Some((id, time)) = extensions.send_time {
        buffer.push(id << 4 | 2);
        buffer.extend_from_slice(&time.to_be_bytes()[1..]);
    }
    if let Some((id, mid)) = extensions.mid
        && let Some(last) = mid.len().checked_sub(1).filter(|last| *last < 16)
    {
        buffer.push(id << 4 | last as u8);
        buffer.extend_from_slice(mid.as_bytes());
    }
    let body = buffer.len() - length - 2;
    let words = body.div_ceil(4);
    buffer.resize(length + 2 + words * 4, 0);
    buffer[length..length + 2].copy_from_slice(&(words as u16).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_proto::inspect::Field;

    fn packet<'a>(payload: &'a [u8], extensions: Extensions<'a>) -> Outbound<'a> {
        Outbound {
            payload_type: 96,
            marker: true,
            index: 0x1_0002,
            timestamp: 0x0304_0506,
            ssrc: 0x0708_090a,
            extensions,
            prefix: &[],
            payload,
            padding: 0,
            picture: None,
        }
    }

    #[test]
    fn a_packet_without_extensions_is_its_header_and_payload() {
        let mut buffer = Vec::new();
        let header = write_packet(&mut buffer, &packet(&[1, 2, 3], Extensions::default()));
        assert_eq!(header, 12);
        assert_eq!(buffer, [0x80, 0xe0, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2, 3]);
    }

    #[test]
    fn padding_is_counted_in_its_last_octet() {
        for (padding, tail) in [(1, &[1][..]), (4, &[0, 0, 0, 4])] {
            let mut buffer = Vec::new();
            let padded = Outbound { padding, ..packet(&[1, 2, 3], Extensions::default()) };
            assert_eq!(write_packet(&mut buffer, &padded), 12);
            assert_eq!(buffer[0], 0xa0);
            assert_eq!(buffer[12..], [&[1, 2, 3], tail].concat());
        }
    }

    #[test]
    fn extensions_are_padded_to_words_and_picture_numbers_touch_only_their_octets() {
        let mut buffer = Vec::new();
        let extensions = Extensions { mid: Some((4, "0")), send_time: Some((2, 0x12_3456)) };
        let mut asked = packet(&[0xf0, 0xff, 0xff, 0x11, 0x22], extensions);
        let field = |at, bits| Some(Field { at, bits, value: 0 });
        let fields = PictureFields { picture_id: field(1, 15), tl0: field(3, 8) };
        let out = OutPacket { index: 0, timestamp: 0, picture_id: Some(0x0123), tl0: Some(0x44) };
        asked.picture = Some((fields, out));
        asked.prefix = &[9, 9];
        let header = write_packet(&mut buffer, &asked);
        assert_eq!(header, 12 + 4 + 8);
        assert_eq!(buffer[12..header], [0xbe, 0xde, 0, 2, 0x22, 0x12, 0x34, 0x56, 0x40, b'0', 0, 0]);
        assert_eq!(buffer[header..], [9, 9, 0xf0, 0x81, 0x23, 0x44, 0x22]);
    }
}
