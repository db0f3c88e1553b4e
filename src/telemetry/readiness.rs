//! Whether this process can do its work now, as actors and journal report it: the answer of `/readyz`.
//! Must not know what they do.

use std::sync::{Mutex, OnceLock, PoisonError};

type Probe = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// The reasons why the process is not ready, if any.
pub struct Readiness {
    /// What the process waits for, or why it is ending; None: the actors are ready.
    actors: Mutex<Option<String>>,
    /// Returns why the journal cannot be written, if it cannot.
    journal: OnceLock<Probe>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self {
            actors: Mutex::new(Some("the actors have not started".into())),
            journal: OnceLock::new(),
        }
    }
}

impl Readiness {
    /// The actors have started and a lane takes children.
    pub fn actors_started(&self) {
        self.set(None);
    }

    /// The process takes no more work, for this reason.
    pub fn leaving(&self, reason: &str) {
        self.set(Some(reason.to_owned()));
    }

    /// `probe` returns why the journal cannot be written, if it cannot; only the first probe is used.
    pub fn watch_journal(&self, probe: impl Fn() -> Option<String> + Send + Sync + 'static) {
        let _ = self.journal.set(Box::new(probe));
    }

    /// Why the process is not ready; None: it is.
    pub fn problem(&self) -> Option<String> {
        let actors = self
            .actors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        actors.or_else(|| self.journal.get().and_then(|probe| probe()))
    }

    fn set(&self, problem: Option<String>) {
        *self.actors.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ready_between_the_start_of_the_actors_and_the_end_while_the_journal_can_be_written() {
        let readiness = Readiness::default();
        assert!(readiness.problem().unwrap().contains("not started"));
        readiness.actors_started();
        assert_eq!(readiness.problem(), None);
        readiness.watch_journal(|| Some("the disk is full".into()));
        assert_eq!(readiness.problem().unwrap(), "the disk is full");
        readiness.leaving("signal 15");
        assert_eq!(readiness.problem().unwrap(), "signal 15");
    }
}
