//! A media playlist, read strictly: everything that is wrong by itself becomes a fault, and reading goes on.

use std::collections::BTreeMap;

use crate::attributes::Attributes;
use crate::date;
use crate::lines::{self, Line, Of, Tagged};
use crate::rules::Faults;

/// A byte range: length, and where it begins when that is said.
pub type ByteRange = (u64, Option<u64>);

/// `EXT-X-SERVER-CONTROL` (section 4.4.3.8). Times in seconds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServerControl {
    /// `CAN-SKIP-UNTIL`.
    pub can_skip_until_s: Option<f64>,
    /// `CAN-SKIP-DATERANGES`.
    pub can_skip_dateranges: bool,
    /// `HOLD-BACK`.
    pub hold_back_s: Option<f64>,
    /// `PART-HOLD-BACK`.
    pub part_hold_back_s: Option<f64>,
    /// `CAN-BLOCK-RELOAD`.
    pub can_block_reload: bool,
    pub(crate) written: Vec<(String, String)>,
}

/// A media initialisation section (section 4.4.4.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map {
    /// URI as written.
    pub uri: String,
    /// Part of the resource, if not all of it.
    pub range: Option<ByteRange>,
}

/// A partial segment (section 4.4.4.9).
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// URI as written.
    pub uri: String,
    /// `DURATION`, seconds.
    pub duration_s: f64,
    /// `INDEPENDENT`.
    pub independent: bool,
    /// `GAP`.
    pub gap: bool,
    /// Part of the resource, if not all of it.
    pub range: Option<ByteRange>,
}

/// A media segment with all that applies to it; without a URI it is the open one at the live edge.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Media sequence number.
    pub msn: u64,
    /// Discontinuity sequence number.
    pub discontinuity_number: u64,
    /// URI as written; `None` while it is open.
    pub uri: Option<String>,
    /// `EXTINF`, seconds; 0 while it is open.
    pub duration_s: f64,
    /// Part of the resource, if not all of it.
    pub range: Option<ByteRange>,
    /// `EXT-X-DISCONTINUITY` stands before it.
    pub discontinuity: bool,
    /// `EXT-X-GAP`.
    pub gap: bool,
    /// The map in force.
    pub map: Option<Map>,
    /// `EXT-X-PROGRAM-DATE-TIME` of its own, milliseconds since 1970.
    pub date_ms: Option<i64>,
    /// Its parts, where they are listed.
    pub parts: Vec<Part>,
    /// Its lines that must not change. Without those of parts, which leave earlier, and without map, key and date, which are written
    /// where the playlist or a delta update begins, too.
    pub(crate) lines: Vec<String>,
}

/// `EXT-X-PRELOAD-HINT` (section 4.4.5.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// Of a part; otherwise of a map.
    pub part: bool,
    /// URI as written.
    pub uri: String,
    /// `BYTERANGE-START`.
    pub start: Option<u64>,
    /// `BYTERANGE-LENGTH`.
    pub length: Option<u64>,
}

/// `EXT-X-RENDITION-REPORT` (section 4.4.5.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenditionReport {
    /// URI as written.
    pub uri: String,
    /// `LAST-MSN`.
    pub msn: Option<u64>,
    /// `LAST-PART`.
    pub part: Option<u64>,
}

/// `EXT-X-SKIP` (section 4.4.5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    /// `SKIPPED-SEGMENTS`.
    pub segments: u64,
    /// `RECENTLY-REMOVED-DATERANGES`, by ID.
    pub removed_dateranges: Option<Vec<String>>,
}

/// All tags of one date range (section 4.4.5.1), attributes as written.
pub type DateRange = BTreeMap<String, String>;

