//! Rules of one version of a playlist after another (sections 6.2.1 and 6.2.2).

use std::time::Duration;

use super::Checker;
use super::alone::EPSILON_S;
use crate::date;
use crate::event::Answer;
use crate::playlist::{MediaPlaylist, Segment};

impl Checker {
    /// Compares a whole playlist with the version before, and makes it the last version unless it is an older one.
    pub(super) fn succeed(&mut self, at: usize, new: MediaPlaylist, answer: &Answer) {
        let rendition = &mut self.renditions[at];
        let (_, last_done) = rendition.last_times;
        let Some(old) = rendition.last.take() else {
            rendition.remember(&new, answer.done);
            rendition.last = Some(new);
            rendition.last_times = (answer.asked, answer.done);
            self.note_dateranges(at);
            return;
        };
        if new.last() < old.last() {
            // Two requests at once may be answered in any order; one that was sent after the other's end must not go back.
            if answer.asked >= last_done {
                let (from, to) = (old.last(), new.last());
                self.broken_in(at, "6.2.1-append", || {
                    format!("the playlist went back from {from:?} to {to:?}")
                });
            } else {
                self.compare(at, &new, &old);
            }
            self.renditions[at].last = Some(old);
            return;
        }
        self.compare(at, &old, &new);
        self.cadence(at, &old, &new, answer);
        self.hint_came_true(at, &old, &new);
        let rendition = &mut self.renditions[at];
        rendition.remember(&new, answer.done);
        rendition.last = Some(new);
        rendition.last_times = (answer.asked, answer.done);
        self.note_dateranges(at);
    }

    fn compare(&mut self, at: usize, old: &MediaPlaylist, new: &MediaPlaylist) {
        if old.target_s != new.target_s {
            let (from, to) = (old.target_s, new.target_s);
            self.broken_in(at, "6.2.1-target-constant", || {
                format!("the target duration went from {from:?} to {to:?}")
            });
        }
        let about_all = |playlist: &MediaPlaylist| -> Vec<String> {
            let target = |line: &&String| !line.starts_with("#EXT-X-TARGETDURATION");
            playlist.head.iter().filter(target).cloned().collect()
        };
        let (was, is) = (about_all(old), about_all(new));
        if was != is {
            self.broken_in(at, "6.2.1-head", || format!("{was:?} became {is:?}"));
        }
        if new.media_sequence < old.media_sequence {
            let (from, to) = (old.media_sequence, new.media_sequence);
            self.broken_in(at, "6.2.2-media-sequence", || format!("it went from {from} to {to}"));
            return;
        }
        if new.discontinuity_sequence < old.discontinuity_sequence {
            let (from, to) = (old.discontinuity_sequence, new.discontinuity_sequence);
            self.broken_in(at, "6.2.2-discontinuity-sequence", || format!("it went from {from} to {to}"));
        }
        for (was, is) in common(old, new) {
            self.compare_segment(at, was, is);
        }
        let removed = new.media_sequence - old.media_sequence;
        let target = new.target_s.unwrap_or(0) as f64;
        let left = new.duration_s();
        if removed > 0 && !old.ended && left < 3.0 * target - EPSILON_S {
            self.broken_in(at, "6.2.2-window", || {
                format!("{removed} removed, {left:.2} s left, target {target} s")
            });
        }
        if old.ended && (!new.ended || old.last() != new.last()) {
            self.broken_in(at, "4.4.3.4-endlist", || {
                format!("it went on to {:?} behind its end", new.last())
            });
        }
        self.compare_dateranges(at, old, new);
    }

    fn compare_segment(&mut self, at: usize, was: &Segment, is: &Segment) {
        let msn = was.msn;
        if was.uri.is_some() {
            if was.lines != is.lines {
                self.broken_in(at, "6.2.1-append", || {
                    format!("segment {msn}: {:?} became {:?}", was.lines, is.lines)
                });
            }
            if was.parts != is.parts && !is.parts.is_empty() {
                self.broken_in(at, "6.2.1-parts-append", || format!("parts of segment {msn} changed"));
            }
        } else {
            let kept = is.parts.get(..was.parts.len()) == Some(&was.parts[..]);
            if !kept {
                self.broken_in(at, "6.2.1-parts-append", || format!("parts of segment {msn} changed"));
            }
            // The tags before the first part are those of the whole segment; its own EXTINF comes in the end.
            let begins =
                was.lines.iter().all(|line| is.lines.contains(line)) && was.discontinuity == is.discontinuity;
            if !begins {
                self.broken_in(at, "6.2.1-append", || {
                    format!("segment {msn}: {:?} became {:?}", was.lines, is.lines)
                });
            }
        }
        let dates_differ = was.date_ms.zip(is.date_ms).is_some_and(|(was, is)| was != is);
        if was.map != is.map || dates_differ {
            let what = || {
                format!(
                    "segment {msn}: {:?}, {:?} became {:?}, {:?}",
                    was.map, was.date_ms, is.map, is.date_ms
                )
            };
            self.broken_in(at, "6.2.1-append", what);
        }
        if was.discontinuity_number != is.discontinuity_number {
            let (from, to) = (was.discontinuity_number, is.discontinuity_number);
            let what = || format!("segment {msn} went from {from} to {to}");
            self.broken_in(at, "6.2.2-discontinuity-sequence", what);
        }
    }

