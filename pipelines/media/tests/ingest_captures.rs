//! Replays every capture in `samples/captures`: what real senders send comes out as frames.
//!
//! A capture alone must satisfy the rules for all. If a `.coded` file of the same name lies beside it, the frames
//! must be, byte by byte, what the sender's encoder made.

use bytes::Bytes;
use skywave_media::capture::{Record, Records};
use skywave_media::codec::{Codec, Format, TrackKind};
use skywave_media::frame::Frame;
use skywave_media::h264::{annex_b_nals, avcc_nals, nal_type, nal_unit_type};
use skywave_media::ingest::{Ingest, IngestConfig, IngestOutput, TrackId, TrackStats};
use skywave_media::time::Mono;
use std::collections::BTreeMap;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../samples/captures")
}

struct Replayed {
    frames: BTreeMap<TrackId, Vec<Frame>>,
    stats: BTreeMap<TrackId, TrackStats>,
}

/// Plays a capture through an [`Ingest`] whose epoch is the first arrival.
fn replay(file: &[u8]) -> Replayed {
    let records: Vec<Record> =
        Records::new(file).expect("a capture").map(|r| r.expect("a whole record")).collect();
    let arrival = |record: &Record| match record {
        Record::Packet { packet, .. } => Some(packet.arrival),
        Record::SenderReport { report, .. } => Some(report.arrival),
        Record::Track { .. } => None,
    };
    let epoch = records.iter().find_map(arrival).expect("something has come");
    let mut ingest = Ingest::new(IngestConfig::default(), epoch);
    let mut frames: BTreeMap<TrackId, Vec<Frame>> = BTreeMap::new();
    let mut drain = |ingest: &mut Ingest| {
        while let Some(output) = ingest.poll_output() {
            if let IngestOutput::Frame { track, frame } = output {
                frames.entry(track).or_default().push(frame);
            }
        }
    };
    for record in records {
        if let Some(now) = arrival(&record) {
            while let Some(due) = ingest.poll_timeout().filter(|due| *due <= now) {
                ingest.handle_timeout(due);
                drain(&mut ingest);
            }
        }
        match record {
            Record::Track { id, kind } => ingest.add_track(id, kind, epoch),
            Record::Packet { track, packet } => ingest.handle_packet(track, packet),
            Record::SenderReport { track, report } => ingest.handle_sender_report(track, report),
        }
        drain(&mut ingest);
    }
    let stats = ingest.tracks().map(|(id, _)| (id, ingest.stats(id).expect("it was added"))).collect();
    Replayed { frames, stats }
}

/// The capture `name`, and what its encoder made.
fn fixture(name: &str) -> (Vec<Frame>, Bytes) {
    let file = std::fs::read(folder().join(name).with_extension("skycap")).expect("the capture");
    let coded = std::fs::read(folder().join(name).with_extension("coded")).expect("the coded bytes");
    let mut replayed = replay(&file);
    (replayed.frames.remove(&TrackId(0)).expect("track 0 has frames"), coded.into())
}

fn size(frame: &Frame) -> (u32, u32) {
    match &*frame.format {
        Format::Video(video) => (video.width, video.height),
        Format::Audio(_) => (0, 0),
    }
}

