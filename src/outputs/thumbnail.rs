//! The newest small picture of a stream, for `/hls/{stream}/thumb.jpg` and the dashboard.

use bytes::Bytes;
use skywave_media::hls::{CachePolicy, Resource};
use skywave_media::time::MediaTime;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Where the stream's task puts thumbnails, and HTTP reads them.
pub(crate) struct ThumbnailOutput {
    interval: Duration,
    newest: watch::Sender<Option<Arc<Resource>>>,
}

impl ThumbnailOutput {
    /// No picture yet of a stream that makes one in each `interval`.
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, newest: watch::Sender::new(None) }
    }

    /// Where HTTP reads the newest one.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Arc<Resource>>> {
        self.newest.subscribe()
    }

    /// A JPEG has come of what is shown at `pts`.
    pub(crate) fn handle_jpeg(&self, pts: MediaTime, jpeg: Bytes) {
        let mut hasher = DefaultHasher::new();
        (pts.as_nanos(), &jpeg).hash(&mut hasher);
        let resource = Resource {
            content_type: "image/jpeg",
            cache: CachePolicy::Short(self.interval / 2),
            etag: format!("\"{:016x}\"", hasher.finish()),
            body: jpeg,
        };
        self.newest.send_replace(Some(Arc::new(resource)));
    }

    /// Whether there is one.
    pub(crate) fn is_there(&self) -> bool {
        self.newest.borrow().is_some()
    }

    /// What was shown is shown no more.
    pub(crate) fn clear(&self) {
        self.newest.send_replace(None);
    }
}
