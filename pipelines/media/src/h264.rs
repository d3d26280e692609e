//! The parts of an H.264 bitstream that a packager must understand: NAL units and their two framings, parameter
//! sets, the `avcC` record, and what a slice header says first. No picture is decoded here.
//!
//! Two framings exist. *Annex B* puts a start code (`00 00 01`) before each NAL unit; *AVCC* (ISO/IEC 14496-15
//! section 5.3.2) puts its length. [`crate::frame::Frame`]s are AVCC with four-byte lengths.

mod avcc;
mod sps;

pub use avcc::{AvcConfig, codec_string};
pub use sps::{Pps, Sps};

use crate::bits::BitReader;
use bytes::{BufMut, Bytes, BytesMut};

/// NAL unit types (ITU-T H.264 table 7-1).
pub mod nal_type {
    /// A coded slice of a picture that is no IDR picture.
    pub const SLICE: u8 = 1;
    /// A coded slice of an IDR picture: decoding can start here.
    pub const IDR: u8 = 5;
    /// Supplemental enhancement information.
    pub const SEI: u8 = 6;
    /// Sequence parameter set.
    pub const SPS: u8 = 7;
    /// Picture parameter set.
    pub const PPS: u8 = 8;
    /// Access unit delimiter.
    pub const AUD: u8 = 9;
    /// End of sequence.
    pub const END_OF_SEQUENCE: u8 = 10;
    /// End of stream.
    pub const END_OF_STREAM: u8 = 11;
    /// Filler data.
    pub const FILLER: u8 = 12;
    /// Sequence parameter set extension.
    pub const SPS_EXTENSION: u8 = 13;
}

/// Why a piece of H.264 could not be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum H264Error {
    /// The data ends inside the named structure.
    #[error("{0} ends early")]
    Truncated(&'static str),
    /// A value is outside what the standard allows.
    #[error("{0} is out of range")]
    OutOfRange(&'static str),
    /// The NAL unit is of another type than was asked for.
    #[error("expected NAL unit type {expected}, found {found}")]
    WrongType {
        /// The type asked for.
        expected: u8,
        /// The type found.
        found: u8,
    },
    /// An `avcC` record without a parameter set is of no use to a decoder.
    #[error("no {0}")]
    Missing(&'static str),
}

/// The `nal_unit_type` of a NAL unit, or `None` when it is empty.
pub fn nal_unit_type(nal: &[u8]) -> Option<u8> {
    nal.first().map(|header| header & 0x1f)
}

/// Whether a NAL unit of this type carries picture data (types 1 to 5, ITU-T H.264 table 7-1).
pub const fn is_vcl(nal_type: u8) -> bool {
    nal_type >= 1 && nal_type <= 5
}

/// The kind of a slice (ITU-T H.264 table 7-6, modulo 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SliceType {
    /// Predicted from one picture per block.
    P,
    /// Predicted from two pictures per block: coded order may differ from display order.
    B,
    /// Not predicted from other pictures.
    I,
    /// Switching P.
    Sp,
    /// Switching I.
    Si,
}

/// The first fields of a slice header (ITU-T H.264 section 7.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SliceHeader {
    /// Address of its first macroblock; zero in the first slice of a picture.
    pub first_mb_in_slice: u32,
    /// Its kind.
    pub slice_type: SliceType,
    /// The picture parameter set it uses.
    pub pps_id: u8,
}

impl SliceHeader {
    /// Reads the first fields of the slice in `nal` (NAL header included); `None` when `nal` is no slice of type 1
    /// or 5, is cut short, or holds an impossible value.
    pub fn parse(nal: &[u8]) -> Option<Self> {
        if !matches!(nal_unit_type(nal)?, nal_type::SLICE | nal_type::IDR) {
            return None;
        }
        // Three Exp-Golomb numbers fit 24 bytes, emulation prevention included.
        let rbsp = unescape(&nal[1..nal.len().min(25)]);
        let mut bits = BitReader::new(&rbsp);
        let first_mb_in_slice = bits.ue()?;
        let slice_type = match bits.ue()? {
            0 | 5 => SliceType::P,
            1 | 6 => SliceType::B,
            2 | 7 => SliceType::I,
            3 | 8 => SliceType::Sp,
            4 | 9 => SliceType::Si,
            _ => return None,
        };
        let pps_id = u8::try_from(bits.ue()?).ok()?;
        Some(Self { first_mb_in_slice, slice_type, pps_id })
    }
}

/// The kind of the slice in `nal`; `None` when it is no slice of type 1 or 5.
pub fn slice_type(nal: &[u8]) -> Option<SliceType> {
    SliceHeader::parse(nal).map(|header| header.slice_type)
}

