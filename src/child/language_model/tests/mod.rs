//! What a language model's training promises, on texts made here.

mod reference;
mod train;

use super::*;
use crate::child::{ChildSettings, cell_program};
use crate::kernels::SKIPPED;
use crate::random::{Key, Purpose};
use crate::space::{Cell, CellSpace, LanguageModel, SpaceKind, SpaceSettings};
use masks::DropoutMasks;
use proptest::prelude::*;
use rand::RngExt;
use rayon::ThreadPool;
use std::sync::Arc;

fn pool(threads: usize) -> Arc<ThreadPool> {
    Arc::new(
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap(),
    )
}

fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut stream = Key::seed(seed).stream(Purpose::ChildParameters);
    (0..count).map(|_| stream.random_range(-0.8..0.8)).collect()
}

fn tokens(count: usize, words: usize, seed: u64) -> Vec<u32> {
    let mut stream = Key::seed(seed).stream(Purpose::Drawing);
    (0..count)
        .map(|_| stream.random_range(0..words as u32))
        .collect()
}

const SIZES: Sizes = Sizes {
    model: LanguageModel {
        vocabulary: 11,
        hidden: 5,
        layers: 2,
        shared_embeddings: false,
    },
    batch: 3,
    steps: 4,
};

fn settings() -> ChildSettings {
    ChildSettings {
        embedding_dropout: 0.3,
        input_dropout: 0.4,
        recurrent_dropout: 0.3,
        output_dropout: 0.4,
        ..ChildSettings::language_model()
    }
}

fn network(shared_embeddings: bool, threads: usize) -> Network {
    let sizes = Sizes {
        model: LanguageModel {
            shared_embeddings,
            ..SIZES.model
        },
        ..SIZES
    };
    Network::new(
        &cell_program(&Cell::named("lstm").unwrap()).unwrap(),
        sizes,
        &pool(threads),
    )
    .unwrap()
}

#[test]
fn loss_and_gradient_are_those_of_a_naive_model_in_double_precision() {
    for shared in [false, true] {
        let mut network = network(shared, 1);
        let parameters = numbers(network.parameter_count(), 1);
        let mut gradient = vec![0.0; parameters.len()];
        let mut state = network.start();
        // The second window starts from the first one's state, other words and other masks; its
        // last step is missing.
        for (window, steps) in [(0, 4), (1, 3)] {
            let masks = DropoutMasks::draw(&settings(), 11, 15, 7, 0, window);
            let words = tokens(steps * 3, 11, window as u64);
            let targets = tokens(steps * 3, 11, 50 + window as u64);
            let mut exact_state: Vec<f64> = state.iter().map(|&value| f64::from(value)).collect();
            let naive = reference::Lstm {
                network: &network,
                masks: &masks,
                words: &words,
                targets: &targets,
                start: exact_state.clone(),
            };
            let wide: Vec<f64> = parameters.iter().map(|&value| f64::from(value)).collect();
            let exact = naive.loss(&wide, &mut exact_state);
            let slopes = naive.slopes(&wide);
            let loss = network.train(
                &parameters,
                (&words, &targets),
                &masks,
                &mut state,
                &mut gradient,
            );
            assert!((loss - exact).abs() < 1e-4, "{loss} against {exact}");
            for (place, (found, slope)) in gradient.iter().zip(&slopes).enumerate() {
                assert!(
                    (f64::from(*found) - slope).abs() < 2e-5,
                    "window {window}, parameter {place}: {found} against {slope}"
                );
            }
            assert!(
                state
                    .iter()
                    .zip(&exact_state)
                    .all(|(found, exact)| (f64::from(*found) - exact).abs() < 1e-5)
            );
        }
    }
}

#[test]
fn only_the_named_rows_of_the_embedding_have_a_gradient() {
    let mut network = network(false, 1);
    let parameters = numbers(network.parameter_count(), 1);
    let mut gradient = vec![0.0; parameters.len()];
    let mut state = network.start();
    let masks = DropoutMasks {
        inputs: vec![None, None],
        recurrent: vec![None, None],
        ..DropoutMasks::default()
    };
    for words in [[1, 2, 1, 4, 5, 1], [7, 7, 8, 4, 1, 1]] {
        network.train(
            &parameters,
            (&words, &[0, 1, 2, 3, 4, 5]),
            &masks,
            &mut state,
            &mut gradient,
        );
        let (range, rows) = network.sparse_rows().unwrap();
        let there: Vec<u32> = (0..11)
            .filter(|&word| {
                gradient[range.start + word as usize * 5..][..5]
                    .iter()
                    .any(|&d| d != 0.0)
            })
            .collect();
        assert_eq!(rows, there);
    }
    assert!(self::network(true, 1).sparse_rows().is_none());
}

