//! The linear reference classifier, multinomial logistic regression on whitened pixels: how well a
//! data set can be told apart without a network. Must not know any child.

use super::host_engine::argmax;
use crate::data::{Batches, DataSettings, Dataset, Split};
use crate::random::{Key, Purpose};
use rand::seq::SliceRandom;
use rayon::ThreadPool;
use rayon::prelude::*;

/// Enough for a classifier of a few ten thousand weights, and a matter of seconds.
const TRAINING_IMAGES: usize = 10_000;
const EPOCHS: usize = 10;
const BATCH: usize = 50;
/// Learning rates times the count of pixels (the mean square of a whitened pixel is about 1): the
/// best is what counts.
const RATES: [f32; 4] = [0.3, 1.0, 3.0, 10.0];

/// Learning rate of the biases: they have no pixels to be scaled by.
const BIAS_RATE: f32 = 0.1;

/// Logits = weight · pixels + bias, trained by stochastic gradient descent from zero.
struct Classifier {
    rate: f32,
    /// `[classes, pixels]`
    weight: Vec<f32>,
    bias: Vec<f32>,
    best: f64,
}

/// The best validation accuracy, in 0..=1, of any learning rate and epoch, trained on at most
/// 10,000 of the split's training images as they are (no augmentation). Depends on nothing but its
/// arguments, and not on the threads of `pool`.
pub fn linear_accuracy(
    dataset: &Dataset,
    split: &Split,
    settings: &DataSettings,
    seed: u64,
    pool: &ThreadPool,
) -> f64 {
    let batches = Batches::new(dataset, split, settings);
    let pixels = dataset.shape.channels * dataset.shape.height * dataset.shape.width;
    let classes = dataset.class_names.len();
    let mut classifiers = RATES.map(|rate| Classifier::new(rate / pixels as f32, pixels, classes));
    let mut stream = Key::seed(seed).stream(Purpose::Reference);
    let mut order = split.train.clone();
    order.shuffle(&mut stream);
    order.truncate(TRAINING_IMAGES);
    let mut images = vec![0.0; BATCH * pixels];
    let mut labels = [0; BATCH];
    for epoch in 0..EPOCHS {
        let decay = 1.0 - epoch as f32 / EPOCHS as f32;
        order.shuffle(&mut stream);
        for indices in order.chunks(BATCH) {
            let images = &mut images[..indices.len() * pixels];
            let labels = &mut labels[..indices.len()];
            pool.install(|| {
                batches.evaluation(dataset, indices, images, labels);
                classifiers
                    .par_iter_mut()
                    .for_each(|classifier| classifier.step(images, labels, decay));
            });
        }
        let mut correct = [0; RATES.len()];
        for indices in split.validation.chunks(BATCH) {
            let images = &mut images[..indices.len() * pixels];
            let labels = &mut labels[..indices.len()];
            pool.install(|| {
                batches.evaluation(dataset, indices, images, labels);
                let count = |(classifier, correct): (&Classifier, &mut usize)| {
                    *correct += classifier.correct(images, labels);
                };
                classifiers.par_iter().zip(&mut correct).for_each(count);
            });
        }
        for (classifier, correct) in classifiers.iter_mut().zip(correct) {
            classifier.best = classifier
                .best
                .max(correct as f64 / split.validation.len().max(1) as f64);
        }
    }
    classifiers
        .iter()
        .map(|classifier| classifier.best)
        .fold(0.0, f64::max)
}

impl Classifier {
    fn new(rate: f32, pixels: usize, classes: usize) -> Self {
        Self {
            rate,
            weight: vec![0.0; classes * pixels],
            bias: vec![0.0; classes],
            best: 0.0,
        }
    }

    /// One step on the mean cross-entropy of a batch.
    fn step(&mut self, images: &[f32], labels: &[u8], decay: f32) {
        let pixels = self.weight.len() / self.bias.len();
        let rate = self.rate * decay / labels.len() as f32;
        let bias_rate = BIAS_RATE * decay / labels.len() as f32;
        // All errors first: they are the gradient at the weights before the step.
        let errors: Vec<Vec<f32>> = images
            .chunks_exact(pixels)
            .zip(labels)
            .map(|(image, &label)| self.error(image, label))
            .collect();
        for (class, (row, bias)) in self
            .weight
            .chunks_exact_mut(pixels)
            .zip(&mut self.bias)
            .enumerate()
        {
            for (image, error) in images.chunks_exact(pixels).zip(&errors) {
                let change = rate * error[class];
                row.iter_mut()
                    .zip(image)
                    .for_each(|(weight, pixel)| *weight -= change * pixel);
                *bias -= bias_rate * error[class];
            }
        }
    }

    /// Predicted probabilities minus the true ones: the gradient of the cross-entropy for the
    /// logits.
    fn error(&self, image: &[f32], label: u8) -> Vec<f32> {
        let mut values = self.logits(image);
        let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        values
            .iter_mut()
            .for_each(|value| *value = (*value - largest).exp());
        let sum: f32 = values.iter().sum();
        values.iter_mut().for_each(|value| *value /= sum);
        values[usize::from(label)] -= 1.0;
        values
    }

    fn logits(&self, image: &[f32]) -> Vec<f32> {
        self.weight
            .chunks_exact(image.len())
            .zip(&self.bias)
            .map(|(row, bias)| dot(row, image) + bias)
            .collect()
    }

    /// How many of these images it gets right.
    fn correct(&self, images: &[f32], labels: &[u8]) -> usize {
        let pixels = self.weight.len() / self.bias.len();
        let right =
            |(image, label): &(&[f32], &u8)| argmax(&self.logits(image)) == usize::from(**label);
        images
            .chunks_exact(pixels)
            .zip(labels)
            .filter(right)
            .count()
    }
}

/// Sixteen sums side by side, so that the compiler may use vector instructions; the order of
/// additions is fixed.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<16>();
    let (b, b_rest) = b.as_chunks::<16>();
    let mut sums = [0.0f32; 16];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..16 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::tests::{data_settings, pool, split, textures};

    #[test]
    fn solves_what_is_linear_and_depends_on_the_seed_alone() {
        let dataset = textures(300, 3);
        let accuracy = |seed, threads| {
            linear_accuracy(
                &dataset,
                &split(240, 60),
                &data_settings(),
                seed,
                &pool(threads),
            )
        };
        let first = accuracy(1, 1);
        assert!(first > 0.9, "{first}");
        assert_eq!(first.to_bits(), accuracy(1, 2).to_bits());
    }

    #[test]
    fn stays_at_chance_where_labels_mean_nothing() {
        let mut dataset = textures(600, 3);
        let mut stream = Key::seed(5).stream(Purpose::Reference);
        dataset.labels.shuffle(&mut stream);
        let accuracy = linear_accuracy(&dataset, &split(300, 300), &data_settings(), 1, &pool(2));
        assert!((0.15..0.4).contains(&accuracy), "{accuracy}");
    }

    #[test]
    fn a_dot_product_counts_every_element() {
        let a: Vec<f32> = (1..=35).map(|i| i as f32).collect();
        assert_eq!(dot(&a, &a), (1..=35).map(|i| (i * i) as f32).sum::<f32>());
    }
}
