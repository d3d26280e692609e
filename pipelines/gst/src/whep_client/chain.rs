//! Behind each lane of the connection: a chain of elements that decodes it, made anew when the lane's codec changes.

use super::offer::elements_for;
use super::tally::Tally;
use crate::webrtc_client::ClientError;
use crate::webrtc_client::connection::Connection;
use crate::webrtc_client::element::{caps_filter, make};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSinkCallbacks};
use gstreamer_video::{UpstreamForceKeyUnitEvent, VideoInfo};
use skywave_media::codec::{Codec, TrackKind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

mod av1;

/// Decodes whatever lanes the connection gets, and counts in `tally`.
pub(super) fn follow(connection: &Connection, tally: &Arc<Tally>) {
    let (pipeline, tally) = (connection.pipeline().downgrade(), Arc::clone(tally));
    connection.webrtc().connect_pad_added(move |_, pad| {
        if pad.direction() == gst::PadDirection::Src {
            follow_lane(pad, &pipeline, &tally);
        }
    });
}

/// The codec of a pad is known by its caps, and the one pad of a lane may get others later.
fn follow_lane(pad: &gst::Pad, pipeline: &gst::glib::WeakRef<gst::Pipeline>, tally: &Arc<Tally>) {
    let lane =
        Arc::new(Lane { pipeline: pipeline.clone(), tally: Arc::clone(tally), chain: Mutex::default() });
    if let Some(caps) = pad.current_caps() {
        lane.handle_caps(pad, &caps);
    }
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |pad, probe| {
        if let Some(gst::EventView::Caps(caps)) = probe.event().map(|event| event.view()) {
            lane.handle_caps(pad, caps.caps());
        }
        gst::PadProbeReturn::Ok
    });
}

struct Lane {
    pipeline: gst::glib::WeakRef<gst::Pipeline>,
    tally: Arc<Tally>,
    chain: Mutex<Option<Chain>>,
}

impl Lane {
    /// Runs on the thread that pushes the lane's packets, so none passes while chains are exchanged.
    fn handle_caps(&self, pad: &gst::Pad, caps: &gst::CapsRef) {
        let Some(pipeline) = self.pipeline.upgrade() else { return };
        let name = caps.structure(0).and_then(|s| s.get::<String>("encoding-name").ok()).unwrap_or_default();
        let Some(codec) = Codec::from_rtp_name(&name) else {
            complain(&pipeline, &format!("{name} is nothing we offered"));
            return;
        };
        let mut chain = self.chain.lock().expect("no thread panics while it exchanges a chain");
        if chain.as_ref().is_some_and(|chain| chain.codec == codec) {
            return;
        }
        tracing::debug!(?codec, "decoding");
        if let Some(old) = chain.take() {
            old.remove(&pipeline, pad);
        }
        match Chain::start(&pipeline, pad, codec, &self.tally) {
            Ok(new) => *chain = Some(new),
            Err(error) => complain(&pipeline, &error.to_string()),
        }
    }
}

/// Ends the session with these words.
fn complain(pipeline: &gst::Pipeline, words: &str) {
    pipeline.post_error_message(gst::error_msg!(gst::CoreError::Failed, ["{words}"]));
}

struct Chain {
    codec: Codec,
    elements: Vec<gst::Element>,
}

impl Chain {
    fn start(
        pipeline: &gst::Pipeline,
        pad: &gst::Pad,
        codec: Codec,
        tally: &Arc<Tally>,
    ) -> Result<Self, ClientError> {
        let elements = match codec {
            Codec::Av1 => av1::elements(pipeline, tally)?,
            _ => {
                let elements = elements(codec, tally)?;
                pipeline.add_many(&elements)?;
                gst::Element::link_many(&elements)?;
                elements
            }
        };
        // From the end, so that nothing is pushed into an element that does not run yet.
        elements.iter().rev().try_for_each(gst::Element::sync_state_with_parent)?;
        let first = elements.first().and_then(|e| e.static_pad("sink"));
        let sink =
            first.ok_or_else(|| ClientError::Engine(format!("no way into the decoder of {codec:?}")))?;
        count_keyframe_requests(&sink, tally);
        pad.link(&sink)
            .map_err(|e| ClientError::Engine(format!("no way to the decoder of {codec:?}: {e}")))?;
        Ok(Self { codec, elements })
    }

    fn remove(self, pipeline: &gst::Pipeline, pad: &gst::Pad) {
        let Some(sink) = self.elements.first().and_then(|e| e.static_pad("sink")) else { return };
        let stopped = pad
            .unlink(&sink)
            .map_err(|e| e.to_string())
            .and_then(|()| pipeline.remove_many(&self.elements).map_err(|e| e.to_string()));
        if let Err(error) = stopped {
            tracing::warn!(codec = ?self.codec, %error, "decoder not taken out");
        }
        for element in &self.elements {
            if element.set_state(gst::State::Null).is_err() {
                tracing::warn!(element = %element.name(), "the decoder refused to stop");
            }
        }
    }
}

