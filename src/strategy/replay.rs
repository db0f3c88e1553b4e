//! Snapshot (or seed) + log → parameters and the strategy's state: what recovery and `verify` both
//! are. Must not know where the log is kept.

use super::{GradientRequest, History, HistoryPosition, LearningSettings, RewardedMinibatch};
use crate::policy::{AdamState, Policy, PolicyError, RewardAverages};
use crate::space::{Decision, Space};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A cut of everything that is shared at one sequence number (`state.sequence`). Not taken between
/// two minibatches of a synchronous round: the second is rewarded by the state before the round.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub state: AdamState,
    pub averages: RewardAverages,
    pub learning: LearningSettings,
    /// See [`super::Strategy::save`].
    pub strategy: Vec<u8>,
}

/// One entry of the log; entries are replayed in the order of their sequence numbers, which have no
/// gaps from 1.
#[derive(Clone, Debug, PartialEq)]
pub enum LogEntry {
    Minibatch(MinibatchEntry),
    /// The settings that hold from this number on. It changes no parameter.
    Change {
        sequence: u64,
        learning: LearningSettings,
    },
}

impl LogEntry {
    /// Its position in the order.
    pub fn sequence(&self) -> u64 {
        match self {
            Self::Minibatch(minibatch) => minibatch.sequence,
            Self::Change { sequence, .. } => *sequence,
        }
    }
}

/// A minibatch as it was proposed and written down.
#[derive(Clone, Debug, PartialEq)]
pub struct ProposedMinibatch {
    pub controller: u64,
    /// Counts this controller's minibatches, from 0.
    pub minibatch: u64,
    /// Its trials have this id and those that follow.
    pub first_id: u64,
    pub layers: usize,
    pub pulled: PulledParameters,
    /// What the strategy had seen; None: written down by a program that did not say.
    pub history: Option<HistoryPosition>,
    /// Names the synchronous round that it belongs to.
    pub round: Option<u64>,
    /// In slot order.
    pub decisions: Vec<Vec<Decision>>,
}

/// A minibatch all of whose outcomes are known.
#[derive(Clone, Debug, PartialEq)]
pub struct MinibatchEntry {
    pub sequence: u64,
    pub proposed: ProposedMinibatch,
    /// The baseline read for its advantages; None before the first reward.
    pub baseline: Option<f64>,
    /// Read with it; see [`LearningSettings::scale`].
    pub scale: Option<f64>,
    /// In slot order; None: failed and left out.
    pub rewards: Vec<Option<f64>>,
}

impl MinibatchEntry {
    /// As strategies take it.
    pub fn rewarded(&self) -> RewardedMinibatch<'_> {
        RewardedMinibatch {
            sequence: self.sequence,
            layers: self.proposed.layers,
            decisions: &self.proposed.decisions,
            rewards: &self.rewards,
            baseline: self.baseline,
            scale: self.scale,
        }
    }
}

/// The parameters that a minibatch was proposed from, as they were pulled, for a replay that starts
/// later.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldParameters {
    pub controller: u64,
    pub minibatch: u64,
    pub parameters: Arc<[f32]>,
}

/// Which parameters a minibatch was sampled from: shard i's range is `boundaries[i]..boundaries[i +
/// 1]`, at version `versions[i]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PulledParameters {
    pub boundaries: Vec<usize>,
    pub versions: Vec<u64>,
}

impl PulledParameters {
    /// The oldest version in it.
    pub fn oldest(&self) -> u64 {
        self.versions.iter().copied().min().unwrap_or(u64::MAX)
    }
}

/// The log does not replay.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("the log has no entry {expected} (found {found})")]
    Gap { expected: u64, found: u64 },
    #[error("entry {sequence} was sampled at version {version}, which the replay does not hold")]
    Version { sequence: u64, version: u64 },
    #[error(
        "entry {sequence}: its shard boundaries do not fit this controller's {parameters} parameters"
    )]
    Boundaries { sequence: u64, parameters: usize },
    #[error("the strategy's state at entry {sequence}: {problem}")]
    Strategy { sequence: u64, problem: String },
    #[error("entry {sequence}: {source}")]
    Policy { sequence: u64, source: PolicyError },
}

/// The cut before the first entry.
pub fn initial_snapshot(policy: &Policy, seed: u64, learning: LearningSettings) -> Snapshot {
    Snapshot {
        state: AdamState::new(policy.initial_parameters(seed)),
        averages: RewardAverages::default(),
        learning,
        strategy: Vec::new(),
    }
}

