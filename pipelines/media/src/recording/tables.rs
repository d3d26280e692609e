//! The sample tables of a recording (ISO/IEC 14496-12 section 8.6 and 8.7), gathered fragment by fragment.

use super::fragment::MOVIE_TIMESCALE;
use super::index::{Index, InitRange, SegmentRange};
use super::scan::{Fragment, Init, Part, Sample, Samples, Scan, ScanError, entry_bytes, samples};
use super::{AUDIO_TRACK, VIDEO_TRACK};
use crate::time::MediaTime;
use mp4_atom as mp4;
use std::io::{Read, Seek};
use std::time::Duration;

/// Least length of an HLS segment, in nanoseconds: segments end at the first keyframe behind it.
const SEGMENT_NANOS: i64 = 1_900_000_000;

/// What is to be found in a finished file, for who checks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackSummary {
    /// Its number.
    pub track_id: u32,
    /// Samples.
    pub samples: u32,
    /// Length of its media in ticks of `timescale`.
    pub duration_ticks: u64,
    /// Ticks per second.
    pub timescale: u32,
    /// First, middle and last sample: number from one, decode time in ticks, size in bytes, sync sample.
    pub landmarks: Vec<(u32, u64, u32, bool)>,
}

/// What of the samples is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shown {
    /// From this long after the earliest sample, in nanoseconds.
    pub(super) from_ns: i64,
    /// For so long; `None`: to the end.
    pub(super) length_ns: Option<i64>,
}

/// How a track lies in the movie.
#[derive(Debug, Clone, Copy)]
struct Edit {
    /// Ticks of the movie's clock in which nothing is there.
    before: u64,
    /// Ticks of the track's clock that are left out at its beginning.
    skipped: u64,
    /// Ticks of the movie's clock that are shown.
    length: u64,
    /// The whole track is shown from the movie's beginning on: no edit is needed.
    plain: bool,
}

/// Everything about one track.
#[derive(Debug)]
struct Track {
    template: mp4::Trak,
    id: u32,
    timescale: u32,
    entries: Vec<(Vec<u8>, mp4::Codec)>,
    /// The entry of the present initialisation, from one, and that initialisation's clock.
    description: u32,
    clock: u32,
    stts: Vec<mp4::SttsEntry>,
    ctts: Vec<mp4::CttsEntry>,
    stss: Vec<u32>,
    sizes: Vec<u32>,
    stsc: Vec<mp4::StscEntry>,
    /// Where each chunk lies, from the beginning of the recorded bytes.
    chunks: Vec<u64>,
    first: Option<u64>,
    /// Decode time and own duration of the newest sample.
    last: Option<(u64, u32)>,
    /// First sample, and the newest at each power of two: one of them is near the middle.
    landmarks: Vec<(u32, u64, u32, bool)>,
}

/// The tables of all tracks, and the segments of the HLS playlist.
#[derive(Debug)]
pub(super) struct Tables {
    tracks: Vec<Track>,
    inits: Vec<InitRange>,
    segments: Segments,
}

impl Tables {
    /// Gathers the tables of what `scan` found behind `start`.
    pub(super) fn gather(
        reader: &mut (impl Read + Seek),
        start: u64,
        scan: &Scan,
    ) -> Result<Self, ScanError> {
        let mut tables = Self { tracks: Vec::new(), inits: Vec::new(), segments: Segments::default() };
        for part in &scan.parts {
            match part {
                Part::Init(init) => tables.init(init, start),
                Part::Fragment(fragment) => {
                    let runs = samples(reader, fragment)?.ok_or(ScanError::Empty)?;
                    tables.fragment(fragment, &runs, start);
                }
            }
        }
        if tables.tracks.iter().all(|track| track.sizes.is_empty()) {
            return Err(ScanError::Empty);
        }
        for track in &mut tables.tracks {
            if let Some((_, duration)) = track.last {
                track.push_duration(u64::from(duration));
            }
        }
        tables.tracks.retain(|track| !track.sizes.is_empty());
        tables.segments.finish();
        Ok(tables)
    }

