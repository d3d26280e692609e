//! Fragmented MP4 (ISO/IEC 14496-12, 14496-15), as far as the rules look into it: tracks of an initialisation section, and the samples
//! of media segments. A reader of its own, so that it shares no mistake with the server's writer.

use crate::h264;

/// Why bytes are no such file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mp4Error {
    /// A box ends beyond the file.
    #[error("the box at byte {0} ends beyond the file")]
    Torn(usize),
    /// A box that must be there is not.
    #[error("no {0}")]
    Missing(&'static str),
    /// A box cannot be read.
    #[error("{0} cannot be read")]
    Malformed(&'static str),
}

/// A box: its type and its payload.
type Atom<'a> = ([u8; 4], &'a [u8]);

fn boxes(bytes: &[u8]) -> Result<Vec<Atom<'_>>, Mp4Error> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let size = be32(rest, 0).ok_or(Mp4Error::Torn(at))? as usize;
        let kind = rest.get(4..8).and_then(|kind| kind.try_into().ok()).ok_or(Mp4Error::Torn(at))?;
        let (header, size) = match size {
            0 => (8, rest.len()),
            1 => {
                let high = be32(rest, 8).ok_or(Mp4Error::Torn(at))? as usize;
                let low = be32(rest, 12).ok_or(Mp4Error::Torn(at))? as usize;
                (16, (high << 32) | low)
            }
            size => (8, size),
        };
        let payload = rest.get(header..size).ok_or(Mp4Error::Torn(at))?;
        found.push((kind, payload));
        at += size;
    }
    Ok(found)
}

fn child<'a>(bytes: &'a [u8], kind: &[u8; 4], name: &'static str) -> Result<&'a [u8], Mp4Error> {
    boxes(bytes)?
        .iter()
        .find(|(other, _)| other == kind)
        .map(|(_, payload)| *payload)
        .ok_or(Mp4Error::Missing(name))
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// What a track is coded with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coding {
    /// H.264: the codec string of its parameter sets, its picture size, and how many bytes tell a unit's length.
    H264 {
        /// By RFC 6381, `avc1.PPCCLL`.
        codec: String,
        /// Picture size, cropped.
        size: (u32, u32),
        /// Bytes of a unit's length.
        length_size: usize,
    },
    /// AAC: the codec string, `mp4a.40.N`.
    Aac {
        /// By RFC 6381.
        codec: String,
    },
    /// Something else: its sample entry's type.
    Other(String),
}

/// The one track of an initialisation section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// Track id.
    pub id: u32,
    /// Ticks per second.
    pub timescale: u32,
    /// What it is coded with.
    pub coding: Coding,
    default_duration: u32,
    default_size: u32,
    default_flags: u32,
}

impl Track {
    /// Reads an initialisation section.
    ///
    /// # Errors
    /// When it has not exactly one track, or cannot be read.
    pub fn read(init: &[u8]) -> Result<Self, Mp4Error> {
        let moov = child(init, b"moov", "moov")?;
        let tracks: Vec<_> = boxes(moov)?.into_iter().filter(|(kind, _)| kind == b"trak").collect();
        let [(_, trak)] = tracks[..] else { return Err(Mp4Error::Malformed("moov of one track")) };
        let tkhd = child(trak, b"tkhd", "tkhd")?;
        let wide = tkhd.first() == Some(&1);
        let id = be32(tkhd, if wide { 20 } else { 12 }).ok_or(Mp4Error::Malformed("tkhd"))?;
        let mdia = child(trak, b"mdia", "mdia")?;
        let mdhd = child(mdia, b"mdhd", "mdhd")?;
        let wide = mdhd.first() == Some(&1);
        let timescale = be32(mdhd, if wide { 20 } else { 12 }).ok_or(Mp4Error::Malformed("mdhd"))?;
        if timescale == 0 {
            return Err(Mp4Error::Malformed("mdhd"));
        }
        let stbl = child(child(mdia, b"minf", "minf")?, b"stbl", "stbl")?;
        let stsd = child(stbl, b"stsd", "stsd")?;
        let entries = boxes(stsd.get(8..).ok_or(Mp4Error::Malformed("stsd"))?)?;
        let (kind, entry) = entries.first().ok_or(Mp4Error::Malformed("stsd"))?;
        let coding = coding(kind, entry)?;
        let mvex = child(moov, b"mvex", "mvex")?;
        let trex =
            boxes(mvex)?.into_iter().find(|(kind, payload)| kind == b"trex" && be32(payload, 4) == Some(id));
        let (_, trex) = trex.ok_or(Mp4Error::Missing("trex"))?;
        let field = |at| be32(trex, at).ok_or(Mp4Error::Malformed("trex"));
        Ok(Self {
            id,
            timescale,
            coding,
            default_duration: field(12)?,
            default_size: field(16)?,
            default_flags: field(20)?,
        })
    }

