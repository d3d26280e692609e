//! AV1 ("RTP Payload Format For AV1" 1.0, Alliance for Open Media; bitstream: "AV1 Bitstream & Decoding Process
//! Specification" with errata 1).
//!
//! Frames leave as low-overhead OBU streams: every OBU with its size, no temporal delimiters, tile lists or padding,
//! as samples in ISO BMFF are ("AV1 Codec ISO Media File Format Binding" section 2.4).

use super::{Assemble, Finished, PayloadError, Picture};
use crate::bits::BitReader;
use crate::codec::{Codec, VideoFormat};
use crate::obu::{Obu, ObuError, obu_type, obus, put_leb128, read_leb128};
use bytes::{BufMut, Bytes, BytesMut};

/// Collects the OBUs of one temporal unit.
#[derive(Debug, Default)]
pub(crate) struct Av1Assembler {
    data: BytesMut,
    /// The OBU whose fragments are coming.
    fragment: Option<BytesMut>,
    /// The temporal unit's sequence header: the whole OBU as it stands in `data`, and what it says.
    sequence: Option<(Bytes, SequenceHeader)>,
    /// The first frame of the temporal unit is a shown key frame.
    first_frame_is_key: Option<bool>,
}

impl Assemble for Av1Assembler {
    fn push(&mut self, payload: &Bytes) -> Result<(), PayloadError> {
        // Section 4.4: |Z|Y| W |N|-|-|-|
        let aggregation = payload[0];
        let (continues, continued) = (aggregation & 0x80 != 0, aggregation & 0x40 != 0);
        let count = usize::from(aggregation >> 4 & 3);
        if continues != self.fragment.is_some() {
            return Err(PayloadError::Invalid("AV1 fragment without its other half"));
        }
        let mut rest = &payload[1..];
        let mut index = 0;
        while !rest.is_empty() {
            index += 1;
            let element;
            if count != 0 && index == count {
                (element, rest) = (rest, &[][..]);
            } else {
                let (size, after) =
                    read_leb128(rest).ok_or(PayloadError::Truncated("AV1 OBU element size"))?;
                (element, rest) =
                    after.split_at_checked(size).ok_or(PayloadError::Truncated("AV1 OBU element"))?;
            }
            let first_continues = index == 1 && continues;
            let last_continued = rest.is_empty() && continued;
            let mut obu = if first_continues { self.fragment.take() } else { None };
            if let Some(obu) = &mut obu {
                obu.put_slice(element);
            }
            if last_continued {
                self.fragment = Some(obu.unwrap_or_else(|| BytesMut::from(element)));
            } else {
                match obu {
                    Some(obu) => self.push_obu(&obu)?,
                    None => self.push_obu(element)?,
                }
            }
        }
        if index < count {
            return Err(PayloadError::Truncated("AV1 payload"));
        }
        if continued && self.fragment.is_none() {
            return Err(PayloadError::Invalid("AV1 fragment is empty"));
        }
        Ok(())
    }

    fn finish(&mut self, _after_loss: bool) -> Result<Finished, PayloadError> {
        // A head lost at an OBU boundary leaves a temporal unit without its sequence header: no keyframe then, and
        // after a loss only a keyframe is let through.
        if self.fragment.is_some() {
            return Ok(Finished::Incomplete);
        }
        let data = self.data.split().freeze();
        if data.is_empty() {
            return Ok(Finished::Nothing);
        }
        let keyframe = self.first_frame_is_key == Some(true) && self.sequence.is_some();
        let format = self.sequence.take().filter(|_| keyframe).map(|(obu, header)| VideoFormat {
            codec: Codec::Av1,
            width: header.width,
            height: header.height,
            config: header.av1c(&obu),
        });
        Ok(Finished::Picture(Picture { keyframe, format, data, reorder_depth: 0 }))
    }

    fn clear(&mut self) {
        self.data.clear();
        self.fragment = None;
        self.sequence = None;
        self.first_frame_is_key = None;
    }
}

