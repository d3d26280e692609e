//! Parameter sets of a real encoder (x264 through GStreamer 1.22's `x264enc`), and hostile ones.

use super::*;
use proptest::prelude::*;

/// Unhexes; spaces are for the reader.
fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b' ').collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect::<Vec<_>>()
        .into()
}

const BASELINE_SPS: &str = "6742c01ed900a02ff97016a0c0c0d4a0000003002000000791e2c5c9";
const HIGH_SPS: &str = "6764001facd9405005bb016a02020280000003008000001e478c18cb";
const MAIN_SPS: &str = "674d4015eca0a8cf113602d418181a94000003000400000300f23c58b658";
const HIGH_PPS: &str = "68ebecb22c";

#[test]
fn a_baseline_stream_of_640_by_360_never_reorders() {
    let sps = Sps::parse(&hex(BASELINE_SPS)).unwrap();
    assert_eq!((sps.profile_idc, sps.level_idc, sps.width, sps.height), (66, 30, 640, 360));
    assert_eq!(sps.frame_rate, Some((30, 1)));
    assert_eq!(sps.reorder_depth(), Some(0));
    assert!(sps.progressive);
}

#[test]
fn a_high_stream_of_1280_by_720_says_how_deep_it_reorders() {
    let sps = Sps::parse(&hex(HIGH_SPS)).unwrap();
    assert_eq!((sps.profile_idc, sps.level_idc, sps.width, sps.height), (100, 31, 1280, 720));
    assert_eq!((sps.chroma_format_idc, sps.bit_depth_luma), (1, 8));
    assert_eq!(sps.reorder_depth(), Some(2));
    assert_eq!(Pps::parse(&hex(HIGH_PPS)).unwrap(), Pps { id: 0, sps_id: 0, cabac: true });
}

#[test]
fn cropping_takes_a_padded_picture_back_to_its_odd_size() {
    let sps = Sps::parse(&hex(MAIN_SPS)).unwrap();
    assert_eq!((sps.profile_idc, sps.width, sps.height), (77, 322, 182));
}

#[test]
fn an_avcc_record_is_built_parsed_and_named() {
    let config = AvcConfig::new(vec![hex(HIGH_SPS)], vec![hex(HIGH_PPS)]);
    let record = config.build().unwrap();
    assert_eq!(record, hex(&format!("0164001f ff e1 001c{} 01 0005{} fdf8f800", HIGH_SPS, HIGH_PPS)),);
    assert_eq!(AvcConfig::parse(&record).unwrap(), config);
    assert_eq!(codec_string(&record).unwrap(), "avc1.64001f");
    for cut in 0..record.len() - 4 {
        assert!(AvcConfig::parse(&record[..cut]).is_err(), "a record of {cut} bytes must not parse");
    }
}

#[test]
fn a_record_without_sets_is_refused() {
    assert_eq!(AvcConfig::new(vec![], vec![hex(HIGH_PPS)]).build(), Err(H264Error::Missing("SPS")));
    assert_eq!(AvcConfig::new(vec![hex(HIGH_SPS)], vec![]).build(), Err(H264Error::Missing("PPS")));
    assert_eq!(codec_string(&[1, 2, 3]), Err(H264Error::Truncated("avcC")));
}

#[test]
fn the_two_framings_convert_into_each_other() {
    let annex_b = hex("ff 000001 6742 00000001 68eb 0000 000001 65aabb00");
    let avcc = annex_b_to_avcc(&annex_b);
    assert_eq!(avcc, hex("00000002 6742 00000002 68eb 00000003 65aabb"));
    assert_eq!(avcc_to_annex_b(&avcc).unwrap(), hex("00000001 6742 00000001 68eb 00000001 65aabb"));
    assert_eq!(avcc_to_annex_b(&avcc[..avcc.len() - 1]), Err(H264Error::Truncated("NAL unit")));
    assert_eq!(avcc_to_annex_b(&[0, 0]), Err(H264Error::Truncated("NAL unit length")));
}

#[test]
fn a_slice_header_tells_its_kind() {
    // first_mb ue(0)=1, slice_type ue(7)=0001000, pps ue(0)=1: 1000 1000 1...
    assert_eq!(
        SliceHeader::parse(&[0x65, 0b1000_1000, 0b1000_0000]),
        Some(SliceHeader { first_mb_in_slice: 0, slice_type: SliceType::I, pps_id: 0 })
    );
    // slice_type ue(6)=00111: B.
    assert_eq!(slice_type(&[0x41, 0b1001_1110]), Some(SliceType::B));
    assert_eq!(slice_type(&[0x67, 0xff]), None);
    assert_eq!(slice_type(&[]), None);
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), size in 0usize..5) {
        let mut sps = bytes.clone();
        sps.insert(0, 0x67);
        let mut pps = bytes.clone();
        pps.insert(0, 0x68);
        let _ = Sps::parse(&sps);
        let _ = Pps::parse(&pps);
        let _ = AvcConfig::parse(&bytes).map(|config| config.build());
        let _ = SliceHeader::parse(&bytes);
        prop_assert!(avcc_nals(&bytes, size).count() <= bytes.len() + 1);
        prop_assert!(annex_b_nals(&bytes).count() <= bytes.len());
    }

    #[test]
    fn a_flipped_bit_in_a_real_sps_never_panics_and_never_makes_a_giant(bit in 8usize..8 * 27) {
        let mut sps = hex(HIGH_SPS).to_vec();
        sps[bit / 8] ^= 1 << (bit % 8);
        if let Ok(parsed) = Sps::parse(&sps) {
            prop_assert!(parsed.width <= 16_384 && parsed.height <= 16_384);
        }
    }
}
