//! The architectures of the config file that are evaluated before anything is sampled: which trials
//! they are, and which controllers wait for them. They belong to no controller and no minibatch, so
//! their rewards do not reach the policy. Must not know how they are trained.

use crate::child::Outcome;
use crate::journal::OpenTrial;
use std::collections::{BTreeMap, BTreeSet};

/// The enqueued trials, and the controllers that wait for them.
#[derive(Debug, Default)]
pub(super) struct Enqueued {
    /// Their names, by trial.
    names: BTreeMap<u64, String>,
    /// Trials without an outcome.
    unfinished: BTreeSet<u64>,
    /// Controllers that are ready to sample and wait.
    waiting: BTreeSet<u64>,
}

impl Enqueued {
    pub(super) fn new(trials: &[(String, OpenTrial)]) -> Self {
        let names = trials
            .iter()
            .map(|(name, trial)| (trial.id, name.clone()))
            .collect();
        let unfinished = trials
            .iter()
            .filter(|(_, trial)| !trial.finished)
            .map(|(_, trial)| trial.id)
            .collect();
        Self {
            names,
            unfinished,
            waiting: BTreeSet::new(),
        }
    }

    /// The name of this trial; None: it was sampled.
    pub(super) fn name(&self, trial: u64) -> Option<&str> {
        self.names.get(&trial).map(String::as_str)
    }

    /// A controller is ready to sample. True: it waits, because an enqueued trial has no outcome yet.
    pub(super) fn must_wait(&mut self, controller: u64) -> bool {
        if !self.unfinished.is_empty() {
            self.waiting.insert(controller);
        }
        !self.unfinished.is_empty()
    }

    /// A trial has ended; if it was the last one, returns the controllers that waited.
    pub(super) fn ended(&mut self, trial: u64, outcome: &Outcome) -> BTreeSet<u64> {
        let last = *outcome != Outcome::Stopped
            && self.unfinished.remove(&trial)
            && self.unfinished.is_empty();
        if last {
            std::mem::take(&mut self.waiting)
        } else {
            BTreeSet::new()
        }
    }
}
