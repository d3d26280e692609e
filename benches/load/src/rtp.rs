//! The clear header of an RTP packet: all that is looked at once a viewer plays.

/// RFC 3550 section 5.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) payload_type: u8,
    pub(crate) marker: bool,
    pub(crate) padded: bool,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    /// Length of the whole header with contributing sources and extensions, in bytes.
    pub(crate) length: usize,
    /// Where the extension's elements are, and whether they have the one-byte form (RFC 8285 section 4.2).
    extension: Option<(usize, bool)>,
}

/// What a datagram on a port shared by all (RFC 7983 section 7, RFC 5761 section 4) is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// STUN or DTLS: for the engine.
    Connection,
    Rtp,
    Rtcp,
    Unknown,
}

/// Tells datagrams apart by their first two bytes.
pub(crate) fn kind(datagram: &[u8]) -> Kind {
    match *datagram {
        [0..=3 | 20..=63, ..] => Kind::Connection,
        [128..=191, 192..=223, ..] => Kind::Rtcp,
        [128..=191, _, ..] => Kind::Rtp,
        _ => Kind::Unknown,
    }
}

impl Header {
    /// `None` when the packet is shorter than it says.
    pub(crate) fn read(packet: &[u8]) -> Option<Self> {
        let fixed: &[u8; 12] = packet.first_chunk()?;
        let word = |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let mut length = 12 + 4 * usize::from(fixed[0] & 0x0f);
        let mut extension = None;
        if fixed[0] & 0x10 != 0 {
            let head = packet.get(length..)?.first_chunk::<4>()?;
            length += 4;
            extension = match u16::from_be_bytes([head[0], head[1]]) {
                0xbede => Some((length, true)),
                0x1000..=0x100f => Some((length, false)),
                _ => None,
            };
            length += 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
        }
        (packet.len() >= length).then_some(Self {
            payload_type: fixed[1] & 0x7f,
            marker: fixed[1] & 0x80 != 0,
            padded: fixed[0] & 0x20 != 0,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: word(4),
            ssrc: word(8),
            length,
            extension,
        })
    }

    /// The transport-wide sequence number in the header extension `id`.
    pub(crate) fn transport_sequence(&self, packet: &[u8], id: u8) -> Option<u16> {
        let (begin, one_byte) = self.extension?;
        let mut rest = packet.get(begin..self.length)?;
        loop {
            let (&first, after) = rest.split_first()?;
            if first == 0 {
                rest = after;
                continue;
            }
            let (found, value) = if one_byte {
                (first >> 4, after.get(..usize::from(first & 0x0f) + 1)?)
            } else {
                let (&length, after) = after.split_first()?;
                (first, after.get(..usize::from(length))?)
            };
            if one_byte && found == 15 {
                return None;
            }
            if found == id {
                return value.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
            }
            rest = &after[value.len() + usize::from(!one_byte)..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_with_their_extensions_in_both_forms() {
        let mut packet = vec![0xb1, 0xe0, 0x12, 0x34, 0, 0, 0, 9, 0, 0, 0, 7, 1, 2, 3, 4];
        packet.extend([0xbe, 0xde, 0, 2, 0x10, 0xaa, 0, 0x31, 0x56, 0x78, 0, 0]);
        packet.extend(b"payload");
        let header = Header::read(&packet).unwrap();
        assert_eq!((header.payload_type, header.marker, header.padded), (96, true, true));
        assert_eq!((header.sequence, header.timestamp, header.ssrc), (0x1234, 9, 7));
        assert_eq!(&packet[header.length..], b"payload");
        assert_eq!(header.transport_sequence(&packet, 3), Some(0x5678));
        assert_eq!(header.transport_sequence(&packet, 4), None);

        let mut two_bytes = vec![0x90, 96, 0, 1, 0, 0, 0, 9, 0, 0, 0, 7, 0x10, 0, 0, 2];
        two_bytes.extend([1, 0, 3, 2, 0x56, 0x78, 0, 0]);
        let header = Header::read(&two_bytes).unwrap();
        assert_eq!(header.transport_sequence(&two_bytes, 3), Some(0x5678));
        for length in 0..two_bytes.len() {
            assert!(Header::read(&two_bytes[..length]).is_none());
        }
    }

    #[test]
    fn datagrams_are_told_apart() {
        assert_eq!(kind(&[0, 1]), Kind::Connection);
        assert_eq!(kind(&[22, 254]), Kind::Connection);
        assert_eq!(kind(&[0x80, 200]), Kind::Rtcp);
        assert_eq!(kind(&[0x80, 0xe0]), Kind::Rtp);
        assert_eq!(kind(&[0x80, 35]), Kind::Rtp);
        assert_eq!(kind(&[]), Kind::Unknown);
    }
}
