//! HLS playlists of a recording: byte ranges of its one file (RFC 8216 sections 4.3.2.2, 4.3.2.5, 4.3.3.6). Pure.

use m3u8_rs::{
    ByteRange, Map, MasterPlaylist, MediaPlaylist, MediaPlaylistType, MediaSegment, Resolution, VariantStream,
};
use skywave_media::recording::{Index, InitRange};

/// Byte ranges came with version 4, `EXT-X-MAP` without I-frames-only with version 6.
const VERSION: usize = 7;

/// `index.m3u8`: the one rendition, and its keyframes for trick play.
pub(super) fn multivariant(_id: &str, index: &Index) -> String {
    let codecs: Vec<&str> =
        index.inits.first().map(|init| init.codecs.split(',').collect()).unwrap_or_default();
    let video_only: Vec<&str> = codecs.iter().copied().filter(|codec| !codec.starts_with("mp4a")).collect();
    let size = index.inits.iter().map(|init| (init.width, init.height)).max().filter(|(width, _)| *width > 0);
    let resolution =
        size.map(|(width, height)| Resolution { width: u64::from(width), height: u64::from(height) });
    let rate = |bytes: u64, us: u64| bytes.saturating_mul(8_000_000) / us.max(1);
    let peak = index.segments.iter().map(|s| rate(s.bytes, s.duration_us)).max().unwrap_or(0);
    let (bytes, us) = index.segments.iter().fold((0, 0), |(b, us), s| (b + s.bytes, us + s.duration_us));
    let variant = VariantStream {
        uri: "media.m3u8".to_owned(),
        bandwidth: peak.max(1),
        average_bandwidth: Some(rate(bytes, us).max(1)),
        codecs: Some(codecs.join(",")),
        resolution,
        ..Default::default()
    };
    let mut variants = vec![variant.clone()];
    if !video_only.is_empty() && index.segments.iter().any(|segment| segment.keyframe_bytes > 0) {
        let peak = index.segments.iter().map(|s| rate(u64::from(s.keyframe_bytes), s.duration_us)).max();
        variants.push(VariantStream {
            is_i_frame: true,
            uri: "iframes.m3u8".to_owned(),
            bandwidth: peak.unwrap_or(1).max(1),
            average_bandwidth: None,
            codecs: Some(video_only.join(",")),
            ..variant
        });
    }
    let playlist =
        MasterPlaylist { version: Some(VERSION), variants, independent_segments: true, ..Default::default() };
    written(|out| playlist.write_to(out))
}

/// `media.m3u8`: every segment.
pub(super) fn media(id: &str, index: &Index) -> String {
    let segments = index.segments.iter().map(|segment| Piece {
        offset: segment.offset,
        bytes: segment.bytes,
        us: segment.duration_us,
        init: usize::from(segment.init),
    });
    render(id, index, segments.collect(), false)
}

/// `iframes.m3u8`: the first picture of every segment.
pub(super) fn keyframes(id: &str, index: &Index) -> String {
    let with_picture = index.segments.iter().filter(|segment| segment.keyframe_bytes > 0);
    let segments = with_picture.map(|segment| Piece {
        offset: segment.offset,
        bytes: u64::from(segment.keyframe_bytes),
        us: segment.duration_us,
        init: usize::from(segment.init),
    });
    render(id, index, segments.collect(), true)
}

struct Piece {
    offset: u64,
    bytes: u64,
    us: u64,
    init: usize,
}

fn render(id: &str, index: &Index, pieces: Vec<Piece>, i_frames_only: bool) -> String {
    let file = format!("../{id}.mp4");
    let mut before = None;
    let segments: Vec<MediaSegment> = pieces
        .iter()
        .map(|piece| {
            let changed = before != Some(piece.init);
            let follows = before.replace(piece.init).is_some();
            let map = index.inits.get(piece.init).filter(|_| changed).map(|init| map(&file, init));
            MediaSegment {
                uri: file.clone(),
                duration: piece.us as f32 / 1e6,
                byte_range: Some(ByteRange { length: piece.bytes, offset: Some(piece.offset) }),
                discontinuity: changed && follows,
                map,
                ..Default::default()
            }
        })
        .collect();
    let longest_us = pieces.iter().map(|piece| piece.us).max().unwrap_or(1_000_000);
    let playlist = MediaPlaylist {
        version: Some(VERSION),
        // No EXTINF, rounded to the nearest second, may be longer (RFC 8216 section 4.3.3.1).
        target_duration: (longest_us + 500_000) / 1_000_000,
        playlist_type: Some(MediaPlaylistType::Vod),
        end_list: true,
        i_frames_only,
        independent_segments: !i_frames_only,
        segments,
        ..Default::default()
    };
    written(|out| playlist.write_to(out))
}

fn map(file: &str, init: &InitRange) -> Map {
    let byte_range = Some(ByteRange { length: u64::from(init.bytes), offset: Some(init.offset) });
    Map { uri: file.to_owned(), byte_range, ..Default::default() }
}

fn written(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).expect("memory takes what is written to it");
    String::from_utf8(out).expect("playlists are text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use skywave_media::recording::SegmentRange;

    fn index() -> Index {
        let init = |offset, width| InitRange {
            offset,
            bytes: 900,
            codecs: "avc1.42E01F,mp4a.40.2".to_owned(),
            width,
            height: width * 9 / 16,
        };
        let segment = |offset, init, us| SegmentRange {
            offset,
            bytes: 500_000,
            duration_us: us,
            init,
            keyframe_bytes: 20_000,
        };
        Index {
            inits: vec![init(4096, 640), init(1_004_996, 1280)],
            segments: vec![
                segment(4996, 0, 2_000_000),
                segment(504_996, 0, 2_100_000),
                segment(1_005_896, 1, 1_000_000),
            ],
        }
    }

    #[test]
    fn segments_are_byte_ranges_of_the_one_file() {
        let text = media("t1", &index());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.contains(&"#EXT-X-PLAYLIST-TYPE:VOD") && lines.contains(&"#EXT-X-ENDLIST"), "{text}");
        assert!(lines.contains(&"#EXT-X-TARGETDURATION:2"), "{text}");
        assert!(lines.contains(&"#EXT-X-MAP:URI=\"../t1.mp4\",BYTERANGE=\"900@4096\""), "{text}");
        assert!(lines.contains(&"#EXT-X-BYTERANGE:500000@504996"), "{text}");
        assert_eq!(lines.iter().filter(|line| **line == "#EXT-X-DISCONTINUITY").count(), 1, "{text}");
        assert!(text.contains("BYTERANGE=\"900@1004996\"\n#EXT-X-BYTERANGE:500000@1005896"), "{text}");
        assert_eq!(lines.iter().filter(|line| **line == "../t1.mp4").count(), 3);
    }

    #[test]
    fn keyframes_have_a_playlist_of_their_own() {
        let text = keyframes("t1", &index());
        assert!(
            text.contains("#EXT-X-I-FRAMES-ONLY") && text.contains("#EXT-X-BYTERANGE:20000@4996"),
            "{text}"
        );
        let text = multivariant("t1", &index());
        assert!(text.contains("BANDWIDTH=4000000") && text.contains("RESOLUTION=1280x720"), "{text}");
        assert!(
            text.contains("#EXT-X-I-FRAME-STREAM-INF") && text.contains("URI=\"iframes.m3u8\""),
            "{text}"
        );
    }
}