    /// Whether it is video.
    #[must_use]
    pub fn is_video(&self) -> bool {
        matches!(self.coding, Coding::H264 { .. })
    }

    /// The codec string for `CODECS`.
    #[must_use]
    pub fn codec(&self) -> &str {
        match &self.coding {
            Coding::H264 { codec, .. } | Coding::Aac { codec } => codec,
            Coding::Other(kind) => kind,
        }
    }
}

fn coding(kind: &[u8; 4], entry: &[u8]) -> Result<Coding, Mp4Error> {
    let name = String::from_utf8_lossy(kind).into_owned();
    match kind {
        b"avc1" | b"avc3" => {
            let avcc = child(entry.get(78..).ok_or(Mp4Error::Malformed("avc1"))?, b"avcC", "avcC")?;
            let [profile, constraints, level] =
                *avcc.get(1..4).and_then(|b| b.first_chunk::<3>()).ok_or(Mp4Error::Malformed("avcC"))?;
            let length = be16(avcc, 6).ok_or(Mp4Error::Malformed("avcC"))? as usize;
            let sps = avcc.get(8..8 + length).ok_or(Mp4Error::Malformed("avcC"))?;
            // The sequence parameter set says it too, and decoders believe that one.
            if sps.get(1..4) != Some(&[profile, constraints, level]) {
                return Err(Mp4Error::Malformed("avcC that agrees with its SPS"));
            }
            let size = h264::picture_size(sps).ok_or(Mp4Error::Malformed("SPS"))?;
            let codec = format!("{name}.{profile:02x}{constraints:02x}{level:02x}");
            Ok(Coding::H264 { codec, size, length_size: usize::from(avcc[4] & 3) + 1 })
        }
        b"mp4a" => {
            let esds = child(entry.get(28..).ok_or(Mp4Error::Malformed("mp4a"))?, b"esds", "esds")?;
            let kind =
                audio_object_type(esds.get(4..).unwrap_or_default()).ok_or(Mp4Error::Malformed("esds"))?;
            Ok(Coding::Aac { codec: format!("mp4a.40.{kind}") })
        }
        _ => Ok(Coding::Other(name)),
    }
}

/// The audio object type in an ES descriptor (ISO/IEC 14496-1 section 7.2.6.5, 14496-3 section 1.6.2.1).
fn audio_object_type(descriptors: &[u8]) -> Option<u8> {
    let (tag, es) = descriptor(descriptors)?;
    let flags = *es.get(2)?;
    if tag != 3 || flags & 0xe0 != 0 {
        return None;
    }
    let (tag, config) = descriptor(es.get(3..)?)?;
    let (4, 0x40) = (tag, *config.first()?) else { return None };
    let (tag, specific) = descriptor(config.get(13..)?)?;
    let kind = specific.first()? >> 3;
    if tag != 5 {
        None
    } else if kind == 31 {
        Some(32 + ((specific[0] & 7) << 3 | specific.get(1)? >> 5))
    } else {
        Some(kind)
    }
}

fn descriptor(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let tag = *bytes.first()?;
    let mut length = 0;
    let mut at = 1;
    loop {
        let byte = *bytes.get(at)?;
        at += 1;
        length = length << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((tag, bytes.get(at..at + length)?));
        }
        if at > 4 {
            return None;
        }
    }
}

/// One sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Decode time, ticks.
    pub time: u64,
    /// Ticks.
    pub duration: u32,
    /// Presentation time less decode time, ticks.
    pub offset: i32,
    /// Bytes.
    pub size: u32,
    /// Marked as a sync sample (`sample_is_non_sync_sample` is 0).
    pub sync: bool,
    /// A picture of its own: an IDR picture, or any frame of audio. By its bytes, not by what the boxes say.
    pub independent: bool,
}

/// The samples of a part or segment, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fragments {
    /// Samples.
    pub samples: Vec<Sample>,
    /// Decode time at the beginning of each fragment.
    pub begins: Vec<u64>,
    /// The samples' bytes, put together: a 64-bit FNV-1a hash of them.
    pub hash: u64,
}

