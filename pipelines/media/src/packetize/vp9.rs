//! VP9 (RFC 9628) in non-flexible mode, as senders of one layer do it: each payload is a descriptor and a part of the picture.
//!
//! A superframe is one picture and is not taken apart: its hidden frames and its index go along, and decoders find them.

use super::PacketizeError;
use super::parts::even_parts;
use super::picture_id::PictureIds;
use crate::codec::{Format, VideoFormat};
use crate::frame::Frame;
use bytes::{BufMut, Bytes, BytesMut};

/// The flags and the picture id's two bytes.
const DESCRIPTOR: usize = 3;

/// The flags of the first octet (section 4.2): |I|P|L|F|B|E|V|Z|. L, F and Z are never set: no layers, no reference indices.
const HAS_PICTURE_ID: u8 = 0x80;
const PREDICTED: u8 = 0x40;
const BEGINS: u8 = 0x08;
const ENDS: u8 = 0x04;
const HAS_STRUCTURE: u8 = 0x02;

/// The picture id of the next frame.
#[derive(Debug, Default)]
pub(super) struct Vp9Lane {
    ids: PictureIds,
}

impl Vp9Lane {
    pub(super) fn packetize(
        &mut self,
        frame: &Frame,
        max_payload: usize,
    ) -> Result<Vec<Bytes>, PacketizeError> {
        let Format::Video(format) = &*frame.format else {
            return Err(PacketizeError::WrongKind(frame.format.codec()));
        };
        if frame.data.is_empty() {
            return Ok(Vec::new());
        }
        let id = self.ids.take();
        let structure = if frame.keyframe { structure(format) } else { Bytes::new() };
        let always = HAS_PICTURE_ID | if frame.keyframe { 0 } else { PREDICTED };
        let parts = even_parts(&frame.data, structure.len(), max_payload - DESCRIPTOR);
        let payloads = parts.map(|part| {
            let mut flags = always;
            let mut head: &[u8] = &[];
            if part.first {
                flags |= BEGINS;
                head = &structure;
            }
            if !head.is_empty() {
                flags |= HAS_STRUCTURE;
            }
            if part.last {
                flags |= ENDS;
            }
            let mut payload = BytesMut::with_capacity(DESCRIPTOR + head.len() + part.data.len());
            payload.put_u8(flags);
            payload.put_slice(&id);
            payload.put_slice(head);
            payload.put_slice(part.data);
            payload.freeze()
        });
        Ok(payloads.collect())
    }
}

/// The scalability structure of one layer (section 4.2.1): |N_S|Y|G|-|-|-|, then its width and height. A size that 16 bits do
/// not hold, or that is not known, is left out.
fn structure(format: &VideoFormat) -> Bytes {
    let [width, height] = [format.width, format.height].map(|size| u16::try_from(size).unwrap_or(0));
    let mut out = BytesMut::with_capacity(5);
    if width == 0 || height == 0 {
        out.put_u8(0);
    } else {
        out.put_u8(0x10);
        out.put_u16(width);
        out.put_u16(height);
    }
    out.freeze()
}
