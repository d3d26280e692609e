//! What a stream tells of itself: the documents of `/api/v1/streams`, with their schemas.
//!
//! What belongs here: the shape of the API's answers, version 1. Fields may be added; none changes its name, its unit or its
//! meaning. How they are filled stands in [`super::report`].

use crate::outputs::recording::Progress;
use serde::Serialize;
use skywave_media::name::StreamName;
use utoipa::ToSchema;

/// One stream. Brought up to date once a second, and at once when its publisher or its state changes.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Stream)]
pub(crate) struct Status {
    /// Stream name.
    #[schema(value_type = String, example = "demo", pattern = "^[A-Za-z0-9._~-]{1,64}$")]
    pub(crate) name: StreamName,
    pub(crate) state: State,
    /// When the present take began (RFC 3339); null before the first publisher.
    #[schema(required = true, format = DateTime)]
    pub(crate) since: Option<String>,
    /// Who feeds the stream; null while nobody does.
    #[schema(required = true)]
    pub(crate) publisher: Option<PublisherStatus>,
    /// The publisher's video track; null without one, and until its first frame has come.
    #[schema(required = true)]
    pub(crate) video: Option<Video>,
    /// The publisher's audio track; null without one, and until its first frame has come.
    #[schema(required = true)]
    pub(crate) audio: Option<Audio>,
    pub(crate) ingest: IngestTotals,
    /// What goes out over HLS; null while nobody feeds the stream.
    #[schema(required = true)]
    pub(crate) output: Option<Output>,
    pub(crate) ladder: LadderStatus,
    pub(crate) worker: WorkerStatus,
    pub(crate) recording: RecordingStatus,
    pub(crate) viewers: Viewers,
    /// The renditions of the HLS output.
    pub(crate) renditions: Vec<Rendition>,
    /// Path of the HLS multivariant playlist.
    #[schema(example = "/hls/demo/index.m3u8")]
    pub(crate) hls: String,
    /// Path of the WHEP endpoint.
    #[schema(example = "/whep/demo")]
    pub(crate) whep: String,
    /// Path of the newest thumbnail (JPEG); null while there is none.
    #[schema(required = true, example = "/hls/demo/thumb.jpg")]
    pub(crate) thumbnail: Option<String>,
}

/// Where a stream is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = StreamState)]
pub(crate) enum State {
    /// Its first publisher has connected this moment.
    Starting,
    /// A publisher feeds it.
    Live,
    /// The publisher is gone and may return within the grace time; viewers stay.
    Waiting,
    /// The publisher has stayed away for longer: HLS shows the slate until it returns.
    Slate,
    /// It has ended; its last segments can still be fetched.
    Ended,
}

/// The publisher of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Publisher)]
pub(crate) struct PublisherStatus {
    /// First eight digits of the session's name, as they stand in the log. The whole name is a key and never shown.
    #[schema(example = "1f0c9a7e")]
    pub(crate) session: String,
    /// When it connected (RFC 3339).
    #[schema(format = DateTime)]
    pub(crate) connected_since: String,
}

/// A published video track. Counts begin when its publisher connects.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Video {
    /// Codec by its name in SDP: `VP8`, `VP9`, `H264`, `AV1`.
    pub(crate) codec: &'static str,
    /// Width of the picture, in pixels.
    pub(crate) width: u32,
    /// Height of the picture, in pixels.
    pub(crate) height: u32,
    /// Frames per second, over the last second.
    pub(crate) fps: f64,
    /// Bits per second of coded frames, over the last second.
    pub(crate) bitrate_bps: u64,
    /// Share of packets lost for good (no retransmission helped) over the last five seconds, 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    pub(crate) loss_fraction: f64,
    /// RTP packets received.
    pub(crate) packets: u64,
    /// Payload of these packets, in bytes.
    pub(crate) payload_bytes: u64,
    /// RTP packets that never came, not even when asked for again.
    pub(crate) packets_lost: u64,
    /// Whole frames.
    pub(crate) frames: u64,
    /// Frames with a hole, or before a keyframe.
    pub(crate) frames_dropped: u64,
    /// Keyframes among the frames.
    pub(crate) keyframes: u64,
    /// Keyframes asked for: at most one a second, however many viewers join.
    pub(crate) keyframe_requests: u64,
    /// Layers that the publisher sends, best last; one without simulcast.
    pub(crate) layers: Vec<Layer>,
}

