//! The hub: one task per stream. Packets in, frames of the source rendition; frames out to worker and outputs.
//!
//! What belongs here: who is publishing now, what is made of it, and when the stream ends. How packets become frames
//! is `skywave_media::ingest`, what is passed through is `skywave_media::fit`, how frames become HLS is
//! [`crate::outputs::hls`].

mod meter;
mod plan;
mod publisher;
mod report;
pub(crate) mod status;

use crate::outputs::audience::{self, HlsAudience, PlayerKey};
use crate::outputs::hls::{HlsOutput, hls_config};
use crate::outputs::recording::RecordingOutput;
use crate::registry::{Registry, SessionGuard};
use crate::worker::{Worker, WorkerEvent};
use plan::Resume;
use publisher::Publisher;
use relay_node::clock::ClockPair;
use relay_node::{PublisherEvent, RenditionFeed, TrackDescription};
use skywave_media::codec::TrackKind;
use skywave_media::fit::{OutputPlanner, VideoPlan};
use skywave_media::frame::Frame;
use skywave_media::hls::HlsView;
use skywave_media::ingest::IngestOutput;
use skywave_media::name::StreamName;
use skywave_media::time::{MediaTime, Mono, UnixTime};
use status::{IngestTotals, Status};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Commands that wait for a stream task; publishers are few.
const COMMAND_QUEUE: usize = 16;

/// Packets taken at a time before the other events get their turn.
const PACKETS_PER_TURN: usize = 64;

/// How often bitrates and the like are brought up to date.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// A hole in an output longer than this is not filled after the worker's restart but shown as a discontinuity.
const MAX_FILLED_GAP: Duration = Duration::from_secs(10);

/// What a stream task can be told.
pub(crate) enum Command {
    /// A publisher has connected: it feeds the stream from now on.
    Publish(NewPublisher),
    /// Record it from now on, or no more.
    Record(bool),
    /// The server stops: end the playlists.
    ShutDown,
}

/// A connected publisher.
pub(crate) struct NewPublisher {
    pub(crate) session: SessionGuard,
    pub(crate) tracks: Vec<TrackDescription>,
    pub(crate) events: mpsc::Receiver<PublisherEvent>,
}

/// The rest of the server's hold on a stream.
#[derive(Clone)]
pub(crate) struct StreamHandle {
    pub(crate) commands: mpsc::Sender<Command>,
    status: watch::Receiver<Arc<Status>>,
    hls: watch::Receiver<Arc<HlsView>>,
    audience: Arc<Mutex<HlsAudience>>,
}

impl StreamHandle {
    /// The newest HLS window.
    pub(crate) fn hls(&self) -> Arc<HlsView> {
        Arc::clone(&self.hls.borrow())
    }

    /// Takes note of an HLS player that has fetched something.
    pub(crate) fn note_player(&self, player: PlayerKey) {
        audience::lock(&self.audience).handle_request(player, relay_node::clock::now());
    }

    /// What the stream does.
    pub(crate) fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status.borrow())
    }
}

/// Where a stream is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A publisher feeds it.
    Live,
    /// The publisher is gone and may return until then.
    Waiting { until: Mono },
    /// It has ended; its last segments stay until then.
    Ended { until: Mono },
}

struct Stream {
    name: StreamName,
    registry: Arc<Registry>,
    phase: Phase,
    /// Zero of the stream's timeline, on both clocks.
    epoch: Mono,
    epoch_wall: UnixTime,
    publisher: Option<Publisher>,
    planner: OutputPlanner,
    plan: Option<VideoPlan>,
    resume: Resume,
    worker: Worker,
    hls: HlsOutput,
    recording: RecordingOutput,
    /// What the worker encodes, for WebRTC viewers that cannot decode what is published.
    rendition: RenditionFeed,
    audience: Arc<Mutex<HlsAudience>>,
    /// What the publishers before the present one have sent.
    past: IngestTotals,
    status: watch::Sender<Arc<Status>>,
    next_status: Mono,
}