    fn init(&mut self, init: &Init, start: u64) {
        let mut names = Vec::new();
        let (mut width, mut height) = (0, 0);
        for trak in &init.moov.trak {
            let Some(entry) = trak.mdia.minf.stbl.stsd.codecs.first() else { continue };
            names.extend(codec_name(entry));
            if let Some((w, h)) = picture_size(entry) {
                (width, height) = (w, h);
            }
            self.track(trak, entry.clone());
        }
        self.inits.push(InitRange {
            offset: init.offset - start,
            bytes: u32::try_from(init.bytes).unwrap_or(u32::MAX),
            codecs: names.join(","),
            width,
            height,
        });
        self.segments.init(self.inits.len());
    }

    /// The track of a `trak`, with this sample entry from now on.
    fn track(&mut self, trak: &mp4::Trak, entry: mp4::Codec) {
        let id = trak.tkhd.track_id;
        let clock = trak.mdia.mdhd.timescale;
        let track = match self.tracks.iter().position(|track| track.id == id) {
            Some(known) => &mut self.tracks[known],
            None => {
                self.tracks.push(Track::new(trak, id, clock));
                self.tracks.last_mut().expect("one was pushed this moment")
            }
        };
        track.clock = clock;
        let bytes = entry_bytes(&entry);
        let known = track.entries.iter().position(|(other, _)| *other == bytes);
        let number = known.unwrap_or_else(|| {
            track.entries.push((bytes, entry));
            track.entries.len() - 1
        });
        track.description = u32::try_from(number + 1).unwrap_or(u32::MAX);
    }

    fn fragment(&mut self, fragment: &Fragment, runs: &[Samples], start: u64) {
        for run in runs {
            let Some(track) = self.tracks.iter_mut().find(|track| track.id == run.track_id) else { continue };
            track.chunk(fragment.offset - start + run.data_offset, run);
        }
        let lead = runs.iter().find(|run| run.track_id == VIDEO_TRACK);
        let has_video = self.tracks.iter().any(|track| track.id == VIDEO_TRACK);
        let lead = lead.or_else(|| runs.iter().find(|run| run.track_id == AUDIO_TRACK && !has_video));
        let track = lead.and_then(|run| self.tracks.iter().find(|track| track.id == run.track_id));
        let range = (fragment.offset - start, fragment.bytes);
        match (lead, track) {
            (Some(lead), Some(track)) => self.segments.fragment(range, Some((lead, track.clock, has_video))),
            _ => self.segments.fragment(range, None),
        }
    }

    /// The sample tables for a file whose recorded bytes begin at `base`, of which this much is shown.
    pub(super) fn moov(&self, base: u64, created_1904_s: u64, shown: Shown) -> mp4::Moov {
        let origin = self.origin_nanos() + shown.from_ns;
        let edits: Vec<Edit> = self.tracks.iter().map(|track| track.edit(origin, shown.length_ns)).collect();
        let duration = edits.iter().map(|edit| edit.before + edit.length).max().unwrap_or(0);
        let traks =
            self.tracks.iter().zip(&edits).map(|(track, edit)| track.trak(base, edit, created_1904_s));
        mp4::Moov {
            mvhd: mp4::Mvhd {
                creation_time: created_1904_s,
                modification_time: created_1904_s,
                timescale: MOVIE_TIMESCALE,
                duration,
                rate: 1.into(),
                volume: 1.into(),
                next_track_id: AUDIO_TRACK + 1,
                ..Default::default()
            },
            trak: traks.collect(),
            ..Default::default()
        }
    }

    pub(super) fn index(&self) -> Index {
        Index { inits: self.inits.clone(), segments: self.segments.done.clone() }
    }

