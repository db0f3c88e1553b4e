//! A child on a GPU, which the stand-in driver plays: its numbers are the CPU's but for rounding, and
//! its own bit for bit.

use super::resume::{Shelf, numbers, with};
use super::*;
use crate::data::{Flip, WhiteningOrder};
use crate::kernels::cuda::stand_in::on_stand_in;
use crate::kernels::cuda::{Device, Precision};

/// 4 steps of 12 images an epoch, the last of 9.
fn settings() -> ChildSettings {
    ChildSettings {
        epochs: 5,
        batch_size: 12,
        learning_rate: 0.02,
        schedule: Schedule::Cosine,
        reward_window: 2,
        checkpoint_seconds: 0.0,
        ..ChildSettings::default()
    }
}

fn evaluator(settings: &ChildSettings, data: &DataSettings) -> TrainEvaluator {
    TrainEvaluator::new(
        settings.clone(),
        Arc::new(textures(64, 1)),
        Arc::new(split(45, 19)),
        data,
        candle_core::Device::Cpu,
        pool(1),
        None,
    )
}

fn cropped() -> DataSettings {
    DataSettings {
        augment: true,
        upsample: 10,
        ..DataSettings::default()
    }
}

fn child() -> Task {
    task(Network::Conv(network()), 7)
}

/// The recipe of the paper, and one that has what later ones added.
fn recipes() -> [(ChildSettings, DataSettings); 2] {
    let later = ChildSettings {
        label_smoothing: 0.1,
        decoupled_weight_decay: true,
        weight_decay: 0.05,
        weight_averaging: 0.1,
        batch_norm_epsilon: 1e-3,
        ..settings()
    };
    let data = DataSettings {
        flip: Flip::Alternating,
        whiten_order: Some(WhiteningOrder::Last),
        ..cropped()
    };
    [(settings(), cropped()), (later, data)]
}

#[test]
fn after_20_steps_its_numbers_are_those_of_the_cpu_but_for_rounding() {
    let test =
        "child::tests::gpu::after_20_steps_its_numbers_are_those_of_the_cpu_but_for_rounding";
    on_stand_in(test, &[], || {
        for (settings, data) in recipes() {
            let (cpu, expected) = trained(&mut evaluator(&settings, &data), &child());
            let mut on_gpu = evaluator(&settings, &data)
                .on_gpu(1, Precision::F32, &data)
                .unwrap();
            let (gpu, found) = trained(&mut on_gpu, &child());
            assert_eq!((gpu.examples, gpu.epochs.len()), (cpu.examples, 5));
            for (gpu, cpu) in gpu.epochs.iter().zip(&cpu.epochs) {
                let [a, b] = [gpu, cpu].map(|epoch| epoch.train_loss.unwrap());
                assert!((a - b).abs() < 1e-4 * b, "{a} and {b}");
                assert!(
                    (gpu.metric - cpu.metric).abs() < 0.06,
                    "{gpu:?} and {cpu:?}"
                );
            }
            for (found, expected) in found.tensors.iter().zip(&expected.tensors) {
                assert_eq!(found.name, expected.name);
                let largest = |values: &[f32]| values.iter().fold(0.0f32, |a, b| a.max(b.abs()));
                let size = largest(&expected.values).max(0.1);
                for (a, b) in found.values.iter().zip(&expected.values) {
                    assert!((a - b).abs() < 2e-3 * size, "{}: {a}, not {b}", found.name);
                }
            }
        }
    });
}

#[test]
fn it_gives_the_same_bits_again_also_from_a_checkpoint() {
    let test = "child::tests::gpu::it_gives_the_same_bits_again_also_from_a_checkpoint";
    on_stand_in(test, &[], || {
        let (settings, data) = recipes()[1].clone();
        let on_gpu = || {
            let evaluator = evaluator(&settings, &data);
            evaluator.on_gpu(0, Precision::Bf16, &data).unwrap()
        };
        let mut quiet = with(Shelf::default());
        let outcome = on_gpu().evaluate(&child(), &mut quiet);
        let expected = numbers(&outcome, &quiet);
        let mut used = on_gpu();
        used.evaluate(&task(Network::Conv(network()), 8), &mut Log::default());
        let mut again = Log::default();
        let outcome = used.evaluate(&child(), &mut again);
        assert_eq!(numbers(&outcome, &again), expected, "after another child");
        let shelf = quiet.shelf.unwrap().0;
        assert_eq!(shelf.len(), 4, "one after each epoch but the last");
        for kept in [1, 3] {
            let mut resumed = with(Shelf(shelf[..kept].to_vec()));
            let outcome = on_gpu().evaluate(&child(), &mut resumed);
            assert_eq!(numbers(&outcome, &resumed), expected, "from epoch {kept}");
            assert_eq!(
                resumed.examples,
                (5 - kept) * 45,
                "{kept} epochs are not trained again"
            );
        }
        // Another precision's arithmetic, and the CPU's, are others.
        let f32 = evaluator(&settings, &data).on_gpu(0, Precision::F32, &data);
        let mut other = with(Shelf(shelf.clone()));
        let outcome = f32.unwrap().evaluate(&child(), &mut other);
        assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
        assert_eq!(other.examples, 5 * 45, "it begins with the first epoch");
        let mut other = with(Shelf(shelf));
        let outcome = evaluator(&settings, &data).evaluate(&child(), &mut other);
        assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
        assert_eq!(other.examples, 5 * 45, "it begins with the first epoch");
    });
}

