//! What the publisher sends: a browser's recorded stream (`samples/captures`), taken apart into frames, in a loop that begins at its
//! keyframe, and filled up to the bitrate wished for.

use crate::keyframe::{self, begins_keyframe, vp8_descriptor_length};
use crate::stamp;
use skywave_media::capture::{CaptureError, Record, Records};
use skywave_media::codec::Codec;
use skywave_media::packet::Packet;
use std::collections::BTreeMap;

/// What a video packet holds at most; with SRTP, RTP, UDP and IPv6 headers this stays below 1280 bytes.
const MAX_PAYLOAD: usize = 1150;
/// Clock of all video (RFC 7741 section 4.1, RFC 6184 section 5.1), in Hz.
const VIDEO_HZ: u64 = 90_000;
/// A frame lasts no longer than this in the loop, in ticks: the camera of the recording was stuck.
const MAX_FRAME_90K: u32 = 9_000;
/// Opus in packets of 20 ms at 48 kHz (RFC 7587 section 4.2).
pub(crate) const AUDIO_FRAME_48K: u32 = 960;

/// The codec of a published picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClipCodec {
    /// VP8 as Chromium sent it.
    #[default]
    Vp8,
    /// H.264 as Chromium sent it.
    H264,
}

/// Why there is no clip.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    /// The recording is damaged.
    #[error("the recording cannot be read: {0}")]
    Capture(#[from] CaptureError),
    /// It has no keyframe, or no sound.
    #[error("the recording has no {0}")]
    Lacks(&'static str),
    /// There is no encoder to make it smaller.
    #[error("{wished} bit/s cannot be had: the recording alone has {bare}")]
    TooLow {
        /// What was wished for.
        wished: u64,
        /// What the recording has.
        bare: u64,
    },
}

/// One frame of the loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClipFrame {
    /// Payloads in order, VP8's without their descriptors.
    pub(crate) payloads: Vec<Vec<u8>>,
    /// From this one on, payloads end in filling, which has room for a stamp.
    pub(crate) stamped_from: usize,
    /// Until the next frame.
    pub(crate) duration_90k: u32,
}

/// The loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clip {
    pub(crate) codec: ClipCodec,
    /// The first is a keyframe, the only one.
    pub(crate) video: Vec<ClipFrame>,
    /// Opus packets of 20 ms.
    pub(crate) audio: Vec<Vec<u8>>,
}

impl Clip {
    /// The built-in recording of `codec`, filled up to `bits_per_second` of video payload.
    pub(crate) fn load(codec: ClipCodec, bits_per_second: u64) -> Result<Self, ClipError> {
        let capture: &[u8] = match codec {
            ClipCodec::Vp8 => include_bytes!("../../../samples/captures/chromium-vp8.skycap"),
            ClipCodec::H264 => include_bytes!("../../../samples/captures/chromium-h264.skycap"),
        };
        let mut clip = Self::read(codec, capture)?;
        let bare = clip.bits_per_second();
        if bits_per_second < bare {
            return Err(ClipError::TooLow { wished: bits_per_second, bare });
        }
        clip.fill_up(bits_per_second);
        Ok(clip)
    }

    fn read(codec: ClipCodec, capture: &[u8]) -> Result<Self, ClipError> {
        let mut video: Vec<Packet> = Vec::new();
        let mut audio = Vec::new();
        for record in Records::new(capture)? {
            let Record::Packet { packet, .. } = record? else { continue };
            match packet.codec {
                Codec::Opus => audio.push(packet.payload.to_vec()),
                _ => video.push(packet),
            }
        }
        let first = video.first().ok_or(ClipError::Lacks("video"))?;
        let (timestamp, sequence) = (first.timestamp, first.sequence);
        // Sorted by what the publisher numbered: a recording is as the network delivered it.
        let mut frames: BTreeMap<u32, BTreeMap<u16, Packet>> = BTreeMap::new();
        for packet in video {
            let at = packet.timestamp.wrapping_sub(timestamp);
            let order = packet.sequence.wrapping_sub(sequence);
            frames.entry(at).or_default().insert(order, packet);
        }
        let seen_as = match codec {
            ClipCodec::Vp8 => keyframe::Codec::Vp8,
            ClipCodec::H264 => keyframe::Codec::H264,
        };
        let is_key =
            |frame: &BTreeMap<u16, Packet>| frame.values().any(|p| begins_keyframe(seen_as, &p.payload));
        let mut times: Vec<u32> = frames.keys().copied().collect();
        let begin = times.iter().position(|at| is_key(&frames[at])).ok_or(ClipError::Lacks("keyframe"))?;
        // One group of pictures: where the recording has another keyframe, the loop ends.
        let end = times.iter().skip(begin + 1).position(|at| is_key(&frames[at]));
        times.truncate(end.map_or(times.len(), |end| begin + 1 + end));
        let times = &times[begin..];
        let mean = (times[times.len() - 1] - times[0]) / (times.len() as u32 - 1).max(1);
        let video = times.iter().enumerate().map(|(n, at)| ClipFrame {
            payloads: frames[at].values().map(|packet| plain(codec, &packet.payload)).collect(),
            stamped_from: frames[at].len(),
            duration_90k: times.get(n + 1).map_or(mean, |next| next - at).clamp(1, MAX_FRAME_90K),
        });
        let clip = Self { codec, video: video.collect(), audio };
        if clip.audio.is_empty() { Err(ClipError::Lacks("audio")) } else { Ok(clip) }
    }

    /// Length of the loop's pictures in ticks.
    fn length_90k(&self) -> u64 {
        self.video.iter().map(|frame| u64::from(frame.duration_90k)).sum()
    }

