//! Bytes of any `Read` in, whole EBML elements out: the gate before `ebml_iterable`'s decoder, which holds memory to a bound.
//!
//! # Why not `webm_iterable::WebmIterator` on the input
//! In 0.7 it makes room for as many bytes as an element claims to have; its limit of size holds for masters too, so a Segment of known
//! size beyond the limit is refused although nothing of it need be kept; it reads Void, Cues and attachments into memory whole; it wants
//! 16 bytes of input before it looks at a header; and one text that is no UTF-8 ends everything. So headers are walked here, what nobody
//! needs is passed over, and only elements that are whole and within the bound go to the decoder. Segments and Clusters go to it without
//! their size: identifiers alone say where these end.

use super::reader::WebmError;
use bytes::{Buf, BytesMut};
use ebml_iterable::tools::read_vint;
use std::io::{self, Read};
use webm_iterable::matroska_spec::{EbmlSpecification, MatroskaSpec};

/// Identifiers of elements (RFC 9559 section 5.1, RFC 8794 section 11.2).
pub(super) mod id {
    pub(in super::super) const EBML: u64 = 0x1A45_DFA3;
    pub(in super::super) const SEGMENT: u64 = 0x1853_8067;
    pub(in super::super) const INFO: u64 = 0x1549_A966;
    pub(in super::super) const TRACKS: u64 = 0x1654_AE6B;
    pub(in super::super) const CLUSTER: u64 = 0x1F43_B675;
    pub(in super::super) const TIMESTAMP: u64 = 0xE7;
    pub(in super::super) const SIMPLE_BLOCK: u64 = 0xA3;
    pub(in super::super) const BLOCK_GROUP: u64 = 0xA0;
}

/// How much is asked of the input at once.
const CHUNK_BYTES: usize = 16 << 10;

/// An EBML header has some 40 bytes; what claims more is something else.
const MAX_EBML_HEADER_BYTES: u64 = 4096;

/// A size that is not known (RFC 8794 section 6.2), in eight bytes.
pub(super) const UNKNOWN_SIZE: [u8; 8] = [0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];

/// The head of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: u64,
    /// Bytes of identifier and size.
    pub(super) length: usize,
    /// `None`: not known.
    pub(super) size: Option<u64>,
}

/// Why four to twelve bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoHeader;

impl Header {
    /// The header `data` begins with; `None` when more bytes are needed to tell.
    pub(super) fn parse(data: &[u8]) -> Result<Option<Self>, NoHeader> {
        let Some(&first) = data.first() else { return Ok(None) };
        let id_length = first.leading_zeros() as usize + 1;
        if id_length > 4 {
            return Err(NoHeader);
        }
        let Some((id, rest)) = data.split_at_checked(id_length) else { return Ok(None) };
        let id = id.iter().fold(0, |id, byte| id << 8 | u64::from(*byte));
        let Some((size, size_length)) = read_vint(rest).map_err(|_| NoHeader)? else { return Ok(None) };
        let unknown = size == (1 << (7 * size_length)) - 1;
        Ok(Some(Self { id, length: id_length + size_length, size: (!unknown).then_some(size) }))
    }
}

/// What comes through.
#[derive(Debug)]
pub(super) struct Element {
    pub(super) id: u64,
    /// Where it begins in the input.
    pub(super) start: u64,
    /// Where what is in `bytes` ends in the input.
    pub(super) end: u64,
    /// The whole element; of a Segment and a Cluster the header alone, with a size that is not known.
    pub(super) bytes: BytesMut,
}

/// See the module's doc.
#[derive(Debug)]
pub(super) struct Gate<R> {
    input: R,
    max_element_bytes: usize,
    buffer: BytesMut,
    scratch: Box<[u8]>,
    /// Where the buffer begins in the input.
    at: u64,
    /// How much of the input to pass over.
    skip: u64,
    /// The EBML header has come.
    begun: bool,
}

impl<R: Read> Gate<R> {
    pub(super) fn new(input: R, max_element_bytes: usize) -> Self {
        Self {
            input,
            max_element_bytes,
            buffer: BytesMut::new(),
            scratch: vec![0; CHUNK_BYTES].into_boxed_slice(),
            at: 0,
            skip: 0,
            begun: false,
        }
    }

