//! Sequence and picture parameter sets (ITU-T H.264 sections 7.3.2.1, 7.3.2.2 and annex E).

use super::{H264Error, nal_type, nal_unit_type, unescape};
use crate::bits::BitReader;

/// The largest width or height taken for real, in pixels: twice what level 6.2 allows in practice.
const MAX_SIDE: u32 = 16_384;

/// What a sequence parameter set says about the pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sps {
    /// `seq_parameter_set_id`, 0 to 31.
    pub id: u8,
    /// `profile_idc`: 66 Baseline, 77 Main, 88 Extended, 100 High, 110 High 10, 122 High 4:2:2, 244 High 4:4:4.
    pub profile_idc: u8,
    /// The byte of `constraint_set0_flag` (most significant bit) to `constraint_set5_flag`.
    pub constraint_flags: u8,
    /// `level_idc`: ten times the level, so 31 is level 3.1.
    pub level_idc: u8,
    /// `chroma_format_idc`: 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4.
    pub chroma_format_idc: u8,
    /// Bits per luma sample, 8 to 14.
    pub bit_depth_luma: u8,
    /// Bits per chroma sample, 8 to 14.
    pub bit_depth_chroma: u8,
    /// `pic_order_cnt_type`; type 2 means display order is decoding order.
    pub poc_type: u8,
    /// `max_num_ref_frames`.
    pub max_num_ref_frames: u32,
    /// `frame_mbs_only_flag`: false when fields (interlaced pictures) may occur.
    pub progressive: bool,
    /// Width of the picture shown, in pixels: cropping applied.
    pub width: u32,
    /// Height of the picture shown, in pixels: cropping applied.
    pub height: u32,
    /// Width to height of one sample; `None` when not said.
    pub sample_aspect_ratio: Option<(u16, u16)>,
    /// Frames per second as numerator and denominator (`time_scale` / `2 * num_units_in_tick`); `None` when not said.
    pub frame_rate: Option<(u32, u32)>,
    /// `max_num_reorder_frames` of the bitstream restriction; `None` when not said.
    pub max_num_reorder_frames: Option<u32>,
    /// `max_dec_frame_buffering` of the bitstream restriction; `None` when not said.
    pub max_dec_frame_buffering: Option<u32>,
}

impl Sps {
    /// Parses a sequence parameter set NAL unit, its header byte included.
    ///
    /// # Errors
    /// [`H264Error`] when it is of another type, cut short or out of range. A broken VUI is no error: what comes
    /// before it suffices to decode, and its fields are `None`.
    pub fn parse(nal: &[u8]) -> Result<Self, H264Error> {
        match nal_unit_type(nal) {
            Some(nal_type::SPS) => {}
            Some(found) => return Err(H264Error::WrongType { expected: nal_type::SPS, found }),
            None => return Err(H264Error::Truncated("SPS")),
        }
        let rbsp = unescape(&nal[1..]);
        let mut bits = BitReader::new(&rbsp);
        let (mut sps, has_vui) = parse_body(&mut bits).ok_or(H264Error::Truncated("SPS"))??;
        if has_vui {
            // Each field is set as it is read, so a cut VUI keeps what it said before.
            let _cut_short = parse_vui(&mut bits, &mut sps);
        }
        Ok(sps)
    }

    /// How many frames may precede another in decoding order and follow it in display order, at most.
    ///
    /// Zero where the stream rules it out (profile, POC type or bitstream restriction). Where it says nothing, the
    /// standard's own bound (section E.2.1) would assume the worst; `None` here says "unknown".
    pub fn reorder_depth(&self) -> Option<u32> {
        let never = self.poc_type == 2
            || self.profile_idc == 66
            || self.max_num_ref_frames == 0
            // CAVLC 4:4:4 Intra and the intra-only profiles (constraint_set3 of the High family).
            || self.profile_idc == 44
            || (matches!(self.profile_idc, 100 | 110 | 122 | 244) && self.constraint_flags & 0x10 != 0);
        if never { Some(0) } else { self.max_num_reorder_frames }
    }
}

/// Whether a profile's SPS carries the chroma and bit depth fields (section 7.3.2.1.1).
const fn has_chroma_fields(profile_idc: u8) -> bool {
    matches!(profile_idc, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135)
}

