//! What Prometheus reads: the process, the node, every stream, and the answers that HTTP gave.
//!
//! What belongs here: names, units and help of every series. All but the count of answers is gathered when it is asked for, so the
//! series of a stream end with it, and nothing has to be kept in step.

mod process;
mod text;

use crate::recordings::manifest::{self as recordings, Manifest};
use crate::registry::Registry;
use crate::stream::status::{RecordingPhase, State, Status};
use process::Process;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::metrics::family::Family;
use relay_node::ThreadStats;
use std::fmt;
use std::sync::Arc;
pub(crate) use text::prometheus_text;

/// Streams with series of their own; those beyond (by name) count in `skywave_streams` only, so that whoever may publish cannot
/// fill a monitoring system.
const MAX_STREAMS: usize = 1_000;

/// Counters that live for as long as the server.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Family<RequestLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    status: u16,
}

impl Metrics {
    /// Counts an answer. `route` is one of few words, never what the client sent.
    pub(crate) fn note_answer(&self, route: &'static str, status: u16) {
        self.requests.get_or_create(&RequestLabels { route, status }).inc();
    }

    /// Everything, in the OpenMetrics text format 1.0; [`prometheus_text`] makes the older format of it.
    ///
    /// # Errors
    ///
    /// When a sample cannot be written, which no plain number is.
    pub(crate) async fn gather(&self, streams: &Registry) -> Result<String, fmt::Error> {
        // Counting file descriptors takes milliseconds when there are thousands.
        let process = tokio::task::spawn_blocking(Process::read).await.unwrap_or_default();
        let now = Now {
            process,
            node: streams.node().stats().total(),
            streams: streams.statuses(),
            recordings: streams.library().list(),
        };
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register("skywave_http_requests", "Requests answered", self.requests.clone());
        registry.register_collector(Box::new(now));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// Everything that is gathered at one moment.
#[derive(Debug)]
struct Now {
    process: Process,
    node: ThreadStats,
    streams: Vec<Arc<Status>>,
    recordings: Vec<Manifest>,
}

impl Collector for Now {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page { encoder };
        self.process(&mut page)?;
        self.node(&mut page)?;
        self.counts_of_streams(&mut page)?;
        self.streams_now(&mut page)?;
        self.stream_totals(&mut page)?;
        self.recordings(&mut page)
    }
}

/// Writes families: a name with its help, then its samples.
struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Page<'_> {
    /// A counter without labels; `_total` is added to the name.
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter(&value, NO_EXEMPLAR)
    }

    /// A counter with labels; `_total` is added to the name.
    fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = ([(&'static str, &'l str); N], u64)>,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        samples.try_for_each(|(labels, value)| {
            metric.encode_family(&labels)?.encode_counter(&value, NO_EXEMPLAR)
        })
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = ([(&'static str, &'l str); N], f64)>,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        samples.try_for_each(|(labels, value)| metric.encode_family(&labels)?.encode_gauge(&value))
    }
}

/// Exemplars link samples to traces, of which there are none.
const NO_EXEMPLAR: Option<&Exemplar<[(&str, &str); 0], u64>> = None;

impl Now {
    /// The names every Prometheus client uses for a process.
    fn process(&self, page: &mut Page<'_>) -> fmt::Result {
        let process = &self.process;
        if let Some(seconds) = process.cpu_seconds {
            let help = "User and system CPU time of the server itself, without its workers, in seconds.";
            let mut metric =
                page.encoder.encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?;
            metric.encode_counter(&seconds, NO_EXEMPLAR)?;
        }
        for (name, help, value) in [
            ("process_resident_memory_bytes", "Resident memory, in bytes.", process.resident_bytes),
            ("process_virtual_memory_bytes", "Virtual memory, in bytes.", process.virtual_bytes),
            ("process_open_fds", "Open file descriptors.", process.open_fds),
            ("process_max_fds", "Most file descriptors that may be open.", process.max_fds),
            ("process_threads", "Threads.", process.threads),
        ] {
            if let Some(value) = value {
                page.gauge(name, help, value as f64)?;
            }
        }
        let help = "When the process started, in seconds since 1970-01-01.";
        page.gauge("process_start_time_seconds", help, process.start_seconds)?;
        let version = [([("version", env!("CARGO_PKG_VERSION"))], 1.0)];
        page.gauges("skywave_build_info", "Always 1; the label has the version.", version)
    }