impl Av1Assembler {
    /// A whole temporal unit as files have it: OBUs with their sizes, but the last one perhaps (bitstream specification section 5.2).
    /// `config`: OBUs of the decoder configuration record, put before a key frame that brings no sequence header along.
    pub(super) fn push_stream(&mut self, data: &[u8], config: &[u8]) -> Result<(), PayloadError> {
        for obu in obus(data) {
            let obu = obu?;
            if begins_key(&obu) && self.first_frame_is_key.is_none() && self.sequence.is_none() {
                for sequence in obus(config) {
                    self.push_read(&sequence?)?;
                }
            }
            self.push_read(&obu)?;
        }
        Ok(())
    }

    /// One whole OBU, with or without its size field: section 4.3 asks senders to leave it out, and some leave it in.
    fn push_obu(&mut self, obu: &[u8]) -> Result<(), PayloadError> {
        let (obu, _) = Obu::read(obu)?;
        self.push_read(&obu)
    }

    fn push_read(&mut self, obu: &Obu<'_>) -> Result<(), PayloadError> {
        let &Obu { header, extension, body } = obu;
        match obu.kind() {
            obu_type::TEMPORAL_DELIMITER | obu_type::TILE_LIST | obu_type::PADDING => return Ok(()),
            obu_type::FRAME | obu_type::FRAME_HEADER if self.first_frame_is_key.is_none() => {
                let still =
                    self.sequence.as_ref().is_some_and(|(_, sequence)| sequence.reduced_still_picture);
                self.first_frame_is_key = Some(still || begins_key(obu));
            }
            _ => {}
        }
        let start = self.data.len();
        self.data.put_u8(header & 0x7c | 0x02);
        if let Some(extension) = extension {
            self.data.put_u8(extension);
        }
        put_leb128(&mut self.data, body.len());
        self.data.put_slice(body);
        if obu.kind() == obu_type::SEQUENCE_HEADER {
            let parsed = SequenceHeader::parse(body).ok_or(PayloadError::Invalid("AV1 sequence header"))?;
            self.sequence = Some((Bytes::copy_from_slice(&self.data[start..]), parsed));
        }
        Ok(())
    }
}

/// Whether this is the header of a shown key frame: show_existing_frame(1), frame_type(2), show_frame(1) are 0 00 1 (section 5.9.2).
fn begins_key(obu: &Obu<'_>) -> bool {
    matches!(obu.kind(), obu_type::FRAME | obu_type::FRAME_HEADER)
        && obu.body.first().is_some_and(|byte| byte >> 4 == 1)
}

impl From<ObuError> for PayloadError {
    fn from(error: ObuError) -> Self {
        match error {
            ObuError::Truncated => Self::Truncated("AV1 OBU"),
            ObuError::Forbidden => Self::Invalid("AV1 OBU with the forbidden bit"),
        }
    }
}

/// What the sequence header says (bitstream specification section 5.5).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct SequenceHeader {
    profile: u8,
    level: u8,
    tier: u8,
    reduced_still_picture: bool,
    width: u32,
    height: u32,
    high_bitdepth: bool,
    twelve_bit: bool,
    monochrome: bool,
    subsampling_x: bool,
    subsampling_y: bool,
    chroma_sample_position: u8,
}

impl SequenceHeader {
    fn parse(body: &[u8]) -> Option<Self> {
        let mut bits = BitReader::new(body);
        let mut header = Self { profile: bits.bits(3)? as u8, ..Self::default() };
        bits.skip(1)?; // still_picture
        header.reduced_still_picture = bits.flag()?;
        if header.reduced_still_picture {
            header.level = bits.bits(5)? as u8;
        } else {
            header.read_operating_points(&mut bits)?;
        }
        let (width_bits, height_bits) = (bits.bits(4)? + 1, bits.bits(4)? + 1);
        header.width = bits.bits(width_bits)? + 1;
        header.height = bits.bits(height_bits)? + 1;
        if !header.reduced_still_picture && bits.flag()? {
            bits.skip(4 + 3)?; // frame id lengths
        }
        bits.skip(3)?; // use_128x128_superblock, enable_filter_intra, enable_intra_edge_filter
        if !header.reduced_still_picture {
            bits.skip(4)?; // interintra, masked compound, warped motion, dual filter
            let order_hint = bits.flag()?;
            if order_hint {
                bits.skip(2)?; // jnt_comp, ref_frame_mvs
            }
            let choose_screen_content = bits.flag()?;
            let force_screen_content = if choose_screen_content { 2 } else { bits.bits(1)? };
            if force_screen_content > 0 && !bits.flag()? {
                bits.skip(1)?; // seq_force_integer_mv
            }
            if order_hint {
                bits.skip(3)?;
            }
        }
        bits.skip(3)?; // enable_superres, enable_cdef, enable_restoration
        header.read_color_config(&mut bits)?;
        Some(header)
    }

