//! Processor time and memory of what a bench runs. Knows nothing of what that is.

use std::time::Instant;

/// Seconds of a call that needs no other before it to warm up.
const LONG: f64 = 0.4;

/// Seconds of the processor that all threads of this process have had; on the wall where the system
/// does not say.
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

/// Memory from here on.
pub struct Memory {
    before: f64,
}

impl Memory {
    /// What was resident until now does not count.
    pub fn from_here() -> Self {
        // Makes the peak what is resident; where the system cannot, the peak so far counts.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        Self {
            before: resident("VmRSS"),
        }
    }

    /// The most that was resident since, in MiB.
    pub fn peak(&self) -> f64 {
        resident("VmHWM") - self.before
    }
}

/// Milliseconds of a call on the wall and of the processor: medians of calls for `seconds`, after
/// one that does not count (but if it takes long, when the caches that it warms matter little).
pub fn time(seconds: f64, mut f: impl FnMut()) -> (f64, f64) {
    let (start, mut wall, mut processor, mut calls) = (Instant::now(), Vec::new(), Vec::new(), 0);
    while wall.is_empty() || start.elapsed().as_secs_f64() < seconds {
        let (before, call) = (processor_seconds(start), Instant::now());
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
