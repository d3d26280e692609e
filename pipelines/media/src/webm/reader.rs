//! WebM or Matroska from any blocking `Read`, as tracks and blocks, one at a time: [`WebmReader`].
//!
//! Nothing waits for more input than it needs: a block is given out when its last byte has come, so that a pipe from a live recorder has
//! no delay of its own. Memory is bounded by [`WebmReaderConfig::max_element_bytes`] (two to three times that at the worst, while an
//! element is copied), whatever the input claims.

mod tracks;

pub use tracks::{WebmCodec, WebmTrack};

use super::gate::{Element, Gate, Header, id};
use super::lacing::Laced;
use bytes::{Bytes, BytesMut};
use ebml_iterable::TagDecoder;
use std::collections::VecDeque;
use std::io::{self, Read};
use tracks::TrackBuilder;
use webm_iterable::errors::TagIteratorError;
use webm_iterable::iterator::AllowableErrors;
use webm_iterable::matroska_spec::{Master, MatroskaSpec};

/// More tracks than this are nonsense: each costs memory.
const MAX_TRACKS: usize = 64;

/// TimestampScale where a file does not say: nanoseconds in a millisecond (RFC 9559 section 5.1.2.9).
const DEFAULT_SCALE_NS: u64 = 1_000_000;

/// A longer tick is nonsense; times must fit into 128 bits.
const MAX_SCALE_NS: u64 = 1 << 32;

/// Why reading has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebmError {
    /// The input does not begin with an EBML header of WebM or Matroska.
    #[error("not WebM or Matroska")]
    NotWebm,
    /// The input breaks the rules.
    #[error("broken at byte {offset}: {what}")]
    Broken {
        /// Where the element begins, in bytes from the start of the input.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// An element that must be kept whole claims more bytes than allowed.
    #[error("element {id:#x} at byte {offset} claims {size} bytes, {limit} are allowed")]
    TooLarge {
        /// Where the element begins, in bytes from the start of the input.
        offset: u64,
        /// Its identifier.
        id: u64,
        /// The size it claims, in bytes.
        size: u64,
        /// The bound.
        limit: usize,
    },
    /// The input cannot be read.
    #[error("cannot read: {0}")]
    Io(#[from] io::Error),
}

/// How a reader is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebmReaderConfig {
    /// How many bytes an element may have that is kept: a block, the list of tracks. What is passed over may have any size.
    pub max_element_bytes: usize,
}

impl Default for WebmReaderConfig {
    fn default() -> Self {
        Self { max_element_bytes: 8 << 20 }
    }
}

/// What a reader has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebmEvent {
    /// A Tracks element: a file begins. Another one on the same input is a recorder that was started again, with a new time.
    Begin(Vec<WebmTrack>),
    /// One coded frame.
    Block(WebmBlock),
}

/// One coded frame of one track, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebmBlock {
    /// The TrackNumber; may be one that no [`WebmEvent::Begin`] named.
    pub track: u64,
    /// Its timestamp since the start of the Segment, in nanoseconds, as it stands in the file (CodecDelay not taken off). Frames laced
    /// into one block are spaced by their duration where that is known, and have one time where it is not.
    pub time_ns: i64,
    /// How long it lasts, in nanoseconds, where a BlockDuration or the lacing says so.
    pub duration_ns: Option<i64>,
    /// The file says that decoding can start here.
    pub keyframe: bool,
    /// The coded bytes.
    pub data: Bytes,
}

/// Whether an input whose first bytes these are begins with a header. One that does not may be the later part of a recording
/// (a chunk of MediaRecorder): it is of use only behind the first part, on the same input.
pub fn has_header(first_bytes: &[u8]) -> bool {
    first_bytes.starts_with(&[0x1A, 0x45, 0xDF, 0xA3])
}

/// Where the parts of a Segment lie, in bytes from the start of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Places {
    /// Where the content of the Segment begins.
    pub(super) segment: u64,
    /// The Info element, from where to where.
    pub(super) info: (u64, u64),
    /// Where Tracks begins.
    pub(super) tracks: u64,
    /// Where the newest Cluster begins.
    pub(super) cluster: u64,
    /// Where its content begins.
    pub(super) cluster_content: u64,
    /// Where the newest block ends.
    pub(super) block_end: u64,
    /// EBML headers so far.
    pub(super) files: u32,
}

