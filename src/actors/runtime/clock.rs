//! The clock of everything that is limited in time: it counts only while this process runs. A
//! process can be suspended (SIGSTOP, a batch system, `docker pause`, a laptop's lid) while the
//! system's clocks go on; what waited meanwhile has not frozen, and no budget was used up. Must not
//! know what is measured.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// A thread counts ticks of this length.
const TICK: Duration = Duration::from_millis(250);

/// A tick that comes later than this after the last one counts as one tick: the process did not run
/// in between.
const LATE: Duration = Duration::from_millis(500);

/// Time since the start of a stopwatch in which this process ran.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    started: Duration,
}

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Self {
            started: Clock::of_this_process().now(),
        }
    }

    /// Never falls.
    pub fn elapsed(self) -> Duration {
        Clock::of_this_process().now().saturating_sub(self.started)
    }

    pub fn seconds(self) -> f64 {
        self.elapsed().as_secs_f64()
    }
}

/// What the ticks have counted; times are those of a clock that does not stop.
#[derive(Debug, Default)]
struct RunningTime {
    counted: Duration,
    last_tick: Duration,
}

impl RunningTime {
    /// A tick at `now`, at least `TICK` after the last one.
    fn tick(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.last_tick);
        self.counted += if passed > LATE { TICK } else { passed };
        self.last_tick = now;
    }

    /// What has been counted by `now`; of the time since the last tick no more than the next tick
    /// is sure to count, so that it never falls.
    fn at(&self, now: Duration) -> Duration {
        self.counted + now.saturating_sub(self.last_tick).min(TICK)
    }
}

/// The clock of a process, with the thread that ticks.
struct Clock {
    began: Instant,
    running: Mutex<RunningTime>,
    /// False: the system refused the thread, and the clock goes on through a suspension.
    ticks: bool,
}

impl Clock {
    fn of_this_process() -> &'static Self {
        static CLOCK: OnceLock<Clock> = OnceLock::new();
        CLOCK.get_or_init(|| {
            let thread = std::thread::Builder::new().name("clock".into());
            let ticking = thread.spawn(|| {
                loop {
                    std::thread::sleep(TICK);
                    let clock = Self::of_this_process();
                    clock.lock().tick(clock.began.elapsed());
                }
            });
            Self {
                began: Instant::now(),
                running: Mutex::default(),
                ticks: ticking.is_ok(),
            }
        })
    }

    fn now(&self) -> Duration {
        // Read under the lock: a tick in between would be later than this reading.
        let running = self.lock();
        let now = self.began.elapsed();
        if self.ticks { running.at(now) } else { now }
    }

    fn lock(&self) -> MutexGuard<'_, RunningTime> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[test]
    fn ticks_on_time_count_all_that_passed() {
        let mut running = RunningTime::default();
        for now in [250, 510, 760, 1250] {
            running.tick(milliseconds(now));
        }
        assert_eq!(running.at(milliseconds(1300)), milliseconds(1300));
    }

    #[test]
    fn a_suspension_counts_as_one_tick() {
        let mut running = RunningTime::default();
        running.tick(milliseconds(250));
        // 620 seconds of SIGSTOP; whoever looks before the next tick sees no more than one tick.
        assert_eq!(running.at(milliseconds(620_300)), milliseconds(500));
        running.tick(milliseconds(620_301));
        assert_eq!(running.at(milliseconds(620_301)), milliseconds(500));
        running.tick(milliseconds(620_551));
        assert_eq!(running.at(milliseconds(620_561)), milliseconds(760));
    }

    #[test]
    fn no_sequence_of_ticks_and_suspensions_makes_it_fall() {
        let mut running = RunningTime::default();
        let (mut now, mut last) = (Duration::ZERO, Duration::ZERO);
        for step in 0..10_000_u64 {
            now += milliseconds(step * 7919 % 97);
            if now >= running.last_tick + TICK {
                if step % 11 == 0 {
                    now += milliseconds(step * 31 % 1000);
                }
                if step % 3 == 0 {
                    running.tick(now);
                }
            }
            let seen = running.at(now);
            assert!(last <= seen && seen <= now, "{last:?}, {seen:?}, {now:?}");
            last = seen;
        }
    }

    #[test]
    fn a_stopwatch_goes_on_while_the_process_runs() {
        let watch = Stopwatch::start();
        // More than one tick: by then its thread has counted.
        while watch.elapsed() < 3 * TICK {
            std::thread::sleep(milliseconds(5));
        }
        assert!(watch.seconds() >= 0.75);
    }
}