/// A published audio track. Counts begin when its publisher connects.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Audio {
    /// Codec by its name in SDP: `opus`.
    pub(crate) codec: &'static str,
    /// Channels.
    pub(crate) channels: u16,
    /// Samples per second.
    pub(crate) sample_rate: u32,
    /// Bits per second of coded frames, over the last second.
    pub(crate) bitrate_bps: u64,
    /// Share of packets lost for good (no retransmission helped) over the last five seconds, 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    pub(crate) loss_fraction: f64,
    /// RTP packets received.
    pub(crate) packets: u64,
    /// Payload of these packets, in bytes.
    pub(crate) payload_bytes: u64,
    /// RTP packets that never came, not even when asked for again.
    pub(crate) packets_lost: u64,
    /// Whole frames.
    pub(crate) frames: u64,
    /// Frames with a hole.
    pub(crate) frames_dropped: u64,
}

/// One layer of a simulcast video track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Layer {
    /// The publisher's name for it (`a=rid`), or the number of its source.
    pub(crate) rid: String,
    /// Codec by its name in SDP.
    pub(crate) codec: &'static str,
    /// Bits per second, over the last second.
    pub(crate) bitrate_bps: u64,
    /// Whether packets of it came within the last second.
    pub(crate) active: bool,
}

/// What all publishers of a stream have sent since the stream was made. These counts never go down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub(crate) struct IngestTotals {
    /// Publishers that fed the stream, one after the other.
    pub(crate) publishers: u64,
    /// RTP packets received.
    pub(crate) packets: u64,
    /// Payload of these packets, in bytes.
    pub(crate) payload_bytes: u64,
    /// RTP packets that never came, not even when asked for again.
    pub(crate) packets_lost: u64,
    /// Video frames dropped: with a hole, or before a keyframe.
    pub(crate) frames_dropped: u64,
    /// Keyframes asked for.
    pub(crate) keyframe_requests: u64,
}

/// What is made of the publisher's video for HLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Output {
    /// Null without video, and while nothing is decided.
    #[schema(required = true)]
    pub(crate) video: Option<VideoPath>,
    /// Width of the outgoing picture, in pixels.
    #[schema(required = true)]
    pub(crate) width: Option<u32>,
    /// Height of the outgoing picture, in pixels.
    #[schema(required = true)]
    pub(crate) height: Option<u32>,
}

/// What is encoded of the publisher's video, and what there is no room for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Ladder)]
pub(crate) struct LadderStatus {
    /// Renditions that are encoded, the largest first. A source that is passed through is not among them.
    pub(crate) encoded: Vec<EncodedRendition>,
    /// Names of the renditions that are left out because the machine has no room, the largest first. They come back when it has.
    pub(crate) cut: Vec<String>,
    /// Why the ladder is as it is; null while nothing is encoded.
    #[schema(required = true)]
    pub(crate) reason: Option<LadderReason>,
    /// Nothing is encoded because nobody watches what would have to be (`transcode.on_demand`).
    pub(crate) asleep: bool,
}

/// One rendition that is encoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct EncodedRendition {
    /// Its name: `source`, `480p`.
    pub(crate) name: String,
    /// Width of the picture, in pixels.
    pub(crate) width: u32,
    /// Height of the picture, in pixels.
    pub(crate) height: u32,
    /// Mean bits per second it is encoded at.
    pub(crate) bitrate_bps: u32,
}

/// Why a ladder is as high as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LadderReason {
    /// Everything fits.
    Fits,
    /// There was no room for more when the stream began.
    NoRoom,
    /// The machine was full.
    MachineFull,
    /// The stream's encoders fell behind.
    EncodersLate,
}