/// A media playlist.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MediaPlaylist {
    /// `EXT-X-VERSION`; 1 without.
    pub version: u64,
    /// `EXT-X-TARGETDURATION`, seconds.
    pub target_s: Option<u64>,
    /// `EXT-X-MEDIA-SEQUENCE`.
    pub media_sequence: u64,
    /// `EXT-X-DISCONTINUITY-SEQUENCE`.
    pub discontinuity_sequence: u64,
    /// `EXT-X-INDEPENDENT-SEGMENTS`.
    pub independent_segments: bool,
    /// `EXT-X-I-FRAMES-ONLY`.
    pub i_frames_only: bool,
    /// `EXT-X-PLAYLIST-TYPE`.
    pub playlist_type: Option<String>,
    /// `EXT-X-ENDLIST`.
    pub ended: bool,
    /// `PART-TARGET`, seconds.
    pub part_target_s: Option<f64>,
    /// `EXT-X-SERVER-CONTROL`.
    pub server_control: Option<ServerControl>,
    /// `EXT-X-SKIP`.
    pub skip: Option<Skip>,
    /// Complete segments, then the open one if it has parts.
    pub segments: Vec<Segment>,
    /// `EXT-X-PRELOAD-HINT`.
    pub hints: Vec<Hint>,
    /// `EXT-X-RENDITION-REPORT`.
    pub reports: Vec<RenditionReport>,
    /// `EXT-X-DATERANGE`, by ID.
    pub dateranges: BTreeMap<String, DateRange>,
    pub(crate) has_media_sequence: bool,
    pub(crate) has_discontinuity_sequence: bool,
    /// Lines about the whole playlist, as they must come again in every version of it.
    pub(crate) head: Vec<String>,
    /// What needs a version above 1, with that version (section 8).
    pub(crate) needs: Vec<(u64, &'static str)>,
}

/// A place in a stream: media sequence number and part index.
pub type Position = (u64, u64);

impl MediaPlaylist {
    /// Reads a playlist and what is wrong with it by itself.
    pub(crate) fn read(text: &str) -> (Self, Faults) {
        let mut faults = Faults::default();
        let lines = lines::read(text, Of::Media, &mut faults);
        let mut reader = Reader { playlist: Self { version: 1, ..Self::default() }, ..Reader::default() };
        for line in lines {
            reader.take(line, &mut faults);
        }
        (reader.end(&mut faults), faults)
    }

    /// The complete segments.
    pub fn complete(&self) -> impl DoubleEndedIterator<Item = &Segment> {
        self.segments.iter().filter(|segment| segment.uri.is_some())
    }

    /// The segment that only has parts yet.
    #[must_use]
    pub fn open(&self) -> Option<&Segment> {
        self.segments.last().filter(|segment| segment.uri.is_none())
    }

    /// The last part; the last segment where there are no parts, with the part index of `None`.
    #[must_use]
    pub fn last(&self) -> Option<(u64, Option<u64>)> {
        let last = self.segments.last()?;
        Some((last.msn, (last.parts.len() as u64).checked_sub(1)))
    }

    /// What a blocking request asks for next (section 6.3.8).
    #[must_use]
    pub fn next(&self) -> (u64, Option<u64>) {
        let parts = self.part_target_s.is_some();
        match self.segments.last() {
            Some(open) if open.uri.is_none() => (open.msn, Some(open.parts.len() as u64)),
            Some(last) => (last.msn + 1, parts.then_some(0)),
            None => (self.media_sequence + self.skipped(), parts.then_some(0)),
        }
    }

    /// Whether it has what a blocking request for `msn` and `part` waits for (section 6.2.5.2).
    #[must_use]
    pub fn has(&self, msn: u64, part: Option<u64>) -> bool {
        let Some(last) = self.segments.last() else { return false };
        match part {
            None => self.complete().next_back().is_some_and(|segment| segment.msn >= msn),
            // Also when the part index was beyond that segment's last: then part 0 of the next was meant.
            Some(_) if last.msn > msn => true,
            Some(part) => last.msn == msn && (last.parts.len() as u64) > part,
        }
    }