    /// From `timing_info_present_flag` to the last operating point; the first one's level and tier are kept.
    fn read_operating_points(&mut self, bits: &mut BitReader<'_>) -> Option<()> {
        let mut decoder_model = None;
        if bits.flag()? {
            bits.skip(64)?; // num_units_in_display_tick, time_scale
            if bits.flag()? {
                bits.uvlc()?; // num_ticks_per_picture_minus_1
            }
            if bits.flag()? {
                let delay_bits = bits.bits(5)? + 1;
                bits.skip(32 + 5 + 5)?;
                decoder_model = Some(delay_bits);
            }
        }
        let initial_display_delay = bits.flag()?;
        let points = bits.bits(5)? + 1;
        for point in 0..points {
            bits.skip(12)?; // operating_point_idc
            let level = bits.bits(5)? as u8;
            let tier = if level > 7 { bits.bits(1)? as u8 } else { 0 };
            if point == 0 {
                (self.level, self.tier) = (level, tier);
            }
            if let Some(delay_bits) = decoder_model
                && bits.flag()?
            {
                bits.skip(2 * delay_bits + 1)?;
            }
            if initial_display_delay && bits.flag()? {
                bits.skip(4)?;
            }
        }
        Some(())
    }

    /// Section 5.5.2.
    fn read_color_config(&mut self, bits: &mut BitReader<'_>) -> Option<()> {
        self.high_bitdepth = bits.flag()?;
        if self.profile == 2 && self.high_bitdepth {
            self.twelve_bit = bits.flag()?;
        }
        self.monochrome = self.profile != 1 && bits.flag()?;
        let (mut primaries, mut transfer, mut matrix) = (2, 2, 2);
        if bits.flag()? {
            (primaries, transfer, matrix) = (bits.bits(8)?, bits.bits(8)?, bits.bits(8)?);
        }
        if self.monochrome {
            bits.skip(1)?; // color_range
            (self.subsampling_x, self.subsampling_y) = (true, true);
            return Some(());
        }
        // BT.709 primaries, sRGB transfer, identity matrix: RGB, 4:4:4.
        if (primaries, transfer, matrix) == (1, 13, 0) {
            return Some(());
        }
        bits.skip(1)?; // color_range
        (self.subsampling_x, self.subsampling_y) = match self.profile {
            0 => (true, true),
            1 => (false, false),
            _ if self.twelve_bit => {
                let x = bits.flag()?;
                (x, x && bits.flag()?)
            }
            _ => (true, false),
        };
        if self.subsampling_x && self.subsampling_y {
            self.chroma_sample_position = bits.bits(2)? as u8;
        }
        Some(())
    }

    /// The `av1C` record ("AV1 Codec ISO Media File Format Binding" section 2.3.3), with the sequence header OBU.
    fn av1c(&self, obu: &[u8]) -> Bytes {
        let flag = |on: bool, shift: u8| u8::from(on) << shift;
        let mut out = BytesMut::with_capacity(4 + obu.len());
        out.put_u8(0x81); // marker, version 1
        out.put_u8(self.profile << 5 | self.level);
        out.put_u8(
            self.tier << 7
                | flag(self.high_bitdepth, 6)
                | flag(self.twelve_bit, 5)
                | flag(self.monochrome, 4)
                | flag(self.subsampling_x, 3)
                | flag(self.subsampling_y, 2)
                | self.chroma_sample_position,
        );
        out.put_u8(0); // no initial presentation delay
        out.put_slice(obu);
        out.freeze()
    }
}
