//! The evaluator of language models as a lane sees it.

use super::*;
use crate::child::language_model::test_perplexity;
use crate::child::tests::resume::{Shelf, assert_resumes, numbers, with};
use crate::child::tests::{Log, task, trained};
use crate::child::{Cause, Evaluator, Outcome, Schedule};
use crate::data::{Corpus, Unit};
use crate::space::{CellNetwork, Network as SpaceNetwork};

/// A text in which each word but one determines the next.
fn corpus(unit: Unit, train: usize, validation: usize) -> Arc<Corpus> {
    let words: Vec<String> = ["a", "b", "c", "d", "e", "<eos>"]
        .map(str::to_owned)
        .to_vec();
    let text =
        |count: usize| -> Vec<u32> { [0, 1, 2, 3, 4, 5].into_iter().cycle().take(count).collect() };
    Arc::new(Corpus::new(unit, words, text(train), text(validation)))
}

fn small() -> ChildSettings {
    ChildSettings {
        epochs: 4,
        batch_size: 5,
        steps: 7,
        hidden: Some(12),
        layers: 1,
        init_scale: 0.3,
        schedule: Schedule::Constant,
        embedding_dropout: 0.05,
        input_dropout: 0.1,
        recurrent_dropout: 0.1,
        output_dropout: 0.1,
        ..ChildSettings::language_model()
    }
}

fn cell(name: &str) -> SpaceNetwork {
    SpaceNetwork::Cell(CellNetwork {
        cell: Cell::named(name).unwrap(),
        model: None,
    })
}

fn evaluator(settings: ChildSettings, threads: usize) -> LanguageEvaluator {
    LanguageEvaluator::new(
        settings,
        corpus(Unit::Word, 1_203, 211),
        pool(threads),
        None,
    )
}

fn run(mut evaluator: LanguageEvaluator, name: &str, seed: u64) -> (Outcome, Log) {
    let mut log = Log::default();
    let outcome = evaluator.evaluate(&task(cell(name), seed), &mut log);
    (outcome, log)
}

