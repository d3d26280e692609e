//! Small pictures of what is shown, as JPEG, one in a while.

use super::Size;
use super::encoder::raw_caps;
use crate::transcode::engine::{Engine, Waker};
use bytes::Bytes;
use gstreamer as gst;
use skywave_media::time::MediaTime;
use skywave_media::worker_proto::ThumbnailOut;
use std::collections::VecDeque;

/// JPEG quality, of 100: a face of 80 pixels is still one.
const QUALITY: u32 = 75;

/// Makes a thumbnail of the first picture and of one in each interval after it.
#[derive(Debug)]
pub(super) struct Thumbnails {
    out: ThumbnailOut,
    engine: Option<Engine>,
    next: Option<MediaTime>,
    pending: VecDeque<MediaTime>,
}

impl Thumbnails {
    pub(super) const fn new(out: ThumbnailOut) -> Self {
        Self { out, engine: None, next: None, pending: VecDeque::new() }
    }

    /// Goes on as `out`; `anew` when pictures have another size from now on.
    pub(super) fn handle_config(&mut self, out: ThumbnailOut, anew: bool) {
        if anew || (out.width, out.height) != (self.out.width, self.out.height) {
            self.engine = None;
            self.pending.clear();
        }
        self.out = out;
    }

    /// A picture of this size and time is shown. The error says why no thumbnails can be made.
    pub(super) fn handle_picture(
        &mut self,
        pts: MediaTime,
        picture: &gst::Buffer,
        size: Size,
        colorimetry: Option<&str>,
        waker: &Waker,
    ) -> Result<(), String> {
        let interval =
            MediaTime::from_nanos(i64::try_from(self.out.interval.as_nanos()).unwrap_or(i64::MAX / 4));
        // A time far before the next one belongs to another timeline.
        if self.next.is_some_and(|next| pts < next && pts > next - interval - interval) {
            return Ok(());
        }
        self.next = Some(pts + interval);
        let engine = match &mut self.engine {
            Some(engine) => engine,
            none => {
                let ThumbnailOut { width, height, .. } = self.out;
                let description = format!(
                    "videoconvertscale dither=none n-threads=1 add-borders=false \
                     ! video/x-raw,width={width},height={height} ! jpegenc quality={QUALITY}"
                );
                let caps = raw_caps(size, 1, colorimetry);
                none.insert(Engine::start(&description, &caps, waker).map_err(|e| e.to_string())?)
            }
        };
        let mut buffer = picture.copy();
        let meta = buffer.make_mut();
        meta.set_pts(gst::ClockTime::ZERO);
        meta.set_dts(None);
        meta.set_duration(None);
        engine.push(buffer);
        self.pending.push_back(pts);
        Ok(())
    }

    /// The next one: its time, and JPEG. The error says why there are none.
    pub(super) fn poll(&mut self) -> Result<Option<(MediaTime, Bytes)>, String> {
        let Some(engine) = &self.engine else { return Ok(None) };
        if let Some(error) = engine.failure() {
            self.engine = None;
            self.pending.clear();
            return Err(format!("thumbnails: {error}"));
        }
        let Some(sample) = engine.pull() else { return Ok(None) };
        let Some(pts) = self.pending.pop_front() else { return Ok(None) };
        let map = sample.buffer().and_then(|buffer| buffer.map_readable().ok());
        Ok(map.map(|map| (pts, Bytes::copy_from_slice(&map))))
    }
}
