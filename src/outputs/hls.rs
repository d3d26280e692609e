//! The HLS output of one stream: frames go into the packager, snapshots of its window come out for HTTP.

use super::dvr::{DvrDisk, DvrTake};
use super::waiting::{Full, WaitingRoom};
use crate::config;
use bytes::Bytes;
use skywave_media::codec::{Codec, Format, TrackKind};
use skywave_media::frame::Frame;
use skywave_media::h264::with_parameter_sets;
use skywave_media::hls::{
    Awaited, DateRange, DateRangeError, DateRangeUpdate, HlsConfig, HlsError, HlsEvent, HlsView, Lookup,
    Packager, RenditionName, Stored, TakeId,
};
use skywave_media::name::StreamName;
use skywave_media::time::{Mono, UnixTime};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// What [`HlsOutput::publish`] has to say.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// The multivariant playlist has just come to be, at this time.
    pub(crate) ready_at: Option<Mono>,
    /// Video frames are dropped until the next keyframe.
    pub(crate) keyframe_wanted: bool,
}

/// Feeds the packager and publishes its view.
pub(crate) struct HlsOutput {
    stream: StreamName,
    packager: Packager,
    view: watch::Sender<Arc<HlsView>>,
    room: Arc<WaitingRoom>,
    renditions: Vec<(TrackKind, RenditionName)>,
    changed_at: Mono,
    ready: bool,
    disk: Option<DvrDisk>,
    /// Where old segments go; `None` while all stay in memory.
    dvr: Option<DvrTake>,
}

/// A change of a stream's events with a date.
#[derive(Debug)]
pub(crate) enum DateRangeChange {
    /// A new one.
    Add(DateRange),
    /// More is known of the one with this id.
    Update(String, DateRangeUpdate),
    /// The one with this id is taken back.
    Remove(String),
}

/// Where HTTP asks for what players want of one stream.
#[derive(Debug, Clone)]
pub(crate) struct HlsDesk {
    stream: StreamName,
    view: watch::Receiver<Arc<HlsView>>,
    room: Arc<WaitingRoom>,
    disk: Option<DvrDisk>,
}

/// What came of waiting at the desk.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It was looked up at last.
    Now(Lookup),
    /// It did not come in time.
    Late(Awaited),
    /// Too many wait.
    Full(Full),
}

/// How long the first playlists of a stream are waited for.
const BEGINNING_PATIENCE: Duration = Duration::from_secs(3);

impl HlsDesk {
    /// The newest view.
    pub(crate) fn view(&self) -> Arc<HlsView> {
        Arc::clone(&self.view.borrow())
    }

    /// Looks a path up, and waits for what is to come: never answered early, and late by no more than the turns of those who
    /// came before ([`WaitingRoom`]).
    pub(crate) async fn get(&self, path: &str, query: &str) -> Answer {
        let began = Instant::now();
        loop {
            let view = self.view();
            let awaited = match view.get(path, query) {
                Lookup::Later(awaited) => awaited,
                there => return Answer::Now(there),
            };
            let patience = match awaited {
                Awaited::Multivariant | Awaited::Beginning(_) => BEGINNING_PATIENCE,
                Awaited::Playlist { .. } | Awaited::Part { .. } => view.config().longest_wait(),
            };
            let place = match self.room.enter(awaited.clone()) {
                Ok(place) => place,
                Err(full) => return Answer::Full(full),
            };
            // It may have come between the look and the place, and then nobody calls.
            let is_there = self.view.borrow().has(&awaited);
            let in_time = match is_there {
                true => began.elapsed() < patience,
                false => tokio::time::timeout_at(began + patience, place).await.is_ok(),
            };
            if !in_time {
                return Answer::Late(awaited);
            }
        }
    }

    /// Waits for the multivariant playlist, but no longer than `patience`: what is there then, the view says.
    pub(crate) async fn await_beginning(&mut self, patience: Duration) {
        let is_there = |view: &Arc<HlsView>| view.has(&Awaited::Multivariant);
        let _late_or_ended = tokio::time::timeout(patience, self.view.wait_for(is_there)).await;
    }

