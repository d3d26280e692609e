//! AV1 ("RTP Payload Format For AV1" 1.0, Alliance for Open Media): each payload is an aggregation header and OBU elements.
//!
//! Delimiters, tile lists and padding are left out, and so are the sizes inside the OBUs (section 5). In front of a keyframe
//! without a sequence header stands the format's, so that a viewer can begin with any keyframe.

use super::PacketizeError;
use crate::codec::Format;
use crate::frame::Frame;
use crate::obu::{Obu, ObuError, leb128_size, obu_type, obus, put_leb128};
use bytes::{BufMut, Bytes, BytesMut};

/// The most elements whose number the aggregation header can tell; the last of these goes without its size.
const MAX_COUNTED: usize = 3;

/// No OBU begins in a packet that has place for fewer bytes of it: its rest would cost as much as it saves.
const LEAST_FRAGMENT: usize = 16;

/// The length of an `av1C` record in front of its OBUs ("AV1 Codec ISO Media File Format Binding" section 2.3.3).
const AV1C_HEADER: usize = 4;

/// The payloads of one temporal unit.
pub(super) fn packetize(frame: &Frame, max_payload: usize) -> Result<Vec<Bytes>, PacketizeError> {
    let Format::Video(format) = &*frame.format else {
        return Err(PacketizeError::WrongKind(frame.format.codec()));
    };
    let mut elements = elements(&frame.data)?;
    let mut begins_sequence = false;
    if frame.keyframe && !elements.is_empty() {
        begins_sequence = elements.iter().any(|element| element.is_sequence_header);
        if !begins_sequence {
            let known = self::elements(format.config.get(AV1C_HEADER..).unwrap_or_default())?;
            let header = known.into_iter().find(|element| element.is_sequence_header);
            begins_sequence = header.is_some();
            elements.splice(0..0, header);
        }
    }
    let plan = even_plan(&elements, max_payload);
    let packets = plan.chunk_by(|_, next| !next.opens_packet).enumerate();
    Ok(packets.map(|(index, pieces)| payload(&elements, pieces, begins_sequence && index == 0)).collect())
}

impl From<ObuError> for PacketizeError {
    fn from(error: ObuError) -> Self {
        match error {
            ObuError::Truncated => Self::Malformed("AV1 OBU ends early"),
            ObuError::Forbidden => Self::Malformed("AV1 OBU with the forbidden bit"),
        }
    }
}

/// One OBU as it goes over the wire: without its size.
#[derive(Debug)]
struct Element<'a> {
    /// One byte, or two with the layer.
    head: [u8; 2],
    head_size: usize,
    body: &'a [u8],
    is_sequence_header: bool,
}

impl<'a> Element<'a> {
    fn new(obu: &Obu<'a>) -> Self {
        Self {
            // The type and whether there is an extension; neither size nor the reserved bit.
            head: [obu.header & 0x7c, obu.extension.unwrap_or(0)],
            head_size: 1 + usize::from(obu.extension.is_some()),
            body: obu.body,
            is_sequence_header: obu.kind() == obu_type::SEQUENCE_HEADER,
        }
    }

    const fn size(&self) -> usize {
        self.head_size + self.body.len()
    }

    /// Its temporal and spatial id, where it says them.
    fn layer(&self) -> Option<u8> {
        (self.head_size == 2).then_some(self.head[1] & 0xf8)
    }

    /// Writes its bytes `from..to`.
    fn put(&self, from: usize, to: usize, out: &mut BytesMut) {
        let head = self.head_size;
        out.put_slice(&self.head[from.min(head)..to.min(head)]);
        out.put_slice(&self.body[from.saturating_sub(head)..to.saturating_sub(head)]);
    }
}

/// What of a low-overhead OBU stream goes over the wire.
fn elements(data: &[u8]) -> Result<Vec<Element<'_>>, PacketizeError> {
    let mut elements = Vec::new();
    for obu in obus(data) {
        let obu = obu?;
        if !matches!(obu.kind(), obu_type::TEMPORAL_DELIMITER | obu_type::TILE_LIST | obu_type::PADDING) {
            elements.push(Element::new(&obu));
        }
    }
    Ok(elements)
}

