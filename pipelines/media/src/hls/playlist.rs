//! Media playlists, written by hand: no library writes the tags of low latency.

use super::RenditionName;
use super::query::{Scope, Skip};
use super::segment::{PLAYLIST_FILE, Part, Segment, init_file, part_file, segment_file, ticks_to_nanos};
use super::view::{HlsView, RenditionView};
use crate::time::UnixTime;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// `EXT-X-MAP` in a playlist with whole segments (rfc8216bis section 8); none of the tags of low latency asks for more.
const VERSION: u32 = 6;
/// `EXT-X-GAP`.
const VERSION_GAP: u32 = 8;
/// `EXT-X-SKIP`.
const VERSION_SKIP: u32 = 9;
/// `EXT-X-SKIP` that leaves out date ranges.
const VERSION_SKIP_DATE_RANGES: u32 = 10;

/// What `?dvr=off` lists, in target durations: enough for delta updates to have something to skip from, and for players
/// that begin three target durations before the end.
const EDGE_TARGET_DURATIONS: u64 = 6;

/// One rendition's playlists at one moment.
#[derive(Debug)]
pub(super) struct Rendering<'a> {
    pub(super) view: &'a HlsView,
    pub(super) name: &'a RenditionName,
    pub(super) rendition: &'a RenditionView,
    pub(super) scope: Scope,
}

/// What stands once for all segments behind it.
#[derive(Debug, Default)]
struct Running {
    init: Option<u32>,
}

/// What the tags before a segment's parts and its own need.
struct Head {
    discontinuity: bool,
    init: u32,
    start_nanos: u64,
}

