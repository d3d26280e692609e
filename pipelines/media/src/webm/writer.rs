//! Frames in, pieces of a WebM (H.264: Matroska) file out: [`WebmWriter`], a lossless archive of what was published.
//!
//! While live the file is only appended to. Segment and Clusters are of unknown size, each frame is a SimpleBlock, so a file that is cut
//! anywhere is whole up to its last block. At the end come Cues, and three places that were kept free are overwritten: Duration,
//! SeekHead, and the Segment's size.
//!
//! Times are whole milliseconds (what WebM demands), from the first frame on. Frames of both tracks are written in one order of
//! decoding time; a frame waits for the other track, but never longer than [`MAX_WAIT_MS`] of its own track's time.

pub use super::index::WebmEnding;
use super::index::{AUDIO, DURATION_BYTES, Index, Layout, SEEK_HEAD_BYTES, VIDEO};
use crate::codec::{AudioFormat, Codec, Format, TrackKind, VideoFormat};
use crate::frame::Frame;
use crate::h264::{H264Error, with_parameter_sets};
use crate::time::MediaTime;
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::VecDeque;
use webm_iterable::WebmWriter as TagWriter;
use webm_iterable::WriteOptions;
use webm_iterable::errors::TagWriterError;
use webm_iterable::matroska_spec::{Master, MatroskaSpec, SimpleBlock};

/// How long a track is waited for by the other one.
pub const MAX_WAIT_MS: i64 = 1_000;
/// How many frames of one track wait for the other at most: sound of 2.5 ms packets for longer than [`MAX_WAIT_MS`].
const MAX_WAITING: usize = 1_024;
/// A cluster with pictures lasts no longer, so that little has to be read to find a time.
const CLUSTER_MS: i64 = 1_000;
/// A cluster of sound alone lasts no longer.
const AUDIO_CLUSTER_MS: i64 = 5_000;

