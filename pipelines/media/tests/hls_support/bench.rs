//! Frames for tests of the HLS output, and readers of what comes out.
#![allow(dead_code, clippy::unwrap_used)] // every test binary uses its own part of this, and a failure is a test's failure

use bytes::Bytes;
use mp4_atom::{Any, Decode, Moof};
use skywave_media::codec::{AudioFormat, Codec, Format, TrackKind, VideoFormat};
use skywave_media::frame::Frame;
use skywave_media::hls::{HlsConfig, HlsEvent, HlsView, Lookup, Packager, RenditionName, Resource, TakeId};
use skywave_media::time::{MediaTime, Mono, UnixTime};
use std::sync::Arc;

/// 2026-11-22T12:00:00Z.
pub(crate) const EPOCH: UnixTime = UnixTime::from_micros(1_795_348_800_000_000);

pub(crate) fn name(text: &str) -> RenditionName {
    RenditionName::new(text).unwrap()
}

/// H.264 Constrained Baseline 3.1 of this size. The parameter sets are of the right shape, not of the right content.
pub(crate) fn h264(width: u32, height: u32) -> Arc<Format> {
    let mut config = vec![1, 0x42, 0xE0, 0x1F, 0xFF, 0xE1, 0, 4, 0x67, 0x42, 0xE0, 0x1F, 1, 0, 4, 0x68];
    config.extend([0xCE, 0x3C, 0x80]);
    Arc::new(Format::Video(VideoFormat { codec: Codec::H264, width, height, config: config.into() }))
}

/// AAC-LC, 48 kHz, stereo.
pub(crate) fn aac() -> Arc<Format> {
    let config = Bytes::from_static(&[0x11, 0x90]);
    Arc::new(Format::Audio(AudioFormat { codec: Codec::Aac, sample_rate: 48_000, channels: 2, config }))
}

pub(crate) fn video(format: &Arc<Format>, ticks_90k: i64, keyframe: bool) -> Frame {
    Frame {
        format: Arc::clone(format),
        pts: MediaTime::from_90k(ticks_90k),
        dts: MediaTime::from_90k(ticks_90k),
        duration: None,
        keyframe,
        data: Bytes::from(vec![if keyframe { 0x65 } else { 0x41 }; if keyframe { 20_000 } else { 5_000 }]),
    }
}

pub(crate) fn audio(format: &Arc<Format>, samples: i64) -> Frame {
    Frame {
        format: Arc::clone(format),
        pts: MediaTime::from_48k(samples),
        dts: MediaTime::from_48k(samples),
        duration: Some(MediaTime::from_48k(1024)),
        keyframe: true,
        data: Bytes::from(vec![0x21; 340]),
    }
}

pub(crate) fn mono(nanos: i64) -> Mono {
    // Clocks do not begin at zero.
    Mono::from_nanos(1_000_000_000_000 + u64::try_from(nanos.max(0)).unwrap())
}

/// A packager with its events, driven by frames that arrive when they are due.
pub(crate) struct Bench {
    pub(crate) packager: Packager,
    pub(crate) events: Vec<HlsEvent>,
    pub(crate) now: Mono,
}

impl Bench {
    pub(crate) fn new(config: HlsConfig) -> Self {
        let packager = Packager::new(config, TakeId::new("t1").unwrap(), EPOCH);
        Self { packager, events: Vec::new(), now: mono(0) }
    }

    /// `source` and `audio`.
    pub(crate) fn usual() -> Self {
        let mut bench = Self::new(HlsConfig::default());
        bench.add("source", TrackKind::Video);
        bench.add("audio", TrackKind::Audio);
        bench
    }

    pub(crate) fn add(&mut self, rendition: &str, kind: TrackKind) {
        self.packager.add_rendition(name(rendition), kind, self.now).unwrap();
    }

    /// Hands a frame over at the time its PTS says, or now if that is past; timers fire on the way.
    pub(crate) fn frame(&mut self, rendition: &str, frame: Frame) {
        self.wait_until(mono(frame.pts.as_nanos()).max(self.now));
        self.packager.handle_frame(&name(rendition), frame, self.now).unwrap();
        self.drain();
    }

    pub(crate) fn wait_until(&mut self, until: Mono) {
        while let Some(due) = self.packager.poll_timeout().filter(|&due| due <= until) {
            assert!(due > self.now, "a due timer is consumed");
            self.now = due;
            self.packager.handle_timeout(due);
            self.drain();
        }
        self.now = until;
    }

    pub(crate) fn end(&mut self) {
        self.packager.end(self.now);
        self.drain();
    }

    pub(crate) fn drain(&mut self) {
        while let Some(event) = self.packager.poll_event() {
            self.events.push(event);
        }
    }

    pub(crate) fn view(&self) -> Arc<HlsView> {
        self.packager.view()
    }

    /// Both lanes at 30 frames a second and with a keyframe every 2 s, from and to these seconds.
    pub(crate) fn steady(&mut self, from_s: i64, to_s: i64) {
        let (h264, aac) = (h264(1280, 720), aac());
        self.lanes(&h264, &aac, from_s * 1000, to_s * 1000);
    }