    /// Counters of the relay threads.
    fn node(&self, page: &mut Page<'_>) -> fmt::Result {
        let node = &self.node;
        page.gauge("skywave_media_sessions", "WebRTC sessions alive.", node.sessions as f64)?;
        for (name, help, value) in [
            ("sessions_connected", "WebRTC sessions that connected.", node.sessions_connected),
            ("sessions_closed", "WebRTC sessions that ended.", node.sessions_closed),
            ("received_datagrams", "Datagrams received.", node.datagrams_in),
            ("received_bytes", "Bytes of datagrams received.", node.bytes_in),
            ("sent_datagrams", "Datagrams sent.", node.datagrams_out),
            ("sent_bytes", "Bytes of datagrams sent.", node.bytes_out),
            ("send_errors", "Datagrams that could not be sent.", node.send_errors),
            ("sends", "System calls that sent datagrams, each one or more.", node.sends),
            ("viewer_packets", "RTP packets sent to viewers.", node.packets_out),
            ("viewer_retransmissions", "RTP packets sent to viewers again.", node.retransmitted),
            (
                "viewer_retransmissions_missed",
                "RTP packets asked for again too late.",
                node.retransmissions_missed,
            ),
            ("viewer_keyframes_wanted", "Keyframes that viewers asked for.", node.keyframes_wanted),
            ("packets", "RTP packets taken from publishers.", node.packets),
            ("payload_bytes", "Payload of RTP packets taken from publishers.", node.payload_bytes),
            ("packets_other_layers", "RTP packets of layers not chosen.", node.packets_other_layers),
            ("events_dropped", "Packets dropped because a stream did not keep up.", node.events_dropped),
            ("keyframe_requests", "Keyframe requests sent to publishers.", node.keyframe_requests),
            ("panics", "Faults that ended a session.", node.panics),
        ] {
            page.counter(&format!("skywave_media_{name}"), help, value)?;
        }
        let rejected = [
            ([("reason", "unknown")], node.rejected_unknown),
            ([("reason", "malformed")], node.rejected_malformed),
            ([("reason", "stun")], node.rejected_stun),
            ([("reason", "rtcp")], node.rejected_srtcp),
        ];
        page.counters("skywave_media_rejected_datagrams", "Datagrams nobody asked for.", rejected)
    }

    fn counts_of_streams(&self, page: &mut Page<'_>) -> fmt::Result {
        let states = [
            ("starting", State::Starting),
            ("live", State::Live),
            ("waiting", State::Waiting),
            ("slate", State::Slate),
            ("ended", State::Ended),
        ];
        let samples = states.into_iter().map(|(word, state)| {
            let count = self.streams.iter().filter(|status| status.state == state).count();
            ([("state", word)], count as f64)
        });
        page.gauges("skywave_streams", "Streams by state.", samples)
    }

    /// The streams that have series of their own.
    fn shown(&self) -> impl Iterator<Item = &Status> {
        self.streams.iter().map(AsRef::as_ref).take(MAX_STREAMS)
    }

    fn streams_now(&self, page: &mut Page<'_>) -> fmt::Result {
        let viewers = self.shown().flat_map(|status| {
            let kinds = [("webrtc", status.viewers.webrtc), ("hls", status.viewers.hls)];
            kinds.map(|(kind, count)| ([("stream", status.name.as_str()), ("kind", kind)], count as f64))
        });
        page.gauges("skywave_stream_viewers", "Viewers of a stream by kind.", viewers)?;
        let live = self.shown().map(|status| (stream(status), f64::from(status.state == State::Live)));
        page.gauges("skywave_stream_live", "1 while a publisher feeds the stream.", live)?;
        let phase = |wanted| move |status: &Status| f64::from(status.recording.state == wanted);
        let (on, failed) = (phase(RecordingPhase::On), phase(RecordingPhase::Failed));
        let recorded = self.shown().map(|status| (stream(status), on(status)));
        page.gauges("skywave_stream_recording", "1 while the stream is recorded.", recorded)?;
        let stopped = self.shown().map(|status| (stream(status), failed(status)));
        let help = "1 when recording has stopped by itself while the stream goes on.";
        page.gauges("skywave_stream_recording_failed", help, stopped)?;
        let help = "Coded bits per second of a track, over the last second.";
        page.gauges("skywave_stream_ingest_bitrate_bps", help, self.lanes(|lane| lane.bitrate_bps as f64))?;
        let help = "Share of a track's packets lost over the last five seconds, 0 to 1.";
        page.gauges("skywave_stream_ingest_loss_ratio", help, self.lanes(|lane| lane.loss_fraction))?;
        let encoded = self.shown().map(|status| (stream(status), status.ladder.encoded.len() as f64));
        page.gauges("skywave_stream_renditions_encoded", "Renditions that are encoded.", encoded)?;
        let cut = self.shown().map(|status| (stream(status), status.ladder.cut.len() as f64));
        let help = "Renditions that are left out because the machine has no room.";
        page.gauges("skywave_stream_renditions_cut", help, cut)?;
        let fps = self.shown().filter_map(|status| Some((stream(status), status.video.as_ref()?.fps)));
        page.gauges("skywave_stream_frames_per_second", "Frames of the publisher's video a second.", fps)
    }

