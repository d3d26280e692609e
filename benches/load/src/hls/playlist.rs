//! The few lines of a playlist that a player needs, read as cheaply as may be: hundreds of players read several a second.

use std::time::Duration;

/// One part as a player sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part<'a> {
    pub(super) uri: &'a str,
    pub(super) duration: Duration,
}

/// What is at the live edge of a media playlist.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Edge<'a> {
    /// Media sequence number and part index of the first part that is listed.
    pub(super) parts: Vec<((u64, u64), Part<'a>)>,
    /// What to wait for next.
    pub(super) next: (u64, u64),
    pub(super) hint: Option<&'a str>,
    pub(super) part_target: Duration,
    pub(super) part_hold_back: Duration,
    pub(super) can_skip: bool,
    pub(super) ended: bool,
}

impl<'a> Edge<'a> {
    /// Reads a media playlist or a delta update.
    pub(super) fn read(text: &'a str) -> Self {
        let mut edge = Self::default();
        let mut msn = 0;
        let mut index = 0;
        for line in text.lines() {
            let Some(tag) = line.strip_prefix("#EXT-X-") else {
                // The URI of a segment ends it.
                if !line.is_empty() && !line.starts_with('#') {
                    msn += 1;
                    index = 0;
                }
                continue;
            };
            if let Some(list) = tag.strip_prefix("PART:") {
                let part = Part {
                    uri: quoted(list, "URI").unwrap_or_default(),
                    duration: seconds(list, "DURATION"),
                };
                edge.parts.push(((msn, index), part));
                index += 1;
            } else if let Some(number) = tag.strip_prefix("MEDIA-SEQUENCE:") {
                msn = number.trim().parse().unwrap_or(0);
            } else if let Some(list) = tag.strip_prefix("SKIP:") {
                msn += attribute(list, "SKIPPED-SEGMENTS")
                    .and_then(|number| number.parse::<u64>().ok())
                    .unwrap_or(0);
            } else if let Some(list) = tag.strip_prefix("PRELOAD-HINT:") {
                if list.contains("TYPE=PART") {
                    edge.hint = quoted(list, "URI");
                }
            } else if let Some(list) = tag.strip_prefix("PART-INF:") {
                edge.part_target = seconds(list, "PART-TARGET");
            } else if let Some(list) = tag.strip_prefix("SERVER-CONTROL:") {
                edge.part_hold_back = seconds(list, "PART-HOLD-BACK");
                edge.can_skip = attribute(list, "CAN-SKIP-UNTIL").is_some();
            } else if tag.starts_with("ENDLIST") {
                edge.ended = true;
            }
        }
        edge.next = (msn, index);
        edge
    }
}

/// The first variant's playlist, and the default rendition of its audio group.
pub(super) fn lanes(text: &str) -> Vec<String> {
    let mut variant = None;
    let mut group = None;
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(list) = line.strip_prefix("#EXT-X-STREAM-INF:") {
            group = quoted(list, "AUDIO").map(str::to_owned);
            variant = lines.find(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned);
            break;
        }
    }
    let media = text.lines().filter_map(|line| line.strip_prefix("#EXT-X-MEDIA:"));
    let mut audio = media.filter(|list| group.is_some() && quoted(list, "GROUP-ID") == group.as_deref());
    let audio = audio.find_map(|list| quoted(list, "URI")).map(str::to_owned);
    let mut found: Vec<String> = variant.into_iter().collect();
    found.extend(audio.filter(|audio| !found.contains(audio)));
    found
}

/// An attribute's value as it is written.
fn attribute<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    let mut quotes = false;
    let mut from = 0;
    let ends = list.char_indices().filter(|(_, letter)| {
        quotes ^= *letter == '"';
        *letter == ',' && !quotes
    });
    for end in ends.map(|(at, _)| at).chain([list.len()]) {
        if let Some(value) = list.get(from..end)?.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
            return Some(value);
        }
        from = end + 1;
    }
    None
}

fn quoted<'a>(list: &'a str, name: &str) -> Option<&'a str> {
    Some(attribute(list, name)?.trim_matches('"'))
}

fn seconds(list: &str, name: &str) -> Duration {
    let value = attribute(list, name).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    Duration::from_secs_f64(value.clamp(0.0, 3600.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_live_edge_is_read() {
        let text = "#EXTM3U\n#EXT-X-PART-INF:PART-TARGET=0.2\n#EXT-X-SERVER-CONTROL:CAN-SKIP-UNTIL=12,PART-HOLD-BACK=0.6\n\
            #EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-SKIP:SKIPPED-SEGMENTS=2\n#EXTINF:2,\n9.m4s\n\
            #EXT-X-PART:DURATION=0.2,URI=\"a,b.m4s\",INDEPENDENT=YES\n#EXT-X-PART:URI=\"c.m4s\",DURATION=0.19\n\
            #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"d.m4s\"\n";
        let edge = Edge::read(text);
        assert_eq!(edge.next, (10, 2));
        let part = |uri, ms| Part { uri, duration: Duration::from_millis(ms) };
        assert_eq!(edge.parts, [((10, 0), part("a,b.m4s", 200)), ((10, 1), part("c.m4s", 190))]);
        assert_eq!((edge.hint, edge.can_skip, edge.ended), (Some("d.m4s"), true, false));
        assert_eq!(edge.part_hold_back, Duration::from_millis(600));
    }

    #[test]
    fn a_player_plays_the_first_variant_and_its_audio() {
        let text = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"x\",NAME=\"o\",URI=\"o.m3u8\"\n\
            #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"m\",URI=\"a/index.m3u8\"\n\
            #EXT-X-STREAM-INF:BANDWIDTH=1,CODECS=\"avc1,mp4a\",AUDIO=\"a\"\nv/index.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=2\nw.m3u8\n";
        assert_eq!(lanes(text), ["v/index.m3u8", "a/index.m3u8"]);
        assert_eq!(lanes("#EXTM3U\n"), Vec::<String>::new());
    }
}