/// depayloader -> decoder -> appsink.
fn elements(codec: Codec, tally: &Arc<Tally>) -> Result<Vec<gst::Element>, ClientError> {
    let mut chain = elements_for(codec).iter().map(|name| make(name)).collect::<Result<Vec<_>, _>>()?;
    if codec.kind() == TrackKind::Audio {
        chain.extend([make("audioconvert")?, sound_sink(codec, tally).upcast()]);
        return Ok(chain);
    }
    if let [depayloader, decoder] = &chain[..] {
        // After a loss nothing broken is shown, and a keyframe is asked for.
        depayloader.set_property("wait-for-keyframe", true);
        depayloader.set_property("request-keyframe", true);
        prepare_decoder(decoder, tally);
        let sink = depayloader.static_pad("sink").expect("a depayloader has a sink pad");
        ask_while_frameless(&sink, decoder);
    }
    if codec == Codec::H264 {
        let whole = gst::Caps::builder("video/x-h264")
            .field("stream-format", "byte-stream")
            .field("alignment", "au")
            .build();
        chain.insert(1, caps_filter(whole)?);
    }
    chain.push(picture_sink(codec, tally).upcast());
    Ok(chain)
}

/// Live pictures, none late: no frame threads, which hold pictures back, and no skipping by the clock. Counts keyframes.
fn prepare_decoder(decoder: &gst::Element, tally: &Arc<Tally>) {
    decoder.set_property("qos", false);
    if decoder.has_property("max-threads") {
        decoder.set_property("max-threads", 1i32);
    }
    let tally = Arc::clone(tally);
    let sink = decoder.static_pad("sink").expect("a decoder has a sink pad");
    sink.add_probe(gst::PadProbeType::BUFFER, move |_, probe| {
        if probe.buffer().is_some_and(|b| !b.flags().contains(gst::BufferFlags::DELTA_UNIT)) {
            tally.lock().keyframes += 1;
        }
        gst::PadProbeReturn::Ok
    });
}

/// Depayloaders ask for keyframes by an event that travels up to webrtcbin, which sends a PLI.
fn count_keyframe_requests(sink: &gst::Pad, tally: &Arc<Tally>) {
    let tally = Arc::clone(tally);
    sink.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, probe| {
        if probe.event().is_some_and(|event| UpstreamForceKeyUnitEvent::parse(event).is_ok()) {
            tally.lock().keyframe_requests += 1;
        }
        gst::PadProbeReturn::Ok
    });
}

/// Packets that make no frame for so long are waiting for a keyframe.
const FRAMELESS: Duration = Duration::from_millis(500);

/// Asks again while packets come and no frame does: rtpvp8depay 1.22 that waits for a keyframe asks only when it is told of another
/// loss, so a lost request, or a first keyframe lost with nothing after it, would leave no picture for ever.
fn ask_while_frameless(sink: &gst::Pad, decoder: &gst::Element) {
    let latest = Arc::new(Mutex::new(Instant::now()));
    let framed = Arc::clone(&latest);
    let into_decoder = decoder.static_pad("sink").expect("a decoder has a sink pad");
    into_decoder.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        *framed.lock().expect("no thread panics while it tells the time") = Instant::now();
        gst::PadProbeReturn::Ok
    });
    sink.add_probe(gst::PadProbeType::BUFFER, move |pad, _| {
        let mut latest = latest.lock().expect("no thread panics while it tells the time");
        let due = latest.elapsed() >= FRAMELESS;
        if due {
            *latest = Instant::now();
        }
        drop(latest);
        if due {
            pad.push_event(UpstreamForceKeyUnitEvent::builder().all_headers(true).build());
        }
        gst::PadProbeReturn::Ok
    });
}

/// An appsink that neither waits for a clock nor queues.
fn sink(caps: &gst::Caps, take: impl Fn(&AppSink, gst::Sample) -> Option<()> + Send + 'static) -> AppSink {
    let sink = AppSink::builder().caps(caps).sync(false).async_(false).build();
    let callbacks = AppSinkCallbacks::builder().new_sample(move |sink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        if take(sink, sample).is_none() {
            tracing::warn!("a buffer of unknown form");
        }
        Ok(gst::FlowSuccess::Ok)
    });
    sink.set_callbacks(callbacks.build());
    sink
}

fn picture_sink(codec: Codec, tally: &Arc<Tally>) -> AppSink {
    let tally = Arc::clone(tally);
    sink(&gst::Caps::new_empty_simple("video/x-raw"), move |_, sample| {
        let info = VideoInfo::from_caps(sample.caps()?).ok()?;
        tally.lock().picture(codec, (info.width(), info.height()), sample, Instant::now());
        Some(())
    })
}