    /// Section 6.2.1: a date range may only go when all its dates have gone, and what it said stays.
    fn compare_dateranges(&mut self, at: usize, old: &MediaPlaylist, new: &MediaPlaylist) {
        let first_date = new.segments.iter().find_map(|segment| segment.date_ms);
        for (id, was) in &old.dateranges {
            if let Some(is) = new.dateranges.get(id) {
                if was.iter().any(|(name, value)| is.get(name) != Some(value)) {
                    self.broken_in(at, "6.2.1-daterange-kept", || {
                        format!("{id} went from {was:?} to {is:?}")
                    });
                }
                continue;
            }
            let ms = |name: &str| was.get(name).and_then(|text| date::parse_ms(text.trim_matches('"')));
            let start = ms("START-DATE").unwrap_or(0);
            let duration = was.get("DURATION").and_then(|text| text.parse::<f64>().ok());
            let end = ms("END-DATE").or_else(|| duration.map(|seconds| start + (seconds * 1000.0) as i64));
            // One that has no end yet reaches to the playlist's.
            let reaches = end.unwrap_or_else(|| if duration.is_none() { i64::MAX } else { start });
            if first_date.is_some_and(|first| reaches > first) {
                self.broken_in(at, "6.2.1-daterange-kept", || format!("{id} is gone, its dates are there"));
            }
        }
    }

    fn cadence(&mut self, at: usize, old: &MediaPlaylist, new: &MediaPlaylist, answer: &Answer) {
        let tolerance = self.options.tolerance;
        let target = Duration::from_secs(new.target_s.unwrap_or(1).clamp(1, 3600));
        let part_target = new.part_target_s.map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, 60.0)));
        let rendition = &mut self.renditions[at];
        let ends = |playlist: &MediaPlaylist| playlist.complete().next_back().map(|segment| segment.msn);
        let mut late: Vec<(&'static str, Duration, Duration)> = Vec::new();
        if ends(new) > ends(old) {
            let limit = target * 3 / 2 + tolerance;
            if let Some(before) = rendition.last_segment_at.replace(answer.done) {
                late.push(("6.2.1-segment-cadence", answer.done.saturating_sub(before), limit));
            }
        }
        if new.last() > old.last()
            && let Some(part_target) = part_target
            && let Some(before) = rendition.last_part_at.replace(answer.done)
        {
            late.push(("6.2.1-part-cadence", answer.done.saturating_sub(before), part_target + tolerance));
        }
        for (rule, took, limit) in late {
            if took > limit {
                let last = new.last();
                self.broken_in(at, rule, || format!("{last:?} came {took:?} after the one before"));
            }
        }
    }

    fn hint_came_true(&mut self, at: usize, old: &MediaPlaylist, new: &MediaPlaylist) {
        let Some(hint) = old.hints.iter().find(|hint| hint.part) else { return };
        let (msn, Some(part)) = old.next() else { return };
        let segment = |msn: u64| new.segments.iter().find(|segment| segment.msn == msn);
        let index = usize::try_from(part).unwrap_or(usize::MAX);
        // The open segment may have been closed instead: then the hinted part is the next one's first.
        let next = match segment(msn) {
            Some(same) if same.parts.len() > index => Some((same, index)),
            Some(same) if same.uri.is_some() => segment(msn + 1).map(|next| (next, 0)),
            _ => None,
        };
        let Some((parent, index)) = next else { return };
        let Some(came) = parent.parts.get(index) else { return };
        // Section 6.2.6: what was hinted may be given up when the plan changes, as at a discontinuity.
        let other_plan = parent.discontinuity && index == 0;
        if came.uri != hint.uri && !other_plan && !came.gap {
            let (hinted, came) = (hint.uri.clone(), came.uri.clone());
            self.broken_in(at, "4.4.5.3-hint-match", || format!("{hinted} was hinted, {came} came"));
        }
    }

    /// All renditions that have a date range have the same (section 6.2.4).
    fn note_dateranges(&mut self, at: usize) {
        let Some(last) = &self.renditions[at].last else { return };
        let mine = last.dateranges.clone();
        for (id, range) in &mine {
            for other in 0..self.renditions.len() {
                let theirs = self.renditions[other].dateranges.get(id);
                // One may have been told of an update that the other has not been asked for yet.
                let contradicts = theirs.is_some_and(|theirs| {
                    range.iter().any(|(name, value)| theirs.get(name).is_some_and(|their| their != value))
                });
                if other != at && contradicts {
                    self.broken_in(at, "6.2.4-dateranges", || format!("{id} is another one elsewhere"));
                }
            }
        }
        self.renditions[at].dateranges = mine;
    }
}

/// Segments that both have, by media sequence number.
fn common<'a>(
    old: &'a MediaPlaylist,
    new: &'a MediaPlaylist,
) -> impl Iterator<Item = (&'a Segment, &'a Segment)> {
    let first = new.segments.first().map_or(u64::MAX, |segment| segment.msn);
    let was = old.segments.iter().filter(move |segment| segment.msn >= first);
    was.filter_map(move |was| {
        let index = usize::try_from(was.msn - first).ok()?;
        Some((was, new.segments.get(index)?))
    })
}
