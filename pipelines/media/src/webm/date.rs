//! When a file was made, by its own word.

use super::gate::{Header, id};
use crate::time::UnixTime;

/// 2001-01-01T00:00:00Z, where DateUTC counts from (RFC 9559 section 5.1.2.11), in microseconds since 1970.
const EPOCH_2001_US: i64 = 978_307_200_000_000;

/// The DateUTC element.
const DATE_UTC: u64 = 0x4461;

/// The EBML header.
const EBML: u64 = 0x1A45_DFA3;

/// DateUTC of the file that begins with these bytes, if it has one; some kilobytes are enough.
pub fn date_utc(first_bytes: &[u8]) -> Option<UnixTime> {
    let (id, _, rest) = element(first_bytes)?;
    if id != EBML {
        return None;
    }
    // The Segment holds everything else.
    let (_, mut children, _) = element(rest)?;
    loop {
        let (id, content, rest) = element(children)?;
        if id == id::INFO {
            return date_in(content);
        }
        children = rest;
    }
}

fn date_in(mut info: &[u8]) -> Option<UnixTime> {
    loop {
        let (id, content, rest) = element(info)?;
        if id == DATE_UTC {
            let nanos = i64::from_be_bytes(content.try_into().ok()?);
            return Some(UnixTime::from_micros(EPOCH_2001_US.checked_add(nanos / 1000)?));
        }
        info = rest;
    }
}

/// The identifier of the element `data` begins with, as much of its content as there is, and what follows.
fn element(data: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let header = Header::parse(data).ok()??;
    let content = data.get(header.length..)?;
    let size = header.size.map_or(content.len(), |size| usize::try_from(size).unwrap_or(usize::MAX));
    let (content, rest) = content.split_at(size.min(content.len()));
    Some((header.id, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_date_stands_in_the_info() {
        let date: [u8; 8] = 1_000_000_000i64.to_be_bytes();
        let info = [&[0x2A, 0xD7, 0xB1, 0x81, 1, 0x44, 0x61, 0x88][..], &date].concat();
        let segment =
            [&[0xEC, 0x82, 0, 0, 0x15, 0x49, 0xA9, 0x66, 0x80 | info.len() as u8][..], &info].concat();
        let head = [
            0x1A, 0x45, 0xDF, 0xA3, 0x80, 0x18, 0x53, 0x80, 0x67, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
            0xFF,
        ];
        let file = [&head[..], &segment].concat();
        assert_eq!(date_utc(&file), Some(UnixTime::from_micros(EPOCH_2001_US + 1_000_000)));
        for end in 0..file.len() {
            assert_eq!(date_utc(&file[..end]), None, "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn no_input_is_too_broken(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _any = date_utc(&[&[0x1A, 0x45, 0xDF, 0xA3, 0x80][..], &bytes].concat());
        }
    }
}
