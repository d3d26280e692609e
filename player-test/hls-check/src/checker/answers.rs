//! Rules of how playlists are asked for and answered: delivery directives (section 6.2.5), caches (appendix B.1), rendition reports.

use std::time::Duration;

use super::Checker;
use super::alone::{self, EPSILON_S};
use super::state::{KEPT_PLAYLISTS, Told, Wait};
use crate::event::{Answer, Ask, SkipAsk};
use crate::multivariant::RenditionKind;
use crate::playlist::MediaPlaylist;

/// Delays that are kept for the report: hours of some renditions.
const MAX_DELAYS: usize = 500_000;

impl Checker {
    pub(super) fn media_playlist(&mut self, at: usize, ask: Ask, answer: &Answer) {
        let path = self.renditions[at].url.path().to_owned();
        self.counts.playlists += 1;
        if answer.status != 200 {
            self.refused(at, ask, answer);
            return;
        }
        self.content_type(&path, answer);
        self.playlist_cache(at, ask, answer);
        let Some(text) = self.text(&path, answer) else { return };
        let (playlist, faults) = MediaPlaylist::read(&text);
        self.faults(&path, faults);
        let mut faults = crate::rules::Faults::default();
        alone::check(&playlist, &mut faults);
        self.faults(&path, faults);
        self.counts.blocking += u64::from(ask.msn.is_some());
        let Some(whole) = self.whole(at, ask, playlist, answer) else { return };
        self.waited(at, ask, &whole, answer);
        self.reports(at, &whole, answer);
        self.succeed(at, whole, answer);
        self.match_hints(at);
    }

    fn refused(&mut self, at: usize, ask: Ask, answer: &Answer) {
        let held = answer.done.saturating_sub(answer.asked);
        let query = ask.query();
        let Some(msn) = ask.msn else {
            self.broken_in(at, "6.2.1-available", || {
                format!("the playlist was answered with {}", answer.status)
            });
            return;
        };
        // Section 6.2.5.2: after three target durations the server gives up, and says so.
        let gave_up =
            answer.status == 503 && held + self.options.tolerance >= self.renditions[at].target() * 3;
        let ended = self.renditions[at].last.as_ref().is_none_or(|last| last.ended);
        let far = self.renditions[at]
            .last
            .as_ref()
            .and_then(|last| last.segments.last())
            .is_some_and(|last| msn > last.msn + 2);
        if !gave_up && !ended && !far {
            self.broken_in(at, "6.2.5.2-answer", || {
                format!("?{query} was answered with {} after {held:?}", answer.status)
            });
        }
    }

    fn playlist_cache(&mut self, at: usize, ask: Ask, answer: &Answer) {
        let said = answer.header("cache-control").unwrap_or("nothing").to_owned();
        let max_age = answer.max_age_s();
        let half = (self.renditions[at].target().as_secs().div_ceil(2)).max(1);
        let ended = self.renditions[at].last.as_ref().is_none_or(|last| last.ended);
        if ask.msn.is_some() && max_age.is_none_or(|age| age == 0) && !ended {
            self.broken_in(at, "B.1-cache-blocking", || {
                format!("?{}: Cache-Control says {said}", ask.query())
            });
        }
        if ask.msn.is_none() && max_age.is_none_or(|age| age > half) && !ended {
            self.broken_in(at, "B.1-cache-playlist", || {
                format!("Cache-Control says {said}, the half is {half} s")
            });
        }
    }

