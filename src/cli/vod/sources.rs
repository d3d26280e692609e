//! What is to be imported: a file, or a folder with the pieces in which a browser handed its recording out.
//!
//! MediaRecorder gives its file away piece by piece, cut anywhere; only the first piece has a header. Pieces that follow each other by name are
//! one *session*; one that has a header itself begins the next.

use crate::cli::progress::Bar;
use crate::recordings::import::Held;
use skywave_media::time::UnixTime;
use skywave_media::webm;
use std::cmp::Ordering;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// In so many bytes a WebM file has its header and says when it was made.
const HEAD_BYTES: u64 = 64 << 10;

/// Files that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    parts: Vec<PathBuf>,
}

/// The sessions that lie at `path`, in order.
pub(super) fn sessions(path: &Path) -> Result<Vec<Session>, String> {
    let unreadable = |error: io::Error| format!("cannot read {}: {error}", path.display());
    if !fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Ok(vec![Session { parts: vec![path.to_owned()] }]);
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && fs::metadata(entry.path()).is_ok_and(|meta| meta.is_file()) {
            names.push((name, entry.path()));
        }
    }
    names.sort_by(|a, b| natural(&a.0, &b.0));
    let begins = names.iter().map(|(_, path)| has_header(path)).collect::<Result<Vec<_>, String>>()?;
    let groups = group(&begins).ok_or_else(|| match names.first() {
        None => format!("{} is empty: there is nothing to import", path.display()),
        Some((name, _)) => format!(
            "{name} is the first file in {} by its name, and does not begin as WebM or MP4 does: is the first piece missing, or another file in the folder?",
            path.display()
        ),
    })?;
    let paths: Vec<PathBuf> = names.into_iter().map(|(_, path)| path).collect();
    Ok(groups.into_iter().map(|range| Session { parts: paths[range].to_vec() }).collect())
}

impl Session {
    /// What to call it.
    pub(super) fn name(&self) -> String {
        let name =
            |path: &PathBuf| path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        match self.parts.as_slice() {
            [one] => name(one),
            [first, .., last] => format!("{} .. {}", name(first), name(last)),
            [] => String::new(),
        }
    }

    /// Its bytes as one file.
    pub(super) fn open(&self, held: &Held) -> Result<File, String> {
        if let [one] = self.parts.as_slice() {
            return File::open(one).map_err(|error| format!("cannot read {}: {error}", one.display()));
        }
        let total = self.parts.iter().filter_map(|path| fs::metadata(path).ok()).map(|meta| meta.len()).sum();
        held.room_for(total).map_err(|error| error.to_string())?;
        let mut whole = held.scratch().map_err(|error| error.to_string())?;
        let bar = Bar::bytes("joining", total);
        for path in &self.parts {
            let words = |error: io::Error| format!("cannot read {}: {error}", path.display());
            let part = File::open(path).map_err(words)?;
            io::copy(&mut bar.reading(part), &mut whole).map_err(words)?;
        }
        whole.seek(SeekFrom::Start(0)).map_err(|error| error.to_string())?;
        Ok(whole)
    }

    /// When its file was made by its own word, if that is in the front of it; WebM has it there.
    pub(super) fn date(&self, file: &File) -> Option<UnixTime> {
        let mut head = Vec::new();
        let mut file = file.try_clone().ok()?;
        file.seek(SeekFrom::Start(0)).ok()?;
        (&mut file).take(HEAD_BYTES).read_to_end(&mut head).ok()?;
        webm::date_utc(&head)
    }

    /// When its first piece was written last: that is when a single file of this length ended, and when the first of many pieces had hardly begun.
    pub(super) fn written(&self, length: Duration) -> UnixTime {
        let changed = self.parts.first().and_then(|path| fs::metadata(path).ok()?.modified().ok());
        let since = changed.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        let begun = if self.parts.len() == 1 { since.saturating_sub(length) } else { since };
        UnixTime::from_micros(i64::try_from(begun.as_micros()).unwrap_or(i64::MAX))
    }
}

/// Whether a file begins as WebM or MP4 does, and not in the middle.
fn has_header(path: &Path) -> Result<bool, String> {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(12).read_to_end(&mut head));
    read.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(webm::reader::has_header(&head) || head.get(4..8) == Some(b"ftyp"))
}

/// Which pieces belong together; `None` when the first has no header, or there is none.
fn group(begins: &[bool]) -> Option<Vec<Range<usize>>> {
    if begins.first() != Some(&true) {
        return None;
    }
    let starts: Vec<usize> = (0..begins.len()).filter(|&at| begins[at]).collect();
    let ends = starts.iter().skip(1).copied().chain([begins.len()]);
    Some(starts.iter().zip(ends).map(|(&start, end)| start..end).collect())
}

/// Names in the order in which people count: `chunk-9` before `chunk-10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    while let (Some(one), Some(other)) = (left.chars().next(), right.chars().next()) {
        let order = if one.is_ascii_digit() && other.is_ascii_digit() {
            let (number, rest) = digits(left);
            let (second, other_rest) = digits(right);
            (left, right) = (rest, other_rest);
            // Without leading zeros the longer number is the larger one.
            number.len().cmp(&second.len()).then_with(|| number.cmp(second))
        } else {
            (left, right) = (&left[one.len_utf8()..], &right[other.len_utf8()..]);
            one.cmp(&other)
        };
        if order.is_ne() {
            return order;
        }
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// The number a text begins with, without leading zeros, and what follows.
fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    (number.trim_start_matches('0'), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_counted_as_people_count() {
        let mut names = vec![
            "chunk-10.webm",
            "chunk-9.webm",
            "chunk-009a.webm",
            "chunk-1.webm",
            "a",
            "chunk",
            "b2c10",
            "b2c9",
        ];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(
            names,
            [
                "a",
                "b2c9",
                "b2c10",
                "chunk",
                "chunk-1.webm",
                "chunk-9.webm",
                "chunk-009a.webm",
                "chunk-10.webm"
            ]
        );
        assert_eq!(natural("007", "7"), Ordering::Less.then(natural("007", "7")));
        assert_ne!(natural("007", "7"), Ordering::Equal);
    }

    #[test]
    fn a_piece_with_a_header_begins_a_session() {
        assert_eq!(group(&[true, false, false, true, true, false]), Some(vec![0..3, 3..4, 4..6]));
        assert_eq!(group(&[false, true]), None);
        assert_eq!(group(&[]), None);
    }

    #[test]
    fn a_folder_without_its_first_piece_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("chunk-2.webm"), b"no header").unwrap();
        fs::write(folder.path().join(".hidden"), b"").unwrap();
        let refused = sessions(folder.path()).unwrap_err();
        assert!(refused.contains("chunk-2.webm") && refused.contains("first piece"), "{refused}");
        fs::write(folder.path().join("chunk-1.webm"), [0x1A, 0x45, 0xDF, 0xA3, 0x80]).unwrap();
        let found = sessions(folder.path()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].name(), "chunk-1.webm .. chunk-2.webm");
    }
}