fn failure(outcome: Outcome) -> (Cause, String) {
    match outcome {
        Outcome::Failed { cause, error } => (cause, error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_named_cell_learns_and_the_reward_is_that_of_the_lowest_perplexity() {
    for name in Cell::NAMES {
        let (outcome, log) = run(evaluator(small(), 1), name, 7);
        let Outcome::Completed {
            reward,
            metric,
            seconds: None,
        } = outcome
        else {
            panic!("{name}: {outcome:?}")
        };
        assert!(
            (1.0..1.5).contains(&metric),
            "{name}: {metric}: {:?}",
            log.epochs
        );
        let lowest = log
            .epochs
            .iter()
            .map(|epoch| epoch.metric)
            .fold(f64::INFINITY, f64::min);
        assert_eq!((metric, reward), (lowest, 80.0 / lowest.powi(2)));
        assert!(
            log.epochs[3].train_loss < log.epochs[0].train_loss,
            "{name}: {:?}",
            log.epochs
        );
        // 240 tokens of each of five sequences, in windows of seven.
        assert_eq!((log.examples, log.steps), (4 * 1_200, 4 * 35));
    }
}

#[test]
fn a_model_that_knows_nothing_has_a_perplexity_of_as_many_words_as_there_are() {
    let ignorant = ChildSettings {
        init_scale: 1e-6,
        learning_rate: 1e-9,
        epochs: 1,
        ..small()
    };
    let (outcome, log) = run(evaluator(ignorant.clone(), 1), "lstm", 7);
    assert!(
        (log.epochs[0].metric - 6.0).abs() < 1e-4
            && (log.epochs[0].train_loss.unwrap() - 6_f64.ln()).abs() < 1e-4,
        "{outcome:?}"
    );
    // Of characters the metric is bits, the reward still that of the perplexity.
    let characters =
        LanguageEvaluator::new(ignorant, corpus(Unit::Char, 1_203, 211), pool(1), None);
    let (outcome, _) = run(characters, "lstm", 7);
    let Outcome::Completed { reward, metric, .. } = outcome else {
        panic!("{outcome:?}")
    };
    assert!(
        (metric - 6_f64.log2()).abs() < 1e-4 && (reward - 80.0 / 36.0).abs() < 1e-3,
        "{metric} {reward}"
    );
}

#[test]
fn perplexity_hardly_depends_on_how_the_text_is_cut() {
    // Trained alike (one sequence is too slow to train well: the same parameters need the same
    // batch), judged in 5 or in 6 parts of other lengths: the states are warm, so only rounding
    // differs where the cut falls.
    let metric = |validation: usize| {
        let settings = ChildSettings {
            epochs: 2,
            ..small()
        };
        let evaluator = LanguageEvaluator::new(
            settings,
            corpus(Unit::Word, 1_203, validation),
            pool(1),
            None,
        );
        run(evaluator, "lstm", 7).1.epochs[1].metric
    };
    let one = metric(30 * 6);
    let other = metric(31 * 6);
    assert!((one / other - 1.0).abs() < 0.01, "{one} and {other}");
}

#[test]
fn the_same_task_gives_the_same_bits_on_any_number_of_threads() {
    let bits = |threads, seed| {
        let (outcome, log) = run(
            evaluator(
                ChildSettings {
                    epochs: 2,
                    ..small()
                },
                threads,
            ),
            "nascell",
            seed,
        );
        (
            outcome,
            log.epochs
                .iter()
                .map(|epoch| (epoch.train_loss.unwrap().to_bits(), epoch.metric.to_bits()))
                .collect::<Vec<_>>(),
        )
    };
    let first = bits(1, 7);
    assert_eq!(first, bits(1, 7));
    assert_eq!(first, bits(2, 7));
    assert_ne!(first, bits(1, 8));
}

#[test]
fn momentum_weight_decay_and_shared_embeddings_train_too() {
    let settings = ChildSettings {
        momentum: 0.5,
        weight_decay: 1e-5,
        learning_rate: 0.3,
        shared_embeddings: true,
        hidden: Some(16),
        ..small()
    };
    let (outcome, log) = run(evaluator(settings, 1), "gru", 7);
    assert!(
        matches!(outcome, Outcome::Completed { metric, .. } if metric < 2.0),
        "{outcome:?} {:?}",
        log.epochs
    );
}

#[test]
fn a_stop_is_heard_within_a_step_and_a_limit_of_time_kept() {
    for steps in [0, 1, 40] {
        let mut log = Log::default();
        log.stop_after = Some(steps);
        let outcome = evaluator(small(), 1).evaluate(&task(cell("rnn"), 7), &mut log);
        assert_eq!((outcome, log.steps), (Outcome::Stopped, steps));
    }
    let (outcome, log) = run(
        evaluator(
            ChildSettings {
                max_seconds: Some(60.0),
                ..small()
            },
            1,
        ),
        "rnn",
        7,
    );
    let (cause, error) = failure(outcome);
    assert!(
        cause == Cause::Timeout && error.contains("epoch 2 of 4"),
        "{error}"
    );
    assert_eq!(log.epochs.len(), 1);
}

#[test]
fn divergence_ends_a_child_early() {
    // Steps so large that weights leave the numbers.
    let (cause, error) = failure(
        run(
            evaluator(
                ChildSettings {
                    learning_rate: 1e38,
                    clip_norm: 1e38,
                    ..small()
                },
                1,
            ),
            "rnn",
            7,
        )
        .0,
    );
    assert!(
        cause == Cause::Diverged && error.contains("epoch 1 of 4"),
        "{error}"
    );
    // Steps that leave it worse than a guess among six words.
    let wild = ChildSettings {
        learning_rate: 40.0,
        init_scale: 1.0,
        clip_norm: 20.0,
        epochs: 30,
        ..small()
    };
    let (outcome, log) = run(evaluator(wild, 1), "rnn", 7);
    let (cause, error) = failure(outcome);
    assert!(
        cause == Cause::Diverged
            && error.contains("after epoch")
            && error.contains("among 6 tokens"),
        "{error}"
    );
    assert!((1..29).contains(&log.epochs.len()), "{error}");
}

#[test]
fn what_cannot_be_trained_is_told_before_it_starts() {
    let mut log = Log::default();
    let mut limited = LanguageEvaluator::new(
        small(),
        corpus(Unit::Word, 1_203, 211),
        pool(1),
        Some(10_000),
    );
    let (cause, error) = failure(limited.evaluate(&task(cell("lstm"), 7), &mut log));
    assert!(
        cause == Cause::OutOfMemory && error.contains("MiB") && error.contains("child.hidden"),
        "{error}"
    );
    let model = LanguageModel {
        vocabulary: 7,
        hidden: 4,
        layers: 1,
        shared_embeddings: false,
    };
    let other = SpaceNetwork::Cell(CellNetwork {
        cell: Cell::named("rnn").unwrap(),
        model: Some(model),
    });
    let unsolvable = ChildSettings {
        hidden: None,
        parameters: 1,
        ..small()
    };
    let cases = [
        (small(), other, "7 tokens"),
        (
            small(),
            SpaceNetwork::Conv(crate::child::tests::network()),
            "space.kind",
        ),
        (unsolvable, cell("rnn"), "child.parameters = 1"),
    ];
    for (settings, network, words) in cases {
        let (cause, error) = failure(evaluator(settings, 1).evaluate(&task(network, 7), &mut log));
        assert!(
            cause == Cause::Unbuildable && error.contains(words),
            "{error}"
        );
    }
    assert_eq!(log.steps, 0);
}

#[test]
fn more_sequences_than_tokens_are_one_token_each() {
    let large = ChildSettings {
        batch_size: 1_000_000,
        epochs: 1,
        ..small()
    };
    let (outcome, log) = run(evaluator(large, 1), "rnn", 7);
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    assert_eq!((log.examples, log.steps), (1_203, 1));
}

#[test]
fn an_interrupted_model_goes_on_from_any_step() {
    // Masks, a state that is carried from window to window, and a learning rate that falls.
    let falling = ChildSettings {
        epochs: 3,
        schedule: Schedule::Decay,
        schedule_after: 1,
        checkpoint_seconds: 20.0,
        ..small()
    };
    let heavy = ChildSettings {
        momentum: 0.5,
        weight_decay: 1e-5,
        shared_embeddings: true,
        ..falling.clone()
    };
    for settings in [falling, heavy] {
        // 35 windows an epoch.
        let stops = [1, 20, 35, 36, 70, 104];
        assert_resumes(
            &|| Box::new(evaluator(settings.clone(), 1)),
            &task(cell("lstm"), 7),
            &stops,
        );
    }
    let characters = || {
        LanguageEvaluator::new(
            ChildSettings {
                epochs: 3,
                ..small()
            },
            corpus(Unit::Char, 1_203, 211),
            pool(1),
            None,
        )
    };
    let mut log = with(Shelf::default());
    log.stop_after = Some(50);
    characters().evaluate(&task(cell("gru"), 7), &mut log);
    let mut whole = Log::default();
    let mut resumed = with(log.shelf.unwrap());
    let outcomes = [&mut whole, &mut resumed]
        .map(|log| numbers(&characters().evaluate(&task(cell("gru"), 7), log), log));
    assert!(outcomes[0] == outcomes[1] && resumed.steps < whole.steps);
}

#[test]
fn a_text_is_scored_as_in_validation_and_where_all_is_trained_on_nothing_is_held_out() {
    let text = corpus(Unit::Word, 1_203, 211);
    let mut held_out = evaluator(small(), 1);
    let (log, network) = trained(&mut held_out, &task(cell("gru"), 7));
    let again = test_perplexity(&network, &text.validation, &pool(1)).unwrap();
    assert_eq!(again, log.epochs.last().unwrap().metric);
    assert!(test_perplexity(&network, &[], &pool(1)).is_err());

    let all = Arc::new(text.joined());
    assert_eq!((all.train.len(), all.validation.len()), (1_414, 0));
    let mut joined = LanguageEvaluator::new(small(), all, pool(1), None);
    let (log, network) = trained(&mut joined, &task(cell("gru"), 7));
    assert!(log.epochs.iter().all(|epoch| epoch.metric.is_nan()));
    let training = &network.record.training;
    assert_eq!(
        (training.validation, training.training_examples),
        (None, 1_414)
    );
    assert!(test_perplexity(&network, &text.validation, &pool(1)).unwrap() < 1.5);
}
