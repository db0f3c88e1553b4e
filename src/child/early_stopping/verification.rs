//! Derives again, from the log alone, what every child was pruned by and after which epoch. Must
//! not know where the log is kept or how a difference is shown.

use super::{Curve, LearningCurves, Pruner, Pruning};
use std::collections::BTreeMap;

/// A minibatch whose children were to be pruned.
#[derive(Clone, Debug)]
pub struct LoggedMinibatch {
    /// None: it waits for outcomes.
    pub sequence: Option<u64>,
    /// The log up to this sequence number was known when its ticket was answered.
    pub history: u64,
    pub first_trial: u64,
    pub pruning: Pruning,
    /// Those that were trained, and are completed or pruned; by id.
    pub trials: Vec<LoggedTrial>,
}

/// A child and its epochs.
#[derive(Clone, Debug)]
pub struct LoggedTrial {
    pub trial: u64,
    pub curve: Curve,
}

/// Where the log is not what the rule of early stopping makes of it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PruningDiscrepancy {
    #[error(
        "trial {trial}: its minibatch was pruned by other thresholds than the epochs up to sequence number {sequence} give: one of them was changed"
    )]
    Thresholds { trial: u64, sequence: u64 },
    #[error(
        "trial {trial}: it was pruned after epoch {stored}, but its thresholds prune it after epoch {derived}: an epoch was changed"
    )]
    Epoch {
        trial: u64,
        stored: usize,
        derived: usize,
    },
    #[error(
        "trial {trial}: it was pruned after epoch {stored}, but its thresholds let it go on: an epoch was changed"
    )]
    NotPruned { trial: u64, stored: usize },
    #[error(
        "trial {trial}: it was trained to its end, but its thresholds prune it after epoch {derived}: an epoch or its status was changed"
    )]
    Pruned { trial: u64, derived: usize },
}

/// Verifies all minibatches of a log whose children were to be pruned, in any order.
///
/// # Errors
/// The first difference.
pub fn verify_pruning(minibatches: &[LoggedMinibatch]) -> Result<(), PruningDiscrepancy> {
    let mut by_history: Vec<&LoggedMinibatch> = minibatches.iter().collect();
    by_history.sort_by_key(|minibatch| (minibatch.history, minibatch.first_trial));
    let sequenced = minibatches
        .iter()
        .filter_map(|minibatch| Some((minibatch.sequence?, minibatch)));
    let mut log = sequenced.collect::<BTreeMap<_, _>>().into_iter().peekable();
    let mut curves = LearningCurves::default();
    let mut known: Option<(u64, Pruner, Pruning)> = None;
    for minibatch in by_history {
        while let Some((_, entry)) = log.next_if(|(sequence, _)| *sequence <= minibatch.history) {
            for trial in &entry.trials {
                curves.push(trial.curve.clone());
            }
        }
        let key = (minibatch.history, minibatch.pruning.pruner);
        let derived = match known.take() {
            Some((history, pruner, pruning)) if (history, pruner) == key => pruning,
            _ => curves.pruning(key.1),
        };
        if derived != minibatch.pruning {
            return Err(PruningDiscrepancy::Thresholds {
                trial: minibatch.first_trial,
                sequence: minibatch.history,
            });
        }
        known = Some((key.0, key.1, derived));
        minibatch
            .trials
            .iter()
            .try_for_each(|trial| check(&minibatch.pruning, trial))?;
    }
    Ok(())
}

fn check(pruning: &Pruning, logged: &LoggedTrial) -> Result<(), PruningDiscrepancy> {
    let LoggedTrial { trial, curve } = logged;
    let trial = *trial;
    let derived = pruning.pruned_after(curve.epochs.iter().copied());
    let last = curve.epochs.last().map_or(0, |(epoch, _)| *epoch);
    match (curve.completed, derived) {
        (true, None) => Ok(()),
        (false, Some(derived)) if derived == last => Ok(()),
        (true, Some(derived)) => Err(PruningDiscrepancy::Pruned { trial, derived }),
        (false, Some(derived)) => Err(PruningDiscrepancy::Epoch {
            trial,
            stored: last,
            derived,
        }),
        (false, None) => Err(PruningDiscrepancy::NotPruned {
            trial,
            stored: last,
        }),
    }
}
