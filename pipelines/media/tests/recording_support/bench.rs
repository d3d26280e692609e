//! Frames for tests of recordings, and a recorder that is driven as the server drives it.
#![allow(dead_code, clippy::unwrap_used)] // every test binary uses its own part of this, and a failure is a test's failure

use bytes::{BufMut, Bytes, BytesMut};
use skywave_media::codec::{AudioFormat, Codec, Format, TrackKind, VideoFormat};
use skywave_media::frame::Frame;
use skywave_media::recording::{Finished, Recorder, RecorderConfig, RecorderOutput, check, finish};
use skywave_media::time::{MediaTime, Mono, UnixTime};
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

/// 2026-11-22T12:00:00Z.
pub(crate) const EPOCH: UnixTime = UnixTime::from_micros(1_795_348_800_000_000);

/// H.264 Constrained Baseline 3.1 of this size. The parameter sets are of the right shape, not of the right content.
pub(crate) fn h264(width: u32, height: u32) -> Arc<Format> {
    let mut config = vec![1, 0x42, 0xE0, 0x1F, 0xFF, 0xE1, 0, 4, 0x67, 0x42, 0xE0, 0x1F, 1, 0, 4, 0x68];
    config.extend([0xCE, 0x3C, 0x80]);
    Arc::new(Format::Video(VideoFormat { codec: Codec::H264, width, height, config: config.into() }))
}

/// AAC-LC, 48 kHz, stereo.
pub(crate) fn aac() -> Arc<Format> {
    let config = Bytes::from_static(&[0x11, 0x90]);
    Arc::new(Format::Audio(AudioFormat { codec: Codec::Aac, sample_rate: 48_000, channels: 2, config }))
}

/// A picture of one NAL unit.
pub(crate) fn video(format: &Arc<Format>, ticks_90k: i64, keyframe: bool) -> Frame {
    let payload = if keyframe { 900 } else { 200 };
    let mut data = BytesMut::new();
    data.put_u32(payload + 1);
    data.put_u8(if keyframe { 0x65 } else { 0x41 });
    data.put_bytes((ticks_90k % 251) as u8 | 1, payload as usize);
    let pts = MediaTime::from_90k(ticks_90k);
    Frame { format: Arc::clone(format), pts, dts: pts, duration: None, keyframe, data: data.freeze() }
}

pub(crate) fn audio(format: &Arc<Format>, samples: i64) -> Frame {
    let pts = MediaTime::from_48k(samples);
    let data = Bytes::from(vec![(samples / 1024 % 250) as u8 + 1; 60]);
    let duration = Some(MediaTime::from_48k(1024));
    Frame { format: Arc::clone(format), pts, dts: pts, duration, keyframe: true, data }
}

/// Frames of both lanes at 30 frames a second with a keyframe every 2 s, between these milliseconds, in order of time.
pub(crate) fn lanes(
    video_format: &Arc<Format>,
    audio_format: &Arc<Format>,
    from_ms: i64,
    to_ms: i64,
) -> Vec<Frame> {
    let first = from_ms * 30 / 1000;
    let pictures =
        (first..to_ms * 30 / 1000).map(|i| video(video_format, i * 3000, i % 60 == 0 || i == first));
    let sound =
        ((from_ms * 48 + 1023) / 1024..(to_ms * 48 + 1023) / 1024).map(|i| audio(audio_format, i * 1024));
    let mut frames: Vec<Frame> = pictures.chain(sound).collect();
    frames.sort_by_key(|frame| frame.pts);
    frames
}

pub(crate) fn mono(nanos: i64) -> Mono {
    // Clocks do not begin at zero.
    Mono::from_nanos(1_000_000_000_000 + u64::try_from(nanos.max(0)).unwrap())
}

/// A file as it grew.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) bytes: Vec<u8>,
    /// Sizes after each piece, with the time of its writing.
    pub(crate) grown: Vec<(usize, Mono)>,
    pub(crate) begins_ns: i64,
    pub(crate) duration: Duration,
    pub(crate) ended: bool,
}

/// A recorder and what it wrote.
pub(crate) struct Take {
    pub(crate) recorder: Recorder,
    pub(crate) files: Vec<Recorded>,
    pub(crate) now: Mono,
}

impl Take {
    pub(crate) fn new(config: RecorderConfig) -> Self {
        let mut recorder = Recorder::new(config);
        recorder.expect(TrackKind::Video);
        recorder.expect(TrackKind::Audio);
        Self { recorder, files: Vec::new(), now: mono(0) }
    }

    /// Hands frames over at the time their PTS says, or now if that is past; timers fire on the way.
    pub(crate) fn frames(&mut self, frames: impl IntoIterator<Item = Frame>) {
        for frame in frames {
            self.wait_until(mono(frame.pts.as_nanos()).max(self.now));
            self.recorder.handle_frame(&frame, self.now).unwrap();
            self.drain();
        }
    }

    pub(crate) fn wait_until(&mut self, until: Mono) {
        while let Some(due) = self.recorder.poll_timeout().filter(|&due| due <= until) {
            self.now = due.max(self.now);
            self.recorder.handle_timeout(self.now);
            self.drain();
            assert!(
                self.recorder.poll_timeout().is_none_or(|next| next > self.now),
                "a due timer is consumed"
            );
        }
        self.now = until;
    }

    pub(crate) fn discontinuity(&mut self) {
        self.recorder.handle_discontinuity(self.now);
        self.drain();
    }

    pub(crate) fn end(mut self) -> Vec<Recorded> {
        self.recorder.end(self.now);
        self.drain();
        assert_eq!(self.recorder.poll_timeout(), None);
        self.files
    }

    fn drain(&mut self) {
        while let Some(output) = self.recorder.poll_output() {
            match output {
                RecorderOutput::Begin { at } => {
                    assert!(self.files.last().is_none_or(|file| file.ended), "one file at a time");
                    self.files.push(Recorded { begins_ns: at.as_nanos(), ..Default::default() });
                }
                RecorderOutput::Append { bytes, duration } => {
                    let file = self.files.last_mut().unwrap();
                    file.bytes.extend_from_slice(&bytes);
                    file.grown.push((file.bytes.len(), self.now));
                    file.duration = duration;
                }
                RecorderOutput::End => self.files.last_mut().unwrap().ended = true,
            }
        }
    }
}

/// The finished file of recorded bytes, checked.
pub(crate) fn finished(recorded: &[u8]) -> (Vec<u8>, Finished) {
    let mut out = Vec::new();
    let len = recorded.len() as u64;
    let finished = finish(&mut Cursor::new(recorded), len, EPOCH, &mut out).unwrap();
    assert_eq!(finished.bytes, out.len() as u64);
    check(&mut Cursor::new(&out), out.len() as u64, &finished.tracks).unwrap();
    (out, finished)
}