    /// The video lane alone.
    pub(crate) fn steady_video(&mut self, from_s: i64, to_s: i64) {
        let format = h264(1280, 720);
        for i in from_s * 30..to_s * 30 {
            self.frame("source", video(&format, i * 3000, i % 60 == 0));
        }
    }

    /// The same from and to milliseconds, in these formats; video begins with a keyframe.
    pub(crate) fn lanes(
        &mut self,
        video_format: &Arc<Format>,
        audio_format: &Arc<Format>,
        from_ms: i64,
        to_ms: i64,
    ) {
        let mut frames: Vec<(&str, Frame)> = Vec::new();
        let first = from_ms * 30 / 1000;
        for i in first..to_ms * 30 / 1000 {
            frames.push(("source", video(video_format, i * 3000, i % 60 == 0 || i == first)));
        }
        for i in (from_ms * 48 + 1023) / 1024..(to_ms * 48 + 1023) / 1024 {
            frames.push(("audio", audio(audio_format, i * 1024)));
        }
        frames.sort_by_key(|(_, f)| f.pts);
        for (rendition, frame) in frames {
            self.frame(rendition, frame);
        }
    }

    /// The steady broadcast's frames that begin within these milliseconds, to be called for one stretch after the other.
    pub(crate) fn lanes_at(
        &mut self,
        video_format: &Arc<Format>,
        audio_format: &Arc<Format>,
        from_ms: i64,
        to_ms: i64,
    ) {
        let mut frames: Vec<(&str, Frame)> = Vec::new();
        for i in (from_ms * 30 + 999) / 1000..(to_ms * 30 + 999) / 1000 {
            frames.push(("source", video(video_format, i * 3000, i % 60 == 0)));
        }
        for i in (from_ms * 48 + 1023) / 1024..(to_ms * 48 + 1023) / 1024 {
            frames.push(("audio", audio(audio_format, i * 1024)));
        }
        frames.sort_by_key(|(_, f)| f.pts);
        for (rendition, frame) in frames {
            self.frame(rendition, frame);
        }
    }

    /// Answers for all segments that were given out to be stored, and says which they were.
    pub(crate) fn take_stored(&mut self, well: bool) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        let mut seen = 0;
        while seen < self.events.len() {
            if let HlsEvent::Store { rendition, segment } = &self.events[seen] {
                let (rendition, msn) = (rendition.clone(), segment.msn);
                self.packager.handle_stored(&rendition, msn, well, self.now);
                all.push((rendition.to_string(), msn));
                self.drain();
            }
            seen += 1;
        }
        self.events.retain(|event| !matches!(event, HlsEvent::Store { .. }));
        all
    }

    /// (msn, milliseconds, discontinuity, gap) of every finished segment of a rendition.
    pub(crate) fn segments(&self, rendition: &str) -> Vec<(u64, u128, bool, bool)> {
        let of = name(rendition);
        self.events
            .iter()
            .filter_map(|e| match e {
                HlsEvent::SegmentFinished { rendition, msn, duration, discontinuity, gap, .. }
                    if *rendition == of =>
                {
                    Some((*msn, duration.as_millis(), *discontinuity, *gap))
                }
                _ => None,
            })
            .collect()
    }
}

pub(crate) fn found(view: &HlsView, path: &str) -> Resource {
    match view.get(path, "") {
        Lookup::Found(resource) => resource,
        other => panic!("{path}: {other:?}"),
    }
}

/// A playlist as text, asked for with this query.
pub(crate) fn body(view: &HlsView, path: &str, query: &str) -> String {
    match view.get(path, query) {
        Lookup::Found(resource) => String::from_utf8(resource.body.to_vec()).unwrap(),
        other => panic!("{path}?{query}: {other:?}"),
    }
}

/// A media playlist read by this test's own eyes.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) msn: u64,
    pub(crate) discontinuity_sequence: u64,
    pub(crate) skipped: usize,
    /// Segments, and last the one that is being made, if it has parts.
    pub(crate) entries: Vec<Entry>,
    pub(crate) hint: Option<String>,
    /// (rendition, LAST-MSN, LAST-PART)
    pub(crate) reports: Vec<(String, u64, Option<usize>)>,
}

#[derive(Debug, Default, PartialEq, Clone)]
pub(crate) struct Entry {
    pub(crate) msn: u64,
    pub(crate) uri: Option<String>,
    pub(crate) duration: f64,
    pub(crate) discontinuity: bool,
    pub(crate) gap: bool,
    pub(crate) date: Option<String>,
    pub(crate) parts: Vec<ReadPart>,
    /// How many parts there are, listed or not.
    pub(crate) all_parts: usize,
}

impl Entry {
    pub(crate) fn length(&self) -> f64 {
        if self.uri.is_some() { self.duration } else { self.parts.iter().map(|part| part.duration).sum() }
    }
}

#[derive(Debug, Default, PartialEq, Clone)]
pub(crate) struct ReadPart {
    pub(crate) uri: String,
    pub(crate) duration: f64,
    pub(crate) independent: bool,
}

