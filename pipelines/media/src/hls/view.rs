//! What players may ask for at one moment, and what they get.

use super::daterange::{DateRange, DateRanges};
use super::lane::Edge;
use super::playlist::Rendering;
use super::query::{Query, QueryError, Scope, Skip};
use super::segment::{KEYFRAMES_FILE, PLAYLIST_FILE, Part, Segment, init_file, part_file, segment_file};
use super::{HlsConfig, RenditionName, TakeId};
use crate::time::{Mono, UnixTime};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// `application/vnd.apple.mpegurl` (RFC 8216 section 10), the one every player knows.
const PLAYLIST_TYPE: &str = "application/vnd.apple.mpegurl";

/// How long a cache may keep a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CachePolicy {
    /// It never changes: its name is never used again.
    Immutable,
    /// It changes: keep it this long.
    Short(Duration),
}

impl CachePolicy {
    /// The value of `Cache-Control`.
    pub fn header_value(&self) -> String {
        match self {
            // A year, as far as RFC 9111 section 1.2.2 promises to be understood; `immutable`: RFC 8246.
            Self::Immutable => "public, max-age=31536000, immutable".to_owned(),
            Self::Short(age) => format!("public, max-age={}", age.as_secs()),
        }
    }
}

/// A response body with what HTTP must say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// `Content-Type`. Segments are `video/mp4` and `audio/mp4`, as Apple's authoring specification and VLC's demuxer
    /// choice want them (hls.js does not look); `video/iso.segment` is DASH's, and VLC does not know it.
    pub content_type: &'static str,
    /// How long caches may keep it.
    pub cache: CachePolicy,
    /// A strong entity tag with its quotes. A compressed form needs its own (RFC 9110 section 8.8.3.3).
    pub etag: String,
    /// The bytes, shared.
    pub body: Bytes,
}

/// A segment whose bytes are stored outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Whose it is.
    pub rendition: RenditionName,
    /// Its media sequence number.
    pub msn: u64,
    /// What HTTP must say of it; the body is empty.
    pub resource: Resource,
}

/// What is not there yet, but comes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Awaited {
    /// The multivariant playlist.
    Multivariant,
    /// A rendition's first part.
    Beginning(RenditionName),
    /// A playlist with this segment, or this part of it (rfc8216bis section 6.2.5.2).
    Playlist {
        /// The rendition.
        rendition: RenditionName,
        /// Media sequence number.
        msn: u64,
        /// Part index.
        part: Option<u64>,
    },
    /// The part that an `EXT-X-PRELOAD-HINT` names.
    Part {
        /// The rendition.
        rendition: RenditionName,
        /// Media sequence number.
        msn: u64,
        /// Part index.
        part: u64,
    },
}

/// The answer to a request below `/hls/{stream}/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// Here it is.
    Found(Resource),
    /// It is stored outside: read it there.
    Stored(Stored),
    /// It comes: ask a later view, once [`HlsView::has`] it. Answer 503 after [`HlsConfig::longest_wait`].
    Later(Awaited),
    /// There was such a segment; it has left the window. Answer 410.
    Gone,
    /// The playlist since the beginning was asked for, and the beginning has left the window. Answer 410.
    BeginningGone,
    /// There is no such thing. Answer 404.
    NotFound,
    /// The query is nonsense. Answer 400.
    Refused(QueryError),
}

/// What one rendition offers.
#[derive(Debug)]
pub(super) struct RenditionView {
    /// Content type of its segments.
    pub(super) content_type: &'static str,
    /// Whether it has a playlist of keyframes.
    pub(super) has_keyframes: bool,
    pub(super) inits: Vec<(u32, Bytes)>,
    /// In the order of their media sequence numbers, without a hole.
    pub(super) segments: Arc<[Arc<Segment>]>,
    /// The segment that is being made.
    pub(super) edge: Option<Edge>,
}

/// A rendition with the playlists that were asked for since this view was made. All who ask share them.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) rendition: Arc<RenditionView>,
    texts: [OnceLock<Option<Resource>>; 18],
}

impl Entry {
    pub(super) fn new(rendition: Arc<RenditionView>) -> Self {
        Self { rendition, texts: Default::default() }
    }
}

/// Everything that players may ask for at one moment: immutable, cheap to share.
#[derive(Debug)]
pub struct HlsView {
    pub(super) config: HlsConfig,
    pub(super) take: TakeId,
    /// Wall clock at the timeline's zero.
    pub(super) epoch_wall: UnixTime,
    pub(super) ended: bool,
    /// When it was made.
    pub(super) now: Mono,
    /// Grows from view to view.
    pub(super) revision: u64,
    pub(super) listed_from: u64,
    pub(super) kept_from: u64,
    pub(super) date_ranges: Arc<DateRanges>,
    pub(super) multivariant: Option<Resource>,
    /// The same with `EXT-X-START` at the beginning, for those who want it from there.
    pub(super) multivariant_event: Option<Resource>,
    pub(super) renditions: BTreeMap<RenditionName, Entry>,
}

