//! What to do with a block of sound that should join at the end of what is there, and does so only nearly.

/// A PTS this far off, in samples (10 ms), is a hole or an overlap; below, it is the drift of two clocks. The shortest
/// Opus frame that browsers send is 10 ms (RFC 7587 section 4.2), so one lost packet is seen as the hole it is.
const JOINT_TOLERANCE: i64 = 480;

/// Drift up to this, in samples (0.5 ms), is left alone: time stamps are rounded.
const DEAD_ZONE: i64 = 24;

/// Drift is undone over about this many blocks of sound.
const CORRECTION_BLOCKS: i64 = 50;

/// Sound is never stretched or squeezed by more than one part in this many: 0.5 % is a tenth of a semitone.
const MAX_STRETCH_PART: usize = 200;

/// How one block of sound joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// Samples of silence before it.
    pub(super) silence: u64,
    /// Samples to cut from its beginning.
    pub(super) cut: usize,
    /// How many samples the rest becomes.
    pub(super) length: usize,
}

impl Plan {
    /// For `count` samples whose PTS lies `error` samples after the end of what is there (before, if negative).
    pub(super) fn for_sound(error: i64, count: usize) -> Self {
        if error >= JOINT_TOLERANCE {
            return Self { silence: error.unsigned_abs(), cut: 0, length: count };
        }
        if error <= -JOINT_TOLERANCE {
            let cut = usize::try_from(error.unsigned_abs()).map_or(count, |cut| cut.min(count));
            return Self { silence: 0, cut, length: count - cut };
        }
        let most = (count / MAX_STRETCH_PART) as i64;
        let change = if error.abs() <= DEAD_ZONE {
            0
        } else {
            let wanted = (error.abs() / CORRECTION_BLOCKS).max(1).min(most);
            wanted * error.signum()
        };
        Self { silence: 0, cut: 0, length: count.saturating_add_signed(change as isize) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(silence: u64, cut: usize, length: usize) -> Plan {
        Plan { silence, cut, length }
    }

    #[test]
    fn holes_are_filled_overlaps_cut_and_drift_is_stretched() {
        assert_eq!(Plan::for_sound(0, 960), plan(0, 0, 960));
        assert_eq!(Plan::for_sound(24, 960), plan(0, 0, 960));
        assert_eq!(Plan::for_sound(25, 960), plan(0, 0, 961));
        assert_eq!(Plan::for_sound(-25, 960), plan(0, 0, 959));
        assert_eq!(Plan::for_sound(479, 960), plan(0, 0, 964));
        assert_eq!(Plan::for_sound(480, 960), plan(480, 0, 960));
        assert_eq!(Plan::for_sound(-480, 960), plan(0, 480, 480));
        assert_eq!(Plan::for_sound(-5000, 960), plan(0, 960, 0));
        assert_eq!(Plan::for_sound(i64::MIN + 1, 960), plan(0, 960, 0));
    }

    #[test]
    fn twenty_four_hours_of_drift_stay_within_a_millisecond_and_never_break_the_sound() {
        for ppm in [-100i64, 100] {
            let (mut end, mut joints) = (0i64, 0u64);
            for block in 0..86_400 * 50i64 {
                // Blocks hold 960 samples of the sender's clock, which is off by `ppm` against the timeline.
                let pts = block * 960 + block * 960 * ppm / 1_000_000;
                let plan = Plan::for_sound(pts - end, 960);
                joints += plan.silence + plan.cut as u64;
                assert!((pts - end).abs() <= 48, "{} samples off after {block} blocks", pts - end);
                end += plan.length as i64;
            }
            assert_eq!(joints, 0);
        }
    }
}
