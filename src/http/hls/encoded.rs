//! Playlists compressed: which form a client gets, and each form made once for all who want it.
//!
//! A playlist changes a few times a second and is asked for by everybody at that moment. What is kept is therefore tied to the very
//! buffer that a view holds: whoever asks while it is the newest shares one compressed buffer, and when the view has gone, so does that.

use crate::http::reply::{self, Problem, Reply};
use crate::http::request::Request;
use brotli::enc::BrotliEncoderParams;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use headers::{HeaderMapExt, IfNoneMatch};
use skywave_media::hls::Resource;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use warp::http::HeaderValue;

/// Smaller playlists gain nothing: with the header that says so they would be longer.
const MIN_BYTES: usize = 256;

/// Longer playlists (a DVR window of hours) take their time; the other tasks of the thread must not wait for that.
const ASIDE_BYTES: usize = 64 * 1024;

/// Compressed forms kept at a time; the oldest go first. A stream has two to five playlists, each in up to two forms.
const MAX_FORMS: usize = 512;

/// And their bytes, together with the playlists they were made of.
const MAX_BYTES: usize = 64 << 20;

/// zlib's own default: each form is made once, so it may be a good one.
const GZIP_LEVEL: u32 = 6;

/// The best of brotli's fast methods; from 5 on it is slower by steps, for a few bytes of such short texts.
const BROTLI_QUALITY: i32 = 4;

/// For a form that one visitor alone gets.
const ONCE_GZIP_LEVEL: u32 = 1;
const ONCE_BROTLI_QUALITY: i32 = 1;

/// How a body is coded (RFC 9110 section 8.4.1), the one we like best last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Coding {
    Identity,
    Gzip,
    Brotli,
}

/// Who else gets the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Everybody who asks for this revision: the forms are kept.
    Shared,
    /// Nobody: a visitor's own key stands in it.
    Private,
}

/// The answer with a playlist: in the form the client likes best (RFC 9110 section 12.5.3), 304 when it has that form already, 406
/// when it refuses all there are. All who get the same form of the same buffer share one.
pub(super) fn reply(playlist: &Resource, sharing: Sharing, request: &Request) -> Reply {
    let accepted = request.list("accept-encoding");
    let Some(coding) = choose(accepted.as_deref(), playlist.body.len()) else {
        let words = "Accept-Encoding rules out every form there is: br, gzip, identity";
        let problem = Problem::new(406, "Not acceptable", words);
        return problem.with_header("vary", "accept-encoding").into_reply();
    };
    // Strong, and of this form alone (RFC 9110 section 8.8.3.3).
    let tag = etag(&playlist.etag, coding);
    let seen = request.headers.typed_get::<IfNoneMatch>();
    let is_known = seen.zip(tag.parse().ok()).is_some_and(|(seen, tag)| !seen.precondition_passes(&tag));
    let mut answer = if is_known { reply::empty(304) } else { whole(playlist, coding, sharing) };
    let headers = answer.headers_mut();
    headers.insert("etag", reply::header_value(&tag));
    headers.insert("cache-control", reply::header_value(&playlist.cache.header_value()));
    headers.insert("vary", HeaderValue::from_static("accept-encoding"));
    answer
}

fn whole(playlist: &Resource, coding: Coding, sharing: Sharing) -> Reply {
    let coded = match (coding, sharing) {
        (Coding::Identity, _) => playlist.body.clone(),
        (_, Sharing::Private) => aside(playlist.body.len(), || once(coding, &playlist.body)),
        (_, Sharing::Shared) => FORMS.get(&playlist.body, coding),
    };
    let mut answer = reply::with_type(200, playlist.content_type, coded);
    if let Some(name) = coding.name() {
        answer.headers_mut().insert("content-encoding", HeaderValue::from_static(name));
    }
    answer
}

impl Coding {
    /// As `Content-Encoding` has it.
    const fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Gzip => Some("gzip"),
            Self::Brotli => Some("br"),
        }
    }
}

/// `"take-r5"` is `"take-r5-gz"` when it is zipped.
fn etag(plain: &str, coding: Coding) -> String {
    let suffix = match coding {
        Coding::Identity => return plain.to_owned(),
        Coding::Gzip => "-gz\"",
        Coding::Brotli => "-br\"",
    };
    format!("{}{suffix}", plain.strip_suffix('"').unwrap_or(plain))
}

/// The coding that a client likes best, and among its equals the one that is smallest; `None` when it takes none.
fn choose(accepted: Option<&str>, length: usize) -> Option<Coding> {
    // Who says nothing takes anything, but may not know what to do with it.
    let Some(accepted) = accepted else { return Some(Coding::Identity) };
    let weights = Weights::read(accepted);
    let worth_it = |coding: &Coding| *coding == Coding::Identity || length >= MIN_BYTES;
    let of = |coding: Coding| Some((weights.of(coding)?, coding));
    let all = [Coding::Identity, Coding::Gzip, Coding::Brotli];
    let best = all.into_iter().filter(worth_it).filter_map(of).max();
    // Too short to be worth it, but there is no other way.
    best.or_else(|| all.into_iter().filter_map(of).max()).map(|(_, coding)| coding)
}

