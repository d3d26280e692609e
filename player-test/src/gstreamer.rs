//! GStreamer's `playbin`, inside the test's process, with sinks that count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use gstreamer::prelude::*;
use gstreamer::{Element, ElementFactory, MessageView, PadProbeReturn, PadProbeType, State};

use crate::viewing::Played;
use crate::wait;

/// A pipeline that is set to NULL when this goes.
struct Playing(Element);

impl Drop for Playing {
    fn drop(&mut self) {
        let _ = self.0.set_state(State::Null);
    }
}

/// Plays `url` in real time until `wanted` pictures and sounds have reached the sinks, and tells how many did.
///
/// # Errors
/// When GStreamer reports an error or the end of the stream, or less has come after `limit`.
pub async fn play(url: &str, wanted: Played, limit: Duration) -> Result<Played> {
    gstreamer::init()?;
    let playbin =
        ElementFactory::make("playbin").property("uri", url).build().context("playbin is missing")?;
    let pictures = counting_sink(&playbin, "video-sink")?;
    let sounds = counting_sink(&playbin, "audio-sink")?;
    let bus = playbin.bus().context("a pipeline has a bus")?;
    let playing = Playing(playbin);
    playing.0.set_state(State::Playing).context("playbin does not start")?;
    let played =
        || Played { pictures: pictures.load(Ordering::Relaxed), sounds: sounds.load(Ordering::Relaxed) };
    let found = wait::until(&format!("playbin to show {wanted:?}"), limit, async || {
        while let Some(message) = bus.pop() {
            match message.view() {
                MessageView::Error(error) => {
                    let debug = error.debug().unwrap_or_default();
                    return Ok(Some(Err(anyhow!("playbin: {} ({debug})", error.error()))));
                }
                MessageView::Eos(_) => {
                    return Ok(Some(Err(anyhow!("the stream ended after {:?}", played()))));
                }
                _ => {}
            }
        }
        let played = played();
        if played.reaches(&wanted) { Ok(Some(Ok(played))) } else { bail!("so far {played:?}") }
    })
    .await?;
    // Stopping joins streaming threads that may wait for the network: not on the runtime's thread.
    tokio::task::spawn_blocking(move || drop(playing)).await?;
    found
}

/// Gives `playbin` a sink that keeps time and counts its buffers.
fn counting_sink(playbin: &Element, property: &str) -> Result<Arc<AtomicU64>> {
    let sink = ElementFactory::make("fakesink").property("sync", true).build()?;
    let count = Arc::new(AtomicU64::new(0));
    let counter = count.clone();
    let pad = sink.static_pad("sink").context("a sink has a pad")?;
    pad.add_probe(PadProbeType::BUFFER, move |_, _| {
        counter.fetch_add(1, Ordering::Relaxed);
        PadProbeReturn::Ok
    })
    .context("no probe")?;
    playbin.set_property(property, &sink);
    Ok(count)
}
