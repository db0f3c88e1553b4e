//! Snapshot (or seed) + log → parameters: what recovery and `verify` both are. Must not know where
//! the log is kept.

use super::LearningSettings;
use crate::policy::{AdamState, Baseline, Episode, Gradient, Policy, PolicyError};
use crate::space::{Decision, Space};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A cut of the shared parameters at one sequence number (`state.sequence`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub state: AdamState,
    pub baseline: Baseline,
    pub learning: LearningSettings,
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
    /// Its place in the order.
    pub fn sequence(&self) -> u64 {
        match self {
            Self::Minibatch(minibatch) => minibatch.sequence,
            Self::Change { sequence, .. } => *sequence,
        }
    }
}

/// A minibatch all of whose outcomes are known.
#[derive(Clone, Debug, PartialEq)]
pub struct MinibatchEntry {
    pub sequence: u64,
    pub layers: usize,
    pub pulled: PulledParameters,
    /// The baseline read for its advantages; None before the first reward.
    pub baseline: Option<f64>,
    /// In slot order: the decisions, and the reward (None: failed and left out).
    pub episodes: Vec<(Vec<Decision>, Option<f64>)>,
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
    #[error("entry {sequence}: {source}")]
    Policy { sequence: u64, source: PolicyError },
}

/// The cut before the first entry.
pub fn initial_snapshot(policy: &Policy, seed: u64, learning: LearningSettings) -> Snapshot {
    Snapshot {
        state: AdamState::new(policy.initial_parameters(seed)),
        baseline: Baseline::default(),
        learning,
    }
}

/// The gradient of one minibatch at the parameters it was sampled from: live controllers and
/// replays both come here, so that they cannot differ.
///
/// # Errors
/// As [`Policy::gradient`].
pub fn entry_gradient(
    policy: &Policy,
    space: &dyn Space,
    parameters: &[f32],
    layers: usize,
    episodes: &[(Vec<Decision>, Option<f64>)],
    baseline: Option<f64>,
    learning: &LearningSettings,
) -> Result<Gradient, PolicyError> {
    if !learning.learns {
        return Ok(Gradient {
            values: vec![0.0; policy.parameter_count()],
            norm: 0.0,
            entropy: 0.0,
        });
    }
    let rewards: Vec<Option<f64>> = episodes.iter().map(|(_, reward)| *reward).collect();
    let advantages = Baseline::advantages(baseline, &rewards);
    let episodes: Vec<Episode> = episodes
        .iter()
        .zip(advantages)
        .map(|((decisions, _), advantage)| Episode {
            decisions,
            advantage,
        })
        .collect();
    policy.gradient(
        parameters,
        space,
        layers,
        &episodes,
        learning.entropy_weight,
    )
}

/// A replay in progress: the current cut, and the earlier versions that are still wanted.
pub struct Replay<'a> {
    policy: &'a Policy,
    space: &'a dyn Space,
    snapshot: Snapshot,
    versions: BTreeMap<u64, Arc<[f32]>>,
}

impl<'a> Replay<'a> {
    /// Starts at `snapshot`. Versions from its own on are kept until `forget_before` releases them.
    pub fn new(policy: &'a Policy, space: &'a dyn Space, snapshot: Snapshot) -> Self {
        let versions = BTreeMap::from([(
            snapshot.state.version,
            snapshot.state.parameters.as_slice().into(),
        )]);
        Self {
            policy,
            space,
            snapshot,
            versions,
        }
    }

    /// Applies the next entry.
    ///
    /// # Errors
    /// When it is not the next, or cannot be replayed.
    pub fn apply(&mut self, entry: &LogEntry) -> Result<(), ReplayError> {
        let (expected, found) = (self.snapshot.state.sequence + 1, entry.sequence());
        if expected != found {
            return Err(ReplayError::Gap { expected, found });
        }
        match entry {
            LogEntry::Change { sequence, learning } => {
                self.snapshot.state.skip(*sequence);
                self.snapshot.learning = *learning;
            }
            LogEntry::Minibatch(minibatch) => self.apply_minibatch(minibatch)?,
        }
        Ok(())
    }

    fn apply_minibatch(&mut self, entry: &MinibatchEntry) -> Result<(), ReplayError> {
        let sequence = entry.sequence;
        let parameters = self.pulled(sequence, &entry.pulled)?;
        let learning = self.snapshot.learning;
        let gradient = entry_gradient(
            self.policy,
            self.space,
            &parameters,
            entry.layers,
            &entry.episodes,
            entry.baseline,
            &learning,
        )
        .map_err(|source| ReplayError::Policy { sequence, source })?;
        let state = &mut self.snapshot.state;
        let version = state.version;
        state.push(sequence, &gradient.values, &learning.update());
        if state.version != version {
            self.versions
                .insert(state.version, state.parameters.as_slice().into());
        }
        for reward in entry.episodes.iter().filter_map(|(_, reward)| *reward) {
            self.snapshot.baseline.push(reward, learning.baseline_decay);
        }
        Ok(())
    }

    /// The parameters of a pull, put together from the versions held. `sequence` is named in
    /// errors.
    ///
    /// # Errors
    /// When a version is not held, or the boundaries do not fit.
    pub fn pulled(
        &self,
        sequence: u64,
        pulled: &PulledParameters,
    ) -> Result<Arc<[f32]>, ReplayError> {
        let held = |version: u64| {
            self.versions
                .get(&version)
                .ok_or(ReplayError::Version { sequence, version })
        };
        let parameters = self.policy.parameter_count();
        let found = self.snapshot.state.parameters.len();
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
            return held(version).cloned();
        }
        let mut whole = Vec::with_capacity(parameters);
        for (range, &version) in pulled.boundaries.windows(2).zip(&pulled.versions) {
            whole.extend_from_slice(&held(version)?[range[0]..range[1]]);
        }
        Ok(whole.into())
    }

    /// Releases versions below this one, but for the current one.
    pub fn forget_before(&mut self, version: u64) {
        self.versions = self
            .versions
            .split_off(&version.min(self.snapshot.state.version));
    }

    /// For each entry of a log: the oldest version that it or a later one was pulled at, for
    /// [`Replay::forget_before`].
    pub fn wanted_versions(log: &[LogEntry]) -> Vec<u64> {
        let mut wanted = u64::MAX;
        let mut versions: Vec<u64> = log
            .iter()
            .rev()
            .map(|entry| {
                if let LogEntry::Minibatch(minibatch) = entry {
                    wanted = wanted.min(minibatch.pulled.oldest());
                }
                wanted
            })
            .collect();
        versions.reverse();
        versions
    }

    /// The current cut.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub fn into_snapshot(self) -> Snapshot {
        self.snapshot
    }
}
