//! Rules of the media themselves, and of whether they can be had.

use bytes::Bytes;

use super::Checker;
use super::state::{PartMedia, Rendition, Span, Whole};
use crate::event::{Answer, Piece};
use crate::mp4::{Fragments, Track};
use crate::multivariant::RenditionKind;
use crate::playlist::Segment;

/// `EXTINF` and `DURATION` may be off by their rounding, and by a tick of the track's clock for each of a sum.
const DURATION_S: f64 = 0.002;
/// Program dates have milliseconds, and follow a wall clock that is corrected now and then.
const DATE_MS: f64 = 50.0;

impl Checker {
    pub(super) fn map(&mut self, at: usize, uri: String, answer: Answer) {
        self.fetched(at, &uri, &answer);
        if answer.status != 200 && answer.status != 206 {
            return;
        }
        let track = match Track::read(&answer.body) {
            Ok(track) => Some(track),
            Err(error) => {
                self.broken_in(at, "3.1.2-fmp4", || format!("map {uri}: {error}"));
                None
            }
        };
        self.renditions[at].maps.insert(uri, (answer.body, track));
    }

    /// Whether what a playlist listed was there, and may be cached.
    fn fetched(&mut self, at: usize, uri: &str, answer: &Answer) {
        self.counts.files += 1;
        self.counts.bytes += answer.body.len() as u64;
        if answer.status != 200 && answer.status != 206 {
            self.broken_in(at, "6.2.1-available", || format!("{uri} was answered with {}", answer.status));
            return;
        }
        let six = self.renditions[at].target().as_secs() * 6;
        if answer.max_age_s().is_none_or(|age| age < six) {
            let said = answer.header("cache-control").unwrap_or("nothing").to_owned();
            self.broken_in(at, "B.1-cache-media", || {
                format!("{uri}: Cache-Control says {said}, six targets are {six} s")
            });
        }
    }

    /// What a hint named was answered; its part is looked at when a playlist lists it.
    pub(super) fn hint(&mut self, at: usize, uri: String, answer: Answer) {
        self.counts.hints += 1;
        let rendition = &mut self.renditions[at];
        rendition.hints.push_back((uri, answer));
        self.match_hints(at);
    }

    /// Looks at the hinted parts that are listed by now.
    pub(super) fn match_hints(&mut self, at: usize) {
        let rendition = &mut self.renditions[at];
        let mut came = Vec::new();
        let listed = |uri: &str, rendition: &Rendition| {
            rendition.segments.iter().rev().take(4).find_map(|(msn, known)| {
                let index = known.segment.parts.iter().position(|part| part.uri == uri)?;
                Some((*msn, index as u64))
            })
        };
        let hints = std::mem::take(&mut rendition.hints);
        for (uri, answer) in hints {
            match listed(&uri, rendition) {
                Some(place) => came.push((place, uri, answer)),
                None => rendition.hints.push_back((uri, answer)),
            }
        }
        for ((msn, part), uri, answer) in came {
            self.hinted_part(at, msn, part, &uri, answer);
        }
    }

    fn hinted_part(&mut self, at: usize, msn: u64, part: u64, uri: &str, answer: Answer) {
        let rendition = &mut self.renditions[at];
        let listed_at = rendition.first.get(&(msn, part)).copied().unwrap_or(answer.done);
        let part_target = rendition.part_target().unwrap_or_default();
        let late = answer.done.saturating_sub(listed_at);
        let whole = answer.done.saturating_sub(answer.began);
        let tolerance = self.options.tolerance;
        if answer.status != 200 && answer.status != 206 {
            self.broken_in(at, "6.2.6-hint", || {
                format!("{uri} was hinted, and answered with {}", answer.status)
            });
            return;
        }
        let rendition = &mut self.renditions[at];
        if let Some(first) = rendition.first.get_mut(&(msn, part)) {
            *first = (*first).min(answer.done);
        }
        if late > part_target + tolerance {
            self.broken_in(at, "6.2.6-hint", || format!("{uri} was answered {late:?} after it was listed"));
        }
        if whole > part_target / 2 + tolerance {
            self.broken_in(at, "6.2.6-hint-whole", || {
                format!("{uri} took {whole:?} from its first byte to its last")
            });
        }
        self.media(at, Piece::Part(msn, part), answer);
    }

