//! The hub: one task per stream. Packets in, frames of the source rendition; frames out to worker and outputs.
//!
//! What belongs here: who is publishing now, what is made of it, and when the stream ends. How packets become frames
//! is `skywave_media::ingest`, what is passed through is `skywave_media::fit`, how frames become HLS is
//! [`crate::outputs::hls`].

mod demand;
mod ladder;
mod meter;
mod plan;
mod publisher;
mod report;
mod slate;
pub(crate) mod status;

use crate::outputs::audience::{self, HlsAudience, PlayerKey};
use crate::outputs::hls::{DateRangeChange, HlsDesk, HlsOutput, hls_config};
use crate::outputs::recording::RecordingOutput;
use crate::outputs::thumbnail::ThumbnailOutput;
use crate::registry::{Registry, SessionGuard};
use crate::worker::{Worker, WorkerEvent};
use demand::Demand;
use ladder::{Ladder, SOURCE};
use plan::Resume;
pub(crate) use plan::take_id;
use publisher::Publisher;
use relay_node::clock::ClockPair;
use relay_node::{PublisherEvent, RenditionFeed, TrackDescription};
use skywave_media::codec::{Format, TrackKind};
use skywave_media::fit::{OutputPlanner, VideoPlan};
use skywave_media::frame::Frame;
use skywave_media::hls::{DateRange, DateRangeError, RenditionName, Resource};
use skywave_media::ingest::IngestOutput;
use skywave_media::name::StreamName;
use skywave_media::time::{MediaTime, Mono, UnixTime};
use skywave_media::worker_proto::{OutputId, Slate};
use status::{IngestTotals, Status};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Commands that wait for a stream task; publishers are few.
const COMMAND_QUEUE: usize = 16;

/// Packets taken at a time before the other events get their turn.
const PACKETS_PER_TURN: usize = 64;

/// How often bitrates and the like are brought up to date.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// A hole in an output longer than this is not filled after the worker's restart but shown as a discontinuity.
const MAX_FILLED_GAP: Duration = Duration::from_secs(10);

/// The first playlist of a stream that is encoded on demand: a worker has to start, a keyframe has to come, and a part be filled.
const FIRST_PLAYLIST: Duration = Duration::from_secs(8);

/// What a stream task can be told.
pub(crate) enum Command {
    /// A publisher has connected: it feeds the stream from now on.
    Publish(NewPublisher),
    /// Its events with a date change.
    DateRange(Box<DateRangeChange>, oneshot::Sender<Result<Option<DateRange>, DateRangeError>>),
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
    hls: HlsDesk,
    thumbnail: watch::Receiver<Option<Arc<Resource>>>,
    audience: Arc<Mutex<HlsAudience>>,
    demand: Arc<Demand>,
}

impl StreamHandle {
    /// Where HLS is asked for.
    pub(crate) fn hls(&self) -> HlsDesk {
        self.hls.clone()
    }

    /// Waits for the first playlist, which a stream that is encoded on demand has only once somebody has asked for it.
    pub(crate) async fn await_hls(mut self) {
        self.demand.note();
        self.hls.await_beginning(FIRST_PLAYLIST).await;
    }

    /// The newest thumbnail.
    pub(crate) fn thumbnail(&self) -> Option<Arc<Resource>> {
        self.thumbnail.borrow().clone()
    }

