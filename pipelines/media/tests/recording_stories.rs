//! What a recorder makes of takes that begin, break off, change and end, read back from the files.
#![allow(clippy::unwrap_used)]

#[path = "recording_support/bench.rs"]
mod bench;

use bench::*;
use skywave_media::codec::TrackKind;
use skywave_media::recording::{Gap, RecorderConfig, clip, finish, probe, read_index, scan};
use std::io::Cursor;
use std::time::Duration;

/// (samples, milliseconds) of track 1 and 2.
fn tracks(file: &[u8]) -> Vec<(u32, u128)> {
    let contents = probe(&mut Cursor::new(file), file.len() as u64).unwrap();
    contents.tracks.iter().map(|track| (track.samples, track.duration.as_millis())).collect()
}

#[test]
fn a_take_becomes_one_file_with_every_frame() {
    let mut take = Take::new(RecorderConfig::default());
    let frames = lanes(&h264(1280, 720), &aac(), 0, 10_000);
    let sound = frames.iter().filter(|frame| frame.kind() == TrackKind::Audio).count();
    take.frames(frames);
    let files = take.end();
    assert_eq!(files.len(), 1);
    assert!(files[0].ended && files[0].begins_ns == 0);
    let (file, summary) = finished(&files[0].bytes);
    assert_eq!(tracks(&file), [(300, 10_000), (u32::try_from(sound).unwrap(), 10_005)]);
    assert!((summary.duration.as_millis(), summary.lost_bytes) == (10_005, 0), "{summary:?}");
}

#[test]
fn never_more_than_a_second_is_in_memory_alone() {
    let mut take = Take::new(RecorderConfig::default());
    take.frames(lanes(&h264(640, 360), &aac(), 0, 20_000));
    let files = take.end();
    let times: Vec<u64> = files[0].grown.iter().map(|(_, at)| at.as_nanos() / 1_000_000).collect();
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(longest <= 600, "{longest} ms between two pieces");
    assert!(files[0].grown.len() >= 39, "{}", files[0].grown.len());
}

#[test]
fn one_silent_lane_holds_nothing_up() {
    let mut take = Take::new(RecorderConfig::default());
    let format = aac();
    take.frames((0..470).map(|i| audio(&format, i * 1024)));
    // Announced video has never come: after the first three seconds sound is written as it comes.
    let grown = &take.files[0].grown;
    let last = grown.last().unwrap().1;
    assert!(take.now.saturating_since(last) < Duration::from_secs(1));
    let late: Vec<_> = (300..330).map(|i| video(&h264(640, 360), i * 3000, i == 300)).collect();
    take.frames(late);
    let files = take.end();
    let (file, _) = finished(&files[0].bytes);
    assert_eq!(tracks(&file).len(), 2, "video that comes late gets its track");
}

#[test]
fn a_lane_that_begins_later_keeps_its_distance() {
    let mut take = Take::new(RecorderConfig::default());
    let (h264, aac) = (h264(640, 360), aac());
    let mut frames: Vec<_> = (0..200).map(|i| audio(&aac, i * 1024)).collect();
    frames.extend((24..120).map(|i| video(&h264, i * 3000, i == 24)));
    frames.sort_by_key(|frame| frame.pts);
    take.frames(frames);
    let files = take.end();
    let (file, _) = finished(&files[0].bytes);
    let text = format!("{:?}", mp4_atom_moov(&file).trak.iter().map(|t| t.edts.clone()).collect::<Vec<_>>());
    assert!(text.contains("segment_duration: 72000, media_time: None"), "video begins 0.8 s later: {text}");
}

fn mp4_atom_moov(file: &[u8]) -> mp4_atom::Moov {
    use mp4_atom::{Any, Decode};
    let mut rest = file;
    loop {
        if let Any::Moov(moov) = Any::decode(&mut rest).unwrap() {
            return moov;
        }
    }
}

#[test]
fn a_gap_is_kept_as_real_time_with_silence() {
    let mut take = Take::new(RecorderConfig::default());
    let (h264, aac) = (h264(640, 360), aac());
    take.frames(lanes(&h264, &aac, 0, 4_000));
    take.discontinuity();
    take.frames(lanes(&h264, &aac, 9_000, 12_000));
    let counters = take.recorder.counters();
    let files = take.end();
    let (file, summary) = finished(&files[0].bytes);
    let tracks = tracks(&file);
    assert_eq!(tracks[0], (210, 12_000));
    assert!((12_000..12_030).contains(&tracks[1].1), "{tracks:?}");
    assert!((230..236).contains(&counters.silent_frames), "{counters:?}");
    assert!(summary.duration >= Duration::from_secs(12));
}

#[test]
fn a_gap_is_closed_when_that_is_wished() {
    let mut take = Take::new(RecorderConfig { gap: Gap::Close, ..Default::default() });
    let (h264, aac) = (h264(640, 360), aac());
    take.frames(lanes(&h264, &aac, 0, 4_000));
    take.discontinuity();
    take.frames(lanes(&h264, &aac, 9_000, 12_000));
    let files = take.end();
    let (file, _) = finished(&files[0].bytes);
    let tracks = tracks(&file);
    assert_eq!(tracks[0].0, 210);
    assert!((7_000..7_050).contains(&tracks[0].1) && (7_000..7_050).contains(&tracks[1].1), "{tracks:?}");
}

