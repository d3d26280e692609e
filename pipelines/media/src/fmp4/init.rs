//! CMAF headers: `ftyp` and `moov` of one track without samples.

use super::{Fmp4Error, TRACK_ID};
use crate::codec::{AudioFormat, Codec, Format, VideoFormat};
use crate::time::VIDEO_RATE;
use bytes::Bytes;
use mp4_atom as mp4;
use mp4_atom::{Atom, Encode};

/// What is known of a track's bit rate when its header is written (`btrt`, ISO/IEC 14496-12 section 8.5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bitrate {
    /// Most bits in any one second.
    pub max: u32,
    /// Bits per second over the whole presentation; 0 when not known.
    pub average: u32,
}

/// The clock of this format's media timeline in CMAF, in ticks per second: 90 kHz for video, the sample rate for audio.
pub const fn timescale(format: &Format) -> u32 {
    match format {
        Format::Video(_) => VIDEO_RATE,
        Format::Audio(audio) => audio.sample_rate,
    }
}

/// A CMAF header (ISO/IEC 23000-19 section 7.3.1) for one track of this format.
///
/// The track's timescale is [`timescale`]; pixels are square; H.264 keeps its parameter sets here and nowhere else
/// (`avc1`), so a change of them needs a new header.
///
/// # Errors
/// A codec without a sample entry here (VP8, VP9, AV1), or a configuration, size or rate that cannot be written.
pub fn init_segment(format: &Format, bitrate: Bitrate) -> Result<Bytes, Fmp4Error> {
    let entry = sample_entry(format, bitrate)?;
    let mut out = Vec::with_capacity(1024);
    mp4::Ftyp {
        major_brand: b"iso6".into(),
        minor_version: 0,
        compatible_brands: vec![b"iso6".into(), b"cmfc".into(), b"mp41".into()],
    }
    .encode(&mut out)?;
    moov(format, entry).encode(&mut out)?;
    Ok(Bytes::from(out))
}

/// A track of this format without samples, for files with several tracks.
pub(crate) fn track(track_id: u32, format: &Format, bitrate: Bitrate) -> Result<mp4::Trak, Fmp4Error> {
    let entry = sample_entry(format, bitrate)?;
    let mut track = trak(format, entry);
    track.tkhd.track_id = track_id;
    Ok(track)
}

fn moov(format: &Format, entry: mp4::Codec) -> mp4::Moov {
    let trex = mp4::Trex { track_id: TRACK_ID, default_sample_description_index: 1, ..Default::default() };
    mp4::Moov {
        mvhd: mp4::Mvhd {
            timescale: timescale(format),
            rate: 1.into(),
            volume: 1.into(),
            next_track_id: TRACK_ID + 1,
            ..Default::default()
        },
        mvex: Some(mp4::Mvex { mehd: None, trex: vec![trex] }),
        trak: vec![trak(format, entry)],
        ..Default::default()
    }
}

fn trak(format: &Format, entry: mp4::Codec) -> mp4::Trak {
    let mut tkhd = mp4::Tkhd { track_id: TRACK_ID, enabled: true, in_movie: true, ..Default::default() };
    let mut minf = mp4::Minf {
        dinf: mp4::Dinf { dref: mp4::Dref { entries: vec![mp4::Url::default().into()] } },
        stbl: mp4::Stbl {
            stsd: mp4::Stsd { codecs: vec![entry] },
            // CMAF wants an empty table; it is `stco` that must be there (ISO/IEC 23000-19 section 7.5.12).
            stco: Some(mp4::Stco::default()),
            ..Default::default()
        },
        ..Default::default()
    };
    let (handler, name) = match format {
        Format::Video(video) => {
            // Checked against 65535 when the sample entry was made.
            tkhd.width = u16::try_from(video.width).unwrap_or(u16::MAX).into();
            tkhd.height = u16::try_from(video.height).unwrap_or(u16::MAX).into();
            minf.vmhd = Some(mp4::Vmhd::default());
            (b"vide", "video")
        }
        Format::Audio(_) => {
            tkhd.volume = 1.into();
            minf.smhd = Some(mp4::Smhd::default());
            (b"soun", "audio")
        }
    };
    mp4::Trak {
        tkhd,
        mdia: mp4::Mdia {
            mdhd: mp4::Mdhd {
                timescale: timescale(format),
                language: "und".to_owned(),
                ..Default::default()
            },
            hdlr: mp4::Hdlr { handler: handler.into(), name: name.to_owned() },
            minf,
        },
        ..Default::default()
    }
}

