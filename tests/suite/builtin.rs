//! The built-in images are neither trivial nor hopeless: a linear classifier stays under 60%, a
//! small network passes 85%.

use netwright::child::{
    ChildSettings, Epoch, Evaluator, Outcome, Progress, Schedule, Task, TrainEvaluator,
    linear_accuracy,
};
use netwright::data::{DataSettings, Split, load};
use netwright::machine::{LaneSpec, thread_pool};
use netwright::space::{Architecture, ConvLayer, ConvNetwork, Convolution, Network};
use std::sync::Arc;

struct NoProgress;

impl Progress for NoProgress {
    fn epoch(&mut self, _: Epoch) {}
    fn examples(&mut self, _: usize) {}
    fn stop_requested(&self) -> bool {
        false
    }
    fn elapsed(&self) -> f64 {
        0.0
    }
}

#[test]
fn a_small_network_sees_what_a_linear_classifier_cannot() {
    let data = DataSettings {
        train_size: Some(5_000),
        validation_size: Some(1_000),
        augment: false,
        ..DataSettings::default()
    };
    let dataset = Arc::new(load(&data, 1).unwrap());
    let split = Arc::new(Split::new(&data, dataset.labels.len(), 1).unwrap());
    let lane = LaneSpec {
        device: "cpu".into(),
        name: "test".into(),
        cores: vec![],
        threads: 1,
    };
    let pool = Arc::new(thread_pool(&lane).unwrap());
    let linear = linear_accuracy(&dataset, &split, &data, 1, &pool);

    let layer = |size: usize, filters: usize, stride: usize, inputs: &[usize]| {
        let sizes = Convolution {
            filter_height: size,
            filter_width: size,
            filters,
            stride_height: stride,
            stride_width: stride,
        };
        ConvLayer::new(sizes, inputs)
    };
    let network = ConvNetwork::new(
        dataset.shape,
        10,
        vec![
            layer(5, 16, 2, &[]),
            layer(5, 24, 2, &[1]),
            layer(3, 24, 1, &[2]),
        ],
    );
    let architecture = Architecture {
        version: 1,
        network: Network::Conv(network),
    };
    let task = Task {
        trial: 1,
        attempt: 0,
        seed: 1,
        layers: 3,
        decisions: vec![],
        architecture,
        pruning: None,
    };
    let child = ChildSettings {
        epochs: 6,
        schedule: Schedule::Cosine,
        ..ChildSettings::default()
    };
    let mut evaluator = TrainEvaluator::new(
        child,
        dataset,
        split,
        &data,
        candle_core::Device::Cpu,
        pool,
        None,
    );
    let Outcome::Completed { metric, .. } = evaluator.evaluate(&task, &mut NoProgress) else {
        panic!("the network did not train")
    };

    println!("linear {linear:.3}, network {metric:.3}");
    assert!(
        (0.15..0.60).contains(&linear),
        "a linear classifier reaches {linear}"
    );
    assert!(metric > 0.85, "a small network reaches {metric}");
}