impl HlsView {
    /// Looks up a path below `/hls/{stream}/` (no leading slash, not percent-encoded): `index.m3u8`,
    /// `{rendition}/index.m3u8`, `{rendition}/iframes.m3u8`, `{rendition}/init-{take}-{n}.mp4`,
    /// `{rendition}/{take}-{msn}.m4s`, `{rendition}/{take}-{msn}.{part}.m4s`.
    ///
    /// The query is what follows `?`, or empty: delivery directives, `dvr=` and `type=`.
    pub fn get(&self, path: &str, query: &str) -> Lookup {
        let is_playlist = path.ends_with(".m3u8");
        let query = match Query::parse(query) {
            Ok(query) => query,
            Err(error) if is_playlist => return Lookup::Refused(error),
            Err(_) => Query::default(),
        };
        if path == PLAYLIST_FILE {
            let playlist =
                if query.scope == Scope::Event { &self.multivariant_event } else { &self.multivariant };
            return match playlist {
                None if self.ended => Lookup::NotFound,
                None => Lookup::Later(Awaited::Multivariant),
                Some(_) if query.scope == Scope::Event && self.kept_from > 0 => Lookup::BeginningGone,
                Some(found) => Lookup::Found(found.clone()),
            };
        }
        let Some((name, file)) = path.split_once('/') else { return Lookup::NotFound };
        let Ok(name) = RenditionName::new(name) else { return Lookup::NotFound };
        let Some(entry) = self.renditions.get(&name) else { return Lookup::NotFound };
        match file {
            PLAYLIST_FILE => self.playlist(&name, entry, query, false),
            KEYFRAMES_FILE if entry.rendition.has_keyframes => self.playlist(&name, entry, query, true),
            _ => match self.parse_file(file) {
                Some(File::Init(init)) => entry.rendition.init(&self.take, init),
                Some(File::Segment(msn)) => entry.rendition.segment(&self.take, &name, msn),
                Some(File::Part(msn, part)) => self.part(&name, entry, msn, part),
                None => Lookup::NotFound,
            },
        }
    }

    /// Whether what was waited for is there, or can no longer come: time to [`Self::get`] it again.
    pub fn has(&self, awaited: &Awaited) -> bool {
        if self.ended {
            return true;
        }
        let entry = |name| self.renditions.get(name).map(|entry: &Entry| &entry.rendition);
        match awaited {
            Awaited::Multivariant => self.multivariant.is_some(),
            Awaited::Beginning(name) => entry(name).is_none_or(|r| r.last().is_some()),
            Awaited::Playlist { rendition, msn, part } => {
                entry(rendition).is_none_or(|r| r.reaches(*msn, *part))
            }
            Awaited::Part { rendition, msn, part } => {
                entry(rendition).is_none_or(|r| r.hint() != Some((*msn, *part)))
            }
        }
    }

    /// The events with a date that the playlists list.
    pub fn date_ranges(&self) -> impl Iterator<Item = &DateRange> {
        self.date_ranges.iter()
    }

    /// Who made the segments that are looked up here.
    pub fn take(&self) -> &TakeId {
        &self.take
    }

    /// All playlists are closed.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The knobs by which it was made.
    pub fn config(&self) -> &HlsConfig {
        &self.config
    }

    /// The names of the renditions, in order.
    pub fn renditions(&self) -> impl Iterator<Item = &RenditionName> {
        self.renditions.keys()
    }

    /// The segments of a rendition that are still kept, oldest first; empty for an unknown one.
    pub fn segments(&self, rendition: &RenditionName) -> &[Arc<Segment>] {
        self.renditions.get(rendition).map_or(&[], |entry| &entry.rendition.segments)
    }