#[test]
fn every_capture_gives_frames_that_can_be_decoded_in_sync() {
    let mut captures = 0;
    for entry in std::fs::read_dir(folder()).expect("samples/captures") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "skycap") {
            continue;
        }
        captures += 1;
        let name = path.display();
        let replayed = replay(&std::fs::read(&path).expect("the capture"));
        for (id, stats) in &replayed.stats {
            let frames = replayed.frames.get(id).map_or(&[][..], Vec::as_slice);
            assert!(!frames.is_empty(), "{name}: {id} has no frames: {stats:?}");
            assert_eq!(stats.bad_payloads, 0, "{name}: {id}");
            assert!(frames[0].keyframe, "{name}: {id} begins with a keyframe");
            assert!(frames.iter().all(|f| f.kind() == stats.kind && !f.data.is_empty()), "{name}: {id}");
            assert!(frames.windows(2).all(|pair| pair[0].dts < pair[1].dts), "{name}: {id} DTS");
            assert!(frames.iter().all(|f| f.dts <= f.pts), "{name}: {id} PTS");
            let formats_change_at_keyframes =
                frames.windows(2).all(|pair| pair[0].format == pair[1].format || pair[1].keyframe);
            assert!(formats_change_at_keyframes, "{name}: {id}");
            if stats.kind == TrackKind::Video {
                assert!(frames.iter().all(|f| size(f).0 >= 16 && size(f).1 >= 16), "{name}: {id} size");
            }
            assert!(stats.timeline.error_ns.abs() <= 45_000_000, "{name}: {id} skew: {:?}", stats.timeline);
        }
    }
    assert!(captures >= 5, "only {captures} captures found");
}

#[test]
fn vp8_of_libvpx_comes_out_as_its_encoder_made_it() {
    let (frames, coded) = fixture("gst-vp8");
    assert_eq!(frames.iter().flat_map(|f| f.data.clone()).collect::<Bytes>(), coded);
    assert_eq!((frames.len(), size(&frames[0])), (60, (320, 180)));
    assert_eq!(keyframes(&frames), [0, 30]);
    assert!(frames.windows(2).all(|pair| is_a_thirtieth(pair[1].pts.ticks - pair[0].pts.ticks)));
}

#[test]
fn vp9_of_libvpx_comes_out_as_its_encoder_made_it() {
    let (frames, coded) = fixture("gst-vp9");
    assert_eq!(frames.iter().flat_map(|f| f.data.clone()).collect::<Bytes>(), coded);
    assert_eq!((frames.len(), size(&frames[0])), (60, (320, 180)));
    assert_eq!(keyframes(&frames), [0, 30]);
}

#[test]
fn opus_of_libopus_comes_out_as_its_encoder_made_it() {
    let (frames, coded) = fixture("gst-opus");
    assert_eq!(frames.iter().flat_map(|f| f.data.clone()).collect::<Bytes>(), coded);
    assert!(frames.len() >= 100);
    assert!(frames.iter().all(|f| f.keyframe && f.duration.map(|d| d.ticks) == Some(960)));
    let steps: Vec<i64> = frames.windows(2).map(|pair| pair[1].pts.ticks - pair[0].pts.ticks).collect();
    // The first is shorter by the encoder's pre-skip of 312 samples (RFC 7845 section 5.1).
    assert_eq!(steps[0], 960 - 312);
    assert!(steps[1..].iter().all(|ticks| *ticks == 960), "{steps:?}");
}

#[test]
fn h264_of_x264_comes_out_as_its_encoder_made_it() {
    for (name, reorders) in [("gst-h264", false), ("gst-h264-bframes", true)] {
        let (frames, coded) = fixture(name);
        let kept = |nal: &&[u8]| {
            let kind = nal_unit_type(nal).unwrap_or(0);
            !matches!(kind, nal_type::SPS | nal_type::PPS | nal_type::AUD)
        };
        let expected: Vec<Bytes> = annex_b_nals(&coded).filter(kept).map(Bytes::copy_from_slice).collect();
        let got: Vec<Bytes> = frames
            .iter()
            .flat_map(|f| avcc_nals(&f.data, 4).map(|nal| Bytes::copy_from_slice(nal.expect("a NAL unit"))))
            .collect();
        assert!(got == expected, "{name}: {} NAL units of {}", got.len(), expected.len());
        assert_eq!((frames.len(), size(&frames[0])), (60, (320, 180)), "{name}");
        assert_eq!(keyframes(&frames), [0, 30], "{name}");
        let Format::Video(format) = &*frames[0].format else { panic!("{name} is video") };
        let config = skywave_media::h264::AvcConfig::parse(&format.config).expect("an avcC record");
        let sps = annex_b_nals(&coded).find(|nal| nal_unit_type(nal) == Some(nal_type::SPS));
        assert_eq!(Some(&*config.sps[0]), sps, "{name}");
        assert!(
            frames.windows(2).all(|pair| std::sync::Arc::ptr_eq(&pair[0].format, &pair[1].format)),
            "{name}"
        );
        assert_eq!(frames.iter().any(|f| f.dts != f.pts), reorders, "{name}");
        // Sorted by PTS they are 33.3 ms apart.
        let mut pts: Vec<i64> = frames.iter().map(|f| f.pts.ticks).collect();
        pts.sort_unstable();
        assert!(pts.windows(2).all(|pair| is_a_thirtieth(pair[1] - pair[0])), "{name}: {pts:?}");
    }
}

