//! CMAF files byte by byte, read back, and as ffmpeg sees them.
#![allow(clippy::unwrap_used)]

#[path = "hls_support/bench.rs"]
mod hls_support;

use bytes::Bytes;
use hls_support::{aac, boxes, h264};
use mp4_atom::{Any, Codec as Entry};
use skywave_media::codec::{AudioFormat, Codec, Format, VideoFormat};
use skywave_media::fmp4::{Bitrate, Fmp4Error, Fragment, Sample, codecs_attribute, init_segment};

const BITRATE: Bitrate = Bitrate { max: 2_000_000, average: 0 };

fn sample(duration: u32, sync: bool, data: &'static [u8]) -> Sample {
    Sample { duration, composition_offset: 0, sync, data: Bytes::from_static(data) }
}

/// Hex of the boxes, one a line, spaces and comments for the reader only.
fn hex(text: &str) -> Vec<u8> {
    let digits: String =
        text.lines().map(|l| l.split("//").next().unwrap()).flat_map(str::split_whitespace).collect();
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

#[test]
fn a_chunk_of_constant_rate_video_byte_by_byte() {
    let fragment =
        Fragment { sequence_number: 7, base_media_decode_time: 0x1_0000_0000, segment_start: true };
    let samples = [sample(3000, true, b"KEY"), sample(3000, false, b"ab")];
    let expected =
        hex("00000018 73747970 6d736468 00000000 6d736468 636d6673        // styp msdh 0 [msdh cmfs]
         0000006c 6d6f6f66                                            // moof
           00000010 6d666864 00000000 00000007                        // mfhd 7
           00000054 74726166                                          // traf
             00000018 74666864 00020028 00000001 00000bb8 01010000    // tfhd base is moof, 3000, not sync
             00000014 74666474 01000000 0000000100000000              // tfdt version 1
             00000020 7472756e 01000205 00000002 00000074             // trun 2 samples, data at 0x74
               02000000 00000003 00000002                             // first is sync; sizes
         0000000d 6d646174 4b45596162                                 // mdat");
    let written = fragment.write(&samples).unwrap();
    assert_eq!(boxes(&written).len(), 3, "it reads back");
    assert_eq!(hexdump(&written), hexdump(&expected));
}

fn hexdump(bytes: &[u8]) -> String {
    bytes.chunks(4).map(|c| c.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n").collect()
}

#[test]
fn samples_that_differ_say_so_each() {
    let fragment = Fragment { sequence_number: 1, base_media_decode_time: 9, segment_start: false };
    let mut samples = [sample(10, false, b"a"), sample(20, true, b"bc"), sample(10, false, b"")];
    samples[1].composition_offset = -5;
    let read = boxes(&fragment.write(&samples).unwrap());
    let [Any::Moof(moof), Any::Mdat(mdat)] = &read[..] else { panic!("{read:?}") };
    let traf = &moof.traf[0];
    assert_eq!((traf.tfhd.default_sample_duration, traf.tfhd.default_sample_flags), (None, None));
    let entries: Vec<_> = traf.trun[0].samples.iter().map(|s| (s.duration, s.size, s.flags, s.cts)).collect();
    let (sync, not_sync) = (Some(0x0200_0000), Some(0x0101_0000));
    assert_eq!(
        entries,
        [
            (Some(10), Some(1), not_sync, Some(0)),
            (Some(20), Some(2), sync, Some(-5)),
            (Some(10), Some(0), not_sync, Some(0))
        ]
    );
    assert_eq!(mdat.data, b"abc");
}

#[test]
fn sound_of_one_rate_costs_four_bytes_a_frame() {
    let chunk = |n: usize| {
        let samples = vec![sample(1024, true, b"x"); n];
        Fragment { sequence_number: 1, base_media_decode_time: 0, segment_start: false }
            .write(&samples)
            .unwrap()
            .len()
    };
    assert_eq!(chunk(2) - chunk(1), 4 + 1);
    assert_eq!(chunk(1), 100 + 8 + 1, "overhead of a chunk, in bytes");
}

#[test]
fn a_video_header_reads_back() {
    let init = init_segment(&h264(1280, 720), BITRATE).unwrap();
    let read = boxes(&init);
    let [Any::Ftyp(ftyp), Any::Moov(moov)] = &read[..] else { panic!("{read:?}") };
    assert!(ftyp.compatible_brands.contains(&b"cmfc".into()));
    assert_eq!(moov.trak.len(), 1);
    assert_eq!(moov.mvex.as_ref().unwrap().trex[0].track_id, 1);
    let mdia = &moov.trak[0].mdia;
    assert_eq!((mdia.mdhd.timescale, mdia.hdlr.handler), (90_000, b"vide".into()));
    let [Entry::Avc1(avc1)] = &mdia.minf.stbl.stsd.codecs[..] else { panic!() };
    assert_eq!((avc1.visual.width, avc1.visual.height), (1280, 720));
    assert_eq!(avc1.pasp.as_ref().map(|p| (p.h_spacing, p.v_spacing)), Some((1, 1)));
    assert_eq!(avc1.btrt.as_ref().unwrap().max_bitrate, 2_000_000);
    assert_eq!(avc1.avcc.avc_level_indication, 0x1F);
}

#[test]
fn an_audio_header_reads_back() {
    let init = init_segment(&aac(), BITRATE).unwrap();
    let read = boxes(&init);
    let [Any::Ftyp(_), Any::Moov(moov)] = &read[..] else { panic!("{read:?}") };
    let mdia = &moov.trak[0].mdia;
    assert_eq!((mdia.mdhd.timescale, mdia.hdlr.handler), (48_000, b"soun".into()));
    let [Entry::Mp4a(mp4a)] = &mdia.minf.stbl.stsd.codecs[..] else { panic!() };
    assert_eq!((mp4a.audio.channel_count, mp4a.audio.sample_rate), (2, 48_000.into()));
    let specific = mp4a.esds.es_desc.dec_config.dec_specific.as_ref().unwrap();
    assert_eq!(specific.raw, [0x11, 0x90]);
}

#[test]
fn codecs_are_named_from_the_bitstream() {
    assert_eq!(codecs_attribute(&h264(1, 1)).unwrap(), "avc1.42E01F");
    assert_eq!(codecs_attribute(&aac()).unwrap(), "mp4a.40.2");
}

#[test]
fn formats_that_cannot_be_written_are_refused_with_a_reason() {
    let video = |codec, width, config: &'static [u8]| {
        let config = Bytes::from_static(config);
        init_segment(&Format::Video(VideoFormat { codec, width, height: 720, config }), BITRATE)
    };
    assert_eq!(video(Codec::Vp8, 1280, b""), Err(Fmp4Error::Codec(Codec::Vp8)));
    assert!(matches!(video(Codec::H264, 1280, b""), Err(Fmp4Error::Config { .. })));
    assert!(matches!(video(Codec::H264, 1280, b"\x01\x42\xE0\x1F\xFF\xE1\0"), Err(Fmp4Error::Config { .. })));
    assert!(matches!(
        video(Codec::H264, 70_000, b""),
        Err(Fmp4Error::PictureSize { width: 70_000, height: 720 })
    ));
    let audio = |sample_rate, channels, config: &'static [u8]| {
        let config = Bytes::from_static(config);
        let format = AudioFormat { codec: Codec::Aac, sample_rate, channels, config };
        init_segment(&Format::Audio(format), BITRATE)
    };
    assert!(matches!(audio(48_000, 2, b"\x11"), Err(Fmp4Error::Config { .. })));
    assert_eq!(audio(48_000, 0, b"\x11\x90"), Err(Fmp4Error::Sound { sample_rate: 48_000, channels: 0 }));
    assert!(audio(96_000, 2, b"\x11\x90").is_ok());
}