    pub(super) fn removed(&mut self, at: usize, piece: Piece, answer: &Answer) {
        self.counts.removed += 1;
        if answer.status != 200 && answer.status != 206 {
            let rule = match piece {
                Piece::Segment(_) => "6.2.2-removed-segment",
                Piece::Part(..) => "6.2.2-removed-part",
            };
            self.broken_in(at, rule, || format!("{piece:?} was answered with {}", answer.status));
        }
    }

    pub(super) fn media(&mut self, at: usize, piece: Piece, answer: Answer) {
        let (Piece::Segment(msn) | Piece::Part(msn, _)) = piece;
        let Some(known) = self.renditions[at].segments.get(&msn) else { return };
        let segment = known.segment.clone();
        let uri = match piece {
            Piece::Segment(_) => segment.uri.clone().unwrap_or_default(),
            Piece::Part(_, part) => {
                segment.parts.get(part as usize).map_or_else(String::new, |part| part.uri.clone())
            }
        };
        self.fetched(at, &uri, &answer);
        if answer.status != 200 && answer.status != 206 {
            return;
        }
        // Without a readable map that was told already.
        let Some(track) = self.renditions[at].track(&segment).cloned() else { return };
        let fragments = match Fragments::read(&track, &answer.body) {
            Ok(fragments) => fragments,
            Err(error) => {
                self.broken_in(at, "3.1.2-fmp4", || format!("{uri}: {error}"));
                return;
            }
        };
        if !fragments.is_continuous() {
            let begins = fragments.begins.clone();
            self.broken_in(at, "6.2.1-timeline", || {
                format!("{uri} has a hole or overlap inside: {begins:?}")
            });
        }
        if track.is_video() && fragments.samples.iter().any(|sample| sample.sync != sample.independent) {
            self.broken_in(at, "our-sync-flags", || {
                format!("{uri} has sync samples that are no IDR pictures, or the other way round")
            });
        }
        match piece {
            Piece::Segment(_) => self.whole_segment(at, &segment, &track, answer.body, fragments),
            Piece::Part(_, part) => self.part(at, &segment, part, &track, answer.body, fragments),
        }
        self.compare_parts(at, msn, &track);
        self.timeline(at, msn);
        self.format(at, msn);
    }

    fn whole_segment(
        &mut self,
        at: usize,
        segment: &Segment,
        track: &Track,
        bytes: Bytes,
        fragments: Fragments,
    ) {
        self.counts.segments += 1;
        let msn = segment.msn;
        let span = Span { begin: fragments.begin(), end: fragments.end(), timescale: track.timescale };
        let i_frames = self.renditions[at].kind == RenditionKind::IFrames;
        if !i_frames && (span.seconds() - segment.duration_s).abs() > DURATION_S {
            let (media, said) = (span.seconds(), segment.duration_s);
            self.broken_in(at, "4.4.4.1-extinf", || {
                format!("segment {msn} lasts {media:.4} s, EXTINF is {said} s")
            });
        }
        let promised = self.multivariant.as_ref().is_some_and(|playlist| playlist.independent_segments)
            || self.renditions[at].last.as_ref().is_some_and(|playlist| playlist.independent_segments);
        let first = fragments.samples.first().is_some_and(|sample| sample.independent);
        if i_frames {
            if !first || fragments.samples.len() != 1 {
                let count = fragments.samples.len();
                self.broken_in(at, "4.4.3.6-i-frame", || {
                    format!("segment {msn}: {count} frames, IDR first is {first}")
                });
            }
        } else if promised && !first {
            self.broken_in(at, "4.4.2.1-independent-segments", || {
                format!("segment {msn} begins with no IDR picture")
            });
        }
        self.date(at, segment, track, &fragments);
        let samples = fragments.samples.len();
        let whole = Whole { span, bytes: bytes.len() as u64, samples, media: Some((bytes, fragments)) };
        if let Some(known) = self.renditions[at].segments.get_mut(&msn) {
            known.whole = Some(whole);
        }
    }

