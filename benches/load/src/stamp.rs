//! The time a packet was sent, written into filling that decoders skip, and read again by viewers on the same machine: what the server
//! adds to a packet's way.
//!
//! Header extensions would not do: a server may drop or rewrite them. Payloads it has to pass on. The stamp is text without zeros, so
//! that in H.264 it needs no emulation prevention.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a stamp begins with.
const MARK: &[u8; 8] = b"sent-at ";
/// Length of a stamp: the mark and 16 hex digits, nanoseconds since 1970.
pub(crate) const LENGTH: usize = MARK.len() + 16;
/// Bytes that may follow it in a payload: the stop bit of H.264's filler data.
const BEHIND: usize = 1;
/// A stamp that is older was made by another clock.
const OLDEST: Duration = Duration::from_secs(60);

/// The wall clock, by which the kernel tells when a datagram came.
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Writes a stamp over the end of `payload`, `behind` bytes before its last. Nothing when it has no room.
pub(crate) fn write(payload: &mut [u8], behind: usize, at: Duration) {
    let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
    let Some(begin) = payload.len().checked_sub(LENGTH + behind) else { return };
    payload[begin..begin + MARK.len()].copy_from_slice(MARK);
    payload[begin + MARK.len()..begin + LENGTH].copy_from_slice(format!("{nanos:016x}").as_bytes());
}

/// How long before `arrival` the payload was stamped; `None` for one without a stamp, or with one of another clock.
pub(crate) fn age(payload: &[u8], arrival: Duration) -> Option<Duration> {
    let stamp = (0..=BEHIND).find_map(|behind| {
        let end = payload.len().checked_sub(behind)?;
        payload[end.checked_sub(LENGTH)?..end].strip_prefix(MARK)
    })?;
    let nanos = u64::from_str_radix(std::str::from_utf8(stamp).ok()?, 16).ok()?;
    arrival.checked_sub(Duration::from_nanos(nanos)).filter(|age| *age < OLDEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_where_it_may_stand_and_by_its_own_clock_only() {
        let sent = Duration::new(1_700_000_000, 123_456_789);
        let took = Duration::from_micros(1_500);
        for behind in [0, 1] {
            let mut payload = vec![0xff; 100];
            write(&mut payload, behind, sent);
            assert_eq!(age(&payload, sent + took), Some(took));
            assert_eq!(age(&payload, sent - took), None, "from the future");
            assert_eq!(age(&payload, sent + OLDEST), None);
            assert!(
                payload[100 - behind - LENGTH..].iter().all(|b| *b != 0),
                "no emulation prevention is needed"
            );
        }
        let mut short = vec![0; LENGTH - 1];
        write(&mut short, 0, sent);
        assert_eq!(short, vec![0; LENGTH - 1]);
        for nothing in [&[][..], &[0; 23], &[0; 200], b"sent-at 00000000000000xy"] {
            assert_eq!(age(nothing, sent), None);
        }
    }
}
