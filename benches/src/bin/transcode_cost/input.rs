//! The input: made by ffmpeg, read by ffmpeg as files and by us as frames.

use crate::Failure;
use bytes::Bytes;
use skywave_media::codec::{AudioFormat, Codec, Format, VideoFormat};
use skywave_media::frame::Frame;
use skywave_media::time::MediaTime;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

pub(crate) struct Input {
    folder: tempfile::TempDir,
    pub(crate) video: Vec<Frame>,
    pub(crate) audio: Vec<Frame>,
}

impl Input {
    /// Moving patterns with grain, hard for an encoder, and two tones.
    pub(crate) fn make(seconds: u32) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let picture =
            format!("testsrc2=size=1280x720:rate=30:duration={seconds},noise=alls=6:allf=t,format=yuv420p");
        let sound = format!("aevalsrc='0.3*sin(880*t)+0.02*random(0)|0.3*sin(1320*t)':s=48000:d={seconds}");
        let vp8 = "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 2500k -g 300 -threads 2";
        // One packet a page, so that pages are packets.
        let opus = "-c:a libopus -b:a 96k -frame_duration 20 -page_duration 20000";
        for (source, coder, file) in [(picture, vp8, "video.ivf"), (sound, opus, "audio.ogg")] {
            let status = Command::new("ffmpeg")
                .args(["-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", &source])
                .args(coder.split(' '))
                .arg(folder.path().join(file))
                .status()?;
            if !status.success() {
                return Err(format!("ffmpeg cannot make {file}").into());
            }
        }
        let mut input = Self { folder, video: Vec::new(), audio: Vec::new() };
        input.video = vp8_frames(&std::fs::read(input.video_path())?);
        input.audio = opus_frames(&std::fs::read(input.audio_path())?);
        if input.video.len() != seconds as usize * 30 || input.audio.len() < seconds as usize * 50 {
            return Err(format!("{} pictures and {} sounds", input.video.len(), input.audio.len()).into());
        }
        Ok(input)
    }

    pub(crate) fn video_path(&self) -> PathBuf {
        self.folder.path().join("video.ivf")
    }

    pub(crate) fn audio_path(&self) -> PathBuf {
        self.folder.path().join("audio.ogg")
    }
}

/// IVF: a header of 32 bytes, then frames of a size (4 bytes), a time stamp (8 bytes) and the frame.
fn vp8_frames(ivf: &[u8]) -> Vec<Frame> {
    let config = Bytes::new();
    let format = Arc::new(Format::Video(VideoFormat { codec: Codec::Vp8, width: 1280, height: 720, config }));
    let mut rest = ivf.get(32..).unwrap_or_default();
    let mut frames = Vec::new();
    while let Some((size, tail)) = rest.split_first_chunk::<4>() {
        let size = u32::from_le_bytes(*size) as usize;
        let Some((data, tail)) = tail.get(8..).and_then(|tail| tail.split_at_checked(size)) else { break };
        let pts = MediaTime::new(frames.len() as i64, 30).rescale(90_000);
        // RFC 6386 section 9.1: the lowest bit of a keyframe is zero.
        let keyframe = data.first().is_some_and(|b| b & 1 == 0);
        let data = Bytes::copy_from_slice(data);
        frames.push(Frame { format: format.clone(), pts, dts: pts, duration: None, keyframe, data });
        rest = tail;
    }
    frames
}

/// Ogg pages (RFC 3533 section 6) of one packet each, after the two header packets of RFC 7845.
fn opus_frames(ogg: &[u8]) -> Vec<Frame> {
    let config = Bytes::new();
    let format =
        Arc::new(Format::Audio(AudioFormat { codec: Codec::Opus, sample_rate: 48_000, channels: 2, config }));
    let mut rest = ogg;
    let mut packets = Vec::new();
    while rest.starts_with(b"OggS") && rest.len() > 27 {
        let segments = usize::from(rest[26]);
        let Some((lacing, body)) = rest[27..].split_at_checked(segments) else { break };
        let mut at = 0;
        let mut packet = Vec::new();
        for lace in lacing {
            let end = (at + usize::from(*lace)).min(body.len());
            packet.extend_from_slice(&body[at..end]);
            at = end;
            if *lace < 255 {
                packets.push(Bytes::from(std::mem::take(&mut packet)));
            }
        }
        rest = &body[at..];
    }
    let frame = |(data, number): (Bytes, i64)| {
        let pts = MediaTime::from_48k(number * 960);
        Frame { format: format.clone(), pts, dts: pts, duration: None, keyframe: true, data }
    };
    packets.into_iter().skip(2).zip(0..).map(frame).collect()
}