    /// Segments that `EXT-X-SKIP` stands for.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skip.as_ref().map_or(0, |skip| skip.segments)
    }

    /// Seconds of complete segments and listed parts of the open one.
    #[must_use]
    pub fn duration_s(&self) -> f64 {
        self.complete().map(|segment| segment.duration_s).sum::<f64>()
            + self.open().map_or(0.0, |open| open.parts.iter().map(|part| part.duration_s).sum())
    }

    /// This delta update with what it skipped taken from `before` (section 6.3.7); `None` when `before` lacks some of it.
    #[must_use]
    pub fn merged(&self, before: &Self) -> Option<Self> {
        let from = self.media_sequence;
        let skipped = from..from + self.skipped();
        let mut all: Vec<Segment> =
            before.complete().filter(|segment| skipped.contains(&segment.msn)).cloned().collect();
        if all.len() as u64 != self.skipped() {
            return None;
        }
        // Tags that were skipped with their segments go on applying to those that are there.
        let mut map = all.last().and_then(|segment| segment.map.clone());
        let passed = all.iter().filter(|segment| segment.discontinuity).count() as u64;
        for segment in &self.segments {
            let mut segment = segment.clone();
            segment.discontinuity_number += passed;
            if segment.map.is_none() {
                segment.map.clone_from(&map);
            }
            map.clone_from(&segment.map);
            all.push(segment);
        }
        let mut merged = Self { segments: all, skip: None, ..self.clone() };
        if self.skip.as_ref().is_some_and(|skip| skip.removed_dateranges.is_some()) {
            let removed =
                self.skip.as_ref().and_then(|skip| skip.removed_dateranges.clone()).unwrap_or_default();
            for (id, range) in &before.dateranges {
                if !removed.contains(id) {
                    merged.dateranges.entry(id.clone()).or_insert_with(|| range.clone());
                }
            }
        }
        Some(merged)
    }
}

/// What applies to the segment that is not complete yet.
#[derive(Debug, Default)]
struct Pending {
    duration: Option<f64>,
    range: Option<ByteRange>,
    discontinuity: bool,
    gap: bool,
    date_ms: Option<i64>,
    parts: Vec<Part>,
    lines: Vec<String>,
}

#[derive(Debug, Default)]
struct Reader {
    playlist: MediaPlaylist,
    pending: Pending,
    map: Option<Map>,
    discontinuities: u64,
    /// End of the last byte range, by URI: ranges without a beginning go on there.
    range_end: BTreeMap<String, u64>,
}

impl Reader {
    fn take(&mut self, line: Line<'_>, faults: &mut Faults) {
        match line {
            Line::Uri(uri) => self.complete(uri, faults),
            Line::Tag(tagged) => {
                if !self.about_all(&tagged, faults) {
                    self.about_segment(&tagged, faults);
                }
            }
        }
    }

    /// Tags about the whole playlist; false when it is none of those.
    fn about_all(&mut self, tagged: &Tagged<'_>, faults: &mut Faults) -> bool {
        let begun = !self.playlist.segments.is_empty() || self.pending.duration.is_some();
        let Self { playlist, .. } = self;
        let a = &tagged.attributes;
        match tagged.tag.name {
            "EXT-X-VERSION" => playlist.version = tagged.int(),
            "EXT-X-INDEPENDENT-SEGMENTS" => playlist.independent_segments = true,
            "EXT-X-TARGETDURATION" => playlist.target_s = Some(tagged.int()),
            "EXT-X-MEDIA-SEQUENCE" => {
                playlist.media_sequence = tagged.int();
                playlist.has_media_sequence = true;
                if begun {
                    faults.add("4.4.3.2-before-segments", "EXT-X-MEDIA-SEQUENCE stands behind a segment");
                }
            }
            "EXT-X-DISCONTINUITY-SEQUENCE" => {
                playlist.discontinuity_sequence = tagged.int();
                playlist.has_discontinuity_sequence = true;
                if begun || self.pending.discontinuity {
                    let what = "EXT-X-DISCONTINUITY-SEQUENCE stands behind a segment or a discontinuity";
                    faults.add("4.4.3.3-before-segments", what);
                }
            }
            "EXT-X-ENDLIST" => playlist.ended = true,
            "EXT-X-PLAYLIST-TYPE" => {
                if !["EVENT", "VOD"].contains(&tagged.value) {
                    faults.add("4.1-tag-form", format!("EXT-X-PLAYLIST-TYPE:{}", tagged.value));
                }
                playlist.playlist_type = Some(tagged.value.to_owned());
            }
            "EXT-X-I-FRAMES-ONLY" => {
                playlist.i_frames_only = true;
                playlist.needs.push((4, "EXT-X-I-FRAMES-ONLY"));
            }
            "EXT-X-PART-INF" => playlist.part_target_s = a.float("PART-TARGET"),
            "EXT-X-SERVER-CONTROL" => playlist.server_control = Some(server_control(a)),
            "EXT-X-DATERANGE" => return self.daterange(tagged, faults),
            "EXT-X-SKIP" => {
                let removed = a.text("RECENTLY-REMOVED-DATERANGES");
                playlist.needs.push(if removed.is_some() {
                    (10, "EXT-X-SKIP of date ranges")
                } else {
                    (9, "EXT-X-SKIP")
                });
                let ids =
                    |list: String| list.split('\t').filter(|id| !id.is_empty()).map(str::to_owned).collect();
                playlist.skip = Some(Skip {
                    segments: a.int("SKIPPED-SEGMENTS").unwrap_or(0),
                    removed_dateranges: removed.map(ids),
                });
                return true;
            }
            "EXT-X-PRELOAD-HINT" => {
                playlist.hints.push(Hint {
                    part: a.raw("TYPE") == Some("PART"),
                    uri: a.text("URI").unwrap_or_default(),
                    start: a.int("BYTERANGE-START"),
                    length: a.int("BYTERANGE-LENGTH"),
                });
                return true;
            }
            "EXT-X-RENDITION-REPORT" => {
                playlist.reports.push(RenditionReport {
                    uri: a.text("URI").unwrap_or_default(),
                    msn: a.int("LAST-MSN"),
                    part: a.int("LAST-PART"),
                });
                return true;
            }
            "EXT-X-DEFINE" => playlist.needs.push((8, "EXT-X-DEFINE")),
            "EXTM3U" | "EXT-X-START" => {}
            _ => return false,
        }
        let moves =
            ["EXT-X-MEDIA-SEQUENCE", "EXT-X-DISCONTINUITY-SEQUENCE", "EXT-X-ENDLIST", "EXT-X-VERSION"];
        if !moves.contains(&tagged.tag.name) {
            playlist.head.push(tagged.text.to_owned());
        }
        true
    }

