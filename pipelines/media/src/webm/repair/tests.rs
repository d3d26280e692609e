//! Wherever a file is cut, what was whole is found, and its end is what the writer's would have been.

use super::*;
use crate::webm::writer::tests::{H264, VP8, end, events, frames, write};
use proptest::prelude::*;
use std::io::Cursor;

/// The file as it is repaired.
fn repaired(file: &[u8]) -> Result<Vec<u8>, RepairError> {
    let repair = repair(Cursor::new(file), file.len() as u64)?;
    let kept = file[..repair.keep_bytes as usize].to_vec();
    Ok(end(kept, &repair.ending))
}

#[test]
fn a_file_that_was_never_finished_is_ended_as_the_writer_would_have() {
    for data in [VP8, H264] {
        let (mut live, mut ending) = write(&frames(data, 50));
        let finished = end(live.clone(), &ending);
        // What waited for the other track, the writer appends before its cues.
        let cues = ending.append.windows(4).position(|w| w == [0x1C, 0x53, 0xBB, 0x6B]).unwrap();
        live.extend_from_slice(&ending.append.split_to(cues));
        assert!(repaired(&live).unwrap() == finished);
        assert!(repaired(&finished).unwrap() == finished, "a second time changes nothing");
        // A crash while it was being finished.
        assert!(repaired(&finished[..finished.len() - 3]).unwrap() == finished);
    }
}

#[test]
fn a_file_cut_at_any_byte_keeps_its_whole_blocks() {
    let (live, ending) = write(&frames(VP8, 0));
    let finished = end(live.clone(), &ending);
    for file in [[&live[..], &ending.append].concat(), finished] {
        for cut in 0..file.len() {
            let whole = events(&file[..cut]);
            match repaired(&file[..cut]) {
                Ok(repaired) => assert!(events(&repaired) == whole, "{cut}"),
                Err(RepairError::Empty) => assert!(whole.len() <= 1, "{cut}"),
                Err(error) => panic!("{cut}: {error}"),
            }
        }
        assert!(events(&file).len() > 60);
    }
}

#[test]
fn zeros_that_never_reached_the_disk_are_cut_off() {
    let (live, _) = write(&frames(VP8, 0));
    let expected = repaired(&live).unwrap();
    let longer = [&live[..], &[0; 5_000]].concat();
    assert!(repaired(&longer).unwrap() == expected);
    // The head of a block on the disk, and nothing of its content.
    let block = [&live[..], &[0xA3, 0x88, 0x81, 0, 9, 0x80, 0, 0, 0, 0, 0, 0]].concat();
    assert!(repaired(&block).unwrap() == expected);
}

#[test]
fn files_of_others_are_left_alone() {
    assert!(matches!(repaired(VP8), Err(RepairError::Foreign)));
    assert!(matches!(repaired(H264), Err(RepairError::Foreign)));
    assert!(matches!(repaired(b"RIFF"), Err(RepairError::Empty)));
    assert!(matches!(repaired(b""), Err(RepairError::Empty)));
}

proptest! {
    #[test]
    fn damage_never_makes_it_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        front: bool,
    ) {
        let (mut file, _) = write(&frames(VP8, 0));
        let length = if front { 400 } else { file.len() };
        for (at, byte) in changes {
            file[at.index(length)] = byte;
        }
        if let Ok(repair) = repair(Cursor::new(&file), file.len() as u64) {
            prop_assert!(repair.keep_bytes <= file.len() as u64);
            let places = repair.ending.patches.iter();
            prop_assert!(places.into_iter().all(|(at, bytes)| at + bytes.len() as u64 <= repair.keep_bytes));
        }
    }
}
