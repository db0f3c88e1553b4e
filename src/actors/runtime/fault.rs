//! Faults on purpose, for tests of the real program: inert unless the environment variable
//! `NETWRIGHT_FAULT` is set, which is read here and nowhere else. `point=number*times` separated by
//! `;`: `step.panic=3` panics in a training step of trial 3's first attempt.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

struct Fault {
    point: String,
    number: u64,
    times: u64,
    done: AtomicU64,
}

fn faults() -> &'static [Fault] {
    static FAULTS: OnceLock<Vec<Fault>> = OnceLock::new();
    FAULTS.get_or_init(|| {
        let Ok(text) = std::env::var("NETWRIGHT_FAULT") else {
            return Vec::new();
        };
        tracing::warn!("NETWRIGHT_FAULT is set: {text} will happen on purpose");
        text.split(';').filter_map(parse).collect()
    })
}

fn parse(text: &str) -> Option<Fault> {
    let (point, rest) = text.trim().split_once('=')?;
    let (number, times) = rest.split_once('*').unwrap_or((rest, "1"));
    Some(Fault {
        point: point.to_owned(),
        number: number.parse().ok()?,
        times: times.parse().ok()?,
        done: AtomicU64::new(0),
    })
}

/// Is a fault wanted at this point? `number` is a sequence number or a minibatch; `times` of them
/// in this process.
pub fn wanted(point: &str, number: u64) -> bool {
    let hit = |fault: &&Fault| fault.point == point && fault.number == number;
    faults()
        .iter()
        .filter(hit)
        .any(|fault| fault.done.fetch_add(1, Ordering::Relaxed) < fault.times)
}

/// As `wanted`, for a trial that is tried again, also by another process: its first `times`
/// attempts fail.
pub fn wanted_attempt(point: &str, trial: u64, attempt: u32) -> bool {
    faults().iter().any(|fault| {
        fault.point == point && fault.number == trial && u64::from(attempt) < fault.times
    })
}