fn sound_sink(codec: Codec, tally: &Arc<Tally>) -> AppSink {
    let tally = Arc::clone(tally);
    let caps = gst::Caps::builder("audio/x-raw").field("format", "F32LE").field("layout", "interleaved");
    sink(&caps.build(), move |_, sample| {
        let channels = sample.caps()?.structure(0)?.get::<i32>("channels").ok()?;
        let map = sample.buffer()?.map_readable().ok()?;
        let (values, _) = map.as_chunks::<4>();
        let peak = values.iter().map(|v| f32::from_le_bytes(*v).abs()).fold(0.0, f32::max);
        let samples = values.len() as u64 / u64::try_from(channels).ok().filter(|n| *n > 0)?;
        tally.lock().sound(codec, samples, peak, Instant::now());
        Some(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gstreamer_app::AppSrc;
    use gstreamer_rtp::RTPBuffer;
    use gstreamer_rtp::prelude::RTPBufferExt;
    use skywave_media::capture::{Record, Records};
    use skywave_media::packet::Packet;

    /// The packets of one lane of a real sender.
    fn packets(capture: &str, kind: TrackKind) -> Vec<Packet> {
        let path = format!("{}/../../samples/captures/{capture}.skycap", env!("CARGO_MANIFEST_DIR"));
        let file = std::fs::read(path).unwrap();
        let of_kind = |record| match record {
            Record::Packet { packet, .. } if packet.codec.kind() == kind => Some(packet),
            _ => None,
        };
        Records::new(&file).unwrap().filter_map(|record| of_kind(record.unwrap())).collect()
    }

    fn sample_of(packet: &Packet) -> gst::Sample {
        let length = u32::try_from(packet.payload.len()).unwrap();
        let mut buffer = gst::Buffer::new_rtp_with_sizes(length, 0, 0).unwrap();
        {
            let mut rtp = RTPBuffer::from_buffer_writable(buffer.get_mut().unwrap()).unwrap();
            rtp.set_payload_type(96);
            rtp.set_seq(packet.sequence);
            rtp.set_timestamp(packet.timestamp);
            rtp.set_ssrc(packet.ssrc);
            rtp.set_marker(packet.marker);
            rtp.payload_mut().unwrap().copy_from_slice(&packet.payload);
        }
        let caps = gst::Caps::builder("application/x-rtp")
            .field("media", packet.codec.kind().as_str())
            .field("encoding-name", packet.codec.rtp_name().to_ascii_uppercase())
            .field("clock-rate", packet.codec.rtp_clock_rate().cast_signed())
            .field("payload", 96)
            .build();
        let segment = gst::FormattedSegment::<gst::ClockTime>::new();
        gst::Sample::builder().buffer(&buffer).caps(&caps).segment(&segment).build()
    }

    /// One lane that is fed by the test in place of webrtcbin.
    struct Fed {
        pipeline: gst::Pipeline,
        source: AppSrc,
        tally: Arc<Tally>,
    }

    impl Fed {
        fn new() -> Self {
            gst::init().unwrap();
            let pipeline = gst::Pipeline::new();
            let source = AppSrc::builder().format(gst::Format::Time).is_live(true).build();
            pipeline.add(&source).unwrap();
            let tally = Arc::default();
            follow_lane(&source.static_pad("src").unwrap(), &pipeline.downgrade(), &tally);
            pipeline.set_state(gst::State::Playing).unwrap();
            Self { pipeline, source, tally }
        }

        fn feed(&self, packets: &[Packet]) {
            for packet in packets {
                self.source.push_sample(&sample_of(packet)).unwrap();
            }
        }

        /// Waits until streaming threads have decoded so much.
        fn wait_until(&self, what: &str, done: impl Fn(&Tally) -> bool) {
            let deadline = Instant::now() + Duration::from_secs(40);
            while !done(&self.tally) {
                assert!(Instant::now() < deadline, "{what}: {:?}", self.tally);
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    impl Drop for Fed {
        fn drop(&mut self) {
            self.pipeline.set_state(gst::State::Null).unwrap();
        }
    }

    #[test]
    fn what_real_browsers_send_is_decoded_also_when_the_codec_changes_on_the_way() {
        let lane = Fed::new();
        let mut before = 0;
        for (capture, codec) in [
            ("chromium-av1", Codec::Av1),
            ("chromium-vp8", Codec::Vp8),
            ("chromium-h264", Codec::H264),
            ("chromium-vp9", Codec::Vp9),
            ("firefox-vp8", Codec::Vp8),
        ] {
            lane.feed(&packets(capture, TrackKind::Video));
            lane.wait_until(capture, |tally| {
                tally.lock().video_seen().is_some_and(|seen| seen.codec == codec && seen.frames > before + 10)
            });
            before = lane.tally.lock().video_seen().unwrap().frames;
        }
        assert!(lane.tally.lock().keyframes >= 5, "{:?}", lane.tally);
        let elements = lane.pipeline.children().len();
        assert_eq!(elements, 4, "appsrc and one chain, not those of before");
    }

    #[test]
    fn sound_is_decoded_and_its_level_told() {
        let lane = Fed::new();
        lane.feed(&packets("gst-opus", TrackKind::Audio));
        lane.wait_until("sound", |tally| tally.lock().audio_seen().is_some_and(|seen| seen.buffers > 10));
        let seen = lane.tally.lock().audio_seen().unwrap();
        assert!(seen.peak_db.is_finite() && seen.peak_db > -60.0, "{seen:?}");
    }
}
