//! Rules that one media playlist keeps or breaks by itself.

use crate::date;
use crate::playlist::{MediaPlaylist, Segment};
use crate::rules::Faults;

/// Decimal fractions are not exact.
pub(super) const EPSILON_S: f64 = 1e-6;
/// Durations are written with at least milliseconds (section 4.4.4.1); each of a sum may be off by half of one.
pub(super) const WRITTEN_S: f64 = 0.0006;
/// Share of the part target that a part has at least (section 4.4.4.9).
const PART_MINIMUM: f64 = 0.85;

pub(super) fn check(playlist: &MediaPlaylist, faults: &mut Faults) {
    version(playlist, faults);
    segments(playlist, faults);
    server_control(playlist, faults);
    parts(playlist, faults);
    dateranges(playlist, faults);
    if playlist.ended && !playlist.hints.is_empty() {
        faults.add("4.4.5.3-hint-after-end", "a preload hint behind the end");
    }
    for part in [true, false] {
        if playlist.hints.iter().filter(|hint| hint.part == part).count() > 1 {
            faults.add("6.2.6-one-hint", "two preload hints of one type");
        }
    }
}

fn version(playlist: &MediaPlaylist, faults: &mut Faults) {
    if let Some((needed, what)) = playlist.needs.iter().max()
        && *needed > playlist.version
    {
        faults.add(
            "8-version",
            format!("{what} needs version {needed}, the playlist says {}", playlist.version),
        );
    }
}

fn segments(playlist: &MediaPlaylist, faults: &mut Faults) {
    let Some(target) = playlist.target_s else {
        faults.add("4.4.3.1-required", "no EXT-X-TARGETDURATION");
        return;
    };
    for segment in playlist.complete() {
        if segment.duration_s.round() > target as f64 {
            let Segment { msn, duration_s, .. } = segment;
            faults
                .add("4.4.3.1-extinf", format!("segment {msn} has {duration_s} s, the target is {target} s"));
        }
    }
    // A delta update leaves the map out with the segment that it stands before.
    let unmapped =
        playlist.segments.iter().filter(|segment| segment.map.is_none() && playlist.skip.is_none());
    for segment in unmapped {
        faults.add("3.1.2-map", format!("segment {} has no EXT-X-MAP", segment.msn));
    }
    for segment in &playlist.segments {
        if segment.gap && segment.parts.iter().any(|part| !part.gap) {
            faults
                .add("6.2.1-gap", format!("segment {} is a gap, and some of its parts are not", segment.msn));
        }
        if segment.discontinuity && segment.date_ms.is_none() {
            let what = format!("segment {} has a discontinuity and no date", segment.msn);
            faults.add("6.2.1-date-discontinuity", what);
        }
    }
    let removed = playlist.media_sequence > 0 || playlist.discontinuity_sequence > 0;
    if let (Some(kind), true) = (&playlist.playlist_type, removed) {
        faults
            .add("6.2.2-event", format!("type {kind}, and {} segments are removed", playlist.media_sequence));
    }
}

fn server_control(playlist: &MediaPlaylist, faults: &mut Faults) {
    let target = playlist.target_s.unwrap_or(0) as f64;
    let control = playlist.server_control.clone().unwrap_or_default();
    if let Some(hold_back) = control.hold_back_s
        && hold_back < 3.0 * target - EPSILON_S
    {
        faults.add("4.4.3.8-hold-back", format!("HOLD-BACK is {hold_back} s, the target {target} s"));
    }
    match control.can_skip_until_s {
        Some(until) if until < 6.0 * target - EPSILON_S => {
            faults
                .add("4.4.3.8-skip-boundary", format!("CAN-SKIP-UNTIL is {until} s, the target {target} s"));
        }
        None if control.can_skip_dateranges => {
            faults.add("4.4.3.8-skip-boundary", "CAN-SKIP-DATERANGES without CAN-SKIP-UNTIL");
        }
        _ => {}
    }
    let Some(part_target) = playlist.part_target_s else { return };
    match control.part_hold_back_s {
        None => faults.add("4.4.3.8-part-hold-back", "no PART-HOLD-BACK"),
        Some(hold_back) if hold_back < 2.0 * part_target - EPSILON_S => {
            let what = format!("PART-HOLD-BACK is {hold_back} s, the part target {part_target} s");
            faults.add("4.4.3.8-part-hold-back", what);
        }
        Some(hold_back) if hold_back < 3.0 * part_target - EPSILON_S => {
            let what = format!("PART-HOLD-BACK is {hold_back} s, the part target {part_target} s");
            faults.add("4.4.3.8-part-hold-back-thrice", what);
        }
        Some(_) => {}
    }
    if !control.can_block_reload {
        faults.add("B.1-block-reload", "no CAN-BLOCK-RELOAD");
    }
    if playlist.segments.iter().all(|segment| segment.date_ms.is_none()) && !playlist.segments.is_empty() {
        faults.add("B.1-date", "no EXT-X-PROGRAM-DATE-TIME");
    }
    if !playlist.ended && !playlist.hints.iter().any(|hint| hint.part) {
        faults.add("B.1-hint", "no preload hint of a part");
    }
}

