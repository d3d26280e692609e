//! A made-up live stream that keeps every rule: ten pictures a second in H.264, sound, and a playlist of I-frames; parts of 200 ms,
//! segments of 1 s, a window of 12 s, one jump of the timeline with its discontinuity, one date range, and an end.

use std::time::Duration;

use bytes::Bytes;
use hls_check::{Answer, Ask, Event, Nonsense, Piece, SkipAsk};

pub(crate) const URL: &str = "http://host/live/index.m3u8";
pub(crate) const VIDEO: usize = 1;
pub(crate) const AUDIO: usize = 0;
pub(crate) const I_FRAMES: usize = 2;

const PARTS: u64 = 5;
const SEGMENTS: u64 = 30;
const WINDOW: u64 = 12;
/// The segment at which the timeline jumps.
pub(crate) const JUMP: u64 = 8;
const STEP: Duration = Duration::from_millis(200);

pub(crate) fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Milliseconds of media at the beginning of a segment.
fn begin_ms(msn: u64) -> u64 {
    msn * 1000 + if msn >= JUMP { 500 } else { 0 }
}

fn date(msn: u64) -> String {
    let all = begin_ms(msn);
    format!("2026-01-01T00:{:02}:{:02}.{:03}Z", all / 60_000, all / 1000 % 60, all % 1000)
}

fn atom(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let length = 8 + parts.iter().map(|part| part.len()).sum::<usize>();
    let mut bytes = (length as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(kind);
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

/// 320x180, constrained baseline, level 3: the cropped height is 192 - 2 * 6.
const SPS: [u8; 11] = [0x67, 0x42, 0xc0, 0x1e, 0, 0, 0, 0, 0, 0, 0];

fn sps() -> Vec<u8> {
    let mut bits = String::new();
    let mut golomb = |value: u32| {
        let code = format!("{:b}", value + 1);
        bits.push_str(&"0".repeat(code.len() - 1));
        bits.push_str(&code);
    };
    // Id, frame number's length, order by decoding, one reference.
    for value in [0, 0, 2, 1] {
        golomb(value);
    }
    bits.push('0');
    let mut bits = bits + &size_bits();
    // No VUI, and the end.
    bits.push_str("01");
    while !bits.len().is_multiple_of(8) {
        bits.push('0');
    }
    let mut bytes = SPS[..4].to_vec();
    bytes.extend(
        bits.as_bytes().chunks(8).map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | (bit - b'0'))),
    );
    bytes
}

fn size_bits() -> String {
    // Width 20 macroblocks, height 12; frames only; direct inference; cropped by 6 * 2 lines below.
    "000010100".to_owned() + "0001100" + "1" + "1" + "1" + "1" + "1" + "1" + "00111"
}

pub(crate) fn init(rendition: usize) -> Vec<u8> {
    let video = rendition != AUDIO;
    let timescale: u32 = if video { 1000 } else { 48_000 };
    let tkhd = atom(b"tkhd", &[&[0, 0, 0, 3], &[0; 8], &1u32.to_be_bytes(), &[0; 68]]);
    let mdhd = atom(b"mdhd", &[&[0; 12], &timescale.to_be_bytes(), &[0; 8]]);
    let entry = if video {
        let sps = sps();
        let avcc = atom(
            b"avcC",
            &[&[1], &sps[1..4], &[0xff, 0xe1], &(sps.len() as u16).to_be_bytes(), &sps, &[1, 0, 1, 0x68]],
        );
        atom(b"avc1", &[&[0; 78], &avcc])
    } else {
        let specific = [0x05, 2, 0x11, 0x90];
        let config: Vec<u8> = [&[0x04, 13 + 4, 0x40][..], &[0; 12], &specific].concat();
        let es: Vec<u8> = [&[0x03, 3 + config.len() as u8, 0, 1, 0][..], &config].concat();
        atom(b"mp4a", &[&[0; 28], &atom(b"esds", &[&[0; 4], &es])])
    };
    let stsd = atom(b"stsd", &[&[0; 4], &1u32.to_be_bytes(), &entry]);
    let stbl = atom(b"stbl", &[&stsd]);
    let mdia = atom(b"mdia", &[&mdhd, &atom(b"minf", &[&stbl])]);
    let trex = atom(b"trex", &[&[0; 4], &1u32.to_be_bytes(), &1u32.to_be_bytes(), &[0; 12]]);
    let moov = atom(b"moov", &[&atom(b"trak", &[&tkhd, &mdia]), &atom(b"mvex", &[&trex])]);
    [atom(b"ftyp", &[b"cmfc\0\0\0\0"]), moov].concat()
}