/// Everything up to the VUI; the flag says whether one follows. `None` when cut short.
fn parse_body(bits: &mut BitReader<'_>) -> Option<Result<(Sps, bool), H264Error>> {
    let profile_idc = bits.bits(8)? as u8;
    let constraint_flags = bits.bits(8)? as u8;
    let level_idc = bits.bits(8)? as u8;
    let id = bits.ue()?;
    if id > 31 {
        return Some(Err(H264Error::OutOfRange("seq_parameter_set_id")));
    }
    let (mut chroma_format_idc, mut separate_planes) = (1, false);
    let (mut depth_luma, mut depth_chroma) = (0, 0);
    if has_chroma_fields(profile_idc) {
        chroma_format_idc = bits.ue()?;
        if chroma_format_idc > 3 {
            return Some(Err(H264Error::OutOfRange("chroma_format_idc")));
        }
        separate_planes = chroma_format_idc == 3 && bits.flag()?;
        (depth_luma, depth_chroma) = (bits.ue()?, bits.ue()?);
        if depth_luma > 6 || depth_chroma > 6 {
            return Some(Err(H264Error::OutOfRange("bit_depth")));
        }
        bits.skip(1)?; // qpprime_y_zero_transform_bypass_flag
        if bits.flag()? {
            skip_scaling_lists(bits, if chroma_format_idc == 3 { 12 } else { 8 })?;
        }
    }
    bits.ue()?; // log2_max_frame_num_minus4
    let poc_type = match skip_pic_order_count(bits)? {
        Ok(poc_type) => poc_type,
        Err(error) => return Some(Err(error)),
    };
    let max_num_ref_frames = bits.ue()?;
    bits.skip(1)?; // gaps_in_frame_num_value_allowed_flag
    let (width_mbs, height_map_units) = (bits.ue()?, bits.ue()?);
    let progressive = bits.flag()?;
    if !progressive {
        bits.skip(1)?; // mb_adaptive_frame_field_flag
    }
    bits.skip(1)?; // direct_8x8_inference_flag
    let crop = if bits.flag()? { [bits.ue()?, bits.ue()?, bits.ue()?, bits.ue()?] } else { [0; 4] };
    let has_vui = bits.flag()?;

    // Section 7.4.2.1.1: crop units depend on the chroma format and on field coding.
    let (unit_x, unit_y) = match (chroma_format_idc, separate_planes) {
        (1, _) => (2, 2),
        (2, _) => (2, 1),
        _ => (1, 1),
    };
    let field_factor = if progressive { 1 } else { 2 };
    let side = |units: u32, size: u32, from: u32, to: u32, unit: u32| {
        let coded = units.checked_add(1)?.checked_mul(size)?;
        let cropped = from.checked_add(to)?.checked_mul(unit)?;
        coded.checked_sub(cropped).filter(|n| (1..=MAX_SIDE).contains(n))
    };
    let width = side(width_mbs, 16, crop[0], crop[1], unit_x);
    let height = side(height_map_units, 16 * field_factor, crop[2], crop[3], unit_y * field_factor);
    let (Some(width), Some(height)) = (width, height) else {
        return Some(Err(H264Error::OutOfRange("picture size")));
    };
    let sps = Sps {
        id: id as u8,
        profile_idc,
        constraint_flags,
        level_idc,
        chroma_format_idc: chroma_format_idc as u8,
        bit_depth_luma: 8 + depth_luma as u8,
        bit_depth_chroma: 8 + depth_chroma as u8,
        poc_type,
        max_num_ref_frames,
        progressive,
        width,
        height,
        sample_aspect_ratio: None,
        frame_rate: None,
        max_num_reorder_frames: None,
        max_dec_frame_buffering: None,
    };
    Some(Ok((sps, has_vui)))
}

/// Passes over the picture order count fields; their type. `None` when cut short.
fn skip_pic_order_count(bits: &mut BitReader<'_>) -> Option<Result<u8, H264Error>> {
    let poc_type = bits.ue()?;
    match poc_type {
        0 => drop(bits.ue()?),
        1 => {
            bits.skip(1)?;
            bits.se()?;
            bits.se()?;
            let cycle = bits.ue()?;
            if cycle > 255 {
                return Some(Err(H264Error::OutOfRange("num_ref_frames_in_pic_order_cnt_cycle")));
            }
            for _ in 0..cycle {
                bits.se()?;
            }
        }
        2 => {}
        _ => return Some(Err(H264Error::OutOfRange("pic_order_cnt_type"))),
    }
    Some(Ok(poc_type as u8))
}

/// Passes over scaling lists (section 7.3.2.1.1.1).
fn skip_scaling_lists(bits: &mut BitReader<'_>, count: usize) -> Option<()> {
    for list in 0..count {
        if !bits.flag()? {
            continue;
        }
        let (mut last, mut next) = (8i32, 8i32);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last.wrapping_add(bits.se()?)).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
    }
    Some(())
}