impl Rendering<'_> {
    /// The media playlist (rfc8216bis section 4.4.3), whole or as a delta update (section 6.2.5.1). `None` while there is
    /// nothing to play.
    pub(super) fn media(&self, skip: Skip) -> Option<String> {
        let listed = self.listed();
        let edge = self.rendition.edge.as_ref().filter(|edge| !edge.parts.is_empty());
        let first = match (listed.first(), edge) {
            (Some(first), _) => (first.msn, first.discontinuity_sequence, first.discontinuity),
            (None, Some(edge)) => (edge.msn, edge.discontinuity_sequence, edge.discontinuity),
            (None, None) => return None,
        };
        let skipped = if skip == Skip::Nothing { 0 } else { self.skipped(listed) };
        let skip = if skipped == 0 { Skip::Nothing } else { skip };
        let mut out = String::with_capacity(2048 + 128 * (listed.len() - skipped));
        self.head(&mut out, skip, listed[skipped..].iter().any(|s| s.gap), first);
        let younger_than = (skip == Skip::DateRanges).then(|| self.view.config.skip_boundary());
        self.view.date_ranges.tags(&mut out, younger_than, self.view.now);
        self.skip_tag(&mut out, skipped, skip);
        let mut running = Running::default();
        if let Some(before) = skipped.checked_sub(1).and_then(|last| listed.get(last)) {
            running.init = Some(before.init);
        }
        let with_parts = self.first_with_parts(listed);
        for (index, segment) in listed.iter().enumerate().skip(skipped) {
            self.segment(&mut out, segment, &mut running, index >= with_parts);
        }
        if let Some(edge) = edge {
            let start_nanos = ticks_to_nanos(edge.start_ticks, edge.timescale);
            let head = Head { discontinuity: edge.discontinuity, init: edge.init, start_nanos };
            self.before_segment(&mut out, &head, &mut running);
            self.parts(&mut out, edge.msn, &edge.parts, edge.timescale);
        }
        self.tail(&mut out);
        Some(out)
    }

    /// The playlist of keyframes (rfc8216bis section 4.4.3.6): the first picture of each segment, as a range of its bytes.
    /// It shares media sequence numbers with the rendition. `None` while there is none.
    pub(super) fn keyframes(&self, skip: Skip) -> Option<String> {
        let listed = self.listed();
        let first = listed.first()?;
        let skipped = if skip == Skip::Nothing { 0 } else { self.skipped(listed) };
        let skip = if skipped == 0 { Skip::Nothing } else { skip };
        let mut out = String::with_capacity(1024 + 160 * (listed.len() - skipped));
        let version = version(skip, listed[skipped..].iter().any(|s| s.gap));
        let before_first = first.discontinuity_sequence.saturating_sub(u64::from(first.discontinuity));
        let target_duration = self.view.config.target_duration();
        let begin =
            format_args!("#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{target_duration}\n");
        out.write_fmt(begin).expect("a String takes everything");
        self.server_control(&mut out);
        out.push_str("#EXT-X-I-FRAMES-ONLY\n");
        if self.scope == Scope::Event {
            out.push_str("#EXT-X-PLAYLIST-TYPE:EVENT\n");
        }
        write_into(
            &mut out,
            format_args!(
                "#EXT-X-MEDIA-SEQUENCE:{}\n#EXT-X-DISCONTINUITY-SEQUENCE:{before_first}\n",
                first.msn
            ),
        );
        self.skip_tag(&mut out, skipped, skip);
        let before = skipped.checked_sub(1).and_then(|last| listed.get(last));
        let mut running = Running { init: before.map(|before| before.init) };
        for segment in &listed[skipped..] {
            self.before_segment(&mut out, &Head::of(segment), &mut running);
            if segment.gap {
                out.push_str("#EXT-X-GAP\n");
            }
            let bytes = segment.keyframe_bytes.unwrap_or(segment.bytes);
            if !segment.gap {
                write_into(&mut out, format_args!("#EXT-X-BYTERANGE:{bytes}@0\n"));
            }
            let file = segment_file(&self.view.take, segment.msn);
            let lasts = Seconds(segment.duration_nanos());
            write_into(&mut out, format_args!("#EXTINF:{lasts},\n{file}\n"));
        }
        if self.view.ended {
            out.push_str("#EXT-X-ENDLIST\n");
        }
        Some(out)
    }

    /// The segments of this scope, oldest first.
    fn listed(&self) -> &[Arc<Segment>] {
        let segments = &self.rendition.segments;
        let window = segments.partition_point(|s| s.msn < self.view.listed_from);
        match self.scope {
            Scope::Event => segments,
            Scope::Window => &segments[window..],
            Scope::Edge => {
                let enough = EDGE_TARGET_DURATIONS * self.view.config.target_duration() * 1_000_000_000;
                let edge = last_of(segments, enough);
                &segments[edge.max(window)..]
            }
        }
    }

    /// How many segments a delta update leaves out: those further from the end of the last one than the skip boundary
    /// (rfc8216bis section 6.2.5.1).
    fn skipped(&self, listed: &[Arc<Segment>]) -> usize {
        last_of(listed, duration_nanos(self.view.config.skip_boundary()))
    }

    /// The index from which segments are listed with their parts: those within three target durations of the end
    /// (rfc8216bis section 6.2.2).
    fn first_with_parts(&self, listed: &[Arc<Segment>]) -> usize {
        let edge = self.rendition.edge.as_ref().map_or(0, |edge| {
            edge.parts.iter().map(|part| ticks_to_nanos(part.duration_ticks, edge.timescale)).sum()
        });
        let near = duration_nanos(self.view.config.least_playlist()).saturating_sub(edge);
        last_of(listed, near)
    }

    fn head(
        &self,
        out: &mut String,
        skip: Skip,
        gaps: bool,
        (msn, sequence, discontinuity): (u64, u64, bool),
    ) {
        let config = &self.view.config;
        let version = version(skip, gaps);
        let part_target = Seconds(duration_nanos(config.part_target()));
        let target_duration = config.target_duration();
        write_into(
            out,
            format_args!(
                "#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-TARGETDURATION:{target_duration}\n"
            ),
        );
        self.server_control(out);
        write_into(out, format_args!("#EXT-X-PART-INF:PART-TARGET={part_target}\n"));
        if self.scope == Scope::Event {
            out.push_str("#EXT-X-PLAYLIST-TYPE:EVENT\n");
        }
        let before_first = sequence.saturating_sub(u64::from(discontinuity));
        let numbers =
            format_args!("#EXT-X-MEDIA-SEQUENCE:{msn}\n#EXT-X-DISCONTINUITY-SEQUENCE:{before_first}\n");
        out.write_fmt(numbers).expect("a String takes everything");
    }

    /// The same in all playlists of a stream, those of keyframes among them (rfc8216bis section 6.2.4).
    fn server_control(&self, out: &mut String) {
        let config = &self.view.config;
        let part_hold_back = Seconds(duration_nanos(config.part_hold_back()));
        let hold_back = Seconds(duration_nanos(config.least_playlist()));
        let boundary = Seconds(duration_nanos(config.skip_boundary()));
        write_into(
            out,
            format_args!(
                "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK={part_hold_back},HOLD-BACK={hold_back},\
                 CAN-SKIP-UNTIL={boundary},CAN-SKIP-DATERANGES=YES\n"
            ),
        );
    }

    /// What stands in place of the first segments in a delta update (rfc8216bis section 4.4.5.2).
    fn skip_tag(&self, out: &mut String, skipped: usize, skip: Skip) {
        if skipped == 0 {
            return;
        }
        write_into(out, format_args!("#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}"));
        if skip == Skip::DateRanges {
            let removed = self.view.date_ranges.recently_removed();
            write_into(out, format_args!(",RECENTLY-REMOVED-DATERANGES=\"{removed}\""));
        }
        out.push('\n');
    }

    fn segment(&self, out: &mut String, segment: &Segment, running: &mut Running, with_parts: bool) {
        self.before_segment(out, &Head::of(segment), running);
        if with_parts {
            self.parts(out, segment.msn, &segment.parts, segment.timescale);
        }
        if segment.gap {
            out.push_str("#EXT-X-GAP\n");
        }
        let file = segment_file(&self.view.take, segment.msn);
        let lasts = Seconds(segment.duration_nanos());
        write_into(out, format_args!("#EXTINF:{lasts},\n{file}\n"));
    }

    /// The tags that also hold for a segment's first part, and so stand before it (rfc8216bis section 4.4.4.9).
    fn before_segment(&self, out: &mut String, head: &Head, running: &mut Running) {
        if head.discontinuity {
            out.push_str("#EXT-X-DISCONTINUITY\n");
        }
        if running.init != Some(head.init) {
            running.init = Some(head.init);
            let file = init_file(&self.view.take, head.init);
            write_into(out, format_args!("#EXT-X-MAP:URI=\"{file}\"\n"));
        }
        let date = date_time(self.date_of(head.start_nanos));
        write_into(out, format_args!("#EXT-X-PROGRAM-DATE-TIME:{date}\n"));
    }

    fn date_of(&self, nanos: u64) -> UnixTime {
        date_of(self.view.epoch_wall, nanos)
    }

    fn parts(&self, out: &mut String, msn: u64, parts: &[Part], timescale: u32) {
        for (index, part) in parts.iter().enumerate() {
            let file = part_file(&self.view.take, msn, index);
            let lasts = Seconds(ticks_to_nanos(part.duration_ticks, timescale));
            let independent = if part.independent { ",INDEPENDENT=YES" } else { "" };
            write_into(out, format_args!("#EXT-X-PART:DURATION={lasts},URI=\"{file}\"{independent}\n"));
        }
    }

    /// What comes next, and how far the other renditions are (rfc8216bis sections 4.4.5.3 and 4.4.5.4); or the end.
    fn tail(&self, out: &mut String) {
        if self.view.ended {
            out.push_str("#EXT-X-ENDLIST\n");
            return;
        }
        if let Some((msn, part)) = self.rendition.hint() {
            let file = part_file(&self.view.take, msn, usize::try_from(part).unwrap_or(usize::MAX));
            write_into(out, format_args!("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{file}\"\n"));
        }
        let query = self.scope.query();
        let mark = if query.is_empty() { "" } else { "?" };
        for (name, entry) in self.view.renditions.iter().filter(|(name, _)| *name != self.name) {
            let Some((msn, part)) = entry.rendition.last() else { continue };
            let uri = format!("../{name}/{PLAYLIST_FILE}{mark}{query}");
            write_into(out, format_args!("#EXT-X-RENDITION-REPORT:URI=\"{uri}\",LAST-MSN={msn}"));
            if let Some(part) = part {
                write_into(out, format_args!(",LAST-PART={part}"));
            }
            out.push('\n');
        }
    }
}