    /// Takes note of an HLS player that has fetched something.
    pub(crate) fn note_player(&self, player: PlayerKey) {
        self.demand.note();
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
    /// The publisher has stayed away: the slate is shown, until then.
    Slate { until: Option<Mono> },
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
    /// The size of the publisher's picture.
    source_size: Option<(u32, u32)>,
    ladder: Ladder,
    slate: Option<Slate>,
    /// Nobody wants anything that would have to be encoded.
    idle: bool,
    demand: Arc<Demand>,
    resume: Resume,
    worker: Worker,
    hls: HlsOutput,
    thumbnail: ThumbnailOutput,
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
    let disk = registry.dvr_disk().cloned();
    let hls = HlsOutput::new(&registry.config().hls, disk, name.clone(), plan::take_id(wall), wall);
    let recording = RecordingOutput::new(registry.library(), &name, plan::take_id(wall), wall);
    let (status, status_reader) = watch::channel(Arc::new(Status::starting(&name)));
    let target_duration = hls_config(&registry.config().hls).target_duration();
    let audience = Arc::new(Mutex::new(HlsAudience::new(Duration::from_secs(target_duration))));
    let thumbnail = ThumbnailOutput::new(Duration::from_millis(registry.config().hls.thumbnail_ms));
    let demand = Arc::<Demand>::default();
    let handle = StreamHandle {
        commands,
        status: status_reader,
        hls: hls.desk(),
        thumbnail: thumbnail.subscribe(),
        audience: Arc::clone(&audience),
        demand: Arc::clone(&demand),
    };
    let stream = Stream {
        phase: Phase::Ended { until: now + STATUS_INTERVAL },
        epoch: now,
        epoch_wall: wall,
        publisher: None,
        planner: OutputPlanner::new(plan::plan_config(registry.config())),
        plan: None,
        source_size: None,
        ladder: Ladder::new(registry.config(), registry.machine().new_key()),
        slate: None,
        idle: false,
        demand,
        resume: Resume::default(),
        worker: Worker::new(name.clone()),
        hls,
        thumbnail,
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
                    Some(Command::DateRange(change, answer)) => {
                        let outcome = self.hls.change_date_range(*change, relay_node::clock::now());
                        // Who asked may have hung up; the change stays.
                        let _gone = answer.send(outcome);
                    }
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
                () = self.demand.woken() => {}
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
        tracing::info!(stream = %self.name, session = new.session.id().short(), video, audio, before = ?self.phase, "publisher connected");
        match self.phase {
            Phase::Ended { .. } => self.begin_take(now),
            Phase::Waiting { .. } => self.resume = Resume::default(),
            Phase::Slate { .. } => {
                self.end_slate(now);
                self.resume = Resume::default();
            }
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
        self.phase = Phase::Live;
        self.forget_publisher();
        self.rendition.stand_in(false);
        self.recording.expect_published(new.tracks.iter().map(|track| track.kind));
        self.publisher = Some(Publisher::new(new, self.epoch, now, wall_clock()));
        self.set_idle(!self.is_wanted(now));
        self.expect_lanes(now);
        if !keeps_plan {
            self.plan_ladder(now);
        }
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
            tracing::info!(stream = %self.name, session = publisher.session.id().short(), reason, "publisher gone");
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
        self.slate = None;
        self.worker.stop();
        self.registry.machine().forget(self.ladder.key());
        self.thumbnail.clear();
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
            WorkerEvent::Frame(id, frame) => {
                // What was on its way when the ladder changed is wanted no more.
                if frame.kind() == TrackKind::Audio || self.ladder.makes(id) {
                    self.offer_rendition(id, &frame, now);
                    self.output(id, frame, now);
                }
            }
            WorkerEvent::Thumbnail(pts, jpeg) => self.thumbnail.handle_jpeg(pts, jpeg),
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
                self.resume.keep_video(|id| id == SOURCE || self.ladder.makes(id));
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
        let phase = self.phase;
        match phase {
            Phase::Waiting { until } if now >= until && !self.begin_slate(now) => {
                self.end("nobody publishes it any more");
            }
            Phase::Slate { until: Some(until) } if now >= until => self.end("the slate's time is over"),
            _ => {}
        }
        if let Some(publisher) = &mut self.publisher {
            publisher.ingest.handle_timeout(now);
        }
        self.drain_ingest();
        self.review_demand(now);
        self.planner.handle_timeout(now);
        self.apply_plan(now);
        self.hls.handle_timeout(now);
        self.recording.handle_timeout(now);
        self.ask_for_keyframes(now);
        if now >= self.next_status {
            self.next_status = now + STATUS_INTERVAL;
            self.check_ladder(now);
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
                        if publisher.order.poll_reordered() {
                            tracing::info!(stream = %self.name, "B-frames: WebRTC viewers get the worker's pictures");
                            self.rendition.stand_in(true);
                        }
                    }
                    self.recording.handle_published_frame(&frame, now);
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
            self.note_size(&frame, now);
            self.planner.handle_frame(&frame, now);
            self.apply_plan(now);
            if self.plan == Some(VideoPlan::Passthrough) {
                // Thumbnails alone are made of keyframes.
                if frame.keyframe || !self.ladder.made().is_empty() {
                    self.worker.send(&frame);
                }
                if !self.idle {
                    self.output(SOURCE, frame, now);
                }
                return;
            }
        }
        self.worker.send(&frame);
    }

    /// What is encoded beside a passed-through picture follows its size.
    fn note_size(&mut self, frame: &Frame, now: Mono) {
        let Format::Video(format) = &*frame.format else { return };
        let size = Some((format.width, format.height));
        if size == self.source_size {
            return;
        }
        self.source_size = size;
        if self.plan == Some(VideoPlan::Passthrough) {
            self.plan_ladder(now);
            self.expect_ladder(now);
            self.configure_worker(now);
        }
    }

    /// Takes over what the planner has decided.
    fn apply_plan(&mut self, now: Mono) {
        while let Some(plan) = self.planner.poll_plan() {
            tracing::info!(stream = %self.name, ?plan, reason = ?self.planner.reason(), "video output planned");
            self.plan = Some(plan);
            self.plan_ladder(now);
            self.expect_ladder(now);
            self.configure_worker(now);
        }
    }

    fn configure_worker(&mut self, now: Mono) {
        if self.idle || self.publisher.is_none() && self.slate.is_none() {
            return;
        }
        self.resume.keep_video(|id| id == SOURCE || self.ladder.makes(id));
        let config = plan::worker_config(&plan::Wanted {
            stream: &self.name,
            config: self.registry.config(),
            epoch: self.epoch,
            plan: self.plan,
            made: self.ladder.made(),
            picture: match self.plan {
                Some(VideoPlan::Transcode { width, height }) => Some((width, height)),
                _ => self.source_size,
            },
            slate: self.slate.as_ref(),
            audio: self.hls.expects(TrackKind::Audio),
            resume: &self.resume,
        });
        if config.video.is_empty() && config.audio.is_none() && config.thumbnail.is_none() {
            self.worker.stop();
            return;
        }
        tracing::debug!(stream = %self.name, outputs = config.video.len(), audio = config.audio.is_some(), pace = ?config.pace, at = ?now, "worker configured");
        self.worker.configure(config);
    }

    /// Viewers get pictures as the worker makes them; passed-through ones they have from the publisher's own packets.
    fn offer_rendition(&mut self, id: OutputId, frame: &Frame, now: Mono) {
        let best = self.ladder.made().first().is_some_and(|made| made.id == id);
        if frame.kind() == TrackKind::Video
            && best
            && matches!(self.plan, Some(VideoPlan::Transcode { .. }))
            && let Err(error) = self.rendition.push(frame, self.epoch, now)
        {
            tracing::debug!(stream = %self.name, %error, "a frame cannot be sent to WebRTC viewers");
        }
    }

    /// Whether frames of this output go into recordings: all sound, and the largest picture that there is. A slate is no broadcast.
    fn is_recorded(&self, id: OutputId, kind: TrackKind) -> bool {
        let largest = match self.plan {
            Some(VideoPlan::Passthrough) => SOURCE,
            _ => self.ladder.made().first().map_or(SOURCE, |made| made.id),
        };
        self.slate.is_none() && (kind == TrackKind::Audio || id == largest)
    }

    /// A frame of an output rendition: to every output.
    fn output(&mut self, id: OutputId, frame: Frame, now: Mono) {
        self.resume.note(id, &frame);
        if self.is_recorded(id, frame.kind()) {
            self.recording.handle_frame(&frame, now);
        }
        let rendition: Option<RenditionName> = match frame.kind() {
            TrackKind::Video => self.ladder.name(id).cloned(),
            TrackKind::Audio => Some(HlsOutput::audio()),
        };
        let Some(rendition) = rendition else { return };
        if let Err(error) = self.hls.handle_frame(&rendition, frame, now) {
            tracing::debug!(stream = %self.name, %error, "HLS refuses a frame");
        }
    }

    fn ask_for_keyframes(&mut self, now: Mono) {
        let Some(publisher) = &mut self.publisher else { return };
        let by_plan = self.planner.poll_keyframe_wanted(now);
        if by_plan || self.worker.wants_keyframe() && !self.ladder.made().is_empty() {
            publisher.demand_video_keyframe(now);
        }
        for track in publisher.keyframe_requests(now) {
            self.registry.node().request_keyframe(publisher.session.id(), track);
        }
    }

    fn next_deadline(&self) -> Mono {
        let phase = match self.phase {
            Phase::Live => None,
            Phase::Slate { until } => until,
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

/// The wall clock now.
pub(crate) fn wall_clock() -> UnixTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
