//! H.264 (RFC 6184), packetization modes 0 and 1: single NAL units, STAP-A and FU-A.
//!
//! Frames leave with four-byte lengths. Parameter sets go into the format's `avcC`; delimiters, filler and ends of
//! sequence are dropped: ISO/IEC 14496-15 section 5.3.2 wants none of them in samples.

use super::{Assemble, Finished, PayloadError, Picture};
use crate::codec::{Codec, VideoFormat};
use crate::h264::{AvcConfig, Pps, SliceHeader, Sps, is_vcl, nal_type, nal_unit_type, put_avcc};
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;

/// NAL unit types that only RTP has (RFC 6184 table 1).
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// The longest parameter set kept: `avcC` has 16 bits for it, real ones have under 100 bytes.
const MAX_SET_BYTES: usize = 1024;

/// Collects the NAL units of one access unit, and keeps the parameter sets of the stream.
#[derive(Debug, Default)]
pub(crate) struct H264Assembler {
    data: BytesMut,
    /// The NAL unit whose fragments are coming.
    fragments: Option<BytesMut>,
    idr: bool,
    first_slice: Option<SliceHeader>,
    /// Parameter sets of this access unit.
    sets: Vec<Bytes>,
    /// The stream's parameter sets by id: at most 32 and 256.
    sps: BTreeMap<u8, (Bytes, Sps)>,
    pps: BTreeMap<u8, (Bytes, Pps)>,
    /// The newest keyframe brought its parameter sets along: then the next one does too.
    sets_in_band: bool,
    /// The configuration of the newest keyframe.
    active: Option<(u8, u8)>,
}

impl Assemble for H264Assembler {
    fn push(&mut self, payload: &Bytes) -> Result<(), PayloadError> {
        let header = payload[0];
        if self.fragments.is_some() && header & 0x1f != FU_A {
            return Err(PayloadError::Invalid("H.264 fragments without an end"));
        }
        match header & 0x1f {
            1..=23 => self.push_nal(payload),
            STAP_A => {
                let mut rest = &payload[1..];
                while !rest.is_empty() {
                    let truncated = PayloadError::Truncated("H.264 STAP-A");
                    let (length, tail) = rest.split_at_checked(2).ok_or(truncated)?;
                    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                    let (nal, tail) = tail.split_at_checked(length).ok_or(truncated)?;
                    rest = tail;
                    if !nal.is_empty() {
                        self.push_nal(nal)?;
                    }
                }
                Ok(())
            }
            FU_A => self.push_fragment(payload),
            _ => Err(PayloadError::Unsupported("H.264 payload other than single NAL unit, STAP-A or FU-A")),
        }
    }

    fn finish(&mut self, after_loss: bool) -> Result<Finished, PayloadError> {
        if self.fragments.is_some() {
            return Ok(Finished::Incomplete);
        }
        let brought_sets = !self.sets.is_empty();
        let changed = self.keep_sets()?;
        let Some(slice) = self.first_slice else { return Ok(Finished::Nothing) };
        if after_loss {
            // The lost packets may have held the first slices, or the sets this picture needs.
            let headless = slice.first_mb_in_slice != 0;
            let setless = self.idr && self.sets_in_band && !brought_sets;
            if headless || setless {
                return Ok(Finished::Incomplete);
            }
        }
        if !self.idr {
            // Sets change at keyframes only in what we hand on: a format is good for a whole group of pictures.
            if changed {
                return Err(PayloadError::Unsupported("H.264 parameter set change without an IDR picture"));
            }
            let data = self.data.split().freeze();
            return Ok(Finished::Picture(Picture { keyframe: false, format: None, data, reorder_depth: 0 }));
        }
        let (_, pps) =
            self.pps.get(&slice.pps_id).ok_or(PayloadError::Invalid("H.264 picture without its PPS"))?;
        let sps_id = pps.sps_id;
        let (sps_nal, sps) =
            self.sps.get(&sps_id).ok_or(PayloadError::Invalid("H.264 picture without its SPS"))?;
        let pps_nals: Vec<Bytes> =
            self.pps.values().filter(|(_, pps)| pps.sps_id == sps_id).map(|(nal, _)| nal.clone()).collect();
        let config = AvcConfig::new(vec![sps_nal.clone()], pps_nals)
            .build()
            .map_err(|_| PayloadError::Invalid("H.264 parameter sets do not fit an avcC record"))?;
        self.sets_in_band = brought_sets;
        self.active = Some((sps_id, slice.pps_id));
        let format = VideoFormat { codec: Codec::H264, width: sps.width, height: sps.height, config };
        let reorder_depth = sps.reorder_depth().unwrap_or(0);
        let data = self.data.split().freeze();
        Ok(Finished::Picture(Picture { keyframe: true, format: Some(format), data, reorder_depth }))
    }

