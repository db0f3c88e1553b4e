//! Processor time and memory of what a bench runs. Knows nothing of what that is.

use std::time::Instant;

/// A call that takes longer than this, in seconds, needs no call before it to warm the caches.
const LONG: f64 = 0.4;

/// CPU time of all threads of this process, in seconds; wall-clock time where the system does not
/// report it.
pub fn processor_seconds(start: Instant) -> f64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return start.elapsed().as_secs_f64();
    };
    let times = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
    times
        .filter_map(|text| text.split(' ').next().and_then(|n| n.parse::<f64>().ok()))
        .sum::<f64>()
        / 1e9
}

/// A number of /proc/self/status, in MiB: VmRSS, or its peak VmHWM.
fn resident(key: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|l| l.trim_start_matches(':').split_whitespace().next())
        .and_then(|n| n.parse::<f64>().ok())
        .unwrap_or(0.0)
        / 1024.0
}

/// The memory of this process, measured from the moment it is made.
pub struct Memory {
    before: f64,
}

impl Memory {
    /// Begins to measure: memory that was resident before does not count.
    pub fn from_here() -> Self {
        // Makes the peak what is resident; where the system cannot, the peak so far counts.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        Self {
            before: resident("VmRSS"),
        }
    }

    /// The peak of resident memory since then, in MiB.
    pub fn peak(&self) -> f64 {
        resident("VmHWM") - self.before
    }
}

/// Wall-clock time and CPU time of a call, in milliseconds: medians of the calls made for `seconds`.
/// A first call warms the caches and is not counted, unless it takes so long that they matter
/// little.
pub fn time(seconds: f64, mut f: impl FnMut()) -> (f64, f64) {
    let start = Instant::now();
    let mut wall = Vec::new();
    let mut processor = Vec::new();
    let mut calls = 0;
    while wall.is_empty() || start.elapsed().as_secs_f64() < seconds {
        let before = processor_seconds(start);
        let call = Instant::now();
        f();
        calls += 1;
        if calls > 1 || call.elapsed().as_secs_f64() > LONG {
            wall.push(1e3 * call.elapsed().as_secs_f64());
            processor.push(1e3 * (processor_seconds(start) - before));
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    (median(&mut wall), median(&mut processor))
}
