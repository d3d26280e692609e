//! What a caller of [`play`](super::play) may ask for, and what it is told.

use skywave_media::codec::Codec;
use std::path::PathBuf;
use std::time::Duration;

/// Everything `play` needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlayOptions {
    /// The WHEP endpoint, e.g. `http://127.0.0.1:8080/whep/demo`.
    pub url: String,
    /// Sent as `Authorization: Bearer <token>`.
    pub token: Option<String>,
    /// A PEM file of certificates to trust for `https`, in place of the system's.
    pub tls_ca: Option<PathBuf>,
    /// The video codecs that are offered.
    pub video: VideoWanted,
    /// Whether Opus is offered.
    pub audio: bool,
    /// Stop after this long, counted from the connection.
    pub duration: Option<Duration>,
    /// How long received packets wait for those missing before them; the first packet of a lane waits as long, too.
    pub jitter_buffer: Duration,
    /// Save the last picture as this PNG file at the end.
    pub snapshot: Option<PathBuf>,
    /// STUN and TURN servers beside those the server names, as `stun://host:port` or
    /// `turn://user:password@host:port`.
    pub ice_servers: Vec<String>,
    /// Gather TCP candidates too, for networks without UDP.
    pub ice_tcp: bool,
}

impl PlayOptions {
    /// Watches `url` with the defaults: any video codec this machine decodes, Opus, a jitter buffer of 100 ms, until stopped.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: None,
            tls_ca: None,
            video: VideoWanted::Any,
            audio: true,
            duration: None,
            jitter_buffer: Duration::from_millis(100),
            snapshot: None,
            ice_servers: Vec::new(),
            ice_tcp: false,
        }
    }
}

/// The video codecs that are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VideoWanted {
    /// No video.
    Off,
    /// Each that this machine can decode.
    Any,
    /// This one alone.
    Only(Codec),
}

/// What happens while watching.
#[derive(Debug, Clone, PartialEq)]
pub enum PlayEvent {
    /// ICE and DTLS are up.
    Connected {
        /// The WHEP session's URL (`Location`), where DELETE goes.
        session: String,
    },
    /// Once a second while connected.
    Stats(PlayStats),
}

/// A reading of the counters.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PlayStats {
    /// Bits received in the last second, everything above UDP counted.
    pub bitrate_bps: u64,
    /// Pictures decoded in the last second.
    pub fps: f64,
    /// Packets lost since the connection was made, by the gaps in their numbers: before retransmission.
    pub lost_packets: u64,
    /// The video so far.
    pub video: Option<VideoSeen>,
    /// The audio so far.
    pub audio: Option<AudioSeen>,
}

/// What was seen and heard, told at the end.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaySummary {
    /// The WHEP session's URL.
    pub session: String,
    /// From the connection to the end.
    pub watched: Duration,
    /// From the offer's departure to the connection (ICE and DTLS).
    pub connected_after: Duration,
    /// From the offer's departure to the first RTP packet.
    pub first_packet_after: Option<Duration>,
    /// RTP packets received, retransmissions included.
    pub packets: u64,
    /// Bytes of those packets, SRTP overhead included.
    pub bytes: u64,
    /// Packets lost, by the gaps in their numbers: before retransmission.
    pub lost_packets: u64,
    /// What was decoded of the video; `None`: nothing.
    pub video: Option<VideoSeen>,
    /// What was decoded of the audio; `None`: nothing.
    pub audio: Option<AudioSeen>,
    /// Why it ended before its time.
    pub lost: Option<String>,
}

/// Decoded video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoSeen {
    /// The codec of the latest picture.
    pub codec: Codec,
    /// Width of the latest picture, in pixels.
    pub width: u32,
    /// Height of the latest picture, in pixels.
    pub height: u32,
    /// Pictures decoded.
    pub frames: u64,
    /// Keyframes that went into the decoder.
    pub keyframes: u64,
    /// Keyframes we asked for (PLI).
    pub keyframe_requests: u64,
    /// From the offer's departure to the first picture, the jitter buffer's wait included.
    pub first_frame_after: Duration,
    /// The longest time between two pictures.
    pub longest_pause: Duration,
}

/// Decoded audio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AudioSeen {
    /// The codec.
    pub codec: Codec,
    /// Buffers decoded; WebRTC's usually last 20 ms.
    pub buffers: u64,
    /// What they last together.
    pub length: Duration,
    /// The loudest sample of any channel, in dB relative to full scale; minus infinity is digital silence.
    pub peak_db: f64,
    /// From the offer's departure to the first buffer.
    pub first_buffer_after: Duration,
}