    fn part(
        &mut self,
        at: usize,
        segment: &Segment,
        index: u64,
        track: &Track,
        bytes: Bytes,
        fragments: Fragments,
    ) {
        self.counts.parts += 1;
        let msn = segment.msn;
        let Some(part) = segment.parts.get(index as usize) else { return };
        let (begin, end) = (fragments.begin(), fragments.end());
        let seconds = (end - begin) as f64 / f64::from(track.timescale);
        if (seconds - part.duration_s).abs() > DURATION_S {
            let said = part.duration_s;
            self.broken_in(at, "4.4.4.9-part-duration", || {
                format!("part {index} of {msn} lasts {seconds:.4} s, DURATION is {said} s")
            });
        }
        let independent = fragments.samples.iter().any(|sample| sample.independent);
        if part.independent && !independent {
            self.broken_in(at, "4.4.4.9-independent", || format!("part {index} of {msn} has no IDR picture"));
        }
        if independent && !part.independent {
            self.broken_in(at, "4.4.4.9-independent-unmarked", || {
                format!("part {index} of {msn} has an independent frame")
            });
        }
        if let Some(known) = self.renditions[at].segments.get_mut(&msn) {
            let same = known
                .parts
                .get(&index)
                .and_then(|part| part.media.as_ref())
                .is_none_or(|(other, _)| *other == bytes);
            known.parts.insert(index, PartMedia { begin, end, media: Some((bytes, fragments)) });
            if !same {
                self.broken_in(at, "6.2.6-hint", || {
                    format!("part {index} of {msn} has other bytes than what was hinted")
                });
            }
        }
    }

    /// A segment and its parts, once all of them are there.
    fn compare_parts(&mut self, at: usize, msn: u64, track: &Track) {
        let Some(known) = self.renditions[at].segments.get_mut(&msn) else { return };
        let count = known.segment.parts.len();
        let Some(Whole { media: Some((whole, in_whole)), .. }) = &known.whole else { return };
        if known.segment.uri.is_some() && count == 0 {
            // No parts were ever listed: nothing to compare with.
            known.let_go();
            return;
        }
        let all: Vec<&Bytes> =
            known.parts.values().filter_map(|part| part.media.as_ref()).map(|(bytes, _)| bytes).collect();
        if known.compared || known.segment.uri.is_none() || all.len() < count {
            return;
        }
        let joined: Vec<u8> = all.iter().flat_map(|bytes| bytes.iter().copied()).collect();
        let same_bytes = joined == whole[..];
        let in_parts = Fragments::read(track, &joined);
        // The samples with their times, and their bytes; boxes around them may differ.
        let same_samples = in_parts
            .as_ref()
            .is_ok_and(|parts| parts.samples == in_whole.samples && parts.hash == in_whole.hash);
        let samples = (in_whole.samples.len(), in_parts.map_or(0, |parts| parts.samples.len()));
        let lengths = (whole.len(), joined.len());
        known.compared = true;
        known.let_go();
        self.counts.segments_compared += 1;
        if !same_samples {
            let what = || format!("segment {msn} and its {count} parts have {samples:?} samples, or others");
            self.broken_in(at, "3.2-part-samples", what);
        } else if !same_bytes {
            self.broken_in(at, "our-part-bytes", || {
                format!("segment {msn} and its parts have {lengths:?} bytes, or others")
            });
        }
    }