/// Starts the task of a stream that is about to get its first publisher.
pub(crate) fn start(registry: Arc<Registry>, name: StreamName) -> StreamHandle {
    let (commands, queue) = mpsc::channel(COMMAND_QUEUE);
    let (now, wall) = (relay_node::clock::now(), wall_clock());
    let hls = HlsOutput::new(&registry.config().hls, plan::take_id(wall), wall);
    let recording = RecordingOutput::new(registry.library(), &name, plan::take_id(wall), wall);
    let (status, status_reader) = watch::channel(Arc::new(Status::starting(&name)));
    let target_duration = hls_config(&registry.config().hls).target_duration();
    let audience = Arc::new(Mutex::new(HlsAudience::new(Duration::from_secs(target_duration))));
    let handle = StreamHandle {
        commands,
        status: status_reader,
        hls: hls.subscribe(),
        audience: Arc::clone(&audience),
    };
    let stream = Stream {
        phase: Phase::Ended { until: now + STATUS_INTERVAL },
        epoch: now,
        epoch_wall: wall,
        publisher: None,
        planner: OutputPlanner::new(plan::plan_config(registry.config())),
        plan: None,
        resume: Resume::default(),
        worker: Worker::new(name.clone()),
        hls,
        recording,
        rendition: registry.node().rendition(name.as_str()),
        audience,
        past: IngestTotals::default(),
        status,
        next_status: now,
        name,
        registry,
    };
    tokio::spawn(stream.run(queue));
    handle
}

