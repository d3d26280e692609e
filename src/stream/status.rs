//! What a stream tells of itself: the JSON of `/api/v1/streams`.

use super::publisher::Publisher;
use super::{Phase, Stream};
use serde::Serialize;
use skywave_media::codec::{Format, TrackKind};
use skywave_media::fit::VideoPlan;
use skywave_media::ingest::TrackStats;
use skywave_media::name::StreamName;
use skywave_media::time::Mono;

/// One stream, as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Status {
    name: StreamName,
    /// `starting`, `live`, `waiting` (for its publisher to return) or `ended`.
    state: &'static str,
    /// When the take began, in RFC 3339.
    since: Option<String>,
    video: Option<Video>,
    audio: Option<Audio>,
    output: Option<Output>,
    publisher: Option<PublisherStatus>,
    worker: Option<WorkerStatus>,
    /// The multivariant playlist.
    hls: String,
}

#[derive(Debug, Clone, Serialize)]
struct Video {
    codec: &'static str,
    width: u32,
    height: u32,
    fps: f64,
    bitrate_bps: u64,
    keyframe_requests: u64,
    #[serde(flatten)]
    counters: Counters,
}

#[derive(Debug, Clone, Serialize)]
struct Audio {
    codec: &'static str,
    channels: u16,
    sample_rate: u32,
    bitrate_bps: u64,
    #[serde(flatten)]
    counters: Counters,
}

/// Packets and frames of one lane since the publisher came.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Counters {
    packets: u64,
    packets_lost: u64,
    frames: u64,
    frames_dropped: u64,
    keyframes: u64,
}

#[derive(Debug, Clone, Serialize)]
struct Output {
    /// `passthrough`, `transcode` or null while nothing is decided.
    video: Option<&'static str>,
    width: Option<u32>,
    height: Option<u32>,
}

#[derive(Debug, Clone, Serialize)]
struct PublisherStatus {
    session: String,
}

#[derive(Debug, Clone, Serialize)]
struct WorkerStatus {
    pid: u32,
    restarts: u32,
    frames_dropped: u64,
    pictures_decoded: u64,
    pictures_repeated: u64,
    decoder_restarts: u64,
}

impl Status {
    /// A stream whose publisher has just connected.
    pub(super) fn starting(name: &StreamName) -> Self {
        Self {
            name: name.clone(),
            state: "starting",
            since: None,
            video: None,
            audio: None,
            output: None,
            publisher: None,
            worker: None,
            hls: format!("/hls/{name}/index.m3u8"),
        }
    }

    /// What `stream` does now.
    pub(super) fn of(stream: &mut Stream, now: Mono) -> Self {
        let state = match stream.phase {
            Phase::Live => "live",
            Phase::Waiting { .. } => "waiting",
            Phase::Ended { .. } => "ended",
        };
        if let Some(publisher) = &mut stream.publisher {
            publisher.tracks.values_mut().for_each(|track| track.meter.refresh(now));
        }
        let publisher = stream.publisher.as_ref();
        let video = publisher.and_then(video);
        let output = Output {
            video: stream.plan.map(|plan| match plan {
                VideoPlan::Passthrough => "passthrough",
                VideoPlan::Transcode { .. } => "transcode",
            }),
            width: output_size(stream.plan, video.as_ref()).map(|(width, _)| width),
            height: output_size(stream.plan, video.as_ref()).map(|(_, height)| height),
        };
        let counters = stream.worker.counters();
        Self {
            state,
            since: Some(skywave_media::hls::date_time(stream.epoch_wall)),
            audio: publisher.and_then(audio),
            output: publisher.map(|_| output),
            publisher: publisher.map(|p| PublisherStatus { session: p.session.id().to_string() }),
            worker: stream.worker.pid().map(|pid| WorkerStatus {
                pid,
                restarts: stream.worker.restarts(),
                frames_dropped: stream.worker.dropped() + counters.frames_dropped,
                pictures_decoded: counters.pictures_decoded,
                pictures_repeated: counters.pictures_repeated,
                decoder_restarts: counters.decoder_restarts,
            }),
            video,
            ..Self::starting(&stream.name)
        }
    }
}

fn output_size(plan: Option<VideoPlan>, source: Option<&Video>) -> Option<(u32, u32)> {
    match plan? {
        VideoPlan::Transcode { width, height } => Some((width, height)),
        VideoPlan::Passthrough => source.map(|v| (v.width, v.height)),
    }
}

fn video(publisher: &Publisher) -> Option<Video> {
    let (track, stats) = publisher.lane(TrackKind::Video)?;
    let Some(Format::Video(format)) = track.format.as_deref() else { return None };
    Some(Video {
        codec: format.codec.rtp_name(),
        width: format.width,
        height: format.height,
        fps: (track.meter.frames_per_second * 10.0).round() / 10.0,
        bitrate_bps: track.meter.bitrate_bps,
        keyframe_requests: track.keyframe_requests,
        counters: counters(stats),
    })
}

fn audio(publisher: &Publisher) -> Option<Audio> {
    let (track, stats) = publisher.lane(TrackKind::Audio)?;
    let Some(Format::Audio(format)) = track.format.as_deref() else { return None };
    Some(Audio {
        codec: format.codec.rtp_name(),
        channels: format.channels,
        sample_rate: format.sample_rate,
        bitrate_bps: track.meter.bitrate_bps,
        counters: counters(stats),
    })
}

fn counters(stats: Option<TrackStats>) -> Counters {
    stats.map_or_else(Counters::default, |s| Counters {
        packets: s.packets,
        packets_lost: s.reorder.lost,
        frames: s.frames,
        frames_dropped: s.frames_dropped,
        keyframes: s.keyframes,
    })
}
