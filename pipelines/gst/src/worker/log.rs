//! Lines on standard error, which the server forwards to its log with the stream's name.

use gstreamer as gst;
use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Lines GStreamer may write in one [`WINDOW`]: a decoder has something to say about every frame of garbage.
const MAX_LINES: u32 = 20;

/// See [`MAX_LINES`].
const WINDOW: Duration = Duration::from_secs(1);

/// Writes one line: a level, a space, and text in which line ends became spaces.
pub(crate) fn line(level: &str, text: &str) {
    let text = text.replace(['\n', '\r'], " ");
    // Nothing can be done, and nobody be told, when standard error is closed.
    let _ = writeln!(std::io::stderr().lock(), "{level} {text}");
}

/// Sends GStreamer's errors and warnings to standard error, a bounded number of lines a second.
pub(crate) fn install() {
    gst::log::remove_default_log_function();
    gst::log::set_default_threshold(gst::DebugLevel::Warning);
    gst::log::set_active(true);
    let budget = Mutex::new(Budget::default());
    gst::log::add_log_function(move |category, level, _, _, _, object, message| {
        let level = match level {
            gst::DebugLevel::Error => "ERROR",
            gst::DebugLevel::Warning => "WARN",
            _ => return,
        };
        let Ok(mut budget) = budget.lock() else { return };
        let (allowed, suppressed) = budget.spend(Instant::now());
        if suppressed > 0 {
            line("WARN", &format!("gstreamer: {suppressed} lines left out"));
        }
        if allowed {
            let object = object.map(|o| format!(" {o}")).unwrap_or_default();
            let text = message.get().map(|m| m.to_string()).unwrap_or_default();
            line(level, &format!("gstreamer {}{object}: {text}", category.name()));
        }
    });
}

#[derive(Default)]
struct Budget {
    since: Option<Instant>,
    lines: u32,
    suppressed: u32,
}

impl Budget {
    /// Whether one more line may be written, and how many were left out in the window that has just ended.
    fn spend(&mut self, now: Instant) -> (bool, u32) {
        let mut left_out = 0;
        if self.since.is_none_or(|since| now.duration_since(since) >= WINDOW) {
            left_out = std::mem::take(&mut self.suppressed);
            self.since = Some(now);
            self.lines = 0;
        }
        self.lines += 1;
        let allowed = self.lines <= MAX_LINES;
        self.suppressed += u32::from(!allowed);
        (allowed, left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_lines_is_cut_and_counted() {
        let mut budget = Budget::default();
        let start = Instant::now();
        assert_eq!((0..100).filter(|_| budget.spend(start).0).count(), 20);
        assert_eq!(budget.spend(start + WINDOW), (true, 80));
        assert_eq!(budget.spend(start + WINDOW), (true, 0));
    }
}
