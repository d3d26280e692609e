//! The life of a publication: capture, connect, send, connect again, stop.

use super::capture::Capture;
use super::encode::check_codec;
use super::error::PublishError;
use super::lane::Outlets;
use super::options::{PublishEvent, PublishOptions, PublishSummary, Source, VideoChoice};
use super::peer::{Peer, PeerOptions};
use super::stats::{Counters, Meter, Silence};
use crate::webrtc_client::Protocol;
use crate::webrtc_client::connection::{self, IceOptions};
use crate::webrtc_client::deadline::{PATIENCE, at};
use crate::webrtc_client::guard::drop_elsewhere;
use crate::webrtc_client::ice::IceServer;
use crate::webrtc_client::signalling::{Endpoint, Session};
use gstreamer as gst;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Waits between attempts: the first, doubled up to the last.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How many times in a row a `Retry-After` is heeded by those who did not ask to wait.
const INVITATIONS: u32 = 5;

/// Pause before a live source that failed is opened again.
const SOURCE_WAIT: Duration = Duration::from_secs(2);

/// Why sending ended.
enum Ending {
    /// The caller said stop, the time is up, or the source has ended.
    Done,
    /// `Faults::vanish_after`.
    Vanish,
    /// The connection is gone: connect again.
    Lost(PublishError),
}

