//! A reader of bits, most significant first, that never reads past its end: the headers of H.264, VP9 and AV1 need it.

/// Reads bits from a slice. Every read past the end is `None`, and then so are all that follow.
#[derive(Debug, Clone)]
pub(crate) struct BitReader<'a> {
    data: &'a [u8],
    /// The next bit, counted from the start.
    position: usize,
}

impl<'a> BitReader<'a> {
    pub(crate) const fn new(data: &'a [u8]) -> Self {
        Self { data, position: 0 }
    }

    /// One bit as a flag.
    pub(crate) fn flag(&mut self) -> Option<bool> {
        let byte = *self.data.get(self.position / 8)?;
        let bit = byte >> (7 - self.position % 8) & 1;
        self.position += 1;
        Some(bit == 1)
    }

    /// `count` bits, at most 32, as an unsigned number.
    pub(crate) fn bits(&mut self, count: u32) -> Option<u32> {
        debug_assert!(count <= 32, "a u32 holds 32 bits");
        let mut value = 0u64;
        for _ in 0..count {
            value = value << 1 | u64::from(self.flag()?);
        }
        u32::try_from(value).ok()
    }

    /// Passes over `count` bits.
    pub(crate) fn skip(&mut self, count: u32) -> Option<()> {
        let end = self.position.checked_add(count as usize)?;
        if end > self.data.len() * 8 {
            return None;
        }
        self.position = end;
        Some(())
    }

    /// An unsigned Exp-Golomb number, `ue(v)` (ITU-T H.264 section 9.1).
    pub(crate) fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let suffix = self.bits(zeros)?;
        Some((1u32 << zeros) - 1 + suffix)
    }

    /// A signed Exp-Golomb number, `se(v)` (ITU-T H.264 section 9.1.1).
    pub(crate) fn se(&mut self) -> Option<i32> {
        let code = i64::from(self.ue()?);
        let magnitude = (code + 1) / 2;
        i32::try_from(if code % 2 == 1 { magnitude } else { -magnitude }).ok()
    }

    /// A variable-length unsigned number, `uvlc()` (AV1 section 4.10.3).
    pub(crate) fn uvlc(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros >= 32 {
                return Some(u32::MAX);
            }
        }
        let suffix = self.bits(zeros)?;
        Some((1u32 << zeros) - 1 + suffix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes_read_as_the_standard_lists_them() {
        // 1 | 010 | 011 | 00100 | 00101, then padding: code numbers 0 1 2 3 4 (table 9-2).
        let data = [0b1010_0110, 0b0100_0010, 0b1000_0000];
        let mut unsigned = BitReader::new(&data);
        assert_eq!([0; 5].map(|_| unsigned.ue()), [Some(0), Some(1), Some(2), Some(3), Some(4)]);
        let mut signed = BitReader::new(&data);
        assert_eq!([0; 5].map(|_| signed.se()), [Some(0), Some(1), Some(-1), Some(2), Some(-2)]);
    }

    #[test]
    fn reading_past_the_end_is_none_and_stays_none() {
        let mut bits = BitReader::new(&[0xff]);
        assert_eq!(bits.bits(8), Some(0xff));
        assert_eq!(bits.flag(), None);
        assert_eq!(bits.skip(1), None);
        assert_eq!(BitReader::new(&[0, 0, 0, 0, 0, 0]).ue(), None);
    }
}
