//! Derives a whole run again from its seed and its log: every baseline, every proposal, every
//! parameter. Must not know where the log is kept or how a difference is shown.

use super::{
    HeldParameters, HistoryPosition, HistoryView, LearningSettings, LogEntry, MinibatchEntry,
    PendingMinibatch, ProposalRequest, ProposedMinibatch, Replay, ReplayError, Snapshot, Strategy,
    initial_snapshot,
};
use crate::policy::{Policy, PolicyError};
use crate::random::Key;
use crate::space::{Decision, Space};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where the log is not what the seed and the strategy make of it.
#[derive(Debug, thiserror::Error)]
pub enum Discrepancy {
    #[error("the log does not begin with the learning settings")]
    Beginning,
    #[error(
        "it was compared with the baseline {stored:?}, but the rewards before it give {derived:?}: one of them was changed"
    )]
    Baseline {
        stored: Option<f64>,
        derived: Option<f64>,
    },
    #[error(
        "its advantages were bounded by the scale {stored:?}, but the rewards before it give {derived:?}: one of them was changed"
    )]
    Scale {
        stored: Option<f64>,
        derived: Option<f64>,
    },
    #[error(
        "trial {trial}: its decisions are not those that the strategy {strategy} proposes: they were changed, or what it had seen was"
    )]
    Decisions { trial: u64, strategy: &'static str },
    #[error(
        "trial {trial}: the parameters that are kept for its minibatch are not those that it was proposed from"
    )]
    Held { trial: u64 },
    #[error("trial {trial}: it cannot have seen the log up to sequence number {sequence}")]
    History { trial: u64, sequence: u64 },
    #[error("trial {trial}: {source}")]
    Proposal { trial: u64, source: PolicyError },
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

/// The state of a strategy at one sequence number, for the proposals that were made from it.
struct Past {
    strategy: Arc<dyn Strategy>,
    learning: LearningSettings,
    /// Sequence number of the last minibatch that was proposed from it.
    last_use: u64,
}

/// A minibatch that proposals may have seen pending.
struct Pending {
    minibatch: Arc<PendingMinibatch>,
    /// Open: the largest.
    sequence: u64,
    round: Option<u64>,
}

/// A verification in progress. Every minibatch is proposed again when its place in the log comes:
/// from the parameters that it was pulled at and the history that it had seen.
pub struct Verification<'a> {
    replay: Replay<'a>,
    seed: u64,
    log: &'a [LogEntry],
    /// Proposed and without a place in the log.
    open: &'a [ProposedMinibatch],
    /// What is stored for minibatches that were pulled before a snapshot.
    held: &'a [HeldParameters],
    /// For each entry, the oldest version that it or what comes later was pulled at.
    wanted_versions: Vec<u64>,
    /// Entries that are done.
    done: usize,
    /// The baseline and the scale that the entry before was compared with.
    last_comparison: Option<(Option<f64>, Option<f64>)>,
    /// By sequence number.
    past: BTreeMap<u64, Past>,
    /// Sequence number of a history → that of the last minibatch which has seen it.
    last_uses: BTreeMap<u64, u64>,
    /// By first trial: minibatches that a proposal still to come can have seen pending.
    pending: BTreeMap<u64, Pending>,
    /// Entries of the log whose minibatches are no longer in `pending`.
    passed: usize,
    /// Every strategy that was in force so far, for minibatches that do not say what they had seen.
    strategies: Vec<LearningSettings>,
}

impl<'a> Verification<'a> {
    /// Of a whole log, from its first entry, and of the minibatches that wait for outcomes.
    ///
    /// # Errors
    /// When the log does not begin with learning settings.
    pub fn new(
        policy: &'a Policy,
        space: &'a dyn Space,
        seed: u64,
        log: &'a [LogEntry],
        open: &'a [ProposedMinibatch],
    ) -> Result<Self, Discrepancy> {
        let Some(LogEntry::Change { learning, .. }) = log.first() else {
            return Err(Discrepancy::Beginning);
        };
        let replay = Replay::new(policy, space, initial_snapshot(policy, seed, *learning))?;
        let mut verification = Self {
            replay,
            seed,
            log,
            open,
            held: &[],
            wanted_versions: wanted_versions(log, open),
            done: 0,
            last_comparison: None,
            past: BTreeMap::new(),
            last_uses: BTreeMap::new(),
            pending: BTreeMap::new(),
            passed: 0,
            strategies: vec![*learning],
        };
        let sequenced = log.iter().filter_map(|entry| match entry {
            LogEntry::Minibatch(entry) => Some((entry.sequence, &entry.proposed)),
            LogEntry::Change { .. } => None,
        });
        for (sequence, proposed) in sequenced.chain(open.iter().map(|open| (u64::MAX, open))) {
            verification.expect(sequence, proposed);
        }
        Ok(verification)
    }