impl Head {
    fn of(segment: &Segment) -> Self {
        Self { discontinuity: segment.discontinuity, init: segment.init, start_nanos: segment.start_nanos() }
    }
}

fn version(skip: Skip, gaps: bool) -> u32 {
    match skip {
        Skip::DateRanges => VERSION_SKIP_DATE_RANGES,
        Skip::Segments => VERSION_SKIP,
        Skip::Nothing if gaps => VERSION_GAP,
        Skip::Nothing => VERSION,
    }
}

/// When this time of the timeline was.
pub(super) fn date_of(epoch_wall: UnixTime, nanos: u64) -> UnixTime {
    let micros = i64::try_from(nanos / 1000).unwrap_or(i64::MAX);
    UnixTime::from_micros(epoch_wall.as_micros().saturating_add(micros))
}

/// The index behind which segments of at least this length follow, if there are as many.
fn last_of(segments: &[Arc<Segment>], enough: u64) -> usize {
    let mut behind = 0;
    let long_enough = segments.iter().rposition(|segment| {
        let found = behind >= enough;
        behind += segment.duration_nanos();
        found
    });
    long_enough.map_or(0, |last_left_out| last_left_out + 1)
}

fn duration_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn write_into(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes everything");
}

/// Nanoseconds as decimal seconds. Five decimals: a sum of a day's rounded durations stays within a frame.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tenths_of_micros = (self.0 + 5_000) / 10_000;
        write!(f, "{}.{:05}", tenths_of_micros / 100_000, tenths_of_micros % 100_000)
    }
}