    fn stream_totals(&self, page: &mut Page<'_>) -> fmt::Result {
        type Total = (&'static str, &'static str, fn(&Status) -> u64);
        const TOTALS: [Total; 8] = [
            ("stream_publishers", "Publishers that fed the stream.", |s| s.ingest.publishers),
            ("stream_ingest_packets", "RTP packets of all publishers.", |s| s.ingest.packets),
            ("stream_ingest_bytes", "Payload of these packets, in bytes.", |s| s.ingest.payload_bytes),
            ("stream_packets_lost", "RTP packets that never came.", |s| s.ingest.packets_lost),
            ("stream_frames_dropped", "Source video frames dropped.", |s| s.ingest.frames_dropped),
            ("stream_keyframe_requests", "Keyframes asked for.", |s| s.ingest.keyframe_requests),
            ("worker_restarts", "How often the worker died.", |s| u64::from(s.worker.restarts)),
            ("worker_frames_dropped", "Frames too many for the worker.", |s| s.worker.frames_dropped),
        ];
        TOTALS.iter().try_for_each(|(name, help, of)| {
            let samples = self.shown().map(|status| (stream(status), of(status)));
            page.counters(&format!("skywave_{name}"), help, samples)
        })
    }

    fn recordings(&self, page: &mut Page<'_>) -> fmt::Result {
        const STATES: [(&str, recordings::State); 5] = [
            ("recording", recordings::State::Recording),
            ("finalising", recordings::State::Finalising),
            ("ready", recordings::State::Ready),
            ("repaired", recordings::State::Repaired),
            ("failed", recordings::State::Failed),
        ];
        let of = |state| self.recordings.iter().filter(move |manifest| manifest.state == state);
        let counts = STATES.map(|(word, state)| ([("state", word)], of(state).count() as f64));
        page.gauges("skywave_recordings", "Recordings by state.", counts)?;
        let bytes: u64 = self.recordings.iter().map(|manifest| manifest.bytes).sum();
        page.gauge("skywave_recordings_size_bytes", "Size of all recordings, in bytes.", bytes as f64)
    }

    fn lanes(
        &self,
        of: impl Fn(&Lane) -> f64 + Copy,
    ) -> impl Iterator<Item = ([(&'static str, &str); 2], f64)> {
        self.shown().flat_map(move |status| {
            let video = status.video.as_ref().map(|v| Lane {
                kind: "video",
                bitrate_bps: v.bitrate_bps,
                loss_fraction: v.loss_fraction,
            });
            let audio = status.audio.as_ref().map(|a| Lane {
                kind: "audio",
                bitrate_bps: a.bitrate_bps,
                loss_fraction: a.loss_fraction,
            });
            let labels = |lane: &Lane| [("stream", status.name.as_str()), ("lane", lane.kind)];
            [video, audio].into_iter().flatten().map(move |lane| (labels(&lane), of(&lane)))
        })
    }
}

/// What both kinds of track have.
struct Lane {
    kind: &'static str,
    bitrate_bps: u64,
    loss_fraction: f64,
}

fn stream(status: &Status) -> [(&'static str, &str); 1] {
    [("stream", status.name.as_str())]
}

#[cfg(test)]
mod tests;