#[test]
fn evaluation_is_training_without_dropout_and_skips_what_is_no_word() {
    let mut network = network(false, 2);
    let parameters = numbers(network.parameter_count(), 1);
    let mut words = tokens(12, 11, 1);
    let mut targets = tokens(12, 11, 2);
    let none = DropoutMasks {
        inputs: vec![None, None],
        recurrent: vec![None, None],
        ..DropoutMasks::default()
    };
    let mut trained = network.start();
    let mut evaluated = network.start();
    let mut gradient = vec![0.0; parameters.len()];
    let loss = network.train(
        &parameters,
        (&words, &targets),
        &none,
        &mut trained,
        &mut gradient,
    );
    let same = network.evaluate(&parameters, &words, &targets, &mut evaluated);
    assert!((loss - same).abs() < 1e-5, "{loss} and {same}");
    assert!(
        trained
            .iter()
            .zip(&evaluated)
            .all(|(a, b)| (a - b).abs() < 1e-6)
    );
    // What the third sequence reads and does not count changes nothing.
    let count = |network: &mut Network, words: &[u32], targets: &[u32]| {
        let mut state = network.start();
        network.evaluate(&parameters, words, targets, &mut state)
    };
    targets
        .iter_mut()
        .skip(2)
        .step_by(3)
        .for_each(|target| *target = SKIPPED);
    let two = count(&mut network, &words, &targets);
    words
        .iter_mut()
        .skip(2)
        .step_by(3)
        .for_each(|word| *word = 0);
    assert_eq!(two, count(&mut network, &words, &targets));
    assert!(two < same);
}

#[test]
fn parameters_are_as_many_as_the_cell_network_says() {
    for name in Cell::NAMES {
        for shared_embeddings in [false, true] {
            let cell = Cell::named(name).unwrap();
            let model = LanguageModel {
                shared_embeddings,
                ..SIZES.model
            };
            let network = Network::new(
                &cell_program(&cell).unwrap(),
                Sizes { model, ..SIZES },
                &pool(1),
            )
            .unwrap();
            let said = crate::space::CellNetwork {
                cell,
                model: Some(model),
            }
            .size()
            .unwrap()
            .0;
            assert_eq!(network.parameter_count() as u64, said, "{name}");
            let slots = network.parameters();
            let ends = slots.iter().map(|slot| slot.offset + slot.len());
            assert!(
                slots
                    .iter()
                    .skip(1)
                    .zip(ends)
                    .all(|(slot, end)| slot.offset == end)
            );
        }
    }
}

fn parameters(model: LanguageModel, cell: &Cell) -> f64 {
    crate::space::CellNetwork {
        cell: cell.clone(),
        model: Some(model),
    }
    .size()
    .unwrap()
    .0 as f64
}

proptest! {
    #![proptest_config(crate::random::cases(256))]

    #[test]
    fn a_solved_size_is_the_nearest_and_within_a_hundredth(
        target in 1_000_usize..50_000_000, words in 2_usize..20_000, layers in 1_usize..4, shared: bool, name in 0_usize..4
    ) {
        let cell = Cell::named(Cell::NAMES[name]).unwrap();
        let settings = ChildSettings { parameters: target, layers, shared_embeddings: shared, ..ChildSettings::language_model() };
        let miss = |hidden: usize| {
            let model = LanguageModel { vocabulary: words, hidden, layers, shared_embeddings: shared };
            (parameters(model, &cell) / target as f64 - 1.0).abs()
        };
        match model(&settings, &cell, words) {
            Ok(model) => {
                prop_assert!(miss(model.hidden) <= 0.01);
                prop_assert!(model.hidden == 1 || miss(model.hidden) <= miss(model.hidden - 1));
                prop_assert!(miss(model.hidden) <= miss(model.hidden + 1));
            }
            Err(error) => {
                prop_assert!((1..6_000).all(|hidden| miss(hidden) > 0.01), "{}", error);
                prop_assert!(error.to_string().contains(&target.to_string()), "{}", error);
            }
        }
    }
}

#[test]
fn the_paper_s_twenty_million_fit_and_what_fits_nothing_is_said() {
    let lstm = Cell::named("lstm").unwrap();
    let solved = model(&ChildSettings::language_model(), &lstm, 10_000).unwrap();
    // Zaremba et al.'s medium model has 650 units: 19.8 million.
    assert!((645..665).contains(&solved.hidden), "{}", solved.hidden);
    let given = ChildSettings {
        hidden: Some(33),
        ..ChildSettings::language_model()
    };
    assert_eq!(model(&given, &lstm, 10_000).unwrap().hidden, 33);
    let error = model(
        &ChildSettings {
            parameters: 40_000,
            ..ChildSettings::language_model()
        },
        &lstm,
        10_000,
    )
    .unwrap_err()
    .to_string();
    assert!(
        error.contains("child.hidden = 1 has 30024")
            && error.contains("child.hidden = 2 has 50080"),
        "{error}"
    );
    let error = model(
        &ChildSettings {
            parameters: 10,
            ..ChildSettings::language_model()
        },
        &lstm,
        10_000,
    )
    .unwrap_err()
    .to_string();
    assert!(error.contains("the smallest, child.hidden = 1"), "{error}");
}

#[test]
fn all_cells_of_a_space_have_one_size() {
    let space = CellSpace::new(
        &SpaceSettings {
            kind: SpaceKind::Cell,
            ..SpaceSettings::default()
        },
        None,
    );
    let solved = searched_model(&ChildSettings::language_model(), &space, 10_000).unwrap();
    assert_eq!(
        solved,
        model(
            &ChildSettings::language_model(),
            &Cell::named("nascell").unwrap(),
            10_000
        )
        .unwrap()
    );
}
