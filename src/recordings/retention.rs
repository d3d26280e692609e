//! What goes when there is too much: by age, by the size of all, and to keep the disk from running full.

use super::manifest::{Manifest, State};
use super::{Library, disk};
use std::io;

impl Library {
    /// Removes what is too old or too much. Protected recordings stay, and so does what is not finished.
    pub(super) fn retain(&self) {
        let now_us = now_us();
        for manifest in victims(&self.list(), &Bounds::of(&self.config), now_us) {
            tracing::info!(stream = %manifest.stream, id = manifest.id, "a recording has had its time");
            if let Err(error) = self.erase(&manifest) {
                tracing::warn!(stream = %manifest.stream, id = manifest.id, %error, "a recording cannot be removed");
            }
        }
    }

    /// Sees to it that so much of the disk stays free, at the cost of the oldest recordings. False when nothing is left to
    /// remove.
    pub(super) fn make_room(&self) -> io::Result<bool> {
        loop {
            if disk::free_bytes(&self.root)? >= self.config.free_floor_bytes {
                return Ok(true);
            }
            let mut list = self.list();
            list.retain(is_removable);
            let Some(oldest) = list.iter().min_by_key(|manifest| manifest.begun_us) else { return Ok(false) };
            tracing::warn!(stream = %oldest.stream, id = oldest.id, "the disk is nearly full: the oldest recording goes");
            self.erase(oldest)?;
        }
    }
}

/// What bounds the recordings; zero is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    keep_us: i64,
    keep_bytes: u64,
}

impl Bounds {
    fn of(config: &crate::config::Recording) -> Self {
        let keep_us = i64::try_from(config.keep_s).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        Self { keep_us, keep_bytes: config.keep_bytes }
    }
}

/// Which recordings go, oldest first. Pure.
fn victims(all: &[Manifest], bounds: &Bounds, now_us: i64) -> Vec<Manifest> {
    let mut sorted: Vec<&Manifest> = all.iter().collect();
    sorted.sort_by_key(|manifest| manifest.begun_us);
    let mut total: u64 = sorted.iter().map(|manifest| manifest.bytes).sum();
    let mut gone = Vec::new();
    for manifest in sorted.into_iter().filter(|manifest| is_removable(manifest)) {
        let ended_us = manifest.begun_us.saturating_add_unsigned(manifest.duration_ms * 1000);
        let too_old = bounds.keep_us > 0 && now_us.saturating_sub(ended_us) > bounds.keep_us;
        let too_much = bounds.keep_bytes > 0 && total > bounds.keep_bytes;
        if too_old || too_much {
            total -= manifest.bytes;
            gone.push(manifest.clone());
        }
    }
    gone
}

/// A failed one may still be finished some day, so only who knows better removes it.
const fn is_removable(manifest: &Manifest) -> bool {
    matches!(manifest.state, State::Ready | State::Repaired) && !manifest.protected
}

fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recordings::manifest::Container;

    fn recording(id: &str, begun_s: i64, bytes: u64) -> Manifest {
        Manifest {
            version: 1,
            id: id.to_owned(),
            stream: "demo".parse().unwrap(),
            state: State::Ready,
            container: Container::Mp4,
            reason: None,
            begun: String::new(),
            begun_us: begun_s * 1_000_000,
            duration_ms: 10_000,
            bytes,
            tracks: Vec::new(),
            sha256: None,
            protected: false,
            pictures: Default::default(),
        }
    }

    fn gone(all: &[Manifest], keep_s: i64, keep_bytes: u64) -> Vec<String> {
        let bounds = Bounds { keep_us: keep_s * 1_000_000, keep_bytes };
        victims(all, &bounds, 1_000_000_000).into_iter().map(|m| m.id).collect()
    }

    #[test]
    fn the_oldest_go_first_and_the_protected_stay() {
        let mut all = vec![recording("new", 900, 10), recording("old", 100, 10), recording("older", 50, 10)];
        assert_eq!(gone(&all, 0, 0), Vec::<String>::new());
        assert_eq!(gone(&all, 0, 25), ["older"]);
        assert_eq!(gone(&all, 0, 5), ["older", "old", "new"]);
        // By the time a recording ended: 110 s, 890 s ago.
        assert_eq!(gone(&all, 890, 0), ["older"]);
        assert_eq!(gone(&all, 889, 0), ["older", "old"]);
        all[2].protected = true;
        all[1].state = State::Failed;
        assert_eq!(gone(&all, 1, 1), ["new"]);
    }
}
