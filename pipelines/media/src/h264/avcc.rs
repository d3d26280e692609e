//! The decoder configuration record `avcC` (ISO/IEC 14496-15 section 5.3.3.1).

use super::{H264Error, Sps, nal_type, nal_unit_type};
use bytes::{BufMut, Bytes, BytesMut};

/// An `avcC` record: the parameter sets of a stream and how its NAL units are framed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AvcConfig {
    /// Bytes in each NAL unit's length: 1, 2 or 4.
    pub length_size: u8,
    /// Sequence parameter set NAL units, header byte included.
    pub sps: Vec<Bytes>,
    /// Picture parameter set NAL units, header byte included.
    pub pps: Vec<Bytes>,
}

impl AvcConfig {
    /// The record of these parameter sets, with four-byte lengths.
    pub const fn new(sps: Vec<Bytes>, pps: Vec<Bytes>) -> Self {
        Self { length_size: 4, sps, pps }
    }

    /// Parses an `avcC` record (the box's content, without the box header).
    ///
    /// # Errors
    /// [`H264Error`] when it is cut short, of another version, or without an SPS.
    pub fn parse(record: &[u8]) -> Result<Self, H264Error> {
        let truncated = H264Error::Truncated("avcC");
        let (head, mut rest) = record.split_at_checked(5).ok_or(truncated)?;
        if head[0] != 1 {
            return Err(H264Error::OutOfRange("configurationVersion"));
        }
        let length_size = (head[4] & 3) + 1;
        if length_size == 3 {
            return Err(H264Error::OutOfRange("lengthSizeMinusOne"));
        }
        let mut take = |mask: u8| -> Result<Vec<Bytes>, H264Error> {
            let (count, mut data) = rest.split_first().ok_or(truncated)?;
            let mut sets = Vec::new();
            for _ in 0..count & mask {
                let (length, tail) = data.split_at_checked(2).ok_or(truncated)?;
                let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                let (nal, tail) = tail.split_at_checked(length).ok_or(truncated)?;
                sets.push(Bytes::copy_from_slice(nal));
                data = tail;
            }
            rest = data;
            Ok(sets)
        };
        let (sps, pps) = (take(0x1f)?, take(0xff)?);
        if sps.is_empty() {
            return Err(H264Error::Missing("SPS"));
        }
        Ok(Self { length_size, sps, pps })
    }

    /// The record's bytes.
    ///
    /// # Errors
    /// [`H264Error`] when there is no SPS or PPS, the first SPS does not parse, or a set is too long or there are
    /// too many for the record's fields.
    pub fn build(&self) -> Result<Bytes, H264Error> {
        let first = self.sps.first().ok_or(H264Error::Missing("SPS"))?;
        let first_pps = self.pps.first().ok_or(H264Error::Missing("PPS"))?;
        if nal_unit_type(first_pps) != Some(nal_type::PPS) {
            return Err(H264Error::Missing("PPS"));
        }
        let sps = Sps::parse(first)?;
        if self.sps.len() > 31 || self.pps.len() > 255 {
            return Err(H264Error::OutOfRange("number of parameter sets"));
        }
        let mut out = BytesMut::with_capacity(64);
        out.put_slice(&[1, sps.profile_idc, sps.constraint_flags, sps.level_idc]);
        out.put_u8(0xfc | (self.length_size - 1));
        out.put_u8(0xe0 | self.sps.len() as u8);
        put_sets(&mut out, &self.sps)?;
        out.put_u8(self.pps.len() as u8);
        put_sets(&mut out, &self.pps)?;
        // The later editions' condition; the first one's list of High profiles is contained in it.
        if !matches!(sps.profile_idc, 66 | 77 | 88) {
            let (luma, chroma) = (sps.bit_depth_luma - 8, sps.bit_depth_chroma - 8);
            out.put_slice(&[0xfc | sps.chroma_format_idc, 0xf8 | luma, 0xf8 | chroma, 0]);
        }
        Ok(out.freeze())
    }

    /// The first sequence parameter set, parsed.
    ///
    /// # Errors
    /// [`H264Error`] as of [`Sps::parse`].
    pub fn first_sps(&self) -> Result<Sps, H264Error> {
        Sps::parse(self.sps.first().ok_or(H264Error::Missing("SPS"))?)
    }
}

fn put_sets(out: &mut BytesMut, sets: &[Bytes]) -> Result<(), H264Error> {
    for nal in sets {
        out.put_u16(u16::try_from(nal.len()).map_err(|_| H264Error::OutOfRange("parameter set length"))?);
        out.put_slice(nal);
    }
    Ok(())
}

/// The `CODECS` entry of an `avcC` record (RFC 6381 section 3.3): `avc1.` and profile, constraints and level in hex,
/// e.g. `avc1.640028`.
///
/// # Errors
/// [`H264Error::Truncated`] when the record is shorter than that.
pub fn codec_string(avcc: &[u8]) -> Result<String, H264Error> {
    match avcc {
        [1, profile, constraints, level, ..] => Ok(format!("avc1.{profile:02x}{constraints:02x}{level:02x}")),
        _ => Err(H264Error::Truncated("avcC")),
    }
}
