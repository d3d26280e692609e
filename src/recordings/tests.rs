use super::writer::{Piece, Writer};
use super::*;
use bytes::Bytes;
use skywave_media::codec::{Codec, Format, TrackKind, VideoFormat};
use skywave_media::frame::Frame;
use skywave_media::recording::{Recorder, RecorderConfig, RecorderOutput};
use skywave_media::time::{MediaTime, Mono};
use skywave_media::webm::archive::{ArchiveConfig, Archiver};
use skywave_media::webm::frames::FrameMaker;
use skywave_media::webm::reader::WebmReader;
use std::time::Instant;

fn config(folder: &Path) -> Config {
    let mut config = Config::default();
    config.storage.data_dir = folder.to_owned();
    config.recording.free_floor_bytes = 0;
    // The child would be this test.
    config.recording.pictures = false;
    config
}

fn stream() -> StreamName {
    "demo".parse().unwrap()
}

/// What a recorder makes of so many seconds of pictures.
fn pieces(seconds: i64) -> Vec<Piece> {
    let config =
        [1, 0x42, 0xE0, 0x1F, 0xFF, 0xE1, 0, 4, 0x67, 0x42, 0xE0, 0x1F, 1, 0, 4, 0x68, 0xCE, 0x3C, 0x80];
    let video = VideoFormat { codec: Codec::H264, width: 320, height: 180, config: config.to_vec().into() };
    let format = Arc::new(Format::Video(video));
    let mut recorder = Recorder::new(RecorderConfig::default());
    let mut out = Vec::new();
    for number in 0..seconds * 30 {
        let pts = MediaTime::from_90k(number * 3000);
        let keyframe = number % 60 == 0;
        let data = Bytes::from_static(&[0, 0, 0, 2, 0x65, 1]);
        let frame = Frame { format: Arc::clone(&format), pts, dts: pts, duration: None, keyframe, data };
        recorder.handle_frame(&frame, Mono::from_nanos(pts.as_nanos().cast_unsigned())).unwrap();
    }
    recorder.end(Mono::from_millis(seconds.cast_unsigned() * 1000));
    while let Some(output) = recorder.poll_output() {
        out.push(match output {
            RecorderOutput::Begin { .. } => {
                Piece::Begin { begun: UnixTime::from_micros(1_795_348_800_000_000) }
            }
            RecorderOutput::Append { bytes, duration } => Piece::Append { bytes, duration },
            RecorderOutput::End => Piece::End,
        });
    }
    out
}

/// What an archiver makes of a second of VP8 and Opus.
fn archived() -> Vec<Piece> {
    let file = include_bytes!("../../pipelines/media/tests/fixtures/webm/vp8-opus.webm");
    let (mut reader, mut maker) = (WebmReader::new(&file[..]), FrameMaker::new());
    let mut archiver = Archiver::new(ArchiveConfig::default());
    [TrackKind::Video, TrackKind::Audio].into_iter().for_each(|kind| archiver.expect(kind));
    while let Some(event) = reader.next().unwrap() {
        maker.handle_event(&event);
        while let Some((_, frame)) = maker.poll_frame() {
            archiver.handle_frame(&frame, Mono::from_millis(0));
        }
    }
    archiver.end(Mono::from_millis(0));
    let begun = UnixTime::from_micros(1_795_348_800_000_000);
    std::iter::from_fn(|| archiver.poll_output())
        .map(|output| match output {
            RecorderOutput::Begin { .. } => Piece::Begin { begun },
            RecorderOutput::Append { bytes, duration } => Piece::Append { bytes, duration },
            RecorderOutput::End => Piece::End,
        })
        .collect()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "waiting for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The next start of the server: the lock goes with the last who holds the library.
fn reopen(library: Arc<Library>, folder: &Path) -> Arc<Library> {
    let last = Arc::downgrade(&library);
    drop(library);
    until("the library to be let go", || last.strong_count() == 0);
    Library::open(&config(folder))
}

fn record(library: &Arc<Library>, seconds: i64) -> Manifest {
    let writer = Writer::start(library, &stream(), "t1", Container::Mp4).unwrap();
    for piece in pieces(seconds) {
        writer.push(piece).unwrap();
    }
    drop(writer);
    until("the recording to be finished", || library.busy.load(Ordering::Acquire) == 0);
    library.list().pop().unwrap()
}

#[test]
fn a_recording_is_finished_and_found_again_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let library = Library::open(&config(folder.path()));
    let manifest = record(&library, 4);
    assert_eq!((manifest.state, manifest.duration_ms, manifest.id.as_str()), (State::Ready, 4000, "t1"));
    let files = library.files(&stream(), "t1");
    assert!(files.mp4().exists() && !files.part().exists() && !files.tmp().exists());
    let hash = openssl::sha::sha256(&fs::read(files.mp4()).unwrap());
    assert_eq!(manifest.sha256, Some(finisher::hex(&hash)));
    let again = reopen(library, folder.path());
    assert_eq!(again.list(), [manifest]);
    assert_eq!(record(&again, 2).id, "t1-2", "a take with several recordings numbers them");
}

