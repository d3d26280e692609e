//! Recordings cut off anywhere and damaged anyhow: what is whole is read, nothing panics, nothing grows.
#![allow(clippy::unwrap_used)]

#[path = "recording_support/bench.rs"]
mod bench;

use bench::*;
use proptest::prelude::*;
use skywave_media::recording::{RecorderConfig, check, finish, probe, read_index, scan};
use std::io::Cursor;
use std::sync::LazyLock;

/// Seven seconds with a change of size in the middle.
static RECORDED: LazyLock<Recorded> = LazyLock::new(|| {
    let mut take = Take::new(RecorderConfig::default());
    let aac = aac();
    take.frames(lanes(&h264(640, 360), &aac, 0, 4_000));
    take.frames(lanes(&h264(1280, 720), &aac, 4_000, 7_000));
    take.end().into_iter().next().unwrap()
});

static FINISHED: LazyLock<Vec<u8>> = LazyLock::new(|| finished(&RECORDED.bytes).0);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_file_cut_anywhere_is_read_up_to_its_last_whole_fragment(cut in 0usize..1 << 20) {
        let cut = cut % (RECORDED.bytes.len() + 1);
        let file = &RECORDED.bytes[..cut];
        let whole = RECORDED.grown.iter().map(|(size, _)| *size).filter(|&size| size <= cut).max();
        let mut out = Vec::new();
        match (finish(&mut Cursor::new(file), cut as u64, EPOCH, &mut out), whole) {
            (Ok(done), Some(whole)) => {
                // An initialisation may be whole where its fragment is not.
                prop_assert_eq!(done.lost_bytes as usize, cut - whole);
                prop_assert!(check(&mut Cursor::new(&out), out.len() as u64, &done.tracks).is_ok());
            }
            (Err(_), None) => {}
            (outcome, whole) => prop_assert!(false, "{:?} where {:?} bytes are whole", outcome, whole),
        }
    }

    #[test]
    fn blocks_that_never_reached_the_disk_are_left_out(from in 0usize..40_000) {
        let mut file = RECORDED.bytes.clone();
        let from = file.len() - from.min(file.len() - 1);
        // The file has its length, and zeros from a block on.
        file[from..].fill(0);
        let mut out = Vec::new();
        let outcome = finish(&mut Cursor::new(&file), file.len() as u64, EPOCH, &mut out);
        let whole = RECORDED.grown.iter().map(|(size, _)| *size).filter(|&size| size <= from).max();
        match (outcome, whole) {
            // A sample of which only the end is missing cannot be told from a whole one: at most that one is kept.
            (Ok(done), Some(_)) => prop_assert!(file.len() - done.lost_bytes as usize <= from + 921),
            (Err(_), None) => {}
            (outcome, whole) => prop_assert!(false, "{:?} where {:?} bytes are whole", outcome, whole),
        }
    }

    #[test]
    fn flipped_bytes_never_panic(
        flips in proptest::collection::vec((0usize..1 << 20, 1u8..=255), 1..20),
        finished_file: bool,
    ) {
        let mut file = if finished_file { FINISHED.clone() } else { RECORDED.bytes.clone() };
        for (at, mask) in flips {
            // Half of them near the front, where the tables are.
            let at = if mask % 2 == 0 { at % 4096 } else { at };
            let at = at % file.len();
            file[at] ^= mask;
        }
        let len = file.len() as u64;
        let mut out = Vec::new();
        let _unreadable = scan(&mut Cursor::new(&file), 0, len);
        let _unreadable = read_index(&mut Cursor::new(&file), len);
        let _unreadable = probe(&mut Cursor::new(&file), len);
        if let Ok(done) = finish(&mut Cursor::new(&file), len, EPOCH, &mut out) {
            let _differs = check(&mut Cursor::new(&out), out.len() as u64, &done.tracks);
        }
        prop_assert!(out.len() < 2 * file.len() + 65_536);
    }

    #[test]
    fn anything_at_all_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let len = bytes.len() as u64;
        prop_assert!(scan(&mut Cursor::new(&bytes), 0, len).is_err());
        prop_assert!(read_index(&mut Cursor::new(&bytes), len).is_err());
        prop_assert!(probe(&mut Cursor::new(&bytes), len).is_err());
    }
}

#[test]
fn a_change_of_one_byte_in_the_tables_is_found() {
    let (file, summary) = finished(&RECORDED.bytes);
    let stsz = file.windows(4).position(|w| w == b"stsz").unwrap();
    let mut broken = file.clone();
    // The size of the first sample: flags 4, size 4, count 4.
    broken[stsz + 4 + 12 + 3] ^= 1;
    let error = check(&mut Cursor::new(&broken), broken.len() as u64, &summary.tracks).unwrap_err();
    assert!(error.to_string().contains("the size of sample 1 of track 1"), "{error}");
}
