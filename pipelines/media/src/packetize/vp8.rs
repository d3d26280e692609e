//! VP8 (RFC 7741): each payload is a descriptor and a part of the frame.
//!
//! The descriptor is the simplest that lets a relay keep pictures in order: partition 0 all along (the frame is cut by size and
//! not by partition, section 4.4), no layers, every frame one that others may refer to, and a picture id.

use super::parts::even_parts;
use super::picture_id::PictureIds;
use crate::frame::Frame;
use bytes::{BufMut, Bytes, BytesMut};

/// X, I and the picture id's two bytes.
const DESCRIPTOR: usize = 4;

/// The picture id of the next frame.
#[derive(Debug, Default)]
pub(super) struct Vp8Lane {
    ids: PictureIds,
}

impl Vp8Lane {
    pub(super) fn packetize(&mut self, frame: &Frame, max_payload: usize) -> Vec<Bytes> {
        if frame.data.is_empty() {
            return Vec::new();
        }
        let id = self.ids.take();
        let payload = |part: &[u8], first: bool| {
            let mut payload = BytesMut::with_capacity(DESCRIPTOR + part.len());
            // |X|R|N|S|R| PID |, then |I|L|T|K| RSV |
            payload.put_u8(if first { 0x90 } else { 0x80 });
            payload.put_u8(0x80);
            payload.put_slice(&id);
            payload.put_slice(part);
            payload.freeze()
        };
        even_parts(&frame.data, 0, max_payload - DESCRIPTOR)
            .map(|part| payload(part.data, part.first))
            .collect()
    }
}
