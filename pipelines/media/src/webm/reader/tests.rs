//! ffmpeg's files read as ffprobe reads them, however they are cut into pieces; nothing makes a reader panic or grow.

use super::*;
use crate::codec::TrackKind;
use proptest::prelude::*;
use std::io::Cursor;

macro_rules! fixture {
    ($name:literal) => {
        (
            $name,
            include_bytes!(concat!("../../../tests/fixtures/webm/", $name)).as_slice(),
            include_str!(concat!("../../../tests/fixtures/webm/", $name, ".packets")),
        )
    };
}

const FIXTURES: [(&str, &[u8], &str); 6] = [
    fixture!("vp8-opus.webm"),
    fixture!("vp9-opus-live.webm"),
    fixture!("av1-opus.webm"),
    fixture!("h264-opus.mkv"),
    fixture!("h264-bframes.mkv"),
    fixture!("pcm.mkv"),
];

/// Gives at most so many bytes at a time, as listed and then from the start of the list again.
struct Pieces<'a> {
    data: &'a [u8],
    sizes: Vec<usize>,
    turn: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.sizes[self.turn % self.sizes.len()].min(buffer.len()).min(self.data.len());
        self.turn += 1;
        let (now, later) = self.data.split_at(size);
        buffer[..size].copy_from_slice(now);
        self.data = later;
        Ok(size)
    }
}

fn all<R: Read>(input: R, max_element_bytes: usize) -> (Vec<WebmEvent>, Option<WebmError>) {
    let mut reader = WebmReader::with_config(input, WebmReaderConfig { max_element_bytes });
    let mut events = Vec::new();
    loop {
        match reader.next() {
            Ok(Some(event)) => events.push(event),
            Ok(None) => return (events, None),
            Err(error) => {
                assert!(matches!(reader.next(), Ok(None)), "nothing comes after an error");
                return (events, Some(error));
            }
        }
    }
}

fn events(data: &[u8]) -> Vec<WebmEvent> {
    let (events, error) = all(data, 1 << 20);
    assert!(error.is_none(), "{error:?}");
    events
}

#[test]
fn files_of_ffmpeg_read_as_ffprobe_reads_them() {
    for (name, data, packets) in FIXTURES {
        let events = events(data);
        let WebmEvent::Begin(tracks) = &events[0] else { panic!("{name}: {:?}", events[0]) };
        let mut lines = packets.lines().filter(|line| !line.is_empty());
        for event in &events[1..] {
            let WebmEvent::Block(block) = event else { panic!("{name}: a second beginning") };
            let index = tracks.iter().position(|track| track.number == block.track).unwrap();
            let line: Vec<&str> = lines.next().unwrap().split(',').collect();
            assert_eq!(line[0], index.to_string(), "{name} {line:?}");
            let shown_ns = block.time_ns - tracks[index].codec_delay_ns as i64;
            let late_ns = shown_ns - line[1].parse::<i64>().unwrap() * 1_000_000;
            assert!(late_ns.abs() < 1_000_000, "{name} {line:?}: {late_ns}");
            assert_eq!(line[3], block.data.len().to_string(), "{name} {line:?}");
            assert_eq!(line[4].starts_with('K'), block.keyframe, "{name} {line:?}");
        }
        assert_eq!(lines.next(), None, "{name}");
    }
}

#[test]
fn tracks_say_what_they_are() {
    let tracks = |index: usize| match &events(FIXTURES[index].1)[0] {
        WebmEvent::Begin(tracks) => tracks.clone(),
        WebmEvent::Block(_) => panic!("a block before the beginning"),
    };
    let [video, audio] = &tracks(0)[..] else { panic!() };
    assert_eq!((&video.codec, video.width, video.height), (&WebmCodec::Vp8, 160, 90));
    assert_eq!((&audio.codec, audio.sample_rate, audio.channels), (&WebmCodec::Opus, 48_000, 1));
    assert_eq!((audio.codec_delay_ns, audio.seek_pre_roll_ns), (6_500_000, 80_000_000));
    assert_eq!((&audio.config[..8], audio.kind), (&b"OpusHead"[..], Some(TrackKind::Audio)));
    let codecs: Vec<WebmCodec> = (1..6).map(|index| tracks(index)[0].codec.clone()).collect();
    let pcm = WebmCodec::PcmInt { bits: 16 };
    assert_eq!(codecs, [WebmCodec::Vp9, WebmCodec::Av1, WebmCodec::H264, WebmCodec::H264, pcm]);
    assert_eq!(tracks(5)[0].sample_rate, 8_000);
}

