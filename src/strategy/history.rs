//! What a strategy may know when it proposes: the log up to a sequence number, as the strategy's
//! own state, and the trials that are pending. A running search, a recovery and `verify` all move
//! it on by the same calls. Must not know where the log is kept.

use super::networks::network_name;
use super::{LearningSettings, RewardedMinibatch, Strategy, StrategyName};
use crate::space::{Decision, Space};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, OnceLock};

/// How much of a run a proposal has seen: stored with the minibatch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPosition {
    /// The log up to this sequence number.
    pub sequence: u64,
    /// Pending trials up to this id.
    pub trial: u64,
}

/// A minibatch that was proposed and whose place in the log is still to come.
#[derive(Debug)]
pub struct PendingMinibatch {
    pub controller: u64,
    /// Counts this controller's minibatches, from 0.
    pub minibatch: u64,
    pub layers: usize,
    /// In slot order.
    pub decisions: Arc<[Vec<Decision>]>,
    /// See [`Self::networks`].
    networks: OnceLock<Vec<u64>>,
}

impl PendingMinibatch {
    /// `minibatch` counts the controller's, from 0; `decisions` are in slot order.
    pub fn new(
        controller: u64,
        minibatch: u64,
        layers: usize,
        decisions: Arc<[Vec<Decision>]>,
    ) -> Self {
        Self {
            controller,
            minibatch,
            layers,
            decisions,
            networks: OnceLock::new(),
        }
    }

    /// The names of its networks, in slot order.
    pub(super) fn networks(&self, space: &dyn Space) -> &[u64] {
        self.networks.get_or_init(|| {
            let names = self.decisions.iter();
            names
                .map(|list| network_name(space, self.layers, list))
                .collect()
        })
    }
}

/// The history as it stands at one ticket. It does not change when the log goes on.
#[derive(Clone)]
pub struct HistoryView {
    pub position: HistoryPosition,
    pub strategy: Arc<dyn Strategy>,
    /// See [`super::ProposalRequest::pending`].
    pub pending: Vec<Arc<PendingMinibatch>>,
}

/// The history as it grows. A strategy that does not read it costs a pointer a minibatch.
#[derive(Clone)]
pub struct History {
    position: HistoryPosition,
    strategy: Arc<dyn Strategy>,
    /// The round whose minibatches are entering the log, and the state before it.
    round: Option<(u64, Arc<dyn Strategy>)>,
    /// By ascending trial.
    pending: Vec<Arc<PendingMinibatch>>,
}

impl History {
    /// Goes on from a state that [`History::save`] gave (empty: from none) at this position.
    ///
    /// # Errors
    /// One sentence, when the state is not one of this strategy.
    pub fn new(
        name: StrategyName,
        state: &[u8],
        position: HistoryPosition,
    ) -> Result<Self, String> {
        let mut history = Self {
            position,
            strategy: name.create(),
            round: None,
            pending: Vec::new(),
        };
        if !state.is_empty() {
            own(&mut history.strategy).restore(state)?;
        }
        Ok(history)
    }

    /// What a ticket issued now is answered from.
    pub fn view(&self) -> HistoryView {
        let pending = if self.strategy.reads_history() {
            self.pending.clone()
        } else {
            Vec::new()
        };
        HistoryView {
            position: self.position,
            strategy: self.strategy.clone(),
            pending,
        }
    }

    /// A minibatch was written down; its trials begin at `first_id`. Minibatches come by ascending
    /// trial.
    pub fn insert(&mut self, first_id: u64, minibatch: Arc<PendingMinibatch>) {
        let trials = minibatch.decisions.len() as u64;
        self.position.trial = (first_id + trials).saturating_sub(1);
        self.pending.push(minibatch);
    }

    /// A minibatch of `controller` takes its place in the log; `round` names the synchronous round
    /// that it belongs to. Returns the state that its gradient is computed with: that before it, or
    /// before its round.
    pub fn log(
        &mut self,
        space: &dyn Space,
        controller: u64,
        round: Option<u64>,
        minibatch: &RewardedMinibatch,
    ) -> Arc<dyn Strategy> {
        let before = match &self.round {
            Some((current, before)) if round == Some(*current) => before.clone(),
            _ => self.strategy.clone(),
        };
        self.round = round.map(|round| (round, before.clone()));
        // A controller has one minibatch at a time.
        self.pending
            .retain(|pending| pending.controller != controller);
        own(&mut self.strategy).observe(space, minibatch);
        self.position.sequence = minibatch.sequence;
        before
    }

    /// Other learning settings hold from this sequence number on. Another strategy starts with an
    /// empty state: it knows the log from here on.
    pub fn change(&mut self, sequence: u64, before: &LearningSettings, now: &LearningSettings) {
        self.position.sequence = sequence;
        self.round = None;
        if before.strategy == now.strategy {
            own(&mut self.strategy).change(before, now);
        } else {
            self.strategy = now.strategy.create();
        }
    }

    /// Trials up to this id are written down.
    pub fn reach(&mut self, trial: u64) {
        self.position.trial = self.position.trial.max(trial);
    }

    /// Whether proposals depend on it.
    pub fn is_read(&self) -> bool {
        self.strategy.reads_history()
    }

    /// The strategy's state, for a snapshot.
    pub fn save(&self) -> Vec<u8> {
        self.strategy.save()
    }
}

impl HistoryView {
    /// The next replica of the same synchronous round sees this minibatch as well.
    pub fn add(&mut self, minibatch: Arc<PendingMinibatch>) {
        self.pending.push(minibatch);
    }
}

/// The state for changing: views that were given out keep theirs.
fn own(strategy: &mut Arc<dyn Strategy>) -> &mut dyn Strategy {
    if Arc::get_mut(strategy).is_none() {
        *strategy = strategy.copy();
    }
    Arc::get_mut(strategy).expect("a copy has one owner")
}