/// See the module's doc.
pub struct WebmReader<R> {
    gate: Gate<R>,
    decoder: TagDecoder<MatroskaSpec>,
    events: VecDeque<WebmEvent>,
    failed: bool,
    places: Places,
    /// The EBML header names a DocType that is read here.
    doc_type_known: bool,
    scale_ns: u64,
    cluster_time: u64,
    tracks: Vec<WebmTrack>,
    track: TrackBuilder,
    group: Group,
}

/// A BlockGroup in the making.
#[derive(Debug, Default)]
struct Group {
    block: Option<Bytes>,
    duration: Option<u64>,
    referring: bool,
}

impl<R: Read> WebmReader<R> {
    /// A reader with the default bound.
    pub fn new(input: R) -> Self {
        Self::with_config(input, WebmReaderConfig::default())
    }

    /// A reader.
    pub fn with_config(input: R, config: WebmReaderConfig) -> Self {
        let mut decoder = TagDecoder::new(&[]);
        // The gate bounds; what the specification has learnt since is passed over.
        decoder.set_max_allowable_tag_size(None);
        decoder.allow_errors(&[AllowableErrors::InvalidTagIds]);
        Self {
            gate: Gate::new(input, config.max_element_bytes),
            decoder,
            events: VecDeque::new(),
            failed: false,
            places: Places::default(),
            doc_type_known: false,
            scale_ns: DEFAULT_SCALE_NS,
            cluster_time: 0,
            tracks: Vec::new(),
            track: TrackBuilder::default(),
            group: Group::default(),
        }
    }

