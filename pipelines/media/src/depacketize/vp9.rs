//! VP9 (RFC 9628; bitstream: "VP9 Bitstream & Decoding Process Specification" 0.6).
//!
//! The spatial layers of one picture become one frame. When there is more than one, a superframe index (annex B of the
//! bitstream specification) is appended, so that any decoder finds them and shows the last one only.

use super::{Assemble, Finished, PayloadError, Picture, join};
use crate::bits::BitReader;
use crate::codec::{Codec, VideoFormat};
use bytes::{BufMut, Bytes, BytesMut};

/// The most spatial layers there are (RFC 9628 section 4.2: SID has three bits), and frames in a superframe.
const MAX_LAYERS: usize = 8;

/// Collects the payloads of one VP9 picture.
#[derive(Debug, Default)]
pub(super) struct Vp9Assembler {
    layers: Vec<Layer>,
    /// Sizes of the spatial layers, from the newest scalability structure.
    layer_sizes: Vec<(u32, u32)>,
}

#[derive(Debug)]
struct Layer {
    spatial_id: usize,
    parts: Vec<Bytes>,
    ended: bool,
}

impl Assemble for Vp9Assembler {
    fn push(&mut self, payload: &Bytes) -> Result<(), PayloadError> {
        let descriptor = Descriptor::parse(payload)?;
        let data = payload.slice(descriptor.length..);
        if data.is_empty() {
            return Err(PayloadError::Truncated("VP9 payload"));
        }
        if let Some(sizes) = descriptor.layer_sizes {
            self.layer_sizes = sizes;
        }
        if descriptor.begins {
            if self.layers.len() == MAX_LAYERS {
                return Err(PayloadError::Invalid("VP9 picture with more than 8 layers"));
            }
            if self.layers.last().is_some_and(|layer| !layer.ended) {
                return Err(PayloadError::Invalid("VP9 layer begins inside another"));
            }
            let spatial_id = descriptor.spatial_id;
            self.layers.push(Layer { spatial_id, parts: vec![data], ended: descriptor.ends });
            return Ok(());
        }
        match self.layers.last_mut() {
            Some(layer) if !layer.ended => {
                layer.parts.push(data);
                layer.ended = descriptor.ends;
                Ok(())
            }
            _ => Err(PayloadError::Invalid("VP9 payload outside a frame")),
        }
    }

    fn finish(&mut self, after_loss: bool) -> Result<Finished, PayloadError> {
        let Some(first) = self.layers.first() else { return Ok(Finished::Nothing) };
        // A key picture whose base layer is among the lost packets is not whole.
        if after_loss && first.spatial_id != 0 {
            return Ok(Finished::Incomplete);
        }
        let top = self.layers.iter().map(|layer| layer.spatial_id).max().unwrap_or(0);
        let frames: Vec<Bytes> = self.layers.iter_mut().map(|layer| join(&mut layer.parts)).collect();
        let header = FrameHeader::parse(&frames[0]).ok_or(PayloadError::Invalid("VP9 frame header"))?;
        let format = match header {
            FrameHeader::Key { width, height } => {
                // Upper layers are predicted from lower ones, so only the scalability structure has their size.
                let known = self.layer_sizes.get(top).copied().filter(|_| frames.len() > 1);
                let (width, height) = known.unwrap_or((width, height));
                Some(VideoFormat { codec: Codec::Vp9, width, height, config: Bytes::new() })
            }
            FrameHeader::Other => None,
        };
        let keyframe = format.is_some();
        let data = superframe(frames);
        Ok(Finished::Picture(Picture { keyframe, format, data, reorder_depth: 0 }))
    }

    fn clear(&mut self) {
        self.layers.clear();
    }
}

/// What the payload descriptor says (RFC 9628 section 4.2).
#[derive(Debug, PartialEq, Eq)]
struct Descriptor {
    length: usize,
    begins: bool,
    ends: bool,
    spatial_id: usize,
    layer_sizes: Option<Vec<(u32, u32)>>,
}

impl Descriptor {
    fn parse(payload: &[u8]) -> Result<Self, PayloadError> {
        Self::read(payload).ok_or(PayloadError::Truncated("VP9 payload descriptor"))
    }