    pub(super) fn summaries(&self) -> Vec<TrackSummary> {
        self.tracks.iter().map(Track::summary).collect()
    }

    /// Where the earliest track begins, in nanoseconds.
    fn origin_nanos(&self) -> i64 {
        self.tracks.iter().map(|track| track.nanos(track.first.unwrap_or(0))).min().unwrap_or(0)
    }

    pub(super) fn duration(&self) -> Duration {
        let ends = self.tracks.iter().map(|track| track.nanos(track.first.unwrap_or(0) + track.length()));
        let nanos = ends.max().unwrap_or(0) - self.origin_nanos();
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }
}

impl Track {
    fn new(trak: &mp4::Trak, id: u32, timescale: u32) -> Self {
        Self {
            template: trak.clone(),
            id,
            timescale,
            entries: Vec::new(),
            description: 1,
            clock: timescale,
            stts: Vec::new(),
            ctts: Vec::new(),
            stss: Vec::new(),
            sizes: Vec::new(),
            stsc: Vec::new(),
            chunks: Vec::new(),
            first: None,
            last: None,
            landmarks: Vec::new(),
        }
    }

    /// Ticks of the present initialisation's clock in the track's own.
    fn in_track(&self, ticks: u64) -> u64 {
        if self.clock == self.timescale {
            return ticks;
        }
        u64::try_from(u128::from(ticks) * u128::from(self.timescale) / u128::from(self.clock.max(1)))
            .unwrap_or(u64::MAX)
    }

    fn chunk(&mut self, offset: u64, run: &Samples) {
        self.chunks.push(offset);
        let count = u32::try_from(run.samples.len()).unwrap_or(u32::MAX);
        let same = |last: &mp4::StscEntry| {
            last.samples_per_chunk == count && last.sample_description_index == self.description
        };
        if !self.stsc.last().is_some_and(same) {
            self.stsc.push(mp4::StscEntry {
                first_chunk: u32::try_from(self.chunks.len()).unwrap_or(u32::MAX),
                samples_per_chunk: count,
                sample_description_index: self.description,
            });
        }
        let mut dts = run.base;
        for sample in &run.samples {
            self.sample(self.in_track(dts), sample);
            dts = dts.saturating_add(u64::from(sample.duration));
        }
    }

    fn sample(&mut self, dts: u64, sample: &Sample) {
        // The sample before lasts until this one, whatever it was believed to last when it was written: real time stays real time.
        let dts = match self.last {
            Some((last, _)) => {
                let dts = dts.max(last + 1);
                self.push_duration(dts - last);
                dts
            }
            None => dts,
        };
        self.first.get_or_insert(dts);
        let duration = u32::try_from(self.in_track(u64::from(sample.duration))).unwrap_or(u32::MAX);
        self.last = Some((dts, duration.max(1)));
        match self.ctts.last_mut() {
            Some(entry) if entry.sample_offset == sample.composition_offset => entry.sample_count += 1,
            _ => self.ctts.push(mp4::CttsEntry { sample_count: 1, sample_offset: sample.composition_offset }),
        }
        self.sizes.push(sample.size);
        let number = u32::try_from(self.sizes.len()).unwrap_or(u32::MAX);
        if sample.sync {
            self.stss.push(number);
        }
        let landmark = (number, dts - self.first.unwrap_or(0), sample.size, sample.sync);
        if number.is_power_of_two() {
            self.landmarks.push(landmark);
        }
    }

    fn push_duration(&mut self, ticks: u64) {
        let delta = u32::try_from(ticks).unwrap_or(u32::MAX);
        match self.stts.last_mut() {
            Some(entry) if entry.sample_delta == delta => entry.sample_count += 1,
            _ => self.stts.push(mp4::SttsEntry { sample_count: 1, sample_delta: delta }),
        }
    }

    fn length(&self) -> u64 {
        self.stts.iter().map(|entry| u64::from(entry.sample_count) * u64::from(entry.sample_delta)).sum()
    }

