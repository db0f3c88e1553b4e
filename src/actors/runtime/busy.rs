//! The share of the last seconds in which a lane was busy. Must not know what it did.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The ratio is that of the last 15 seconds: longer than a scrape interval, short enough for a person
/// who watches.
const WINDOW: Duration = Duration::from_secs(15);

/// Total time in which a lane had a child; the lane's own thread counts it.
#[derive(Default)]
pub struct BusyTime(Mutex<Busy>);

#[derive(Default)]
struct Busy {
    /// Time of the children that have ended.
    ended: Duration,
    /// When the child that is running began.
    since: Option<Instant>,
}

impl Busy {
    fn total(&self) -> Duration {
        self.ended + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl BusyTime {
    /// A child begins.
    pub fn begin(&self) {
        self.lock().since = Some(Instant::now());
    }

    /// The child has ended.
    pub fn end(&self) {
        let mut busy = self.lock();
        busy.ended = busy.total();
        busy.since = None;
    }

    /// Busy time until now, with that of the child that is running.
    pub fn total(&self) -> Duration {
        self.lock().total()
    }

    fn lock(&self) -> MutexGuard<'_, Busy> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Computes the share of the window that was busy.
pub struct BusyRatio {
    /// Busy time at earlier instants, the oldest first.
    readings: VecDeque<(Instant, Duration)>,
}

impl BusyRatio {
    pub fn new(now: Instant) -> Self {
        Self {
            readings: VecDeque::from([(now, Duration::ZERO)]),
        }
    }

    /// The ratio at `now`, 0..=1, from the total busy time until then.
    pub fn at(&mut self, now: Instant, total: Duration) -> f64 {
        // The oldest remaining reading is the newest one that is at least a window old: the readings
        // always cover the window.
        while self
            .readings
            .get(1)
            .is_some_and(|(then, _)| now.duration_since(*then) >= WINDOW)
        {
            self.readings.pop_front();
        }
        let ratio = self.readings.front().map_or(0.0, |(then, earlier)| {
            let passed = now.duration_since(*then).as_secs_f64();
            if passed > 0.0 {
                (total.saturating_sub(*earlier).as_secs_f64() / passed).min(1.0)
            } else {
                0.0
            }
        });
        self.readings.push_back((now, total));
        ratio
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_that_of_the_window_alone() {
        let start = Instant::now();
        let mut ratio = BusyRatio::new(start);
        let seconds = Duration::from_secs;
        assert_eq!(ratio.at(start, seconds(0)), 0.0);
        assert_eq!(ratio.at(start + seconds(4), seconds(1)), 0.25);
        assert_eq!(ratio.at(start + seconds(10), seconds(5)), 0.5);
        // 15 s back lies second 10: everything since then was busy.
        assert_eq!(ratio.at(start + seconds(25), seconds(20)), 1.0);
        assert_eq!(ratio.at(start + seconds(40), seconds(20)), 0.0);
    }

    #[test]
    fn a_child_under_training_counts_before_it_ends() {
        let busy = BusyTime::default();
        assert_eq!(busy.total(), Duration::ZERO);
        busy.begin();
        let first = busy.total();
        // Until the clock moves.
        while busy.total() == first {}
        assert!(busy.total() > first);
        busy.end();
        let ended = busy.total();
        assert_eq!(busy.total(), ended);
        busy.end();
        assert_eq!(busy.total(), ended);
    }
}
