use super::*;
use crate::codec::{AudioFormat, Codec, VideoFormat};
use proptest::prelude::*;

fn opus() -> Arc<Format> {
    let format = AudioFormat { codec: Codec::Opus, sample_rate: 48_000, channels: 2, config: Bytes::new() };
    Arc::new(Format::Audio(format))
}

fn vp8(width: u32) -> Arc<Format> {
    Arc::new(Format::Video(VideoFormat { codec: Codec::Vp8, width, height: 360, config: Bytes::new() }))
}

fn frame(format: &Arc<Format>, ticks: i64, keyframe: bool, size: usize) -> Frame {
    let pts = MediaTime::from_90k(ticks);
    let data = Bytes::from(vec![7; size]);
    Frame { format: format.clone(), pts, dts: pts, duration: None, keyframe, data }
}

fn out(id: u8, width: u32, height: u32) -> VideoOut {
    VideoOut {
        id: OutputId(id),
        width,
        height,
        fps: 30,
        encoder: Encoder::default(),
        bitrate_bps: 2_500_000,
        keyframe_interval: Duration::from_secs(2),
        resume_at: Some(MediaTime::from_90k(-3000)),
    }
}

fn config() -> WorkerConfig {
    WorkerConfig {
        stream: "demo".into(),
        epoch: Mono::from_millis(12_345),
        max_wait: DEFAULT_MAX_WAIT,
        video: vec![out(0, 1280, 720), out(1, 854, 480)],
        pace: Pace::Constant,
        thumbnail: Some(ThumbnailOut { width: 320, height: 180, interval: Duration::from_secs(5) }),
        slate: Some(Slate::Picture(Bytes::from_static(b"png"))),
        audio: Some(AudioOut { bitrate_bps: 128_000, resume_at: None }),
    }
}

#[test]
fn a_frame_carries_its_format_only_when_it_changes() {
    let (mut sender, mut receiver) = (FrameSender::default(), FrameReceiver::default());
    let sent = [
        frame(&vp8(640), 0, true, 3),
        frame(&vp8(640), 3000, false, 2),
        frame(&opus(), 0, true, 1),
        frame(&vp8(320), 6000, true, 3),
        frame(&opus(), 960, true, 1),
    ];
    let messages: Vec<_> = sent.iter().map(|f| sender.message(f)).collect();
    let with_format: Vec<_> = messages.iter().map(|m| m.format.is_some()).collect();
    assert_eq!(with_format, [true, false, true, true, false]);
    let received: Vec<_> = messages.into_iter().map(|m| receiver.frame(m).unwrap()).collect();
    assert_eq!(received, sent);
}

#[test]
fn a_frame_without_any_format_is_no_frame() {
    let mut message = FrameSender::default().message(&frame(&opus(), 0, true, 1));
    message.format = None;
    assert_eq!(FrameReceiver::default().frame(message), None);
}

#[test]
fn a_length_beyond_the_maximum_breaks_the_stream_before_its_bytes_come() {
    let mut reader = MessageReader::<ToWorker>::new();
    reader.handle_bytes(&u32::try_from(MAX_MESSAGE_BYTES + 1).unwrap().to_le_bytes());
    let error = ProtoError::TooLarge { size: MAX_MESSAGE_BYTES + 1 };
    assert_eq!(reader.poll(), Err(error.clone()));
    reader.handle_bytes(&[1; 1000]);
    assert_eq!(reader.poll(), Err(error));
    assert!(reader.is_at_border(), "nothing is kept after an error");
}

#[test]
fn a_message_too_large_is_refused_and_leaves_the_output_as_it_was() {
    let mut out = vec![1, 2, 3];
    let message = FrameSender::default().message(&frame(&vp8(640), 0, true, MAX_MESSAGE_BYTES));
    assert!(matches!(encode(&ToWorker::Frame(message), &mut out), Err(ProtoError::TooLarge { .. })));
    assert_eq!(out, [1, 2, 3]);
}