/// An `Accept-Encoding`: thousandths of a weight for each coding that is named.
#[derive(Debug, Default)]
struct Weights {
    identity: Option<u16>,
    gzip: Option<u16>,
    brotli: Option<u16>,
    others: Option<u16>,
}

impl Weights {
    fn read(accepted: &str) -> Self {
        let mut weights = Self::default();
        for element in accepted.split(',') {
            let mut parts = element.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let slot = match name {
                "*" => &mut weights.others,
                name if name.eq_ignore_ascii_case("identity") => &mut weights.identity,
                name if name.eq_ignore_ascii_case("br") => &mut weights.brotli,
                // RFC 9110 section 8.4.1.3.
                name if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => {
                    &mut weights.gzip
                }
                _ => continue,
            };
            let weight = parts.find_map(|part| {
                let (name, value) = part.split_once('=')?;
                name.trim().eq_ignore_ascii_case("q").then(|| thousandths(value.trim()))
            });
            *slot = Some(weight.unwrap_or(1000));
        }
        weights
    }

    /// `None` for one that is refused.
    fn of(&self, coding: Coding) -> Option<u16> {
        let weight = match coding {
            Coding::Gzip => self.gzip.or(self.others).unwrap_or(0),
            Coding::Brotli => self.brotli.or(self.others).unwrap_or(0),
            // Acceptable unless it is ruled out, but liked less than whatever is named.
            Coding::Identity if self.identity.or(self.others) == Some(0) => 0,
            Coding::Identity => self.identity.unwrap_or(1),
        };
        (weight > 0).then_some(weight)
    }
}

/// `0.5` is 500; what is no weight (RFC 9110 section 12.4.2) counts as 1, as if it were not there.
fn thousandths(weight: &str) -> u16 {
    match weight.parse::<f32>() {
        Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1000.0).round() as u16,
        _ => 1000,
    }
}

/// Every form that is kept. One for the whole process: what it holds depends on the buffers alone.
static FORMS: Forms = Forms(Mutex::new(Kept { forms: VecDeque::new(), bytes: 0 }));

struct Forms(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// The oldest first.
    forms: VecDeque<Entry>,
    /// Of playlists and forms together.
    bytes: usize,
}

struct Entry {
    /// Held, so that its address stays its own for as long as it is the key.
    plain: Bytes,
    coding: Coding,
    /// Whoever comes first fills it; others wait for that, not for the lock.
    coded: Arc<OnceLock<Bytes>>,
}

impl Forms {
    fn get(&self, plain: &Bytes, coding: Coding) -> Bytes {
        let slot = self.0.lock().unwrap_or_else(PoisonError::into_inner).slot(plain, coding);
        if let Some(coded) = slot.get() {
            return coded.clone();
        }
        aside(plain.len(), || slot.get_or_init(|| kept(coding, plain)).clone())
    }
}

impl Kept {
    fn slot(&mut self, plain: &Bytes, coding: Coding) -> Arc<OnceLock<Bytes>> {
        let is_it = |entry: &Entry| {
            entry.coding == coding
                && entry.plain.as_ptr() == plain.as_ptr()
                && entry.plain.len() == plain.len()
        };
        // The newest are asked for most.
        if let Some(entry) = self.forms.iter().rev().find(|entry| is_it(entry)) {
            return Arc::clone(&entry.coded);
        }
        self.forget_the_gone();
        let coded = Arc::new(OnceLock::new());
        self.bytes += plain.len();
        self.forms.push_back(Entry { plain: plain.clone(), coding, coded: Arc::clone(&coded) });
        while self.forms.len() > MAX_FORMS || (self.bytes > MAX_BYTES && self.forms.len() > 1) {
            let Some(oldest) = self.forms.pop_front() else { break };
            self.bytes -= oldest.plain.len();
        }
        coded
    }

    /// Of a buffer that nobody else holds there is no view any more that could ask for it. (Two forms of one hold it both; the one that
    /// is looked at later goes with the next revision.)
    fn forget_the_gone(&mut self) {
        let bytes = &mut self.bytes;
        self.forms.retain(|entry| {
            let is_gone = entry.plain.is_unique();
            if is_gone {
                *bytes -= entry.plain.len();
            }
            !is_gone
        });
    }
}

fn kept(coding: Coding, plain: &Bytes) -> Bytes {
    code(coding, plain, GZIP_LEVEL, BROTLI_QUALITY)
}