    /// The next element; `None` when the input has ended, whole or not.
    pub(super) fn next(&mut self) -> Result<Option<Element>, WebmError> {
        loop {
            self.pass_over();
            let header = if self.skip > 0 { None } else { self.header()? };
            let Some(header) = header else {
                match self.fill()? {
                    true => continue,
                    false => return Ok(None),
                }
            };
            let start = self.at;
            let broken = |what| WebmError::Broken { offset: start, what };
            match (header.id, header.size) {
                (id::SEGMENT | id::CLUSTER, _) => {
                    let id_length = self.buffer[0].leading_zeros() as usize + 1;
                    let mut bytes = self.take(header.length);
                    bytes.truncate(id_length);
                    bytes.extend_from_slice(&UNKNOWN_SIZE);
                    return Ok(Some(Element { id: header.id, start, end: self.at, bytes }));
                }
                (_, None) => return Err(broken("an element of unknown size that must have one".to_owned())),
                (
                    id::EBML | id::INFO | id::TRACKS | id::TIMESTAMP | id::SIMPLE_BLOCK | id::BLOCK_GROUP,
                    Some(size),
                ) => {
                    let size = usize::try_from(size).ok().filter(|size| *size <= self.max_element_bytes);
                    let whole = size.map(|size| header.length + size).ok_or(self.too_large(header, start))?;
                    while self.buffer.len() < whole {
                        if !self.fill()? {
                            return Ok(None);
                        }
                    }
                    let bytes = self.take(whole);
                    return Ok(Some(Element { id: header.id, start, end: self.at, bytes }));
                }
                (id, Some(size)) => {
                    // What the specification does not know and is large is no element but noise.
                    let known = MatroskaSpec::get_tag_data_type(id).is_some();
                    if !known && size > self.max_element_bytes as u64 {
                        return Err(self.too_large(header, start));
                    }
                    self.skip = header.length as u64 + size;
                }
            }
        }
    }

    fn too_large(&self, header: Header, offset: u64) -> WebmError {
        let (id, size) = (header.id, header.size.unwrap_or(u64::MAX));
        WebmError::TooLarge { offset, id, size, limit: self.max_element_bytes }
    }

    /// The header at the front of the buffer; `None` when it is not whole. The first one of the input must be EBML's.
    fn header(&mut self) -> Result<Option<Header>, WebmError> {
        if !self.begun {
            let magic = [0x1A, 0x45, 0xDF, 0xA3];
            let seen = self.buffer.len().min(4);
            if self.buffer[..seen] != magic[..seen] {
                return Err(WebmError::NotWebm);
            }
        }
        let header = Header::parse(&self.buffer);
        if self.begun {
            let broken = || WebmError::Broken { offset: self.at, what: "no element's header".to_owned() };
            return header.map_err(|NoHeader| broken());
        }
        let header = header.map_err(|NoHeader| WebmError::NotWebm)?;
        match header {
            Some(Header { size: Some(0..=MAX_EBML_HEADER_BYTES), .. }) => self.begun = true,
            Some(_) => return Err(WebmError::NotWebm),
            None => {}
        }
        Ok(header)
    }

    #[cfg(test)]
    pub(super) const fn input(&self) -> &R {
        &self.input
    }

    /// Bytes that wait.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.buffer.len()
    }

    fn take(&mut self, bytes: usize) -> BytesMut {
        self.at += bytes as u64;
        self.buffer.split_to(bytes)
    }

    fn pass_over(&mut self) {
        let here = self.skip.min(self.buffer.len() as u64);
        self.buffer.advance(here as usize);
        self.skip -= here;
        self.at = self.at.saturating_add(here);
    }

    /// Reads once; false at the end of the input.
    fn fill(&mut self) -> Result<bool, WebmError> {
        loop {
            match self.input.read(&mut self.scratch) {
                Ok(0) => return Ok(false),
                Ok(read) => {
                    // `read` of a faulty `Read` may be more than it was given room for.
                    self.buffer.extend_from_slice(self.scratch.get(..read).unwrap_or_default());
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
