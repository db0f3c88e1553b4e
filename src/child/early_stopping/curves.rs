//! The learning curves of earlier children, and the thresholds that a rule computes from them. Must
//! not know where they come from.

use super::{Goal, Pruner, Pruning, PruningRule, Threshold};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The epochs of one child.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// It was trained to its end; else it was pruned.
    pub completed: bool,
    /// Number (ascending) and metric of each epoch; NaN: it had none that is finite.
    pub epochs: Vec<(usize, f64)>,
}

impl Curve {
    /// Its best metric when it was compared with a threshold of this epoch.
    fn at_rung(&self, goal: Goal, rung: usize) -> Option<f64> {
        let mut best = None;
        for &(epoch, metric) in &self.epochs {
            best = goal.better(best, metric);
            if epoch >= rung {
                return best;
            }
        }
        None
    }
}

/// The curves of the latest children of a log. Plain data that copies share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LearningCurves {
    /// The oldest first.
    latest: VecDeque<Arc<Curve>>,
}

impl LearningCurves {
    /// How many curves count: the latest so many. Memory, a restart and a proposal stay bounded.
    pub const KEPT: usize = 1_000;

    /// The next curve of the log.
    pub fn push(&mut self, curve: Curve) {
        self.latest.push_back(Arc::new(curve));
        if self.latest.len() > Self::KEPT {
            self.latest.pop_front();
        }
    }

    /// What children that are proposed now are pruned by.
    pub fn pruning(&self, pruner: Pruner) -> Pruning {
        let mut thresholds = match pruner.rule {
            PruningRule::Median {
                startup_trials,
                warmup_epochs,
            } => self.medians(pruner.goal, startup_trials, warmup_epochs),
            PruningRule::Asha {
                min_resource,
                reduction_factor,
            } => self.rungs(pruner.goal, min_resource, reduction_factor),
        };
        thresholds.retain(|threshold| pruner.epochs.is_none_or(|all| threshold.epoch < all));
        Pruning { pruner, thresholds }
    }

    /// Of completed children alone, as in Optuna: what was pruned has no say.
    fn medians(&self, goal: Goal, startup: usize, warmup: usize) -> Vec<Threshold> {
        let completed = || self.latest.iter().filter(|curve| curve.completed);
        if completed().count() < startup.max(1) {
            return Vec::new();
        }
        let mut metrics: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        let epochs = completed().flat_map(|curve| &curve.epochs);
        for &(epoch, metric) in
            epochs.filter(|(epoch, metric)| *epoch > warmup && metric.is_finite())
        {
            metrics.entry(epoch).or_default().push(metric);
        }
        let median = |(epoch, mut metrics): (usize, Vec<f64>)| {
            goal.sort(&mut metrics);
            let middle = metrics.len() / 2;
            let metric = if metrics.len() % 2 == 1 {
                metrics[middle]
            } else {
                f64::midpoint(metrics[middle - 1], metrics[middle])
            };
            Threshold { epoch, metric }
        };
        metrics.into_iter().map(median).collect()
    }

    /// Of all children that reached the rung, pruned there or not. Of fewer than `factor` of them
    /// there is no best 1/`factor`.
    fn rungs(&self, goal: Goal, first: usize, factor: usize) -> Vec<Threshold> {
        let mut thresholds = Vec::new();
        let mut rung = first.max(1);
        loop {
            let reached = self.latest.iter();
            let mut metrics: Vec<f64> = reached
                .filter_map(|curve| curve.at_rung(goal, rung))
                .collect();
            let best = metrics.len() / factor.max(2);
            if best == 0 {
                return thresholds;
            }
            goal.sort(&mut metrics);
            thresholds.push(Threshold {
                epoch: rung,
                metric: metrics[best - 1],
            });
            let Some(next) = rung.checked_mul(factor.max(2)) else {
                return thresholds;
            };
            rung = next;
        }
    }
}
