//! What came out, decoded by ffmpeg.

use skywave_media::codec::Format;
use skywave_media::frame::Frame;
use std::io::Write;
use std::process::{Command, Stdio};

/// Planes of 8 bits: luma, then the two chroma planes at half the size.
pub(crate) struct Picture {
    width: usize,
    pixels: Vec<u8>,
}

impl Picture {
    /// Luma of one pixel.
    pub(crate) fn luma(&self, x: usize, y: usize) -> u8 {
        self.pixels[y * self.width + x]
    }

    /// Mean luma of all pixels.
    pub(crate) fn mean_luma(&self, height: usize) -> f64 {
        let luma = &self.pixels[..self.width * height];
        luma.iter().map(|p| f64::from(*p)).sum::<f64>() / luma.len() as f64
    }
}

/// Decodes H.264 frames; fails on anything ffmpeg has to say, or when the size is another.
pub(crate) fn pictures(frames: &[Frame], width: usize, height: usize) -> Vec<Picture> {
    let decoded = ffmpeg(&annex_b(frames), &["-f", "h264"], &["-f", "rawvideo", "-pix_fmt", "yuv420p"]);
    let size = width * height * 3 / 2;
    assert_eq!(decoded.len() % size, 0, "pictures of another size");
    decoded.chunks(size).map(|pixels| Picture { width, pixels: pixels.to_vec() }).collect()
}

/// Decodes a JPEG file; fails when the size is another.
pub(crate) fn still(jpeg: &[u8], width: usize, height: usize) -> Picture {
    let pixels = ffmpeg(jpeg, &["-f", "mjpeg"], &["-f", "rawvideo", "-pix_fmt", "yuvj420p"]);
    assert_eq!(pixels.len(), width * height * 3 / 2, "another size");
    Picture { width, pixels }
}

/// Decodes AAC frames to interleaved stereo; the first sample is where the first frame's PTS is.
pub(crate) fn sound(frames: &[Frame]) -> Vec<[f64; 2]> {
    let adts: Vec<u8> = frames.iter().flat_map(adts_frame).collect();
    let decoded = ffmpeg(&adts, &["-f", "aac"], &["-f", "f32le", "-ar", "48000", "-ac", "2"]);
    let (samples, rest) = decoded.as_chunks::<8>();
    assert!(rest.is_empty());
    let value = |bytes: [u8; 4]| f64::from(f32::from_le_bytes(bytes));
    samples
        .iter()
        .map(|[a, b, c, d, e, f, g, h]| [value([*a, *b, *c, *d]), value([*e, *f, *g, *h])])
        .collect()
}

fn ffmpeg(input: &[u8], before: &[&str], after: &[&str]) -> Vec<u8> {
    let mut child = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "warning", "-err_detect", "explode", "-xerror", "-threads", "1"])
        .args(before)
        .args(["-i", "-"])
        .args(["-fps_mode", "passthrough"])
        .args(after)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        child.wait_with_output().unwrap()
    });
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    // A bare stream of frames has no duration to go by: that is no fault of the frames.
    let faults: Vec<_> =
        complaints.lines().filter(|l| !l.contains("Estimating duration from bitrate")).collect();
    assert!(output.status.success() && faults.is_empty(), "{complaints}");
    output.stdout
}

fn annex_b(frames: &[Frame]) -> Vec<u8> {
    let mut out = Vec::new();
    for frame in frames {
        if frame.keyframe {
            for set in parameter_sets(frame) {
                out.extend_from_slice(&[0, 0, 0, 1]);
                out.extend_from_slice(&set);
            }
        }
        let mut rest = &frame.data[..];
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let (nal, tail) = tail.split_at(u32::from_be_bytes(*length) as usize);
            assert!(![7, 8, 9].contains(&(nal[0] & 31)), "parameter sets live in the format");
            out.extend_from_slice(&[0, 0, 0, 1]);
            out.extend_from_slice(nal);
            rest = tail;
        }
        assert!(rest.is_empty(), "a frame is whole NAL units");
    }
    out
}

/// SPS and PPS out of `avcC` (ISO/IEC 14496-15 section 5.3.3.1).
pub(crate) fn parameter_sets(frame: &Frame) -> Vec<Vec<u8>> {
    let Format::Video(video) = &*frame.format else { panic!("video") };
    let config = &video.config;
    assert_eq!((config[0], config[4] & 3), (1, 3), "version 1, lengths of four bytes");
    let (mut sets, mut at) = (Vec::new(), 5);
    for mask in [31, 255] {
        let count = config[at] & mask;
        at += 1;
        for _ in 0..count {
            let length = usize::from(u16::from_be_bytes([config[at], config[at + 1]]));
            sets.push(config[at + 2..at + 2 + length].to_vec());
            at += 2 + length;
        }
    }
    sets
}

/// One AAC frame with the header of ISO/IEC 13818-7 section 6.2 before it.
fn adts_frame(frame: &Frame) -> Vec<u8> {
    let Format::Audio(audio) = &*frame.format else { panic!("audio") };
    assert_eq!(audio.config[..2], [0x11, 0x90], "AAC-LC, 48 kHz, stereo");
    let length = frame.data.len() + 7;
    let mut out = vec![
        0xff,
        0xf1,
        0x4c,
        0x80 | (length >> 11) as u8,
        (length >> 3) as u8,
        ((length & 7) << 5) as u8 | 0x1f,
        0xfc,
    ];
    out.extend_from_slice(&frame.data);
    out
}
