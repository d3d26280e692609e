//! The life of a viewer: offer, connect, count, stop.

use super::chain;
use super::error::PlayError;
use super::offer::Offered;
use super::options::{PlayEvent, PlayOptions, PlaySummary};
use super::snapshot;
use super::tally::{Meter, Tally};
use crate::webrtc_client::connection::{self, Connection, IceOptions};
use crate::webrtc_client::deadline::{PATIENCE, at};
use crate::webrtc_client::guard::drop_elsewhere;
use crate::webrtc_client::ice::IceServer;
use crate::webrtc_client::signalling::{Endpoint, Session};
use crate::webrtc_client::{ClientError, Protocol, wire};
use gstreamer as gst;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Watches until `shutdown` completes, the wished duration is over, or the connection is lost. `on_event` is told what happens;
/// it must not block.
///
/// The WHEP session is deleted at the end, and no thread or socket is left. A publisher that leaves and returns ends nothing: the
/// session stays, and so does this.
///
/// # Errors
///
/// See [`PlayError`]. A connection that is lost after it stood is no error but [`PlaySummary::lost`].
pub async fn play(
    options: PlayOptions,
    on_event: impl FnMut(PlayEvent) + Send,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<PlaySummary, PlayError> {
    gst::init().map_err(|e| ClientError::Engine(e.to_string()))?;
    connection::check()?;
    let offered = Offered::new(&options)?;
    let endpoint =
        Endpoint::new(Protocol::Whep, &options.url, options.token.clone(), options.tls_ca.clone())?;
    let given =
        options.ice_servers.iter().map(|s| IceServer::from_option(s)).collect::<Result<Vec<_>, _>>()?;
    let tally = Arc::<Tally>::default();
    let mut viewer = Viewer {
        endpoint,
        offered,
        given,
        tally,
        on_event,
        connection: None,
        session: None,
        connected: None,
        options,
    };
    let result = {
        let mut shutdown = pin!(shutdown);
        let mut run = Box::pin(viewer.run());
        tokio::select! {
            biased;
            () = &mut shutdown => Ok(None),
            lost = &mut run => lost,
        }
    };
    viewer.stop(result).await
}

struct Viewer<F> {
    options: PlayOptions,
    endpoint: Endpoint,
    offered: Offered,
    given: Vec<IceServer>,
    tally: Arc<Tally>,
    on_event: F,
    connection: Option<Connection>,
    session: Option<Session>,
    connected: Option<Instant>,
}

impl<F: FnMut(PlayEvent) + Send> Viewer<F> {
    /// Watches to the end; gives why the connection was lost, if it was.
    async fn run(&mut self) -> Result<Option<String>, ClientError> {
        self.connect().await?;
        let (Some(connection), Some(connected)) = (&mut self.connection, self.connected) else {
            return Err(ClientError::Engine("no connection".into()));
        };
        let end = self.options.duration.map(|duration| connected + duration);
        let mut tick = tokio::time::interval_at(connected + Duration::from_secs(1), Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut meter, mut last_tick) = (Meter::default(), connected);
        loop {
            tokio::select! {
                biased;
                () = at(end) => return Ok(None),
                reason = connection.lost(PATIENCE) => return Ok(Some(reason)),
                now = tick.tick() => {
                    let stats = meter.read(&self.tally.lock(), now - last_tick);
                    last_tick = now;
                    (self.on_event)(PlayEvent::Stats(stats));
                }
            }
        }
    }

    /// One WHEP session up to the point where ICE and DTLS are up.
    async fn connect(&mut self) -> Result<(), ClientError> {
        let (servers, local_addresses) = self.endpoint.ways(&self.given).await;
        let ice =
            IceOptions { servers: &servers, local_addresses: &local_addresses, tcp: self.options.ice_tcp };
        let connection = self.connection.insert(Connection::new(&ice, self.options.jitter_buffer)?);
        self.offered.add_to(connection)?;
        chain::follow(connection, &self.tally);
        let tally = Arc::clone(&self.tally);
        wire::watch_heard(connection.webrtc(), move |head, bytes| {
            if wire::is_rtp(head) {
                tally.lock().packet(head, bytes, std::time::Instant::now());
            }
        });
        connection.start()?;
        let offer = connection.offer().await?;
        tracing::debug!(%offer, "offer");
        self.tally.lock().offered = Some(std::time::Instant::now());
        let accepted = self.endpoint.post(&offer).await?;
        tracing::debug!(answer = %accepted.answer, session = %accepted.session.url, "answer");
        let session = self.session.insert(accepted.session);
        let url = session.url.to_string();
        connection.accept(&accepted.answer).await.map_err(|reason| self.endpoint.bad_answer(reason))?;
        connection.up(&url).await?;
        self.connected = Some(Instant::now());
        (self.on_event)(PlayEvent::Connected { session: url });
        Ok(())
    }

    /// Takes all down and tells what was seen.
    async fn stop(mut self, result: Result<Option<String>, ClientError>) -> Result<PlaySummary, PlayError> {
        let ended = Instant::now();
        let session = self.session.as_ref().map(|session| session.url.to_string());
        if let Some(session) = self.session.take() {
            session.delete().await;
        }
        drop_elsewhere(self.connection.take()).await;
        let lost = result?;
        let (summary, picture) = {
            let counts = self.tally.lock();
            let summary = PlaySummary {
                session: session.unwrap_or_default(),
                watched: self.connected.map_or(Duration::ZERO, |connected| ended - connected),
                connected_after: self.connected.map_or(Duration::ZERO, |c| counts.after_offer(c.into_std())),
                first_packet_after: counts.first_packet.map(|then| counts.after_offer(then)),
                packets: counts.packets,
                bytes: counts.bytes,
                lost_packets: counts.lost_packets(),
                video: counts.video_seen(),
                audio: counts.audio_seen(),
                lost,
            };
            (summary, counts.latest_picture())
        };
        if let Some(path) = &self.options.snapshot {
            snapshot::save(picture, path).await?;
        }
        Ok(summary)
    }
}