/// ISO 8601 in UTC with milliseconds, as `EXT-X-PROGRAM-DATE-TIME` wants it (rfc8216bis section 4.4.4.6).
pub fn date_time(time: UnixTime) -> String {
    let millis = (time.as_micros() + 500).div_euclid(1000);
    let (days, in_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
    let (second, milli) = (in_day / 1000 % 60, in_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Reads a date and time as RFC 3339 section 5.6 writes it, with `Z` or an offset. `None` for anything else.
pub fn parse_date_time(text: &str) -> Option<UnixTime> {
    let text = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits
            .iter()
            .all(u8::is_ascii_digit)
            .then(|| digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
    };
    let is = |at: usize, wanted: &[u8]| text.get(at).is_some_and(|byte| wanted.contains(byte));
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let separated = is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":");
    let days = days_of(year, month, day);
    // A leap second counts as the one after it.
    if !separated || civil(days) != (year, month, day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let digits =
        if is(19, b".") { text[20..].iter().take_while(|byte| byte.is_ascii_digit()).count() } else { 0 };
    if is(19, b".") && digits == 0 {
        return None;
    }
    let kept = digits.min(6);
    let micros = number(20, 20 + kept).unwrap_or(0) * 10_i64.pow(6 - u32::try_from(kept).ok()?);
    let zone = if digits == 0 { 19 } else { 20 + digits };
    let (offset_minutes, end) = match *text.get(zone)? {
        b'Z' | b'z' => (0, zone + 1),
        sign @ (b'+' | b'-') if is(zone + 3, b":") => {
            let (hours, minutes) = (number(zone + 1, zone + 3)?, number(zone + 4, zone + 6)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = hours * 60 + minutes;
            (if sign == b'+' { offset } else { -offset }, zone + 6)
        }
        _ => return None,
    };
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset_minutes * 60;
    (end == text.len()).then(|| UnixTime::from_micros(seconds * 1_000_000 + micros))
}

/// Days from 1970-01-01 to a date in the proleptic Gregorian calendar; the inverse of [`civil`].
const fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a count of days since 1970-01-01, in the proleptic Gregorian calendar. Years begin in March, so
/// that the leap day is a year's last: then the first day of month m (March = 0) is day (153 m + 2) / 5.
const fn civil(days: i64) -> (i64, i64, i64) {
    const DAYS_PER_ERA: i64 = 146_097;
    let shifted = days + 719_468;
    let era = shifted.div_euclid(DAYS_PER_ERA);
    let day_of_era = shifted.rem_euclid(DAYS_PER_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / (DAYS_PER_ERA - 1)) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let date = |micros| date_time(UnixTime::from_micros(micros));
        assert_eq!(date(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(date(951_782_399_999_400), "2000-02-28T23:59:59.999Z");
        assert_eq!(date(951_782_399_999_500), "2000-02-29T00:00:00.000Z");
        assert_eq!(date(1_795_385_004_123_456), "2026-11-22T22:03:24.123Z");
        assert_eq!(date(-1_000), "1969-12-31T23:59:59.999Z");
        assert_eq!(date(4_107_542_400_000_000), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn dates_are_read_as_they_are_written() {
        for micros in [0, 951_782_400_000_000, 1_795_385_004_123_000, -1_000, 4_107_542_400_000_000] {
            let time = UnixTime::from_micros(micros);
            assert_eq!(parse_date_time(&date_time(time)), Some(time));
        }
        let noon = Some(UnixTime::from_micros(1_795_348_800_000_000));
        for same in ["2026-11-22T12:00:00Z", "2026-11-22t13:30:00.0+01:30", "2026-11-22 07:00:00-05:00"] {
            assert_eq!(parse_date_time(same), noon, "{same}");
        }
        for bad in [
            "",
            "2026-11-22",
            "2026-11-22T12:00:00",
            "2026-02-29T12:00:00Z",
            "2026-13-01T12:00:00Z",
            "2026-11-22T24:00:00Z",
            "2026-11-22T12:00:00.Z",
            "2026-11-22T12:00:00Zx",
            "2026-11-22T12:00:00+1:00",
            "2026-11-22T12:00:00\u{e9}",
        ] {
            assert_eq!(parse_date_time(bad), None, "{bad}");
        }
    }
}
