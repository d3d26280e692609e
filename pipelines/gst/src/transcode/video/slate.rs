//! Still pictures: plain ones, and the one that is shown while nobody publishes.

use super::Size;
use super::decoder::pinned_caps;
use crate::convert::buffer_of;
use crate::transcode::engine::{Engine, Waker};
use gstreamer as gst;
use skywave_media::worker_proto::Slate;

/// Black as video range has it (ITU-R BT.601 section 2.5.3).
pub(super) const BLACK: u8 = 16;

/// A dark grey: not to be taken for a lost picture.
pub(super) const GREY: u8 = 48;

/// How long a picture file may take to decode. Longer than the server waits for a heartbeat, so it never comes to that.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_mseconds(500);

/// The first bytes of a PNG file (PNG specification, section 5.2).
const PNG_MAGIC: &[u8] = b"\x89PNG\r\n\x1a\n";

/// A picture of one luma without colour, in I420.
pub(super) fn plain((width, height): Size, luma: u8) -> gst::Buffer {
    // The layout GStreamer assumes for I420 without a meta: rows padded to four bytes.
    let up = |n: usize, to: usize| n.next_multiple_of(to);
    let (width, height) = (width as usize, height as usize);
    let luma_size = up(width, 4) * up(height, 2);
    let chroma_size = up(up(width, 2) / 2, 4) * (up(height, 2) / 2);
    let mut pixels = vec![luma; luma_size];
    pixels.resize(luma_size + 2 * chroma_size, 128);
    gst::Buffer::from_slice(pixels)
}

/// The slate's picture, scaled and padded into `size`. The error says why the file cannot be shown.
pub(super) fn picture(slate: &Slate, size: Size, waker: &Waker) -> Result<gst::Buffer, String> {
    let Slate::Picture(file) = slate else { return Ok(plain(size, GREY)) };
    let (decoder, caps) = match file.starts_with(PNG_MAGIC) {
        true => ("pngdec", "image/png"),
        false => ("jpegdec", "image/jpeg"),
    };
    let pin = pinned_caps(size);
    let description = format!("{decoder} ! videoconvertscale ! capsfilter caps=\"{pin}\"");
    let caps = gst::Caps::builder(caps).field("framerate", gst::Fraction::new(1, 1)).build();
    let mut engine = Engine::start(&description, &caps, waker).map_err(|e| e.to_string())?;
    let mut buffer = buffer_of(file);
    buffer.make_mut().set_pts(gst::ClockTime::ZERO);
    engine.push(buffer);
    let shown = engine.finish(PATIENCE).into_iter().next().and_then(|sample| sample.buffer_owned());
    shown.ok_or_else(|| engine.failure().unwrap_or_else(|| "it is no PNG or JPEG".to_owned()))
}
