//! Media playlists, written by hand: they will carry tags that no library writes.

use super::segment::{Segment, init_file, segment_file};
use super::{HlsConfig, TakeId};
use crate::time::UnixTime;
use std::fmt::Write;
use std::sync::Arc;

/// `EXT-X-MAP` in a playlist with whole segments (rfc8216bis section 8).
const VERSION: u32 = 6;

/// What all playlists of one take share.
#[derive(Debug)]
pub(super) struct Playlists<'a> {
    pub(super) config: &'a HlsConfig,
    pub(super) take: &'a TakeId,
    /// Wall clock at the timeline's zero.
    pub(super) epoch_wall: UnixTime,
    pub(super) listed_from: u64,
    pub(super) ended: bool,
}

impl Playlists<'_> {
    /// The media playlist (rfc8216bis section 4.4.3) of a rendition with these segments, oldest first; those before the
    /// window are passed over. `None` while there is nothing to play.
    pub(super) fn render<'s>(&self, segments: impl Iterator<Item = &'s Arc<Segment>>) -> Option<String> {
        let mut listed = segments.skip_while(|s| s.msn < self.listed_from).peekable();
        let first = Arc::clone(listed.peek()?);
        let mut out = String::with_capacity(8 << 10);
        let before_first = first.discontinuity_sequence.saturating_sub(u64::from(first.discontinuity));
        let head = write!(
            out,
            "#EXTM3U\n#EXT-X-VERSION:{VERSION}\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-TARGETDURATION:{}\n\
             #EXT-X-MEDIA-SEQUENCE:{}\n#EXT-X-DISCONTINUITY-SEQUENCE:{before_first}\n",
            self.config.target_duration(),
            first.msn,
        );
        head.expect("a String takes everything");
        let mut init = None;
        for segment in listed {
            self.segment(&mut out, segment, &mut init);
        }
        if self.ended {
            out.push_str("#EXT-X-ENDLIST\n");
        }
        Some(out)
    }

    fn segment(&self, out: &mut String, segment: &Segment, init: &mut Option<u32>) {
        if segment.discontinuity {
            out.push_str("#EXT-X-DISCONTINUITY\n");
        }
        if *init != Some(segment.init) {
            *init = Some(segment.init);
            out.push_str("#EXT-X-MAP:URI=\"");
            out.push_str(&init_file(self.take, segment.init));
            out.push_str("\"\n");
        }
        let micros = i64::try_from(segment.start_nanos() / 1000).unwrap_or(i64::MAX);
        let date = date_time(UnixTime::from_micros(self.epoch_wall.as_micros().saturating_add(micros)));
        // Five decimals: a sum of a day's rounded durations stays within a frame.
        let tenths_of_micros = (segment.duration_nanos() + 5_000) / 10_000;
        let (seconds, fraction) = (tenths_of_micros / 100_000, tenths_of_micros % 100_000);
        let gap = if segment.gap { "#EXT-X-GAP\n" } else { "" };
        let file = segment_file(self.take, segment.msn);
        write!(out, "#EXT-X-PROGRAM-DATE-TIME:{date}\n{gap}#EXTINF:{seconds}.{fraction:05},\n{file}\n")
            .expect("a String takes everything");
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
}
