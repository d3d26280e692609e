//! The inside of a Block or SimpleBlock (RFC 9559 section 10): its head and the frames laced into it.
//!
//! `webm_iterable` has this too, but in 0.7 its `Block` and `SimpleBlock` read past the end of short data and panic.

use bytes::{Buf, Bytes};
use ebml_iterable::tools::read_vint;

/// A block's head and frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Laced {
    pub(super) track: u64,
    /// Ticks of the TimestampScale from the cluster's timestamp.
    pub(super) relative: i16,
    /// The flag of a SimpleBlock; means nothing in a Block.
    pub(super) keyframe: bool,
    /// At least one.
    pub(super) frames: Vec<Bytes>,
}

impl Laced {
    /// Takes a block's data apart; `None` when it is cut short or contradicts itself. The frames share `data`.
    pub(super) fn parse(mut data: Bytes) -> Option<Self> {
        let (track, length) = read_vint(&data).ok()??;
        data.advance(length);
        let (&[high, low, flags], _) = data.split_first_chunk()?;
        data.advance(3);
        let sizes = match flags & 0x06 {
            0 => Vec::new(),
            0x02 => xiph_sizes(&mut data)?,
            0x04 => fixed_sizes(&mut data)?,
            _ => ebml_sizes(&mut data)?,
        };
        let mut frames = Vec::with_capacity(sizes.len() + 1);
        for size in sizes {
            if size > data.len() {
                return None;
            }
            frames.push(data.split_to(size));
        }
        frames.push(data);
        Some(Self { track, relative: i16::from_be_bytes([high, low]), keyframe: flags & 0x80 != 0, frames })
    }
}

fn next_byte(data: &mut Bytes) -> Option<u8> {
    data.has_remaining().then(|| data.get_u8())
}

/// Section 10.3.2: each size but the last as a sum of bytes, which ends with one that is not 255.
fn xiph_sizes(data: &mut Bytes) -> Option<Vec<usize>> {
    let count = next_byte(data)?;
    (0..count)
        .map(|_| {
            let mut size = 0;
            loop {
                let byte = next_byte(data)?;
                size += usize::from(byte);
                if byte != 255 {
                    return Some(size);
                }
            }
        })
        .collect()
}

/// Section 10.3.4: all of one size.
fn fixed_sizes(data: &mut Bytes) -> Option<Vec<usize>> {
    let count = usize::from(next_byte(data)?);
    data.len().is_multiple_of(count + 1).then(|| vec![data.len() / (count + 1); count])
}

/// Section 10.3.3: the first size, then differences, as numbers of variable length; a difference is shifted by half its range.
fn ebml_sizes(data: &mut Bytes) -> Option<Vec<usize>> {
    let count = next_byte(data)?;
    let mut size = 0i64;
    (0..count)
        .map(|index| {
            let (value, length) = read_vint(data).ok()??;
            data.advance(length);
            let value = i64::try_from(value).ok()?;
            size = if index == 0 { value } else { size.checked_add(value - ((1 << (7 * length - 1)) - 1))? };
            usize::try_from(size).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(data: &[u8]) -> Option<Vec<Vec<u8>>> {
        let laced = Laced::parse(Bytes::copy_from_slice(data))?;
        Some(laced.frames.iter().map(|frame| frame.to_vec()).collect())
    }

    #[test]
    fn a_block_without_lacing_is_one_frame() {
        let laced = Laced::parse(Bytes::from_static(&[0x40, 0x07, 0xff, 0xfe, 0x80, 1, 2])).unwrap();
        let expected = Laced { track: 7, relative: -2, keyframe: true, frames: vec![(&[1, 2][..]).into()] };
        assert_eq!(laced, expected);
        assert_eq!(frames(&[0x81, 0, 0, 0]), Some(vec![vec![]]));
    }

    #[test]
    fn all_three_lacings_are_unpacked() {
        // Three frames of 1, 2 and 1 bytes.
        let expected = Some(vec![vec![1], vec![2, 3], vec![4]]);
        assert_eq!(frames(&[0x81, 0, 0, 0x02, 2, 1, 2, 1, 2, 3, 4]), expected);
        assert_eq!(frames(&[0x81, 0, 0, 0x06, 2, 0x81, 0xc0, 1, 2, 3, 4]), expected);
        assert_eq!(frames(&[0x81, 0, 0, 0x04, 1, 1, 2, 3, 4]), Some(vec![vec![1, 2], vec![3, 4]]));
        // Section 10.3.3's example of sizes: 800, then 300 less.
        let mut long = vec![0x81, 0, 0, 0x06, 2, 0x43, 0x20, 0x5e, 0xd3];
        long.extend([9; 800 + 500 + 3]);
        let sizes: Vec<usize> = frames(&long).unwrap().iter().map(Vec::len).collect();
        assert_eq!(sizes, [800, 500, 3]);
        let mut xiph = vec![0x81, 0, 0, 0x02, 1, 255, 255, 0];
        xiph.extend([9; 511]);
        assert_eq!(frames(&xiph).unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [510, 1]);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for data in [
            &[][..],
            &[0x81],
            &[0x81, 0, 0],
            &[0x00, 0, 0, 0],
            &[0x81, 0, 0, 0x02],
            &[0x81, 0, 0, 0x02, 1, 255],
            &[0x81, 0, 0, 0x02, 1, 9, 1],
            &[0x81, 0, 0, 0x04, 1, 1],
            &[0x81, 0, 0, 0x06, 2, 0x81, 0x80, 1],
        ] {
            let seen = frames(data);
            assert!(seen.is_none(), "{data:?}: {seen:?}");
        }
    }
}
