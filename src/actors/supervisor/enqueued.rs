//! The architectures of the config file that are evaluated before anything is sampled: which trials
//! they are, and which controllers wait for them. They belong to no controller and no minibatch, so
//! nothing that they give reaches the policy. Must not know how they are trained.

use crate::child::Outcome;
use crate::journal::OpenTrial;
use std::collections::{BTreeMap, BTreeSet};

/// All of them, and who waits.
#[derive(Debug, Default)]
pub(super) struct Enqueued {
    /// By trial.
    names: BTreeMap<u64, String>,
    /// Those without an outcome.
    awaited: BTreeSet<u64>,
    /// Controllers that are ready to sample.
    waiting: BTreeSet<u64>,
}

impl Enqueued {
    pub(super) fn new(trials: &[(String, OpenTrial)]) -> Self {
        let names = trials
            .iter()
            .map(|(name, trial)| (trial.id, name.clone()))
            .collect();
        let awaited = trials
            .iter()
            .filter(|(_, trial)| !trial.finished)
            .map(|(_, trial)| trial.id)
            .collect();
        Self {
            names,
            awaited,
            waiting: BTreeSet::new(),
        }
    }

    /// The name of this trial; None: it was sampled.
    pub(super) fn name(&self, trial: u64) -> Option<&str> {
        self.names.get(&trial).map(String::as_str)
    }

    /// A controller is ready to sample; true: it waits here, for some have no outcome yet.
    pub(super) fn must_wait(&mut self, controller: u64) -> bool {
        if !self.awaited.is_empty() {
            self.waiting.insert(controller);
        }
        !self.awaited.is_empty()
    }

    /// A trial has ended: the controllers that waited, if it was the last one.
    pub(super) fn ended(&mut self, trial: u64, outcome: &Outcome) -> BTreeSet<u64> {
        let last =
            *outcome != Outcome::Stopped && self.awaited.remove(&trial) && self.awaited.is_empty();
        if last {
            std::mem::take(&mut self.waiting)
        } else {
            BTreeSet::new()
        }
    }
}
