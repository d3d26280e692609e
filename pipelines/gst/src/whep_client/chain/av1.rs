//! AV1, for which GStreamer 1.22 has no depayloader: `skywave-media`'s takes its place.

use super::{picture_sink, prepare_decoder, sink};
use crate::convert::{buffer_of, caps_of};
use crate::webrtc_client::ClientError;
use crate::webrtc_client::element::make;
use crate::whep_client::tally::Tally;
use bytes::Bytes;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;
use gstreamer_rtp::RTPBuffer;
use gstreamer_video::UpstreamForceKeyUnitEvent;
use skywave_media::codec::{Codec, Format};
use skywave_media::depacketize::{Depacketized, Depacketizer};
use skywave_media::packet::Packet;
use skywave_media::time::Mono;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Larger than any frame of a broadcast.
const MAX_FRAME_BYTES: usize = 8 * 1024 * 1024;

/// Keyframes are asked for at most this often: an answer takes a round trip and an encoder's time.
const REQUEST_INTERVAL: Duration = Duration::from_millis(500);

/// Coded frames waiting for the decoder.
const APPSRC_FRAMES: u64 = 60;

/// appsink (packets) => appsrc (frames) -> decoder -> appsink; added to the pipeline and linked.
pub(super) fn elements(
    pipeline: &gst::Pipeline,
    tally: &Arc<Tally>,
) -> Result<Vec<gst::Element>, ClientError> {
    let none = || ClientError::Engine("there is no AV1 depacketizer".into());
    let frames = AppSrc::builder()
        .caps(
            &gst::Caps::builder("video/x-av1")
                .field("stream-format", "obu-stream")
                .field("alignment", "tu")
                .build(),
        )
        .format(gst::Format::Time)
        .is_live(true)
        .do_timestamp(true)
        .max_buffers(APPSRC_FRAMES)
        .max_bytes(0)
        .leaky_type(gstreamer_app::AppLeakyType::Downstream)
        .build();
    let joint = Mutex::new(Joint {
        depacketizer: Depacketizer::new(Codec::Av1, MAX_FRAME_BYTES).ok_or_else(none)?,
        last_sequence: None,
        format: None,
        frames: frames.clone(),
        last_request: None,
    });
    let any = gst::Caps::new_empty_simple("application/x-rtp");
    let packets = sink(&any, move |sink, sample| {
        let mut joint = joint.lock().expect("no thread panics in the joint");
        if joint.handle(sample.buffer()?, Instant::now())? {
            let pad = sink.static_pad("sink")?;
            pad.push_event(UpstreamForceKeyUnitEvent::builder().all_headers(true).build());
        }
        Some(())
    });
    let decoder = make("av1dec")?;
    prepare_decoder(&decoder, tally);
    let chain = vec![packets.upcast(), frames.upcast(), decoder, picture_sink(Codec::Av1, tally).upcast()];
    pipeline.add_many(&chain)?;
    gst::Element::link_many(&chain[1..])?;
    Ok(chain)
}

/// From packets to frames.
struct Joint {
    depacketizer: Depacketizer,
    last_sequence: Option<u16>,
    format: Option<Arc<Format>>,
    frames: AppSrc,
    last_request: Option<Instant>,
}

impl Joint {
    /// Takes a packet; whether a keyframe is to be asked for. `None`: it is no RTP.
    fn handle(&mut self, buffer: &gst::BufferRef, now: Instant) -> Option<bool> {
        let packet = RTPBuffer::from_buffer_readable(buffer).ok()?;
        let sequence = packet.seq();
        // The jitter buffer has put them in order and gave up on those that are missing.
        if self.last_sequence.is_some_and(|last| sequence != last.wrapping_add(1)) {
            self.depacketizer.handle_loss();
        }
        self.last_sequence = Some(sequence);
        self.depacketizer.handle_packet(&Packet {
            ssrc: packet.ssrc(),
            sequence,
            timestamp: packet.timestamp(),
            marker: packet.is_marker(),
            codec: Codec::Av1,
            arrival: Mono::from_nanos(0),
            payload: packet.payload().map(Bytes::copy_from_slice).unwrap_or_default(),
        });
        while let Some(output) = self.depacketizer.poll_output() {
            match output {
                Depacketized::Frame(frame) => {
                    if self.format.as_ref() != Some(&frame.format) {
                        self.frames.set_caps(Some(&caps_of(&frame.format)));
                        self.format = Some(frame.format.clone());
                    }
                    let mut coded = buffer_of(&frame.data);
                    if !frame.keyframe {
                        coded.make_mut().set_flags(gst::BufferFlags::DELTA_UNIT);
                    }
                    // Refused only while the chain is being stopped.
                    if let Err(error) = self.frames.push_buffer(coded) {
                        tracing::trace!(?error, "frame not taken");
                    }
                }
                Depacketized::Dropped => tracing::debug!("a frame with a hole"),
                Depacketized::BadPayload(error) => tracing::warn!(%error, "a bad payload"),
            }
        }
        let due = self.last_request.is_none_or(|last| now - last >= REQUEST_INTERVAL);
        let wanted = self.depacketizer.keyframe_needed().is_some() && due;
        if wanted {
            self.last_request = Some(now);
        }
        Some(wanted)
    }
}
