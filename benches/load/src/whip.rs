//! A publisher that costs next to nothing: a recorded stream in a loop, paced like a camera, with no encoder behind it.
//!
//! It answers a keyframe request by jumping to the loop's keyframe, and counts the requests: how many come when hundreds of viewers
//! join says whether the server merges them.

use crate::clip::{AUDIO_FRAME_48K, Clip, ClipCodec, ClipError, vp8_payload};
use crate::endpoint::{Endpoint, RequestError, TargetError};
use crate::socket::local_address;
use serde::Serialize;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, Instant};
use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc, RtcError};
use tokio::net::UdpSocket;

/// A server that is not connected by then has failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Keyframe requests are counted in windows of this length.
const REQUEST_WINDOW: Duration = Duration::from_secs(1);
/// Packets kept for retransmission: a second of 10 Mbit/s.
const SEND_BUFFER: usize = 1_000;

/// What to publish.
#[derive(Debug, Clone)]
pub struct WhipOptions {
    /// The WHIP URL.
    pub url: String,
    /// Codec of the picture; the sound is Opus.
    pub codec: ClipCodec,
    /// Bits per second of video payload; what the recording lacks is filled up.
    pub bits_per_second: u64,
    /// On air for so long; until told to stop when there is none.
    pub duration: Option<Duration>,
    /// Sent as a Bearer token.
    pub token: Option<String>,
    /// Whether the server may be another machine.
    pub allow_remote: bool,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WhipReport {
    /// Request to ICE and DTLS done, in milliseconds.
    pub connected_ms: f64,
    /// Time on air, in seconds.
    pub on_air_s: f64,
    /// RTP packets written, without retransmissions.
    pub packets: u64,
    /// Video payload a second.
    pub video_mbit_per_s: f64,
    /// Pictures sent.
    pub frames: u64,
    /// Keyframes among them that were asked for.
    pub keyframes_on_request: u64,
    /// PLI and FIR that came.
    pub keyframe_requests: u64,
    /// Most of them within any one second.
    pub most_requests_in_a_second: usize,
    /// The shortest time between two of them, in milliseconds: the way here makes some late, so a server that waits a second before it asks
    /// again is seen to wait a little less.
    pub least_between_requests_ms: Option<f64>,
    /// Session deleted at the end; says why when not.
    pub not_deleted: Option<String>,
}

/// Why nothing, or nothing more, is published.
#[derive(Debug, thiserror::Error)]
pub enum WhipError {
    /// The URL is not used.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// There is nothing to send.
    #[error(transparent)]
    Clip(#[from] ClipError),
    /// The server refused.
    #[error("the server did not take the offer: {0}")]
    Refused(String),
    /// The answer cannot be used.
    #[error("the answer cannot be used: {0}")]
    Answer(String),
    /// No connection in time.
    #[error("no ICE and DTLS connection within {} s", CONNECT_TIMEOUT.as_secs())]
    NotConnected,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The tool's own socket.
    #[error("no socket: {0}")]
    Socket(#[from] std::io::Error),
}

impl From<RtcError> for WhipError {
    fn from(error: RtcError) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<RequestError> for WhipError {
    fn from(error: RequestError) -> Self {
        Self::Refused(error.to_string())
    }
}

/// Publishes until the time is up or `stop` comes true, and deletes the session. `on_air` is called once, when it is connected.
///
/// # Errors
/// [`WhipError`]; a session that was opened is deleted all the same.
pub async fn run(
    options: WhipOptions,
    stop: impl Future<Output = ()>,
    on_air: impl FnOnce(),
) -> Result<WhipReport, WhipError> {
    let clip = Clip::load(options.codec, options.bits_per_second)?;
    let endpoint = Endpoint::new(&options.url, options.token.as_deref(), options.allow_remote).await?;
    let socket = UdpSocket::bind((local_address(endpoint.address)?, 0)).await?;
    let begin = Instant::now();
    let (mut publisher, offer, pending) = Publisher::new(clip, socket, begin)?;
    let opened = endpoint.open(offer).await?;
    let result = async {
        let answer =
            SdpAnswer::from_sdp_string(&opened.answer).map_err(|e| WhipError::Answer(e.to_string()))?;
        publisher
            .rtc
            .sdp_api()
            .accept_answer(pending, answer)
            .map_err(|e| WhipError::Answer(e.to_string()))?;
        publisher.carry(options.duration, stop, on_air).await
    };
    let result = result.await;
    let deleted = match opened.session {
        Some(session) => endpoint.delete(session).await.map_err(|e| e.to_string()),
        None => Err("the server gave no URL for the session".to_owned()),
    };
    result.map(|()| publisher.report(deleted.err()))
}

/// The clock and the counters of one lane.
#[derive(Debug)]
struct Lane {
    mid: Mid,
    sequence: u64,
    timestamp: u32,
    /// Index of the next frame or packet.
    at: usize,
    due: Instant,
}

impl Lane {
    fn new(mid: Mid, begin: Instant) -> Self {
        // Away from zero, so that a wrap of either comes at another time on every run.
        let sequence = u64::from(rand::random::<u16>() >> 1) + 1;
        Self { mid, sequence, timestamp: rand::random(), at: 0, due: begin }
    }
}

struct Publisher {
    rtc: Rtc,
    socket: UdpSocket,
    local: SocketAddr,
    clip: Clip,
    video: Lane,
    audio: Lane,
    picture_id: u16,
    begin: Instant,
    connected: Option<Instant>,
    ended: Option<Instant>,
    keyframe_wanted: bool,
    /// Requests of the last [`REQUEST_WINDOW`].
    requests: VecDeque<Instant>,
    most_requests: usize,
    least_between_requests: Option<Duration>,
    counts: Counts,
    broken: Option<&'static str>,
}

#[derive(Debug, Default)]
struct Counts {
    packets: u64,
    video_bytes: u64,
    frames: u64,
    keyframes_on_request: u64,
    keyframe_requests: u64,
}

impl Publisher {
    fn new(
        clip: Clip,
        socket: UdpSocket,
        begin: Instant,
    ) -> Result<(Self, String, str0m::change::SdpPendingOffer), WhipError> {
        let config = Rtc::builder().set_rtp_mode(true).set_send_buffer_video(SEND_BUFFER).clear_codecs();
        let config = config.enable_opus(true, false);
        let config = match clip.codec {
            ClipCodec::Vp8 => config.enable_vp8(true),
            ClipCodec::H264 => config.enable_h264(true),
        };
        let mut rtc = config.build(begin);
        let local = socket.local_addr()?;
        let candidate = Candidate::host(local, "udp").map_err(|e| WhipError::Broken(e.to_string()))?;
        rtc.add_local_candidate(candidate);
        let mut changes = rtc.sdp_api();
        let audio = changes.add_media(MediaKind::Audio, Direction::SendOnly, None, None, None);
        let video = changes.add_media(MediaKind::Video, Direction::SendOnly, None, None, None);
        let (offer, pending) =
            changes.apply().ok_or_else(|| WhipError::Broken("there is nothing to offer".to_owned()))?;
        let publisher = Self {
            rtc,
            socket,
            local,
            clip,
            video: Lane::new(video, begin),
            audio: Lane::new(audio, begin),
            picture_id: rand::random(),
            begin,
            connected: None,
            ended: None,
            keyframe_wanted: false,
            requests: VecDeque::new(),
            most_requests: 0,
            least_between_requests: None,
            counts: Counts::default(),
            broken: None,
        };
        Ok((publisher, offer.to_sdp_string(), pending))
    }

    /// Sends and receives until the end.
    async fn carry(
        &mut self,
        duration: Option<Duration>,
        stop: impl Future<Output = ()>,
        on_air: impl FnOnce(),
    ) -> Result<(), WhipError> {
        let mut stop = pin!(stop);
        let mut on_air = Some(on_air);
        let mut buffer = vec![0; 2_048];
        loop {
            let engine_due = self.drain()?;
            let now = Instant::now();
            if let Some(reason) = self.broken {
                return Err(WhipError::Broken(reason.to_owned()));
            }
            let due = match self.connected {
                None if now >= self.begin + CONNECT_TIMEOUT => return Err(WhipError::NotConnected),
                None => engine_due.min(self.begin + CONNECT_TIMEOUT),
                Some(connected) => {
                    if let Some(tell) = on_air.take() {
                        tell();
                    }
                    let end = duration.map(|duration| connected + duration);
                    if end.is_some_and(|end| now >= end) {
                        break;
                    }
                    self.send_due(now)?;
                    let due = engine_due.min(self.video.due).min(self.audio.due);
                    end.map_or(due, |end| due.min(end))
                }
            };
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => {
                    let now = Instant::now();
                    match received {
                        Ok((length, source)) => {
                            // What is none of STUN, DTLS, RTP and RTCP is nobody's.
                            if let Ok(receive) = Receive::new(Protocol::Udp, source, self.local, &buffer[..length]) {
                                self.rtc.handle_input(Input::Receive(now, receive))?;
                            }
                        }
                        Err(error) => tracing::debug!(%error, "an earlier datagram was refused"),
                    }
                }
                () = tokio::time::sleep_until(due.into()) => self.rtc.handle_input(Input::Timeout(Instant::now()))?,
                () = &mut stop => break,
            }
        }
        self.ended = Some(Instant::now());
        Ok(())
    }

    /// Takes all that the engine has to say; gives the time it wants to be asked again.
    fn drain(&mut self) -> Result<Instant, WhipError> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(due) => return Ok(due),
                Output::Transmit(transmit) => {
                    // A full buffer loses it, as a network might; the server asks again.
                    if let Err(error) = self.socket.try_send_to(&transmit.contents, transmit.destination) {
                        tracing::debug!(%error, "a datagram was not sent");
                    }
                }
                Output::Event(Event::Connected) => {
                    let now = Instant::now();
                    self.connected = Some(now);
                    (self.video.due, self.audio.due) = (now, now);
                }
                Output::Event(Event::KeyframeRequest(_)) => self.note_request(Instant::now()),
                Output::Event(Event::Closed) => self.broken = Some("the server closed it"),
                Output::Event(Event::IceConnectionStateChange(IceConnectionState::Disconnected))
                    if self.connected.is_some() =>
                {
                    self.broken = Some("ICE lost the server");
                }
                Output::Event(_) => {}
            }
        }
    }

