//! Snapshot (or seed) + log → parameters: what recovery and `verify` both are. Must not know where the log is kept.
use super::{AdamState, Baseline, LearningSettings, Policy, PolicyError};
use crate::space::{Decision, Space};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A cut of the shared parameters at one sequence number (`state.sequence`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub state: AdamState,
    pub baseline: Baseline,
    pub learning: LearningSettings,
}

/// One entry of the log; entries are replayed in the order of their sequence numbers, which have no gaps from 1.
#[derive(Clone, Debug, PartialEq)]
pub enum LogEntry {
    Minibatch(MinibatchEntry),
    /// The settings that hold from this number on. It changes no parameter.
    Change {
        sequence: u64,
        learning: LearningSettings,
    },
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

/// Which parameters a minibatch was sampled from: shard i's range is `boundaries[i]..boundaries[i + 1]`, at version `versions[i]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PulledParameters {
    pub boundaries: Vec<usize>,
    pub versions: Vec<u64>,
}

/// The log does not replay.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("the log has no entry {expected} (found {found})")]
    Gap { expected: u64, found: u64 },
    #[error("entry {sequence} was sampled at version {version}, which the replay does not hold (too old a pull for this snapshot)")]
    Version { sequence: u64, version: u64 },
    #[error("entry {sequence}: {source}")]
    Policy { sequence: u64, source: PolicyError },
}

/// A replay in progress: the current cut, and the earlier versions that are still wanted.
pub struct Replay<'a> {
    _p: std::marker::PhantomData<&'a ()>,
}

impl<'a> Replay<'a> {
    /// Starts at `snapshot`. Versions from `oldest_wanted` on are kept until `forget_before` releases them.
    pub fn new(_policy: &'a Policy, _space: &'a dyn Space, _snapshot: Snapshot) -> Self {
        unimplemented!()
    }
    /// Applies the next entry.
    pub fn apply(&mut self, _entry: &LogEntry) -> Result<(), ReplayError> {
        unimplemented!()
    }
    /// The parameters of a pull, put together from the versions held.
    pub fn pulled(&self, _sequence: u64, _pulled: &PulledParameters) -> Result<Arc<[f32]>, ReplayError> {
        unimplemented!()
    }
    /// Releases versions below this one.
    pub fn forget_before(&mut self, _version: u64) {
        unimplemented!()
    }
    /// The current cut.
    pub fn snapshot(&self) -> &Snapshot {
        unimplemented!()
    }
    pub fn into_snapshot(self) -> Snapshot {
        unimplemented!()
    }
}
