//! The HLS output of one stream: frames go into the packager, snapshots of its window come out for HTTP.

use crate::config;
use skywave_media::codec::{Codec, Format, TrackKind};
use skywave_media::frame::Frame;
use skywave_media::h264::with_parameter_sets;
use skywave_media::hls::{HlsConfig, HlsError, HlsEvent, HlsView, Packager, RenditionName, TakeId};
use skywave_media::time::{Mono, UnixTime};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

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
    packager: Packager,
    view: watch::Sender<Arc<HlsView>>,
    renditions: Vec<(TrackKind, RenditionName)>,
    changed_at: Mono,
    ready: bool,
}

impl HlsOutput {
    /// An empty playlist whose timeline begins at `epoch_wall`.
    pub(crate) fn new(config: &config::Hls, take: TakeId, epoch_wall: UnixTime) -> Self {
        let packager = Packager::new(hls_config(config), take, epoch_wall);
        let (view, _) = watch::channel(packager.view());
        Self { packager, view, renditions: Vec::new(), changed_at: Mono::default(), ready: false }
    }

    /// A new take under the same URLs.
    pub(crate) fn restart(&mut self, config: &config::Hls, take: TakeId, epoch_wall: UnixTime) {
        self.packager = Packager::new(hls_config(config), take, epoch_wall);
        self.renditions.clear();
        self.ready = false;
    }

    /// Where HTTP reads the newest window.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<HlsView>> {
        self.view.subscribe()
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

/// How long the first playlist waits for a lane that the publisher has announced. hls.js reads the multivariant playlist
/// once, so a lane that is missing there stays missing for that viewer; a browser on a busy machine may take seconds to
/// send its first picture.
const LANE_PATIENCE: Duration = Duration::from_secs(5);

/// The packager's part of the configuration.
pub(crate) fn hls_config(config: &config::Hls) -> HlsConfig {
    let wished = HlsConfig {
        segment: Duration::from_millis(config.segment_ms),
        part: Duration::from_millis(config.part_ms),
        window: Duration::from_millis(config.dvr_ms),
        max_bytes: config.window_max_bytes,
        announce_patience: LANE_PATIENCE,
        ..HlsConfig::default()
    };
    wished.sane()
}