#[test]
fn what_a_crash_has_cut_off_is_repaired_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let library = Library::open(&config(folder.path()));
    let manifest =
        library.begin(&stream(), "t1", Container::Mp4, UnixTime::from_micros(1_795_348_800_000_000)).unwrap();
    let files = library.files(&stream(), &manifest.id);
    let mut part = Vec::new();
    for piece in pieces(6) {
        if let Piece::Append { bytes, .. } = piece {
            part.extend_from_slice(&bytes);
        }
    }
    fs::write(files.part(), &part[..part.len() - 3]).unwrap();
    fs::write(files.tmp(), b"half a file").unwrap();
    let library = reopen(library, folder.path());
    until("the repair", || library.busy.load(Ordering::Acquire) == 0);
    let manifest = library.get(&stream(), "t1").unwrap();
    assert_eq!(manifest.state, State::Repaired);
    assert!(manifest.reason.as_ref().is_some_and(|r| r.contains("not whole")), "{manifest:?}");
    assert!((5000..6000).contains(&manifest.duration_ms), "{manifest:?}");
    assert!(!files.part().exists() && !files.tmp().exists());
}

#[test]
fn what_was_published_is_finished_repaired_and_verified_as_webm() {
    let folder = tempfile::tempdir().unwrap();
    let library = Library::open(&config(folder.path()));
    let writer = Writer::start(&library, &stream(), "t1", Container::Webm).unwrap();
    archived().into_iter().for_each(|piece| writer.push(piece).unwrap());
    drop(writer);
    until("the archive to be finished", || library.busy.load(Ordering::Acquire) == 0);
    let manifest = library.get(&stream(), "t1-source").unwrap();
    let codecs: Vec<_> = manifest.tracks.iter().map(|track| (track.codec.as_str(), track.samples)).collect();
    assert_eq!((manifest.state, codecs), (State::Ready, vec![("vp8", 10), ("opus", 51)]));
    let files = library.files(&stream(), "t1-source");
    assert!(files.webm().exists() && !files.part().exists());
    finisher::verify(&files, &manifest).unwrap();

    // Cut in its last block, and then without a manifest too.
    let cut = library.files(&stream(), "t2-source");
    let whole: Vec<u8> = archived()
        .into_iter()
        .flat_map(|piece| if let Piece::Append { bytes, .. } = piece { bytes.to_vec() } else { Vec::new() })
        .collect();
    let last_block = whole.windows(4).rposition(|four| four[0] == 0xa3).unwrap();
    fs::write(cut.part(), &whole[..last_block + 3]).unwrap();
    let library = reopen(library, folder.path());
    until("the repair", || library.busy.load(Ordering::Acquire) == 0);
    assert_eq!(library.get(&stream(), "t1-source"), Some(manifest));
    let repaired = library.get(&stream(), "t2-source").unwrap();
    assert_eq!((repaired.state, repaired.container), (State::Repaired, Container::Webm));
    finisher::verify(&cut, &repaired).unwrap();
    library.remove(&stream(), "t2-source").unwrap();
    assert!(!cut.webm().exists() && !cut.json().exists());
}

#[test]
fn a_recording_without_manifest_is_taken_in_and_one_without_a_frame_removed() {
    let folder = tempfile::tempdir().unwrap();
    let library = Library::open(&config(folder.path()));
    record(&library, 2);
    let files = library.files(&stream(), "t1");
    fs::remove_file(files.json()).unwrap();
    fs::write(files.folder().join("t2.part"), b"").unwrap();
    let library = reopen(library, folder.path());
    until("the empty one to be gone", || library.get(&stream(), "t2").is_none());
    let manifest = library.get(&stream(), "t1").unwrap();
    assert!(manifest.is_playable() && manifest.duration_ms == 2000, "{manifest:?}");
}

#[test]
fn protected_ones_stay_and_removed_ones_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let library = Library::open(&config(folder.path()));
    record(&library, 2);
    assert!(library.protect(&stream(), "t1", true).unwrap().protected);
    assert!(library.get(&stream(), "t1").unwrap().protected);
    assert!(matches!(library.remove(&stream(), "t9"), Err(ChangeError::Unknown(..))));
    library.remove(&stream(), "t1").unwrap();
    assert_eq!(fs::read_dir(library.files(&stream(), "t1").folder()).unwrap().count(), 0);
}

#[test]
fn a_full_disk_stops_the_recording_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.recording.free_floor_bytes = u64::MAX;
    let library = Library::open(&config);
    let writer = Writer::start(&library, &stream(), "t1", Container::Mp4).unwrap();
    let mut reason = None;
    for piece in pieces(2) {
        reason = reason.or(writer.push(piece).err());
    }
    until("the writer to give up", || writer.progress().failed.is_some());
    assert!(writer.progress().failed.is_some_and(|words| words.contains("free_floor_bytes")));
    assert!(writer.push(Piece::End).is_err());
}

#[test]
fn two_servers_never_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = Library::open(&config(folder.path()));
    record(&first, 2);
    let second = Library::open(&config(folder.path()));
    assert_eq!(second.list(), []);
    let refused = second.begin(&stream(), "t2", Container::Mp4, UnixTime::from_micros(0)).unwrap_err();
    assert!(refused.to_string().contains("storage.data_dir"), "{refused}");
    drop(first);
    until("the first one's thread to let go", || {
        second.begin(&stream(), "t2", Container::Mp4, UnixTime::from_micros(0)).is_ok()
    });
}
