//! What a caller of [`publish`](super::publish) may ask for, and what it is told.

use skywave_media::codec::Codec;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// Everything `publish` needs to know.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishOptions {
    /// Where pictures and sound come from.
    pub source: Source,
    /// The WHIP endpoint, e.g. `http://127.0.0.1:8080/whip/demo`.
    pub url: String,
    /// Sent as `Authorization: Bearer <token>` (RFC 9725 section 4.7).
    pub token: Option<String>,
    /// A PEM file of certificates to trust for `https`, in place of the system's.
    pub tls_ca: Option<PathBuf>,
    /// How video is sent.
    pub video: VideoChoice,
    /// How audio is sent.
    pub audio: AudioChoice,
    /// What the test source sounds like.
    pub test_sound: TestSound,
    /// The ALSA device that goes with a camera (`default`, `hw:1`); none: a camera publishes no audio.
    pub microphone: Option<String>,
    /// Start a file again when it ends.
    pub repeat: bool,
    /// Stop after this long on air (counted from the first connection).
    pub duration: Option<Duration>,
    /// Connect again, with back-off, when an established connection is lost.
    pub reconnect: bool,
    /// Also keep trying when the very first attempt finds no server, or a busy one.
    pub wait_for_server: bool,
    /// STUN and TURN servers beside those the server names, as `stun://host:port` or
    /// `turn://user:password@host:port`.
    pub ice_servers: Vec<String>,
    /// Gather TCP candidates too, for networks without UDP.
    pub ice_tcp: bool,
    /// Faults to commit on purpose, for tests and drills.
    pub faults: Faults,
}

impl PublishOptions {
    /// Publishes `source` to `url` with the defaults: VP8 720p30 at 1.5 Mbit/s (H.264 that comes from an RTSP
    /// camera is sent as it is), stereo Opus at 96 kbit/s, reconnecting.
    pub fn new(source: Source, url: impl Into<String>) -> Self {
        Self {
            source,
            url: url.into(),
            token: None,
            tls_ca: None,
            video: VideoChoice::Auto(VideoEncoding::default()),
            audio: AudioChoice::default(),
            test_sound: TestSound::default(),
            microphone: None,
            repeat: false,
            duration: None,
            reconnect: true,
            wait_for_server: false,
            ice_servers: Vec::new(),
            ice_tcp: false,
            faults: Faults::default(),
        }
    }
}

/// Where pictures and sound come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A dark moving pattern with a machine-readable timecode. At every full second of pipeline time a white
    /// flash of 100 ms and, with [`TestSound::Beep`], a 1 kHz beep of 100 ms start together.
    Test,
    /// A media file, decoded and sent at its own pace.
    File(PathBuf),
    /// A Video4Linux2 device, e.g. `/dev/video0`.
    Camera(PathBuf),
    /// An `rtsp://` or `rtsps://` URL.
    Rtsp(String),
}

/// A SOURCE argument that names nothing we can publish.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Neither a keyword, a known URL scheme nor an existing path.
    #[error(
        "`{0}` is not a source: there is no such file. A source is `test`, a media file, a camera \
         (`/dev/video0` or `v4l2:/dev/video0`) or an `rtsp://` URL"
    )]
    NoSuchFile(String),
    /// The path exists, and is a directory.
    #[error("`{0}` is a directory; name one media file in it")]
    Directory(String),
    /// A URL whose scheme is not RTSP.
    #[error("`{0}`: of URLs, only `rtsp://` and `rtsps://` can be published")]
    Scheme(String),
    /// `v4l2:` with nothing behind it.
    #[error("`v4l2:` needs a device behind it, e.g. `v4l2:/dev/video0`")]
    NoDevice,
}

impl FromStr for Source {
    type Err = SourceError;

    /// Reads a SOURCE argument: `test`, `rtsp://..`, `/dev/videoN`, `v4l2:DEVICE`, or the path of a file, which
    /// must exist (a device need not: cameras are plugged in late).
    fn from_str(text: &str) -> Result<Self, SourceError> {
        if text == "test" {
            return Ok(Self::Test);
        }
        if let Some(device) = text.strip_prefix("v4l2:") {
            let device = device.strip_prefix("//").unwrap_or(device);
            return if device.is_empty() {
                Err(SourceError::NoDevice)
            } else {
                Ok(Self::Camera(device.into()))
            };
        }
        if text.starts_with("/dev/video") {
            return Ok(Self::Camera(text.into()));
        }
        let path = match text.split_once("://") {
            Some((scheme, _)) if ["rtsp", "rtsps"].contains(&scheme.to_ascii_lowercase().as_str()) => {
                return Ok(Self::Rtsp(text.to_owned()));
            }
            Some(("file", path)) => path,
            Some(_) => return Err(SourceError::Scheme(text.to_owned())),
            None => text,
        };
        match Path::new(path) {
            p if p.is_dir() => Err(SourceError::Directory(path.to_owned())),
            p if p.exists() => Ok(Self::File(p.to_owned())),
            _ => Err(SourceError::NoSuchFile(path.to_owned())),
        }
    }
}

