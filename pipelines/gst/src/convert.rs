//! Between Skywave's types and GStreamer's: caps of formats, time stamps, and what encoders say about their output.
//!
//! What belongs here: translation without decisions. What does not: pipelines.

use bytes::Bytes;
use gstreamer as gst;
use skywave_media::codec::{AudioFormat, Codec, Format, VideoFormat};
use skywave_media::frame::Frame;
use skywave_media::time::MediaTime;

/// GStreamer has no negative time stamps and the stream's timeline has: zero stands here, in nanoseconds (one hour).
const TIMELINE_ORIGIN_NANOS: i64 = 3600 * 1_000_000_000;

/// A time on the stream's timeline as GStreamer has it; `None` before its beginning of time.
pub(crate) fn clock_time(time: MediaTime) -> Option<gst::ClockTime> {
    let nanos = time.as_nanos().checked_add(TIMELINE_ORIGIN_NANOS)?;
    Some(gst::ClockTime::from_nseconds(u64::try_from(nanos).ok()?))
}

/// A time of GStreamer's as it stands on the stream's timeline.
pub(crate) fn media_time(time: gst::ClockTime) -> MediaTime {
    let nanos = i64::try_from(time.nseconds()).unwrap_or(i64::MAX);
    MediaTime::from_nanos(nanos - TIMELINE_ORIGIN_NANOS)
}

/// A time of a file's, whose zero is its own beginning.
pub(crate) fn media_time_of_file(time: gst::Signed<gst::ClockTime>) -> MediaTime {
    let nanos = |time: gst::ClockTime| i64::try_from(time.nseconds()).unwrap_or(i64::MAX);
    MediaTime::from_nanos(match time {
        gst::Signed::Positive(time) => nanos(time),
        gst::Signed::Negative(time) => -nanos(time),
    })
}

/// The caps of coded frames of this format.
pub(crate) fn caps_of(format: &Format) -> gst::Caps {
    match format {
        Format::Video(video) => video_caps(video),
        Format::Audio(audio) => audio_caps(audio),
    }
}

fn video_caps(video: &VideoFormat) -> gst::Caps {
    match video.codec {
        Codec::Vp9 => gst::Caps::builder("video/x-vp9").build(),
        Codec::Av1 => gst::Caps::builder("video/x-av1")
            .field("stream-format", "obu-stream")
            .field("alignment", "tu")
            .build(),
        Codec::H264 => gst::Caps::builder("video/x-h264")
            .field("stream-format", "avc")
            .field("alignment", "au")
            .field("codec_data", buffer_of(&video.config))
            .build(),
        Codec::Vp8 | Codec::Opus | Codec::Aac => gst::Caps::builder("video/x-vp8").build(),
    }
}

fn audio_caps(audio: &AudioFormat) -> gst::Caps {
    match audio.codec {
        Codec::Aac => gst::Caps::builder("audio/mpeg")
            .field("mpegversion", 4i32)
            .field("stream-format", "raw")
            .field("codec_data", buffer_of(&audio.config))
            .build(),
        // RFC 7587 section 7: decoders are always ready for stereo at 48 kHz, whatever was sent.
        _ => gst::Caps::builder("audio/x-opus")
            .field("channel-mapping-family", 0i32)
            .field("channels", 2i32)
            .field("rate", 48_000i32)
            .build(),
    }
}

/// The bytes as a buffer that shares them.
pub(crate) fn buffer_of(bytes: &Bytes) -> gst::Buffer {
    gst::Buffer::from_slice(bytes.clone())
}

/// A coded frame as a buffer that shares its bytes; `None` when its time is before GStreamer's beginning.
pub(crate) fn buffer_of_frame(frame: &Frame) -> Option<gst::Buffer> {
    let mut buffer = buffer_of(&frame.data);
    let (pts, dts) = (clock_time(frame.pts)?, clock_time(frame.dts)?);
    let meta = buffer.make_mut();
    meta.set_pts(pts);
    meta.set_dts(dts);
    if !frame.keyframe {
        meta.set_flags(gst::BufferFlags::DELTA_UNIT);
    }
    Some(buffer)
}

/// The `codec_data` field of caps: `avcC` or `AudioSpecificConfig`.
pub(crate) fn codec_data(caps: &gst::CapsRef) -> Option<Bytes> {
    let buffer = caps.structure(0)?.get::<gst::Buffer>("codec_data").ok()?;
    let map = buffer.map_readable().ok()?;
    Some(Bytes::copy_from_slice(&map))
}

/// NAL unit types that belong into `avcC` or nowhere (ITU-T H.264 table 7-1): SPS, PPS, access unit delimiter.
const OUT_OF_BAND_NALS: [u8; 3] = [7, 8, 9];

/// A length-prefixed access unit without parameter sets and delimiters.
pub(crate) fn without_parameter_sets(access_unit: &[u8]) -> Bytes {
    let drop = |nal: &[u8]| nal.first().is_some_and(|header| OUT_OF_BAND_NALS.contains(&(header & 0x1f)));
    let mut kept = Vec::with_capacity(access_unit.len());
    let mut rest = access_unit;
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((nal, tail)) = tail.split_at_checked(length) else { break };
        if !drop(nal) {
            kept.extend_from_slice(&rest[..4 + length]);
        }
        rest = tail;
    }
    Bytes::from(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_start_of_the_timeline_survive_the_way_through_gstreamer() {
        for ticks in [-90_000, -1, 0, 1, 3003, 90_000 * 86_400] {
            let time = MediaTime::from_90k(ticks);
            assert_eq!(media_time(clock_time(time).unwrap()).rescale(90_000).ticks, ticks);
        }
        assert_eq!(clock_time(MediaTime::from_90k(-90_000 * 3601)), None);
    }

    #[test]
    fn parameter_sets_and_delimiters_are_taken_out_of_an_access_unit() {
        let unit = [0, 0, 0, 2, 9, 240, 0, 0, 0, 1, 0x67, 0, 0, 0, 1, 0x68, 0, 0, 0, 3, 0x65, 1, 2];
        assert_eq!(without_parameter_sets(&unit)[..], [0, 0, 0, 3, 0x65, 1, 2]);
        assert_eq!(without_parameter_sets(&[0, 0, 0, 9, 0x65])[..], [0u8; 0]);
    }
}