/// How video goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum VideoPath {
    /// As the publisher sends it.
    Passthrough,
    /// Decoded and encoded again.
    Transcode,
}

/// The child process that decodes and encodes a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Worker)]
pub(crate) struct WorkerStatus {
    pub(crate) state: WorkerState,
    /// Its process id while it runs.
    #[schema(required = true)]
    pub(crate) pid: Option<u32>,
    /// How often it died and was started again since the stream was made.
    pub(crate) restarts: u32,
    /// Source frames dropped because it could not follow.
    pub(crate) frames_dropped: u64,
    /// Pictures the present process has decoded.
    pub(crate) pictures_decoded: u64,
    /// Pictures the present process has shown again because none came in time.
    pub(crate) pictures_repeated: u64,
    /// Pictures that the present process's encoders had no time for.
    pub(crate) pictures_late: u64,
    /// Decoders that the present process has replaced.
    pub(crate) decoder_restarts: u64,
}

/// Whether a stream is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
pub(crate) struct RecordingStatus {
    pub(crate) state: RecordingPhase,
    /// The recording that grows; null while none does.
    #[schema(required = true)]
    pub(crate) id: Option<String>,
    /// Bytes that are safe on the disk.
    pub(crate) bytes: u64,
    /// Their length, in milliseconds.
    pub(crate) duration_ms: u64,
    /// Why recording stopped by itself; null when it did not.
    #[schema(required = true)]
    pub(crate) reason: Option<String>,
}

/// What a stream's recording does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RecordingPhase {
    /// Nothing is recorded.
    #[default]
    Off,
    /// Frames are recorded.
    On,
    /// It stopped by itself, with a reason; the stream goes on.
    Failed,
}

impl From<Progress> for RecordingStatus {
    fn from(progress: Progress) -> Self {
        let state = match (progress.active, &progress.failed) {
            (_, Some(_)) => RecordingPhase::Failed,
            (true, None) => RecordingPhase::On,
            (false, None) => RecordingPhase::Off,
        };
        let Progress { id, bytes, duration_ms, failed: reason, .. } = progress;
        Self { state, id, bytes, duration_ms, reason }
    }
}

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WorkerState {
    /// Nothing is to be decoded or encoded; there is no process.
    Idle,
    /// The process runs.
    Running,
    /// The process has died and is about to be started again.
    Restarting,
}

/// Viewers by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub(crate) struct Viewers {
    /// WebRTC viewers that are connected.
    pub(crate) webrtc: usize,
    /// HLS players: distinct pairs of address and user agent that fetched anything of the stream within the last three
    /// target durations. Players behind one address with the same user agent count once, and so does a cache.
    pub(crate) hls: usize,
}

/// One rendition of the HLS output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Rendition {
    /// Its name: `source`, `480p`, `audio`.
    pub(crate) name: String,
    /// `video` or `audio`.
    pub(crate) kind: &'static str,
    /// Path of its media playlist.
    #[schema(example = "/hls/demo/source/index.m3u8")]
    pub(crate) hls: String,
}

impl Status {
    /// A stream whose publisher has just connected.
    pub(crate) fn starting(name: &StreamName) -> Self {
        Self {
            name: name.clone(),
            state: State::Starting,
            since: None,
            publisher: None,
            video: None,
            audio: None,
            ingest: IngestTotals::default(),
            output: None,
            ladder: LadderStatus::default(),
            worker: WorkerStatus {
                state: WorkerState::Idle,
                pid: None,
                restarts: 0,
                frames_dropped: 0,
                pictures_decoded: 0,
                pictures_repeated: 0,
                pictures_late: 0,
                decoder_restarts: 0,
            },
            recording: RecordingStatus::default(),
            viewers: Viewers::default(),
            renditions: Vec::new(),
            hls: format!("/hls/{name}/index.m3u8"),
            whep: format!("/whep/{name}"),
            thumbnail: None,
        }
    }

    /// Whether all but the viewers is the same.
    pub(crate) fn is_same_but_for_viewers(&self, other: &Self) -> bool {
        *self == Self { viewers: self.viewers, ..other.clone() }
    }
}
