//! Progress bars of long work, on standard error while that is a terminal; otherwise there are none.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::Read;
use std::time::Duration;

/// How often a bar moves by itself.
const TICK: Duration = Duration::from_millis(120);

/// A bar; dropping it takes it off the screen.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// For work whose length nobody knows.
    pub(super) fn waiting(what: &str) -> Self {
        // A template of ours is good; a bad one would leave the default.
        let style = ProgressStyle::with_template("{spinner} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = Self(ProgressBar::new_spinner().with_style(style).with_message(what.to_owned()));
        bar.0.enable_steady_tick(TICK);
        bar
    }

    /// For so many bytes.
    pub(super) fn bytes(what: &str, total: u64) -> Self {
        Self::new(what, total, "{msg} {wide_bar} {bytes} of {total_bytes}, {eta} left")
    }

    /// For so much of a film.
    pub(super) fn time(what: &str, total: Duration) -> Self {
        let total = u64::try_from(total.as_millis()).unwrap_or(u64::MAX);
        Self::new(what, total, "{msg} {wide_bar} {percent} %, {eta} left")
    }

    fn new(what: &str, total: u64, template: &str) -> Self {
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = Self(ProgressBar::new(total).with_style(style).with_message(what.to_owned()));
        bar.0.enable_steady_tick(TICK);
        bar
    }

    /// So far it is, for [`Self::time`].
    pub(super) fn reach(&self, at: Duration) {
        self.0.set_position(u64::try_from(at.as_millis()).unwrap_or(u64::MAX));
    }

    /// What is done now.
    pub(super) fn say(&self, what: &str) {
        self.0.set_message(what.to_owned());
    }

    /// Counts what is read, for [`Self::bytes`].
    pub(super) fn reading<R: Read>(&self, inner: R) -> impl Read + use<R> {
        self.0.wrap_read(inner)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
