//! H.264 (RFC 6184), packetization mode 1: single NAL units, STAP-A for what is small, FU-A for what is large.
//!
//! The format's parameter sets stand in front of every IDR picture, so that a viewer can begin with any of them and a lost set
//! does not outlast one group of pictures. Delimiters, SEI and filler are left out: no decoder of a live picture needs them.

use super::PacketizeError;
use super::parts::even_parts;
use crate::codec::Format;
use crate::frame::Frame;
use crate::h264::{AvcConfig, H264Error, avcc_nals, nal_type, nal_unit_type};
use bytes::{BufMut, Bytes, BytesMut};
use std::sync::Arc;

/// NAL unit types that only RTP has (RFC 6184 table 1).
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// The parameter sets of the newest format.
#[derive(Debug, Default)]
pub(super) struct H264Lane {
    known: Option<(Arc<Format>, AvcConfig)>,
}

impl H264Lane {
    pub(super) fn packetize(
        &mut self,
        frame: &Frame,
        max_payload: usize,
    ) -> Result<Vec<Bytes>, PacketizeError> {
        let config = self.config(&frame.format)?;
        let mut nals = Vec::new();
        let mut idr = false;
        for nal in avcc_nals(&frame.data, usize::from(config.length_size)) {
            let nal = nal?;
            match nal_unit_type(nal) {
                Some(nal_type::SEI | nal_type::AUD | 10..=13) => continue,
                Some(kind @ 1..=23) => idr |= kind == nal_type::IDR,
                // In RTP these types mean something else.
                _ => return Err(H264Error::OutOfRange("nal_unit_type").into()),
            }
            nals.push(frame.data.slice_ref(nal));
        }
        if idr {
            nals.splice(0..0, config.sps.iter().chain(&config.pps).cloned());
        }
        Ok(payloads(&nals, max_payload))
    }

    fn config(&mut self, format: &Arc<Format>) -> Result<&AvcConfig, PacketizeError> {
        let known = self.known.take().filter(|(known, _)| Arc::ptr_eq(known, format) || known == format);
        let known = match (known, &**format) {
            (Some(known), _) => known,
            (None, Format::Video(video)) => (Arc::clone(format), AvcConfig::parse(&video.config)?),
            (None, Format::Audio(_)) => return Err(PacketizeError::WrongKind(format.codec())),
        };
        Ok(&self.known.insert(known).1)
    }
}

/// The payloads of an access unit's NAL units.
fn payloads(nals: &[Bytes], max_payload: usize) -> Vec<Bytes> {
    let mut payloads = Vec::new();
    let mut rest = nals;
    while let Some(first) = rest.first() {
        // As many as fit one STAP-A: its header, then each with two bytes of length (section 5.7.1).
        let mut size = 1;
        let together = rest.iter().take_while(|nal| {
            size += 2 + nal.len();
            size <= max_payload
        });
        let count = together.count();
        if count >= 2 {
            payloads.push(aggregate(&rest[..count]));
        } else if first.len() <= max_payload {
            payloads.push(first.clone());
        } else {
            fragment(first, max_payload, &mut payloads);
        }
        rest = &rest[count.max(1)..];
    }
    payloads
}

/// A STAP-A (section 5.7.1).
fn aggregate(nals: &[Bytes]) -> Bytes {
    let mut payload = BytesMut::with_capacity(1 + nals.iter().map(|nal| 2 + nal.len()).sum::<usize>());
    // The forbidden bit of any, the highest NRI of all.
    let forbidden = nals.iter().fold(0, |bits, nal| bits | nal[0] & 0x80);
    let importance = nals.iter().map(|nal| nal[0] & 0x60).max().unwrap_or(0);
    payload.put_u8(forbidden | importance | STAP_A);
    for nal in nals {
        payload.put_u16(u16::try_from(nal.len()).expect("it fits a payload, which is shorter than 64 KiB"));
        payload.put_slice(nal);
    }
    payload.freeze()
}

/// FU-As of about equal size (section 5.8): one GSO run sends them all.
fn fragment(nal: &Bytes, max_payload: usize, payloads: &mut Vec<Bytes>) {
    let (header, body) = (nal[0], &nal[1..]);
    for part in even_parts(body, 0, max_payload - 2) {
        let mut payload = BytesMut::with_capacity(2 + part.data.len());
        payload.put_u8(header & 0xe0 | FU_A);
        let start = if part.first { 0x80 } else { 0 };
        let end = if part.last { 0x40 } else { 0 };
        payload.put_u8(start | end | header & 0x1f);
        payload.put_slice(part.data);
        payloads.push(payload.freeze());
    }
}