    /// Of a run whose strategy began with this state; empty: with none.
    ///
    /// # Errors
    /// The state is not one of its strategy.
    pub fn beginning_with(mut self, strategy: &[u8]) -> Result<Self, Discrepancy> {
        if !strategy.is_empty() {
            self.replay.begin_with(strategy)?;
        }
        Ok(self)
    }

    /// The parameters that are kept for minibatches are compared too.
    #[must_use]
    pub fn holding(mut self, held: &'a [HeldParameters]) -> Self {
        self.held = held;
        self
    }

    fn expect(&mut self, sequence: u64, proposed: &ProposedMinibatch) {
        if let Some(history) = proposed.history {
            let last_use = self.last_uses.entry(history.sequence).or_default();
            *last_use = sequence.max(*last_use);
        }
        let minibatch = PendingMinibatch::new(
            proposed.controller,
            proposed.minibatch,
            proposed.layers,
            proposed.decisions.clone().into(),
        );
        let pending = Pending {
            minibatch: Arc::new(minibatch),
            sequence,
            round: proposed.round,
        };
        self.pending.insert(proposed.first_id, pending);
    }

    /// Sequence number of the entry that comes next; None: all are done.
    pub fn next_sequence(&self) -> Option<u64> {
        self.log.get(self.done).map(LogEntry::sequence)
    }

