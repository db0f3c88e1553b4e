//! How the writer is doing: how long commits take, and whether the disk takes them. Must not know
//! what is written.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// A write that takes longer than this is a disk that hangs.
const PATIENCE: Duration = Duration::from_secs(2);

type Observe = Box<dyn Fn(f64) + Send + Sync>;

/// The writer's thread reports, others ask.
#[derive(Default)]
pub(super) struct Health {
    state: Mutex<State>,
    observe: OnceLock<Observe>,
}

#[derive(Default)]
struct State {
    /// A write is under way.
    since: Option<Instant>,
    /// Why the last one failed.
    refused: Option<String>,
}

impl Health {
    pub(super) fn observe(&self, observe: Observe) {
        let _ = self.observe.set(observe);
    }

    pub(super) fn problem(&self) -> Option<String> {
        let state = self.state();
        let slow = state
            .since
            .map(|since| since.elapsed())
            .filter(|elapsed| *elapsed > PATIENCE);
        let slow = slow.map(|elapsed| {
            format!(
                "a write to the journal takes {} s so far",
                elapsed.as_secs()
            )
        });
        state
            .refused
            .clone()
            .map(|error| format!("the journal cannot be written: {error}"))
            .or(slow)
    }

    pub(super) fn begin(&self) -> Instant {
        *self.state().since.insert(Instant::now())
    }

    pub(super) fn committed(&self, begun: Instant) {
        *self.state() = State::default();
        if let Some(observe) = self.observe.get() {
            observe(begun.elapsed().as_secs_f64());
        }
    }

    pub(super) fn refused(&self, error: String) {
        *self.state() = State {
            since: None,
            refused: Some(error),
        };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