/// Bytes `from..to` of one element in one packet.
#[derive(Debug, Clone, Copy)]
struct Piece {
    element: usize,
    from: usize,
    to: usize,
    /// It is the first of its packet.
    opens_packet: bool,
}

/// As few packets as `max_payload` allows, of about equal size: one GSO run sends them all.
fn even_plan(elements: &[Element<'_>], max_payload: usize) -> Vec<Piece> {
    let packets = |plan: &[Piece]| plan.iter().filter(|piece| piece.opens_packet).count();
    let mut best = plan(elements, max_payload);
    let count = packets(&best);
    if count < 2 {
        return best;
    }
    // The smallest limit that needs no packet more.
    let (mut low, mut high) = (super::MIN_MAX_PAYLOAD / 2, max_payload);
    let total: usize = elements.iter().map(Element::size).sum();
    low = low.max(total / count).min(high);
    while low < high {
        let middle = low.midpoint(high);
        let plan = plan(elements, middle);
        if packets(&plan) == count {
            (best, high) = (plan, middle);
        } else {
            low = middle + 1;
        }
    }
    best
}

/// Fills packet after packet with at most `limit` bytes.
fn plan(elements: &[Element<'_>], limit: usize) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(elements.len());
    let mut packet = Packet::default();
    for (index, element) in elements.iter().enumerate() {
        let size = element.size();
        if !packet.takes(element) || packet.room(limit) < size.min(LEAST_FRAGMENT) {
            packet = Packet::default();
        }
        let mut from = 0;
        while from < size {
            let to = size.min(from + packet.room(limit));
            pieces.push(Piece { element: index, from, to, opens_packet: packet.elements == 0 });
            packet.add(to - from, element);
            if to < size {
                packet = Packet::default();
            }
            from = to;
        }
    }
    pieces
}

/// A packet while it is being filled.
#[derive(Debug)]
struct Packet {
    elements: usize,
    /// Its bytes if every element has its size in front.
    used: usize,
    layer: Option<u8>,
}

impl Default for Packet {
    fn default() -> Self {
        Self { elements: 0, used: 1, layer: None }
    }
}

impl Packet {
    /// Whether the element may begin here: one layer a packet (section 5), and a sequence header comes first.
    fn takes(&self, element: &Element<'_>) -> bool {
        let same_layer =
            self.layer.is_none() || element.layer().is_none_or(|layer| self.layer == Some(layer));
        self.elements == 0 || same_layer && !element.is_sequence_header
    }

    /// How many bytes of one element more it has place for.
    const fn room(&self, limit: usize) -> usize {
        let room = limit.saturating_sub(self.used);
        if self.elements < MAX_COUNTED { room } else { room.saturating_sub(leb128_size(room)) }
    }

    fn add(&mut self, bytes: usize, element: &Element<'_>) {
        self.elements += 1;
        self.used += leb128_size(bytes) + bytes;
        self.layer = self.layer.or(element.layer());
    }
}

/// Section 4.4: |Z|Y| W |N|-|-|-|, then the elements.
fn payload(elements: &[Element<'_>], pieces: &[Piece], begins_sequence: bool) -> Bytes {
    let size: usize = pieces.iter().map(|piece| piece.to - piece.from + leb128_size(piece.to)).sum();
    let mut payload = BytesMut::with_capacity(1 + size);
    let counted = if pieces.len() <= MAX_COUNTED { pieces.len() } else { 0 };
    let continues = pieces.first().is_some_and(|piece| piece.from > 0);
    let continued = pieces.last().is_some_and(|piece| piece.to < elements[piece.element].size());
    let bit = |on: bool, bit: u8| if on { bit } else { 0 };
    let flags = bit(continues, 0x80) | bit(continued, 0x40) | bit(begins_sequence, 0x08);
    payload.put_u8(flags | (counted << 4) as u8);
    for (index, piece) in pieces.iter().enumerate() {
        if index + 1 != counted {
            put_leb128(&mut payload, piece.to - piece.from);
        }
        elements[piece.element].put(piece.from, piece.to, &mut payload);
    }
    payload.freeze()
}