    /// Verifies the next entry of the log; None: it was the last.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn step(&mut self) -> Result<Option<u64>, Discrepancy> {
        let log = self.log;
        let Some(entry) = log.get(self.done) else {
            return Ok(None);
        };
        self.replay.forget_before(self.wanted_versions[self.done]);
        if entry.sequence() == self.replay.sequence() + 1
            && let LogEntry::Minibatch(minibatch) = entry
        {
            self.check_comparison(minibatch)?;
            self.check_proposal(minibatch.sequence, &minibatch.proposed)?;
        }
        self.replay.apply(entry)?;
        self.remember(entry.sequence());
        self.done += 1;
        Ok(Some(entry.sequence()))
    }

    /// Verifies the minibatches that wait for outcomes, after the last entry.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn finish(&mut self) -> Result<(), Discrepancy> {
        for open in self.open {
            self.check_proposal(u64::MAX, open)?;
        }
        Ok(())
    }

    /// The cut after the last entry verified.
    pub fn snapshot(&self) -> Snapshot {
        self.replay.snapshot()
    }

    fn check_comparison(&mut self, entry: &MinibatchEntry) -> Result<(), Discrepancy> {
        let averages = self.replay.averages();
        let stored = (entry.baseline, entry.scale);
        let derived = (averages.baseline(), self.replay.learning().scale(&averages));
        // A synchronous round shares the averages before it.
        if Some(stored) != self.last_comparison {
            if stored.0 != derived.0 {
                return Err(Discrepancy::Baseline {
                    stored: stored.0,
                    derived: derived.0,
                });
            }
            if stored.1 != derived.1 {
                return Err(Discrepancy::Scale {
                    stored: stored.1,
                    derived: derived.1,
                });
            }
        }
        self.last_comparison = Some(stored);
        Ok(())
    }

    /// Keeps what later proposals have seen, and drops what none has.
    fn remember(&mut self, sequence: u64) {
        let learning = *self.replay.learning();
        if self
            .strategies
            .iter()
            .all(|known| known.strategy != learning.strategy)
        {
            self.strategies.push(learning);
        }
        if let Some(&last_use) = self.last_uses.get(&sequence) {
            let past = Past {
                strategy: self.replay.history().view().strategy,
                learning,
                last_use,
            };
            self.past.insert(sequence, past);
        }
        self.past.retain(|_, past| past.last_use > sequence);
        let oldest = self.past.keys().next().copied().unwrap_or(sequence);
        while let Some(entry) = self.log.get(self.passed)
            && entry.sequence() <= oldest
        {
            if let LogEntry::Minibatch(minibatch) = entry {
                self.pending.remove(&minibatch.proposed.first_id);
            }
            self.passed += 1;
        }
    }

    fn check_proposal(
        &self,
        sequence: u64,
        proposed: &ProposedMinibatch,
    ) -> Result<(), Discrepancy> {
        let parameters = self.replay.pulled(sequence, &proposed.pulled)?;
        let name = (proposed.controller, proposed.minibatch);
        let mut held = self.held.iter();
        if held
            .any(|held| (held.controller, held.minibatch) == name && held.parameters != parameters)
        {
            let trial = proposed.first_id;
            return Err(Discrepancy::Held { trial });
        }
        let Some(position) = proposed.history else {
            return self.check_without_history(&parameters, proposed);
        };
        let Some(past) = self.past.get(&position.sequence) else {
            return Err(Discrepancy::History {
                trial: proposed.first_id,
                sequence: position.sequence,
            });
        };
        let view = self.view(past, position, proposed);
        let decisions = self.propose(&view, &past.learning, &parameters, proposed)?;
        match first_difference(&decisions, proposed) {
            None => Ok(()),
            Some(trial) => Err(Discrepancy::Decisions {
                trial,
                strategy: past.learning.strategy.as_str(),
            }),
        }
    }

    /// A program that stored no position had strategies that read no history. Which of them was in
    /// force when it proposed is not certain where the settings changed meanwhile.
    fn check_without_history(
        &self,
        parameters: &[f32],
        proposed: &ProposedMinibatch,
    ) -> Result<(), Discrepancy> {
        let mut difference = None;
        for learning in self.strategies.iter().rev() {
            let view = HistoryView {
                position: HistoryPosition::default(),
                strategy: learning.strategy.create(),
                pending: Vec::new(),
            };
            let decisions = self.propose(&view, learning, parameters, proposed)?;
            let Some(trial) = first_difference(&decisions, proposed) else {
                return Ok(());
            };
            difference.get_or_insert(Discrepancy::Decisions {
                trial,
                strategy: learning.strategy.as_str(),
            });
        }
        difference.map_or(Ok(()), Err)
    }

    /// What the strategy had seen when it proposed this minibatch.
    fn view(
        &self,
        past: &Past,
        position: HistoryPosition,
        proposed: &ProposedMinibatch,
    ) -> HistoryView {
        let strategy = past.strategy.clone();
        if !strategy.reads_history() {
            return HistoryView {
                position,
                strategy,
                pending: Vec::new(),
            };
        }
        let pending = self
            .pending
            .range(..proposed.first_id)
            .filter(|(first_id, pending)| {
                let written = **first_id <= position.trial && pending.sequence > position.sequence;
                written || (pending.round.is_some() && pending.round == proposed.round)
            })
            .map(|(_, pending)| pending.minibatch.clone())
            .collect();
        HistoryView {
            position,
            strategy,
            pending,
        }
    }

    fn propose(
        &self,
        view: &HistoryView,
        learning: &LearningSettings,
        parameters: &[f32],
        proposed: &ProposedMinibatch,
    ) -> Result<Vec<Vec<Decision>>, Discrepancy> {
        let keys = Key::of_minibatch(
            self.seed,
            proposed.controller,
            proposed.minibatch,
            proposed.decisions.len(),
        );
        let proposals = view
            .strategy
            .propose(&ProposalRequest {
                policy: self.replay.policy,
                space: self.replay.space,
                parameters,
                learning,
                layers: proposed.layers,
                keys: &keys,
                pending: &view.pending,
            })
            .map_err(|source| Discrepancy::Proposal {
                trial: proposed.first_id,
                source,
            })?;
        Ok(proposals
            .into_iter()
            .map(|proposal| proposal.decisions)
            .collect())
    }
}

/// The first trial of the minibatch whose decisions are others.
fn first_difference(decisions: &[Vec<Decision>], proposed: &ProposedMinibatch) -> Option<u64> {
    let slot = (0..proposed.decisions.len())
        .find(|slot| decisions.get(*slot) != proposed.decisions.get(*slot))?;
    Some(proposed.first_id + slot as u64)
}

/// As [`Replay::wanted_versions`], for the open minibatches too.
fn wanted_versions(log: &[LogEntry], open: &[ProposedMinibatch]) -> Vec<u64> {
    let open = open
        .iter()
        .map(|open| open.pulled.oldest())
        .min()
        .unwrap_or(u64::MAX);
    Replay::wanted_versions(log)
        .into_iter()
        .map(|version| version.min(open))
        .collect()
}
