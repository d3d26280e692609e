//! Pictures of finished recordings: made in the background, one recording after the other, by a child that gives way to everything else.
//!
//! A recording without pictures is as good as one with them: what goes wrong here is logged and told in the manifest, no more.

use super::manifest::{Files, Manifest, Pictures};
use super::{Key, Library, disk};
use crate::converter::Converter;
use skywave_media::convert_proto::FromConverter;
use skywave_media::storyboard;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak, mpsc};
use std::time::Duration;

/// The name of the sheet of small pictures, as the WebVTT file beside it says it.
pub(crate) const SPRITE: &str = "sprite.jpg";

/// Starts the thread that makes the pictures of what comes through `queue`.
pub(super) fn start(library: &Arc<Library>, queue: mpsc::Receiver<Key>) {
    let weak = Arc::downgrade(library);
    let spawned = std::thread::Builder::new().name("pictures".to_owned()).spawn(move || run(&weak, &queue));
    if let Err(error) = spawned {
        tracing::warn!(%error, "recordings get no pictures: no thread");
    }
}

fn run(weak: &Weak<Library>, queue: &mpsc::Receiver<Key>) {
    // Ends when the library does, whose other end it is.
    while let Ok(key) = queue.recv() {
        // Not held while the child works: a server that stops does not wait for pictures.
        let Some((files, manifest)) = weak.upgrade().and_then(|library| library.without_pictures(&key))
        else {
            continue;
        };
        let made = make(&files, &manifest);
        let Some(library) = weak.upgrade() else {
            return;
        };
        library.note_pictures(&key, &files, made);
    }
}

/// Makes the pictures of a recording and writes them beside it.
///
/// # Errors
/// In words; no picture is left.
pub(super) fn make(files: &Files, manifest: &Manifest) -> Result<Pictures, String> {
    if !manifest.tracks.iter().any(|track| track.kind == "video") {
        return Ok(Pictures::None);
    }
    let io = |error: io::Error| error.to_string();
    let duration = Duration::from_millis(manifest.duration_ms);
    let film = File::open(files.mp4()).map_err(io)?;
    let made = match Converter::pictures(&film, duration).map_err(io)?.next()? {
        FromConverter::Pictures(made) => made,
        FromConverter::Failed(words) => return Err(words),
        _ => return Err("the process that reads it talks of something else".to_owned()),
    };
    let vtt = storyboard::vtt(&made, duration, SPRITE);
    let contents =
        [(files.thumb(), &made.thumb[..]), (files.sprite(), &made.sprite), (files.vtt(), vtt.as_bytes())];
    let written = contents.iter().try_for_each(|(path, content)| write(path, content));
    if written.is_err() {
        remove(files).map_err(io)?;
    }
    written.map_err(io)?;
    Ok(Pictures::Ready)
}

/// A picture that a crash has cut off is made again, because its manifest does not know of it.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    fs::write(path, content)?;
    File::open(path)?.sync_all()
}

/// Removes the pictures of a recording.
pub(super) fn remove(files: &Files) -> io::Result<()> {
    [files.thumb(), files.sprite(), files.vtt()].iter().try_for_each(|path| disk::remove(path))
}

impl Library {
    /// Has the pictures of a recording made in their turn.
    pub(super) fn want_pictures(&self, key: &Key) {
        if self.config.pictures && self.pictures.send(key.clone()).is_err() {
            tracing::debug!(stream = %key.0, id = key.1, "nobody makes pictures");
        }
    }

    /// A recording that can be played and has no pictures yet.
    fn without_pictures(&self, key: &Key) -> Option<(Files, Manifest)> {
        let manifest = self.get(&key.0, &key.1)?;
        let wanted = manifest.is_playable() && manifest.is_mp4() && manifest.pictures == Pictures::None;
        wanted.then(|| (self.files(&key.0, &key.1), manifest))
    }

    fn note_pictures(&self, key: &Key, files: &Files, made: Result<Pictures, String>) {
        let pictures = made.unwrap_or_else(|reason| {
            tracing::warn!(stream = %key.0, id = key.1, reason, "a recording gets no pictures");
            Pictures::Failed
        });
        if pictures != Pictures::None {
            self.change(key, |manifest| manifest.pictures = pictures);
        }
        // Removed meanwhile, perhaps.
        if self.get(&key.0, &key.1).is_none()
            && let Err(error) = remove(files)
        {
            tracing::warn!(stream = %key.0, id = key.1, %error, "pictures of a removed recording cannot be removed");
        }
    }
}
