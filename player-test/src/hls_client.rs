//! A plain HLS client that keeps everything: playlists as they were answered, init segments and segments.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use m3u8_rs::{AlternativeMediaType, MasterPlaylist, MediaPlaylist, Playlist};
use reqwest::{Client, Url};
use tokio::time::Instant;

use crate::mp4::{self, Span, Track};
use crate::wait;

/// How often playlists are fetched again: often enough to date a new segment, seldom enough to be no load.
const RELOAD_EVERY: Duration = Duration::from_millis(200);

/// Kind of a rendition, by the playlist that names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A variant (`EXT-X-STREAM-INF`): video, or all there is.
    Variant,
    /// An `EXT-X-MEDIA` of type AUDIO.
    Audio,
}

/// One media playlist that the multivariant playlist names.
#[derive(Debug, Clone)]
pub struct Rendition {
    /// Where it is.
    pub url: Url,
    /// How it was named.
    pub kind: Kind,
}

/// One answer to a request for a media playlist.
#[derive(Debug, Clone)]
pub struct Answered {
    /// When it came.
    pub at: Instant,
    /// As text.
    pub text: String,
    /// As `m3u8-rs` reads it.
    pub parsed: MediaPlaylist,
}

/// One segment with its playlist entry.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Media sequence number.
    pub sequence: u64,
    /// `EXTINF`, seconds.
    pub duration_s: f64,
    /// Whether `EXT-X-DISCONTINUITY` stands before it.
    pub discontinuity: bool,
    /// Its bytes.
    pub bytes: Bytes,
    /// Where it lies on its track's timeline.
    pub span: Span,
    /// When the playlist first named it.
    pub seen: Instant,
}

/// Everything that was fetched of one rendition.
#[derive(Debug, Clone)]
pub struct Captured {
    /// Where it is.
    pub rendition: Rendition,
    /// The init segment.
    pub init: Bytes,
    /// Its track.
    pub track: Track,
    /// Every playlist answer, in order.
    pub playlists: Vec<Answered>,
    /// Every segment, in order.
    pub segments: Vec<Segment>,
}

impl Captured {
    /// Seconds of media, by the segments' own boxes.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        let ticks: u64 = self.segments.iter().map(|segment| segment.span.end - segment.span.begin).sum();
        ticks as f64 / f64::from(self.track.timescale)
    }

    /// Samples per second of media: of a video, its frame rate.
    #[must_use]
    pub fn samples_per_second(&self) -> f64 {
        let samples: u64 = self.segments.iter().map(|segment| segment.span.samples).sum();
        samples as f64 / self.seconds()
    }

    /// Writes init segment and segments as one file that ffmpeg reads.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> Result<PathBuf> {
        let path = folder.join(name);
        let mut all = self.init.to_vec();
        for segment in &self.segments {
            all.extend_from_slice(&segment.bytes);
        }
        std::fs::write(&path, all)?;
        Ok(path)
    }
}

/// Everything that was fetched of one stream.
#[derive(Debug, Clone)]
pub struct Capture {
    /// The multivariant playlist.
    pub multivariant: MasterPlaylist,
    /// Its renditions.
    pub renditions: Vec<Captured>,
}

impl Capture {
    /// The first video rendition.
    ///
    /// # Errors
    /// When there is none.
    pub fn video(&self) -> Result<&Captured> {
        self.renditions.iter().find(|rendition| rendition.track.video).context("no video rendition")
    }

    /// The first audio rendition.
    ///
    /// # Errors
    /// When there is none.
    pub fn audio(&self) -> Result<&Captured> {
        self.renditions.iter().find(|rendition| !rendition.track.video).context("no audio rendition")
    }
}

/// Fetches a text that must be there.
///
/// # Errors
/// When the answer is none of 200.
pub async fn text(http: &Client, url: &str) -> Result<String> {
    Ok(String::from_utf8(bytes(http, url).await?.to_vec())?)
}

/// Fetches what must be there.
///
/// # Errors
/// When the answer is none of 200.
pub async fn bytes(http: &Client, url: &str) -> Result<Bytes> {
    let answer = http.get(url).send().await?;
    ensure!(answer.status() == 200, "{url} answered {}", answer.status());
    Ok(answer.bytes().await?)
}

/// Fetches and parses a multivariant playlist.
///
/// # Errors
/// When it is not there or not one.
pub async fn multivariant(http: &Client, url: &str) -> Result<MasterPlaylist> {
    let text = text(http, url).await?;
    match m3u8_rs::parse_playlist_res(text.as_bytes()) {
        Ok(Playlist::MasterPlaylist(playlist)) => Ok(playlist),
        _ => bail!("{url} is no multivariant playlist:\n{text}"),
    }
}

/// Fetches and parses a media playlist.
///
/// # Errors
/// When it is not there or not one.
pub async fn media_playlist(http: &Client, url: &Url) -> Result<Answered> {
    let text = text(http, url.as_str()).await?;
    match m3u8_rs::parse_playlist_res(text.as_bytes()) {
        Ok(Playlist::MediaPlaylist(parsed)) => Ok(Answered { at: Instant::now(), text, parsed }),
        _ => bail!("{url} is no media playlist:\n{text}"),
    }
}

/// The renditions that the multivariant playlist at `url` names, each once.
///
/// # Errors
/// When it is not there, not one, or names none.
pub async fn renditions(http: &Client, url: &str) -> Result<Vec<Rendition>> {
    named(&multivariant(http, url).await?, &Url::parse(url)?)
}

