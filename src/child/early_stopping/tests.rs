//! Thresholds, computed by hand and as Optuna computes them, and what a changed log is found by.

use super::*;

fn curve(completed: bool, metrics: &[f64]) -> Curve {
    Curve {
        completed,
        epochs: (1..).zip(metrics.iter().copied()).collect(),
    }
}

fn curves(all: &[Curve]) -> LearningCurves {
    let mut curves = LearningCurves::default();
    all.iter().cloned().for_each(|curve| curves.push(curve));
    curves
}

fn median(startup_trials: usize, warmup_epochs: usize) -> Pruner {
    Pruner {
        rule: PruningRule::Median {
            startup_trials,
            warmup_epochs,
        },
        goal: Goal::Max,
        epochs: None,
    }
}

fn asha(min_resource: usize, reduction_factor: usize) -> Pruner {
    Pruner {
        rule: PruningRule::Asha {
            min_resource,
            reduction_factor,
        },
        ..median(1, 0)
    }
}

fn pairs(pruning: &Pruning) -> Vec<(usize, f64)> {
    let thresholds = pruning.thresholds.iter();
    thresholds.map(|one| (one.epoch, one.metric)).collect()
}

#[test]
fn the_median_is_that_of_completed_children_at_each_epoch() {
    let known = curves(&[
        curve(true, &[0.1, 0.5, 0.7]),
        curve(true, &[0.3, 0.4, f64::NAN]),
        curve(false, &[0.0]),
        curve(true, &[0.2, 0.9]),
    ]);
    assert_eq!(
        pairs(&known.pruning(median(3, 0))),
        [(1, 0.2), (2, 0.5), (3, 0.7)]
    );
    assert_eq!(pairs(&known.pruning(median(3, 1))), [(2, 0.5), (3, 0.7)]);
    assert_eq!(pairs(&known.pruning(median(4, 0))), []);
    let last = Pruner {
        epochs: Some(3),
        ..median(3, 0)
    };
    assert_eq!(pairs(&known.pruning(last)), [(1, 0.2), (2, 0.5)]);
    let even = curves(&[curve(true, &[0.25]), curve(true, &[0.75])]);
    assert_eq!(pairs(&even.pruning(median(2, 0))), [(1, 0.5)]);
}

/// Optuna's `MedianPruner` prunes where the best value so far is below the median at this step.
#[test]
fn a_child_is_pruned_when_its_best_epoch_is_below_the_threshold() {
    let known = curves(&[curve(true, &[0.2, 0.4, 0.6])]);
    let pruning = known.pruning(median(1, 0));
    let pruned = |metrics: &[f64]| pruning.pruned_after((1..).zip(metrics.iter().copied()));
    assert_eq!(pruned(&[0.1, 0.9]), Some(1));
    assert_eq!(pruned(&[0.2, 0.3, 0.9]), Some(2), "as good is good enough");
    assert_eq!(pruned(&[0.6, 0.1, 0.1, 0.0]), None, "its best counts");
    assert_eq!(pruned(&[f64::NAN]), Some(1));
    assert_eq!(pruned(&[0.3]), None);
    assert_eq!(pruned(&[]), None);
    let sparse = [(2, 0.5), (4, 0.55)];
    assert_eq!(
        pruning.pruned_after(sparse),
        Some(4),
        "a threshold holds at the first epoch that is not before it"
    );
    let lower = Pruner {
        goal: Goal::Min,
        ..median(1, 0)
    };
    let pruning = known.pruning(lower);
    assert_eq!(pruning.pruned_after([(1, 0.1), (2, 0.5)]), None);
    assert_eq!(pruning.pruned_after([(1, 0.3)]), Some(1));
}

