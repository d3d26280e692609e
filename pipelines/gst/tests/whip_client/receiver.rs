//! A WebRTC peer that answers an offer with another `webrtcbin`, decodes what comes and writes down what it sees.

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::{AppSink, AppSinkCallbacks};
use gstreamer_rtp::RTPBuffer;
use gstreamer_video::{VideoFrameExt, VideoFrameRef, VideoInfo};
use gstreamer_webrtc as webrtc;
use skywave_gst::whip_client::{FLASH_LUMA_THRESHOLD, read_timecode};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the receiver saw; written by streaming threads.
#[derive(Debug, Default)]
pub struct Seen {
    /// Payload type and SSRC -> sequence numbers received.
    pub packets: BTreeMap<(u8, u32), BTreeSet<u16>>,
    /// RTCP sender reports: SSRC, seconds of the sender's wall clock, RTP timestamp.
    pub sender_reports: Vec<(u32, f64, u32)>,
    /// RTP timestamp and SSRC of each lane's first packet; decoded times are counted from it.
    pub first: BTreeMap<u8, (u32, u32)>,
    /// Payload type and time of each packet that went to a decoder.
    pub times: Vec<(u8, Duration)>,
    /// Packets that begin a VP8 keyframe.
    pub keyframes: u64,
    /// Decoded pictures: time, mean luma, timecode.
    pub pictures: Vec<(Duration, u8, Option<u32>)>,
    /// Width and height of the latest picture.
    pub size: Option<(u32, u32)>,
    /// Decoded stereo samples, and the time of each buffer's first: (time, index into `samples`).
    pub samples: Vec<[i16; 2]>,
    pub sample_times: Vec<(Duration, usize)>,
    /// RTP packets with the transport-wide sequence number (extension 3).
    pub twcc_packets: u64,
}

/// Loudest sample that still counts as silence: Opus rings a little around a beep.
const SILENCE: i16 = 2000;

impl Seen {
    /// Packets that carried media of this payload type, repetitions not counted.
    pub fn packets_of(&self, payload_type: u8) -> usize {
        self.packets.iter().filter(|((pt, _), _)| *pt == payload_type).map(|(_, s)| s.len()).sum()
    }

    /// Packets of this payload type that never came, counted from the first to the last that did.
    pub fn missing(&self, payload_type: u8) -> usize {
        let of_ssrc = |seqs: &BTreeSet<u16>| {
            // Unwrapped around the first: tests do not last 32,768 packets.
            let origin = *seqs.first().unwrap();
            let offsets: BTreeSet<i16> = seqs.iter().map(|s| s.wrapping_sub(origin).cast_signed()).collect();
            let span = i32::from(*offsets.last().unwrap()) - i32::from(*offsets.first().unwrap()) + 1;
            span as usize - offsets.len()
        };
        self.packets.iter().filter(|((pt, _), _)| *pt == payload_type).map(|(_, s)| of_ssrc(s)).sum()
    }

    /// The longest time between two packets of this payload type, and the time of the first of the two.
    pub fn largest_gap(&self, payload_type: u8) -> (Duration, Duration) {
        let times: Vec<_> =
            self.times.iter().filter(|(pt, _)| *pt == payload_type).map(|(_, t)| *t).collect();
        times.windows(2).map(|w| (w[1].saturating_sub(w[0]), w[0])).max().unwrap_or_default()
    }

    /// Times at which a flash began: the first white picture right after a dark one. Where a picture is missing between the
    /// two (encoders skip some on a busy machine) nobody knows when it began, so it does not count.
    pub fn flashes(&self) -> Vec<Duration> {
        let white = |luma: u8| luma > FLASH_LUMA_THRESHOLD;
        let begins = |w: &&[(Duration, u8, Option<u32>)]| {
            !white(w[0].1) && white(w[1].1) && w[1].0.saturating_sub(w[0].0) < Duration::from_millis(45)
        };
        self.pictures.windows(2).filter(begins).map(|w| w[1].0).collect()
    }