    fn daterange(&mut self, tagged: &Tagged<'_>, faults: &mut Faults) -> bool {
        let written: DateRange = tagged.attributes.sorted().into_iter().collect();
        let Some(id) = tagged.attributes.text("ID") else { return true };
        let known = self.playlist.dateranges.entry(id.clone()).or_default();
        for (name, value) in written {
            if known.get(&name).is_some_and(|other| *other != value) {
                let what = format!("date range {id} has two values of {name}");
                faults.add("4.4.5.1-daterange", what);
            }
            known.insert(name, value);
        }
        true
    }

    fn about_segment(&mut self, tagged: &Tagged<'_>, faults: &mut Faults) {
        let Self { playlist, pending, .. } = self;
        let name = tagged.tag.name;
        let first_part_came = !pending.parts.is_empty();
        let before_parts = ["EXT-X-DISCONTINUITY", "EXT-X-KEY", "EXT-X-MAP", "EXT-X-PROGRAM-DATE-TIME"];
        if first_part_came && before_parts.contains(&name) {
            faults.add("4.4.4.9-tags-before-parts", format!("{name} stands behind its segment's first part"));
        }
        match name {
            "EXTINF" => {
                let text = tagged.value.split_once(',').map_or(tagged.value, |(duration, _)| duration);
                let number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
                match text.parse::<f64>() {
                    Ok(seconds) if number => pending.duration = Some(seconds),
                    _ => faults.add("4.1-tag-form", format!("EXTINF:{}", tagged.value)),
                }
                if !tagged.value.contains(',') {
                    faults.add("4.1-tag-form", format!("EXTINF:{} without a comma", tagged.value));
                }
                if text.contains('.') {
                    playlist.needs.push((3, "EXTINF with a fraction"));
                }
            }
            "EXT-X-BYTERANGE" => {
                pending.range = byte_range(tagged.value);
                playlist.needs.push((4, "EXT-X-BYTERANGE"));
                if pending.range.is_none() {
                    faults.add("4.1-tag-form", format!("EXT-X-BYTERANGE:{}", tagged.value));
                }
            }
            "EXT-X-DISCONTINUITY" => pending.discontinuity = true,
            "EXT-X-GAP" => pending.gap = true,
            "EXT-X-MAP" => {
                let range = tagged.attributes.text("BYTERANGE").and_then(|text| byte_range(&text));
                let uri = tagged.attributes.text("URI").unwrap_or_default();
                self.map = Some(Map { uri, range });
                return;
            }
            "EXT-X-KEY" => {
                if tagged.attributes.raw("IV").is_some() {
                    playlist.needs.push((2, "EXT-X-KEY with IV"));
                }
                if tagged.attributes.raw("KEYFORMAT").is_some() {
                    playlist.needs.push((5, "EXT-X-KEY with KEYFORMAT"));
                }
                return;
            }
            "EXT-X-PROGRAM-DATE-TIME" => {
                pending.date_ms = date::parse_ms(tagged.value);
                if pending.date_ms.is_none() {
                    faults.add("4.4.4.6-date", format!("EXT-X-PROGRAM-DATE-TIME:{}", tagged.value));
                }
                return;
            }
            "EXT-X-PART" => {
                pending.parts.push(part(&tagged.attributes));
                return;
            }
            _ => {}
        }
        self.pending.lines.push(tagged.text.to_owned());
    }