fn named(playlist: &MasterPlaylist, base: &Url) -> Result<Vec<Rendition>> {
    let variants =
        playlist.variants.iter().filter(|one| !one.is_i_frame).map(|one| (Some(&one.uri), Kind::Variant));
    let audio = playlist.alternatives.iter().filter(|one| one.media_type == AlternativeMediaType::Audio);
    let mut found: Vec<Rendition> = Vec::new();
    for (uri, kind) in variants.chain(audio.map(|one| (one.uri.as_ref(), Kind::Audio))) {
        let Some(uri) = uri else { continue };
        let url = base.join(uri)?;
        if found.iter().all(|rendition| rendition.url != url) {
            found.push(Rendition { url, kind });
        }
    }
    ensure!(!found.is_empty(), "no rendition in {base}");
    Ok(found)
}

/// Follows a live stream (or reads a finished one) until `seconds` of media of every rendition are there.
///
/// # Errors
/// When anything that a playlist names is not there, or the media does not come in time.
pub async fn capture(http: &Client, url: &str, seconds: f64) -> Result<Capture> {
    let mut following = Following::start(http, url).await?;
    let limit = Duration::from_secs_f64(seconds * 1.25) + Duration::from_secs(20);
    let deadline = Instant::now() + limit;
    while !following.has(seconds) {
        ensure!(Instant::now() < deadline, "{url}: not {seconds} s of media within {limit:?}");
        following.advance(http).await?;
    }
    Ok(following.capture)
}

/// A stream that is followed step by step, for tests that do something to it in between.
#[derive(Debug)]
pub struct Following {
    /// What is there so far.
    pub capture: Capture,
}

impl Following {
    /// Fetches the multivariant playlist, every media playlist and every segment that they name now.
    ///
    /// # Errors
    /// When anything is missing.
    pub async fn start(http: &Client, url: &str) -> Result<Self> {
        let multivariant = multivariant(http, url).await?;
        let mut renditions = Vec::new();
        for rendition in named(&multivariant, &Url::parse(url)?)? {
            let answered = media_playlist(http, &rendition.url).await?;
            let map = answered
                .parsed
                .segments
                .iter()
                .find_map(|segment| segment.map.as_ref())
                .context("no EXT-X-MAP")?;
            let init = bytes(http, rendition.url.join(&map.uri)?.as_str()).await?;
            let track = mp4::track(&init).with_context(|| map.uri.clone())?;
            let mut captured =
                Captured { rendition, init, track, playlists: Vec::new(), segments: Vec::new() };
            take(http, &mut captured, answered).await?;
            renditions.push(captured);
        }
        Ok(Self { capture: Capture { multivariant, renditions } })
    }

    /// Waits until at least one rendition's playlist has changed and fetches what is new in all of them.
    ///
    /// # Errors
    /// When a live playlist does not change in three target durations (RFC 8216 section 6.2.1: it must within one and a
    /// half), or anything is missing.
    pub async fn advance(&mut self, http: &Client) -> Result<()> {
        let target = self
            .capture
            .renditions
            .iter()
            .map(|one| last(one).target_duration)
            .max()
            .context("no rendition")?;
        let limit = Duration::from_secs(target * 3);
        let seen: Vec<u64> = self.capture.renditions.iter().map(|one| end_of(last(one))).collect();
        let renditions = &mut self.capture.renditions;
        let fresh = wait::until_looking(RELOAD_EVERY, "a playlist to grow", limit, async || {
            let mut answers = Vec::new();
            for one in renditions.iter() {
                answers.push(media_playlist(http, &one.rendition.url).await?);
            }
            let grown = answers.iter().zip(&seen).any(|(answer, seen)| end_of(&answer.parsed) != *seen);
            Ok(grown.then_some(answers))
        })
        .await?;
        for (captured, answered) in renditions.iter_mut().zip(fresh) {
            take(http, captured, answered).await?;
        }
        Ok(())
    }

    /// Whether every rendition has `seconds` of media.
    #[must_use]
    pub fn has(&self, seconds: f64) -> bool {
        self.capture.renditions.iter().all(|rendition| rendition.seconds() >= seconds)
    }
}

fn last(captured: &Captured) -> &MediaPlaylist {
    &captured.playlists.last().expect("a rendition is captured with its first playlist").parsed
}

/// The sequence number after the last segment.
fn end_of(playlist: &MediaPlaylist) -> u64 {
    playlist.media_sequence + playlist.segments.len() as u64
}

async fn take(http: &Client, captured: &mut Captured, answered: Answered) -> Result<()> {
    let next =
        captured.segments.last().map_or(answered.parsed.media_sequence, |segment| segment.sequence + 1);
    ensure!(
        answered.parsed.media_sequence <= next,
        "segments {next} and up left the window of {}",
        captured.rendition.url
    );
    for (sequence, entry) in (answered.parsed.media_sequence..).zip(&answered.parsed.segments) {
        if sequence < next {
            continue;
        }
        let url = captured.rendition.url.join(&entry.uri)?;
        let bytes = bytes(http, url.as_str()).await?;
        let span = mp4::span(&captured.track, &bytes).with_context(|| url.to_string())?;
        captured.segments.push(Segment {
            sequence,
            duration_s: f64::from(entry.duration),
            discontinuity: entry.discontinuity,
            bytes,
            span,
            seen: answered.at,
        });
    }
    captured.playlists.push(answered);
    Ok(())
}
