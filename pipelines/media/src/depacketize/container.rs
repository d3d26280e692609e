//! Access units as files hold them, through the same assemblers as RTP payloads: [`AccessUnits`].

use super::av1::Av1Assembler;
use super::h264::H264Assembler;
use super::{Assemble, Finished, PayloadError, Picture, vp8, vp9};
use crate::codec::{Codec, VideoFormat};
use crate::h264::{AvcConfig, annex_b_nals, avcc_nals};
use bytes::Bytes;

/// One coded picture, as [`crate::frame::Frame`] wants it.
#[derive(Debug)]
pub(crate) struct CodedPicture {
    pub(crate) keyframe: bool,
    /// Present in keyframes.
    pub(crate) format: Option<VideoFormat>,
    pub(crate) data: Bytes,
    /// See [`super::CodedFrame::reorder_depth`].
    pub(crate) reorder_depth: u32,
}

/// The access units of one video track of a file, in decoding order.
#[derive(Debug)]
pub(crate) enum AccessUnits {
    Vp8,
    Vp9,
    Av1 {
        assembler: Av1Assembler,
        /// The OBUs of the `av1C` record: for keyframes that do not bring their sequence header along.
        config: Bytes,
    },
    H264 {
        assembler: Box<H264Assembler>,
        /// Bytes of each NAL unit's length; `None` without an `avcC` record: the file holds Annex B (Chromium did for years).
        length_size: Option<usize>,
    },
}

impl AccessUnits {
    /// Of a track with this decoder configuration record, which may be empty.
    ///
    /// # Errors
    /// [`PayloadError`] when the record makes no sense, or the codec is one of sound.
    pub(crate) fn new(codec: Codec, config: &Bytes) -> Result<Self, PayloadError> {
        match codec {
            Codec::Vp8 => Ok(Self::Vp8),
            Codec::Vp9 => Ok(Self::Vp9),
            Codec::Av1 => {
                // Four bytes, then OBUs ("AV1 Codec ISO Media File Format Binding" section 2.3.3).
                let config = if config.len() > 4 { config.slice(4..) } else { Bytes::new() };
                Ok(Self::Av1 { assembler: Av1Assembler::default(), config })
            }
            Codec::H264 => {
                let mut assembler = Box::<H264Assembler>::default();
                if config.is_empty() {
                    return Ok(Self::H264 { assembler, length_size: None });
                }
                let record = AvcConfig::parse(config).map_err(|_| PayloadError::Invalid("H.264 avcC"))?;
                for set in record.sps.iter().chain(&record.pps).filter(|set| !set.is_empty()) {
                    assembler.push(set)?;
                }
                assembler.finish(false)?;
                Ok(Self::H264 { assembler, length_size: Some(usize::from(record.length_size)) })
            }
            Codec::Opus | Codec::Aac => Err(PayloadError::Unsupported("sound among pictures")),
        }
    }

    /// One access unit; `None` when there is nothing to show in it.
    ///
    /// # Errors
    /// [`PayloadError`] when it breaks the rules of its codec. What is predicted from it is lost with it.
    pub(crate) fn picture(&mut self, data: &Bytes) -> Result<Option<CodedPicture>, PayloadError> {
        let Some(&first) = data.first() else { return Ok(None) };
        match self {
            Self::Vp8 => {
                let keyframe = first & 1 == 0;
                let format = if keyframe { Some(vp8::keyframe_format(data)?) } else { None };
                Ok(Some(CodedPicture { keyframe, format, data: data.clone(), reorder_depth: 0 }))
            }
            Self::Vp9 => {
                let format = vp9::format_of(data)?;
                let keyframe = format.is_some();
                Ok(Some(CodedPicture { keyframe, format, data: data.clone(), reorder_depth: 0 }))
            }
            Self::Av1 { assembler, config } => {
                let finished = assembler.push_stream(data, config).and_then(|()| assembler.finish(false));
                assembler.clear();
                Ok(whole(finished?))
            }
            Self::H264 { assembler, length_size } => {
                let pushed = push_nals(assembler, data, *length_size);
                let finished = pushed.and_then(|()| assembler.finish(false));
                assembler.clear();
                Ok(whole(finished?))
            }
        }
    }
}

fn push_nals(
    assembler: &mut H264Assembler,
    data: &Bytes,
    length_size: Option<usize>,
) -> Result<(), PayloadError> {
    let mut push = |nal: &[u8]| {
        // Types from 24 on are nobody's in a file, and have a meaning in RTP.
        match nal.first().map_or(0, |header| header & 0x1f) {
            1..=23 => assembler.push(&data.slice_ref(nal)),
            _ => Ok(()),
        }
    };
    match length_size {
        Some(size) => {
            for nal in avcc_nals(data, size) {
                push(nal.map_err(|_| PayloadError::Truncated("H.264 NAL unit"))?)?;
            }
            Ok(())
        }
        None => annex_b_nals(data).try_for_each(push),
    }
}

fn whole(finished: Finished) -> Option<CodedPicture> {
    match finished {
        Finished::Picture(Picture { keyframe, format, data, reorder_depth }) => {
            Some(CodedPicture { keyframe, format, data, reorder_depth })
        }
        Finished::Nothing | Finished::Incomplete => None,
    }
}