/// An access unit (lengths of four bytes) with the parameter sets of its format before it, unless it begins with some.
///
/// ISO/IEC 14496-15 has them in the sample entry alone where that is `avc1`. In band besides, they do no harm, and a demuxer that
/// reads one sample entry only (ffmpeg 5.1 passes over every `moov` but the first) decodes on when the picture's size changes.
///
/// # Errors
/// [`H264Error`] when `config` is no `avcC`.
pub fn with_parameter_sets(config: &[u8], access_unit: &Bytes) -> Result<Bytes, H264Error> {
    let first = avcc_nals(access_unit, 4).next().and_then(Result::ok).and_then(nal_unit_type);
    if first == Some(nal_type::SPS) {
        return Ok(access_unit.clone());
    }
    let config = AvcConfig::parse(config)?;
    let sets: Vec<&Bytes> = config.sps.iter().chain(&config.pps).collect();
    let size: usize = sets.iter().map(|set| 4 + set.len()).sum();
    let mut out = BytesMut::with_capacity(size + access_unit.len());
    for set in sets {
        // A set in `avcC` has a length of 16 bits.
        out.put_u32(u32::try_from(set.len()).unwrap_or(0));
        out.extend_from_slice(set);
    }
    out.extend_from_slice(access_unit);
    Ok(out.freeze())
}

/// The NAL units of an AVCC buffer with `length_size` (1, 2 or 4) byte lengths, each without its length.
///
/// A length that reaches past the end is an error, after which the iterator ends. Empty NAL units are passed over.
pub fn avcc_nals(data: &[u8], length_size: usize) -> AvccNals<'_> {
    AvccNals { data, length_size }
}

/// See [`avcc_nals`].
#[derive(Debug, Clone)]
pub struct AvccNals<'a> {
    data: &'a [u8],
    length_size: usize,
}

impl<'a> Iterator for AvccNals<'a> {
    type Item = Result<&'a [u8], H264Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.data.is_empty() {
                return None;
            }
            let Some((length, rest)) = self.data.split_at_checked(self.length_size) else {
                self.data = &[];
                return Some(Err(H264Error::Truncated("NAL unit length")));
            };
            let length = length.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
            let Some((nal, rest)) = rest.split_at_checked(length) else {
                self.data = &[];
                return Some(Err(H264Error::Truncated("NAL unit")));
            };
            self.data = rest;
            if !nal.is_empty() {
                return Some(Ok(nal));
            }
            if self.length_size == 0 {
                self.data = &[];
            }
        }
    }
}

/// The NAL units of an Annex B buffer (ITU-T H.264 annex B), each without start code and trailing zeros. What stands
/// before the first start code is passed over.
pub fn annex_b_nals(data: &[u8]) -> AnnexBNals<'_> {
    AnnexBNals { rest: find_start_code(data).map(|(_, after)| &data[after..]) }
}

/// See [`annex_b_nals`].
#[derive(Debug, Clone)]
pub struct AnnexBNals<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for AnnexBNals<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let rest = self.rest?;
            let (mut nal, next) = match find_start_code(rest) {
                Some((start, after)) => (&rest[..start], Some(&rest[after..])),
                None => (rest, None),
            };
            self.rest = next;
            // trailing_zero_8bits belongs to no NAL unit (section B.1.1), which never ends in a zero byte.
            while let [head @ .., 0] = nal {
                nal = head;
            }
            if !nal.is_empty() {
                return Some(nal);
            }
        }
    }
}

/// The first three-byte start code: where it begins, and where it ends.
fn find_start_code(data: &[u8]) -> Option<(usize, usize)> {
    data.windows(3).position(|w| w == [0, 0, 1]).map(|at| (at, at + 3))
}

/// AVCC with four-byte lengths from Annex B; every NAL unit is kept.
pub fn annex_b_to_avcc(data: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(data.len() + 16);
    for nal in annex_b_nals(data) {
        put_avcc(&mut out, nal);
    }
    out.freeze()
}

/// Annex B with four-byte start codes from AVCC with four-byte lengths.
///
/// # Errors
/// [`H264Error::Truncated`] when a length reaches past the end.
pub fn avcc_to_annex_b(data: &[u8]) -> Result<Bytes, H264Error> {
    let mut out = BytesMut::with_capacity(data.len() + 16);
    for nal in avcc_nals(data, 4) {
        out.put_slice(&[0, 0, 0, 1]);
        out.put_slice(nal?);
    }
    Ok(out.freeze())
}

/// Appends one NAL unit in AVCC framing with a four-byte length.
pub(crate) fn put_avcc(out: &mut BytesMut, nal: &[u8]) {
    out.put_u32(
        u32::try_from(nal.len()).expect("a NAL unit is shorter than the bounded frame it is part of"),
    );
    out.put_slice(nal);
}

/// The RBSP of a NAL unit's payload: emulation prevention bytes removed (ITU-T H.264 section 7.4.1).
pub(crate) fn unescape(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len());
    let mut zeros = 0;
    for &byte in payload {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    out
}

#[cfg(test)]
mod tests;
