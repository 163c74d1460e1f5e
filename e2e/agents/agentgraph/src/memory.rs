//! Memory that is really there, and the gate that lets no run start while there is too little of it.

use std::fs;
use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use memmap2::{Advice, MmapMut};

const PAGE_BYTES: usize = 4096; // the smallest page that Linux has: a larger one is written to more often than needed
const HUGE_PAGE_BYTES: usize = 2 << 20;
const UNLIMITED_BYTES: u64 = 1 << 60; // cgroup v1 writes "no limit" as a number near 2^63
const HIGH_WATER_PERCENT: u64 = 90;
const RAMP: Duration = Duration::from_millis(200);
const RECOVERY: Duration = Duration::from_secs(5);

/// Memory straight from the kernel, and given back to it with its last owner.
#[derive(Debug)]
pub struct Block(MmapMut);

impl Block {
    /// Takes at least so many bytes; a large one takes a while, which no other run has to wait for.
    pub async fn of(bytes: u64) -> io::Result<Self> {
        tokio::task::spawn_blocking(move || Self::take(bytes)).await.map_err(io::Error::other)?
    }

    fn take(bytes: u64) -> io::Result<Self> {
        let pages = usize::try_from(bytes).map_err(io::Error::other)?.div_ceil(PAGE_BYTES).max(1);
        let mut map = MmapMut::map_anon(pages * PAGE_BYTES)?;
        if map.len() >= HUGE_PAGE_BYTES {
            let _ = map.advise(Advice::HugePage); // less CPU time where it is to be had
        }
        // The kernel gives a page when it is written to, not before.
        map.iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = 1);
        Ok(Self(map))
    }

    pub fn bytes(&self) -> u64 {
        self.0.len() as u64
    }
}

/// What is used of memory.
#[derive(Clone, Copy)]
enum Measure {
    /// By this process: resident memory.
    Process,
    /// By the container: its working set.
    Container { used: &'static str, statistics: &'static str, reclaimable: &'static str },
}

/// Lets no run start while memory is above the high-water mark. After it was shut, runs start one at a time for a
/// while: a whole queue let go at once would be past the limit before it could be measured.
#[derive(Default)]
pub struct Gate(Mutex<State>);

#[derive(Default)]
struct State {
    /// In bytes; `None`: no limit is known, and the gate always open.
    limit: Option<(u64, Measure)>,
    shut: bool,
    recovered_at: Option<Instant>,
    started_at: Option<Instant>,
}

impl Gate {
    /// Holds resident memory against a limit of one's own, else the container's working set against its limit.
    pub fn retune(&self, limit_bytes: Option<u64>) {
        let limit = limit_bytes.map(|limit| (limit, Measure::Process)).or_else(of_the_container);
        self.0.lock().unwrap().limit = limit;
    }

    /// Whether memory is below the mark.
    pub fn open(&self) -> bool {
        self.0.lock().unwrap().open()
    }

    /// Whether one more run may start; the caller then starts it.
    pub fn may_start(&self) -> bool {
        let mut state = self.0.lock().unwrap();
        let within = |since: Option<Instant>, time| since.is_some_and(|since| since.elapsed() < time);
        if !state.open() || within(state.recovered_at, RECOVERY) && within(state.started_at, RAMP) {
            return false;
        }
        state.started_at = Some(Instant::now());
        true
    }
}

impl State {
    fn open(&mut self) -> bool {
        let below = self.limit.is_none_or(|(limit, measure)| {
            used_bytes(measure).is_none_or(|used| used <= limit / 100 * HIGH_WATER_PERCENT)
        });
        if below && self.shut {
            self.recovered_at = Some(Instant::now());
        }
        self.shut = !below;
        below
    }
}

/// `None`: it cannot be read.
fn used_bytes(measure: Measure) -> Option<u64> {
    match measure {
        Measure::Process => resident_bytes(),
        Measure::Container { used, statistics, reclaimable } => {
            Some(number(used)?.saturating_sub(statistic(statistics, reclaimable).unwrap_or(0)))
        }
    }
}

/// Inside a container its own cgroup is mounted as the root.
fn of_the_container() -> Option<(u64, Measure)> {
    let second = Measure::Container {
        used: "/sys/fs/cgroup/memory.current",
        statistics: "/sys/fs/cgroup/memory.stat",
        reclaimable: "inactive_file",
    };
    let first = Measure::Container {
        used: "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        statistics: "/sys/fs/cgroup/memory/memory.stat",
        reclaimable: "total_inactive_file",
    };
    [("/sys/fs/cgroup/memory.max", second), ("/sys/fs/cgroup/memory/memory.limit_in_bytes", first)]
        .into_iter()
        .find_map(|(path, measure)| Some((number(path).filter(|limit| *limit < UNLIMITED_BYTES)?, measure)))
}

fn resident_bytes() -> Option<u64> {
    statistic("/proc/self/status", "VmRSS:").map(|kibibytes| kibibytes * 1024)
}

/// The only number of a file; cgroup v2 writes "max" for no limit.
fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The number after a name at the start of a line.
fn statistic(path: &str, name: &str) -> Option<u64> {
    let content = fs::read_to_string(path).ok()?;
    let line = content.lines().find(|line| line.split_whitespace().next() == Some(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_block_is_resident_until_its_last_owner_is_gone() {
        let before = resident_bytes().unwrap();
        let block = Block::of(64 << 20).await.unwrap();
        assert_eq!(block.bytes(), 64 << 20);
        let held = resident_bytes().unwrap();
        assert!(held > before + (60 << 20), "{before} {held}");
        drop(block);
        assert!(resident_bytes().unwrap() < held - (60 << 20));
    }

    #[test]
    fn nothing_starts_above_the_mark_and_then_one_at_a_time() {
        let gate = Gate::default();
        gate.retune(Some(1));
        assert!(!gate.may_start());
        gate.retune(Some(u64::MAX));
        assert!(gate.may_start());
        assert!(!gate.may_start(), "a second one at once");
        std::thread::sleep(RAMP);
        assert!(gate.may_start());
    }

    #[test]
    fn without_a_limit_everything_starts() {
        let gate = Gate::default();
        assert!((0..10).all(|_| gate.may_start()));
    }
}