#[test]
fn a_recorder_that_is_started_again_begins_again() {
    let (first, second) = (FIXTURES[0].1, FIXTURES[1].1);
    let both = [first, second].concat();
    assert_eq!(events(&both), [events(first), events(second)].concat());
    // Also when the first was stopped inside a block, or is a live one without sizes.
    let both = [second, first].concat();
    assert_eq!(events(&both), [events(second), events(first)].concat());
}

#[test]
fn a_cut_end_is_no_error_and_loses_nothing_whole() {
    let data = FIXTURES[0].1;
    let whole = events(data);
    let mut before = 0;
    for end in 0..data.len() {
        let part = events(&data[..end]);
        assert_eq!(part, whole[..part.len()]);
        assert!(part.len() - before <= 1, "one more at a time");
        before = part.len();
    }
    assert_eq!(before, whole.len());
}

/// An element with a size of four bytes.
fn element(id: &[u8], content: &[u8]) -> Vec<u8> {
    let size = 0x1000_0000 | content.len() as u32;
    [id, &size.to_be_bytes(), content].concat()
}

fn file(segment: &[Vec<u8>]) -> Vec<u8> {
    let header = element(&[0x1A, 0x45, 0xDF, 0xA3], &element(&[0x42, 0x82], b"webm"));
    [header, vec![0x18, 0x53, 0x80, 0x67, 0xff], segment.concat()].concat()
}

const INFO: [u8; 4] = [0x15, 0x49, 0xA9, 0x66];
const CLUSTER: [u8; 5] = [0x1F, 0x43, 0xB6, 0x75, 0xff];

#[test]
fn block_groups_lacing_and_the_scale_of_time_are_understood() {
    let scale = element(&INFO, &element(&[0x2A, 0xD7, 0xB1], &[0x01, 0x86, 0xA0])); // 100 us
    let group = element(
        &[0xA0],
        &[
            element(&[0x9B], &[20]), // BlockDuration
            element(&[0xA1], &[0x81, 0, 5, 0x04, 1, 7, 8]),
            element(&[0xFB], &[0xff]), // ReferenceBlock
            element(&[0xBF], &[1, 2, 3, 4]),
        ]
        .concat(),
    );
    let alone = element(&[0xA0], &element(&[0xA1], &[0x82, 0xff, 0xff, 0, 9]));
    let title = element(&INFO, &element(&[0x7B, 0xA9], &[0xff, 0xfe])); // no UTF-8
    let data = file(&[
        element(&[0xEC], &[0; 300]),
        scale,
        title,
        CLUSTER.to_vec(),
        element(&[0xE7], &[100]),
        group,
        alone,
        element(&[0x42, 0xfe], b"a later version's"),
        element(&[0x1C, 0x53, 0xBB, 0x6B], b"cues that make no sense"),
    ]);
    let block = |track, time_ns, duration_ns, keyframe, data: &'static [u8]| {
        WebmEvent::Block(WebmBlock { track, time_ns, duration_ns, keyframe, data: data.into() })
    };
    let expected = [
        block(1, 10_500_000, Some(1_000_000), false, &[7]),
        block(1, 11_500_000, Some(1_000_000), false, &[8]),
        block(2, 9_900_000, None, true, &[9]),
    ];
    assert_eq!(events(&data), expected);
}

#[test]
fn times_beyond_all_reason_are_no_more_than_wrong() {
    let most = [0xff; 8];
    let scale = element(&INFO, &element(&[0x2A, 0xD7, 0xB1], &most));
    let group = [element(&[0x9B], &most), element(&[0xA1], &[0x81, 0x7f, 0xff, 0x04, 1, 7, 8])].concat();
    let data = file(&[scale, CLUSTER.to_vec(), element(&[0xE7], &most), element(&[0xA0], &group)]);
    let [WebmEvent::Block(first), WebmEvent::Block(_)] = &events(&data)[..] else { panic!() };
    assert_eq!((first.time_ns, first.duration_ns), (i64::MAX, Some(i64::MAX)));
}

