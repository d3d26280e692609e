//! H.264 (ITU-T H.264), as far as the rules look into it: is a picture an IDR picture, and how large are pictures.

/// Whether an access unit of length-prefixed units (ISO/IEC 14496-15) has an IDR slice (unit type 5).
pub(crate) fn is_idr(mut unit: &[u8], length_size: usize) -> bool {
    while unit.len() > length_size {
        let (length, rest) = unit.split_at(length_size);
        let length = length.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
        match rest.first() {
            Some(header) if header & 0x1f == 5 => return true,
            // The first slice tells for the whole picture.
            Some(header) if header & 0x1f == 1 => return false,
            _ => {}
        }
        unit = rest.get(length..).unwrap_or_default();
    }
    false
}

/// Width and height of the cropped picture, by a sequence parameter set (section 7.3.2.1.1), header byte included.
pub(crate) fn picture_size(sps: &[u8]) -> Option<(u32, u32)> {
    // Emulation prevention bytes are no part of it (section 7.4.1).
    let mut plain: Vec<u8> = Vec::with_capacity(sps.len());
    for byte in sps {
        if !(*byte == 3 && plain.ends_with(&[0, 0])) {
            plain.push(*byte);
        }
    }
    let mut bits = Bits { bytes: plain.get(4..)?, at: 0 };
    let profile = plain[1];
    bits.golomb()?;
    let mut chroma = 1;
    if [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135].contains(&profile) {
        chroma = bits.golomb()?;
        if chroma == 3 {
            bits.take(1)?;
        }
        bits.golomb()?;
        bits.golomb()?;
        bits.take(1)?;
        if bits.take(1)? == 1 {
            // Scaling lists change no size; no encoder of live streams sends them.
            return None;
        }
    }
    bits.golomb()?;
    match bits.golomb()? {
        0 => drop(bits.golomb()?),
        1 => {
            bits.take(1)?;
            bits.golomb()?;
            bits.golomb()?;
            for _ in 0..bits.golomb()? {
                bits.golomb()?;
            }
        }
        _ => {}
    }
    bits.golomb()?;
    bits.take(1)?;
    let width = (bits.golomb()? + 1) * 16;
    let map_units = bits.golomb()? + 1;
    let frames_only = bits.take(1)?;
    if frames_only == 0 {
        bits.take(1)?;
    }
    let height = map_units * 16 * (2 - frames_only);
    bits.take(1)?;
    if bits.take(1)? == 0 {
        return Some((width, height));
    }
    let (unit_x, unit_y) = match chroma {
        0 | 3 => (1, 2 - frames_only),
        2 => (2, 2 - frames_only),
        _ => (2, 2 * (2 - frames_only)),
    };
    let (left, right, top, bottom) = (bits.golomb()?, bits.golomb()?, bits.golomb()?, bits.golomb()?);
    Some((width.checked_sub((left + right) * unit_x)?, height.checked_sub((top + bottom) * unit_y)?))
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    /// An unsigned Exp-Golomb code (section 9.1).
    fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.take(1)? == 0 {
            zeros += 1;
            if zeros > 16 {
                return None;
            }
        }
        Some((1 << zeros) - 1 + self.take(zeros)?)
    }
}
