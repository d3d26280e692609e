//! A multivariant playlist, read strictly.

use std::collections::BTreeSet;

use crate::lines::{self, Line, Of};
use crate::rules::Faults;

/// `EXT-X-STREAM-INF` or `EXT-X-I-FRAME-STREAM-INF` (sections 4.4.6.2, 4.4.6.3).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Variant {
    /// URI as written.
    pub uri: String,
    /// `BANDWIDTH`, bits per second.
    pub bandwidth: u64,
    /// `AVERAGE-BANDWIDTH`, bits per second.
    pub average_bandwidth: Option<u64>,
    /// `CODECS`, one by one.
    pub codecs: Option<Vec<String>>,
    /// `RESOLUTION`.
    pub resolution: Option<(u32, u32)>,
    /// `FRAME-RATE`.
    pub frame_rate: Option<f64>,
    /// `AUDIO`: a group.
    pub audio: Option<String>,
    /// It is an I-frame playlist.
    pub i_frames: bool,
}

/// `EXT-X-MEDIA` (section 4.4.6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// `TYPE`.
    pub kind: String,
    /// `GROUP-ID`.
    pub group: String,
    /// `NAME`.
    pub name: String,
    /// `URI`.
    pub uri: Option<String>,
    /// `DEFAULT`.
    pub default: bool,
    /// `AUTOSELECT`, `None` when it is not said.
    pub autoselect: Option<bool>,
    /// `CHANNELS`.
    pub channels: Option<String>,
}

/// A multivariant playlist.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Multivariant {
    /// `EXT-X-VERSION`; 1 without.
    pub version: u64,
    /// `EXT-X-INDEPENDENT-SEGMENTS`.
    pub independent_segments: bool,
    /// Variants, I-frame variants among them.
    pub variants: Vec<Variant>,
    /// Renditions of groups.
    pub media: Vec<Media>,
}

/// Kind of a rendition, by the playlist that names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RenditionKind {
    /// Of a variant.
    Variant,
    /// Of an audio group.
    Audio,
    /// I-frames of a variant.
    IFrames,
}

impl Multivariant {
    /// Reads a playlist and what is wrong with it.
    pub(crate) fn read(text: &str) -> (Self, Faults) {
        let mut faults = Faults::default();
        let lines = lines::read(text, Of::Multivariant, &mut faults);
        let mut playlist = Self { version: 1, ..Self::default() };
        let mut variant: Option<Variant> = None;
        for line in lines {
            let tagged = match line {
                Line::Uri(uri) => {
                    match variant.take() {
                        Some(one) => playlist.variants.push(Variant { uri: uri.to_owned(), ..one }),
                        None => faults.add("4.4.6.2-uri", format!("{uri} has no EXT-X-STREAM-INF before it")),
                    }
                    continue;
                }
                Line::Tag(tagged) => tagged,
            };
            if variant.is_some() {
                faults.add("4.4.6.2-uri", "EXT-X-STREAM-INF is not followed by a URI");
                variant = None;
            }
            let a = &tagged.attributes;
            let one = || Variant {
                uri: a.text("URI").unwrap_or_default(),
                bandwidth: a.int("BANDWIDTH").unwrap_or(0),
                average_bandwidth: a.int("AVERAGE-BANDWIDTH"),
                codecs: a
                    .text("CODECS")
                    .map(|list| list.split(',').map(|one| one.trim().to_owned()).collect()),
                resolution: a.raw("RESOLUTION").and_then(resolution),
                frame_rate: a.float("FRAME-RATE"),
                audio: a.text("AUDIO"),
                i_frames: tagged.tag.name == "EXT-X-I-FRAME-STREAM-INF",
            };
            match tagged.tag.name {
                "EXT-X-VERSION" => playlist.version = tagged.int(),
                "EXT-X-INDEPENDENT-SEGMENTS" => playlist.independent_segments = true,
                "EXT-X-STREAM-INF" => variant = Some(one()),
                "EXT-X-I-FRAME-STREAM-INF" => playlist.variants.push(one()),
                "EXT-X-MEDIA" => playlist.media.push(Media {
                    kind: a.raw("TYPE").unwrap_or_default().to_owned(),
                    group: a.text("GROUP-ID").unwrap_or_default(),
                    name: a.text("NAME").unwrap_or_default(),
                    uri: a.text("URI"),
                    default: a.yes("DEFAULT"),
                    autoselect: a.raw("AUTOSELECT").map(|word| word == "YES"),
                    channels: a.text("CHANNELS"),
                }),
                _ => {}
            }
        }
        if variant.is_some() {
            faults.add("4.4.6.2-uri", "the last EXT-X-STREAM-INF is not followed by a URI");
        }
        playlist.check(&mut faults);
        (playlist, faults)
    }