#[test]
fn another_size_goes_into_the_same_file() {
    let mut take = Take::new(RecorderConfig::default());
    let aac = aac();
    take.frames(lanes(&h264(640, 360), &aac, 0, 4_000));
    take.frames(lanes(&h264(1280, 720), &aac, 4_000, 8_000));
    take.frames(lanes(&h264(640, 360), &aac, 8_000, 10_000));
    let files = take.end();
    assert_eq!(files.len(), 1);
    let (file, _) = finished(&files[0].bytes);
    assert_eq!(tracks(&file)[0], (300, 10_000));
    let moov = mp4_atom_moov(&file);
    let stbl = &moov.trak[0].mdia.minf.stbl;
    assert_eq!(stbl.stsd.codecs.len(), 2, "each format once");
    let mut used: Vec<u32> = stbl.stsc.entries.iter().map(|e| e.sample_description_index).collect();
    used.dedup();
    assert_eq!(used, [1, 2, 1]);
    // Every keyframe has its sets beside it, because not all players take them from a second sample entry.
    let sets = [0, 0, 0, 4, 0x67, 0x42, 0xE0, 0x1F, 0, 0, 0, 4, 0x68, 0xCE, 0x3C, 0x80];
    assert_eq!(file.windows(sets.len()).filter(|window| *window == sets).count(), 5);
    let index = read_index(&mut Cursor::new(&file), file.len() as u64).unwrap();
    let sizes: Vec<u16> = index.inits.iter().map(|init| init.width).collect();
    assert_eq!(sizes, [640, 1280, 640]);
    assert_eq!(index.segments.iter().map(|s| s.init).collect::<Vec<_>>(), [0, 0, 1, 1, 2]);
}

#[test]
fn rotation_loses_and_doubles_no_frame() {
    let mut take =
        Take::new(RecorderConfig { rotate_after: Some(Duration::from_secs(4)), ..Default::default() });
    let frames = lanes(&h264(640, 360), &aac(), 0, 19_000);
    let all: Vec<Vec<u8>> = frames.iter().map(|frame| frame.data.to_vec()).collect();
    take.frames(frames);
    let files = take.end();
    assert_eq!(files.len(), 5);
    let mut samples = 0;
    let mut ends = 0;
    for file in &files {
        let (bytes, _) = finished(&file.bytes);
        samples += tracks(&bytes).iter().map(|(count, _)| *count as usize).sum::<usize>();
        assert!((file.begins_ns - ends).abs() <= 11_000_000, "begins {} after {ends}", file.begins_ns);
        ends = file.begins_ns + i64::try_from(file.duration.as_nanos()).unwrap();
    }
    assert_eq!(samples, all.len());
    // By their content as well, each once.
    let joined: Vec<u8> = files.iter().flat_map(|file| file.bytes.clone()).collect();
    let bytes: usize = all.iter().map(Vec::len).sum();
    assert!(joined.len() > bytes && joined.len() < bytes + bytes / 5, "{} for {bytes}", joined.len());
}

#[test]
fn segments_of_the_index_are_whole_and_begin_with_keyframes() {
    let mut take = Take::new(RecorderConfig::default());
    take.frames(lanes(&h264(640, 360), &aac(), 0, 11_000));
    let files = take.end();
    let (file, _) = finished(&files[0].bytes);
    let index = read_index(&mut Cursor::new(&file), file.len() as u64).unwrap();
    let durations: Vec<u64> = index.segments.iter().map(|s| s.duration_us / 1000).collect();
    assert_eq!(durations, [2000, 2000, 2000, 2000, 2000, 1000]);
    let init = &index.inits[0];
    assert_eq!(init.codecs, "avc1.42E01F,mp4a.40.2");
    let head = &file[usize::try_from(init.offset).unwrap()..][..init.bytes as usize];
    let mut at = init.offset + u64::from(init.bytes);
    for segment in &index.segments {
        assert_eq!(segment.offset, at, "segments lie one behind the other");
        at += segment.bytes;
        let body =
            &file[usize::try_from(segment.offset).unwrap()..][..usize::try_from(segment.bytes).unwrap()];
        let alone = [head, body].concat();
        let found = scan(&mut Cursor::new(&alone), 0, alone.len() as u64).unwrap();
        assert_eq!(found.lost_bytes, 0);
        let keyframe = &body[..segment.keyframe_bytes as usize];
        assert!(
            keyframe.ends_with(&[keyframe[keyframe.len() - 1]; 900]),
            "the picture ends where the range ends"
        );
    }
    assert_eq!(at, file.len() as u64);
}

