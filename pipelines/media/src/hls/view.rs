//! What players may ask for at one moment, and what they get.

use super::segment::{Segment, init_file, segment_file};
use super::{RenditionName, TakeId};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
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

/// The answer to a request below `/hls/{stream}/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// Here it is.
    Found(Resource),
    /// The stream is on air; this playlist comes with its first segments. Answer 404 with a short `Retry-After`.
    NotYet,
    /// There was such a segment; it has left the window. Answer 410.
    Gone,
    /// There is no such thing. Answer 404.
    NotFound,
}

/// What one rendition offers.
#[derive(Debug)]
pub(super) struct RenditionView {
    /// Content type of its segments.
    pub(super) content_type: &'static str,
    pub(super) playlist: Option<Resource>,
    pub(super) inits: Vec<(u32, Bytes)>,
    /// In the order of their media sequence numbers, without a hole.
    pub(super) segments: Vec<Arc<Segment>>,
}

/// Everything that players may ask for at one moment: immutable, cheap to share.
#[derive(Debug)]
pub struct HlsView {
    pub(super) take: TakeId,
    pub(super) multivariant: Option<Resource>,
    pub(super) renditions: BTreeMap<RenditionName, Arc<RenditionView>>,
}

impl HlsView {
    /// Looks up a path below `/hls/{stream}/` (no leading slash, not percent-encoded): `index.m3u8`,
    /// `{rendition}/index.m3u8`, `{rendition}/init-{take}-{n}.mp4`, `{rendition}/{take}-{msn}.m4s`.
    ///
    /// The query is what follows `?`, or empty; nothing in it changes the answer yet.
    pub fn get(&self, path: &str, _query: &str) -> Lookup {
        if path == "index.m3u8" {
            return self.multivariant.clone().map_or(Lookup::NotYet, Lookup::Found);
        }
        let Some((name, file)) = path.split_once('/') else { return Lookup::NotFound };
        let Ok(name) = RenditionName::new(name) else { return Lookup::NotFound };
        let Some(rendition) = self.renditions.get(&name) else { return Lookup::NotFound };
        if file == "index.m3u8" {
            return rendition.playlist.clone().map_or(Lookup::NotYet, Lookup::Found);
        }
        match self.parse_file(file) {
            Some(File::Init(init)) => rendition.init(&self.take, init),
            Some(File::Segment(msn)) => rendition.segment(&self.take, msn),
            None => Lookup::NotFound,
        }
    }

    /// The names of the renditions, in order.
    pub fn renditions(&self) -> impl Iterator<Item = &RenditionName> {
        self.renditions.keys()
    }

    /// The segments of a rendition that are still kept, oldest first; empty for an unknown one.
    pub fn segments(&self, rendition: &RenditionName) -> &[Arc<Segment>] {
        self.renditions.get(rendition).map_or(&[], |r| &r.segments)
    }

    fn parse_file(&self, file: &str) -> Option<File> {
        let number = |digits: &str| digits.parse::<u64>().ok();
        let file = match file.strip_suffix(".mp4") {
            Some(stem) => {
                let digits = stem.strip_prefix("init-")?.strip_prefix(self.take.as_str())?;
                (File::Init(u32::try_from(number(digits.strip_prefix('-')?)?).ok()?), file)
            }
            None => {
                let digits = file.strip_suffix(".m4s")?.strip_prefix(self.take.as_str())?;
                (File::Segment(number(digits.strip_prefix('-')?)?), file)
            }
        };
        // One name for one thing: `007` and `+7` are not `7`.
        let canonical = match file.0 {
            File::Init(init) => init_file(&self.take, init),
            File::Segment(msn) => segment_file(&self.take, msn),
        };
        (canonical == file.1).then_some(file.0)
    }
}

enum File {
    Init(u32),
    Segment(u64),
}

impl RenditionView {
    fn init(&self, take: &TakeId, init: u32) -> Lookup {
        let found = self.inits.iter().find(|(number, _)| *number == init);
        match (found, self.inits.first()) {
            (Some((_, body)), _) => self.immutable(format!("\"{take}-init-{init}\""), body),
            (None, Some((oldest, _))) if init < *oldest => Lookup::Gone,
            _ => Lookup::NotFound,
        }
    }

    fn segment(&self, take: &TakeId, msn: u64) -> Lookup {
        let Some(first) = self.segments.first() else { return Lookup::NotFound };
        let Some(index) = msn.checked_sub(first.msn) else { return Lookup::Gone };
        let found = usize::try_from(index).ok().and_then(|index| self.segments.get(index));
        match found {
            Some(segment) if !segment.gap => self.immutable(format!("\"{take}-{msn}\""), &segment.body),
            _ => Lookup::NotFound,
        }
    }

    fn immutable(&self, etag: String, body: &Bytes) -> Lookup {
        Lookup::Found(Resource {
            content_type: self.content_type,
            cache: CachePolicy::Immutable,
            etag,
            body: body.clone(),
        })
    }
}

/// A playlist as a response. `revision` changes with every change of the text.
pub(super) fn playlist_resource(take: &TakeId, revision: u64, max_age: Duration, text: String) -> Resource {
    Resource {
        content_type: PLAYLIST_TYPE,
        cache: CachePolicy::Short(max_age),
        etag: format!("\"{take}-r{revision}\""),
        body: Bytes::from(text),
    }
}