/// Why a frame is not in the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The file cannot hold it: another codec than the file's, or a track that the file does not have. Finish this file and begin another.
    #[error("{} needs another file", .0.rtp_name())]
    NewFile(Codec),
    /// This codec is not archived.
    #[error("{} is not written to WebM", .0.rtp_name())]
    Unsupported(Codec),
    /// There is neither a picture nor a sound track.
    #[error("a file without tracks")]
    NoTracks,
    /// The frame's parameter sets are not what they should be.
    #[error(transparent)]
    H264(#[from] H264Error),
    /// An element does not fit its place.
    #[error("an element does not fit its place")]
    Element,
    /// The writer of elements has refused one.
    #[error("cannot write an element: {0}")]
    Tag(#[from] TagWriterError),
}

/// See the module's doc.
///
/// After each `handle_*` drain [`Self::poll_piece`].
pub struct WebmWriter {
    tags: TagWriter<Vec<u8>>,
    /// Bytes that have been given out or wait in `tags`' destination.
    len: u64,
    layout: Layout,
    index: Index,
    video: Option<VideoTrack>,
    audio: bool,
    waiting: [VecDeque<Frame>; 2],
    /// The time that is zero in the file.
    zero: Option<MediaTime>,
    cluster: Option<Cluster>,
    dropped: u64,
}

#[derive(Debug)]
struct VideoTrack {
    codec: Codec,
    /// The configuration in the file's front.
    config: Bytes,
    /// Another configuration has come: from then on keyframes bring theirs along.
    sets_in_band: bool,
    /// A keyframe has been written.
    begun: bool,
}

#[derive(Debug, Clone, Copy)]
struct Cluster {
    start: u64,
    time_ms: i64,
}

impl WebmWriter {
    /// A file with these tracks; its front is the first piece.
    ///
    /// # Errors
    /// [`WriteError::Unsupported`] for AAC, [`WriteError::NoTracks`].
    pub fn new(video: Option<&VideoFormat>, audio: Option<&AudioFormat>) -> Result<Self, WriteError> {
        if let Some(format) = audio.filter(|format| format.codec != Codec::Opus) {
            return Err(WriteError::Unsupported(format.codec));
        }
        if let Some(format) = video.filter(|format| format.codec.kind() == TrackKind::Audio) {
            return Err(WriteError::Unsupported(format.codec));
        }
        if video.is_none() && audio.is_none() {
            return Err(WriteError::NoTracks);
        }
        let mut tags = TagWriter::new(Vec::new());
        let layout = write_front(&mut tags, video, audio)?;
        Ok(Self {
            len: tags.get_ref().len() as u64,
            tags,
            layout,
            index: Index::new(video.is_some()),
            video: video.map(|format| VideoTrack {
                codec: format.codec,
                config: format.config.clone(),
                sets_in_band: false,
                begun: false,
            }),
            audio: audio.is_some(),
            waiting: [VecDeque::new(), VecDeque::new()],
            zero: None,
            cluster: None,
            dropped: 0,
        })
    }

    /// The next frame of its track, in decoding order. Pictures before the first keyframe are dropped.
    ///
    /// # Errors
    /// [`WriteError`]; the frame is then not in the file, and all before it are.
    pub fn handle_frame(&mut self, frame: &Frame) -> Result<(), WriteError> {
        let codec = frame.format.codec();
        let mut frame = frame.clone();
        match (&*frame.format, &mut self.video) {
            (Format::Video(format), Some(track)) if track.codec == codec => {
                if !track.begun && !frame.keyframe {
                    self.dropped += 1;
                    return Ok(());
                }
                track.begun = true;
                // The front of the file knows one configuration only.
                track.sets_in_band |= codec == Codec::H264 && format.config != track.config;
                if track.sets_in_band && frame.keyframe {
                    frame.data = with_parameter_sets(&format.config, &frame.data)?;
                }
            }
            (Format::Audio(_), _) if self.audio && codec == Codec::Opus => {}
            _ => return Err(WriteError::NewFile(codec)),
        }
        self.waiting[lane(frame.kind())].push_back(frame);
        self.release(false)
    }

    /// The next bytes to append, or `None`.
    pub fn poll_piece(&mut self) -> Option<Bytes> {
        let piece = std::mem::take(self.tags.get_mut());
        (!piece.is_empty()).then(|| piece.into())
    }

    /// The time that is zero in the file: that of the earliest frame, once one is written.
    pub const fn zero(&self) -> Option<MediaTime> {
        self.zero
    }

    /// Pictures that are not in the file because no keyframe was before them.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// No more frames. What waited goes first: into the bytes to append.
    ///
    /// # Errors
    /// [`WriteError`] when an element cannot be written.
    pub fn finish(mut self) -> Result<WebmEnding, WriteError> {
        self.release(true)?;
        let rest = self.poll_piece().unwrap_or_default();
        let mut ending = self.index.finish(&self.layout, self.len)?;
        if !rest.is_empty() {
            ending.append = [rest, ending.append].concat().into();
        }
        Ok(ending)
    }

    /// Writes what need not wait any longer.
    fn release(&mut self, all: bool) -> Result<(), WriteError> {
        let both = self.audio && self.video.is_some();
        loop {
            let dts = |frames: &VecDeque<Frame>| frames.front().map(|frame| frame.dts);
            let (next, other) = match (dts(&self.waiting[0]), dts(&self.waiting[1])) {
                (None, None) => return Ok(()),
                (Some(_), None) => (0, false),
                (None, Some(_)) => (1, false),
                (Some(video), Some(audio)) => (usize::from(audio < video), true),
            };
            let frames = &mut self.waiting[next];
            let waited = match (frames.front(), frames.back()) {
                (Some(first), Some(last)) => (last.dts - first.dts).as_nanos() / 1_000_000,
                _ => 0,
            };
            if both && !other && !all && waited < MAX_WAIT_MS && frames.len() < MAX_WAITING {
                return Ok(());
            }
            if let Some(frame) = frames.pop_front() {
                self.write(&frame)?;
            }
        }
    }

    fn write(&mut self, frame: &Frame) -> Result<(), WriteError> {
        let zero = match self.zero {
            Some(zero) => zero,
            None => {
                // Pictures out of order are decoded long before they are shown: sound that waits may come first.
                let earliest = self.waiting.iter().flatten().map(|frame| frame.pts).min();
                let zero = earliest.map_or(frame.pts, |earliest| earliest.min(frame.pts));
                *self.zero.insert(zero)
            }
        };
        // A frame from before the first one (it came too late) is shown with it.
        let time_ms = (frame.pts - zero).rescale(1_000).ticks.max(0);
        let kind = frame.kind();
        let cluster = self.cluster_for(kind == TrackKind::Video && frame.keyframe, time_ms)?;
        let track = if kind == TrackKind::Video { VIDEO } else { AUDIO };
        // `cluster_for` has seen to that.
        let relative = i16::try_from(time_ms - cluster.time_ms).map_err(|_| WriteError::Element)?;
        let block =
            SimpleBlock::new_uncheked(&frame.data, track, relative, false, None, false, frame.keyframe);
        let before = self.tags.get_ref().len();
        self.tags.write(&MatroskaSpec::from(block))?;
        self.len += (self.tags.get_ref().len() - before) as u64;
        self.index.handle_block(kind, time_ms.unsigned_abs(), frame.keyframe, &frame.data, cluster.start);
        Ok(())
    }

    /// The cluster for a block of this time: a new one where there is reason.
    fn cluster_for(&mut self, picture_key: bool, time_ms: i64) -> Result<Cluster, WriteError> {
        let longest = if self.video.is_some() { CLUSTER_MS } else { AUDIO_CLUSTER_MS };
        if let Some(cluster) = self.cluster
            && !picture_key
            // Pictures out of order and late sound lie a little before their cluster.
            && (-longest..longest).contains(&(time_ms - cluster.time_ms))
        {
            return Ok(cluster);
        }
        let before = self.tags.get_ref().len();
        if self.cluster.is_some() {
            self.tags.write(&MatroskaSpec::Cluster(Master::End))?;
        }
        let cluster = Cluster { start: self.len, time_ms };
        let unknown = WriteOptions::is_unknown_sized_element();
        self.tags.write_advanced(&MatroskaSpec::Cluster(Master::Start), unknown)?;
        self.tags.write(&MatroskaSpec::Timestamp(time_ms.unsigned_abs()))?;
        self.len += (self.tags.get_ref().len() - before) as u64;
        self.cluster = Some(cluster);
        Ok(cluster)
    }
}

const fn lane(kind: TrackKind) -> usize {
    match kind {
        TrackKind::Video => 0,
        TrackKind::Audio => 1,
    }
}

/// Everything before the first cluster.
fn write_front(
    tags: &mut TagWriter<Vec<u8>>,
    video: Option<&VideoFormat>,
    audio: Option<&AudioFormat>,
) -> Result<Layout, WriteError> {
    let doc_type = match video {
        Some(format) if format.codec == Codec::H264 => "matroska",
        _ => "webm",
    };
    tags.write(&MatroskaSpec::Ebml(Master::Full(vec![
        MatroskaSpec::EbmlVersion(1),
        MatroskaSpec::EbmlReadVersion(1),
        MatroskaSpec::EbmlMaxIdLength(4),
        MatroskaSpec::EbmlMaxSizeLength(8),
        MatroskaSpec::DocType(doc_type.to_owned()),
        // SimpleBlocks are of version 2, CodecDelay and SeekPreRoll of version 4.
        MatroskaSpec::DocTypeVersion(4),
        MatroskaSpec::DocTypeReadVersion(2),
    ])))?;
    tags.write_advanced(&MatroskaSpec::Segment(Master::Start), WriteOptions::is_unknown_sized_element())?;
    let here = |tags: &TagWriter<Vec<u8>>| tags.get_ref().len() as u64;
    tags.write(&MatroskaSpec::Void(vec![0; SEEK_HEAD_BYTES - 2]))?;
    let info = here(tags);
    // The head of the Segment waits inside `tags` until something in it is written.
    let segment = info - SEEK_HEAD_BYTES as u64;
    let name = "Skywave".to_owned();
    tags.write(&MatroskaSpec::Info(Master::Full(vec![
        MatroskaSpec::TimestampScale(1_000_000),
        MatroskaSpec::MuxingApp(name.clone()),
        MatroskaSpec::WritingApp(name),
        MatroskaSpec::Void(vec![0; DURATION_BYTES - 2]),
    ])))?;
    let (info_end, tracks) = (here(tags), here(tags));
    let entries = video.map(video_entry).into_iter().chain(audio.map(audio_entry)).collect();
    tags.write(&MatroskaSpec::Tracks(Master::Full(entries)))?;
    Ok(Layout { segment, info, info_end, tracks })
}

fn entry(number: u64, track_type: u64, codec_id: &str, config: &[u8]) -> Vec<MatroskaSpec> {
    let mut children = vec![
        MatroskaSpec::TrackNumber(number),
        MatroskaSpec::TrackUID(number),
        MatroskaSpec::TrackType(track_type),
        MatroskaSpec::FlagLacing(0),
        MatroskaSpec::CodecID(codec_id.to_owned()),
    ];
    if !config.is_empty() {
        children.push(MatroskaSpec::CodecPrivate(config.to_vec()));
    }
    children
}

fn video_entry(format: &VideoFormat) -> MatroskaSpec {
    let codec_id = match format.codec {
        Codec::Vp8 => "V_VP8",
        Codec::Vp9 => "V_VP9",
        Codec::Av1 => "V_AV1",
        _ => "V_MPEG4/ISO/AVC",
    };
    let mut children = entry(VIDEO, 1, codec_id, &format.config);
    children.push(MatroskaSpec::Video(Master::Full(vec![
        MatroskaSpec::PixelWidth(format.width.into()),
        MatroskaSpec::PixelHeight(format.height.into()),
    ])));
    MatroskaSpec::TrackEntry(Master::Full(children))
}

fn audio_entry(format: &AudioFormat) -> MatroskaSpec {
    let channels = format.channels.clamp(1, 2);
    // RFC 7845 section 5.1. Nothing is to be skipped: the publisher's encoder began long before, and times are those of the packets.
    let mut head = BytesMut::with_capacity(19);
    head.put_slice(b"OpusHead");
    head.put_slice(&[1, channels as u8]);
    head.put_u16_le(0); // pre-skip
    head.put_u32_le(48_000); // the rate of what was encoded
    head.put_i16_le(0); // gain
    head.put_u8(0); // mapping family: mono or stereo
    let mut children = entry(AUDIO, 2, "A_OPUS", &head);
    children.push(MatroskaSpec::CodecDelay(0));
    // RFC 7845 section 4.6.
    children.push(MatroskaSpec::SeekPreRoll(80_000_000));
    children.push(MatroskaSpec::Audio(Master::Full(vec![
        MatroskaSpec::SamplingFrequency(48_000.0),
        MatroskaSpec::Channels(channels.into()),
    ])));
    MatroskaSpec::TrackEntry(Master::Full(children))
}

#[cfg(test)]
pub(in crate::webm) mod tests;