    /// The bytes of a segment on disk.
    ///
    /// # Errors
    /// When it is gone meanwhile, or cannot be read.
    pub(crate) async fn read(&self, take: &TakeId, stored: &Stored) -> io::Result<Bytes> {
        let disk = self.disk.as_ref().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let path = disk.path(&self.stream, take, &stored.rendition, stored.msn);
        tokio::fs::read(path).await.map(Bytes::from)
    }
}

impl HlsOutput {
    /// An empty playlist whose timeline begins at `epoch_wall`, and the task that lets its players go.
    pub(crate) fn new(
        config: &config::Hls,
        disk: Option<DvrDisk>,
        stream: StreamName,
        take: TakeId,
        epoch_wall: UnixTime,
    ) -> Self {
        let dvr = disk.as_ref().map(|disk| disk.take(&stream, &take));
        let packager = Packager::new(hls_config(config), take, epoch_wall);
        let (view, reader) = watch::channel(packager.view());
        let room = Arc::new(WaitingRoom::default());
        tokio::spawn(Arc::clone(&room).run(reader));
        Self {
            stream,
            packager,
            view,
            room,
            renditions: Vec::new(),
            changed_at: Mono::default(),
            ready: false,
            disk,
            dvr,
        }
    }

    /// A new take under the same URLs.
    pub(crate) fn restart(&mut self, config: &config::Hls, take: TakeId, epoch_wall: UnixTime) {
        self.dvr = self.disk.as_ref().map(|disk| disk.take(&self.stream, &take));
        self.packager = Packager::new(hls_config(config), take, epoch_wall);
        self.renditions.clear();
        self.ready = false;
    }

    /// Where HTTP asks.
    pub(crate) fn desk(&self) -> HlsDesk {
        HlsDesk {
            stream: self.stream.clone(),
            view: self.view.subscribe(),
            room: Arc::clone(&self.room),
            disk: self.disk.clone(),
        }
    }

    /// Changes an event with a date; what is there then, or what was taken back.
    pub(crate) fn change_date_range(
        &mut self,
        change: DateRangeChange,
        now: Mono,
    ) -> Result<Option<DateRange>, DateRangeError> {
        match change {
            DateRangeChange::Add(range) => {
                let range = range.checked()?;
                self.packager.add_date_range(range.clone(), now)?;
                Ok(Some(range))
            }
            DateRangeChange::Update(id, update) => {
                self.packager.update_date_range(&id, update, now).map(Some)
            }
            DateRangeChange::Remove(id) => self.packager.remove_date_range(&id, now).map(|()| None),
        }
    }

    /// The name of the audio rendition.
    pub(crate) fn audio() -> RenditionName {
        RenditionName::new("audio").expect("a lower-case word")
    }

    /// Says that frames of this rendition will come.
    pub(crate) fn expect(&mut self, kind: TrackKind, name: &RenditionName, now: Mono) {
        if !self.renditions.iter().any(|(_, one)| one == name) {
            let name = name.clone();
            if let Err(error) = self.packager.add_rendition(name.clone(), kind, now) {
                tracing::error!(rendition = %name, %error, "HLS refuses a rendition");
                return;
            }
            self.renditions.push((kind, name));
        }
    }

    /// Says that no frames of this rendition will come for a while: the others do not wait for it, and new players are not told of it.
    pub(crate) fn pause(&mut self, name: &RenditionName, now: Mono) {
        self.packager.handle_pause(name, now);
    }

    /// Whether players have been let in.
    pub(crate) const fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether this lane has a rendition.
    pub(crate) fn expects(&self, kind: TrackKind) -> bool {
        self.renditions.iter().any(|(one, _)| *one == kind)
    }

