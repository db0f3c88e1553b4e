//! Which settings mean which workload, and what is known of it before any data are read.

use super::*;
use crate::child::EvaluatorKind;
use crate::data::{DataKind, Unit};
use crate::space::{ConvNetwork, ImageShape, Network, SpaceKind};

const EVALUATORS: [EvaluatorKind; 3] = [
    EvaluatorKind::Train,
    EvaluatorKind::Table,
    EvaluatorKind::Command,
];
const KINDS: [DataKind; 5] = [
    DataKind::Builtin,
    DataKind::Cifar10,
    DataKind::Cifar100,
    DataKind::Text,
    DataKind::ImageFolder,
];

fn settings(evaluator: EvaluatorKind, kind: DataKind) -> WorkloadSettings {
    let mut settings = WorkloadSettings {
        seed: 1,
        trials: 10,
        ..WorkloadSettings::default()
    };
    settings.child.evaluator = evaluator;
    settings.data.kind = kind;
    settings
}

fn pool() -> ThreadPool {
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap()
}

#[test]
fn any_settings_mean_exactly_one_workload() {
    // A new evaluator or kind of data does not compile here until it is listed above.
    let listed = |evaluator, kind| {
        let number = match evaluator {
            EvaluatorKind::Train => 0,
            EvaluatorKind::Table => 1,
            EvaluatorKind::Command => 2,
        };
        let other = match kind {
            DataKind::Builtin => 0,
            DataKind::Cifar10 => 1,
            DataKind::Cifar100 => 2,
            DataKind::Text => 3,
            DataKind::ImageFolder => 4,
        };
        EVALUATORS[number] == evaluator && KINDS[other] == kind
    };
    for evaluator in EVALUATORS {
        for kind in KINDS {
            assert!(listed(evaluator, kind));
            let settings = settings(evaluator, kind);
            let meant = WORKLOADS
                .iter()
                .filter(|entry| (entry.is_meant_by)(&settings));
            assert_eq!(meant.count(), 1, "{evaluator:?} {kind:?}");
        }
    }
}

#[test]
fn children_are_scored_in_the_unit_of_their_data() {
    let unit = |evaluator, kind, unit| {
        let mut settings = settings(evaluator, kind);
        settings.data.unit = unit;
        settings.scoring().metric
    };
    let text = |of| unit(EvaluatorKind::Train, DataKind::Text, of);
    assert_eq!(text(Unit::Word), MetricUnit::Perplexity);
    assert_eq!(text(Unit::Char), MetricUnit::BitsPerCharacter);
    let images = unit(EvaluatorKind::Train, DataKind::Cifar10, Unit::Word);
    assert_eq!(images, MetricUnit::Accuracy);
    let table = settings(EvaluatorKind::Table, DataKind::Builtin).scoring();
    assert_eq!((table.metric, table.epochs), (MetricUnit::Plain, None));
}

#[test]
fn a_network_fits_a_folder_whose_classes_nobody_has_counted() {
    let mut settings = settings(EvaluatorKind::Train, DataKind::ImageFolder);
    settings.data.size = Some(16);
    let image = ImageShape {
        channels: 3,
        height: 16,
        width: 16,
    };
    let candidates = settings.expected_candidates();
    let layers = candidates.space.layers(0);
    let mut decisions = Vec::new();
    loop {
        match candidates.space.next(layers, &decisions) {
            crate::space::Next::Choose { .. } => decisions.push(Decision::Choice(0)),
            crate::space::Next::Anchor { earlier } => {
                decisions.push(Decision::Skips(vec![0; earlier]));
            }
            crate::space::Next::Done => break,
        }
    }
    let mut given = candidates.space.build(layers, &decisions).unwrap();
    let Network::Conv(network) = &mut given.network else {
        panic!("{given:?}")
    };
    *network = ConvNetwork {
        classes: 257,
        ..network.clone()
    };
    assert_eq!(network.image, image);
    assert!(candidates.adopt(given.clone()).is_ok());
    // Of other data the number of classes is known.
    settings.data.kind = DataKind::Builtin;
    settings.data.size = None;
    assert!(settings.expected_candidates().adopt(given).is_err());
}

#[test]
fn a_table_refuses_networks_that_only_decisions_could_find() {
    let mut settings = settings(EvaluatorKind::Table, DataKind::Builtin);
    settings.space.kind = SpaceKind::Cell;
    let cell = crate::space::Cell::named("lstm").unwrap();
    let given = Architecture {
        version: 1,
        network: Network::Cell(crate::space::CellNetwork { cell, model: None }),
    };
    let error = settings
        .expected_candidates()
        .adopt(given)
        .unwrap_err()
        .to_string();
    assert!(error.contains("give decisions = [...]"), "{error}");
}

#[test]
fn images_and_their_content_outlive_a_change_of_settings() {
    let mut settings = settings(EvaluatorKind::Train, DataKind::Builtin);
    settings.data.train_size = Some(20);
    settings.data.validation_size = Some(10);
    let images = settings.load(&pool()).unwrap();
    let content = images.content().map(str::to_owned);
    assert!(content.is_some());
    assert!(
        images
            .description()
            .contains("20 for training, 10 for validation, 10 classes")
    );
    settings.child.epochs += 1;
    // What the data are is not read again.
    settings.seed = 2;
    let changed = images.with_settings(&settings);
    assert_eq!(changed.content().map(str::to_owned), content);
    assert_ne!(
        settings.load(&pool()).unwrap().content().map(str::to_owned),
        content
    );
}