    /// Each piece begins where the one before ended (section 6.2.1).
    fn timeline(&mut self, at: usize, msn: u64) {
        if self.renditions[at].kind == RenditionKind::IFrames {
            return;
        }
        let rendition = &self.renditions[at];
        let begin = |msn: u64| {
            let known = rendition.segments.get(&msn)?;
            let part = known.parts.get(&0).map(|part| part.begin);
            part.or_else(|| Some(known.whole.as_ref()?.span.begin))
        };
        let end = |msn: u64| {
            let known = rendition.segments.get(&msn)?;
            let last =
                (known.segment.parts.len() as u64).checked_sub(1).filter(|_| known.segment.uri.is_some());
            let whole = known.whole.as_ref().map(|whole| whole.span.end);
            whole.or_else(|| Some(known.parts.get(&last?)?.end))
        };
        let mut holes = Vec::new();
        for next in [msn, msn + 1] {
            let Some(known) = rendition.segments.get(&next) else { continue };
            let before = next.checked_sub(1).and_then(|before| rendition.segments.get(&before));
            let gap = known.segment.gap || before.is_some_and(|before| before.segment.gap);
            let (Some(was), Some(is)) = (next.checked_sub(1).and_then(end), begin(next)) else { continue };
            if was != is && !known.segment.discontinuity && !gap {
                holes.push(format!("segment {next} begins at {is}, the one before ends at {was}"));
            }
        }
        if let Some(known) = rendition.segments.get(&msn) {
            for (index, part) in &known.parts {
                let before = index.checked_sub(1).and_then(|before| known.parts.get(&before));
                if let Some(before) = before
                    && before.end != part.begin
                {
                    holes.push(format!(
                        "part {index} of {msn} begins at {}, the one before ends at {}",
                        part.begin, before.end
                    ));
                }
            }
        }
        for hole in holes {
            self.broken_in(at, "6.2.1-timeline", || hole);
        }
    }

    /// Another map without a discontinuity must be the same one (section 6.2.1).
    fn format(&mut self, at: usize, msn: u64) {
        let rendition = &self.renditions[at];
        let Some(known) = rendition.segments.get(&msn) else { return };
        let Some(before) = msn.checked_sub(1).and_then(|before| rendition.segments.get(&before)) else {
            return;
        };
        let bytes = |segment: &Segment| Some(&rendition.maps.get(&segment.map.as_ref()?.uri)?.0);
        let changed = bytes(&known.segment) != bytes(&before.segment);
        if changed && bytes(&before.segment).is_some() && !known.segment.discontinuity {
            self.broken_in(at, "6.2.1-format", || {
                format!("segment {msn} has another map and no discontinuity")
            });
        }
    }

    /// Program dates against media times (section 6.2.4), and against each other.
    fn date(&mut self, at: usize, segment: &Segment, track: &Track, fragments: &Fragments) {
        let Some(date_ms) = segment.date_ms else { return };
        let Some(first) = fragments.samples.first() else { return };
        let shown = first.time as f64 + f64::from(first.offset);
        let zero_ms = date_ms as f64 - shown * 1000.0 / f64::from(track.timescale);
        let number = segment.discontinuity_number;
        let mut reference = None;
        for rendition in &self.renditions {
            reference = reference.or_else(|| rendition.date_at_zero.get(&number).copied());
        }
        self.renditions[at].date_at_zero.entry(number).or_insert(zero_ms);
        while self.renditions[at].date_at_zero.len() > 100 {
            self.renditions[at].date_at_zero.pop_first();
        }
        if let Some(reference) = reference
            && (zero_ms - reference).abs() > DATE_MS
        {
            let (msn, off) = (segment.msn, zero_ms - reference);
            self.broken_in(at, "6.2.4-dates", || format!("the date of segment {msn} is {off:+.0} ms off"));
        }
        let before = segment.msn.checked_sub(1).and_then(|before| self.renditions[at].segments.get(&before));
        let Some((before, before_ms)) =
            before.and_then(|known| Some((&known.segment, known.segment.date_ms?)))
        else {
            return;
        };
        let off = (date_ms - before_ms) as f64 - before.duration_s * 1000.0;
        let (msn, backwards) = (segment.msn, date_ms <= before_ms || off < -1000.0);
        let discontinuity = segment.discontinuity;
        if backwards {
            self.broken_in(at, "6.2.1-date-order", || {
                format!("segment {msn} is dated {off:+.0} ms from the end of the one before")
            });
        } else if off.abs() > DATE_MS && !discontinuity {
            self.broken_in(at, "our-date-extinf", || {
                format!("segment {msn} is dated {off:+.0} ms from the end of the one before")
            });
        }
    }
}