impl fmt::Display for Source {
    /// As the argument is written; the password of an RTSP URL is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Test => f.write_str("test"),
            Self::File(path) => path.display().fmt(f),
            Self::Camera(device) => write!(f, "v4l2:{}", device.display()),
            Self::Rtsp(url) => f.write_str(&without_userinfo(url)),
        }
    }
}

/// `scheme://user:password@host/..` without `user:password@`.
pub(super) fn without_userinfo(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority_end = rest.find('/').unwrap_or(rest.len());
    match rest[..authority_end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

/// How video is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VideoChoice {
    /// No video.
    Off,
    /// H.264 from an RTSP camera goes out as it is; anything else is encoded like this.
    Auto(VideoEncoding),
    /// Always decoded and encoded like this.
    Encode(VideoEncoding),
    /// Never encoded: the source must deliver H.264 without B-frames. Keyframes then come when the source makes
    /// them, not when the server asks.
    Copy,
}

/// The codec and shape of encoded video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoEncoding {
    /// VP8, VP9 or H.264.
    pub codec: Codec,
    /// Target bitrate, in bits per second.
    pub bitrate_bps: u32,
    /// Width and height in pixels; none: as the source has it (test source: 1280x720).
    pub size: Option<(u32, u32)>,
    /// Frames per second; none: as the source has it (test source: 30).
    pub fps: Option<u32>,
    /// The longest time between keyframes nobody asked for.
    pub keyframe_interval: Duration,
}

impl Default for VideoEncoding {
    fn default() -> Self {
        Self {
            codec: Codec::Vp8,
            bitrate_bps: 1_500_000,
            size: None,
            fps: None,
            keyframe_interval: Duration::from_secs(2),
        }
    }
}

/// How audio is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AudioChoice {
    /// No audio.
    Off,
    /// Stereo Opus at 48 kHz.
    Opus {
        /// Target bitrate, in bits per second.
        bitrate_bps: u32,
    },
}

impl Default for AudioChoice {
    fn default() -> Self {
        Self::Opus { bitrate_bps: 96_000 }
    }
}

/// What the test source sounds like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TestSound {
    /// A 1 kHz beep of 100 ms at every full second, silence between.
    #[default]
    Beep,
    /// A continuous tone, for spectrum tests.
    Tone {
        /// Frequency of the left channel, in hertz; 0 is silence.
        left_hz: u32,
        /// Frequency of the right channel, in hertz; 0 is silence.
        right_hz: u32,
    },
    /// Digital silence.
    Silence,
}

impl FromStr for TestSound {
    type Err = String;

    /// `beep`, `silence`, `tone` (1 kHz on both channels), `tone:440` or `tone:1000,440` (left, right; up to 20 kHz).
    fn from_str(text: &str) -> Result<Self, String> {
        let hertz = |s: &str| {
            s.parse::<u32>()
                .ok()
                .filter(|hz| *hz <= 20_000)
                .ok_or_else(|| format!("`{s}` is not a frequency in Hz"))
        };
        match text.split_once(':') {
            None if text == "beep" => Ok(Self::Beep),
            None if text == "silence" => Ok(Self::Silence),
            None if text == "tone" => Ok(Self::Tone { left_hz: 1000, right_hz: 1000 }),
            Some(("tone", both)) => {
                let (left, right) = both.split_once(',').unwrap_or((both, both));
                Ok(Self::Tone { left_hz: hertz(left)?, right_hz: hertz(right)? })
            }
            _ => Err(format!("`{text}` is none of `beep`, `silence`, `tone`, `tone:HZ`, `tone:LEFT,RIGHT`")),
        }
    }
}

/// Faults committed on purpose, for tests and drills. The default commits none.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// Percentage (0 to 100) of RTP packets that never reach the wire; retransmissions are hit alike.
    pub drop_percent: f64,
    /// Do not answer NACKs, so that lost packets stay lost.
    pub no_retransmission: bool,
    /// Send no RTCP sender reports.
    pub no_sender_reports: bool,
    /// Send no audio packet between these two times on air.
    pub mute_audio: Option<(Duration, Duration)>,
    /// Send no video packet between these two times on air.
    pub mute_video: Option<(Duration, Duration)>,
    /// Percentage (0 to 100) of video frames whose payload is damaged before it is protected.
    pub corrupt_percent: f64,
    /// Encode H.264 with this many B-frames between others, which WebRTC viewers cannot take; a copied file may have them too then.
    pub b_frames: u32,
    /// After this long on air stop without a word: no DELETE, no RTCP BYE, no DTLS alert.
    pub vanish_after: Option<Duration>,
    /// Seed of the dice behind the percentages: equal seeds, equal decisions.
    pub seed: u64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            drop_percent: 0.0,
            no_retransmission: false,
            no_sender_reports: false,
            mute_audio: None,
            mute_video: None,
            corrupt_percent: 0.0,
            b_frames: 0,
            vanish_after: None,
            seed: 1,
        }
    }
}

