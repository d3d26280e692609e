//! Starting and stopping viewers from tests.

use gstreamer::glib;
use skywave_gst::whep_client::{PlayError, PlayEvent, PlayOptions, PlayStats, PlaySummary, play};
use std::sync::Once;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// Nothing in these tests takes longer than this unless it hangs. libnice gives up on a server that answers none of its checks after
/// about 45 s.
const LIMIT: Duration = Duration::from_secs(100);

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

/// A running viewer.
pub struct Playing {
    events: mpsc::UnboundedReceiver<PlayEvent>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<PlaySummary, PlayError>>,
}

impl Playing {
    pub fn start(options: PlayOptions) -> Self {
        init();
        let (sender, events) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(play(options, move |event| drop(sender.send(event)), async move {
            // Dropped without a word: the test wants it to end by itself.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        }));
        Self { events, stop, task }
    }

    /// Waits for the first reading that `wanted` takes.
    pub async fn reads(&mut self, what: &str, wanted: impl Fn(&PlayStats) -> bool) -> PlayStats {
        let reading = async {
            loop {
                match self.events.recv().await {
                    Some(PlayEvent::Stats(stats)) if wanted(&stats) => return Some(stats),
                    Some(_) => {}
                    None => return None,
                }
            }
        };
        match tokio::time::timeout(LIMIT, reading).await.unwrap_or_else(|_| panic!("{what} did not come")) {
            Some(stats) => stats,
            None => panic!("it ended before: {:?}", (&mut self.task).await),
        }
    }

    /// Stops as Ctrl-C does.
    pub async fn stop(self) -> PlaySummary {
        self.stop.send(()).unwrap();
        tokio::time::timeout(LIMIT, self.task).await.expect("it stops").unwrap().unwrap()
    }

    /// Waits until it ends by itself.
    pub async fn ends(self) -> Result<PlaySummary, PlayError> {
        let Self { stop, task, .. } = self;
        let ended = tokio::time::timeout(LIMIT, task).await.expect("it ends").unwrap();
        drop(stop);
        ended
    }
}

/// Pictures decoded so far.
pub fn frames(stats: &PlayStats) -> u64 {
    stats.video.map_or(0, |video| video.frames)
}

/// Buffers of sound decoded so far.
pub fn buffers(stats: &PlayStats) -> u64 {
    stats.audio.map_or(0, |audio| audio.buffers)
}