/// A replay in progress: the current cut, and the earlier versions that are still wanted.
pub struct Replay<'a> {
    pub(super) policy: &'a Policy,
    pub(super) space: &'a dyn Space,
    state: AdamState,
    averages: RewardAverages,
    learning: LearningSettings,
    history: History,
    versions: BTreeMap<u64, Arc<[f32]>>,
    /// By controller and minibatch: what was pulled before the snapshot.
    held: HashMap<(u64, u64), Arc<[f32]>>,
}

impl<'a> Replay<'a> {
    /// Starts at `snapshot`. Versions from its own on are kept until `forget_before` releases them.
    ///
    /// # Errors
    /// When the snapshot's state is not one of its strategy.
    pub fn new(
        policy: &'a Policy,
        space: &'a dyn Space,
        snapshot: Snapshot,
    ) -> Result<Self, ReplayError> {
        let Snapshot {
            state,
            averages,
            learning,
            strategy,
        } = snapshot;
        let sequence = state.sequence;
        let position = HistoryPosition { sequence, trial: 0 };
        let history = History::new(learning.strategy, &strategy, position)
            .map_err(|problem| ReplayError::Strategy { sequence, problem })?;
        Ok(Self {
            policy,
            space,
            versions: BTreeMap::from([(state.version, state.parameters.as_slice().into())]),
            state,
            averages,
            learning,
            history,
            held: HashMap::new(),
        })
    }

    /// The strategy's state before the first entry.
    pub(super) fn begin_with(&mut self, strategy: &[u8]) -> Result<(), ReplayError> {
        let position = HistoryPosition::default();
        self.history =
            History::new(self.learning.strategy, strategy, position).map_err(|problem| {
                ReplayError::Strategy {
                    sequence: 0,
                    problem,
                }
            })?;
        Ok(())
    }

    /// Minibatches that were pulled before the snapshot, with their parameters.
    #[must_use]
    pub fn holding(mut self, held: impl IntoIterator<Item = HeldParameters>) -> Self {
        let entry = |held: HeldParameters| ((held.controller, held.minibatch), held.parameters);
        self.held.extend(held.into_iter().map(entry));
        self
    }

    /// Applies the next entry.
    ///
    /// # Errors
    /// When it is not the next, or cannot be replayed.
    pub fn apply(&mut self, entry: &LogEntry) -> Result<(), ReplayError> {
        let expected = self.state.sequence + 1;
        let found = entry.sequence();
        if expected != found {
            return Err(ReplayError::Gap { expected, found });
        }
        match entry {
            LogEntry::Change { sequence, learning } => {
                self.state.skip(*sequence);
                self.history.change(*sequence, &self.learning, learning);
                self.learning = *learning;
            }
            LogEntry::Minibatch(minibatch) => self.apply_minibatch(minibatch)?,
        }
        Ok(())
    }

    fn apply_minibatch(&mut self, entry: &MinibatchEntry) -> Result<(), ReplayError> {
        let sequence = entry.sequence;
        let proposed = &entry.proposed;
        let parameters = self.parameters_of(
            sequence,
            proposed.controller,
            proposed.minibatch,
            &proposed.pulled,
        )?;
        self.held.remove(&(proposed.controller, proposed.minibatch));
        let learning = self.learning;
        let minibatch = entry.rewarded();
        let compared = minibatch.compared(&learning);
        let strategy =
            self.history
                .log(self.space, proposed.controller, proposed.round, &minibatch);
        let gradient = strategy
            .gradient(&GradientRequest {
                policy: self.policy,
                space: self.space,
                parameters: &parameters,
                learning: &learning,
                minibatch,
            })
            .map_err(|source| ReplayError::Policy { sequence, source })?;
        let version = self.state.version;
        self.state
            .push(sequence, &gradient.values, &learning.update());
        if self.state.version != version {
            self.versions
                .insert(self.state.version, self.state.parameters.as_slice().into());
        }
        learning.average(&mut self.averages, &compared);
        Ok(())
    }

    /// The parameters that a minibatch was proposed from: those held for it, or put together from
    /// the versions at hand. `sequence` is named in errors.
    ///
    /// # Errors
    /// As [`Replay::pulled`].
    pub fn parameters_of(
        &self,
        sequence: u64,
        controller: u64,
        minibatch: u64,
        pulled: &PulledParameters,
    ) -> Result<Arc<[f32]>, ReplayError> {
        match self.held.get(&(controller, minibatch)) {
            Some(held) if held.len() == self.policy.parameter_count() => Ok(held.clone()),
            Some(_) => Err(ReplayError::Boundaries {
                sequence,
                parameters: self.policy.parameter_count(),
            }),
            None => self.pulled(sequence, pulled),
        }
    }

