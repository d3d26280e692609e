//! The keys that say which renditions are made, when, and what is shown while nobody publishes.

use super::Config;
use serde::{Deserialize, Serialize};
use skywave_media::ladder::Rung;
use skywave_media::name::StreamName;
use std::path::Path;

/// Rungs beside the source: each has an encoder of its own, and a worker has sixteen outputs at the most.
const MAX_RUNGS: usize = 8;

/// The largest picture file for the slate, in bytes: it travels to the worker in one message.
const MAX_SLATE_BYTES: u64 = 4 << 20;

/// One rung in the configuration: `720p`, `720p:2500000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct RungText(pub(crate) Rung);

impl TryFrom<String> for RungText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: skywave_media::ladder::RungError| error.to_string())
    }
}

impl From<RungText> for String {
    fn from(text: RungText) -> Self {
        text.0.to_string()
    }
}

/// `[slate]`: what players see when a publisher stays away for longer than the grace time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Slate {
    /// Show a picture and silence then, instead of ending the stream.
    pub(crate) enabled: bool,
    /// A PNG or JPEG file; empty: a plain grey picture.
    pub(crate) picture: String,
    /// For how long, in milliseconds; 0: until the publisher returns.
    pub(crate) max_ms: u64,
}

impl Config {
    /// Whether the stream is encoded only while somebody watches.
    pub(crate) fn is_on_demand(&self, stream: &StreamName) -> bool {
        self.transcode.on_demand.iter().any(|pattern| pattern.covers(stream))
    }

    /// The configured rungs, the largest first, each height once.
    pub(crate) fn rungs(&self) -> Vec<Rung> {
        let mut rungs: Vec<Rung> = self.transcode.ladder.iter().map(|rung| rung.0).collect();
        rungs.sort_by_key(|rung| std::cmp::Reverse(rung.height));
        rungs.dedup_by_key(|rung| rung.height);
        rungs
    }

    /// What of the keys here cannot work.
    pub(super) fn ladder_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let rungs = self.transcode.ladder.len();
        if rungs > MAX_RUNGS {
            problems.push(format!("transcode.ladder has {rungs} rungs: {MAX_RUNGS} at the most"));
        }
        if self.rungs().len() < rungs.min(MAX_RUNGS) {
            problems.push("transcode.ladder has two rungs of one height: leave one out".to_owned());
        }
        for (key, value, low, high) in [
            ("transcode.linger_ms", self.transcode.linger_ms, 1_000, 3_600_000),
            ("hls.thumbnail_height", u64::from(self.hls.thumbnail_height), 32, 720),
            ("slate.max_ms", self.slate.max_ms, 0, 7 * 86_400_000),
        ] {
            if !(low..=high).contains(&value) {
                problems.push(format!("{key} = {value} must be between {low} and {high}"));
            }
        }
        let thumbnail = self.hls.thumbnail_ms;
        if thumbnail != 0 && !(500..=600_000).contains(&thumbnail) {
            problems
                .push(format!("hls.thumbnail_ms = {thumbnail} must be 0 (none) or between 500 and 600000"));
        }
        problems.extend(self.slate_problem());
        problems
    }

    fn slate_problem(&self) -> Option<String> {
        if !self.slate.enabled || self.slate.picture.is_empty() {
            return None;
        }
        let path = &self.slate.picture;
        match read_slate(Path::new(path)) {
            Ok(_) => None,
            Err(reason) => Some(format!("slate.picture = {path:?} cannot be used: {reason}")),
        }
    }
}

/// The slate's picture file. The error says what is wrong with it.
pub(crate) fn read_slate(path: &Path) -> Result<Vec<u8>, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MAX_SLATE_BYTES {
        return Err(format!("it has {size} bytes, more than {MAX_SLATE_BYTES}: make it smaller"));
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    // The magic numbers of PNG (its specification, section 5.2) and JPEG (ITU-T T.81, table B.1).
    let known = bytes.starts_with(b"\x89PNG\r\n\x1a\n") || bytes.starts_with(b"\xff\xd8\xff");
    if known { Ok(bytes) } else { Err("it is neither PNG nor JPEG".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_ladder(words: &[&str]) -> Config {
        let mut config = Config::default();
        config.transcode.ladder =
            words.iter().map(|word| RungText::try_from((*word).to_owned()).unwrap()).collect();
        config
    }

    #[test]
    fn rungs_are_sorted_and_two_of_one_height_are_refused() {
        let config = with_ladder(&["240p", "720p:2000000"]);
        assert_eq!(config.rungs().iter().map(|r| r.height).collect::<Vec<_>>(), [720, 240]);
        assert_eq!(config.problems(), Vec::<String>::new());
        let problems = with_ladder(&["240p", "240p:300000"]).problems();
        assert!(problems[0].contains("two rungs of one height"), "{problems:?}");
    }

    #[test]
    fn a_slate_that_is_no_picture_is_refused_before_it_is_needed() {
        let mut config = Config::default();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "not a picture").unwrap();
        config.slate = Slate { enabled: true, picture: file.path().display().to_string(), max_ms: 0 };
        assert!(config.problems()[0].contains("neither PNG nor JPEG"));
        std::fs::write(file.path(), b"\xff\xd8\xff\xe0").unwrap();
        assert_eq!(config.problems(), Vec::<String>::new());
        config.slate.picture = "no/such/file.png".to_owned();
        assert!(config.problems()[0].contains("slate.picture"));
    }

    #[test]
    fn streams_are_on_demand_by_name_or_beginning() {
        let mut config = Config::default();
        let name = |text: &str| text.parse::<StreamName>().unwrap();
        assert!(!config.is_on_demand(&name("demo")));
        config.transcode.on_demand =
            ["cam-*", "lobby"].map(|p| crate::auth::StreamPattern::try_from(p.to_owned()).unwrap()).to_vec();
        assert!(config.is_on_demand(&name("cam-7")) && config.is_on_demand(&name("lobby")));
        assert!(!config.is_on_demand(&name("lobby2")));
    }
}
