//! The rules that every capture of a live stream must keep; each broken one becomes a line of text.
//!
//! What holds for finished streams and foreign ones, too; the whole of the specification for live ones is in the crate `hls-check`.

use std::collections::BTreeSet;

use crate::hls_client::{Answered, Capture, Captured};

/// What `EXTINF` may differ from the duration by the segment's own boxes: it is written with at most microseconds.
const EXTINF_TOLERANCE_S: f64 = 0.002;

/// All broken rules of a capture, in words; empty when it is right.
#[must_use]
pub fn faults(capture: &Capture) -> Vec<String> {
    let mut faults = Vec::new();
    multivariant(capture, &mut faults);
    for captured in &capture.renditions {
        let mut here = Vec::new();
        for answered in &captured.playlists {
            playlist(answered, &mut here);
        }
        for pair in captured.playlists.windows(2) {
            succession(&pair[0], &pair[1], &mut here);
        }
        timeline(captured, &mut here);
        faults.extend(here.into_iter().map(|fault| format!("{}: {fault}", captured.rendition.url.path())));
    }
    // One fault of a live playlist shows in every later answer.
    let mut seen = BTreeSet::new();
    faults.retain(|fault| seen.insert(fault.clone()));
    faults
}

fn multivariant(capture: &Capture, faults: &mut Vec<String>) {
    let playlist = &capture.multivariant;
    for variant in playlist.variants.iter().filter(|variant| !variant.is_i_frame) {
        let name = &variant.uri;
        let codecs = variant.codecs.as_deref().unwrap_or_default();
        // RFC 8216 section 4.3.4.2: BANDWIDTH is required, CODECS should be there always, RESOLUTION with video.
        if variant.bandwidth == 0 {
            faults.push(format!("variant {name} has no BANDWIDTH"));
        }
        if codecs.is_empty() {
            faults.push(format!("variant {name} has no CODECS"));
        }
        if codecs.contains("avc1") && (variant.resolution.is_none() || variant.frame_rate.is_none()) {
            faults.push(format!("variant {name} has video without RESOLUTION or FRAME-RATE"));
        }
        // Section 4.3.4.2.1: the group must exist.
        if let Some(group) = &variant.audio
            && !playlist.alternatives.iter().any(|media| media.group_id == *group)
        {
            faults.push(format!("variant {name} names the audio group {group}, which is not there"));
        }
    }
}

fn playlist(answered: &Answered, faults: &mut Vec<String>) {
    let playlist = &answered.parsed;
    if !answered.text.starts_with("#EXTM3U") {
        faults.push("the first line is not #EXTM3U".to_owned());
    }
    // RFC 8216 section 4.3.2.5: EXT-X-MAP in a playlist without I-FRAMES-ONLY needs version 6; fMP4 players expect 6 or 7.
    if playlist.version.unwrap_or(1) < 6 {
        faults.push(format!("version {:?} with EXT-X-MAP", playlist.version));
    }
    for (sequence, segment) in (playlist.media_sequence..).zip(&playlist.segments) {
        // Section 4.3.3.1: EXTINF rounded to the nearest integer is at most the target duration.
        if segment.duration.round() > playlist.target_duration as f32 {
            faults.push(format!(
                "segment {sequence} of {} s, target {}",
                segment.duration, playlist.target_duration
            ));
        }
    }
    if playlist.segments.first().is_some_and(|first| first.map.is_none()) {
        faults.push("the first segment has no EXT-X-MAP".to_owned());
    }
    if playlist.segments.iter().all(|segment| segment.program_date_time.is_none()) {
        faults.push("no EXT-X-PROGRAM-DATE-TIME".to_owned());
    }
}

fn succession(before: &Answered, after: &Answered, faults: &mut Vec<String>) {
    let (old, new) = (&before.parsed, &after.parsed);
    // Section 6.2.1: the target duration must not change; segments are only removed in front and added at the end.
    if old.target_duration != new.target_duration {
        faults.push(format!("target duration went from {} to {}", old.target_duration, new.target_duration));
    }
    if new.media_sequence < old.media_sequence {
        faults.push(format!("media sequence went from {} to {}", old.media_sequence, new.media_sequence));
        return;
    }
    let gone = usize::try_from(new.media_sequence - old.media_sequence).unwrap_or(usize::MAX);
    for (sequence, (was, is)) in (new.media_sequence..).zip(old.segments.iter().skip(gone).zip(&new.segments))
    {
        if was.uri != is.uri
            || was.duration.to_bits() != is.duration.to_bits()
            || was.discontinuity != is.discontinuity
        {
            faults.push(format!("segment {sequence} changed from {} to {}", was.uri, is.uri));
        }
    }
    // Section 6.2.2: a removed discontinuity is counted.
    let removed = old.segments.iter().take(gone).filter(|segment| segment.discontinuity).count() as u64;
    if new.discontinuity_sequence < old.discontinuity_sequence
        || new.discontinuity_sequence > old.discontinuity_sequence + removed
    {
        let (from, to) = (old.discontinuity_sequence, new.discontinuity_sequence);
        faults.push(format!("discontinuity sequence went from {from} to {to} with {removed} removed"));
    }
}

/// Every segment begins where the one before ended, and `EXTINF` says how long it is.
fn timeline(captured: &Captured, faults: &mut Vec<String>) {
    let timescale = f64::from(captured.track.timescale);
    for segment in &captured.segments {
        let seconds = (segment.span.end - segment.span.begin) as f64 / timescale;
        if (seconds - segment.duration_s).abs() > EXTINF_TOLERANCE_S {
            faults.push(format!(
                "segment {} lasts {seconds:.4} s, EXTINF {}",
                segment.sequence, segment.duration_s
            ));
        }
    }
    for pair in captured.segments.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        if after.span.begin != before.span.end && !after.discontinuity {
            let ms = (after.span.begin as f64 - before.span.end as f64) * 1000.0 / timescale;
            faults.push(format!(
                "segment {} begins {ms:.1} ms after the end of the one before",
                after.sequence
            ));
        }
    }
}