    fn summary(&self) -> TrackSummary {
        let samples = u32::try_from(self.sizes.len()).unwrap_or(u32::MAX);
        let mut landmarks = self.landmarks.clone();
        if let (Some((dts, _)), Some(&size)) = (self.last, self.sizes.last()) {
            let sync = self.stss.last() == Some(&samples);
            let last = (samples, dts - self.first.unwrap_or(0), size, sync);
            if landmarks.last() != Some(&last) {
                landmarks.push(last);
            }
        }
        TrackSummary {
            track_id: self.id,
            samples,
            duration_ticks: self.length(),
            timescale: self.timescale,
            landmarks,
        }
    }

    /// Nanoseconds of ticks of this track.
    fn nanos(&self, ticks: u64) -> i64 {
        MediaTime::new(i64::try_from(ticks).unwrap_or(i64::MAX), self.timescale).as_nanos()
    }

    /// How the track lies in a movie that begins at `origin` and is so long.
    fn edit(&self, origin: i64, length_ns: Option<i64>) -> Edit {
        let movie =
            |nanos: i64| MediaTime::from_nanos(nanos.max(0)).rescale(MOVIE_TIMESCALE).ticks.unsigned_abs();
        let first = self.nanos(self.first.unwrap_or(0));
        let (before, skipped) = ((first - origin).max(0), (origin - first).max(0));
        let whole = self.nanos(self.length());
        let left = (whole - skipped).max(0);
        let shown = length_ns.map_or(left, |length| left.min((length - before).max(0)));
        Edit {
            before: movie(before),
            skipped: MediaTime::from_nanos(skipped).rescale(self.timescale).ticks.unsigned_abs(),
            length: movie(shown),
            plain: movie(before) == 0 && skipped == 0 && shown == whole,
        }
    }

    /// The track's box.
    fn trak(&self, base: u64, edit: &Edit, created_1904_s: u64) -> mp4::Trak {
        let mut trak = self.template.clone();
        (trak.tkhd.creation_time, trak.tkhd.modification_time) = (created_1904_s, created_1904_s);
        trak.tkhd.duration = edit.before + edit.length;
        for (_, entry) in &self.entries {
            if let Some((width, height)) = picture_size(entry) {
                // The window that every size fits into.
                trak.tkhd.width = trak.tkhd.width.integer().max(width).into();
                trak.tkhd.height = trak.tkhd.height.integer().max(height).into();
            }
        }
        trak.edts = (!edit.plain).then(|| mp4::Edts { elst: Some(edit_list(edit)) });
        trak.mdia.mdhd.duration = self.length();
        let all_sync = self.stss.len() == self.sizes.len();
        let no_offsets = self.ctts.iter().all(|entry| entry.sample_offset == 0);
        let offsets = self.chunks.iter().map(|chunk| base + chunk);
        let wide = self.chunks.last().is_some_and(|last| base + last > u64::from(u32::MAX));
        trak.mdia.minf.stbl = mp4::Stbl {
            stsd: mp4::Stsd { codecs: self.entries.iter().map(|(_, entry)| entry.clone()).collect() },
            stts: mp4::Stts { entries: self.stts.clone() },
            ctts: (!no_offsets).then(|| mp4::Ctts { entries: self.ctts.clone() }),
            stss: (!all_sync).then(|| mp4::Stss { entries: self.stss.clone() }),
            stsc: mp4::Stsc { entries: self.stsc.clone() },
            stsz: mp4::Stsz { samples: mp4::StszSamples::Different { sizes: self.sizes.clone() } },
            stco: (!wide).then(|| mp4::Stco {
                entries: offsets.clone().map(|offset| u32::try_from(offset).unwrap_or(u32::MAX)).collect(),
            }),
            co64: wide.then(|| mp4::Co64 { entries: offsets.collect() }),
            ..Default::default()
        };
        trak
    }
}