    /// Video payload in bits per second.
    pub(crate) fn bits_per_second(&self) -> u64 {
        let bytes: usize = self.video.iter().flat_map(|frame| &frame.payloads).map(Vec::len).sum();
        bytes as u64 * 8 * VIDEO_HZ / self.length_90k().max(1)
    }

    /// Adds the same filling to every frame, so that the mean is what was wished for. What a decoder makes of a frame does not change.
    fn fill_up(&mut self, bits_per_second: u64) {
        let size = |frame: &ClipFrame| frame.payloads.iter().map(Vec::len).sum::<usize>() as u64;
        let mut budget = bits_per_second * self.length_90k() / VIDEO_HZ / 8;
        budget = budget.saturating_sub(self.video.iter().map(size).sum());
        let frames = self.video.len() as u64;
        for (n, frame) in self.video.iter_mut().enumerate() {
            // The remainder is spread, too, so that the sum is exact.
            let share = budget * (n as u64 + 1) / frames - budget * n as u64 / frames;
            fill(self.codec, frame, share as usize);
        }
    }
}

/// A payload as it is kept: VP8's descriptor has picture ids, which the loop numbers anew.
fn plain(codec: ClipCodec, payload: &[u8]) -> Vec<u8> {
    let skip = match codec {
        ClipCodec::Vp8 => vp8_descriptor_length(payload).unwrap_or(payload.len()),
        ClipCodec::H264 => 0,
    };
    payload[skip..].to_vec()
}

/// Adds `bytes` of filling to the end of a frame.
fn fill(codec: ClipCodec, frame: &mut ClipFrame, bytes: usize) {
    if bytes == 0 {
        return;
    }
    match codec {
        // Zeros behind the last partition: the arithmetic decoder never asks for them (RFC 6386 section 7).
        ClipCodec::Vp8 => {
            let mut whole = frame.payloads.concat();
            let real = whole.len();
            whole.resize(real + bytes, 0);
            let mut end = 0;
            frame.payloads.clear();
            frame.stamped_from = usize::MAX;
            for size in about_equal(whole.len()) {
                end += size;
                if end >= real + stamp::LENGTH {
                    frame.stamped_from = frame.stamped_from.min(frame.payloads.len());
                }
                frame.payloads.push(whole[end - size..end].to_vec());
            }
        }
        // Filler data (ITU-T H.264 section 7.3.2.7): ff bytes and the stop bit.
        ClipCodec::H264 => {
            for size in about_equal(bytes) {
                let mut unit = vec![0xff; size.max(2)];
                unit[0] = 12;
                if let Some(last) = unit.last_mut() {
                    *last = 0x80;
                }
                frame.payloads.push(unit);
            }
        }
    }
}

/// The sizes of a frame's packets as libwebrtc cuts them: as few as possible, equal but for one byte, the smaller ones first.
fn about_equal(bytes: usize) -> impl Iterator<Item = usize> {
    let count = bytes.div_ceil(MAX_PAYLOAD);
    let larger = bytes % count.max(1);
    (0..count).map(move |n| bytes / count + usize::from(n >= count - larger))
}

/// A VP8 payload with a descriptor of ours: picture id of 15 bits, start of partition in a frame's first packet.
pub(crate) fn vp8_payload(content: &[u8], first: bool, picture_id: u16) -> Vec<u8> {
    let id = (picture_id | 0x8000).to_be_bytes();
    let mut payload = vec![0x80 | u8::from(first) << 4, 0x80, id[0], id[1]];
    payload.extend_from_slice(content);
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clips_loop_from_a_keyframe_at_the_rate_wished_for() {
        for codec in [ClipCodec::Vp8, ClipCodec::H264] {
            let Err(ClipError::TooLow { bare, .. }) = Clip::load(codec, 0) else {
                panic!("{codec:?} shrank")
            };
            let bare = Clip::load(codec, bare).unwrap();
            assert!(bare.video.len() > 60, "{codec:?}: {} frames", bare.video.len());
            assert!(bare.audio.len() > 100);
            let fps = bare.video.len() as u64 * VIDEO_HZ / bare.length_90k();
            assert!((10..=60).contains(&fps), "{fps} frames a second");
            let filled = Clip::load(codec, 1_500_000).unwrap();
            let rate = filled.bits_per_second();
            assert!((1_499_000..=1_501_000).contains(&rate), "{rate}");
            assert!(filled.video.iter().flat_map(|f| &f.payloads).all(|p| !p.is_empty() && p.len() <= 1250));
            // What was there is still there, in front.
            for (before, after) in bare.video.iter().zip(&filled.video) {
                assert!(after.payloads.concat().starts_with(&before.payloads.concat()));
                assert!(after.stamped_from < after.payloads.len(), "there is room for stamps");
                for payload in &after.payloads[after.stamped_from..] {
                    let filling = &payload[payload.len() - stamp::LENGTH - 1..payload.len() - 1];
                    assert!(filling.iter().all(|b| *b == if codec == ClipCodec::Vp8 { 0 } else { 0xff }));
                }
                let sizes = || after.payloads[after.stamped_from..].iter().map(Vec::len);
                assert!(sizes().is_sorted() && sizes().max() <= sizes().min().map(|least| least + 1));
            }
            let first = &filled.video[0].payloads;
            let keys = match codec {
                ClipCodec::Vp8 => begins_keyframe(keyframe::Codec::Vp8, &vp8_payload(&first[0], true, 1)),
                ClipCodec::H264 => first.iter().any(|p| begins_keyframe(keyframe::Codec::H264, p)),
            };
            assert!(keys);
        }
    }
}
