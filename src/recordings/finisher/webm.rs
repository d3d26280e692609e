//! An archive as it was written becomes a WebM with cues and a duration: cut, appended to and patched where it lies, because it is whole
//! at every moment of that, then read back and renamed.

use super::{Done, Failure, Files, Hashing, disk};
use crate::recordings::manifest::Track;
use openssl::sha::Sha256;
use skywave_media::codec::TrackKind;
use skywave_media::webm::reader::{WebmCodec, WebmError, WebmEvent, WebmReader, WebmTrack};
use skywave_media::webm::repair::repair;
use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom, Write};
use std::time::Duration;

/// Makes the finished file of a `.part`.
pub(super) fn finish(files: &Files) -> Result<Done, Failure> {
    let mut part = File::options().read(true).write(true).open(files.part())?;
    let len = part.metadata()?.len();
    let found = repair(BufReader::with_capacity(1 << 18, &part), len)?;
    part.set_len(found.keep_bytes)?;
    part.seek(SeekFrom::End(0))?;
    part.write_all(&found.ending.append)?;
    // What is overwritten speaks of what was appended: that has to be there first.
    part.sync_data()?;
    for (at, bytes) in &found.ending.patches {
        part.seek(SeekFrom::Start(*at))?;
        part.write_all(bytes)?;
    }
    part.sync_all()?;
    drop(part);
    let contents = read(files)?;
    if contents.blocks != found.blocks {
        let words = format!("it has {} frames, not {}", contents.blocks, found.blocks);
        return Err(io::Error::other(words).into());
    }
    std::fs::rename(files.part(), files.webm())?;
    disk::sync_folder(files.folder())?;
    Ok(Done {
        bytes: contents.bytes,
        duration: Duration::from_millis(found.ending.duration_ms),
        tracks: contents.tracks,
        sha256: contents.sha256,
        lost_bytes: len.saturating_sub(found.keep_bytes),
    })
}

/// What was read back.
struct Contents {
    bytes: u64,
    blocks: u64,
    tracks: Vec<Track>,
    sha256: String,
}

fn read(files: &Files) -> Result<Contents, Failure> {
    let input = BufReader::with_capacity(1 << 18, File::open(files.part())?);
    let mut hashing = Hashing { inner: input, hash: Sha256::new() };
    let tracks = tracks(&mut hashing)?;
    // What stands behind the last block.
    io::copy(&mut hashing, &mut io::sink())?;
    let bytes = hashing.inner.get_ref().metadata()?.len();
    let blocks = tracks.iter().map(|track| u64::from(track.samples)).sum();
    Ok(Contents { bytes, blocks, tracks, sha256: super::hex(&hashing.hash.finish()) })
}

/// The tracks of an archive, by reading all of it.
pub(super) fn tracks(input: impl io::Read) -> Result<Vec<Track>, WebmError> {
    let mut reader = WebmReader::new(input);
    let mut known: Vec<(WebmTrack, u32, i64)> = Vec::new();
    while let Some(event) = reader.next()? {
        match event {
            WebmEvent::Begin(tracks) => known = tracks.into_iter().map(|track| (track, 0, 0)).collect(),
            WebmEvent::Block(block) => {
                if let Some((_, samples, last_ns)) =
                    known.iter_mut().find(|(track, ..)| track.number == block.track)
                {
                    *samples += 1;
                    *last_ns = block.time_ns.max(*last_ns);
                }
            }
        }
    }
    let described = known.into_iter().map(|(track, samples, last_ns)| Track {
        kind: track.kind.map_or("other", TrackKind::as_str).to_owned(),
        codec: name(&track.codec),
        samples,
        duration_ms: u64::try_from(last_ns / 1_000_000).unwrap_or(0),
        width: u16::try_from(track.width).unwrap_or(u16::MAX),
        height: u16::try_from(track.height).unwrap_or(u16::MAX),
    });
    Ok(described.collect())
}

/// As the manifest names a codec.
fn name(codec: &WebmCodec) -> String {
    let known = match codec {
        WebmCodec::Vp8 => "vp8",
        WebmCodec::Vp9 => "vp9",
        WebmCodec::Av1 => "av1",
        WebmCodec::H264 => "h264",
        WebmCodec::Opus => "opus",
        other => return format!("{other:?}").to_lowercase(),
    };
    known.to_owned()
}