#[test]
fn claims_beyond_the_bound_are_refused_and_what_is_passed_over_may_claim_anything() {
    let huge = |id: &[u8]| [id, &[0x08, 0x7f, 0xff, 0xff, 0xff]].concat();
    let data = file(&[CLUSTER.to_vec(), huge(&[0xA3])]);
    let (none, error) = all(&*data, 1 << 20);
    assert!(none.is_empty() && matches!(error, Some(WebmError::TooLarge { id: 0xA3, .. })), "{error:?}");
    let unknown = file(&[huge(&[0x42, 0xfe])]);
    assert!(matches!(all(&*unknown, 1 << 20).1, Some(WebmError::TooLarge { .. })));
    let attachments = file(&[huge(&[0x19, 0x41, 0xA4, 0x69]), vec![0; 100]]);
    assert!(all(&*attachments, 1 << 20).1.is_none());
}

#[test]
fn what_is_no_webm_is_refused_at_once() {
    for data in
        [&b"\0\0\0\x1cftypisom"[..], b"RIFF", b"\x1aE\xdf\xa3\xff", b"\x1aE\xdf\xa3\x85\x42\x82\x82mp"]
    {
        assert!(matches!(all(data, 1 << 20).1, Some(WebmError::NotWebm)), "{data:?}");
    }
    // A later chunk of a recorder has no header; what has not come yet may still be anything.
    assert!(matches!(all(&CLUSTER[..], 1 << 20).1, Some(WebmError::NotWebm)));
    assert!(!has_header(&CLUSTER) && has_header(FIXTURES[0].1));
    assert!(all(&b"\x1aE"[..], 1 << 20).1.is_none());
}

/// Counts the bytes that are read.
struct Counted<'a>(Cursor<&'a [u8]>, usize);

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        self.1 += read;
        Ok(read)
    }
}

#[test]
fn random_bytes_are_refused_after_the_first_read() {
    let data: Vec<u8> = (0..1_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 | 1).collect();
    let mut reader = WebmReader::new(Counted(Cursor::new(&data), 0));
    assert!(matches!(reader.next(), Err(WebmError::NotWebm)));
    assert!(reader.gate.input().1 <= 16 << 10);
}

proptest! {
    #[test]
    fn any_split_of_the_input_gives_the_same_events(
        which in 0..FIXTURES.len(), sizes in prop::collection::vec(1usize..3_000, 1..20),
    ) {
        let data = FIXTURES[which].1;
        let (split, error) = all(Pieces { data, sizes, turn: 0 }, 1 << 20);
        prop_assert!(error.is_none());
        prop_assert_eq!(split, events(data));
    }

    #[test]
    fn mutated_files_never_panic_nor_grow_beyond_the_bound(
        which in 0..FIXTURES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0usize..4), 1..20),
    ) {
        let mut data = FIXTURES[which].1.to_vec();
        for (at, byte, kind) in changes {
            // Half of them where the headers are.
            let at = if kind < 2 { at.index(data.len().min(600)) } else { at.index(data.len()) };
            match kind {
                3 => { data.remove(at); }
                _ => data[at] = byte,
            }
        }
        let mut reader =
            WebmReader::with_config(&*data, WebmReaderConfig { max_element_bytes: 4_096 });
        while let Ok(Some(event)) = reader.next() {
            if let WebmEvent::Block(block) = event {
                prop_assert!(block.data.len() <= 4_096);
            }
            prop_assert!(reader.gate.held() <= 4_096 + 12 + (16 << 10));
        }
    }

    #[test]
    fn random_elements_never_panic(data in prop::collection::vec(any::<u8>(), 0..400)) {
        all(&*file(std::slice::from_ref(&data)), 4_096);
        all(&*file(&[CLUSTER.to_vec(), data.clone()]), 4_096);
        all(&*file(&[element(&[0x16, 0x54, 0xAE, 0x6B], &data)]), 4_096);
        all(&*data, 4_096);
    }
}