#[test]
fn a_smaller_rendition_that_takes_over_within_a_group_begins_with_its_keyframe() {
    let mut take = Take::new(RecorderConfig::default());
    take.frames(lanes(&h264(1280, 720), &aac(), 0, 5_000));
    let mut small = lanes(&h264(640, 360), &aac(), 5_000, 10_000);
    // All renditions have keyframes at 4 and 6 s, not here.
    small
        .iter_mut()
        .filter(|frame| frame.kind() == TrackKind::Video && frame.pts.as_nanos() < 6_000_000_000)
        .for_each(|frame| frame.keyframe = false);
    take.frames(small);
    let (file, _) = finished(&take.end()[0].bytes);
    assert_eq!(
        tracks(&file)[0],
        (150 + 120, 10_000),
        "the last large picture lasts until the first small one"
    );
}

#[test]
fn a_finished_file_can_be_finished_again() {
    let mut take = Take::new(RecorderConfig::default());
    take.frames(lanes(&h264(640, 360), &aac(), 0, 5_000));
    let files = take.end();
    let (first, summary) = finished(&files[0].bytes);
    let mut again = Vec::new();
    let second = finish(&mut Cursor::new(&first), first.len() as u64, EPOCH, &mut again).unwrap();
    assert!(again == first && second == summary);
}

#[test]
fn four_hours_take_little_memory_in_the_recorder_and_in_the_tables() {
    let mut take = Take::new(RecorderConfig::default());
    let (h264, aac) = (h264(640, 360), aac());
    let mut most_pending = 0;
    let (mut pictures, mut sounds) = (0, 0);
    let seconds = 4 * 3600;
    for second in 0..seconds {
        let frames = lanes(&h264, &aac, second * 1000, (second + 1) * 1000);
        pictures += frames.iter().filter(|f| f.kind() == TrackKind::Video).count();
        sounds += frames.iter().filter(|f| f.kind() == TrackKind::Audio).count();
        // The data of a picture is not what this is about.
        take.frames(frames.into_iter().map(|mut frame| {
            frame.data = frame.data.slice(..if frame.kind() == TrackKind::Video { 5 } else { 2 });
            frame
        }));
        let file = &take.files[0];
        most_pending = most_pending.max(file.grown.windows(2).last().map_or(0, |w| w[1].0 - w[0].0));
    }
    let files = take.end();
    assert!(most_pending < 10_000, "{most_pending} bytes in one piece");
    let mut recorded = files.into_iter().next().unwrap().bytes;
    // Make the pictures NAL units again, so that the last fragments look sound.
    fix_lengths(&mut recorded);
    let (file, summary) = finished(&recorded);
    let front = file.len() - recorded.len();
    assert_eq!(summary.tracks.iter().map(|t| t.samples as usize).collect::<Vec<_>>(), [pictures, sounds]);
    assert!(front < 6 << 20, "{front} bytes of tables");
    assert_eq!(summary.duration.as_secs(), 4 * 3600);
}

/// Pictures cut to five bytes: a length of one, and a NAL unit of one byte.
fn fix_lengths(recorded: &mut [u8]) {
    for at in 0..recorded.len() - 4 {
        let picture = matches!(recorded[at..at + 5], [0, 0, 3, 133, 0x65] | [0, 0, 0, 201, 0x41]);
        if picture {
            recorded[at..at + 4].copy_from_slice(&[0, 0, 0, 1]);
        }
    }
}

#[test]
fn a_clip_begins_and_ends_where_it_is_asked_for() {
    let mut take = Take::new(RecorderConfig::default());
    take.frames(lanes(&h264(640, 360), &aac(), 0, 10_000));
    let files = take.end();
    let (file, _) = finished(&files[0].bytes);
    let span = (Duration::from_millis(3_500), Duration::from_millis(7_250));
    let clip = clip(&mut Cursor::new(&file), file.len() as u64, span, EPOCH).unwrap();
    assert_eq!(clip.duration, Duration::from_millis(3_750));
    let mut bytes = clip.front.clone();
    for (first, length) in clip.ranges {
        bytes.extend_from_slice(
            &file[usize::try_from(first).unwrap()..usize::try_from(first + length).unwrap()],
        );
    }
    assert_eq!(bytes.len() as u64, clip.bytes());
    let contents = probe(&mut Cursor::new(&bytes), bytes.len() as u64).unwrap();
    assert_eq!(contents.duration, clip.duration);
    // From the keyframe at 2 s to the end of the segment that ends at 8 s.
    assert_eq!(contents.tracks[0].samples, 180);
    let moov = mp4_atom_moov(&bytes);
    let edits = &moov.trak[0].edts.as_ref().unwrap().elst.as_ref().unwrap().entries;
    assert_eq!((edits[0].media_time, edits[0].segment_duration), (Some(135_000), 337_500));
    let empty = (Duration::from_secs(11), Duration::from_secs(12));
    let error =
        skywave_media::recording::clip(&mut Cursor::new(&file), file.len() as u64, empty, EPOCH).unwrap_err();
    assert!(error.to_string().starts_with("the recording is 10.0"), "{error}");
}