/// An attribute's value, without quotes.
pub(crate) fn attribute<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let at = line.match_indices(name).find(|(at, _)| {
        line[at + name.len()..].starts_with('=') && matches!(line.as_bytes()[at - 1], b':' | b',')
    })?;
    let value = &line[at.0 + name.len() + 1..];
    Some(match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().unwrap(),
        None => value.split(',').next().unwrap(),
    })
}

impl Read {
    pub(crate) fn of(text: &str) -> Self {
        let mut read = Self::default();
        let mut entry = Entry::default();
        for line in text.lines() {
            let (tag, value) = line.split_once(':').unwrap_or((line, ""));
            match tag {
                "#EXT-X-MEDIA-SEQUENCE" => read.msn = value.parse().unwrap(),
                "#EXT-X-DISCONTINUITY-SEQUENCE" => read.discontinuity_sequence = value.parse().unwrap(),
                "#EXT-X-SKIP" => read.skipped = attribute(line, "SKIPPED-SEGMENTS").unwrap().parse().unwrap(),
                "#EXT-X-DISCONTINUITY" => entry.discontinuity = true,
                "#EXT-X-GAP" => entry.gap = true,
                "#EXT-X-PROGRAM-DATE-TIME" => entry.date = Some(value.to_owned()),
                "#EXTINF" => entry.duration = value.trim_end_matches(',').parse().unwrap(),
                "#EXT-X-PART" => entry.parts.push(ReadPart {
                    uri: attribute(line, "URI").unwrap().to_owned(),
                    duration: attribute(line, "DURATION").unwrap().parse().unwrap(),
                    independent: attribute(line, "INDEPENDENT") == Some("YES"),
                }),
                "#EXT-X-PRELOAD-HINT" => read.hint = attribute(line, "URI").map(str::to_owned),
                "#EXT-X-RENDITION-REPORT" => {
                    let uri = attribute(line, "URI").unwrap();
                    let name = uri.strip_prefix("../").unwrap().split('/').next().unwrap();
                    let msn = attribute(line, "LAST-MSN").unwrap().parse().unwrap();
                    let part = attribute(line, "LAST-PART").map(|part| part.parse().unwrap());
                    read.reports.push((name.to_owned(), msn, part));
                }
                _ if !line.starts_with('#') && !line.is_empty() => {
                    entry.uri = Some(line.to_owned());
                    read.push(std::mem::take(&mut entry));
                }
                _ => {}
            }
        }
        if !entry.parts.is_empty() {
            read.push(entry);
        }
        read
    }

    fn push(&mut self, mut entry: Entry) {
        entry.msn = self.msn + (self.skipped + self.entries.len()) as u64;
        entry.all_parts = entry.parts.len();
        self.entries.push(entry);
    }
}

/// Samples in a chunk, or several.
pub(crate) fn samples(bytes: &[u8]) -> usize {
    let count = |any: &Any| match any {
        Any::Moof(moof) => moof.traf[0].trun[0].samples.len(),
        _ => 0,
    };
    boxes(bytes).iter().map(count).sum()
}

pub(crate) fn text(view: &HlsView, path: &str) -> String {
    String::from_utf8(found(view, path).body.to_vec()).unwrap()
}

pub(crate) fn media_playlist(view: &HlsView, rendition: &str) -> m3u8_rs::MediaPlaylist {
    m3u8_rs::parse_media_playlist_res(text(view, &format!("{rendition}/index.m3u8")).as_bytes()).unwrap()
}

/// The boxes of a file, read back.
pub(crate) fn boxes(mut bytes: &[u8]) -> Vec<Any> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        out.push(Any::decode(&mut bytes).unwrap());
    }
    out
}

/// One `moof` read back: (tfdt, sum of durations, first sample is sync).
pub(crate) fn moof(moof: &Moof) -> (u64, u64, bool) {
    let traf = &moof.traf[0];
    assert!(traf.tfhd.default_base_is_moof);
    let default = traf.tfhd.default_sample_duration;
    let durations = traf.trun[0].samples.iter().map(|s| u64::from(s.duration.or(default).unwrap()));
    let flags = traf.trun[0].samples.get(0).unwrap().flags.or(traf.tfhd.default_sample_flags).unwrap();
    (traf.tfdt.as_ref().unwrap().base_media_decode_time, durations.sum(), flags & 0x0001_0000 == 0)
}

/// A segment read back: (first tfdt, ticks, begins with a sync sample); its chunks must follow each other exactly.
pub(crate) fn segment(bytes: &[u8]) -> (u64, u64, bool) {
    let mut chunks = boxes(bytes).into_iter();
    assert!(matches!(chunks.next(), Some(Any::Styp(_))));
    let moofs: Vec<_> = chunks
        .filter_map(|b| match b {
            Any::Moof(m) => Some(moof(&m)),
            Any::Mdat(_) => None,
            other => panic!("unexpected {other:?}"),
        })
        .collect();
    let mut at = moofs[0].0;
    for (start, ticks, _) in &moofs {
        assert_eq!(*start, at, "no gap and no overlap inside a segment");
        at += ticks;
    }
    (moofs[0].0, at - moofs[0].0, moofs[0].2)
}
