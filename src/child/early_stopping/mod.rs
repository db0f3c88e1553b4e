//! Early stopping: which children end before their last epoch, by thresholds that a rule computes
//! from the learning curves of earlier children. Must not know whose curves they are, nor when a
//! child is asked: the same curves give the same thresholds.

mod curves;
mod settings;
#[cfg(test)]
mod tests;
mod verification;

pub use curves::{Curve, LearningCurves};
pub use settings::{EarlyStoppingSettings, StoppingRule};
pub use verification::{LoggedMinibatch, LoggedTrial, PruningDiscrepancy, verify_pruning};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which metric is the better one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// The higher one: an accuracy.
    #[default]
    Max,
    /// The lower one: a loss, a perplexity.
    Min,
}

impl Goal {
    /// The better of what there was and a metric, which counts only where it is finite.
    fn better(self, best: Option<f64>, metric: f64) -> Option<f64> {
        match (best, self) {
            (_, _) if !metric.is_finite() => best,
            (None, _) => Some(metric),
            (Some(best), Self::Max) => Some(best.max(metric)),
            (Some(best), Self::Min) => Some(best.min(metric)),
        }
    }

    /// Whether a metric is as good as a threshold.
    fn reaches(self, metric: f64, threshold: f64) -> bool {
        match self {
            Self::Max => metric >= threshold,
            Self::Min => metric <= threshold,
        }
    }

    /// Sorts finite metrics, the best first.
    fn sort(self, metrics: &mut [f64]) {
        match self {
            Self::Max => metrics.sort_by(|a, b| b.total_cmp(a)),
            Self::Min => metrics.sort_by(f64::total_cmp),
        }
    }
}

/// A rule with its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PruningRule {
    /// As Optuna's `MedianPruner`: a child's best metric so far must reach the median of what
    /// completed children had at the same epoch, once there are `startup_trials` of them and the
    /// first `warmup_epochs` are over.
    Median {
        startup_trials: usize,
        warmup_epochs: usize,
    },
    /// Asynchronous successive halving (Li et al. 2020): at the epochs `min_resource` ×
    /// `reduction_factor`^k a child must be among the best 1/`reduction_factor` of those that have
    /// come so far.
    Asha {
        min_resource: usize,
        reduction_factor: usize,
    },
}

/// What decides which children are pruned, as it is logged with each minibatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pruner {
    pub rule: PruningRule,
    pub goal: Goal,
    /// Epochs of a whole training: at the last one there is nothing to be saved. None: nobody
    /// knows.
    pub epochs: Option<usize>,
}

/// What a child's best metric must have reached at an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(usize, f64)", into = "(usize, f64)")]
pub struct Threshold {
    /// From 1.
    pub epoch: usize,
    pub metric: f64,
}

impl From<(usize, f64)> for Threshold {
    fn from((epoch, metric): (usize, f64)) -> Self {
        Self { epoch, metric }
    }
}

impl From<Threshold> for (usize, f64) {
    fn from(threshold: Threshold) -> Self {
        (threshold.epoch, threshold.metric)
    }
}

/// What prunes the children of a minibatch: all that a lane needs to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pruning {
    pub pruner: Pruner,
    /// By ascending epoch.
    pub thresholds: Vec<Threshold>,
}

impl Pruning {
    /// The epoch after which a child with these epochs (number and metric, ascending) is pruned. A
    /// threshold holds for the first epoch that is its own or a later one: a program may report
    /// every tenth.
    pub fn pruned_after(&self, epochs: impl IntoIterator<Item = (usize, f64)>) -> Option<usize> {
        let goal = self.pruner.goal;
        let mut thresholds = self.thresholds.iter().peekable();
        let mut best = None;
        for (epoch, metric) in epochs {
            best = goal.better(best, metric);
            while let Some(threshold) = thresholds.next_if(|next| next.epoch <= epoch) {
                if !best.is_some_and(|best| goal.reaches(best, threshold.metric)) {
                    return Some(epoch);
                }
            }
        }
        None
    }
}