#[test]
fn av1_of_libaom_comes_out_as_its_encoder_made_it() {
    use rtp::packetizer::Payloader;
    let coded = Bytes::from(std::fs::read(folder().join("gst-av1.coded")).expect("the coded bytes"));
    let delimiter = [0x12, 0x00];
    let starts: Vec<usize> = (0..coded.len() - 1)
        .filter(|at| coded[*at..*at + 2] == delimiter && is_obu_start(&coded, *at))
        .collect();
    let ends = starts.iter().skip(1).copied().chain([coded.len()]);
    let units: Vec<Bytes> = starts.iter().zip(ends).map(|(start, end)| coded.slice(start + 2..end)).collect();
    let mut payloader = rtp::codecs::av1::Av1Payloader::default();
    let mut ingest = Ingest::new(IngestConfig::default(), Mono::from_millis(0));
    ingest.add_track(TrackId(0), TrackKind::Video, Mono::from_millis(0));
    let (mut frames, mut sequence) = (Vec::new(), 0u16);
    for (n, unit) in units.iter().enumerate() {
        let payloads = payloader.payload(600, unit).expect("payloads");
        let count = payloads.len();
        for (index, payload) in payloads.into_iter().enumerate() {
            let packet = skywave_media::packet::Packet {
                ssrc: 1,
                sequence,
                timestamp: n as u32 * 3000,
                marker: index + 1 == count,
                codec: Codec::Av1,
                arrival: Mono::from_nanos(n as u64 * 33_333_333),
                payload,
            };
            sequence += 1;
            ingest.handle_packet(TrackId(0), packet);
            while let Some(output) = ingest.poll_output() {
                let IngestOutput::Frame { frame, .. } = output else { panic!("unexpected {output:?}") };
                frames.push(frame);
            }
        }
    }
    assert!(frames.len() == 60 && frames.iter().map(|f| &f.data).eq(&units));
    assert_eq!(size(&frames[0]), (320, 180));
    assert_eq!(keyframes(&frames), [0, 30]);
    let Format::Video(format) = &*frames[0].format else { panic!("AV1 is video") };
    // Main profile, 8 bits, 4:2:0; then the sequence header OBU as it stands in the stream.
    assert_eq!(format.config[0], 0x81);
    assert_eq!(format.config[2] & 0x7c, 0x0c);
    assert_eq!(format.config[4..], units[0][..format.config.len() - 4]);
}

/// Whether an OBU begins at `at`, by walking the sizes from the start.
fn is_obu_start(data: &[u8], at: usize) -> bool {
    let mut position = 0;
    while position < at {
        let (mut size, mut shift, mut index) = (0usize, 0, position + 1);
        loop {
            size |= usize::from(data[index] & 0x7f) << shift;
            shift += 7;
            index += 1;
            if data[index - 1] & 0x80 == 0 {
                break;
            }
        }
        position = index + size;
    }
    position == at
}

/// GStreamer rounds its timestamps down.
fn is_a_thirtieth(ticks: i64) -> bool {
    (2999..=3001).contains(&ticks)
}

fn keyframes(frames: &[Frame]) -> Vec<usize> {
    frames.iter().enumerate().filter(|(_, frame)| frame.keyframe).map(|(n, _)| n).collect()
}