pub(crate) fn fragment(time: u64, samples: &[(u32, bool, Vec<u8>)]) -> Vec<u8> {
    let tfhd = atom(b"tfhd", &[&[0, 2, 0, 0], &1u32.to_be_bytes()]);
    let tfdt = atom(b"tfdt", &[&[1, 0, 0, 0], &time.to_be_bytes()]);
    let mut run = vec![0, 0, 7, 1];
    run.extend((samples.len() as u32).to_be_bytes());
    run.extend(0u32.to_be_bytes());
    for (duration, sync, data) in samples {
        let flags: u32 = if *sync { 0x0200_0000 } else { 0x0101_0000 };
        for field in [*duration, data.len() as u32, flags] {
            run.extend(field.to_be_bytes());
        }
    }
    let traf = atom(b"traf", &[&tfhd, &tfdt, &atom(b"trun", &[&run])]);
    let data: Vec<&[u8]> = samples.iter().map(|(_, _, data)| &data[..]).collect();
    [atom(b"moof", &[&atom(b"mfhd", &[&[0; 8]]), &traf]), atom(b"mdat", &data)].concat()
}

pub(crate) fn picture(idr: bool, seed: u64) -> Vec<u8> {
    let mut unit = vec![if idr { 0x65 } else { 0x41 }];
    unit.extend(seed.to_be_bytes().iter().map(|byte| byte | 1));
    [&(unit.len() as u32).to_be_bytes()[..], &unit].concat()
}

/// The bytes of a part.
pub(crate) fn part(rendition: usize, msn: u64, index: u64) -> Vec<u8> {
    let at_ms = begin_ms(msn) + index * 200;
    if rendition == AUDIO {
        let frames: Vec<_> = (0..10).map(|n| (960, true, (at_ms + n).to_be_bytes().to_vec())).collect();
        return fragment(at_ms * 48, &frames);
    }
    let sample = |n: u64| {
        let idr = index == 0 && n == 0;
        (100, idr, picture(idr, at_ms + n))
    };
    if index == 0 {
        // The I-frame stands in a fragment of its own, so that the I-frame playlist can name it.
        return [fragment(at_ms, &[sample(0)]), fragment(at_ms + 100, &[sample(1)])].concat();
    }
    fragment(at_ms, &[sample(0), sample(1)])
}

pub(crate) fn segment(rendition: usize, msn: u64) -> Vec<u8> {
    (0..PARTS).flat_map(|index| part(rendition, msn, index)).collect()
}

fn i_frame(msn: u64) -> Vec<u8> {
    fragment(begin_ms(msn), &[(100, true, picture(true, begin_ms(msn)))])
}