    fn note_request(&mut self, now: Instant) {
        self.keyframe_wanted = true;
        self.counts.keyframe_requests += 1;
        if let Some(before) = self.requests.back() {
            let between = now.duration_since(*before);
            let least = self.least_between_requests.map_or(between, |least| least.min(between));
            self.least_between_requests = Some(least);
        }
        self.requests.push_back(now);
        while self.requests.front().is_some_and(|first| now.duration_since(*first) >= REQUEST_WINDOW) {
            self.requests.pop_front();
        }
        self.most_requests = self.most_requests.max(self.requests.len());
    }

    /// Sends what is due on both lanes.
    fn send_due(&mut self, now: Instant) -> Result<(), WhipError> {
        while self.video.due <= now {
            if std::mem::take(&mut self.keyframe_wanted) {
                self.counts.keyframes_on_request += 1;
                self.video.at = 0;
            }
            let frame = &self.clip.video[self.video.at];
            let (count, duration) = (frame.payloads.len(), frame.duration_90k);
            for n in 0..count {
                let content = &self.clip.video[self.video.at].payloads[n];
                let payload = match self.clip.codec {
                    ClipCodec::Vp8 => vp8_payload(content, n == 0, self.picture_id),
                    ClipCodec::H264 => content.clone(),
                };
                self.counts.video_bytes += payload.len() as u64;
                write(&mut self.rtc, &mut self.video, now, n + 1 == count, payload)?;
                self.counts.packets += 1;
                self.drain()?;
            }
            self.counts.frames += 1;
            self.picture_id = self.picture_id.wrapping_add(1);
            self.video.at = (self.video.at + 1) % self.clip.video.len();
            self.video.timestamp = self.video.timestamp.wrapping_add(duration);
            self.video.due += Duration::from_micros(u64::from(duration) * 100 / 9);
        }
        while self.audio.due <= now {
            let payload = self.clip.audio[self.audio.at].clone();
            write(&mut self.rtc, &mut self.audio, now, false, payload)?;
            self.counts.packets += 1;
            self.drain()?;
            self.audio.at = (self.audio.at + 1) % self.clip.audio.len();
            self.audio.timestamp = self.audio.timestamp.wrapping_add(AUDIO_FRAME_48K);
            self.audio.due += Duration::from_millis(20);
        }
        Ok(())
    }