    fn playlist(&self, name: &RenditionName, entry: &Entry, query: Query, keyframes: bool) -> Lookup {
        let Query { scope, skip, msn, part } = query;
        let rendition = &entry.rendition;
        let Some((last, _)) = rendition.last() else {
            return match self.ended {
                true => Lookup::NotFound,
                false => Lookup::Later(Awaited::Beginning(name.clone())),
            };
        };
        if scope == Scope::Event && self.kept_from > 0 {
            return Lookup::BeginningGone;
        }
        // A closed playlist ignores directives (rfc8216bis section 6.2.5.2).
        if let (Some(msn), false) = (msn, self.ended) {
            // Playlists of keyframes have no parts: theirs are those of whole segments.
            let part = part.filter(|_| !keyframes);
            if let Err(error) = rendition.check_reach(msn, part, &self.config) {
                return Lookup::Refused(error);
            }
            if !rendition.reaches(msn, part) {
                return Lookup::Later(Awaited::Playlist { rendition: name.clone(), msn, part });
            }
        }
        let skip = if self.ended { Skip::Nothing } else { skip };
        let index = 9 * usize::from(keyframes) + 3 * scope as usize + skip as usize;
        let found = entry.texts[index].get_or_init(|| {
            let rendering = Rendering { view: self, name, rendition, scope };
            let text = if keyframes { rendering.keyframes(skip) } else { rendering.media(skip) };
            text.map(|text| self.playlist_resource(index, text))
        });
        let Some(mut found) = found.clone() else {
            // The first keyframe is listed with its segment.
            return match keyframes && !self.ended && rendition.segments.is_empty() {
                true => Lookup::Later(Awaited::Playlist { rendition: name.clone(), msn: last, part: None }),
                false => Lookup::NotFound,
            };
        };
        if msn.is_some() {
            // Such an address always means the same, so that caches may keep the answer long (rfc8216bis appendix B.1).
            found.cache = CachePolicy::Short(self.config.skip_boundary());
        }
        Lookup::Found(found)
    }

    fn playlist_resource(&self, index: usize, text: String) -> Resource {
        Resource {
            content_type: PLAYLIST_TYPE,
            cache: CachePolicy::Short(playlist_age(&self.config)),
            etag: format!("\"{}-r{}-{index}\"", self.take, self.revision),
            body: Bytes::from(text),
        }
    }

    fn part(&self, name: &RenditionName, entry: &Entry, msn: u64, part: u64) -> Lookup {
        let rendition = &entry.rendition;
        let index = usize::try_from(part).unwrap_or(usize::MAX);
        if let Some(found) = rendition.parts_of(msn).and_then(|parts| parts.get(index)) {
            return rendition.immutable(format!("\"{}-{msn}.{part}\"", self.take), &found.body);
        }
        if !self.ended && rendition.hint() == Some((msn, part)) {
            return Lookup::Later(Awaited::Part { rendition: name.clone(), msn, part });
        }
        match rendition.segments.first() {
            Some(first) if msn < first.msn => Lookup::Gone,
            _ if rendition.find(msn).is_some_and(|segment| segment.stored) => Lookup::Gone,
            _ => Lookup::NotFound,
        }
    }

    fn parse_file(&self, file: &str) -> Option<File> {
        let number = |digits: &str| digits.parse::<u64>().ok();
        let read = match file.strip_suffix(".mp4") {
            Some(stem) => {
                let digits = stem.strip_prefix("init-")?.strip_prefix(self.take.as_str())?;
                File::Init(u32::try_from(number(digits.strip_prefix('-')?)?).ok()?)
            }
            None => {
                let digits =
                    file.strip_suffix(".m4s")?.strip_prefix(self.take.as_str())?.strip_prefix('-')?;
                match digits.split_once('.') {
                    Some((msn, part)) => File::Part(number(msn)?, number(part)?),
                    None => File::Segment(number(digits)?),
                }
            }
        };
        // One name for one thing: `007` and `+7` are not `7`.
        let canonical = match read {
            File::Init(init) => init_file(&self.take, init),
            File::Segment(msn) => segment_file(&self.take, msn),
            File::Part(msn, part) => part_file(&self.take, msn, usize::try_from(part).ok()?),
        };
        (canonical == file).then_some(read)
    }
}

/// A playlist that was not waited for may be kept half a target duration (rfc8216bis appendix B.1).
pub(super) fn playlist_age(config: &HlsConfig) -> Duration {
    Duration::from_secs(config.target_duration()) / 2
}

/// The multivariant playlist as a response. `revision` changes with every change of the text.
pub(super) fn multivariant_resource(
    take: &TakeId,
    revision: u64,
    kind: char,
    config: &HlsConfig,
    text: String,
) -> Resource {
    Resource {
        content_type: PLAYLIST_TYPE,
        cache: CachePolicy::Short(playlist_age(config)),
        etag: format!("\"{take}-{kind}{revision}\""),
        body: Bytes::from(text),
    }
}

enum File {
    Init(u32),
    Segment(u64),
    Part(u64, u64),
}

impl RenditionView {
    /// The last segment or part that players see: its media sequence number, and its part index if it has parts.
    pub(super) fn last(&self) -> Option<(u64, Option<usize>)> {
        let of = |msn, parts: &[Part]| (msn, parts.len().checked_sub(1));
        match &self.edge {
            Some(edge) if !edge.parts.is_empty() => Some(of(edge.msn, &edge.parts)),
            _ => self.segments.last().map(|segment| of(segment.msn, &segment.parts)),
        }
    }

    /// The part that comes next. Where no segment is open, because the publisher is away or a keyframe is waited for, that is the
    /// first of the next one (rfc8216bis appendix B.1: there is always a hint).
    pub(super) fn hint(&self) -> Option<(u64, u64)> {
        match &self.edge {
            Some(edge) => Some((edge.msn, edge.parts.len() as u64)),
            None => self.segments.last().map(|last| (last.msn + 1, 0)),
        }
    }

