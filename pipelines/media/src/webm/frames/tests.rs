//! What ffmpeg has put into files comes out as frames of the shape that everything behind expects.

use super::*;
use crate::h264::{AvcConfig, avcc_nals, avcc_to_annex_b, with_parameter_sets};
use crate::webm::reader::WebmReader;
use proptest::prelude::*;

fn read(data: &[u8]) -> Vec<WebmEvent> {
    let mut reader = WebmReader::new(data);
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

fn frames(maker: &mut FrameMaker, events: &[WebmEvent]) -> Vec<(u64, Frame)> {
    let mut frames = Vec::new();
    for event in events {
        maker.handle_event(event);
        frames.extend(std::iter::from_fn(|| maker.poll_frame()));
    }
    maker.handle_end();
    frames.extend(std::iter::from_fn(|| maker.poll_frame()));
    frames
}

fn of(events: &[WebmEvent]) -> (Vec<Frame>, Vec<Frame>) {
    let mut maker = FrameMaker::new();
    let all = frames(&mut maker, events);
    assert_eq!(
        (maker.tracks(), maker.refusals()),
        (vec![(1, TrackKind::Video), (2, TrackKind::Audio)], &[][..])
    );
    assert_eq!(maker.dropped(), 0);
    let (video, audio): (Vec<_>, Vec<_>) = all.into_iter().partition(|(track, _)| *track == 1);
    let bare = |frames: Vec<(u64, Frame)>| frames.into_iter().map(|(_, frame)| frame).collect();
    (bare(video), bare(audio))
}

const VP8: &[u8] = include_bytes!("../../../tests/fixtures/webm/vp8-opus.webm");
const VP9: &[u8] = include_bytes!("../../../tests/fixtures/webm/vp9-opus-live.webm");
const AV1: &[u8] = include_bytes!("../../../tests/fixtures/webm/av1-opus.webm");
const H264: &[u8] = include_bytes!("../../../tests/fixtures/webm/h264-opus.mkv");
const B_FRAMES: &[u8] = include_bytes!("../../../tests/fixtures/webm/h264-bframes.mkv");
const PCM: &[u8] = include_bytes!("../../../tests/fixtures/webm/pcm.mkv");

#[test]
fn every_codec_has_its_size_its_keyframes_and_exact_times() {
    for (data, codec) in [(VP8, Codec::Vp8), (VP9, Codec::Vp9), (AV1, Codec::Av1), (H264, Codec::H264)] {
        let (video, audio) = of(&read(data));
        assert_eq!(video.len(), 10, "{codec:?}");
        for (n, frame) in video.iter().enumerate() {
            let Format::Video(format) = &*frame.format else { panic!() };
            assert_eq!((format.codec, format.width, format.height), (codec, 160, 90));
            assert_eq!(format.config.is_empty(), matches!(codec, Codec::Vp8 | Codec::Vp9));
            assert!(Arc::ptr_eq(&frame.format, &video[0].format));
            assert_eq!(frame.pts, MediaTime::from_90k((7 + 100 * n as i64) * 90), "{codec:?}");
            assert_eq!((frame.dts, frame.keyframe), (frame.pts, n % 5 == 0), "{codec:?} {n}");
        }
        assert_eq!(audio.len(), 51);
        let Format::Audio(format) = &*audio[0].format else { panic!() };
        assert_eq!((format.codec, format.sample_rate, format.channels), (Codec::Opus, 48_000, 1));
        // A file's 0 ms less 6.5 ms of delay; then whole milliseconds.
        assert_eq!(audio[0].pts, MediaTime::from_48k(-312));
        assert_eq!(audio[1].pts, MediaTime::from_48k(21 * 48 - 312));
        assert!(audio.iter().all(|frame| frame.duration == Some(MediaTime::from_48k(960)) && frame.keyframe));
    }
}

#[test]
fn av1_has_no_temporal_delimiters_and_keyframes_have_their_sequence_header() {
    let (video, _) = of(&read(AV1));
    for frame in &video {
        assert_eq!(frame.data[0] >> 3 & 0x0f == 1, frame.keyframe, "a sequence header comes first, or none");
        assert_ne!(frame.data[0] >> 3 & 0x0f, 2);
    }
    // Taken out of the blocks, it is put back from the `av1C`; a temporal delimiter is taken out.
    let mut events = read(AV1);
    for event in &mut events {
        if let WebmEvent::Block(block) = event
            && block.track == 1
        {
            let header = if block.data[0] == 0x0a { 2 + usize::from(block.data[1]) } else { 0 };
            block.data = [&[0x12, 0x00], &block.data[header..]].concat().into();
        }
    }
    assert_eq!(of(&events).0, video);
}

#[test]
fn h264_is_the_same_in_every_framing() {
    let events = read(H264);
    let expected = of(&events);
    let Format::Video(format) = &*expected.0[0].format else { panic!() };
    for frame in &expected.0 {
        let types: Vec<u8> = avcc_nals(&frame.data, 4).map(|nal| nal.unwrap()[0] & 0x1f).collect();
        assert!(types.iter().all(|kind| matches!(kind, 1 | 5 | 6)), "{types:?}");
    }
    // As Chromium's recorder wrote it: Annex B, parameter sets in band, no `avcC`.
    let mut annex_b = events.clone();
    // And lengths of two bytes.
    let mut short = events;
    for event in annex_b.iter_mut() {
        match event {
            WebmEvent::Begin(tracks) => tracks[0].config.clear(),
            WebmEvent::Block(block) if block.track == 1 => {
                let data = match block.keyframe {
                    true => with_parameter_sets(&format.config, &block.data).unwrap(),
                    false => block.data.clone(),
                };
                block.data = avcc_to_annex_b(&data).unwrap();
            }
            WebmEvent::Block(_) => {}
        }
    }
    assert_eq!(of(&annex_b), expected);
    for event in short.iter_mut() {
        match event {
            WebmEvent::Begin(tracks) => {
                let mut config = AvcConfig::parse(&tracks[0].config).unwrap();
                config.length_size = 2;
                tracks[0].config = config.build().unwrap();
            }
            WebmEvent::Block(block) if block.track == 1 => {
                let nals = avcc_nals(&block.data, 4).map(|nal| nal.unwrap());
                let framed = nals.map(|nal| [&(nal.len() as u16).to_be_bytes(), nal].concat());
                block.data = framed.collect::<Vec<_>>().concat().into();
            }
            WebmEvent::Block(_) => {}
        }
    }
    assert_eq!(of(&short), expected);
}

#[test]
fn pictures_out_of_order_have_decoding_times_that_grow() {
    let (video, _) = of(&read(B_FRAMES));
    let ms = |time: MediaTime| time.ticks / 90;
    let pts: Vec<i64> = video.iter().map(|frame| ms(frame.pts)).collect();
    assert_eq!(pts[..5], [7, 307, 107, 207, 607], "in decoding order");
    let mut dts: Vec<i64> = video.iter().map(|frame| ms(frame.dts)).collect();
    assert!(video.iter().all(|frame| frame.dts <= frame.pts));
    assert!(dts.windows(2).all(|pair| pair[0] < pair[1]), "{dts:?}");
    let mut shown = pts;
    shown.sort_unstable();
    shown.truncate(dts.len() - 2);
    assert_eq!(dts.split_off(2), shown, "two pictures ahead: x264 says so in its SPS");
}

#[test]
fn two_pictures_in_one_millisecond_stay_two() {
    let mut events = read(VP8);
    let times: Vec<&mut i64> = events
        .iter_mut()
        .filter_map(|event| match event {
            WebmEvent::Block(block) if block.track == 1 => Some(&mut block.time_ns),
            _ => None,
        })
        .collect();
    for time in times.into_iter().take(2) {
        *time = 0;
    }
    let (video, _) = of(&events);
    let ticks: Vec<i64> = video.iter().map(|frame| frame.pts.ticks).collect();
    assert_eq!(ticks[..3], [0, 1, 207 * 90]);
    assert!(video.iter().all(|frame| frame.pts == frame.dts));
}

#[test]
fn what_cannot_be_taken_is_refused_in_words() {
    let mut maker = FrameMaker::new();
    assert!(frames(&mut maker, &read(PCM)).is_empty());
    let reason = "PCM is not taken, only Opus".to_owned();
    assert_eq!(maker.refusals(), [Refusal { track: 1, kind: Some(TrackKind::Audio), reason }]);
    assert_eq!((maker.tracks(), maker.dropped()), (vec![], 0));
}

#[test]
fn pictures_without_what_they_are_predicted_from_are_dropped() {
    let mut events = read(VP8);
    let mut pictures = 0;
    for event in &mut events {
        if let WebmEvent::Block(block) = event
            && block.track == 1
        {
            pictures += 1;
            match pictures {
                1 => block.data = block.data.slice(..5), // a keyframe that is cut
                8 => block.data = Bytes::new(),
                _ => {}
            }
        }
    }
    let mut maker = FrameMaker::new();
    let all = frames(&mut maker, &events);
    let video: Vec<bool> = all.iter().filter(|(track, _)| *track == 1).map(|(_, f)| f.keyframe).collect();
    assert_eq!((video, maker.dropped()), (vec![true, false, false, false], 6));
}

#[test]
fn another_beginning_starts_anew() {
    let both = [read(B_FRAMES), read(VP9)].concat();
    let mut maker = FrameMaker::new();
    let all = frames(&mut maker, &both);
    let video: Vec<Codec> = all.iter().filter(|f| f.0 == 1).map(|f| f.1.format.codec()).collect();
    assert_eq!(video, [[Codec::H264; 10], [Codec::Vp9; 10]].concat());
}

proptest! {
    #[test]
    fn damaged_files_never_make_it_panic(
        which in 0usize..5,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
    ) {
        let mut data = [VP8, VP9, AV1, H264, B_FRAMES][which].to_vec();
        for (at, byte) in changes {
            let at = at.index(data.len());
            data[at] = byte;
        }
        let mut reader = WebmReader::new(&*data);
        let mut maker = FrameMaker::new();
        let mut last = None;
        while let Ok(Some(event)) = reader.next() {
            if matches!(event, WebmEvent::Begin(_)) {
                last = None;
            }
            maker.handle_event(&event);
            while let Some((track, frame)) = maker.poll_frame() {
                if track == 1 && last.is_some() && frame.kind() == TrackKind::Video {
                    prop_assert!(last < Some(frame.dts) && frame.dts <= frame.pts);
                }
                if track == 1 && frame.kind() == TrackKind::Video {
                    last = Some(frame.dts);
                }
            }
        }
    }
}