    /// The whole playlist: a delta update is merged with the last version (section 6.2.5.1).
    fn whole(
        &mut self,
        at: usize,
        ask: Ask,
        playlist: MediaPlaylist,
        answer: &Answer,
    ) -> Option<MediaPlaylist> {
        let boundary = playlist.server_control.as_ref().and_then(|control| control.can_skip_until_s);
        let rest: Vec<f64> = playlist.complete().map(|segment| segment.duration_s).collect();
        let Some(skip) = &playlist.skip else {
            // Is there a segment whose end is further from the end than the boundary?
            let behind_first: f64 = rest.iter().skip(1).sum();
            if ask.skip.is_some()
                && boundary.is_some_and(|until| behind_first > until + EPSILON_S)
                && !playlist.ended
            {
                self.broken_in(at, "6.2.5.1-delta", || {
                    "a full playlist where a delta update was asked for".to_owned()
                });
            }
            if ask.skip.is_none() {
                let full = &mut self.renditions[at].full;
                full.push_back(playlist.clone());
                if full.len() > KEPT_PLAYLISTS {
                    full.pop_front();
                }
                self.compare_delta(at);
            }
            return Some(playlist);
        };
        self.counts.deltas += 1;
        if ask.skip.is_none() || boundary.is_none() || playlist.ended {
            self.broken_in(at, "6.2.5.1-delta", || {
                "a delta update where none was asked for, or none is offered".to_owned()
            });
        }
        let with_dateranges = skip.removed_dateranges.is_some();
        if with_dateranges != (ask.skip == Some(SkipAsk::SegmentsAndDateRanges)) && ask.skip.is_some() {
            let what = || format!("{ask:?}: date ranges skipped is {with_dateranges}");
            self.broken_in(at, "6.2.5.1-delta", what);
        }
        let left: f64 = rest.iter().sum();
        if boundary.is_some_and(|until| left < until - EPSILON_S) {
            let skipped = skip.segments;
            let what = || format!("{skipped} skipped, {left:.2} s left of {boundary:?} s");
            self.broken_in(at, "6.2.5.1-boundary", what);
        }
        let rendition = &mut self.renditions[at];
        let before = rendition.last.as_ref()?;
        let first_kept = playlist.media_sequence + playlist.skipped();
        let Some(merged) = playlist.merged(before) else {
            // Versions older than half the boundary need not do.
            let age = answer.began.saturating_sub(rendition.last_times.1);
            let recent = boundary.is_some_and(|until| age < Duration::from_secs_f64(until.max(0.0) / 2.0));
            if recent {
                let what =
                    || format!("{} to {first_kept} are skipped and were not there", playlist.media_sequence);
                self.broken_in(at, "6.2.5.1-merge", what);
            }
            return None;
        };
        rendition.merged.push_back((first_kept, merged.clone()));
        if rendition.merged.len() > KEPT_PLAYLISTS {
            rendition.merged.pop_front();
        }
        self.compare_delta(at);
        Some(merged)
    }

    /// Compares merged delta updates with full playlists that end at the same place.
    fn compare_delta(&mut self, at: usize) {
        let rendition = &mut self.renditions[at];
        let mut different: Vec<String> = Vec::new();
        let full = &rendition.full;
        let mut compared = 0;
        rendition.merged.retain(|(first_kept, merged)| {
            let same = |full: &&MediaPlaylist| {
                full.last() == merged.last()
                    && full.media_sequence == merged.media_sequence
                    && full.segments.last().map(|last| last.uri.is_some())
                        == merged.segments.last().map(|last| last.uri.is_some())
            };
            let Some(full) = full.iter().find(same) else { return true };
            compared += 1;
            different.extend(difference(full, merged, *first_kept));
            false
        });
        self.counts.deltas_compared += compared;
        for what in different {
            self.broken_in(at, "6.2.5.1-equal", || what);
        }
    }

    fn waited(&mut self, at: usize, ask: Ask, playlist: &MediaPlaylist, answer: &Answer) {
        let Some(msn) = ask.msn else { return };
        if playlist.ended {
            return;
        }
        if !playlist.has(msn, ask.part) {
            let (query, last) = (ask.query(), playlist.last());
            self.broken_in(at, "6.2.5.2-early", || {
                format!("?{query} was answered with a playlist up to {last:?}")
            });
            return;
        }
        let (asked, done) = (answer.asked, answer.done);
        self.renditions[at].waits.push_back(Wait { msn, part: ask.part, asked, done });
    }

    fn reports(&mut self, at: usize, playlist: &MediaPlaylist, answer: &Answer) {
        let url = self.renditions[at].url.clone();
        let mut about = Vec::new();
        for report in &playlist.reports {
            // Section 4.4.5.4: relative to this playlist.
            let relative = !report.uri.contains("://");
            let without_query = |url: &reqwest::Url| url.path().to_owned();
            let named = url.join(&report.uri).ok().map(|url| without_query(&url));
            let other = self.renditions.iter().position(|other| Some(without_query(&other.url)) == named);
            let (Some(other), true) = (other.filter(|other| *other != at), relative) else {
                let uri = report.uri.clone();
                self.broken_in(at, "4.4.5.4-report-uri", || format!("{uri} is no other rendition"));
                continue;
            };
            about.push(other);
            // What is left out is as in this playlist.
            let Some((msn, part)) = playlist.last() else { continue };
            let last =
                (report.msn.unwrap_or(msn), report.part.or(if report.msn.is_none() { part } else { None }));
            self.told.push(Told { by: at, about: other, last, began: answer.began, done: answer.done });
        }
        if playlist.part_target_s.is_none() || playlist.ended {
            return;
        }
        for other in 0..self.renditions.len() {
            let wanted = self.renditions[other].kind != RenditionKind::IFrames
                && self.renditions[at].kind != RenditionKind::IFrames;
            if other != at && wanted && !about.contains(&other) {
                let path = self.renditions[other].url.path().to_owned();
                self.broken_in(at, "B.1-reports", || format!("no report on {path}"));
            }
        }
    }

