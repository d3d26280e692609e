//! What a process that reads a file tells the one that started it, in the framing of [`crate::worker_proto`].
//!
//! Two kinds of children speak it: one turns a foreign file into frames ([`FromConverter::Looked`] to [`FromConverter::Done`]), the
//! other makes pictures of a recording ([`FromConverter::Pictures`]). Files come from strangers, so nothing a child says is trusted:
//! sizes and times are bounded.

use crate::codec::TrackKind;
use crate::time::UnixTime;
use crate::worker_proto::{FrameMessage, Message, ProtoError};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Longest file that is taken: a week. What claims to be longer has broken times.
pub const MAX_DURATION: Duration = Duration::from_secs(7 * 24 * 3600);

/// Longest text in a message, in bytes.
const MAX_TEXT_BYTES: usize = 2000;

/// A message of a child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromConverter {
    /// It reads the file for the first time and has come so far; `of` when the file says how long it is.
    Looked {
        /// How far.
        at: Duration,
        /// How far it is.
        of: Option<Duration>,
    },
    /// What is in the file. Frames follow.
    Source(SourceInfo),
    /// A frame, in its lane's decode order; times are the file's.
    Frame(FrameMessage),
    /// All frames of this lane have been sent.
    End(TrackKind),
    /// The file ended, or broke off: then why.
    Done {
        /// In words; `None` for a file that is whole.
        broken: Option<String>,
    },
    /// Nothing can be made of the file: why, in words.
    Failed(String),
    /// The pictures of a recording.
    Pictures(Pictures),
}

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceInfo {
    /// The pictures that are taken.
    pub video: Option<SourceTrack>,
    /// The sound that is taken.
    pub audio: Option<SourceTrack>,
    /// From the first frame to the end of the last.
    pub duration: Duration,
    /// When it was made, if the file says so.
    pub created: Option<UnixTime>,
}

/// One track of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceTrack {
    /// Its codec as GStreamer names it: `video/x-vp8`.
    pub codec: String,
    /// Its frames are taken as they are; otherwise it is encoded anew.
    pub copied: bool,
}

/// Pictures of a recording: one to stand for it, and many small ones in a grid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pictures {
    /// JPEG.
    pub thumb: Bytes,
    /// JPEG: all small pictures, row after row.
    pub sprite: Bytes,
    /// Pictures in a row of the grid.
    pub columns: u32,
    /// Width of a small picture, in pixels.
    pub width: u32,
    /// Height of a small picture, in pixels.
    pub height: u32,
    /// When each of them is shown, ascending.
    pub times: Vec<Duration>,
}

impl Message for FromConverter {
    fn validate(&self) -> Result<(), ProtoError> {
        let check = |holds: bool, what| if holds { Ok(()) } else { Err(ProtoError::OutOfRange(what)) };
        match self {
            Self::Frame(frame) => frame.validate(),
            Self::Source(info) => {
                let tracks = info.video.iter().chain(&info.audio);
                check(info.duration <= MAX_DURATION, "duration")?;
                check(tracks.into_iter().all(|track| track.codec.len() <= MAX_TEXT_BYTES), "name of a codec")
            }
            Self::Failed(text) => check(text.len() <= MAX_TEXT_BYTES, "length of a text"),
            Self::Done { broken } => {
                check(broken.as_ref().is_none_or(|text| text.len() <= MAX_TEXT_BYTES), "length of a text")
            }
            Self::Pictures(pictures) => {
                let sizes = [pictures.columns, pictures.width, pictures.height];
                check(sizes.iter().all(|size| (1..=4096).contains(size)), "size of a picture")?;
                check((1..=1000).contains(&pictures.times.len()), "number of pictures")?;
                check(pictures.times.is_sorted(), "order of pictures")
            }
            Self::Looked { .. } | Self::End(_) => Ok(()),
        }
    }
}

/// The beginning of a text that fits into a message.
pub fn bounded(text: &str) -> String {
    let end = (0..=MAX_TEXT_BYTES.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker_proto::{MessageReader, encode};

    #[test]
    fn messages_survive_the_way_and_nonsense_is_refused() {
        let pictures = Pictures {
            thumb: Bytes::from_static(b"a"),
            sprite: Bytes::from_static(b"b"),
            columns: 10,
            width: 160,
            height: 90,
            times: vec![Duration::ZERO, Duration::from_secs(10)],
        };
        let message = FromConverter::Pictures(pictures.clone());
        let mut bytes = Vec::new();
        encode(&message, &mut bytes).unwrap();
        let mut reader = MessageReader::<FromConverter>::new();
        reader.handle_bytes(&bytes);
        assert_eq!(reader.poll(), Ok(Some(message)));
        let reversed: Vec<_> = pictures.times.iter().rev().copied().collect();
        for bad in [
            FromConverter::Pictures(Pictures { times: reversed, ..pictures.clone() }),
            FromConverter::Pictures(Pictures { width: 0, ..pictures }),
            FromConverter::Failed("x".repeat(5000)),
        ] {
            assert!(encode(&bad, &mut Vec::new()).is_err(), "{bad:?}");
        }
        let long = bounded(&"ü".repeat(3000));
        assert!(FromConverter::Failed(long).validate().is_ok());
    }
}