    /// The lanes and their renditions, in the order in which they came.
    pub(crate) fn renditions(&self) -> impl Iterator<Item = (TrackKind, &RenditionName)> {
        self.renditions.iter().map(|(kind, name)| (*kind, name))
    }

    /// Takes one H.264 or AAC frame of a rendition, expected or not. The error says why it cannot be packaged.
    pub(crate) fn handle_frame(
        &mut self,
        rendition: &RenditionName,
        frame: Frame,
        now: Mono,
    ) -> Result<(), HlsError> {
        self.changed_at = now;
        self.expect(frame.kind(), rendition, now);
        let frame = with_parameter_sets_in_band(frame);
        self.packager.handle_frame(rendition, frame, now)
    }

    /// What follows does not continue what was: another publisher, or a hole.
    pub(crate) fn handle_discontinuity(&mut self, now: Mono) {
        self.packager.handle_discontinuity(now);
    }

    /// Nothing more comes.
    pub(crate) fn end(&mut self, now: Mono) {
        self.packager.end(now);
    }

    pub(crate) fn handle_timeout(&mut self, now: Mono) {
        while let Some(written) = self.dvr.as_mut().and_then(DvrTake::poll) {
            if let Err(error) = &written.outcome {
                let (stream, msn) = (&self.stream, written.msn);
                tracing::error!(%stream, msn, %error, "an old segment cannot be stored: the window ends here");
            }
            self.packager.handle_stored(&written.rendition, written.msn, written.outcome.is_ok(), now);
        }
        self.packager.handle_timeout(now);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Mono> {
        self.packager.poll_timeout()
    }

    /// Lets HTTP see what has changed, and says what the stream should know of it.
    pub(crate) fn publish(&mut self) -> News {
        let mut news = News::default();
        while let Some(event) = self.packager.poll_event() {
            match event {
                HlsEvent::Ready => {
                    self.ready = true;
                    news.ready_at = Some(self.changed_at);
                }
                HlsEvent::KeyframeWanted { .. } => news.keyframe_wanted = true,
                HlsEvent::Store { rendition, segment } => {
                    if let Some(dvr) = &self.dvr {
                        dvr.write(&rendition, segment);
                    }
                }
                HlsEvent::Forget { rendition, msn } => {
                    if let Some(dvr) = &self.dvr {
                        dvr.remove(&rendition, msn);
                    }
                }
                _ => {}
            }
        }
        let view = self.packager.view();
        self.view.send_if_modified(|seen| {
            let changed = !Arc::ptr_eq(seen, &view);
            *seen = view;
            changed
        });
        news
    }
}

/// Keyframes carry their parameter sets, for players that read the first initialisation segment only.
fn with_parameter_sets_in_band(mut frame: Frame) -> Frame {
    if let (Format::Video(video), true) = (&*frame.format, frame.keyframe)
        && video.codec == Codec::H264
        && let Ok(data) = with_parameter_sets(&video.config, &frame.data)
    {
        frame.data = data;
    }
    frame
}

/// How long the first playlist waits for pictures that the publisher has announced. hls.js reads the multivariant playlist
/// once, so a lane that is missing there stays missing for that viewer; a browser on a busy machine may take seconds to
/// send its first picture. Sound is there long before; where it is not, pictures wait for it for `sound_patience` only.
const LANE_PATIENCE: Duration = Duration::from_secs(5);

/// The packager's part of the configuration.
pub(crate) fn hls_config(config: &config::Hls) -> HlsConfig {
    let wished = HlsConfig {
        segment: Duration::from_millis(config.segment_ms),
        part: Duration::from_millis(config.part_ms),
        window: Duration::from_millis(config.dvr_ms),
        store_after: (!config.dvr_dir.is_empty()).then(|| Duration::from_millis(config.dvr_memory_ms)),
        max_stored_bytes: config.dvr_max_bytes,
        max_bytes: config.window_max_bytes,
        announce_patience: LANE_PATIENCE,
        audio_only: config.audio_only,
        ..HlsConfig::default()
    };
    wished.sane()
}