/// An empty edit where the track begins later than the movie, then what is shown of it (ISO/IEC 14496-12 section 8.6.6).
fn edit_list(edit: &Edit) -> mp4::Elst {
    let entry =
        |segment_duration, media_time| mp4::ElstEntry { segment_duration, media_time, media_rate: 1.into() };
    let empty = (edit.before > 0).then(|| entry(edit.before, None));
    mp4::Elst { entries: empty.into_iter().chain([entry(edit.length, Some(edit.skipped))]).collect() }
}

/// Its name by RFC 6381.
fn codec_name(entry: &mp4::Codec) -> Option<String> {
    match entry {
        mp4::Codec::Avc1(avc1) => Some(format!(
            "avc1.{:02X}{:02X}{:02X}",
            avc1.avcc.avc_profile_indication, avc1.avcc.profile_compatibility, avc1.avcc.avc_level_indication
        )),
        mp4::Codec::Mp4a(_) => Some("mp4a.40.2".to_owned()),
        _ => None,
    }
}

fn picture_size(entry: &mp4::Codec) -> Option<(u16, u16)> {
    match entry {
        mp4::Codec::Avc1(avc1) => Some((avc1.visual.width, avc1.visual.height)),
        _ => None,
    }
}

/// HLS segments as they come to be.
#[derive(Debug, Default)]
struct Segments {
    done: Vec<SegmentRange>,
    open: Option<Open>,
    init: u16,
}

#[derive(Debug)]
struct Open {
    offset: u64,
    bytes: u64,
    begins: i64,
    ends: i64,
    keyframe_bytes: u32,
    init: u16,
}

impl Segments {
    fn init(&mut self, count: usize) {
        self.close(None);
        self.init = u16::try_from(count.saturating_sub(1)).unwrap_or(u16::MAX);
    }

    /// `lead`: the run that segments follow, its clock, and whether it is video.
    fn fragment(&mut self, (offset, bytes): (u64, u64), lead: Option<(&Samples, u32, bool)>) {
        let nanos =
            |ticks: u64, clock| MediaTime::new(i64::try_from(ticks).unwrap_or(i64::MAX), clock).as_nanos();
        let Some((run, clock, is_video)) = lead else {
            if let Some(open) = &mut self.open {
                open.bytes += bytes;
            } else {
                self.open =
                    Some(Open { offset, bytes, begins: 0, ends: 0, keyframe_bytes: 0, init: self.init });
            }
            return;
        };
        let begins = nanos(run.base, clock);
        let ends = nanos(run.base + run.samples.iter().map(|s| u64::from(s.duration)).sum::<u64>(), clock);
        let opens = run.samples.first().is_some_and(|first| first.sync);
        if opens && self.open.as_ref().is_some_and(|open| begins - open.begins >= SEGMENT_NANOS) {
            self.close(Some(begins));
        }
        match &mut self.open {
            Some(open) => {
                open.bytes += bytes;
                open.ends = ends;
            }
            None => {
                // The keyframe is the first sample of the fragment, behind everything that describes it.
                let first = run.samples.first().map_or(0, |s| u64::from(s.size));
                let keyframe_bytes = if is_video && opens { run.data_offset + first } else { 0 };
                self.open = Some(Open {
                    offset,
                    bytes,
                    begins,
                    ends,
                    keyframe_bytes: u32::try_from(keyframe_bytes).unwrap_or(0),
                    init: self.init,
                });
            }
        }
    }

    fn close(&mut self, next: Option<i64>) {
        let Some(open) = self.open.take() else { return };
        let nanos = u64::try_from(next.unwrap_or(open.ends) - open.begins).unwrap_or(0);
        self.done.push(SegmentRange {
            offset: open.offset,
            bytes: open.bytes,
            duration_us: nanos / 1000,
            init: open.init,
            keyframe_bytes: open.keyframe_bytes,
        });
    }

    fn finish(&mut self) {
        self.close(None);
    }
}
