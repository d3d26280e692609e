//! Reads the timing of fMP4 segments: where each fragment begins and how long it lasts.

use std::io::Cursor;

use anyhow::{Context, Result, ensure};
use mp4_atom::{Any, Decode, Moof, Trex};

/// The one track of an init segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Track {
    /// Track id.
    pub id: u32,
    /// Ticks per second of its decode times.
    pub timescale: u32,
    /// Whether it is video (`vide`).
    pub video: bool,
    /// Duration of a sample in ticks where no fragment says otherwise.
    pub default_duration: u32,
}

/// The span of one media segment on its track's decode timeline, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Decode time of the first sample.
    pub begin: u64,
    /// Decode time of the last sample plus its duration.
    pub end: u64,
    /// Samples.
    pub samples: u64,
}

/// Reads an init segment.
///
/// # Errors
/// When it is no init segment with exactly one track.
pub fn track(init: &[u8]) -> Result<Track> {
    let moov = boxes(init)?
        .into_iter()
        .find_map(|atom| if let Any::Moov(moov) = atom { Some(moov) } else { None })
        .context("no moov in the init segment")?;
    ensure!(moov.trak.len() == 1, "{} tracks in an init segment", moov.trak.len());
    let trak = &moov.trak[0];
    let id = trak.tkhd.track_id;
    let mvex = moov.mvex.as_ref().context("no mvex in the init segment")?;
    let trex: &Trex = mvex.trex.iter().find(|trex| trex.track_id == id).context("no trex of the track")?;
    Ok(Track {
        id,
        timescale: trak.mdia.mdhd.timescale,
        video: trak.mdia.hdlr.handler == mp4_atom::FourCC::new(b"vide"),
        default_duration: trex.default_sample_duration,
    })
}

/// Reads a media segment of `track`, fragment by fragment: each must begin where the one before ended.
///
/// # Errors
/// When it is no media segment of that track, or has a hole or an overlap inside.
pub fn span(track: &Track, segment: &[u8]) -> Result<Span> {
    let mut whole: Option<Span> = None;
    for atom in boxes(segment)? {
        let Any::Moof(moof) = atom else { continue };
        let next = fragment(track, &moof)?;
        whole = Some(match whole {
            None => next,
            Some(before) => {
                ensure!(
                    next.begin == before.end,
                    "a fragment begins at {} after one that ends at {}",
                    next.begin,
                    before.end
                );
                Span { begin: before.begin, end: next.end, samples: before.samples + next.samples }
            }
        });
    }
    whole.context("no moof in the segment")
}

fn fragment(track: &Track, moof: &Moof) -> Result<Span> {
    let traf =
        moof.traf.iter().find(|traf| traf.tfhd.track_id == track.id).context("no traf of the track")?;
    let begin = traf.tfdt.as_ref().context("no tfdt")?.base_media_decode_time;
    let default = traf.tfhd.default_sample_duration.unwrap_or(track.default_duration);
    let mut span = Span { begin, end: begin, samples: 0 };
    for trun in &traf.trun {
        for sample in trun.samples.iter() {
            span.end += u64::from(sample.duration.unwrap_or(default));
            span.samples += 1;
        }
    }
    ensure!(span.samples > 0, "an empty fragment");
    Ok(span)
}

fn boxes(bytes: &[u8]) -> Result<Vec<Any>> {
    let mut cursor = Cursor::new(bytes);
    let mut found = Vec::new();
    while usize::try_from(cursor.position())? < bytes.len() {
        let at = cursor.position();
        found.push(Any::decode(&mut cursor).with_context(|| format!("no box at byte {at}"))?);
    }
    Ok(found)
}
