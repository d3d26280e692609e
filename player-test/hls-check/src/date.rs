//! Dates of `EXT-X-PROGRAM-DATE-TIME` and `EXT-X-DATERANGE` (section 4.4.4.6: ISO 8601, with a time zone).

/// Milliseconds since 1970 of `YYYY-MM-DDThh:mm:ss[.fff](Z|+hh:mm|+hhmm)`, or `None`.
#[must_use]
pub fn parse_ms(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T')?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let zone_at = time.find(['Z', '+', '-'])?;
    let (clock, zone) = time.split_at(zone_at);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    if clock.len() + 1 == zone_at || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let millis: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let offset_minutes = match zone.split_at(1) {
        ("Z", "") => 0,
        (sign, rest) => {
            let digits: String = rest.chars().filter(|letter| *letter != ':').collect();
            if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let number: i64 = digits.parse().ok()?;
            (number / 100 * 60 + number % 100) * if sign == "-" { -1 } else { 1 }
        }
    };
    let days = days_since_1970(year, month, day);
    let seconds = ((days * 24 + hour) * 60 + minute - offset_minutes) * 60 + second;
    Some(seconds * 1000 + millis)
}

fn numbers(text: &str, between: char, lengths: [usize; 3]) -> Option<[i64; 3]> {
    let mut fields = text.split(between);
    let mut found = [0; 3];
    for (slot, length) in found.iter_mut().zip(lengths) {
        let field = fields.next()?;
        if field.len() != length || !field.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *slot = field.parse().ok()?;
    }
    fields.next().is_none().then_some(found)
}

/// Days of the Gregorian calendar. Years are counted from March, so that the leap day is a year's last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::parse_ms;

    #[test]
    fn dates_are_read_with_their_zone() {
        assert_eq!(parse_ms("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(parse_ms("1970-01-01T01:00:00.250+01:00"), Some(250));
        assert_eq!(parse_ms("2024-02-29T12:00:00.5-0130"), Some(1_709_213_400_500));
        assert_eq!(parse_ms("2026-11-25T19:04:41.123Z"), Some(1_795_633_481_123));
        let wrong = [
            "",
            "2026-11-25",
            "2026-11-25T19:04:41",
            "2026-13-25T19:04:41Z",
            "26-11-25T19:04:41Z",
            "2026-11-25T19:04:41.Z",
            "2026-11-25T19:04:41+1",
        ];
        for text in wrong {
            assert_eq!(parse_ms(text), None, "{text}");
        }
    }
}
