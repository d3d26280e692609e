//! Making GStreamer elements, with a word on where to get those that are missing.

use super::ClientError;
use gstreamer as gst;
use gstreamer::prelude::*;

/// Makes an element, or says which Debian package has it.
pub(crate) fn make(element: &str) -> Result<gst::Element, ClientError> {
    gst::ElementFactory::make(element).build().map_err(|_| ClientError::MissingElement {
        element: element.to_owned(),
        package: package_of(element),
    })
}

/// The Debian 12 package with this element.
fn package_of(element: &str) -> &'static str {
    match element {
        "webrtcbin" | "openh264enc" | "h264parse" | "av1dec" => "gstreamer1.0-plugins-bad",
        "x264enc" => "gstreamer1.0-plugins-ugly",
        "avdec_h264" => "gstreamer1.0-libav",
        "nicesink" => "gstreamer1.0-nice",
        "alsasrc" => "gstreamer1.0-alsa",
        "videotestsrc" | "audiotestsrc" | "videoconvert" | "videoscale" | "videorate" | "audioconvert"
        | "audioresample" | "opusenc" | "opusdec" | "decodebin" | "appsink" | "appsrc" => {
            "gstreamer1.0-plugins-base"
        }
        "queue" | "clocksync" | "capsfilter" | "filesrc" => "libgstreamer1.0-0",
        _ => "gstreamer1.0-plugins-good",
    }
}

/// A capsfilter.
pub(crate) fn caps_filter(caps: gst::Caps) -> Result<gst::Element, ClientError> {
    let filter = make("capsfilter")?;
    filter.set_property("caps", caps);
    Ok(filter)
}