fn parts(playlist: &MediaPlaylist, faults: &mut Faults) {
    let with_parts = playlist.segments.iter().position(|segment| !segment.parts.is_empty());
    let Some(with_parts) = with_parts else { return };
    let Some(target) = playlist.part_target_s else {
        faults.add("4.4.3.7-part-inf", "parts without EXT-X-PART-INF");
        return;
    };
    for segment in &playlist.segments[with_parts..] {
        part_durations(segment, target, faults);
        // A segment of no media at all, at a discontinuity, has none either; but those are not listed.
        if segment.parts.is_empty() && !segment.gap {
            faults.add("6.2.2-part-order", format!("segment {} has no parts, older ones have", segment.msn));
        }
    }
    let Some(segment_target) = playlist.target_s else { return };
    let three_targets = 3.0 * segment_target as f64;
    let mut behind = playlist.open().map_or(0.0, |open| open.parts.iter().map(|part| part.duration_s).sum());
    let mut next = 0.0;
    for segment in playlist.complete().rev() {
        behind += next;
        next = segment.duration_s;
        // Parts leave with their segment's others: a segment is old when its end is.
        if behind > three_targets + next + EPSILON_S && !segment.parts.is_empty() {
            faults.add(
                "6.2.2-part-age",
                format!("parts of segment {}, {behind:.1} s behind the end", segment.msn),
            );
            break;
        }
    }
}

fn part_durations(segment: &Segment, target: f64, faults: &mut Faults) {
    let count = segment.parts.len();
    for (index, part) in segment.parts.iter().enumerate() {
        let place = || {
            format!(
                "part {index} of segment {} has {} s, the target is {target} s",
                segment.msn, part.duration_s
            )
        };
        if part.duration_s > target + EPSILON_S {
            faults.add("4.4.4.9-part-target", place());
        }
        // While a segment is open nobody knows whether its last part is its final one.
        let exempt = part.independent
            || part.gap
            || index + 1 == count
            || segment.parts.get(index + 1).is_some_and(|next| next.gap);
        if !exempt && part.duration_s < PART_MINIMUM * target - EPSILON_S {
            faults.add("4.4.4.9-part-minimum", place());
        }
    }
    let sum: f64 = segment.parts.iter().map(|part| part.duration_s).sum();
    let allowed = WRITTEN_S * (count + 1) as f64;
    if segment.uri.is_some() && count > 0 && (sum - segment.duration_s).abs() > allowed {
        let Segment { msn, duration_s, .. } = segment;
        faults
            .add("3.2-part-sum", format!("parts of segment {msn} have {sum:.4} s, EXTINF is {duration_s} s"));
    }
}

fn dateranges(playlist: &MediaPlaylist, faults: &mut Faults) {
    if !playlist.dateranges.is_empty() && playlist.segments.iter().all(|segment| segment.date_ms.is_none()) {
        faults.add("4.4.5.1-daterange", "date ranges in a playlist without program dates");
    }
    for (id, range) in &playlist.dateranges {
        let ms = |name: &str| range.get(name).and_then(|text| date::parse_ms(text.trim_matches('"')));
        let seconds = |name: &str| range.get(name).and_then(|text| text.parse::<f64>().ok());
        let Some(start) = ms("START-DATE") else {
            faults.add("4.4.5.1-daterange", format!("date range {id} has no START-DATE"));
            continue;
        };
        if let Some(end) = ms("END-DATE") {
            if end < start {
                faults.add("4.4.5.1-daterange", format!("date range {id} ends before it begins"));
            }
            if let Some(duration) = seconds("DURATION")
                && ((end - start) as f64 / 1000.0 - duration).abs() > 0.001
            {
                faults.add(
                    "4.4.5.1-daterange",
                    format!("date range {id} has an end that is not its duration's"),
                );
            }
        }
        let has = |name: &str| range.contains_key(name);
        if has("END-ON-NEXT") && (!has("CLASS") || has("DURATION") || has("END-DATE")) {
            let what = format!("date range {id} has END-ON-NEXT without CLASS, or with an end");
            faults.add("4.4.5.1-daterange", what);
        }
    }
}
