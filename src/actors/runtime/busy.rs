//! How much of the last seconds a lane was busy. Must not know what with.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The ratio speaks of this much time: more than a scrape interval, less than what a person would
/// wait for.
const WINDOW: Duration = Duration::from_secs(15);

/// Time in which a lane had a child, told by the lane's own thread.
#[derive(Default)]
pub struct BusyTime(Mutex<(Duration, Option<Instant>)>);

impl BusyTime {
    pub fn begin(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(Instant::now());
    }

    pub fn end(&self) {
        let mut time = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = time.1.take();
        time.0 += since.map_or(Duration::ZERO, |since| since.elapsed());
    }

    /// All of it until now.
    pub fn total(&self) -> Duration {
        let time = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        time.0 + time.1.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// The share of the window that was busy.
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

    /// `total` is the busy time until `now`; 0..=1.
    pub fn at(&mut self, now: Instant, total: Duration) -> f64 {
        // The oldest reading kept is the last one that is at least a window old, so that the window
        // is always covered.
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
        std::hint::black_box((0..1000).sum::<u64>());
        assert!(busy.total() > first);
        busy.end();
        let ended = busy.total();
        assert_eq!(busy.total(), ended);
        busy.end();
        assert_eq!(busy.total(), ended);
    }
}