    /// The next event; blocks as the input does. `None`: the input has ended, between two elements or inside one; what was whole has
    /// been given out. After an error there is nothing more: `None`.
    ///
    /// # Errors
    /// [`WebmError`].
    #[allow(clippy::should_implement_trait)] // An iterator's items would be `Result`s with their order of `?` turned around.
    pub fn next(&mut self) -> Result<Option<WebmEvent>, WebmError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if self.failed {
                return Ok(None);
            }
            let step = match self.gate.next() {
                Ok(None) => return Ok(None),
                Ok(Some(element)) => self.decode(element),
                Err(error) => Err(error),
            };
            if let Err(error) = step {
                self.failed = true;
                self.events.clear();
                return Err(error);
            }
        }
    }

    /// Where things lie; of the newest event when `next` has just given one.
    pub(super) const fn places(&self) -> &Places {
        &self.places
    }

    /// One whole element, or the head of a Segment or Cluster.
    fn decode(&mut self, element: Element) -> Result<(), WebmError> {
        let Element { id, start, end, mut bytes } = element;
        match id {
            id::EBML => self.places = Places { files: self.places.files + 1, ..Places::default() },
            id::SEGMENT => self.places.segment = end,
            id::INFO => self.places.info = (start, end),
            id::TRACKS => self.places.tracks = start,
            id::CLUSTER => (self.places.cluster, self.places.cluster_content) = (start, end),
            id::SIMPLE_BLOCK | id::BLOCK_GROUP => self.places.block_end = end,
            _ => {}
        }
        let broken = |what: String| WebmError::Broken { offset: start, what };
        let mut blanked = None;
        loop {
            match self.decoder.decode(&mut bytes) {
                Ok(Some(tag)) => self.handle_tag(tag.tag, start)?,
                Ok(None) if bytes.is_empty() => return Ok(()),
                Ok(None) => return Err(broken("an element ends inside another".to_owned())),
                // A text that is no UTF-8 (a title of an old writer) is of no interest here and ends nothing.
                Err(TagIteratorError::CorruptedTagData { .. }) if blanked != Some(bytes.len()) => {
                    blanked = Some(bytes.len());
                    blank_front(&mut bytes);
                }
                Err(error) => return Err(broken(error.to_string())),
            }
        }
    }

    fn handle_tag(&mut self, tag: MatroskaSpec, offset: u64) -> Result<(), WebmError> {
        let broken = |what: &str| WebmError::Broken { offset, what: what.to_owned() };
        match tag {
            MatroskaSpec::Ebml(Master::Start) => {
                self.doc_type_known = false;
                self.scale_ns = DEFAULT_SCALE_NS;
                self.cluster_time = 0;
                self.tracks.clear();
            }
            MatroskaSpec::DocType(name) => self.doc_type_known = matches!(&*name, "webm" | "matroska"),
            MatroskaSpec::Ebml(Master::End) if !self.doc_type_known => return Err(WebmError::NotWebm),
            MatroskaSpec::TimestampScale(scale) => self.scale_ns = scale.clamp(1, MAX_SCALE_NS),
            MatroskaSpec::Tracks(Master::Start) => self.tracks.clear(),
            MatroskaSpec::Tracks(Master::End) => {
                self.events.push_back(WebmEvent::Begin(self.tracks.clone()));
            }
            MatroskaSpec::TrackEntry(Master::Start) => self.track = TrackBuilder::default(),
            MatroskaSpec::TrackEntry(Master::End) => {
                if self.tracks.len() == MAX_TRACKS {
                    return Err(broken("more tracks than any file has"));
                }
                self.tracks.push(std::mem::take(&mut self.track).build());
            }
            MatroskaSpec::Cluster(Master::Start) => self.cluster_time = 0,
            MatroskaSpec::Timestamp(time) => self.cluster_time = time,
            MatroskaSpec::SimpleBlock(data) => {
                let laced = Laced::parse(data.into()).ok_or_else(|| broken("a block contradicts itself"))?;
                let keyframe = laced.keyframe;
                self.push_blocks(laced, keyframe, None);
            }
            MatroskaSpec::BlockGroup(Master::Start) => self.group = Group::default(),
            MatroskaSpec::Block(data) => self.group.block = Some(data.into()),
            MatroskaSpec::BlockDuration(duration) => self.group.duration = Some(duration),
            MatroskaSpec::ReferenceBlock(_) => self.group.referring = true,
            MatroskaSpec::BlockGroup(Master::End) => {
                let group = std::mem::take(&mut self.group);
                let Some(data) = group.block else { return Ok(()) };
                let laced = Laced::parse(data).ok_or_else(|| broken("a block contradicts itself"))?;
                self.push_blocks(laced, !group.referring, group.duration);
            }
            other => self.track.handle_tag(other),
        }
        Ok(())
    }

    /// `duration`: of the whole block, in ticks of the TimestampScale.
    fn push_blocks(&mut self, laced: Laced, keyframe: bool, duration: Option<u64>) {
        let ticks = i128::from(self.cluster_time) + i128::from(laced.relative);
        let start_ns = ticks * i128::from(self.scale_ns);
        let count = laced.frames.len() as i128;
        let default = || {
            let track = self.tracks.iter().find(|track| track.number == laced.track)?;
            track.default_duration_ns.filter(|_| count > 1).map(|each| i128::from(each) * count)
        };
        let whole_ns = duration.map(|ticks| i128::from(ticks) * i128::from(self.scale_ns)).or_else(default);
        for (index, data) in laced.frames.into_iter().enumerate() {
            let at = |index: i128| whole_ns.map_or(start_ns, |whole| start_ns + whole * index / count);
            let (begin, end) = (at(index as i128), at(index as i128 + 1));
            self.events.push_back(WebmEvent::Block(WebmBlock {
                track: laced.track,
                time_ns: saturate(begin),
                duration_ns: whole_ns.map(|_| saturate(end - begin)),
                keyframe,
                data,
            }));
        }
    }
}

fn saturate(ns: i128) -> i64 {
    i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
}

/// Spaces for the content of the element at the front.
fn blank_front(bytes: &mut BytesMut) {
    if let Ok(Some(Header { length, size: Some(size), .. })) = Header::parse(bytes) {
        let end = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(length).min(bytes.len());
        bytes[length..end].fill(b' ');
    }
}

#[cfg(test)]
mod tests;