    fn report(self, not_deleted: Option<String>) -> WhipReport {
        let connected = self.connected.unwrap_or(self.begin);
        let on_air_s = self.ended.unwrap_or(connected).duration_since(connected).as_secs_f64();
        WhipReport {
            connected_ms: connected.duration_since(self.begin).as_secs_f64() * 1e3,
            on_air_s,
            packets: self.counts.packets,
            video_mbit_per_s: self.counts.video_bytes as f64 * 8.0 / 1e6 / on_air_s.max(1e-3),
            frames: self.counts.frames,
            keyframes_on_request: self.counts.keyframes_on_request,
            keyframe_requests: self.counts.keyframe_requests,
            most_requests_in_a_second: self.most_requests,
            least_between_requests_ms: self.least_between_requests.map(|least| least.as_secs_f64() * 1000.0),
            not_deleted,
        }
    }
}

/// Writes one packet of a lane. The engine must be drained before and after.
fn write(
    rtc: &mut Rtc,
    lane: &mut Lane,
    now: Instant,
    marker: bool,
    payload: Vec<u8>,
) -> Result<(), WhipError> {
    let agreed = rtc.media(lane.mid).and_then(|media| media.remote_pts().first().copied());
    let payload_type = agreed.ok_or_else(|| WhipError::Answer("it does not take the codec".to_owned()))?;
    let sequence = lane.sequence;
    lane.sequence += 1;
    let mut direct = rtc.direct_api();
    let stream = direct
        .stream_tx_by_mid(lane.mid, None)
        .ok_or_else(|| WhipError::Answer("it does not take the media".to_owned()))?;
    let packet = RtpWrite::new(payload_type, sequence.into(), lane.timestamp, now, payload);
    stream.write_rtp(packet.marker(marker).nackable(true));
    rtc.handle_input(Input::Timeout(now))?;
    Ok(())
}
