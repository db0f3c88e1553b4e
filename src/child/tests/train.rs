//! The evaluator `train` as a lane sees it.

use super::*;
use crate::space::{ChoiceNetwork, OptionValue};
use candle_core::Device;

const TRAIN: usize = 241;

fn settings() -> ChildSettings {
    ChildSettings {
        epochs: 4,
        batch_size: 20,
        learning_rate: 0.1,
        reward_window: 2,
        ..ChildSettings::default()
    }
}

/// 241 training images: the last batch of an epoch holds one.
fn evaluator(settings: ChildSettings, memory_limit_bytes: Option<u64>) -> TrainEvaluator {
    let split = Arc::new(split(TRAIN as u32, 79));
    TrainEvaluator::new(
        settings,
        Arc::new(textures(320, 1)),
        split,
        &data_settings(),
        Device::Cpu,
        pool(1),
        memory_limit_bytes,
    )
}

fn failure(outcome: Outcome) -> (Cause, String) {
    match outcome {
        Outcome::Failed { cause, error } => (cause, error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_child_learns_and_is_rewarded_for_the_best_of_its_last_epochs() {
    let mut log = Log::default();
    let outcome =
        evaluator(settings(), None).evaluate(&task(Network::Conv(network()), 7), &mut log);
    let Outcome::Completed {
        reward,
        metric,
        seconds: None,
    } = outcome
    else {
        panic!("{outcome:?}")
    };
    assert!(metric > 0.9, "{metric}: {:?}", log.epochs);
    assert_eq!(metric, log.epochs[2].metric.max(log.epochs[3].metric));
    assert_eq!(reward, metric.powf(3.0));
    assert_eq!(
        log.epochs
            .iter()
            .map(|epoch| epoch.epoch)
            .collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    assert!(
        log.epochs[3].train_loss < log.epochs[0].train_loss,
        "{:?}",
        log.epochs
    );
    assert!(
        log.epochs.iter().all(|epoch| epoch.seconds == 1.0),
        "two looks at the clock: {:?}",
        log.epochs
    );
    assert_eq!((log.examples, log.steps), (4 * TRAIN, 4 * 13));
}

#[test]
fn a_pruned_child_is_rewarded_for_the_epochs_that_it_had() {
    let rule = PruningRule::Median {
        startup_trials: 1,
        warmup_epochs: 0,
    };
    let pruner = Pruner {
        rule,
        goal: Goal::Max,
        epochs: Some(4),
    };
    let thresholds = [(1, 0.0), (2, 1.5), (3, 0.0)].map(Threshold::from);
    let pruned = Task {
        pruning: Some(Pruning {
            pruner,
            thresholds: thresholds.to_vec(),
        }),
        ..task(Network::Conv(network()), 7)
    };
    let every_epoch = || ChildSettings {
        checkpoint_seconds: 0.0,
        ..settings()
    };
    let mut log = resume::with(resume::Shelf::default());
    let outcome = evaluator(every_epoch(), None).evaluate(&pruned, &mut log);
    let Outcome::Pruned {
        epoch: 2,
        reward: Some(reward),
        metric: Some(metric),
        seconds: None,
    } = outcome
    else {
        panic!("{outcome:?}")
    };
    assert_eq!(metric, log.epochs[0].metric.max(log.epochs[1].metric));
    assert_eq!(
        (reward, log.epochs.len(), log.steps),
        (metric.powf(3.0), 2, 2 * 13)
    );
    // Interrupted after its first epoch, it ends where it would have ended.
    let shelf = log.shelf.unwrap();
    assert_eq!(shelf.0.len(), 1, "of its last epoch no checkpoint is kept");
    let mut again = resume::with(shelf);
    let outcome = evaluator(every_epoch(), None).evaluate(&pruned, &mut again);
    let resumed =
        matches!(outcome, Outcome::Pruned { epoch: 2, reward: Some(other), .. } if other == reward);
    assert!(resumed && again.steps == 13, "{outcome:?}");
}

#[test]
fn batch_normalisation_has_the_epsilon_of_the_settings() {
    let losses = |epsilon: f64| {
        let settings = ChildSettings {
            epochs: 1,
            batch_norm_epsilon: epsilon,
            ..settings()
        };
        let mut log = Log::default();
        evaluator(settings, None).evaluate(&task(Network::Conv(network()), 7), &mut log);
        log.epochs[0].train_loss.unwrap()
    };
    let usual = losses(ChildSettings::default().batch_norm_epsilon);
    assert_eq!(losses(1e-5), usual, "the default is the number of before");
    assert_ne!(losses(1e-3), usual);
}

#[test]
fn the_same_task_gives_the_same_bits_whatever_ran_before() {
    let run = |evaluator: &mut TrainEvaluator, seed| {
        let mut log = Log::default();
        let outcome = evaluator.evaluate(&task(Network::Conv(network()), seed), &mut log);
        (
            outcome,
            log.epochs
                .iter()
                .map(|epoch| (epoch.train_loss.unwrap().to_bits(), epoch.metric.to_bits()))
                .collect::<Vec<_>>(),
        )
    };
    let mut used = evaluator(settings(), None);
    let first = run(&mut used, 7);
    assert_ne!(first, run(&mut used, 8));
    assert_eq!(first, run(&mut used, 7));
    assert_eq!(first, run(&mut evaluator(settings(), None), 7));
}

#[test]
fn a_stop_is_heard_within_a_step() {
    for steps in [0, 1, 9] {
        let mut log = Log {
            stop_after: Some(steps),
            ..Log::default()
        };
        let outcome =
            evaluator(settings(), None).evaluate(&task(Network::Conv(network()), 7), &mut log);
        assert_eq!((outcome, log.steps), (Outcome::Stopped, steps));
    }
}

#[test]
fn divergence_names_the_epoch_and_the_step() {
    let mut log = Log::default();
    let wild = ChildSettings {
        learning_rate: 1e38,
        ..settings()
    };
    let (cause, error) =
        failure(evaluator(wild, None).evaluate(&task(Network::Conv(network()), 7), &mut log));
    assert_eq!(cause, Cause::Diverged);
    assert!(error.contains("epoch 1 of 4, step"), "{error}");
    assert!(log.epochs.is_empty());
}

#[test]
fn a_child_that_takes_too_long_fails() {
    let mut log = Log::default();
    let hasty = ChildSettings {
        max_seconds: Some(30.0),
        ..settings()
    };
    let (cause, error) =
        failure(evaluator(hasty, None).evaluate(&task(Network::Conv(network()), 7), &mut log));
    assert_eq!(cause, Cause::Timeout);
    assert!(
        error.contains("30 seconds") && error.contains("epoch 2 of 4"),
        "{error}"
    );
    assert_eq!(log.epochs.len(), 1);
}

#[test]
fn a_child_that_needs_too_much_memory_is_not_started() {
    let mut log = Log::default();
    let (cause, error) = failure(
        evaluator(settings(), Some(10_000)).evaluate(&task(Network::Conv(network()), 7), &mut log),
    );
    assert_eq!(cause, Cause::OutOfMemory);
    assert!(
        error.contains("MiB") && error.contains("batch_size"),
        "{error}"
    );
    assert_eq!(log.steps, 0);
}

#[test]
fn what_is_no_network_for_this_data_is_unbuildable() {
    let values = [("activation".to_string(), OptionValue::Text("relu".into()))].into();
    let other_image = ConvNetwork {
        image: ImageShape { height: 9, ..SHAPE },
        ..network()
    };
    let other_classes = ConvNetwork {
        classes: 10,
        ..network()
    };
    let no_layers = ConvNetwork {
        layers: Vec::new(),
        ..network()
    };
    let cases = [
        (Network::Choices(ChoiceNetwork { values }), "space.kind"),
        (Network::Conv(other_image), "3×9×8"),
        (Network::Conv(other_classes), "10 classes"),
        (Network::Conv(no_layers), "no layers"),
    ];
    for (network, words) in cases {
        let (cause, error) =
            failure(evaluator(settings(), None).evaluate(&task(network, 7), &mut Log::default()));
        assert_eq!(cause, Cause::Unbuildable);
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_batch_larger_than_the_data_is_all_of_it() {
    let mut log = Log::default();
    let large = ChildSettings {
        batch_size: 1_000_000,
        epochs: 1,
        ..settings()
    };
    let outcome = evaluator(large, None).evaluate(&task(Network::Conv(network()), 7), &mut log);
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    assert_eq!((log.examples, log.steps), (TRAIN, 1));
}

#[test]
fn images_are_classified_as_in_validation_and_where_all_are_trained_on_nothing_is_held_out() {
    let set = textures(320, 1);
    let held_out = {
        let first = TRAIN * set.image_size();
        Dataset {
            images: set.images[first..].to_vec(),
            labels: set.labels[TRAIN..].to_vec(),
            ..set.clone()
        }
    };
    let architecture = task(Network::Conv(network()), 7);
    let (log, network) = trained(&mut evaluator(settings(), None), &architecture);
    let mut classifier = Classifier::new(&network, &pool(1)).unwrap();
    let result = ImageResult::of(&set.class_names, classifier.confusion(&held_out).unwrap());
    let last = log.epochs.last().unwrap().metric;
    assert_eq!((result.images, 1.0 - result.error), (79, last));
    let foreign = Dataset {
        class_names: vec!["other".into(); 4],
        ..held_out.clone()
    };
    assert!(
        classifier
            .confusion(&foreign)
            .unwrap_err()
            .contains("classes")
    );

    let split = Arc::new(split(TRAIN as u32, 79).joined());
    let set = Arc::new(set);
    let data = data_settings();
    let mut all = TrainEvaluator::new(settings(), set, split, &data, Device::Cpu, pool(1), None);
    let (log, network) = trained(&mut all, &architecture);
    assert!(log.epochs.iter().all(|epoch| epoch.metric.is_nan()));
    let training = &network.record.training;
    assert_eq!(
        (training.validation, training.training_examples),
        (None, 320)
    );
}
