//! Recorded traffic of a publisher: a file of packets and sender reports as they came, to be replayed in tests.
//!
//! The format (`*.skycap`): the eight bytes of [`MAGIC`], then records, each a little-endian `u32` of its length in bytes and
//! the record in postcard encoding. A capture that was cut short is good up to its last whole record.

use crate::codec::TrackKind;
use crate::ingest::TrackId;
use crate::packet::{Packet, SenderReport};
use serde::{Deserialize, Serialize};

/// The first bytes of a capture; the digit is the version.
pub const MAGIC: &[u8; 8] = b"SKYCAP1\n";

/// The longest record: a packet of the largest size that UDP has, and its fields.
const MAX_RECORD_BYTES: usize = 66_000;

/// One entry of a capture, in the order in which things happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// A track was negotiated; comes before its packets.
    Track {
        /// Its id.
        id: TrackId,
        /// Its lane.
        kind: TrackKind,
    },
    /// A packet came.
    Packet {
        /// Its track.
        track: TrackId,
        /// The packet.
        packet: Packet,
    },
    /// A sender report came.
    SenderReport {
        /// Its track.
        track: TrackId,
        /// The report.
        report: SenderReport,
    },
}

/// Why a capture cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It does not begin with [`MAGIC`].
    #[error("not a capture of version 1")]
    NotACapture,
    /// It ends inside a record.
    #[error("capture ends inside the record at byte {at}")]
    Truncated {
        /// Where the record begins.
        at: usize,
    },
    /// A record is longer than any can be.
    #[error("record of {length} bytes at byte {at}")]
    TooLong {
        /// Where the record begins.
        at: usize,
        /// Its length.
        length: usize,
    },
    /// A record is not what it should be.
    #[error("record at byte {at}: {source}")]
    Malformed {
        /// Where the record begins.
        at: usize,
        /// What is wrong with it.
        source: postcard::Error,
    },
}

/// Appends a record to a capture; an empty buffer gets its [`MAGIC`] first.
///
/// # Errors
/// [`CaptureError::TooLong`] for a packet larger than UDP can carry; the buffer is unchanged then.
pub fn append(capture: &mut Vec<u8>, record: &Record) -> Result<(), CaptureError> {
    let at = capture.len();
    let encoded = postcard::to_stdvec(record).map_err(|source| CaptureError::Malformed { at, source })?;
    if encoded.len() > MAX_RECORD_BYTES {
        return Err(CaptureError::TooLong { at, length: encoded.len() });
    }
    if capture.is_empty() {
        capture.extend_from_slice(MAGIC);
    }
    capture.extend_from_slice(&(encoded.len() as u32).to_le_bytes());
    capture.extend_from_slice(&encoded);
    Ok(())
}

/// The records of a capture. After an error it ends.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    /// Reads `capture`, the whole file.
    ///
    /// # Errors
    /// [`CaptureError::NotACapture`] when it does not begin as one.
    pub fn new(capture: &'a [u8]) -> Result<Self, CaptureError> {
        if !capture.starts_with(MAGIC) {
            return Err(CaptureError::NotACapture);
        }
        Ok(Self { data: capture, at: MAGIC.len() })
    }

    fn read(&mut self) -> Result<Record, CaptureError> {
        let at = self.at;
        let rest = &self.data[at..];
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(CaptureError::Truncated { at })?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > MAX_RECORD_BYTES {
            return Err(CaptureError::TooLong { at, length });
        }
        let encoded = rest.get(..length).ok_or(CaptureError::Truncated { at })?;
        let record =
            postcard::from_bytes(encoded).map_err(|source| CaptureError::Malformed { at, source })?;
        self.at += 4 + length;
        Ok(record)
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Record, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.data.len() {
            return None;
        }
        let record = self.read();
        if record.is_err() {
            self.at = self.data.len();
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;
    use crate::time::Mono;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn packet() -> Packet {
        Packet {
            ssrc: 7,
            sequence: 65_535,
            timestamp: u32::MAX,
            marker: true,
            codec: Codec::Vp9,
            arrival: Mono::from_millis(5),
            payload: Bytes::from_static(b"payload"),
        }
    }

    #[test]
    fn what_is_written_is_read_and_a_cut_file_is_good_up_to_the_cut() {
        let report = SenderReport { ssrc: 7, ntp: u64::MAX, rtp_timestamp: 9, arrival: Mono::from_millis(6) };
        let records = [
            Record::Track { id: TrackId(3), kind: TrackKind::Video },
            Record::Packet { track: TrackId(3), packet: packet() },
            Record::SenderReport { track: TrackId(3), report },
        ];
        let mut file = Vec::new();
        for record in &records {
            append(&mut file, record).unwrap();
        }
        let read: Vec<_> = Records::new(&file).unwrap().map(Result::unwrap).collect();
        assert_eq!(read, records);
        let mut cut = Records::new(&file[..file.len() - 1]).unwrap();
        assert_eq!(cut.by_ref().take(2).map(Result::unwrap).collect::<Vec<_>>(), records[..2]);
        assert!(matches!(cut.next(), Some(Err(CaptureError::Truncated { .. }))));
        assert!(cut.next().is_none());
        assert!(matches!(Records::new(b"SKYCAP2\n"), Err(CaptureError::NotACapture)));
    }

    #[test]
    fn a_packet_larger_than_udp_is_not_written() {
        let mut file = Vec::new();
        let packet = Packet { payload: Bytes::from(vec![0; 70_000]), ..packet() };
        let record = Record::Packet { track: TrackId(0), packet };
        assert!(matches!(append(&mut file, &record), Err(CaptureError::TooLong { .. })));
        assert!(file.is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut file = MAGIC.to_vec();
            file.extend(bytes);
            let records = Records::new(&file).unwrap();
            prop_assert!(records.count() <= file.len() / 4);
        }
    }
}
