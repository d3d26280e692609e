//! Rules between renditions (section 6.2.4), and of what the multivariant playlist says of them (section 4.4.6.2).

use std::collections::BTreeMap;

use super::Checker;
use super::state::{Known, Rendition};
use crate::mp4::{Coding, Track};
use crate::multivariant::{RenditionKind, Variant};

/// How much the measured rate of pictures may differ from `FRAME-RATE`, as shares above and below.
const RATE: (f64, f64) = (1.05, 0.75);
/// Sizes of segments are no constant: a peak this share above what was promised before is no lie.
const BANDWIDTH: f64 = 1.1;
/// Segments of audio end at whole frames of audio, those of video at whole pictures: so far apart they may begin, seconds.
const ALIGNED_S: f64 = 0.1;

impl Checker {
    pub(super) fn compare_renditions(&mut self) {
        // Playlists of I-frames may differ in nothing of this while they are live (section 6.2.4); their segments are pictures, not spans.
        let there: Vec<usize> =
            (0..self.renditions.len()).filter(|at| self.renditions[*at].last.is_some()).collect();
        let live: Vec<usize> =
            there.iter().copied().filter(|at| self.renditions[*at].kind != RenditionKind::IFrames).collect();
        let Some(&first) = live.first() else { return };
        for at in there.into_iter().filter(|at| *at != first) {
            self.same_promises(first, at);
        }
        for &at in &live[1..] {
            self.same_times(first, at);
        }
        self.needless(&live);
    }

    fn same_promises(&mut self, first: usize, at: usize) {
        let (Some(one), Some(other)) = (&self.renditions[first].last, &self.renditions[at].last) else {
            return;
        };
        let targets = (one.target_s, other.target_s);
        let control =
            |playlist: &crate::MediaPlaylist| playlist.server_control.clone().map(|control| control.written);
        let controls = (control(one), control(other));
        let dated = |playlist: &crate::MediaPlaylist| {
            playlist.segments.iter().any(|segment| segment.date_ms.is_some())
        };
        let dates = (dated(one), dated(other));
        if targets.0 != targets.1 {
            self.broken_in(at, "6.2.4-target", || format!("target durations {targets:?}"));
        }
        if controls.0 != controls.1 {
            self.broken_in(at, "6.2.4-server-control", || format!("{controls:?}"));
        }
        if dates.0 != dates.1 {
            self.broken_in(at, "6.2.4-dates", || "one has program dates, another has none".to_owned());
        }
    }

    fn same_times(&mut self, first: usize, at: usize) {
        let times = |rendition: &Rendition| -> BTreeMap<u64, (f64, f64, u64)> {
            let spans = rendition.segments.iter().filter_map(|(msn, known)| {
                let span = known.whole.as_ref()?.span;
                Some((*msn, (span.begin_s(), span.end_s(), known.segment.discontinuity_number)))
            });
            spans.collect()
        };
        let (one, other) = (times(&self.renditions[first]), times(&self.renditions[at]));
        let begins_anew = |msn: &u64| {
            self.renditions[at].segments.get(msn).is_some_and(|known| known.segment.discontinuity)
        };
        let mut numbers = None;
        let mut apart = None;
        for (msn, (begin, end, number)) in &other {
            let middle = f64::midpoint(*begin, *end);
            // Timelines may begin anew at a discontinuity, so a time alone does not name a place.
            let same = one.iter().find(|(other_msn, (begin, end, _))| {
                (*begin..*end).contains(&middle) && other_msn.abs_diff(*msn) <= 2
            });
            if let Some((_, (_, _, their))) = same
                && their != number
            {
                numbers = numbers.or(Some((*msn, *number, *their)));
            }
            // Where a timeline begins, each track begins with what its publisher sends first.
            if let Some((their, _, _)) = one.get(msn)
                && !begins_anew(msn)
                && (their - begin).abs() > ALIGNED_S
            {
                apart = apart.or(Some((*msn, begin - their)));
            }
        }
        if let Some((msn, number, their)) = numbers {
            self.broken_in(at, "6.2.4-discontinuity", || {
                format!("segment {msn} has number {number}, elsewhere {their}")
            });
        }
        if let Some((msn, by)) = apart {
            self.broken_in(at, "our-aligned", || {
                format!("segment {msn} begins {by:+.3} s from that of another rendition")
            });
        }
    }

    /// A discontinuity at which in no rendition the timeline breaks or the format changes.
    fn needless(&mut self, live: &[usize]) {
        let mut breaks: BTreeMap<u64, (bool, usize, u64)> = BTreeMap::new();
        for &at in live {
            let rendition = &self.renditions[at];
            for (msn, known) in &rendition.segments {
                let before = msn.checked_sub(1).and_then(|before| rendition.segments.get(&before));
                let Some(before) = before.filter(|_| known.segment.discontinuity) else { continue };
                let (Some(was), Some(is)) = (&before.whole, &known.whole) else { continue };
                let bytes = |known: &Known| {
                    rendition.maps.get(&known.segment.map.as_ref()?.uri).map(|map| map.0.clone())
                };
                let real = was.span.end != is.span.begin || bytes(before) != bytes(known);
                let entry = breaks.entry(known.segment.discontinuity_number).or_insert((false, at, *msn));
                entry.0 |= real;
            }
        }
        for (number, (real, at, msn)) in breaks {
            if !real {
                self.broken_in(at, "our-needless-discontinuity", || {
                    format!("number {number}, segment {msn}")
                });
            }
        }
    }