#[test]
fn stopped_between_two_groups_of_steps_it_goes_on_there() {
    let test = "child::tests::gpu::stopped_between_two_groups_of_steps_it_goes_on_there";
    on_stand_in(test, &[], || {
        // 45 steps of one image.
        let settings = ChildSettings {
            epochs: 1,
            batch_size: 1,
            ..settings()
        };
        let data = cropped();
        let on_gpu = || {
            evaluator(&settings, &data)
                .on_gpu(0, Precision::F32, &data)
                .unwrap()
        };
        let mut quiet = Log::default();
        let outcome = on_gpu().evaluate(&child(), &mut quiet);
        let expected = numbers(&outcome, &quiet);
        let mut first = Log {
            stop_after: Some(1),
            ..with(Shelf::default())
        };
        assert_eq!(on_gpu().evaluate(&child(), &mut first), Outcome::Stopped);
        assert_eq!(first.examples, 32, "it looks after each 32 steps");
        let mut second = with(first.shelf.unwrap());
        let outcome = on_gpu().evaluate(&child(), &mut second);
        assert_eq!(numbers(&outcome, &second), expected);
        assert_eq!(second.examples, 45 - 32);
    });
}

#[test]
fn what_fails_gives_its_memory_back_and_says_why() {
    let test = "child::tests::gpu::what_fails_gives_its_memory_back_and_says_why";
    on_stand_in(test, &[("STAND_IN_MEMORY", "1048576")], || {
        let data = data_settings();
        let mut on_gpu = evaluator(&settings(), &data)
            .on_gpu(0, Precision::F32, &data)
            .unwrap();
        let device = Device::open(0).unwrap();
        let before = device.memory().unwrap();
        let mut wide = network();
        for layer in &mut wide.layers {
            if let crate::space::Operation::Convolution(convolution) = &mut layer.operation {
                convolution.filters = 512;
            }
        }
        let outcome = on_gpu.evaluate(&task(Network::Conv(wide), 7), &mut Log::default());
        let Outcome::Failed {
            cause: Cause::OutOfMemory,
            error,
        } = outcome
        else {
            panic!("{outcome:?}")
        };
        assert!(
            error.contains("cuda:0") && error.contains("of 1.0 MiB"),
            "{error}"
        );
        let wild = ChildSettings {
            learning_rate: 1e38,
            ..settings()
        };
        let mut wild = evaluator(&wild, &data)
            .on_gpu(0, Precision::F32, &data)
            .unwrap();
        let outcome = wild.evaluate(&child(), &mut Log::default());
        let Outcome::Failed {
            cause: Cause::Diverged,
            error,
        } = outcome
        else {
            panic!("{outcome:?}")
        };
        assert!(error.contains("epoch 1 of 5, step"), "{error}");
        drop(wild);
        assert_eq!(device.memory().unwrap(), before);
    });
}

#[test]
fn an_error_that_sticks_is_told_from_others() {
    let test = "child::tests::gpu::an_error_that_sticks_is_told_from_others";
    on_stand_in(test, &[("STAND_IN_FAULT", "2:40")], || {
        let data = data_settings();
        let mut on_gpu = evaluator(&settings(), &data)
            .on_gpu(2, Precision::Bf16, &data)
            .unwrap();
        let outcome = on_gpu.evaluate(&child(), &mut Log::default());
        let Outcome::Failed {
            cause: Cause::Device,
            error,
        } = outcome
        else {
            panic!("{outcome:?}")
        };
        assert!(
            error.contains("cuda:2: an illegal memory access"),
            "{error}"
        );
    });
}

#[test]
fn in_bf16_it_learns_as_in_f32() {
    let test = "child::tests::gpu::in_bf16_it_learns_as_in_f32";
    on_stand_in(test, &[], || {
        let (settings, data) = recipes()[1].clone();
        let losses = |precision| {
            let evaluator = evaluator(&settings, &data);
            let mut log = Log::default();
            evaluator
                .on_gpu(0, precision, &data)
                .unwrap()
                .evaluate(&child(), &mut log);
            log.epochs
                .iter()
                .map(|epoch| epoch.train_loss.unwrap())
                .collect::<Vec<_>>()
        };
        let (bf16, f32) = (losses(Precision::Bf16), losses(Precision::F32));
        assert_eq!(bf16.len(), 5);
        for (a, b) in bf16.iter().zip(&f32) {
            assert!((a - b).abs() < 0.02 * b && a != b, "{bf16:?} and {f32:?}");
        }
    });
}
