//! A pipeline that is set to NULL when dropped, and the bus messages that matter, as a channel.

use gstreamer as gst;
use gstreamer::prelude::*;
use tokio::sync::mpsc;

/// What a pipeline reports about itself.
#[derive(Debug)]
pub(crate) enum BusNote {
    /// Every sink has seen the end of the stream.
    EndOfStream,
    /// An element failed for good.
    Failed(String),
}

/// A pipeline whose `Drop` sets it to NULL, so that no thread and no socket outlives it.
pub(crate) struct PipelineGuard {
    pipeline: gst::Pipeline,
}

impl PipelineGuard {
    /// A new pipeline on the system's monotonic clock, and its notes. Warnings go to the log.
    pub(crate) fn new(name: &'static str) -> (Self, mpsc::UnboundedReceiver<BusNote>) {
        let pipeline = gst::Pipeline::with_name(name);
        pipeline.use_clock(Some(&gst::SystemClock::obtain()));
        let (sender, notes) = mpsc::unbounded_channel();
        let bus = pipeline.bus().expect("a pipeline has a bus");
        let weak = pipeline.downgrade();
        // A sync handler, because nobody runs a GLib main loop. It drops every message: a bus nobody reads grows.
        bus.set_sync_handler(move |_, message| {
            match message.view() {
                gst::MessageView::Eos(_) => drop(sender.send(BusNote::EndOfStream)),
                gst::MessageView::Error(e) => {
                    let reason = describe(e.src(), &e.error(), e.debug().as_deref());
                    tracing::debug!(pipeline = name, %reason, "pipeline failed");
                    // Nobody listens any more only when the pipeline is being dropped.
                    drop(sender.send(BusNote::Failed(reason)));
                }
                gst::MessageView::Warning(w) => {
                    let reason = describe(w.src(), &w.error(), w.debug().as_deref());
                    tracing::warn!(pipeline = name, %reason, "pipeline warns");
                }
                gst::MessageView::Latency(_) => {
                    if let Some(pipeline) = weak.upgrade() {
                        pipeline.call_async(|pipeline| {
                            if let Err(error) = pipeline.recalculate_latency() {
                                tracing::debug!(%error, "latency not redistributed");
                            }
                        });
                    }
                }
                _ => {}
            }
            gst::BusSyncReply::Drop
        });
        (Self { pipeline }, notes)
    }

    /// Adds and links `elements` in order.
    pub(crate) fn add_chain(&self, elements: &[&gst::Element]) -> Result<(), gst::glib::BoolError> {
        self.pipeline.add_many(elements)?;
        gst::Element::link_many(elements)
    }
}

impl std::ops::Deref for PipelineGuard {
    type Target = gst::Pipeline;
    fn deref(&self) -> &gst::Pipeline {
        &self.pipeline
    }
}

impl Drop for PipelineGuard {
    fn drop(&mut self) {
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::warn!(pipeline = %self.pipeline.name(), "the pipeline refused to stop");
        }
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
    }
}

/// One line about an error message: the element, the error, and the last line of the debug text (the cause).
fn describe(source: Option<&gst::Object>, error: &gst::glib::Error, debug: Option<&str>) -> String {
    let element = source.map_or_else(|| "pipeline".into(), |s| s.name().to_string());
    let cause = debug.and_then(|d| d.lines().map(str::trim).rfind(|l| !l.is_empty())).unwrap_or_default();
    let message = error.message();
    if cause.is_empty() || cause == message {
        format!("{element}: {message}")
    } else {
        format!("{element}: {message} [{cause}]")
    }
}

/// Drops what holds a pipeline on a thread of its own: stopping joins the pipeline's threads, and others' tasks need this one.
pub(crate) async fn drop_elsewhere<T: Send + 'static>(pipeline: Option<T>) {
    if let Some(pipeline) = pipeline
        && tokio::task::spawn_blocking(move || drop(pipeline)).await.is_err()
    {
        tracing::warn!("a pipeline panicked while it stopped");
    }
}