fn sample_entry(format: &Format, bitrate: Bitrate) -> Result<mp4::Codec, Fmp4Error> {
    let btrt = mp4::Btrt { buffer_size_db: 0, max_bitrate: bitrate.max, avg_bitrate: bitrate.average };
    match format {
        Format::Video(video) if video.codec == Codec::H264 => Ok(avc1(video, btrt)?.into()),
        Format::Audio(audio) if audio.codec == Codec::Aac => Ok(mp4a(audio, bitrate, btrt)?.into()),
        Format::Audio(audio) if audio.codec == Codec::Opus => Ok(opus(audio, btrt)?.into()),
        other => Err(Fmp4Error::Codec(other.codec())),
    }
}

fn avc1(video: &VideoFormat, btrt: mp4::Btrt) -> Result<mp4::Avc1, Fmp4Error> {
    let refuse = |reason: String| Fmp4Error::Config { codec: Codec::H264, reason };
    let size = |pixels: u32| u16::try_from(pixels).ok().filter(|&p| p > 0);
    let (Some(width), Some(height)) = (size(video.width), size(video.height)) else {
        return Err(Fmp4Error::PictureSize { width: video.width, height: video.height });
    };
    let avcc =
        mp4::Avcc::decode_body(&mut video.config.as_ref()).map_err(|e| refuse(format!("avcC: {e}")))?;
    if avcc.length_size != 4 {
        return Err(refuse(format!("NAL units have {}-byte lengths, 4 are needed", avcc.length_size)));
    }
    if avcc.sequence_parameter_sets.is_empty() || avcc.picture_parameter_sets.is_empty() {
        return Err(refuse("a parameter set is missing".to_owned()));
    }
    Ok(mp4::Avc1 {
        visual: mp4::Visual { data_reference_index: 1, width, height, ..Default::default() },
        avcc,
        btrt: Some(btrt),
        pasp: Some(mp4::Pasp { h_spacing: 1, v_spacing: 1 }),
        ..Default::default()
    })
}

fn mp4a(audio: &AudioFormat, bitrate: Bitrate, btrt: mp4::Btrt) -> Result<mp4::Mp4a, Fmp4Error> {
    // MPEG-4 audio, an audio stream: ISO/IEC 14496-1 tables 5 and 6.
    const OBJECT_TYPE_AUDIO: u8 = 0x40;
    const STREAM_TYPE_AUDIO: u8 = 0x05;
    if audio.config.len() < 2 {
        let reason = "AudioSpecificConfig has fewer than 2 bytes".to_owned();
        return Err(Fmp4Error::Config { codec: Codec::Aac, reason });
    }
    let dec_specific = mp4::esds::DecoderSpecific { raw: audio.config.to_vec(), ..Default::default() };
    let es_desc = mp4::esds::EsDescriptor {
        dec_config: mp4::esds::DecoderConfig {
            object_type_indication: OBJECT_TYPE_AUDIO,
            stream_type: STREAM_TYPE_AUDIO,
            max_bitrate: bitrate.max,
            avg_bitrate: bitrate.average,
            dec_specific: Some(dec_specific),
            ..Default::default()
        },
        ..Default::default()
    };
    let esds = mp4::Esds { es_desc };
    Ok(mp4::Mp4a { audio: sound(audio)?, esds, btrt: Some(btrt), taic: None })
}

fn opus(audio: &AudioFormat, btrt: mp4::Btrt) -> Result<mp4::Opus, Fmp4Error> {
    let channels = match audio.channels {
        1 => 1,
        2 => 2,
        // More need a channel mapping table, which WebRTC's Opus does not carry (RFC 7845 section 5.1.1).
        channels => return Err(Fmp4Error::Sound { sample_rate: audio.sample_rate, channels }),
    };
    let dops = mp4::Dops {
        output_channel_count: channels,
        pre_skip: 0,
        input_sample_rate: audio.sample_rate,
        output_gain: 0,
        channel_mapping: None,
    };
    Ok(mp4::Opus { audio: sound(audio)?, dops, btrt: Some(btrt) })
}

fn sound(audio: &AudioFormat) -> Result<mp4::Audio, Fmp4Error> {
    let refused = Fmp4Error::Sound { sample_rate: audio.sample_rate, channels: audio.channels };
    let sample_rate = match u16::try_from(audio.sample_rate) {
        Ok(rate) if rate > 0 && audio.channels > 0 => rate,
        // Above 65535 Hz the field is 0 and the timescale tells (ISO/IEC 14496-12 section 12.2.3.1).
        Err(_) if audio.channels > 0 => 0,
        _ => return Err(refused),
    };
    Ok(mp4::Audio {
        data_reference_index: 1,
        channel_count: audio.channels,
        sample_size: 16,
        sample_rate: sample_rate.into(),
    })
}