/// Video usability information (section E.1.1). `None` when cut short.
fn parse_vui(bits: &mut BitReader<'_>, sps: &mut Sps) -> Option<()> {
    if bits.flag()? {
        let ratio = bits.bits(8)?;
        sps.sample_aspect_ratio = match ratio {
            255 => Some((bits.bits(16)? as u16, bits.bits(16)? as u16)),
            n => SAMPLE_ASPECT_RATIOS.get((n as usize).checked_sub(1)?).copied(),
        };
    }
    if bits.flag()? {
        bits.skip(1)?; // overscan_appropriate_flag
    }
    if bits.flag()? {
        bits.skip(4)?; // video_format, video_full_range_flag
        if bits.flag()? {
            bits.skip(24)?; // colour description
        }
    }
    if bits.flag()? {
        bits.ue()?; // chroma_sample_loc_type_top_field
        bits.ue()?;
    }
    if bits.flag()? {
        let (units_in_tick, time_scale) = (bits.bits(32)?, bits.bits(32)?);
        bits.skip(1)?; // fixed_frame_rate_flag
        if units_in_tick > 0 && time_scale > 0 {
            sps.frame_rate = reduce(u64::from(time_scale), 2 * u64::from(units_in_tick));
        }
    }
    let nal_hrd = bits.flag()?;
    if nal_hrd {
        skip_hrd(bits)?;
    }
    let vcl_hrd = bits.flag()?;
    if vcl_hrd {
        skip_hrd(bits)?;
    }
    if nal_hrd || vcl_hrd {
        bits.skip(1)?; // low_delay_hrd_flag
    }
    bits.skip(1)?; // pic_struct_present_flag
    if bits.flag()? {
        bits.skip(1)?; // motion_vectors_over_pic_boundaries_flag
        for _ in 0..4 {
            bits.ue()?; // max_bytes_per_pic_denom .. log2_max_mv_length_vertical
        }
        // max_dec_frame_buffering is at most 16 (section A.3.1).
        sps.max_num_reorder_frames = Some(bits.ue()?).filter(|n| *n <= 16);
        sps.max_dec_frame_buffering = Some(bits.ue()?).filter(|n| *n <= 16);
    }
    Some(())
}

/// Table E-1, from `aspect_ratio_idc` 1.
const SAMPLE_ASPECT_RATIOS: [(u16, u16); 16] = [
    (1, 1),
    (12, 11),
    (10, 11),
    (16, 11),
    (40, 33),
    (24, 11),
    (20, 11),
    (32, 11),
    (80, 33),
    (18, 11),
    (15, 11),
    (64, 33),
    (160, 99),
    (4, 3),
    (3, 2),
    (2, 1),
];

/// Passes over HRD parameters (section E.1.2).
fn skip_hrd(bits: &mut BitReader<'_>) -> Option<()> {
    let count = bits.ue()?;
    if count > 31 {
        return None;
    }
    bits.skip(8)?;
    for _ in 0..=count {
        bits.ue()?;
        bits.ue()?;
        bits.skip(1)?;
    }
    bits.skip(20)
}

/// The fraction in lowest terms, if both sides then fit.
fn reduce(numerator: u64, denominator: u64) -> Option<(u32, u32)> {
    let (mut a, mut b) = (numerator, denominator);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    Some((u32::try_from(numerator / a).ok()?, u32::try_from(denominator / a).ok()?))
}

/// What a picture parameter set says first (section 7.3.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pps {
    /// `pic_parameter_set_id`, 0 to 255.
    pub id: u8,
    /// The sequence parameter set it refines.
    pub sps_id: u8,
    /// `entropy_coding_mode_flag`: CABAC when true, CAVLC when false.
    pub cabac: bool,
}

impl Pps {
    /// Parses the start of a picture parameter set NAL unit, its header byte included.
    ///
    /// # Errors
    /// [`H264Error`] when it is of another type, cut short or out of range.
    pub fn parse(nal: &[u8]) -> Result<Self, H264Error> {
        match nal_unit_type(nal) {
            Some(nal_type::PPS) => {}
            Some(found) => return Err(H264Error::WrongType { expected: nal_type::PPS, found }),
            None => return Err(H264Error::Truncated("PPS")),
        }
        let rbsp = unescape(&nal[1..]);
        let mut bits = BitReader::new(&rbsp);
        let mut fields = || Some((bits.ue()?, bits.ue()?, bits.flag()?));
        let (id, sps_id, cabac) = fields().ok_or(H264Error::Truncated("PPS"))?;
        let id = u8::try_from(id).map_err(|_| H264Error::OutOfRange("pic_parameter_set_id"))?;
        if sps_id > 31 {
            return Err(H264Error::OutOfRange("seq_parameter_set_id"));
        }
        Ok(Self { id, sps_id: sps_id as u8, cabac })
    }
}
