//! The machine's processors: how busy they are, and what of all streams' ladders there is room for.
//!
//! What belongs here: reading `/proc/stat`, and one lock around [`Admission`], which decides. Streams ask once a second.

use skywave_media::admission::{Admission, Reason, StreamKey};
use skywave_media::time::Mono;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The load is measured over this time at the least; the kernel counts in hundredths of a second.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(900);

/// What a stream is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// So many of its renditions may be encoded, counted from the bottom.
    pub(crate) allowed: usize,
    pub(crate) reason: Option<Reason>,
}

/// Processor time since the machine started, in ticks, over all cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CpuTimes {
    busy: u64,
    all: u64,
}

/// The machine, shared by all streams.
pub(crate) struct Machine(Mutex<State>);

struct State {
    admission: Admission,
    sampled: Option<(Mono, CpuTimes)>,
    next_key: StreamKey,
}

impl Machine {
    /// This machine, as far as this process may use it.
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self(Mutex::new(State { admission: Admission::new(cores as f64), sampled: None, next_key: 0 }))
    }

    /// A key for a stream.
    pub(crate) fn new_key(&self) -> StreamKey {
        let mut state = self.lock();
        state.next_key += 1;
        state.next_key
    }

    /// A stream wants renditions of these costs, the top first, and encoded `late` pictures too few since it asked last.
    pub(crate) fn review(&self, key: StreamKey, costs: &[f64], late: u64, now: Mono) -> Verdict {
        let mut state = self.lock();
        state.sample(now);
        state.admission.handle_stream(key, costs, late, now);
        Verdict { allowed: state.admission.allowed(key), reason: state.admission.reason(key) }
    }

    /// A stream encodes no video any more.
    pub(crate) fn forget(&self, key: StreamKey) {
        self.lock().admission.forget(key);
    }

    /// Cores in use, and cores there are.
    pub(crate) fn cores(&self, now: Mono) -> (f64, f64) {
        let mut state = self.lock();
        state.sample(now);
        (state.admission.busy_cores(), state.admission.cores())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Plain values, whole after every statement: a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn sample(&mut self, now: Mono) {
        let due = self.sampled.is_none_or(|(at, _)| now.saturating_since(at) >= SAMPLE_INTERVAL);
        if !due {
            return;
        }
        let Some(times) = std::fs::read_to_string("/proc/stat").ok().as_deref().and_then(cpu_times) else {
            return;
        };
        if let Some((_, before)) = self.sampled.replace((now, times)) {
            let (busy, all) = (times.busy.saturating_sub(before.busy), times.all.saturating_sub(before.all));
            let share = busy as f64 / all.max(1) as f64;
            self.admission.handle_load(share * self.admission.cores(), now);
        }
    }
}

/// The first line of `/proc/stat` (proc(5)): `cpu user nice system idle iowait irq softirq steal guest guest_nice`.
/// What runs nicely gives way, so it counts as idle; guests are counted in user and nice already. Stolen time is busy: another
/// machine has it.
fn cpu_times(stat: &str) -> Option<CpuTimes> {
    let mut fields = stat.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
    let mut next = || fields.next()?.parse::<u64>().ok();
    let (user, nice, system, idle) = (next()?, next()?, next()?, next()?);
    let iowait = next().unwrap_or(0);
    let interrupts = next().unwrap_or(0) + next().unwrap_or(0);
    let steal = next().unwrap_or(0);
    let busy = user + system + interrupts + steal;
    Some(CpuTimes { busy, all: busy + nice + idle + iowait })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_nicely_or_waits_for_disks_counts_as_idle() {
        let stat = "cpu  100 200 30 400 50 6 7 8 9 10\ncpu0 1 2 3 4\n";
        assert_eq!(cpu_times(stat), Some(CpuTimes { busy: 151, all: 801 }));
        assert_eq!(cpu_times("cpu  1 2 3 4\n"), Some(CpuTimes { busy: 4, all: 10 }), "kernels before 2.5.41");
        assert_eq!(cpu_times("intr 5\n"), None);
    }

    #[test]
    fn this_machine_can_be_measured() {
        let machine = Machine::new();
        let (busy, cores) = machine.cores(Mono::from_millis(1_000));
        assert!(cores >= 1.0 && (0.0..=cores).contains(&busy));
    }
}
