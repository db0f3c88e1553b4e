//! Pruned children: what is written of them, what a continued run prunes by, and what it has to know
//! of earlier children.

use super::*;
use crate::child::{Goal, LearningCurves, Pruner, PruningRule, verify_pruning};

fn pruner() -> Pruner {
    Pruner {
        rule: PruningRule::Median {
            startup_trials: 1,
            warmup_epochs: 0,
        },
        goal: Goal::Max,
        epochs: None,
    }
}

/// The next minibatch of controller 0, pruned by these curves.
fn minibatch(number: u64, m: usize, history: u64, curves: &LearningCurves) -> SampledMinibatch {
    SampledMinibatch {
        history: HistoryPosition {
            sequence: history,
            trial: 0,
        },
        pruning: Some(curves.pruning(pruner())),
        ..sampled(0, number, m, 0)
    }
}

fn epochs(journal: &Journal, trial: u64, metrics: &[f64]) {
    for (epoch, &metric) in (1..).zip(metrics) {
        let epoch = Epoch {
            epoch,
            train_loss: None,
            metric,
            seconds: 1.0,
        };
        journal.epoch(trial, epoch);
    }
}

fn pruned(reward: Option<f64>) -> Outcome {
    Outcome::Pruned {
        epoch: 1,
        reward,
        metric: Some(0.1),
        seconds: None,
    }
}

#[test]
fn a_pruned_child_has_its_reward_and_is_neither_best_nor_known_for_reuse() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    change(&journal, LEARNING);
    let none = LearningCurves::default();
    insert(&journal, vec![minibatch(0, 3, 1, &none)], false);
    epochs(&journal, 1, &[0.2, f64::NAN, 0.4]);
    finish(&journal, 1, completed(0.5));
    epochs(&journal, 2, &[0.1]);
    finish(&journal, 2, pruned(Some(0.9)));
    let sequenced = &finish(&journal, 3, pruned(None))[0];
    assert_eq!(sequenced.rewards, [Some(0.5), Some(0.9), None]);
    let facts: Vec<_> = sequenced
        .curves
        .iter()
        .map(|curve| (curve.completed, curve.epochs.len()))
        .collect();
    assert_eq!(facts, [(true, 3), (false, 1)]);
    assert!(sequenced.curves[0].epochs[1].1.is_nan());
    assert!(
        finish(&journal, 2, completed(1.0)).is_empty(),
        "an outcome counts once"
    );
    let (reply, answer) = channel();
    journal.networks(Box::new(move |networks| reply.send(networks).unwrap()));
    let networks: Vec<_> = answer.recv().unwrap();
    assert_eq!(
        networks.iter().map(|known| known.trial).collect::<Vec<_>>(),
        [1]
    );
    let reader = Reader::open(dir.path()).unwrap();
    let row = reader.trial(2).unwrap().unwrap();
    assert_eq!(
        (row.status.as_str(), row.reward, row.metric, row.error),
        ("pruned", Some(0.9), Some(0.1), None)
    );
    assert!(row.finished_at.is_some());
    assert_eq!(reader.trial(3).unwrap().unwrap().reward, None);
    assert_eq!(reader.best().unwrap().unwrap().id, 1);
    assert_eq!(reader.top(9).unwrap().len(), 1);
    assert_eq!(reader.best_trained(9).unwrap(), [(0.5, 1)]);
    assert_eq!(reader.rewards().unwrap(), [0.5]);
    let page = reader.page(Some("completed"), TrialOrder::Best, 0, 9);
    assert_eq!(page.unwrap().1.len(), 1);
    journal.close();
    let (journal, recovered) = open(dir.path());
    assert_eq!(
        (
            recovered.completed,
            recovered.pruned,
            recovered.failed,
            recovered.children_pruned
        ),
        (1, 2, 0, 2)
    );
    assert_eq!(
        (recovered.rewards, recovered.best_metric),
        (vec![0.5], Some(0.5))
    );
    assert_eq!(recovered.seconds.len(), 3);
    journal.close();
}

#[test]
fn a_continued_run_has_the_thresholds_of_open_minibatches_and_the_curves_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, recovered) = open(dir.path());
    assert_eq!(recovered.curves, LearningCurves::default());
    change(&journal, LEARNING);
    let mut curves = LearningCurves::default();
    // Nothing was to prune these.
    insert(&journal, vec![sampled(9, 0, 1, 0)], false);
    epochs(&journal, 1, &[0.9]);
    assert!(finish(&journal, 1, completed(0.9))[0].curves.is_empty());
    insert(&journal, vec![minibatch(0, 2, 2, &curves)], false);
    for trial in [2, 3] {
        epochs(&journal, trial, &[0.2, 0.1 * trial as f64]);
        for sequenced in finish(&journal, trial, completed(0.5)) {
            sequenced
                .curves
                .into_iter()
                .for_each(|curve| curves.push(curve));
        }
    }
    insert(&journal, vec![minibatch(1, 2, 3, &curves)], false);
    epochs(&journal, 4, &[0.1]);
    finish(&journal, 4, pruned(Some(0.1)));
    journal.close();
    let (journal, recovered) = open(dir.path());
    assert_eq!(recovered.curves, curves);
    let open = &recovered.open[0];
    assert_eq!(open.pruning, Some(curves.pruning(pruner())));
    assert_eq!(
        open.trials
            .iter()
            .map(|trial| trial.finished)
            .collect::<Vec<_>>(),
        [true, false]
    );
    epochs(&journal, 5, &[0.2, 0.3]);
    let sequenced = finish(&journal, 5, completed(0.5));
    assert_eq!(sequenced[0].curves.len(), 2);
    journal.close();
    let logged = Reader::open(dir.path())
        .unwrap()
        .pruned_minibatches()
        .unwrap();
    assert_eq!(
        logged
            .iter()
            .map(|one| (one.sequence, one.history, one.trials.len()))
            .collect::<Vec<_>>(),
        [(Some(3), 2, 2), (Some(4), 3, 2)]
    );
    assert_eq!(verify_pruning(&logged), Ok(()));
}