    /// Times at which a beep began: the first loud sample after 200 ms of silence.
    pub fn beeps(&self) -> Vec<Duration> {
        let (mut beeps, mut quiet) = (Vec::new(), 0);
        for (n, (time, first)) in self.sample_times.iter().enumerate() {
            let end = self.sample_times.get(n + 1).map_or(self.samples.len(), |(_, next)| *next);
            for (offset, sample) in self.samples[*first..end].iter().enumerate() {
                if sample[0].abs() < SILENCE {
                    quiet += 1;
                    continue;
                }
                if quiet > 9600 {
                    beeps.push(*time + Duration::from_secs_f64(offset as f64 / 48_000.0));
                }
                quiet = 0;
            }
        }
        beeps
    }

    /// The sender's wall clock, in seconds, when it took what we decoded as `time`: by the RTP timestamps and the
    /// sender's latest report. No buffer or clock of the receiver has a part in it.
    fn wall(&self, payload_type: u8, rate: f64, time: Duration) -> Option<f64> {
        let (first, ssrc) = self.first.get(&payload_type)?;
        let (_, wall, reported) = self.sender_reports.iter().rfind(|r| r.0 == *ssrc)?;
        Some(wall + time.as_secs_f64() + f64::from(first.wrapping_sub(*reported).cast_signed()) / rate)
    }

    /// For each flash with a beep within 400 ms of it: how much later the beep is by the sender's clock, in seconds.
    pub fn skews(&self) -> Vec<f64> {
        let beeps: Vec<f64> = self.beeps().iter().filter_map(|b| self.wall(111, 48_000.0, *b)).collect();
        self.flashes()
            .iter()
            .filter_map(|flash| {
                let flash = self.wall(96, 90_000.0, *flash)?;
                let skew = |beep: &f64| beep - flash;
                beeps.iter().map(skew).min_by(|a, b| a.abs().total_cmp(&b.abs())).filter(|s| s.abs() < 0.4)
            })
            .collect()
    }
}

/// The answering peer. Dropping it closes the connection.
pub struct Receiver {
    pipeline: gst::Pipeline,
    webrtc: gst::Element,
    pub seen: Arc<Mutex<Seen>>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.pipeline.set_state(gst::State::Null).unwrap();
    }
}

impl Receiver {
    pub fn new(_setup: &crate::PeerSetup) -> Self {
        let pipeline = gst::Pipeline::new();
        let webrtc = gst::ElementFactory::make("webrtcbin")
            .property_from_str("bundle-policy", "max-bundle")
            .property("latency", 1000u32)
            .build()
            .unwrap();
        pipeline.add(&webrtc).unwrap();
        let ice = webrtc.property::<gst::Object>("ice-agent");
        ice.property::<gst::glib::Object>("agent").set_property("upnp", false);
        assert!(ice.emit_by_name::<bool>("add-local-ip-address", &[&"127.0.0.1"]));
        let seen = Arc::<Mutex<Seen>>::default();
        let (weak, log) = (pipeline.downgrade(), Arc::clone(&seen));
        webrtc.connect_pad_added(move |_, pad| {
            if let Some(pipeline) = weak.upgrade() {
                decode(&pipeline, pad, &log);
            }
        });
        // Lost packets are asked for again, as browsers do.
        webrtc.connect("on-new-transceiver", false, |values| {
            values[1].get::<webrtc::WebRTCRTPTransceiver>().unwrap().set_property("do-nack", true);
            None
        });
        let rtpbin = webrtc.downcast_ref::<gst::Bin>().unwrap().by_name("rtpbin").unwrap();
        let log = Arc::clone(&seen);
        rtpbin.connect_pad_added(move |_, pad| watch(pad, &log));
        pipeline.set_state(gst::State::Playing).unwrap();
        Self { pipeline, webrtc, seen }
    }

