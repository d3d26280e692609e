//! AAC: MPEG4-GENERIC in mode AAC-hbr (RFC 3640 section 3.3.6) with sizeLength=13, indexLength=3, indexDeltaLength=3.
//!
//! One access unit a payload, or a part of one where it is too large for a packet. Every payload begins with one AU header,
//! in which the size is that of the whole unit, also before a part of it (section 3.2.1.1).

use super::PacketizeError;
use super::parts::even_parts;
use crate::frame::Frame;
use bytes::{BufMut, Bytes, BytesMut};

/// AU-headers-length, and one AU header.
const HEADERS: usize = 4;
/// The length of one AU header, in bits: a size of 13 and an index of 3.
const HEADER_BITS: u16 = 16;
/// The largest size that 13 bits hold.
const MAX_UNIT: usize = (1 << 13) - 1;

pub(super) fn packetize(frame: &Frame, max_payload: usize) -> Result<Vec<Bytes>, PacketizeError> {
    let found = frame.data.len();
    if found == 0 {
        return Ok(Vec::new());
    }
    let too_large = PacketizeError::TooLarge { found, limit: MAX_UNIT };
    let size = u16::try_from(found).ok().filter(|_| found <= MAX_UNIT).ok_or(too_large)?;
    let payloads = even_parts(&frame.data, 0, max_payload - HEADERS).map(|part| {
        let mut payload = BytesMut::with_capacity(HEADERS + part.data.len());
        payload.put_u16(HEADER_BITS);
        payload.put_u16(size << 3); // AU-Index 0
        payload.put_slice(part.data);
        payload.freeze()
    });
    Ok(payloads.collect())
}