    fn check(&self, faults: &mut Faults) {
        let mut names = BTreeSet::new();
        let mut defaults = BTreeSet::new();
        for media in &self.media {
            let Media { kind, group, name, .. } = media;
            if !names.insert((kind, group, name)) {
                faults.add("4.4.6.1.1-group", format!("{kind} group {group} has two members {name}"));
            }
            if media.default && !defaults.insert((kind, group)) {
                faults.add("4.4.6.1.1-group", format!("{kind} group {group} has two defaults"));
            }
            if media.default && media.autoselect == Some(false) {
                faults.add("4.4.6.1.1-group", format!("{name} is default and not to be selected"));
            }
            if kind == "AUDIO" && media.channels.is_none() {
                faults.add("4.4.6.1-channels", format!("audio {name} without CHANNELS"));
            }
        }
        for variant in &self.variants {
            let name = &variant.uri;
            if let Some(group) = &variant.audio
                && self.media.iter().all(|media| media.kind != "AUDIO" || media.group != *group)
            {
                faults.add(
                    "4.4.6.2-group",
                    format!("{name} names the audio group {group}, which is not there"),
                );
            }
            let Some(codecs) = &variant.codecs else {
                faults.add("4.4.6.2-codecs", format!("{name} has no CODECS"));
                continue;
            };
            let video = codecs.iter().any(|codec| codec.starts_with("avc") || codec.starts_with("hvc"));
            if video && variant.resolution.is_none() {
                faults.add("4.4.6.2-resolution", format!("{name} has video and no RESOLUTION"));
            }
            if video && variant.frame_rate.is_none() && !variant.i_frames {
                faults.add("4.4.6.2-frame-rate", format!("{name} has video and no FRAME-RATE"));
            }
            if variant.average_bandwidth.is_some_and(|average| average > variant.bandwidth) {
                faults.add("4.4.6.2-bandwidth", format!("{name} has an average above its peak"));
            }
        }
        if self.variants.iter().all(|variant| variant.i_frames) {
            faults.add("4.4.6.2-uri", "there is no variant");
        }
    }

    /// Every media playlist that is named, once each, in the order of the playlist.
    #[must_use]
    pub fn renditions(&self) -> Vec<(String, RenditionKind)> {
        let mut found: Vec<(String, RenditionKind)> = Vec::new();
        let variants = self.variants.iter().map(|one| {
            (one.uri.clone(), if one.i_frames { RenditionKind::IFrames } else { RenditionKind::Variant })
        });
        let audio = self.media.iter().filter(|one| one.kind == "AUDIO");
        let audio = audio.filter_map(|one| Some((one.uri.clone()?, RenditionKind::Audio)));
        for one in audio.chain(variants) {
            if found.iter().all(|(uri, _)| *uri != one.0) {
                found.push(one);
            }
        }
        found
    }
}

fn resolution(text: &str) -> Option<(u32, u32)> {
    let (width, height) = text.split_once('x')?;
    Some((width.parse().ok()?, height.parse().ok()?))
}
