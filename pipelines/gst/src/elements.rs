//! Which GStreamer elements Skywave needs, and which Debian package has each.

use gstreamer as gst;
use std::fmt;

/// An element that this machine lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingElement {
    /// The element's name.
    pub element: &'static str,
    /// The Debian package that has it.
    pub debian_package: &'static str,
    /// What does not work without it.
    pub needed_for: &'static str,
}

impl fmt::Display for MissingElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { element, debian_package, needed_for } = self;
        write!(f, "{element} ({needed_for}): install the Debian package {debian_package}")
    }
}

const BASE: &str = "gstreamer1.0-plugins-base";
const GOOD: &str = "gstreamer1.0-plugins-good";
const BAD: &str = "gstreamer1.0-plugins-bad";
const UGLY: &str = "gstreamer1.0-plugins-ugly";
const LIBAV: &str = "gstreamer1.0-libav";
const NICE: &str = "gstreamer1.0-nice";

/// Everything the worker's pipelines are made of: element, package, purpose.
const WORKER: &[(&str, &str, &str)] = &[
    ("appsrc", BASE, "every pipeline"),
    ("appsink", BASE, "every pipeline"),
    ("audioconvert", BASE, "sound"),
    ("audioresample", BASE, "sound"),
    ("opusdec", BASE, "decoding Opus"),
    ("vp8dec", GOOD, "decoding VP8"),
    ("vp9dec", GOOD, "decoding VP9"),
    ("av1dec", BAD, "decoding AV1"),
    ("avdec_h264", LIBAV, "decoding H.264"),
    ("h264parse", BAD, "H.264"),
    ("x264enc", UGLY, "encoding H.264"),
    ("openh264enc", BAD, "encoding H.264 without GPL code"),
    ("avenc_aac", LIBAV, "encoding AAC"),
    ("aacparse", GOOD, "AAC"),
];

/// Everything the WHIP client's pipelines are made of besides.
const WHIP_CLIENT: &[(&str, &str, &str)] = &[
    ("webrtcbin", BAD, "publishing over WebRTC"),
    ("nicesrc", NICE, "ICE"),
    ("dtlssrtpenc", BAD, "DTLS-SRTP"),
    ("srtpenc", BAD, "SRTP"),
    ("rtpbin", GOOD, "RTP"),
    ("rtpvp8pay", GOOD, "publishing VP8"),
    ("rtpvp9pay", GOOD, "publishing VP9"),
    ("rtph264pay", GOOD, "publishing H.264"),
    ("rtpopuspay", GOOD, "publishing Opus"),
    ("vp8enc", GOOD, "encoding VP8"),
    ("vp9enc", GOOD, "encoding VP9"),
    ("opusenc", BASE, "encoding Opus"),
    ("decodebin", BASE, "publishing files"),
    ("v4l2src", GOOD, "publishing a camera"),
    ("rtspsrc", GOOD, "publishing an RTSP source"),
];

/// Looks for all elements.
///
/// # Errors
/// The missing ones; all of them when GStreamer itself does not start.
pub fn check() -> Result<(), Vec<MissingElement>> {
    let started = gst::init().is_ok();
    let missing: Vec<MissingElement> = WORKER
        .iter()
        .chain(WHIP_CLIENT)
        .filter(|(element, ..)| !started || gst::ElementFactory::find(element).is_none())
        .map(|&(element, debian_package, needed_for)| MissingElement { element, debian_package, needed_for })
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(missing) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_missing_where_the_install_script_has_run() {
        assert_eq!(check(), Ok(()));
    }

    #[test]
    fn a_missing_element_is_named_with_its_package() {
        let missing = MissingElement { element: "x264enc", debian_package: UGLY, needed_for: "encoding H.264" };
        assert_eq!(
            missing.to_string(),
            "x264enc (encoding H.264): install the Debian package gstreamer1.0-plugins-ugly"
        );
    }
}
