//! Clocks and memory, for measuring the simulator itself. Simulated time never comes from here.

#![allow(clippy::disallowed_types, reason = "the only place that looks at a wall clock, and only to measure the simulator")]

use std::time::Instant;

/// Started when it is made.
pub struct Stopwatch {
    wall: Instant,
    cpu_ns: Option<u64>,
}

/// What a stopwatch read.
#[derive(Clone, Copy)]
pub struct Reading {
    /// CPU time of this thread where the system tells it (Linux), else wall time.
    pub cpu_s: f64,
    pub wall_s: f64,
}

impl Stopwatch {
    pub fn start() -> Stopwatch {
        Stopwatch { wall: Instant::now(), cpu_ns: cpu_ns() }
    }

    pub fn read(&self) -> Reading {
        let wall_s = self.wall.elapsed().as_secs_f64();
        let cpu_s = self.cpu_ns.zip(cpu_ns()).map(|(before, after)| after.saturating_sub(before) as f64 * 1e-9);
        // The kernel's count moves in ticks of some ms: below that the wall clock knows better.
        Reading { cpu_s: cpu_s.filter(|&cpu_s| cpu_s > 0.01).unwrap_or(wall_s).min(wall_s), wall_s }
    }
}

/// Time this thread has run, ns: the first number of Linux's schedstat.
fn cpu_ns() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split_whitespace().next()?.parse().ok()
}

/// The most memory that this process has held since the last [`forget_peak_memory`], bytes; `None` where the system does not tell (other
/// than Linux).
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// Starts a new count, from what is held now.
pub fn forget_peak_memory() {
    // Where it cannot be written, the peak of the process stands.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