    fn read(payload: &[u8]) -> Option<Self> {
        let mut at = 0;
        let mut next = || {
            let byte = payload.get(at).copied();
            at += 1;
            byte
        };
        let flags = next()?;
        let [has_id, predicted, has_layers, flexible, begins, ends, has_structure] =
            [0x80, 0x40, 0x20, 0x10, 0x08, 0x04, 0x02].map(|bit| flags & bit != 0);
        if has_id && next()? & 0x80 != 0 {
            next()?; // the low half of a 15-bit picture id
        }
        let mut spatial_id = 0;
        if has_layers {
            spatial_id = usize::from(next()? >> 1 & 0x07);
            if !flexible {
                next()?; // TL0PICIDX
            }
        }
        if flexible && predicted {
            // At most three reference indices; the lowest bit says that another follows.
            for _ in 0..3 {
                if next()? & 1 == 0 {
                    break;
                }
            }
        }
        let mut layer_sizes = None;
        if has_structure {
            let structure = next()?;
            let layers = usize::from(structure >> 5) + 1;
            if structure & 0x10 != 0 {
                let mut sizes = Vec::with_capacity(layers);
                for _ in 0..layers {
                    let bytes = [next()?, next()?, next()?, next()?];
                    let width = u16::from_be_bytes([bytes[0], bytes[1]]);
                    let height = u16::from_be_bytes([bytes[2], bytes[3]]);
                    sizes.push((u32::from(width), u32::from(height)));
                }
                layer_sizes = Some(sizes).filter(|sizes| sizes.iter().all(|(w, h)| *w > 0 && *h > 0));
            }
            if structure & 0x08 != 0 {
                for _ in 0..next()? {
                    let references = next()? >> 2 & 0x03;
                    for _ in 0..references {
                        next()?;
                    }
                }
            }
        }
        (at <= payload.len()).then_some(Self { length: at, begins, ends, spatial_id, layer_sizes })
    }
}

/// The start of the uncompressed header (bitstream specification section 6.2).
#[derive(Debug, PartialEq, Eq)]
enum FrameHeader {
    Key { width: u32, height: u32 },
    Other,
}

impl FrameHeader {
    fn parse(data: &[u8]) -> Option<Self> {
        let mut bits = BitReader::new(data);
        if bits.bits(2)? != 2 {
            return None; // frame_marker
        }
        let (low, high) = (bits.bits(1)?, bits.bits(1)?);
        let profile = high << 1 | low;
        if profile == 3 && bits.flag()? {
            return None; // reserved_zero
        }
        if bits.flag()? {
            return Some(Self::Other); // show_existing_frame
        }
        if bits.flag()? {
            return Some(Self::Other); // frame_type NON_KEY_FRAME
        }
        bits.skip(2)?; // show_frame, error_resilient_mode
        if bits.bits(24)? != 0x49_8342 {
            return None; // frame_sync_code
        }
        if profile >= 2 {
            bits.skip(1)?; // ten_or_twelve_bit
        }
        let srgb = bits.bits(3)? == 7;
        let odd_profile = profile & 1 == 1;
        match (srgb, odd_profile) {
            (false, false) => bits.skip(1)?, // color_range
            (false, true) => bits.skip(4)?,  // color_range, subsampling_x, subsampling_y, reserved_zero
            (true, true) => bits.skip(1)?,   // reserved_zero
            (true, false) => return None,
        }
        Some(Self::Key { width: bits.bits(16)? + 1, height: bits.bits(16)? + 1 })
    }
}

/// The format of a frame (or superframe) as files have it; `None` when it is no key frame.
pub(super) fn format_of(data: &[u8]) -> Result<Option<VideoFormat>, PayloadError> {
    match FrameHeader::parse(data).ok_or(PayloadError::Invalid("VP9 frame header"))? {
        FrameHeader::Key { width, height } => {
            Ok(Some(VideoFormat { codec: Codec::Vp9, width, height, config: Bytes::new() }))
        }
        FrameHeader::Other => Ok(None),
    }
}

/// One buffer of the frames of one picture.
fn superframe(mut frames: Vec<Bytes>) -> Bytes {
    if frames.len() == 1 {
        return join(&mut frames);
    }
    let largest = frames.iter().map(Bytes::len).max().unwrap_or(0) as u32;
    let size_bytes = (4 - (largest | 1).leading_zeros() / 8) as usize;
    let marker = 0xc0 | ((size_bytes - 1) << 3) as u8 | (frames.len() - 1) as u8;
    let mut out = BytesMut::with_capacity(frames.iter().map(Bytes::len).sum::<usize>() + 34);
    for frame in &frames {
        out.put_slice(frame);
    }
    out.put_u8(marker);
    for frame in &frames {
        out.put_slice(&(frame.len() as u32).to_le_bytes()[..size_bytes]);
    }
    out.put_u8(marker);
    out.freeze()
}
