//! What a child's training promises, on images drawn here.

mod gpu;
mod recipe;
pub mod resume;
mod train;

use super::*;
use crate::data::{DataSettings, Dataset, Split};
use crate::random::{Key, Purpose};
use crate::space::{ConvLayer, ConvNetwork, Convolution, ImageShape, Network};
use rand::RngExt;
use rayon::ThreadPool;
use std::sync::Arc;

pub const SHAPE: ImageShape = ImageShape {
    channels: 3,
    height: 8,
    width: 8,
};

/// `count` noisy images of four classes of texture.
pub fn textures(count: usize, seed: u64) -> Dataset {
    let mut stream = Key::seed(seed).stream(Purpose::Drawing);
    let mut dataset = Dataset {
        shape: SHAPE,
        class_names: ["rows", "columns", "checks", "plain"]
            .map(String::from)
            .to_vec(),
        images: Vec::new(),
        labels: Vec::new(),
        content: String::new(),
        synthetic: true,
        held_out: crate::data::HeldOut::Drawn,
        notes: Vec::new(),
    };
    for index in 0..count {
        let label = index % 4;
        dataset.labels.push(label as u8);
        for position in 0..SHAPE.channels * 64 {
            let row = position / 8 % 8;
            let column = position % 8;
            let bright = [row % 2, column % 2, (row + column) % 2, 0][label] as u8;
            dataset
                .images
                .push(stream.random_range(0..150) + 100 * bright);
        }
    }
    dataset
}

/// The first images for training, the next for validation.
pub fn split(train: u32, validation: u32) -> Split {
    Split {
        train: (0..train).collect(),
        validation: (train..train + validation).collect(),
    }
}

/// No flips or crops: the images are small.
pub fn data_settings() -> DataSettings {
    DataSettings {
        augment: false,
        ..DataSettings::default()
    }
}

pub fn pool(threads: usize) -> Arc<ThreadPool> {
    Arc::new(
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap(),
    )
}

/// A small network with a stride, a skip and mixed filter shapes.
pub fn network() -> ConvNetwork {
    let layer = |filter_height, filter_width, stride_height, inputs: &[usize]| {
        ConvLayer::new(
            Convolution {
                filter_height,
                filter_width,
                filters: 8,
                stride_height,
                stride_width: 1,
            },
            inputs,
        )
    };
    let layers = vec![
        layer(3, 3, 1, &[0]),
        layer(1, 5, 2, &[1]),
        layer(3, 1, 1, &[0, 2]),
    ];
    ConvNetwork {
        image: SHAPE,
        classes: 4,
        learning_rate: None,
        layers,
        output: vec![3],
    }
}

pub fn task(network: Network, seed: u64) -> Task {
    let architecture = Architecture {
        version: 1,
        network,
    };
    Task {
        trial: 1,
        attempt: 0,
        seed,
        layers: 3,
        decisions: Vec::new(),
        architecture,
        pruning: None,
    }
}

/// Notes what it is told; each look at its clock is a second later.
#[derive(Default)]
pub struct Log {
    pub epochs: Vec<Epoch>,
    pub examples: usize,
    pub steps: usize,
    pub stop_after: Option<usize>,
    pub shelf: Option<resume::Shelf>,
    /// Keeps the weights, if it is there.
    pub kept: Option<KeptWeights>,
    seconds: std::cell::Cell<f64>,
}

impl Progress for Log {
    fn epoch(&mut self, epoch: Epoch) {
        self.epochs.push(epoch);
    }
    fn examples(&mut self, count: usize) {
        self.examples += count;
        self.steps += usize::from(count > 0);
    }
    fn stop_requested(&self) -> bool {
        self.stop_after.is_some_and(|steps| self.steps >= steps)
    }
    fn elapsed(&self) -> f64 {
        self.seconds.set(self.seconds.get() + 1.0);
        self.seconds.get()
    }
    fn checkpoints(&mut self) -> Option<&mut dyn Checkpoints> {
        self.shelf
            .as_mut()
            .map(|shelf| shelf as &mut dyn Checkpoints)
    }
    fn weights(&mut self) -> Option<&mut dyn Weights> {
        self.kept.as_mut().map(|kept| kept as &mut dyn Weights)
    }
}

/// The file of a child's weights.
#[derive(Default)]
pub struct KeptWeights(pub Vec<u8>);

impl Weights for KeptWeights {
    fn are_wanted(&self, _: f64) -> bool {
        true
    }
    fn keep(&mut self, file: &[u8]) {
        self.0 = file.to_vec();
    }
}

/// Trains a child, and reads the weights that it leaves.
pub fn trained(evaluator: &mut dyn Evaluator, task: &Task) -> (Log, TrainedNetwork) {
    let mut log = Log {
        kept: Some(KeptWeights::default()),
        ..Log::default()
    };
    let outcome = evaluator.evaluate(task, &mut log);
    assert!(matches!(outcome, Outcome::Completed { .. }), "{outcome:?}");
    let file = log.kept.take().unwrap().0;
    (log, TrainedNetwork::from_file(&file).unwrap())
}
