//! A trained convolutional network at work: raw images in, logits out. Must not know files, nor what
//! the images are for.

use super::TrainedNetwork;
use super::convnet::{self, Passes};
use super::host_engine::argmax;
use crate::data::{Dataset, ImageInput, Input};
use crate::space::Network;
use candle_core::Device;
use rayon::ThreadPool;
use std::sync::Arc;

/// Images of one call of the engine.
const BATCH: usize = 64;

/// A trained network on the CPU, in f32.
pub struct Classifier {
    input: ImageInput,
    engine: Box<dyn Passes>,
    parameters: Vec<f32>,
    running: Vec<f32>,
}

impl Classifier {
    /// # Errors
    /// One sentence: it is no network that classifies images, or its tensors do not fit it.
    pub fn new(trained: &TrainedNetwork, pool: &Arc<ThreadPool>) -> Result<Self, String> {
        let record = &trained.record;
        let (Network::Conv(network), Input::Images(input)) =
            (&record.architecture.network, &record.input)
        else {
            return Err("it is no network that classifies images".into());
        };
        if network.image != input.shape || network.classes != input.class_names.len() {
            return Err("its network and its images are not of one size".into());
        }
        let epsilon = record
            .batch_norm_epsilon
            .ok_or("batch_norm_epsilon is not there")?;
        let engine = convnet::passes(network, BATCH, epsilon, &Device::Cpu, pool, None)
            .map_err(|error| error.to_string())?;
        let [parameters, running] = trained.packed([engine.parameters(), engine.running()])?;
        Ok(Self {
            input: input.clone(),
            engine,
            parameters,
            running,
        })
    }

    /// What the network reads.
    pub fn input(&self) -> &ImageInput {
        &self.input
    }

    /// Logits `[n, classes]` of raw images `[n, channels, height, width]`.
    ///
    /// # Errors
    /// What the engine reports.
    pub fn logits(&mut self, images: &[u8]) -> Result<Vec<f32>, String> {
        let size = self.input.image_len();
        let classes = self.input.class_names.len();
        let mut logits = vec![0.0; images.len() / size * classes];
        let mut prepared = vec![0.0; BATCH * size];
        for (images, logits) in images
            .chunks(BATCH * size)
            .zip(logits.chunks_mut(BATCH * classes))
        {
            let prepared = &mut prepared[..images.len()];
            self.input.prepare(images, prepared);
            self.engine
                .logits(&self.parameters, &self.running, prepared, logits)
                .map_err(|error| error.to_string())?;
        }
        Ok(logits)
    }

    /// `[class][answer]`: how many images of each class the network takes for which.
    ///
    /// # Errors
    /// The images are none that it takes, or what the engine reports.
    pub fn confusion(&mut self, images: &Dataset) -> Result<Vec<Vec<u64>>, String> {
        let classes = self.input.class_names.len();
        if images.shape != self.input.shape || images.class_names != self.input.class_names {
            return Err(
                "its images or classes are not those that the network was trained on".into(),
            );
        }
        let mut counts = vec![vec![0; classes]; classes];
        let size = self.input.image_len();
        let batches = images.images.chunks(BATCH * size);
        for (bytes, labels) in batches.zip(images.labels.chunks(BATCH)) {
            let logits = self.logits(bytes)?;
            for (logits, label) in logits.chunks_exact(classes).zip(labels) {
                counts[usize::from(*label)][argmax(logits)] += 1;
            }
        }
        Ok(counts)
    }
}

/// Probabilities of one image's logits.
pub fn softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits
        .iter()
        .map(|logit| f64::from(logit - largest).exp())
        .collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::softmax;

    #[test]
    fn probabilities_are_shares_of_one_for_any_logits() {
        let shares = softmax(&[1000.0, 1000.0, -1000.0]);
        assert_eq!(shares, [0.5, 0.5, 0.0]);
        let shares = softmax(&[0.0, std::f32::consts::LN_2]);
        assert!((shares[1] - 2.0 / 3.0).abs() < 1e-7, "{shares:?}");
    }
}
