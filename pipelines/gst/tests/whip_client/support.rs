//! Starting and stopping publications from tests.

use gstreamer::glib;
use skywave_gst::whip_client::{
    PublishError, PublishEvent, PublishOptions, PublishSummary, Source, VideoChoice, VideoEncoding, publish,
};
use skywave_media::codec::Codec;
use std::sync::Once;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Nothing in these tests takes longer than this unless it hangs.
pub const LIMIT: Duration = Duration::from_secs(40);

/// Warnings and criticals of GLib and GStreamer end the test, as `G_DEBUG=fatal_warnings` would.
pub fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        glib::log_set_default_handler(|domain, level, text| {
            if matches!(level, glib::LogLevel::Error | glib::LogLevel::Critical | glib::LogLevel::Warning) {
                eprintln!("{}: {text}", domain.unwrap_or("?"));
                std::process::abort();
            }
        });
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().init();
        gstreamer::init().unwrap();
    });
}

/// A small test picture, which two cores can encode and decode many times over.
pub fn small(codec: Codec) -> VideoChoice {
    VideoChoice::Encode(VideoEncoding {
        codec,
        bitrate_bps: 400_000,
        size: Some((320, 180)),
        ..VideoEncoding::default()
    })
}

/// The test source in VP8, small.
pub fn options(url: &str) -> PublishOptions {
    PublishOptions { video: small(Codec::Vp8), ..PublishOptions::new(Source::Test, url) }
}

/// A running publication.
pub struct Publishing {
    pub events: mpsc::UnboundedReceiver<PublishEvent>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<PublishSummary, PublishError>>,
}

impl Publishing {
    pub fn start(options: PublishOptions) -> Self {
        init();
        let (sender, events) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(publish(options, move |event| drop(sender.send(event)), async move {
            // Dropped without a word: the test wants the publication to end by itself.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        }));
        Self { events, stop, task }
    }

    /// Waits for an event of this kind; everything before is skipped.
    pub async fn wait_for(&mut self, wanted: impl Fn(&PublishEvent) -> bool) -> PublishEvent {
        let event = async {
            loop {
                match self.events.recv().await {
                    Some(event) if wanted(&event) => return Some(event),
                    Some(_) => {}
                    None => return None,
                }
            }
        };
        match tokio::time::timeout(LIMIT, event).await.expect("the event comes in time") {
            Some(event) => event,
            None => panic!("publishing ended before: {:?}", (&mut self.task).await),
        }
    }

    pub async fn connected(&mut self) {
        self.wait_for(|e| matches!(e, PublishEvent::Connected { .. })).await;
    }

    /// Stops as Ctrl-C does.
    pub async fn stop(self) -> PublishSummary {
        self.stop.send(()).unwrap();
        tokio::time::timeout(LIMIT, self.task).await.expect("it stops").unwrap().unwrap()
    }

    /// Waits until publishing ends by itself.
    pub async fn ends(self) -> Result<PublishSummary, PublishError> {
        let Self { stop, task, .. } = self;
        drop(stop);
        tokio::time::timeout(LIMIT, task).await.expect("it ends").unwrap()
    }
}

/// Waits until what streaming threads write down says so.
pub async fn wait_until(what: &str, done: impl Fn() -> bool) {
    let waiting = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(LIMIT, waiting).await.is_ok(), "{what} did not come");
}