impl Fragments {
    /// Reads a media segment or a part of one.
    ///
    /// # Errors
    /// When it is none of this track.
    pub fn read(track: &Track, bytes: &[u8]) -> Result<Self, Mp4Error> {
        let mut found = Self { hash: 0xcbf2_9ce4_8422_2325, ..Self::default() };
        let mut moof: Option<&[u8]> = None;
        for (kind, payload) in boxes(bytes)? {
            match &kind {
                b"moof" => moof = Some(payload),
                b"mdat" => {
                    let moof = moof.take().ok_or(Mp4Error::Missing("moof before mdat"))?;
                    found.take(track, moof, payload)?;
                }
                _ => {}
            }
        }
        if moof.is_some() {
            return Err(Mp4Error::Missing("mdat behind moof"));
        }
        if found.samples.is_empty() { Err(Mp4Error::Missing("sample")) } else { Ok(found) }
    }

    fn take(&mut self, track: &Track, moof: &[u8], mdat: &[u8]) -> Result<(), Mp4Error> {
        let trafs: Vec<_> = boxes(moof)?.into_iter().filter(|(kind, _)| kind == b"traf").collect();
        let [(_, traf)] = trafs[..] else { return Err(Mp4Error::Malformed("moof of one track")) };
        let tfhd = child(traf, b"tfhd", "tfhd")?;
        let flags = be32(tfhd, 0).ok_or(Mp4Error::Malformed("tfhd"))? & 0x00ff_ffff;
        if be32(tfhd, 4) != Some(track.id) {
            return Err(Mp4Error::Missing("traf of the track"));
        }
        let mut at = 8 + if flags & 1 != 0 { 8 } else { 0 } + if flags & 2 != 0 { 4 } else { 0 };
        let mut optional = |bit: u32, otherwise: u32| -> Result<u32, Mp4Error> {
            if flags & bit == 0 {
                return Ok(otherwise);
            }
            at += 4;
            be32(tfhd, at - 4).ok_or(Mp4Error::Malformed("tfhd"))
        };
        let defaults = (
            optional(8, track.default_duration)?,
            optional(0x10, track.default_size)?,
            optional(0x20, track.default_flags)?,
        );
        let tfdt = child(traf, b"tfdt", "tfdt")?;
        let time = if tfdt.first() == Some(&1) { be64(tfdt, 4) } else { be32(tfdt, 4).map(u64::from) };
        let mut time = time.ok_or(Mp4Error::Malformed("tfdt"))?;
        self.begins.push(time);
        let mut rest = mdat;
        for (_, trun) in boxes(traf)?.into_iter().filter(|(kind, _)| kind == b"trun") {
            for mut sample in samples(trun, defaults).ok_or(Mp4Error::Malformed("trun"))? {
                let data = rest
                    .get(..sample.size as usize)
                    .ok_or(Mp4Error::Malformed("mdat as long as its samples"))?;
                rest = &rest[sample.size as usize..];
                sample.time = time;
                sample.independent = match &track.coding {
                    Coding::H264 { length_size, .. } => h264::is_idr(data, *length_size),
                    Coding::Aac { .. } | Coding::Other(_) => true,
                };
                time += u64::from(sample.duration);
                for byte in data {
                    self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
                }
                self.samples.push(sample);
            }
        }
        if rest.is_empty() { Ok(()) } else { Err(Mp4Error::Malformed("mdat as long as its samples")) }
    }

    /// Decode time of the first sample, ticks.
    #[must_use]
    pub fn begin(&self) -> u64 {
        self.samples.first().map_or(0, |sample| sample.time)
    }

    /// Decode time at the end of the last sample, ticks.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.samples.last().map_or(0, |sample| sample.time + u64::from(sample.duration))
    }

    /// Whether each sample, and so each fragment, begins where the one before ended.
    #[must_use]
    pub fn is_continuous(&self) -> bool {
        self.samples.windows(2).all(|pair| pair[0].time + u64::from(pair[0].duration) == pair[1].time)
    }
}

fn samples(trun: &[u8], (duration, size, flags): (u32, u32, u32)) -> Option<Vec<Sample>> {
    let present = be32(trun, 0)? & 0x00ff_ffff;
    let count = be32(trun, 4)?;
    let mut at = 8 + if present & 1 != 0 { 4 } else { 0 };
    let mut next = |bit: u32, otherwise: u32| -> Option<u32> {
        if present & bit == 0 {
            return Some(otherwise);
        }
        at += 4;
        be32(trun, at - 4)
    };
    let first_flags = next(4, flags)?;
    let mut found = Vec::new();
    for n in 0..count {
        let duration = next(0x100, duration)?;
        let size = next(0x200, size)?;
        let flags = next(0x400, if n == 0 { first_flags } else { flags })?;
        // Version 0 has unsigned offsets; none that matters reaches the sign bit.
        let offset = next(0x800, 0)? as i32;
        found.push(Sample {
            time: 0,
            duration,
            offset,
            size,
            sync: flags & 0x1_0000 == 0,
            independent: false,
        });
    }
    Some(found)
}
