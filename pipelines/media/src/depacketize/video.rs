//! What all video payload formats share: where a frame begins and ends, holes, and waiting for a keyframe.

use super::{
    Assemble, CodedFrame, Depacketized, Finished, KeyframeReason, PayloadError, av1::Av1Assembler,
    h264::H264Assembler, vp8::Vp8Assembler, vp9::Vp9Assembler,
};
use crate::codec::{Codec, Format};
use crate::packet::Packet;
use crate::time::Mono;
use std::collections::VecDeque;
use std::sync::Arc;

/// How many packets one frame may have: 8192 full packets are 10 MB, and a bound on what tiny packets pin in memory.
const MAX_PACKETS: usize = 8192;

/// One video track's frames in the making.
#[derive(Debug)]
pub(super) struct VideoLane {
    assembler: Box<dyn Assemble>,
    max_frame_bytes: usize,
    open: Option<OpenFrame>,
    /// Packets were lost since the last packet.
    lost: bool,
    /// Frames are dropped until a keyframe comes.
    waiting: Option<KeyframeReason>,
    /// The last keyframe's format; `None` before the first.
    format: Option<Arc<Format>>,
    reorder_depth: u32,
}

#[derive(Debug)]
struct OpenFrame {
    timestamp: u32,
    arrival: Mono,
    bytes: usize,
    packets: usize,
    /// Packets right before its first one are lost.
    after_loss: bool,
    /// Why it is past saving.
    damage: Option<KeyframeReason>,
}

impl VideoLane {
    pub(super) fn new(codec: Codec, max_frame_bytes: usize) -> Option<Self> {
        let assembler: Box<dyn Assemble> = match codec {
            Codec::Vp8 => Box::new(Vp8Assembler::default()),
            Codec::Vp9 => Box::new(Vp9Assembler::default()),
            Codec::H264 => Box::new(H264Assembler::default()),
            Codec::Av1 => Box::new(Av1Assembler::default()),
            Codec::Opus | Codec::Aac => return None,
        };
        Some(Self {
            assembler,
            max_frame_bytes,
            open: None,
            lost: false,
            waiting: None,
            format: None,
            reorder_depth: 0,
        })
    }

    pub(super) fn handle_loss(&mut self) {
        self.lost = true;
        if let Some(open) = &mut self.open {
            open.damage.get_or_insert(KeyframeReason::Loss);
        }
        // What was lost may have been referred to; which frames, no payload format says reliably.
        if self.format.is_some() {
            self.waiting.get_or_insert(KeyframeReason::Loss);
        }
    }

    pub(super) const fn keyframe_needed(&self) -> Option<KeyframeReason> {
        self.waiting
    }

    pub(super) fn close_before(&mut self, timestamp: u32, output: &mut VecDeque<Depacketized>) {
        if self.open.as_ref().is_some_and(|open| open.timestamp != timestamp) {
            // The marker bit was missing, or its packet is lost.
            self.close(output);
        }
    }

    pub(super) fn handle_packet(&mut self, packet: &Packet, output: &mut VecDeque<Depacketized>) {
        self.close_before(packet.timestamp, output);
        let lost = std::mem::take(&mut self.lost);
        let open = self.open.get_or_insert(OpenFrame {
            timestamp: packet.timestamp,
            arrival: packet.arrival,
            bytes: 0,
            packets: 0,
            after_loss: lost,
            damage: None,
        });
        open.arrival = open.arrival.min(packet.arrival);
        open.bytes += packet.payload.len();
        open.packets += 1;
        if open.damage.is_none() {
            let pushed = if open.bytes > self.max_frame_bytes || open.packets > MAX_PACKETS {
                Err(PayloadError::TooLarge(self.max_frame_bytes))
            } else {
                self.assembler.push(&packet.payload)
            };
            if let Err(error) = pushed {
                // After a loss the head of the frame may be missing: nobody's fault but the network's.
                if open.after_loss {
                    open.damage = Some(KeyframeReason::Loss);
                } else {
                    open.damage = Some(KeyframeReason::BadPayload);
                    output.push_back(Depacketized::BadPayload(error));
                }
                self.assembler.clear();
            }
        }
        if packet.marker {
            self.close(output);
        }
    }

    /// The open frame has ended.
    fn close(&mut self, output: &mut VecDeque<Depacketized>) {
        let Some(open) = self.open.take() else { return };
        if let Some(damage) = open.damage {
            self.assembler.clear();
            self.drop_frame(damage, output);
            return;
        }
        let finished = self.assembler.finish(open.after_loss);
        self.assembler.clear();
        let picture = match finished {
            Ok(Finished::Picture(picture)) => picture,
            Ok(Finished::Nothing) => return,
            Ok(Finished::Incomplete) => {
                let reason = if open.after_loss { KeyframeReason::Loss } else { KeyframeReason::BadPayload };
                self.drop_frame(reason, output);
                return;
            }
            Err(error) => {
                output.push_back(Depacketized::BadPayload(error));
                self.drop_frame(KeyframeReason::BadPayload, output);
                return;
            }
        };
        if let Some(format) = picture.format {
            let format = Format::Video(format);
            if self.format.as_deref() != Some(&format) {
                self.format = Some(Arc::new(format));
            }
            self.reorder_depth = picture.reorder_depth;
        }
        if picture.keyframe {
            self.waiting = None;
        }
        let Some(format) = self.format.as_ref().filter(|_| self.waiting.is_none()) else {
            self.drop_frame(KeyframeReason::NotYet, output);
            return;
        };
        output.push_back(Depacketized::Frame(CodedFrame {
            timestamp: open.timestamp,
            arrival: open.arrival,
            keyframe: picture.keyframe,
            format: Arc::clone(format),
            data: picture.data,
            duration: None,
            reorder_depth: self.reorder_depth,
        }));
    }

    fn drop_frame(&mut self, reason: KeyframeReason, output: &mut VecDeque<Depacketized>) {
        self.waiting.get_or_insert(reason);
        output.push_back(Depacketized::Dropped);
    }
}
