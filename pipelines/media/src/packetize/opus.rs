//! Opus (RFC 7587 section 4.2): one frame, one payload.

use super::PacketizeError;
use crate::frame::Frame;
use bytes::Bytes;

pub(super) fn packetize(frame: &Frame, max_payload: usize) -> Result<Vec<Bytes>, PacketizeError> {
    let found = frame.data.len();
    if found > max_payload {
        return Err(PacketizeError::TooLarge { found, limit: max_payload });
    }
    Ok(if found == 0 { Vec::new() } else { vec![frame.data.clone()] })
}
