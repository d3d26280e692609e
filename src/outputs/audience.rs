//! How many HLS players a stream has. HLS knows no sessions, so players are told apart by what their requests show. Pure.

use skywave_media::time::Mono;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Players told apart in one stream, in about 1 MB; those beyond count as none, so that nobody can fill the memory by inventing
/// names.
const MAX_PLAYERS: usize = 20_000;

/// A player that has asked for nothing in so many target durations has left. A player asks for a playlist at least once in a
/// target duration (RFC 8216 section 6.3.4); three allow for a stall.
const PATIENCE_TARGET_DURATIONS: u32 = 3;

/// While all places are taken, those who have left are looked for this often, and not at each request of a stranger.
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);

/// What tells one player from another: a hash of its address and user agent. Neither is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PlayerKey(u64);

impl PlayerKey {
    /// The player at this address that calls itself so.
    pub(crate) fn new(address: IpAddr, user_agent: Option<&str>) -> Self {
        let mut hasher = DefaultHasher::new();
        (address, user_agent).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// The HLS players of one stream.
#[derive(Debug)]
pub(crate) struct HlsAudience {
    seen: HashMap<PlayerKey, Mono>,
    swept: Mono,
    patience: Duration,
}

impl HlsAudience {
    /// Nobody yet, of a stream whose segments have this target duration.
    pub(crate) fn new(target_duration: Duration) -> Self {
        Self {
            seen: HashMap::new(),
            swept: Mono::default(),
            patience: target_duration * PATIENCE_TARGET_DURATIONS,
        }
    }

    /// A player has fetched something.
    pub(crate) fn handle_request(&mut self, player: PlayerKey, now: Mono) {
        if self.seen.len() >= MAX_PLAYERS && !self.seen.contains_key(&player) {
            if now.saturating_since(self.swept) >= SWEEP_INTERVAL {
                self.forget_the_gone(now);
            }
            if self.seen.len() >= MAX_PLAYERS {
                return;
            }
        }
        self.seen.insert(player, now);
    }

    /// Players that are there now.
    pub(crate) fn count(&mut self, now: Mono) -> usize {
        self.forget_the_gone(now);
        self.seen.len()
    }

    fn forget_the_gone(&mut self, now: Mono) {
        self.swept = now;
        let patience = self.patience;
        self.seen.retain(|_, seen| now.saturating_since(*seen) < patience);
    }
}

/// The audience behind its lock; it is whole after every statement, so a panic elsewhere does not spoil it.
pub(crate) fn lock(audience: &Mutex<HlsAudience>) -> MutexGuard<'_, HlsAudience> {
    audience.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn player(last: u8, agent: &str) -> PlayerKey {
        PlayerKey::new(IpAddr::from([192, 0, 2, last]), Some(agent))
    }

    fn at(ms: u64) -> Mono {
        Mono::from_millis(1_000 + ms)
    }

    #[test]
    fn a_player_counts_once_however_often_it_asks_and_leaves_after_three_target_durations() {
        let mut audience = HlsAudience::new(Duration::from_secs(2));
        for i in 0..10 {
            audience.handle_request(player(1, "hls.js"), at(i * 200));
        }
        audience.handle_request(player(1, "VLC"), at(1_800));
        audience.handle_request(player(2, "hls.js"), at(3_000));
        assert_eq!(audience.count(at(3_000)), 3);
        assert_eq!(audience.count(at(7_799)), 3);
        assert_eq!(audience.count(at(7_800)), 1);
        assert_eq!(audience.count(at(9_000)), 0);
        assert!(audience.seen.is_empty(), "nothing is kept of those who have left");
    }

    #[test]
    fn invented_players_fill_no_memory_and_make_room_when_they_are_gone() {
        let mut audience = HlsAudience::new(Duration::from_secs(2));
        for i in 0..MAX_PLAYERS + 50 {
            audience.handle_request(player(1, &i.to_string()), at(0));
        }
        assert_eq!(audience.count(at(0)), MAX_PLAYERS);
        audience.handle_request(player(2, "real"), at(6_000));
        assert_eq!(audience.count(at(6_000)), 1);
    }
}
