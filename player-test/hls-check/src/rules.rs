//! The rules, one for each MUST (and some SHOULDs) of draft-pantos-hls-rfc8216bis that a live stream can break, and some of our own.
//!
//! An id begins with the section that the rule comes from; `B.1` is the Low-Latency Server Configuration Profile, `our` what the
//! draft leaves open and this project promises.

use serde::Serialize;

/// How much a rule binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// A MUST of the draft.
    Must,
    /// A SHOULD of the draft.
    Should,
    /// A promise of this project.
    Ours,
}

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Section and name.
    pub id: &'static str,
    /// How much it binds.
    pub grade: Grade,
    /// What it asks, in a sentence.
    pub words: &'static str,
}

const fn must(id: &'static str, words: &'static str) -> Rule {
    Rule { id, grade: Grade::Must, words }
}

const fn should(id: &'static str, words: &'static str) -> Rule {
    Rule { id, grade: Grade::Should, words }
}

const fn ours(id: &'static str, words: &'static str) -> Rule {
    Rule { id, grade: Grade::Ours, words }
}

/// All rules, by section.
pub const RULES: &[Rule] = &[
    must(
        "3.1.2-fmp4",
        "a segment or part is fragmented MP4 of one track, with tfdt, and its map an initialisation section",
    ),
    must("3.1.2-map", "every fMP4 segment has an EXT-X-MAP"),
    must("3.2-part-samples", "a segment and all its parts have the same samples, with the same timing"),
    must("3.2-part-sum", "the durations of a segment's parts add up to the segment's"),
    must("4-content-type", "a playlist is known by its content type"),
    must("4.1-text", "a playlist is UTF-8 without a byte order mark and without control characters"),
    must("4.1-blanks", "no blanks around lines"),
    must("4.1-tag-form", "a tag carries what its definition says"),
    ours("4.1-unknown", "no tag and no attribute that the draft does not know"),
    must("4.2-syntax", "attribute lists are NAME=VALUE, separated by commas"),
    must("4.2-repeated-attribute", "no attribute twice in a list"),
    must("4.2-value", "an attribute's value is of its type"),
    must("4.2-required", "required attributes are there"),
    must("4.4-kind", "no tags of multivariant playlists in media playlists, nor the other way round"),
    must("4.4-once", "tags that stand once stand once"),
    must("4.4.1.1-first-line", "the first line is #EXTM3U"),
    must(
        "4.4.2.1-independent-segments",
        "where EXT-X-INDEPENDENT-SEGMENTS applies, every segment begins with an independent frame",
    ),
    must("4.4.3.1-required", "a media playlist has EXT-X-TARGETDURATION"),
    must("4.4.3.1-extinf", "EXTINF, rounded to the nearest second, is at most the target duration"),
    must("4.4.3.2-before-segments", "EXT-X-MEDIA-SEQUENCE stands before the first segment"),
    must(
        "4.4.3.3-before-segments",
        "EXT-X-DISCONTINUITY-SEQUENCE stands before the first segment and discontinuity",
    ),
    must("4.4.3.4-endlist", "after EXT-X-ENDLIST nothing is added, and it stays"),
    must("4.4.3.6-i-frame", "each segment of an I-frame playlist is one I-frame"),
    must("4.4.3.7-part-inf", "a playlist with parts has EXT-X-PART-INF"),
    must("4.4.3.8-hold-back", "HOLD-BACK is at least three target durations"),
    must("4.4.3.8-part-hold-back", "PART-HOLD-BACK is there, and at least twice the part target"),
    should("4.4.3.8-part-hold-back-thrice", "PART-HOLD-BACK is at least three times the part target"),
    must(
        "4.4.3.8-skip-boundary",
        "CAN-SKIP-UNTIL is at least six target durations, and there with CAN-SKIP-DATERANGES",
    ),
    must("4.4.4.1-required", "every segment has EXTINF and a URI"),
    should("4.4.4.1-extinf", "EXTINF is the duration of the segment's media"),
    must("4.4.4.2-begin", "a byte range without a beginning goes on from one before it"),
    must("4.4.4.6-date", "EXT-X-PROGRAM-DATE-TIME is a date with a time zone"),
    must(
        "4.4.4.9-tags-before-parts",
        "a segment's discontinuity, key, map and date stand before its first part",
    ),
    must("4.4.4.9-part-target", "a part is no longer than the part target"),
    must(
        "4.4.4.9-part-minimum",
        "a part has at least 85 % of the part target, unless independent, a gap, before a gap, or its segment's last",
    ),
    must("4.4.4.9-part-duration", "DURATION of a part is the duration of its media"),
    must("4.4.4.9-independent", "a part marked INDEPENDENT has an independent frame"),
    should("4.4.4.9-independent-unmarked", "a part with an independent frame is marked INDEPENDENT"),
    must("4.4.5.1-daterange", "a date range is put together right, and in a playlist with dates"),
    must("4.4.5.3-hint-after-end", "no preload hint behind EXT-X-ENDLIST"),
    must("4.4.5.3-hint-match", "the next part has the URI that was hinted"),
    must(
        "4.4.5.4-report-uri",
        "a rendition report names, relatively, another rendition of the multivariant playlist",
    ),
    must("4.4.5.4-report-true", "a rendition report names nothing that the rendition does not have yet"),
    must("4.4.5.4-report-fresh", "a rendition report is as up to date as its playlist"),
    must("4.4.6.1.1-group", "members of a group have different names, one default, which is selectable"),
    must("4.4.6.1-channels", "an audio rendition has CHANNELS"),
    must("4.4.6.2-uri", "every EXT-X-STREAM-INF is followed by the URI of its playlist, and there is one"),
    must("4.4.6.2-group", "a group that is named is there"),
    must("4.4.6.2-bandwidth", "BANDWIDTH is no less than the measured peak"),
    should("4.4.6.2-codecs", "every variant has CODECS"),
    should("4.4.6.2-resolution", "RESOLUTION is there with video, and is the pictures' size"),
    should("4.4.6.2-frame-rate", "FRAME-RATE is there with video, and is the pictures' rate"),
    must("6.2.1-available", "what a playlist lists can be fetched at once"),
    must(
        "6.2.1-timeline",
        "a segment or part begins where the one before ended, unless there is a discontinuity",
    ),
    must("6.2.1-format", "codec, size and tracks change at a discontinuity only"),
    must("6.2.1-gap", "the parts of a segment with EXT-X-GAP have GAP=YES"),
    must("6.2.1-append", "segments, once listed, do not change, and only leave in front"),
    must("6.2.1-parts-append", "parts, once listed, do not change, and leave with all of their segment's"),
    must("6.2.1-head", "what applies to the whole playlist does not change"),
    must("6.2.1-target-constant", "the target duration does not change"),
    must("6.2.1-date-order", "program dates are not ambiguous"),
    should("6.2.1-date-discontinuity", "a segment with a discontinuity has a program date"),
    must("6.2.1-daterange-kept", "a date range stays, unchanged, while its dates are in the playlist"),
    must("6.2.1-segment-cadence", "a new segment comes within 1.5 target durations"),
    must("6.2.1-part-cadence", "a new part comes within one part target"),
    should("6.2.1-encodings", "an encoded playlist is the same as the plain one"),
    must("6.2.2-media-sequence", "the media sequence number never decreases"),
    must("6.2.2-discontinuity-sequence", "discontinuity sequence numbers of segments do not change"),
    must("6.2.2-window", "no segment is removed when less than three target durations would stay"),
    must("6.2.2-event", "a playlist with EXT-X-PLAYLIST-TYPE loses no segment"),
    must("6.2.2-part-order", "parts leave the playlist in order"),
    should("6.2.2-part-age", "parts leave the playlist three target durations behind the end"),
    must("6.2.2-removed-segment", "a removed segment can still be fetched for its availability duration"),
    must("6.2.2-removed-part", "a removed part can still be fetched for three target durations"),
    must("6.2.4-codecs", "CODECS names every format of the variant's renditions"),
    must("6.2.4-target", "all renditions have one target duration"),
    must("6.2.4-server-control", "EXT-X-SERVER-CONTROL is in all playlists, with the same attributes"),
    must(
        "6.2.4-discontinuity",
        "what plays at the same time has the same discontinuity sequence number in all renditions",
    ),
    must("6.2.4-dates", "dates map to media times in the same way in all segments and renditions"),
    must("6.2.4-dateranges", "a date range has the same attributes in all renditions"),
    must("6.2.5.1-delta", "a delta update is given when it was asked for, and not otherwise"),
    must("6.2.5.1-boundary", "nothing nearer to the end than the skip boundary is skipped"),
    must("6.2.5.1-merge", "what a delta update skips was in the last version"),
    must("6.2.5.1-equal", "a delta update, merged, is the full playlist"),
    must(
        "6.2.5.2-answer",
        "a blocking request is answered with a playlist, or 503 after three target durations",
    ),
    must("6.2.5.2-early", "a blocking request is not answered before there is what it asks for"),
    ours("6.2.5.2-late", "a blocking request is answered within one part of there being what it asks for"),
    must("6.2.5.2-part-alone", "_HLS_part without _HLS_msn is answered with 400"),
    should("6.2.5.2-too-far", "a request for the far future is answered with 400 at once"),
    must(
        "6.2.6-hint",
        "a hinted resource can be asked for, and is answered within one part of its being listed",
    ),
    must("6.2.6-hint-whole", "no byte of a hinted part is sent before all of it can be"),
    should("6.2.6-one-hint", "no two preload hints of one type"),
    must("8-version", "EXT-X-VERSION is no lower than what the tags need"),
    must("B.1-block-reload", "a low-latency playlist offers blocking reload"),
    must("B.1-date", "a low-latency playlist has program dates"),
    must("B.1-hint", "a low-latency playlist hints at the next part"),
    must("B.1-reports", "a low-latency playlist reports on every other rendition"),
    should("B.1-cache-blocking", "the answer to a blocking request may be cached"),
    should("B.1-cache-playlist", "a playlist is not cached for longer than half a target duration"),
    should("B.1-cache-media", "media may be cached for six target durations"),
    ours("our-bad-directive", "directives that are no numbers are answered with 400"),
    ours("our-part-bytes", "a segment's bytes are those of its parts, put together"),
    ours("our-aligned", "segments of one number begin at the same time in all renditions"),
    ours("our-sync-flags", "sync samples are IDR pictures"),
    ours("our-needless-discontinuity", "a discontinuity stands where something changes"),
    ours("our-date-extinf", "the program date goes on by EXTINF"),
];

/// The rule with this id.
///
/// # Panics
/// Never for an id of [`RULES`]; a test walks over all that the code names.
#[must_use]
pub fn rule(id: &str) -> &'static Rule {
    RULES.iter().find(|rule| rule.id == id).expect("every id in the code is in the table")
}

/// Something that one document breaks by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) rule: &'static str,
    pub(crate) what: String,
}

/// Faults of one document.
#[derive(Debug, Default)]
pub(crate) struct Faults(pub(crate) Vec<Fault>);

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Violation {
    /// Id of the rule.
    pub rule: &'static str,
    /// How much it binds.
    pub grade: Grade,
    /// Path of the playlist or file.
    pub at: String,
    /// What was seen first.
    pub what: String,
    /// When it was seen first, seconds from the beginning.
    pub first_s: f64,
    /// How often the rule was broken there.
    pub times: u64,
}
