//! A guarded pipeline with one way in and one way out.

use super::TranscodeError;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Called from GStreamer's threads when there is something to look at.
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() + Send + Sync>);

impl Waker {
    /// A waker that calls `wake`, which must not block.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    fn wake(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}

/// Samples that wait to be pulled before the pipeline is made to wait.
const MAX_WAITING_SAMPLES: u32 = 8;

/// How far a pipeline has come, to notice when it stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Buffers the pipeline has taken from its entry since it was made.
    pub taken: u64,
    /// Buffers that wait at its entry.
    pub waiting: u64,
}

/// What a pipeline complained about, until somebody asks.
#[derive(Debug, Default)]
struct Complaints {
    error: Option<String>,
    warning: Option<String>,
}

/// `appsrc ! {description} ! appsink`, running; stopped when dropped.
#[derive(Debug)]
pub(crate) struct Engine {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    sink: gst_app::AppSink,
    complaints: Arc<Mutex<Complaints>>,
    pushed: u64,
}

impl Engine {
    /// Builds and starts the pipeline.
    pub(crate) fn start(description: &str, caps: &gst::Caps, waker: &Waker) -> Result<Self, TranscodeError> {
        let failed = |reason: String| TranscodeError::Start { what: description.to_owned(), reason };
        let middle =
            gst::parse::bin_from_description(description, true).map_err(|e| failed(e.to_string()))?;
        let source = gst_app::AppSrc::builder().caps(caps).format(gst::Format::Time).build();
        // The queue is bounded by whoever pushes, who knows what may be dropped.
        source.set_max_bytes(0);
        let sink = gst_app::AppSink::builder()
            .sync(false)
            .async_(false)
            .qos(false)
            .enable_last_sample(false)
            .max_buffers(MAX_WAITING_SAMPLES)
            .build();
        let wake = waker.clone();
        let on_sample = move |_: &gst_app::AppSink| {
            wake.wake();
            Ok(gst::FlowSuccess::Ok)
        };
        let wake = waker.clone();
        let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(on_sample).eos(move |_| wake.wake());
        sink.set_callbacks(callbacks.build());

        let pipeline = gst::Pipeline::new();
        pipeline.use_clock(None::<&gst::Clock>);
        let elements = [source.upcast_ref::<gst::Element>(), middle.upcast_ref(), sink.upcast_ref()];
        pipeline.add_many(elements).map_err(|e| failed(e.to_string()))?;
        gst::Element::link_many(elements).map_err(|e| failed(e.to_string()))?;
        let complaints = Arc::new(Mutex::new(Complaints::default()));
        listen(&pipeline, complaints.clone(), waker.clone());
        let engine = Self { pipeline, source, sink, complaints, pushed: 0 };
        match engine.pipeline.set_state(gst::State::Playing) {
            Ok(_) => Ok(engine),
            Err(e) => Err(failed(engine.failure().unwrap_or_else(|| e.to_string()))),
        }
    }

    /// Puts a buffer at the entry. Does not block.
    pub(crate) fn push(&mut self, buffer: gst::Buffer) {
        self.pushed += 1;
        if let Err(e) = self.source.push_buffer(buffer) {
            let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
            complaints.error.get_or_insert_with(|| format!("the pipeline takes nothing more: {e}"));
        }
    }

    /// What comes next at the entry has these caps.
    pub(super) fn set_caps(&self, caps: &gst::Caps) {
        self.source.set_caps(Some(caps));
    }

    /// The next sample at the exit, if there is one.
    pub(super) fn pull(&self) -> Option<gst::Sample> {
        self.sink.try_pull_sample(gst::ClockTime::ZERO)
    }

    /// Says that no more comes in, then pulls what is left, waiting at most `patience` for each sample.
    pub(crate) fn finish(&self, patience: gst::ClockTime) -> Vec<gst::Sample> {
        // An error here means that the pipeline is dead already: nothing is left.
        let _ = self.source.end_of_stream();
        std::iter::from_fn(|| self.sink.try_pull_sample(patience)).collect()
    }

    /// How far the pipeline has come.
    pub(super) fn progress(&self) -> Progress {
        let waiting = self.source.current_level_buffers();
        Progress { taken: self.pushed.saturating_sub(waiting), waiting }
    }

    /// The error that stopped the pipeline, if one has.
    pub(crate) fn failure(&self) -> Option<String> {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).error.clone()
    }

    /// The last warning since this was asked last.
    pub(super) fn take_warning(&self) -> Option<String> {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).warning.take()
    }

    /// The element of that name in the description.
    pub(super) fn element(&self, name: &str) -> Option<gst::Element> {
        self.pipeline.by_name(name)
    }

    /// Puts an event at the entry, between the buffers before and after.
    pub(super) fn send_in_line(&self, event: gst::Event) {
        self.source.send_event(event);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
        // Going to NULL cannot fail, says GStreamer; what it can do is take long, which the heartbeat shows.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Keeps the pipeline's errors and warnings. Messages are looked at where they are posted: nobody runs a main loop here.
fn listen(pipeline: &gst::Pipeline, complaints: Arc<Mutex<Complaints>>, waker: Waker) {
    let Some(bus) = pipeline.bus() else { return };
    bus.set_sync_handler(move |_, message| {
        let describe = |text: String| match message.src() {
            Some(source) => format!("{}: {text}", source.name()),
            None => text,
        };
        match message.view() {
            gst::MessageView::Error(error) => {
                let text = describe(error.error().to_string());
                complaints.lock().unwrap_or_else(PoisonError::into_inner).error.get_or_insert(text);
                waker.wake();
            }
            gst::MessageView::Warning(warning) => {
                let text = describe(warning.error().to_string());
                complaints.lock().unwrap_or_else(PoisonError::into_inner).warning = Some(text);
            }
            _ => {}
        }
        gst::BusSyncReply::Drop
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_pipeline_that_hangs_shows_no_progress_and_one_that_works_does() {
        gst::init().unwrap();
        let caps = gst::Caps::builder("application/x-test").build();
        let (woken, waiter) = mpsc::channel();
        let waker = Waker::new(move || {
            let _ = woken.send(());
        });
        let mut slow = Engine::start("identity sleep-time=500000", &caps, &waker).unwrap();
        for _ in 0..4 {
            slow.push(gst::Buffer::from_slice([1u8]));
        }
        // The first comes out after half a second; until then nothing may have moved but that one.
        waiter.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
        let progress = slow.progress();
        assert!(progress.waiting >= 2 && progress.taken + progress.waiting == 4, "{progress:?}");
        while slow.progress().waiting > 0 {
            waiter.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
        }
        assert_eq!(slow.failure(), None);
    }

    #[test]
    fn a_pipeline_that_cannot_be_built_says_which_element_is_missing() {
        gst::init().unwrap();
        let caps = gst::Caps::builder("application/x-test").build();
        let error = Engine::start("nosuchelement", &caps, &Waker::new(|| {})).unwrap_err();
        assert!(error.to_string().contains("nosuchelement"), "{error}");
    }
}