    /// The parameters of a pull, put together from the versions at hand. `sequence` is named in
    /// errors.
    ///
    /// # Errors
    /// When a version is not at hand, or the boundaries do not fit.
    pub fn pulled(
        &self,
        sequence: u64,
        pulled: &PulledParameters,
    ) -> Result<Arc<[f32]>, ReplayError> {
        let version_of = |version: u64| {
            self.versions
                .get(&version)
                .ok_or(ReplayError::Version { sequence, version })
        };
        let parameters = self.policy.parameter_count();
        let found = self.state.parameters.len();
        if found != parameters {
            return Err(ReplayError::Policy {
                sequence,
                source: PolicyError::Parameters {
                    expected: parameters,
                    found,
                },
            });
        }
        let ascending =
            pulled.boundaries.is_sorted() && pulled.boundaries.len() == pulled.versions.len() + 1;
        if !ascending
            || pulled.boundaries.first() != Some(&0)
            || pulled.boundaries.last() != Some(&parameters)
        {
            return Err(ReplayError::Boundaries {
                sequence,
                parameters,
            });
        }
        if let Some(&version) = pulled.versions.first()
            && pulled.versions.iter().all(|other| *other == version)
        {
            return version_of(version).cloned();
        }
        let mut whole = Vec::with_capacity(parameters);
        for (range, &version) in pulled.boundaries.windows(2).zip(&pulled.versions) {
            whole.extend_from_slice(&version_of(version)?[range[0]..range[1]]);
        }
        Ok(whole.into())
    }

    /// Releases versions below this one, but for the current one.
    pub fn forget_before(&mut self, version: u64) {
        self.versions = self.versions.split_off(&version.min(self.state.version));
    }

    /// For each entry of a log: the oldest version that it or a later one was pulled at, for
    /// [`Replay::forget_before`].
    pub fn wanted_versions(log: &[LogEntry]) -> Vec<u64> {
        wanted_versions(log, |proposed| proposed.pulled.oldest())
    }

    /// The same, leaving out the minibatches whose parameters are held.
    pub fn versions_to_keep(&self, log: &[LogEntry]) -> Vec<u64> {
        wanted_versions(log, |proposed| {
            self.oldest_wanted(proposed.controller, proposed.minibatch, &proposed.pulled)
        })
    }

    /// The oldest version that a minibatch needs of this replay.
    pub fn oldest_wanted(&self, controller: u64, minibatch: u64, pulled: &PulledParameters) -> u64 {
        if self.held.contains_key(&(controller, minibatch)) {
            u64::MAX
        } else {
            pulled.oldest()
        }
    }

    /// Sequence number of the last entry applied.
    pub fn sequence(&self) -> u64 {
        self.state.sequence
    }

    /// Version of the current parameters.
    pub fn version(&self) -> u64 {
        self.state.version
    }

    pub fn averages(&self) -> RewardAverages {
        self.averages
    }

    /// The learning settings that hold after the last entry.
    pub fn learning(&self) -> &LearningSettings {
        &self.learning
    }

    pub fn history(&self) -> &History {
        &self.history
    }

    /// The current cut.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            state: self.state.clone(),
            averages: self.averages,
            learning: self.learning,
            strategy: self.history.save(),
        }
    }

    /// The current cut, and the history with it.
    pub fn into_parts(self) -> (Snapshot, History) {
        let snapshot = Snapshot {
            state: self.state,
            averages: self.averages,
            learning: self.learning,
            strategy: self.history.save(),
        };
        (snapshot, self.history)
    }
}

/// For each entry: the smallest of what it and the later ones want.
fn wanted_versions(log: &[LogEntry], wants: impl Fn(&ProposedMinibatch) -> u64) -> Vec<u64> {
    let mut wanted = u64::MAX;
    let mut versions: Vec<u64> = log
        .iter()
        .rev()
        .map(|entry| {
            if let LogEntry::Minibatch(minibatch) = entry {
                wanted = wanted.min(wants(&minibatch.proposed));
            }
            wanted
        })
        .collect();
    versions.reverse();
    versions
}