#[test]
fn a_clock_that_does_not_tick_is_refused_on_both_sides() {
    let mut message = FrameSender::default().message(&frame(&vp8(640), 0, true, 1));
    message.pts.rate = 0;
    let message = FromWorker::Frame(message);
    assert_eq!(encode(&message, &mut Vec::new()), Err(ProtoError::OutOfRange("time")));
    let body = postcard::to_allocvec(&message).unwrap();
    let mut reader = MessageReader::<FromWorker>::new();
    reader.handle_bytes(&u32::try_from(body.len()).unwrap().to_le_bytes());
    reader.handle_bytes(&body);
    assert_eq!(reader.poll(), Err(ProtoError::OutOfRange("time")));
}

#[test]
fn odd_sizes_a_frame_rate_of_zero_and_renditions_that_do_not_fit_together_are_refused() {
    let out_of_range = |change: fn(&mut VideoOut)| {
        let mut config = config();
        change(&mut config.video[1]);
        encode(&ToWorker::Configure(config), &mut Vec::new()).unwrap_err()
    };
    assert_eq!(out_of_range(|v| v.width = 1279), ProtoError::OutOfRange("picture size"));
    assert_eq!(out_of_range(|v| v.fps = 0), ProtoError::OutOfRange("frame rate"));
    assert_eq!(out_of_range(|v| v.id = OutputId(16)), ProtoError::OutOfRange("number of a video output"));
    assert_eq!(out_of_range(|v| v.id = OutputId(0)), ProtoError::OutOfRange("video outputs of one number"));
    let apart = ProtoError::OutOfRange("video outputs of different frame rates or keyframe grids");
    assert_eq!(out_of_range(|v| v.fps = 25), apart);
}

#[test]
fn each_rendition_has_a_format_of_its_own() {
    let (mut sender, mut receiver) = (FrameSender::default(), FrameReceiver::default());
    let sent = [(0, vp8(640)), (1, vp8(320)), (0, vp8(640)), (1, vp8(320)), (1, vp8(160)), (0, vp8(640))];
    let messages: Vec<_> = sent
        .iter()
        .map(|(id, format)| sender.message_of(OutputId(*id), &frame(format, 0, true, 1)))
        .collect();
    let with_format: Vec<_> = messages.iter().map(|m| m.format.is_some()).collect();
    assert_eq!(with_format, [true, true, false, false, true, false]);
    let formats: Vec<_> = messages.into_iter().map(|m| receiver.frame(m).unwrap().format).collect();
    assert!(formats.iter().zip(&sent).all(|(received, (_, sent))| received == sent));
}

fn any_message() -> impl Strategy<Value = ToWorker> {
    let frame = (any::<bool>(), any::<i32>(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..300))
        .prop_map(|(video, ticks, keyframe, data)| {
            let format = if video { vp8(640) } else { opus() };
            let mut frame = frame(&format, i64::from(ticks), keyframe, 0);
            frame.data = data.into();
            ToWorker::Frame(FrameSender::default().message(&frame))
        });
    prop_oneof![4 => frame, 1 => Just(ToWorker::Configure(config())), 1 => Just(ToWorker::Shutdown)]
}

proptest! {
    #[test]
    fn messages_survive_any_cut_of_the_stream(
        messages in proptest::collection::vec(any_message(), 0..8),
        cuts in proptest::collection::vec(1usize..40, 1..20),
    ) {
        let mut bytes = Vec::new();
        for message in &messages {
            encode(message, &mut bytes).unwrap();
        }
        let (mut reader, mut read, mut rest) = (MessageReader::<ToWorker>::new(), Vec::new(), &bytes[..]);
        for cut in cuts.iter().cycle() {
            let (chunk, tail) = rest.split_at((*cut).min(rest.len()));
            reader.handle_bytes(chunk);
            while let Some(message) = reader.poll().unwrap() {
                read.push(message);
            }
            rest = tail;
            if rest.is_empty() { break; }
        }
        prop_assert_eq!(read, messages);
        prop_assert!(reader.is_at_border());
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut reader = MessageReader::<FromWorker>::new();
        let length = u32::try_from(bytes.len()).unwrap();
        reader.handle_bytes(&length.to_le_bytes());
        reader.handle_bytes(&bytes);
        while let Ok(Some(_)) = reader.poll() {}
    }
}
