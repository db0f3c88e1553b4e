//! The recipe for short training: what its keys do to a child, and what is kept of it.

use super::*;
use crate::data::Flip;
use candle_core::Device;

/// 5 images at the end of an epoch of 13 steps; images are cropped and flipped.
fn evaluator(settings: ChildSettings) -> TrainEvaluator {
    let data = DataSettings {
        augment: true,
        upsample: 10,
        flip: Flip::Alternating,
        ..DataSettings::default()
    };
    let split = Arc::new(split(245, 75));
    let dataset = Arc::new(textures(320, 1));
    TrainEvaluator::new(settings, dataset, split, &data, Device::Cpu, pool(1), None)
}

fn fast() -> ChildSettings {
    ChildSettings {
        epochs: 3,
        batch_size: 20,
        reward_window: 2,
        checkpoint_seconds: 6.0,
        ..ChildSettings::fast()
    }
}

fn child() -> Task {
    task(Network::Conv(network()), 7)
}

/// Bits of the loss and the metric of each epoch.
fn epochs(settings: ChildSettings) -> Vec<(u64, u64)> {
    let mut log = Log::default();
    let outcome = evaluator(settings).evaluate(&child(), &mut log);
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    let bits = |epoch: &Epoch| (epoch.train_loss.unwrap().to_bits(), epoch.metric.to_bits());
    log.epochs.iter().map(bits).collect()
}

#[test]
fn a_child_of_the_fast_recipe_goes_on_from_any_step() {
    resume::assert_resumes(
        &|| Box::new(evaluator(fast())),
        &child(),
        &[1, 13, 14, 26, 38],
    );
}

#[test]
fn each_key_of_the_recipe_has_an_effect() {
    let all = epochs(fast());
    assert_eq!(all, epochs(fast()));
    let without = [
        ChildSettings {
            label_smoothing: 0.0,
            ..fast()
        },
        ChildSettings {
            schedule: Schedule::Constant,
            ..fast()
        },
        ChildSettings {
            schedule_warm_up: 0.5,
            ..fast()
        },
        ChildSettings {
            decoupled_weight_decay: false,
            ..fast()
        },
    ];
    for settings in without {
        assert_ne!(epochs(settings.clone())[2].0, all[2].0, "{settings:?}");
    }
    // It changes what is validated, and nothing of the training.
    let last = epochs(ChildSettings {
        weight_averaging: 0.0,
        ..fast()
    });
    let losses = |epochs: &[(u64, u64)]| epochs.iter().map(|epoch| epoch.0).collect::<Vec<_>>();
    assert_eq!(losses(&last), losses(&all));
    let far_back = ChildSettings {
        weight_averaging: 0.5,
        ..fast()
    };
    assert_ne!(epochs(far_back), last);
}

/// Keeps every file.
#[derive(Default)]
struct Keeper {
    log: Log,
    file: Vec<u8>,
}

impl Progress for Keeper {
    fn epoch(&mut self, epoch: Epoch) {
        self.log.epoch(epoch);
    }
    fn examples(&mut self, _: usize) {}
    fn stop_requested(&self) -> bool {
        false
    }
    fn elapsed(&self) -> f64 {
        0.0
    }
    fn weights(&mut self) -> Option<&mut dyn Weights> {
        Some(self)
    }
}

impl Weights for Keeper {
    fn are_wanted(&self, _: f64) -> bool {
        true
    }
    fn keep(&mut self, file: &[u8]) {
        self.file = file.to_vec();
    }
}

fn kept(settings: ChildSettings) -> (TrainedNetwork, Vec<Epoch>) {
    let mut keeper = Keeper::default();
    evaluator(settings).evaluate(&child(), &mut keeper);
    (
        TrainedNetwork::from_file(&keeper.file).unwrap(),
        keeper.log.epochs,
    )
}

#[test]
fn the_weights_that_are_kept_are_the_average_that_was_validated() {
    // So far back that the average differs from the last weights in what it predicts.
    let settings = ChildSettings {
        weight_averaging: 0.5,
        ..fast()
    };
    let (trained, epochs) = kept(settings.clone());
    let (last, _) = kept(ChildSettings {
        weight_averaging: 0.0,
        ..settings
    });
    assert_ne!(trained.tensors, last.tensors);
    let mut classifier = Classifier::new(&trained, &pool(1)).unwrap();
    let images = textures(320, 1);
    let size = images.image_size();
    let logits = classifier.logits(&images.images[245 * size..]).unwrap();
    let correct = logits
        .chunks_exact(4)
        .zip(&images.labels[245..])
        .filter(|(logits, label)| super::super::host_engine::argmax(logits) == usize::from(**label))
        .count();
    assert_eq!(correct as f64 / 75.0, epochs[2].metric);
    assert_eq!(
        trained.record.training.validation.unwrap().score,
        epochs[2].metric
    );
}

#[test]
fn the_record_names_what_is_not_as_in_the_papers_recipe() {
    let named = |settings: ChildSettings| {
        let recipe = kept(settings).0.record.training.recipe;
        recipe.keys().cloned().collect::<Vec<_>>()
    };
    let keys = named(fast());
    for key in [
        "recipe",
        "label_smoothing",
        "decoupled_weight_decay",
        "weight_averaging",
        "schedule_warm_up",
        "flip",
    ] {
        assert!(keys.iter().any(|named| named == key), "{key}: {keys:?}");
    }
    let plain = named(ChildSettings {
        epochs: 1,
        ..ChildSettings::default()
    });
    assert!(
        !plain.iter().any(|key| key.contains("smoothing")),
        "{plain:?}"
    );
}
