//! VP8 (RFC 7741; bitstream RFC 6386).

use super::{Assemble, Finished, PayloadError, Picture, join};
use crate::codec::{Codec, VideoFormat};
use bytes::Bytes;

/// Collects the payloads of one VP8 frame.
#[derive(Debug, Default)]
pub(super) struct Vp8Assembler {
    parts: Vec<Bytes>,
}

impl Assemble for Vp8Assembler {
    fn push(&mut self, payload: &Bytes) -> Result<(), PayloadError> {
        let (length, begins_frame) = descriptor(payload)?;
        if begins_frame != self.parts.is_empty() {
            return Err(PayloadError::Invalid("VP8 frame does not begin with its first partition"));
        }
        let data = payload.slice(length..);
        if data.is_empty() {
            return Err(PayloadError::Truncated("VP8 payload"));
        }
        self.parts.push(data);
        Ok(())
    }

    fn finish(&mut self, _after_loss: bool) -> Result<Finished, PayloadError> {
        // A missing head was refused by `push`: S = 1 with partition 0 is the head and nothing else is.
        let data = join(&mut self.parts);
        let Some(first) = data.first() else { return Ok(Finished::Nothing) };
        // RFC 6386 section 9.1: the lowest bit of the frame tag is zero in a key frame.
        let keyframe = first & 1 == 0;
        let format = if keyframe { Some(keyframe_format(&data)?) } else { None };
        Ok(Finished::Picture(Picture { keyframe, format, data, reorder_depth: 0 }))
    }

    fn clear(&mut self) {
        self.parts.clear();
    }
}

/// The length of the payload descriptor (RFC 7741 section 4.2), and whether this packet begins a frame: S = 1 in
/// partition 0.
fn descriptor(payload: &[u8]) -> Result<(usize, bool), PayloadError> {
    let truncated = PayloadError::Truncated("VP8 payload descriptor");
    let first = *payload.first().ok_or(truncated)?;
    let mut length = 1;
    if first & 0x80 != 0 {
        let extension = *payload.get(1).ok_or(truncated)?;
        length += 1;
        if extension & 0x80 != 0 {
            // PictureID: 15 bits when its M bit is set, else 7.
            let long = *payload.get(length).ok_or(truncated)? & 0x80 != 0;
            length += if long { 2 } else { 1 };
        }
        if extension & 0x40 != 0 {
            length += 1; // TL0PICIDX
        }
        if extension & 0x30 != 0 {
            length += 1; // TID, Y, KEYIDX share an octet
        }
    }
    if length > payload.len() {
        return Err(truncated);
    }
    Ok((length, first & 0x10 != 0 && first & 0x07 == 0))
}

/// The picture size in a key frame's header (RFC 6386 section 9.1).
pub(super) fn keyframe_format(data: &[u8]) -> Result<VideoFormat, PayloadError> {
    let &[_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] = data else {
        return Err(PayloadError::Invalid("VP8 key frame without its start code"));
    };
    // The two highest bits are a scaling hint.
    let width = u32::from(u16::from_le_bytes([w0, w1]) & 0x3fff);
    let height = u32::from(u16::from_le_bytes([h0, h1]) & 0x3fff);
    if width == 0 || height == 0 {
        return Err(PayloadError::Invalid("VP8 key frame without a size"));
    }
    Ok(VideoFormat { codec: Codec::Vp8, width, height, config: Bytes::new() })
}