    /// The answer to an offer, with all candidates.
    pub async fn answer(&self, offer: &str) -> String {
        let sdp = gstreamer_sdp::SDPMessage::parse_buffer(offer.as_bytes()).unwrap();
        let offer = webrtc::WebRTCSessionDescription::new(webrtc::WebRTCSDPType::Offer, sdp);
        let (promise, done) = gst::Promise::new_future();
        self.webrtc.emit_by_name::<()>("set-remote-description", &[&offer, &promise]);
        done.await.unwrap();
        let (promise, done) = gst::Promise::new_future();
        self.webrtc.emit_by_name::<()>("create-answer", &[&None::<gst::Structure>, &promise]);
        let answer = done.await.unwrap().unwrap().get::<webrtc::WebRTCSessionDescription>("answer").unwrap();
        let (promise, done) = gst::Promise::new_future();
        let (sender, mut gathered) = tokio::sync::watch::channel(false);
        self.webrtc.connect_notify(Some("ice-gathering-state"), move |webrtc, _| {
            let state = webrtc.property::<webrtc::WebRTCICEGatheringState>("ice-gathering-state");
            sender.send_replace(state == webrtc::WebRTCICEGatheringState::Complete);
        });
        self.webrtc.emit_by_name::<()>("set-local-description", &[&answer, &promise]);
        done.await.unwrap();
        gathered.wait_for(|done| *done).await.unwrap();
        let local = self.webrtc.property::<webrtc::WebRTCSessionDescription>("local-description");
        local.sdp().as_text().unwrap()
    }

    /// Asks the sender for a keyframe.
    pub fn request_keyframe(&self) {
        for pad in self.webrtc.src_pads() {
            pad.send_event(gstreamer_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build());
        }
    }
}

/// Writes down packets where they enter rtpbin, decrypted and before any buffering.
fn watch(pad: &gst::Pad, seen: &Arc<Mutex<Seen>>) {
    let name = pad.name();
    let seen = Arc::clone(seen);
    if name.starts_with("recv_rtcp_sink") {
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, probe| {
            let map = probe.buffer().unwrap().map_readable().unwrap();
            if map.get(1) == Some(&200) {
                let word = |n: usize| u32::from_be_bytes(map[4 * n..4 * n + 4].try_into().unwrap());
                let wall = f64::from(word(2)) + f64::from(word(3)) / 4_294_967_296.0;
                seen.lock().unwrap().sender_reports.push((word(1), wall, word(4)));
            }
            gst::PadProbeReturn::Ok
        });
    } else if name.starts_with("recv_rtp_sink") {
        let note = move |buffer: &gst::BufferRef| {
            let packet = RTPBuffer::from_buffer_readable(buffer).unwrap();
            let mut seen = seen.lock().unwrap();
            seen.packets.entry((packet.payload_type(), packet.ssrc())).or_default().insert(packet.seq());
            seen.twcc_packets += u64::from(packet.extension_onebyte_header(3, 0).is_some());
        };
        pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, probe| {
            match &probe.data {
                Some(gst::PadProbeData::Buffer(buffer)) => note(buffer),
                Some(gst::PadProbeData::BufferList(list)) => list.iter().for_each(&note),
                _ => {}
            }
            gst::PadProbeReturn::Ok
        });
    }
}