    fn clear(&mut self) {
        self.data.clear();
        self.fragments = None;
        self.idr = false;
        self.first_slice = None;
        self.sets.clear();
    }
}

impl H264Assembler {
    /// One whole NAL unit of the access unit.
    fn push_nal(&mut self, nal: &[u8]) -> Result<(), PayloadError> {
        let kind = nal_unit_type(nal).unwrap_or(0);
        match kind {
            nal_type::SPS | nal_type::PPS => {
                if nal.len() > MAX_SET_BYTES || self.sets.len() >= 288 {
                    return Err(PayloadError::Invalid("H.264 parameter set of absurd size"));
                }
                self.sets.push(Bytes::copy_from_slice(nal));
            }
            nal_type::AUD
            | nal_type::FILLER
            | nal_type::END_OF_SEQUENCE
            | nal_type::END_OF_STREAM
            | nal_type::SPS_EXTENSION => {}
            _ => {
                if is_vcl(kind) {
                    self.idr |= kind == nal_type::IDR;
                    if self.first_slice.is_none() {
                        let slice = SliceHeader::parse(nal);
                        self.first_slice = Some(slice.ok_or(PayloadError::Invalid("H.264 slice header"))?);
                    }
                }
                put_avcc(&mut self.data, nal);
            }
        }
        Ok(())
    }

    /// A fragment of a NAL unit (RFC 6184 section 5.8).
    fn push_fragment(&mut self, payload: &[u8]) -> Result<(), PayloadError> {
        let &[indicator, header, ref data @ ..] = payload else {
            return Err(PayloadError::Truncated("H.264 FU-A"));
        };
        let (begins, ends) = (header & 0x80 != 0, header & 0x40 != 0);
        let mut nal = match (begins, self.fragments.take()) {
            (true, None) => {
                let mut nal = BytesMut::with_capacity(16 * data.len());
                nal.put_u8(indicator & 0xe0 | header & 0x1f);
                nal
            }
            (false, Some(nal)) => nal,
            (true, Some(_)) => return Err(PayloadError::Invalid("H.264 fragments without an end")),
            (false, None) => return Err(PayloadError::Invalid("H.264 fragment without a start")),
        };
        nal.put_slice(data);
        if ends {
            return self.push_nal(&nal);
        }
        self.fragments = Some(nal);
        Ok(())
    }

    /// Takes the access unit's parameter sets over; says whether those in use have changed.
    fn keep_sets(&mut self) -> Result<bool, PayloadError> {
        let mut changed = false;
        for nal in std::mem::take(&mut self.sets) {
            if nal_unit_type(&nal) == Some(nal_type::SPS) {
                let sps = Sps::parse(&nal).map_err(|_| PayloadError::Invalid("H.264 SPS"))?;
                if self.sps.get(&sps.id).is_some_and(|(known, _)| *known != nal) {
                    changed |= self.active.is_some_and(|(active, _)| active == sps.id);
                    // Its picture parameter sets were written against the old one and come again.
                    self.pps.retain(|_, (_, pps)| pps.sps_id != sps.id);
                }
                self.sps.insert(sps.id, (nal, sps));
            } else {
                let pps = Pps::parse(&nal).map_err(|_| PayloadError::Invalid("H.264 PPS"))?;
                if self.pps.get(&pps.id).is_some_and(|(known, _)| *known != nal) {
                    changed |= self.active.is_some_and(|(_, active)| active == pps.id);
                }
                self.pps.insert(pps.id, (nal, pps));
            }
        }
        Ok(changed)
    }
}