#[test]
fn successive_halving_lets_the_best_share_of_those_that_came_go_on() {
    let rising = |top: f64| curve(true, &[top / 4.0, top / 2.0, 0.7 * top, top]);
    let mut all: Vec<Curve> = [0.4, 0.8].map(rising).to_vec();
    all.extend([0.01, 0.02, 0.03].map(|low| curve(false, &[low])));
    let known = curves(&all);
    // Of five at the first rung the best two (0.2 and 0.1), of two at the second the best one.
    assert_eq!(
        pairs(&known.pruning(asha(1, 2))),
        [(1, 0.1), (2, 0.4), (4, 0.8)]
    );
    assert_eq!(pairs(&known.pruning(asha(1, 4))), [(1, 0.2)]);
    assert_eq!(pairs(&known.pruning(asha(1, 8))), []);
    assert_eq!(pairs(&known.pruning(asha(2, 2))), [(2, 0.4), (4, 0.8)]);
    assert_eq!(pairs(&known.pruning(asha(5, 2))), []);
}

#[test]
fn only_the_latest_curves_count() {
    let mut known = LearningCurves::default();
    known.push(curve(true, &[1.0]));
    for _ in 0..LearningCurves::KEPT {
        known.push(curve(true, &[0.5]));
    }
    let best = Pruner {
        rule: PruningRule::Asha {
            min_resource: 1,
            reduction_factor: LearningCurves::KEPT,
        },
        ..median(1, 0)
    };
    assert_eq!(pairs(&known.pruning(best)), [(1, 0.5)]);
}

/// Three minibatches: the second saw the first, the third too, for it was proposed at once.
fn log() -> Vec<LoggedMinibatch> {
    let pruner = median(2, 0);
    let minibatch = |sequence, history, first_trial, pruning, all: &[Curve]| LoggedMinibatch {
        sequence,
        history,
        first_trial,
        pruning,
        trials: (first_trial..)
            .zip(all.iter().cloned())
            .map(|(trial, curve)| LoggedTrial { trial, curve })
            .collect(),
    };
    let first = [curve(true, &[0.2, 0.4]), curve(true, &[0.4, 0.6])];
    let then = curves(&first).pruning(pruner);
    let nothing = LearningCurves::default().pruning(pruner);
    vec![
        minibatch(Some(2), 1, 1, nothing, &first),
        minibatch(
            Some(4),
            2,
            3,
            then.clone(),
            &[curve(false, &[0.25]), curve(true, &[0.5, 0.7])],
        ),
        minibatch(None, 2, 5, then, &[curve(false, &[0.35, 0.4])]),
    ]
}

#[test]
fn a_log_verifies_and_one_changed_epoch_or_status_is_found() {
    assert_eq!(verify_pruning(&log()), Ok(()));
    let found = |change: &dyn Fn(&mut Vec<LoggedMinibatch>)| {
        let mut log = log();
        change(&mut log);
        verify_pruning(&log).unwrap_err()
    };
    let (trial, sequence) = (3, 2);
    assert_eq!(
        found(&|log| log[0].trials[0].curve.epochs[0].1 = 0.1),
        PruningDiscrepancy::Thresholds { trial, sequence }
    );
    assert_eq!(
        found(&|log| log[1].pruning.thresholds[0].metric = 0.2),
        PruningDiscrepancy::Thresholds { trial, sequence }
    );
    assert_eq!(
        found(&|log| log[1].trials[0].curve.epochs.push((2, 0.9))),
        PruningDiscrepancy::Epoch {
            trial: 3,
            stored: 2,
            derived: 1
        }
    );
    assert_eq!(
        found(&|log| log[2].trials[0].curve.epochs.truncate(1)),
        PruningDiscrepancy::NotPruned {
            trial: 5,
            stored: 1
        }
    );
    assert_eq!(
        found(&|log| log[2].trials[0].curve.completed = true),
        PruningDiscrepancy::Pruned {
            trial: 5,
            derived: 2
        }
    );
}

#[test]
fn what_is_logged_is_read_back() {
    let pruning = curves(&[curve(true, &[0.1, 1.0 / 3.0])]).pruning(median(1, 0));
    let text = serde_json::to_string(&pruning).unwrap();
    assert_eq!(
        text,
        r#"{"pruner":{"rule":{"median":{"startup_trials":1,"warmup_epochs":0}},"goal":"max","epochs":null},"thresholds":[[1,0.1],[2,0.3333333333333333]]}"#
    );
    assert_eq!(serde_json::from_str::<Pruning>(&text).unwrap(), pruning);
}