    fn complete(&mut self, uri: &str, faults: &mut Faults) {
        let mut pending = std::mem::take(&mut self.pending);
        if pending.duration.is_none() {
            faults.add("4.4.4.1-required", format!("no EXTINF before {uri}"));
        }
        if let Some((length, begin)) = pending.range {
            let from = begin.or_else(|| self.range_end.get(uri).copied());
            if from.is_none() {
                faults
                    .add("4.4.4.2-begin", format!("the range of {uri} has no beginning and none before it"));
            }
            let from = from.unwrap_or(0);
            self.range_end.insert(uri.to_owned(), from + length);
            pending.range = Some((length, Some(from)));
        }
        pending.lines.push(uri.to_owned());
        self.push(pending, Some(uri.to_owned()));
    }

    fn push(&mut self, mut pending: Pending, uri: Option<String>) {
        self.discontinuities += u64::from(pending.discontinuity);
        let mut end = 0;
        for part in &mut pending.parts {
            if let Some((length, begin)) = part.range {
                let begin = begin.unwrap_or(end);
                part.range = Some((length, Some(begin)));
                end = begin + length;
            }
        }
        let playlist = &mut self.playlist;
        playlist.segments.push(Segment {
            msn: playlist.media_sequence + playlist.skipped() + playlist.segments.len() as u64,
            discontinuity_number: playlist.discontinuity_sequence + self.discontinuities,
            uri,
            duration_s: pending.duration.unwrap_or(0.0),
            range: pending.range,
            discontinuity: pending.discontinuity,
            gap: pending.gap,
            map: self.map.clone(),
            date_ms: pending.date_ms,
            parts: pending.parts,
            lines: pending.lines,
        });
    }

    fn end(mut self, faults: &mut Faults) -> MediaPlaylist {
        let pending = std::mem::take(&mut self.pending);
        if pending.duration.is_some() {
            faults.add("4.4.4.1-required", "the last EXTINF has no URI");
        }
        if !pending.parts.is_empty() {
            self.push(pending, None);
        }
        let mut playlist = self.playlist;
        if playlist.segments.iter().any(|segment| segment.map.is_some()) {
            playlist.needs.push(if playlist.i_frames_only { (5, "EXT-X-MAP") } else { (6, "EXT-X-MAP") });
        }
        playlist
    }
}

fn server_control(a: &Attributes<'_>) -> ServerControl {
    ServerControl {
        can_skip_until_s: a.float("CAN-SKIP-UNTIL"),
        can_skip_dateranges: a.yes("CAN-SKIP-DATERANGES"),
        hold_back_s: a.float("HOLD-BACK"),
        part_hold_back_s: a.float("PART-HOLD-BACK"),
        can_block_reload: a.yes("CAN-BLOCK-RELOAD"),
        written: a.sorted(),
    }
}

fn part(a: &Attributes<'_>) -> Part {
    Part {
        uri: a.text("URI").unwrap_or_default(),
        duration_s: a.float("DURATION").unwrap_or(0.0),
        independent: a.yes("INDEPENDENT"),
        gap: a.yes("GAP"),
        range: a.text("BYTERANGE").and_then(|text| byte_range(&text)),
    }
}

/// `n[@o]` (section 4.4.4.2).
pub(crate) fn byte_range(text: &str) -> Option<ByteRange> {
    match text.split_once('@') {
        Some((length, begin)) => Some((length.parse().ok()?, Some(begin.parse().ok()?))),
        None => Some((text.parse().ok()?, None)),
    }
}