/// A playlist when `published` parts are there.
fn playlist(rendition: usize, published: u64, skip: bool, ended: bool) -> String {
    let complete = published / PARTS;
    let first = complete.saturating_sub(WINDOW);
    let i_frames = rendition == I_FRAMES;
    let skipped = if skip { (complete - first).saturating_sub(6) } else { 0 };
    let version = if skip { 9 } else { 6 };
    let mut lines =
        vec!["#EXTM3U".to_owned(), format!("#EXT-X-VERSION:{version}"), "#EXT-X-TARGETDURATION:1".to_owned()];
    if i_frames {
        lines.push("#EXT-X-I-FRAMES-ONLY".to_owned());
    } else {
        lines.push("#EXT-X-INDEPENDENT-SEGMENTS".to_owned());
        lines.push("#EXT-X-PART-INF:PART-TARGET=0.2".to_owned());
    }
    lines.push(
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=6.0,HOLD-BACK=3.0,PART-HOLD-BACK=0.6"
            .to_owned(),
    );
    lines.push(format!("#EXT-X-MEDIA-SEQUENCE:{first}"));
    lines.push(format!("#EXT-X-DISCONTINUITY-SEQUENCE:{}", u64::from(first > JUMP)));
    if skipped > 0 {
        lines.push(format!("#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}"));
    } else {
        lines.push("#EXT-X-MAP:URI=\"init.mp4\"".to_owned());
    }
    for msn in first + skipped..=complete {
        let open = if msn < complete { PARTS } else { published % PARTS };
        if (open == 0 || i_frames) && msn == complete {
            break;
        }
        if msn == JUMP {
            lines.push("#EXT-X-DISCONTINUITY".to_owned());
        }
        lines.push(format!("#EXT-X-PROGRAM-DATE-TIME:{}", date(msn)));
        let listed = if msn + 3 >= complete && !i_frames { open } else { 0 };
        for index in 0..listed {
            let independent = if index == 0 || rendition == AUDIO { ",INDEPENDENT=YES" } else { "" };
            lines.push(format!("#EXT-X-PART:DURATION=0.20000,URI=\"{msn}.{index}.m4s\"{independent}"));
        }
        if msn == complete {
            break;
        }
        lines.push("#EXTINF:1.00000,".to_owned());
        if i_frames {
            lines.push(format!("#EXT-X-BYTERANGE:{}@0", i_frame(msn).len()));
            lines.push(format!("../v/{msn}.m4s"));
        } else {
            lines.push(format!("{msn}.m4s"));
        }
    }
    // Its dates are those of segments 10 to 12.
    if published >= 10 * PARTS && first <= 12 {
        lines.push(format!(
            "#EXT-X-DATERANGE:ID=\"ad\",START-DATE=\"{}\",DURATION=3.0,SCTE35-OUT=0xFC30",
            date(10)
        ));
    }
    if ended {
        lines.push("#EXT-X-ENDLIST".to_owned());
    } else if !i_frames {
        lines.push(format!("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{complete}.{}.m4s\"", published % PARTS));
        let (msn, last) = ((published - 1) / PARTS, (published - 1) % PARTS);
        let other = if rendition == AUDIO { "v" } else { "a" };
        lines.push(format!(
            "#EXT-X-RENDITION-REPORT:URI=\"../{other}/index.m3u8\",LAST-MSN={msn},LAST-PART={last}"
        ));
    }
    lines.join("\n") + "\n"
}

pub(crate) fn answer(
    asked: Duration,
    done: Duration,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Answer { asked, began: done, done, status: 200, headers, body: body.into() }
}

const KIND: (&str, &str) = ("content-type", "application/vnd.apple.mpegurl");

fn media_answer(done: Duration, body: Vec<u8>) -> Answer {
    answer(done.saturating_sub(ms(2)), done, &[("cache-control", "max-age=3600, immutable")], body)
}

const MULTIVARIANT: &str = "#EXTM3U
#EXT-X-VERSION:6
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Main\",DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"2\",URI=\"a/index.m3u8\"
#EXT-X-STREAM-INF:BANDWIDTH=40000,AVERAGE-BANDWIDTH=30000,CODECS=\"avc1.42c01e,mp4a.40.2\",RESOLUTION=320x180,FRAME-RATE=10.000,AUDIO=\"audio\"
v/index.m3u8
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=20000,CODECS=\"avc1.42c01e\",RESOLUTION=320x180,URI=\"i/index.m3u8\"
";

/// When the `n`th part was published.
pub(crate) fn at(published: u64) -> Duration {
    STEP * u32::try_from(published).unwrap()
}

/// Everything that was asked and answered, in the order of its end.
pub(crate) fn events() -> Vec<Event> {
    let mut events = vec![Event::Multivariant(answer(ms(0), ms(1), &[KIND], MULTIVARIANT))];
    let last = SEGMENTS * PARTS;
    for published in 1..=last {
        for rendition in [AUDIO, VIDEO] {
            step(&mut events, rendition, published);
        }
        if published % PARTS == 0 {
            i_frames(&mut events, published);
        }
    }
    let now = at(last) + ms(150);
    for rendition in [AUDIO, VIDEO, I_FRAMES] {
        let text = playlist(rendition, last, false, true);
        let ended = answer(now, now + ms(1), &[KIND, ("cache-control", "max-age=1")], text);
        events.push(Event::Playlist(rendition, Ask::default(), ended));
    }
    events
}