    /// Judges what ended before `until`: by then everything is known that it is compared with.
    pub(super) fn settle(&mut self, until: Duration) {
        for at in 0..self.renditions.len() {
            while self.renditions[at].waits.front().is_some_and(|wait| wait.done <= until) {
                if let Some(wait) = self.renditions[at].waits.pop_front() {
                    self.judge_wait(at, wait);
                }
            }
        }
        let told = std::mem::take(&mut self.told);
        for one in told {
            if one.done > until {
                self.told.push(one);
            } else {
                self.judge_report(one);
            }
        }
    }

    fn judge_wait(&mut self, at: usize, wait: Wait) {
        let Wait { msn, part, asked, done } = wait;
        let rendition = &self.renditions[at];
        let Some(since) = rendition.since(msn, part) else { return };
        let limit =
            rendition.part_target().unwrap_or_else(|| rendition.target() / 2) + self.options.tolerance;
        let late = done.saturating_sub(since.max(asked));
        if self.counts.answer_after_ms.len() < MAX_DELAYS {
            self.counts.answer_after_ms.push(late);
        }
        if late > limit {
            self.broken_in(at, "6.2.5.2-late", || {
                format!("{msn}/{part:?} was answered {late:?} after it was there")
            });
        }
    }

    fn judge_report(&mut self, told: Told) {
        let Told { by, about, last, began, done } = told;
        let other = &self.renditions[about];
        let part_target = other.part_target().unwrap_or_default();
        let (msn, part) = last;
        // A report on a rendition with parts that only has LAST-MSN lacks a required attribute.
        if part.is_none() && !part_target.is_zero() {
            self.broken_in(by, "4.4.5.4-report-true", || format!("the report on {msn} has no LAST-PART"));
            return;
        }
        self.counts.reports += 1;
        let came = other.since(msn, part);
        let limit = done + part_target / 2 + self.options.tolerance;
        // Nothing of it yet at the end of the run tells nothing, unless it was looked for later.
        let looked = other.seen.back().is_some_and(|seen| seen.done > limit);
        if came.map_or(looked, |came| came > limit) {
            let what = || {
                format!(
                    "{last:?} of {} came at {came:?}, was told at {done:?}",
                    self.renditions[about].url.path()
                )
            };
            let what = what();
            self.broken_in(by, "4.4.5.4-report-true", || what);
            return;
        }
        let before = began.saturating_sub(part_target + self.options.tolerance);
        let known = other.seen.iter().rev().find(|seen| seen.done <= before);
        if let Some(known) = known
            && known.last > last
        {
            let (known, path) = (known.last, self.renditions[about].url.path().to_owned());
            self.broken_in(by, "4.4.5.4-report-fresh", || {
                format!("{path} was at {known:?} before, the report says {last:?}")
            });
        }
    }
}

/// What differs between a full playlist and a merged delta update. Parts are compared where the update had them.
fn difference(full: &MediaPlaylist, merged: &MediaPlaylist, first_kept: u64) -> Option<String> {
    let plain = |playlist: &MediaPlaylist| {
        let mut plain = playlist.clone();
        for segment in plain.segments.iter_mut().filter(|segment| segment.msn < first_kept) {
            segment.parts.clear();
        }
        plain
    };
    let (full, merged) = (plain(full), plain(merged));
    let segment = full.segments.iter().zip(&merged.segments).find(|(full, merged)| full != merged);
    if let Some((full, merged)) = segment {
        return Some(format!("segment {}: {full:?} in full, {merged:?} merged", full.msn));
    }
    if full.segments.len() != merged.segments.len() {
        return Some(format!("{} segments in full, {} merged", full.segments.len(), merged.segments.len()));
    }
    if full.head != merged.head {
        return Some(format!("{:?} in full, {:?} merged", full.head, merged.head));
    }
    if full.hints != merged.hints {
        return Some(format!("{:?} in full, {:?} merged", full.hints, merged.hints));
    }
    (full.dateranges != merged.dateranges).then(|| "other date ranges".to_owned())
}
