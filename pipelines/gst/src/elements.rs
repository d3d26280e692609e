//! Which GStreamer elements Skywave uses, and the Debian packages that have them.
//!
//! What belongs here: the list, and looking whether they are installed. What does not: using them.

use gstreamer as gst;
use std::fmt;

/// Where Skywave names the element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NeededFor {
    /// The worker: every transcode, `skywave serve`.
    Worker,
    /// The worker with OpenH264 as its encoder.
    OpenH264,
    /// Reading whole files: `skywave vod import`, and pictures of recordings.
    Files,
    /// The WHIP client: `skywave publish`.
    Publish,
    /// The WHEP client: `skywave play` (beside what the WHIP client and the worker need).
    Play,
}

impl fmt::Display for NeededFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Worker => "transcoding",
            Self::OpenH264 => "encoding with OpenH264",
            Self::Files => "importing files and making pictures of recordings",
            Self::Publish => "skywave publish",
            Self::Play => "skywave play",
        })
    }
}

/// An element that is not installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "GStreamer element `{element}` is missing, needed for {needed_for}: apt-get install {debian_package}"
)]
pub struct MissingElement {
    /// Its factory name.
    pub element: &'static str,
    /// The package of Debian 12 that has it.
    pub debian_package: &'static str,
    /// What does not work without it.
    pub needed_for: NeededFor,
}

const BASE: &str = "gstreamer1.0-plugins-base";
const GOOD: &str = "gstreamer1.0-plugins-good";
const BAD: &str = "gstreamer1.0-plugins-bad";
const UGLY: &str = "gstreamer1.0-plugins-ugly";
const LIBAV: &str = "gstreamer1.0-libav";
const NICE: &str = "gstreamer1.0-nice";

/// Every element the product names, and those that they make themselves (`webrtcbin` needs ICE, DTLS and SRTP).
const ELEMENTS: [(&str, &str, NeededFor); 57] = [
    ("appsrc", BASE, NeededFor::Worker),
    ("appsink", BASE, NeededFor::Worker),
    ("videoconvertscale", BASE, NeededFor::Worker),
    ("capsfilter", "libgstreamer1.0-0", NeededFor::Worker),
    ("vp8dec", GOOD, NeededFor::Worker),
    ("vp9dec", GOOD, NeededFor::Worker),
    ("av1dec", BAD, NeededFor::Worker),
    ("avdec_h264", LIBAV, NeededFor::Worker),
    ("opusdec", BASE, NeededFor::Worker),
    ("x264enc", UGLY, NeededFor::Worker),
    ("voaacenc", BAD, NeededFor::Worker),
    ("jpegenc", GOOD, NeededFor::Worker),
    ("jpegdec", GOOD, NeededFor::Worker),
    ("pngdec", GOOD, NeededFor::Worker),
    ("openh264enc", BAD, NeededFor::OpenH264),
    ("h264parse", BAD, NeededFor::OpenH264),
    ("filesrc", "libgstreamer1.0-0", NeededFor::Files),
    ("fakesink", "libgstreamer1.0-0", NeededFor::Files),
    ("queue", "libgstreamer1.0-0", NeededFor::Files),
    ("parsebin", BASE, NeededFor::Files),
    ("decodebin", BASE, NeededFor::Files),
    ("matroskademux", GOOD, NeededFor::Files),
    ("qtdemux", GOOD, NeededFor::Files),
    ("aacparse", GOOD, NeededFor::Files),
    ("deinterlace", GOOD, NeededFor::Files),
    ("videoflip", GOOD, NeededFor::Files),
    ("audioconvert", BASE, NeededFor::Files),
    ("audioresample", BASE, NeededFor::Files),
    ("audiorate", BASE, NeededFor::Files),
    ("webrtcbin", BAD, NeededFor::Publish),
    ("nicesrc", NICE, NeededFor::Publish),
    ("nicesink", NICE, NeededFor::Publish),
    ("dtlssrtpenc", BAD, NeededFor::Publish),
    ("dtlssrtpdec", BAD, NeededFor::Publish),
    ("srtpenc", BAD, NeededFor::Publish),
    ("srtpdec", BAD, NeededFor::Publish),
    ("rtpbin", GOOD, NeededFor::Publish),
    ("rtpfunnel", GOOD, NeededFor::Publish),
    ("rtpvp8pay", GOOD, NeededFor::Publish),
    ("rtpvp9pay", GOOD, NeededFor::Publish),
    ("rtph264pay", GOOD, NeededFor::Publish),
    ("rtpopuspay", GOOD, NeededFor::Publish),
    ("rtph264depay", GOOD, NeededFor::Publish),
    ("vp8enc", GOOD, NeededFor::Publish),
    ("vp9enc", GOOD, NeededFor::Publish),
    ("opusenc", BASE, NeededFor::Publish),
    ("videotestsrc", BASE, NeededFor::Publish),
    ("audiotestsrc", BASE, NeededFor::Publish),
    ("videoconvert", BASE, NeededFor::Publish),
    ("videoscale", BASE, NeededFor::Publish),
    ("videorate", BASE, NeededFor::Publish),
    ("v4l2src", GOOD, NeededFor::Publish),
    ("rtspsrc", GOOD, NeededFor::Publish),
    ("rtpvp8depay", GOOD, NeededFor::Play),
    ("rtpvp9depay", GOOD, NeededFor::Play),
    ("rtpopusdepay", GOOD, NeededFor::Play),
    ("pngenc", GOOD, NeededFor::Play),
];

/// Looks for every element the product uses.
///
/// # Errors
/// All that are missing, those for the worker first. When GStreamer itself does not start, all are.
pub fn check() -> Result<(), Vec<MissingElement>> {
    missing(&ELEMENTS)
}

fn missing(elements: &[(&'static str, &'static str, NeededFor)]) -> Result<(), Vec<MissingElement>> {
    let started = gst::init().is_ok();
    let is_missing = |name: &str| !started || gst::ElementFactory::find(name).is_none();
    let mut missing: Vec<_> = elements
        .iter()
        .filter(|(element, ..)| is_missing(element))
        .map(|&(element, debian_package, needed_for)| MissingElement { element, debian_package, needed_for })
        .collect();
    missing.sort_by_key(|missing| missing.needed_for);
    if missing.is_empty() { Ok(()) } else { Err(missing) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_ran_the_install_script_has_everything() {
        assert_eq!(check(), Ok(()));
    }

    #[test]
    fn a_missing_element_is_named_with_its_package() {
        let elements = [("nosuchenc", UGLY, NeededFor::Publish), ("x264enc", UGLY, NeededFor::Worker)];
        let missing = missing(&elements).unwrap_err();
        assert_eq!(missing.len(), 1);
        assert_eq!(
            missing[0].to_string(),
            "GStreamer element `nosuchenc` is missing, needed for skywave publish: \
             apt-get install gstreamer1.0-plugins-ugly"
        );
    }
}