/// What happens while publishing.
#[derive(Debug, Clone, PartialEq)]
pub enum PublishEvent {
    /// ICE and DTLS are up; media flows.
    Connected {
        /// The WHIP session's URL (`Location`), where DELETE goes.
        session: String,
    },
    /// Once a second while connected.
    Stats(PublishStats),
    /// The connection, or an attempt to make it, was lost; the next attempt comes after `wait`.
    Reconnecting {
        /// Attempts since the last time media flowed, from 1.
        attempt: u32,
        /// Time until the attempt.
        wait: Duration,
        /// What went wrong, for people.
        reason: String,
    },
    /// The source ended and starts again ([`PublishOptions::repeat`], or a camera that came back).
    SourceRestarted,
    /// Publishing is over.
    Stopped,
}

/// A reading of the connection's counters.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PublishStats {
    /// Bits sent in the last second, everything above UDP counted.
    pub bitrate_bps: u64,
    /// Round-trip time as the server's RTCP tells it; none before the first report.
    pub rtt: Option<Duration>,
    /// Packets the server reports lost since the connection was made.
    pub lost_packets: u64,
    /// RTP packets sent since the connection was made, retransmissions included.
    pub packets: u64,
}

/// What was done, told at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PublishSummary {
    /// Time from the first connection to the end.
    pub on_air: Duration,
    /// Times media began to flow: 1 plus the reconnections.
    pub connections: u32,
    /// RTP packets put on the wire, retransmissions included.
    pub packets: u64,
    /// Bytes of those packets, SRTP overhead included.
    pub bytes: u64,
    /// RTP packets that [`Faults::drop_percent`] kept from the wire.
    pub dropped_packets: u64,
    /// Video frames that [`Faults::corrupt_percent`] damaged.
    pub corrupted_frames: u64,
    /// Keyframes the server asked for (PLI or FIR).
    pub keyframe_requests: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_arguments_are_told_apart() {
        let parse = |s: &str| s.parse::<Source>();
        assert_eq!(parse("test"), Ok(Source::Test));
        assert_eq!(parse("/dev/video7"), Ok(Source::Camera("/dev/video7".into())));
        assert_eq!(parse("v4l2:/dev/v4l/by-id/cam"), Ok(Source::Camera("/dev/v4l/by-id/cam".into())));
        assert_eq!(parse("v4l2:///dev/video0"), Ok(Source::Camera("/dev/video0".into())));
        assert_eq!(parse("RTSP://cam/1"), Ok(Source::Rtsp("RTSP://cam/1".into())));
        assert_eq!(parse("v4l2:"), Err(SourceError::NoDevice));
        assert_eq!(parse("http://cam/1"), Err(SourceError::Scheme("http://cam/1".into())));
        assert_eq!(parse("no/such.mp4"), Err(SourceError::NoSuchFile("no/such.mp4".into())));
        assert_eq!(parse("."), Err(SourceError::Directory(".".into())));
        assert_eq!(parse("Cargo.toml"), Ok(Source::File("Cargo.toml".into())));
    }

    #[test]
    fn a_password_in_an_rtsp_url_is_never_shown() {
        assert_eq!(Source::Rtsp("rtsp://root:p@ss@cam:554/a@b".into()).to_string(), "rtsp://cam:554/a@b");
        assert_eq!(Source::Rtsp("rtsp://cam/x".into()).to_string(), "rtsp://cam/x");
    }

    #[test]
    fn test_sounds_are_read_and_refused() {
        assert_eq!("tone".parse(), Ok(TestSound::Tone { left_hz: 1000, right_hz: 1000 }));
        assert_eq!("tone:440,880".parse(), Ok(TestSound::Tone { left_hz: 440, right_hz: 880 }));
        assert_eq!("tone:440".parse(), Ok(TestSound::Tone { left_hz: 440, right_hz: 440 }));
        assert_eq!("beep".parse(), Ok(TestSound::Beep));
        assert!("tone:x".parse::<TestSound>().is_err());
        assert!("tone:90000".parse::<TestSound>().is_err());
        assert!("hum".parse::<TestSound>().is_err());
    }
}