fn step(events: &mut Vec<Event>, rendition: usize, published: u64) {
    let now = at(published);
    let (msn, index) = ((published - 1) / PARTS, (published - 1) % PARTS);
    let before = at(published - 1) + ms(10);
    let hinted = published > 1;
    if hinted {
        let held =
            answer(before, now + ms(2), &[("cache-control", "max-age=3600")], part(rendition, msn, index));
        events.push(Event::Hint(rendition, format!("{msn}.{index}.m4s"), held));
    }
    let ask = if hinted { Ask { msn: Some(msn), part: Some(index), skip: None } } else { Ask::default() };
    let cache = ("cache-control", if hinted { "max-age=6" } else { "max-age=1" });
    let full = answer(before, now + ms(3), &[KIND, cache], playlist(rendition, published, false, false));
    events.push(Event::Playlist(rendition, ask, full.clone()));
    if !hinted {
        events.push(Event::Map(rendition, "init.mp4".to_owned(), media_answer(now + ms(4), init(rendition))));
        events.push(Event::Media(
            rendition,
            Piece::Part(0, 0),
            media_answer(now + ms(5), part(rendition, 0, 0)),
        ));
    }
    if published.is_multiple_of(7) && published > 50 {
        let text = playlist(rendition, published, true, false);
        let delta = answer(before, now + ms(4), &[KIND, cache], text);
        events.push(Event::Playlist(rendition, Ask { skip: Some(SkipAsk::Segments), ..ask }, delta));
    }
    if published.is_multiple_of(PARTS) {
        let whole = media_answer(now + ms(8), segment(rendition, msn));
        events.push(Event::Media(rendition, Piece::Segment(msn), whole));
    }
    if published == 100 {
        aside(events, rendition, now, &full);
    }
}

fn aside(events: &mut Vec<Event>, rendition: usize, now: Duration, full: &Answer) {
    let refused = || Answer { status: 400, ..answer(now + ms(10), now + ms(12), &[], "") };
    for (why, query) in [
        (Nonsense::PartAlone, "_HLS_part=0"),
        (Nonsense::TooFar, "_HLS_msn=120"),
        (Nonsense::NoNumber, "_HLS_msn=x"),
    ] {
        events.push(Event::Nonsense(rendition, why, query.to_owned(), refused()));
    }
    let gone = media_answer(now + ms(13), segment(rendition, 7));
    events.push(Event::Removed(rendition, Piece::Segment(7), gone.clone()));
    events.push(Event::Removed(rendition, Piece::Part(15, 0), gone));
    events.push(Event::Encoded(rendition, "gzip".to_owned(), full.clone(), full.clone()));
    // A place that was passed long ago.
    let ask = Ask { msn: Some(0), part: Some(0), skip: None };
    events.push(Event::Playlist(
        rendition,
        ask,
        Answer { asked: now + ms(14), began: now + ms(15), done: now + ms(15), ..full.clone() },
    ));
}

fn i_frames(events: &mut Vec<Event>, published: u64) {
    let now = at(published);
    let msn = published / PARTS - 1;
    let text = playlist(I_FRAMES, published, false, false);
    let ask = if msn > 0 { Ask { msn: Some(msn), ..Ask::default() } } else { Ask::default() };
    let cache = ("cache-control", if msn > 0 { "max-age=6" } else { "max-age=1" });
    events.push(Event::Playlist(
        I_FRAMES,
        ask,
        answer(now.saturating_sub(ms(900)), now + ms(3), &[KIND, cache], text),
    ));
    if msn == 0 {
        events.push(Event::Map(I_FRAMES, "init.mp4".to_owned(), media_answer(now + ms(4), init(I_FRAMES))));
    }
    events.push(Event::Media(I_FRAMES, Piece::Segment(msn), media_answer(now + ms(9), i_frame(msn))));
}
