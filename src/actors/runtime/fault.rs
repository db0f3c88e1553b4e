//! Injects faults in tests of the real program. Inert unless the environment variable
//! `NETWRIGHT_FAULT` is set, which is read here and nowhere else. `point=number*times@file`
//! separated by `;`: `step.panic=3` panics in a training step of trial 3's first attempt, and
//! `epoch2.hold=3@go` holds trial 3 at the end of its second epoch until there is a file `go`.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

struct Fault {
    point: String,
    number: u64,
    times: u64,
    /// A `hold` ends once this file exists; None: never.
    gate: Option<PathBuf>,
    injected: AtomicU64,
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
    let (rest, gate) = match rest.split_once('@') {
        Some((rest, file)) => (rest, Some(file.into())),
        None => (rest, None),
    };
    let (number, times) = rest.split_once('*').unwrap_or((rest, "1"));
    Some(Fault {
        point: point.to_owned(),
        number: number.parse().ok()?,
        times: times.parse().ok()?,
        gate,
        injected: AtomicU64::new(0),
    })
}

/// True: nothing fails on purpose in this process.
pub fn is_inert() -> bool {
    faults().is_empty()
}

/// Panics here if `NAME.panic=NUMBER` is wanted, and never returns if `NAME.freeze=NUMBER` is.
/// `number` is that of a minibatch, a trial or an entry of the log.
pub fn point(name: &str, number: u64) {
    if is_inert() {
        return;
    }
    assert!(
        !wanted(&format!("{name}.panic"), number),
        "a fault on purpose: {name}.panic={number}"
    );
    while wanted(&format!("{name}.freeze"), number) {
        std::thread::sleep(Duration::from_hours(1));
    }
}

/// Is a fault wanted here, now? It is `times` times in this process.
fn wanted(point: &str, number: u64) -> bool {
    let hit = |fault: &&Fault| fault.point == point && fault.number == number;
    faults()
        .iter()
        .filter(hit)
        .any(|fault| fault.injected.fetch_add(1, Ordering::Relaxed) < fault.times)
}

/// Does this attempt of a trial fail here? The first `times` attempts do, in whichever process they
/// run.
pub fn wanted_attempt(point: &str, trial: u64, attempt: u32) -> bool {
    faults().iter().any(|fault| {
        fault.point == point && fault.number == trial && u64::from(attempt) < fault.times
    })
}

/// Is this trial to wait at this point? Until the test creates the fault's file.
pub fn holds(point: &str, trial: u64) -> bool {
    let is_closed = |fault: &Fault| fault.gate.as_ref().is_none_or(|file| !file.exists());
    faults()
        .iter()
        .any(|fault| fault.point == point && fault.number == trial && is_closed(fault))
}

/// Waits here as long as `NAME.hold=NUMBER` is wanted: until the test creates the fault's file, or
/// kills the process.
pub fn hold(name: &str, number: u64) {
    let point = format!("{name}.hold");
    while holds(&point, number) {
        std::thread::sleep(Duration::from_millis(5));
    }
}