    pub(super) fn find(&self, msn: u64) -> Option<&Arc<Segment>> {
        let index = msn.checked_sub(self.segments.first()?.msn)?;
        self.segments.get(usize::try_from(index).ok()?)
    }

    fn parts_of(&self, msn: u64) -> Option<&[Part]> {
        match &self.edge {
            Some(edge) if edge.msn == msn => Some(&edge.parts),
            _ => self.find(msn).map(|segment| segment.parts.as_slice()),
        }
    }

    /// Whether the playlist has this segment, or this part of it, or a later one (rfc8216bis section 6.2.5.2).
    fn reaches(&self, msn: u64, part: Option<u64>) -> bool {
        let complete = self.segments.last().map(|segment| segment.msn);
        let Some(part) = part else { return complete.is_some_and(|last| last >= msn) };
        if complete.is_some_and(|last| last > msn) {
            return true;
        }
        let edge_has = |at: u64, part: u64| {
            self.edge.as_ref().is_some_and(|edge| edge.msn == at && (edge.parts.len() as u64) > part)
        };
        match self.find(msn) {
            // A part behind the last one is the first of the next segment.
            Some(segment) => {
                let missing = segment.gap && part == 0;
                missing || (segment.parts.len() as u64) > part || edge_has(msn + 1, 0)
            }
            None => edge_has(msn, part),
        }
    }

    /// Refuses what is too far ahead (rfc8216bis section 6.2.5.2).
    fn check_reach(&self, msn: u64, part: Option<u64>, config: &HlsConfig) -> Result<(), QueryError> {
        let complete = self.segments.last().map(|segment| segment.msn);
        let next = match (complete, &self.edge) {
            (Some(last), _) => last + 1,
            (None, Some(edge)) => edge.msn,
            (None, None) => 0,
        };
        let asked = match part {
            Some(part) => format!("part {part} of segment {msn}"),
            None => format!("segment {msn}"),
        };
        let last_msn = i64::try_from(next).unwrap_or(i64::MAX) - 1;
        let too_far = || QueryError::TooFarAhead { last_msn, asked };
        if msn > next + 1 {
            return Err(too_far());
        }
        let Some(part) = part.filter(|_| msn >= next) else { return Ok(()) };
        let known = self.edge.as_ref().filter(|edge| edge.msn == msn).map_or(0, |edge| edge.parts.len());
        // Parts from the last one to the one asked for.
        if part + 1 > known as u64 + advance_part_limit(config.part_target()) {
            return Err(too_far());
        }
        Ok(())
    }

    fn init(&self, take: &TakeId, init: u32) -> Lookup {
        let found = self.inits.iter().find(|(number, _)| *number == init);
        match (found, self.inits.first()) {
            (Some((_, body)), _) => self.immutable(format!("\"{take}-init-{init}\""), body),
            (None, Some((oldest, _))) if init < *oldest => Lookup::Gone,
            _ => Lookup::NotFound,
        }
    }

    fn segment(&self, take: &TakeId, name: &RenditionName, msn: u64) -> Lookup {
        let Some(first) = self.segments.first() else { return Lookup::NotFound };
        if msn < first.msn {
            return Lookup::Gone;
        }
        match self.find(msn) {
            Some(segment) if !segment.gap => {
                let resource = self.resource(format!("\"{take}-{msn}\""), &segment.body);
                match segment.stored {
                    true => Lookup::Stored(Stored { rendition: name.clone(), msn, resource }),
                    false => Lookup::Found(resource),
                }
            }
            _ => Lookup::NotFound,
        }
    }

    fn resource(&self, etag: String, body: &Bytes) -> Resource {
        Resource { content_type: self.content_type, cache: CachePolicy::Immutable, etag, body: body.clone() }
    }

    fn immutable(&self, etag: String, body: &Bytes) -> Lookup {
        Lookup::Found(self.resource(etag, body))
    }
}

/// How many parts ahead may be asked for: three divided by the part target when that is below one second, otherwise three
/// (rfc8216bis section 6.2.5.2).
fn advance_part_limit(part_target: Duration) -> u64 {
    let micros = u64::try_from(part_target.as_micros()).unwrap_or(u64::MAX).max(1);
    if micros < 1_000_000 { 3_000_000_u64.div_ceil(micros) } else { 3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advance_part_limit_is_three_seconds_of_short_parts_and_three_long_ones() {
        assert_eq!(advance_part_limit(Duration::from_millis(220)), 14);
        assert_eq!(advance_part_limit(Duration::from_millis(500)), 6);
        assert_eq!(advance_part_limit(Duration::from_millis(1100)), 3);
    }
}
