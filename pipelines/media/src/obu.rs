//! The open bitstream units (OBUs) that AV1 consists of ("AV1 Bitstream & Decoding Process Specification" with errata 1).

use bytes::BufMut;

/// OBU types (section 6.2.2).
pub(crate) mod obu_type {
    pub(crate) const SEQUENCE_HEADER: u8 = 1;
    pub(crate) const TEMPORAL_DELIMITER: u8 = 2;
    pub(crate) const FRAME_HEADER: u8 = 3;
    pub(crate) const FRAME: u8 = 6;
    pub(crate) const TILE_LIST: u8 = 8;
    pub(crate) const PADDING: u8 = 15;
}

/// Why bytes are no OBU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ObuError {
    #[error("AV1 OBU ends early")]
    Truncated,
    #[error("AV1 OBU with the forbidden bit")]
    Forbidden,
}

/// One OBU (section 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Obu<'a> {
    /// Its header as it stands: `obu_has_size_field` and all.
    pub(crate) header: u8,
    /// The second byte of its header: which layer it belongs to.
    pub(crate) extension: Option<u8>,
    /// What stands behind header and size.
    pub(crate) body: &'a [u8],
}

impl<'a> Obu<'a> {
    /// The first OBU of `data` and what follows it: nothing when it has no size.
    pub(crate) fn read(data: &'a [u8]) -> Result<(Self, &'a [u8]), ObuError> {
        let (&header, mut rest) = data.split_first().ok_or(ObuError::Truncated)?;
        if header & 0x80 != 0 {
            return Err(ObuError::Forbidden);
        }
        let mut extension = None;
        if header & 0x04 != 0 {
            let (&byte, after) = rest.split_first().ok_or(ObuError::Truncated)?;
            (extension, rest) = (Some(byte), after);
        }
        let (body, rest) = if header & 0x02 != 0 {
            let (size, after) = read_leb128(rest).ok_or(ObuError::Truncated)?;
            after.split_at_checked(size).ok_or(ObuError::Truncated)?
        } else {
            (rest, &[][..])
        };
        Ok((Self { header, extension, body }, rest))
    }

    /// Its [`obu_type`].
    pub(crate) const fn kind(&self) -> u8 {
        self.header >> 3 & 0x0f
    }
}

/// The OBUs of `data`, to the first that is none.
pub(crate) fn obus(data: &[u8]) -> impl Iterator<Item = Result<Obu<'_>, ObuError>> {
    let mut rest = data;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let read = Obu::read(rest);
        rest = read.map_or(&[], |(_, after)| after);
        Some(read.map(|(obu, _)| obu))
    })
}

/// A `leb128()` number (section 4.10.5) and what follows it.
pub(crate) fn read_leb128(data: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0u64;
    for (index, byte) in data.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let value = u32::try_from(value).ok()?;
            return Some((value as usize, &data[index + 1..]));
        }
    }
    None
}

/// Writes a `leb128()` number in as few bytes as it needs.
pub(crate) fn put_leb128(out: &mut impl BufMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// How many bytes [`put_leb128`] writes.
pub(crate) const fn leb128_size(mut value: usize) -> usize {
    let mut size = 1;
    while value >= 0x80 {
        value >>= 7;
        size += 1;
    }
    size
}
