//! The bytes of a recording while it is live: initialisations and fragments of both tracks.

use super::lane::Coded;
use super::{AUDIO_TRACK, VIDEO_TRACK};
use crate::codec::{Format, TrackKind};
use crate::fmp4::{self, Bitrate, Fmp4Error, timescale};
use bytes::{BufMut, Bytes, BytesMut};
use mp4_atom as mp4;
use mp4_atom::Encode;
use std::sync::Arc;

/// Ticks of the movie's clock in a second. Every time of a video track is exact in it.
pub(super) const MOVIE_TIMESCALE: u32 = 90_000;

const MDAT_HEADER: usize = 8;

/// The samples of one track in one fragment.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) kind: TrackKind,
    /// Decode time of the first sample in the file, in ticks of the track.
    pub(super) base: u64,
    /// Never empty, all of one format.
    pub(super) samples: Vec<Coded>,
}

/// The number of a track.
pub(super) const fn track_id(kind: TrackKind) -> u32 {
    match kind {
        TrackKind::Video => VIDEO_TRACK,
        TrackKind::Audio => AUDIO_TRACK,
    }
}

/// `ftyp` of everything here: fragments (`iso6`: `default-base-is-moof`), H.264, fast start for all.
pub(super) fn ftyp() -> mp4::Ftyp {
    mp4::Ftyp {
        major_brand: b"isom".into(),
        minor_version: 512,
        compatible_brands: [b"isom", b"iso6", b"avc1", b"mp41"].map(Into::into).to_vec(),
    }
}

/// `ftyp` and `moov` for tracks of these formats, without samples.
pub(super) fn initialisation(formats: &[Arc<Format>]) -> Result<Bytes, Fmp4Error> {
    // Nothing is known of the bit rate yet.
    let bitrate = Bitrate { max: 0, average: 0 };
    let mut moov = mp4::Moov {
        mvhd: mp4::Mvhd {
            timescale: MOVIE_TIMESCALE,
            rate: 1.into(),
            volume: 1.into(),
            next_track_id: AUDIO_TRACK + 1,
            ..Default::default()
        },
        mvex: Some(mp4::Mvex::default()),
        ..Default::default()
    };
    let mut trex = Vec::new();
    for format in formats {
        let track_id = track_id(format.kind());
        moov.trak.push(fmp4::track(track_id, format, bitrate)?);
        trex.push(mp4::Trex { track_id, default_sample_description_index: 1, ..Default::default() });
    }
    moov.mvex = Some(mp4::Mvex { mehd: None, trex });
    let mut out = Vec::with_capacity(2048);
    ftyp().encode(&mut out)?;
    moov.encode(&mut out)?;
    Ok(Bytes::from(out))
}

/// `moof` and `mdat`: the tracks' samples one track after the other, in the order of `runs`.
pub(super) fn fragment(sequence_number: u32, runs: &[Run]) -> Result<Bytes, Fmp4Error> {
    let sizes: Vec<usize> = runs.iter().map(|run| run.samples.iter().map(|s| s.data.len()).sum()).collect();
    let payload: usize = sizes.iter().sum();
    let mdat_size = u32::try_from(payload + MDAT_HEADER)
        .map_err(|_| Fmp4Error::Boxes("mdat of more than 4 GiB".to_owned()))?;
    let mut moof = mp4::Moof { mfhd: mp4::Mfhd { sequence_number }, traf: runs.iter().map(traf).collect() };
    let mut head = Vec::with_capacity(256);
    moof.encode(&mut head)?;
    // Offsets have a fixed width, so the size found with wrong ones is right.
    let mut offset = head.len() + MDAT_HEADER;
    for (traf, size) in moof.traf.iter_mut().zip(&sizes) {
        let at = i32::try_from(offset).map_err(|_| Fmp4Error::Boxes("fragment too large".to_owned()))?;
        traf.trun[0].data_offset = Some(at);
        offset += size;
    }
    head.clear();
    moof.encode(&mut head)?;
    let mut out = BytesMut::with_capacity(head.len() + MDAT_HEADER + payload);
    out.extend_from_slice(&head);
    out.put_u32(mdat_size);
    out.extend_from_slice(b"mdat");
    for sample in runs.iter().flat_map(|run| &run.samples) {
        out.extend_from_slice(&sample.data);
    }
    Ok(out.freeze())
}

fn traf(run: &Run) -> mp4::Traf {
    let first = &run.samples[0];
    let same_duration = run.samples.iter().all(|s| s.duration == first.duration);
    let no_offsets = run.samples.iter().all(|s| s.composition_offset == 0);
    let rest_sync = run.samples.get(1).map_or(first.sync, |s| s.sync);
    let rest_agrees = run.samples.iter().skip(1).all(|s| s.sync == rest_sync);
    let entries: Vec<_> = run
        .samples
        .iter()
        .enumerate()
        .map(|(number, sample)| mp4::TrunEntry {
            duration: (!same_duration).then_some(sample.duration),
            size: Some(u32::try_from(sample.data.len()).unwrap_or(u32::MAX)),
            flags: match rest_agrees {
                true => (number == 0 && sample.sync != rest_sync).then_some(fmp4::flags(sample.sync)),
                false => Some(fmp4::flags(sample.sync)),
            },
            cts: (!no_offsets).then_some(i64::from(sample.composition_offset)),
        })
        .collect();
    mp4::Traf {
        tfhd: mp4::Tfhd {
            track_id: track_id(run.kind),
            default_base_is_moof: true,
            default_sample_duration: same_duration.then_some(first.duration),
            default_sample_flags: rest_agrees.then(|| fmp4::flags(rest_sync)),
            ..Default::default()
        },
        tfdt: Some(mp4::Tfdt { base_media_decode_time: run.base }),
        trun: vec![mp4::Trun { data_offset: Some(0), samples: entries.into() }],
        ..Default::default()
    }
}

/// Ticks of this format's clock from the file's beginning at `origin_ns` to `ticks`; never negative.
pub(super) fn ticks_in_file(format: &Format, ticks: i64, origin_ns: i64) -> u64 {
    let origin = crate::time::MediaTime::from_nanos(origin_ns).rescale(timescale(format)).ticks;
    u64::try_from(ticks - origin).unwrap_or(0)
}
