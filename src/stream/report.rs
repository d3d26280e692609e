//! How a stream's [`Status`] is made of what the stream holds.

use super::publisher::{Publisher, Track};
use super::status::{
    Audio, EncodedRendition, IngestTotals, LadderReason, LadderStatus, Layer, Output, PublisherStatus,
    RecordingStatus, Rendition, State, Status, Video, VideoPath, Viewers, WorkerState, WorkerStatus,
};
use super::{Phase, Stream};
use crate::outputs::audience::lock;
use crate::worker::Worker;
use relay_node::BroadcastInfo;
use skywave_media::admission::Reason;
use skywave_media::codec::{Format, TrackKind};
use skywave_media::fit::VideoPlan;
use skywave_media::hls::date_time;
use skywave_media::ingest::TrackStats;
use skywave_media::time::Mono;

/// What `stream` does now.
pub(super) fn report(stream: &mut Stream, now: Mono) -> Status {
    if let Some(publisher) = &mut stream.publisher {
        publisher.refresh_meters(now);
    }
    let broadcast = stream.registry.node().broadcast(stream.name.as_str()).unwrap_or_default();
    let publisher = stream.publisher.as_ref();
    let video = publisher.and_then(|p| video(p, &broadcast));
    let mut ingest = stream.past;
    if let Some(publisher) = publisher {
        add(&mut ingest, publisher);
    }
    Status {
        state: match stream.phase {
            Phase::Live => State::Live,
            Phase::Waiting { .. } => State::Waiting,
            Phase::Slate { .. } => State::Slate,
            Phase::Ended { .. } => State::Ended,
        },
        since: Some(date_time(stream.epoch_wall)),
        publisher: publisher.map(|p| PublisherStatus {
            session: p.session.id().short().to_owned(),
            connected_since: date_time(p.connected_wall),
        }),
        audio: publisher.and_then(audio),
        ingest,
        output: publisher.map(|_| output(stream.plan, video.as_ref())),
        ladder: ladder(stream),
        worker: worker(&stream.worker),
        recording: RecordingStatus::from(stream.recording.progress()),
        viewers: Viewers { webrtc: broadcast.viewers, hls: lock(&stream.audience).count(now) },
        renditions: stream.hls.renditions().map(|(kind, name)| rendition(stream, kind, name)).collect(),
        thumbnail: stream.thumbnail.is_there().then(|| format!("/hls/{}/thumb.jpg", stream.name)),
        video,
        ..Status::starting(&stream.name)
    }
}

/// Adds what one publisher has sent to a stream's totals.
pub(super) fn add(totals: &mut IngestTotals, publisher: &Publisher) {
    totals.publishers += 1;
    for kind in [TrackKind::Video, TrackKind::Audio] {
        let Some((track, stats)) = publisher.lane(kind) else { continue };
        totals.keyframe_requests += track.keyframe_requests;
        if let Some(stats) = stats {
            totals.packets += stats.packets;
            totals.payload_bytes += stats.bytes;
            totals.packets_lost += stats.reorder.lost;
            totals.frames_dropped += stats.frames_dropped;
        }
    }
}

fn ladder(stream: &Stream) -> LadderStatus {
    let ladder = &stream.ladder;
    let name = |id| ladder.name(id).map(ToString::to_string).unwrap_or_default();
    let encoded = ladder.made().iter().map(|made| EncodedRendition {
        name: name(made.id),
        width: made.size.0,
        height: made.size.1,
        bitrate_bps: made.bitrate_bps,
    });
    LadderStatus {
        encoded: encoded.collect(),
        cut: ladder.cut().iter().map(|made| name(made.id)).collect(),
        reason: ladder.reason().map(|reason| match reason {
            Reason::Fits => LadderReason::Fits,
            Reason::NoRoom => LadderReason::NoRoom,
            Reason::MachineFull => LadderReason::MachineFull,
            Reason::EncodersLate => LadderReason::EncodersLate,
        }),
        asleep: stream.idle,
    }
}

fn rendition(stream: &Stream, kind: TrackKind, name: &impl std::fmt::Display) -> Rendition {
    let hls = format!("/hls/{}/{name}/index.m3u8", stream.name);
    Rendition { name: name.to_string(), kind: kind.as_str(), hls }
}

fn output(plan: Option<VideoPlan>, source: Option<&Video>) -> Output {
    let (video, size) = match plan {
        None => (None, None),
        Some(VideoPlan::Transcode { width, height }) => (Some(VideoPath::Transcode), Some((width, height))),
        Some(VideoPlan::Passthrough) => {
            (Some(VideoPath::Passthrough), source.map(|source| (source.width, source.height)))
        }
    };
    Output { video, width: size.map(|(width, _)| width), height: size.map(|(_, height)| height) }
}

fn worker(worker: &Worker) -> WorkerStatus {
    let counters = worker.counters();
    let pid = worker.pid();
    let state = match pid {
        Some(_) => WorkerState::Running,
        None if worker.is_restarting() => WorkerState::Restarting,
        None => WorkerState::Idle,
    };
    WorkerStatus {
        state,
        pid,
        restarts: worker.restarts(),
        frames_dropped: worker.dropped() + counters.frames_dropped,
        pictures_decoded: counters.pictures_decoded,
        pictures_repeated: counters.pictures_repeated,
        pictures_late: counters.pictures_late,
        decoder_restarts: counters.decoder_restarts,
    }
}

/// The lane of one kind once its first frame has come.
fn lane(publisher: &Publisher, kind: TrackKind) -> Option<(&Track, &Format, TrackStats)> {
    let (track, stats) = publisher.lane(kind)?;
    Some((track, track.format.as_deref()?, stats?))
}

fn video(publisher: &Publisher, broadcast: &BroadcastInfo) -> Option<Video> {
    let (track, Format::Video(format), stats) = lane(publisher, TrackKind::Video)? else { return None };
    let layers = broadcast.layers.iter().map(|layer| Layer {
        rid: layer.rid.clone(),
        codec: layer.codec.rtp_name(),
        bitrate_bps: layer.bitrate_bps,
        active: layer.active,
    });
    Some(Video {
        codec: format.codec.rtp_name(),
        width: format.width,
        height: format.height,
        fps: (track.meter.frames_per_second * 10.0).round() / 10.0,
        bitrate_bps: track.meter.bitrate_bps,
        loss_fraction: track.loss.fraction(),
        packets: stats.packets,
        payload_bytes: stats.bytes,
        packets_lost: stats.reorder.lost,
        frames: stats.frames,
        frames_dropped: stats.frames_dropped,
        keyframes: stats.keyframes,
        keyframe_requests: track.keyframe_requests,
        layers: layers.collect(),
    })
}

fn audio(publisher: &Publisher) -> Option<Audio> {
    let (track, Format::Audio(format), stats) = lane(publisher, TrackKind::Audio)? else { return None };
    Some(Audio {
        codec: format.codec.rtp_name(),
        channels: format.channels,
        sample_rate: format.sample_rate,
        bitrate_bps: track.meter.bitrate_bps,
        loss_fraction: track.loss.fraction(),
        packets: stats.packets,
        payload_bytes: stats.bytes,
        packets_lost: stats.reorder.lost,
        frames: stats.frames,
        frames_dropped: stats.frames_dropped,
    })
}