impl Stream {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            let wake = tokio::time::Instant::from_std(ClockPair::new().instant(self.next_deadline()));
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Publish(publisher)) => self.attach(publisher),
                    Some(Command::Record(wanted)) => self.record(wanted),
                    Some(Command::ShutDown) | None => {
                        self.end("the server stops");
                        self.publish_views();
                        commands.close();
                        break;
                    }
                },
                event = publisher::next_event(self.publisher.as_mut()) => self.take_publisher_events(event),
                event = self.worker.event() => self.take_worker_event(event),
                () = tokio::time::sleep_until(wake) => {}
            }
            self.advance(relay_node::clock::now());
            if self.is_over() && self.registry.forget(&self.name, &mut commands) {
                tracing::info!(stream = %self.name, "stream forgotten");
                break;
            }
        }
    }

    /// Lets a new publisher feed the stream. One that feeds it already is replaced: it is the same broadcaster, whose
    /// old connection has not noticed yet that it is dead.
    fn attach(&mut self, new: NewPublisher) {
        let now = relay_node::clock::now();
        let has = |kind| new.tracks.iter().any(|t| t.kind == kind);
        let (video, audio) = (has(TrackKind::Video), has(TrackKind::Audio));
        tracing::info!(stream = %self.name, session = %new.session.id(), video, audio, before = ?self.phase, "publisher connected");
        match self.phase {
            Phase::Ended { .. } => self.begin_take(now),
            Phase::Waiting { .. } => self.resume = Resume::default(),
            // A decoder takes any new codec in its stride; passed-through video does not.
            Phase::Live if self.plan == Some(VideoPlan::Passthrough) => self.break_outputs(now),
            Phase::Live => {}
        }
        // Pictures that are encoded keep their size when a publisher takes over without a break.
        let keeps_plan = self.phase == Phase::Live && matches!(self.plan, Some(VideoPlan::Transcode { .. }));
        if !keeps_plan {
            self.planner = OutputPlanner::new(plan::plan_config(self.registry.config()));
            self.plan = None;
        }
        for (kind, there) in [(TrackKind::Video, video), (TrackKind::Audio, audio)] {
            if there {
                self.hls.expect(kind, now);
                self.recording.expect(kind);
            }
        }
        self.phase = Phase::Live;
        self.forget_publisher();
        self.publisher = Some(Publisher::new(new, self.epoch, now, wall_clock()));
        self.configure_worker(now);
        self.next_status = now;
    }

    /// A new take: a new timeline and a new window, under the same URLs.
    fn begin_take(&mut self, now: Mono) {
        let wall = wall_clock();
        (self.epoch, self.epoch_wall) = (now, wall);
        self.resume = Resume::default();
        self.plan = None;
        self.hls.restart(&self.registry.config().hls, plan::take_id(wall), wall);
        self.recording.restart(plan::take_id(wall), wall);
    }

    /// What follows does not continue what was.
    fn break_outputs(&mut self, now: Mono) {
        self.hls.handle_discontinuity(now);
        self.recording.handle_discontinuity(now);
    }

    /// Recording is switched on or off. Frames before the next keyframe are of no use to a file, so one is asked for.
    fn record(&mut self, wanted: bool) {
        let now = relay_node::clock::now();
        self.recording.want(wanted, now);
        if let Some(publisher) = self.publisher.as_mut().filter(|_| wanted) {
            publisher.demand_video_keyframe(now);
        }
        self.next_status = now;
    }

    fn take_publisher_events(&mut self, first: Option<PublisherEvent>) {
        let mut next = first;
        for _ in 0..PACKETS_PER_TURN {
            match next {
                Some(PublisherEvent::Packet { track, packet }) => {
                    if let Some(publisher) = &mut self.publisher {
                        publisher.handle_packet(track, packet);
                    }
                }
                Some(PublisherEvent::SenderReport { track, report }) => {
                    if let Some(publisher) = &mut self.publisher {
                        publisher.ingest.handle_sender_report(track, report);
                    }
                }
                Some(PublisherEvent::Connected) => {}
                Some(PublisherEvent::Closed { reason }) => return self.detach(&reason.to_string()),
                None => return self.detach("the node has stopped"),
            }
            self.drain_ingest();
            match self.publisher.as_mut().map(|p| p.events.try_recv()) {
                Some(Ok(event)) => next = Some(event),
                _ => return,
            }
        }
    }

    /// The publisher is gone. Players stay for the grace time.
    fn detach(&mut self, reason: &str) {
        let now = relay_node::clock::now();
        if let Some(publisher) = &self.publisher {
            tracing::info!(stream = %self.name, session = %publisher.session.id(), reason, "publisher gone");
        }
        self.forget_publisher();
        self.worker.stop();
        self.break_outputs(now);
        self.phase =
            Phase::Waiting { until: now + Duration::from_millis(self.registry.config().ingest.grace_ms) };
        self.next_status = now;
    }

    fn end(&mut self, reason: &str) {
        let now = relay_node::clock::now();
        self.forget_publisher();
        self.worker.stop();
        if !matches!(self.phase, Phase::Ended { .. }) {
            tracing::info!(stream = %self.name, reason, "stream ended");
            self.hls.end(now);
            self.recording.end(now);
            self.registry.node().end_broadcast(self.name.as_str());
        }
        let linger = Duration::from_millis(self.registry.config().ingest.linger_ms);
        self.phase = Phase::Ended { until: now + linger };
        self.next_status = now;
    }

    /// Lets go of the publisher, but not of what it has sent.
    fn forget_publisher(&mut self) {
        if let Some(publisher) = self.publisher.take() {
            report::add(&mut self.past, &publisher);
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended { until } if relay_node::clock::now() >= until)
    }

    fn take_worker_event(&mut self, event: WorkerEvent) {
        let now = relay_node::clock::now();
        match event {
            WorkerEvent::Frame(frame) => {
                let wanted = frame.kind() == TrackKind::Audio
                    || matches!(self.plan, Some(VideoPlan::Transcode { .. }));
                if wanted {
                    self.offer_rendition(&frame, now);
                    self.output(frame, now);
                }
            }
            WorkerEvent::Fault(TrackKind::Video) => {
                if let Some(publisher) = &mut self.publisher {
                    publisher.demand_video_keyframe(now);
                }
            }
            WorkerEvent::Fault(TrackKind::Audio) => {}
            WorkerEvent::Exited { reason } => {
                tracing::warn!(stream = %self.name, reason, "worker died; it will be started again");
            }
            WorkerEvent::RestartDue => {
                let position = self.position(now);
                if self.resume.is_behind(position, MAX_FILLED_GAP) {
                    self.resume = Resume::default();
                    self.break_outputs(now);
                }
                self.configure_worker(now);
            }
        }
    }

    /// Everything that is due: timers, keyframe requests, plans, views.
    fn advance(&mut self, now: Mono) {
        match self.phase {
            Phase::Waiting { until } if now >= until => self.end("nobody publishes it any more"),
            _ => {}
        }
        if let Some(publisher) = &mut self.publisher {
            publisher.ingest.handle_timeout(now);
        }
        self.drain_ingest();
        self.planner.handle_timeout(now);
        self.apply_plan(now);
        self.hls.handle_timeout(now);
        self.recording.handle_timeout(now);
        self.ask_for_keyframes(now);
        if now >= self.next_status {
            self.next_status = now + STATUS_INTERVAL;
            self.refresh_status(now);
        }
        self.publish_views();
    }

    fn drain_ingest(&mut self) {
        let now = relay_node::clock::now();
        while let Some(output) = self.publisher.as_mut().and_then(|p| p.ingest.poll_output()) {
            match output {
                IngestOutput::Frame { track, frame } => {
                    if let Some(publisher) = &mut self.publisher {
                        publisher.note_frame(track, &frame, now);
                    }
                    self.take_source_frame(frame, now);
                }
                IngestOutput::KeyframeNeeded { track, reason } => {
                    tracing::debug!(stream = %self.name, track = track.0, ?reason, "keyframe needed");
                    if let Some(publisher) = &mut self.publisher {
                        publisher.demand_keyframe(track, now);
                    }
                }
                other => tracing::debug!(stream = %self.name, ?other, "ingest"),
            }
        }
    }

    fn take_source_frame(&mut self, frame: Frame, now: Mono) {
        if frame.kind() == TrackKind::Video {
            self.planner.handle_frame(&frame, now);
            self.apply_plan(now);
            if self.plan == Some(VideoPlan::Passthrough) {
                return self.output(frame, now);
            }
        }
        self.worker.send(&frame);
    }

    /// Takes over what the planner has decided.
    fn apply_plan(&mut self, now: Mono) {
        while let Some(plan) = self.planner.poll_plan() {
            tracing::info!(stream = %self.name, ?plan, reason = ?self.planner.reason(), "video output planned");
            self.plan = Some(plan);
            self.configure_worker(now);
        }
    }

    fn configure_worker(&mut self, now: Mono) {
        let Some(publisher) = &self.publisher else { return };
        let config = plan::worker_config(&plan::Wanted {
            stream: &self.name,
            config: self.registry.config(),
            epoch: self.epoch,
            plan: self.plan,
            audio: self.hls.expects(TrackKind::Audio),
            resume: &self.resume,
        });
        if config.video.is_none() && config.audio.is_none() {
            self.worker.stop();
            return;
        }
        tracing::debug!(stream = %self.name, session = %publisher.session.id(), ?config, at = ?now, "worker configured");
        self.worker.configure(config);
    }

    /// Viewers get pictures as the worker makes them; passed-through ones they have from the publisher's own packets.
    fn offer_rendition(&mut self, frame: &Frame, now: Mono) {
        if frame.kind() == TrackKind::Video
            && let Err(error) = self.rendition.push(frame, self.epoch, now)
        {
            tracing::debug!(stream = %self.name, %error, "a frame cannot be sent to WebRTC viewers");
        }
    }

    /// A frame of an output rendition: to every output.
    fn output(&mut self, frame: Frame, now: Mono) {
        self.resume.note(&frame);
        self.recording.handle_frame(&frame, now);
        if let Err(error) = self.hls.handle_frame(frame, now) {
            tracing::debug!(stream = %self.name, %error, "HLS refuses a frame");
        }
    }

    fn ask_for_keyframes(&mut self, now: Mono) {
        let Some(publisher) = &mut self.publisher else { return };
        let by_plan = self.planner.poll_keyframe_wanted(now);
        if by_plan || self.worker.wants_keyframe() && matches!(self.plan, Some(VideoPlan::Transcode { .. })) {
            publisher.demand_video_keyframe(now);
        }
        for track in publisher.keyframe_requests(now) {
            self.registry.node().request_keyframe(publisher.session.id(), track);
        }
    }

    fn next_deadline(&self) -> Mono {
        let phase = match self.phase {
            Phase::Live => None,
            Phase::Waiting { until } | Phase::Ended { until } => Some(until),
        };
        [
            phase,
            self.publisher.as_ref().and_then(Publisher::poll_timeout),
            self.planner.poll_timeout(),
            self.hls.poll_timeout(),
            self.recording.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .fold(self.next_status, Mono::min)
    }

    /// Where `now` is on the stream's timeline.
    const fn position(&self, now: Mono) -> MediaTime {
        MediaTime::from_nanos(now.nanos_since(self.epoch))
    }

    fn publish_views(&mut self) {
        let news = self.hls.publish();
        if let Some(ready) = news.ready_at {
            let after_ms = ready.saturating_since(self.epoch).as_millis();
            tracing::info!(stream = %self.name, after_ms, "HLS can be watched");
        }
        if let Some(publisher) = self.publisher.as_mut().filter(|_| news.keyframe_wanted) {
            publisher.demand_video_keyframe(relay_node::clock::now());
        }
    }

    fn refresh_status(&mut self, now: Mono) {
        let status = report::report(self, now);
        self.status.send_replace(Arc::new(status));
        self.registry.note_change();
    }
}

fn wall_clock() -> UnixTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