/// pad -> decodebin -> appsink that writes down.
fn decode(pipeline: &gst::Pipeline, pad: &gst::Pad, seen: &Arc<Mutex<Seen>>) {
    let log = Arc::clone(seen);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, probe| {
        let buffer = probe.buffer_mut().unwrap().make_mut();
        let packet = RTPBuffer::from_buffer_readable(buffer).unwrap();
        let (payload_type, stamp, ssrc) = (packet.payload_type(), packet.timestamp(), packet.ssrc());
        // RFC 7741 section 4.2: first partition begins, and (section 4.3) the frame is no interframe. Our descriptor has 4 bytes.
        let keyframe =
            matches!(packet.payload().unwrap(), [d, _, _, _, tag, ..] if d & 0x10 != 0 && tag & 1 == 0);
        drop(packet);
        let mut log = log.lock().unwrap();
        log.keyframes += u64::from(keyframe && payload_type == 96);
        let (first, _) = *log.first.entry(payload_type).or_insert((stamp, ssrc));
        // From here on time is what the sender says it is; the jitter buffer's guesses are not measured.
        let rate = if payload_type == 96 { 90_000 } else { 48_000 };
        let time = gst::ClockTime::SECOND.mul_div_round(u64::from(stamp.wrapping_sub(first)), rate);
        log.times.push((payload_type, time.map_or(Duration::ZERO, Duration::from)));
        drop(log);
        buffer.set_pts(time);
        gst::PadProbeReturn::Ok
    });
    let decoder = gst::ElementFactory::make("decodebin").build().unwrap();
    let (weak, seen) = (pipeline.downgrade(), Arc::clone(seen));
    decoder.connect_pad_added(move |_, pad| {
        let Some(pipeline) = weak.upgrade() else { return };
        let video = pad.current_caps().unwrap().structure(0).unwrap().name().starts_with("video/");
        let (convert, caps) = if video {
            ("videoconvert", "video/x-raw,format=I420")
        } else {
            ("audioconvert", "audio/x-raw,format=S16LE,layout=interleaved,channels=2")
        };
        let convert = gst::ElementFactory::make(convert).build().unwrap();
        let seen = Arc::clone(&seen);
        let sink = AppSink::builder().sync(false).async_(false).caps(&caps.parse().unwrap()).build();
        sink.set_callbacks(
            AppSinkCallbacks::builder()
                .new_sample(move |sink| {
                    let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                    let mut seen = seen.lock().unwrap();
                    if video {
                        note_picture(&sample, &mut seen);
                    } else {
                        note_sound(&sample, &mut seen);
                    }
                    Ok(gst::FlowSuccess::Ok)
                })
                .build(),
        );
        let sink: gst::Element = sink.upcast();
        pipeline.add_many([&convert, &sink]).unwrap();
        convert.link(&sink).unwrap();
        sink.sync_state_with_parent().unwrap();
        convert.sync_state_with_parent().unwrap();
        pad.link(&convert.static_pad("sink").unwrap()).unwrap();
    });
    pipeline.add(&decoder).unwrap();
    decoder.sync_state_with_parent().unwrap();
    pad.link(&decoder.static_pad("sink").unwrap()).unwrap();
}

fn time_of(sample: &gst::Sample) -> Duration {
    sample.buffer().unwrap().pts().map_or(Duration::ZERO, Duration::from)
}

pub fn note_picture(sample: &gst::Sample, seen: &mut Seen) {
    let info = VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
    let frame = VideoFrameRef::from_buffer_ref_readable(sample.buffer().unwrap(), &info).unwrap();
    let (stride, luma) = (frame.plane_stride()[0] as usize, frame.plane_data(0).unwrap());
    let (width, height) = (info.width() as usize, info.height() as usize);
    let sum: usize =
        luma.chunks(stride).take(height).flat_map(|l| &l[..width]).map(|p| usize::from(*p)).sum();
    let timecode = read_timecode(luma, stride, width, height);
    seen.pictures.push((time_of(sample), (sum / (width * height)) as u8, timecode));
    seen.size = Some((info.width(), info.height()));
}

pub fn note_sound(sample: &gst::Sample, seen: &mut Seen) {
    let map = sample.buffer().unwrap().map_readable().unwrap();
    let first = seen.samples.len();
    seen.samples.extend(
        map.chunks_exact(4).map(|b| [i16::from_le_bytes([b[0], b[1]]), i16::from_le_bytes([b[2], b[3]])]),
    );
    seen.sample_times.push((time_of(sample), first));
}