    pub(super) fn compare_variants(&mut self) {
        let Some(multivariant) = self.multivariant.clone() else { return };
        for variant in &multivariant.variants {
            let Some(at) = self.renditions.iter().position(|rendition| rendition.uri == variant.uri) else {
                continue;
            };
            let group =
                multivariant.media.iter().filter(|media| Some(&media.group) == variant.audio.as_ref());
            let uris: Vec<&String> =
                group.filter(|media| media.kind == "AUDIO").filter_map(|media| media.uri.as_ref()).collect();
            let audio: Vec<usize> =
                (0..self.renditions.len()).filter(|at| uris.contains(&&self.renditions[*at].uri)).collect();
            self.codecs(variant, at, &audio);
            self.pictures(variant, at);
            self.bandwidth(variant, at, &audio);
        }
    }

    fn codecs(&mut self, variant: &Variant, at: usize, audio: &[usize]) {
        let Some(said) = &variant.codecs else { return };
        let mut formats: Vec<String> = Vec::new();
        for at in audio.iter().chain([&at]) {
            let tracks = self.renditions[*at].maps.values().filter_map(|(_, track)| track.as_ref());
            formats.extend(tracks.map(|track| track.codec().to_owned()));
        }
        formats.sort();
        formats.dedup();
        let missing: Vec<_> =
            formats.iter().filter(|one| said.iter().all(|said| !said.eq_ignore_ascii_case(one))).collect();
        if !missing.is_empty() {
            let what = format!("CODECS says {said:?}, the media are {formats:?}");
            self.broken_in(at, "6.2.4-codecs", || what);
        }
    }

    fn pictures(&mut self, variant: &Variant, at: usize) {
        let rendition = &self.renditions[at];
        let sizes = rendition.maps.values().filter_map(|(_, track)| match track {
            Some(Track { coding: Coding::H264 { size, .. }, .. }) => Some(*size),
            _ => None,
        });
        let sizes: Vec<_> = sizes.collect();
        let (mut pictures, mut seconds) = (0, 0.0);
        for whole in rendition.segments.values().filter_map(|known| known.whole.as_ref()) {
            pictures += whole.samples;
            seconds += whole.span.seconds();
        }
        if sizes.is_empty() {
            return;
        }
        if let Some(said) = variant.resolution
            && sizes.iter().any(|size| *size != said)
        {
            self.broken_in(at, "4.4.6.2-resolution", || {
                format!("RESOLUTION says {said:?}, pictures have {sizes:?}")
            });
        }
        if let Some(said) = variant.frame_rate
            && seconds > 0.0
            && !variant.i_frames
        {
            let rate = pictures as f64 / seconds;
            if rate > said * RATE.0 || rate < said * RATE.1 {
                self.broken_in(at, "4.4.6.2-frame-rate", || {
                    format!("FRAME-RATE says {said}, there are {rate:.3} a second")
                });
            }
        }
    }

    fn bandwidth(&mut self, variant: &Variant, at: usize, audio: &[usize]) {
        let measured = peak(&self.renditions[at])
            + audio.iter().map(|at| peak(&self.renditions[*at])).fold(0.0, f64::max);
        self.counts.peak_bits.insert(variant.uri.clone(), measured.round() as u64);
        if measured > variant.bandwidth as f64 * BANDWIDTH {
            let said = variant.bandwidth;
            self.broken_in(at, "4.4.6.2-bandwidth", || {
                format!("BANDWIDTH says {said}, the peak was {measured:.0}")
            });
        }
    }
}

/// The peak segment bit rate (section 2): the largest of any contiguous segments of half to one and a half target durations together.
fn peak(rendition: &Rendition) -> f64 {
    let target = rendition.target().as_secs_f64();
    // By what is listed: a keyframe fetched alone lasts as long as its segment (section 4.4.3.6).
    let sizes = rendition
        .segments
        .values()
        .filter_map(|known| Some((known.segment.duration_s, known.whole.as_ref()?.bytes)));
    let sizes: Vec<(f64, u64)> = sizes.collect();
    let mut peak: f64 = 0.0;
    for from in 0..sizes.len() {
        let (mut seconds, mut bytes) = (0.0, 0);
        for (length, size) in &sizes[from..] {
            seconds += length;
            bytes += size;
            if seconds > 1.5 * target {
                break;
            }
            if seconds >= 0.5 * target {
                peak = peak.max(bytes as f64 * 8.0 / seconds);
            }
        }
    }
    peak
}
