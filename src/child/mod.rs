//! An Architecture becomes a network and is trained; its validation score is the reward. A function
//! of its arguments and a seed: must not know of actors, the journal, telemetry or the policy.

mod cell;
mod checkpoint;
mod classifier;
mod command;
pub mod convnet;
mod cost;
mod device;
mod device_engine;
mod early_stopping;
mod engine;
mod failure;
mod host_engine;
pub mod language_model;
mod latency;
mod limited;
mod linear;
mod metric;
mod optimiser;
mod reward;
mod schedule;
mod settings;
mod table;
mod test_result;
#[cfg(test)]
mod tests;
mod train;
mod training;
mod weight_average;
mod weights;

pub use cell::cell_program;
#[cfg(test)]
pub use checkpoint::at as checkpoint_at;
pub use checkpoint::{FILE_NAME as CHECKPOINT_FILE, position as checkpoint_position};
pub use classifier::{Classifier, softmax};
pub use command::{
    CommandEvaluator, CommandLane, EventProcess, adopt_orphans, end_programs, kill_programs,
    program_problem, reap_orphans,
};
pub use cost::{Cost, CostFactor};
pub use device::is_lost;
pub use early_stopping::{
    Curve, EarlyStoppingSettings, Goal, LearningCurves, LoggedMinibatch, LoggedTrial, Pruner,
    Pruning, PruningDiscrepancy, PruningRule, StoppingRule, Threshold, verify_pruning,
};
pub use failure::{FailureRule, FailureWorth};
pub use limited::LimitedEvaluator;
pub use linear::linear_accuracy;
pub use metric::{MetricUnit, number_text};
pub use optimiser::Sgd;
pub use reward::{RewardScale, reward};
pub use schedule::Moment;
pub use settings::{
    ChildSettings, CommandSettings, EvaluatorKind, FailedReward, Recipe, Schedule, TableSettings,
};
pub use table::{Table, TableError, TableEvaluator};
pub use test_result::{ClassResult, ImageResult, TestResult, TextResult};
pub use train::TrainEvaluator;
pub use weights::{
    NamedTensor, TrainedNetwork, TrainingRecord, TrainingSummary, ValidationScores,
    safetensors_file, safetensors_tensors,
};

use crate::space::{Architecture, Decision};
use serde::{Deserialize, Serialize};

/// One child to be evaluated. Plain data: it may cross to a lane on another machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub trial: u64,
    /// Failures of this trial so far.
    pub attempt: u32,
    /// All randomness of the child derives from it.
    pub seed: u64,
    pub layers: usize,
    pub decisions: Vec<Decision>,
    pub architecture: Architecture,
    /// What ends it before its last epoch; None: nothing does.
    #[serde(default)]
    pub pruning: Option<Pruning>,
}

/// What one epoch of a child gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// From 1.
    pub epoch: usize,
    pub train_loss: Option<f64>,
    /// Validation accuracy in 0..=1; of a language model perplexity, or bits per character. NaN where
    /// nothing is held out.
    pub metric: f64,
    /// Training and validation.
    pub seconds: f64,
}

/// How an evaluation ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    Completed {
        reward: f64,
        /// The number that the reward is computed from.
        metric: f64,
        /// Seconds of the evaluation; None: as the lane's clock has measured (a table may record
        /// its own).
        seconds: Option<f64>,
    },
    /// Ended early by its thresholds: what is known of it is no measure beside a whole training.
    Pruned {
        /// After which it ended, from 1.
        epoch: usize,
        /// By the usual formula, over the epochs that it had; None: its program gave none, and the
        /// controller learns nothing from it.
        reward: Option<f64>,
        /// As of a completed child; None: no epoch had one that is finite.
        metric: Option<f64>,
        /// As of a completed child.
        seconds: Option<f64>,
    },
    Failed {
        cause: Cause,
        /// One sentence for `trials.error`.
        error: String,
    },
    /// Asked to stop (shutdown); nothing is known about the child.
    Stopped,
}

/// Why a child failed; the label `outcome` of `children_total` is derived from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// Loss or weights not finite.
    Diverged,
    /// Over `child.max_seconds`.
    Timeout,
    /// No sign of progress for `restart.child_trainer.freeze_seconds`.
    Frozen,
    /// It needs more memory than there is for one child.
    OutOfMemory,
    /// The device's memory was used up while the child ran, perhaps by others.
    DeviceFull,
    /// No network can be built or run from this architecture, or it is larger than the space's
    /// limits.
    Unbuildable,
    Panicked,
    /// The device is of no use to this process any more (a CUDA error that sticks): only another
    /// process is free of it.
    Device,
    /// The user's command ended with an exit code other than 0.
    Exited,
    /// The user's command was killed by a signal that was not ours.
    Killed,
    /// The user's command printed something that the protocol does not know, or no reward.
    Protocol,
    /// Anything else that the device or the evaluator reported.
    Error,
}

/// How an evaluator reports its progress, and asks whether to stop.
pub trait Progress {
    /// An epoch has ended.
    fn epoch(&mut self, epoch: Epoch);
    /// A heartbeat after each step: this many training examples were used.
    fn examples(&mut self, count: usize);
    /// True: return `Outcome::Stopped` soon (checked at least once a step).
    fn stop_requested(&self) -> bool;
    /// Seconds since the evaluation started, by the caller's clock; never falls.
    fn elapsed(&self) -> f64;
    /// The child goes on where it was interrupted: these epochs had ended before. Called before any
    /// other function.
    fn resumed(&mut self, epochs: &[Epoch]) {
        epochs.iter().for_each(|epoch| self.epoch(epoch.clone()));
    }
    /// What the network costs, in the unit of `child.cost`: a part of its reward.
    fn cost(&mut self, _cost: f64) {}
    /// Where the child's checkpoints are stored; None: nowhere.
    fn checkpoints(&mut self) -> Option<&mut dyn Checkpoints> {
        None
    }
    /// Where the child's weights are kept once it is trained; None: nowhere.
    fn weights(&mut self) -> Option<&mut dyn Weights> {
        None
    }
}

/// Keeps the weights of a child, if it is among the best.
pub trait Weights {
    /// Whether those of a child with this reward are kept.
    fn are_wanted(&self, reward: f64) -> bool;
    /// Keeps them: a file in the format safetensors. A failure is reported by the implementation;
    /// the child's outcome counts all the same.
    fn keep(&mut self, file: &[u8]);
}

/// Stores one child's checkpoint, so that the child goes on from there after an interruption.
pub trait Checkpoints {
    /// What was stored last, by this process or an earlier one.
    fn load(&mut self) -> Option<Vec<u8>>;
    /// Replaces it, wholly or not at all. A failure is reported by the implementation; the child
    /// goes on.
    fn store(&mut self, checkpoint: &[u8]);
}

/// Evaluates children on one lane, one after the other.
pub trait Evaluator {
    /// Trains (or looks up) one child. Panics are caught by the lane.
    fn evaluate(&mut self, task: &Task, progress: &mut dyn Progress) -> Outcome;
}