fn once(coding: Coding, plain: &Bytes) -> Bytes {
    code(coding, plain, ONCE_GZIP_LEVEL, ONCE_BROTLI_QUALITY)
}

fn code(coding: Coding, plain: &Bytes, gzip_level: u32, brotli_quality: i32) -> Bytes {
    let coded = match coding {
        Coding::Identity => return plain.clone(),
        Coding::Gzip => gzip(plain, gzip_level),
        Coding::Brotli => brotli(plain, brotli_quality),
    };
    Bytes::from(coded.expect("a Vec takes all that is written to it"))
}

fn gzip(plain: &[u8], level: u32) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::new(level));
    encoder.write_all(plain)?;
    encoder.finish()
}

fn brotli(plain: &[u8], quality: i32) -> io::Result<Vec<u8>> {
    // The window need not be larger than the text: 2^18 bytes are more than most playlists have.
    let parameters = BrotliEncoderParams { quality, lgwin: 18, size_hint: plain.len(), ..Default::default() };
    let mut coded = Vec::with_capacity(plain.len() / 4);
    brotli::BrotliCompress(&mut &*plain, &mut coded, &parameters)?;
    Ok(coded)
}

/// Runs `work` on `length` bytes; for many of them, the thread's other tasks go on elsewhere meanwhile.
fn aside<T>(length: usize, work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    let can_move = || Handle::try_current().is_ok_and(|h| h.runtime_flavor() == RuntimeFlavor::MultiThread);
    if length > ASIDE_BYTES && can_move() { tokio::task::block_in_place(work) } else { work() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::Came;
    use skywave_media::hls::CachePolicy;
    use std::io::Read;
    use std::time::Duration;
    use warp::http::Method;

    fn text(lines: usize) -> Bytes {
        let lines = (0..lines).map(|n| format!("#EXTINF:2.0,\nt-{n}.m4s\n"));
        Bytes::from(lines.collect::<String>())
    }

    #[test]
    fn the_coding_is_what_the_client_likes_best() {
        use Coding::{Brotli, Gzip, Identity};
        for (accepted, coding) in [
            ("gzip, deflate, br", Some(Brotli)),
            ("gzip", Some(Gzip)),
            ("x-gzip", Some(Gzip)),
            ("GZIP;Q=0.5, br;q=0.4", Some(Gzip)),
            ("br;q=1.0, gzip;q=0.8, *;q=0.1", Some(Brotli)),
            ("*", Some(Brotli)),
            ("*;q=0.5, br;q=0", Some(Gzip)),
            ("", Some(Identity)),
            ("deflate, zstd", Some(Identity)),
            ("gzip;q=0", Some(Identity)),
            ("gzip ; q = 0.0 , br ;q=0.000", Some(Identity)),
            ("identity;q=1, gzip;q=0.5", Some(Identity)),
            ("identity;q=0.5, gzip;q=0.5", Some(Gzip)),
            ("gzip;q=nonsense", Some(Gzip)),
            ("identity;q=0", None),
            ("*;q=0", None),
            ("*;q=0, identity", Some(Identity)),
            ("*;q=0, gzip", Some(Gzip)),
            ("identity;q=0, gzip", Some(Gzip)),
        ] {
            assert_eq!(choose(Some(accepted), 10_000), coding, "{accepted:?}");
        }
        assert_eq!(choose(None, 10_000), Some(Identity));
        assert_eq!(choose(Some("gzip"), 100), Some(Identity), "not worth it");
        assert_eq!(
            choose(Some("gzip, identity;q=0"), 100),
            Some(Gzip),
            "not worth it, but there is no other way"
        );
    }

    fn ask(playlist: &Resource, headers: &[(&'static str, &'static str)]) -> Reply {
        let headers =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        let came = Came { from: [127, 0, 0, 1].into(), redirect_to: None };
        let (path, query) = ("/".to_owned(), String::new());
        reply(
            playlist,
            Sharing::Shared,
            &Request::without_body(came, Method::GET, path, query, headers.collect()),
        )
    }

    fn playlist() -> Resource {
        Resource {
            content_type: "application/vnd.apple.mpegurl",
            cache: CachePolicy::Short(Duration::from_secs(1)),
            etag: "\"t-r5\"".to_owned(),
            body: text(100),
        }
    }

    #[test]
    fn a_client_gets_the_form_it_reads_and_is_told_which() {
        let playlist = playlist();
        for (accepted, coding, tag) in [
            ("br, gzip;q=0.8", Some("br"), "\"t-r5-br\""),
            ("gzip", Some("gzip"), "\"t-r5-gz\""),
            ("gzip;q=0", None, "\"t-r5\""),
        ] {
            let answer = ask(&playlist, &[("accept-encoding", accepted)]);
            let headers = answer.headers();
            assert_eq!(headers.get("content-encoding").map(|value| value.to_str().unwrap()), coding);
            assert_eq!(
                (&headers["etag"], &headers["vary"]),
                (&tag.parse().unwrap(), &"accept-encoding".parse().unwrap())
            );
            assert_eq!(answer.body().whole() == &*playlist.body, coding.is_none());
        }
        let refused = ask(&playlist, &[("accept-encoding", "identity;q=0")]);
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()["vary"]),
            (406, &"accept-encoding".parse().unwrap())
        );
    }

    #[test]
    fn only_the_form_that_would_be_sent_counts_as_known() {
        let playlist = playlist();
        let known = ask(&playlist, &[("accept-encoding", "gzip"), ("if-none-match", "\"x\", \"t-r5-gz\"")]);
        assert_eq!((known.status().as_u16(), known.body().whole().len()), (304, 0));
        assert_eq!(
            (&known.headers()["etag"], &known.headers()["vary"]),
            (&"\"t-r5-gz\"".parse().unwrap(), &"accept-encoding".parse().unwrap())
        );
        for other in ["\"t-r5\"", "\"t-r5-br\"", "\"t-r4-gz\""] {
            assert_eq!(
                ask(&playlist, &[("accept-encoding", "gzip"), ("if-none-match", other)]).status(),
                200
            );
        }
        assert_eq!(ask(&playlist, &[("if-none-match", "\"t-r5\"")]).status(), 304);
    }

    #[test]
    fn each_form_has_an_entity_tag_of_its_own() {
        assert_eq!(etag("\"t-r5\"", Coding::Identity), "\"t-r5\"");
        assert_eq!(etag("\"t-r5\"", Coding::Gzip), "\"t-r5-gz\"");
        assert_eq!(etag("\"t-r5\"", Coding::Brotli), "\"t-r5-br\"");
    }

    #[test]
    fn every_form_holds_the_whole_playlist() {
        let plain = text(300);
        for make in [kept, once] {
            let mut unzipped = Vec::new();
            flate2::read::GzDecoder::new(&*make(Coding::Gzip, &plain)).read_to_end(&mut unzipped).unwrap();
            assert_eq!(unzipped, plain);
            let mut unpacked = Vec::new();
            brotli::Decompressor::new(&*make(Coding::Brotli, &plain), 4096)
                .read_to_end(&mut unpacked)
                .unwrap();
            assert_eq!(unpacked, plain);
            assert!(make(Coding::Gzip, &plain).len() < plain.len() / 2);
        }
    }

    #[test]
    fn all_who_ask_for_a_revision_share_one_buffer() {
        let forms = Forms(Mutex::default());
        let plain = text(100);
        let first = forms.get(&plain, Coding::Gzip);
        assert_eq!(forms.get(&plain.clone(), Coding::Gzip).as_ptr(), first.as_ptr());
        assert_ne!(forms.get(&plain, Coding::Brotli).as_ptr(), first.as_ptr());
        let same_text = text(100);
        assert_ne!(forms.get(&same_text, Coding::Gzip).as_ptr(), first.as_ptr(), "another stream's");
    }

    #[test]
    fn threads_that_ask_at_the_same_moment_share_one_buffer() {
        let forms = Forms(Mutex::default());
        let plain = text(2_000);
        let barrier = std::sync::Barrier::new(4);
        let coded: Vec<Bytes> = std::thread::scope(|scope| {
            let ask = || {
                barrier.wait();
                forms.get(&plain, Coding::Gzip)
            };
            let asking: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            asking.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(coded.iter().all(|one| one.as_ptr() == coded[0].as_ptr()));
    }

    #[test]
    fn forms_go_with_the_view_they_were_made_of() {
        let mut kept = Kept::default();
        let plain = text(100);
        let length = plain.len();
        kept.slot(&plain, Coding::Gzip);
        kept.slot(&plain, Coding::Gzip);
        assert_eq!((kept.forms.len(), kept.bytes), (1, length));
        drop(plain);
        let next = text(1);
        kept.slot(&next, Coding::Gzip);
        assert_eq!((kept.forms.len(), kept.bytes), (1, next.len()));
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_oldest_goes_first() {
        let mut kept = Kept::default();
        let plains: Vec<Bytes> = (0..MAX_FORMS + 10).map(|_| text(1)).collect();
        for plain in &plains {
            kept.slot(plain, Coding::Gzip);
        }
        assert_eq!(kept.forms.len(), MAX_FORMS);
        assert_eq!(kept.forms[0].plain.as_ptr(), plains[10].as_ptr());
        let large: Vec<Bytes> = (0..3).map(|_| Bytes::from(vec![b'#'; MAX_BYTES / 2])).collect();
        large.iter().for_each(|plain| drop(kept.slot(plain, Coding::Gzip)));
        assert!(kept.bytes <= MAX_BYTES, "{}", kept.bytes);
    }
}