/// Publishes until `shutdown` completes, the source ends, the wished duration is over, or an error that waiting does not
/// mend. `on_event` is told what happens; it must not block.
///
/// The WHIP session is deleted at the end (unless [`vanish_after`](super::Faults::vanish_after) says otherwise), and no thread or socket
/// is left.
///
/// # Errors
///
/// See [`PublishError`]. Refusals by the server and unusable sources are errors; a lost connection only is one when
/// [`PublishOptions::reconnect`] is off.
pub async fn publish(
    options: PublishOptions,
    on_event: impl FnMut(PublishEvent) + Send,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<PublishSummary, PublishError> {
    gst::init().map_err(|e| PublishError::engine(e.to_string()))?;
    check(&options)?;
    let endpoint =
        Endpoint::new(Protocol::Whip, &options.url, options.token.clone(), options.tls_ca.clone())?;
    let given = options.ice_servers.iter().map(|s| IceServer::from_option(s)).collect::<Result<_, _>>()?;
    let outlets = Arc::new(Outlets::new(&options.faults));
    let mut publication = Publication {
        endpoint,
        outlets,
        ice_servers: given,
        counters: Arc::default(),
        on_event,
        capture: None,
        peer: None,
        session: None,
        on_air: None,
        connections: 0,
        options,
    };
    let result = {
        let mut shutdown = pin!(shutdown);
        let mut run = Box::pin(publication.run());
        tokio::select! {
            biased;
            () = &mut shutdown => Ok(Ending::Done),
            ending = &mut run => ending,
        }
    };
    publication.stop(result).await
}

/// What can be told before anything is opened.
fn check(options: &PublishOptions) -> Result<(), PublishError> {
    connection::check()?;
    match &options.video {
        VideoChoice::Auto(encoding) | VideoChoice::Encode(encoding) => {
            if encoding.codec.kind() != skywave_media::codec::TrackKind::Video {
                return Err(PublishError::option(format!("{:?} is no video codec", encoding.codec)));
            }
            check_codec(encoding.codec)?;
            let odd = |n: u32| !(16..=8192).contains(&n) || n % 2 == 1;
            if encoding.size.is_some_and(|(width, height)| odd(width) || odd(height)) {
                return Err(PublishError::option(
                    "video is 16 to 8192 pixels wide and high, in even numbers",
                ));
            }
            if encoding.fps.is_some_and(|fps| !(1..=240).contains(&fps)) {
                return Err(PublishError::option("video has 1 to 240 frames per second"));
            }
            if !(10_000..=200_000_000).contains(&encoding.bitrate_bps) {
                return Err(PublishError::option("video has 10 kbit/s to 200 Mbit/s"));
            }
        }
        VideoChoice::Copy => check_codec(skywave_media::codec::Codec::H264)?,
        VideoChoice::Off if options.audio == super::options::AudioChoice::Off => {
            return Err(PublishError::option("with video and audio off there is nothing to publish"));
        }
        VideoChoice::Off => {}
    }
    if options.audio != super::options::AudioChoice::Off {
        check_codec(skywave_media::codec::Codec::Opus)?;
    }
    Ok(())
}

struct Publication<F> {
    options: PublishOptions,
    endpoint: Endpoint,
    outlets: Arc<Outlets>,
    ice_servers: Vec<IceServer>,
    counters: Arc<Counters>,
    on_event: F,
    capture: Option<Capture>,
    peer: Option<Peer>,
    session: Option<Session>,
    /// When media first flowed: by the shared clock of the pipelines, and by the task's.
    on_air: Option<(gst::ClockTime, Instant)>,
    connections: u32,
}

impl<F: FnMut(PublishEvent) + Send> Publication<F> {
    async fn run(&mut self) -> Result<Ending, PublishError> {
        self.start_capture().await?;
        let mut attempt = 0;
        loop {
            let error = match Box::pin(self.connect()).await {
                Ok(()) => {
                    attempt = 0;
                    match Box::pin(self.send()).await? {
                        Ending::Lost(error) => error,
                        ending => return Ok(ending),
                    }
                }
                Err(error) => error,
            };
            self.disconnect().await;
            let established = self.on_air.is_some();
            let retry = if established { self.options.reconnect } else { self.options.wait_for_server };
            // A server that names a time to come back wants us back.
            let invited = error.retry_after().is_some() && attempt < INVITATIONS;
            if !error.is_transient() || !(retry || invited) {
                return Err(error);
            }
            attempt += 1;
            let wait = error.retry_after().unwrap_or_else(|| back_off(attempt));
            (self.on_event)(PublishEvent::Reconnecting { attempt, wait, reason: error.to_string() });
            match self.wait(wait).await? {
                Ending::Done => return Ok(Ending::Done),
                ending => drop(ending),
            }
        }
    }

    /// Waits before the next attempt, while the capture goes on. `Done`: publishing is over meanwhile.
    async fn wait(&mut self, wait: Duration) -> Result<Ending, PublishError> {
        let until = Instant::now() + wait;
        let end = self.end();
        loop {
            let Some(capture) = &mut self.capture else {
                return Err(PublishError::engine("no capture"));
            };
            tokio::select! {
                () = sleep_until(until) => return Ok(Ending::Lost(PublishError::connection_lost(""))),
                () = at(end) => return Ok(Ending::Done),
                ended = capture.ended() => if !self.source_ended(ended).await? { return Ok(Ending::Done) },
            }
        }
    }

    /// One WHIP session up to the point where media flows.
    async fn connect(&mut self) -> Result<(), PublishError> {
        let formats = self.outlets.formats();
        let (ice_servers, local_addresses) = self.endpoint.ways(&self.ice_servers).await;
        let options = PeerOptions {
            formats: &formats,
            ice: IceOptions {
                servers: &ice_servers,
                local_addresses: &local_addresses,
                tcp: self.options.ice_tcp,
            },
            faults: &self.options.faults,
        };
        let peer = self.peer.insert(Peer::build(&options, &self.outlets, &self.counters)?);
        let offer = peer.connection.offer().await?;
        tracing::debug!(%offer, "offer");
        let accepted = self.endpoint.post(&offer).await?;
        tracing::debug!(answer = %accepted.answer, session = %accepted.session.url, "answer");
        let session = self.session.insert(accepted.session);
        let url = session.url.to_string();
        // Known too late for this attempt: libnice has gathered. The next attempt uses them.
        for server in accepted.ice_servers {
            if !self.ice_servers.contains(&server) {
                self.ice_servers.push(server);
            }
        }
        peer.connection.accept(&accepted.answer).await.map_err(|reason| self.endpoint.bad_answer(reason))?;
        peer.connection.up(&url).await?;
        let clock_time = peer.connection.clock_time();
        // A file is shown from its beginning, not from where it got to while we connected.
        let rewind = self.on_air.is_none() && matches!(self.options.source, Source::File(_));
        if rewind {
            self.stop_capture().await;
        }
        let (since, _) = *self.on_air.get_or_insert((clock_time, Instant::now()));
        if let Some(peer) = &self.peer {
            peer.attach(&self.outlets, since);
        }
        if rewind {
            self.start_capture().await?;
        }
        self.connections += 1;
        (self.on_event)(PublishEvent::Connected { session: url });
        Ok(())
    }

    /// Sends until something ends it.
    async fn send(&mut self) -> Result<Ending, PublishError> {
        let mut meter = Meter::new(&self.counters);
        let mut tick =
            tokio::time::interval_at(Instant::now() + Duration::from_secs(1), Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last_tick = Instant::now();
        let mut silence = Silence::new(self.counters.heard.load(Relaxed));
        let (end, vanish) = (self.end(), self.after_on_air(self.options.faults.vanish_after));
        loop {
            let (Some(peer), Some(capture)) = (&mut self.peer, &mut self.capture) else {
                return Err(PublishError::engine("no connection"));
            };
            tokio::select! {
                biased;
                () = at(vanish) => return Ok(Ending::Vanish),
                () = at(end) => return Ok(Ending::Done),
                reason = peer.connection.lost(PATIENCE) => return Ok(Ending::Lost(PublishError::connection_lost(reason))),
                ended = capture.ended() => if !self.source_ended(ended).await? { return Ok(Ending::Done) },
                now = tick.tick() => {
                    let stats = meter.read(&self.counters, peer.far_end().await, now - last_tick);
                    last_tick = now;
                    (self.on_event)(PublishEvent::Stats(stats));
                    if let Some(silent) = silence.handle(self.counters.heard.load(Relaxed), now.into_std()) {
                        let reason = format!("nothing heard from the server for {} s", silent.as_secs());
                        return Ok(Ending::Lost(PublishError::connection_lost(reason)));
                    }
                }
            }
        }
    }

    /// The source has ended or failed: opens it again if it should go on. False: publishing is over.
    async fn source_ended(&mut self, ended: Result<(), PublishError>) -> Result<bool, PublishError> {
        let live = matches!(self.options.source, Source::Rtsp(_) | Source::Camera(_));
        match ended {
            Ok(()) if !(self.options.repeat || live) => return Ok(false),
            Err(error) if !(live && self.options.reconnect) => return Err(error),
            Err(error) => tracing::warn!(%error, "source lost; opening it again"),
            Ok(()) => {}
        }
        let formats = self.outlets.formats();
        loop {
            self.stop_capture().await;
            match self.start_capture().await {
                Ok(()) => break,
                Err(error) if !live => return Err(error),
                Err(error) => tracing::warn!(%error, "source not back yet"),
            }
            tokio::time::sleep(SOURCE_WAIT).await;
        }
        (self.on_event)(PublishEvent::SourceRestarted);
        let codecs = |f: &[super::lane::LaneFormat]| f.iter().map(|f| f.codec).collect::<Vec<_>>();
        if codecs(&formats) != codecs(&self.outlets.formats()) {
            return Err(PublishError::Source {
                source_name: self.options.source.to_string(),
                reason: "it came back with other codecs".into(),
            });
        }
        Ok(true)
    }

    /// A point of time `after` the first connection.
    fn after_on_air(&self, after: Option<Duration>) -> Option<Instant> {
        self.on_air.zip(after).map(|((_, since), after)| since + after)
    }

    /// When the wished duration is over.
    fn end(&self) -> Option<Instant> {
        self.after_on_air(self.options.duration)
    }

    /// Takes the connection down and deletes the session.
    async fn disconnect(&mut self) {
        self.outlets.detach();
        if let Some(session) = self.session.take() {
            session.delete().await;
        }
        drop_elsewhere(self.peer.take()).await;
    }

    /// Starts the source and waits for its first frames.
    async fn start_capture(&mut self) -> Result<(), PublishError> {
        let mut capture = Capture::start(&self.options, &self.outlets)?;
        capture.ready().await?;
        self.capture = Some(capture);
        Ok(())
    }

    async fn stop_capture(&mut self) {
        drop_elsewhere(self.capture.take()).await;
        self.outlets.forget_capture();
    }

    async fn stop(mut self, result: Result<Ending, PublishError>) -> Result<PublishSummary, PublishError> {
        let on_air = self.on_air.map_or(Duration::ZERO, |(_, since)| since.elapsed());
        if let Ok(Ending::Vanish) = result {
            // Without detaching first the last packets would still go out in order; a crash is not so tidy either way.
            self.session = None;
        }
        self.disconnect().await;
        self.stop_capture().await;
        (self.on_event)(PublishEvent::Stopped);
        result?;
        let (packets, bytes) = self.counters.sent();
        Ok(PublishSummary {
            on_air,
            connections: self.connections,
            packets,
            bytes,
            dropped_packets: self.counters.dropped_packets.load(Relaxed),
            corrupted_frames: self.counters.corrupted_frames.load(Relaxed),
            keyframe_requests: self.counters.keyframe_requests.load(Relaxed),
        })
    }
}

/// Half a second, doubled with each attempt, at most ten seconds.
fn back_off(attempt: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << attempt.saturating_sub(1).min(8)).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_ten_seconds() {
        let waits: Vec<_> = (1..=7).map(|n| back_off(n).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        assert_eq!(back_off(u32::MAX), LONGEST_WAIT);
    }
}
